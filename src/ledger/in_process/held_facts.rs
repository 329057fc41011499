//! Facts with holds: how a change of a fact changes the records of its holds.
//!
//! Whatever takes or removes a fact goes through [`Facts`], which calls these functions; so no
//! operation can leave a hold behind that the fact no longer has.

use std::collections::{BTreeMap, BTreeSet};

use super::counts::When;
use super::facts::Facts;
use super::hold_record::{HoldKey, Provisional, Record, State};
use super::rows::{Counter, Held, Result, Rows};
use crate::domain::calendar::Day;
use crate::domain::decision::Outcome;
use crate::domain::time::Timestamp;
use crate::ledger::reconcile::Fact;

/// The hold of the take in progress.
#[derive(Debug)]
pub struct Taking {
    /// Its key.
    pub key: HoldKey,
    /// Its record before it has any fact.
    pub new: Record,
    /// The facts of an ended record with the same key, which the first fact replaces.
    pub replaced: Vec<Fact>,
    /// True if an earlier take with the same hold is repeated.
    pub is_repetition: bool,
    /// The day of the take.
    pub today: Day,
    /// The index of each fact that the take names.
    pub elements: BTreeMap<Fact, u32>,
    /// The facts that this take has added to the hold.
    pub added: BTreeSet<Fact>,
}

/// The cause for which facts are removed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Removal {
    /// Something else than a hold.
    #[default]
    Other,
    /// The holds of the fact, or of a group's last member, have expired by that instant.
    Expiry(Timestamp),
    /// The release of a hold; other holds that have expired by that instant have ended before.
    Release(HoldKey, Timestamp),
}

impl<R: Rows> Facts<'_, R> {
    /// Returns the holds of a fact; `None`: it is permanent, or does not exist.
    pub fn provisional(&self, fact: Fact) -> Result<Option<Provisional>> {
        match self.changes.provisional.get(&fact) {
            Some(changed) => Ok(changed.clone()),
            None => self.rows.provisional(fact),
        }
    }

    /// Returns the record of a hold.
    pub fn hold(&self, key: &HoldKey) -> Result<Option<Record>> {
        match self.changes.holds.get(key) {
            Some(changed) => Ok(Some(changed.clone())),
            None => self.rows.hold(key),
        }
    }

    /// Returns a number of provisional facts.
    pub fn held(&self, held: Held) -> Result<u64> {
        self.counter(&Counter::Held(held))
    }

    /// Returns the facts that were provisional before, and are permanent or removed now.
    pub fn settled(&self) -> impl Iterator<Item = Fact> {
        let settled = self.changes.provisional.iter().filter(|(_, row)| row.is_none());
        settled.map(|(fact, _)| *fact)
    }

    /// Takes a fact that exists; returns the outcome. It joins the hold of the take in progress, or
    /// is permanent from now on.
    pub fn keep(&mut self, fact: Fact, today: Day) -> Result<Outcome> {
        let Some(row) = self.provisional(fact)? else { return Ok(Outcome::AlreadyHeld) };
        let Some(taking) = &self.taking else {
            self.make_permanent(fact, today)?;
            return Ok(Outcome::AlreadyHeld);
        };
        if taking.added.contains(&fact) {
            return Ok(Outcome::AlreadyHeld);
        }
        if taking.is_repetition && row.has(&taking.key) {
            return Ok(Outcome::Repeated);
        }
        self.attach(fact)?;
        Ok(Outcome::AlreadyHeld)
    }

    /// Adds a fact that exists to the hold of the take in progress, if there is one; and the group
    /// of a member, if it is provisional.
    pub(super) fn attach(&mut self, fact: Fact) -> Result<()> {
        let Some(taking) = &mut self.taking else { return Ok(()) };
        let Some(index) = taking.elements.get(&fact).copied() else { return Ok(()) };
        let (key, today, expires) = (taking.key.clone(), taking.today, taking.new.expires);
        if taking.added.insert(fact) && taking.added.len() == 1 && !taking.is_repetition {
            self.begin_record()?;
        }
        let existing = self.provisional(fact)?;
        if existing.is_none() {
            self.count_held(fact, today, true)?;
        }
        let new = || Provisional { expires, taken_on: today, holds: Vec::new() };
        let mut row = existing.unwrap_or_else(new);
        row.expires = row.expires.max(expires);
        if !row.has(&key) {
            row.holds.push((key.clone(), index));
        }
        self.changes.provisional.insert(fact, Some(row));
        self.set_state(&key, index, State::Held)?;
        if let Fact::Member(group, _) = fact {
            let group = Fact::Group(group);
            if self.provisional(group)?.is_some_and(|row| !row.has(&key)) {
                self.attach(group)?;
            }
        }
        Ok(())
    }

    /// Writes the new record of the take in progress, in the place of an ended one.
    fn begin_record(&mut self) -> Result<()> {
        let Some(taking) = &mut self.taking else { return Ok(()) };
        let (key, new, today) = (taking.key.clone(), taking.new.clone(), taking.today);
        let replaced = std::mem::take(&mut taking.replaced);
        let kept = |fact: &Fact| taking.elements.contains_key(fact);
        let (kept, others): (Vec<Fact>, Vec<Fact>) = replaced.into_iter().partition(kept);
        for fact in others {
            // A group that was held for members who have left.
            if self.detach(fact, &key)?
                && let Fact::Group(group) = fact
                && let Some(row) = self.group(group)?
            {
                self.remove_group(group, &row.group_type, When::Now(today))?;
            }
        }
        self.changes.holds.insert(key.clone(), new);
        for fact in kept {
            if self.detach(fact, &key)? {
                self.attach(fact)?;
            }
        }
        Ok(())
    }

    /// Removes a fact from a hold; the fact ends with the last of its other ones. Returns whether
    /// it has no other one: then it stays in this one, and the caller removes it.
    pub(super) fn detach(&mut self, fact: Fact, key: &HoldKey) -> Result<bool> {
        let Some(mut row) = self.provisional(fact)?.filter(|row| row.has(key)) else {
            return Ok(false);
        };
        let mut is_last = true;
        for (of, _) in row.holds.iter().filter(|(of, _)| of != key) {
            let has_expired = match &self.removal {
                Removal::Release(_, now) => self.hold(of)?.is_none_or(|it| it.expires <= *now),
                Removal::Other | Removal::Expiry(_) => false,
            };
            is_last &= has_expired;
        }
        if is_last {
            return Ok(true);
        }
        row.holds.retain(|(of, _)| of != key);
        self.changes.provisional.insert(fact, Some(row));
        self.reset_expiry(fact)?;
        Ok(false)
    }

    /// Sets the expiry of a fact to that of the last of its holds.
    pub(super) fn reset_expiry(&mut self, fact: Fact) -> Result<()> {
        let Some(mut row) = self.provisional(fact)? else { return Ok(()) };
        let mut last = None;
        for (key, _) in &row.holds {
            last = last.max(self.hold(key)?.map(|record| record.expires));
        }
        row.expires = last.unwrap_or(row.expires);
        self.changes.provisional.insert(fact, Some(row));
        Ok(())
    }

    /// Makes a fact permanent in all of its holds; with a member also the group.
    pub fn make_permanent(&mut self, fact: Fact, today: Day) -> Result<()> {
        if let Some(row) = self.provisional(fact)? {
            for (key, index) in &row.holds {
                self.set_state(key, *index, State::Confirmed)?;
            }
            if let Fact::Group(_) = fact {
                self.bill_group(today)?;
            }
            self.count_held(fact, row.taken_on, false)?;
            self.changes.provisional.insert(fact, None);
        }
        match fact {
            Fact::Member(group, _) => self.make_permanent(Fact::Group(group), today),
            _ => Ok(()),
        }
    }

    /// Ends the holds of a fact that is about to be removed; returns what it had.
    pub(super) fn end(&mut self, fact: Fact) -> Result<Option<Provisional>> {
        let Some(row) = self.provisional(fact)? else { return Ok(None) };
        // Holds that have all expired have ended before; the fact outlived no other one.
        let mut have_expired = true;
        for (key, _) in &row.holds {
            have_expired &= match &self.removal {
                Removal::Release(own, _) if own == key => true,
                Removal::Expiry(now) | Removal::Release(_, now) => {
                    self.hold(key)?.is_none_or(|record| record.expires <= *now)
                }
                Removal::Other => false,
            };
        }
        for (key, index) in &row.holds {
            let state = match &self.removal {
                Removal::Release(own, _) if own == key => State::Released,
                _ if have_expired => continue,
                _ => State::Ended,
            };
            self.set_state(key, *index, state)?;
        }
        self.count_held(fact, row.taken_on, false)?;
        self.changes.provisional.insert(fact, None);
        Ok(Some(row))
    }

    /// Sets the state of a fact in the record of a hold.
    pub(super) fn set_state(&mut self, key: &HoldKey, index: u32, state: State) -> Result<()> {
        let Some(mut record) = self
            .changes
            .holds
            .remove(key)
            .map_or_else(|| self.rows.hold(key), |changed| Ok(Some(changed)))?
        else {
            return Ok(());
        };
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        if let Some(current) = record.states.get_mut(index) {
            *current = state;
        }
        self.changes.holds.insert(key.clone(), record);
        Ok(())
    }

    /// Counts a fact, which exists, as provisional, or no longer so.
    fn count_held(&mut self, fact: Fact, taken_on: Day, more: bool) -> Result<()> {
        let counts = match fact {
            Fact::Account(_) => vec![Held::Accounts],
            Fact::Friend(user, _) => vec![Held::Friends(user)],
            Fact::Member(group, user) => {
                let counts = self.membership(user, group)?.unwrap_or(false);
                let of_user = counts.then_some(Held::GroupsOf(user));
                [Some(Held::Members(group)), of_user].into_iter().flatten().collect()
            }
            Fact::Group(group) => {
                let Some(row) = self.group(group)? else { return Ok(()) };
                let of_day = Held::GroupsOn(taken_on, row.group_type.clone());
                vec![Held::AllGroups, Held::Groups(row.group_type), of_day]
            }
        };
        counts.into_iter().try_for_each(|held| self.count(Counter::Held(held), more))
    }
}
