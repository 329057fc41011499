"""Calls by the Connect protocol through curl, as a program without gRPC makes them."""

import json
import struct
import subprocess
import threading
from dataclasses import dataclass, field
from typing import Any

TIMEOUT_S = 20
JSON = {"content-type": "application/json"}
STREAM = {"content-type": "application/connect+json"}
QUOTA, ADMIN, METERING = ("/imquota.v1." + service + "/" for service in (
    "QuotaService", "AdminService", "MeteringService"))


@dataclass
class Response:
    """An answer: its status, its headers in lower case, and its body."""

    status: int
    headers: dict[str, str]
    body: bytes
    lines: list[str] = field(default_factory=list)

    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    def reason(self) -> str:
        """The reason in the ErrorInfo of an error."""
        return reason(self.json())


def reason(error: dict) -> str:
    """The reason in the ErrorInfo of an error."""
    infos = [each["debug"] for each in error.get("details", [])
             if each["type"] == "google.rpc.ErrorInfo"]
    return infos[0]["reason"] if infos else ""


def arguments(target: str, path: str, headers: dict[str, str], *, more=()) -> list[str]:
    """The command line of curl for a listener."""
    command = ["curl", "--silent", "--show-error", "--max-time", str(TIMEOUT_S), *more]
    for name, value in headers.items():
        command += ["--header", f"{name}: {value}"]
    if target.startswith("unix:"):
        return [*command, "--unix-socket", target.removeprefix("unix:"), f"http://localhost{path}"]
    scheme = "" if "://" in target else "http://"
    return [*command, f"{scheme}{target}{path}"]


def call(target: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None,
         http2: bool = False, method: str | None = None, more=()) -> Response:
    """Sends a request, by POST if it has a body: bytes, or a value as JSON."""
    headers = JSON if headers is None else headers
    options = ["--include", *more]
    options += ["--http2-prior-knowledge"] if http2 else ["--http1.1"]
    options += ["--request", method] if method else []
    data = None
    if body is not None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        options += ["--data-binary", "@-"]
    ran = subprocess.run(arguments(target, path, headers, more=options), input=data,
                         capture_output=True, timeout=2 * TIMEOUT_S, check=False)
    assert ran.returncode == 0, (ran.returncode, ran.stderr.decode(), ran.stdout[:300])
    return parsed(ran.stdout)


def parsed(text: bytes) -> Response:
    """An answer as curl writes it, without the interim ones before it."""
    head, body = text.split(b"\r\n\r\n", 1)
    while head.split(b" ", 2)[1] == b"100":
        head, body = body.split(b"\r\n\r\n", 1)
    first, *lines = head.decode().split("\r\n")
    headers = {}
    for line in lines:
        name, value = line.split(":", 1)
        headers[name.lower()] = value.strip()
    return Response(int(first.split(" ")[1]), headers, body, lines)


def envelope(message: Any, flags: int = 0) -> bytes:
    """A frame of a stream."""
    data = message if isinstance(message, bytes) else json.dumps(message).encode()
    return struct.pack(">BI", flags, len(data)) + data


def frames(body: bytes) -> list[tuple[int, Any]]:
    """The frames of a stream: the flags and the message of each."""
    found = []
    while body:
        flags, length = struct.unpack_from(">BI", body)
        found.append((flags, json.loads(body[5:5 + length])))
        body = body[5 + length:]
    return found


class Stream:
    """An open stream of answers to one request, over HTTP/1.1."""

    def __init__(self, target: str, path: str, request: Any, headers: dict[str, str] | None = None):
        options = ["--http1.1", "--no-buffer", "--data-binary", "@-"]
        command = arguments(target, path, {**STREAM, **(headers or {})}, more=options)
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.process.stdin.write(envelope(request))
        self.process.stdin.close()
        self._late = threading.Timer(2 * TIMEOUT_S, self.process.kill)
        self._late.start()

    def next(self) -> tuple[int, Any]:
        """The flags and the message of the next frame; fails if the stream has ended."""
        flags, length = struct.unpack(">BI", self._read(5))
        return flags, json.loads(self._read(length))

    def _read(self, count: int) -> bytes:
        data = self.process.stdout.read(count)
        assert len(data) == count, f"the stream ended after {data!r}"
        return data

    def end(self) -> dict:
        """The message of the last frame, after any other ones; the connection's answer is over."""
        while True:
            flags, message = self.next()
            if flags & 2:
                assert self.process.stdout.read() == b""
                return message

    def close(self) -> None:
        """Ends the process."""
        self._late.cancel()
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_exception) -> None:
        self.close()
