//! The highest counter of writes that this process has observed, by app and part.
//!
//! A script returns the counter after its own writes. The value that was observed **before** a call
//! was sent is compared with the one that the call returns: the server had counted up to that
//! number already, so that a lower one is a loss, in whatever order calls are carried out and
//! replies arrive.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use parking_lot::{Mutex, MutexGuard};

use crate::domain::id::AppId;
use crate::redis::keys::{PARTS, Part};

/// Most apps whose counters are kept: about 10 MB. The least recently called are dropped first;
/// their losses from then on are not detected.
pub(super) const APPS_MAX: usize = 33_000;
/// Number of apps that are dropped together, so that the search for them is rare.
const DROPPED_TOGETHER: usize = APPS_MAX / 8;

/// The counters of one store.
#[derive(Default)]
pub struct Counts {
    apps: DashMap<AppId, Arc<App>>,
    /// Held while apps are dropped.
    dropping: Mutex<()>,
    /// Numbers the calls, to order apps by their last call.
    calls: AtomicU64,
    /// Counts changes, so that only changed counters are saved.
    changes: AtomicU64,
}

/// The counters of an app.
#[derive(Default)]
struct App {
    called: AtomicU64,
    parts: [Mutex<Count>; PARTS.len()],
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    /// The highest observed counter.
    known: u64,
    /// The number of detected losses. A reply to a call that was sent before a loss has no meaning.
    losses: u64,
}

/// The observation of a part before a call was sent.
pub struct Before {
    app: Option<Arc<App>>,
    part: Part,
    count: Count,
}

/// A counter that is lower than the observed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// The counter that was returned.
    pub found: u64,
    /// The highest observed counter.
    pub known: u64,
}

impl Before {
    /// Returns `found`, or the observed counter if that is lower.
    pub fn at_most(&self, found: u64) -> u64 {
        found.min(self.count.known)
    }
}

impl App {
    fn count(&self, part: Part) -> MutexGuard<'_, Count> {
        self.parts[part as usize].lock()
    }
}

impl Counts {
    /// Returns the observation of a part, for a call that is about to be sent.
    pub fn before(&self, app: &AppId, part: Part) -> Before {
        let app = self.apps.get(app).map(|app| app.clone());
        let count = app.as_ref().map_or_else(Count::default, |app| {
            app.called.store(self.calls.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
            *app.count(part)
        });
        Before { app, part, count }
    }

    /// Records the counter that the call returned. Each loss is returned once.
    pub fn after(&self, before: &Before, app: &AppId, found: u64) -> Option<Lost> {
        let entry = match &before.app {
            Some(entry) => entry.clone(),
            None if found == 0 => return None,
            None => self.add(app),
        };
        let mut count = entry.count(before.part);
        if count.losses != before.count.losses {
            return None;
        }
        if found < before.count.known {
            let lost = Lost { found, known: count.known };
            *count = Count { known: found, losses: count.losses + 1 };
            self.changes.fetch_add(1, Ordering::Relaxed);
            return Some(lost);
        }
        if found > count.known {
            count.known = found;
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
        None
    }

    /// Returns at most `most` observed parts, the most recently called first.
    pub fn latest(&self, most: usize) -> Vec<(AppId, Part, Before)> {
        let mut apps: Vec<_> =
            self.apps.iter().map(|app| (app.key().clone(), app.value().clone())).collect();
        apps.sort_by_cached_key(|(_, app)| u64::MAX - app.called.load(Ordering::Relaxed));
        let parts = apps.into_iter().flat_map(|(id, app)| {
            PARTS.map(|part| {
                let count = *app.count(part);
                (id.clone(), part, Before { app: Some(app.clone()), part, count })
            })
        });
        parts.filter(|(_, _, before)| before.count.known > 0).take(most).collect()
    }

    /// Returns every app with its counters, the most recently called first.
    pub fn rows(&self) -> Vec<(AppId, [u64; PARTS.len()])> {
        let mut apps: Vec<_> =
            self.apps.iter().map(|app| (app.key().clone(), app.value().clone())).collect();
        apps.sort_by_cached_key(|(_, app)| u64::MAX - app.called.load(Ordering::Relaxed));
        apps.into_iter().map(|(id, app)| (id, PARTS.map(|part| app.count(part).known))).collect()
    }

    /// Restores saved counters, the most recently called first.
    pub fn restore(&self, rows: Vec<(AppId, [u64; PARTS.len()])>) {
        for (id, known) in rows.into_iter().take(APPS_MAX).rev() {
            let app = self.add(&id);
            app.called.store(self.calls.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
            for (part, known) in PARTS.into_iter().zip(known) {
                let mut count = app.count(part);
                count.known = count.known.max(known);
            }
        }
    }

    /// Discards all counters, for another generation of the store.
    pub fn clear(&self) {
        self.apps.clear();
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of changes so far.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    fn add(&self, id: &AppId) -> Arc<App> {
        if let Some(app) = self.apps.get(id) {
            return app.clone();
        }
        self.make_room();
        let app = self.apps.entry(id.clone()).or_default().clone();
        app.called.store(self.calls.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        app
    }

    /// Drops the least recently called apps if there is no room for one more.
    fn make_room(&self) {
        if self.apps.len() < APPS_MAX {
            return;
        }
        let _dropping = self.dropping.lock();
        let called = |app: &App| app.called.load(Ordering::Relaxed);
        let mut order: Vec<u64> = self.apps.iter().map(|app| called(&app)).collect();
        // Another thread may have made room meanwhile.
        if order.len() >= APPS_MAX {
            let (_, last, _) = order.select_nth_unstable(DROPPED_TOGETHER - 1);
            let last = *last;
            self.apps.retain(|_, app| called(app) > last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(id: &str) -> AppId {
        AppId::try_from(id).expect("an id")
    }

    /// Random numbers from a seed.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, most: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(self.0 >> 33).expect("31 bits") % most
        }
    }

    /// A server whose calls are carried out, and whose replies arrive, in any order.
    #[derive(Default)]
    struct Model {
        counts: Counts,
        server: u64,
        sent: Vec<Before>,
        replies: Vec<(Before, u64)>,
        detected: Vec<Lost>,
    }

    impl Model {
        fn step(&mut self, dice: &mut Dice) {
            match dice.below(3) {
                0 => self.sent.push(self.counts.before(&app("demo"), Part::Groups)),
                1 if !self.sent.is_empty() => {
                    let before = self.sent.swap_remove(dice.below(self.sent.len()));
                    self.server += u64::from(dice.below(2) == 0);
                    self.replies.push((before, self.server));
                }
                2 if !self.replies.is_empty() => {
                    let (before, found) = self.replies.swap_remove(dice.below(self.replies.len()));
                    self.detected.extend(self.counts.after(&before, &app("demo"), found));
                }
                _ => {}
            }
        }

        fn known(&self) -> u64 {
            self.counts.before(&app("demo"), Part::Groups).count.known
        }

        /// Makes a call whose reply arrives immediately.
        fn call(&mut self) {
            let before = self.counts.before(&app("demo"), Part::Groups);
            self.detected.extend(self.counts.after(&before, &app("demo"), self.server));
        }
    }

    #[test]
    fn replies_in_any_order_are_no_loss() {
        for seed in 0..200 {
            let (mut model, mut dice) = (Model::default(), Dice(seed));
            for _ in 0..500 {
                model.step(&mut dice);
            }
            assert_eq!(model.detected, [], "seed {seed}");
            assert!(model.known() > 10 && model.known() <= model.server);
        }
    }

    #[test]
    fn each_loss_is_detected_once_whatever_is_in_flight() {
        for seed in 0..200 {
            let (mut model, mut dice) = (Model::default(), Dice(seed));
            for losses in 1..=5 {
                for _ in 0..200 {
                    model.step(&mut dice);
                }
                let known = model.known();
                assert!(known > 0);
                model.server =
                    known - 1 - u64::try_from(dice.below(3)).expect("small").min(known - 1);
                let server = model.server;
                model.call();
                assert_eq!(model.detected.last(), Some(&Lost { found: server, known }));
                for _ in 0..100 {
                    model.step(&mut dice);
                }
                assert_eq!(model.detected.len(), losses, "seed {seed}");
            }
        }
    }

    #[test]
    fn the_least_recently_called_apps_are_dropped() {
        let counts = Counts::default();
        let call = |id: &str, found| {
            let id = app(id);
            counts.after(&counts.before(&id, Part::Accounts), &id, found)
        };
        for number in 0..=APPS_MAX {
            assert_eq!(call(&format!("a{number}"), 7), None);
            assert_eq!(call("a0", 7), None);
        }
        let rows = counts.rows();
        assert_eq!(rows.len(), APPS_MAX + 1 - DROPPED_TOGETHER);
        assert_eq!(rows[0], (app("a0"), [7, 0, 0]));
        assert_eq!(rows[1].0, app(&format!("a{APPS_MAX}")));
        assert_eq!(call("a1", 6), None, "forgotten");
        assert_eq!(call("a0", 6), Some(Lost { found: 6, known: 7 }));
        let latest = counts.latest(2);
        assert_eq!(latest.iter().map(|it| it.0.as_str()).collect::<Vec<_>>(), ["a0", "a1"]);
        let restored = Counts::default();
        restored.restore(counts.rows());
        assert_eq!(restored.rows(), counts.rows());
    }

    #[test]
    fn an_app_without_a_counter_starts_at_zero() {
        let counts = Counts::default();
        let before = counts.before(&app("old"), Part::Friends);
        assert_eq!(counts.after(&before, &app("old"), 0), None);
        assert_eq!(counts.rows(), []);
    }
}
