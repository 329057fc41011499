//! The permissions of docs/operations.md: the ledger works with them, and without one of them it
//! does not open and names the missing one.

use std::sync::Arc;

use crate::support::logs::Logs;
use crate::support::redis::{Cluster, Sentinels, Server, Standalone};
use crate::support::{Service, app, group, order, redis_options, user};
use imquota::clock::SystemClock;
use imquota::domain::decision::Subject;
use imquota::ledger::Operation;
use imquota::ledger::redis::Redis;
use imquota::redis::OpenError;
use imquota::redis::options::{Credentials, Durability, Options};

const PAGE: &str = include_str!("../../docs/operations.md");
/// How a block of permissions in it begins.
const HEAD: &str = "\nACL SETUSER imquota ";
/// The password in the line.
const PASSWORD: &str = "SECRET";
/// The additional permissions of a cluster; it opens without the one for its nodes.
const OF_CLUSTERS: [&str; 3] = ["+cluster|slots", NODES, "+asking"];
const NODES: &str = "+cluster|nodes";

/// The rules of the page for Redis and for the Sentinels.
fn blocks() -> Vec<Vec<&'static str>> {
    let rules = |rest: &'static str| {
        let (block, _) = rest.split_once("\n```").expect("the block ends");
        block.split_whitespace().collect()
    };
    PAGE.split(HEAD).skip(1).map(rules).collect()
}

/// The rules for Redis.
fn rules() -> Vec<&'static str> {
    blocks()[0].clone()
}

/// The permissions among them.
fn permissions() -> Vec<&'static str> {
    rules().into_iter().filter(|rule| rule.starts_with('+')).collect()
}

fn set(server: &Server, rules: &[&str]) {
    server.cli(&[&["ACL", "SETUSER", "imquota"], rules].concat());
}

fn as_user(url: &str) -> Options {
    let user = Some("imquota".to_owned());
    let credentials =
        Credentials { username: user, password: Some(PASSWORD.to_owned()), password_file: None };
    Options { credentials, ..redis_options(url) }
}

/// The error of opening the store.
async fn failure(options: &Options) -> OpenError {
    let opened = Redis::open(options.clone(), Arc::new(SystemClock)).await;
    opened.err().expect("it does not open")
}

/// Checks that the store does not open without a permission, and names it.
async fn is_required(servers: &[Server], permission: &str, options: &Options) {
    let name = &permission[1..];
    for server in servers {
        set(server, &[&format!("-{name}")]);
    }
    let error = failure(options).await;
    let why = error.to_string();
    assert!(why.to_lowercase().contains(name), "{permission}: {why}");
    assert!(!error.is_transient(), "rules do not change by waiting: {permission}: {why}");
    for server in servers {
        set(server, &[permission]);
    }
}

/// Returns whether a starting sidecar queries all Sentinels and requires a majority.
async fn requires_a_majority(options: &Options) -> bool {
    let logs = Logs::collect();
    works(options).await;
    !logs.text().contains("one Sentinel is accepted")
}

/// Checks every kind of operation, and the directory.
async fn works(options: &Options) {
    let catalog = imquota::catalog::builtin();
    let service = Service::open_redis(options.clone(), Arc::new(SystemClock), catalog).await;
    let app = app("permitted");
    service.register(&app, "r0").await.expect("registered");
    service.buy(&app, "r1", order("professional"), 1).await.expect("bought");
    let people = || (0..5).map(|number| user(format!("user {number}"))).collect::<Vec<_>>();
    let (me, room) = (user("user 0"), group("room"));
    let create = |name| Operation::CreateGroup {
        group: group(name),
        group_type: "ChatRoom".into(),
        owner: Some(user("user 0")),
        members: people(),
        max_members: None,
    };
    let friends = || people().split_off(1);
    for operation in [
        Operation::CreateAccounts { users: people() },
        Operation::AddFriends { user: me.clone(), friends: friends(), one_way: false },
        Operation::RemoveFriends { user: me.clone(), friends: vec![user("user 1")], one_way: true },
        create("room"),
        create("other"),
        Operation::UpdateGroup { group: room.clone(), max_members: Some(50) },
        Operation::LeaveGroup { group: room.clone(), users: friends() },
        Operation::JoinGroup { group: room.clone(), users: friends() },
        Operation::DissolveGroup { group: room.clone() },
        Operation::DeleteAccount { user: me.clone() },
    ] {
        let name = operation.name();
        assert!(!service.enforce(&app, operation).await.denied(), "{name}");
    }
    assert_eq!(service.used(&app, Subject::User(user("user 2")), "groups_per_user").await, 1);
    assert_eq!(service.used(&app, Subject::User(me), "friends_per_user").await, 0);
    service.usage(&app, Subject::App).await;
    service.usage(&app, Subject::Group(group("other"))).await;
    service.administration.publish_all().await.expect("all apps are listed");
    service.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rules_of_the_readme_are_sufficient_and_necessary() {
    let redis = Standalone::start();
    let servers = [redis.server];
    set(&servers[0], &rules());
    let url = format!("redis://{}", servers[0].address());
    let options = as_user(&url);
    works(&options).await;
    // Without `WAIT` the master alone confirms writes.
    for permission in permissions().into_iter().filter(|permission| *permission != "+wait") {
        is_required(&servers, permission, &options).await;
    }
    set(&servers[0], &["-wait"]);
    works(&options).await;
    let patterns = ["~q1{*", "~imquota:identity"];
    for (kept, missing) in [(patterns[0], patterns[1]), (patterns[1], patterns[0])] {
        set(&servers[0], &["resetkeys", kept]);
        let error = failure(&options).await;
        let why = error.to_string();
        let sentence = format!("may not access the keys {} in Redis", &missing[1..]);
        assert!(why.contains(&sentence) && why.contains("NOPERM"), "{kept}: {why}");
        assert!(!error.is_transient(), "rules do not change by waiting: {kept}: {why}");
    }
    set(&servers[0], &patterns);
    let elsewhere = as_user(&format!("{url}/1"));
    set(&servers[0], &["+select"]);
    works(&elsewhere).await;
    is_required(&servers, "+select", &elsewhere).await;
    works(&options).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_commands_of_the_server_are_named() {
    let cases: [(&[&str], &str); 3] = [
        (&["rename-command HKEYS \"\"", "rename-command ZADD SECRETNAME"], "HKEYS, ZADD"),
        (&["rename-command EVALSHA \"\""], "EVALSHA"),
        (&["rename-command SCRIPT SECRETNAME"], "SCRIPT"),
    ];
    for (settings, missing) in cases {
        let redis = Server::start(settings);
        let error = failure(&redis_options(&format!("redis://{}", redis.address()))).await;
        let sentence = format!("has no command {missing}, which imquota needs");
        assert!(error.to_string().contains(&sentence) && !error.is_transient(), "{error}");
    }
    let redis = Server::start(&["rename-command CONFIG \"\""]);
    works(&redis_options(&format!("redis://{}", redis.address()))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_needs_permissions_of_its_own() {
    let cluster = Cluster::start();
    for node in &cluster.nodes {
        set(node, &[&rules()[..], &OF_CLUSTERS].concat());
    }
    let options = as_user(&cluster.url());
    works(&options).await;
    for permission in OF_CLUSTERS.into_iter().filter(|permission| *permission != NODES) {
        is_required(&cluster.nodes, permission, &options).await;
    }
    // Without it no Sentinel can be queried for the state of a replica.
    for node in &cluster.nodes {
        set(node, &["-cluster|nodes"]);
    }
    works(&options).await;
    works(&Options { durability: Durability::Replicated, ..options }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_need_the_rules_of_the_readme_and_one_permission_at_least() {
    let deployment = Sentinels::start();
    for server in &deployment.servers {
        set(server, &rules());
    }
    let all = blocks()[1].clone();
    for sentinel in &deployment.sentinels {
        set(sentinel, &all);
    }
    let mut options = as_user(&deployment.url());
    options.sentinel_credentials = options.credentials.clone();
    options.durability = Durability::Replicated;
    assert!(requires_a_majority(&options).await);
    is_required(&deployment.servers, "+wait", &options).await;
    let (needed, others): (Vec<_>, Vec<_>) = all
        .into_iter()
        .filter(|rule| rule.starts_with("+sentinel"))
        .partition(|rule| rule.ends_with("get-master-addr-by-name"));
    is_required(&deployment.sentinels, needed[0], &options).await;
    // Without one of the others a single Sentinel is accepted.
    for permission in others {
        for sentinel in &deployment.sentinels {
            set(sentinel, &[&permission.replace('+', "-")]);
        }
        assert!(!requires_a_majority(&options).await, "{permission}");
        for sentinel in &deployment.sentinels {
            set(sentinel, &[permission]);
        }
    }
}
