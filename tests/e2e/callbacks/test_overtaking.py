"""A few users who leave and join a few groups again and again, while the reports of it are late by
up to a second each and arrive in any order at either sidecar: at the end the ledger is the
database. Two sidecars on one Redis; `IMQUOTA_SEED` sets the seed."""

import os
import random
import threading
import time

import pytest

import callbacks
from app import ALREADY_HELD, App, names
from callbacks import CallbackSidecar
from openim import OpenIm
from openim import refuses as openim_refuses
from redis_proxy import Redis
from sidecar import wait_until
from stubs import common_pb
from tencent import TencentIm, new_app, now_ms, refused_members, refuses

SEED = int(os.environ.get("IMQUOTA_SEED", "20261201"))
RUNS_S = 12
LATE_S = 1.2
PAUSE_S = 0.25
SETTLES_S = 8
GROUPS, USERS = names("g", 2), names("u", 3)


@pytest.fixture(scope="module")
def two():
    """Two sidecars on one Redis, with the settings of both protocols."""
    settings = [callbacks.openim(), callbacks.tencent()]
    with Redis() as redis:
        store = f"redis://127.0.0.1:{redis.port}/0"
        with CallbackSidecar(*settings, store=store) as one:
            with CallbackSidecar(*settings, store=store) as other:
                yield one, other, *settings


class Hot:
    """The IM: each pair of a group and a user has a lock, as a row of a database has."""

    def __init__(self, sidecars, connect):
        self.sidecars, self.connect = sidecars, connect
        self.members = {group: set() for group in GROUPS}
        self.locks = {(group, user): threading.Lock() for group in GROUPS for user in USERS}
        self.late: list[threading.Thread] = []
        self.failures: list[BaseException] = []
        self.changes = 0

    def report(self, rng: random.Random, call) -> None:
        """Makes a call later, at any of the sidecars."""
        delay, sidecar = rng.uniform(0, LATE_S), rng.choice(self.sidecars)

        def run() -> None:
            time.sleep(delay)
            try:
                with self.connect(sidecar) as im:
                    assert call(im).status == 200
            except BaseException as failure:  # noqa: BLE001
                self.failures.append(failure)

        thread = threading.Thread(target=run)
        thread.start()
        self.late.append(thread)

    def work(self, number: int, join, leave) -> None:
        """Changes memberships for a time; `join` returns whether the IM commits."""
        rng = random.Random(f"{SEED} {number}")
        ims = [self.connect(sidecar) for sidecar in self.sidecars]
        end = time.monotonic() + RUNS_S
        while time.monotonic() < end:
            group, user = rng.choice(GROUPS), rng.choice(USERS)
            with self.locks[group, user]:
                if user in self.members[group]:
                    self.members[group].discard(user)
                    leave(self, rng, group, user)
                elif join(self, rng, rng.choice(ims), group, user):
                    self.members[group].add(user)
                self.changes += 1
            time.sleep(rng.uniform(0, PAUSE_S))
        for im in ims:
            im.client.close()

    def run(self, join, leave) -> None:
        """Runs three threads, and waits for all reports."""
        workers = [threading.Thread(target=self.work, args=(number, join, leave))
                   for number in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        for thread in self.late:
            thread.join()
        assert not self.failures, self.failures[:3]


def openim_joins(_hot, _rng, im, group, user) -> bool:
    """OpenIM reports no joins that count."""
    return not openim_refuses(im.members_join(group, user))


def openim_leaves(hot, rng, group, user) -> None:
    """The report has no instant."""
    hot.report(rng, lambda im: im.quit(group, user))


def tencent_joins(hot, rng, im, group, user) -> bool:
    """The report has the instant of the commit."""
    answer = im.before_invite(group, [user])
    if refuses(answer) or refused_members(answer):
        return False
    at = now_ms()
    hot.report(rng, lambda im: im.after_join(group, [user], at=at))
    return True


def tencent_leaves(hot, rng, group, user) -> None:
    """The report has the instant of the commit."""
    at = now_ms()
    hot.report(rng, lambda im: im.after_exit(group, [user], at=at))


def check(hot: Hot, app: App, join, leave) -> None:
    """Runs, and compares each membership."""
    for group in GROUPS:
        app.create_group(group, "Public", "owner")
    hot.run(join, leave)

    def held() -> dict:
        mode = common_pb.MODE_CHECK_ONLY
        return {group: {user for user in USERS
                        if app.join_or_none(group, user, mode=mode) == [ALREADY_HELD]}
                for group in GROUPS}

    print(f"seed {SEED}: {hot.changes} changes")
    assert hot.changes > 100
    # What waits for its order is done by then.
    time.sleep(SETTLES_S / 2)
    wait_until(lambda: held() == hot.members, SETTLES_S / 2,
               f"the ledger is the database: {hot.members}", every_s=0.5)


def test_late_reports_of_openim_leave_no_difference(two):
    one, other, callback, _ = two
    with App(one, app_id=callback["app_id"]) as app:
        hot = Hot([one, other], lambda sidecar: OpenIm(sidecar, callback))
        check(hot, app, openim_joins, openim_leaves)


def test_late_reports_of_tencent_leave_no_difference(two):
    one, other, _, callback = two
    sdk_app_id = new_app()
    with App(one, app_id=sdk_app_id) as app:
        hot = Hot([one, other], lambda sidecar: TencentIm(sidecar, callback, sdk_app_id))
        check(hot, app, tencent_joins, tencent_leaves)
