"""Compares the search with brute force over all orders, on small histories."""

import random
from itertools import combinations, permutations

import pytest

from facts import families
from order import find_order

LIMITS = {"groups_per_user": 2, "members_per_group": 1, "friends_per_user": 1, "rooms_per_app": 1,
          "accounts_per_app": 1}
HISTORIES_EACH = 400
OPERATIONS = 5


def answer(held: set, op: dict) -> tuple[str, dict]:
    """A plain second implementation of the rules: outcome and denials; changes `held`."""
    kind, user = op["op"], op.get("user")
    if kind == "count_group":
        return str(sum(fact[2] == op["group"] for fact in held if fact[0] == "m")), {}
    if kind == "delete_account":
        gone = {fact for fact in held if user in fact[1:] and fact[0] in "mfa"}
        held -= gone
        return ("APPLIED" if gone else "NOT_HELD"), {}
    facts = {"join": [("m", user, op.get("group"))], "leave": [("m", user, op.get("group"))],
             "befriend": [("f", user, op.get("friend")), ("f", op.get("friend"), user)],
             "unfriend": [("f", user, op.get("friend")), ("f", op.get("friend"), user)],
             "create_account": [("a", user)]}[kind]
    if kind in ("leave", "unfriend"):
        had = [fact for fact in facts if fact in held]
        held.difference_update(had)
        return ("APPLIED" if had else "NOT_HELD"), {}
    missing = [fact for fact in facts if fact not in held]
    if not missing:
        return "ALREADY_HELD", {}
    denials = {}
    for at, fact in enumerate(facts):
        if fact in held:
            continue
        if fact[0] == "m":
            names = {"groups_per_user": 1, "members_per_group": 2}
        else:
            names = {("my_friends", "peer_friends")[at]: 1} if fact[0] == "f" else {
                "accounts_per_app": 0}
        for name, same in names.items():
            used = sum(each[0] == fact[0] and each[same] == fact[same] for each in held)
            limit = "friends_per_user" if name.endswith("_friends") else name
            if used >= LIMITS[limit]:
                denials[name] = used
    if denials:
        return "DENIED", denials
    if not op.get("check"):
        held.update(missing)
    return "APPLIED", {}


def fits(order: tuple, ends: dict) -> bool:
    """Returns whether the operations can take effect in that order with their outcomes."""
    held: set = set()
    for number, op in enumerate(order):
        if any(ends[later["id"]] < op["invoke_ns"] for later in order[number + 1:]):
            return False
        outcome, denials = answer(held, op)
        if op["outcome"] == "ERROR_UNKNOWN":
            continue
        seen = {each["limit"]: each["used"] for each in op.get("denials", [])}
        expected = str(op["value"]) if "value" in op else op["outcome"]
        if (outcome, denials) != (expected, seen):
            return False
    return True


def has_order(ops: list[dict]) -> bool:
    """Tries all orders."""
    unknown = [op for op in ops if op["outcome"] == "ERROR_UNKNOWN"]
    known = [op for op in ops if op["outcome"] != "ERROR_UNKNOWN"]
    ends = {op["id"]: op["return_ns"] for op in ops}
    for op in unknown:
        ends[op["id"]] = op["deadline_ns"]
    return any(fits(order, ends)
               for count in range(len(unknown) + 1) for some in combinations(unknown, count)
               for order in permutations(known + list(some)))


def random_history(rng: random.Random) -> list[dict]:
    """A history with the outcomes of some order, of which one may then be changed."""
    held, ops = set(), []
    for number in range(OPERATIONS):
        kind = rng.choice(("join", "join", "leave", "befriend", "unfriend", "count_group",
                           "create_account", "delete_account"))
        op = {"client": "c", "id": number, "cell": "x", "op": kind, "check": False}
        user, friend = rng.sample("abc", 2)
        if kind in ("join", "leave", "count_group"):
            op["group"] = rng.choice("gh")
        if kind != "count_group":
            op["user"] = user
        if kind in ("befriend", "unfriend"):
            op["friend"] = friend
        op["check"] = kind in ("join", "befriend", "create_account") and rng.randrange(6) == 0
        outcome, denials = answer(held, op)
        if kind == "count_group":
            op.update(outcome="APPLIED", value=int(outcome))
        else:
            op.update(outcome=outcome,
                      denials=[{"limit": name, "used": n} for name, n in denials.items()])
        op["invoke_ns"] = max(0, number * 10 - rng.randrange(30))
        op["return_ns"] = number * 10 + rng.randrange(30)
        op["deadline_ns"] = op["return_ns"] + rng.randrange(30)
        ops.append(op)
    change(rng, rng.choice(ops))
    return ops


def change(rng: random.Random, op: dict) -> None:
    """Sometimes changes the outcome, or makes it unknown."""
    how = rng.randrange(4)
    if how == 0:
        op.update(outcome="ERROR_UNKNOWN", denials=[])
        op.pop("value", None)
    elif how == 1 and "value" in op:
        op["value"] = 1 - min(op["value"], 1)
    elif how == 1:
        takes = op["op"] in ("join", "befriend", "create_account")
        op.update(outcome=rng.choice(("APPLIED", "ALREADY_HELD" if takes else "NOT_HELD")),
                  denials=[])


@pytest.mark.parametrize("seed", range(10))
def test_the_search_finds_an_order_if_and_only_if_one_exists(seed):
    rng, legal = random.Random(seed), 0
    for _ in range(HISTORIES_EACH):
        ops = random_history(rng)
        problems = [find_order(family, LIMITS, 0) for family in families(ops)]
        expected = has_order(ops)
        assert (not any(problems)) == expected, (seed, ops, problems)
        legal += expected
    # Both cases must occur, or nothing was compared.
    assert HISTORIES_EACH // 10 < legal < HISTORIES_EACH
