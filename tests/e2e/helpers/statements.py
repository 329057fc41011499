"""Compares a statement of the product with one of the oracle."""

import hashlib
import json

import statement_oracle as oracle
from app import App
from sidecar import wait_until
from stubs import metering_pb

ITEMS = {
    metering_pb.STATEMENT_ITEM_EDITION: "edition",
    metering_pb.STATEMENT_ITEM_ADD_ON: "add_on",
    metering_pb.STATEMENT_ITEM_REFUND: "refund",
    metering_pb.STATEMENT_ITEM_DAU: "dau",
    metering_pb.STATEMENT_ITEM_MESSAGE_HISTORY: "message_history",
    metering_pb.STATEMENT_ITEM_GROUPS: "groups",
    metering_pb.STATEMENT_ITEM_BANDWIDTH: "bandwidth",
}
BOUGHT = {"edition", "add_on"}
METERED = {"dau", "message_history", "groups", "bandwidth"}


ISSUED_WITHIN_S = 20


def issued(app: App, month: str) -> metering_pb.Statement:
    """The final statement of a month: waits for the issuer, which runs in the background."""
    def final() -> metering_pb.Statement | None:
        statement = app.statement(month)
        return statement if statement.final else None

    return wait_until(final, ISSUED_WITHIN_S, f"the statement of {month}")


def days_of(statement: metering_pb.Statement) -> dict[str, oracle.Day]:
    """The figures by day."""
    return {
        day.day: oracle.Day(day.dau, day.groups_peak, day.groups_net_new,
                            {each.region: each.kbps for each in day.bandwidth}, day.charged)
        for day in statement.days
    }


def metered(lines) -> dict[tuple[str, str], tuple[int, int]]:
    """Quantity and fen of the postpaid lines; lines of 0 may be absent."""
    found = {(item, name): (quantity, fen) for item, name, quantity, fen in lines
             if item in METERED and quantity}
    return found


def bought(lines) -> list[tuple[str, str, int]]:
    """The purchases and refunds; the name of a refund is not specified."""
    return sorted((item, name if item in BOUGHT else "", fen) for item, name, _, fen in lines
                  if item not in METERED)


def assert_same(statement: metering_pb.Statement, wanted: oracle.Statement) -> None:
    """Fails unless both have the same figures on every day, the same lines and the same total."""
    days = days_of(statement)
    assert list(days) == list(wanted.days)
    wrong = {name: (days[name], day) for name, day in wanted.days.items() if days[name] != day}
    assert not wrong, f"{len(wrong)} days differ (ours, wanted): {list(wrong.items())[:3]}"
    ours = [(ITEMS[line.item], line.item_id, line.quantity, line.amount_fen)
            for line in statement.lines]
    theirs = [(line.item, line.item_id, line.quantity, line.fen) for line in wanted.lines]
    assert bought(ours) == bought(theirs)
    assert metered(ours) == metered(theirs)
    for line in statement.lines:
        assert line.description and line.formula, line
        if line.item == metering_pb.STATEMENT_ITEM_BANDWIDTH:
            has_price = line.item_id in oracle.BANDWIDTH_UNIT_FEN
            assert line.HasField("unit_price_fen") == has_price, line
    # Each line has the figure that it is computed from.
    for line in wanted.lines:
        if line.figure:
            values = [given.value for given in find(statement, line.item, line.item_id).inputs]
            assert str(line.figure) in values or line.item == "bandwidth", (line, values)
    assert statement.total_fen == sum(line.amount_fen for line in statement.lines)
    assert statement.total_fen == wanted.total_fen


def find(statement: metering_pb.Statement, item: str, item_id: str = ""):
    """The line of an item."""
    (line,) = [line for line in statement.lines
               if ITEMS[line.item] == item and line.item_id == item_id]
    return line


def exported(app: App, month: str) -> bytes:
    """The statement as JSON; fails unless its hash can be recomputed."""
    content = app.meter("ExportStatement", admin=True, month=month,
                        format=metering_pb.STATEMENT_FORMAT_JSON).content
    document = json.loads(content)
    given = document.pop("hash")
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert given == hashlib.sha256(text.encode()).hexdigest()
    assert given == app.statement(month).hash
    return content
