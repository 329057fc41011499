"""Checks a history: was anything acknowledged lost, was a limit exceeded, did two masters decide?

It shares no code with the product and is independent of it: a fact is held or not, and a scope has
a number of facts and perhaps a limit. The calls on one fact are made one after another, by one
client or as takes only.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from history import DENIED, DONE, RELEASE, TAKE, UNKNOWN, Call, Fact, Scope


class Observed(NamedTuple):
    """The state that one sidecar returned after the repair."""

    held: dict[Fact, bool]
    used: dict[Scope, int]


class Cut(NamedTuple):
    """A network partition during which one side must not decide any more."""

    from_s: float
    """When another master was observed on the other side."""
    until_s: float
    sidecars: frozenset[int]
    """The sidecars on the side of the old master."""


@dataclass
class CheckResult:
    """The violations found, each with a sentence."""

    lost: list[str] = field(default_factory=list)
    over: list[str] = field(default_factory=list)
    """Limits that were exceeded or enforced too early, and wrong counts."""
    two_masters: list[str] = field(default_factory=list)
    disagreements: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Returns whether there is no violation."""
        return not (self.lost or self.over or self.two_masters or self.disagreements)


def expected_states(calls: list[Call]) -> dict[Fact, bool | None]:
    """For each fact, whether it must be held after these calls in time order; None if unknown."""
    states: dict[Fact, bool | None] = {}
    for call in calls:
        before = states.setdefault(call.fact, False)
        if call.outcome == DONE:
            states[call.fact] = call.action == TAKE
        elif call.outcome == UNKNOWN and before != (call.action == TAKE):
            states[call.fact] = None
    return states


def check_history(calls: list[Call], limits: dict[Scope, int], observed: dict[int, Observed],
                  cut: Cut | None) -> CheckResult:
    """Checks a round by its calls and by the state that each sidecar returned after it."""
    result = CheckResult()
    calls = sorted(calls, key=lambda call: call.began_s)
    expected = expected_states(calls)
    if not expected or not observed:
        raise ValueError("nothing to check")
    lost: dict[Fact, str] = {}
    for sidecar, answers in observed.items():
        _find_lost(expected, sidecar, answers, lost)
        _find_wrong_counts(expected, sidecar, answers, limits, result.over)
    result.lost = list(lost.values())
    _find_over(calls, limits, result.over)
    _find_early_denials(calls, limits, result.over)
    _find_disagreements(observed, result.disagreements)
    if cut:
        result.two_masters = [f"{call}" for call in calls if _is_of_two_masters(call, cut)]
    return result


def _find_lost(expected, sidecar: int, answers: Observed, lost: dict[Fact, str]) -> None:
    for fact, wanted in expected.items():
        if fact not in answers.held:
            raise ValueError(f"sidecar {sidecar} was not read for {fact}")
        if wanted is not None and answers.held[fact] != wanted:
            became = "is gone" if wanted else "was released and is held"
            lost.setdefault(fact, f"{fact} {became}, by sidecar {sidecar}")


def _find_wrong_counts(expected, sidecar: int, answers: Observed, limits, over: list[str]) -> None:
    present: dict[Scope, int] = defaultdict(int)
    for fact in expected:
        present[fact.scope] += answers.held[fact]
    for scope, count in present.items():
        used = answers.used.get(scope)
        if used is None:
            raise ValueError(f"sidecar {sidecar} was not read for the count of {scope}")
        if used != count:
            over.append(f"{scope}: sidecar {sidecar} counts {used}, and {count} are held")
        if count > limits.get(scope, count):
            over.append(f"{scope}: {count} are held, limit {limits[scope]}")


def _find_over(calls: list[Call], limits: dict[Scope, int], over: list[str]) -> None:
    """Counts acknowledged takes in scopes with a limit, from which nothing is released."""
    admitted: dict[Scope, set[Fact]] = defaultdict(set)
    for call in calls:
        if call.fact.scope in limits:
            if call.action == RELEASE:
                raise ValueError(f"a release in a scope with a limit: {call}")
            if call.outcome == DONE:
                admitted[call.fact.scope].add(call.fact)
    for scope, facts in admitted.items():
        if len(facts) > limits[scope]:
            over.append(f"{scope}: {len(facts)} were acknowledged, limit {limits[scope]}")


def _find_early_denials(calls: list[Call], limits: dict[Scope, int], over: list[str]) -> None:
    """A denial is correct only if as many takes as the limit may precede it."""
    taken: dict[Scope, dict[Fact, float]] = defaultdict(dict)
    denials = []
    for call in calls:
        if call.fact.scope not in limits:
            continue
        if call.outcome == DENIED:
            denials.append(call)
        else:
            taken[call.fact.scope].setdefault(call.fact, call.began_s)
    for call in denials:
        scope = call.fact.scope
        before = sum(began_s < call.ended_s for began_s in taken[scope].values())
        if before < limits[scope]:
            over.append(f"{call}: denied at {before} of {limits[scope]}")


def _find_disagreements(observed: dict[int, Observed], found: list[str]) -> None:
    (first, reference), *others = observed.items()
    for sidecar, answers in others:
        differ = [fact for fact, held in answers.held.items() if reference.held[fact] != held]
        if differ:
            found.append(f"sidecars {first} and {sidecar} disagree about {len(differ)} facts, "
                         f"such as {differ[0]}")


def _is_of_two_masters(call: Call, cut: Cut) -> bool:
    return (call.outcome == DONE and call.sidecar in cut.sidecars
            and call.began_s > cut.from_s and call.ended_s < cut.until_s)
