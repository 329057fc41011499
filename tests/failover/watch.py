"""Watches the role of every server during a round, independent of network cuts."""

import threading
import time
from pathlib import Path

from resp import Redis, RedisError

EVERY_S = 0.02
CALL_TIMEOUT_S = 0.2


class Watch:
    """Polls the roles of all servers; use it as a context."""

    def __init__(self, sockets: dict[str, Path]):
        self._ended = threading.Event()
        self.changes: list[tuple[float, str, str]] = []
        """The observed role changes: instant, server, role."""
        self._threads = [threading.Thread(target=self._watch, args=each, daemon=True)
                         for each in sockets.items()]

    def __enter__(self) -> "Watch":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _watch(self, name: str, socket: Path) -> None:
        client, seen = Redis(socket, CALL_TIMEOUT_S), None
        while not self._ended.wait(EVERY_S):
            try:
                role = client.call("ROLE")[0]
            except (OSError, RedisError):
                continue
            if role != seen:
                seen = role
                self.changes.append((time.monotonic(), name, role))
        client.close()

    def promoted_s(self, since_s: float, before: set[str],
                   after: set[str] | None = None) -> float | None:
        """When another master was observed, see `promotion_s`."""
        return promotion_s(list(self.changes), since_s, before, after)


def promotion_s(changes: list[tuple[float, str, str]], since_s: float, before: set[str],
                after: set[str] | None = None) -> float | None:
    """When a server that was no master before was first observed as one; None if none was.

    With `after`, the masters in the end, only a promotion that lasted counts: Sentinels may undo
    one, and then there was no failover.
    """
    times = [when for when, name, role in changes
             if when > since_s and role == "master" and name not in before
             and (after is None or name in after)]
    return min(times, default=None)
