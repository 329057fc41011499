"""`kill -9` and restart on the embedded store: acknowledged facts are kept, and no others."""

import itertools
import queue

import grpc

from app import ALREADY_HELD, APPLIED, DENIED, App, names, outcomes
from sidecar import Sidecar
from stubs import quota_pb

LEAST_ACKNOWLEDGED = 50
"""The responses to wait for before the kill, so that it interrupts writing."""


def everything(app: App) -> list:
    """The app's usage and purchases as text, without figures that a new day resets."""
    subjects = [{}, {"user_id": "u"}, {"user_id": "m3"}, {"group_id": "g"}, {"group_id": "own"}]
    usages = [app.usages(**subject) for subject in subjects]
    lasting = [
        [str(usage) for limit_id, usage in sorted(each.items()) if "per_day" not in limit_id]
        for each in usages
    ]
    return [*lasting, str(app.admin("GetApp").app)]


def test_two_kills_and_restarts_keep_facts_limits_and_purchases():
    with Sidecar() as sidecar:
        with App(sidecar) as app:
            app.create_accounts(*names("u", 100))
            app.add_friends("u", *names("f", 20))
            app.create_group("g", "Public", "u", names("m", 19))
            app.create_group("own", "Private", "u", max_members=2)
            app.upgrade()
            app.buy("members-2000")
            app.join("g", *names("n", 200))
            before = everything(app)
        sidecar.kill()

        sidecar.start()
        with App(sidecar, app_id=app.id) as app:
            assert everything(app) == before
            assert outcomes(app.join("g", "n7", "new")) == [ALREADY_HELD, APPLIED]
            app.leave("g", "m3", "n0")
            app.delete_accounts("u5")
            app.buy("groups-per-user-400")
            before = everything(app)
        sidecar.kill()

        sidecar.start()
        with App(sidecar, app_id=app.id) as app:
            assert everything(app) == before
            assert app.members("g") == 219
            assert outcomes(app.join("own", "a", "b")) == [APPLIED, DENIED]


def test_a_kill_in_the_middle_of_writing_keeps_every_acknowledged_fact():
    with Sidecar() as sidecar:
        with App(sidecar) as app:
            app.upgrade()
            acknowledged, sent = _write_until_killed(sidecar, app)
        assert len(acknowledged) >= LEAST_ACKNOWLEDGED

        sidecar.start()
        with App(sidecar, app_id=app.id) as app:
            held = app.accounts()
            assert len(acknowledged) <= held <= sent
            for first in range(0, len(acknowledged), 100):
                chunk = acknowledged[first : first + 100]
                assert outcomes(app.create_accounts(*chunk)) == [ALREADY_HELD] * len(chunk)
            assert app.accounts() == held, "taking a held fact takes nothing"


def _write_until_killed(sidecar: Sidecar, app: App) -> tuple[list[str], int]:
    """Creates accounts over one stream until the server dies; returns the acknowledged ones."""
    window: queue.Queue[None] = queue.Queue(maxsize=64)
    sent = 0

    def requests():
        nonlocal sent
        for tag in itertools.count():
            window.put(None)
            sent = tag + 1
            create = quota_pb.CreateAccountsRequest(app_id=app.id, user_ids=[f"u{tag}"])
            yield quota_pb.ApplyRequest(tag=tag, create_accounts=create)

    acknowledged = []
    try:
        for answer in app.quota.Apply(requests(), timeout=60):
            acknowledged.append(f"u{answer.tag}")
            window.get()
            if len(acknowledged) == LEAST_ACKNOWLEDGED:
                sidecar.kill()
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNAVAILABLE, error
    while not window.empty():  # Lets the thread that feeds the stream notice its end.
        window.get()
    return acknowledged, sent
