"""The queue of endings of the Python client: failures, order, bounds, and its file."""

import os
import time

import pytest

import imquota
from app import App, names
from sidecar import Sidecar, clean_environment, wait_until
from stubs import quota_pb

FAST = imquota.Options(attempt_timeout_s=0.5, timeout_s=1.0)
DONE_WITHIN_S = 20


@pytest.fixture
def own():
    """A sidecar of the test's own, with a group of three members, and its app."""
    with Sidecar() as sidecar, App(sidecar) as app:
        app.create_group("g", "Public", "owner", ["a", "b"])
        yield sidecar, app


def restart(sidecar: Sidecar) -> None:
    """Starts a killed sidecar anew, on the same ports and store."""
    sidecar.launch(sidecar.arguments(), clean_environment())


def test_a_leave_while_the_sidecar_is_dead_is_done_once_it_is_back(own):
    sidecar, app = own
    with imquota.Client(sidecar.tcp, app.id, FAST) as quota:
        sidecar.kill()
        quota.leave_group_later("g", "a")
        wait_until(lambda: quota.counters.failed_attempts > 0, DONE_WITHIN_S, "an attempt failed")
        restart(sidecar)
        assert quota.flush(DONE_WITHIN_S)
        wait_until(lambda: app.members("g") == 2, DONE_WITHIN_S, "the member is released")


def test_a_release_is_queued_only_if_it_has_no_answer(own):
    sidecar, app = own
    with imquota.Client(sidecar.tcp, app.id, FAST) as quota:
        (left,) = quota.leave_group("g", "a", or_later=True).members
        assert (left.outcome, app.members("g")) == ("APPLIED", 2)
        quota.add_friends("a", "b")
        sidecar.kill()
        with pytest.raises(imquota.Unavailable):
            quota.leave_group("g", "b", timeout_s=0.2)
        results = [
            quota.leave_group("g", "b", or_later=True, timeout_s=0.2).members[0],
            quota.remove_friends("a", "b", or_later=True, timeout_s=0.2)[0],
            quota.dissolve_group("g", or_later=True, timeout_s=0.2).group,
            quota.delete_accounts("a", or_later=True, timeout_s=0.2)[0],
        ]
        assert {each.outcome for each in results} == {imquota.Outcome.QUEUED}
        restart(sidecar)
        assert quota.flush(DONE_WITHIN_S) and quota.counters.done == 4
        assert app.usage_or_none("g") is None


def test_a_lease_whose_end_has_no_sidecar_is_confirmed_or_released_later(own):
    sidecar, app = own
    with imquota.Client(sidecar.tcp, app.id, FAST) as quota:
        with pytest.raises(KeyError), quota.joining("g", "dropped"):
            sidecar.kill()
            raise KeyError("the commit failed")
        restart(sidecar)
        assert quota.flush(DONE_WITHIN_S)
        lease = quota.joining("g", "kept")
        with lease:
            sidecar.kill()
        assert lease.queued
        restart(sidecar)
        assert quota.flush(DONE_WITHIN_S) and quota.counters.lost == 0
        usage = quota.group_usage("g", timeout_s=DONE_WITHIN_S)["members_per_group"]
        assert (usage.used, usage.held) == (4, 0)


def test_a_take_waits_for_an_earlier_release_of_the_same_fact(own):
    sidecar, app = own
    with imquota.Client(sidecar.tcp, app.id, FAST) as quota:
        sidecar.kill()
        quota.leave_group_later("g", "a")
        with pytest.raises(imquota.Unavailable) as caught:
            quota.join_group("g", ["a"], timeout_s=0.3)
        assert caught.value.reason == "ENDING_PENDING"
        restart(sidecar)
        (joined,) = quota.join_group("g", "a", timeout_s=DONE_WITHIN_S)
        assert joined.outcome == "APPLIED", "the leave came first"
        assert len(quota.endings) == 0 and app.members("g") == 3


def test_endings_of_one_fact_are_done_in_order(own):
    sidecar, app = own
    with imquota.Client(sidecar.tcp, app.id, FAST) as quota:
        sidecar.kill()
        for number in range(20):
            quota.remove_friends_later("a", f"f{number}")
            quota.leave_group_later("g", "a")
        quota.dissolve_group_later("g")
        restart(sidecar)
        assert quota.flush(DONE_WITHIN_S) and quota.counters.done == 41
        assert app.usage_or_none("g") is None


def test_a_full_queue_is_an_error(own):
    sidecar, app = own
    options = imquota.Options(attempt_timeout_s=0.2, timeout_s=0.2, queue_max=2)
    quota = imquota.Client(sidecar.tcp, app.id, options)
    lease = quota.joining("g", "c").take(timeout_s=5)
    sidecar.kill()
    quota.leave_group_later("g", "a")
    quota.leave_group_later("g", "b")
    with pytest.raises(imquota.QueueFull):
        quota.leave_group_later("g", "owner")
    with pytest.raises(imquota.QueueFull):
        lease.confirm()
    assert quota.counters.refused == 2
    left = quota.close(timeout_s=0)
    assert [list(each.request.user_ids) for each in left] == [["a"], ["b"]]
    with pytest.raises(imquota.Closed):
        quota.leave_group("g", "a")
    with pytest.raises(imquota.Closed):
        quota.leave_group_later("g", "a")


def test_the_queue_survives_a_restart_of_the_im(own, tmp_path):
    sidecar, app = own
    file = tmp_path / "endings"
    options = imquota.Options(attempt_timeout_s=0.2, timeout_s=0.2, queue_file=file)
    quota = imquota.Client(sidecar.tcp, app.id, options)
    kept = quota.joining("g", "kept").take(timeout_s=5)
    sidecar.kill()
    kept.confirm()
    quota.leave_group_later("g", "a")
    with pytest.raises(RuntimeError, match="in use"):
        imquota.Client(sidecar.tcp, app.id, options)
    assert len(quota.close(timeout_s=0)) == 2
    assert file.stat().st_mode & 0o777 == 0o600
    # The process ended while it wrote the last line.
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"add": 3, "meth')

    restart(sidecar)
    again = imquota.Options(attempt_timeout_s=2, timeout_s=10, queue_file=file)
    with imquota.Client(sidecar.tcp, app.id, again) as quota:
        assert [each.method.name for each in quota.endings] == ["ConfirmHold", "LeaveGroup"]
        (joined,) = quota.join_group("g", "a", timeout_s=DONE_WITHIN_S)
        assert joined.outcome == "APPLIED", "the leave of the process before came first"
        assert quota.flush(DONE_WITHIN_S)
        usage = quota.group_usage("g")["members_per_group"]
        assert (usage.used, usage.held) == (4, 0)
    assert file.read_bytes() == b""
    file.write_bytes(b"not a line\n" + whole)
    with pytest.raises(ValueError, match="endings:1 is damaged"):
        imquota.Client(sidecar.tcp, app.id, again)


def test_a_large_file_is_written_anew(tmp_path):
    from imquota import queue_file, touches

    file = queue_file.QueueFile(tmp_path / "endings")
    users = names("u" * 28, 500)
    request = quota_pb.LeaveGroupRequest(app_id="demo", group_id="g", user_ids=users)
    entry = ("LeaveGroup", request.SerializeToString(), touches.of_members("g", users))
    file.add(0, entry)
    sizes = []
    for number in range(1, 60):
        file.add(number, entry)
        file.end(number)
        sizes.append((tmp_path / "endings").stat().st_size)
    assert max(sizes) < 2 << 20 and sizes[-1] < max(sizes)
    file.close()
    again = queue_file.QueueFile(tmp_path / "endings")
    assert list(again) == [(0, entry)]
    again.close()


def test_a_full_disk_is_an_error_and_leaves_whole_lines(tmp_path, monkeypatch):
    from imquota import queue_file

    def half(file: int, content: bytes) -> None:
        os.write(file, content[:len(content) // 2])
        raise OSError("no space left on device")

    options = imquota.Options(queue_file=tmp_path / "endings", timeout_s=0.2)
    quota = imquota.Client(f"unix:{tmp_path / 'missing.sock'}", "demo", options)
    quota.leave_group_later("g", "a")
    with monkeypatch.context() as patched:
        patched.setattr(queue_file, "_write", half)
        with pytest.raises(OSError):
            quota.leave_group_later("g", "b")
    quota.leave_group_later("g", "c")
    quota.close(timeout_s=0)
    again = imquota.Client(f"unix:{tmp_path / 'missing.sock'}", "demo", options)
    assert [list(each.request.user_ids) for each in again.endings] == [["a"], ["c"]]
    again.close(timeout_s=0)


def test_an_ending_that_can_never_be_done_is_reported(sidecar, tcp_app):
    lost = []
    options = imquota.Options(attempt_timeout_s=2, timeout_s=10, on_lost=lost.append)
    with imquota.Client(sidecar.tcp, tcp_app.id, options) as quota:
        quota.confirm_hold_later("nothing")
        quota.release_hold_later("nothing")
        quota.leave_group_later("g" * 300, "a")
        assert quota.flush(DONE_WITHIN_S)
        errors = [(each.method.name, each.error.reason) for each in lost]
        assert errors == [("ConfirmHold", "HOLD_NOT_FOUND"), ("LeaveGroup", "INVALID_FIELDS")]
        assert (quota.counters.lost, quota.counters.done) == (2, 1)

        # A confirmation that comes after the expiry, and that a limit denies.
        tcp_app.create_group("g", "Public", "owner")
        lease = quota.joining("g", "late", hold_s=1).take()
        wait_until(lambda: tcp_app.members("g") == 1, 10, "the hold ends")
        tcp_app.join("g", *names("m", 19))
        quota.confirm_hold_later(lease.operation_id)
        assert quota.flush(DONE_WITHIN_S)
        assert isinstance(lost[-1].error, imquota.HoldLost)
        assert lost[-1].error.denials[0].reason == "MEMBERS_PER_GROUP"


def test_an_ending_waits_for_an_earlier_one_of_the_same_fact_alone():
    from imquota import endings, wire

    queue = endings.Endings(imquota.Options())
    requests = [quota_pb.LeaveGroupRequest(group_id=group, user_ids=[user]) for group, user in [
        ("g", "a"), ("g", "a"), ("g", "b")]]
    queue.add(wire.LEAVE_GROUP, requests[0], not_before=time.monotonic() + 60)
    for request in requests[1:]:
        queue.add(wire.LEAVE_GROUP, request)
    queue.add(wire.DISSOLVE_GROUP, quota_pb.DissolveGroupRequest(group_id="g"))
    other, _ = queue.next()
    assert list(other.request.user_ids) == ["b"]
    assert queue.next()[0] is None
    queue.done(other)
    ending, wait_s = queue.next()
    assert ending is None and 50 < wait_s <= 60
    first, second, last = queue
    queue.done(first)
    assert queue.next()[0] is second and queue.next()[0] is None
    queue.done(second)
    assert queue.next()[0] is last


def test_facts_meet_if_one_contains_the_other():
    from imquota.touches import Touches, of_friends, of_group, of_members, of_users

    member, friend = of_members("g", ["a", "b"]), of_friends("a", ["b"])
    meeting = [(member, of_members("g", ["b"])), (member, of_group("g")), (member, of_users("a")),
               (friend, of_friends("b", ["a"])), (friend, of_users(["b"])),
               (of_group("g"), of_group("g")), (of_users("a"), of_users("a"))]
    apart = [(member, of_members("h", ["a"])), (member, of_members("g", ["c"])),
             (member, of_group("h")), (member, of_users("g")), (friend, of_users("c")),
             (friend, member), (of_group("a"), of_users("a")), (Touches(), member)]
    for one, other in meeting:
        assert one.meets(other) and other.meets(one)
        assert Touches.from_lists(one.as_lists()) == one
        assert (one | friend).meets(other)
    for one, other in apart:
        assert not one.meets(other) and not other.meets(one)
