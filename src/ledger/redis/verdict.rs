//! Turns the replies of scripts into item results: notes become violations, whose bounds are
//! computed from the same segment of limits by which the script decided.

use super::reply::{Decided, ItemReply, LimitTag, ThresholdCrossed, ViolationNote};
use crate::domain::decision::{Outcome, Reason, Subject, Verdict, Violation};
use crate::domain::group_type::GroupType;
use crate::domain::id::{GroupId, UserId};
use crate::domain::limit::LimitId;
use crate::domain::schedule::Limits;
use crate::domain::time::Timestamp;
use crate::domain::usage::per_day_of_all_types;
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
    /// The reason if the group is full.
    pub full: Reason,
}

impl ReplyContext<'_> {
    /// Returns the item results in order; `users` are the items' users.
    pub fn verdicts(
        &self,
        said: &[ItemReply],
        users: &[&UserId],
        limits: Option<&Limits>,
    ) -> Option<Vec<Verdict>> {
        said.iter().zip(users).map(|(said, user)| self.verdict(said, Some(user), limits)).collect()
    }

    /// Returns one item result; `None` if the reply is malformed.
    pub fn verdict(
        &self,
        said: &ItemReply,
        user: Option<&UserId>,
        limits: Option<&Limits>,
    ) -> Option<Verdict> {
        let outcome = match said.letter {
            b'A' | b'S' => Outcome::Applied,
            b'H' | b'G' => Outcome::AlreadyHeld,
            b'N' => Outcome::NotHeld,
            b'D' => Outcome::Denied,
            _ => return None,
        };
        let violation = |note: &ViolationNote| self.violation(*note, user, limits?);
        let mut violations = said.notes.iter().map(violation).collect::<Option<Vec<_>>>()?;
        violations.sort_by_key(|violation| violation.reason);
        Some(Verdict { outcome, violations })
    }

    fn violation(
        &self,
        note: ViolationNote,
        user: Option<&UserId>,
        limits: &Limits,
    ) -> Option<Violation> {
        let ViolationNote { over, used } = note;
        let reason = over.reason(self.full);
        let sold = |id: LimitId, subject: Subject| {
            let bound = limits.sold_or_unlimited(&id);
            Violation::check(reason, id, &subject, used, &bound)
        };
        let of_user = |user: Option<&UserId>| user.map(|user| Subject::User(user.clone()));
        match over {
            LimitTag::Stopped => Some(Violation::of_stopped_service(&limits.edition)),
            LimitTag::Accounts => sold(LimitId::AccountsPerApp, Subject::App),
            LimitTag::AllGroups => sold(LimitId::GroupsPerAppOfAllTypes, Subject::App),
            LimitTag::MyFriends => sold(LimitId::FriendsPerUser, of_user(self.actor)?),
            LimitTag::PeerFriends => sold(LimitId::FriendsPerUser, of_user(user)?),
            LimitTag::UserGroups => sold(LimitId::GroupsPerUser, of_user(user)?),
            LimitTag::AppGroups | LimitTag::DayOfType | LimitTag::Day | LimitTag::Members => {
                self.group_breach(note, reason, limits)
            }
        }
    }

    fn group_breach(
        &self,
        note: ViolationNote,
        reason: Reason,
        limits: &Limits,
    ) -> Option<Violation> {
        let Group { id, kind, own } = self.group.as_ref()?;
        let name = kind.name.clone();
        let (limit_id, subject, bound, ceiling) = match note.over {
            LimitTag::AppGroups => {
                let bound = kind.per_app_bound(limits);
                (LimitId::GroupsPerApp(name), Subject::App, bound, kind.per_app)
            }
            LimitTag::DayOfType => {
                let bound = kind.per_day_bound();
                (LimitId::GroupsPerDayOfType(name), Subject::App, bound, kind.per_app)
            }
            LimitTag::Day => {
                let bound = per_day_of_all_types(&self.call.catalog);
                (LimitId::GroupsPerDay, Subject::App, bound, kind.per_app)
            }
            _ => {
                let bound = kind.member_bound(limits, own.map(|max| (max, *id)));
                let subject = Subject::Group((*id).clone());
                (LimitId::MembersPerGroup, subject, bound, kind.member_ceiling(*own))
            }
        };
        let violation = Violation::check(reason, limit_id, &subject, note.used, &bound)?;
        Some(violation.of_group_type(&kind.name, ceiling))
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
        let user = || {
            let is_user = |user: &&&UserId| keys.user(user).element() == risen.of.as_bytes();
            users.iter().find(is_user).map(|user| Subject::User((*user).clone()))
        };
        let of_type = || risen.of.as_str().into();
        let (limit_id, subject) = match risen.over {
            LimitTag::Stopped => return None,
            LimitTag::Accounts => (LimitId::AccountsPerApp, Subject::App),
            LimitTag::AllGroups => (LimitId::GroupsPerAppOfAllTypes, Subject::App),
            LimitTag::MyFriends | LimitTag::PeerFriends => (LimitId::FriendsPerUser, user()?),
            LimitTag::UserGroups => (LimitId::GroupsPerUser, user()?),
            LimitTag::AppGroups => (LimitId::GroupsPerApp(of_type()), Subject::App),
            LimitTag::DayOfType => (LimitId::GroupsPerDayOfType(of_type()), Subject::App),
            LimitTag::Day => (LimitId::GroupsPerDay, Subject::App),
            LimitTag::Members => (LimitId::MembersPerGroup, Subject::Group(group?.clone())),
        };
        let ThresholdCrossed { used, limit, percent, .. } = *risen;
        Some(Warning { limit_id, subject, used, limit, percent })
    };
    risen.iter().filter_map(warning).collect()
}

/// Adds the result of a step to those of the steps before.
pub fn extend(answer: &mut Answer, decided: &Decided, limits: Option<Limits>, items: Vec<Verdict>) {
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
