"""Matrix Synapse with the module of deploy/examples/synapse, driven over its public HTTP API.

After each test the ledger equals Synapse's database, and `imquota reconcile` finds nothing.
"""

import subprocess
import threading
import time

import pytest

from conftest import APP, HOLD_S, INVITE_HOLD_S, Im, catalog
from homeserver import Homeserver, Refused, User, python, together
from sidecar import Sidecar, wait_until

TRIAL_MEMBERS, TRIAL_GROUPS, GROUPS = 20, 50, 200
MEMBERS_CODE, GROUPS_CODE, ACCOUNTS_CODE = 10014, 10037, 70398
TRIAL_ACCOUNTS = 100
UNAVAILABLE = 503
ROUND_TIMEOUT_S = 60


def refusal(call) -> Refused:
    """The error of a call that is refused."""
    with pytest.raises(Refused) as caught:
        call()
    return caught.value


def decided(call):
    """The result of a call that is repeated until there is a decision."""
    end = time.monotonic() + ROUND_TIMEOUT_S
    while True:
        try:
            return call()
        except Refused as error:
            if error.status != UNAVAILABLE or time.monotonic() > end:
                raise


def codes(errors: list) -> list[int]:
    """imquota's codes of the calls that failed."""
    return [error.im_error_code for error in errors if error is not None]


class Joining:
    """Users who join rooms until a test ends it, each room by all at once; joins that are refused
    for want of a decision are repeated."""

    def __init__(self, rooms: list[str], users: list[User]):
        self.undecided = 0
        self.joined = 0
        self._threads = [threading.Thread(target=self._join, args=(user, rooms)) for user in users]
        self.unexpected: list[Refused] = []

    def _join(self, user: User, rooms: list[str]) -> None:
        for room in rooms:
            while True:
                try:
                    user.join(room)
                    self.joined += 1
                except Refused as error:
                    if error.status == UNAVAILABLE:
                        self.undecided += 1
                        continue
                    if error.im_error_code != MEMBERS_CODE:
                        self.unexpected.append(error)
                break

    def __enter__(self) -> "Joining":
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, kind, *_error) -> None:
        for each in self._threads:
            each.join(ROUND_TIMEOUT_S)
        if kind is None:
            assert not any(each.is_alive() for each in self._threads)
            assert not self.unexpected


def test_an_account_is_counted_when_it_is_created_and_released_when_it_is_deactivated(im: Im):
    before = len(im.server.accounts())
    taken = refusal(lambda: im.server.register("u0"))
    assert taken.body["errcode"] == "M_USER_IN_USE"
    newcomers = [im.server.register(f"new{n}") for n in range(TRIAL_ACCOUNTS - before)]
    im.check_equal()
    denied = refusal(lambda: im.server.register("one-too-many"))
    assert (denied.status, denied.im_error_code) == (403, ACCOUNTS_CODE)
    room = newcomers[0].create_room()
    newcomers[1].join(room)
    newcomers[1].deactivate()
    im.check_equal()
    im.server.register("instead")
    together([each.deactivate for each in newcomers[2:12]])
    im.check_equal()


def test_a_room_has_20_members_however_many_join_at_once(im: Im):
    owner, *others = im.users
    room = owner.create_room()
    errors = together([lambda user=user: user.join(room) for user in others])
    assert codes(errors) == [MEMBERS_CODE] * (len(im.users) - TRIAL_MEMBERS)
    assert len(im.server.members()[room]) == TRIAL_MEMBERS
    im.check_equal()
    inside = [user for user, error in zip(others, errors) if error is None]
    outside = [user for user, error in zip(others, errors) if error is not None]
    # A seat comes back by a leave, a kick, a ban; a new name in the room takes none.
    inside[0].leave(room)
    owner.kick(room, inside[1])
    owner.call("POST", f"rooms/{room}/ban", {"user_id": inside[2].id})
    wait_until(lambda: im.seats(room) == (TRIAL_MEMBERS - 3, 0), INVITE_HOLD_S,
               "three seats are free")
    inside[3].call("PUT", f"rooms/{room}/state/m.room.member/{inside[3].id}", {
        "membership": "join", "displayname": "another name"})
    assert codes(together([lambda user=user: user.join(room) for user in outside[:3]])) == []
    assert refusal(lambda: outside[3].join(room)).im_error_code == MEMBERS_CODE
    # One who leaves and joins again at once has a seat at the end.
    for _ in range(3):
        inside[4].leave(room)
        inside[4].join(room)
    im.check_equal()


def test_invited_users_have_a_seat_until_they_are_uninvited_or_do_not_come(im: Im):
    owner, *others = im.users
    room = owner.create_room(preset="private_chat")
    for user in others[:6]:
        owner.invite(room, user)
    assert im.seats(room) == (7, 6)
    for user in others[:3]:
        owner.kick(room, user)
    others[3].join(room)
    wait_until(lambda: im.seats(room) == (4, 2), INVITE_HOLD_S / 2, "three seats came back at once")
    # Two do not come.
    wait_until(lambda: im.seats(room) == (2, 0), INVITE_HOLD_S + 5, "two seats came back")
    others[4].join(room)
    others[5].leave(room)
    im.check_equal()


def test_a_refused_room_leaves_nothing(im: Im):
    owner, *others = im.users
    rooms = im.server.query("SELECT count(*) FROM rooms")
    denied = refusal(lambda: owner.create_room(
        is_direct=True, invite=[user.id for user in others[:2]]))
    assert denied.body["dev.imquota.limit"] == "members_per_group"
    assert im.server.query("SELECT count(*) FROM rooms") == rooms
    im.check_equal()


def test_the_type_follows_the_room_and_stays(im: Im):
    owner, friend = im.users[:2]
    encrypted = [{"type": "m.room.encryption", "state_key": "",
                  "content": {"algorithm": "m.megolm.v1.aes-sha2"}}]
    rooms = {
        owner.create_room(): "Public",
        owner.create_room(preset="private_chat", room_version="9"): "Private",
        owner.create_room(initial_state=encrypted): "Private",
        owner.create_room(is_direct=True, preset="trusted_private_chat"): "DirectChat",
        owner.create_room(room_version="10"): "Public",
        # A client cannot choose it.
        owner.create_room(creation_content={"dev.imquota.group_type": "AVChatRoom"}): "Public",
    }
    private = next(room for room, group_type in rooms.items() if group_type == "Private")
    owner.call("PUT", f"rooms/{private}/state/m.room.join_rules", {"join_rule": "public"})
    friend.join(private)
    once = owner.upgrade_room(private, "10")
    rooms[once] = rooms[owner.upgrade_room(once, "12")] = "Private"
    im.check_equal()
    exported = dict(line.split(",")[:2] for line in
                    (im.export() / "groups.csv").read_text().splitlines())
    assert {room: exported[room] for room in rooms} == rooms


def test_the_sidecar_is_killed_while_users_join(im: Im):
    owner, *others = im.users
    rooms = [owner.create_room() for _ in range(4)]
    with Joining(rooms, others) as joining:
        wait_until(lambda: joining.joined > 10, ROUND_TIMEOUT_S, "joins")
        im.sidecar.kill()
        # What was taken and is not settled yet has ended when the sidecar is back.
        ended = time.monotonic() + HOLD_S
        wait_until(lambda: joining.undecided > 6 and time.monotonic() > ended, ROUND_TIMEOUT_S,
                   "refusals, and the end of all holds")
        im.restart_sidecar()
        before = joining.joined
        wait_until(lambda: joining.joined > before + 10, ROUND_TIMEOUT_S, "joins again")
        im.sidecar.kill()
        im.restart_sidecar()
    for room in rooms:
        assert len(im.server.members()[room]) == TRIAL_MEMBERS
    im.check_equal()


@pytest.mark.parametrize("joins_fail", ["closed", "open"])
def test_redis_is_frozen_while_users_join(im: Im, joins_fail):
    im.set_policy(joins_fail)
    owner, left, *inside = im.users
    rooms = [owner.create_room() for _ in range(4)]
    left.join(rooms[3])
    with Joining(rooms[:3], inside) as joining:
        wait_until(lambda: joining.joined > 10, ROUND_TIMEOUT_S, "joins")
        im.redis.freeze()
        try:
            left.leave(rooms[3])
            assert refusal(lambda: im.server.register("frozen")).status == UNAVAILABLE
            if joins_fail == "closed":
                assert refusal(lambda: left.join(rooms[3])).status == UNAVAILABLE
                assert refusal(owner.create_room).status == UNAVAILABLE
                wait_until(lambda: joining.undecided > 6, ROUND_TIMEOUT_S, "refusals")
            else:
                decided(lambda: left.join(rooms[3]))
                rooms.append(decided(owner.create_room))
                decided(lambda: inside[0].join(rooms[4]))
        finally:
            im.redis.thaw()
    members = im.server.members()
    for room in rooms[:3]:
        if joins_fail == "closed":
            assert len(members[room]) == TRIAL_MEMBERS
        else:
            assert TRIAL_MEMBERS <= len(members[room]) <= len(im.users)
    im.check_equal()
    im.set_policy("closed")


def test_what_is_bought_counts_at_the_next_call(im: Im):
    collector, owner, *others = im.users
    room = owner.create_room()
    errors = together([lambda user=user: user.join(room) for user in others])
    outside = [user for user, error in zip(others, errors) if error is not None]
    for _ in range(TRIAL_GROUPS - im.app.usages(user_id=collector.id)["groups_per_user"].used):
        collector.create_room()
    assert refusal(collector.create_room).im_error_code == GROUPS_CODE
    assert refusal(lambda: outside[0].join(room)).im_error_code == MEMBERS_CODE

    im.app.upgrade()
    assert codes(together([lambda user=user: user.join(room) for user in outside])) == []
    for _ in range(GROUPS - TRIAL_GROUPS):
        collector.create_room()
    assert refusal(collector.create_room).im_error_code == GROUPS_CODE
    assert refusal(lambda: collector.join(room)).im_error_code == GROUPS_CODE
    direct = collector.create_room(is_direct=True, invite=[owner.id])
    owner.join(direct)
    im.check_equal()

    im.app.buy("groups-per-user-400")
    collector.join(room)
    im.check_equal()

    # An operator's bootstrap: what Synapse has, into an app that has nothing.
    out = im.export()
    imported = im.reconcile(out, "--import", app="fresh")
    assert imported.returncode == 0, imported.stdout + imported.stderr
    assert "no differences" in im.reconcile(out, app="fresh").stdout


def test_with_allow_what_was_not_decided_is_counted_later(tmp_path):
    sidecar = Sidecar("--catalog", str(catalog(tmp_path)))
    with Homeserver(tmp_path, [sidecar.unix], app=APP, on_unavailable="allow") as server:
        ann, bob = server.register("ann"), server.register("bob")
        room = ann.create_room()
        bob.join(room)
        with sidecar:
            im = Im(tmp_path, sidecar, server)
            im.check_equal()
            assert im.seats(room) == (2, 0)
            im.app.close()
        server.stop()


def test_every_wrong_setting_is_named_at_the_start(tmp_path):
    Homeserver(tmp_path, [], hold_seconds=0, on_unavailable="maybe", colour="red",
               group_types={"secret": "Private"})
    done = subprocess.run(
        [python(), "-m", "synapse.app.homeserver", "--config-path", "homeserver.yaml"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    for mistake in ("unknown key 'colour'", "app: ", "addresses: ", "hold_seconds: ",
                    "on_unavailable: ", "unknown property 'secret'"):
        assert mistake in done.stderr
