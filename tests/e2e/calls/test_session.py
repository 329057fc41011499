"""A session of an IM server with a sidecar, with the numbers of the published price list.

Every test runs over TCP and over the Unix socket, with an app of its own.
"""

from app import (
    ALREADY_HELD, APPLIED, DENIED, NOT_HELD, PROFESSIONAL_FEN, App, denial_of, names, offer,
    outcomes,
)
from stubs import common_pb

EDITION = common_pb.LIMIT_SOURCE_EDITION
ADD_ON = common_pb.LIMIT_SOURCE_ADD_ON
GROUP_TYPE = common_pb.LIMIT_SOURCE_GROUP_TYPE
GROUP = common_pb.LIMIT_SOURCE_GROUP


def professional(new_limit: int | None):
    """The upgrade to the professional edition."""
    return ("edition_id", "professional", new_limit, PROFESSIONAL_FEN)


def fill_groups_of(app: App, user: str, count: int) -> None:
    """Makes a user the owner of `count` groups."""
    app.create_groups(names(f"{user}-g", count), "Public", owner=user)
    assert app.groups(user) == count


# Accounts.


def test_the_101st_trial_account_is_denied_and_the_professional_edition_admits_it(app):
    assert outcomes(app.create_accounts(*names("u", 100))) == [APPLIED] * 100

    (refused,) = app.create_accounts("u100")
    denial = denial_of(refused, "ACCOUNTS_PER_APP")
    assert refused.id == "u100"
    assert denial.limit_id == "accounts_per_app"
    assert denial.subject.WhichOneof("kind") == "app"
    assert (denial.used, denial.limit, denial.requested) == (100, 100, 1)
    assert (denial.source, denial.source_id) == (EDITION, "trial")
    assert denial.im_error_code == 70398
    assert denial.message.isascii() and denial.message
    assert offer(denial) == professional(None)
    assert app.accounts() == 100

    app.upgrade()
    assert outcomes(app.create_accounts("u100")) == [APPLIED]
    assert app.accounts() == 101
    assert not app.usages()["accounts_per_app"].HasField("limit")


def test_a_batch_of_accounts_is_admitted_up_to_the_limit(app):
    app.create_accounts(*names("u", 97))
    results = app.create_accounts("u0", *names("n", 5))
    assert [result.id for result in results] == ["u0", *names("n", 5)]
    assert outcomes(results) == [ALREADY_HELD] + [APPLIED] * 3 + [DENIED] * 2
    assert app.accounts() == 100


def test_a_released_account_makes_room_for_another(app):
    app.create_accounts(*names("u", 100))
    assert outcomes(app.delete_accounts("u7")) == [APPLIED]
    assert outcomes(app.create_accounts("new", "newer")) == [APPLIED, DENIED]


# Members of a group.


def test_a_public_group_grows_to_20_then_200_then_past_it_with_the_add_on(app):
    assert app.create_group("g", "Public", "owner").group.outcome == APPLIED
    assert outcomes(app.join("g", *names("u", 19))) == [APPLIED] * 19
    assert app.members("g") == 20

    denial = denial_of(app.join("g", "late")[0], "MEMBERS_PER_GROUP")
    assert denial.im_error_code == 10014
    assert denial.limit_id == "members_per_group"
    assert denial.subject.group_id == "g"
    assert (denial.used, denial.limit) == (20, 20)
    assert (denial.source, denial.source_id) == (EDITION, "trial")
    assert offer(denial) == professional(200)

    app.upgrade()
    results = app.join("g", *names("v", 181))
    assert outcomes(results) == [APPLIED] * 180 + [DENIED]
    denial = denial_of(results[-1], "MEMBERS_PER_GROUP")
    assert (denial.used, denial.limit, denial.source_id) == (200, 200, "professional")
    assert offer(denial) == ("add_on_id", "members-2000", 2000, 50_000)

    app.buy("members-2000")
    assert outcomes(app.join("g", *names("w", 300))) == [APPLIED] * 300
    usage = app.usages(group_id="g")["members_per_group"]
    assert (usage.used, usage.limit) == (500, 2000)


def test_a_private_group_stays_at_200_with_every_purchase(app):
    app.upgrade().buy("members-6000")
    app.create_group("g", "Private", "owner")
    results = app.join("g", *names("u", 200))
    assert outcomes(results) == [APPLIED] * 199 + [DENIED]
    denial = denial_of(results[-1], "MEMBERS_PER_GROUP")
    assert (denial.im_error_code, denial.limit) == (10014, 200)
    assert (denial.source, denial.source_id) == (GROUP_TYPE, "Private")
    assert offer(denial) is None


def test_each_group_type_has_the_published_member_cap_under_each_purchase(app):
    types = ["Private", "Public", "ChatRoom", "AVChatRoom", "BChatRoom"]
    for group_type in types:
        app.create_group(group_type, group_type, "owner")

    def caps():
        usages = [app.usages(group_id=group)["members_per_group"] for group in types]
        return [usage.limit if usage.HasField("limit") else None for usage in usages]

    assert caps() == [20, 20, 20, None, None]
    app.upgrade()
    assert caps() == [200, 200, 200, None, None]
    app.buy("members-6000")
    assert caps() == [200, 2000, 6000, None, None]


def test_a_member_list_at_creation_is_admitted_up_to_the_limit(app):
    answer = app.create_group("g", "Public", "owner", names("u", 25))
    assert answer.group.outcome == APPLIED
    assert outcomes(answer.members) == [APPLIED] * 19 + [DENIED] * 6
    denial = denial_of(answer.members[-1], "MEMBERS_AT_CREATION")
    assert denial.im_error_code == 10038
    assert offer(denial) == professional(200)
    assert app.members("g") == 20
    assert app.groups("u24") == 0


def test_of_10_the_first_3_admissible_get_into_a_group_with_room_for_3(app):
    fill_groups_of(app, "busy", 50)
    app.create_group("g", "Public", "owner", names("m", 16))
    assert app.members("g") == 17

    results = app.join("g", "busy", "m0", *names("u", 8))
    assert outcomes(results) == [DENIED, ALREADY_HELD] + [APPLIED] * 3 + [DENIED] * 5
    assert denial_of(results[0], "GROUPS_PER_USER").subject.user_id == "busy"
    assert denial_of(results[-1], "MEMBERS_PER_GROUP").used == 20
    assert app.members("g") == 20
    assert [app.groups(user) for user in names("u", 8)] == [1] * 3 + [0] * 5


def test_the_groups_own_limit_binds_and_can_be_changed(app):
    app.create_group("g", "Public", "owner", max_members=2)
    results = app.join("g", "a", "b")
    assert outcomes(results) == [APPLIED, DENIED]
    denial = denial_of(results[1], "MEMBERS_PER_GROUP")
    assert (denial.limit, denial.source, denial.source_id) == (2, GROUP, "g")
    assert offer(denial) is None

    assert app.set_max_members("g", 3).outcome == APPLIED
    assert app.set_max_members("g", 3).outcome == ALREADY_HELD
    assert outcomes(app.join("g", "b", "c")) == [APPLIED, DENIED]

    assert app.set_max_members("g", 1).outcome == APPLIED
    assert app.members("g") == 3, "a lower limit removes no member"
    assert outcomes(app.join("g", "c")) == [DENIED]

    assert app.set_max_members("g", None).outcome == APPLIED
    assert outcomes(app.join("g", "c")) == [APPLIED]


# Groups of a user.


def test_the_201st_group_of_a_user_is_denied_and_the_add_on_admits_it(app):
    app.upgrade()
    app.create_group("other", "Public", "somebody")
    fill_groups_of(app, "u", 200)

    created = app.create_group("one-more", "Public", "u", ["friend"])
    denial = denial_of(created.group, "GROUPS_PER_USER")
    assert outcomes(created.members) == [DENIED], "an owner over the limit fails the creation"
    assert not created.members[0].denials
    assert app.rooms("Public") == 201
    for found in (denial, denial_of(app.join("other", "u")[0], "GROUPS_PER_USER")):
        assert (found.im_error_code, found.limit_id) == (10037, "groups_per_user")
        assert (found.used, found.limit, found.subject.user_id) == (200, 200, "u")
        assert offer(found) == ("add_on_id", "groups-per-user-400", 400, 50_000)

    app.buy("groups-per-user-400")
    assert app.create_group("one-more", "Public", "u").group.outcome == APPLIED
    assert outcomes(app.join("other", "u")) == [APPLIED]
    usage = app.usages(user_id="u")["groups_per_user"]
    assert (usage.used, usage.limit) == (202, 400)
    assert (usage.source, usage.source_id) == (ADD_ON, "groups-per-user-400")


def test_the_price_lists_own_example_goes_200_199_198_199_200(app):
    app.upgrade()
    app.create_group("group 1", "Public", "somebody")

    def left():
        usage = app.usages(user_id="u")["groups_per_user"]
        return usage.limit - usage.used

    assert left() == 200
    assert outcomes(app.join("group 1", "u")) == [APPLIED]
    assert left() == 199
    assert app.create_group("group 2", "Public", "u").group.outcome == APPLIED
    assert left() == 198
    assert outcomes(app.leave("group 1", "u").results) == [APPLIED]
    assert left() == 199
    assert app.dissolve("group 2").members_released == 1
    assert left() == 200


def test_rooms_without_tracked_members_cost_their_owner_and_members_no_group(app):
    app.create_group("av", "AVChatRoom", "u", names("m", 3))
    app.create_group("b", "BChatRoom", "u")
    assert outcomes(app.join("av", "u", "m0", "n")) == [APPLIED] * 3
    assert [app.groups(user) for user in ("u", "m0", "n")] == [0, 0, 0]
    assert app.members("av") == 0


# Groups of an app.


def test_av_rooms_stop_at_10_on_trial_and_at_50_on_professional(app):
    app.create_groups(names("r", 10), "AVChatRoom")
    denial = denial_of(app.create_group("r10", "AVChatRoom").group, "GROUPS_PER_APP")
    assert (denial.im_error_code, denial.limit_id) == (10036, "groups_per_app/AVChatRoom")
    assert (denial.used, denial.limit) == (10, 10)
    assert offer(denial) == professional(50)

    app.upgrade()
    app.create_groups(names("r", 40, first=10), "AVChatRoom")
    denial = denial_of(app.create_group("r50", "AVChatRoom").group, "GROUPS_PER_APP")
    kind, _, new_limit, fen = offer(denial)
    assert (kind, new_limit, fen) == ("add_on_id", None, 100_000)

    for room in names("r", 3):
        assert app.dissolve(room).result.outcome == APPLIED
    assert app.rooms("AVChatRoom") == 47
    app.create_groups(names("again", 3), "AVChatRoom")
    assert app.rooms("AVChatRoom") == 50
    assert app.create_group("r50", "AVChatRoom").group.outcome == DENIED


def test_the_sixth_broadcast_room_is_denied_with_10006(app):
    app.create_groups(names("b", 5), "BChatRoom")
    refused = app.create_group("b5", "BChatRoom").group
    assert refused.outcome == DENIED
    reasons = [common_pb.DenialReason.Name(denial.reason) for denial in refused.denials]
    # Midnight may pass during this test and reset today's five.
    assert reasons in (
        ["DENIAL_REASON_GROUPS_PER_APP", "DENIAL_REASON_GROUPS_PER_DAY"],
        ["DENIAL_REASON_GROUPS_PER_APP"],
    )
    assert {denial.im_error_code for denial in refused.denials} == {10006}
    assert not any(denial.upgrades for denial in refused.denials)
    assert app.rooms("BChatRoom") == 5

    app.dissolve("b0")
    assert app.create_group("b5", "BChatRoom").group.outcome == APPLIED


# Friends.


def test_the_21st_trial_friend_is_denied_on_either_side_with_the_sides_own_code(app):
    assert outcomes(app.add_friends("full", *names("f", 20))) == [APPLIED] * 20

    mine = denial_of(app.add_friends("full", "new")[0], "MY_FRIENDS")
    assert (mine.im_error_code, mine.subject.user_id) == (30010, "full")
    assert (mine.used, mine.limit, mine.limit_id) == (20, 20, "friends_per_user")
    assert offer(mine) == professional(3000)

    peers = denial_of(app.add_friends("new", "full")[0], "PEER_FRIENDS")
    assert (peers.im_error_code, peers.subject.user_id) == (30014, "full")
    assert offer(peers) is None
    assert app.friends("new") == 0

    app.add_friends("full too", *names("t", 20))
    both = app.add_friends("full", "full too")[0]
    assert [denial.im_error_code for denial in both.denials] == [30010, 30014]

    app.upgrade()
    assert outcomes(app.add_friends("full", "new", "full too")) == [APPLIED] * 2
    assert (app.friends("full"), app.friends("new")) == (22, 1)


def test_one_way_friends_take_and_release_one_side_only(app):
    app.add_friends("full", *names("f", 20))
    assert outcomes(app.add_friends("a", "full", one_way=True)) == [APPLIED]
    assert (app.friends("a"), app.friends("full")) == (1, 20)
    assert outcomes(app.remove_friends("full", "f0", one_way=True)) == [APPLIED]
    assert (app.friends("full"), app.friends("f0")) == (19, 1)
    assert outcomes(app.remove_friends("full", "f1", "stranger")) == [APPLIED, NOT_HELD]
    assert (app.friends("full"), app.friends("f1")) == (18, 0)
