"""HTTP/2 by hand, for clients that do what libraries do not allow: send half a message, never read
a response, stay silent, or violate the protocol.
"""

import select
import socket
import struct
import time

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 3, 4
FRAME_MAX_BYTES = 16_384
WINDOW_MAX_BYTES = 2**31 - 1
DEFAULT_WINDOW_BYTES = 65_535
READ_BYTES = 256 * 1024
UNWRITTEN_MAX_BYTES = 256 * 1024

# The Huffman code of the letters of "grpc-status" and of the digits, as HPACK has it.
LETTERS = {
    "g": "100110", "r": "101100", "p": "101011", "c": "00100", "-": "010110", "s": "01000",
    "t": "01001", "a": "00011", "u": "101101",
}
DIGITS = {
    "0": "00000", "1": "00001", "2": "00010", "3": "011001", "4": "011010", "5": "011011",
    "6": "011100", "7": "011101", "8": "011110", "9": "011111",
}


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(
        ">I", stream) + payload


def header_block(fields: list[tuple[str, str]]) -> bytes:
    """Header fields, each literal and without Huffman codes."""
    def text(it: str) -> bytes:
        assert len(it) < 127, "longer strings need a longer length prefix"
        return bytes([len(it)]) + it.encode()
    return b"".join(b"\0" + text(name) + text(value) for name, value in fields)


def request_headers(path: str) -> bytes:
    """The head of a gRPC call."""
    return header_block([
        (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost"),
        ("content-type", "application/grpc"), ("te", "trailers"),
    ])


def message(payload: bytes) -> bytes:
    """A whole gRPC message."""
    return b"\0" + struct.pack(">I", len(payload)) + payload


def unfinished(announced: int, sent: int) -> bytes:
    """The beginning of a gRPC message."""
    return b"\0" + struct.pack(">I", announced) + bytes(sent)


def grpc_status(block: bytes) -> int | None:
    """The status in the first header block of a connection that has one."""
    def packed(bits: str) -> bytes:
        bits += "1" * (-len(bits) % 8)
        return int(bits, 2).to_bytes(len(bits) // 8, "big")
    name = packed("".join(LETTERS[letter] for letter in "grpc-status"))
    at = block.find(name)
    if at < 0:
        return None
    for code in range(17):
        value = packed("".join(DIGITS[digit] for digit in str(code)))
        plain = str(code).encode()
        rest = block[at + len(name):]
        if rest.startswith(bytes([0x80 | len(value)]) + value) or rest.startswith(
                bytes([len(plain)]) + plain):
            return code
    return None


class Stream:
    """One call."""

    def __init__(self, window: int, body: bytes):
        self.window = window
        self.body = memoryview(body)
        self.ended = False
        """True once the server has ended or reset the stream."""
        self.status: int | None = None


class Http2:
    """One connection. By itself it only acknowledges PINGs, and it reads only in `pump`."""

    def __init__(self, target: str, *, window: int = WINDOW_MAX_BYTES, preface: bool = True):
        host, port = target.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        self.socket.setblocking(False)
        self.streams: dict[int, Stream] = {}
        self.max_streams = 2**32
        self.stream_window = DEFAULT_WINDOW_BYTES
        self.window = DEFAULT_WINDOW_BYTES
        self.goaway = False
        self.closed = False
        self.reads = True
        self._next = 1
        self._in, self._out = bytearray(), bytearray()
        self._window_of_answers = window
        if preface:
            self.begin()

    def begin(self) -> None:
        """Sends the preface and the settings."""
        settings = struct.pack(">HI", INITIAL_WINDOW_SIZE, self._window_of_answers)
        self._out += PREFACE + frame(SETTINGS, 0, 0, settings)
        if self._window_of_answers > DEFAULT_WINDOW_BYTES:
            more = WINDOW_MAX_BYTES - DEFAULT_WINDOW_BYTES
            self._out += frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", more))

    def send(self, raw: bytes) -> None:
        """Sends frames as they are."""
        self._out += raw

    def call(self, path: str, body: bytes) -> Stream:
        """Begins a call that sends `body` within flow control, and never ends it."""
        number, self._next = self._next, self._next + 2
        self._out += frame(HEADERS, END_HEADERS, number, request_headers(path))
        stream = self.streams[number] = Stream(self.stream_window, body)
        return stream

    def open_streams(self) -> int:
        """Calls that have not ended."""
        return sum(not stream.ended for stream in self.streams.values())

    def step(self, readable: bool, writable: bool) -> None:
        """Reads and writes without blocking."""
        try:
            if readable:
                read = self.socket.recv(READ_BYTES)
                self.closed |= not read
                self._in += read
                self._take_frames()
            if writable:
                self._fill()
                sent = self.socket.send(self._out)
                del self._out[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self.closed = True

    def has_output(self) -> bool:
        """Returns whether there are bytes that may be sent now."""
        self._fill()
        return bool(self._out)

    def _fill(self) -> None:
        for number, stream in self.streams.items():
            while stream.body and not stream.ended and len(self._out) < UNWRITTEN_MAX_BYTES:
                length = min(len(stream.body), stream.window, self.window, FRAME_MAX_BYTES)
                if length <= 0:
                    break
                self._out += frame(DATA, 0, number, bytes(stream.body[:length]))
                stream.body = stream.body[length:]
                stream.window -= length
                self.window -= length

    def _take_frames(self) -> None:
        while len(self._in) >= 9:
            length = int.from_bytes(self._in[:3], "big")
            if len(self._in) < 9 + length:
                return
            kind, flags = self._in[3], self._in[4]
            number = int.from_bytes(self._in[5:9], "big")
            payload = bytes(self._in[9:9 + length])
            del self._in[:9 + length]
            self._take(kind, flags, number, payload)

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        stream = self.streams.get(number)
        if kind == SETTINGS and not flags & ACK:
            self._out += frame(SETTINGS, ACK, 0)
            for at in range(0, len(payload), 6):
                key, value = struct.unpack_from(">HI", payload, at)
                if key == MAX_CONCURRENT_STREAMS:
                    self.max_streams = value
                elif key == INITIAL_WINDOW_SIZE:
                    for each in self.streams.values():
                        each.window += value - self.stream_window
                    self.stream_window = value
        elif kind == PING and not flags & ACK:
            self._out += frame(PING, ACK, 0, payload)
        elif kind == WINDOW_UPDATE:
            more = int.from_bytes(payload, "big")
            if number == 0:
                self.window += more
            elif stream:
                stream.window += more
        elif kind == GOAWAY:
            self.goaway = True
        elif stream and kind in (HEADERS, DATA) and flags & END_STREAM:
            stream.ended = True
            stream.status = grpc_status(payload) if kind == HEADERS else None
        elif stream and kind == RST_STREAM:
            stream.ended = True

    def close(self) -> None:
        """Closes the connection."""
        self.socket.close()
        self.closed = True


def pump(connections: list[Http2], until, timeout_s: float) -> bool:
    """Transfers bytes until `until()` is true (returns true) or the timeout (returns false)."""
    end = time.monotonic() + timeout_s
    while not until():
        left = end - time.monotonic()
        if left <= 0:
            return False
        live = [each for each in connections if not each.closed]
        readers = [each.socket for each in live if each.reads]
        writers = [each.socket for each in live if each.has_output()]
        if not readers and not writers:
            time.sleep(min(left, 0.01))
            continue
        readable, writable, _ = select.select(readers, writers, [], min(left, 0.05))
        for each in live:
            each.step(each.socket in readable, each.socket in writable)
    return True
