"""Whether a history of one family of facts has a legal order.

Every operation takes effect at one instant between its invocation and its return. The events are
gone through in time; a configuration is what the facts may be and which open operations have
already taken effect, packed in one number. At a return only those configurations remain in which
that operation has taken effect, after whatever other open ones had to come first. An answer that
changes nothing is placed as soon as it fits, which never rules anything out.

An operation of unknown fate may take effect until its end is known, once, or never. One that was
accepted without the store takes effect until it was seen to be there, and nothing that its sidecar
was asked after its answer about the same users and groups takes effect before it; reads do.
"""

from collections import deque

from facts import Model, subjects_of

CONFIGURATIONS_MAX = 200_000
"""Beyond this a history is given up as undecided: it has too many operations of unknown fate."""
PRUNE_FROM = 32
RECENT_MAX = 8
ENDLESS = float("inf")


class Undecided(Exception):
    """The search grew out of bounds."""


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
        """Whether everything has taken effect that must not be overtaken."""
        return all(before.ended or configuration & before.bit for before in self.behind)


def is_overtaken(before: Open, op: dict) -> bool:
    """Whether an operation must not take effect before one that is in a journal."""
    first = before.op
    return (first["outcome"] == "JOURNALED" and first["return_ns"] < op["invoke_ns"]
            and not op["op"].startswith("count_") and first.get("sidecar") == op.get("sidecar")
            and bool(subjects_of(first) & subjects_of(op)))


def end_of(op: dict, tolerance_ns: int | None) -> float:
    """Until when an operation may take effect."""
    if op["outcome"] == "JOURNALED":
        return op.get("stored_ns") or ENDLESS
    if op["outcome"] != "ERROR_UNKNOWN":
        return op["return_ns"]
    if tolerance_ns is None or op.get("deadline_ns") is None:
        return ENDLESS
    return op["deadline_ns"] + tolerance_ns


def find_order(ops: list[dict], limits: dict, tolerance_ns: int | None = None) -> str | None:
    """None where there is a legal order, else what stands in its way."""
    return Search([op for op in ops if matters(op)], limits, tolerance_ns).run()


def matters(op: dict) -> bool:
    """Whether an operation changed something, may have done so, or says something."""
    reads = op.get("check") or op["op"].startswith("count_")
    ignored = ("ERROR_NOTHING_DONE", "DROPPED") + (("ERROR_UNKNOWN",) if reads else ())
    return op["outcome"] not in ignored


class Search:
    """The configurations as the events go by."""

    def __init__(self, ops: list[dict], limits: dict, tolerance_ns: int | None):
        self.model = Model(ops, limits)
        self.shift = len(self.model.bit)
        self.facts = (1 << self.shift) - 1
        self.events = []
        for number, op in enumerate(ops):
            end = end_of(op, tolerance_ns)
            # Invocations come first at equal times: then the operations overlap.
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
                # Or it never happened.
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
        """The configurations in which `it` has taken effect, after as few others as it takes."""
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
        """One more open operation takes effect, with the answers that fit then."""
        state = configuration & self.facts
        waits = set()
        for it in self.changing:
            if configuration & it.bit or not it.may_go(configuration):
                continue
            if it.optional:
                # Of equal ones the first to end goes first.
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
        """Without those that differ from another only by more of the unknown used up."""
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
        """The window that has no order, in words."""
        lines = [f"  no place for {words(it.op)}", "  under way beside it:"]
        lines += [f"    {words(each.op)}" for each in self.open.values()]
        lines += ["  returned before:"] + [f"    {words(op)}" for op in self.recent]
        states = sorted({each & self.facts for each in before})
        lines.append(f"  the facts before it, {len(states)} possible:")
        lines += [f"    {', '.join(self.model.names(state)) or 'none'}" for state in states[:4]]
        return "\n".join(lines)


def words(op: dict) -> str:
    """One operation on one line."""
    hidden = {"client", "id", "cell", "op", "outcome", "invoke_ns", "return_ns", "deadline_ns"}
    rest = " ".join(f"{key}={value}" for key, value in op.items()
                    if key not in hidden and value is not False and value != [])
    span = f"{op['invoke_ns']}..{op.get('return_ns', '')}"
    return f"[{span}] {op['client']}#{op['id']} {op['op']} {rest} -> {op['outcome']}"
