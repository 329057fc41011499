"""Output of the command line for people: instants, ends of purchases, previews, tables."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import unicodedata
from datetime import datetime, timedelta, timezone

import pytest

from app import names
from sidecar import Sidecar, binary, clean_environment

CHINA = timezone(timedelta(hours=8))
INSTANT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S*")


def run(sidecar: Sidecar, *arguments: str) -> subprocess.CompletedProcess:
    """Runs a command with the address of the listener that it calls."""
    address = sidecar.tcp if arguments[0] in ("usage", "quota", "health") else sidecar.admin
    return subprocess.run([binary(), *arguments, "--address", address], capture_output=True,
                          text=True, env=clean_environment(), timeout=30, check=False)


def shown(sidecar: Sidecar, *arguments: str) -> str:
    """The output of a command, which must succeed."""
    done = run(sidecar, *arguments)
    assert done.returncode == 0, done
    return done.stdout


def in_china(timestamp) -> str:
    """The instant as it is written in China."""
    return datetime.fromtimestamp(timestamp.seconds, CHINA).isoformat()


def rows(text: str) -> dict[str, str]:
    """Lines of two columns or more, by the first column."""
    lines = (re.split(r"  +", line.strip(), maxsplit=1) for line in text.splitlines())
    return {line[0]: line[1] for line in lines if len(line) == 2}


def test_every_instant_is_rfc_3339_in_the_zone_of_the_catalog(sidecar, tcp_app):
    tcp_app.upgrade()
    tcp_app.buy("members-2000")
    app = tcp_app.id
    order = tcp_app.admin("GetApp").app.purchases[1].request_id
    printed = [
        shown(sidecar, *command) for command in (
            ["admin", "get-app", app], ["admin", "list-apps"], ["usage", "--app", app],
            ["admin", "preview", app], ["admin", "preview", app, "--refund-purchase", order],
            ["admin", "audit", "list", "--app", app], ["statement", "--app", app],
            ["admin", "top-denials"], ["reconcile", "begin", "--app", app],
            ["admin", "set-message-retention", app, "30"],
        )
    ]
    refused = run(sidecar, "admin", "purchase-edition", app, "professional", "--months", "1")
    assert refused.returncode == 1
    for text in [*printed, refused.stderr]:
        instants = INSTANT.findall(text)
        assert instants, text
        for instant in instants:
            assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+08:00", instant), (instant, text)


def test_valid_until_excludes_grace_and_stops_at_includes_it_in_every_command(sidecar, tcp_app):
    tcp_app.upgrade()
    purchase = tcp_app.admin("GetApp").app.purchases[0]
    until = in_china(purchase.valid_until)
    stops_at = in_china(type(purchase.valid_until)(seconds=purchase.valid_until.seconds
                                                   + 7 * 86_400))
    app = rows(shown(sidecar, "admin", "get-app", tcp_app.id))
    assert (app["valid until"], app["stops at"]) == (until, stops_at)
    listed = shown(sidecar, "admin", "list-apps").splitlines()
    assert re.split(r"  +", listed[0])[3:5] == ["VALID UNTIL", "STOPS AT"]
    (line,) = [line for line in listed if line.startswith(tcp_app.id + " ")]
    assert re.split(r"  +", line)[2:5] == ["active", until, stops_at]
    refused = run(sidecar, "admin", "purchase-edition", tcp_app.id, "professional", "--months", "1")
    assert f"valid until {until}, stops at {stops_at}" in refused.stderr
    assert f"{stops_at}: service stops" in shown(sidecar, "usage", "--app", tcp_app.id)
    preview = rows(shown(sidecar, "admin", "preview", tcp_app.id))
    assert preview["valid until"].split() == [until, until]
    assert preview["stops at"].split() == [stops_at, stops_at]
    statement = tcp_app.statement()
    inputs = {it.name: it.value for line in statement.lines for it in line.inputs}
    assert inputs["valid_until"] == until


def test_a_preview_shows_now_and_then_each_subject_and_the_term_of_a_sale(
        sidecar, tcp_app):
    tcp_app.upgrade()
    tcp_app.create_group("g1", members=names("u", 30))
    order = tcp_app.admin("GetApp").app.purchases[0]

    def preview(*arguments: str) -> tuple[str, dict[str, str]]:
        text = shown(sidecar, "admin", "preview", tcp_app.id, *arguments)
        return text, rows(text)

    asked = ["--user", "u1", "--user", "absent", "--group", "g1", "--group", "g2"]
    text, stopped = preview("--refund-purchase", order.request_id, *asked)
    assert stopped["service"].split() == ["active", "STOPPED"]
    for line in (["user u1", "groups_per_user", "1", "200", "200"],
                 ["user absent", "groups_per_user", "0", "200", "200"],
                 ["group g1", "members_per_group", "30", "200", "200"],
                 ["group g2", "does not exist"]):
        assert any(re.split(r"  +", it)[:len(line)] == line for it in text.splitlines()), line
    grace = datetime.fromtimestamp(order.valid_until.seconds + 86_400, CHINA).isoformat()
    _, later = preview("--at", grace)
    assert later["service"].split() == ["active", "GRACE"]
    text, sold = preview("--grant-add-on", "members-2000", "--months", "1", "--group", "g1")
    assert sold["members_per_group/Public"].split()[:2] == ["200", "2000"]
    until = in_china(order.valid_until)
    assert re.search(rf"the sale would be valid from \S+ until {re.escape(until)}", text), text
    # Over the previewed limit, and marked as such.
    tcp_app.buy("members-2000")
    tcp_app.join("g1", *names("u", 250))
    add_on = tcp_app.admin("GetApp").app.purchases[1].request_id
    text, _ = preview("--refund-purchase", add_on, "--group", "g1")
    assert re.search(r"group g1 +members_per_group +250 +2000 +200 +OVER", text), text


def test_an_exchange_costs_what_its_preview_shows(sidecar, tcp_app):
    tcp_app.upgrade()
    tcp_app.buy("groups-per-user-400")
    old, new = "groups-per-user-400", "groups-per-user-700"
    text = shown(sidecar, "admin", "preview", tcp_app.id, "--exchange-add-on", old, "--for", new,
                 "--months", "1")
    assert re.search(r"purchase \S+ would be refunded \S+ CNY of 500.00 CNY", text), text
    cost = int(re.search(r"to pay: \S+ CNY \(sum_fen (\d+)\)", text)[1])
    make = ["admin", "exchange-add-on", tcp_app.id, old, new, "--months", "1", "--max-sum-fen"]
    refused = run(sidecar, *make, str(cost - 1))
    assert refused.returncode == 1
    assert f"the sum to pay is {cost} fen now" in refused.stderr
    text = shown(sidecar, *make, str(cost))
    assert f"(sum_fen {cost})" in text
    assert rows(text)["add-ons"] == new


def test_a_limit_is_agreed_as_its_preview_shows(sidecar, tcp_app):
    tcp_app.register()
    text = shown(sidecar, "admin", "preview", tcp_app.id, "--grant-limit", "groups_per_user=7",
                 "--months", "2", "--price-fen", "1200")
    assert "12.00 CNY" in text, text
    text = shown(sidecar, "admin", "grant-limit", tcp_app.id, "groups_per_user", "7", "--months",
                 "2", "--price-fen", "1200", "--note", "contract 7", "--request-id", "c7")
    assert text.startswith("bought limit groups_per_user 7 for 2 months, 12.00 CNY: valid from ")
    assert rows(text)["agreed"] == "groups_per_user"
    assert re.search(r"groups_per_user +7 +agreed c7", text), text
    until = (datetime.now(CHINA) + timedelta(days=40)).date().isoformat()
    text = shown(sidecar, "admin", "grant-limit", tcp_app.id, "friends_per_user", "unlimited",
                 "--until", until, "--note", "contract 8")
    assert text.startswith("bought limit friends_per_user unlimited, 0.00 CNY: valid from ")
    assert re.search(r"friends_per_user +unlimited +agreed ", text), text
    refused = run(sidecar, "admin", "grant-limit", tcp_app.id, "friends_per_user", "5", "--note",
                  "contract 9")
    assert refused.returncode == 2
    assert "--months" in refused.stderr
    assert "--until" in refused.stderr


def cells(line: str) -> int:
    """The width of a line in terminal cells."""
    return sum(2 if unicodedata.east_asian_width(it) in "WF" else 1 for it in line)


@pytest.fixture
def chinese(tmp_path):
    """A sidecar whose catalog has Chinese labels."""
    builtin = subprocess.run([binary(), "catalog", "show"], capture_output=True, text=True,
                             check=True).stdout
    labelled = builtin.replace('label = "Professional"', 'label = "专业版"')
    assert labelled != builtin
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(labelled)
    with Sidecar("--catalog", str(catalog)) as running:
        yield running


def test_columns_are_aligned_with_chinese_labels(chinese):
    lines = shown(chinese, "admin", "get-catalog").splitlines()
    head = next(line for line in lines if line.startswith("WHAT"))
    (label,) = [line for line in lines if "专业版" in line and "groups_per_user" in line]
    # The last column of the line begins below its head.
    of = head.index("  OF") + 2
    assert cells(label[:label.index("groups_per_user")]) == of


@pytest.mark.parametrize("columns", [80, 120])
def test_a_table_is_no_wider_than_the_terminal(chinese, columns):
    subprocess.run([binary(), "admin", "create-app", "demo", "--address", chinese.admin],
                   check=True, capture_output=True, env=clean_environment())
    for command in (["get-catalog"], ["audit", "list"], ["list-apps"]):
        text = on_a_terminal(["admin", *command, "--address", chinese.admin], columns)
        table = [line for line in text.splitlines() if line]
        assert max(map(cells, table)) <= columns, text
        piped = shown(chinese, "admin", *command)
        # Nothing is cut, only wrapped.
        assert sorted(re.sub(r"\s", "", text)) == sorted(re.sub(r"\s", "", piped))


def on_a_terminal(arguments: list[str], columns: int) -> str:
    """The output of a command on a terminal of that width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = subprocess.Popen([binary(), *arguments], stdin=subprocess.DEVNULL, stdout=theirs,
                               stderr=subprocess.PIPE, env=clean_environment())
    os.close(theirs)
    printed = b""
    while True:
        try:
            piece = os.read(ours, 65_536)
        except OSError:
            # The other end is closed.
            break
        if not piece:
            break
        printed += piece
    os.close(ours)
    assert process.wait(timeout=30) == 0, process.stderr.read()
    process.stderr.close()
    return printed.decode().replace("\r\n", "\n")
