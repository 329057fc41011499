"""The choice among several addresses: the first that serves, and then the same one.

A sidecar that answered without the store has the operation in its journal, which no other sidecar
sees: a leave that went to another one could be carried out before the join. So after an answer with
a degradation the client stays with that address for a time, even while it does not answer.
"""

import logging
import threading
import time

from .errors import CallError

log = logging.getLogger("imquota")

_MOVES_ON = frozenset({"", "SHUTTING_DOWN", "CLOSING", "STORE_NOT_OPEN", "JOURNAL_FAILED"})
"""Reasons of UNAVAILABLE by which another sidecar is tried. Empty: of the gRPC library."""


class Addresses:
    """The address in use. Safe for use by several threads."""

    def __init__(self, addresses: tuple[str, ...], sticky_s: float) -> None:
        self._addresses = addresses
        self._sticky_s = sticky_s
        self._current = 0
        self._held_until = 0.0
        self._lock = threading.Lock()

    def pick(self) -> tuple[int, bool]:
        """The address for the next attempt, and whether it is to wait for its connection."""
        return self._current, len(self._addresses) == 1 or self._is_held()

    @property
    def current(self) -> str:
        """The address in use."""
        return self._addresses[self._current]

    def _is_held(self) -> bool:
        return time.monotonic() < self._held_until

    def answered(self, address: int, degradation: str) -> None:
        """Notes an answer, which was decided without the store if there is a degradation."""
        if not degradation:
            return
        with self._lock:
            if address != self._current:
                return
            if not self._is_held() and len(self._addresses) > 1:
                log.warning("degraded answer, staying with one address: %s, %s",
                            self._addresses[address], degradation)
            self._held_until = time.monotonic() + self._sticky_s

    def failed(self, address: int, error: CallError) -> None:
        """Notes a failure: the next attempt goes to the next address, unless this one is held."""
        moves = error.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED") and error.reason in _MOVES_ON
        if not moves or len(self._addresses) == 1:
            return
        with self._lock:
            if address != self._current or self._is_held():
                return
            self._current = (address + 1) % len(self._addresses)
            if self._held_until:
                log.warning("address with degraded answers abandoned, compare with reconcile: %s",
                            self._addresses[address])
                self._held_until = 0.0
            log.info("address changed: %s to %s: %s", self._addresses[address],
                     self._addresses[self._current], error)
