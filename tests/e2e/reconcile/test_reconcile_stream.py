"""Invalid Reconcile streams: the error names the field, and nothing is repaired."""

import json
import threading

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from app import TIMEOUT_S, App, names
from details import INVALID_ARGUMENT, bad_fields, error_of
from sidecar import connect, wait_until
from stubs import admin_grpc, admin_pb as pb

APPLY, IMPORT = pb.RECONCILE_MODE_APPLY, pb.RECONCILE_MODE_IMPORT
END = pb.ReconcileRequest(end=pb.ReconcileEnd())


@pytest.fixture(scope="module")
def held(sidecar):
    """An app with usage of every kind."""
    with App(sidecar) as app:
        app.upgrade()
        app.create_accounts("u", "f")
        app.add_friends("u", "f")
        app.create_group("g", "Public", "u", ["f"])
        yield app


@pytest.fixture
def untouched(held):
    """The app; its usage must be the same after the test."""
    def state() -> tuple:
        return held.accounts(), held.friends("u"), held.groups("u"), held.members("g"), \
            held.rooms("Public"), held.groups("new")

    before = state()
    yield held
    assert state() == before


def begin(app: App, **fields) -> pb.ReconcileRequest:
    """The first message: by default an import of everything."""
    has = {f"has_{section}": True for section in ("accounts", "friends", "groups")}
    return pb.ReconcileRequest(
        begin=pb.ReconcileBegin(**{"app_id": app.id, "mode": IMPORT, **has, **fields}))


def facts(**fields) -> pb.ReconcileRequest:
    """A part of an export."""
    return pb.ReconcileRequest(facts=pb.ReconcileFacts(**fields))


def group(group_id: str = "new", group_type: str = "Public", **fields) -> pb.ExportedGroup:
    """A group of an export."""
    return pb.ExportedGroup(group_id=group_id, type=group_type, **fields)


def friends(user: str, *others: str) -> pb.ExportedFriends:
    """A user's list."""
    return pb.ExportedFriends(user_id=user, friend_ids=others)


def reconcile(app: App, *messages: pb.ReconcileRequest) -> list[pb.ReconcileResponse]:
    """All responses."""
    return list(app.administration.Reconcile(iter(messages), timeout=TIMEOUT_S))


def refused(app: App, *messages: pb.ReconcileRequest) -> grpc.RpcError:
    """The error that ends the stream."""
    return error_of(lambda: reconcile(app, *messages))


BEGINS = {
    "app_id": [{"app_id": ""}, {"app_id": "a b"}, {"app_id": "a" * 65}],
    "mode": [{"mode": 4}, {"mode": -1}],
    "as_of": [{"mode": APPLY}, {"as_of": Timestamp(seconds=-1)}, {"as_of": Timestamp(nanos=-1)}],
    "begin.as_of": [{"as_of": Timestamp(seconds=250_000_000_000)}],
    "has_accounts": [{"has_accounts": False, "has_friends": False, "has_groups": False}],
}


@pytest.mark.parametrize(
    ("field", "fields"), [(field, each) for field, all_of in BEGINS.items() for each in all_of],
    ids=str)
def test_an_invalid_first_message_is_refused_by_its_field(untouched, field, fields):
    error = refused(untouched, begin(untouched, **fields), facts(account_user_ids=["new"]), END)
    assert error.code() == INVALID_ARGUMENT and list(bad_fields(error)) == [field]


FACTS = {
    "account_user_ids[1]": {"account_user_ids": ["new", "é"]},
    "friends[0].user_id": {"friends": [friends("", "new")]},
    "friends[1].friend_ids[0]": {"friends": [friends("new", "u"), friends("a", "x" * 33)]},
    "friends[0].friend_ids[1]": {"friends": [friends("new", "a", "a")]},
    "friends[0].friend_ids": {"friends": [friends("new", "new")]},
    "groups[0].group_id": {"groups": [group("g" * 49)]},
    "groups[1].type": {"groups": [group(), group("b", "public")]},
    "groups[0].member_ids[2]": {"groups": [group(member_ids=["u", "f", ""])]},
    "groups[0].member_ids[1]": {"groups": [group(member_ids=["u", "u"])]},
    "groups[0].member_ids": {"groups": [group(member_ids=names("u", 20_001))]},
    "groups[0].max_members": {"groups": [group(group_type="AVChatRoom", max_members=7)]},
    "done_account_user_ids[0]": {"done_account_user_ids": [""]},
    "done_friends_user_ids[0]": {"done_friends_user_ids": ["\u202e"]},
    "done_group_ids[0]": {"done_group_ids": [""]},
    "facts": {"account_user_ids": names("u", 10_001)},
}


@pytest.mark.parametrize(("field", "fields"), FACTS.items(), ids=str)
def test_an_invalid_part_is_refused_by_its_field_and_changes_nothing(untouched, field, fields):
    error = refused(untouched, begin(untouched), facts(**fields), END)
    assert error.code() == INVALID_ARGUMENT and list(bad_fields(error)) == [field]


def test_a_message_beyond_a_megabyte_may_have_long_ids_and_not_many_short_ones(untouched):
    first = begin(untouched, mode=pb.RECONCILE_MODE_COMPARE)
    long = facts(account_user_ids=names("u" * 240, 10_000))
    assert long.ByteSize() > 2_000_000
    assert reconcile(untouched, first, long, END)[-1].finished
    for short in [facts(account_user_ids=["u"] * 400_000), facts(groups=[pb.ExportedGroup()] * 600_000),
                  facts(friends=[friends("", *[""] * 600_000)])]:
        assert 1_000_000 < short.ByteSize() < 1_300_000
        error = refused(untouched, first, short, END)
        assert error.code() == grpc.StatusCode.OUT_OF_RANGE


@pytest.mark.parametrize("section", ["accounts", "friends", "groups"])
def test_sections_that_the_first_message_does_not_name_are_refused(untouched, section):
    parts = {"accounts": {"account_user_ids": ["new"]}, "friends": {"friends": [friends("new")]},
             "groups": {"groups": [group()]}}[section]
    error = refused(untouched, begin(untouched, **{f"has_{section}": False}), facts(**parts), END)
    assert list(bad_fields(error)) == list(parts)


def test_messages_out_of_order_are_refused(untouched):
    first = begin(untouched)
    for messages, field in [
        ([], "begin"),
        ([END], "begin"),
        ([facts()], "begin"),
        ([first, first, END], "begin"),
        ([first], "end"),
        ([first, pb.ReconcileRequest(), END], "part"),
    ]:
        error = refused(untouched, *messages)
        assert error.code() == INVALID_ARGUMENT and list(bad_fields(error)) == [field], messages


@pytest.mark.parametrize("part", [
    {"friends": [friends("u", "f")]}, {"groups": [group("g", member_ids=["u", "f"])]},
], ids=["a user", "a group"])
def test_a_subject_that_comes_twice_is_refused(untouched, part):
    twice = {field: value * 2 for field, value in part.items()}
    for messages in ([facts(**part), facts(**part)], [facts(**twice)]):
        error = refused(untouched, begin(untouched), *messages, END)
        assert list(bad_fields(error)) == ["facts"]
        assert "is in two messages" in error.details()


def test_repairs_need_changes_that_are_tracked_since_before_the_export(sidecar):
    with App(sidecar) as app:
        app.upgrade()
        now = Timestamp()
        now.GetCurrentTime()
        error = refused(app, begin(app, mode=APPLY, as_of=now), END)
        assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert "TrackChanges" in error.details()
        tracked = app.admin("TrackChanges")
        now.GetCurrentTime()
        error = refused(app, begin(app, mode=APPLY, as_of=now), END)
        assert list(bad_fields(error)) == ["begin.as_of"]
        # The audit log has the start of tracking, and no refused request.
        events = app.admin("ListAuditEvents", request_id="").events
        assert [event.action for event in events][-1] == "TrackChanges"
        assert tracked.until.seconds - tracked.since.seconds == 86_400


def test_an_import_has_a_response_per_message_and_is_logged(sidecar):
    with App(sidecar) as app:
        app.upgrade()
        part = facts(account_user_ids=["a", "b"], friends=[friends("a", "b")],
                     groups=[group("g", member_ids=["a", "b"]),
                             group("room", "AVChatRoom", member_ids=["a"])])
        answers = reconcile(app, begin(app), part, facts(), END)
        assert [answer.facts_compared for answer in answers] == [0, 7, 0, 0]
        assert answers[1].members_ignored == 1 and not answers[1].differences
        assert sum(count.count for count in answers[1].counts) == 7
        assert [answer.finished for answer in answers] == [False, False, False, True]
        assert (app.accounts(), app.friends("a"), app.friends("b")) == (2, 1, 0)
        assert (app.members("g"), app.groups("a"), app.rooms("AVChatRoom")) == (2, 1, 1)
        begun, finished = list(app.admin("ListAuditEvents", request_id="").events)[-2:]
        assert begun.action == finished.action == "Reconcile"
        assert '"begun"' in begun.after and '"finished"' in finished.after
        assert '"member missing here, repaired":2' in finished.after


@pytest.mark.parametrize("end", ["cancelled", "gone", "wrong"])
def test_an_interrupted_import_is_logged_with_its_counts(sidecar, end):
    parts, size = 40, 200
    with App(sidecar) as app:
        app.upgrade()
        exported = [facts(account_user_ids=names(f"{part}-", size)) for part in range(parts)]
        keeps_working = threading.Event()

        def messages():
            yield begin(app)
            yield from exported
            if end == "wrong":
                yield facts(account_user_ids=["too long" * 9])
            keeps_working.wait(TIMEOUT_S)

        with connect(sidecar.admin) as channel:
            answers = admin_grpc.AdminServiceStub(channel).Reconcile(messages())
            if end == "wrong":
                assert error_of(lambda: list(answers)).code() == INVALID_ARGUMENT
            else:
                # While parts are in flight and their responses are unread.
                next(answers)
                next(answers)
            if end == "cancelled":
                answers.cancel()
        keeps_working.set()

        def last():
            entry = list(app.admin("ListAuditEvents", request_id="").events)[-1]
            return entry if '"cut off"' in entry.after else None

        after = json.loads(wait_until(last, TIMEOUT_S, "the audit entry of the end").after)
        (counted,) = after["differences"].values() if after["differences"] else (0,)
        assert app.accounts() == counted and "facts_unknown" not in after
        assert counted >= size, "one part had a response"
        assert end != "wrong" or counted == parts * size


def test_late_users_are_named_in_later_responses(sidecar):
    with App(sidecar) as app:
        app.upgrade()
        app.create_accounts("a", "b")
        app.create_group("g", "Public", "a", ["b"])
        first = begin(app, mode=pb.RECONCILE_MODE_COMPARE, list_differences=True,
                      has_friends=False)
        groups = facts(groups=[group("g", member_ids=["a"])])
        answers = reconcile(app, first, groups, facts(account_user_ids=["a", "b"]), END)
        (difference,) = answers[1].differences
        assert (difference.group_id, difference.user_id) == ("g", "")
        assert difference.side == pb.DIFFERENCE_SIDE_MISSING_THERE
        (resolved,) = answers[2].resolved_users
        assert (resolved.user_id, resolved.fingerprint) == ("b", difference.user_fingerprint)
        assert app.members("g") == 2
