"""The two formats of `/metrics`, its series from the start, and its labels."""

import re
import urllib.request
from contextlib import contextmanager

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from prometheus_client import parser as text_parser
from prometheus_client.openmetrics import parser as open_metrics_parser

from app import APPLIED, App, names, outcomes
from http_port import get, metric
from price_lists import price_list
from redis_proxy import Redis
from sidecar import Sidecar, wait_until
from stubs import REPOSITORY, admin_pb, common_pb, metering_pb

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2")
MODES = [common_pb.MODE_ENFORCE, common_pb.MODE_CHECK_ONLY, common_pb.MODE_SHADOW,
         common_pb.MODE_FORCE]
FREE_GROUPS, CHAT_ROOMS_A_DAY = 80, 3
GIVEN_ELSEWHERE = {"version", "node", "le", "loaded", "loaded_content", "in_force",
                   "in_force_content"}
"""Labels whose values are addresses, numbers, or texts of the catalog."""


def scrape(port: int, accept: str | None) -> tuple[str, str]:
    """Content type and text for a request with that `Accept` header."""
    headers = {} if accept is None else {"Accept": accept}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def samples(port: int) -> dict[tuple, float]:
    """The value of every series, by name and labels."""
    families = text_parser.text_string_to_metric_families(scrape(port, None)[1])
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in families for sample in family.samples}


def counters(port: int) -> dict[tuple, float]:
    """The value of every series that only grows: counters and parts of histograms."""
    families = text_parser.text_string_to_metric_families(scrape(port, None)[1])
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in families if family.type in ("counter", "histogram")
            for sample in family.samples}


@pytest.mark.parametrize("accept, expected", [
    (None, TEXT), ("*/*", TEXT), ("application/json", TEXT),
    ("text/html,application/xml;q=0.9,*/*;q=0.8", TEXT),
    ("text/plain;version=0.0.4;q=0.5,application/openmetrics-text;q=0.4", TEXT),
    ("text/plain;version=0.0.4;q=0.3,application/openmetrics-text;q=0.4", OPEN_METRICS),
    ("application/openmetrics-text; version=1.0.0", OPEN_METRICS), (PROMETHEUS_3, OPEN_METRICS),
])
def test_a_scraper_gets_the_format_with_the_higher_rank(metered_sidecar, accept, expected):
    kind, text = scrape(metered_sidecar.management_port, accept)
    assert kind == expected
    assert text.endswith("# EOF\n") == (kind == OPEN_METRICS)


def test_both_formats_parse_and_have_the_same_series(metered_sidecar):
    port = metered_sidecar.management_port
    of_text = list(text_parser.text_string_to_metric_families(scrape(port, None)[1]))
    # The parser strips the suffixes of counters, like OpenMetrics, but not those of info metrics.
    kinds = {"info": "gauge"}
    of_open = list(open_metrics_parser.text_string_to_metric_families(
        scrape(port, OPEN_METRICS)[1]))
    assert {(family.name, family.type, family.documentation) for family in of_text} == {
        (family.name + "_info" * (family.type == "info"), kinds.get(family.type, family.type),
         family.documentation) for family in of_open}

    def series(families) -> set[tuple]:
        return {(sample.name, tuple(sorted(sample.labels.items())))
                for family in families for sample in family.samples}

    assert series(of_text) == series(of_open) and len(series(of_text)) > 500


@pytest.fixture(scope="module")
def metered_sidecar():
    """A sidecar in memory with a management port."""
    with Sidecar(store="memory", management=True) as sidecar:
        yield sidecar


def errors(call) -> None:
    """Checks that the call fails."""
    with pytest.raises(grpc.RpcError):
        call()


def every_denial(app: App, poor: App, stopped: App) -> None:
    """Each denial reason of each take, in each mode; and each other outcome."""
    app.create_accounts(*names("u", 100))
    app.add_friends("u0", *names("u", 20, first=1))
    app.create_group("full", owner="u0", members=names("u", 19, first=1))
    app.create_groups(names("busy-g", 50), owner="busy")
    app.create_groups(names("r", 10), "AVChatRoom")
    app.create_groups(["other", "third"], owner="u1")
    poor.create_groups(names("b", 5), "BChatRoom")
    poor.create_groups(names("c", CHAT_ROOMS_A_DAY), "ChatRoom")
    poor.create_groups(names("g", FREE_GROUPS - 5 - CHAT_ROOMS_A_DAY))
    # Writes of SHADOW and FORCE raise later usage beyond the limits, and change no denial.
    for mode in MODES:
        app.create_accounts("u0", f"u100-{mode}", mode=mode)
        app.add_friends("u0", "u1", f"x{mode}", mode=mode)
        app.add_friends(f"y{mode}", "u0", f"z{mode}", mode=mode)
        app.join("full", "u0", f"x{mode}", mode=mode)
        app.join("other", "busy", f"x{mode}", mode=mode)
        app.create_group("full", owner="u0", members=[f"y{mode}"], mode=mode)
        app.create_group("full", owner=f"w{mode}", mode=mode)
        app.create_group("third", owner="busy", mode=mode)
        app.create_group(f"new{mode}", owner="busy", members=["u0"], mode=mode)
        app.create_group(f"r10-{mode}", "AVChatRoom", mode=mode)
        app.create_group(f"big{mode}", owner="u0", members=names(f"m{mode}-", 21), mode=mode)
        poor.create_accounts(f"v{mode}", mode=mode)
        poor.create_group(f"b5-{mode}", "BChatRoom", mode=mode)
        poor.create_group(f"c-{mode}", "ChatRoom", mode=mode)
        poor.create_group(f"more{mode}", mode=mode)
        stopped.create_accounts(f"s{mode}", mode=mode)
        stopped.add_friends("s", f"s{mode}", mode=mode)
        stopped.join("g", f"s{mode}", mode=mode)
        stopped.create_group(f"s{mode}", mode=mode)
        stopped.create_group("g", owner=f"t{mode}", mode=mode)


def agreed_number(app: App) -> None:
    """Denials by a limit without a reason of its own, in each mode."""
    app.register()
    app.admin("GrantLimit", limit_id="groups_per_app", limit=1, months=1, note="contract")
    app.create_group("g")
    for mode in MODES:
        app.create_group(f"h{mode}", mode=mode)


def repetitions_and_aborted_batches(app: App) -> None:
    """Each take twice with one hold, and each as a whole batch of which a part is denied."""
    for mode in (common_pb.MODE_ENFORCE, common_pb.MODE_SHADOW, common_pb.MODE_FORCE):
        for _ in range(2):
            hold = (f"o{mode}", 60)
            app.hold("CreateAccounts", *hold, user_ids=[f"a{mode}"], mode=mode)
            app.hold("AddFriends", *hold, user_id="a", friend_ids=[f"a{mode}"], mode=mode)
            app.hold("CreateGroup", *hold, group_id=f"g{mode}", type="Public", mode=mode)
            app.hold("JoinGroup", *hold, group_id=f"g{mode}", user_ids=["a"], mode=mode)
    app.release(f"o{common_pb.MODE_FORCE}")
    app.confirm(f"o{common_pb.MODE_ENFORCE}")
    app.create_accounts(*names("u", 97))
    app.add_friends("a", *names("u", 17))
    app.create_group("nearly-full", members=names("u", 19))
    for mode in (common_pb.MODE_ENFORCE, common_pb.MODE_CHECK_ONLY):
        whole = {"all_or_nothing": True, "mode": mode}
        new = names("new", 21)
        app._call("CreateAccounts", user_ids=new, **whole)
        app._call("AddFriends", user_id="a", friend_ids=new, **whole)
        app._call("CreateGroup", group_id="none", type="Public", member_ids=new, **whole)
        app._call("JoinGroup", group_id="nearly-full", user_ids=new, **whole)


def everything_else(app: App) -> None:
    """Releases, reads, metering, sales and errors."""
    for _ in range(2):
        app.set_max_members("busy-g0", 10)
        app.leave("other", "u1")
        app.remove_friends("u0", "u1")
        app.delete_accounts("u0")
        app.dissolve("full")
    app.usages()
    errors(lambda: app.usages(group_id="nowhere"))
    errors(lambda: app.join("nowhere", "u"))
    errors(lambda: app.set_max_members("nowhere", 7))
    errors(lambda: app.create_group("other", "Private"))
    errors(lambda: app.create_group("odd", "NoSuchType"))
    errors(lambda: app.join("r0", "u", mode=common_pb.MODE_ENFORCE) and app.set_max_members(
        "r0", 7))
    old, ahead = Timestamp(seconds=1), Timestamp(seconds=2**33)
    logins = [metering_pb.Login(user_id="a"), metering_pb.Login(user_id="a"),
              metering_pb.Login(user_id="a", at=old), metering_pb.Login(user_id="a", at=ahead)]
    app.meter("RecordLogins", logins=logins)
    for _ in range(2):
        app.meter("ReportBandwidth", samples=[
            metering_pb.BandwidthSample(region="mainland", kbps=7),
            metering_pb.BandwidthSample(region="mainland", kbps=7, at=old),
            metering_pb.BandwidthSample(region="mainland", kbps=7, at=ahead)])


@contextmanager
def small_allowance(folder):
    """A sidecar whose catalog has few groups, and three apps: two new ones, and one whose
    service has stopped."""
    text = price_list("small", groups=(FREE_GROUPS, 10, 100_000))[0]
    chat_room = text.index('name = "ChatRoom"')
    text = text[:chat_room] + text[chat_room:].replace(
        'per_day = "unlimited"', f"per_day = {CHAT_ROOMS_A_DAY}", 1)
    (folder / "catalog.toml").write_text(text)
    settings = ("--catalog", str(folder / "catalog.toml"))
    with Sidecar(*settings, store="memory", management=True) as sidecar:
        with App(sidecar) as app, App(sidecar) as poor, App(sidecar) as stopped:
            yield sidecar, (app, poor, stopped)


def stop_service(app: App) -> None:
    """Creates a group, and refunds the app's edition."""
    app.upgrade()
    app.create_group("g")
    bought = app.admin("GetApp").app.purchases[0].request_id
    app.admin("RefundPurchase", purchase_request_id=bought)


def of(series: dict, name: str, *labels: str) -> set[tuple]:
    """The values of these labels in a metric's series."""
    return {tuple(dict(pairs)[label] for label in labels)
            for found, pairs in series if found == name}


def test_no_counter_begins_with_its_first_increment(tmp_path):
    with small_allowance(tmp_path) as (sidecar, apps):
        port = sidecar.management_port
        before = counters(port)
        stop_service(apps[2])
        every_denial(*apps)
        with App(sidecar) as another:
            repetitions_and_aborted_batches(another)
        with App(sidecar) as agreed:
            agreed_number(agreed)
        everything_else(apps[0])
        events = "imquota_events_appended_total"
        wait_until(lambda: metric(port, events, kind="refunded") > 0, 20, "the event is appended")
        after = counters(port)
    appeared = set(after) - set(before)
    assert not appeared, sorted(appeared)
    grown = {key: value for key, value in after.items() if value > before[key]}
    # All cases occurred, so the comparison is not vacuous.
    name, labels = "imquota_decisions_total", ("operation", "mode", "outcome", "reason")
    possible, seen = of(before, name, *labels), of(grown, name, *labels)
    assert {"enforce", "check_only", "shadow", "force"} == {mode for _, mode, _, _ in seen}
    assert seen == possible, sorted(possible - seen)
    assert {("record_logins", outcome) for outcome in (
        "counted", "already_counted", "too_late", "in_future")} <= of(
        grown, "imquota_metered_total", "operation", "outcome")
    assert {"group_not_found", "group_type_differs", "members_not_tracked"} <= {
        reason for reason, in of(grown, "imquota_errors_total", "reason")}


def test_degraded_decisions_are_counted_from_the_start():
    with Redis() as redis, Sidecar(store=f"redis://127.0.0.1:{redis.port}/0",
                                   management=True) as sidecar, App(sidecar) as app:
        port = sidecar.management_port
        app.create_accounts(*names("u", 10))
        app.create_group("g", owner="u0", members=["u2"])
        before = counters(port)
        redis.kill()
        wait_until(lambda: metric(port, "imquota_breaker_open") == 1, 20, "the breaker opens")
        errors(lambda: app.create_accounts("late"))
        assert outcomes(app.join("g", "u1")) == [APPLIED]
        assert outcomes(app.leave("g", "u2").results) == [APPLIED]
        after = counters(port)
        assert metric(port, "imquota_degraded_total", answer="admitted") == 1
        assert metric(port, "imquota_degraded_total", answer="released") == 1
        sidecar.kill()
    assert not set(after) - set(before)


def test_reasons_kinds_and_errors_have_a_series_each(metered_sidecar):
    """Compares with the protos and the code that names errors, not with the initial series."""
    there = counters(metered_sidecar.management_port)
    reasons = {value.removeprefix("DENIAL_REASON_").lower()
               for value in common_pb.DenialReason.keys()} - {"unspecified"}
    decisions = of(there, "imquota_decisions_total", "outcome", "reason")
    assert {reason for outcome, reason in decisions if outcome == "denied"} - {""} == reasons
    kinds = {value.removeprefix("EVENT_KIND_").lower() for value in admin_pb.EventKind.keys()}
    assert {kind for kind, in of(there, "imquota_events_appended_total", "kind")} == (
        kinds - {"unspecified", "events_dropped"})
    errors_named = set()
    for module in ("ledger", "store"):
        code = (REPOSITORY / "src" / module / "error.rs").read_text()
        code = code[code.index("pub fn name("):]
        errors_named |= set(re.findall(r'=> "(\w+)"', code[:code.index("\n    }\n")]))
    assert len(errors_named) > 20
    found = of(there, "imquota_errors_total", "operation", "reason")
    operations = {operation for operation, _ in found}
    assert len(operations) == 15
    assert found == {(operation, reason) for operation in operations
                     for reason in errors_named | {"abandoned"}}
    assert {outcome for outcome, in of(there, "imquota_store_calls_total", "outcome")} == (
        errors_named | {"ok"})


def test_label_values_are_in_lower_snake_case(tmp_path):
    with small_allowance(tmp_path) as (sidecar, apps):
        stop_service(apps[2])
        every_denial(*apps)
        everything_else(apps[0])
        found = samples(sidecar.management_port)
    values = {(label, value) for _, labels in found for label, value in labels
              if label not in GIVEN_ELSEWHERE and value}
    assert ("reason", "members_per_group") in values and ("service", "quota_service") in values
    odd = {pair for pair in values if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", pair[1])}
    assert not odd, odd


def test_resident_memory_is_that_of_the_system(metered_sidecar):
    def shown_by_the_system() -> int:
        status = open(f"/proc/{metered_sidecar.process.pid}/status", encoding="ascii").read()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024

    low, shown, high = (
        shown_by_the_system(),
        metric(metered_sidecar.management_port, "process_resident_memory_bytes"),
        shown_by_the_system())
    assert low * 0.8 < shown < high * 1.25


def test_head_is_answered_and_other_methods_are_not(metered_sidecar):
    url = f"http://127.0.0.1:{metered_sidecar.management_port}/metrics"
    request = urllib.request.Request(url, method="HEAD")
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert (answer.status, answer.headers["Content-Type"], answer.read()) == (200, TEXT, b"")
    assert get(metered_sidecar.management_port, "/metric")[0] == 404
