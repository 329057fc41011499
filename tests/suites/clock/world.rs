//! The parts of a sidecar over a store in this process, on a machine with a settable time of day.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use imquota::clock::Clock;
use imquota::directory::DirectoryError;
use imquota::directory::embedded::EmbeddedDirectory;
use imquota::domain::calendar::Day;
use imquota::domain::decision::{Mode, Subject};
use imquota::domain::id::AppId;
use imquota::domain::metering::{Login, Sample, Sampled};
use imquota::domain::month::Month;
use imquota::domain::time::Timestamp;
use imquota::engine::admin::{
    AdminError, Administration, Change, ChangeKind, Changed, EntryFilter,
};
use imquota::engine::events::EventPublisher;
use imquota::engine::{Decision, Denial, Engine, Request, UnknownApp};
use imquota::events::embedded::EmbeddedEvents;
use imquota::events::{Claim, EventLog, EventsError, Lease, TIME_CURSOR};
use imquota::ledger::embedded::Embedded;
use imquota::ledger::memory::Memory;
use imquota::ledger::metering::Metered;
use imquota::ledger::{Ledger, LedgerError, Operation, TakeOptions};
use imquota::redb::RedbStore;
use imquota::store::StoreError;
use imquota::telemetry::Metrics;
use tokio_util::sync::CancellationToken;

use crate::support::{Place, actor, app, group, order, request_id, user};

pub const SECOND: i64 = 1000;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;
/// 2019-06-01 00:00 in Shanghai.
pub const JUNE: i64 = 1_559_318_400_000;

/// A machine whose time of day can be set, but not its monotonic clock.
#[derive(Debug)]
pub struct Machine {
    monotonic: AtomicI64,
    wall: AtomicI64,
}

impl Machine {
    pub fn at(wall: i64) -> Arc<Self> {
        Arc::new(Self { monotonic: AtomicI64::new(0), wall: AtomicI64::new(wall) })
    }

    /// Lets time pass.
    pub fn pass(&self, millis: i64) {
        self.monotonic.fetch_add(millis, Ordering::SeqCst);
        self.set(millis);
    }

    /// Sets the time of day forward or back.
    pub fn set(&self, millis: i64) {
        self.wall.fetch_add(millis, Ordering::SeqCst);
    }

    pub fn wall(&self) -> i64 {
        self.wall.load(Ordering::SeqCst)
    }
}

impl Clock for Machine {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(Self::wall(self))
    }

    fn monotonic(&self) -> Duration {
        let millis = self.monotonic.load(Ordering::SeqCst);
        Duration::from_millis(u64::try_from(millis).expect("goes forward"))
    }
}

/// Returns whether an error is a refusal because of the clock.
pub trait OfClock {
    fn is_of_clock(&self) -> bool;
}

impl OfClock for LedgerError {
    fn is_of_clock(&self) -> bool {
        matches!(self, Self::Store(StoreError::ClockSkew(_) | StoreError::ClockSettling(_)))
    }
}

impl OfClock for AdminError {
    fn is_of_clock(&self) -> bool {
        match self {
            Self::Directory(DirectoryError::ClockRefused(_)) => true,
            Self::Unfinished(error) | Self::Clock(error) | Self::Unread(error) => {
                error.is_of_clock()
            }
            _ => false,
        }
    }
}

impl OfClock for EventsError {
    fn is_of_clock(&self) -> bool {
        matches!(self, Self::ClockRefused(_))
    }
}

/// Compares two texts, and shows the first line that differs.
pub fn assert_same(one: &str, other: &str, context: &str) {
    for (number, (one, other)) in one.lines().zip(other.lines()).enumerate() {
        assert_eq!(one, other, "line {number}, {context}");
    }
    assert_eq!(one.len(), other.len(), "{context}");
}

fn line(of: &impl std::fmt::Debug) -> String {
    format!("{of:?}\n")
}

/// The directory and the events in a store.
fn over(store: &RedbStore) -> (Arc<EmbeddedDirectory>, Arc<EmbeddedEvents>) {
    (Arc::new(EmbeddedDirectory::over(store)), Arc::new(EmbeddedEvents::over(store)))
}

/// The parts of a sidecar over its store.
pub struct World {
    pub machine: Arc<Machine>,
    pub ledger: Arc<dyn Ledger>,
    pub log: Arc<EmbeddedEvents>,
    pub administration: Administration,
    engine: Arc<Engine>,
    directory: Arc<EmbeddedDirectory>,
}

impl World {
    pub async fn open(place: &Place, machine: Arc<Machine>) -> Self {
        if let Place::Directory(path) = place {
            let ledger = Embedded::open(path, machine.clone()).expect("the store opens");
            let parts = over(ledger.store());
            return Self::of(Arc::new(ledger), parts, machine).await;
        }
        let ledger = Memory::open(machine.clone()).expect("the store opens");
        let parts = over(ledger.store());
        Self::of(Arc::new(ledger), parts, machine).await
    }

    async fn of(
        ledger: Arc<dyn Ledger>,
        (directory, log): (Arc<EmbeddedDirectory>, Arc<EmbeddedEvents>),
        machine: Arc<Machine>,
    ) -> Self {
        let (metrics, catalog) = (Arc::new(Metrics::new()), imquota::catalog::builtin());
        let clock = machine.clone();
        let engine = Engine::new(ledger.clone(), clock, metrics, catalog, UnknownApp::Trial);
        let engine = Arc::new(engine.expect("the catalog has its default edition"));
        let administration = Administration::new(engine.clone(), directory.clone());
        let world = Self { machine, ledger, log, administration, engine, directory };
        world.administration.publish_all().await.expect("published");
        world.pump().begin().await.expect("begins");
        world
    }

    pub async fn close(self) {
        self.ledger.close().await;
    }

    fn pump(&self) -> EventPublisher {
        EventPublisher::new(self.engine.clone(), self.directory.clone(), self.log.clone())
    }

    /// Lets time pass like in a process, which watches its clock.
    pub async fn pass(&self, millis: i64) {
        let mut left = millis;
        while left > 0 {
            // A long time passes in steps of a minute.
            let step = if left > HOUR { left - HOUR } else { left.min(MINUTE) };
            self.machine.pass(step);
            left -= step;
            self.ledger.record_clock().await.expect("recorded");
        }
    }

    /// Publishes the due events.
    pub async fn tell(&self) {
        let stopped = CancellationToken::new();
        stopped.cancel();
        self.pump().run(stopped).await;
    }

    pub async fn apply(&self, of: &str, operation: Operation) -> Result<Decision, LedgerError> {
        let deadline = self.engine.local_now() + Duration::from_secs(2);
        let request = Request {
            app: app(of),
            mode: Mode::Enforce,
            take: TakeOptions::default(),
            deadline,
            operation,
        };
        self.engine.apply(request).await
    }

    pub async fn join(&self, of: &str, name: &str) -> Result<Decision, LedgerError> {
        let users = vec![user(name)];
        self.apply(of, Operation::JoinGroup { group: group("g"), users }).await
    }

    pub async fn leave(&self, of: &str, name: &str) -> Result<Decision, LedgerError> {
        let users = vec![user(name)];
        self.apply(of, Operation::LeaveGroup { group: group("g"), users }).await
    }

    pub async fn create(&self, of: &str, name: &str) -> Result<Decision, LedgerError> {
        let group_type = "Public".into();
        self.apply(
            of,
            Operation::CreateGroup {
                group: group(name),
                group_type,
                owner: None,
                members: Vec::new(),
                max_members: None,
            },
        )
        .await
    }

    pub async fn usage(&self, of: &str) -> String {
        let mut all = String::new();
        for subject in [Subject::App, Subject::User(user("a")), Subject::Group(group("g"))] {
            let deadline = self.engine.local_now() + Duration::from_secs(2);
            let report = self.engine.usage(app(of), subject, deadline).await.expect("a reading");
            all += &line(&report);
        }
        all
    }

    pub async fn change(
        &self,
        of: &str,
        id: &str,
        what: ChangeKind,
    ) -> Result<Changed, AdminError> {
        let (app, request_id) = (app(of), request_id(id));
        let change = Change { app, request_id, effective_at: None, what };
        self.administration.change(change, actor()).await
    }

    pub async fn buy(&self, of: &str, id: &str, what: &str) -> Result<Changed, AdminError> {
        self.change(of, id, ChangeKind::Purchase { order: order(what), months: 1, price_fen: None })
            .await
    }

    pub async fn log_in(&self, of: &str, at: Option<i64>) -> Result<Metered<Denial>, LedgerError> {
        let at = at.map(Timestamp::from_millis);
        let logins = ["a", "b", "c"].map(|name| Login { user: user(name), at });
        let deadline = self.engine.local_now() + Duration::from_secs(2);
        self.engine.record_logins(app(of), Mode::Enforce, logins.to_vec(), deadline).await
    }

    pub async fn report(&self, of: &str, kbps: u64) -> Result<Metered, LedgerError> {
        let samples = vec![Sample { name: "mainland".into(), value: kbps, at: None }];
        let deadline = self.engine.local_now() + Duration::from_secs(2);
        self.engine.report_samples(app(of), Sampled::Bandwidth, samples, deadline).await
    }

    pub async fn claim(&self, holder: &str) -> Result<Claim, EventsError> {
        let lease = Lease { name: "webhook", holder: holder.to_owned() };
        self.log.claim(&lease, Duration::from_secs(20)).await
    }

    /// The statement of a month if it is final.
    pub async fn statement(&self, of: &str, month: &str) -> Result<Vec<u8>, AdminError> {
        let month: Month = month.parse().expect("a month");
        Ok(self.administration.statement(&app(of), Some(month)).await?.json)
    }

    /// The days with logins, of the days around a day.
    pub async fn login_days(&self, of: &str, around: i64) -> Vec<(i32, u64)> {
        let catalog = self.engine.catalog();
        let middle = catalog.zone.day_of(Timestamp::from_millis(around)).number();
        let deadline = self.engine.local_now() + Duration::from_secs(2);
        let call = imquota::ledger::Call {
            app: app(of),
            mode: Mode::CheckOnly,
            deadline,
            catalog,
            unknown_app: None,
            fail_fast: false,
            is_replayed: false,
            take: TakeOptions::default(),
        };
        let (first, last) = (Day::from_number(middle - 199), Day::from_number(middle + 199));
        let figures = self.ledger.figures(&call, first, last).await.expect("figures");
        let days = figures.days.into_iter().filter(|day| day.dau > 0);
        days.map(|day| (day.day.number() - middle, day.dau)).collect()
    }

    /// The closed months.
    pub async fn closed(&self, of: &str) -> Option<String> {
        let view = self.administration.app(&app(of)).await.expect("the app");
        view.record.closed_through.map(|month| month.to_string())
    }

    /// The actions of the audit log.
    pub async fn actions(&self) -> Vec<String> {
        let found = self.administration.entries(0, 1000, &EntryFilter::default()).await;
        found.expect("entries").entries.into_iter().map(|it| it.event.action).collect()
    }

    /// The whole observable state of the store.
    pub async fn digest(&self, apps: &[&str]) -> String {
        let mut all = line(&self.ledger.now().await);
        for name in apps {
            all += &self.usage(name).await;
            all += &line(&self.login_days(name, self.machine.wall()).await);
            let app: AppId = app(name);
            all += &line(&self.administration.app(&app).await.expect("the app"));
        }
        let entries = self.administration.entries(0, 1000, &EntryFilter::default()).await;
        all += &line(&entries.expect("entries"));
        let page = self.log.read(0, 1000).await.expect("events");
        // The order of the two sources is not specified.
        let mut events: Vec<_> = page.events.iter().map(|it| format!("{:?}\n", it.event)).collect();
        events.sort();
        all += &events.concat();
        all += &line(&self.log.cursor(TIME_CURSOR).await);
        all
    }
}

impl World {
    /// The offset of the time of day to the store's, in seconds.
    pub fn ledger_skews(&self) -> f64 {
        self.ledger.clock_skews()[0].1
    }

    /// The store's time, in milliseconds.
    pub async fn ledger_now(&self) -> i64 {
        self.ledger.now().await.expect("a time").as_millis()
    }
}
