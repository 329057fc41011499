//! The configuration: flags, environment and a TOML file, in this order of precedence.
//!
//! [`SETTINGS`] is the one table of what can be set; from it come the flags, their help and the
//! keys of the file. Every source is checked, also where a higher one wins, and everything that is
//! wrong is reported at once with the name of its source. An environment variable that is empty
//! counts as absent, since that is how templates leave one out; one that is unknown is refused, as
//! is an unknown key. What follows from a mistake that is reported is not reported itself. Reading
//! order: `settings` (the table), `values` (from text to a value), `sources` (who sets what),
//! `environment` (its variables), `access` (who may call), `condition` (too many calls, no store,
//! the end), `connections` (their number, and what their calls hold).

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::engine::UnknownApp;
use crate::ledger::redis::StoreMemory;
use crate::ledger::redis::options::{Credentials, Tls};
use crate::telemetry::trace::TraceConfig;
use crate::webhook::Target;

mod access;
mod certificate_name;
mod condition;
mod connections;
mod environment;
mod error;
mod redis_url;
mod replication;
mod retired;
mod settings;
mod sources;
mod values;
mod webhook;

pub use access::{AccessConfig, TlsFiles};
pub use certificate_name::CertificateName;
pub use connections::Connections;
pub use environment::Environment;
pub use error::{ConfigError, ConfigErrors};
pub use settings::{Flags, Kind, SETTINGS, Setting};

use condition::Condition;
use sources::Sources;
pub use values::{Listen, LogFormat, Store};

/// Everything that can be set, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where the facts are kept.
    pub store: Store,
    /// Where the data plane listens; at least one.
    pub listen: Vec<Listen>,
    /// Where the admin API listens; at least one. A TCP address that is not loopback is encrypted
    /// and asks for credentials.
    pub admin_listen: Vec<Listen>,
    /// Who may call, and how the way is protected.
    pub access: AccessConfig,
    /// Where metrics are served over HTTP; `None` where nowhere.
    pub management_listen: Option<SocketAddr>,
    /// The catalog file; `None` for the built-in one.
    pub catalog: Option<PathBuf>,
    /// What an app is that nobody registered.
    pub unknown_app: UnknownApp,
    /// How log lines look.
    pub log_format: LogFormat,
    /// What is logged: directives that `tracing_subscriber::EnvFilter` understands.
    pub log_filter: String,
    /// Where spans are sent; `None` where nowhere.
    pub traces: Option<TraceConfig>,
    /// Whether gRPC reflection is served.
    pub reflection: bool,
    /// Longest time for a decision, also where the caller gives no deadline.
    pub request_timeout: Duration,
    /// Longest time that requests in flight may take to finish when the service stops.
    pub drain_timeout: Duration,
    /// How long everybody is served as before once health says that the service stops.
    pub shutdown_delay: Duration,
    /// How long the store may be silent before health says so.
    pub store_tolerance: Duration,
    /// A server of the store that is silent for this time is absent.
    pub store_timeout: Duration,
    /// Where what was decided without the store is kept; `None` where nothing is.
    pub journal: Option<PathBuf>,
    /// What is remembered of a store in Redis, and which one is used.
    pub store_memory: StoreMemory,
    /// Most users and groups whose operations each server of the store works on at once.
    pub subjects_in_flight_max: usize,
    /// Threads that answer calls.
    pub worker_threads: usize,
    /// Most operations of one Apply stream that are in work at once.
    pub apply_in_flight_max: usize,
    /// Bounds of connections and of what their calls may hold.
    pub connections: Connections,
    /// Where every event is posted to; `None` where nowhere.
    pub webhook: Option<Target>,
}

impl Config {
    /// Reads all sources.
    pub fn load(flags: &Flags, env: &Environment) -> Result<Self, ConfigErrors> {
        let mut sources = Sources::open(flags, env);
        let listen = sources.list(&settings::LISTEN, values::listen);
        let access = access::read(&mut sources);
        let admin_listen = sources.list(&settings::ADMIN_LISTEN, values::listen);
        let admin_listen = access::protected(&mut sources, &access, admin_listen);
        let management = sources.list(&settings::MANAGEMENT_LISTEN, values::management_listen);
        refuse_duplicates(&mut sources, &listen, &admin_listen, &management);
        retired::refuse(&mut sources);
        let condition = condition::read(&mut sources);
        let config = Self {
            store: store(&mut sources, &condition),
            listen: listen.into_iter().map(|(listen, _)| listen).collect(),
            admin_listen: admin_listen.into_iter().map(|(listen, _)| listen).collect(),
            access,
            management_listen: management.into_iter().find_map(|(listen, _)| listen),
            catalog: sources
                .optional(&settings::CATALOG, values::readable_file)
                .map(|(path, _)| path),
            unknown_app: sources.one(&settings::UNKNOWN_APP, values::unknown_app),
            log_format: sources.one(&settings::LOG_FORMAT, values::log_format),
            log_filter: sources.one(&settings::LOG_FILTER, values::log_filter),
            traces: traces(&mut sources),
            reflection: sources.one(&settings::REFLECTION, values::boolean),
            request_timeout: sources
                .one(&settings::REQUEST_TIMEOUT_MS, |text| values::millis(text, 1..=60_000)),
            drain_timeout: sources
                .one(&settings::DRAIN_TIMEOUT_MS, |text| values::millis(text, 0..=600_000)),
            shutdown_delay: condition.shutdown_delay,
            store_tolerance: condition.store_tolerance,
            store_timeout: condition.store_timeout,
            journal: condition.journal,
            store_memory: condition.store_memory,
            subjects_in_flight_max: condition.subjects_in_flight_max,
            worker_threads: condition.worker_threads,
            apply_in_flight_max: sources
                .one(&settings::APPLY_IN_FLIGHT_MAX, |text| values::number(text, 1..=10_000)),
            connections: connections::read(&mut sources),
            webhook: webhook::read(&mut sources),
        };
        let log_format = config.log_format;
        sources.finish(config, log_format)
    }
}

impl Default for Config {
    /// What holds where nothing is set.
    fn default() -> Self {
        Self::load(&Flags::default(), &Environment::default())
            .expect("defaults are valid; a test reads them")
    }
}

fn traces(sources: &mut Sources<'_>) -> Option<TraceConfig> {
    let ratio = sources.one(&settings::TRACE_SAMPLE_RATIO, values::part);
    let endpoint = sources.optional(&settings::OTLP_ENDPOINT, values::http_url);
    endpoint.map(|(endpoint, _)| TraceConfig { endpoint, ratio })
}

/// The store, with what other settings say of it.
fn store(sources: &mut Sources<'_>, condition: &Condition) -> Store {
    let store = sources.one(&settings::STORE, values::store);
    let (durability, confirmation) = replication::read(sources);
    let mut optional = |setting| sources.optional(setting, values::name).map(|(text, _)| text);
    let usernames = [&settings::REDIS_USERNAME, &settings::SENTINEL_USERNAME].map(&mut optional);
    let mut secret = |setting| sources.optional(setting, values::secret).map(|(read, _)| read);
    let passwords =
        [&settings::REDIS_PASSWORD_FILE, &settings::SENTINEL_PASSWORD_FILE].map(&mut secret);
    let mut file = |setting| sources.optional(setting, values::readable_file);
    let [ca, certificate, key] =
        [&settings::REDIS_TLS_CA, &settings::REDIS_TLS_CERT, &settings::REDIS_TLS_KEY]
            .map(&mut file);
    let certificate = match (certificate, key) {
        (Some((certificate, _)), Some((key, _))) => Some((certificate, key)),
        (Some((_, by)), None) | (None, Some((_, by))) => {
            let message = "redis_tls_cert and redis_tls_key need each other".to_owned();
            let with = [&settings::REDIS_TLS_CERT, &settings::REDIS_TLS_KEY];
            sources.report_conflict(&by, message, &with);
            None
        }
        (None, None) => None,
    };
    let Store::Redis(mut options) = store else { return store };
    let [username, sentinel_username] = usernames;
    let [password, sentinel_password] = passwords;
    options.durability = durability;
    options.confirmation = confirmation;
    options.subjects_in_flight_max = condition.subjects_in_flight_max;
    options.silence_max = condition.store_timeout;
    options.credentials.username = username.or(options.credentials.username);
    if let Some((file, password)) = password {
        options.credentials.password = Some(password);
        options.credentials.password_file = Some(file);
    }
    let (password_file, password) = sentinel_password.unzip();
    options.sentinel_credentials =
        Credentials { username: sentinel_username, password, password_file };
    if let Some(tls) = &mut options.tls {
        *tls = Tls { ca: ca.map(|(path, _)| path), certificate };
    }
    Store::Redis(options)
}

/// Reports each listener that is in the way of one before it.
fn refuse_duplicates(
    sources: &mut Sources<'_>,
    listen: &[(Listen, String)],
    admin_listen: &[(Listen, String)],
    management: &[(Option<SocketAddr>, String)],
) {
    let management =
        management.iter().filter_map(|(listen, by)| Some((Listen::Tcp((*listen)?), by)));
    let others = listen.iter().chain(admin_listen).map(|(listen, by)| (listen.clone(), by));
    let mut open: Vec<(Listen, &String)> = Vec::new();
    for (listen, by) in others.chain(management) {
        match open.iter().find(|(other, _)| overlap(&listen, other)) {
            Some((other, first)) => {
                sources.report(by, format!("{listen} is in the way of {other}, set by {first}"));
            }
            None => open.push((listen, by)),
        }
    }
}

/// Whether two listeners cannot be open at once.
fn overlap(one: &Listen, other: &Listen) -> bool {
    match (one, other) {
        (Listen::Unix(one), Listen::Unix(other)) => one == other,
        // With port 0 the system picks a free one for each.
        (Listen::Tcp(one), Listen::Tcp(other)) => {
            one.port() == other.port()
                && one.port() != 0
                && (one.ip() == other.ip() || takes_all(one, other) || takes_all(other, one))
        }
        _ => false,
    }
}

/// Whether the first address stands for every one of the machine, the other's included. `[::]`
/// takes IPv4 as well.
fn takes_all(one: &SocketAddr, other: &SocketAddr) -> bool {
    match one.ip() {
        IpAddr::V4(ip) => ip.is_unspecified() && other.is_ipv4(),
        IpAddr::V6(ip) => ip.is_unspecified(),
    }
}
