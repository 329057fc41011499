"""A Redis that lost its facts: refused, even after a restart, until an owner accepts it.

All processes are real. Takes are made continuously from before the loss; none that begins after it
is admitted.
"""

import json
import shutil
import threading
import time
from contextlib import contextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from app import APPLIED, App, names, outcomes
from details import error_info, error_of
from http_port import get, metric
from journal import cli
from redis_proxy import Redis
from sidecar import Sidecar, clean_environment, connect, free_ports, is_serving, wait_until
from stubs import admin_pb, metering_pb, quota_pb

SERVICES = ["imquota.v1.QuotaService", "imquota.v1.MeteringService", "imquota.v1.AdminService"]
NOTICED_WITHIN_S = 10
"""The check runs once a second; the rest is for a busy machine."""
DEADLINE_S = 5
TRAFFIC_S = 0.5


@contextmanager
def redis_store(*settings: str):
    """A Redis, and its URL as a store."""
    with Redis(*settings) as redis:
        yield redis, f"redis://127.0.0.1:{redis.port}/0"


class Traffic:
    """Continuous takes: new users join a group."""

    def __init__(self, app: App, name: str):
        self._app, self._name = app, name
        self._stop = threading.Event()
        self.admitted: list[float] = []
        """When each admitted take was sent."""
        self.refusals: list[grpc.RpcError] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            sent = time.monotonic()
            request = quota_pb.JoinGroupRequest(
                app_id=self._app.id, group_id="g", user_ids=[f"{self._name}{number}"])
            try:
                answer = self._app.quota.JoinGroup(request, timeout=DEADLINE_S)
                # While Redis is down, the failure policy admits some: labelled, later set aside.
                degraded = answer.decision.degradation
                if answer.results[0].outcome == APPLIED and not degraded:
                    self.admitted.append(sent)
            except grpc.RpcError as error:
                self.refusals.append(error)

    def end(self) -> None:
        self._stop.set()
        self._thread.join()


def is_lost(sidecar: Sidecar) -> bool:
    """Returns whether the metric reports the loss."""
    return metric(sidecar.management_port, "imquota_store_lost") == 1


def assert_lost(call) -> None:
    """Fails unless the call ends with the error of a lost store."""
    error = error_of(call)
    info = error_info(error)
    assert error.code() == grpc.StatusCode.UNAVAILABLE, error
    assert info and (info.domain, info.reason) == ("imquota.v1", "STORE_LOST"), error


def assert_refuses_everything(sidecar: Sidecar, app: App) -> None:
    """Checks takes, releases, reads, metering and admin calls; alive, and not ready."""
    calls = [
        lambda: app.join("g", "later"), lambda: app.leave("g", "a0"), lambda: app.members("g"),
        lambda: app.create_accounts("later"), lambda: app.dissolve("g"), lambda: app.usages(),
        lambda: app.admin("GetApp"), lambda: app.admin("CreateApp"), lambda: app.statement(),
        lambda: app.meter("RecordLogins", logins=[metering_pb.Login(user_id="a0")]),
    ]
    journaled = metric(sidecar.management_port, "imquota_journal_entries")
    for call in calls:
        assert_lost(call)
    for target in (sidecar.tcp, sidecar.admin):
        assert not any(is_serving(target, service) for service in SERVICES)
        with connect(target) as channel:
            alive = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert alive.status == health_pb2.HealthCheckResponse.SERVING
    status, text = get(sidecar.management_port, "/readyz")
    assert status == 503 and "lost its facts" in text, text
    assert [get(sidecar.management_port, path)[0] for path in ("/livez", "/startupz")] == [200, 200]
    now = metric(sidecar.management_port, "imquota_journal_entries")
    assert now == journaled, "nothing is journaled"


def launch(sidecar: Sidecar) -> None:
    """Starts a sidecar that may not become ready; waits until it is alive."""
    sidecar.launch(sidecar.arguments(), clean_environment())

    def alive():
        try:
            return get(sidecar.management_port, "/startupz")[0] == 200
        except OSError:
            return False
    wait_until(alive, NOTICED_WITHIN_S, f"alive\n{sidecar.read_log()[-3000:]}")


def serving(sidecar: Sidecar) -> None:
    """Waits until the sidecar serves."""
    wait_until(lambda: all(is_serving(sidecar.tcp, service) for service in SERVICES),
               NOTICED_WITHIN_S, f"serving again\n{sidecar.read_log()[-3000:]}")


def empty_by_restart(redis: Redis) -> None:
    """Restarts Redis without its data, like after the loss of a disk."""
    redis.kill()
    for path in redis.folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    redis.start()


@pytest.mark.parametrize("lose", [lambda redis: redis.cli("FLUSHALL"), empty_by_restart],
                         ids=["flushall", "restart"])
def test_no_take_is_admitted_between_a_loss_and_its_acceptance(lose):
    with redis_store() as (redis, url), \
            Sidecar(store=url, management=True) as one, \
            Sidecar(store=url, management=True) as other, App(one) as app:
        app.upgrade()
        app.create_group("g", "ChatRoom", members=names("a", 20))
        store_id = cli(one, "store-id").strip()
        assert len(store_id) == 32
        with App(other, app_id=app.id) as same:
            traffic = [Traffic(app, "x"), Traffic(same, "y")]
            time.sleep(TRAFFIC_S)
            lose(redis)
            lost = time.monotonic()
            for sidecar in (one, other):
                wait_until(lambda: is_lost(sidecar), NOTICED_WITHIN_S, "the loss is detected")
            time.sleep(TRAFFIC_S)
            for each in traffic:
                each.end()
                assert each.admitted, "there was traffic before"
                late = [sent for sent in each.admitted if sent > lost]
                assert not late, f"{len(late)} admitted after the loss"
                assert_lost(lambda: (_ for _ in ()).throw(each.refusals[-1]))
            for sidecar, its in ((one, app), (other, same)):
                wait_until(lambda: not is_serving(sidecar.tcp, SERVICES[0]), NOTICED_WITHIN_S,
                           "health falls")
                assert_refuses_everything(sidecar, its)
                assert sidecar.read_log().count("store lost:") == 1, "one log line"
        assert redis.cli("DBSIZE") == "0", "nothing is written back"

        # The same after a restart.
        one.stop()
        launch(one)
        assert is_lost(one)
        with App(one, app_id=app.id) as again:
            assert_refuses_everything(one, again)
            assert cli(one, "store-id").strip() == store_id

        cli(one, "accept-store", "--request-id", "accept-1")
        for sidecar in (one, other):
            serving(sidecar)
            assert not is_lost(sidecar)
        assert cli(other, "store-id").strip() == store_id, "the id is unchanged"
        with App(one, app_id=app.id) as again, App(other, app_id=app.id) as same:
            again.upgrade()
            same.create_group("g", "ChatRoom", members=names("b", 3))
            assert outcomes(again.join("g", "b3")) == [APPLIED]
            assert (again.members("g"), same.members("g")) == (4, 4), "the imported members"
            entries = again.administration.ListAuditEvents(
                admin_pb.ListAuditEventsRequest(action="AcceptStore")).events
            assert [entry.request_id for entry in entries] == ["accept-1"]

            repeated = json.loads(cli(one, "accept-store", "--request-id", "accept-1",
                                      "--output", "json"))
            assert repeated["store_id"] == store_id
            error = error_of(lambda: again.administration.AcceptStore(
                admin_pb.AcceptStoreRequest(request_id="accept-2"), timeout=DEADLINE_S))
            assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
            assert error_info(error).reason == "STORE_NOT_LOST"


def test_degraded_takes_before_a_loss_are_set_aside_and_not_replayed():
    with redis_store() as (redis, url), Sidecar(store=url, management=True) as sidecar, \
            App(sidecar) as app:
        app.upgrade()
        app.create_group("g", "ChatRoom", members=names("a", 3))
        redis.kill()
        for user in names("x", 5):
            answer = app._call("JoinGroup", group_id="g", user_ids=[user])
            assert answer.decision.degradation
        assert metric(sidecar.management_port, "imquota_journal_entries") == 5
        empty_by_restart(redis)
        wait_until(lambda: is_lost(sidecar), NOTICED_WITHIN_S, "the loss is detected")
        assert_lost(lambda: app.leave("g", "x0"))
        assert metric(sidecar.management_port, "imquota_journal_entries") == 5, "all are kept"
        accepted = json.loads(cli(sidecar, "accept-store", "--output", "json"))
        assert int(accepted["set_aside_operations"]) == 5, accepted
        serving(sidecar)
        listed = json.loads(cli(sidecar, "set-aside-operations", "--output", "json"))
        assert [entry["operation"] for entry in listed["operations"]] == ["join_group"] * 5
        app.upgrade()
        app.create_group("g", "ChatRoom", members=["a0"])
        time.sleep(2)
        assert app.members("g") == 1, "none of them was replayed"
        assert metric(sidecar.management_port, "imquota_journal_entries") == 0
        sidecar.stop()
        sidecar.start()
        state = json.loads(cli(sidecar, "store-state", "--output", "json"))
        assert int(state["set_aside_operations"]) == 5, "they survive a restart"

        # An owner deletes entries up to a number, and the audit log records that.
        numbers = [int(entry["number"]) for entry in listed["operations"]]
        delete = ("journal", "delete-set-aside", "--through", str(numbers[3]),
                  "--request-id", "delete-1", "--output", "json")
        for _ in range(2):
            deleted = json.loads(cli(sidecar, *delete))
            told = (int(deleted["deleted_operations"]), int(deleted["set_aside_operations"]))
            assert told == (4, 1), "a repetition has the first response"
        listed = json.loads(cli(sidecar, "set-aside-operations", "--output", "json"))
        assert [int(entry["number"]) for entry in listed["operations"]] == numbers[4:]
        with App(sidecar, app_id=app.id) as again:
            (entry,) = again.administration.ListAuditEvents(
                admin_pb.ListAuditEventsRequest(action="DeleteSetAsideOperations")).events
        assert entry.request_id == "delete-1"
        logged = json.loads(entry.after)
        assert (logged["operations"], logged["first"], logged["last"]) == (
            4, numbers[0], numbers[3])
        assert logged["apps"] == {app.id: 4}


def test_only_the_store_of_that_id_is_used():
    with redis_store() as (redis, url), Sidecar(store=url) as any_store:
        store_id = cli(any_store, "store-id").strip()
        with Sidecar("--store-id", store_id, "--journal", "off", store=url) as named:
            assert cli(named, "store-id").strip() == store_id
        # A pod without state detects an emptied store, or another store, by the id alone.
        any_store.stop()
        for spoil in (lambda: redis.cli("FLUSHALL"),
                      lambda: redis.cli("HSET", "imquota:identity", "format", "1", "id", "f" * 32,
                                        "generation", "a" * 32, "fingerprint_key", "b" * 32,
                                        "marks", "all")):
            spoil()
            pod = Sidecar("--store-id", store_id, "--journal", "off", store=url, management=True)
            pod.port, pod.admin_port, pod.management_port = free_ports(3)
            try:
                launch(pod)
                with App(pod) as app:
                    assert_lost(lambda: app.create_accounts("a"))
                    assert_lost(lambda: app.admin("CreateApp"))
                assert cli(pod, "store-id").strip() == store_id
            finally:
                pod.kill()
        # The other store is accepted only by its id.
        pod = Sidecar("--store-id", store_id, "--journal", "off", store=url, management=True)
        pod.port, pod.admin_port, pod.management_port = free_ports(3)
        try:
            launch(pod)
            assert "f" * 32 in cli(pod, "accept-store", code=1)
            cli(pod, "accept-store", "--found-store-id", "f" * 32)
            serving(pod)
            assert redis.cli("HGET", "imquota:identity", "id") == store_id
            assert redis.cli("HGET", "imquota:identity", "previous") == "a" * 32
        finally:
            pod.kill()

