//! Settings of the durability of answers from Redis.

use std::time::Duration;

use super::settings::{Kind, Setting};
use super::sources::Sources;
use super::values;
use crate::redis::options::{Confirmation, Durability};

/// Most replicas that can be required.
const REPLICAS_MAX: usize = 16;

pub(super) const DURABILITY: Setting = Setting {
    key: "durability",
    flag: "durability",
    env: "IMQUOTA_DURABILITY",
    kind: Kind::Text,
    value_name: "LEVEL",
    default: Some("auto"),
    help: "Redis only: answer when every replica has the write, if there are any (`auto`), never \
           without one (`replicated`), or when the master has it (`local`)",
};

pub(super) const REPLICAS_CONFIRMING: Setting = Setting {
    key: "replicas_confirming",
    flag: "replicas-confirming",
    env: "IMQUOTA_REPLICAS_CONFIRMING",
    kind: Kind::Text,
    value_name: "COUNT",
    default: Some("all"),
    help: "Replicas that confirm an answer: `all`, or any 1 to 16 of them; a failover then \
           may lose confirmed writes",
};

pub(super) const REPLICA_LAG_MAX_MS: Setting = Setting {
    key: "replica_lag_max_ms",
    flag: "replica-lag-max-ms",
    env: "IMQUOTA_REPLICA_LAG_MAX_MS",
    kind: Kind::Number,
    value_name: "MS",
    default: Some("1000"),
    help: "Longest time for a replica to confirm, before it may be left behind: 50 to 60000",
};

/// Reads the settings of this file.
pub(super) fn read(sources: &mut Sources<'_>) -> (Durability, Confirmation) {
    let durability = sources.one(&DURABILITY, durability);
    let replicas = sources.one(&REPLICAS_CONFIRMING, replicas);
    let millis = |text: &str| values::millis(text, 50..=60_000);
    let lag_max: Duration = sources.one(&REPLICA_LAG_MAX_MS, millis);
    (durability, Confirmation { replicas, lag_max })
}

fn durability(text: &str) -> Result<Durability, String> {
    match text {
        "auto" => Ok(Durability::Auto),
        "local" => Ok(Durability::Local),
        "replicated" => Ok(Durability::Replicated),
        _ => Err(values::wrong("\"auto\", \"replicated\" or \"local\"", text)),
    }
}

fn replicas(text: &str) -> Result<Option<usize>, String> {
    if text == "all" {
        return Ok(None);
    }
    let number = text.parse().ok().filter(|number| (1..=REPLICAS_MAX).contains(number));
    let wanted = format!("\"all\" or a number from 1 to {REPLICAS_MAX}");
    number.map(Some).ok_or_else(|| values::wrong(&wanted, text))
}
