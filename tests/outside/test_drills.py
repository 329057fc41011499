"""Fault drills: what each caller sees while the store is away, and that all of it is counted after.

Real processes throughout: a Redis, a proxy in front of it, the sidecar. Each drill spoils the way or
the server, calls meanwhile, mends it, and then reads in the store what should be there.
"""

import subprocess
import threading
import time
from contextlib import ExitStack, contextmanager

import grpc
import pytest
from google.rpc import error_details_pb2

from app import ALREADY_HELD, APPLIED, DENIED, App, names, outcomes
from details import detail
from http_port import get, metric
from redis_proxy import Proxy, Redis
from sidecar import Sidecar, binary, clean_environment, wait_until
from stubs import admin_pb, quota_pb

DEADLINE_S = 2.0
SLACK_S = 1.0
"""What a loaded machine may take beyond a deadline."""
PER_USER_MAX = 10
PER_GROUP_MAX = 50
BACK_WITHIN_S = 30
DOWN_S = 10
LOADED = 12
CHAINED = 300
"""Releases of one user: several seconds of replay over a slow way."""
FORCE = 4
"""Of `Mode`."""
"""Keys that are loaded slowly, half a second each."""


@contextmanager
def drilled(*settings: str, sidecar_settings=()):
    """A Redis, the proxy before it, a sidecar, and an app on the Professional edition."""
    with ExitStack() as stack:
        redis = stack.enter_context(Redis(*settings))
        proxy = stack.enter_context(Proxy(redis.port))
        sidecar = stack.enter_context(
            Sidecar(*sidecar_settings, store=proxy.url, management=True))
        app = stack.enter_context(App(sidecar))
        yield redis, proxy, sidecar, app


def join(app: App, group: str, *users: str, timeout: float = DEADLINE_S, mode: int = 0):
    """The whole answer, and how long it took."""
    request = quota_pb.JoinGroupRequest(
        app_id=app.id, group_id=group, user_ids=users, mode=mode)
    began = time.monotonic()
    answer = app.quota.JoinGroup(request, timeout=timeout)
    return answer, time.monotonic() - began


def leave(app: App, group: str, *users: str):
    """The whole answer."""
    request = quota_pb.LeaveGroupRequest(app_id=app.id, group_id=group, user_ids=users)
    return app.quota.LeaveGroup(request, timeout=DEADLINE_S)


def code(call) -> grpc.StatusCode:
    """The code that a call fails with."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code()


def drained(sidecar: Sidecar) -> None:
    """Waits until the journal is in the store."""
    empty = lambda: metric(sidecar.management_port, "imquota_journal_entries") == 0  # noqa: E731
    wait_until(empty, BACK_WITHIN_S, f"the journal is in the store\n{sidecar.read_log()[-3000:]}")


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


def follow_nobody(redis, _proxy):
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
    wait_until(lambda: "LOADING" in redis.cli("GET", "k"), 10, "it is loading")


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
"""By which the store is absent."""

REFUSALS = {
    "read_only": (follow_nobody, lead, ["replica"]),
    "out_of_memory": (fill, give_room, ["OOM"]),
    "denied": (forbid, permit, ["can't run this command", "ACL failure in script"]),
}
"""By which it answers, and refuses; the words for it of Redis 7.0, and of later servers."""


@pytest.mark.parametrize("name", DRILLS)
def test_a_store_that_is_away_costs_nobody_more_than_a_deadline_and_all_is_counted_after(name):
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
            assert answer.decision.degradation, "it says that it is not exact"
            admitted.append(user)
        # Long enough that the sidecar has given up waiting long since.
        while name == "down" and time.monotonic() - spoiled < DOWN_S:
            assert outcomes(leave(app, "g", "goes").results) == [APPLIED]
            time.sleep(0.5)
        assert sum(seen[15:]) < 0.2 * 15 + SLACK_S or name == "slow", f"late ones wait too: {seen}"

        # What gives back is accepted, whoever is away.
        answer = leave(app, "g", "goes")
        assert outcomes(answer.results) == [APPLIED]
        assert answer.decision.degradation, "it goes behind what is in the journal"
        # Closed limits decide nothing without the store, which a slow one still does.
        if name != "slow":
            request = quota_pb.CreateAccountsRequest(app_id=app.id, user_ids=["a"])
            began = time.monotonic()
            closed = code(lambda: app.quota.CreateAccounts(request, timeout=DEADLINE_S))
            # But for the one that finds out whether the server is back.
            again = code(lambda: app.quota.CreateAccounts(request, timeout=DEADLINE_S))
            took = time.monotonic() - began
            assert grpc.StatusCode.UNAVAILABLE in (closed, again), (closed, again)
            assert took < DEADLINE_S + SLACK_S, f"both waited, {took:.2f} s"

        # The budget of the group, which "owner" and others before have not touched.
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
        assert not answer.decision.degradation, "it is exact again"
        applied, held = [
            metric(sidecar.management_port, "imquota_journal_replayed_total", outcome=outcome)
            for outcome in ("applied", "held")]
        # What a slow store did, although its answer came too late, was there already.
        facts = len([*admitted, "goes"])
        assert applied <= facts <= applied + held


@pytest.mark.parametrize("name", REFUSALS)
def test_a_store_that_answers_and_refuses_opens_nothing(name):
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
            assert any(each in details for each in words), f"the server's own words: {details}"
            reason = detail(caught.value, error_details_pb2.ErrorInfo).reason
            assert reason != "FAILED", f"the data are not to blame: {details}"
        port = sidecar.management_port
        assert metric(port, "imquota_degraded_total") == 0
        assert metric(port, "imquota_journal_entries") == 0
        wait_until(lambda: metric(port, "imquota_store_refuses") == 1, 10, "it is reported")
        state = get(port, "/readyz?verbose")[1]
        assert any(each in state for each in words), state
        lines = sidecar.read_log().count
        assert lines("Redis refuses calls") + lines("cannot connect to Redis") <= 4, "not one each"
        gone = 0
        if name == "out_of_memory":
            # A release runs when memory is short, and is exact.
            answer = leave(app, "g", "goes")
            assert outcomes(answer.results) == [APPLIED]
            assert not answer.decision.degradation
            gone = 1
        mend(redis, proxy)
        answer, _ = join(app, "g", "back", timeout=20)
        assert outcomes(answer.results) == [APPLIED] and not answer.decision.degradation
        assert app.usages(group_id="g")["members_per_group"].used == before + 1 - gone


@pytest.mark.parametrize("rule", ["resetpass", "off"])
def test_a_server_that_refuses_the_password_opens_nothing(rule, tmp_path):
    """It answers each new connection, although none can be used."""
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
        # Far longer than a server may be silent.
        while time.monotonic() - began < 3:
            number += 1
            with pytest.raises(grpc.RpcError) as caught:
                join(app, "g", f"u{number}")
            assert caught.value.code() == grpc.StatusCode.UNAVAILABLE, caught.value
            assert "does not accept the user and password" in caught.value.details()
            assert metric(port, "imquota_breaker_open") == 0
            time.sleep(0.05)
        assert metric(port, "imquota_degraded_total") == 0
        assert metric(port, "imquota_journal_entries") == 0
        wait_until(lambda: get(port, "/readyz")[0] == 503, 30, "nothing can be decided")
        state = get(port, "/readyz?verbose")[1]
        assert "does not accept the user and password" in state and "policy" not in state, state
        redis.cli("ACL", "SETUSER", "imquota", "on", ">first")
        answer, _ = join(app, "g", "back", timeout=20)
        assert outcomes(answer.results) == [APPLIED] and not answer.decision.degradation


def test_a_server_that_others_keep_silent_is_absent_and_one_that_is_only_busy_for_us_is_not():
    """A long script of somebody else: `BUSY` is an answer, silence before it is none."""
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


def test_what_is_admitted_beyond_a_limit_is_bounded_and_whoever_is_over_is_told():
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
        # Denied a moment ago: denied still, with the same words.
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
        told = wait_until(lambda: [event for event in _events(app)
                                   if event.kind == admin_kind("JOURNAL_REPLAYED")],
                          BACK_WITHIN_S, "the report")
        assert [(event.count, event.over, event.failed) for event in told] == [
            (PER_USER_MAX, over_limit, 0)]
        assert told[0].subject.user_id == "nearly"
        # Whoever is over by it is denied now, and would be without the store too.
        answer, _ = join(app, "g49", "nearly", timeout=20)
        assert outcomes(answer.results) == [DENIED]
        proxy.refuse()
        answer, _ = join(app, "g49", "nearly")
        assert outcomes(answer.results) == [DENIED]


def admin_kind(name: str) -> int:
    return admin_pb.EventKind.Value(f"EVENT_KIND_{name}")


def _events(app: App):
    stream = app.administration.WatchEvents(
        admin_pb.WatchEventsRequest(app_id=app.id, resume_token="0"), timeout=1)
    events = []
    try:
        for answer in stream:
            if answer.HasField("event"):
                events.append(answer.event)
    except grpc.RpcError:
        pass
    return events


def test_the_journal_outlives_a_sidecar_that_is_killed_in_the_middle():
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
            # It starts although the store is away, and says so.
            sidecar.launch(sidecar.arguments(), clean_environment())
            wait_until(lambda: get_quietly(sidecar, "/livez") == 200, 20, "it lives")
            assert get(sidecar.management_port, "/readyz")[0] == 503
            assert get(sidecar.management_port, "/startupz")[0] == 503
            proxy.refuse(False)
            wait_until(lambda: get_quietly(sidecar, "/readyz") == 200, 20, "it is ready")
            with App(sidecar, app_id=app_id) as app:
                # Nothing overtakes what is still in the journal.
                answer, _ = join(app, "g", *acknowledged, timeout=20)
                assert outcomes(answer.results) == [ALREADY_HELD] * len(acknowledged)
                drained(sidecar)
                assert app.usages(group_id="g")["members_per_group"].used == len(acknowledged)
        finally:
            sidecar._clean_up()


def get_quietly(sidecar: Sidecar, path: str) -> int:
    """The status, or 0 where nobody listens."""
    try:
        return get(sidecar.management_port, path)[0]
    except OSError:
        return 0


def test_readiness_outlasts_a_blink_and_falls_with_a_longer_absence():
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
        wait_until(lambda: probe(sidecar) == 1, 10, "as a probe by exec asks")
        assert get(port, "/livez")[0] == 200 and get(port, "/startupz")[0] == 200
        assert metric(port, "imquota_store_up") == 0
        assert metric(port, "imquota_ready", service="quota_service") == 0
        proxy.refuse(False)
        wait_until(lambda: get(port, "/readyz")[0] == 200, 10, "it is back")


def probe(sidecar: Sidecar) -> int:
    """The exit code of a probe by exec, over the socket that an IM shares."""
    command = [binary(), "health", "--address", sidecar.unix,
               "--service", "imquota.v1.QuotaService"]
    return subprocess.run(command, capture_output=True, env=clean_environment()).returncode


def test_with_a_policy_that_admits_it_is_ready_for_decisions_without_the_store():
    with drilled(sidecar_settings=("--store-tolerance-ms", "500")) as (redis, proxy, sidecar, app):
        port = sidecar.management_port
        app.create_group("g")
        proxy.refuse()
        wait_until(lambda: metric(port, "imquota_store_up") == 0, 10, "it is missed")
        status, text = get(port, "/readyz?verbose")
        assert status == 200 and "the failure policy admits without the store" in text
        assert metric(port, "imquota_ready", service="quota_service") == 1
        assert metric(port, "imquota_ready", service="admin_service") == 0
        answer, _ = join(app, "g", "u")
        assert outcomes(answer.results) == [APPLIED]


def test_nothing_overtakes_what_is_in_the_journal():
    """A user who left without the store and comes back with it is a member in the end."""
    with drilled() as (redis, proxy, sidecar, app):
        app.upgrade()
        app.create_group("g", owner="stays")
        join(app, "g", *names("u", 40), timeout=20)
        for round_ in range(5):
            proxy.refuse()
            for user in names("u", 40):
                leave(app, "g", user)
            proxy.refuse(False)
            # Behind what is in the journal, or after it: never before.
            answer, _ = join(app, "g", *names("u", 40), timeout=20)
            assert outcomes(answer.results) == [APPLIED] * 40, f"round {round_}"
            drained(sidecar)
            assert app.usages(group_id="g")["members_per_group"].used == 41


def test_an_impatient_caller_is_no_reason_to_do_without_the_store():
    with drilled() as (redis, proxy, sidecar, app):
        app.create_group("g")
        proxy.slow(0.03)
        for number in range(20):
            late = code(lambda: join(app, "g", f"u{number}", timeout=0.04))
            assert late in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        assert metric(sidecar.management_port, "imquota_degraded_total") == 0
        answer, _ = join(app, "g", "patient")
        assert outcomes(answer.results) == [APPLIED] and not answer.decision.degradation


def test_an_app_that_asks_too_much_is_turned_away_and_others_are_not():
    # One subject is in work at a time, and 16 of an app wait.
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


def test_a_call_whose_turn_cannot_come_in_its_time_is_refused_and_waits_for_nothing():
    """A chain of releases of one user over a slow way, which cannot be put together."""
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
        # Until its pace is known, calls wait for their whole time.
        refusals = set()
        while in_store() < CHAINED * 3 // 4:
            with pytest.raises(grpc.RpcError) as caught:
                befriend("busy", 0.3)
            assert caught.value.code() == grpc.StatusCode.UNAVAILABLE, caught.value
            refusals.add("than fit into the call's time" in caught.value.details())
            assert not befriend("quiet", 20).decision.degradation, "others are decided"
        assert True in refusals, "no call was answered before its time was over"
        proxy.slow(0)
        drained(sidecar)
        assert not befriend("busy", 20).decision.degradation
