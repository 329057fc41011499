"""The effects of a history's operations on the facts of a cell.

A cell's facts are the bits of one number: a membership, one direction of a friendship, an account,
a room. An operation with an outcome becomes a function from the facts before it to the facts after
it, or to -1 if that outcome is impossible. One with an unknown outcome becomes its change, or -1 if
it would change nothing. This is written from the rules alone and shares no code with the program
under test.
"""

from collections import defaultdict

HELD = {"join_held", "create_account_held"}
"""Takes with a hold, each with an id of its own, which lives until the end of the history."""
ENDS = {"confirm_members", "release_members", "confirm_accounts", "release_accounts"}
TAKES = {"join", "join_all", "join_whole", "befriend", "create_account", "create_room"} | HELD
FAMILY = {
    "join": "members", "join_all": "members", "join_whole": "members", "leave": "members",
    "join_held": "members", "confirm_members": "members", "release_members": "members",
    "create_account_held": "accounts", "confirm_accounts": "accounts",
    "release_accounts": "accounts",
    "dissolve": "members", "count_user_groups": "members",
    "count_group": "members", "befriend": "friends", "unfriend": "friends",
    "count_friends": "friends", "create_account": "accounts", "delete_account": "accounts",
    "count_accounts": "accounts", "create_room": "rooms", "dissolve_room": "rooms",
    "count_rooms": "rooms"
}
LIMITS = ("groups_per_user", "members_per_group", "friends_per_user", "rooms_per_app",
          "accounts_per_app")
BATCHES = {"join_all", "join_whole"}
NEVER = -1


def facts_of(op: dict) -> list[tuple]:
    """The facts that an operation names; counts, dissolutions and deletions name no others."""
    kind = op["op"]
    if kind in ("join", "join_held", "leave"):
        return [("member", op["user"], op["group"])]
    if kind in BATCHES:
        return [("member", user, op["group"]) for user in op["users"]]
    if kind in ("befriend", "unfriend"):
        mine = ("friend", op["user"], op["friend"])
        return [mine] if op.get("one_way") else [mine, ("friend", op["friend"], op["user"])]
    if kind in ("create_account", "create_account_held", "delete_account"):
        return [("account", op["user"])]
    if kind in ("create_room", "dissolve_room"):
        return [("room", op["room"])]
    return []


def subjects_of(op: dict) -> set[tuple]:
    """The users and groups that an operation names."""
    users = [op[key] for key in ("user", "friend") if key in op] + list(op.get("users", ()))
    groups = [op[key] for key in ("group", "room") if key in op]
    return {("user", user) for user in users} | {("group", group) for group in groups}


def singles_of(op: dict) -> list[dict]:
    """A batch as single operations, one per user, in order."""
    told = op.get("results") or [{"outcome": op["outcome"]}] * len(op["users"])
    return [op | {"op": "join", "user": user} | result for user, result in zip(op["users"], told)]


def counters_of(fact: tuple) -> list[tuple]:
    """The counts that a fact is part of, each with its limit."""
    if fact[0] == "member":
        return [("groups_per_user", fact[1]), ("members_per_group", fact[2])]
    if fact[0] == "friend":
        return [("friends_per_user", fact[1])]
    return [("accounts_per_app", "") if fact[0] == "account" else ("rooms_per_app", "")]


def families(ops: list[dict], deletions_in_parts: bool = False) -> list[list[dict]]:
    """The operations in groups without common facts, each of which is checked alone.

    Deleting an account releases the user's memberships and friendships, so it connects those,
    unless it releases them one after another.
    """
    parts, users = defaultdict(list), defaultdict(set)
    for op in ops:
        family = FAMILY[op["op"]]
        parts[family].append(op)
        users[family].update(op[key] for key in ("user", "friend") if key in op)
        users[family].update(op.get("users", ()))
    deletions = [op for op in parts["accounts"] if op["op"] == "delete_account"]
    for family in ("members", "friends"):
        shared = [op for op in deletions if op["user"] in users[family]]
        if deletions_in_parts:
            parts[family] += [either(op) for op in shared]
        elif shared:
            parts["accounts"] += parts.pop(family)
    if deletions_in_parts:
        shared = users["members"] | users["friends"]
        parts["accounts"] = [either(op) if op.get("user") in shared else op
                             for op in parts["accounts"]]
    return [part for part in parts.values() if part]


def either(op: dict) -> dict:
    """A deletion, for one part of its facts: its outcome is not specific to the part."""
    if op["op"] == "delete_account" and op["outcome"] == "APPLIED":
        return op | {"outcome": "EITHER"}
    return op


class Hold:
    """One hold's bits: it is live, confirmed, released, or ended otherwise; or it was not made."""

    def __init__(self, fact: tuple, first: int):
        self.fact = fact
        self.live, self.confirmed, self.released, self.ended = (first << at for at in range(4))
        self.all = 15 * first


class Model:
    """The bits, counts and limits of one family of a cell."""

    def __init__(self, ops: list[dict], limits: dict):
        self.limits = limits
        # Operations that were accepted without the store may exceed a limit.
        self.may_be_over = any(op["outcome"] == "JOURNALED" for op in ops)
        facts = dict.fromkeys(fact for op in ops for fact in facts_of(op))
        self.bit = {fact: 1 << number for number, fact in enumerate(facts)}
        self.counted = defaultdict(int)
        self.of_user = defaultdict(int)
        for fact, bit in self.bit.items():
            for counter in counters_of(fact):
                self.counted[counter] |= bit
            if fact[0] != "room":
                self.of_user[fact[1]] |= bit
            if fact[0] == "friend":
                self.of_user[fact[2]] |= bit
        self.holds: dict[str, Hold] = {}
        for op in ops:
            if op["op"] in HELD:
                first = 1 << (len(self.bit) + 4 * len(self.holds))
                self.holds[op["hold"]] = Hold(facts_of(op)[0], first)
        self.width = len(self.bit) + 4 * len(self.holds)

    def names(self, state: int) -> list[str]:
        """The names of a state's facts, and of its live holds."""
        held = [f"hold {name}" for name, hold in self.holds.items() if state & hold.live]
        return [" ".join(fact) for fact, bit in self.bit.items() if state & bit] + held

    def _live(self, state: int, bit: int) -> list[Hold]:
        """The live holds of a fact: it is provisional while there is one."""
        return [hold for hold in self.holds.values()
                if state & hold.live and self.bit[hold.fact] == bit]

    def _settle(self, state: int, mask: int, name: str) -> int:
        """Ends all holds of facts, which are permanent now (`confirmed`) or removed (`ended`)."""
        for hold in self.holds.values():
            if state & hold.live and self.bit[hold.fact] & mask:
                state = state & ~hold.live | getattr(hold, name)
        return state

    def compile(self, op: dict):
        """The step of an operation, and whether it may change the facts."""
        kind, outcome = op["op"], op["outcome"]
        if kind.startswith("count_"):
            return self._count(op), False
        if outcome == "JOURNALED":
            return self._journaled(op), True
        if kind == "befriend":
            step = self._befriend(op)
        elif kind in HELD:
            step = self._take_held(op)
        elif kind in ENDS:
            step = self._end(op)
        elif kind == "join_all":
            step = self._take_all(op)
        elif kind == "join_whole":
            step = self._take_whole(op)
        elif kind in TAKES:
            step = self._take(op)
        else:
            step = self._release(op)
        changes = outcome in ("ERROR_UNKNOWN", "EITHER", "CONFIRMED", "RELEASED") or (
            outcome == "APPLIED" and not op.get("check"))
        # What exists may become permanent, or join a hold.
        is_taken = outcome == "ALREADY_HELD" and kind != "befriend" and not op.get("check")
        return step, changes or is_taken and bool(self.holds)

    def _count(self, op: dict):
        kind, value = op["op"], op.get("value")
        counter = {
            "count_user_groups": ("groups_per_user", op.get("user", "")),
            "count_group": ("members_per_group", op.get("group", "")),
            "count_friends": ("friends_per_user", op.get("user", "")),
            "count_accounts": ("accounts_per_app", ""),
            "count_rooms": ("rooms_per_app", ""),
        }[kind]
        mask = self.counted[counter]
        if value is None or value > self.limits[counter[0]] and not self.may_be_over:
            return never
        return lambda state: state if (state & mask).bit_count() == value else NEVER

    def _journaled(self, op: dict):
        """An accepted operation, whether or not it is held already, whatever the limits are."""
        if op["op"] not in TAKES:
            mask = self._released(op)
            return lambda state: state & ~mask
        new = sum(self.bit[fact] for fact in set(facts_of(op)))
        return lambda state: state | new

    def _take(self, op: dict):
        """A take of one fact, which is denied by all of its counts at their limits."""
        (fact,) = facts_of(op)
        bit, outcome = self.bit[fact], op["outcome"]
        counters = [(self.counted[key], self.limits[key[0]], key[0]) for key in counters_of(fact)]
        (mask, limit, name), (mask2, limit2, name2) = counters[0], counters[-1]
        if outcome == "ALREADY_HELD":
            settled = 0 if op.get("check") else bit
            return lambda state: (
                self._settle(state, settled, "confirmed") if state & bit else NEVER)
        if outcome in ("APPLIED", "ERROR_UNKNOWN"):
            new = 0 if op.get("check") else bit

            def take(state: int) -> int:
                if state & bit:
                    settled = self._settle(state, bit, "confirmed")
                    return NEVER if outcome == "APPLIED" or settled == state else settled
                fits = (state & mask).bit_count() < limit and (state & mask2).bit_count() < limit2
                return state | new if fits else NEVER
            return take
        used = denials_of(op, {name: limit, name2: limit2}, self.may_be_over)
        if used is None:
            return never
        first, second = used.get(name), used.get(name2)

        def denied(state: int) -> int:
            count, count2 = (state & mask).bit_count(), (state & mask2).bit_count()
            fits = count < limit if first is None else count == first
            fits2 = count2 < limit2 if second is None else count2 == second
            return state if fits and fits2 and not state & bit else NEVER
        return denied

    def _take_held(self, op: dict):
        """A take of one fact with a hold of its own, which joins the holds of a provisional one."""
        hold, outcome = self.holds[op["hold"]], op["outcome"]
        bit = self.bit[hold.fact]
        if outcome == "DENIED":
            return self._take(op)
        new = self._take(op | {"outcome": "APPLIED"})

        def take(state: int) -> int:
            if state & hold.all:
                return NEVER
            if not state & bit:
                then = NEVER if outcome == "ALREADY_HELD" else new(state)
                return then if then < 0 else then | hold.live
            is_joined = bool(self._live(state, bit))
            if outcome == "APPLIED" or outcome == "ERROR_UNKNOWN" and not is_joined:
                return NEVER
            return state | hold.live if is_joined else state
        return take

    def _end(self, op: dict):
        """A confirmation or a release of one hold."""
        hold, outcome = self.holds.get(op["hold"]), op["outcome"]
        if hold and (hold.fact[0] == "member") != op["op"].endswith("_members"):
            # It is a hold of other facts.
            hold = None
        if outcome == "NOT_FOUND":
            return lambda state: NEVER if hold and state & hold.all else state
        if hold is None:
            return never
        confirms, bit = op["op"].startswith("confirm_"), self.bit[hold.fact]
        done = hold.confirmed if confirms else hold.released
        if outcome == "ENDED_OTHERWISE":
            other = hold.ended | (hold.released if confirms else hold.confirmed)
            return lambda state: state if state & other else NEVER
        if outcome not in ("ERROR_UNKNOWN", "CONFIRMED" if confirms else "RELEASED"):
            return never

        def end(state: int) -> int:
            if not state & hold.live:
                return state if state & done and outcome != "ERROR_UNKNOWN" else NEVER
            if confirms:
                return self._settle(state, bit, "confirmed")
            state = state & ~hold.live | hold.released
            return state if self._live(state, bit) else state & ~bit
        return end

    def _take_all(self, op: dict):
        """Takes one after another; with an unknown outcome, those that fit."""
        steps = [self._take(single) for single in singles_of(op)]
        is_unknown = op["outcome"] == "ERROR_UNKNOWN"

        def decide(state: int) -> int:
            before = state
            for step in steps:
                then = step(state)
                if then >= 0:
                    state = then
                elif not is_unknown:
                    return NEVER
            return NEVER if is_unknown and state == before else state
        return decide

    def _take_whole(self, op: dict):
        """Takes all or, if any is denied, none: the others are aborted then."""
        outcomes = {result["outcome"] for result in op.get("results", ())}
        if "DENIED" in outcomes and "APPLIED" in outcomes or (
                "ABORTED" in outcomes and "DENIED" not in outcomes):
            return never
        if op["outcome"] == "ERROR_UNKNOWN":
            facts = facts_of(op)
            masks = [[(self.counted[key], self.limits[key[0]]) for key in counters_of(fact)]
                     for fact in facts]

            def take(state: int) -> int:
                before = state
                for fact, limits in zip(facts, masks):
                    if state & self.bit[fact]:
                        state = self._settle(state, self.bit[fact], "confirmed")
                        continue
                    if any((state & mask).bit_count() >= limit for mask, limit in limits):
                        return NEVER
                    state |= self.bit[fact]
                return NEVER if state == before else state
            return take
        as_if = {"ABORTED": "APPLIED"}
        steps = [self._take(one | {"outcome": as_if.get(one["outcome"], one["outcome"])})
                 for one in singles_of(op)]

        def decide(state: int) -> int:
            after = state
            for step in steps:
                after = step(after)
                if after < 0:
                    return NEVER
            return state if "DENIED" in outcomes else after
        return decide

    def _befriend(self, op: dict):
        """A take of one or two facts: all missing ones, or none."""
        outcome, both = op["outcome"], facts_of(op)
        bits = [self.bit[fact] for fact in both]
        masks = [self.counted[counters_of(fact)[0]] for fact in both]
        limit, names = self.limits["friends_per_user"], ("my_friends", "peer_friends")
        wanted = sum(bits)
        if outcome == "ALREADY_HELD":
            return lambda state: state if state & wanted == wanted else NEVER
        if outcome == "DENIED":
            used = denials_of(op, {name: limit for name in names}, self.may_be_over)
            if used is None:
                return never

        def decide(state: int) -> int:
            found = {}
            for bit, mask, name in zip(bits, masks, names):
                if not state & bit and (state & mask).bit_count() >= limit:
                    found[name] = (state & mask).bit_count()
            if state & wanted == wanted:
                return NEVER
            if outcome == "DENIED":
                return state if found == used else NEVER
            if found:
                return NEVER
            return state if op.get("check") else state | wanted
        return decide

    def _released(self, op: dict) -> int:
        """The facts that an operation releases."""
        if op["op"] == "delete_account":
            return self.of_user[op["user"]]
        if op["op"] == "dissolve":
            return self.counted["members_per_group", op["group"]]
        return sum(self.bit[fact] for fact in facts_of(op))

    def _release(self, op: dict):
        mask = self._released(op)

        def release(state: int) -> int:
            return self._settle(state & ~mask, mask, "ended")
        if op["op"] == "dissolve" and op["outcome"] == "APPLIED":
            # The group existed, perhaps without members.
            return release
        if op["outcome"] == "NOT_HELD":
            return lambda state: NEVER if state & mask else state
        if op["outcome"] == "EITHER":
            return release
        if op["outcome"] in ("APPLIED", "ERROR_UNKNOWN"):
            return lambda state: release(state) if state & mask else NEVER
        return never


def never(_state: int) -> int:
    """The step of an outcome that is impossible for all facts."""
    return NEVER


def denials_of(op: dict, limits: dict, may_be_over: bool) -> dict | None:
    """The violated limits of a denial with their usage; None if no facts allow it: usage is at the
    limit, or over it if that is possible."""
    used = {each["limit"]: each["used"] for each in op.get("denials", [])}
    fits = all(name in limits
               and (count == limits[name] or may_be_over and count > limits[name])
               for name, count in used.items())
    complete = op["outcome"] == "DENIED" and used and len(used) == len(op["denials"])
    return used if fits and complete else None
