//! The memory of holds in Redis.

use futures_util::StreamExt as _;
use futures_util::stream;

use super::*;

/// Holds over which the memory is measured, each of one join.
const HOLDS: usize = 10_000;
/// Members of each group.
const GROUP_MEMBERS: usize = 500;
/// Concurrent calls.
const IN_FLIGHT: usize = 32;
/// The most memory of a hold beside that of its fact, while it lives, and of its record afterwards.
const LIVE_BYTES_MAX: u64 = 850;
const ENDED_BYTES_MAX: u64 = 550;

fn used(timed: &TimedServer) -> u64 {
    let used = timed.server.info("memory", "used_memory").expect("the server replies");
    used.parse().expect("a number")
}

fn id(number: usize) -> String {
    format!("01234567-89ab-cdef-0123-{number:012}")
}

fn group_of(prefix: &str, number: usize) -> String {
    format!("{prefix}{}", number / GROUP_MEMBERS)
}

/// Joins, each of another user, to groups of their own: without holds many with a call.
async fn join_all(sidecar: &Sidecar, prefix: &str, with_holds: bool) {
    for number in 0..HOLDS / GROUP_MEMBERS {
        let create = Operation::CreateGroup {
            group: group(format!("{prefix}{number}")),
            group_type: "ChatRoom".into(),
            owner: None,
            members: Vec::new(),
            max_members: None,
        };
        assert_eq!(sidecar.take(None, create).await, "A");
    }
    let batch = if with_holds { 1 } else { 100 };
    let joins = stream::iter((0..HOLDS).step_by(batch)).map(|first| async move {
        let id = id(first);
        let hold = with_holds.then_some((id.as_str(), LONG));
        let users = (first..first + batch).map(|number| user(format!("u{number}")));
        let joins = join(&group_of(prefix, first), users.collect());
        assert_eq!(sidecar.take(hold, joins).await, "A".repeat(batch));
    });
    joins.buffer_unordered(IN_FLIGHT).collect::<Vec<()>>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_of_a_hold_is_small() {
    let timed = TimedServer::start();
    let sidecar = Sidecar::open(&timed.url(), timed.clock.clone()).await;
    sidecar.limit(1, &[]).await;
    // The users' cells exist from here on.
    join_all(&sidecar, "first", false).await;
    let start = used(&timed);
    join_all(&sidecar, "plain", false).await;
    let plain = used(&timed);
    join_all(&sidecar, "held", true).await;
    let held = used(&timed);
    let confirms = stream::iter(0..HOLDS).map(|number| {
        let sidecar = &sidecar;
        async move {
            let ended = sidecar.end(&id(number), Part::Groups, HoldEnd::Confirm).await;
            assert_eq!(ended, "c");
        }
    });
    confirms.buffer_unordered(IN_FLIGHT).collect::<Vec<()>>().await;
    let confirmed = used(&timed);
    timed.pass(i64::from(sidecar.call.catalog.holds.kept_hours) * HOUR + SECOND);
    while !keys(&timed.server, "expiry").is_empty() {
        sidecar.sweep().await;
    }
    let kept = used(&timed);
    let each = |from: u64, to: u64| (to.saturating_sub(from)) / HOLDS as u64;
    let fact = each(start, plain);
    let [live, ended, gone] =
        [held, confirmed, kept].map(|bytes| each(plain, bytes).saturating_sub(fact));
    println!("a membership {fact} bytes; its hold {live}, confirmed {ended}, forgotten {gone}");
    assert!(live <= LIVE_BYTES_MAX, "{live} bytes");
    assert!(ended <= ENDED_BYTES_MAX, "{ended} bytes");
    assert!(gone <= ended / 8, "{gone} bytes are left");
}
