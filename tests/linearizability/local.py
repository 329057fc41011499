"""Checks a history over a failover without replication.

Acknowledged facts may be lost then, and later takes are admitted beyond the limit from the clients'
point of view. So this checks no legal order, but for every count: at no time does the number of
facts that are acknowledged and not released exceed the limit by more than the number of lost facts.

A fact counts as held from the return of an outcome that proves it to the first operation that may
have released it. If the two overlap, or the release is unknown, that time is left out on both
sides.

The old master must be dead: while two masters serve, each with facts of its own, clients observe no
loss until one is gone.
"""

from collections import defaultdict

from facts import BATCHES, TAKES, counters_of, facts_of, singles_of
from order import end_of, matters

FOREVER = float("inf")


class Touch:
    """An operation from the point of view of one fact."""

    __slots__ = ("start", "end", "takes", "affirms", "denies", "frees", "is_clear")

    def __init__(self, op: dict, end: float, is_whole: bool):
        outcome, take = op["outcome"], op["op"] in TAKES
        self.start, self.end = op["invoke_ns"], end
        self.takes = take and outcome == "APPLIED" and not op.get("check")
        self.affirms = self.takes or outcome == "ALREADY_HELD"
        # The fact was not held.
        self.denies = (outcome in ("APPLIED", "DENIED", "ABORTED") if take
                       else outcome == "NOT_HELD") and is_whole
        # The fact is no longer held, or perhaps not; a take with unknown outcome may hide a loss.
        self.frees = outcome == "ERROR_UNKNOWN" or not is_whole or (
            not take and outcome == "APPLIED")
        self.is_clear = is_whole and outcome != "ERROR_UNKNOWN"


def settled(since: float, freed: Touch | None, touches: list[Touch]) -> bool:
    """Returns whether a loss between the two would have been observed."""
    if any(it.denies and it.start <= since < it.end for it in touches):
        return False
    if freed is None:
        return True
    beside = (it.denies and it.start < freed.end and it.end >= freed.start and it.end > since
              for it in touches)
    return freed.is_clear and not any(beside)


def spans_of(touches: list[Touch]) -> tuple[list[tuple], int]:
    """The spans in which a fact was acknowledged and not released, and its number of losses."""
    freeing = sorted((it for it in touches if it.frees), key=lambda it: it.start)
    spans, lost, since, freed, lost_at = [], 0, None, None, -1
    for it in sorted(touches, key=lambda it: it.end):
        if since is not None and freed and freed.start <= it.start:
            if settled(since, freed, touches):
                spans.append((since, freed.start))
            since = None
        until = freed.start if freed else FOREVER
        if since is not None and it.denies and since < it.start and it.end < until:
            spans.append((since, it.start))
            lost, lost_at, since = lost + 1, it.end, None
        unsure = any(one.start < it.end and one.end > it.start for one in freeing)
        fresh = it.takes or (it.affirms and it.start > lost_at)
        if since is None and fresh and not unsure:
            since = it.end
            freed = next((one for one in freeing if one.start >= it.end), None)
    if since is not None and settled(since, freed, touches):
        spans.append((since, freed.start if freed else FOREVER))
    return spans, lost


def touches_of(ops: list[dict], tolerance_ns: int | None) -> dict[tuple, list[Touch]]:
    """The operations on each fact.

    Friendships are taken both ways or not at all, so the outcome of one half holds for both. The
    outcome of a deletion or dissolution is about all facts, so it proves nothing about a single
    fact.
    """
    touches, of_user, of_group = defaultdict(list), defaultdict(set), defaultdict(set)
    ops = [op for op in ops if matters(op)]
    ops = [one for op in ops for one in (singles_of(op) if op["op"] in BATCHES else [op])]
    for fact in (fact for op in ops for fact in facts_of(op)):
        if fact[0] in ("member", "friend"):
            of_user[fact[1]].add(fact)
        if fact[0] == "friend":
            of_user[fact[2]].add(fact)
        if fact[0] == "member":
            of_group[fact[2]].add(fact)
    for op in ops:
        # An account that a failover has lost is deleted all the same if its user has other facts.
        is_whole = not (op["op"] == "delete_account" and op["outcome"] == "APPLIED"
                        and of_user[op["user"]])
        for fact in facts_of(op):
            touches[fact].append(Touch(op, end_of(op, tolerance_ns), is_whole))
    for op in ops:
        taken = {"delete_account": of_user[op.get("user")], "dissolve": of_group[op.get("group")]}
        for fact in taken.get(op["op"], ()):
            touches[fact].append(Touch(op, end_of(op, tolerance_ns), False))
    return touches


def check_local(ops: list[dict], limits: dict, tolerance_ns: int | None) -> tuple[int, int, list]:
    """Facts lost, facts admitted beyond a limit, and the counts with too many of those."""
    lost, changes, lost_of = 0, defaultdict(list), defaultdict(int)
    for fact, touches in touches_of(ops, tolerance_ns).items():
        spans, times = spans_of(touches)
        lost += times
        for counter in counters_of(fact):
            lost_of[counter] += times
            for start, end in spans:
                changes[counter] += [(start, 1), (end, -1)]
    beyond, problems = 0, []
    for counter, steps in changes.items():
        count = most = 0
        for _, step in sorted(steps):
            count += step
            most = max(most, count)
        excess = max(0, most - limits[counter[0]])
        beyond += excess
        if excess > lost_of[counter]:
            name = " ".join(counter)
            problems.append(f"  {name}: {excess} beyond the limit, {lost_of[counter]} lost")
    return lost, beyond, problems
