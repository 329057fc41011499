//! Errors of a store: why it did not carry out a call, and whether the call may have been done.

use crate::domain::clock_guard::ClockRefusal;

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

/// The reason why a store did not carry out a call. A repetition of the call may succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
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
}

/// The reason why a copy of the store was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The store is in external servers.
    #[error("the facts are in Redis: back that up by its own means (BGSAVE, its AOF, a replica)")]
    Elsewhere,
    /// The store has no file.
    #[error(
        "the facts are in memory, so there is no file to back up: start imquota with \
         --store embedded:DIR for a store that can be backed up"
    )]
    InMemory,
    /// The store is being closed.
    #[error("the store is closing")]
    Closing,
    /// The copy could not be written.
    #[error("the copy could not be written: {0}")]
    Failed(String),
}

impl StoreError {
    /// Returns the name of the error, for use as a metric label.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::DeadlinePassed => "deadline_passed",
            Self::Overloaded(_) => "overloaded",
            Self::Refused(_) => "refused",
            Self::Unavailable(_) => "unavailable",
            Self::ConnectionLost(_) => "connection_lost",
            Self::Unconfirmed(_) | Self::Unconfirmable(_) => "unconfirmed",
            Self::Failed(_) => "failed",
            Self::Absent { .. } => "store_absent",
            Self::StoreLost(_) => "store_lost",
            Self::ClockSkew(_) => "clock_skew",
            Self::ClockSettling(_) => "clock_settling",
            Self::Closing => "closing",
        }
    }

    /// The error for stored data or replies that are malformed.
    #[must_use]
    pub fn malformed(reason: &str) -> Self {
        Self::Unavailable(reason.to_owned())
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
                | Self::Absent { may_be_done: true, .. }
        );
        !may_be_done
    }
}

impl From<ClockRefusal> for StoreError {
    fn from(refusal: ClockRefusal) -> Self {
        match refusal {
            ClockRefusal::Skewed { seconds } | ClockRefusal::Behind { seconds } => {
                Self::ClockSkew(seconds)
            }
            ClockRefusal::Settling { seconds } => Self::ClockSettling(seconds),
        }
    }
}
