//! Which catalog is in force: what sidecars load, what the store keeps, and what an owner
//! activates.
//!
//! A content comes into force when a sidecar loads it and the store has never had it. A sidecar
//! that loads one that was replaced follows the store's, so that a rolling restart is one change
//! in whatever order it happens. Adding a record compares the last one in the same step.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use serde_json::json;

use super::change::Difference;
use super::office::Office;
use super::statements::first_open;
use super::{AdminError, Pages};
use crate::directory::catalog_codec::{self, CatalogRecord};
use crate::directory::{CATALOGS_MAX, CATALOGS_MAX_BYTES, DirectoryError};
use crate::domain::audit::{Actor, Event};
use crate::domain::catalog::Catalog;
use crate::domain::catalog_history::{CatalogHistory, InForce};
use crate::domain::id::{Name, RequestId};
use crate::domain::schedule::Schedule;
use crate::domain::text::quoted_names;
use crate::domain::time::Timestamp;

/// Most tries to add a record while other sidecars add theirs.
const ATTEMPTS_MAX: usize = 16;
/// Most versions or hashes that an error lists: those of the last changes.
const LISTED_MAX: usize = 8;
/// What the audit log calls it.
const ACTIVATE: &str = "ActivateCatalog";

/// What a sidecar has read of the store's catalogs.
#[derive(Default)]
pub(super) struct Known {
    records: Vec<CatalogRecord>,
    /// The bytes of each record.
    sizes: Vec<usize>,
    /// `None`: the store has none.
    pub(super) history: Option<Arc<CatalogHistory>>,
}

/// What a sidecar keeps of the store's catalogs, and the one that it loaded itself.
#[derive(Default)]
pub(super) struct Kept {
    known: ArcSwap<Known>,
    loaded: ArcSwapOption<Catalog>,
    /// Whether another catalog decides than the one that all limits were published by.
    unpublished: AtomicBool,
}

/// A catalog: several contents may have the same version.
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

    /// Version and hash.
    #[must_use]
    pub fn both(&self) -> (&str, &str) {
        (&self.version, &self.hash)
    }
}

/// Which catalog decides at this sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The catalog in force.
    pub in_force: CatalogId,
    /// The catalog that this sidecar loaded, where that is another content.
    pub differs: Option<CatalogId>,
    /// Whether another catalog decides than the limits of all apps were published by: they follow
    /// with [`super::Administration::publish_all`].
    pub changed: bool,
}

/// An owner's wish to put a kept catalog into force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activation {
    /// Makes it idempotent.
    pub request_id: RequestId,
    /// The version of the catalog.
    pub version: String,
    /// The hash of its content, where several contents have that version.
    pub hash: Option<String>,
}

/// A catalog that an owner put into force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activated {
    /// Its version.
    pub version: String,
    /// The hash of its content.
    pub hash: String,
    /// From when on it is in force.
    pub since: Timestamp,
}

impl Known {
    fn last(&self) -> u64 {
        self.records.last().map_or(0, |last| last.number)
    }

    /// Not before the last record, so that records stay in the order of their instants even if
    /// the clock was set back.
    fn not_before_last(&self, now: Timestamp) -> Timestamp {
        self.records.last().map_or(now, |last| now.max(last.since))
    }
}

impl Kept {
    /// The limits of all apps are published by the catalog that decides.
    pub(super) fn published(&self) {
        self.unpublished.store(false, Ordering::SeqCst);
    }

    pub(super) fn known(&self) -> Arc<Known> {
        self.known.load_full()
    }
}

impl Office {
    /// The catalogs by when they are in force, as the store has them now.
    pub(super) async fn catalogs(&self) -> Result<Arc<CatalogHistory>, AdminError> {
        let known = self.known().await?;
        let own = || Arc::new(CatalogHistory::of(self.engine.catalog()));
        Ok(known.history.clone().unwrap_or_else(own))
    }

    async fn known(&self) -> Result<Arc<Known>, AdminError> {
        let known = self.kept.known();
        let stored = self.directory.catalogs(known.last()).await?;
        let Some(stored) = stored else { return Ok(known) };
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
        let known = Arc::new(Known { records, sizes, history });
        self.kept.known.store(known.clone());
        Ok(known)
    }

    /// Puts a catalog into force that was loaded from this sidecar's file, where the store has
    /// never had its content; follows the store's otherwise.
    pub(super) async fn load_catalog(&self, catalog: Catalog) -> Result<Standing, AdminError> {
        Schedule::default_of(&catalog).map_err(AdminError::Catalog)?;
        let hash = catalog_codec::hash(&catalog);
        let catalog = Arc::new(catalog);
        for _ in 0..ATTEMPTS_MAX {
            let known = self.known().await?;
            if known.records.iter().any(|record| record.hash == hash) {
                self.kept.loaded.store(Some(catalog));
                let now = self.engine.plausible(self.engine.now().await?);
                return self.follow_known(&known, now);
            }
            let now = self.engine.agreed_now().await?;
            self.refuse_lost_types(&catalog).await?;
            let record = CatalogRecord {
                number: known.last() + 1,
                since: known.not_before_last(now),
                request_id: String::new(),
                hash: hash.clone(),
                catalog: catalog.clone(),
            };
            self.add_catalog(&known, &record, now, None).await?;
        }
        Err(DirectoryError::Unavailable("other catalogs come into force all the time".into())
            .into())
    }

    /// Refuses a catalog that lacks a group type of which there are groups.
    async fn refuse_lost_types(&self, catalog: &Catalog) -> Result<(), AdminError> {
        let lost = self.lost_types(catalog).await?;
        if lost.is_empty() { Ok(()) } else { Err(AdminError::TypesInUse(lost)) }
    }

    /// The group types of which there are groups, and which a catalog lacks. A type of which there
    /// may be some is looked for.
    pub(super) async fn lost_types(&self, catalog: &Catalog) -> Result<Vec<Name>, AdminError> {
        let ledger = &self.engine.ledger;
        let in_use = ledger.types_in_use().await.map_err(AdminError::Clock)?;
        let has_not = |name: &Name| catalog.group_type(name.as_str()).is_none();
        let mut lost: BTreeSet<Name> = in_use.types.into_iter().filter(has_not).collect();
        if !in_use.is_complete {
            let known = self.kept.known();
            let last = known.records.last().map(|last| last.catalog.clone());
            let before = last.unwrap_or_else(|| self.engine.catalog());
            let names = before.group_types.iter().map(|kind| kind.name.clone());
            lost.extend(names.filter(has_not));
        }
        if lost.is_empty() {
            return Ok(Vec::new());
        }
        let lost = ledger.recheck_types(Some(&lost)).await.map_err(AdminError::Clock)?;
        Ok(lost.into_iter().collect())
    }

    /// Decides by what the store has in force, as another sidecar or an owner put it there.
    pub(super) async fn follow_catalog(&self) -> Result<Standing, AdminError> {
        let now = self.engine.plausible(self.engine.now().await?);
        let known = self.known().await?;
        match self.kept.loaded.load_full() {
            // A store that was replaced by an empty one has no catalog yet.
            Some(loaded) if known.records.is_empty() => {
                self.load_catalog(Catalog::clone(&loaded)).await
            }
            _ => self.follow_known(&known, now),
        }
    }

    fn follow_known(&self, known: &Known, now: Timestamp) -> Result<Standing, AdminError> {
        let before = self.engine.catalog();
        let loaded = self.kept.loaded.load_full().unwrap_or_else(|| before.clone());
        let Some(history) = &known.history else {
            let in_force = CatalogId::of(&before);
            return Ok(Standing { in_force, differs: None, changed: false });
        };
        let stored = history.at(known.not_before_last(now));
        // What is not kept is each sidecar's own.
        let catalog = Catalog {
            failure: loaded.failure.clone(),
            batch: loaded.batch,
            im_codes: loaded.im_codes,
            ..Catalog::clone(stored)
        };
        let (loaded, in_force) = (CatalogId::of(&loaded), CatalogId::of(stored));
        let differs = known.records.last().is_none_or(|last| last.hash != loaded.hash);
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

    /// Adds a record, unless another one came first; the store is read again in any case.
    async fn add_catalog(
        &self,
        known: &Known,
        record: &CatalogRecord,
        now: Timestamp,
        event: Option<Event>,
    ) -> Result<(), AdminError> {
        let bytes = catalog_codec::encode(record);
        let removed = self.make_room(known, bytes.len(), now).await?;
        let last = known.last();
        let is_logged = event.is_some();
        let added = self.directory.put_catalog(last, &bytes, &removed, event).await?;
        if added && is_logged {
            self.engine.notices().audit_grew();
        }
        Ok(())
    }

    /// The records that have to go so that one more of that size fits, the oldest ones first. One
    /// that a month without a final statement needs stays, and so does one that completes old
    /// purchases.
    async fn make_room(
        &self,
        known: &Known,
        size: usize,
        now: Timestamp,
    ) -> Result<Vec<u64>, AdminError> {
        let mut bytes = known.sizes.iter().sum::<usize>() + size;
        let mut count = known.records.len() + 1;
        let is_full = |count, bytes| count > CATALOGS_MAX || bytes > CATALOGS_MAX_BYTES;
        if !is_full(count, bytes) {
            return Ok(Vec::new());
        }
        let needed = self.needed(known, now).await?;
        let mut removed = Vec::new();
        for (index, record) in known.records.iter().enumerate() {
            if is_full(count, bytes) && !needed[index] {
                removed.push(record.number);
                bytes -= known.sizes[index];
                count -= 1;
            }
        }
        if is_full(count, bytes) { Err(AdminError::TooManyCatalogs) } else { Ok(removed) }
    }

    /// Of each record, whether it is needed.
    async fn needed(&self, known: &Known, now: Timestamp) -> Result<Vec<bool>, AdminError> {
        let mut needed = vec![false; known.records.len()];
        let Some(history) = &known.history else { return Ok(needed) };
        let mut oldest = known.not_before_last(now);
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
            let next = known.records.get(index + 1);
            *needed |= next.is_none_or(|next| next.since > oldest);
        }
        Ok(needed)
    }

    /// Puts a kept catalog into force again, on an owner's behalf.
    pub(super) async fn activate_catalog(
        &self,
        activation: &Activation,
        actor: &Actor,
    ) -> Result<Activated, AdminError> {
        let _changing = self.changing.lock().await;
        for _ in 0..ATTEMPTS_MAX {
            let now = self.engine.agreed_now().await?;
            let known = self.known().await?;
            if let Some(made) = made_before(&known, activation)? {
                self.follow_known(&known, now)?;
                self.publish_round().await?;
                return Ok(made);
            }
            let wanted = wanted(&known, activation)?;
            self.refuse_lost_types(&wanted.catalog).await?;
            let record = CatalogRecord {
                number: known.last() + 1,
                since: known.not_before_last(now),
                request_id: activation.request_id.to_string(),
                hash: wanted.hash.clone(),
                catalog: wanted.catalog.clone(),
            };
            let event = self.activation(&known, &record, actor, now);
            self.add_catalog(&known, &record, now, Some(event)).await?;
        }
        Err(DirectoryError::Unavailable("other catalogs come into force all the time".into())
            .into())
    }

    fn activation(
        &self,
        known: &Known,
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
            action: ACTIVATE.to_owned(),
            request: json!({"version": record.catalog.version, "content_hash": record.hash})
                .to_string(),
            app: None,
            request_id: record.request_id.clone(),
            before: known.records.last().map(|last| shown(last).to_string()).unwrap_or_default(),
            after: shown(record).to_string(),
        }
    }
}

/// What the same request activated before; an error where it asked for another catalog then.
fn made_before(known: &Known, activation: &Activation) -> Result<Option<Activated>, AdminError> {
    let is_made = |record: &&CatalogRecord| record.request_id == activation.request_id.as_str();
    let Some(made) = known.records.iter().find(is_made) else { return Ok(None) };
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

/// The record whose content is asked for.
fn wanted<'a>(known: &'a Known, activation: &Activation) -> Result<&'a CatalogRecord, AdminError> {
    let mut of_version: Vec<&CatalogRecord> = Vec::new();
    for record in known.records.iter().rev() {
        let is_asked = record.catalog.version == activation.version
            && activation.hash.as_ref().is_none_or(|hash| *hash == record.hash);
        if is_asked && of_version.iter().all(|other| other.hash != record.hash) {
            of_version.push(record);
        }
    }
    let found = match of_version.as_slice() {
        [] => return Err(unknown(known, activation)),
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

fn unknown(known: &Known, activation: &Activation) -> AdminError {
    if let Some(hash) = &activation.hash
        && known.records.iter().any(|it| it.catalog.version == activation.version)
    {
        let contents = known.records.iter().rev();
        let contents = contents.filter(|it| it.catalog.version == activation.version);
        let known = contents.map(|record| record.hash.as_str()).take(LISTED_MAX);
        let known = quoted_names(known);
        return AdminError::UnknownContent(hash.clone(), known);
    }
    let versions = known.records.iter().rev().map(|record| record.catalog.version.as_str());
    let (version, last) = (activation.version.clone(), quoted_names(versions));
    AdminError::UnknownCatalog { version, last }
}
