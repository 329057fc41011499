"""A Redis server that a test makes unavailable, behind a proxy that injects network faults.

The sidecar reaches the server through the proxy only, so that the server appears to hang, to be
slow, or to be down, while the test still reads its contents over a direct connection.
"""

import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from sidecar import free_ports, wait_until

STARTS_WITHIN_S = 20
POLLED_EVERY_S = 0.02


class Redis:
    """One `redis-server` and its folder; its data survive a restart.

    With `appendfsync everysec` it would postpone its writes while the disk is busy, and lose them
    when it is killed.
    """

    def __init__(self, *settings: str):
        self.folder = Path(tempfile.mkdtemp(prefix="imquota-redis-"))
        (self.port,) = free_ports(1)
        self._settings = settings
        self.process = None
        self.start()

    def start(self) -> None:
        """Starts the server and waits until it replies."""
        assert shutil.which("redis-server"), "redis-server is needed: apt-get install redis-server"
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir",
             str(self.folder), "--save", "", "--appendonly", "yes",
             "--appendfsync", "no", *self._settings],
            stdout=subprocess.DEVNULL)
        wait_until(lambda: self.cli("PING") == "PONG", STARTS_WITHIN_S, "redis answers")

    def cli(self, *command: str) -> str:
        """The server's reply, as redis-cli prints it."""
        ran = subprocess.run(["redis-cli", "-p", str(self.port), *command], capture_output=True,
                             text=True, timeout=20)
        return ran.stdout.strip()

    def kill(self) -> None:
        """Kills the server."""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """Stops the process; its connections stay open."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Continues the process."""
        self.process.send_signal(signal.SIGCONT)

    def __enter__(self) -> "Redis":
        return self

    def __exit__(self, *_exception) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Proxy:
    """Forwards bytes between clients and a port, or injects faults."""

    def __init__(self, to: int):
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._delay_s = 0.0
        self._swallows = False
        self._refuses = False
        self._ended = False
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """The URL of the store behind the proxy."""
        return f"redis://127.0.0.1:{self.port}/0"

    def slow(self, seconds: float) -> None:
        """Delays every chunk of bytes by that time from now on."""
        self._delay_s = seconds

    def swallow(self, on: bool = True) -> None:
        """Black hole: connections stay open, and all bytes are dropped."""
        self._swallows = on
        if not on:
            # The dropped bytes are missing from the stream, so the connections are useless.
            self._cut()

    def refuse(self, on: bool = True) -> None:
        """Closes all connections, and new ones immediately."""
        self._refuses = on
        if on:
            self._cut()

    def _cut(self) -> None:
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for each in pair:
                # Wakes up the thread that reads from it.
                try:
                    each.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
                each.close()

    def _accept(self) -> None:
        while not self._ended:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                if self._refuses:
                    raise OSError("refused")
                server = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                client.close()
                continue
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._pairs.append((client, server))
            threading.Thread(target=self._carry, args=(client, server), daemon=True).start()

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        selector = selectors.DefaultSelector()
        try:
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            while not self._ended:
                for key, _ in selector.select(timeout=POLLED_EVERY_S):
                    data = key.fileobj.recv(65536)
                    if not data:
                        return
                    time.sleep(self._delay_s)
                    if not self._swallows:
                        key.data.sendall(data)
        except (OSError, ValueError, KeyError):
            return
        finally:
            selector.close()
            client.close()
            server.close()

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(self, *_exception) -> None:
        self._ended = True
        self._listener.close()
        self._cut()
