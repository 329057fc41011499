"""Files on disk can be read by the user of the process only, even with the umask 000.

The oracle is the mode of every file in the folders of the processes.
"""

import os
import stat
import subprocess

import pytest

from app import App, names
from redis_proxy import Redis
from sidecar import Sidecar, binary, clean_environment

TIMEOUT_S = 60
PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700
DIFFERS = 4
"""Exit code of `imquota reconcile` if differences are left."""


@pytest.fixture(autouse=True)
def umask():
    """Sets the umask 000; processes that a test starts inherit it."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path) -> int:
    """The permission bits of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def modes(folder) -> dict[str, int]:
    """The permission bits of everything below a folder except sockets."""
    paths = (path for path in folder.rglob("*") if not path.is_socket())
    return {str(path.relative_to(folder)): mode(path) for path in paths}


def command(folder, *arguments: str, code: int = 0) -> None:
    """Runs a command of the binary in a folder."""
    done = subprocess.run([binary(), *arguments], capture_output=True, text=True, cwd=folder,
                          timeout=TIMEOUT_S, env=clean_environment())
    assert done.returncode == code, done.stderr


def test_an_embedded_store_its_backup_and_what_the_command_line_writes_are_private(tmp_path):
    with Sidecar() as sidecar, App(sidecar) as app:
        app.upgrade()
        app.create_accounts(*names("u", 3))
        admin = ["--address", sidecar.admin]
        exported = tmp_path / "accounts.csv"
        exported.write_text("user_id\n" + "".join(f"u{number}\n" for number in range(5)))
        command(tmp_path, "statement", "--app", app.id, "--export", "html", "--out", "page.html",
                *admin)
        command(tmp_path, "reconcile", "--app", app.id, "--accounts", exported.name,
                "--report", "report.jsonl", *admin, code=DIFFERS)
        command(tmp_path, "backup", "--out", "copy.redb", *admin)
        written = modes(tmp_path)
        assert written.pop(exported.name) != PRIVATE_FILE, "the umask removes no permission"
        assert written == dict.fromkeys(["page.html", "report.jsonl", "copy.redb"], PRIVATE_FILE)
        assert mode(sidecar.data) == PRIVATE_DIRECTORY
        assert modes(sidecar.data) == {"imquota.redb": PRIVATE_FILE}


def test_the_state_and_the_journal_of_a_store_in_redis_are_private(tmp_path):
    folders = ["--journal", str(tmp_path / "deep" / "journal"), "--state-dir",
               str(tmp_path / "state")]
    with Redis() as redis, Sidecar(*folders, store=f"redis://127.0.0.1:{redis.port}/0") as sidecar:
        with App(sidecar) as app:
            app.create_accounts("u")
        # Written every ten seconds if anything changed, and at the end.
        sidecar.stop()
        sidecar.start()
        found = modes(tmp_path)
        directories = {"deep", "deep/journal", "state"}
        files = {"deep/journal/journal.redb", "state/store-state.json", "state/counters.json"}
        assert found == {**dict.fromkeys(directories, PRIVATE_DIRECTORY),
                         **dict.fromkeys(files, PRIVATE_FILE)}


def test_existing_files_keep_their_mode_and_a_world_readable_store_is_logged(tmp_path):
    with Sidecar() as sidecar:
        sidecar.stop()
        store = sidecar.data / "imquota.redb"
        assert "file open to every user" not in sidecar.read_log()
        store.chmod(0o640)
        sidecar.start()
        sidecar.stop()
        assert "file open to every user" not in sidecar.read_log()
        store.chmod(0o644)
        sidecar.data.chmod(0o755)
        sidecar.start()
        with App(sidecar) as app:
            app.register()
            (tmp_path / "page.csv").write_text("before")
            (tmp_path / "page.csv").chmod(0o644)
            command(tmp_path, "statement", "--app", app.id, "--export", "csv", "--out", "page.csv",
                    "--address", sidecar.admin)
        assert (mode(store), mode(sidecar.data), mode(tmp_path / "page.csv")) == (
            0o644, 0o755, 0o644)
        lines = [line for line in sidecar.read_log().splitlines() if "open to every user" in line]
        assert len(lines) == 1 and str(store) in lines[0] and "0644" in lines[0], lines
