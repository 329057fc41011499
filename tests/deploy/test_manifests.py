"""Every rendered manifest is valid for Kubernetes, and has the promised properties."""

import json
import re
from itertools import product

import kubernetes_validate
import pytest
import yaml

from http_port import get
from rendering import composed, imquota_of, kinds, kustomized, only, pod_of, templated
from sidecar import Sidecar, binary
from tools import DEPLOY, run, tool

EVERYTHING = {
    "networkPolicy.enabled": "true", "serviceMonitor.enabled": "true",
    "prometheusRule.enabled": "true", "dashboard.enabled": "true", "autoscaling.enabled": "true",
    "catalog": "schema = 1", "redisPasswordSecret": "redis", "podAnnotations.a": "b",
    "nodeSelector.disk": "ssd", "filesSecret": "imquota",
    "networkPolicy.extraEgress[0].ports[0].port": "4317", "settings.SUBJECTS_IN_FLIGHT_MAX": "4096",
    "settings.OTLP_ENDPOINT": "http://otel:4317", "settings.WEBHOOK_URL": "https://im.example/",
    "imagePullSecrets[0].name": "registry", "podLabels.team": "chat",
    "affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight": "1",
    "affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference"
    ".matchExpressions[0].key": "disk",
    "affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference"
    ".matchExpressions[0].operator": "Exists",
    "prometheusRule.runbookUrl": "https://wiki/imquota",
    "extraEnv[0].name": "IMQUOTA_LOG_FILTER", "extraEnv[0].value": "info",
}
CUSTOM = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}
"""Kinds of the Prometheus operator, for which Kubernetes has no schema."""


RENDERED = {
    "base": lambda: kustomized("kustomize/base"),
    "standalone": lambda: kustomized("kustomize/overlays/standalone"),
    "sidecar": lambda: kustomized("kustomize/overlays/sidecar"),
    "standalone with redis": lambda: kustomized("kustomize/overlays/standalone-redis"),
    "sidecar with redis": lambda: kustomized("kustomize/overlays/sidecar-redis"),
    "standalone with every option": lambda: composed(
        ["kustomize/overlays/standalone"], [f"kustomize/components/{each.name}" for each in sorted(
            (DEPLOY / "kustomize/components").iterdir())]),
    "chart": lambda: templated({}),
    "chart with everything": lambda: templated(EVERYTHING),
}


def monitor(name: str) -> dict:
    """A monitor object of the Prometheus operator."""
    return yaml.safe_load((DEPLOY / "prometheus" / f"{name}.yaml").read_text())


@pytest.mark.parametrize("name", RENDERED)
def test_each_manifest_is_valid_for_kubernetes(name):
    objects = RENDERED[name]()
    assert objects
    for each in objects:
        if each["kind"] not in CUSTOM:
            kubernetes_validate.validate(each, "1.33", strict=True)


def test_an_unknown_field_is_found():
    deployment = only("Deployment", RENDERED["chart"]())
    deployment["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, "1.33", strict=True)


IMQUOTA = [name for name in RENDERED if name != "base"]


@pytest.mark.parametrize("name", IMQUOTA)
def test_imquota_runs_without_privileges_and_ends_within_the_grace_period(name):
    objects = RENDERED[name]()
    pod, imquota = pod_of(objects), imquota_of(objects)
    security = {**pod["securityContext"], **imquota["securityContext"]}
    assert security["runAsNonRoot"] and security["runAsUser"] == 65532
    assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    # shutdown_delay, drain_timeout and the last attempt of the journal and of events.
    assert pod["terminationGracePeriodSeconds"] > 2 + 10 + 5 + 2
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= imquota.keys()
    assert imquota["resources"]["limits"]["memory"]
    mounts = {each["mountPath"] for each in imquota["volumeMounts"]}
    assert "/var/lib/imquota" in mounts, "the journal has a volume although the root is read-only"


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
    assert settings["IMQUOTA_ADDRESS"] == address
    admin = settings["IMQUOTA_ADMIN_LISTEN"].removeprefix("unix:").rsplit("/", 1)[0]
    assert admin not in {each["mountPath"] for each in im["volumeMounts"]}


def test_the_objects_of_the_chart_follow_its_values():
    least = kinds(templated({"podDisruptionBudget.enabled": "false"}))
    assert least == {"ServiceAccount", "ConfigMap", "Deployment", "Service"}
    assert kinds(templated(EVERYTHING)) == least | CUSTOM - {"PodMonitor"} | {
        "PodDisruptionBudget", "HorizontalPodAutoscaler", "NetworkPolicy"}
    assert kinds(RENDERED["standalone"]()) == least | {
        "PodDisruptionBudget", "HorizontalPodAutoscaler", "NetworkPolicy"}


def test_the_chart_contains_unchanged_alerts_and_dashboard():
    objects = templated(EVERYTHING)
    text = (DEPLOY / "prometheus" / "alerts.yaml").read_text()
    assert only("PrometheusRule", objects)["spec"] == yaml.safe_load(
        text.replace("https://runbooks.example/imquota/RUNBOOK.md", "https://wiki/imquota"))
    without = templated({"prometheusRule.enabled": "true"})
    for rule in only("PrometheusRule", without)["spec"]["groups"][0]["rules"]:
        assert rule["annotations"].keys() == {"summary", "description", "runbook"}, "no dead link"
    (board,) = [each for each in objects if each["metadata"]["name"].endswith("-dashboard")]
    assert json.loads(board["data"]["imquota.json"]) == json.loads(
        (DEPLOY / "grafana" / "imquota.json").read_text())


@pytest.mark.parametrize(("values", "field"), [
    ({"replicas": "0"}, "replicas"),
    ({"settings.STORE": "embedded:/data"}, "STORE"),
    ({"settings.store": "x"}, "invalid propertyName 'store'"),
    ({"networkPolicy.redisPort": "70000"}, "redisPort"),
    ({"serviceMonitor.interval": "often"}, "interval"),
    ({"prometheusRule.runbookUrl": "wiki"}, "runbookUrl"),
    ({"replica": "2"}, "replica"),
    ({"image.pullPolicy": "Sometimes"}, "pullPolicy"),
    ({"settings.DRAIN_TIMEOUT_MS": "30s"}, "settings.DRAIN_TIMEOUT_MS"),
    ({"terminationGracePeriodSeconds": "18"}, "terminationGracePeriodSeconds"),
])
def test_a_wrong_value_is_refused_by_its_name(values, field):
    assert field in templated(values, good=False)


def test_helm_lint_finds_no_problem():
    run(tool("helm"), "lint", "--strict", "helm/imquota")


@pytest.mark.parametrize("name", ["standalone", "chart with everything"])
def test_with_an_autoscaler_nothing_else_sets_the_number_of_pods(name):
    objects = RENDERED[name]()
    assert only("HorizontalPodAutoscaler", objects)["spec"]["minReplicas"] >= 2
    assert "replicas" not in only("Deployment", objects)["spec"]
    assert only("Deployment", templated({}))["spec"]["replicas"] == 2


@pytest.mark.parametrize("name", ["standalone", "sidecar", "chart with everything"])
def test_a_secret_holds_the_files_and_imquota_alone_may_read_them(name):
    objects = RENDERED[name]()
    (volume,) = [each for each in pod_of(objects)["volumes"]
                 if each.get("secret", {}).get("secretName") == "imquota"]
    assert volume["secret"]["defaultMode"] == 0o440, "readable by the group, which is fsGroup"
    (mount,) = [each for each in imquota_of(objects)["volumeMounts"]
                if each["name"] == volume["name"]]
    assert mount["readOnly"] and mount["mountPath"] == "/etc/imquota/files"
    mounted = [each["name"] for container in pod_of(objects)["containers"]
               for each in container["volumeMounts"] if container["name"] != "imquota"]
    assert volume["name"] not in mounted


def test_prometheus_finds_sidecars_and_servers_by_the_job_of_the_alerts():
    (endpoint,) = monitor("podmonitor")["spec"]["podMetricsEndpoints"]
    objects = RENDERED["sidecar"]()
    assert endpoint["port"] in {port["name"] for port in imquota_of(objects)["ports"]}
    assert {"targetLabel": "job", "replacement": "imquota"} in endpoint["relabelings"]
    labels = only("Deployment", objects)["spec"]["template"]["metadata"]["labels"].items()
    assert monitor("podmonitor")["spec"]["selector"]["matchLabels"].items() <= labels

    for spec, rendered in ((monitor("servicemonitor")["spec"], "standalone"),
                           (only("ServiceMonitor", RENDERED["chart with everything"]())["spec"],
                            "chart with everything")):
        service = only("Service", RENDERED[rendered]())
        labels = service["metadata"]["labels"]
        assert spec["selector"]["matchLabels"].items() <= labels.items()
        assert labels[spec["jobLabel"]] == "imquota"
        (endpoint,) = spec["endpoints"]
        assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}


def test_the_policy_admits_egress_to_the_targets_of_the_values():
    policy = only("NetworkPolicy", RENDERED["chart with everything"]())
    assert {"ports": [{"port": 4317}]} in policy["spec"]["egress"]


def test_selectors_find_the_pods():
    for name in ("standalone", "chart with everything"):
        objects = RENDERED[name]()
        labels = only("Deployment", objects)["spec"]["template"]["metadata"]["labels"].items()
        for each in objects:
            if each["kind"] == "Service":
                assert each["spec"]["selector"].items() <= labels
            if each["kind"] == "PodDisruptionBudget":
                selector = each["spec"]["selector"]["matchLabels"]
                assert selector and selector.items() <= labels
            if each["kind"] == "NetworkPolicy":
                selector = each["spec"]["podSelector"]["matchLabels"]
                assert selector and selector.items() <= labels


def test_settings_and_probes_are_those_of_the_real_binary():
    known = " ".join(run(binary(), "serve", "--help").split())
    with Sidecar(store="memory", management=True) as sidecar:
        for name in IMQUOTA:
            objects = RENDERED[name]()
            text = "".join(map(yaml.safe_dump, objects))
            for setting in set(re.findall(r"\bIMQUOTA_(?!(?:ADMIN_)?ADDRESS)[A-Z_]+", text)):
                assert f"env: {setting}]" in known, setting
            imquota = imquota_of(objects)
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                succeeds(imquota, imquota[probe], sidecar)


def test_no_file_names_a_retired_setting():
    code = (DEPLOY.parent / "src/config/retired.rs").read_text()
    retired = re.findall(r'"IMQUOTA_([A-Z_]+)"', code)
    assert "IN_FLIGHT_MAX" in retired
    # The options of clients are no settings of the sidecar.
    files = [path for path in DEPLOY.rglob("*")
             if path.is_file() and DEPLOY / "clients" not in path.parents]
    assert len(files) > 30
    for path, name in product(files, retired):
        # A longer name may end with it: SUBJECTS_IN_FLIGHT_MAX is a current setting.
        flag = name.replace("_", "[_-]")
        spelt = rf"(?i)(?:IMQUOTA_|(?<![a-z][_-])(?<![a-z])){flag}"
        assert not re.search(spelt, path.read_text()), (path, name)


def succeeds(imquota: dict, probe: dict, sidecar: Sidecar) -> None:
    """Probes a sidecar like the kubelet."""
    if "httpGet" in probe:
        ports = {port["name"]: port["containerPort"] for port in imquota["ports"]}
        assert ports[probe["httpGet"]["port"]] == 9090, "IMQUOTA_MANAGEMENT_LISTEN"
        status, text = get(sidecar.management_port, probe["httpGet"]["path"])
        assert status == 200, text
        return
    program, *arguments = probe["exec"]["command"]
    assert program == "/usr/local/bin/imquota"
    settings = {each["name"]: each["value"] for each in imquota["env"]}
    listen = settings["IMQUOTA_LISTEN"]
    assert listen in arguments
    run(binary(), *(sidecar.unix if each == listen else each for each in arguments))
