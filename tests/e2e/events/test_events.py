"""Events of changes, denials and limits: watches, the webhook, and restarts."""

import json
import signal
import subprocess
import uuid
from contextlib import contextmanager

import grpc
import pytest

from app import App, names
from details import bad_fields, error_of
from event_watch import TOLD_WITHIN_S, Watch
from receiver import SECRET, Receiver
from sidecar import Sidecar, binary, clean_environment, free_ports, wait_until
from stubs import admin_pb, common_pb

WATCHERS_MAX = 32
"""Per caller: without credentials all callers count as one, the host."""
TAKEN_OVER_WITHIN_S = 40
"""The lease of a sidecar that was killed lasts 20 s."""
CREATED = admin_pb.EVENT_KIND_APP_CREATED
PURCHASED = admin_pb.EVENT_KIND_PURCHASED
REFUNDED = admin_pb.EVENT_KIND_REFUNDED
DENIED = admin_pb.EVENT_KIND_DENIED
LIMIT_PASSED = admin_pb.EVENT_KIND_LIMIT_PASSED
DRIFT_FOUND = admin_pb.EVENT_KIND_DRIFT_FOUND
SERVICE_STOPPED = admin_pb.EVENT_KIND_SERVICE_STOPPED


def kinds(events) -> list[int]:
    """The kinds of events, in order."""
    return [event.kind for event in events]


def ids(events) -> list[int]:
    """The ids of events, in order."""
    return [int(event.event_id) for event in events]


def test_changes_are_events_and_a_watch_resumes_after_a_crash():
    with Sidecar() as sidecar:
        with App(sidecar) as app:
            watch = Watch(app)
            assert watch.token == "0"
            app.register()
            bought = app.admin("PurchaseEdition", edition_id="professional", months=2).purchase
            created, purchased = watch.next(2)
            assert kinds([created, purchased]) == [CREATED, PURCHASED]
            assert created.app_id == purchased.app_id == app.id
            assert purchased.amount_fen == 199_800 and purchased.edition_id == "professional"
            assert purchased.request_id == bought.request_id
            assert purchased.message == ('edition "professional" was bought for 2 months, '
                                         'for 1998.00 CNY')
            token = watch.token
            app.buy("members-2000")
        sidecar.kill()
        sidecar.start()
        with App(sidecar, app_id=app.id) as app:
            watch = Watch(app, token)
            (add_on,) = watch.next(1)
            assert (add_on.kind, add_on.add_on_id, add_on.amount_fen) == (
                PURCHASED, "members-2000", 50_000)
            app.admin("RefundPurchase", purchase_request_id=add_on.request_id)
            (refunded,) = watch.next(1)
            assert (refunded.kind, refunded.add_on_id, refunded.amount_fen) == (
                REFUNDED, "members-2000", -50_000)
            events = Watch(app, "0").next(4)
            assert ids(events) == [1, 2, 3, 4]
            assert events[1] == purchased
        sidecar.stop()
        sidecar.start()
        with App(sidecar, app_id=app.id) as app:
            assert Watch(app, "0").next(4) == events


def test_a_watch_is_for_an_app_and_for_kinds(sidecar):
    with App(sidecar) as app, App(sidecar) as other:
        watch = Watch(app, app_id=app.id, kinds=[PURCHASED, REFUNDED])
        other.upgrade()
        app.upgrade()
        (event,) = watch.next(1)
        assert (event.app_id, event.kind) == (app.id, PURCHASED)


def test_denials_are_counted_and_one_is_shown():
    with Sidecar() as sidecar:
        with App(sidecar) as app:
            app.create_accounts(*names("u", 100))
            app.create_accounts(*names("v", 17))
            app.create_accounts("w")
            app.create_accounts(*names("x", 50), mode=common_pb.MODE_CHECK_ONLY)
            app.create_accounts("y", mode=common_pb.MODE_SHADOW)
        # The shutdown also publishes pending counts.
        sidecar.stop()
        sidecar.start()
        with App(sidecar) as app:
            watch = Watch(app, "0", kinds=[DENIED])
            (event,) = watch.next(1)
            assert (event.count, event.used, event.limit) == (18, 100, 100)
            assert event.limit_id == "accounts_per_app" and event.subject.HasField("app")
            assert event.reason == common_pb.DENIAL_REASON_ACCOUNTS_PER_APP
            assert event.message.startswith("denied 18 times within a minute")


def test_a_usage_that_crosses_a_threshold_is_an_event(sidecar):
    with App(sidecar) as app:
        watch = Watch(app, app_id=app.id, kinds=[LIMIT_PASSED])
        app.create_accounts(*names("u", 69))
        app.create_accounts("v70")
        app.create_accounts("v71")
        app.create_accounts(*names("w", 29))
        first, second = watch.next(2)
        assert (first.percent, first.used, first.limit) == (70, 70, 100)
        assert (second.percent, second.used, second.limit) == (100, 100, 100)
        assert first.limit_id == "accounts_per_app" and first.subject.HasField("app")


def test_a_comparison_that_finds_drift_is_an_event(sidecar):
    with App(sidecar) as app:
        app.create_accounts("held", "both")
        watch = Watch(app, app_id=app.id, kinds=[DRIFT_FOUND])
        part = admin_pb.ReconcileRequest
        begin = admin_pb.ReconcileBegin(app_id=app.id, has_accounts=True,
                                        mode=admin_pb.RECONCILE_MODE_COMPARE)
        facts = admin_pb.ReconcileFacts(account_user_ids=["both", "missing"])
        parts = [part(begin=begin), part(facts=facts), part(end=admin_pb.ReconcileEnd())]
        list(app.administration.Reconcile(iter(parts), timeout=TOLD_WITHIN_S))
        (event,) = watch.next(1)
        assert (event.kind, event.count) == (DRIFT_FOUND, 2)


def test_a_service_that_a_refund_stops_is_an_event_at_the_next_scan():
    with Sidecar() as sidecar:
        with App(sidecar) as app:
            app.upgrade()
            bought = app.admin("GetApp").app.purchases[0].request_id
            app.admin("RefundPurchase", purchase_request_id=bought)
        sidecar.stop()
        sidecar.start()
        with App(sidecar) as app:
            (event,) = Watch(app, "0", kinds=[SERVICE_STOPPED]).next(1)
            assert event.edition_id == "professional"


def test_an_invalid_watch_is_refused_with_its_field(tcp_app):
    def refused(**fields) -> grpc.RpcError:
        request = admin_pb.WatchEventsRequest(**fields)
        answers = tcp_app.administration.WatchEvents(request, timeout=TOLD_WITHIN_S)
        return error_of(lambda: list(answers))

    for token in ["x", "-1", "01", "9" * 30]:
        error = refused(resume_token=token)
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert list(bad_fields(error)) == ["resume_token"]
    assert list(bad_fields(refused(app_id="no app", kinds=[0]))) == ["app_id", "kinds[0]"]
    assert list(bad_fields(refused(kinds=[1] * 33))) == ["kinds"]
    error = refused(resume_token="1000000000")
    assert error.code() == grpc.StatusCode.OUT_OF_RANGE
    assert "another store" in error.details()


def test_watches_are_bounded_and_end_with_the_sidecar():
    with Sidecar() as sidecar, App(sidecar) as app:
        watches = [Watch(app) for _ in range(WATCHERS_MAX)]
        error = error_of(lambda: Watch(app))
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        watches.pop().cancel()

        def makes_room() -> bool:
            try:
                watches.append(Watch(app))
            except grpc.RpcError:
                return False
            return True

        wait_until(makes_room, TOLD_WITHIN_S, "room for another watch")
        sidecar.signal(signal.SIGTERM)
        for watch in watches:
            assert watch.end().code() == grpc.StatusCode.UNAVAILABLE
        assert sidecar.wait() == 0


def test_the_command_line_prints_a_line_an_event():
    def command(*more: str) -> list[str]:
        return [binary(), "admin", "watch-events", "--address", sidecar.admin, *more]

    def run(*more: str, lines: int) -> list[str]:
        with subprocess.Popen(command(*more), env=clean_environment(), text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            read = [process.stdout.readline().rstrip("\n") for _ in range(lines)]
            process.terminate()
        return read

    with Sidecar() as sidecar, App(sidecar) as app:
        app.upgrade()
        Watch(app, "0").next(2)
        created, purchased = run("--after", "0", lines=2)
        assert created.endswith(f"app-created       {app.id}  the app was registered  [1]")
        assert purchased.endswith("for 999.00 CNY  [2]")
        (line,) = run("--after", "0", "--kind", "purchased", lines=1)
        assert line == purchased
        first, event = map(json.loads, run("--after", "1", "--output", "json", lines=2))
        assert first == {"resume_token": "1"}
        assert event["event"]["kind"] == "EVENT_KIND_PURCHASED"
        assert event["event"]["amount_fen"] == 99_900
        wrong = subprocess.run(command("--kind", "nonsense"), env=clean_environment(),
                               capture_output=True, text=True)
        assert wrong.returncode == 2 and "limit-passed" in wrong.stderr
        beyond = subprocess.run(command("--after", "77"), env=clean_environment(),
                                capture_output=True, text=True)
        assert beyond.returncode == 1 and "resume_token 77" in beyond.stderr


def test_a_watch_that_loses_its_connection_prints_how_to_resume():
    with Sidecar(store="memory") as sidecar, App(sidecar) as app:
        app.register()
        command = [binary(), "admin", "watch-events", "--address", sidecar.admin, "--after", "0"]
        with subprocess.Popen(command, env=clean_environment(), text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert "app-created" in process.stdout.readline()
            sidecar.kill()
            complaint = process.stderr.read()
        assert process.returncode == 1
        assert "--after 1" in complaint and "error: the connection was lost:" in complaint
        assert "UNKNOWN" not in complaint and "https" not in complaint


# The webhook.


@pytest.fixture
def receiver():
    """A receiver that accepts everything unless configured otherwise."""
    with Receiver() as running:
        yield running


@pytest.fixture
def flags(receiver, tmp_path):
    """The flags of a sidecar that posts to the receiver."""
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET + b"\n")
    return ["--webhook-url", f"{receiver.url}/hook?x=1", "--webhook-secret-file", str(secret)]


def takes(receiver: Receiver, expected: list[int], within_s: float = TOLD_WITHIN_S) -> None:
    """Waits until that number of events was accepted, and compares them."""
    wait_until(lambda: len(receiver.taken()) >= len(expected), within_s,
               f"{receiver.taken()} is not {expected}")
    assert receiver.taken() == expected


def test_a_failing_webhook_is_retried_and_gets_each_event_in_order(receiver, flags):
    receiver.answers = [500, 302, 404]
    with Sidecar(*flags) as sidecar, App(sidecar) as app:
        app.upgrade()
        app.buy("members-2000")
        takes(receiver, [1, 2, 3])
        assert [post.id for post in receiver.posts] == [1, 1, 1, 1, 2, 3]
        assert {post.path for post in receiver.posts} == {"/hook?x=1"}
        for post in receiver.posts:
            post.check()
        told = [post.event for post in receiver.posts[3:]]
        kinds = ["EVENT_KIND_APP_CREATED", "EVENT_KIND_PURCHASED", "EVENT_KIND_PURCHASED"]
        assert [event["kind"] for event in told] == kinds
        assert told[2]["add_on_id"] == "members-2000" and told[2]["amount_fen"] == 50_000
        assert told[2]["app_id"] == app.id


def test_webhook_delivery_resumes_after_the_sidecar_was_killed(receiver, flags):
    with Sidecar(*flags) as sidecar:
        with App(sidecar) as app:
            app.register()
            takes(receiver, [1])
            receiver.open.clear()
            app.admin("PurchaseEdition", edition_id="professional", months=1)
            app.buy("members-2000")
            # The second event is in flight, with an unknown outcome.
            wait_until(lambda: len(receiver.posts) == 2, TOLD_WITHIN_S, "the second post")
            Watch(app, "0").next(3)
        sidecar.kill()
        receiver.open.set()
        sidecar.start()
        # At least once: an event that was not recorded as accepted is sent again, unchanged.
        takes(receiver, [1, 2, 2, 3], TAKEN_OVER_WITHIN_S)
        assert receiver.posts[1].body == receiver.posts[2].body
        sidecar.stop()
        sidecar.start()
        with App(sidecar, app_id=app.id) as app:
            app.buy("groups-per-user-400")
        takes(receiver, [1, 2, 2, 3, 4])


def test_a_webhook_over_tls_uses_the_system_trust_store(tmp_path, monkeypatch):
    certificate, key, secret = (str(tmp_path / name) for name in ("cert", "key", "secret"))
    (tmp_path / "secret").write_bytes(SECRET)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=receiver",
         "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"],
        check=True, capture_output=True)
    with Receiver((certificate, key)) as receiver:
        flags = ["--webhook-url", receiver.url, "--webhook-secret-file", secret]
        with Sidecar(*flags) as sidecar:
            with App(sidecar) as app:
                app.register()
            wait_until(lambda: "webhook delivery failed, retrying" in sidecar.read_log(),
                       TOLD_WITHIN_S, "a post to an untrusted receiver")
            assert not receiver.posts
            sidecar.stop()
            monkeypatch.setenv("SSL_CERT_FILE", certificate)
            sidecar.start()
            takes(receiver, [1])
            receiver.posts[0].check()


def test_a_new_webhook_starts_with_new_events(receiver, flags):
    with Sidecar() as sidecar:
        with App(sidecar) as app:
            app.register()
            Watch(app, "0").next(1)
        sidecar.stop()
        with Sidecar(*flags, folder=sidecar.folder) as posting, App(posting, app_id=app.id) as app:
            app.admin("PurchaseEdition", edition_id="professional", months=1)
            takes(receiver, [2])


@contextmanager
def redis(folder):
    """A Redis of its own."""
    (port,) = free_ports(1)
    arguments = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder),
                 "--save", ""]
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL) as process:
        try:
            ping = ["redis-cli", "-p", str(port), "PING"]
            wait_until(lambda: subprocess.run(ping, capture_output=True).returncode == 0, 20,
                       "redis")
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.kill()


def test_one_of_two_sidecars_posts_and_the_other_takes_over(receiver, flags, tmp_path):
    apps = 30
    with redis(tmp_path) as store, Sidecar(*flags, store=store) as first:
        with Sidecar(*flags, store=store) as second:
            for number in range(apps):
                with App((first, second)[number % 2]) as app:
                    app.register()
            takes(receiver, list(range(1, apps + 1)))
            first.kill()
            with App(second) as app:
                for _ in range(apps):
                    app.admin("CreateApp", app_id=f"app-{uuid.uuid4().hex}")
                takes(receiver, list(range(1, 2 * apps + 1)), TAKEN_OVER_WITHIN_S)
                events = Watch(app, "0").next(2 * apps)
        assert ids(events) == list(range(1, 2 * apps + 1))
        assert len({event.app_id for event in events}) == 2 * apps
        for post in receiver.posts:
            post.check()
