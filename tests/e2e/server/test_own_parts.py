"""Parts of the catalog file that a store does not keep: a changed file puts them into force without
a restart, though the catalog in the store stays the same."""

import grpc
import pytest

from app import App, names
from price_lists import BUILTIN, install
from sidecar import Sidecar, wait_until

FOLLOWED_WITHIN_S = 30
LONG_ID = "u" * 17


def longest_hold(app: App) -> None:
    app.hold("CreateAccounts", "op", 31, user_ids=["held"])


def two_friends(app: App) -> None:
    app.add_friends("u", "f1", "f2")


def long_id(app: App) -> None:
    app.create_accounts(LONG_ID)


def full_list(app: App) -> None:
    app.add_friends("full", *names("f", 20))
    [result] = app.add_friends("full", "late")
    assert result.denials[0].im_error_code == 30010


@pytest.mark.parametrize("old, new, works_before", [
    ("seconds_max = 3600", "seconds_max = 30", longest_hold),
    ("friends_max = 1000", "friends_max = 1", two_friends),
    ("user_max_bytes = 32", "user_max_bytes = 16", long_id),
    ("my_friends = 30010", "my_friends = 30011", full_list),
], ids=["holds", "batch", "ids", "im_codes"])
def test_a_changed_part_is_in_force_without_a_restart(tmp_path, old, new, works_before):
    text = BUILTIN.read_text(encoding="utf-8")
    file = tmp_path / "catalog.toml"
    install(file, text)
    assert text.count(f"\n{old}\n") == 1
    text = text.replace(f"\n{old}\n", f"\n{new}\n")
    with Sidecar("--catalog", str(file)) as sidecar:
        with App(sidecar) as app:
            works_before(app)
        install(file, text)

        def is_changed() -> bool:
            with App(sidecar) as app:
                try:
                    works_before(app)
                except (AssertionError, grpc.RpcError):
                    return True
                return False

        wait_until(is_changed, FOLLOWED_WITHIN_S, "the part is changed", every_s=0.5)
