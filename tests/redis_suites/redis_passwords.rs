//! A rotated password is used at the next connection, without a restart.
//!
//! The oracle is the server: it accepts only the new password, and lists the connections of a user.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::support::logs::Logs;
use crate::support::redis::{Sentinels, Server, Standalone, wait_for};
use crate::support::{Service, app, redis_options, user};
use imquota::clock::SystemClock;
use imquota::domain::decision::Mode;
use imquota::ledger::Operation;
use imquota::redis::options::{Credentials, Durability, Options};
use tempfile::TempDir;

const RULES: [&str; 6] = ["ACL", "SETUSER", "imquota", "on", "~*", "+@all"];
const WARNING: &str = "password file not read, the last password is used";
/// The time within which connections are opened again.
const RECONNECT_MAX: Duration = Duration::from_secs(20);

/// Makes a password the only valid one.
fn rotate(server: &Server, password: &str) {
    let [password, channels] = [format!(">{password}"), "allchannels".to_owned()];
    server.cli(&[&RULES[..], &["resetpass", &password, &channels]].concat());
}

/// Ends every connection except the one that sends the command.
fn disconnect(server: &Server) {
    server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    server.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
}

/// Writes a file with a final line break, like Kubernetes and editors.
fn write(file: &Path, password: &str) {
    fs::write(file, format!("{password}\n")).expect("written");
}

fn credentials(file: &Path) -> Credentials {
    let password = fs::read_to_string(file).expect("reads").trim_end().to_owned();
    Credentials {
        username: Some("imquota".to_owned()),
        password: Some(password),
        password_file: Some(file.to_owned()),
    }
}

/// Checks that a call succeeds after connections are opened again.
async fn keeps_working(service: &Service, name: &str) {
    let operation = Operation::CreateAccounts { users: vec![user(name)] };
    let calling = async {
        while service.apply(&app("a"), Mode::Enforce, operation.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(RECONNECT_MAX, calling).await.expect(name);
}

async fn open(options: Options) -> Service {
    let options = Options { durability: Durability::Local, ..options };
    Service::open_redis(options, Arc::new(SystemClock), imquota::catalog::builtin()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_password_of_redis_is_read_at_the_next_connection() {
    let redis = Standalone::start();
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("password");
    let logs = Logs::collect();
    let url = format!("redis://{}", redis.server.address());
    rotate(&redis.server, "first-secret");
    write(&file, "first-secret");
    let service = open(Options { credentials: credentials(&file), ..redis_options(&url) }).await;
    keeps_working(&service, "before").await;
    for round in ["second-secret", "third-secret"] {
        rotate(&redis.server, round);
        write(&file, round);
        disconnect(&redis.server);
        keeps_working(&service, round).await;
    }
    // The server first, and the file later: in between nothing is decided, and then calls succeed.
    rotate(&redis.server, "fourth-secret");
    disconnect(&redis.server);
    let operation = Operation::CreateAccounts { users: vec![user("between")] };
    let refused = service.apply(&app("a"), Mode::Enforce, operation).await;
    assert!(refused.is_err(), "no connection can be made: {refused:?}");
    write(&file, "fourth-secret");
    keeps_working(&service, "fourth-secret").await;

    // Without a file the last password is used, with one WARN for any number of connections.
    assert!(!logs.text().contains(WARNING), "{}", logs.text());
    fs::remove_file(&file).expect("removed");
    for round in ["without a file", "and once more"] {
        disconnect(&redis.server);
        keeps_working(&service, round).await;
    }
    let text = logs.text();
    assert_eq!(text.matches(WARNING).count(), 1, "{text}");
    for password in ["first-secret", "second-secret", "third-secret", "fourth-secret"] {
        assert!(!text.contains(password), "no password is logged: {text}");
    }
    service.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_password_of_sentinels_is_read_at_the_next_connection() {
    let deployment = Sentinels::start();
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("password");
    write(&file, "one");
    for sentinel in &deployment.sentinels {
        rotate(sentinel, "one");
    }
    let sentinel_credentials = credentials(&file);
    let service = open(Options { sentinel_credentials, ..redis_options(&deployment.url()) }).await;
    let connections = |sentinel: &Server| -> Vec<u64> {
        let list = sentinel.cli(&["CLIENT", "LIST"]);
        let ours = list.lines().filter(|line| line.contains("user=imquota"));
        ours.filter_map(|line| line.split([' ', '=']).nth(1)?.parse().ok()).collect()
    };
    for sentinel in &deployment.sentinels {
        wait_for("a subscription", || (!connections(sentinel).is_empty()).then_some(()));
    }
    write(&file, "two");
    for sentinel in &deployment.sentinels {
        let before = connections(sentinel).into_iter().max().expect("some");
        rotate(sentinel, "two");
        disconnect(sentinel);
        let is_new = |id: &u64| *id > before;
        wait_for("a new subscription", || connections(sentinel).iter().any(is_new).then_some(()));
    }
    service.close().await;
}
