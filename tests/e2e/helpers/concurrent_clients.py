"""The concurrent client processes of `test_apply.py`, each with a connection of its own.

Spawned processes import this module, so it contains no tests.
"""

from sidecar import connect
from stubs import common_pb, quota_grpc, quota_pb

TIMEOUT_S = 60
BARRIER_TIMEOUT_S = 60

_start = None


def prepare(barrier) -> None:
    """Stores the barrier on which all clients wait."""
    global _start
    _start = barrier


def operations(race: str, app_id: str, racer: int, count: int):
    """The operations of one client: each acquires one more under the limit in question."""
    for number in range(count):
        name = f"r{racer}-{number}"
        if race == "groups of a user":
            yield "CreateGroup", quota_pb.CreateGroupRequest(
                app_id=app_id, group_id=name, type="Public", owner_id="racer")
        elif race == "rooms of an app":
            yield "CreateGroup", quota_pb.CreateGroupRequest(
                app_id=app_id, group_id=name, type="AVChatRoom")
        elif race == "members of a group":
            yield "JoinGroup", quota_pb.JoinGroupRequest(
                app_id=app_id, group_id="arena", user_ids=[name])
        else:
            raise ValueError(race)


def _outcome(answer) -> int:
    result = answer.group if hasattr(answer, "group") else answer.results[0]
    return result.outcome


def _over_unary(stub, todo) -> list[int]:
    calls = [getattr(stub, rpc).future(request, timeout=TIMEOUT_S) for rpc, request in todo]
    return [_outcome(call.result()) for call in calls]


_ONEOF = {"CreateGroup": "create_group", "JoinGroup": "join_group"}


def _over_apply(stub, todo) -> list[int]:
    requests = (
        quota_pb.ApplyRequest(tag=tag, **{_ONEOF[rpc]: request})
        for tag, (rpc, request) in enumerate(todo)
    )
    answers = list(stub.Apply(requests, timeout=TIMEOUT_S))
    assert sorted(answer.tag for answer in answers) == list(range(len(todo)))
    return [_outcome(getattr(answer, answer.WhichOneof("answer"))) for answer in answers]


def run(task) -> int:
    """Runs one client once all are ready; returns the number of its admitted operations."""
    target, how, race, app_id, racer, count = task
    todo = list(operations(race, app_id, racer, count))
    with connect(target) as channel:
        stub = quota_grpc.QuotaServiceStub(channel)
        subject = common_pb.Subject(user_id="racer")
        stub.GetUsage(quota_pb.GetUsageRequest(app_id=app_id, subject=subject), timeout=TIMEOUT_S)
        _start.wait(BARRIER_TIMEOUT_S)
        outcomes = {"unary": _over_unary, "apply": _over_apply}[how](stub, todo)
    assert set(outcomes) <= {common_pb.OUTCOME_APPLIED, common_pb.OUTCOME_DENIED}
    return outcomes.count(common_pb.OUTCOME_APPLIED)
