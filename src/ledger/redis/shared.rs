//! The state that the calls of the ledger share, beside the store itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use tokio::sync::Semaphore;

use super::catalog_args::Texts;
use super::coalesce::{Queues, Waiting};
use super::group_types::Noted;
use super::holds::Removals;
use super::unanswered::UnansweredQueue;
use super::unknown_apps::SeenApps;
use crate::ledger::Call;
use crate::redis::store::Store;

/// Most claims that are compared concurrently: enough to keep a server busy, and few enough that
/// other calls do not wait long behind them.
const COMPARISONS_MAX: usize = 32;

/// The store, and the observations of the ledger about it.
pub struct Shared {
    /// Calls scripts.
    pub store: Arc<Store>,
    /// Takes whose reply did not reach the caller.
    pub unanswered: UnansweredQueue,
    /// Operations that wait to be decided together.
    pub coalescing: Queues<Waiting>,
    /// Permits for claims that are being compared.
    pub comparing: Semaphore,
    /// Removals of expired facts in progress.
    pub removals: Removals,
    /// The catalog arguments of the last script call.
    catalog_args: ArcSwapOption<Texts>,
    /// Group types that are recorded as in use.
    noted: Noted,
    /// Unregistered apps that have been counted.
    unknown_apps: SeenApps,
    /// The version of the store's state that `noted` and `unknown_apps` are about.
    observed_version: AtomicU64,
}

impl Shared {
    /// Creates the state of a ledger that has made no call.
    pub fn new(store: Arc<Store>, coalescing: Queues<Waiting>) -> Self {
        let observed_version = AtomicU64::new(store.standing.version());
        Self {
            store,
            coalescing,
            unanswered: UnansweredQueue::default(),
            comparing: Semaphore::new(COMPARISONS_MAX),
            removals: Removals::default(),
            catalog_args: ArcSwapOption::empty(),
            noted: Noted::default(),
            unknown_apps: SeenApps::default(),
            observed_version,
        }
    }

    /// Returns the catalog arguments of scripts for the call's catalog.
    pub fn catalog_args(&self, call: &Call) -> Arc<Texts> {
        let known = self.catalog_args.load();
        if let Some(catalog_args) = known.as_ref().filter(|catalog_args| catalog_args.are_of(call))
        {
            return catalog_args.clone();
        }
        let catalog_args = Arc::new(Texts::of(call));
        self.catalog_args.store(Some(catalog_args.clone()));
        catalog_args
    }

    /// Returns the group types that are recorded as in use.
    pub fn noted(&self) -> &Noted {
        self.discard_outdated();
        &self.noted
    }

    /// Returns the unregistered apps that have been counted.
    pub fn unknown_apps(&self) -> &SeenApps {
        self.discard_outdated();
        &self.unknown_apps
    }

    /// Discards the observations if the store was lost, accepted or opened again since they were
    /// made. The version is stored last: until then, every other call discards them too.
    fn discard_outdated(&self) {
        let version = self.store.standing.version();
        if self.observed_version.load(Ordering::Acquire) != version {
            self.noted.clear();
            self.unknown_apps.clear();
            self.observed_version.store(version, Ordering::Release);
        }
    }
}
