"""The example of a group type for direct chats that are rooms: they are no groups of their users."""

import subprocess

import pytest

from app import APPLIED, DENIED, App, denial_of, outcomes
from sidecar import Sidecar, binary
from stubs import REPOSITORY

EXAMPLE = REPOSITORY / "deploy" / "examples" / "catalogs" / "direct-chats.toml"
GROUPS = 50
"""The most groups of a user on the trial edition."""
CHATS = 4 * GROUPS


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """An app of a sidecar with the built-in catalog and the example."""
    catalog = tmp_path_factory.mktemp("catalog") / "catalog.toml"
    show = f"{{ {binary()} catalog show; cat {EXAMPLE}; }} > {catalog}"
    subprocess.run(["bash", "-c", show], check=True)
    with Sidecar("--catalog", str(catalog)) as sidecar, App(sidecar) as new:
        yield new


def chat(app: App, number: int):
    """Creates alice's direct chat of that number; returns its result and that of the other user."""
    answer = app.create_group(f"dm{number}", "DirectChat", "alice", [f"u{number}"])
    return [answer.group, *answer.members]


def test_a_user_has_any_number_of_direct_chats_and_all_groups_beside_them(app):
    for number in range(CHATS):
        assert outcomes(chat(app, number)) == [APPLIED] * 2
    assert (app.groups("alice"), app.groups("u0"), app.rooms("DirectChat")) == (0, 0, CHATS)
    for number in range(GROUPS):
        app.create_group(f"g{number}", "Public", "owner" if number % 2 else None)
        assert outcomes(app.join(f"g{number}", "alice")) == [APPLIED], number
    assert app.groups("alice") == GROUPS
    app.create_group("full", "Public")
    (denied,) = app.join("full", "alice")
    assert denial_of(denied, "GROUPS_PER_USER").limit == GROUPS
    # Nor do the groups count against direct chats.
    assert outcomes(chat(app, CHATS)) == [APPLIED] * 2
    assert app.groups("alice") == GROUPS


def test_a_direct_chat_has_two_members_and_is_reclaimed_with_the_last(app):
    created = app.create_group("dm", "DirectChat", "ann", ["bob"])
    assert (created.group.outcome, outcomes(created.members)) == (APPLIED, [APPLIED])
    (denied,) = app.join("dm", "carol")
    assert denied.outcome == DENIED and denial_of(denied, "MEMBERS_PER_GROUP").limit == 2
    assert not app.leave("dm", "ann").group_reclaimed
    assert outcomes(app.join("dm", "carol")) == [APPLIED]
    assert app.leave("dm", "bob", "carol").group_reclaimed
    assert app.usage_or_none("dm") is None


def test_the_page_shows_the_example():
    rows = [line for line in EXAMPLE.read_text().splitlines() if not line.startswith("#")]
    assert "\n".join(rows) in (REPOSITORY / "docs" / "admin.md").read_text()
