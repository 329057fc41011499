//! Turns the replies of scripts into item results: notes are counts that violate limits, whose
//! values are computed from the same segment of limits by which the script decided.

use std::convert::Infallible;

use super::reply::{Decided, ItemReply, LimitTag, ThresholdCrossed, ViolationNote};
use crate::domain::bounds::GroupRules;
use crate::domain::checks::Checks;
use crate::domain::decision::{ItemResult, Outcome, Subject, Violation};
use crate::domain::group_type::GroupType;
use crate::domain::id::{GroupId, UserId};
use crate::domain::limits::Scope;
use crate::domain::operation::{Counted, OperationKind, Whose};
use crate::domain::schedule::Limits;
use crate::domain::time::Timestamp;
use crate::domain::warning::Warning;
use crate::ledger::{Answer, Call, LedgerError, schedule_codec};
use crate::redis::keys::Keys;
use crate::store::StoreError;

/// The group of an operation, as stored.
pub struct Group<'a> {
    /// Its id.
    pub id: &'a GroupId,
    /// Its type.
    pub kind: GroupType,
    /// Its own limit.
    pub own: Option<u32>,
}

/// The context in which a reply is decoded.
pub struct ReplyContext<'a> {
    /// The context of the operation.
    pub call: &'a Call,
    /// The acting user, if it is not the item's.
    pub actor: Option<&'a UserId>,
    /// The group, if there is one.
    pub group: Option<Group<'a>>,
    /// The kind of the operation.
    pub kind: OperationKind,
}

impl ReplyContext<'_> {
    /// Returns the item results in order; `users` are the items' users.
    pub fn results(
        &self,
        said: &[ItemReply],
        users: &[&UserId],
        limits: Option<&Limits>,
    ) -> Option<Vec<ItemResult<Violation>>> {
        said.iter().zip(users).map(|(said, user)| self.result(said, Some(user), limits)).collect()
    }

    /// Returns one item result; `None` if the reply is malformed.
    pub fn result(
        &self,
        said: &ItemReply,
        user: Option<&UserId>,
        limits: Option<&Limits>,
    ) -> Option<ItemResult<Violation>> {
        let outcome = match said.letter {
            b'A' | b'S' => Outcome::Applied,
            b'R' | b'Q' => Outcome::Repeated,
            b'H' | b'G' => Outcome::AlreadyHeld,
            b'N' => Outcome::NotHeld,
            b'D' => Outcome::Denied,
            b'X' => Outcome::Aborted,
            _ => return None,
        };
        let violation = |note: &ViolationNote| self.violation(*note, user, limits?);
        let violations = said.notes.iter().map(violation).collect::<Option<Vec<_>>>()?;
        Some(ItemResult::new(outcome, violations))
    }

    fn violation(
        &self,
        note: ViolationNote,
        user: Option<&UserId>,
        limits: &Limits,
    ) -> Option<Violation> {
        let ViolationNote { over: LimitTag { limit, is_peer }, used } = note;
        let whose = match limit.row().scope {
            Scope::App => Whose::App,
            Scope::Group => Whose::Group(self.group.as_ref()?.id),
            // With two users, the count is the actor's unless it is the peer's.
            Scope::User if limit.row().peer.is_some() && !is_peer => Whose::User(self.actor?),
            Scope::User => Whose::User(user?),
        };
        let group = self
            .group
            .as_ref()
            .map(|Group { id, kind, own }| GroupRules { kind, own: own.map(|max| (max, *id)) });
        let checks = Checks { catalog: &self.call.catalog, limits, kind: self.kind, group };
        let used = || Ok::<_, Infallible>(i64::try_from(used).unwrap_or(i64::MAX));
        checks.check(Counted { limit, is_peer, whose }, used).ok()?
    }
}

/// Returns the limits by which a script decided; `None` if it needed none.
pub fn limits(call: &Call, decided: &Decided) -> Result<Option<Limits>, LedgerError> {
    if decided.said.iter().all(|said| said.notes.is_empty()) {
        return Ok(None);
    }
    if decided.segment.is_empty() {
        let default = call.unknown_app.as_ref();
        return Ok(default.map(|schedule| schedule.at(at(decided)).clone()));
    }
    schedule_codec::decode_limits(&decided.segment)
        .map(Some)
        .map_err(|reason| unreadable(&format!("limits of app \"{}\": {reason}", call.app)))
}

/// Returns when the script decided.
pub fn at(decided: &Decided) -> Timestamp {
    Timestamp::from_millis(decided.now)
}

/// The error for stored data or replies that are malformed.
pub fn unreadable(reason: &str) -> LedgerError {
    StoreError::malformed(reason).into()
}

/// Returns the counts that crossed a threshold in a step; `users` and `group` are those of the
/// step.
pub fn warnings(
    keys: &Keys,
    decided: &Decided,
    users: &[&UserId],
    group: Option<&GroupId>,
) -> Vec<Warning> {
    warnings_of(keys, &decided.risen, users, group)
}

/// Returns the warnings for crossed thresholds.
pub fn warnings_of(
    keys: &Keys,
    risen: &[ThresholdCrossed],
    users: &[&UserId],
    group: Option<&GroupId>,
) -> Vec<Warning> {
    let warning = |risen: &ThresholdCrossed| {
        let ThresholdCrossed { over, of, used, limit, percent } = risen;
        let is_user = |user: &&&UserId| keys.user(user).element() == of.as_bytes();
        let subject = match over.row().scope {
            Scope::App => Subject::App,
            Scope::User => Subject::User((*users.iter().find(is_user)?).clone()),
            Scope::Group => Subject::Group(group?.clone()),
        };
        Warning::of(*over, Some(&of.as_str().into()), subject, (*used, *limit), *percent)
    };
    risen.iter().filter_map(warning).collect()
}

/// Adds the result of a step to those of the steps before.
pub fn extend(
    answer: &mut Answer,
    decided: &Decided,
    limits: Option<Limits>,
    items: Vec<ItemResult<Violation>>,
) {
    answer.decided_at = at(decided);
    answer.items.extend(items);
    answer.limits = limits.or(answer.limits.take());
}

/// A decision without any step yet.
pub fn empty() -> Answer {
    Answer {
        decided_at: Timestamp::from_millis(0),
        whole: None,
        items: Vec::new(),
        members_released: 0,
        group_reclaimed: false,
        limits: None,
        warnings: Vec::new(),
    }
}
