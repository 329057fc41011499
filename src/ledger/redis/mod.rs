//! The Redis ledger: exact facts that many sidecars share.
//!
//! Every operation is one Lua script (`scripts/`) on keys that share a hash tag (`keys`): it reads
//! the limits where the facts are (`limits`), picks their segment by the server's own clock,
//! decides and writes, in one round trip. Here the calls are put together (`work`, `takes`,
//! `releases`, `reading`) and what a script said becomes verdicts (`reply`, `verdict`).
//! Connections, and what is repeated and what never, are `client`'s.
//!
//! Not here: any decision. A cache or clock of this process cannot change one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{join_all, try_join_all};
use tokio::sync::watch;
use tracing::error;

use self::client::Client;
use self::keys::{DOCUMENTS, IDENTITY, PARTS};
use self::options::Options;
use self::reply::{array, bytes, integer, text};
use self::scripts::ScriptId;
use self::store::{PATIENCE, Store};
use self::work::Work;
use super::fingerprint::{Fingerprints, KEY_BYTES};
use super::holdings::{Holders, Holdings};
use super::reconcile::{Claim, Comparison, Difference, Place, Section, Subjects, Tracking};
use super::{Answer, Call, Ledger, LedgerError, Operation, Reading, schedule_codec};
use crate::clock::Clock;
use crate::domain::decision::Subject;
use crate::domain::id::AppId;
use crate::domain::schedule::Schedule;
use crate::domain::time::Timestamp;

pub mod client;
mod generation;
mod holdings;
pub(crate) mod keys;
mod limits;
mod marks;
mod metering;
pub mod options;
mod position;
mod reading;
mod reconcile;
mod releases;
pub(crate) mod reply;
pub mod script;
pub(crate) mod scripts;
mod skew;
pub(crate) mod store;
mod takes;
mod texts;
mod verdict;
mod work;

/// The format of everything that is stored; another one is refused.
const FORMAT: &str = "1";
/// How often it is checked that the store still has its identity.
const IDENTITY_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The servers cannot be used.
    #[error(transparent)]
    Client(#[from] client::OpenError),
    /// The store does not answer.
    #[error("cannot read the store's identity: {0}")]
    Unreadable(LedgerError),
    /// The data was written by another version of the product.
    #[error("the data in Redis has format {0}, and this version reads format {FORMAT}")]
    Foreign(String),
    /// The key of the fingerprints is not what it should be.
    #[error("the key {} does not hold a fingerprint key", String::from_utf8_lossy(IDENTITY))]
    Damaged,
    /// The user may not do what the scripts do.
    #[error("the user may not run {0} on the facts in Redis; extend his ACL rules")]
    Forbidden(String),
    /// The system has no randomness for the fingerprint key.
    #[error("cannot make the store's fingerprint key: {0}")]
    Random(getrandom::Error),
}

impl OpenError {
    /// Whether the same may succeed a while later.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Client(error) => error.may_pass(),
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
}

/// What a store says of itself.
struct Identity {
    now: i64,
    format: String,
    key: String,
    generation: String,
    /// Whether all marks of the generation were written.
    is_marked: bool,
}

impl Redis {
    /// Connects, and makes the store's identity where it has none.
    pub async fn open(options: Options, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let client = Client::open(options, scripts::all()).await?;
        let forbidden = forbidden(&client).await.map_err(OpenError::Unreadable)?;
        if !forbidden.is_empty() {
            return Err(OpenError::Forbidden(forbidden.join(", ")));
        }
        let mut new_key = [0; KEY_BYTES];
        getrandom::fill(&mut new_key).map_err(OpenError::Random)?;
        let identity = identify(&client, &hex(new_key)).await.map_err(OpenError::Unreadable)?;
        if identity.format != FORMAT {
            return Err(OpenError::Foreign(identity.format));
        }
        let key = unhex(&identity.key).ok_or(OpenError::Damaged)?;
        let ids = Fingerprints::new(key);
        let store = Store::new(client, clock, ids, &identity.generation);
        let store = Arc::new(store);
        if !identity.is_marked {
            generation::put_marks(&store).await.map_err(OpenError::Unreadable)?;
        }
        let (fail, failed) = watch::channel(false);
        let watching = tokio::spawn(watch_identity(store.clone(), identity.key, fail));
        let watching_clocks = tokio::spawn(skew::watch_clocks(store.clone()));
        Ok(Self { store, failed, watching, watching_clocks })
    }

    /// Nothing is counted in a store that is not ours any more.
    fn check(&self) -> Result<(), LedgerError> {
        if *self.failed.borrow() {
            return Err(LedgerError::Refused("it is another store now".to_owned()));
        }
        Ok(())
    }

    /// What the directory in the same Redis is reached through.
    pub(crate) fn store(&self) -> Arc<Store> {
        self.store.clone()
    }
}

/// Facts are found by the fingerprint key. Where a failover or a flush has lost it, ours is put
/// back before anybody makes another; where there is another, nothing can be counted any more.
async fn watch_identity(store: Arc<Store>, key: String, fail: watch::Sender<bool>) {
    let mut interval = tokio::time::interval(IDENTITY_CHECK_INTERVAL);
    loop {
        interval.tick().await;
        let Ok(found) = identify(&store.client, &key).await else { continue };
        if found.key != key || found.format != FORMAT {
            error!("the store has another fingerprint key or format; it is another store now");
            // Nobody who waits is gone before us.
            let _ = fail.send(true);
            return;
        }
    }
}

/// What the scripts need and the user may not run. Of a cluster one node is asked: its users are
/// those of the others.
async fn forbidden(client: &Client) -> Result<Vec<String>, LedgerError> {
    let script = ScriptId::Forbidden as usize;
    let value = client.call(script, &[DOCUMENTS.to_vec()], &[], PATIENCE).await?;
    let names = array(value).map(|names| names.into_iter().map(|name| text(bytes(name)?)));
    let names: Option<Option<Vec<_>>> = names.map(Iterator::collect);
    names.flatten().ok_or_else(|| verdict::unreadable("permissions that make no sense"))
}

/// The store's identity; one with `new_key` is made where there is none, unless that is empty.
async fn identify(client: &Client, new_key: &str) -> Result<Identity, LedgerError> {
    let identity = read_identity(client).await?;
    let is_whole = !identity.key.is_empty() && !identity.generation.is_empty();
    if is_whole || new_key.is_empty() {
        return Ok(identity);
    }
    let generation =
        generation::random().map_err(|error| LedgerError::Refused(error.to_string()))?;
    let arguments = [FORMAT, new_key, &generation].map(|text| text.as_bytes().to_vec());
    let script = ScriptId::Identify as usize;
    client.call(script, &[IDENTITY.to_vec()], &arguments, PATIENCE).await?;
    read_identity(client).await
}

async fn read_identity(client: &Client) -> Result<Identity, LedgerError> {
    let script = ScriptId::Identity as usize;
    let value = client.call(script, &[IDENTITY.to_vec()], &[], PATIENCE).await?;
    let read = || {
        let mut parts = array(value)?.into_iter();
        let now = integer(&parts.next()?)?;
        let format = text(bytes(parts.next()?)?)?;
        let key = text(bytes(parts.next()?)?)?;
        let generation = text(bytes(parts.next()?)?)?;
        let is_marked = bytes(parts.next()?)? == b"all";
        Some(Identity { now, format, key, generation, is_marked })
    };
    read().ok_or_else(|| verdict::unreadable("an identity that makes no sense"))
}

fn hex(key: [u8; KEY_BYTES]) -> String {
    format!("{:032x}", u128::from_be_bytes(key))
}

fn unhex(text: &str) -> Option<[u8; KEY_BYTES]> {
    let whole = text.len() == 2 * KEY_BYTES;
    u128::from_str_radix(text, 16).ok().filter(|_| whole).map(u128::to_be_bytes)
}

async fn carry_out(work: &Work<'_>, operation: &Operation) -> Result<Answer, LedgerError> {
    match operation {
        Operation::CreateAccounts { users } => takes::create_accounts(work, users).await,
        Operation::DeleteAccount { user } => releases::delete_account(work, user).await,
        Operation::AddFriends { user, friends, one_way } => {
            takes::add_friends(work, user, friends, *one_way).await
        }
        Operation::RemoveFriends { user, friends, one_way } => {
            releases::remove_friends(work, user, friends, *one_way).await
        }
        Operation::CreateGroup { group, group_type, owner, members, max_members } => {
            let new = takes::New {
                id: group,
                group_type,
                owner: owner.as_ref(),
                members,
                max_members: *max_members,
            };
            takes::create_group(work, &new).await
        }
        Operation::UpdateGroup { group, max_members } => {
            takes::update_group(work, group, *max_members).await
        }
        Operation::JoinGroup { group, users } => takes::join_group(work, group, users).await,
        Operation::LeaveGroup { group, users } => releases::leave_group(work, group, users).await,
        Operation::DissolveGroup { group } => releases::dissolve_group(work, group, false).await,
    }
}

/// Whether an operation may take several steps, which are carried through even if the caller goes
/// away.
fn may_take_steps(operation: &Operation) -> bool {
    let many = |users: usize| users > takes::SUBJECTS_MAX;
    match operation {
        // Before a creation, a group of the same id may have to be dissolved.
        Operation::DissolveGroup { .. }
        | Operation::DeleteAccount { .. }
        | Operation::CreateGroup { .. } => true,
        Operation::CreateAccounts { users }
        | Operation::JoinGroup { users, .. }
        | Operation::LeaveGroup { users, .. } => many(users.len()),
        Operation::AddFriends { friends, .. } | Operation::RemoveFriends { friends, .. } => {
            many(friends.len())
        }
        Operation::UpdateGroup { .. } => false,
    }
}

#[async_trait]
impl Ledger for Redis {
    async fn apply(&self, call: Call, operation: Operation) -> Result<Answer, LedgerError> {
        self.check()?;
        if !may_take_steps(&operation) {
            return carry_out(&Work::new(&self.store, &call), &operation).await;
        }
        let store = self.store.clone();
        let steps = async move { carry_out(&Work::new(&store, &call), &operation).await };
        let cut_off =
            |error| LedgerError::Unavailable(format!("the operation was cut off: {error}"));
        tokio::spawn(steps).await.map_err(cut_off)?
    }

    async fn read(&self, call: Call, subject: Subject) -> Result<Reading, LedgerError> {
        self.check()?;
        reading::read(&Work::new(&self.store, &call), &subject).await
    }

    /// The limits lie with each part; the next decision of each goes by them once this answers.
    /// What is there already is not written again, so that a sidecar starts without memory too.
    /// Every part is tried, whatever fails with another one.
    async fn put_schedule(
        &self,
        app: &AppId,
        revision: u64,
        schedule: &Schedule,
    ) -> Result<(), LedgerError> {
        self.check()?;
        let keys = keys::Keys::new(self.store.ids, app);
        let revision = revision.to_string().into_bytes();
        let encoded = schedule_codec::encode_schedule(schedule);
        let put = |part| {
            let keys = [keys.limits(part)];
            let wanted = [revision.clone(), encoded.clone()];
            let now = self.store.clock.now();
            let lines = limits::Lines::new(part, schedule, now);
            let past = lines.past_segments.len().to_string().into_bytes();
            let (line, before) = (lines.line.into_bytes(), lines.past.into_bytes());
            let mut arguments = vec![revision.clone(), line, encoded.clone(), before, past];
            let segments = lines.past_segments.iter().chain(lines.later_segments);
            arguments.extend(segments.map(schedule_codec::encode_limits));
            async move {
                let has = self.store.raw(ScriptId::HasSchedule, &keys, &wanted, PATIENCE).await?;
                if integer(&has) != Some(1) {
                    self.store.raw(ScriptId::PutSchedule, &keys, &arguments, PATIENCE).await?;
                }
                Ok(())
            }
        };
        join_all(PARTS.map(put)).await.into_iter().collect()
    }

    async fn schedule_revision(&self, app: &AppId) -> Result<u64, LedgerError> {
        let keys = keys::Keys::new(self.store.ids, app);
        let revision_in = |part| {
            let keys = [keys.limits(part)];
            async move {
                let found = self.store.raw(ScriptId::ScheduleRevision, &keys, &[], PATIENCE).await;
                let revision = found.map(|found| integer(&found).map(u64::try_from));
                revision.map(|revision| revision.and_then(Result::ok).unwrap_or(0))
            }
        };
        let revisions = try_join_all(PARTS.map(revision_in)).await?;
        Ok(revisions.into_iter().min().unwrap_or(0))
    }

    fn fingerprints(&self) -> Fingerprints {
        self.store.ids
    }

    async fn compare(
        &self,
        comparison: &Comparison,
        claims: Vec<Claim>,
    ) -> Result<Vec<Difference>, LedgerError> {
        self.check()?;
        reconcile::compare(&self.store, comparison, claims).await
    }

    async fn subjects(
        &self,
        call: &Call,
        section: Section,
        from: Option<Place>,
    ) -> Result<Subjects, LedgerError> {
        self.check()?;
        reconcile::subjects(&self.store, call, section, from).await
    }

    async fn holdings(
        &self,
        call: &Call,
        of: Holders,
        from: Option<Place>,
    ) -> Result<Holdings, LedgerError> {
        self.check()?;
        holdings::holdings(&self.store, call, of, from.as_ref()).await
    }

    async fn track(&self, app: &AppId, keep_for: Duration) -> Result<Tracking, LedgerError> {
        self.check()?;
        reconcile::track(&self.store, app, keep_for).await
    }

    async fn tracking(&self, app: &AppId) -> Result<Option<Tracking>, LedgerError> {
        self.check()?;
        reconcile::tracking(&self.store, app).await
    }

    fn keeps_order(&self) -> bool {
        false
    }

    async fn now(&self) -> Result<Timestamp, LedgerError> {
        let identity = read_identity(&self.store.client).await?;
        Ok(Timestamp::from_millis(identity.now))
    }

    fn servers(&self) -> Vec<(String, bool)> {
        self.store.client.nodes()
    }

    fn clock_skew(&self) -> Vec<(String, f64)> {
        let readings = self.store.clock_readings();
        let seconds = |ahead_ms: i64| Duration::from_millis(ahead_ms.unsigned_abs()).as_secs_f64();
        readings.iter().map(|it| (it.server.clone(), seconds(it.ahead_ms))).collect()
    }

    async fn failed(&self) {
        let mut failed = self.failed.clone();
        if failed.wait_for(|failed| *failed).await.is_err() {
            // The watch has ended with the store, which has not failed.
            std::future::pending::<()>().await;
        }
    }

    async fn close(&self) {
        self.watching.abort();
        self.watching_clocks.abort();
        self.store.client.close().await;
    }
}
