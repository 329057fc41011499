//! Free ports for servers, away from those that the system gives to outgoing connections.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::TcpListener;

/// Ports of servers; with [`BUS_OFFSET`] added they still lie below 32768, where the ports for
/// outgoing connections begin.
const PORT_FIRST: u16 = 10_500;
const PORTS: u64 = 12_000;
/// From a node's port to the one where cluster nodes talk to each other.
const BUS_OFFSET: u16 = 10_000;
const PORTS_LOOKED_AT_MAX: usize = 1_000;

/// A port that nobody listens at, nor at the bus port that belongs to it.
pub fn free_port() -> u16 {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    for _ in 0..PORTS_LOOKED_AT_MAX {
        let random = RandomState::new().build_hasher().finish();
        let port = PORT_FIRST + u16::try_from(random % PORTS).expect("fits");
        if is_free(port) && is_free(port + BUS_OFFSET) {
            return port;
        }
    }
    panic!("no free port among {PORTS_LOOKED_AT_MAX}");
}
