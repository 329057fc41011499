"""The part of a lease that does not depend on how calls are made."""

from .holds import Hold
from .model import HoldResult, Result, Results


class LeaseBase:
    """A take that ends by itself unless it is confirmed."""

    def __init__(self, hold: Hold) -> None:
        self._hold = hold

    @property
    def operation_id(self) -> str:
        """The id by which the hold is confirmed or released; those of further requests of a long
        list are this one with `.1`, `.2` and so on."""
        return self._hold.operation_id

    @property
    def operation_ids(self) -> tuple[str, ...]:
        """The ids of all requests."""
        return tuple(each.operation_id for each in self._hold.requests)

    @property
    def group(self) -> Result | None:
        """The result for the group that is created; `None` if none is."""
        return self._hold.taken.group if self._hold.taken else None

    @property
    def results(self) -> Results[Result]:
        """A result for each user of the list."""
        return self._hold.taken.results() if self._hold.taken else Results(())

    @property
    def allowed(self) -> tuple[str, ...]:
        """The users of the list who are admitted: all, unless the lease is partial."""
        return self.results.allowed

    @property
    def degraded(self) -> bool:
        """Whether it was admitted without the store: then it is permanent already."""
        return any(each.degraded for each in self._hold.requests)

    @property
    def confirmation(self) -> Results[HoldResult]:
        """The results of the confirmation; empty if it was queued."""
        return self._hold.results

    @property
    def queued(self) -> bool:
        """Whether the confirmation or release had no answer, and is in the queue."""
        return self._hold.queued

    def let_expire(self) -> None:
        """Ends the lease without a call: the hold ends by itself, in its time."""
        self._hold.ended = True
