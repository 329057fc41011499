"""A cut of the network silently drops all packets, in both directions."""

import subprocess

import pytest
from network import PREFIX, Host, Network, _names, remove_stale

SILENT, REFUSED = 124, 1
"""Exit codes: no reply in time; connection refused."""
CONNECT = "exec 3<>/dev/tcp/{}/{}"
LISTEN = "import socket; s = socket.create_server(('', 7000)); print('up', flush=True); s.accept()"

pytestmark = pytest.mark.usefixtures("namespaces")


def connect(host: Host, address: str, port: int = 7000) -> int:
    """Tries to connect for a second; returns an exit code."""
    command = host.command("timeout", "1", "bash", "-c", CONNECT.format(address, port))
    return subprocess.run(command, capture_output=True, check=False).returncode


def listen(host: Host) -> subprocess.Popen:
    """Listens on a host."""
    process = subprocess.Popen(host.command("python3", "-c", LISTEN), stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"up\n"
    return process


def test_a_cut_is_silent_in_both_directions_and_heals():
    with Network(["one", "two", "three"]) as network:
        one, two, three = network.hosts.values()
        for host in (one, two):
            listen(host)
        assert connect(three, one.address, port=7001) == REFUSED
        network.cut_off(["one", "three"])
        assert connect(two, one.address) == SILENT
        assert connect(one, two.address) == SILENT
        assert connect(two, one.address, port=7001) == SILENT
        assert connect(three, one.address) == 0, "the same side"
        network.heal()
        assert connect(one, two.address) == 0


def test_no_namespace_is_left():
    with Network(["one"]) as network:
        process = listen(network.hosts["one"])
        remove_stale()
        assert process.poll() is None, "a namespace in use was removed"
    assert process.wait(5) != 0
    stale = f"{PREFIX}4194399-one"
    subprocess.run(["ip", "netns", "add", stale], check=True)
    remove_stale()
    assert stale not in _names()
