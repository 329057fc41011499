//! Shared parts of the engine tests: a manual clock, seeded random numbers, and the engine with its
//! admin service over a store.
//!
//! All calls of the crate that build a service are here, so that a changed signature changes one
//! place.

#![allow(dead_code, reason = "each test crate uses a part of it")]

pub mod binary;
pub mod faulty;
pub mod logs;
pub mod moved_clock;
pub mod ports;
pub mod proxy;
pub mod redis;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use imquota::clock::Clock;
use imquota::config::{Config, Environment, Flags, Store};
use imquota::directory::Directory;
use imquota::domain::audit::Actor;
use imquota::domain::calendar::Day;
use imquota::domain::catalog::Catalog;
use imquota::domain::decision::{Mode, Subject};
use imquota::domain::exchange::{ExchangeOrder, Exchanged};
use imquota::domain::id::{AppId, GroupId, Name, RequestId, UserId};
use imquota::domain::purchase::Order;
use imquota::domain::schedule::Schedule;
use imquota::domain::time::Timestamp;
use imquota::engine::admin::{Administration, Change, ChangeKind, Changed};
use imquota::engine::{Decision, Engine, Request, UnknownApp, UsageReport};
use imquota::ledger::embedded::Embedded;
use imquota::ledger::memory::Memory;
use imquota::ledger::metering::Figures;
use imquota::ledger::reconcile::{Comparison, Difference, ExpectedState};
use imquota::ledger::redis::Redis;
use imquota::ledger::{Call, Ledger, LedgerError, Operation, TakeOptions};
use imquota::redis::StoreMemory;
use imquota::redis::options::{Coalescing, Options};
use imquota::server::Stores;
use imquota::store::Fingerprints;
use imquota::store::SnapshotError;
use imquota::telemetry::Metrics;

use self::faulty::{Faults, FaultyDirectory, FaultyLedger};

/// A time of day that the test sets.
#[derive(Debug)]
pub struct ManualClock {
    millis: AtomicI64,
    /// The file from which a server with a fake clock reads the time.
    file: Option<PathBuf>,
}

impl ManualClock {
    pub fn at(millis: i64) -> Arc<Self> {
        Arc::new(Self { millis: AtomicI64::new(millis), file: None })
    }

    /// A clock that is shared with a server through a file.
    pub fn shared(millis: i64, file: &Path) -> Arc<Self> {
        let clock = Self { millis: AtomicI64::new(millis), file: Some(file.to_owned()) };
        clock.set(millis);
        Arc::new(clock)
    }

    pub fn millis(&self) -> i64 {
        self.millis.load(Ordering::SeqCst)
    }

    pub fn set(&self, millis: i64) {
        if let Some(file) = &self.file {
            // In place: the server has the file mapped.
            let file = std::fs::OpenOptions::new().write(true).open(file).expect("is there");
            std::os::unix::fs::FileExt::write_all_at(&file, &(millis * 1000).to_ne_bytes(), 0)
                .expect("writes");
        }
        self.millis.store(millis, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.millis())
    }
}

/// Random numbers by SplitMix64.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; the bias of the remainder does not matter here.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("fits");
        usize::try_from(self.next() % bound).expect("below a usize")
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        let span = usize::try_from(high - low + 1).expect("low comes first");
        low + i64::try_from(self.below(span)).expect("fits")
    }

    /// True in `percent` of all calls.
    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// The seed: `IMQUOTA_SEED`, or the default of the test.
pub fn seed(default: u64) -> u64 {
    match std::env::var("IMQUOTA_SEED") {
        Ok(text) => text.parse().expect("IMQUOTA_SEED is a whole number"),
        Err(_) => default,
    }
}

pub fn app(name: &str) -> AppId {
    AppId::try_from(name).expect("a valid app id")
}

pub fn user(name: impl Into<String>) -> UserId {
    UserId::try_from(name.into()).expect("a valid user id")
}

pub fn group(name: impl Into<String>) -> GroupId {
    GroupId::try_from(name.into()).expect("a valid group id")
}

/// The creation of the group "g" with that many members and a limit of its own.
pub fn create_capped(members: u32, max_members: u32) -> Operation {
    Operation::CreateGroup {
        group: group("g"),
        group_type: Name::from("Public"),
        owner: None,
        members: (0..members).map(|number| user(format!("first{number}"))).collect(),
        max_members: Some(max_members),
    }
}

/// The silence of a server that counts as absent, for tests in which none is.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// The options of a URL, parsed like by the sidecar.
pub fn redis_options(url: &str) -> Options {
    let config = Config::load(&Flags::default().with("store", url), &Environment::default());
    match config.expect("a good URL").store {
        Store::Redis(options) => *options,
        other => panic!("{other} is no Redis"),
    }
}

/// The location of the facts.
#[derive(Debug, Clone)]
pub enum Place {
    Memory,
    Directory(PathBuf),
    /// A Redis of that URL.
    Redis(String),
    /// A Redis of that URL, with a coalesced call even for an operation that is alone.
    Coalesced(String),
}

impl Place {
    pub fn directory(path: &Path) -> Self {
        Self::Directory(path.to_owned())
    }
}

/// The engine and its admin service over one open store.
pub struct Service {
    pub engine: Arc<Engine>,
    pub administration: Administration,
    pub ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
}

impl Service {
    /// Opens a service on a store of any kind.
    pub async fn open_any(place: &Place, clock: Arc<dyn Clock>, catalog: Catalog) -> Self {
        let (url, coalescing) = match place {
            Place::Redis(url) => (url, Coalescing::Auto),
            Place::Coalesced(url) => (url, Coalescing::Always),
            Place::Memory | Place::Directory(_) => return Self::open(place, clock, catalog),
        };
        // A server without a processor for a while is not absent.
        let options = Options { silence_max: SILENCE_MAX, coalescing, ..redis_options(url) };
        Self::open_redis(options, clock, catalog).await
    }

    /// Opens a service on a Redis with these options.
    pub async fn open_redis(options: Options, clock: Arc<dyn Clock>, catalog: Catalog) -> Self {
        Self::open_remembered(options, StoreMemory::default(), clock, catalog).await
    }

    /// Opens a service on a Redis with its remembered state.
    pub async fn open_remembered(
        options: Options,
        memory: StoreMemory,
        clock: Arc<dyn Clock>,
        catalog: Catalog,
    ) -> Self {
        let store = Redis::open_known(options, clock.clone(), memory).await.expect("opens");
        let Stores { ledger, directory, .. } = store.into();
        Self::over(ledger, directory, clock, catalog)
    }

    /// Opens a service on a store in this process.
    pub fn open(place: &Place, clock: Arc<dyn Clock>, catalog: Catalog) -> Self {
        match place {
            Place::Memory => {
                let store = Memory::open(clock.clone()).expect("the store opens");
                Self::beside(store, clock, catalog)
            }
            Place::Directory(path) => {
                let store = Embedded::open(path, clock.clone()).expect("the store opens");
                Self::beside(store, clock, catalog)
            }
            Place::Redis(_) | Place::Coalesced(_) => panic!("Redis is opened by open_any"),
        }
    }

    /// Creates a service on an open store.
    pub fn beside(store: impl Into<Stores>, clock: Arc<dyn Clock>, catalog: Catalog) -> Self {
        let Stores { ledger, directory, .. } = store.into();
        Self::over(ledger, directory, clock, catalog)
    }

    /// Creates a service on a store in memory with injected faults.
    pub fn faulty(faults: &Arc<Faults>, clock: Arc<dyn Clock>, catalog: Catalog) -> Self {
        let store = Memory::open(clock.clone()).expect("the store opens");
        let Stores { ledger, directory, .. } = store.into();
        let ledger = FaultyLedger(ledger, faults.clone());
        let directory = FaultyDirectory(directory, faults.clone());
        Self::over(Arc::new(ledger), Arc::new(directory), clock, catalog)
    }

    /// Creates a service on an open store.
    pub fn over(
        ledger: Arc<dyn Ledger>,
        directory: Arc<dyn Directory>,
        clock: Arc<dyn Clock>,
        catalog: Catalog,
    ) -> Self {
        let metrics = Arc::new(Metrics::new());
        let engine =
            Engine::new(ledger.clone(), clock.clone(), metrics, catalog, UnknownApp::Trial);
        let engine = Arc::new(engine.expect("the catalog has its default edition"));
        let administration = Administration::new(engine.clone(), directory);
        Self { engine, administration, ledger, clock }
    }

    /// Activates the service's catalog like a sidecar at its start, and publishes the limits of all
    /// apps; returns the version in force, and the loaded one if it differs.
    pub async fn load(&self, catalog: Catalog) -> (String, Option<String>) {
        let standing = self.administration.change_catalog(catalog).await.expect("accepted");
        self.administration.publish_all().await.expect("published");
        (standing.in_force.version, standing.differs.map(|it| it.version))
    }

    /// The reason why the store counts as lost, if it does.
    pub fn loss(&self) -> Option<String> {
        self.ledger.identity().loss.map(|loss| loss.why)
    }

    /// Closes the store.
    pub async fn close(self) {
        self.ledger.close().await;
    }

    /// Ready when the store has failed for good.
    pub async fn failed(&self) {
        self.ledger.failed().await;
    }

    /// A copy of the store.
    pub async fn snapshot(&self) -> Result<std::fs::File, SnapshotError> {
        self.ledger.snapshot().await
    }

    /// A deadline that does not pass during a test.
    pub fn deadline(&self) -> Timestamp {
        self.clock.now() + Duration::from_secs(365 * 24 * 60 * 60)
    }

    pub async fn apply(
        &self,
        app: &AppId,
        mode: Mode,
        operation: Operation,
    ) -> Result<Decision, LedgerError> {
        let deadline = self.deadline();
        self.engine
            .apply(Request {
                app: app.clone(),
                mode,
                take: TakeOptions::default(),
                deadline,
                operation,
            })
            .await
    }

    pub async fn enforce(&self, app: &AppId, operation: Operation) -> Decision {
        self.apply(app, Mode::Enforce, operation).await.expect("a decision")
    }

    pub async fn usage(&self, app: &AppId, subject: Subject) -> UsageReport {
        let deadline = self.deadline();
        self.engine.usage(app.clone(), subject, deadline).await.expect("a reading")
    }

    /// The parameters of a call for an app.
    pub fn call(&self, app: &AppId) -> Call {
        Call {
            app: app.clone(),
            mode: Mode::Enforce,
            deadline: self.deadline(),
            catalog: self.engine.catalog(),
            unknown_app: Schedule::default_of(&self.engine.catalog()).ok().map(Arc::new),
            fail_fast: false,
            is_replayed: false,
            take: TakeOptions::default(),
        }
    }

    pub fn fingerprints(&self) -> Fingerprints {
        self.ledger.fingerprints()
    }

    /// Compares an expected state with the facts, and repairs on request.
    pub async fn compare(&self, comparison: &Comparison, claim: ExpectedState) -> Vec<Difference> {
        self.ledger.compare(comparison, vec![claim]).await.expect("compared")
    }

    /// The metered figures of an app on the days from `first` to `last`.
    pub async fn figures(&self, app: &AppId, first: Day, last: Day) -> Figures {
        self.ledger.figures(&self.call(app), first, last).await.expect("figures")
    }

    /// The usage of a subject under a limit.
    pub async fn used(&self, app: &AppId, subject: Subject, limit_id: &str) -> i64 {
        let report = self.usage(app, subject).await;
        let of_limit = report.usages.iter().find(|usage| usage.limit_id.to_string() == limit_id);
        of_limit.expect("a limit of the subject").used
    }

    pub async fn register(&self, app: &AppId, request: &str) -> Result<(), String> {
        self.change(app, request, ChangeKind::Create).await.map(drop)
    }

    pub async fn buy(
        &self,
        app: &AppId,
        request: &str,
        order: Order,
        months: u32,
    ) -> Result<(), String> {
        self.change(app, request, ChangeKind::Purchase { order, months, price_fen: None })
            .await
            .map(drop)
    }

    /// Makes a change with the current instant.
    pub async fn change(
        &self,
        app: &AppId,
        request: &str,
        what: ChangeKind,
    ) -> Result<Changed, String> {
        let change =
            Change { app: app.clone(), request_id: request_id(request), effective_at: None, what };
        let done = self.administration.change(change, actor()).await;
        done.map_err(|error| error.to_string())
    }
}

/// The actor of the tests.
pub fn actor() -> Actor {
    Actor { name: "test".to_owned(), from: "here".to_owned() }
}

/// An order from one word: an edition of the built-in or the small catalog, `renew`, or an add-on.
pub fn order(what: &str) -> Order {
    match what {
        "trial" | "professional" | "premium" | "basic" => Order::Edition(what.to_owned()),
        "renew" => Order::Renewal,
        add_on => Order::AddOn(add_on.to_owned()),
    }
}

/// An exchange of the edition, or of the add-on `replaced`, if one is named, for a new item.
pub fn exchange(replaced: Option<&str>, new: &str, months: u32) -> ExchangeOrder {
    let items = match replaced {
        None => Exchanged::Edition(new.to_owned()),
        Some(replaced) => {
            Exchanged::AddOn { replaced: replaced.to_owned(), add_on: new.to_owned() }
        }
    };
    ExchangeOrder { items, months, max_sum_fen: None, price_fen: None }
}

pub fn request_id(text: &str) -> RequestId {
    RequestId::try_from(text).expect("a valid request id")
}
