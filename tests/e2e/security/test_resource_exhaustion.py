"""Callers that hold memory and permits for as long as they can: bounds hold, others are served.

Small by default; with `IMQUOTA_FLOODS=1` as large as an attack, with the figures printed.
"""

import os
import signal
import stat
import threading
import time
from pathlib import Path

import pytest

import http2
from app import APPLIED, TIMEOUT_S, App, names, outcomes
from apply_flood import APPLY, large_result_operation
from http2 import Http2, pump
from sidecar import Sidecar, binary, connect, is_serving, wait_until
from stubs import quota_pb

FULL = os.environ.get("IMQUOTA_FLOODS") == "1"
RSS_MAX_BYTES = 128 * 1024 * 1024
STREAMS = 1024 if FULL else 300
MESSAGE_BYTES = 1024 * 1024 if FULL else 256 * 1024
APPLY_STREAMS = 400 if FULL else 4
HOLD_S = 20 if FULL else 2
STALLED_S = 4.5
"""After this time an unfinished call counts as stalled."""
STOPS_WITHIN_S = 8
"""Less than the request's time limit (10 s) and the drain time (20 s)."""
GOOD_CALL_PAUSE_S = 0.01
GOOD_CALLS_MIN = 20
GOOD_CALL_MAX_S = 0.1
"""The 99th percentile of a well-behaved caller in a full run; a busy machine is slower."""

UNARY = "/imquota.v1.QuotaService/JoinGroup"
ADMIN_UNARY = "/imquota.v1.AdminService/GetApp"
HEALTH = "/grpc.health.v1.Health/Check"


def peak_bytes(sidecar: Sidecar) -> int:
    """The peak memory of the process."""
    status = Path(f"/proc/{sidecar.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


class GoodCaller:
    """Calls repeatedly from a thread of its own and records the latencies."""

    def __init__(self, sidecar: Sidecar):
        self.sidecar, self.took_s, self.failed, self.peak_bytes = sidecar, [], [], 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with App(self.sidecar) as app:
            number = 0
            while not self._stop.is_set():
                number += 1
                begun = time.monotonic()
                try:
                    answer = app.create_accounts(f"u{number % 100}")
                    assert len(answer) == 1
                except Exception as error:  # Reported by `check`.
                    self.failed.append(error)
                self.took_s.append(time.monotonic() - begun)
                self._stop.wait(GOOD_CALL_PAUSE_S)

    def __enter__(self) -> "GoodCaller":
        self._thread.start()
        return self

    def __exit__(self, *_exception) -> None:
        self._stop.set()
        self._thread.join()
        self.peak_bytes = peak_bytes(self.sidecar)

    def check(self, what: str) -> None:
        """Checks that all calls succeeded in time, and that memory stayed in its bound."""
        took = sorted(self.took_s)
        assert len(took) >= GOOD_CALLS_MIN
        p50, p99 = took[len(took) // 2], took[len(took) * 99 // 100]
        peak = self.peak_bytes
        if FULL:
            print(f"\n{what}: peak {peak / 2**20:.0f} MiB, {len(took)} good calls, "
                  f"{len(self.failed)} failed, p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms, "
                  f"most {took[-1] * 1e3:.1f} ms")
            assert p99 < GOOD_CALL_MAX_S
        assert not self.failed, self.failed[:3]
        assert peak < RSS_MAX_BYTES, f"{peak / 2**20:.0f} MiB"


def hold(attackers: list[Http2], good: GoodCaller) -> None:
    """Runs for `HOLD_S`, and until the well-behaved caller has made some calls."""
    end = time.monotonic() + HOLD_S
    pump(attackers, lambda: time.monotonic() > end and len(good.took_s) >= GOOD_CALLS_MIN, 60)


def spread(target: str, calls: int, begin, **options) -> list[Http2]:
    """Opens that number of calls over as few connections as possible."""
    connections: list[Http2] = []
    while calls:
        connection = Http2(target, **options)
        connections.append(connection)
        assert pump(connections, lambda: connection.max_streams < 2**32, TIMEOUT_S)
        for _ in range(min(calls, connection.max_streams)):
            begin(connection)
            calls -= 1
    return connections


@pytest.mark.parametrize(
    ("listener", "path"),
    [("tcp", UNARY), ("tcp", APPLY), ("tcp", HEALTH), ("admin", ADMIN_UNARY), ("admin", HEALTH)],
)
def test_unfinished_requests_hold_little_memory_and_delay_no_other_caller(listener, path):
    body = http2.unfinished(MESSAGE_BYTES, MESSAGE_BYTES - 1)
    with Sidecar() as sidecar, GoodCaller(sidecar) as good:
        attackers = spread(
            getattr(sidecar, listener), STREAMS, lambda it: it.call(path, body))
        hold(attackers, good)
        for each in attackers:
            each.close()
    good.check(f"{STREAMS} unfinished calls of {path}")


def test_a_stalled_connection_is_closed_for_a_large_request_of_another():
    body = http2.unfinished(256 * 1024, 1000)
    with Sidecar() as sidecar, GoodCaller(sidecar) as good:
        attackers = [Http2(sidecar.tcp) for _ in range(40)]
        for each in attackers:
            for _ in range(8):
                each.call(UNARY, body)
        # Together they announce twice the available memory, and then the small rest.
        pump(attackers, lambda: False, 0.5)
        for announced in [1 << power for power in range(20, 11, -1)] + [4_100]:
            call = attackers[0].call(UNARY, http2.unfinished(announced, 10))
            pump(attackers, lambda: call.ended, 0.2)
        pump(attackers, lambda: False, STALLED_S)
        assert not any(each.closed for each in attackers)
        with App(sidecar) as app:
            large = names("friend-with-a-long-name-", 500)
            assert outcomes(app.add_friends("u", *large)).count(APPLIED) == 20
        assert pump(attackers, lambda: any(each.closed for each in attackers), TIMEOUT_S)
        assert "connection closed: it held most of the memory for calls" in sidecar.read_log()
        for each in attackers:
            each.close()
    good.check("40 connections of 8 unfinished calls")


@pytest.mark.parametrize("path", [UNARY, APPLY])
def test_a_message_that_is_not_complete_in_time_ends_its_call(path):
    with Sidecar("--message-timeout-ms", "500") as sidecar:
        for body in [b"\0", http2.unfinished(100, 50), http2.unfinished(100_000, 99_999)]:
            attacker = Http2(sidecar.tcp)
            call = attacker.call(path, body)
            begun = time.monotonic()
            assert pump([attacker], lambda: call.ended, TIMEOUT_S), body[:10]
            assert time.monotonic() - begun >= 0.4
            assert call.status == 4, "DEADLINE_EXCEEDED"
            attacker.close()
        # Single bytes do not extend the timeout.
        attacker = Http2(sidecar.tcp)
        call = attacker.call(path, http2.unfinished(100, 0))
        begun = time.monotonic()
        while not call.ended:
            attacker.send(http2.frame(http2.DATA, 0, 1, b"\0"))
            pump([attacker], lambda: call.ended, 0.1)
            assert time.monotonic() - begun < TIMEOUT_S
        attacker.close()


def test_a_call_without_a_body_ends_and_a_silent_stream_does_not():
    with Sidecar("--message-timeout-ms", "300", "--connection-idle-timeout-ms", "1000") as sidecar:
        connection = Http2(sidecar.tcp)
        unary, stream = connection.call(UNARY, b""), connection.call(APPLY, b"")
        whole = quota_pb.ApplyRequest(tag=1, create_accounts=quota_pb.CreateAccountsRequest(
            app_id="app", user_ids=["u"])).SerializeToString()
        between = connection.call(APPLY, http2.message(whole))
        assert pump([connection], lambda: unary.ended, TIMEOUT_S)
        assert not pump([connection], lambda: stream.ended or between.ended, 2)
        assert not connection.goaway, "a connection with an open call is not idle"
        # Another message begins, and is not finished.
        connection.send(http2.frame(http2.DATA, 0, 5, http2.unfinished(50, 5)))
        assert pump([connection], lambda: between.ended, TIMEOUT_S)
        assert not stream.ended
        connection.close()


@pytest.mark.parametrize("how", ["no window", "no reading"])
def test_unread_responses_hold_little_memory_and_delay_no_other_caller(how):
    body = b"".join(large_result_operation(tag) for tag in range(64))
    window = 0 if how == "no window" else http2.WINDOW_MAX_BYTES
    calls = []

    def begin(connection: Http2) -> None:
        calls.append(connection.call(APPLY, body))
        connection.reads = how == "no window"

    # A slow machine that needs long to decide all of it is no failure.
    patient = ["--request-timeout-ms", "20000"]
    with Sidecar(*patient, store="memory") as sidecar, GoodCaller(sidecar) as good:
        attackers = spread(sidecar.tcp, APPLY_STREAMS, begin, window=window)
        hold(attackers, good)
        sent = sum(len(body) - len(call.body) for call in calls)
        for each in attackers:
            each.close()
    good.check(f"{APPLY_STREAMS} Apply streams, {how}")
    # An operation reserves half a megabyte, and a connection may reserve four. Each call also has a
    # window, and one or two responses in its output buffer.
    operation_bytes, window_bytes = len(body) // 64, http2.DEFAULT_WINDOW_BYTES + 1
    of_calls = APPLY_STREAMS * (window_bytes + 3 * operation_bytes)
    assert sent <= len(attackers) * 8 * operation_bytes + of_calls
    assert sent < APPLY_STREAMS * len(body) // 4


def test_a_caller_who_reads_late_gets_every_response():
    with Sidecar(store="memory") as sidecar, App(sidecar) as app:
        friends = names("friend-of-somebody-", 1000)
        requests = [
            quota_pb.ApplyRequest(tag=tag, add_friends=quota_pb.AddFriendsRequest(
                app_id=app.id, user_id=f"u{tag}", friend_ids=friends))
            for tag in range(100)
        ]
        stream = app.quota.Apply(iter(requests), timeout=60)
        time.sleep(2)
        tags = sorted(answer.tag for answer in stream)
    assert tags == list(range(100))


def mute(target: str) -> Http2:
    """A peer that connects and sends nothing."""
    return Http2(target, preface=False)


def unfinished(target: str) -> Http2:
    """A peer that never sends the rest of its request."""
    peer = Http2(target)
    peer.call(UNARY, http2.unfinished(100_000, 10))
    return peer


def unread(target: str) -> Http2:
    """A peer that reads none of its responses."""
    peer = Http2(target, window=0)
    for _ in range(8):
        peer.call(APPLY, large_result_operation(1) + large_result_operation(2))
    return peer


@pytest.mark.parametrize("connect_to", [mute, unfinished, unread])
def test_a_peer_that_neither_reads_nor_sends_does_not_hold_up_a_shutdown(connect_to):
    with Sidecar("--drain-timeout-ms", "20000", store="memory") as sidecar:
        peer = connect_to(sidecar.tcp)
        # It still acknowledges PINGs, which is not reading.
        pump([peer], lambda: False, 0.5)
        sidecar.signal(signal.SIGTERM)
        assert pump([peer], lambda: sidecar.process.poll() is not None, STOPS_WITHIN_S)
        assert sidecar.wait() == 0
        assert "drain timeout reached" not in sidecar.read_log()
        peer.close()


def test_idle_connections_are_closed_and_pings_do_not_count():
    with Sidecar("--connection-idle-timeout-ms", "1000") as sidecar:
        idle, pinging = Http2(sidecar.tcp), Http2(sidecar.admin)
        both, begun = [idle, pinging], time.monotonic()

        def both_closed() -> bool:
            if not pinging.closed:
                pinging.send(http2.frame(http2.PING, 0, 0, b"12345678"))
            time.sleep(0.02)
            return all(each.closed for each in both)

        assert pump(both, both_closed, TIMEOUT_S)
        assert idle.goaway and pinging.goaway
        assert time.monotonic() - begun >= 0.9


def test_idle_and_half_open_connections_lock_no_caller_out():
    with Sidecar("--connections-max", "16") as sidecar:
        silent = [Http2(sidecar.tcp, preface=False) for _ in range(24)]
        wait_until(lambda: is_serving(sidecar.tcp), TIMEOUT_S, "room beside silent connections")
        for each in silent:
            each.close()
        idle = [Http2(sidecar.tcp) for _ in range(16)]
        pump(idle, lambda: all(each.max_streams < 2**32 for each in idle), TIMEOUT_S)
        wait_until(lambda: is_serving(sidecar.tcp), TIMEOUT_S, "room beside idle connections")
        with App(sidecar) as app:
            assert outcomes(app.create_accounts("u")) == [APPLIED]
        for each in idle:
            each.close()


def test_a_violation_of_the_protocol_is_one_line_with_the_peer():
    with Sidecar() as sidecar:
        abusers = [Http2(sidecar.tcp) for _ in range(30)]
        for each in abusers:
            head = http2.request_headers(UNARY)
            for number in range(1, 400, 2):
                each.send(http2.frame(http2.HEADERS, http2.END_HEADERS, number, head))
                each.send(http2.frame(http2.RST_STREAM, 0, number, b"\0\0\0\x08"))
        assert pump(abusers, lambda: all(each.closed for each in abusers), TIMEOUT_S)
        peers = {f"127.0.0.1:{port}" for port in range(65_536)}
        lines = [line for line in sidecar.read_log().splitlines() if " WARN " in line]
        told = [line for line in lines if "connection closed: HTTP/2 protocol violated" in line]
        assert 1 <= len(told) <= 5, lines
        assert all(any(f'peer="{peer}"' in line for peer in peers) for line in told), told
        assert [line for line in lines if "h2::" in line or "hyper::" in line] == []


def test_few_file_descriptors_mean_fewer_connections_and_a_warning(tmp_path, monkeypatch):
    limited = tmp_path / "limited"
    limited.write_text(f'#!/bin/sh\nulimit -n 300\nexec "{binary()}" "$@"\n')
    limited.chmod(limited.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("IMQUOTA_BIN", str(limited))
    with Sidecar(management=True) as sidecar:
        assert "file descriptors short" in sidecar.read_log()
        held = [Http2(sidecar.tcp, preface=False) for _ in range(200)]
        # The admin listener, probes and the store have reserved descriptors.
        assert is_serving(sidecar.admin, "imquota.v1.AdminService")
        with connect(sidecar.unix), App(sidecar, sidecar.unix) as app:
            assert outcomes(app.create_accounts("u")) == [APPLIED]
        assert "connection not accepted" not in sidecar.read_log()
        # They do not delay the shutdown either.
        begun = time.monotonic()
        sidecar.stop()
        assert time.monotonic() - begun < 4
        for each in held:
            each.close()


def test_the_limit_of_file_descriptors_is_raised(tmp_path, monkeypatch):
    limited = tmp_path / "limited"
    limited.write_text(f'#!/bin/sh\nulimit -Sn 256\nexec "{binary()}" "$@"\n')
    limited.chmod(limited.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("IMQUOTA_BIN", str(limited))
    with Sidecar() as sidecar:
        limits = Path(f"/proc/{sidecar.process.pid}/limits").read_text()
        (line,) = [line for line in limits.splitlines() if line.startswith("Max open files")]
        soft, hard = line.split()[3:5]
        assert soft == hard and soft != "256"
        assert "file descriptors short" not in sidecar.read_log()
