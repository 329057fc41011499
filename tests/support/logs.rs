//! The log of this test binary, common to all of its tests.

use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex};

/// The lines since it was made. Other tests log at the same time: a test has to look for a port or
/// a word that no other one logs.
pub struct Logs {
    begins_at_bytes: usize,
}

/// Everything since the first test that reads it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

/// One subscriber for the process: a call site that is first reached on another thread stays
/// disabled if only this thread has a subscriber.
static LOG: LazyLock<Log> = LazyLock::new(|| {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::set_global_default(subscriber).expect("the first subscriber");
    // Call sites that were reached before the subscriber was set.
    tracing::callsite::rebuild_interest_cache();
    log
});

impl Logs {
    /// Collects all later lines.
    pub fn collect() -> Self {
        let log = LOG.0.lock().expect("no poisoned lock");
        Self { begins_at_bytes: log.len() }
    }

    pub fn text(&self) -> String {
        let log = LOG.0.lock().expect("no poisoned lock");
        String::from_utf8_lossy(&log[self.begins_at_bytes..]).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no poisoned lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
