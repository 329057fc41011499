//! From what a script said to verdicts: notes become breaches, with bounds worked out from the
//! same segment of limits that the script decided by.

use super::reply::{Decided, Note, Over, Said};
use crate::domain::decision::{Breach, Outcome, Reason, Subject, Verdict};
use crate::domain::group_type::GroupType;
use crate::domain::id::{GroupId, UserId};
use crate::domain::limit::LimitId;
use crate::domain::schedule::Limits;
use crate::domain::time::Timestamp;
use crate::domain::usage::per_day_of_all_types;
use crate::ledger::{Answer, Call, LedgerError, schedule_codec};

/// The group of an operation, as the store knows it.
pub struct Group<'a> {
    /// Its id.
    pub id: &'a GroupId,
    /// Its type.
    pub kind: GroupType,
    /// Its own limit.
    pub own: Option<u32>,
}

/// What notes are about.
pub struct Scene<'a> {
    /// The operation's call.
    pub call: &'a Call,
    /// The user who acts, where it is not the item's.
    pub actor: Option<&'a UserId>,
    /// The group, where there is one.
    pub group: Option<Group<'a>>,
    /// The reason when the group is full.
    pub full: Reason,
}

impl Scene<'_> {
    /// The verdicts on the items, in order; `users` are theirs.
    pub fn verdicts(
        &self,
        said: &[Said],
        users: &[&UserId],
        limits: Option<&Limits>,
    ) -> Option<Vec<Verdict>> {
        said.iter().zip(users).map(|(said, user)| self.verdict(said, Some(user), limits)).collect()
    }

    /// The verdict on one item; `None` where the answer makes no sense.
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

/// The limits that a script decided by; `None` where it needed none.
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

/// When it was decided.
pub fn at(decided: &Decided) -> Timestamp {
    Timestamp::from_millis(decided.now)
}

/// What the store holds makes no sense.
pub fn unreadable(reason: &str) -> LedgerError {
    LedgerError::Unavailable(reason.to_owned())
}

/// Adds a later step's answer to that of the steps before.
pub fn extend(answer: &mut Answer, decided: &Decided, limits: Option<Limits>, items: Vec<Verdict>) {
    answer.decided_at = at(decided);
    answer.items.extend(items);
    answer.limits = limits.or(answer.limits.take());
}

/// An answer to which steps are added.
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
