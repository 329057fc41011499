"""Results while a journal entry is blocked, retried or dropped have a legal order.

Clients join and leave small groups through one sidecar continuously. Redis becomes unavailable, a
key of one group is damaged, Redis comes back, and an owner retries or drops the blocked entry. The
checker of `tests/linearizability`, which shares no code with the program, checks the results.
"""

import json
import random
import sys
import threading
import time
from datetime import datetime

import grpc
import pytest

from app import App
from http_port import metric
from journal import BLOCKED_WITHIN_S, Damage, cli, keys, listed
from outage import BACK_WITHIN_S, drilled
from sidecar import wait_until
from stubs import REPOSITORY, common_pb, quota_pb

sys.path.insert(0, str(REPOSITORY / "tests" / "linearizability"))
from facts import families  # noqa: E402
from order import find_order  # noqa: E402

MEMBERS_MAX = 4
"""Members of a group, including its owner, who stays."""
LIMITS = {"groups_per_user": 1000, "members_per_group": MEMBERS_MAX, "friends_per_user": 1000,
          "rooms_per_app": 1000, "accounts_per_app": 1000}
GROUPS = ["g1", "g2", "broken"]
CLIENTS, USERS_EACH = 3, 2
PHASE_S = 1.0
JOURNALED_MIN = 12
PAUSE_S = 0.02
"""Pause between the calls of one client, so that budgets and the search stay small."""
DEADLINE_S = 5.0
TOLERANCE_NS = 2_000_000_000
ENTRY_OF = {"join": "join_group", "leave": "leave_group"}


class Recorder:
    """Records calls through one sidecar, in the checker's format."""

    def __init__(self, app: App):
        self._app, self._lock = app, threading.Lock()
        self.ops: list[dict] = []
        self.drained: list[tuple[int, int]] = []
        """Begin and end of reads that found the journal empty."""

    def call(self, client: str, kind: str, group: str, user: str = "", check: bool = False) -> dict:
        op = {"client": client, "cell": "x", "op": kind, "group": group, "check": check,
              "sidecar": 1, "denials": [], "from_ms": int(time.time() * 1000),
              "invoke_ns": time.monotonic_ns()}
        if user:
            op["user"] = user
        try:
            op.update(self._outcome(op))
        except grpc.RpcError as error:
            nothing = "nothing was done" in error.details() or error.code() in (
                grpc.StatusCode.NOT_FOUND, grpc.StatusCode.RESOURCE_EXHAUSTED)
            op["outcome"] = "ERROR_NOTHING_DONE" if nothing else "ERROR_UNKNOWN"
            op["deadline_ns"] = op["invoke_ns"] + int(DEADLINE_S * 1e9)
        op["return_ns"], op["until_ms"] = time.monotonic_ns(), int(time.time() * 1000) + 1
        with self._lock:
            op["id"] = len(self.ops)
            self.ops.append(op)
        return op

    def _outcome(self, op: dict) -> dict:
        fields = {"app_id": self._app.id, "group_id": op["group"]}
        if op["op"] == "count_group":
            return {"outcome": "APPLIED", "value": self._app.members(op["group"])}
        if op["op"] == "join":
            mode = common_pb.MODE_CHECK_ONLY if op["check"] else common_pb.MODE_ENFORCE
            request = quota_pb.JoinGroupRequest(user_ids=[op["user"]], mode=mode, **fields)
            answer = self._app.quota.JoinGroup(request, timeout=DEADLINE_S)
        else:
            request = quota_pb.LeaveGroupRequest(user_ids=[op["user"]], **fields)
            answer = self._app.quota.LeaveGroup(request, timeout=DEADLINE_S)
        (result,) = answer.results
        outcome = common_pb.Outcome.Name(result.outcome).removeprefix("OUTCOME_")
        if answer.decision.degradation:
            # A degraded denial has the state of a short time ago.
            return {"outcome": "JOURNALED" if outcome == "APPLIED" else "ERROR_NOTHING_DONE"}
        denials = [{"limit": denial.limit_id, "used": denial.used} for denial in result.denials]
        return {"outcome": outcome, "denials": denials}

    def count(self, outcome: str) -> int:
        """The number of operations with that outcome."""
        with self._lock:
            return sum(op["outcome"] == outcome for op in self.ops)

    def settle(self) -> None:
        """Records for each journaled operation the instant by which it was in the store."""
        for op in self.ops:
            if op["outcome"] == "JOURNALED":
                op["stored_ns"] = min(end for begun, end in self.drained if begun > op["return_ns"])

    def problems(self) -> list[str]:
        """The problems that the checker found."""
        found = [find_order(family, LIMITS, TOLERANCE_NS) for family in families(self.ops)]
        return [each for each in found if each]


class Client(threading.Thread):
    """Joins and leaves with users of its own, in turns for each user and group."""

    def __init__(self, recorder: Recorder, number: int, seed: int, groups: list[str],
                 stop: threading.Event):
        super().__init__()
        self._recorder, self._name, self._rng = recorder, f"c{number}", random.Random(seed)
        self._groups, self._stop_wanted = groups, stop
        self._inside: set[tuple[str, str]] = set()

    def run(self) -> None:
        while not self._stop_wanted.is_set():
            group = self._rng.choice(self._groups)
            if self._rng.randrange(8) == 0:
                self._recorder.call(self._name, "count_group", group)
            else:
                self._one(f"{self._name}u{self._rng.randrange(USERS_EACH)}", group)
            time.sleep(PAUSE_S)

    def _one(self, user: str, group: str) -> None:
        is_inside = (user, group) in self._inside
        op = self._recorder.call(self._name, "leave" if is_inside else "join", group, user)
        if op["outcome"] in ("APPLIED", "JOURNALED", "ALREADY_HELD", "NOT_HELD", "ERROR_UNKNOWN"):
            self._inside ^= {(user, group)}


def drain(sidecar, recorder: Recorder) -> None:
    """Waits until the journal is empty, and records the instant."""
    def is_empty() -> bool:
        begun = time.monotonic_ns()
        empty = metric(sidecar.management_port, "imquota_journal_entries") == 0
        if empty:
            recorder.drained.append((begun, time.monotonic_ns()))
        return empty
    wait_until(is_empty, BACK_WITHIN_S, f"the journal is replayed\n{sidecar.read_log()[-3000:]}")


def operation_of(entry: dict, recorder: Recorder, accepted_ms: int) -> dict:
    """The operation of a journal entry."""
    subjects = {next(iter(each.values())) for each in entry["subjects"]}
    (op,) = [op for op in recorder.ops
             if op["outcome"] == "JOURNALED" and ENTRY_OF.get(op["op"]) == entry["operation"]
             and {op["user"], op["group"]} == subjects
             and op["from_ms"] <= accepted_ms <= op["until_ms"]]
    return op


def milliseconds(text: str) -> int:
    """The milliseconds of an instant in RFC 3339."""
    return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


@pytest.mark.parametrize("action", ["retry", "drop"])
@pytest.mark.parametrize("seed", range(2))
def test_results_around_a_blocked_entry_have_a_legal_order(action, seed):
    with drilled() as (redis, proxy, sidecar, app):
        app.upgrade()
        recorder = Recorder(app)
        for group in GROUPS:
            app.create_group(group, max_members=MEMBERS_MAX)
            before = keys(redis)
            assert recorder.call("main", "join", group, "owner")["outcome"] == "APPLIED"
            if group == "broken":
                (key,) = [new for new in keys(redis) - before if redis.cli("TYPE", new) == "set"]
        # The first call on "broken" without the store is of "m", who was not denied before.
        stop, groups = threading.Event(), [group for group in GROUPS if group != "broken"]
        clients = [Client(recorder, number, 10 * seed + number, groups, stop)
                   for number in range(CLIENTS)]
        for client in clients:
            client.start()
        try:
            time.sleep(PHASE_S)
            proxy.refuse()
            damage = Damage(redis, key)
            first = recorder.call("main", "join", "broken", "m")
            assert first["outcome"] == "JOURNALED"
            groups.append("broken")
            wait_until(lambda: recorder.count("JOURNALED") >= JOURNALED_MIN, BACK_WITHIN_S,
                       "clients get degraded decisions")
            proxy.refuse(False)
            wait_until(lambda: metric(sidecar.management_port, "imquota_journal_blocked") == 1,
                       BLOCKED_WITHIN_S, "the entry is blocked")
            time.sleep(PHASE_S)
            (blocked,) = listed(sidecar, "--blocked")
            blocked_op = operation_of(blocked, recorder, milliseconds(blocked["accepted_at"]))
            assert blocked_op is first
            stuck = lambda: [entry for entry in listed(sidecar)  # noqa: E731
                             if entry["state"] == "JOURNAL_ENTRY_STATE_STUCK"]
            wait_until(lambda: len(stuck()) >= 2, BACK_WITHIN_S, "a chain is behind it")
            damage.repair()
            cli(sidecar, "journal", action, str(blocked["number"]))
            drain(sidecar, recorder)
            time.sleep(PHASE_S)
        finally:
            stop.set()
            for client in clients:
                client.join()
        drain(sidecar, recorder)
        users = ["owner", "m", *[f"c{number}u{user}" for number in range(CLIENTS)
                                 for user in range(USERS_EACH)]]
        for group in GROUPS:
            recorder.call("main", "count_group", group)
            for user in users:
                read = recorder.call("main", "join", group, user, check=True)
                assert "ERROR" not in read["outcome"], read

        recorder.settle()
        if action == "drop":
            first["outcome"] = "DROPPED"
        outcomes = [op["outcome"] for op in recorder.ops]
        print({outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))})
        assert "DENIED" in outcomes, "the limits were reached"
        assert recorder.problems() == [], json.dumps(recorder.ops)
        # With the opposite outcome of the entry the history is illegal: a later read shows it.
        if action == "drop":
            first["outcome"] = "JOURNALED"
        else:
            first["outcome"] = "DROPPED"
        assert recorder.problems(), "the checker checked nothing"
