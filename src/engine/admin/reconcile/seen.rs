//! Subjects that the export has named so far.

use std::collections::HashSet;

use super::{Part, ReconcileError};
use crate::ledger::reconcile::Section;
use crate::store::Fingerprints;

/// Most accounts, users with friends, or groups of one export: 800 MB of accounts.
const SUBJECTS_MAX: usize = 100_000_000;

/// The subjects of an export, by fingerprint.
#[derive(Default)]
pub struct Seen {
    /// In order of arrival; sorted once the export is complete.
    accounts: Vec<u64>,
    friends: HashSet<u64>,
    groups: HashSet<u64>,
}

impl Seen {
    /// Records the subjects of a part; none of them if one of them was recorded before.
    pub fn record(&mut self, ids: &Fingerprints, part: &Part) -> Result<(), ReconcileError> {
        let mut friends = HashSet::new();
        for (user, _) in &part.friends {
            let key = ids.user(user);
            if self.friends.contains(&key) || !friends.insert(key) {
                return Err(ReconcileError::Twice(format!("the friends of user \"{user}\"")));
            }
        }
        let mut groups = HashSet::new();
        for it in &part.groups {
            let key = ids.group(&it.group);
            if self.groups.contains(&key) || !groups.insert(key) {
                return Err(ReconcileError::Twice(format!("group \"{}\"", it.group)));
            }
        }
        let accounts = part.accounts.iter().chain(&part.done.accounts);
        self.accounts.extend(accounts.map(|user| ids.user(user)));
        self.friends.extend(friends);
        self.friends.extend(part.done.friends.iter().map(|user| ids.user(user)));
        self.groups.extend(groups);
        self.groups.extend(part.done.groups.iter().map(|group| ids.group(group)));
        let most = self.accounts.len().max(self.friends.len()).max(self.groups.len());
        if most > SUBJECTS_MAX { Err(ReconcileError::TooMuch(SUBJECTS_MAX)) } else { Ok(()) }
    }

    /// Completes the record: nothing is added any more, and lookups are possible.
    pub fn complete(&mut self) {
        self.accounts.sort_unstable();
    }

    /// Returns those of a section's subjects that are not in the export, each of them once.
    pub fn unseen(&mut self, section: Section, mut keys: Vec<u64>) -> Vec<u64> {
        match section {
            Section::Accounts => keys.retain(|key| self.accounts.binary_search(key).is_err()),
            Section::Friends => keys.retain(|key| self.friends.insert(*key)),
            Section::Groups => keys.retain(|key| self.groups.insert(*key)),
        }
        keys
    }
}
