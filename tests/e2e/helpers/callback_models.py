"""Two small IMs whose only knowledge of quotas is what the callback listener answers.

Each has a database of plain sets, and runs flows: a callback, a commit, a callback. Reports after
a commit are sent by other threads, as the real IMs do. The faults of a flow are drawn at random:
a report is lost, a commit fails, or the IM goes on without an answer; each fact that may differ
from the ledger for it is written down with the kind of fault.
"""

import csv
import itertools
import queue
import random
import threading
from collections import Counter, defaultdict
from contextlib import contextmanager
from pathlib import Path

from app import ALREADY_HELD, App
from stubs import REPOSITORY, common_pb

USERS = 300
LIMITS = {"accounts": 150, "friends": 6, "groups": 5, "members": 6, "rooms": 4}
REPORTERS = 48
"""Threads for reports after a commit. OpenIM has 2; more of them keep the flows going while a
report waits for the rule of its order."""
UNTRACKED = "AVChatRoom"
TYPES = ["Public", "Private", "ChatRoom", UNTRACKED]


def tight_catalog(folder: Path) -> Path:
    """The built-in catalog with low limits in the edition of apps that have bought nothing."""
    text = (REPOSITORY / "src/catalog/builtin.toml").read_text()
    head, mark, tail = text.partition("[editions.limits]")
    for name, old, new in (
            ("accounts_per_app", 100, LIMITS["accounts"]),
            ("friends_per_user", 20, LIMITS["friends"]),
            ("groups_per_user", 50, LIMITS["groups"]),
            ("members_per_group", 20, LIMITS["members"]),
            (f'"groups_per_app/{UNTRACKED}"', 10, LIMITS["rooms"])):
        assert f"{name} = {old}\n" in tail, name
        tail = tail.replace(f"{name} = {old}\n", f"{name} = {new}\n", 1)
    file = folder / "tight.toml"
    file.write_text(head.replace('"2019-08-09"', '"tight"') + mark + tail)
    return file

SUBJECTS = {
    "account": lambda fact: [("accounts", "")],
    "group": lambda fact: [("rooms", "")],
    "member": lambda fact: [("members", fact[1]), ("groups", fact[2])],
    "friend": lambda fact: [("friends", fact[1])],
}
"""The subjects with a limit to which a fact counts."""


class Database:
    """What the IM has: every fact is a tuple."""

    def __init__(self):
        self.lock = threading.RLock()
        self.accounts: set[str] = set()
        self.types: dict[str, str] = {}
        self.owners: dict[str, str] = {}
        self.members: dict[str, set[str]] = {}
        self.friends: dict[str, set[str]] = defaultdict(set)
        self.groups: Counter = Counter()

    def create(self, group: str, group_type: str, owner: str, members) -> None:
        """Writes a new group."""
        with self.lock:
            self.types[group], self.owners[group] = group_type, owner
            self.members[group] = set()
            self.join(group, {owner, *members})

    def join(self, group: str, users) -> None:
        """Writes members."""
        with self.lock:
            if self.types[group] != UNTRACKED:
                self.groups.update(set(users) - self.members[group])
                self.members[group] |= set(users)

    def leave(self, group: str, users) -> None:
        """Removes members."""
        with self.lock:
            self.groups.subtract(self.members[group] & set(users))
            self.members[group] -= set(users)

    def dismiss(self, group: str) -> None:
        """Removes a group."""
        with self.lock:
            self.leave(group, self.members[group])
            del self.types[group], self.owners[group], self.members[group]

    def facts(self) -> set[tuple]:
        """Every fact."""
        with self.lock:
            facts = {("account", user) for user in self.accounts}
            facts |= {("group", group) for group in self.types}
            facts |= {("member", group, user)
                      for group, users in self.members.items() for user in users}
            return facts | {("friend", user, friend)
                            for user, friends in self.friends.items() for friend in friends}

    def over(self) -> Counter:
        """How far each subject is over its limit."""
        over = Counter()
        with self.lock:
            rooms = list(self.types.values()).count(UNTRACKED)
            counts = [(("accounts", ""), len(self.accounts)), (("rooms", ""), rooms)]
            counts += [(("members", group), len(them)) for group, them in self.members.items()]
            counts += [(("groups", user), count) for user, count in self.groups.items()]
            counts += [(("friends", user), len(them)) for user, them in self.friends.items()]
        for subject, count in counts:
            if count > LIMITS[subject[0]]:
                over[subject] = count - LIMITS[subject[0]]
        return over

    def export(self, folder: Path) -> list[str]:
        """Writes the files for `imquota reconcile`; returns the arguments that name them."""
        with self.lock:
            rows = {
                "groups": [["group_id", "type", "member_id"], *(
                    [group, self.types[group], user]
                    for group, users in self.members.items() for user in sorted(users) or [""])],
                "friends": [["user_id", "friend_id"], *(
                    [user, friend] for user, them in self.friends.items() for friend in them)],
                "accounts": [["user_id"], *([user] for user in self.accounts)],
            }
        for name, each in rows.items():
            with (folder / f"{name}.csv").open("w", newline="") as file:
                csv.writer(file).writerows(each)
        return [f"--{name}={folder / name}.csv" for name in rows]


class Reports:
    """Reports that are sent after their commits by other threads. The facts of a report are busy
    until it is answered: no flow touches them before, so that no two reports of a fact change
    places; reports of different facts do."""

    def __init__(self):
        self._queue: queue.Queue = queue.Queue()
        self._busy: Counter = Counter()
        self._lock = threading.Lock()
        self.failures: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run) for _ in range(REPORTERS)]

    def __enter__(self) -> "Reports":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exception) -> None:
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        assert not self.failures, self.failures[:3]

    def send(self, facts, call) -> None:
        """Lets another thread make this call."""
        facts = list(facts)
        with self._lock:
            self._busy.update(facts)
            self._busy.update({("of", fact[1]) for fact in facts})
        self._queue.put((facts, call))

    def busy(self, *facts: tuple) -> bool:
        """Returns whether a report about one of them is on its way."""
        with self._lock:
            return any(self._busy[fact] for fact in facts)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            facts, call = item
            try:
                call()
            except BaseException as failure:  # noqa: BLE001
                self.failures.append(failure)
            with self._lock:
                self._busy.subtract(facts)
                self._busy.subtract({("of", fact[1]) for fact in facts})


class Model:
    """An IM: flows at random, on threads that each have a connection to every sidecar."""

    def __init__(self, connect, seed: int, faults: float):
        self._connect, self._seed, self.faults = connect, seed, faults
        self.database, self.reports = Database(), Reports()
        self.users = [f"user-{number}" for number in range(USERS)]
        self.above: dict[tuple, str] = {}
        self.below: dict[tuple, str] = {}
        self.unanswered: Counter = Counter()
        self.counts: Counter = Counter()
        self._locks = defaultdict(threading.Lock)
        self._locks_lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._local = threading.local()
        self._ims: list = []

    # What flows are made of.

    @property
    def rng(self) -> random.Random:
        """The random numbers of this thread."""
        return self._local.rng

    @property
    def im(self):
        """The IM's sender of callbacks, over a sidecar that is chosen at random."""
        if not hasattr(self._local, "ims"):
            self._local.ims = self._connect()
            self._ims += self._local.ims
            self._local.rng = getattr(self._local, "rng", random.Random(self._seed))
        return self._local.rng.choice(self._local.ims)

    def strikes(self, kind: str) -> bool:
        """Returns whether a fault happens now, which is counted."""
        happens = self.rng.random() < self.faults
        self.counts[kind] += happens
        return happens

    @contextmanager
    def row(self, key):
        """The lock on a row of the database."""
        with self._locks_lock:
            lock = self._locks[key]
        with lock:
            yield

    def differs(self, side: dict, kind: str, *facts: tuple) -> None:
        """Writes down that these facts may differ, and why. What the ledger lacks is room that it
        gives to others."""
        with self.database.lock:
            side.update({fact: kind for fact in facts})
            if side is self.below:
                self.without_an_answer(facts)

    def without_an_answer(self, facts) -> None:
        """Counts facts that were committed without an answer, or of which the ledger has none."""
        with self.database.lock:
            self.unanswered.update(
                subject for fact in facts for subject in SUBJECTS[fact[0]](fact))

    def new_name(self) -> str:
        """A name that no group has had."""
        return f"g{next(self._numbers)}"

    def some_group(self) -> str | None:
        """A group that exists."""
        with self.database.lock:
            groups = list(self.database.types)
        return self.rng.choice(groups) if groups else None

    def some_users(self, least: int, most: int) -> list[str]:
        """Different users."""
        return self.rng.sample(self.users, self.rng.randint(least, most))

    def report(self, facts, call) -> None:
        """Sends a report about these facts, by another thread and another sidecar."""
        self.reports.send(facts, lambda: call(self.im))

    # Running.

    def run(self, flows: int, threads: int = 8) -> None:
        """Runs that number of flows, and waits for all reports."""
        left, failures = iter(range(flows)), []
        lock = threading.Lock()

        def work(number: int) -> None:
            self._local.rng = random.Random(f"{self._seed} {number}")
            kinds, weights = zip(*self.flows().items())
            while not failures:
                with lock:
                    if next(left, None) is None:
                        return
                try:
                    self.rng.choices(kinds, weights)[0]()
                    self.check()
                except BaseException as failure:  # noqa: BLE001
                    failures.append(failure)
                    raise

        workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        with self.reports:
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
        for im in self._ims:
            im.client.close()
        assert not failures, failures

    def check(self) -> None:
        """Checks that no subject is over its limit but by what was not answered."""
        if self.rng.random() < 0.05:
            over = self.database.over()
            unexplained = {subject: count for subject, count in over.items()
                           if count > self.unanswered[subject]}
            assert not unexplained, unexplained

    def flows(self) -> dict:
        """Each flow with its weight."""
        raise NotImplementedError


class Ledger:
    """Reads the ledger fact by fact."""

    def __init__(self, app: App):
        self.app = app

    def holds(self, fact: tuple) -> bool:
        """Returns whether a fact is held."""
        mode = common_pb.MODE_CHECK_ONLY
        match fact:
            case ("account", user):
                return self.app.create_accounts(user, mode=mode)[0].outcome == ALREADY_HELD
            case ("group", group):
                return self.app.usage_or_none(group) is not None
            case ("member", group, user):
                return self.app.join_or_none(group, user, mode=mode) == [ALREADY_HELD]
            case ("friend", user, friend):
                (result,) = self.app.add_friends(user, friend, one_way=True, mode=mode)
                return result.outcome == ALREADY_HELD
        raise AssertionError(fact)

    def differences(self, model: Model) -> tuple[set[tuple], set[tuple]]:
        """The facts that the ledger has more, and those that it lacks. Of the former those that
        the model expects are looked for; the counts show that there are no others."""
        database = model.database
        facts = database.facts()
        missing = {fact for fact in facts if not self.holds(fact)}
        extra = {fact for fact in model.above if fact not in facts and self.holds(fact)}
        for user in model.users:
            for kind, at, held, counted in (
                    ("friend", 1, self.app.friends(user), len(database.friends[user])),
                    ("member", 2, self.app.groups(user), database.groups[user])):
                more = sum(fact[0] == kind and fact[at] == user for fact in extra)
                less = sum(fact[0] == kind and fact[at] == user for fact in missing)
                assert held == counted + more - less, (kind, user, held, counted, more, less)
        more = sum(fact[0] == "account" for fact in extra)
        less = sum(fact[0] == "account" for fact in missing)
        assert self.app.accounts() == len(database.accounts) + more - less
        return extra, missing
