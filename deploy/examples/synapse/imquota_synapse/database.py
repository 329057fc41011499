"""What Synapse's database has: it decides what imquota keeps."""

import json
from typing import Any

JOINED = """
    SELECT 1 FROM current_state_events
    WHERE room_id = ? AND type = 'm.room.member' AND state_key = ? AND membership = 'join'"""

ROOM_STATE = """
    SELECT c.type, j.json FROM current_state_events AS c JOIN event_json AS j USING (event_id)
    WHERE c.room_id = ? AND c.state_key = ''
    AND c.type IN ('m.room.create', 'm.room.encryption', 'm.room.join_rules')"""

ACCOUNT = "SELECT deactivated FROM users WHERE name = ?"

JOINED_ROOMS = """
    SELECT count(*) FROM current_state_events
    WHERE type = 'm.room.member' AND state_key = ? AND membership = 'join'"""


def is_joined(transaction: Any, room_id: str, user_id: str) -> bool:
    """Whether a user is a member of a room."""
    transaction.execute(JOINED, (room_id, user_id))
    return transaction.fetchone() is not None


def room_state(transaction: Any, room_id: str) -> dict[str, dict[str, Any]]:
    """The contents of the state events by which a room's type is found."""
    transaction.execute(ROOM_STATE, (room_id,))
    return {kind: json.loads(text)["content"] for kind, text in transaction.fetchall()}


def account(transaction: Any, user_id: str) -> str:
    """`active`, `leaving` (deactivated, and still a member of rooms) or `gone`."""
    transaction.execute(ACCOUNT, (user_id,))
    row = transaction.fetchone()
    if row is None:
        return "gone"
    if not row[0]:
        return "active"
    transaction.execute(JOINED_ROOMS, (user_id,))
    return "leaving" if transaction.fetchone()[0] else "gone"
