"""The queue of endings: confirmations and releases that had no answer yet.

An ending is kept until it is done, also over failures of the sidecar and, with a file, over a
restart of this process. Those about the same facts are done in order, and new operations about
those facts wait for them, so that a late leave never undoes a newer join.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message

from .errors import CallError, Closed, HoldLost, QueueFull, Unavailable
from .options import Options
from .queue_file import QueueFile
from .touches import Touches, of_friends, of_group, of_members, of_users
from .wire import METHODS, Method

log = logging.getLogger("imquota")

_FIRST_PAUSE_S = 0.05
_PAUSE_MAX_S = 5.0


@dataclass(slots=True, eq=False)
class Ending:
    """One confirmation or release in the queue."""

    method: Method
    request: Any
    """The message of the RPC, with the ids of imquota."""
    touches: Touches
    number: int = 0
    attempts: int = 0
    due: float = 0.0
    """The monotonic time before which it is not attempted."""
    not_before: float = 0.0
    """The monotonic time before which an attempt of the take might still be carried out."""
    error: CallError | HoldLost | None = None
    """The last failure."""
    in_flight: bool = False

    def __str__(self) -> str:
        fields = {name: getattr(self.request, name, None) for name in (
            "operation_id", "group_id", "user_id", "user_ids", "friend_ids")}
        return f"{self.method.name}({', '.join(f'{k}={v}' for k, v in fields.items() if v)})"


@dataclass(slots=True)
class Counters:
    """Numbers of endings since the start."""

    added: int = 0
    done: int = 0
    failed_attempts: int = 0
    lost: int = 0
    """Endings that can never be done: see the log, and `on_lost`."""
    refused: int = 0
    """Endings that the full queue did not take."""
    to_reconcile: int = 0
    """Degraded takes that could not be released: `imquota reconcile` finds what they hold."""


def touches_of(request: Any) -> Touches:
    """The facts that a release touches; none of the end of a hold, whose facts its lease has."""
    name = type(request).__name__
    if name == "LeaveGroupRequest":
        return of_members(request.group_id, request.user_ids)
    if name == "RemoveFriendsRequest":
        return of_friends(request.user_id, request.friend_ids)
    if name in ("DissolveGroupRequest", "CreateGroupRequest"):
        return of_group(request.group_id)
    if name == "DeleteAccountsRequest":
        return of_users(request.user_ids)
    return Touches()


@dataclass(slots=True)
class _State:
    waiting: list[Ending] = field(default_factory=list)
    paused_until: float = 0.0
    pauses: int = 0
    closed: bool = False


class Endings:
    """The queue, without the thread or task that works on it. Safe for use by several threads."""

    def __init__(self, options: Options) -> None:
        self._queue_max = options.queue_max
        self._on_lost = options.on_lost
        self._lock = threading.RLock()
        self._state = _State()
        self._next_number = 1
        self.counters = Counters()
        self.on_change: Callable[[], None] = lambda: None
        """Called after each change, outside of the lock."""
        self._file = QueueFile(options.queue_file) if options.queue_file is not None else None
        # Attempts of the process before may still be carried out until then.
        due = time.monotonic() + options.attempt_timeout_s
        for number, (method, request, touches) in self._file or ():
            message = METHODS[method].request.FromString(request)
            self._state.waiting.append(Ending(
                METHODS[method], message, touches, number, due=due, not_before=due))
            self._next_number = number + 1
        if self._state.waiting:
            log.info("endings read again: %d of %s", len(self._state.waiting), options.queue_file)

    def add(self, method: Method, request: Message, touches: Touches | None = None,
            not_before: float = 0.0) -> None:
        """Adds an ending; with a file it is on disk when this returns. Fails if the queue is full
        or closed: then it is not kept."""
        with self._lock:
            ending = Ending(method, request, touches or touches_of(request), self._next_number,
                            due=not_before, not_before=not_before)
            if self._state.closed:
                raise Closed(f"the client is closed: {ending} was not kept")
            if len(self._state.waiting) >= self._queue_max:
                self.counters.refused += 1
                raise QueueFull(f"{self._queue_max} endings wait: {ending} was not kept")
            if self._file:
                content = request.SerializeToString()
                self._file.add(ending.number, (method.name, content, ending.touches))
            self._next_number += 1
            self._state.waiting.append(ending)
            self.counters.added += 1
        log.debug("ending queued: %s", ending)
        self.on_change()

    def next(self) -> tuple[Ending | None, float | None]:
        """The next ending to attempt, or the seconds until there may be one; `None`: none waits."""
        now = time.monotonic()
        with self._lock:
            state = self._state
            if now < state.paused_until:
                return None, state.paused_until - now
            earlier, soonest = Touches(), None
            for ending in state.waiting:
                if not ending.in_flight and ending.due <= now and not earlier.meets(
                        ending.touches):
                    ending.in_flight = True
                    return ending, None
                earlier |= ending.touches
                if not ending.in_flight and ending.due > now:
                    soonest = min(soonest or ending.due, ending.due)
            return None, None if soonest is None else soonest - now

    def done(self, ending: Ending) -> None:
        """Removes an ending that was done."""
        self._remove(ending)
        self.counters.done += 1
        self._resume()
        self.on_change()

    def failed(self, ending: Ending, error: CallError) -> None:
        """Keeps an ending whose attempt had no answer."""
        now = time.monotonic()
        with self._lock:
            ending.attempts += 1
            ending.error = error
            ending.in_flight = False
            ending.due = now + _pause(ending.attempts)
            self.counters.failed_attempts += 1
            if not error.reason and isinstance(error, Unavailable):
                # The sidecar does not answer at all: none of the others is attempted meanwhile.
                self._state.pauses += 1
                self._state.paused_until = now + _pause(self._state.pauses)
                ending.due = min(ending.due, self._state.paused_until)
        log.info("ending failed, retrying: %s: %s", ending, error)
        self.on_change()

    def lost(self, ending: Ending, error: CallError | HoldLost) -> None:
        """Removes an ending that can never be done, and reports it."""
        ending.error = error
        self._remove(ending)
        self.counters.lost += 1
        self._resume()
        log.error("ending lost: %s: %s", ending, error)
        if self._on_lost:
            try:
                self._on_lost(ending)
            except Exception:
                log.exception("on_lost failed for %s", ending)
        self.on_change()

    def _resume(self) -> None:
        with self._lock:
            self._state.pauses, self._state.paused_until = 0, 0.0

    def _remove(self, ending: Ending) -> None:
        with self._lock:
            ending.in_flight = False
            self._state.waiting.remove(ending)
            if self._file:
                self._file.end(ending.number)

    def has(self, touches: Touches) -> bool:
        """Whether an ending touches one of these facts."""
        # Reading the list without the lock is enough: almost always it is empty.
        if not self._state.waiting:
            return False
        with self._lock:
            return any(each.touches.meets(touches) for each in self._state.waiting)

    def expedite(self, touches: Touches | None = None) -> None:
        """Attempts the endings that touch these facts at once, or all."""
        with self._lock:
            self._state.paused_until = 0.0
            for each in self._state.waiting:
                if touches is None or each.touches.meets(touches):
                    each.due = each.not_before
        self.on_change()

    def __len__(self) -> int:
        return len(self._state.waiting)

    def __iter__(self) -> Iterator[Ending]:
        with self._lock:
            return iter(list(self._state.waiting))

    def close(self) -> list[Ending]:
        """Takes no more endings, and returns those that are left; with a file they stay in it."""
        with self._lock:
            self._state.closed = True
            left = list(self._state.waiting)
            if self._file:
                self._file.close()
                self._file = None
        if left:
            log.warning("endings left at the end: %d", len(left))
        return left


def _pause(attempts: int) -> float:
    longest = min(_PAUSE_MAX_S, _FIRST_PAUSE_S * 2.0 ** min(attempts, 16))
    return random.uniform(longest / 2, longest)
