//! Errors of commands, as sentences for the person who typed the command.
//!
//! A denial is not an error; it is printed as a result.

use std::error::Error as _;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use http::uri::Authority;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::connect::Address;
use super::output::value;
use crate::diagnostics::with_causes;
use crate::grpc::error_reason::ErrorReason;

/// Reasons of a call whose own timeout expired at the sidecar.
const TIMED_OUT: &str = ErrorReason::TimedOut.name();
const DEADLINE_PASSED: &str = ErrorReason::DeadlinePassed.name();
const UNFINISHED: &str = ErrorReason::Unfinished.name();

/// Error of a command.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection could not be established.
    #[error(
        "cannot connect to {address}: {why}\n\
         Is a sidecar listening there? `imquota serve` starts one; --address names another."
    )]
    Connect {
        /// Address of the sidecar.
        address: Address,
        /// Cause, from the operating system.
        why: String,
    },
    /// The TLS options cannot be used.
    #[error("{0}")]
    Tls(String),
    /// The token was not sent, because the connection is not encrypted.
    #[error(
        "the token is not sent to {authority} over an unencrypted connection, where others could \
         read it; use https://{authority}"
    )]
    TokenNotEncrypted {
        /// Address of the sidecar.
        authority: Authority,
    },
    /// The token is malformed. The error does not repeat it, since it may be a secret.
    #[error("{place} must hold a token: one word of ASCII, as `imquota admin make-token` prints")]
    Token {
        /// The file or variable that it was read from.
        place: String,
    },
    /// The system returned no random bytes for a token.
    #[error("cannot create a token: {0}")]
    MakeToken(getrandom::Error),
    /// A call that may change something failed with this status.
    #[error("{}", describe(.0, true))]
    Status(Box<Status>),
    /// A read-only call failed with this status.
    #[error("{}", describe(.0, false))]
    ReadStatus(Box<Status>),
    /// The connection was lost during a call.
    #[error("{error}\n{hint}")]
    ConnectionLost {
        /// Error of the call.
        error: Box<Error>,
        /// Likely cause.
        hint: String,
    },
    /// A change failed, or its outcome is unknown.
    #[error("{error}\nTo retry safely, {how}: --request-id {request_id}")]
    Change {
        /// Error of the change.
        error: Box<Error>,
        /// `add` if the command line has no request id, `keep` if it has.
        how: &'static str,
        /// Request id that makes a retry idempotent.
        request_id: String,
    },
    /// The catalog is invalid: one line per problem, each with its position, as in compilers.
    #[error("the catalog is invalid\n{0}")]
    Catalog(String),
    /// A file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Cause.
        error: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    WriteFile {
        /// The file.
        path: PathBuf,
        /// Cause.
        error: io::Error,
    },
    /// The output file exists.
    #[error("{} exists and is not overwritten; name another file, or remove it", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A file of an export is invalid.
    #[error("{}: {why}", position(path, *line))]
    Export {
        /// The file.
        path: PathBuf,
        /// The line, from 1, if the problem is in a line.
        line: Option<u64>,
        /// The problem.
        why: String,
    },
    /// The run cannot resume from the checkpoint.
    #[error("{}: {why}; delete it to start over", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// The difference or the problem.
        why: String,
    },
    /// Signal handlers cannot be installed.
    #[error("cannot install a signal handler: {0}")]
    Signals(io::Error),
    /// The comparison was interrupted before the last response.
    #[error("{0}")]
    Interrupted(&'static str),
    /// A comparison failed, and may be repeated.
    #[error("{error}\n{advice}")]
    Comparison {
        /// Error of the comparison.
        error: Box<Error>,
        /// Advice on repeating the comparison.
        advice: &'static str,
    },
    /// The stream of events ended.
    #[error("{error}\nTo resume here: --after {token}")]
    Watch {
        /// Error of the stream.
        error: Box<Error>,
        /// Token of the last event printed.
        token: String,
    },
    /// The store has no id.
    #[error("the store is embedded or in memory and has no id; ids are for stores in Redis")]
    NoStoreId,
    /// The audit log was changed.
    #[error("the audit log was tampered with: {0}")]
    Audit(String),
    /// The entry given with `--head` is not in the audit log.
    #[error("--head {head} is not in the log, whose entries are unchanged: {why}")]
    HeadNotFound {
        /// Number and hash, as given.
        head: String,
        /// The entry found instead, and possible causes.
        why: String,
    },
    /// The response could not be written to stdout.
    #[error("cannot write the response: {0}")]
    Write(io::Error),
    /// The system returned no random bytes for a request id.
    #[error("cannot create a request id ({0}); give one with --request-id")]
    Random(getrandom::Error),
}

impl Error {
    /// Returns whether the sidecar returned one of these codes.
    pub fn is_of(&self, codes: &[Code]) -> bool {
        match self {
            Self::Status(status) | Self::ReadStatus(status) => codes.contains(&status.code()),
            _ => false,
        }
    }

    /// Returns whether a retry of the call may succeed, or its outcome is unknown.
    pub fn may_retry(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Write(_) | Self::Interrupted(_) => true,
            Self::ConnectionLost { error, .. } => error.may_retry(),
            Self::Status(status) | Self::ReadStatus(status) => matches!(
                status.code(),
                Code::Unavailable
                    | Code::DeadlineExceeded
                    | Code::Cancelled
                    | Code::Aborted
                    | Code::ResourceExhausted
                    | Code::Unknown
                    | Code::Internal
            ),
            _ => false,
        }
    }

    /// Returns whether a retry by this command itself may succeed.
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::Write(_)) && self.may_retry()
    }

    /// Converts the error to that of a read-only call.
    pub fn for_read(self) -> Self {
        match self {
            Self::Status(status) => Self::ReadStatus(status),
            Self::ConnectionLost { error, hint } => {
                Self::ConnectionLost { error: Box::new(error.for_read()), hint }
            }
            other => other,
        }
    }

    /// Adds advice on how to repeat the comparison, if that may help.
    pub fn for_comparison(self, has_checkpoint: bool, has_report: bool) -> Self {
        if !self.may_retry() {
            return self;
        }
        let advice = if has_checkpoint {
            "Run the same command again: it resumes where it stopped."
        } else if has_report {
            "Run the same command again, with another file for --report: it starts over, which is \
             safe; with --checkpoint FILE it would resume where it stopped."
        } else {
            "Run the same command again: it starts over, which is safe; with --checkpoint FILE it \
             would resume where it stopped."
        };
        Self::Comparison { error: Box::new(self), advice }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

/// Returns the text of the last cause, which is that of the operating system.
pub fn root_cause(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}

/// Returns whether the connection was lost, as opposed to an error of the sidecar or a timeout.
pub fn is_lost(status: &Status) -> bool {
    let late = |error: &(dyn std::error::Error + 'static)| error.is::<tonic::TimeoutExpired>();
    let mut cause = status.source();
    let is_local = cause.is_some();
    while let Some(error) = cause.filter(|error| !late(*error)) {
        cause = error.source();
    }
    is_local && cause.is_none()
}

fn describe(status: &Status, is_change: bool) -> String {
    let lost = is_lost(status);
    // UNKNOWN of a lost connection would read like the outcome of a change.
    let mut text = match status.code() {
        Code::Unknown if lost => "the connection was lost".to_owned(),
        code => code_name(code),
    };
    if !status.message().is_empty() {
        let _ = write!(text, ": {}", status.message());
    }
    if let Some(cause) = status.source().filter(|_| lost) {
        let _ = write!(text, ": {}", with_causes(cause));
    }
    let details = status.get_error_details();
    let of_im = |key| details.error_info().and_then(|info| info.metadata.get(key)).cloned();
    text.push_str(&value::im_code(of_im("im_error_code"), of_im("im_error_name")));
    let bad: Vec<_> =
        details.bad_request().iter().flat_map(|request| &request.field_violations).collect();
    // A single one is already in the message.
    if bad.len() > 1 {
        for bad in bad {
            let _ = write!(text, "\n  {}: {}", bad.field, bad.description);
        }
    }
    match status.code() {
        Code::DeadlineExceeded | Code::Cancelled if !lost => {
            let reason = details.error_info().map_or("", |info| info.reason.as_str());
            // tonic reports a deadline that expires on this side as CANCELLED.
            let is_late = status.source().is_some()
                || [TIMED_OUT, DEADLINE_PASSED, UNFINISHED].contains(&reason)
                || reason.is_empty() && status.code() == Code::DeadlineExceeded;
            if is_late {
                text += "\nThe timeout (--timeout-ms) expired.";
            }
            // The message of every other reason states the outcome.
            if is_change && (reason.is_empty() || reason == TIMED_OUT) {
                text += "\nThe outcome of the change is unknown: it may have been applied.";
            }
        }
        Code::Unauthenticated => {
            text += "\nGive credentials: a token by --token-file or IMQUOTA_ADMIN_TOKEN, or a \
                     client certificate by --tls-cert and --tls-key.";
        }
        Code::Unimplemented => {
            text += "\nThis address does not serve the service: QuotaService is served on --listen \
                     (port 50051 by default), AdminService on --admin-listen (port 50052).";
        }
        _ => {}
    }
    text
}

fn position(path: &Path, line: Option<u64>) -> String {
    let line = line.map(|line| format!(":{line}")).unwrap_or_default();
    format!("{}{line}", path.display())
}

/// Returns the code as spelled in the gRPC documentation, such as `INVALID_ARGUMENT`.
pub fn code_name(code: Code) -> String {
    let camel = format!("{code:?}");
    let mut name = String::with_capacity(camel.len() + 2);
    for (at, letter) in camel.char_indices() {
        if at > 0 && letter.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn a_status_is_described_with_each_invalid_field() {
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation("user_ids[3]", "is empty; 1-32 bytes");
        details.add_bad_request_violation("app_id", "has a space");
        let code = Code::InvalidArgument;
        let status = Status::with_error_details(code, "2 fields are wrong", details);
        assert_eq!(
            Error::from(status).to_string(),
            "INVALID_ARGUMENT: 2 fields are wrong\n  \
             user_ids[3]: is empty; 1-32 bytes\n  \
             app_id: has a space"
        );
    }

    #[test]
    fn the_error_of_a_change_contains_the_generated_request_id() {
        let error = Box::new(Error::from(Status::unavailable("the store is gone")));
        let error = Error::Change { error, how: "add", request_id: "0a1b".into() };
        assert_eq!(
            error.to_string(),
            "UNAVAILABLE: the store is gone\n\
             To retry safely, add: --request-id 0a1b"
        );
    }

    #[test]
    fn a_connection_error_contains_the_address_and_a_remedy() {
        let address = "127.0.0.1:50051".parse().unwrap();
        let error = Error::Connect { address, why: "Connection refused (os error 111)".into() };
        assert_eq!(
            error.to_string(),
            "cannot connect to 127.0.0.1:50051: Connection refused (os error 111)\n\
             Is a sidecar listening there? `imquota serve` starts one; --address names another."
        );
    }

    #[test]
    fn a_lost_connection_is_not_reported_as_unknown() {
        let mut lost = Status::new(Code::Unknown, "h2 protocol error");
        lost.set_source(std::sync::Arc::new(io::Error::from(io::ErrorKind::BrokenPipe)));
        assert_eq!(
            Error::from(lost).to_string(),
            "the connection was lost: h2 protocol error: broken pipe"
        );
        let answered = Status::new(Code::Unknown, "of the sidecar");
        assert_eq!(Error::from(answered).to_string(), "UNKNOWN: of the sidecar");
    }

    #[test]
    fn a_timeout_is_named_and_only_changes_have_an_unknown_outcome() {
        let with_reason = |reason: &str| {
            let details = ErrorDetails::with_error_info(reason, "imquota.v1", HashMap::new());
            Status::with_error_details(Code::DeadlineExceeded, "it", details)
        };
        let mut here = Status::new(Code::Cancelled, "Timeout expired");
        here.set_source(std::sync::Arc::new(tonic::TimeoutExpired(())));
        for (status, is_timeout, is_unknown) in [
            (with_reason("TIMED_OUT"), true, true),
            (with_reason("DEADLINE_PASSED"), true, false),
            (with_reason("REQUEST_UNFINISHED"), false, false),
            (with_reason("PREVIEW_TOO_LONG"), false, false),
            (Status::unavailable("no response within 2000 ms"), false, false),
            (Status::cancelled("a panic"), false, true),
            (here, true, true),
        ] {
            let change = Error::from(status.clone()).to_string();
            assert_eq!(change.contains("--timeout-ms"), is_timeout, "{change}");
            assert_eq!(change.contains("may have been applied"), is_unknown, "{change}");
            let read = Error::from(status).for_read().to_string();
            assert_eq!(read.contains("--timeout-ms"), is_timeout, "{read}");
            assert!(!read.contains("may have been applied"), "{read}");
        }
    }

    #[test]
    fn codes_are_spelled_as_in_the_grpc_documentation() {
        let names = [Code::Ok, Code::NotFound, Code::DeadlineExceeded].map(code_name);
        assert_eq!(names, ["OK", "NOT_FOUND", "DEADLINE_EXCEEDED"]);
    }
}
