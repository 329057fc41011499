"""What clients record: every call, the fact that it was about, and what they were answered."""

from typing import NamedTuple

DONE = "done"
"""The call was acknowledged: the fact is held after a take, and not held after a release."""
DENIED = "denied"
"""A limit stood in the way; nothing was changed."""
UNKNOWN = "unknown"
"""An error, no answer, or an answer given without the store: the outcome is unknown."""

TAKE, RELEASE = "take", "release"


class Scope(NamedTuple):
    """What facts are counted together: the members of a group, the friends of a user, ..."""

    app: str
    kind: str
    """`member`, `friend`, `account` or `group`."""
    owner: str
    """The group or user; empty for what an app holds itself."""


class Fact(NamedTuple):
    """One thing that is held or not."""

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
