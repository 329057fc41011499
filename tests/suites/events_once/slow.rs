//! An event log with one delayed reply: later calls of other tasks return before it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use imquota::domain::event::Event;
use imquota::events::{Claim, EventLog, EventsError, Lease, Move, Page};
use tokio::time::sleep;

/// An event log whose first read of the audit log's cursor is delayed.
pub struct SlowOnce {
    log: Arc<dyn EventLog>,
    was_slow: AtomicBool,
    by: Duration,
}

impl SlowOnce {
    pub fn over(log: Arc<dyn EventLog>, by: Duration) -> Self {
        Self { log, was_slow: AtomicBool::new(false), by }
    }
}

#[async_trait]
impl EventLog for SlowOnce {
    async fn append(&self, events: &[Event], moved: Option<Move>) -> Result<bool, EventsError> {
        self.log.append(events, moved).await
    }

    async fn cursor(&self, name: &'static str) -> Result<Option<String>, EventsError> {
        let answer = self.log.cursor(name).await;
        if name == "audit" && !self.was_slow.swap(true, Ordering::Relaxed) {
            sleep(self.by).await;
        }
        answer
    }

    async fn read(&self, after: u64, limit: usize) -> Result<Page, EventsError> {
        self.log.read(after, limit).await
    }

    async fn claim(&self, lease: &Lease, keep: Duration) -> Result<Claim, EventsError> {
        self.log.claim(lease, keep).await
    }

    async fn advance(&self, lease: &Lease, position: u64) -> Result<bool, EventsError> {
        self.log.advance(lease, position).await
    }
}
