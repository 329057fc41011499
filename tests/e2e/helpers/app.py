"""A client of one app: a method for each call that an IM server makes."""

import itertools
import uuid

import grpc

from sidecar import Sidecar, connect
from stubs import admin_grpc, admin_pb, common_pb, metering_grpc, metering_pb
from stubs import quota_grpc, quota_pb

TIMEOUT_S = 20
APPLIED = common_pb.OUTCOME_APPLIED
ALREADY_HELD = common_pb.OUTCOME_ALREADY_HELD
NOT_HELD = common_pb.OUTCOME_NOT_HELD
DENIED = common_pb.OUTCOME_DENIED
PROFESSIONAL_FEN = 99_900


def names(prefix: str, count: int, first: int = 0) -> list[str]:
    """`count` ids such as `u0`, `u1`."""
    return [f"{prefix}{number}" for number in range(first, first + count)]


def outcomes(results) -> list[int]:
    """The outcomes of results, in their order."""
    return [result.outcome for result in results]


class App:
    """An app with an id of its own, reached through one data listener and the admin listener."""

    _numbers = itertools.count(1)

    def __init__(self, sidecar: Sidecar, target: str | None = None, app_id: str | None = None):
        self.id = app_id or f"app-{uuid.uuid4().hex[:12]}-{next(self._numbers)}"
        self.channel = connect(target or sidecar.tcp)
        self.admin_channel = connect(sidecar.admin)
        self.quota = quota_grpc.QuotaServiceStub(self.channel)
        self.administration = admin_grpc.AdminServiceStub(self.admin_channel)
        self.metering = metering_grpc.MeteringServiceStub(self.channel)
        self.metering_admin = metering_grpc.MeteringServiceStub(self.admin_channel)

    def close(self) -> None:
        """Closes both connections."""
        self.channel.close()
        self.admin_channel.close()

    def __enter__(self) -> "App":
        return self

    def __exit__(self, *_exception) -> None:
        self.close()

    def _call(self, rpc: str, *, metadata=None, **fields):
        request = getattr(quota_pb, f"{rpc}Request")(app_id=self.id, **fields)
        return getattr(self.quota, rpc)(request, timeout=TIMEOUT_S, metadata=metadata)

    # Calls that acquire.

    def create_accounts(self, *users: str, mode: int = 0):
        """A result per user."""
        return list(self._call("CreateAccounts", user_ids=users, mode=mode).results)

    def add_friends(self, user: str, *friends: str, one_way: bool = False, mode: int = 0):
        """A result per friend."""
        fields = {"user_id": user, "friend_ids": friends, "one_way": one_way, "mode": mode}
        return list(self._call("AddFriends", **fields).results)

    def create_group(self, group: str, group_type: str = "Public", owner: str | None = None,
                     members=(), **more):
        """The whole response: `group` and `members`."""
        fields = {"group_id": group, "type": group_type, "owner_id": owner, "member_ids": members}
        return self._call("CreateGroup", **fields, **more)

    def create_groups(self, groups, group_type: str = "Public", owner: str | None = None) -> None:
        """Creates groups, all of which must be admitted."""
        for group in groups:
            answer = self.create_group(group, group_type, owner)
            assert answer.group.outcome == APPLIED, answer

    def join(self, group: str, *users: str, mode: int = 0, metadata=None):
        """A result per user."""
        fields = {"group_id": group, "user_ids": users, "mode": mode}
        return list(self._call("JoinGroup", metadata=metadata, **fields).results)

    def join_or_none(self, group: str, *users: str, mode: int = 0) -> list:
        """An outcome per user; `None` for each if the group does not exist."""
        try:
            return outcomes(self.join(group, *users, mode=mode))
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.NOT_FOUND:
                raise
            return [None for _ in users]

    # Holds.

    def hold(self, rpc: str, operation: str, seconds: int, **fields):
        """The whole response of a take with a hold."""
        return self._call(rpc, operation_id=operation, hold_seconds=seconds, **fields)

    def hold_seat(self, group: str, user: str, operation: str, seconds: int = 60):
        """The result of a join with a hold."""
        fields = {"group_id": group, "user_ids": [user]}
        (result,) = self.hold("JoinGroup", operation, seconds, **fields).results
        return result

    def confirm(self, operation: str, relation: int = 0, mode: int = 0, metadata=None):
        """A result per subject."""
        fields = {"operation_id": operation, "relation": relation, "mode": mode}
        return list(self._call("ConfirmHold", metadata=metadata, **fields).results)

    def release(self, operation: str, relation: int = 0):
        """A result per subject."""
        fields = {"operation_id": operation, "relation": relation}
        return list(self._call("ReleaseHold", **fields).results)

    # Calls that release.

    def delete_accounts(self, *users: str):
        """A result per user."""
        return list(self._call("DeleteAccounts", user_ids=users).results)

    def remove_friends(self, user: str, *friends: str, one_way: bool = False):
        """A result per friend."""
        fields = {"user_id": user, "friend_ids": friends, "one_way": one_way}
        return list(self._call("RemoveFriends", **fields).results)

    def leave(self, group: str, *users: str):
        """The whole response: `results` and `group_reclaimed`."""
        return self._call("LeaveGroup", group_id=group, user_ids=users)

    def dissolve(self, group: str):
        """The whole response: `result` and `members_released`."""
        return self._call("DissolveGroup", group_id=group)

    def set_max_members(self, group: str, max_members: int | None):
        """The result."""
        return self._call("UpdateGroup", group_id=group, max_members=max_members).result

    # Usage.

    def usages(self, **subject) -> dict[str, common_pb.Usage]:
        """The usages of `user_id=...`, of `group_id=...` or else of the app, by limit."""
        subject = common_pb.Subject(**(subject or {"app": common_pb.AppSubject()}))
        answer = self._call("GetUsage", subject=subject)
        return {usage.limit_id: usage for usage in answer.usages}

    def usage_or_none(self, group: str):
        """The group's usages; `None` if the group does not exist."""
        try:
            return self.usages(group_id=group)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.NOT_FOUND:
                raise
            return None

    def accounts(self) -> int:
        """The number of the app's accounts."""
        return self.usages()["accounts_per_app"].used

    def rooms(self, group_type: str) -> int:
        """The number of groups of a type."""
        return self.usages()[f"groups_per_app/{group_type}"].used

    def friends(self, user: str) -> int:
        """The number of the user's friends."""
        return self.usages(user_id=user)["friends_per_user"].used

    def groups(self, user: str) -> int:
        """The number of groups that count for the user."""
        return self.usages(user_id=user)["groups_per_user"].used

    def members(self, group: str) -> int:
        """The number of the group's members."""
        return self.usages(group_id=group)["members_per_group"].used

    # Admin calls and metering.

    def admin(self, rpc: str, **fields):
        """Makes an admin call for this app, with a new request id unless one is given."""
        message = getattr(admin_pb, f"{rpc}Request")
        if "request_id" in message.DESCRIPTOR.fields_by_name:
            fields.setdefault("request_id", uuid.uuid4().hex)
        request = message(**{"app_id": self.id, **fields})
        return getattr(self.administration, rpc)(request, timeout=TIMEOUT_S)

    def meter(self, rpc: str, *, admin: bool = False, **fields):
        """Makes a metering call for this app, over the data listener or the admin listener."""
        message = getattr(metering_pb, f"{rpc}Request")
        if "request_id" in message.DESCRIPTOR.fields_by_name:
            fields.setdefault("request_id", uuid.uuid4().hex)
        stub = self.metering_admin if admin else self.metering
        return getattr(stub, rpc)(message(**{"app_id": self.id, **fields}), timeout=TIMEOUT_S)

    def statement(self, month: str = "") -> metering_pb.Statement:
        """The statement of a month, by default of the current one."""
        return self.meter("GetStatement", admin=True, month=month).statement

    def history(self) -> dict[str, quota_pb.UsageHistory]:
        """The metered history of the last days, by measure."""
        answer = self._call("GetUsage", subject=common_pb.Subject(app=common_pb.AppSubject()))
        return {history.measure: history for history in answer.history}

    def register(self) -> "App":
        """Registers the app."""
        self.admin("CreateApp")
        return self

    def upgrade(self) -> "App":
        """Registers the app and buys the professional edition for a month."""
        self.register()
        self.admin("PurchaseEdition", edition_id="professional", months=1)
        return self

    def buy(self, add_on: str) -> None:
        """Buys an add-on for a month."""
        self.admin("GrantAddOn", add_on_id=add_on, months=1)


def denial_of(result, reason: str) -> common_pb.Denial:
    """The denial of a result; fails unless it is the only one and has that reason."""
    assert result.outcome == DENIED, result
    assert [common_pb.DenialReason.Name(denial.reason) for denial in result.denials] == [
        f"DENIAL_REASON_{reason}"
    ], result
    return result.denials[0]


def offer(denial) -> tuple | None:
    """The upgrade of a denial: kind, id, new limit (`None`: unlimited), fen a month."""
    if not denial.upgrades:
        return None
    (upgrade,) = denial.upgrades
    kind = upgrade.WhichOneof("item")
    new_limit = upgrade.new_limit if upgrade.HasField("new_limit") else None
    return kind, getattr(upgrade, kind), new_limit, upgrade.price_fen_per_month
