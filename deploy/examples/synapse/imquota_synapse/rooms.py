"""What a room is to imquota: its group type.

Plain functions over JSON, shared by the module and the exporter, so that both find the same type.

A group keeps its type, but a room's properties change: so the module writes the type into the
room's `m.room.create` event. A room that an upgrade made has no such field, and has the type of the
room before it; one that is older than the module has the type that its state says.
"""

from collections.abc import Callable, Mapping
from typing import Any

State = Mapping[str, Mapping[str, Any]]

UPGRADES_MAX = 100
"""Rooms before a room that are looked at."""

TYPE_KEY = "dev.imquota.group_type"
"""The field of `m.room.create` that holds the group type."""

DEFAULT_TYPES = {
    "direct": "DirectChat",
    "encrypted": "Private",
    "public": "Public",
    "private": "Private",
}
"""The group type for each property of a room. The first that a room has decides."""


def type_of(types: Mapping[str, str], *, direct: bool, encrypted: bool, public: bool) -> str:
    """The group type of a room with these properties."""
    if direct:
        return types["direct"]
    if encrypted:
        return types["encrypted"]
    return types["public" if public else "private"]


def type_of_request(types: Mapping[str, str], request: Mapping[str, Any]) -> str:
    """The group type of a room that is asked for: the body of `createRoom`."""
    state = {
        event.get("type"): event.get("content") or {}
        for event in request.get("initial_state") or [] if not event.get("state_key")
    }
    preset = request.get("preset") or (
        "public_chat" if request.get("visibility") == "public" else "private_chat")
    join_rule = state.get("m.room.join_rules", {}).get(
        "join_rule", "public" if preset == "public_chat" else "invite")
    return type_of(
        types, direct=bool(request.get("is_direct")), encrypted="m.room.encryption" in state,
        public=join_rule == "public")


def type_of_room(types: Mapping[str, str], state: State, state_of: Callable[[str], State], *,
                 direct: bool = False) -> str:
    """The group type of an existing room.

    `state` has the contents of its state events without a state key, by their types; `state_of`
    returns that of another room, empty if there is none. A room that replaces another one has the
    type of that one.
    """
    for _ in range(UPGRADES_MAX):
        create = state.get("m.room.create", {})
        recorded = create.get(TYPE_KEY)
        if isinstance(recorded, str) and recorded:
            return recorded
        predecessor = create.get("predecessor")
        room_id = predecessor.get("room_id") if isinstance(predecessor, Mapping) else None
        before = state_of(room_id) if isinstance(room_id, str) else {}
        if not before:
            break
        state = before
    return type_of(
        types, direct=direct, encrypted="m.room.encryption" in state,
        public=state.get("m.room.join_rules", {}).get("join_rule") == "public")
