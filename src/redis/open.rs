//! Opens the store in Redis, and watches it until it is closed.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::client::{self, Client};
use super::identity::{Known, Match};
use super::options::Options;
use super::seen::Seen;
use super::standing::Standing;
use super::state_file::{Kept, StateFile, StateFileError, StoreMemory};
use super::store::{Store, UNWATCHED_CALL_TIMEOUT};
use super::{acceptance, checks, commands, identity, keys, known, scripts, skew};
use crate::clock::Clock;
use crate::store::fingerprint::KEY_BYTES;
use crate::store::{
    AcceptError, Accepted, Fingerprints, GenerationGuard, Identified, Loss, StoreError,
    StoreIdentity,
};

/// The reason why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The client cannot use the servers.
    #[error(transparent)]
    Client(#[from] client::OpenError),
    /// The store does not answer.
    #[error("cannot read the store's identity: {0}")]
    Unreadable(StoreError),
    /// The data was written by another version of the product.
    #[error("the data in Redis has format {0}, and this version reads formats 1 and 2")]
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
    pub(super) fn of_script(error: StoreError, pattern: &'static str) -> Self {
        let (StoreError::Refused(why) | StoreError::Unconfirmed(why)) = &error else {
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
            Self::Unreadable(_) => true,
            _ => false,
        }
    }
}

/// An open store in Redis, with the tasks that watch it.
pub struct RedisStore {
    calls: Arc<Store>,
    failed: CancellationToken,
    watching: JoinHandle<()>,
    watching_clocks: JoinHandle<()>,
    /// The directory of the saved observations and the task that writes them, if configured.
    saving: Option<(PathBuf, JoinHandle<()>)>,
}

impl RedisStore {
    /// Connects to the store in `memory`, or to any store if it names none; creates the store's
    /// identity if it has none. A store that is another one, or that has lost its identity, is
    /// opened as lost.
    pub async fn open(
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
        let calls = Arc::new(Store::new(client, clock, Fingerprints::new(key), standing));
        calls.check_marks().await;
        let failed = CancellationToken::new();
        let watching = tokio::spawn(checks::watch_store(calls.clone(), failed.clone()));
        let watching_clocks = tokio::spawn(skew::watch_clocks(calls.clone()));
        let saving = remember(&calls, state_dir).await;
        Ok(Self { calls, failed, watching, watching_clocks, saving })
    }

    /// Returns the part that calls scripts.
    pub(crate) fn calls(&self) -> Arc<Store> {
        self.calls.clone()
    }

    /// Waits until this process cannot continue with the store.
    pub async fn failed(&self) {
        self.failed.cancelled().await;
    }

    /// Waits for the calls in flight, closes all connections, and saves the observations.
    pub async fn close(&self) {
        self.watching.abort();
        self.watching_clocks.abort();
        self.calls.client.close().await;
        self.calls.known.log_losses();
        if let Some((directory, saving)) = &self.saving {
            saving.abort();
            known::Saver::new(self.calls.known.clone(), directory.clone()).save();
        }
    }
}

#[async_trait]
impl Identified for RedisStore {
    fn identity(&self) -> StoreIdentity {
        let standing = &self.calls.standing;
        let Known { id, generation, .. } = standing.known();
        StoreIdentity { id, generation, loss: standing.loss() }
    }

    fn is_lost(&self) -> bool {
        self.calls.standing.is_lost()
    }

    fn identity_changes(&self) -> Option<watch::Receiver<u64>> {
        Some(self.calls.standing.changes())
    }

    async fn keep_generation(&self) -> GenerationGuard {
        let kept = self.calls.standing.using.clone().read_owned().await;
        let generation = self.calls.standing.known().generation;
        GenerationGuard::new(generation, kept)
    }

    async fn begin_acceptance(
        &self,
        request_id: &str,
        found_id: &str,
    ) -> Result<Accepted, AcceptError> {
        acceptance::begin(&self.calls, request_id, found_id).await
    }

    async fn finish_acceptance(&self, _accepted: &Accepted) -> Result<(), AcceptError> {
        acceptance::finish(&self.calls).await
    }

    fn abandon_acceptance(&self, why: &str) {
        self.calls.standing.abandon_acceptance(why);
    }
}

/// Compares the store with what was observed of it before the start, and begins to save
/// observations.
async fn remember(store: &Store, state_dir: Option<PathBuf>) -> Option<(PathBuf, JoinHandle<()>)> {
    let directory = state_dir?;
    let generation = store.generation();
    known::load(&store.known, &String::from_utf8_lossy(&generation), &directory);
    store.client.compare(UNWATCHED_CALL_TIMEOUT).await;
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
    if !found.is_empty() && !identity::FORMATS.contains(&found.format.as_str()) {
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
