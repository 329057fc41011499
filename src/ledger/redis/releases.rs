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
use crate::domain::decision::{Mode, Outcome, Verdict};
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
        let mut own_keys = vec![keys.friends(me), keys.fans(me)];
        let mut arguments = vec![flag(one_way), me.element()];
        for friend in friends {
            let cell = keys.user(friend);
            own_keys.extend([keys.friends(cell), keys.fans(cell)]);
            arguments.push(cell.element());
        }
        let (script, subjects) = (ScriptId::RemoveFriends, friends.len());
        let step = ScriptCall {
            script,
            part: Part::Friends,
            by_day: false,
            subjects,
            keys: own_keys,
            arguments,
        };
        let decided = work.step(None, step).await?;
        answer.decided_at = at(&decided);
        answer.items.extend(decided.said.iter().map(|said| released(said.letter)));
    }
    Ok(answer)
}

fn released(letter: u8) -> Verdict {
    Verdict::of(if letter == b'A' { Outcome::Applied } else { Outcome::NotHeld })
}

/// Returns the first keys and arguments of scripts that count groups.
fn group_keys(work: &OperationRun<'_>, group: &GroupId) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let keys = work.keys();
    let cell = keys.group(group);
    let own_keys = vec![
        keys.group_record(cell),
        keys.members(cell),
        keys.groups_by_type(),
        keys.groups_by_day(),
    ];
    (own_keys, vec![work.types(), cell.element(), Vec::new(), Vec::new()])
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
        let (mut own_keys, mut arguments) = group_keys(work, group);
        arguments[POSITION] = position.argument(0);
        for user in users {
            let cell = keys.user(user);
            own_keys.extend([keys.counted_groups(cell), keys.other_groups(cell)]);
            arguments.push(cell.element());
        }
        let (script, subjects) = (ScriptId::LeaveGroup, users.len());
        let step = ScriptCall {
            script,
            part: Part::Groups,
            by_day: true,
            subjects,
            keys: own_keys,
            arguments,
        };
        let decided = work.step(None, step).await?;
        answer.decided_at = at(&decided);
        answer.items.extend(decided.said.iter().map(|said| released(said.letter)));
        answer.group_reclaimed |= decided.more.first().and_then(integer) == Some(1);
        let malformed = || unreadable("a group's generation is malformed");
        position.advance(decided.more.get(1)).ok_or_else(malformed)?;
    }
    Ok(answer)
}

/// Index of the position of the step among the own arguments of these scripts.
const POSITION: usize = 2;
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
    let keys = work.keys();
    let mut answer = empty();
    let mut members: Vec<Cell> = Vec::new();
    let mut claim = if is_help { HELP.to_vec() } else { Vec::new() };
    let (mut found, mut is_overtaken) = (false, false);
    loop {
        let (mut own_keys, mut arguments) = group_keys(work, group);
        arguments[POSITION].clone_from(&claim);
        for cell in &members {
            own_keys.extend([keys.counted_groups(*cell), keys.other_groups(*cell)]);
            arguments.push(cell.element());
        }
        let (script, subjects) = (ScriptId::DissolveGroup, members.len());
        let step = ScriptCall {
            script,
            part: Part::Groups,
            by_day: true,
            subjects,
            keys: own_keys,
            arguments,
        };
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
    Ok(Answer { whole: Some(Verdict::of(outcome)), ..answer })
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
    Ok(Answer { decided_at, whole: Some(Verdict::of(outcome)), ..empty() })
}

async fn delete_from_accounts(
    work: &OperationRun<'_>,
    user: &UserId,
) -> Result<(Timestamp, bool), LedgerError> {
    let keys = work.keys();
    let cell = keys.user(user);
    let step = ScriptCall {
        script: ScriptId::DeleteAccount,
        part: Part::Accounts,
        by_day: false,
        subjects: 1,
        keys: vec![keys.accounts(), keys.account_bucket(cell)],
        arguments: vec![cell.element()],
    };
    let decided = work.step(None, step).await?;
    Ok((at(&decided), decided.said.first().is_some_and(|said| said.letter == b'A')))
}

async fn delete_friends(work: &OperationRun<'_>, user: &UserId) -> Result<bool, LedgerError> {
    let keys = work.keys();
    let me = keys.user(user);
    release_all(work, |others, in_one_step| {
        let mut own_keys = vec![keys.friends(me), keys.fans(me)];
        let mut arguments = vec![me.element(), flag(in_one_step)];
        for other in others {
            own_keys.extend([keys.friends(*other), keys.fans(*other)]);
            arguments.push(other.element());
        }
        let (script, subjects) = (ScriptId::DeleteFriends, others.len());
        ScriptCall {
            script,
            part: Part::Friends,
            by_day: false,
            subjects,
            keys: own_keys,
            arguments,
        }
    })
    .await
}

async fn delete_memberships(work: &OperationRun<'_>, user: &UserId) -> Result<bool, LedgerError> {
    let keys = work.keys();
    let me = keys.user(user);
    release_all(work, |groups, in_one_step| {
        let mut own_keys = vec![
            keys.counted_groups(me),
            keys.other_groups(me),
            keys.groups_by_type(),
            keys.groups_by_day(),
        ];
        let mut arguments = vec![work.types(), me.element(), flag(in_one_step), Vec::new()];
        for group in groups {
            own_keys.extend([keys.group_record(*group), keys.members(*group)]);
            arguments.push(group.element());
        }
        let (script, subjects) = (ScriptId::DeleteMemberships, groups.len());
        ScriptCall { script, part: Part::Groups, by_day: true, subjects, keys: own_keys, arguments }
    })
    .await
}

/// Attempts to release everything in one step, if the facts change between listing and releasing,
/// before it is done in parts.
const ONE_STEP_ATTEMPTS: usize = 16;

/// Repeats a step with the remainder that its last reply lists, until nothing remains. Returns
/// whether there was anything.
///
/// What fits into one step is released in one, so that no caller sees a partial release.
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
