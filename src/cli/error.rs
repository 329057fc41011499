//! Why a command came to nothing, in sentences for the person who typed it.
//!
//! A denial is not an error; it is printed as an answer.

use std::error::Error as _;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use http::uri::Authority;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::connect::Address;
use crate::diagnostics::with_causes;
use crate::grpc::error_reason::ErrorReason;

/// Reasons of a call whose own time limit passed at the sidecar.
const TIMED_OUT: &str = ErrorReason::TimedOut.name();
const DEADLINE_PASSED: &str = ErrorReason::DeadlinePassed.name();
const UNFINISHED: &str = ErrorReason::Unfinished.name();

/// Why a command came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers there.
    #[error(
        "cannot connect to {address}: {why}\n\
         Is a sidecar listening there? `imquota serve` starts one; --address names another."
    )]
    Connect {
        /// Where.
        address: Address,
        /// What the system said.
        why: String,
    },
    /// The encrypted connection cannot even be tried.
    #[error("{0}")]
    Tls(String),
    /// A token is not sent where others could read it.
    #[error(
        "the token is not sent to {authority}, where anybody on the way could read it; use \
         https://{authority}"
    )]
    Readable {
        /// Where.
        authority: Authority,
    },
    /// What should be a token is none. It is not repeated here.
    #[error("{place} must hold a token: one word of ASCII, as `imquota admin make-token` prints")]
    Token {
        /// Where it was read.
        place: String,
    },
    /// The system gives no randomness for a token.
    #[error("cannot make a token up: {0}")]
    NoToken(getrandom::Error),
    /// The sidecar, or the way to it, answered with an error.
    #[error("{}", sentence(.0, true))]
    Status(Box<Status>),
    /// The same of a call that changes nothing, so that its outcome is no question.
    #[error("{}", sentence(.0, false))]
    Unread(Box<Status>),
    /// The connection was lost during the call.
    #[error("{error}\n{doubt}")]
    Lost {
        /// What failed.
        error: Box<Error>,
        /// What may be wrong.
        doubt: String,
    },
    /// A change failed, or its outcome is unknown.
    #[error("{error}\nTo repeat it safely, {how}: --request-id {request_id}")]
    Change {
        /// What failed.
        error: Box<Error>,
        /// Whether the command line lacks the id (`add`) or has it (`keep`).
        how: &'static str,
        /// The id that makes a repetition harmless.
        request_id: String,
    },
    /// A catalog is not valid: a line per mistake, each led by its place, as compilers do.
    #[error("the catalog is not valid\n{0}")]
    Catalog(String),
    /// A file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    WriteFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A file is there that would be overwritten.
    #[error("{} exists and is not overwritten; name another file, or remove it", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A file of an export is not what it has to be.
    #[error("{}: {why}", place(path, *line))]
    Export {
        /// The file.
        path: PathBuf,
        /// The line, from 1, where it is one.
        line: Option<u64>,
        /// What is wrong with it.
        why: String,
    },
    /// A checkpoint that the run cannot go on from.
    #[error("{}: {why}; delete it to begin anew", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// In which respect it does not fit.
        why: String,
    },
    /// The system does not tell of signals.
    #[error("cannot listen to signals: {0}")]
    Signals(io::Error),
    /// A comparison came to an end before its last answer.
    #[error("{0}")]
    CutOff(&'static str),
    /// A comparison that may be repeated.
    #[error("{error}\n{advice}")]
    Comparison {
        /// What failed.
        error: Box<Error>,
        /// How to go on.
        advice: &'static str,
    },
    /// Events were watched up to a token.
    #[error("{error}\nTo go on where this ended: --after {token}")]
    Watch {
        /// What failed.
        error: Box<Error>,
        /// The last event that was printed.
        token: String,
    },
    /// The audit log is not what it was.
    #[error("the audit log was tampered with: {0}")]
    Audit(String),
    /// The entry of the audit log that a person noted is not in the log.
    #[error("--head {head} is not in the log, whose entries are unchanged: {why}")]
    HeadNotFound {
        /// Number and hash, as noted.
        head: String,
        /// What is there instead, and what that may mean.
        why: String,
    },
    /// The answer could not be written to stdout.
    #[error("cannot write the answer: {0}")]
    Write(io::Error),
    /// The system gives no randomness for a request id.
    #[error("cannot make a request id up ({0}); give one with --request-id")]
    Random(getrandom::Error),
}

impl Error {
    /// Whether the same call may yet succeed, or may have succeeded unseen.
    pub fn is_worth_repeating(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Write(_) | Self::CutOff(_) => true,
            Self::Lost { error, .. } => error.is_worth_repeating(),
            Self::Status(status) | Self::Unread(status) => matches!(
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

    /// Whether a repetition by this command itself may get an answer.
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::Write(_)) && self.is_worth_repeating()
    }

    /// The same, of a call that changes nothing.
    pub fn of_read(self) -> Self {
        match self {
            Self::Status(status) => Self::Unread(status),
            Self::Lost { error, doubt } => Self::Lost { error: Box::new(error.of_read()), doubt },
            other => other,
        }
    }

    /// The same, of a comparison, with how to go on where that may help.
    pub fn of_comparison(self, has_checkpoint: bool, has_report: bool) -> Self {
        if !self.is_worth_repeating() {
            return self;
        }
        let advice = if has_checkpoint {
            "Run the same command again: it goes on where it stopped."
        } else if has_report {
            "Run the same command again, with another file for --report: it begins anew, which is \
             harmless; with --checkpoint FILE it would go on where it stopped."
        } else {
            "Run the same command again: it begins anew, which is harmless; with --checkpoint FILE \
             it would go on where it stopped."
        };
        Self::Comparison { error: Box::new(self), advice }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

/// The last cause: what the system said.
pub fn root_cause(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}

/// Whether the connection was lost, rather than that the sidecar answered or the time was up.
pub fn is_lost(status: &Status) -> bool {
    let late = |error: &(dyn std::error::Error + 'static)| error.is::<tonic::TimeoutExpired>();
    let mut cause = status.source();
    let is_local = cause.is_some();
    while let Some(error) = cause.filter(|error| !late(*error)) {
        cause = error.source();
    }
    is_local && cause.is_none()
}

fn sentence(status: &Status, is_change: bool) -> String {
    let lost = is_lost(status);
    // UNKNOWN of a connection that was lost reads like the outcome of a change.
    let mut said = match status.code() {
        Code::Unknown if lost => "the connection was lost".to_owned(),
        code => code_name(code),
    };
    if !status.message().is_empty() {
        let _ = write!(said, ": {}", status.message());
    }
    if let Some(cause) = status.source().filter(|_| lost) {
        let _ = write!(said, ": {}", with_causes(cause));
    }
    let details = status.get_error_details();
    let code = details.error_info().and_then(|info| info.metadata.get("im_error_code"));
    if let Some(code) = code {
        let _ = write!(said, " (IM code {code})");
    }
    let bad: Vec<_> =
        details.bad_request().iter().flat_map(|request| &request.field_violations).collect();
    // A single one is what the message says already.
    if bad.len() > 1 {
        for bad in bad {
            let _ = write!(said, "\n  {}: {}", bad.field, bad.description);
        }
    }
    match status.code() {
        Code::DeadlineExceeded | Code::Cancelled if !lost => {
            let reason = details.error_info().map_or("", |info| info.reason.as_str());
            // What tonic makes of a deadline that passes here is CANCELLED.
            let is_late = status.source().is_some()
                || [TIMED_OUT, DEADLINE_PASSED, UNFINISHED].contains(&reason)
                || reason.is_empty() && status.code() == Code::DeadlineExceeded;
            if is_late {
                said += "\nThe time limit (--timeout-ms) passed.";
            }
            // Every other reason says by its sentence what is known.
            if is_change && (reason.is_empty() || reason == TIMED_OUT) {
                said += "\nIt may have been done all the same.";
            }
        }
        Code::Unauthenticated => {
            said += "\nShow who you are: a token by --token-file or IMQUOTA_ADMIN_TOKEN, or a \
                     certificate by --tls-cert and --tls-key.";
        }
        Code::Unimplemented => {
            said += "\nThe service is not on this address; AdminService has a listener of its own.";
        }
        _ => {}
    }
    said
}

fn place(path: &Path, line: Option<u64>) -> String {
    let line = line.map(|line| format!(":{line}")).unwrap_or_default();
    format!("{}{line}", path.display())
}

/// The code as the gRPC documents spell it, such as `INVALID_ARGUMENT`.
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
    fn a_status_is_a_sentence_with_each_bad_field() {
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
    fn a_failed_change_names_the_request_id_that_was_made_up() {
        let error = Box::new(Error::from(Status::unavailable("the store is gone")));
        let error = Error::Change { error, how: "add", request_id: "0a1b".into() };
        assert_eq!(
            error.to_string(),
            "UNAVAILABLE: the store is gone\n\
             To repeat it safely, add: --request-id 0a1b"
        );
    }

    #[test]
    fn a_failed_connection_says_where_and_what_to_start() {
        let address = "127.0.0.1:50051".parse().unwrap();
        let error = Error::Connect { address, why: "Connection refused (os error 111)".into() };
        assert_eq!(
            error.to_string(),
            "cannot connect to 127.0.0.1:50051: Connection refused (os error 111)\n\
             Is a sidecar listening there? `imquota serve` starts one; --address names another."
        );
    }

    #[test]
    fn a_lost_connection_is_no_unknown_outcome() {
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
    fn the_time_limit_is_blamed_for_what_it_has_ended_and_doubt_is_for_changes_alone() {
        let with_reason = |reason: &str| {
            let details = ErrorDetails::with_error_info(reason, "imquota.v1", HashMap::new());
            Status::with_error_details(Code::DeadlineExceeded, "it", details)
        };
        let mut here = Status::new(Code::Cancelled, "Timeout expired");
        here.set_source(std::sync::Arc::new(tonic::TimeoutExpired(())));
        for (status, is_blamed, is_in_doubt) in [
            (with_reason("TIMED_OUT"), true, true),
            (with_reason("DEADLINE_PASSED"), true, false),
            (with_reason("REQUEST_UNFINISHED"), false, false),
            (with_reason("PREVIEW_TOO_LONG"), false, false),
            (Status::unavailable("no answer within 2000 ms"), false, false),
            (Status::cancelled("a panic"), false, true),
            (here, true, true),
        ] {
            let change = Error::from(status.clone()).to_string();
            assert_eq!(change.contains("--timeout-ms"), is_blamed, "{change}");
            assert_eq!(change.contains("may have been done"), is_in_doubt, "{change}");
            let read = Error::from(status).of_read().to_string();
            assert_eq!(read.contains("--timeout-ms"), is_blamed, "{read}");
            assert!(!read.contains("may have been done"), "{read}");
        }
    }

    #[test]
    fn codes_are_spelled_as_in_the_grpc_documents() {
        let names = [Code::Ok, Code::NotFound, Code::DeadlineExceeded].map(code_name);
        assert_eq!(names, ["OK", "NOT_FOUND", "DEADLINE_EXCEEDED"]);
    }
}
