"""Computes the statement of a month from a list of events, by the published rules alone.

It shares no code with the product, so that the two can be compared. By hand:

    python statement_oracle.py events.jsonl 2019-08

Each line of the file is an event of one app, in any order; instants (`at`, `from`, `until`) are
milliseconds since the epoch:

    {"kind": "login", "user": "u1", "at": ...}
    {"kind": "group", "change": 1, "at": ...}              1: created, -1: dissolved
    {"kind": "bandwidth", "region": "mainland", "kbps": 300000, "at": ...}
    {"kind": "retention", "days": 30, "at": ...}           from then on; 7: off
    {"kind": "edition", "id": "professional", "fen": 99900, "at": ..., "until": ...}
    {"kind": "add_on", "id": "members-2000", "fen": 50000, "at": ...}
    {"kind": "refund", "fen": 24194, "at": ...}            the amount refunded
    {"kind": "catalog", "at": ..., "dau": [100000, 100000, 1000000], ...}

`until` is the end of the days of grace, or the refund if that came first: from `at` until then
the app may run over, and is charged.

`catalog` is a price list that is in force from `at` on; prices that it does not name are as
published: `dau` and `groups` are free, unit and fen, `history` is unit and fen, `bandwidth` is fen
by region (null: listed only), `editions` has for each edition for sale whether it may run over, and
`grace_days` counts for editions with `valid_until` in place of `until`. A month's prices are those
of its last instant, the free allowance of a day is that of the day's last instant. A region that
the last list of the month lacks has its last price in the month; an edition that a list lacks runs
over as when it was sold.
"""

import calendar
import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone

SHANGHAI = timezone(timedelta(hours=8))
"""Asia/Shanghai has had no other offset since 1991."""
MILLIS_A_DAY = 86_400_000
OFFSET_MILLIS = 8 * 3_600_000

FREE_DAU, DAU_UNIT, DAU_UNIT_FEN = 100_000, 100_000, 1_000_000
HISTORY_UNIT, HISTORY_UNIT_FEN = 100_000, 50_000
FREE_GROUPS, GROUPS_UNIT, GROUPS_UNIT_FEN = 100_000, 100_000, 100_000
KBPS_A_UNIT = 1000
BANDWIDTH_UNIT_FEN = {"mainland": 200}
"""A Mbps a day. Any other region is listed at no price."""
FREE_DAYS_OF_HISTORY = 7
FIRST_DAY_OF_GROUPS = 4
RUNS_OVER = {"professional": True}
GRACE_DAYS = 7
PUBLISHED = {
    "dau": [FREE_DAU, DAU_UNIT, DAU_UNIT_FEN],
    "groups": [FREE_GROUPS, GROUPS_UNIT, GROUPS_UNIT_FEN],
    "history": [HISTORY_UNIT, HISTORY_UNIT_FEN],
    "bandwidth": BANDWIDTH_UNIT_FEN,
    "editions": RUNS_OVER,
    "grace_days": GRACE_DAYS,
}
"""The price list before any other is in force."""


def units(beyond: int, unit: int) -> int:
    """The number of units, rounded up."""
    return -(-max(beyond, 0) // unit)


@dataclass
class Line:
    """One line of a statement."""

    item: str
    item_id: str
    quantity: int
    fen: int
    figure: int | None = None
    """The peak or sum that the line is computed from."""


@dataclass
class Day:
    """The figures of one day."""

    dau: int = 0
    groups_peak: int = 0
    groups_net_new: int = 0
    bandwidth: dict[str, int] = field(default_factory=dict)
    charged: bool = False


@dataclass
class Statement:
    """The statement of a month."""

    days: dict[str, Day]
    lines: list[Line]

    @property
    def total_fen(self) -> int:
        """The sum of all lines."""
        return sum(line.fen for line in self.lines)


def day_number(millis: int) -> int:
    """The day in Shanghai that contains an instant, counted from 1970-01-01."""
    return (millis + OFFSET_MILLIS) // MILLIS_A_DAY


def number_of(day: date) -> int:
    """The number of a date, counted from 1970-01-01."""
    return (day - date(1970, 1, 1)).days


def millis(text: str) -> int:
    """The milliseconds of an instant such as `2019-08-01 12:00:00.000` in Shanghai."""
    at = datetime.fromisoformat(text).replace(tzinfo=SHANGHAI) - datetime(1970, 1, 1, tzinfo=UTC)
    return at // timedelta(milliseconds=1)


def dau_fen(peak: int) -> tuple[int, int]:
    """Units and fen for the highest day."""
    taken = units(peak - FREE_DAU, DAU_UNIT)
    return taken, taken * DAU_UNIT_FEN


def history_fen(peak: int, months: int) -> tuple[int, int]:
    """Units and fen for history beyond the free days; there is no free tier."""
    taken = units(peak, HISTORY_UNIT) * months
    return taken, taken * HISTORY_UNIT_FEN


def groups_fen(peak: int) -> tuple[int, int]:
    """Units and fen for the highest number of groups."""
    taken = units(peak - FREE_GROUPS, GROUPS_UNIT)
    return taken, taken * GROUPS_UNIT_FEN


def bandwidth_fen(region: str, kbps_by_day: Iterable[int],
                  prices: dict[str, int | None] = BANDWIDTH_UNIT_FEN) -> tuple[int, int]:
    """Mbps and fen for the days' peaks, each rounded up."""
    taken = sum(units(kbps, KBPS_A_UNIT) for kbps in kbps_by_day)
    return taken, taken * (prices.get(region) or 0)


def day_begins(day: int) -> int:
    """The instant at which a day in Shanghai begins."""
    return day * MILLIS_A_DAY - OFFSET_MILLIS


class Catalogs:
    """The price lists, by the instant from which they are in force."""

    def __init__(self):
        self.lists: list[tuple[int, dict]] = []

    def add(self, event: dict) -> None:
        """Adds a price list, in any order."""
        self.lists.append((event["at"], {**PUBLISHED, **event}))
        self.lists.sort(key=lambda each: each[0])

    def before(self, instant: int) -> dict:
        """The list in force just before an instant; the first one applies from the start."""
        begun = [prices for at, prices in self.lists if at < instant]
        earliest = self.lists[0][1] if self.lists else PUBLISHED
        return begun[-1] if begun else earliest

    def of_day(self, day: int) -> dict:
        """The list in force at the end of a day."""
        return self.before(day_begins(day + 1))

    def regions_within(self, first: int, last: int) -> dict[str, int | None]:
        """The last price of each region in the days from `first` to `last`."""
        begins, ends = day_begins(first), day_begins(last + 1)
        prices = dict(self.before(begins + 1)["bandwidth"])
        for at, later in self.lists:
            if begins < at < ends:
                prices.update(later["bandwidth"])
        return prices

    def runs_over(self, edition: str, sold_at: int, day: int) -> bool:
        """Returns whether an edition may run over on a day."""
        editions = self.of_day(day)["editions"]
        return editions.get(edition, self.before(sold_at + 1)["editions"].get(edition, False))


class Month:
    """The events of a month, as they are read."""

    def __init__(self, month: str, today: int | None = None):
        year, of_year = map(int, month.split("-"))
        first = number_of(date(year, of_year, 1))
        self.last = first + calendar.monthrange(year, of_year)[1] - 1
        self.first = first
        # The current month is computed up to today.
        self.end = self.last if today is None else min(self.last, day_number(today))
        self.users: dict[int, set[str]] = defaultdict(set)
        self.groups: list[tuple[int, int]] = []
        self.kbps: dict[int, dict[str, int]] = defaultdict(dict)
        self.retention: list[tuple[int, int]] = []
        self.in_force: list[dict] = []
        self.catalogs = Catalogs()
        self.bought: list[Line] = []

    def read(self, event: dict) -> None:
        """Adds one event."""
        at = event["at"]
        day = day_number(at)
        match event["kind"]:
            case "login":
                self.users[day].add(event["user"])
            case "group":
                self.groups.append((at, event["change"]))
            case "bandwidth":
                peaks = self.kbps[day]
                peaks[event["region"]] = max(peaks.get(event["region"], 0), event["kbps"])
            case "retention":
                self.retention.append((at, event["days"]))
            case "edition":
                self.in_force.append(event)
                self.buy(day, "edition", event["id"], event["fen"])
            case "add_on":
                self.buy(day, "add_on", event["id"], event["fen"])
            case "refund":
                self.buy(day, "refund", "", -event["fen"])
            case "catalog":
                self.catalogs.add(event)
            case other:
                raise ValueError(f"unknown kind of event: {other!r}")

    def buy(self, day: int, item: str, item_id: str, fen: int) -> None:
        """Adds a purchase or refund of the month."""
        if self.first <= day <= self.last:
            self.bought.append(Line(item, item_id, 1, fen))

    def group_days(self) -> dict[int, tuple[int, int]]:
        """By day: the highest number of groups, including the number at its beginning, and the
        difference between its end and its beginning."""
        changes = sorted(self.groups, key=lambda change: change[0])
        held, at, days = 0, 0, {}
        while at < len(changes) and day_number(changes[at][0]) < self.first:
            held += changes[at][1]
            at += 1
        for day in range(self.first, self.end + 1):
            before = peak = held
            while at < len(changes) and day_number(changes[at][0]) == day:
                held += changes[at][1]
                peak = max(peak, held)
                at += 1
            days[day] = (peak, held - before)
        return days

    def is_charged(self, day: int) -> bool:
        """Returns whether an edition that may run over was in force at some time of the day."""
        begins, ends = day_begins(day), day_begins(day + 1)
        grace = self.catalogs.of_day(day)["grace_days"] * MILLIS_A_DAY
        for edition in self.in_force:
            since, valid_until = edition["at"], edition.get("valid_until")
            until = edition["until"] if valid_until is None else valid_until + grace
            if since < ends and until > begins and self.catalogs.runs_over(
                    edition["id"], since, day):
                return True
        return False

    def beyond(self, figures: dict[int, int], what: str) -> tuple[int, int, int]:
        """Units and fen of the largest excess over a day's allowance, and that day's figure."""
        def of(day: int) -> tuple[int, int]:
            return max(figures[day] - self.catalogs.of_day(day)[what][0], 0), figures[day]

        most, figure = max(map(of, figures), default=(0, 0))
        _, unit, fen = self.catalogs.of_day(self.last)[what]
        return units(most, unit), units(most, unit) * fen, figure

    def keeps_history(self, day: int) -> bool:
        """Returns whether history was switched on at some time of the day."""
        begins, ends = day_begins(day), day_begins(day + 1)
        on = False
        for at, days in sorted(self.retention, key=lambda change: change[0]):
            if at >= ends:
                break
            # History that was switched off before the day began does not count for it.
            on = days > FREE_DAYS_OF_HISTORY or (on and at > begins)
        return on

    def statement(self) -> Statement:
        """Computes the statement."""
        groups = self.group_days()
        days = {
            day: Day(len(self.users[day]), *groups[day], dict(sorted(self.kbps[day].items())),
                     self.is_charged(day))
            for day in range(self.first, self.end + 1)
        }
        charged = {number: day for number, day in days.items() if day.charged}
        lines = [*self.bought]
        logins = {number: day.dau for number, day in charged.items()}
        lines.append(Line("dau", "", *self.beyond(logins, "dau")))
        if any(self.keeps_history(day) for day in charged):
            dau = max(logins.values())
            unit, fen = self.catalogs.of_day(self.last)["history"]
            taken = units(dau, unit)
            lines.append(Line("message_history", "", taken, taken * fen, dau))
        window = self.first + FIRST_DAY_OF_GROUPS - 1
        held = {number: day.groups_peak for number, day in charged.items() if number >= window}
        lines.append(Line("groups", "", *self.beyond(held, "groups")))
        prices = self.catalogs.regions_within(self.first, self.last)
        for region in sorted({region for day in days.values() for region in day.bandwidth}):
            peaks = [day.bandwidth.get(region, 0) for day in charged.values()]
            taken, fen = bandwidth_fen(region, peaks, prices)
            lines.append(Line("bandwidth", region, taken, fen, taken))
        named = {(date(1970, 1, 1) + timedelta(days=number)).isoformat(): day
                 for number, day in days.items()}
        return Statement(named, lines)


def statement(events: Iterable[dict], month: str, today: int | None = None) -> Statement:
    """The statement of a month; `today` is the current day of the current month."""
    read = Month(month, today)
    for event in events:
        read.read(event)
    return read.statement()


def events_of(path: str) -> Iterable[dict]:
    """The events of a file, one a line."""
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def main(arguments: list[str]) -> int:
    """Prints a statement."""
    if len(arguments) != 2:
        print("usage: statement_oracle.py EVENTS.jsonl MONTH, such as 2019-08", file=sys.stderr)
        return 2
    made = statement(events_of(arguments[0]), arguments[1])
    for name, day in made.days.items():
        bandwidth = " ".join(f"{region}={kbps}kbps" for region, kbps in day.bandwidth.items())
        print(f"{name}  dau {day.dau:>9}  groups {day.groups_peak:>7} ({day.groups_net_new:+})"
              f"  {'' if day.charged else 'not charged '}{bandwidth}".rstrip())
    for line in made.lines:
        figure = "" if line.figure is None else f"  of {line.figure}"
        name = f"{line.item} {line.item_id}".strip()
        print(f"{name:<28} {line.quantity:>8} unit(s) {line.fen:>12} fen{figure}")
    print(f"{'total':<28} {made.total_fen:>29} fen")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
