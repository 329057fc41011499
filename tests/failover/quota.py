"""A client of a sidecar that records every call."""

import asyncio
import time
from collections.abc import Iterable

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from history import DENIED, DONE, RELEASE, TAKE, UNKNOWN, Call, Fact, Scope
from stubs import common_pb, quota_grpc, quota_pb

CALL_TIMEOUT_S = 2.0
OBSERVE_TIMEOUT_S = 20.0
BATCH_MAX = 100
"""The most facts of one call, for RPCs with lists."""

_DONE = {
    TAKE: (common_pb.OUTCOME_APPLIED, common_pb.OUTCOME_ALREADY_HELD),
    RELEASE: (common_pb.OUTCOME_APPLIED, common_pb.OUTCOME_NOT_HELD),
}
_LIMIT_IDS = {"member": "members_per_group", "friend": "friends_per_user",
              "account": "accounts_per_app", "group": "groups_per_app/Private"}
GROUP_TYPE = "Private"


class Quota:
    """A client of one sidecar."""

    def __init__(self, sidecar: int, target: str):
        self.sidecar = sidecar
        self.calls: list[Call] = []
        options = [("grpc.default_authority", "localhost"), ("grpc.enable_http_proxy", 0)]
        self._stub = quota_grpc.QuotaServiceStub(grpc.aio.insecure_channel(target, options))

    async def change(self, action: str, facts: list[Fact], timeout_s: float = CALL_TIMEOUT_S,
                     max_members: int | None = None) -> list[Call]:
        """Takes or releases facts of one scope in one call; returns a record per fact."""
        began_s = time.monotonic()
        try:
            results = await self._ask(action, facts, timeout_s, max_members)
            outcomes = [(_outcome(action, result), "") for result in results]
        except grpc.aio.AioRpcError as error:
            outcomes = [(UNKNOWN, _why(error))] * len(facts)
        except DegradedError:
            outcomes = [(UNKNOWN, "degraded")] * len(facts)
        ended_s = time.monotonic()
        calls = [Call(self.sidecar, fact, action, *outcome, began_s, ended_s)
                 for fact, outcome in zip(facts, outcomes, strict=True)]
        self.calls += calls
        return calls

    async def _ask(self, action, facts: list[Fact], timeout_s, max_members=None, mode=None) -> list:
        app, kind, owner = facts[0].scope
        assert all(fact.scope == facts[0].scope for fact in facts)
        ids = [fact.id for fact in facts]
        stub, how = self._stub, {"mode": mode} if action == TAKE else {}
        if kind == "member":
            message = quota_pb.JoinGroupRequest if action == TAKE else quota_pb.LeaveGroupRequest
            call = stub.JoinGroup if action == TAKE else stub.LeaveGroup
            request = message(app_id=app, group_id=owner, user_ids=ids, **how)
        elif kind == "friend":
            message = quota_pb.AddFriendsRequest if action == TAKE else (
                quota_pb.RemoveFriendsRequest)
            call = stub.AddFriends if action == TAKE else stub.RemoveFriends
            request = message(app_id=app, user_id=owner, friend_ids=ids, **how)
        elif kind == "account":
            message = quota_pb.CreateAccountsRequest if action == TAKE else (
                quota_pb.DeleteAccountsRequest)
            call = stub.CreateAccounts if action == TAKE else stub.DeleteAccounts
            request = message(app_id=app, user_ids=ids, **how)
        elif action == TAKE:
            call = stub.CreateGroup
            request = quota_pb.CreateGroupRequest(app_id=app, group_id=ids[0], type=GROUP_TYPE,
                                                  max_members=max_members, **how)
        else:
            call = stub.DissolveGroup
            request = quota_pb.DissolveGroupRequest(app_id=app, group_id=ids[0])
        answer = await call(request, timeout=timeout_s)
        if answer.decision.degradation:
            raise DegradedError(answer.decision.degradation)
        if kind == "group":
            return [answer.group if action == TAKE else answer.result]
        return list(answer.results)

    async def held(self, facts: Iterable[Fact]) -> dict[Fact, bool]:
        """Reads whether each fact is held, by dry runs."""
        batches: list[list[Fact]] = []
        for fact in sorted(facts):
            last = batches[-1] if batches else []
            fits = last and last[0].scope == fact.scope and len(last) < BATCH_MAX
            if fits and fact.scope.kind != "group":
                last.append(fact)
            else:
                batches.append([fact])
        answers = await _bounded(self._held_of(batch) for batch in batches)
        return {fact: held for answer in answers for fact, held in answer.items()}

    async def _held_of(self, batch: list[Fact]) -> dict[Fact, bool]:
        async def ask():
            try:
                results = await self._ask(TAKE, batch, CALL_TIMEOUT_S,
                                          mode=common_pb.MODE_CHECK_ONLY)
            except grpc.aio.AioRpcError as error:
                if error.code() == grpc.StatusCode.NOT_FOUND:
                    return dict.fromkeys(batch, False)
                raise
            held = common_pb.OUTCOME_ALREADY_HELD
            return {fact: result.outcome == held
                    for fact, result in zip(batch, results, strict=True)}
        return await _persistent(ask)

    async def used(self, scopes: Iterable[Scope]) -> dict[Scope, int]:
        """Reads the count of each scope."""
        scopes = sorted(scopes)
        return dict(zip(scopes, await _bounded(self._used_of(scope) for scope in scopes)))

    async def _used_of(self, scope: Scope) -> int:
        subject = {"member": {"group_id": scope.owner}, "friend": {"user_id": scope.owner}}
        request = quota_pb.GetUsageRequest(
            app_id=scope.app, subject=subject.get(scope.kind, {"app": {}}))
        limit = _LIMIT_IDS[scope.kind]

        async def ask():
            try:
                answer = await self._stub.GetUsage(request, timeout=CALL_TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                if error.code() == grpc.StatusCode.NOT_FOUND:
                    return 0
                raise
            used = {usage.limit_id: usage.used for usage in answer.usages}
            if limit not in used:
                raise KeyError(f"no {limit} in {sorted(used)}")
            return used[limit]
        return await _persistent(ask)


class DegradedError(Exception):
    """The sidecar decided without the store."""


def _outcome(action: str, result) -> str:
    if result.outcome in _DONE[action]:
        return DONE
    return DENIED if result.outcome == common_pb.OUTCOME_DENIED else UNKNOWN


def _why(error: grpc.aio.AioRpcError) -> str:
    try:
        status = rpc_status.from_call(error)
    except (ValueError, AttributeError):
        status = None
    for packed in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if packed.Unpack(info):
            return f"{error.code().name} {info.reason}"
    return error.code().name


async def _bounded(coroutines, at_once: int = 16) -> list:
    gate = asyncio.Semaphore(at_once)

    async def run(coroutine):
        async with gate:
            return await coroutine
    return await asyncio.gather(*(run(coroutine) for coroutine in coroutines))


async def _persistent(ask):
    """Repeats a read until the store replies."""
    end = time.monotonic() + OBSERVE_TIMEOUT_S
    while True:
        try:
            return await ask()
        except (grpc.aio.AioRpcError, DegradedError):
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.2)
