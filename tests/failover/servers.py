"""Processes of a deployment, each on a host of its own: Redis servers, Sentinels and sidecars."""

import hashlib
import os
import signal
import subprocess
from pathlib import Path

import grpc

from network import Host
from resp import Redis, RedisError
from sidecar import binary, clean_environment, wait_until
from stubs import REPOSITORY, admin_grpc, admin_pb, common_pb, quota_grpc, quota_pb

PORT = 6379
SENTINEL_PORT = 26379
START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 20
READY_APPS = 8
SHIPPED = REPOSITORY / "deploy/redis/redis.conf"


class Process:
    """One process on a host."""

    def __init__(self, host: Host, folder: Path):
        self.host = host
        self.folder = folder / host.name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = self.folder / "log"
        self.process: subprocess.Popen | None = None

    @property
    def name(self) -> str:
        """The host's name."""
        return self.host.name

    def launch(self, command: list[str], environment: dict[str, str] | None = None) -> None:
        """Starts the process without waiting."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.host.command(*command), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.folder, env=environment, start_new_session=True)

    def kill(self) -> None:
        """Kills the process, like a crash."""
        self.process.kill()
        self.process.wait(STOP_TIMEOUT_S)

    def freeze(self) -> None:
        """Stops the process without ending it."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Continues a frozen process."""
        os.kill(self.process.pid, signal.SIGCONT)

    def tail(self) -> str:
        """The end of the log."""
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""


class Server(Process):
    """A Redis server with the shipped redis.conf, or a Sentinel."""

    def __init__(self, host: Host, folder: Path, lines: list[str], sentinel: bool = False):
        super().__init__(host, folder)
        self.is_sentinel = sentinel
        self.socket = self.folder / "sock"
        self.client = Redis(self.socket)
        self._config = self.folder / "conf"
        common = [f"dir {self.folder}", f"unixsocket {self.socket}", "protected-mode no"]
        if not sentinel:
            common = [f"include {SHIPPED}", f"port {PORT}", "save \"\"",
                      "repl-diskless-sync-delay 0", *common]
        self._config.write_text("\n".join([*common, *lines, ""]))

    @property
    def address(self) -> str:
        """The server's address on the network."""
        return self.host.address

    def start(self) -> None:
        """Starts the server, with its existing data, and waits until it replies."""
        self.socket.unlink(missing_ok=True)
        self.client.close()
        self.launch(["redis-server", str(self._config), *["--sentinel"] * self.is_sentinel])
        wait_until(self._answers, START_TIMEOUT_S, f"{self.name} replies\n{self.tail()}")

    def _answers(self) -> bool:
        try:
            return self.client.call("PING") == "PONG"
        except RedisError as error:
            return str(error).startswith("MASTERDOWN")
        except OSError:
            return False

    def call(self, *arguments):
        """Sends a command over the Unix socket, outside of the network."""
        return self.client.call(*arguments)


class Sidecar(Process):
    """A sidecar, which clients reach through a Unix socket."""

    def __init__(self, host: Host, folder: Path, number: int, store: str, extra: list[str]):
        super().__init__(host, folder)
        self.number = number
        self.target = f"unix:{self.folder / 'quota'}"
        self._admin = f"unix:{self.folder / 'admin'}"
        self._arguments = ["serve", "--store", store, "--listen", self.target,
                           "--admin-listen", self._admin, "--management-listen", "off",
                           "--journal", "off", "--state-dir", str(self.folder / "state"), *extra]

    def start(self) -> None:
        """Starts the sidecar and waits until it decides."""
        self.launch([binary(), *self._arguments], clean_environment())
        wait_until(self.decides, START_TIMEOUT_S, f"{self.name} decides\n{self.tail()}")

    def decides(self) -> bool:
        """Returns whether it admits an account of each of some apps, spread over the store."""
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended:\n{self.tail()}")
        with _channel(self.target) as channel:
            stub = quota_grpc.QuotaServiceStub(channel)
            return all(self._admits(stub, f"ready-{number}") for number in range(READY_APPS))

    def _admits(self, stub, app: str) -> bool:
        request = quota_pb.CreateAccountsRequest(app_id=app, user_ids=[f"s{self.number}"])
        try:
            answer = stub.CreateAccounts(request, timeout=2)
        except grpc.RpcError:
            return False
        held = (common_pb.OUTCOME_APPLIED, common_pb.OUTCOME_ALREADY_HELD)
        return answer.results[0].outcome in held and not answer.decision.degradation

    def register(self, app: str) -> None:
        """Registers an app and buys the edition without small limits."""
        with _channel(self._admin) as channel:
            stub = admin_grpc.AdminServiceStub(channel)
            stub.CreateApp(admin_pb.CreateAppRequest(app_id=app, request_id=f"{app}-1"), timeout=10)
            stub.PurchaseEdition(admin_pb.PurchaseEditionRequest(
                app_id=app, request_id=f"{app}-2", edition_id="professional", months=1), timeout=10)

    def stop(self) -> None:
        """Sends SIGTERM."""
        self.process.terminate()
        self.process.wait(STOP_TIMEOUT_S)


def binary_digest() -> str:
    """The binary under test: the start of its SHA-256."""
    with open(binary(), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def _channel(target: str) -> grpc.Channel:
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0),
               ("grpc.default_authority", "localhost")]
    return grpc.insecure_channel(target, options=options)
