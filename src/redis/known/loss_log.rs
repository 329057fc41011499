//! Log lines about lost writes: one for all losses that are found within a second.
//!
//! A failover that lost writes affects thousands of parts of apps at the same time. Each has an
//! event of its own; the log line has their number by part and a few examples.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::sleep;
use tracing::error;

use crate::domain::id::AppId;
use crate::store::loss::LostWrites;

/// Time from the first loss to the line about it and the following ones.
const LOGGED_TOGETHER: Duration = Duration::from_secs(1);
/// Most losses that a line names.
const EXAMPLES_MAX: usize = 5;

/// Losses that have not been logged yet.
#[derive(Default)]
pub struct LossLog(Arc<Mutex<Summary>>);

#[derive(Default)]
struct Summary {
    /// The number of losses by part.
    parts: BTreeMap<&'static str, u64>,
    /// The number of lost writes of all parts.
    writes: u64,
    examples: Vec<String>,
}

impl LossLog {
    /// Logs a loss within [`LOGGED_TOGETHER`].
    pub fn add(&self, loss: &LostWrites) {
        let is_first = {
            let mut summary = self.0.lock();
            let is_first = summary.parts.is_empty();
            summary.add(loss);
            is_first
        };
        match Handle::try_current() {
            Ok(runtime) if is_first => {
                let log = Self(self.0.clone());
                runtime.spawn(async move {
                    sleep(LOGGED_TOGETHER).await;
                    log.write();
                });
            }
            Ok(_) => {}
            Err(_) => self.write(),
        }
    }

    /// Writes the line about losses that have not been logged yet.
    pub fn write(&self) {
        let summary = std::mem::take(&mut *self.0.lock());
        if summary.parts.is_empty() {
            return;
        }
        error!(
            parts = summary.parts(),
            writes = summary.writes,
            examples = summary.examples.join("; "),
            "facts lost: the store counts fewer writes than it has acknowledged"
        );
    }
}

impl Summary {
    fn add(&mut self, LostWrites { part, app, found, known }: &LostWrites) {
        *self.parts.entry(part.name()).or_default() += 1;
        self.writes += known.saturating_sub(*found);
        if self.examples.len() < EXAMPLES_MAX {
            let of = app.as_ref().map(|app| format!("{} ", AppId::as_str(app))).unwrap_or_default();
            let first = found.saturating_add(1);
            self.examples.push(format!("{of}{} {first}-{known}", part.name()));
        }
    }

    /// Formats the losses by part, such as `accounts 2, groups 1`.
    fn parts(&self) -> String {
        let parts: Vec<_> = self.parts.iter().map(|(part, n)| format!("{part} {n}")).collect();
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::StorePart;

    #[test]
    fn a_summary_counts_every_loss_and_names_a_few() {
        let mut summary = Summary::default();
        for number in 0..10_000 {
            let app = AppId::try_from(format!("app-{number}")).expect("an id");
            for part in [StorePart::Accounts, StorePart::Groups] {
                summary.add(&LostWrites { part, app: Some(app.clone()), found: 4, known: 7 });
            }
        }
        summary.add(&LostWrites { part: StorePart::Events, app: None, found: 1, known: 2 });
        assert_eq!(summary.parts(), "accounts 10000, events 1, groups 10000");
        assert_eq!(summary.writes, 60_001);
        let expected = "app-0 accounts 5-7; app-0 groups 5-7; app-1 accounts 5-7; \
                        app-1 groups 5-7; app-2 accounts 5-7";
        assert_eq!(summary.examples.join("; "), expected);
    }

    #[tokio::test]
    async fn the_first_loss_of_a_burst_is_written_with_those_that_follow() {
        let log = LossLog::default();
        let unwritten = || log.0.lock().parts.values().sum::<u64>();
        for found in 0..3 {
            let loss = LostWrites { part: StorePart::Friends, app: None, found, known: 9 };
            log.add(&loss);
        }
        assert_eq!(unwritten(), 3);
        let written = async {
            while unwritten() > 0 {
                tokio::task::yield_now().await;
                sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(30 * LOGGED_TOGETHER, written).await.expect("the line is written");
    }
}
