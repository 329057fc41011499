"""Plans: the requests of an operation, with lists split by the bounds of one request."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .ids import Ids, Names
from .options import Bounds
from .touches import Touches, of_friends, of_group, of_members, of_users
from .v1 import quota_service_pb2 as quota
from .wire import (
    ADD_FRIENDS,
    CREATE_ACCOUNTS,
    CREATE_GROUP,
    DELETE_ACCOUNTS,
    JOIN_GROUP,
    LEAVE_GROUP,
    REMOVE_FRIENDS,
    Method,
)

Users = str | Iterable[str]
"""One id of the IM, or several."""


def listed(users: Users) -> list[str]:
    """The ids as a list."""
    return [users] if isinstance(users, str) else list(users)


class BoundsInForce:
    """The bounds of one request, which fall where the sidecar's catalog has lower ones."""

    def __init__(self, bounds: Bounds) -> None:
        self.most = {"accounts": bounds.accounts, "members": bounds.members,
                     "friends": bounds.friends, "logins": bounds.logins, "whole": bounds.whole}

    def of(self, kind: str, whole: bool) -> int:
        """The most ids of a request, which is a whole batch or has a hold, or neither."""
        return min(self.most[kind], self.most["whole"]) if whole else self.most[kind]

    def lower(self, kind: str, refused: int) -> None:
        """Notes that a request with that number of ids was too large."""
        self.most[kind] = min(self.most[kind], max(1, refused // 2))


@dataclass(slots=True)
class Part:
    """One request."""

    method: Method
    fields: dict[str, Any]
    list_field: str
    ids: list[str]
    """Ids of imquota."""
    im_ids: list[str]
    first: int
    """The place of the first id in the operation's list."""

    def request(self, **more: Any) -> Any:
        """The message."""
        return self.method.request(**self.fields, **{self.list_field: self.ids}, **more)


@dataclass(slots=True)
class Plan:
    """The requests of an operation about a list of ids."""

    method: Method
    fields: dict[str, Any]
    list_field: str
    bound: str
    im_ids: list[str]
    ids: list[str]
    names: Names
    touches: Touches
    rest: tuple[Method, dict[str, Any], str] | None = None
    """The method for the ids that do not fit into the first request, if it is another one."""
    parts: deque[Part] = field(default_factory=deque)
    current: Part | None = None
    """The request that is being made."""

    @property
    def creates_group(self) -> bool:
        """Whether the first request creates a group, which has a result too."""
        return self.method is CREATE_GROUP

    @property
    def subjects(self) -> int:
        """The number of ids that can be denied."""
        return len(self.ids) + (1 if self.creates_group else 0)

    def split(self, most: int) -> None:
        """Divides the list into requests."""
        self.parts.clear()
        for first in range(0, max(len(self.ids), 1), most):
            self.parts.append(self._part(first, first + most))

    def _part(self, first: int, end: int) -> Part:
        method, fields, list_field = self.method, self.fields, self.list_field
        if first and self.rest:
            method, fields, list_field = self.rest
        return Part(method, fields, list_field, self.ids[first:end], self.im_ids[first:end], first)

    def halve(self, part: Part) -> None:
        """Puts the halves of a request that was too large in its place, at the front."""
        middle, end = part.first + len(part.ids) // 2, part.first + len(part.ids)
        self.parts.extendleft([self._part(middle, end), self._part(part.first, middle)])


class Planner:
    """Makes plans for one app."""

    def __init__(self, app_id: str, ids: Ids) -> None:
        self._app_id = app_id
        self._ids = ids

    def names(self) -> Names:
        """The names of a new call."""
        return Names(self._ids)

    def _plan(self, method: Method, bound: str, names: Names, users: Users, list_field: str,
              fields: dict[str, Any]) -> Plan:
        im_ids = listed(users)
        ids = [names.user(each) for each in im_ids]
        fields = {"app_id": self._app_id, **fields}
        return Plan(method, fields, list_field, bound, im_ids, ids, names, Touches())

    def accounts(self, users: Users, *, deleted: bool = False) -> Plan:
        """Accounts that are created or deleted."""
        method = DELETE_ACCOUNTS if deleted else CREATE_ACCOUNTS
        plan = self._plan(method, "accounts", self.names(), users, "user_ids", {})
        plan.touches = of_users(plan.ids)
        return plan

    def friends(self, user: str, friends: Users, one_way: bool, *, removed: bool = False) -> Plan:
        """Friends that are added or removed."""
        names = self.names()
        user_id = names.user(user)
        fields = {"user_id": user_id, "one_way": one_way}
        method = REMOVE_FRIENDS if removed else ADD_FRIENDS
        plan = self._plan(method, "friends", names, friends, "friend_ids", fields)
        plan.touches = of_friends(user_id, plan.ids)
        return plan

    def members(self, group: str, users: Users, *, leave: bool = False) -> Plan:
        """Members who join or leave."""
        names = self.names()
        group_id = names.group(group)
        method = LEAVE_GROUP if leave else JOIN_GROUP
        plan = self._plan(method, "members", names, users, "user_ids", {"group_id": group_id})
        plan.touches = of_members(group_id, plan.ids)
        return plan

    def group(self, group: str, group_type: str, owner: str | None, members: Users,
              max_members: int | None, allocated_by_im: bool, replaces: str | None) -> Plan:
        """A group that is created, with its members."""
        names = self.names()
        group_id = names.group(group)
        fields: dict[str, Any] = {
            "group_id": group_id, "type": group_type, "group_id_allocated_by_im": allocated_by_im,
            "owner_id": names.user(owner) if owner is not None else None,
            "max_members": max_members,
            "replaces_group_id": names.group(replaces) if replaces is not None else ""}
        plan = self._plan(CREATE_GROUP, "members", names, members, "member_ids", fields)
        plan.rest = (JOIN_GROUP, {"app_id": self._app_id, "group_id": group_id}, "user_ids")
        plan.touches = of_group(group_id)
        if replaces is not None:
            plan.touches |= of_group(fields["replaces_group_id"])
        return plan


RELATIONS = {
    "CreateAccounts": quota.HOLD_RELATION_ACCOUNTS,
    "AddFriends": quota.HOLD_RELATION_FRIENDS,
    "CreateGroup": quota.HOLD_RELATION_GROUPS,
    "JoinGroup": quota.HOLD_RELATION_GROUPS,
}
"""The relation of the hold of each RPC that takes."""


def results_in(response: Any) -> Sequence[Any]:
    """The results for the list of a request."""
    members: Sequence[Any] = (
        response.members if isinstance(response, quota.CreateGroupResponse) else response.results)
    return members
