//! Settings for overload, for an unavailable store, and for shutdown.

use std::path::PathBuf;
use std::time::Duration;

use super::settings::{Kind, Setting};
use super::sources::Sources;
use super::values;
use crate::redis::StoreMemory;
use crate::redis::options::Coalescing;

pub(super) const SHUTDOWN_DELAY_MS: Setting = Setting {
    key: "shutdown_delay_ms",
    flag: "shutdown-delay-ms",
    env: "IMQUOTA_SHUTDOWN_DELAY_MS",
    kind: Kind::Number,
    value_name: "MS",
    default: Some("2000"),
    help: "Time from NOT_SERVING to the end of accepting calls, so that callers notice: 0 to 60000",
};

pub(super) const STORE_TOLERANCE_MS: Setting = Setting {
    key: "store_tolerance_ms",
    flag: "store-tolerance-ms",
    env: "IMQUOTA_STORE_TOLERANCE_MS",
    kind: Kind::Number,
    value_name: "MS",
    default: Some("10000"),
    help: "Silence of the store after which health reports NOT_SERVING: 100 to 600000",
};

pub(super) const STORE_TIMEOUT_MS: Setting = Setting {
    key: "store_timeout_ms",
    flag: "store-timeout-ms",
    env: "IMQUOTA_STORE_TIMEOUT_MS",
    kind: Kind::Number,
    value_name: "MS",
    default: Some("500"),
    help: "A Redis server that is silent for this time is absent, and the failure policy decides: \
           20 to 60000",
};

pub(super) const JOURNAL: Setting = Setting {
    key: "journal",
    flag: "journal",
    env: "IMQUOTA_JOURNAL",
    kind: Kind::Text,
    value_name: "DIR",
    default: Some("imquota-journal"),
    help: "Directory of operations decided while Redis is absent; \"off\": none are decided then",
};

pub(super) const STATE_DIR: Setting = Setting {
    key: "state_dir",
    flag: "state-dir",
    env: "IMQUOTA_STATE_DIR",
    kind: Kind::Text,
    value_name: "DIR",
    default: None,
    help: "Directory that records which Redis store was opened, so that a start detects one \
           that was emptied [default: imquota-journal, or the journal's directory]",
};

pub(super) const STORE_ID: Setting = Setting {
    key: "store_id",
    flag: "store-id",
    env: "IMQUOTA_STORE_ID",
    kind: Kind::Text,
    value_name: "ID",
    default: None,
    help: "Id of the only Redis store to use, as `imquota admin store-id` prints it",
};

pub(super) const SUBJECTS_IN_FLIGHT_MAX: Setting = Setting {
    key: "subjects_in_flight_max",
    flag: "subjects-in-flight-max",
    env: "IMQUOTA_SUBJECTS_IN_FLIGHT_MAX",
    kind: Kind::Number,
    value_name: "COUNT",
    default: Some("4096"),
    help: "Most users and groups with operations in flight at each server of the store; at most \
           16 times this number of each app wait: 1 to 100000",
};

pub(super) const COALESCING: Setting = Setting {
    key: "coalescing",
    flag: "coalescing",
    env: "IMQUOTA_COALESCING",
    kind: Kind::Text,
    value_name: "WHICH",
    default: Some("auto"),
    help: "Operations that one call to Redis decides together: auto (those that wait for the same \
           part of an app), off (none), or always (also one that is alone, to test it)",
};

pub(super) const WORKER_THREADS: Setting = Setting {
    key: "worker_threads",
    flag: "worker-threads",
    env: "IMQUOTA_WORKER_THREADS",
    kind: Kind::Number,
    value_name: "COUNT",
    default: Some("1"),
    help: "Threads that answer calls: 1 to 64. On two cores that the store shares, two are slower \
           than one (23,000 against 36,000 joins a second); more help where one uses up its core \
           and others are idle",
};

/// Values of the settings of this file.
pub(super) struct Condition {
    pub(super) shutdown_delay: Duration,
    pub(super) store_tolerance: Duration,
    pub(super) store_timeout: Duration,
    pub(super) journal: Option<PathBuf>,
    pub(super) store_memory: StoreMemory,
    pub(super) subjects_in_flight_max: usize,
    pub(super) coalescing: Coalescing,
    pub(super) worker_threads: usize,
}

pub(super) fn read(sources: &mut Sources<'_>) -> Condition {
    let millis = |least, most| move |text: &str| values::millis(text, least..=most);
    let number = |most| move |text: &str| values::number(text, 1..=most);
    let journal = sources.one(&JOURNAL, values::journal);
    Condition {
        store_memory: store_memory(sources, journal.as_ref()),
        journal,
        shutdown_delay: sources.one(&SHUTDOWN_DELAY_MS, millis(0, 60_000)),
        store_tolerance: sources.one(&STORE_TOLERANCE_MS, millis(100, 600_000)),
        store_timeout: sources.one(&STORE_TIMEOUT_MS, millis(20, 60_000)),
        subjects_in_flight_max: sources.one(&SUBJECTS_IN_FLIGHT_MAX, number(100_000)),
        coalescing: sources.one(&COALESCING, coalescing),
        worker_threads: sources.one(&WORKER_THREADS, number(64)),
    }
}

fn coalescing(text: &str) -> Result<Coalescing, String> {
    match text {
        "auto" => Ok(Coalescing::Auto),
        "off" => Ok(Coalescing::Off),
        "always" => Ok(Coalescing::Always),
        _ => Err("must be auto, off or always".to_owned()),
    }
}

/// Returns the directory of the state kept about a store in Redis, and the id of the only one to
/// use.
fn store_memory(sources: &mut Sources<'_>, journal: Option<&PathBuf>) -> StoreMemory {
    let named = sources.optional(&STATE_DIR, values::path).map(|(path, _)| path);
    let store_id = sources.optional(&STORE_ID, values::store_id).map(|(id, _)| id);
    let is_required = named.is_some();
    let by_default = || journal.cloned().or_else(|| JOURNAL.default.map(PathBuf::from));
    StoreMemory { directory: named.or_else(by_default), is_required, store_id }
}
