"""The rules of a client in Node and Go, as the page shows them: compiled, and run against a
sidecar."""

import json
import os
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import pytest

from app import App
from sidecar import Sidecar, clean_environment
from stubs import PROTO, REPOSITORY

HERE = Path(__file__).parent
PAGE = REPOSITORY / "docs" / "clients.md"
GO_LIBRARIES = "/usr/share/gocode"
GO_PACKAGE = "imquota.dev/imquota/v1;imquotav1"
TIMEOUT_S = 300
SEATS = 20


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Runs a command that has to succeed; returns what it prints."""
    done = subprocess.run([str(each) for each in command], cwd=cwd, capture_output=True, text=True,
                          timeout=TIMEOUT_S, env=clean_environment(**environment))
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.mark.parametrize(("kind", "file"), [
    ("js", HERE / "node" / "quota.mjs"), ("go", HERE / "go" / "quota.go")])
def test_the_code_of_the_page_is_the_code_that_runs(kind, file):
    (shown,) = [each.partition("```\n")[0] for each in PAGE.read_text().split(f"```{kind}\n")[1:]]
    assert shown.strip() and shown.strip() in file.read_text()


@pytest.fixture(scope="module")
def node(tmp_path_factory) -> Path:
    """A folder with the client in Node, and the packages of the lock."""
    folder = tmp_path_factory.mktemp("node")
    shutil.copytree(HERE / "node", folder, dirs_exist_ok=True,
                    ignore=shutil.ignore_patterns("node_modules"))
    (folder / "proto").symlink_to(PROTO)
    run("npm", "ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", cwd=folder)
    return folder


@pytest.mark.parametrize("target", ["tcp", "unix"])
def test_node(node, target):
    with Sidecar() as sidecar, App(sidecar) as app:
        process = subprocess.Popen(
            ["node", "main.mjs", getattr(sidecar, target), app.id], cwd=node, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=clean_environment())
        try:
            assert json.loads(process.stdout.readline()) == {
                "members": SEATS - 1, "codes": [10014] * (31 - SEATS), "failure": "disk full",
                "used": SEATS, "held": 0}
            assert process.stdout.readline() == "killed?\n"
            sidecar.kill()
            sidecar.launch(sidecar.arguments(), clean_environment())
            assert process.communicate("yes\n", timeout=TIMEOUT_S)[0] == "confirmed\n"
        finally:
            process.kill()
            process.wait()
        usage = app.usages(group_id="g")["members_per_group"]
        assert (usage.used, usage.held) == (SEATS, 0)


@pytest.fixture(scope="module")
def go(tmp_path_factory) -> Path:
    """The program in Go."""
    from grpc_tools import protoc

    folder = tmp_path_factory.mktemp("go")
    sources = folder / "src"
    sources.mkdir()
    files = sorted((PROTO / "imquota").rglob("*.proto"))
    names = ",".join(f"M{each.relative_to(PROTO)}={GO_PACKAGE}" for each in files)
    well_known = resources.files("grpc_tools") / "_proto"
    arguments = ["", f"-I{PROTO}", f"-I{well_known}", f"--go_out={sources}",
                 f"--go_opt={names}", f"--go-grpc_out={sources}", f"--go-grpc_opt={names}",
                 *map(str, files)]
    assert protoc.main(arguments) == 0
    shutil.copytree(HERE / "go", sources / "quota")
    environment = {"GO111MODULE": "off", "GOFLAGS": "", "CGO_ENABLED": "0",
                   "GOPATH": f"{folder}{os.pathsep}{GO_LIBRARIES}"}
    assert run("gofmt", "-l", sources / "quota", cwd=folder) == ""
    run("go", "vet", "quota/...", cwd=folder, **environment)
    run("go", "build", "-o", folder / "client", "quota/client", cwd=folder, **environment)
    return folder / "client"


@pytest.mark.parametrize("target", ["tcp", "unix"])
def test_go(go, sidecar, tcp_app, target):
    app_id = f"{tcp_app.id}-{target}"
    printed = run(go, getattr(sidecar, target), app_id, cwd=go.parent)
    assert printed == f"disk full {SEATS - 1} {31 - SEATS} 10014 {SEATS} 0\n"
