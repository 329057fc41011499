"""Details of an app: its name for people, its note, and its set of IM codes."""

import json
import subprocess

import grpc
import pytest

from app import TIMEOUT_S, App, denial_of, names
from details import error_of, bad_fields
from price_lists import BUILTIN
from sidecar import Sidecar, binary, clean_environment
from stubs import admin_pb

SETS = """
[[im_code_sets]]
name = "chat-v2"
codes = { my_friends = { name = "MAX_FRIENDS" }, groups_per_user = 4711 }
"""


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory):
    """A sidecar whose catalog has a set of IM codes."""
    file = tmp_path_factory.mktemp("catalog") / "catalog.toml"
    file.write_text(BUILTIN.read_text(encoding="utf-8") + SETS, encoding="utf-8")
    with Sidecar("--catalog", str(file)) as sidecar:
        yield sidecar


@pytest.fixture
def app(sidecar):
    """A new app, which is registered."""
    with App(sidecar) as app:
        app.admin("CreateApp")
        yield app


def details(app) -> tuple[str, str, str]:
    """The details of an app as GetApp and ListApps have them."""
    found = app.admin("GetApp").app
    page = app.administration.ListApps(admin_pb.ListAppsRequest(page_size=1000), timeout=TIMEOUT_S)
    listed = [it for it in page.apps if it.app_id == found.app_id]
    shown = (found.display_name, found.note, found.im_code_set)
    assert [(it.display_name, it.note, it.im_code_set) for it in listed] == [shown]
    return shown


def test_each_detail_changes_alone_and_an_empty_one_is_removed(app):
    assert details(app) == ("", "", "")
    first = app.admin("UpdateApp", request_id="1", display_name="Acme 有限公司", note="contract 7")
    assert first.app.display_name == "Acme 有限公司"
    assert details(app) == ("Acme 有限公司", "contract 7", "")
    app.admin("UpdateApp", request_id="2", im_code_set="chat-v2")
    app.admin("UpdateApp", request_id="3", note="")
    assert details(app) == ("Acme 有限公司", "", "chat-v2")
    # A repetition changes nothing, and another content is refused.
    assert app.admin("UpdateApp", request_id="1", display_name="Acme 有限公司",
                     note="contract 7").app.note == ""
    error = error_of(lambda: app.admin("UpdateApp", request_id="1", display_name="Other"))
    assert error.code() == grpc.StatusCode.ALREADY_EXISTS
    for part in ('display_name was "Acme 有限公司" and is "Other" now',
                 'note was "contract 7" and is not set now'):
        assert part in error.details()


def test_denials_carry_the_codes_of_the_chosen_set(app):
    app.add_friends("u", *names("f", 20))
    [denied] = app.add_friends("u", "late")
    assert denial_of(denied, "MY_FRIENDS").im_error_code == 30010
    for _ in range(2):
        app.admin("UpdateApp", request_id="set", im_code_set="chat-v2")
        [denied] = app.add_friends("u", "late")
        denial = denial_of(denied, "MY_FRIENDS")
        assert (denial.im_error_code, denial.im_error_name) == (0, "MAX_FRIENDS")
    # A sale keeps the set, and what the set lacks is as for all apps.
    app.admin("GrantLimit", limit_id="friends_per_user", limit=20, months=1, note="contract")
    [denied] = app.add_friends("u", "late")
    assert denial_of(denied, "MY_FRIENDS").im_error_name == "MAX_FRIENDS"
    [denied] = app.add_friends("other", "u", one_way=False)
    assert denial_of(denied, "PEER_FRIENDS").im_error_code == 30014
    app.admin("UpdateApp", request_id="none", im_code_set="")
    [denied] = app.add_friends("u", "late")
    assert denial_of(denied, "MY_FRIENDS").im_error_code == 30010


def test_a_set_that_the_catalog_lacks_is_named(app):
    error = error_of(lambda: app.admin("UpdateApp", request_id="1", im_code_set="chat"))
    assert bad_fields(error) == ["im_code_set"]
    assert 'no set of IM codes "chat"; there are "chat-v2"' in error.details()
    assert details(app) == ("", "", "")


def test_the_change_is_in_the_audit_log(app):
    app.admin("UpdateApp", request_id="1", display_name="Acme", note="contract 7")
    [entry] = [it for it in app.admin("ListAuditEvents", request_id="").events if it.action == "UpdateApp"]
    assert json.loads(entry.request) == {"display_name": "Acme", "note": "contract 7"}
    before, after = json.loads(entry.before), json.loads(entry.after)
    assert "display_name" not in before
    assert {name: after[name] for name in ("display_name", "note")} == json.loads(entry.request)


def test_the_command_changes_and_shows_details(sidecar, app):
    def admin(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run([binary(), "admin", *arguments, "--address", sidecar.admin],
                              capture_output=True, text=True, env=clean_environment(), timeout=30,
                              check=False)

    done = admin("update-app", app.id, "--display-name", "Acme Ltd.", "--im-code-set", "chat-v2")
    assert done.returncode == 0, done.stderr
    for line in ("Acme Ltd.", "chat-v2"):
        assert line in done.stdout
    assert "Acme Ltd." in admin("get-app", app.id).stdout
    refused = admin("update-app", app.id)
    assert refused.returncode == 2
    assert "--display-name" in refused.stderr
