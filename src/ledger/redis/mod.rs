//! The Redis ledger: exact facts that many sidecars share.
//!
//! Every operation is one Lua script (`scripts/`) on keys that share a hash tag (`keys`). In one
//! round trip the script reads the limits, which are stored beside the facts (`limits`), selects
//! their segment by the server's own clock, decides and writes. This module builds the calls
//! (`work`, `takes`, `releases`, `reading`) and turns the replies of the scripts into item results
//! (`reply`, `verdict`). Connections, and which calls are sent again and which never are, belong to
//! `client`.
//!
//! Not here: any decision. No cache or clock of this process can change one.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tracing::warn;

use self::work::OperationRun;
use super::crossings::Crossings;
use super::holdings::{Holdings, UsageScope};
use super::reconcile::{
    Comparison, Difference, ExpectedState, PageToken, Section, Subjects, Tracking,
};
use super::{Answer, Call, Ledger, LedgerError, Operation, Reading, TypesInUse};
use crate::clock::Clock;
use crate::domain::decision::Subject;
use crate::domain::id::{AppId, Name};
use crate::domain::schedule::Schedule;
use crate::domain::time::Timestamp;
use crate::redis::client::{self, Client};
use crate::redis::identity::{Known, Match};
use crate::redis::keys::Keys;
use crate::redis::options::Options;
use crate::redis::seen::Seen;
use crate::redis::standing::Standing;
use crate::redis::state_file::{Kept, StateFile};
use crate::redis::store::{PATIENCE, Store};
use crate::redis::{
    StateFileError, StoreMemory, acceptance, checks, commands, identity, keys, known, scripts, skew,
};
use crate::store::fair::Load;
use crate::store::fingerprint::KEY_BYTES;
use crate::store::loss::LostWrites;
use crate::store::{
    AcceptError, Accepted, Fingerprints, GenerationGuard, Identified, Loss, ServerState,
    StoreIdentity,
};

mod apply;
pub(crate) mod group_types;
mod holdings;
mod limits;
mod metering;
mod position;
mod reconcile;
mod releases;
mod usage;
// Public for the fuzz targets only.
pub(crate) mod catalog_args;
#[doc(hidden)]
pub mod reply;
mod schedules;
mod takes;
pub(crate) mod unanswered;
pub(crate) mod unknown_apps;
pub(crate) mod verdict;
mod work;

/// The reason why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The client cannot use the servers.
    #[error(transparent)]
    Client(#[from] client::OpenError),
    /// The store does not answer.
    #[error("cannot read the store's identity: {0}")]
    Unreadable(LedgerError),
    /// The data was written by another version of the product.
    #[error("the data in Redis has format {0}, and this version reads format 1")]
    Foreign(String),
    /// The stored fingerprint key has the wrong form.
    #[error("the key imquota:identity does not hold a fingerprint key")]
    Damaged,
    /// The user lacks the permission for commands that the scripts run.
    #[error("the user may not run {0} on the facts in Redis; extend their ACL rules")]
    Forbidden(String),
    /// The user lacks the permission for keys of this pattern.
    #[error("the user may not access the keys {pattern} in Redis: {why}; extend their ACL rules")]
    ForbiddenKeys {
        /// The key pattern that the ACL rules lack behind `~`.
        pattern: &'static str,
        /// The server's reply.
        why: String,
    },
    /// The server lacks commands that the scripts need.
    #[error(
        "Redis has no command {0}, which imquota needs; allow it under its own name \
         (rename-command)"
    )]
    NoCommand(String),
    /// The system has no randomness for the fingerprint key.
    #[error("cannot make the store's fingerprint key: {0}")]
    Random(getrandom::Error),
    /// The saved state of the store cannot be read or written.
    #[error("the state of the store cannot be used: {0}")]
    State(#[from] StateFileError),
}

impl OpenError {
    /// Maps the failure of a script on keys of that pattern, run at the start.
    pub(crate) fn of_script(error: LedgerError, pattern: &'static str) -> Self {
        let (LedgerError::Refused(why) | LedgerError::Unconfirmed(why)) = &error else {
            return Self::Unreadable(error);
        };
        if let Some(command) = client::reply::unknown_command(why) {
            Self::NoCommand(command.to_uppercase())
        } else if let Some(command) = client::reply::forbidden_command(why) {
            Self::Forbidden(command.to_uppercase())
        } else if why.contains("NOPERM") {
            Self::ForbiddenKeys { pattern, why: why.clone() }
        } else {
            Self::Unreadable(error)
        }
    }

    /// Returns whether the error is transient: opening the store again later may succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Client(error) => error.is_transient(),
            Self::Unreadable(error) => error.can_retry(),
            _ => false,
        }
    }
}

/// The Redis ledger.
pub struct Redis {
    store: Arc<Store>,
    failed: watch::Receiver<bool>,
    watching: tokio::task::JoinHandle<()>,
    watching_clocks: tokio::task::JoinHandle<()>,
    /// The directory of the saved observations and the task that writes them, if configured.
    saving: Option<(PathBuf, tokio::task::JoinHandle<()>)>,
}

impl Redis {
    /// Connects, and creates the store's identity if it has none. Saves no state.
    pub async fn open(options: Options, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        Self::open_known(options, clock, StoreMemory::default()).await
    }

    /// Connects to the store in `memory`, or to any store if it names none. A store that is another
    /// one, or that has lost its identity, is opened as lost.
    pub async fn open_known(
        options: Options,
        clock: Arc<dyn Clock>,
        memory: StoreMemory,
    ) -> Result<Self, OpenError> {
        let file = memory.directory.as_deref().map(StateFile::new);
        let kept = file.as_ref().map(StateFile::load).transpose()?.flatten();
        let state_dir = memory.directory.clone();
        let client = Client::open(options, scripts::all()).await?;
        commands::check(&client).await?;
        let mut new_key = [0; KEY_BYTES];
        getrandom::fill(&mut new_key).map_err(OpenError::Random)?;
        let recognized = recognize(&client, kept, &memory, &identity::key_text(new_key)).await?;
        let Recognized { known, seen, lost } = recognized;
        let key = identity::key_bytes(&known.key).ok_or(OpenError::Damaged)?;
        if let Some(file) = file.as_ref().filter(|_| lost.is_none()) {
            keep(file, &known, &seen, memory.is_required)?;
        }
        let loss = lost.map(|why| Loss { why, since: clock.now() });
        let standing = Standing::new(known, seen, file, loss);
        let store = Store::new(client, clock, Fingerprints::new(key), standing);
        let store = Arc::new(store);
        store.check_marks().await;
        // The first creations then need not record their types; without this, each does so itself.
        let _ = group_types::in_use(&store).await;
        let (fail, failed) = watch::channel(false);
        let watching = tokio::spawn(checks::watch_store(store.clone(), fail));
        let watching_clocks = tokio::spawn(skew::watch_clocks(store.clone()));
        let saving = remember(&store, state_dir).await;
        Ok(Self { store, failed, watching, watching_clocks, saving })
    }

    /// The access to this Redis that the directory shares.
    pub(crate) fn store(&self) -> Arc<Store> {
        self.store.clone()
    }
}

/// Compares the store with what was observed of it before the start, and begins to save
/// observations.
async fn remember(
    store: &Store,
    state_dir: Option<PathBuf>,
) -> Option<(PathBuf, tokio::task::JoinHandle<()>)> {
    let directory = state_dir?;
    let generation = store.generation();
    known::load(&store.known, &String::from_utf8_lossy(&generation), &directory);
    store.client.compare(PATIENCE).await;
    let saver = known::Saver::new(store.known.clone(), directory.clone());
    Some((directory, tokio::spawn(saver.run())))
}

/// A store that was found, compared with the state that this process had saved of it.
struct Recognized {
    known: Known,
    seen: Seen,
    /// The reason why the store is lost, if it is.
    lost: Option<String>,
}

/// Compares the store with the saved state. If no state is saved and any store is accepted, creates
/// the missing parts of the store's identity.
async fn recognize(
    client: &Client,
    kept: Option<Kept>,
    memory: &StoreMemory,
    new_key: &str,
) -> Result<Recognized, OpenError> {
    let unreadable = |error| OpenError::of_script(error, keys::IDENTITY_PATTERN);
    let mut found = identity::read(client).await.map_err(unreadable)?;
    if !found.is_empty() && found.format != identity::FORMAT {
        return Err(OpenError::Foreign(found.format));
    }
    let only = memory.store_id.as_deref();
    let of_another = |kept: &Kept| only.is_some_and(|only| only != kept.known.id.as_str());
    if let Some(Kept { known, .. }) = kept.as_ref().filter(|kept| of_another(kept)) {
        warn!(store_id = known.id, "store state ignored: --store-id names another store");
    }
    let kept = kept.filter(|kept| !of_another(kept));
    if kept.is_none() && only.is_none() && (found.key.is_empty() || found.generation.is_empty()) {
        found = identity::create_missing(client, new_key).await.map_err(unreadable)?;
    }
    let Kept { known, seen, lost } = kept.unwrap_or_else(|| {
        let id = only.map_or_else(|| found.id.clone(), str::to_owned);
        let key = new_key.to_owned();
        let known = Known { id, generation: String::new(), previous: Vec::new(), key };
        Kept { known, seen: Seen::default(), lost: None }
    });
    let (known, seen, lost) = match known.compare(&found) {
        Match::Lost(why) => (known, seen, Some(why)),
        Match::Same => (found.known(), seen, lost),
        Match::Descends | Match::OtherKey => (found.known(), Seen::default(), None),
    };
    if lost.is_none() && found.is_marked {
        seen.insert_all();
    }
    Ok(Recognized { known, seen, lost })
}

fn keep(
    file: &StateFile,
    known: &Known,
    seen: &Seen,
    is_required: bool,
) -> Result<(), StateFileError> {
    match file.save(known, seen, None) {
        Err(error) if !is_required => {
            warn!(%error, "store state not saved: a restart cannot detect an emptied store");
            Ok(())
        }
        kept => kept,
    }
}

#[async_trait]
impl Identified for Redis {
    fn identity(&self) -> StoreIdentity {
        let standing = &self.store.standing;
        let Known { id, generation, .. } = standing.known();
        StoreIdentity { id, generation, loss: standing.loss() }
    }

    fn is_lost(&self) -> bool {
        self.store.standing.is_lost()
    }

    fn identity_changes(&self) -> Option<watch::Receiver<u64>> {
        Some(self.store.standing.changes())
    }

    async fn keep_generation(&self) -> GenerationGuard {
        let kept = self.store.standing.using.clone().read_owned().await;
        let generation = self.store.standing.known().generation;
        GenerationGuard::new(generation, kept)
    }

    async fn begin_acceptance(
        &self,
        request_id: &str,
        found_id: &str,
    ) -> Result<Accepted, AcceptError> {
        acceptance::begin(&self.store, request_id, found_id).await
    }

    async fn finish_acceptance(&self, _accepted: &Accepted) -> Result<(), AcceptError> {
        acceptance::finish(&self.store).await
    }

    fn abandon_acceptance(&self, why: &str) {
        self.store.standing.abandon_acceptance(why);
    }
}

#[async_trait]
impl Ledger for Redis {
    async fn apply(&self, call: Call, operation: Operation) -> Result<Answer, LedgerError> {
        apply::apply(&self.store, call, operation).await
    }

    async fn read(&self, call: Call, subject: Subject) -> Result<Reading, LedgerError> {
        usage::read(&OperationRun::new(&self.store, &call), &subject).await
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
        schedules::put(&self.store, app, revision, schedule).await
    }

    async fn review_unknown_apps(&self, empty_for: Duration) -> Result<u64, LedgerError> {
        unknown_apps::review(&self.store, empty_for).await
    }

    async fn schedule_revision(&self, app: &AppId) -> Result<u64, LedgerError> {
        let revisions: Result<Vec<_>, _> =
            schedules::revisions(&self.store, app, false).await.into_iter().collect();
        Ok(revisions?.into_iter().min().unwrap_or(0))
    }

    async fn latest_revision(&self, app: &AppId) -> Result<u64, LedgerError> {
        let mut latest = 0;
        for revision in schedules::revisions(&self.store, app, true).await {
            match revision {
                Ok(revision) => latest = latest.max(revision),
                Err(error @ LedgerError::StoreLost(_)) => return Err(error),
                // A part that does not answer is skipped: the others hold the revision too.
                Err(_) => {}
            }
        }
        Ok(latest)
    }

    fn fingerprints(&self) -> Fingerprints {
        self.store.ids
    }

    async fn compare(
        &self,
        comparison: &Comparison,
        claims: Vec<ExpectedState>,
    ) -> Result<Vec<Difference>, LedgerError> {
        reconcile::compare(&self.store, comparison, claims).await
    }

    async fn subjects(
        &self,
        call: &Call,
        section: Section,
        from: Option<PageToken>,
    ) -> Result<Subjects, LedgerError> {
        reconcile::subjects(&self.store, call, section, from).await
    }

    async fn holdings(
        &self,
        call: &Call,
        of: UsageScope,
        from: Option<PageToken>,
    ) -> Result<Holdings, LedgerError> {
        holdings::holdings(&self.store, call, of, from.as_ref()).await
    }

    async fn track(&self, app: &AppId, keep_for: Duration) -> Result<Tracking, LedgerError> {
        reconcile::track(&self.store, app, keep_for).await
    }

    async fn tracking(&self, app: &AppId) -> Result<Option<Tracking>, LedgerError> {
        reconcile::tracking(&self.store, app).await
    }

    async fn types_in_use(&self) -> Result<TypesInUse, LedgerError> {
        group_types::in_use(&self.store).await
    }

    async fn recheck_types(
        &self,
        wanted: Option<&BTreeSet<Name>>,
    ) -> Result<BTreeSet<Name>, LedgerError> {
        group_types::recheck(&self.store, wanted).await
    }

    fn keeps_order(&self) -> bool {
        false
    }

    async fn now(&self) -> Result<Timestamp, LedgerError> {
        let identity = identity::read(&self.store.client).await?;
        Ok(Timestamp::from_millis(identity.now))
    }

    async fn next_loss(&self) -> LostWrites {
        self.store.known.next_loss().await
    }

    async fn next_crossings(&self) -> Crossings {
        unanswered::next(&self.store).await
    }

    fn servers(&self) -> Vec<ServerState> {
        self.store.client.nodes()
    }

    fn loads(&self) -> Vec<(String, Load)> {
        self.store.client.loads()
    }

    fn is_absent(&self, app: &AppId, operation: &Operation) -> bool {
        let keys = Keys::new(self.store.ids, app);
        let mut parts = keys::parts_of(operation).iter();
        parts.any(|part| self.store.client.is_absent(&keys.limits(*part)))
    }

    fn is_directory_absent(&self) -> bool {
        self.store.client.is_absent(keys::DOCUMENTS)
    }

    fn clock_skews(&self) -> Vec<(String, f64)> {
        let readings = self.store.clock_readings();
        let seconds = |ahead_ms: i64| Duration::from_millis(ahead_ms.unsigned_abs()).as_secs_f64();
        readings.iter().map(|it| (it.server.clone(), seconds(it.ahead_ms))).collect()
    }

    async fn failed(&self) {
        let mut failed = self.failed.clone();
        if failed.wait_for(|failed| *failed).await.is_err() {
            // The sender was dropped with the store, which has not failed.
            std::future::pending::<()>().await;
        }
    }

    async fn close(&self) {
        self.watching.abort();
        self.watching_clocks.abort();
        self.store.client.close().await;
        self.store.known.log_losses();
        if let Some((directory, saving)) = &self.saving {
            saving.abort();
            known::Saver::new(self.store.known.clone(), directory.clone()).save();
        }
    }
}
