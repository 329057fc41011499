"""An IM server that calls imquota: take before the database commit, release after it.

`ImServer` is a very small IM with a SQLite database of its own, on the client library
`deploy/clients/python`, and shows when each call is made. `main` runs an example with it.
"""

import argparse
import logging
import sqlite3
import sys
import uuid

import imquota


class ImServer:
    """A very small IM. Calls about the same group and user must not overlap."""

    def __init__(self, database: sqlite3.Connection, quota: imquota.Client):
        self._database = database
        self._quota = quota
        with database:
            database.execute("CREATE TABLE IF NOT EXISTS groups (id TEXT PRIMARY KEY)")
            database.execute(
                "CREATE TABLE IF NOT EXISTS members (group_id TEXT, user TEXT, "
                "PRIMARY KEY (group_id, user))")

    def create_group(self, group: str, group_type: str, owner: str) -> None:
        """Take, then commit. If the commit fails, the lease is released."""
        with self._quota.creating(group, group_type, owner=owner), self._database:
            self._database.execute("INSERT OR IGNORE INTO groups VALUES (?)", (group,))
            self._insert_member(group, owner)

    def join(self, group: str, user: str) -> None:
        """Take, then commit. If the commit fails, the lease is released."""
        with self._quota.joining(group, user), self._database:
            self._insert_member(group, user)

    def leave(self, group: str, user: str) -> None:
        """Commit, then release: without an answer by the queue, until it is done."""
        with self._database:
            self._database.execute(
                "DELETE FROM members WHERE group_id = ? AND user = ?", (group, user))
        self._quota.leave_group(group, user, or_later=True)

    def dissolve(self, group: str) -> None:
        """Commit, then release: without an answer by the queue, until it is done."""
        with self._database:
            self._database.execute("DELETE FROM members WHERE group_id = ?", (group,))
            self._database.execute("DELETE FROM groups WHERE id = ?", (group,))
        self._quota.dissolve_group(group, or_later=True)

    def members(self, group: str) -> int:
        """Number of members in the database."""
        query = "SELECT count(*) FROM members WHERE group_id = ?"
        return self._database.execute(query, (group,)).fetchone()[0]

    def _insert_member(self, group: str, user: str) -> None:
        self._database.execute("INSERT OR IGNORE INTO members VALUES (?, ?)", (group, user))


def play(im: ImServer, quota: imquota.Client) -> None:
    """Fills a group of a Trial app, is denied, makes room and is admitted."""
    group = f"lobby-{uuid.uuid4().hex[:8]}"
    im.create_group(group, "Public", "owner")
    for number in range(1, 25):
        try:
            im.join(group, f"user{number}")
        except imquota.Denied as denied:
            print(f"user{number} is refused with code {denied.im_error_code}: {denied}")
    im.leave(group, "user1")
    im.join(group, "user24")
    print("user1 left, and user24 joined")
    print(f"members in the database: {im.members(group)}")
    print(f"members in the ledger: {quota.group_usage(group)['members_per_group'].used}")
    im.dissolve(group)


def main() -> int:
    """Runs the example against a sidecar."""
    parser = argparse.ArgumentParser(description="Runs an IM server that calls imquota.")
    parser.add_argument("--address", default="127.0.0.1:50051", help="HOST:PORT or unix:PATH")
    parser.add_argument("--app", default="example", help="an app on Trial (default: %(default)s)")
    parser.add_argument("--database", default=":memory:", help="SQLite file of the IM")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)

    with imquota.Client(arguments.address, arguments.app) as quota:
        try:
            play(ImServer(sqlite3.connect(arguments.database), quota), quota)
        except imquota.Unavailable as error:
            print(f"the sidecar is unavailable: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
