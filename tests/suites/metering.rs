//! A model of metering: random logins, samples and groups over many days of a fake clock, on every
//! store, compared with plain sets.
//!
//! The model has its own calendar (Shanghai is eight hours ahead, all year) and keeps the complete
//! history: the users of each day, the number of groups after each change, the highest sample. It
//! shares no code with the crate.
//!
//! A failure prints its seed; `IMQUOTA_SEED=...` repeats the run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::support::moved_clock::MovedClock;
use crate::support::redis::{Cluster, Sentinels, Server};
use crate::support::{ManualClock, Place, Rng, Service, app, group, seed, user};
use chrono::{Datelike as _, Months, NaiveDate};
use imquota::domain::calendar::Day;
use imquota::domain::decision::Mode;
use imquota::domain::id::AppId;
use imquota::domain::metering::{Login, MeterOutcome, Sample, Sampled};
use imquota::domain::time::Timestamp;
use imquota::ledger::Operation;
use imquota::ledger::reconcile::{ClaimedGroup, Comparison, ExpectedState, Repair};

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;
/// 2019-07-20 12:00 in Shanghai.
const BEGIN_MS: i64 = 1_563_595_200_000;
const USERS: usize = 25;
const GROUPS: usize = 12;
/// Regions, and gauges: the two have a name in common.
const NAMES: [[&str; 2]; 2] = [["mainland", "overseas"], ["connections", "mainland"]];
/// The number of compared days: beyond every late event, and beyond the days for which net-new
/// groups are kept by type.
const COMPARED_DAYS: i32 = 100;

/// The day of an instant in Shanghai.
fn day(millis: i64) -> i32 {
    i32::try_from((millis + 8 * 60 * MINUTE_MS).div_euclid(DAY_MS)).expect("a day")
}

/// The day from which on a day is closed: the third of the next month.
fn closes_on(of: i32) -> i32 {
    let epoch = NaiveDate::default();
    let date = epoch + chrono::Duration::days(of.into());
    let third = date.checked_add_months(Months::new(1)).and_then(|date| date.with_day(3));
    let days = third.expect("a date").signed_duration_since(epoch).num_days();
    i32::try_from(days).expect("a day")
}

/// The complete history.
#[derive(Default)]
struct Model {
    logins: BTreeSet<(i32, usize)>,
    /// The highest bandwidths and gauges.
    samples: [BTreeMap<(i32, &'static str), u64>; 2],
    groups: BTreeSet<usize>,
    /// Instants with the number of groups from then on.
    totals: Vec<(i64, u64)>,
    net_new: BTreeMap<i32, i64>,
}

impl Model {
    fn outcome(at: i64, now: i64, changes: bool) -> MeterOutcome {
        if at > now + 5 * MINUTE_MS {
            MeterOutcome::InFuture
        } else if day(at) < day(now) - 31 || day(now) >= closes_on(day(at)) {
            MeterOutcome::TooLate
        } else if changes {
            MeterOutcome::Counted
        } else {
            MeterOutcome::AlreadyCounted
        }
    }

    fn login(&mut self, who: usize, at: i64, now: i64) -> MeterOutcome {
        let of = day(at);
        let outcome = Self::outcome(at, now, !self.logins.contains(&(of, who)));
        if outcome == MeterOutcome::Counted {
            self.logins.insert((of, who));
        }
        outcome
    }

    fn sample(
        &mut self,
        of: usize,
        name: &'static str,
        value: u64,
        at: i64,
        now: i64,
    ) -> MeterOutcome {
        let highest = self.samples[of].get(&(day(at), name)).copied();
        let outcome = Self::outcome(at, now, value > highest.unwrap_or(0));
        if outcome == MeterOutcome::Counted {
            self.samples[of].insert((day(at), name), value);
        }
        outcome
    }

    fn groups_changed(&mut self, now: i64, net_new: i64) {
        self.totals.push((now, u64::try_from(self.groups.len()).expect("fits")));
        *self.net_new.entry(day(now)).or_default() += net_new;
    }

    /// The highest number on a day, including the number at its beginning.
    fn peak(&self, of: i32) -> u64 {
        let before = self.totals.iter().rev().find(|(at, _)| day(*at) < of);
        let on_it = self.totals.iter().filter(|(at, _)| day(*at) == of);
        let start = before.map_or(0, |(_, total)| *total);
        on_it.map(|(_, total)| *total).fold(start, u64::max)
    }
}

struct Run {
    service: Service,
    clock: Arc<ManualClock>,
    app: AppId,
    rng: Rng,
    model: Model,
    /// The seed of the run, which failures print.
    seed: u64,
}

impl Run {
    async fn over(place: Place, clock: Arc<ManualClock>, seed: u64, rounds: usize) {
        let catalog = imquota::catalog::builtin();
        let service = Service::open_any(&place, clock.clone(), catalog).await;
        let mut run = Self {
            service,
            clock,
            app: app("metered"),
            rng: Rng::new(seed),
            model: Model::default(),
            seed,
        };
        for round in 0..rounds {
            match run.rng.below(10) {
                0..=3 => run.log_in().await,
                4 => run.sample().await,
                5..=7 => run.change_group().await,
                8 => run.repair_group().await,
                _ => run.move_clock(),
            }
            if round % 40 == 39 {
                run.compare().await;
            }
        }
        run.compare().await;
        assert!(run.model.logins.len() > rounds / 4, "too few logins: {seed}");
        run.service.close().await;
    }

    /// A random instant: mostly recent, sometimes too old or too far ahead.
    fn instant(&mut self) -> i64 {
        let now = self.clock.millis();
        match self.rng.below(10) {
            0..=4 => now - self.rng.between(0, DAY_MS),
            5..=7 => now - self.rng.between(0, 34 * DAY_MS),
            8 => now - self.rng.between(31 * DAY_MS - MINUTE_MS, 33 * DAY_MS),
            _ => now + self.rng.between(0, 10 * MINUTE_MS),
        }
    }

    async fn log_in(&mut self) {
        let now = self.clock.millis();
        let (mut logins, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..=self.rng.below(20) {
            let who = self.rng.below(USERS);
            let at = (!self.rng.percent(10)).then(|| self.instant());
            expected.push(self.model.login(who, at.unwrap_or(now), now));
            let at = at.map(Timestamp::from_millis);
            logins.push(Login { user: user(format!("u{who}")), at });
        }
        let deadline = self.service.deadline();
        let metered = self
            .service
            .engine
            .record_logins(self.app.clone(), Mode::Enforce, logins, deadline)
            .await;
        assert_eq!(metered.expect("metered").outcomes, expected, "IMQUOTA_SEED={}", self.seed);
    }

    async fn sample(&mut self) {
        let now = self.clock.millis();
        let (mut samples, mut expected) = (Vec::new(), Vec::new());
        let of = self.rng.below(NAMES.len());
        for _ in 0..=self.rng.below(6) {
            let name = NAMES[of][self.rng.below(2)];
            let value = if self.rng.percent(10) { 0 } else { self.rng.next() % 900_000 };
            let at = self.instant();
            expected.push(self.model.sample(of, name, value, at, now));
            let at = Some(Timestamp::from_millis(at));
            samples.push(Sample { name: name.into(), value, at });
        }
        let deadline = self.service.deadline();
        let (app, of) = (self.app.clone(), [Sampled::Bandwidth, Sampled::Gauge][of]);
        let done = self.service.engine.report_samples(app, of, samples, deadline).await;
        assert_eq!(done.expect("metered").outcomes, expected, "IMQUOTA_SEED={}", self.seed);
    }

    /// Creates a group, dissolves it, or lets its only member leave or be deleted.
    async fn change_group(&mut self) {
        let number = self.rng.below(GROUPS);
        let (id, member) = (group(format!("g{number}")), user(format!("owner{number}")));
        let (operation, goes) = match self.rng.below(5) {
            0..=2 => {
                let operation = Operation::CreateGroup {
                    group: id,
                    group_type: ["Private", "Public", "ChatRoom"][number % 3].into(),
                    owner: Some(member),
                    members: Vec::new(),
                    max_members: None,
                };
                (operation, false)
            }
            3 if number.is_multiple_of(2) => (Operation::DissolveGroup { group: id }, true),
            3 => (Operation::LeaveGroup { group: id, users: vec![member] }, true),
            _ => (Operation::DeleteAccount { user: member }, true),
        };
        self.service.apply(&self.app, Mode::Force, operation).await.expect("done");
        let changed =
            if goes { self.model.groups.remove(&number) } else { self.model.groups.insert(number) };
        if changed {
            self.model.groups_changed(self.clock.millis(), if goes { -1 } else { 1 });
        }
    }

    /// Repairs a group that only the IM's database or only the ledger has.
    async fn repair_group(&mut self) {
        let number = self.rng.below(GROUPS);
        let exists = self.rng.percent(50);
        let ids = self.service.fingerprints();
        let group_type = ["Private", "Public", "ChatRoom"][number % 3].into();
        let claim = ExpectedState::Group {
            group: ids.group(&group(format!("g{number}"))),
            row: exists.then_some(ClaimedGroup { group_type, max_members: None }),
            members: if exists { vec![ids.user(&user(format!("owner{number}")))] } else { vec![] },
        };
        let call = self.service.call(&self.app);
        let comparison = Comparison { call, repair: Repair::Both, tracked_since: None };
        self.service.compare(&comparison, claim).await;
        let changed = if exists {
            self.model.groups.insert(number)
        } else {
            self.model.groups.remove(&number)
        };
        if changed {
            self.model.groups_changed(self.clock.millis(), 0);
        }
    }

    fn move_clock(&mut self) {
        let ahead = match self.rng.below(4) {
            // To the last or the first instant of a day.
            0 => {
                let now = self.clock.millis() + 8 * 60 * MINUTE_MS;
                DAY_MS - now.rem_euclid(DAY_MS) - self.rng.between(0, 1)
            }
            1 => self.rng.between(DAY_MS, 4 * DAY_MS),
            _ => self.rng.between(0, 20 * 60 * MINUTE_MS),
        };
        self.clock.set(self.clock.millis() + ahead);
    }

    async fn compare(&self) {
        let today = day(self.clock.millis());
        let [first, last] = [today - COMPARED_DAYS, today].map(Day::from_number);
        let figures = self.service.figures(&self.app, first, last).await;
        assert_eq!(figures.days.len(), usize::try_from(COMPARED_DAYS + 1).expect("fits"));
        for (figures, of) in figures.days.iter().zip(today - COMPARED_DAYS..) {
            let (model, seed) = (&self.model, self.seed);
            assert_eq!(figures.day.number(), of);
            let dau = model.logins.range((of, 0)..(of + 1, 0)).count();
            assert_eq!(
                usize::try_from(figures.dau),
                Ok(dau),
                "logins of day {of}, IMQUOTA_SEED={seed}"
            );
            assert_eq!(
                figures.groups_peak,
                model.peak(of),
                "groups of day {of}, IMQUOTA_SEED={seed}"
            );
            let net_new = model.net_new.get(&of).copied().unwrap_or(0);
            assert_eq!(figures.groups_net_new, net_new, "net new on day {of}, IMQUOTA_SEED={seed}");
            for (kind, found) in [&figures.bandwidth, &figures.gauges].into_iter().enumerate() {
                let value = |name: &&'static str| model.samples[kind].get(&(of, *name)).copied();
                let of_name = |name: &&'static str| Some(((*name).into(), value(name)?));
                let expected: Vec<_> = NAMES[kind].iter().filter_map(of_name).collect();
                assert_eq!(*found, expected, "samples {kind} of day {of}, IMQUOTA_SEED={seed}");
            }
        }
    }
}

#[tokio::test]
async fn figures_in_memory_agree_with_the_model() {
    Run::over(Place::Memory, ManualClock::at(BEGIN_MS), seed(1), 3_000).await;
}

#[tokio::test]
async fn figures_on_disk_agree_with_the_model() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = Place::directory(directory.path());
    Run::over(place, ManualClock::at(BEGIN_MS), seed(2), 800).await;
}

async fn over_redis(url: String, clock: &MovedClock, seed: u64, rounds: usize) {
    let shared = ManualClock::shared(BEGIN_MS, &clock.file());
    Run::over(Place::Redis(url), shared, seed, rounds).await;
}

#[tokio::test]
async fn figures_in_redis_agree_with_the_model() {
    let clock = MovedClock::new();
    let server = Server::start_with_clock(&[], &clock);
    over_redis(format!("redis://{}/0", server.address()), &clock, seed(3), 3_000).await;
}

#[tokio::test]
async fn figures_under_sentinels_agree_with_the_model() {
    let clock = MovedClock::new();
    let servers = Sentinels::start_with_clock(&clock);
    over_redis(servers.url(), &clock, seed(4), 800).await;
}

#[tokio::test]
async fn figures_in_a_cluster_agree_with_the_model() {
    let clock = MovedClock::new();
    let servers = Cluster::start_with_clock(&clock);
    over_redis(servers.url(), &clock, seed(5), 800).await;
}
