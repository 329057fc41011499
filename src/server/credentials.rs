//! Reloads changed tokens and certificates while the sidecar runs.
//!
//! As with the catalog, the files' contents are compared at each poll and loaded again on SIGHUP. A
//! bad file is refused and the last good content stays, so a token that has to be removed
//! immediately is removed when the log says so, not when the file was written. A certificate and
//! its key are two files: between the two writes they do not match, which is reported once and
//! resolved by the next poll.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::ServeError;
use super::tls::{CALLBACK_PROTOCOLS, Certificates, RPC_PROTOCOLS};
use crate::access::{Access, Tokens};
use crate::callbacks::Callbacks;
use crate::config::AccessConfig;
use crate::diagnostics::read_file;
use crate::diagnostics::watch::POLL_INTERVAL;
use crate::telemetry::Metrics;

/// All credentials: of the callers, and of this sidecar.
#[derive(Clone)]
pub struct Credentials {
    /// The callers that may use the admin service.
    pub access: Arc<Access>,
    /// Our certificates on the data plane.
    pub data: Option<Arc<Certificates>>,
    /// Our certificates on the admin listeners.
    pub admin: Option<Arc<Certificates>>,
    /// Our certificates on the callback listener.
    pub callbacks: Option<Arc<Certificates>>,
    followed: Arc<[Followed]>,
}

/// Files that are loaded again when one of them has changed.
struct Followed {
    /// Name of the files in logs and metrics.
    name: &'static str,
    files: Vec<PathBuf>,
    reload: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// Contents of the files before they were loaded first.
    at_first: Vec<Seen>,
}

/// SHA-256 of a file's content, or the reason why it could not be read.
type Seen = Result<[u8; 32], String>;

impl Credentials {
    /// Loads the files.
    pub fn open(
        config: &AccessConfig,
        callbacks: Option<&Callbacks>,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, ServeError> {
        let mut followed = Vec::new();
        let path = config.tokens_file.clone();
        let at_first = path.as_slice().iter().map(seen).collect();
        let access = Arc::new(Access::open(config.accepted_credentials(), metrics.clone())?);
        if let Some(path) = path {
            let (access, files) = (access.clone(), vec![path.clone()]);
            let reload = Box::new(move || {
                let tokens = Tokens::load(&path).map_err(|error| error.to_string())?;
                access.change_tokens(tokens);
                Ok(())
            });
            followed.push(Followed { name: "admin_tokens", files, reload, at_first });
        }
        for token in callbacks.into_iter().flat_map(Callbacks::tokens) {
            let files = vec![token.file().to_owned()];
            let at_first = files.iter().map(seen).collect();
            let reload = Box::new(move || token.reload());
            followed.push(Followed { name: "callback_token", files, reload, at_first });
        }
        let mut certificates =
            |name, prefix, files: &Option<_>, protocols| -> Result<_, ServeError> {
                let Some(files) = files.clone() else { return Ok(None) };
                let paths = Certificates::paths(&files);
                let at_first = paths.iter().map(seen).collect();
                let opened = Arc::new(Certificates::open(prefix, files, protocols)?);
                let reloaded = opened.clone();
                let reload = Box::new(move || reloaded.reload().map_err(|error| error.to_string()));
                followed.push(Followed { name, files: paths, reload, at_first });
                Ok(Some(opened))
            };
        let data = certificates("tls", "", &config.tls, RPC_PROTOCOLS)?;
        let admin = certificates("admin_tls", "admin_", &config.admin_tls, RPC_PROTOCOLS)?;
        let of_callbacks = config.tls.clone().filter(|_| callbacks.is_some());
        let of_callbacks = certificates("callback_tls", "", &of_callbacks, CALLBACK_PROTOCOLS)?;
        for Followed { name, .. } in &followed {
            metrics.credentials_followed(name);
        }
        let callbacks = of_callbacks;
        Ok(Self { access, data, admin, callbacks, followed: followed.into() })
    }

    /// Follows the files until `stopped` is cancelled.
    pub async fn follow(
        self,
        mut reload: mpsc::Receiver<()>,
        stopped: CancellationToken,
        metrics: Arc<Metrics>,
    ) {
        if self.followed.is_empty() {
            return;
        }
        let mut polls = interval(POLL_INTERVAL);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last: Vec<_> = self.followed.iter().map(|of| of.at_first.clone()).collect();
        let mut reloadable = true;
        loop {
            let requested = tokio::select! {
                biased;
                () = stopped.cancelled() => return,
                message = reload.recv(), if reloadable => {
                    // Without a sender, only polling continues.
                    reloadable = message.is_some();
                    reloadable
                }
                _ = polls.tick() => false,
            };
            let (followed, metrics) = (self.followed.clone(), metrics.clone());
            let polled = spawn_blocking(move || {
                for (files, last) in followed.iter().zip(&mut last) {
                    files.poll(last, requested, &metrics);
                }
                last
            });
            last = match polled.await {
                Ok(last) => last,
                Err(panic) => {
                    error!(%panic, "tokens and certificates are not reloaded any more");
                    return;
                }
            };
        }
    }
}

impl Followed {
    fn poll(&self, last: &mut Vec<Seen>, requested: bool, metrics: &Metrics) {
        let now: Vec<_> = self.files.iter().map(seen).collect();
        if *last == now && !requested {
            return;
        }
        // A change after this read is found by the next poll.
        *last = now;
        let reloaded = (self.reload)();
        metrics.credentials_reloaded(self.name, reloaded.is_ok());
        match reloaded {
            Ok(()) => info!(of = self.name, "credentials reloaded"),
            Err(reason) => {
                error!(of = self.name, reason, "credentials refused; the last good ones stay");
            }
        }
    }
}

fn seen(path: impl AsRef<Path>) -> Seen {
    match read_file(path.as_ref()) {
        Ok(bytes) => Ok(Sha256::digest(bytes).into()),
        Err(error) => Err(error.to_string()),
    }
}

/// Duplicates each message to two receivers. They end when `from` ends, or when `stopped` is
/// cancelled.
pub fn to_both(
    mut from: mpsc::Receiver<()>,
    stopped: CancellationToken,
) -> [mpsc::Receiver<()>; 2] {
    let [one, other] = [(); 2].map(|()| mpsc::channel(1));
    tokio::spawn(async move {
        while tokio::select! {
            message = from.recv() => message.is_some(),
            () = stopped.cancelled() => false,
        } {
            // A full queue means that a reload is pending anyway.
            let _ = one.0.try_send(());
            let _ = other.0.try_send(());
        }
    });
    [one.1, other.1]
}
