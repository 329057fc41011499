//! What is decided while the store does not answer (ours).
//!
//! Per limit and app: [`Stance::Closed`] decides nothing, [`Stance::Open`] admits without counting,
//! up to a budget, so that what is admitted beyond a limit has a bound. The sidecar does not know
//! then what an app has bought, so that the policy is by app and not by edition.

use std::collections::BTreeMap;

use super::id::AppId;

/// What becomes of what would take from a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stance {
    /// No decision is made.
    Closed,
    /// It is admitted, and counted once the store is back.
    Open,
}

/// A stance for each limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stances {
    /// Accounts per app.
    pub accounts_per_app: Stance,
    /// Friends per user.
    pub friends_per_user: Stance,
    /// Groups per user.
    pub groups_per_user: Stance,
    /// Members per group.
    pub members_per_group: Stance,
    /// Groups of a type that exist at once, of the types that have such a limit.
    pub groups_per_app: Stance,
    /// Net-new groups of a day.
    pub groups_per_day: Stance,
}

/// Most facts that one sidecar admits without the store, until they are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Of one user.
    pub per_user_max: usize,
    /// Members of one group.
    pub per_group_max: usize,
    /// Of an app.
    pub per_app_max: usize,
}

/// The whole policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailurePolicy {
    /// Of every app that is not named.
    pub stances: Stances,
    /// Of apps that have another one.
    pub apps: BTreeMap<AppId, Stances>,
    /// How far `Open` goes.
    pub budget: Budget,
}

impl FailurePolicy {
    /// The stances of an app.
    #[must_use]
    pub fn of(&self, app: &AppId) -> &Stances {
        self.apps.get(app).unwrap_or(&self.stances)
    }

    /// Whether anything at all is admitted without the store, for any app.
    #[must_use]
    pub fn opens_something(&self) -> bool {
        self.apps.values().chain([&self.stances]).any(Stances::opens_something)
    }
}

impl Stances {
    /// Whether anything is admitted without the store. Groups take from several limits at once, so
    /// that one open stance among them opens nothing.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "it is mapped over references")]
    fn opens_something(&self) -> bool {
        let opens = |stances: &[Stance]| stances.iter().all(|stance| *stance == Stance::Open);
        opens(&[self.accounts_per_app])
            || opens(&[self.friends_per_user])
            || opens(&[self.groups_per_user, self.members_per_group])
            || opens(&[self.groups_per_day])
    }
}
