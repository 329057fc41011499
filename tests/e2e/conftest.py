"""Fixtures: one sidecar for all tests that need no process of their own, and an app per test."""

import pytest

from app import App
from sidecar import Sidecar


@pytest.fixture(scope="session")
def sidecar():
    """A sidecar on an embedded store; ends cleanly on SIGTERM when all tests are done."""
    with Sidecar("--reflection") as running:
        yield running


@pytest.fixture(params=["tcp", "unix"])
def app(request, sidecar):
    """An unregistered app, reached over TCP and once more over the Unix socket."""
    with App(sidecar, getattr(sidecar, request.param)) as new:
        yield new


@pytest.fixture
def tcp_app(sidecar):
    """An unregistered app, reached over TCP."""
    with App(sidecar) as new:
        yield new
