//! Errors of the ledger: why it made no decision, and whether the operation may have been done.

use crate::domain::catalog::UnknownAppBound;
use crate::domain::id::{AppId, GroupId, Name, OperationId};
use crate::domain::time::Timestamp;
use crate::store::StoreError;

/// The reason why no decision was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The app is not registered, and the catalog's bound for such apps is reached; nothing was
    /// done.
    #[error(
        "app \"{app}\" is not registered, and the catalog admits at most {most} {bound}; nothing \
         was done; register the app"
    )]
    UnknownAppsFull {
        /// The app.
        app: AppId,
        /// The resource that is bounded.
        bound: UnknownAppBound,
        /// The bound.
        most: u64,
    },
    /// The app is not registered, and unknown apps are refused.
    #[error("app \"{0}\" is not registered")]
    UnknownApp(AppId),
    /// The group does not exist.
    #[error("group \"{0}\" does not exist")]
    GroupNotFound(GroupId),
    /// The group was dissolved after a part of an operation of several steps was done, and perhaps
    /// created again. The rest was not done; the dissolution undid the part that was. If sidecars
    /// of the previous version run too, it may still be the same group.
    #[error(
        "group \"{0}\" was dissolved, or may have been replaced, after a part of the operation was \
         done; the rest was not done; check the group before you repeat it"
    )]
    GroupReplaced(GroupId),
    /// The group id is in use with another type.
    #[error("group \"{group}\" exists with type {existing}")]
    GroupTypeDiffers {
        /// The group.
        group: GroupId,
        /// Its type.
        existing: Name,
    },
    /// The group's type is no longer in the catalog.
    #[error("group \"{group}\" has type {group_type}, which the catalog does not have")]
    GroupTypeUnknown {
        /// The group.
        group: GroupId,
        /// Its type.
        group_type: Name,
    },
    /// The group cannot have its own member limit.
    #[error("group \"{group}\" has type {group_type}, whose members are not tracked")]
    MembersNotTracked {
        /// The group.
        group: GroupId,
        /// Its type.
        group_type: Name,
    },
    /// An operation of that id and kind holds something else; nothing was done.
    #[error(
        "operation \"{0}\" holds something else: another request had this id; nothing was done"
    )]
    HoldDiffers(OperationId),
    /// No operation of that id has a record of a hold.
    #[error(
        "no operation \"{0}\" has held anything there, or its record is not kept any more; nothing \
         was done"
    )]
    HoldNotFound(OperationId),
    /// The records of holds have reached the catalog's bound; nothing was done.
    #[error(
        "the holds of app \"{app}\" have reached the catalog's bound of {most} facts \
         (holds.facts_max); nothing was done; take without a hold, or retry when records have ended"
    )]
    HoldsFull {
        /// The app.
        app: AppId,
        /// The bound.
        most: u64,
    },
    /// The group cannot be replaced by a new one; nothing was done.
    #[error("group \"{group}\" cannot be replaced: {why}; nothing was done")]
    CannotReplace {
        /// The group.
        group: GroupId,
        /// The reason.
        why: CannotReplace,
    },
    /// Changes are not tracked since then.
    #[error(
        "changes are not tracked since {}: tracking expired, was restarted, or too many changes \
         were made; start again with a new export",
        .0.as_millis()
    )]
    NotTracked(Timestamp),
    /// The store did not carry out the operation, or its outcome is unknown.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A journal entry about the same user or group cannot be replayed to the store; nothing was
    /// done.
    #[error(
        "journal entry {entry} about the same user or group is blocked: {why}; nothing was done; \
         an owner has to run `imquota admin journal retry {entry}` or `drop {entry}`"
    )]
    JournalBlocked {
        /// The number of the entry.
        entry: u64,
        /// The store's error for it.
        why: String,
    },
    /// An operation of several steps was started and could not be finished for this reason. A
    /// repetition finishes it.
    #[error(
        "a part of the operation may have been done, and the rest was not ({}); a repetition \
         finishes it",
        .0.name()
    )]
    Unfinished(Box<Self>),
}

/// The reason for which a group cannot be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CannotReplace {
    /// It is permanent.
    #[error("it is permanent, and only a held group can be replaced")]
    Permanent,
    /// It has another type.
    #[error("it has another type than the new group")]
    OtherType,
    /// It has too many members.
    #[error("it has more than {REPLACED_MEMBERS_MAX} members")]
    TooManyMembers,
}

/// Most members of a group that is replaced.
pub const REPLACED_MEMBERS_MAX: usize = 500;

impl LedgerError {
    /// Every [`LedgerError::name`].
    pub const NAMES: [&str; 26] = [
        "unknown_app",
        "unknown_apps_full",
        "group_not_found",
        "group_replaced",
        "group_type_differs",
        "group_type_unknown",
        "members_not_tracked",
        "hold_differs",
        "hold_not_found",
        "holds_full",
        "cannot_replace",
        "not_tracked",
        "deadline_passed",
        "overloaded",
        "refused",
        "unavailable",
        "connection_lost",
        "unconfirmed",
        "failed",
        "store_absent",
        "journal_blocked",
        "store_lost",
        "clock_skew",
        "clock_settling",
        "closing",
        "unfinished",
    ];

    /// Returns the name of the error, for use as a metric label.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::UnknownApp(_) => "unknown_app",
            Self::UnknownAppsFull { .. } => "unknown_apps_full",
            Self::GroupNotFound(_) => "group_not_found",
            Self::GroupReplaced(_) => "group_replaced",
            Self::GroupTypeDiffers { .. } => "group_type_differs",
            Self::GroupTypeUnknown { .. } => "group_type_unknown",
            Self::MembersNotTracked { .. } => "members_not_tracked",
            Self::HoldDiffers(_) => "hold_differs",
            Self::HoldNotFound(_) => "hold_not_found",
            Self::HoldsFull { .. } => "holds_full",
            Self::CannotReplace { .. } => "cannot_replace",
            Self::NotTracked(_) => "not_tracked",
            Self::Store(error) => error.name(),
            Self::JournalBlocked { .. } => "journal_blocked",
            Self::Unfinished(_) => "unfinished",
        }
    }

    /// Returns the message without its part about the outcome: for operations that change nothing.
    #[must_use]
    pub fn without_outcome(&self) -> String {
        let text = self.to_string();
        let outcomes = [
            "; nothing was done",
            "; whether the operation was done is unknown",
            "; whether it survives a failover is unknown",
            "; whether a part was done is unknown",
        ];
        let ends_with = |outcome: &&str| text.ends_with(*outcome);
        let outcome = outcomes.into_iter().find(ends_with).unwrap_or_default();
        text.strip_suffix(outcome).unwrap_or(&text).to_owned()
    }

    /// Returns this error for an operation of which a part may have been done.
    #[must_use]
    pub fn of_unfinished(self) -> Self {
        match self {
            Self::Unfinished(_) => self,
            error if error.can_retry() => Self::Unfinished(Box::new(error)),
            full @ Self::UnknownAppsFull { .. } => Self::Unfinished(Box::new(full)),
            error => error,
        }
    }

    /// Returns this error for an operation that an earlier attempt may have done.
    #[must_use]
    pub fn of_unknown(self) -> Self {
        match self {
            Self::Store(StoreError::Absent { why, .. }) => {
                StoreError::Absent { why, may_be_done: true }.into()
            }
            error if error.did_nothing() => StoreError::Unavailable(error.to_string()).into(),
            error => error,
        }
    }

    /// Returns whether it is certain that nothing was done.
    #[must_use]
    pub fn did_nothing(&self) -> bool {
        match self {
            Self::Store(error) => error.did_nothing(),
            Self::Unfinished(_) | Self::GroupReplaced(_) => false,
            _ => true,
        }
    }

    /// Returns whether the server that holds the facts is absent, as opposed to returning any
    /// reply.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        match self {
            Self::Store(StoreError::Absent { .. }) => true,
            Self::Unfinished(why) => why.is_absence(),
            _ => false,
        }
    }

    /// Returns whether the cause is a difference between clocks.
    #[must_use]
    pub fn is_clock_skew(&self) -> bool {
        match self {
            Self::Store(StoreError::ClockSkew(_)) => true,
            Self::Unfinished(why) => why.is_clock_skew(),
            _ => false,
        }
    }

    /// Returns whether a repetition of the operation may succeed.
    #[must_use]
    pub fn can_retry(&self) -> bool {
        matches!(self, Self::Store(_) | Self::JournalBlocked { .. } | Self::Unfinished(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Overload;

    #[test]
    fn the_error_of_a_read_says_nothing_of_an_outcome() {
        let why = || "it".to_owned();
        for error in [
            StoreError::Refused(why()),
            StoreError::Unavailable(why()),
            StoreError::ConnectionLost(why()),
            StoreError::Unconfirmed(why()),
            StoreError::Unconfirmable(why()),
            StoreError::Failed(why()),
            StoreError::Absent { why: why(), may_be_done: false },
            StoreError::Absent { why: why(), may_be_done: true },
            StoreError::StoreLost(why()),
            StoreError::Closing,
            StoreError::DeadlinePassed,
            StoreError::Overloaded(Overload::Full),
        ] {
            let error = LedgerError::from(error);
            let text = error.without_outcome();
            assert!(!text.contains("was done") && !text.contains("unknown"), "{text}");
            assert!(error.to_string().starts_with(&text) && !text.is_empty(), "{text}");
        }
    }
}
