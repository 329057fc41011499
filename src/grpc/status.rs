//! The one table from errors of decisions, connections and callers to gRPC codes and reasons.
//!
//! `admin_status` has the errors of the admin service, `error_reason` the reasons.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::QuotaViolation;

use super::error_reason::ErrorReason;
use super::error_reply::ErrorReply;
use super::fields::{Invalid, VIOLATIONS_MAX_BYTES};
use crate::access::ForceRefused;
use crate::domain::decision::Subject;
use crate::domain::id::AppId;
use crate::engine::{Decision, Denial};
use crate::ledger::LedgerError;

/// Most denials that are listed in error details, which are sent in an HTTP/2 header.
const QUOTA_VIOLATIONS_MAX: usize = 20;

/// Reason why a request was not decided.
#[derive(Debug)]
pub enum Failure {
    /// The request is invalid.
    Invalid(Invalid),
    /// The ledger returned no decision.
    Ledger(LedgerError),
    /// The caller may not use mode FORCE.
    ForceRefused(ForceRefused),
    /// The caller's deadline passed before there was a decision.
    TimedOut,
    /// The ledger was not read.
    Unread(LedgerError),
    /// The caller's deadline passed before the ledger was read.
    UnreadInTime,
}

impl Failure {
    /// Converts the failure to that of a read, which has no unknown outcome as it changes nothing.
    pub fn of_read(self) -> Self {
        match self {
            Self::Ledger(error) => Self::Unread(error),
            Self::TimedOut => Self::UnreadInTime,
            other => other,
        }
    }
}

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

impl From<ForceRefused> for Failure {
    fn from(refused: ForceRefused) -> Self {
        Self::ForceRefused(refused)
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

pub(super) fn ledger_code(error: &LedgerError) -> Code {
    match error {
        // RESOURCE_EXHAUSTED means that nothing was done.
        LedgerError::Unfinished(reason) => match ledger_code(reason) {
            Code::ResourceExhausted => Code::Unavailable,
            code => code,
        },
        error => ErrorReason::from(error).codes()[0],
    }
}

impl From<Failure> for ErrorReply {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Invalid(invalid) => invalid.into(),
            Failure::Ledger(error) => {
                let reply = Self::with_code(ledger_code(&error), (&error).into(), &error);
                let reply = reply.retried(error.can_retry());
                match error {
                    LedgerError::JournalBlocked { entry, .. } => reply.with("entry", entry),
                    _ => reply,
                }
            }
            Failure::Unread(error) => {
                let message = error.without_outcome();
                let reply = Self::with_code(ledger_code(&error), (&error).into(), message);
                reply.retried(error.can_retry())
            }
            Failure::UnreadInTime => {
                Self::new(ErrorReason::TimedOut, "the deadline has passed").retried(true)
            }
            Failure::ForceRefused(refused) => Self::new(ErrorReason::ForceNotAllowed, refused),
            Failure::TimedOut => {
                let message = "the deadline has passed; the outcome is unknown, a retry is safe";
                Self::new(ErrorReason::TimedOut, message).retried(true)
            }
        }
    }
}

/// Returns the status of a request that was not decided.
pub fn of_failure(failure: Failure) -> Status {
    ErrorReply::from(failure).into()
}

/// Returns the status of a request with invalid fields.
pub fn of_invalid(invalid: Invalid) -> Status {
    ErrorReply::from(invalid).into()
}

/// Returns a status with a reason that has one code only.
pub fn of_reason(reason: ErrorReason, message: &str) -> Status {
    ErrorReply::new(reason, message).into()
}

/// Returns the status of a call with an invalid header.
pub fn of_bad_header(name: &str, rule: &str) -> Status {
    of_invalid(Invalid::field(name, rule))
}

/// Returns the status of a call over HTTP whose service has ended without an answer.
pub fn of_no_answer() -> Status {
    of_reason(ErrorReason::NotTranslated, "the service has ended without an answer")
}

/// Returns the status of a call or stream that the server's shutdown has ended.
pub fn of_shutdown(advice: &str) -> Status {
    let message = format!("the server is shutting down; {advice}");
    ErrorReply::new(ErrorReason::ShuttingDown, message).retried(true).into()
}

/// Returns the status of every call before the store is open.
pub fn of_unopened_store() -> Status {
    let message = "the store is not open yet; nothing was done";
    ErrorReply::new(ErrorReason::StoreNotOpen, message).retried(true).into()
}

/// Returns the status that ends a call in flight whose caller lost the right to it. `role` is the
/// current role of the credentials; `None` if they are not accepted any more.
pub fn of_revoked(what: &str, role: Option<&str>, least: &str) -> Status {
    let reason = ErrorReason::CredentialsRevoked;
    let reply = match role {
        None => ErrorReply::with_code(
            Code::Unauthenticated,
            reason,
            format!("{what} was ended: the token was revoked; call again with valid credentials"),
        ),
        Some(role) => ErrorReply::with_code(
            Code::PermissionDenied,
            reason,
            format!("{what} was ended: it needs the role {least}, and the token now has {role}"),
        ),
    };
    reply.into()
}

/// Returns the status of a call whose caller has too low a role for it.
pub fn of_low_role(what: &str, caller: &str, has: &str, needs: &str) -> Status {
    let message = format!("{what} needs the role {needs}, and \"{caller}\" has {has}");
    let reply = ErrorReply::new(ErrorReason::RoleTooLow, message);
    reply.with("role", has).with("needed_role", needs).into()
}

/// Returns the status of a call whose limit of calls in flight is reached: that of all callers, or
/// that of the named one.
pub fn of_too_many_calls(what: &str, max: usize, caller: Option<String>) -> Status {
    let (calls, are) = if max == 1 { ("call", "is") } else { ("calls", "are") };
    let message = match &caller {
        Some(caller) => format!(
            "\"{caller}\" has {max} {calls} of {what} in flight, the most for one caller; \
             end one of them first"
        ),
        None => format!(
            "{max} {calls} of {what} {are} in flight, the most for all callers; retry once one of \
             them has ended"
        ),
    };
    let reply = ErrorReply::new(ErrorReason::TooManyCalls, message).with("max", max);
    match caller {
        Some(caller) => reply.with("caller", caller).into(),
        None => reply.into(),
    }
}

/// Returns the status of a call whose connection holds too much memory; nothing was done.
pub fn of_too_much_memory() -> Status {
    let message = "the open calls and unfinished requests of this connection take too much \
                   memory; nothing was done; send fewer at once";
    ErrorReply::new(ErrorReason::Overloaded, message).retried(true).into()
}

/// Returns the status of a request that did not arrive completely in time.
pub fn of_unfinished_request(limit: Duration) -> Status {
    let message = format!(
        "the request was not complete within {} ms of its first byte; nothing was done with it",
        limit.as_millis()
    );
    ErrorReply::new(ErrorReason::RequestUnfinished, message).into()
}

/// Returns the status for a denial, if the caller requested denials as errors.
pub fn of_denial(app: &AppId, decision: &Decision) -> Option<Status> {
    debug_assert!(decision.denied());
    let denials = decision.results().flat_map(|result| &result.violations);
    of_denials(app, &denials.take(QUOTA_VIOLATIONS_MAX).collect::<Vec<_>>())
}

/// Returns the status for denials; `None` if there are none.
pub fn of_denials(app: &AppId, denials: &[&Denial]) -> Option<Status> {
    let first = denials.first()?;
    let violation = &first.violation;
    let quota_violation = |denial: &&Denial| {
        QuotaViolation::new(quota_subject(app, &denial.violation.subject), denial.message.clone())
    };
    let mut listed_bytes = 0;
    let violations = denials.iter().take(QUOTA_VIOLATIONS_MAX).map(quota_violation);
    let violations = violations.enumerate().take_while(|(index, violation)| {
        listed_bytes += violation.subject.len() + violation.description.len();
        *index == 0 || listed_bytes <= VIOLATIONS_MAX_BYTES
    });
    let violations = violations.map(|(_, violation)| violation);
    let reply = ErrorReply::new(violation.reason.into(), &first.message)
        .with("limit_id", &violation.limit_id)
        .with("used", violation.used)
        .with("limit", violation.bound.limit)
        .with_im_code(first.im_code.clone())
        .with_quota_violations(violations.collect());
    Some(reply.into())
}

/// Returns a subject in the form of QuotaFailure: its kind, a colon, and its id unchanged.
fn quota_subject(app: &AppId, subject: &Subject) -> String {
    match subject {
        Subject::App => format!("app:{app}"),
        Subject::User(id) => format!("user:{id}"),
        Subject::Group(id) => format!("group:{id}"),
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt as _;

    use super::*;
    use crate::domain::id::{GroupId, UserId};
    use crate::grpc::pb;
    use crate::store::{Overload, StoreError};

    #[test]
    fn a_replaced_group_aborts_the_call_without_advice_to_retry() {
        let group = GroupId::try_from("g").expect("an id");
        let replaced = LedgerError::GroupReplaced(group);
        let message = replaced.to_string();
        let status = of_failure(Failure::Ledger(replaced));
        assert_eq!((status.code(), status.message()), (Code::Aborted, message.as_str()));
        let details = status.get_error_details();
        let info = details.error_info().expect("an ErrorInfo");
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("GROUP_REPLACED", "imquota.v1"));
        assert!(details.retry_info().is_none());
    }

    #[test]
    fn an_operation_of_apply_gets_the_error_of_a_unary_call() {
        type Case = (fn() -> Failure, &'static str, bool);
        let failures: [Case; 6] = [
            (
                || LedgerError::Store(StoreError::Overloaded(Overload::Full)).into(),
                "OVERLOADED",
                true,
            ),
            (
                || LedgerError::JournalBlocked { entry: 7, why: "it".into() }.into(),
                "JOURNAL_BLOCKED",
                true,
            ),
            (
                || LedgerError::GroupNotFound(GroupId::try_from("g").expect("an id")).into(),
                "GROUP_NOT_FOUND",
                false,
            ),
            (|| Invalid::field("it", "is bad").into(), "INVALID_FIELDS", false),
            (|| Failure::TimedOut, "TIMED_OUT", true),
            (
                || {
                    let invalid = Invalid::field("it", "is bad");
                    Invalid { im_code: Some(70_206.into()), ..invalid }.into()
                },
                "BATCH_TOO_LARGE",
                false,
            ),
        ];
        for (failure, reason, is_retried) in failures {
            let (operation, unary) =
                (pb::ApplyError::from(ErrorReply::from(failure())), of_failure(failure()));
            let details = unary.get_error_details();
            let info = details.error_info().expect("an ErrorInfo");
            assert_eq!(operation.code, i32::from(unary.code()));
            assert_eq!(operation.message, unary.message());
            assert_eq!((operation.reason.as_str(), info.reason.as_str()), (reason, reason));
            let mut metadata = operation.metadata.clone();
            if operation.im_error_code > 0 {
                metadata.insert("im_error_code".into(), operation.im_error_code.to_string());
            }
            assert_eq!(metadata, info.metadata);
            let delay = operation.retry_delay.map(|it| Duration::try_from(it).expect("a delay"));
            assert_eq!(delay, details.retry_info().and_then(|info| info.retry_delay), "{reason}");
            assert_eq!(delay.is_some(), is_retried, "{reason}");
        }
    }

    #[test]
    fn the_first_colon_ends_the_kind_of_a_subject() {
        let app = AppId::try_from("shop").expect("an id");
        let (user, group) = (UserId::try_from("a:b c"), GroupId::try_from("@TGS#:x"));
        for (subject, kind, id) in [
            (Subject::App, "app", "shop"),
            (Subject::User(user.expect("an id")), "user", "a:b c"),
            (Subject::Group(group.expect("an id")), "group", "@TGS#:x"),
        ] {
            assert_eq!(quota_subject(&app, &subject).split_once(':'), Some((kind, id)));
        }
    }
}
