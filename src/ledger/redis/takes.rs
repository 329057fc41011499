//! Operations that take: accounts, friends, groups and memberships.
//!
//! Up to [`SUBJECTS_MAX`] users are one atomic step. A larger batch is several steps in order, each
//! exact by itself; in a dry run, which writes nothing, each step gets what the steps before it
//! would have taken. A whole batch is one step of up to [`WHOLE_SUBJECTS_MAX`] subjects.

use super::chunked::{Chunked, DryRun, chunked};
use super::group_types;
use super::position::Position;
use super::releases;
use super::replace;
use super::reply::{Decided, ItemReply, Reply};
use super::verdict::{Group, ReplyContext, at, empty, extend, limits, unreadable, warnings};
use super::work::{OperationRun, ScriptCall, flag, refusal};
use crate::domain::decision::{ItemResult, Mode, Outcome};
use crate::domain::id::{GroupId, Name, UserId};
use crate::ledger::{Answer, Call, LedgerError, OperationKind, WHOLE_BATCH_MAX};
use crate::redis::keys::Part;
use crate::redis::reply::{bytes, text};
use crate::redis::scripts::ScriptId;
use crate::store::StoreError;

/// Most users of one script call: about a millisecond of the server's time.
pub const SUBJECTS_MAX: usize = 256;
/// Most users and groups of the only script call of a whole batch.
const WHOLE_SUBJECTS_MAX: usize = 512;
// A group and its owner come on top.
const _: () = assert!(WHOLE_BATCH_MAX + 2 <= WHOLE_SUBJECTS_MAX);

/// Returns the most users of one script call.
pub fn subjects_max(call: &Call) -> usize {
    if call.take.is_one_step() { WHOLE_SUBJECTS_MAX } else { SUBJECTS_MAX }
}

/// The error for a reply that cannot be right.
pub(super) fn malformed_reply() -> LedgerError {
    unreadable("malformed reply")
}

/// Creates an account for each user.
pub async fn create_accounts(
    work: &OperationRun<'_>,
    users: &[UserId],
) -> Result<Answer, LedgerError> {
    let keys = work.keys();
    let mut steps = chunked(work.call, users);
    while let Some(users) = steps.next_step() {
        let step = ScriptCall::new(ScriptId::CreateAccounts, Part::Accounts)
            .keys([keys.accounts()])
            .arguments([steps.dry_run.taken.to_string().into_bytes()])
            .on(users.iter().map(|user| keys.user(user)), |user| [keys.account_bucket(user)]);
        let decided = work.step(None, step).await?;
        let kind = OperationKind::CreateAccounts;
        let context = ReplyContext { call: work.call, actor: None, group: None, kind };
        steps.add(work, &context, &decided)?;
    }
    Ok(steps.answer)
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
    let mut steps = chunked(work.call, friends);
    while let Some(friends) = steps.next_step() {
        let taken = steps.dry_run.taken.to_string().into_bytes();
        let step = ScriptCall::new(ScriptId::AddFriends, Part::Friends)
            .keys([keys.friends(me), keys.fans(me)])
            .arguments([flag(one_way), me.element(), taken])
            .on(friends.iter().map(|user| keys.user(user)), |friend| keys.lists(friend));
        let decided = work.step(None, step).await?;
        let kind = OperationKind::AddFriends;
        let context = ReplyContext { call: work.call, actor: Some(user), group: None, kind };
        steps.add(work, &context, &decided)?;
        steps.dry_run.correct(decided.more.first());
    }
    Ok(steps.answer)
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
    /// True if it must be there, and is only joined.
    pub joins: bool,
}

/// Creates a group, or adds owner and members if it already exists.
pub async fn create_group(
    work: &OperationRun<'_>,
    new: &NewGroup<'_>,
) -> Result<Answer, LedgerError> {
    let first_step = subjects_max(work.call) - usize::from(new.owner.is_some());
    let (first, rest) = new.members.split_at(new.members.len().min(first_step));
    let first: Vec<&UserId> = first.iter().collect();
    group_types::note(work.shared, work.call, new.group_type).await?;
    let mut position = Position::first(work.call.mode, rest.is_empty());
    let replaced = match &work.call.take.replaces {
        Some(old) => Box::pin(replace::replace(work, new, old)).await?,
        None => None,
    };
    let decided = match replaced {
        Some(decided) => decided,
        None => create_group_step(work, new, new.owner, &first, position.argument(0)).await?,
    };
    let mut answer = empty();
    let mut assumed = DryRun::new(work.call.mode);
    let limits = limits(work.call, &decided)?;
    let context = group_context(work.call, new.id, &decided, OperationKind::CreateGroup)?;
    assumed.untracked = is_untracked(&context);
    let (whole, items) = decided.said.split_first().ok_or_else(malformed_reply)?;
    let whole = context.result(whole, new.owner, limits.as_ref()).ok_or_else(malformed_reply)?;
    // The members of a whole batch are judged also if the group is denied.
    if whole.denied() && !work.call.aborts() {
        let items = vec![ItemResult::of(Outcome::Denied); new.members.len()];
        extend(&mut answer, &decided, limits, items);
        answer.whole = Some(whole);
        return Ok(answer);
    }
    position.advance(decided.more.get(3)).ok_or_else(malformed_reply)?;
    if let Some(owner) = new.owner {
        assumed.remember(&[owner], std::slice::from_ref(&whole));
    }
    let items = context.results(items, &first, limits.as_ref()).ok_or_else(malformed_reply)?;
    assumed.remember(&first, &items);
    assumed.correct(decided.more.get(2));
    let users_of_step: Vec<&UserId> = new.owner.into_iter().chain(first.iter().copied()).collect();
    answer.warnings.extend(warnings(work.keys(), &decided, &users_of_step, Some(new.id)));
    extend(&mut answer, &decided, limits, items);
    answer.whole = Some(whole);
    let mut steps = Chunked::after(answer, assumed, rest);
    while let Some(users) = steps.next_step() {
        let decided = if steps.dry_run.on {
            let taken = position.argument(steps.dry_run.taken);
            let mut decided = create_group_step(work, new, None, &users, taken).await?;
            decided.said.remove(0);
            decided
        } else {
            join_step(work, new.id, &users, position.argument(0)).await?
        };
        let context = group_context(work.call, new.id, &decided, OperationKind::CreateGroup)?;
        steps.dry_run.untracked = is_untracked(&context);
        steps.add(work, &context, &decided)?;
    }
    Ok(steps.answer)
}

/// Adds users to an existing group.
pub async fn join_group(
    work: &OperationRun<'_>,
    group: &GroupId,
    users: &[UserId],
) -> Result<Answer, LedgerError> {
    let mut position = Position::first(work.call.mode, users.len() <= subjects_max(work.call));
    let mut steps = chunked(work.call, users);
    while let Some(users) = steps.next_step() {
        let argument = position.argument(steps.dry_run.taken);
        let decided = join_step(work, group, &users, argument).await?;
        position.advance(decided.more.get(2)).ok_or_else(malformed_reply)?;
        let context = group_context(work.call, group, &decided, OperationKind::JoinGroup)?;
        steps.dry_run.untracked = is_untracked(&context);
        steps.add(work, &context, &decided)?;
    }
    Ok(steps.answer)
}

async fn create_group_step(
    work: &OperationRun<'_>,
    new: &NewGroup<'_>,
    owner: Option<&UserId>,
    members: &[&UserId],
    position: Vec<u8>,
) -> Result<Decided, LedgerError> {
    let own = match new.max_members {
        _ if new.joins => JOINS.to_owned(),
        Some(max) => max.to_string(),
        None => "-".to_owned(),
    };
    let step = group_step(work, (new.id, new.group_type.as_str()), own, owner, members, position);
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

/// The own limit for a group that is joined and must exist.
const JOINS: &str = "joins";

/// Returns the call of the script that creates a group of that type, or joins it.
fn group_step(
    work: &OperationRun<'_>,
    (group, group_type): (&GroupId, &str),
    own: String,
    owner: Option<&UserId>,
    members: &[&UserId],
    position: Vec<u8>,
) -> ScriptCall {
    let keys = work.keys();
    let group = keys.group(group);
    let per_day = super::limits::number(work.call.catalog.groups_per_day);
    let cells = owner.into_iter().chain(members.iter().copied()).map(|user| keys.user(user));
    let mut step = ScriptCall::new(ScriptId::CreateGroup, Part::Groups)
        .keys(keys.of_group(group))
        .keys([keys.groups_by_type(), keys.groups_by_day()])
        .arguments([
            work.types(),
            group.element(),
            position,
            Vec::new(),
            own.into_bytes(),
            per_day.into_bytes(),
            group_type.as_bytes().to_vec(),
            flag(owner.is_some()),
        ])
        .on(cells, |user| keys.memberships(user))
        .by_day();
    // The group itself is one, and its owner is none beside it.
    step.subjects = 1 + members.len();
    step
}

async fn join_step(
    work: &OperationRun<'_>,
    group: &GroupId,
    users: &[&UserId],
    position: Vec<u8>,
) -> Result<Decided, LedgerError> {
    let keys = work.keys();
    let cell = keys.group(group);
    let step = ScriptCall::new(ScriptId::JoinGroup, Part::Groups)
        .keys(keys.of_group(cell))
        .arguments([work.types(), cell.element(), position.clone()])
        .on(users.iter().map(|user| keys.user(user)), |user| keys.memberships(user));
    match work.try_step(&step).await? {
        Reply::Decided(decided) => Ok(decided),
        Reply::Nothing { why, detail, .. } if why == "group_held" => {
            let step = group_step(work, (group, &detail), JOINS.to_owned(), None, users, position);
            let mut decided = work.step(Some(group), step).await?;
            // The group's own letter, and the members so far, are no part of a join's reply.
            if decided.said.is_empty() || decided.more.len() < 4 {
                return Err(malformed_reply());
            }
            decided.said.remove(0);
            decided.more.remove(2);
            Ok(decided)
        }
        Reply::Nothing { why, detail, .. } => Err(refusal(work.call, Some(group), &why, &detail)),
    }
}

/// Returns whether the group's type does not track members.
fn is_untracked(context: &ReplyContext<'_>) -> bool {
    context.group.as_ref().is_some_and(|group| !group.kind.members_tracked)
}

/// Builds the reply context of a group from the type and own limit that a script returns.
pub(super) fn group_context<'a>(
    call: &'a Call,
    id: &'a GroupId,
    decided: &Decided,
    kind: OperationKind,
) -> Result<ReplyContext<'a>, LedgerError> {
    let mut more = decided.more.iter().cloned().map(|value| text(bytes(value)?));
    let (Some(Some(name)), Some(Some(own))) = (more.next(), more.next()) else {
        return Err(malformed_reply());
    };
    let group_type = call.catalog.group_type(&name).cloned().ok_or_else(malformed_reply)?;
    let group = Group { id, kind: group_type, own: own.parse().ok() };
    Ok(ReplyContext { call, actor: None, group: Some(group), kind })
}

/// Changes the group's own limit.
pub async fn update_group(
    work: &OperationRun<'_>,
    group: &GroupId,
    max_members: Option<u32>,
) -> Result<Answer, LedgerError> {
    let keys = work.keys();
    let own = max_members.map_or_else(|| "-".to_owned(), |max| max.to_string());
    let arguments = [work.types(), own.into_bytes(), keys.group(group).element()];
    let mut step = ScriptCall::new(ScriptId::UpdateGroup, Part::Groups)
        .keys([keys.group_record(keys.group(group))])
        .arguments(arguments);
    step.subjects = 1;
    let decided = work.step(Some(group), step).await?;
    let outcome = match decided.said.as_slice() {
        [ItemReply { letter: b'H', .. }] => Outcome::AlreadyHeld,
        _ => Outcome::Applied,
    };
    Ok(Answer { decided_at: at(&decided), whole: Some(ItemResult::of(outcome)), ..empty() })
}
