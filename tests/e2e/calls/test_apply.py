"""The Apply stream, and many processes that contend for one limit."""

import multiprocessing
import queue
from collections import Counter

import pytest

import concurrent_clients
from app import APPLIED, DENIED, TIMEOUT_S, App, names, outcomes
from redis_proxy import Redis
from sidecar import Sidecar
from stubs import common_pb, metering_pb, quota_pb

RACERS = 4


def apply(app, requests, timeout=TIMEOUT_S):
    """Sends requests over one stream and returns the responses by tag."""
    answers = list(app.quota.Apply(iter(requests), timeout=timeout))
    counted = Counter(answer.tag for answer in answers)
    assert set(counted.values()) <= {1}, f"two responses: {counted.most_common(3)}"
    return {answer.tag: answer for answer in answers}


def results_of(answer) -> list:
    """The results of a response of any operation."""
    fields = answer.DESCRIPTOR.fields_by_name
    if "results" in fields:
        return list(answer.results)
    return [answer.group if "group" in fields else answer.result]


def test_2000_pipelined_operations_get_one_response_each_and_fill_the_limit(app):
    requests = [
        quota_pb.ApplyRequest(tag=tag, create_accounts=quota_pb.CreateAccountsRequest(
            app_id=app.id, user_ids=[f"u{tag}"]))
        for tag in range(2000)
    ]
    answers = apply(app, requests, timeout=60)
    assert sorted(answers) == list(range(2000))
    results = [answers[tag].create_accounts.results for tag in range(2000)]
    assert all(len(each) == 1 and each[0].id == f"u{tag}" for tag, each in enumerate(results))
    counted = Counter(each[0].outcome for each in results)
    assert counted == {APPLIED: 100, DENIED: 1900}
    denied = [each[0].denials[0] for each in results if each[0].outcome == DENIED]
    assert {denial.im_error_code for denial in denied} == {70398}
    assert app.accounts() == 100


def test_a_caller_far_ahead_of_the_store_gets_backpressure_and_no_error():
    ahead = 10_000
    # Time for the operations in flight on a busy machine, and not for all.
    timeout = ("--request-timeout-ms", "6000")
    with Redis() as redis, \
            Sidecar(*timeout, store=f"redis://127.0.0.1:{redis.port}") as sidecar, \
            App(sidecar) as app:
        requests = [
            quota_pb.ApplyRequest(tag=tag, create_accounts=quota_pb.CreateAccountsRequest(
                app_id=app.id, user_ids=[f"u{tag}"]))
            for tag in range(ahead)
        ]
        answers = apply(app, requests, timeout=120)
        assert sorted(answers) == list(range(ahead))
        counted = Counter(
            answer.create_accounts.results[0].outcome if answer.WhichOneof("answer") != "error"
            else str(answer.error)
            for answer in answers.values())
        assert counted == {APPLIED: 100, DENIED: ahead - 100}


def order_requests(app):
    """Pairs of a take and its release about one user each, among takes of other users.

    The joins cross 70 % of the limit of their group, which takes a script of their own.
    """
    app.create_group("near", members=[f"m{number}" for number in range(13)])
    app.create_group("far")
    pairs = []
    for number in range(300):
        friends = {"app_id": app.id, "user_id": f"f{number}", "friend_ids": ["hub"]}
        pairs.append(({"add_friends": quota_pb.AddFriendsRequest(one_way=True, **friends)},
                      {"remove_friends": quota_pb.RemoveFriendsRequest(one_way=True, **friends)}))
        if number % 60 == 59:
            member = {"app_id": app.id, "group_id": "near", "user_ids": [f"u{number}"]}
            pairs.append(({"join_group": quota_pb.JoinGroupRequest(**member)},
                          {"leave_group": quota_pb.LeaveGroupRequest(**member)}))
        join = quota_pb.JoinGroupRequest(
            app_id=app.id, group_id="far", user_ids=[f"other{number}"])
        pairs.append(({"join_group": join},))
    flat = [operation for pair in pairs for operation in pair]
    return [quota_pb.ApplyRequest(tag=tag, **operation) for tag, operation in enumerate(flat)]


@pytest.mark.parametrize("coalescing", ["auto", "always", "off"])
def test_operations_about_one_user_keep_their_order_on_a_stream_over_redis(coalescing):
    # The test is about the order, and not about the speed on a busy machine: 600 operations are
    # about one friend, and so go one after another.
    settings = ("--coalescing", coalescing, "--request-timeout-ms", "60000")
    with Redis() as redis, \
            Sidecar(*settings, store=f"redis://127.0.0.1:{redis.port}") as sidecar, \
            App(sidecar) as app:
        app.register()
        requests = order_requests(app)
        answers = apply(app, requests, timeout=60)
        for request in requests:
            operation = request.WhichOneof("operation")
            if operation in ("add_friends", "remove_friends", "leave_group"):
                results = results_of(getattr(answers[request.tag], operation))
                assert outcomes(results) == [APPLIED], (request, answers[request.tag])


def test_a_caller_who_waits_gets_each_response_before_the_next_request(tcp_app):
    waiting: queue.Queue = queue.Queue()
    stream = tcp_app.quota.Apply(iter(waiting.get, None), timeout=TIMEOUT_S)
    for tag in range(20):
        join = quota_pb.CreateAccountsRequest(app_id=tcp_app.id, user_ids=[f"u{tag}"])
        waiting.put(quota_pb.ApplyRequest(tag=tag, create_accounts=join))
        assert next(stream).tag == tag
    waiting.put(None)
    assert list(stream) == []


def test_every_operation_works_over_the_stream(tcp_app):
    app, account = tcp_app, {"app_id": tcp_app.id, "user_ids": ["u"]}
    friend = {"app_id": app.id, "user_id": "u", "friend_ids": ["f"]}
    group = {"app_id": app.id, "group_id": "g"}
    steps = [
        ("create_accounts", quota_pb.CreateAccountsRequest(
            **account, hold_seconds=60, operation_id="o1")),
        ("confirm_hold", quota_pb.ConfirmHoldRequest(app_id=app.id, operation_id="o1")),
        ("add_friends", quota_pb.AddFriendsRequest(**friend)),
        ("create_group", quota_pb.CreateGroupRequest(**group, type="Public", owner_id="u")),
        ("update_group", quota_pb.UpdateGroupRequest(**group, max_members=5)),
        ("join_group", quota_pb.JoinGroupRequest(**group, user_ids=["m"])),
        ("get_usage", quota_pb.GetUsageRequest(
            app_id=app.id, subject=common_pb.Subject(group_id="g"))),
        ("leave_group", quota_pb.LeaveGroupRequest(**group, user_ids=["m"])),
        ("join_group", quota_pb.JoinGroupRequest(
            **group, user_ids=["m"], hold_seconds=60, operation_id="o2")),
        ("release_hold", quota_pb.ReleaseHoldRequest(app_id=app.id, operation_id="o2")),
        ("dissolve_group", quota_pb.DissolveGroupRequest(**group)),
        ("remove_friends", quota_pb.RemoveFriendsRequest(**friend)),
        ("delete_accounts", quota_pb.DeleteAccountsRequest(**account)),
        ("record_logins", metering_pb.RecordLoginsRequest(
            app_id=app.id, logins=[metering_pb.Login(user_id="u")])),
    ]
    operations = set(quota_pb.ApplyRequest.DESCRIPTOR.oneofs_by_name["operation"].fields)
    assert {name for name, _ in steps} == {field.name for field in operations}

    for tag, (name, request) in enumerate(steps, start=2**63):
        (answer,) = apply(app, [quota_pb.ApplyRequest(tag=tag, **{name: request})]).values()
        assert (answer.tag, answer.WhichOneof("answer")) == (tag, name)
        inside = getattr(answer, name)
        if name == "get_usage":
            assert [(usage.used, usage.limit) for usage in inside.usages] == [(2, 5)]
            continue
        if name == "record_logins":
            assert list(inside.outcomes) == [metering_pb.METER_OUTCOME_COUNTED]
            continue
        ends = {
            "confirm_hold": quota_pb.HOLD_OUTCOME_CONFIRMED,
            "release_hold": quota_pb.HOLD_OUTCOME_RELEASED,
        }
        assert outcomes(results_of(inside)) == [ends.get(name, APPLIED)], name


def test_a_denial_on_the_stream_is_a_response_even_if_unary_denials_are_errors(tcp_app):
    tcp_app.create_groups(names("r", 10), "AVChatRoom")
    create = quota_pb.CreateGroupRequest(app_id=tcp_app.id, group_id="r10", type="AVChatRoom")
    request = quota_pb.ApplyRequest(tag=7, create_group=create)
    metadata = [("imquota-deny-as-error", "1")]
    (answer,) = tcp_app.quota.Apply(iter([request]), timeout=TIMEOUT_S, metadata=metadata)
    assert answer.create_group.group.denials[0].im_error_code == 10036


@pytest.fixture(scope="module")
def pool():
    """Processes that start together, for each race anew."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(RACERS)
    prepare = concurrent_clients.prepare
    with context.Pool(RACERS, initializer=prepare, initargs=(barrier,)) as processes:
        yield processes


@pytest.mark.parametrize("how", ["unary", "apply"])
@pytest.mark.parametrize(
    ("race", "edition", "limit"),
    [
        ("groups of a user", "trial", 50),
        ("groups of a user", "professional", 200),
        ("rooms of an app", "trial", 10),
        ("members of a group", "professional", 200),
    ],
)
def test_concurrent_processes_are_admitted_exactly_up_to_the_limit(
    sidecar, tcp_app, pool, how, race, edition, limit
):
    app = tcp_app
    if edition == "professional":
        app.upgrade()
    if race == "members of a group":
        app.create_group("arena", "Public")
    each = limit // 2  # Together they take twice the limit.
    targets = [sidecar.tcp, sidecar.unix] * (RACERS // 2)
    tasks = [(target, how, race, app.id, racer, each) for racer, target in enumerate(targets)]
    admitted = pool.map(concurrent_clients.run, tasks, chunksize=1)
    assert sum(admitted) == limit, admitted
    held = {
        "groups of a user": lambda: app.groups("racer"),
        "rooms of an app": lambda: app.rooms("AVChatRoom"),
        "members of a group": lambda: app.members("arena"),
    }
    assert held[race]() == limit
