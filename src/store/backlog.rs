//! A bounded queue for one consumer.

use std::collections::VecDeque;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

/// The highest number of entries: some for each of thousands of apps, and as many as the events
/// that may wait for the log.
const ENTRIES_MAX: usize = 10_000;

/// Entries, oldest first.
#[derive(Debug)]
pub struct Backlog<T> {
    waiting: Mutex<VecDeque<T>>,
    added: Notify,
}

impl<T> Default for Backlog<T> {
    fn default() -> Self {
        Self { waiting: Mutex::default(), added: Notify::new() }
    }
}

impl<T> Backlog<T> {
    /// Adds an entry; drops it if there are 10,000 already.
    pub fn add(&self, entry: T) {
        let mut waiting = self.waiting();
        if waiting.len() < ENTRIES_MAX {
            waiting.push_back(entry);
        }
        drop(waiting);
        self.added.notify_one();
    }

    /// Waits for the next entry. To be called by one task, which may stop waiting at any time.
    pub async fn next(&self) -> T {
        loop {
            let next = self.waiting().pop_front();
            if let Some(next) = next {
                return next;
            }
            self.added.notified().await;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.waiting.lock()
    }
}
