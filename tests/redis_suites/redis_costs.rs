//! The cost of decisions in Redis: script calls, counted by the server, and memory.

mod dissolution;
mod logins;

use crate::support::redis::{Server, Standalone};
use crate::support::{Place, Service, app, group, order, user};
use imquota::domain::decision::Subject;
use imquota::domain::id::UserId;
use imquota::ledger::Operation;

/// The most memory of a user with 30 groups and 100 friends, in bytes.
const USER_BYTES_MAX: u64 = 1536;

async fn service(redis: &Standalone) -> Service {
    let clock = std::sync::Arc::new(imquota::clock::SystemClock);
    Service::open_any(&Place::Redis(redis.url()), clock, imquota::catalog::builtin()).await
}

fn users(prefix: &str, count: usize) -> Vec<UserId> {
    (0..count).map(|number| user(format!("{prefix} {number}"))).collect()
}

fn create(name: &str) -> Operation {
    Operation::CreateGroup {
        group: group(name),
        group_type: "ChatRoom".into(),
        owner: Some(user("owner")),
        members: Vec::new(),
        max_members: None,
    }
}

fn script_calls(server: &Server) -> u64 {
    let of = |command: &str| {
        let line = server.info("commandstats", &format!("cmdstat_{command}")).unwrap_or_default();
        let calls = line.strip_prefix("calls=").and_then(|rest| rest.split(',').next());
        calls.map_or(0, |calls| calls.parse().expect("a number"))
    };
    of("evalsha") + of("eval")
}

/// Each decision is one script call, even a batch of 256. The identity check calls a script each
/// second: the fewest calls of several attempts are those of the operation.
#[tokio::test(flavor = "multi_thread")]
async fn one_decision_is_one_script_call() {
    let (redis, app) = (Standalone::start(), app("calls"));
    let service = service(&redis).await;
    service.register(&app, "r0").await.expect("registered");
    service.buy(&app, "r1", order("professional"), 1).await.expect("bought");
    let join = |users| Operation::JoinGroup { group: group("g"), users };
    let leave = |users| Operation::LeaveGroup { group: group("g"), users };
    let befriend = |friends| Operation::AddFriends { user: user("a"), friends, one_way: false };
    let operations = [
        create("g"),
        join(users("one", 1)),
        join(users("many", 256)),
        leave(users("many", 256)),
        befriend(users("one", 1)),
        befriend(users("many", 256)),
        Operation::CreateAccounts { users: users("many", 100) },
    ];
    for operation in operations {
        let mut fewest = u64::MAX;
        for _ in 0..4 {
            let before = script_calls(&redis.server);
            service.enforce(&app, operation.clone()).await;
            fewest = fewest.min(script_calls(&redis.server) - before);
        }
        assert_eq!(fewest, 1, "{}", operation.name());
    }
    service.close().await;
}

/// An unregistered app is counted at its first take, with two more calls: the take that finds that
/// it is not counted yet, and the call that counts it. Later takes have the usual cost.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_app_costs_two_more_calls_once() {
    let redis = Standalone::start();
    let service = service(&redis).await;
    let mut fewest = [u64::MAX; 2];
    for number in 0..4 {
        let app = app(&format!("unknown-{number}"));
        for (take, fewest) in fewest.iter_mut().enumerate() {
            let before = script_calls(&redis.server);
            let users = users(&format!("take {take}"), 1);
            service.enforce(&app, Operation::CreateAccounts { users }).await;
            *fewest = (*fewest).min(script_calls(&redis.server) - before);
        }
    }
    assert_eq!(fewest, [3, 1]);
    service.close().await;
}

/// A purchase makes 8 script calls in 3 round trips: it reads the revisions of the three parts and,
/// at the same time, the directory; writes the record; and writes the limits of the three parts.
#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_is_eight_script_calls() {
    let (redis, app) = (Standalone::start(), app("purchase"));
    let service = service(&redis).await;
    service.register(&app, "r0").await.expect("registered");
    let mut fewest = u64::MAX;
    for (number, what) in ["professional", "renew", "renew", "renew"].into_iter().enumerate() {
        let before = script_calls(&redis.server);
        service.buy(&app, &format!("r{}", number + 1), order(what), 1).await.expect("bought");
        fewest = fewest.min(script_calls(&redis.server) - before);
    }
    assert_eq!(fewest, 8);
    service.close().await;
}

/// A purchase counts for the next decision of another sidecar.
#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_counts_immediately_for_every_sidecar() {
    let (redis, app) = (Standalone::start(), app("at-once"));
    let (one, other) = (service(&redis).await, service(&redis).await);
    one.register(&app, "r0").await.expect("registered");
    let befriend = |friends| Operation::AddFriends { user: user("a"), friends, one_way: true };
    other.enforce(&app, befriend(users("first", 20))).await;
    assert!(other.enforce(&app, befriend(users("more", 1))).await.denied());
    one.buy(&app, "r1", order("professional"), 1).await.expect("bought");
    assert!(!other.enforce(&app, befriend(users("more", 1))).await.denied());
    one.close().await;
    other.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_30_groups_and_100_friends_is_small() {
    let (redis, app) = (Standalone::start(), app("memory"));
    let service = service(&redis).await;
    service.register(&app, "r0").await.expect("registered");
    service.buy(&app, "r1", order("professional"), 1).await.expect("bought");
    let me = user("a user with an id of 32 bytes!!!");
    for number in 0..30 {
        service.enforce(&app, create(&format!("g{number}"))).await;
        let join =
            Operation::JoinGroup { group: group(format!("g{number}")), users: vec![me.clone()] };
        service.enforce(&app, join).await;
    }
    let friends = users("friend", 100);
    let befriend = Operation::AddFriends { user: me.clone(), friends, one_way: false };
    service.enforce(&app, befriend).await;
    assert_eq!(service.used(&app, Subject::User(me.clone()), "groups_per_user").await, 30);
    assert_eq!(service.used(&app, Subject::User(me), "friends_per_user").await, 100);
    let largest = |pattern: &str, size: &str| {
        let keys = redis.server.cli(&["--scan", "--pattern", pattern]);
        let of_size = |key: &&str| redis.server.cli(&["SCARD", key]).trim() == size;
        let key = keys.lines().find(of_size).expect("the user's cell").to_owned();
        let bytes = redis.server.cli(&["MEMORY", "USAGE", &key, "SAMPLES", "0"]);
        bytes.trim().parse::<u64>().expect("a number")
    };
    // The owner of all groups has an equal number, in a cell of the same size.
    let (groups, friends) = (largest("*/groups}u*", "30"), largest("*/friends}f*", "100"));
    assert!(groups + friends <= USER_BYTES_MAX, "groups {groups}, friends {friends} bytes");
    service.close().await;
}
