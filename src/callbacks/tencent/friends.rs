//! Tencent's commands about friends and states.

use serde_json::{Value, json};

use super::answers::friend_code;
use super::requests::{Friend, FriendAdd, FriendResponse, Pair, Pairs, StateChange};
use crate::callbacks::answer::{Answer, Kind, Refusal, Undecided, is_refused, refusal};
use crate::callbacks::settings::Unavailable;
use crate::callbacks::work::{Work, user};
use crate::domain::decision::{ItemResult, Mode};
use crate::domain::id::UserId;
use crate::domain::id_rules::IdRules;
use crate::domain::metering::Login;
use crate::engine::Denial;
use crate::ledger::Operation;

/// The only type of a request that the friend need not agree to.
const ADD_SINGLE: &str = "Add_Type_Single";

/// Takes a place in the user's own list for each friend, or checks both lists if the friend has to
/// agree.
pub async fn before_add(work: &Work, request: FriendAdd) -> Result<Answer, Undecided> {
    let one_way = request.add_type.as_deref() == Some(ADD_SINGLE);
    let mode = if one_way { work.mode() } else { Mode::CheckOnly };
    let mut results = Vec::with_capacity(request.friend_item.len());
    let rules = work.ids();
    let own = user(&rules, &request.user);
    for friend in &request.friend_item {
        let pair = own.clone().and_then(|own| Ok((own, user(&rules, &friend.account)?)));
        results.push(match pair {
            Ok((own, friend)) => add(work, mode, own, friend, one_way).await,
            Err(undecided) => Err(undecided),
        });
    }
    Ok(answer(work, &request.friend_item, results))
}

/// Takes what a user agrees to: to be in the list of the user who asked, or both.
pub async fn before_response(work: &Work, request: FriendResponse) -> Result<Answer, Undecided> {
    let mut results = Vec::with_capacity(request.response_friend_item.len());
    let rules = work.ids();
    let own = user(&rules, &request.user);
    for friend in &request.response_friend_item {
        let pair = own.clone().and_then(|own| Ok((own, user(&rules, &friend.account)?)));
        let mode = work.mode();
        results.push(match (friend.response_action.as_str(), pair) {
            ("Response_Action_Agree", Ok((own, asking))) => {
                add(work, mode, asking, own, true).await
            }
            ("Response_Action_AgreeAndAdd", Ok((own, asking))) => {
                add(work, mode, own, asking, false).await
            }
            (_, Ok(_)) => Ok(None),
            (_, Err(undecided)) => Err(undecided),
        });
    }
    Ok(answer(work, &request.response_friend_item, results))
}

/// The result for one friend; `None` if nothing was to be decided.
type Decided = Result<Option<ItemResult<Denial>>, Undecided>;

async fn add(work: &Work, mode: Mode, user: UserId, friend: UserId, one_way: bool) -> Decided {
    if user == friend {
        return Err(Undecided::BadId("is that of the user's own friend".to_owned()));
    }
    let operation = Operation::AddFriends { user, friends: vec![friend], one_way };
    Ok(work.take_each(mode, operation).await?.items.pop())
}

/// Returns the answer, with a code for each friend.
fn answer(work: &Work, friends: &[Friend], results: Vec<Decided>) -> Answer {
    let settings = work.settings();
    let (mut items, mut refused, mut undecided) = (Vec::new(), 0, None);
    for (friend, result) in friends.iter().zip(results) {
        let refusal = match result {
            Ok(Some(result)) if is_refused(&result) => {
                refused += 1;
                Some(refusal(&settings.codes, [&result]))
            }
            Ok(_) => None,
            Err(why) => {
                undecided = Some(why);
                let is_refused = settings.unavailable == Unavailable::Refuse;
                is_refused.then(|| Refusal {
                    code: settings.codes.unavailable,
                    sentence: "the quota service made no decision; try again later".to_owned(),
                    detail: String::new(),
                })
            }
        };
        items.push(item(&friend.account, refusal.filter(|_| !settings.shadow)));
    }
    let kind = match (undecided, refused) {
        (Some(why), _) => Kind::Undecided(why),
        (None, 0) => Kind::Allowed,
        _ if settings.shadow => Kind::WouldRefuse,
        // The codes of the friends say which of them; the request as a whole goes on.
        _ => Kind::PartlyRefused,
    };
    Answer::of(kind).with("ResultItem", items)
}

fn item(account: &str, refusal: Option<Refusal>) -> Value {
    let Refusal { code, sentence, .. } = refusal.unwrap_or_default();
    json!({ "To_Account": account, "ResultCode": friend_code(code), "ResultInfo": sentence })
}

/// Writes friends who were added, a list for each pair.
pub async fn added(work: &Work, request: Pairs) -> Result<Answer, Undecided> {
    for (user, friends) in lists(&work.ids(), &request.pair_list)? {
        let operation = Operation::AddFriends { user, friends, one_way: true };
        work.take_each(Mode::Force, operation).await?;
    }
    Ok(Answer::of(Kind::Done))
}

/// Removes friends who were deleted, from a list for each pair.
pub async fn deleted(work: &Work, request: Pairs) -> Result<Answer, Undecided> {
    for (user, friends) in lists(&IdRules::WIDEST, &request.pair_list)? {
        let operation = Operation::RemoveFriends { user, friends, one_way: true };
        work.take_each(Mode::Enforce, operation).await?;
    }
    Ok(Answer::of(Kind::Done))
}

/// Returns the friends of each user, in order.
fn lists(rules: &IdRules, pairs: &[Pair]) -> Result<Vec<(UserId, Vec<UserId>)>, Undecided> {
    let mut lists = indexmap::IndexMap::<_, Vec<_>>::new();
    for pair in pairs {
        let (user, friend) = (user(rules, &pair.user)?, user(rules, &pair.friend)?);
        if user != friend {
            lists.entry(user).or_default().push(friend);
        }
    }
    Ok(lists.into_iter().collect())
}

/// Counts a login.
pub async fn state(work: &Work, request: StateChange) -> Result<Answer, Undecided> {
    if request.info.action != "Login" {
        return Ok(Answer::of(Kind::Ignored));
    }
    let user = user(&work.ids(), &request.info.user)?;
    work.record_login(Login { user, at: request.event_time.0 }).await?;
    Ok(Answer::of(Kind::Done))
}
