"""A sidecar on a Redis that can be made unavailable, and the calls and waits of such tests."""

import time
from contextlib import ExitStack, contextmanager

import grpc

from app import App
from http_port import metric
from redis_proxy import Proxy, Redis
from sidecar import Sidecar, wait_until
from stubs import admin_pb, quota_pb

DEADLINE_S = 2.0
BACK_WITHIN_S = 30


@contextmanager
def drilled(*settings: str, sidecar_settings=()):
    """A Redis, a proxy in front of it, a sidecar, and an app."""
    with ExitStack() as stack:
        redis = stack.enter_context(Redis(*settings))
        proxy = stack.enter_context(Proxy(redis.port))
        sidecar = stack.enter_context(
            Sidecar(*sidecar_settings, store=proxy.url, management=True))
        app = stack.enter_context(App(sidecar))
        yield redis, proxy, sidecar, app


def join(app: App, group: str, *users: str, timeout: float = DEADLINE_S, mode: int = 0):
    """The whole response, and its latency in seconds."""
    request = quota_pb.JoinGroupRequest(
        app_id=app.id, group_id=group, user_ids=users, mode=mode)
    began = time.monotonic()
    answer = app.quota.JoinGroup(request, timeout=timeout)
    return answer, time.monotonic() - began


def drained(sidecar: Sidecar) -> None:
    """Waits until the journal is replayed."""
    empty = lambda: metric(sidecar.management_port, "imquota_journal_entries") == 0  # noqa: E731
    wait_until(empty, BACK_WITHIN_S, f"the journal is replayed\n{sidecar.read_log()[-3000:]}")


def admin_kind(name: str) -> int:
    return admin_pb.EventKind.Value(f"EVENT_KIND_{name}")


def events_until_now(app: App):
    stream = app.administration.WatchEvents(
        admin_pb.WatchEventsRequest(app_id=app.id, resume_token="0"), timeout=1)
    events = []
    try:
        for answer in stream:
            if answer.HasField("event"):
                events.append(answer.event)
    except grpc.RpcError:
        pass
    return events
