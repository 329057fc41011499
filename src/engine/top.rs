//! Who is denied most: counts with a bound on memory and on their error (Space-Saving, Metwally et
//! al. 2005), of this sidecar, within the running hour.
//!
//! While there are fewer kinds than places every count is exact. Beyond that the smallest makes
//! room for a new one, which inherits its count as the most that it may be too high by. Whoever has
//! more denials than all of them divided by the places is in the list for certain.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Decision;
use crate::domain::decision::{Mode, Outcome, Reason, Subject};
use crate::domain::id::AppId;
use crate::domain::limit::LimitId;
use crate::domain::time::Timestamp;

/// Apps that are counted.
const APPS_MAX: usize = 256;
/// Subjects, each with a limit, that are counted.
const SUBJECTS_MAX: usize = 1024;
/// After so long all counts begin anew.
const WINDOW: Duration = Duration::from_secs(3600);

/// A subject of an app and the limit in its way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Denied {
    /// The app.
    pub app: AppId,
    /// Whose limit.
    pub subject: Subject,
    /// Which limit.
    pub limit_id: LimitId,
    /// Why.
    pub reason: Reason,
}

/// How often something was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// At most so often,
    pub count: u64,
    /// and at least so much less often.
    pub error: u64,
}

/// What was denied most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Top {
    /// Since when it is counted.
    pub since: Timestamp,
    /// Apps, the most first.
    pub apps: Vec<(AppId, Tally)>,
    /// Subjects, the most first.
    pub subjects: Vec<(Denied, Tally)>,
}

/// Counts denials.
pub(super) struct TopDenials(Mutex<Counted>);

struct Counted {
    since: Timestamp,
    apps: Sketch<AppId>,
    subjects: Sketch<Denied>,
}

impl Counted {
    fn new(since: Timestamp) -> Self {
        let (apps, subjects) = (Sketch::new(APPS_MAX), Sketch::new(SUBJECTS_MAX));
        Self { since, apps, subjects }
    }
}

impl TopDenials {
    /// From that instant on.
    pub(super) fn new(now: Timestamp) -> Self {
        Self(Mutex::new(Counted::new(now)))
    }

    /// Takes in what a decision denied; of one that only asks, nothing was denied to anybody.
    pub(super) fn note(&self, now: Timestamp, app: &AppId, mode: Mode, decision: &Decision) {
        let mut denials = decision
            .rulings()
            .filter(|ruling| ruling.outcome == Outcome::Denied && mode.writes())
            .flat_map(|ruling| &ruling.denials)
            .peekable();
        if denials.peek().is_none() {
            return;
        }
        let mut counted = self.counted(now);
        for denial in denials {
            let breach = &denial.breach;
            counted.apps.add(app);
            counted.subjects.add(&Denied {
                app: app.clone(),
                subject: breach.subject.clone(),
                limit_id: breach.limit_id.clone(),
                reason: breach.reason,
            });
        }
    }

    /// The most, up to so many of each; of one app, where it is named.
    pub(super) fn top(&self, now: Timestamp, app: Option<&AppId>, most: usize) -> Top {
        let counted = self.counted(now);
        let is = |of: &AppId| app.is_none_or(|app| app == of);
        Top {
            since: counted.since,
            apps: counted.apps.top(most, is),
            subjects: counted.subjects.top(most, |denied| is(&denied.app)),
        }
    }

    fn counted(&self, now: Timestamp) -> MutexGuard<'_, Counted> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now - counted.since >= WINDOW {
            *counted = Counted::new(now);
        }
        counted
    }
}

/// Counts of the most frequent kinds.
struct Sketch<K> {
    most: usize,
    tallies: HashMap<K, Tally>,
}

impl<K: Clone + Eq + Hash> Sketch<K> {
    fn new(most: usize) -> Self {
        Self { most, tallies: HashMap::new() }
    }

    fn add(&mut self, kind: &K) {
        if let Some(tally) = self.tallies.get_mut(kind) {
            tally.count += 1;
            return;
        }
        let mut tally = Tally { count: 1, error: 0 };
        if self.tallies.len() >= self.most {
            let smallest = self.tallies.iter().min_by_key(|(_, tally)| tally.count);
            if let Some((there, Tally { count, .. })) = smallest.map(|(kind, t)| (kind.clone(), *t))
            {
                self.tallies.remove(&there);
                tally = Tally { count: count + 1, error: count };
            }
        }
        self.tallies.insert(kind.clone(), tally);
    }

    fn top(&self, most: usize, wanted: impl Fn(&K) -> bool) -> Vec<(K, Tally)> {
        let found = self.tallies.iter().filter(|(kind, _)| wanted(kind));
        let mut found: Vec<_> = found.map(|(kind, tally)| (kind.clone(), *tally)).collect();
        found.sort_by_key(|(_, tally)| std::cmp::Reverse((tally.count, tally.count - tally.error)));
        found.truncate(most);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of which small ones are frequent, always the same.
    fn skewed() -> impl Iterator<Item = u64> {
        let mut state = 7_u64;
        std::iter::repeat_with(move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let number = state >> 33;
            (number % 1000) * (number % 997) / 1000
        })
    }

    #[test]
    fn counts_are_never_too_low_and_too_high_by_no_more_than_they_say() {
        let (places, calls) = (50, 20_000);
        let mut sketch = Sketch::new(places);
        let mut exact: HashMap<u64, u64> = HashMap::new();
        for kind in skewed().take(calls) {
            sketch.add(&kind);
            *exact.entry(kind).or_default() += 1;
        }
        assert!(exact.len() > 5 * places, "{}", exact.len());
        assert_eq!(sketch.tallies.len(), places);
        for (kind, Tally { count, error }) in sketch.top(places, |_| true) {
            let exact = exact[&kind];
            assert!(exact <= count && count - error <= exact, "{kind}: {exact}, {count} - {error}");
        }
        for (kind, count) in exact.into_iter().filter(|(_, count)| *count > (calls / places) as u64)
        {
            assert!(sketch.tallies.contains_key(&kind), "{kind} came {count} times");
        }
    }

    #[test]
    fn while_there_is_room_everything_is_exact_and_in_order() {
        let mut sketch = Sketch::new(4);
        for kind in ["a", "b", "a", "c", "a", "b"] {
            sketch.add(&kind);
        }
        let tally = |count| Tally { count, error: 0 };
        assert_eq!(sketch.top(2, |_| true), [("a", tally(3)), ("b", tally(2))]);
        assert_eq!(sketch.top(9, |kind| *kind != "a"), [("b", tally(2)), ("c", tally(1))]);
    }
}
