//! Random operations: kinds, subjects, and the course of the clock.
//!
//! Every app has a phase that changes occasionally: it grows, shrinks or does both, so that limits
//! are reached and sets become empty. A few users are chosen more often than the others.

use imquota::domain::decision::Mode;

use super::agreed::{Agreeable, Agreed};
use super::calendar::DAY_MILLIS;
use super::endings::End;
use super::entitlement::{Order, State, Swap};
use super::holds::{Ask, Kind, PARTS};
use super::operation::{Group, How, Op, User};
use super::rules::{AV_ROOM, FREE, Rules};
use super::state::App;
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
    /// The number of clock moves by seconds in a thousand rounds.
    pub small_moves: usize,
    /// The percentage of takes with a hold, of the apps in turn. A third of it is that of ends of
    /// holds.
    pub holds: &'static [usize],
}

fn mode(rng: &mut Rng) -> Mode {
    match rng.below(100) {
        0..8 => Mode::CheckOnly,
        8..12 => Mode::Shadow,
        12..14 => Mode::Force,
        _ => Mode::Enforce,
    }
}

/// Whether a take is a whole batch.
fn all_or_nothing(rng: &mut Rng) -> bool {
    rng.percent(12)
}

/// A step of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    Operation(How, Op),
    End(End),
    Sweep,
}

/// The ids of holds.
const IDS: usize = 40;

/// The next step of an app.
pub fn act(
    rng: &mut Rng,
    universe: Universe,
    (mood, holds): (usize, usize),
    app: &App,
    now: i64,
) -> Act {
    match rng.below(300) {
        0..5 => Act::Sweep,
        draw if draw < holds => Act::End(end(rng, app, now)),
        _ => {
            let (mode, all_or_nothing) = (mode(rng), all_or_nothing(rng));
            let op = operation(rng, universe, mood, app);
            let (hold, op) = match Kind::of(&op) {
                Some(kind) if rng.percent(holds) => hold(rng, app, (kind, op)),
                _ => (None, op),
            };
            Act::Operation(How { mode, all_or_nothing, hold }, op)
        }
    }
}

/// The hold of a take: often a repetition of an earlier one.
fn hold(rng: &mut Rng, app: &App, (kind, op): (Kind, Op)) -> (Option<Ask>, Op) {
    let seconds = *rng.pick(&[1, 2, 5, 5, 20, 20, 60, 300, 3600]);
    let records = app.holds.records.iter();
    let same: Vec<_> = records.filter(|((of, _), _)| *of == kind).collect();
    if !same.is_empty() && rng.percent(25) {
        let ((_, id), record) = *rng.pick(&same);
        // Mostly the same operation, sometimes another one with its id.
        let op = if rng.percent(75) { record.op.clone() } else { op };
        return (Some(Ask { id: *id, seconds }), op);
    }
    (Some(Ask { id: rng.below(IDS), seconds }), op)
}

/// The end of a hold: mostly of one that there is.
fn end(rng: &mut Rng, app: &App, now: i64) -> End {
    let keys: Vec<_> = app.holds.records.keys().copied().collect();
    let (part, id) = if !keys.is_empty() && rng.percent(90) {
        let (kind, id) = *rng.pick(&keys);
        (kind.part(), id)
    } else {
        (*rng.pick(&PARTS), rng.below(IDS))
    };
    let confirms = rng.percent(60);
    let as_of = (confirms && rng.percent(20)).then(|| now - rng.between(1, 30_000));
    let is_forced = as_of.is_some() || rng.percent(25);
    let mode = if is_forced { Mode::Force } else { Mode::Enforce };
    End { part, id, confirms, as_of, mode }
}

fn operation(rng: &mut Rng, universe: Universe, mood: usize, app: &App) -> Op {
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

/// A small step of the clock: some seconds, often right to the end of some hold.
pub fn soon(rng: &mut Rng, apps: &[App], now: i64) -> i64 {
    if rng.percent(40) {
        return now + rng.between(1, 4_000);
    }
    let records = apps.iter().flat_map(|app| app.holds.records.values());
    let expiries = records.map(|record| record.expiry).filter(|expiry| *expiry > now);
    match expiries.min() {
        Some(first) => (first - rng.between(0, 1)).max(now),
        None => now + 1_000,
    }
}

/// The next change of an app's purchases, if one is due. There are `editions`, the default one
/// included.
pub fn order(rng: &mut Rng, app: &App, editions: usize, now: i64) -> Option<(Order, u32)> {
    let months = u32::try_from(*rng.pick(&[1, 1, 1, 2, 3])).expect("small");
    let (edition, state) = app.purchases.edition_at(now);
    let of_thousand = rng.below(1000);
    // Mostly the first of the editions for sale.
    let bought = |rng: &mut Rng| {
        Order::Edition(if rng.percent(60) { 1 } else { 1 + rng.below(editions - 1) })
    };
    let order = match (edition, state) {
        (_, State::Stopped) if of_thousand < 6 => bought(rng),
        (_, State::Stopped) if of_thousand < 12 => Order::Renewal,
        (0, _) if of_thousand < 6 => bought(rng),
        (_, State::Grace) if of_thousand < 20 => Order::Renewal,
        (_, State::Grace) if of_thousand < 45 => Order::AddOn(rng.below(6)),
        (1.., State::Active) if of_thousand < 2 => Order::Renewal,
        (1.., _) if of_thousand < 12 => Order::AddOn(rng.below(6)),
        // A random order; most are refused.
        _ if of_thousand > 995 => match rng.below(3) {
            0 => bought(rng),
            1 => Order::Renewal,
            _ => Order::AddOn(rng.below(6)),
        },
        _ => return None,
    };
    Some((order, months))
}

/// The next exchange of an app, if one is due, and its months.
pub fn exchange(rng: &mut Rng, app: &App, editions: usize, now: i64) -> Option<(Swap, u32)> {
    let (_, state) = app.purchases.edition_at(now);
    // More often in grace, which is short.
    let due = if state == State::Grace { 20 } else { 6 };
    if rng.below(1000) >= due || (!app.purchases.in_force(now) && rng.percent(90)) {
        return None;
    }
    let months = u32::try_from(*rng.pick(&[1, 1, 2, 3])).expect("small");
    let running = app.purchases.add_ons_in_force(now);
    let swap = if rng.percent(50) {
        Swap::Edition(1 + rng.below(editions - 1))
    } else {
        let replaced = if running.is_empty() { rng.below(6) } else { *rng.pick(&running) };
        Swap::AddOn(replaced, rng.below(6))
    };
    Some((swap, months))
}

/// The next limit to agree for an app, if one is due, and its months. Only with small limits: the
/// numbers are small.
pub fn agreed(rng: &mut Rng, rules: &Rules) -> Option<(Agreed, u32)> {
    if rng.below(1000) >= 3 || rules.editions[0].accounts > 20 {
        return None;
    }
    let kind = rng.below(rules.kinds.len());
    let limits = [
        Agreeable::Accounts,
        Agreeable::Friends,
        Agreeable::Groups,
        Agreeable::Members,
        // Members of the other types are not tracked.
        Agreeable::MembersOf(rng.below(AV_ROOM)),
        Agreeable::AvRooms,
        Agreeable::AllGroups,
        Agreeable::PerDay,
        Agreeable::PerDayOf(kind),
    ];
    let limit = *rng.pick(&limits);
    // Enough groups that users still come by their own limits.
    let (least, most) = match limit {
        Agreeable::AllGroups | Agreeable::PerDay | Agreeable::PerDayOf(_) => (4, 16),
        Agreeable::Groups => (1, 5),
        _ => (1, 12),
    };
    let number = if rng.percent(10) { FREE } else { rng.between(least, most).unsigned_abs() };
    let agreed = Agreed { limit, number, fen: rng.between(0, 100_000) };
    Some((agreed, u32::try_from(rng.between(1, 3)).expect("small")))
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
