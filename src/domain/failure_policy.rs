//! Failure policy: decisions while the store is unavailable (ours).
//!
//! It is set per limit and app: [`FailMode::Closed`] makes no decision, [`FailMode::Open`] admits
//! without counting, up to a budget, so that the number admitted beyond a limit is bounded. Without
//! the store the sidecar does not have an app's purchases, so the policy is by app and not by
//! edition.

use std::collections::BTreeMap;

use super::id::AppId;

/// Fail mode of a limit: the treatment of operations that take from it while the store is
/// unavailable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailMode {
    /// Fail closed: no decision is made.
    Closed,
    /// Fail open: the operation is admitted, and counted once the store is available again.
    Open,
}

/// Fail modes of all limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailModes {
    /// Accounts per app.
    pub accounts_per_app: FailMode,
    /// Friends per user.
    pub friends_per_user: FailMode,
    /// Groups per user.
    pub groups_per_user: FailMode,
    /// Members per group.
    pub members_per_group: FailMode,
    /// Groups of a type that exist at the same time, for types with such a limit.
    pub groups_per_app: FailMode,
    /// Net-new groups in a day.
    pub groups_per_day: FailMode,
}

/// Most facts that one sidecar admits without the store and has not counted yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Facts of one user.
    pub per_user_max: usize,
    /// Members of one group.
    pub per_group_max: usize,
    /// Facts of an app.
    pub per_app_max: usize,
}

/// Failure policy of a catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailurePolicy {
    /// Fail modes of every app that is not listed in `apps`.
    pub stances: FailModes,
    /// Fail modes of single apps.
    pub apps: BTreeMap<AppId, FailModes>,
    /// Bound on the facts that limits which fail open admit.
    pub budget: Budget,
}

impl FailurePolicy {
    /// Returns the fail modes of an app.
    #[must_use]
    pub fn of(&self, app: &AppId) -> &FailModes {
        self.apps.get(app).unwrap_or(&self.stances)
    }

    /// Returns whether any limit of any app fails open.
    #[must_use]
    pub fn any_open(&self) -> bool {
        self.apps.values().chain([&self.stances]).any(FailModes::any_open)
    }
}

impl FailModes {
    /// Returns whether any operation is admitted without the store. Group operations take from
    /// several limits, so they are admitted only if all of these fail open.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "it is mapped over references")]
    fn any_open(&self) -> bool {
        let opens = |stances: &[FailMode]| stances.iter().all(|stance| *stance == FailMode::Open);
        opens(&[self.accounts_per_app])
            || opens(&[self.friends_per_user])
            || opens(&[self.groups_per_user, self.members_per_group])
            || opens(&[self.groups_per_day])
    }
}
