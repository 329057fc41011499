"""IM codes with names, and of a group type, as callers and the command line get them."""

import subprocess

import pytest

from app import TIMEOUT_S, App, denial_of, names
from details import error_info, error_of
from price_lists import BUILTIN
from sidecar import Sidecar, binary, clean_environment
from stubs import quota_pb

CHANGES = [
    ("my_friends = 30010", 'my_friends = { number = 30010, name = "MAX_FRIENDS" }'),
    ("batch_of_accounts = 70206", 'batch_of_accounts = { name = "TOO_MANY_ACCOUNTS" }'),
    ('name = "Public"', 'name = "Public"\nim_codes.members_per_group = { name = "GUILD_FULL" }'),
]


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """A sidecar whose catalog has codes with names."""
    text = BUILTIN.read_text(encoding="utf-8")
    for old, new in CHANGES:
        assert text.count(f"\n{old}\n") == 1
        text = text.replace(f"\n{old}\n", f"\n{new}\n")
    file = tmp_path_factory.mktemp("catalog") / "catalog.toml"
    file.write_text(text, encoding="utf-8")
    with Sidecar("--catalog", str(file)) as sidecar:
        yield sidecar


@pytest.fixture
def app(named):
    """A new app."""
    with App(named) as app:
        yield app


def code(results, reason: str) -> tuple[int, str]:
    """The code of the only result."""
    [result] = results
    denial = denial_of(result, reason)
    return denial.im_error_code, denial.im_error_name


def quota(sidecar: Sidecar, *arguments: str) -> subprocess.CompletedProcess:
    """Runs a command of the data plane."""
    return subprocess.run([binary(), "quota", *arguments, "--address", sidecar.tcp],
                          capture_output=True, text=True, env=clean_environment(), timeout=30,
                          check=False)


def test_a_denial_has_number_and_name(app):
    app.add_friends("u", *names("f", 20))
    assert code(app.add_friends("u", "late"), "MY_FRIENDS") == (30010, "MAX_FRIENDS")
    # The code of the peer has no name.
    assert code(app.add_friends("other", "u", one_way=False), "PEER_FRIENDS") == (30014, "")


def test_a_group_type_has_a_code_of_its_own(app):
    for kind, expected in [("Public", (0, "GUILD_FULL")), ("ChatRoom", (10014, ""))]:
        app.create_group(kind, kind, "owner", names("m", 19))
        assert code(app.join(kind, "late"), "MEMBERS_PER_GROUP") == expected, kind


def test_an_error_has_the_name_in_its_metadata_and_on_a_stream_in_a_field(app):
    too_many = quota_pb.CreateAccountsRequest(app_id=app.id, user_ids=names("u", 101))
    metadata = error_info(error_of(lambda: app.create_accounts(*names("u", 101)))).metadata
    assert metadata["im_error_name"] == "TOO_MANY_ACCOUNTS"
    assert "im_error_code" not in metadata
    calls = iter([quota_pb.ApplyRequest(create_accounts=too_many)])
    [answer] = app.quota.Apply(calls, timeout=TIMEOUT_S)
    assert (answer.error.im_error_code, answer.error.im_error_name) == (0, "TOO_MANY_ACCOUNTS")
    assert "im_error_name" not in answer.error.metadata


def test_the_command_line_shows_number_and_name(named, app):
    app.add_friends("v", *names("f", 20))
    denied = quota(named, "add-friends", "--app", app.id, "--user", "v", "late")
    assert "(IM code 30010 MAX_FRIENDS)" in denied.stdout, denied
    refused = quota(named, "create-accounts", "--app", app.id, *names("u", 101))
    assert "(IM code TOO_MANY_ACCOUNTS)" in refused.stderr, refused
