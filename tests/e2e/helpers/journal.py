"""Journal entries as the command line lists them, and damaged keys in Redis that block one."""

import json
import subprocess

from redis_proxy import Redis
from sidecar import Sidecar, binary, clean_environment

GROUP_KEYS = "q1{*/groups}*"
BLOCKED_WITHIN_S = 30
"""Five attempts with backoff take half a second; the rest is for a busy machine."""


def cli(sidecar: Sidecar, *arguments: str, code: int = 0) -> str:
    """Runs an admin command; returns its output."""
    command = [binary(), "admin", "--address", sidecar.admin, "--timeout-ms", "30000", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60,
                         env=clean_environment())
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def keys(redis: Redis) -> set[str]:
    return set(redis.cli("--scan", "--pattern", GROUP_KEYS).split())


class Damage:
    """A key of a group with a value of a wrong type, until it is repaired."""

    def __init__(self, redis: Redis, key: str):
        self._redis, self._key = redis, key
        assert redis.cli("RENAME", key, self._saved) == "OK"
        assert redis.cli("SET", key, "damaged") == "OK"

    @property
    def _saved(self) -> str:
        return f"saved:{self._key}"

    def repair(self) -> None:
        assert self._redis.cli("RENAME", self._saved, self._key) == "OK"


def listed(sidecar: Sidecar, *more: str) -> list[dict]:
    answer = json.loads(cli(sidecar, "journal", "list", "--output", "json", *more))
    return answer.get("entries", [])
