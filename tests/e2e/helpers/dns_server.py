"""A DNS server with one name, whose addresses a test changes."""

import socket
import struct
import threading

A, IN = 1, 1
TTL_S = 0
HEADER_BYTES = 12
RECURSIVE_ANSWER = 0x8180


class DnsServer:
    """Responds to every query for an IPv4 address with all of `addresses`, to others with none."""

    def __init__(self, *addresses: str):
        self.addresses = list(addresses)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while True:
            question, peer = self._socket.recvfrom(512)
            if len(question) < HEADER_BYTES:
                return
            self._socket.sendto(self._answer(question), peer)

    def _answer(self, query: bytes) -> bytes:
        (number,) = struct.unpack_from(">H", query)
        # One question: labels up to the empty one, then a type and a class.
        end = query.index(b"\0", HEADER_BYTES) + 5
        (kind,) = struct.unpack_from(">H", query, end - 4)
        addresses = self.addresses if kind == A else []
        name = struct.pack(">H", 0xC000 | HEADER_BYTES)
        records = b"".join(
            name + struct.pack(">HHIH", A, IN, TTL_S, 4) + socket.inet_aton(address)
            for address in addresses)
        head = struct.pack(">HHHHHH", number, RECURSIVE_ANSWER, 1, len(addresses), 0, 0)
        return head + query[HEADER_BYTES:end] + records

    def __enter__(self) -> "DnsServer":
        self._thread.start()
        return self

    def __exit__(self, *_exception) -> None:
        # Too short for a question: the end.
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()
