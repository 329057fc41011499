"""Measures callbacks end to end: `python benches/callback_latency.py [per second]`.

An open loop: each callback has its instant, from which its latency counts, whether a connection
was free then or not. Prints the percentiles and the sidecar's processor time. Needs a release
build in `IMQUOTA_BIN`.
"""

import os
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/e2e/helpers"))

import callbacks  # noqa: E402
from app import App  # noqa: E402
from callbacks import CallbackSidecar  # noqa: E402
from openim import OpenIm, refuses  # noqa: E402
from redis_proxy import Redis  # noqa: E402
from tencent import TencentIm  # noqa: E402
from tencent import refuses as tencent_refuses  # noqa: E402

SECONDS = 30
CONNECTIONS = 16
GROUPS, USERS = 200, 2000


def processor_seconds(process: int) -> float:
    """The processor time of a process so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def openim_calls(im: OpenIm, number: int) -> None:
    """One callback: three joins for a quit."""
    group, user = f"g{number % GROUPS}", f"u{number * 7 % USERS}"
    if number % 4 == 3:
        im.quit(group, f"u{(number - 3) * 7 % USERS}-old")
    else:
        assert not refuses(im.members_join(group, user)), number


def tencent_calls(im: TencentIm, number: int) -> None:
    """One callback: an invitation, its report, a leave, a login."""
    group, user = f"g{number // 4 % GROUPS}", f"u{number // 4 * 7 % USERS}"
    call = (im.before_invite, im.after_join, im.after_exit)
    if number % 4 == 3:
        im.state(user)
    else:
        assert not tencent_refuses(call[number % 4](group, [user])), number


def drive(connect, call, per_second: float) -> list[float]:
    """The latencies of a run, in seconds."""
    total = int(SECONDS * per_second)
    numbers, lock, latencies = iter(range(total)), threading.Lock(), []
    start = time.monotonic() + 0.5

    def work() -> None:
        with connect() as im:
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                due = start + number / per_second
                time.sleep(max(0.0, due - time.monotonic()))
                call(im, number)
                latencies.append(time.monotonic() - due)

    threads = [threading.Thread(target=work) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(latencies) == total, f"{len(latencies)} of {total} were answered"
    return sorted(latencies)


def main() -> None:
    """Runs both protocols, one after the other."""
    per_second = float(sys.argv[1]) if len(sys.argv) > 1 else 200
    settings = [callbacks.openim(), callbacks.tencent()]
    with Redis() as redis:
        store = f"redis://127.0.0.1:{redis.port}/0"
        with CallbackSidecar(*settings, store=store) as sidecar:
            with TencentIm(sidecar, settings[1]) as im:
                sdk_app_id = im.app_id
            kinds = {
                "openim": (lambda: OpenIm(sidecar, settings[0]), openim_calls,
                           settings[0]["app_id"]),
                "tencent": (lambda: TencentIm(sidecar, settings[1], sdk_app_id), tencent_calls,
                            sdk_app_id),
            }
            for name, (connect, call, app_id) in kinds.items():
                with App(sidecar, app_id=app_id) as app:
                    app.upgrade()
                    app.create_groups([f"g{number}" for number in range(GROUPS)], "Public")
                before = processor_seconds(sidecar.process.pid)
                latencies = drive(connect, call, per_second)
                used = processor_seconds(sidecar.process.pid) - before
                at = [latencies[int(len(latencies) * share)] * 1000 for share in (0.5, 0.99, 0.999)]
                print(f"{name}: {per_second:g}/s for {SECONDS} s, p50 {at[0]:.2f} ms, "
                      f"p99 {at[1]:.2f} ms, p99.9 {at[2]:.2f} ms, "
                      f"{used / len(latencies) * 1e6:.0f} us of the sidecar's processor each")


if __name__ == "__main__":
    main()
