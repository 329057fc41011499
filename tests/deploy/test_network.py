"""The evaluator of NetworkPolicies agrees with the reference of Kubernetes."""

import pytest

from network import Endpoint, is_allowed, selects

SERVER = Endpoint("server", "10.0.0.1", "default", {"app": "server"}, {"grpc": 50051})
CLIENT = Endpoint("client", "10.0.0.2", "default", {"app": "client"})
NEIGHBOUR = Endpoint("neighbour", "10.0.0.3", "other", {"app": "client"})
OUTSIDE = Endpoint("outside", "203.0.113.7")


def policy(*, select=None, **spec) -> dict:
    """A policy for the server, or for another selector."""
    selector = {"matchLabels": {"app": "server"}} if select is None else select
    return {"metadata": {"name": "p"}, "spec": {"podSelector": selector, **spec}}


def of_client(**more) -> dict:
    """A peer: pods labelled `client`."""
    return {"podSelector": {"matchLabels": {"app": "client"}}, **more}


EVERY_NAMESPACE = {"namespaceSelector": {}}
OTHER_NAMESPACE = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "other"}}}
WORLD = {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}


@pytest.mark.parametrize(("rule", "port", "admitted"), [
    ({}, 1, {CLIENT.name, NEIGHBOUR.name, OUTSIDE.name}),
    ({"from": [of_client()]}, 1, {CLIENT.name}),
    ({"from": [of_client(**EVERY_NAMESPACE)]}, 1, {CLIENT.name, NEIGHBOUR.name}),
    ({"from": [of_client(**OTHER_NAMESPACE)]}, 1, {NEIGHBOUR.name}),
    ({"from": [of_client(), OTHER_NAMESPACE]}, 1, {CLIENT.name, NEIGHBOUR.name}),
    ({"from": [WORLD]}, 1, {OUTSIDE.name}),
    ({"from": [of_client()], "ports": [{"port": 1}]}, 1, {CLIENT.name}),
    ({"from": [of_client()], "ports": [{"port": 1}]}, 2, set()),
    ({"from": [of_client()], "ports": [{"port": 1, "protocol": "UDP"}]}, 1, set()),
    ({"from": [of_client()], "ports": [{"port": 1, "endPort": 3}]}, 3, {CLIENT.name}),
    ({"from": [of_client()], "ports": [{"port": 1, "endPort": 3}]}, 4, set()),
    ({"from": [of_client()], "ports": [{"port": "grpc"}]}, 50051, {CLIENT.name}),
    ({"from": [of_client()], "ports": [{"port": "grpc"}]}, 50052, set()),
    ({"from": [{"podSelector": {"matchLabels": {"app": "client", "x": "y"}}}]}, 1, set()),
])
def test_a_rule_admits_its_peers_at_its_ports_and_nothing_else(rule, port, admitted):
    policies = [policy(ingress=[rule])]
    found = {each.name for each in (CLIENT, NEIGHBOUR, OUTSIDE)
             if is_allowed(policies, each, SERVER, port)}
    assert found == admitted
    assert is_allowed(policies, SERVER, CLIENT, 1), "a policy without egress restricts none"


def test_egress_is_restricted_where_it_is_named_and_ports_are_those_of_the_target():
    policies = [policy(egress=[{"to": [of_client()], "ports": [{"port": 6379}]}])]
    assert is_allowed(policies, SERVER, CLIENT, 6379)
    assert not is_allowed(policies, SERVER, CLIENT, 6380)
    assert not is_allowed(policies, SERVER, NEIGHBOUR, 6379)
    assert not is_allowed(policies, SERVER, OUTSIDE, 6379)
    assert not is_allowed(policies, CLIENT, SERVER, 1), "Ingress is isolated by default"
    assert is_allowed([policy(policyTypes=["Egress"])], CLIENT, SERVER, 1)
    assert not is_allowed([policy(policyTypes=["Egress"])], SERVER, CLIENT, 1)


def test_both_ends_have_to_admit_a_connection():
    lets_out = policy(select={"matchLabels": {"app": "client"}}, policyTypes=["Egress"],
                      egress=[{"to": [{"podSelector": {"matchLabels": {"app": "server"}}}]}])
    lets_in = policy(ingress=[{"from": [of_client()]}])
    assert is_allowed([lets_out, lets_in], CLIENT, SERVER, 1)
    assert not is_allowed([lets_out, policy(ingress=[])], CLIENT, SERVER, 1)
    closed = policy(select={"matchLabels": {"app": "client"}}, policyTypes=["Egress"])
    assert not is_allowed([closed, lets_in], CLIENT, SERVER, 1)
    assert is_allowed([closed, lets_out, lets_in], CLIENT, SERVER, 1), "policies add up"


def test_a_policy_concerns_the_pods_that_it_selects_in_its_namespace():
    closed = policy(ingress=[], select={})
    assert not is_allowed([closed], NEIGHBOUR, SERVER, 1)
    assert is_allowed([closed], SERVER, NEIGHBOUR, 1)
    closed["metadata"]["namespace"] = "other"
    assert is_allowed([closed], NEIGHBOUR, SERVER, 1)
    assert not is_allowed([closed], SERVER, NEIGHBOUR, 1)


@pytest.mark.parametrize(("operator", "values", "labels", "selected"), [
    ("In", ["a"], {"k": "a"}, True), ("In", ["a"], {"k": "b"}, False), ("In", ["a"], {}, False),
    ("NotIn", ["a"], {"k": "a"}, False), ("NotIn", ["a"], {}, True),
    ("Exists", [], {"k": ""}, True), ("Exists", [], {}, False),
    ("DoesNotExist", [], {"k": ""}, False), ("DoesNotExist", [], {}, True),
])
def test_expressions_select(operator, values, labels, selected):
    requirement = {"key": "k", "operator": operator, "values": values}
    assert selects({"matchExpressions": [requirement]}, labels) is selected
