//! The model's ends of holds: by expiry, by a sweep, by a confirmation and by a release.

use std::borrow::Cow;
use std::collections::BTreeSet;

use imquota::domain::decision::{Mode, Outcome, Reason};

use super::calendar::day_of;
use super::holds::{Fact, KEPT_MILLIS, Key, Kind, PARTS, Part, Record, State, facts};
use super::operation::{Blocked, Group, Op, OpItem};
use super::rules::Rules;
use super::state::{App, Under};

/// A confirmation or a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    pub part: Part,
    pub id: usize,
    pub confirms: bool,
    /// The instant of a confirmation that is carried out later.
    pub as_of: Option<i64>,
    pub mode: Mode,
}

/// The outcomes, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    EndedOtherwise,
    Confirmed,
    Retaken,
    Released,
    Denied,
}

/// The result of one subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldItem {
    pub fate: Fate,
    pub blocked: Vec<Blocked>,
}

/// The result of one hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub kind: Kind,
    pub expired_at: Option<i64>,
    pub whole: Option<HoldItem>,
    pub items: Vec<Option<HoldItem>>,
}

/// The results of facts that are permanent, and of those that were released.
#[derive(Debug, Clone, Copy)]
struct Fates {
    permanent: Fate,
    released: Fate,
}

const CONFIRMATION: Fates = Fates { permanent: Fate::Confirmed, released: Fate::EndedOtherwise };

/// The results of the facts that were taken anew or denied, by their index.
type Retaken = Vec<(usize, HoldItem)>;

impl App {
    /// The facts that have not expired: what a reading sees, which writes nothing.
    pub fn visible(&self, rules: &Rules, now: i64) -> Cow<'_, Self> {
        if PARTS.iter().all(|part| self.holds.due(now, *part).is_empty()) {
            return Cow::Borrowed(self);
        }
        let mut view = self.clone();
        for part in PARTS {
            view.drop_due(rules, now, part);
        }
        Cow::Owned(view)
    }

    /// Drops what has expired in a part, as each operation does first.
    pub fn drop_due(&mut self, rules: &Rules, now: i64, part: Part) {
        let parts = if self.is_whole { &PARTS[..] } else { &[part] };
        let emptied: BTreeSet<Group> =
            parts.iter().flat_map(|part| self.drop_facts(now, *part)).collect();
        for group in emptied {
            if self.reclaim(rules, day_of(now), group) {
                self.hit("reclaimed by expiry");
            }
        }
    }

    /// Drops facts that have expired; returns the groups that have lost a member.
    fn drop_facts(&mut self, now: i64, part: Part) -> BTreeSet<Group> {
        let due = self.holds.due(now, part);
        for fact in &due {
            self.holds.expire(*fact);
        }
        self.remove(day_of(now), &due, "expired")
    }

    /// Removes facts, members before groups; returns the groups that remain and have lost a member.
    fn remove(&mut self, day: i64, facts: &[Fact], why: &str) -> BTreeSet<Group> {
        let mut left = BTreeSet::new();
        let mut facts = facts.to_vec();
        facts.sort();
        for fact in facts {
            match fact {
                Fact::Account(user) => {
                    self.accounts.remove(&user);
                    self.hit(format!("account {why}"));
                }
                Fact::Friend(user, friend) => {
                    self.friends.remove(&(user, friend));
                    self.hit(format!("friend {why}"));
                }
                Fact::Member(group, user) => {
                    self.groups.get_mut(&group).expect("its group").members.remove(&user);
                    left.insert(group);
                    self.hit(format!("member {why}"));
                }
                Fact::Group(group) => {
                    assert!(self.groups[&group].members.is_empty(), "a group outlives its members");
                    self.drop_group(day, group);
                    left.remove(&group);
                    self.hit(format!("group {why}"));
                }
            }
        }
        left
    }

    /// Makes a fact permanent in all of its holds; with a member also the group.
    pub fn make_permanent(&mut self, day: i64, fact: Fact) {
        let is_settled = self.holds.settle(fact, State::Permanent);
        let was_group = is_settled && matches!(fact, Fact::Group(_));
        let (Fact::Member(group, _) | Fact::Group(group)) = fact else { return };
        if self.since.remove(&group).is_some() {
            self.billed.change(day, 1);
        }
        if self.holds.settle(Fact::Group(group), State::Permanent) || was_group {
            self.hit("group confirmed");
        }
    }

    pub fn sweep(&mut self, rules: &Rules, now: i64) {
        for part in PARTS {
            self.drop_due(rules, now, part);
        }
        self.holds.forget(now);
    }

    /// Ends the holds of an id in a part.
    pub fn end(&mut self, rules: &Rules, now: i64, end: End) -> Vec<Ended> {
        let kinds = Kind::in_part(end.part).iter();
        let keys: Vec<Key> = kinds.map(|kind| (*kind, end.id)).collect();
        let ended = keys.into_iter().filter_map(|key| {
            let record = self.holds.records.get(&key)?.clone();
            let ended = if end.confirms {
                self.confirm(rules, now, end, (key, &record))
            } else {
                self.release(rules, now, (key, &record))
            };
            let record = self.holds.records.get_mut(&key).expect("it is kept");
            record.kept_until = now + KEPT_MILLIS;
            Some(ended)
        });
        ended.collect()
    }

    fn confirm(
        &mut self,
        rules: &Rules,
        now: i64,
        end: End,
        (key, record): (Key, &Record),
    ) -> Ended {
        let day = day_of(now);
        let in_time = end.as_of.is_some_and(|at| at < record.expiry);
        if !in_time {
            self.drop_due(rules, now, end.part);
        }
        if in_time || record.expiry > now {
            for (_, fact) in record.held() {
                if self.holds.has(key, fact) {
                    self.make_permanent(day, fact);
                }
            }
        }
        if in_time {
            self.drop_due(rules, now, end.part);
        }
        let rest = self.holds.records[&key].clone();
        if rest.held().is_empty() {
            return self.ended(key, None, CONFIRMATION, &Vec::new());
        }
        let mode = if in_time { Mode::Force } else { end.mode };
        let allowed = self.purchases.allowed(rules, now);
        let under = Under { rules, allowed, mode, aborts: false, day };
        let retaken = self.retake(under, &rest);
        for (index, item) in &retaken {
            match item.fate {
                Fate::Retaken => self.holds.set(key, *index, State::Permanent),
                Fate::EndedOtherwise => self.holds.set(key, *index, State::Ended),
                _ => {}
            }
        }
        self.ended(key, Some(record.expiry), CONFIRMATION, &retaken)
    }

    /// Takes what was held anew, permanently.
    fn retake(&mut self, under: Under<'_>, record: &Record) -> Retaken {
        let held = record.held();
        let is_held = |index: usize| held.iter().any(|(it, _)| *it == index);
        let mut retaken = Retaken::new();
        match &record.op {
            Op::CreateAccounts(users) => {
                for (index, user) in users.iter().enumerate().filter(|(it, _)| is_held(*it)) {
                    retaken.push((index, anew(&self.create_account(under, *user))));
                }
            }
            Op::AddFriends { user, friends, .. } => {
                for (number, friend) in friends.iter().enumerate() {
                    let sides = [
                        (*user, *friend, Reason::MyFriends),
                        (*friend, *user, Reason::PeerFriends),
                    ];
                    let indexes = [2 * number, 2 * number + 1];
                    let wanted = indexes.into_iter().zip(sides).filter(|(it, _)| is_held(*it));
                    let (indexes, wanted): (Vec<usize>, Vec<_>) = wanted.unzip();
                    if !wanted.is_empty() {
                        let item = anew(&self.add_sides(under, &wanted));
                        retaken.extend(indexes.into_iter().map(|index| (index, item.clone())));
                    }
                }
            }
            Op::CreateGroup { .. } | Op::Join { .. } => return self.retake_group(under, record),
            _ => unreachable!("a take"),
        }
        retaken
    }

    fn retake_group(&mut self, under: Under<'_>, record: &Record) -> Retaken {
        let held = record.held();
        let (group, created) = match &record.op {
            Op::CreateGroup { group, kind, owner, max, .. } => {
                (*group, Some((*kind, *owner, *max)))
            }
            Op::Join { group, .. } => (*group, None),
            _ => unreachable!("a take of members"),
        };
        let takes_group = created.is_some() && record.states[0] == State::Held;
        let existing = self.groups.get(&group).map(|state| state.kind);
        let is_over = matches!(record.states[0], State::Ended | State::Released)
            || (existing.is_none() && !takes_group)
            || existing.zip(created).is_some_and(|(is, (kind, ..))| is != kind);
        if is_over {
            let over = |(index, _)| (index, HoldItem::plain(Fate::EndedOtherwise));
            return held.into_iter().map(over).collect();
        }
        let mut retaken = Retaken::new();
        let (mut members, mut is_denied) = (held.clone(), false);
        if let Some((kind, owner, max)) = created {
            let owner = owner.filter(|_| record.states[1] == State::Held);
            let of_whole = |index: &usize| *index == 0 || (*index == 1 && owner.is_some());
            members.retain(|(index, _)| !of_whole(index));
            if takes_group || owner.is_some() {
                let whole = if takes_group {
                    self.create_group(under, group, kind, owner, max).expect("of the same kind")
                } else {
                    let owner = owner.expect("held");
                    self.admit(under, group, owner, Reason::MembersAtCreation)
                };
                is_denied = whole.outcome == Outcome::Denied;
                let whole_held = held.iter().filter(|(index, _)| of_whole(index));
                retaken.extend(whole_held.map(|(index, _)| (*index, anew(&whole))));
            }
        }
        let reason = match created {
            Some(_) => Reason::MembersAtCreation,
            None => Reason::MembersPerGroup,
        };
        for (index, fact) in members {
            let Fact::Member(_, user) = fact else { unreachable!("a member") };
            let item = if is_denied {
                HoldItem::plain(Fate::Denied)
            } else {
                anew(&self.admit(under, group, user, reason))
            };
            retaken.push((index, item));
        }
        retaken
    }

    fn release(&mut self, rules: &Rules, now: i64, (key, record): (Key, &Record)) -> Ended {
        let day = day_of(now);
        self.drop_due(rules, now, key.0.part());
        let was_held = !record.held().is_empty();
        let expired_at = (was_held && record.expiry <= now).then_some(record.expiry);
        let mut gone = Vec::new();
        for (index, (fact, _)) in facts(&record.op).into_iter().enumerate() {
            if self.holds.records[&key].states[index] == State::Held {
                self.holds.set(key, index, State::Released);
                if self.holds.detach(fact, key, now) {
                    gone.push(fact);
                }
            }
        }
        for group in self.remove(day, &gone, "released") {
            if self.reclaim(rules, day, group) {
                self.hit("reclaimed by a release");
            }
        }
        let fates = Fates { permanent: Fate::EndedOtherwise, released: Fate::Released };
        self.ended(key, expired_at, fates, &Vec::new())
    }

    /// The results, by the states of the record and by what was taken anew.
    fn ended(&self, key: Key, expired_at: Option<i64>, fates: Fates, retaken: &Retaken) -> Ended {
        let record = &self.holds.records[&key];
        let items = match &record.op {
            Op::CreateAccounts(users) | Op::Join { users, .. } => users.len(),
            Op::AddFriends { friends, .. } => friends.len(),
            Op::CreateGroup { members, .. } => members.len(),
            _ => unreachable!("a take"),
        };
        let mut ended = Ended { kind: key.0, expired_at, whole: None, items: vec![None; items] };
        let named = facts(&record.op).into_iter().enumerate().skip(record.first_named());
        for (index, (_, item)) in named {
            let anew = retaken.iter().find(|(it, _)| *it == index);
            let fate = match record.states[index] {
                State::Absent => continue,
                // The owner of a group is denied, so nothing was taken.
                State::Held => Fate::Denied,
                State::Permanent => fates.permanent,
                State::Ended => Fate::EndedOtherwise,
                State::Released => fates.released,
            };
            let result = anew.map_or_else(|| HoldItem::plain(fate), |(_, item)| item.clone());
            let place = item.map_or(&mut ended.whole, |item| &mut ended.items[item]);
            let rank = |item: &HoldItem| (item.fate, item.blocked.len());
            if place.as_ref().is_none_or(|before| rank(before) < rank(&result)) {
                *place = Some(result);
            }
        }
        ended
    }
}

impl HoldItem {
    fn plain(fate: Fate) -> Self {
        Self { fate, blocked: Vec::new() }
    }
}

/// The result of a fact that is taken anew.
fn anew(item: &OpItem) -> HoldItem {
    match item.outcome {
        Outcome::Denied => HoldItem { fate: Fate::Denied, blocked: item.blocked.clone() },
        _ => HoldItem::plain(Fate::Retaken),
    }
}
