"""Faults that a round injects into a deployment and repairs."""

import random

from deployments import Deployment, Sentinels

HOLD_S = (2.0, 3.5)
"""The time that a fault lasts after the new master was observed."""
FREEZE_S = (1.0, 10.0)
SURE_FREEZE_S = 5.0
"""The time after which a frozen master must have been replaced."""
REPLICA_DEAD_S = 8.0
SENTINELS_DEAD_S = 60.0


class Fault:
    """One fault at one master; the base of the classes below."""

    changes_master: bool | None = True
    """Whether a round counts only with a new master; None: counts with or without."""
    lasts_s: float | None = None
    """The duration; None: until some time after the new master was observed."""
    minority: list[str] = []
    """The hosts that are split off."""
    minority_sidecars: frozenset[int] = frozenset()
    refuses = True
    """Whether refusals are allowed."""

    def __init__(self, deployment: Deployment, rng: random.Random):
        self.deployment = deployment
        self.victim = rng.choice(deployment.masters())
        self.hold_s = rng.uniform(*HOLD_S)

    def begin(self) -> None:
        """Injects the fault."""

    def heal(self) -> None:
        """Repairs the fault."""


class Kill(Fault):
    """`kill -9` of the master, which is restarted with its data."""

    def begin(self) -> None:
        self.victim.kill()

    def heal(self) -> None:
        self.victim.start()


class Freeze(Fault):
    """SIGSTOP of the master for one to ten seconds."""

    def __init__(self, deployment: Deployment, rng: random.Random):
        super().__init__(deployment, rng)
        self.lasts_s = rng.uniform(*FREEZE_S)
        self.changes_master = True if self.lasts_s > SURE_FREEZE_S else None

    def begin(self) -> None:
        self.victim.freeze()

    def heal(self) -> None:
        self.victim.thaw()


class Planned(Fault):
    """A failover on command, with the old master alive."""

    def begin(self) -> None:
        self.deployment.fail_over(self.victim)


class Split(Fault):
    """The master is split off with some others: a replica, a Sentinel, a sidecar."""

    def __init__(self, deployment: Deployment, rng: random.Random, company: tuple[str, ...]):
        super().__init__(deployment, rng)
        kinds = {"replica": deployment.replicas_of(self.victim),
                 "sentinel": deployment.sentinels, "sidecar": deployment.sidecars}
        chosen = [rng.choice(kinds[kind]) for kind in company]
        self.minority = [self.victim.name, *(process.name for process in chosen)]
        self.minority_sidecars = frozenset(
            sidecar.number for sidecar in deployment.sidecars if sidecar in chosen)

    def begin(self) -> None:
        self.deployment.network.cut_off(self.minority)

    def heal(self) -> None:
        self.deployment.network.heal()


class ReplicaKill(Fault):
    """`kill -9` of a replica, which is restarted with its data."""

    changes_master = False
    lasts_s = REPLICA_DEAD_S

    def __init__(self, deployment: Deployment, rng: random.Random):
        super().__init__(deployment, rng)
        self.replica = rng.choice(deployment.replicas_of(self.victim))

    def begin(self) -> None:
        self.replica.kill()

    def heal(self) -> None:
        self.replica.start()


class SentinelsDead(Fault):
    """Two of three Sentinels are dead while the servers are healthy: no call may be refused."""

    changes_master = False
    refuses = False
    lasts_s = SENTINELS_DEAD_S

    def __init__(self, deployment: Sentinels, rng: random.Random):
        super().__init__(deployment, rng)
        self.dead = rng.sample(deployment.sentinels, 2)

    def begin(self) -> None:
        for sentinel in self.dead:
            sentinel.kill()

    def heal(self) -> None:
        for sentinel in self.dead:
            sentinel.start()


def make_fault(name: str, deployment: Deployment, rng: random.Random) -> Fault:
    """The fault of that name, with its random choices drawn."""
    if name.startswith("split"):
        return Split(deployment, rng, tuple(name.split("-")[1:]))
    simple = {"kill": Kill, "freeze": Freeze, "planned": Planned, "replica-kill": ReplicaKill,
              "sentinels-dead": SentinelsDead}
    return simple[name](deployment, rng)


_COMMON = ["kill", "freeze", "planned", "split-sidecar", "replica-kill"]
_SENTINEL = [*_COMMON, "split-sentinel", "split-sentinel-sidecar", "sentinels-dead"]
FAULTS = {
    "sentinel-1": _SENTINEL,
    "sentinel-2": [*_SENTINEL, "split-replica", "split-replica-sidecar",
                   "split-replica-sentinel-sidecar"],
    "cluster": _COMMON,
}
"""The faults of each topology. A split from the only replica leaves none to promote."""
