//! Warns of settings with which Redis works, but not as one would wish.

use std::collections::HashMap;

use super::connect::{ConnectError, Connector};
use super::pace::Deadline;
use super::{link, reply};
use crate::ledger::redis::options::Address;

/// Sets of numbers up to this size are to stay compact, an order of magnitude smaller than others.
const INTSET_ENTRIES_MIN: u64 = 8192;
/// What is looked at.
const SETTINGS: &[&str] = &["maxmemory-policy", "set-max-intset-entries", "appendonly", "save"];

/// Warns of what may be forgotten; at the start, for each master.
pub(super) async fn warn(connector: &Connector, address: &Address) {
    let settings = match look(connector, address).await {
        Ok(settings) => settings,
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

/// Asks for the settings.
async fn look(
    connector: &Connector,
    address: &Address,
) -> Result<HashMap<String, String>, ConnectError> {
    let connection = connector.plain(address).await?;
    let patience = Deadline::after(connector.options.connect_timeout);
    let command = redis::cmd("CONFIG").arg("GET").arg(SETTINGS).to_owned();
    Ok(reply::fields(&link::ask(&connection, &command, patience).await?))
}
