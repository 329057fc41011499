//! The other floor: the smallest script that joins a user exactly, two counts and two adds, called
//! through one multiplexed connection. It has no editions, no types, no time and no modes.

use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{Client, cmd};
use tokio::task::JoinSet;

use super::results::{Recorder, Results};
use super::shared::{Pairs, SEED};

const JOIN: &str = "\
if redis.call('SCARD', KEYS[1]) >= 1000 or redis.call('SCARD', KEYS[2]) >= 6000 then return 0 end
redis.call('SADD', KEYS[1], ARGV[1])
return redis.call('SADD', KEYS[2], ARGV[2])";

/// A client that joins by the bare script.
pub struct Bare {
    connection: MultiplexedConnection,
    digest: String,
    pairs: Pairs,
    next: u64,
}

impl Bare {
    pub async fn connect(url: &str, users: u32, groups: u32) -> Self {
        let client = Client::open(url).expect("a good address");
        let connection = client.get_multiplexed_async_connection().await.expect("it listens");
        let mut loading = connection.clone();
        let digest = cmd("SCRIPT").arg("LOAD").arg(JOIN).query_async(&mut loading).await;
        let digest = digest.expect("Redis loads the script");
        Self { connection, digest, pairs: Pairs::of(users, groups, SEED), next: 0 }
    }

    /// Keeps that number of calls in flight for the given times; returns the results, and the
    /// number of calls made, including those of the warm-up.
    pub async fn closed(
        &mut self,
        in_flight: u64,
        warm_up: Duration,
        measured: Duration,
    ) -> (Results, u64) {
        let recorder = std::sync::Arc::new(Recorder::new());
        let begun = Instant::now();
        let mut tasks = JoinSet::new();
        for task in 0..in_flight {
            let (mut connection, digest) = (self.connection.clone(), self.digest.clone());
            let (recorder, pairs, first) = (recorder.clone(), self.pairs, self.next + task);
            tasks.spawn(async move {
                let mut number = first;
                while begun.elapsed() < warm_up + measured {
                    let pair = pairs.get(number);
                    let mut call = cmd("EVALSHA");
                    call.arg(&digest).arg(2);
                    call.arg(format!("bare-user-{:07}", pair.user));
                    call.arg(format!("bare-group-{:05}", pair.group));
                    call.arg(spread(pair.group)).arg(spread(pair.user));
                    let sent = Instant::now();
                    let joined = call.query_async(&mut connection).await;
                    let joined: i64 = joined.expect("the script runs");
                    if begun.elapsed() > warm_up {
                        recorder
                            .note(if joined == 1 { "applied" } else { "denied" }, sent.elapsed());
                    }
                    number += in_flight;
                }
                number
            });
        }
        let ends = tasks.join_all().await;
        let sent = ends.iter().map(|end| (end - self.next) / in_flight).sum();
        self.next = ends.into_iter().max().unwrap_or(self.next);
        let mut results = recorder.take();
        results.seconds = measured.as_secs_f64();
        (results, sent)
    }
}

/// Returns a number as long as the sidecar's own elements of sets.
fn spread(number: u32) -> u64 {
    u64::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 1
}
