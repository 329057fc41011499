"""Connections that reach their maximum age: clients reconnect, and no call fails."""

import itertools
import json
import queue
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import http2
from app import APPLIED, TIMEOUT_S, App, outcomes
from apply_flood import APPLY, large_result_operation
from details import error_info
from dns_server import DnsServer
from http2 import Http2, pump
from sidecar import Sidecar, binary, clean_environment, connect, wait_until
from stubs import admin_grpc, admin_pb, quota_grpc, quota_pb

AGE_MS, GRACE_MS = 300, 1000
SHORT = ["--connection-age-max-ms", str(AGE_MS), "--connection-age-grace-ms", str(GRACE_MS)]
AGES = 20
UNARY_CALLERS = 32
IN_FLIGHT = 32
LASTS_S = 90
"""More than enough for a slow machine."""


def is_of_age(error: grpc.RpcError) -> bool:
    """Returns whether a stream ended because its connection reached its maximum age."""
    info = error_info(error)
    return (error.code() == grpc.StatusCode.UNAVAILABLE and info is not None
            and (info.domain, info.reason) == ("imquota.v1", "CONNECTION_AGE"))


class Applier:
    """A caller of Apply that opens a new stream when one ends and repeats unfinished operations."""

    def __init__(self, channel: grpc.Channel, app_id: str):
        self._quota, self._app_id = quota_grpc.QuotaServiceStub(channel), app_id
        self._users = itertools.count()
        self.applied, self.ages, self.unanswered = 0, 0, 0

    def run(self, ended: threading.Event) -> None:
        """Runs until `ended`, and then until all operations have a result."""
        pending: list[int] = []
        while not ended.is_set() or pending:
            try:
                pending = self._stream(pending, ended)
            except grpc.RpcError as error:
                assert is_of_age(error), error

    def _stream(self, pending: list[int], ended: threading.Event) -> list[int]:
        """One stream, up to its end. Changes `pending` in place."""
        requests: queue.SimpleQueue = queue.SimpleQueue()
        for user in pending:
            requests.put(self._request(user))
        answers = self._quota.Apply(iter(requests.get, None), timeout=LASTS_S)
        try:
            while True:
                while len(pending) < IN_FLIGHT and not ended.is_set():
                    pending.append(next(self._users))
                    requests.put(self._request(pending[-1]))
                if not pending:
                    return pending
                answer = next(answers)
                # Fails for a second response. A repeated operation that had been executed would be
                # ALREADY_HELD.
                pending.remove(answer.tag)
                assert outcomes(answer.create_accounts.results) == [APPLIED], answer
                self.applied += 1
        except grpc.RpcError:
            self.ages += 1
            self.unanswered += len(pending)
            raise
        finally:
            requests.put(None)
            answers.cancel()

    def _request(self, user: int):
        return quota_pb.ApplyRequest(tag=user, create_accounts=quota_pb.CreateAccountsRequest(
            app_id=self._app_id, user_ids=[f"applied-{user}"]))


def watch(channel: grpc.Channel, last_event: queue.SimpleQueue) -> tuple[list[int], int]:
    """Watches all events up to the id that `last_event` delivers; returns the received ids, and the
    number of ended streams."""
    admin, token, ids, ages, last = admin_grpc.AdminServiceStub(channel), "0", [0], 0, None
    while last is None or ids[-1] < last:
        try:
            request = admin_pb.WatchEventsRequest(resume_token=token)
            for answer in admin.WatchEvents(request, timeout=LASTS_S):
                token = answer.resume_token
                if answer.HasField("event"):
                    ids.append(int(answer.event.event_id))
                last = last_event.get() if last is None and not last_event.empty() else last
                if last is not None and ids[-1] >= last:
                    break
        except grpc.RpcError as error:
            assert is_of_age(error), error
            ages += 1
    return ids[1:], ages


def reconcile(channel: grpc.Channel, app_id: str, ended: threading.Event):
    """One stream that imports single accounts; returns their number, and the last response."""
    users = itertools.count()

    def messages():
        yield admin_pb.ReconcileRequest(begin=admin_pb.ReconcileBegin(
            app_id=app_id, mode=admin_pb.RECONCILE_MODE_IMPORT, has_accounts=True))
        while not ended.wait(0.05):
            yield admin_pb.ReconcileRequest(facts=admin_pb.ReconcileFacts(
                account_user_ids=[f"imported-{next(users)}"]))
        yield admin_pb.ReconcileRequest(end=admin_pb.ReconcileEnd())

    answers = admin_grpc.AdminServiceStub(channel).Reconcile(messages(), timeout=LASTS_S)
    *_, last = answers
    return next(users), last


def create_accounts(target: str, app_id: str, number: int, ended: threading.Event) -> int:
    """Unary calls one after another, without retries; returns their number."""
    with connect(target) as channel:
        quota = quota_grpc.QuotaServiceStub(channel)
        for call in itertools.count():
            if ended.wait(0.01):
                return call
            answer = quota.CreateAccounts(quota_pb.CreateAccountsRequest(
                app_id=app_id, user_ids=[f"unary-{number}-{call}"]), timeout=TIMEOUT_S)
            assert outcomes(answer.results) == [APPLIED], answer


def register_apps(target: str, ended: threading.Event) -> int:
    """Calls that cause one event each; returns their number."""
    with connect(target) as channel:
        admin = admin_grpc.AdminServiceStub(channel)
        for call in itertools.count(1):
            admin.CreateApp(admin_pb.CreateAppRequest(
                app_id=f"registered-{call}", request_id=f"{call}"), timeout=TIMEOUT_S)
            if ended.wait(0.02):
                return call


def test_connection_ages_fail_no_call_and_lose_or_repeat_nothing():
    ended, last_event = threading.Event(), queue.SimpleQueue()
    with Sidecar(*SHORT, store="memory") as sidecar, ThreadPoolExecutor(40) as pool:
        channels = [connect(target) for target in (sidecar.tcp, sidecar.admin, sidecar.admin)]
        # Over the Unix socket, which has no maximum age.
        with App(sidecar, sidecar.unix) as app, App(sidecar, sidecar.unix) as imported:
            app.upgrade()
            imported.upgrade()
            applier = Applier(channels[0], app.id)
            applying = pool.submit(applier.run, ended)
            watching = pool.submit(watch, channels[1], last_event)
            reconciling = pool.submit(reconcile, channels[2], imported.id, ended)
            registering = pool.submit(register_apps, sidecar.admin, ended)
            calling = [pool.submit(create_accounts, sidecar.tcp, app.id, number, ended)
                       for number in range(UNARY_CALLERS)]
            others = [watching, reconciling, registering, *calling]
            try:
                wait_until(lambda: applier.ages >= AGES or applying.done()
                           or any(each.done() for each in others), LASTS_S, "ages")
            finally:
                ended.set()
                # Two apps, each with a purchase.
                registered = registering.result()
                last_event.put(registered + 4)
            applying.result()
            calls = [each.result() for each in calling]
            assert app.accounts() == applier.applied + sum(calls)
            imports, last = reconciling.result()
            assert last.finished and imported.accounts() == imports
            ids, watch_ages = watching.result()
        for channel in channels:
            channel.close()
    assert ids == list(range(1, registered + 5))
    assert applier.ages >= AGES and watch_ages >= AGES // 2 and min(calls) >= AGES, calls
    # The streams were in use.
    assert applier.unanswered > 0 and imports > AGES


class RoundRobin:
    """A client of one name: round robin over all its addresses, one call after another."""

    def __init__(self, dns: DnsServer, port: int, app_id: str):
        self._app_id, self.failures = app_id, []
        self.calls = {OLD: 0, NEW: 0}
        self._ended = threading.Event()
        self._channel = grpc.insecure_channel(
            f"dns://127.0.0.1:{dns.port}/quota.test:{port}",
            options=[
                ("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0),
                ("grpc.lb_policy_name", "round_robin"),
                ("grpc.dns_min_time_between_resolutions_ms", 50),
            ])
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        quota = quota_grpc.QuotaServiceStub(self._channel)
        request = quota_pb.GetUsageRequest(app_id=self._app_id, subject={"app": {}})
        while not self._ended.wait(0.005):
            try:
                usages = quota.GetUsage(request, timeout=TIMEOUT_S).usages
                (accounts,) = [each.used for each in usages if each.limit_id == "accounts_per_app"]
                self.calls[accounts] += 1
            except grpc.RpcError as error:
                self.failures.append(error)

    def close(self) -> None:
        """Ends the client."""
        self._ended.set()
        self._thread.join()
        self._channel.close()


OLD, NEW = 0, 1
"""The accounts of each sidecar, which identify it: each has a store of its own."""
CLIENTS = 10
WINDOW_CALLS = 1000


@pytest.mark.parametrize(("age_ms", "least", "most"), [(1000, 0.4, 0.6), (0, 0, 0)])
def test_a_sidecar_that_is_added_gets_its_share_after_one_age(age_ms, least, most):
    settings, app_id = ["--connection-age-max-ms", str(age_ms)], "shared"
    with Sidecar(*settings, store="memory") as old, DnsServer("127.0.0.1") as dns:
        clients = [RoundRobin(dns, old.port, app_id) for _ in range(CLIENTS)]
        try:
            wait_until(lambda: all(it.calls[OLD] for it in clients), TIMEOUT_S, "calls")
            listen = ["--listen", f"127.0.0.2:{old.port}"]
            with Sidecar(*settings, *listen, store="memory") as new:
                with App(new, app_id=app_id) as app:
                    app.create_accounts("u")
                dns.addresses.append("127.0.0.2")
                # One age of the oldest connection, and one of a client that connected last.
                time.sleep(2)
                before = [dict(it.calls) for it in clients]

                def counted(which: int) -> int:
                    return sum(it.calls[which] - was[which] for it, was in zip(clients, before))

                wait_until(lambda: counted(OLD) + counted(NEW) >= WINDOW_CALLS, LASTS_S, "calls")
                share = counted(NEW) / (counted(OLD) + counted(NEW))
                for it in clients:
                    it.close()
        finally:
            for it in clients:
                it.close()
    assert [it.failures for it in clients] == [[]] * CLIENTS
    assert least <= share <= most, share


def test_a_unix_socket_has_no_age_and_a_watch_of_health_ends_with_its_connection():
    request = health_pb2.HealthCheckRequest()
    with Sidecar(*SHORT, store="memory") as sidecar:
        with connect(sidecar.tcp) as tcp, connect(sidecar.unix) as unix:
            local = health_pb2_grpc.HealthStub(unix).Watch(request, timeout=TIMEOUT_S)
            next(local)
            for _ in range(3):
                with pytest.raises(grpc.RpcError) as ended:
                    list(health_pb2_grpc.HealthStub(tcp).Watch(request, timeout=TIMEOUT_S))
                assert is_of_age(ended.value), ended.value
            assert local.is_active()
            local.cancel()


def test_streams_with_unread_responses_are_cut_off_after_the_grace():
    with Sidecar(*SHORT, store="memory") as sidecar:
        connection = Http2(sidecar.tcp, window=0)
        call = connection.call(APPLY, large_result_operation(1))
        assert pump([connection], lambda: connection.goaway, TIMEOUT_S)
        told = time.monotonic()
        assert not call.ended
        assert pump([connection], lambda: connection.closed, TIMEOUT_S)
        # The age is measured from slightly earlier.
        assert time.monotonic() - told >= GRACE_MS / 1000 - 0.1
        connection.close()


def test_a_call_in_flight_is_finished_however_long_it_takes():
    # Its request is sent in pieces, for longer than age and grace.
    body = http2.message(quota_pb.CreateAccountsRequest(
        app_id="slow", user_ids=["u"]).SerializeToString())
    with Sidecar(*SHORT, store="memory") as sidecar:
        connection = Http2(sidecar.tcp)
        call = connection.call("/imquota.v1.QuotaService/CreateAccounts", body[:4])
        pump([connection], lambda: False, 2 * (AGE_MS + GRACE_MS) / 1000)
        assert connection.goaway and not connection.closed
        connection.send(http2.frame(http2.DATA, http2.END_STREAM, 1, body[4:]))
        assert pump([connection], lambda: call.ended and connection.closed, TIMEOUT_S)
        assert call.status == 0
        connection.close()
        with App(sidecar, app_id="slow") as app:
            assert app.accounts() == 1


def test_the_watch_command_resumes_over_connection_ages():
    with Sidecar(*SHORT, store="memory") as sidecar:
        command = [binary(), "admin", "watch-events", "--address", sidecar.admin]
        watching = subprocess.Popen(
            [*command, "--after", "0", "--output", "json"], text=True, env=clean_environment(),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        ended = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            registering = pool.submit(register_apps, sidecar.admin, ended)
            time.sleep(5 * AGE_MS / 1000)
            ended.set()
            registered = registering.result()
        lines = [watching.stdout.readline() for _ in range(1 + registered)]
        watching.terminate()
        rest, errors = watching.communicate(timeout=TIMEOUT_S)
    apps = [json.loads(line)["event"]["app_id"] for line in lines[1:]]
    assert apps == [f"registered-{number}" for number in range(1, registered + 1)]
    assert rest == "" and errors == ""
