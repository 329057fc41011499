//! Publishes the limits of every app to the ledger, app by app.
//!
//! A round reads all apps. The first one after a start or a change of the catalog publishes each of
//! them; later ones publish those whose recorded revision is not in force in every part of the
//! store, whichever sidecar recorded it: so a sale that was recorded and not published is finished
//! by any sidecar. An app that cannot be published holds up no other and is retried in the next
//! round. Until then the limits that were published last decide.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::pace::SLICE_ITEMS;
use super::service::AdminService;
use super::{AdminError, PAGE, Pages};
use crate::clock::Stopwatch;
use crate::directory::{AppRecord, UnreadableApp};
use crate::domain::app_details::AppDetails;
use crate::domain::catalog::Catalog;
use crate::domain::id::AppId;
use crate::domain::schedule::Schedule;
use crate::domain::time::Timestamp;
use crate::ledger::LedgerError;
use crate::store::StoreError;

/// Timeout for an app that could not be published before: short, so that a round is not held up by
/// the many apps of an unavailable server.
const RETRY_MAX: Duration = Duration::from_secs(1);
/// Interval at which revisions that were found in force are compared again, since a server that
/// lost its last writes may have lost the limits too.
const COMPARED_EVERY: Duration = Duration::from_secs(10 * 60);

/// Results of earlier rounds.
#[derive(Default)]
pub(super) struct Publishing {
    /// The catalog by which limits were published last.
    catalog: Option<Arc<Catalog>>,
    /// True if every app was published by it, or is among the failing ones.
    is_through: bool,
    /// The highest revision found in force in every part, by the app's fingerprint.
    confirmed: HashMap<u64, u64>,
    compared: Option<Stopwatch>,
    /// The apps that could not be published, and their need.
    failing: HashMap<AppId, Need>,
    /// True if listing the apps failed last.
    unlisted: bool,
    /// The apps whose documents cannot be read, with reasons.
    unreadable: HashMap<String, String>,
}

/// Need of an app in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Publish its limits in any case.
    Publish,
    /// Publish its limits if an earlier revision is in force.
    Compare,
}

/// An attempt of a round to publish an app's limits.
struct Attempt<'r> {
    key: u64,
    record: &'r AppRecord,
    need: Need,
    /// True if it could not be published before.
    again: bool,
}

impl Publishing {
    fn begin(&mut self, catalog: &Arc<Catalog>) -> bool {
        if !self.catalog.as_ref().is_some_and(|last| Arc::ptr_eq(last, catalog)) {
            self.catalog = Some(catalog.clone());
            self.is_through = false;
            self.confirmed.clear();
        }
        let compares = self.compared.is_some_and(|last| last.elapsed() >= COMPARED_EVERY);
        if compares || self.compared.is_none() {
            self.compared = Some(Stopwatch::start());
        }
        compares
    }

    fn need(&self, key: u64, record: &AppRecord, compares: bool) -> Option<Need> {
        if let Some(need) = self.failing.get(&record.app) {
            return Some(if self.is_through { *need } else { Need::Publish });
        }
        match self.confirmed.get(&key) {
            Some(revision) if *revision >= record.revision => compares.then_some(Need::Compare),
            None if !self.is_through => Some(Need::Publish),
            _ => Some(Need::Compare),
        }
    }
}

impl AdminService {
    /// Publishes the limits of an app to the ledger, including those of all its past, so that they
    /// apply whatever a clock reads. The record is already stored, which every error states.
    /// `is_new`: it has just been written, so that its limits cannot be in the ledger yet.
    pub(super) async fn publish(
        &self,
        record: &AppRecord,
        now: Timestamp,
        is_new: bool,
    ) -> Result<(), AdminError> {
        loop {
            let catalog = self.engine.catalog();
            // By a clock that is ahead, less would be needed of the catalog.
            let now = now.min(self.engine.local_now());
            let missing = |missing| AdminError::Missing { app: record.app.clone(), missing };
            let schedule = Schedule::whole(&catalog, &record.sales, now)
                .map_err(|item| AdminError::recorded(missing(item)))?
                .with_im_codes(AppDetails::after(&record.details).im_code_set.as_ref());
            let (ledger, app, revision) = (&self.engine.ledger, &record.app, record.revision);
            let put = if is_new {
                ledger.put_new_schedule(app, revision, &schedule).await
            } else {
                ledger.put_schedule(app, revision, &schedule).await
            };
            put.map_err(AdminError::Unfinished)?;
            // A catalog that was loaded meanwhile may have been published before this one.
            if Arc::ptr_eq(&catalog, &self.engine.catalog()) {
                return Ok(());
            }
        }
    }

    /// Publishes the limits of all apps, even those found in force: the store lost them.
    pub(super) async fn publish_anew(&self) -> Result<(), AdminError> {
        self.publishing.lock().await.catalog = None;
        self.publish_round().await
    }

    /// Runs one round over all apps. The error is that of one app; others may have been published.
    pub(super) async fn publish_round(&self) -> Result<(), AdminError> {
        let mut publishing = self.publishing.lock().await;
        let catalog = self.engine.catalog();
        let compares = publishing.begin(&catalog);
        let had_failed = !publishing.failing.is_empty();
        let (mut pages, mut first_error) = (Pages::default(), None);
        while let Some(page) = self.next_page(&mut publishing, &mut pages).await? {
            self.pace.next_slice().await;
            let attempts: Vec<Attempt> = page
                .iter()
                .filter_map(|record| {
                    let key = self.key(record);
                    let need = publishing.need(key, record, compares)?;
                    let again = publishing.failing.contains_key(&record.app);
                    Some(Attempt { key, record, need, again })
                })
                .collect();
            let results = self.publish_apps(&attempts).await;
            for (Attempt { key, record, need, .. }, result) in attempts.into_iter().zip(results) {
                if let Err(error) = result {
                    publishing.failing.insert(record.app.clone(), need);
                    first_error.get_or_insert((record.app.clone(), error));
                } else {
                    publishing.failing.remove(&record.app);
                    publishing.confirmed.insert(key, record.revision);
                }
            }
        }
        publishing.is_through = true;
        if first_error.is_none() && Arc::ptr_eq(&catalog, &self.engine.catalog()) {
            self.kept.published();
        }
        self.log_unreadable(&mut publishing, pages.unreadable);
        let failing = publishing.failing.len();
        self.engine.metrics.condition.apps_unpublished(failing);
        match first_error {
            None if had_failed => info!("limits of all apps published"),
            Some((app, error)) => {
                if !had_failed {
                    warn!(%app, %error, apps = failing, "limits not published, retrying");
                }
                return Err(error);
            }
            None => {}
        }
        Ok(())
    }

    /// Publishes the limits of some apps, in slices, and returns the results in the same order.
    async fn publish_apps(&self, attempts: &[Attempt<'_>]) -> Vec<Result<(), AdminError>> {
        let slices = attempts.chunks(SLICE_ITEMS).enumerate();
        let slices: Vec<_> =
            slices.map(|(index, slice)| self.publish_slice(index, slice)).collect();
        stream::iter(slices).buffered(PAGE / SLICE_ITEMS).concat().await
    }

    async fn publish_slice(
        &self,
        index: usize,
        slice: &[Attempt<'_>],
    ) -> Vec<Result<(), AdminError>> {
        if index > 0 {
            self.pace.next_slice().await;
        }
        let each = slice.iter().map(|it| self.publish_one(it.record, it.need, it.again));
        join_all(each.collect::<Vec<_>>()).await
    }

    async fn next_page(
        &self,
        publishing: &mut Publishing,
        pages: &mut Pages,
    ) -> Result<Option<Vec<AppRecord>>, AdminError> {
        let page = pages.next(&*self.directory).await;
        let had_failed = std::mem::replace(&mut publishing.unlisted, page.is_err());
        if let Err(error) = &page
            && !had_failed
        {
            warn!(%error, "apps not listed, limits not published, retrying");
        }
        Ok(page?)
    }

    fn key(&self, record: &AppRecord) -> u64 {
        self.engine.ledger.fingerprints().app(&record.app)
    }

    async fn publish_one(
        &self,
        record: &AppRecord,
        need: Need,
        again: bool,
    ) -> Result<(), AdminError> {
        let run = async {
            if need == Need::Compare {
                let in_force = self.engine.ledger.schedule_revision(&record.app).await;
                if in_force.map_err(AdminError::Unfinished)? >= record.revision {
                    return Ok(());
                }
                info!(app = %record.app, revision = record.revision, "publishing recorded change");
            }
            let now = self.engine.now().await.map_err(AdminError::Unfinished)?;
            match self.publish(record, now, false).await {
                // No kept catalog describes an item that it bought.
                Err(AdminError::Recorded(error))
                    if matches!(*error, AdminError::Missing { .. }) =>
                {
                    error!(%error, "limits not published: they stay as they were");
                    Ok(())
                }
                published => published,
            }
        };
        if !again {
            return run.await;
        }
        let too_long = |_| {
            let reason = format!("no answer within {RETRY_MAX:?}");
            AdminError::Unfinished(LedgerError::Store(StoreError::Unavailable(reason)))
        };
        timeout(RETRY_MAX, run).await.map_err(too_long)?
    }

    /// Logs each unreadable document once.
    fn log_unreadable(&self, publishing: &mut Publishing, found: Vec<UnreadableApp>) {
        self.engine.metrics.condition.apps_unreadable(found.len());
        let before = std::mem::take(&mut publishing.unreadable);
        for UnreadableApp { app, reason } in found {
            if before.get(&app) != Some(&reason) {
                error!(%app, %reason, "app document unreadable, its last limits stay in force");
            }
            publishing.unreadable.insert(app, reason);
        }
        for app in before.keys().filter(|app| !publishing.unreadable.contains_key(*app)) {
            info!(%app, "app document readable again");
        }
    }
}
