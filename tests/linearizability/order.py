"""The search for a legal order of a history of one family of facts.

Every operation takes effect at one instant between its invocation and its return. The search
processes the events in time order; a configuration is a possible set of facts and the open
operations that have already taken effect, packed in one number. At a return only those
configurations remain in which that operation has taken effect, after any other open ones that had
to precede it. An operation that changes nothing is placed as soon as it fits, which never rules
anything out.

An operation with an unknown outcome may take effect once before its end, or never. One that was
accepted without the store takes effect before it was observed there, and no later operation of its
sidecar on the same users and groups takes effect before it; reads may.
"""

from collections import deque

from facts import Model, subjects_of

CONFIGURATIONS_MAX = 200_000
"""Beyond this a history is undecided: it has too many operations with unknown outcome."""
PRUNE_FROM = 32
RECENT_MAX = 8
ENDLESS = float("inf")


class Undecided(Exception):
    """The search exceeded its bound."""


class Open:
    """An operation that was invoked and has not returned."""

    __slots__ = ("op", "step", "bit", "optional", "end", "key", "behind", "ended")

    def __init__(self, op: dict, step, bit: int, optional: bool, end: float):
        self.op, self.step, self.bit, self.optional, self.end = op, step, bit, optional, end
        self.key, self.ended = "", False
        self.behind: list[Open] = []
        if optional:
            what = {name: op.get(name) for name in ("op", "user", "users", "friend", "group",
                                                    "room", "one_way")}
            self.key = repr(what)


    def may_go(self, configuration: int) -> bool:
        """Returns whether all operations that must not be overtaken have taken effect."""
        return all(before.ended or configuration & before.bit for before in self.behind)


def is_overtaken(before: Open, op: dict) -> bool:
    """Returns whether an operation must not take effect before a journaled one."""
    first = before.op
    return (first["outcome"] == "JOURNALED" and first["return_ns"] < op["invoke_ns"]
            and not op["op"].startswith("count_") and first.get("sidecar") == op.get("sidecar")
            and bool(subjects_of(first) & subjects_of(op)))


def end_of(op: dict, tolerance_ns: int | None) -> float:
    """The last instant at which an operation may take effect."""
    if op["outcome"] == "JOURNALED":
        return op.get("stored_ns") or ENDLESS
    if op["outcome"] != "ERROR_UNKNOWN":
        return op["return_ns"]
    if tolerance_ns is None or op.get("deadline_ns") is None:
        return ENDLESS
    return op["deadline_ns"] + tolerance_ns


def find_order(ops: list[dict], limits: dict, tolerance_ns: int | None = None) -> str | None:
    """None if there is a legal order, otherwise an explanation."""
    return Search([op for op in ops if matters(op)], limits, tolerance_ns).run()


def matters(op: dict) -> bool:
    """Returns whether an operation changed facts, may have done so, or proves something."""
    reads = op.get("check") or op["op"].startswith("count_")
    ignored = ("ERROR_NOTHING_DONE", "DROPPED") + (("ERROR_UNKNOWN",) if reads else ())
    return op["outcome"] not in ignored


class Search:
    """The configurations while the events are processed."""

    def __init__(self, ops: list[dict], limits: dict, tolerance_ns: int | None):
        self.model = Model(ops, limits)
        self.shift = self.model.width
        self.facts = (1 << self.shift) - 1
        self.events = []
        for number, op in enumerate(ops):
            end = end_of(op, tolerance_ns)
            # At equal times invocations precede: then the operations overlap.
            self.events.append((op["invoke_ns"], 0, number, op, end))
            if end != ENDLESS:
                self.events.append((end, 1, number, op, end))
        self.events.sort(key=lambda event: event[:3])
        self.configurations = {0}
        self.changing: list[Open] = []
        self.still: list[Open] = []
        self.open: dict[int, Open] = {}
        self.free, self.slots = [], 0
        self.recent = deque(maxlen=RECENT_MAX)

    def run(self) -> str | None:
        for _, is_end, number, op, end in self.events:
            if not is_end:
                self.invoke(number, op, end)
                continue
            it = self.open.pop(number)
            before = self.configurations
            self.configurations = self.after_return(it)
            if it.optional:
                # Or it never took effect.
                self.configurations |= {each & ~it.bit for each in before}
                if len(self.configurations) > PRUNE_FROM:
                    self.configurations = self.pruned(self.configurations)
            if not self.configurations:
                return self.explain(it, before)
            (self.changing if it in self.changing else self.still).remove(it)
            it.ended = True
            self.free.append(it.bit)
            self.recent.append(op)
        return None

    def invoke(self, number: int, op: dict, end: float) -> None:
        if self.free:
            bit = self.free.pop()
        else:
            bit = 1 << (self.shift + self.slots)
            self.slots += 1
        step, changes = self.model.compile(op)
        it = Open(op, step, bit, op["outcome"] == "ERROR_UNKNOWN", end)
        it.behind = [each for each in self.open.values() if is_overtaken(each, op)]
        self.open[number] = it
        if changes:
            self.changing.append(it)
            if it.optional:
                self.changing.sort(key=lambda each: each.end if each.optional else 0)
        else:
            self.still.append(it)
            facts = self.facts
            self.configurations = {
                each | bit if it.may_go(each) and step(each & facts) >= 0 else each
                for each in self.configurations}

    def after_return(self, it: Open) -> set[int]:
        """The configurations in which `it` has taken effect, after as few others as necessary."""
        bit, remaining, waiting = it.bit, set(), []
        for each in self.configurations:
            if each & bit:
                remaining.add(each & ~bit)
            else:
                waiting.append(each)
        seen = set(waiting)
        while waiting:
            for after in self.successors(waiting.pop()):
                if after & bit:
                    remaining.add(after & ~bit)
                elif after not in seen:
                    seen.add(after)
                    waiting.append(after)
            if len(seen) > CONFIGURATIONS_MAX:
                raise Undecided(f"more than {CONFIGURATIONS_MAX} configurations")
        return self.pruned(remaining) if len(remaining) > PRUNE_FROM else remaining

    def successors(self, configuration: int):
        """The configurations after one more open operation has taken effect."""
        state = configuration & self.facts
        waits = set()
        for it in self.changing:
            if configuration & it.bit or not it.may_go(configuration):
                continue
            if it.optional:
                # Of equal operations the first to end precedes.
                if it.key in waits:
                    continue
                waits.add(it.key)
            then = it.step(state)
            if then < 0:
                continue
            after = configuration - state + then | it.bit
            for other in self.still:
                if not after & other.bit and other.may_go(after) and other.step(then) >= 0:
                    after |= other.bit
            yield after

    def pruned(self, configurations: set[int]) -> set[int]:
        """The configurations without those that another one dominates, with fewer unknowns used."""
        optional = sum(it.bit for it in self.changing if it.optional)
        if not optional:
            return configurations
        kept: dict[int, list[int]] = {}
        for each in sorted(configurations, key=lambda one: (one & optional).bit_count()):
            used, others = each & optional, kept.setdefault(each & ~optional, [])
            if not any(other & used == other for other in others):
                others.append(used)
        return {rest | used for rest, others in kept.items() for used in others}

    def explain(self, it: Open, before: set[int]) -> str:
        """A description of the window without a legal order."""
        lines = [f"  no place for {words(it.op)}", "  in flight beside it:"]
        lines += [f"    {words(each.op)}" for each in self.open.values()]
        lines += ["  returned before:"] + [f"    {words(op)}" for op in self.recent]
        states = sorted({each & self.facts for each in before})
        lines.append(f"  the facts before it, {len(states)} possible:")
        lines += [f"    {', '.join(self.model.names(state)) or 'none'}" for state in states[:4]]
        return "\n".join(lines)


def words(op: dict) -> str:
    """One operation as one line of text."""
    hidden = {"client", "id", "cell", "op", "outcome", "invoke_ns", "return_ns", "deadline_ns"}
    rest = " ".join(f"{key}={value}" for key, value in op.items()
                    if key not in hidden and value is not False and value != [])
    span = f"{op['invoke_ns']}..{op.get('return_ns', '')}"
    return f"[{span}] {op['client']}#{op['id']} {op['op']} {rest} -> {op['outcome']}"
