#!/usr/bin/env python3
"""Checks whether the results that clients got from a quota service have a legal order, per cell.

    check.py LOG...

A log is lines of JSON. One is the header: {"limits": {...}} with the five limits by name, and
optionally "tolerance_ns" (the time after its deadline for which an operation may still take effect;
without it for ever), "faults_expected", "losses_expected", and "deletions_in_parts" (deleting an
account releases friends, groups and account one after another). A line with "event" is a fault.
All others are operations: "client", "id", "cell", "invoke_ns", "return_ns", "op" with its
arguments, "outcome", "denials"; a batch has "users" and a result for each, and a take with a hold,
its confirmation and its release have the id of the "hold". The outcome JOURNALED
is that of an operation that was accepted without the store: it takes effect by "stored_ns", when it
was observed in the store, whatever the limits are, and later operations of the same "sidecar" on
the same users and group do not overtake it, though it may be blocked and retried in between.
DROPPED is an operation that an operator dropped: it never takes effect.

A legal order (order.py) implies that nothing was ever over a limit or denied below one, that no
acknowledged fact was lost and that nothing was counted twice. If losses are expected, at failovers
without replication, they are counted instead (local.py).

Exit code: 0 legal, 1 illegal, 2 void: the run proves nothing.
"""

import argparse
import json
import multiprocessing
import sys
import time
from collections import Counter, defaultdict

from facts import FAMILY, LIMITS, families
from local import check_local
from order import Undecided, find_order

PROCESSES = 2
LEGAL, ILLEGAL, VOID = 0, 1, 2
OVERLAPPING_MIN = 0.05
"""The share of the operations that must begin before another one on their cell has ended."""
SHOWN_MAX = 3


def read(paths: list[str]) -> tuple[dict, list[dict], list[dict]]:
    """The header, the operations and the events of all logs."""
    header, ops, events = None, [], []
    for path in paths:
        with open(path, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                entry = json.loads(line)
                if "limits" in entry:
                    header = entry
                elif "event" in entry:
                    events.append(entry)
                elif entry.get("op") in FAMILY:
                    entry.setdefault("outcome", "ERROR_UNKNOWN")
                    if entry.get("return_ns") is None and "ERROR" not in entry["outcome"]:
                        raise ValueError(f"{path}:{number}: has an outcome, but no return")
                    ops.append(entry)
                else:
                    raise ValueError(f"{path}:{number}: no header, event or known operation")
    missing = [name for name in LIMITS if name not in (header or {}).get("limits", {})]
    if missing:
        raise ValueError(f"no header, or one without {', '.join(missing)}")
    return header, ops, events


def overlapping(ops: list[dict]) -> int:
    """The number of operations of a cell that begin before an earlier one has ended."""
    count, busy_until = 0, -1
    for op in sorted(ops, key=lambda op: op["invoke_ns"]):
        count += op["invoke_ns"] < busy_until
        busy_until = max(busy_until, op.get("return_ns") or op["invoke_ns"])
    return count


def why_void(header: dict, cells: dict[str, list[dict]], events: list[dict]) -> str | None:
    """The reason why these operations prove nothing; None if they do."""
    outcomes = Counter(op["outcome"] for ops in cells.values() for op in ops)
    total = sum(outcomes.values())
    overlaps = sum(overlapping(ops) for ops in cells.values())
    print(f"{total} operations on {len(cells)} cells, {overlaps} of them overlapping")
    if overlaps < max(1, OVERLAPPING_MIN * total):
        return f"no contention: only {overlaps} of {total} operations overlap"
    if not outcomes["DENIED"]:
        return "no contention: nothing was denied"
    errors = outcomes["ERROR_UNKNOWN"] + outcomes["ERROR_NOTHING_DONE"]
    if header.get("faults_expected") and not (events and errors):
        return f"faults were expected: {len(events)} events, and {errors} operations saw one"
    return None


def print_figures(ops: list[dict]) -> None:
    """Prints the number of outcomes by kind of operation."""
    kinds = defaultdict(Counter)
    for op in ops:
        kinds[op["op"] + (" (check)" if op.get("check") else "")][op["outcome"]] += 1
    for kind, outcomes in sorted(kinds.items()):
        print(f"  {kind}: " + ", ".join(f"{n} {name}" for name, n in sorted(outcomes.items())))


def check_cell(job: tuple) -> tuple[str, int, int, list[str], bool]:
    """Cell, facts lost, facts beyond a limit, problems, and whether the search was undecided."""
    cell, ops, header = job
    limits, tolerance_ns = header["limits"], header.get("tolerance_ns")
    if header.get("losses_expected"):
        return cell, *check_local(ops, limits, tolerance_ns), False
    problems = []
    for family in families(ops, header.get("deletions_in_parts", False)):
        try:
            problem = find_order(family, limits, tolerance_ns)
        except Undecided as reason:
            return cell, 0, 0, [f"  undecided: {reason}"], True
        if problem:
            problems.append(problem)
    return cell, 0, 0, problems, False


def check(header: dict, cells: dict[str, list[dict]]) -> int:
    """Checks all cells and prints the result; returns the exit code."""
    jobs = [(cell, ops, header) for cell, ops in sorted(cells.items())]
    began = time.monotonic()
    with multiprocessing.Pool(min(PROCESSES, len(jobs))) as pool:
        results = list(pool.imap_unordered(check_cell, jobs))
    took = max(time.monotonic() - began, 1e-9)
    total = sum(len(ops) for ops in cells.values())
    print(f"checked in {took:.2f} s, {total / took:.0f} operations/s on {PROCESSES} processes")
    lost, beyond = (sum(result[at] for result in results) for at in (1, 2))
    if header.get("losses_expected"):
        print(f"{lost} acknowledged facts lost, {beyond} admitted beyond a limit")
        if not lost:
            print("void: losses were expected and there are none")
            return VOID
    bad = sorted(result for result in results if result[3])
    for cell, _, _, problems, undecided in bad[:SHOWN_MAX]:
        print(f"cell {cell}: " + ("not decided" if undecided else "illegal"))
        print(problems[0])
    if not bad:
        print("legal")
        return LEGAL
    print(f"{len(bad)} of {len(cells)} cells without a legal order, or not decided")
    return VOID if all(result[4] for result in bad) else ILLEGAL


def main(arguments: list[str]) -> int:
    """Runs the check; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logs", nargs="+", metavar="LOG")
    options = parser.parse_args(arguments)
    try:
        header, ops, events = read(options.logs)
    except (OSError, ValueError) as error:
        print(f"void: {error}")
        return VOID
    cells = defaultdict(list)
    for op in ops:
        cells[op["cell"]].append(op)
    void = why_void(header, cells, events)
    print_figures(ops)
    for event in events:
        print(f"  event: {event['event']}")
    if void:
        print(f"void: {void}")
        return VOID
    return check(header, cells)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
