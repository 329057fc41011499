"""The asyncio client: the same rules, awaited."""

import asyncio
import inspect

import pytest

import imquota
from app import App
from imquota import aio
from sidecar import Sidecar, clean_environment, wait_until

OPTIONS = imquota.Options(attempt_timeout_s=2.0, timeout_s=10.0)
SEATS = 20


def seats(app, group: str = "g") -> tuple[int, int]:
    """The members of a group, and how many of them are held."""
    usage = app.usages(group_id=group)["members_per_group"]
    return usage.used, usage.held


def parameters(function) -> list[str]:
    """The parameters of a method, with their defaults."""
    return [str(each) for each in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize(("one", "other"), [
    (imquota.Client, aio.Client), (imquota.Lease, aio.Lease)])
def test_both_clients_have_the_same_calls(one, other):
    public = [name for name in vars(one) if not name.startswith("_")]
    assert public == [name for name in vars(other) if not name.startswith("_")]
    for name in public:
        if not isinstance(vars(one)[name], property):
            assert parameters(vars(one)[name]) == parameters(vars(other)[name]), name


def test_leases_and_calls(sidecar, tcp_app):
    async def session() -> None:
        async with aio.Client([sidecar.tcp], tcp_app.id, OPTIONS) as quota:
            await quota.create_group("g", "Public", owner="owner")
            async with quota.joining("g", ["a", "b"]) as lease:
                assert (lease.allowed, seats(tcp_app)) == (("a", "b"), (3, 2))
            assert seats(tcp_app) == (3, 0)
            with pytest.raises(KeyError):
                async with quota.joining("g", "c"):
                    raise KeyError("the commit failed")
            assert seats(tcp_app) == (3, 0)
            with pytest.raises(imquota.NotFound):
                await quota.join_group("none", "a")
            quota.leave_group_later("g", "a")
            assert (await quota.join_group("g", "a"))[0].outcome == "APPLIED", "the leave is first"
            assert (await quota.group_usage("g"))["members_per_group"].used == 3

    asyncio.run(session())


def test_tasks_that_take_the_last_seats_fill_the_group_exactly(sidecar, tcp_app):
    async def join(quota: aio.Client, number: int) -> bool:
        try:
            async with quota.joining("g", f"u{number}"):
                return True
        except imquota.Denied:
            return False

    async def session() -> list[bool]:
        async with aio.Client(sidecar.unix, tcp_app.id, OPTIONS) as quota:
            await quota.create_group("g", "Public", owner="owner")
            return await asyncio.gather(*(join(quota, number) for number in range(60)))

    assert sum(asyncio.run(session())) == SEATS - 1
    assert seats(tcp_app) == (SEATS, 0)


def test_a_cancelled_lease_is_released_and_a_cancelled_confirmation_is_queued(sidecar, tcp_app):
    tcp_app.create_group("g", "Public", "owner")

    class Frozen(aio.Unary):
        """Does not answer the first confirmation."""

        async def attempt(self, step):
            if step.method.name == "ConfirmHold" and frozen:
                frozen.clear()
                await asyncio.sleep(3600)
            return await super().attempt(step)

    async def session() -> None:
        async with aio.Client(sidecar.tcp, tcp_app.id, OPTIONS) as quota:
            async def wait() -> None:
                async with quota.joining("g", "dropped"):
                    await asyncio.sleep(3600)

            task = asyncio.create_task(wait())
            while seats(tcp_app) != (2, 1):
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled() and await quota.flush(10) and seats(tcp_app) == (1, 0)

            quota._transport = Frozen([sidecar.tcp], OPTIONS, ())
            lease = await quota.joining("g", "kept").take()
            task = asyncio.create_task(lease.confirm())
            while frozen:
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled() and lease.queued
            assert await quota.flush(10) and seats(tcp_app) == (2, 0)

    frozen = [True]
    asyncio.run(session())


def test_the_queue_and_retries_outlast_a_kill():
    async def session(sidecar: Sidecar, app: App) -> None:
        options = imquota.Options(attempt_timeout_s=0.5, timeout_s=20.0)
        async with aio.Client(sidecar.tcp, app.id, options) as quota:
            await quota.create_group("g", "Public", owner="owner", members=["a"])
            for number in range(4):
                async with quota.joining("g", f"u{number}"):
                    sidecar.kill()
                    sidecar.launch(sidecar.arguments(), clean_environment())
                quota.leave_group_later("g", f"u{number}")
            assert await quota.flush(20)

    with Sidecar() as sidecar, App(sidecar) as app:
        asyncio.run(session(sidecar, app))
        wait_until(lambda: seats(app) == (2, 0), 10, "all members left")
