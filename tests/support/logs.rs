//! What the tests of this binary log, all of them together.

use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex};

/// Lines since the first test that reads them asked for it.
#[derive(Clone, Default)]
pub struct Logs(Arc<Mutex<Vec<u8>>>);

/// One subscriber for the process: a line that is first reached on another thread is switched off
/// for good if only this thread has a subscriber.
static LOGS: LazyLock<Logs> = LazyLock::new(|| {
    let logs = Logs::default();
    let writer = logs.clone();
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::set_global_default(subscriber).expect("the first subscriber");
    // Lines that were reached while it was being set.
    tracing::callsite::rebuild_interest_cache();
    logs
});

impl Logs {
    /// Collects what is logged from now on.
    pub fn collect() -> Self {
        LOGS.clone()
    }

    pub fn text(&self) -> String {
        let bytes = self.0.lock().expect("nobody panics with it");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panics with it").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
