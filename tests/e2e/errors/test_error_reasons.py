"""Machine-readable errors: every error has a reason, the same one on every store."""

import hashlib
import uuid
from contextlib import contextmanager

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2

from app import TIMEOUT_S, App, names
from details import bad_fields, detail, error_info, error_of
from redis_proxy import Redis
from sidecar import Sidecar
from stubs import admin_grpc, admin_pb, metering_grpc, metering_pb, quota_pb

STORES = ["embedded", "memory", "redis"]
INVALID, NOT_FOUND, EXISTS, PRECONDITION = 3, 5, 6, 9
LATER = Timestamp(seconds=4_000_000_000)
LONG_AGO = Timestamp(seconds=1_000_000_000)


@contextmanager
def open_store(kind: str):
    """The value of `--store`."""
    if kind == "redis":
        with Redis() as redis:
            yield f"redis://127.0.0.1:{redis.port}/0"
    else:
        yield kind


@pytest.fixture(scope="module", params=STORES)
def stored(request):
    """The name of each store, and a sidecar on it."""
    with open_store(request.param) as store, Sidecar(store=store) as sidecar:
        yield request.param, sidecar


@pytest.fixture
def app(stored):
    """An app on each store."""
    with App(stored[1]) as new:
        yield new


def reason_of(call) -> tuple[int, str]:
    """Code and reason of the error of `call()`."""
    error = error_of(call)
    info = error_info(error)
    assert info, f"no ErrorInfo: {error.code()} {error.details()}"
    assert info.domain == "imquota.v1"
    return error.code().value[0], info.reason


SALES = [
    ("CreateApp", {}, EXISTS, "APP_EXISTS"),
    ("PurchaseEdition", {"request_id": "{first}", "edition_id": "professional", "months": 2},
     EXISTS, "REQUEST_ID_REUSED"),
    ("PurchaseEdition", {"edition_id": "professional", "months": 1}, PRECONDITION,
     "EDITION_IN_FORCE"),
    ("PurchaseEdition", {"edition_id": "nothing", "months": 1}, INVALID, "UNKNOWN_EDITION"),
    ("GrantAddOn", {"add_on_id": "nothing", "months": 1}, INVALID, "UNKNOWN_ADD_ON"),
    ("GrantAddOn", {"add_on_id": "members-2000", "months": 1}, PRECONDITION, "ADD_ON_IN_FORCE"),
    ("ExchangeAddOn", {"replaced_add_on_id": "members-2000", "add_on_id": "members-6000",
                       "months": 1}, PRECONDITION, "ADD_ON_NOT_IN_FORCE"),
    ("ExchangeAddOn", {"replaced_add_on_id": "members-6000", "add_on_id": "members-2000",
                       "months": 1, "max_sum_fen": -60_000}, PRECONDITION, "SUM_ABOVE_MAX"),
    ("GrantLimit", {"limit_id": "group_per_user", "limit": 5, "months": 1, "note": "contract 7"},
     INVALID, "UNKNOWN_LIMIT"),
    ("UpdateApp", {"im_code_set": "nothing"}, INVALID, "UNKNOWN_IM_CODE_SET"),
    ("RefundPurchase", {"purchase_request_id": "nothing"}, INVALID, "UNKNOWN_PURCHASE"),
    ("RefundPurchase", {"purchase_request_id": "{refunded}"}, PRECONDITION, "ALREADY_REFUNDED"),
    ("RefundPurchase", {"purchase_request_id": "{first}"}, PRECONDITION, "RENEWED_SINCE"),
    ("RenewEdition", {"months": 1, "effective_at": LATER}, PRECONDITION, "EFFECTIVE_IN_FUTURE"),
    ("RenewEdition", {"months": 1, "effective_at": LONG_AGO}, PRECONDITION,
     "EFFECTIVE_BEFORE_LAST"),
    ("RenewEdition", {"months": 25}, INVALID, "INVALID_FIELDS"),
]


def test_each_refused_sale_has_a_reason_of_its_own(app):
    app.register()
    ids = {name: f"{name}-{app.id}" for name in ("first", "refunded")}
    app.admin("PurchaseEdition", request_id=ids["first"], edition_id="professional", months=1)
    app.admin("RenewEdition", months=1)
    app.admin("GrantAddOn", request_id=ids["refunded"], add_on_id="members-6000", months=1)
    app.admin("RefundPurchase", purchase_request_id=ids["refunded"])
    app.admin("GrantAddOn", add_on_id="members-6000", months=1)
    found = []
    for rpc, fields, code, reason in SALES:
        fields = {key: value.format(**ids) if isinstance(value, str) else value
                  for key, value in fields.items()}
        found.append((rpc, *reason_of(lambda: app.admin(rpc, **fields))))
        assert found[-1] == (rpc, code, reason)
    reasons = [reason for *_, reason in found]
    assert len(set(reasons)) == len(reasons), "a reason has two meanings"


def test_sales_without_an_edition_have_a_reason(app):
    assert reason_of(lambda: app.admin("GetApp")) == (NOT_FOUND, "UNKNOWN_APP")
    assert reason_of(lambda: app.statement()) == (NOT_FOUND, "UNKNOWN_APP")
    app.register()
    assert reason_of(lambda: app.admin("RenewEdition", months=1)) == (
        PRECONDITION, "NOTHING_TO_RENEW")
    assert reason_of(lambda: app.admin("ChangeEdition", edition_id="professional", months=1)) == (
        PRECONDITION, "NOTHING_TO_CHANGE")
    grant = lambda: app.admin("GrantAddOn", add_on_id="members-2000", months=1)  # noqa: E731
    assert reason_of(grant) == (PRECONDITION, "ADD_ONS_NOT_ALLOWED")
    assert reason_of(lambda: app.statement("1999-01")) == (INVALID, "MONTH_BEFORE_APP")
    assert reason_of(lambda: app.statement("2999-01")) == (INVALID, "MONTH_NOT_BEGUN")
    retention = lambda days: reason_of(  # noqa: E731
        lambda: app.meter("SetMessageRetention", admin=True, days=days))
    assert retention(30) == (PRECONDITION, "POSTPAID_NOT_ALLOWED")
    assert retention(100_000) == (INVALID, "RETENTION_OUT_OF_RANGE")
    catalog = lambda **fields: reason_of(  # noqa: E731
        lambda: app.administration.ActivateCatalog(
            admin_pb.ActivateCatalogRequest(request_id=uuid.uuid4().hex, **fields),
            timeout=TIMEOUT_S))
    assert catalog(version="nothing") == (INVALID, "UNKNOWN_CATALOG")
    known = app.administration.GetCatalog(admin_pb.GetCatalogRequest(), timeout=TIMEOUT_S)
    assert catalog(version=known.version, content_hash="0" * 64) == (
        INVALID, "UNKNOWN_CATALOG_CONTENT")


def test_a_misspelled_limit_and_too_many_agreed_ones_have_a_reason(app):
    app.register()
    grant = lambda limit_id: app.admin(  # noqa: E731
        "GrantLimit", limit_id=limit_id, limit=5, months=1, note="contract 7")
    misspelled = error_of(lambda: grant("groups_per_usr"))
    assert "did you mean \"groups_per_user\"?" in misspelled.details()
    assert bad_fields(misspelled) == ["limit_id"]
    for _ in range(64):
        grant("groups_per_user")
    assert reason_of(lambda: grant("groups_per_user")) == (PRECONDITION, "TOO_MANY_AGREED_LIMITS")
    add_on = lambda: app.admin("GrantAddOn", add_on_id="groups-per-user-400", months=1)  # noqa: E731
    app.admin("PurchaseEdition", edition_id="professional", months=1)
    assert reason_of(add_on) == (PRECONDITION, "ADD_ON_RAISES_NOTHING")


def test_groups_are_distinguished_by_reason(app):
    app.create_group("g", "Public", "u")
    app.create_group("room", "AVChatRoom")
    assert reason_of(lambda: app.create_group("g", "Private", "u")) == (EXISTS, "GROUP_TYPE_DIFFERS")
    assert reason_of(lambda: app.join("none", "u")) == (NOT_FOUND, "GROUP_NOT_FOUND")
    assert reason_of(lambda: app.set_max_members("room", 5)) == (
        PRECONDITION, "MEMBERS_NOT_TRACKED")


def test_missing_stores_and_journals_have_a_reason(app, stored):
    kind, _ = stored
    request_id = uuid.uuid4().hex
    calls = {
        "AcceptStore": admin_pb.AcceptStoreRequest(request_id=request_id),
        "AcceptClock": admin_pb.AcceptClockRequest(request_id=request_id),
        "RetryJournalEntry": admin_pb.RetryJournalEntryRequest(request_id=request_id, number=7),
    }
    is_redis = kind == "redis"
    expected = {
        "AcceptStore": "STORE_NOT_LOST" if is_redis else "STORE_EMBEDDED",
        "AcceptClock": "CLOCK_NOT_HERE" if is_redis else None,
        "RetryJournalEntry": "JOURNAL_ENTRY_NOT_BLOCKED",
    }
    for rpc, request in calls.items():
        if expected[rpc]:
            call = lambda: getattr(app.administration, rpc)(request, timeout=TIMEOUT_S)  # noqa: E731,B023
            assert reason_of(call) == (PRECONDITION, expected[rpc])
    backup = lambda: list(app.administration.CreateBackup(  # noqa: E731
        admin_pb.CreateBackupRequest(), timeout=TIMEOUT_S))
    if kind != "embedded":
        assert reason_of(backup) == (PRECONDITION, "STORE_NOT_EMBEDDED")
    begin = admin_pb.ReconcileBegin(app_id=app.id, has_accounts=True, as_of=LONG_AGO,
                                    mode=admin_pb.RECONCILE_MODE_APPLY)
    compare = lambda: list(app.administration.Reconcile(  # noqa: E731
        iter([admin_pb.ReconcileRequest(begin=begin)]), timeout=TIMEOUT_S))
    app.register()
    assert reason_of(compare) == (PRECONDITION, "NOT_TRACKED")
    app.admin("TrackChanges")
    assert reason_of(compare) == (INVALID, "EXPORT_TOO_EARLY")
    watch = lambda: list(app.administration.WatchEvents(  # noqa: E731
        admin_pb.WatchEventsRequest(resume_token="99999999"), timeout=TIMEOUT_S))
    assert reason_of(watch) == (11, "RESUME_TOKEN_BEYOND_END")


WRONG_TOKENS = ["x", "-1", "+1", "01", "1 ", "99", "9223372036854775807", "9223372036854775808",
                "18446744073709551615", "18446744073709551616", "é"]
PAGED = {
    "ListAuditEvents": WRONG_TOKENS,
    "ListSetAsideOperations": WRONG_TOKENS,
    "ListJournalEntries": WRONG_TOKENS,
    "ListApps": ["a b", "a:b", "é", "x" * 65],
}


def test_the_table_has_every_paged_rpc():
    (service,) = admin_pb.DESCRIPTOR.services_by_name.values()
    paged = {method.name for method in service.methods
             if "page_token" in method.input_type.fields_by_name}
    assert paged == set(PAGED)


def test_a_wrong_page_token_is_an_invalid_argument_everywhere(stored):
    with App(stored[1]) as app:
        app.register()
        entries = 0
        for rpc, tokens in PAGED.items():
            request = getattr(admin_pb, f"{rpc}Request")
            call = getattr(app.administration, rpc)
            for token in tokens:
                error = error_of(lambda: call(request(page_token=token), timeout=TIMEOUT_S))  # noqa: B023
                assert (rpc, token, bad_fields(error)) == (rpc, token, ["page_token"])
                assert error_info(error).reason == "INVALID_FIELDS"
        page = admin_pb.ListAuditEventsRequest(page_size=1)
        while True:
            answer = app.administration.ListAuditEvents(page, timeout=TIMEOUT_S)
            entries += len(answer.events)
            if not answer.next_page_token:
                break
            page.page_token = answer.next_page_token
        assert entries == answer.head_number > 0, "right tokens lead through the whole log"


def test_the_outlook_of_a_service_that_stops_has_no_limit(app):
    app.upgrade()
    app.create_group("g", "Public", "u")
    usages = [*app.usages().values(), *app.usages(user_id="u").values(),
              *app.usages(group_id="g").values()]
    outlooks = [usage.future_limit for usage in usages if usage.HasField("future_limit")]
    stops = [outlook for outlook in outlooks if outlook.service_stopped]
    assert stops
    assert not any(outlook.HasField("limit") for outlook in stops)


HEADER = "imquota-deny-as-error"


@pytest.mark.parametrize("value", ["1", "true", "True", "TRUE"])
def test_denials_are_errors_by_every_spelling_of_true(tcp_app, value):
    tcp_app.create_group("g:1", "Public", "owner", names("m", 19))
    call = lambda: tcp_app.join("g:1", "late", metadata=[(HEADER, value)])  # noqa: E731
    assert reason_of(call) == (8, "MEMBERS_PER_GROUP")


@pytest.mark.parametrize("value", ["0", "false", "False"])
def test_denials_are_responses_by_every_spelling_of_false(tcp_app, value):
    tcp_app.create_group("g", "Public", "owner", names("m", 19))
    (result,) = tcp_app.join("g", "late", metadata=[(HEADER, value)])
    assert result.denials


@pytest.mark.parametrize("value", ["", "yes", "2", "on", "tru"])
def test_any_other_value_of_the_header_is_refused_by_its_name(tcp_app, value):
    tcp_app.create_group("g", "Public", "owner")
    error = error_of(lambda: tcp_app.join("g", "late", metadata=[(HEADER, value)]))
    assert bad_fields(error) == [HEADER]
    assert HEADER in error.details()
    assert tcp_app.members("g") == 1, "nothing was done"


def test_subjects_of_a_denial_are_kind_colon_unchanged_id(tcp_app):
    app = tcp_app
    busy, group = "busy:1 %3A", "g:1\\:"
    app.create_group(group, "Public", "owner", names("m", 19))
    app.create_groups(names("h", 50), "Public", busy)
    error = error_of(lambda: app.join(group, busy, metadata=[(HEADER, "true")]))
    failure = detail(error, error_details_pb2.QuotaFailure)
    subjects = [violation.subject.split(":", 1) for violation in failure.violations]
    assert subjects == [["user", busy], ["group", group]]
    app.create_accounts(*names("u", 100))
    request = quota_pb.CreateAccountsRequest(app_id=app.id, user_ids=["more"])
    error = error_of(lambda: app.quota.CreateAccounts(
        request, timeout=TIMEOUT_S, metadata=[(HEADER, "true")]))
    failure = detail(error, error_details_pb2.QuotaFailure)
    assert [violation.subject for violation in failure.violations] == [f"app:{app.id}"]


def test_an_operation_of_apply_has_the_error_of_the_unary_call(tcp_app):
    app = tcp_app
    operations = {
        "JoinGroup": {"group_id": "none", "user_ids": ["u"]},
        "CreateAccounts": {"user_ids": []},
        "DeleteAccounts": {"user_ids": names("u", 101)},
        "GetUsage": {},
    }
    fields = {"JoinGroup": "join_group", "CreateAccounts": "create_accounts",
              "DeleteAccounts": "delete_accounts", "GetUsage": "get_usage"}
    for rpc, content in operations.items():
        request = getattr(quota_pb, f"{rpc}Request")(app_id=app.id, **content)
        error = error_of(lambda: getattr(app.quota, rpc)(request, timeout=TIMEOUT_S))  # noqa: B023
        on_stream = quota_pb.ApplyRequest(tag=1, **{fields[rpc]: request})
        (answer,) = app.quota.Apply(iter([on_stream]), timeout=TIMEOUT_S)
        info, retry = error_info(error), detail(error, error_details_pb2.RetryInfo)
        assert info and info.domain == "imquota.v1"
        assert (answer.error.code, answer.error.message, answer.error.reason) == (
            error.code().value[0], error.details(), info.reason)
        assert answer.error.HasField("retry_delay") == (retry is not None)
        metadata = dict(info.metadata)
        assert int(metadata.pop("im_error_code", 0)) == answer.error.im_error_code
        assert dict(answer.error.metadata) == metadata


def test_the_retry_delay_on_apply_equals_that_of_a_unary_call():
    settings = ("--journal", "off", "--store-timeout-ms", "200")
    with Redis() as redis:
        with Sidecar(*settings, store=f"redis://127.0.0.1:{redis.port}/0") as sidecar:
            with App(sidecar) as app:
                app.create_accounts("u")
                redis.freeze()
                request = quota_pb.CreateAccountsRequest(app_id=app.id, user_ids=["v"])
                error = error_of(lambda: app.quota.CreateAccounts(request, timeout=TIMEOUT_S))
                on_stream = quota_pb.ApplyRequest(tag=1, create_accounts=request)
                (answer,) = app.quota.Apply(iter([on_stream]), timeout=TIMEOUT_S)
                redis.thaw()
        retry = detail(error, error_details_pb2.RetryInfo)
        assert error.code() == grpc.StatusCode.UNAVAILABLE
        assert answer.error.reason == error_info(error).reason
        assert retry and answer.error.retry_delay == retry.retry_delay
        assert retry.retry_delay.ToMilliseconds() > 0


def test_callers_without_permission_get_a_reason(tmp_path):
    token = "v" * 40
    digest = hashlib.sha256(token.encode()).hexdigest()
    (tmp_path / "tokens").write_text(f"ann viewer sha256:{digest}\n")
    with Sidecar("--admin-tokens-file", str(tmp_path / "tokens"), store="memory") as sidecar:
        with App(sidecar) as app:
            stub = admin_grpc.AdminServiceStub(app.admin_channel)
            create = admin_pb.CreateAppRequest(app_id=app.id, request_id="r")
            as_ann = [("authorization", f"Bearer {token}")]
            call = lambda metadata: lambda: stub.CreateApp(  # noqa: E731
                create, timeout=TIMEOUT_S, metadata=metadata)
            assert reason_of(call(None)) == (16, "CREDENTIALS_INVALID")
            assert reason_of(call(as_ann)) == (7, "ROLE_TOO_LOW")
            metering = metering_grpc.MeteringServiceStub(app.channel)
            statement = metering_pb.GetStatementRequest(app_id=app.id)
            assert reason_of(lambda: metering.GetStatement(statement, timeout=TIMEOUT_S)) == (
                7, "ADMIN_LISTENER_ONLY")


def test_malformed_messages_have_a_reason(tcp_app):
    for channel, rpc in [(tcp_app.channel, "QuotaService/JoinGroup"),
                         (tcp_app.admin_channel, "AdminService/GetApp"),
                         (tcp_app.admin_channel, "MeteringService/GetStatement")]:
        call = channel.unary_unary(f"/imquota.v1.{rpc}")
        assert reason_of(lambda: call(b"\xff", timeout=TIMEOUT_S)) == (  # noqa: B023
            INVALID, "MALFORMED_MESSAGE")
