"""Code for Go, Java, TypeScript and Python is generated from the protos as `proto/buf.gen.yaml` has
it, compiles, and calls a sidecar; the options that name packages keep their values.

Go and Java use the libraries of Debian, which `tests/run` installs, and nothing else; TypeScript
those that `clients/package-lock.json` pins.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import json_format

from app import App
from stubs import PROTO, admin_pb, common_pb, metering_pb, quota_pb

TOOLS = Path(sys.executable).parent
CLIENTS = Path(__file__).parent / "clients"
GO_LIBRARIES = "/usr/share/gocode"
JARS = [f"/usr/share/java/{name}.jar" for name in (
    "geronimo-annotation-1.3-spec", "grpc-api", "grpc-context", "grpc-core", "grpc-netty",
    "grpc-protobuf", "grpc-protobuf-lite", "grpc-stub", "gson", "guava", "netty-buffer",
    "netty-codec", "netty-codec-http", "netty-codec-http2", "netty-common", "netty-handler",
    "netty-resolver", "netty-transport", "netty-transport-native-unix-common", "opencensus-api",
    "perfmark-api", "protobuf")]
TIMEOUT_S = 300
CREATED_AND_FULL = ["OUTCOME_APPLIED 0", "OUTCOME_ALREADY_HELD 0", "OUTCOME_DENIED 1"]
"""The group is created, its member is in it, and the third user has no place."""


def run(*command, cwd: Path, **environment: str) -> list[str]:
    """The lines that a command prints; fails with its messages if it fails."""
    path = os.pathsep.join([str(TOOLS), str(environment.pop("bin", TOOLS)), os.environ["PATH"]])
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=TIMEOUT_S,
                          env={**os.environ, "PATH": path, **environment})
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """A folder with the pinned packages of npm."""
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "package-lock.json", "main.ts"):
        shutil.copy(CLIENTS / name, folder)
    run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=folder)
    return folder


@pytest.fixture(scope="module")
def generated(node, tmp_path_factory):
    """The folder of what `buf generate` writes."""
    out = tmp_path_factory.mktemp("generated")
    run("buf", "generate", "--output", out, cwd=PROTO, bin=node / "node_modules" / ".bin")
    return out / "gen"


def test_the_files_keep_the_names_of_their_packages():
    for file in (module.DESCRIPTOR for module in (admin_pb, common_pb, metering_pb, quota_pb)):
        options = file.GetOptions()
        assert json_format.MessageToDict(options, preserving_proto_field_name=True) == {
            "csharp_namespace": "Imquota.V1",
            "go_package": "imquota.dev/imquota/v1;imquotav1",
            "java_multiple_files": True,
            "java_package": "dev.imquota.v1",
            "php_namespace": "Imquota\\V1",
            "ruby_package": "Imquota::V1",
        }, file.name


def test_go(generated, sidecar, tmp_path):
    module = tmp_path / "src" / "imquota.dev" / "imquota"
    module.parent.mkdir(parents=True)
    shutil.copytree(generated / "go", module)
    program = tmp_path / "src" / "client"
    program.mkdir()
    shutil.copy(CLIENTS / "main.go", program)
    go = {"GO111MODULE": "off", "GOFLAGS": "", "GOPATH": f"{tmp_path}:{GO_LIBRARIES}",
          "CGO_ENABLED": "0"}
    run("go", "vet", "imquota.dev/imquota/...", "client", cwd=tmp_path, **go)
    run("go", "build", "-o", "client", "client", cwd=tmp_path, **go)
    assert run("./client", sidecar.tcp, cwd=tmp_path) == CREATED_AND_FULL


def test_java(generated, sidecar, tmp_path):
    sources = sorted((generated / "java").rglob("*.java"))
    assert len(sources) > 100
    missing = [jar for jar in JARS if not Path(jar).exists()]
    assert not missing
    libraries = os.pathsep.join(JARS)
    (tmp_path / "sources").write_text("\n".join(map(str, [*sources, CLIENTS / "Main.java"])))
    run("javac", "-d", "classes", "-cp", libraries, "-nowarn", "@sources", cwd=tmp_path)
    ran = run("java", "-cp", f"classes:{libraries}", "Main", f"dns:///{sidecar.tcp}", cwd=tmp_path)
    assert ran == CREATED_AND_FULL


def test_python(generated, sidecar, tmp_path):
    ran = run(sys.executable, CLIENTS / "main.py", sidecar.tcp, cwd=tmp_path,
              PYTHONPATH=str(generated / "python"))
    assert ran == CREATED_AND_FULL


def test_typescript(generated, node, sidecar):
    shutil.copytree(generated / "ts" / "imquota", node / "imquota")
    run("node_modules/.bin/tsc", "--strict", "--noUncheckedIndexedAccess", "--target", "es2022",
        "--module", "nodenext", "--outDir", "built", "main.ts", cwd=node)
    with App(sidecar) as app:
        app.quota.CreateGroup(quota_pb.CreateGroupRequest(
            app_id=app.id, group_id="g1", type="Public", owner_id="ann", max_members=1))
        joined = app.quota.JoinGroup(quota_pb.JoinGroupRequest(
            app_id=app.id, group_id="g1", user_ids=["ann", "bob"]))
    answer = json.dumps(json_format.MessageToDict(joined))
    *results, request, service = run("node", "built/main.js", answer, cwd=node)
    assert results == CREATED_AND_FULL[1:]
    assert quota_pb.CreateGroupRequest.FromString(base64.b64decode(request)) == \
        quota_pb.CreateGroupRequest(app_id="ts", group_id="g1", type="Public", owner_id="ann",
                                    member_ids=["bob"], max_members=2, hold_seconds=60,
                                    operation_id="create-1")
    methods = quota_pb.DESCRIPTOR.services_by_name["QuotaService"].methods
    assert service == f"{len(methods)} unary"
