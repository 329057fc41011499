"""Repeated takes, takes in every mode, and releases.

Every test runs over TCP and over the Unix socket, with an app of its own.
"""

import pytest

from app import (
    ALREADY_HELD, APPLIED, DENIED, NOT_HELD, TIMEOUT_S, App, denial_of, names, outcomes,
)
from stubs import common_pb, quota_pb


def test_a_held_fact_is_already_held_although_the_limit_is_reached(app):
    app.create_accounts(*names("u", 100))
    app.add_friends("u0", *names("u", 20, first=1))
    app.create_group("g", "Public", "u0", names("u", 19, first=1))
    app.create_groups(names("busy-g", 50), "Public", owner="busy")
    assert outcomes(app.create_accounts("u3", "u100")) == [ALREADY_HELD, DENIED]
    assert outcomes(app.add_friends("u0", "u4", "x")) == [ALREADY_HELD, DENIED]
    assert outcomes(app.join("g", "u5", "x")) == [ALREADY_HELD, DENIED]
    assert outcomes(app.join("busy-g3", "busy")) == [ALREADY_HELD]
    assert app.create_group("busy-g3", "Public", "busy").group.outcome == ALREADY_HELD


def test_everything_repeated_counts_once(app):
    assert outcomes(app.create_accounts("u", "u")) == [APPLIED, ALREADY_HELD]
    assert outcomes(app.create_accounts("u")) == [ALREADY_HELD]
    assert outcomes(app.add_friends("u", "f", "f")) == [APPLIED, ALREADY_HELD]
    assert outcomes(app.add_friends("f", "u")) == [ALREADY_HELD]
    first = app.create_group("g", "Public", "u", ["u", "m", "m"])
    assert outcomes(first.members) == [ALREADY_HELD, APPLIED, ALREADY_HELD]
    again = app.create_group("g", "Public", "u", ["u", "m", "n"])
    assert again.group.outcome == ALREADY_HELD
    assert outcomes(again.members) == [ALREADY_HELD, ALREADY_HELD, APPLIED]
    assert outcomes(app.join("g", "n", "o", "o")) == [ALREADY_HELD, APPLIED, ALREADY_HELD]
    held = (app.accounts(), app.friends("u"), app.friends("f"), app.members("g"), app.groups("u"))
    assert held == (1, 1, 1, 4, 1)

    assert outcomes(app.leave("g", "o", "o").results) == [APPLIED, NOT_HELD]
    assert outcomes(app.leave("g", "o").results) == [NOT_HELD]
    assert outcomes(app.remove_friends("u", "f", "f")) == [APPLIED, NOT_HELD]
    released = [app.dissolve("g") for _ in range(2)]
    assert [(each.result.outcome, each.members_released) for each in released] == [
        (APPLIED, 3), (NOT_HELD, 0)
    ]
    assert outcomes(app.leave("g", "u").results) == [NOT_HELD]
    assert outcomes(app.delete_accounts("u", "u", "absent")) == [APPLIED, NOT_HELD, NOT_HELD]
    held = (app.accounts(), app.friends("u"), app.friends("f"), app.groups("u"), app.groups("m"))
    assert held == (0, 0, 0, 0, 0)


def _account(app, mode):
    before = app.accounts()
    return app.create_accounts("extra", mode=mode)[0], before, app.accounts()


def _friend(app, mode):
    before = app.friends("u")
    return app.add_friends("u", "extra", mode=mode)[0], before, app.friends("u")


def _join(app, mode):
    before = app.members("g")
    return app.join("g", "extra", mode=mode)[0], before, app.members("g")


def _room(app, mode):
    before = app.rooms("AVChatRoom")
    return app.create_group("extra", "AVChatRoom", mode=mode).group, before, app.rooms("AVChatRoom")


TAKES = [_account, _friend, _join, _room]
"""Each takes one fact and returns the result, the usage before and the usage after."""


def _held(app, full: bool) -> None:
    """Brings the app to one below every limit, or to every limit."""
    at = 0 if full else 1
    app.create_accounts(*names("u", 100 - at))
    app.add_friends("u", *names("u", 20 - at))
    app.create_group("g", "Public", "owner", names("u", 19 - at))
    app.create_groups(names("r", 10 - at), "AVChatRoom")


@pytest.mark.parametrize(
    ("mode", "full", "outcome", "has_denials", "grows"),
    [
        ("MODE_UNSPECIFIED", False, APPLIED, False, True),
        ("MODE_UNSPECIFIED", True, DENIED, True, False),
        ("MODE_ENFORCE", False, APPLIED, False, True),
        ("MODE_ENFORCE", True, DENIED, True, False),
        ("MODE_CHECK_ONLY", False, APPLIED, False, False),
        ("MODE_CHECK_ONLY", True, DENIED, True, False),
        ("MODE_SHADOW", False, APPLIED, False, True),
        ("MODE_SHADOW", True, APPLIED, True, True),
        ("MODE_FORCE", False, APPLIED, False, True),
        ("MODE_FORCE", True, APPLIED, False, True),
    ],
)
def test_modes(app, mode, full, outcome, has_denials, grows):
    _held(app, full)
    for take in TAKES:
        result, before, after = take(app, common_pb.Mode.Value(mode))
        assert (result.outcome, bool(result.denials)) == (outcome, has_denials), (take, result)
        assert after == before + (1 if grows else 0), take


def test_usage_over_its_limit_stays_and_grows_again_only_below_it(app):
    app.create_group("g", "Public", "owner", names("u", 19))
    forced = app.join("g", "v", "w", mode=common_pb.MODE_FORCE)
    assert outcomes(forced) == [APPLIED] * 2
    assert app.members("g") == 22
    for leaver in names("u", 2):
        assert denial_of(app.join("g", "x")[0], "MEMBERS_PER_GROUP").limit == 20
        app.leave("g", leaver)
    assert outcomes(app.join("g", "x")) == [DENIED], "20 of 20 is full"
    app.leave("g", "v")
    assert outcomes(app.join("g", "x")) == [APPLIED]


# Operations that release all facts.


def test_a_deleted_account_leaves_every_group_and_every_friend_list(app):
    app.create_accounts("u", "f")
    app.add_friends("u", "f")
    app.add_friends("f", "u", one_way=True)
    app.add_friends("admirer", "u", one_way=True)
    app.create_group("owned", "Public", "u", ["f"])
    app.create_group("joined", "Private", "f")
    app.join("joined", "u")
    app.create_group("alone", "ChatRoom", "u")

    assert outcomes(app.delete_accounts("u")) == [APPLIED]
    assert app.accounts() == 1
    assert (app.friends("u"), app.groups("u")) == (0, 0)
    assert (app.friends("f"), app.friends("admirer")) == (0, 0)
    assert (app.members("owned"), app.members("joined"), app.groups("f")) == (1, 1, 2)
    assert app.rooms("ChatRoom") == 0, "a group without members is reclaimed"
    assert outcomes(app.delete_accounts("u")) == [NOT_HELD]


def test_a_group_without_members_is_reclaimed_but_an_av_room_is_not(app):
    app.create_group("g", "Public", "u", ["m"])
    assert not app.leave("g", "u").group_reclaimed
    assert app.leave("g", "m").group_reclaimed
    assert app.rooms("Public") == 0
    app.create_group("av", "AVChatRoom", "u")
    app.leave("av", "u")
    assert app.rooms("AVChatRoom") == 1


def test_dissolving_releases_the_group_for_every_member(app):
    app.create_group("g", "Public", "u", names("m", 10))
    assert app.dissolve("g").members_released == 11
    assert [app.groups(user) for user in ("u", *names("m", 10))] == [0] * 11
    assert app.rooms("Public") == 0


# Apps are independent of each other, and the IM may choose group ids.


def test_equal_ids_in_another_app_are_independent(app, sidecar):
    app.create_accounts("u")
    app.create_group("g", "Public", "u")
    with App(sidecar) as other:
        assert outcomes(other.create_accounts("u")) == [APPLIED]
        assert other.create_group("g", "ChatRoom", "u").group.outcome == APPLIED
        other.dissolve("g")
    assert (app.members("g"), app.groups("u")) == (1, 1)


def test_a_group_id_that_the_im_allocated_may_start_with_its_prefix(app):
    created = app.create_group("@TGS#1ABC", "Public", "u", group_id_allocated_by_im=True)
    assert created.group.outcome == APPLIED
    assert outcomes(app.join("@TGS#1ABC", "m")) == [APPLIED]
    assert app.members("@TGS#1ABC") == 2


def test_every_response_has_the_time_of_its_decision(app):
    request = quota_pb.CreateAccountsRequest(app_id=app.id, user_ids=["u"])
    decision = app.quota.CreateAccounts(request, timeout=TIMEOUT_S).decision
    assert decision.decided_at.seconds > 1_500_000_000
    assert decision.degradation == ""
