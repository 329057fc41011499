//! Outcomes of a decision, and the limits that it violates.
//!
//! A [`Violation`] is the bare violation of a limit, as the ledger finds it in its facts; the purchase
//! that would lift it is computed afterwards ([`super::upgrade`]).
//!
//! Precedence: "already held" comes before any limit; a stopped service comes before all limits and
//! hides them; of the limits all violated ones are listed, in the order of [`Reason`].

use std::fmt;

use super::id::{GroupId, Name, UserId};
use super::limit::{Bound, Limit, LimitId, Source};

/// Mode in which an operation that takes is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// Decide, and write what is allowed.
    #[default]
    Enforce,
    /// Decide, and write nothing.
    CheckOnly,
    /// Write everything, and report what [`Mode::Enforce`] would have denied.
    Shadow,
    /// Write everything, even over a limit.
    Force,
}

impl Mode {
    /// Returns whether this mode may write anything.
    #[must_use]
    pub fn writes(self) -> bool {
        self != Self::CheckOnly
    }

    /// Returns whether a violation is a denial in this mode.
    #[must_use]
    pub fn denies(self) -> bool {
        matches!(self, Self::Enforce | Self::CheckOnly)
    }
}

/// Outcome for one subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Done.
    Applied,
    /// The fact existed before; nothing to do.
    AlreadyHeld,
    /// The fact did not exist; nothing to do.
    NotHeld,
    /// Denied; nothing was written.
    Denied,
}

/// Reason of a denial, in the order in which denials are listed.
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
    /// Groups of a type that exist at the same time.
    GroupsPerApp,
    /// Net-new groups in a day.
    GroupsPerDay,
    /// Members of the group, at a join or add.
    MembersPerGroup,
    /// Members of the group, in the list given at creation.
    MembersAtCreation,
    /// Groups of all types that exist at the same time, beyond the free number, on an edition
    /// without postpaid.
    GroupsAllowance,
}

impl Reason {
    /// Every reason, in order.
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

    /// The name in capitals, as in error details and metrics.
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

/// The subject of a count.
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

/// Violation of a limit: it does not admit one more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Reason of the violation.
    pub reason: Reason,
    /// The violated limit.
    pub limit_id: LimitId,
    /// The subject that reached the limit.
    pub subject: Subject,
    /// The number that the subject holds.
    pub used: u64,
    /// The number that it may hold, and the source of that limit.
    pub bound: Bound,
    /// The highest value that a purchase can raise the limit to, given the group's type and its
    /// own limit.
    pub ceiling: Limit,
    /// The type of the group in question, if there is one.
    pub group_type: Option<Name>,
}

impl Violation {
    /// Returns the violation if `bound` does not admit one more beside `used`.
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

    /// The violation of every operation that takes, while the service of that edition has stopped.
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

    /// Returns the violation if `bound` does not admit one more net-new group of the day. On a day
    /// on which more groups were dissolved than created the net count is negative, which leaves
    /// more room.
    #[must_use]
    pub fn check_net(limit_id: LimitId, net: i64, bound: &Bound) -> Option<Self> {
        let used = u64::try_from(net).ok()?;
        Self::check(Reason::GroupsPerDay, limit_id, &Subject::App, used, bound)
    }

    /// Adds the group's type, whose own rules admit at most `ceiling`.
    #[must_use]
    pub fn of_group_type(mut self, name: &Name, ceiling: Limit) -> Self {
        self.group_type = Some(name.clone());
        self.ceiling = ceiling;
        self
    }
}

/// Item result: the outcome for one subject, and its reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The outcome.
    pub outcome: Outcome,
    /// The violated limits: those of a denial, or those that [`Mode::Shadow`] passed over.
    pub violations: Vec<Violation>,
}

impl Verdict {
    /// An item result without violations.
    #[must_use]
    pub fn of(outcome: Outcome) -> Self {
        Self { outcome, violations: Vec::new() }
    }

    /// The item result of taking something that is not held yet.
    #[must_use]
    pub fn on_taking(mode: Mode, mut violations: Vec<Violation>) -> Self {
        if mode == Mode::Force {
            violations.clear();
        }
        violations.sort_by_key(|violation| violation.reason);
        let denied = mode.denies() && !violations.is_empty();
        Self { outcome: if denied { Outcome::Denied } else { Outcome::Applied }, violations }
    }

    /// Returns whether the item was denied.
    #[must_use]
    pub fn denied(&self) -> bool {
        self.outcome == Outcome::Denied
    }
}
