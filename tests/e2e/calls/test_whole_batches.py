"""Whole batches: `all_or_nothing` over each RPC, on a stream, as an error, and in the command line."""

import subprocess

import grpc
import pytest

from app import ALREADY_HELD, APPLIED, DENIED, TIMEOUT_S, App, names, outcomes
from details import bad_fields, error_info, error_of
from http_port import metric
from sidecar import Sidecar, binary, clean_environment
from stubs import common_pb, quota_pb

ABORTED = common_pb.OUTCOME_ABORTED


def whole(app, rpc: str, **fields):
    """Calls an RPC with a whole batch; returns its response."""
    request = getattr(quota_pb, f"{rpc}Request")
    request = request(app_id=app.id, all_or_nothing=True, **fields)
    return getattr(app.quota, rpc)(request, timeout=TIMEOUT_S)


def test_a_batch_with_a_denial_writes_nothing_and_aborts_the_others(app):
    app.create_groups(names("h", 50), "Public", "busy")
    app.add_friends("busy", *names("f", 20), one_way=True)
    app.create_group("g", "Public", "owner")
    app.create_accounts(*names("u", 99))

    accounts = whole(app, "CreateAccounts", user_ids=["u0", "v", "w"])
    assert outcomes(accounts.results) == [ALREADY_HELD, ABORTED, DENIED]
    friends = whole(app, "AddFriends", user_id="a", friend_ids=["b", "busy", "c"])
    assert outcomes(friends.results) == [ABORTED, DENIED, ABORTED]
    joined = whole(app, "JoinGroup", group_id="g", user_ids=["owner", "busy", "b"])
    assert outcomes(joined.results) == [ALREADY_HELD, DENIED, ABORTED]
    created = whole(app, "CreateGroup", group_id="k", type="Public", owner_id="a",
                    member_ids=["busy", "b"])
    assert (created.group.outcome, outcomes(created.members)) == (ABORTED, [DENIED, ABORTED])
    assert not created.group.denials and not created.members[1].denials

    held = (app.accounts(), app.friends("a"), app.friends("b"), app.members("g"), app.groups("b"))
    assert held == (99, 0, 0, 1, 0)
    assert app.usage_or_none("k") is None
    created = whole(app, "CreateGroup", group_id="k", type="Public", owner_id="a",
                    member_ids=["c", "b"])
    assert (created.group.outcome, outcomes(created.members)) == (APPLIED, [APPLIED] * 2)


@pytest.mark.parametrize(
    ("rpc", "field", "fields"),
    [
        ("CreateAccounts", "user_ids", {}),
        ("AddFriends", "friend_ids", {"user_id": "a"}),
        ("JoinGroup", "user_ids", {"group_id": "g"}),
        ("CreateGroup", "member_ids", {"group_id": "g", "type": "Public"}),
    ],
)
def test_a_larger_batch_is_an_error_of_its_field(tcp_app, rpc, field, fields):
    error = error_of(lambda: whole(tcp_app, rpc, **fields, **{field: names("u", 501)}))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert bad_fields(error) == [field]


def test_on_a_stream_a_batch_is_whole_and_counts_only_its_denials():
    with Sidecar(store="memory", management=True) as sidecar, App(sidecar) as app:
        app.create_group("g", "Public", "owner", names("m", 18))
        join = {"app_id": app.id, "group_id": "g", "all_or_nothing": True}
        requests = [
            quota_pb.ApplyRequest(
                tag=tag, join_group=quota_pb.JoinGroupRequest(user_ids=users, **join))
            for tag, users in enumerate((["x", "y", "z"], ["x"]))
        ]
        answers = {it.tag: it for it in app.quota.Apply(iter(requests), timeout=TIMEOUT_S)}
        assert outcomes(answers[0].join_group.results) == [ABORTED, DENIED, DENIED]
        assert outcomes(answers[1].join_group.results) == [APPLIED]
        counted = {
            outcome: metric(sidecar.management_port, "imquota_decisions_total",
                            operation="join_group", mode="enforce", outcome=outcome)
            for outcome in ("aborted", "denied", "applied", "already_held")
        }
        assert counted == {"aborted": 1, "denied": 2, "applied": 1, "already_held": 0}
        denials = app.admin("ListTopDenials").subjects
        assert [denial.denials for denial in denials] == [2]


def test_a_batch_of_which_nothing_is_written_is_an_error_on_request(tcp_app):
    tcp_app.create_group("g", "Public", "owner", names("m", 18))
    request = quota_pb.JoinGroupRequest(app_id=tcp_app.id, group_id="g", user_ids=["x", "y"],
                                        all_or_nothing=True)
    metadata = [("imquota-deny-as-error", "1")]
    error = error_of(lambda: tcp_app.quota.JoinGroup(request, timeout=TIMEOUT_S,
                                                     metadata=metadata))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error_info(error).reason == "MEMBERS_PER_GROUP"


def test_the_command_line_takes_all_or_none(sidecar, tcp_app):
    def run(*arguments: str) -> tuple[int, list[list[str]]]:
        command = [binary(), "quota", *arguments, "--app", tcp_app.id, "--all-or-nothing",
                   "--address", sidecar.tcp]
        done = subprocess.run(command, capture_output=True, text=True, env=clean_environment(),
                              timeout=30, check=False)
        return done.returncode, [line.split() for line in done.stdout.splitlines()]

    tcp_app.create_group("g", "Public", "owner", names("m", 18))
    code, lines = run("join-group", "--group", "g", "x", "y")
    assert code != 0 and [line[:2] for line in lines[1:3]] == [["x", "aborted"], ["y", "denied"]]
    assert tcp_app.members("g") == 19
    code, lines = run("join-group", "--group", "g", "x", "m0")
    assert code == 0 and lines[1] == ["x", "applied"], lines
    tcp_app.create_groups(names("h", 50), "Public", "busy")
    code, lines = run("create-group", "--group", "k", "--type", "Public", "--owner", "a", "busy")
    assert code != 0 and tcp_app.usage_or_none("k") is None, lines
