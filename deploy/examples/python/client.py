"""An IM server that calls imquota: take before the database commit, release after it.

`connect` opens a channel that reconnects quickly. `Quota` wraps the generated stub: deadlines,
retries and denials. `ImServer` is a very small IM with a SQLite database of its own, and shows
when each call is made. `main` runs an example with them.
"""

import argparse
import logging
import random
import sqlite3
import sys
import tempfile
import time
import uuid
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import grpc

PROTO = Path(__file__).resolve().parents[3] / "proto"
ATTEMPTS_MAX = 4
CALL_TIMEOUT_S = 0.5
FIRST_PAUSE_S = 0.05
RECONNECT_EVERY_MS = 50
"""Pause between attempts to connect. The sidecar is on this machine or near, so an attempt is
cheap; with gRPC's default, a second and more, callers would wait as long after its restart."""
RETRIED = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)

log = logging.getLogger("im")


def import_stubs():
    """Generates the stubs into a temporary folder; an IM server would do this in its build."""
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as out:
        well_known = str(resources.files("grpc_tools") / "_proto")
        files = [str(path) for path in PROTO.rglob("*.proto")]
        arguments = ["", f"-I{PROTO}", f"-I{well_known}", f"--python_out={out}"]
        if protoc.main([*arguments, f"--grpc_python_out={out}", *files]) != 0:
            raise SystemExit("cannot compile the protos")
        sys.path.insert(0, out)
        from imquota.v1 import common_pb2, quota_service_pb2, quota_service_pb2_grpc

    return common_pb2, quota_service_pb2, quota_service_pb2_grpc


common, messages, services = import_stubs()


class Denied(Exception):
    """A limit was reached. The IM returns `im_error_code` to its client, unchanged."""

    def __init__(self, denial):
        super().__init__(denial.message)
        self.im_error_code = denial.im_error_code


class Unavailable(Exception):
    """No decision was made. The IM chooses what to do then; this one refuses its client."""


def connect(address: str) -> grpc.Channel:
    """A channel to `HOST:PORT` or `unix:PATH` that reconnects soon after a restart."""
    options = [("grpc.initial_reconnect_backoff_ms", RECONNECT_EVERY_MS),
               ("grpc.max_reconnect_backoff_ms", RECONNECT_EVERY_MS)]
    if address.startswith("unix:"):
        # grpcio would send the path as the host's name, which is not valid HTTP/2.
        options.append(("grpc.default_authority", "localhost"))
    return grpc.insecure_channel(address, options=options)


class Quota:
    """The calls of the sidecar that this IM server makes."""

    def __init__(self, channel: grpc.Channel, app_id: str):
        self._stub = services.QuotaServiceStub(channel)
        self._app_id = app_id

    def create_group(self, group: str, group_type: str, owner: str) -> None:
        """Takes a group and its owner's slot, or finds them held."""
        request = messages.CreateGroupRequest(
            app_id=self._app_id, group_id=group, type=group_type, owner_id=owner)
        self._check(self._call(self._stub.CreateGroup, request).group)

    def join(self, group: str, user: str) -> None:
        """Takes a slot in a group, or finds it held."""
        request = messages.JoinGroupRequest(
            app_id=self._app_id, group_id=group, user_ids=[user])
        (result,) = self._call(self._stub.JoinGroup, request).results
        self._check(result)

    def leave(self, group: str, user: str) -> None:
        """Releases a slot. Releasing one that is not held does no harm."""
        request = messages.LeaveGroupRequest(
            app_id=self._app_id, group_id=group, user_ids=[user])
        self._call(self._stub.LeaveGroup, request)

    def dissolve(self, group: str) -> None:
        """Releases a group and all its slots."""
        request = messages.DissolveGroupRequest(app_id=self._app_id, group_id=group)
        self._call(self._stub.DissolveGroup, request)

    def members(self, group: str) -> int:
        """Number of slots of a group that are taken."""
        subject = common.Subject(group_id=group)
        request = messages.GetUsageRequest(app_id=self._app_id, subject=subject)
        usages = self._call(self._stub.GetUsage, request).usages
        return next(usage.used for usage in usages if usage.limit_id == "members_per_group")

    @staticmethod
    def _check(result) -> None:
        """APPLIED and ALREADY_HELD are alike: the slot may be held by a first attempt, whose reply
        was lost."""
        if result.outcome == common.OUTCOME_DENIED:
            raise Denied(result.denials[0])

    @staticmethod
    def _call(method, request):
        """Calls with a deadline, and waits for a connection until then. After DEADLINE_EXCEEDED the
        outcome is unknown, but every operation is idempotent, so a retry is safe: a few times, with
        a random pause."""
        for attempt in range(ATTEMPTS_MAX):
            try:
                return method(request, timeout=CALL_TIMEOUT_S, wait_for_ready=True)
            except grpc.RpcError as error:
                if error.code() not in RETRIED:
                    raise
                failure = error
            if attempt + 1 < ATTEMPTS_MAX:
                time.sleep(random.uniform(0, FIRST_PAUSE_S * 2**attempt))
        raise Unavailable(f"{failure.code().name}: {failure.details()}") from failure


class ImServer:
    """A very small IM. Calls about the same group and user must not overlap."""

    def __init__(self, database: sqlite3.Connection, quota: Quota):
        self._database = database
        self._quota = quota
        self._unsettled: dict[tuple[str, str | None], float] = {}
        with database:
            database.execute("CREATE TABLE IF NOT EXISTS groups (id TEXT PRIMARY KEY)")
            database.execute(
                "CREATE TABLE IF NOT EXISTS members (group_id TEXT, user TEXT, "
                "PRIMARY KEY (group_id, user))")

    def create_group(self, group: str, group_type: str, owner: str) -> None:
        """Take, then commit."""
        with self._settled_after_failure((group, None), (group, owner)):
            self._quota.create_group(group, group_type, owner)
            with self._database:
                self._database.execute("INSERT OR IGNORE INTO groups VALUES (?)", (group,))
                self._insert_member(group, owner)

    def join(self, group: str, user: str) -> None:
        """Take, then commit."""
        with self._settled_after_failure((group, user)):
            self._quota.join(group, user)
            with self._database:
                self._insert_member(group, user)

    def leave(self, group: str, user: str) -> None:
        """Commit, then release."""
        with self._database:
            self._database.execute(
                "DELETE FROM members WHERE group_id = ? AND user = ?", (group, user))
        self._release(self._quota.leave, group, user)

    def dissolve(self, group: str) -> None:
        """Commit, then release."""
        with self._database:
            self._database.execute("DELETE FROM members WHERE group_id = ?", (group,))
            self._database.execute("DELETE FROM groups WHERE id = ?", (group,))
        self._release(self._quota.dissolve, group)

    def settle(self) -> int:
        """Releases slots that may be held for groups or members that the database does not have,
        and returns how many are left. A server does this each second, ordered with its other calls
        about the group and the user. `imquota reconcile` finds those that are lost at its end."""
        for (group, user), due in list(self._unsettled.items()):
            if time.monotonic() < due:
                continue
            try:
                if user is None and not self._has_group(group):
                    self._quota.dissolve(group)
                elif user is not None and not self._has_member(group, user):
                    self._quota.leave(group, user)
            except (Unavailable, grpc.RpcError, sqlite3.Error) as error:
                log.warning("not settled yet: group %s, member %s (%s)", group, user, error)
                continue
            del self._unsettled[group, user]
        return len(self._unsettled)

    def members(self, group: str) -> int:
        """Number of members in the database."""
        query = "SELECT count(*) FROM members WHERE group_id = ?"
        return self._database.execute(query, (group,)).fetchone()[0]

    def _has_group(self, group: str) -> bool:
        query = "SELECT 1 FROM groups WHERE id = ?"
        return self._database.execute(query, (group,)).fetchone() is not None

    def _has_member(self, group: str, user: str) -> bool:
        query = "SELECT 1 FROM members WHERE group_id = ? AND user = ?"
        return self._database.execute(query, (group, user)).fetchone() is not None

    def _insert_member(self, group: str, user: str) -> None:
        self._database.execute("INSERT OR IGNORE INTO members VALUES (?, ?)", (group, user))

    @contextmanager
    def _settled_after_failure(self, *facts: tuple[str, str | None]):
        """Settles facts by the database later if the call or the commit failed. APPLIED and
        ALREADY_HELD do not decide what to release: a retry finds the slot of its own first attempt,
        and a member who joins again has a slot to keep."""
        try:
            yield
        except (Unavailable, grpc.RpcError, sqlite3.Error):
            self._settle_later(*facts)
            raise

    def _release(self, call, group: str, user: str | None = None) -> None:
        """The change is committed, so a failure here is no error of the user's. The ledger then
        holds more than the database, never less, until it is settled."""
        try:
            call(*([group] if user is None else [group, user]))
        except (Unavailable, grpc.RpcError) as error:
            log.warning("not released yet: group %s, member %s (%s)", group, user, error)
            self._settle_later((group, user))

    def _settle_later(self, *facts: tuple[str, str | None]) -> None:
        """Schedules it for the time when the deadlines of all attempts have passed, so that none of
        them is carried out afterwards."""
        self._unsettled.update(dict.fromkeys(facts, time.monotonic() + CALL_TIMEOUT_S))


def play(im: ImServer, quota: Quota) -> None:
    """Fills a group of a Trial app, is denied, makes room and is admitted."""
    group = f"lobby-{uuid.uuid4().hex[:8]}"
    im.create_group(group, "Public", "owner")
    for number in range(1, 25):
        try:
            im.join(group, f"user{number}")
        except Denied as denied:
            print(f"user{number} is refused with code {denied.im_error_code}: {denied}")
    im.leave(group, "user1")
    im.join(group, "user24")
    print("user1 left, and user24 joined")
    print(f"members in the database: {im.members(group)}")
    print(f"members in the ledger: {quota.members(group)}")
    im.dissolve(group)
    im.settle()


def main() -> int:
    """Runs the example against a sidecar."""
    parser = argparse.ArgumentParser(description="Runs an IM server that calls imquota.")
    parser.add_argument("--address", default="127.0.0.1:50051", help="HOST:PORT or unix:PATH")
    parser.add_argument("--app", default="example", help="an app on Trial (default: %(default)s)")
    parser.add_argument("--database", default=":memory:", help="SQLite file of the IM")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)

    with connect(arguments.address) as channel:
        quota = Quota(channel, arguments.app)
        try:
            play(ImServer(sqlite3.connect(arguments.database), quota), quota)
        except Unavailable as error:
            print(f"the sidecar is unavailable: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
