//! The commands that holds cost, counted by the server, those within scripts too.

use std::collections::BTreeMap;

use super::*;

/// Attempts, of which the cheapest counts: the check of the server's identity makes calls as well.
const ATTEMPTS: usize = 6;

/// Calls by command.
type Calls = BTreeMap<String, u64>;

fn calls(server: &Server) -> Calls {
    let stats = server.cli(&["INFO", "commandstats"]);
    let rows =
        stats.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(":calls="));
    let row = |(name, rest): (&str, &str)| {
        let calls = rest.split(',').next().expect("a number").parse().expect("a number");
        (name.to_owned(), calls)
    };
    rows.map(row).filter(|(name, _)| !matches!(name.as_str(), "info" | "ping" | "role")).collect()
}

fn shown(calls: &Calls) -> String {
    let each = calls.iter().map(|(name, count)| format!("{name} {count}"));
    each.collect::<Vec<_>>().join(", ")
}

/// The fewest calls of a take that is made several times; `take` gets the number of the attempt.
async fn cost(
    timed: &TimedServer,
    sidecar: &Sidecar,
    expected: &str,
    take: impl Fn(usize) -> Operation,
) -> Calls {
    let mut fewest: Option<Calls> = None;
    for attempt in 0..ATTEMPTS {
        let before = calls(&timed.server);
        let taken = sidecar.take(None, take(attempt)).await;
        let after = calls(&timed.server);
        assert_eq!(taken, expected);
        let more = after.into_iter().map(|(name, count)| {
            let new = count - before.get(&name).copied().unwrap_or(0);
            (name, new)
        });
        let more: Calls = more.filter(|(_, count)| *count > 0).collect();
        let total = |calls: &Calls| calls.values().sum::<u64>();
        if fewest.as_ref().is_none_or(|fewest| total(&more) < total(fewest)) {
            fewest = Some(more);
        }
    }
    fewest.expect("there are attempts")
}

async fn world(limits: &[(LimitId, u64)]) -> (TimedServer, Sidecar) {
    let timed = TimedServer::start();
    let sidecar = Sidecar::open(&timed.url(), timed.clock.clone()).await;
    sidecar.limit(1, limits).await;
    sidecar.take(None, create("g", "owner", None)).await;
    (timed, sidecar)
}

/// Holds something in each part of the app.
async fn hold_something(sidecar: &Sidecar, id: &str, seconds: u32) {
    let hold = Some((id, seconds));
    assert_eq!(sidecar.take(hold, accounts(vec![user(id)])).await, "A");
    assert_eq!(sidecar.take(hold, follow(id, vec![user("f")])).await, "A");
    assert_eq!(sidecar.take(hold, join("g", vec![user(id)])).await, "A");
}

/// The commands of takes of new facts are those of the version before holds: HMGET, which reads the
/// first expiry beside the limits, was HGET.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_fact_without_a_hold_costs_no_further_command() {
    let (timed, sidecar) = world(&[]).await;
    for round in ["without holds", "beside holds"] {
        let name = |of: &str, attempt: usize| format!("{of} {round} {attempt}");
        let new = |of: &str, attempt: usize| vec![user(name(of, attempt))];
        let check = async |take: &dyn Fn(usize) -> Operation, letters: &str, expected: &str| {
            let cost = cost(&timed, &sidecar, letters, take).await;
            assert_eq!(shown(&cost), expected, "{}, {round}", take(0).name());
        };
        check(
            &|attempt| accounts(new("a", attempt)),
            "A",
            "evalsha 1, exists 1, get 2, hmget 1, incrby 2, sadd 1, sismember 1, time 1",
        )
        .await;
        check(
            &|attempt| join("g", new("a", attempt)),
            "A",
            "evalsha 1, exists 1, get 2, hmget 1, incrby 1, sadd 2, scard 2, time 1",
        )
        .await;
        check(
            &|attempt| join("g", [new("b", attempt), new("c", attempt)].concat()),
            "AA",
            "evalsha 1, exists 1, get 2, hmget 1, incrby 1, sadd 3, scard 3, smismember 1, time 1",
        )
        .await;
        check(
            &|attempt| befriend(&name("a", attempt), new("b", attempt)),
            "A",
            "evalsha 1, exists 1, get 1, hmget 1, incrby 1, sadd 2, scard 3, sismember 1, \
             smismember 1, srem 1, time 1",
        )
        .await;
        check(
            &|attempt| create(&name("g", attempt), &name("o", attempt), None),
            "A",
            "evalsha 1, exists 1, get 3, hget 4, hgetall 1, hincrby 3, hmget 1, hset 1, hsetnx 1, \
             incrby 1, sadd 2, scard 3, set 1, time 1",
        )
        .await;
        hold_something(&sidecar, round, LONG).await;
    }
}

/// A fact that exists is looked up among those that are held, if any is.
#[tokio::test(flavor = "multi_thread")]
async fn already_held_costs_at_most_one_command_more() {
    let (timed, sidecar) = world(&[]).await;
    let takes = || {
        [
            accounts(vec![user("a")]),
            follow("a", vec![user("b")]),
            befriend("c", vec![user("d")]),
            join("g", vec![user("a")]),
            create("g", "owner", None),
        ]
    };
    let total = |calls: &Calls| calls.values().sum::<u64>();
    let mut before = Vec::new();
    for take in takes() {
        sidecar.take(None, take.clone()).await;
        before.push(cost(&timed, &sidecar, "H", |_| take.clone()).await);
    }
    hold_something(&sidecar, "held", LONG).await;
    for (take, before) in takes().into_iter().zip(before) {
        let after = cost(&timed, &sidecar, "H", |_| take.clone()).await;
        let is_one_more = total(&after) == total(&before) + 1;
        assert!(is_one_more, "{}: {} from {}", take.name(), shown(&after), shown(&before));
    }
}

/// A denial is one call; if facts have expired, they are removed, and it is decided again: three
/// calls for up to 256 of them, and two more for each 256 beyond that.
#[tokio::test(flavor = "multi_thread")]
async fn a_denial_removes_what_has_expired_once() {
    let limits = [(LimitId::AccountsPerApp, 1), (LimitId::MembersPerGroup, 2)];
    for (expired, expected) in [(0, 1), (1, 3), (256, 3), (257, 5)] {
        let (timed, sidecar) = world(&limits).await;
        sidecar.take(None, accounts(vec![user("a")])).await;
        sidecar.take(None, join("g", vec![user("a")])).await;
        hold_forced(&sidecar, "live", LONG, 1).await;
        let mut fewest = [u64::MAX; 2];
        for attempt in 0..ATTEMPTS {
            hold_forced(&sidecar, &format!("h{attempt}"), 1, expired).await;
            timed.pass(SECOND);
            for (take, fewest) in
                [accounts(vec![user("x")]), join("g", vec![user("x")])].into_iter().zip(&mut fewest)
            {
                let before = calls(&timed.server)["evalsha"];
                assert_eq!(sidecar.take(None, take).await, "D");
                *fewest = (*fewest).min(calls(&timed.server)["evalsha"] - before);
            }
        }
        assert_eq!(fewest, [expected; 2], "{expired} have expired");
    }
}

/// What has expired elsewhere costs nothing, however much it is.
#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_no_expired_fact_concerns_is_one_call() {
    let limits = [(LimitId::AccountsPerApp, 10_000), (LimitId::MembersPerGroup, 1_000)];
    let (timed, sidecar) = world(&limits).await;
    sidecar.take(None, create("full", "owner", Some(1))).await;
    for number in 0..10 {
        hold_forced(&sidecar, &format!("h{number}"), 1, 90).await;
    }
    sidecar.take(None, create("other", "owner", None)).await;
    timed.pass(SECOND);
    let checks: [(Operation, &str); 6] = [
        (join("other", vec![user("x")]), "A"),
        (join("other", vec![user("y"), user("z")]), "AA"),
        (join("full", vec![user("x")]), "D"),
        (Operation::LeaveGroup { group: group("other"), users: vec![user("y")] }, "A"),
        (befriend("x", vec![user("y")]), "A"),
        (accounts(vec![user("x")]), "A"),
    ];
    for (operation, expected) in checks {
        let before = calls(&timed.server)["evalsha"];
        assert_eq!(sidecar.take(None, operation.clone()).await, expected);
        let cost = calls(&timed.server)["evalsha"] - before;
        // One is of the check of the server's identity, perhaps.
        assert!(cost <= 2, "{}: {cost} calls", operation.name());
    }
}

/// Concurrent denials have what has expired removed once.
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_denials_remove_what_has_expired_once() {
    const CALLERS: u64 = 32;
    let (timed, sidecar) = world(&[(LimitId::MembersPerGroup, 2)]).await;
    sidecar.take(None, join("g", vec![user("a")])).await;
    for number in 0..5 {
        hold_forced(&sidecar, &format!("h{number}"), 1, 200).await;
    }
    timed.pass(SECOND);
    let before = calls(&timed.server)["evalsha"];
    let joins = (0..CALLERS).map(|number| {
        let sidecar = sidecar.clone();
        let operation = join("g", vec![user(format!("x{number}"))]);
        tokio::spawn(async move { sidecar.take(None, operation).await })
    });
    for denied in futures_util::future::join_all(joins).await {
        assert_eq!(denied.expect("it ends"), "D");
    }
    let cost = calls(&timed.server)["evalsha"] - before;
    // Each is decided at most twice by itself, once more with others, and one call removes.
    assert!(cost <= 3 * CALLERS + 10, "{cost} calls");
}

/// Holds that many accounts and members, over all limits.
async fn hold_forced(sidecar: &Sidecar, id: &str, seconds: u32, count: usize) {
    if count == 0 {
        return;
    }
    let forced = sidecar.as_mode(Mode::Force);
    for take in [accounts(numbered(id, count)), join("g", numbered(id, count))] {
        assert_eq!(forced.take(Some((id, seconds)), take).await, "A".repeat(count));
    }
}
