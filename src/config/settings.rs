//! The table of all settings, and the flags that it defines.

use std::collections::BTreeMap;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::retired::RETIRED;
use super::{access, callbacks, connections, replication, resilience, webhook};

/// A setting.
#[derive(Debug)]
pub struct Setting {
    /// Key in the file.
    pub key: &'static str,
    /// Flag, without the dashes.
    pub flag: &'static str,
    /// Environment variable.
    pub env: &'static str,
    /// Type of its values.
    pub kind: Kind,
    /// Placeholder of the value in the help.
    pub value_name: &'static str,
    /// Default, as it would be written in the environment; `None` if the setting is absent by
    /// default.
    pub default: Option<&'static str>,
    /// Text of the help.
    pub help: &'static str,
}

/// Type of a setting's values, with their notation in the file, in the environment and as a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// A whole number.
    Number,
    /// `true` or `false`; the flag alone means `true`.
    Switch,
    /// A string or an array of strings; separated by commas in the environment; the flag may be
    /// repeated.
    List,
}

/// The file with the other settings; the only setting that it cannot contain itself.
pub(super) const CONFIG: Setting = Setting {
    key: "config",
    flag: "config",
    env: "IMQUOTA_CONFIG",
    kind: Kind::Text,
    value_name: "FILE",
    default: None,
    help: "TOML file with settings; flags and environment variables take precedence",
};

pub(super) const STORE: Setting = Setting {
    key: "store",
    flag: "store",
    env: "IMQUOTA_STORE",
    kind: Kind::Text,
    value_name: "STORE",
    default: Some("embedded:./imquota-data"),
    help: "Store of the facts: `embedded:DIR`; `memory`, which is lost at exit; \
           `redis://[USER:PASSWORD@]HOST:PORT/DB`, `redis+unix:///PATH`, \
           `redis-sentinel://HOST,HOST/MASTER` or `redis-cluster://HOST,HOST`, or `rediss` \
           instead of `redis` for TLS",
};

pub(super) const REDIS_USERNAME: Setting = Setting {
    key: "redis_username",
    flag: "redis-username",
    env: "IMQUOTA_REDIS_USERNAME",
    kind: Kind::Text,
    value_name: "NAME",
    default: None,
    help: "ACL user of Redis; the store's URL may name it too",
};

pub(super) const REDIS_PASSWORD_FILE: Setting = Setting {
    key: "redis_password_file",
    flag: "redis-password-file",
    env: "IMQUOTA_REDIS_PASSWORD_FILE",
    kind: Kind::Text,
    value_name: "FILE",
    default: None,
    help: "File that holds the password of Redis, read again for each connection; the store's URL \
           may hold it too",
};

pub(super) const SENTINEL_USERNAME: Setting = Setting {
    key: "sentinel_username",
    flag: "sentinel-username",
    env: "IMQUOTA_SENTINEL_USERNAME",
    kind: Kind::Text,
    value_name: "NAME",
    default: None,
    help: "ACL user of the Sentinels",
};

pub(super) const SENTINEL_PASSWORD_FILE: Setting = Setting {
    key: "sentinel_password_file",
    flag: "sentinel-password-file",
    env: "IMQUOTA_SENTINEL_PASSWORD_FILE",
    kind: Kind::Text,
    value_name: "FILE",
    default: None,
    help: "File that holds the password of the Sentinels, read again for each connection",
};

pub(super) const REDIS_TLS_CA: Setting = Setting {
    key: "redis_tls_ca",
    flag: "redis-tls-ca",
    env: "IMQUOTA_REDIS_TLS_CA",
    kind: Kind::Text,
    value_name: "FILE",
    default: None,
    help: "Certificate authorities of Redis, in PEM; by default those of the system",
};

pub(super) const REDIS_TLS_CERT: Setting = Setting {
    key: "redis_tls_cert",
    flag: "redis-tls-cert",
    env: "IMQUOTA_REDIS_TLS_CERT",
    kind: Kind::Text,
    value_name: "FILE",
    default: None,
    help: "Client certificate for Redis, in PEM; needs redis_tls_key",
};

pub(super) const REDIS_TLS_KEY: Setting = Setting {
    key: "redis_tls_key",
    flag: "redis-tls-key",
    env: "IMQUOTA_REDIS_TLS_KEY",
    kind: Kind::Text,
    value_name: "FILE",
    default: None,
    help: "The key of redis_tls_cert, in PEM",
};

pub(super) const LISTEN: Setting = Setting {
    key: "listen",
    flag: "listen",
    env: "IMQUOTA_LISTEN",
    kind: Kind::List,
    value_name: "ADDRESS",
    default: Some("127.0.0.1:50051"),
    help: "Address of the quota service: `HOST:PORT` or `unix:PATH`; may be repeated",
};

pub(super) const ADMIN_LISTEN: Setting = Setting {
    key: "admin_listen",
    flag: "admin-listen",
    env: "IMQUOTA_ADMIN_LISTEN",
    kind: Kind::List,
    value_name: "ADDRESS",
    default: Some("127.0.0.1:50052"),
    help: "Address of the admin service: `HOST:PORT` or `unix:PATH`; may be repeated",
};

pub(super) const MANAGEMENT_LISTEN: Setting = Setting {
    key: "management_listen",
    flag: "management-listen",
    env: "IMQUOTA_MANAGEMENT_LISTEN",
    kind: Kind::Text,
    value_name: "ADDRESS",
    default: Some("127.0.0.1:9090"),
    help: "Address of /metrics and the probes over HTTP: `HOST:PORT` or `off`",
};

pub(super) const HTTP_HOSTS: Setting = Setting {
    key: "http_hosts",
    flag: "http-hosts",
    env: "IMQUOTA_HTTP_HOSTS",
    kind: Kind::List,
    value_name: "HOST",
    default: None,
    help: "Name or address by which HTTP/JSON clients reach the sidecar, without a port; may be \
           repeated; localhost, loopback addresses and the listener's own address are always \
           allowed",
};

pub(super) const CATALOG: Setting = Setting {
    key: "catalog",
    flag: "catalog",
    env: "IMQUOTA_CATALOG",
    kind: Kind::Text,
    value_name: "FILE",
    default: None,
    help: "Catalog of editions, limits and prices; by default the built-in one",
};

pub(super) const UNKNOWN_APP: Setting = Setting {
    key: "unknown_app",
    flag: "unknown-app",
    env: "IMQUOTA_UNKNOWN_APP",
    kind: Kind::Text,
    value_name: "POLICY",
    default: Some("trial"),
    help: "Treatment of unregistered apps: `trial`, on the default edition, or `reject`",
};

pub(super) const LOG_FORMAT: Setting = Setting {
    key: "log_format",
    flag: "log-format",
    env: "IMQUOTA_LOG_FORMAT",
    kind: Kind::Text,
    value_name: "FORMAT",
    default: Some("text"),
    help: "Format of log lines: `text` or `json`",
};

pub(super) const LOG_FILTER: Setting = Setting {
    key: "log_filter",
    flag: "log-filter",
    env: "IMQUOTA_LOG_FILTER",
    kind: Kind::Text,
    value_name: "DIRECTIVES",
    default: Some("info"),
    help: "Log filter, such as `info` or `warn,imquota::engine=debug`",
};

pub(super) const OTLP_ENDPOINT: Setting = Setting {
    key: "otlp_endpoint",
    flag: "otlp-endpoint",
    env: "IMQUOTA_OTLP_ENDPOINT",
    kind: Kind::Text,
    value_name: "URL",
    default: None,
    help: "Receiver of spans, by OTLP over gRPC, such as http://localhost:4317; by default none",
};

pub(super) const TRACE_SAMPLE_RATIO: Setting = Setting {
    key: "trace_sample_ratio",
    flag: "trace-sample-ratio",
    env: "IMQUOTA_TRACE_SAMPLE_RATIO",
    kind: Kind::Text,
    value_name: "PART",
    default: Some("0.01"),
    help: "Part of the calls without a traceparent that is traced: 0 to 1",
};

pub(super) const REFLECTION: Setting = Setting {
    key: "reflection",
    flag: "reflection",
    env: "IMQUOTA_REFLECTION",
    kind: Kind::Switch,
    value_name: "BOOL",
    default: Some("false"),
    help: "Serve gRPC reflection, for grpcurl and the like: `true` or `false`",
};

pub(super) const REQUEST_TIMEOUT_MS: Setting = Setting {
    key: "request_timeout_ms",
    flag: "request-timeout-ms",
    env: "IMQUOTA_REQUEST_TIMEOUT_MS",
    kind: Kind::Number,
    value_name: "MS",
    default: Some("2000"),
    help: "Longest time for a decision, even if the caller sets no deadline: 1 to 60000",
};

pub(super) const DRAIN_TIMEOUT_MS: Setting = Setting {
    key: "drain_timeout_ms",
    flag: "drain-timeout-ms",
    env: "IMQUOTA_DRAIN_TIMEOUT_MS",
    kind: Kind::Number,
    value_name: "MS",
    default: Some("10000"),
    help: "Longest time for requests in flight to finish when the service stops: 0 to 600000",
};

pub(super) const APPLY_IN_FLIGHT_MAX: Setting = Setting {
    key: "apply_in_flight_max",
    flag: "apply-in-flight-max",
    env: "IMQUOTA_APPLY_IN_FLIGHT_MAX",
    kind: Kind::Number,
    value_name: "COUNT",
    default: Some("256"),
    help: "Most operations in flight of one Apply stream: 1 to 10000",
};

/// Every setting that the file may hold.
pub const SETTINGS: &[Setting] = &[
    STORE,
    replication::DURABILITY,
    replication::REPLICAS_CONFIRMING,
    replication::REPLICA_LAG_MAX_MS,
    REDIS_USERNAME,
    REDIS_PASSWORD_FILE,
    SENTINEL_USERNAME,
    SENTINEL_PASSWORD_FILE,
    REDIS_TLS_CA,
    REDIS_TLS_CERT,
    REDIS_TLS_KEY,
    LISTEN,
    ADMIN_LISTEN,
    MANAGEMENT_LISTEN,
    HTTP_HOSTS,
    callbacks::CALLBACK_LISTEN,
    access::UNIX_SOCKET_MODE,
    access::ADMIN_UNIX_SOCKET_MODE,
    access::TLS_CERT,
    access::TLS_KEY,
    access::TLS_CLIENT_CA,
    access::ADMIN_TLS_CERT,
    access::ADMIN_TLS_KEY,
    access::ADMIN_TLS_CLIENT_CA,
    access::ADMIN_CLIENT_ROLES,
    access::ADMIN_TOKENS_FILE,
    access::ADMIN_UNIX_UIDS,
    access::FORCE,
    CATALOG,
    UNKNOWN_APP,
    LOG_FORMAT,
    LOG_FILTER,
    OTLP_ENDPOINT,
    TRACE_SAMPLE_RATIO,
    REFLECTION,
    REQUEST_TIMEOUT_MS,
    DRAIN_TIMEOUT_MS,
    resilience::SHUTDOWN_DELAY_MS,
    resilience::STORE_TOLERANCE_MS,
    resilience::STORE_TIMEOUT_MS,
    resilience::JOURNAL,
    resilience::STATE_DIR,
    resilience::STORE_ID,
    resilience::SUBJECTS_IN_FLIGHT_MAX,
    resilience::COALESCING,
    resilience::WORKER_THREADS,
    APPLY_IN_FLIGHT_MAX,
    connections::CONNECTIONS_MAX,
    connections::CONNECTIONS_PER_PEER_MAX,
    connections::CONNECTION_IDLE_TIMEOUT_MS,
    connections::CONNECTION_AGE_MAX_MS,
    connections::CONNECTION_AGE_GRACE_MS,
    connections::STREAMS_MAX,
    connections::MESSAGE_TIMEOUT_MS,
    connections::CALL_MEMORY_MIB,
    webhook::WEBHOOK_URL,
    webhook::WEBHOOK_SECRET_FILE,
];

/// Flags of the command line, not checked yet. Add them to a command with `#[command(flatten)]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    given: BTreeMap<&'static str, Vec<String>>,
}

impl Flags {
    /// Returns the flags with one added, as by `--flag VALUE`. The flag is one of [`SETTINGS`], or
    /// `config`.
    #[must_use]
    pub fn with(mut self, flag: &'static str, value: &str) -> Self {
        debug_assert!(settings().any(|setting| setting.flag == flag), "no flag --{flag}");
        self.given.entry(flag).or_default().push(value.to_owned());
        self
    }

    pub(super) fn of(&self, setting: &Setting) -> &[String] {
        self.given.get(setting.flag).map_or(&[], Vec::as_slice)
    }
}

impl Setting {
    fn arg(&self) -> Arg {
        let default = self.default.map(|text| format!(" [default: {text}]")).unwrap_or_default();
        let arg = Arg::new(self.flag)
            .long(self.flag)
            .value_name(self.value_name)
            .help(format!("{} [env: {}]{default}", self.help, self.env))
            .hide(RETIRED.iter().any(|retired| retired.flag == self.flag));
        match self.kind {
            Kind::List => arg.action(ArgAction::Append),
            Kind::Switch => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
            Kind::Text | Kind::Number => arg.action(ArgAction::Set),
        }
    }
}

fn settings() -> impl Iterator<Item = &'static Setting> {
    std::iter::once(&CONFIG).chain(SETTINGS).chain(&RETIRED)
}

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        command.args(settings().map(Setting::arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for setting in settings() {
            if let Some(values) = matches.get_many::<String>(setting.flag) {
                self.given.insert(setting.flag, values.cloned().collect());
            }
        }
        Ok(())
    }
}
