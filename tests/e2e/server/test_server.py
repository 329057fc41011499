"""The server: health, reflection, denials as errors, and deadlines."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from app import ALREADY_HELD, APPLIED, TIMEOUT_S, denial_of, names, outcomes
from details import detail, error_info, error_of
from reflection import reflect
from sidecar import binary, clean_environment, connect
from stubs import REPOSITORY, admin_grpc, admin_pb, quota_pb

SERVING = health_pb2.HealthCheckResponse.SERVING
DENY_AS_ERROR = [("imquota-deny-as-error", "1")]


# Health and reflection.


@pytest.mark.parametrize(
    ("listener", "service"),
    [
        ("tcp", ""), ("tcp", "imquota.v1.QuotaService"),
        ("unix", ""), ("unix", "imquota.v1.QuotaService"),
        ("admin", ""), ("admin", "imquota.v1.AdminService"),
    ],
)
def test_health_is_serving_for_the_server_and_each_service(sidecar, listener, service):
    with connect(getattr(sidecar, listener)) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=TIMEOUT_S)
    assert answer.status == SERVING


def test_health_of_an_unknown_service_is_not_found(sidecar):
    with connect(sidecar.tcp) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service="imquota.v1.NoSuchService")
        error = error_of(lambda: stub.Check(request, timeout=TIMEOUT_S))
    assert error.code() == grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
@pytest.mark.parametrize(
    ("listener", "service"),
    [("tcp", "imquota.v1.QuotaService"), ("admin", "imquota.v1.AdminService")],
)
def test_reflection_lists_and_describes_the_services(sidecar, version, listener, service):
    target = getattr(sidecar, listener)
    listed = reflect(target, version, list_services="").list_services_response.service
    assert service in [each.name for each in listed]
    described = reflect(target, version, file_containing_symbol=service)
    assert described.file_descriptor_response.file_descriptor_proto


def _buf() -> str:
    beside_python = Path(sys.executable).parent / "buf"
    found = str(beside_python) if beside_python.exists() else shutil.which("buf")
    assert found, "buf is in requirements.txt"
    return found


def _buf_curl(sidecar, rpc: str, request: dict, *arguments: str) -> dict:
    url = f"http://{sidecar.tcp}/imquota.v1.QuotaService/{rpc}"
    command = [_buf(), "curl", "--protocol", "grpc", *arguments, "-d", json.dumps(request), url]
    command.insert(2, "--http2-prior-knowledge")
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, cwd=REPOSITORY,
        env=clean_environment(HOME=str(sidecar.folder)),
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("schema", [[], ["--schema", "proto"]], ids=["by reflection", "by files"])
def test_buf_curl_calls_from_a_shell(sidecar, tcp_app, schema):
    request = {"appId": tcp_app.id, "userIds": ["alice"]}
    first, second = (_buf_curl(sidecar, "CreateAccounts", request, *schema) for _ in range(2))
    assert first["results"] == [{"id": "alice", "outcome": "OUTCOME_APPLIED"}]
    assert second["results"] == [{"id": "alice", "outcome": "OUTCOME_ALREADY_HELD"}]


def test_the_administration_is_not_on_the_data_listener(sidecar, tcp_app):
    for target in (sidecar.tcp, sidecar.unix):
        with connect(target) as channel:
            stub = admin_grpc.AdminServiceStub(channel)
            request = admin_pb.CreateAppRequest(app_id=tcp_app.id, request_id="r")
            error = error_of(lambda: stub.CreateApp(request, timeout=TIMEOUT_S))
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED


# Errors.


def test_a_denial_is_an_error_with_details_on_request(tcp_app):
    app = tcp_app
    app.create_group("g", "Public", "owner")
    app.create_groups(names("h", 50), "Public", "busy")
    error = error_of(lambda: app.join("g", "busy", metadata=DENY_AS_ERROR))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    info = error_info(error)
    assert (info.domain, info.reason) == ("imquota.v1", "GROUPS_PER_USER")
    assert info.metadata["im_error_code"] == "10037"
    failure = detail(error, error_details_pb2.QuotaFailure)
    assert failure.violations
    assert all(each.subject and each.description for each in failure.violations)
    assert failure.violations[0].subject == "user:busy"
    assert app.groups("busy") == 50


@pytest.mark.parametrize("metadata", [None, [("imquota-deny-as-error", "0")]])
def test_a_denial_is_a_response_by_default(tcp_app, metadata):
    tcp_app.create_group("g", "Public", "owner", names("m", 19))
    denial_of(tcp_app.join("g", "late", metadata=metadata)[0], "MEMBERS_PER_GROUP")


def test_a_partly_admitted_call_is_a_response_even_on_request(tcp_app):
    tcp_app.create_group("g", "Public", "owner", names("m", 18))
    results = tcp_app.join("g", "in", "out", metadata=DENY_AS_ERROR)
    assert results[0].outcome == APPLIED
    denial_of(results[1], "MEMBERS_PER_GROUP")
    error = error_of(lambda: tcp_app.join("g", "out", metadata=DENY_AS_ERROR))
    assert error_info(error).metadata["im_error_code"] == "10014"


@pytest.mark.parametrize(
    "call",
    [
        lambda app: app.join("nowhere", "u"),
        lambda app: app.set_max_members("nowhere", 5),
        lambda app: app.usages(group_id="nowhere"),
        lambda app: app.admin("GetApp"),
    ],
    ids=["JoinGroup", "UpdateGroup", "GetUsage", "GetApp"],
)
def test_missing_subjects_are_not_found(tcp_app, call):
    assert error_of(lambda: call(tcp_app)).code() == grpc.StatusCode.NOT_FOUND
    assert tcp_app.groups("u") == 0


def test_a_group_id_that_another_type_uses_already_exists(tcp_app):
    tcp_app.create_group("g", "Public", "u")
    error = error_of(lambda: tcp_app.create_group("g", "Private", "v"))
    assert error.code() == grpc.StatusCode.ALREADY_EXISTS
    assert tcp_app.groups("v") == 0


# Deadlines.


def test_a_call_that_runs_out_of_time_has_written_nothing_or_all(tcp_app):
    app = tcp_app
    app.upgrade().buy("members-2000")
    late = 0
    for number, timeout in enumerate([1e-6] + [0.0002 * step for step in range(1, 60)]):
        group, users = f"g{number}", names(f"u{number}-", 400)
        app.create_group(group, "Public", "owner")
        request = quota_pb.JoinGroupRequest(app_id=app.id, group_id=group, user_ids=users)
        try:
            app.quota.JoinGroup(request, timeout=timeout)
            written = [401]
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
            late += 1
            written = [1, 401]
        assert app.members(group) in written
        again = app.join(group, *users)
        assert outcomes(again) in ([APPLIED] * 400, [ALREADY_HELD] * 400), "a retry is safe"
        assert app.members(group) == 401
        assert (app.groups(users[0]), app.groups(users[-1])) == (1, 1)
    assert late > 0


# The texts of help and docs/operations.md on a setting that makes the server slower if it is wrong.
def test_help_and_documents_say_when_a_second_worker_thread_is_slower():
    shown = subprocess.run([binary(), "serve", "--help"], capture_output=True, text=True,
                           timeout=60, env=clean_environment())
    said = " ".join(shown.stdout.split())
    (help_text,) = [part for part in said.split(" --")
                    if part.startswith("worker-threads <COUNT> ")]
    page = REPOSITORY / "docs" / "operations.md"
    (row,) = [line for line in page.read_text().splitlines() if line.startswith("| threads |")]
    for text in (help_text, row):
        assert "slower than one" in text and "two cores" in text, text
        assert "23,000 against 36,000 joins a second" in text and "idle" in text, text
