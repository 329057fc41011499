//! Puts changed catalogs into force while the sidecar runs.
//!
//! A bad one is refused and the last good one stays. One that is accepted decides at once for
//! apps that have bought nothing; the limits of the others are brought to the ledger until all
//! are there.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use crate::catalog::LoadError;
use crate::catalog::watch::Watch;
use crate::domain::catalog::Catalog;
use crate::engine::administration::{AdminError, Administration};
use crate::telemetry::Metrics;

/// Time before limits that could not be brought to the ledger are tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Follows the catalog file until the end.
pub async fn reload_catalog(
    watch: Option<Watch>,
    mut reload: mpsc::Receiver<()>,
    mut stopped: watch::Receiver<bool>,
    administration: Administration,
    metrics: Arc<Metrics>,
) {
    let Some(watch) = watch else {
        // The built-in catalog does not change, but whoever asks is told.
        while tokio::select! {
            asked = reload.recv() => asked.is_some(),
            _ = stopped.wait_for(|stop| *stop) => false,
        } {
            info!("nothing to reload: the catalog is the built-in one");
        }
        return;
    };
    let until = stopped.clone();
    let change = |loaded| {
        let (administration, metrics) = (administration.clone(), metrics.clone());
        let mut stopped = until.clone();
        async move {
            tokio::select! {
                () = change_catalog(loaded, &administration, &metrics) => {}
                // The next start brings the limits of all apps to the ledger anyway.
                _ = stopped.wait_for(|stop| *stop) => {}
            }
        }
    };
    watch.run(reload, stopped, change).await;
}

async fn change_catalog(
    loaded: Result<Catalog, LoadError>,
    administration: &Administration,
    metrics: &Metrics,
) {
    let accepted = match loaded {
        Ok(catalog) => accept(catalog, administration).await.map_err(|why| why.to_string()),
        Err(bad) => Err(bad.to_string()),
    };
    metrics.catalog_reloaded(accepted.is_ok());
    match accepted {
        Ok(version) => {
            metrics.catalog_in_force(&version);
            while let Err(error) = administration.publish_all().await {
                warn!(%error, "the limits of some apps are still those of the catalog before");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            info!(catalog = version, "catalog reloaded");
        }
        Err(reason) => error!(reason, "catalog refused; the last good one stays in force"),
    }
}

async fn accept(catalog: Catalog, administration: &Administration) -> Result<String, AdminError> {
    let version = catalog.version.clone();
    administration.change_catalog(catalog).await?;
    Ok(version)
}
