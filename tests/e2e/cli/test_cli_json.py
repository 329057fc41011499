"""Output of the command line for programs: JSON of every command and error; and the help texts."""

import json
import subprocess

import pytest

from sidecar import Sidecar, binary, clean_environment, free_ports

JSON = ("--output", "json")


def run(*arguments: str) -> subprocess.CompletedProcess:
    """Runs a command."""
    return subprocess.run([binary(), *arguments], capture_output=True, text=True, timeout=30,
                          env=clean_environment(), check=False)


def on(sidecar: Sidecar, *arguments: str) -> subprocess.CompletedProcess:
    """Runs a command that calls a sidecar."""
    address = sidecar.tcp if arguments[0] in ("usage", "quota", "health") else sidecar.admin
    return run(*arguments, "--address", address)


def test_every_command_prints_one_object(sidecar, tcp_app, tmp_path):
    tcp_app.upgrade()
    tcp_app.buy("members-2000")
    app = tcp_app.id
    groups = tmp_path / "groups.csv"
    groups.write_text("group_id,type,member_id\ng1,Public,alice\n")
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(run("catalog", "show").stdout)
    commands = [
        ["health"], ["usage", "--app", app], ["usage", "--app", app, "--user", "alice"],
        ["quota", "create-accounts", "--app", app, "alice"],
        ["quota", "join-group", "--app", app, "--group", "g", "--mode",
         "check-only", "bob"],
        ["admin", "get-app", app], ["admin", "list-apps"], ["admin", "get-catalog"],
        ["admin", "preview", app, "--user", "alice", "--everybody"], ["admin", "top-denials"],
        ["admin", "store-state"], ["admin", "set-aside-operations"],
        ["admin", "audit", "list"], ["admin", "audit", "verify"], ["admin", "journal", "list"],
        ["admin", "make-token", "ann", "viewer"], ["admin", "renew-edition", app, "--months", "1"],
        ["admin", "set-message-retention", app, "30"], ["statement", "--app", app],
        ["statement", "--app", app, "--export", "json"],
        ["statement", "--app", app, "--export", "csv"],
        ["statement", "--app", app, "--export", "html", "--out", str(tmp_path / "page.html")],
        ["backup", "--out", str(tmp_path / "copy.redb")],
        ["reconcile", "begin", "--app", app],
        ["reconcile", "--app", app, "--groups", str(groups), "--import"],
    ]
    tcp_app.create_group("g")
    for command in commands:
        done = on(sidecar, *command, *JSON)
        assert done.returncode == 0, (command, done)
        assert isinstance(json.loads(done.stdout), dict), command
        assert done.stderr == "", command
    for command in (["catalog", "show"], ["catalog", "show", str(catalog)],
                    ["catalog", "check", str(catalog)]):
        assert isinstance(json.loads(run(*command, *JSON).stdout), dict), command
    assert json.loads(on(sidecar, "health", *JSON).stdout) == {"status": "SERVING"}


def test_events_are_an_object_on_each_line(sidecar, tcp_app):
    tcp_app.upgrade()
    command = [binary(), "admin", "watch-events", "--after", "0", "--app", tcp_app.id, *JSON,
               "--address", sidecar.admin]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True,
                          env=clean_environment()) as process:
        lines = [json.loads(process.stdout.readline()) for _ in range(3)]
        process.terminate()
    kinds = [line.get("event", {}).get("kind") for line in lines]
    assert kinds[-1] == "EVENT_KIND_PURCHASED", lines


def error(done: subprocess.CompletedProcess) -> dict:
    """The error of a command: one object on stderr, and nothing on stdout."""
    assert done.stdout == "" and len(done.stderr.splitlines()) == 1, done
    told = json.loads(done.stderr)
    assert set(told) == {"code", "reason", "message", "details"}, told
    assert told["code"] and told["message"] and isinstance(told["details"], dict), told
    return told


def test_an_error_is_one_object_with_code_reason_message_and_details(sidecar, tcp_app, tmp_path):
    tcp_app.upgrade()
    app = tcp_app.id
    (port,) = free_ports(1)
    broken = tmp_path / "broken.toml"
    broken.write_text("version = 1")
    rows = tmp_path / "groups.csv"
    rows.write_text("group_id,type,member_id\ng1,Public\n")
    for done, exit_code, code, reason in (
        (on(sidecar, "admin", "get-app", "absent", *JSON), 1, "NOT_FOUND", None),
        (on(sidecar, "admin", "purchase-edition", app, "gold", "--months", "1", *JSON), 1,
         "INVALID_ARGUMENT", None),
        (run("health", "--address", f"127.0.0.1:{port}", *JSON), 1, "UNAVAILABLE",
         "NOT_CONNECTED"),
        (on(sidecar, "health", "--service", "none", *JSON), 1, "NOT_FOUND", None),
        (on(sidecar, "admin", "audit", "verify", "--head", "99999999:ab", *JSON), 1, "NOT_FOUND",
         "AUDIT_HEAD_NOT_FOUND"),
        (on(sidecar, "admin", "store-id", *JSON), 1, "FAILED_PRECONDITION", "STORE_HAS_NO_ID"),
        (on(sidecar, "reconcile", "--app", app, "--groups", str(rows), *JSON), 1,
         "INVALID_ARGUMENT", "EXPORT_INVALID"),
        (run("catalog", "check", str(broken), *JSON), 1, "INVALID_ARGUMENT", "CATALOG_INVALID"),
        (run("catalog", "check", str(tmp_path / "none"), "--output=json"), 1, "INVALID_ARGUMENT",
         "CATALOG_INVALID"),
        (run("usage", *JSON), 2, "INVALID_ARGUMENT", "COMMAND_LINE"),
        (run("admin", "list-apps", "--output=json", "--nonesuch"), 2, "INVALID_ARGUMENT",
         "COMMAND_LINE"),
    ):
        told = error(done)
        assert (done.returncode, told["code"]) == (exit_code, code), (done, told)
        assert reason in (None, told["reason"]), told
    told = error(on(sidecar, "admin", "purchase-edition", app, "gold", "--months", "1", *JSON))
    (violation,) = told["details"]["field_violations"]
    assert violation["field"] == "edition_id" and '"professional"' in violation["description"]


def test_a_denial_is_an_exit_code_of_its_own_with_json_output(sidecar, tcp_app):
    users = [f"u{number}" for number in range(101)]
    tcp_app.create_accounts(*users[:100])
    done = on(sidecar, "quota", "create-accounts", "--app", tcp_app.id, users[100], *JSON)
    assert done.returncode == 3 and done.stderr == ""
    assert json.loads(done.stdout)["results"][0]["outcome"] == "OUTCOME_DENIED"


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_the_help_of_a_command_has_its_own_options_and_points_to_the_shared_ones(flag):
    for command in (["admin"], ["admin", "create-app"], ["quota", "join-group"], ["health"],
                    ["usage"], ["statement"], ["backup"], ["reconcile"], ["reconcile", "begin"],
                    ["admin", "journal", "retry"]):
        text = run(*command, flag).stdout
        assert "--tls-ca" not in text and "--timeout-ms <" not in text, command
        assert text.count("imquota help connection") == 1, command
    for command in (["help", "connection"], ["connection"], ["connection", flag]):
        text = run(*command).stdout
        for option in ("--address", "--timeout-ms", "--tls-ca", "--token-file", "--output"):
            assert f"{option} <" in text, (command, option)
    assert "connection" in run("--help").stdout
