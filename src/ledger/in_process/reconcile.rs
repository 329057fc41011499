//! Comparison of claims with the facts, and repair of differences.

use std::collections::{HashMap, HashSet};

use redb::StorageError;

use super::counts::When;
use super::facts::Facts;
use super::holds::{drop_due, open_day};
use super::rows::{GroupRow, Rows};
use super::step::{StepError, begin};
use super::thresholds;
use super::tracking::{self, ChangedFact};
use crate::domain::calendar::Day;
use crate::domain::clock_guard::ClockReading;
use crate::ledger::LedgerError;
use crate::ledger::reconcile::{
    ClaimedGroup, Comparison, Difference, ExpectedState, Fact, Mismatch, Outcome, PageToken,
    Repair, Section, Subjects,
};
use crate::store::fingerprint::{GroupKey, UserKey};

/// A comparison of claims in progress.
struct Work<'u, 'a, R> {
    facts: Facts<'u, R>,
    comparison: &'a Comparison,
    today: Day,
    differences: Vec<Difference>,
}

/// Compares claims and repairs differences as requested, in one step.
pub fn compare(
    rows: &mut impl Rows,
    comparison: &Comparison,
    reading: ClockReading,
    claims: &[ExpectedState],
) -> Result<Vec<Difference>, StepError> {
    let now = reading.now;
    begin(rows, &comparison.call, now)?;
    drop_due(rows, &comparison.call, reading, usize::MAX)?;
    if let Some(since) = comparison.tracked_since {
        let tracking = tracking::current(rows, now)?;
        if tracking.is_none_or(|tracking| tracking.since != since) {
            return Err(LedgerError::NotTracked(since).into());
        }
    }
    // Claims have different subjects, so none sees the changes of another.
    let today = open_day(rows, &comparison.call, now)?;
    let facts = Facts::new(rows);
    let mut work = Work { facts, comparison, today, differences: Vec::new() };
    for claim in claims {
        match claim {
            ExpectedState::Accounts { users, exist } => work.accounts(users, *exist)?,
            ExpectedState::Friends { user, friends } => work.friends(*user, friends)?,
            ExpectedState::Group { group, row: Some(claimed), members } => {
                work.group(*group, claimed, members)?;
            }
            ExpectedState::Group { group, row: None, .. } => work.no_group(*group)?,
        }
    }
    let Work { mut facts, differences, .. } = work;
    thresholds::clear_groups(&mut facts)?;
    facts.count_facts(None)?;
    facts.write()?;
    Ok(differences)
}

impl<R: Rows> Work<'_, '_, R> {
    /// Records a difference; returns whether it is to be repaired. `traces` are the tracked changes
    /// that prevent a repair.
    fn differs(
        &mut self,
        fact: Fact,
        side: Mismatch,
        traces: &[ChangedFact],
    ) -> Result<bool, StorageError> {
        let Comparison { repair, tracked_since, .. } = self.comparison;
        let changed = match tracked_since {
            Some(since) => self.facts.has_trace(*since, traces)?,
            None => false,
        };
        let outcome = if changed || self.facts.provisional(fact)?.is_some() {
            Outcome::LeftAlone
        } else if *repair == Repair::No || side == Mismatch::OtherType {
            Outcome::Found
        } else {
            Outcome::Repaired
        };
        self.differences.push(Difference { fact, side, outcome });
        Ok(outcome == Outcome::Repaired)
    }

    fn accounts(&mut self, users: &[UserKey], exist: bool) -> Result<(), StorageError> {
        for user in users {
            if self.facts.has_account(*user)? == exist {
                continue;
            }
            let fact = Fact::Account(*user);
            if self.differs(fact, missing(exist), &[ChangedFact::Of(fact)])? {
                self.facts.set_account(*user, exist)?;
            }
        }
        Ok(())
    }

    fn friends(&mut self, user: UserKey, friends: &[UserKey]) -> Result<(), StorageError> {
        let held: HashSet<UserKey> = self.facts.friends(user)?.into_iter().collect();
        let claimed: HashSet<UserKey> = friends.iter().copied().collect();
        for friend in friends.iter().filter(|friend| !held.contains(friend)) {
            self.friend(user, *friend, true)?;
        }
        if self.comparison.repair.looks_both_ways() {
            for friend in held.difference(&claimed) {
                self.friend(user, *friend, false)?;
            }
        }
        Ok(())
    }

    fn friend(&mut self, user: UserKey, friend: UserKey, is: bool) -> Result<(), StorageError> {
        let fact = Fact::Friend(user, friend);
        let traces =
            [ChangedFact::Of(fact), ChangedFact::Deleted(user), ChangedFact::Deleted(friend)];
        if self.differs(fact, missing(is), &traces)? {
            self.facts.set_friend(user, friend, is)?;
        }
        Ok(())
    }

    fn group(
        &mut self,
        group: GroupKey,
        claimed: &ClaimedGroup,
        members: &[UserKey],
    ) -> Result<(), StorageError> {
        let (fact, traces) = (Fact::Group(group), [ChangedFact::Of(Fact::Group(group))]);
        let max_members = claimed.max_members;
        match self.facts.group(group)? {
            None => {
                if self.differs(fact, Mismatch::MissingHere, &traces)? {
                    let group_type = claimed.group_type.clone();
                    let max_members = max_members.flatten();
                    let row = GroupRow { group_type, members: 0, max_members };
                    self.facts.create_group(group, row, When::Before(self.today))?;
                }
            }
            // The type determines what its members count towards.
            Some(row) if row.group_type != claimed.group_type => {
                self.differs(fact, Mismatch::OtherType, &traces)?;
                return Ok(());
            }
            Some(row) => {
                let other = max_members.filter(|claimed| *claimed != row.max_members);
                if let Some(max_members) = other
                    && self.differs(fact, Mismatch::OtherMaxMembers, &traces)?
                {
                    self.facts.update_group(group, GroupRow { max_members, ..row });
                }
            }
        }
        self.members(group, claimed, members)
    }

    fn members(
        &mut self,
        group: GroupKey,
        claimed: &ClaimedGroup,
        members: &[UserKey],
    ) -> Result<(), StorageError> {
        let kind = self.comparison.call.catalog.group_type(claimed.group_type.as_str());
        let Some(counts) =
            kind.filter(|kind| kind.members_tracked).map(|it| it.counts_towards_user)
        else {
            return Ok(());
        };
        let held: HashMap<UserKey, bool> =
            self.facts.members(group, usize::MAX)?.into_iter().collect();
        for user in members.iter().filter(|user| !held.contains_key(user)) {
            if self.member_differs(group, *user, Mismatch::MissingHere)? {
                self.facts.join((*user, group), counts, self.today)?;
            }
        }
        if self.comparison.repair.looks_both_ways() {
            let claimed: HashSet<UserKey> = members.iter().copied().collect();
            for (user, counted) in held.into_iter().filter(|(user, _)| !claimed.contains(user)) {
                if self.member_differs(group, user, Mismatch::MissingThere)? {
                    self.facts.leave(user, group, counted)?;
                }
            }
        }
        Ok(())
    }

    fn member_differs(
        &mut self,
        group: GroupKey,
        user: UserKey,
        side: Mismatch,
    ) -> Result<bool, StorageError> {
        let fact = Fact::Member(group, user);
        if side == Mismatch::MissingHere && self.facts.provisional(Fact::Group(group))?.is_some() {
            // A held group gets no permanent member.
            self.differences.push(Difference { fact, side, outcome: Outcome::LeftAlone });
            return Ok(false);
        }
        let of_group = ChangedFact::Of(Fact::Group(group));
        self.differs(fact, side, &[ChangedFact::Of(fact), of_group, ChangedFact::Deleted(user)])
    }

    /// Compares a group that does not exist in the database.
    fn no_group(&mut self, group: GroupKey) -> Result<(), StorageError> {
        let Some(row) = self.facts.group(group)? else { return Ok(()) };
        let mut traces = vec![ChangedFact::Of(Fact::Group(group))];
        let mut has_held = false;
        for (user, counted) in self.facts.members(group, usize::MAX)? {
            let member = ChangedFact::Of(Fact::Member(group, user));
            if self.member_differs(group, user, Mismatch::MissingThere)? {
                self.facts.leave(user, group, counted)?;
            } else {
                // A member who stays keeps the group.
                traces.push(member);
                has_held |= self.facts.provisional(Fact::Member(group, user))?.is_some();
            }
        }
        if has_held {
            let (fact, side) = (Fact::Group(group), Mismatch::MissingThere);
            self.differences.push(Difference { fact, side, outcome: Outcome::LeftAlone });
        } else if self.differs(Fact::Group(group), Mismatch::MissingThere, &traces)? {
            self.facts.remove_group(group, &row.group_type, When::Before(self.today))?;
        }
        Ok(())
    }
}

fn missing(there: bool) -> Mismatch {
    if there { Mismatch::MissingHere } else { Mismatch::MissingThere }
}

/// Returns a page of a section's subjects, of at most `page` rows.
pub fn subjects(
    rows: &impl Rows,
    section: Section,
    from: Option<&PageToken>,
    page: usize,
) -> Result<Subjects, StorageError> {
    let from = from.map_or(u64::MIN, |place| place.0);
    let read: Vec<(u64, bool)> = match section {
        Section::Accounts => {
            rows.accounts(from, page)?.into_iter().map(|user| (user, true)).collect()
        }
        Section::Friends => {
            let users = rows.users(from, page)?.into_iter();
            users.map(|(user, row)| (user, row.friends > 0)).collect()
        }
        Section::Groups => {
            rows.groups(from, page)?.into_iter().map(|(group, _)| (group, true)).collect()
        }
    };
    let next = next_page(read.len(), read.last().map(|(key, _)| *key), page);
    let keys = read.into_iter().filter(|(_, is_subject)| *is_subject).map(|(key, _)| key);
    Ok(Subjects { keys: keys.collect(), next })
}

/// Returns the start of the page after one with that many rows; `None` if it was the last one.
pub(super) fn next_page(rows: usize, last: Option<u64>, page: usize) -> Option<PageToken> {
    last.filter(|_| rows == page).and_then(|last| last.checked_add(1)).map(PageToken)
}
