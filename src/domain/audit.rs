//! The audit log: the actor, origin, instant and content of each change, each entry chained to the
//! one before.
//!
//! An entry's hash covers its own content and the hash of the entry before, so that changing,
//! removing or inserting one requires rewriting all that follow. To detect that, the head (number
//! and hash of the last entry) is also stored elsewhere.

use sha2::{Digest as _, Sha256};

use super::id::AppId;
use super::text::hex;
use super::time::Timestamp;

/// Prefix of all hashed content, so that no other hash of ours is valid as one of these.
const DOMAIN: &[u8] = b"imquota audit 1";

/// A SHA-256 in hexadecimal.
pub type Hash = String;

/// Caller that requested a change, and its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The name that belongs to the credentials.
    pub name: String,
    /// The peer: an address, or a Unix socket with its user.
    pub from: String,
}

/// Name of a logged change: that of the RPC which requests it, if there is one. The log may have
/// names of later versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Registers an app.
    CreateApp,
    /// Sells an edition.
    PurchaseEdition,
    /// Renews the edition.
    RenewEdition,
    /// Sells an add-on.
    GrantAddOn,
    /// Agrees a limit.
    GrantLimit,
    /// Refunds a purchase.
    RefundPurchase,
    /// Refunds the edition in force and sells another one.
    ChangeEdition,
    /// Refunds an add-on and sells another one.
    ExchangeAddOn,
    /// Sets the retention of messages.
    SetMessageRetention,
    /// Changes the details of an app.
    UpdateApp,
    /// Tracks changes of facts.
    TrackChanges,
    /// Compares or repairs facts.
    Reconcile,
    /// Activates a catalog.
    ActivateCatalog,
    /// Accepts a store that lost its facts.
    AcceptStore,
    /// Replays a blocked journal entry.
    RetryJournalEntry,
    /// Drops a blocked journal entry.
    DropJournalEntry,
    /// Deletes operations that were set aside.
    DeleteSetAsideOperations,
    /// Sets the store's clock.
    AcceptClock,
    /// Copies the store.
    CreateBackup,
    /// Issues the final statement of a month. No RPC requests it.
    IssueStatement,
    /// Records a loss of the directory. No RPC requests it.
    FactsLost,
}

impl Action {
    /// All actions.
    pub const ALL: [Self; 21] = [
        Self::CreateApp,
        Self::PurchaseEdition,
        Self::RenewEdition,
        Self::GrantAddOn,
        Self::GrantLimit,
        Self::RefundPurchase,
        Self::ChangeEdition,
        Self::ExchangeAddOn,
        Self::SetMessageRetention,
        Self::UpdateApp,
        Self::TrackChanges,
        Self::Reconcile,
        Self::ActivateCatalog,
        Self::AcceptStore,
        Self::RetryJournalEntry,
        Self::DropJournalEntry,
        Self::DeleteSetAsideOperations,
        Self::AcceptClock,
        Self::CreateBackup,
        Self::IssueStatement,
        Self::FactsLost,
    ];

    /// Returns the action with that stored name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }

    /// Returns the stored name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CreateApp => "CreateApp",
            Self::PurchaseEdition => "PurchaseEdition",
            Self::RenewEdition => "RenewEdition",
            Self::GrantAddOn => "GrantAddOn",
            Self::GrantLimit => "GrantLimit",
            Self::RefundPurchase => "RefundPurchase",
            Self::ChangeEdition => "ChangeEdition",
            Self::ExchangeAddOn => "ExchangeAddOn",
            Self::SetMessageRetention => "SetMessageRetention",
            Self::UpdateApp => "UpdateApp",
            Self::TrackChanges => "TrackChanges",
            Self::Reconcile => "Reconcile",
            Self::ActivateCatalog => "ActivateCatalog",
            Self::AcceptStore => "AcceptStore",
            Self::RetryJournalEntry => "RetryJournalEntry",
            Self::DropJournalEntry => "DropJournalEntry",
            Self::DeleteSetAsideOperations => "DeleteSetAsideOperations",
            Self::AcceptClock => "AcceptClock",
            Self::CreateBackup => "CreateBackup",
            Self::IssueStatement => "IssueStatement",
            Self::FactsLost => "FactsLost",
        }
    }
}

/// One change, before it is appended to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Instant of the change, by the store's clock.
    pub at: Timestamp,
    /// The caller.
    pub actor: Actor,
    /// Name of the [`Action`].
    pub action: String,
    /// The request, as JSON.
    pub request: String,
    /// The app, if the change is about one.
    pub app: Option<AppId>,
    /// The request's id.
    pub request_id: String,
    /// The app before the change, as JSON; empty if it did not exist.
    pub before: String,
    /// The app after the change, as JSON.
    pub after: String,
}

/// Position of an entry in the log; the position of the whole log is that of its last entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// Number of the entry, counted from 1; 0 before the first.
    pub number: u64,
    /// The entry's hash; empty before the first.
    pub hash: Hash,
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number and hash.
    pub head: Head,
    /// The hash of the entry before.
    pub previous: Hash,
    /// The recorded change.
    pub event: Event,
}

/// Fault in a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A number is missing, or appears twice.
    #[error("entry {found} follows entry {before}: what lay between was removed")]
    Gap {
        /// The number of the entry before.
        before: u64,
        /// The number of this one.
        found: u64,
    },
    /// The hash of the previous entry does not match.
    #[error("entry {0} does not follow from the one before it: one of them was changed")]
    Broken(u64),
    /// The content does not match the hash.
    #[error("entry {0} was changed")]
    Changed(u64),
}

impl Event {
    /// Returns the event as the entry that follows `head`.
    #[must_use]
    pub fn follow(self, head: &Head) -> Entry {
        let number = head.number + 1;
        let hash = self.hash(number, &head.hash);
        Entry { head: Head { number, hash }, previous: head.hash.clone(), event: self }
    }

    fn hash(&self, number: u64, previous: &str) -> Hash {
        let app = self.app.as_ref().map_or("", AppId::as_str);
        let mut hasher = Sha256::new_with_prefix(DOMAIN);
        hasher.update(number.to_be_bytes());
        hasher.update(self.at.as_millis().to_be_bytes());
        let Actor { name, from } = &self.actor;
        let Self { action, request, request_id, before, after, .. } = self;
        for text in [previous, name, from, action, request, app, request_id, before, after] {
            // Hashed with its length, so that no content can move from one field to the next.
            hasher.update((text.len() as u64).to_be_bytes());
            hasher.update(text.as_bytes());
        }
        hex(&hasher.finalize())
    }
}

impl Entry {
    /// Verifies that the entry is unchanged and follows `before`.
    pub fn verify(&self, before: &Head) -> Result<(), Fault> {
        let number = self.head.number;
        if number != before.number + 1 {
            return Err(Fault::Gap { before: before.number, found: number });
        }
        if self.previous != before.hash {
            return Err(Fault::Broken(number));
        }
        if self.event.hash(number, &self.previous) != self.head.hash {
            return Err(Fault::Changed(number));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: i64) -> Event {
        Event {
            at: Timestamp::from_millis(1_549_900_800_000 + number),
            actor: Actor { name: "ops".into(), from: "unix:/run/admin.sock uid 0".into() },
            action: "GrantAddOn".into(),
            request: r#"{"months":1}"#.into(),
            app: Some(AppId::try_from("demo").expect("an id")),
            request_id: format!("r{number}"),
            before: "{}".into(),
            after: "{}".into(),
        }
    }

    fn log() -> Vec<Entry> {
        let mut head = Head::default();
        let entries = (1..=4).map(|number| {
            let entry = event(number).follow(&head);
            head = entry.head.clone();
            entry
        });
        entries.collect()
    }

    fn verify(log: &[Entry]) -> Result<Head, Fault> {
        let mut head = Head::default();
        for entry in log {
            entry.verify(&head)?;
            head = entry.head.clone();
        }
        Ok(head)
    }

    #[test]
    fn an_unchanged_log_verifies_and_every_change_of_it_is_found() {
        let whole = log();
        assert_eq!(verify(&whole), Ok(whole[3].head.clone()));
        let changes: [fn(&mut Event); 8] = [
            |event| event.at = Timestamp::from_millis(0),
            |event| event.actor.name = "x".into(),
            |event| event.actor.from = "x".into(),
            |event| event.action.push('x'),
            |event| event.request.clear(),
            |event| event.app = None,
            |event| event.request_id = "r3".into(),
            |event| std::mem::swap(&mut event.before, &mut event.action),
        ];
        for change in changes {
            let mut changed = log();
            change(&mut changed[1].event);
            assert_eq!(verify(&changed), Err(Fault::Changed(2)));
        }
        let mut rewritten = log();
        rewritten[1] = event(9).follow(&rewritten[0].head);
        assert_eq!(verify(&rewritten), Err(Fault::Broken(3)));
        let mut shorter = log();
        shorter.remove(2);
        assert_eq!(verify(&shorter), Err(Fault::Gap { before: 2, found: 4 }));
        let mut swapped = log();
        swapped.swap(1, 2);
        assert!(verify(&swapped).is_err());
    }

    #[test]
    fn hashes_do_not_change() {
        // Computed by another program, over the fields with their lengths.
        let entry = event(1).follow(&Head::default());
        assert_eq!(
            entry.head.hash,
            "8f09f6ac8363e760fd872894925a163fe1cf52ffd7c81b21d11a7933260c7b17"
        );
    }
}
