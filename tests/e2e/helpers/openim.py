"""OpenIM's server as the sender of callbacks (v3.8).

Each method sends one command with the fields, and the traps, of the real sender: the operation id
is in a header and only in some bodies, a group without an id has an empty one, group types are
numbers in one command and a character in another, and users are in fields with other names.
"""

import json
import uuid
from urllib.parse import urlencode

from callbacks import Answer, CallbackSidecar, Client

ALLOWED = {"actionCode": 0, "errCode": 0, "errMsg": "", "errDlt": "", "nextCode": 0}
OWNER_LEVEL, MEMBER_LEVEL = 100, 20
INT32 = range(-2**31, 2**31)


def read(answer: Answer) -> dict:
    """The answer as OpenIM decodes it; fails where its decoder fails, which refuses everything."""
    decoded = json.loads(answer.body)
    for name in ("actionCode", "errCode", "nextCode"):
        value = decoded.get(name, 0)
        assert type(value) is int and value in INT32, answer
    for name in ("errMsg", "errDlt", "groupID"):
        assert isinstance(decoded.get(name, ""), str), answer
    assert isinstance(decoded.get("friendUserIDs") or [], list), answer
    return decoded


def refuses(answer: Answer) -> bool:
    """Returns whether OpenIM refuses the operation; it does not look at the status."""
    decoded = read(answer)
    return decoded.get("actionCode", 0) == 0 and decoded.get("nextCode", 0) == 1


def operation() -> str:
    """A new operation id."""
    return uuid.uuid4().hex


class OpenIm:
    """One OpenIM server, whose callbacks go to one `[[callback]]` of a sidecar."""

    def __init__(self, sidecar: CallbackSidecar, callback: dict, client: Client | None = None):
        self.client = client or Client(sidecar)
        self.path, self.app_id = callback["path"], callback.get("app_id")

    def __enter__(self) -> "OpenIm":
        return self

    def __exit__(self, *_exception) -> None:
        self.client.close()

    def raw(self, command: str, body: bytes, operation_id: str | None = None,
            query: dict | None = None) -> Answer:
        """Sends a body as it is."""
        target = f"{self.path}/{command}"
        if query:
            target = f"{target}?{urlencode(query)}"
        headers = {"Content-Type": "application/json", "operationID": operation_id or operation(),
                   "User-Agent": "Go-http-client/1.1"}
        return self.client.request("POST", target, body, headers)

    def call(self, command: str, operation_id: str | None = None, **fields) -> Answer:
        """Sends a command with these fields."""
        body = {"callbackCommand": command, **fields, "ex": "", "aLaterField": {"unknown": [1]}}
        return self.raw(command, json.dumps(body).encode(), operation_id)

    # Users.

    def register(self, *users: str) -> Answer:
        """Before users are registered."""
        infos = [{"userID": user, "nickname": user, "faceURL": "", "createTime": 0,
                  "appMangerLevel": 0, "globalRecvMsgOpt": 0} for user in users]
        return self.call("callbackBeforeUserRegisterCommand", users=infos)

    def online(self, user: str) -> Answer:
        """After a user has come online."""
        return self.call("callbackAfterUserOnlineCommand", operationID=operation(), platformID=1,
                         platform="IOS", userID=user, seq=1, isAppBackground=False, connID="c1")

    # Groups.

    @staticmethod
    def _group_info(group: str, group_type: int, owner: str, count: int) -> dict:
        return {"groupID": group, "groupName": "a group", "notification": "", "introduction": "",
                "faceURL": "", "ownerUserID": owner, "createTime": 0, "memberCount": count,
                "status": 0, "creatorUserID": owner, "groupType": group_type,
                "needVerification": 2, "lookMemberInfo": 0, "applyMemberFriend": 0}

    def _creation(self, command, group, group_type, owner, members, operation_id, *,
                  owner_in_info: bool = False) -> Answer:
        levels = [(owner, OWNER_LEVEL), *((member, MEMBER_LEVEL) for member in members)]
        listed = [{"userID": user, "roleLevel": level} for user, level in levels]
        info = self._group_info(group, group_type, owner if owner_in_info else "", len(listed))
        more = {} if "After" in command else {"operationID": operation_id}
        return self.call(command, operation_id, **info, initMemberList=listed, **more)

    def before_create(self, owner: str, members=(), *, group: str = "", group_type: int = 0,
                      operation_id: str | None = None, owner_in_info: bool = False) -> Answer:
        """Before a group is created: its id may be empty, and the request's own owner too."""
        return self._creation("callbackBeforeCreateGroupCommand", group, group_type, owner, members,
                              operation_id or operation(), owner_in_info=owner_in_info)

    def after_create(self, group: str, owner: str, members=(), group_type: int = 0) -> Answer:
        """After a group was created."""
        return self._creation("callbackAfterCreateGroupCommand", group, group_type, owner, members,
                              operation(), owner_in_info=True)

    def members_join(self, group: str, *users: str, operation_id: str | None = None) -> Answer:
        """Right before members are written, whichever way they came in. The body has no
        operation id: only the header has."""
        listed = [{"userID": user, "ex": ""} for user in users]
        return self.call("callbackBeforeMembersJoinGroupCommand", operation_id, groupID=group,
                         memberList=listed, groupEx="")

    def create(self, owner: str, members=(), *, group: str = "", group_type: int = 0
               ) -> tuple[str, Answer]:
        """A creation as far as its last callback before the commit: the group's id, the answer."""
        operation_id = operation()
        asked = self.before_create(owner, members, group=group, group_type=group_type,
                                   operation_id=operation_id)
        if refuses(asked):
            return group, asked
        group = read(asked).get("groupID") or group
        return group, self.members_join(group, owner, *members, operation_id=operation_id)

    def before_join(self, group: str, user: str, group_type: int = 0) -> Answer:
        """Before a user applies or joins; the type is the character with that number."""
        return self.call("callbackBeforeJoinGroupCommand", groupID=group,
                         groupType=chr(group_type), applyID=user, reqMessage="hi")

    def before_invite(self, group: str, *users: str) -> Answer:
        """Before users are invited."""
        return self.call("callbackBeforeInviteJoinGroupCommand", operationID=operation(),
                         groupID=group, reason="", invitedUserIDs=list(users))

    def after_join(self, group: str, user: str) -> Answer:
        """After a user applied or joined; the user is in the inviter's field."""
        return self.call("callbackAfterJoinGroupCommand", operationID=operation(), groupID=group,
                         reqMessage="", joinSource=2, inviterUserID=user)

    def quit(self, group: str, user: str) -> Answer:
        """After a user quit."""
        return self.call("callbackAfterQuitGroupCommand", groupID=group, userID=user)

    def kick(self, group: str, *users: str) -> Answer:
        """After users were kicked."""
        return self.call("callbackAfterKickGroupCommand", groupID=group,
                         kickedUserIDs=list(users), reason="")

    def dismiss(self, group: str, owner: str, members=(), group_type: int = 2) -> Answer:
        """After a group was dismissed; the type is the character with that number."""
        return self.call("callbackAfterDisMissGroupCommand", groupID=group, ownerID=owner,
                         groupType=chr(group_type), membersID=[owner, *members])

    # Friends.

    def before_add_friend(self, user: str, friend: str) -> Answer:
        """Before a request for friendship."""
        return self.call("callbackBeforeAddFriendCommand", fromUserID=user, toUserID=friend,
                         reqMsg="hi")

    def agree(self, requester: str, accepting: str, result: int = 1) -> Answer:
        """Before a request is answered: the accepting user is in `blackUserID`."""
        return self.call("callbackBeforeAddFriendAgreeCommand", fromUserID=requester,
                         blackUserID=accepting, HandleResult=result, HandleMsg="")

    def import_friends(self, user: str, *friends: str) -> Answer:
        """Before friends are imported."""
        return self.call("callbackBeforeImportFriendsCommand", ownerUserID=user,
                         friendUserIDs=list(friends))

    def delete_friend(self, user: str, friend: str) -> Answer:
        """After a user removed a friend from their own list."""
        return self.call("callbackAfterDeleteFriendCommand", ownerUserID=user, friendUserID=friend)
