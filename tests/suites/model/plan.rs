//! Random operations: kinds, subjects, and the course of the clock.
//!
//! Every app has a phase that changes occasionally: it grows, shrinks or does both, so that limits
//! are reached and sets become empty. A few users are chosen more often than the others.

use imquota::domain::decision::Mode;

use super::calendar::DAY_MILLIS;
use super::entitlement::{Order, State};
use super::state::{App, Group, Op, User};
use crate::support::Rng;

/// The number of ids of each kind.
#[derive(Debug, Clone, Copy)]
pub struct Universe {
    pub apps: usize,
    pub users: usize,
    /// Users that get every second choice.
    pub busy_users: usize,
    pub groups: usize,
    /// The group types in use are the first ones.
    pub kinds: usize,
    pub batch_max: usize,
    /// The first apps never buy anything.
    pub apps_on_trial: usize,
    /// The number of clock moves in a thousand rounds.
    pub moves: usize,
    /// The percentage of releases that delete accounts.
    pub deletions: usize,
    /// The percentage of takes in each phase.
    pub moods: &'static [usize],
}

pub fn mode(rng: &mut Rng) -> Mode {
    match rng.below(100) {
        0..8 => Mode::CheckOnly,
        8..12 => Mode::Shadow,
        12..14 => Mode::Force,
        _ => Mode::Enforce,
    }
}

/// Whether a take is a whole batch.
pub fn all_or_nothing(rng: &mut Rng) -> bool {
    rng.percent(12)
}

pub fn operation(rng: &mut Rng, universe: Universe, mood: usize, app: &App) -> Op {
    let mut plan = Plan { rng, universe, app };
    if plan.rng.percent(mood) { plan.take() } else { plan.release() }
}

struct Plan<'a> {
    rng: &'a mut Rng,
    universe: Universe,
    app: &'a App,
}

impl Plan<'_> {
    fn take(&mut self) -> Op {
        match self.rng.below(100) {
            0..15 => Op::CreateAccounts(self.users()),
            15..40 => {
                let (user, friends) = self.user_and_friends();
                Op::AddFriends { user, friends, one_way: self.rng.percent(30) }
            }
            40..60 => self.create_group(),
            60..64 => Op::UpdateGroup { group: self.group(), max: self.max() },
            _ => Op::Join { group: self.group(), users: self.users() },
        }
    }

    fn release(&mut self) -> Op {
        if self.rng.percent(self.universe.deletions) {
            return Op::DeleteAccounts(self.users());
        }
        match self.rng.below(100) {
            0..45 => {
                let (user, friends) = self.user_and_friends();
                Op::RemoveFriends { user, friends, one_way: self.rng.percent(30) }
            }
            45..60 => Op::Dissolve { group: self.group() },
            60..70 => self.all_members_leave(),
            _ => Op::Leave { group: self.group(), users: self.users() },
        }
    }

    fn create_group(&mut self) -> Op {
        let group = self.group_or_any(15);
        let existing = self.app.groups.get(&group).map(|state| state.kind);
        let kind = match existing {
            Some(kind) if self.rng.percent(80) => kind,
            _ => (*self.rng.pick(&[0, 0, 1, 1, 2, 2, 3, 4, 4, 5])).min(self.universe.kinds - 1),
        };
        let owner = self.rng.percent(70).then(|| self.user());
        let members = if self.rng.percent(50) { self.users() } else { Vec::new() };
        // An own limit is refused beforehand if members are not tracked.
        let max = if kind == 3 || kind == 4 { None } else { self.max() };
        Op::CreateGroup { group, kind, owner, members, max }
    }

    fn all_members_leave(&mut self) -> Op {
        let group = self.group();
        let mut users: Vec<User> = self
            .app
            .groups
            .get(&group)
            .map_or(Vec::new(), |state| state.members.iter().copied().collect());
        users.push(self.user());
        let turn = self.rng.below(users.len());
        users.rotate_left(turn);
        Op::Leave { group, users }
    }

    fn user(&mut self) -> User {
        let busy = self.rng.percent(50);
        self.rng.below(if busy { self.universe.busy_users } else { self.universe.users })
    }

    /// One or several users, sometimes with a duplicate.
    fn users(&mut self) -> Vec<User> {
        let most = if self.rng.percent(60) { 2 } else { self.universe.batch_max };
        (0..=self.rng.below(most)).map(|_| self.user()).collect()
    }

    fn user_and_friends(&mut self) -> (User, Vec<User>) {
        let user = self.user();
        let mut friends = self.users();
        for friend in &mut friends {
            if *friend == user {
                *friend = (user + 1) % self.universe.users;
            }
        }
        (user, friends)
    }

    fn group(&mut self) -> Group {
        self.group_or_any(90)
    }

    /// An existing group with that probability in percent, otherwise any id.
    fn group_or_any(&mut self, percent: usize) -> Group {
        let existing: Vec<Group> = self.app.groups.keys().copied().collect();
        if !existing.is_empty() && self.rng.percent(percent) {
            *self.rng.pick(&existing)
        } else {
            self.rng.below(self.universe.groups)
        }
    }

    fn max(&mut self) -> Option<u32> {
        self.rng.percent(25).then(|| u32::try_from(1 + self.rng.below(8)).expect("small"))
    }
}

/// The next change of an app's purchases, if one is due.
pub fn order(rng: &mut Rng, app: &App, now: i64) -> Option<(Order, u32)> {
    let months = u32::try_from(*rng.pick(&[1, 1, 1, 2, 3])).expect("small");
    let (edition, state) = app.purchases.edition_at(now);
    let of_thousand = rng.below(1000);
    let order = match (edition, state) {
        (_, State::Stopped) if of_thousand < 6 => Order::Edition,
        (_, State::Stopped) if of_thousand < 12 => Order::Renewal,
        (0, _) if of_thousand < 6 => Order::Edition,
        (_, State::Grace) if of_thousand < 20 => Order::Renewal,
        (_, State::Grace) if of_thousand < 45 => Order::AddOn(rng.below(6)),
        (1, State::Active) if of_thousand < 2 => Order::Renewal,
        (1, _) if of_thousand < 12 => Order::AddOn(rng.below(6)),
        // A random order; most are refused.
        _ if of_thousand > 995 => match rng.below(3) {
            0 => Order::Edition,
            1 => Order::Renewal,
            _ => Order::AddOn(rng.below(6)),
        },
        _ => return None,
    };
    Some((order, months))
}

/// The number of the purchase to refund next, if any.
pub fn refund(rng: &mut Rng, app: &App) -> Option<usize> {
    let count = app.purchases.count();
    let due = count > 0 && rng.below(1000) < 6;
    // Mostly one of the last, which are not used up.
    due.then(|| count - 1 - rng.below(count.min(4)))
}

/// The next instant of the clock: mostly a little later, sometimes by weeks, and often right before
/// or at an instant at which some app's limits or the day change.
pub fn later(rng: &mut Rng, apps: &[App], now: i64) -> i64 {
    let minute = 60_000;
    match rng.below(100) {
        0..35 => now + rng.between(1, 90 * minute),
        35..50 => now + rng.between(1, 3 * DAY_MILLIS),
        50..56 => now + rng.between(1, 21 * DAY_MILLIS),
        56..66 => {
            let midnight = super::calendar::start_of(super::calendar::day_of(now) + 1);
            (midnight - rng.between(0, 1)).max(now)
        }
        _ => {
            let due = rng.pick(apps).purchases.boundaries(now);
            due.first().map_or(now + minute, |due| (due - rng.between(0, 1)).max(now))
        }
    }
}
