//! Warns of settings with which Redis works, but not as one would wish.

use std::collections::HashMap;

use redis::Value;
use redis::aio::MultiplexedConnection;

use super::connect::Connector;
use super::pace::Deadline;
use super::{link, reply};
use crate::ledger::redis::options::{Address, Durability};

/// Sets of numbers up to this size are to stay compact, an order of magnitude smaller than others.
const INTSET_ENTRIES_MIN: u64 = 8192;
/// What is looked at.
const SETTINGS: &[&str] = &["maxmemory-policy", "set-max-intset-entries", "appendonly", "save"];

/// Warns, once, of what may be forgotten.
pub(super) async fn warn(
    connector: &Connector,
    address: &Address,
    connection: &MultiplexedConnection,
    info: &str,
) {
    let replicated = connector.options.durability == Durability::Replicated;
    if replicated && reply::field(info, "connected_slaves") == Some("0") {
        tracing::warn!(server = %address, "answers wait for a replica, and there is none");
    }
    let mut command = redis::cmd("CONFIG");
    command.arg("GET").arg(SETTINGS);
    let patience = Deadline::after(connector.options.connect_timeout);
    let settings = match link::ask(connection, &command, patience).await {
        Ok(answer) => pairs(&answer),
        Err(why) => {
            tracing::warn!(server = %address, reason = %why, "cannot check the settings of Redis");
            return;
        }
    };
    let setting = |name: &str| settings.get(name).map_or("", String::as_str);
    let policy = setting("maxmemory-policy");
    if policy != "noeviction" {
        tracing::warn!(
            server = %address, maxmemory_policy = policy,
            "Redis may evict facts when memory is short; set maxmemory-policy noeviction"
        );
    }
    let entries = setting("set-max-intset-entries");
    if entries.parse().is_ok_and(|entries: u64| entries < INTSET_ENTRIES_MIN) {
        tracing::warn!(
            server = %address, set_max_intset_entries = entries,
            "sets will need much memory; set set-max-intset-entries 8192"
        );
    }
    if setting("appendonly") == "no" && setting("save").is_empty() {
        tracing::warn!(
            server = %address, appendonly = "no", save = "",
            "Redis keeps nothing over a restart; set appendonly yes"
        );
    }
}

fn pairs(answer: &Value) -> HashMap<String, String> {
    reply::elements(answer)
        .chunks_exact(2)
        .filter_map(|pair| Some((reply::text(&pair[0])?, reply::text(&pair[1])?)))
        .collect()
}
