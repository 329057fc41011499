"""A table of invalid requests: every field of every RPC, invalid in every possible way.

A case is a valid request with one invalid field, and the field that the error must name.
"""

from dataclasses import dataclass
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from app import names
from stubs import admin_pb, common_pb, quota_pb

APP_IDS = ["", "a" * 65, "应用", "a\x00b", "a/b", "a b", "{a}", "a:b"]
USER_IDS = ["", "u" * 256, "a\nb", "\x00", "\x7f", "\x1f", "\u202e", "户\u2028"]
GROUP_IDS = ["", "g" * 256, "a\tb", "\x7f", "群\u2066"]
TAKEN_USER_IDS = [*USER_IDS, "u" * 33, "用户", "é"]
"""Those that the built-in catalog does not allow; releases and reads accept what others allow."""
TAKEN_GROUP_IDS = [*GROUP_IDS, "g" * 49, "群"]
TAKES = ["CreateAccounts", "AddFriends", "CreateGroup", "JoinGroup"]
REQUEST_IDS = ["", "r" * 65, "é", "a\x1fb", "\x7f"]
CATALOG_IDS = ["", "no-such-thing", "x" * 1000, "专业版", "a\nb"]
MODES = [5, 99, -1, 2**31 - 1]
MONTHS = [0, 25, 2**32 - 1]
LIMITS = [1_000_000_001, 2**64 - 1]
DAYS = ["", "2019-02-30", "someday", "2019-2-1", "12019-01-01", "2019-01-01", "2999-01-01"]
NOTES = ["", "n" * 1001, "a\nb", "\u202e"]
DISPLAY_NAMES = ["n" * 201, "a\nb", "\u202e"]
PRICES_FEN = [-1, -2**63, 10**12 + 1, 2**63 - 1]
ACCOUNTS_MAX, MEMBERS_MAX, FRIENDS_MAX = 100, 500, 1000
TOO_MANY_ACCOUNTS, TOO_MANY_MEMBERS = 70206, 10005

APP = {"app_id": "app-of-the-table"}
GROUP = {**APP, "group_id": "g"}
VALID: dict[str, dict[str, Any]] = {
    "CreateAccounts": {**APP, "user_ids": ["new"]},
    "DeleteAccounts": {**APP, "user_ids": ["u"]},
    "AddFriends": {**APP, "user_id": "u", "friend_ids": ["new"]},
    "RemoveFriends": {**APP, "user_id": "u", "friend_ids": ["f"]},
    "CreateGroup": {
        **APP, "group_id": "new", "type": "Public", "owner_id": "u", "member_ids": ["m"],
    },
    "UpdateGroup": {**GROUP, "max_members": 7},
    "JoinGroup": {**GROUP, "user_ids": ["new"]},
    "LeaveGroup": {**GROUP, "user_ids": ["u"]},
    "DissolveGroup": GROUP,
    "GetUsage": {**APP, "subject": common_pb.Subject(user_id="u")},
    "ConfirmHold": {**APP, "operation_id": "o", "relation": 3},
    "ReleaseHold": {**APP, "operation_id": "o", "relation": 3},
    "CreateApp": {**APP, "request_id": "new"},
    "PurchaseEdition": {**APP, "request_id": "new", "edition_id": "professional", "months": 1},
    "RenewEdition": {**APP, "request_id": "new", "months": 1},
    "GrantAddOn": {**APP, "request_id": "new", "add_on_id": "members-2000", "months": 1},
    "GrantLimit": {**APP, "request_id": "new", "limit_id": "groups_per_user", "limit": 500,
                   "months": 1, "note": "contract 7"},
    "RefundPurchase": {**APP, "request_id": "new", "purchase_request_id": "r"},
    "ChangeEdition": {**APP, "request_id": "new", "edition_id": "professional", "months": 1},
    "ExchangeAddOn": {**APP, "request_id": "new", "replaced_add_on_id": "members-2000",
                      "add_on_id": "members-6000", "months": 1},
    "UpdateApp": {**APP, "request_id": "new", "display_name": "Acme"},
    "GetApp": APP,
    "ListApps": {},
    "GetCatalog": {},
    "PreviewEntitlement": {**APP, "user_ids": ["u"], "group_ids": ["g"]},
    "ListAuditEvents": APP,
    "ListTopDenials": APP,
    "ActivateCatalog": {"request_id": "new", "version": "2019-08-09"},
    "TrackChanges": APP,
    "AcceptClock": {"request_id": "new"},
    "GetStoreState": {},
    "AcceptStore": {"request_id": "new"},
    "ListSetAsideOperations": {},
    "DeleteSetAsideOperations": {"request_id": "new", "through_number": 1},
    "ListJournalEntries": {},
    "RetryJournalEntry": {"request_id": "new", "number": 1},
    "DropJournalEntry": {"request_id": "new", "number": 1},
}
"""A valid request of each RPC."""

ANY_VALUE_IS_GOOD = {"one_way", "group_id_allocated_by_im", "actor", "everybody", "only_blocked",
                     "all_or_nothing", "max_sum_fen"}
"""Fields without invalid values."""

INSTANTS = [Timestamp(seconds=-1), Timestamp(seconds=2**62), Timestamp(seconds=1, nanos=-1)]
KEPT_FOR = [Duration(seconds=59), Duration(seconds=7 * 86_400 + 1), Duration(seconds=-60),
            Duration(seconds=2**62)]
PAGE_SIZES = [1001, 2**32 - 1]


def method(service, rpc: str):
    """The descriptor of an RPC in a module's only service, or `None`."""
    (described,) = service.DESCRIPTOR.services_by_name.values()
    return described.methods_by_name.get(rpc)


def is_data_plane(rpc: str) -> bool:
    """Returns whether the RPC belongs to QuotaService; if not, it belongs to AdminService."""
    return method(quota_pb, rpc) is not None


def request_type(rpc: str):
    """The request's message class."""
    return getattr(quota_pb if is_data_plane(rpc) else admin_pb, f"{rpc}Request")


@dataclass(frozen=True)
class Case:
    """An invalid request and the expected error."""

    rpc: str
    fields: tuple[str, ...]
    changes: tuple[tuple[str, Any], ...]
    im_error_code: int = 0

    def request(self, app_id: str):
        """The request, for that app unless the app id is the invalid field."""
        values = {**VALID[self.rpc], "app_id": app_id, **dict(self.changes)}
        if "app_id" not in request_type(self.rpc).DESCRIPTOR.fields_by_name:
            del values["app_id"]
        return request_type(self.rpc)(**values)

    def __str__(self) -> str:
        shown = ",".join(f"{name}={_short(value)}" for name, value in self.changes)
        return f"{self.rpc}-{shown}"


def _short(value: Any) -> str:
    if isinstance(value, list) and len(value) > 5:
        return f"{len(value)} items"
    text = ascii(value).replace("\\n", " ").strip()
    return text if len(text) <= 40 else f"{text[:16]}...({len(text)})"


def case(rpc: str, field: str, value: Any, named: str | None = None, code: int = 0) -> Case:
    """The valid request with `field` set to `value`; the error names `named`."""
    return Case(rpc, (named or field,), ((field, value),), code)


def _scalars() -> list[Case]:
    bad = {
        "app_id": APP_IDS, "user_id": USER_IDS, "group_id": GROUP_IDS, "owner_id": USER_IDS,
        "mode": MODES, "request_id": REQUEST_IDS, "months": MONTHS, "edition_id": CATALOG_IDS,
        "purchase_request_id": REQUEST_IDS, "effective_at": INSTANTS, "at": INSTANTS,
        "from": INSTANTS, "until": INSTANTS, "page_size": PAGE_SIZES, "page_token": ["x y", "-"],
        "action": ["Sell", "grantaddon"], "renew_edition_months": MONTHS,
        "refund_purchase_request_id": REQUEST_IDS, "keep_for": KEPT_FOR,
        "version": ["", "x" * 65, "unheard-of"],
        "content_hash": ["x", "A" * 64, "0" * 65, "0" * 64],
        "found_store_id": ["x", "g" * 32, "0" * 31, "0" * 33],
        "replaces_group_id": GROUP_IDS[1:],
        "number": [0], "through_number": [0], "relation": [4, -1, 2**31 - 1],
        "add_on_id": CATALOG_IDS, "replaced_add_on_id": CATALOG_IDS,
        "limit_id": CATALOG_IDS, "limit": LIMITS, "until_date": DAYS, "note": NOTES,
        "display_name": DISPLAY_NAMES, "im_code_set": ["x" * 65, "unheard-of"],
        "price_fen": PRICES_FEN,
        "type": [*CATALOG_IDS, "public", "PUBLIC"], "max_members": [0],
    }
    return [
        case(rpc, field.name, value)
        for rpc in VALID
        for field in request_type(rpc).DESCRIPTOR.fields
        for value in bad_values(rpc, field.name, bad)
        if not field.is_repeated and not is_absent(rpc, field.name, value)
    ]


def bad_values(rpc: str, field: str, bad: dict[str, list]) -> list:
    """The invalid values of a field; of ids, more for takes."""
    taken = {"user_id": TAKEN_USER_IDS, "owner_id": TAKEN_USER_IDS, "group_id": TAKEN_GROUP_IDS}
    return {**bad, **(taken if rpc in TAKES else {})}.get(field, [])


def is_absent(rpc: str, field: str, value: Any) -> bool:
    """Returns whether the value means an absent filter, or a valid token."""
    filtered = rpc in ("ListAuditEvents", "ListTopDenials") or field == "app_id" and rpc in (
        "RetryJournalEntry", "DropJournalEntry")
    return filtered and value == "" or (rpc, field, value) in (
        ("ListApps", "page_token", "-"), ("UpdateApp", "note", ""))


BATCHES = [
    ("CreateAccounts", "user_ids", ACCOUNTS_MAX, TOO_MANY_ACCOUNTS),
    ("DeleteAccounts", "user_ids", ACCOUNTS_MAX, TOO_MANY_ACCOUNTS),
    ("AddFriends", "friend_ids", FRIENDS_MAX, 0),
    ("RemoveFriends", "friend_ids", FRIENDS_MAX, 0),
    ("CreateGroup", "member_ids", MEMBERS_MAX, TOO_MANY_MEMBERS),
    ("JoinGroup", "user_ids", MEMBERS_MAX, TOO_MANY_MEMBERS),
    ("LeaveGroup", "user_ids", MEMBERS_MAX, TOO_MANY_MEMBERS),
]


def _batches() -> list[Case]:
    cases = []
    for rpc, field, most, code in BATCHES:
        if field != "member_ids":
            cases.append(case(rpc, field, []))
        cases.append(case(rpc, field, names("x", most + 1), code=code))
        cases.append(case(rpc, field, names("x", most * 3), code=code))
        for bad in TAKEN_USER_IDS if rpc in TAKES else USER_IDS:
            cases.append(case(rpc, field, ["a", "b", "c", bad, "d"], f"{field}[3]"))
        cases.append(
            Case(rpc, (f"{field}[0]", f"{field}[2]"), ((field, ["", "ok", "x" * 256]),))
        )
    return cases


def _rules() -> list[Case]:
    friends = ["AddFriends", "RemoveFriends"]
    def preview(field: str, part: str, message) -> Case:
        return case("PreviewEntitlement", field, message, f"{field}.{part}")

    edition, add_on = admin_pb.PreviewedEdition, admin_pb.PreviewedAddOn
    exchange, limit = admin_pb.PreviewedExchange, admin_pb.PreviewedLimit
    return [
        *[preview("purchase_edition", "months", edition(edition_id="professional", months=bad))
          for bad in MONTHS],
        preview("purchase_edition", "edition_id", edition(edition_id="", months=1)),
        *[preview("grant_add_on", "months", add_on(add_on_id="members-2000", months=bad))
          for bad in MONTHS],
        preview("grant_add_on", "add_on_id", add_on(add_on_id="", months=1)),
        *[preview("change_edition", "months", edition(edition_id="professional", months=bad))
          for bad in MONTHS],
        preview("exchange_add_on", "replaced_add_on_id",
                exchange(replaced_add_on_id="", add_on_id="members-6000", months=1)),
        preview("exchange_add_on", "add_on_id",
                exchange(replaced_add_on_id="members-2000", add_on_id="", months=1)),
        *[preview("exchange_add_on", "months", exchange(
            replaced_add_on_id="members-2000", add_on_id="members-6000", months=bad))
          for bad in MONTHS],
        preview("grant_limit", "limit_id", limit(limit_id="", limit=5, months=1)),
        preview("grant_limit", "limit", limit(limit_id="groups_per_user", months=1)),
        preview("grant_limit", "limit",
                limit(limit_id="groups_per_user", unlimited=False, months=1)),
        preview("grant_limit", "months", limit(limit_id="groups_per_user", limit=5)),
        *[preview("grant_limit", "months", limit(limit_id="groups_per_user", limit=5, months=bad))
          for bad in MONTHS],
        preview("grant_limit", "until_date",
                limit(limit_id="groups_per_user", limit=5, until_date="someday")),
        # The price of nothing.
        case("PreviewEntitlement", "price_fen", 5),
        case("GrantLimit", "unlimited", False, "limit"),
        *[case("PreviewEntitlement", "user_ids", ["a", bad], "user_ids[1]") for bad in USER_IDS],
        *[case("PreviewEntitlement", "group_ids", ["a", bad], "group_ids[1]")
          for bad in GROUP_IDS],
        case("PreviewEntitlement", "user_ids", names("x", 1001)),
        case("PreviewEntitlement", "group_ids", names("x", 1001)),
        case("CreateGroup", "group_id", "@TGS#1ABC"),
        case("CreateGroup", "replaces_group_id", VALID["CreateGroup"]["group_id"]),
        Case("CreateGroup", ("max_members",), (("type", "AVChatRoom"), ("max_members", 5))),
        *[case(rpc, "friend_ids", ["a", "u"], "friend_ids[1]") for rpc in friends],
        *[
            Case(rpc, ("friend_ids[0]", "friend_ids[2]"), (("friend_ids", ["u", "a", "u"]),))
            for rpc in friends
        ],
    ]


HOLDING = ["CreateAccounts", "AddFriends", "CreateGroup", "JoinGroup"]
ENDING = ["ConfirmHold", "ReleaseHold"]


def _holds() -> list[Case]:
    def held(rpc: str, *named: str, seconds: int, operation: str = "o", **more) -> Case:
        fields = {"hold_seconds": seconds, "operation_id": operation, **more}
        return Case(rpc, named, tuple(fields.items()))

    takes = [
        each for rpc in HOLDING for each in (
            # One without the other.
            case(rpc, "hold_seconds", 1, "operation_id"),
            case(rpc, "operation_id", "o", "hold_seconds"),
            *[held(rpc, "hold_seconds", seconds=bad) for bad in (0, 3601, 2**32 - 1)],
            *[held(rpc, "operation_id", seconds=1, operation=bad) for bad in REQUEST_IDS],
            held(rpc, "hold_seconds", "operation_id", seconds=0, operation="用户"),
        )
    ]
    return [
        *takes,
        held("AddFriends", "friend_ids", seconds=1, friend_ids=names("x", 501)),
        *[case(rpc, "operation_id", bad) for rpc in ENDING for bad in REQUEST_IDS],
        # Dry runs confirm nothing.
        *[case("ConfirmHold", "mode", mode) for mode in (2, 3)],
    ]


def _subjects() -> list[Case]:
    def subject(named: str, **kind: str) -> Case:
        return case("GetUsage", "subject", common_pb.Subject(**kind), named)

    return [
        case("GetUsage", "subject", None),
        subject("subject"),
        *[subject("subject.user_id", user_id=bad) for bad in USER_IDS],
        *[subject("subject.group_id", group_id=bad) for bad in GROUP_IDS],
    ]


def _several_at_once() -> list[Case]:
    def all_wrong(rpc: str, *named: str, **changes: Any) -> Case:
        return Case(rpc, named, tuple(changes.items()))

    two = ["ok", "用\n户"]
    return [
        all_wrong("CreateAccounts", "app_id", "user_ids[1]", "mode",
                  app_id="", user_ids=two, mode=9),
        all_wrong("DeleteAccounts", "app_id", "user_ids", app_id="a b", user_ids=[]),
        all_wrong("AddFriends", "app_id", "user_id", "friend_ids[1]", "mode",
                  app_id="", user_id="", friend_ids=two, mode=9),
        all_wrong("RemoveFriends", "user_id", "friend_ids[1]", user_id="", friend_ids=two),
        all_wrong("CreateGroup", "app_id", "group_id", "type", "owner_id", "member_ids[1]",
                  "max_members", "mode", app_id="", group_id="", type="", owner_id="",
                  member_ids=two, max_members=0, mode=9),
        all_wrong("UpdateGroup", "app_id", "group_id", "max_members",
                  app_id="", group_id="", max_members=0),
        all_wrong("JoinGroup", "app_id", "group_id", "user_ids[1]", "mode",
                  app_id="", group_id="", user_ids=two, mode=9),
        all_wrong("LeaveGroup", "app_id", "group_id", "user_ids", app_id="", group_id="",
                  user_ids=[]),
        all_wrong("DissolveGroup", "app_id", "group_id", app_id="", group_id=""),
        all_wrong("GetUsage", "app_id", "subject", app_id="", subject=None),
        all_wrong("ConfirmHold", "app_id", "operation_id", "relation", "mode",
                  app_id="", operation_id="", relation=9, mode=9),
        all_wrong("ReleaseHold", "app_id", "operation_id", "relation",
                  app_id="", operation_id="", relation=9),
        all_wrong("CreateApp", "app_id", "request_id", app_id="", request_id=""),
        all_wrong("PurchaseEdition", "app_id", "request_id", "edition_id", "months",
                  app_id="", request_id="", edition_id="", months=0),
        all_wrong("RenewEdition", "app_id", "request_id", "months",
                  app_id="", request_id="", months=25),
        all_wrong("RefundPurchase", "app_id", "request_id", "purchase_request_id", "effective_at",
                  app_id="", request_id="", purchase_request_id="", effective_at=INSTANTS[0]),
        all_wrong("ChangeEdition", "app_id", "request_id", "edition_id", "months", "effective_at",
                  app_id="", request_id="", edition_id="", months=0, effective_at=INSTANTS[0]),
        all_wrong("ExchangeAddOn", "app_id", "request_id", "replaced_add_on_id", "add_on_id",
                  "months", app_id="", request_id="", replaced_add_on_id="", add_on_id="",
                  months=25),
        all_wrong("GrantLimit", "app_id", "request_id", "limit_id", "limit", "months", "note",
                  "price_fen", app_id="", request_id="", limit_id="", unlimited=False, months=25,
                  note="", price_fen=-1),
        all_wrong("UpdateApp", "app_id", "request_id", "display_name", "note", "im_code_set",
                  app_id="", request_id="", display_name="n" * 201, note="two\nlines",
                  im_code_set="n" * 65),
        all_wrong("ListAuditEvents", "app_id", "page_size", "page_token", "from", "action",
                  app_id="a b", page_size=1001, page_token="x", action="x",
                  **{"from": INSTANTS[0]}),
        all_wrong("ActivateCatalog", "request_id", "version", "content_hash",
                  request_id="", version="", content_hash="x"),
        all_wrong("TrackChanges", "app_id", "keep_for", app_id="", keep_for=KEPT_FOR[0]),
        all_wrong("GrantAddOn", "app_id", "request_id", "add_on_id", "months",
                  app_id="", request_id="", add_on_id="", months=25),
    ]


CASES = [*_scalars(), *_batches(), *_rules(), *_holds(), *_subjects(), *_several_at_once()]
