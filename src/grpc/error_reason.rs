//! The reasons in ErrorInfo: stable names by which programs distinguish errors.
//!
//! Each reason is listed with the codes that it may have. docs/api.md has a table of all reasons,
//! which a test compares with this one.

use tonic::Code;

use crate::domain::clock_guard::ClockRefusal;
use crate::domain::decision::Reason;
use crate::ledger::LedgerError;
use crate::store::StoreError;

macro_rules! reasons {
    ($($reason:ident = $name:literal: $($code:ident)|+;)*) => {
        /// Reason of a failed call, as its ErrorInfo names it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorReason {$(
            #[doc = $name]
            $reason,
        )*
            /// A denial that was requested as an error.
            Denied(Reason),
        }

        impl ErrorReason {
            /// All reasons but those of denials, in the order of the table in docs/api.md.
            #[cfg(test)]
            pub const ALL: &[Self] = &[$(Self::$reason),*];

            /// Returns the reason as ErrorInfo has it.
            pub const fn name(self) -> &'static str {
                match self {
                    $( Self::$reason => $name, )*
                    Self::Denied(reason) => reason.name(),
                }
            }

            /// Returns the codes of the errors that have it.
            pub const fn codes(self) -> &'static [Code] {
                match self {
                    $( Self::$reason => &[$(Code::$code),+], )*
                    Self::Denied(_) => &[Code::ResourceExhausted],
                }
            }
        }
    };
}

reasons! {
    // Invalid requests.
    InvalidFields = "INVALID_FIELDS": InvalidArgument;
    MalformedMessage = "MALFORMED_MESSAGE": InvalidArgument;
    MessageTooLarge = "MESSAGE_TOO_LARGE": OutOfRange;
    NotServed = "NOT_SERVED": Unimplemented;
    NotTranslated = "NOT_TRANSLATED": Internal;
    BatchTooLarge = "BATCH_TOO_LARGE": InvalidArgument;
    HoldDiffers = "HOLD_DIFFERS": InvalidArgument;
    UnknownEdition = "UNKNOWN_EDITION": InvalidArgument;
    UnknownImCodeSet = "UNKNOWN_IM_CODE_SET": InvalidArgument;
    UnknownAddOn = "UNKNOWN_ADD_ON": InvalidArgument;
    UnknownLimit = "UNKNOWN_LIMIT": InvalidArgument;
    UnknownPurchase = "UNKNOWN_PURCHASE": InvalidArgument;
    ItemNotForSale = "ITEM_NOT_FOR_SALE": InvalidArgument;
    MonthsAboveMax = "MONTHS_ABOVE_MAX": InvalidArgument;
    SoldOnce = "SOLD_ONCE": InvalidArgument;
    RetentionOutOfRange = "RETENTION_OUT_OF_RANGE": InvalidArgument;
    MonthNotBegun = "MONTH_NOT_BEGUN": InvalidArgument;
    MonthBeforeApp = "MONTH_BEFORE_APP": InvalidArgument;
    UnknownCatalog = "UNKNOWN_CATALOG": InvalidArgument;
    UnknownCatalogContent = "UNKNOWN_CATALOG_CONTENT": InvalidArgument;
    AmbiguousCatalogVersion = "AMBIGUOUS_CATALOG_VERSION": InvalidArgument;
    ExportTooEarly = "EXPORT_TOO_EARLY": InvalidArgument;
    ExportInFuture = "EXPORT_IN_FUTURE": InvalidArgument;
    ExportedTwice = "EXPORTED_TWICE": InvalidArgument;
    ExportTooLarge = "EXPORT_TOO_LARGE": OutOfRange;
    // Authentication and authorization.
    CredentialsInvalid = "CREDENTIALS_INVALID": Unauthenticated;
    CredentialsRevoked = "CREDENTIALS_REVOKED": Unauthenticated | PermissionDenied;
    RoleTooLow = "ROLE_TOO_LOW": PermissionDenied;
    AdminListenerOnly = "ADMIN_LISTENER_ONLY": PermissionDenied;
    ForceNotAllowed = "FORCE_NOT_ALLOWED": PermissionDenied;
    HostNotAllowed = "HOST_NOT_ALLOWED": PermissionDenied;
    CrossSite = "CROSS_SITE": PermissionDenied;
    // Existence of apps, groups and tracked facts.
    UnknownApp = "UNKNOWN_APP": NotFound;
    GroupNotFound = "GROUP_NOT_FOUND": NotFound;
    HoldNotFound = "HOLD_NOT_FOUND": NotFound;
    AppExists = "APP_EXISTS": AlreadyExists;
    RequestIdReused = "REQUEST_ID_REUSED": AlreadyExists;
    GroupTypeDiffers = "GROUP_TYPE_DIFFERS": AlreadyExists;
    GroupTypeUnknown = "GROUP_TYPE_UNKNOWN": FailedPrecondition;
    MembersNotTracked = "MEMBERS_NOT_TRACKED": FailedPrecondition;
    CannotReplace = "CANNOT_REPLACE": FailedPrecondition;
    NotTracked = "NOT_TRACKED": FailedPrecondition;
    GroupReplaced = "GROUP_REPLACED": Aborted;
    // Sales.
    EditionInForce = "EDITION_IN_FORCE": FailedPrecondition;
    NothingToRenew = "NOTHING_TO_RENEW": FailedPrecondition;
    AddOnsNotAllowed = "ADD_ONS_NOT_ALLOWED": FailedPrecondition;
    EditionStopped = "EDITION_STOPPED": FailedPrecondition;
    AddOnInForce = "ADD_ON_IN_FORCE": FailedPrecondition;
    AddOnRaisesNothing = "ADD_ON_RAISES_NOTHING": FailedPrecondition;
    AddOnNotInForce = "ADD_ON_NOT_IN_FORCE": FailedPrecondition;
    NothingToChange = "NOTHING_TO_CHANGE": FailedPrecondition;
    SumAboveMax = "SUM_ABOVE_MAX": FailedPrecondition;
    AlreadyRefunded = "ALREADY_REFUNDED": FailedPrecondition;
    RenewedSince = "RENEWED_SINCE": FailedPrecondition;
    NothingToRefund = "NOTHING_TO_REFUND": FailedPrecondition;
    EffectiveBeforeLast = "EFFECTIVE_BEFORE_LAST": FailedPrecondition;
    EffectiveInFuture = "EFFECTIVE_IN_FUTURE": FailedPrecondition;
    MonthClosed = "MONTH_CLOSED": FailedPrecondition;
    PostpaidNotAllowed = "POSTPAID_NOT_ALLOWED": FailedPrecondition;
    TooManyPurchases = "TOO_MANY_PURCHASES": FailedPrecondition;
    TooManyAgreedLimits = "TOO_MANY_AGREED_LIMITS": FailedPrecondition;
    TooManyRetentions = "TOO_MANY_RETENTIONS": FailedPrecondition;
    TooManyUpdates = "TOO_MANY_UPDATES": FailedPrecondition;
    FiguresGone = "FIGURES_GONE": FailedPrecondition;
    RecordedNotInForce = "RECORDED_NOT_IN_FORCE": Unavailable;
    RecordedNotShown = "RECORDED_NOT_SHOWN": FailedPrecondition;
    OutcomeUnknown = "OUTCOME_UNKNOWN": Unavailable;
    ConcurrentChange = "CONCURRENT_CHANGE": Aborted;
    // Catalogs.
    ItemNotInCatalog = "ITEM_NOT_IN_CATALOG": FailedPrecondition;
    DefaultEditionMissing = "DEFAULT_EDITION_MISSING": Internal;
    TooManyCatalogs = "TOO_MANY_CATALOGS": FailedPrecondition;
    GroupTypesInUse = "GROUP_TYPES_IN_USE": FailedPrecondition;
    CurrencyInUse = "CURRENCY_IN_USE": FailedPrecondition;
    // Load.
    Overloaded = "OVERLOADED": ResourceExhausted;
    UnknownAppsFull = "UNKNOWN_APPS_FULL": ResourceExhausted;
    HoldsFull = "HOLDS_FULL": ResourceExhausted;
    TooManyCalls = "TOO_MANY_CALLS": ResourceExhausted;
    // Time.
    TimedOut = "TIMED_OUT": DeadlineExceeded;
    DeadlinePassed = "DEADLINE_PASSED": DeadlineExceeded;
    RequestUnfinished = "REQUEST_UNFINISHED": DeadlineExceeded;
    StreamSilent = "STREAM_SILENT": DeadlineExceeded;
    PreviewTooLong = "PREVIEW_TOO_LONG": DeadlineExceeded;
    ClockSkew = "CLOCK_SKEW": Unavailable;
    ClockSettling = "CLOCK_SETTLING": Unavailable;
    ClockNotHere = "CLOCK_NOT_HERE": FailedPrecondition;
    // The store.
    StoreAbsent = "STORE_ABSENT": Unavailable;
    ConnectionLost = "CONNECTION_LOST": Unavailable;
    Unavailable = "UNAVAILABLE": Unavailable;
    Refused = "REFUSED": Unavailable;
    Unfinished = "UNFINISHED": Unavailable | DeadlineExceeded;
    Unconfirmed = "UNCONFIRMED": Unavailable;
    Failed = "FAILED": Unavailable;
    RecordUnreadable = "RECORD_UNREADABLE": DataLoss;
    EventUnreadable = "EVENT_UNREADABLE": Internal;
    StoreLost = "STORE_LOST": Unavailable;
    StoreNotLost = "STORE_NOT_LOST": FailedPrecondition;
    StoreDiffers = "STORE_DIFFERS": FailedPrecondition;
    StoreEmbedded = "STORE_EMBEDDED": FailedPrecondition;
    StoreNotEmbedded = "STORE_NOT_EMBEDDED": FailedPrecondition;
    StoreNotOpen = "STORE_NOT_OPEN": Unavailable;
    BackupFailed = "BACKUP_FAILED": Unavailable;
    FactsLost = "FACTS_LOST": Aborted;
    ResumeTokenBeyondEnd = "RESUME_TOKEN_BEYOND_END": OutOfRange;
    Unlogged = "UNLOGGED": Unavailable;
    // The journal.
    JournalBlocked = "JOURNAL_BLOCKED": Unavailable;
    JournalEntryNotBlocked = "JOURNAL_ENTRY_NOT_BLOCKED": FailedPrecondition;
    JournalFailed = "JOURNAL_FAILED": Unavailable;
    // Ends of streams and of the process.
    ConnectionAge = "CONNECTION_AGE": Unavailable;
    ShuttingDown = "SHUTTING_DOWN": Unavailable;
    Closing = "CLOSING": Unavailable;
    InternalError = "INTERNAL_ERROR": Internal;
}

impl From<&StoreError> for ErrorReason {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::DeadlinePassed => Self::DeadlinePassed,
            StoreError::Overloaded(_) => Self::Overloaded,
            StoreError::Refused(_) => Self::Refused,
            StoreError::Unavailable(_) => Self::Unavailable,
            StoreError::ConnectionLost(_) => Self::ConnectionLost,
            StoreError::Unconfirmed(_) | StoreError::Unconfirmable(_) => Self::Unconfirmed,
            StoreError::Failed(_) => Self::Failed,
            StoreError::Absent { .. } => Self::StoreAbsent,
            StoreError::StoreLost(_) => Self::StoreLost,
            StoreError::ClockSkew(_) => Self::ClockSkew,
            StoreError::ClockSettling(_) => Self::ClockSettling,
            StoreError::Closing => Self::Closing,
        }
    }
}

impl From<&LedgerError> for ErrorReason {
    fn from(error: &LedgerError) -> Self {
        match error {
            LedgerError::UnknownApp(_) => Self::UnknownApp,
            LedgerError::UnknownAppsFull { .. } => Self::UnknownAppsFull,
            LedgerError::GroupNotFound(_) => Self::GroupNotFound,
            LedgerError::GroupReplaced(_) => Self::GroupReplaced,
            LedgerError::GroupTypeDiffers { .. } => Self::GroupTypeDiffers,
            LedgerError::GroupTypeUnknown { .. } => Self::GroupTypeUnknown,
            LedgerError::MembersNotTracked { .. } => Self::MembersNotTracked,
            LedgerError::HoldDiffers(_) => Self::HoldDiffers,
            LedgerError::HoldNotFound(_) => Self::HoldNotFound,
            LedgerError::HoldsFull { .. } => Self::HoldsFull,
            LedgerError::CannotReplace { .. } => Self::CannotReplace,
            LedgerError::NotTracked(_) => Self::NotTracked,
            LedgerError::Store(error) => error.into(),
            LedgerError::JournalBlocked { .. } => Self::JournalBlocked,
            LedgerError::Unfinished(_) => Self::Unfinished,
        }
    }
}

impl From<&ClockRefusal> for ErrorReason {
    fn from(refusal: &ClockRefusal) -> Self {
        match refusal {
            ClockRefusal::Skewed { .. } | ClockRefusal::Behind { .. } => Self::ClockSkew,
            ClockRefusal::Settling { .. } => Self::ClockSettling,
        }
    }
}

impl From<Reason> for ErrorReason {
    fn from(reason: Reason) -> Self {
        Self::Denied(reason)
    }
}

#[cfg(test)]
mod tests;
