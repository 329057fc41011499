"""The store's clock and the sidecar's are far apart: calls that depend on the time are refused.

Redis and the sidecar each use a clock of their own. The matrix of differences and operations is in
`tests/redis_suites/clocks.rs`; this file tests errors, metrics and logs.
"""

import uuid

import grpc
import pytest

from app import APPLIED, App
from billing_month import COUNTED, login
from details import error_info, error_of
from fake_time import MovedClock, redis_server
from http_port import metric
from sidecar import Sidecar, wait_until
from statement_oracle import MILLIS_A_DAY, millis

NOON = millis("2019-08-12 12:00")
AHEAD_DAYS = 40
SEEN_WITHIN_S = 20


@pytest.fixture
def clocks(tmp_path):
    """The store's clock and the sidecar's, which start equal."""
    found = []
    for name in ("store", "sidecar"):
        folder = tmp_path / name
        folder.mkdir()
        found.append(MovedClock(folder, NOON))
    return found


@pytest.fixture
def world(clocks, tmp_path):
    """Redis, a sidecar on it, and an app with an edition."""
    store_clock, sidecar_clock = clocks
    # The sidecar's time of day is set; its monotonic clock is not changed.
    environment = {**sidecar_clock.environment, "MOVED_CLOCK_BOOTTIME": "true"}
    with redis_server(tmp_path, store_clock) as store:
        with Sidecar(store=store, environment=environment, management=True) as sidecar:
            app = App(sidecar)
            app.upgrade()
            yield sidecar, app
            app.close()


def skewed(call) -> None:
    """Fails unless the call is refused because of the clocks."""
    error = error_of(call)
    info = error_info(error)
    assert error.code() == grpc.StatusCode.UNAVAILABLE, error
    assert info and (info.domain, info.reason) == ("imquota.v1", "CLOCK_SKEW"), error


def test_a_store_that_is_ahead_refuses_sales_and_statements_with_a_reason(clocks, world):
    (store_clock, _), (sidecar, app) = clocks, world
    assert list(app.meter("RecordLogins", logins=[login("a", NOON)]).outcomes) == [COUNTED]
    store_clock.run_from(NOON + AHEAD_DAYS * MILLIS_A_DAY)
    skewed(lambda: app.admin("RenewEdition", months=1))
    skewed(lambda: app.meter("RecordLogins", logins=[login("b", NOON)]))
    assert not app.statement("2019-08").final
    # Limits without an end do not depend on the time.
    trial = App(sidecar, app_id=f"trial-{uuid.uuid4().hex[:8]}")
    trial.create_accounts("u")
    assert trial.accounts() == 1
    trial.close()
    wait_until(lambda: metric(sidecar.management_port, "imquota_clock_skew_seconds")
               > (AHEAD_DAYS - 1) * 86_400, SEEN_WITHIN_S, "the metric")
    assert "clock skew" in sidecar.read_log() and "NTP" in sidecar.read_log()
    # A sidecar that starts in this state decides as well.
    sidecar.stop()
    sidecar.start()
    again = App(sidecar, app_id=app.id)
    assert not again.statement("2019-08").final
    skewed(lambda: again.admin("RenewEdition", months=1))

    store_clock.run_from(NOON + 60_000)
    assert again.admin("RenewEdition", months=1).purchase
    assert list(again.meter("RecordLogins", logins=[login("b", NOON)]).outcomes) == [COUNTED]
    statement = again.statement("2019-08")
    assert not statement.final and max(day.dau for day in statement.days) == 2
    wait_until(lambda: metric(sidecar.management_port, "imquota_clock_skew_seconds") < 1_000,
               SEEN_WITHIN_S, "the clocks to agree")
    again.close()


def test_a_jump_of_the_sidecars_time_of_day_refuses_nothing(clocks, world):
    (_, sidecar_clock), (_, app) = clocks, world
    sidecar_clock.run_from(NOON + AHEAD_DAYS * MILLIS_A_DAY)
    assert app.admin("RenewEdition", months=1).purchase
    assert list(app.meter("RecordLogins", logins=[login("a", NOON)]).outcomes) == [COUNTED]
    answer = app.create_group("g", "Public")
    assert answer.group.outcome == APPLIED
    sidecar_clock.run_from(NOON + 1000)
    assert app.create_group("h", "Public").group.outcome == APPLIED
