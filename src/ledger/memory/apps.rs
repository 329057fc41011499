//! The apps of the store, each behind a lock of its own.
//!
//! The map's own locks are held only while an app is looked up, added or removed. So no operation
//! on one app waits for an operation on another.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use dashmap::DashMap;
use parking_lot::Mutex;

use super::app::{App, MemoryRows, State};
use crate::store::StoreError;
use crate::store::fingerprint::AppKey;

/// The apps that have rows.
#[derive(Default)]
pub struct Apps {
    apps: DashMap<AppKey, Arc<Mutex<App>>>,
    /// The number of unknown apps.
    unknown: AtomicU64,
}

impl Apps {
    /// Does one step on the rows of an app, which no other step on that app interleaves with. An
    /// app without rows afterwards is removed.
    pub fn step<T>(
        &self,
        key: AppKey,
        keeps_figures: bool,
        work: impl FnOnce(&mut MemoryRows<'_>) -> T,
    ) -> Result<T, StoreError> {
        loop {
            let app = self.app(key);
            let mut app = app.lock();
            match app.state {
                State::Live => {}
                // Another step has removed it since it was looked up.
                State::Removed => continue,
                State::Damaged => {
                    return Err(StoreError::Refused(
                        "a panic ended an earlier operation on the app halfway, so its facts are \
                         uncertain; restart imquota, and import the facts"
                            .to_owned(),
                    ));
                }
            }
            let done = work(&mut MemoryRows::new(&mut app, &self.unknown, keeps_figures));
            if app.is_empty() {
                app.state = State::Removed;
                self.apps.remove(&key);
            }
            return Ok(done);
        }
    }

    /// Returns whether the facts of an app are uncertain, so that every step on it is refused.
    pub fn is_damaged(&self, key: AppKey) -> bool {
        let app = self.apps.get(&key).map(|app| app.clone());
        app.is_some_and(|app| matches!(app.lock().state, State::Damaged))
    }

    /// Returns the keys of all apps that have rows.
    pub fn keys(&self) -> Vec<AppKey> {
        self.apps.iter().map(|app| *app.key()).collect()
    }

    /// Returns an app; the map's lock is released.
    fn app(&self, key: AppKey) -> Arc<Mutex<App>> {
        if let Some(app) = self.apps.get(&key) {
            return app.clone();
        }
        self.apps.entry(key).or_default().clone()
    }
}
