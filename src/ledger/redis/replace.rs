//! Creates a group from a held one, with its members: see `scripts/replace_group.lua`.

use super::reconcile::list_set;
use super::reply::{Decided, Reply};
use super::takes::NewGroup;
use super::work::{OperationRun, ScriptCall, flag, refusal};
use crate::domain::id::GroupId;
use crate::ledger::{CannotReplace, LedgerError};
use crate::redis::keys::{Cell, Part};
use crate::redis::scripts::ScriptId;
use crate::store::StoreError;

/// Most attempts to replace a group whose members change meanwhile.
const ATTEMPTS_MAX: usize = 16;

/// Creates the group from the held one; `None` if that one does not exist, or the new one does.
pub async fn replace(
    work: &OperationRun<'_>,
    new: &NewGroup<'_>,
    held: &GroupId,
) -> Result<Option<Decided>, LedgerError> {
    let keys = work.keys();
    // The members are listed only of a group that can be replaced.
    let mut members = Vec::new();
    for _ in 0..ATTEMPTS_MAX {
        match work.try_step(&call(work, new, held, std::mem::take(&mut members))).await? {
            Reply::Decided(decided) => return Ok(Some(decided)),
            Reply::Nothing { why, .. } if why == "not_replaced" => return Ok(None),
            Reply::Nothing { why, .. } if why == "changed" => {
                let listed = list_set(work, Part::Groups, keys.members(keys.group(held))).await?;
                members = listed.into_iter().collect();
            }
            Reply::Nothing { why, detail, .. } if why == "cannot_replace" => {
                let why = match detail.as_str() {
                    "not_held" => CannotReplace::Permanent,
                    "type" => CannotReplace::OtherType,
                    _ => CannotReplace::TooManyMembers,
                };
                return Err(LedgerError::CannotReplace { group: held.clone(), why });
            }
            Reply::Nothing { why, detail, .. } => {
                return Err(refusal(work.call, Some(new.id), &why, &detail));
            }
        }
    }
    Err(StoreError::Refused(format!("the members of group \"{held}\" keep changing")).into())
}

/// Returns the call of the script; `members` are those of the held group.
fn call(
    work: &OperationRun<'_>,
    new: &NewGroup<'_>,
    held: &GroupId,
    members: Vec<Cell>,
) -> ScriptCall {
    let keys = work.keys();
    let (old, group) = (keys.group(held), keys.group(new.id));
    let own = new.max_members.map_or_else(|| "-".to_owned(), |max| max.to_string());
    let users = new.owner.into_iter().chain(new.members).map(|user| keys.user(user));
    let users: Vec<Cell> = users.collect();
    let count = users.len().to_string();
    ScriptCall::new(ScriptId::ReplaceGroup, Part::Groups)
        .keys(keys.of_group(old))
        .keys([keys.groups_by_type(), keys.groups_by_day()])
        .keys(keys.of_group(group))
        .arguments([
            work.types(),
            old.element(),
            b"0".to_vec(),
            Vec::new(),
            own.into_bytes(),
            group.element(),
            new.group_type.as_str().as_bytes().to_vec(),
            flag(new.owner.is_some()),
            new.id.as_str().as_bytes().to_vec(),
            count.into_bytes(),
        ])
        .on(users.into_iter().chain(members), |user| keys.memberships(user))
        .by_day()
}
