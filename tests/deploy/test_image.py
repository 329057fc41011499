"""Static checks of the image and the compose file, since nothing here can build or run them."""

import re
import tomllib

import yaml

from sidecar import binary
from tools import DEPLOY, REPOSITORY, run, tool

DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSED = yaml.safe_load((DEPLOY / "docker-compose.yaml").read_text())["services"]
SOURCES = [source for line in re.findall(r"^COPY (?!--)(.*) \S+$", DOCKERFILE, re.M)
           for source in line.split()]


def test_hadolint_finds_no_problem():
    run(tool("hadolint"), "--failure-threshold", "style", str(DEPLOY / "Dockerfile"))


def test_the_image_is_built_from_existing_files_and_runs_without_root():
    let_in = (REPOSITORY / ".dockerignore").read_text().splitlines()
    named = {line for line in let_in if not line.startswith("#")}
    assert named == {"*", *(f"!{source}" for source in SOURCES)}
    for source in SOURCES:
        assert (REPOSITORY / source).exists(), source
    last = DOCKERFILE.rsplit("FROM ", 1)[1]
    assert last.startswith("gcr.io/distroless/")
    assert "USER 65532:65532" in last and 'ENTRYPOINT ["/usr/local/bin/imquota"]' in last


def test_the_build_finds_each_file_that_the_code_includes():
    roots = [REPOSITORY / source for source in SOURCES]
    files = [path for root in roots for path in (root.rglob("*.rs") if root.is_dir() else [root])]
    included = 0
    for path in files:
        for name in re.findall(r'include(?:_str|_bytes)?!\("([^"]+)"\)', path.read_text()):
            target = (path.parent / name).resolve()
            assert target.exists(), (path, name)
            assert any(target.is_relative_to(root) for root in roots), (path, name)
            included += 1
    assert included
    compiled = re.findall(r'"(proto/[^"]+)"', (REPOSITORY / "build.rs").read_text())
    assert compiled and all(
        any((REPOSITORY / name).is_relative_to(root) for root in roots) for name in compiled)


def test_everything_has_the_version_of_the_crate():
    version = tomllib.loads((REPOSITORY / "Cargo.toml").read_text())["package"]["version"]
    chart = yaml.safe_load((DEPLOY / "helm/imquota/Chart.yaml").read_text())
    assert chart["appVersion"] == version
    assert f'org.opencontainers.image.version="{version}"' in DOCKERFILE
    for overlay in ("sidecar", "standalone"):
        path = DEPLOY / "kustomize/overlays" / overlay / "kustomization.yaml"
        (image,) = yaml.safe_load(path.read_text())["images"]
        assert image == {"name": "imquota", "newTag": version}
    assert f"imquota:{version} " in (DEPLOY / "README.md").read_text()


def test_docker_compose_names_files_that_exist_and_settings_that_do():
    for service in COMPOSED.values():
        for volume in service.get("volumes", []):
            if volume.startswith("./"):
                assert (DEPLOY / volume.split(":")[0]).is_file(), volume
    helps = [run(binary(), *command, "--help") for command in (["serve"], ["admin", "list-apps"])]
    helps.append(run(binary(), "help", "connection"))
    known = " ".join(" ".join(helps).split())
    for setting in COMPOSED["imquota"]["environment"]:
        assert f"env: {setting}]" in known or f"address in {setting}," in known, setting


def test_prometheus_accepts_the_configuration_of_docker_compose():
    run("promtool", "check", "config", str(DEPLOY / "prometheus" / "prometheus.yaml"))
