//! The one table from errors to gRPC codes.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, QuotaViolation, StatusExt};

use super::fields::{Invalid, Violation};
use super::force::ForceRefused;
use crate::directory::{AcceptClockError, DirectoryError, LostEnd};
use crate::domain::decision::Outcome;
use crate::domain::purchase::Refusal;
use crate::engine::administration::reconcile::ReconcileError;
use crate::engine::administration::{AdminError, JournalChangeError, StoreError};
use crate::engine::{Decision, Denial};
use crate::ledger::{AcceptError, LedgerError, SnapshotError};

/// The domain of every ErrorInfo.
const DOMAIN: &str = "imquota.v1";
/// The reason of every call that is refused because the store lost its facts.
const STORE_LOST: &str = "STORE_LOST";
/// The reason of a call that ended because its credentials do not allow it any more.
const CREDENTIALS_REVOKED: &str = "CREDENTIALS_REVOKED";
/// The reason of a call with too many ids.
pub(super) const BATCH_TOO_LARGE: &str = "BATCH_TOO_LARGE";
/// The reason of a take in mode FORCE whose caller may not use it.
pub(super) const FORCE_NOT_ALLOWED: &str = "FORCE_NOT_ALLOWED";
/// The reason of a call of which there are as many in work as there may be.
const TOO_MANY_CALLS: &str = "TOO_MANY_CALLS";
/// When a repetition may help: by then the queue of the store has been worked off.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// Most denials that are told in error details, which travel in an HTTP/2 header.
const QUOTA_VIOLATIONS_MAX: usize = 20;

/// Why a request was not decided.
#[derive(Debug)]
pub enum Failure {
    /// The request is wrong.
    Invalid(Invalid),
    /// The ledger has no decision.
    Ledger(LedgerError),
    /// The caller may not use mode FORCE.
    ForceRefused(ForceRefused),
    /// The time was up before there was an answer.
    TimedOut,
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
        LedgerError::UnknownApp(_) | LedgerError::GroupNotFound(_) => Code::NotFound,
        LedgerError::GroupTypeDiffers { .. } => Code::AlreadyExists,
        LedgerError::GroupReplaced(_) => Code::Aborted,
        LedgerError::GroupTypeUnknown { .. } | LedgerError::MembersNotTracked { .. } => {
            Code::FailedPrecondition
        }
        LedgerError::NotTracked(_) => Code::FailedPrecondition,
        LedgerError::DeadlinePassed => Code::DeadlineExceeded,
        LedgerError::Overloaded(_) | LedgerError::UnknownAppsFull { .. } => Code::ResourceExhausted,
        LedgerError::Refused(_)
        | LedgerError::Unavailable(_)
        | LedgerError::ConnectionLost(_)
        | LedgerError::Unconfirmed(_)
        | LedgerError::Unconfirmable(_)
        | LedgerError::Failed(_)
        | LedgerError::Absent { .. }
        | LedgerError::JournalBlocked { .. }
        | LedgerError::StoreLost(_)
        | LedgerError::ClockSkew(_)
        | LedgerError::ClockSettling(_)
        | LedgerError::Closing => Code::Unavailable,
        // RESOURCE_EXHAUSTED says that nothing was done.
        LedgerError::Unfinished(reason) => match ledger_code(reason) {
            Code::ResourceExhausted => Code::Unavailable,
            code => code,
        },
    }
}

fn admin_code(error: &AdminError) -> Code {
    match error {
        AdminError::UnknownApp(_) => Code::NotFound,
        AdminError::AppExists(_) | AdminError::RequestIdReused { .. } => Code::AlreadyExists,
        AdminError::Refused(_)
        | AdminError::Recorded(_)
        | AdminError::TooManyPurchases(_)
        | AdminError::TooManyRetentions(_)
        | AdminError::Missing { .. }
        | AdminError::TooManyCatalogs
        | AdminError::TypesInUse(_)
        | AdminError::FiguresGone(_) => Code::FailedPrecondition,
        AdminError::NotBegun { .. }
        | AdminError::BeforeApp { .. }
        | AdminError::UnknownCatalog { .. }
        | AdminError::UnknownContent(..)
        | AdminError::SeveralCatalogs { .. } => Code::InvalidArgument,
        AdminError::Catalog(_) => Code::Internal,
        AdminError::TooLong(_) => Code::DeadlineExceeded,
        AdminError::RevisionsLost { .. }
        | AdminError::Directory(DirectoryError::Conflict(_) | DirectoryError::Lost { .. }) => {
            Code::Aborted
        }
        AdminError::Directory(
            DirectoryError::Unreadable { .. }
            | DirectoryError::UnreadableCatalog { .. }
            | DirectoryError::UnreadableEntry { .. }
            | DirectoryError::UnreadableStatement { .. },
        ) => Code::DataLoss,
        AdminError::Directory(
            DirectoryError::Unavailable(_)
            | DirectoryError::ClockSkew(_)
            | DirectoryError::ClockRefused(_)
            | DirectoryError::StoreLost(_),
        )
        | AdminError::Unfinished(_)
        | AdminError::OutcomeUnknown(_)
        | AdminError::Unread(_)
        | AdminError::Clock(_) => Code::Unavailable,
    }
}

/// The status of a comparison that was not begun or broke off.
pub fn of_reconcile(error: ReconcileError) -> Status {
    match error {
        ReconcileError::Ledger(error) => of_failure(Failure::Ledger(error)),
        ReconcileError::Admin(error) => of_admin(&error),
        ReconcileError::Unlogged(_) => of_reason(Code::Unavailable, "UNLOGGED", error.to_string()),
        ReconcileError::TooEarly { .. } | ReconcileError::InTheFuture { .. } => {
            of_invalid(Invalid::field("begin.as_of", error))
        }
        ReconcileError::Twice(_) => of_invalid(Invalid::field("facts", error)),
        ReconcileError::NotTracked(_) => Status::failed_precondition(error.to_string()),
        ReconcileError::TooMuch(_) => Status::out_of_range(error.to_string()),
    }
}

/// The status of a copy of the store that was not made.
pub fn of_snapshot(error: &SnapshotError) -> Status {
    let code = match error {
        SnapshotError::Elsewhere => Code::FailedPrecondition,
        SnapshotError::Closing | SnapshotError::Failed(_) => Code::Unavailable,
    };
    Status::new(code, error.to_string())
}

pub(super) fn timed_out() -> (Code, &'static str) {
    (Code::DeadlineExceeded, "the time was up; whether it was done is unknown, a retry is safe")
}

/// The status of a request that was not decided.
pub fn of_failure(failure: Failure) -> Status {
    match failure {
        Failure::Invalid(invalid) => of_invalid(invalid),
        Failure::Ledger(error) => {
            let reason = error.name().to_uppercase();
            let mut metadata = HashMap::new();
            if let LedgerError::JournalBlocked { entry, .. } = &error {
                metadata.insert("entry".to_owned(), entry.to_string());
            }
            let mut details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
            if error.can_retry() {
                details.set_retry_info(Some(RETRY_AFTER));
            }
            Status::with_error_details(ledger_code(&error), error.to_string(), details)
        }
        Failure::ForceRefused(refused) => {
            of_reason(Code::PermissionDenied, FORCE_NOT_ALLOWED, refused.to_string())
        }
        Failure::TimedOut => {
            let (code, message) = timed_out();
            Status::new(code, message)
        }
    }
}

/// The status of a request with bad fields.
pub fn of_invalid(invalid: Invalid) -> Status {
    let message = summary(&invalid);
    let told = |Violation { field, description }| FieldViolation::new(field, description);
    let violations: Vec<_> = invalid.violations.into_iter().map(told).collect();
    let mut details = ErrorDetails::with_bad_request(violations);
    if let Some(code) = invalid.im_error_code {
        let metadata = HashMap::from([("im_error_code".to_owned(), code.to_string())]);
        details.set_error_info(BATCH_TOO_LARGE, DOMAIN, metadata);
    }
    Status::with_error_details(Code::InvalidArgument, message, details)
}

pub(super) fn summary(invalid: &Invalid) -> String {
    let mut told = invalid.violations.iter();
    let first = told.next().map_or_else(String::new, |Violation { field, description }| {
        format!("{field} {description}")
    });
    match told.len() {
        0 => first,
        1 => format!("{first}; one more field is wrong"),
        more => format!("{first}; {more} more fields are wrong"),
    }
}

/// The status of an administrative change that was not made.
pub fn of_admin(error: &AdminError) -> Status {
    match error {
        AdminError::Refused(Refusal::UnknownEdition { .. }) => {
            of_invalid(Invalid::field("edition_id", error))
        }
        AdminError::Refused(Refusal::UnknownAddOn { .. }) => {
            of_invalid(Invalid::field("add_on_id", error))
        }
        AdminError::Refused(Refusal::UnknownPurchase { .. }) => {
            of_invalid(Invalid::field("purchase_request_id", error))
        }
        AdminError::Refused(Refusal::RetentionDays { .. }) => {
            of_invalid(Invalid::field("days", error))
        }
        AdminError::NotBegun { .. } | AdminError::BeforeApp { .. } => {
            of_invalid(Invalid::field("month", error))
        }
        AdminError::UnknownCatalog { .. } => of_invalid(Invalid::field("version", error)),
        AdminError::UnknownContent(..) | AdminError::SeveralCatalogs { .. } => {
            of_invalid(Invalid::field("content_hash", error))
        }
        AdminError::Directory(DirectoryError::ClockRefused(refusal)) => {
            of_clock(refusal.name(), error)
        }
        AdminError::Clock(refusal)
        | AdminError::Unfinished(refusal)
        | AdminError::Unread(refusal)
            if matches!(refusal, LedgerError::ClockSkew(_) | LedgerError::ClockSettling(_)) =>
        {
            of_clock(refusal.name(), error)
        }
        AdminError::Directory(DirectoryError::ClockSkew(seconds)) => {
            of_clock(LedgerError::ClockSkew(*seconds).name(), error)
        }
        AdminError::Refused(Refusal::PostpaidNotAllowed { edition, offer, .. }) => {
            let offer =
                offer.iter().map(|offer| ("offer_edition_id".to_owned(), offer.to_string()));
            let named = [("edition_id".to_owned(), edition.to_string())].into_iter().chain(offer);
            let named: HashMap<_, _> = named.collect();
            let details = ErrorDetails::with_error_info("POSTPAID_NOT_ALLOWED", DOMAIN, named);
            Status::with_error_details(admin_code(error), error.to_string(), details)
        }
        AdminError::RevisionsLost { lost: LostEnd { found, known }, .. }
        | AdminError::Directory(DirectoryError::Lost { found, known }) => {
            let metadata =
                [("found", found), ("known", known)].map(|(key, it)| (key.into(), it.to_string()));
            let metadata = HashMap::from(metadata);
            let details = ErrorDetails::with_error_info("FACTS_LOST", DOMAIN, metadata);
            Status::with_error_details(Code::Aborted, error.to_string(), details)
        }
        _ if is_lost(error) => of_store_lost(error.to_string()),
        _ => match admin_reason(error) {
            Some(reason) => of_reason(admin_code(error), reason, error.to_string()),
            None => Status::new(admin_code(error), error.to_string()),
        },
    }
}

/// Whether it is the store that is lost.
fn is_lost(error: &AdminError) -> bool {
    matches!(
        error,
        AdminError::Directory(DirectoryError::StoreLost(_))
            | AdminError::Unfinished(LedgerError::StoreLost(_))
            | AdminError::Unread(LedgerError::StoreLost(_))
            | AdminError::Clock(LedgerError::StoreLost(_))
    )
}

/// The status of every call while the store is lost.
pub fn of_store_lost(message: String) -> Status {
    of_reason(Code::Unavailable, STORE_LOST, message)
}

/// A status with a stable reason.
pub(super) fn of_reason(code: Code, reason: &str, message: String) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(code, message, details)
}

/// The status that ends a call in work whose caller lost the right to it. `role` is what the
/// credentials give now; `None` where they are not accepted any more.
pub fn of_revoked(what: &str, role: Option<&str>, least: &str) -> Status {
    match role {
        None => of_reason(
            Code::Unauthenticated,
            CREDENTIALS_REVOKED,
            format!("{what} was ended: the token was revoked; call again with valid credentials"),
        ),
        Some(role) => of_reason(
            Code::PermissionDenied,
            CREDENTIALS_REVOKED,
            format!("{what} was ended: it needs the role {least}, and the token now has {role}"),
        ),
    }
}

/// The status of a call of which there are as many in work as there may be: of all callers, or of
/// the one that is named.
pub fn of_too_many_calls(what: &str, max: usize, caller: Option<String>) -> Status {
    let (calls, are) = if max == 1 { ("call", "is") } else { ("calls", "are") };
    let message = match &caller {
        Some(caller) => format!(
            "\"{caller}\" has {max} {calls} of {what} in work, which is the most for one caller; \
             end one of them first"
        ),
        None => format!(
            "{max} {calls} of {what} {are} in work, which is the most; repeat it once one of them \
             has ended"
        ),
    };
    let mut metadata = HashMap::from([("max".to_owned(), max.to_string())]);
    metadata.extend(caller.map(|caller| ("caller".to_owned(), caller)));
    let details = ErrorDetails::with_error_info(TOO_MANY_CALLS, DOMAIN, metadata);
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// The status of a store that was not accepted.
pub fn of_acceptance(error: &StoreError) -> Status {
    let message = error.to_string();
    match error {
        StoreError::Accept(AcceptError::NotLost) => {
            of_reason(Code::FailedPrecondition, "STORE_NOT_LOST", message)
        }
        StoreError::Accept(AcceptError::OtherStore(_)) => {
            of_reason(Code::FailedPrecondition, "STORE_DIFFERS", message)
        }
        StoreError::Accept(AcceptError::Elsewhere) => {
            of_reason(Code::FailedPrecondition, "STORE_EMBEDDED", message)
        }
        StoreError::Accept(AcceptError::Ledger(_)) | StoreError::Limits(_) => {
            of_store_lost(message)
        }
        StoreError::Unlogged(error) => Status::new(admin_code(error), message),
    }
}

/// The status of what was not done to the journal.
pub fn of_journal(error: &JournalChangeError) -> Status {
    let message = error.to_string();
    match error {
        JournalChangeError::NotBlocked { .. } => {
            of_reason(Code::FailedPrecondition, "JOURNAL_ENTRY_NOT_BLOCKED", message)
        }
        JournalChangeError::RequestIdReused(..) => Status::already_exists(message),
        JournalChangeError::Journal(_) => Status::unavailable(message),
        JournalChangeError::Unlogged(error) if is_lost(error) => of_store_lost(message),
        JournalChangeError::Unlogged(error) => Status::new(admin_code(error), message),
    }
}

/// The reason in the ErrorInfo of an administrative error, for programs that act on it.
fn admin_reason(error: &AdminError) -> Option<&'static str> {
    match error {
        AdminError::Unfinished(_) => Some("RECORDED_NOT_IN_FORCE"),
        AdminError::Recorded(_) => Some("RECORDED_NOT_SHOWN"),
        AdminError::OutcomeUnknown(_) => Some("OUTCOME_UNKNOWN"),
        AdminError::TooManyCatalogs => Some("TOO_MANY_CATALOGS"),
        _ => None,
    }
}

/// The status of a change that is not made while the time cannot be trusted.
fn of_clock(reason: &str, error: &AdminError) -> Status {
    let reason = reason.to_uppercase();
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    details.set_retry_info(Some(RETRY_AFTER));
    Status::with_error_details(admin_code(error), error.to_string(), details)
}

/// The status of a clock that was not accepted.
pub fn of_accept_clock(error: AcceptClockError) -> Status {
    match error {
        AcceptClockError::Elsewhere => {
            let reason = "CLOCK_NOT_HERE";
            let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
            Status::with_error_details(Code::FailedPrecondition, error.to_string(), details)
        }
        AcceptClockError::Directory(error) => of_admin(&error.into()),
    }
}

/// The status of a stream that is to begin after an event that the log does not have.
pub fn of_beyond(resume_token: u64, last: u64) -> Status {
    let message = format!(
        "resume_token {resume_token} lies beyond the last event, {last}: it is of another store, \
         or this one has lost its end; begin again with \"0\" for all that is kept"
    );
    let metadata = HashMap::from([("last_event_id".to_owned(), last.to_string())]);
    let details = ErrorDetails::with_error_info("RESUME_TOKEN_BEYOND_END", DOMAIN, metadata);
    Status::with_error_details(Code::OutOfRange, message, details)
}

/// The status of a call whose connection holds too much memory; nothing was done.
pub fn of_too_much_memory() -> Status {
    let mut details = ErrorDetails::with_error_info("OVERLOADED", DOMAIN, HashMap::new());
    details.set_retry_info(Some(RETRY_AFTER));
    let message = "the open calls and unfinished requests of this connection take too much \
                   memory; nothing was done; send fewer at once";
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// The status of a request that did not arrive whole in time.
pub fn of_unfinished_request(limit: Duration) -> Status {
    let message = format!(
        "the request was not complete within {} ms of its first byte; nothing was done with it",
        limit.as_millis()
    );
    of_reason(Code::DeadlineExceeded, "REQUEST_UNFINISHED", message)
}

/// The status that a caller gets for a denial who asked for it as an error.
pub fn of_denial(decision: &Decision) -> Option<Status> {
    let denials = || decision.rulings().flat_map(|ruling| &ruling.denials);
    let first = denials().next()?;
    debug_assert!(decision.rulings().all(|ruling| ruling.outcome == Outcome::Denied));
    let breach = &first.breach;
    let metadata = HashMap::from([
        ("im_error_code".to_owned(), first.im_error_code.to_string()),
        ("limit_id".to_owned(), breach.limit_id.to_string()),
        ("used".to_owned(), breach.used.to_string()),
        ("limit".to_owned(), breach.bound.limit.to_string()),
    ]);
    let mut details = ErrorDetails::with_error_info(breach.reason.name(), DOMAIN, metadata);
    let violation = |denial: &Denial| {
        QuotaViolation::new(denial.breach.subject.to_string(), denial.message.clone())
    };
    let violations = denials().take(QUOTA_VIOLATIONS_MAX).map(violation);
    details.set_quota_failure(violations.collect::<Vec<_>>());
    Some(Status::with_error_details(Code::ResourceExhausted, first.message.clone(), details))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::GroupId;

    #[test]
    fn that_nothing_was_done_is_said_once() {
        let skew = LedgerError::ClockSkew(400);
        let status = of_admin(&AdminError::Clock(skew.clone()));
        assert_eq!(status.message(), skew.to_string());
        assert_eq!(status.message().matches("nothing was").count(), 1, "{status}");
        let lost = of_admin(&AdminError::Clock(LedgerError::ConnectionLost("it".into())));
        assert!(lost.message().starts_with("nothing was changed: the connection was lost"));
    }

    #[test]
    fn a_replaced_group_aborts_the_call_and_invites_no_blind_retry() {
        let group = GroupId::try_from("g").expect("an id");
        let replaced = LedgerError::GroupReplaced(group);
        let message = replaced.to_string();
        let status = of_failure(Failure::Ledger(replaced.clone()));
        assert_eq!((status.code(), status.message()), (Code::Aborted, message.as_str()));
        let details = status.get_error_details();
        let info = details.error_info().expect("an ErrorInfo");
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("GROUP_REPLACED", DOMAIN));
        assert!(details.retry_info().is_none());
        let of_stream = crate::grpc::apply_error::apply_error(Failure::Ledger(replaced));
        assert_eq!((of_stream.code, of_stream.message), (Code::Aborted.into(), message));
    }
}
