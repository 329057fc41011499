"""Bounds of HTTP/1.1 and of JSON: slow and idle connections, memory, deadlines, and the end."""

import json
import re
import signal
import socket
import threading
import time

import grpc
import pytest

from app import App
from connect_http import JSON, QUOTA, call, frames, reason
from details import error_of
from http2 import END_HEADERS, HEADERS, Http2, Stream, frame, pump
from redis_proxy import Redis
from http_port import metric
from sidecar import Sidecar, wait_until
from stubs import quota_pb

USAGE = json.dumps({"appId": "a", "subject": {"app": {}}}).encode()
LATE_MS = 500
ENDS_WITHIN_S = 5


def head(length: int, *more: str) -> bytes:
    """The head of a call of GetUsage."""
    lines = [f"POST {QUOTA}GetUsage HTTP/1.1", "Host: localhost",
             "Content-Type: application/json", f"Content-Length: {length}", *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def connect(sidecar: Sidecar) -> socket.socket:
    """A connection to the data listener."""
    return socket.create_connection(("127.0.0.1", sidecar.port), timeout=ENDS_WITHIN_S)


def read_answer(connection: socket.socket) -> bytes:
    """One answer with a length; empty if the sidecar has closed the connection."""
    data, length = b"", None
    while length is None or len(data) < length:
        piece = connection.recv(4096)
        if not piece:
            assert not data, f"the connection was closed within {data!r}"
            return data
        data += piece
        if length is None and b"\r\n\r\n" in data:
            start = data.split(b"\r\n\r\n")[0]
            found = re.search(rb"\r\ncontent-length: (\d+)", start)
            length = len(start) + 4 + int(found[1])
    return data


def read_all(connection: socket.socket) -> bytes:
    """What arrives until the sidecar closes the connection."""
    data = b""
    while piece := connection.recv(4096):
        data += piece
    return data


@pytest.fixture(scope="module")
def hurried():
    """A sidecar that waits briefly for requests and idle connections."""
    settings = ["--message-timeout-ms", str(LATE_MS), "--connection-idle-timeout-ms", "1000"]
    with Sidecar(*settings, store="memory") as sidecar:
        yield sidecar


@pytest.mark.parametrize("begun", [
    b"P", b"PO", head(9)[:60], head(9)[:-2], b"\r\n", b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 50,
])
def test_a_head_that_does_not_end_is_given_up(hurried, begun):
    with connect(hurried) as connection:
        begins = time.monotonic()
        connection.sendall(begun)
        # One byte of the preface of HTTP/2 has the time limit of a silent client.
        connection.settimeout(2 * ENDS_WITHIN_S)
        assert read_all(connection) == b""
        assert time.monotonic() - begins < (ENDS_WITHIN_S if len(begun) > 1 else 8)


def test_a_head_that_trickles_in_is_given_up(hurried):
    with connect(hurried) as connection:
        begins = time.monotonic()
        with pytest.raises(OSError):
            for byte in head(9) * 100:
                connection.sendall(bytes([byte]))
                time.sleep(0.02)
        assert time.monotonic() - begins < ENDS_WITHIN_S


@pytest.mark.parametrize("again", [False, True])
def test_a_body_that_does_not_end_is_an_error(hurried, again):
    with connect(hurried) as connection:
        if again:
            connection.sendall(head(len(USAGE)) + USAGE)
            assert read_answer(connection).startswith(b"HTTP/1.1 200")
        connection.sendall(head(len(USAGE)) + USAGE[:-1])
        answer = read_answer(connection)
    assert answer.startswith(b"HTTP/1.1 504") and b"REQUEST_UNFINISHED" in answer


def test_an_idle_connection_is_closed_and_a_used_one_is_kept(hurried):
    with connect(hurried) as connection:
        for _ in range(5):
            connection.sendall(head(len(USAGE)) + USAGE)
            assert read_answer(connection).startswith(b"HTTP/1.1 200")
        begins = time.monotonic()
        assert read_all(connection) == b""
        assert 0.9 < time.monotonic() - begins < ENDS_WITHIN_S


@pytest.mark.parametrize("more, status", [
    (["X-Long: " + "a" * 12_000], b"200"), (["X-Long: " + "a" * 20_000], b"431"),
    ([f"X-{number}: a" for number in range(200)], b"431"),
])
def test_a_head_has_a_longest_length(sidecar, more, status):
    with connect(sidecar) as connection:
        connection.sendall(head(len(USAGE), *more) + USAGE)
        assert connection.recv(4096).startswith(b"HTTP/1.1 " + status)


def test_idle_connections_make_room_for_others():
    settings = ["--connections-max", "16"]
    with Sidecar(*settings, store="memory") as sidecar:
        slow = [connect(sidecar) for _ in range(40)]
        for each in slow:
            each.sendall(head(9)[:60])
        usage = json.loads(USAGE)
        assert call(sidecar.tcp, QUOTA + "GetUsage", usage).status == 200
        for each in slow:
            each.close()


def test_a_connection_at_its_age_ends_after_an_answer():
    with Sidecar("--connection-age-max-ms", "200", store="memory") as sidecar:
        begins = time.monotonic()
        with connect(sidecar) as connection:
            while time.monotonic() - begins < ENDS_WITHIN_S:
                connection.sendall(head(len(USAGE)) + USAGE)
                answer = read_answer(connection)
                if not answer or b"connection: close" in answer:
                    break
                assert answer.startswith(b"HTTP/1.1 200")
            assert 0.15 < time.monotonic() - begins < ENDS_WITHIN_S
            assert read_all(connection) == b""


def test_the_bodies_of_a_connection_have_one_budget_before_they_are_decoded():
    headers = [(":method", "POST"), (":scheme", "http"), (":authority", "localhost"),
               (":path", QUOTA + "JoinGroup"), ("content-type", "application/json")]
    block = b"".join(b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)])
                     + value.encode() for name, value in headers)
    with Sidecar("--call-memory-mib", "24", store="memory") as sidecar:
        connection = Http2(sidecar.tcp)
        # A sixth of the memory is 4 MiB: at most six of these are held, fewer where they share it.
        for number in range(1, 2 * 12, 2):
            connection.send(frame(HEADERS, END_HEADERS, number, block))
            connection.streams[number] = Stream(connection.stream_window,
                                                b'{"appId":"' + b"a" * 640_000)
        streams = list(connection.streams.values())
        assert pump([connection], lambda: sum(each.ended for each in streams) >= 6, 20)
        # Another connection is not affected.
        answer = call(sidecar.tcp, QUOTA + "GetUsage", json.loads(USAGE))
        assert answer.status == 200
        connection.close()


@pytest.fixture
def frozen():
    """A sidecar on a Redis that has an app with a group and then does not reply any more."""
    settings = ["--journal", "off", "--subjects-in-flight-max", "4", "--store-timeout-ms", "60000",
                "--request-timeout-ms", "10000"]
    with Redis() as redis:
        store = f"redis://127.0.0.1:{redis.port}/0"
        with (Sidecar(*settings, store=store, management=True) as sidecar,
              App(sidecar, app_id="a") as app):
            app.create_group("g", "Public", "owner")
            redis.freeze()
            try:
                yield sidecar, app, redis
            finally:
                redis.thaw()


def test_the_deadline_reaches_the_store_as_with_grpc(frozen):
    sidecar, app, _ = frozen
    join = {"appId": "a", "groupId": "g", "userIds": ["u"]}
    began = time.monotonic()
    answer = call(sidecar.tcp, QUOTA + "JoinGroup", join,
                  headers={**JSON, "connect-timeout-ms": "300"})
    assert (answer.status, answer.reason()) == (504, "TIMED_OUT"), answer
    assert 0.25 < time.monotonic() - began < 2
    error = error_of(lambda: app.quota.JoinGroup(_join("v"), timeout=0.3))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def _join(user: str):
    return quota_pb.JoinGroupRequest(app_id="a", group_id="g", user_ids=[user])


def test_subjects_are_admitted_by_the_same_bound_as_with_grpc(frozen):
    """Calls of one protocol take the places of the other one."""
    sidecar, app, _ = frozen
    waiting = [app.quota.JoinGroup.future(_join(f"u{number}"), timeout=8) for number in range(4)]

    def refused():
        answer = call(sidecar.tcp, QUOTA + "JoinGroup",
                      {"appId": "a", "groupId": "g", "userIds": ["w"]},
                      headers={**JSON, "connect-timeout-ms": "200"})
        return answer.status == 429 and answer.reason() == "OVERLOADED"

    wait_until(refused, ENDS_WITHIN_S, "refused for too many subjects")
    for each in waiting:
        each.cancel()


def test_a_call_in_flight_is_finished_at_the_end(frozen):
    sidecar, _, redis = frozen
    answers = []
    join = {"appId": "a", "groupId": "g", "userIds": ["late"]}
    calling = threading.Thread(
        target=lambda: answers.append(call(sidecar.tcp, QUOTA + "JoinGroup", join)))
    calling.start()
    wait_until(lambda: metric(sidecar.management_port, "imquota_in_flight") >= 1, ENDS_WITHIN_S,
               "the call is in flight")
    sidecar.signal(signal.SIGTERM)
    wait_until(lambda: "shutting down" in sidecar.read_log(), ENDS_WITHIN_S, "the end begins")
    redis.thaw()
    calling.join(timeout=20)
    assert answers and answers[0].status == 200, answers
    assert sidecar.wait() == 0


@pytest.mark.parametrize("size", [b"zz", b"ffffffffffffffffff", b"-1"])
def test_a_malformed_chunk_is_a_fault_of_the_client(sidecar, size):
    with connect(sidecar) as connection:
        start = head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        connection.sendall(start + size + b"\r\n")
        answer = read_answer(connection)
    assert b" 400 " in answer.split(b"\r\n")[0] and b"MALFORMED_MESSAGE" in answer


@pytest.mark.parametrize("length", [7 << 20, 64 << 20, (1 << 32) - 1])
def test_a_frame_that_no_rpc_reads_is_not_to_be_repeated(sidecar, length):
    body = b"\0" + length.to_bytes(4, "big")
    answer = call(sidecar.admin, "/imquota.v1.AdminService/WatchEvents", body,
                  headers={"content-type": "application/connect+json"})
    assert reason(frames(answer.body)[-1][1]["error"]) == "MESSAGE_TOO_LARGE"
