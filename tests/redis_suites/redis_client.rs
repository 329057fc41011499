//! The client layer of the Redis store against real servers, which the tests start and kill.

mod cluster;
mod failures;
mod managed;
mod neighbours;
mod opening;
mod passing;
mod replicated;
mod sentinel;
mod servers;
mod slots;
mod standalone;
mod tls;

use std::time::Duration;

use imquota::redis::client::{CallError, Client};
use imquota::redis::options::{
    Address, Coalescing, Confirmation, Credentials, Durability, HostPort, Options, Topology,
};
use imquota::redis::script::Script;
use redis::Value;

/// The timeout for a call to a healthy server on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Adds one to its key.
const COUNT: usize = 0;
/// Returns an error.
const FAIL: usize = 1;
/// Adds one to each of two keys; returns the second one.
const COUNT_BOTH: usize = 2;

fn scripts() -> Vec<Script> {
    vec![
        Script::new("count", "#!lua\nreturn redis.call('INCR', KEYS[1])".to_owned()),
        Script::new("fail", "#!lua\nreturn redis.error_reply('OWN words')".to_owned()),
        Script::new(
            "count both",
            format!("#!lua\n{0}1])\nreturn {0}2])", "redis.call('INCR', KEYS["),
        ),
    ]
}

fn at(port: u16) -> HostPort {
    HostPort { host: "127.0.0.1".to_owned(), port }
}

fn options(topology: Topology) -> Options {
    Options {
        topology,
        tls: None,
        credentials: Credentials::default(),
        sentinel_credentials: Credentials::default(),
        durability: Durability::Local,
        confirmation: Confirmation::default(),
        connect_timeout: Duration::from_secs(2),
        silence_max: Duration::from_millis(500),
        subjects_in_flight_max: 512,
        coalescing: Coalescing::Off,
    }
}

fn standalone(port: u16) -> Options {
    options(Topology::Standalone { address: Address::Tcp(at(port)), database: 0 })
}

async fn count(client: &Client, key: &str, within: Duration) -> Result<i64, CallError> {
    let keys = [key.as_bytes().to_vec()];
    match client.call(COUNT, &keys, &[], within).await? {
        Value::Int(count) => Ok(count),
        other => panic!("not a number: {other:?}"),
    }
}

/// As [`count`], once more for each connection of the client that a killed server has left, up to
/// ten: its calls have no effect, since the server is dead, and their outcome is unknown.
async fn count_after_kill(client: &Client, key: &str, within: Duration) -> Result<i64, CallError> {
    let mut answer = count(client, key, within).await;
    for _ in 0..10 {
        if !matches!(answer, Err(CallError::Broken(_) | CallError::OutcomeUnknown(_))) {
            break;
        }
        answer = count(client, key, within).await;
    }
    answer
}
