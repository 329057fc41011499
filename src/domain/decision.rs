//! Outcomes of a decision, and the limits that it violates.
//!
//! A [`Violation`] is the bare violation of a limit, as the ledger finds it in its facts; the
//! purchase that would lift it is computed afterwards ([`super::upgrade`]).
//!
//! Precedence: "already held" comes before any limit; a stopped service comes before all limits and
//! hides them; of the limits all violated ones are listed, in the order of [`Reason`].

use std::fmt;

use super::id::{GroupId, Name, UserId};
use super::limit::{Bound, Limit, LimitId, Source};

pub use super::limits::Reason;

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
    /// An earlier take with the same hold has taken it; nothing to do.
    Repeated,
    /// The fact existed before; nothing to do. A take with a hold joins the hold of such a fact.
    AlreadyHeld,
    /// The fact did not exist; nothing to do.
    NotHeld,
    /// Denied; nothing was written.
    Denied,
    /// Part of a whole batch of which another subject is denied; nothing was written.
    Aborted,
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

    /// Adds the group's type, whose own rules admit at most `ceiling`.
    #[must_use]
    pub fn of_group_type(mut self, name: &Name, ceiling: Limit) -> Self {
        self.group_type = Some(name.clone());
        self.ceiling = ceiling;
        self
    }
}

/// Item result: the outcome for one subject, and the limits that it violates. A store returns a
/// [`Violation`] of each, the engine a denial with error code, sentence and offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemResult<T> {
    /// The outcome.
    pub outcome: Outcome,
    /// The violated limits, in the order of their reasons: those of a denial, or those that
    /// [`Mode::Shadow`] passed over.
    pub violations: Vec<T>,
}

impl<T> ItemResult<T> {
    /// An item result without violations.
    #[must_use]
    pub fn of(outcome: Outcome) -> Self {
        Self { outcome, violations: Vec::new() }
    }

    /// Returns whether the item was denied.
    #[must_use]
    pub fn denied(&self) -> bool {
        self.outcome == Outcome::Denied
    }

    /// Returns whether the item was denied, or aborted for the denial of another one.
    #[must_use]
    pub fn refused(&self) -> bool {
        matches!(self.outcome, Outcome::Denied | Outcome::Aborted)
    }
}

/// Aborts a whole batch if any of these results is a denial; returns whether it is aborted.
pub fn abort_if_denied<'a, T: 'a>(
    results: impl IntoIterator<Item = &'a mut ItemResult<T>>,
) -> bool {
    let mut results: Vec<_> = results.into_iter().collect();
    let is_aborted = results.iter().any(|result| result.denied());
    if is_aborted {
        let applied = results.iter_mut().filter(|result| result.outcome == Outcome::Applied);
        applied.for_each(|result| result.outcome = Outcome::Aborted);
    }
    is_aborted
}

impl ItemResult<Violation> {
    /// An item result with its violations in order.
    #[must_use]
    pub fn new(outcome: Outcome, mut violations: Vec<Violation>) -> Self {
        // Of two limits with one reason, the one of a single type is first.
        violations.sort_by_key(|it| (it.reason, it.limit_id.group_type().is_none()));
        Self { outcome, violations }
    }

    /// The item result of taking something that is not held yet.
    #[must_use]
    pub fn on_taking(mode: Mode, mut violations: Vec<Violation>) -> Self {
        if mode == Mode::Force {
            violations.clear();
        }
        let denied = mode.denies() && !violations.is_empty();
        Self::new(if denied { Outcome::Denied } else { Outcome::Applied }, violations)
    }
}
