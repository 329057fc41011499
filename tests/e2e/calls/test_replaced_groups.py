"""Groups that have no id yet: a held group becomes the new one by `replaces_group_id`."""

import subprocess
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from app import ALREADY_HELD, APPLIED, DENIED, TIMEOUT_S, App, names, outcomes
from details import bad_fields, error_info, error_of
from sidecar import binary, clean_environment, wait_until
from stubs import common_pb, quota_pb

ROOMS = 10
"""The most AVChatRooms of an app on the trial edition."""
SEATS = 20
"""The most members of a group on the trial edition."""
GROUPS = 50
"""The most groups of a user on the trial edition."""
CHECK_ONLY = common_pb.MODE_CHECK_ONLY
CONFIRMED = quota_pb.HOLD_OUTCOME_CONFIRMED
ENDED_OTHERWISE = quota_pb.HOLD_OUTCOME_ENDED_OTHERWISE


def placeholder(app: App, group: str, group_type: str = "Public", seconds: int = 60, **more) -> str:
    """Creates a held group; returns the id of the operation."""
    operation = uuid.uuid4().hex
    fields = {"group_id": group, "type": group_type, **more}
    answer = app.hold("CreateGroup", operation, seconds, **fields)
    assert answer.group.outcome == APPLIED, answer
    return operation


def held_members(app: App, group: str) -> tuple[int, int]:
    """The members of a group, and how many of them are held."""
    usage = app.usages(group_id=group)["members_per_group"]
    return usage.used, usage.held


def refused(call) -> None:
    """Checks that a call cannot replace the group."""
    error = error_of(call)
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert error_info(error).reason == "CANNOT_REPLACE"


def test_two_rooms_that_get_their_ids_later_never_exceed_the_limit(tcp_app):
    app = tcp_app
    app.create_groups(names("room", ROOMS - 1), "AVChatRoom")
    first = placeholder(app, "tmp1", "AVChatRoom")
    second = app.hold("CreateGroup", uuid.uuid4().hex, 60, group_id="tmp2", type="AVChatRoom")
    assert second.group.outcome == DENIED
    assert app.rooms("AVChatRoom") == ROOMS
    # The second has nothing to replace: a normal creation, under the same limit.
    denied = app.create_group("b", "AVChatRoom", replaces_group_id="tmp2")
    assert denied.group.outcome == DENIED and denied.group.denials[0].used == ROOMS
    created = app.create_group("a", "AVChatRoom", replaces_group_id="tmp1")
    assert created.group.outcome == APPLIED
    again = app.create_group("a", "AVChatRoom", replaces_group_id="tmp1")
    assert again.group.outcome == ALREADY_HELD
    usage = app.usages()["groups_per_app/AVChatRoom"]
    assert (usage.used, usage.held) == (ROOMS, 0)
    assert app.usage_or_none("tmp1") is None and app.usage_or_none("a") is not None
    # The first operation has no part in it any more: it is confirmed.
    assert outcomes(app.release(first)) == [ENDED_OTHERWISE]
    assert app.rooms("AVChatRoom") == ROOMS


def test_of_many_rooms_at_once_as_many_are_created_as_the_limit_admits(tcp_app):
    app, seen, done = tcp_app, [], threading.Event()

    def create(number: int) -> bool:
        held = app.hold("CreateGroup", uuid.uuid4().hex, 60, group_id=f"tmp{number}",
                        type="AVChatRoom").group.outcome
        if held == APPLIED:
            created = app.create_group(f"room{number}", "AVChatRoom",
                                       replaces_group_id=f"tmp{number}")
            assert created.group.outcome == APPLIED, created
        return held == APPLIED

    def watch() -> None:
        while not done.is_set():
            seen.append(app.rooms("AVChatRoom"))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        with ThreadPoolExecutor(16) as callers:
            created = list(callers.map(create, range(4 * ROOMS)))
    finally:
        done.set()
        watching.join()
    assert created.count(True) == ROOMS and max(seen) <= ROOMS
    assert seen == sorted(seen), "a replacement frees no room in between"
    for number, is_there in enumerate(created):
        assert (app.usage_or_none(f"room{number}") is not None) == is_there
        assert app.usage_or_none(f"tmp{number}") is None
    usage = app.usages()["groups_per_app/AVChatRoom"]
    assert (usage.used, usage.held) == (ROOMS, 0)


def test_members_are_moved_and_confirmed_and_new_ones_are_taken(tcp_app):
    app = tcp_app
    before = app.usages()["groups_per_day"].used
    first = placeholder(app, "tmp", owner_id="a", member_ids=["b"])
    joined = uuid.uuid4().hex
    assert app.hold_seat("tmp", "c", joined).outcome == APPLIED
    app.create_groups(names("g", GROUPS), "Public", "busy")
    created = app.create_group("g", "Public", "a", ["b", "busy", "d"], replaces_group_id="tmp")
    assert created.group.outcome == APPLIED
    assert outcomes(created.members) == [ALREADY_HELD, DENIED, APPLIED]
    assert held_members(app, "g") == (4, 0)
    assert app.usage_or_none("tmp") is None
    assert [app.groups(user) for user in "abcd"] == [1, 1, 1, 1]
    assert app.usages()["groups_per_day"].used == before + GROUPS + 1
    # What was moved is permanent, for each of its operations.
    assert outcomes(app.release(first)) == [ENDED_OTHERWISE] * 2
    (confirmed,) = app.confirm(joined)
    assert (confirmed.outcome, confirmed.user_id, confirmed.group_id) == (CONFIRMED, "c", "g")
    again = app.create_group("g", "Public", "a", ["b", "d"], replaces_group_id="tmp")
    assert again.group.outcome == ALREADY_HELD
    assert outcomes(again.members) == [ALREADY_HELD] * 2
    assert app.members("g") == 4


def test_with_a_hold_what_is_moved_runs_on_under_the_new_id(tcp_app):
    app, new = tcp_app, uuid.uuid4().hex
    first = placeholder(app, "tmp", owner_id="a", member_ids=["b"])
    fields = {"group_id": "g", "type": "Public", "owner_id": "a", "member_ids": ["c"],
              "replaces_group_id": "tmp"}
    created = app.hold("CreateGroup", new, 60, **fields)
    assert (created.group.outcome, outcomes(created.members)) == (APPLIED, [APPLIED])
    again = app.hold("CreateGroup", new, 60, **fields)
    assert again.group.repeated and again.members[0].repeated
    assert held_members(app, "g") == (3, 3)
    confirmed = app.confirm(first)
    assert outcomes(confirmed) == [CONFIRMED] * 2
    assert {result.group_id for result in confirmed} == {"g"}
    assert held_members(app, "g") == (3, 1)
    app.release(new)
    assert held_members(app, "g") == (2, 0)


def test_a_group_that_expired_is_replaced_by_a_normal_creation(tcp_app):
    app = tcp_app
    placeholder(app, "tmp", seconds=1, owner_id="a", member_ids=["b"])
    wait_until(lambda: app.usage_or_none("tmp") is None, 10, "the hold never ends")
    created = app.create_group("g", "Public", "a", replaces_group_id="tmp")
    assert created.group.outcome == APPLIED
    assert (held_members(app, "g"), app.groups("b")) == ((1, 0), 0)


def test_a_group_that_is_there_is_joined_and_the_held_one_ends_by_itself(tcp_app):
    app = tcp_app
    app.create_group("g", "Public", "a")
    placeholder(app, "tmp", seconds=1, owner_id="b")
    joined = app.create_group("g", "Public", "a", ["b"], replaces_group_id="tmp")
    assert (joined.group.outcome, outcomes(joined.members)) == (ALREADY_HELD, [APPLIED])
    wait_until(lambda: app.usage_or_none("tmp") is None, 10, "the hold never ends")
    assert (app.members("g"), app.groups("b")) == (2, 1)


def test_only_a_held_group_of_the_type_is_replaced(tcp_app):
    app = tcp_app
    app.create_group("permanent", "Public", "a")
    placeholder(app, "tmp", owner_id="b")
    for replaced, group_type in (("permanent", "Public"), ("tmp", "Private")):
        refused(lambda it=(replaced, group_type): app.create_group(
            "g", it[1], "a", replaces_group_id=it[0]))
    assert app.usage_or_none("g") is None
    assert (app.members("permanent"), held_members(app, "tmp")) == (1, (1, 1))


def test_a_group_of_more_than_500_members_is_not_replaced(tcp_app):
    app = tcp_app.upgrade()
    app.buy("members-2000")
    first = placeholder(app, "tmp", "ChatRoom", member_ids=names("m", 500))
    assert app.hold_seat("tmp", "one-more", uuid.uuid4().hex).outcome == APPLIED
    refused(lambda: app.create_group("g", "ChatRoom", replaces_group_id="tmp"))
    app.leave("tmp", "one-more")
    created = app.create_group("g", "ChatRoom", replaces_group_id="tmp")
    assert created.group.outcome == APPLIED
    assert held_members(app, "g") == (500, 0)
    assert set(outcomes(app.confirm(first))) == {CONFIRMED}


def test_a_denied_owner_or_a_dry_run_moves_nothing(tcp_app):
    app = tcp_app
    app.create_groups(names("h", GROUPS), "Public", "busy")
    placeholder(app, "tmp", owner_id="a")
    denied = app.create_group("g", "Public", "busy", ["c"], replaces_group_id="tmp")
    assert (denied.group.outcome, outcomes(denied.members)) == (DENIED, [DENIED])
    whole = app.create_group("g", "Public", "a", ["c", "busy"], replaces_group_id="tmp",
                             all_or_nothing=True)
    assert whole.group.outcome == common_pb.OUTCOME_ABORTED
    checked = app.create_group("g", "Public", "a", ["c"], replaces_group_id="tmp", mode=CHECK_ONLY)
    assert (checked.group.outcome, outcomes(checked.members)) == (APPLIED, [APPLIED])
    assert app.usage_or_none("g") is None
    assert (held_members(app, "tmp"), app.groups("c")) == ((1, 1), 0)


def test_moved_members_fill_the_group(tcp_app):
    app = tcp_app
    placeholder(app, "tmp", owner_id="a", member_ids=names("m", SEATS - 2))
    created = app.create_group("g", "Public", "a", ["b", "c"], replaces_group_id="tmp")
    assert outcomes(created.members) == [APPLIED, DENIED]
    assert held_members(app, "g") == (SEATS, 0)


@pytest.mark.parametrize("count", [1, 10])
def test_on_a_stream_the_creation_comes_after_its_placeholder(tcp_app, count):
    app = tcp_app

    def requests():
        for number in range(count):
            new = {"app_id": app.id, "type": "AVChatRoom"}
            take = quota_pb.CreateGroupRequest(group_id=f"tmp{number}", hold_seconds=60,
                                               operation_id=uuid.uuid4().hex, **new)
            yield quota_pb.ApplyRequest(tag=2 * number, create_group=take)
            create = quota_pb.CreateGroupRequest(group_id=f"g{number}",
                                                 replaces_group_id=f"tmp{number}", **new)
            yield quota_pb.ApplyRequest(tag=2 * number + 1, create_group=create)

    answers = list(app.quota.Apply(requests(), timeout=TIMEOUT_S))
    assert [it.create_group.group.outcome for it in answers] == [APPLIED] * (2 * count)
    usage = app.usages()["groups_per_app/AVChatRoom"]
    assert (usage.used, usage.held) == (count, 0)


def test_the_id_is_checked_and_the_request_has_at_most_500_members(tcp_app):
    def create(**more):
        return lambda: tcp_app.create_group("g", "Public", **more)

    for replaced in ("g", "a\nb", "g" * 256):
        error = error_of(create(replaces_group_id=replaced))
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert bad_fields(error) == ["replaces_group_id"]
    error = error_of(create(replaces_group_id="tmp", members=names("m", 501)))
    assert bad_fields(error) == ["member_ids"]


def test_the_command_line_replaces_a_group(sidecar, tcp_app):
    def run(*arguments: str) -> tuple[int, str]:
        command = [binary(), "quota", "create-group", "--app", tcp_app.id, "--type", "Public",
                   "--address", sidecar.tcp, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=clean_environment(),
                              timeout=30, check=False)
        return done.returncode, done.stdout + done.stderr

    code, printed = run("--group", "tmp", "--owner", "a", "--hold", "60", "--operation-id", "o")
    assert code == 0, printed
    code, printed = run("--group", "g", "--owner", "a", "--replaces", "tmp")
    assert code == 0 and "applied" in printed
    assert held_members(tcp_app, "g") == (1, 0)
    code, printed = run("--group", "h", "--replaces", "g")
    assert code != 0 and "g" in printed and "cannot be replaced" in printed
