//! What happens to an app and is told to whoever watches: an instant, the app, and what.
//!
//! Each has a sentence for people ([`Happening::sentence`]), which says everything that the fields
//! say. Where events come from is the engine's business; how long they are kept, the log's.

use std::fmt;

use super::calendar::Zone;
use super::decision::{Reason, Subject};
use super::id::{AppId, Name};
use super::month::Month;
use super::text::money;
use super::time::Timestamp;

/// Something that happened to an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When, by the store's clock.
    pub at: Timestamp,
    /// The app; `None`: it concerns the whole store.
    pub app: Option<AppId>,
    /// What.
    pub what: Happening,
}

/// An event with its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberedEvent {
    /// Counts the events of a store from 1, without gaps. Of [`Happening::EventsDropped`] the last
    /// number that was dropped.
    pub number: u64,
    /// What is told.
    pub event: Event,
}

impl NumberedEvent {
    /// What tells it from every other event of the store: its number, or, of events that were
    /// dropped, their range.
    #[must_use]
    pub fn id(&self) -> String {
        match &self.event.what {
            Happening::EventsDropped { first, last, .. } => format!("dropped-{first}-{last}"),
            _ => self.number.to_string(),
        }
    }
}

/// A count of a subject against its limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// The limit by name.
    pub limit_id: String,
    /// Whose.
    pub subject: Subject,
    /// What is held.
    pub used: u64,
    /// What may be held.
    pub limit: u64,
}

/// An edition or an add-on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sold {
    /// An edition.
    Edition(Name),
    /// An add-on.
    AddOn(Name),
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
    /// Apps, what they bought, the audit log and final statements.
    Directory,
    /// The log of events.
    Events,
}

impl StorePart {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Accounts, Self::Friends, Self::Groups, Self::Directory, Self::Events];

    /// Its name in stored events, metrics and messages.
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

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// A count passed a threshold of its limit.
    LimitPassed {
        /// The count.
        count: Count,
        /// The threshold: 70, 90 or 100.
        percent: u64,
    },
    /// Something was denied for a while.
    Denied {
        /// The count of one of those who were denied.
        sample: Count,
        /// Why.
        reason: Reason,
        /// How many were denied.
        denials: u64,
    },
    /// It ends before long.
    Ending {
        /// What ends.
        what: Sold,
        /// When.
        ends_at: Timestamp,
        /// In how many days of 24 hours.
        days_left: u32,
    },
    /// An edition ended and runs on for its days of grace.
    GraceBegan {
        /// The edition.
        edition: Name,
        /// When it ended.
        ended_at: Timestamp,
    },
    /// An edition ended for good: everything that takes is denied.
    ServiceStopped {
        /// The edition.
        edition: Name,
        /// When its grace was over.
        ended_at: Timestamp,
    },
    /// An edition ended for good, and the app is on the default edition.
    EditionEnded {
        /// The edition.
        edition: Name,
        /// When its grace was over.
        ended_at: Timestamp,
    },
    /// An add-on ended.
    AddOnEnded {
        /// The add-on.
        add_on: Name,
        /// When.
        ended_at: Timestamp,
    },
    /// The app was registered.
    AppCreated {
        /// The request that did it.
        request_id: String,
    },
    /// Something was bought.
    Purchased {
        /// What.
        what: Sold,
        /// For how many months.
        months: u32,
        /// Whether it renewed an edition that was bought before.
        renewal: bool,
        /// What was paid, in fen.
        price_fen: i64,
        /// The request that did it.
        request_id: String,
    },
    /// A purchase was given back.
    Refunded {
        /// What had been bought.
        what: Sold,
        /// What was paid back, in fen; not negative.
        refund_fen: i64,
        /// The request that did it.
        request_id: String,
    },
    /// It was set how long messages are kept.
    RetentionSet {
        /// For how many days.
        days: u32,
        /// The request that did it.
        request_id: String,
    },
    /// An export of the IM's database differed from what is held.
    DriftFound {
        /// How many facts differed, less those that live traffic had changed meanwhile.
        differences: u64,
        /// The request that found it; empty where it had no id.
        request_id: String,
    },
    /// What was admitted and given back without the store is in the store.
    JournalReplayed {
        /// How many facts.
        facts: u64,
        /// Of them, how many are over a limit.
        over: u64,
        /// Operations that could not be done any more.
        failed: u64,
        /// The count of one of those who are over.
        sample: Option<Count>,
    },
    /// The statement of a month became final.
    StatementIssued {
        /// The month.
        month: Month,
        /// What is to be paid, in fen.
        total_fen: i64,
    },
    /// The store lost writes that it had acknowledged: those after `found`, up to `known`.
    FactsLost {
        /// The part that lost them.
        part: StorePart,
        /// The number that the part counts up to now. Of facts it counts writes; of the directory
        /// entries of the audit log, or revisions of the app's record where it is about an app;
        /// of the log of events, events.
        found: u64,
        /// The highest number that was seen before.
        known: u64,
    },
    /// Events were dropped from the bounded log before this reader had read them. The log makes it
    /// for a reader; it is not stored.
    EventsDropped {
        /// The first number that the reader has not read.
        first: u64,
        /// The last number before the next event that is kept.
        last: u64,
        /// The kinds of the events that were dropped, as [`Happening::kind`] names them; a name
        /// that is none where a kind is not known.
        kinds: Vec<String>,
    },
    /// The store answers and cannot carry out an operation that was accepted without it. The
    /// operation and all later ones on the same users and groups wait until an operator acts.
    JournalBlocked {
        /// The number of the entry in the journal of its sidecar.
        entry: u64,
        /// The operation, such as `join_group`.
        operation: String,
        /// What the store answered.
        why: String,
    },
    /// A server of the store answers, and refuses calls.
    StoreRefuses {
        /// Its address.
        server: String,
        /// What it answered.
        why: String,
    },
}

impl Happening {
    /// Every [`Happening::kind`] of events that are appended to the log; the only other one is
    /// `events_dropped`, which readers get in place of what is gone.
    pub const APPENDED_KINDS: [&str; 17] = [
        "limit_passed",
        "denied",
        "ending",
        "grace_began",
        "service_stopped",
        "edition_ended",
        "add_on_ended",
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
    ];

    /// What sort of event it is, as metrics and logs call it.
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
        }
    }

    /// Whether it is about a limit: a threshold that was crossed, or denials. There may be as many
    /// of these as callers like.
    #[must_use]
    pub fn is_about_limit(&self) -> bool {
        matches!(self, Self::LimitPassed { .. } | Self::Denied { .. })
    }

    /// A sentence for people, with instants in that zone.
    #[must_use]
    pub fn sentence(&self, zone: Zone) -> String {
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
            Self::AppCreated { .. } => "the app was registered".to_owned(),
            Self::Purchased { what, months, renewal, price_fen, .. } => {
                let verb = if *renewal { "renewed" } else { "bought" };
                let unit = if *months == 1 { "month" } else { "months" };
                format!("{what} was {verb} for {months} {unit}, for {}", money(*price_fen))
            }
            Self::Refunded { what, refund_fen, .. } => {
                format!("{what} was refunded with {}", money(*refund_fen))
            }
            Self::RetentionSet { days, .. } => format!("messages are kept for {days} days"),
            Self::DriftFound { differences, .. } => {
                let unit = if *differences == 1 { "fact" } else { "facts" };
                format!("{differences} {unit} differed from the database of the IM")
            }
            Self::JournalReplayed { facts, over, failed, sample } => {
                let sample = sample.as_ref().map(|sample| format!("; one of them where {sample}"));
                format!(
                    "{facts} facts decided without the store are counted: {over} over a limit, \
                     {failed} operations void{}",
                    sample.unwrap_or_default()
                )
            }
            Self::StatementIssued { month, total_fen } => {
                format!("the statement of {month} is final, over {}", money(*total_fen))
            }
            Self::FactsLost { part, found, known } => lost(*part, *found, *known),
            Self::EventsDropped { first, last, kinds } => {
                format!(
                    "events {first}-{last} were dropped from the bounded log ({})",
                    kinds.join(", ")
                )
            }
            Self::JournalBlocked { entry, operation, why } => {
                format!("journal entry {entry} ({operation}) is blocked: {why}")
            }
            Self::StoreRefuses { server, why } => format!("server {server} refuses calls: {why}"),
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit_id, subject, used, limit } = self;
        write!(out, "{subject} has {used} of at most {limit} ({limit_id})")
    }
}

impl fmt::Display for Sold {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edition(name) => write!(out, "edition \"{name}\""),
            Self::AddOn(name) => write!(out, "add-on \"{name}\""),
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

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;
