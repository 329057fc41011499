"""Settles facts: brings imquota to what Synapse's database has, one fact after the other.

A fact is a user's account, or a user's membership of a room. It becomes unsettled when an event
about it was committed, and when a take ended without a commit. Then the database decides: what it
has is made permanent, what it lacks is released, again and again until the sidecar has answered.

Per fact everything is in order: a take waits for a settling that is in progress, and nothing is
settled between a take and its commit. So a late release never undoes a newer join. And a take of a
seat comes after what is unsettled of the same room and of the same user: what the database has is
counted before others are admitted, also when holds have ended while the sidecar was down.
"""

import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from synapse.logging.context import PreserveLoggingContext
from synapse.module_api import ModuleApi, make_deferred_yieldable
from twisted.internet.defer import DeferredLock

logger = logging.getLogger(__name__)

PAUSE_FIRST_S = 0.1
PAUSE_MAX_S = 5.0

INVITATION = "invitation"
"""Stands for the event of a take for an invitation, whose hold is meant to run out."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fact:
    """An account, or with a room a membership."""

    user_id: str
    room_id: str = ""

    @property
    def scopes(self) -> tuple[str, ...]:
        """What has limits on such facts: the room and the user; for accounts the app."""
        return (self.room_id, self.user_id) if self.room_id else ("",)

    def __str__(self) -> str:
        return f"{self.user_id} in {self.room_id}" if self.room_id else self.user_id


@dataclass(slots=True)
class _Entry:
    """The state of a fact that is being taken or settled."""

    lock: DeferredLock = field(default_factory=DeferredLock)
    taken_by: str = ""
    """The event that a take was made for, until it is committed or its hold ends."""
    ends_at: float = 0.0
    """The end of that hold, by the monotonic clock."""
    is_unsettled: bool = False
    is_settling: bool = False
    waiting: int = 0


class TooMany(Exception):
    """As many facts are unsettled as there may be."""


class Unsettled(Exception):
    """Earlier changes of the room, or of the user, are not counted yet."""


class Settler:
    """The facts that are being taken or settled, in memory: bounded, and lost at a crash."""

    def __init__(self, api: ModuleApi, settle: Callable[[Fact], Awaitable[bool]],
                 unsettled_max: int, wait_max_s: float) -> None:
        """`settle` returns whether it is done; it may raise, and is repeated then. A take waits for
        earlier facts for `wait_max_s`."""
        self._api = api
        self._settle_once = settle
        self._max = unsettled_max
        self._wait_max_s = wait_max_s
        self._unsettled: dict[str, set[Fact]] = {}
        self._entries: dict[Fact, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    async def take(self, fact: Fact, event_id: str, hold_s: float,
                   call: Callable[[], Awaitable[T]]) -> T:
        """Makes a call that takes, and then waits for the commit of its event, or the hold's end.

        Raises what the call raises; then nothing is taken.
        """
        await self._settle_before(fact)
        entry = self._entry(fact)
        entry.waiting += 1
        await make_deferred_yieldable(entry.lock.acquire())
        try:
            before, ends_at = (entry.taken_by, entry.ends_at), time.monotonic() + hold_s
            entry.taken_by, entry.ends_at = event_id, ends_at
            try:
                result = await call()
            except BaseException:
                self._restore(fact, entry, *before)
                raise
        finally:
            _release(entry.lock)
            entry.waiting -= 1
            self._forget_if_idle(fact, entry)
        self._api.delayed_background_call(
            hold_s * 1000, self._hold_ended, fact, ends_at, desc="imquota_hold_ended")
        return result

    def committed(self, fact: Fact, event_id: str = "", *, ends_invitation: bool = False) -> None:
        """Settles a fact because an event about it was committed.

        A take for another event, which is still to be committed, goes on.
        """
        try:
            entry = self._entry(fact)
        except TooMany:
            logger.error("imquota: too many unsettled facts, reconcile finds this one: %s", fact)
            return
        if entry.taken_by == event_id or (ends_invitation and entry.taken_by == INVITATION):
            entry.taken_by, entry.ends_at = "", 0.0
        self._start(fact, entry)

    def _entry(self, fact: Fact) -> _Entry:
        entry = self._entries.get(fact)
        if entry is None:
            if len(self._entries) >= self._max:
                raise TooMany
            entry = self._entries[fact] = _Entry()
        return entry

    def _forget_if_idle(self, fact: Fact, entry: _Entry) -> None:
        if not (entry.taken_by or entry.is_unsettled or entry.is_settling or entry.waiting):
            self._entries.pop(fact, None)

    def _restore(self, fact: Fact, entry: _Entry, taken_by: str, ends_at: float) -> None:
        """Undoes the begin of a take that took nothing; what had to wait for it goes on."""
        ended = ends_at <= time.monotonic()
        entry.taken_by, entry.ends_at = ("", 0.0) if ended else (taken_by, ends_at)
        if not entry.taken_by and (taken_by or entry.is_unsettled):
            self._start(fact, entry)

    async def _settle_before(self, fact: Fact) -> None:
        """Settles what is unsettled of the same room and the same user."""
        end = time.monotonic() + self._wait_max_s
        for scope in fact.scopes:
            for other in list(self._unsettled.get(scope, ())):
                entry = self._entries.get(other)
                if entry is None or entry.taken_by or not entry.is_unsettled:
                    continue
                if time.monotonic() > end or not await self._attempt(other, entry):
                    raise Unsettled(str(other))

    def _mark(self, fact: Fact, entry: _Entry, is_unsettled: bool) -> None:
        entry.is_unsettled = is_unsettled
        for scope in fact.scopes:
            if is_unsettled:
                self._unsettled.setdefault(scope, set()).add(fact)
                continue
            facts = self._unsettled.get(scope, set())
            facts.discard(fact)
            if not facts:
                self._unsettled.pop(scope, None)

    def _hold_ended(self, fact: Fact, ends_at: float) -> None:
        entry = self._entries.get(fact)
        if entry is not None and entry.taken_by and entry.ends_at == ends_at:
            entry.taken_by, entry.ends_at = "", 0.0
            self._start(fact, entry)

    def _start(self, fact: Fact, entry: _Entry) -> None:
        self._mark(fact, entry, True)
        if not entry.is_settling:
            entry.is_settling = True
            self._api.run_as_background_process("imquota_settle", self._settle, fact, entry)

    async def _settle(self, fact: Fact, entry: _Entry) -> None:
        pause = PAUSE_FIRST_S
        try:
            # Between a take and its commit there is nothing to do: the take's end starts this anew.
            while entry.is_unsettled and not entry.taken_by:
                await self._attempt(fact, entry)
                if entry.is_unsettled and not entry.taken_by:
                    await self._api.sleep(pause * random.uniform(0.5, 1.0))
                    pause = min(pause * 2, PAUSE_MAX_S)
        finally:
            entry.is_settling = False
            self._forget_if_idle(fact, entry)

    async def _attempt(self, fact: Fact, entry: _Entry) -> bool:
        """Tries to settle a fact; returns whether it could be tried."""
        entry.waiting += 1
        await make_deferred_yieldable(entry.lock.acquire())
        try:
            if entry.taken_by or not entry.is_unsettled:
                return True
            self._mark(fact, entry, False)
            if not await self._settle_once(fact):
                self._mark(fact, entry, True)
            return True
        except Exception as error:
            logger.warning("imquota: cannot settle %s yet: %r", fact, error)
            self._mark(fact, entry, True)
            return False
        finally:
            _release(entry.lock)
            entry.waiting -= 1
            self._forget_if_idle(fact, entry)


def _release(lock: DeferredLock) -> None:
    """Releases a lock; who waits for it goes on at once, in a logging context of its own."""
    with PreserveLoggingContext():
        lock.release()
