"""Errors without a decision: an unavailable store, one that is slower than the deadline, and void
entries of the journal.

Tests the errors of callers and of the command line, the probes and the log.
"""

import re
import subprocess
import time

import grpc
import pytest

from app import App, names
from details import error_info, error_of
from http_port import get, metric
from outage import drained, drilled, join
from redis_proxy import Proxy, Redis
from sidecar import Sidecar, binary, clean_environment, wait_until
from stubs import admin_pb, common_pb, metering_pb, quota_pb

LONG_ENOUGH_S = 3.0
"""Six times `--store-timeout-ms`: by then the circuit breaker of a missing store is open."""
UNAVAILABLE, LATE = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED
USAGE = common_pb.Subject(app=common_pb.AppSubject())


def calls(app: App) -> dict:
    """Calls that need the store, each with its timeout."""
    of_app = {"app_id": app.id}
    usage = quota_pb.GetUsageRequest(**of_app, subject=USAGE)
    of_user = quota_pb.GetUsageRequest(**of_app, subject=common_pb.Subject(user_id="u"))
    admin, billing = app.administration, app.metering_admin
    return {
        "GetUsage": lambda s: app.quota.GetUsage(usage, timeout=s),
        "GetUsage of a user": lambda s: app.quota.GetUsage(of_user, timeout=s),
        "GetApp": lambda s: admin.GetApp(admin_pb.GetAppRequest(**of_app), timeout=s),
        "ListApps": lambda s: admin.ListApps(admin_pb.ListAppsRequest(), timeout=s),
        "ListAuditEvents": lambda s: admin.ListAuditEvents(
            admin_pb.ListAuditEventsRequest(), timeout=s),
        "PreviewEntitlement": lambda s: admin.PreviewEntitlement(
            admin_pb.PreviewEntitlementRequest(**of_app), timeout=s),
        "GetStatement": lambda s: billing.GetStatement(
            metering_pb.GetStatementRequest(**of_app), timeout=s),
    }


@pytest.mark.parametrize("spoil", [
    lambda redis, proxy: redis.freeze(), lambda redis, proxy: proxy.refuse()],
    ids=["frozen", "refused"])
def test_every_read_without_the_store_is_unavailable(spoil):
    with drilled() as (redis, proxy, sidecar, app):
        app.upgrade()
        spoil(redis, proxy)
        for name, call in calls(app).items():
            for seconds in (LONG_ENOUGH_S, 5.0, LONG_ENOUGH_S):
                error = error_of(lambda: call(seconds))  # noqa: B023
                assert error.code() == UNAVAILABLE, (name, seconds, error)
                assert error_info(error), (name, error)
                said = error.details()
                assert "was done" not in said, f"{name} is a read: {said}"
        redis.thaw()


def test_every_deadline_below_the_round_trip_is_deadline_exceeded():
    with drilled() as (redis, proxy, sidecar, app):
        app.upgrade()
        app.create_group("g")
        # In both directions, and faster than the probe's timeout: the server counts as available.
        proxy.slow(0.03)
        takes = {
            "JoinGroup": lambda s: join(app, "g", "u", timeout=s),
            "CreateAccounts": lambda s: app.quota.CreateAccounts(
                quota_pb.CreateAccountsRequest(app_id=app.id, user_ids=["u"]), timeout=s),
            "RecordLogins": lambda s: app.metering.RecordLogins(metering_pb.RecordLoginsRequest(
                app_id=app.id, logins=[metering_pb.Login(user_id="u")]), timeout=s),
        }
        for name, call in {**calls(app), **takes}.items():
            for _ in range(10):
                error = error_of(lambda: call(0.04))  # noqa: B023
                assert error.code() == LATE, (name, error)


def cli(sidecar: Sidecar, *arguments: str) -> subprocess.CompletedProcess:
    """Runs a command to its end."""
    admin = arguments[0] in ("admin", "statement")
    return subprocess.run(
        [binary(), *arguments, "--address", sidecar.admin if admin else sidecar.tcp],
        capture_output=True, text=True, env=clean_environment(), timeout=60)


def test_the_command_line_names_its_timeout_only_if_that_ended_the_call():
    with drilled(sidecar_settings=("--journal", "off")) as (redis, proxy, sidecar, app):
        app.upgrade()
        proxy.slow(0.5)
        usage = ["usage", "--app", app.id]
        take = ["quota", "create-accounts", "--app", app.id, "u"]
        ran = cli(sidecar, *usage, "--timeout-ms", "100")
        assert ran.returncode != 0 and "--timeout-ms" in ran.stderr, ran
        assert "may have been applied" not in ran.stderr, "a read has no outcome"
        ran = cli(sidecar, *take, "--timeout-ms", "100")
        assert "--timeout-ms" in ran.stderr and "may have been applied" in ran.stderr, ran
        # The timeout of the sidecar, not that of the caller.
        proxy.slow(3)
        ran = cli(sidecar, *usage, "--timeout-ms", "20000")
        assert ran.returncode != 0 and "--timeout-ms" not in ran.stderr, ran
        assert "UNAVAILABLE" in ran.stderr and "was done" not in ran.stderr, ran
        proxy.slow(0)
        redis.freeze()
        for command in (usage, ["admin", "get-app", app.id], ["statement", "--app", app.id]):
            ran = cli(sidecar, *command)
            assert ran.returncode != 0 and "UNAVAILABLE" in ran.stderr, ran
            for words in ("--timeout-ms", "was done", "may have been applied"):
                assert words not in ran.stderr, ran
        redis.thaw()


LINE = re.compile(r"\[(\+\]\S+ ok(: .+)?|-\]\S+ failed: .+)")


def readiness(sidecar: Sidecar) -> list[str]:
    """The lines of the verbose probe without the last one, each checked for its format."""
    *lines, last = get(sidecar.management_port, "/readyz?verbose")[1].splitlines()
    assert last.startswith("readyz check "), last
    for line in lines:
        assert LINE.fullmatch(line), line
    return lines


def has_line(sidecar: Sidecar, beginning: str) -> None:
    """Waits for a line with that beginning."""
    wait_until(lambda: any(line.startswith(beginning) for line in readiness(sidecar)), 20,
               f"{beginning}\n{readiness(sidecar)}")


def test_readiness_names_the_failed_check():
    settings = ("--store-tolerance-ms", "1000")
    with drilled(sidecar_settings=settings) as (redis, proxy, sidecar, app):
        app.create_group("g", owner="owner")
        server = f"server/127.0.0.1:{proxy.port}"
        for line in ("[+]started ok", "[+]running ok", "[+]store ok", f"[+]{server} ok",
                     "[+]clock/", "[+]journal ok"):
            has_line(sidecar, line)
        assert not [line for line in readiness(sidecar) if line.startswith("[-]")]
        redis.freeze()
        join(app, "g", "u")
        has_line(sidecar, "[-]store failed: silent for ")
        has_line(sidecar, f"[-]{server} failed: circuit breaker open for ")
        has_line(sidecar, "[+]journal ok: 1 entries, 0 % full, waiting for the store")
        has_line(sidecar, "[+]failure-policy ok")
        redis.thaw()
        drained(sidecar)
        has_line(sidecar, "[+]store ok")
        has_line(sidecar, f"[+]{server} ok")
        redis.cli("CONFIG", "SET", "maxmemory", "1")
        assert error_of(lambda: join(app, "g", "v")).code() == UNAVAILABLE
        has_line(sidecar, f"[-]{server} failed: refuses calls: OOM")


VOID = 60


def test_void_entries_of_the_journal_are_one_log_line():
    """Joins of groups that no longer exist when the journal is replayed."""
    with Redis() as redis, Proxy(redis.port) as proxy:
        with Sidecar(store=proxy.url, management=True) as sidecar, App(sidecar) as app:
            app.upgrade()
            groups = names("g", VOID)
            for group in groups:
                app.create_group(group, owner="owner")
            proxy.refuse()
            for number, group in enumerate(groups):
                answer, _ = join(app, group, f"u{number}")
                assert answer.decision.degradation
            # Another sidecar, with an intact connection to the store.
            with Sidecar(store=f"redis://127.0.0.1:{redis.port}/0") as other:
                with App(other, app_id=app.id) as elsewhere:
                    for group in groups:
                        elsewhere.dissolve(group)
            proxy.refuse(False)
            drained(sidecar)
            lines = lambda: [line for line in sidecar.read_log().splitlines()  # noqa: E731
                             if "void" in line]
            wait_until(lines, 20, "the summary")
            time.sleep(0.5)
            assert len(lines()) == 1, lines()
            assert f"group_not_found {VOID}" in lines()[0], lines()
            failed = metric(sidecar.management_port, "imquota_journal_replayed_total",
                            outcome="failed")
            assert failed == VOID
