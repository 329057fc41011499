"""Tests of the oracle: the published examples and boundaries."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import statement_oracle as oracle
from statement_oracle import Day, millis, statement

ALWAYS = {"kind": "edition", "id": "professional", "fen": 99_900,
          "at": millis("2019-07-20 12:00"), "until": millis("2019-10-01 00:00")}


def group(at: str, change: int = 1, times: int = 1) -> list[dict]:
    """Groups that are created (or dissolved) at an instant."""
    return [{"kind": "group", "change": change, "at": millis(at)}] * times


def login(user: str, at: str) -> dict:
    """A login of a user."""
    return {"kind": "login", "user": user, "at": millis(at)}


def retention(at: str, days: int) -> dict:
    """A change of the retention."""
    return {"kind": "retention", "days": days, "at": millis(at)}


def line(made, item: str):
    """The line of an item, or `None`."""
    return next((line for line in made.lines if line.item == item), None)


@pytest.mark.parametrize(
    ("peak", "yuan"),
    [(0, 0), (100_000, 0), (100_001, 10_000), (150_000, 10_000), (200_000, 10_000),
     (200_001, 20_000)],
)
def test_dau_is_charged_by_the_unit_begun(peak, yuan):
    assert oracle.dau_fen(peak) == (yuan // 10_000, yuan * 100)


@pytest.mark.parametrize(
    ("peak", "yuan"),
    [(0, 0), (100_000, 0), (100_001, 1000), (130_000, 1000), (200_000, 1000), (200_001, 2000),
     (550_000, 5000)],
)
def test_groups_are_charged_by_the_unit_begun(peak, yuan):
    assert oracle.groups_fen(peak) == (yuan // 1000, yuan * 100)


@pytest.mark.parametrize(
    ("peak", "months", "yuan"),
    [(0, 1, 0), (1, 1, 500), (100_000, 1, 500), (100_001, 1, 1000), (200_000, 2, 2000)],
)
def test_history_has_no_free_tier(peak, months, yuan):
    assert oracle.history_fen(peak, months)[1] == yuan * 100


def test_bandwidth_is_the_sum_of_the_days_peaks_rounded_up():
    assert oracle.bandwidth_fen("mainland", [300_000, 500_000, 200_000]) == (1000, 200_000)
    assert oracle.bandwidth_fen("mainland", [1, 1000, 1001]) == (4, 800)
    assert oracle.bandwidth_fen("elsewhere", [1, 1000, 1001]) == (4, 0)


def test_a_user_counts_once_a_day_of_shanghai():
    events = [ALWAYS, login("a", "2019-08-01 00:00:00.000"), login("a", "2019-08-01 23:59:59.999"),
              login("a", "2019-08-02 00:00:00.000"), login("b", "2019-08-02 12:00"),
              login("c", "2019-07-31 23:59:59.999"), login("c", "2019-09-01 00:00:00.000"),
              login("b", "2019-08-31 23:59:59.999")]
    made = statement(events, "2019-08")
    assert len(made.days) == 31
    assert {name: day.dau for name, day in made.days.items() if day.dau} == {
        "2019-08-01": 1, "2019-08-02": 2, "2019-08-31": 1,
    }
    assert line(made, "dau").figure == 2


def test_groups_count_from_the_fourth_whenever_they_were_created():
    events = [ALWAYS, *group("2019-06-11 12:00", times=5), *group("2019-08-02 12:00", times=9),
              *group("2019-08-02 13:00", -1, 8)]
    quiet = statement(events, "2019-08")
    assert quiet.days["2019-08-01"] == Day(0, 5, 0, {}, True)
    assert quiet.days["2019-08-02"] == Day(0, 14, 1, {}, True)
    assert quiet.days["2019-08-31"] == Day(0, 6, 0, {}, True)
    assert line(quiet, "groups").figure == 6, "the 2nd does not count, and the remaining groups do"
    dissolved = statement([*events, *group("2019-08-04 00:00:00.000", -1, 2)], "2019-08")
    assert line(dissolved, "groups").figure == 6, "at its beginning there were still six"
    earlier = statement([*events, *group("2019-08-03 23:59:59.999", -1, 2)], "2019-08")
    assert line(earlier, "groups").figure == 4
    later = statement([*events, *group("2019-08-31 23:59:59.999")], "2019-08")
    assert line(later, "groups").figure == 7
    assert line(statement([*events, *group("2019-09-01 00:00")], "2019-08"), "groups").figure == 6


@pytest.mark.parametrize(
    ("changes", "months"),
    [
        ([], []),
        ([("2019-07-31 23:59:59.999", 30)], ["2019-07", "2019-08", "2019-09"]),
        ([("2019-07-10 12:00", 30), ("2019-08-01 00:00:00.001", 7)], ["2019-07", "2019-08"]),
        ([("2019-07-10 12:00", 30), ("2019-08-01 00:00:00.000", 7)], ["2019-07"]),
        ([("2019-08-31 23:59:59.999", 8), ("2019-09-01 00:00:00.000", 7)], ["2019-08"]),
        ([("2019-08-05 00:00", 30), ("2019-08-05 01:00", 7)], ["2019-08"]),
        ([("2019-08-05 00:00", 7)], []),
    ],
)
def test_history_is_charged_for_every_month_in_which_it_was_on(changes, months):
    events = [ALWAYS, *(retention(*change) for change in changes)]
    charged = [month for month in ("2019-07", "2019-08", "2019-09")
               if line(statement(events, month), "message_history")]
    assert charged == months


def test_only_days_with_an_edition_that_may_run_over_are_charged():
    edition = {**ALWAYS, "at": millis("2019-08-03 12:00"), "until": millis("2019-08-05 00:00")}
    samples = [{"kind": "bandwidth", "region": "mainland", "kbps": kbps,
                "at": millis(f"2019-08-0{day} 01:00")}
               for day, kbps in [(2, 9000), (3, 1500), (3, 1000), (4, 999), (5, 9000)]]
    made = statement([edition, *samples], "2019-08")
    assert [name for name, day in made.days.items() if day.charged] == ["2019-08-03", "2019-08-04"]
    assert line(made, "bandwidth").quantity == 2 + 1
    assert made.total_fen == 99_900 + 3 * 200


def test_price_lists_that_change_inside_and_after_a_month():
    first = {"kind": "catalog", "at": millis("2019-01-01 00:00"), "dau": [1, 1, 100]}
    users = [login(f"u{number}", "2019-08-05 12:00") for number in range(4)]
    region = {"kind": "bandwidth", "region": "mainland", "kbps": 3000,
              "at": millis("2019-08-05 12:00")}
    events = [ALWAYS, first, *users, region]

    def total(**change) -> int:
        later = {**first, **change, "at": millis(change["at"])}
        return statement([*events, later], "2019-08").total_fen

    assert total(at="2019-09-01 00:00:00.000", dau=[1, 1, 700]) == 300 + 600
    assert total(at="2019-08-31 23:59:59.999", dau=[1, 1, 700]) == 2100 + 600
    # The free allowance is that of the day.
    assert total(at="2019-08-06 00:00:00.000", dau=[9, 1, 100]) == 300 + 600
    assert total(at="2019-08-05 23:59:59.999", dau=[9, 1, 100]) == 600
    # An item that a later list lacks is charged as before.
    for gone in ({"bandwidth": {}}, {"editions": {}}, {"bandwidth": {}, "editions": {}}):
        assert total(at="2019-08-20 12:00", **gone) == 300 + 600
    assert total(at="2019-08-05 12:00", editions={"professional": False}) == 0
    ended = {**ALWAYS, "valid_until": millis("2019-08-01 00:00")}
    graces = [{**first, "at": millis(at), "grace_days": days}
              for at, days in [("2019-01-01 00:00", 7), ("2019-08-04 12:00", 3)]]
    made = statement([ended, *graces], "2019-08")
    assert [name for name, day in made.days.items() if day.charged] == [
        "2019-08-01", "2019-08-02", "2019-08-03"]


def test_the_script_prints_the_total(tmp_path):
    file = tmp_path / "events.jsonl"
    events = [{**ALWAYS, "at": millis("2019-08-01 12:00")},
              {"kind": "refund", "fen": 900, "at": millis("2019-08-31 23:59:59.999")},
              {"kind": "refund", "fen": 1, "at": millis("2019-09-01 00:00:00.000")}]
    file.write_text("".join(f"{json.dumps(event)}\n" for event in events))
    script = Path(oracle.__file__)
    done = subprocess.run([sys.executable, script, file, "2019-08"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split() == ["total", "99000", "fen"]
