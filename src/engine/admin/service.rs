//! Carries out changes: records them, logs them, and publishes the resulting limits to the ledger.

use std::sync::Arc;

use futures_util::future::{join, join_all};
use serde_json::json;
use tokio::sync::{Mutex, Notify};
use tracing::error;

use super::catalogs::Kept;
use super::change::{Change, ChangeKind, ChangeResult};
use super::pace::{Pace, SLICE_ITEMS};
use super::publishing::Publishing;
use super::{AdminError, AppList, AppView, Changed, ExchangeFigures, READ_TIMEOUT, schedule};
use crate::directory::{
    AppRecord, DETAILS_CHANGES_MAX, Directory, DirectoryError, LostEnd, PURCHASES_MAX,
    RETENTIONS_MAX, UnreadableApp,
};
use crate::domain::app_details::{AppDetails, DetailsChange};
use crate::domain::audit::{Actor, Event};
use crate::domain::billing::RetentionChange;
use crate::domain::calendar::Zone;
use crate::domain::catalog::Catalog;
use crate::domain::decision::{Mode, Subject};
use crate::domain::event::StorePart;
use crate::domain::exchange::Exchange;
use crate::domain::id::{AppId, Name};
use crate::domain::month::Month;
use crate::domain::postpaid::HISTORY_DAYS_MAX;
use crate::domain::purchase::{Purchase, Refund, Refusal, Sales};
use crate::domain::refund::Remaining;
use crate::domain::schedule::Schedule;
use crate::domain::time::Timestamp;
use crate::domain::timeline::Timeline;
use crate::engine::Engine;
use crate::ledger::LedgerError;

/// Most attempts to change a record that other sidecars change too.
const ATTEMPTS_MAX: usize = 16;

/// Implementation of the admin service; makes changes one at a time.
pub(super) struct AdminService {
    pub(super) engine: Arc<Engine>,
    /// Records, completed with terms that old purchases lack.
    pub(super) directory: Arc<dyn Directory>,
    /// Records as they are stored.
    pub(super) stored: Arc<dyn Directory>,
    pub(super) kept: Arc<Kept>,
    pub(super) changing: Mutex<()>,
    /// Results of publishing rounds; held during a round.
    pub(super) publishing: Mutex<Publishing>,
    /// Notified if a round is needed before its time.
    pub(super) unpublished: Notify,
    pub(super) pace: Pace,
}

/// A change that is recorded.
struct Recorded {
    record: AppRecord,
    made: ChangeResult,
    /// The instant for the response.
    at: Timestamp,
    /// True if this request recorded it, false if an earlier one with the same id did.
    is_new: bool,
}

impl AdminService {
    pub(super) async fn change(
        &self,
        change: &Change,
        actor: &Actor,
    ) -> Result<Changed, AdminError> {
        let _changing = self.changing.lock().await;
        let mut attempts = 0;
        let Recorded { record, made, at, is_new } = loop {
            attempts += 1;
            match self.record(change, actor).await {
                // Another sidecar came first: retry.
                Err(AdminError::Directory(DirectoryError::Conflict(_)))
                    if attempts < ATTEMPTS_MAX => {}
                recorded => break recorded?,
            }
        };
        // From here on the change is recorded: no error may read as if it were not. A later round
        // finishes what fails.
        let published = self.publish(&record, at, is_new).await;
        published.inspect_err(|_| self.unpublished.notify_one())?;
        self.changed(record, made, at).map_err(AdminError::recorded)
    }

    /// Records the change and logs it, unless the same request has done so before.
    async fn record(&self, change: &Change, actor: &Actor) -> Result<Recorded, AdminError> {
        let cached = self.kept.cached();
        let published = self.engine.ledger.latest_revision(&change.app);
        let basis = self.directory.basis(&change.app, cached.last());
        let (published, basis) = join(published, basis).await;
        let (published, basis) = (published?, basis?);
        let revision = |stored: &Option<AppRecord>| stored.as_ref().map_or(0, |it| it.revision);
        let mut stored = basis.record;
        // A record is written before its limits are published, so that a record which is read after
        // a revision of its limits has that revision, unless it is lost.
        if revision(&stored) < published {
            stored = self.directory.app(&change.app).await?;
        }
        let after = revision(&stored);
        // A new app continues the revisions of one that is wholly lost.
        if after < published && (stored.is_some() || change.what != ChangeKind::Create) {
            return Err(self.revisions_lost(change, stored.as_ref(), published).await?);
        }
        if let Some(record) = &stored
            && let Some(made) = change.made_before(record, self.engine.catalog().zone)?
        {
            let now = self.now(basis.now).await.map_err(AdminError::Unfinished)?;
            return Ok(Recorded { record: record.clone(), made, at: now, is_new: false });
        }
        let now = self.now(basis.now).await?;
        // A sale uses the price list in force, even if another sidecar has just activated it.
        let cached = self.cache_catalogs(cached, basis.catalogs)?;
        self.use_cached(&cached, now).await?;
        let catalog = self.engine.catalog();
        let now = self.engine.agreed(now)?;
        let (record, made) = match (&stored, &change.what) {
            (None, ChangeKind::Create) => {
                (self.create(change, published + 1, now)?, ChangeResult::App)
            }
            (None, _) => return Err(AdminError::UnknownApp(change.app.clone())),
            (Some(_), ChangeKind::Create) => return Err(AdminError::AppExists(change.app.clone())),
            (Some(record), _) => self.add(record, change, now)?,
        };
        let event = Event {
            at: now,
            actor: actor.clone(),
            action: change.action().name().to_owned(),
            request: change.request(catalog.zone),
            app: Some(change.app.clone()),
            request_id: change.request_id.to_string(),
            before: match &stored {
                Some(stored) => self.snapshot(stored, now)?,
                None => String::new(),
            },
            after: self.snapshot(&record, now)?,
        };
        let put = self.directory.put_after(after, &record, event, basis.head).await;
        put.map_err(AdminError::from_write)?;
        self.engine.event_buffer().audit_grew();
        Ok(Recorded { record, made, at: now, is_new: true })
    }

    /// Returns the store's clock, which may have been read already.
    async fn now(&self, read: Option<Timestamp>) -> Result<Timestamp, LedgerError> {
        match read {
            Some(now) => Ok(now),
            None => self.engine.now().await,
        }
    }

    /// Handles the loss of changes of an app whose limits were published: logs it, and raises the
    /// revision of the record, so that the next change counts.
    async fn revisions_lost(
        &self,
        change: &Change,
        stored: Option<&AppRecord>,
        published: u64,
    ) -> Result<AdminError, AdminError> {
        let app = change.app.clone();
        let found = stored.map_or(0, |record| record.revision);
        let lost = LostEnd { found, known: published };
        if let Some(record) = stored {
            let raised = AppRecord { revision: published + 1, ..record.clone() };
            let event = lost.event(self.engine.now().await?, Some(app.clone()));
            self.directory.put_after(found, &raised, event, None).await?;
            let part = StorePart::Directory.name();
            error!(part, app = app.as_str(), found, known = published, "facts lost: revisions");
            self.engine.metrics.facts_lost(part);
            self.engine.event_buffer().audit_grew();
        }
        Ok(AdminError::RevisionsLost { app, lost })
    }

    fn create(
        &self,
        change: &Change,
        revision: u64,
        now: Timestamp,
    ) -> Result<AppRecord, AdminError> {
        Ok(AppRecord {
            app: change.app.clone(),
            revision,
            created_at: instant(self.engine.catalog().zone, change.effective_at, None, now)?,
            created_by: change.request_id.clone(),
            sales: Sales::default(),
            retentions: Vec::new(),
            details: Vec::new(),
            billed_since: Month::at(self.engine.catalog().zone, now),
            closed_through: None,
        })
    }

    /// Returns the record with the change added, and the result of the change.
    fn add(
        &self,
        record: &AppRecord,
        change: &Change,
        now: Timestamp,
    ) -> Result<(AppRecord, ChangeResult), AdminError> {
        let catalog = self.engine.catalog();
        let mut record = record.clone();
        record.revision += 1;
        let last = record.sales.last_at().max(record.retentions.last().map(|last| last.at));
        let at = instant(catalog.zone, change.effective_at, last, now)?;
        if let Some(closed) = record.closed_through.filter(|it| Month::at(catalog.zone, at) <= *it)
        {
            return Err(Refusal::MonthClosed { at: catalog.zone.show(at), month: closed }.into());
        }
        let (request_id, sales) = (change.request_id.clone(), &mut record.sales);
        let made = match &change.what {
            ChangeKind::Create => return Err(AdminError::AppExists(record.app)),
            ChangeKind::Purchase { order, months, price_fen } => {
                if sales.purchases.len() >= PURCHASES_MAX {
                    return Err(AdminError::TooManyPurchases(record.app));
                }
                let bought = Purchase::of_order(&catalog, sales, request_id, order, *months, at)?;
                sales.purchases.push(bought.at_price(*price_fen));
                ChangeResult::Purchase(sales.purchases.len() - 1)
            }
            ChangeKind::Refund { purchase } => {
                let made = Refund::of_purchase(&catalog, sales, request_id, purchase, at)?;
                sales.refunds.push(made);
                ChangeResult::Refund(sales.refunds.len() - 1)
            }
            ChangeKind::Exchange(order) => {
                if sales.purchases.len() >= PURCHASES_MAX {
                    return Err(AdminError::TooManyPurchases(record.app));
                }
                let exchange = Exchange::of_order(&catalog, sales, &request_id, order, at)?;
                ChangeResult::Exchange(exchange.add_to(sales))
            }
            ChangeKind::SetRetention { days } => {
                let (days, retentions) = (*days, &mut record.retentions);
                check_retention(&catalog, sales, days, at)?;
                if retentions.len() >= RETENTIONS_MAX {
                    return Err(AdminError::TooManyRetentions(record.app));
                }
                retentions.push(RetentionChange { request_id, days, at });
                ChangeResult::Retention(retentions.len() - 1)
            }
            ChangeKind::Update(update) => {
                let details = &mut record.details;
                if details.len() >= DETAILS_CHANGES_MAX {
                    return Err(AdminError::TooManyUpdates(record.app));
                }
                check_im_code_set(&catalog, update.im_code_set.as_deref())?;
                details.push(DetailsChange { request_id, update: update.clone(), at });
                ChangeResult::Details(details.len() - 1)
            }
        };
        Ok((record, made))
    }

    fn changed(
        &self,
        record: AppRecord,
        made: ChangeResult,
        at: Timestamp,
    ) -> Result<Changed, AdminError> {
        let catalog = self.engine.catalog();
        let figures = |index| Remaining::of_made(&catalog, &record.sales, index);
        let (mut remaining, mut exchange) = (None, None);
        match made {
            ChangeResult::Refund(index) => remaining = Some(figures(index)?),
            ChangeResult::Exchange(purchase) => {
                exchange = Some(ExchangeFigures::of_made(&record.sales, purchase, figures)?);
            }
            ChangeResult::App
            | ChangeResult::Purchase(_)
            | ChangeResult::Retention(_)
            | ChangeResult::Details(_) => {}
        }
        let view = self.view_at(record, at, false)?;
        Ok(Changed { made, remaining, exchange, view })
    }

    pub(super) async fn apps(
        &self,
        after: Option<&AppId>,
        limit: usize,
    ) -> Result<AppList, AdminError> {
        let now = self.engine.now().await?;
        let page = self.directory.apps(after.map(AppId::as_str), limit).await?;
        let next = page.last.clone().filter(|_| page.len() == limit);
        let (mut views, mut unreadable) = (Vec::new(), page.unreadable);
        for (index, slice) in page.records.chunks(SLICE_ITEMS).enumerate() {
            if index > 0 {
                self.pace.next_slice().await;
            }
            let pending = join_all(slice.iter().map(|record| self.is_pending(record))).await;
            for (record, pending) in slice.iter().zip(pending) {
                match self.view_or_published(record.clone(), now, pending).await {
                    Ok(view) => views.push(view),
                    Err(error) => unreadable.push(UnreadableApp {
                        app: record.app.to_string(),
                        reason: error.to_string(),
                    }),
                }
            }
        }
        Ok(AppList { views, unreadable, next })
    }

    /// Returns whether the app's latest change may not be in force in every part of the store: it
    /// is not, or a part is unavailable, which must not keep the other apps from being listed.
    async fn is_pending(&self, record: &AppRecord) -> bool {
        let in_force = self.engine.ledger.schedule_revision(&record.app).await;
        !in_force.is_ok_and(|revision| revision >= record.revision)
    }

    pub(super) async fn view(&self, record: AppRecord) -> Result<AppView, AdminError> {
        let now = self.engine.now().await?;
        let in_force = self.engine.ledger.schedule_revision(&record.app).await?;
        let pending = in_force < record.revision;
        self.view_at(record, now, pending)
    }

    pub(super) fn view_at(
        &self,
        record: AppRecord,
        now: Timestamp,
        pending: bool,
    ) -> Result<AppView, AdminError> {
        let catalog = self.engine.catalog();
        let schedule = schedule(&catalog, &record, now)?;
        Ok(view_of(&catalog, record, schedule, now, pending))
    }

    /// Returns the app; with the last published limits if no kept catalog describes an item that it
    /// bought, so that one such app does not keep the others from being listed.
    pub(super) async fn view_or_published(
        &self,
        record: AppRecord,
        now: Timestamp,
        pending: bool,
    ) -> Result<AppView, AdminError> {
        match self.view_at(record.clone(), now, pending) {
            Err(AdminError::Missing { app, .. }) => {
                let deadline = self.engine.local_now() + READ_TIMEOUT;
                let (call, catalog) = self.engine.call(app, Mode::CheckOnly, deadline);
                let reading = self.engine.ledger.read(call, Subject::App).await;
                let schedule = Schedule::clone(&reading.map_err(AdminError::Unread)?.schedule);
                Ok(view_of(&catalog, record, schedule, now, true))
            }
            view => view,
        }
    }

    /// Returns the app's entitlements, as JSON for the audit log.
    pub(super) fn snapshot(
        &self,
        record: &AppRecord,
        now: Timestamp,
    ) -> Result<String, AdminError> {
        let catalog = self.engine.catalog();
        let schedule = schedule(&catalog, record, now)?;
        let limits = schedule.at(now);
        let mut snapshot = json!({
            "edition": limits.edition.as_str(),
            "service": limits.state.name(),
            "add_ons": limits.add_ons.iter().map(Name::as_str).collect::<Vec<_>>(),
            "changes_at": schedule.next_change(now).map(|at| catalog.zone.show(at)),
            "purchases": record.sales.purchases.len(),
            "refunds": record.sales.refunds.len(),
        });
        let agreed: serde_json::Map<_, _> = limits
            .agreed()
            .map(|(id, limit)| {
                (id.to_string(), limit.finite().map_or("unlimited".into(), Into::into))
            })
            .collect();
        if !agreed.is_empty() {
            snapshot["agreed_limits"] = agreed.into();
        }
        let details = AppDetails::after(&record.details);
        let im_code_set = details.im_code_set.as_ref().map_or("", Name::as_str);
        for (field, text) in [
            ("display_name", details.display_name.as_str()),
            ("note", &details.note),
            ("im_code_set", im_code_set),
        ] {
            if !text.is_empty() {
                snapshot[field] = text.into();
            }
        }
        Ok(snapshot.to_string())
    }
}

/// Checks that a set of IM codes exists; an empty name is none.
fn check_im_code_set(catalog: &Catalog, name: Option<&str>) -> Result<(), AdminError> {
    match name {
        Some(name) if !name.is_empty() && catalog.im_codes.set(name).is_none() => {
            let known = catalog.im_codes.sets.iter().map(|set| set.name.clone()).collect();
            Err(AdminError::UnknownImCodeSet { name: name.to_owned(), known })
        }
        _ => Ok(()),
    }
}

/// Checks that messages may be kept for `days` days from an instant on.
fn check_retention(
    catalog: &Catalog,
    sales: &Sales,
    days: u32,
    at: Timestamp,
) -> Result<(), Refusal> {
    let Some(history) = &catalog.postpaid.history else {
        // Nothing is charged for any retention.
        let (free_days, days_max) = (1, HISTORY_DAYS_MAX);
        let is_in_range = (free_days..=days_max).contains(&days);
        let refusal = Refusal::RetentionDays { days, free_days, days_max };
        return is_in_range.then_some(()).ok_or(refusal);
    };
    let (edition, _) = Timeline::new(catalog, sales).edition_at(at);
    let (free_days, days_max) = (history.free_days(&edition), history.days_max);
    if !(free_days..=days_max).contains(&days) {
        return Err(Refusal::RetentionDays { days, free_days, days_max });
    }
    let may_run_over = sales.edition(catalog, &edition, at).is_some_and(|it| it.postpaid_allowed);
    if days > free_days && !may_run_over {
        let offer = catalog.cheapest_postpaid().map(|(edition, _)| edition.id.clone());
        return Err(Refusal::PostpaidNotAllowed { edition, free_days, offer });
    }
    Ok(())
}

/// Returns the app with its limits from `now` on.
fn view_of(
    catalog: &Catalog,
    record: AppRecord,
    schedule: Schedule,
    now: Timestamp,
    pending: bool,
) -> AppView {
    let timeline = Timeline::new(catalog, &record.sales);
    AppView {
        edition_end: timeline.edition_end(now),
        valid: timeline.valid,
        schedule,
        at: now,
        pending,
        record,
    }
}

/// Returns the instant from which a change counts. Sales stay in the order of their instants even
/// if the clock was set back.
fn instant(
    zone: Zone,
    effective_at: Option<Timestamp>,
    last: Option<Timestamp>,
    now: Timestamp,
) -> Result<Timestamp, Refusal> {
    let Some(at) = effective_at else { return Ok(last.map_or(now, |last| now.max(last))) };
    if at > now {
        return Err(Refusal::InTheFuture { at: zone.show(at), now: zone.show(now) });
    }
    match last.filter(|last| at < *last) {
        Some(last) => Err(Refusal::BeforeLast { at: zone.show(at), last: zone.show(last) }),
        None => Ok(at),
    }
}
