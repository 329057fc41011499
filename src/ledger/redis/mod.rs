//! The Redis ledger: exact facts that many sidecars share.
//!
//! Every operation is one Lua script on keys that share a hash tag. In one
//! round trip the script reads the limits, which are stored beside the facts (`limits`), selects
//! their segment by the server's own clock, decides and writes. This module builds the calls
//! (`work`, `takes`, `releases`, `usage`) and turns the replies of the scripts into item results
//! (`reply`, `verdict`). The scripts, the keys and the connections belong to [`crate::redis`], and
//! so does the decision which calls are sent again and which never are.
//!
//! Not here: any decision. No cache or clock of this process can change one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use self::coalesce::Queues;
use self::shared::Shared;
use self::work::OperationRun;
use super::crossings::Crossings;
use super::holdings::{Holdings, UsageScope};
use super::holds::{EndedHold, Ending};
use super::reconcile::{
    Comparison, Difference, ExpectedState, PageToken, Section, Subjects, Tracking,
};
use super::{Answer, Call, Ledger, LedgerError, Operation, Reading, TypesInUse};
use crate::clock::Clock;
use crate::domain::decision::Subject;
use crate::domain::id::{AppId, Name};
use crate::domain::schedule::Schedule;
use crate::domain::time::Timestamp;
use crate::redis::client::CallError;
use crate::redis::keys::{self, Keys, Part};
use crate::redis::options::Options;
use crate::redis::{OpenError, RedisStore, StoreMemory, identity};
use crate::store::fair::Load;
use crate::store::loss::LostWrites;
use crate::store::{
    AcceptError, Accepted, Fingerprints, GenerationGuard, Identified, ServerState, StoreError,
    StoreIdentity,
};

mod apply;
pub mod callback_notes;
mod catalog_args;
mod group_types;
mod holdings;
mod holds;
mod limits;
mod logins;
mod metering;
mod position;
mod reconcile;
mod releases;
mod replace;
mod usage;
// Public for the fuzz targets only.
mod chunked;
mod coalesce;
#[doc(hidden)]
pub mod reply;
mod schedules;
mod shared;
mod takes;
mod unanswered;
mod unknown_apps;
mod verdict;
mod work;

/// The Redis ledger.
pub struct Redis {
    redis: RedisStore,
    shared: Arc<Shared>,
}

impl Redis {
    /// Connects, and creates the store's identity if it has none. Saves no state.
    pub async fn open(options: Options, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        Self::open_known(options, clock, StoreMemory::default()).await
    }

    /// Connects to the store in `memory`, or to any store if it names none: see
    /// [`RedisStore::open`].
    pub async fn open_known(
        options: Options,
        clock: Arc<dyn Clock>,
        memory: StoreMemory,
    ) -> Result<Self, OpenError> {
        let coalescing = Queues::new(options.subjects_in_flight_max, options.coalescing);
        // On the heap: it is large, and every caller's future would contain it.
        let redis = Box::pin(RedisStore::open(options, clock, memory)).await?;
        let shared = Arc::new(Shared::new(redis.calls(), coalescing));
        // The first creations then need not record their types; without this, each does so itself.
        let _ = group_types::in_use(&shared).await;
        Ok(Self { redis, shared })
    }

    /// Returns the store, for the directory and the events in the same Redis.
    #[must_use]
    pub fn store(&self) -> &RedisStore {
        &self.redis
    }
}

impl From<CallError> for LedgerError {
    fn from(error: CallError) -> Self {
        StoreError::from(error).into()
    }
}

#[async_trait]
impl Identified for Redis {
    fn identity(&self) -> StoreIdentity {
        self.redis.identity()
    }

    fn is_lost(&self) -> bool {
        self.redis.is_lost()
    }

    fn identity_changes(&self) -> Option<watch::Receiver<u64>> {
        self.redis.identity_changes()
    }

    async fn keep_generation(&self) -> GenerationGuard {
        self.redis.keep_generation().await
    }

    async fn begin_acceptance(
        &self,
        request_id: &str,
        found_id: &str,
    ) -> Result<Accepted, AcceptError> {
        self.redis.begin_acceptance(request_id, found_id).await
    }

    async fn finish_acceptance(&self, accepted: &Accepted) -> Result<(), AcceptError> {
        self.redis.finish_acceptance(accepted).await
    }

    fn abandon_acceptance(&self, why: &str) {
        self.redis.abandon_acceptance(why);
    }
}

#[async_trait]
impl Ledger for Redis {
    async fn apply(&self, call: Call, operation: Operation) -> Result<Answer, LedgerError> {
        apply::apply(&self.shared, call, operation).await
    }

    async fn end_hold(&self, call: Call, ending: Ending) -> Result<Vec<EndedHold>, LedgerError> {
        holds::end(&self.shared, call, ending).await
    }

    async fn sweep_holds(&self, call: Call) -> Result<u64, LedgerError> {
        holds::sweep(&self.shared, &call).await
    }

    async fn read(&self, call: Call, subject: Subject) -> Result<Reading, LedgerError> {
        usage::read(&OperationRun::new(&self.shared, &call), &subject).await
    }

    /// Writes the limits to each part of the app; once this returns, the next decision of each part
    /// uses them. What a part has already is not written again, so that a sidecar also starts while
    /// the server is out of memory. Every part is tried, even if another one fails.
    async fn put_schedule(
        &self,
        app: &AppId,
        revision: u64,
        schedule: &Schedule,
    ) -> Result<(), LedgerError> {
        schedules::put(&self.shared.store, app, (revision, schedule), false).await
    }

    async fn put_new_schedule(
        &self,
        app: &AppId,
        revision: u64,
        schedule: &Schedule,
    ) -> Result<(), LedgerError> {
        schedules::put(&self.shared.store, app, (revision, schedule), true).await
    }

    async fn review_unknown_apps(&self, empty_for: Duration) -> Result<u64, LedgerError> {
        unknown_apps::review(&self.shared.store, empty_for).await
    }

    async fn schedule_revision(&self, app: &AppId) -> Result<u64, LedgerError> {
        let revisions: Result<Vec<_>, _> =
            schedules::revisions(&self.shared.store, app, false).await.into_iter().collect();
        Ok(revisions?.into_iter().min().unwrap_or(0))
    }

    async fn latest_revision(&self, app: &AppId) -> Result<u64, LedgerError> {
        let mut latest = 0;
        for revision in schedules::revisions(&self.shared.store, app, true).await {
            match revision {
                Ok(revision) => latest = latest.max(revision),
                Err(error @ LedgerError::Store(StoreError::StoreLost(_))) => return Err(error),
                // A part that does not answer is skipped: the others hold the revision too.
                Err(_) => {}
            }
        }
        Ok(latest)
    }

    fn fingerprints(&self) -> Fingerprints {
        self.shared.store.ids
    }

    async fn compare(
        &self,
        comparison: &Comparison,
        claims: Vec<ExpectedState>,
    ) -> Result<Vec<Difference>, LedgerError> {
        reconcile::compare(&self.shared, comparison, claims).await
    }

    async fn subjects(
        &self,
        call: &Call,
        section: Section,
        from: Option<PageToken>,
    ) -> Result<Subjects, LedgerError> {
        reconcile::subjects(&self.shared, call, section, from).await
    }

    async fn holdings(
        &self,
        call: &Call,
        of: UsageScope,
        from: Option<PageToken>,
    ) -> Result<Holdings, LedgerError> {
        holdings::holdings(&self.shared.store, call, of, from.as_ref()).await
    }

    async fn track(&self, app: &AppId, keep_for: Duration) -> Result<Tracking, LedgerError> {
        reconcile::track(&self.shared.store, app, keep_for).await
    }

    async fn tracking(&self, app: &AppId) -> Result<Option<Tracking>, LedgerError> {
        reconcile::tracking(&self.shared.store, app).await
    }

    async fn types_in_use(&self) -> Result<TypesInUse, LedgerError> {
        group_types::in_use(&self.shared).await
    }

    async fn recheck_types(
        &self,
        wanted: Option<&BTreeSet<Name>>,
    ) -> Result<BTreeSet<Name>, LedgerError> {
        group_types::recheck(&self.shared, wanted).await
    }

    fn keeps_order(&self) -> bool {
        false
    }

    async fn now(&self) -> Result<Timestamp, LedgerError> {
        let identity = identity::read(&self.shared.store.client).await?;
        Ok(Timestamp::from_millis(identity.now))
    }

    async fn next_loss(&self) -> LostWrites {
        self.shared.store.known.next_loss().await
    }

    async fn next_crossings(&self) -> Crossings {
        unanswered::next(&self.shared).await
    }

    fn servers(&self) -> Vec<ServerState> {
        self.shared.store.client.nodes()
    }

    fn loads(&self) -> Vec<(String, Load)> {
        let Shared { store, coalescing, .. } = &*self.shared;
        let mut loads = store.client.loads();
        for (queue, waiting) in coalescing.waiting() {
            let key = Keys::of_number(store.ids, queue.app).limits(queue.part);
            let address = store.client.address_of(&key);
            if let Some((_, load)) = loads.iter_mut().find(|(it, _)| Some(it) == address.as_ref()) {
                load.waiting += waiting;
            }
        }
        loads
    }

    fn is_absent(&self, app: &AppId, parts: &[Part]) -> bool {
        let keys = Keys::new(self.shared.store.ids, app);
        parts.iter().any(|part| self.shared.store.client.is_absent(&keys.limits(*part)))
    }

    fn is_directory_absent(&self) -> bool {
        self.shared.store.client.is_absent(keys::DOCUMENTS)
    }

    fn clock_skews(&self) -> Vec<(String, f64)> {
        let readings = self.shared.store.clock_readings();
        let seconds = |ahead_ms: i64| Duration::from_millis(ahead_ms.unsigned_abs()).as_secs_f64();
        readings.iter().map(|it| (it.server.clone(), seconds(it.ahead_ms))).collect()
    }

    async fn failed(&self) {
        self.redis.failed().await;
    }

    async fn close(&self) {
        self.redis.close().await;
    }
}
