//! The catalog in force: as loaded by sidecars, kept by the store, and activated by owners.
//!
//! A content comes into force when a sidecar loads it and the store has never had it. A sidecar
//! that loads a content which was replaced uses the store's instead, so that a rolling restart is
//! one change in whatever order it happens. Adding a record compares the last one in the same step.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use serde_json::json;

use super::change::Difference;
use super::service::AdminService;
use super::statements::first_open;
use super::{AdminError, Pages};
use crate::directory::catalog_codec::{self, CatalogRecord};
use crate::directory::{CATALOGS_MAX, CATALOGS_MAX_BYTES, DirectoryError, StoredCatalogs};
use crate::domain::audit::{Action, Actor, Event};
use crate::domain::catalog::Catalog;
use crate::domain::catalog_history::{CatalogHistory, InForce};
use crate::domain::id::{Name, RequestId};
use crate::domain::schedule::Schedule;
use crate::domain::text::quoted_names;
use crate::domain::time::Timestamp;

/// Most attempts to add a record while other sidecars add theirs.
const ATTEMPTS_MAX: usize = 16;
/// Most versions or hashes that an error lists: those of the last changes.
const LISTED_MAX: usize = 8;
/// The RPC's name in the audit log.
const ACTIVATE: Action = Action::ActivateCatalog;

/// The store's catalogs as a sidecar has read them last.
#[derive(Default)]
pub(super) struct CatalogCache {
    records: Vec<CatalogRecord>,
    /// Size of each record in bytes.
    sizes: Vec<usize>,
    /// History of the records; `None` if the store has none.
    pub(super) history: Option<Arc<CatalogHistory>>,
}

/// The cached catalogs of the store, and the catalog that the sidecar loaded itself.
#[derive(Default)]
pub(super) struct Kept {
    cached: ArcSwap<CatalogCache>,
    loaded: ArcSwapOption<Catalog>,
    /// True if all limits were published by another catalog than the deciding one.
    unpublished: AtomicBool,
}

/// Identity of a catalog; several contents may have the same version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogId {
    /// Its version.
    pub version: String,
    /// The hash of its content.
    pub hash: String,
}

impl CatalogId {
    fn of(catalog: &Catalog) -> Self {
        Self { version: catalog.version.clone(), hash: catalog_codec::hash(catalog) }
    }

    /// Returns version and hash.
    #[must_use]
    pub fn both(&self) -> (&str, &str) {
        (&self.version, &self.hash)
    }
}

/// The catalog by which this sidecar decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The catalog in force.
    pub in_force: CatalogId,
    /// The catalog that this sidecar loaded, if its content is another one.
    pub differs: Option<CatalogId>,
    /// True if the limits of all apps were published by another catalog: they follow with
    /// [`super::Administration::publish_all`].
    pub changed: bool,
}

/// An owner's request to activate a kept catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activation {
    /// Idempotency key.
    pub request_id: RequestId,
    /// The version of the catalog.
    pub version: String,
    /// The hash of its content; needed if several contents have that version.
    pub hash: Option<String>,
}

/// A catalog that an owner activated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activated {
    /// Its version.
    pub version: String,
    /// The hash of its content.
    pub hash: String,
    /// Instant from which it is in force.
    pub since: Timestamp,
}

impl CatalogCache {
    /// Returns the number of the last record, 0 if there is none.
    pub(super) fn last(&self) -> u64 {
        self.records.last().map_or(0, |last| last.number)
    }

    /// Returns `now`, but not before the last record, so that records stay in the order of their
    /// instants even if the clock was set back.
    fn not_before_last(&self, now: Timestamp) -> Timestamp {
        self.records.last().map_or(now, |last| now.max(last.since))
    }
}

impl Kept {
    /// Records that the limits of all apps are published by the deciding catalog.
    pub(super) fn published(&self) {
        self.unpublished.store(false, Ordering::SeqCst);
    }

    pub(super) fn cached(&self) -> Arc<CatalogCache> {
        self.cached.load_full()
    }
}

impl AdminService {
    /// Returns the catalogs by their instants of being in force, as the store has them now.
    pub(super) async fn catalogs(&self) -> Result<Arc<CatalogHistory>, AdminError> {
        let cached = self.read_catalogs().await?;
        let own = || Arc::new(CatalogHistory::of(self.engine.catalog()));
        Ok(cached.history.clone().unwrap_or_else(own))
    }

    async fn read_catalogs(&self) -> Result<Arc<CatalogCache>, AdminError> {
        let cached = self.kept.cached();
        let stored = self.directory.catalogs(cached.last()).await?;
        self.cache_catalogs(cached, stored)
    }

    /// Caches the catalogs of the store; `stored` is `None` if `cached` has them.
    pub(super) fn cache_catalogs(
        &self,
        cached: Arc<CatalogCache>,
        stored: Option<StoredCatalogs>,
    ) -> Result<Arc<CatalogCache>, AdminError> {
        let Some(stored) = stored else { return Ok(cached) };
        let own = self.engine.catalog();
        let sizes = stored.iter().map(|(_, bytes)| bytes.len()).collect();
        let decode = |(number, bytes): (u64, Vec<u8>)| catalog_codec::decode(number, &bytes, &own);
        let records: Vec<CatalogRecord> =
            stored.into_iter().map(decode).collect::<Result<_, _>>()?;
        let in_force = |record: &CatalogRecord| InForce {
            since: record.since,
            catalog: record.catalog.clone(),
        };
        let history = CatalogHistory::new(records.iter().map(in_force).collect()).map(Arc::new);
        let cached = Arc::new(CatalogCache { records, sizes, history });
        self.kept.cached.store(cached.clone());
        Ok(cached)
    }

    /// Activates a catalog from this sidecar's file if the store has never had its content; uses
    /// the store's otherwise.
    pub(super) async fn load_catalog(&self, catalog: Catalog) -> Result<Standing, AdminError> {
        Schedule::default_of(&catalog).map_err(AdminError::Catalog)?;
        let hash = catalog_codec::hash(&catalog);
        let catalog = Arc::new(catalog);
        for _ in 0..ATTEMPTS_MAX {
            let cached = self.read_catalogs().await?;
            if cached.records.iter().any(|record| record.hash == hash) {
                self.kept.loaded.store(Some(catalog));
                let now = self.engine.plausible(self.engine.now().await?);
                return self.apply_cached(&cached, now);
            }
            let now = self.engine.agreed_now().await?;
            self.refuse_other_currency(&cached, &catalog).await?;
            self.refuse_missing_types(&catalog).await?;
            let record = CatalogRecord {
                number: cached.last() + 1,
                since: cached.not_before_last(now),
                request_id: String::new(),
                hash: hash.clone(),
                catalog: catalog.clone(),
            };
            self.add_catalog(&cached, &record, now, None).await?;
        }
        Err(DirectoryError::Unavailable(
            "other catalogs are activated at the same time, retry".into(),
        )
        .into())
    }

    /// Refuses a catalog of another currency once there are apps: the amounts of their purchases
    /// are stored without a currency.
    async fn refuse_other_currency(
        &self,
        cached: &CatalogCache,
        catalog: &Catalog,
    ) -> Result<(), AdminError> {
        let Some(last) = cached.records.last() else { return Ok(()) };
        let [stored, given] = [last.catalog.currency, catalog.currency];
        if stored == given || self.stored.apps(None, 1).await?.last.is_none() {
            return Ok(());
        }
        Err(AdminError::CurrencyInUse { stored, given })
    }

    /// Refuses a catalog that lacks a group type in use.
    async fn refuse_missing_types(&self, catalog: &Catalog) -> Result<(), AdminError> {
        let missing = self.missing_types(catalog).await?;
        if missing.is_empty() { Ok(()) } else { Err(AdminError::TypesInUse(missing)) }
    }

    /// Returns the group types in use that a catalog lacks. Types that may be in use are checked.
    pub(super) async fn missing_types(&self, catalog: &Catalog) -> Result<Vec<Name>, AdminError> {
        let ledger = &self.engine.ledger;
        let in_use = ledger.types_in_use().await.map_err(AdminError::Clock)?;
        let has_not = |name: &Name| catalog.group_type(name.as_str()).is_none();
        let mut missing: BTreeSet<Name> = in_use.types.into_iter().filter(has_not).collect();
        if !in_use.is_complete {
            let cached = self.kept.cached();
            let last = cached.records.last().map(|last| last.catalog.clone());
            let before = last.unwrap_or_else(|| self.engine.catalog());
            let names = before.group_types.iter().map(|kind| kind.name.clone());
            missing.extend(names.filter(has_not));
        }
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        let missing = ledger.recheck_types(Some(&missing)).await.map_err(AdminError::Clock)?;
        Ok(missing.into_iter().collect())
    }

    /// Decides by the catalog that the store has in force, as activated by another sidecar or an
    /// owner.
    pub(super) async fn follow_catalog(&self) -> Result<Standing, AdminError> {
        let now = self.engine.now().await?;
        let cached = self.read_catalogs().await?;
        self.use_cached(&cached, now).await
    }

    /// Decides by the catalog that `cached` has in force at the store's instant `now`.
    pub(super) async fn use_cached(
        &self,
        cached: &CatalogCache,
        now: Timestamp,
    ) -> Result<Standing, AdminError> {
        let now = self.engine.plausible(now);
        match self.kept.loaded.load_full() {
            // A store that was replaced by an empty one has no catalog yet.
            Some(loaded) if cached.records.is_empty() => {
                self.load_catalog(Catalog::clone(&loaded)).await
            }
            _ => self.apply_cached(cached, now),
        }
    }

    fn apply_cached(&self, cached: &CatalogCache, now: Timestamp) -> Result<Standing, AdminError> {
        let before = self.engine.catalog();
        let loaded = self.kept.loaded.load_full().unwrap_or_else(|| before.clone());
        let Some(history) = &cached.history else {
            let in_force = CatalogId::of(&before);
            return Ok(Standing { in_force, differs: None, changed: false });
        };
        let stored = history.at(cached.not_before_last(now));
        // The store does not keep these parts: each sidecar uses its own.
        let catalog = Catalog::clone(stored).with_own_parts(&loaded);
        let (loaded, in_force) = (CatalogId::of(&loaded), CatalogId::of(stored));
        let differs = cached.records.last().is_none_or(|last| last.hash != loaded.hash);
        if *before != catalog {
            self.engine.set_catalog(catalog).map_err(AdminError::Catalog)?;
            self.kept.unpublished.store(true, Ordering::SeqCst);
        }
        Ok(Standing {
            in_force,
            differs: differs.then_some(loaded),
            changed: self.kept.unpublished.load(Ordering::SeqCst),
        })
    }

    /// Adds a record, unless another one came first; callers read the store again in any case.
    async fn add_catalog(
        &self,
        cached: &CatalogCache,
        record: &CatalogRecord,
        now: Timestamp,
        event: Option<Event>,
    ) -> Result<(), AdminError> {
        let bytes = catalog_codec::encode(record);
        let removed = self.make_room(cached, bytes.len(), now).await?;
        let last = cached.last();
        let is_logged = event.is_some();
        let added = self.directory.put_catalog(last, &bytes, &removed, event).await?;
        if added && is_logged {
            self.engine.event_buffer().audit_grew();
        }
        Ok(())
    }

    /// Returns the records to remove so that one more of that size fits, the oldest ones first.
    /// Records that a month without a final statement needs are kept, and so are those that
    /// complete old purchases.
    async fn make_room(
        &self,
        cached: &CatalogCache,
        size: usize,
        now: Timestamp,
    ) -> Result<Vec<u64>, AdminError> {
        let mut bytes = cached.sizes.iter().sum::<usize>() + size;
        let mut count = cached.records.len() + 1;
        let is_full = |count, bytes| count > CATALOGS_MAX || bytes > CATALOGS_MAX_BYTES;
        if !is_full(count, bytes) {
            return Ok(Vec::new());
        }
        let needed = self.needed(cached, now).await?;
        let mut removed = Vec::new();
        for (index, record) in cached.records.iter().enumerate() {
            if is_full(count, bytes) && !needed[index] {
                removed.push(record.number);
                bytes -= cached.sizes[index];
                count -= 1;
            }
        }
        if is_full(count, bytes) { Err(AdminError::TooManyCatalogs) } else { Ok(removed) }
    }

    /// Returns for each record whether it is needed.
    async fn needed(&self, cached: &CatalogCache, now: Timestamp) -> Result<Vec<bool>, AdminError> {
        let mut needed = vec![false; cached.records.len()];
        let Some(history) = &cached.history else { return Ok(needed) };
        let mut oldest = cached.not_before_last(now);
        let (stored, mut pages) = (&self.stored, Pages::default());
        while let Some(page) = pages.next(&**stored).await? {
            self.pace.next_slice().await;
            for record in page {
                let month = first_open(&record, history, now);
                oldest = oldest.min(history.start_of(month.first_day()));
                for index in history.fills(&record.sales) {
                    needed[index] = true;
                }
            }
        }
        for (index, needed) in needed.iter_mut().enumerate() {
            let next = cached.records.get(index + 1);
            *needed |= next.is_none_or(|next| next.since > oldest);
        }
        Ok(needed)
    }

    /// Activates a kept catalog again, on behalf of an owner.
    pub(super) async fn activate_catalog(
        &self,
        activation: &Activation,
        actor: &Actor,
    ) -> Result<Activated, AdminError> {
        let _changing = self.changing.lock().await;
        for _ in 0..ATTEMPTS_MAX {
            let now = self.engine.agreed_now().await?;
            let cached = self.read_catalogs().await?;
            if let Some(made) = made_before(&cached, activation)? {
                self.apply_cached(&cached, now)?;
                self.publish_round().await?;
                return Ok(made);
            }
            let requested = requested(&cached, activation)?;
            self.refuse_other_currency(&cached, &requested.catalog).await?;
            self.refuse_missing_types(&requested.catalog).await?;
            let record = CatalogRecord {
                number: cached.last() + 1,
                since: cached.not_before_last(now),
                request_id: activation.request_id.to_string(),
                hash: requested.hash.clone(),
                catalog: requested.catalog.clone(),
            };
            let event = self.activation(&cached, &record, actor, now);
            self.add_catalog(&cached, &record, now, Some(event)).await?;
        }
        Err(DirectoryError::Unavailable(
            "other catalogs are activated at the same time, retry".into(),
        )
        .into())
    }

    fn activation(
        &self,
        cached: &CatalogCache,
        record: &CatalogRecord,
        actor: &Actor,
        now: Timestamp,
    ) -> Event {
        let zone = self.engine.catalog().zone;
        let shown = |record: &CatalogRecord| {
            json!({
                "version": record.catalog.version,
                "content_hash": record.hash,
                "since": zone.show(record.since),
            })
        };
        Event {
            at: now,
            actor: actor.clone(),
            action: ACTIVATE.name().to_owned(),
            request: json!({"version": record.catalog.version, "content_hash": record.hash})
                .to_string(),
            app: None,
            request_id: record.request_id.clone(),
            before: cached.records.last().map(|last| shown(last).to_string()).unwrap_or_default(),
            after: shown(record).to_string(),
        }
    }
}

/// Returns the result of an earlier request with the same id; an error if that was about another
/// catalog.
fn made_before(
    cached: &CatalogCache,
    activation: &Activation,
) -> Result<Option<Activated>, AdminError> {
    let is_made = |record: &&CatalogRecord| record.request_id == activation.request_id.as_str();
    let Some(made) = cached.records.iter().find(is_made) else { return Ok(None) };
    let mut differs = Vec::new();
    let mut compare = |field, before: &str, now: &str| {
        if before != now {
            differs.push(Difference { field, before: before.to_owned(), now: now.to_owned() });
        }
    };
    compare("version", &made.catalog.version, &activation.version);
    compare("content_hash", &made.hash, activation.hash.as_ref().unwrap_or(&made.hash));
    if !differs.is_empty() {
        return Err(AdminError::RequestIdReused {
            request_id: activation.request_id.clone(),
            before: format!("the activation of catalog \"{}\"", made.catalog.version),
            differs,
        });
    }
    let (version, hash) = (made.catalog.version.clone(), made.hash.clone());
    Ok(Some(Activated { version, hash, since: made.since }))
}

/// Returns the requested record.
fn requested<'a>(
    cached: &'a CatalogCache,
    activation: &Activation,
) -> Result<&'a CatalogRecord, AdminError> {
    let mut of_version: Vec<&CatalogRecord> = Vec::new();
    for record in cached.records.iter().rev() {
        let matches = record.catalog.version == activation.version
            && activation.hash.as_ref().is_none_or(|hash| *hash == record.hash);
        if matches && of_version.iter().all(|other| other.hash != record.hash) {
            of_version.push(record);
        }
    }
    let found = match of_version.as_slice() {
        [] => return Err(unknown(cached, activation)),
        [found] => *found,
        several => {
            let hashes: Vec<_> =
                several.iter().take(LISTED_MAX).map(|record| record.hash.as_str()).collect();
            return Err(AdminError::SeveralCatalogs {
                version: activation.version.clone(),
                hashes: hashes.join(", "),
            });
        }
    };
    Ok(found)
}

fn unknown(cached: &CatalogCache, activation: &Activation) -> AdminError {
    if let Some(hash) = &activation.hash
        && cached.records.iter().any(|it| it.catalog.version == activation.version)
    {
        let contents = cached.records.iter().rev();
        let contents = contents.filter(|it| it.catalog.version == activation.version);
        let known = contents.map(|record| record.hash.as_str()).take(LISTED_MAX);
        let known = quoted_names(known);
        return AdminError::UnknownContent(hash.clone(), known);
    }
    let versions = cached.records.iter().rev().map(|record| record.catalog.version.as_str());
    let (version, last) = (activation.version.clone(), quoted_names(versions));
    AdminError::UnknownCatalog { version, last }
}
