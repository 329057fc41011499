"""Writes what Synapse's database has as the files of `imquota reconcile`: accounts.csv, groups.csv.

    python export.py --sqlite homeserver.db --out DIR
    python export.py --postgres "dbname=synapse user=synapse" --out DIR

One read transaction, beside a running Synapse. Accounts are those of `users` that are not
deactivated, no guests and of no application service; members are those who have joined.
"""

import argparse
import csv
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imquota_synapse.rooms import DEFAULT_TYPES, type_of_room

ACCOUNTS = """
    SELECT name FROM users
    WHERE deactivated = 0 AND is_guest = 0 AND appservice_id IS NULL ORDER BY name"""

STATES = """
    SELECT c.room_id, c.type, j.json
    FROM current_state_events AS c JOIN event_json AS j USING (event_id)
    WHERE c.state_key = ''
    AND c.type IN ('m.room.create', 'm.room.encryption', 'm.room.join_rules')"""

MEMBERS = """
    SELECT room_id, state_key FROM current_state_events
    WHERE type = 'm.room.member' AND membership = 'join' ORDER BY room_id, state_key"""

DIRECT = "SELECT content FROM account_data WHERE account_data_type = 'm.direct'"


def connect(arguments: argparse.Namespace) -> Any:
    """A connection whose reads are of one instant."""
    if arguments.sqlite:
        connection = sqlite3.connect(f"file:{arguments.sqlite}?mode=ro", uri=True, timeout=60)
        connection.isolation_level = None
        connection.execute("BEGIN")
        return connection
    import psycopg2  # Synapse has it, if it uses PostgreSQL.
    connection = psycopg2.connect(arguments.postgres)
    connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
    return connection


def rows(connection: Any, query: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a query."""
    cursor = connection.cursor()
    cursor.execute(query)
    yield from cursor


def direct_rooms(connection: Any) -> set[str]:
    """Rooms that a user has marked as direct chats."""
    found = set()
    for (text,) in rows(connection, DIRECT):
        for room_ids in json.loads(text).values():
            found.update(each for each in room_ids or [] if isinstance(each, str))
    return found


def write(path: Path, header: list[str], lines: Iterator[tuple[Any, ...]]) -> int:
    """Writes a file; returns the number of its lines."""
    number = 0
    with path.open("w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(header)
        for line in lines:
            out.writerow(line)
            number += 1
    return number


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--sqlite", help="the database's file")
    source.add_argument("--postgres", help="the database's connection string")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the files")
    parser.add_argument("--types", type=json.loads, default={},
                        help="the module's group_types, as JSON")
    arguments = parser.parse_args()
    types = {**DEFAULT_TYPES, **arguments.types}
    arguments.out.mkdir(parents=True, exist_ok=True)
    connection = connect(arguments)

    states: dict[str, dict[str, Any]] = {}
    for room_id, kind, text in rows(connection, STATES):
        states.setdefault(room_id, {})[kind] = json.loads(text)["content"]
    direct = direct_rooms(connection)
    found: dict[str, str] = {}

    def group_type(room_id: str) -> str:
        if room_id not in found:
            found[room_id] = type_of_room(
                types, states.get(room_id, {}), lambda other: states.get(other, {}),
                direct=room_id in direct)
        return found[room_id]

    accounts = write(arguments.out / "accounts.csv", ["user_id"], rows(connection, ACCOUNTS))
    members = write(
        arguments.out / "groups.csv", ["group_id", "type", "member_id"],
        ((room_id, group_type(room_id), user) for room_id, user in rows(connection, MEMBERS)))
    print(f"{accounts} accounts, {len(found)} rooms, {members} members")


if __name__ == "__main__":
    main()
