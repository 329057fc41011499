//! The Redis ledger: exact facts that many sidecars share.
//!
//! Every operation is one Lua script (`scripts/`) on keys that share a hash tag (`keys`): it reads
//! the limits where the facts are (`limits`), picks their segment by the server's own clock,
//! decides and writes, in one round trip. Here the calls are put together (`takes`, `releases`,
//! `reading`) and what a script said becomes verdicts (`reply`, `verdict`). Connections, and what
//! is repeated and what never, are `client`'s.
//!
//! Not here: any decision. A cache or clock of this process cannot change one.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;
use tracing::error;

use self::client::Client;
use self::keys::{IDENTITY, PARTS};
use self::options::Options;
use self::reply::{array, bytes, integer, text};
use self::scripts::ScriptId;
use self::store::{PATIENCE, Store};
use super::fingerprint::{Fingerprints, KEY_BYTES};
use super::{Answer, Call, Ledger, LedgerError, Operation, Reading, schedule_codec};
use crate::clock::Clock;
use crate::domain::decision::Subject;
use crate::domain::id::AppId;
use crate::domain::schedule::Schedule;
use crate::domain::time::Timestamp;

pub mod client;
pub(crate) mod keys;
mod limits;
pub mod options;
mod reading;
mod releases;
pub(crate) mod reply;
pub mod script;
pub(crate) mod scripts;
pub(crate) mod store;
mod takes;
mod verdict;

/// The format of everything that is stored; another one is refused.
const FORMAT: &str = "1";
/// How often it is checked that the store still has its identity.
const IDENTITY_CHECK_INTERVAL: std::time::Duration = std::time::Duration::from_secs(1);

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
    /// The system has no randomness for the fingerprint key.
    #[error("cannot make the store's fingerprint key: {0}")]
    Random(getrandom::Error),
}

/// The Redis ledger.
pub struct Redis {
    store: Arc<Store>,
    failed: watch::Receiver<bool>,
    watching: tokio::task::JoinHandle<()>,
}

/// What a store says of itself.
struct Identity {
    now: i64,
    format: String,
    key: String,
}

impl Redis {
    /// Connects, and makes the store's identity where it has none.
    pub async fn open(options: Options, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let client = Client::open(options, scripts::all()).await?;
        let mut new_key = [0; KEY_BYTES];
        getrandom::fill(&mut new_key).map_err(OpenError::Random)?;
        let identity = identify(&client, &hex(new_key)).await.map_err(OpenError::Unreadable)?;
        if identity.format != FORMAT {
            return Err(OpenError::Foreign(identity.format));
        }
        let key = unhex(&identity.key).ok_or(OpenError::Damaged)?;
        let store = Store::new(client, clock, Fingerprints::new(key), identity.now);
        let store = Arc::new(store);
        let (fail, failed) = watch::channel(false);
        let watching = tokio::spawn(watch_identity(store.clone(), identity.key, fail));
        Ok(Self { store, failed, watching })
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
        if found.key != key {
            error!("the store has another fingerprint key than before; it is another store now");
            // Nobody who waits is gone before us.
            let _ = fail.send(true);
            return;
        }
    }
}

async fn identify(client: &Client, new_key: &str) -> Result<Identity, LedgerError> {
    let arguments = [FORMAT.as_bytes().to_vec(), new_key.as_bytes().to_vec()];
    let script = ScriptId::Identify as usize;
    let value = client.call(script, &[IDENTITY.to_vec()], &arguments, PATIENCE).await?;
    let read = || {
        let mut parts = array(value)?.into_iter();
        let now = integer(&parts.next()?)?;
        let format = text(bytes(parts.next()?)?)?;
        Some(Identity { now, format, key: text(bytes(parts.next()?)?)? })
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

async fn carry_out(
    store: &Store,
    call: &Call,
    operation: &Operation,
) -> Result<Answer, LedgerError> {
    match operation {
        Operation::CreateAccounts { users } => takes::create_accounts(store, call, users).await,
        Operation::DeleteAccount { user } => releases::delete_account(store, call, user).await,
        Operation::AddFriends { user, friends, one_way } => {
            takes::add_friends(store, call, user, friends, *one_way).await
        }
        Operation::RemoveFriends { user, friends, one_way } => {
            releases::remove_friends(store, call, user, friends, *one_way).await
        }
        Operation::CreateGroup { group, group_type, owner, members, max_members } => {
            let new = takes::New {
                id: group,
                group_type,
                owner: owner.as_ref(),
                members,
                max_members: *max_members,
            };
            takes::create_group(store, call, &new).await
        }
        Operation::UpdateGroup { group, max_members } => {
            takes::update_group(store, call, group, *max_members).await
        }
        Operation::JoinGroup { group, users } => takes::join_group(store, call, group, users).await,
        Operation::LeaveGroup { group, users } => {
            releases::leave_group(store, call, group, users).await
        }
        Operation::DissolveGroup { group } => releases::dissolve_group(store, call, group).await,
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
        if !may_take_steps(&operation) {
            return carry_out(&self.store, &call, &operation).await;
        }
        let store = self.store.clone();
        let steps = async move { carry_out(&store, &call, &operation).await };
        tokio::spawn(steps).await.unwrap_or(Err(LedgerError::Closing))
    }

    async fn read(&self, call: Call, subject: Subject) -> Result<Reading, LedgerError> {
        reading::read(&self.store, &call, &subject).await
    }

    /// The limits lie with each part; the next decision of each goes by them once this answers.
    async fn put_schedule(
        &self,
        app: &AppId,
        revision: u64,
        schedule: &Schedule,
    ) -> Result<(), LedgerError> {
        let keys = keys::Keys::new(self.store.ids, app);
        for part in PARTS {
            let mut arguments = vec![
                revision.to_string().into_bytes(),
                limits::line(part, schedule).into_bytes(),
                schedule_codec::encode_schedule(schedule),
            ];
            arguments.extend(schedule.segments().iter().map(schedule_codec::encode_limits));
            let keys = [keys.limits(part)];
            self.store.raw(ScriptId::PutSchedule, &keys, &arguments, PATIENCE).await?;
        }
        Ok(())
    }

    fn keeps_order(&self) -> bool {
        false
    }

    async fn now(&self) -> Result<Timestamp, LedgerError> {
        let identity = identify(&self.store.client, "").await?;
        Ok(Timestamp::from_millis(identity.now))
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
        self.store.client.close().await;
    }
}
