"""Telemetry of the sidecar: metrics, spans, request ids, and the top denials."""

import threading
import time
from concurrent import futures
from contextlib import contextmanager

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from prometheus_client import parser

from app import APPLIED, DENIED, App, names, outcomes
from http_port import get, metric
from sidecar import Sidecar, free_ports, wait_until
from stubs import admin_pb, common_pb, quota_pb

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SENT_WITHIN_S = 20


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """A minimal OpenTelemetry collector that stores received spans."""

    def __init__(self):
        self._lock = threading.Lock()
        self._spans = []

    def Export(self, request, context):  # noqa: N802, the name of the RPC
        with self._lock:
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    self._spans.extend(scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()

    def spans(self) -> list:
        """All spans received so far."""
        with self._lock:
            return list(self._spans)


@contextmanager
def collector():
    """A running collector and its endpoint."""
    kept = Collector()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(kept, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield kept, f"http://127.0.0.1:{port}"
    finally:
        server.stop(None)


def attributes(span) -> dict:
    """A span's attributes as plain values."""
    return {each.key: each.value.string_value or each.value.int_value
            for each in span.attributes}


def join(app: App, *metadata: tuple[str, str], group: str = "g", user: str = "u"):
    """Makes a join with that metadata; returns the call."""
    request = quota_pb.JoinGroupRequest(app_id=app.id, group_id=group, user_ids=[user])
    return app.quota.JoinGroup.with_call(request, timeout=20, metadata=metadata)


def parent(flags: str) -> tuple[str, str]:
    """The `traceparent` metadata of a caller."""
    return "traceparent", f"00-{TRACE}-{SPAN}-{flags}"


def test_a_traced_caller_gets_spans_in_their_trace_and_others_by_the_ratio():
    with collector() as (kept, endpoint):
        settings = ("--otlp-endpoint", endpoint, "--trace-sample-ratio", "0")
        with Sidecar(*settings, store="memory") as sidecar, App(sidecar) as app:
            app.create_group("g")
            for _ in range(20):
                join(app)
                join(app, parent("00"))
                join(app, ("traceparent", "nonsense"))
            join(app, parent("01"), ("x-request-id", "r-1"))
            with pytest.raises(grpc.RpcError):
                join(app, parent("01"), group="nowhere")
            requests = [
                quota_pb.ApplyRequest(tag=tag, join_group=quota_pb.JoinGroupRequest(
                    app_id=app.id, group_id="g", user_ids=[f"a{tag}"])) for tag in range(3)]
            list(app.quota.Apply(iter(requests), timeout=20, metadata=[parent("01")]))
        # The shutdown sends the remaining spans.
        spans = kept.spans()
        calls = {attributes(span)["rpc.method"]: span for span in spans
                 if "rpc.method" in attributes(span)}
        assert {span.trace_id.hex() for span in spans} == {TRACE}, "no other trace"
        joins = [span for span in spans if attributes(span).get("rpc.method") == "JoinGroup"]
        assert sorted(attributes(span)["rpc.grpc.status_code"] for span in joins) == [0, 5]
        assert {span.parent_span_id.hex() for span in joins} == {SPAN}
        assert attributes(calls["JoinGroup"])["rpc.service"] == "imquota.v1.QuotaService"
        assert "r-1" in [attributes(span).get("request_id") for span in joins]
        stores = [span for span in spans if span.name == "store apply"]
        assert {attributes(span)["imquota.app_id"] for span in stores} == {app.id}
        assert sorted(attributes(span)["outcome"] for span in stores) == (
            ["group_not_found"] + ["ok"] * 4)
        operations = [span for span in spans if span.name == "Apply operation"]
        assert {span.parent_span_id for span in operations} == {calls["Apply"].span_id}
        parents = {span.parent_span_id for span in stores}
        assert parents == {span.span_id for span in [*joins, *operations]}


def test_with_a_ratio_of_one_every_call_is_a_trace():
    with collector() as (kept, endpoint):
        settings = ("--otlp-endpoint", endpoint, "--trace-sample-ratio", "1")
        with Sidecar(*settings, store="memory") as sidecar, App(sidecar) as app:
            app.create_group("g")
            for number in range(30):
                join(app, user=f"u{number}")
            wait_until(lambda: kept.spans(), SENT_WITHIN_S, "spans are sent before the shutdown")
        joins = [span for span in kept.spans() if span.name.endswith("/JoinGroup")]
        assert len({span.trace_id for span in joins}) == 30


@pytest.mark.parametrize("hangs", [False, True], ids=["gone", "hangs"])
def test_an_unavailable_collector_costs_only_the_spans(hangs):
    with grpc_black_hole(hangs) as endpoint:
        settings = ("--otlp-endpoint", endpoint, "--trace-sample-ratio", "1")
        with Sidecar(*settings, store="memory") as sidecar, App(sidecar) as app:
            app.create_group("g")
            began = time.monotonic()
            for number in range(300):
                answer, _ = join(app, user=f"u{number % 15}")
                assert answer.results
            assert time.monotonic() - began < 20
            began = time.monotonic()
        assert time.monotonic() - began < 15, "the shutdown is not delayed for long"


@contextmanager
def grpc_black_hole(hangs: bool):
    """An endpoint without a listener, or one that accepts connections and never responds."""
    import socket
    if not hangs:
        yield f"http://127.0.0.1:{free_ports(1)[0]}"
        return
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("service", ["quota", "admin", "health"])
def test_a_request_id_comes_back_with_the_answer_and_with_an_error(sidecar, service):
    with App(sidecar) as app:
        def call(request_id: str, bad: bool = False):
            metadata = [("x-request-id", request_id)]
            if service == "quota":
                request = quota_pb.GetUsageRequest(
                    app_id="" if bad else app.id, subject=common_pb.Subject(
                        app=common_pb.AppSubject()))
                rpc = app.quota.GetUsage
            elif service == "admin":
                request = admin_pb.GetAppRequest(app_id="absent") if bad else (
                    admin_pb.GetCatalogRequest())
                rpc = app.administration.GetApp if bad else app.administration.GetCatalog
            else:
                from grpc_health.v1 import health_pb2, health_pb2_grpc
                request = health_pb2.HealthCheckRequest(service="nothing" if bad else "")
                rpc = health_pb2_grpc.HealthStub(app.channel).Check
            try:
                _, done = rpc.with_call(request, timeout=20, metadata=metadata)
            except grpc.RpcError as error:
                assert bad, error
                done = error
            told = [*(done.initial_metadata() or []), *(done.trailing_metadata() or [])]
            return [value for key, value in told if key == "x-request-id"]

        assert call("order 4711/~") == ["order 4711/~"]
        assert call("r2", bad=True) == ["r2"]
        assert call("x" * 128) == ["x" * 128]
        assert call("x" * 129) == [], "too long"


def test_metrics_are_complete_and_name_no_subject():
    with Sidecar(store="memory", management=True) as sidecar, App(sidecar) as app:
        secret_user, secret_group = "user-very-secret", "group-very-secret"
        app.create_group(secret_group)
        join(app, group=secret_group, user=secret_user)
        app.create_accounts(*names("a", 100))
        assert outcomes(app.create_accounts("one-more")) == [DENIED]
        with pytest.raises(grpc.RpcError):
            join(app, group="nowhere")
        app.usages(user_id=secret_user)
        status, text = get(sidecar.management_port, "/metrics")
        assert status == 200
        families = {family.name: family for family in parser.text_string_to_metric_families(text)}
        for name in [
            "imquota_build_info", "imquota_decisions", "imquota_errors", "imquota_operation_seconds",
            "imquota_store_calls", "imquota_store_call_seconds", "imquota_ready",
            "imquota_store_up", "imquota_store_silent_seconds", "imquota_in_flight",
            "imquota_shed", "imquota_journal_entries", "imquota_journal_replayed",
            "imquota_catalog", "process_cpu_seconds", "process_resident_memory_bytes",
            "process_open_fds", "process_max_fds", "process_start_time_seconds",
        ]:
            assert name in families, name
        assert "very-secret" not in text and app.id not in text
        port = sidecar.management_port
        assert metric(port, "imquota_decisions_total", operation="create_accounts",
                      outcome="denied", reason="accounts_per_app") == 1
        assert metric(port, "imquota_decisions_total", operation="create_accounts",
                      outcome="applied") == 100
        assert metric(port, "imquota_store_calls_total", call="apply", outcome="ok") == 4
        assert metric(port, "imquota_store_calls_total", call="apply",
                      outcome="group_not_found") == 1
        assert metric(port, "imquota_store_call_seconds_count", call="apply") == 5
        assert metric(port, "imquota_store_calls_total", call="read") == 1
        assert 0 <= time.time() - metric(port, "process_start_time_seconds") < 60
        assert 1e6 < metric(port, "process_resident_memory_bytes") < 1e9
        assert 5 < metric(port, "process_open_fds") < 200


def test_top_denials_are_named_and_counted():
    with Sidecar(store="memory") as sidecar, App(sidecar) as app, App(sidecar) as other:
        for each, times in ((app, 7), (other, 3)):
            each.create_accounts(*names("a", 100))
            for number in range(times):
                assert outcomes(each.create_accounts(f"more{number}")) == [DENIED]
        app.create_groups(names("g", 52))
        for group in names("g", 50):
            join(app, group=group, user="many")
        for group in ("g50", "g51", "g50"):
            join(app, group=group, user="many")
        # Dry runs count as no denial.
        app.create_accounts("asked", mode=common_pb.MODE_CHECK_ONLY)

        def top(**fields):
            return app.administration.ListTopDenials(
                admin_pb.ListTopDenialsRequest(**fields), timeout=20)

        found = top()
        assert [(each.app_id, each.denials, each.error) for each in found.apps] == [
            (app.id, 10, 0), (other.id, 3, 0)]
        assert [(each.app_id, each.limit_id, each.subject.user_id, each.denials)
                for each in found.subjects] == [
            (app.id, "accounts_per_app", "", 7), (other.id, "accounts_per_app", "", 3),
            (app.id, "groups_per_user", "many", 3)] or len(found.subjects) == 3
        assert abs(time.time() - found.since.seconds) < 60
        assert [each.denials for each in top(app_id=other.id).subjects] == [3]
        assert len(top(page_size=1).subjects) == 1
        with pytest.raises(grpc.RpcError) as caught:
            top(page_size=101)
        assert "page_size" in caught.value.details()
        assert outcomes([join(app, user="fine", group="g0")[0].results[0]]) == [APPLIED]
