"""The connections that network policies admit, in kustomize and Helm, for each shipped option.

The oracle is a set of endpoints with their real labels. Of all connections that begin or end at a
protected pod, exactly those that are named here are admitted.
"""

from itertools import product

import pytest

from network import Endpoint, is_allowed
from rendering import composed, every, kustomized, only, templated, templated_from

PORTS = (53, 80, 443, 4317, 4318, 6379, 6380, 7000, 8080, 9090, 16379, 26379, 50051)
PROTOCOLS = ("TCP", "UDP")


def bitnami(name: str, component: str) -> dict[str, str]:
    """The labels of pods of Bitnami's charts for Redis."""
    return {"app.kubernetes.io/name": name, "app.kubernetes.io/instance": "store",
            "app.kubernetes.io/component": component, "app.kubernetes.io/managed-by": "Helm",
            "helm.sh/chart": f"{name}-20.1.0", "pod-template-hash": "7c9"}


WORLD = [
    Endpoint("im", "10.1.0.1", "default", {"app": "im", "imquota-client": "true"}),
    Endpoint("im without label", "10.1.0.2", "default", {"app": "im"}),
    Endpoint("im of another namespace", "10.1.0.3", "else", {"imquota-client": "true"}),
    Endpoint("redis", "10.2.0.1", "default", bitnami("redis", "master"), {"redis": 6379}),
    Endpoint("sentinel", "10.2.0.2", "default", bitnami("redis", "node")),
    Endpoint("cluster node", "10.2.0.3", "default", bitnami("redis-cluster", "redis-cluster")),
    Endpoint("redis of another namespace", "10.2.0.4", "else", bitnami("redis", "master")),
    Endpoint("redis outside", "198.51.100.4"),
    Endpoint("dns", "10.3.0.1", "kube-system", {"k8s-app": "kube-dns"}),
    Endpoint("dns of the node", "169.254.20.10"),
    Endpoint("another of kube-system", "10.3.0.2", "kube-system", {"k8s-app": "metrics-server"}),
    Endpoint("prometheus", "10.4.0.1", "monitoring", {
        "app.kubernetes.io/name": "prometheus", "app.kubernetes.io/instance": "k8s",
        "operator.prometheus.io/name": "k8s", "prometheus": "k8s"}),
    Endpoint("grafana", "10.4.0.2", "monitoring", {"app.kubernetes.io/name": "grafana"}),
    Endpoint("collector", "10.4.0.3", "monitoring", {
        "app.kubernetes.io/name": "opentelemetry-collector", "component": "agent-collector",
        "app.kubernetes.io/instance": "otel"}),
    Endpoint("collector of another namespace", "10.4.0.4", "else", {
        "app.kubernetes.io/name": "opentelemetry-collector"}),
    Endpoint("receiver outside", "203.0.113.7"),
    Endpoint("receiver inside", "10.5.0.1", "default", {"app": "receiver"}),
    Endpoint("metadata of the cloud", "169.254.169.254"),
    Endpoint("another pod", "10.6.0.1", "default", {"app": "else"}),
]

DNS = {f"imquota > {to}:53/{protocol}" for to in ("dns", "dns of the node")
       for protocol in PROTOCOLS}
COMES_IN = {"im > imquota:50051/TCP", "prometheus > imquota:9090/TCP"}
STORE = {"imquota > redis:6379/TCP", "imquota > sentinel:6379/TCP"}
"""The pods of a Sentinel's group are Redis servers too, and have that label."""
LEAST = DNS | COMES_IN | STORE
SENTINELS = {"imquota > redis:26379/TCP", "imquota > sentinel:26379/TCP"}
NODES = {"imquota > cluster node:6379/TCP"}
OTLP = {"imquota > collector:4317/TCP"}
OUTSIDE = {"imquota > receiver outside:443/TCP", "imquota > redis outside:443/TCP"}
"""A webhook receiver may be any public address."""
SHIPPED = {"imquota > shipped redis:6379/TCP"}


def pod(name: str, address: str, owner: dict) -> Endpoint:
    """The endpoint that a Deployment or StatefulSet makes."""
    template = owner["spec"]["template"]
    containers = template["spec"]["containers"] + template["spec"].get("initContainers", [])
    ports = {port["name"]: port["containerPort"] for each in containers
             for port in each.get("ports", [])}
    return Endpoint(name, address, "default", template["metadata"]["labels"], ports)


def admitted(objects: list[dict], has_policy: bool = True) -> set[str]:
    """All connections that are admitted and begin or end at a protected pod."""
    policies = every("NetworkPolicy", objects)
    imquota = pod("imquota", "10.0.0.1", only("Deployment", objects))
    stores = [pod("shipped redis", "10.0.0.2", each) for each in every("StatefulSet", objects)]
    protected = stores + ([imquota] if has_policy else [])
    assert protected, "nothing to check"
    world = [imquota, *stores, *WORLD]
    return {f"{source.name} > {target.name}:{port}/{protocol}"
            for source, target in product(world, world) if source is not target
            if source in protected or target in protected
            for port, protocol in product(PORTS, PROTOCOLS)
            if is_allowed(policies, source, target, port, protocol)}


COMPONENT = "kustomize/components"
OVERLAYS = {
    "as it is": ([], LEAST),
    "sentinels": (["sentinels"], LEAST | SENTINELS),
    "cluster": (["cluster"], LEAST | NODES),
    "otlp": (["otlp"], LEAST | OTLP),
    "webhook": (["webhook"], LEAST | OUTSIDE),
    "redis": (["redis"], LEAST | SHIPPED),
    "everything": (["redis", "sentinels", "cluster", "otlp", "webhook"],
                   LEAST | SENTINELS | NODES | OTLP | OUTSIDE | SHIPPED),
}


@pytest.mark.parametrize("option", OVERLAYS)
def test_the_overlay_admits_what_it_needs_and_nothing_else(option):
    components, expected = OVERLAYS[option]
    objects = composed(["kustomize/overlays/standalone"],
                       [f"{COMPONENT}/{each}" for each in components])
    assert admitted(objects) == expected


def test_labels_of_an_overlay_above_do_not_cut_it_off():
    labels = [{"pairs": {"team": "chat"}, "includeSelectors": False, "includeTemplates": True}]
    objects = composed(["kustomize/overlays/standalone"], labels=labels)
    assert admitted(objects) == LEAST


def test_the_overlays_with_redis_admit_only_imquota():
    assert admitted(kustomized("kustomize/overlays/standalone-redis")) == LEAST | SHIPPED
    beside_an_im = kustomized("kustomize/overlays/sidecar-redis")
    assert admitted(beside_an_im, has_policy=False) == SHIPPED
    redis_alone = [*kustomized("redis"), *templated({"networkPolicy.enabled": "true"})]
    assert admitted(redis_alone) == LEAST | SHIPPED


CHART = {
    "as it is": ({}, LEAST),
    "sentinels": ({"settings": {"STORE": "redis-sentinel://a,b:26379,c/main/0"}},
                  LEAST | SENTINELS),
    "cluster": ({"settings": {"STORE": "redis-cluster://a:6379,b"},
                 "networkPolicy": {"redisLabels": {"app.kubernetes.io/name": "redis-cluster"}}},
                LEAST - STORE | NODES),
    "cluster at another port": (
        {"settings": {"STORE": "redis-cluster://a:7000,b:7000"}, "networkPolicy": {
            "redisPort": 7000, "redisLabels": {"app.kubernetes.io/name": "redis-cluster"}}},
        LEAST - STORE | {"imquota > cluster node:7000/TCP"}),
    "encrypted, outside": (
        {"settings": {"STORE": "rediss://user:word@cache.example:6380/0"},
         "networkPolicy": {"redisPort": 6380, "redisCidrs": ["198.51.100.0/24"]}},
        LEAST - STORE | {"imquota > redis:6380/TCP", "imquota > sentinel:6380/TCP",
                         "imquota > redis outside:6380/TCP"}),
    "otlp": ({"settings": {"OTLP_ENDPOINT": "http://otel.monitoring:4317"}}, LEAST | OTLP),
    "otlp at another port": ({"settings": {"OTLP_ENDPOINT": "http://otel.monitoring:4318"}},
                             LEAST | {"imquota > collector:4318/TCP"}),
    "webhook": ({"settings": {"WEBHOOK_URL": "https://im.example/events"}}, LEAST | OUTSIDE),
    "webhook inside": (
        {"settings": {"WEBHOOK_URL": "http://receiver:8080/events"}, "networkPolicy": {
            "webhookTo": [{"podSelector": {"matchLabels": {"app": "receiver"}}}]}},
        LEAST | {"imquota > receiver inside:8080/TCP"}),
    "every pod of monitoring": (
        {"networkPolicy": {"monitoringLabels": {"app.kubernetes.io/name": None}}},
        LEAST | {"grafana > imquota:9090/TCP", "collector > imquota:9090/TCP"}),
    "more": ({"networkPolicy": {
        "extraIngress": [{"from": [{"podSelector": {"matchLabels": {"app": "else"}}}],
                          "ports": [{"port": "grpc"}]}],
        "extraEgress": [{"to": [{"podSelector": {"matchLabels": {"app": "else"}}}],
                         "ports": [{"port": 8080}]}]}},
        LEAST | {"another pod > imquota:50051/TCP", "imquota > another pod:8080/TCP"}),
}


@pytest.mark.parametrize("option", CHART)
def test_the_chart_admits_what_it_needs_and_nothing_else(option):
    values, expected = CHART[option]
    policy = {"enabled": True, **values.get("networkPolicy", {})}
    assert admitted(templated_from({**values, "networkPolicy": policy})) == expected


@pytest.mark.parametrize("store", [
    "redis://redis:6380/0", "redis-cluster://a:6379,b:7000", "redis-sentinel://a,b:5000/main/0"])
def test_a_port_that_the_policy_would_block_is_refused(store):
    told = templated({"networkPolicy.enabled": "true", "settings.STORE": store.replace(
        ",", "\\,")}, good=False)
    assert "settings.STORE" in told and "Port" in told, told
    assert templated({"settings.STORE": store.replace(",", "\\,")}), "accepted without a policy"


def test_without_policies_everything_would_be_admitted():
    objects = [each for each in kustomized("kustomize/overlays/standalone")
               if each["kind"] != "NetworkPolicy"]
    assert len(admitted(objects)) == 2 * len(WORLD) * len(PORTS) * len(PROTOCOLS)
