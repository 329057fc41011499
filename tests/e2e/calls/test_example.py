"""The example client, run like in its README, and with lost responses, commits and sidecars."""

import importlib.util
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager

import grpc
import pytest

from app import App
from sidecar import Sidecar, clean_environment, wait_until
from stubs import REPOSITORY

CLIENT = REPOSITORY / "deploy" / "examples" / "python" / "client.py"
JOINS = 10
SETTLED_WITHIN_S = 20


def _run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(CLIENT), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=clean_environment())


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


class LostAnswer(grpc.RpcError):
    """The error of a call whose connection broke after its execution."""

    def code(self) -> grpc.StatusCode:
        """The status."""
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        """The message."""
        return "the response was lost"


class LosesAnswers(grpc.UnaryUnaryClientInterceptor):
    """Forwards calls, and drops a configured number of responses."""

    def __init__(self):
        self.to_lose = 0

    def intercept_unary_unary(self, continuation, details, request):
        """Forwards the call."""
        call = continuation(details, request)
        call.result()
        if self.to_lose > 0:
            self.to_lose -= 1
            raise LostAnswer
        return call


@contextmanager
def im_server(client, sidecar: Sidecar, app: App):
    """An IM with a group of one member, its database, and the interceptor that drops responses."""
    losing = LosesAnswers()
    with client.connect(sidecar.tcp) as channel, closing(sqlite3.connect(":memory:")) as database:
        quota = client.Quota(grpc.intercept_channel(channel, losing), app.id)
        im = client.ImServer(database, quota)
        im.create_group("g", "Public", "owner")
        yield im, database, losing


def refuse(database: sqlite3.Connection, table: str) -> None:
    """Makes all later inserts fail, like a full disk."""
    database.execute(f"CREATE TRIGGER full BEFORE INSERT ON {table} "
                     "BEGIN SELECT RAISE(ABORT, 'the disk is full'); END")


def settled(im) -> None:
    """Waits until the IM has settled all calls."""
    wait_until(lambda: im.settle() == 0, SETTLED_WITHIN_S, "all calls are settled")


@pytest.mark.parametrize("lost", [0, 1, 4], ids=["answered", "repeated", "never answered"])
@pytest.mark.parametrize("commits", [True, False], ids=["commits", "does not commit"])
def test_a_join_is_held_if_and_only_if_the_database_has_the_member(
        client, sidecar, tcp_app, lost, commits):
    with im_server(client, sidecar, tcp_app) as (im, database, losing):
        if not commits:
            refuse(database, "members")
        losing.to_lose = lost
        try:
            im.join("g", "new")
            assert commits and lost < client.ATTEMPTS_MAX
        except client.Unavailable:
            assert lost == client.ATTEMPTS_MAX and losing.to_lose == 0
        except sqlite3.Error:
            assert not commits
        assert tcp_app.members("g") == 2, "the call was executed"
        settled(im)
        assert tcp_app.members("g") == im.members("g") == (
            2 if commits and lost < client.ATTEMPTS_MAX else 1)


def test_a_repeated_join_stays_held_although_the_commit_fails(
        client, sidecar, tcp_app):
    with im_server(client, sidecar, tcp_app) as (im, database, losing):
        im.join("g", "there")
        refuse(database, "members")
        for losing.to_lose in (0, 1):
            with pytest.raises(sqlite3.Error):
                im.join("g", "there")
            settled(im)
            assert tcp_app.members("g") == im.members("g") == 2


@pytest.mark.parametrize("table", ["groups", "members"])
def test_a_group_that_is_not_committed_is_released_whole(client, sidecar, tcp_app, table):
    with im_server(client, sidecar, tcp_app) as (im, database, losing):
        refuse(database, table)
        losing.to_lose = 1
        with pytest.raises(sqlite3.Error):
            im.create_group("late", "Public", "owner")
        assert tcp_app.members("late") == 1
        settled(im)
        assert tcp_app.usage_or_none("late") is None
        assert (tcp_app.groups("owner"), tcp_app.members("g")) == (1, 1), "the other one is kept"


def test_a_failed_release_is_retried_later(client, tmp_path):
    with Sidecar() as sidecar, App(sidecar) as app, im_server(client, sidecar, app) as (im, *_):
        im.join("g", "leaver")
        sidecar.kill()
        im.leave("g", "leaver")
        sidecar.launch(sidecar.arguments(), clean_environment())
        settled(im)
        wait_until(lambda: app.members("g") == 1, SETTLED_WITHIN_S, "the member is released")


@pytest.mark.parametrize("target", ["tcp", "unix"])
def test_every_join_survives_a_kill_with_an_immediate_restart(client, target):
    with Sidecar() as sidecar, client.connect(getattr(sidecar, target)) as channel, closing(
            sqlite3.connect(":memory:")) as database:
        im = client.ImServer(database, client.Quota(channel, "restarted"))
        im.create_group("g", "Public", "owner")
        joined = 0
        for number in range(JOINS):
            sidecar.kill()
            sidecar.launch(sidecar.arguments(), clean_environment())
            im.join("g", f"u{number}")
            joined += 1
        assert joined == JOINS and im.members("g") == JOINS + 1
        with App(sidecar, app_id="restarted") as app:
            assert app.members("g") == JOINS + 1
