//! Warns at the start of settings with which Redis works, but badly, and of settings that cannot be
//! checked because the server hides them.

use std::collections::HashMap;

use super::connect::{ConnectError, Connector};
use super::retry::Deadline;
use super::server_info::ServerInfo;
use super::{connection, reply};
use crate::redis::options::Address;

/// Least size up to which sets of numbers must stay compact: others take ten times the memory.
const INTSET_ENTRIES_MIN: u64 = 8192;
/// The settings that are checked.
const SETTINGS: &[&str] = &["maxmemory-policy", "set-max-intset-entries", "appendonly", "save"];

/// The settings of one server.
struct Settings<'a> {
    server: &'a Address,
    /// The reply to `CONFIG GET`; empty if the server refuses it.
    config: HashMap<String, String>,
    /// The reason why a setting is not in `config`.
    reason: String,
    info: ServerInfo,
}

/// Warns of unsuitable settings of a master.
pub(super) async fn warn(connector: &Connector, address: &Address) {
    let settings = match Settings::read(connector, address).await {
        Ok(settings) => settings,
        Err(why) => {
            tracing::warn!(server = %address, reason = %why, "cannot check the settings of Redis");
            return;
        }
    };
    settings.check_policy();
    settings.check_intset_entries();
    settings.check_persistence();
}

impl<'a> Settings<'a> {
    /// Fails only if the server cannot be queried at all.
    async fn read(connector: &Connector, server: &'a Address) -> Result<Self, ConnectError> {
        let connection = connector.plain(server).await?;
        let info = ServerInfo::read(connector, &connection).await?;
        let deadline = Deadline::after(connector.options.connect_timeout);
        let command = redis::cmd("CONFIG").arg("GET").arg(SETTINGS).to_owned();
        let (config, reason) = match connection::query(&connection, &command, deadline).await {
            Ok(answer) => (reply::fields(&answer), "CONFIG GET does not show it".to_owned()),
            Err(ConnectError::Server(error)) => (HashMap::new(), reply::words(&error)),
            Err(why) => return Err(why),
        };
        Ok(Self { server, config, reason, info })
    }

    fn setting(&self, name: &str) -> Option<&str> {
        self.config.get(name).map(String::as_str)
    }

    /// Warns that an operator must check a setting themselves.
    fn unchecked(&self, setting: &str, wanted: &str) {
        tracing::warn!(
            server = %self.server, setting, reason = self.reason,
            "cannot check a setting of Redis; make sure that {wanted}"
        );
    }

    fn check_policy(&self) {
        match self.setting("maxmemory-policy").or_else(|| self.info.field("maxmemory_policy")) {
            Some("noeviction") => {}
            Some(policy) => tracing::warn!(
                server = %self.server, maxmemory_policy = policy,
                "Redis may evict facts when memory is short; set maxmemory-policy noeviction"
            ),
            None => self.unchecked(
                "maxmemory-policy",
                "maxmemory-policy is noeviction, or Redis may evict facts when memory is short",
            ),
        }
    }

    fn check_intset_entries(&self) {
        let entries = self.setting("set-max-intset-entries");
        match entries.and_then(|entries| entries.parse::<u64>().ok()) {
            Some(INTSET_ENTRIES_MIN..) => {}
            Some(entries) => tracing::warn!(
                server = %self.server, set_max_intset_entries = entries,
                "sets will need much memory; set set-max-intset-entries 8192"
            ),
            None => self.unchecked(
                "set-max-intset-entries",
                "set-max-intset-entries is 8192, or sets will need much memory",
            ),
        }
    }

    fn check_persistence(&self) {
        let from_info = match self.info.field("aof_enabled") {
            Some("1") => Some("yes"),
            Some("0") => Some("no"),
            _ => None,
        };
        match (self.setting("appendonly").or(from_info), self.setting("save")) {
            (Some("no"), Some("")) => tracing::warn!(
                server = %self.server, appendonly = "no", save = "",
                "Redis keeps nothing over a restart; set appendonly yes"
            ),
            (Some("yes"), _) | (Some("no"), Some(_)) => {}
            _ => self.unchecked(
                "appendonly",
                "appendonly is yes or save is set, or Redis keeps nothing over a restart",
            ),
        }
    }
}
