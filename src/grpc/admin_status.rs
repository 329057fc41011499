//! The one table from errors of the admin service and of events to gRPC codes and reasons.

use tonic::{Code, Status};

use super::error_reason::ErrorReason;
use super::error_reply::ErrorReply;
use super::status::{Failure, ledger_code};
use crate::diagnostics::did_you_mean;
use crate::directory::{AcceptClockError, DirectoryError, LostEnd};
use crate::domain::agreed::AgreedRefusal;
use crate::domain::exchange::ExchangeRefusal;
use crate::domain::purchase::Refusal;
use crate::engine::admin::reconcile::ReconcileError;
use crate::engine::admin::{AcceptanceError, AdminError, JournalChangeError};
use crate::events::EventsError;
use crate::journal::JournalError;
use crate::ledger::LedgerError;
use crate::store::AcceptError;
use crate::store::SnapshotError;

/// Returns the status of an administrative change that was not made.
pub fn of_admin(error: &AdminError) -> Status {
    let message = match meant_limit(error) {
        Some(id) => format!("{error}; did you mean \"{id}\"?"),
        None => error.to_string(),
    };
    reply_of_admin(error, message).into()
}

/// Returns the limit that an unknown id is similar to.
fn meant_limit(error: &AdminError) -> Option<&str> {
    match error {
        AdminError::Refused(Refusal::Agreed(AgreedRefusal::UnknownLimit { id, known })) => {
            did_you_mean(id, known.iter().map(String::as_str))
        }
        _ => None,
    }
}

/// Returns the reply for an admin error; `message` may wrap the error's own text.
fn reply_of_admin(error: &AdminError, message: String) -> ErrorReply {
    let reason = admin_reason(error);
    let reply = match bad_field(error) {
        Some(field) => ErrorReply::of_field(reason, field, message),
        None => ErrorReply::new(reason, message).retried(can_retry(error)),
    };
    match error {
        AdminError::Refused(Refusal::PostpaidNotAllowed { edition, offer, .. }) => {
            let reply = reply.with("edition_id", edition);
            match offer {
                Some(offer) => reply.with("offer_edition_id", offer),
                None => reply,
            }
        }
        AdminError::Refused(Refusal::Exchange(ExchangeRefusal::SumAboveMax {
            sum_fen,
            max_sum_fen,
        })) => reply.with("sum_fen", sum_fen).with("max_sum_fen", max_sum_fen),
        AdminError::RevisionsLost { lost: LostEnd { found, known }, .. }
        | AdminError::Directory(DirectoryError::Lost { found, known }) => {
            reply.with("found", found).with("known", known)
        }
        _ => reply,
    }
}

fn admin_reason(error: &AdminError) -> ErrorReason {
    match error {
        AdminError::UnknownApp(_) => ErrorReason::UnknownApp,
        AdminError::AppExists(_) => ErrorReason::AppExists,
        AdminError::RequestIdReused { .. } => ErrorReason::RequestIdReused,
        AdminError::TooManyPurchases(_) => ErrorReason::TooManyPurchases,
        AdminError::TooManyRetentions(_) => ErrorReason::TooManyRetentions,
        AdminError::TooManyUpdates(_) => ErrorReason::TooManyUpdates,
        AdminError::UnknownImCodeSet { .. } => ErrorReason::UnknownImCodeSet,
        AdminError::NotBegun { .. } => ErrorReason::MonthNotBegun,
        AdminError::BeforeApp { .. } => ErrorReason::MonthBeforeApp,
        AdminError::FiguresGone(_) => ErrorReason::FiguresGone,
        AdminError::Refused(refusal) => refusal_reason(refusal),
        AdminError::Missing { .. } => ErrorReason::ItemNotInCatalog,
        AdminError::TooManyCatalogs => ErrorReason::TooManyCatalogs,
        AdminError::UnknownCatalog { .. } => ErrorReason::UnknownCatalog,
        AdminError::UnknownContent(..) => ErrorReason::UnknownCatalogContent,
        AdminError::SeveralCatalogs { .. } => ErrorReason::AmbiguousCatalogVersion,
        AdminError::Catalog(_) => ErrorReason::DefaultEditionMissing,
        AdminError::TypesInUse(_) => ErrorReason::GroupTypesInUse,
        AdminError::CurrencyInUse { .. } => ErrorReason::CurrencyInUse,
        AdminError::PageTokenBeyondEnd { .. } => ErrorReason::InvalidFields,
        AdminError::Clock(error) | AdminError::Unread(error) => reason_of_read(error),
        AdminError::TooLong(_) => ErrorReason::PreviewTooLong,
        AdminError::Directory(error) => directory_reason(error),
        AdminError::RevisionsLost { .. } => ErrorReason::FactsLost,
        AdminError::Unfinished(_) => ErrorReason::RecordedNotInForce,
        AdminError::Recorded(_) => ErrorReason::RecordedNotShown,
        AdminError::OutcomeUnknown(_) => ErrorReason::OutcomeUnknown,
    }
}

/// Returns the reason of a read that failed in the store: that of a decision with the same error,
/// if a decision is UNAVAILABLE too.
fn reason_of_read(error: &LedgerError) -> ErrorReason {
    match ledger_code(error) {
        Code::Unavailable if !matches!(error, LedgerError::Unfinished(_)) => error.into(),
        _ => ErrorReason::Unavailable,
    }
}

fn directory_reason(error: &DirectoryError) -> ErrorReason {
    match error {
        DirectoryError::Conflict(_) => ErrorReason::ConcurrentChange,
        DirectoryError::Lost { .. } => ErrorReason::FactsLost,
        DirectoryError::Unreadable { .. }
        | DirectoryError::UnreadableStatement { .. }
        | DirectoryError::UnreadableEntry { .. }
        | DirectoryError::UnreadableCatalog { .. } => ErrorReason::RecordUnreadable,
        DirectoryError::ClockSkew(_) => ErrorReason::ClockSkew,
        DirectoryError::ClockRefused(refusal) => refusal.into(),
        DirectoryError::Unavailable(_) => ErrorReason::Unavailable,
        DirectoryError::StoreLost(_) => ErrorReason::StoreLost,
    }
}

fn refusal_reason(refusal: &Refusal) -> ErrorReason {
    match refusal {
        Refusal::UnknownEdition { .. } => ErrorReason::UnknownEdition,
        Refusal::UnknownAddOn { .. } => ErrorReason::UnknownAddOn,
        Refusal::NotForSale { .. } => ErrorReason::ItemNotForSale,
        Refusal::MonthsAboveMax { .. } => ErrorReason::MonthsAboveMax,
        Refusal::SoldOnce { .. } => ErrorReason::SoldOnce,
        Refusal::EditionInForce { .. } => ErrorReason::EditionInForce,
        Refusal::NothingToRenew => ErrorReason::NothingToRenew,
        Refusal::AddOnsNotAllowed(_) => ErrorReason::AddOnsNotAllowed,
        Refusal::EditionStopped(_) => ErrorReason::EditionStopped,
        Refusal::AddOnInForce { .. } => ErrorReason::AddOnInForce,
        Refusal::RaisesNothing { .. } => ErrorReason::AddOnRaisesNothing,
        Refusal::Exchange(refusal) => match refusal {
            ExchangeRefusal::NothingToChange => ErrorReason::NothingToChange,
            ExchangeRefusal::UnknownReplaced { .. } => ErrorReason::UnknownAddOn,
            ExchangeRefusal::AddOnNotInForce { .. } => ErrorReason::AddOnNotInForce,
            ExchangeRefusal::SumAboveMax { .. } => ErrorReason::SumAboveMax,
        },
        Refusal::Agreed(refusal) => match refusal {
            AgreedRefusal::UnknownLimit { .. } => ErrorReason::UnknownLimit,
            AgreedRefusal::ValueOutOfRange { .. } | AgreedRefusal::LastDayOutOfRange { .. } => {
                ErrorReason::InvalidFields
            }
            AgreedRefusal::TooMany => ErrorReason::TooManyAgreedLimits,
        },
        Refusal::Refunded { .. } => ErrorReason::AlreadyRefunded,
        Refusal::RenewedSince { .. } => ErrorReason::RenewedSince,
        Refusal::NothingLeft { .. } => ErrorReason::NothingToRefund,
        Refusal::UnknownPurchase { .. } => ErrorReason::UnknownPurchase,
        Refusal::BeforeLast { .. } => ErrorReason::EffectiveBeforeLast,
        Refusal::MonthClosed { .. } => ErrorReason::MonthClosed,
        Refusal::PostpaidNotAllowed { .. } => ErrorReason::PostpaidNotAllowed,
        Refusal::RetentionDays { .. } => ErrorReason::RetentionOutOfRange,
        Refusal::InTheFuture { .. } => ErrorReason::EffectiveInFuture,
    }
}

/// Returns the field of the request that is wrong, if the error is about one.
fn bad_field(error: &AdminError) -> Option<&'static str> {
    match error {
        AdminError::Refused(Refusal::UnknownEdition { .. }) => Some("edition_id"),
        AdminError::Refused(Refusal::UnknownAddOn { .. }) => Some("add_on_id"),
        AdminError::Refused(Refusal::Exchange(ExchangeRefusal::UnknownReplaced { .. })) => {
            Some("replaced_add_on_id")
        }
        AdminError::Refused(Refusal::Agreed(refusal)) => match refusal {
            AgreedRefusal::UnknownLimit { .. } => Some("limit_id"),
            AgreedRefusal::ValueOutOfRange { .. } => Some("limit"),
            AgreedRefusal::LastDayOutOfRange { .. } => Some("until_date"),
            AgreedRefusal::TooMany => None,
        },
        AdminError::Refused(Refusal::UnknownPurchase { .. }) => Some("purchase_request_id"),
        AdminError::Refused(Refusal::RetentionDays { .. }) => Some("days"),
        AdminError::Refused(Refusal::MonthsAboveMax { .. }) => Some("months"),
        AdminError::Refused(
            Refusal::NotForSale { what, is_renewal, .. }
            | Refusal::SoldOnce { what, is_renewal, .. },
        ) => Some(match (*is_renewal, *what) {
            // A renewal has no other field that names the edition.
            (true, _) => "app_id",
            (false, "edition") => "edition_id",
            (false, _) => "add_on_id",
        }),
        AdminError::NotBegun { .. } | AdminError::BeforeApp { .. } => Some("month"),
        AdminError::UnknownCatalog { .. } => Some("version"),
        AdminError::UnknownContent(..) | AdminError::SeveralCatalogs { .. } => Some("content_hash"),
        AdminError::PageTokenBeyondEnd { .. } => Some("page_token"),
        AdminError::UnknownImCodeSet { .. } => Some("im_code_set"),
        _ => None,
    }
}

/// Returns whether a retry after a delay may succeed.
fn can_retry(error: &AdminError) -> bool {
    match error {
        AdminError::Clock(error) | AdminError::Unread(error) => error.can_retry(),
        AdminError::Directory(error) => matches!(
            error,
            DirectoryError::Conflict(_)
                | DirectoryError::ClockSkew(_)
                | DirectoryError::ClockRefused(_)
                | DirectoryError::Unavailable(_)
                | DirectoryError::StoreLost(_)
        ),
        AdminError::Unfinished(_) | AdminError::OutcomeUnknown(_) => true,
        _ => false,
    }
}

/// Returns the status of a comparison that was not started or was interrupted.
pub fn of_reconcile(error: ReconcileError) -> Status {
    let message = error.to_string();
    let of_field = |reason, field| ErrorReply::of_field(reason, field, &message);
    let reply = match error {
        ReconcileError::Ledger(error) => Failure::Ledger(error).into(),
        ReconcileError::Admin(error) => reply_of_admin(&error, message),
        ReconcileError::TooEarly { .. } => of_field(ErrorReason::ExportTooEarly, "begin.as_of"),
        ReconcileError::InTheFuture { .. } => of_field(ErrorReason::ExportInFuture, "begin.as_of"),
        ReconcileError::Twice(_) => of_field(ErrorReason::ExportedTwice, "facts"),
        ReconcileError::Unlogged(_) => ErrorReply::new(ErrorReason::Unlogged, message),
        ReconcileError::NotTracked(_) => ErrorReply::new(ErrorReason::NotTracked, message),
        ReconcileError::TooMuch(_) => ErrorReply::new(ErrorReason::ExportTooLarge, message),
    };
    reply.into()
}

/// Returns the status of a copy of the store that was not made.
pub fn of_snapshot(error: &SnapshotError) -> Status {
    let reason = match error {
        SnapshotError::Elsewhere | SnapshotError::InMemory => ErrorReason::StoreNotEmbedded,
        SnapshotError::Closing => ErrorReason::Closing,
        SnapshotError::Failed(_) => ErrorReason::BackupFailed,
    };
    ErrorReply::new(reason, error).into()
}

/// Returns the status of a store that was not accepted.
pub fn of_acceptance(error: &AcceptanceError) -> Status {
    let reason = match error {
        AcceptanceError::Accept(AcceptError::NotLost) => ErrorReason::StoreNotLost,
        AcceptanceError::Accept(AcceptError::OtherStore(_)) => ErrorReason::StoreDiffers,
        AcceptanceError::Accept(AcceptError::Elsewhere) => ErrorReason::StoreEmbedded,
        AcceptanceError::Accept(AcceptError::Store(_)) | AcceptanceError::Limits(_) => {
            ErrorReason::StoreLost
        }
        AcceptanceError::Unlogged(_) => ErrorReason::Unlogged,
    };
    ErrorReply::new(reason, error).into()
}

/// Returns the status of a change to the journal that was not made.
pub fn of_journal_change(error: &JournalChangeError) -> Status {
    let reply = match error {
        JournalChangeError::NotBlocked { .. } => {
            ErrorReply::new(ErrorReason::JournalEntryNotBlocked, error)
        }
        JournalChangeError::RequestIdReused(..) => {
            ErrorReply::new(ErrorReason::RequestIdReused, error)
        }
        JournalChangeError::Journal(_) => ErrorReply::new(ErrorReason::JournalFailed, error),
        JournalChangeError::Unlogged(cause) => reply_of_admin(cause, error.to_string()),
    };
    reply.into()
}

/// Returns the status of a journal that could not be read.
pub fn of_journal(error: &JournalError) -> Status {
    ErrorReply::new(ErrorReason::JournalFailed, error).into()
}

/// Returns the status of a clock that was not accepted.
pub fn of_accept_clock(error: AcceptClockError) -> Status {
    match error {
        AcceptClockError::Elsewhere => ErrorReply::new(ErrorReason::ClockNotHere, error).into(),
        AcceptClockError::Directory(error) => of_admin(&error.into()),
    }
}

/// Returns the status of events that could not be read.
pub fn of_events(error: &EventsError) -> Status {
    let (reason, can_retry) = match error {
        EventsError::Unreadable { .. } => (ErrorReason::EventUnreadable, false),
        EventsError::Unavailable(_) => (ErrorReason::Unavailable, true),
        EventsError::ClockSkew(_) => (ErrorReason::ClockSkew, true),
        EventsError::ClockRefused(refusal) => (refusal.into(), true),
        EventsError::StoreLost(_) => (ErrorReason::StoreLost, true),
    };
    ErrorReply::new(reason, error).retried(can_retry).into()
}

/// Returns the status of a stream with a resume token beyond the end of the log.
pub fn of_beyond(resume_token: u64, last: u64) -> Status {
    let message = format!(
        "resume_token {resume_token} is beyond the last event, {last}: it is of another store, \
         or this store lost its last events; start again with \"0\" for all that is kept"
    );
    let reply = ErrorReply::new(ErrorReason::ResumeTokenBeyondEnd, message);
    reply.with("last_event_id", last).into()
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt as _;

    use super::*;
    use crate::store::StoreError;

    fn reason(error: &AdminError) -> (Code, String) {
        let status = of_admin(error);
        let info = status.get_details_error_info().expect("an ErrorInfo");
        assert_eq!(info.domain, "imquota.v1");
        (status.code(), info.reason)
    }

    #[test]
    fn a_message_says_once_that_nothing_was_done() {
        let skew = LedgerError::Store(StoreError::ClockSkew(400));
        let status = of_admin(&AdminError::Clock(skew.clone()));
        assert_eq!(status.message(), skew.to_string());
        assert_eq!(status.message().matches("nothing was").count(), 1, "{status}");
        let lost = of_admin(&AdminError::Clock(LedgerError::Store(StoreError::ConnectionLost(
            "it".into(),
        ))));
        assert!(lost.message().starts_with("nothing was changed: the connection was lost"));
    }

    #[test]
    fn a_recorded_change_never_has_a_reason_that_means_nothing_was_done() {
        for cause in [
            LedgerError::Store(StoreError::ClockSkew(400)),
            LedgerError::Store(StoreError::StoreLost("it".into())),
            LedgerError::Store(StoreError::Unavailable("it".into())),
        ] {
            let expected = (Code::Unavailable, "RECORDED_NOT_IN_FORCE".to_owned());
            assert_eq!(reason(&AdminError::Unfinished(cause)), expected);
        }
    }

    #[test]
    fn a_read_that_fails_in_the_store_is_unavailable() {
        for (cause, expected) in [
            (LedgerError::Store(StoreError::StoreLost("it".into())), "STORE_LOST"),
            (
                LedgerError::Store(StoreError::Absent { why: "it".into(), may_be_done: false }),
                "STORE_ABSENT",
            ),
            (LedgerError::Store(StoreError::DeadlinePassed), "UNAVAILABLE"),
            (LedgerError::Store(StoreError::Closing), "CLOSING"),
        ] {
            for error in [AdminError::Clock(cause.clone()), AdminError::Unread(cause)] {
                assert_eq!(reason(&error), (Code::Unavailable, expected.to_owned()));
            }
        }
    }

    #[test]
    fn a_condition_of_sale_names_the_field_of_the_request() {
        let refused = |what, is_renewal| {
            let (id, by) = ("it".into(), "r1".try_into().expect("an id"));
            Refusal::SoldOnce { what, id, is_renewal, by }
        };
        let retired = |what, is_renewal| {
            let (id, known) = ("it".into(), String::new());
            Refusal::NotForSale { what, id, is_renewal, known }
        };
        let months = Refusal::MonthsAboveMax { id: "it".into(), months: 2, months_max: 1 };
        for (refusal, expected, field) in [
            (refused("edition", false), "SOLD_ONCE", "edition_id"),
            (refused("add-on", false), "SOLD_ONCE", "add_on_id"),
            (refused("edition", true), "SOLD_ONCE", "app_id"),
            (retired("edition", false), "ITEM_NOT_FOR_SALE", "edition_id"),
            (retired("add-on", false), "ITEM_NOT_FOR_SALE", "add_on_id"),
            (retired("edition", true), "ITEM_NOT_FOR_SALE", "app_id"),
            (months, "MONTHS_ABOVE_MAX", "months"),
        ] {
            let error = AdminError::Refused(refusal);
            assert_eq!(reason(&error), (Code::InvalidArgument, expected.to_owned()));
            let request = of_admin(&error).get_details_bad_request().expect("a BadRequest");
            let fields: Vec<_> = request.field_violations.iter().map(|it| &it.field).collect();
            assert_eq!(fields, [field]);
        }
    }
}
