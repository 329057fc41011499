"""Failovers under load lose no acknowledged write, and the harness would detect a loss. Many
rounds of every cell: `run.py` in this folder."""

import pytest
from rounds import Round
from run import Deployed, counted, run_cell

PACE_S = 0.08
SEED = 7
SENTINELS_DEAD_S = 8.0
RESUMED_WITHIN_S = 10.0
"""Generous: `run.py` measures the time of a failover. Without a remaining replica, decisions
resume only when the old master is back, which takes longer."""

pytestmark = pytest.mark.usefixtures("namespaces")


@pytest.fixture(scope="module")
def deployed(request):
    """Sentinels with two replicas, and sidecars with the durability of the test."""
    with Deployed("sentinel-2", request.param, []) as running:
        yield running


def with_durability(*durabilities: str):
    """Runs a test with each durability; tests with the same one share a deployment."""
    return pytest.mark.parametrize("deployed", durabilities, indirect=True, scope="module")


def counted_round(deployed: Deployed, fault: str, lasts_s: float | None = None) -> Round:
    """A round that counts; neither it nor discarded ones may have a forbidden violation."""
    results = run_cell(deployed, fault, 1, SEED, PACE_S, lasts_s)
    for result in results:
        assert not result.fails, result
    assert counted(results), results
    return results[-1]


@with_durability("local")
def test_local_loses_facts_so_the_harness_detects_losses(deployed):
    result = counted_round(deployed, "planned")
    assert result.lost > 0 and result.over > 0, result


@with_durability("auto", "replicated")
@pytest.mark.parametrize("fault", ["planned", "split-replica-sidecar"])
def test_a_failover_with_the_old_master_alive_loses_nothing(deployed, fault):
    counted_round(deployed, fault)


@with_durability("auto")
def test_decisions_resume_after_a_kill_and_nothing_is_lost(deployed):
    result = counted_round(deployed, "kill")
    assert max(result.refused_s["beyond"]) <= RESUMED_WITHIN_S, result


@with_durability("auto")
def test_two_dead_sentinels_of_three_refuse_nothing(deployed):
    counted_round(deployed, "sentinels-dead", SENTINELS_DEAD_S)
