//! Servers without some commands, like those of managed services: the start names a missing
//! required command, logs a warning for each setting that it cannot check, and continues.

use imquota::redis::client::Client;

use super::servers::Server;
use super::{WAIT_MAX, count, scripts, standalone};
use crate::support::logs::Logs;

/// A server without that command.
fn without(command: &str, arguments: &[&str]) -> Server {
    Server::start(&[&["--rename-command", command, ""], arguments].concat())
}

/// The log lines at WARN about a server that works.
async fn warnings(server: &Server) -> Vec<String> {
    let logs = Logs::collect();
    let client = Client::open(standalone(server.port), scripts()).await.expect("opened");
    assert_eq!(count(&client, "k", WAIT_MAX).await, Ok(1));
    let server = format!("server=127.0.0.1:{}", server.port);
    let of_server = |line: &&str| line.contains(" WARN ") && format!("{line} ").contains(&server);
    logs.text().lines().filter(of_server).map(str::to_owned).collect()
}

/// The number of lines with all of these words.
fn with(lines: &[String], words: &[&str]) -> usize {
    lines.iter().filter(|line| words.iter().all(|word| line.contains(word))).count()
}

#[tokio::test]
async fn without_config_each_hidden_setting_is_named() {
    let server = without("CONFIG", &["--appendonly", "yes"]);
    let warned = warnings(&server).await;
    assert_eq!(warned.len(), 1, "{warned:?}");
    let words = ["cannot check a setting", "set-max-intset-entries is 8192", "unknown command"];
    assert_eq!(with(&warned, &words), 1, "{warned:?}");

    // Settings in INFO are checked there.
    let server = without("CONFIG", &["--maxmemory-policy", "allkeys-lru"]);
    let warned = warnings(&server).await;
    assert_eq!(warned.len(), 3, "{warned:?}");
    let words = ["maxmemory_policy=\"allkeys-lru\"", "may evict facts"];
    assert_eq!(with(&warned, &words), 1, "{warned:?}");
    let words = ["cannot check a setting", "appendonly is yes or save is set"];
    assert_eq!(with(&warned, &words), 1, "{warned:?}");
}

#[tokio::test]
async fn without_config_and_info_every_setting_must_be_checked_by_hand() {
    let server = without("CONFIG", &["--rename-command", "INFO", "SECRETINFO"]);
    let warned = warnings(&server).await;
    for words in [
        ["cannot check the version", "7.0 or newer"],
        ["cannot check whether the server is in cluster mode", "redis-cluster://"],
        ["cannot check a setting", "maxmemory-policy is noeviction"],
        ["cannot check a setting", "set-max-intset-entries is 8192"],
        ["cannot check a setting", "appendonly is yes"],
    ] {
        assert_eq!(with(&warned, &words), 1, "{words:?}: {warned:?}");
    }
    assert_eq!(warned.len(), 5, "{warned:?}");
}

#[tokio::test]
async fn a_server_with_visible_and_correct_settings_causes_no_warning() {
    let server = Server::start(&["--appendonly", "yes", "--set-max-intset-entries", "8192"]);
    assert_eq!(warnings(&server).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_missing_required_command_is_named_without_retries() {
    for command in ["SCRIPT", "ROLE"] {
        for new_name in ["", "SECRETNAME"] {
            let server = Server::start(&["--rename-command", command, new_name]);
            let opened = Client::open(standalone(server.port), scripts()).await;
            let Some(error) = opened.err() else { panic!("{command}: it was opened") };
            assert!(!error.is_transient(), "{error}");
            let sentence = format!("has no command {command}, which imquota needs");
            assert!(error.to_string().contains(&sentence), "{error}");
        }
    }
}
