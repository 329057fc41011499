"""A month on a fake clock costs the amount that an independent script computes from the events.

Several sidecars receive every login in any order, twice, late, or before its day has begun; one of
them is killed in between. Groups are created and dissolved, bandwidth is reported, history is
switched on and off, and there are purchases and refunds. The statement of August is read during the
month, when it is final, and long after.

`IMQUOTA_MONTH_LOGINS` and `IMQUOTA_MONTH_USERS` set the size, such as 2000000 and 150000.
"""

import os
import random
import uuid
from contextlib import ExitStack

import pytest

import billing_month
from billing_month import BEGINS, CRASHES, ENDS, FIRST_DAY, LAST_DAY, MONTH, Events, Groups, Traffic
from billing_month import day_begins, login, regions
from fake_time import MovedClock, redis_server
from sidecar import Sidecar
from statement_oracle import MILLIS_A_DAY, events_of, millis, statement
from statements import assert_same, exported, find, issued
from stubs import metering_pb

SEED = int(os.environ.get("IMQUOTA_SEED", "20190809"))
LOGINS = int(os.environ.get("IMQUOTA_MONTH_LOGINS", "200000"))
USERS = int(os.environ.get("IMQUOTA_MONTH_USERS", str(min(150_000, LOGINS // 10))))
EMBEDDED_SHARE = 10
"""One sidecar gets a tenth of that."""
NOON = MILLIS_A_DAY // 2
LATE_EVENING = MILLIS_A_DAY - 30_000
"""The instant to deliver the logins of the whole day and, too early, the first of the next."""
LONG_AFTER = ["2019-09-10", "2019-12-01", "2021-01-15"]
"""The last one is after the daily figures have expired."""
TOO_LATE = metering_pb.METER_OUTCOME_TOO_LATE
IN_FUTURE = metering_pb.METER_OUTCOME_IN_FUTURE
ADD_ON_FEN, REFUND_FEN = 50_000, 24_194
"""Bought on the 5th for 31 days, refunded on the 20th, when 16 were used: 50000 x 15 / 31."""


@pytest.fixture(params=[("redis", 3, 1), ("embedded", 1, EMBEDDED_SHARE)],
                ids=lambda param: param[0])
def world(request, tmp_path):
    """A clock, sidecars on one store that use it, and the share of the logins that they get."""
    kind, count, share = request.param
    clock = MovedClock(tmp_path, day_begins(BEGINS) + NOON)
    with ExitStack() as running:
        store = kind if kind == "embedded" else running.enter_context(redis_server(tmp_path, clock))
        yield clock, [
            running.enter_context(Sidecar(store=store, environment=clock.environment))
            for _ in range(count)
        ], share


class August:
    """The month, day by day."""

    def __init__(self, clock: MovedClock, traffic: Traffic, events: Events, share: int):
        self.clock, self.traffic, self.events = clock, traffic, events
        self.rng = traffic.rng
        self.groups = Groups(traffic, events)
        self.grows_later = share == 1
        self.regions = regions(traffic.any())
        assert "mainland" in self.regions and len(self.regions) > 1, self.regions
        self.logins = billing_month.planned_logins(self.rng, LOGINS // share, USERS // share)

    def live(self, day: int) -> None:
        """Runs one day."""
        self.clock.run_from(day_begins(day) + NOON)
        self.change_groups(day - FIRST_DAY + 1)
        self.report(day)
        self.buy(day - FIRST_DAY + 1)
        self.clock.run_from(day_begins(day) + LATE_EVENING)
        logins = self.logins[day]
        self.traffic.deliver(logins, crash=len(self.traffic.apps) // 2 if day == CRASHES else None)
        self.events.logins(logins)
        self.probe(day)

    def change_groups(self, day: int) -> None:
        """Creates and dissolves groups; `day` counts from the 1st."""
        match day:
            case 0:
                self.groups.create(30)
            case 2:
                # Many of them, before they count.
                self.groups.create(60)
                self.groups.dissolve(65)
            case 4:
                # The first event in the window is a dissolution.
                self.groups.dissolve(2)
                self.groups.create(1)
            case _ if 4 < day != 31:
                more = self.rng.randint(0, 4) if self.grows_later else 0
                self.groups.create(more)
                self.groups.dissolve(min(self.rng.randint(0, 3), len(self.groups.held)))

    def report(self, day: int) -> None:
        """Reports bandwidth of two regions: of today and, late, of a day before."""
        if day % 5 == 0:
            return
        app = self.traffic.any()
        samples = []
        for _ in range(self.rng.randint(1, 8)):
            region = self.rng.choice(self.regions)
            kbps = self.rng.choice([0, 1, 999, 1000, 1001, self.rng.randrange(500_000)])
            # The month before is closed on the 3rd.
            latest = 30 if day < FIRST_DAY + 2 else day - FIRST_DAY
            late = 0 if self.rng.random() < 0.7 else min(self.rng.randrange(31), latest)
            at = day_begins(day - late) + self.rng.randrange(NOON)
            sample = metering_pb.BandwidthSample(region=region, kbps=kbps)
            sample.at.FromMilliseconds(at)
            samples.append(sample)
            # A sample of 0 is no peak.
            if kbps:
                self.events.write("bandwidth", at, region=region, kbps=kbps)
        # Twice, like a retry after a lost response.
        for _ in range(2):
            answer = app.meter("ReportBandwidth", samples=samples)
            assert set(answer.outcomes) <= {billing_month.COUNTED, billing_month.ALREADY_COUNTED}
        assert billing_month.COUNTED not in answer.outcomes

    def buy(self, day: int) -> None:
        """Buys, refunds, and switches history on and off; `day` counts from the 1st."""
        app = self.traffic.any()
        match day:
            case 0:
                app.register()
            case 2:
                bought = app.admin("PurchaseEdition", edition_id="professional", months=1).purchase
                # Through 1 September, and seven days of grace.
                self.events.write("edition", bought.purchased_at.ToMilliseconds(),
                                  id="professional", fen=99_900, until=millis("2019-09-09"))
            case 5:
                bought = app.admin("GrantAddOn", add_on_id="members-2000", months=1,
                                   request_id="add-on").purchase
                self.events.write("add_on", bought.purchased_at.ToMilliseconds(),
                                  id="members-2000", fen=ADD_ON_FEN)
            case 20:
                answer = app.admin("RefundPurchase", purchase_request_id="add-on")
                refund = answer.purchase.refund
                assert refund.refund_fen == REFUND_FEN
                self.events.write("refund", refund.refunded_at.ToMilliseconds(), fen=REFUND_FEN)
            case 10 | 12:
                days = 30 if day == 10 else 7
                answer = app.meter("SetMessageRetention", admin=True, days=days)
                self.events.write("retention", answer.since.ToMilliseconds(), days=days)

    def probe(self, day: int) -> None:
        """Checks that late and early reports are refused, to the millisecond and to the second."""
        latest_refused = day_begins(day - billing_month.LATE_DAYS_MAX) - 1
        answer = self.traffic.any().meter("RecordLogins", logins=[
            login("absent", latest_refused), login("absent", day_begins(day + 1) + 300_000),
        ])
        assert list(answer.outcomes) == [TOO_LATE, IN_FUTURE]


def check_final_statement_is_unchanged(clock: MovedClock, traffic: Traffic, final: bytes) -> None:
    """Later events do not change the final statement."""
    traffic.allowed |= {TOO_LATE}
    for at in LONG_AFTER:
        now = millis(f"{at} 12:00")
        clock.run_from(now)
        late = [(f"later-{number}", now - number * MILLIS_A_DAY) for number in range(30)]
        traffic.deliver(late)
        for number, sidecar in enumerate(traffic.sidecars):
            sidecar.stop()
            traffic.restart(number)
        assert {exported(app, MONTH) for app in traffic.apps} == {final}, at


def test_a_month_costs_the_amount_of_an_independent_script(world, tmp_path):
    clock, sidecars, share = world
    print(f"seed {SEED}, {LOGINS // share} logins of {USERS // share} users")
    events = Events(tmp_path / "events.jsonl")
    traffic = Traffic(sidecars, f"month-{uuid.uuid4().hex[:8]}", random.Random(SEED))
    august = August(clock, traffic, events, share)
    try:
        for day in range(BEGINS, ENDS + 1):
            august.live(day)
            if day == FIRST_DAY + 15:
                now = day_begins(day) + LATE_EVENING
                running = traffic.any().statement(MONTH)
                assert not running.final
                assert_same(running, statement(events_of(events.flush()), MONTH, today=now))
            assert not (day == LAST_DAY and traffic.any().statement(MONTH).final)
        print(f"{traffic.counted} of {len(events.user_days)} counted, {traffic.unknown} unknown")
        assert traffic.unknown >= len(events.user_days) - traffic.counted >= 0

        wanted = statement(events_of(events.flush()), MONTH)
        assert_same(traffic.any().statement(MONTH), wanted)
        clock.run_from(millis("2019-09-03 00:00") + 1000)
        final = issued(traffic.any(), MONTH)
        assert final.final_at.ToMilliseconds() == millis("2019-09-03 00:00")
        assert_same(final, wanted)
        # The planned cases occurred.
        assert wanted.days["2019-08-02"].groups_peak > find_figure(wanted, "groups") > 0
        assert find(final, "message_history").amount_fen > 0
        assert find(final, "dau").amount_fen == (1_000_000 if USERS // share > 100_000 else 0)
        assert {app.statement(MONTH).hash for app in traffic.apps} == {final.hash}
        check_final_statement_is_unchanged(clock, traffic, exported(traffic.any(), MONTH))
        assert traffic.any().statement(MONTH) == final
    finally:
        events.close()
        traffic.close()


def find_figure(wanted, item: str) -> int:
    """The figure of a line of the oracle."""
    return next(line.figure for line in wanted.lines if line.item == item)
