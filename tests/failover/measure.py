"""The refusal times of a sidecar: the gaps in its acknowledgements, from the records alone."""

from collections import Counter, defaultdict
from typing import NamedTuple

from history import DONE, UNKNOWN, Call

GAP_MIN_S = 0.4
"""Each stream has a probe every 100 ms; a shorter gap may be caused by the machine."""


class Times(NamedTuple):
    """The instants of a round, of one clock."""

    run_s: float
    fault_s: float
    over_s: float
    """The end of the failover itself: another master was observed, or none was needed."""
    heal_s: float
    end_s: float


def rate_per_s(calls: list[Call], times: Times) -> float:
    """Acknowledged writes in each second before the fault."""
    done = sum(call.outcome == DONE and times.run_s <= call.ended_s < times.fault_s
               for call in calls)
    return done / (times.fault_s - times.run_s)


def gaps(calls: list[Call], times: Times) -> dict[int, list[tuple[float, float]]]:
    """For each sidecar the gaps of the part of an app with the longest gaps in total."""
    streams: dict[tuple, list[float]] = defaultdict(list)
    for call in calls:
        scope = call.fact.scope
        part = "group" if scope.kind == "member" else scope.kind
        stream = streams[call.sidecar, scope.app, part]
        if call.outcome == DONE and times.run_s <= call.ended_s <= times.end_s:
            stream.append(call.ended_s)
    worst: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for (sidecar, *_), ended in streams.items():
        bounds = [times.run_s, *sorted(ended), times.end_s]
        found = [(begin, end) for begin, end in zip(bounds, bounds[1:], strict=False)
                 if end - begin >= GAP_MIN_S]
        worst[sidecar] = max(worst[sidecar], found, key=_length)
    return worst


def within(found: list[tuple[float, float]], from_s: float) -> float:
    """The total length of the gaps after an instant."""
    return sum(max(0.0, end - max(begin, from_s)) for begin, end in found)


def refused_s(calls: list[Call], times: Times, majority: set[int]) -> dict[str, list[float]]:
    """Seconds of refusals of each sidecar on the side of the majority.

    `beyond`: after the failover itself; `all`: from the fault on; `healing`: in gaps that began
    when the fault was repaired. A gap that began before that counts as a whole in the other two, so
    that an early end of the fault does not improve the figures.
    """
    found = gaps(calls, times)
    healed_s = max(times.heal_s, times.over_s)
    seconds: dict[str, list[float]] = {"beyond": [], "all": [], "healing": []}
    for sidecar in sorted(majority):
        early = [gap for gap in found[sidecar] if gap[0] < healed_s]
        late = [gap for gap in found[sidecar] if gap[0] >= healed_s]
        seconds["beyond"].append(within(early, times.over_s))
        seconds["all"].append(within(early, times.fault_s))
        seconds["healing"].append(within(late, healed_s))
    return seconds


def refusals(calls: list[Call], times: Times) -> dict[str, int]:
    """The number of calls since the fault with an unknown outcome, by reason."""
    return dict(Counter(call.why for call in calls
                        if call.outcome == UNKNOWN and call.ended_s >= times.fault_s))


def _length(found: list[tuple[float, float]]) -> float:
    return sum(end - begin for begin, end in found)
