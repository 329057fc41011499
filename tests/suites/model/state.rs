//! The model: the facts of an app in plain sets, and the effect of each operation.
//!
//! Written from the pricing rules, sections 2-4, and the API's comments, independently of the
//! store: a count is the size of a set, and CHECK_ONLY is the operation on a copy.

use std::collections::{BTreeMap, BTreeSet};

use imquota::domain::decision::{Mode, Outcome, Reason};

use super::allowed::Allowed;
use super::billing::Billed;
use super::calendar::day_of;
use super::counts::{count, members_of};
use super::entitlement::Purchases;
use super::holds::{Fact, Holds, State};
use super::operation::{Blocked, Fault, Group, How, Max, Op, OpItem, OpResult, User, Who, check};
use super::rules::Rules;

#[derive(Debug, Clone)]
pub struct GroupState {
    pub kind: usize,
    pub max: Max,
    pub members: BTreeSet<User>,
}

/// An app: its purchases and its facts.
#[derive(Debug, Clone, Default)]
pub struct App {
    pub registered: bool,
    /// True if the parts are one store: each operation drops what has expired in all of them.
    pub is_whole: bool,
    pub purchases: Purchases,
    pub accounts: BTreeSet<User>,
    /// The owner of a list and the entry.
    pub friends: BTreeSet<(User, User)>,
    pub groups: BTreeMap<Group, GroupState>,
    /// By day and kind: created groups minus removed groups.
    pub net: BTreeMap<(i64, usize), i64>,
    pub holds: Holds,
    /// The day of the take of each held group.
    pub since: BTreeMap<Group, i64>,
    pub billed: Billed,
    /// The cases that the operations came by.
    pub cases: BTreeMap<String, u64>,
}

/// The limits and the mode of an operation.
#[derive(Clone, Copy)]
pub struct Under<'a> {
    pub rules: &'a Rules,
    pub allowed: Allowed,
    pub mode: Mode,
    /// True if a denial aborts the whole batch.
    pub aborts: bool,
    pub day: i64,
}

impl Under<'_> {
    /// The result of a take that is not held yet; it is written if that is `Applied`.
    fn take(&self, mut blocked: Vec<Blocked>) -> OpItem {
        if self.allowed.stopped() {
            blocked = check(Reason::ServiceStopped, "", Who::App, 0, 0).into_iter().collect();
        }
        blocked.sort();
        match self.mode {
            Mode::Force => OpItem::plain(Outcome::Applied),
            Mode::Shadow => OpItem { outcome: Outcome::Applied, blocked },
            Mode::Enforce | Mode::CheckOnly if blocked.is_empty() => {
                OpItem::plain(Outcome::Applied)
            }
            Mode::Enforce | Mode::CheckOnly => OpItem { outcome: Outcome::Denied, blocked },
        }
    }
}

impl App {
    pub fn hit(&mut self, case: impl Into<String>) {
        *self.cases.entry(case.into()).or_default() += 1;
    }

    /// Drops what has expired, then applies an operation; returns the expected result.
    pub fn apply(&mut self, rules: &Rules, now: i64, how: How, op: &Op) -> Result<OpResult, Fault> {
        for part in op.parts() {
            self.drop_due(rules, now, *part);
        }
        let mode = how.mode;
        if let Some(ask) = how.hold.filter(|_| op.takes() && mode != Mode::CheckOnly) {
            self.holds.begin(now, ask, op)?;
        }
        let allowed = self.purchases.allowed(rules, now);
        let denies = matches!(mode, Mode::Enforce | Mode::CheckOnly);
        let aborts = how.all_or_nothing && denies && op.takes();
        let told = self.decide(Under { rules, allowed, mode, aborts, day: day_of(now) }, op);
        self.holds.end_take();
        told
    }

    fn decide(&mut self, under: Under<'_>, op: &Op) -> Result<OpResult, Fault> {
        if under.mode == Mode::CheckOnly && op.takes() && !under.aborts {
            return self.clone().carry_out(under, op);
        }
        if !under.aborts {
            return self.carry_out(under, op);
        }
        let mut after = self.clone();
        let mut told = after.carry_out(under, op)?;
        if told.whole.iter().chain(&told.items).any(|item| item.outcome == Outcome::Denied) {
            self.abort(under, op, &mut told);
        } else if under.mode != Mode::CheckOnly {
            *self = after;
        }
        Ok(told)
    }

    /// Rewrites the result of a whole batch of which nothing is written: held is only what was held
    /// before.
    fn abort(&self, under: Under<'_>, op: &Op, told: &mut OpResult) {
        let was_held = |user: &User| match op {
            Op::CreateAccounts(_) => self.accounts.contains(user),
            Op::AddFriends { user: me, one_way, .. } => {
                let has = |from: &User, to: &User| self.friends.contains(&(*from, *to));
                has(me, user) && (*one_way || has(user, me))
            }
            Op::CreateGroup { group, .. } | Op::Join { group, .. } => {
                self.groups.get(group).is_some_and(|state| state.members.contains(user))
            }
            _ => false,
        };
        let users = match op {
            Op::CreateAccounts(users) | Op::Join { users, .. } => users,
            Op::AddFriends { friends, .. } => friends,
            Op::CreateGroup { members, .. } => members,
            _ => return,
        };
        for (user, item) in users.iter().zip(&mut told.items) {
            if item.outcome != Outcome::Denied && !was_held(user) {
                item.outcome = Outcome::Aborted;
            }
        }
        let Some(whole) = told.whole.as_mut().filter(|it| it.outcome != Outcome::Denied) else {
            return;
        };
        if let Op::CreateGroup { group, owner, .. } = op {
            let state = self.groups.get(group);
            let is_tracked = state.is_some_and(|state| under.rules.kinds[state.kind].tracked);
            let adds_owner = is_tracked && owner.as_ref().is_some_and(|owner| !was_held(owner));
            if state.is_none() || adds_owner {
                whole.outcome = Outcome::Aborted;
            }
        }
    }

    fn carry_out(&mut self, under: Under<'_>, op: &Op) -> Result<OpResult, Fault> {
        let mut told = OpResult::default();
        match op {
            Op::CreateAccounts(users) => {
                told.items = users.iter().map(|user| self.create_account(under, *user)).collect();
            }
            Op::DeleteAccounts(users) => {
                told.items = users.iter().map(|user| self.delete_account(under, *user)).collect();
            }
            Op::AddFriends { user, friends, one_way } => {
                let add = |friend: &User| self.add_friend(under, *user, *friend, *one_way);
                told.items = friends.iter().map(add).collect();
            }
            Op::RemoveFriends { user, friends, one_way } => {
                let remove = |friend: &User| {
                    let mine = self.remove_friend(*user, *friend);
                    let theirs = !one_way && self.remove_friend(*friend, *user);
                    OpItem::released(mine || theirs)
                };
                told.items = friends.iter().map(remove).collect();
            }
            Op::CreateGroup { group, kind, owner, members, max } => {
                let whole = self.create_group(under, *group, *kind, *owner, *max)?;
                let member = |user: &User| match whole.outcome {
                    Outcome::Denied if !under.aborts => OpItem::plain(Outcome::Denied),
                    _ => self.admit(under, *group, *user, Reason::MembersAtCreation),
                };
                told.items = members.iter().map(member).collect();
                told.whole = Some(whole);
            }
            Op::UpdateGroup { group, max } => {
                told.whole = Some(self.update_group(under, *group, *max)?);
            }
            Op::Join { group, users } => {
                self.groups.get(group).ok_or(Fault::GroupNotFound)?;
                let join = |user: &User| self.admit(under, *group, *user, Reason::MembersPerGroup);
                told.items = users.iter().map(join).collect();
            }
            Op::Leave { group, users } => {
                for user in users {
                    let held = self.remove_member(*group, *user);
                    told.items.push(OpItem::released(held));
                    told.reclaimed |= held && self.reclaim(under.rules, under.day, *group);
                }
                if told.reclaimed {
                    self.hit("reclaimed by leaving");
                }
            }
            Op::Dissolve { group } => {
                told.released = self.groups.get(group).map_or(0, members_of);
                told.whole = Some(OpItem::released(self.drop_group(under.day, *group)));
            }
        }
        Ok(told)
    }

    /// The outcome of a fact that exists and is taken: it joins the hold of the take, or is
    /// permanent from now on.
    fn meet(&mut self, under: Under<'_>, fact: Fact) -> Outcome {
        if !self.holds.is_taking() {
            self.make_permanent(under.day, fact);
            return Outcome::AlreadyHeld;
        }
        let outcome = self.holds.join(fact);
        if outcome == Outcome::AlreadyHeld && self.holds.is_provisional(fact) {
            self.hit("joined");
        }
        self.hold_group_of(fact);
        outcome
    }

    /// A fact is taken that did not exist.
    fn taken(&mut self, under: Under<'_>, fact: Fact) {
        if self.holds.is_taking() {
            self.holds.add(fact);
            self.hold_group_of(fact);
        } else {
            self.make_permanent(under.day, fact);
        }
    }

    /// A held group is held as long as its members are.
    fn hold_group_of(&mut self, fact: Fact) {
        if let Fact::Member(group, _) = fact
            && self.holds.is_provisional(fact)
            && self.holds.is_provisional(Fact::Group(group))
        {
            self.holds.join(Fact::Group(group));
        }
    }

    pub fn create_account(&mut self, under: Under<'_>, user: User) -> OpItem {
        let fact = Fact::Account(user);
        if self.accounts.contains(&user) {
            return OpItem::plain(self.meet(under, fact));
        }
        let (used, limit) = (count(self.accounts.len()), under.allowed.accounts);
        let full = check(Reason::AccountsPerApp, "accounts_per_app", Who::App, used, limit);
        let said = under.take(full.into_iter().collect());
        if said.done() {
            self.accounts.insert(user);
            self.taken(under, fact);
        }
        said
    }

    fn delete_account(&mut self, under: Under<'_>, user: User) -> OpItem {
        let mut held = self.accounts.remove(&user);
        self.holds.settle(Fact::Account(user), State::Ended);
        let friends: Vec<(User, User)> = self.friends.iter().copied().collect();
        for (a, b) in friends.into_iter().filter(|(a, b)| *a == user || *b == user) {
            held |= self.remove_friend(a, b);
        }
        let joined: Vec<Group> = self.groups_of(user).map(|(group, _)| group).collect();
        for group in joined {
            held |= self.remove_member(group, user);
            if self.reclaim(under.rules, under.day, group) {
                self.hit("reclaimed by deletion");
            }
        }
        OpItem::released(held)
    }

    fn remove_friend(&mut self, user: User, friend: User) -> bool {
        self.holds.settle(Fact::Friend(user, friend), State::Ended);
        self.friends.remove(&(user, friend))
    }

    fn remove_member(&mut self, group: Group, user: User) -> bool {
        self.holds.settle(Fact::Member(group, user), State::Ended);
        self.groups.get_mut(&group).is_some_and(|state| state.members.remove(&user))
    }

    fn add_friend(&mut self, under: Under<'_>, user: User, friend: User, one_way: bool) -> OpItem {
        let mut wanted = vec![(user, friend, Reason::MyFriends)];
        if !one_way {
            wanted.push((friend, user, Reason::PeerFriends));
        }
        self.add_sides(under, &wanted)
    }

    /// Adds entries to lists, all or none: the owner of the list, the entry, and the reason of a
    /// denial.
    pub fn add_sides(&mut self, under: Under<'_>, wanted: &[(User, User, Reason)]) -> OpItem {
        let has = |(whose, who, _): &(User, User, Reason)| self.friends.contains(&(*whose, *who));
        let (old, new): (Vec<_>, Vec<_>) = wanted.iter().copied().partition(has);
        let full = |(whose, _, reason): &(User, User, Reason)| {
            let (used, limit) = (self.friend_count(*whose), under.allowed.friends);
            check(*reason, "friends_per_user", Who::User(*whose), used, limit)
        };
        let mut said = OpItem::plain(Outcome::AlreadyHeld);
        if !new.is_empty() {
            said = under.take(new.iter().filter_map(full).collect());
            if !said.done() {
                return said;
            }
        }
        for (whose, who, _) in new {
            self.friends.insert((whose, who));
            self.taken(under, Fact::Friend(whose, who));
        }
        for (whose, who, _) in old {
            let outcome = self.meet(under, Fact::Friend(whose, who));
            if outcome == Outcome::Repeated && !said.done() {
                said.outcome = outcome;
            }
        }
        said
    }

    /// The result of the group itself; the owner is a member if that is `Applied`.
    pub fn create_group(
        &mut self,
        under: Under<'_>,
        group: Group,
        kind: usize,
        owner: Option<User>,
        max: Max,
    ) -> Result<OpItem, Fault> {
        if let Some(existing) = self.groups.get(&group) {
            if existing.kind != kind {
                return Err(Fault::GroupTypeDiffers);
            }
            let joined = match owner.filter(|_| under.rules.kinds[kind].tracked) {
                Some(owner) => self.admit(under, group, owner, Reason::MembersAtCreation),
                None => OpItem::plain(Outcome::AlreadyHeld),
            };
            return Ok(match joined.outcome {
                Outcome::Denied => joined,
                _ => OpItem { outcome: self.meet(under, Fact::Group(group)), ..joined },
            });
        }
        let rule = &under.rules.kinds[kind];
        let owner = owner.filter(|_| rule.tracked);
        let mut blocked = self.app_is_full(under, kind);
        blocked.extend(owner.and_then(|owner| self.user_is_full(under, kind, owner)));
        let said = under.take(blocked);
        // The members of a whole batch are judged also if the group is denied.
        if said.done() || under.aborts {
            let members = owner.into_iter().filter(|_| said.done()).collect();
            self.groups.insert(group, GroupState { kind, max, members });
            *self.net.entry((under.day, kind)).or_default() += 1;
            // It is held until it is found to be permanent.
            self.since.insert(group, under.day);
        }
        if said.done() {
            self.taken(under, Fact::Group(group));
            owner.inspect(|owner| self.taken(under, Fact::Member(group, *owner)));
        }
        Ok(said)
    }

    /// The limits of the app that one more group violates.
    fn app_is_full(&self, under: Under<'_>, kind: usize) -> Vec<Blocked> {
        let rules = under.rules;
        let name = rules.kinds[kind].name;
        let at_once = under.allowed.groups_of_kind(rules, kind);
        let today = u64::try_from(self.net_of_day(under.day)).unwrap_or(0);
        let of_kind = u64::try_from(self.net_of_kind(under.day, kind)).unwrap_or(0);
        let check = |reason, id: String, used, limit| check(reason, &id, Who::App, used, limit);
        let checks = [
            check(
                Reason::GroupsPerApp,
                format!("groups_per_app/{name}"),
                self.groups_of_kind(kind),
                at_once,
            ),
            check(
                Reason::GroupsPerDay,
                "groups_per_day".into(),
                today,
                under.allowed.groups_per_day(rules),
            ),
            check(
                Reason::GroupsPerDay,
                format!("groups_per_day/{name}"),
                of_kind,
                under.allowed.groups_of_kind_per_day(rules, kind),
            ),
            check(
                Reason::GroupsAllowance,
                "groups_per_app".into(),
                count(self.groups.len()),
                under.allowed.all_groups,
            ),
            check(
                Reason::Limit,
                "groups_per_app".into(),
                count(self.groups.len()),
                under.allowed.qualified.all_groups,
            ),
        ];
        checks.into_iter().flatten().collect()
    }

    fn user_is_full(&self, under: Under<'_>, kind: usize, user: User) -> Option<Blocked> {
        if !under.rules.kinds[kind].ordinary {
            return None;
        }
        let (used, limit) = (self.paid_groups_of(under.rules, user), under.allowed.groups);
        check(Reason::GroupsPerUser, "groups_per_user", Who::User(user), used, limit)
    }

    /// Adds one user to an existing group.
    pub fn admit(&mut self, under: Under<'_>, group: Group, user: User, reason: Reason) -> OpItem {
        let state = &self.groups[&group];
        if !under.rules.kinds[state.kind].tracked {
            return under.take(Vec::new());
        }
        let fact = Fact::Member(group, user);
        if state.members.contains(&user) {
            return OpItem::plain(self.meet(under, fact));
        }
        let cap = under.allowed.member_cap(under.rules, state.kind, state.max);
        let (who, used) = (Who::Group(group), members_of(state));
        let group_is_full = check(reason, "members_per_group", who, used, cap);
        let blocked = self.user_is_full(under, state.kind, user).into_iter().chain(group_is_full);
        let said = under.take(blocked.collect());
        if said.done() {
            self.groups.get_mut(&group).expect("it exists").members.insert(user);
            self.taken(under, fact);
        }
        said
    }

    fn update_group(&mut self, under: Under<'_>, group: Group, max: Max) -> Result<OpItem, Fault> {
        let state = self.groups.get_mut(&group).ok_or(Fault::GroupNotFound)?;
        if max.is_some() && !under.rules.kinds[state.kind].tracked {
            return Err(Fault::MembersNotTracked);
        }
        let changed = state.max != max;
        state.max = max;
        Ok(OpItem::plain(if changed { Outcome::Applied } else { Outcome::AlreadyHeld }))
    }

    /// Reclaims the group if it has become empty and its type requires that.
    pub fn reclaim(&mut self, rules: &Rules, day: i64, group: Group) -> bool {
        let state = &self.groups[&group];
        let reclaim = state.members.is_empty() && rules.kinds[state.kind].ordinary;
        reclaim && self.drop_group(day, group)
    }

    /// Removes a group. One that is held was created on the day of its take, and never billed.
    pub fn drop_group(&mut self, day: i64, group: Group) -> bool {
        let Some(state) = self.groups.remove(&group) else { return false };
        for user in &state.members {
            self.holds.settle(Fact::Member(group, *user), State::Ended);
        }
        self.holds.settle(Fact::Group(group), State::Ended);
        let since = self.since.remove(&group);
        *self.net.entry((since.unwrap_or(day), state.kind)).or_default() -= 1;
        if since.is_none() {
            self.billed.change(day, -1);
        }
        true
    }
}
