"""Random requests to the admin listener: each has an orderly response.

Valid requests with bytes flipped, removed, doubled and inserted, from a seed in the case's name.
The status is always one of the documented codes, a refused request has changed nothing, and the
sidecar keeps serving.
"""

import random

import grpc
import pytest

from app import TIMEOUT_S, App
from bad_input import VALID, is_data_plane, request_type
from stubs import admin_pb as pb
from stubs import metering_pb

SEEDS = range(8)
REQUESTS = 60
"""Requests of each case."""

Code = grpc.StatusCode
EXPECTED = {
    Code.OK, Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.ALREADY_EXISTS, Code.FAILED_PRECONDITION,
}
RPCS = sorted(rpc for rpc in VALID if not is_data_plane(rpc))
METERING = {
    "RecordLogins": {"logins": [metering_pb.Login(user_id="u"), metering_pb.Login(user_id="v")]},
    "ReportBandwidth": {"samples": [metering_pb.BandwidthSample(region="mainland", kbps=9)]},
    "ReportGauge": {"samples": [metering_pb.GaugeSample(gauge="connections", value=9)]},
    "SetMessageRetention": {"request_id": "by chance", "days": 30},
    "GetStatement": {"month": "2019-08"},
    "ExportStatement": {"format": metering_pb.STATEMENT_FORMAT_CSV},
}
"""A valid request of each RPC of MeteringService, without its app."""


@pytest.fixture(scope="module")
def app(sidecar):
    """An app with a purchase and with usage."""
    with App(sidecar) as app:
        app.upgrade()
        app.create_accounts("u")
        app.create_group("g", "Public", "u")
        yield app


def mutated(rng: random.Random, good: bytes) -> bytes:
    """The message with up to four mutations."""
    message = bytearray(good)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(message) + 1)
        match rng.randrange(5):
            case 0 if message:
                message[at % len(message)] ^= 1 << rng.randrange(8)
            case 1:
                del message[at:at + rng.randint(1, 8)]
            case 2:
                message[at:at] = rng.randbytes(rng.randint(1, 8))
            case 3:
                message[at:at] = message[:rng.randint(0, 40)]
            case _:
                message[at:at] = bytes([rng.choice((0, 0x7f, 0x80, 0xff))])
    return bytes(message)


def code_of(call) -> Code:
    """The status code of a call."""
    try:
        call()
    except grpc.RpcError as error:
        assert error.details(), error
        return error.code()
    return Code.OK


def changes(app: App) -> int:
    """The number of entries of the audit log."""
    return app.admin("ListAuditEvents", request_id="", page_size=1).head_number


def send_by_chance(app: App, service: str, rpc: str, good: bytes, seed: int) -> None:
    """Sends mutations of a valid request."""
    rng = random.Random(f"{rpc} {seed}")
    call = app.admin_channel.unary_unary(f"/imquota.v1.{service}/{rpc}")
    for _ in range(REQUESTS):
        message = mutated(rng, good)
        before = changes(app)
        code = code_of(lambda sent=message: call(sent, timeout=TIMEOUT_S))
        assert code in EXPECTED, (code, message)
        assert code == Code.OK or changes(app) == before, (code, message)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rpc", RPCS)
def test_random_requests_get_orderly_responses(app, rpc, seed):
    values = {"app_id": app.id, "request_id": "by chance"}
    known = request_type(rpc).DESCRIPTOR.fields_by_name
    good = {**VALID[rpc], **{field: value for field, value in values.items() if field in known}}
    send_by_chance(app, "AdminService", rpc, request_type(rpc)(**good).SerializeToString(), seed)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rpc", sorted(METERING))
def test_random_metering_requests_get_orderly_responses(app, rpc, seed):
    good = getattr(metering_pb, f"{rpc}Request")(app_id=app.id, **METERING[rpc])
    send_by_chance(app, "MeteringService", rpc, good.SerializeToString(), seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_streams_get_orderly_responses(app, seed):
    rng = random.Random(seed)
    begin = pb.ReconcileBegin(app_id=app.id, has_accounts=True, has_friends=True, has_groups=True,
                              list_differences=True)
    group = pb.ExportedGroup(group_id="g", type="Public", max_members=5, member_ids=["u", "v"])
    friends = pb.ExportedFriends(user_id="u", friend_ids=["v", "w"])
    parts = [
        pb.ReconcileRequest(begin=begin),
        pb.ReconcileRequest(facts=pb.ReconcileFacts(
            account_user_ids=["u", "v"], friends=[friends], groups=[group])),
        pb.ReconcileRequest(facts=pb.ReconcileFacts(done_group_ids=["h"])),
        pb.ReconcileRequest(end=pb.ReconcileEnd()),
    ]
    good = [part.SerializeToString() for part in parts]
    call = app.admin_channel.stream_stream("/imquota.v1.AdminService/Reconcile")
    for _ in range(REQUESTS):
        messages = [mutated(rng, part) if rng.random() < 0.3 else part for part in good]
        if rng.random() < 0.2:
            rng.shuffle(messages)
        code = code_of(lambda sent=messages: list(call(iter(sent), timeout=TIMEOUT_S)))
        assert code in EXPECTED | {Code.INVALID_ARGUMENT}, (code, messages)
    assert app.members("g") == 1
