//! Events from the audit log, and ends that follow from its changes.
//!
//! These ends depend on the position up to which scheduled events are published, so the cursor
//! moves only while that of the scheduled events is where it was read.

use std::collections::HashMap;

use super::milestones::{self, Cursor};
use super::{EventPublisher, PumpError};
use crate::directory::audit_change::AuditChange;
use crate::directory::{AppRecord, DirectoryError, LostEnd};
use crate::domain::audit::Entry;
use crate::domain::event::{Event, EventKind, Sold, StorePart};
use crate::domain::id::AppId;
use crate::domain::milestone::ends_of_change;
use crate::domain::purchase::{Item, Refund};
use crate::events::{APPENDED_MAX, Move};

/// Name of the cursor, which is the number of the last published entry.
pub(super) const CURSOR: &str = "audit";
/// Most attempts to log a loss while other sidecars log it, or something else.
const LOSS_ATTEMPTS_MAX: usize = 16;
/// Entries read at a time.
const PAGE: usize = 64;

impl EventPublisher {
    /// Sets the cursor. Entries that were logged before this store had events are not published. If
    /// the log ends before the cursor, a failover has lost its end: later entries are published.
    pub(super) async fn begin_audit(&self) -> Result<(), PumpError> {
        self.record_lost_end().await?;
        let from = self.log.cursor(CURSOR).await?;
        let head = self.directory.head().await?.number;
        // If nothing was published yet, entries logged since the start are.
        let noted = self.head.get().filter(|_| from.is_none());
        let to = noted.map_or(head, |noted| head.min(*noted));
        if from.as_deref().map(position).is_none_or(|published| published > head) {
            let to = to.to_string();
            // If it was moved meanwhile, another sidecar has done so.
            self.log.append(&[], Some(Move { cursor: CURSOR, from, to, beside: None })).await?;
        }
        Ok(())
    }

    /// If the audit log has lost its end, appends an entry that records the loss.
    ///
    /// The cursor moves back first, so that it is before every later entry: an entry with a number
    /// that was published before is published too.
    async fn record_lost_end(&self) -> Result<(), PumpError> {
        for _ in 0..LOSS_ATTEMPTS_MAX {
            let from = self.log.cursor(CURSOR).await?;
            let published = from.as_deref().map_or(0, position);
            let Some(lost) = self.directory.lost_end(published).await? else { return Ok(()) };
            if published > lost.found {
                let to = lost.found.to_string();
                if !self
                    .log
                    .append(&[], Some(Move { cursor: CURSOR, from, to, beside: None }))
                    .await?
                {
                    continue;
                }
            }
            let event = lost.event(self.engine.now().await?, None);
            self.directory.log_lost_end(lost, event).await?;
        }
        Ok(())
    }

    /// Publishes the entries since the cursor. If that was never set, it is set first: the task
    /// that follows the clock may get here before the one that follows the audit log.
    pub(super) async fn publish_audit(&self) -> Result<(), PumpError> {
        self.record_lost_end().await?;
        loop {
            let from = self.log.cursor(CURSOR).await?;
            if from.is_none() {
                self.begin_audit().await?;
                continue;
            }
            let published = from.as_deref().map_or(0, position);
            let entries = self.directory.entries(published, PAGE).await?;
            if entries.is_empty() {
                return Ok(());
            }
            let time = self.log.cursor(milestones::CURSOR).await?;
            let passed = time.as_deref().and_then(|position| position.parse::<Cursor>().ok());
            let (mut events, mut last) = (Vec::new(), published);
            for (number, entry) in &entries {
                let of_entry = self.events_of(entry, passed.as_ref()).await?;
                if last > published && events.len() + of_entry.len() > APPENDED_MAX {
                    break;
                }
                events.extend(of_entry);
                last = *number;
            }
            let (to, beside) = (last.to_string(), Some((milestones::CURSOR, time)));
            // If another sidecar came first, there may be more unpublished entries.
            let moved = Move { cursor: CURSOR, from, to, beside };
            if self.log.append(&events, Some(moved)).await? {
                self.appended(&events);
            }
        }
    }

    /// Returns the events of an entry: the ends that it undoes, the change itself, and the ends
    /// that it brings about.
    async fn events_of(
        &self,
        entry: &Entry,
        passed: Option<&Cursor>,
    ) -> Result<Vec<Event>, PumpError> {
        let change = &entry.event;
        let decoded = AuditChange::of(change);
        let Some(app) = change.app.clone() else {
            let kinds = decoded.map(|it| event_kinds(it, &change.request_id, None));
            let event = |what| Event { at: change.at, app: None, what };
            return Ok(kinds.into_iter().flatten().map(event).collect());
        };
        let record = if decoded.is_some_and(AuditChange::is_sale) {
            match self.directory.app(&app).await {
                // The app's sales cannot be published; those of other apps are.
                Err(DirectoryError::Unreadable { .. }) => None,
                found => found?,
            }
        } else {
            None
        };
        let around = record.as_ref().and_then(|it| it.sales.around(&change.request_id));
        let ends = around.map_or_else(Vec::new, |(before, after)| {
            let has_passed = |at| passed.is_some_and(|position| position.has_passed(at, &app));
            let catalog = self.engine.catalog();
            ends_of_change(&catalog, &before, &after, change.at, has_passed)
        });
        let own = decoded.map(|it| event_kinds(it, &change.request_id, record.as_ref()));
        let own = own.into_iter().flatten().map(|what| (change.at, what));
        let undone = ends
            .iter()
            .filter(|(at, _)| !passed.is_some_and(|position| position.has_passed(*at, &app)));
        let brought_about = ends
            .iter()
            .filter(|(at, _)| passed.is_some_and(|position| position.has_passed(*at, &app)));
        let all = undone.cloned().chain(own).chain(brought_about.cloned());
        Ok(all.map(|(at, what)| Event { at, app: Some(app.clone()), what }).collect())
    }

    /// Returns the request of the first sale of each app that is logged and not published yet.
    pub(super) async fn unpublished_sales(
        &self,
        cursor: Option<&str>,
    ) -> Result<HashMap<AppId, String>, PumpError> {
        let mut after = cursor.map_or(0, position);
        let mut first = HashMap::new();
        loop {
            let entries = self.directory.entries(after, PAGE).await?;
            let Some((last, _)) = entries.last() else { return Ok(first) };
            after = *last;
            for (_, entry) in entries {
                let change = entry.event;
                let is_sale = AuditChange::of(&change).is_some_and(AuditChange::is_sale);
                if let Some(app) = change.app.filter(|_| is_sale) {
                    first.entry(app).or_insert(change.request_id);
                }
            }
        }
    }
}

/// Returns the position of a cursor. A damaged one, which is not a number, publishes everything
/// anew.
fn position(cursor: &str) -> u64 {
    cursor.parse().unwrap_or(0)
}

/// Returns the events of a logged change, in order.
fn event_kinds(
    change: AuditChange,
    request_id: &str,
    record: Option<&AppRecord>,
) -> Vec<EventKind> {
    let one = |kind: Option<EventKind>| Vec::from_iter(kind);
    let id = request_id.to_owned();
    match change {
        AuditChange::AppCreated => vec![EventKind::AppCreated { request_id: id }],
        AuditChange::Purchased => one(record.and_then(|record| purchased(record, id))),
        AuditChange::Refunded => record.map(|record| refunded(record, &id)).unwrap_or_default(),
        AuditChange::Exchanged => {
            let Some(record) = record else { return Vec::new() };
            let mut kinds = refunded(record, &id);
            kinds.extend(purchased(record, id));
            kinds
        }
        AuditChange::RetentionSet { days } => {
            vec![EventKind::RetentionSet { days, request_id: id }]
        }
        AuditChange::StatementIssued { month, total_fen } => {
            vec![EventKind::StatementIssued { month, total_fen }]
        }
        AuditChange::Repaired { differences } => {
            one((differences > 0).then_some(EventKind::DriftFound { differences, request_id: id }))
        }
        AuditChange::FactsLost(LostEnd { found, known }) => {
            vec![EventKind::FactsLost { part: StorePart::Directory, found, known }]
        }
    }
}

fn sold(item: &Item) -> (Sold, bool) {
    match item {
        Item::Edition(name) => (Sold::Edition(name.clone()), false),
        Item::Renewal(name) | Item::Restart(name) => (Sold::Edition(name.clone()), true),
        Item::AddOn(name) => (Sold::AddOn(name.clone()), false),
        Item::Limit(agreed) => (Sold::AgreedLimit(agreed.limit_id.to_string()), false),
    }
}

fn purchased(record: &AppRecord, request_id: String) -> Option<EventKind> {
    let mut purchases = record.sales.purchases.iter();
    let purchase = purchases.find(|purchase| purchase.request_id.as_str() == request_id)?;
    let (what, renewal) = sold(&purchase.item);
    let (months, price_fen) = (purchase.months, purchase.price_fen);
    Some(EventKind::Purchased { what, months, renewal, price_fen, request_id })
}

/// Returns the refunds that a request made, several for an exchange.
fn refunded(record: &AppRecord, request_id: &str) -> Vec<EventKind> {
    let refunds = record.sales.refunds.iter();
    let made = refunds.filter(|refund| refund.request_id.as_str() == request_id);
    let kind = |refund: &Refund| {
        let (what, _) = sold(&record.sales.purchases.get(refund.purchase)?.item);
        let (refund_fen, request_id) = (refund.refund_fen, request_id.to_owned());
        Some(EventKind::Refunded { what, refund_fen, request_id })
    };
    made.filter_map(kind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_have_their_events() {
        let request_id = || "r1".to_owned();
        let month = "2019-08".parse().expect("a month");
        let statement = || AuditChange::StatementIssued { month, total_fen: 199_900 };
        for (change, expected) in [
            (AuditChange::AppCreated, Some(EventKind::AppCreated { request_id: request_id() })),
            (
                AuditChange::RetentionSet { days: 30 },
                Some(EventKind::RetentionSet { days: 30, request_id: request_id() }),
            ),
            (statement(), Some(EventKind::StatementIssued { month, total_fen: 199_900 })),
            (
                AuditChange::Repaired { differences: 3 },
                Some(EventKind::DriftFound { differences: 3, request_id: request_id() }),
            ),
            (AuditChange::Repaired { differences: 0 }, None),
            (
                AuditChange::FactsLost(LostEnd { found: 90, known: 97 }),
                Some(EventKind::FactsLost { part: StorePart::Directory, found: 90, known: 97 }),
            ),
            // The app's record is unreadable.
            (AuditChange::Purchased, None),
            (AuditChange::Exchanged, None),
        ] {
            assert_eq!(event_kinds(change, "r1", None), Vec::from_iter(expected), "{change:?}");
        }
    }
}
