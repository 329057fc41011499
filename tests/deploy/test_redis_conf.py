"""The configuration for Redis: a real one takes it, and imquota has nothing to warn of."""

import shutil
import subprocess

from app import APPLIED, App, outcomes
from redis_proxy import Redis
from sidecar import Sidecar
from tools import DEPLOY

CONF = DEPLOY / "redis" / "redis.conf"


def test_a_redis_with_this_configuration_is_what_imquota_wants(tmp_path):
    assert shutil.which("redis-server")
    settings = []
    for line in CONF.read_text().splitlines():
        if line and not line.startswith("#"):
            name, value = line.split(None, 1)
            settings += [f"--{name}", value]
    with Redis(*settings) as redis:
        assert redis.cli("CONFIG", "GET", "maxmemory-policy").splitlines()[1] == "noeviction"
        with Sidecar(store=f"redis://127.0.0.1:{redis.port}/0") as sidecar, App(sidecar) as app:
            assert outcomes(app.create_accounts("a")) == [APPLIED]
            warned = [line for line in sidecar.read_log().splitlines()
                      if "WARN" in line and "credentials" not in line]
            assert not warned, warned


def test_each_line_has_its_reason():
    lines = CONF.read_text().split("\n\n")[1:]
    for block in lines:
        assert block.startswith("#"), block


def test_a_redis_with_its_defaults_is_warned_of():
    with Redis("--maxmemory-policy", "allkeys-lru") as redis:
        with Sidecar(store=f"redis://127.0.0.1:{redis.port}/0") as sidecar:
            assert "noeviction" in sidecar.read_log()


def test_redis_itself_reads_the_file(tmp_path):
    # A value that it does not take ends it at once.
    done = subprocess.run(
        ["redis-server", str(CONF), "--port", "0", "--dir", str(tmp_path), "--maxmemory", "x"],
        capture_output=True, text=True, timeout=20)
    assert done.returncode != 0 and "maxmemory" in done.stdout + done.stderr
