"""Metering over gRPC: outcome per item, RPCs per listener, and invalid input.

An error names the invalid field, and the valid rest of the request is not counted either.
"""

import time
from datetime import datetime, timedelta, timezone

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from app import TIMEOUT_S, App
from billing_month import ALREADY_COUNTED, COUNTED
from details import bad_fields, error_of, violations
from statement_oracle import MILLIS_A_DAY, day_number
from stubs import metering_pb, quota_pb

TOO_LATE = metering_pb.METER_OUTCOME_TOO_LATE
IN_FUTURE = metering_pb.METER_OUTCOME_IN_FUTURE
KBPS_MAX = 10**12
RECORDS_MAX = 1000
DAYS_LATE_MAX, AHEAD_MAX_MILLIS = 31, 300_000
MARGIN_MILLIS = 120_000
"""The distance of a case from a bound that moves with the clock."""


def now() -> int:
    """The real time, in milliseconds."""
    return time.time_ns() // 1_000_000


def login(user: str = "u", **at) -> metering_pb.Login:
    """A login; `at`: a timestamp, or none."""
    return metering_pb.Login(user_id=user, **at)


def sample(region: str = "mainland", kbps: int = 1, **at) -> metering_pb.BandwidthSample:
    """A sample."""
    return metering_pb.BandwidthSample(region=region, kbps=kbps, **at)


def instant(millis: int) -> Timestamp:
    """The timestamp message."""
    at = Timestamp()
    at.FromMilliseconds(millis)
    return at


def totals(app: App) -> dict[str, list[int]]:
    """The metered figures of the last 31 days, by measure."""
    found = {measure: [count for count in history.days if count]
             for measure, history in app.history().items()}
    return {measure: counts for measure, counts in found.items() if counts}


BAD_INSTANTS = [Timestamp(seconds=-1), Timestamp(seconds=2**62), Timestamp(seconds=1, nanos=-1),
                Timestamp(seconds=1, nanos=10**9)]
GOOD_LOGINS = [login("good-0"), login("good-1"), login("good-2")]
GOOD_SAMPLES = [sample(), sample(kbps=KBPS_MAX)]
BAD_LOGINS = [
    ([], ["logins"]),
    ([login(f"u{number}") for number in range(RECORDS_MAX + 1)], ["logins"]),
    *(([*GOOD_LOGINS, login(bad)], ["logins[3].user_id"])
      for bad in ["", "u" * 33, "用户", "a\nb", "\x7f"]),
    *(([login("good", at=bad), *GOOD_LOGINS], ["logins[0].at"]) for bad in BAD_INSTANTS),
    ([login(""), login("good"), login("u" * 33)], ["logins[0].user_id", "logins[2].user_id"]),
]
BAD_SAMPLES = [
    ([], ["samples"]),
    ([sample()] * (RECORDS_MAX + 1), ["samples"]),
    ([*GOOD_SAMPLES, sample(region="")], ["samples[2].region"]),
    ([*GOOD_SAMPLES, sample(region="nowhere")], ["samples[2].region"]),
    ([sample(kbps=KBPS_MAX + 1), *GOOD_SAMPLES], ["samples[0].kbps"]),
    ([sample(kbps=2**64 - 1), *GOOD_SAMPLES], ["samples[0].kbps"]),
    *(([*GOOD_SAMPLES, sample(at=bad)], ["samples[2].at"]) for bad in BAD_INSTANTS),
]
APP_IDS = ["", "a" * 65, "应用", "a/b"]


def over_apply(app: App, request: metering_pb.RecordLoginsRequest, tag: int):
    """The response on the stream."""
    message = quota_pb.ApplyRequest(tag=tag, record_logins=request)
    (answer,) = app.quota.Apply(iter([message]), timeout=TIMEOUT_S)
    assert answer.tag == tag
    return answer


@pytest.mark.parametrize(("logins", "fields"), BAD_LOGINS)
def test_bad_logins_are_named_and_none_counts(tcp_app, logins, fields):
    for admin in (False, True):
        error = error_of(lambda: tcp_app.meter("RecordLogins", admin=admin, logins=logins))
        assert bad_fields(error) == fields
    request = metering_pb.RecordLoginsRequest(app_id=tcp_app.id, logins=logins)
    answer = over_apply(tcp_app, request, tag=7).error
    assert answer.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert [violation.field for violation in answer.field_violations] == fields
    assert totals(tcp_app) == {}


@pytest.mark.parametrize(("samples", "fields"), BAD_SAMPLES)
def test_bad_samples_are_named_and_none_counts(tcp_app, samples, fields):
    error = error_of(lambda: tcp_app.meter("ReportBandwidth", samples=samples))
    assert bad_fields(error) == fields
    assert totals(tcp_app) == {}


def test_the_known_regions_are_named(tcp_app):
    error = error_of(lambda: tcp_app.meter("ReportBandwidth", samples=[sample(region="nowhere")]))
    (violation,) = violations(error)
    assert "mainland" in violation.description


@pytest.mark.parametrize("app_id", APP_IDS)
@pytest.mark.parametrize(
    ("rpc", "fields"),
    [
        ("RecordLogins", {"logins": GOOD_LOGINS}),
        ("ReportBandwidth", {"samples": GOOD_SAMPLES}),
        ("SetMessageRetention", {"days": 30}),
        ("GetStatement", {}),
        ("ExportStatement", {}),
    ],
)
def test_a_bad_app_id_is_named(tcp_app, app_id, rpc, fields):
    error = error_of(lambda: tcp_app.meter(rpc, admin=True, **{**fields, "app_id": app_id}))
    assert bad_fields(error) == ["app_id"]


def next_month() -> str:
    """The month that begins next in Shanghai, and a month more in its last hours."""
    at = time.gmtime(time.time() + 8 * 3600 + 3600)
    year, month = (at.tm_year + 1, 1) if at.tm_mon == 12 else (at.tm_year, at.tm_mon + 1)
    return f"{year:04}-{month:02}"


@pytest.mark.parametrize("rpc", ["GetStatement", "ExportStatement"])
@pytest.mark.parametrize(
    "month",
    ["2019-13", "2019-00", "2019-8", "2019", "19-08", "2019-08-01", "２０１９-08", next_month()],
)
def test_an_invalid_or_future_month_is_named(tcp_app, rpc, month):
    tcp_app.register()
    error = error_of(lambda: tcp_app.meter(rpc, admin=True, month=month))
    assert bad_fields(error) == ["month"]


def test_an_unknown_format_is_named(tcp_app):
    tcp_app.register()
    error = error_of(lambda: tcp_app.meter("ExportStatement", admin=True, format=9))
    assert bad_fields(error) == ["format"]


def test_retention_has_bounds_and_is_set_once_for_a_request_id(tcp_app):
    tcp_app.upgrade()
    for days in (0, 6, 361, 2**32 - 1):
        error = error_of(lambda: tcp_app.meter("SetMessageRetention", admin=True, days=days))
        assert bad_fields(error) == ["days"], days
    for request_id in ("", "r" * 65, "é"):
        fields = {"days": 30, "request_id": request_id}
        error = error_of(lambda: tcp_app.meter("SetMessageRetention", admin=True, **fields))
        assert bad_fields(error) == ["request_id"], request_id
    assert not any(line.item == metering_pb.STATEMENT_ITEM_MESSAGE_HISTORY and line.amount_fen
                   for line in tcp_app.statement().lines)
    tcp_app.meter("RecordLogins", logins=[login()])
    for days in (360, 7, 8):
        request = {"admin": True, "days": days, "request_id": f"keep {days}"}
        first = tcp_app.meter("SetMessageRetention", **request)
        assert first.days == days
        assert tcp_app.meter("SetMessageRetention", **request) == first
    error = error_of(lambda: tcp_app.meter("SetMessageRetention", **{**request, "days": 9}))
    assert error.code() == grpc.StatusCode.ALREADY_EXISTS
    (line,) = [line for line in tcp_app.statement().lines
               if line.item == metering_pb.STATEMENT_ITEM_MESSAGE_HISTORY]
    assert line.amount_fen == 50_000, "500 CNY for up to 100,000 users on the highest day"


def closes(at: int) -> int:
    """The closing instant of the month of an instant: the third of the next month."""
    of = datetime.fromtimestamp(at / 1000, timezone(timedelta(hours=8))).replace(day=1)
    third = (of + timedelta(days=32)).replace(day=3, hour=0, minute=0, second=0, microsecond=0)
    return int(third.timestamp() * 1000)


def test_each_login_has_an_outcome_of_its_own(app):
    at, today = now(), day_number(now())
    oldest = (today - DAYS_LATE_MAX) * MILLIS_A_DAY - 8 * 3_600_000
    logins = [
        (login("a"), COUNTED),
        (login("a"), ALREADY_COUNTED),
        (login("b", at=instant(at)), COUNTED),
        (login("a", at=instant(at - MILLIS_A_DAY)), COUNTED),
        # A day later, in case midnight passes in between.
        (login("a", at=instant(oldest + MILLIS_A_DAY)),
         TOO_LATE if at >= closes(oldest + MILLIS_A_DAY) else COUNTED),
        (login("a", at=instant(oldest - 1)), TOO_LATE),
        (login("c", at=instant(0)), TOO_LATE),
        (login("c", at=instant(at + AHEAD_MAX_MILLIS + MARGIN_MILLIS)), IN_FUTURE),
        (login("b", at=instant(at)), ALREADY_COUNTED),
    ]
    messages, wanted = zip(*logins, strict=True)
    answer = app.meter("RecordLogins", logins=messages)
    assert list(answer.outcomes) == list(wanted)
    assert abs(answer.decision.decided_at.ToMilliseconds() - at) < MARGIN_MILLIS
    # A repetition changes nothing.
    again = app.meter("RecordLogins", logins=messages)
    assert list(again.outcomes) == [
        ALREADY_COUNTED if outcome == COUNTED else outcome for outcome in wanted
    ]
    ahead = login("d", at=instant(now() + AHEAD_MAX_MILLIS - MARGIN_MILLIS))
    assert list(app.meter("RecordLogins", logins=[ahead]).outcomes) == [COUNTED]


def test_each_sample_has_an_outcome_of_its_own(app):
    at, today = now(), day_number(now())
    oldest = (today - DAYS_LATE_MAX) * MILLIS_A_DAY - 8 * 3_600_000
    yesterday = instant(at - MILLIS_A_DAY)
    samples = [
        (sample(kbps=1000, at=yesterday), COUNTED),
        (sample(kbps=1000, at=yesterday), ALREADY_COUNTED),
        (sample(kbps=999, at=yesterday), ALREADY_COUNTED),
        (sample(kbps=1001, at=yesterday), COUNTED),
        (sample(kbps=KBPS_MAX, at=instant(at)), COUNTED),
        (sample(kbps=KBPS_MAX, at=instant(oldest - 1)), TOO_LATE),
        (sample(kbps=5, at=instant(at + AHEAD_MAX_MILLIS + MARGIN_MILLIS)), IN_FUTURE),
    ]
    messages, wanted = zip(*samples, strict=True)
    assert list(app.meter("ReportBandwidth", samples=messages).outcomes) == list(wanted)
    assert totals(app)["bandwidth/mainland"] == [1001, KBPS_MAX]


def test_the_largest_batch_counts_every_user_once(tcp_app):
    logins = [login(f"u{number}") for number in range(RECORDS_MAX)]
    for outcome in (COUNTED, ALREADY_COUNTED):
        answer = tcp_app.meter("RecordLogins", logins=logins)
        assert list(answer.outcomes) == [outcome] * RECORDS_MAX
    assert totals(tcp_app)["dau"] == [RECORDS_MAX]


def test_responses_to_logins_on_the_stream_have_their_tags(app):
    requests = [
        quota_pb.ApplyRequest(tag=1000 + number, record_logins=metering_pb.RecordLoginsRequest(
            app_id=app.id, logins=[login(f"u{user}") for user in range(number)]))
        for number in range(1, 51)
    ]
    answers = {answer.tag: answer for answer in app.quota.Apply(iter(requests), timeout=TIMEOUT_S)}
    assert sorted(answers) == list(range(1001, 1051))
    outcomes = []
    for tag, answer in answers.items():
        assert answer.WhichOneof("answer") == "record_logins", answer
        assert len(answer.record_logins.outcomes) == tag - 1000
        outcomes += answer.record_logins.outcomes
    assert outcomes.count(COUNTED) == 50, "each user once, in whatever order"
    assert set(outcomes) == {COUNTED, ALREADY_COUNTED}
    assert totals(app)["dau"] == [50]


def test_both_listeners_accept_logins_and_bandwidth(tcp_app):
    for number, admin in enumerate([False, True]):
        user = login(f"u{number}")
        assert list(tcp_app.meter("RecordLogins", admin=admin, logins=[user]).outcomes) == [COUNTED]
        higher = sample(kbps=number + 1)
        answer = tcp_app.meter("ReportBandwidth", admin=admin, samples=[higher])
        assert list(answer.outcomes) == [COUNTED]
    assert totals(tcp_app) == {"dau": [2], "bandwidth/mainland": [2]}


@pytest.mark.parametrize(
    ("rpc", "fields"),
    [("GetStatement", {}), ("ExportStatement", {}), ("SetMessageRetention", {"days": 30})],
)
def test_statements_and_retention_are_on_the_admin_listener_only(app, rpc, fields):
    app.upgrade()
    error = error_of(lambda: app.meter(rpc, **fields))
    assert error.code() == grpc.StatusCode.PERMISSION_DENIED
    assert "admin" in error.details()
    assert app.meter(rpc, admin=True, **fields)


def test_logins_of_an_unregistered_app_count_and_cost_nothing(tcp_app):
    answer = tcp_app.meter("RecordLogins", logins=GOOD_LOGINS)
    assert list(answer.outcomes) == [COUNTED] * 3
    assert totals(tcp_app) == {"dau": [3]}
    for rpc, fields in (("GetStatement", {}), ("ExportStatement", {}),
                        ("SetMessageRetention", {"days": 30})):
        error = error_of(lambda: tcp_app.meter(rpc, admin=True, **fields))
        assert error.code() == grpc.StatusCode.NOT_FOUND, rpc
    # Once it is registered, its statement has them.
    tcp_app.register()
    statement = tcp_app.statement()
    assert max(day.dau for day in statement.days) == 3
    assert statement.total_fen == 0 and not any(day.charged for day in statement.days)
