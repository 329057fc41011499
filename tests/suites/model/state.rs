//! The model: the facts of an app in plain sets, and the effect of each operation.
//!
//! Written from the pricing rules, sections 2-4, and the API's comments, independently of the
//! store: a count is the size of a set, and CHECK_ONLY is the operation on a copy.

use std::collections::{BTreeMap, BTreeSet};

use imquota::domain::decision::{Mode, Outcome, Reason};

use super::calendar::day_of;
use super::entitlement::{Allowed, Purchases};
use super::rules::{FREE, Rules, im_code};

pub type User = usize;
pub type Group = usize;

/// An operation, with the model's numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    CreateAccounts(Vec<User>),
    DeleteAccounts(Vec<User>),
    AddFriends { user: User, friends: Vec<User>, one_way: bool },
    RemoveFriends { user: User, friends: Vec<User>, one_way: bool },
    CreateGroup { group: Group, kind: usize, owner: Option<User>, members: Vec<User>, max: Max },
    UpdateGroup { group: Group, max: Max },
    Join { group: Group, users: Vec<User> },
    Leave { group: Group, users: Vec<User> },
    Dissolve { group: Group },
}

pub type Max = Option<u32>;

/// The subject of a limit or a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    App,
    User(User),
    Group(Group),
}

/// A violated limit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Blocked {
    pub reason: Reason,
    pub limit_id: String,
    pub who: Who,
    pub used: u64,
    pub limit: u64,
    pub im_code: i32,
}

/// The result of one subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpItem {
    pub outcome: Outcome,
    pub blocked: Vec<Blocked>,
}

/// The result of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OpResult {
    pub whole: Option<OpItem>,
    pub items: Vec<OpItem>,
    pub released: u64,
    pub reclaimed: bool,
}

/// The error in place of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    DeadlinePassed,
    GroupNotFound,
    GroupTypeDiffers,
    MembersNotTracked,
}

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
    pub purchases: Purchases,
    pub accounts: BTreeSet<User>,
    /// The owner of a list and the entry.
    pub friends: BTreeSet<(User, User)>,
    pub groups: BTreeMap<Group, GroupState>,
    /// By day and kind: created groups minus removed groups.
    pub net: BTreeMap<(i64, usize), i64>,
    /// The number of groups reclaimed so far, by leaving and by deletion.
    pub reclaimed_by_leaving: u64,
    pub reclaimed_by_deletion: u64,
}

/// The limits and the mode of an operation.
#[derive(Clone, Copy)]
struct Under<'a> {
    rules: &'a Rules,
    allowed: Allowed,
    mode: Mode,
    /// True if a denial aborts the whole batch.
    aborts: bool,
    day: i64,
}

impl Op {
    fn takes(&self) -> bool {
        matches!(
            self,
            Self::CreateAccounts(_)
                | Self::AddFriends { .. }
                | Self::CreateGroup { .. }
                | Self::Join { .. }
        )
    }
}

impl OpItem {
    fn plain(outcome: Outcome) -> Self {
        Self { outcome, blocked: Vec::new() }
    }

    fn released(held: bool) -> Self {
        Self::plain(if held { Outcome::Applied } else { Outcome::NotHeld })
    }

    fn done(&self) -> bool {
        self.outcome == Outcome::Applied
    }
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

/// The limit, if it is reached.
fn check(reason: Reason, id: &str, who: Who, used: u64, limit: u64) -> Option<Blocked> {
    let kind = id.split_once('/').map(|(_, kind)| kind);
    let im_code = im_code(reason, kind);
    let blocked = || Blocked { reason, limit_id: id.to_owned(), who, used, limit, im_code };
    (used >= limit).then(blocked)
}

impl App {
    /// Applies an operation; returns the expected result. With the mode: whether a take is a whole
    /// batch.
    pub fn apply(
        &mut self,
        rules: &Rules,
        now: i64,
        (mode, all_or_nothing): (Mode, bool),
        op: &Op,
    ) -> Result<OpResult, Fault> {
        let allowed = self.purchases.allowed(rules, now);
        let denies = matches!(mode, Mode::Enforce | Mode::CheckOnly);
        let aborts = all_or_nothing && denies && op.takes();
        let under = Under { rules, allowed, mode, aborts, day: day_of(now) };
        if mode == Mode::CheckOnly && op.takes() && !aborts {
            return self.clone().carry_out(under, op);
        }
        if !aborts {
            return self.carry_out(under, op);
        }
        let mut after = self.clone();
        let mut told = after.carry_out(under, op)?;
        if told.whole.iter().chain(&told.items).any(|item| item.outcome == Outcome::Denied) {
            self.abort(under, op, &mut told);
        } else if mode != Mode::CheckOnly {
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
                    let mine = self.friends.remove(&(*user, *friend));
                    let theirs = !one_way && self.friends.remove(&(*friend, *user));
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
                    let state = self.groups.get_mut(group);
                    let held = state.is_some_and(|state| state.members.remove(user));
                    told.items.push(OpItem::released(held));
                    told.reclaimed |= held && self.reclaim(under, *group);
                }
                self.reclaimed_by_leaving += u64::from(told.reclaimed);
            }
            Op::Dissolve { group } => {
                told.released = self.groups.get(group).map_or(0, members_of);
                told.whole = Some(OpItem::released(self.drop_group(under, *group)));
            }
        }
        Ok(told)
    }

    fn create_account(&mut self, under: Under<'_>, user: User) -> OpItem {
        if self.accounts.contains(&user) {
            return OpItem::plain(Outcome::AlreadyHeld);
        }
        let (used, limit) = (count(self.accounts.len()), under.allowed.accounts);
        let full = check(Reason::AccountsPerApp, "accounts_per_app", Who::App, used, limit);
        let said = under.take(full.into_iter().collect());
        if said.done() {
            self.accounts.insert(user);
        }
        said
    }

    fn delete_account(&mut self, under: Under<'_>, user: User) -> OpItem {
        let mut held = self.accounts.remove(&user);
        let friends = self.friends.len();
        self.friends.retain(|(a, b)| *a != user && *b != user);
        held |= self.friends.len() < friends;
        let joined: Vec<Group> = self.groups_of(user).map(|(group, _)| group).collect();
        for group in joined {
            held = true;
            self.groups.get_mut(&group).expect("the user is in it").members.remove(&user);
            self.reclaimed_by_deletion += u64::from(self.reclaim(under, group));
        }
        OpItem::released(held)
    }

    fn add_friend(&mut self, under: Under<'_>, user: User, friend: User, one_way: bool) -> OpItem {
        let mut wanted = vec![(user, friend, Reason::MyFriends)];
        if !one_way {
            wanted.push((friend, user, Reason::PeerFriends));
        }
        wanted.retain(|(whose, who, _)| !self.friends.contains(&(*whose, *who)));
        if wanted.is_empty() {
            return OpItem::plain(Outcome::AlreadyHeld);
        }
        let full = |(whose, _, reason): &(User, User, Reason)| {
            let (used, limit) = (self.friend_count(*whose), under.allowed.friends);
            check(*reason, "friends_per_user", Who::User(*whose), used, limit)
        };
        let said = under.take(wanted.iter().filter_map(full).collect());
        if said.done() {
            self.friends.extend(wanted.into_iter().map(|(whose, who, _)| (whose, who)));
        }
        said
    }

    /// The result of the group itself; the owner is a member if that is `Applied`.
    fn create_group(
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
                _ => OpItem { outcome: Outcome::AlreadyHeld, ..joined },
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
            check(Reason::GroupsPerDay, "groups_per_day".into(), today, rules.groups_per_day),
            check(
                Reason::GroupsPerDay,
                format!("groups_per_day/{name}"),
                of_kind,
                rules.kinds[kind].per_day,
            ),
            check(
                Reason::GroupsAllowance,
                "groups_per_app".into(),
                count(self.groups.len()),
                under.allowed.all_groups,
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
    fn admit(&mut self, under: Under<'_>, group: Group, user: User, reason: Reason) -> OpItem {
        let state = &self.groups[&group];
        if !under.rules.kinds[state.kind].tracked {
            return under.take(Vec::new());
        }
        if state.members.contains(&user) {
            return OpItem::plain(Outcome::AlreadyHeld);
        }
        let cap = under.allowed.member_cap(under.rules, state.kind, state.max);
        let (who, used) = (Who::Group(group), members_of(state));
        let group_is_full = check(reason, "members_per_group", who, used, cap);
        let blocked = self.user_is_full(under, state.kind, user).into_iter().chain(group_is_full);
        let said = under.take(blocked.collect());
        if said.done() {
            self.groups.get_mut(&group).expect("it exists").members.insert(user);
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
    fn reclaim(&mut self, under: Under<'_>, group: Group) -> bool {
        let state = &self.groups[&group];
        let reclaim = state.members.is_empty() && under.rules.kinds[state.kind].ordinary;
        reclaim && self.drop_group(under, group)
    }

    fn drop_group(&mut self, under: Under<'_>, group: Group) -> bool {
        let gone = self.groups.remove(&group);
        if let Some(state) = &gone {
            *self.net.entry((under.day, state.kind)).or_default() -= 1;
        }
        gone.is_some()
    }

    pub fn friend_count(&self, user: User) -> u64 {
        count(self.friends.range((user, 0)..(user + 1, 0)).count())
    }

    fn groups_of(&self, user: User) -> impl Iterator<Item = (Group, &GroupState)> {
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
}

pub fn members_of(state: &GroupState) -> u64 {
    count(state.members.len())
}

pub fn count(length: usize) -> u64 {
    let length = u64::try_from(length).expect("fits");
    assert!(length < FREE);
    length
}
