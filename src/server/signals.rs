//! Signals of the process: SIGTERM and SIGINT end it, SIGHUP reloads the catalog, tokens and
//! certificates.

use std::future::Future;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Reloads that wait; more of them would request the same.
const RELOADS_MAX: usize = 1;

/// The signals of the process.
pub struct Signals<F> {
    /// A message for each SIGHUP.
    pub reload: mpsc::Receiver<()>,
    /// Ready at the first SIGTERM or SIGINT.
    pub shutdown: F,
}

/// Installs the handlers of the signals.
pub fn listen() -> std::io::Result<Signals<impl Future<Output = ()>>> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (requests, reload) = mpsc::channel(RELOADS_MAX);
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            // A full queue means that a reload is pending anyway.
            let _ = requests.try_send(());
        }
    });
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    Ok(Signals { reload, shutdown })
}
