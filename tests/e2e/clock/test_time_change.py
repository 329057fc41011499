"""A sidecar with an embedded store on a machine whose time of day is changed while it runs."""

import json
import subprocess
import time
import urllib.request

import grpc
import pytest

from app import App
from billing_month import login
from fake_time import MovedClock
from sidecar import Sidecar, binary, clean_environment, wait_until
from stubs import admin_pb

DAY_MS = 86_400_000
NOTICED_WITHIN_S = 10


@pytest.fixture(params=["embedded", "memory"])
def world(request, tmp_path):
    """The clock, which sets only the time of day, and a sidecar with an app."""
    clock = MovedClock(tmp_path, now_ms() - DAY_MS)
    # Set again, since compiling the library took time.
    clock.run_from(now_ms() - DAY_MS)
    environment = {**clock.environment, "MOVED_CLOCK_BOOTTIME": "true"}
    with Sidecar(store=request.param, environment=environment, management=True) as sidecar:
        with App(sidecar, app_id="timed") as app:
            app.upgrade()
            yield clock, sidecar, app


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def skew_s(sidecar: Sidecar) -> float:
    """The value of the metric."""
    url = f"http://127.0.0.1:{sidecar.management_port}/metrics"
    with urllib.request.urlopen(url, timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    (line,) = [line for line in lines if line.startswith("imquota_clock_skew_seconds{")]
    assert 'node="machine"' in line
    return float(line.split()[-1])


def reason_of(call) -> str | None:
    """The reason of the error; `None` if the call succeeds."""
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNAVAILABLE, error
        details = dict(error.trailing_metadata()).get("grpc-status-details-bin", b"")
        assert b"imquota.v1" in details, error
        return "CLOCK_SKEW" if b"CLOCK_SKEW" in details else error.details()
    return None


def accept(sidecar: Sidecar, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [binary(), "admin", "--address", sidecar.admin, "accept-clock", "--output", "json",
         *arguments],
        capture_output=True, text=True, env=clean_environment(), timeout=30,
    )


def sell(app: App, request_id: str):
    return lambda: app.admin(
        "GrantAddOn", add_on_id="groups-per-user-400", months=1, request_id=request_id)


@pytest.mark.parametrize("days", [-400, -40, 40, 400])
def test_a_changed_time_of_day_refuses_only_calls_that_depend_on_it(world, days):
    clock, sidecar, app = world
    before, at = app.admin("GetApp").app, now_ms() - DAY_MS
    if days < 0:
        clock.run_from(now_ms() + (days - 1) * DAY_MS)
    else:
        clock.stand_at(now_ms() + (days - 1) * DAY_MS)
    wait_until(lambda: abs(skew_s(sidecar) / 86_400 - days) < 2, NOTICED_WITHIN_S, "the metric")
    assert reason_of(sell(app, "while wrong")) == "CLOCK_SKEW"
    assert reason_of(lambda: app.meter("RecordLogins", logins=[login("u", at)])) == "CLOCK_SKEW"
    assert app.admin("GetApp").app == before
    if days > 0:
        # A purchase of one month, which is over at the other time.
        assert reason_of(lambda: app.create_accounts("of doubt")) == "CLOCK_SKEW"
    with App(sidecar, app_id="on-trial") as trial:
        trial.create_accounts("anybody")
        assert trial.accounts() == 1
        trial.delete_accounts("anybody")
    assert "clock skew too large" in sidecar.read_log()

    clock.run_from(now_ms() - DAY_MS)
    wait_until(lambda: abs(skew_s(sidecar)) < 1, NOTICED_WITHIN_S, "the metric")
    assert reason_of(sell(app, "while right")) is None
    assert reason_of(lambda: app.meter("RecordLogins", logins=[login("u", at)])) is None


def test_an_owner_can_accept_a_changed_time_of_day(world):
    clock, sidecar, app = world
    clock.run_from(now_ms() - 31 * DAY_MS)
    wait_until(lambda: abs(skew_s(sidecar)) > 1, NOTICED_WITHIN_S, "the metric")
    assert reason_of(sell(app, "refused")) == "CLOCK_SKEW"
    done = accept(sidecar, "--request-id", "on purpose")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["before"] > answer["after"]
    again = accept(sidecar, "--request-id", "on purpose")
    assert json.loads(again.stdout) == answer
    assert reason_of(sell(app, "accepted")) is None
    request = admin_pb.ListAuditEventsRequest(action="AcceptClock")
    events = app.administration.ListAuditEvents(request, timeout=5).events
    assert [event.request_id for event in events] == ["on purpose"]
