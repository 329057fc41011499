"""The operations of the API, as flows: what both clients call."""

import logging
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from . import wire
from .core import Core, Taken
from .errors import Unavailable
from .holds import Hold, Holds
from .model import (
    DissolveResult,
    GroupResult,
    HoldRelation,
    HoldResult,
    LeaveResult,
    LoginResult,
    MeterOutcome,
    Mode,
    Outcome,
    Result,
    Results,
    UsageReport,
)
from .plans import Plan
from .steps import Steps
from .touches import of_group
from .v1 import common_pb2 as common
from .v1 import metering_service_pb2 as metering

log = logging.getLogger("imquota")

Login = str | tuple[str, datetime]
"""A user who logs in now, or a user and the instant of the login."""


def _timestamp(at: datetime) -> Timestamp:
    if at.tzinfo is None:
        raise ValueError(f"{at} has no time zone")
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp


class Flows:
    """The operations of one client."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.holds = Holds(core)

    def _taken(self, plan: Plan, mode: Mode, partial: bool, timeout_s: float | None) -> Steps[
            Taken]:
        limit = self.core.limit(timeout_s)
        if self.core.needs_holds(plan, mode, partial):
            return (yield from self.holds.take_whole(plan, mode, limit))
        return (yield from self.core.take(plan, mode, partial, limit))

    def take(self, plan: Plan, mode: Mode, partial: bool, timeout_s: float | None) -> Steps[
            Results[Result]]:
        """Takes accounts, friends or members."""
        if not plan.ids:
            return Results(())
        taken = yield from self._taken(plan, mode, partial, timeout_s)
        return taken.results()

    def create_group(self, plan: Plan, mode: Mode, partial: bool, timeout_s: float | None) -> Steps[
            GroupResult]:
        """Creates a group."""
        taken = yield from self._taken(plan, mode, partial, timeout_s)
        assert taken.group is not None
        return GroupResult(taken.group, taken.results())

    def _released(self, plan: Plan, or_later: bool, timeout_s: float | None) -> Steps[
            tuple[Results[Result], bool]]:
        """Releases a plan, or queues it if there is no answer."""
        if not plan.ids:
            return Results(()), False
        try:
            return (yield from self.core.release(plan, self.core.limit(timeout_s)))
        except Unavailable as error:
            if not or_later:
                raise
            log.warning("release queued: %s: %s", plan.method.name, error)
            self.core.later(plan)
            return Results(tuple(Result(each, Outcome.QUEUED) for each in plan.im_ids)), False

    def release(self, plan: Plan, or_later: bool, timeout_s: float | None) -> Steps[
            Results[Result]]:
        """Releases accounts or friends."""
        results, _ = yield from self._released(plan, or_later, timeout_s)
        return results

    def leave_group(self, plan: Plan, or_later: bool, timeout_s: float | None) -> Steps[
            LeaveResult]:
        """Releases members."""
        return LeaveResult(*(yield from self._released(plan, or_later, timeout_s)))

    def update_group(self, group: str, max_members: int | None, timeout_s: float | None) -> Steps[
            Result]:
        """Changes a group's own member limit."""
        names = self.core.plans.names()
        request = wire.UPDATE_GROUP.request(
            app_id=self.core.app_id, group_id=names.group(group), max_members=max_members)
        limit = self.core.limit(timeout_s)
        response = yield from self.core.call(wire.UPDATE_GROUP, request, limit)
        return wire.result_of(response.result, group, names, self.core.app_id)

    def dissolution(self, group: str) -> Any:
        """The request of a dissolution."""
        group_id = self.core.plans.names().group(group)
        return wire.DISSOLVE_GROUP.request(app_id=self.core.app_id, group_id=group_id)

    def dissolve_group(self, group: str, or_later: bool, timeout_s: float | None) -> Steps[
            DissolveResult]:
        """Releases a group with all its members."""
        names, limit = self.core.plans.names(), self.core.limit(timeout_s)
        request = self.dissolution(group)
        try:
            touches = of_group(request.group_id)
            yield from self.core.settled(touches, limit)
            response = yield from self.core.call(wire.DISSOLVE_GROUP, request, limit, touches)
        except Unavailable as error:
            if not or_later:
                raise
            log.warning("release queued: DissolveGroup: %s", error)
            self.core.endings.add(wire.DISSOLVE_GROUP, request)
            return DissolveResult(Result(group, Outcome.QUEUED), 0)
        result = wire.result_of(response.result, group, names, self.core.app_id)
        return DissolveResult(result, response.members_released, response.decision.degradation)

    # Holds by their ids.

    def hold_request(self, method: wire.Method, operation_id: str, relation: HoldRelation,
                     force: bool = False) -> Any:
        """The request that ends a hold."""
        request = method.request(
            app_id=self.core.app_id, operation_id=operation_id, relation=relation)
        if method is wire.CONFIRM_HOLD and (force or self.core.options.force_expired):
            request.mode = Mode.FORCE  # type: ignore[attr-defined]
        return request

    def end_hold(self, method: wire.Method, operation_id: str, relation: HoldRelation,
                 force: bool, timeout_s: float | None) -> Steps[Results[HoldResult]]:
        """Confirms or releases the holds of an operation."""
        request = self.hold_request(method, operation_id, relation, force)
        response = yield from self.core.call(method, request, self.core.limit(timeout_s))
        results = wire.hold_results_of(
            response.results, self.core.plans.names(), self.core.app_id)
        return Results(tuple(results), response.decision.degradation)

    def lease(self, plan: Plan, mode: Mode, partial: bool, hold_s: int | None,
              operation_id: str | None) -> Hold:
        """A lease that has not taken anything yet."""
        return self.holds.new(plan, mode, partial, hold_s, operation_id)

    # Usage and metering.

    def usage(self, kind: str, im_id: str, timeout_s: float | None) -> Steps[UsageReport]:
        """Counts and limits of the app, a user or a group."""
        names = self.core.plans.names()
        if kind == "user":
            subject = common.Subject(user_id=names.user(im_id))
        elif kind == "group":
            subject = common.Subject(group_id=names.group(im_id))
        else:
            subject = common.Subject(app=common.AppSubject())
        request = wire.GET_USAGE.request(app_id=self.core.app_id, subject=subject)
        limit = self.core.limit(timeout_s)
        response = yield from self.core.call(wire.GET_USAGE, request, limit)
        return wire.usage_of(response)

    def record_logins(self, logins: Iterable[Login] | str, mode: Mode,
                      timeout_s: float | None) -> Steps[Results[LoginResult]]:
        """Counts users who logged in."""
        listed = [logins] if isinstance(logins, str) else list(logins)
        core, names, limit = self.core, self.core.plans.names(), self.core.limit(timeout_s)
        results: list[LoginResult] = []
        most = core.bounds.most["logins"]
        for first in range(0, len(listed), most):
            part = [each if isinstance(each, tuple) else (each, None)
                    for each in listed[first:first + most]]
            request = wire.RECORD_LOGINS.request(app_id=core.app_id, mode=mode, logins=[
                metering.Login(user_id=names.user(user), at=_timestamp(at) if at else None)
                for user, at in part])
            response = yield from core.call(wire.RECORD_LOGINS, request, limit)
            users = [user for user, _ in part]
            results += wire.login_results_of(response, users, names, core.app_id)
        return Results(tuple(results))

    def report(self, samples: Any, method: wire.Method, timeout_s: float | None) -> Steps[
            list[MeterOutcome]]:
        """Records samples of a gauge or of bandwidth."""
        core, limit, outcomes = self.core, self.core.limit(timeout_s), []
        most = core.bounds.most["logins"]
        for first in range(0, len(samples), most):
            request = method.request(
                app_id=core.app_id, samples=samples[first:first + most])
            response = yield from core.call(method, request, limit)
            outcomes += [wire.meter_outcome(each) for each in response.outcomes]
        return outcomes

    def gauge_samples(self, samples: Iterable[tuple[str, int]]) -> list[Any]:
        """Samples of gauges."""
        return [metering.GaugeSample(gauge=gauge, value=value) for gauge, value in samples]

    def bandwidth_samples(self, samples: Iterable[tuple[str, int]]) -> list[Any]:
        """Samples of bandwidth in kilobits a second."""
        return [metering.BandwidthSample(region=region, kbps=kbps)
                for region, kbps in samples]


__all__ = ["Flows", "Login"]
