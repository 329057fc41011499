//! Selling editions and add-ons, and bringing the limits that follow to the ledger.
//!
//! A change is first recorded in the directory and then put where the decisions are made; it is
//! answered after both. Where the second step fails, a repetition with the same request id
//! finishes it, and so does the next start ([`Administration::publish_all`]).

use std::sync::Arc;

use futures_util::future::try_join_all;
use tokio::sync::Mutex;

use super::Engine;
use crate::directory::{AppRecord, Directory, DirectoryError, PURCHASES_MAX};
use crate::domain::catalog::Catalog;
use crate::domain::id::{AppId, RequestId};
use crate::domain::purchase::{Item, Order, Period, Purchase, Refusal, Timeline, sell};
use crate::domain::schedule::{Limits, MissingItem, Schedule};
use crate::domain::time::Timestamp;
use crate::ledger::LedgerError;

/// Apps read at a time when all of them are gone through.
const PAGE: usize = 256;

/// Why a change was not made, or not finished.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// Nobody registered the app.
    #[error("app \"{0}\" is not registered; create it first")]
    UnknownApp(AppId),
    /// Another request registered the app.
    #[error("app \"{0}\" is registered already, by another request")]
    AppExists(AppId),
    /// The same request id came with other content.
    #[error("request_id \"{request_id}\" was used before for {before}")]
    RequestIdReused {
        /// The id.
        request_id: RequestId,
        /// What it was used for, in words.
        before: String,
    },
    /// The app has as many purchases as a record may hold.
    #[error("app \"{0}\" has {PURCHASES_MAX} purchases, which is the most")]
    TooManyPurchases(AppId),
    /// The rules of buying are against it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The catalog lost something that was bought.
    #[error("app \"{app}\": {missing}")]
    Missing {
        /// The app.
        app: AppId,
        /// What.
        missing: MissingItem,
    },
    /// The catalog lacks what an app that has bought nothing is on.
    #[error("default edition: {0}")]
    Catalog(MissingItem),
    /// The store does not say what time it is; nothing was changed.
    #[error("nothing was changed: {0}")]
    Clock(#[from] LedgerError),
    /// The directory failed.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The change is recorded, but does not count yet; the same request finishes it.
    #[error("recorded, but not in force yet; repeat the same request to finish it: {0}")]
    Unfinished(LedgerError),
}

/// An app as it is at an instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppView {
    /// What is recorded of it.
    pub record: AppRecord,
    /// When each purchase is valid, in the order of the record.
    pub valid: Vec<Period>,
    /// What it is entitled to.
    pub limits: Limits,
    /// When that changes next.
    pub changes_at: Option<Timestamp>,
}

/// Changes apps, one change at a time.
///
/// A change that has begun is finished even if its caller goes away.
#[derive(Clone)]
pub struct Administration(Arc<Office>);

struct Office {
    engine: Arc<Engine>,
    directory: Arc<dyn Directory>,
    changing: Mutex<()>,
}

impl Administration {
    /// Over a directory, for an engine's ledger.
    #[must_use]
    pub fn new(engine: Arc<Engine>, directory: Arc<dyn Directory>) -> Self {
        Self(Arc::new(Office { engine, directory, changing: Mutex::new(()) }))
    }

    /// The catalog of the moment.
    #[must_use]
    pub fn catalog(&self) -> Arc<Catalog> {
        self.0.engine.catalog()
    }

    /// Shows an app.
    pub async fn app(&self, app: &AppId) -> Result<AppView, AdminError> {
        let record = self.0.directory.app(app).await?;
        self.0.view(record.ok_or_else(|| AdminError::UnknownApp(app.clone()))?).await
    }

    /// Registers an app.
    pub async fn create_app(
        &self,
        app: AppId,
        request_id: RequestId,
    ) -> Result<AppView, AdminError> {
        let office = self.0.clone();
        finish(async move { office.create_app(app, request_id).await }).await
    }

    /// Makes a purchase; answers its index among the purchases of the app.
    pub async fn buy(
        &self,
        app: AppId,
        request_id: RequestId,
        order: Order,
        months: u32,
    ) -> Result<(usize, AppView), AdminError> {
        let office = self.0.clone();
        finish(async move { office.buy(&app, &request_id, &order, months).await }).await
    }

    /// Brings the limits of every app to the ledger, as they follow from what is recorded and
    /// from the catalog of the moment. Done at every start, before the first decision.
    pub async fn publish_all(&self) -> Result<(), AdminError> {
        let _changing = self.0.changing.lock().await;
        self.0.publish_each().await
    }

    /// Replaces the catalog. Nothing changes where the new one lacks something that an app has
    /// bought. The limits of the apps follow with [`Administration::publish_all`].
    pub async fn change_catalog(&self, catalog: Catalog) -> Result<(), AdminError> {
        let _changing = self.0.changing.lock().await;
        let now = self.0.engine.now().await?;
        let mut pages = Pages::default();
        while let Some(page) = pages.next(&*self.0.directory).await? {
            for record in page {
                schedule(&catalog, &record, now)?;
            }
        }
        self.0.engine.set_catalog(catalog).map_err(AdminError::Catalog)
    }
}

/// Carries a change through, whether or not the caller waits for it.
async fn finish<T: Send + 'static>(
    change: impl Future<Output = Result<T, AdminError>> + Send + 'static,
) -> Result<T, AdminError> {
    tokio::spawn(change).await.unwrap_or_else(|interrupted| {
        Err(DirectoryError::Unavailable(interrupted.to_string()).into())
    })
}

impl Office {
    async fn create_app(&self, app: AppId, request_id: RequestId) -> Result<AppView, AdminError> {
        let _changing = self.changing.lock().await;
        let record = match self.directory.app(&app).await? {
            Some(record) if record.created_by == request_id => record,
            Some(_) => return Err(AdminError::AppExists(app)),
            None => {
                let record = AppRecord {
                    app,
                    revision: 1,
                    created_at: self.engine.now().await?,
                    created_by: request_id,
                    purchases: Vec::new(),
                };
                self.directory.put(&record).await?;
                record
            }
        };
        self.publish(&record).await?;
        self.view(record).await
    }

    /// Records a purchase and brings it into force.
    async fn buy(
        &self,
        app: &AppId,
        request_id: &RequestId,
        order: &Order,
        months: u32,
    ) -> Result<(usize, AppView), AdminError> {
        let _changing = self.changing.lock().await;
        let record = self.directory.app(app).await?;
        let mut record = record.ok_or_else(|| AdminError::UnknownApp(app.clone()))?;
        let made_before = made_before(&record, request_id, order, months)?;
        let index = made_before.unwrap_or(record.purchases.len());
        if made_before.is_none() {
            let now = self.engine.now().await?;
            let purchase = self.sell(&record, request_id, order, months, now)?;
            record.purchases.push(purchase);
            record.revision += 1;
            self.directory.put(&record).await?;
        }
        self.publish(&record).await?;
        Ok((index, self.view(record).await?))
    }

    fn sell(
        &self,
        record: &AppRecord,
        request_id: &RequestId,
        order: &Order,
        months: u32,
        now: Timestamp,
    ) -> Result<Purchase, AdminError> {
        if record.purchases.len() >= PURCHASES_MAX {
            return Err(AdminError::TooManyPurchases(record.app.clone()));
        }
        // Purchases stay in the order of their instants even if the clock was set back.
        let last = record.purchases.last().map_or(record.created_at, |purchase| purchase.at);
        let at = now.max(last);
        let (item, price_fen) = sell(&self.engine.catalog(), &record.purchases, order, months, at)?;
        Ok(Purchase { request_id: request_id.clone(), item, months, price_fen, at })
    }

    /// Puts the limits of an app where the decisions are made.
    async fn publish(&self, record: &AppRecord) -> Result<(), AdminError> {
        let now = self.engine.now().await.map_err(AdminError::Unfinished)?;
        let schedule = schedule(&self.engine.catalog(), record, now)?;
        let put = self.engine.ledger.put_schedule(&record.app, record.revision, &schedule);
        put.await.map_err(AdminError::Unfinished)
    }

    async fn view(&self, record: AppRecord) -> Result<AppView, AdminError> {
        let catalog = self.engine.catalog();
        let now = self.engine.now().await?;
        let schedule = schedule(&catalog, &record, now)?;
        Ok(AppView {
            valid: Timeline::new(&catalog, &record.purchases).valid,
            limits: schedule.at(now).clone(),
            changes_at: schedule.next_change(now),
            record,
        })
    }

    /// A page's limits are put side by side, so that they share their commits.
    async fn publish_each(&self) -> Result<(), AdminError> {
        let mut pages = Pages::default();
        while let Some(page) = pages.next(&*self.directory).await? {
            try_join_all(page.iter().map(|record| self.publish(record))).await?;
        }
        Ok(())
    }
}

fn schedule(catalog: &Catalog, record: &AppRecord, now: Timestamp) -> Result<Schedule, AdminError> {
    Schedule::compile(catalog, &record.purchases, now)
        .map_err(|missing| AdminError::Missing { app: record.app.clone(), missing })
}

/// Goes through all apps, page by page.
#[derive(Default)]
struct Pages {
    after: Option<AppId>,
}

impl Pages {
    async fn next(
        &mut self,
        directory: &dyn Directory,
    ) -> Result<Option<Vec<AppRecord>>, DirectoryError> {
        let page = directory.apps(self.after.as_ref(), PAGE).await?;
        self.after = page.last().map(|last| last.app.clone());
        Ok(self.after.is_some().then_some(page))
    }
}

/// The purchase that the same request made before; an error where its content differed.
fn made_before(
    record: &AppRecord,
    request_id: &RequestId,
    order: &Order,
    months: u32,
) -> Result<Option<usize>, AdminError> {
    let reused =
        |before| Err(AdminError::RequestIdReused { request_id: request_id.clone(), before });
    if record.created_by == *request_id {
        return reused("the registration of the app".to_owned());
    }
    let made = |purchase: &Purchase| purchase.request_id == *request_id;
    let Some(index) = record.purchases.iter().position(made) else { return Ok(None) };
    let before = &record.purchases[index];
    let same_item = match (&before.item, order) {
        (Item::Edition(name), Order::Edition(id)) | (Item::AddOn(name), Order::AddOn(id)) => {
            name.as_str() == id.as_str()
        }
        (Item::Renewal(_) | Item::Restart(_), Order::Renewal) => true,
        _ => false,
    };
    if same_item && before.months == months {
        return Ok(Some(index));
    }
    let what = match &before.item {
        Item::Edition(name) => format!("edition \"{name}\""),
        Item::Renewal(name) | Item::Restart(name) => format!("a renewal of edition \"{name}\""),
        Item::AddOn(name) => format!("add-on \"{name}\""),
    };
    reused(format!("{what} for {} months", before.months))
}
