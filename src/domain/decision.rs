//! What a decision says: outcomes, and the limits that were in the way.
//!
//! A [`Breach`] is the bare fact that a limit stands in the way, as the ledger finds it under the
//! facts; what to buy against it is worked out afterwards ([`super::upgrade`]).
//!
//! Precedence: "already held" comes before any limit; a stopped service comes before all limits
//! and hides them; of the limits all violated ones are named, in the order of [`Reason`].

use std::fmt;

use super::id::{GroupId, Name, UserId};
use super::limit::{Bound, Limit, LimitId, Source};

/// How a request that takes something is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// Decide, and write what was allowed.
    #[default]
    Enforce,
    /// Decide, and write nothing.
    CheckOnly,
    /// Write everything, and report what would have been denied.
    Shadow,
    /// Write everything, although over a limit.
    Force,
}

impl Mode {
    /// Whether anything may be written.
    #[must_use]
    pub fn writes(self) -> bool {
        self != Self::CheckOnly
    }

    /// Whether a limit in the way is a denial.
    #[must_use]
    pub fn denies(self) -> bool {
        matches!(self, Self::Enforce | Self::CheckOnly)
    }
}

/// What became of one subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Done.
    Applied,
    /// It held it before; nothing to do.
    AlreadyHeld,
    /// It did not hold it; nothing to do.
    NotHeld,
    /// Refused; nothing was written.
    Denied,
}

/// Why something was denied, in the order in which denials are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The edition expired and its grace is over.
    ServiceStopped,
    /// Accounts per app.
    AccountsPerApp,
    /// Friends of the user who adds.
    MyFriends,
    /// Friends of the user who is added.
    PeerFriends,
    /// Groups of the owner, joining or invited user.
    GroupsPerUser,
    /// Groups of a type at once.
    GroupsPerApp,
    /// Net-new groups of a day.
    GroupsPerDay,
    /// Members of the group, at join or add.
    MembersPerGroup,
    /// Members of the group, in the list given at creation.
    MembersAtCreation,
    /// Groups of all types at once, beyond the free number, on an edition that may not run over it.
    GroupsAllowance,
}

impl Reason {
    /// Every one, in order.
    pub const ALL: [Self; 10] = [
        Self::ServiceStopped,
        Self::AccountsPerApp,
        Self::MyFriends,
        Self::PeerFriends,
        Self::GroupsPerUser,
        Self::GroupsPerApp,
        Self::GroupsPerDay,
        Self::MembersPerGroup,
        Self::MembersAtCreation,
        Self::GroupsAllowance,
    ];

    /// In capitals, as error details and metrics name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ServiceStopped => "SERVICE_STOPPED",
            Self::AccountsPerApp => "ACCOUNTS_PER_APP",
            Self::MyFriends => "MY_FRIENDS",
            Self::PeerFriends => "PEER_FRIENDS",
            Self::GroupsPerUser => "GROUPS_PER_USER",
            Self::GroupsPerApp => "GROUPS_PER_APP",
            Self::GroupsPerDay => "GROUPS_PER_DAY",
            Self::MembersPerGroup => "MEMBERS_PER_GROUP",
            Self::MembersAtCreation => "MEMBERS_AT_CREATION",
            Self::GroupsAllowance => "GROUPS_ALLOWANCE",
        }
    }
}

/// Whom a count is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The app of the request.
    App,
    /// A user.
    User(UserId),
    /// A group.
    Group(GroupId),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App => f.write_str("the app"),
            Self::User(id) => write!(f, "user \"{id}\""),
            Self::Group(id) => write!(f, "group \"{id}\""),
        }
    }
}

/// A limit that stands in the way of one more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// Why.
    pub reason: Reason,
    /// Which limit.
    pub limit_id: LimitId,
    /// Who hit it.
    pub subject: Subject,
    /// What the subject holds.
    pub used: u64,
    /// What it may hold, and by what.
    pub bound: Bound,
    /// The most that the limit can be raised to by buying: what the group's type and its own
    /// limit leave of it.
    pub ceiling: Limit,
    /// The type of the group in question, where there is one.
    pub group_type: Option<Name>,
}

impl Breach {
    /// The breach, if `bound` does not admit one more beside `used`.
    #[must_use]
    pub fn check(
        reason: Reason,
        limit_id: LimitId,
        subject: &Subject,
        used: u64,
        bound: &Bound,
    ) -> Option<Self> {
        (!bound.limit.admits_one_more(used)).then(|| Self {
            reason,
            limit_id,
            subject: subject.clone(),
            used,
            bound: bound.clone(),
            ceiling: Limit::Unlimited,
            group_type: None,
        })
    }

    /// The breach of everything that takes while the service of that edition has stopped.
    #[must_use]
    pub fn of_stopped_service(edition: &Name) -> Self {
        let source = Source::Edition(edition.clone());
        Self {
            reason: Reason::ServiceStopped,
            limit_id: LimitId::Service,
            subject: Subject::App,
            used: 0,
            bound: Bound { limit: Limit::Finite(0), source },
            ceiling: Limit::Unlimited,
            group_type: None,
        }
    }

    /// The same for the net-new groups of a day. A day on which more groups were dissolved than
    /// created has a negative count and the more room.
    #[must_use]
    pub fn check_net(limit_id: LimitId, net: i64, bound: &Bound) -> Option<Self> {
        let used = u64::try_from(net).ok()?;
        Self::check(Reason::GroupsPerDay, limit_id, &Subject::App, used, bound)
    }

    /// The same breach, about a group of that type whose own rules admit `ceiling` at most.
    #[must_use]
    pub fn of_group_type(mut self, name: &Name, ceiling: Limit) -> Self {
        self.group_type = Some(name.clone());
        self.ceiling = ceiling;
        self
    }
}

/// What became of one subject, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What became of it.
    pub outcome: Outcome,
    /// The limits in the way: of a denial, or of what [`Mode::Shadow`] let through.
    pub breaches: Vec<Breach>,
}

impl Verdict {
    /// A verdict without breaches.
    #[must_use]
    pub fn of(outcome: Outcome) -> Self {
        Self { outcome, breaches: Vec::new() }
    }

    /// The verdict on taking something that is not held yet.
    #[must_use]
    pub fn on_taking(mode: Mode, mut breaches: Vec<Breach>) -> Self {
        if mode == Mode::Force {
            breaches.clear();
        }
        breaches.sort_by_key(|breach| breach.reason);
        let denied = mode.denies() && !breaches.is_empty();
        Self { outcome: if denied { Outcome::Denied } else { Outcome::Applied }, breaches }
    }

    /// Whether it was refused.
    #[must_use]
    pub fn denied(&self) -> bool {
        self.outcome == Outcome::Denied
    }
}
