//! Failure policy: decisions while the store is unavailable (ours).
//!
//! It is set per limit and app: [`FailMode::Closed`] makes no decision, [`FailMode::Open`] admits
//! without counting, up to a budget, so that the number admitted beyond a limit is bounded. Without
//! the store the sidecar does not have an app's purchases, so the policy is by app and not by
//! edition.

use std::collections::BTreeMap;

use super::id::AppId;
use super::limits::{Failing, LimitKind, Relation};

/// Fail mode of a limit: the treatment of operations that take from it while the store is
/// unavailable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailMode {
    /// Fail closed: no decision is made.
    Closed,
    /// Fail open: the operation is admitted, and counted once the store is available again.
    Open,
}

/// Fail modes of all limits, as a set of the rows that fail open. Limits of one name, with and
/// without a type, have one mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailModes(u32);

const _: () = assert!(LimitKind::ALL.len() <= u32::BITS as usize, "the set has a bit for each row");

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
    pub modes: FailModes,
    /// Fail modes of single apps.
    pub apps: BTreeMap<AppId, FailModes>,
    /// Bound on the facts that limits which fail open admit.
    pub budget: Budget,
}

impl FailurePolicy {
    /// Returns the fail modes of an app.
    #[must_use]
    pub fn of(&self, app: &AppId) -> &FailModes {
        self.apps.get(app).unwrap_or(&self.modes)
    }

    /// Returns whether any limit of any app fails open.
    #[must_use]
    pub fn any_open(&self) -> bool {
        self.apps.values().chain([&self.modes]).any(|modes| modes.any_open())
    }
}

impl FailModes {
    /// Creates the fail modes from that of each name in the policy.
    #[must_use]
    pub fn new(mut of: impl FnMut(LimitKind) -> FailMode) -> Self {
        let mut open = 0;
        for kind in LimitKind::with_fail_mode() {
            open |= u32::from(of(kind) == FailMode::Open) << kind as u32;
        }
        Self(open)
    }

    /// Returns the fail mode of a limit.
    #[must_use]
    pub fn of(&self, kind: LimitKind) -> FailMode {
        let is_open = self.0 & (1 << kind.fail_mode() as u32) != 0;
        if is_open { FailMode::Open } else { FailMode::Closed }
    }

    /// Returns whether any operation is admitted without the store. Facts of one kind may be under
    /// several limits, so they are admitted only if all of these fail open.
    fn any_open(self) -> bool {
        let opens = |relation: &Relation| {
            LimitKind::checked(*relation)
                .filter(|kind| kind.row().failing == Failing::Always)
                .all(|kind| self.of(kind) == FailMode::Open)
        };
        Relation::ALL.iter().any(opens)
    }
}
