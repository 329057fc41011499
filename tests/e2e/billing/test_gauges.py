"""Gauges: a catalog charges for one, media servers or gateways report it, and the statement, the
usage and the metrics show each day's highest value."""

import pytest

from app import App
from details import bad_fields, error_of, violations
from http_port import metric
from price_lists import BUILTIN
from sidecar import Sidecar, wait_until
from stubs import metering_pb

COUNTED, ALREADY = (metering_pb.METER_OUTCOME_COUNTED, metering_pb.METER_OUTCOME_ALREADY_COUNTED)
TOO_LATE, IN_FUTURE = (metering_pb.METER_OUTCOME_TOO_LATE, metering_pb.METER_OUTCOME_IN_FUTURE)
ROW = """
[[metering.meters]]
id = "connections"
label = "Connections"
of = "gauge"
name = "connections"
aggregate = "month_peak"
free = 100
price = "0.015"
"""


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory):
    """A sidecar whose catalog charges 0.015 for each connection beyond 100."""
    text = BUILTIN.read_text(encoding="utf-8")
    after = "# Regions of audio-video bandwidth"
    assert text.count(after) == 1
    file = tmp_path_factory.mktemp("gauges") / "catalog.toml"
    file.write_text(text.replace(after, f"{ROW}\n{after}"), encoding="utf-8")
    with Sidecar("--catalog", str(file), management=True) as running:
        yield running


@pytest.fixture
def app(sidecar):
    """An app on Professional."""
    with App(sidecar) as app:
        app.upgrade()
        yield app


def sample(value: int = 7, gauge: str = "connections", at_s: int | None = None):
    """A sample; without an instant it is of now."""
    message = metering_pb.GaugeSample(gauge=gauge, value=value)
    if at_s is not None:
        message.at.seconds = at_s
    return message


def test_the_highest_value_is_charged_to_the_fraction_of_a_cent(sidecar, app):
    reported = [(False, 150, COUNTED), (True, 120, ALREADY), (True, 207, COUNTED)]
    for admin, value, outcome in reported:
        answer = app.meter("ReportGauge", admin=admin, samples=[sample(value)])
        assert list(answer.outcomes) == [outcome]
        assert answer.decision.HasField("decided_at")
    answer = app.meter("ReportGauge",
                       samples=[sample(999, at_s=1), sample(999, at_s=4_000_000_000)])
    assert list(answer.outcomes) == [TOO_LATE, IN_FUTURE]
    history = app.history()["gauge/connections"]
    assert (history.today, history.month_peak) == (207, 207)
    statement = app.statement()
    (line,) = [line for line in statement.lines if line.item_id == "connections"]
    # 107 x 0.015 = 1.605, rounded half up once.
    assert (line.quantity, line.unit_price, line.amount_fen) == (107, "0.015", 161)
    assert not line.HasField("unit_price_fen")
    (peak,) = statement.days[-1].gauges
    assert (peak.gauge, peak.value) == ("connections", 207)
    wait_until(lambda: metric(
        sidecar.management_port, "imquota_metered_total", operation="report_gauge",
        outcome="counted") >= 2, 10, "the metric of gauges")


@pytest.mark.parametrize(("samples", "fields"), [
    ([], ["samples"]),
    ([sample()] * 1001, ["samples"]),
    ([sample(gauge="")], ["samples[0].gauge"]),
    ([sample(), sample(gauge="conections")], ["samples[1].gauge"]),
    ([sample(value=1_000_000_000_001)], ["samples[0].value"]),
    ([sample(gauge="mainland", value=2**63)], ["samples[0].gauge", "samples[0].value"]),
    ([sample(at_s=-70_000_000_000)], ["samples[0].at"]),
])
def test_bad_samples_are_named_and_none_counts(app, samples, fields):
    error = error_of(lambda: app.meter("ReportGauge", samples=samples))
    assert bad_fields(error) == fields
    assert "gauge/connections" not in app.history()


def test_a_near_name_is_suggested(app):
    error = error_of(lambda: app.meter("ReportGauge", samples=[sample(gauge="conections")]))
    (violation,) = violations(error)
    assert '"connections"' in violation.description
