//! Free ports for servers, outside of the range for outgoing connections.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::TcpListener;

/// Ports of servers; with [`BUS_OFFSET`] added they still lie below 32768, where the ports for
/// outgoing connections begin.
const PORT_FIRST: u16 = 10_500;
const PORTS: u64 = 12_000;
/// The offset from a node's port to its cluster bus port.
const BUS_OFFSET: u16 = 10_000;
const PORTS_TRIED_MAX_PER_CALL: usize = 1_000;

/// Returns a port that is unused together with its bus port.
pub fn free_port() -> u16 {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    for _ in 0..PORTS_TRIED_MAX_PER_CALL {
        let random = RandomState::new().build_hasher().finish();
        let port = PORT_FIRST + u16::try_from(random % PORTS).expect("fits");
        if is_free(port) && is_free(port + BUS_OFFSET) {
            return port;
        }
    }
    panic!("no free port among {PORTS_TRIED_MAX_PER_CALL}");
}
