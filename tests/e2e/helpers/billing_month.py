"""A month of an IM: operations from the day before the month to the day it is final.

Delivered operations are written to a file in the oracle's format, with the instant that counts.
Logins are spread over all sidecars in any order, half of them pipelined; some are sent twice, some
late, and some before their day has begun.
"""

import json
import random
import re
import threading
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from app import APPLIED, App
from details import error_of, violations
from sidecar import Sidecar
from statement_oracle import MILLIS_A_DAY, day_number, millis
from stubs import metering_pb, quota_pb

MONTH = "2019-08"
FIRST_DAY, LAST_DAY = day_number(millis("2019-08-01")), day_number(millis("2019-08-31"))
BEGINS = FIRST_DAY - 1
"""The first day with deliveries."""
ENDS = LAST_DAY + 2
"""The last day whose deliveries are in the statement: it is final on the 3rd."""
FULL_DAY = FIRST_DAY + 17
"""On the 18th every user logs in."""
CRASHES = FIRST_DAY + 13
LATE_DAYS_MAX = 31
BATCH_MAX = 1000
BATCH_MAX_OF_CRASH = 20
"""Many small batches, so that some are in flight when the sidecar is killed."""
ATTEMPTS_MAX = 10
STREAM_TIMEOUT_S = 120
UNKNOWN = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED,
           grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED}
"""Status codes after which a batch is sent again."""
UNKNOWN_CODES = {code.value[0] for code in UNKNOWN}

COUNTED = metering_pb.METER_OUTCOME_COUNTED
ALREADY_COUNTED = metering_pb.METER_OUTCOME_ALREADY_COUNTED
Login = tuple[str, int]


def day_begins(day: int) -> int:
    """The instant at which a day in Shanghai begins."""
    return day * MILLIS_A_DAY - 8 * 3_600_000


def login(user: str, at: int) -> metering_pb.Login:
    """The login as a message."""
    message = metering_pb.Login(user_id=user)
    message.at.FromMilliseconds(at)
    return message


def regions(app: App) -> list[str]:
    """The regions of the catalog, from the error for an unknown region."""
    sample = metering_pb.BandwidthSample(region="nowhere", kbps=1)
    error = error_of(lambda: app.meter("ReportBandwidth", samples=[sample]))
    (violation,) = violations(error)
    assert violation.field == "samples[0].region", violation
    named, _, _given = violation.description.rpartition(", not ")
    return re.findall(r'"([^"]+)"', named)


def planned_logins(rng: random.Random, logins: int, users: int) -> dict[int, list[Login]]:
    """The logins by the day of their delivery."""
    days: dict[int, list[Login]] = defaultdict(list)

    def deliver(user: int, day: int) -> None:
        where = rng.random()
        within = rng.randrange(MILLIS_A_DAY)
        if where < 0.04:
            within = 0 if where < 0.02 else MILLIS_A_DAY - 1
        late = 0 if rng.random() < 0.8 else min(int(rng.expovariate(0.3)), LATE_DAYS_MAX)
        if rng.random() < 0.01:
            late = rng.randrange(LATE_DAYS_MAX + 1)
        if where < 0.01:
            # The clock of an IM server is ahead: its midnight comes a little too early.
            late = -1
        delivered = min(max(day + late, BEGINS), ENDS)
        if delivered - day > LATE_DAYS_MAX:
            return
        if day < FIRST_DAY:
            # The month before is closed on the 3rd.
            delivered = min(delivered, FIRST_DAY + 1)
        event = (f"user-{user}", day_begins(day) + within)
        days[delivered].append(event)
        if rng.random() < 0.15:
            again = min(delivered + rng.choice((0, 0, 1)), ENDS, day + LATE_DAYS_MAX)
            days[min(again, FIRST_DAY + 1) if day < FIRST_DAY else again].append(event)

    for user in range(users):
        deliver(user, FULL_DAY)
    for _ in range(int(logins / 1.15) - users):
        where = rng.random()
        day = rng.randint(FIRST_DAY, LAST_DAY)
        if where < 0.05:
            # The last day of June is closed by then.
            day = rng.randint(BEGINS - LATE_DAYS_MAX + 1, BEGINS)
        elif where < 0.1:
            day = rng.randint(LAST_DAY + 1, ENDS)
        deliver(rng.randrange(users), day)
    for events in days.values():
        rng.shuffle(events)
    return days


class Events:
    """A file of the delivered events, for the oracle."""

    def __init__(self, path: Path):
        self.path = path
        self._file = path.open("w", encoding="utf-8")
        self.user_days: set[tuple[str, int]] = set()

    def write(self, kind: str, at: int, **fields) -> None:
        """Writes one event."""
        self._file.write(json.dumps({"kind": kind, "at": at, **fields}) + "\n")

    def logins(self, logins: Iterable[Login]) -> None:
        """Writes logins."""
        for user, at in logins:
            self.user_days.add((user, day_number(at)))
            self.write("login", at, user=user)

    def flush(self) -> Path:
        """The file, with everything written so far."""
        self._file.flush()
        return self.path

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class Traffic:
    """Sends logins to all sidecars at once, and retries those whose outcome is unknown."""

    def __init__(self, sidecars: list[Sidecar], app_id: str, rng: random.Random):
        self.sidecars, self.app_id, self.rng = sidecars, app_id, rng
        self.apps = [App(sidecar, app_id=app_id) for sidecar in sidecars]
        self.counted = 0
        self.allowed = {COUNTED, ALREADY_COUNTED}
        """The expected outcomes of a login."""
        self.unknown = 0
        """Logins with an attempt without response: they may have been counted."""
        self._lock = threading.Lock()
        self._answered = threading.Event()

    def close(self) -> None:
        """Closes all connections."""
        for app in self.apps:
            app.close()

    def any(self) -> App:
        """The app, through any sidecar."""
        return self.rng.choice(self.apps)

    def restart(self, number: int) -> None:
        """Starts a sidecar that has ended, and connects to its new address."""
        self.sidecars[number].start()
        self.apps[number].close()
        self.apps[number] = App(self.sidecars[number], app_id=self.app_id)

    def deliver(self, logins: list[Login], crash: int | None = None) -> None:
        """Delivers logins; the sidecar `crash` is killed after its first response."""
        most = BATCH_MAX if crash is None else BATCH_MAX_OF_CRASH
        batches, at = [], 0
        while at < len(logins):
            size = self.rng.randint(1, most)
            batches.append(logins[at:at + size])
            at += size
        for _ in range(ATTEMPTS_MAX):
            left = self._attempt(batches, crash)
            if crash is not None:
                # One batch is repeated in any case, also if all had a response.
                left = left or batches[-1:]
                self.restart(crash)
                crash = None
            batches = left
            if not batches:
                return
        raise AssertionError(f"{len(batches)} batches had no response")

    def _attempt(self, batches: list[list[Login]], crash: int | None) -> list[list[Login]]:
        """Sends batches over a stream and by unary calls; returns those without response."""
        ways = [(number, send) for number in range(len(self.apps))
                for send in (self._pipelined, self._one_by_one)]
        self._answered.clear()
        with ThreadPoolExecutor(len(ways)) as pool:
            parts = [
                pool.submit(send, self.apps[number], batches[way::len(ways)], number == crash)
                for way, (number, send) in enumerate(ways)
            ]
            if crash is not None:
                assert self._answered.wait(STREAM_TIMEOUT_S), "no response"
                self.sidecars[crash].kill()
            left = [batch for part in parts for batch in part.result()]
        self.unknown += sum(len(batch) for batch in left)
        return left

    def _take(self, batch: list[Login], answer, tells: bool) -> None:
        outcomes = list(answer.outcomes)
        assert len(outcomes) == len(batch), answer
        assert set(outcomes) <= self.allowed, set(outcomes)
        with self._lock:
            self.counted += outcomes.count(COUNTED)
        if tells:
            self._answered.set()

    def _request(self, batch: list[Login]) -> metering_pb.RecordLoginsRequest:
        logins = [login(*each) for each in batch]
        return metering_pb.RecordLoginsRequest(app_id=self.app_id, logins=logins)

    def _pipelined(self, app: App, batches: list[list[Login]], tells: bool) -> list[list[Login]]:
        left = dict(enumerate(batches))
        requests = (quota_pb.ApplyRequest(tag=tag, record_logins=self._request(batch))
                    for tag, batch in enumerate(batches))
        try:
            for answer in app.quota.Apply(requests, timeout=STREAM_TIMEOUT_S):
                if answer.WhichOneof("answer") == "error":
                    assert answer.error.code in UNKNOWN_CODES, answer
                    continue
                self._take(left.pop(answer.tag), answer.record_logins, tells)
        except grpc.RpcError as error:
            if error.code() not in UNKNOWN:
                raise
        return list(left.values())

    def _one_by_one(self, app: App, batches: list[list[Login]], tells: bool) -> list[list[Login]]:
        left = []
        for batch in batches:
            try:
                answer = app.metering.RecordLogins(self._request(batch), timeout=STREAM_TIMEOUT_S)
            except grpc.RpcError as error:
                if error.code() not in UNKNOWN:
                    raise
                left.append(batch)
            else:
                self._take(batch, answer, tells)
        return left


class Groups:
    """Groups of all five types that are created and dissolved, each through any sidecar."""

    TYPES = ["BChatRoom", "AVChatRoom", "Private", "Public", "ChatRoom"]

    def __init__(self, traffic: Traffic, events: Events):
        self.traffic, self.events = traffic, events
        self.held: list[str] = []
        self._created = 0

    def create(self, count: int) -> None:
        """Creates groups, rooms among them while there are few."""
        for _ in range(count):
            number, self._created = self._created, self._created + 1
            kinds = self.TYPES if number < 10 else self.TYPES[2:]
            group = f"group-{number}"
            answer = self.traffic.any().create_group(group, kinds[number % len(kinds)])
            assert answer.group.outcome == APPLIED, answer
            self.held.append(group)
            self._note(1, answer)

    def dissolve(self, count: int) -> None:
        """Dissolves groups, any of those that exist."""
        for _ in range(count):
            group = self.held.pop(self.traffic.rng.randrange(len(self.held)))
            answer = self.traffic.any().dissolve(group)
            assert answer.result.outcome == APPLIED, answer
            self._note(-1, answer)

    def _note(self, change: int, answer) -> None:
        at = answer.decision.decided_at.ToMilliseconds()
        self.events.write("group", at, change=change)
