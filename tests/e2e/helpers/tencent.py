"""Tencent's IM as the sender of callbacks.

Each method sends one command as the real sender does: the app and the command are in the query,
the instant of the event is a number or a text of milliseconds, and later fields may be there.
"""

import hashlib
import itertools
import json
import time
from urllib.parse import urlencode

from callbacks import Answer, CallbackSidecar, Client

ALLOWED = {"ActionStatus": "OK", "ErrorInfo": "", "ErrorCode": 0}
FRIEND_CODES = range(38000, 39001)
CODES = range(10100, 10201)

_apps = itertools.count(1_400_000_001)


def new_app() -> str:
    """An SdkAppid of its own, which is the app's id where no other is configured."""
    return str(next(_apps))


def now_ms() -> int:
    """Now, as an EventTime."""
    return time.time_ns() // 1_000_000


def sign(token: str, request_time) -> str:
    """The signature of a request."""
    return hashlib.sha256(f"{token}{request_time}".encode()).hexdigest()


def read(answer: Answer) -> dict | None:
    """The answer as the IM reads it; `None` if it goes on without one."""
    if answer.status != 200:
        return None
    try:
        decoded = json.loads(answer.body)
    except ValueError:
        return None
    assert type(decoded["ErrorCode"]) is int and type(decoded["ErrorInfo"]) is str, answer
    assert type(decoded["ActionStatus"]) is str, answer
    return decoded


def refuses(answer: Answer) -> bool:
    """Returns whether the IM refuses the operation as a whole."""
    decoded = read(answer)
    return decoded is not None and decoded["ErrorCode"] != 0


def refused_members(answer: Answer) -> list[str]:
    """The users who are not let in."""
    return (read(answer) or {}).get("RefusedMembers_Account") or []


def friend_codes(answer: Answer) -> list[tuple[str, int]]:
    """The code of each friend, in the answer's order."""
    return [(item["To_Account"], item["ResultCode"]) for item in read(answer)["ResultItem"]]


def _accounts(users) -> list[dict]:
    return [{"Member_Account": user} for user in users]


class TencentIm:
    """One app of Tencent's IM, whose callbacks go to one `[[callback]]` of a sidecar."""

    def __init__(self, sidecar: CallbackSidecar, callback: dict, sdk_app_id: str | None = None,
                 token: str | None = None, client: Client | None = None):
        self.client = client or Client(sidecar)
        self.path, self.token = callback["path"], token
        self.app_id = sdk_app_id or new_app()

    def __enter__(self) -> "TencentIm":
        return self

    def __exit__(self, *_exception) -> None:
        self.client.close()

    def raw(self, command: str, body: bytes, **query) -> Answer:
        """Sends a body as it is; a part of the query that is `None` is left out."""
        parts = {"SdkAppid": self.app_id, "CallbackCommand": command, "contenttype": "json",
                 "ClientIP": "10.0.0.7", "OptPlatform": "RESTAPI"}
        if self.token:
            at = str(int(time.time()))
            parts |= {"Sign": sign(self.token, at), "RequestTime": at}
        parts = {key: value for key, value in {**parts, **query}.items() if value is not None}
        headers = {"Content-Type": "application/json"}
        return self.client.request("POST", f"{self.path}?{urlencode(parts)}", body, headers)

    def call(self, command: str, fields: dict, at=None, **query) -> Answer:
        """Sends a command with these fields, and its instant: a number, a text, or `False` for
        none; by default now."""
        body = {"CallbackCommand": command, **fields, "ALaterField": {"Unknown": [1]}}
        if at is not False:
            body["EventTime"] = now_ms() if at is None else at
        return self.raw(command, json.dumps(body).encode(), **query)

    # Groups.

    def before_create(self, owner: str, members=(), group_type="Public", name="a group", **more
                      ) -> Answer:
        """Before a group is created: it has no id yet."""
        return self.call("Group.CallbackBeforeCreateGroup", {
            "Operator_Account": owner, "Owner_Account": owner, "Type": group_type, "Name": name,
            "CreateGroupNum": 1, "MemberList": _accounts(members)}, **more)

    def after_create(self, group: str, owner: str, members=(), group_type="Public",
                     name="a group", **more) -> Answer:
        """After a group was created."""
        return self.call("Group.CallbackAfterCreateGroup", {
            "GroupId": group, "Operator_Account": owner, "Owner_Account": owner,
            "Type": group_type, "Name": name, "MemberList": _accounts(members),
            "UserDefinedDataList": []}, **more)

    def before_apply(self, group: str, user: str, group_type="Meeting", **more) -> Answer:
        """Before a user applies to join."""
        return self.call("Group.CallbackBeforeApplyJoinGroup", {
            "GroupId": group, "Type": group_type, "Requestor_Account": user}, **more)

    def before_invite(self, group: str, users, group_type="Public", **more) -> Answer:
        """Before users are invited."""
        return self.call("Group.CallbackBeforeInviteJoinGroup", {
            "GroupId": group, "Type": group_type, "Operator_Account": "an-operator",
            "DestinationMembers": _accounts(users)}, **more)

    def after_join(self, group: str, users, group_type="Public", **more) -> Answer:
        """After members were added."""
        return self.call("Group.CallbackAfterNewMemberJoin", {
            "GroupId": group, "Type": group_type, "JoinType": "Apply",
            "Operator_Account": "an-operator", "NewMemberList": _accounts(users)}, **more)

    def after_exit(self, group: str, users, group_type="Public", **more) -> Answer:
        """After members left."""
        return self.call("Group.CallbackAfterMemberExit", {
            "GroupId": group, "Type": group_type, "ExitType": "Quit",
            "Operator_Account": "an-operator", "ExitMemberList": _accounts(users)}, **more)

    def destroyed(self, group: str, members=(), group_type="Public", **more) -> Answer:
        """After a group was destroyed."""
        return self.call("Group.CallbackAfterGroupDestroyed", {
            "GroupId": group, "Type": group_type, "Name": "a group", "Owner_Account": "o",
            "MemberList": _accounts(members)}, **more)

    # Friends.

    def prev_friend_add(self, user: str, friends, add_type: str | None = "Add_Type_Single", **more
                        ) -> Answer:
        """Before friends are added, or asked."""
        items = [{"To_Account": friend, "Remark": "", "GroupName": "", "AddWording": "hi",
                  "AddSource": "AddSource_Type_Android"} for friend in friends]
        fields = {"Requester_Account": user, "From_Account": user, "FriendItem": items,
                  "ForceAddFlags": 0}
        if add_type:
            fields["AddType"] = add_type
        return self.call("Sns.CallbackPrevFriendAdd", fields, **more)

    def prev_friend_response(self, user: str, requesters, action="AgreeAndAdd", **more) -> Answer:
        """Before a user answers requests."""
        items = [{"To_Account": requester, "Remark": "", "TagName": "",
                  "ResponseAction": f"Response_Action_{action}"} for requester in requesters]
        return self.call("Sns.CallbackPrevFriendResponse", {
            "Requester_Account": user, "From_Account": user, "ResponseFriendItem": items}, **more)

    def friend_add(self, *pairs: tuple[str, str], **more) -> Answer:
        """After friends were added: a pair for each list, its user first."""
        listed = [{"From_Account": user, "To_Account": friend, "Initiator_Account": user}
                  for user, friend in pairs]
        return self.call("Sns.CallbackFriendAdd", {
            "PairList": listed, "ClientCmd": "friend_add", "Admin_Account": "",
            "ForceFlag": 1}, **more)

    def friend_delete(self, *pairs: tuple[str, str], **more) -> Answer:
        """After friends were deleted: a pair for each list, its user first."""
        listed = [{"From_Account": user, "To_Account": friend} for user, friend in pairs]
        return self.call("Sns.CallbackFriendDelete", {"PairList": listed}, **more)

    # Users.

    def state(self, user: str, action="Login", **more) -> Answer:
        """After a user's state changed."""
        return self.call("State.StateChange", {
            "Info": {"Action": action, "To_Account": user, "Reason": "Register"}}, **more)
