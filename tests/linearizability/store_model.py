"""A store of one cell with selectable bugs, driven by interleaved clients.

Each operation is a generator that yields at each point where another client may interleave, so that
a seed determines the interleaving. Without a bug an operation is one step.
"""

import itertools
import random

LIMITS = {"groups_per_user": 3, "members_per_group": 3, "friends_per_user": 2,
          "rooms_per_app": 2, "accounts_per_app": 3}
USERS, GROUPS = 4, 4
LATE_MAX = 40
"""Steps within which an operation with a lost response takes effect, if it does."""
FORGOTTEN = 40
"""Operations that a failover may undo."""
BUGS = ("check_then_act", "count_before_add", "one_limit_missing", "release_unchecked")


class Store:
    """Memberships as facts, and counts beside them, like in a store with counters."""

    def __init__(self, bug: str | None):
        self.bug, self.facts, self.users, self.groups = bug, set(), {}, {}
        self.kept: tuple = ()

    def keep(self) -> None:
        """Saves the state to which a failover falls back."""
        self.kept = (set(self.facts), dict(self.users), dict(self.groups))

    def fall_back(self) -> None:
        """Restores an earlier state, like after a failover to a lagging replica."""
        self.facts, self.users, self.groups = self.kept

    def join(self, user: str, group: str, **_op):
        """Takes; yields at points of interruption, and returns outcome and denials."""
        if (user, group) in self.facts:
            return "ALREADY_HELD", []
        mine, its = self.users.get(user, 0), self.groups.get(group, 0)
        denials = []
        if mine >= LIMITS["groups_per_user"]:
            denials.append({"limit": "groups_per_user", "used": mine})
        if its >= LIMITS["members_per_group"] and self.bug != "one_limit_missing":
            denials.append({"limit": "members_per_group", "used": its})
        if denials:
            return "DENIED", denials
        if self.bug == "check_then_act":
            yield
        self.facts.add((user, group))
        if self.bug == "count_before_add":
            # The counts are written as they were read, over concurrent changes.
            yield
            self.users[user], self.groups[group] = mine + 1, its + 1
        else:
            self.users[user] = self.users.get(user, 0) + 1
            self.groups[group] = self.groups.get(group, 0) + 1
        return "APPLIED", []

    def leave(self, user: str, group: str, **_op):
        """Releases, with the steps of `join`."""
        held = (user, group) in self.facts
        if held or self.bug == "release_unchecked":
            self.facts.discard((user, group))
            self.users[user] = max(0, self.users.get(user, 0) - 1)
            self.groups[group] = max(0, self.groups.get(group, 0) - 1)
        return ("APPLIED" if held else "NOT_HELD"), []
        yield

    def count_user_groups(self, user: str, **_op):
        """Reads."""
        return self.users.get(user, 0), []
        yield

    def count_group(self, group: str, **_op):
        """Reads."""
        return self.groups.get(group, 0), []
        yield


def history(seed: int, bug: str | None, operations: int = 300, clients: int = 8,
            lost_percent: int = 0, failover: bool = False) -> list[dict]:
    """The clients' history; operations with a lost response take effect late or never.

    At a failover the store returns to an earlier state; the history then ends with reads.
    """
    rng, store = random.Random(seed), Store(bug)
    running: dict[int, tuple] = {}
    reads = itertools.product(range(USERS), range(GROUPS)) if failover else ()
    late, ops, clock = [], [], 0
    while len(ops) < operations or running:
        client, clock = rng.randrange(clients), clock + 1
        if failover and len(ops) == operations // 2 - FORGOTTEN and not store.kept:
            store.keep()
        if failover and len(ops) == operations // 2 and store.kept:
            store.fall_back()
            failover = False
        if late and (late[0][0]["deadline_ns"] == clock or rng.randrange(20) == 0):
            finish(late.pop(0)[1])
        if client in running:
            op, steps = running[client]
            if rng.randrange(100) < lost_percent:
                op.update(outcome="ERROR_UNKNOWN", return_ns=clock, deadline_ns=clock + LATE_MAX)
                if rng.randrange(2):
                    late.append((op, steps))
                del running[client]
                continue
            try:
                next(steps)
            except StopIteration as end:
                settle(op, *end.value, clock)
                del running[client]
        elif len(ops) < operations:
            op = random_operation(rng)
            steps = getattr(store, op["op"])(**op)
            op.update(client=str(client), id=len(ops), cell="c", invoke_ns=clock)
            ops.append(op)
            running[client] = (op, steps)
    for user, group in reads:
        held = (f"u{user}", f"g{group}") in store.facts
        clock += 2
        ops.append({"client": "last", "id": len(ops), "cell": "c", "op": "join", "check": True,
                    "user": f"u{user}", "group": f"g{group}", "denials": [],
                    "outcome": "ALREADY_HELD" if held else "APPLIED",
                    "invoke_ns": clock, "return_ns": clock + 1})
    return ops


def random_operation(rng: random.Random) -> dict:
    """A kind with its arguments."""
    kind = rng.choices(("join", "leave", "count_user_groups", "count_group"), (60, 25, 8, 7))[0]
    op = {"op": kind}
    if kind != "count_group":
        op["user"] = f"u{rng.randrange(USERS)}"
    if kind != "count_user_groups":
        op["group"] = f"g{rng.randrange(GROUPS)}"
    return op


def finish(steps) -> None:
    """Runs the remaining steps, without a client."""
    for _ in steps:
        pass


def settle(op: dict, answer: str | int, denials: list, clock: int) -> None:
    """Writes the outcome into the operation."""
    op["return_ns"] = clock
    if op["op"].startswith("count_"):
        op.update(outcome="APPLIED", value=answer)
    else:
        op.update(outcome=answer, denials=denials)
