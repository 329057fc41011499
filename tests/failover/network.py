"""Hosts of a test: network namespaces with an address each, on one switch that can be cut in two.

All hosts hang on one bridge in a namespace of its own. A cut moves the links of some hosts to a
second bridge. Every host has fixed entries for the hardware addresses of all others, so a packet
to the other side is sent and dropped: no connection is refused and nothing is reported, in both
directions. Clients and tests reach processes through Unix sockets, which a cut does not affect.
"""

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

PREFIX = "imqfo"
"""The prefix of every namespace's name, followed by the id of the process that owns it."""
LEFT, RIGHT = "left", "right"
"""The two bridges. All hosts are on the left one unless the switch is cut."""
NEEDS = ("tests/failover needs the right to make network namespaces: run it as root with iproute2 "
         "installed (on Debian: apt-get install iproute2), in a container with --privileged")


_NUMBERS = itertools.count()


class Host(NamedTuple):
    """One network namespace."""

    name: str
    namespace: str
    address: str
    hardware: str
    port: str

    def command(self, *arguments: str) -> list[str]:
        """A command line that runs a program on this host."""
        return ["ip", "netns", "exec", self.namespace, *arguments]


class Network:
    """The hosts of one deployment; use it as a context."""

    def __init__(self, names: list[str]):
        self._own = f"{PREFIX}{os.getpid()}-{next(_NUMBERS)}-"
        self._switch = f"{self._own}switch"
        self.hosts = {
            name: Host(name, f"{self._own}{name}", f"10.77.0.{number}",
                       f"02:00:00:00:00:{number:02x}", f"port{number}")
            for number, name in enumerate(names, start=11)
        }

    def __enter__(self) -> "Network":
        remove_stale()
        try:
            self._create()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        remove(self._own)

    def _create(self) -> None:
        hosts = self.hosts.values()
        ip([f"netns add {name}" for name in [self._switch, *(host.namespace for host in hosts)]])
        lines = []
        for bridge in (LEFT, RIGHT):
            lines += [f"link add {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
                      f"link set {bridge} up"]
        for host in hosts:
            lines += [f"link add {host.port} type veth peer name eth0 netns {host.namespace}",
                      f"link set {host.port} master {LEFT} up"]
        ip(lines, self._switch)
        for host in hosts:
            ip(["link set lo up", f"link set eth0 address {host.hardware}", "link set eth0 up",
                f"addr add {host.address}/24 dev eth0",
                *(f"neigh replace {other.address} lladdr {other.hardware} dev eth0 nud permanent"
                  for other in hosts if other != host)], host.namespace)

    def cut_off(self, names: list[str]) -> None:
        """Drops every packet between these hosts and all others from now on."""
        self._move(names, RIGHT)

    def heal(self) -> None:
        """Joins all hosts again."""
        self._move(list(self.hosts), LEFT)

    def _move(self, names: list[str], bridge: str) -> None:
        ip([f"link set {self.hosts[name].port} master {bridge}" for name in names], self._switch)


def ip(lines: list[str], namespace: str | None = None) -> None:
    """Runs lines of `ip`, in a namespace if one is given."""
    where = ["-n", namespace] if namespace else []
    done = subprocess.run(["ip", *where, "-batch", "-"], input="\n".join(lines), text=True,
                          capture_output=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"ip in {namespace or 'the root namespace'}: {done.stderr.strip()}")


def require_namespaces() -> None:
    """Raises a RuntimeError with the missing condition if namespaces cannot be made."""
    try:
        with Network(["probe"]) as network:
            host = network.hosts["probe"]
            subprocess.run(host.command("true"), check=True, capture_output=True)
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        raise RuntimeError(f"{NEEDS}. {error}") from error


def make_folder() -> Path:
    """A folder for the files of this run's processes.

    Its name is short, since the path of a Unix socket is limited to 107 bytes.
    """
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))


def remove_stale() -> None:
    """Removes the namespaces and folders of earlier runs whose process has ended."""
    for name in filter(_is_stale, _names()):
        remove(name)
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        if _is_stale(folder.name):
            shutil.rmtree(folder, ignore_errors=True)


def _is_stale(name: str) -> bool:
    owner = name.removeprefix(PREFIX).split("-")[0]
    return owner.isdigit() and not Path(f"/proc/{owner}").exists()


def remove(prefix: str) -> None:
    """Ends all processes in the namespaces with that prefix, and removes the namespaces."""
    for name in (name for name in _names() if name.startswith(prefix)):
        pids = subprocess.run(["ip", "netns", "pids", name], text=True, capture_output=True,
                              check=False).stdout.split()
        for pid in map(int, pids):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _names() -> list[str]:
    folder = Path("/run/netns")
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(path.name for path in found if path.name.startswith(PREFIX))
