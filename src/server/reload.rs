//! Reloads changed catalogs while the sidecar runs, and follows those of other sidecars.
//!
//! A bad catalog is refused and the last good one stays; one whose content was replaced is not
//! activated again. An accepted catalog applies immediately to apps without purchases; the limits
//! of the other apps are published immediately if the store is available, and in the background if
//! not.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::diagnostics::LoadError;
use crate::diagnostics::watch::FileWatch;
use crate::domain::catalog::Catalog;
use crate::engine::admin::{AdminError, Administration, CatalogId, Standing};
use crate::telemetry::Metrics;

/// Interval of reads of the store's active catalog, within which a change applies at every sidecar.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(3);

/// Follows the catalog file until `stopped` is cancelled.
pub async fn reload_catalog(
    watch: Option<FileWatch<Catalog>>,
    mut reload: mpsc::Receiver<()>,
    stopped: CancellationToken,
    administration: Administration,
    reported: Arc<Reported>,
) {
    let Some(watch) = watch else {
        // The built-in catalog does not change; a requested reload is logged.
        while tokio::select! {
            message = reload.recv() => message.is_some(),
            () = stopped.cancelled() => false,
        } {
            info!("catalog not reloaded: it is the built-in one");
        }
        return;
    };
    let change = |loaded| {
        let (administration, reported) = (administration.clone(), reported.clone());
        let stopped = stopped.clone();
        async move {
            tokio::select! {
                () = change_catalog(loaded, &administration, &reported) => {}
                // The next start publishes the limits of all apps anyway.
                () = stopped.cancelled() => {}
            }
        }
    };
    watch.run(reload, stopped.clone(), change).await;
}

/// Reports the active catalog by metrics and the log, once for each change.
pub struct Reported {
    metrics: Arc<Metrics>,
    last: Mutex<Option<(CatalogId, Option<CatalogId>)>>,
}

impl Reported {
    /// Creates it without a report.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, last: Mutex::default() }
    }

    /// Reports the active catalog, unless it was the last one reported.
    pub fn report(&self, standing: &Standing) {
        let (in_force, differs) = (&standing.in_force, &standing.differs);
        let now = Some((in_force.clone(), differs.clone()));
        let mut last = self.last.lock();
        if *last == now {
            return;
        }
        self.metrics.catalog_in_force(in_force.both(), differs.as_ref().map(CatalogId::both));
        if let Some(loaded) = differs {
            warn!(
                loaded = loaded.version,
                loaded_content = loaded.hash,
                in_force = in_force.version,
                in_force_content = in_force.hash,
                "catalog differs: the content of the loaded one was replaced, and the store's is \
                 followed; give it a new version or activate it"
            );
        }
        *last = now;
    }
}

async fn change_catalog(
    loaded: Result<Catalog, LoadError>,
    administration: &Administration,
    reported: &Reported,
) {
    let accepted = match loaded {
        Ok(catalog) => load(catalog, administration).await.map_err(|why| why.to_string()),
        Err(bad) => Err(bad.to_string()),
    };
    reported.metrics.catalog_reloaded(accepted.is_ok());
    match accepted {
        Ok(standing) => {
            reported.report(&standing);
            // A failure is logged, and retried in the background.
            let _ = administration.publish_all().await;
            info!(catalog = standing.in_force.version, "catalog reloaded");
        }
        Err(reason) => error!(reason, "catalog refused; the last good one stays in force"),
    }
}

/// Activates a catalog, as soon as the store is available and its clock can be trusted.
async fn load(catalog: Catalog, administration: &Administration) -> Result<Standing, AdminError> {
    let mut is_failing = false;
    loop {
        match administration.change_catalog(catalog.clone()).await {
            Err(error) if error.is_of_store() => {
                if !is_failing {
                    warn!(%error, "catalog not activated, retrying");
                }
                is_failing = true;
                tokio::time::sleep(FOLLOW_INTERVAL).await;
            }
            loaded => return loaded,
        }
    }
}

/// Follows catalogs that other sidecars and owners activate. An `unloaded` catalog, for which the
/// store was unavailable at the start, is activated first.
pub async fn follow_catalog(
    administration: Administration,
    mut unloaded: Option<Catalog>,
    reported: Arc<Reported>,
    stopped: CancellationToken,
) {
    let mut interval = tokio::time::interval(FOLLOW_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_failing = false;
    let follow = async {
        loop {
            interval.tick().await;
            let followed = match &unloaded {
                Some(catalog) => administration.change_catalog(catalog.clone()).await,
                None => administration.follow_catalog().await,
            };
            match followed {
                Ok(standing) => {
                    unloaded = None;
                    is_failing = false;
                    reported.report(&standing);
                    if standing.changed {
                        let _ = administration.publish_all().await;
                        info!(catalog = standing.in_force.version, "catalog followed");
                    }
                }
                Err(error) if !is_failing => {
                    is_failing = true;
                    warn!(%error, "catalogs not read, retrying");
                }
                Err(_) => {}
            }
        }
    };
    tokio::select! {
        () = follow => {}
        () = stopped.cancelled() => {}
    }
}
