"""Ids of the IM and ids of imquota: a mapping, and the way back for results.

imquota takes user ids of 1-32 and group ids of 1-48 bytes of printable ASCII, unless its catalog
allows more. An IM whose ids do not fit gives the client a mapping.
"""

import base64
import hashlib
import re
from typing import Protocol

USER_BYTES_MAX = 32
GROUP_BYTES_MAX = 48
_DIGEST_LETTERS = 22
"""132 bits of SHA-256: two of a billion ids are equal with a probability of 1e-22."""
_MARK = "~"


class Ids(Protocol):
    """A mapping of the IM's ids to those of imquota: the same id for the same input, for ever."""

    def user(self, im_id: str, /) -> str:
        """The id of a user in imquota."""
        ...

    def group(self, im_id: str, /) -> str:
        """The id of a group in imquota."""
        ...


class PlainIds:
    """The mapping of an IM whose ids fit as they are."""

    def user(self, im_id: str, /) -> str:
        """The id itself."""
        return im_id

    def group(self, im_id: str, /) -> str:
        """The id itself."""
        return im_id


class HashedIds:
    """Ids that fit stay; others become their first letters, `~` and 132 bits of their SHA-256.

    An id that only looks like a shortened one is shortened too, so two ids never become one.
    """

    def __init__(self, *, user_bytes_max: int = USER_BYTES_MAX,
                 group_bytes_max: int = GROUP_BYTES_MAX) -> None:
        least = _DIGEST_LETTERS + len(_MARK)
        if min(user_bytes_max, group_bytes_max) < least:
            raise ValueError(f"ids need at least {least} bytes")
        self._user_bytes_max = user_bytes_max
        self._group_bytes_max = group_bytes_max

    def user(self, im_id: str, /) -> str:
        """The id of a user in imquota."""
        return _fitting(im_id, self._user_bytes_max)

    def group(self, im_id: str, /) -> str:
        """The id of a group in imquota."""
        return _fitting(im_id, self._group_bytes_max)


_SHORTENED = re.compile(rf"[ -~]*{_MARK}[A-Za-z0-9_-]{{{_DIGEST_LETTERS}}}\Z")
_PRINTABLE = re.compile(r"[ -~]+\Z")


def _fitting(im_id: str, bytes_max: int) -> str:
    fits = len(im_id) <= bytes_max and _PRINTABLE.match(im_id)
    if fits and not (len(im_id) == bytes_max and _SHORTENED.match(im_id)):
        return im_id
    digest = hashlib.sha256(im_id.encode("utf-8", "surrogatepass")).digest()
    letters = base64.urlsafe_b64encode(digest).decode()[:_DIGEST_LETTERS]
    readable = re.sub(r"[^ -~]", "_", im_id)[:bytes_max - _DIGEST_LETTERS - len(_MARK)]
    return f"{readable.ljust(bytes_max - _DIGEST_LETTERS - len(_MARK), '_')}{_MARK}{letters}"


class Names:
    """The ids of one call: maps them, and returns the IM's own in results."""

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self._users: dict[str, str] = {}
        self._groups: dict[str, str] = {}

    def user(self, im_id: str) -> str:
        """The id of a user in imquota."""
        mapped = self._ids.user(im_id)
        self._users[mapped] = im_id
        return mapped

    def group(self, im_id: str) -> str:
        """The id of a group in imquota."""
        mapped = self._ids.group(im_id)
        self._groups[mapped] = im_id
        return mapped

    def im_user(self, mapped: str) -> str:
        """The IM's id of a user; that of imquota for one that the call did not name."""
        return self._users.get(mapped, mapped)

    def im_group(self, mapped: str) -> str:
        """The IM's id of a group; that of imquota for one that the call did not name."""
        return self._groups.get(mapped, mapped)
