//! The configuration: flags, environment and a TOML file, in this order of precedence.
//!
//! [`SETTINGS`] is the one table of all settings; it defines the flags, their help and the keys of
//! the file. Every source is checked, even if a higher one takes precedence, and all problems are
//! reported together with the names of their sources. An empty environment variable counts as
//! absent, since that is how templates leave one out; an unknown one is refused, like an unknown
//! key. A problem that follows from another reported one is not reported. Reading order: `settings`
//! (the table), `values` (from text to value), `sources` (precedence), `environment` (its
//! variables), `access` (authentication and TLS), `resilience` (overload, unavailable store,
//! shutdown), `connections` (bounds of connections and their calls), `callbacks` (the
//! callback listener).

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::callbacks::CallbackSettings;
use crate::engine::UnknownApp;
use crate::redis::StoreMemory;
use crate::redis::options::{Credentials, Tls};
use crate::telemetry::LogFormat;
use crate::telemetry::trace::TraceConfig;
use crate::webhook::Target;

mod access;
mod callbacks;
mod connections;
mod environment;
mod error;
mod redis_url;
mod replication;
mod resilience;
mod retired;
mod settings;
mod sources;
mod values;
mod webhook;

pub use access::{AccessConfig, TlsFiles};
pub use connections::Connections;
pub use environment::Environment;
pub use error::{ConfigError, ConfigErrors};
pub use settings::{Flags, Kind, SETTINGS, Setting};

use resilience::Condition;
use sources::Sources;
pub use values::{Listen, Store};

/// All settings, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Store of the facts.
    pub store: Store,
    /// Addresses of the data plane; at least one.
    pub listen: Vec<Listen>,
    /// Addresses of the admin API; at least one. A TCP address that is not loopback is encrypted
    /// and requires credentials.
    pub admin_listen: Vec<Listen>,
    /// Authentication of callers, and TLS.
    pub access: AccessConfig,
    /// Address of the HTTP server for metrics, if any.
    pub management_listen: Option<SocketAddr>,
    /// Names and addresses, beside those of this machine, by which clients over HTTP/1.1 or with
    /// JSON may name it.
    pub http_hosts: Vec<String>,
    /// Address of the callback listener, if any.
    pub callback_listen: Option<Listen>,
    /// The callers of the callback listener.
    pub callbacks: Vec<CallbackSettings>,
    /// The catalog file; `None` for the built-in one.
    pub catalog: Option<PathBuf>,
    /// Treatment of unregistered apps.
    pub unknown_app: UnknownApp,
    /// Format of log lines.
    pub log_format: LogFormat,
    /// Log filter: directives for `tracing_subscriber::EnvFilter`.
    pub log_filter: String,
    /// Export of spans, if enabled.
    pub traces: Option<TraceConfig>,
    /// True if gRPC reflection is served.
    pub reflection: bool,
    /// Longest time for a decision, even if the caller sets no deadline.
    pub request_timeout: Duration,
    /// Longest time for requests in flight to finish at shutdown.
    pub drain_timeout: Duration,
    /// Time for which all calls are still served after health reports that the service stops.
    pub shutdown_delay: Duration,
    /// Time for which the store may be silent before health reports it.
    pub store_tolerance: Duration,
    /// Silence after which a server of the store is absent.
    pub store_timeout: Duration,
    /// Directory of the journal of operations decided without the store; `None` if it is off.
    pub journal: Option<PathBuf>,
    /// State kept about a store in Redis, and the id of the only one to use.
    pub store_memory: StoreMemory,
    /// Most users and groups with operations in flight at each server of the store.
    pub subjects_in_flight_max: usize,
    /// Number of threads that serve calls.
    pub worker_threads: usize,
    /// Most operations in flight of one Apply stream.
    pub apply_in_flight_max: usize,
    /// Bounds of connections and of the memory of their calls.
    pub connections: Connections,
    /// Webhook to which every event is posted, if any.
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
        let catalog = sources.optional(&settings::CATALOG, values::readable_file);
        let catalog = catalog.map(|(path, _)| path);
        let callbacks = callbacks::read(&mut sources, &access, catalog.as_deref());
        refuse_duplicates(&mut sources, &listen, &admin_listen, &management, &callbacks.listen);
        retired::refuse(&mut sources);
        let resilience = resilience::read(&mut sources);
        let http_hosts = sources.any(&settings::HTTP_HOSTS, values::host);
        let config = Self {
            store: store(&mut sources, &resilience),
            listen: listen.into_iter().map(|(listen, _)| listen).collect(),
            admin_listen: admin_listen.into_iter().map(|(listen, _)| listen).collect(),
            access,
            callback_listen: callbacks.listen.into_iter().find_map(|(listen, _)| listen),
            callbacks: callbacks.callbacks,
            management_listen: management.into_iter().find_map(|(listen, _)| listen),
            http_hosts: http_hosts.into_iter().map(|(host, _)| host).collect(),
            catalog,
            unknown_app: sources.one(&settings::UNKNOWN_APP, values::unknown_app),
            log_format: sources.one(&settings::LOG_FORMAT, values::log_format),
            log_filter: sources.one(&settings::LOG_FILTER, values::log_filter),
            traces: traces(&mut sources),
            reflection: sources.one(&settings::REFLECTION, values::boolean),
            request_timeout: sources
                .one(&settings::REQUEST_TIMEOUT_MS, |text| values::millis(text, 1..=60_000)),
            drain_timeout: sources
                .one(&settings::DRAIN_TIMEOUT_MS, |text| values::millis(text, 0..=600_000)),
            shutdown_delay: resilience.shutdown_delay,
            store_tolerance: resilience.store_tolerance,
            store_timeout: resilience.store_timeout,
            journal: resilience.journal,
            store_memory: resilience.store_memory,
            subjects_in_flight_max: resilience.subjects_in_flight_max,
            worker_threads: resilience.worker_threads,
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
    /// Returns the configuration without any settings.
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

/// Reads the store, with the other settings that concern it.
fn store(sources: &mut Sources<'_>, resilience: &Condition) -> Store {
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
            let message =
                "redis_tls_cert and redis_tls_key are only valid together; add the missing one"
                    .to_owned();
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
    options.subjects_in_flight_max = resilience.subjects_in_flight_max;
    options.silence_max = resilience.store_timeout;
    options.coalescing = resilience.coalescing;
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

/// Reports each listener that conflicts with one before it.
fn refuse_duplicates(
    sources: &mut Sources<'_>,
    listen: &[(Listen, String)],
    admin_listen: &[(Listen, String)],
    management: &[(Option<SocketAddr>, String)],
    callbacks: &[(Option<Listen>, String)],
) {
    let management =
        management.iter().filter_map(|(listen, by)| Some((Listen::Tcp((*listen)?), by)));
    let callbacks = callbacks.iter().filter_map(|(listen, by)| Some((listen.clone()?, by)));
    let others = listen.iter().chain(admin_listen).map(|(listen, by)| (listen.clone(), by));
    let mut open: Vec<(Listen, &String)> = Vec::new();
    for (listen, by) in others.chain(management).chain(callbacks) {
        match open.iter().find(|(other, _)| overlap(&listen, other)) {
            Some((other, first)) => {
                sources.report(by, format!("{listen} conflicts with {other}, set by {first}"));
            }
            None => open.push((listen, by)),
        }
    }
}

/// Returns whether two listeners cannot be open at the same time.
fn overlap(one: &Listen, other: &Listen) -> bool {
    match (one, other) {
        (Listen::Unix(one), Listen::Unix(other)) => one == other,
        // With port 0 the system picks a free port for each.
        (Listen::Tcp(one), Listen::Tcp(other)) => {
            one.port() == other.port()
                && one.port() != 0
                && (one.ip() == other.ip() || includes(one, other) || includes(other, one))
        }
        _ => false,
    }
}

/// Returns whether the first address stands for all addresses of the machine, including the other.
/// `[::]` includes IPv4.
fn includes(one: &SocketAddr, other: &SocketAddr) -> bool {
    match one.ip() {
        IpAddr::V4(ip) => ip.is_unspecified() && other.is_ipv4(),
        IpAddr::V6(ip) => ip.is_unspecified(),
    }
}
