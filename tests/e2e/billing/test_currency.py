"""A catalog in another currency: amounts of responses, of the command line, of events, and of
exports."""

import csv
import io
import subprocess

import pytest

from app import App, names
from price_lists import BUILTIN
from sidecar import Sidecar, binary, clean_environment
from stubs import admin_pb, metering_pb

YEN = 'currency = "JPY"\nminor_digits = 0\n'


@pytest.fixture
def sidecar(tmp_path):
    """A sidecar that sells in yen, which have no decimals."""
    text = BUILTIN.read_text(encoding="utf-8")
    given = 'currency = "CNY"\nminor_digits = 2\n'
    assert text.count(given) == 1
    file = tmp_path / "catalog.toml"
    file.write_text(text.replace(given, YEN), encoding="utf-8")
    with Sidecar("--catalog", str(file)) as running:
        yield running


def shown(sidecar: Sidecar, *arguments: str) -> str:
    """The output of a command, which must succeed."""
    done = subprocess.run([binary(), *arguments, "--address", sidecar.admin], text=True,
                          capture_output=True, env=clean_environment(), timeout=30, check=False)
    assert done.returncode == 0, done
    return done.stdout


def test_every_amount_has_the_currency_of_the_catalog(sidecar):
    with App(sidecar) as app:
        app.register()
        app.create_accounts(*names("user", 100))
        (denied,) = app.create_accounts("one-more")
        offer = denied.denials[0].upgrades[0]
        assert (offer.price_fen_per_month, offer.currency.code) == (99_900, "JPY")
        preview = app.admin("PreviewEntitlement",
                            purchase_edition={"edition_id": "professional", "months": 1})
        sold = app.admin("PurchaseEdition", edition_id="professional", months=1)
        catalog = app.administration.GetCatalog(admin_pb.GetCatalogRequest(), timeout=20)
        statement = app.statement()
        for message in (preview, sold.purchase, catalog, statement):
            assert (message.currency.code, message.currency.minor_digits) == ("JPY", 0)
        watching = app.administration.WatchEvents(
            admin_pb.WatchEventsRequest(resume_token="0"), timeout=20)
        event = next(it.event for it in watching
                     if it.event.kind == admin_pb.EVENT_KIND_PURCHASED)
        watching.cancel()
        assert event.message.endswith("for 99900 JPY")
        assert (event.amount_fen, event.currency.code) == (99_900, "JPY")
        assert "99900 JPY" in shown(sidecar, "admin", "get-app", app.id)
        assert "99900 JPY" in shown(sidecar, "admin", "get-catalog")
        assert "99900 JPY" in shown(sidecar, "statement", "--app", app.id)
        exports = {kind: app.meter("ExportStatement", admin=True, format=kind).content.decode()
                   for kind in (metering_pb.STATEMENT_FORMAT_CSV, metering_pb.STATEMENT_FORMAT_HTML,
                                metering_pb.STATEMENT_FORMAT_JSON)}
        rows = list(csv.DictReader(io.StringIO(exports[metering_pb.STATEMENT_FORMAT_CSV],
                                               newline="")))
        assert {(row["currency"], row["minor_digits"]) for row in rows} == {("JPY", "0")}
        assert "Amount, JPY" in exports[metering_pb.STATEMENT_FORMAT_HTML]
        assert ">99,900<" in exports[metering_pb.STATEMENT_FORMAT_HTML]
        assert '"currency":"JPY"' in exports[metering_pb.STATEMENT_FORMAT_JSON]
        assert '"minor_digits":0' in exports[metering_pb.STATEMENT_FORMAT_JSON]
