"""Statements as files and on the command line: JSON whose hash is recomputed, CSV for spreadsheets,
and a page with charts that a real browser renders.
"""

import csv
import hashlib
import io
import json
import os
import shutil
import subprocess

import pytest
from PIL import Image

from app import App
from billing_month import login
from fake_time import MovedClock
from sidecar import Sidecar, binary, clean_environment
from statement_oracle import millis
from stubs import metering_pb

BROWSER_TIMEOUT_S = 60
WINDOW = (900, 2600)
BARS = {"dau": (0x2F, 0x6F, 0xB3), "groups": (0x3A, 0x8F, 0x5C), "mainland": (0xB3, 0x62, 0x2F)}
"""The colours of the charts."""


@pytest.fixture(scope="module")
def billed(tmp_path_factory):
    """An app with a figure on every line of its statement of August 2019, the current month."""
    folder = tmp_path_factory.mktemp("billed")
    clock = MovedClock(folder, millis("2019-08-01 09:00"))
    with Sidecar(environment=clock.environment) as sidecar, App(sidecar, app_id="billed") as app:
        app.upgrade()
        app.buy("members-2000")
        app.admin("GrantAddOn", add_on_id="groups-per-user-400", months=1, request_id="to refund")
        app.admin("RefundPurchase", purchase_request_id="to refund", request_id="<refund>")
        app.meter("SetMessageRetention", admin=True, days=30, request_id="retention")
        app.create_groups([f"g{number}" for number in range(40)])
        clock.run_from(millis("2019-08-28 20:00"))
        for day in range(1, 29):
            at = millis(f"2019-08-{day:02} 12:00")
            users = [f"u{number}" for number in range(300 + 20 * (day * 7 % 13))]
            logins = [login(user, at) for user in users]
            app.meter("RecordLogins", logins=logins)
            sample = metering_pb.BandwidthSample(region="mainland", kbps=90_500 + 4000 * (day % 9))
            sample.at.FromMilliseconds(at)
            app.meter("ReportBandwidth", samples=[sample])
        yield app, sidecar


def export(app: App, kind: str) -> tuple[bytes, str, str]:
    """The file, its type and its name."""
    number = metering_pb.StatementFormat.Value(f"STATEMENT_FORMAT_{kind}")
    answer = app.meter("ExportStatement", admin=True, month="2019-08", format=number)
    return answer.content, answer.media_type, answer.file_name


def command(sidecar: Sidecar, *arguments: str) -> subprocess.CompletedProcess:
    """Runs `imquota statement`."""
    return subprocess.run(
        [binary(), "statement", "--address", sidecar.admin, "--app", "billed", *arguments],
        capture_output=True, text=True, env=clean_environment(), timeout=30,
    )


def test_the_hash_of_the_json_can_be_recomputed(billed):
    app, _ = billed
    content, media_type, name = export(app, "JSON")
    assert (media_type, name) == ("application/json", "billed-2019-08.json")
    document = json.loads(content)
    written = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert written.encode() == content, "sorted, without white space"
    told = document.pop("hash")
    bare = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(bare.encode()).hexdigest() == told
    assert sum(line["amount_fen"] for line in document["lines"]) == document["total_fen"]
    assert document["final"] is False and len(document["days"]) == 28


def test_csv_has_a_row_for_each_line_and_the_total(billed):
    app, _ = billed
    content, media_type, name = export(app, "CSV")
    assert (media_type, name) == ("text/csv; charset=utf-8", "billed-2019-08.csv")
    rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    lines = app.statement("2019-08").lines
    assert [row["description"] for row in rows[:-1]] == [line.description for line in lines]
    assert [int(row["amount_fen"]) for row in rows[:-1]] == [line.amount_fen for line in lines]
    assert rows[-1]["item"] == "total"
    assert int(rows[-1]["amount_fen"]) == sum(line.amount_fen for line in lines)
    refund = next(row for row in rows if row["item"] == "refund")
    assert refund["amount_fen"] == "-50000" and "request_id=<refund>" in refund["inputs"]


def test_the_command_line_shows_the_statement_and_writes_files(billed, tmp_path):
    app, sidecar = billed
    shown = command(sidecar, "--month", "2019-08")
    assert shown.returncode == 0, shown.stderr
    assert "billed 2019-08: not final; final on 2019-09-03T00:00:00+08:00" in shown.stdout
    for line in app.statement("2019-08").lines:
        assert line.description in shown.stdout
    page = tmp_path / "statement.html"
    written = command(sidecar, "--month", "2019-08", "--export", "html", "--out", str(page))
    assert (written.returncode, written.stdout) == (0, ""), written.stderr
    assert page.read_bytes().startswith(b"<!DOCTYPE html>")
    refused = command(sidecar, "--month", "2019-13")
    assert refused.returncode == 1 and "month" in refused.stderr, refused.stderr
    nowhere = command(sidecar, "--export", "csv", "--out", str(tmp_path / "no" / "file.csv"))
    assert nowhere.returncode == 1 and "cannot write" in nowhere.stderr, nowhere.stderr


def browser(folder, *arguments: str) -> subprocess.CompletedProcess:
    """Runs a headless Chromium that loads nothing but the page."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    assert program, "a browser is needed: apt-get install chromium"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--hide-scrollbars", f"--user-data-dir={folder / 'profile'}"]
    environment = {**os.environ, "HOME": str(folder)}
    return subprocess.run([program, *flags, *arguments], capture_output=True, cwd=folder,
                          env=environment, timeout=BROWSER_TIMEOUT_S, check=True)


def close(pixel: tuple[int, int, int], colour: tuple[int, int, int]) -> bool:
    """Returns whether two colours are nearly the same."""
    return all(abs(one - other) < 12 for one, other in zip(pixel, colour))


def test_a_browser_shows_the_page_with_its_charts(billed, tmp_path):
    app, _ = billed
    content, media_type, name = export(app, "HTML")
    assert (media_type, name) == ("text/html; charset=utf-8", "billed-2019-08.html")
    text = content.decode()
    # It loads nothing else, and ids from requests are escaped.
    assert not any(word in text for word in ("<script", "http://", "https://", "src=", "url("))
    assert "&lt;refund&gt;" in text and "<refund>" not in text
    page = tmp_path / "page.html"
    page.write_bytes(content)
    dom = browser(tmp_path, "--dump-dom", page.as_uri()).stdout.decode()
    assert dom.count("<svg") == 3 and dom.count("<rect") == 3 * 28
    shot = tmp_path / "page.png"
    size = f"--window-size={WINDOW[0]},{WINDOW[1]}"
    browser(tmp_path, size, f"--screenshot={shot}", page.as_uri())
    picture = Image.open(shot).convert("RGB")
    colours = picture.getcolors(maxcolors=WINDOW[0] * WINDOW[1])
    for chart, colour in BARS.items():
        pixels = sum(count for count, pixel in colours if close(pixel, colour))
        assert pixels > 2000, f"{pixels} pixels of the chart of {chart}"
    keep = os.environ.get("IMQUOTA_KEEP_SCREENSHOT")
    if keep:
        shutil.copy(shot, keep)
