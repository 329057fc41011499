"""A client in Python: creates a group of two users with a hold, confirms it, and lets a third user
ask to join. The address of the sidecar is the first argument; prints a line for each result."""

import sys

import grpc
from imquota.v1 import common_pb2, quota_service_pb2, quota_service_pb2_grpc


def show(result: common_pb2.Result) -> None:
    """Prints a result."""
    print(common_pb2.Outcome.Name(result.outcome), len(result.denials))


with grpc.insecure_channel(sys.argv[1], options=[("grpc.enable_http_proxy", 0)]) as channel:
    quota = quota_service_pb2_grpc.QuotaServiceStub(channel)
    create = quota_service_pb2.CreateGroupRequest(
        app_id="python", group_id="g1", type="Public", owner_id="ann", member_ids=["bob"],
        max_members=2, hold_seconds=60, operation_id="create-1")
    show(quota.CreateGroup(create, timeout=10, wait_for_ready=True).group)
    quota.ConfirmHold(quota_service_pb2.ConfirmHoldRequest(
        app_id="python", operation_id="create-1"), timeout=10)
    join = quota_service_pb2.JoinGroupRequest(
        app_id="python", group_id="g1", user_ids=["bob", "eve"])
    for each in quota.JoinGroup(join, timeout=10).results:
        show(each)
