"""Fault drills: results for callers while the store is unavailable, and the replay afterwards.

All processes are real: a Redis, a proxy in front of it, the sidecar. Each drill injects a fault
into the network or the server, makes calls, repairs it, and then checks the facts in the store.
"""

import subprocess
import threading
import time

import grpc
import pytest
from google.rpc import error_details_pb2

from app import ALREADY_HELD, APPLIED, DENIED, App, names, outcomes
from details import detail
from http_port import get, metric
from outage import (
    BACK_WITHIN_S, DEADLINE_S, admin_kind, drained, drilled, events_until_now, join,
)
from redis_proxy import Proxy, Redis
from sidecar import Sidecar, binary, clean_environment, wait_until
from stubs import quota_pb

SLACK_S = 1.0
"""Allowance beyond a deadline, for a loaded machine."""
PER_USER_MAX = 10
PER_GROUP_MAX = 50
DOWN_S = 10
LOADED = 12
CHAINED = 300
"""Releases of one user: several seconds of replay over a slow network."""
FORCE = 4
"""Of `Mode`."""
"""Keys that are loaded slowly, half a second each."""


def leave(app: App, group: str, *users: str):
    """The whole response."""
    request = quota_pb.LeaveGroupRequest(app_id=app.id, group_id=group, user_ids=users)
    return app.quota.LeaveGroup(request, timeout=DEADLINE_S)


def code(call) -> grpc.StatusCode:
    """The status code of a failing call."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code()


def kill(redis, _proxy):
    redis.kill()


def restart(redis, _proxy):
    redis.start()


def slow(_redis, proxy):
    proxy.slow(0.5)


def fast(_redis, proxy):
    proxy.slow(0)


def swallow(_redis, proxy):
    proxy.swallow()


def let_through(_redis, proxy):
    proxy.swallow(False)


def replicate_nothing(redis, _proxy):
    redis.cli("REPLICAOF", "127.0.0.1", "1")


def lead(redis, _proxy):
    redis.cli("REPLICAOF", "NO", "ONE")


def fill(redis, _proxy):
    redis.cli("CONFIG", "SET", "maxmemory", "1")


def give_room(redis, _proxy):
    redis.cli("CONFIG", "SET", "maxmemory", "0")


def forbid(redis, _proxy):
    redis.cli("ACL", "SETUSER", "default", "-sadd")


def permit(redis, _proxy):
    redis.cli("ACL", "SETUSER", "default", "+sadd")


def load(redis, _proxy):
    redis.kill()
    threading.Thread(target=redis.start).start()
    wait_until(lambda: "LOADING" in redis.cli("GET", "k"), 10, "the server is loading")


def nothing(_redis, _proxy):
    pass


SLOW_LOADING = ["--key-load-delay", "500000", "--loading-process-events-interval-bytes", "1024",
                "--enable-debug-command", "yes"]

DRILLS = {
    "down": ([], kill, restart),
    "slow": ([], slow, fast),
    "black_hole": ([], swallow, let_through),
    "loading": (SLOW_LOADING, load, nothing),
}
"""Faults that make the store unavailable."""

REFUSALS = {
    "read_only": (replicate_nothing, lead, ["replica"]),
    "out_of_memory": (fill, give_room, ["OOM"]),
    "denied": (forbid, permit, ["can't run this command", "ACL failure in script"]),
}
"""Faults with error replies; the texts of Redis 7.0, and of later servers."""


@pytest.mark.parametrize("name", DRILLS)
def test_an_unavailable_store_costs_at_most_a_deadline_and_all_is_replayed(name):
    settings, spoil, mend = DRILLS[name]
    with drilled(*settings) as (redis, proxy, sidecar, app):
        app.upgrade()
        app.create_group("g", owner="owner")
        join(app, "g", "goes", "stays", timeout=20)
        if name == "loading":
            for number in range(LOADED):
                redis.cli("SET", f"slow{number}", "x" * 2000)
            redis.cli("BGREWRITEAOF")
            wait_until(lambda: "aof_rewrite_in_progress:0" in redis.cli("INFO", "persistence"),
                       20, "the file is written")
        spoil(redis, proxy)
        spoiled = time.monotonic()

        admitted, seen = [], []
        for number in range(30):
            user = f"u{number}"
            answer, took = join(app, "g", user)
            seen.append(took)
            assert outcomes(answer.results) == [APPLIED]
            assert took < DEADLINE_S + SLACK_S, f"{user} waited {took:.2f} s"
            assert answer.decision.degradation, "a degraded decision is labelled"
            admitted.append(user)
        # Long enough that the circuit breaker is open.
        while name == "down" and time.monotonic() - spoiled < DOWN_S:
            assert outcomes(leave(app, "g", "goes").results) == [APPLIED]
            time.sleep(0.5)
        assert sum(seen[15:]) < 0.2 * 15 + SLACK_S or name == "slow", f"later calls wait: {seen}"

        # Releases are accepted although the store is unavailable.
        answer = leave(app, "g", "goes")
        assert outcomes(answer.results) == [APPLIED]
        assert answer.decision.degradation, "it is queued behind the journal's entries"
        # Fail-closed limits decide nothing without the store; a slow store still decides.
        if name != "slow":
            request = quota_pb.CreateAccountsRequest(app_id=app.id, user_ids=["a"])
            began = time.monotonic()
            closed = code(lambda: app.quota.CreateAccounts(request, timeout=DEADLINE_S))
            # One of the two may be the half-open probe.
            again = code(lambda: app.quota.CreateAccounts(request, timeout=DEADLINE_S))
            took = time.monotonic() - began
            assert grpc.StatusCode.UNAVAILABLE in (closed, again), (closed, again)
            assert took < DEADLINE_S + SLACK_S, f"both took {took:.2f} s"

        # The budget of the group, which members from before the fault do not use.
        room = PER_GROUP_MAX - len(admitted)
        answer, _ = join(app, "g", *names("more", room))
        assert outcomes(answer.results) == [APPLIED] * room
        admitted += names("more", room)
        assert code(lambda: join(app, "g", "too-many")) == grpc.StatusCode.UNAVAILABLE

        mend(redis, proxy)
        drained(sidecar)
        wait_until(lambda: metric(sidecar.management_port, "imquota_breaker_open") == 0,
                   BACK_WITHIN_S, "the breaker closes")
        members = app.usages(group_id="g")["members_per_group"].used
        assert members == len(admitted) + len(["owner", "stays"])
        answer, _ = join(app, "g", *admitted, "goes", timeout=20)
        assert outcomes(answer.results) == [ALREADY_HELD] * len(admitted) + [APPLIED]
        assert not answer.decision.degradation, "decisions are exact again"
        applied, held = [
            metric(sidecar.management_port, "imquota_journal_replayed_total", outcome=outcome)
            for outcome in ("applied", "held")]
        # Calls that a slow store executed with a late reply are there already.
        facts = len([*admitted, "goes"])
        assert applied <= facts <= applied + held


@pytest.mark.parametrize("name", REFUSALS)
def test_a_store_with_error_replies_opens_no_limit(name):
    spoil, mend, words = REFUSALS[name]
    with drilled() as (redis, proxy, sidecar, app):
        app.create_group("g", owner="owner")
        join(app, "g", "goes", "stays", timeout=20)
        before = app.usages(group_id="g")["members_per_group"].used
        spoil(redis, proxy)
        for number in range(10):
            with pytest.raises(grpc.RpcError) as caught:
                join(app, "g", f"u{number}")
            assert caught.value.code() == grpc.StatusCode.UNAVAILABLE, caught.value
            details = caught.value.details()
            assert any(each in details for each in words), f"not the server's own text: {details}"
            reason = detail(caught.value, error_details_pb2.ErrorInfo).reason
            assert reason != "FAILED", f"the data are not the cause: {details}"
        port = sidecar.management_port
        assert metric(port, "imquota_degraded_total") == 0
        assert metric(port, "imquota_journal_entries") == 0
        wait_until(lambda: metric(port, "imquota_store_refuses") == 1, 10, "it is reported")
        state = get(port, "/readyz?verbose")[1]
        assert any(each in state for each in words), state
        lines = sidecar.read_log().count
        assert lines("Redis refuses calls") + lines("cannot connect to Redis") <= 4, "too many"
        gone = 0
        if name == "out_of_memory":
            # A release runs although memory is short, and is exact.
            answer = leave(app, "g", "goes")
            assert outcomes(answer.results) == [APPLIED]
            assert not answer.decision.degradation
            gone = 1
        mend(redis, proxy)
        answer, _ = join(app, "g", "back", timeout=20)
        assert outcomes(answer.results) == [APPLIED] and not answer.decision.degradation
        assert app.usages(group_id="g")["members_per_group"].used == before + 1 - gone


@pytest.mark.parametrize("rule", ["resetpass", "off"])
def test_a_server_that_refuses_the_password_opens_no_limit(rule, tmp_path):
    """The server replies on each new connection, although none can be used."""
    (tmp_path / "password").write_text("first")
    login = ("--redis-username", "imquota", "--redis-password-file", str(tmp_path / "password"))
    user = ("--user", "imquota", "on", ">first", "~*", "&*", "+@all")
    with drilled(*user, sidecar_settings=login) as (redis, _proxy, sidecar, app):
        port = sidecar.management_port
        app.create_group("g", owner="owner")
        redis.cli("ACL", "SETUSER", "imquota", rule)
        redis.cli("CLIENT", "KILL", "USER", "imquota")
        wait_until(lambda: metric(port, "imquota_store_refuses") == 1, 10, "it is reported")
        began = time.monotonic()
        number = 0
        # Far longer than the silence that opens the circuit breaker.
        while time.monotonic() - began < 3:
            number += 1
            with pytest.raises(grpc.RpcError) as caught:
                join(app, "g", f"u{number}")
            assert caught.value.code() == grpc.StatusCode.UNAVAILABLE, caught.value
            assert "rejects the user and password" in caught.value.details()
            assert metric(port, "imquota_breaker_open") == 0
            time.sleep(0.05)
        assert metric(port, "imquota_degraded_total") == 0
        assert metric(port, "imquota_journal_entries") == 0
        wait_until(lambda: get(port, "/readyz")[0] == 503, 30, "readiness fails")
        state = get(port, "/readyz?verbose")[1]
        assert "rejects the user and password" in state and "policy" not in state, state
        redis.cli("ACL", "SETUSER", "imquota", "on", ">first")
        answer, _ = join(app, "g", "back", timeout=20)
        assert outcomes(answer.results) == [APPLIED] and not answer.decision.degradation


def test_a_silent_server_is_absent_and_one_that_replies_busy_is_not():
    """A long script of another client: `BUSY` is a reply, the silence before it is not."""
    with drilled() as (redis, proxy, sidecar, app):
        app.create_group("g", owner="owner")
        redis.cli("CONFIG", "SET", "busy-reply-threshold", "100")
        script = "local t = redis.call('TIME')[1] + 3 while redis.call('TIME')[1] + 0 < t do end"
        busy = threading.Thread(target=lambda: redis.cli("EVAL", script, "0"))
        busy.start()
        time.sleep(0.5)
        refused = code(lambda: join(app, "g", "u", timeout=1.0))
        assert refused in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        assert metric(sidecar.management_port, "imquota_degraded_total") == 0
        busy.join()
        answer, _ = join(app, "g", "u", timeout=20)
        assert outcomes(answer.results) == [APPLIED]
        redis.cli("CONFIG", "SET", "busy-reply-threshold", "5000")
        silent = threading.Thread(target=lambda: redis.cli("EVAL", script, "0"))
        silent.start()
        time.sleep(0.2)
        answer, took = join(app, "g", "v", timeout=DEADLINE_S)
        assert outcomes(answer.results) == [APPLIED] and answer.decision.degradation
        silent.join()
        drained(sidecar)
        answer, _ = join(app, "g", "v", timeout=20)
        assert outcomes(answer.results) == [ALREADY_HELD]


def test_the_load_of_one_app_never_opens_the_policy():
    """Many large calls of one app, and another app's users at their limit, exact throughout."""
    with drilled() as (redis, proxy, sidecar, app):
        limit = 20
        app.create_group("g", group_type="Public")
        friends = names("f", limit)
        with App(sidecar) as quiet:
            stub = quiet.quota
            request = lambda user, ids: quota_pb.AddFriendsRequest(  # noqa: E731
                app_id=quiet.id, user_id=user, friend_ids=ids, one_way=True)
            stub.AddFriends(request("full", friends), timeout=20)
            stop = threading.Event()

            def flood():
                number = 0
                while not stop.is_set():
                    number += 1
                    many = [f"m{number}-{each}" for each in range(250)]
                    calls = [app.quota.AddFriends.future(quota_pb.AddFriendsRequest(
                        app_id=app.id, user_id=f"x{number}-{each}", friend_ids=many,
                        one_way=True, mode=FORCE), timeout=20)
                        for each in range(8)]
                    for call in calls:
                        call.exception()

            floods = [threading.Thread(target=flood) for _ in range(8)]
            for thread in floods:
                thread.start()
            try:
                usage = quiet.usages(user_id="full")["friends_per_user"]
                assert usage.used == limit <= usage.limit
                for number in range(100):
                    try:
                        stub.AddFriends(
                            request("full", names("n", 1, first=number)), timeout=DEADLINE_S)
                    except grpc.RpcError as error:
                        assert error.code() in (grpc.StatusCode.RESOURCE_EXHAUSTED,
                                                grpc.StatusCode.UNAVAILABLE,
                                                grpc.StatusCode.DEADLINE_EXCEEDED), error
            finally:
                stop.set()
                for thread in floods:
                    thread.join()
            assert metric(sidecar.management_port, "imquota_degraded_total") == 0
            usage = quiet.usages(user_id="full")["friends_per_user"]
            assert usage.used <= usage.limit


def test_admissions_beyond_a_limit_are_bounded_and_reported():
    with drilled() as (redis, proxy, sidecar, app):
        limit = 50  # Groups of a user on Trial.
        app.create_groups(names("g", limit + 2 * PER_USER_MAX))
        for group in names("g", limit):
            join(app, group, "full", timeout=20)
        answer, _ = join(app, f"g{limit}", "full", timeout=20)
        assert outcomes(answer.results) == [DENIED]
        for group in names("g", limit - 3):
            join(app, group, "nearly", timeout=20)

        proxy.refuse()
        over = names("g", 2 * PER_USER_MAX, first=limit)
        # Denied a moment ago: still denied, with the same text.
        answer, _ = join(app, over[0], "full")
        assert outcomes(answer.results) == [DENIED]
        assert answer.decision.degradation
        assert [denial.used for denial in answer.results[0].denials] == [limit]
        let_in = []
        for group in over:
            try:
                answer, _ = join(app, group, "nearly")
                assert outcomes(answer.results) == [APPLIED]
                let_in.append(group)
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.UNAVAILABLE
        assert len(let_in) == PER_USER_MAX, "the budget, and no more"

        proxy.refuse(False)
        drained(sidecar)
        used = app.usages(user_id="nearly")["groups_per_user"]
        assert (used.used, used.limit) == (limit - 3 + PER_USER_MAX, limit)
        over_limit = PER_USER_MAX - 3
        assert metric(sidecar.management_port, "imquota_journal_replayed_total",
                      outcome="over") == over_limit
        told = wait_until(lambda: [event for event in events_until_now(app)
                                   if event.kind == admin_kind("JOURNAL_REPLAYED")],
                          BACK_WITHIN_S, "the report")
        assert [(event.count, event.over, event.failed) for event in told] == [
            (PER_USER_MAX, over_limit, 0)]
        assert told[0].subject.user_id == "nearly"
        # The user over the limit is denied now, and also without the store.
        answer, _ = join(app, "g49", "nearly", timeout=20)
        assert outcomes(answer.results) == [DENIED]
        proxy.refuse()
        answer, _ = join(app, "g49", "nearly")
        assert outcomes(answer.results) == [DENIED]


def test_the_journal_survives_a_kill_of_the_sidecar():
    with Redis() as redis, Proxy(redis.port) as proxy:
        sidecar = Sidecar(store=proxy.url, management=True)
        sidecar.start()
        try:
            with App(sidecar) as app:
                app.upgrade()
                app.create_group("g")
                join(app, "g", "goes", timeout=20)
                proxy.refuse()
                acknowledged = []
                for number in range(40):
                    join(app, "g", f"u{number}")
                    acknowledged.append(f"u{number}")
                leave(app, "g", "goes")
                app_id = app.id
            sidecar.kill()
            # It starts although the store is unavailable, and reports that.
            sidecar.launch(sidecar.arguments(), clean_environment())
            wait_until(lambda: get_quietly(sidecar, "/livez") == 200, 20, "it lives")
            assert get(sidecar.management_port, "/readyz")[0] == 503
            assert get(sidecar.management_port, "/startupz")[0] == 503
            proxy.refuse(False)
            wait_until(lambda: get_quietly(sidecar, "/readyz") == 200, 20, "the sidecar is ready")
            with App(sidecar, app_id=app_id) as app:
                # Nothing overtakes the entries of the journal.
                answer, _ = join(app, "g", *acknowledged, timeout=20)
                assert outcomes(answer.results) == [ALREADY_HELD] * len(acknowledged)
                drained(sidecar)
                assert app.usages(group_id="g")["members_per_group"].used == len(acknowledged)
        finally:
            sidecar._clean_up()


def get_quietly(sidecar: Sidecar, path: str) -> int:
    """The status, or 0 if the connection is refused."""
    try:
        return get(sidecar.management_port, path)[0]
    except OSError:
        return 0


def test_readiness_survives_a_short_outage_and_falls_with_a_longer_one():
    settings = ("--store-tolerance-ms", "2000", "--journal", "off")
    with drilled(sidecar_settings=settings) as (redis, proxy, sidecar, app):
        port = sidecar.management_port
        assert get(port, "/readyz") == (200, "ok\n")
        assert probe(sidecar) == 0
        proxy.refuse()
        began = time.monotonic()
        while time.monotonic() - began < 1.0:
            assert get(port, "/readyz")[0] == 200, "a blink"
            time.sleep(0.05)
        proxy.refuse(False)
        wait_until(lambda: metric(port, "imquota_store_silent_seconds") < 1, 10, "an answer")
        proxy.refuse()
        wait_until(lambda: get(port, "/readyz")[0] == 503, 10, "it falls")
        status, text = get(port, "/readyz?verbose")
        assert status == 503 and "[-]store failed: silent for " in text and "[+]started ok" in text
        wait_until(lambda: probe(sidecar) == 1, 10, "the exec probe fails")
        assert get(port, "/livez")[0] == 200 and get(port, "/startupz")[0] == 200
        assert metric(port, "imquota_store_up") == 0
        assert metric(port, "imquota_ready", service="quota_service") == 0
        proxy.refuse(False)
        wait_until(lambda: get(port, "/readyz")[0] == 200, 10, "readiness recovers")


def probe(sidecar: Sidecar) -> int:
    """The exit code of an exec probe, over the socket that the IM uses."""
    command = [binary(), "health", "--address", sidecar.unix,
               "--service", "imquota.v1.QuotaService"]
    return subprocess.run(command, capture_output=True, env=clean_environment()).returncode


def test_with_a_policy_that_admits_it_is_ready_for_decisions_without_the_store():
    with drilled(sidecar_settings=("--store-tolerance-ms", "500")) as (redis, proxy, sidecar, app):
        port = sidecar.management_port
        app.create_group("g")
        proxy.refuse()
        wait_until(lambda: metric(port, "imquota_store_up") == 0, 10, "the store is down")
        status, text = get(port, "/readyz?verbose")
        assert status == 200 and "the failure policy admits without the store" in text
        assert metric(port, "imquota_ready", service="quota_service") == 1
        assert metric(port, "imquota_ready", service="admin_service") == 0
        answer, _ = join(app, "g", "u")
        assert outcomes(answer.results) == [APPLIED]


def test_nothing_overtakes_the_entries_of_the_journal():
    """A user who left without the store and joins again with it is a member in the end."""
    with drilled() as (redis, proxy, sidecar, app):
        app.upgrade()
        app.create_group("g", owner="stays")
        join(app, "g", *names("u", 40), timeout=20)
        for round_ in range(5):
            proxy.refuse()
            for user in names("u", 40):
                leave(app, "g", user)
            proxy.refuse(False)
            # Behind the journal's entries, or after their replay: never before.
            answer, _ = join(app, "g", *names("u", 40), timeout=20)
            assert outcomes(answer.results) == [APPLIED] * 40, f"round {round_}"
            drained(sidecar)
            assert app.usages(group_id="g")["members_per_group"].used == 41


def test_a_short_deadline_does_not_make_the_store_absent():
    with drilled() as (redis, proxy, sidecar, app):
        app.create_group("g")
        proxy.slow(0.03)
        for number in range(20):
            late = code(lambda: join(app, "g", f"u{number}", timeout=0.04))
            assert late in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        assert metric(sidecar.management_port, "imquota_degraded_total") == 0
        answer, _ = join(app, "g", "patient")
        assert outcomes(answer.results) == [APPLIED] and not answer.decision.degradation


def test_an_app_with_too_many_calls_is_rejected_and_others_are_not():
    # One operation per subject runs at a time, and 16 of an app wait.
    settings = ("--subjects-in-flight-max", "1", "--journal", "off")
    with drilled(sidecar_settings=settings) as (redis, proxy, sidecar, app):
        app.create_accounts("a")
        with App(sidecar) as other:
            proxy.slow(0.01)
            request = quota_pb.CreateAccountsRequest(app_id=app.id, user_ids=["a"])
            calls = [app.quota.CreateAccounts.future(request, timeout=10) for _ in range(60)]
            assert outcomes(other.create_accounts("b")) == [APPLIED]
            failed = [call.exception() for call in calls if call.exception()]
            assert failed and all(
                each.code() == grpc.StatusCode.RESOURCE_EXHAUSTED for each in failed)
            assert 60 - 17 <= len(failed) < 60
        shed = [metric(sidecar.management_port, "imquota_shed_total", reason=reason)
                for reason in ("full", "late")]
        assert sum(shed) == len(failed) and shed[0] >= 60 - 17


def test_a_call_that_cannot_run_before_its_deadline_is_refused_immediately():
    """A chain of releases of one user over a slow network, which cannot be combined."""
    with drilled() as (_redis, proxy, sidecar, app):
        befriend = lambda user, timeout: app.quota.AddFriends(  # noqa: E731
            quota_pb.AddFriendsRequest(app_id=app.id, user_id=user, friend_ids=["new"],
                                       one_way=True), timeout=timeout)
        befriend("busy", 20)
        proxy.refuse()
        for number in range(CHAINED):
            request = quota_pb.RemoveFriendsRequest(
                app_id=app.id, user_id="busy", friend_ids=["f"], one_way=number % 2 == 0)
            answer = app.quota.RemoveFriends(request, timeout=20)
            assert answer.decision.degradation
        proxy.slow(0.02)
        proxy.refuse(False)
        port = sidecar.management_port
        in_store = lambda: CHAINED - metric(port, "imquota_journal_entries")  # noqa: E731
        wait_until(lambda: in_store() > 0, BACK_WITHIN_S, "the replay has begun")
        # Until the replay rate is measured, calls wait until their deadline.
        refusals = set()
        while in_store() < CHAINED * 3 // 4:
            with pytest.raises(grpc.RpcError) as caught:
                befriend("busy", 0.3)
            assert caught.value.code() == grpc.StatusCode.UNAVAILABLE, caught.value
            refusals.add("than fit into the call's time" in caught.value.details())
            assert not befriend("quiet", 20).decision.degradation, "others are decided"
        assert True in refusals, "no call was refused before its deadline"
        proxy.slow(0)
        drained(sidecar)
        assert not befriend("busy", 20).decision.degradation
