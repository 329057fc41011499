"""The example client, run like in its README, and with lost responses, commits and sidecars."""

import importlib.util
import os
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager

import pytest

import imquota
from app import App
from lost_answers import LosesAnswers
from sidecar import Sidecar, clean_environment, wait_until
from stubs import REPOSITORY

CLIENT = REPOSITORY / "deploy" / "examples" / "python" / "client.py"
OPTIONS = imquota.Options(attempt_timeout_s=2.0, timeout_s=5.0)
JOINS = 10
SETTLED_WITHIN_S = 20
ALL = 1_000_000


def _run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(CLIENT), *arguments]
    environment = clean_environment(PYTHONPATH=os.pathsep.join(sys.path))
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=environment)


def test_the_example_client_runs_over_tcp_and_the_unix_socket(sidecar, tcp_app):
    for target in (sidecar.tcp, sidecar.unix):
        done = _run("--address", target, "--app", f"{tcp_app.id}-{target.startswith('unix')}")
        assert done.returncode == 0, done.stderr
        assert "code 10014" in done.stdout, "the IM passes the sidecar's code on to its client"
        assert "members in the database: 20" in done.stdout
        assert "members in the ledger: 20" in done.stdout


def test_the_example_client_reports_a_missing_sidecar(tmp_path):
    done = _run("--address", f"unix:{tmp_path / 'missing.sock'}")
    assert done.returncode != 0
    assert "unavailable" in done.stderr.lower()
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def client():
    """The example as a module."""
    spec = importlib.util.spec_from_file_location("example_client", CLIENT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def im_server(client, sidecar: Sidecar, app: App, options: imquota.Options = OPTIONS):
    """An IM with a group of one member, its database, its client of imquota, and the interceptor
    that drops responses."""
    losing = LosesAnswers()
    with closing(sqlite3.connect(":memory:")) as database, imquota.Client(
            sidecar.tcp, app.id, options, interceptors=[losing]) as quota:
        im = client.ImServer(database, quota)
        im.create_group("g", "Public", "owner")
        yield im, database, quota, losing
        losing.to_lose = 0


def refuse(database: sqlite3.Connection, table: str) -> None:
    """Makes all later inserts fail, like a full disk."""
    database.execute(f"CREATE TRIGGER full BEFORE INSERT ON {table} "
                     "BEGIN SELECT RAISE(ABORT, 'the disk is full'); END")


@pytest.mark.parametrize("lost", [0, 1, ALL], ids=["answered", "repeated", "never answered"])
@pytest.mark.parametrize("commits", [True, False], ids=["commits", "does not commit"])
def test_a_join_is_held_if_and_only_if_the_database_has_the_member(
        client, sidecar, tcp_app, lost, commits):
    # The attempts are over soon, so that the release of one without an answer may begin.
    options = imquota.Options(attempt_timeout_s=1.0, timeout_s=1.0)
    with im_server(client, sidecar, tcp_app, options) as (im, database, quota, losing):
        if not commits:
            refuse(database, "members")
        losing.to_lose, losing.method = lost, "JoinGroup"
        try:
            im.join("g", "new")
            assert commits and lost < ALL
        except imquota.Unavailable:
            assert lost == ALL
            # The queue may have released it already.
            assert losing.to_lose < ALL, "the call was executed"
        except sqlite3.Error:
            assert not commits
        assert quota.flush(SETTLED_WITHIN_S)
        assert tcp_app.members("g") == im.members("g") == (2 if commits and lost < ALL else 1)


def test_a_repeated_join_stays_held_although_the_commit_fails(
        client, sidecar, tcp_app):
    with im_server(client, sidecar, tcp_app) as (im, database, quota, losing):
        im.join("g", "there")
        refuse(database, "members")
        for losing.to_lose in (0, 1):
            with pytest.raises(sqlite3.Error):
                im.join("g", "there")
            assert quota.flush(SETTLED_WITHIN_S)
            assert tcp_app.members("g") == im.members("g") == 2


@pytest.mark.parametrize("table", ["groups", "members"])
def test_a_group_that_is_not_committed_is_released_whole(client, sidecar, tcp_app, table):
    with im_server(client, sidecar, tcp_app) as (im, database, quota, losing):
        refuse(database, table)
        losing.to_lose = 1
        with pytest.raises(sqlite3.Error):
            im.create_group("late", "Public", "owner")
        assert quota.flush(SETTLED_WITHIN_S)
        assert tcp_app.usage_or_none("late") is None
        assert (tcp_app.groups("owner"), tcp_app.members("g")) == (1, 1), "the other one is kept"


def test_a_failed_release_is_retried_later(client):
    options = imquota.Options(timeout_s=1.0)
    with Sidecar() as sidecar, App(sidecar) as app, im_server(client, sidecar, app, options) as (
            im, _, quota, _):
        im.join("g", "leaver")
        sidecar.kill()
        im.leave("g", "leaver")
        sidecar.launch(sidecar.arguments(), clean_environment())
        assert quota.flush(SETTLED_WITHIN_S)
        wait_until(lambda: app.members("g") == 1, SETTLED_WITHIN_S, "the member is released")


@pytest.mark.parametrize("target", ["tcp", "unix"])
def test_every_join_survives_a_kill_with_an_immediate_restart(client, target):
    options = imquota.Options(attempt_timeout_s=0.5, timeout_s=SETTLED_WITHIN_S)
    with Sidecar() as sidecar, closing(sqlite3.connect(":memory:")) as database, imquota.Client(
            getattr(sidecar, target), "restarted", options) as quota:
        im = client.ImServer(database, quota)
        im.create_group("g", "Public", "owner")
        for number in range(JOINS):
            sidecar.kill()
            sidecar.launch(sidecar.arguments(), clean_environment())
            im.join("g", f"u{number}")
        assert im.members("g") == JOINS + 1 and quota.flush(SETTLED_WITHIN_S)
        with App(sidecar, app_id="restarted") as app:
            assert app.members("g") == JOINS + 1
