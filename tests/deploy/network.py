"""Evaluates NetworkPolicies by the definition of Kubernetes: which connections are admitted.

It implements the reference of `networking.k8s.io/v1`, and reads only rendered policies and the
labels, namespaces, addresses and ports of endpoints.
"""

from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

NAME_LABEL = "kubernetes.io/metadata.name"
"""The label with the name of the namespace, which Kubernetes sets."""


@dataclass(frozen=True)
class Endpoint:
    """A pod, or an address outside the cluster, which has no namespace and no labels."""

    name: str
    address: str
    namespace: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    """The named ports of its containers."""


def selects(selector: dict, labels: dict[str, str]) -> bool:
    """Returns whether a selector selects these labels; the empty selector selects everything."""
    unknown = selector.keys() - {"matchLabels", "matchExpressions"}
    assert not unknown, unknown
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    return all(satisfies(each, labels) for each in selector.get("matchExpressions") or [])


def satisfies(requirement: dict, labels: dict[str, str]) -> bool:
    """Returns whether labels satisfy one requirement of `matchExpressions`."""
    key, values = requirement["key"], requirement.get("values", [])
    match requirement["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    raise AssertionError(requirement)


def is_peer(peer: dict, endpoint: Endpoint, namespace: str) -> bool:
    """Returns whether an endpoint is a peer of a rule in a policy of that namespace."""
    if "ipBlock" in peer:
        assert peer.keys() == {"ipBlock"}, peer
        block, address = peer["ipBlock"], ip_address(endpoint.address)
        return address in ip_network(block["cidr"]) and not any(
            address in ip_network(each) for each in block.get("except", []))
    assert peer and peer.keys() <= {"podSelector", "namespaceSelector"}, peer
    if endpoint.namespace is None:
        return False
    if "namespaceSelector" in peer:
        if not selects(peer["namespaceSelector"], {NAME_LABEL: endpoint.namespace}):
            return False
    elif endpoint.namespace != namespace:
        return False
    return selects(peer.get("podSelector", {}), endpoint.labels)


def is_port(entry: dict, target: Endpoint, port: int, protocol: str) -> bool:
    """Returns whether an entry of `ports` names that port of the target."""
    if entry.get("protocol", "TCP") != protocol:
        return False
    named = entry.get("port")
    if named is None:
        return True
    if isinstance(named, str):
        return target.ports.get(named) == port
    return named <= port <= entry.get("endPort", named)


def admits(policies: list[dict], direction: str, pod: Endpoint, other: Endpoint, port: int,
           protocol: str) -> bool:
    """Returns whether a pod's policies admit a connection in a direction, Ingress or Egress."""
    peers, target = ("from", pod) if direction == "Ingress" else ("to", other)
    is_isolated = False
    for policy in policies:
        spec, namespace = policy["spec"], policy["metadata"].get("namespace", "default")
        types = spec.get("policyTypes", ["Ingress", *(["Egress"] if "egress" in spec else [])])
        if direction not in types or namespace != pod.namespace:
            continue
        if not selects(spec["podSelector"], pod.labels):
            continue
        is_isolated = True
        for rule in spec.get(direction.lower()) or []:
            if rule.get(peers) and not any(
                    is_peer(each, other, namespace) for each in rule[peers]):
                continue
            if not rule.get("ports") or any(
                    is_port(each, target, port, protocol) for each in rule["ports"]):
                return True
    return not is_isolated


def is_allowed(policies: list[dict], source: Endpoint, target: Endpoint, port: int,
               protocol: str = "TCP") -> bool:
    """Returns whether source (egress) and target (ingress) admit a connection."""
    return admits(policies, "Egress", source, target, port, protocol) and admits(
        policies, "Ingress", target, source, port, protocol)
