//! The model's counts: the sizes of its sets.

use std::collections::BTreeMap;

use super::holds::Fact;
use super::operation::{Group, User, Who};
use super::rules::{FREE, Rules};
use super::state::{App, GroupState};

/// Held counts by name, without those that are 0.
pub type Held = BTreeMap<String, u64>;

impl App {
    pub fn friend_count(&self, user: User) -> u64 {
        count(self.friends.range((user, 0)..(user + 1, 0)).count())
    }

    pub fn groups_of(&self, user: User) -> impl Iterator<Item = (Group, &GroupState)> {
        let groups = self.groups.iter().map(|(group, state)| (*group, state));
        groups.filter(move |(_, state)| state.members.contains(&user))
    }

    /// Groups that count towards the user's limit.
    pub fn paid_groups_of(&self, rules: &Rules, user: User) -> u64 {
        count(self.groups_of(user).filter(|(_, state)| rules.kinds[state.kind].ordinary).count())
    }

    pub fn groups_of_kind(&self, kind: usize) -> u64 {
        count(self.groups.values().filter(|state| state.kind == kind).count())
    }

    pub fn net_of_kind(&self, day: i64, kind: usize) -> i64 {
        self.net.get(&(day, kind)).copied().unwrap_or(0)
    }

    pub fn net_of_day(&self, day: i64) -> i64 {
        self.net.range((day, 0)..(day + 1, 0)).map(|(_, net)| net).sum()
    }

    /// Those of the counts of a subject that end unless they are confirmed; none of them has
    /// expired.
    pub fn held(&self, rules: &Rules, day: i64, who: Who) -> Held {
        let number = |is_it: &dyn Fn(Fact) -> bool| {
            count(self.holds.provisional().filter(|fact| is_it(*fact)).count())
        };
        let is_ordinary = |group: Group| rules.kinds[self.groups[&group].kind].ordinary;
        let mut held = Held::new();
        match who {
            Who::App => {
                held.insert("accounts".into(), number(&|it| matches!(it, Fact::Account(_))));
                for (kind, rule) in rules.kinds.iter().enumerate() {
                    let of_kind = self.since.iter().filter(|(it, _)| self.groups[it].kind == kind);
                    let days: Vec<i64> = of_kind.map(|(_, since)| *since).collect();
                    let today = days.iter().filter(|since| **since == day).count();
                    held.insert(format!("groups of {}", rule.name), count(days.len()));
                    held.insert(format!("groups of {} today", rule.name), count(today));
                }
                let today = self.since.values().filter(|since| **since == day).count();
                held.insert("groups today".into(), count(today));
            }
            Who::User(user) => {
                held.insert(
                    "friends".into(),
                    number(&|it| matches!(it, Fact::Friend(a, _) if a == user)),
                );
                let is_theirs =
                    |it| matches!(it, Fact::Member(group, of) if of == user && is_ordinary(group));
                held.insert("groups".into(), number(&is_theirs));
            }
            Who::Group(group) => {
                held.insert(
                    "members".into(),
                    number(&|it| matches!(it, Fact::Member(of, _) if of == group)),
                );
            }
        }
        held.retain(|_, number| *number > 0);
        held
    }
}

pub fn members_of(state: &GroupState) -> u64 {
    count(state.members.len())
}

pub fn count(length: usize) -> u64 {
    let length = u64::try_from(length).expect("fits");
    assert!(length < FREE);
    length
}
