"""The facts that an operation touches: operations about the same facts must not overlap."""

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Touches:
    """Facts, by the ids of imquota."""

    members: frozenset[tuple[str, str]] = frozenset()
    """Pairs of a group and a user."""
    friends: frozenset[tuple[str, str]] = frozenset()
    """Pairs of users, the lower id first."""
    groups: frozenset[str] = frozenset()
    """Groups with all their members."""
    users: frozenset[str] = frozenset()
    """Users with everything that they have."""

    def meets(self, other: "Touches") -> bool:
        """Whether both touch a fact."""
        return bool(
            self.members & other.members or self.friends & other.friends
            or self.groups & other.groups or self.users & other.users
            or _within(self, other) or _within(other, self))

    def as_lists(self) -> list[Any]:
        """A form for JSON."""
        return [sorted(each) for each in (self.members, self.friends, self.groups, self.users)]

    @staticmethod
    def from_lists(lists: list[Any]) -> "Touches":
        """The facts of that form."""
        members, friends, groups, users = lists
        return Touches(frozenset((group, user) for group, user in members),
                       frozenset((one, other) for one, other in friends),
                       frozenset(groups), frozenset(users))

    def __or__(self, other: "Touches") -> "Touches":
        return Touches(self.members | other.members, self.friends | other.friends,
                       self.groups | other.groups, self.users | other.users)


def _within(wide: Touches, narrow: Touches) -> bool:
    if not wide.groups and not wide.users:
        return False
    return any(group in wide.groups or user in wide.users for group, user in narrow.members) or (
        bool(wide.users) and any(
            one in wide.users or other in wide.users for one, other in narrow.friends))


def of_members(group: str, users: Iterable[str]) -> Touches:
    """Members of a group."""
    return Touches(members=frozenset((group, user) for user in users))


def of_friends(user: str, friends: Iterable[str]) -> Touches:
    """Friends of a user."""
    return Touches(friends=frozenset(
        (min(user, friend), max(user, friend)) for friend in friends))


def of_group(group: str) -> Touches:
    """A group with all its members."""
    return Touches(groups=frozenset([group]))


def of_users(users: Iterable[str]) -> Touches:
    """Users with everything that they have."""
    return Touches(users=frozenset(users))


class LateAttempts:
    """Attempts without an answer that might still be carried out, each until its deadline, although
    a repetition has the answer: a late leave would undo a newer join. Safe for threads."""

    def __init__(self) -> None:
        self._entries: list[tuple[Touches, float]] = []
        self._lock = threading.Lock()

    def add(self, touches: Touches, until: float) -> None:
        """Notes an attempt that may be carried out until that monotonic time."""
        with self._lock:
            self._entries.append((touches, until))

    def until(self, touches: Touches) -> float:
        """The monotonic time from which no attempt about these facts is carried out."""
        if not self._entries:
            return 0.0
        now = time.monotonic()
        with self._lock:
            self._entries = [each for each in self._entries if each[1] > now]
            return max((until for each, until in self._entries if each.meets(touches)),
                       default=0.0)
