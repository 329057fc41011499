"""Takes with a hold: confirmed, released, expired, repeated, and the leaks that they prevent."""

import uuid

import grpc
import pytest

from app import ALREADY_HELD, APPLIED, DENIED, NOT_HELD, TIMEOUT_S, App, names, outcomes
from details import error_info, error_of
from event_watch import Watch
from sidecar import wait_until
from stubs import admin_pb, common_pb, quota_pb

CONFIRMED = quota_pb.HOLD_OUTCOME_CONFIRMED
RETAKEN = quota_pb.HOLD_OUTCOME_RETAKEN
REFUSED = quota_pb.HOLD_OUTCOME_DENIED
RELEASED = quota_pb.HOLD_OUTCOME_RELEASED
ENDED_OTHERWISE = quota_pb.HOLD_OUTCOME_ENDED_OTHERWISE
FORCE = common_pb.MODE_FORCE
SEATS = 20
"""The most members of a group on the trial edition."""


def operation() -> str:
    """A new id of an operation."""
    return uuid.uuid4().hex


def held_members(app: App, group: str) -> tuple[int, int]:
    """The members of a group, and how many of them are held."""
    usage = app.usages(group_id=group)["members_per_group"]
    return usage.used, usage.held


def wait_for(condition, expected) -> None:
    """Waits until a hold of a second has ended and `condition()` is what is expected."""
    wait_until(lambda: condition() == expected, 10, f"{expected}, but {condition()}")


def reason_of(call) -> str:
    """The reason of the error of a call."""
    return error_info(error_of(call)).reason


def test_a_confirmed_take_stays_and_one_that_is_not_confirmed_ends(tcp_app):
    app = tcp_app
    app.create_group("g", "Public", "owner")
    kept, dropped = operation(), operation()
    assert app.hold_seat("g", "a", kept, seconds=1).outcome == APPLIED
    assert app.hold_seat("g", "b", dropped, seconds=1).outcome == APPLIED
    assert held_members(app, "g") == (3, 2)
    (confirmed,) = app.confirm(kept)
    assert (confirmed.outcome, confirmed.user_id, confirmed.group_id) == (CONFIRMED, "a", "g")
    assert confirmed.operation == quota_pb.HOLD_OPERATION_JOIN_GROUP
    assert not confirmed.HasField("expired_at")
    assert held_members(app, "g") == (3, 1)
    wait_for(lambda: held_members(app, "g"), (2, 0))
    assert outcomes(app.leave("g", "b").results) == [NOT_HELD]
    assert outcomes(app.join("g", "a")) == [ALREADY_HELD]
    assert outcomes(app.confirm(kept)) == [CONFIRMED]


def test_every_take_can_be_held_and_released(tcp_app):
    app, ids = tcp_app, [operation() for _ in range(4)]
    app.hold("CreateAccounts", ids[0], 60, user_ids=["a", "b"])
    app.hold("AddFriends", ids[1], 60, user_id="a", friend_ids=["b"])
    app.hold("CreateGroup", ids[2], 60, group_id="g", type="Public", owner_id="a",
             member_ids=["b"])
    app.create_group("h", "Public", "owner")
    app.hold_seat("h", "a", ids[3])
    counts = (app.accounts(), app.friends("a"), app.friends("b"), app.groups("a"), app.groups("b"))
    assert counts == (2, 1, 1, 2, 1)
    assert app.usages()["accounts_per_app"].held == 2
    assert app.usages(user_id="a")["friends_per_user"].held == 1
    released = [app.release(each) for each in ids]
    assert [outcomes(each) for each in released] == [
        [RELEASED, RELEASED], [RELEASED], [RELEASED, RELEASED], [RELEASED]
    ]
    (friend,), (whole, member) = released[1], released[2]
    assert (friend.user_id, friend.friend_id) == ("a", "b")
    assert (whole.user_id, whole.group_id) == ("", "g")
    assert (member.user_id, member.group_id) == ("b", "g")
    counts = (app.accounts(), app.friends("a"), app.friends("b"), app.groups("a"), app.groups("b"))
    assert counts == (0, 0, 0, 0, 0)
    assert app.usage_or_none("g") is None
    assert app.members("h") == 1


def test_a_repetition_is_applied_and_counts_once_and_other_content_is_refused(tcp_app):
    app, id_ = tcp_app, operation()
    app.create_group("g", "Public", "owner")
    first = app.hold_seat("g", "a", id_)
    again = app.hold_seat("g", "a", id_)
    assert (first.outcome, first.repeated) == (APPLIED, False)
    assert (again.outcome, again.repeated) == (APPLIED, True)
    assert app.members("g") == 2
    assert reason_of(lambda: app.hold_seat("g", "b", id_)) == "HOLD_DIFFERS"
    # Another kind of RPC, and another part, do not conflict.
    app.hold("CreateAccounts", id_, 60, user_ids=["a"])
    assert outcomes(app.confirm(id_)) == [CONFIRMED, CONFIRMED]
    # After its end the id is a new take.
    app.leave("g", "a")
    assert app.hold_seat("g", "b", id_).outcome == APPLIED


def test_relation_selects_the_holds_that_end(tcp_app):
    app, id_ = tcp_app, operation()
    app.create_group("g", "Public", "owner")
    app.hold("CreateAccounts", id_, 60, user_ids=["a"])
    app.hold_seat("g", "a", id_)
    assert outcomes(app.release(id_, quota_pb.HOLD_RELATION_GROUPS)) == [RELEASED]
    assert (app.accounts(), app.members("g")) == (1, 1)
    assert outcomes(app.confirm(id_, quota_pb.HOLD_RELATION_ACCOUNTS)) == [CONFIRMED]
    friends = quota_pb.HOLD_RELATION_FRIENDS
    assert reason_of(lambda: app.confirm(id_, friends)) == "HOLD_NOT_FOUND"


def test_an_unknown_id_is_not_found(tcp_app):
    for call in (tcp_app.confirm, tcp_app.release):
        error = error_of(lambda call=call: call("nothing"))
        assert (error.code(), error_info(error).reason) == (
            grpc.StatusCode.NOT_FOUND, "HOLD_NOT_FOUND")


def test_a_held_fact_ends_with_the_last_of_its_holds(tcp_app):
    app, first, second = tcp_app, operation(), operation()
    app.create_group("g", "Public", "owner")
    assert app.hold_seat("g", "a", first).outcome == APPLIED
    assert app.hold_seat("g", "a", second).outcome == ALREADY_HELD
    assert outcomes(app.release(first)) == [RELEASED]
    assert held_members(app, "g") == (2, 1)
    assert outcomes(app.release(second)) == [RELEASED]
    assert held_members(app, "g") == (1, 0)
    # A take without a hold makes it permanent.
    third = operation()
    app.hold_seat("g", "a", third)
    assert outcomes(app.join("g", "a")) == [ALREADY_HELD]
    assert outcomes(app.release(third)) == [ENDED_OTHERWISE]
    assert outcomes(app.confirm(third)) == [CONFIRMED]
    assert held_members(app, "g") == (2, 0)


def test_what_a_leave_or_a_dissolution_ended_is_never_retaken(tcp_app):
    app, left, dissolved = tcp_app, operation(), operation()
    app.create_group("g", "Public", "owner")
    app.hold_seat("g", "a", left)
    app.leave("g", "a")
    assert outcomes(app.confirm(left, mode=FORCE)) == [ENDED_OTHERWISE]
    app.hold_seat("g", "b", dissolved)
    app.dissolve("g")
    assert outcomes(app.confirm(dissolved, mode=FORCE)) == [ENDED_OTHERWISE]
    assert app.usage_or_none("g") is None


def test_a_late_confirmation_takes_anew_within_the_limits_and_is_an_event(tcp_app):
    app, late, too_late = tcp_app, operation(), operation()
    app.create_group("g", "Public", "owner")
    app.hold_seat("g", "a", late, seconds=1)
    app.hold_seat("g", "b", too_late, seconds=1)
    wait_for(lambda: app.members("g"), 1)
    (retaken,) = app.confirm(late)
    assert retaken.outcome == RETAKEN and retaken.HasField("expired_at")
    app.join("g", *names("m", SEATS - 2))
    assert app.members("g") == SEATS
    (denied,) = app.confirm(too_late)
    assert (denied.outcome, len(denied.denials)) == (REFUSED, 1)
    error = error_of(lambda: app.confirm(too_late, metadata=[("imquota-deny-as-error", "1")]))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error_info(error).reason == "MEMBERS_PER_GROUP"
    assert outcomes(app.confirm(too_late, mode=FORCE)) == [RETAKEN]
    assert held_members(app, "g") == (SEATS + 1, 0)

    watch = Watch(app, "0", app_id=app.id, kinds=[admin_pb.EVENT_KIND_HOLD_RETAKEN])
    found = watch.next(2)
    watch.cancel()
    assert [(each.operation_id, list(each.user_ids), each.count) for each in found] == [
        (late, ["a"], 1), (too_late, ["b"], 1)]
    assert {(each.operation, each.subject.group_id) for each in found} == {("join_group", "g")}


def test_the_end_of_a_hold_comes_after_earlier_takes_of_the_stream(tcp_app):
    app = tcp_app
    app.create_group("g", "Public", "owner")
    operations = [operation() for _ in range(10)]

    def requests():
        for number, id_ in enumerate(operations):
            take = quota_pb.JoinGroupRequest(
                app_id=app.id, group_id="g", user_ids=[f"u{number}"], hold_seconds=60,
                operation_id=id_)
            yield quota_pb.ApplyRequest(tag=2 * number, join_group=take)
            confirm = quota_pb.ConfirmHoldRequest(app_id=app.id, operation_id=id_)
            yield quota_pb.ApplyRequest(tag=2 * number + 1, confirm_hold=confirm)

    answers = {it.tag: it for it in app.quota.Apply(requests(), timeout=TIMEOUT_S)}
    for number, _ in enumerate(operations):
        assert outcomes(answers[2 * number].join_group.results) == [APPLIED]
        assert outcomes(answers[2 * number + 1].confirm_hold.results) == [CONFIRMED]
    assert held_members(app, "g") == (11, 0)


# Three leaks, each as an IM causes it: it asks before its commit, and never says that that failed.


def test_uninvited_users_whom_the_im_refuses_do_not_fill_the_group(tcp_app):
    app, members = tcp_app, {"owner"}
    app.create_group("g", "Public", "owner")
    for number in range(10):
        # The hook of the IM asks; the IM then refuses the user by its own rules, silently.
        assert app.hold_seat("g", f"uninvited{number}", operation(), seconds=1).outcome == APPLIED
    for user in names("invited", 3):
        id_ = operation()
        assert app.hold_seat("g", user, id_, seconds=1).outcome == APPLIED
        members.add(user)
        assert outcomes(app.confirm(id_)) == [CONFIRMED]
    wait_for(lambda: held_members(app, "g"), (len(members), 0))
    assert outcomes(app.join("g", *names("more", SEATS - len(members)))) == (
        [APPLIED] * (SEATS - len(members)))


def test_a_lost_answer_with_its_repetition_and_a_failed_commit_leak_no_seat(tcp_app):
    app, id_ = tcp_app, operation()
    app.create_group("g", "Public", "owner")
    # The answer of the first is lost, the second is its repetition, and then the commit fails.
    app.hold_seat("g", "a", id_, seconds=1)
    assert app.hold_seat("g", "a", id_, seconds=1).repeated
    wait_for(lambda: held_members(app, "g"), (1, 0))
    assert outcomes(app.leave("g", "a").results) == [NOT_HELD]


def test_a_group_whose_commit_failed_goes_with_its_members(tcp_app):
    app, before = tcp_app, tcp_app.rooms("Public")
    fields = {"group_id": "g", "type": "Public", "owner_id": "a", "member_ids": ["b", "c"]}
    answer = app.hold("CreateGroup", operation(), 1, **fields)
    assert (answer.group.outcome, outcomes(answer.members)) == (APPLIED, [APPLIED, APPLIED])
    assert (app.rooms("Public"), app.groups("b")) == (before + 1, 1)
    wait_for(lambda: app.usage_or_none("g"), None)
    assert (app.rooms("Public"), app.groups("a"), app.groups("b")) == (before, 0, 0)


@pytest.mark.parametrize("full", [False, True])
def test_the_last_seat_is_given_once_and_again_after_the_expiry(tcp_app, full):
    app = tcp_app
    app.create_group("g", "Public", "owner", names("m", SEATS - 2))
    last = operation()
    assert app.hold_seat("g", "a", last, seconds=1).outcome == APPLIED
    if full:
        assert outcomes(app.confirm(last)) == [CONFIRMED]
    assert outcomes(app.join("g", "b")) == [DENIED]
    expected = DENIED if full else APPLIED
    wait_for(lambda: held_members(app, "g")[1], 0)
    assert outcomes(app.join("g", "b")) == [expected]
