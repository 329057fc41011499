"""A flood of limit events of unregistered apps displaces no purchase event."""


import grpc
import pytest

from app import App
from receiver import SECRET, Receiver
from sidecar import Sidecar, wait_until
from stubs import admin_pb, quota_pb

APPS = 2000
USERS = 6
"""12,000 limit events in all, of which 10,000 are kept."""
TOLD_WITHIN_S = 120
PURCHASED = admin_pb.EVENT_KIND_PURCHASED
DROPPED = admin_pb.EVENT_KIND_EVENTS_DROPPED


@pytest.fixture
def receiver():
    """A receiver that accepts posts, unless it is shut."""
    with Receiver() as running:
        yield running


def flood(app: App) -> None:
    """Fills the friend lists of some users of unregistered apps: one limit event each."""
    friends = [f"f{number}" for number in range(20)]

    def requests():
        for number in range(APPS * USERS):
            add = quota_pb.AddFriendsRequest(
                app_id=f"made-up-{number % APPS}", user_id=f"u{number // APPS}",
                friend_ids=friends, one_way=True)
            yield quota_pb.ApplyRequest(tag=number + 1, add_friends=add)

    answers = 0
    for answer in app.quota.Apply(requests(), timeout=TOLD_WITHIN_S):
        assert not answer.HasField("error"), answer
        answers += 1
    assert answers == APPS * USERS


def appended(app: App, kind: int) -> tuple[int, int]:
    """The number of events of a kind in the log, and the last one's, by a watch from its beginning."""
    request = admin_pb.WatchEventsRequest(resume_token="0", kinds=[kind])
    found, last = 0, 0
    try:
        for answer in app.administration.WatchEvents(request, timeout=3):
            if answer.HasField("event") and answer.event.kind == kind:
                found, last = found + 1, int(answer.event.event_id)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    return found, last


def test_a_purchase_reaches_a_slow_watcher_and_the_webhook_through_a_flood(receiver, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    # Long enough that no call times out on a busy machine.
    flags = ["--webhook-url", receiver.url, "--webhook-secret-file", str(secret),
             "--request-timeout-ms", "20000"]
    receiver.open.clear()
    with Sidecar(*flags, store="memory") as sidecar, App(sidecar) as app:
        watching = app.administration.WatchEvents(admin_pb.WatchEventsRequest(resume_token="0"),
                                                  timeout=TOLD_WITHIN_S)
        app.upgrade()
        # Both changes of the upgrade are in the log before the flood.
        assert [next(watching).resume_token for _ in range(3)] == ["0", "1", "2"]
        watching.cancel()
        flood(app)
        all_of_it = (10_000, 2 + APPS * USERS)
        wait_until(lambda: appended(app, admin_pb.EVENT_KIND_LIMIT_PASSED) == all_of_it,
                   TOLD_WITHIN_S, "the flood in the log")
        late = app.admin("GrantAddOn", add_on_id="members-2000", months=1).purchase
        receiver.open.set()
        # The slow watcher resumes only now.
        at, kinds = 1, []
        slow = app.administration.WatchEvents(admin_pb.WatchEventsRequest(resume_token="1"),
                                              timeout=TOLD_WITHIN_S)
        assert next(slow).resume_token == "1"
        for answer in slow:
            event = answer.event
            kinds.append(event.kind)
            if event.kind == DROPPED:
                assert event.event_id == f"dropped-{event.first_dropped}-{event.last_dropped}"
                assert event.first_dropped == at + 1
                assert list(event.dropped_kinds) == [admin_pb.EVENT_KIND_LIMIT_PASSED]
                assert answer.missed == event.last_dropped - at
                at = event.last_dropped
            else:
                assert int(event.event_id) == at + 1
                at += 1
            assert answer.resume_token == str(at)
            if event.request_id == late.request_id:
                break
        slow.cancel()
        assert kinds[0] == PURCHASED and kinds[1] == DROPPED and kinds[-1] == PURCHASED
        assert at == APPS * USERS + 3
        # The webhook: the same events in order, with the gap.
        wait_until(lambda: receiver.taken() and receiver.taken()[-1] == at, TOLD_WITHIN_S,
                   "the webhook has the last purchase")
        assert [post.event["kind"] for post in receiver.posts if post.status == 200][:1] == [
            "EVENT_KIND_APP_CREATED"]
        told = {post.id: post.event for post in receiver.posts}
        assert told[2]["kind"] == "EVENT_KIND_PURCHASED"
        gaps = [event for event in told.values() if event["kind"] == "EVENT_KIND_EVENTS_DROPPED"]
        assert gaps and all(gap["dropped_kinds"] == ["EVENT_KIND_LIMIT_PASSED"] for gap in gaps)
        for post in receiver.posts[:10]:
            post.check()
