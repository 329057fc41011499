"""A small client of Redis and Sentinel over a Unix socket, which network cuts do not affect."""

import socket
from pathlib import Path

CALL_TIMEOUT_S = 1.0


class RedisError(Exception):
    """An error reply of the server."""


class Redis:
    """One connection, opened when it is needed and dropped after a failure."""

    def __init__(self, path: Path, timeout_s: float = CALL_TIMEOUT_S):
        self._path, self._timeout_s = path, timeout_s
        self._socket = self._file = None

    def call(self, *arguments):
        """Sends a command and returns its reply: a string, a number, a list or None.

        Raises RedisError for an error reply and OSError if there is no reply in time.
        """
        words = [str(argument).encode() for argument in arguments]
        request = b"*%d\r\n" % len(words)
        request += b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX)
                self._socket.settimeout(self._timeout_s)
                self._socket.connect(str(self._path))
                self._file = self._socket.makefile("rb")
            self._socket.sendall(request)
            reply = self._read()
        except OSError:
            self.close()
            raise
        if isinstance(reply, RedisError):
            raise reply
        return reply

    def _read(self):
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server closed the connection")
        kind, text = line[:1], line[1:-2].decode()
        if kind == b"-":
            return RedisError(text)
        if kind == b":":
            return int(text)
        if kind == b"$":
            return None if text == "-1" else self._file.read(int(text) + 2)[:-2].decode()
        if kind == b"*":
            return None if text == "-1" else [self._read() for _ in range(int(text))]
        return text

    def close(self) -> None:
        """Closes the connection; the next call opens another one."""
        for part in (self._file, self._socket):
            if part is not None:
                part.close()
        self._socket = self._file = None


def fields(flat: list) -> dict:
    """A reply of alternating names and values, as a dict."""
    return dict(zip(flat[::2], flat[1::2]))


def info(client: Redis, section: str) -> dict[str, str]:
    """A section of INFO."""
    lines = client.call("INFO", section).split("\r\n")
    return dict(line.split(":", 1) for line in lines if ":" in line)
