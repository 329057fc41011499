"""Holds: takes that end by themselves unless they are confirmed, as flows of one lease."""

import logging
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from . import wire
from .core import Core, Limit, Taken
from .endings import Ending
from .errors import (
    CallError,
    Denied,
    HoldLost,
    NotFound,
    OutcomeUnknown,
    QueueFull,
    Unavailable,
)
from .model import HoldOutcome, HoldResult, Mode, Outcome, Result, Results
from .plans import RELATIONS, Part, Plan
from .steps import Steps
from .wire import CONFIRM_HOLD, RELEASE_HOLD

log = logging.getLogger("imquota")

LOST = (HoldOutcome.DENIED, HoldOutcome.ENDED_OTHERWISE)


@dataclass(slots=True)
class _Taken:
    """One request of a lease."""

    operation_id: str
    part: Part
    answered: bool = False
    new: bool = False
    """Whether it took something that was not held before."""
    degraded: bool = False
    """Whether it was admitted without the store: then it is permanent already."""


@dataclass(slots=True)
class Hold:
    """The state of one lease."""

    plan: Plan
    mode: Mode
    partial: bool
    hold_s: int
    operation_id: str
    requests: list[_Taken] = field(default_factory=list)
    taken: Taken | None = None
    ended: bool = False
    """Whether it was confirmed, released or abandoned."""
    results: Results[HoldResult] = field(default_factory=lambda: Results(()))
    """The results of the confirmation."""
    queued: bool = False
    """Whether the end of the hold is in the queue."""


class Holds:
    """The flows of leases."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def new(self, plan: Plan, mode: Mode, partial: bool, hold_s: int | None,
            operation_id: str | None) -> Hold:
        """A lease that has not taken anything yet."""
        if mode is Mode.CHECK_ONLY:
            raise ValueError("a dry run holds nothing: use the operation itself")
        hold_s = self._core.options.hold_s if hold_s is None else hold_s
        return Hold(plan, mode, partial, hold_s, operation_id or uuid.uuid4().hex)

    def take(self, hold: Hold, limit: Limit) -> Steps[None]:
        """Takes with a hold. If it fails, what may be held is released."""
        if hold.requests or hold.ended:
            raise RuntimeError("a lease takes once")
        core, plan = self._core, hold.plan
        yield from core.settled(plan.touches, limit)
        taken = hold.taken = Taken(plan, core.app_id)
        whole = not hold.partial and plan.subjects > 1 and hold.mode is Mode.ENFORCE

        def fields() -> dict[str, Any]:
            if hold.requests and not hold.requests[-1].answered:
                # It was too large, and is made again in two halves.
                hold.requests.pop()
            number = len(hold.requests)
            operation_id = f"{hold.operation_id}.{number}" if number else hold.operation_id
            assert plan.current is not None
            hold.requests.append(_Taken(operation_id, plan.current))
            return {"mode": hold.mode, "all_or_nothing": whole, "hold_seconds": hold.hold_s,
                    "operation_id": operation_id}

        def add(part: Part, response: Any) -> None:
            results = wire.results_of(response.members if part.method is wire.CREATE_GROUP
                                      else response.results, part.im_ids, plan.names, core.app_id)
            if part.method is wire.CREATE_GROUP:
                results.append(wire.result_of(response.group, "", plan.names, core.app_id))
            request = hold.requests[-1]
            request.answered = True
            request.new = any(each.outcome is Outcome.APPLIED for each in results)
            request.degraded = bool(response.decision.degradation)
            taken.add(part, response)
            if not hold.partial or taken.group_denied:
                taken.raise_if_denied()

        try:
            yield from core.batch(plan, limit, add, fields, held=True)
            if not taken.everything().allowed:
                taken.raise_if_denied()
        except Denied as denied:
            # The last request wrote nothing, and neither did those of which nothing was admitted.
            hold.requests = [each for each in hold.requests[:-1] if each.new]
            yield from self.release(hold)
            raise self._whole_denial(hold, denied) from None
        except BaseException as error:
            self._queue_release(hold, error)
            raise

    def _whole_denial(self, hold: Hold, denied: Denied) -> Denied:
        """The denial with a result for each id of the lease: what was taken is released."""
        def released(result: Result) -> Result:
            applied = result.outcome is Outcome.APPLIED
            return Result(result.id, Outcome.ABORTED) if applied else result

        results = denied.results
        whole = [released(each) for each in results if isinstance(each, Result)]
        missing = hold.plan.subjects - len(whole)
        if missing > 0:
            whole += [Result(each, Outcome.ABORTED) for each in hold.plan.im_ids[-missing:]]
        return Denied(Results(tuple(whole), results.degradation, results.decided_at))

    def _queue_release(self, hold: Hold, error: BaseException) -> None:
        """Queues the release of a take that failed, for the time after its last attempt."""
        hold.ended = True
        if isinstance(error, OutcomeUnknown):
            not_before = error.done_until
        elif isinstance(error, CallError):
            # The last request took nothing; those before it did.
            hold.requests.pop() if hold.requests else None
            not_before = 0.0
        else:
            not_before = time.monotonic() + self._core.options.attempt_timeout_s
        for each in hold.requests:
            self._queue(hold, each, self._release_request(each), not_before, release=True)

    def _queue(self, hold: Hold, each: _Taken, request: Any, not_before: float = 0.0, *,
               release: bool = False) -> None:
        """Queues the end of one request. A release that finds the queue full is left to the hold's
        own end; a confirmation must not be."""
        method = RELEASE_HOLD if release else CONFIRM_HOLD
        try:
            self._core.endings.add(method, request, hold.plan.touches, not_before)
            hold.queued = True
        except QueueFull as error:
            if not release:
                raise
            log.error("release not queued, the hold ends within %d s: %s", hold.hold_s, error)

    def _release_request(self, each: _Taken) -> Any:
        return RELEASE_HOLD.request(
            app_id=self._core.app_id, operation_id=each.operation_id,
            relation=RELATIONS[each.part.method.name])

    def _confirm_request(self, each: _Taken, force: bool) -> Any:
        force = force or self._core.options.force_expired
        return CONFIRM_HOLD.request(
            app_id=self._core.app_id, operation_id=each.operation_id,
            relation=RELATIONS[each.part.method.name],
            mode=Mode.FORCE if force else Mode.ENFORCE)

    def take_whole(self, plan: Plan, mode: Mode, limit: Limit) -> Steps[Taken]:
        """Takes more than one step has, all or nothing: with holds that are confirmed together."""
        hold = self.new(plan, mode, False, None, None)
        yield from self.take(hold, limit)
        yield from self.confirm(hold, limit)
        assert hold.taken is not None
        return hold.taken

    def confirm(self, hold: Hold, limit: Limit, *, force: bool = False) -> Steps[None]:
        """Makes a lease permanent. Without an answer the confirmation is queued."""
        if hold.taken is None:
            raise RuntimeError("the lease has not taken anything")
        hold.ended = True
        results: list[HoldResult] = []
        waiting = [each for each in hold.requests if not each.degraded]
        while waiting:
            each = waiting[0]
            request = self._confirm_request(each, force)
            try:
                response = yield from self._core.call(CONFIRM_HOLD, request, limit)
            except NotFound:
                results += yield from self._retake(hold, each, limit, force)
            except Unavailable as error:
                log.warning("confirmation queued: %s: %s", each.operation_id, error)
                self._queue_confirmations(hold, waiting, force)
                break
            except CallError:
                raise
            except BaseException:
                # The task is cancelled, or the process about to end: the IM has committed.
                self._queue_confirmations(hold, waiting, force)
                raise
            else:
                names, app_id = hold.plan.names, self._core.app_id
                results += wire.hold_results_of(response.results, names, app_id)
            waiting.pop(0)
        hold.results = Results(tuple(results))
        self._check(hold)

    def _queue_confirmations(self, hold: Hold, requests: list[_Taken], force: bool) -> None:
        for each in requests:
            self._queue(hold, each, self._confirm_request(each, force))

    def _check(self, hold: Hold) -> None:
        """Raises `HoldLost` if the confirmation came too late for a part."""
        late = [each for each in hold.results if each.outcome is HoldOutcome.RETAKEN]
        if late:
            log.warning("hold expired before its confirmation, taken anew: %s, %d of %d",
                        hold.operation_id, len(late), len(hold.results))
        lost = tuple(each for each in hold.results if each.outcome in LOST)
        if lost:
            raise HoldLost(hold.results, lost)

    def _retake(self, hold: Hold, each: _Taken, limit: Limit, force: bool) -> Steps[
            list[HoldResult]]:
        """Takes without a hold what has no record of a hold; nothing if nothing was taken."""
        if not each.new:
            return []
        part, names, app_id = each.part, hold.plan.names, self._core.app_id
        log.warning("record of the hold is gone, taking anew: %s", each.operation_id)
        mode = Mode.FORCE if force or self._core.options.force_expired else hold.mode
        response = yield from self._core.call(part.method, part.request(mode=mode), limit)
        taken = Taken(hold.plan, app_id)
        taken.add(part, response)
        return [HoldResult(
            operation=wire.operation_of(part.method),
            user=names.im_user(part.fields["user_id"]) if "user_id" in part.fields else result.id,
            friend=result.id if "user_id" in part.fields else "",
            group=names.im_group(part.fields.get("group_id", "")),
            outcome=HoldOutcome.RETAKEN if result.allowed else HoldOutcome.DENIED,
            denials=result.denials, expired_at=None) for result in taken.everything()]

    def release(self, hold: Hold) -> Steps[None]:
        """Releases a lease: one attempt, then by the queue."""
        hold.ended = True
        late = self._core.late.until(hold.plan.touches)
        if late:
            # An attempt of the take might be carried out after the release.
            self.release_later(hold, late)
            return
        attempt = Limit(self._core.options.attempt_timeout_s)
        for each in reversed(hold.requests):
            request = self._release_request(each)
            try:
                response = yield from self._core.call(RELEASE_HOLD, request, attempt)
            except NotFound:
                self._unreleased(each)
            except Unavailable:
                self._queue(hold, each, request, release=True)
            except CallError:
                raise
            except BaseException:
                self.release_later(hold)
                raise
            else:
                if any(it.outcome != wire.HOLD_RELEASED for it in response.results):
                    self._unreleased(each)

    def release_later(self, hold: Hold, not_before: float = 0.0) -> None:
        """Queues the release of a lease."""
        hold.ended = True
        for each in hold.requests:
            self._queue(hold, each, self._release_request(each), not_before, release=True)

    def _unreleased(self, each: _Taken) -> None:
        """Notes a take that was admitted without the store, is permanent, and cannot be released by
        its id. Only the IM's database can decide what has to go."""
        if each.degraded:
            self._core.endings.counters.to_reconcile += 1
            log.warning("degraded take not released, compare with reconcile: %s",
                        each.operation_id)

    # The queue.

    def attempt(self, ending: Ending) -> Steps[None]:
        """Attempts a queued ending once."""
        endings = self._core.endings
        limit = Limit(self._core.options.attempt_timeout_s)
        # The end of a hold does nothing to what is taken after it, however late it is carried out.
        touches = None if ending.method in (CONFIRM_HOLD, RELEASE_HOLD) else ending.touches
        try:
            response = yield from self._core.call(ending.method, ending.request, limit, touches)
        except Unavailable as error:
            endings.failed(ending, error)
        except NotFound as error:
            if ending.method is CONFIRM_HOLD:
                endings.lost(ending, error)
            else:
                endings.done(ending)
        except CallError as error:
            endings.lost(ending, error)
        except BaseException:
            ending.in_flight = False
            raise
        else:
            lost = self._lost(ending, response)
            if lost:
                endings.lost(ending, lost)
            else:
                endings.done(ending)

    def _lost(self, ending: Ending, response: Any) -> HoldLost | None:
        if ending.method is not CONFIRM_HOLD:
            return None
        names = self._core.plans.names()
        results = wire.hold_results_of(response.results, names, self._core.app_id)
        lost = tuple(each for each in results if each.outcome in LOST)
        return HoldLost(Results(tuple(results)), lost) if lost else None
