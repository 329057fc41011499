//! Settings that bound connections and the memory of their calls.

use std::time::Duration;

use imquota::config::{Config, Connections};

use super::{defaults, load};

/// The settings of this file, which the table in `main` does not cover.
pub const KEYS: [&str; 8] = [
    "connections_max",
    "connections_per_peer_max",
    "connection_idle_timeout_ms",
    "connection_age_max_ms",
    "connection_age_grace_ms",
    "streams_max",
    "message_timeout_ms",
    "call_memory_mib",
];

/// The defaults.
pub fn by_default() -> Connections {
    Connections {
        max: 1024,
        per_peer_max: None,
        idle_timeout: Duration::from_secs(300),
        age_max: Some(Duration::from_secs(30 * 60)),
        age_grace: Duration::from_secs(300),
        streams_max: 128,
        message_timeout: Duration::from_secs(10),
        call_memory_bytes: 48 * 1024 * 1024,
    }
}

#[test]
fn each_is_a_flag_a_variable_and_a_key_of_the_file() {
    type Change = fn(&mut Connections);
    let rows: [(&str, &str, Change); 8] = [
        ("connections_max", "16", |c| c.max = 16),
        ("connections_per_peer_max", "1", |c| c.per_peer_max = Some(1)),
        ("connection_idle_timeout_ms", "1000", |c| c.idle_timeout = Duration::from_secs(1)),
        ("connection_age_max_ms", "0", |c| c.age_max = None),
        ("connection_age_grace_ms", "1000", |c| c.age_grace = Duration::from_secs(1)),
        ("streams_max", "1", |c| c.streams_max = 1),
        ("message_timeout_ms", "100", |c| c.message_timeout = Duration::from_millis(100)),
        ("call_memory_mib", "24", |c| c.call_memory_bytes = 24 * 1024 * 1024),
    ];
    for ((key, value, change), expected_key) in rows.into_iter().zip(KEYS) {
        assert_eq!(key, expected_key);
        let mut connections = by_default();
        change(&mut connections);
        let expected = Ok(Config { connections, ..defaults() });
        let flag = format!("--{}={value}", key.replace('_', "-"));
        let variable = format!("IMQUOTA_{}", key.to_uppercase());
        let file = format!("{key} = {value}");
        assert_eq!(load(&[&flag], &[], None), expected);
        assert_eq!(load(&[], &[(&variable, value)], None), expected);
        assert_eq!(load(&[], &[], Some(&file)), expected);
    }
}

#[test]
fn bounds_that_lock_out_every_caller_are_refused() {
    for (flag, range) in [
        ("--connections-max=15", "from 16 to 16384"),
        ("--connections-per-peer-max=0", "from 1 to 16384"),
        ("--connection-idle-timeout-ms=999", "of milliseconds from 1000 to 86400000"),
        ("--connection-age-grace-ms=999", "of milliseconds from 1000 to 86400000"),
        ("--streams-max=0", "from 1 to 4096"),
        ("--message-timeout-ms=99", "of milliseconds from 100 to 600000"),
        ("--call-memory-mib=23", "from 24 to 65536"),
    ] {
        let error = load(&[flag], &[], None).expect_err("too little");
        let (name, value) = flag.split_once('=').expect("a value");
        assert_eq!(error, format!("{name}: must be a whole number {range}, not {value:?}"));
    }
}

#[test]
fn an_age_is_off_or_has_a_useful_minimum() {
    let of = |text: &str| {
        let loaded = load(&[&format!("--connection-age-max-ms={text}")], &[], None);
        loaded.map(|config| config.connections.age_max)
    };
    assert_eq!(of("0"), Ok(None));
    assert_eq!(of("100"), Ok(Some(Duration::from_millis(100))));
    assert_eq!(of("86400000"), Ok(Some(Duration::from_secs(24 * 3600))));
    for text in ["1", "99", "86400001", "-1", "off", "00"] {
        let expected = format!(
            "--connection-age-max-ms: must be a whole number of milliseconds from 100 to 86400000, \
             not {text:?}; 0 for no limit"
        );
        assert_eq!(of(text), Err(expected));
    }
}
