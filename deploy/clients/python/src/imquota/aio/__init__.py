"""The client for asyncio: the same calls as `imquota.Client`, awaited.

Make it in the running event loop. It belongs to that loop.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
import grpc.aio

from .. import failures, wire
from .. import options as opts
from ..core import Core
from ..endings import Counters, Ending
from ..errors import Closed, ImquotaError
from ..flows import Flows, Login
from ..holds import Hold
from ..lease import LeaseBase
from ..model import (
    DissolveResult,
    GroupResult,
    HoldRelation,
    HoldResult,
    LeaveResult,
    LoginResult,
    MeterOutcome,
    Mode,
    Result,
    Results,
    UsageReport,
)
from ..options import Options
from ..plans import Users
from ..steps import Pause, Rpc, Settle, Step, Steps
from .apply import Stream

log = logging.getLogger("imquota")
R = TypeVar("R")

__all__ = ["Client", "Lease"]


class Unary:
    """Attempts of calls, one RPC each."""

    def __init__(self, addresses: Sequence[str], options: Options,
                 interceptors: Sequence[Any]) -> None:
        self._metadata = opts.call_metadata(options)
        self._channels = [_channel(each, options, interceptors) for each in addresses]
        self._callables = [{
            method.name: channel.unary_unary(
                method.path, request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString)
            for method in wire.METHODS.values()
        } for channel in self._channels]

    async def attempt(self, step: Rpc) -> Any:
        """Makes one attempt."""
        try:
            return await self._callables[step.address][step.method.name](
                step.request, timeout=step.timeout_s, metadata=self._metadata,
                wait_for_ready=step.wait_for_ready)
        except grpc.RpcError as error:
            raise of_rpc_error(error) from error

    async def close(self) -> None:
        """Closes the channels."""
        for channel in self._channels:
            await channel.close()


class Pipelined(Unary):
    """Attempts of calls over one Apply stream to each address."""

    def __init__(self, addresses: Sequence[str], options: Options,
                 interceptors: Sequence[Any]) -> None:
        super().__init__(addresses, options, interceptors)
        self._in_flight_max = options.in_flight_max
        self._applies = [channel.stream_stream(
            wire.APPLY_PATH, request_serializer=wire.ApplyRequest.SerializeToString,
            response_deserializer=wire.ApplyResponse.FromString) for channel in self._channels]
        self._streams: dict[int, Stream] = {}

    async def attempt(self, step: Rpc) -> Any:
        """Makes one attempt."""
        if not step.method.field:
            return await super().attempt(step)
        stream = self._streams.get(step.address)
        if stream is None or stream.error is not None:
            call = self._applies[step.address](
                metadata=self._metadata, wait_for_ready=step.wait_for_ready)
            stream = self._streams[step.address] = Stream(call, self._in_flight_max)
        return await stream.attempt(step)

    async def close(self) -> None:
        """Ends the streams, and closes the channels."""
        for stream in self._streams.values():
            await stream.cancel()
        await super().close()


def of_rpc_error(error: Any) -> Any:
    """The typed exception of an error of gRPC."""
    metadata: Any = getattr(error, "trailing_metadata", tuple)()
    return failures.of_status(error.code().name, error.details() or "", metadata)


def _channel(address: str, options: Options, interceptors: Sequence[Any]) -> grpc.aio.Channel:
    arguments = opts.channel_arguments(address, options)
    if options.tls:
        return grpc.aio.secure_channel(
            address, options.tls.credentials(), arguments, interceptors=interceptors or None)
    return grpc.aio.insecure_channel(address, arguments, interceptors=interceptors or None)


class Client:
    """A client of one app."""

    def __init__(self, address: str | Sequence[str], app_id: str,
                 options: Options | None = None, *, interceptors: Sequence[Any] = ()) -> None:
        """`address` is `HOST:PORT` or `unix:PATH`, or several, of which one is in use at a time."""
        addresses = (address,) if isinstance(address, str) else tuple(address)
        if not addresses:
            raise ValueError("no address")
        self._loop = asyncio.get_running_loop()
        self._core = Core(addresses, app_id, options or Options())
        self._flows = Flows(self._core)
        transport = Pipelined if self._core.options.pipeline else Unary
        self._transport = transport(addresses, self._core.options, interceptors)
        self._waiters: list[asyncio.Future[None]] = []
        self._worker: asyncio.Task[None] | None = None
        self._closed = False
        self._core.endings.on_change = self._endings_changed
        self._endings_changed()

    # How steps are carried out.

    async def _run(self, flow: Steps[R]) -> R:
        if self._closed:
            raise Closed("the client is closed")
        return await self._carry_out(flow)

    async def _carry_out(self, flow: Steps[R]) -> R:
        try:
            step = next(flow)
            while True:
                try:
                    outcome = await self._do(step)
                except BaseException as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(outcome)
        except StopIteration as end:
            result: R = end.value
            return result

    async def _do(self, step: Step) -> Any:
        if isinstance(step, Rpc):
            return await self._transport.attempt(step)
        if isinstance(step, Pause):
            return await asyncio.sleep(step.seconds)
        return await self._settle(step)

    async def _settle(self, step: Settle) -> bool:
        endings, end = self._core.endings, time.monotonic() + step.timeout_s
        endings.expedite(step.touches)
        while endings.has(step.touches):
            if (left := end - time.monotonic()) <= 0:
                return False
            await self._change(left)
        return True

    # The task of the queue.

    def _endings_changed(self) -> None:
        if self._worker is None and len(self._core.endings) and not self._closed:
            self._worker = self._loop.create_task(self._work(), name="imquota-endings")
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _change(self, timeout_s: float | None) -> None:
        """Waits for a change of the queue."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append(waiter)
        await asyncio.wait([waiter], timeout=timeout_s)
        if not waiter.done():
            self._waiters.remove(waiter)

    async def _work(self) -> None:
        endings = self._core.endings
        while not self._closed:
            ending, wait_s = endings.next()
            if ending is None:
                await self._change(wait_s)
                continue
            try:
                await self._carry_out(self._flows.holds.attempt(ending))
            except Exception as error:
                # The queue's file cannot be written.
                log.exception("attempt of an ending failed: %s", ending)
                endings.failed(ending, failures.make("INTERNAL", "", str(error)))

    # Accounts.

    async def create_accounts(
            self, users: Users, *, partial: bool = False, mode: Mode = Mode.ENFORCE,
            timeout_s: float | None = None) -> Results[Result]:
        """Takes an account for each user: all or none, or with `partial` those admitted."""
        plan = self._core.plans.accounts(users)
        return await self._run(self._flows.take(plan, mode, partial, timeout_s))

    async def delete_accounts(
            self, users: Users, *, or_later: bool = False,
            timeout_s: float | None = None) -> Results[Result]:
        """Releases accounts with all that they have. With `or_later` a release without an answer
        is queued, and each outcome is QUEUED."""
        plan = self._core.plans.accounts(users, deleted=True)
        return await self._run(self._flows.release(plan, or_later, timeout_s))

    # Friends.

    async def add_friends(self, user: str, friends: Users, *, one_way: bool = False,
                          partial: bool = False, mode: Mode = Mode.ENFORCE,
                          timeout_s: float | None = None) -> Results[Result]:
        """Takes a place in the user's list, and in each friend's unless `one_way`."""
        plan = self._core.plans.friends(user, friends, one_way)
        return await self._run(self._flows.take(plan, mode, partial, timeout_s))

    async def remove_friends(self, user: str, friends: Users, *, one_way: bool = False,
                             or_later: bool = False,
                             timeout_s: float | None = None) -> Results[Result]:
        """Releases the places of friends; with `or_later` by the queue if there is no answer."""
        plan = self._core.plans.friends(user, friends, one_way, removed=True)
        return await self._run(self._flows.release(plan, or_later, timeout_s))

    # Groups.

    async def create_group(self, group: str, group_type: str, *, owner: str | None = None,
                           members: Users = (), max_members: int | None = None,
                           allocated_by_im: bool = False, replaces: str | None = None,
                           partial: bool = False, mode: Mode = Mode.ENFORCE,
                           timeout_s: float | None = None) -> GroupResult:
        """Takes a group with its owner and members: all or none, or with `partial` the group with
        those admitted. `replaces` is a held group that becomes this one."""
        plan = self._core.plans.group(
            group, group_type, owner, members, max_members, allocated_by_im, replaces)
        return await self._run(self._flows.create_group(plan, mode, partial, timeout_s))

    async def update_group(self, group: str, max_members: int | None, *,
                           timeout_s: float | None = None) -> Result:
        """Sets the group's own member limit, or removes it."""
        return await self._run(self._flows.update_group(group, max_members, timeout_s))

    async def join_group(self, group: str, users: Users, *, partial: bool = False,
                         mode: Mode = Mode.ENFORCE,
                         timeout_s: float | None = None) -> Results[Result]:
        """Takes a place in the group for each user: all or none, or those admitted."""
        plan = self._core.plans.members(group, users)
        return await self._run(self._flows.take(plan, mode, partial, timeout_s))

    async def leave_group(self, group: str, users: Users, *,
                          or_later: bool = False,
                          timeout_s: float | None = None) -> LeaveResult:
        """Releases places in the group; with `or_later` by the queue if there is no answer."""
        plan = self._core.plans.members(group, users, leave=True)
        return await self._run(self._flows.leave_group(plan, or_later, timeout_s))

    async def dissolve_group(self, group: str, *, or_later: bool = False,
                             timeout_s: float | None = None) -> DissolveResult:
        """Releases the group with all its members; with `or_later` by the queue if there is no
        answer."""
        return await self._run(self._flows.dissolve_group(group, or_later, timeout_s))

    # Releases by the queue.

    def delete_accounts_later(self, users: Users) -> None:
        """Queues the release of accounts: repeated until it is done."""
        self._core.later(self._core.plans.accounts(users, deleted=True))

    def remove_friends_later(self, user: str, friends: Users, *, one_way: bool = False) -> None:
        """Queues the release of friends: repeated until it is done."""
        self._core.later(self._core.plans.friends(user, friends, one_way, removed=True))

    def leave_group_later(self, group: str, users: Users) -> None:
        """Queues a leave: repeated until it is done."""
        self._core.later(self._core.plans.members(group, users, leave=True))

    def dissolve_group_later(self, group: str) -> None:
        """Queues a dissolution: repeated until it is done."""
        self._core.endings.add(wire.DISSOLVE_GROUP, self._flows.dissolution(group))

    # Leases.

    def _lease(self, hold: Hold) -> "Lease":
        return Lease(self, hold)

    def registering(self, users: Users, *, partial: bool = False, mode: Mode = Mode.ENFORCE,
                    hold_s: int | None = None, operation_id: str | None = None) -> "Lease":
        """A lease of accounts."""
        plan = self._core.plans.accounts(users)
        return self._lease(self._flows.lease(plan, mode, partial, hold_s, operation_id))

    def befriending(self, user: str, friends: Users, *, one_way: bool = False,
                    partial: bool = False, mode: Mode = Mode.ENFORCE, hold_s: int | None = None,
                    operation_id: str | None = None) -> "Lease":
        """A lease of friends."""
        plan = self._core.plans.friends(user, friends, one_way)
        return self._lease(self._flows.lease(plan, mode, partial, hold_s, operation_id))

    def creating(self, group: str, group_type: str, *, owner: str | None = None,
                 members: Users = (), max_members: int | None = None,
                 allocated_by_im: bool = False, partial: bool = False,
                 mode: Mode = Mode.ENFORCE, hold_s: int | None = None,
                 operation_id: str | None = None) -> "Lease":
        """A lease of a group with its owner and members."""
        plan = self._core.plans.group(
            group, group_type, owner, members, max_members, allocated_by_im, None)
        return self._lease(self._flows.lease(plan, mode, partial, hold_s, operation_id))

    def joining(self, group: str, users: Users, *, partial: bool = False,
                mode: Mode = Mode.ENFORCE, hold_s: int | None = None,
                operation_id: str | None = None) -> "Lease":
        """A lease of places in a group."""
        plan = self._core.plans.members(group, users)
        return self._lease(self._flows.lease(plan, mode, partial, hold_s, operation_id))

    # Holds by their ids, for an IM that ends them elsewhere than it takes.

    async def confirm_hold(self, operation_id: str, *, relation: HoldRelation = HoldRelation.ALL,
                           force: bool = False,
                           timeout_s: float | None = None) -> Results[HoldResult]:
        """Makes permanent what an operation holds; the results are those of the API."""
        return await self._run(self._flows.end_hold(
            wire.CONFIRM_HOLD, operation_id, relation, force, timeout_s))

    async def release_hold(self, operation_id: str, *, relation: HoldRelation = HoldRelation.ALL,
                           timeout_s: float | None = None) -> Results[HoldResult]:
        """Releases what an operation holds; the results are those of the API."""
        return await self._run(self._flows.end_hold(
            wire.RELEASE_HOLD, operation_id, relation, False, timeout_s))

    def confirm_hold_later(self, operation_id: str, *,
                           relation: HoldRelation = HoldRelation.ALL) -> None:
        """Queues a confirmation: repeated until it is done."""
        method = wire.CONFIRM_HOLD
        request = self._flows.hold_request(method, operation_id, relation)
        self._core.endings.add(method, request)

    def release_hold_later(self, operation_id: str, *,
                           relation: HoldRelation = HoldRelation.ALL) -> None:
        """Queues a release: repeated until it is done."""
        method = wire.RELEASE_HOLD
        request = self._flows.hold_request(method, operation_id, relation)
        self._core.endings.add(method, request)

    # Usage and metering.

    async def app_usage(self, *, timeout_s: float | None = None) -> UsageReport:
        """Counts and limits of the app."""
        return await self._run(self._flows.usage("app", "", timeout_s))

    async def user_usage(self, user: str, *, timeout_s: float | None = None) -> UsageReport:
        """Counts and limits of a user."""
        return await self._run(self._flows.usage("user", user, timeout_s))

    async def group_usage(self, group: str, *, timeout_s: float | None = None) -> UsageReport:
        """Counts and limits of a group."""
        return await self._run(self._flows.usage("group", group, timeout_s))

    async def record_logins(self, logins: Iterable[Login] | str, *, mode: Mode = Mode.ENFORCE,
                            timeout_s: float | None = None) -> Results[LoginResult]:
        """Counts users who logged in. Denials are in the results."""
        return await self._run(self._flows.record_logins(logins, mode, timeout_s))

    async def report_bandwidth(self, samples: Iterable[tuple[str, int]], *,
                               timeout_s: float | None = None) -> list[MeterOutcome]:
        """Records the bandwidth of regions, in kilobits a second."""
        flows = self._flows
        return await self._run(flows.report(
            flows.bandwidth_samples(samples), wire.REPORT_BANDWIDTH, timeout_s))

    async def report_gauge(self, samples: Iterable[tuple[str, int]], *,
                           timeout_s: float | None = None) -> list[MeterOutcome]:
        """Records the values of gauges."""
        flows = self._flows
        return await self._run(flows.report(
            flows.gauge_samples(samples), wire.REPORT_GAUGE, timeout_s))

    # The queue, and the end.

    @property
    def endings(self) -> list[Ending]:
        """The confirmations and releases that wait."""
        return list(self._core.endings)

    @property
    def counters(self) -> Counters:
        """Numbers of endings since the start."""
        return self._core.endings.counters

    @property
    def address(self) -> str:
        """The address in use."""
        return self._core.addresses.current

    async def flush(self, timeout_s: float) -> bool:
        """Attempts all endings until none waits; returns whether that is so in time."""
        end = time.monotonic() + timeout_s
        while len(self._core.endings):
            left = end - time.monotonic()
            if left <= 0:
                return False
            self._core.endings.expedite()
            await self._change(min(left, 0.1))
        return True

    async def close(self, timeout_s: float = 5.0) -> list[Ending]:
        """Attempts all endings for that time, closes the connections, and returns what is left.
        With a file of the queue, that stays in it."""
        if self._closed:
            return []
        await self.flush(timeout_s)
        self._closed = True
        self._endings_changed()
        if self._worker:
            await asyncio.wait([self._worker], timeout=self._core.options.attempt_timeout_s + 1.0)
            self._worker.cancel()
        left = self._core.endings.close()
        await self._transport.close()
        return left

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()


class Lease(LeaseBase):
    """A take that is held by `async with`: confirmed at its end, released on an exception."""

    def __init__(self, client: Client, hold: Hold) -> None:
        super().__init__(hold)
        self._client = client
        self._flows = client._flows.holds

    async def take(self, *, timeout_s: float | None = None) -> Self:
        """Takes. Raises `Denied` if the whole, or all of a partial lease, is denied."""
        limit = self._client._core.limit(timeout_s)
        await self._client._run(self._flows.take(self._hold, limit))
        return self

    async def confirm(self, *, force: bool = False, timeout_s: float | None = None) -> None:
        """Makes it permanent. Raises `HoldLost` if it had ended and cannot be taken anew; with
        `force` it is taken even over a limit. Without an answer it is queued."""
        limit = self._client._core.limit(timeout_s)
        await self._client._run(self._flows.confirm(self._hold, limit, force=force))

    async def release(self) -> None:
        """Releases it: with one attempt, and then by the queue."""
        await self._client._run(self._flows.release(self._hold))

    async def __aenter__(self) -> Self:
        return await self.take()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                              _traceback: TracebackType | None) -> None:
        if self._hold.ended:
            return
        if kind is None:
            await self.confirm()
        elif issubclass(kind, Exception):
            try:
                await self.release()
            except ImquotaError as failure:
                log.error("lease not released, its hold ends by itself: %s: %s",
                          self.operation_id, failure)
        else:
            # The task was cancelled: without a call that it would wait for.
            self._flows.release_later(self._hold)
