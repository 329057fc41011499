//! Events from the audit log, and ends that follow from its changes.
//!
//! These ends depend on the position up to which scheduled events are published, so the cursor
//! moves only while that of the scheduled events is where it was read.

use std::collections::HashMap;

use serde_json::Value;

use super::milestones::{self, Cursor};
use super::{EventPublisher, PumpError};
use crate::directory::{AppRecord, DirectoryError, LostEnd};
use crate::domain::audit::Entry;
use crate::domain::event::{Event, EventKind, Sold, StorePart};
use crate::domain::id::AppId;
use crate::domain::milestone::ends_of_change;
use crate::domain::purchase::Item;
use crate::events::{APPENDED_MAX, Move};

/// Name of the cursor, which is the number of the last published entry.
pub(super) const CURSOR: &str = "audit";
/// Most attempts to log a loss while other sidecars log it, or something else.
const LOSS_ATTEMPTS_MAX: usize = 16;
/// Entries read at a time.
const PAGE: usize = 64;
/// Actions that change an app's sales.
const SALES: [&str; 4] = ["PurchaseEdition", "RenewEdition", "GrantAddOn", "RefundPurchase"];

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
        let Some(app) = change.app.clone() else {
            let what = happening(entry, None);
            return Ok(what
                .map(|what| Event { at: change.at, app: None, what })
                .into_iter()
                .collect());
        };
        let is_sale = SALES.contains(&change.action.as_str());
        let record = if is_sale {
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
        let own = happening(entry, record.as_ref()).map(|what| (change.at, what));
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
                if let Some(app) = change.app.filter(|_| SALES.contains(&change.action.as_str())) {
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

/// Returns the event of an entry; `None` if it has none.
fn happening(entry: &Entry, record: Option<&AppRecord>) -> Option<EventKind> {
    let change = &entry.event;
    let request_id = change.request_id.clone();
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    match change.action.as_str() {
        LostEnd::ACTION => {
            let LostEnd { found, known } = LostEnd::of(change)?;
            Some(EventKind::FactsLost { part: StorePart::Directory, found, known })
        }
        "CreateApp" => Some(EventKind::AppCreated { request_id }),
        "PurchaseEdition" | "RenewEdition" | "GrantAddOn" => purchased(record?, request_id),
        "RefundPurchase" => refunded(record?, request_id),
        "SetMessageRetention" => {
            let days = json(&change.request)["days"].as_u64()?;
            Some(EventKind::RetentionSet { days: u32::try_from(days).ok()?, request_id })
        }
        "IssueStatement" => {
            let month = json(&change.request)["month"].as_str()?.parse().ok()?;
            let total_fen = json(&change.after)["total_fen"].as_i64()?;
            Some(EventKind::StatementIssued { month, total_fen })
        }
        "Reconcile" => {
            let (request, after) = (json(&change.request), json(&change.after));
            // An import is not compared with facts that should exist already.
            if request["mode"] != "apply" || after["state"] != "finished" {
                return None;
            }
            let differences = differences(&after["differences"]);
            (differences > 0).then_some(EventKind::DriftFound { differences, request_id })
        }
        _ => None,
    }
}

/// Returns the number of differences, less those that live traffic had changed meanwhile.
fn differences(counts: &Value) -> u64 {
    let counts = counts.as_object().into_iter().flatten();
    let differed = counts.filter(|(sort, _)| !sort.ends_with(", left alone"));
    differed.filter_map(|(_, count)| count.as_u64()).sum()
}

fn sold(item: &Item) -> (Sold, bool) {
    match item {
        Item::Edition(name) => (Sold::Edition(name.clone()), false),
        Item::Renewal(name) | Item::Restart(name) => (Sold::Edition(name.clone()), true),
        Item::AddOn(name) => (Sold::AddOn(name.clone()), false),
    }
}

fn purchased(record: &AppRecord, request_id: String) -> Option<EventKind> {
    let mut purchases = record.sales.purchases.iter();
    let purchase = purchases.find(|purchase| purchase.request_id.as_str() == request_id)?;
    let (what, renewal) = sold(&purchase.item);
    let (months, price_fen) = (purchase.months, purchase.price_fen);
    Some(EventKind::Purchased { what, months, renewal, price_fen, request_id })
}

fn refunded(record: &AppRecord, request_id: String) -> Option<EventKind> {
    let mut refunds = record.sales.refunds.iter();
    let refund = refunds.find(|refund| refund.request_id.as_str() == request_id)?;
    let (what, _) = sold(&record.sales.purchases.get(refund.purchase)?.item);
    Some(EventKind::Refunded { what, refund_fen: refund.refund_fen, request_id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::audit::{Actor, Event as Change, Head};
    use crate::domain::time::Timestamp;

    fn event_of(action: &str, request: &str, after: &str) -> Option<EventKind> {
        let change = Change {
            at: Timestamp::from_millis(1),
            actor: Actor { name: "ops".into(), from: "here".into() },
            action: action.into(),
            request: request.into(),
            app: None,
            request_id: "r1".into(),
            before: String::new(),
            after: after.into(),
        };
        happening(&change.follow(&Head::default()), None)
    }

    #[test]
    fn entries_have_their_events() {
        let request_id = || "r1".to_owned();
        let finished = r#"{"state":"finished","differences":{"account missing, repaired":2,
            "friend surplus, found":1,"member missing, left alone":9}}"#;
        let alone = r#"{"state":"finished","differences":{"friend missing, left alone":9}}"#;
        let month = "2019-08".parse().expect("a month");
        for (action, request, after, wanted) in [
            ("CreateApp", "{}", "{}", Some(EventKind::AppCreated { request_id: request_id() })),
            (
                "SetMessageRetention",
                r#"{"days":30}"#,
                "{}",
                Some(EventKind::RetentionSet { days: 30, request_id: request_id() }),
            ),
            (
                "IssueStatement",
                r#"{"month":"2019-08"}"#,
                r#"{"total_fen":199900,"hash":"ab"}"#,
                Some(EventKind::StatementIssued { month, total_fen: 199_900 }),
            ),
            (
                "Reconcile",
                r#"{"mode":"apply"}"#,
                finished,
                Some(EventKind::DriftFound { differences: 3, request_id: request_id() }),
            ),
            ("Reconcile", r#"{"mode":"apply"}"#, &finished.replace("finished", "begun"), None),
            ("Reconcile", r#"{"mode":"import"}"#, finished, None),
            ("Reconcile", r#"{"mode":"apply"}"#, alone, None),
            ("TrackChanges", "{}", "{}", None),
            (
                "FactsLost",
                r#"{"found":90,"known":97}"#,
                "",
                Some(EventKind::FactsLost { part: StorePart::Directory, found: 90, known: 97 }),
            ),
            // Unreadable entries are skipped, so that later ones are published.
            ("IssueStatement", "nonsense", "{}", None),
            ("PurchaseEdition", "{}", "{}", None),
        ] {
            assert_eq!(event_of(action, request, after), wanted, "{action} {request}");
        }
    }
}
