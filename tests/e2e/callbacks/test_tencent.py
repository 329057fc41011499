"""Each command of Tencent's IM, allowed and denied: the answer, and what the app holds after it."""

import grpc
import pytest

import tencent as im_of_tencent
from app import ALREADY_HELD, App, names, outcomes
from callbacks import stop
from stubs import common_pb
from tencent import ALLOWED, FRIEND_CODES, friend_codes, read, refused_members, refuses

CHECK_ONLY = common_pb.MODE_CHECK_ONLY
GROUP = "@TGS#2J4SZEAEL"


def allowed(answer) -> None:
    """Checks the exact answer to a command that is allowed, or after which the IM goes on."""
    assert (answer.status, answer.json) == (200, ALLOWED), answer
    assert answer.headers["content-type"].startswith("application/json"), answer.headers


def denied(answer, code: int, denial=None) -> None:
    """Checks a refusal: its code and, where the denial is given, its sentence."""
    assert answer.status == 200 and refuses(answer), answer
    decoded = read(answer)
    assert decoded["ErrorCode"] == code and decoded["ErrorInfo"], answer
    if denial is not None:
        assert decoded["ErrorInfo"] == denial.message


def friends_answered(answer, *codes: tuple[str, int]) -> None:
    """Checks the exact code of each friend."""
    decoded = read(answer)
    assert (decoded["ActionStatus"], decoded["ErrorCode"]) == ("OK", 0), answer
    assert friend_codes(answer) == list(codes), answer
    for item in decoded["ResultItem"]:
        assert bool(item["ResultInfo"]) == (item["ResultCode"] != 0), answer


def held(app: App, group: str) -> tuple[int, int]:
    """The members of the group, and those of them that are held."""
    usage = app.usages(group_id=group)["members_per_group"]
    return usage.used, usage.held


def groups(app: App, user: str) -> tuple[int, int]:
    """The groups of the user, and those of them that are held."""
    usage = app.usages(user_id=user)["groups_per_user"]
    return usage.used, usage.held


def type_is(app: App, group: str, group_type: str) -> bool:
    """Returns whether the group exists with that type."""
    try:
        answer = app.create_group(group, group_type, mode=CHECK_ONLY, group_id_allocated_by_im=True)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.ALREADY_EXISTS, error
        return False
    return answer.group.outcome == ALREADY_HELD


# Groups.


def test_a_group_without_an_id_is_held_and_gets_its_id(tencent):
    im, app = tencent
    allowed(im.before_create("alice", ["bob"], "Work"))
    assert (groups(app, "alice"), groups(app, "bob")) == ((1, 1), (1, 1))
    allowed(im.after_create(GROUP, "alice", ["bob"], "Work"))
    assert (groups(app, "alice"), groups(app, "bob")) == ((1, 0), (1, 0))
    assert held(app, GROUP) == (2, 0) and type_is(app, GROUP, "Private")
    allowed(im.after_create(GROUP, "alice", ["bob"], "Work"))
    assert (held(app, GROUP), groups(app, "alice")) == ((2, 0), (1, 0))


def test_a_creation_that_was_not_asked_is_taken_by_force(tencent):
    im, app = tencent
    app.create_groups(names("h", 50), "Public", "busy")
    allowed(im.after_create(GROUP, "busy", names("m", 25)))
    assert held(app, GROUP) == (26, 0) and groups(app, "busy") == (51, 0)


def test_a_creation_is_refused_whole(tencent):
    im, app = tencent
    app.create_groups(names("h", 50), "Public", "busy")
    denial = app.create_group("x", "Public", "busy", mode=CHECK_ONLY).group.denials[0]
    denied(im.before_create("busy", ["bob"]), 10137, denial)
    denied(im.before_create("alice", ["bob", "busy"]), 10137)
    denied(im.before_create("alice", names("m", 25)), 10138)
    assert [groups(app, user) for user in ("alice", "bob", "m0")] == [(0, 0)] * 3


@pytest.mark.parametrize("count", [499, 500, 501, 1200])
def test_a_large_creation_is_in_the_ledger_once(tencent, count):
    """Of more than 500 members as many are held; the creation itself writes all of them."""
    im, app = tencent
    app.upgrade().buy("members-2000")
    members = names("m", count)
    answer = im.before_create("alice", members)
    allowed(answer)
    assert groups(app, "alice") == groups(app, members[min(count, 500) - 1]) == (1, 1)
    allowed(im.after_create(GROUP, "alice", members))
    assert held(app, GROUP) == (count + 1, 0)
    assert groups(app, "alice") == groups(app, "m0") == groups(app, members[-1]) == (1, 0)


@pytest.mark.parametrize("bad", ["\u0001", "x" * 40, "日本", ""])
def test_a_bad_id_exempts_no_group_from_its_limits(tencent, bad):
    im, app = tencent
    for number in range(10):
        allowed(im.before_create(f"o{number}", group_type="AVChatRoom", name=f"room {number}"))
    denied(im.before_create("one more", [bad], group_type="AVChatRoom"), 10136)
    denied(im.before_create("alice", [bad, *names("m", 25)]), 10138)
    denied(im.before_create("alice", [*names("m", 505), bad]), 10138)
    allowed(im.before_create("alice", [bad, "bob"]))
    allowed(im.after_create(GROUP, "alice", [bad, "bob"]))
    assert held(app, GROUP) == (2, 0)


def test_a_refusal_does_not_name_the_placeholder(tencent):
    im, _ = tencent
    sentence = read(im.before_create("alice", names("m", 25)))["ErrorInfo"]
    assert sentence == "the new group has 20 of at most 20 members"


def test_rooms_of_a_kind_become_theirs_in_one_step(tencent):
    """With a drop and a creation in place of one step, 19 rooms stood under a limit of 10."""
    im, app = tencent
    for number in range(10):
        allowed(im.before_create(f"o{number}", group_type="AVChatRoom", name=f"room {number}"))
    denial = app.create_group("x", "AVChatRoom", mode=CHECK_ONLY).group.denials[0]
    for number in range(10):
        denied(im.before_create("late", group_type="AVChatRoom"), 10136, denial)
        allowed(im.after_create(f"@TGS#{number}", f"o{number}", group_type="AVChatRoom",
                                name=f"room {number}"))
        assert app.rooms("AVChatRoom") == 10
    denied(im.before_create("late", group_type="AVChatRoom"), 10136)


def test_creations_alike_are_matched_first_in_first_out(tencent):
    im, app = tencent
    allowed(im.before_create("alice", ["first"], "Public", "same"))
    allowed(im.before_create("alice", ["second"], "Public", "same"))
    allowed(im.before_create("alice", ["other"], "Public", "another"))
    assert groups(app, "alice") == (3, 3)
    allowed(im.after_create("@TGS#1", "alice", ["first"], "Public", "same"))
    assert (groups(app, "alice"), groups(app, "first"), groups(app, "second")) == (
        (3, 2), (1, 0), (1, 1))
    allowed(im.after_create("@TGS#2", "alice", ["second"], "Public", "same"))
    allowed(im.after_create("@TGS#3", "alice", ["other"], "Public", "another"))
    assert [held(app, f"@TGS#{number}") for number in (1, 2, 3)] == [(2, 0)] * 3
    allowed(im.after_create("@TGS#4", "alice", [], "Public", "same"))
    assert groups(app, "alice") == (4, 0)


def test_single_members_of_an_invitation_are_refused(tencent):
    im, app = tencent
    app.create_group(GROUP, "Public", "owner", names("m", 2), group_id_allocated_by_im=True)
    answer = im.before_invite(GROUP, names("n", 25))
    decoded = answer.json
    assert decoded.pop("RefusedMembers_Account") == names("n", 8, first=17)
    assert decoded == ALLOWED
    assert app.members(GROUP) == 20
    allowed(im.after_join(GROUP, names("n", 17)))
    assert held(app, GROUP) == (20, 0) and groups(app, "n0") == (1, 0)
    (denial,) = app.join(GROUP, "x", mode=CHECK_ONLY)[0].denials
    denied(im.before_invite(GROUP, ["x", "y"]), 10114, denial)
    decoded = im.before_invite(GROUP, ["n0", "x"]).json
    assert decoded.pop("RefusedMembers_Account") == ["x"] and decoded == ALLOWED
    decoded = im.before_invite(GROUP, ["n0", "n1"]).json
    assert not decoded.pop("RefusedMembers_Account", []) and decoded == ALLOWED


def test_an_invited_user_with_too_many_groups_is_refused_alone(tencent):
    im, app = tencent
    app.create_group(GROUP, "Public", "owner", group_id_allocated_by_im=True)
    app.create_groups(names("h", 50), "Public", "busy")
    answer = im.before_invite(GROUP, ["alice", "busy", "bob"])
    assert not refuses(answer) and refused_members(answer) == ["busy"]
    denied(im.before_invite(GROUP, ["busy"]), 10137)
    assert app.members(GROUP) == 3


@pytest.mark.parametrize("group_type", ["Meeting", "ChatRoom"])
def test_an_application_without_approval_is_held(tencent, group_type):
    im, app = tencent
    app.create_group(GROUP, "ChatRoom", "owner", names("m", 18), group_id_allocated_by_im=True)
    allowed(im.before_apply(GROUP, "alice", group_type))
    assert held(app, GROUP) == (20, 1)
    (denial,) = app.join(GROUP, "bob", mode=CHECK_ONLY)[0].denials
    denied(im.before_apply(GROUP, "bob", group_type), 10114, denial)
    allowed(im.before_apply(GROUP, "alice", group_type))
    allowed(im.after_join(GROUP, ["alice"], group_type))
    assert held(app, GROUP) == (20, 0)


def test_an_application_that_an_administrator_has_to_accept_takes_nothing(tencent):
    im, app = tencent
    app.create_group(GROUP, "Public", "owner", names("m", 18), group_id_allocated_by_im=True)
    allowed(im.before_apply(GROUP, "alice", "Public"))
    assert held(app, GROUP) == (19, 0)
    app.join(GROUP, "bob")
    denied(im.before_apply(GROUP, "alice", "Public"), 10114)


def test_members_who_were_added_are_taken_by_force(tencent):
    im, app = tencent
    app.create_group(GROUP, "Public", "owner", names("m", 19), group_id_allocated_by_im=True)
    allowed(im.after_join(GROUP, ["alice", "bob"]))
    assert held(app, GROUP) == (22, 0)
    allowed(im.after_join("@TGS#unknown", ["alice", "bob"], "Work"))
    assert held(app, "@TGS#unknown") == (2, 0) and type_is(app, "@TGS#unknown", "Private")


def test_members_who_left_and_groups_that_ended_are_released(tencent):
    im, app = tencent
    app.create_group(GROUP, "Public", "owner", ["a", "b", "c"], group_id_allocated_by_im=True)
    for _ in range(2):
        allowed(im.after_exit(GROUP, ["a", "b", "unknown"]))
        allowed(im.after_exit("@TGS#unknown", ["a"]))
        assert app.members(GROUP) == 2
    for _ in range(2):
        allowed(im.destroyed(GROUP, ["owner", "c"]))
        assert app.usage_or_none(GROUP) is None
    assert [app.groups(user) for user in ("owner", "a", "c")] == [0, 0, 0]


# Friends.


def test_friends_on_one_side_are_refused_one_by_one(tencent):
    im, app = tencent
    app.add_friends("alice", *names("f", 18), one_way=True)
    app.add_friends("full", *names("f", 20), one_way=True)
    answer = im.prev_friend_add("alice", ["full", "bob", "carol", "f0"])
    friends_answered(answer, ("full", 0), ("bob", 0), ("carol", 38010), ("f0", 0))
    (denial,) = app.add_friends("alice", "x", one_way=True, mode=CHECK_ONLY)[0].denials
    assert read(answer)["ResultItem"][2]["ResultInfo"] == denial.message
    assert (app.friends("alice"), app.friends("bob"), app.friends("full")) == (20, 0, 20)
    allowed(im.friend_add(("alice", "full"), ("alice", "bob")))
    assert (app.friends("alice"), app.friends("bob"), app.friends("full")) == (20, 0, 20)


@pytest.mark.parametrize("add_type", ["Add_Type_Both", None])
def test_a_request_to_become_friends_takes_nothing(tencent, add_type):
    im, app = tencent
    app.add_friends("full", *names("f", 20), one_way=True)
    friends_answered(im.prev_friend_add("alice", ["bob", "full"], add_type),
                     ("bob", 0), ("full", 38014))
    friends_answered(im.prev_friend_add("full", ["bob"], add_type), ("bob", 38010))
    assert (app.friends("alice"), app.friends("bob")) == (0, 0)


def test_an_accepted_request_makes_friends_on_both_sides(tencent):
    im, app = tencent
    app.add_friends("full", *names("f", 20), one_way=True)
    for _ in range(2):
        friends_answered(im.prev_friend_response("bob", ["alice", "full"]),
                         ("alice", 0), ("full", 38014))
    friends_answered(im.prev_friend_response("full", ["alice"]), ("alice", 38010))
    assert (app.friends("alice"), app.friends("bob"), app.friends("full")) == (1, 1, 20)
    allowed(im.friend_add(("alice", "bob"), ("bob", "alice")))
    assert (app.friends("alice"), app.friends("bob")) == (1, 1)


def test_an_agreement_lets_the_requester_alone_have_the_friend(tencent):
    im, app = tencent
    friends_answered(im.prev_friend_response("bob", ["alice"], "Agree"), ("alice", 0))
    assert (app.friends("alice"), app.friends("bob")) == (1, 0)
    allowed(im.friend_add(("alice", "bob")))
    assert (app.friends("alice"), app.friends("bob")) == (1, 0)
    app.add_friends("full", *names("f", 20), one_way=True)
    ((user, code),) = friend_codes(im.prev_friend_response("bob", ["full"], "Agree"))
    assert user == "full" and code in FRIEND_CODES


def test_a_rejection_takes_nothing(tencent):
    im, app = tencent
    friends_answered(im.prev_friend_response("bob", ["alice"], "Reject"), ("alice", 0))
    assert (app.friends("alice"), app.friends("bob")) == (0, 0)


def test_friends_who_were_added_or_deleted_are_pairs_of_one_list_each(tencent):
    im, app = tencent
    app.add_friends("alice", *names("f", 20), one_way=True)
    allowed(im.friend_add(("alice", "bob"), ("bob", "alice"), ("alice", "carol")))
    assert [app.friends(user) for user in ("alice", "bob", "carol")] == [22, 1, 0]
    for _ in range(2):
        allowed(im.friend_delete(("alice", "bob"), ("alice", "carol")))
        assert [app.friends(user) for user in ("alice", "bob", "carol")] == [20, 1, 0]


# The rest.


def test_logins_alone_are_recorded(tencent):
    im, app = tencent
    for user, action in (("a", "Login"), ("b", "Logout"), ("c", "Disconnect"), ("a", "Login")):
        allowed(im.state(user, action))
    assert app.history()["dau"].today == 1


@pytest.mark.parametrize("command", [
    "Group.CallbackBeforeSendMsg", "C2C.CallbackAfterSendMsg", "Profile.CallbackPortraitSet",
    "Group.CallbackAfterGroupFull", "A.LaterCommand",
])
def test_any_other_command_goes_on_and_is_counted(shared, tencent, command):
    im, app = tencent
    before = shared.sidecar.counted(protocol="tencent", command=command)
    allowed(im.call(command, {"GroupId": GROUP, "From_Account": "alice"}))
    allowed(im.raw(command, b"not JSON"))
    assert shared.sidecar.counted(protocol="tencent", command=command) - before == 2
    assert app.usage_or_none(GROUP) is None


def test_a_stopped_service_refuses_with_its_own_code(tencent):
    im, app = tencent
    stop(app)
    denied(im.before_create("alice", ["bob"]), 10160)
    allowed(im.after_create(GROUP, "alice", ["bob"]))
    denied(im.before_invite(GROUP, ["carol"]), 10160)
    denied(im.before_apply(GROUP, "carol", "Public"), 10160)
    for answer in (im.prev_friend_add("alice", ["bob"]), im.prev_friend_response("bob", ["alice"])):
        ((_, code),) = friend_codes(answer)
        assert code != 0, answer
    assert (app.members(GROUP), app.friends("alice")) == (2, 0)
    allowed(im.after_exit(GROUP, ["bob"]))
    assert app.members(GROUP) == 1


def test_the_instant_of_an_event_may_be_a_text_a_number_or_absent(tencent):
    im, app = tencent
    app.create_group(GROUP, "Public", "owner", names("m", 3), group_id_allocated_by_im=True)
    now = im_of_tencent.now_ms()
    allowed(im.after_exit(GROUP, ["m0"], at=str(now)))
    allowed(im.after_exit(GROUP, ["m1"], at=now))
    allowed(im.after_exit(GROUP, ["m2"], at=False))
    assert app.members(GROUP) == 1
    allowed(im.after_join(GROUP, ["a"], at=str(now)))
    allowed(im.after_join(GROUP, ["b"], at=False))
    assert app.members(GROUP) == 3
    assert outcomes(app.join(GROUP, "a", mode=CHECK_ONLY)) == [ALREADY_HELD]
