//! Events: what happened to an app, when, as published to watchers.
//!
//! Each has a sentence for people ([`EventKind::sentence`]) with the content of all fields. The
//! engine creates events; the log decides how long they are kept.

use std::fmt;

use super::decision::{Reason, Subject};
use super::id::{AppId, Name};
use super::month::Month;
use super::text::Conventions;
use super::time::Timestamp;

/// Event of an app or of the whole store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Instant of the event, by the store's clock.
    pub at: Timestamp,
    /// The app; `None` if the event concerns the whole store.
    pub app: Option<AppId>,
    /// Kind and content.
    pub what: EventKind,
}

/// An event with its number in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberedEvent {
    /// Number of the event in its store, counted from 1 without gaps; for
    /// [`EventKind::EventsDropped`] the last number that was dropped.
    pub number: u64,
    /// The event.
    pub event: Event,
}

impl NumberedEvent {
    /// Returns an id that is unique among the events of the store: the number, or, for events that
    /// were dropped, their range.
    #[must_use]
    pub fn id(&self) -> String {
        match &self.event.what {
            EventKind::EventsDropped { first, last, .. } => format!("dropped-{first}-{last}"),
            _ => self.number.to_string(),
        }
    }
}

/// A count of a subject against its limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// Name of the limit.
    pub limit_id: String,
    /// The subject of the count.
    pub subject: Subject,
    /// The number held.
    pub used: u64,
    /// The number that may be held.
    pub limit: u64,
}

/// What a confirmation took anew, since its hold had expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retaken {
    /// The id of the operation.
    pub operation_id: String,
    /// The operation that had taken it, such as `join_group`.
    pub operation: String,
    /// The group, or the user whose list has the friends, or the app.
    pub subject: Subject,
    /// The first [`RETAKEN_USERS_MAX`] users who were taken anew.
    pub users: Vec<String>,
    /// Number of subjects that were taken anew.
    pub count: u64,
}

/// Most users that an event lists: about 1 KiB.
pub const RETAKEN_USERS_MAX: usize = 20;

/// An edition, an add-on or an agreed limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sold {
    /// An edition.
    Edition(Name),
    /// An add-on.
    AddOn(Name),
    /// An agreed limit, by the name of the limit.
    AgreedLimit(String),
}

/// A part of a store that is written, and can be lost, as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StorePart {
    /// Accounts of an app.
    Accounts,
    /// Friends of an app's users.
    Friends,
    /// Groups of an app and their members.
    Groups,
    /// Apps, their purchases, the audit log and final statements.
    Directory,
    /// The log of events.
    Events,
}

impl StorePart {
    /// All parts.
    pub const ALL: [Self; 5] =
        [Self::Accounts, Self::Friends, Self::Groups, Self::Directory, Self::Events];

    /// Returns the name of the part in stored events, metrics and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Accounts => "accounts",
            Self::Friends => "friends",
            Self::Groups => "groups",
            Self::Directory => "directory",
            Self::Events => "events",
        }
    }
}

/// Kind of an event, with its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// A count crossed a threshold of its limit.
    LimitPassed {
        /// The count.
        count: Count,
        /// The threshold: 70, 90 or 100.
        percent: u64,
    },
    /// Operations were denied during some time.
    Denied {
        /// The count of one of the denied subjects.
        sample: Count,
        /// Reason of the denials.
        reason: Reason,
        /// Number of denials.
        denials: u64,
    },
    /// An edition, add-on or agreed limit ends soon.
    Ending {
        /// The item that ends.
        what: Sold,
        /// Instant of the end.
        ends_at: Timestamp,
        /// Days, of 24 hours each, until then.
        days_left: u32,
    },
    /// An edition ended and is in its days of grace.
    GraceBegan {
        /// The edition.
        edition: Name,
        /// Instant of the end.
        ended_at: Timestamp,
    },
    /// An edition ended for good: every operation that takes is denied.
    ServiceStopped {
        /// The edition.
        edition: Name,
        /// End of its grace.
        ended_at: Timestamp,
    },
    /// An edition ended for good, and the app is on the default edition.
    EditionEnded {
        /// The edition.
        edition: Name,
        /// End of its grace.
        ended_at: Timestamp,
    },
    /// An add-on ended.
    AddOnEnded {
        /// The add-on.
        add_on: Name,
        /// Instant of the end.
        ended_at: Timestamp,
    },
    /// An agreed limit ended.
    AgreedLimitEnded {
        /// The limit.
        limit_id: String,
        /// Instant of the end.
        ended_at: Timestamp,
    },
    /// The app was registered.
    AppCreated {
        /// The request that registered it.
        request_id: String,
    },
    /// An edition, add-on or agreed limit was purchased.
    Purchased {
        /// The item.
        what: Sold,
        /// Number of months; 0 for an agreed limit with a last day.
        months: u32,
        /// True if it renewed an edition that was bought before.
        renewal: bool,
        /// Price paid, in fen.
        price_fen: i64,
        /// The request that made the purchase.
        request_id: String,
    },
    /// A purchase was refunded.
    Refunded {
        /// The item of the purchase.
        what: Sold,
        /// Amount paid back, in fen; not negative.
        refund_fen: i64,
        /// The request that made the refund.
        request_id: String,
    },
    /// The retention of messages was set.
    RetentionSet {
        /// Days of retention.
        days: u32,
        /// The request that set it.
        request_id: String,
    },
    /// An export of the IM's database differed from the stored facts.
    DriftFound {
        /// Number of facts that differed, less those that live traffic had changed meanwhile.
        differences: u64,
        /// The request that found the differences; empty if it had no id.
        request_id: String,
    },
    /// Operations that were admitted or released without the store were written to the store.
    JournalReplayed {
        /// Number of facts.
        facts: u64,
        /// Number of these facts that are over a limit.
        over: u64,
        /// Number of operations that could no longer be carried out.
        failed: u64,
        /// The count of one of the subjects over a limit.
        sample: Option<Count>,
    },
    /// The statement of a month became final.
    StatementIssued {
        /// The month.
        month: Month,
        /// Amount due, in fen.
        total_fen: i64,
    },
    /// The store lost writes that it had acknowledged: those after `found`, up to `known`.
    FactsLost {
        /// The part that lost the writes.
        part: StorePart,
        /// The part's current number. Parts with facts count writes; the directory counts entries
        /// of the audit log, or revisions of the app's record if the event is about an app; the log
        /// of events counts events.
        found: u64,
        /// The highest number that had been seen.
        known: u64,
    },
    /// Events were dropped from the bounded log before this reader had read them. The log creates
    /// this event for the reader; it is not stored.
    EventsDropped {
        /// The first number that the reader has not read.
        first: u64,
        /// The last number before the next retained event.
        last: u64,
        /// Kinds of the dropped events, as [`EventKind::kind`] names them; an invalid name for a
        /// kind that was not recorded.
        kinds: Vec<String>,
    },
    /// The store is available and cannot carry out an operation that was accepted without it. The
    /// operation and all later ones on the same users and groups wait until an operator acts.
    JournalBlocked {
        /// Number of the entry in the journal of its sidecar.
        entry: u64,
        /// The operation, such as `join_group`.
        operation: String,
        /// The store's error.
        why: String,
    },
    /// A server of the store is reachable and refuses calls.
    StoreRefuses {
        /// Its address.
        server: String,
        /// The server's error.
        why: String,
    },
    /// A confirmation came after its hold had expired, and subjects were taken anew.
    HoldRetaken(Retaken),
}

impl EventKind {
    /// Every [`EventKind::kind`] of events that are appended to the log; the only other one is
    /// `events_dropped`, which readers get in place of what is gone.
    pub const APPENDED_KINDS: [&str; 19] = [
        "limit_passed",
        "denied",
        "ending",
        "grace_began",
        "service_stopped",
        "edition_ended",
        "add_on_ended",
        "agreed_limit_ended",
        "app_created",
        "purchased",
        "refunded",
        "retention_set",
        "journal_replayed",
        "drift_found",
        "statement_issued",
        "facts_lost",
        "journal_blocked",
        "store_refuses",
        "hold_retaken",
    ];

    /// Returns the kind of event, as in metrics and logs.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::LimitPassed { .. } => "limit_passed",
            Self::Denied { .. } => "denied",
            Self::Ending { .. } => "ending",
            Self::GraceBegan { .. } => "grace_began",
            Self::ServiceStopped { .. } => "service_stopped",
            Self::EditionEnded { .. } => "edition_ended",
            Self::AddOnEnded { .. } => "add_on_ended",
            Self::AgreedLimitEnded { .. } => "agreed_limit_ended",
            Self::AppCreated { .. } => "app_created",
            Self::Purchased { .. } => "purchased",
            Self::Refunded { .. } => "refunded",
            Self::RetentionSet { .. } => "retention_set",
            Self::JournalReplayed { .. } => "journal_replayed",
            Self::DriftFound { .. } => "drift_found",
            Self::StatementIssued { .. } => "statement_issued",
            Self::FactsLost { .. } => "facts_lost",
            Self::EventsDropped { .. } => "events_dropped",
            Self::JournalBlocked { .. } => "journal_blocked",
            Self::StoreRefuses { .. } => "store_refuses",
            Self::HoldRetaken(_) => "hold_retaken",
        }
    }

    /// Returns whether the event is about a limit: a crossed threshold, denials, or subjects that
    /// were taken anew. Callers can cause any number of these.
    #[must_use]
    pub fn is_about_limit(&self) -> bool {
        matches!(self, Self::LimitPassed { .. } | Self::Denied { .. } | Self::HoldRetaken(_))
    }

    /// Returns a sentence for people, with instants and amounts by these conventions.
    #[must_use]
    pub fn sentence(&self, by: Conventions) -> String {
        let Conventions { zone, currency } = by;
        match self {
            Self::LimitPassed { count, percent } => format!("{count}: {percent} % is reached"),
            Self::Denied { sample, reason: Reason::ServiceStopped, denials } => {
                let times = times(*denials);
                format!("denied {times} within a minute, since the service has stopped, to {}", {
                    &sample.subject
                })
            }
            Self::Denied { sample, denials, .. } => {
                format!("denied {} within a minute, one of them where {sample}", times(*denials))
            }
            Self::Ending { what, ends_at, days_left } => {
                let unit = if *days_left == 1 { "day" } else { "days" };
                format!("{what} is valid until {}: {days_left} {unit} left", zone.show(*ends_at))
            }
            Self::GraceBegan { edition, ended_at } => {
                let ended_at = zone.show(*ended_at);
                format!("edition \"{edition}\" was valid until {ended_at}; its grace began")
            }
            Self::ServiceStopped { edition, ended_at } => {
                let ended_at = zone.show(*ended_at);
                format!("edition \"{edition}\" stopped at {ended_at}: the service has stopped")
            }
            Self::EditionEnded { edition, ended_at } => {
                let ended_at = zone.show(*ended_at);
                format!("edition \"{edition}\" stopped at {ended_at}: the default edition follows")
            }
            Self::AddOnEnded { add_on, ended_at } => {
                format!("add-on \"{add_on}\" stopped at {}", zone.show(*ended_at))
            }
            Self::AgreedLimitEnded { limit_id, ended_at } => {
                format!("agreed limit \"{limit_id}\" ended at {}", zone.show(*ended_at))
            }
            Self::AppCreated { .. } => "the app was registered".to_owned(),
            Self::Purchased { what, months, renewal, price_fen, .. } => {
                let verb = if *renewal { "renewed" } else { "bought" };
                format!("{what} was {verb}{}, for {}", term(*months), currency.money(*price_fen))
            }
            Self::Refunded { what, refund_fen, .. } => {
                format!("{what} was refunded with {}", currency.money(*refund_fen))
            }
            Self::RetentionSet { days, .. } => format!("messages are kept for {days} days"),
            Self::DriftFound { differences, .. } => {
                let unit = if *differences == 1 { "fact" } else { "facts" };
                format!("{differences} {unit} differed from the database of the IM")
            }
            Self::JournalReplayed { facts, over, failed, sample } => {
                let sample = sample.as_ref().map(|sample| format!("; one of them where {sample}"));
                let sample = sample.unwrap_or_default();
                format!(
                    "{facts} facts decided without the store are counted: {over} over a limit, \
                     {failed} operations void{sample}"
                )
            }
            Self::StatementIssued { month, total_fen } => {
                format!("the statement of {month} is final, over {}", currency.money(*total_fen))
            }
            Self::FactsLost { part, found, known } => lost(*part, *found, *known),
            Self::EventsDropped { first, last, kinds } => {
                let kinds = kinds.join(", ");
                format!("events {first}-{last} were dropped from the bounded log ({kinds})")
            }
            Self::JournalBlocked { entry, operation, why } => {
                format!("journal entry {entry} ({operation}) is blocked: {why}")
            }
            Self::StoreRefuses { server, why } => format!("server {server} refuses calls: {why}"),
            Self::HoldRetaken(retaken) => retaken.to_string(),
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit_id, subject, used, limit } = self;
        write!(out, "{subject} has {used} of at most {limit} ({limit_id})")
    }
}

impl fmt::Display for Retaken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation_id, operation, subject, count, .. } = self;
        let (were, unit) = if *count == 1 { ("was", "subject") } else { ("were", "subjects") };
        write!(
            out,
            "operation \"{operation_id}\" ({operation}, {subject}) was confirmed after its hold \
             had expired: {count} {unit} {were} taken anew"
        )
    }
}

impl fmt::Display for Sold {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edition(name) => write!(out, "edition \"{name}\""),
            Self::AddOn(name) => write!(out, "add-on \"{name}\""),
            Self::AgreedLimit(id) => write!(out, "agreed limit \"{id}\""),
        }
    }
}

fn lost(part: StorePart, found: u64, known: u64) -> String {
    let (first, name) = (found + 1, part.name());
    let what = match part {
        StorePart::Accounts | StorePart::Friends | StorePart::Groups => {
            format!("writes {first}-{known} of its {name}")
        }
        StorePart::Directory => format!("changes {first}-{known} of the directory"),
        StorePart::Events => format!("events {first}-{known}"),
    };
    format!("the store lost {what}, which it had acknowledged")
}

/// Formats the months of a purchase; nothing for a purchase through a day.
fn term(months: u32) -> String {
    match months {
        0 => String::new(),
        1 => " for 1 month".to_owned(),
        months => format!(" for {months} months"),
    }
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;
