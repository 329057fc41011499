//! The environment variables that imquota reads, and those that Kubernetes adds.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::settings::{CONFIG, SETTINGS};
use crate::config::retired::RETIRED;
use crate::diagnostics::did_you_mean;

/// Prefix of the variables of imquota.
const PREFIX: &str = "IMQUOTA_";
/// Variables of the command line, which a pod may share with the sidecar.
const OF_COMMANDS: [&str; 3] = ["IMQUOTA_ADDRESS", "IMQUOTA_ADMIN_ADDRESS", "IMQUOTA_ADMIN_TOKEN"];
/// Protocols of a port of a Kubernetes Service.
const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

/// The environment variables of a process whose names begin with `IMQUOTA_`.
///
/// An empty one counts as absent, since that is how templates leave one out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// Values by name; `None` if the value is not UTF-8.
    variables: BTreeMap<String, Option<String>>,
}

/// A refused variable.
pub(super) struct Refused<'e> {
    pub(super) name: &'e str,
    pub(super) message: String,
    /// The key of the setting that it belongs to, or was probably meant for.
    pub(super) key: Option<&'static str>,
}

impl Environment {
    /// Returns the variables of this process.
    #[must_use]
    pub fn of_process() -> Self {
        std::env::vars_os().collect()
    }

    /// Returns the value, if it is set.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name)?.as_deref()
    }

    /// Returns the variables that are not settings, or whose value is not text.
    pub(super) fn refused(&self) -> impl Iterator<Item = Refused<'_>> {
        self.variables.iter().filter_map(|(name, value)| {
            let settings = || std::iter::once(&CONFIG).chain(SETTINGS);
            let setting = settings().chain(&RETIRED).find(|setting| setting.env == name);
            match (setting, value) {
                (Some(setting), None) => {
                    let (message, key) = ("must be UTF-8".to_owned(), Some(setting.key));
                    Some(Refused { name, message, key })
                }
                (Some(_), Some(_)) => None,
                (None, _) if OF_COMMANDS.contains(&name.as_str()) => None,
                (None, Some(value)) if is_of_kubernetes(name, value) => None,
                (None, _) => {
                    let given = name.trim_start_matches(PREFIX).to_lowercase();
                    let free = settings().filter(|setting| self.get(setting.env).is_none());
                    let key = did_you_mean(&given, free.map(|setting| setting.key));
                    let meant = settings().find(|setting| Some(setting.key) == key);
                    let hint = meant.map_or_else(
                        || "`imquota serve --help` lists the valid ones".to_owned(),
                        |setting| format!("did you mean {}?", setting.env),
                    );
                    let message = format!("unknown environment variable; {hint}");
                    Some(Refused { name, message, key })
                }
            }
        })
    }
}

impl FromIterator<(OsString, OsString)> for Environment {
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(all: I) -> Self {
        let with_prefix = all.into_iter().filter_map(|(name, value)| {
            let name = name.into_string().ok().filter(|name| name.starts_with(PREFIX))?;
            (!value.is_empty()).then(|| (name, value.into_string().ok()))
        });
        Self { variables: with_prefix.collect() }
    }
}

/// Returns whether Kubernetes sets such a variable for a Service whose name begins with imquota, in
/// each pod of its namespace: `IMQUOTA_SERVICE_HOST`, `IMQUOTA_HEADLESS_PORT_50051_TCP_ADDR`.
fn is_of_kubernetes(name: &str, value: &str) -> bool {
    let is_url = PROTOCOLS
        .iter()
        .any(|protocol| value.strip_prefix(protocol).is_some_and(|rest| rest.starts_with("://")));
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && is_url)
        || name.match_indices('_').any(|(at, _)| {
            // The name of a Service may contain these words too.
            name[at..].strip_prefix("_PORT_").is_some_and(is_port)
        })
}

/// Returns whether the text is like `50051_TCP` or `50051_TCP_ADDR`.
fn is_port(text: &str) -> bool {
    let mut parts = text.split('_');
    let number = parts.next().is_some_and(|part| part.parse::<u16>().is_ok());
    let protocol = parts
        .next()
        .is_some_and(|part| PROTOCOLS.iter().any(|protocol| part == protocol.to_uppercase()));
    let rest = parts.next().is_none_or(|part| matches!(part, "PROTO" | "PORT" | "ADDR"));
    number && protocol && rest && parts.next().is_none()
}
