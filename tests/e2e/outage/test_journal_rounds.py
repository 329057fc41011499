"""Rounds with Redis unavailable and the sidecar killed, compared with the IM's database.

An IM with several workers takes before it commits, releases after it, and retries each call until
it is decided. The network to Redis is slow and is cut or drops everything, and the sidecar is
killed before, during or after that, with entries in its journal. After each round the store holds
exactly the facts of the IM's database. `IMQUOTA_JOURNAL_ROUNDS=100` runs a hundred rounds.
"""

import os
import random
import threading
import time

import grpc

from app import ALREADY_HELD, App, names
from http_port import metric
from outage import drained
from redis_proxy import Proxy, Redis
from sidecar import Sidecar, wait_until
from stubs import common_pb, quota_pb

ROUNDS = int(os.environ.get("IMQUOTA_JOURNAL_ROUNDS", "3"))
WORKERS, USERS_EACH, GROUPS = 4, 5, 3
DEADLINE_S = 2.0
PAUSE_S = 0.02
"""Pause after a call that was not decided."""
CALM_S, AWAY_S = 0.3, 0.8
"""Parts of a round: before the fault, and until the repair."""
JOURNALED_WITHIN_S = 30
DELAY_MAX_S = 0.004
CHECK_ONLY = common_pb.MODE_CHECK_ONLY


class Im:
    """The IM's database, and its client of the sidecar, which is replaced after each start."""

    def __init__(self, app: App):
        self.app, self.is_finished = app, threading.Event()
        self.members: set[tuple[str, str]] = set()
        self.friends: set[tuple[str, str]] = set()
        self.degraded = 0

    def decided(self, rpc: str, request):
        """The response, after as many retries as necessary."""
        while True:
            try:
                answer = getattr(self.app.quota, rpc)(request, timeout=DEADLINE_S)
            except grpc.RpcError as error:
                assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED,
                                        grpc.StatusCode.DEADLINE_EXCEEDED,
                                        grpc.StatusCode.RESOURCE_EXHAUSTED), error
                time.sleep(PAUSE_S)
            except ValueError:
                # The channel was closed by a restart.
                time.sleep(PAUSE_S)
            else:
                self.degraded += bool(answer.decision.degradation)
                return answer


class Worker(threading.Thread):
    """Makes the calls of its own users, one after another."""

    def __init__(self, im: Im, number: int, seed: int):
        super().__init__()
        self._im, self._rng = im, random.Random(seed)
        self.users = [f"w{number}u{user}" for user in range(USERS_EACH)]
        self.own_group = f"own{number}"
        self.groups = [*names("shared", GROUPS), self.own_group]

    def run(self) -> None:
        while not self._im.is_finished.is_set():
            chance = self._rng.randrange(20)
            if chance == 0:
                self._dissolve()
            elif chance < 8:
                self._befriend(*self._rng.sample(self.users, 2))
            else:
                self._join_or_leave(self._rng.choice(self.users), self._rng.choice(self.groups))

    def _join_or_leave(self, user: str, group: str) -> None:
        fields = {"app_id": self._im.app.id, "group_id": group, "user_ids": [user]}
        self._toggle(self._im.members, (user, group), "JoinGroup", "LeaveGroup", fields)

    def _befriend(self, user: str, friend: str) -> None:
        fields = {"app_id": self._im.app.id, "user_id": user, "friend_ids": [friend],
                  "one_way": True}
        self._toggle(self._im.friends, (user, friend), "AddFriends", "RemoveFriends", fields)

    def _toggle(self, facts: set, fact: tuple, take: str, release: str, fields: dict) -> None:
        """Releases a fact after the commit, or takes it before that."""
        is_held = fact in facts
        facts.discard(fact)
        rpc = release if is_held else take
        self._im.decided(rpc, getattr(quota_pb, f"{rpc}Request")(**fields))
        if not is_held:
            facts.add(fact)

    def _dissolve(self) -> None:
        im, group = self._im, self.own_group
        im.members -= {(user, group) for user in self.users}
        fields = {"app_id": im.app.id, "group_id": group}
        im.decided("DissolveGroup", quota_pb.DissolveGroupRequest(**fields))
        im.decided("CreateGroup", quota_pb.CreateGroupRequest(
            type="Public", owner_id=f"owner of {group}", **fields))


def differences(im: Im, workers: list[Worker]) -> list[str]:
    """The facts that only one of store and database has, of all possible facts."""
    found = []
    for worker in workers:
        for group in worker.groups:
            request = quota_pb.JoinGroupRequest(
                app_id=im.app.id, group_id=group, user_ids=worker.users, mode=CHECK_ONLY)
            for user, result in zip(worker.users, im.decided("JoinGroup", request).results):
                if (result.outcome == ALREADY_HELD) != ((user, group) in im.members):
                    found.append(f"{user} in {group}: {result.outcome}")
        for user in worker.users:
            others = [other for other in worker.users if other != user]
            request = quota_pb.AddFriendsRequest(
                app_id=im.app.id, user_id=user, friend_ids=others, one_way=True, mode=CHECK_ONLY)
            for other, result in zip(others, im.decided("AddFriends", request).results):
                if (result.outcome == ALREADY_HELD) != ((user, other) in im.friends):
                    found.append(f"{other} of {user}: {result.outcome}")
    for group in [group for worker in workers for group in worker.groups]:
        held = im.app.usages(group_id=group)["members_per_group"].used
        # Its owner stays, so that it is not reclaimed.
        if held != 1 + sum(of == group for _, of in im.members):
            found.append(f"{held} members of {group}")
    return found


def spoil(proxy: Proxy, how: str):
    """Injects a network fault, and returns the function that repairs it."""
    if how == "cut":
        # Connections are cut, and the server is available.
        proxy.refuse()
        proxy.refuse(False)
        return lambda: None
    turn = getattr(proxy, how)
    turn()
    return lambda: turn(False)


def restarted(sidecar: Sidecar, im: Im) -> None:
    """Kills the sidecar and starts it on the same journal."""
    sidecar.kill()
    before = im.app
    sidecar.start()
    im.app = App(sidecar, app_id=before.id)
    before.close()


def test_after_every_round_the_store_equals_the_database_of_the_im():
    seed = int(os.environ.get("IMQUOTA_SEED", "15"))
    rng = random.Random(seed)
    with Redis() as redis, Proxy(redis.port) as proxy, \
            Sidecar(store=proxy.url, management=True) as sidecar:
        im = Im(App(sidecar))
        im.app.upgrade()
        workers = [Worker(im, number, 0) for number in range(WORKERS)]
        for group in sorted({group for worker in workers for group in worker.groups}):
            im.app.create_group(group, owner=f"owner of {group}")
        journaled = 0
        for turn in range(ROUNDS):
            im.is_finished.clear()
            workers = [Worker(im, number, rng.random()) for number in range(WORKERS)]
            for worker in workers:
                worker.start()
            time.sleep(rng.random() * CALM_S)
            proxy.slow(rng.random() * DELAY_MAX_S)
            # The first round is one with a journal.
            how = rng.choice(["refuse", "swallow", "cut"]) if turn > 0 else "refuse"
            kill_at_s = rng.random() * 1.5 * AWAY_S if turn > 0 else AWAY_S - PAUSE_S
            mend = spoil(proxy, how)
            if turn == 0:
                wait_until(lambda: metric(sidecar.management_port, "imquota_journal_entries") > 0,
                           JOURNALED_WITHIN_S, "entries in the journal")
            else:
                time.sleep(min(kill_at_s, AWAY_S))
            journaled += metric(sidecar.management_port, "imquota_journal_entries") > 0
            if kill_at_s < AWAY_S:
                # It starts without the store, and waits for it.
                threading.Timer(AWAY_S - kill_at_s, mend).start()
            else:
                mend()
                time.sleep(kill_at_s - AWAY_S)
            restarted(sidecar, im)
            time.sleep(rng.random() * CALM_S)
            im.is_finished.set()
            for worker in workers:
                worker.join()
            drained(sidecar)
            found = differences(im, workers)
            assert found == [], f"round {turn} ({how}), IMQUOTA_SEED={seed}: {found}"
        print(f"{ROUNDS} rounds, {journaled} killed with a journal, {im.degraded} degraded "
              f"decisions, {len(im.members)} members, {len(im.friends)} friends: 0 differences")
        assert im.degraded > 0 and journaled > 0 and im.members and im.friends
        im.app.close()
