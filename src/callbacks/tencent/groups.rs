//! Tencent's commands about groups.
//!
//! A group has no id before it is created: it is taken under a placeholder with a hold, which the
//! next callback replaces by the group in one step.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::requests::{Application, Creation, Destruction, Member, Members};
use crate::callbacks::answer::{Answer, Kind, Undecided, is_refused, refusal};
use crate::callbacks::batch::Taken;
use crate::callbacks::instants::{MemberEvent, Noted};
use crate::callbacks::work::{HOLD_SECONDS, Work, group, new_hold, random};
use crate::domain::decision::{Mode, Outcome};
use crate::domain::hold::HoldEnd;
use crate::domain::id::{GroupId, OperationId, UserId};
use crate::domain::id_rules::IdRules;
use crate::domain::time::Timestamp;
use crate::engine::Decision;
use crate::ledger::{LedgerError, Operation, TakeOptions, WHOLE_BATCH_MAX};

/// Types of groups that a user joins without an approval.
const WITHOUT_APPROVAL: [&str; 5] = ["Meeting", "ChatRoom", "AVChatRoom", "BChatRoom", "Community"];

/// A group that is taken under an id of its own until it has one.
#[derive(Debug, PartialEq, Eq)]
struct Placeholder {
    group: GroupId,
    hold: OperationId,
    /// The digest of its members: it is replaced only by a group that has the same.
    members: String,
}

impl Placeholder {
    fn text(&self) -> String {
        json!([self.group.as_str(), self.hold.as_str(), self.members]).to_string()
    }

    fn read(text: &str) -> Option<Self> {
        let (group, hold, members): (String, String, String) = serde_json::from_str(text).ok()?;
        let (group, hold) = (GroupId::try_from(group).ok()?, OperationId::try_from(hold).ok()?);
        Some(Self { group, hold, members })
    }
}

fn hex_digest(text: &str) -> String {
    let mut hex = String::new();
    for byte in Sha256::digest(text) {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

fn digest_of(owner: Option<&UserId>, members: &[UserId]) -> String {
    let mut ids: Vec<_> = members.iter().chain(owner).map(UserId::as_str).collect();
    ids.sort_unstable();
    ids.dedup();
    hex_digest(&json!(ids).to_string())
}

/// Returns the queue of placeholders of creations that look alike.
fn queue(request: &Creation) -> String {
    let alike = json!([request.owner, request.group_type, request.name]).to_string();
    format!("tencent/create/{}", hex_digest(&alike))
}

/// Returns owner and further members of a group that was created, without bad ids.
fn good_people(work: &Work, rules: &IdRules, request: &Creation) -> (Option<UserId>, Vec<UserId>) {
    let good = |ids| work.good_users(rules, ids).unwrap_or_default().0;
    let owner = good(vec![request.owner.as_str()]).pop();
    let listed = request.member_list.as_deref().unwrap_or_default();
    let mut members = good(accounts(listed).collect());
    members.retain(|user| Some(user) != owner.as_ref());
    (owner, members)
}

fn accounts(members: &[Member]) -> impl Iterator<Item = &str> {
    members.iter().map(|member| member.account.as_str())
}

/// Takes a group under a placeholder.
pub async fn before_create(work: &Work, request: Creation) -> Result<Answer, Undecided> {
    let rules = work.ids();
    let group_type = work.group_type(Some(&request.group_type))?;
    // Bad ids leave the rest to be decided: one of them exempts no group from its limits.
    let (owner, mut members) = good_people(work, &rules, &request);
    // A larger group is no whole batch. Its placeholder has as many members as one, and is not
    // replaced, since the digest of all members differs.
    members.truncate(WHOLE_BATCH_MAX);
    let hold = new_hold()?;
    let id = group(&rules, &format!("imquota-{}", random()?))?;
    let placeholder = Placeholder {
        group: id.clone(),
        hold: hold.id.clone(),
        members: digest_of(owner.as_ref(), &members),
    };
    let operation =
        Operation::CreateGroup { group: id, group_type, owner, members, max_members: None };
    let take = TakeOptions { all_or_nothing: true, hold: Some(hold), replaces: None };
    let decision = work.apply(work.mode(), take, operation).await?;
    let is_refused = decision.results().any(is_refused);
    if is_refused && !work.settings().shadow {
        return Ok(refused(work, &placeholder.group, &decision));
    }
    let lasting = Duration::from_secs(HOLD_SECONDS.into());
    let (app, name, text) = (&work.app, queue(&request), placeholder.text());
    let pushed = work.notes.push(app, &name, &text, lasting, work.deadline).await;
    work.metrics.callbacks.noted(work.protocol(), pushed.is_ok());
    if pushed.is_err() {
        // The group is written regardless of limits later, and must not count twice. A hold that
        // cannot be released now ends by itself.
        let _ = work.end_hold(&placeholder.hold, HoldEnd::Release).await;
    }
    Ok(Answer::of(if is_refused { Kind::WouldRefuse } else { Kind::Allowed }))
}

/// Returns the refusal of a creation, without the placeholder, which clients have never seen.
fn refused(work: &Work, placeholder: &GroupId, decision: &Decision) -> Answer {
    let mut refusal = refusal(&work.settings().codes, decision.results());
    let unnamed = format!("group \"{placeholder}\"");
    refusal.sentence = refusal.sentence.replace(&unnamed, "the new group");
    Answer::of(Kind::Refused(refusal))
}

/// Writes a group that was created, in place of its placeholder.
pub async fn after_create(work: &Work, request: Creation) -> Result<Answer, Undecided> {
    let rules = work.ids();
    let group_type = work.group_type(Some(&request.group_type))?;
    let id = group(&rules, &request.group_id)?;
    let (owner, members) = good_people(work, &rules, &request);
    let at = request.event_time.0.unwrap_or_else(|| work.engine.local_now());
    let everyone: Vec<_> = members.iter().chain(&owner).cloned().collect();
    let event = MemberEvent {
        group: id.clone(),
        group_type: Some(group_type.clone()),
        users: everyone,
        at,
    };
    work.note_group(Noted::Creation, &id, at).await;
    work.note_members(Noted::Take, &event).await;
    let popped = work.notes.pop(&work.app, &queue(&request), work.deadline).await;
    work.metrics.callbacks.noted(work.protocol(), popped.is_ok());
    let placeholder = popped.ok().flatten().and_then(|text| Placeholder::read(&text));
    if work.is_group_later(Noted::Dissolution, &id, at).await {
        work.metrics.callbacks.dropped(work.protocol(), 1);
        return Ok(Answer::of(Kind::Dropped));
    }
    let digest = digest_of(owner.as_ref(), &members);
    let operation =
        Operation::CreateGroup { group: id, group_type, owner, members, max_members: None };
    write_created(work, operation, placeholder, &digest).await?;
    Ok(Answer::of(Kind::Done))
}

async fn write_created(
    work: &Work,
    operation: Operation,
    placeholder: Option<Placeholder>,
    members: &str,
) -> Result<(), Undecided> {
    let same = placeholder.as_ref().filter(|placeholder| placeholder.members == members);
    if let Some(same) = same {
        let take = TakeOptions { replaces: Some(same.group.clone()), ..TakeOptions::default() };
        match work.apply(Mode::Force, take, operation.clone()).await {
            Ok(decision) => {
                let whole = decision.whole.as_ref().map(|whole| whole.outcome);
                if whole == Some(Outcome::AlreadyHeld) {
                    // Another callback has written the group before, and nothing was replaced.
                    work.end_hold(&same.hold, HoldEnd::Release).await?;
                }
                return Ok(());
            }
            Err(LedgerError::CannotReplace { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    work.take_each(Mode::Force, operation).await?;
    if let Some(placeholder) = placeholder {
        work.end_hold(&placeholder.hold, HoldEnd::Release).await?;
    }
    Ok(())
}

/// Returns the event about the members whose ids are good, and the other ids.
fn event<'r>(
    work: &Work,
    rules: &IdRules,
    request: &'r Members,
) -> Result<(MemberEvent, Vec<&'r str>), Undecided> {
    let (users, bad) = work.good_users(rules, accounts(&request.users))?;
    let event = MemberEvent {
        group: group(rules, &request.group_id)?,
        group_type: work.group_type(Some(&request.group_type)).ok(),
        users,
        at: request.event_time.0.unwrap_or_else(|| work.engine.local_now()),
    };
    Ok((event, bad))
}

/// Takes memberships of invited users, each alone.
pub async fn before_invite(work: &Work, request: Members) -> Result<Answer, Undecided> {
    let (event, bad) = event(work, &work.ids(), &request)?;
    work.note_members(Noted::Take, &event).await;
    let taken = join(work, &event, Join::Each(work.mode())).await?;
    let results = event.users.iter().zip(&taken.items);
    let denied = results.filter(|(_, it)| is_refused(it)).map(|(user, _)| user.as_str());
    let all = event.users.len() + bad.len();
    let undecided = bad.into_iter().filter(|_| work.refuses_undecided());
    let refused: Vec<_> = denied.chain(undecided).collect();
    Ok(match refused.len() {
        0 => Answer::of(Kind::Allowed),
        _ if work.settings().shadow => Answer::of(Kind::WouldRefuse),
        refused_len if refused_len == all => {
            let refusal = refusal(&work.settings().codes, taken.results());
            Answer::of(Kind::Refused(refusal)).with("RefusedMembers_Account", refused)
        }
        _ => Answer::of(Kind::PartlyRefused).with("RefusedMembers_Account", refused),
    })
}

/// Takes the membership of a user with a hold, if no approval follows; else checks it.
pub async fn before_apply(work: &Work, request: Application) -> Result<Answer, Undecided> {
    let needs_approval = !WITHOUT_APPROVAL.contains(&request.group_type.as_str());
    let users = vec![Member { account: request.user }];
    let (group_id, group_type, event_time) =
        (request.group_id, request.group_type, request.event_time);
    let request = Members { group_id, group_type, users, event_time };
    let (event, _) = event(work, &work.ids(), &request)?;
    let taken = if needs_approval {
        join(work, &event, Join::Each(Mode::CheckOnly)).await?
    } else {
        work.note_members(Noted::Take, &event).await;
        join(work, &event, Join::Held).await?
    };
    Ok(match (taken.is_refused(), work.settings().shadow) {
        (false, _) => Answer::of(Kind::Allowed),
        (true, true) => Answer::of(Kind::WouldRefuse),
        (true, false) => {
            Answer::of(Kind::Refused(refusal(&work.settings().codes, taken.results())))
        }
    })
}

/// How memberships are taken.
#[derive(Debug, Clone, Copy)]
enum Join {
    /// Each alone, in this mode.
    Each(Mode),
    /// With a hold.
    Held,
}

impl Join {
    async fn take(self, work: &Work, event: &MemberEvent) -> Result<Taken, Undecided> {
        let (group, users) = (event.group.clone(), event.users.clone());
        let operation = Operation::JoinGroup { group, users };
        match self {
            Self::Each(mode) => work.take_each(mode, operation).await,
            Self::Held => {
                let take = TakeOptions { hold: Some(new_hold()?), ..TakeOptions::default() };
                let decision = work.apply(work.mode(), take, operation).await?;
                Ok(Taken { items: decision.items, ..Taken::default() })
            }
        }
    }
}

/// Takes memberships, and creates the group first if it is unknown: it exists in the IM.
async fn join(work: &Work, event: &MemberEvent, join: Join) -> Result<Taken, Undecided> {
    match join.take(work, event).await {
        Err(Undecided::Engine(LedgerError::GroupNotFound(unknown))) => {
            if work.is_group_later(Noted::Dissolution, &event.group, event.at).await {
                return Err(LedgerError::GroupNotFound(unknown).into());
            }
            work.create_unknown(&event.group, event.group_type.as_ref()).await?;
            join.take(work, event).await
        }
        taken => taken,
    }
}

/// Writes members who were added.
pub async fn after_join(work: &Work, request: Members) -> Result<Answer, Undecided> {
    work.joined(event(work, &work.ids(), &request)?.0).await
}

/// Removes members who have left.
pub async fn after_exit(work: &Work, request: Members) -> Result<Answer, Undecided> {
    work.left(event(work, &IdRules::WIDEST, &request)?.0).await
}

/// Dissolves a group, unless it was created again.
pub async fn destroyed(work: &Work, request: Destruction) -> Result<Answer, Undecided> {
    let id = group(&IdRules::WIDEST, &request.group_id)?;
    let at: Timestamp = request.event_time.0.unwrap_or_else(|| work.engine.local_now());
    work.note_group(Noted::Dissolution, &id, at).await;
    if work.is_group_later(Noted::Creation, &id, at).await {
        work.metrics.callbacks.dropped(work.protocol(), 1);
        return Ok(Answer::of(Kind::Dropped));
    }
    let dissolved = Operation::DissolveGroup { group: id };
    match work.apply(Mode::Enforce, TakeOptions::default(), dissolved).await {
        Ok(_) | Err(LedgerError::GroupNotFound(_)) => Ok(Answer::of(Kind::Done)),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user_id(id: &str) -> UserId {
        UserId::try_from(id).expect("an id")
    }

    #[test]
    fn the_digest_of_members_depends_on_the_set_alone() {
        let [a, b, c] = ["a", "b", "c"].map(user_id);
        let digest = digest_of(Some(&a), &[b.clone(), c.clone()]);
        assert_eq!(digest, digest_of(Some(&a), &[c.clone(), a.clone(), b.clone()]));
        assert_ne!(digest, digest_of(Some(&a), &[b]));
        assert_ne!(digest, digest_of(None, &[c]));
    }

    #[test]
    fn a_placeholder_is_read_as_it_was_written() {
        let placeholder = Placeholder {
            group: GroupId::try_from("imquota-1").expect("an id"),
            hold: OperationId::try_from("callback-1").expect("an id"),
            members: "ab".to_owned(),
        };
        let read = Placeholder::read(&placeholder.text());
        assert_eq!(read, Some(placeholder));
        assert_eq!(Placeholder::read("imquota-1"), None);
    }

    #[test]
    fn placeholders_of_one_owner_type_and_name_share_a_queue() {
        let queue_of = |owner: &str, group_type: &str, name: &str| {
            let json = json!({"Owner_Account": owner, "Type": group_type, "Name": name});
            queue(&serde_json::from_value(json).expect("a request"))
        };
        assert_eq!(queue_of("a", "Public", "n"), queue_of("a", "Public", "n"));
        assert_ne!(queue_of("a", "Public", "n"), queue_of("a", "Publicn", ""));
        assert!(queue_of("a", "Public", &"n".repeat(5_000)).len() < 100);
    }
}
