"""What is done to a deployment in a round, and undone."""

import random

from deployments import Deployment, Sentinels

HOLD_S = (2.0, 3.5)
"""How long a fault lasts on after the new master was seen."""
FREEZE_S = (1.0, 10.0)
SURE_FREEZE_S = 5.0
"""A master that is frozen for longer must have been replaced."""
REPLICA_DEAD_S = 8.0
SENTINELS_DEAD_S = 60.0


class Fault:
    """One fault at one master; what differs is in the classes below."""

    changes_master: bool | None = True
    """Whether there must be a new master for a round to count; None: both are right."""
    lasts_s: float | None = None
    """How long it lasts; None: until some time after the new master was seen."""
    minority: list[str] = []
    """The hosts that are split off."""
    minority_sidecars: frozenset[int] = frozenset()
    refuses = True
    """Whether refusals are to be expected at all."""

    def __init__(self, deployment: Deployment, rng: random.Random):
        self.deployment = deployment
        self.victim = rng.choice(deployment.masters())
        self.hold_s = rng.uniform(*HOLD_S)

    def begin(self) -> None:
        """Does it."""

    def heal(self) -> None:
        """Undoes it."""


class Kill(Fault):
    """`kill -9` of the master, which is started again with what it had."""

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
    """`kill -9` of a replica, which is started again with what it had."""

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
    """Two of three Sentinels are dead while the servers are well: nothing may be refused."""

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
    """The fault of that name, with what is left to chance drawn."""
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
