"""Invalid input: errors name every invalid field, and nothing is changed."""

from collections import Counter

import pytest

from app import APPLIED, NOT_HELD, TIMEOUT_S, App, names, outcomes
from bad_input import CASES, VALID, is_data_plane, method, request_type
from bad_input import ANY_VALUE_IS_GOOD, BATCHES
from details import INVALID_ARGUMENT, bad_fields, error_of, im_error_code
from stubs import admin_pb, quota_pb

RPCS = sorted(VALID)
UNARY_OF_QUOTA = [rpc for rpc in RPCS if is_data_plane(rpc)]
OPERATIONS = {
    field.message_type.name.removesuffix("Request"): field.name
    for field in quota_pb.ApplyRequest.DESCRIPTOR.oneofs_by_name["operation"].fields
}
GARBAGE = {
    "a varint without end": b"\xff" * 11,
    "a length beyond the body": b"\x0a\x7fabc",
    "a wire type that does not exist": b"\x0f\x01",
    "a string that is not UTF-8": b"\x0a\x02\xff\xfe",
    "a number where a string belongs": b"\x08\x01",
}


@pytest.fixture(scope="module")
def used_app(sidecar):
    """An app with usage of every kind."""
    with App(sidecar) as app:
        app.upgrade()
        app.create_accounts("u", "f", "m")
        app.add_friends("u", "f", "m")
        app.create_group("g", "Public", "u", ["f", "m"])
        yield app


@pytest.fixture
def untouched(used_app):
    """The app; its usage and purchases must be the same after the test."""
    before = _state(used_app)
    yield used_app
    assert _state(used_app) == before


def _state(app: App) -> list:
    subjects = [{}, {"user_id": "u"}, {"user_id": "f"}, {"user_id": "new"}, {"group_id": "g"}]
    usages = [
        {limit: (usage.used, usage.limit) for limit, usage in app.usages(**subject).items()
         if "per_day" not in limit}
        for subject in subjects
    ]
    return [*usages, app.admin("GetApp").app.purchases]


def _stub(app: App, rpc: str):
    return getattr(app.quota if is_data_plane(rpc) else app.administration, rpc)


def test_the_table_has_every_field_of_every_request():
    services = [
        service for module in (quota_pb, admin_pb)
        for service in module.DESCRIPTOR.services_by_name.values()
    ]
    unary = {rpc for service in services for rpc in service.methods_by_name}
    unary -= {"Apply", "Reconcile", "WatchEvents", "CreateBackup"}
    assert unary == set(VALID)
    wanted = {
        (rpc, field.name) for rpc in unary for field in request_type(rpc).DESCRIPTOR.fields
        if field.name not in ANY_VALUE_IS_GOOD
    }
    alone = [case for case in CASES if len(case.changes) == 1]
    assert {(case.rpc, case.changes[0][0]) for case in alone} == wanted


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_invalid_request_is_refused_by_its_fields_and_changes_nothing(untouched, case):
    request = case.request(untouched.id)
    error = error_of(lambda: _stub(untouched, case.rpc)(request, timeout=TIMEOUT_S))
    assert sorted(bad_fields(error)) == sorted(case.fields)
    assert im_error_code(error) == (str(case.im_error_code) if case.im_error_code else None)


def test_the_stream_names_the_same_fields_and_goes_on(untouched):
    cases = [case for case in CASES if case.rpc in OPERATIONS]
    requests = [
        quota_pb.ApplyRequest(tag=tag, **{OPERATIONS[case.rpc]: case.request(untouched.id)})
        for tag, case in enumerate(cases)
    ]
    good = {"app_id": untouched.id, "group_id": "nowhere"}
    last = quota_pb.ApplyRequest(
        tag=len(cases), dissolve_group=quota_pb.DissolveGroupRequest(**good))
    answers = list(untouched.quota.Apply(iter([*requests, last]), timeout=60))
    assert Counter(answer.tag for answer in answers) == Counter(range(len(cases) + 1))

    by_tag = {answer.tag: answer for answer in answers}
    assert by_tag.pop(len(cases)).dissolve_group.result.outcome == NOT_HELD
    for tag, answer in by_tag.items():
        case, error = cases[tag], answer.error
        assert answer.WhichOneof("answer") == "error", case
        assert (error.code, error.im_error_code) == (3, case.im_error_code), case
        named = sorted(violation.field for violation in error.field_violations)
        assert named == sorted(case.fields), case
        assert error.message, case


def test_a_request_on_the_stream_without_operation_is_refused_with_its_tag(untouched):
    join = quota_pb.JoinGroupRequest(app_id=untouched.id, group_id="g", user_ids=["u"])
    requests = [quota_pb.ApplyRequest(tag=4), quota_pb.ApplyRequest(tag=5, join_group=join)]
    answers = {a.tag: a for a in untouched.quota.Apply(iter(requests), timeout=TIMEOUT_S)}
    assert sorted(answers) == [4, 5]
    assert answers[4].error.code == 3
    assert answers[5].WhichOneof("answer") == "join_group"


def begins_with_text(rpc: str) -> bool:
    """Returns whether the first field of the RPC's request is a string."""
    first = request_type(rpc).DESCRIPTOR.fields_by_number.get(1)
    return first is not None and first.type == first.TYPE_STRING


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
@pytest.mark.parametrize("rpc", [rpc for rpc in RPCS if begins_with_text(rpc)])
def test_garbage_instead_of_a_message_is_an_invalid_argument(untouched, rpc, garbage):
    service = "QuotaService" if is_data_plane(rpc) else "AdminService"
    channel = untouched.channel if is_data_plane(rpc) else untouched.admin_channel
    call = channel.unary_unary(f"/imquota.v1.{service}/{rpc}")
    assert error_of(lambda: call(garbage, timeout=TIMEOUT_S)).code() == INVALID_ARGUMENT


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_an_operation_of_garbage_is_refused_with_its_tag_and_the_stream_goes_on(
    untouched, garbage
):
    # Field 1 of the stream's own message is the tag, field 4 an AddFriendsRequest.
    bad = b"\x08\x07" + b"\x22" + bytes([len(garbage)]) + garbage
    join = quota_pb.JoinGroupRequest(app_id=untouched.id, group_id="g", user_ids=["u"])
    good = quota_pb.ApplyRequest(tag=8, join_group=join).SerializeToString()
    call = untouched.channel.stream_stream("/imquota.v1.QuotaService/Apply")
    answers = [quota_pb.ApplyResponse.FromString(a)
               for a in call(iter([bad, good]), timeout=TIMEOUT_S)]
    by_tag = {answer.tag: answer for answer in answers}
    assert sorted(by_tag) == [7, 8]
    assert by_tag[7].error.code == 3
    assert [violation.field for violation in by_tag[7].error.field_violations] == ["operation"]
    assert by_tag[8].WhichOneof("answer") == "join_group"


@pytest.mark.parametrize(
    "message", [b"\xff", b"\x08", b"\x22\x7fshort", b"\x0f"],
    ids=["a key without end", "a tag without number", "a length beyond the message", "a wire type"])
def test_a_message_without_readable_tag_ends_the_stream_with_an_invalid_argument(
    untouched, message
):
    call = untouched.channel.stream_stream("/imquota.v1.QuotaService/Apply")
    answers = call(iter([message]), timeout=TIMEOUT_S)
    assert error_of(lambda: list(answers)).code() == INVALID_ARGUMENT


@pytest.mark.parametrize(("rpc", "field", "most", "_code"), BATCHES, ids=lambda value: str(value))
def test_a_batch_of_exactly_the_bound_is_accepted(tcp_app, rpc, field, most, _code):
    tcp_app.upgrade().buy("members-2000")
    tcp_app.create_group("g", "Public", "u")
    request = request_type(rpc)(
        **{**VALID[rpc], "app_id": tcp_app.id, field: names("x", most)})
    answer = getattr(tcp_app.quota, rpc)(request, timeout=TIMEOUT_S)
    results = answer.members if rpc == "CreateGroup" else answer.results
    takes = rpc in ("CreateAccounts", "AddFriends", "CreateGroup", "JoinGroup")
    assert outcomes(results) == [APPLIED if takes else NOT_HELD] * most


LONGEST = [" ", "~", "{app}", "a b", "a:b/c*d", '"', "\\", "'; --", "u" * 32]


def test_ids_may_use_all_printable_ascii_up_to_the_bound(tcp_app):
    users = [*LONGEST, *(chr(code) for code in range(0x21, 0x7E))]
    users = list(dict.fromkeys(users))
    tcp_app.upgrade()
    for first in range(0, len(users), 100):
        chunk = users[first : first + 100]
        assert outcomes(tcp_app.create_accounts(*chunk)) == [APPLIED] * len(chunk)
    assert tcp_app.accounts() == len(users)
    group = "g" * 48
    assert tcp_app.create_group(group, "Public", LONGEST[0], LONGEST[1:]).group.outcome == APPLIED
    assert tcp_app.members(group) == len(LONGEST)


@pytest.mark.parametrize("name", ["x" * 20_000, "群" * 1_000], ids=["long", "wide"])
def test_a_wrong_name_is_truncated_in_error_details(untouched, name):
    request = quota_pb.CreateGroupRequest(app_id=untouched.id, group_id="new", type=name)
    error = error_of(lambda: untouched.quota.CreateGroup(request, timeout=TIMEOUT_S))
    assert error.code() == INVALID_ARGUMENT
    assert 'type must be a group type, one of "Private", "Public"' in error.details()
    assert len(error.details()) < 300


def test_an_unknown_method_is_unimplemented(tcp_app):
    assert method(quota_pb, "NoSuchMethod") is None
    call = tcp_app.channel.unary_unary("/imquota.v1.QuotaService/NoSuchMethod")
    error = error_of(lambda: call(b"", timeout=TIMEOUT_S))
    assert error.code().name == "UNIMPLEMENTED"
