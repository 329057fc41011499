//! Operations that take: accounts, friends, groups and memberships.
//!
//! Up to [`SUBJECTS_MAX`] users are one atomic step. A larger batch is several steps in order, each
//! exact by itself; in a dry run, which writes nothing, each step gets what the steps before it
//! would have taken.

use std::collections::HashSet;

use redis::Value;

use super::group_types;
use super::position::Position;
use super::releases;
use super::reply::{Decided, ItemReply, Reply};
use super::verdict::{Group, ReplyContext, at, empty, extend, limits, unreadable, warnings};
use super::work::{OperationRun, ScriptCall, flag, refusal};
use crate::domain::decision::{Mode, Outcome, Reason, Verdict};
use crate::domain::id::{GroupId, Name, UserId};
use crate::domain::usage::per_day_of_all_types;
use crate::ledger::{Answer, Call, LedgerError};
use crate::redis::keys::Part;
use crate::redis::reply::{bytes, integer, text};
use crate::redis::scripts::ScriptId;
use crate::store::StoreError;

/// Most users of one script call: about a millisecond of the server's time.
pub const SUBJECTS_MAX: usize = 256;

/// The error for a reply that cannot be right.
fn malformed_reply() -> LedgerError {
    unreadable("malformed reply")
}

/// The state of a dry run: what the batch would have taken so far, since nothing is written.
#[derive(Default)]
struct DryRun<'a> {
    on: bool,
    /// Whether members are not tracked, so that a second take of one user is no idempotent retry.
    untracked: bool,
    held: HashSet<&'a UserId>,
    taken: usize,
}

impl<'a> DryRun<'a> {
    fn new(mode: Mode) -> Self {
        Self { on: mode == Mode::CheckOnly, ..Self::default() }
    }

    /// Returns the users without a result from an earlier step.
    fn unknown(&self, users: &[&'a UserId]) -> Vec<&'a UserId> {
        users.iter().copied().filter(|user| !self.held.contains(user)).collect()
    }

    /// Records what a step would have taken.
    fn remember(&mut self, users: &[&'a UserId], verdicts: &[Verdict]) {
        if !self.on || self.untracked {
            return;
        }
        for (user, verdict) in users.iter().zip(verdicts) {
            if verdict.outcome != Outcome::Denied && self.held.insert(user) {
                self.taken += usize::from(verdict.outcome == Outcome::Applied);
            }
        }
    }

    /// Replaces the number taken by that of a script, where not every applied item takes one.
    fn correct(&mut self, taken: Option<&Value>) {
        if let Some(taken) = taken.and_then(integer).and_then(|taken| usize::try_from(taken).ok()) {
            self.taken = taken;
        }
    }

    /// Records a step, and inserts the results of earlier steps at their positions.
    fn merge(&mut self, users: &[&'a UserId], verdicts: Vec<Verdict>) -> Vec<Verdict> {
        let mut verdicts = verdicts.into_iter();
        let mut next = |user: &&'a UserId| {
            if self.held.contains(user) {
                return Verdict::of(Outcome::AlreadyHeld);
            }
            verdicts.next().unwrap_or_else(|| Verdict::of(Outcome::Denied))
        };
        let merged: Vec<Verdict> = users.iter().map(&mut next).collect();
        self.remember(users, &merged);
        merged
    }
}

/// Creates an account for each user.
pub async fn create_accounts(
    work: &OperationRun<'_>,
    users: &[UserId],
) -> Result<Answer, LedgerError> {
    let keys = work.keys();
    let mut answer = empty();
    let mut assumed = DryRun::new(work.call.mode);
    let users: Vec<&UserId> = users.iter().collect();
    for users in users.chunks(SUBJECTS_MAX) {
        let unknown = assumed.unknown(users);
        if unknown.is_empty() {
            answer.items.extend(assumed.merge(users, Vec::new()));
            continue;
        }
        let mut own_keys = vec![keys.accounts()];
        let mut arguments = vec![assumed.taken.to_string().into_bytes()];
        for user in &unknown {
            let cell = keys.user(user);
            own_keys.push(keys.account_bucket(cell));
            arguments.push(cell.element());
        }
        let step = ScriptCall {
            script: ScriptId::CreateAccounts,
            part: Part::Accounts,
            by_day: false,
            subjects: unknown.len(),
            keys: own_keys,
            arguments,
        };
        let decided = work.step(None, step).await?;
        let limits = limits(work.call, &decided)?;
        let scene = ReplyContext {
            call: work.call,
            actor: None,
            group: None,
            full: Reason::MembersPerGroup,
        };
        let items = scene.verdicts(&decided.said, &unknown, limits.as_ref());
        let items = assumed.merge(users, items.ok_or_else(malformed_reply)?);
        answer.warnings.extend(warnings(keys, &decided, &[], None));
        extend(&mut answer, &decided, limits, items);
    }
    Ok(answer)
}

/// Adds friends to the user's list and, unless `one_way`, the user to theirs.
pub async fn add_friends(
    work: &OperationRun<'_>,
    user: &UserId,
    friends: &[UserId],
    one_way: bool,
) -> Result<Answer, LedgerError> {
    let keys = work.keys();
    let me = keys.user(user);
    let mut answer = empty();
    let mut assumed = DryRun::new(work.call.mode);
    let friends: Vec<&UserId> = friends.iter().collect();
    for friends in friends.chunks(SUBJECTS_MAX) {
        let unknown = assumed.unknown(friends);
        if unknown.is_empty() {
            answer.items.extend(assumed.merge(friends, Vec::new()));
            continue;
        }
        let mut own_keys = vec![keys.friends(me), keys.fans(me)];
        let mut arguments =
            vec![flag(one_way), me.element(), assumed.taken.to_string().into_bytes()];
        for friend in &unknown {
            let cell = keys.user(friend);
            own_keys.extend([keys.friends(cell), keys.fans(cell)]);
            arguments.push(cell.element());
        }
        let step = ScriptCall {
            script: ScriptId::AddFriends,
            part: Part::Friends,
            by_day: false,
            subjects: unknown.len(),
            keys: own_keys,
            arguments,
        };
        let decided = work.step(None, step).await?;
        let limits = limits(work.call, &decided)?;
        let scene = ReplyContext {
            call: work.call,
            actor: Some(user),
            group: None,
            full: Reason::MembersPerGroup,
        };
        let items = scene.verdicts(&decided.said, &unknown, limits.as_ref());
        let items = assumed.merge(friends, items.ok_or_else(malformed_reply)?);
        assumed.correct(decided.more.first());
        let mut users_of_step = unknown;
        users_of_step.push(user);
        answer.warnings.extend(warnings(keys, &decided, &users_of_step, None));
        extend(&mut answer, &decided, limits, items);
    }
    Ok(answer)
}

/// A group to be created.
pub struct NewGroup<'a> {
    /// Its id.
    pub id: &'a GroupId,
    /// Its type.
    pub group_type: &'a Name,
    /// Its owner, who is its first member.
    pub owner: Option<&'a UserId>,
    /// Further members.
    pub members: &'a [UserId],
    /// Its own limit.
    pub max_members: Option<u32>,
}

/// Creates a group, or adds owner and members if it already exists.
pub async fn create_group(
    work: &OperationRun<'_>,
    new: &NewGroup<'_>,
) -> Result<Answer, LedgerError> {
    let first_step = SUBJECTS_MAX - usize::from(new.owner.is_some());
    let (first, rest) = new.members.split_at(new.members.len().min(first_step));
    let first: Vec<&UserId> = first.iter().collect();
    group_types::note(work.shared, work.call, new.group_type).await?;
    let mut position = Position::first(work.call.mode, rest.is_empty());
    let decided = create_group_step(work, new, new.owner, &first, position.argument(0)).await?;
    let mut answer = empty();
    let mut assumed = DryRun::new(work.call.mode);
    let limits = limits(work.call, &decided)?;
    let scene = scene(work.call, new.id, &decided, Reason::MembersAtCreation)?;
    assumed.untracked = is_untracked(&scene);
    let (whole, items) = decided.said.split_first().ok_or_else(malformed_reply)?;
    let whole = scene.verdict(whole, new.owner, limits.as_ref()).ok_or_else(malformed_reply)?;
    if whole.denied() {
        let items = vec![Verdict::of(Outcome::Denied); new.members.len()];
        extend(&mut answer, &decided, limits, items);
        answer.whole = Some(whole);
        return Ok(answer);
    }
    position.advance(decided.more.get(3)).ok_or_else(malformed_reply)?;
    if let Some(owner) = new.owner {
        assumed.remember(&[owner], std::slice::from_ref(&whole));
    }
    let items = scene.verdicts(items, &first, limits.as_ref()).ok_or_else(malformed_reply)?;
    assumed.remember(&first, &items);
    assumed.correct(decided.more.get(2));
    let users_of_step: Vec<&UserId> = new.owner.into_iter().chain(first.iter().copied()).collect();
    answer.warnings.extend(warnings(work.keys(), &decided, &users_of_step, Some(new.id)));
    extend(&mut answer, &decided, limits, items);
    answer.whole = Some(whole);
    let rest: Vec<&UserId> = rest.iter().collect();
    for users in rest.chunks(SUBJECTS_MAX) {
        let unknown = assumed.unknown(users);
        let decided = if assumed.on {
            let taken = position.argument(assumed.taken);
            let mut decided = create_group_step(work, new, None, &unknown, taken).await?;
            decided.said.remove(0);
            decided
        } else {
            join_step(work, new.id, &unknown, position.argument(0)).await?
        };
        add_step(
            &mut answer,
            &mut assumed,
            (work, new.id),
            &decided,
            users,
            Reason::MembersAtCreation,
        )?;
    }
    Ok(answer)
}

/// Adds users to an existing group.
pub async fn join_group(
    work: &OperationRun<'_>,
    group: &GroupId,
    users: &[UserId],
) -> Result<Answer, LedgerError> {
    let mut answer = empty();
    let mut assumed = DryRun::new(work.call.mode);
    let users: Vec<&UserId> = users.iter().collect();
    let mut position = Position::first(work.call.mode, users.len() <= SUBJECTS_MAX);
    for users in users.chunks(SUBJECTS_MAX) {
        let unknown = assumed.unknown(users);
        if unknown.is_empty() {
            answer.items.extend(assumed.merge(users, Vec::new()));
            continue;
        }
        let argument = position.argument(assumed.taken);
        let decided = join_step(work, group, &unknown, argument).await?;
        position.advance(decided.more.get(2)).ok_or_else(malformed_reply)?;
        add_step(
            &mut answer,
            &mut assumed,
            (work, group),
            &decided,
            users,
            Reason::MembersPerGroup,
        )?;
    }
    Ok(answer)
}

/// Adds a step's item results for `users` to the decision.
fn add_step<'a>(
    answer: &mut Answer,
    assumed: &mut DryRun<'a>,
    (work, group): (&OperationRun<'_>, &GroupId),
    decided: &Decided,
    users: &[&'a UserId],
    full: Reason,
) -> Result<(), LedgerError> {
    let limits = limits(work.call, decided)?;
    let scene = scene(work.call, group, decided, full)?;
    assumed.untracked = is_untracked(&scene);
    let unknown = assumed.unknown(users);
    let items =
        scene.verdicts(&decided.said, &unknown, limits.as_ref()).ok_or_else(malformed_reply)?;
    answer.warnings.extend(warnings(work.keys(), decided, &unknown, Some(group)));
    extend(answer, decided, limits, assumed.merge(users, items));
    Ok(())
}

async fn create_group_step(
    work: &OperationRun<'_>,
    new: &NewGroup<'_>,
    owner: Option<&UserId>,
    members: &[&UserId],
    position: Vec<u8>,
) -> Result<Decided, LedgerError> {
    let keys = work.keys();
    let group = keys.group(new.id);
    let own = new.max_members.map_or_else(|| "-".to_owned(), |max| max.to_string());
    let per_day = super::limits::number(per_day_of_all_types(&work.call.catalog).limit);
    let mut own_keys = vec![
        keys.group_record(group),
        keys.members(group),
        keys.groups_by_type(),
        keys.groups_by_day(),
    ];
    let mut arguments = vec![
        work.types(),
        group.element(),
        position,
        Vec::new(),
        own.into_bytes(),
        per_day.into_bytes(),
        new.group_type.as_str().as_bytes().to_vec(),
        flag(owner.is_some()),
    ];
    for user in owner.into_iter().chain(members.iter().copied()) {
        let cell = keys.user(user);
        own_keys.extend([keys.counted_groups(cell), keys.other_groups(cell)]);
        arguments.push(cell.element());
    }
    let (script, subjects) = (ScriptId::CreateGroup, 1 + members.len());
    let (part, keys) = (Part::Groups, own_keys);
    let step = ScriptCall { script, part, by_day: true, subjects, keys, arguments };
    loop {
        match work.try_step(&step).await? {
            Reply::Decided(decided) => return Ok(decided),
            // An interrupted dissolve has left the group of this id: finish it first.
            Reply::Nothing { why, .. } if why == "dissolving" => {
                if work.call.mode == Mode::CheckOnly {
                    let reason = format!("group \"{}\" is being dissolved", new.id);
                    return Err(StoreError::Refused(reason).into());
                }
                releases::dissolve_group(work, new.id, true).await?;
            }
            Reply::Nothing { why, detail, .. } => {
                return Err(refusal(work.call, Some(new.id), &why, &detail));
            }
        }
    }
}

async fn join_step(
    work: &OperationRun<'_>,
    group: &GroupId,
    users: &[&UserId],
    position: Vec<u8>,
) -> Result<Decided, LedgerError> {
    let keys = work.keys();
    let cell = keys.group(group);
    let mut own_keys = vec![keys.group_record(cell), keys.members(cell)];
    let mut arguments = vec![work.types(), cell.element(), position];
    for user in users {
        let cell = keys.user(user);
        own_keys.extend([keys.counted_groups(cell), keys.other_groups(cell)]);
        arguments.push(cell.element());
    }
    let (script, subjects) = (ScriptId::JoinGroup, users.len());
    let (part, keys) = (Part::Groups, own_keys);
    let step = ScriptCall { script, part, by_day: false, subjects, keys, arguments };
    work.step(Some(group), step).await
}

/// Returns whether the group's type does not track members.
fn is_untracked(scene: &ReplyContext<'_>) -> bool {
    scene.group.as_ref().is_some_and(|group| !group.kind.members_tracked)
}

/// Builds the reply context of a group from the type and own limit that a script returns.
fn scene<'a>(
    call: &'a Call,
    id: &'a GroupId,
    decided: &Decided,
    full: Reason,
) -> Result<ReplyContext<'a>, LedgerError> {
    let mut more = decided.more.iter().cloned().map(|value| text(bytes(value)?));
    let (Some(Some(name)), Some(Some(own))) = (more.next(), more.next()) else {
        return Err(malformed_reply());
    };
    let kind = call.catalog.group_type(&name).cloned().ok_or_else(malformed_reply)?;
    Ok(ReplyContext {
        call,
        actor: None,
        group: Some(Group { id, kind, own: own.parse().ok() }),
        full,
    })
}

/// Changes the group's own limit.
pub async fn update_group(
    work: &OperationRun<'_>,
    group: &GroupId,
    max_members: Option<u32>,
) -> Result<Answer, LedgerError> {
    let keys = work.keys();
    let own = max_members.map_or_else(|| "-".to_owned(), |max| max.to_string());
    let step = ScriptCall {
        script: ScriptId::UpdateGroup,
        part: Part::Groups,
        by_day: false,
        subjects: 1,
        keys: vec![keys.group_record(keys.group(group))],
        arguments: vec![work.types(), own.into_bytes(), keys.group(group).element()],
    };
    let decided = work.step(Some(group), step).await?;
    let outcome = match decided.said.as_slice() {
        [ItemReply { letter: b'H', .. }] => Outcome::AlreadyHeld,
        _ => Outcome::Applied,
    };
    Ok(Answer { decided_at: at(&decided), whole: Some(Verdict::of(outcome)), ..empty() })
}
