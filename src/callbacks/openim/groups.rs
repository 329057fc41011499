//! OpenIM's commands about groups.

use super::created::{Created, Creation};
use super::requests::{
    BeforeCreate, BeforeInvite, BeforeJoin, Dismiss, GroupType, Kick, Listed, MembersJoin,
    OWNER_LEVEL, Quit,
};
use crate::callbacks::answer::{Answer, Kind, Undecided, refusal};
use crate::callbacks::batch::Taken;
use crate::callbacks::work::{Work, group, user, users};
use crate::domain::decision::Mode;
use crate::domain::id::{GroupId, UserId};
use crate::domain::id_rules::IdRules;
use crate::ledger::{LedgerError, Operation, TakeOptions};

/// Remembers type and owner of a group, whose members join it in a later callback.
pub async fn before_create(
    work: &Work,
    created: &Created,
    operation_id: &str,
    request: BeforeCreate,
) -> Result<Answer, Undecided> {
    let rules = work.ids();
    let group_type = work.group_type(Some(&request.group_type.0))?;
    let members = request.members.unwrap_or_default();
    let of_list = members.into_iter().find(|it| it.role_level == OWNER_LEVEL).map(|it| it.user_id);
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let owner = of_list.or_else(|| given(&request.owner));
    let owner = owner.map(|owner| user(&rules, &owner)).transpose()?;
    let own_id = request.operation_id.unwrap_or_default();
    let operation_id = if operation_id.is_empty() { &own_id } else { operation_id };
    let (id, is_new) = match given(&request.group_id) {
        Some(id) => (id, false),
        None => (new_group_id()?, true),
    };
    let id = group(&rules, &id)?;
    let creation = Creation { group_type, owner };
    created.remember(work, operation_id, &id, creation).await?;
    let answer = Answer::of(Kind::Allowed);
    Ok(if is_new { answer.with("groupID", id.as_str()) } else { answer })
}

/// Returns a new id: digits, like those of OpenIM.
fn new_group_id() -> Result<String, Undecided> {
    let number = getrandom::u64().map_err(|error| Undecided::Store(error.to_string()))?;
    Ok(number.to_string())
}

/// Takes memberships, and the group too if it is being created, or unknown.
pub async fn members_join(
    work: &Work,
    created: &Created,
    operation_id: &str,
    request: MembersJoin,
) -> Result<Answer, Undecided> {
    let rules = work.ids();
    let id = group(&rules, &request.group_id)?;
    let users = users(&rules, request.members.iter().map(|it: &Listed| it.user_id.as_str()))?;
    let (taken, users) = match created.of_this_sidecar(operation_id, &id) {
        Some(creation) => create(work, work.mode(), id.clone(), users, creation).await?,
        None => match join(work, work.mode(), &id, &users).await {
            Ok(taken) if taken.is_degraded && !taken.is_refused() => {
                // The journal has a join, which is void if the store has no such group: it may be
                // one that another sidecar remembers.
                if let Ok(group_type) = work.group_type(None) {
                    work.create_with(id.clone(), group_type, users.clone()).await?;
                }
                (taken, users)
            }
            Ok(taken) => (taken, users),
            Err(Undecided::Engine(LedgerError::GroupNotFound(_))) => {
                let creation = match Created::of_store(work, operation_id, &id).await? {
                    Some(creation) => creation,
                    None => Creation { group_type: work.group_type(None)?, owner: None },
                };
                create(work, work.mode(), id.clone(), users, creation).await?
            }
            Err(undecided) => return Err(undecided),
        },
    };
    let is_written = work.mode() == Mode::Shadow || !taken.is_refused();
    if is_written && !taken.is_degraded {
        // The take is decided; without notes a leave that is on its way is carried out.
        let owed = work.owe_leaves(operation_id, &id, &users, &taken).await;
        work.metrics.callbacks.noted(work.protocol(), owed.is_ok());
    }
    Ok(answer(work, &taken))
}

/// Checks whether a user could join.
pub async fn before_join(work: &Work, request: BeforeJoin) -> Result<Answer, Undecided> {
    let users = users(&work.ids(), [request.user.as_str()])?;
    check(work, &request.group_id, users, request.group_type).await
}

/// Checks whether users could join. OpenIM ignores a list of those that could not.
pub async fn before_invite(work: &Work, request: BeforeInvite) -> Result<Answer, Undecided> {
    let users = users(&work.ids(), request.users.iter().map(String::as_str))?;
    check(work, &request.group_id, users, None).await
}

async fn check(
    work: &Work,
    id: &str,
    users: Vec<UserId>,
    group_type: Option<GroupType>,
) -> Result<Answer, Undecided> {
    let id = group(&work.ids(), id)?;
    let taken = match join(work, Mode::CheckOnly, &id, &users).await {
        Err(Undecided::Engine(LedgerError::GroupNotFound(_))) => {
            let group_type = work.group_type(group_type.as_ref().map(|it| it.0.as_str()))?;
            let creation = Creation { group_type, owner: None };
            create(work, Mode::CheckOnly, id, users, creation).await?.0
        }
        taken => taken?,
    };
    Ok(answer(work, &taken))
}

async fn join(
    work: &Work,
    mode: Mode,
    group: &GroupId,
    users: &[UserId],
) -> Result<Taken, Undecided> {
    let operation = Operation::JoinGroup { group: group.clone(), users: users.to_vec() };
    work.take_whole(mode, operation).await
}

/// Creates a group, and returns its members beside the owner too, in the order of the results.
async fn create(
    work: &Work,
    mode: Mode,
    group: GroupId,
    mut users: Vec<UserId>,
    creation: Creation,
) -> Result<(Taken, Vec<UserId>), Undecided> {
    let Creation { group_type, owner } = creation;
    users.retain(|user| Some(user) != owner.as_ref());
    let members = users.clone();
    let operation = Operation::CreateGroup { group, group_type, owner, members, max_members: None };
    Ok((work.take_whole(mode, operation).await?, users))
}

/// Returns the answer to a take of a whole batch.
pub fn answer(work: &Work, taken: &Taken) -> Answer {
    Answer::of(match (taken.is_refused(), work.settings().shadow) {
        (false, _) => Kind::Allowed,
        (true, true) => Kind::WouldRefuse,
        (true, false) => Kind::Refused(refusal(&work.settings().codes, taken.results())),
    })
}

/// Removes a user who quit.
pub async fn quit(work: &Work, request: Quit) -> Result<Answer, Undecided> {
    leave(work, &request.group_id, [request.user.as_str()]).await
}

/// Removes users who were kicked.
pub async fn kick(work: &Work, request: Kick) -> Result<Answer, Undecided> {
    leave(work, &request.group_id, request.users.iter().map(String::as_str)).await
}

async fn leave<'a>(
    work: &Work,
    id: &str,
    ids: impl IntoIterator<Item = &'a str>,
) -> Result<Answer, Undecided> {
    // What an earlier catalog admitted can be released under any later one.
    let id = group(&IdRules::WIDEST, id)?;
    let (users, _) = work.good_users(&IdRules::WIDEST, ids)?;
    work.leave(id, users).await
}

/// Dissolves a group.
pub async fn dismiss(work: &Work, request: Dismiss) -> Result<Answer, Undecided> {
    let group = group(&IdRules::WIDEST, &request.group_id)?;
    let dissolved = Operation::DissolveGroup { group };
    match work.apply(Mode::Enforce, TakeOptions::default(), dissolved).await {
        Ok(_) | Err(LedgerError::GroupNotFound(_)) => Ok(Answer::of(Kind::Done)),
        Err(error) => Err(error.into()),
    }
}
