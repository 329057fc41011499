"""Every RPC passes the same layers with JSON as with gRPC.

The table lists the layers, and each test makes every unary RPC both ways: the answers, errors and
details have to be equal. The bounds that need a store that does not reply are in `test_bounds`,
streams in `test_streams`.
"""

import base64
import hashlib
import json
import re

import grpc
import pytest
from google.protobuf import json_format
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from app import App
from bad_input import VALID
from connect_http import JSON, call
from http_port import metric
from sidecar import Sidecar, connect
from stubs import admin_grpc, admin_pb, metering_grpc, metering_pb, quota_grpc, quota_pb

TIMEOUT_S = 10
OF_METERING = {
    "RecordLogins": {"logins": [{"user_id": "u"}]},
    "ReportBandwidth": {"samples": []},
    "ReportGauge": {},
    "SetMessageRetention": {"days": 30, "request_id": "new"},
    "GetStatement": {"month": "2019-08"},
    "ExportStatement": {"month": "2019-08"},
}
MODULES = {"QuotaService": (quota_pb, quota_grpc), "AdminService": (admin_pb, admin_grpc),
           "MeteringService": (metering_pb, metering_grpc)}
STREAMS = {"Apply", "WatchEvents", "Reconcile", "CreateBackup"}


def unary() -> list[tuple[str, str]]:
    """Service and name of every unary RPC of the protos."""
    found = []
    for name, (messages, _) in MODULES.items():
        for method in messages.DESCRIPTOR.services_by_name[name].methods:
            is_stream = method.client_streaming or method.server_streaming
            assert is_stream == (method.name in STREAMS), method.name
            found += [] if is_stream else [(name, method.name)]
    return found


UNARY = unary()
EVERY = pytest.mark.parametrize("service, rpc", UNARY, ids=[rpc for _, rpc in UNARY])


def request_of(service: str, rpc: str, app_id: str):
    """A valid request for an app."""
    messages, _ = MODULES[service]
    fields = dict(VALID.get(rpc, OF_METERING.get(rpc, {})))
    request = getattr(messages, f"{rpc}Request")
    if "app_id" in request.DESCRIPTOR.fields_by_name:
        fields["app_id"] = app_id
    if "request_id" in fields:
        fields["request_id"] = f"{app_id}-request"
    return request(**fields)


def by_grpc(target: str, service: str, rpc: str, request, metadata=()) -> dict:
    """The answer or error of a call by gRPC, in the form of JSON."""
    _, stubs = MODULES[service]
    with connect(target) as channel:
        method = getattr(getattr(stubs, f"{service}Stub")(channel), rpc)
        try:
            return json_format.MessageToDict(method(request, timeout=TIMEOUT_S, metadata=metadata))
        except grpc.RpcError as error:
            status = rpc_status.from_call(error)
            details = [] if status is None else [
                decoded(each.type_url.rsplit("/", 1)[1], each.value) for each in status.details]
            return {"code": error.code().name.lower(), "message": error.details(),
                    "details": details}


def decoded(name: str, value: bytes) -> dict:
    """A detail of an error."""
    message = getattr(error_details_pb2, name.removeprefix("google.rpc."))
    return {name: json_format.MessageToDict(message.FromString(value))}


def by_json(target: str, service: str, rpc: str, request, headers=None) -> dict:
    """The answer or error of a call by JSON."""
    body = json_format.MessageToDict(request)
    answer = call(target, f"/imquota.v1.{service}/{rpc}", body, headers={**JSON, **(headers or {})})
    found = answer.json()
    if answer.status == 200:
        return found
    details = [decoded(each["type"], base64.b64decode(each["value"] + "=="))
               for each in found.get("details", [])]
    code = found["code"].replace("canceled", "cancelled")
    return {"code": code, "message": found.get("message", ""), "details": details}


def masked(answer: dict, app_id: str) -> dict:
    """An answer without the app, instants and random ids."""
    text = json.dumps(answer, sort_keys=True).replace(app_id, "APP")
    # Request ids of the helper that sells editions.
    text = re.sub(r"[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}", "ID", text)
    text = re.sub(r'"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z"', '"AT"', text)
    return json.loads(text)


@pytest.fixture(scope="module")
def served():
    """A sidecar with metrics."""
    with Sidecar(management=True) as sidecar:
        yield sidecar


def target_of(sidecar: Sidecar, service: str) -> str:
    """The listener on which a service has all its RPCs."""
    return sidecar.tcp if service == "QuotaService" else sidecar.admin


def test_the_table_has_every_rpc():
    listed = set(VALID) | set(OF_METERING)
    assert {rpc for _, rpc in UNARY} == listed


@EVERY
def test_an_empty_request_has_the_same_error_or_answer(served, service, rpc):
    messages, _ = MODULES[service]
    empty = getattr(messages, f"{rpc}Request")()
    target = target_of(served, service)
    of_grpc = by_grpc(target, service, rpc, empty)
    of_json = by_json(target, service, rpc, empty)
    assert masked(of_json, "-") == masked(of_grpc, "-")


@EVERY
def test_a_valid_request_has_the_same_answer(served, service, rpc):
    """On two apps of which the same is held, each by its own protocol."""
    target, answers = target_of(served, service), []
    for protocol, make in (("grpc", by_grpc), ("json", by_json)):
        app_id = f"{rpc}-{protocol}"
        with App(served, app_id=app_id) as app:
            if rpc != "CreateApp":
                app.upgrade()
            app.create_accounts("u", "f", "m")
            app.add_friends("u", "f", "m")
            app.create_group("g", "Public", "u", ["f", "m"])
            answer = make(target, service, rpc, request_of(service, rpc, app_id))
            answers.append(masked(answer, app_id))
    of_grpc, of_json = answers
    if rpc in ("ListApps", "ListAuditEvents", "ListTopDenials", "GetStoreState"):
        # They have the calls before; only their form can be compared.
        assert set(of_json) == set(of_grpc)
    else:
        assert of_json == of_grpc


def test_calls_are_counted_once_and_by_protocol(served):
    def counted(protocol: str) -> float:
        return metric(served.management_port, "imquota_calls_total", protocol=protocol)

    for service, rpc in UNARY:
        messages, _ = MODULES[service]
        empty = getattr(messages, f"{rpc}Request")()
        before = counted("grpc"), counted("connect")
        by_json(target_of(served, service), service, rpc, empty)
        assert (counted("grpc"), counted("connect")) == (before[0], before[1] + 1), rpc


@EVERY
def test_a_deadline_that_has_passed_is_one_for_every_rpc(served, service, rpc):
    headers = {"connect-timeout-ms": "0"}
    request = request_of(service, rpc, f"{rpc}-deadline")
    answer = by_json(target_of(served, service), service, rpc, request, headers)
    # What needs no store may have its answer at once.
    assert answer.get("code", "deadline_exceeded") in (
        "deadline_exceeded", "not_found", "failed_precondition", "invalid_argument"), answer


def token(name: str) -> str:
    """The token of a caller."""
    return "imq_" + hashlib.sha256(name.encode()).hexdigest()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A sidecar whose admin listener needs tokens."""
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    lines = [f"{role} {role} sha256:{hashlib.sha256(token(role).encode()).hexdigest()}\n"
             for role in ("viewer", "operator", "owner")]
    tokens.write_text("".join(lines))
    with Sidecar("--admin-tokens-file", str(tokens), store="memory") as sidecar:
        yield sidecar


@pytest.mark.parametrize("caller", ["", "stranger", "viewer", "operator"])
@pytest.mark.parametrize("service", ["AdminService", "MeteringService"])
def test_authentication_and_roles_are_the_same_for_every_rpc(guarded, service, caller):
    credentials = {"authorization": f"Bearer {token(caller)}"} if caller else {}
    refused = 0
    for name, rpc in UNARY:
        if name != service:
            continue
        messages, _ = MODULES[service]
        empty = getattr(messages, f"{rpc}Request")()
        of_grpc = by_grpc(guarded.admin, service, rpc, empty, tuple(credentials.items()))
        of_json = by_json(guarded.admin, service, rpc, empty, credentials)
        assert masked(of_json, "-") == masked(of_grpc, "-"), rpc
        refused += of_json.get("code") in ("unauthenticated", "permission_denied")
        assert of_json.get("code") == "unauthenticated" or caller in ("viewer", "operator")
    assert refused > 0 or (service, caller) == ("MeteringService", "operator")
