"""Users of a month: a limit at which logins are declined, and the charge for those beyond what is
free, with a catalog of each."""

import pytest

from app import App
from price_lists import BUILTIN
from sidecar import Sidecar
from stubs import common_pb, metering_pb

COUNTED, ALREADY, DENIED = (
    metering_pb.METER_OUTCOME_COUNTED, metering_pb.METER_OUTCOME_ALREADY_COUNTED,
    metering_pb.METER_OUTCOME_DENIED)
CHARGE = """
[[metering.meters]]
id = "mau"
label = "Monthly active users"
of = "logins"
aggregate = "month_distinct"
free = { professional = 2 }
price = "0.05"
"""
LIMIT = "[editions.limits]\n"


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory):
    """A sidecar with a limit of 3 users of a month on trial, and a charge on Professional."""
    text = BUILTIN.read_text(encoding="utf-8")
    before, after = text.split(LIMIT, 1)
    text = f"{before}{LIMIT}active_users_per_month = 3\n{after}"
    head = "# Regions of audio-video bandwidth"
    assert text.count(head) == 1
    file = tmp_path_factory.mktemp("month_users") / "catalog.toml"
    file.write_text(text.replace(head, f"{CHARGE}\n{head}"), encoding="utf-8")
    with Sidecar("--catalog", str(file)) as running:
        yield running


def log_in(app: App, *users: str, mode: int = 0, admin: bool = False):
    """The response to logins of now."""
    logins = [metering_pb.Login(user_id=user) for user in users]
    return app.meter("RecordLogins", admin=admin, logins=logins, mode=mode)


def test_users_beyond_the_limit_are_denied_and_those_counted_are_not(sidecar):
    with App(sidecar) as app:
        app.register()
        assert list(log_in(app, "a", "b", "c").outcomes) == [COUNTED] * 3
        answer = log_in(app, "d", "a", "e")
        assert list(answer.outcomes) == [DENIED, ALREADY, DENIED]
        assert [it.index for it in answer.denied] == [0, 2]
        (denial,) = answer.denied[0].denials
        assert denial.reason == common_pb.DENIAL_REASON_LIMIT
        assert (denial.limit_id, denial.used, denial.limit) == ("active_users_per_month", 3, 3)
        # Professional has no such limit.
        assert denial.upgrades[0].edition_id == "professional"
        used = app.usages(app=common_pb.AppSubject())["active_users_per_month"]
        assert (used.used, used.limit) == (3, 3)
        # A dry run counts no user, and shadow counts them and says so.
        assert list(log_in(app, "d", mode=common_pb.MODE_CHECK_ONLY).outcomes) == [DENIED]
        shadow = log_in(app, "d", mode=common_pb.MODE_SHADOW)
        assert (list(shadow.outcomes), len(shadow.denied)) == ([COUNTED], 1)
        assert list(log_in(app, "d").outcomes) == [ALREADY]
        app.admin("PurchaseEdition", edition_id="professional", months=1)
        assert list(log_in(app, "e", "f").outcomes) == [COUNTED] * 2


def test_users_of_the_month_are_charged_once_each(sidecar):
    with App(sidecar) as app:
        app.upgrade()
        for users in (["a", "b", "c"], ["a"], ["c", "d", "e"]):
            log_in(app, *users)
        (line,) = [line for line in app.statement().lines if line.item_id == "mau"]
        inputs = {it.name: it.value for it in line.inputs}
        assert (inputs["figure"], inputs["free"]) == ("5", "2")
        assert (line.quantity, line.unit_price_fen, line.amount_fen) == (3, 5, 15)
        assert "at least" not in line.description


def test_a_month_without_logins_is_charged_nothing(sidecar):
    with App(sidecar) as app:
        app.upgrade()
        (line,) = [line for line in app.statement().lines if line.item_id == "mau"]
        assert (line.quantity, line.amount_fen) == (0, 0)
        assert "at least" not in line.description


def test_an_agreed_limit_applies_to_logins(sidecar):
    with App(sidecar) as app:
        app.upgrade()
        app.admin("GrantLimit", limit_id="active_users_per_day", limit=1, months=1,
                  note="contract 7")
        answer = log_in(app, "a", "b")
        assert list(answer.outcomes) == [COUNTED, DENIED]
        (denial,) = answer.denied[0].denials
        assert (denial.limit_id, denial.source) == (
            "active_users_per_day", common_pb.LIMIT_SOURCE_AGREED)
