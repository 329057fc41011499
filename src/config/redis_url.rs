//! Parses the forms of `--store` for Redis.
//!
//! `redis://[USER:PASSWORD@]HOST[:PORT][/DB]`, `redis+unix:///PATH[?db=N]`,
//! `redis-sentinel://HOST,HOST,.../MASTER[/DB]` and `redis-cluster://HOST,HOST,...`; with
//! `rediss` instead of `redis` each over TLS. User and password are percent-encoded.

use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use crate::diagnostics::truncate_for_display;
use crate::redis::options::{
    Address, Coalescing, Confirmation, Credentials, Durability, HostPort, Options, Tls, Topology,
};

/// Default port of Redis.
const REDIS_PORT: u16 = 6379;
/// Default port of Sentinels.
const SENTINEL_PORT: u16 = 26379;
/// Most hosts of one URL; the others are discovered.
const HOSTS_MAX: usize = 64;
/// Greatest number of a database.
const DATABASE_MAX: i64 = 65_535;

/// Connect timeout: a second is long within a data centre, and a caller waits.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Returns whether the text has one of these forms.
pub(super) fn is_redis(text: &str) -> bool {
    text.starts_with("redis")
}

/// Parses a URL to options. An error never repeats the URL, which may contain a password.
pub(super) fn parse(text: &str) -> Result<Options, String> {
    let (scheme, rest) = text.split_once("://").ok_or_else(forms)?;
    let (encrypted, kind) = match scheme.strip_prefix("rediss") {
        Some(kind) => (true, kind),
        None => (false, scheme.strip_prefix("redis").ok_or_else(forms)?),
    };
    let (credentials, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) => (credentials(user)?, rest),
        None => (Credentials::default(), rest),
    };
    let topology = match kind {
        "" => standalone(rest)?,
        "+unix" if !encrypted => unix(rest)?,
        "-sentinel" => sentinel(rest)?,
        "-cluster" => cluster(rest)?,
        _ => return Err(forms()),
    };
    Ok(Options {
        topology,
        tls: encrypted.then(Tls::default),
        credentials,
        sentinel_credentials: Credentials::default(),
        durability: Durability::default(),
        confirmation: Confirmation::default(),
        connect_timeout: CONNECT_TIMEOUT,
        silence_max: Duration::ZERO,
        subjects_in_flight_max: 0,
        coalescing: Coalescing::default(),
    })
}

fn forms() -> String {
    "must be redis://HOST:PORT/DB, redis+unix:///PATH, redis-sentinel://HOST,HOST/MASTER or \
     redis-cluster://HOST,HOST (rediss instead of redis for TLS)"
        .to_owned()
}

fn credentials(text: &str) -> Result<Credentials, String> {
    let decode = |text: &str| -> Result<Option<String>, String> {
        let decoded = percent_decode_str(text).decode_utf8();
        let decoded = decoded.map_err(|_| "has a user or password that is not UTF-8".to_owned())?;
        Ok((!decoded.is_empty()).then(|| decoded.into_owned()))
    };
    let (username, password) = text.split_once(':').unwrap_or((text, ""));
    let (username, password) = (decode(username)?, decode(password)?);
    Ok(Credentials { username, password, password_file: None })
}

fn standalone(rest: &str) -> Result<Topology, String> {
    let (host, database) = rest.split_once('/').unwrap_or((rest, ""));
    let address = Address::Tcp(host_port(host, REDIS_PORT)?);
    Ok(Topology::Standalone { address, database: number(database)? })
}

fn unix(rest: &str) -> Result<Topology, String> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let good = path.starts_with('/') && !path.contains('\0') && path.len() > 1;
    let database = match query {
        "" => "",
        query => {
            query.strip_prefix("db=").ok_or("may have ?db=N and nothing else after the path")?
        }
    };
    if !good {
        return Err("must have the absolute path of a socket: redis+unix:///PATH".to_owned());
    }
    Ok(Topology::Standalone {
        address: Address::Unix(PathBuf::from(path)),
        database: number(database)?,
    })
}

fn sentinel(rest: &str) -> Result<Topology, String> {
    let (list, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (master, database) = path.split_once('/').unwrap_or((path, ""));
    if master.is_empty() {
        return Err("must name the master after the Sentinels: \
                    redis-sentinel://HOST,HOST/MASTER"
            .to_owned());
    }
    Ok(Topology::Sentinel {
        sentinels: hosts(list, SENTINEL_PORT)?,
        master: master.to_owned(),
        database: number(database)?,
    })
}

fn cluster(rest: &str) -> Result<Topology, String> {
    let (list, path) = rest.split_once('/').unwrap_or((rest, ""));
    if !path.is_empty() {
        return Err("must not name a database: a cluster has only one".to_owned());
    }
    Ok(Topology::Cluster { seeds: hosts(list, REDIS_PORT)? })
}

fn hosts(list: &str, port: u16) -> Result<Vec<HostPort>, String> {
    let hosts: Vec<_> =
        list.split(',').map(|host| host_port(host, port)).collect::<Result<_, _>>()?;
    if hosts.len() > HOSTS_MAX {
        return Err(format!("must name at most {HOSTS_MAX} hosts"));
    }
    Ok(hosts)
}

/// Parses `HOST`, `HOST:PORT`, `[IPv6]` or `[IPv6]:PORT`.
fn host_port(text: &str, port: u16) -> Result<HostPort, String> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']').unwrap_or((rest, "?")),
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match rest.strip_prefix(':') {
        Some(port) => port.parse().ok().filter(|port| *port > 0),
        None => rest.is_empty().then_some(port),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    match port.filter(|_| !host.is_empty() && host.chars().all(plain)) {
        Some(port) => Ok(HostPort { host: host.to_owned(), port }),
        None => Err(format!("has no host and port in {:?}", truncate_for_display(text))),
    }
}

fn number(text: &str) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let number = text.parse().ok().filter(|number| (0..=DATABASE_MAX).contains(number));
    number.ok_or_else(|| format!("has a database that is not a number from 0 to {DATABASE_MAX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_parsed() {
        for (text, shown) in [
            ("redis://h", "redis://h:6379/0"),
            ("redis://u:p%40ss@h:1/3", "redis://h:1/3"),
            ("rediss://[::1]:7/2", "redis://[::1]:7/2"),
            ("redis+unix:///run/r.sock?db=4", "redis+unix:///run/r.sock?db=4"),
            ("redis-sentinel://a,b:5/main", "redis-sentinel://a:26379,b:5/main/0"),
            ("rediss-cluster://a,b:5", "redis-cluster://a:6379,b:5"),
        ] {
            let options = parse(text).expect(text);
            assert_eq!(options.topology.to_string(), shown);
            assert_eq!(options.tls.is_some(), text.starts_with("rediss"), "{text}");
        }
        let options = parse("redis://u:p%40ss@h:1/3").expect("good");
        assert_eq!(options.credentials.username.as_deref(), Some("u"));
        assert_eq!(options.credentials.password.as_deref(), Some("p@ss"));
        assert!(!format!("{options:?}").contains("p@ss"), "a password is never shown");
    }

    #[test]
    fn other_forms_are_refused_without_repeating_a_password() {
        for text in [
            "redis",
            "redis://",
            "redis://u:secret@h:0",
            "redis://u:secret@h:x",
            "redis://u:secret@h/-1",
            "redis+unix://relative",
            "redis-sentinel://u:secret@h",
            "redis-cluster://u:secret@h/1",
            "redis-other://u:secret@h",
            "redis://u:secret@a,b",
        ] {
            let error = parse(text).expect_err(text);
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
