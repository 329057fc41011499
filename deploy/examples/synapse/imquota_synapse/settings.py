"""The module's section of `homeserver.yaml`, checked when Synapse starts."""

from dataclasses import dataclass, field, fields
from typing import Any

from .rooms import DEFAULT_TYPES

HOLD_SECONDS_MAX = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an operator can set."""

    app: str
    """The app id in imquota."""
    addresses: tuple[str, ...] = ("127.0.0.1:50051",)
    """Sidecars: HOST:PORT or unix:PATH."""
    timeout_seconds: float = 2.0
    """Longest time of a decision, with its retries."""
    hold_seconds: int = 60
    """A seat that is taken ends after this time if Synapse does not commit: 1-3600."""
    invite_hold_seconds: int = 300
    """An invited user has a seat for that long: 1-3600. 0: an invitation is checked, and takes
    nothing."""
    on_unavailable: str = "refuse"
    """`refuse` or `allow`: what happens to joins while no decision can be had."""
    group_types: dict[str, str] = field(default_factory=lambda: dict(DEFAULT_TYPES))
    """The group type for each of direct, encrypted, public and private."""
    unsettled_max: int = 100_000
    """Most facts that wait to be settled; beyond that joins are refused."""


def parse(section: dict[str, Any] | None) -> Settings:
    """The settings; raises `ValueError` that lists every mistake."""
    section = dict(section or {})
    mistakes = [f"unknown key {key!r}" for key in
                sorted(set(section) - {each.name for each in fields(Settings)})]
    if not isinstance(section.get("app"), str) or not section["app"]:
        mistakes.append("app: the app id in imquota is needed")
    addresses = section.get("addresses", ["127.0.0.1:50051"])
    if isinstance(addresses, str):
        addresses = [addresses]
    if not addresses or not all(isinstance(each, str) for each in addresses):
        mistakes.append("addresses: a list of HOST:PORT or unix:PATH")
    for key, least in (("hold_seconds", 1), ("invite_hold_seconds", 0)):
        if key in section and (type(section[key]) is not int
                               or not least <= section[key] <= HOLD_SECONDS_MAX):
            mistakes.append(f"{key}: a number from {least} to {HOLD_SECONDS_MAX}")
    if section.get("on_unavailable", "refuse") not in ("refuse", "allow"):
        mistakes.append("on_unavailable: refuse or allow")
    seconds = section.get("timeout_seconds", 2.0)
    if type(seconds) not in (int, float) or not 0 < seconds <= 60:
        mistakes.append("timeout_seconds: a number above 0, at most 60")
    bound = section.get("unsettled_max", 1)
    if type(bound) is not int or bound < 1:
        mistakes.append("unsettled_max: a number of at least 1")
    types = section.get("group_types") or {}
    if not isinstance(types, dict) or not all(isinstance(each, str) for each in types.values()):
        mistakes.append("group_types: a name for each property")
        types = {}
    for key in sorted(set(types) - set(DEFAULT_TYPES)):
        mistakes.append(f"group_types: unknown property {key!r}: {', '.join(DEFAULT_TYPES)}")
    if mistakes:
        raise ValueError("imquota: " + "; ".join(mistakes))
    section.update(addresses=tuple(addresses), group_types={**DEFAULT_TYPES, **types})
    return Settings(**section)
