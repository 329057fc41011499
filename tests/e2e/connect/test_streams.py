"""Streams with JSON: events as they come, and how a stream ends."""

import hashlib
import signal
import time

import pytest

from app import App
from connect_http import ADMIN, JSON, QUOTA, STREAM, Stream, call, envelope, frames, reason
from sidecar import Sidecar

REVOKED_WITHIN_S = 5
WATCH = ADMIN + "WatchEvents"


@pytest.mark.parametrize("listener", ["admin", "unix_admin"])
def test_events_arrive_as_they_happen_with_the_names_of_json(tmp_path, listener):
    socket = f"unix:{tmp_path / 'admin.sock'}"
    with Sidecar("--admin-listen", socket, store="memory") as sidecar:
        target = sidecar.admin if listener == "admin" else socket
        with App(sidecar) as app, Stream(target, WATCH, {}) as watch:
            flags, first = watch.next()
            assert flags == 0 and first == {"resumeToken": "0"}
            for number in (1, 2):
                created = {"appId": f"{app.id}-{number}", "requestId": f"r{number}"}
                assert call(target, ADMIN + "CreateApp", created).status == 200
                flags, answer = watch.next()
                assert flags == 0 and answer["event"]["kind"] == "EVENT_KIND_APP_CREATED"
                assert answer["event"]["appId"] == created["appId"]
            sidecar.signal(signal.SIGTERM)
            end = watch.end()
            assert end["error"]["code"] == "unavailable"
            assert reason(end["error"]) == "SHUTTING_DOWN"
            assert sidecar.wait() == 0


def test_a_revoked_token_ends_a_stream(tmp_path):
    tokens = tmp_path / "tokens"

    def write(*names: str) -> None:
        lines = [f"{name} viewer sha256:{hashlib.sha256(token(name).encode()).hexdigest()}\n"
                 for name in names]
        tokens.write_text("".join(lines))

    def token(name: str) -> str:
        return "imq_" + hashlib.sha256(name.encode()).hexdigest()

    write("ann", "bob")
    with Sidecar("--admin-tokens-file", str(tokens), store="memory") as sidecar:
        def watch(name: str) -> Stream:
            headers = {"authorization": f"Bearer {token(name)}"}
            return Stream(sidecar.admin, WATCH, {}, headers)

        with Stream(sidecar.admin, WATCH, {}) as anonymous:
            assert anonymous.end()["error"]["code"] == "unauthenticated"
        with watch("ann") as ann, watch("bob") as bob:
            assert ann.next()[0] == bob.next()[0] == 0
            write("bob")
            sidecar.signal(signal.SIGHUP)
            begins = time.monotonic()
            error = ann.end()["error"]
            assert time.monotonic() - begins < REVOKED_WITHIN_S
            assert error["code"] == "unauthenticated" and reason(error) == "CREDENTIALS_REVOKED"
            assert bob.process.poll() is None, "the other one continues"


def test_a_stream_ends_at_the_age_of_its_connection():
    with Sidecar("--connection-age-max-ms", "300", store="memory") as sidecar:
        with Stream(sidecar.admin, WATCH, {}) as watch:
            error = watch.end()["error"]
            assert error["code"] == "unavailable" and reason(error) == "CONNECTION_AGE"


def test_a_stream_ends_at_its_deadline(sidecar):
    with Stream(sidecar.admin, WATCH, {}, {"connect-timeout-ms": "200"}) as watch:
        error = watch.end()["error"]
        assert error["code"] == "deadline_exceeded" and "unknown" not in error["message"]


@pytest.mark.parametrize("body, reason_of_error, named", [
    (envelope({"nope": 1}), "MALFORMED_MESSAGE", "nope"),
    (envelope({}, flags=1), "MALFORMED_MESSAGE", "identity"),
    (envelope({}, flags=2), "MALFORMED_MESSAGE", "flags"),
    (envelope({})[:-1], "MALFORMED_MESSAGE", "ends within"),
    (b"\x00\x00\x18\x00\x00{", "MESSAGE_TOO_LARGE", "1048576"),
    (envelope({"resumeToken": "x"}), "INVALID_FIELDS", "resume_token"),
])
def test_an_error_is_in_the_last_frame(sidecar, body, reason_of_error, named):
    for http2 in (False, True):
        answer = call(sidecar.admin, WATCH, body, headers=STREAM, http2=http2)
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/connect+json"
        (flags, end), = frames(answer.body)
        assert flags == 2 and reason(end["error"]) == reason_of_error, end
        assert named in end["error"]["message"], end


def test_a_stream_of_requests_is_served_when_it_is_sent_at_once(sidecar):
    """curl sends its whole request before it reads; a client over HTTP/2 need not."""
    operations = [
        {"tag": "1", "createGroup": {"appId": "streamed", "groupId": "g", "type": "Public"}},
        {"tag": "2", "createAccounts": {"appId": "streamed", "userIds": ["u"]}},
    ]
    body = b"".join(map(envelope, operations))
    for http2 in (False, True):
        answer = call(sidecar.tcp, QUOTA + "Apply", body, headers=STREAM, http2=http2)
        *answers, (flags, end) = frames(answer.body)
        assert sorted(message["tag"] for _, message in answers) == ["1", "2"]
        assert flags == 2 and end == {}


def test_the_media_types_of_unary_calls_and_of_streams_differ(sidecar):
    assert call(sidecar.admin, WATCH, {}, headers=JSON).status == 415
    assert call(sidecar.admin, ADMIN + "ListApps", envelope({}), headers=STREAM).status == 415
