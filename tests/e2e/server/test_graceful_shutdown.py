"""Shutdowns under load: a client that honours health has no failed call, however often its
sidecar gets SIGTERM."""

import os
import signal
import threading
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from app import APPLIED, ALREADY_HELD, App
from redis_proxy import Redis
from sidecar import Sidecar, connect, wait_until
from stubs import quota_grpc, quota_pb

ENDINGS = int(os.environ.get("IMQUOTA_ENDINGS", "20"))
CALLERS = 4
DELAY_MS = 400
"""Long enough for health updates to arrive on a busy machine."""
SERVICE = "imquota.v1.QuotaService"


class Backend:
    """A client's view of a sidecar: its health status, by a watch."""

    def __init__(self, sidecar: Sidecar):
        self.channel = connect(sidecar.tcp)
        self.quota = quota_grpc.QuotaServiceStub(self.channel)
        self.serving = threading.Event()
        self._watch = health_pb2_grpc.HealthStub(self.channel).Watch(
            health_pb2.HealthCheckRequest(service=SERVICE))
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        try:
            for answer in self._watch:
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    self.serving.set()
                else:
                    self.serving.clear()
        except grpc.RpcError:
            pass
        finally:
            self.serving.clear()

    def close(self) -> None:
        self._watch.cancel()
        self.channel.close()


class Caller(threading.Thread):
    """Makes calls one after another, each to a serving backend; without retries."""

    def __init__(self, number: int, app_id: str, backends: list):
        super().__init__(daemon=True)
        self._number, self._app_id, self._backends = number, app_id, backends
        self.ended = threading.Event()
        self.calls, self.failures = 0, []

    def run(self) -> None:
        while not self.ended.is_set():
            backend = next((one for one in self._backends if one.serving.is_set()), None)
            if backend is None:
                time.sleep(0.001)
                continue
            user = f"u{self._number}-{self.calls % 20}"
            request = quota_pb.JoinGroupRequest(
                app_id=self._app_id, group_id="g", user_ids=[user])
            try:
                answer = backend.quota.JoinGroup(request, timeout=10)
                assert answer.results[0].outcome in (APPLIED, ALREADY_HELD), answer
                assert not answer.decision.degradation
            except (grpc.RpcError, AssertionError) as error:
                self.failures.append(error)
            self.calls += 1


def test_shutdowns_under_load_fail_no_call_of_a_client_that_honours_health():
    settings = {"IMQUOTA_SHUTDOWN_DELAY_MS": str(DELAY_MS), "IMQUOTA_LOG_FILTER": "warn"}
    with Redis() as redis:
        store = f"redis://127.0.0.1:{redis.port}/0"
        sidecars = [Sidecar(store=store, environment=settings) for _ in range(2)]
        for sidecar in sidecars:
            sidecar.start()
        try:
            with App(sidecars[0]) as app:
                app.upgrade()
                app.create_group("g")
                app_id = app.id
            backends = [Backend(sidecar) for sidecar in sidecars]
            callers = [Caller(number, app_id, backends) for number in range(CALLERS)]
            for caller in callers:
                caller.start()
            for ending in range(ENDINGS):
                # The callers prefer the first: the one with all the load gets SIGTERM.
                at = ending % 2
                others = backends[1 - at]
                wait_until(others.serving.is_set, 20, "the other backend serves")
                sidecars[at].signal(signal.SIGTERM)
                assert sidecars[at].wait() == 0, sidecars[at].read_log()
                backends[at].close()
                sidecars[at].start()
                backends[at] = Backend(sidecars[at])
                if at == 0:
                    wait_until(backends[0].serving.is_set, 20, "the backend serves again")
            for caller in callers:
                caller.ended.set()
            for caller in callers:
                caller.join(20)
            failures = [failure for caller in callers for failure in caller.failures]
            calls = sum(caller.calls for caller in callers)
            print(f"{ENDINGS} shutdowns, {calls} calls, {len(failures)} failures")
            assert not failures, failures[:3]
            assert calls > 10 * ENDINGS, "there was load"
        finally:
            for sidecar in sidecars:
                sidecar._clean_up()
