"""`imquota backup`: a consistent copy of the store under load, and a sidecar that starts on it."""

import hashlib
import re
import subprocess
import threading

from app import ALREADY_HELD, APPLIED, App, names, outcomes
from redis_proxy import Redis
from sidecar import Sidecar, binary, clean_environment

ACCOUNTS = 3000
TIMEOUT_S = 120


def back_up(sidecar: Sidecar, out) -> subprocess.CompletedProcess:
    """Runs the command."""
    command = [binary(), "backup", "--out", str(out), "--address", sidecar.admin]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S,
                          env=clean_environment())


def test_a_backup_under_load_has_all_acknowledged_facts_and_no_partial_ones(
        tmp_path):
    with Sidecar() as sidecar, App(sidecar) as app:
        app.upgrade()
        for first in range(0, ACCOUNTS, 100):
            app.create_accounts(*names("u", 100, first))
        app.create_group("g", owner="u0")
        written, ended = [], threading.Event()

        def write():
            with App(sidecar, app_id=app.id) as writer:
                while not ended.is_set():
                    users = names("later", 2, 2 * len(written))
                    writer.quota.JoinGroup(_join(app.id, users), timeout=20)
                    written.append(users)

        thread = threading.Thread(target=write)
        thread.start()
        out = tmp_path / "copy.redb"
        made = back_up(sidecar, out)
        ended.set()
        thread.join()
        assert made.returncode == 0, made.stderr
        digest = hashlib.sha256(out.read_bytes()).hexdigest()
        assert re.fullmatch(rf".*copy.redb: {out.stat().st_size} bytes, sha256 {digest}\n",
                            made.stdout)
        assert list(tmp_path.iterdir()) == [out], "nothing else is left"
        assert [path.name for path in sidecar.data.iterdir()] == ["imquota.redb"]

        logged = subprocess.run(
            [binary(), "admin", "audit", "list", "--action", "CreateBackup", "--address",
             sidecar.admin], capture_output=True, text=True, env=clean_environment(), check=True)
        assert len(logged.stdout.splitlines()) == 2 and "CreateBackup" in logged.stdout, logged

        again = back_up(sidecar, out)
        assert again.returncode == 1 and "exists" in again.stderr
        assert hashlib.sha256(out.read_bytes()).hexdigest() == digest

        with Sidecar() as restored:
            restored.stop()
            (restored.data / "imquota.redb").write_bytes(out.read_bytes())
            restored.start()
            with App(restored, app_id=app.id) as copy:
                assert copy.accounts() == ACCOUNTS
                some = names("u", 100)
                assert outcomes(copy.create_accounts(*some)) == [ALREADY_HELD] * 100
                assert copy.create_group("g").group.outcome == ALREADY_HELD
                members = copy.usages(group_id="g")["members_per_group"].used
                # Both users of a call, or neither.
                assert members % 2 == 1 and 1 <= members <= 1 + 2 * len(written)
                verified = subprocess.run(
                    [binary(), "admin", "audit", "verify", "--address", restored.admin],
                    capture_output=True, text=True, timeout=TIMEOUT_S, env=clean_environment())
                assert verified.returncode == 0, verified.stderr
                assert outcomes(copy.create_accounts("new")) == [APPLIED]


def _join(app_id: str, users: list[str]):
    from stubs import quota_pb
    return quota_pb.JoinGroupRequest(app_id=app_id, group_id="g", user_ids=users)


def test_facts_in_redis_are_not_backed_up_and_the_error_names_redis(tmp_path):
    with Redis() as redis, Sidecar(store=f"redis://127.0.0.1:{redis.port}/0") as sidecar:
        made = back_up(sidecar, tmp_path / "copy")
        assert made.returncode == 1 and "BGSAVE" in made.stderr
        assert list(tmp_path.iterdir()) == []


def test_facts_in_memory_are_not_backed_up_and_the_error_names_the_remedy(tmp_path):
    with Sidecar(store="memory") as sidecar:
        made = back_up(sidecar, tmp_path / "copy")
        assert made.returncode == 1 and "--store embedded:DIR" in made.stderr
        assert list(tmp_path.iterdir()) == []
