"""Reports of lost acknowledged writes in Redis: events, the webhook, logs, refused purchases."""

import re
import time

import grpc
import pytest

from app import App, names
from details import error_info, error_of
from event_watch import Watch
from http_port import get
from receiver import SECRET, Receiver
from redis_proxy import Redis
from sidecar import Sidecar, wait_until
from stubs import admin_pb

FACTS_LOST = admin_pb.EVENT_KIND_FACTS_LOST
CREATED = admin_pb.EVENT_KIND_APP_CREATED
PURCHASED = admin_pb.EVENT_KIND_PURCHASED
TOLD_WITHIN_S = 20
MANY = 40
"""Apps that lose writes together."""
LEFT_OUT = 1000
"""The gap in the event numbers after a loss."""


@pytest.fixture
def redis():
    """A new Redis."""
    with Redis() as running:
        yield running


@pytest.fixture
def receiver():
    """A receiver that accepts everything."""
    with Receiver() as running:
        yield running


@pytest.fixture
def sidecar(redis, receiver, tmp_path):
    """A sidecar on that Redis which posts to that receiver."""
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    flags = ["--webhook-url", receiver.url, "--webhook-secret-file", str(secret)]
    with Sidecar(*flags, store=f"redis://127.0.0.1:{redis.port}/0", management=True) as running:
        yield running


def metrics(sidecar: Sidecar) -> str:
    """The text of `/metrics`."""
    return get(sidecar.management_port, "/metrics")[1]


def loss_lines(sidecar: Sidecar) -> list[str]:
    """The log lines about lost facts."""
    return [line for line in sidecar.read_log().splitlines() if "facts lost:" in line]


def keys(redis: Redis, pattern: str) -> list[str]:
    """The keys that match a pattern."""
    return redis.cli("KEYS", pattern).split()


def save(redis: Redis, pattern: str) -> list[str]:
    """Saves copies of the keys that match a pattern."""
    found = keys(redis, pattern)
    for key in found:
        redis.cli("COPY", key, f"saved{key}", "REPLACE")
    return found


def put_back(redis: Redis, pattern: str, saved: list[str]) -> None:
    """Restores the keys that match a pattern to the saved copies, in one step."""
    lines = [f"redis.call('DEL', '{key}')" for key in keys(redis, pattern)]
    lines += [f"redis.call('COPY', 'saved{key}', '{key}')" for key in saved]
    redis.cli("EVAL", " ".join(lines), "0")


def test_watches_and_the_webhook_report_lost_events(redis, receiver, sidecar):
    with App(sidecar) as app:
        app.register()
        wait_until(lambda: receiver.taken() == [1], TOLD_WITHIN_S, "the first event")
        saved = save(redis, "q1{events}*")
        watch = Watch(app)
        app.admin("PurchaseEdition", edition_id="professional", months=1)
        app.buy("members-2000")
        assert [event.event_id for event in watch.next(2)] == ["2", "3"]
        wait_until(lambda: receiver.taken() == [1, 2, 3], TOLD_WITHIN_S, "all events")
        put_back(redis, "q1{events}*", saved)
        # The cursors were reset too: delivered events are delivered again, with new numbers.
        lost, *again = watch.next(3)
        assert (lost.kind, lost.app_id, lost.part) == (FACTS_LOST, "", "events")
        assert (lost.found, lost.known) == (1, 3)
        assert [event.kind for event in again] == [PURCHASED, PURCHASED]
        first = 3 + LEFT_OUT + 1
        assert [int(event.event_id) for event in (lost, *again)] == [first, first + 1, first + 2]
        # A token from before the loss resumes at its place.
        with App(sidecar) as other:
            assert [int(event.event_id) for event in Watch(other, "3").next(3)][0] == first
        wait_until(lambda: receiver.taken()[-1:] == [first + 2], TOLD_WITHIN_S, "all posts")
        posted = {post.id: post.event for post in receiver.posts}
        assert posted[first]["kind"] == "EVENT_KIND_FACTS_LOST"
        assert posted[first]["part"] == "events" and "app_id" not in posted[first]
        assert 'imquota_facts_lost_total{part="events"} 1' in metrics(sidecar)
        beyond = error_of(lambda: Watch(app, str(first + 99)))
        assert beyond.code() == grpc.StatusCode.OUT_OF_RANGE
        assert error_info(beyond).reason == "RESUME_TOKEN_BEYOND_END"


def test_a_sale_after_a_lost_one_is_a_conflict_and_then_counts(redis, sidecar):
    with App(sidecar) as app:
        app.upgrade()
        saved = save(redis, "q1{directory}*")
        app.buy("members-2000")
        watch = Watch(app, "0")
        watch.next(3)
        put_back(redis, "q1{directory}*", saved)

        def sold():
            try:
                app.buy("groups-per-user-400")
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.ABORTED, error
                info = error_info(error)
                assert (info.domain, info.reason) == ("imquota.v1", "FACTS_LOST"), info
                assert (info.metadata["found"], info.metadata["known"]) == ("2", "3")
                return None
            return True

        assert sold() is None, "first a conflict"
        wait_until(sold, TOLD_WITHIN_S, "a sale", 0.2)
        told = watch.next(3)
        assert sorted(event.kind for event in told) == [PURCHASED, FACTS_LOST, FACTS_LOST]
        assert {(event.app_id, event.part) for event in told if event.kind == FACTS_LOST} == {
            ("", "directory"), (app.id, "directory")}
        # The limit of the second sale is in force.
        shown = app.admin("GetApp").app
        assert [add_on.add_on_id for add_on in shown.purchases][1:] == ["groups-per-user-400"]


def test_a_part_of_an_app_that_lost_writes_is_reported_and_keeps_serving(redis, sidecar):
    with App(sidecar) as app:
        app.register()
        users = names("u", 6)
        app.create_accounts(*users[:2])
        saved = save(redis, "q1{*/accounts}*")
        for user in users[2:5]:
            app.create_accounts(user)
        watch = Watch(app)
        put_back(redis, "q1{*/accounts}*", saved)
        app.create_accounts(users[5])
        (lost,) = watch.next(1)
        assert (lost.kind, lost.app_id, lost.part) == (FACTS_LOST, app.id, "accounts")
        # One write for the limits and one for the first accounts remained, and one was made since.
        assert (lost.found, lost.known) == (3, 5)
        (line,) = wait_until(lambda: loss_lines(sidecar), TOLD_WITHIN_S, "a log line")
        assert f'examples="{app.id} accounts 4-5"' in line, line
        assert 'imquota_facts_lost_total{part="accounts"} 1' in metrics(sidecar)


def test_a_loss_of_many_apps_is_an_event_each_and_one_line_a_second(redis, sidecar):
    apps = [f"app-{number:02}" for number in range(MANY)]
    with App(sidecar) as app:
        app.register()
        watch = Watch(app)

        def take(users: list[str]) -> None:
            for app_id in apps:
                with App(sidecar, app_id=app_id) as each:
                    each.create_accounts(*users)

        take(["u1"])
        saved = save(redis, "q1{*/accounts}*")
        for user in ("u2", "u3", "u4"):
            take([user])
        began = time.monotonic()
        put_back(redis, "q1{*/accounts}*", saved)
        take(["u5"])
        lost = []
        while len(lost) < MANY:
            # The app's creation may precede it.
            lost += [event for event in watch.next(1) if event.kind == FACTS_LOST]
        assert sorted((event.app_id, event.part) for event in lost) == [
            (each, "accounts") for each in apps]

        def logged():
            return [int(re.search(r'parts="accounts (\d+)"', line)[1])
                    for line in loss_lines(sidecar)]

        wait_until(lambda: sum(logged()) == MANY, TOLD_WITHIN_S, "all apps are in the log")
        took_s = time.monotonic() - began
        assert len(logged()) <= 1 + took_s, "at most one line per second"
        assert len(logged()) < MANY
