"""Operations of Apply with large results, for callers that do not read them."""

import http2
from stubs import quota_pb

APPLY = "/imquota.v1.QuotaService/Apply"


def large_result_operation(tag: int) -> bytes:
    """An operation with a result of some hundred kilobytes: friends beyond the limit."""
    friends = [f"friend-of-the-user-{number:012}" for number in range(1000)]
    request = quota_pb.ApplyRequest(tag=tag, add_friends=quota_pb.AddFriendsRequest(
        app_id="flood", user_id="u", friend_ids=friends))
    return http2.message(request.SerializeToString())
