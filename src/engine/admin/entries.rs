//! Searches the audit log.

use super::AdminError;
use super::service::AdminService;
use crate::domain::audit::{Entry, Head};
use crate::domain::id::AppId;
use crate::domain::time::Timestamp;

/// Entries read at a time: a slice of [`Pace`](super::Pace).
const PAGE: usize = 64;
/// Most entries that one call reads.
const READ_MAX: usize = 64 * PAGE;

/// Filter of entries: each field that is set has to match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryFilter {
    /// Entries of this app.
    pub app: Option<AppId>,
    /// Entries by this actor.
    pub actor: Option<String>,
    /// Entries of this RPC.
    pub action: Option<String>,
    /// Entries of this request.
    pub request_id: Option<String>,
    /// Entries not before this instant.
    pub from: Option<Timestamp>,
    /// Entries before this instant.
    pub until: Option<Timestamp>,
}

/// Result of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundEntries {
    /// The entries, in order.
    pub entries: Vec<Entry>,
    /// The number after which to continue; `None` at the end of the log.
    pub next: Option<u64>,
    /// The log's last entry.
    pub head: Head,
}

impl EntryFilter {
    fn matches(&self, entry: &Entry) -> bool {
        let event = &entry.event;
        let is =
            |wanted: &Option<String>, text: &str| wanted.as_deref().is_none_or(|it| it == text);
        (self.app.is_none() || self.app == event.app)
            && is(&self.actor, &event.actor.name)
            && is(&self.action, &event.action)
            && is(&self.request_id, &event.request_id)
            && self.from.is_none_or(|from| from <= event.at)
            && self.until.is_none_or(|until| event.at < until)
    }
}

impl AdminService {
    pub(super) async fn entries(
        &self,
        after: u64,
        limit: usize,
        filter: &EntryFilter,
    ) -> Result<FoundEntries, AdminError> {
        if after > 0 {
            let last = self.directory.head().await?.number;
            if after > last {
                return Err(AdminError::PageTokenBeyondEnd { last });
            }
        }
        let (mut entries, mut last, mut scanned) = (Vec::new(), after, 0);
        let next = 'pages: loop {
            let page = self.directory.entries(last, PAGE).await?;
            if page.is_empty() {
                break None;
            }
            for (number, entry) in page {
                if entries.len() == limit || scanned == READ_MAX {
                    break 'pages Some(last);
                }
                scanned += 1;
                last = number;
                if filter.matches(&entry) {
                    entries.push(entry);
                }
            }
            self.pace.next_slice().await;
        };
        Ok(FoundEntries { entries, next, head: self.directory.head().await? })
    }
}
