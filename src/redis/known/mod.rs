//! Observations of the store by this process, with which it detects that acknowledged writes are
//! gone.
//!
//! A failover to a replica that lacked the last writes, or a restored backup, returns a part of the
//! store to an older state. Each part counts its writes: the parts of an app (`counts`), the audit
//! log by its entries, and the log of events by its events (`tail`). A count below the highest
//! observed one is a [`LostWrites`]. Each call compares it, and so does each new connection to a
//! server before it carries calls: otherwise a server that has just been promoted may have counted
//! past it meanwhile. `saved` keeps the observations for the next start.
//!
//! Not detected: writes that no living process had observed and none has saved; and those that
//! other processes have made up for in number before a process that had observed them returns.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use redis::{Cmd, Value};

use self::counts::{Counts, Lost};
use self::loss_log::LossLog;
use super::keys::{AUDIT, CURSORS, Keys, Part};
use super::reply::integer;
use crate::domain::event::StorePart;
use crate::domain::id::AppId;
use crate::store::backlog::Backlog;
use crate::store::fingerprint::Fingerprints;
use crate::store::loss::LostWrites;

mod counts;
mod loss_log;
mod saved;
mod tail;

pub use self::saved::{Saver, load};
pub use self::tail::{Before, Tail};

/// Most parts that are compared on a new connection: a tenth of a second of the server's time.
const COMPARED_MAX: usize = 20_000;

/// The observations of one store.
#[derive(Default)]
pub struct Known {
    /// The counters of apps.
    pub counts: Counts,
    /// The last entry of the audit log.
    pub audit: Tail,
    /// The last event.
    pub events: Tail,
    ids: OnceLock<Fingerprints>,
    /// The generation of the store that was observed.
    generation: ArcSwap<Vec<u8>>,
    losses: Backlog<LostWrites>,
    log: LossLog,
}

/// The count that a query reads, with its observation before the query was sent.
enum About {
    Writes(AppId, Part, counts::Before),
    Audit(tail::Before),
    Events(tail::Before),
}

/// A query that reads a count of the store.
pub struct CountQuery {
    /// The command.
    pub command: Cmd,
    about: About,
}

impl Known {
    /// Sets the fingerprints with which keys are made.
    pub fn use_ids(&self, ids: Fingerprints) {
        // The store is opened once.
        let _ = self.ids.set(ids);
    }

    /// Returns whether there may be anything to compare.
    pub fn is_in_use(&self) -> bool {
        self.ids.get().is_some()
    }

    /// Sets the generation of the store. Observations of another generation are discarded, except
    /// for the number of the last event: readers have tokens of it, and none is used twice.
    pub fn of_generation(&self, generation: &Arc<Vec<u8>>) {
        let known = self.generation.load();
        if Arc::ptr_eq(&known, generation) {
            return;
        }
        if **known != **generation {
            self.counts.clear();
            self.audit.heal(0, "", None);
            self.events.heal(self.events.before().seen.number, "", None);
        }
        self.generation.store(generation.clone());
    }

    /// Returns queries for the observed counts, of the parts that were called last.
    pub fn queries(&self) -> Vec<CountQuery> {
        let mut queries = Vec::new();
        let Some(ids) = self.ids.get() else { return queries };
        let mut add = |name: &str, words: &[&[u8]], about| {
            let mut command = redis::cmd(name);
            for word in words {
                command.arg(*word);
            }
            queries.push(CountQuery { command, about });
        };
        add("LLEN", &[AUDIT], About::Audit(self.audit.before()));
        add("HGET", &[CURSORS, b"head"], About::Events(self.events.before()));
        for (app, part, before) in self.counts.latest(COMPARED_MAX) {
            let key = Keys::new(*ids, &app).writes(part);
            add("GET", &[&key], About::Writes(app, part, before));
        }
        queries
    }

    /// Compares a server's reply with the observation. An error has no meaning: another server has
    /// the key, or the data are still being loaded. A higher count is not recorded: no replica has
    /// confirmed it, and its writers may not have had a reply.
    pub fn record_reply(&self, query: CountQuery, reply: &Value) {
        let count = match reply {
            Value::Nil => Some(0),
            value => integer(value).and_then(|count| u64::try_from(count).ok()),
        };
        let Some(count) = count else { return };
        match query.about {
            About::Writes(app, part, before) => {
                self.wrote(&before, &app, part, before.at_most(count));
            }
            About::Audit(before) => self.audit_ends(&before, count, ""),
            About::Events(before) => self.events_end(&before, count.min(before.seen.number)),
        }
    }

    /// Records the counter that a script returned.
    pub fn wrote(&self, before: &counts::Before, app: &AppId, part: Part, writes: u64) {
        if let Some(lost) = self.counts.after(before, app, writes) {
            self.report(store_part(part), Some(app.clone()), lost);
        }
    }

    /// Records the last entry of the audit log.
    pub fn audit_ends(&self, before: &tail::Before, number: u64, hash: &str) {
        if let Some(lost) = self.audit.check(before, number, hash) {
            self.report(StorePart::Directory, None, lost);
        }
    }

    /// Records the number of the last event.
    pub fn events_end(&self, before: &tail::Before, number: u64) {
        match self.events.check(before, number, "") {
            Some(lost) => self.report(StorePart::Events, None, lost),
            None if number >= before.seen.number => self.events.raise(before, number, ""),
            None => {}
        }
    }

    /// Logs the latest losses now, since the process ends.
    pub fn log_losses(&self) {
        self.log.write();
    }

    /// Waits for the next loss.
    pub async fn next_loss(&self) -> LostWrites {
        self.losses.next().await
    }

    fn report(&self, part: StorePart, app: Option<AppId>, Lost { found, known }: Lost) {
        let loss = LostWrites { part, app, found, known };
        self.log.add(&loss);
        self.losses.add(loss);
    }
}

fn store_part(part: Part) -> StorePart {
    match part {
        Part::Accounts => StorePart::Accounts,
        Part::Friends => StorePart::Friends,
        Part::Groups => StorePart::Groups,
    }
}
