"""Catalogs for the real binary, derived from the built-in one, and as events of the oracle."""

import re
from pathlib import Path

from stubs import REPOSITORY

BUILTIN = REPOSITORY / "src" / "catalog" / "builtin.toml"


def _set(text: str, section: str, **values) -> str:
    """The text with other values in a section."""
    begins = text.index(section)
    ends = text.find("\n[", begins + len(section))
    part = text[begins:ends]
    for key, value in values.items():
        part, count = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", part)
        assert count == 1, (section, key)
    return text[:begins] + part + text[ends:]


def _cut(text: str, begin: str) -> str:
    """The text without one table of a list, up to the next list or section."""
    begins = text.index(begin)
    ends = re.compile(r"\n\[+(?!editions\.)").search(text, begins + len(begin)).start()
    return text[:begins] + text[ends + 1:]


def price_list(version: str, *, dau=(10, 10, 1_000_000), groups=(10, 10, 100_000),
               history=(10, 50_000), bandwidth=None, editions=None, prices=None, grace_days=7,
               after_grace="stop") -> tuple[str, dict]:
    """A catalog as text, and as an event of the oracle without its instant. `bandwidth` is fen by
    region, `editions` says which are for sale and whether each may run over, `prices` are prices
    for a month that differ from the published ones."""
    bandwidth = {"mainland": 200} if bandwidth is None else bandwidth
    editions = {"professional": True} if editions is None else editions
    text = BUILTIN.read_text(encoding="utf-8")
    text = _set(text, "schema = 1", version=f'"{version}"')
    text = _set(text, "[validity]", edition_grace_days=grace_days, after_grace=f'"{after_grace}"')
    for section, (free, unit, fen) in (("dau", dau), ("groups", groups)):
        text = _set(text, f"[metering.{section}]", free=free, unit=unit, price_fen_per_unit=fen)
    text = _set(text, "[metering.message_history]", unit=history[0], price_fen_per_unit=history[1])
    mainland = '[[metering.bandwidth]]\nregion = "mainland"'
    if "mainland" in bandwidth:
        text = _set(text, mainland, price_fen_per_mbps_day=bandwidth["mainland"])
    else:
        text = _cut(text, mainland)
    professional = '[[editions]]\nid = "professional"'
    begins = text.index(professional)
    of_professional = text[begins:begins + len(text) - len(_cut(text, professional))]
    text = _cut(text, professional)
    sold = ""
    for name, runs_over in editions.items():
        edition = of_professional.replace('"professional"', f'"{name}"', 1)
        changes = {"postpaid_allowed": str(runs_over).lower()}
        if name in (prices or {}):
            changes["price_fen_per_month"] = prices[name]
        sold += _set(edition + "\n[", "[[editions]]", **changes).removesuffix("\n[") + "\n"
    text = text[:begins] + sold + text[begins:]
    event = {"kind": "catalog", "dau": dau, "groups": groups, "history": history,
             "bandwidth": bandwidth, "editions": editions, "grace_days": grace_days}
    return text, event


def install(path: Path, text: str) -> None:
    """Replaces a file atomically, as deployments do."""
    new = path.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)
