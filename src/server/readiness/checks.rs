//! The checks of a probe, a line each in the format of Kubernetes' own components: `[+]name ok`,
//! with a detail after a colon, or `[-]name failed: reason`.

use std::fmt;
use std::time::Duration;

use super::State;
use crate::clock::Stopwatch;
use crate::domain::clock_guard::{SKEW_MAX, SKEW_NOTICED};
use crate::store::{Replication, ServerState, Standing};

/// An operation of the journal that has waited for this time although its server answers is
/// reported.
const JOURNAL_WAITS_MAX: Duration = Duration::from_secs(60);

/// Result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::server) struct Check {
    /// True if the check passed.
    pub(in crate::server) good: bool,
    name: String,
    /// Reason of the failure, or a detail; may be empty if it passed.
    detail: String,
}

impl Check {
    /// Creates a passed check.
    pub(super) fn ok(name: impl Into<String>) -> Self {
        Self { good: true, name: name.into(), detail: String::new() }
    }

    fn ok_with(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..Self::ok(name) }
    }

    fn failed(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { good: false, name: name.into(), detail: reason.into() }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { good, name, detail } = self;
        // Foreign text may have line breaks, and a line is one check.
        let detail = detail.replace(['\r', '\n'], " ");
        match (good, detail.as_str()) {
            (true, "") => write!(f, "[+]{name} ok"),
            (true, detail) => write!(f, "[+]{name} ok: {detail}"),
            (false, reason) => write!(f, "[-]{name} failed: {reason}"),
        }
    }
}

/// Checks that the store was opened once.
pub(super) fn started(state: &State) -> Check {
    match state.answered {
        Some(_) => Check::ok("started"),
        None => Check::failed("started", "the store was not available yet"),
    }
}

/// Makes all checks of readiness.
pub(super) fn of_state(state: &State, tolerance: Duration) -> Vec<Check> {
    let mut checks = vec![started(state)];
    checks.push(if state.stopping {
        Check::failed("running", "the process is ending")
    } else {
        Check::ok("running")
    });
    checks.extend(store(state, tolerance));
    checks.extend(state.servers.iter().map(|it| server(state, it)));
    checks.extend(state.clock_skews.iter().map(|(node, seconds)| clock(node, *seconds)));
    checks.extend(journal(state));
    checks
}

/// Checks the store as a whole, and the failure policy.
fn store(state: &State, tolerance: Duration) -> Vec<Check> {
    let Some(last) = state.answered else {
        return vec![Check::failed("store", "it has not answered yet")];
    };
    let silent = last.elapsed();
    let answers = silent < tolerance;
    let mut checks = vec![if answers {
        Check::ok_with("store", format!("it answered {:.1} s ago", silent.as_secs_f64()))
    } else {
        let (silent, tolerance) = (silent.as_secs_f64(), tolerance.as_secs_f64());
        Check::failed("store", format!("silent for {silent:.1} s, longer than {tolerance} s"))
    }];
    match &state.lost {
        Some(why) => {
            let reason = format!("the store lost its facts, or is another one: {why}");
            checks.push(Check::failed("store-facts", reason));
        }
        None if state.admits_without_store() && !answers => {
            let detail = "the failure policy admits without the store";
            checks.push(Check::ok_with("failure-policy", detail));
        }
        None => {}
    }
    checks
}

/// Checks one server of the store.
fn server(state: &State, server: &ServerState) -> Check {
    let ServerState { address, is_absent, refusal, replication } = server;
    let Replication { standing, required, attached } = replication;
    let name = format!("server/{address}");
    if *is_absent {
        let since = state.absent.get(address).map(Stopwatch::elapsed).unwrap_or_default();
        let seconds = since.as_secs_f64();
        let reason = format!("circuit breaker open for {seconds:.1} s: its probe gets no answer");
        return Check::failed(name, reason);
    }
    if let Some(refusal) = refusal {
        return Check::failed(name, format!("refuses calls: {}", refusal.words));
    }
    match standing {
        Standing::Closed => {
            let reason = format!(
                "unconfirmed: {attached} of {required} replicas are attached that have to \
                 confirm; calls are UNAVAILABLE"
            );
            Check::failed(name, reason)
        }
        Standing::Alone => Check::ok_with(name, "not replicated: no replica attached"),
        Standing::Local | Standing::Replicated => Check::ok(name),
    }
}

/// Checks one clock of the store.
fn clock(node: &str, seconds: f64) -> Check {
    let name = format!("clock/{node}");
    let apart = format!("{:.1} s apart from this machine's", seconds.abs());
    if seconds.abs() > SKEW_MAX.as_secs_f64() {
        Check::failed(name, format!("{apart}; operations that depend on the time are refused"))
    } else if seconds.abs() >= SKEW_NOTICED.as_secs_f64() {
        Check::ok_with(name, apart)
    } else {
        Check::ok(name)
    }
}

/// Checks the journal, if there is one: how full it is, and whether it is replayed.
fn journal(state: &State) -> Vec<Check> {
    let journal = &state.journal;
    if !journal.is_kept {
        return Vec::new();
    }
    if journal.entries == 0 {
        return vec![Check::ok("journal")];
    }
    let waits = state.journal_waits();
    let oldest = state.oldest.as_ref().map_or(0, |(entry, _)| *entry);
    let (moves, is_stuck) = match journal.oldest_due {
        _ if waits > JOURNAL_WAITS_MAX => {
            let seconds = waits.as_secs();
            let moves =
                format!("the oldest, {oldest}, waits for {seconds} s although its server answers");
            (moves, true)
        }
        Some(_) => ("being replayed".to_owned(), false),
        None if journal.blocked >= journal.entries => ("all are blocked".to_owned(), true),
        None => ("waiting for the store".to_owned(), false),
    };
    let blocked = match journal.blocked {
        0 => String::new(),
        blocked => format!(", {blocked} of them blocked"),
    };
    let (entries, fill) = (journal.entries, journal.fill_percent);
    let detail = format!("{entries} entries{blocked}, {fill} % full, {moves}");
    let is_good = !is_stuck && journal.blocked == 0 && fill < 100;
    let whole = if is_good { Check::ok_with } else { Check::failed };
    let mut checks = vec![whole("journal", detail.as_str())];
    let entry = |(number, words)| Check::failed(format!("journal-entry/{number}"), words);
    checks.extend(journal.blocked_descriptions().map(entry));
    checks
}

#[cfg(test)]
mod tests;
