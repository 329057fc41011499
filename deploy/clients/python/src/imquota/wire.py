"""The RPCs, and the conversion of their messages to results."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from .ids import Names
from .model import (
    Denial,
    HoldOutcome,
    HoldResult,
    LoginResult,
    MeterOutcome,
    Offer,
    Outcome,
    Result,
    Subject,
    Usage,
    UsageReport,
)
from .v1 import common_pb2 as common
from .v1 import metering_service_pb2 as metering
from .v1 import quota_service_pb2 as quota


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC."""

    name: str
    path: str
    request: type[Message]
    response: type[Message]
    field: str
    """Its field in a message of Apply; empty: not on Apply."""


def _method(name: str, field: str, package: Any = quota, service: str = "QuotaService") -> Method:
    return Method(name, f"/imquota.v1.{service}/{name}", getattr(package, f"{name}Request"),
                  getattr(package, f"{name}Response"), field)


CREATE_ACCOUNTS = _method("CreateAccounts", "create_accounts")
DELETE_ACCOUNTS = _method("DeleteAccounts", "delete_accounts")
ADD_FRIENDS = _method("AddFriends", "add_friends")
REMOVE_FRIENDS = _method("RemoveFriends", "remove_friends")
CREATE_GROUP = _method("CreateGroup", "create_group")
UPDATE_GROUP = _method("UpdateGroup", "update_group")
JOIN_GROUP = _method("JoinGroup", "join_group")
LEAVE_GROUP = _method("LeaveGroup", "leave_group")
DISSOLVE_GROUP = _method("DissolveGroup", "dissolve_group")
CONFIRM_HOLD = _method("ConfirmHold", "confirm_hold")
RELEASE_HOLD = _method("ReleaseHold", "release_hold")
GET_USAGE = _method("GetUsage", "get_usage")
RECORD_LOGINS = _method("RecordLogins", "record_logins", metering, "MeteringService")
REPORT_BANDWIDTH = _method("ReportBandwidth", "", metering, "MeteringService")
REPORT_GAUGE = _method("ReportGauge", "", metering, "MeteringService")
METHODS = {each.name: each for each in (
    CREATE_ACCOUNTS, DELETE_ACCOUNTS, ADD_FRIENDS, REMOVE_FRIENDS, CREATE_GROUP, UPDATE_GROUP,
    JOIN_GROUP, LEAVE_GROUP, DISSOLVE_GROUP, CONFIRM_HOLD, RELEASE_HOLD, GET_USAGE, RECORD_LOGINS,
    REPORT_BANDWIDTH, REPORT_GAUGE)}
ApplyRequest, ApplyResponse = quota.ApplyRequest, quota.ApplyResponse
APPLY_PATH = "/imquota.v1.QuotaService/Apply"


def _names_of(values: Iterable[tuple[str, int]], prefix: str) -> dict[int, str]:
    return {number: name.removeprefix(prefix) for name, number in values}


_REASONS = _names_of(common.DenialReason.items(), "DENIAL_REASON_")
_SOURCES = _names_of(common.LimitSource.items(), "LIMIT_SOURCE_")
_OPERATIONS = _names_of(quota.HoldOperation.items(), "HOLD_OPERATION_")
_OUTCOMES = {number: Outcome(name) for number, name in _names_of(
    common.Outcome.items(), "OUTCOME_").items()}
_HOLD_OUTCOMES = {number: HoldOutcome(name) for number, name in _names_of(
    quota.HoldOutcome.items(), "HOLD_OUTCOME_").items()}
_METER_OUTCOMES = {number: MeterOutcome(name) for number, name in _names_of(
    metering.MeterOutcome.items(), "METER_OUTCOME_").items()}


def instant(timestamp: Timestamp) -> datetime:
    """A timestamp, in UTC."""
    # Five times as fast as ToDatetime, and each call has one.
    whole = datetime.fromtimestamp(timestamp.seconds, UTC)
    return whole.replace(microsecond=timestamp.nanos // 1000)


def _offer(upgrade: common.Upgrade) -> Offer:
    is_edition = upgrade.WhichOneof("item") == "edition_id"
    return Offer(
        kind="edition" if is_edition else "add_on",
        id=upgrade.edition_id if is_edition else upgrade.add_on_id,
        new_limit=upgrade.new_limit if upgrade.HasField("new_limit") else None,
        price_per_month=upgrade.price_fen_per_month,
        currency=upgrade.currency.code,
        minor_digits=upgrade.currency.minor_digits,
        replaces_edition=upgrade.replaces_edition_id,
        replaces_add_on=upgrade.replaces_add_on_id)


def _subject(subject: common.Subject, names: Names, app_id: str) -> Subject:
    kind = subject.WhichOneof("kind")
    if kind == "user_id":
        return Subject("user", names.im_user(subject.user_id))
    if kind == "group_id":
        return Subject("group", names.im_group(subject.group_id))
    return Subject("app", app_id)


def denials_of(denials: Iterable[common.Denial], names: Names, app_id: str) -> tuple[Denial, ...]:
    """Violated limits."""
    return tuple(Denial(
        reason=_REASONS.get(each.reason, f"REASON_{each.reason}"),
        limit_id=each.limit_id,
        subject=_subject(each.subject, names, app_id),
        used=each.used,
        limit=each.limit,
        source=_SOURCES.get(each.source, f"SOURCE_{each.source}"),
        source_id=each.source_id,
        im_error_code=each.im_error_code,
        im_error_name=each.im_error_name,
        message=each.message,
        offers=tuple(_offer(upgrade) for upgrade in each.upgrades),
    ) for each in denials)


def result_of(result: common.Result, im_id: str, names: Names, app_id: str) -> Result:
    """The outcome for one id."""
    denials = denials_of(result.denials, names, app_id) if result.denials else ()
    outcome = _OUTCOMES.get(result.outcome, Outcome.UNSPECIFIED)
    return Result(im_id, outcome, denials, result.repeated)


def results_of(results: Iterable[common.Result], im_ids: Sequence[str], names: Names,
               app_id: str) -> list[Result]:
    """The outcomes for ids, which are in the order of the request."""
    return [result_of(each, im_id, names, app_id) for each, im_id in zip(
        results, im_ids, strict=True)]


def hold_results_of(results: Iterable[quota.HoldResult], names: Names,
                    app_id: str) -> list[HoldResult]:
    """The outcomes for the subjects of a hold."""
    return [HoldResult(
        operation=_OPERATIONS.get(each.operation, f"OPERATION_{each.operation}"),
        user=names.im_user(each.user_id),
        friend=names.im_user(each.friend_id),
        group=names.im_group(each.group_id),
        outcome=_HOLD_OUTCOMES.get(each.outcome, HoldOutcome.UNSPECIFIED),
        denials=denials_of(each.denials, names, app_id),
        expired_at=instant(each.expired_at) if each.HasField("expired_at") else None,
    ) for each in results]


def login_results_of(response: metering.RecordLoginsResponse, im_ids: Sequence[str],
                     names: Names, app_id: str) -> list[LoginResult]:
    """The outcomes of logins."""
    denied = {each.index: denials_of(each.denials, names, app_id) for each in response.denied}
    return [LoginResult(im_id, meter_outcome(outcome), denied.get(index, ()))
            for index, (im_id, outcome) in enumerate(zip(im_ids, response.outcomes, strict=True))]


def meter_outcome(outcome: int) -> MeterOutcome:
    """The outcome of a login or sample."""
    return _METER_OUTCOMES.get(outcome, MeterOutcome.UNSPECIFIED)


def usage_of(response: quota.GetUsageResponse) -> UsageReport:
    """Counts and limits."""
    usages = {each.limit_id: Usage(
        limit_id=each.limit_id,
        used=each.used,
        held=each.held,
        limit=each.limit if each.HasField("limit") else None,
        source=_SOURCES.get(each.source, f"SOURCE_{each.source}"),
        source_id=each.source_id,
        changes_at=instant(each.changes_at) if each.HasField("changes_at") else None,
    ) for each in response.usages}
    history = {each.measure: tuple(each.days) for each in response.history}
    return UsageReport(usages, response.service_stopped, history)


HOLD_RELEASED = quota.HOLD_OUTCOME_RELEASED


def operation_of(method: Method) -> str:
    """The name of a method as the operation of a hold."""
    return method.field.upper()
