//! What the process is told by signals: SIGTERM and SIGINT end it, SIGHUP has the catalog, tokens
//! and certificates read again.

use std::future::Future;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Reloads that wait; more of them ask for the same.
const RELOADS_MAX: usize = 1;

/// The signals of the process.
pub struct Signals<F> {
    /// A message for each SIGHUP.
    pub reload: mpsc::Receiver<()>,
    /// Ready at the first SIGTERM or SIGINT.
    pub shutdown: F,
}

/// Listens to signals from now on.
pub fn listen() -> std::io::Result<Signals<impl Future<Output = ()>>> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (asked, reload) = mpsc::channel(RELOADS_MAX);
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            // A full queue means that a reload is about to happen anyway.
            let _ = asked.try_send(());
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
