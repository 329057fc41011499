"""Several addresses of the Python client: the first that serves, and the same one after an answer
that was decided without the store."""

from contextlib import ExitStack

import pytest

import imquota
from app import App
from redis_proxy import Proxy, Redis
from sidecar import Sidecar, clean_environment, free_ports, is_serving, wait_until

WITHIN_S = 20
OPTIONS = imquota.Options(attempt_timeout_s=1.0, timeout_s=3.0)


@pytest.fixture
def pair():
    """Two sidecars on one Redis, of which the first reaches it through a proxy, and an app."""
    with ExitStack() as stack:
        redis = stack.enter_context(Redis())
        proxy = stack.enter_context(Proxy(redis.port))
        first = stack.enter_context(Sidecar(store=proxy.url))
        second = stack.enter_context(Sidecar(store=f"redis://127.0.0.1:{redis.port}/0"))
        app = stack.enter_context(App(second))
        app.create_group("g", "Public", "owner")
        yield proxy, first, second, app


def test_the_next_address_is_used_once_the_first_one_is_gone(pair):
    _, first, second, app = pair
    (closed,) = free_ports(1)
    addresses = [f"127.0.0.1:{closed}", first.tcp, second.tcp]
    with imquota.Client(addresses, app.id, OPTIONS) as quota:
        quota.join_group("g", "a", timeout_s=WITHIN_S)
        assert quota.address == first.tcp
        first.kill()
        quota.join_group("g", "b", timeout_s=WITHIN_S)
        assert quota.address == second.tcp
        first.launch(first.arguments(), clean_environment())
        wait_until(lambda: is_serving(first.tcp), WITHIN_S, "the first sidecar serves")
        quota.join_group("g", "c", timeout_s=WITHIN_S)
        assert quota.address == second.tcp and app.members("g") == 4


def test_a_client_stays_with_the_sidecar_that_has_the_operation_in_its_journal(pair):
    proxy, first, second, app = pair
    with imquota.Client([first.tcp, second.tcp], app.id, OPTIONS) as quota:
        quota.join_group("g", "exact")
        proxy.refuse()
        joined = []

        def degraded() -> bool:
            joined.append(f"u{len(joined)}")
            return bool(quota.join_group("g", joined[-1], timeout_s=WITHIN_S).degradation)

        wait_until(degraded, WITHIN_S, "an answer without the store")
        first.kill()
        with pytest.raises(imquota.Unavailable):
            quota.leave_group("g", joined[-1], timeout_s=0.5)
        assert quota.address == first.tcp

        # Once it is back, its journal is replayed, and the leave comes behind the join.
        proxy.refuse(False)
        first.launch(first.arguments(), clean_environment())
        quota.leave_group("g", joined[-1], timeout_s=WITHIN_S)
        assert quota.address == first.tcp
        expected = 2 + len(joined) - 1
        wait_until(lambda: app.members("g") == expected, WITHIN_S, "the journal is replayed")


def test_a_client_leaves_a_degraded_sidecar_that_stays_away(pair):
    proxy, first, second, app = pair
    soon = imquota.Options(attempt_timeout_s=1.0, timeout_s=3.0, sticky_s=0.01)
    with imquota.Client([first.tcp, second.tcp], app.id, soon) as quota:
        proxy.refuse()
        wait_until(lambda: quota.join_group("g", "a", timeout_s=WITHIN_S).degradation, WITHIN_S,
                   "an answer without the store")
        first.kill()
        quota.join_group("g", "b", timeout_s=WITHIN_S)
        assert quota.address == second.tcp


def test_a_degraded_lease_needs_no_confirmation_and_can_be_released(pair):
    proxy, first, _, app = pair
    with imquota.Client(first.tcp, app.id, OPTIONS) as quota:
        proxy.refuse()

        def degraded() -> bool:
            return quota.joining("g", "probe").take(timeout_s=WITHIN_S).degraded

        wait_until(degraded, WITHIN_S, "a lease without the store")
        with quota.joining("g", "kept") as lease:
            assert lease.degraded
        assert len(lease.confirmation) == 0 and not lease.queued
        with pytest.raises(KeyError), quota.joining("g", "dropped"):
            raise KeyError("the commit failed")
        proxy.refuse(False)
        wait_until(lambda: app.members("g") == 3, WITHIN_S, "the journal is replayed")
        assert not quota.endings and quota.counters.to_reconcile == 0


@pytest.mark.parametrize("address", ["", "http://127.0.0.1:50051", "https://quota.example", []])
def test_what_is_no_address_is_refused_at_once(address):
    with pytest.raises(ValueError, match="address"):
        imquota.Client(address, "demo")
