//! Parses what servers return about themselves, and classifies their errors.

use std::collections::{BTreeMap, HashMap};

use redis::{ServerError, Value};

use crate::redis::options::HostPort;

/// Returns a server error as the server wrote it.
pub(super) fn words(error: &ServerError) -> String {
    match error.details() {
        Some(details) => format!("{} {details}", error.code()),
        None => error.code().to_owned(),
    }
}

/// Returns whether a script had begun and may have written: the error then has the script's line.
pub(super) fn is_from_within_a_script(error: &ServerError) -> bool {
    error.details().is_some_and(|details| details.contains("@user_script:"))
}

/// Returns whether a script failed because the user may not run one of its commands: the cause is
/// not the data but the server's ACL rules.
pub(super) fn lacks_permission(error: &ServerError) -> bool {
    is_from_within_a_script(error)
        && error.details().is_some_and(|details| {
            let words = ["The user executing the script", "ACL failure in script", "NOPERM"];
            words.iter().any(|word| details.contains(word))
        })
}

/// Reads from an error's text the command that the server lacks, since it was renamed or disabled.
#[must_use]
pub fn unknown_command(words: &str) -> Option<&str> {
    quoted_after(words, "unknown command ")
}

/// Reads from an error's text the command that the user may not run.
#[must_use]
pub fn forbidden_command(words: &str) -> Option<&str> {
    quoted_after(words, "no permissions to run the ")
}

/// Returns the quoted text behind a part of a sentence.
fn quoted_after<'a>(words: &'a str, part: &str) -> Option<&'a str> {
    let (_, rest) = words.split_once(part)?;
    rest.strip_prefix(['\'', '`'])?.split(['\'', '`']).next()
}

/// Codes of errors that count as no answer from the server.
const ABSENCE: &[&str] = &["LOADING", "CLUSTERDOWN", "MASTERDOWN"];
/// Codes of other transient errors; the call had no effect.
const TRANSIENT: &[&str] = &["TRYAGAIN", "READONLY", "NOREPLICAS", "BUSY"];
/// Codes of errors that belong to the normal operation of a server and of the product's scripts.
const ROUTINE: &[&str] = &["MOVED", "ASK", "TRYAGAIN", "NOSCRIPT", "CLOCKSKEW", "STORELOST"];

/// Returns whether an error of that code counts as no answer: the server cannot serve anything.
pub(super) fn is_absence(code: &str) -> bool {
    ABSENCE.contains(&code)
}

/// Returns whether an error of that code is transient; the call had no effect.
pub(super) fn is_transient(code: &str) -> bool {
    is_absence(code) || TRANSIENT.contains(&code)
}

/// Returns whether an error of that code means that the server or its data need attention: the
/// server answers, and refuses its normal work.
pub(super) fn is_refusal(code: &str) -> bool {
    !is_absence(code) && !ROUTINE.contains(&code)
}

/// Reads a string.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.clone()),
        Value::Okay => Some("OK".to_owned()),
        _ => None,
    }
}

/// Reads a number, also one in the form of a string.
pub(super) fn number(value: &Value) -> Option<u16> {
    match value {
        Value::Int(number) => u16::try_from(*number).ok(),
        other => text(other)?.parse().ok(),
    }
}

/// Reads a host and the port that follows it.
pub(super) fn host_port(host: &Value, port: &Value) -> Option<HostPort> {
    Some(HostPort { host: text(host)?, port: number(port)? })
}

/// Returns the elements of an array; none for any other value.
pub(super) fn elements(value: &Value) -> &[Value] {
    match value {
        Value::Array(elements) => elements,
        _ => &[],
    }
}

/// Reads an array in which names and values alternate, as in the replies to `CONFIG GET` and
/// `SENTINEL MASTER`.
pub(super) fn fields(value: &Value) -> HashMap<String, String> {
    elements(value)
        .chunks_exact(2)
        .filter_map(|pair| Some((text(&pair[0])?, text(&pair[1])?)))
        .collect()
}

/// The state of a master's replication, from its reply to `ROLE`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReplicationState {
    /// The offset up to which it has written.
    pub offset: u64,
    /// Its attached replicas, each with the offset that it has confirmed. Of several that share an
    /// address and port, the second is named `address:port#2`, and so on.
    pub replicas: BTreeMap<String, u64>,
}

/// Parses the reply to `ROLE`; `None` if it is not that of a master.
#[must_use]
pub fn replication_state(role: &Value) -> Option<ReplicationState> {
    let [kind, Value::Int(offset), replicas, ..] = elements(role) else { return None };
    if text(kind)? != "master" {
        return None;
    }
    let mut state =
        ReplicationState { offset: u64::try_from(*offset).ok()?, replicas: BTreeMap::new() };
    for replica in elements(replicas) {
        let [host, port, confirmed] = elements(replica) else { return None };
        let name = host_port(host, port)?.to_string();
        let numbered = (2..).map(|number| format!("{name}#{number}"));
        let mut names = std::iter::once(name.clone()).chain(numbered);
        let free = names.find(|name| !state.replicas.contains_key(name))?;
        state.replicas.insert(free, text(confirmed)?.parse().ok()?);
    }
    Some(state)
}

/// Reads from the reply to `ROLE` the master of a replica; `None` if it is that of a master.
#[must_use]
pub fn followed_master(role: &Value) -> Option<String> {
    let [kind, host, port, ..] = elements(role) else { return None };
    if text(kind)? != "slave" {
        return None;
    }
    Some(host_port(host, port)?.to_string())
}

/// Reads the value of a field from the reply to `INFO`.
#[must_use]
pub fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// Parses `MOVED` and `ASK`: the slot and the server. An empty host stands for the host of the
/// server that replied.
#[must_use]
pub fn redirection(details: &str, asked_host: &str) -> Option<(u16, HostPort)> {
    let (slot, address) = details.split_once(' ')?;
    // Errors from within scripts have the script's location behind the address.
    let address = address.split_whitespace().next()?;
    let (host, port) = address.rsplit_once(':')?;
    let host = if host.is_empty() { asked_host } else { host };
    Some((slot.parse().ok()?, HostPort { host: host.to_owned(), port: port.parse().ok()? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_lists_its_replicas() {
        let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let replica = |port, offset| Value::Array(vec![bulk("10.0.0.1"), bulk(port), bulk(offset)]);
        let role =
            |replicas| Value::Array(vec![bulk("master"), Value::Int(791), Value::Array(replicas)]);
        let state = |replicas| replication_state(&role(replicas));
        assert_eq!(state(vec![]), Some(ReplicationState { offset: 791, ..Default::default() }));
        let found = state(vec![replica("1", "790"), replica("2", "7"), replica("1", "791")]);
        let replicas = found.expect("a master").replicas.into_iter();
        let replicas: Vec<_> = replicas.map(|(name, offset)| format!("{name} {offset}")).collect();
        assert_eq!(replicas, ["10.0.0.1:1 790", "10.0.0.1:1#2 791", "10.0.0.1:2 7"]);
        assert_eq!(state(vec![replica("x", "1")]), None);
        let replica =
            Value::Array(vec![bulk("slave"), bulk("h"), Value::Int(1), bulk("connected")]);
        assert_eq!(replication_state(&replica), None);
    }

    #[test]
    fn a_script_that_lacks_a_permission_is_distinguished_from_one_that_fails_on_the_data() {
        let location = "script: 71021b1608dc515b55291a73cf3655a89638c659, on @user_script:182.";
        let lacks = |words: &str| {
            let line = format!("-{words} {location}\r\n");
            match redis::parse_redis_value(line.as_bytes()) {
                Ok(Value::ServerError(error)) => lacks_permission(&error),
                other => panic!("{words}: {other:?}"),
            }
        };
        // Redis 7.0; then Redis 8 and Valkey 8.
        assert!(lacks("ERR The user executing the script can't run this command or subcommand"));
        let later = "ERR ACL failure in script: User default has no permissions to run the 'sadd'";
        assert!(lacks(&format!("{later} command")));
        assert!(!lacks("WRONGTYPE Operation against a key holding the wrong kind of value"));
    }

    #[test]
    fn a_command_that_is_refused_is_the_quoted_one() {
        let words = "ERR unknown command 'EVALSHA', with args beginning with: '00' '0' ";
        assert_eq!(unknown_command(words), Some("EVALSHA"));
        assert_eq!(unknown_command("ERR unknown command `INFO`, with args"), Some("INFO"));
        let words = "NOPERM User u has no permissions to run the 'evalsha' command";
        assert_eq!((unknown_command(words), forbidden_command(words)), (None, Some("evalsha")));
        assert_eq!(forbidden_command("NOPERM No permissions to access a key"), None);
    }

    #[test]
    fn a_redirection_without_host_means_the_server_that_answered() {
        let (slot, address) = redirection("3999 :6381", "10.0.0.1").expect("valid");
        assert_eq!((slot, address.to_string().as_str()), (3999, "10.0.0.1:6381"));
        let (slot, address) = redirection("1 ::1:7000", "10.0.0.1").expect("valid");
        assert_eq!((slot, address.to_string().as_str()), (1, "[::1]:7000"));
        assert_eq!(redirection("nonsense", ""), None);
    }
}
