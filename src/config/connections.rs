//! Settings that bound connections and the memory of their calls.

use std::time::Duration;

use super::settings::{Kind, Setting};
use super::sources::Sources;
use super::values;

/// Bytes of one MiB.
const MIB: usize = 1024 * 1024;

pub(super) const CONNECTIONS_MAX: Setting = Setting {
    key: "connections_max",
    flag: "connections-max",
    env: "IMQUOTA_CONNECTIONS_MAX",
    kind: Kind::Number,
    value_name: "COUNT",
    default: Some("1024"),
    help: "Most connections of a gRPC listener: 16 to 16384",
};

pub(super) const CONNECTIONS_PER_PEER_MAX: Setting = Setting {
    key: "connections_per_peer_max",
    flag: "connections-per-peer-max",
    env: "IMQUOTA_CONNECTIONS_PER_PEER_MAX",
    kind: Kind::Number,
    value_name: "COUNT",
    default: None,
    help: "Most of them for one IPv4 address or IPv6 /64 once few are left; loopback and Unix \
           sockets are exempt: 1 to 16384 [default: half of connections_max]",
};

pub(super) const CONNECTION_IDLE_TIMEOUT_MS: Setting = Setting {
    key: "connection_idle_timeout_ms",
    flag: "connection-idle-timeout-ms",
    env: "IMQUOTA_CONNECTION_IDLE_TIMEOUT_MS",
    kind: Kind::Number,
    value_name: "MS",
    default: Some("300000"),
    help: "A connection without an open call is closed after this time: 1000 to 86400000",
};

pub(super) const CONNECTION_AGE_MAX_MS: Setting = Setting {
    key: "connection_age_max_ms",
    flag: "connection-age-max-ms",
    env: "IMQUOTA_CONNECTION_AGE_MAX_MS",
    kind: Kind::Number,
    value_name: "MS",
    default: Some("1800000"),
    help: "A TCP connection of this age, 10 % more or less, gets GOAWAY, so that its client \
           connects anew; never a Unix socket: 100 to 86400000, or 0 for no limit",
};

pub(super) const CONNECTION_AGE_GRACE_MS: Setting = Setting {
    key: "connection_age_grace_ms",
    flag: "connection-age-grace-ms",
    env: "IMQUOTA_CONNECTION_AGE_GRACE_MS",
    kind: Kind::Number,
    value_name: "MS",
    default: Some("300000"),
    help: "Time after GOAWAY for streams to deliver pending messages; other calls finish, however \
           long they take: 1000 to 86400000",
};

pub(super) const STREAMS_MAX: Setting = Setting {
    key: "streams_max",
    flag: "streams-max",
    env: "IMQUOTA_STREAMS_MAX",
    kind: Kind::Number,
    value_name: "COUNT",
    default: Some("128"),
    help: "Most open calls of one connection; more wait in the client: 1 to 4096",
};

pub(super) const MESSAGE_TIMEOUT_MS: Setting = Setting {
    key: "message_timeout_ms",
    flag: "message-timeout-ms",
    env: "IMQUOTA_MESSAGE_TIMEOUT_MS",
    kind: Kind::Number,
    value_name: "MS",
    default: Some("10000"),
    help: "Longest time for a request to arrive, in streams for each message from its first byte: \
           100 to 600000",
};

pub(super) const CALL_MEMORY_MIB: Setting = Setting {
    key: "call_memory_mib",
    flag: "call-memory-mib",
    env: "IMQUOTA_CALL_MEMORY_MIB",
    kind: Kind::Number,
    value_name: "MIB",
    default: Some("48"),
    help: "Memory for open calls, unfinished requests and unread responses; one connection gets a \
           sixth: 24 to 65536",
};

/// Bounds of connections and of the memory of their calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connections {
    /// Most connections of a gRPC listener.
    pub max: usize,
    /// Most of them for one peer; `None` for half.
    pub per_peer_max: Option<usize>,
    /// A connection without an open call is closed after this time.
    pub idle_timeout: Duration,
    /// A TCP connection of about this age gets GOAWAY; `None` for no limit.
    pub age_max: Option<Duration>,
    /// Time after the GOAWAY until streams that never end by themselves are closed.
    pub age_grace: Duration,
    /// Most open calls of one connection.
    pub streams_max: u32,
    /// Longest time for a message to arrive.
    pub message_timeout: Duration,
    /// Memory for calls.
    pub call_memory_bytes: usize,
}

pub(super) fn read(sources: &mut Sources<'_>) -> Connections {
    let number = |least, most| move |text: &str| values::number(text, least..=most);
    let millis = |least, most| move |text: &str| values::millis(text, least..=most);
    let per_peer_max = sources.optional(&CONNECTIONS_PER_PEER_MAX, number(1, 16_384));
    let streams_max = sources.one(&STREAMS_MAX, number(1, 4_096));
    Connections {
        max: sources.one(&CONNECTIONS_MAX, number(16, 16_384)),
        per_peer_max: per_peer_max.map(|(most, _)| most),
        idle_timeout: sources.one(&CONNECTION_IDLE_TIMEOUT_MS, millis(1_000, 86_400_000)),
        age_max: sources.one(&CONNECTION_AGE_MAX_MS, age),
        age_grace: sources.one(&CONNECTION_AGE_GRACE_MS, millis(1_000, 86_400_000)),
        streams_max: u32::try_from(streams_max).unwrap_or(u32::MAX),
        message_timeout: sources.one(&MESSAGE_TIMEOUT_MS, millis(100, 600_000)),
        call_memory_bytes: sources.one(&CALL_MEMORY_MIB, number(24, 65_536)) * MIB,
    }
}

/// Parses the age of a connection; `None` for no limit.
fn age(text: &str) -> Result<Option<Duration>, String> {
    if text == "0" {
        return Ok(None);
    }
    let age = values::millis(text, 100..=86_400_000);
    age.map(Some).map_err(|error| format!("{error}; 0 for no limit"))
}
