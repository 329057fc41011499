//! Order of Tencent's callbacks, by the instants of their events.
//!
//! An event of a member is the later one if its instant is: a leave that is older than a noted take
//! is dropped, and so is a join that is older than a noted leave. Each event is noted before it is
//! written, and the other kind is read before and after: if a later one was noted meanwhile, its
//! effect is written again. So two events end in the order of their instants in every interleaving
//! of two sidecars.
//!
//! Instants are in the store for [`NOTED_FOR`]. While it is unavailable nothing is noted, and the
//! failure policy decides in the order of arrival.

use std::time::Duration;

use super::answer::{Answer, Kind, Undecided};
use super::work::Work;
use crate::domain::decision::Mode;
use crate::domain::id::{GroupId, Name, UserId};
use crate::domain::time::Timestamp;
use crate::ledger::callback_notes::NAMES_MAX;
use crate::ledger::{LedgerError, Operation};

/// Time for which the instant of an event is kept.
const NOTED_FOR: Duration = Duration::from_secs(60);

/// The kind of a noted event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// A membership was taken.
    Take,
    /// A membership was released.
    Leave,
    /// A group was created.
    Creation,
    /// A group was dissolved.
    Dissolution,
}

impl Noted {
    fn name(self) -> &'static str {
        match self {
            Self::Take => "take",
            Self::Leave => "leave",
            Self::Creation => "creation",
            Self::Dissolution => "dissolution",
        }
    }

    fn of_group(self, group: &GroupId) -> String {
        format!("tencent/{}/{group}", self.name())
    }

    fn of_member(self, group: &GroupId, user: &UserId) -> String {
        // Ids may contain slashes; the length keeps two pairs apart.
        format!("tencent/{}/{}/{group}/{user}", self.name(), group.as_str().len())
    }
}

/// An event about members of a group.
#[derive(Debug, Clone)]
pub struct MemberEvent {
    /// The group.
    pub group: GroupId,
    /// Its type; `None` if it is not mapped.
    pub group_type: Option<Name>,
    /// The members.
    pub users: Vec<UserId>,
    /// The instant.
    pub at: Timestamp,
}

impl Work {
    /// Notes an event of members.
    pub(super) async fn note_members(&self, kind: Noted, event: &MemberEvent) {
        for users in event.users.chunks(NAMES_MAX) {
            let names: Vec<_> =
                users.iter().map(|user| kind.of_member(&event.group, user)).collect();
            self.raise(&names, event.at).await;
        }
    }

    /// Notes an event of a group.
    pub(super) async fn note_group(&self, kind: Noted, group: &GroupId, at: Timestamp) {
        self.raise(&[kind.of_group(group)], at).await;
    }

    async fn raise(&self, names: &[String], at: Timestamp) {
        let (app, deadline) = (&self.app, self.deadline);
        // The take or the release counts also if the store keeps no notes now.
        let raised = self.notes.raise_instants(app, names, at, NOTED_FOR, deadline).await;
        self.metrics.callbacks.noted(self.protocol(), raised.is_ok());
    }

    async fn instants(&self, names: &[String]) -> Vec<Option<Timestamp>> {
        let read = self.notes.instants(&self.app, names, self.deadline).await;
        self.metrics.callbacks.noted(self.protocol(), read.is_ok());
        read.unwrap_or_else(|_| vec![None; names.len()])
    }

    /// Returns whether an event of the group was noted that is later than `at`.
    pub(super) async fn is_group_later(&self, kind: Noted, group: &GroupId, at: Timestamp) -> bool {
        let noted = self.instants(&[kind.of_group(group)]).await;
        noted.into_iter().flatten().any(|noted| noted > at)
    }

    /// Divides the members of an event by whether one of another kind was noted that is later: the
    /// others first.
    async fn by_later(&self, kind: Noted, event: &MemberEvent) -> (Vec<UserId>, Vec<UserId>) {
        let (mut rest, mut overtaken) = (Vec::new(), Vec::new());
        for users in event.users.chunks(NAMES_MAX) {
            let names: Vec<_> =
                users.iter().map(|user| kind.of_member(&event.group, user)).collect();
            for (user, noted) in users.iter().zip(self.instants(&names).await) {
                let is_later = noted.is_some_and(|noted| noted > event.at);
                if is_later { &mut overtaken } else { &mut rest }.push(user.clone());
            }
        }
        (rest, overtaken)
    }

    /// Writes members who have joined.
    pub(super) async fn joined(&self, event: MemberEvent) -> Result<Answer, Undecided> {
        self.note_members(Noted::Take, &event).await;
        let is_gone = self.is_group_later(Noted::Dissolution, &event.group, event.at).await;
        let (users, overtaken) = self.by_later(Noted::Leave, &event).await;
        if is_gone || users.is_empty() {
            self.metrics.callbacks.dropped(self.protocol(), event.users.len());
            return Ok(Answer::of(Kind::Dropped));
        }
        self.metrics.callbacks.dropped(self.protocol(), overtaken.len());
        let event = MemberEvent { users, ..event };
        self.write_members(&event, event.users.clone()).await?;
        let (_, overtaken) = self.by_later(Noted::Leave, &event).await;
        self.remove_members(&event.group, overtaken).await?;
        Ok(Answer::of(Kind::Done))
    }

    /// Removes members who have left.
    pub(super) async fn left(&self, event: MemberEvent) -> Result<Answer, Undecided> {
        self.note_members(Noted::Leave, &event).await;
        let (users, overtaken) = self.by_later(Noted::Take, &event).await;
        self.metrics.callbacks.dropped(self.protocol(), overtaken.len());
        if users.is_empty() {
            return Ok(Answer::of(Kind::Dropped));
        }
        let event = MemberEvent { users, ..event };
        self.remove_members(&event.group, event.users.clone()).await?;
        let (_, overtaken) = self.by_later(Noted::Take, &event).await;
        self.write_members(&event, overtaken).await?;
        Ok(Answer::of(Kind::Done))
    }

    async fn remove_members(&self, group: &GroupId, users: Vec<UserId>) -> Result<(), Undecided> {
        if users.is_empty() {
            return Ok(());
        }
        let operation = Operation::LeaveGroup { group: group.clone(), users };
        match self.take_each(Mode::Enforce, operation).await {
            Ok(_) | Err(Undecided::Engine(LedgerError::GroupNotFound(_))) => Ok(()),
            Err(undecided) => Err(undecided),
        }
    }

    /// Writes members regardless of limits, and the group first if it is unknown.
    async fn write_members(
        &self,
        event: &MemberEvent,
        users: Vec<UserId>,
    ) -> Result<(), Undecided> {
        if users.is_empty() {
            return Ok(());
        }
        let operation = Operation::JoinGroup { group: event.group.clone(), users };
        match self.take_each(Mode::Force, operation.clone()).await {
            Err(Undecided::Engine(LedgerError::GroupNotFound(_))) => {
                self.create_unknown(&event.group, event.group_type.as_ref()).await?;
                self.take_each(Mode::Force, operation).await.map(|_| ())
            }
            Ok(taken) if taken.is_degraded => {
                // The journal has a join, which is void if the store has no such group.
                let Operation::JoinGroup { group, users } = operation else { return Ok(()) };
                let Some(group_type) = event.group_type.clone() else { return Ok(()) };
                self.create_with(group, group_type, users).await
            }
            taken => taken.map(|_| ()),
        }
    }

    /// Writes a group that exists in the IM, with members.
    pub(super) async fn create_with(
        &self,
        group: GroupId,
        group_type: Name,
        members: Vec<UserId>,
    ) -> Result<(), Undecided> {
        let operation =
            Operation::CreateGroup { group, group_type, owner: None, members, max_members: None };
        self.take_each(Mode::Force, operation).await.map(|_| ())
    }

    /// Creates a group that exists in the IM, without members.
    pub(super) async fn create_unknown(
        &self,
        group: &GroupId,
        group_type: Option<&Name>,
    ) -> Result<(), Undecided> {
        let missing = || Undecided::GroupType(String::new());
        let group_type = group_type.cloned().ok_or_else(missing)?;
        self.create_with(group.clone(), group_type, Vec::new()).await
    }
}
