"""Unary calls with JSON: names, types, errors, headers, and the description."""

import json

import pytest
from google.rpc import error_details_pb2

from app import App
from connect_http import ADMIN, JSON, QUOTA, call
from details import detail, error_of
from http_port import metric
from sidecar import Sidecar
from stubs import PROTO, quota_pb

BOTH = pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])


def join(group: str, *users: str, app: str = "json") -> dict:
    """A request of JoinGroup."""
    return {"appId": app, "groupId": group, "userIds": users}


@pytest.fixture(scope="module")
def json_app(sidecar):
    """An app with a group."""
    with App(sidecar, app_id="json") as app:
        app.create_group("g", "Public", "owner", ["m"])
        yield app


@BOTH
def test_names_are_those_of_json_and_requests_may_use_those_of_the_protos(sidecar, json_app, http2):
    users = [f"u{http2}", f"v{http2}"]
    for names in (join("g", *users),
                  {"app_id": "json", "group_id": "g", "user_ids": users, "mode": "MODE_ENFORCE"}):
        answer = call(sidecar.tcp, QUOTA + "JoinGroup", names, http2=http2)
        assert answer.status == 200 and answer.headers["content-type"] == "application/json"
        assert [each["id"] for each in answer.json()["results"]] == users
        assert answer.json()["decision"]["decidedAt"].endswith("Z")
    assert answer.json()["results"][0]["outcome"] == "OUTCOME_ALREADY_HELD"
    usage = call(sidecar.unix, QUOTA + "GetUsage", {"appId": "json", "subject": {"groupId": "g"}})
    (members,) = usage.json()["usages"]
    assert members["limitId"] == "members_per_group" and isinstance(members["used"], str)
    assert usage.headers["imquota-time-zone"]
    health = call(sidecar.admin, "/grpc.health.v1.Health/Check", {}, http2=http2)
    assert health.json() == {"status": "SERVING"}


@BOTH
def test_the_binary_form_is_served_too(sidecar, json_app, http2):
    request = quota_pb.GetUsageRequest(app_id="json", subject={"user_id": "m"})
    answer = call(sidecar.tcp, QUOTA + "GetUsage", request.SerializeToString(),
                  headers={"content-type": "application/proto"}, http2=http2)
    assert answer.status == 200 and answer.headers["content-type"] == "application/proto"
    usages = quota_pb.GetUsageResponse.FromString(answer.body).usages
    assert {each.limit_id: each.used for each in usages}["groups_per_user"] == 1
    broken = call(sidecar.tcp, QUOTA + "GetUsage", b"\xff" * 11,
                  headers={"content-type": "application/proto"}, http2=http2)
    assert (broken.status, broken.reason()) == (400, "MALFORMED_MESSAGE")


def test_a_denial_is_an_answer_and_an_error_only_by_request(sidecar, json_app):
    many = [f"w{number}" for number in range(300)]
    answer = call(sidecar.tcp, QUOTA + "JoinGroup", join("g", *many))
    denied = [each for each in answer.json()["results"] if each["outcome"] == "OUTCOME_DENIED"]
    assert answer.status == 200 and denied[0]["denials"][0]["limitId"] == "members_per_group"
    error = call(sidecar.tcp, QUOTA + "JoinGroup", join("g", "x"),
                 headers={**JSON, "imquota-deny-as-error": "1"})
    assert (error.status, error.json()["code"]) == (429, "resource_exhausted")
    assert error.reason() == "MEMBERS_PER_GROUP"
    kinds = [each["type"] for each in error.json()["details"]]
    assert "google.rpc.QuotaFailure" in kinds


@pytest.mark.parametrize("body, reason, named", [
    (b"", "MALFORMED_MESSAGE", "EOF"),
    (b"[]", "MALFORMED_MESSAGE", "invalid type"),
    (b"{", "MALFORMED_MESSAGE", "EOF"),
    (b"{} {}", "MALFORMED_MESSAGE", "trailing"),
    (b'{"appId": 7}', "MALFORMED_MESSAGE", "invalid type"),
    (b'{"userIdz": []}', "MALFORMED_MESSAGE", "userIdz"),
    (b'{"mode": "MODE_NOPE"}', "MALFORMED_MESSAGE", "MODE_NOPE"),
    (b'{"appId": "\xff"}', "MALFORMED_MESSAGE", "JoinGroupRequest"),
    (b"{}", "INVALID_FIELDS", "app_id"),
    (b'{"appId":' + b"[" * 17, "MALFORMED_MESSAGE", "nested"),
    (b'{"userIds":["a"' + b',"a"' * 32_000 + b"]}", "MESSAGE_TOO_LARGE", "values"),
    (b'{"userIds":[{}' + b",{}" * 2_048 + b"]}", "MESSAGE_TOO_LARGE", "objects"),
    (b'{"appId":"' + b"a" * 2**20 + b'"}', "MESSAGE_TOO_LARGE", "1048576"),
], ids=range(13))
def test_a_bad_message_is_refused_with_what_is_wrong(sidecar, body, reason, named):
    # curl takes an answer before the end of its request over HTTP/2 for an error.
    for http2 in (False, True)[:1 + (len(body) < 2**20)]:
        answer = call(sidecar.tcp, QUOTA + "JoinGroup", body, http2=http2)
        assert answer.status == 400, answer
        assert answer.reason() == reason and named in answer.json()["message"], answer.json()


def test_the_details_are_those_of_grpc(sidecar):
    with App(sidecar, app_id="json") as app:
        request = quota_pb.JoinGroupRequest(app_id="", user_ids=["", "ok"])
        of_grpc = error_of(lambda: app.quota.JoinGroup(request, timeout=5))
    of_json = call(sidecar.tcp, QUOTA + "JoinGroup", {"appId": "", "userIds": ["", "ok"]}).json()
    assert of_json["message"] == of_grpc.details()
    fields = detail(of_grpc, error_details_pb2.BadRequest).field_violations
    (request,) = (each["debug"] for each in of_json["details"]
                  if each["type"] == "google.rpc.BadRequest")
    assert request["fieldViolations"] == [
        {"field": each.field, "description": each.description} for each in fields]


@pytest.mark.parametrize("method, path, headers, status, header", [
    (None, QUOTA + "GetUsage", {}, 405, ("allow", "POST")),
    ("PUT", QUOTA + "GetUsage", JSON, 405, ("allow", "POST")),
    ("POST", QUOTA + "Nope", JSON, 404, None),
    ("POST", "/", JSON, 404, None),
    ("POST", QUOTA + "GetUsage", {"content-type": "text/plain"}, 415,
     ("accept-post", "application/json, application/proto")),
    ("POST", QUOTA + "GetUsage", {"content-type": "application/grpc"}, 415, None),
    ("POST", QUOTA + "Apply", JSON, 415,
     ("accept-post", "application/connect+json, application/connect+proto")),
    ("POST", QUOTA + "GetUsage", {**JSON, "content-encoding": "gzip"}, 501,
     ("accept-encoding", "identity")),
    ("POST", QUOTA + "GetUsage", {**JSON, "connect-protocol-version": "2"}, 400, None),
    ("POST", QUOTA + "GetUsage", {**JSON, "connect-timeout-ms": "soon"}, 400, None),
    ("POST", QUOTA + "GetUsage", {**JSON, "connect-timeout-ms": "0"}, 504, None),
    ("POST", ADMIN + "ListApps", JSON, 501, None),
])
def test_what_is_not_served_has_its_own_status(sidecar, method, path, headers, status, header):
    usage = {} if path.endswith("ListApps") else {"appId": "a", "subject": {"app": {}}}
    body = usage if method else None
    answer = call(sidecar.tcp, path, body, method=method, headers=headers)
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/json" and answer.json()["code"]
    assert header is None or answer.headers[header[0]] == header[1]
    assert not any(name.startswith("access-control-") for name in answer.headers)


def test_a_request_id_is_returned_and_calls_are_counted_by_protocol():
    with Sidecar(store="memory", management=True) as sidecar:
        headers = {**JSON, "x-request-id": "request-7"}
        usage = {"appId": "a", "subject": {"app": {}}}
        answer = call(sidecar.tcp, QUOTA + "GetUsage", usage, headers=headers)
        assert answer.headers["x-request-id"] == "request-7"
        for _ in range(3):
            call(sidecar.tcp, QUOTA + "GetUsage", {})
        counted = {(protocol, code): metric(sidecar.management_port, "imquota_calls_total",
                                            protocol=protocol, code=code)
                   for protocol in ("grpc", "connect") for code in ("ok", "invalid_argument")}
        assert counted["connect", "ok"] == 1 and counted["connect", "invalid_argument"] == 3
        # Those of health, by which the sidecar was waited for.
        assert counted["grpc", "ok"] >= 3 and counted["grpc", "invalid_argument"] == 0
        assert metric(sidecar.management_port, "imquota_operation_seconds_count",
                      operation="get_usage") == 1, "the metrics of operations have both"


def test_the_description_is_served_on_every_listener(sidecar):
    kept = json.loads((PROTO / "openapi.json").read_text())
    for target in (sidecar.tcp, sidecar.unix, sidecar.admin):
        answer = call(target, "/openapi.json", headers={})
        assert answer.status == 200 and answer.json() == kept
    assert "/imquota.v1.QuotaService/JoinGroup" in kept["paths"]


def test_a_call_without_time_is_not_carried_out(sidecar):
    with App(sidecar) as app:
        app.create_group("g", "Public", "owner")
        join = {"appId": app.id, "groupId": "g", "userIds": ["late"]}
        for http2 in (False, True):
            answer = call(sidecar.tcp, QUOTA + "JoinGroup", join, http2=http2,
                          headers={**JSON, "connect-timeout-ms": "0"})
            assert answer.status == 504, answer
        assert app.members("g") == 1


def test_an_error_does_not_repeat_a_long_text_of_the_caller(sidecar):
    for request in ({"x" * 900_000: 1}, {"mode": "M" * 900_000}):
        answer = call(sidecar.tcp, QUOTA + "JoinGroup", request)
        assert (answer.status, answer.reason()) == (400, "MALFORMED_MESSAGE")
        assert len(answer.body) < 4_000
