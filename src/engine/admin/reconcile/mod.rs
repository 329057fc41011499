//! Reconciliation: compares an app's facts with an export of the IM's own database, and repairs
//! differences.
//!
//! The export comes in parts, in any order and several at a time; every user or group is whole
//! within one. Facts of the store that are missing in the export show only at the end of the
//! export: then the store's subjects are scanned, and those that were not in the export are
//! compared with nothing.
//!
//! Subjects of the export are remembered by fingerprint, 8 bytes an account and about 20 a user
//! with friends or a group. That is the only memory that grows with the export.
//!
//! Repairs leave alone facts that live traffic changed since the export
//! ([`Ledger::track`](crate::ledger::Ledger::track)), and without tracking nothing is ever removed.
//! The audit log has an entry before the first repair and one with the counts after the last, also
//! if the comparison was interrupted.

use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use serde_json::json;

use self::report::{Counts, Named};
use self::seen::Seen;
use super::{AdminError, Administration};
use crate::directory::DirectoryError;
use crate::directory::audit_change::{
    ReconcileMode, ReconcileRequest, ReconcileResult, ReconcileState, to_text,
};
use crate::domain::audit::{Action, Actor, Event};
use crate::domain::event::{self, EventKind};
use crate::domain::id::{AppId, GroupId, Name, UserId};
use crate::domain::time::Timestamp;
use crate::engine::Engine;
use crate::ledger::LedgerError;
use crate::ledger::reconcile::{
    ClaimedGroup, Difference, ExpectedState, PageToken, Repair, Section, Tracking,
};
use crate::store::Fingerprints;

mod report;
mod seen;
mod slices;

pub use report::{Found, Kind, Labelled, NamedDifference, Resolved};

/// Time for which changes have to be tracked before the export is begun: an operation in flight
/// when tracking began has reached the database by then.
pub const SETTLED_AFTER: Duration = Duration::from_secs(10);
/// Most friends of a user and members of a group in an export: more than any type's own cap, and
/// with the longest ids well within a message.
pub const LIST_MAX: usize = 20_000;
/// Timeout for comparing one part of the export, through a failover.
const PART_TIMEOUT: Duration = Duration::from_secs(30);
/// Claims that are compared at a time when the store's subjects are scanned.
const CLAIMED_AT_ONCE: usize = 256;

/// Reason why a comparison cannot be made or continued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReconcileError {
    /// Changes are not tracked, and repairs depend on tracking.
    #[error(
        "changes of app \"{0}\" are not tracked: begin with TrackChanges, then export, then \
         reconcile; tracking ends with its time, or when more than a million changes were made"
    )]
    NotTracked(AppId),
    /// The export was begun too early.
    #[error(
        "the export was begun at {as_of}, and changes are tracked since {since} only: an export \
         has to be begun at least {} seconds after that",
        SETTLED_AFTER.as_secs()
    )]
    TooEarly {
        /// Instant at which the export was begun.
        as_of: String,
        /// Instant since which changes are tracked.
        since: String,
    },
    /// The export would have been begun in the future.
    #[error("the export was begun at {as_of}, which lies in the future; the time is now {now}")]
    InTheFuture {
        /// Instant at which the export was begun.
        as_of: String,
        /// The current instant.
        now: String,
    },
    /// A user or group was in two parts.
    #[error("{0} is in two messages of this stream; send each user or group in one")]
    Twice(String),
    /// The export has more subjects than can be remembered.
    #[error("the export has more than {0} users or groups, which is the most")]
    TooMuch(usize),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The store's clock could not be read before anything was done.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The work was done, but the entry in the audit log is missing.
    #[error("it was done, but the audit log has no entry about it: {0}")]
    Unlogged(DirectoryError),
}

/// Request of a comparison: the export, and the treatment of differences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    /// The app.
    pub app: AppId,
    /// Treatment of differences.
    pub repair: Repair,
    /// Instant at which the export was begun.
    pub as_of: Option<Timestamp>,
    /// Sections of the export, each complete.
    pub sections: Vec<Section>,
    /// True if differences are listed one by one.
    pub names: bool,
}

/// A part of the export.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// Accounts that exist.
    pub accounts: Vec<UserId>,
    /// Users, each with their complete list of friends.
    pub friends: Vec<(UserId, Vec<UserId>)>,
    /// Groups.
    pub groups: Vec<ExportedGroup>,
    /// Subjects that an interrupted earlier run has compared.
    pub done: Done,
}

/// A part that was compared, and whose differences have no names yet.
#[derive(Debug)]
pub struct Compared {
    part: Part,
    listed: Vec<Difference>,
    found: Found,
}

/// A group of the export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedGroup {
    /// The group.
    pub group: GroupId,
    /// Its type.
    pub group_type: Name,
    /// Its own limit, if any; `None` if that is not compared.
    pub max_members: Option<Option<u32>>,
    /// Its members.
    pub members: Vec<UserId>,
}

/// Subjects of the export that were compared before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// Accounts.
    pub accounts: Vec<UserId>,
    /// Users with friends.
    pub friends: Vec<UserId>,
    /// Groups.
    pub groups: Vec<GroupId>,
}

/// Position in the scan of the store's subjects, after the whole export was compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rest {
    sections: Vec<Section>,
    place: Option<PageToken>,
}

/// A comparison in progress.
pub struct Reconciliation {
    service: Administration,
    begin: Begin,
    actor: Actor,
    tracking: Option<Tracking>,
    ids: Fingerprints,
    memory: Mutex<Memory>,
}

/// State of a comparison.
#[derive(Default)]
struct Memory {
    seen: Seen,
    counts: Counts,
    unnamed: report::Unnamed,
    /// Number of facts for which a failure of the store left open whether they were repaired.
    facts_unknown: u64,
}

impl Administration {
    /// Tracks changes of an app from now on, and discards those tracked before.
    pub async fn track_changes(
        &self,
        app: &AppId,
        keep_for: Duration,
        actor: Actor,
    ) -> Result<Tracking, ReconcileError> {
        let tracking = self.0.engine.ledger.track(app, keep_for).await?;
        let show = |at| self.catalog().zone.show(at);
        let request = json!({"app_id": app.as_str(), "keep_for_s": keep_for.as_secs()});
        let after = json!({"since": show(tracking.since), "until": show(tracking.until)});
        let (request, after) = (request.to_string(), after.to_string());
        let logged =
            self.log(tracking.since, Action::TrackChanges, Some(app), actor, request, after);
        logged.await.map_err(ReconcileError::Unlogged)?;
        Ok(tracking)
    }

    /// Begins the comparison of an export.
    pub async fn reconcile(
        &self,
        begin: Begin,
        actor: Actor,
    ) -> Result<Reconciliation, ReconcileError> {
        let tracking = self.tracking_for(&begin).await?;
        let reconciliation = Reconciliation {
            service: self.clone(),
            actor,
            tracking,
            ids: self.0.engine.ledger.fingerprints(),
            memory: Mutex::new(Memory::default()),
            begin,
        };
        if reconciliation.begin.repair != Repair::No {
            let now = self.0.engine.now().await.map_err(AdminError::from)?;
            reconciliation.log(now, ReconcileState::Begun).await.map_err(AdminError::from)?;
        }
        Ok(reconciliation)
    }

    /// Returns the tracking that covers the export, if it is needed.
    async fn tracking_for(&self, begin: &Begin) -> Result<Option<Tracking>, ReconcileError> {
        let Some(as_of) = begin.as_of else { return Ok(None) };
        let zone = self.catalog().zone;
        let now = self.0.engine.now().await?;
        if as_of > now {
            let (as_of, now) = (zone.show(as_of), zone.show(now));
            return Err(ReconcileError::InTheFuture { as_of, now });
        }
        let tracking = self.0.engine.ledger.tracking(&begin.app).await?;
        let tracking = tracking.ok_or_else(|| ReconcileError::NotTracked(begin.app.clone()))?;
        if as_of < tracking.since + SETTLED_AFTER {
            let (as_of, since) = (zone.show(as_of), zone.show(tracking.since));
            return Err(ReconcileError::TooEarly { as_of, since });
        }
        Ok(Some(tracking))
    }

    /// Writes an entry to the audit log about a change at an instant.
    pub(super) async fn log(
        &self,
        at: Timestamp,
        action: Action,
        app: Option<&AppId>,
        actor: Actor,
        request: String,
        after: String,
    ) -> Result<(), DirectoryError> {
        self.log_as(at, Logged { action, app, request_id: "" }, actor, request, after).await
    }

    /// Writes an entry to the audit log about a request that may have an id.
    pub(super) async fn log_as(
        &self,
        at: Timestamp,
        logged: Logged<'_>,
        actor: Actor,
        request: String,
        after: String,
    ) -> Result<(), DirectoryError> {
        let event = Event {
            at,
            actor,
            action: logged.action.name().to_owned(),
            request,
            app: logged.app.cloned(),
            request_id: logged.request_id.to_owned(),
            before: String::new(),
            after,
        };
        self.0.directory.log(event).await?;
        self.0.engine.event_buffer().audit_grew();
        Ok(())
    }
}

/// The request that an entry of the audit log is about.
pub(super) struct Logged<'a> {
    /// The RPC.
    pub(super) action: Action,
    /// The app, if it is about one.
    pub(super) app: Option<&'a AppId>,
    /// The request's id; empty if it has none.
    pub(super) request_id: &'a str,
}

impl Reconciliation {
    /// Returns the instant since which changes are tracked that repairs leave alone.
    #[must_use]
    pub fn tracked_since(&self) -> Option<Timestamp> {
        self.tracking.map(|tracking| tracking.since)
    }

    /// Returns whether the export has that section.
    #[must_use]
    pub fn has(&self, section: Section) -> bool {
        self.begin.sections.contains(&section)
    }

    /// Returns whether facts that only the export has are added.
    #[must_use]
    pub fn adds(&self) -> bool {
        self.begin.repair != Repair::No
    }

    /// Compares a part of the export; several may be compared at a time.
    pub async fn compare(&self, part: Part) -> Result<Compared, ReconcileError> {
        let mut found = Found::default();
        let claims = self.claims(&part, &mut found)?;
        let differences = self.compare_claims(claims).await?;
        let mut memory = self.memory();
        memory.counts.add(&differences);
        found.counts.add(&differences);
        let (of_other_type, members) = report::skipped(&self.ids, &part, &differences);
        found.members_skipped = members;
        // Skipped groups are always listed, since nothing else repairs them.
        let listed = if self.begin.names { differences } else { of_other_type };
        Ok(Compared { part, listed, found })
    }

    /// Names the differences of a part. Called in the order of the parts: each names users that
    /// were listed by fingerprint before.
    #[must_use]
    pub fn name(&self, compared: Compared) -> Found {
        let Compared { part, listed, found } = compared;
        let named = Named::new(&self.ids, &part, &listed);
        let mut memory = self.memory();
        let resolved = memory.unnamed.resolve(&self.ids, &part);
        let differences = named.name(&listed, &mut memory.unnamed);
        Found { differences, resolved, ..found }
    }

    /// Returns the claims of a part, by fingerprints. Nothing is recorded of a part that is
    /// refused.
    fn claims(&self, part: &Part, found: &mut Found) -> Result<Vec<ExpectedState>, ReconcileError> {
        let ids = &self.ids;
        let users =
            |users: &[UserId]| -> Vec<u64> { users.iter().map(|it| ids.user(it)).collect() };
        let mut memory = self.memory();
        memory.seen.record(ids, part)?;
        let mut claims = Vec::new();
        if !part.accounts.is_empty() {
            claims.push(ExpectedState::Accounts { users: users(&part.accounts), exist: true });
        }
        for (user, friends) in &part.friends {
            claims.push(ExpectedState::Friends { user: ids.user(user), friends: users(friends) });
        }
        let catalog = self.service.catalog();
        for it in &part.groups {
            let kind = catalog.group_type(it.group_type.as_str());
            let tracked = kind.is_some_and(|kind| kind.members_tracked);
            let members = if tracked { users(&it.members) } else { Vec::new() };
            found.members_ignored += (it.members.len() - members.len()) as u64;
            let (group_type, max_members) = (it.group_type.clone(), it.max_members);
            let row = Some(ClaimedGroup { group_type, max_members });
            claims.push(ExpectedState::Group { group: ids.group(&it.group), row, members });
        }
        found.facts_compared = claims.iter().map(|claim| claim.facts() as u64).sum();
        Ok(claims)
    }

    /// Returns the start of the scan once the export is complete; empty if facts are only added.
    #[must_use]
    pub fn rest(&self) -> Rest {
        self.memory().seen.complete();
        let both_ways = self.begin.repair.looks_both_ways();
        let sections = if both_ways { self.begin.sections.clone() } else { Vec::new() };
        Rest { sections, place: None }
    }

    /// Compares a page of the store's subjects that were not in the export; `None` at the end.
    pub async fn compare_rest(
        &self,
        mut rest: Rest,
    ) -> Result<Option<(Found, Rest)>, ReconcileError> {
        let Some(section) = rest.sections.first().copied() else { return Ok(None) };
        let engine = self.engine();
        let deadline = engine.local_now() + PART_TIMEOUT;
        let mode = crate::domain::decision::Mode::CheckOnly;
        let (call, _) = engine.call(self.begin.app.clone(), mode, deadline);
        let subjects = engine.ledger.subjects(&call, section, rest.place.take()).await?;
        let scanned = subjects.keys.len() as u64;
        let unseen = self.memory().seen.unseen(section, subjects.keys);
        let mut found = Found { facts_compared: scanned, ..Found::default() };
        for keys in unseen.chunks(CLAIMED_AT_ONCE) {
            let differences = self.compare_claims(absent(section, keys)).await?;
            let mut memory = self.memory();
            memory.counts.add(&differences);
            found.counts.add(&differences);
            if self.begin.names {
                let named = Named::default().name(&differences, &mut memory.unnamed);
                found.differences.extend(named);
            }
        }
        rest.place = subjects.next;
        if rest.place.is_none() {
            rest.sections.remove(0);
        }
        Ok(Some((found, rest)))
    }

    /// Ends a complete comparison.
    pub async fn finish(&self) -> Result<(), ReconcileError> {
        if self.begin.repair != Repair::No {
            return self.log_end(ReconcileState::Finished).await;
        }
        // A comparison without repairs is not in the audit log, from which events of others are
        // derived.
        let differences = self.memory().counts.found();
        if differences > 0 {
            let (at, app) = (self.engine().now().await?, self.begin.app.clone());
            let what = EventKind::DriftFound { differences, request_id: String::new() };
            self.engine().event_buffer().record_event(event::Event { at, app: Some(app), what });
        }
        Ok(())
    }

    /// Ends an interrupted comparison. Logs its repairs; to be called when no part is in flight any
    /// more.
    pub async fn cut_off(&self) -> Result<(), ReconcileError> {
        if self.begin.repair == Repair::No {
            Ok(())
        } else {
            self.log_end(ReconcileState::CutOff).await
        }
    }

    /// Logs the end, with the counts so far.
    async fn log_end(&self, state: ReconcileState) -> Result<(), ReconcileError> {
        let unlogged = |error: LedgerError| {
            ReconcileError::Unlogged(DirectoryError::Unavailable(error.to_string()))
        };
        let now = self.engine().now().await.map_err(unlogged)?;
        self.log(now, state).await.map_err(ReconcileError::Unlogged)
    }

    async fn log(&self, at: Timestamp, state: ReconcileState) -> Result<(), DirectoryError> {
        let Begin { app, repair, as_of, sections, .. } = &self.begin;
        let zone = self.service.catalog().zone;
        let request = to_text(&ReconcileRequest {
            app_id: app.to_string(),
            as_of: as_of.map(|at| zone.show(at)),
            mode: match repair {
                Repair::No => ReconcileMode::Compare,
                Repair::Add => ReconcileMode::Import,
                Repair::Both => ReconcileMode::Apply,
            },
            sections: sections.iter().map(|section| section.name().to_owned()).collect(),
        });
        let after = {
            let memory = self.memory();
            let facts_unknown = Some(memory.facts_unknown).filter(|facts| *facts > 0);
            let differences = memory.counts.logged();
            to_text(&ReconcileResult { differences, facts_unknown, state })
        };
        let actor = self.actor.clone();
        self.service.log(at, Action::Reconcile, Some(app), actor, request, after).await
    }

    fn engine(&self) -> &Engine {
        &self.service.0.engine
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock()
    }
}

/// Returns claims that these subjects do not exist.
fn absent(section: Section, keys: &[u64]) -> Vec<ExpectedState> {
    let each = |claim: &dyn Fn(u64) -> ExpectedState| keys.iter().copied().map(claim).collect();
    match section {
        Section::Accounts => vec![ExpectedState::Accounts { users: keys.to_vec(), exist: false }],
        Section::Friends => each(&|user| ExpectedState::Friends { user, friends: Vec::new() }),
        Section::Groups => {
            each(&|group| ExpectedState::Group { group, row: None, members: Vec::new() })
        }
    }
}
