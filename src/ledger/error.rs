//! Errors of the ledger: why it made no decision, and whether the operation may have been done.

use crate::domain::catalog::UnknownAppBound;
use crate::domain::clock_guard::ClockRefusal;
use crate::domain::id::{AppId, GroupId, Name};
use crate::domain::time::Timestamp;

/// The reason why an operation was not sent to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Overload {
    /// The queue is full.
    #[error("too many operations wait for the store")]
    Full,
    /// Its deadline passed while it was in the queue.
    #[error("the operation's deadline passed while it waited for the store")]
    Late,
}

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
    /// Changes are not tracked since then.
    #[error(
        "changes are not tracked since {}: tracking expired, was restarted, or too many changes \
         were made; start again with a new export",
        .0.as_millis()
    )]
    NotTracked(Timestamp),
    /// The deadline passed before the store started on the operation; nothing was done.
    #[error("the deadline passed before the operation was decided; nothing was done")]
    DeadlinePassed,
    /// Too many operations are waiting; nothing was done.
    #[error("{0}; nothing was done")]
    Overloaded(Overload),
    /// The store could not be reached, or refused the operation; nothing was done.
    #[error("the store refused the operation: {0}; nothing was done")]
    Refused(String),
    /// The store failed. Whether the operation was done is unknown; a repetition is safe.
    #[error("the store failed: {0}; whether the operation was done is unknown")]
    Unavailable(String),
    /// The connection to the store was lost during the operation. Whether it was done is unknown; a
    /// repetition is safe.
    #[error("the connection was lost: {0}; whether the operation was done is unknown")]
    ConnectionLost(String),
    /// The master has decided, and no replica has confirmed the decision. Whether it survives a
    /// failover is unknown; a repetition is safe.
    #[error("no replica confirmed the decision: {0}; whether it survives a failover is unknown")]
    Unconfirmed(String),
    /// Replicas that have to confirm the decision are missing, or the master may be outdated;
    /// nothing was done.
    #[error("replicas cannot confirm a decision: {0}; nothing was done")]
    Unconfirmable(String),
    /// The store answers, and cannot carry out the operation on the data that it holds. Whether a
    /// part was done is unknown; a repetition is safe.
    #[error("the store cannot carry out the operation: {0}; whether a part was done is unknown")]
    Failed(String),
    /// The server that holds the facts is absent: it refuses connections, is unreachable or silent,
    /// or cannot serve any request.
    #[error("the store is absent: {why}; {}", if *.may_be_done {
        "whether the operation was done is unknown"
    } else {
        "nothing was done"
    })]
    Absent {
        /// The server, and the evidence.
        why: String,
        /// True if the operation may have been done.
        may_be_done: bool,
    },
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
    /// The store lost its facts, or is another one; nothing was done.
    #[error("the store lost its facts, or is another one: {0}; nothing was done")]
    StoreLost(String),
    /// The store's clock and this process's differ too much for an operation that depends on the
    /// time; nothing was done.
    #[error(
        "the store's clock and the clock of this machine are {0} s apart, and this operation \
         depends on the time; nothing was done"
    )]
    ClockSkew(u64),
    /// The store was opened, or its clock accepted, too recently for an operation that cannot be
    /// undone; nothing was done.
    #[error("{}", ClockRefusal::Settling { seconds: *.0 })]
    ClockSettling(u64),
    /// The store is being closed; nothing was done.
    #[error("the store is closing; nothing was done")]
    Closing,
    /// An operation of several steps was started and could not be finished for this reason. A
    /// repetition finishes it.
    #[error(
        "a part of the operation may have been done, and the rest was not ({}); a repetition \
         finishes it",
        .0.name()
    )]
    Unfinished(Box<Self>),
}

impl LedgerError {
    /// Every [`LedgerError::name`].
    pub const NAMES: [&str; 22] = [
        "unknown_app",
        "unknown_apps_full",
        "group_not_found",
        "group_replaced",
        "group_type_differs",
        "group_type_unknown",
        "members_not_tracked",
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
            Self::NotTracked(_) => "not_tracked",
            Self::DeadlinePassed => "deadline_passed",
            Self::Overloaded(_) => "overloaded",
            Self::Refused(_) => "refused",
            Self::Unavailable(_) => "unavailable",
            Self::ConnectionLost(_) => "connection_lost",
            Self::Unconfirmed(_) | Self::Unconfirmable(_) => "unconfirmed",
            Self::Failed(_) => "failed",
            Self::Absent { .. } => "store_absent",
            Self::JournalBlocked { .. } => "journal_blocked",
            Self::StoreLost(_) => "store_lost",
            Self::ClockSkew(_) => "clock_skew",
            Self::ClockSettling(_) => "clock_settling",
            Self::Closing => "closing",
            Self::Unfinished(_) => "unfinished",
        }
    }

    /// What went wrong, without what is known of the outcome: for operations that change nothing.
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
            Self::Absent { why, .. } => Self::Absent { why, may_be_done: true },
            error if error.did_nothing() => Self::Unavailable(error.to_string()),
            error => error,
        }
    }

    /// Returns whether it is certain that nothing was done.
    #[must_use]
    pub fn did_nothing(&self) -> bool {
        let may_be_done = matches!(
            self,
            Self::Unavailable(_)
                | Self::ConnectionLost(_)
                | Self::Unconfirmed(_)
                | Self::Failed(_)
                | Self::Unfinished(_)
                | Self::GroupReplaced(_)
                | Self::Absent { may_be_done: true, .. }
        );
        !may_be_done
    }

    /// Returns whether the server that holds the facts is absent, as opposed to returning any
    /// reply.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        match self {
            Self::Absent { .. } => true,
            Self::Unfinished(why) => why.is_absence(),
            _ => false,
        }
    }

    /// Returns whether the cause is a difference between clocks.
    #[must_use]
    pub fn is_clock_skew(&self) -> bool {
        match self {
            Self::ClockSkew(_) => true,
            Self::Unfinished(why) => why.is_clock_skew(),
            _ => false,
        }
    }

    /// Returns whether a repetition of the operation may succeed.
    #[must_use]
    pub fn can_retry(&self) -> bool {
        matches!(
            self,
            Self::DeadlinePassed
                | Self::Overloaded(_)
                | Self::Refused(_)
                | Self::Unavailable(_)
                | Self::ConnectionLost(_)
                | Self::Unconfirmed(_)
                | Self::Unconfirmable(_)
                | Self::Failed(_)
                | Self::Absent { .. }
                | Self::JournalBlocked { .. }
                | Self::StoreLost(_)
                | Self::ClockSkew(_)
                | Self::ClockSettling(_)
                | Self::Closing
                | Self::Unfinished(_)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_a_read_says_nothing_of_an_outcome() {
        let why = || "it".to_owned();
        for error in [
            LedgerError::Refused(why()),
            LedgerError::Unavailable(why()),
            LedgerError::ConnectionLost(why()),
            LedgerError::Unconfirmed(why()),
            LedgerError::Unconfirmable(why()),
            LedgerError::Failed(why()),
            LedgerError::Absent { why: why(), may_be_done: false },
            LedgerError::Absent { why: why(), may_be_done: true },
            LedgerError::StoreLost(why()),
            LedgerError::Closing,
            LedgerError::DeadlinePassed,
            LedgerError::Overloaded(Overload::Full),
        ] {
            let text = error.without_outcome();
            assert!(!text.contains("was done") && !text.contains("unknown"), "{text}");
            assert!(error.to_string().starts_with(&text) && !text.is_empty(), "{text}");
        }
    }
}
