"""The configuration for Redis: a real server accepts it, and imquota logs no warning."""

import re
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from app import ALREADY_HELD, APPLIED, App, outcomes
from redis_proxy import Redis
from sidecar import Sidecar, free_ports, wait_until
from tools import DEPLOY

CONF = DEPLOY / "redis" / "redis.conf"
USERS = DEPLOY / "redis" / "users.acl"
PASSWORD = "SECRET"
"""A substitute for the password."""


def settings() -> dict[str, str]:
    """The lines of the configuration."""
    lines = [line for line in CONF.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split(None, 1) for line in lines)


@contextmanager
def redis_of(conf: Path, folder: Path, *more: str):
    """A server with that file; yields its port and a function that runs redis-cli."""
    (port,) = free_ports(1)
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            ["redis-server", str(conf), "--port", str(port), "--bind", "127.0.0.1", "--dir",
             str(folder), *more], stdout=log, stderr=log)

    def ask(*command: str) -> str:
        login = ["--user", "imquota", "--pass", PASSWORD, "--no-auth-warning"] if more else []
        ran = subprocess.run(["redis-cli", "-p", str(port), *login, *command],
                             capture_output=True, text=True, timeout=20)
        return ran.stdout.strip()

    def is_up() -> bool:
        assert server.poll() is None, (folder / "log").read_text()
        return "redis_version" in ask("INFO", "server")

    try:
        wait_until(is_up, 20, "redis answers")
        yield port, ask
    finally:
        server.kill()
        server.wait()


def warnings(sidecar: Sidecar) -> list[str]:
    """The logged warnings, except the one about the admin listener without credentials."""
    return [line for line in sidecar.read_log().splitlines()
            if "WARN" in line and "credentials" not in line]


def test_imquota_logs_no_warning_about_a_redis_with_this_file(tmp_path):
    assert shutil.which("redis-server")
    with redis_of(CONF, tmp_path) as (port, ask):
        for name, value in settings().items():
            number = re.fullmatch(r"(\d+)(mb|gb)", value)
            if number:
                value = str(int(number[1]) << {"mb": 20, "gb": 30}[number[2]])
            assert ask("CONFIG", "GET", name).splitlines() == [name, value]
        with Sidecar(store=f"redis://127.0.0.1:{port}/0") as sidecar, App(sidecar) as app:
            assert outcomes(app.create_accounts("a")) == [APPLIED]
            assert not warnings(sidecar)


def test_imquota_works_as_the_user_of_the_acl_without_warnings(tmp_path):
    (tmp_path / "password").write_text(PASSWORD)
    login = ["--redis-username", "imquota", "--redis-password-file", str(tmp_path / "password")]
    with redis_of(CONF, tmp_path, "--aclfile", str(USERS)) as (port, ask):
        store = f"redis://127.0.0.1:{port}/0"
        with Sidecar(*login, store=store) as sidecar, App(sidecar) as app:
            assert outcomes(app.create_accounts("a")) == [APPLIED]
            assert not warnings(sidecar)
        for refused in (("FLUSHALL",), ("CONFIG", "SET", "maxmemory", "1"), ("GET", "else")):
            assert "NOPERM" in ask(*refused), refused


def test_facts_survive_a_restart_with_the_acl(tmp_path):
    (tmp_path / "password").write_text(PASSWORD)
    login = ["--redis-username", "imquota", "--redis-password-file", str(tmp_path / "password")]
    app_id, found = None, []
    for _ in range(2):
        with redis_of(CONF, tmp_path, "--aclfile", str(USERS)) as (port, _ask):
            store = f"redis://127.0.0.1:{port}/0"
            with Sidecar(*login, store=store) as sidecar, App(sidecar, app_id=app_id) as app:
                app_id = app.id
                found += outcomes(app.create_accounts("a"))
    assert found == [APPLIED, ALREADY_HELD]
    # The append-only file is read with the permissions of `default`, which no client uses.
    with redis_of(CONF, tmp_path, "--aclfile", str(USERS)) as (port, _ask):
        for password in ((), ("--pass", ""), ("--pass", PASSWORD)):
            ran = subprocess.run(["redis-cli", "-p", str(port), *password, "INFO"],
                                 capture_output=True, text=True, timeout=20)
            told = ran.stdout + ran.stderr
            assert "NOAUTH" in told and "redis_version" not in told, told


def test_the_acl_has_the_permissions_of_the_page_about_operations():
    (user,) = [line for line in USERS.read_text().splitlines() if line.startswith("user imquota")]
    page = (DEPLOY.parent / "docs" / "operations.md").read_text()
    _, _, rest = page.partition("\nACL SETUSER imquota on ")
    named, _, _ = rest.partition("\n```")
    assert user.split()[2:] == ["on", *named.split(), "+config|get"]


def test_each_line_has_its_reason():
    lines = CONF.read_text().split("\n\n")[1:]
    for block in lines:
        assert block.startswith("#"), block


def test_a_redis_with_its_defaults_causes_warnings():
    with Redis("--maxmemory-policy", "allkeys-lru") as redis:
        with Sidecar(store=f"redis://127.0.0.1:{redis.port}/0") as sidecar:
            assert "noeviction" in sidecar.read_log()


def test_a_redis_that_rejects_the_file_is_found(tmp_path):
    wrong = tmp_path / "redis.conf"
    wrong.write_text(CONF.read_text().replace("noeviction", "never"))
    with pytest.raises(AssertionError, match="maxmemory-policy"):
        with redis_of(wrong, tmp_path):
            pass
