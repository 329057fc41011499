"""A journal entry that its server cannot execute is blocked, and only its dependents wait.

All processes are real. An app's group is damaged in Redis while the sidecar cannot reach Redis: its
key gets a value of another type. The entry of that group is blocked, and all entries of its users
and group wait; all others reach the store. An owner retries the blocked entry, or drops it.
"""

import json
from contextlib import contextmanager

import grpc
import pytest

from app import ALREADY_HELD, APPLIED, App, outcomes
from details import error_info, error_of
from http_port import get, metric
from journal import BLOCKED_WITHIN_S, Damage, cli, keys, listed
from outage import BACK_WITHIN_S, admin_kind, drilled, events_until_now
from redis_proxy import Redis
from sidecar import Sidecar, wait_until
from stubs import admin_pb, common_pb, quota_pb

DEADLINE_S = 5


def members_key(redis: Redis, app: App) -> str:
    """The key of the members of "broken", found as the one new set."""
    before = keys(redis)
    assert outcomes(app.join("broken", "old")) == [APPLIED]
    (key,) = [key for key in keys(redis) - before if redis.cli("TYPE", key) == "set"]
    return key


def join(app: App, group: str, *users: str):
    request = quota_pb.JoinGroupRequest(app_id=app.id, group_id=group, user_ids=users)
    return app.quota.JoinGroup(request, timeout=DEADLINE_S)


def leave(app: App, group: str, *users: str):
    request = quota_pb.LeaveGroupRequest(app_id=app.id, group_id=group, user_ids=users)
    return app.quota.LeaveGroup(request, timeout=DEADLINE_S)


def is_member(app: App, group: str, user: str) -> bool:
    """Returns whether the store has the member, by a dry run."""
    request = quota_pb.JoinGroupRequest(
        app_id=app.id, group_id=group, user_ids=[user], mode=common_pb.MODE_CHECK_ONLY)
    answer = app.quota.JoinGroup(request, timeout=DEADLINE_S)
    assert not answer.decision.degradation
    return outcomes(answer.results) == [ALREADY_HELD]


def waits(sidecar: Sidecar) -> float:
    return metric(sidecar.management_port, "imquota_journal_entries")


def is_blocked(sidecar: Sidecar, entries: int) -> None:
    """Waits until one entry is blocked and `entries` are in the journal."""
    wait_until(lambda: (metric(sidecar.management_port, "imquota_journal_blocked"),
                        waits(sidecar)) == (1, entries),
               BLOCKED_WITHIN_S, f"one is blocked\n{sidecar.read_log()[-3000:]}")


def assert_refused(call, number: int) -> None:
    """Fails unless the call is refused because of that entry, with its number."""
    error = error_of(call)
    assert error.code() == grpc.StatusCode.UNAVAILABLE, error
    info = error_info(error)
    assert (info.domain, info.reason) == ("imquota.v1", "JOURNAL_BLOCKED"), error
    assert info.metadata["entry"] == str(number)
    assert f"entry {number} " in error.details() and "WRONGTYPE" in error.details()
    assert f"imquota admin journal retry {number}" in error.details()


def readiness(sidecar: Sidecar, line: str) -> None:
    """Waits until readiness has that line; it is updated once a second."""
    def text() -> str:
        return get(sidecar.management_port, "/readyz?verbose")[1]
    wait_until(lambda: line in text(), BACK_WITHIN_S, f"{line}, not\n{text()}")


@contextmanager
def damaged():
    """A sidecar whose journal has a blocked entry of one app, and entries behind it."""
    with drilled() as (redis, proxy, sidecar, app), App(sidecar) as other:
        for each in (app, other):
            each.upgrade()
        app.create_group("sound", owner="old")
        app.create_group("behind")
        app.create_group("broken")
        other.create_group("g")
        key = members_key(redis, app)
        proxy.refuse()
        damage = Damage(redis, key)
        for of, group, users in [(app, "broken", ["u1", "v1"]), (app, "sound", ["u2"]),
                                 (other, "g", ["u1"]), (app, "behind", ["u1"])]:
            answer = join(of, group, *users)
            assert outcomes(answer.results) == [APPLIED] * len(users)
            assert answer.decision.degradation
        proxy.refuse(False)
        is_blocked(sidecar, entries=2)
        yield sidecar, app, other, damage


def test_a_damaged_key_blocks_only_its_users_and_group_and_the_chain_is_retried_in_order():
    with damaged() as (sidecar, app, other, damage):
        # Operations of the other app, and of other groups and users, are in the store.
        assert is_member(other, "g", "u1") and is_member(app, "sound", "u2")
        answer = join(app, "sound", "u3")
        assert outcomes(answer.results) == [APPLIED] and not answer.decision.degradation

        (blocked,) = listed(sidecar, "--blocked")
        number = int(blocked["number"])
        assert blocked["app_id"] == app.id and blocked["operation"] == "join_group"
        assert blocked["state"] == "JOURNAL_ENTRY_STATE_BLOCKED"
        assert "WRONGTYPE" in blocked["store_message"]
        assert {"user_id": "u1"} in blocked["subjects"], blocked
        assert {"group_id": "broken"} in blocked["subjects"], blocked
        stuck = listed(sidecar)[1]
        assert stuck["state"] == "JOURNAL_ENTRY_STATE_STUCK"
        assert int(stuck["blocked_by"]) == number

        assert_refused(lambda: join(app, "broken", "late"), number)
        assert_refused(lambda: join(app, "sound", "v1"), number)
        assert_refused(lambda: join(app, "behind", "late"), number)
        answer = leave(app, "broken", "u1")
        assert outcomes(answer.results) == [APPLIED] and answer.decision.degradation
        assert waits(sidecar) == 3, "it is behind the blocked one"

        readiness(sidecar, f"[-]journal-entry/{number} failed: blocked: join_group")
        (event,) = wait_until(lambda: [event for event in events_until_now(app)
                                       if event.kind == admin_kind("JOURNAL_BLOCKED")],
                              BACK_WITHIN_S, "the event")
        assert (event.journal_entry, event.operation) == (number, "join_group")
        assert "WRONGTYPE" in event.store_message
        assert sidecar.read_log().count("journal entry blocked") == 1

        app_id = app.id
        sidecar.stop()
        sidecar.start()
        is_blocked(sidecar, entries=3)
        with App(sidecar, app_id=app_id) as app:
            assert_refused(lambda: join(app, "broken", "late"), number)
            # Not before the key is repaired; and not for another app.
            assert "no entry" in cli(
                sidecar, "journal", "retry", str(number), "--app", "another", code=1)
            cli(sidecar, "journal", "retry", str(number))
            is_blocked(sidecar, entries=3)
            damage.repair()
            cli(sidecar, "journal", "retry", str(number), "--request-id", "retry-1")
            wait_until(lambda: waits(sidecar) == 0, BACK_WITHIN_S, "the chain is replayed")
            assert metric(sidecar.management_port, "imquota_journal_blocked") == 0
            # The leave came after the join.
            members = {user: is_member(app, "broken", user) for user in ("old", "u1", "v1")}
            assert members == {"old": True, "u1": False, "v1": True}
            assert is_member(app, "behind", "u1")
            answer = join(app, "broken", "late")
            assert outcomes(answer.results) == [APPLIED] and not answer.decision.degradation

            # A repetition has the first response; another request finds no entry.
            cli(sidecar, "journal", "retry", str(number), "--request-id", "retry-1")
            error = error_of(lambda: app.administration.RetryJournalEntry(
                admin_pb.RetryJournalEntryRequest(request_id="retry-2", number=number),
                timeout=DEADLINE_S))
            assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
            assert error_info(error).reason == "JOURNAL_ENTRY_NOT_BLOCKED"
            error = error_of(lambda: app.administration.RetryJournalEntry(
                admin_pb.RetryJournalEntryRequest(request_id="retry-1", number=number + 1),
                timeout=DEADLINE_S))
            assert error.code() == grpc.StatusCode.ALREADY_EXISTS
            assert_logged(app, "RetryJournalEntry", "retry-1", number)


def assert_logged(app: App, action: str, request_id: str, number: int) -> None:
    """Fails unless the audit log has the request, and the whole entry."""
    entries = app.administration.ListAuditEvents(
        admin_pb.ListAuditEventsRequest(action=action, request_id=request_id)).events
    (entry,) = entries
    assert entry.app_id == app.id
    assert json.loads(entry.request)["number"] == number
    after = json.loads(entry.after)
    assert "WRONGTYPE" in after["reason"]
    assert after["entry"]["operation"] == {
        "join_group": {"group": "broken", "users": ["u1", "v1"]}}


@pytest.mark.parametrize("restarts", [False, True])
def test_a_dropped_entry_is_never_executed_and_the_chain_continues(restarts):
    with damaged() as (sidecar, app, _other, damage):
        leave(app, "broken", "u1")
        (blocked,) = listed(sidecar, "--blocked")
        number = int(blocked["number"])
        damage.repair()
        is_blocked(sidecar, entries=3)
        app_id = app.id
        dropped = json.loads(cli(sidecar, "journal", "drop", str(number), "--app", app_id,
                                 "--request-id", "drop-1", "--output", "json"))
        assert int(dropped["entry"]["number"]) == number
        wait_until(lambda: waits(sidecar) == 0, BACK_WITHIN_S, "the rest of the chain is replayed")
        assert listed(sidecar) == []
        if restarts:
            sidecar.kill()
            sidecar.start()
            assert waits(sidecar) == 0
        with App(sidecar, app_id=app_id) as app:
            members = {user: is_member(app, "broken", user) for user in ("old", "u1", "v1")}
            assert members == {"old": True, "u1": False, "v1": False}
            assert is_member(app, "behind", "u1"), "the entry behind it was replayed"
            repeated = json.loads(cli(sidecar, "journal", "drop", str(number), "--app", app_id,
                                      "--request-id", "drop-1", "--output", "json"))
            assert repeated == dropped, "the response is the first one"
            assert_logged(app, "DropJournalEntry", "drop-1", number)
            assert "no entry" in cli(sidecar, "journal", "drop", str(number), code=1)


def test_a_refusing_server_is_one_event_a_minute():
    with drilled() as (redis, _proxy, sidecar, app):
        app.create_group("g")
        redis.cli("CONFIG", "SET", "maxmemory", "1")
        for number in range(20):
            error = error_of(lambda: join(app, "g", f"u{number}"))
            assert error.code() == grpc.StatusCode.UNAVAILABLE
        wait_until(lambda: metric(sidecar.management_port, "imquota_store_refuses") == 1,
                   BACK_WITHIN_S, "the refusal is reported")
        readiness(sidecar, "refuses calls: OOM")
        redis.cli("CONFIG", "SET", "maxmemory", "0")
        with App(sidecar) as whole:
            whole.id = ""  # Events of all apps and of none.

            def refusals():
                return [event for event in events_until_now(whole)
                        if event.kind == admin_kind("STORE_REFUSES")]
            told = wait_until(refusals, BACK_WITHIN_S, "the event")
        codes = [event.store_message.split()[0] for event in told]
        assert codes.count("OOM") == 1, told
        oom = told[codes.index("OOM")]
        assert oom.app_id == "" and oom.server.startswith("127.0.0.1:")
