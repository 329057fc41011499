//! The highest counter of writes that this process has seen, by app and part.
//!
//! A script returns the counter as it stands after it. What was known **before** a call was sent is
//! compared with what the call returns: the server had counted up to that number by then, so that
//! less is a loss, in whatever order calls are carried out and replies arrive.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::domain::id::AppId;
use crate::ledger::redis::keys::{PARTS, Part};

/// Most apps whose counters are kept: about 10 MB. Those that were not called for longest go first;
/// what they lose from then on is not noticed.
pub(super) const APPS_MAX: usize = 33_000;
/// So many go at once where there are too many, so that looking for them is rare.
const DROPPED_AT_ONCE: usize = APPS_MAX / 8;

/// Counters of one store.
#[derive(Default)]
pub struct Counts {
    apps: RwLock<HashMap<AppId, Arc<App>>>,
    /// Counts calls, so that it is known which app was called last.
    calls: AtomicU64,
    /// Whether anything has changed since it was saved.
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
    /// The highest one.
    known: u64,
    /// How many losses were noticed. A reply to a call that was sent before one says nothing.
    losses: u64,
}

/// What was known of a part before a call was sent.
pub struct Before {
    app: Option<Arc<App>>,
    part: Part,
    count: Count,
}

/// A counter as it was found, and as it was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// As it was found.
    pub found: u64,
    /// The highest one that was known.
    pub known: u64,
}

impl Before {
    /// The counter, as far as it was known.
    pub fn at_most(&self, found: u64) -> u64 {
        found.min(self.count.known)
    }
}

impl App {
    fn count(&self, part: Part) -> MutexGuard<'_, Count> {
        self.parts[part as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// What is known of a part. To be taken before a call is sent.
    pub fn before(&self, app: &AppId, part: Part) -> Before {
        let app = self.apps().get(app).cloned();
        let count = app.as_ref().map_or_else(Count::default, |app| {
            app.called.store(self.calls.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
            *app.count(part)
        });
        Before { app, part, count }
    }

    /// Takes in what the call returned. A loss is returned once.
    pub fn after(&self, before: &Before, app: &AppId, found: u64) -> Option<Lost> {
        let there = match &before.app {
            Some(there) => there.clone(),
            None if found == 0 => return None,
            None => self.add(app),
        };
        let mut count = there.count(before.part);
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

    /// Parts of which something is known, those called last first, up to so many.
    pub fn latest(&self, most: usize) -> Vec<(AppId, Part, Before)> {
        let mut apps: Vec<_> =
            self.apps().iter().map(|(id, app)| (id.clone(), app.clone())).collect();
        apps.sort_by_cached_key(|(_, app)| u64::MAX - app.called.load(Ordering::Relaxed));
        let parts = apps.into_iter().flat_map(|(id, app)| {
            PARTS.map(|part| {
                let count = *app.count(part);
                (id.clone(), part, Before { app: Some(app.clone()), part, count })
            })
        });
        parts.filter(|(_, _, before)| before.count.known > 0).take(most).collect()
    }

    /// Every app with its counters, those called last first.
    pub fn rows(&self) -> Vec<(AppId, [u64; PARTS.len()])> {
        let mut apps: Vec<_> =
            self.apps().iter().map(|(id, app)| (id.clone(), app.clone())).collect();
        apps.sort_by_cached_key(|(_, app)| u64::MAX - app.called.load(Ordering::Relaxed));
        apps.into_iter().map(|(id, app)| (id, PARTS.map(|part| app.count(part).known))).collect()
    }

    /// Takes in counters that were saved, those called last first.
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

    /// Forgets everything: the store is another one from now on.
    pub fn clear(&self) {
        self.apps.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts changes of what is known.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    fn apps(&self) -> std::sync::RwLockReadGuard<'_, HashMap<AppId, Arc<App>>> {
        self.apps.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, id: &AppId) -> Arc<App> {
        let mut apps = self.apps.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = apps.get(id) {
            return there.clone();
        }
        if apps.len() >= APPS_MAX {
            let called = |app: &App| app.called.load(Ordering::Relaxed);
            let mut order: Vec<u64> = apps.values().map(|app| called(app)).collect();
            let (_, last, _) = order.select_nth_unstable(DROPPED_AT_ONCE - 1);
            let last = *last;
            apps.retain(|_, app| called(app) > last);
        }
        let app = Arc::new(App::default());
        app.called.store(self.calls.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        apps.insert(id.clone(), app.clone());
        app
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(id: &str) -> AppId {
        AppId::try_from(id).expect("an id")
    }

    /// Numbers that look random and are the same each time.
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
        noticed: Vec<Lost>,
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
                    self.noticed.extend(self.counts.after(&before, &app("demo"), found));
                }
                _ => {}
            }
        }

        fn known(&self) -> u64 {
            self.counts.before(&app("demo"), Part::Groups).count.known
        }

        /// A call that is answered at once.
        fn call(&mut self) {
            let before = self.counts.before(&app("demo"), Part::Groups);
            self.noticed.extend(self.counts.after(&before, &app("demo"), self.server));
        }
    }

    #[test]
    fn replies_in_any_order_are_no_loss() {
        for seed in 0..200 {
            let (mut model, mut dice) = (Model::default(), Dice(seed));
            for _ in 0..500 {
                model.step(&mut dice);
            }
            assert_eq!(model.noticed, [], "seed {seed}");
            assert!(model.known() > 10 && model.known() <= model.server);
        }
    }

    #[test]
    fn each_loss_is_noticed_once_whatever_is_under_way() {
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
                assert_eq!(model.noticed.last(), Some(&Lost { found: server, known }));
                for _ in 0..100 {
                    model.step(&mut dice);
                }
                assert_eq!(model.noticed.len(), losses, "seed {seed}");
            }
        }
    }

    #[test]
    fn apps_that_were_not_called_for_longest_are_forgotten() {
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
        assert_eq!(rows.len(), APPS_MAX + 1 - DROPPED_AT_ONCE);
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
    fn an_app_without_a_counter_counts_from_nothing() {
        let counts = Counts::default();
        let before = counts.before(&app("old"), Part::Friends);
        assert_eq!(counts.after(&before, &app("old"), 0), None);
        assert_eq!(counts.rows(), []);
    }
}
