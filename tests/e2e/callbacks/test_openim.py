"""Each command of OpenIM, allowed and denied: the answer, and what the app holds after it."""

import re

import grpc
import pytest

from app import ALREADY_HELD, APPLIED, App, names, outcomes
from callbacks import stop
from openim import ALLOWED, operation, read, refuses
from stubs import common_pb

CHECK_ONLY = common_pb.MODE_CHECK_ONLY
PUBLIC, PRIVATE, CHAT_ROOM, AV_CHAT_ROOM = range(4)


def denied(answer, code: int, denial=None) -> None:
    """Checks a refusal: its code and, where the denial is given, its sentence and details."""
    decoded = read(answer)
    assert refuses(answer), answer
    assert answer.status == 200
    assert (decoded["actionCode"], decoded["errCode"], decoded["nextCode"]) == (0, code, 1), answer
    assert decoded["errMsg"], answer
    if denial is not None:
        assert decoded["errMsg"] == denial.message
        reason = common_pb.DenialReason.Name(denial.reason).removeprefix("DENIAL_REASON_")
        assert re.search(reason.replace("_", "."), decoded["errDlt"], re.IGNORECASE), answer
        assert str(denial.limit) in decoded["errDlt"], answer
        for upgrade in denial.upgrades:
            assert getattr(upgrade, upgrade.WhichOneof("item")) in decoded["errDlt"], answer


def allowed(answer) -> None:
    """Checks the exact answer to a command that is allowed, or after which the IM goes on."""
    assert (answer.status, answer.json) == (200, ALLOWED), answer
    assert answer.headers["content-type"].startswith("application/json"), answer.headers


def is_member(app: App, group: str, user: str) -> bool:
    """Returns whether the user is in the group."""
    return app.join_or_none(group, user, mode=CHECK_ONLY) == [ALREADY_HELD]


# Users.


def test_registrations_are_refused_whole(openim):
    im, app = openim
    allowed(im.register(*names("u", 60)))
    assert app.accounts() == 60
    (denial,) = app.create_accounts(*names("v", 50), mode=CHECK_ONLY)[-1].denials
    denied(im.register(*names("v", 50)), 20398, denial)
    assert app.accounts() == 60
    allowed(im.register(*names("v", 40)))
    denied(im.register("one-more"), 20398)
    allowed(im.register(*names("u", 60)))
    assert app.accounts() == 100


def test_a_registration_beyond_the_bound_of_a_batch_is_taken_in_parts(openim):
    im, app = openim
    allowed(im.register(*names("u", 60)))
    denied(im.register(*names("v", 240)), 20398)
    assert app.accounts() == 60
    assert app.usages()["accounts_per_app"].held == 0
    app.upgrade()
    allowed(im.register(*names("v", 240)))
    usage = app.usages()["accounts_per_app"]
    assert (usage.used, usage.held) == (300, 0)


def test_a_user_who_comes_online_is_counted_once_a_day(openim):
    im, app = openim
    for user in ("alice", "bob", "alice"):
        allowed(im.online(user))
    assert app.history()["dau"].today == 2


# Groups.


@pytest.mark.parametrize("owner_in_info", [False, True])
def test_a_group_gets_an_id_and_its_members_right_before_the_write(openim, owner_in_info):
    im, app = openim
    id_of_operation = operation()
    asked = im.before_create("alice", ["bob"], group_type=PRIVATE, operation_id=id_of_operation,
                             owner_in_info=owner_in_info)
    decoded = asked.json
    group = decoded.pop("groupID")
    assert decoded == ALLOWED and asked.status == 200
    assert 1 <= len(group) <= 48 and not group.startswith("@TGS#")
    assert app.usage_or_none(group) is None and app.groups("alice") == 0
    allowed(im.members_join(group, "alice", "bob", operation_id=id_of_operation))
    assert (app.members(group), app.groups("alice"), app.groups("bob")) == (2, 1, 1)
    with pytest.raises(grpc.RpcError) as error:
        app.create_group(group, "Public", mode=CHECK_ONLY)
    assert error.value.code() == grpc.StatusCode.ALREADY_EXISTS
    assert app.create_group(group, "Private", mode=CHECK_ONLY).group.outcome == ALREADY_HELD
    allowed(im.after_create(group, "alice", ["bob"], PRIVATE))
    assert (app.members(group), app.usages(group_id=group)["members_per_group"].held) == (2, 0)


def test_generated_ids_differ(openim):
    im, _app = openim
    found = {im.before_create("alice").json["groupID"] for _ in range(20)}
    assert len(found) == 20


def test_a_given_id_stays(openim):
    im, app = openim
    asked = im.before_create("alice", ["bob"], group="g-1", group_type=CHAT_ROOM,
                             operation_id="op-1")
    assert asked.json in (ALLOWED, {**ALLOWED, "groupID": "g-1"})
    assert app.usage_or_none("g-1") is None
    allowed(im.members_join("g-1", "alice", "bob", operation_id="op-1"))
    assert app.create_group("g-1", "ChatRoom", mode=CHECK_ONLY).group.outcome == ALREADY_HELD


def test_members_of_an_unknown_group_make_one_of_the_default_type(openim):
    im, app = openim
    allowed(im.members_join("g-old", "alice", "bob"))
    assert (app.members("g-old"), app.groups("alice"), app.groups("bob")) == (2, 1, 1)
    assert app.create_group("g-old", "Public", mode=CHECK_ONLY).group.outcome == ALREADY_HELD


def test_a_creation_whose_owner_has_too_many_groups_is_refused(openim):
    im, app = openim
    app.create_groups(names("h", 50), "Public", "busy")
    denial = app.create_group("x", "Public", "busy", mode=CHECK_ONLY).group.denials[0]
    group, answer = im.create("busy", ["bob"])
    denied(answer, 20037, denial)
    assert app.usage_or_none(group) is None and app.groups("bob") == 0


def test_a_creation_is_refused_whole_for_one_member(openim):
    im, app = openim
    app.create_groups(names("h", 50), "Public", "busy")
    group, answer = im.create("alice", ["bob", "busy"])
    denied(answer, 20037)
    assert app.usage_or_none(group) is None
    assert (app.groups("alice"), app.groups("bob")) == (0, 0)
    group, answer = im.create("alice", names("m", 25))
    denied(answer, 20038)
    assert app.usage_or_none(group) is None and app.groups("m0") == 0


def test_rooms_beyond_the_app_are_refused(openim):
    im, app = openim
    for _ in range(10):
        allowed(im.create("alice", group_type=AV_CHAT_ROOM)[1])
    denial = app.create_group("x", "AVChatRoom", mode=CHECK_ONLY).group.denials[0]
    denied(im.create("alice", group_type=AV_CHAT_ROOM)[1], 20036, denial)
    assert app.rooms("AVChatRoom") == 10


def test_members_are_refused_whole(openim):
    im, app = openim
    app.create_group("g", "Public", "owner", names("m", 16))
    app.create_groups(names("h", 50), "Public", "busy")
    denied(im.members_join("g", "alice", "busy"), 20037)
    denied(im.members_join("g", *names("n", 4)), 20014)
    assert app.members("g") == 17 and app.groups("alice") == 0
    allowed(im.members_join("g", "alice", "bob", "carol"))
    allowed(im.members_join("g", "alice", "m0"))
    (denial,) = app.join("g", "dave", mode=CHECK_ONLY)[0].denials
    denied(im.members_join("g", "dave"), 20014, denial)
    assert app.members("g") == 20


def test_members_beyond_the_bound_of_a_batch_are_taken_in_parts(openim):
    im, app = openim
    app.upgrade().buy("members-2000")
    group, answer = im.create("alice", names("m", 1200))
    allowed(answer)
    usage = app.usages(group_id=group)["members_per_group"]
    assert (usage.used, usage.held) == (1201, 0)
    denied(im.members_join(group, *names("n", 900)), 20014)
    assert app.members(group) == 1201 and app.groups("n0") == 0
    large, answer = im.create("alice", names("k", 2100))
    denied(answer, read(answer)["errCode"])
    assert read(answer)["errCode"] in (20014, 20038)
    assert app.usage_or_none(large) is None and app.groups("k0") == 0
    assert app.groups("alice") == 1


def test_an_application_and_an_invitation_take_nothing(openim):
    im, app = openim
    app.create_group("g", "Public", "owner", names("m", 18))
    allowed(im.before_join("g", "alice"))
    allowed(im.before_invite("g", "alice"))
    denied(im.before_invite("g", "alice", "bob"), 20014)
    assert app.members("g") == 19
    app.join("g", "alice")
    allowed(im.before_invite("g", "alice"))
    denied(im.before_join("g", "bob"), 20014)
    denied(im.before_join("g", "bob", group_type=2), 20014)
    assert app.members("g") == 20 and app.groups("bob") == 0
    app.create_groups(names("h", 50), "Public", "busy")
    allowed(im.before_join("new", "bob", group_type=2))
    denied(im.before_join("new", "busy", group_type=2), 20037)
    denied(im.before_invite("new", "busy"), 20037)
    assert app.usage_or_none("new") is None


def test_after_joins_and_creations_do_nothing(openim):
    im, app = openim
    app.create_group("g", "Public", "owner")
    allowed(im.after_join("g", "alice"))
    allowed(im.after_create("never-asked", "owner", ["bob"]))
    assert app.members("g") == 1
    assert app.usage_or_none("never-asked") is None


def test_members_who_quit_or_are_kicked_are_released(openim):
    im, app = openim
    app.create_group("g", "Public", "owner", ["a", "b", "c", "d"])
    allowed(im.quit("g", "a"))
    allowed(im.kick("g", "b", "c"))
    assert app.members("g") == 2
    for _ in range(2):
        allowed(im.quit("g", "a"))
        allowed(im.kick("g", "b", "unknown"))
        allowed(im.quit("unknown", "a"))
    assert app.members("g") == 2 and app.groups("d") == 1


@pytest.mark.parametrize("group_type", [2, 0, 97])
def test_a_dismissed_group_releases_all(openim, group_type):
    im, app = openim
    app.create_group("g", "Public", "owner", ["a", "b"])
    for _ in range(2):
        allowed(im.dismiss("g", "owner", [], group_type))
    assert app.usage_or_none("g") is None
    assert (app.groups("owner"), app.groups("a")) == (0, 0)


# Friends.


def test_a_request_takes_nothing(openim):
    im, app = openim
    app.add_friends("full", *names("f", 20), one_way=True)
    allowed(im.before_add_friend("alice", "bob"))
    (denial,) = app.add_friends("full", "alice", mode=CHECK_ONLY)[0].denials
    denied(im.before_add_friend("full", "alice"), 23010, denial)
    denied(im.before_add_friend("alice", "full"), 23014)
    assert (app.friends("alice"), app.friends("bob")) == (0, 0)


def test_an_accepted_request_makes_friends_on_both_sides(openim):
    im, app = openim
    app.add_friends("full", *names("f", 20), one_way=True)
    for _ in range(2):
        allowed(im.agree("alice", "bob"))
    assert (app.friends("alice"), app.friends("bob")) == (1, 1)
    for result in (-1, 0):
        allowed(im.agree("alice", "carol", result))
    assert (app.friends("alice"), app.friends("carol")) == (1, 0)
    (denial,) = app.add_friends("full", "alice", mode=CHECK_ONLY)[0].denials
    denied(im.agree("alice", "full"), 23010, denial)
    denied(im.agree("full", "alice"), 23014)
    assert app.friends("alice") == 1
    held = app.add_friends("bob", "alice", mode=CHECK_ONLY)
    assert outcomes(held) == [ALREADY_HELD]


def test_an_import_is_cut_to_the_friends_who_fit(openim):
    im, app = openim
    app.add_friends("full", *names("f", 20), one_way=True)
    answer = im.import_friends("alice", "a", "b", "full", "c", "d").json
    assert answer == {**ALLOWED, "friendUserIDs": ["a", "b", "c", "d"]}
    assert (app.friends("alice"), app.friends("a"), app.friends("full")) == (4, 1, 20)
    denied(im.import_friends("alice", "full"), 23014)
    denied(im.import_friends("full", "x", "y"), 23010)
    whole = im.import_friends("alice", "a", "e").json
    assert whole.pop("friendUserIDs", None) in (None, [], ["a", "e"]) and whole == ALLOWED
    assert app.friends("alice") == 5


def test_a_deleted_friend_leaves_one_list(openim):
    im, app = openim
    app.add_friends("alice", "bob")
    for _ in range(2):
        allowed(im.delete_friend("alice", "bob"))
    assert (app.friends("alice"), app.friends("bob")) == (0, 1)


# The rest.


@pytest.mark.parametrize("command", [
    "callbackBeforeSendSingleMsgCommand", "callbackAfterSendGroupMsgCommand",
    "callbackAfterUserOfflineCommand", "callbackBeforeAddBlackCommand", "aLaterCommand",
])
def test_any_other_command_goes_on_and_is_counted(shared, openim, command):
    im, app = openim
    before = shared.sidecar.counted(protocol="openim", command=command)
    allowed(im.call(command, sendID="alice", groupID="g", userID="alice"))
    allowed(im.raw(command, b"not JSON"))
    assert shared.sidecar.counted(protocol="openim", command=command) - before == 2
    assert app.usage_or_none("g") is None


def test_an_answer_is_counted_by_command(shared, openim):
    im, _app = openim
    command = "callbackBeforeUserRegisterCommand"
    before = shared.sidecar.counted(protocol="openim", command=command)
    allowed(im.register(*names("u", 100)))
    denied(im.register("v"), 20398)
    assert shared.sidecar.counted(protocol="openim", command=command) - before == 2


def test_a_stopped_service_refuses_with_its_own_code(openim):
    im, app = openim
    stop(app)
    denied(im.register("alice"), 26020)
    denied(im.create("alice")[1], 26020)
    denied(im.before_add_friend("alice", "bob"), 26020)
    denied(im.agree("alice", "bob"), 26020)
    denied(im.import_friends("alice", "bob"), 26020)
    allowed(im.quit("g", "alice"))


def test_queries_are_ignored(openim):
    im, app = openim
    body = b'{"callbackCommand":"callbackBeforeUserRegisterCommand","users":[{"userID":"u"}]}'
    allowed(im.raw("callbackBeforeUserRegisterCommand", body, query={"contenttype": "json"}))
    assert app.accounts() == 1


def test_what_is_held_already_is_allowed_at_the_limit(openim):
    im, app = openim
    app.create_group("g", "Public", "owner", names("m", 19))
    allowed(im.members_join("g", "m0"))
    allowed(im.before_join("g", "m0"))
    app.add_friends("full", *names("f", 20), one_way=True)
    allowed(im.before_add_friend("full", "f0"))
    assert outcomes(app.join("g", "m0", mode=CHECK_ONLY)) == [ALREADY_HELD] != [APPLIED]
