//! The configuration: defaults and precedence; `refused` has the errors.

mod access;
mod callbacks;
mod connections;
mod redis;
mod refused;
mod webhook;

use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use clap::{Args, Command, FromArgMatches};
use imquota::config::{
    AccessConfig, Config, Environment, Flags, Kind, Listen, SETTINGS, Setting, Store,
};
use imquota::engine::UnknownApp;
use imquota::redis::StoreMemory;
use imquota::telemetry::LogFormat;
use imquota::telemetry::trace::TraceConfig;

fn tcp(address: &str) -> Listen {
    Listen::Tcp(address.parse().expect("an address"))
}

fn unix(path: &str) -> Listen {
    Listen::Unix(path.into())
}

fn command() -> Command {
    Flags::augment_args(Command::new("test").no_binary_name(true))
}

fn flags(arguments: &[&str]) -> Flags {
    let matches = command().try_get_matches_from(arguments).expect("known flags");
    Flags::from_arg_matches(&matches).expect("all are strings")
}

/// The configuration, or its errors without the file's folder.
fn load(arguments: &[&str], env: &[(&str, &str)], file: Option<&str>) -> Result<Config, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("imquota.toml");
    let mut env: Vec<(OsString, OsString)> =
        env.iter().map(|(name, value)| (name.into(), value.into())).collect();
    if let Some(text) = file {
        fs::write(&path, text).expect("written");
        env.push(("IMQUOTA_CONFIG".into(), path.clone().into()));
    }
    let loaded = Config::load(&flags(arguments), &env.into_iter().collect());
    loaded
        .map_err(|errors| errors.to_string().replace(&format!("{}/", folder.path().display()), ""))
}

fn defaults() -> Config {
    Config {
        store: Store::Embedded("./imquota-data".into()),
        listen: vec![tcp("127.0.0.1:50051")],
        admin_listen: vec![tcp("127.0.0.1:50052")],
        access: AccessConfig::default(),
        management_listen: Some("127.0.0.1:9090".parse().expect("an address")),
        http_hosts: Vec::new(),
        callback_listen: None,
        callbacks: Vec::new(),
        catalog: None,
        unknown_app: UnknownApp::Trial,
        log_format: LogFormat::Text,
        log_filter: "info".into(),
        traces: None,
        reflection: false,
        request_timeout: Duration::from_secs(2),
        drain_timeout: Duration::from_secs(10),
        shutdown_delay: Duration::from_secs(2),
        store_tolerance: Duration::from_secs(10),
        store_timeout: Duration::from_millis(500),
        journal: Some("imquota-journal".into()),
        store_memory: StoreMemory {
            directory: Some("imquota-journal".into()),
            ..StoreMemory::default()
        },
        subjects_in_flight_max: 4096,
        worker_threads: 1,
        apply_in_flight_max: 256,
        connections: connections::by_default(),
        webhook: None,
    }
}

#[test]
fn every_setting_has_a_default() {
    assert_eq!(load(&[], &[], None), Ok(defaults()));
    assert_eq!(load(&[], &[], Some("# nothing\n")), Ok(defaults()));
    assert_eq!(Config::default(), defaults());
    // Empty variables count as absent; variables of other programs are ignored.
    let env =
        [("IMQUOTA_STORE", ""), ("IMQUOTA_CONFIG", ""), ("IMQUOTA_PORT", "tcp://10.0.0.1:50051")];
    assert_eq!(load(&[], &env, None), Ok(defaults()));
}

#[test]
fn names_follow_from_the_key() {
    for setting in SETTINGS {
        assert_eq!(setting.flag, setting.key.replace('_', "-"));
        assert_eq!(setting.env, format!("IMQUOTA_{}", setting.key.to_uppercase()));
    }
}

/// The change of the defaults by a setting with a value.
type Change = fn(&mut Config);
/// A setting's key, a value for flag and environment, its notation in the file, and the change.
type Row = (&'static str, &'static str, &'static str, Change);

const ID: &str = "00112233445566778899aabbccddeeff";
const OTHER_ID: &str = "ffffffffffffffffffffffffffffffff";

fn state_dir(config: &mut Config, directory: &str, is_required: bool) {
    config.store_memory.directory = Some(directory.into());
    config.store_memory.is_required = is_required;
}

const BY_FLAG: &[Row] = &[
    ("store", "memory", "'memory'", |c| c.store = Store::Memory),
    ("listen", "[::1]:1", "['[::1]:1']", |c| c.listen = vec![tcp("[::1]:1")]),
    ("admin_listen", "unix:/a", "'unix:/a'", |c| c.admin_listen = vec![unix("/a")]),
    ("management_listen", "off", "'off'", |c| c.management_listen = None),
    ("http_hosts", "q.example.", "'q.example'", |c| c.http_hosts = vec!["q.example".into()]),
    ("catalog", "Cargo.toml", "'Cargo.toml'", |c| c.catalog = Some("Cargo.toml".into())),
    ("unknown_app", "reject", "'reject'", |c| c.unknown_app = UnknownApp::Reject),
    ("log_format", "json", "'json'", |c| c.log_format = LogFormat::Json),
    ("log_filter", "debug,h2=off", "'debug,h2=off'", |c| c.log_filter = "debug,h2=off".into()),
    ("otlp_endpoint", "http://a:4317", "'http://a:4317'", |c| {
        c.traces = Some(TraceConfig { endpoint: "http://a:4317".into(), ratio: 0.01 });
    }),
    ("trace_sample_ratio", "0.5", "'0.5'", |_| {}),
    ("reflection", "true", "true", |c| c.reflection = true),
    ("request_timeout_ms", "1", "1", |c| c.request_timeout = Duration::from_millis(1)),
    ("drain_timeout_ms", "0", "0", |c| c.drain_timeout = Duration::ZERO),
    ("shutdown_delay_ms", "0", "0", |c| c.shutdown_delay = Duration::ZERO),
    ("store_tolerance_ms", "100", "100", |c| c.store_tolerance = Duration::from_millis(100)),
    ("store_timeout_ms", "20", "20", |c| c.store_timeout = Duration::from_millis(20)),
    ("journal", "off", "'off'", |c| c.journal = None),
    ("state_dir", "/s", "'/s'", |c| state_dir(c, "/s", true)),
    ("store_id", ID, "'00112233445566778899aabbccddeeff'", |c| {
        c.store_memory.store_id = Some(ID.into());
    }),
    ("subjects_in_flight_max", "1", "1", |c| c.subjects_in_flight_max = 1),
    ("worker_threads", "64", "64", |c| c.worker_threads = 64),
    ("apply_in_flight_max", "10000", "10_000", |c| c.apply_in_flight_max = 10_000),
];

/// Other values, which a source of higher precedence must override.
const LOWER: &[Row] = &[
    ("store", "embedded:/b", "'embedded:/b'", |c| c.store = Store::Embedded("/b".into())),
    ("listen", "unix:b, unix:c", "['unix:b', 'unix:c']", |c| c.listen = vec![unix("b"), unix("c")]),
    ("admin_listen", "localhost:7", "['localhost:7']", |c| {
        c.admin_listen = vec![tcp("127.0.0.1:7")];
    }),
    ("management_listen", "0.0.0.0:8", "'0.0.0.0:8'", |c| {
        c.management_listen = "0.0.0.0:8".parse().ok();
    }),
    ("http_hosts", "a, fd00::7", "['a', 'fd00::7']", |c| {
        c.http_hosts = vec!["a".into(), "fd00::7".into()];
    }),
    ("catalog", "clippy.toml", "'clippy.toml'", |c| c.catalog = Some("clippy.toml".into())),
    ("unknown_app", "trial", "'trial'", |_| {}),
    ("log_format", "text", "'text'", |_| {}),
    ("log_filter", "warn", "'warn'", |c| c.log_filter = "warn".into()),
    ("otlp_endpoint", "http://b", "'http://b'", |c| {
        c.traces = Some(TraceConfig { endpoint: "http://b".into(), ratio: 0.01 });
    }),
    ("trace_sample_ratio", "1", "'1'", |_| {}),
    ("reflection", "false", "false", |_| {}),
    ("request_timeout_ms", "60000", "60000", |c| c.request_timeout = Duration::from_secs(60)),
    ("drain_timeout_ms", "600000", "600000", |c| c.drain_timeout = Duration::from_secs(600)),
    ("shutdown_delay_ms", "60000", "60000", |c| c.shutdown_delay = Duration::from_secs(60)),
    ("store_tolerance_ms", "600000", "600000", |c| c.store_tolerance = Duration::from_secs(600)),
    ("store_timeout_ms", "60000", "60000", |c| c.store_timeout = Duration::from_secs(60)),
    ("journal", "/j", "'/j'", |c| {
        c.journal = Some("/j".into());
        state_dir(c, "/j", false);
    }),
    ("state_dir", "t", "'t'", |c| state_dir(c, "t", true)),
    ("store_id", OTHER_ID, "'ffffffffffffffffffffffffffffffff'", |c| {
        c.store_memory.store_id = Some(OTHER_ID.into());
    }),
    ("subjects_in_flight_max", "100000", "100000", |c| c.subjects_in_flight_max = 100_000),
    ("worker_threads", "2", "2", |c| c.worker_threads = 2),
    ("apply_in_flight_max", "1", "1", |c| c.apply_in_flight_max = 1),
];

#[test]
fn flags_win_over_the_environment_which_wins_over_the_file() {
    let elsewhere =
        [&redis::KEYS[..], &access::KEYS, &connections::KEYS, &webhook::KEYS, &callbacks::KEYS]
            .concat();
    assert_eq!(BY_FLAG.len() + elsewhere.len(), SETTINGS.len());
    let is_elsewhere = |setting: &&Setting| elsewhere.contains(&setting.key);
    let settings = SETTINGS.iter().filter(|setting| !is_elsewhere(setting));
    for (setting, (high, low)) in settings.zip(BY_FLAG.iter().zip(LOWER)) {
        assert_eq!((setting.key, setting.key), (high.0, low.0));
        let expected = |row: &Row| {
            let mut config = defaults();
            row.3(&mut config);
            Ok(config)
        };
        let flag = |row: &Row| format!("--{}={}", setting.flag, row.1);
        let file = |row: &Row| format!("{} = {}", setting.key, row.2);
        let key = setting.key;
        assert_eq!(load(&[], &[], Some(&file(high))), expected(high), "{key}: file");
        assert_eq!(load(&[], &[], Some(&file(low))), expected(low), "{key}: file");
        assert_eq!(load(&[], &[(setting.env, low.1)], None), expected(low), "{key}: env");
        assert_eq!(
            load(&[], &[(setting.env, high.1)], Some(&file(low))),
            expected(high),
            "{key}: env over file"
        );
        assert_eq!(
            load(&[&flag(high)], &[(setting.env, low.1)], None),
            expected(high),
            "{key}: flag over env"
        );
        assert_eq!(
            load(&[&flag(high)], &[(setting.env, low.1)], Some(&file(low))),
            expected(high),
            "{key}: flag over all"
        );
    }
}

#[test]
fn a_listener_may_be_repeated_and_a_switch_may_stand_alone() {
    let config = load(&["--listen", "unix:a", "--reflection", "--listen", "[::]:1"], &[], None);
    let config = config.expect("good");
    assert_eq!(config.listen, [unix("a"), tcp("[::]:1")]);
    assert!(config.reflection);
    let off = load(&["--reflection=false"], &[("IMQUOTA_REFLECTION", "true")], None);
    assert!(!off.expect("good").reflection);
    let by_flag = Config::load(&Flags::default().with("store", "memory"), &Environment::default());
    assert_eq!(by_flag.expect("good").store, Store::Memory);
}

#[test]
fn the_file_is_named_by_flag_or_environment() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("other.toml");
    fs::write(&path, "unknown_app = 'reject'").expect("written");
    let argument = format!("--config={}", path.display());
    let config = load(&[&argument], &[], Some("unknown_app = 'nonsense'")).expect("good");
    assert_eq!(config.unknown_app, UnknownApp::Reject);
    for (arguments, env, origin) in [
        (&["--config=/no/such.toml"][..], &[][..], "--config"),
        (&[], &[("IMQUOTA_CONFIG", "/no/such.toml")], "IMQUOTA_CONFIG"),
    ] {
        let error = load(arguments, env, None).expect_err("there is no such file");
        assert!(
            error.starts_with(&format!("{origin}: /no/such.toml: cannot be read: ")),
            "{error}"
        );
    }
}

#[test]
fn help_names_the_other_sources_and_the_default() {
    let help = command().term_width(200).render_long_help().to_string();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for setting in SETTINGS {
        for part in [
            Some(format!("--{}", setting.flag)),
            Some(format!("[env: {}]", setting.env)),
            setting.default.map(|default| format!("[default: {default}]")),
        ] {
            let part = part.unwrap_or_default();
            assert!(help.contains(&part), "{part}: {help}");
        }
        assert_eq!(setting.kind == Kind::Switch, help.contains(&format!("--{}[=", setting.flag)));
    }
}
