"""Fixtures: a sidecar with a callback listener on each store, and an IM with an app per test."""

import itertools

import pytest

import callbacks
from app import App
from callbacks import CallbackSidecar
from openim import OpenIm
from redis_proxy import Redis
from tencent import TencentIm

OPENIM_APPS = 60


class Shared:
    """A sidecar for tests that need no process of their own."""

    def __init__(self, sidecar: CallbackSidecar):
        self.sidecar = sidecar
        self.openim = itertools.chain(sidecar.callbacks[:OPENIM_APPS])
        self.tencent = sidecar.callbacks[OPENIM_APPS]


@pytest.fixture(scope="session", params=["memory", "redis"])
def shared(request):
    """The sidecar, on a store in memory and once more on Redis."""
    of_openim = [callbacks.openim() for _ in range(OPENIM_APPS)]
    settings = [*of_openim, callbacks.tencent(unavailable="refuse")]
    if request.param == "memory":
        with CallbackSidecar(*settings, store="memory") as sidecar:
            yield Shared(sidecar)
        return
    with Redis() as redis:
        store = f"redis://127.0.0.1:{redis.port}/0"
        with CallbackSidecar(*settings, store=store) as sidecar:
            yield Shared(sidecar)


@pytest.fixture
def openim(shared):
    """An OpenIM server, and its app over gRPC."""
    callback = next(shared.openim)
    with OpenIm(shared.sidecar, callback) as im, App(shared.sidecar, app_id=im.app_id) as app:
        yield im, app


@pytest.fixture
def tencent(shared):
    """An app of Tencent's IM, and the same app over gRPC."""
    with TencentIm(shared.sidecar, shared.tencent) as im:
        with App(shared.sidecar, app_id=im.app_id) as app:
            yield im, app
