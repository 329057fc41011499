"""Throughput of the client beside the generated stub: joins that change nothing, of one process.

Both take turns in one run, so that a busy machine slows both. Prints a table with the medians of
the rounds: `python bench.py 127.0.0.1:50051`. Processor time is that of this process.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
import grpc.aio

import imquota
import imquota.aio
from imquota import options
from imquota.v1 import quota_service_pb2 as quota
from imquota.v1 import quota_service_pb2_grpc as services

TIMEOUT_S = 5.0
Measured = tuple[float, float]
"""Calls a second, and processor time of a call in microseconds."""
OPTIONS = imquota.Options(attempt_timeout_s=TIMEOUT_S, timeout_s=TIMEOUT_S)
PIPELINED = imquota.Options(attempt_timeout_s=TIMEOUT_S, timeout_s=TIMEOUT_S, pipeline=True)


def in_threads(call: Callable[[], object], threads: int, seconds: float) -> Measured:
    """Calls from a number of threads."""
    def work(end: float) -> int:
        calls = 0
        while time.monotonic() < end:
            call()
            calls += 1
        return calls

    with ThreadPoolExecutor(threads) as pool:
        began, used = time.monotonic(), time.process_time()
        done = sum(pool.map(work, [began + seconds] * threads))
        used = time.process_time() - used
        return done / (time.monotonic() - began), used / done * 1e6


async def in_tasks(call: Callable[[], Awaitable[object]], tasks: int, seconds: float) -> Measured:
    """Calls from a number of tasks."""
    async def work(end: float) -> int:
        calls = 0
        while time.monotonic() < end:
            await call()
            calls += 1
        return calls

    began, used = time.monotonic(), time.process_time()
    done = sum(await asyncio.gather(*(work(began + seconds) for _ in range(tasks))))
    used = time.process_time() - used
    return done / (time.monotonic() - began), used / done * 1e6


def rounds(kinds: dict[str, Callable[[], Measured]], count: int) -> dict[str, list[Measured]]:
    """Measures each kind once a round."""
    figures: dict[str, list[Measured]] = {kind: [] for kind in kinds}
    for _ in range(count):
        for kind, measure in kinds.items():
            figures[kind].append(measure())
    return figures


def show(what: str, figures: dict[str, list[Measured]]) -> None:
    """Prints rows of the table: medians, and the ratio of the processor time to the stub's."""
    floor = statistics.median(used for _, used in figures["stub"])
    for kind, each in figures.items():
        rate = statistics.median(rate for rate, _ in each)
        used = statistics.median(used for _, used in each)
        print(f"| {what} | {kind} | {rate:,.0f} | {used:.0f} us | {used / floor:.2f} |", flush=True)


def measure_threads(address: str, app: str, seconds: float, count: int) -> None:
    """The synchronous clients, with one thread and with eight."""
    request = quota.JoinGroupRequest(app_id=app, group_id="g", user_ids=["a"])
    arguments = options.channel_arguments(address, OPTIONS)
    with grpc.insecure_channel(address, arguments) as channel, imquota.Client(
            address, app, OPTIONS) as one, imquota.Client(address, app, PIPELINED) as other:
        stub = services.QuotaServiceStub(channel)
        calls: dict[str, Callable[[], object]] = {
            "stub": lambda: stub.JoinGroup(request, timeout=TIMEOUT_S),
            "client": lambda: one.join_group("g", "a"),
            "client, pipeline": lambda: other.join_group("g", "a")}
        for threads in (1, 8):
            kinds = {kind: lambda call=call, threads=threads: in_threads(call, threads, seconds)
                     for kind, call in calls.items()}
            show(f"threads: {threads}", rounds(kinds, count))


async def measure_tasks(address: str, app: str, seconds: float, count: int) -> None:
    """The asyncio clients, with 64 tasks."""
    request = quota.JoinGroupRequest(app_id=app, group_id="g", user_ids=["a"])
    arguments = options.channel_arguments(address, OPTIONS)
    async with grpc.aio.insecure_channel(address, arguments) as channel, imquota.aio.Client(
            address, app, OPTIONS) as one, imquota.aio.Client(address, app, PIPELINED) as other:
        stub = services.QuotaServiceStub(channel)
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "stub": lambda: stub.JoinGroup(request, timeout=TIMEOUT_S),
            "client": lambda: one.join_group("g", "a"),
            "client, pipeline": lambda: other.join_group("g", "a")}
        figures: dict[str, list[Measured]] = {kind: [] for kind in calls}
        for _ in range(count):
            for kind, call in calls.items():
                figures[kind].append(await in_tasks(call, 64, seconds))
        show("tasks: 64", figures)


def main() -> None:
    """Measures, and prints the table."""
    parser = argparse.ArgumentParser(description="Measures the client beside the stub.")
    parser.add_argument("address", help="HOST:PORT or unix:PATH of a sidecar")
    parser.add_argument("--app", default="bench", help="the app (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with imquota.Client(given.address, given.app) as setup:
        setup.create_group("g", "Public", owner="a")
    print("| callers | by | calls a second | processor time of a call | to the stub |")
    print("|---|---|---|---|---|")
    measure_threads(given.address, given.app, given.seconds, given.rounds)
    asyncio.run(measure_tasks(given.address, given.app, given.seconds, given.rounds))


if __name__ == "__main__":
    main()
