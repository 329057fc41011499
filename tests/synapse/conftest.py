"""Fixtures: one Synapse of 30 users, with a sidecar over a Redis of its own."""

import re
import subprocess
from pathlib import Path

import grpc
import pytest

from app import App
from homeserver import EXAMPLE, Homeserver, User, python
from redis_proxy import Redis
from sidecar import Sidecar, binary, clean_environment, is_serving, wait_until
from stubs import REPOSITORY

USERS = 30
APP = "matrix"
HOLD_S, INVITE_HOLD_S = 5, 10
"""Short, so that a test can wait for their ends."""
SETTLES_WITHIN_S = 30
DIRECT_CHATS = REPOSITORY / "deploy" / "examples" / "catalogs" / "direct-chats.toml"


def catalog(folder: Path, *, joins_fail: str = "closed") -> Path:
    """The built-in catalog with ids of Matrix, a group type for direct chats, and a failure policy
    for joins."""
    shown = subprocess.run([binary(), "catalog", "show"], capture_output=True, text=True,
                           check=True, env=clean_environment()).stdout
    shown, changed = re.subn(r"^(user|group)_max_bytes = \d+", r"\1_max_bytes = 255", shown,
                             flags=re.MULTILINE)
    assert changed == 2
    shown, changed = re.subn(r'^((?:groups_per_user|members_per_group|groups_per_day) = )"open"',
                             rf'\1"{joins_fail}"', shown, flags=re.MULTILINE)
    assert changed == 3
    path = folder / "catalog.toml"
    path.write_text(shown + DIRECT_CHATS.read_text())
    return path


class Im:
    """An IM: Synapse with its users, the sidecar and Redis."""

    def __init__(self, folder: Path, sidecar: Sidecar, server: Homeserver,
                 redis: Redis | None = None):
        self.folder, self.redis, self.sidecar, self.server = folder, redis, sidecar, server
        self.app = App(sidecar, app_id=APP)
        self.users: list[User] = []
        self._exports = 0

    def seats(self, room: str) -> tuple[int, int]:
        """Seats of a room that are taken, and how many of them are held."""
        usage = self.app.usages(group_id=room)["members_per_group"]
        return usage.used, usage.held

    def set_policy(self, joins_fail: str) -> None:
        """Changes the failure policy of joins."""
        catalog(self.folder, joins_fail=joins_fail)
        self.sidecar.stop()
        self.restart_sidecar()

    def restart_sidecar(self) -> None:
        """Starts the sidecar again after a kill, at the same addresses."""
        self.sidecar.launch(self.sidecar.arguments(), clean_environment())
        wait_until(lambda: is_serving(self.sidecar.tcp) and is_serving(self.sidecar.admin), 30,
                   "the sidecar serves again")

    def export(self) -> Path:
        """What the exporter writes."""
        self._exports += 1
        out = self.folder / f"export-{self._exports}"
        subprocess.run([python(), EXAMPLE / "export.py", "--sqlite", self.server.database, "--out",
                        out], check=True)
        return out

    def reconcile(self, out: Path, *more: str, app: str = APP) -> subprocess.CompletedProcess:
        """`imquota reconcile` with the files of an export."""
        return subprocess.run(
            [binary(), "reconcile", "--app", app, "--address", self.sidecar.admin, "--groups",
             out / "groups.csv", "--accounts", out / "accounts.csv", *more],
            capture_output=True, text=True, timeout=60, env=clean_environment())

    def differences(self) -> str:
        """What the counts of imquota and Synapse's database do not have in common."""
        accounts, members = self.server.accounts(), self.server.members()
        direct = {room for (room,) in self.server.query(
            "SELECT room_id FROM current_state_events JOIN event_json USING (room_id, event_id)"
            " WHERE type = 'm.room.create' AND json LIKE '%DirectChat%'")}
        expected = {("accounts", ""): len(accounts)}
        found = {("accounts", ""): self.app.usages()["accounts_per_app"]}
        for room, users in members.items():
            expected["members", room] = len(users)
            found["members", room] = self.app.usages(group_id=room)["members_per_group"]
        for user in accounts:
            rooms = [room for room, users in members.items()
                     if user in users and room not in direct]
            expected["groups", user] = len(rooms)
            found["groups", user] = self.app.usages(user_id=user)["groups_per_user"]
        return "\n".join(
            f"{key}: {usage.used} in imquota ({usage.held} held), {expected[key]} in the database"
            for key, usage in found.items() if usage.held or usage.used != expected[key])

    def check_equal(self) -> None:
        """The ledger becomes equal to Synapse's database: by its counts and SQL, and fact by fact
        by the exporter and `imquota reconcile`."""
        differences = [""]

        def is_equal() -> bool:
            try:
                differences[0] = self.differences()
            except grpc.RpcError as error:
                # Also for a room that imquota does not have.
                differences[0] = str(error)
            return not differences[0]

        try:
            wait_until(is_equal, SETTLES_WITHIN_S, "the ledger equals the database", every_s=0.3)
        except AssertionError:
            pytest.fail(f"{differences[0]}\n{self.server.read_log()[-5000:]}")
        compared = self.reconcile(self.export())
        assert compared.returncode == 0, compared.stdout + compared.stderr
        assert "no differences" in compared.stdout


@pytest.fixture(scope="module")
def im(tmp_path_factory):
    """An IM with 30 users."""
    folder = tmp_path_factory.mktemp("im")
    with Redis() as redis:
        settings = ["--catalog", str(catalog(folder))]
        with Sidecar(*settings, store=f"redis://127.0.0.1:{redis.port}/0") as sidecar:
            synapse = Homeserver(folder, [sidecar.tcp], app=APP, hold_seconds=HOLD_S,
                                 invite_hold_seconds=INVITE_HOLD_S)
            with synapse as server:
                im = Im(folder, sidecar, server, redis)
                im.users = [server.register(f"u{number}") for number in range(USERS)]
                yield im
                im.app.close()
                server.stop()
            assert "Traceback" not in server.read_log(), server.read_log()
