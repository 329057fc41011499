"""Days and months begin at midnight in Shanghai, for events on either side of it.

The clock of the store and of both sidecars stands still at the instant that the test sets, so that
a group is created in the last millisecond of a month and dissolved in the first one of the next.
All figures are computed by hand.
"""

from contextlib import ExitStack

import pytest

from app import APPLIED, App
from billing_month import ALREADY_COUNTED, COUNTED, login
from fake_time import MovedClock, redis_server
from sidecar import Sidecar
from statement_oracle import millis
from statements import find, issued
from stubs import metering_pb

TOO_LATE = metering_pb.METER_OUTCOME_TOO_LATE
LAST, FIRST = "2019-08-31 23:59:59.999", "2019-09-01 00:00:00.000"
"""The two milliseconds on either side of the end of August."""


@pytest.fixture(params=["redis", "embedded"])
def world(request, tmp_path):
    """A clock, and an app through two sidecars on Redis, or twice through one sidecar."""
    clock = MovedClock(tmp_path, millis("2019-08-30 12:00"))
    with ExitStack() as running:
        enter = running.enter_context
        store = enter(redis_server(tmp_path, clock)) if request.param == "redis" else "embedded"
        count = 2 if request.param == "redis" else 1
        sidecars = [enter(Sidecar(store=store, environment=clock.environment))
                    for _ in range(count)]
        one = enter(App(sidecars[0]))
        yield clock, one, enter(App(sidecars[-1], app_id=one.id))


def record(app: App, *logins: tuple[str, str | None]) -> list[int]:
    """Records logins; `None`: now."""
    messages = [login(user, millis(at)) if at else metering_pb.Login(user_id=user)
                for user, at in logins]
    return list(app.meter("RecordLogins", logins=messages).outcomes)


def report(app: App, kbps: int, at: str) -> None:
    """Reports the bandwidth of the mainland."""
    sample = metering_pb.BandwidthSample(region="mainland", kbps=kbps)
    sample.at.FromMilliseconds(millis(at))
    app.meter("ReportBandwidth", samples=[sample])


def days(app: App, month: str) -> dict[str, metering_pb.StatementDay]:
    """The figures of a month by day."""
    return {day.day: day for day in app.statement(month).days}


def test_logins_count_for_the_side_of_midnight_on_which_they_were_made(world):
    clock, one, two = world
    one.upgrade()
    clock.stand_at(millis(LAST))
    assert record(one, ("a", None), ("b", LAST), ("c", FIRST)) == [COUNTED] * 3
    assert record(two, ("a", LAST), ("c", LAST), ("c", FIRST)) == [
        ALREADY_COUNTED, COUNTED, ALREADY_COUNTED,
    ]
    assert record(two, ("d", "2019-08-31 00:00:00.000"), ("d", "2019-08-30 23:59:59.999")) == [
        COUNTED, COUNTED,
    ]
    clock.stand_at(millis(FIRST))
    assert record(two, ("a", None), ("a", LAST), ("b", FIRST)) == [
        COUNTED, ALREADY_COUNTED, COUNTED,
    ]
    # A base day after the day of a late login, and 31 days before today.
    assert record(one, ("e", FIRST), ("e", "2019-08-01 00:00:00.000"), ("e", LAST)) == [COUNTED] * 3
    for app in (one, two):
        august, september = days(app, "2019-08"), days(app, "2019-09")
        assert {day: it.dau for day, it in august.items() if it.dau} == {
            "2019-08-01": 1, "2019-08-30": 1, "2019-08-31": 5,
        }
        assert {day: it.dau for day, it in september.items()} == {"2019-09-01": 4}
        assert not app.statement("2019-08").final
        assert app.statement().month == "2019-09"


def test_an_early_login_does_not_shorten_the_days_for_late_ones(world):
    clock, one, two = world
    today = "2019-09-01 23:59:59.999"
    clock.stand_at(millis(today))
    # A login of tomorrow, a millisecond early, and then one of 31 days before today.
    assert record(one, ("a", "2019-09-02 00:00:00.000")) == [COUNTED]
    assert record(two, ("a", "2019-08-01 00:00:00.000")) == [COUNTED]
    assert record(two, ("a", "2019-07-31 23:59:59.999")) == [TOO_LATE]
    assert record(one, ("a", "2019-08-01 12:00"), ("a", today)) == [ALREADY_COUNTED, COUNTED]


def test_groups_are_carried_over_midnight(world):
    clock, one, two = world
    one.register()
    clock.stand_at(millis("2019-08-30 23:59:59.999"))
    one.create_groups(["a", "b", "c"])
    clock.stand_at(millis(LAST))
    one.admin("PurchaseEdition", edition_id="professional", months=1)
    two.create_groups(["d", "e"], "AVChatRoom")
    assert one.dissolve("a").result.outcome == APPLIED
    clock.stand_at(millis(FIRST))
    # The first event in September is a dissolution.
    for app, group in ((one, "b"), (two, "d"), (two, "e")):
        assert app.dissolve(group).result.outcome == APPLIED
    one.create_groups(["f"])
    clock.stand_at(millis("2019-09-02 12:00"))
    for app in (one, two):
        august, september = days(app, "2019-08"), days(app, "2019-09")
        figures = {day: (it.groups_peak, it.groups_net_new)
                   for day, it in (august | september).items()}
        assert {day: it for day, it in figures.items() if day >= "2019-08-29"} == {
            "2019-08-29": (0, 0), "2019-08-30": (3, 3), "2019-08-31": (5, 1),
            "2019-09-01": (4, -2), "2019-09-02": (2, 0),
        }
    # On the 4th there are as many as at the end of the 1st; earlier numbers do not count.
    clock.stand_at(millis("2019-09-04 00:00:00.000"))
    line = find(one.statement(), "groups")
    assert "2" in [each.value for each in line.inputs], line
    history = two.history()["groups"]
    assert (history.today, history.month_peak, history.first_day) == (2, 4, "2019-08-05")
    assert list(history.days) == [0] * 25 + [3, 5, 4, 2, 2, 2]


def test_usage_shows_the_last_31_days_and_the_peak_of_the_month(world):
    clock, one, two = world
    clock.stand_at(millis(LAST))
    record(one, ("a", None), ("b", None), ("c", None), ("a", "2019-08-01 12:00"))
    report(one, 7000, "2019-08-30 12:00")
    report(two, 5000, LAST)
    report(two, 6000, "2019-08-30 13:00")
    clock.stand_at(millis(FIRST))
    record(two, ("a", None), ("b", None))
    report(one, 900, FIRST)
    clock.stand_at(millis("2019-09-02 00:00:00.000"))
    record(one, ("c", None))
    for app in (one, two):
        history = app.history()
        dau, kbps = history["dau"], history["bandwidth/mainland"]
        # 2 September is the 31st day from 3 August on: the 1st is over.
        assert dau.first_day == kbps.first_day == "2019-08-03"
        assert (dau.today, dau.month_peak) == (1, 2)
        assert list(dau.days) == [0] * 28 + [3, 2, 1]
        assert (kbps.today, kbps.month_peak) == (0, 900)
        assert list(kbps.days) == [0] * 27 + [7000, 5000, 900, 0]


def test_a_statement_is_final_from_the_third_on(world):
    clock, one, two = world
    one.upgrade()
    clock.stand_at(millis("2019-09-02 23:59:59.999"))
    assert record(one, ("a", LAST)) == [COUNTED]
    assert not one.statement("2019-08").final
    clock.stand_at(millis("2019-09-03 00:00:00.000"))
    # Depends on the instant only, not on earlier reads.
    assert record(two, ("b", LAST)) == [TOO_LATE]
    final = issued(two, "2019-08")
    assert final.final_at.ToMilliseconds() == millis("2019-09-03 00:00")
    assert final.days[-1].dau == 1
    assert one.statement("2019-08") == final
    assert not one.statement("2019-09").final
