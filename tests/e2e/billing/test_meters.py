"""Meters of a catalog over gRPC and on the command line. Amounts were computed by hand."""

import csv
import io
import json

import pytest

from app import App
from details import error_of, violations
from fake_time import MovedClock
from journal import cli
from price_lists import BUILTIN, install
from sidecar import Sidecar
from statement_oracle import millis
from stubs import admin_pb, metering_pb

METER = metering_pb.STATEMENT_ITEM_METER
ROWS = """
[[metering.meters]]
id = "groups"
label = "Groups"
of = "groups"
aggregate = "count_peak"
free = { professional = 1 }
price = "0.015"

[[metering.meters]]
id = "net"
label = "Network"
of = "bandwidth"
aggregate = "daily_peak_sum"
unit = 1000
rounding = "up"
round_each_day = true
price_by = "region"
prices = { transit = "0.5" }

[[metering.meters]]
id = "plan"
label = "Plan"
of = "meter"
name = "groups"
tiers = [{ up_to = 3, price = "1" }, { price = "0.5" }]
"""


@pytest.fixture
def metered(tmp_path):
    """An app on Professional with four groups and bandwidth on two days, and its sidecar."""
    text = BUILTIN.read_text(encoding="utf-8")
    head, rest = text.split("\n[metering.dau]\n")
    file = tmp_path / "catalog.toml"
    install(file, f"{head}\n{ROWS}\n[ids]\n" + rest.split("\n[ids]\n")[1])
    clock = MovedClock(tmp_path, millis("2019-08-05 09:00"))
    arguments = ["--catalog", str(file)]
    with Sidecar(*arguments, environment=clock.environment) as sidecar, App(sidecar) as app:
        app.upgrade()
        app.create_groups([f"g{number}" for number in range(4)])
        report(app, 1001)
        clock.run_from(millis("2019-08-06 09:00"))
        report(app, 1)
        yield app, sidecar


def report(app: App, kbps: int, region: str = "transit") -> None:
    """Reports bandwidth."""
    app.meter("ReportBandwidth", samples=[metering_pb.BandwidthSample(region=region, kbps=kbps)])


def export(app: App, kind: str) -> str:
    """The statement as text of that format."""
    number = metering_pb.StatementFormat.Value(f"STATEMENT_FORMAT_{kind}")
    return app.meter("ExportStatement", admin=True, format=number).content.decode()


def test_meters_have_lines_with_their_prices_in_every_format(metered):
    app, _ = metered
    lines = [line for line in app.statement().lines if line.item == METER]
    got = [(line.item_id, line.quantity, line.unit_price, line.amount_fen) for line in lines]
    # 3 x 0.015 are 0.045; 2 and 1 Mbps at 0.50; 3 at 1.00 and 1 at 0.50.
    expected = [("groups", 3, "0.015", 5), ("net/transit", 3, "0.5", 150), ("plan", 4, "", 350)]
    assert got == expected
    prices = [line.unit_price_fen if line.HasField("unit_price_fen") else None for line in lines]
    assert prices == [None, 50, None]
    stored = [line for line in json.loads(export(app, "JSON"))["lines"] if line["item"] == "meter"]
    assert [line.get("unit_price") for line in stored] == ["0.015", "0.5", None]
    rows = [row for row in csv.DictReader(io.StringIO(export(app, "CSV"))) if row["item"] == "meter"]
    assert [row["unit_price_fen"] for row in rows] == ["", "50", ""]
    assert "price=0.015" in rows[0]["inputs"] and "band_2=1 x 0.5" in rows[2]["inputs"]
    page = export(app, "HTML")
    assert '<td class="n">0.015</td>' in page and '<td class="n">by band</td>' in page


def test_regions_of_meters_are_accepted_and_no_others(metered):
    app, _ = metered
    (violation,) = violations(error_of(lambda: report(app, 1, "mainland")))
    assert "transit" in violation.description


def test_the_catalog_shows_meters_and_not_the_sections_that_it_leaves_out(metered):
    app, sidecar = metered
    metering = app.administration.GetCatalog(admin_pb.GetCatalogRequest(), timeout=20).metering
    assert not any(metering.HasField(name) for name in ("dau", "groups", "history"))
    groups, net, plan = metering.meters
    assert (groups.of, groups.aggregate, groups.price) == ("groups", "count_peak", "0.015")
    assert [(it.edition_id, it.value) for it in groups.free] == [("professional", "1")]
    assert [(it.region, it.price) for it in net.regions] == [("transit", "0.5")]
    assert (net.unit, net.rounding, net.round_each_day) == (1000, "up", True)
    assert (plan.of, plan.name, plan.aggregate) == ("meter", "groups", "")
    assert [(it.up_to, it.price) for it in plan.bands] == [(3, "1"), (0, "0.5")]
    shown = cli(sidecar, "get-catalog")
    assert "net/transit" in shown and "message history" not in shown
