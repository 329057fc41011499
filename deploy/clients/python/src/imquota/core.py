"""The rules of calls, without input and output: deadlines, retries, batches, outcomes.

Each flow is a generator of steps (see `steps`), which both clients carry out.
"""

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from . import failures, wire
from .addresses import Addresses
from .endings import Endings
from .errors import CallError, Denied, InvalidRequest, OutcomeUnknown, Unavailable
from .model import FieldViolation, Mode, Outcome, Result, Results
from .options import Options
from .plans import BoundsInForce, Part, Plan, Planner, results_in
from .steps import Pause, Rpc, Settle, Steps
from .touches import LateAttempts, Touches
from .wire import Method

log = logging.getLogger("imquota")


@dataclass(frozen=True, slots=True)
class Limit:
    """The time of an operation: for all of its requests, or for each of them."""

    each_s: float
    end: float | None = None

    def left(self, began: float) -> float:
        """Seconds left for a request that began at a monotonic time."""
        end = began + self.each_s if self.end is None else self.end
        return end - time.monotonic()


class Core:
    """The rules of one client."""

    def __init__(self, addresses: tuple[str, ...], app_id: str, options: Options) -> None:
        self.app_id = app_id
        self.options = options
        for address in addresses:
            if not address or address.startswith(("http:", "https:")):
                raise ValueError(f"address {address!r} is neither HOST:PORT nor unix:PATH")
        self.addresses = Addresses(addresses, options.sticky_s)
        self.plans = Planner(app_id, options.ids)
        self.bounds = BoundsInForce(options.bounds)
        self.endings = Endings(options)
        self.late = LateAttempts()

    def limit(self, timeout_s: float | None) -> Limit:
        """The limit of an operation: that of the caller, else the client's for each request."""
        if timeout_s is None:
            return Limit(self.options.timeout_s)
        return Limit(timeout_s, time.monotonic() + timeout_s)

    # One request, with its retries.

    def call(self, method: Method, request: Message, limit: Limit,
             touches: Touches | None = None) -> Steps[Any]:
        """Repeats a request until it has an answer, or its time is over. Later operations about the
        facts that it touches wait until none of its attempts can be carried out any more."""
        began = time.monotonic()
        done_until, attempts = 0.0, 0
        while True:
            address, wait = self.addresses.pick()
            timeout_s = max(0.001, min(limit.left(began), self.options.attempt_timeout_s))
            ends = time.monotonic() + timeout_s
            try:
                response = yield Rpc(method, request, timeout_s, address, wait)
            except CallError as error:
                attempts += 1
                self.addresses.failed(address, error)
                if not isinstance(error, Unavailable):
                    raise
                if isinstance(error, OutcomeUnknown):
                    done_until = ends
                    if touches is not None:
                        self.late.add(touches, ends)
                pause = self._pause(attempts, error)
                if error.reason in failures.NEEDS_OPERATOR or limit.left(began) <= pause:
                    raise _last(error, done_until, attempts) from error
                log.debug("attempt failed, retrying: %s: %s", method.name, error)
            else:
                self.addresses.answered(address, response.decision.degradation)
                return response
            yield Pause(pause)

    def _pause(self, attempts: int, error: CallError) -> float:
        if error.retry_delay_s is not None:
            return error.retry_delay_s * random.uniform(1.0, 2.0)
        longest = self.options.first_pause_s * 2.0 ** min(attempts - 1, 16)
        return random.uniform(0.0, min(longest, self.options.pause_max_s))

    def settled(self, touches: Touches, limit: Limit) -> Steps[None]:
        """Waits for queued endings about the same facts, which come first, and for attempts that
        might still be carried out."""
        began = time.monotonic()
        if self.endings.has(touches):
            timeout_s = max(0.0, limit.left(began))
            if not (yield Settle(touches, timeout_s)):
                raise _pending("an earlier confirmation or release of the same facts")
        until = self.late.until(touches)
        if until:
            if until - time.monotonic() > limit.left(began):
                raise _pending("an attempt of an earlier operation about the same facts")
            yield Pause(max(0.0, until - time.monotonic()))

    # Operations about lists.

    def batch(self, plan: Plan, limit: Limit, each: Callable[[Part, Any], None],
              part_fields: Callable[[], dict[str, Any]], *, whole: bool = False,
              held: bool = False) -> Steps[None]:
        """Sends the requests of a plan in order, and splits those that are too large."""
        plan.split(self.bounds.of(plan.bound, whole or held))
        while plan.parts:
            part = plan.current = plan.parts.popleft()
            try:
                request = part.request(**part_fields())
                response = yield from self.call(part.method, request, limit, plan.touches)
            except InvalidRequest as error:
                if error.reason == "BATCH_TOO_LARGE" and len(part.ids) > 1 and (held or not whole):
                    self.bounds.lower(plan.bound, len(part.ids))
                    plan.halve(part)
                    continue
                raise _in_list(error, part) from error
            each(part, response)

    def is_whole(self, plan: Plan, mode: Mode, partial: bool) -> bool:
        """Whether a take without a hold is a whole batch."""
        return not partial and plan.subjects > 1 and mode in (Mode.ENFORCE, Mode.CHECK_ONLY)

    def needs_holds(self, plan: Plan, mode: Mode, partial: bool) -> bool:
        """Whether a whole batch is larger than one step."""
        if not self.is_whole(plan, mode, partial):
            return False
        most = self.bounds.of(plan.bound, True)
        if len(plan.ids) > most and mode is Mode.CHECK_ONLY:
            raise ValueError(f"a dry run of a whole batch has at most {most} ids")
        return len(plan.ids) > most

    def take(self, plan: Plan, mode: Mode, partial: bool, limit: Limit) -> Steps["Taken"]:
        """Takes without a hold: the whole plan, or what is admitted of it."""
        yield from self.settled(plan.touches, limit)
        taken = Taken(plan, self.app_id)
        whole = self.is_whole(plan, mode, partial)
        fields = {"mode": mode, "all_or_nothing": whole}
        yield from self.batch(plan, limit, taken.add, lambda: fields, whole=whole)
        if not partial or taken.group_denied:
            taken.raise_if_denied()
        return taken

    def release(self, plan: Plan, limit: Limit) -> Steps[tuple[Results[Result], bool]]:
        """Releases a plan; also returns whether a group was reclaimed."""
        yield from self.settled(plan.touches, limit)
        taken, reclaimed = Taken(plan, self.app_id), []

        def add(part: Part, response: Any) -> None:
            taken.add(part, response)
            reclaimed.append(getattr(response, "group_reclaimed", False))

        yield from self.batch(plan, limit, add, dict)
        return taken.results(), any(reclaimed)

    def later(self, plan: Plan) -> None:
        """Queues a release."""
        plan.split(self.bounds.of(plan.bound, False))
        for part in plan.parts:
            self.endings.add(part.method, part.request())


def _pending(what: str) -> Unavailable:
    return Unavailable("UNAVAILABLE", "ENDING_PENDING", f"{what} has no answer yet")


def _last(error: Unavailable, done_until: float, attempts: int) -> Unavailable:
    """The exception after the last attempt: the outcome is unknown if that of any attempt is."""
    kind = OutcomeUnknown if done_until else Unavailable
    made = "1 attempt" if attempts == 1 else f"{attempts} attempts"
    last = kind(error.code, error.reason, f"{error.message} ({made})", metadata=error.metadata,
                retry_delay_s=error.retry_delay_s)
    if isinstance(last, OutcomeUnknown):
        last.done_until = done_until
    return last


def _in_list(error: InvalidRequest, part: Part) -> InvalidRequest:
    """The error with the places of ids in the operation's own list."""
    if not part.first:
        return error

    def moved(field: str) -> str:
        name, bracket, rest = field.partition("[")
        place, end, more = rest.partition("]")
        if not bracket or not place.isdigit():
            return field
        return f"{name}[{int(place) + part.first}{end}{more}"

    violations = tuple(
        FieldViolation(moved(it.field), it.description) for it in error.field_violations)
    return InvalidRequest(
        error.code, error.reason, error.message, metadata=error.metadata,
        field_violations=violations, im_error_code=error.im_error_code,
        im_error_name=error.im_error_name)


class Taken:
    """The results of the requests of a plan, joined in order."""

    def __init__(self, plan: Plan, app_id: str) -> None:
        self._plan = plan
        self._app_id = app_id
        self._items: list[Result] = []
        self._degradation = ""
        self._decided_at: Any = None
        self.group: Result | None = None

    def add(self, part: Part, response: Any) -> None:
        """Adds the response to one request."""
        names = self._plan.names
        if part.method is wire.CREATE_GROUP:
            im_id = names.im_group(response.group.id)
            self.group = wire.result_of(response.group, im_id, names, self._app_id)
            if self.group.outcome is Outcome.DENIED:
                # Nothing was written, so the rest of the list has no group to join.
                self._deny_rest()
        self._items += wire.results_of(results_in(response), part.im_ids, names, self._app_id)
        self._items += self._denied_rest(part)
        self._degradation = self._degradation or response.decision.degradation
        if response.decision.HasField("decided_at"):
            self._decided_at = wire.instant(response.decision.decided_at)

    def _deny_rest(self) -> None:
        self._plan.parts.clear()

    def _denied_rest(self, part: Part) -> list[Result]:
        if not self.group_denied or part.method is not wire.CREATE_GROUP:
            return []
        return [Result(each, Outcome.DENIED) for each in self._plan.im_ids[len(part.ids):]]

    @property
    def group_denied(self) -> bool:
        """Whether the creation of the group was denied as a whole."""
        return self.group is not None and self.group.outcome is Outcome.DENIED

    def results(self) -> Results[Result]:
        """The results for the list."""
        return Results(tuple(self._items), self._degradation, self._decided_at)

    def everything(self) -> Results[Result]:
        """The results for the group, if there is one, and for the list."""
        group = [self.group] if self.group else []
        return Results((*group, *self._items), self._degradation, self._decided_at)

    def raise_if_denied(self) -> None:
        """Raises `Denied` if any is denied."""
        if any(each.outcome is Outcome.DENIED for each in self.everything()):
            raise Denied(self.everything())
