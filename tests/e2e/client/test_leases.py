"""Leases of the Python client: confirmed, released, denied, expired, and without answers."""

import threading

import pytest

import imquota
from app import names
from lost_answers import LosesAnswers
from sidecar import wait_until

SEATS = 20
"""The most members of a group on the trial edition."""
OPTIONS = imquota.Options(attempt_timeout_s=2.0, timeout_s=10.0)


@pytest.fixture
def quota(sidecar, tcp_app):
    """A client of an app with a group of one member."""
    tcp_app.create_group("g", "Public", "owner")
    with imquota.Client(sidecar.tcp, tcp_app.id, OPTIONS) as client:
        yield client


def seats(app, group: str = "g") -> tuple[int, int]:
    """The members of a group, and how many of them are held."""
    usage = app.usages(group_id=group)["members_per_group"]
    return usage.used, usage.held


def test_a_lease_is_confirmed_at_its_end_and_released_on_an_exception(quota, tcp_app):
    with quota.joining("g", ["a", "b"]) as lease:
        assert (lease.allowed, seats(tcp_app)) == (("a", "b"), (3, 2))
    assert [each.outcome for each in lease.confirmation] == ["CONFIRMED", "CONFIRMED"]
    assert (seats(tcp_app), lease.queued) == ((3, 0), False)
    with pytest.raises(KeyError):
        with quota.joining("g", "c"):
            raise KeyError("the commit failed")
    assert seats(tcp_app) == (3, 0)


def test_each_take_has_a_lease(quota, tcp_app):
    leases = [
        quota.registering(["a", "b"]),
        quota.befriending("a", ["b", "c"]),
        quota.creating("new", "Public", owner="a", members=["b"]),
        quota.joining("g", "a"),
    ]
    for lease in leases:
        with pytest.raises(KeyError), lease:
            raise KeyError("the commit failed")
    counts = (tcp_app.accounts(), tcp_app.friends("a"), tcp_app.groups("a"), seats(tcp_app)[0])
    assert counts == (0, 0, 0, 1)
    with quota.registering(["a", "b"]), quota.befriending("a", ["b", "c"]), quota.creating(
            "new", "Public", owner="a", members=["b"]) as creation, quota.joining("g", "a"):
        assert (creation.group.outcome, creation.allowed) == ("APPLIED", ("b",))
    counts = (tcp_app.accounts(), tcp_app.friends("a"), tcp_app.groups("a"), seats(tcp_app))
    assert counts == (2, 2, 2, (2, 0))


def test_a_denied_lease_holds_nothing_and_has_code_and_offer(quota, tcp_app):
    ran = False
    with pytest.raises(imquota.Denied) as caught, quota.joining("g", names("u", SEATS)):
        ran = True
    denied = caught.value
    assert not ran and seats(tcp_app) == (1, 0)
    assert (denied.im_error_code, denied.denial.reason) == (10014, "MEMBERS_PER_GROUP")
    (offer,) = denied.offers
    assert (offer.kind, offer.id, offer.new_limit) == ("edition", "professional", 200)
    assert [each.outcome for each in denied.results] == ["ABORTED"] * (SEATS - 1) + ["DENIED"]


def test_a_partial_lease_holds_those_that_are_admitted(quota, tcp_app):
    with quota.joining("g", names("u", SEATS + 4), partial=True) as lease:
        assert lease.allowed == tuple(names("u", SEATS - 1))
        assert len(lease.results.denied) == 5
    assert seats(tcp_app) == (SEATS, 0)
    with pytest.raises(imquota.Denied), quota.joining("g", ["x", "y"], partial=True):
        pytest.fail("nothing is admitted")


def test_a_lease_of_a_member_leaves_the_member_on_an_exception(quota, tcp_app):
    with pytest.raises(KeyError), quota.joining("g", ["owner", "new"]) as lease:
        assert [each.outcome for each in lease.results] == ["ALREADY_HELD", "APPLIED"]
        raise KeyError("the commit failed")
    assert seats(tcp_app) == (1, 0)
    # Nothing is new, so that there is no record of the hold.
    with quota.joining("g", "owner"):
        pass
    assert seats(tcp_app) == (1, 0)


def expired(app) -> None:
    """Waits until no hold lives."""
    wait_until(lambda: seats(app) == (1, 0), 10, f"the hold ends, not {seats(app)}")


def test_a_confirmation_after_the_expiry_takes_anew(quota, tcp_app):
    with quota.joining("g", "late", hold_s=1) as lease:
        expired(tcp_app)
    (result,) = lease.confirmation
    assert (result.outcome, result.user, result.group) == ("RETAKEN", "late", "g")
    assert result.expired_at is not None and seats(tcp_app) == (2, 0)


def test_a_confirmation_after_the_expiry_that_a_limit_denies_is_reported(quota, tcp_app):
    with pytest.raises(imquota.HoldLost) as caught, quota.joining("g", "late", hold_s=1) as lease:
        expired(tcp_app)
        tcp_app.join("g", *names("m", SEATS - 1))
    (lost,) = caught.value.lost
    assert (lost.outcome, lost.user) == ("DENIED", "late")
    assert caught.value.denials[0].im_error_code == 10014
    lease.confirm(force=True)
    assert seats(tcp_app) == (SEATS + 1, 0)


def test_what_another_call_has_ended_is_reported(quota, tcp_app):
    with pytest.raises(imquota.HoldLost) as caught, quota.joining("g", "left"):
        tcp_app.leave("g", "left")
    assert [each.outcome for each in caught.value.lost] == ["ENDED_OTHERWISE"]


def test_a_lease_can_be_ended_by_hand_and_by_its_id(quota, sidecar, tcp_app):
    with quota.joining("g", "a") as lease:
        lease.release()
        assert seats(tcp_app) == (1, 0)
    assert seats(tcp_app) == (1, 0)
    first = quota.joining("g", "b", operation_id="event-1").take()
    again = quota.joining("g", "b", operation_id="event-1").take()
    assert (first.results[0].repeated, again.results[0].repeated) == (False, True)
    with pytest.raises(imquota.InvalidRequest) as caught:
        quota.joining("g", "c", operation_id="event-1").take()
    assert caught.value.reason == "HOLD_DIFFERS" and seats(tcp_app) == (2, 1)
    with imquota.Client(sidecar.tcp, tcp_app.id, OPTIONS) as other:
        (confirmed,) = other.confirm_hold("event-1", relation=imquota.HoldRelation.GROUPS)
        assert (confirmed.outcome, confirmed.user) == ("CONFIRMED", "b")
    assert seats(tcp_app) == (2, 0)
    with quota.joining("g", "d", hold_s=1) as lease:
        lease.let_expire()
    wait_until(lambda: seats(tcp_app) == (2, 0), 10, "the hold ends by itself")


def client_that_loses(sidecar, app, to_lose: int, method: str = ""):
    """A client that makes two attempts, and loses answers of a method."""
    losing = LosesAnswers(to_lose, method)
    options = imquota.Options(attempt_timeout_s=1.0, timeout_s=3.0)
    return imquota.Client(sidecar.tcp, app.id, options, interceptors=[losing]), losing


def test_a_repeated_take_has_the_same_operation_id_and_counts_once(sidecar, quota, tcp_app):
    client, losing = client_that_loses(sidecar, tcp_app, 2, "JoinGroup")
    with client, client.joining("g", "a") as lease:
        takes = losing.requests[:3]
        assert len({each.operation_id for each in takes}) == 1 and len(takes) == 3
        assert lease.results[0].repeated and seats(tcp_app) == (2, 1)
    assert seats(tcp_app) == (2, 0)


def test_a_take_without_an_answer_is_released(sidecar, quota, tcp_app):
    client, losing = client_that_loses(sidecar, tcp_app, 1_000, "JoinGroup")
    with client:
        with pytest.raises(imquota.OutcomeUnknown):
            client.joining("g", "a").take(timeout_s=0.2)
        assert seats(tcp_app) == (2, 1)
        assert client.flush(10) and seats(tcp_app) == (1, 0)


def test_a_confirmation_without_an_answer_is_repeated_by_the_queue(sidecar, quota, tcp_app):
    client, losing = client_that_loses(sidecar, tcp_app, 1_000, "ConfirmHold")
    with client:
        lease = client.joining("g", "a").take()
        lease.confirm(timeout_s=0.2)
        assert lease.queued and len(client.endings) == 1
        losing.to_lose = 0
        assert client.flush(10) and seats(tcp_app) == (2, 0)
        assert (client.counters.done, client.counters.lost) == (1, 0)


def test_threads_that_take_the_last_seats_fill_the_group_exactly(quota, tcp_app):
    admitted, denied = [], []

    def join(number: int) -> None:
        try:
            with quota.joining("g", f"u{number}"):
                admitted.append(number)
        except imquota.Denied:
            denied.append(number)

    threads = [threading.Thread(target=join, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(admitted), len(denied), seats(tcp_app)) == (SEATS - 1, 41 - SEATS, (SEATS, 0))


def test_a_held_group_becomes_the_one_whose_id_the_commit_allocates(quota, tcp_app):
    with quota.creating("pending-1", "Public", owner="a", members=["b"]) as lease:
        created = quota.create_group(
            "allocated", "Public", owner="a", members=["b"], replaces="pending-1")
        assert created.group.outcome == "APPLIED"
    assert {each.outcome for each in lease.confirmation} == {"CONFIRMED"}
    assert seats(tcp_app, "allocated") == (2, 0) and tcp_app.usage_or_none("pending-1") is None


def test_a_lease_takes_once_and_before_it_is_confirmed(quota):
    lease = quota.joining("g", "a")
    with pytest.raises(RuntimeError):
        lease.confirm()
    lease.take().release()
    with pytest.raises(RuntimeError):
        lease.take()
    with pytest.raises(ValueError):
        quota.joining("g", "a", mode=imquota.Mode.CHECK_ONLY)


def test_a_client_is_not_used_across_a_fork(quota, tcp_app):
    quota._process += 1
    with pytest.raises(RuntimeError, match="fork"):
        quota.join_group("g", "a")
    quota._process -= 1
