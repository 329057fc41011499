"""Exports of an IM's database as files, valid ones and ones with a mistake, all from a seed."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass

KINDS = ["groups", "friends", "accounts"]
FORMATS = ["csv", "jsonl"]
HEADERS = {
    "groups": ["group_id", "type", "max_members", "member_id"],
    "friends": ["user_id", "friend_id"],
    "accounts": ["user_id"],
}
LISTS = {"groups": "member_ids", "friends": "friend_ids"}
LETTERS = "abcXYZ019 ._-@#\"',{}"


class Export:
    """The users or groups of one file, each with its list of ids, which is never empty."""

    def __init__(self, kind: str, seed: int):
        self.kind = kind
        self.random = random.Random(f"{kind} {seed}")
        self.subjects = [
            {"id": f"{number}{self._name()}", "ids": self._ids(), "type": "Public",
             "max_members": self.random.choice([None, 1, 500])}
            for number in range(self.random.randint(3, 9))
        ]

    def _name(self) -> str:
        return "".join(self.random.choices(LETTERS, k=self.random.randint(1, 20)))

    def _ids(self) -> list[str]:
        return [f"m{number}{self._name()}" for number in range(self.random.randint(1, 4))]

    def rows(self) -> list[list[str]]:
        """The rows of a CSV file."""
        if self.kind == "accounts":
            return [[each["id"]] for each in self.subjects]
        if self.kind == "friends":
            return [[each["id"], one] for each in self.subjects for one in each["ids"]]
        return [
            [each["id"], each["type"], str(each["max_members"] or ""), one]
            for each in self.subjects for one in each["ids"] or [""]
        ]

    def documents(self) -> list[dict]:
        """The objects of a JSON Lines file."""
        if self.kind == "accounts":
            return [{"user_id": each["id"]} for each in self.subjects]
        if self.kind == "friends":
            return [{"user_id": each["id"], "friend_ids": each["ids"]} for each in self.subjects]
        return [
            {"group_id": each["id"], "type": each["type"], "max_members": each["max_members"],
             "member_ids": each["ids"]}
            for each in self.subjects
        ]

    def lines(self, form: str) -> list[str]:
        """The lines of a file without line ends."""
        if form == "jsonl":
            return [json.dumps(each) for each in self.documents()]
        return [",".join(HEADERS[self.kind]), *map(row, self.rows())]


def row(cells: list[str]) -> str:
    """A row of CSV; cells with special characters are quoted."""
    return ",".join(
        '"' + cell.replace('"', '""') + '"' if set(cell) & set('",') else cell for cell in cells)


def text(lines: list[str]) -> bytes:
    """A file of these lines."""
    return "".join(line + "\n" for line in lines).encode()


@dataclass(frozen=True)
class Bad:
    """A file with one mistake."""

    content: bytes
    line: int | None
    """The line that the error must name; `None`: the file, 0: any line or the file."""
    says: str
    """A part of the expected message."""


def _in_a_line(export: Export, form: str, change: Callable[[str, int], str]) -> tuple[bytes, int]:
    """The file with one changed line, not the header, and the number of that line."""
    lines = export.lines(form)
    at = export.random.randrange(1 if form == "csv" else 0, len(lines))
    lines[at] = change(lines[at], export.random.randint(1, len(lines[at]) - 1))
    return text(lines), at + 1


def cut_off(export: Export, form: str) -> Bad:
    """Ends in the middle of a line."""
    whole = text(export.lines(form))
    ends = [at for at in range(1, len(whole)) if whole[at - 1:at] != b"\n"]
    cut = whole[:export.random.choice(ends)]
    return Bad(cut, cut.count(b"\n") + 1, "truncated")


def empty(_export: Export, _form: str) -> Bad:
    """Is empty, or has only empty lines."""
    return Bad(b"\n" * _export.random.randint(0, 3), None, "is empty")


def no_utf8(export: Export, form: str) -> Bad:
    """Has a byte that is not UTF-8."""
    whole = text(export.lines(form))
    at = export.random.randrange(len(whole))
    byte = export.random.choice([b"\xff", b"\xc0", b"\x80"])
    return Bad(whole[:at] + byte + whole[at:], whole[:at].count(b"\n") + 1, "must be UTF-8")


def control(export: Export, form: str) -> Bad:
    """Has a byte that is invalid in an id."""
    byte = export.random.choice("\x00\x01\x1b\x7f")
    content, line = _in_a_line(export, form, lambda old, at: old[:at] + byte + old[at:])
    return Bad(content, line, "")


def noise(export: Export, _form: str) -> Bad:
    """Has random bytes."""
    return Bad(export.random.randbytes(export.random.randint(1, 6000)), 0, "")


def utf16(export: Export, form: str) -> Bad:
    """Is UTF-16."""
    return Bad(text(export.lines(form)).decode().encode("utf-16"), 1, "must be UTF-8")


def gap(export: Export, form: str) -> Bad:
    """Has an empty line in the middle."""
    lines = export.lines(form)
    at = export.random.randrange(1, len(lines))
    return Bad(text([*lines[:at], "", *lines[at:]]), at + 1, "only lines at the end")


def again(export: Export, form: str) -> Bad:
    """Has a user or group again, after others."""
    export.subjects.append(export.random.choice(export.subjects[:-1]))
    last = len(export.subjects[-1]["ids"]) if form == "csv" and export.kind != "accounts" else 1
    line = len(export.lines(form)) - last + 1
    return Bad(text(export.lines(form)), line, "is repeated from line")


def long_id(export: Export, form: str) -> Bad:
    """Has an id with too many bytes."""
    export.random.choice(export.subjects)["id"] = "x" * export.random.randint(256, 600)
    return Bad(text(export.lines(form)), 0, "bytes long, not")


def no_id(export: Export, form: str) -> Bad:
    """Has a user or group without an id."""
    export.random.choice(export.subjects[:-1])["id"] = ""
    # In a file with one column this is an empty line.
    says = "is empty" if form == "csv" and export.kind == "accounts" else "must not be empty"
    return Bad(text(export.lines(form)), 0, says)


def twice_in_a_list(export: Export, form: str) -> Bad:
    """Has a friend or member twice."""
    of = export.random.choice(export.subjects)
    of["ids"].append(of["ids"][0])
    says = "is repeated from line" if form == "csv" else "must not be repeated"
    return Bad(text(export.lines(form)), 0, says)


def own_friend(export: Export, form: str) -> Bad:
    """Has a user who is their own friend."""
    of = export.random.choice(export.subjects)
    of["ids"].append(of["id"])
    return Bad(text(export.lines(form)), 0, "themselves")


def too_many(export: Export, form: str) -> Bad:
    """Has a list that is too long."""
    export.random.choice(export.subjects)["ids"] = [f"m{number}" for number in range(20_001)]
    return Bad(text(export.lines(form)), 0, "more than 20000")


def no_type(export: Export, form: str) -> Bad:
    """Has a group without a type."""
    export.random.choice(export.subjects)["type"] = export.random.choice(["", "T" * 65, "Öffentlich", "a b"])
    return Bad(text(export.lines(form)), 0, "type must be 1-64 of")


def no_limit(export: Export, form: str) -> Bad:
    """Has a limit that is not a number of members."""
    bad = export.random.choice([-1, 2**32, "many", 1.5])
    export.random.choice(export.subjects)["max_members"] = bad
    says = "max_members must be" if form == "csv" else "must be an object such as"
    return Bad(text(export.lines(form)), 0, says)


def columns(export: Export, form: str) -> Bad:
    """Has a row with a column too many or, in a file with several columns, too few."""
    lines, rows = export.lines(form), export.rows()
    at = export.random.randrange(len(rows))
    fewer = len(rows[at]) > 1 and export.random.random() < 0.5
    lines[at + 1] = row(rows[at][:-1] if fewer else [*rows[at], "x"])
    return Bad(text(lines), at + 2, "column")


def header(export: Export, form: str) -> Bad:
    """Has an invalid header, the header of another file, or no header."""
    lines, names = export.lines(form), HEADERS[export.kind]
    bad = [[*names, "name"], [*names, names[0]], [names[0].upper(), *names[1:]], ["x"], None]
    chosen = export.random.choice(bad)
    return Bad(text(([] if chosen is None else [",".join(chosen)]) + lines[1:]), 1, "column")


def quote(export: Export, form: str) -> Bad:
    """Has a misplaced quote."""
    change = export.random.choice([
        lambda old, _: '"' + old.replace('"', ""), lambda old, _: '"a"b,' + old,
        lambda old, _: 'a"b,' + old,
    ])
    content, line = _in_a_line(export, form, change)
    return Bad(content, line, "quote")


def mixed(export: Export, form: str) -> Bad:
    """Has the rows of two groups alternately."""
    for each in export.subjects[:2]:
        each["ids"] = ["a", "b"]
    lines = export.lines(form)
    lines[2], lines[3] = lines[3], lines[2]
    return Bad(text(lines), 4, "must be adjacent")


def disagreeing(export: Export, form: str) -> Bad:
    """Has a group with two types."""
    of = export.subjects[0]
    lines = export.lines(form)
    other = row([of["id"], "Private", str(of["max_members"] or ""), "other"])
    return Bad(text([*lines[:2], other, *lines[2:]]), 3, "must agree")


def no_object(export: Export, form: str) -> Bad:
    """Has a line of JSON that is not an object."""
    bad = ["[]", "null", "7", '"x"', "{}", '{"user_id":7}', '{"a":1}', "{'user_id':'u'}", "{", "x"]
    content, line = _in_a_line(export, form, lambda _old, _at: export.random.choice(bad))
    return Bad(content, line, "must be an object such as")


EVERYWHERE = [cut_off, empty, no_utf8, control, noise, utf16, gap, again, long_id, no_id]
OF_LISTS = [twice_in_a_list, too_many]
MISTAKES = {
    (kind, form): [
        *EVERYWHERE,
        *(OF_LISTS if kind != "accounts" else []),
        *([own_friend] if kind == "friends" else []),
        *([no_type, no_limit] if kind == "groups" else []),
        *([columns, header, quote] if form == "csv" else [no_object]),
        *([mixed] if form == "csv" and kind != "accounts" else []),
        *([disagreeing] if form == "csv" and kind == "groups" else []),
    ]
    for kind in KINDS for form in FORMATS
}
"""The mistakes of a file of each kind and format."""
