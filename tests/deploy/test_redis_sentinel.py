"""The configuration for a master with replicas and Sentinels: real servers accept it, and all
replicas confirm the sidecar's writes, before and after a failover."""

import subprocess
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc

from app import ALREADY_HELD, APPLIED, App, outcomes
from http_port import metric
from sidecar import Sidecar, free_ports, wait_until
from tools import DEPLOY

FILES = DEPLOY / "redis" / "sentinel"
REPLICAS = 2
SENTINELS = 3
OPERATOR = "user operator on >OPERATOR ~* &* +@all\n"
"""An operator has a user of their own."""


def write(folder: Path, name: str, text: str, replaced: dict[str, str]) -> Path:
    """A file of the deployment, with addresses and paths of this machine."""
    for old, new in replaced.items():
        assert old in text, (name, old)
        text = text.replace(old, new)
    (folder / name).write_text(text)
    return folder / name


@contextmanager
def server(folder: Path, *command: str):
    """A process of Redis that is killed at the end."""
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def ask(port: int, user: str, password: str, *command: str) -> str:
    """The output of redis-cli."""
    ran = subprocess.run(["redis-cli", "-p", str(port), "--user", user, "--pass", password,
                          "--no-auth-warning", *command], capture_output=True, text=True,
                         timeout=20)
    return ran.stdout.strip()


def start_redis(stack: ExitStack, folder: Path, port: int, master: int) -> None:
    """A server with the shipped files; a replica if it is not the master."""
    folder.mkdir()
    users = write(folder, "users.acl", (FILES / "users.acl").read_text(), {})
    conf = write(folder, "replication.conf", (FILES / "replication.conf").read_text(), {
        "/etc/redis/redis.conf": str(DEPLOY / "redis" / "redis.conf"),
        "/etc/redis/users.acl": str(users)})
    more = [] if port == master else ["--replicaof", "127.0.0.1", str(master)]
    stack.enter_context(server(folder, "redis-server", str(conf), "--port", str(port), "--bind",
                               "127.0.0.1", "--dir", str(folder),
                               "--repl-diskless-sync-delay", "0", *more))


def start_sentinel(stack: ExitStack, folder: Path, port: int, master: int) -> None:
    """A Sentinel with the shipped files."""
    folder.mkdir()
    rules = (FILES / "sentinel-users.acl").read_text() + OPERATOR
    users = write(folder, "users.acl", rules, {})
    conf = write(folder, "sentinel.conf", (FILES / "sentinel.conf").read_text(), {
        "MASTER-HOST 6379": f"127.0.0.1 {master}", "port 26379": f"port {port}",
        "/etc/redis/sentinel-users.acl": str(users)})
    stack.enter_context(server(folder, "redis-server", str(conf), "--sentinel", "--bind",
                               "127.0.0.1"))


def test_all_replicas_confirm_writes_before_and_after_a_failover(tmp_path):
    ports = free_ports(1 + REPLICAS + SENTINELS)
    redis, sentinels = ports[:1 + REPLICAS], ports[1 + REPLICAS:]
    (tmp_path / "password").write_text("SECRET")
    with ExitStack() as stack:
        for port in redis:
            start_redis(stack, tmp_path / f"redis-{port}", port, redis[0])
        for port in sentinels:
            start_sentinel(stack, tmp_path / f"sentinel-{port}", port, redis[0])

        def has_met_all(port: int) -> bool:
            said = ask(port, "imquota", "SECRET", "SENTINEL", "MASTER", "main").splitlines()
            fields = dict(zip(said[::2], said[1::2], strict=True))
            return (fields.get("num-slaves"), fields.get("num-other-sentinels")) == ("2", "2")

        for port in sentinels:
            wait_until(lambda port=port: has_met_all(port), 30, "the Sentinels discover each other")
        hosts = ",".join(f"127.0.0.1:{port}" for port in sentinels)
        login = ["--redis-username", "imquota", "--redis-password-file", tmp_path / "password",
                 "--sentinel-username", "imquota", "--sentinel-password-file",
                 tmp_path / "password"]
        store = f"redis-sentinel://{hosts}/main/0"
        with Sidecar(*map(str, login), store=store, management=True) as sidecar, \
                App(sidecar) as app:
            def required(port: int) -> float:
                return metric(sidecar.management_port, "imquota_store_replicas",
                              node=f"127.0.0.1:{port}", replicas="required")

            wait_until(lambda: required(redis[0]) == REPLICAS, 20, "both replicas confirm")
            assert outcomes(app.create_accounts("before")) == [APPLIED]
            warned = [line for line in sidecar.read_log().splitlines()
                      if "WARN" in line and "credentials" not in line]
            assert not warned
            assert ask(sentinels[0], "operator", "OPERATOR", "SENTINEL", "FAILOVER", "main") == "OK"
            wait_until(lambda: any(required(port) for port in redis[1:]), 30,
                       "a replica of the new master confirms")
            wait_until(lambda: is_held(app, "before"), 20, "it answers")
            assert outcomes(app.create_accounts("after")) == [APPLIED]


def is_held(app: App, user: str) -> bool:
    """Returns whether the account exists; false on an error."""
    try:
        return outcomes(app.create_accounts(user)) == [ALREADY_HELD]
    except grpc.RpcError:
        return False
