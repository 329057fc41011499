"""A FIFO or a device in place of a file is refused: nothing waits for a writer.

Each start has a timeout, which a start that hangs exceeds. While the sidecar runs, a file that is
replaced by a FIFO is refused like any invalid one, and the previous content stays in force.
"""

import json
import os
import subprocess

import pytest

from app import App
from sidecar import Sidecar, binary, clean_environment, wait_until

START_TIMEOUT_S = 10
RELOAD_TIMEOUT_S = 20
FAILED = 1
DIFFERS = 4
WHY = "not a regular file"
SETTINGS = [
    "config", "catalog", "admin-tokens-file", "tls-cert", "tls-key", "tls-client-ca",
    "admin-tls-client-ca", "redis-password-file", "sentinel-password-file", "redis-tls-ca",
    "redis-tls-cert", "webhook-secret-file",
]


@pytest.fixture
def fifo(tmp_path):
    """A FIFO without a writer."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_fifo_is_refused_at_the_start(tmp_path, fifo, setting):
    done = subprocess.run(
        [binary(), "serve", "--store", "memory", f"--{setting}", str(fifo)], cwd=tmp_path,
        capture_output=True, text=True, timeout=START_TIMEOUT_S, env=clean_environment())
    assert done.returncode == FAILED
    lines = done.stderr.splitlines()
    assert any(setting in line and WHY in line and str(fifo) in line for line in lines), lines


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_a_device_is_refused_at_the_start(tmp_path, device):
    done = subprocess.run(
        [binary(), "serve", "--store", "memory", "--catalog", device], cwd=tmp_path,
        capture_output=True, text=True, timeout=START_TIMEOUT_S, env=clean_environment())
    assert done.returncode == FAILED and WHY in done.stderr, done.stderr


def test_a_fifo_in_place_of_the_catalog_and_tokens_is_refused_at_the_reload(tmp_path):
    catalog, tokens = tmp_path / "catalog.toml", tmp_path / "tokens"
    shown = subprocess.run([binary(), "catalog", "show"], capture_output=True,
                           text=True, env=clean_environment())
    catalog.write_text(shown.stdout)
    tokens.write_text("")
    files = ["--catalog", str(catalog), "--admin-tokens-file", str(tokens)]
    with Sidecar(*files, store="memory") as sidecar, App(sidecar) as app:
        for path in (catalog, tokens):
            made = path.with_suffix(".new")
            os.mkfifo(made)
            made.rename(path)
        log = wait_until(lambda: (text := sidecar.read_log()).count(WHY) >= 2 and text,
                         RELOAD_TIMEOUT_S, "both are refused")
        assert "catalog refused; the last good one stays in force" in log
        assert "credentials refused; the last good ones stay" in log
        app.create_accounts("u")
        sidecar.stop()


def test_an_import_onto_a_group_of_another_type_lists_skipped_members(tmp_path):
    groups = tmp_path / "groups.csv"
    groups.write_text("group_id,type,member_id\ng1,Public,a\ng1,Public,b\ng1,Public,c\n"
                      "g2,Public,a\n")
    with Sidecar() as sidecar, App(sidecar) as app:
        app.upgrade()
        app.create_group("g1", "Private", "owner")
        command = [binary(), "reconcile", "--app", app.id, "--groups", str(groups), "--import",
                   "--address", sidecar.admin]
        done = subprocess.run(command, capture_output=True, text=True, env=clean_environment())
        assert done.returncode == DIFFERS, done.stderr
        lines = done.stdout.splitlines()
        assert any(line.split() == ["group", "another", "type", "1", "0", "0"] for line in lines)
        assert any(line.split() == ["group", "another", "type", "g1", "found"] for line in lines)
        assert "3 exported members skipped: their groups have another type in imquota" in lines
        assert "1 difference skipped: a group of another type keeps its type and members" in lines
        done = subprocess.run([*command, "--output", "json"], capture_output=True, text=True,
                              env=clean_environment())
        assert json.loads(done.stdout)["members_skipped"] == 3
