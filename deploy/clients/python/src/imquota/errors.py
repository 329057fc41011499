"""Exceptions: denials, and errors, by which no decision was made."""

from typing import Any

from .model import Denial, FieldViolation, HoldResult, LoginResult, Offer, Result, Results


class ImquotaError(Exception):
    """Base of all exceptions of this package."""


class Denied(ImquotaError):
    """A limit is reached. Return `im_error_code` (or `im_error_name`) to the IM's client.

    Of a whole batch nothing was written.
    """

    def __init__(self, results: Results[Any], what: str = "") -> None:
        self.results: Results[Result] | Results[HoldResult] | Results[LoginResult] = results
        """A result for each id."""
        self.denials: tuple[Denial, ...] = tuple(
            denial for each in results.denied for denial in each.denials)
        """Every violated limit."""
        super().__init__(self.denials[0].message if self.denials else what or "denied")

    @property
    def denial(self) -> Denial | None:
        """The first violated limit."""
        return self.denials[0] if self.denials else None

    @property
    def im_error_code(self) -> int:
        """The code for the IM's client; 0: none."""
        return self.denials[0].im_error_code if self.denials else 0

    @property
    def im_error_name(self) -> str:
        """The code as a name; empty: none."""
        return self.denials[0].im_error_name if self.denials else ""

    @property
    def offers(self) -> tuple[Offer, ...]:
        """The purchases under which the call would be admitted."""
        return self.denials[0].offers if self.denials else ()


class CallError(ImquotaError):
    """No decision was made."""

    def __init__(self, code: str, reason: str, message: str, *,
                 metadata: dict[str, str] | None = None, retry_delay_s: float | None = None,
                 field_violations: tuple[FieldViolation, ...] = (),
                 im_error_code: int = 0, im_error_name: str = "") -> None:
        self.code = code
        """The gRPC status, such as `NOT_FOUND`."""
        self.reason = reason
        """The reason of the sidecar, such as `GROUP_NOT_FOUND`; empty: of the gRPC library."""
        self.message = message
        self.metadata = metadata or {}
        self.retry_delay_s = retry_delay_s
        """The pause after which a repetition may help, if the sidecar gave one."""
        self.field_violations = field_violations
        self.im_error_code = im_error_code
        self.im_error_name = im_error_name
        super().__init__(f"{reason or code}: {message}")


class InvalidRequest(CallError):
    """Fields of the request are wrong; `field_violations` names each."""


class NotFound(CallError):
    """There is no such group, app or hold; `reason` says which."""


class AlreadyExists(CallError):
    """The group exists with another type."""


class PreconditionFailed(CallError):
    """The state of the group or the app does not admit the call."""


class PermissionDenied(CallError):
    """The caller may not do this, or its credentials are wrong."""


class GroupReplaced(CallError):
    """The group was dissolved while many users were being added to it: look at the database."""


class Exhausted(CallError):
    """The sidecar has no room for it, and a repetition does not help."""


class Internal(CallError):
    """A bug, or damaged data: an operator has to look."""


class Unavailable(CallError):
    """No decision within the deadline, and nothing was done."""


class OutcomeUnknown(Unavailable):
    """No reply within the deadline: whether it was done is unknown.

    Repeat the call, or let the IM's database decide what is released, as its documentation says.
    """

    done_until: float = 0.0
    """The monotonic time after which none of the attempts is carried out any more."""


class HoldLost(ImquotaError):
    """A confirmation came after the hold had ended, and the slots are not held.

    The IM has committed what imquota does not count: undo the commit, or call the lease's
    `confirm(force=True)`.
    """

    def __init__(self, results: Results[HoldResult], lost: tuple[HoldResult, ...]) -> None:
        self.results = results
        """A result for each subject of the hold."""
        self.lost = lost
        """Those that are not held: denied after their expiry, or ended by another call."""
        denials = [denial for each in lost for denial in each.denials]
        self.denials: tuple[Denial, ...] = tuple(denials)
        why = denials[0].message if denials else "another call has ended it, or it is not kept"
        super().__init__(f"the hold ended before it was confirmed: {why}")


class QueueFull(ImquotaError):
    """The queue of endings is full: this confirmation or release was not kept."""


class Closed(ImquotaError):
    """The client was closed."""
