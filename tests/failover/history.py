"""The records of clients: every call, its fact, and its outcome."""

from typing import NamedTuple

DONE = "done"
"""The call was acknowledged: the fact is held after a take, and not held after a release."""
DENIED = "denied"
"""A limit was violated; nothing was changed."""
UNKNOWN = "unknown"
"""An error, no response, or a degraded decision: the outcome is unknown."""

TAKE, RELEASE = "take", "release"


class Scope(NamedTuple):
    """Facts that are counted together: the members of a group, the friends of a user, ..."""

    app: str
    kind: str
    """`member`, `friend`, `account` or `group`."""
    owner: str
    """The group or user; empty for facts of the app itself."""


class Fact(NamedTuple):
    """A fact that is held or not."""

    scope: Scope
    id: str


class Call(NamedTuple):
    """One subject of one call. Times are of one monotonic clock."""

    sidecar: int
    fact: Fact
    action: str
    outcome: str
    why: str
    """The error's code and reason; else empty."""
    began_s: float
    ended_s: float
