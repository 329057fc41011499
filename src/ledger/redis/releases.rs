//! Operations that release: they have no limits and are always carried out.
//!
//! An operation on more than [`SUBJECTS_MAX`] users or groups runs in chunks, so that no other call
//! waits long. Every chunk is atomic and may be repeated; an interrupted dissolve or deletion is
//! finished by its repetition.

use redis::Value;

use super::position::Position;
use super::takes::SUBJECTS_MAX;
use super::verdict::{at, empty, unreadable};
use super::work::{OperationRun, ScriptCall, flag};
use crate::domain::decision::{ItemResult, Mode, Outcome, Violation};
use crate::domain::id::{GroupId, UserId};
use crate::domain::time::Timestamp;
use crate::ledger::{Answer, LedgerError};
use crate::redis::keys::{Cell, Part};
use crate::redis::reply::{array, bytes, integer};
use crate::redis::scripts::ScriptId;

/// Removes friends from the user's list and, unless `one_way`, the user from theirs.
pub async fn remove_friends(
    work: &OperationRun<'_>,
    user: &UserId,
    friends: &[UserId],
    one_way: bool,
) -> Result<Answer, LedgerError> {
    let keys = work.keys();
    let me = keys.user(user);
    let mut answer = empty();
    for friends in friends.chunks(SUBJECTS_MAX) {
        let step = ScriptCall::new(ScriptId::RemoveFriends, Part::Friends)
            .keys(keys.lists(me))
            .arguments([flag(one_way), me.element()])
            .on(friends.iter().map(|user| keys.user(user)), |friend| keys.lists(friend));
        let decided = work.step(None, step).await?;
        answer.decided_at = at(&decided);
        answer.items.extend(decided.said.iter().map(|said| released(said.letter)));
    }
    Ok(answer)
}

/// Returns the result of an item that a script released, or that was not held.
pub(super) fn released(letter: u8) -> ItemResult<Violation> {
    ItemResult::of(if letter == b'A' { Outcome::Applied } else { Outcome::NotHeld })
}

/// Returns the call of a script that removes members of a group, and counts groups.
fn group_call(
    work: &OperationRun<'_>,
    script: ScriptId,
    group: &GroupId,
    position: Vec<u8>,
    members: impl IntoIterator<Item = Cell>,
) -> ScriptCall {
    let keys = work.keys();
    let cell = keys.group(group);
    ScriptCall::new(script, Part::Groups)
        .keys(keys.of_group(cell))
        .keys([keys.groups_by_type(), keys.groups_by_day()])
        .arguments([work.types(), cell.element(), position, Vec::new()])
        .on(members, |user| keys.memberships(user))
        .by_day()
}

/// Removes users from a group.
pub async fn leave_group(
    work: &OperationRun<'_>,
    group: &GroupId,
    users: &[UserId],
) -> Result<Answer, LedgerError> {
    let keys = work.keys();
    let mut answer = empty();
    // Releases have no mode.
    let mut position = Position::first(Mode::Force, users.len() <= SUBJECTS_MAX);
    for users in users.chunks(SUBJECTS_MAX) {
        let cells = users.iter().map(|user| keys.user(user));
        let step = group_call(work, ScriptId::LeaveGroup, group, position.argument(0), cells);
        let decided = work.step(None, step).await?;
        answer.decided_at = at(&decided);
        answer.items.extend(decided.said.iter().map(|said| released(said.letter)));
        answer.group_reclaimed |= decided.more.first().and_then(integer) == Some(1);
        let malformed = || unreadable("a group's generation is malformed");
        position.advance(decided.more.get(1)).ok_or_else(malformed)?;
    }
    Ok(answer)
}

/// The claim of a creation that finishes an interrupted dissolve.
const HELP: &[u8] = b"help";

/// Removes all members, and then the group. For a creation of the same id (`is_help`), it only
/// finishes an interrupted dissolve, and leaves a new group alone.
///
/// Of several dissolves of one group one is applied: see [`super::position`].
pub async fn dissolve_group(
    work: &OperationRun<'_>,
    group: &GroupId,
    is_help: bool,
) -> Result<Answer, LedgerError> {
    let mut answer = empty();
    let mut members: Vec<Cell> = Vec::new();
    let mut claim = if is_help { HELP.to_vec() } else { Vec::new() };
    let (mut found, mut is_overtaken) = (false, false);
    loop {
        let members_left = members.iter().copied();
        let script = ScriptId::DissolveGroup;
        let step = group_call(work, script, group, claim.clone(), members_left);
        let decided = work.step(None, step).await?;
        answer.decided_at = at(&decided);
        let letter = decided.said.first().map(|said| said.letter);
        let mut more = decided.more.into_iter();
        let released = more.next().as_ref().and_then(integer).unwrap_or(0);
        answer.members_released += u64::try_from(released).unwrap_or(0);
        found |= letter != Some(b'N');
        let remaining = more.next();
        let malformed = || unreadable("a dissolution's claim is malformed");
        claim = more.next().and_then(bytes).ok_or_else(malformed)?;
        is_overtaken |= more.next().as_ref().and_then(integer) == Some(1);
        if letter != Some(b'M') {
            break;
        }
        members = cells(remaining)?;
    }
    let is_applied = found && !is_overtaken;
    let outcome = if is_applied { Outcome::Applied } else { Outcome::NotHeld };
    Ok(Answer { whole: Some(ItemResult::of(outcome)), ..answer })
}

/// Deletes an account, and what the user holds even without an account.
///
/// Friendships, memberships and the account are deleted in this order, each in one atomic step
/// unless there are more than a step may have. An interrupted deletion leaves the account, which
/// shows that it is unfinished.
pub async fn delete_account(work: &OperationRun<'_>, user: &UserId) -> Result<Answer, LedgerError> {
    let friends = delete_friends(work, user).await?;
    let groups = delete_memberships(work, user).await?;
    let (decided_at, account) = delete_from_accounts(work, user).await?;
    let held = friends || groups || account;
    let outcome = if held { Outcome::Applied } else { Outcome::NotHeld };
    Ok(Answer { decided_at, whole: Some(ItemResult::of(outcome)), ..empty() })
}

async fn delete_from_accounts(
    work: &OperationRun<'_>,
    user: &UserId,
) -> Result<(Timestamp, bool), LedgerError> {
    let keys = work.keys();
    let cell = keys.user(user);
    let step = ScriptCall::new(ScriptId::DeleteAccount, Part::Accounts)
        .keys([keys.accounts()])
        .on([cell], |user| [keys.account_bucket(user)]);
    let decided = work.step(None, step).await?;
    Ok((at(&decided), decided.said.first().is_some_and(|said| said.letter == b'A')))
}

async fn delete_friends(work: &OperationRun<'_>, user: &UserId) -> Result<bool, LedgerError> {
    let keys = work.keys();
    let me = keys.user(user);
    release_all(work, |others, in_one_step| {
        ScriptCall::new(ScriptId::DeleteFriends, Part::Friends)
            .keys(keys.lists(me))
            .arguments([me.element(), flag(in_one_step)])
            .on(others.iter().copied(), |other| keys.lists(other))
    })
    .await
}

async fn delete_memberships(work: &OperationRun<'_>, user: &UserId) -> Result<bool, LedgerError> {
    let keys = work.keys();
    let me = keys.user(user);
    release_all(work, |groups, in_one_step| {
        ScriptCall::new(ScriptId::DeleteMemberships, Part::Groups)
            .keys(keys.memberships(me))
            .keys([keys.groups_by_type(), keys.groups_by_day()])
            .arguments([work.types(), me.element(), flag(in_one_step), Vec::new()])
            .on(groups.iter().copied(), |group| keys.of_group(group))
            .by_day()
    })
    .await
}

/// Attempts to release everything in one step, if the facts change between listing and releasing,
/// before it is done in parts.
const ONE_STEP_ATTEMPTS: usize = 16;

/// Repeats a step with the remainder that its last reply lists, until nothing remains. Returns
/// whether there was anything.
///
/// A remainder that fits into one step is released in one, so that no caller sees a partial
/// release.
async fn release_all(
    work: &OperationRun<'_>,
    step: impl Fn(&[Cell], bool) -> ScriptCall,
) -> Result<bool, LedgerError> {
    let mut remaining: Vec<Cell> = Vec::new();
    let mut held = false;
    for attempt in 0.. {
        let in_one_step = attempt < ONE_STEP_ATTEMPTS && remaining.len() < SUBJECTS_MAX;
        let decided = work.step(None, step(&remaining, in_one_step)).await?;
        held |= decided.said.first().is_some_and(|said| said.letter == b'A');
        remaining = cells(decided.more.into_iter().next())?;
        if remaining.is_empty() {
            break;
        }
    }
    Ok(held)
}

fn cells(value: Option<Value>) -> Result<Vec<Cell>, LedgerError> {
    let cells = value.and_then(array).and_then(|elements| {
        elements.into_iter().map(|element| Cell::from_element(&bytes(element)?)).collect()
    });
    cells.ok_or_else(|| unreadable("a set holds an element that is no fingerprint"))
}
