"""Deployments of Redis with two sidecars."""

import multiprocessing
import shutil
import time

import load
from network import Network, make_folder
from resp import RedisError, fields, info
from servers import PORT, SENTINEL_PORT, Server, Sidecar, binary_digest
from sidecar import wait_until

MASTER = "main"
SENTINELS = 3
SIDECARS = 2
SHARDS = 3
DOWN_AFTER_MS = 1000
FAILOVER_TIMEOUT_MS = 6000
NODE_TIMEOUT_MS = 2000
FORM_TIMEOUT_S = 40
HEAL_TIMEOUT_S = 60


class Deployment:
    """Servers, two sidecars and the processes of their clients; use it as a context."""

    names: list[str] = []
    """The hosts of Redis servers and Sentinels."""

    def __init__(self, durability: str, extra: list[str]):
        self._extra = ["--durability", durability, *extra]
        sidecars = [f"sidecar{number}" for number in range(SIDECARS)]
        self.network = Network([*self.names, *sidecars])
        self.servers: list[Server] = []
        self.sentinels: list[Server] = []
        self.sidecars: list[Sidecar] = []
        self.binary = ""
        """The digest of the sidecars' binary."""
        self._workers: list = []

    def __enter__(self):
        self.network.__enter__()
        self.folder = make_folder()
        try:
            self._start_servers()
            self.binary = binary_digest()
            wait_until(lambda: not self.unhealed(), FORM_TIMEOUT_S, "the deployment forms", 0.1)
            for number in range(SIDECARS):
                host = self.network.hosts[f"sidecar{number}"]
                sidecar = Sidecar(host, self.folder, number, self.url(), self._extra)
                sidecar.start()
                self.sidecars.append(sidecar)
                self._workers.append(Worker(sidecar))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        for worker in self._workers:
            worker.end()
        self.network.__exit__()
        shutil.rmtree(self.folder, ignore_errors=True)

    def server_at(self, address: str) -> Server:
        """The server with that address."""
        return next(server for server in self.servers if server.address == address)

    def masters(self) -> list[Server]:
        """The servers that report the role of a master."""
        return [server for server in self.servers if server.call("ROLE")[0] == "master"]

    def replicas_of(self, master: Server) -> list[Server]:
        """The replicas that are attached to a master."""
        return [self.server_at(replica[0]) for replica in master.call("ROLE")[2]]

    def wait_until_ready(self) -> None:
        """Waits until no effect of the previous round can reach the next one."""
        self.wait_until_healed()
        _wait_until_none(lambda: self.unhealed() or self.outdated(), "ready")

    def wait_until_healed(self) -> None:
        """Waits until all agree on the masters, replicas are in sync and sidecars decide."""
        _wait_until_none(self.unhealed, "healed")
        for sidecar in self.sidecars:
            wait_until(sidecar.decides, HEAL_TIMEOUT_S, f"{sidecar.name} decides again")

    def unhealed(self) -> str:
        """The first problem of the deployment; empty if there is none."""
        try:
            return self._check_replication() or self._check_agreement()
        except (OSError, RedisError, StopIteration, KeyError) as error:
            return repr(error)

    def outdated(self) -> str:
        """A process with an outdated view of the servers' roles; empty if there is none."""
        return ""

    def _check_replication(self) -> str:
        replicas = 0
        masters = self.masters()
        for server in self.servers:
            role = server.call("ROLE")
            if role[0] == "master":
                continue
            replicas += 1
            master = self.server_at(role[1])
            if role[3] != "connected" or master not in masters:
                return f"{server.name} is no replica in sync"
        attached = sum(len(self.replicas_of(master)) for master in masters)
        lags = [int(replica["lag"]) for master in masters for replica in _replicas(master)]
        if attached != replicas or len(masters) != self.shards or any(lag > 1 for lag in lags):
            return f"{len(masters)} masters, {replicas} replicas, {attached} attached"
        return ""

    def prepare(self, plan: load.Plan) -> None:
        """Registers the apps of a plan and takes the facts that its clients release later."""
        for app in plan.apps:
            self.sidecars[0].register(app)
        for worker in self._workers:
            worker.pipe.send(("prepare", *plan))
        for worker in self._workers:
            worker.receive()

    def run_load(self) -> None:
        """Starts the clients."""
        for worker in self._workers:
            worker.pipe.send(("run",))

    def stop_load(self) -> list:
        """Ends the clients and returns the calls of all, in time order."""
        for worker in self._workers:
            worker.pipe.send(("stop",))
        calls = [call for worker in self._workers for call in worker.receive()]
        return sorted(calls, key=lambda call: call.began_s)

    def observe(self, facts: set, scopes: set) -> dict[int, tuple]:
        """The state of these facts by each sidecar, and its counts."""
        for worker in self._workers:
            worker.pipe.send(("observe", facts, scopes))
        return {number: worker.receive() for number, worker in enumerate(self._workers)}


class Worker:
    """The process with the clients of one sidecar."""

    def __init__(self, sidecar: Sidecar):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=load.main, daemon=True,
                                        args=(theirs, sidecar.number, sidecar.target))
        self._process.start()
        theirs.close()

    def receive(self, timeout_s: float = 60):
        """The next message of the process."""
        if not self.pipe.poll(timeout_s):
            raise TimeoutError("the clients do not respond")
        return self.pipe.recv()

    def end(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.join()


class Sentinels(Deployment):
    """A master, its replicas and three Sentinels."""

    shards = 1

    def __init__(self, replicas: int, *rest):
        self.replicas = replicas
        redis = [f"redis{number}" for number in range(replicas + 1)]
        self.names = [*redis, *(f"sentinel{number}" for number in range(SENTINELS))]
        super().__init__(*rest)

    def url(self) -> str:
        """The store, as the sidecars are given it."""
        hosts = ",".join(f"{sentinel.address}:{SENTINEL_PORT}" for sentinel in self.sentinels)
        return f"redis-sentinel://{hosts}/{MASTER}"

    def _start_servers(self) -> None:
        hosts = self.network.hosts
        first = hosts["redis0"].address
        for name in self.names[:self.replicas + 1]:
            lines = [] if name == "redis0" else [f"replicaof {first} {PORT}"]
            self.servers.append(Server(hosts[name], self.folder, lines))
            self.servers[-1].start()
        wait_until(lambda: not self._check_replication(), FORM_TIMEOUT_S, "replicas in sync")
        for name in self.names[self.replicas + 1:]:
            self.sentinels.append(Server(hosts[name], self.folder, [
                f"port {SENTINEL_PORT}", f"sentinel monitor {MASTER} {first} {PORT} 2",
                f"sentinel down-after-milliseconds {MASTER} {DOWN_AFTER_MS}",
                f"sentinel failover-timeout {MASTER} {FAILOVER_TIMEOUT_MS}"], sentinel=True))
            self.sentinels[-1].start()

    def fail_over(self, master: Server) -> None:
        """A planned failover."""
        self.sentinels[0].call("SENTINEL", "FAILOVER", MASTER)

    def _check_agreement(self) -> str:
        [master] = self.masters()
        epochs = set()
        for sentinel in self.sentinels:
            seen = fields(sentinel.call("SENTINEL", "MASTER", MASTER))
            if (seen["ip"], seen["flags"]) != (master.address, "master"):
                return f"{sentinel.name} sees {seen['ip']} {seen['flags']}"
            counts = (int(seen["num-slaves"]), int(seen["num-other-sentinels"]))
            if counts != (self.replicas, SENTINELS - 1):
                return f"{sentinel.name} counts {counts}"
            others = [fields(other) for kind in ("REPLICAS", "SENTINELS")
                      for other in sentinel.call("SENTINEL", kind, MASTER)]
            flags = {other["flags"] for other in others}
            if not flags <= {"slave", "sentinel"}:
                return f"{sentinel.name} sees {sorted(flags)}"
            epochs.add(seen["config-epoch"])
        return "" if len(epochs) == 1 else f"epochs {sorted(epochs)}"


    def outdated(self) -> str:
        """A Sentinel that has not seen a replica's role since the last failover: it polls every ten
        seconds, and would undo the next promotion as if it were the return of an old master."""
        for sentinel in self.sentinels:
            for replica in sentinel.call("SENTINEL", "REPLICAS", MASTER):
                if fields(replica)["role-reported"] != "slave":
                    return f"{sentinel.name} sees a replica as a master"
        return ""


class Cluster(Deployment):
    """Three masters with a replica each."""

    shards = SHARDS
    names = [f"node{number}" for number in range(2 * SHARDS)]

    def url(self) -> str:
        """The store, as the sidecars are given it."""
        return "redis-cluster://" + ",".join(f"{node.address}:{PORT}" for node in self.servers)

    def _start_servers(self) -> None:
        for name in self.names:
            self.servers.append(Server(self.network.hosts[name], self.folder, [
                "cluster-enabled yes", f"cluster-node-timeout {NODE_TIMEOUT_MS}"]))
            self.servers[-1].start()
        masters, replicas = self.servers[:SHARDS], self.servers[SHARDS:]
        bounds = [16384 * shard // SHARDS for shard in range(SHARDS + 1)]
        for number, node in enumerate(self.servers):
            node.call("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            node.call("CLUSTER", "MEET", masters[0].address, PORT)
        for shard, node in enumerate(masters):
            node.call("CLUSTER", "ADDSLOTSRANGE", bounds[shard], bounds[shard + 1] - 1)
        known = len(self.servers)
        wait_until(lambda: all(len(self._nodes(node)) == known for node in self.servers),
                   FORM_TIMEOUT_S, "the nodes form a cluster", 0.1)
        for replica, master in zip(replicas, masters, strict=True):
            replica.call("CLUSTER", "REPLICATE", master.call("CLUSTER", "MYID"))

    def fail_over(self, master: Server) -> None:
        """A planned failover."""
        self.replicas_of(master)[0].call("CLUSTER", "FAILOVER")

    def _nodes(self, node: Server) -> list[list[str]]:
        return [line.split() for line in node.call("CLUSTER", "NODES").splitlines() if line]

    def _check_agreement(self) -> str:
        views = set()
        for node in self.servers:
            state = node.call("CLUSTER", "INFO").split("\r\n")[0]
            if state != "cluster_state:ok":
                return f"{node.name} says {state}"
            view = []
            for name, _address, flags, master, _ping, _pong, _epoch, link, *slots in (
                    self._nodes(node)):
                flags = flags.removeprefix("myself,")
                if flags not in ("master", "slave") or link != "connected":
                    return f"{node.name} sees {flags} {link}"
                view.append((name, flags, master, *slots))
            views.add(tuple(sorted(view)))
        return "" if len(views) == 1 else "views differ"


def _wait_until_none(reason_of, what: str) -> None:
    """Waits until `reason_of` returns no reason to wait."""
    end = time.monotonic() + HEAL_TIMEOUT_S
    while reason := reason_of():
        if time.monotonic() > end:
            raise TimeoutError(f"not {what} within {HEAL_TIMEOUT_S} s: {reason}")
        time.sleep(0.1)


def _replicas(master: Server) -> list[dict[str, str]]:
    lines = info(master.client, "replication").items()
    return [dict(pair.split("=", 1) for pair in value.split(",")) for key, value in lines
            if key.startswith("slave") and key[5:].isdigit()]


TOPOLOGIES = {
    "sentinel-1": lambda *rest: Sentinels(1, *rest),
    "sentinel-2": lambda *rest: Sentinels(2, *rest),
    "cluster": Cluster,
}
