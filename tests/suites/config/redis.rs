//! Settings of the connection to Redis: they have an effect only if the store is Redis.

use std::path::PathBuf;
use std::time::Duration;

use imquota::config::Store;
use imquota::redis::options::{Coalescing, Confirmation, Credentials, Durability, Options, Tls};

use super::{defaults, load};

/// The settings of this file, in the order of the table.
pub const KEYS: [&str; 11] = [
    "coalescing",
    "durability",
    "replicas_confirming",
    "replica_lag_max_ms",
    "redis_username",
    "redis_password_file",
    "sentinel_username",
    "sentinel_password_file",
    "redis_tls_ca",
    "redis_tls_cert",
    "redis_tls_key",
];

fn options(arguments: &[&str], env: &[(&str, &str)], file: Option<&str>) -> Options {
    match load(arguments, env, file).expect("good").store {
        Store::Redis(options) => *options,
        other => panic!("{other}"),
    }
}

#[test]
fn every_redis_setting_reaches_its_options() {
    let options = options(
        &[
            "--store=rediss-sentinel://url-user:url-password@a,b:7/main/2",
            "--durability=replicated",
            "--replicas-confirming=2",
            "--replica-lag-max-ms=250",
            "--coalescing=off",
            "--redis-username=app",
            "--sentinel-username=watcher",
            "--redis-tls-ca=Cargo.toml",
            "--redis-tls-cert=clippy.toml",
        ],
        &[("IMQUOTA_REDIS_PASSWORD_FILE", "rustfmt.toml"), ("IMQUOTA_SUBJECTS_IN_FLIGHT_MAX", "7")],
        Some("redis_tls_key = 'build.rs'\nsentinel_password_file = 'clippy.toml'"),
    );
    let text = |path: &str| Some(std::fs::read_to_string(path).expect("reads").trim_end().into());
    let user = |name: &str, path: &str| Credentials {
        username: Some(name.to_owned()),
        password: text(path),
        password_file: Some(path.into()),
    };
    assert_eq!(options.topology.to_string(), "redis-sentinel://a:26379,b:7/main/2");
    assert_eq!(options.credentials, user("app", "rustfmt.toml"));
    assert_eq!(options.sentinel_credentials, user("watcher", "clippy.toml"));
    assert_eq!((options.durability, options.subjects_in_flight_max), (Durability::Replicated, 7));
    assert_eq!(options.coalescing, Coalescing::Off);
    let confirmation = Confirmation { replicas: Some(2), lag_max: Duration::from_millis(250) };
    assert_eq!(options.confirmation, confirmation);
    let path = |path: &str| PathBuf::from(path);
    let certificate = Some((path("clippy.toml"), path("build.rs")));
    assert_eq!(options.tls, Some(Tls { ca: Some(path("Cargo.toml")), certificate }));
}

#[test]
fn the_url_has_the_remaining_options() {
    let options = options(&["--store=redis://u:p%2Fw@h/1"], &[], None);
    let credentials = Credentials {
        username: Some("u".into()),
        password: Some("p/w".into()),
        password_file: None,
    };
    assert_eq!(options.credentials, credentials);
    assert_eq!((options.tls, options.durability), (None, Durability::Auto));
    let confirmation = Confirmation { replicas: None, lag_max: Duration::from_secs(1) };
    assert_eq!(options.confirmation, confirmation);
    assert_eq!(options.subjects_in_flight_max, 4096);
    assert_eq!(options.coalescing, Coalescing::Auto);
}

#[test]
fn other_stores_ignore_redis_settings() {
    assert_eq!(load(&["--durability=replicated"], &[], None), Ok(defaults()));
}

#[test]
fn half_a_certificate_and_wrong_values_are_refused() {
    for (argument, said) in [
        ("--redis-tls-key=Cargo.toml", "are only valid together"),
        ("--redis-password-file=/nowhere", "must be a file that can be read"),
        ("--redis-password-file=Cargo.lock", "must be a file of 1 to 1024 bytes"),
        ("--durability=some", "must be \"auto\", \"replicated\" or \"local\""),
        ("--replicas-confirming=0", "must be \"all\" or a number from 1 to 16"),
        ("--replicas-confirming=17", "must be \"all\" or a number from 1 to 16"),
        ("--replica-lag-max-ms=49", "50"),
        ("--store=redis-sentinel://u:secret@h", "must name the master"),
    ] {
        let error = load(&[argument], &[], None).expect_err(argument);
        assert!(error.contains(said) && !error.contains("secret"), "{argument}: {error}");
    }
}
