"""One admin caller cannot exhaust the watches, reconciliations or previews that others need."""

import hashlib
import queue
from contextlib import contextmanager

import grpc
import pytest

from app import TIMEOUT_S, App, names
from details import error_info, error_of
from sidecar import Sidecar, wait_until
from stubs import admin_pb as pb

TOKENS = {"ann": "a" * 40, "bob": "b" * 40}
WATCHES = 64
RECONCILIATIONS = 4


@contextmanager
def guarded(tmp_path):
    """A sidecar whose admin listener requires tokens, and an app on it."""
    tokens = tmp_path / "tokens"
    line = "{} owner sha256:{}\n".format
    tokens.write_text("".join(line(name, hashlib.sha256(token.encode()).hexdigest())
                              for name, token in TOKENS.items()))
    with Sidecar("--admin-tokens-file", str(tokens), store="memory") as sidecar:
        with App(sidecar) as app:
            create = pb.CreateAppRequest(app_id=app.id, request_id="create")
            app.administration.CreateApp(create, timeout=TIMEOUT_S, metadata=as_("ann"))
            yield app


def as_(name: str):
    """The metadata with a caller's token."""
    return [("authorization", f"Bearer {TOKENS[name]}")]


def watch(app: App, name: str):
    """A watch that has received its first response."""
    call = app.administration.WatchEvents(pb.WatchEventsRequest(), metadata=as_(name))
    next(call)
    return call


def reconcile(app: App, name: str):
    """A started comparison that waits for its first part."""
    wanted = pb.ReconcileBegin(app_id=app.id, has_accounts=True,
                               mode=pb.RECONCILE_MODE_COMPARE)

    requests = queue.SimpleQueue()
    requests.put(pb.ReconcileRequest(begin=wanted))
    call = app.administration.Reconcile(iter(requests.get, None), metadata=as_(name))
    call.add_callback(lambda: requests.put(None))
    next(call)
    return call


@pytest.mark.parametrize(("begin", "rpc", "most"), [
    (watch, "WatchEvents", WATCHES), (reconcile, "Reconcile", RECONCILIATIONS)])
def test_one_caller_gets_at_most_half_of_the_calls(tmp_path, begin, rpc, most):
    with guarded(tmp_path) as app:
        calls = [begin(app, "ann") for _ in range(most // 2)]
        refused = error_of(lambda: begin(app, "ann"))
        assert refused.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert f'"ann" has {most // 2} calls of {rpc} in flight' in refused.details()
        info = error_info(refused)
        assert (info.reason, dict(info.metadata)) == (
            "TOO_MANY_CALLS", {"max": str(most // 2), "caller": "ann"})
        calls += [begin(app, "bob") for _ in range(most // 2)]
        refused = error_of(lambda: begin(app, "bob"))
        assert f"{most} calls of {rpc} are in flight" in refused.details()
        assert dict(error_info(refused).metadata) == {"max": str(most)}

        calls.pop(0).cancel()

        def makes_room() -> bool:
            try:
                calls.append(begin(app, "ann"))
            except grpc.RpcError:
                return False
            return True

        wait_until(makes_room, TIMEOUT_S, "an ended call is no longer counted")
        for call in calls:
            call.cancel()


def test_previews_of_one_caller_are_bounded_and_those_of_another_go_on(tmp_path):
    with guarded(tmp_path) as app:
        large = pb.PreviewEntitlementRequest(app_id=app.id, user_ids=names("u", 1000),
                                             group_ids=names("g", 1000))
        preview = app.administration.PreviewEntitlement
        many = [preview.future(large, timeout=TIMEOUT_S, metadata=as_("ann")) for _ in range(40)]
        of_other = preview(pb.PreviewEntitlementRequest(app_id=app.id), timeout=TIMEOUT_S,
                           metadata=as_("bob"))
        assert of_other.HasField("now")
        codes = [call.code() for call in many]
        refused = codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert codes.count(grpc.StatusCode.OK) == len(many) - refused >= 16
        assert refused > 0
