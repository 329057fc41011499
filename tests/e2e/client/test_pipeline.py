"""The Python clients over Apply streams: many callers, ends of connections, kills, backpressure."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import imquota
from app import App, names
from imquota import aio
from sidecar import Sidecar, clean_environment, wait_until

SEATS = 20
THREADS = 16
OPTIONS = imquota.Options(attempt_timeout_s=3.0, timeout_s=20.0, pipeline=True)


def outcomes(results) -> list[str]:
    """The outcomes, as text."""
    return [str(each.outcome) for each in results]


def test_threads_share_a_stream_and_fill_the_limit_exactly(sidecar, tcp_app):
    admitted = []

    def join(user: str) -> None:
        try:
            with quota.joining("g", user):
                admitted.append(user)
        except imquota.Denied as denied:
            assert denied.im_error_code == 10014

    with imquota.Client(sidecar.unix, tcp_app.id, OPTIONS) as quota:
        quota.create_group("g", "Public", owner="owner")
        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(join, names("u", 200)))
        usage = quota.group_usage("g")["members_per_group"]
        assert (len(admitted), usage.used, usage.held) == (SEATS - 1, SEATS, 0)


def test_errors_and_results_are_those_of_single_calls(sidecar, tcp_app):
    with imquota.Client(sidecar.tcp, tcp_app.id, OPTIONS) as quota:
        quota.create_group("g", "Public", owner="owner")
        with pytest.raises(imquota.InvalidRequest) as caught:
            quota.join_group("g", ["a", "x" * 33])
        assert caught.value.field_violations[0].field == "user_ids[1]"
        with pytest.raises(imquota.NotFound) as caught:
            quota.confirm_hold("none")
        assert caught.value.reason == "HOLD_NOT_FOUND"
        assert outcomes(quota.record_logins(["a"])) == ["COUNTED"]
        assert quota.report_bandwidth([("mainland", 5)]) == ["COUNTED"], "a call beside the stream"


def test_no_call_fails_over_the_ages_of_its_connections():
    with Sidecar("--connection-age-max-ms", "300") as sidecar, App(sidecar) as app, \
            imquota.Client(sidecar.tcp, app.id, OPTIONS) as quota:
        quota.create_group("g", "AVChatRoom", owner="owner")
        done = threading.Event()
        timer = threading.Timer(3.0, done.set)
        timer.start()
        calls = 0
        while not done.is_set():
            assert outcomes(quota.join_group("g", "a")) == ["APPLIED"]
            calls += 1
        assert calls > 100


def test_every_lease_survives_kills_of_the_sidecar():
    with Sidecar() as sidecar, App(sidecar) as app, \
            imquota.Client(sidecar.unix, app.id, OPTIONS) as quota:
        app.upgrade()
        quota.create_group("g", "Public", owner="owner")
        members = []

        def work(first: int) -> None:
            for user in names("u", 20, first):
                with quota.joining("g", user):
                    members.append(user)
                if int(user[1:]) % 4 == 0:
                    members.remove(user)
                    quota.leave_group_later("g", user)

        threads = [threading.Thread(target=work, args=(first,)) for first in (0, 20, 40, 60)]
        for thread in threads:
            thread.start()
        for _ in range(4):
            before = len(members)
            wait_until(lambda: len(members) > before or not any(
                each.is_alive() for each in threads), 20, "the threads go on", every_s=0.001)
            sidecar.kill()
            sidecar.launch(sidecar.arguments(), clean_environment())
        for thread in threads:
            thread.join()
        assert len(members) == 60 and quota.flush(20)
        usage = quota.group_usage("g", timeout_s=20)["members_per_group"]
        assert (usage.used, usage.held) == (61, 0) and quota.counters.lost == 0


def test_operations_in_flight_are_bounded(sidecar, tcp_app):
    options = imquota.Options(
        attempt_timeout_s=5.0, timeout_s=20.0, pipeline=True, in_flight_max=2)
    with imquota.Client(sidecar.tcp, tcp_app.id, options) as quota:
        quota.create_group("g", "AVChatRoom", owner="owner")
        with ThreadPoolExecutor(THREADS) as threads:
            results = threads.map(lambda user: quota.join_group("g", user), names("u", 300))
            assert {each[0].outcome for each in results} == {"APPLIED"}


def test_an_operation_that_was_not_sent_in_time_is_never_carried_out():
    with Sidecar() as sidecar, App(sidecar) as app:
        app.create_group("g", "Public", "owner")
        options = imquota.Options(attempt_timeout_s=0.3, timeout_s=0.3, pipeline=True)
        sidecar.kill()
        with imquota.Client(sidecar.tcp, app.id, options) as quota:
            with pytest.raises(imquota.Unavailable):
                quota.join_group("g", "late")
            sidecar.launch(sidecar.arguments(), clean_environment())
            quota.join_group("g", "in-time", timeout_s=20)
            assert quota.group_usage("g", timeout_s=20)["members_per_group"].used == 2
            assert outcomes(quota.leave_group("g", "late").members) == ["NOT_HELD"]


def test_tasks_share_a_stream(sidecar, tcp_app):
    async def join(quota: aio.Client, user: str) -> bool:
        try:
            async with quota.joining("g", user):
                return True
        except imquota.Denied:
            return False

    async def session() -> int:
        async with aio.Client(sidecar.unix, tcp_app.id, OPTIONS) as quota:
            await quota.create_group("g", "Public", owner="owner")
            joined = await asyncio.gather(*(join(quota, user) for user in names("u", 200)))
            with pytest.raises(imquota.NotFound):
                await quota.join_group("none", "a")
            return sum(joined)

    assert asyncio.run(session()) == SEATS - 1
    assert tcp_app.members("g") == SEATS


def test_tasks_survive_a_kill_of_the_sidecar():
    async def session(sidecar: Sidecar, app: App) -> None:
        async with aio.Client(sidecar.tcp, app.id, OPTIONS) as quota:
            await quota.create_group("g", "AVChatRoom", owner="owner")
            for _ in range(3):
                joins = asyncio.gather(*(quota.join_group("g", user) for user in names("u", 50)))
                await asyncio.sleep(0)
                sidecar.kill()
                sidecar.launch(sidecar.arguments(), clean_environment())
                assert {each[0].outcome for each in await joins} == {"APPLIED"}

    with Sidecar() as sidecar, App(sidecar) as app:
        asyncio.run(session(sidecar, app))
