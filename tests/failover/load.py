"""The load of a round: clients of one sidecar, in a process of their own.

No fact is changed again once its outcome could be unknown. Before the fault, facts are taken that
are released during it; all other facts that are taken during it are new and stay. So the expected
state at the end follows from the acknowledgements, and no later call hides a loss.
"""

import asyncio
import itertools
import random
import time
from typing import NamedTuple

from history import DENIED, DONE, RELEASE, TAKE, UNKNOWN, Call, Fact, Scope
from quota import BATCH_MAX, Quota

KINDS = ("member", "friend", "account", "group")
PROBED_KINDS = ("friend", "account", "group")
"""One fact of each part of an app that has keys of its own in the store."""
PROBE_EVERY_S = 0.1
PROBE_TIMEOUT_S = 1.5
ATTEMPTS_MAX = 3
"""The attempts of a client at a call with an unknown outcome, like an IM server."""
PAUSE_S = (0.05, 0.15)
TAKES_PER_GROUP = 100
CONTENDED_MAX = 20
"""Limit of each group that all clients fill together."""
CONTENDED_AT_ONCE = 6
"""Groups that are filled at the same time, which takes some seconds: longer than a failover."""
RELEASABLE = {"member": 190, "friend": 300, "account": 300, "group": 60}
"""Facts of each client that are taken before the fault; a Private group has 200 members at most."""


class Plan(NamedTuple):
    """The load of a round."""

    apps: list[str]
    seed: int
    pace_s: float
    """The interval at which each client begins a call."""


def is_missing(call: Call) -> bool:
    """Returns whether the sidecar did not find the group."""
    return call.why.startswith("NOT_FOUND")


class Client:
    """The base of the clients: a pace, and retries while an outcome is unknown."""

    def __init__(self, quota: Quota, app: str, plan: Plan, stop: asyncio.Event, name: str):
        self.quota, self.app, self.stop, self.name = quota, app, stop, name
        self.pace_s = plan.pace_s
        self.rng = random.Random(f"{plan.seed}-{app}-{quota.sidecar}-{name}")

    def scope(self, kind: str, owner: str = "") -> Scope:
        """A scope of this client's app."""
        return Scope(self.app, kind, owner)

    async def settle(self, action: str, fact: Fact, attempts_max: int = ATTEMPTS_MAX,
                     **how) -> Call:
        """Makes a call, and retries it while its outcome is unknown; returns the last attempt."""
        for attempt in itertools.count(1):
            [call] = await self.quota.change(action, [fact], **how)
            settled = call.outcome != UNKNOWN or is_missing(call)
            if settled or attempt >= attempts_max or self.stop.is_set():
                return call
            await asyncio.sleep(self.rng.uniform(*PAUSE_S))

    async def run(self) -> None:
        """Makes one call after another, at its pace, until it is stopped."""
        await asyncio.sleep(self.rng.uniform(0, self.pace_s))
        next_s = time.monotonic()
        for step in itertools.count():
            if self.stop.is_set():
                return
            await self.step(step)
            next_s = max(next_s + self.pace_s, time.monotonic())
            await asyncio.sleep(next_s - time.monotonic())


class Writer(Client):
    """Alternately takes new facts of one kind and releases facts from before the fault."""

    def __init__(self, kind: str, *rest):
        super().__init__(*rest, f"{kind[0]}{rest[0].sidecar}")
        self.kind = kind
        self.taken = 0
        owner = f"{self.name}-old" if kind in ("member", "friend") else ""
        scope = self.scope(kind, owner)
        self.releasable = [Fact(scope, f"{self.name}-old{n}") for n in range(RELEASABLE[kind])]

    async def prepare(self) -> None:
        """Takes the facts to release later; one member stays, so that the group exists."""
        if self.kind == "member":
            await self._create_group(self.releasable[0].scope.owner)
        size = 1 if self.kind == "group" else BATCH_MAX
        for start in range(0, len(self.releasable), size):
            batch = self.releasable[start:start + size]
            while any(call.outcome != DONE for call in await self.quota.change(TAKE, batch)):
                await asyncio.sleep(PAUSE_S[1])
        self.releasable.pop()

    async def step(self, step: int) -> None:
        """One release or one take."""
        if step % 2 and self.releasable:
            await self.settle(RELEASE, self.releasable.pop())
            return
        scope = self.scope(self.kind)
        if self.kind == "member":
            scope = self.scope("member", f"{self.name}-{self.taken // TAKES_PER_GROUP}")
            if self.taken % TAKES_PER_GROUP == 0:
                await self._create_group(scope.owner)
        elif self.kind == "friend":
            scope = self.scope("friend", f"{self.name}-old")
        call = await self.settle(TAKE, Fact(scope, f"{self.name}-{self.taken}"))
        self.taken += 1
        if is_missing(call):
            # The group was lost. Creating it again would hide that.
            self.taken += -self.taken % TAKES_PER_GROUP

    async def _create_group(self, group: str) -> None:
        await self.settle(TAKE, Fact(self.scope("group"), group), attempts_max=1000)


class Contender(Client):
    """Fills groups with a limit together with the contenders at all sidecars, some at a time.

    A group that was lost is created again, like by an IM server: then it can be overfilled.
    """

    def __init__(self, *rest):
        super().__init__(*rest, f"c{rest[0].sidecar}")
        self.generations = [0] * CONTENDED_AT_ONCE
        self.created: set[str] = set()

    async def prepare(self) -> None:
        """Nothing has to be there."""

    async def step(self, step: int) -> None:
        """One take; the next group follows when one is full."""
        turn = step % CONTENDED_AT_ONCE
        group = f"contended-{turn}-{self.generations[turn]}"
        if group not in self.created:
            fact = Fact(self.scope("group"), group)
            if (await self.settle(TAKE, fact, max_members=CONTENDED_MAX)).outcome != DONE:
                return
            self.created.add(group)
        call = await self.settle(TAKE, Fact(self.scope("member", group), f"{self.name}-{step}"))
        if call.outcome == DENIED:
            self.generations[turn] += 1
        elif is_missing(call):
            self.created.discard(group)


class Prober(Client):
    """Takes a new fact at a fixed rate, independent of open calls: shows when responses stop."""

    def __init__(self, kind: str, *rest):
        super().__init__(*rest, f"p{kind[0]}{rest[0].sidecar}")
        self.fact_scope = self.scope(kind, self.name if kind == "friend" else "")
        self.pace_s = PROBE_EVERY_S
        self._open: set[asyncio.Task] = set()

    async def prepare(self) -> None:
        """Nothing has to be there."""

    async def step(self, step: int) -> None:
        """Begins one take and does not wait for it."""
        fact = Fact(self.fact_scope, f"{self.name}-{step}")
        task = asyncio.create_task(self.quota.change(TAKE, [fact], timeout_s=PROBE_TIMEOUT_S))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def run(self) -> None:
        """Ends when all its calls have ended."""
        await super().run()
        await asyncio.gather(*self._open)


async def serve(pipe, sidecar: int, target: str) -> None:
    """Executes the commands of the harness: `run` a plan, `stop`, `observe` facts and scopes."""
    loop = asyncio.get_running_loop()
    quota = Quota(sidecar, target)
    stop = asyncio.Event()
    clients, running = [], []
    while True:
        command, *arguments = await loop.run_in_executor(None, pipe.recv)
        if command == "prepare":
            quota.calls = []
            stop.clear()
            clients = make_clients(quota, Plan(*arguments), stop)
            await asyncio.gather(*(client.prepare() for client in clients))
            pipe.send("ready")
        elif command == "run":
            running = [asyncio.create_task(client.run()) for client in clients]
        elif command == "stop":
            stop.set()
            await asyncio.gather(*running)
            pipe.send(quota.calls)
        elif command == "observe":
            facts, scopes = arguments
            pipe.send((await quota.held(facts), await quota.used(scopes)))
        else:
            return


def make_clients(quota: Quota, plan: Plan, stop: asyncio.Event) -> list[Client]:
    """All clients of one sidecar."""
    clients: list[Client] = []
    for app in plan.apps:
        common = (quota, app, plan, stop)
        clients += [Writer(kind, *common) for kind in KINDS]
        clients += [Prober(kind, *common) for kind in PROBED_KINDS]
        clients.append(Contender(*common))
    return clients


def main(pipe, sidecar: int, target: str) -> None:
    """The process: ends with its pipe, and leaves Ctrl-C to the harness."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        asyncio.run(serve(pipe, sidecar, target))
    except EOFError:
        pass
