"""Clients that others have written: @connectrpc/connect-node and buf, by Connect and by gRPC."""

import json
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
from google.rpc import error_details_pb2
from grpc_tools import protoc

import node_client
from app import App
from stubs import PROTO

BUF = str(Path(sys.executable).parent / "buf")


@pytest.fixture(scope="module")
def descriptors(tmp_path_factory):
    """The descriptors of the protos and of the details of errors."""
    out = tmp_path_factory.mktemp("descriptors") / "set.binpb"
    known = resources.files("grpc_tools") / "_proto"
    site = Path(error_details_pb2.__file__).parents[2]
    sources = [str(path) for path in sorted(PROTO.rglob("*.proto"))]
    arguments = ["", f"-I{PROTO}", f"-I{known}", f"-I{site}", f"--descriptor_set_out={out}",
                 "--include_imports", *sources, "google/rpc/error_details.proto"]
    assert protoc.main(arguments) == 0
    return str(out)


@pytest.mark.parametrize("form", ["json", "binary"])
def test_connect_node_gets_the_same_by_every_protocol(sidecar, descriptors, form):
    urls = [f"http://{sidecar.tcp}", f"http://{sidecar.admin}"]
    results = {}
    for protocol in ("connect1", "connect2", "grpc"):
        app_id = f"node-{form}-{protocol}"
        got = node_client.run(protocol, form, *urls, descriptors, app_id)
        results[protocol] = json.loads(json.dumps(got).replace(app_id, "APP"))
    one = results["grpc"]
    assert one["created"]["outcome"] == "OUTCOME_APPLIED" and one["zone"]
    assert [each["outcome"] for each in one["joined"]] == [
        "OUTCOME_ALREADY_HELD", "OUTCOME_APPLIED"]
    assert one["used"] == [["members_per_group", "2"]]
    assert one["invalid"]["reasons"] == ["INVALID_FIELDS"]
    assert one["invalid"]["fields"] == ["app_id", "user_ids"]
    assert one["missing"]["reasons"] == ["GROUP_NOT_FOUND"]
    assert one["denied"]["reasons"] == ["MEMBERS_PER_GROUP"]
    assert one["event"][1] == "APP-app" and one["aborted"] == "Canceled"
    assert one["badStream"]["fields"] == ["resume_token"]
    assert one["applied"] == ["1", "2", "3"]
    assert results["connect2"] == one
    del one["applied"]
    assert results["connect1"] == one


def test_the_lock_names_no_registry():
    lock = json.loads((node_client.SOURCES / "package-lock.json").read_text())
    assert all(package.get("integrity") for name, package in lock["packages"].items() if name)
    assert not any("resolved" in package for package in lock["packages"].values())


@pytest.mark.parametrize("options", [
    ["--protocol", "connect"], ["--protocol", "connect", "--http2-prior-knowledge"],
    ["--protocol", "grpc", "--http2-prior-knowledge"],
], ids=["connect1", "connect2", "grpc"])
def test_buf_curl_calls_by_both_protocols(sidecar, options):
    def curl(listener: str, rpc: str, request: dict) -> subprocess.CompletedProcess:
        url = f"http://{listener}/imquota.v1.{rpc}"
        return subprocess.run([BUF, "curl", *options, "--schema", str(PROTO), "--data",
                               json.dumps(request), url], capture_output=True, text=True,
                              timeout=60, check=False)

    with App(sidecar) as app:
        app.create_group("g", "Public", "owner", ["m"])
        usage = curl(sidecar.tcp, "QuotaService/GetUsage",
                     {"appId": app.id, "subject": {"groupId": "g"}})
        assert usage.returncode == 0, usage.stderr
        assert json.loads(usage.stdout)["usages"][0]["used"] == "2"
        error = curl(sidecar.tcp, "QuotaService/JoinGroup", {"appId": app.id, "groupId": "g"})
        assert error.returncode != 0 and "user_ids" in error.stderr
        assert "google.rpc.ErrorInfo" in error.stderr
        stream = curl(sidecar.admin, "AdminService/WatchEvents", {"resumeToken": "x"})
        assert stream.returncode != 0 and "resume_token" in stream.stderr
