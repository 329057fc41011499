"""Memory and file descriptors stay flat under mixed load with short outages of the store.

`IMQUOTA_SOAK_S=1200` runs for twenty minutes; the default is half a minute.
"""

import os
import statistics
import threading
import time

import grpc

from app import App
from http_port import get, metric
from redis_proxy import Proxy, Redis
from sidecar import Sidecar, wait_until
from stubs import metering_pb, quota_pb

SECONDS = float(os.environ.get("IMQUOTA_SOAK_S", "30"))
THREADS = 4
BLINKS = 12
"""The number of outages during the run."""
BLINK_S = 1.0
WARM_UP_PART = 0.25
"""Time for buffers and tables to grow to their size."""
GROWTH_MAX_BYTES = 8 << 20


class Traffic(threading.Thread):
    """A caller that joins, leaves, befriends, creates, reads, records logins, and is denied."""

    def __init__(self, number: int, sidecar: Sidecar, app_id: str):
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self.calls = self.errors = 0
        self._number, self._app = number, App(sidecar, app_id=app_id)

    def run(self) -> None:
        with self._app as app:
            while not self.ended.is_set():
                try:
                    self._call(app, self.calls)
                except grpc.RpcError:
                    # The store has short outages.
                    self.errors += 1
                self.calls += 1
                time.sleep(0.002)

    def _call(self, app: App, turn: int) -> None:
        user, group = f"u{self._number}-{turn % 500}", f"g{self._number}-{turn % 50}"
        match turn % 8:
            case 0:
                app.create_group(group, owner=user)
            case 1:
                request = quota_pb.JoinGroupRequest(
                    app_id=app.id, group_id=group, user_ids=[user, f"{user}b"])
                app.quota.JoinGroup(request, timeout=2)
            case 2:
                app.add_friends(user, f"{user}c", "popular")
            case 3:
                request = quota_pb.LeaveGroupRequest(
                    app_id=app.id, group_id=group, user_ids=[user])
                app.quota.LeaveGroup(request, timeout=2)
            case 4:
                app.usages(user_id=user)
            case 5:
                requests = [quota_pb.ApplyRequest(tag=tag, join_group=quota_pb.JoinGroupRequest(
                    app_id=app.id, group_id=group, user_ids=[f"{user}{tag}"])) for tag in range(4)]
                list(app.quota.Apply(iter(requests), timeout=5))
            case 6:
                request = quota_pb.DissolveGroupRequest(app_id=app.id, group_id=group)
                app.quota.DissolveGroup(request, timeout=2)
            case _:
                request = metering_pb.RecordLoginsRequest(
                    app_id=app.id, logins=[metering_pb.Login(user_id=user)])
                app.metering.RecordLogins(request, timeout=2)


def test_memory_and_file_descriptors_stay_flat():
    with Redis() as redis, Proxy(redis.port) as proxy, Sidecar(
            "--log-filter", "error", store=proxy.url, management=True) as sidecar:
        with App(sidecar) as app:
            app_id = app.id
        callers = [Traffic(number, sidecar, app_id) for number in range(THREADS)]
        for caller in callers:
            caller.start()
        began, blinked, seen = time.monotonic(), 0, []
        while (passed := time.monotonic() - began) < SECONDS:
            if passed > (blinked + 0.5) * SECONDS / BLINKS:
                blinked += 1
                proxy.refuse()
                time.sleep(BLINK_S)
                proxy.refuse(False)
            time.sleep(0.5)
            seen.append((passed, metric(sidecar.management_port, "process_resident_memory_bytes"),
                         metric(sidecar.management_port, "process_open_fds")))
        for caller in callers:
            caller.ended.set()
        for caller in callers:
            caller.join(20)
        wait_until(lambda: metric(sidecar.management_port, "imquota_journal_entries") == 0, 30,
                   "the journal is replayed")
        assert get(sidecar.management_port, "/readyz")[0] == 200
        warm = [each for each in seen if each[0] > WARM_UP_PART * SECONDS]
        half = len(warm) // 2
        first, last = warm[:half], warm[half:]
        memory = [statistics.median(each[1] for each in part) for part in (first, last)]
        files = [statistics.median(each[2] for each in part) for part in (first, last)]
        calls = sum(caller.calls for caller in callers)
        errors = sum(caller.errors for caller in callers)
        replayed = metric(sidecar.management_port, "imquota_journal_replayed_total")
        print(f"{SECONDS:.0f} s, {calls} calls, {errors} errors, {blinked} blinks, "
              f"{replayed:.0f} facts replayed; memory {memory[0] / 1e6:.1f} -> "
              f"{memory[1] / 1e6:.1f} MB, file descriptors {files[0]:.0f} -> {files[1]:.0f}")
        assert calls > 50 * SECONDS / 10 and replayed > 0
        assert memory[1] - memory[0] < GROWTH_MAX_BYTES, memory
        assert abs(files[1] - files[0]) <= 4, files
