"""Failures around the sidecar: a full disk, cancelled callers, no file descriptors."""

import random
import resource
import signal
import socket
import time
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from app import ALREADY_HELD, APPLIED, App, names, outcomes
from sidecar import Sidecar, connect, wait_until
from stubs import admin_pb

ACCOUNTS_MAX = 200_000
"""Far more than the file may contain in the test of the full disk."""


def test_a_store_that_cannot_write_ends_the_process_and_keeps_acknowledged_facts():
    with Sidecar() as sidecar:
        with App(sidecar) as app:
            app.upgrade()
            size = (sidecar.data / "imquota.redb").stat().st_size
            limit = size + 200_000
            resource.prlimit(sidecar.process.pid, resource.RLIMIT_FSIZE, (limit, limit))
            acknowledged = []
            error = None
            for first in range(0, ACCOUNTS_MAX, 100):
                users = names("u", 100, first)
                try:
                    assert outcomes(app.create_accounts(*users)) == [APPLIED] * 100
                except grpc.RpcError as caught:
                    error = caught
                    break
                acknowledged += users
            assert error is not None, "the file cannot grow, but everything was acknowledged"
            assert error.code() == grpc.StatusCode.UNAVAILABLE
            assert acknowledged, "something was acknowledged before"
        assert sidecar.wait() == 1, "a supervisor has to restart it"
        log = sidecar.read_log()
        assert "ERROR" in log and "store failed" in log

        sidecar.start()
        with App(sidecar, app_id=app.id) as app:
            for first in range(0, len(acknowledged), 100):
                users = acknowledged[first : first + 100]
                assert outcomes(app.create_accounts(*users)) == [ALREADY_HELD] * 100
            assert app.accounts() in (len(acknowledged), len(acknowledged) + 100)


def test_a_purchase_of_a_cancelled_caller_is_in_force_or_was_not_made():
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    made = 0
    with Sidecar() as sidecar, App(sidecar) as first:
        for attempt in range(150):
            app_id = f"{first.id}-{attempt}"
            request = admin_pb.CreateAppRequest(app_id=app_id, request_id="create")
            first.administration.CreateApp(request, timeout=20)
            purchase = first.administration.PurchaseEdition.future(
                admin_pb.PurchaseEditionRequest(
                    app_id=app_id, request_id="buy", edition_id="professional", months=1),
                timeout=20)
            time.sleep(chance.uniform(0, 0.009))
            went_away = purchase.cancel()
            with App(sidecar, app_id=app_id) as app:
                shown = _settled(app).entitlement.edition_id
                limit = app.usages(user_id="u")["friends_per_user"].limit
            made += went_away and shown == "professional"
            expected = {"professional": 3000, "trial": 20}[shown]
            assert limit == expected, f"attempt {attempt}, seed {seed}"
    assert made > 0, "no purchase of a cancelled caller was made"


def _settled(app: App):
    """The app once no change is in flight: changes of all apps wait for each other."""
    other = admin_pb.CreateAppRequest(app_id=f"{app.id}-after", request_id="create")
    app.administration.CreateApp(other, timeout=20)
    return app.admin("GetApp").app


def test_a_health_watch_gets_the_shutdown_and_does_not_delay_it():
    with Sidecar("--drain-timeout-ms", "20000", store="memory") as sidecar:
        with connect(sidecar.tcp) as channel:
            request = health_pb2.HealthCheckRequest(service="imquota.v1.QuotaService")
            watch = health_pb2_grpc.HealthStub(channel).Watch(request, timeout=30)
            assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
            began = time.monotonic()
            sidecar.signal(signal.SIGTERM)
            assert [answer.status for answer in watch] == [
                health_pb2.HealthCheckResponse.NOT_SERVING
            ]
            assert sidecar.wait() == 0
            assert time.monotonic() - began < 15, "it waited for the watch"


def test_without_file_descriptors_it_waits_with_a_warning_and_then_continues():
    with Sidecar(store="memory") as sidecar, App(sidecar) as app:
        app.create_accounts("before")
        opened = len(list(_descriptors(sidecar)))
        resource.prlimit(sidecar.process.pid, resource.RLIMIT_NOFILE, (opened + 5, opened + 500))
        crowd = [socket.create_connection(("127.0.0.1", sidecar.port)) for _ in range(20)]
        try:
            wait_until(lambda: "connection not accepted, retrying" in sidecar.read_log(), 20, "a warning")
            before = _cpu_seconds(sidecar)
            time.sleep(1)
            assert _cpu_seconds(sidecar) - before < 0.5, "it spins"
            assert outcomes(app.create_accounts("during")) == [APPLIED]
        finally:
            for each in crowd:
                each.close()
        with App(sidecar, app_id=app.id) as later:
            assert outcomes(later.create_accounts("after", "during")) == [APPLIED, ALREADY_HELD]


def _descriptors(sidecar: Sidecar):
    return Path(f"/proc/{sidecar.process.pid}/fd").iterdir()


def _cpu_seconds(sidecar: Sidecar) -> float:
    with open(f"/proc/{sidecar.process.pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100
