//! The load: pairs of users and groups, and the store that decides on the joins.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use imquota::catalog;
use imquota::clock::{Clock, SystemClock};
use imquota::domain::decision::{Mode, Outcome};
use imquota::domain::id::{AppId, GroupId, RequestId, UserId};
use imquota::domain::purchase::{Item, Purchase, Sales};
use imquota::domain::schedule::Schedule;
use imquota::domain::selling::Conditions;
use imquota::domain::time::Timestamp;
use imquota::ledger::embedded::Embedded;
use imquota::ledger::{Answer, Call, Ledger, Operation, TakeOptions};
use tokio::task::JoinSet;

use super::shared::{self, Pair};

/// The type of every group: the one that holds 6000 members.
pub const GROUP_TYPE: &str = "ChatRoom";
/// The number of users, as a power of two.
const USER_BITS: u32 = 14;
/// The number of groups, as a power of two.
const GROUP_BITS: u32 = 10;
/// The highest number of users of a join in the catalog.
const BATCH: u32 = 500;
/// The interval between joins that probe for the worst delay; that of the runtime's timers.
const PROBE_EVERY: Duration = Duration::from_millis(1);

/// Pairs that were not used yet.
pub struct Pairs {
    all: shared::Pairs,
    next: u64,
}

impl Pairs {
    pub fn new(seed: u64) -> Self {
        Self { all: shared::Pairs::of(1 << USER_BITS, 1 << GROUP_BITS, seed), next: 0 }
    }

    pub fn take(&mut self, many: u32) -> Vec<Pair> {
        (0..many).map(|_| self.one()).collect()
    }

    fn one(&mut self) -> Pair {
        self.next += 1;
        self.all.get(self.next - 1)
    }
}

/// The cost of a dissolution.
pub struct Dissolution {
    pub took: Duration,
    /// The longest delay of a join that was submitted before the end of the dissolution.
    pub worst_meanwhile: Duration,
}

/// The store, with an app that has bought what the load needs.
pub struct Store {
    ledger: Arc<Embedded>,
    call: Call,
}

impl Store {
    /// Opens a store that was created before.
    pub fn open(directory: &Path) -> Self {
        let ledger = Embedded::open(directory, Arc::new(SystemClock)).expect("the store opens");
        let call = Call {
            app: AppId::try_from("bench").expect("an id"),
            mode: Mode::Enforce,
            deadline: Timestamp::MAX,
            catalog: Arc::new(catalog::builtin()),
            unknown_app: None,
            fail_fast: false,
            is_replayed: false,
            take: TakeOptions::default(),
        };
        Self { ledger: Arc::new(ledger), call }
    }

    /// Creates a store with the app's limits and all groups.
    pub async fn create(directory: &Path) -> Self {
        let store = Self::open(directory);
        let bought = schedule(&store.call);
        let put = store.ledger.put_schedule(&store.call.app, 1, &bought).await;
        put.expect("the limits are written");
        let mut groups = JoinSet::new();
        for group in 0..1 << GROUP_BITS {
            let (ledger, call) = (store.ledger.clone(), store.call.clone());
            groups.spawn(async move { applied(&ledger, call, create(group_id(group))).await });
        }
        groups.join_all().await;
        store
    }

    pub async fn close(&self) {
        self.ledger.close().await;
    }

    /// Decides a join for each pair, `in_flight` at a time; returns the duration.
    pub async fn join(&self, pairs: &[Pair], in_flight: u32) -> Duration {
        let tasks = in_flight as usize;
        let mut shares = vec![Vec::new(); tasks];
        for (index, pair) in pairs.iter().enumerate() {
            shares[index % tasks].push(join_one(*pair));
        }
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for share in shares {
            let (ledger, call) = (self.ledger.clone(), self.call.clone());
            tasks.spawn(async move {
                for operation in share {
                    applied(&ledger, call.clone(), operation).await;
                }
            });
        }
        tasks.join_all().await;
        start.elapsed()
    }

    /// Creates a group in addition to those of the pairs, with the first users as its members.
    pub async fn create_full_group(&self, number: u32, members: u32) {
        let group = full_group_id(number);
        applied(&self.ledger, self.call.clone(), create(group.clone())).await;
        for first in (0..members).step_by(BATCH as usize) {
            let users = (first..members.min(first + BATCH)).map(user_id).collect();
            let operation = Operation::JoinGroup { group: group.clone(), users };
            applied(&self.ledger, self.call.clone(), operation).await;
        }
    }

    /// Dissolves such a group while joins are submitted.
    pub async fn dissolve(&self, number: u32, members: u32, pairs: &mut Pairs) -> Dissolution {
        let operation = Operation::DissolveGroup { group: full_group_id(number) };
        let done = Cell::new(false);
        let start = Instant::now();
        let dissolving = async {
            let answer = applied(&self.ledger, self.call.clone(), operation).await;
            let took = start.elapsed();
            done.set(true);
            assert_eq!(answer.members_released, u64::from(members));
            took
        };
        // In this order: the dissolution is in the store's queue before the first join.
        let (took, worst_meanwhile) =
            tokio::join!(dissolving, self.probe_until(|| done.get(), pairs));
        Dissolution { took, worst_meanwhile }
    }

    /// Returns the worst delay of joins submitted over that time.
    pub async fn probe_for(&self, time: Duration, pairs: &mut Pairs) -> Duration {
        let start = Instant::now();
        self.probe_until(|| start.elapsed() >= time, pairs).await
    }

    /// Submits joins at a steady pace, whether or not earlier ones have finished; returns the worst
    /// delay.
    async fn probe_until(&self, done: impl Fn() -> bool, pairs: &mut Pairs) -> Duration {
        let mut probes = JoinSet::new();
        let mut pace = tokio::time::interval(PROBE_EVERY);
        while !done() {
            pace.tick().await;
            let (ledger, call) = (self.ledger.clone(), self.call.clone());
            let operation = join_one(pairs.one());
            let start = Instant::now();
            probes.spawn(async move {
                applied(&ledger, call, operation).await;
                start.elapsed()
            });
        }
        probes.join_all().await.into_iter().max().unwrap_or_default()
    }
}

/// Applies an operation of which no part may be denied or held already.
async fn applied(ledger: &Embedded, call: Call, operation: Operation) -> Answer {
    let answer = ledger.apply(call, operation).await.expect("the store decides");
    let mut verdicts = answer.whole.iter().chain(&answer.items);
    assert!(verdicts.all(|verdict| verdict.outcome == Outcome::Applied), "{answer:?}");
    answer
}

/// Returns the limits of an app with the largest groups.
fn schedule(call: &Call) -> Schedule {
    let now = SystemClock.now();
    let items = [Item::Edition("professional".into()), Item::AddOn("members-6000".into())];
    let purchases = items.map(|item| Purchase {
        request_id: RequestId::try_from("bench").expect("an id"),
        item,
        months: 1,
        price_fen: 0,
        terms: None,
        conditions: Conditions::default(),
        at: now,
    });
    Schedule::compile(&call.catalog, &Sales::from(purchases.to_vec()), now)
        .expect("the catalog has them")
}

fn create(group: GroupId) -> Operation {
    Operation::CreateGroup {
        group,
        group_type: GROUP_TYPE.into(),
        owner: None,
        members: Vec::new(),
        max_members: None,
    }
}

fn join_one(pair: Pair) -> Operation {
    Operation::JoinGroup { group: group_id(pair.group), users: vec![user_id(pair.user)] }
}

fn user_id(number: u32) -> UserId {
    UserId::try_from(format!("user-{number}")).expect("an id")
}

fn group_id(number: u32) -> GroupId {
    GroupId::try_from(format!("group-{number}")).expect("an id")
}

fn full_group_id(number: u32) -> GroupId {
    GroupId::try_from(format!("full-{number}")).expect("an id")
}
