"""Values of the chart reach the pod unchanged."""

import json
from pathlib import Path

import kubernetes_validate
import pytest

from rendering import every, imquota_of, only, pod_of, settings_of, templated, templated_from
from sidecar import Sidecar

LARGE = 5_000_000
"""Helm reads it as a float, which prints as 5e+06."""


def validated(objects: list[dict]) -> list[dict]:
    """The objects, after their validation against the schemas of Kubernetes."""
    for each in objects:
        kubernetes_validate.validate(each, "1.33", strict=True)
    return objects


@pytest.mark.parametrize(("value", "text"), [
    (0, "0"), (1, "1"), (LARGE, "5000000"), (100_000, "100000"), (10 ** 15, "1000000000000000"),
    (0.01, "0.01"), (0.00002, "0.00002"), (1.0, "1"), (True, "true"), (False, "false"),
    ("0", "0"), ("5000000", "5000000"), ("1e6", "1e6"), ("", ""), ("a \"b\": 'c'", "a \"b\": 'c'"),
])
def test_a_setting_is_rendered_as_it_is_written(value, text):
    objects = validated(templated_from({"settings": {"CATALOG": value}}))
    assert settings_of(objects)["IMQUOTA_CATALOG"] == text
    assert isinstance(settings_of(objects)["IMQUOTA_CATALOG"], str)


def test_numbers_of_the_command_line_are_accepted_too():
    objects = templated({"settings.REQUEST_TIMEOUT_MS": "5000000"})
    assert settings_of(objects)["IMQUOTA_REQUEST_TIMEOUT_MS"] == "5000000"


def test_imquota_takes_numbers_as_the_chart_renders_them():
    values = {"SUBJECTS_IN_FLIGHT_MAX": 4096, "SHUTDOWN_DELAY_MS": 0, "TRACE_SAMPLE_RATIO": 0.01,
              "REFLECTION": True, "DRAIN_TIMEOUT_MS": 10000}
    settings = settings_of(templated_from({"settings": values}))
    given = {name: settings[name] for name in (f"IMQUOTA_{each}" for each in values)}
    with Sidecar(store="memory", environment=given):
        pass


def test_a_delay_of_zero_is_zero_and_not_the_default():
    values = {"settings": {"SHUTDOWN_DELAY_MS": 0, "DRAIN_TIMEOUT_MS": 0}}
    objects = templated_from({**values, "terminationGracePeriodSeconds": 7})
    assert pod_of(objects)["terminationGracePeriodSeconds"] == 7
    told = templated_from({**values, "terminationGracePeriodSeconds": 6}, good=False)
    assert "need 7, not 6" in told
    large = {"settings": {"SHUTDOWN_DELAY_MS": LARGE}, "terminationGracePeriodSeconds": 2_000_000}
    assert pod_of(templated_from(large))["terminationGracePeriodSeconds"] == 2_000_000


def test_large_numbers_are_whole_numbers():
    objects = validated(templated_from({
        "replicas": LARGE, "podDisruptionBudget": {"maxUnavailable": LARGE}}))
    assert only("Deployment", objects)["spec"]["replicas"] == LARGE
    assert only("PodDisruptionBudget", objects)["spec"]["maxUnavailable"] == LARGE
    objects = validated(templated_from({"autoscaling": {
        "enabled": True, "minReplicas": LARGE, "maxReplicas": LARGE}}))
    spec = only("HorizontalPodAutoscaler", objects)["spec"]
    assert spec["minReplicas"] == spec["maxReplicas"] == LARGE


def test_the_pod_has_the_properties_of_the_values():
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{
        "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "imquota"}},
        "topologyKey": "kubernetes.io/hostname"}]}}
    secret = {"secretKeyRef": {"name": "imquota", "key": "store"}}
    values = {
        "imagePullSecrets": [{"name": "registry"}, {"name": "mirror"}],
        "podLabels": {"team": "chat", "number": "1"}, "podAnnotations": {"a": "b"},
        "affinity": affinity,
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"},
                     {"name": "IMQUOTA_LOG_FILTER", "valueFrom": secret}],
        "image": {"repository": "REGISTRY/imquota", "tag": "1.2.3"},
    }
    plain, objects = validated(templated_from({})), validated(templated_from(values))
    pod, imquota = pod_of(objects), imquota_of(objects)
    assert pod["imagePullSecrets"] == values["imagePullSecrets"] and pod["affinity"] == affinity
    assert imquota["image"] == "REGISTRY/imquota:1.2.3"
    assert imquota["env"] == imquota_of(plain)["env"] + values["extraEnv"]
    labels = only("Deployment", objects)["spec"]["template"]["metadata"]["labels"]
    assert labels == {**only("Deployment", plain)["spec"]["template"]["metadata"]["labels"],
                      **values["podLabels"]}
    for kind in ("Deployment", "Service", "PodDisruptionBudget"):
        spec = [only(kind, each)["spec"]["selector"] for each in (plain, objects)]
        assert spec[0] == spec[1], "more labels change no selector"
    assert not {"imagePullSecrets", "affinity"} & pod_of(plain).keys()


def test_callbacks_have_a_file_of_settings_a_port_and_a_service():
    plain = validated(templated_from({"networkPolicy": {"enabled": True}}))
    values = {"callbacksSecret": "of-ims", "networkPolicy": {"enabled": True}}
    objects = validated(templated_from(values))
    settings = settings_of(objects)
    file = Path(settings["IMQUOTA_CONFIG"])
    port = int(settings["IMQUOTA_CALLBACK_LISTEN"].rpartition(":")[2])
    mounted = {each["name"]: each["mountPath"] for each in imquota_of(objects)["volumeMounts"]}
    [volume] = [each for each in pod_of(objects)["volumes"]
                if each.get("secret", {}).get("secretName") == "of-ims"]
    assert (mounted[volume["name"]], file.name) == (str(file.parent), "imquota.toml")
    [named] = [each for each in imquota_of(objects)["ports"] if each["containerPort"] == port]
    [service] = [each for each in every("Service", objects)
                 if each["metadata"]["name"].endswith("-callbacks")]
    assert [each["targetPort"] for each in service["spec"]["ports"]] == [named["name"]]
    admitted = only("NetworkPolicy", objects)["spec"]["ingress"][0]["ports"]
    assert {"port": named["name"]} in admitted
    assert "callback" not in json.dumps(plain).lower()


@pytest.mark.parametrize(("values", "field"), [
    ({"podLabels": {"app.kubernetes.io/name": "x"}}, "propertyName 'app.kubernetes.io/name'"),
    ({"podLabels": {"number": 1}}, "podLabels"),
    ({"extraEnv": [{"value": "x"}]}, "extraEnv"),
    ({"extraEnv": [{"name": "IMQUOTA_ADMIN_LISTEN", "value": "0.0.0.0:1"}]}, "extraEnv"),
    ({"imagePullSecrets": ["registry"]}, "imagePullSecrets"),
    ({"affinity": []}, "affinity"),
    ({"settings": {"CATALOG": ["x"]}}, "CATALOG"),
    ({"settings": {"SHUTDOWN_DELAY_MS": 0.5}}, "settings.SHUTDOWN_DELAY_MS"),
    ({"networkPolicy": {"webhookTo": []}}, "webhookTo"),
    ({"networkPolicy": {"redisCidrs": ["cache.example"]}}, "redisCidrs"),
    ({"networkPolicy": {"sentinelPort": 0}}, "sentinelPort"),
])
def test_a_wrong_value_is_refused_by_its_name(values, field):
    assert field in templated_from(values, good=False)
