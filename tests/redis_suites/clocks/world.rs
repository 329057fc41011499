//! The parts of a sidecar over Redis, with one clock for the servers and one for the sidecar.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use imquota::directory::redis::RedisDirectory;
use imquota::domain::catalog::Catalog;
use imquota::domain::decision::{Mode, Subject};
use imquota::domain::event::EventKind;
use imquota::domain::id::AppId;
use imquota::domain::metering::{DayFigures, Login, MeterOutcome};
use imquota::domain::time::Timestamp;
use imquota::engine::admin::{Administration, Change, ChangeKind};
use imquota::engine::events::EventPublisher;
use imquota::events::redis::RedisEvents;
use imquota::events::{Claim, EventLog as _, EventsError, Lease};
use imquota::ledger::redis::Redis;
use imquota::ledger::{LedgerError, Operation};
use tokio_util::sync::CancellationToken;

use crate::support::moved_clock::MovedClock;
use crate::support::{ManualClock, Service, actor, group, order, redis_options, request_id, user};

pub const SECOND: i64 = 1000;
pub const HOUR: i64 = 60 * 60 * SECOND;
pub const DAY: i64 = 24 * HOUR;
/// 2019-08-01 00:00 in Shanghai.
pub const AUGUST: i64 = 1_564_588_800_000;

/// The duration of a lease.
const LEASE_MS: i64 = 20 * SECOND;

pub struct World {
    pub service: Service,
    pub log: Arc<RedisEvents>,
    directory: Arc<RedisDirectory>,
    /// The right time.
    right: AtomicI64,
    servers: Arc<ManualClock>,
    sidecars: Arc<ManualClock>,
    /// The errors of the servers' clock and of the sidecar's.
    wrong: [AtomicI64; 2],
}

impl World {
    /// On the 12th of August, at noon.
    pub async fn open(url: &str, moved: &MovedClock) -> Self {
        let right = AUGUST + 11 * DAY + 12 * HOUR;
        let servers = ManualClock::shared(right, &moved.file());
        let sidecars = ManualClock::at(right);
        let redis = Redis::open(redis_options(url), sidecars.clone()).await.expect("opens");
        let directory = Arc::new(RedisDirectory::over(redis.store()));
        let log = Arc::new(RedisEvents::over(redis.store()));
        let catalog = imquota::catalog::builtin();
        let clock = sidecars.clone();
        let service = Service::over(Arc::new(redis), directory.clone(), clock, catalog.clone());
        service.load(catalog).await;
        let wrong = [AtomicI64::new(0), AtomicI64::new(0)];
        let right = AtomicI64::new(right);
        Self { service, log, directory, right, servers, sidecars, wrong }
    }

    /// The right time.
    pub fn millis(&self) -> i64 {
        self.right.load(Ordering::SeqCst)
    }

    fn set(&self) {
        let wrong = |which: usize| self.wrong[which].load(Ordering::SeqCst);
        self.servers.set(self.millis() + wrong(0));
        self.sidecars.set(self.millis() + wrong(1));
    }

    /// Sets the error of the servers' clock, or of the sidecar's.
    pub fn shift(&self, by: i64, is_servers: bool) {
        self.wrong[usize::from(!is_servers)].store(by, Ordering::SeqCst);
        self.set();
    }

    /// Lets time pass.
    pub fn pass(&self, millis: i64) {
        self.right.fetch_add(millis, Ordering::SeqCst);
        self.set();
    }

    /// Sets all clocks.
    pub fn go_to(&self, millis: i64) {
        self.right.store(millis, Ordering::SeqCst);
        self.set();
    }

    /// An app with the professional edition from the 12th of August on.
    pub async fn register(&self, app: &AppId) {
        let at = Some(Timestamp::from_millis(AUGUST + 11 * DAY + HOUR));
        let edition =
            ChangeKind::Purchase { order: order("professional"), months: 1, price_fen: None };
        for (id, what) in [("r0", ChangeKind::Create), ("r1", edition)] {
            let request_id = request_id(id);
            let change = Change { app: app.clone(), request_id, effective_at: at, what };
            self.service.administration.change(change, actor()).await.expect("changed");
        }
    }

    /// Applies an operation; returns whether anything was denied.
    pub async fn take(&self, app: &AppId, operation: Operation) -> Result<bool, LedgerError> {
        let decision = self.service.apply(app, Mode::Enforce, operation).await?;
        Ok(decision.results().any(|result| !result.violations.is_empty()))
    }

    pub async fn members(&self, app: &AppId, name: &str) -> usize {
        let subject = Subject::Group(group(name));
        let members = self.service.used(app, subject, "members_per_group").await;
        usize::try_from(members).expect("a count")
    }

    pub async fn log_in(
        &self,
        app: &AppId,
        name: &str,
        at: Option<Timestamp>,
    ) -> Result<MeterOutcome, LedgerError> {
        let (login, deadline) = (Login { user: user(name), at }, self.service.deadline());
        let metered = self
            .service
            .engine
            .record_logins(app.clone(), Mode::Enforce, vec![login], deadline)
            .await?;
        Ok(metered.outcomes[0])
    }

    pub async fn figures_of_today(&self, app: &AppId) -> DayFigures {
        let zone = self.service.engine.catalog().zone;
        let today = zone.day_of(Timestamp::from_millis(self.millis()));
        self.service.figures(app, today, today).await.days.swap_remove(0)
    }

    /// A catalog with that number of friends per user on the professional edition.
    pub fn catalog(friends: u64) -> Catalog {
        let mut catalog = imquota::catalog::builtin();
        if friends > 1 {
            for edition in &mut catalog.editions {
                for (_, limit) in &mut edition.limits {
                    if let imquota::domain::limit::Limit::Finite(limit) = limit {
                        *limit += friends;
                    }
                }
            }
        }
        catalog
    }

    pub async fn reload(&self, catalog: &Catalog) -> Result<(), String> {
        let changed = self.service.administration.change_catalog(catalog.clone()).await;
        changed.map_err(|error| error.to_string())?;
        let published = self.service.administration.publish_all().await;
        published.map_err(|error| error.to_string())
    }

    /// Publishes all limits, like a sidecar at its start.
    pub async fn publish_at_start(&self) {
        let engine = self.service.engine.clone();
        let started = Administration::new(engine, self.directory.clone());
        started.publish_all().await.expect("published");
    }

    /// Runs the event publisher of a sidecar once, from start to end.
    pub async fn tell(&self) {
        let stopped = CancellationToken::new();
        stopped.cancel();
        let engine = self.service.engine.clone();
        let pump = EventPublisher::new(engine, self.directory.clone(), self.log.clone());
        pump.begin().await.expect("begins");
        pump.run(stopped).await;
    }

    pub async fn head(&self) -> u64 {
        self.log.read(0, 0).await.expect("reads").head
    }

    pub async fn kinds_after(&self, mut after: u64) -> Vec<&'static str> {
        let mut kinds = Vec::new();
        loop {
            let page = self.log.read(after, 1000).await.expect("reads");
            let Some(last) = page.events.last() else { return kinds };
            after = last.number;
            let kind = |what: &EventKind| what.kind();
            kinds.extend(page.events.iter().map(|it| kind(&it.event.what)));
        }
    }

    pub async fn claim(&self, holder: &str) -> Result<Claim, EventsError> {
        self.claim_for(holder, LEASE_MS).await
    }

    pub async fn claim_for(&self, holder: &str, millis: i64) -> Result<Claim, EventsError> {
        let keep = Duration::from_millis(millis.unsigned_abs());
        self.log.claim(&lease(holder), keep).await
    }
}

pub fn lease(holder: &str) -> Lease {
    Lease { name: "webhook", holder: holder.to_owned() }
}

pub fn retention(days: u32) -> ChangeKind {
    ChangeKind::SetRetention { days }
}

pub fn create(name: &str) -> Operation {
    Operation::CreateGroup {
        group: group(name),
        group_type: "Public".into(),
        owner: None,
        members: Vec::new(),
        max_members: None,
    }
}

pub fn join(name: &str, users: &[&str]) -> Operation {
    Operation::JoinGroup { group: group(name), users: users.iter().map(|it| user(*it)).collect() }
}

pub fn leave(name: &str, users: &[&str]) -> Operation {
    Operation::LeaveGroup { group: group(name), users: users.iter().map(|it| user(*it)).collect() }
}
