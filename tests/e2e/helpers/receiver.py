"""A webhook receiver: a real HTTP server that records posts and returns configured statuses."""

import hashlib
import hmac
import json
import ssl
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = b"a secret of 16 bytes or more"
CLOCK_DIFFERENCE_MAX_S = 60


@dataclass
class Post:
    """One post and the status of its response."""

    path: str
    headers: dict
    body: bytes
    status: int
    received_at_s: float

    @property
    def id(self) -> int | str:
        """The event's id, by the header: a number, or the range of dropped events."""
        event_id = self.headers["imquota-event-id"]
        return int(event_id) if event_id.isdigit() else event_id

    @property
    def event(self) -> dict:
        """The event in the body."""
        return json.loads(self.body)

    def check(self) -> None:
        """Fails unless the post is signed with the secret, recent, and complete."""
        timestamp = self.headers["imquota-timestamp"]
        assert abs(self.received_at_s - int(timestamp)) < CLOCK_DIFFERENCE_MAX_S
        digest = hmac.new(SECRET, timestamp.encode() + b"." + self.body, hashlib.sha256)
        assert self.headers["imquota-signature"] == f"v1={digest.hexdigest()}"
        assert self.headers["content-type"] == "application/json"
        assert self.event["event_id"] == str(self.id)


class Receiver:
    """Serves on a free port of the loopback interface inside of the context."""

    def __init__(self, tls: tuple[str, str] | None = None):
        self.posts: list[Post] = []
        self.answers: list[int] = []
        """Statuses of the next responses; afterwards 200."""
        self.open = threading.Event()
        """While cleared, posts are recorded and delayed until it is set."""
        self.open.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                status = receiver.answers.pop(0) if receiver.answers else 200
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.posts.append(Post(self.path, headers, body, status, time.time()))
                receiver.open.wait()
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("location", f"{receiver.url}/elsewhere")
                self.send_header("content-length", "0")
                self.end_headers()

            def do_GET(self):
                raise AssertionError("a redirect was followed")

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_):
                """Ignores connections that a killed sidecar breaks."""

        self._server = Server(("127.0.0.1", 0), Handler)
        scheme = "http"
        if tls:
            scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Receiver":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_exception) -> None:
        self.open.set()
        self._server.shutdown()
        self._server.server_close()

    def taken(self) -> list[int | str]:
        """Ids of the events that were accepted with 200, in order."""
        return [post.id for post in self.posts if post.status == 200]
