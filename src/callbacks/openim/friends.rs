//! OpenIM's commands about users and friends.

use super::groups::answer;
use super::requests::{Agree, BeforeAddFriend, DeleteFriend, Import, Online, Register};
use crate::callbacks::answer::{Answer, Kind, Undecided, is_refused, refusal};
use crate::callbacks::work::{Work, user, users};
use crate::domain::decision::Mode;
use crate::domain::id::UserId;
use crate::domain::id_rules::IdRules;
use crate::domain::metering::Login;
use crate::ledger::{Operation, TakeOptions};

/// The result with which a request for friendship is accepted.
const ACCEPTED: i64 = 1;

/// Takes an account for each user, or none.
pub async fn register(work: &Work, request: Register) -> Result<Answer, Undecided> {
    let users = users(&work.ids(), request.users.iter().map(|it| it.user_id.as_str()))?;
    let taken = work.take_whole(work.mode(), Operation::CreateAccounts { users }).await?;
    Ok(answer(work, &taken))
}

/// Checks both lists: a request is no friendship yet.
pub async fn before_add(work: &Work, request: BeforeAddFriend) -> Result<Answer, Undecided> {
    add(work, Mode::CheckOnly, &request.from, &request.to).await
}

/// Takes a place in both lists. The accepting user acts: the limit of their list is the own one.
pub async fn agree(work: &Work, request: Agree) -> Result<Answer, Undecided> {
    if request.result != ACCEPTED {
        return Ok(Answer::of(Kind::Allowed));
    }
    add(work, work.mode(), &request.answering, &request.from).await
}

async fn add(work: &Work, mode: Mode, own: &str, friend: &str) -> Result<Answer, Undecided> {
    let rules = work.ids();
    let (user, friend) = (user(&rules, own)?, user(&rules, friend)?);
    let operation = both_ways(user, vec![friend])?;
    let taken = work.take_whole(mode, operation).await?;
    Ok(answer(work, &taken))
}

fn both_ways(user: UserId, friends: Vec<UserId>) -> Result<Operation, Undecided> {
    if friends.contains(&user) {
        return Err(Undecided::BadId("is that of the user's own friend".to_owned()));
    }
    Ok(Operation::AddFriends { user, friends, one_way: false })
}

/// Takes places for each friend alone, and shortens the list to those that were admitted. OpenIM
/// takes an empty list as unchanged, so that none at all is a refusal.
pub async fn import(work: &Work, request: Import) -> Result<Answer, Undecided> {
    let rules = work.ids();
    let owner = user(&rules, &request.owner)?;
    let given = request.friends.iter().map(String::as_str);
    let (friends, bad) = work.good_users(&rules, given)?;
    let taken = work.take_each(work.mode(), both_ways(owner, friends.clone())?).await?;
    let refuses_bad = work.refuses_undecided() && !bad.is_empty();
    if !taken.is_refused() && !refuses_bad {
        return Ok(Answer::of(Kind::Allowed));
    }
    if work.settings().shadow {
        return Ok(Answer::of(Kind::WouldRefuse));
    }
    let results = friends.iter().zip(&taken.items);
    let admitted = results.filter(|(_, result)| !is_refused(result));
    let admitted = admitted.map(|(friend, _)| friend.as_str());
    let undecided = bad.into_iter().filter(|_| !refuses_bad);
    let admitted: Vec<_> = admitted.chain(undecided).collect();
    Ok(if admitted.is_empty() {
        let refusal = refusal(&work.settings().codes, taken.results());
        Answer::of(Kind::Refused(refusal))
    } else {
        Answer::of(Kind::PartlyRefused).with("friendUserIDs", admitted)
    })
}

/// Releases a place in the user's own list: OpenIM leaves the other one as it is.
pub async fn delete(work: &Work, request: DeleteFriend) -> Result<Answer, Undecided> {
    let rules = IdRules::WIDEST;
    let (user, friend) = (user(&rules, &request.owner)?, user(&rules, &request.friend)?);
    let operation = Operation::RemoveFriends { user, friends: vec![friend], one_way: true };
    work.apply(Mode::Enforce, TakeOptions::default(), operation).await?;
    Ok(Answer::of(Kind::Done))
}

/// Counts a login.
pub async fn online(work: &Work, request: Online) -> Result<Answer, Undecided> {
    let user = user(&work.ids(), &request.user)?;
    work.record_login(Login { user, at: None }).await?;
    Ok(Answer::of(Kind::Done))
}
