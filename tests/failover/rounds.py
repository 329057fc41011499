"""One round: load, a fault, the repair, and the check of the acknowledged calls."""

import random
import time
from dataclasses import asdict, dataclass, field

import checker
import measure
from deployments import SIDECARS, Deployment
from faults import Fault, make_fault
from history import DONE, Call, Scope
from load import CONTENDED_MAX, Plan
from watch import Watch

WARM_S = (1.5, 2.5)
SETTLE_S = 1.0
APPS = 4
PROMOTION_TIMEOUT_S = 25.0
ACKNOWLEDGED_MIN = 1000
RATE_MIN_PER_S = 500.0
EXAMPLES_MAX = 5


@dataclass
class Round:
    """The result of a round. A discarded round does not count, but its losses do."""

    topology: str
    fault: str
    durability: str
    seed: int
    binary: str
    """The binary under test: the start of its SHA-256."""
    discarded: str = ""
    """The reason why the round does not count for its cell; empty if it counts."""
    error: str = ""
    """The reason why the round could not be finished, such as a sidecar that does not recover."""
    acknowledged: int = 0
    rate_per_s: float = 0.0
    lost: int = 0
    over: int = 0
    two_masters: int = 0
    disagreements: int = 0
    promoted_after_s: float | None = None
    refused_s: dict[str, list[float]] = field(default_factory=dict)
    refusals: dict[str, int] = field(default_factory=dict)
    forbidden_refusals: int = 0
    """The refusals in a round that may have none."""
    examples: list[str] = field(default_factory=list)
    took_s: float = 0.0

    @property
    def is_clean(self) -> bool:
        """Returns whether there is no violation."""
        return not (self.lost or self.over or self.two_masters or self.disagreements
                    or self.forbidden_refusals or self.error)

    @property
    def fails(self) -> bool:
        """Returns whether there is a violation that the durability forbids: `local` may lose."""
        if self.durability == "local":
            return bool(self.error or self.forbidden_refusals)
        return not self.is_clean

    def as_dict(self) -> dict:
        """The fields of the line of JSON."""
        return asdict(self)


def run_round(deployment: Deployment, cell: tuple[str, str, str], seed: int, pace_s: float,
              lasts_s: float | None = None) -> Round:
    """Runs one round of a cell (topology, fault, durability) in a healthy deployment."""
    began_s = time.monotonic()
    result = Round(*cell, seed, deployment.binary)
    rng = random.Random(seed)
    deployment.wait_until_ready()
    plan = Plan([f"a{seed}-{began_s:.0f}-{n}" for n in range(APPS)], seed, pace_s)
    deployment.prepare(plan)
    fault = make_fault(result.fault, deployment, rng)
    if fault.lasts_s and lasts_s:
        fault.lasts_s = lasts_s
    calls, times, promoted_s = _run_fault(deployment, fault, rng)
    deployment.wait_until_healed()
    if promoted_s:
        result.promoted_after_s = promoted_s - times.fault_s
    _check(deployment, fault, calls, times, result)
    result.took_s = time.monotonic() - began_s
    return result


def _run_fault(deployment: Deployment, fault: Fault,
               rng: random.Random) -> tuple[list[Call], measure.Times, float | None]:
    masters = {server.name for server in deployment.masters()}
    with Watch({server.name: server.socket for server in deployment.servers}) as watch:
        run_s = time.monotonic()
        deployment.run_load()
        time.sleep(rng.uniform(*WARM_S))
        fault_s = time.monotonic()
        fault.begin()
        if fault.lasts_s:
            time.sleep(fault.lasts_s)
        else:
            _wait_for_promotion(watch, fault_s, masters)
            time.sleep(fault.hold_s)
        heal_s = time.monotonic()
        fault.heal()
        deployment.wait_until_healed()
        time.sleep(SETTLE_S)
        end_s = time.monotonic()
        calls = deployment.stop_load()
        after = {server.name for server in deployment.masters()}
        promoted_s = watch.promoted_s(fault_s, masters, after)
    # If the master stays, it continues immediately, or as soon as it is thawed.
    over_s = promoted_s or (fault_s if fault.changes_master is False else heal_s)
    return calls, measure.Times(run_s, fault_s, over_s, heal_s, end_s), promoted_s


def _wait_for_promotion(watch: Watch, fault_s: float, masters: set[str]) -> None:
    while not watch.promoted_s(fault_s, masters):
        if time.monotonic() > fault_s + PROMOTION_TIMEOUT_S:
            return
        time.sleep(0.02)


def _check(deployment: Deployment, fault: Fault, calls: list[Call], times: measure.Times,
           result: Round) -> None:
    facts = {call.fact for call in calls}
    scopes = {fact.scope for fact in facts}
    limits = {scope: CONTENDED_MAX for scope in scopes if _is_contended(scope)}
    observed = {number: checker.Observed(*answers)
                for number, answers in deployment.observe(facts, scopes).items()}
    cut = None
    if fault.minority_sidecars and result.promoted_after_s:
        cut = checker.Cut(times.over_s, times.heal_s, fault.minority_sidecars)
    checked = checker.check_history(calls, limits, observed, cut)
    result.lost, result.over = len(checked.lost), len(checked.over)
    result.two_masters = len(checked.two_masters)
    result.disagreements = len(checked.disagreements)
    result.examples = [*checked.lost[:EXAMPLES_MAX], *checked.over[:EXAMPLES_MAX],
                       *checked.two_masters[:EXAMPLES_MAX], *checked.disagreements]
    result.acknowledged = sum(call.outcome == DONE and call.began_s >= times.run_s
                              for call in calls)
    result.rate_per_s = measure.rate_per_s(calls, times)
    majority = set(range(SIDECARS)) - fault.minority_sidecars
    result.refused_s = measure.refused_s(calls, times, majority)
    result.refusals = measure.refusals(calls, times)
    result.forbidden_refusals = 0 if fault.refuses else sum(result.refusals.values())
    result.discarded = _why_discarded(fault, result)


def _is_contended(scope: Scope) -> bool:
    return scope.kind == "member" and scope.owner.startswith("contended-")


def _why_discarded(fault: Fault, result: Round) -> str:
    if fault.changes_master and not result.promoted_after_s:
        return "no change of master that lasted"
    if fault.changes_master is False and result.promoted_after_s:
        return "an unintended change of master"
    if result.acknowledged < ACKNOWLEDGED_MIN:
        return f"only {result.acknowledged} acknowledged"
    if result.rate_per_s < RATE_MIN_PER_S:
        return f"only {result.rate_per_s:.0f} acknowledged a second"
    return ""
