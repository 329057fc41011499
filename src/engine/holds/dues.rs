//! The apps in which this sidecar has taken with holds, and when these expire.
//!
//! Only a hint when to sweep: decisions do not depend on it, and a full round over all apps finds
//! what is missing here.

use std::collections::BTreeSet;

use parking_lot::{Mutex, MutexGuard};

use crate::domain::id::AppId;
use crate::domain::time::Timestamp;

/// Most instants, each a second of an app: about 5 MB.
const INSTANTS_MAX: usize = 100_000;
/// Most apps.
const APPS_MAX: usize = 10_000;

/// Expiries by second, and their apps.
#[derive(Default)]
pub(in crate::engine) struct HoldDues(Mutex<State>);

#[derive(Default)]
struct State {
    instants: BTreeSet<(i64, AppId)>,
    apps: BTreeSet<AppId>,
}

impl HoldDues {
    /// Adds the expiry of a hold.
    pub fn add(&self, app: &AppId, expires: Timestamp) {
        // Rounded up, and a second later, so that the store's clock has passed it too.
        let second = expires.as_millis().div_euclid(1000) + 2;
        let mut state = self.state();
        if state.instants.len() < INSTANTS_MAX {
            state.instants.insert((second, app.clone()));
        }
        if state.apps.len() < APPS_MAX && !state.apps.contains(app) {
            state.apps.insert(app.clone());
        }
    }

    /// Removes and returns the apps of which a hold has expired, each once.
    pub fn take_due(&self, now: Timestamp) -> Vec<AppId> {
        let second = now.as_millis().div_euclid(1000);
        let mut state = self.state();
        let mut due = BTreeSet::new();
        while state.instants.first().is_some_and(|(at, _)| *at <= second) {
            due.extend(state.instants.pop_first().map(|(_, app)| app));
        }
        due.into_iter().collect()
    }

    /// Returns the apps.
    pub fn apps(&self) -> Vec<AppId> {
        self.state().apps.iter().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_is_due_once_after_each_second_in_which_a_hold_expires() {
        let at = Timestamp::from_millis;
        let app = |id: &str| AppId::try_from(id).expect("an id");
        let dues = HoldDues::default();
        for expires in [1_000, 1_999, 2_000, 9_000] {
            dues.add(&app("a"), at(expires));
        }
        dues.add(&app("b"), at(1_500));
        assert_eq!(dues.take_due(at(2_999)), []);
        assert_eq!(dues.take_due(at(3_000)), [app("a"), app("b")]);
        assert_eq!(dues.take_due(at(3_000)), []);
        assert_eq!(dues.take_due(at(60_000)), [app("a")]);
        assert_eq!(dues.apps(), [app("a"), app("b")], "of these a full round sweeps records");
    }
}
