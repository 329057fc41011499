"""The callback listener as its callers see it: settings, HTTP/1.1, metrics.

The callers are IMs, and speak plain HTTP/1.1 with JSON; what each of them sends is in `openim.py`
and `tencent.py`.
"""

import http.client
import itertools
import json
import socket
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp

from app import App
from http_port import metric
from sidecar import Sidecar, free_ports

METRIC = "imquota_callbacks_total"
"""The counter of callbacks, with the labels `protocol`, `command` and `answer`."""

WOULD_REFUSE = "would_refuse"
"""The `answer` of a callback that shadow mode has let pass."""

REJECTED = "imquota_callbacks_rejected_total"
"""The counter of requests that were forbidden, with the labels `protocol` and `reason`."""

TIMEOUT_S = 30

OPENIM_CODES = {
    "10014": 20014, "10037": 20037, "10038": 20038, "10036": 20036, "10006": 20006,
    "70398": 20398, "30010": 23010, "30014": 23014, "60020": 26020, "unavailable": 20999,
}
TENCENT_CODES = {
    "10014": 10114, "10037": 10137, "10038": 10138, "10036": 10136, "10006": 10106,
    "60020": 10160, "30010": 38010, "30014": 38014, "unavailable": 10199,
}
OPENIM_TYPES = {"0": "Public", "1": "Private", "2": "ChatRoom", "3": "AVChatRoom"}
TENCENT_TYPES = {
    "Work": "Private", "Meeting": "ChatRoom", "Private": "Private", "Public": "Public",
    "ChatRoom": "ChatRoom", "AVChatRoom": "AVChatRoom", "BChatRoom": "BChatRoom",
}

_numbers = itertools.count(1)


def openim(**changes) -> dict:
    """The settings of an OpenIM callback with a path and an app of its own; a setting that is
    changed to `None` is left out."""
    number = next(_numbers)
    settings = {
        "protocol": "openim", "path": f"/openim/secret-{number:08}", "app_id": f"openim-{number}",
        "group_types": OPENIM_TYPES, "default_group_type": "Public", "codes": OPENIM_CODES,
        "unavailable": "refuse", "budget_ms": 5000,
    }
    return {key: value for key, value in {**settings, **changes}.items() if value is not None}


def tencent(**changes) -> dict:
    """The settings of a Tencent callback with a path of its own, for every SdkAppid; a setting
    that is changed to `None` is left out."""
    settings = {
        "protocol": "tencent", "path": f"/tencent/secret-{next(_numbers):08}",
        "group_types": TENCENT_TYPES, "codes": TENCENT_CODES,
        "unavailable": "allow", "budget_ms": 5000,
    }
    return {key: value for key, value in {**settings, **changes}.items() if value is not None}


def _toml(value) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f'"{key}" = {_toml(each)}' for key, each in value.items()) + " }"
    return json.dumps(value)


def settings_file(folder: Path, listen, callbacks, **settings) -> Path:
    """Writes a file of settings for `--config`."""
    lines = [f"{key} = {_toml(value)}" for key, value in settings.items()]
    if listen is not None:
        lines.append(f"callback_listen = {_toml(listen)}")
    for callback in callbacks:
        lines.append("[[callback]]")
        lines += [f"{key} = {_toml(value)}" for key, value in callback.items()]
    file = folder / "imquota.toml"
    file.write_text("\n".join([*lines, ""]))
    return file


class CallbackSidecar(Sidecar):
    """A sidecar with a callback listener on a free port of `host`, or on a Unix socket."""

    def __init__(self, *callbacks: dict, host: str = "127.0.0.1", unix: bool = False,
                 extra: tuple = (), settings: dict | None = None, **more):
        super().__init__(*extra, management=True, **more)
        self.callbacks = callbacks
        self._host, self._on_unix, self._settings = host, unix, settings or {}

    @property
    def callback_socket(self) -> Path:
        """The path of the Unix socket."""
        return self.folder / "callback.sock"

    def arguments(self) -> list[str]:
        (self.callback_port,) = free_ports(1)
        listen = f"{self._host}:{self.callback_port}"
        if self._on_unix:
            listen = f"unix:{self.callback_socket}"
        file = settings_file(self.folder, listen, self.callbacks, **self._settings)
        return [*super().arguments(), "--config", str(file)]

    def _serving_or_ended(self) -> bool:
        if self.process.poll() is not None:
            return True
        try:
            self.connect().close()
        except OSError:
            return False
        return super()._serving_or_ended()

    def connect(self) -> socket.socket:
        """A new connection to the callback listener."""
        if self._on_unix:
            new = socket.socket(socket.AF_UNIX)
            new.settimeout(TIMEOUT_S)
            new.connect(str(self.callback_socket))
            return new
        new = socket.create_connection(("127.0.0.1", self.callback_port), timeout=TIMEOUT_S)
        new.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return new

    def counted(self, **labels: str) -> float:
        """The number of callbacks with these labels."""
        return metric(self.management_port, METRIC, **labels)


@dataclass
class Answer:
    """What a caller gets."""

    status: int
    body: bytes
    headers: dict = field(default_factory=dict)

    @property
    def json(self):
        """The body as JSON; fails if it is none."""
        return json.loads(self.body)


class Client:
    """Callbacks over one connection after another, which is kept alive like an IM's."""

    def __init__(self, sidecar: CallbackSidecar, tls: ssl.SSLContext | None = None):
        self._sidecar, self._tls = sidecar, tls
        self._connection = None

    def request(self, method: str, target: str, body: bytes | None = None,
                headers: dict | None = None) -> Answer:
        """Sends one request, on a new connection if the last one was closed."""
        again = self._connection is not None
        try:
            return self._request(method, target, body, headers or {})
        except (http.client.RemoteDisconnected, ConnectionError):
            self.close()
            if not again:
                raise
            return self._request(method, target, body, headers or {})

    def _request(self, method, target, body, headers) -> Answer:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("localhost", timeout=TIMEOUT_S)
            self._connection.sock = self._sidecar.connect()
            if self._tls:
                self._connection.sock = self._tls.wrap_socket(
                    self._connection.sock, server_hostname="127.0.0.1")
        try:
            answer = self._send(method, target, body, headers)
            headers = {name.lower(): value for name, value in answer.getheaders()}
            got = Answer(answer.status, answer.read(), headers)
        except BaseException:
            self.close()
            raise
        if answer.will_close:
            self.close()
        return got

    def _send(self, method, target, body, headers) -> http.client.HTTPResponse:
        """The response, which may come before the whole request is sent, as to an IM's client."""
        sock = self._connection.sock
        try:
            self._connection.request(method, target, body, headers)
        except (BrokenPipeError, ConnectionResetError):
            answer = http.client.HTTPResponse(sock, method=method)
            answer.begin()
            answer.will_close = True
            return answer
        return self._connection.getresponse()

    def close(self) -> None:
        """Closes the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_exception) -> None:
        self.close()


def stop(app: App) -> None:
    """Registers the app with an edition whose grace is over."""
    at = Timestamp(seconds=int(time.time()) - 40 * 86_400)
    app.admin("CreateApp", effective_at=at)
    app.admin("PurchaseEdition", edition_id="professional", months=1, effective_at=at)
