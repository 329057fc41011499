//! How much is in work at once, and how much of it for one app, so that an app that asks too much
//! is turned away and not everybody.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::id::AppId;
use crate::telemetry::{Metrics, Shed};

/// Apps are counted in so many parts, so that they seldom wait for each other's counting.
const PARTS: usize = 16;

/// How much may be in work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Operations at once.
    pub in_flight_max: usize,
    /// Of them for one app, in percent.
    pub app_share_percent: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { in_flight_max: 4096, app_share_percent: 50 }
    }
}

/// Counts what is in work.
pub(super) struct Admission {
    in_flight_max: usize,
    app_max: usize,
    in_flight: AtomicUsize,
    apps: [Mutex<HashMap<AppId, usize>>; PARTS],
    metrics: Arc<Metrics>,
}

/// An operation's place; given back when dropped.
pub(super) struct Place<'a> {
    admission: &'a Admission,
    app: &'a AppId,
}

impl Admission {
    pub(super) fn new(bounds: Bounds, metrics: Arc<Metrics>) -> Self {
        let Bounds { in_flight_max, app_share_percent } = bounds;
        Self {
            in_flight_max,
            app_max: (in_flight_max * app_share_percent / 100).max(1),
            in_flight: AtomicUsize::new(0),
            apps: std::array::from_fn(|_| Mutex::default()),
            metrics,
        }
    }

    /// A place for an operation of that app, if there is one.
    pub(super) fn enter<'a>(&'a self, app: &'a AppId) -> Option<Place<'a>> {
        if self.in_flight.fetch_add(1, Ordering::Relaxed) >= self.in_flight_max {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            self.metrics.condition.shed(Shed::Full);
            return None;
        }
        let mut apps = self.part(app);
        match apps.get_mut(app) {
            Some(there) if *there >= self.app_max => {
                drop(apps);
                self.in_flight.fetch_sub(1, Ordering::Relaxed);
                self.metrics.condition.shed(Shed::AppShare);
                return None;
            }
            Some(there) => *there += 1,
            None => {
                apps.insert(app.clone(), 1);
            }
        }
        self.metrics.condition.entered();
        Some(Place { admission: self, app })
    }

    fn part(&self, app: &AppId) -> MutexGuard<'_, HashMap<AppId, usize>> {
        let sum: usize = app.as_str().bytes().map(usize::from).sum();
        self.apps[sum % PARTS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut apps = self.admission.part(self.app);
        if let Some(there) = apps.get_mut(self.app) {
            *there -= 1;
            if *there == 0 {
                apps.remove(self.app);
            }
        }
        drop(apps);
        self.admission.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.admission.metrics.condition.left();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_gets_its_share_and_all_get_no_more_than_there_is() {
        let bounds = Bounds { in_flight_max: 4, app_share_percent: 50 };
        let admission = Admission::new(bounds, Arc::new(Metrics::new()));
        let [a, b, c] = ["a", "b", "c"].map(|id| AppId::try_from(id).expect("an id"));
        let enter = |app| admission.enter(app);
        let places = [enter(&a), enter(&a)];
        assert!(places.iter().all(Option::is_some));
        assert!(enter(&a).is_none(), "its share");
        let others = [enter(&b), enter(&c)];
        assert!(others.iter().all(Option::is_some));
        assert!(enter(&b).is_none(), "all there is");
        drop(places);
        assert!(enter(&a).is_some());
        drop(others);
        assert_eq!(admission.in_flight.load(Ordering::Relaxed), 0);
        assert!(admission.apps.iter().all(|part| part.lock().unwrap().is_empty()));
    }
}
