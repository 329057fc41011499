"""Ids that a catalog with `[ids]` allows: in calls, commands, files of an export, events, the journal."""

import csv
import json
import re
import subprocess

import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2

from app import APPLIED, NOT_HELD, App, denial_of, outcomes
from details import INVALID_ARGUMENT, bad_fields, detail, error_of
from http_port import get
from outage import admin_kind, drained, drilled, events_until_now, join
from sidecar import Sidecar, binary, clean_environment, wait_until

USERS = [
    "123e4567-e89b-12d3-a456-426614174000", "@ann:matrix.example.org",
    "ann@xmpp.example.org/phone", "张三", "三" * 85, "u" * 255,
    # Emoji with joiners, with a skin tone, a flag; Persian with a joiner; quotes and a comma.
    "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f44d\U0001f3fd\U0001f1e8\U0001f1f3",
    "می\u200cخواهم", '"a,b",\'c\\', " ",
]
GROUP = "群" * 85
WIDE = {"user_max_bytes": 255, "group_max_bytes": 255, "charset": '"utf8"'}
NARROW = {"user_max_bytes": 32, "group_max_bytes": 48, "charset": '"ascii"'}


def _catalog(rules: dict) -> str:
    text = subprocess.run([binary(), "catalog", "show"], capture_output=True, text=True,
                          check=True).stdout
    for key, value in rules.items():
        text, count = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", text)
        assert count == 1, key
    return text


@pytest.fixture
def catalog(tmp_path):
    """The file of the sidecar's catalog."""
    return tmp_path / "catalog.toml"


@pytest.fixture
def app(catalog):
    """An app of a sidecar whose catalog allows every id that a catalog can allow."""
    catalog.write_text(_catalog(WIDE))
    with Sidecar("--catalog", str(catalog)) as running, App(running) as new:
        new.sidecar = running
        yield new


def _cli(app: App, *arguments: str, address: str = "") -> str:
    # Before the arguments of which `--` ends the options.
    at = arguments.index("--") if "--" in arguments else len(arguments)
    options = ("--address", address or app.sidecar.admin)
    command = [binary(), *arguments[:at], *options, *arguments[at:]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60,
                          env=clean_environment())
    # 4: there are differences.
    assert done.returncode in (0, 4), done.stderr
    return done.stdout


def test_the_built_in_catalog_refuses_what_it_refused(tcp_app):
    for user in [user for user in USERS if len(user.encode()) > 32 or not user.isascii()]:
        error = error_of(lambda user=user: tcp_app.create_accounts("ok", user))
        assert error.code() == INVALID_ARGUMENT and list(bad_fields(error)) == ["user_ids[1]"]
    assert tcp_app.accounts() == 0


def test_every_id_makes_a_round_trip(app):
    answer = app.create_accounts(*USERS)
    assert outcomes(answer) == [APPLIED] * len(USERS)
    assert [result.id for result in answer] == USERS
    app.add_friends("张三", "@ann:matrix.example.org")
    assert app.friends("张三") == app.friends("@ann:matrix.example.org") == 1
    created = app.create_group(GROUP, "Public", USERS[0], USERS[1:])
    assert created.group.outcome == APPLIED and created.group.id == GROUP
    assert app.members(GROUP) == len(USERS)
    assert outcomes(app.leave(GROUP, "张三").results) == [APPLIED]
    assert app.members(GROUP) == len(USERS) - 1


def test_a_denial_and_the_list_of_denials_name_the_id(app):
    app.create_group(GROUP, "Public", USERS[0], [f"用户{number}" for number in range(19)])
    (result,) = app.join(GROUP, "张三")
    denial = denial_of(result, "MEMBERS_PER_GROUP")
    assert denial.subject.group_id == GROUP and f'group "{GROUP}"' in denial.message

    def named() -> bool:
        top = json.loads(_cli(app, "admin", "top-denials", "--output", "json"))
        return GROUP in json.dumps(top, ensure_ascii=False)

    wait_until(named, 20, "the denial in the list")


def test_an_event_names_the_id(app):
    passed = admin_kind("LIMIT_PASSED")
    app.create_group(GROUP, "Public", USERS[0], [f"用户{number}" for number in range(19)])
    wait_until(
        lambda: any(event.kind == passed and GROUP in str(MessageToDict(event))
                    for event in events_until_now(app)),
        20, "the event")


def test_the_error_of_a_denial_fits_into_a_header(app):
    app.create_group(GROUP, "Public", USERS[0], [f"用户{number}" for number in range(19)])
    users = [f"{number:02}{'户' * 84}" for number in range(50)]
    metadata = [("imquota-deny-as-error", "1")]
    error = error_of(lambda: app.join(GROUP, *users, metadata=metadata))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    failure = detail(error, error_details_pb2.QuotaFailure)
    assert failure.violations[0].subject == f"group:{GROUP}"


def test_commands_take_and_show_every_id(app):
    of_app = ("--app", app.id)
    made = json.loads(_cli(
        app, "quota", "create-accounts", *of_app, "--output", "json", "--", *USERS,
        address=app.sidecar.tcp))
    assert [result["id"] for result in made["results"]] == USERS
    _cli(app, "quota", "create-group", *of_app, "--group", GROUP, "--type", "Public",
         address=app.sidecar.tcp)
    for user in USERS:
        shown = _cli(app, "quota", "join-group", *of_app, "--group", GROUP, "--", user,
                     address=app.sidecar.tcp)
        assert user.strip() in shown
        usage = _cli(app, "usage", *of_app, "--user", user, "--output", "json",
                     address=app.sidecar.tcp)
        used = {it["limit_id"]: it["used"] for it in json.loads(usage)["usages"]}
        assert int(used["groups_per_user"]) == 1
    assert app.members(GROUP) == len(USERS)


def test_the_journal_keeps_and_replays_every_id(catalog):
    catalog.write_text(_catalog(WIDE))
    settings = ("--catalog", str(catalog))
    with drilled(sidecar_settings=settings) as (_redis, proxy, sidecar, app):
        app.upgrade()
        app.create_group(GROUP)
        proxy.refuse()
        for user in USERS:
            answer, _ = join(app, GROUP, user)
            assert outcomes(answer.results) == [APPLIED] and answer.decision.degradation
        sidecar.kill()
        # Entries that were accepted under wider rules are replayed under narrower ones too.
        catalog.write_text(_catalog(NARROW))
        sidecar.launch(sidecar.arguments(), clean_environment())
        proxy.refuse(False)
        wait_until(lambda: get_quietly(sidecar), 30, "the sidecar is ready")
        with App(sidecar, app_id=app.id) as again:
            drained(sidecar)
            assert again.members(GROUP) == len(USERS)
            left = again.leave(GROUP, *USERS)
            assert outcomes(left.results) == [APPLIED] * len(USERS)


def get_quietly(sidecar: Sidecar) -> bool:
    """Returns whether the sidecar is ready."""
    try:
        return get(sidecar.management_port, "/readyz")[0] == 200
    except OSError:
        return False


def test_after_narrower_rules_everything_can_be_released(app, catalog):
    app.create_accounts(*USERS)
    app.create_group(GROUP, "Public", USERS[0], USERS[1:])
    app.add_friends("张三", USERS[0])
    catalog.write_text(_catalog(NARROW))

    def refuses() -> bool:
        try:
            app.create_accounts("张三")
        except Exception as error:  # noqa: BLE001
            return error.code() == INVALID_ARGUMENT
        return False

    wait_until(refuses, 30, "the narrower rules")
    assert app.members(GROUP) == len(USERS)
    error = error_of(lambda: app.join(GROUP, "ok"))
    assert list(bad_fields(error)) == ["group_id"]
    assert outcomes(app.leave(GROUP, "张三").results) == [APPLIED]
    assert outcomes(app.remove_friends("张三", USERS[0])) == [APPLIED]
    assert app.dissolve(GROUP).result.outcome == APPLIED
    assert outcomes(app.delete_accounts(*USERS)) == [APPLIED] * len(USERS)
    assert outcomes(app.delete_accounts(USERS[-1])) == [NOT_HELD]
    assert app.accounts() == 0


def test_the_longest_list_of_the_longest_ids_is_reconciled_in_one_message(app, tmp_path):
    members = [f"{number:05}".ljust(255, "u") for number in range(20_000)]
    file = tmp_path / "groups.jsonl"
    group = {"group_id": "g" * 255, "type": "ChatRoom", "member_ids": members}
    file.write_text(json.dumps(group) + "\n")
    _cli(app, "reconcile", "--app", app.id, "--groups", str(file), "--import")
    assert app.members("g" * 255) == len(members)


def test_requests_of_other_calls_have_a_megabyte(app):
    for count, code in [(4_000, INVALID_ARGUMENT), (4_100, grpc.StatusCode.OUT_OF_RANGE)]:
        error = error_of(lambda count=count: app.admin(
            "PreviewEntitlement", user_ids=["u" * 255] * count))
        assert error.code() == code, count


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_an_export_may_have_every_id(app, tmp_path, form):
    file = tmp_path / f"groups.{form}"
    with file.open("w", encoding="utf-8", newline="") as out:
        if form == "csv":
            rows = csv.writer(out, lineterminator="\n")
            rows.writerows([("group_id", "type", "member_id"),
                            *((GROUP, "Public", user) for user in USERS)])
        else:
            group = {"group_id": GROUP, "type": "Public", "member_ids": USERS}
            out.write(json.dumps(group) + "\n")
    compared = _cli(app, "reconcile", "--app", app.id, "--groups", str(file))
    assert "张三" in compared and GROUP in re.sub(r"\s", "", compared)
    _cli(app, "reconcile", "--app", app.id, "--groups", str(file), "--import")
    assert app.members(GROUP) == len(USERS)
    assert app.groups("张三") == 1
