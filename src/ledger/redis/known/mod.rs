//! What this process has seen of the store, so that it notices when acknowledged writes are gone.
//!
//! A failover to a replica that lacked the last writes, or a restored backup, takes a part of the
//! store back to an older state. Each part counts what is written to it: the parts of an app their
//! writes (`counts`), the audit log its entries, and the log of events its events (`tail`). A count
//! below the highest one that was seen is a [`LostWrites`]. Each call compares it, and so does each
//! new connection to a server before calls are sent on it: a server that has just taken over may
//! otherwise have counted on by then. `saved` keeps it for the next start.
//!
//! What stays unnoticed: writes that no living process had seen and none has saved; and those that
//! others have made up for in number before a process that had seen them comes back.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use redis::{Cmd, Value};

use self::counts::{Counts, Lost};
use self::loss_log::LossLog;
use super::keys::{AUDIT, CURSORS, Keys, Part};
use super::reply::integer;
use crate::domain::event::StorePart;
use crate::domain::id::AppId;
use crate::ledger::backlog::Backlog;
use crate::ledger::fingerprint::Fingerprints;
use crate::ledger::loss::LostWrites;

mod counts;
mod loss_log;
mod saved;
mod tail;

pub use self::saved::{Saver, load};
pub use self::tail::{Before, Tail};

/// Most parts that are compared on a new connection: a tenth of a second of the server's time.
const COMPARED_MAX: usize = 20_000;

/// What has been seen of one store.
#[derive(Default)]
pub struct Known {
    /// Of apps.
    pub counts: Counts,
    /// Of the audit log.
    pub audit: Tail,
    /// Of the log of events.
    pub events: Tail,
    ids: OnceLock<Fingerprints>,
    /// Of the store that it was seen in.
    generation: ArcSwap<Vec<u8>>,
    losses: Backlog<LostWrites>,
    log: LossLog,
}

/// What a question to a server is about, with what was known before it was sent.
enum About {
    Writes(AppId, Part, counts::Before),
    Audit(tail::Before),
    Events(tail::Before),
}

/// A command that reads a count.
pub struct Question {
    /// The command.
    pub command: Cmd,
    about: About,
}

impl Known {
    /// Keys are made with these from now on.
    pub fn use_ids(&self, ids: Fingerprints) {
        // The store is opened once.
        let _ = self.ids.set(ids);
    }

    /// Whether there may be anything to compare.
    pub fn is_in_use(&self) -> bool {
        self.ids.get().is_some()
    }

    /// The store has that generation from now on. What was seen of another one is forgotten, but
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

    /// Commands that read what is known, of the parts that were called last.
    pub fn questions(&self) -> Vec<Question> {
        let mut questions = Vec::new();
        let Some(ids) = self.ids.get() else { return questions };
        let mut ask = |name: &str, words: &[&[u8]], about| {
            let mut command = redis::cmd(name);
            for word in words {
                command.arg(*word);
            }
            questions.push(Question { command, about });
        };
        ask("LLEN", &[AUDIT], About::Audit(self.audit.before()));
        ask("HGET", &[CURSORS, b"head"], About::Events(self.events.before()));
        for (app, part, before) in self.counts.latest(COMPARED_MAX) {
            let key = Keys::new(*ids, &app).writes(part);
            ask("GET", &[&key], About::Writes(app, part, before));
        }
        questions
    }

    /// Compares a server's answer with what was known. An error says nothing: another server has
    /// the key, or the data are still being read. Nothing is learned from a higher count: no
    /// replica has confirmed it, and its writers may not have been answered.
    pub fn answered(&self, question: Question, answer: &Value) {
        let count = match answer {
            Value::Nil => Some(0),
            value => integer(value).and_then(|count| u64::try_from(count).ok()),
        };
        let Some(count) = count else { return };
        match question.about {
            About::Writes(app, part, before) => {
                self.wrote(&before, &app, part, before.at_most(count));
            }
            About::Audit(before) => self.audit_ends(&before, count, ""),
            About::Events(before) => self.events_end(&before, count.min(before.seen.number)),
        }
    }

    /// Takes in the counter that a script returned.
    pub fn wrote(&self, before: &counts::Before, app: &AppId, part: Part, writes: u64) {
        if let Some(lost) = self.counts.after(before, app, writes) {
            self.report(store_part(part), Some(app.clone()), lost);
        }
    }

    /// Takes in the last entry of the audit log.
    pub fn audit_ends(&self, before: &tail::Before, number: u64, hash: &str) {
        if let Some(lost) = self.audit.check(before, number, hash) {
            self.report(StorePart::Directory, None, lost);
        }
    }

    /// Takes in the number of the last event.
    pub fn events_end(&self, before: &tail::Before, number: u64) {
        match self.events.check(before, number, "") {
            Some(lost) => self.report(StorePart::Events, None, lost),
            None if number >= before.seen.number => self.events.raise(before, number, ""),
            None => {}
        }
    }

    /// Logs the losses of the last moments now: the process ends.
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
