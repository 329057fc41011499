"""Starts and stops the real binary.

Ports are free ones of the loopback interface, data and socket lie in a temporary folder, and
readiness is the status of `grpc.health.v1`: nothing here sleeps for a guessed time.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from stubs import REPOSITORY

START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 30
START_ATTEMPTS_MAX = 3
"""A port that was free a moment ago may be taken when the server binds it."""


def binary() -> str:
    """The path of the binary: `IMQUOTA_BIN`, or the newer one of the two builds."""
    named = os.environ.get("IMQUOTA_BIN")
    if named:
        return named
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    built = [target / profile / "imquota" for profile in ("release", "debug")]
    found = [path for path in built if path.exists()]
    if not found:
        raise RuntimeError("no binary: run `cargo build`, or set IMQUOTA_BIN")
    return str(max(found, key=lambda path: path.stat().st_mtime))


def clean_environment(**extra: str) -> dict[str, str]:
    """This process's environment without the sidecar's settings, but with one of its own: no
    shutdown delay, since no load balancer has to notice the end."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("IMQUOTA_")}
    return {**kept, "NO_COLOR": "1", "IMQUOTA_SHUTDOWN_DELAY_MS": "0", **extra}


def free_ports(count: int) -> list[int]:
    """Unused ports of the loopback interface."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def connect(target: str) -> grpc.Channel:
    """A channel to a listener with a connection that no other channel shares."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
    if target.startswith("unix:"):
        options.append(("grpc.default_authority", "localhost"))
    return grpc.insecure_channel(target, options=options)


def is_serving(target: str, service: str = "imquota.v1.QuotaService") -> bool:
    """Returns whether the health service of a listener reports SERVING."""
    with connect(target) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=2)
        except grpc.RpcError:
            return False
        return answer.status == health_pb2.HealthCheckResponse.SERVING


def wait_until(condition, timeout_s: float, what: str, every_s: float = 0.05):
    """Polls until `condition()` is true and returns its value; fails after `timeout_s`."""
    end = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not within {timeout_s} s: {what}"
        time.sleep(every_s)


class Sidecar:
    """One `imquota serve` process and its folder."""

    def __init__(self, *extra: str, store: str = "embedded", folder: Path | None = None,
                 environment: dict[str, str] | None = None, management: bool = False):
        self._owns_folder = folder is None
        # Short, since the path of a Unix socket is limited to 107 bytes.
        self.folder = folder or Path(tempfile.mkdtemp(prefix="imquota-"))
        self.data = self.folder / "data"
        self.store = f"embedded:{self.data}" if store == "embedded" else store
        self.log = self.folder / "log"
        self._extra = extra
        self._environment = environment or {}
        self._management = management
        self.process: subprocess.Popen | None = None

    @property
    def tcp(self) -> str:
        """Target of the data plane over TCP."""
        return f"127.0.0.1:{self.port}"

    @property
    def unix(self) -> str:
        """Target of the data plane over its Unix socket."""
        return f"unix:{self.folder / 'data.sock'}"

    @property
    def admin(self) -> str:
        """Target of the admin listener."""
        return f"127.0.0.1:{self.admin_port}"

    def arguments(self) -> list[str]:
        """The command line, without the program."""
        listen = ["--listen", self.tcp, "--listen", self.unix, "--admin-listen", self.admin]
        management = f"127.0.0.1:{self.management_port}" if self._management else "off"
        return ["serve", "--store", self.store, *listen, "--management-listen", management,
                *self._extra]

    def start(self) -> "Sidecar":
        """Starts the process and waits until all listeners serve."""
        for attempt in range(1, START_ATTEMPTS_MAX + 1):
            self.port, self.admin_port, self.management_port = free_ports(3)
            self.launch(self.arguments(), clean_environment(**self._environment))
            wait_until(self._serving_or_ended, START_TIMEOUT_S, f"serving\n{self.read_log()}")
            if self.process.poll() is None:
                return self
            port_was_taken = "address" in self.read_log().lower()
            if attempt == START_ATTEMPTS_MAX or not port_was_taken:
                break
        raise AssertionError(f"ended with {self.process.returncode}:\n{self.read_log()}")

    def launch(self, arguments: list[str], environment: dict[str, str]) -> None:
        """Starts the process without waiting."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [binary(), *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=environment, cwd=self.folder,
                # SIGXFSZ stays ignored, so that a file at its size limit is an error like a full
                # disk.
                restore_signals=False,
            )

    def _serving_or_ended(self) -> bool:
        if self.process.poll() is not None:
            return True
        return all(is_serving(target) for target in (self.tcp, self.unix, self.admin))

    def read_log(self) -> str:
        """The log so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def signal(self, number: int) -> None:
        """Sends a signal to the process."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Waits for the process to end; returns its exit code."""
        return self.process.wait(timeout=STOP_TIMEOUT_S)

    def kill(self) -> None:
        """Kills the process, like a crash."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> None:
        """Sends SIGTERM and checks that the process ends cleanly."""
        self.signal(signal.SIGTERM)
        code = self.wait()
        assert code == 0, f"exit code {code} after SIGTERM:\n{self.read_log()}"

    def __enter__(self) -> "Sidecar":
        try:
            return self.start()
        except BaseException:
            self._clean_up()
            raise

    def __exit__(self, kind, *_rest) -> None:
        try:
            if kind is None and self.process.poll() is None:
                self.stop()
        finally:
            self._clean_up()

    def _clean_up(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self._owns_folder:
            shutil.rmtree(self.folder, ignore_errors=True)
