"""Every manifest that can be rendered is one that Kubernetes takes, and keeps its promises."""

import json
import re

import kubernetes_validate
import pytest
import yaml

from tools import DEPLOY, run, tool

EVERYTHING = {
    "networkPolicy.enabled": "true", "serviceMonitor.enabled": "true",
    "prometheusRule.enabled": "true", "dashboard.enabled": "true", "autoscaling.enabled": "true",
    "catalog": "schema = 1", "redisPasswordSecret": "redis", "podAnnotations.a": "b",
    "nodeSelector.disk": "ssd",
}
CUSTOM = {"ServiceMonitor", "PrometheusRule"}
"""Kinds of the Prometheus operator, of which Kubernetes has no schema."""


def kustomized(folder: str) -> list[dict]:
    """The objects of an overlay."""
    text = run(tool("kubectl"), "kustomize", str(DEPLOY / "kustomize" / folder))
    return [each for each in yaml.safe_load_all(text) if each]


def templated(values: dict[str, str], good: bool = True):
    """The objects of the chart with these values, or what helm says."""
    settings = [part for key, value in values.items() for part in ("--set-string" if value not in (
        "true", "false") and not value.isdigit() else "--set", f"{key}={value}")]
    text = run(tool("helm"), "template", "try", "helm/imquota", *settings, good=good)
    return [each for each in yaml.safe_load_all(text) if each] if good else text


RENDERED = {
    "base": lambda: kustomized("base"),
    "standalone": lambda: kustomized("overlays/standalone"),
    "sidecar": lambda: kustomized("overlays/sidecar"),
    "chart": lambda: templated({}),
    "chart with everything": lambda: templated(EVERYTHING),
    "service monitor": lambda: [yaml.safe_load(
        (DEPLOY / "prometheus" / "servicemonitor.yaml").read_text())],
}


def kinds(objects: list[dict]) -> set[str]:
    """The kinds among them."""
    return {each["kind"] for each in objects}


def pod_of(objects: list[dict]) -> dict:
    """The pod of the one Deployment."""
    (deployment,) = [each for each in objects if each["kind"] == "Deployment"]
    return deployment["spec"]["template"]["spec"]


@pytest.mark.parametrize("name", RENDERED)
def test_kubernetes_takes_it_to_the_last_field(name):
    objects = RENDERED[name]()
    assert objects
    for each in objects:
        if each["kind"] not in CUSTOM:
            kubernetes_validate.validate(each, "1.33", strict=True)


def test_a_field_that_does_not_exist_would_be_found():
    (deployment,) = [each for each in RENDERED["chart"]() if each["kind"] == "Deployment"]
    deployment["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, "1.33", strict=True)


@pytest.mark.parametrize("name", ["standalone", "sidecar", "chart", "chart with everything"])
def test_it_runs_without_rights_and_ends_in_its_time(name):
    pod = pod_of(RENDERED[name]())
    containers = pod["containers"] + pod.get("initContainers", [])
    (imquota,) = [each for each in containers if each["name"] == "imquota"]
    security = {**pod["securityContext"], **imquota["securityContext"]}
    assert security["runAsNonRoot"] and security["runAsUser"] == 65532
    assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    # shutdown_delay, drain_timeout and the last try of the journal and of events.
    assert pod["terminationGracePeriodSeconds"] > 2 + 10 + 5 + 2
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= imquota.keys()
    assert imquota["resources"]["limits"]["memory"]
    mounts = {each["mountPath"] for each in imquota["volumeMounts"]}
    assert "/var/lib/imquota" in mounts, "the journal has a place although the root is read-only"


def test_the_sidecar_is_started_first_and_shares_one_socket():
    pod = pod_of(RENDERED["sidecar"]())
    (imquota,) = pod["initContainers"]
    (im,) = pod["containers"]
    assert imquota["restartPolicy"] == "Always"
    settings = {each["name"]: each.get("value") for each in imquota["env"]}
    address = settings["IMQUOTA_LISTEN"]
    assert {each["name"]: each["value"] for each in im["env"]}["IMQUOTA_ADDRESS"] == address
    folder = address.removeprefix("unix:").rsplit("/", 1)[0]
    shared = [{each["name"] for each in container["volumeMounts"] if each["mountPath"] == folder}
              for container in (imquota, im)]
    assert shared[0] == shared[1] != set()
    admin = settings["IMQUOTA_ADMIN_LISTEN"].removeprefix("unix:").rsplit("/", 1)[0]
    assert admin not in {each["mountPath"] for each in im["volumeMounts"]}


def test_what_the_chart_makes_follows_its_values():
    least = kinds(templated({"podDisruptionBudget.enabled": "false"}))
    assert least == {"ServiceAccount", "ConfigMap", "Deployment", "Service"}
    assert kinds(templated(EVERYTHING)) == least | CUSTOM | {
        "PodDisruptionBudget", "HorizontalPodAutoscaler", "NetworkPolicy"}
    assert kinds(RENDERED["standalone"]()) == least | {
        "PodDisruptionBudget", "HorizontalPodAutoscaler", "NetworkPolicy"}


def test_the_chart_carries_alerts_and_dashboard_as_they_are():
    objects = templated(EVERYTHING)
    (rule,) = [each for each in objects if each["kind"] == "PrometheusRule"]
    assert rule["spec"] == yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())
    (board,) = [each for each in objects if each["metadata"]["name"].endswith("-dashboard")]
    assert json.loads(board["data"]["imquota.json"]) == json.loads(
        (DEPLOY / "grafana" / "imquota.json").read_text())


@pytest.mark.parametrize(("values", "field"), [
    ({"replicas": "0"}, "replicas"),
    ({"settings.STORE": "embedded:/data"}, "STORE"),
    ({"settings.store": "x"}, "invalid propertyName 'store'"),
    ({"networkPolicy.redisPort": "70000"}, "redisPort"),
    ({"serviceMonitor.interval": "often"}, "interval"),
    ({"replica": "2"}, "replica"),
    ({"image.pullPolicy": "Sometimes"}, "pullPolicy"),
])
def test_a_wrong_value_is_refused_by_its_name(values, field):
    assert field in templated(values, good=False)


def test_the_chart_has_nothing_to_complain_about():
    run(tool("helm"), "lint", "--strict", "helm/imquota")


def test_selectors_find_the_pods():
    for name in ("standalone", "chart with everything"):
        objects = RENDERED[name]()
        (deployment,) = [each for each in objects if each["kind"] == "Deployment"]
        labels = deployment["spec"]["template"]["metadata"]["labels"].items()
        for each in objects:
            if each["kind"] == "Service":
                assert each["spec"]["selector"].items() <= labels
            if each["kind"] == "PodDisruptionBudget":
                selector = each["spec"]["selector"]["matchLabels"]
                assert selector and selector.items() <= labels
            if each["kind"] == "NetworkPolicy":
                selector = each["spec"]["podSelector"]["matchLabels"]
                assert selector and selector.items() <= labels


def test_the_image_is_built_from_what_is_there_and_runs_as_nobody():
    text = (DEPLOY / "Dockerfile").read_text()
    for sources in re.findall(r"^COPY (?!--)(.*) \S+$", text, re.M):
        for source in sources.split():
            assert (DEPLOY.parent / source).exists(), source
            assert f"!{source}" in (DEPLOY.parent / ".dockerignore").read_text().split()
    last = text.rsplit("FROM ", 1)[1]
    assert "USER 65532:65532" in last and 'ENTRYPOINT ["/usr/local/bin/imquota"]' in last


def test_docker_compose_names_files_that_exist_and_settings_that_do(tmp_path):
    from sidecar import binary
    composed = yaml.safe_load((DEPLOY / "docker-compose.yaml").read_text())["services"]
    for service in composed.values():
        for volume in service.get("volumes", []):
            if volume.startswith("./"):
                assert (DEPLOY / volume.split(":")[0]).is_file(), volume
    known = " ".join(run(binary(), "serve", "--help").split())
    named = set(composed["imquota"]["environment"])
    for name in RENDERED:
        for each in RENDERED[name]():
            text = yaml.safe_dump(each)
            named |= set(re.findall(r"\bIMQUOTA_(?!ADDRESS)[A-Z_]+", text))
    for setting in named:
        assert f"env: {setting}]" in known, setting
