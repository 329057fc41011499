"""A simulated IM server: a database of its own, and live traffic that follows the contract.

The contract: acquire before the database commits, release after it. The database consists of plain
sets and shares no code with the product. Exports are made from it while operations are in flight.
"""

import csv
import random
import threading
from pathlib import Path

from app import ALREADY_HELD, APPLIED, App
from sidecar import Sidecar

THREADS = 3
DOOMED = 40
"""Users who are deleted during the traffic, each with all of their facts."""


class Database:
    """Accounts, friends and groups as sets; every change and every copy is one transaction."""

    def __init__(self, users: int, groups: int, members: int, friends: int, rng: random.Random):
        self.lock = threading.Lock()
        self.users = [f"user-{number}" for number in range(users)]
        self.accounts = set(self.users)
        self.friends = {user: set() for user in self.users}
        for user in self.users:
            for friend in rng.sample(self.users, friends):
                if friend != user:
                    self.friends[user].add(friend)
        self.groups = {f"group-{n}": set(rng.sample(self.users, members)) for n in range(groups)}

    def copy(self) -> "Database":
        """A snapshot."""
        with self.lock:
            copy = Database.__new__(Database)
            copy.accounts = set(self.accounts)
            copy.friends = {user: set(friends) for user, friends in self.friends.items()}
            copy.groups = {group: set(members) for group, members in self.groups.items()}
            return copy

    def facts(self) -> set[tuple]:
        """Every fact as a tuple."""
        facts = {("account", user) for user in self.accounts}
        for user, friends in self.friends.items():
            facts |= {("friend", user, friend) for friend in friends}
        for group, members in self.groups.items():
            facts.add(("group", group))
            facts |= {("member", group, user) for user in members}
        return facts

    def export(self, folder: Path) -> list[str]:
        """Writes the files; returns the command-line arguments that name them."""
        files = {name: folder / f"{name}.csv" for name in ("groups", "friends", "accounts")}
        with files["groups"].open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["group_id", "type", "member_id"])
            for group, members in self.groups.items():
                rows.writerows([group, "Public", user] for user in members or [""])
        with files["friends"].open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["user_id", "friend_id"])
            for user, friends in self.friends.items():
                rows.writerows([user, friend] for friend in friends)
        with files["accounts"].open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["user_id"])
            rows.writerows([user] for user in self.accounts)
        return [f"--{name}={path}" for name, path in files.items()]


class Traffic:
    """Threads of users who join, leave, befriend, create, dissolve and delete accounts.

    Each group and each user's list belongs to one thread, as with a row lock; a deletion of a user
    holds all of them. `often` are facts that are taken more often than others.
    """

    def __init__(self, sidecar: Sidecar, app_id: str, database: Database, often: list[tuple],
                 seed: int):
        self.database, self.often = database, often
        self.apps = [App(sidecar, app_id=app_id) for _ in range(THREADS)]
        self.locks = [threading.Lock() for _ in range(THREADS)]
        self.touched: set[tuple] = set()
        self.operations = [0] * THREADS
        self.failures: list[BaseException] = []
        self.doomed = list(database.users[:DOOMED])
        self.over = threading.Event()
        self.threads = [
            threading.Thread(target=self._run, args=(number, random.Random(seed + number)))
            for number in range(THREADS)
        ]

    def __enter__(self) -> "Traffic":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_exception) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()
        for app in self.apps:
            app.close()
        assert not self.failures, self.failures

    def _run(self, number: int, rng: random.Random) -> None:
        try:
            while not self.over.is_set():
                self._one(number, self.apps[number], rng)
                self.operations[number] += 1
        except BaseException as failure:  # noqa: BLE001
            self.failures.append(failure)

    def _one(self, number: int, app: App, rng: random.Random) -> None:
        chance = rng.random()
        if chance < 0.002 and self.doomed:
            self._delete(app)
        elif chance < 0.01:
            self._create(number, app, rng)
        elif chance < 0.015:
            self._dissolve(number, app, rng)
        elif chance < 0.3 and self.often:
            self._touch(number, app, rng, rng.choice(self.often))
        elif chance < 0.8:
            self._touch(number, app, rng, ("member", self._some(rng), self._somebody(rng)))
        elif chance < 0.95:
            user, friend = rng.sample(self.database.users, 2)
            self._touch(number, app, rng, ("friend", user, friend))
        else:
            self._touch(number, app, rng, ("account", self._somebody(rng)))

    def _some(self, rng: random.Random) -> str:
        return f"group-{rng.randrange(len(self.database.groups))}"

    def _somebody(self, rng: random.Random) -> str:
        return rng.choice(self.database.users)

    @staticmethod
    def _mine(number: int, owner: str) -> bool:
        return hash(owner) % THREADS == number

    def _touch(self, number: int, app: App, rng: random.Random, fact: tuple) -> None:
        if self._mine(number, fact[1]):
            self._ask(number, app, fact, grows=rng.random() < 0.5)

    def ask(self, facts: list[tuple], grows: bool) -> None:
        """Takes or releases these facts, beside the operations of the threads."""
        for fact in facts:
            number = hash(fact[1]) % THREADS
            self._ask(number, self.apps[number], fact, grows)

    def _ask(self, number: int, app: App, fact: tuple, grows: bool) -> None:
        kind, owner = fact[0], fact[1]
        with self.locks[number]:
            self.touched.add(fact)
            if kind == "member":
                self._member(app, owner, fact[2], grows)
            elif kind == "friend":
                self._friend(app, owner, fact[2], grows)
            elif kind == "account" and grows and owner not in self.doomed:
                self._account(app, owner)

    def _member(self, app: App, group: str, user: str, grows: bool) -> None:
        with self.database.lock:
            there = group in self.database.groups and user in self.database.accounts
        if not there:
            return
        if grows:
            (result,) = app.join_or_none(group, user)
            if result in (APPLIED, ALREADY_HELD):
                with self.database.lock:
                    self.database.groups[group].add(user)
            return
        with self.database.lock:
            members = self.database.groups[group]
            members.discard(user)
            if not members:
                # Like the ledger.
                del self.database.groups[group]
                self.touched.add(("group", group))
        app.leave(group, user)

    def _friend(self, app: App, user: str, friend: str, grows: bool) -> None:
        if grows:
            with self.database.lock:
                there = {user, friend} <= self.database.accounts
            if not there:
                return
            (result,) = app.add_friends(user, friend, one_way=True)
            if result.outcome in (APPLIED, ALREADY_HELD):
                with self.database.lock:
                    self.database.friends[user].add(friend)
            return
        with self.database.lock:
            self.database.friends[user].discard(friend)
        app.remove_friends(user, friend, one_way=True)

    def _account(self, app: App, user: str) -> None:
        (result,) = app.create_accounts(user)
        assert result.outcome in (APPLIED, ALREADY_HELD), result
        with self.database.lock:
            self.database.accounts.add(user)

    def _create(self, number: int, app: App, rng: random.Random) -> None:
        group = f"new-{rng.randrange(10**9)}"
        if not self._mine(number, group):
            return
        members = rng.sample(self.database.users[DOOMED:], 3)
        with self.locks[number]:
            self.touched.add(("group", group))
            answer = app.create_group(group, members=members)
            assert answer.group.outcome == APPLIED, answer
            with self.database.lock:
                self.database.groups[group] = {
                    user for user, result in zip(members, answer.members, strict=True)
                    if result.outcome == APPLIED
                }

    def _dissolve(self, number: int, app: App, rng: random.Random) -> None:
        group = self._some(rng)
        if not self._mine(number, group):
            return
        with self.locks[number]:
            self.touched.add(("group", group))
            with self.database.lock:
                self.database.groups.pop(group, None)
            app.dissolve(group)

    def _delete(self, app: App) -> None:
        for lock in self.locks:
            lock.acquire()
        try:
            if not self.doomed:
                return
            user = self.doomed.pop()
            self.touched.add(("deleted", user))
            with self.database.lock:
                self.database.accounts.discard(user)
                self.database.friends[user] = set()
                for friends in self.database.friends.values():
                    friends.discard(user)
                for group, members in list(self.database.groups.items()):
                    members.discard(user)
                    if not members:
                        del self.database.groups[group]
                        self.touched.add(("group", group))
            app.delete_accounts(user)
        finally:
            for lock in self.locks:
                lock.release()

    def has_touched(self, fact: tuple) -> bool:
        """Returns whether a fact was taken or released, alone or with its group or user."""
        kind, *names = fact
        users = names[1:] if kind == "member" else names if kind == "friend" else []
        wider = [("deleted", user) for user in users]
        wider += [("group", names[0])] if kind == "member" else []
        wider += [("deleted", names[0])] if kind == "account" else []
        return fact in self.touched or any(each in self.touched for each in wider)
