"""Servers whose time of day the test sets: Redis and sidecars that all read one file.

Decisions use the store's clock and deadlines the sidecar's as well, so both are set together.
Monotonic clocks are not changed.
"""

import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sidecar import clean_environment, free_ports, wait_until
from stubs import REPOSITORY

SOURCE = REPOSITORY / "tests" / "support" / "moved_clock.c"
STARTS_WITHIN_S = 20


class MovedClock:
    """The clock's file, and the library that makes a process read it."""

    def __init__(self, folder: Path, now: int):
        library, self.file = folder / "moved_clock.so", folder / "clock"
        compiler = ["cc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE]
        subprocess.run(compiler, check=True)
        self.file.write_bytes(bytes(8))
        self.run_from(now)
        self.environment = {
            "LD_PRELOAD": str(library), "MOVED_CLOCK": str(self.file), "MOVED_CLOCK_GETTIME": "1",
        }

    def stand_at(self, now: int) -> None:
        """Sets the time, in milliseconds since the epoch, and stops it there."""
        self._write(now * 1000)

    def run_from(self, now: int) -> None:
        """Sets the time, which lies in the past, and lets it run."""
        behind = time.time_ns() // 1000 - now * 1000
        assert behind > 0, "an instant in the past"
        self._write(-behind)

    def _write(self, micros: int) -> None:
        # In place: the processes have mapped the file.
        with self.file.open("r+b", buffering=0) as file:
            file.write(struct.pack("=q", micros))


@contextmanager
def redis_server(folder: Path, clock: MovedClock) -> Iterator[str]:
    """A Redis that uses the clock, as a store for sidecars that use it too."""
    assert shutil.which("redis-server"), "redis-server is needed: apt-get install redis-server"
    (port,) = free_ports(1)
    server = subprocess.Popen(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder),
         "--save", ""],
        stdout=subprocess.DEVNULL, env=clean_environment(**clock.environment),
    )
    try:
        cli = ["redis-cli", "-p", str(port), "PING"]
        wait_until(lambda: subprocess.run(cli, capture_output=True).returncode == 0,
                   STARTS_WITHIN_S, "redis")
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.kill()
        server.wait()
