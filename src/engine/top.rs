//! The most frequent denials: counts with a bound on memory and on their error (Space-Saving,
//! Metwally et al. 2005), of this sidecar, within the running hour.
//!
//! While there are fewer keys than places every count is exact. Beyond that a new key replaces the
//! one with the lowest count and inherits that count, which is then the most that its own may be
//! too high by. A key with more denials than all of them divided by the places is certain to be in
//! the list. Counting takes constant time.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use indexmap::IndexMap;
use parking_lot::{Mutex, MutexGuard};

use super::Decision;
use crate::domain::decision::{Mode, Outcome, Reason, Subject};
use crate::domain::id::AppId;
use crate::domain::limit::LimitId;
use crate::domain::time::Timestamp;

/// Number of apps that are counted.
const APPS_MAX: usize = 256;
/// Number of subjects, each with a limit, that are counted.
const SUBJECTS_MAX: usize = 1024;
/// Time after which all counts start anew.
const WINDOW: Duration = Duration::from_secs(3600);

/// A subject of an app and the limit that it reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DenialKey {
    /// The app.
    pub app: AppId,
    /// The subject that reached the limit.
    pub subject: Subject,
    /// The limit.
    pub limit_id: LimitId,
    /// Reason of the denials.
    pub reason: Reason,
}

/// A count and its greatest error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Estimate {
    /// The greatest possible number of denials.
    pub count: u64,
    /// The most that `count` may be too high by.
    pub error: u64,
}

/// The most frequent denials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopDenials {
    /// The instant since which denials are counted.
    pub since: Timestamp,
    /// Apps, the most denied first.
    pub apps: Vec<(AppId, Estimate)>,
    /// Subjects, the most denied first.
    pub subjects: Vec<(DenialKey, Estimate)>,
}

/// Counts denials.
pub(super) struct DenialCounter(Mutex<Counts>);

struct Counts {
    since: Timestamp,
    apps: SpaceSaving<AppId>,
    subjects: SpaceSaving<DenialKey>,
}

impl Counts {
    fn new(since: Timestamp) -> Self {
        let (apps, subjects) = (SpaceSaving::new(APPS_MAX), SpaceSaving::new(SUBJECTS_MAX));
        Self { since, apps, subjects }
    }
}

impl DenialCounter {
    /// Creates a counter that counts from `now` on.
    pub(super) fn new(now: Timestamp) -> Self {
        Self(Mutex::new(Counts::new(now)))
    }

    /// Counts the denials of a decision, unless it was a dry run.
    pub(super) fn record(&self, now: Timestamp, app: &AppId, mode: Mode, decision: &Decision) {
        let mut denials = decision
            .results()
            .filter(|result| result.outcome == Outcome::Denied && mode.writes())
            .flat_map(|result| &result.violations)
            .peekable();
        if denials.peek().is_none() {
            return;
        }
        let mut counts = self.counts(now);
        for denial in denials {
            let violation = &denial.violation;
            counts.apps.add(app);
            counts.subjects.add(&DenialKey {
                app: app.clone(),
                subject: violation.subject.clone(),
                limit_id: violation.limit_id.clone(),
                reason: violation.reason,
            });
        }
    }

    /// Returns up to `most` apps and subjects; only those of `app`, if it is given.
    pub(super) fn top(&self, now: Timestamp, app: Option<&AppId>, most: usize) -> TopDenials {
        let counts = self.counts(now);
        let is = |of: &AppId| app.is_none_or(|app| app == of);
        TopDenials {
            since: counts.since,
            apps: counts.apps.top(most, is),
            subjects: counts.subjects.top(most, |denied| is(&denied.app)),
        }
    }

    fn counts(&self, now: Timestamp) -> MutexGuard<'_, Counts> {
        let mut counts = self.0.lock();
        if now - counts.since >= WINDOW {
            *counts = Counts::new(now);
        }
        counts
    }
}

/// Counts of the most frequent keys.
///
/// The keys are kept in descending order of their counts, with the index at which each count
/// begins. When a count grows by one, its key swaps places with the first key of the same count,
/// which keeps the order.
struct SpaceSaving<K> {
    places: usize,
    /// The greatest count first.
    estimates: IndexMap<K, Estimate>,
    /// The index of the first estimate with a count.
    first_of_count: HashMap<u64, usize>,
}

impl<K: Clone + Eq + Hash> SpaceSaving<K> {
    fn new(places: usize) -> Self {
        Self { places, estimates: IndexMap::new(), first_of_count: HashMap::new() }
    }

    fn add(&mut self, key: &K) {
        let index = self.estimates.get_index_of(key);
        let index = index.unwrap_or_else(|| self.admit(key.clone()));
        self.increment(index);
    }

    /// Inserts a key, in place of that with the lowest count if all places are taken. Returns its
    /// index.
    fn admit(&mut self, key: K) -> usize {
        let is_full = self.estimates.len() >= self.places;
        let lowest = if is_full { self.estimates.pop() } else { None };
        let error = lowest.map_or(0, |(_, lowest)| lowest.count);
        let (index, _) = self.estimates.insert_full(key, Estimate { count: error, error });
        // A key that replaces another also inherits its count.
        self.first_of_count.entry(error).or_insert(index);
        index
    }

    fn increment(&mut self, index: usize) {
        let count = self.estimates[index].count;
        let first = self.first_of_count[&count];
        self.estimates.swap_indices(index, first);
        self.estimates[first].count += 1;
        let next = self.estimates.get_index(first + 1);
        if next.is_some_and(|(_, next)| next.count == count) {
            self.first_of_count.insert(count, first + 1);
        } else {
            self.first_of_count.remove(&count);
        }
        self.first_of_count.entry(count + 1).or_insert(first);
    }

    fn top(&self, most: usize, wanted: impl Fn(&K) -> bool) -> Vec<(K, Estimate)> {
        let found = self.estimates.iter().filter(|(key, _)| wanted(key));
        let mut found: Vec<_> = found.map(|(key, estimate)| (key.clone(), *estimate)).collect();
        found.sort_by_key(|(_, it)| std::cmp::Reverse((it.count, it.count - it.error)));
        found.truncate(most);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of which small ones are frequent, the same in each run.
    fn skewed() -> impl Iterator<Item = u64> {
        let mut state = 7_u64;
        std::iter::repeat_with(move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let number = state >> 33;
            (number % 1000) * (number % 997) / 1000
        })
    }

    #[test]
    fn counts_are_never_too_low_and_at_most_their_error_too_high() {
        let (places, calls) = (50, 20_000);
        let mut counts = SpaceSaving::new(places);
        let mut exact: HashMap<u64, u64> = HashMap::new();
        for key in skewed().take(calls) {
            counts.add(&key);
            *exact.entry(key).or_default() += 1;
        }
        assert!(exact.len() > 5 * places, "{}", exact.len());
        assert_eq!(counts.estimates.len(), places);
        for (key, Estimate { count, error }) in counts.top(places, |_| true) {
            let exact = exact[&key];
            assert!(exact <= count && count - error <= exact, "{key}: {exact}, {count} - {error}");
        }
        for (key, count) in exact.into_iter().filter(|(_, count)| *count > (calls / places) as u64)
        {
            assert!(counts.estimates.contains_key(&key), "{key} came {count} times");
        }
    }

    #[test]
    fn each_count_equals_that_of_a_linear_search_for_the_lowest() {
        let (places, calls) = (20, 5_000);
        let mut counts = SpaceSaving::new(places);
        let mut model: Vec<(u64, Estimate)> = Vec::new();
        let mut evicted = 0;
        for key in skewed().take(calls) {
            if let Some((_, estimate)) = model.iter_mut().find(|(of, _)| *of == key) {
                estimate.count += 1;
            } else {
                let mut error = 0;
                if model.len() == places {
                    error = model.iter().map(|(_, it)| it.count).min().expect("not empty");
                    // Of several with the lowest count any may be evicted: find the one that the
                    // counter evicted.
                    let gone = model.iter().position(|(of, it)| {
                        it.count == error && counts.estimates.last().is_some_and(|(k, _)| k == of)
                    });
                    model.remove(gone.expect("the last in order has the lowest count"));
                    evicted += 1;
                }
                model.push((key, Estimate { count: error + 1, error }));
            }
            counts.add(&key);
            assert_eq!(counts.estimates.len(), model.len());
            for (key, estimate) in &model {
                assert_eq!(counts.estimates.get(key), Some(estimate), "{key}");
            }
            let in_order: Vec<u64> = counts.estimates.values().map(|it| it.count).collect();
            assert!(in_order.is_sorted_by(|one, next| one >= next), "{in_order:?}");
            let begins = in_order.iter().enumerate().rev().map(|(at, count)| (*count, at));
            assert_eq!(counts.first_of_count, begins.collect::<HashMap<_, _>>());
        }
        assert!(evicted > places, "{evicted}");
    }

    #[test]
    fn counts_are_exact_and_in_order_until_all_places_are_taken() {
        let mut counts = SpaceSaving::new(4);
        for key in ["a", "b", "a", "c", "a", "b"] {
            counts.add(&key);
        }
        let exactly = |count| Estimate { count, error: 0 };
        assert_eq!(counts.top(2, |_| true), [("a", exactly(3)), ("b", exactly(2))]);
        assert_eq!(counts.top(9, |key| *key != "a"), [("b", exactly(2)), ("c", exactly(1))]);
    }
}
