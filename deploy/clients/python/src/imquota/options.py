"""Options of a client: addresses, deadlines, retries, bounds, TLS, tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from .ids import Ids, PlainIds

if TYPE_CHECKING:
    from .endings import Ending

RECONNECT_EVERY_MS = 50
"""First pause between attempts to connect. The sidecar is near, so an attempt is cheap; with gRPC's
second and more, callers would wait as long after its restart."""
RECONNECT_EVERY_MAX_MS = 1_000
KEEPALIVE_MS = 10_000
KEEPALIVE_TIMEOUT_MS = 3_000


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS to the sidecar: files in PEM."""

    authority: str | Path | None = None
    """The certificates that are trusted; `None`: those of the system."""
    certificate: str | Path | None = None
    """The client's certificate, with `key`."""
    key: str | Path | None = None
    server_name: str | None = None
    """The name in the sidecar's certificate, if it is not that of the address."""

    def credentials(self) -> grpc.ChannelCredentials:
        """The credentials of a channel."""
        def read(path: str | Path | None) -> bytes | None:
            return Path(path).read_bytes() if path else None

        return grpc.ssl_channel_credentials(
            read(self.authority), read(self.key), read(self.certificate))


@dataclass(frozen=True, slots=True)
class Bounds:
    """Most ids in one request: those of the built-in catalog. Longer lists are split.

    If the sidecar's catalog has less, the client finds it by the error, and splits further.
    """

    accounts: int = 100
    members: int = 500
    friends: int = 1000
    logins: int = 1000
    whole: int = 500
    """Whole batches, and takes with a hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything but the address and the app."""

    timeout_s: float = 2.0
    """Longest time of a request with its retries."""
    attempt_timeout_s: float = 0.5
    """Longest time of one attempt: the deadline that the sidecar gets."""
    first_pause_s: float = 0.025
    """The pause before the first retry is random, up to that; it doubles each time."""
    pause_max_s: float = 0.5
    hold_s: int = 60
    """Seconds after which a hold ends that was not confirmed: longer than the slowest commit."""
    sticky_s: float = 60.0
    """After an answer with a degradation the client stays with that address for this time."""
    bounds: Bounds = field(default_factory=Bounds)
    ids: Ids = field(default_factory=PlainIds)
    tls: Tls | None = None
    token: str | None = None
    """Sent as `authorization: Bearer`; only with TLS, over a Unix socket or to loopback."""
    queue_max: int = 10_000
    """Most endings in the queue."""
    queue_file: str | Path | None = None
    """The file that keeps them over a restart of this process; `None`: memory alone."""
    force_expired: bool = False
    """Confirm with mode FORCE, so that a hold that had expired is taken even over a limit."""
    on_lost: "Callable[[Ending], None] | None" = None
    """Called with each queued ending that can never be done."""
    pipeline: bool = False
    """Many small calls share one Apply stream."""
    in_flight_max: int = 1_000
    """Most calls in flight on a stream."""
    channel_options: Sequence[tuple[str, Any]] = ()
    """Further options of the gRPC channel."""

    def __post_init__(self) -> None:
        if min(self.timeout_s, self.attempt_timeout_s, self.first_pause_s, self.pause_max_s) <= 0:
            raise ValueError("times have to be positive")
        if self.hold_s < 1 or self.queue_max < 1 or self.in_flight_max < 1:
            raise ValueError("hold_s, queue_max and in_flight_max have to be positive")


def is_local(address: str) -> bool:
    """Whether bytes to an address stay on this machine."""
    if address.startswith("unix:"):
        return True
    host = address.removeprefix("dns:").lstrip("/").rpartition(":")[0].strip("[]")
    return host in ("localhost", "::1") or host.startswith("127.")


def channel_arguments(address: str, options: Options) -> list[tuple[str, Any]]:
    """The options of a channel to an address."""
    if options.token is not None and options.tls is None and not is_local(address):
        raise ValueError(f"a token is not sent in the clear to {address}: use TLS")
    arguments: list[tuple[str, Any]] = [
        ("grpc.initial_reconnect_backoff_ms", RECONNECT_EVERY_MS),
        ("grpc.min_reconnect_backoff_ms", RECONNECT_EVERY_MS),
        ("grpc.max_reconnect_backoff_ms", RECONNECT_EVERY_MAX_MS),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.enable_retries", 0),
        ("grpc.enable_http_proxy", 0),
        # Two clients of a process have connections of their own.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if address.startswith("unix:"):
        # grpcio would send the path as the host's name, which is not valid HTTP/2.
        arguments.append(("grpc.default_authority", "localhost"))
    if options.tls and options.tls.server_name:
        arguments.append(("grpc.ssl_target_name_override", options.tls.server_name))
    return [*arguments, *options.channel_options]


def call_metadata(options: Options) -> tuple[tuple[str, str], ...] | None:
    """The metadata of each call."""
    return (("authorization", f"Bearer {options.token}"),) if options.token is not None else None
