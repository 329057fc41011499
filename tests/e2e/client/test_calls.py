"""Calls of the Python client: each operation, long lists, ids, errors, retries."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest

import imquota
from app import App, names
from lost_answers import LosesAnswers
from sidecar import Sidecar, clean_environment

OPTIONS = imquota.Options(attempt_timeout_s=5.0, timeout_s=20.0)
KILLS = 10


@pytest.fixture
def tcp_quota(sidecar, tcp_app):
    """A client of an app over TCP."""
    with imquota.Client(sidecar.tcp, tcp_app.id, OPTIONS) as client:
        yield client


def outcomes(results) -> list[str]:
    """The outcomes, as text."""
    return [str(each.outcome) for each in results]


@pytest.mark.parametrize("target", ["tcp", "unix"])
def test_every_operation(sidecar, tcp_app, target):
    with imquota.Client(getattr(sidecar, target), tcp_app.id, OPTIONS) as quota:
        assert outcomes(quota.create_accounts(["a", "b"])) == ["APPLIED", "APPLIED"]
        assert outcomes(quota.add_friends("a", ["b", "c"])) == ["APPLIED", "APPLIED"]
        created = quota.create_group("g", "Public", owner="a", members=["b"], max_members=5)
        assert (str(created.group.outcome), outcomes(created.members)) == ("APPLIED", ["APPLIED"])
        assert outcomes(quota.join_group("g", "c")) == ["APPLIED"]
        assert outcomes(quota.join_group("g", ("b", "c"))) == ["ALREADY_HELD", "ALREADY_HELD"]
        assert quota.update_group("g", 4).outcome == "APPLIED"
        usage = quota.group_usage("g")["members_per_group"]
        assert (usage.used, usage.limit, usage.source) == (3, 4, "GROUP")
        assert quota.user_usage("a")["friends_per_user"].used == 2
        assert quota.app_usage()["accounts_per_app"].used == 2
        left = quota.leave_group("g", ["c", "x"])
        assert (outcomes(left.members), left.group_reclaimed) == (["APPLIED", "NOT_HELD"], False)
        assert quota.leave_group("g", ["a", "b"]).group_reclaimed
        assert quota.dissolve_group("g").group.outcome == "NOT_HELD"
        assert outcomes(quota.remove_friends("a", "b")) == ["APPLIED"]
        yesterday = datetime.now(UTC) - timedelta(days=1)
        logins = quota.record_logins(["a", ("b", yesterday), "a"])
        assert outcomes(logins) == ["COUNTED", "COUNTED", "ALREADY_COUNTED"]
        assert quota.app_usage().history["dau"][-2:] == (1, 1)
        assert outcomes(quota.delete_accounts(["a", "b", "c"]))[:2] == ["APPLIED", "APPLIED"]
        assert quota.report_bandwidth([("mainland", 100)]) == ["COUNTED"]
        assert list(quota.join_group("none", [])) == []


def test_a_take_is_whole_unless_it_is_partial(tcp_quota, tcp_app):
    quota = tcp_quota
    quota.create_group("g", "Public", owner="owner")
    with pytest.raises(imquota.Denied) as caught:
        quota.join_group("g", names("u", 20))
    assert outcomes(caught.value.results) == ["ABORTED"] * 19 + ["DENIED"]
    assert caught.value.im_error_code == 10014 and tcp_app.members("g") == 1
    results = quota.join_group("g", names("u", 20), partial=True)
    assert results.allowed == tuple(names("u", 19)) and results.denied[0].id == "u19"
    with pytest.raises(imquota.Denied):
        quota.join_group("g", "one")
    shadow = quota.join_group("g", "one", mode=imquota.Mode.SHADOW)
    assert outcomes(shadow) == ["APPLIED"] and shadow.denials[0].reason == "MEMBERS_PER_GROUP"
    quota.create_group("h", "Public", owner="owner", members=["x"])
    with pytest.raises(imquota.Denied) as caught:
        quota.create_group("i", "Public", owner="owner", members=names("m", 20))
    assert outcomes(caught.value.results)[0] == "ABORTED" and tcp_app.usage_or_none("i") is None


def test_long_lists_are_split_and_their_results_joined_in_order(tcp_quota, tcp_app):
    quota = tcp_quota
    tcp_app.upgrade()
    tcp_app.buy("members-2000")
    users = names("u", 1200)
    created = quota.create_group("g", "Public", owner="owner", members=users[:1100], partial=True)
    assert [each.id for each in created.members] == users[:1100]
    assert set(outcomes(created.members)) == {"APPLIED"} and tcp_app.members("g") == 1101
    assert [each.id for each in quota.join_group("g", users, partial=True)] == users
    assert tcp_app.members("g") == 1201
    assert outcomes(quota.leave_group("g", users).members) == ["APPLIED"] * 1200
    assert outcomes(quota.create_accounts(users, partial=True)) == ["APPLIED"] * 1200
    logins = quota.record_logins(users)
    assert outcomes(logins) == ["COUNTED"] * 1200

    # All or nothing beyond one step: under holds that are confirmed together.
    assert outcomes(quota.join_group("g", users)) == ["APPLIED"] * 1200
    usage = quota.group_usage("g")["members_per_group"]
    assert (usage.used, usage.held) == (1201, 0)
    more = names("v", 900)
    with pytest.raises(imquota.Denied) as caught:
        quota.join_group("g", more)
    assert [each.id for each in caught.value.results] == more
    assert caught.value.results[0].outcome == "ABORTED"
    usage = quota.group_usage("g")["members_per_group"]
    assert (usage.used, usage.held) == (1201, 0)
    with quota.joining("g", more[:700]) as lease:
        assert len(lease.operation_ids) == 2 and lease.allowed == tuple(more[:700])
    usage = quota.group_usage("g")["members_per_group"]
    assert (usage.used, usage.held) == (1901, 0)


def test_a_list_that_is_too_long_for_the_catalog_is_split_further(sidecar, tcp_app):
    wide = imquota.Options(
        attempt_timeout_s=5.0, timeout_s=20.0, bounds=imquota.Bounds(accounts=5000, members=9000))
    with imquota.Client(sidecar.tcp, tcp_app.id, wide) as quota:
        results = quota.create_accounts(names("u", 150), partial=True)
        assert [each.id for each in results] == names("u", 150)
        assert len(results.allowed) == 100 and len(results.denied) == 50


def test_an_error_names_the_field_in_the_list_of_the_caller(tcp_quota, tcp_app):
    tcp_app.upgrade()
    users = names("u", 700)
    users[650] = "x" * 33
    tcp_quota.create_group("g", "AVChatRoom", owner="owner")
    with pytest.raises(imquota.InvalidRequest) as caught:
        tcp_quota.join_group("g", users, partial=True)
    (violation,) = caught.value.field_violations
    assert violation.field == "user_ids[650]" and "32 bytes" in violation.description
    assert caught.value.reason == "INVALID_FIELDS"


def test_errors_have_types_and_reasons(tcp_quota):
    quota = tcp_quota
    quota.create_group("g", "Public", owner="owner")
    errors = [
        (imquota.NotFound, "GROUP_NOT_FOUND", lambda: quota.join_group("none", "a")),
        (imquota.NotFound, "HOLD_NOT_FOUND", lambda: quota.confirm_hold("none")),
        (imquota.AlreadyExists, "GROUP_TYPE_DIFFERS", lambda: quota.create_group("g", "Private")),
        (imquota.PreconditionFailed, "CANNOT_REPLACE",
         lambda: quota.create_group("h", "Public", replaces="g")),
        (imquota.InvalidRequest, "INVALID_FIELDS", lambda: quota.create_group("@TGS#1", "Public")),
    ]
    for kind, reason, call in errors:
        with pytest.raises(kind) as caught:
            call()
        assert caught.value.reason == reason and caught.value.message
    quota.create_group("@TGS#1", "Public", allocated_by_im=True)


def test_ids_are_mapped_and_come_back_in_results(sidecar, tcp_app):
    options = imquota.Options(
        attempt_timeout_s=5.0, timeout_s=20.0, ids=imquota.HashedIds())
    group = "!" + "r" * 60 + ":example.org"
    users = [f"@{'u' * 40}{number}:example.org" for number in range(30)]
    with imquota.Client(sidecar.tcp, tcp_app.id, options) as quota:
        assert quota.create_group(group, "Public", owner="short").group.id == group
        results = quota.join_group(group, users, partial=True)
        assert [each.id for each in results] == users and len(results.allowed) == 19
        assert results.denials[0].subject == imquota.Subject("group", group)
        quota.leave_group(group, users[0])
        with quota.joining(group, users[20]) as lease:
            pass
        assert [(each.user, each.group) for each in lease.confirmation] == [(users[20], group)]
        assert quota.group_usage(group)["members_per_group"].used == 20
        assert tcp_app.groups("short") == 1, "an id that fits stays"


def test_hashed_ids_fit_and_never_collide():
    ids = imquota.HashedIds()
    shortened = ids.user("@" + "é" * 40)
    assert len(shortened) == 32 and shortened.isascii() and shortened.startswith("@________~")
    assert ids.user(shortened) != shortened, "an id that looks like a shortened one"
    assert ids.user("a" * 32) == "a" * 32 and len(ids.group("g" * 49)) == 48
    assert ids.user("é") != ids.user("è")
    with pytest.raises(ValueError):
        imquota.HashedIds(user_bytes_max=10)


def test_a_lost_answer_is_repeated_and_counts_once(sidecar, tcp_app):
    losing = LosesAnswers(1)
    options = imquota.Options(attempt_timeout_s=1.0, timeout_s=20.0)
    with imquota.Client(sidecar.tcp, tcp_app.id, options, interceptors=[losing]) as quota:
        quota.create_group("g", "Public", owner="owner")
        losing.to_lose = 2
        assert outcomes(quota.join_group("g", "a")) == ["ALREADY_HELD"]
        losing.to_lose = 1_000
        with pytest.raises(imquota.OutcomeUnknown) as caught:
            quota.join_group("g", "b", timeout_s=0.2)
        assert caught.value.code == "UNAVAILABLE" and caught.value.done_until > 0
        assert tcp_app.members("g") == 3


def test_an_opposite_call_waits_until_no_attempt_can_be_carried_out(sidecar, tcp_app):
    """A request that a device between both keeps may arrive after its repetition was answered."""
    losing = LosesAnswers(0)
    options = imquota.Options(attempt_timeout_s=0.8, timeout_s=10.0)
    with imquota.Client(sidecar.tcp, tcp_app.id, options, interceptors=[losing]) as quota:
        quota.create_group("g", "Public", owner="owner")
        for lost, opposite, waits in [
                (lambda: quota.join_group("g", "a"), lambda: quota.leave_group("g", "a"), True),
                (lambda: quota.leave_group("g", "a"), lambda: quota.join_group("g", "a"), True),
                (lambda: quota.join_group("g", "b"), lambda: quota.leave_group("g", "a"), False),
                (lambda: quota.add_friends("a", "b"), lambda: quota.delete_accounts("b"), True),
                (lambda: quota.join_group("g", "c"), lambda: quota.dissolve_group("g"), True)]:
            losing.to_lose = 1
            lost()
            first, _ = losing.times[-2:]
            opposite()
            assert (losing.times[-1] - first > 0.75) is waits
        assert tcp_app.usage_or_none("g") is None


def test_a_deadline_bounds_a_call_without_a_sidecar(tmp_path):
    with imquota.Client(f"unix:{tmp_path / 'missing.sock'}", "demo") as quota:
        began = datetime.now(UTC)
        with pytest.raises(imquota.Unavailable):
            quota.join_group("g", "a", timeout_s=0.4)
        assert timedelta(seconds=0.2) < datetime.now(UTC) - began < timedelta(seconds=3)


@pytest.mark.parametrize("target", ["tcp", "unix"])
def test_every_join_survives_a_kill_with_an_immediate_restart(target):
    app_id = f"restarted-{uuid.uuid4().hex[:8]}"
    with Sidecar() as sidecar, imquota.Client(getattr(sidecar, target), app_id, OPTIONS) as quota:
        quota.create_group("g", "Public", owner="owner")
        for number in range(KILLS):
            if number % 2:
                with quota.joining("g", f"u{number}"):
                    sidecar.kill()
                    sidecar.launch(sidecar.arguments(), clean_environment())
            else:
                sidecar.kill()
                sidecar.launch(sidecar.arguments(), clean_environment())
                quota.join_group("g", f"u{number}")
        assert quota.flush(20)
        with App(sidecar, app_id=app_id) as app:
            usage = app.usages(group_id="g")["members_per_group"]
            assert (usage.used, usage.held) == (KILLS + 1, 0)


def test_a_token_is_not_sent_in_the_clear():
    with pytest.raises(ValueError, match="in the clear"):
        imquota.Client("example.org:50051", "demo", imquota.Options(token="secret"))
    for address in ("127.0.0.1:1", "localhost:1", "[::1]:1", "unix:/run/imquota.sock"):
        imquota.Client(address, "demo", imquota.Options(token="secret")).close()
