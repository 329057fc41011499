//! Events that follow from the audit log, and ends that follow from its changes.
//!
//! Which ends these are depends on how far time is told, so that the cursor moves only while the
//! one of time stands where it was read.

use std::collections::HashMap;

use serde_json::Value;

use super::clockwork::{self, Told};
use super::{Pump, PumpError};
use crate::directory::{AppRecord, DirectoryError, LostEnd};
use crate::domain::audit::Entry;
use crate::domain::event::{Event, Happening, Sold, StorePart};
use crate::domain::id::AppId;
use crate::domain::milestone::ends_of_change;
use crate::domain::purchase::Item;
use crate::events::{APPENDED_MAX, Move};

/// The cursor: the number of the last entry that is told.
pub(super) const CURSOR: &str = "audit";
/// Most tries to log a loss while other sidecars log it, or something else.
const LOSS_ATTEMPTS_MAX: usize = 16;
/// Entries read at a time.
const PAGE: usize = 64;
/// Changes of what an app has bought.
const SALES: [&str; 4] = ["PurchaseEdition", "RenewEdition", "GrantAddOn", "RefundPurchase"];

impl Pump {
    /// What was logged before this store knew events is not told. Where the log ends before the
    /// cursor, a failover has lost its end: what follows is told.
    pub(super) async fn begin_audit(&self) -> Result<(), PumpError> {
        self.go_on_after_loss().await?;
        let from = self.log.cursor(CURSOR).await?;
        let head = self.directory.head().await?.number;
        // Where nothing was told yet, what was logged since the start is.
        let noted = self.head.get().filter(|_| from.is_none());
        let to = noted.map_or(head, |noted| head.min(*noted));
        if from.as_deref().map(place).is_none_or(|told| told > head) {
            let to = to.to_string();
            // Where it was moved meanwhile, another sidecar has done so.
            self.log.append(&[], Some(Move { cursor: CURSOR, from, to, beside: None })).await?;
        }
        Ok(())
    }

    /// Where the audit log has lost its end, has it go on with an entry that says so.
    ///
    /// The cursor goes back before that, so that it is behind whatever is logged from then on: an
    /// entry with a number that was told before is told too.
    async fn go_on_after_loss(&self) -> Result<(), PumpError> {
        for _ in 0..LOSS_ATTEMPTS_MAX {
            let from = self.log.cursor(CURSOR).await?;
            let told = from.as_deref().map_or(0, place);
            let Some(lost) = self.directory.lost_end(told).await? else { return Ok(()) };
            if told > lost.found {
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

    /// Publishes what was logged since the cursor. Where that was never set, it is set first: the
    /// task that follows the clock may get here before the one that follows the audit log.
    pub(super) async fn tell_audit(&self) -> Result<(), PumpError> {
        self.go_on_after_loss().await?;
        loop {
            let from = self.log.cursor(CURSOR).await?;
            if from.is_none() {
                self.begin_audit().await?;
                continue;
            }
            let told = from.as_deref().map_or(0, place);
            let entries = self.directory.entries(told, PAGE).await?;
            if entries.is_empty() {
                return Ok(());
            }
            let time = self.log.cursor(clockwork::CURSOR).await?;
            let passed = time.as_deref().and_then(|told| told.parse::<Told>().ok());
            let (mut events, mut last) = (Vec::new(), told);
            for (number, entry) in &entries {
                let of_entry = self.events_of(entry, passed.as_ref()).await?;
                if last > told && events.len() + of_entry.len() > APPENDED_MAX {
                    break;
                }
                events.extend(of_entry);
                last = *number;
            }
            let (to, beside) = (last.to_string(), Some((clockwork::CURSOR, time)));
            // Where another sidecar came first, there may be more that it has not told.
            let moved = Move { cursor: CURSOR, from, to, beside };
            if self.log.append(&events, Some(moved)).await? {
                self.appended(&events);
            }
        }
    }

    /// The events of an entry: the ends that it undoes, itself, and the ends that it brings about.
    async fn events_of(
        &self,
        entry: &Entry,
        passed: Option<&Told>,
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
                // The app's sales cannot be told; those of the others are.
                Err(DirectoryError::Unreadable { .. }) => None,
                found => found?,
            }
        } else {
            None
        };
        let around = record.as_ref().and_then(|it| it.sales.around(&change.request_id));
        let ends = around.map_or_else(Vec::new, |(before, after)| {
            let has_passed = |at| passed.is_some_and(|told| told.has_passed(at, &app));
            let catalog = self.engine.catalog();
            ends_of_change(&catalog, &before, &after, change.at, has_passed)
        });
        let told = happening(entry, record.as_ref()).map(|what| (change.at, what));
        let undone =
            ends.iter().filter(|(at, _)| !passed.is_some_and(|told| told.has_passed(*at, &app)));
        let brought_about =
            ends.iter().filter(|(at, _)| passed.is_some_and(|told| told.has_passed(*at, &app)));
        let all = undone.cloned().chain(told).chain(brought_about.cloned());
        Ok(all.map(|(at, what)| Event { at, app: Some(app.clone()), what }).collect())
    }

    /// The first sale of each app that is logged and not told yet, by its request.
    pub(super) async fn untold_sales(
        &self,
        cursor: Option<&str>,
    ) -> Result<HashMap<AppId, String>, PumpError> {
        let mut after = cursor.map_or(0, place);
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

/// Where a cursor stands. One that is no number is damaged, and tells everything anew.
fn place(cursor: &str) -> u64 {
    cursor.parse().unwrap_or(0)
}

/// What an entry tells; `None` where nobody needs to be told.
fn happening(entry: &Entry, record: Option<&AppRecord>) -> Option<Happening> {
    let change = &entry.event;
    let request_id = change.request_id.clone();
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    match change.action.as_str() {
        LostEnd::ACTION => {
            let LostEnd { found, known } = LostEnd::of(change)?;
            Some(Happening::FactsLost { part: StorePart::Directory, found, known })
        }
        "CreateApp" => Some(Happening::AppCreated { request_id }),
        "PurchaseEdition" | "RenewEdition" | "GrantAddOn" => purchased(record?, request_id),
        "RefundPurchase" => refunded(record?, request_id),
        "SetMessageRetention" => {
            let days = json(&change.request)["days"].as_u64()?;
            Some(Happening::RetentionSet { days: u32::try_from(days).ok()?, request_id })
        }
        "IssueStatement" => {
            let month = json(&change.request)["month"].as_str()?.parse().ok()?;
            let total_fen = json(&change.after)["total_fen"].as_i64()?;
            Some(Happening::StatementIssued { month, total_fen })
        }
        "Reconcile" => {
            let (request, after) = (json(&change.request), json(&change.after));
            // An import is not compared with what should be there already.
            if request["mode"] != "apply" || after["state"] != "finished" {
                return None;
            }
            let differences = differences(&after["differences"]);
            (differences > 0).then_some(Happening::DriftFound { differences, request_id })
        }
        _ => None,
    }
}

/// All that differed, less what live traffic had changed meanwhile.
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

fn purchased(record: &AppRecord, request_id: String) -> Option<Happening> {
    let mut purchases = record.sales.purchases.iter();
    let purchase = purchases.find(|purchase| purchase.request_id.as_str() == request_id)?;
    let (what, renewal) = sold(&purchase.item);
    let (months, price_fen) = (purchase.months, purchase.price_fen);
    Some(Happening::Purchased { what, months, renewal, price_fen, request_id })
}

fn refunded(record: &AppRecord, request_id: String) -> Option<Happening> {
    let mut refunds = record.sales.refunds.iter();
    let refund = refunds.find(|refund| refund.request_id.as_str() == request_id)?;
    let (what, _) = sold(&record.sales.purchases.get(refund.purchase)?.item);
    Some(Happening::Refunded { what, refund_fen: refund.refund_fen, request_id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::audit::{Actor, Event as Change, Head};
    use crate::domain::time::Timestamp;

    fn told(action: &str, request: &str, after: &str) -> Option<Happening> {
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
    fn entries_tell_what_they_are_about() {
        let request_id = || "r1".to_owned();
        let finished = r#"{"state":"finished","differences":{"account missing, repaired":2,
            "friend surplus, found":1,"member missing, left alone":9}}"#;
        let alone = r#"{"state":"finished","differences":{"friend missing, left alone":9}}"#;
        let month = "2019-08".parse().expect("a month");
        for (action, request, after, wanted) in [
            ("CreateApp", "{}", "{}", Some(Happening::AppCreated { request_id: request_id() })),
            (
                "SetMessageRetention",
                r#"{"days":30}"#,
                "{}",
                Some(Happening::RetentionSet { days: 30, request_id: request_id() }),
            ),
            (
                "IssueStatement",
                r#"{"month":"2019-08"}"#,
                r#"{"total_fen":199900,"hash":"ab"}"#,
                Some(Happening::StatementIssued { month, total_fen: 199_900 }),
            ),
            (
                "Reconcile",
                r#"{"mode":"apply"}"#,
                finished,
                Some(Happening::DriftFound { differences: 3, request_id: request_id() }),
            ),
            ("Reconcile", r#"{"mode":"apply"}"#, &finished.replace("finished", "begun"), None),
            ("Reconcile", r#"{"mode":"import"}"#, finished, None),
            ("Reconcile", r#"{"mode":"apply"}"#, alone, None),
            ("TrackChanges", "{}", "{}", None),
            (
                "FactsLost",
                r#"{"found":90,"known":97}"#,
                "",
                Some(Happening::FactsLost { part: StorePart::Directory, found: 90, known: 97 }),
            ),
            // Whatever cannot be read is passed over, so that what follows is told.
            ("IssueStatement", "nonsense", "{}", None),
            ("PurchaseEdition", "{}", "{}", None),
        ] {
            assert_eq!(told(action, request, after), wanted, "{action} {request}");
        }
    }
}
