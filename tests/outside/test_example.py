"""The example client, run as its README says."""

import subprocess
import sys

from sidecar import clean_environment
from stubs import REPOSITORY

CLIENT = REPOSITORY / "deploy" / "examples" / "python" / "client.py"


def _run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(CLIENT), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=clean_environment())


def test_the_example_client_runs_over_tcp_and_the_unix_socket(sidecar, tcp_app):
    for target in (sidecar.tcp, sidecar.unix):
        done = _run("--address", target, "--app", f"{tcp_app.id}-{target.startswith('unix')}")
        assert done.returncode == 0, done.stderr
        assert "code 10014" in done.stdout, "the IM hands the sidecar's code on to its client"
        assert "members in the database: 20" in done.stdout
        assert "members in the ledger: 20" in done.stdout


def test_the_example_client_says_so_when_there_is_no_sidecar(tmp_path):
    done = _run("--address", f"unix:{tmp_path / 'nobody.sock'}")
    assert done.returncode != 0
    assert "unavailable" in done.stderr.lower()
    assert "Traceback" not in done.stderr
