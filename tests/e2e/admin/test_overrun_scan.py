"""Previews with a full scan over a Redis that hangs: one at a time, ended with the caller."""

import shutil
import signal
import subprocess

import grpc
import pytest

from app import App
from sidecar import Sidecar, free_ports, wait_until
from stubs import admin_pb

CALLS = 4
TIMEOUT_S = 1
"""Less than the sidecar waits for Redis, so that a preview ends only when its caller ends."""
NO_ANSWER = {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE}


@pytest.fixture
def redis(tmp_path):
    """A Redis server: its process and its port."""
    (port,) = free_ports(1)
    assert shutil.which("redis-server"), "redis-server is needed: apt-get install redis-server"
    process = subprocess.Popen(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path),
         "--save", ""],
        stdout=subprocess.DEVNULL,
    )
    try:
        cli = ["redis-cli", "-p", str(port), "PING"]
        wait_until(lambda: subprocess.run(cli, capture_output=True).returncode == 0, 20, "redis")
        yield process, port
    finally:
        process.kill()
        process.wait()


def test_one_full_scan_at_a_time_and_it_ends_with_its_caller(redis):
    process, port = redis
    with Sidecar(store=f"redis://127.0.0.1:{port}/0") as sidecar, App(sidecar) as app:
        app.upgrade()
        request = admin_pb.PreviewEntitlementRequest(app_id=app.id, everybody=True)

        def codes(count: int) -> list[grpc.StatusCode]:
            call = app.administration.PreviewEntitlement.future
            calls = [call(request, timeout=TIMEOUT_S) for _ in range(count)]
            return [call.code() for call in calls]

        process.send_signal(signal.SIGSTOP)
        try:
            found = codes(CALLS)
            assert found.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == CALLS - 1, found
            assert len(NO_ANSWER & set(found)) == 1, found
            (again,) = codes(1)
            assert again in NO_ANSWER, again
        finally:
            process.send_signal(signal.SIGCONT)
        assert app.admin("PreviewEntitlement", everybody=True).everybody
