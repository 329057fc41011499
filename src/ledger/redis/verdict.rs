//! Turns the replies of scripts into item results: notes become violations, whose bounds are
//! computed from the same segment of limits by which the script decided.

use super::keys::Keys;
use super::reply::{Decided, Note, Over, Risen, Said};
use crate::domain::decision::{Breach, Outcome, Reason, Subject, Verdict};
use crate::domain::group_type::GroupType;
use crate::domain::id::{GroupId, UserId};
use crate::domain::limit::LimitId;
use crate::domain::schedule::Limits;
use crate::domain::time::Timestamp;
use crate::domain::usage::per_day_of_all_types;
use crate::domain::warning::Warning;
use crate::ledger::{Answer, Call, LedgerError, schedule_codec};

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
pub struct Scene<'a> {
    /// The context of the operation.
    pub call: &'a Call,
    /// The acting user, if it is not the item's.
    pub actor: Option<&'a UserId>,
    /// The group, if there is one.
    pub group: Option<Group<'a>>,
    /// The reason if the group is full.
    pub full: Reason,
}

impl Scene<'_> {
    /// Returns the item results in order; `users` are the items' users.
    pub fn verdicts(
        &self,
        said: &[Said],
        users: &[&UserId],
        limits: Option<&Limits>,
    ) -> Option<Vec<Verdict>> {
        said.iter().zip(users).map(|(said, user)| self.verdict(said, Some(user), limits)).collect()
    }

    /// Returns one item result; `None` if the reply is malformed.
    pub fn verdict(
        &self,
        said: &Said,
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
        let breach = |note: &Note| self.breach(*note, user, limits?);
        let mut breaches = said.notes.iter().map(breach).collect::<Option<Vec<_>>>()?;
        breaches.sort_by_key(|breach| breach.reason);
        Some(Verdict { outcome, breaches })
    }

    fn breach(&self, note: Note, user: Option<&UserId>, limits: &Limits) -> Option<Breach> {
        let Note { over, used } = note;
        let reason = over.reason(self.full);
        let sold = |id: LimitId, subject: Subject| {
            let bound = limits.sold_or_unlimited(&id);
            Breach::check(reason, id, &subject, used, &bound)
        };
        let of_user = |user: Option<&UserId>| user.map(|user| Subject::User(user.clone()));
        match over {
            Over::Stopped => Some(Breach::of_stopped_service(&limits.edition)),
            Over::Accounts => sold(LimitId::AccountsPerApp, Subject::App),
            Over::AllGroups => sold(LimitId::GroupsPerAppOfAllTypes, Subject::App),
            Over::MyFriends => sold(LimitId::FriendsPerUser, of_user(self.actor)?),
            Over::PeerFriends => sold(LimitId::FriendsPerUser, of_user(user)?),
            Over::UserGroups => sold(LimitId::GroupsPerUser, of_user(user)?),
            Over::AppGroups | Over::DayOfType | Over::Day | Over::Members => {
                self.group_breach(note, reason, limits)
            }
        }
    }

    fn group_breach(&self, note: Note, reason: Reason, limits: &Limits) -> Option<Breach> {
        let Group { id, kind, own } = self.group.as_ref()?;
        let name = kind.name.clone();
        let (limit_id, subject, bound, ceiling) = match note.over {
            Over::AppGroups => {
                let bound = kind.per_app_bound(limits);
                (LimitId::GroupsPerApp(name), Subject::App, bound, kind.per_app)
            }
            Over::DayOfType => {
                let bound = kind.per_day_bound();
                (LimitId::GroupsPerDayOfType(name), Subject::App, bound, kind.per_app)
            }
            Over::Day => {
                let bound = per_day_of_all_types(&self.call.catalog);
                (LimitId::GroupsPerDay, Subject::App, bound, kind.per_app)
            }
            _ => {
                let bound = kind.member_bound(limits, own.map(|max| (max, *id)));
                let subject = Subject::Group((*id).clone());
                (LimitId::MembersPerGroup, subject, bound, kind.member_ceiling(*own))
            }
        };
        let breach = Breach::check(reason, limit_id, &subject, note.used, &bound)?;
        Some(breach.of_group_type(&kind.name, ceiling))
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
    LedgerError::Unavailable(reason.to_owned())
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
    risen: &[Risen],
    users: &[&UserId],
    group: Option<&GroupId>,
) -> Vec<Warning> {
    let warning = |risen: &Risen| {
        let user = || {
            let is_user = |user: &&&UserId| keys.user(user).element() == risen.of.as_bytes();
            users.iter().find(is_user).map(|user| Subject::User((*user).clone()))
        };
        let of_type = || risen.of.as_str().into();
        let (limit_id, subject) = match risen.over {
            Over::Stopped => return None,
            Over::Accounts => (LimitId::AccountsPerApp, Subject::App),
            Over::AllGroups => (LimitId::GroupsPerAppOfAllTypes, Subject::App),
            Over::MyFriends | Over::PeerFriends => (LimitId::FriendsPerUser, user()?),
            Over::UserGroups => (LimitId::GroupsPerUser, user()?),
            Over::AppGroups => (LimitId::GroupsPerApp(of_type()), Subject::App),
            Over::DayOfType => (LimitId::GroupsPerDayOfType(of_type()), Subject::App),
            Over::Day => (LimitId::GroupsPerDay, Subject::App),
            Over::Members => (LimitId::MembersPerGroup, Subject::Group(group?.clone())),
        };
        let Risen { used, limit, percent, .. } = *risen;
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
