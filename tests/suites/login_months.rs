//! A model of users by month: random logins on every store, late by up to a month, compared with
//! plain sets of the days on which each user logged in.
//!
//! A run begins under a catalog that does not count by month, and is switched to one that does in
//! the middle of a month; sidecars that still have the first one go on for a while. Months are
//! closed on the way. In other runs an edition limits the users of a day and of a month, in every
//! mode. The model has its own calendar and shares no code with the crate.
//!
//! A failure prints its seed; `IMQUOTA_SEED=...` repeats the run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{Datelike as _, Months, NaiveDate};
use imquota::catalog;
use imquota::domain::calendar::Day;
use imquota::domain::catalog::Catalog;
use imquota::domain::decision::{Mode, Subject, Violation};
use imquota::domain::id::AppId;
use imquota::domain::metering::{Login, MeterOutcome};
use imquota::domain::schedule::Schedule;
use imquota::domain::time::Timestamp;
use imquota::domain::upgrade::Offer;
use imquota::ledger::Call;
use imquota::ledger::metering::{ClosedMonth, Figures};

use crate::support::moved_clock::MovedClock;
use crate::support::redis::Server;
use crate::support::{ManualClock, Place, Rng, Service, app, seed, user};

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;
const ZONE_MS: i64 = 8 * 60 * MINUTE_MS;
const USERS: usize = 7;
/// Days of the figures that are compared.
const COMPARED_DAYS: i32 = 150;
/// Dates on whose noon runs begin: before month ends, and before a leap day.
const BEGINS: [&str; 6] =
    ["2019-01-30", "2019-02-26", "2019-12-20", "2020-01-29", "2020-02-27", "2023-07-31"];

/// The day of an instant in Shanghai.
fn day(millis: i64) -> i32 {
    i32::try_from((millis + ZONE_MS).div_euclid(DAY_MS)).expect("a day")
}

fn date(day: i32) -> NaiveDate {
    NaiveDate::default() + chrono::Duration::days(day.into())
}

fn number(date: NaiveDate) -> i32 {
    i32::try_from(date.signed_duration_since(NaiveDate::default()).num_days()).expect("a day")
}

/// The first day of the month of a day.
fn first(of: i32) -> i32 {
    number(date(of).with_day(1).expect("a date"))
}

fn next_month(first: i32) -> i32 {
    number(date(first).checked_add_months(Months::new(1)).expect("a date"))
}

/// The instant at which the month that begins with a day is closed.
fn cut_off(first: i32, final_day: u32) -> i64 {
    let date = date(next_month(first)).with_day(final_day).expect("a date");
    i64::from(number(date)) * DAY_MS - ZONE_MS
}

/// A catalog whose default edition has these further limits.
fn catalog_of(final_day: u32, limits: &str) -> Arc<Catalog> {
    let small = include_str!("../support/small.toml");
    let text = small.replacen("final_day = 3", &format!("final_day = {final_day}"), 1);
    let limits = format!("accounts_per_app = 6\n{limits}");
    let text = text.replacen("accounts_per_app = 6", &limits, 1);
    Arc::new(catalog::parse(&text).expect("a catalog"))
}

/// The violated limits of a login: ids, counts and limits.
type Violated = Vec<(String, usize, usize)>;

struct Run<'a> {
    service: &'a Service,
    clock: &'a ManualClock,
    app: AppId,
    rng: Rng,
    final_day: u32,
    without: Arc<Catalog>,
    with: Arc<Catalog>,
    /// The most users of a day and of a month.
    limits: Option<(usize, usize)>,
    /// The days on which each user logged in.
    logins: BTreeSet<(i32, usize)>,
    /// The day of the first login under the catalog that counts by month.
    since: Option<i32>,
    /// Months by their first day, with their users when they were closed.
    closed: BTreeMap<i32, usize>,
    seed: u64,
}

impl<'a> Run<'a> {
    async fn over(
        service: &'a Service,
        clock: &'a ManualClock,
        name: &str,
        (seed, is_limited): (u64, bool),
    ) {
        let mut rng = Rng::new(seed);
        let final_day = [3, 28][rng.below(2)];
        let limits = is_limited.then(|| (1 + rng.below(4), 1 + rng.below(6)));
        let counted = "active_users_per_month = \"unlimited\"".to_owned();
        let limited = |(day, month)| {
            format!("active_users_per_day = {day}\nactive_users_per_month = {month}")
        };
        let mut run = Run {
            service,
            clock,
            app: app(name),
            rng,
            final_day,
            without: catalog_of(final_day, ""),
            with: catalog_of(final_day, &limits.map_or(counted, limited)),
            limits,
            logins: BTreeSet::new(),
            since: None,
            closed: BTreeMap::new(),
            seed,
        };
        // The users of a month at a limit are exact once all cells have months.
        let (switched, others) = if is_limited { (0, 0) } else { (run.rng.below(30), 20) };
        for round in 0..60 {
            let counts = round >= switched && !run.rng.percent(others);
            match run.rng.below(10) {
                0..=5 => run.log_in(counts).await,
                6..=8 => run.move_clock(),
                _ => run.close(counts).await,
            }
            if round % 20 == 19 {
                run.compare(counts).await;
            }
        }
        let least = if is_limited { 5 } else { 20 };
        assert!(run.logins.len() > least, "too few logins: {seed}");
    }

    fn call(&self, counts: bool) -> Call {
        let catalog = if counts { &self.with } else { &self.without };
        let limits = Schedule::default_of(catalog).expect("a default edition");
        Call {
            catalog: catalog.clone(),
            unknown_app: Some(Arc::new(limits)),
            ..self.service.call(&self.app)
        }
    }

    /// A random instant: mostly recent, sometimes too old or too far ahead.
    fn instant(&mut self) -> i64 {
        let now = self.clock.millis();
        match self.rng.below(10) {
            0..=3 => now - self.rng.between(0, DAY_MS),
            4..=7 => now - self.rng.between(0, 32 * DAY_MS),
            8 => now - self.rng.between(30 * DAY_MS, 33 * DAY_MS),
            _ => now + self.rng.between(0, 8 * MINUTE_MS),
        }
    }

    fn outcome(&mut self, who: usize, at: i64, mode: Mode) -> (MeterOutcome, Violated) {
        let (now, of) = (self.clock.millis(), day(at));
        let outcome = if at > now + 5 * MINUTE_MS {
            MeterOutcome::InFuture
        } else if of < day(now) - 31 || now >= cut_off(first(of), self.final_day) {
            MeterOutcome::TooLate
        } else if self.logins.contains(&(of, who)) {
            MeterOutcome::AlreadyCounted
        } else {
            let violated = if mode == Mode::Force { Vec::new() } else { self.violated(who, of) };
            if !violated.is_empty() && mode != Mode::Shadow {
                return (MeterOutcome::Denied, violated);
            }
            self.logins.insert((of, who));
            return (MeterOutcome::Counted, violated);
        };
        (outcome, Vec::new())
    }

    /// The limits that do not admit a user on a day on which they were not counted.
    fn violated(&self, who: usize, of: i32) -> Violated {
        let Some((of_day, of_month)) = self.limits else { return Vec::new() };
        let users = self.logins.range((of, 0)..(of + 1, 0)).count();
        let day = ("active_users_per_day".to_owned(), users, of_day);
        let month = first(of);
        let mut in_month = self.logins.range((month, 0)..(next_month(month), 0));
        let is_new = in_month.all(|(_, other)| *other != who);
        let users = if is_new { self.users_of(month) } else { 0 };
        let month = ("active_users_per_month".to_owned(), users, of_month);
        [day, month].into_iter().filter(|(_, users, limit)| users >= limit).collect()
    }

    async fn log_in(&mut self, counts: bool) {
        let (mut logins, mut expected, mut violated) = (Vec::new(), Vec::new(), Vec::new());
        let mode = match self.rng.below(10) {
            0 => Mode::CheckOnly,
            1 => Mode::Shadow,
            2 => Mode::Force,
            _ => Mode::Enforce,
        };
        let before = self.logins.clone();
        for index in 0..=self.rng.below(5) {
            let (who, at) = (self.rng.below(USERS), self.instant());
            let (outcome, of) = self.outcome(who, at, mode);
            expected.push(outcome);
            violated.extend((!of.is_empty()).then_some((index, of)));
            let at = Some(Timestamp::from_millis(at));
            logins.push(Login { user: user(format!("u{who}")), at });
        }
        if mode == Mode::CheckOnly {
            self.logins = before;
        } else if counts {
            self.since.get_or_insert(day(self.clock.millis()));
        }
        let call = Call { mode, ..self.call(counts) };
        let metered = self.service.ledger.record_logins(call, logins).await.expect("metered");
        assert_eq!(metered.outcomes, expected, "{mode:?}, IMQUOTA_SEED={}", self.seed);
        let of = |it: &Violation| {
            let limit = it.bound.limit.finite().expect("a limit");
            let number = |number| usize::try_from(number).expect("fits");
            (it.limit_id.to_string(), number(it.used), number(limit))
        };
        let shown = metered.violations.iter();
        let shown: Vec<_> = shown.map(|(at, all)| (*at, all.iter().map(of).collect())).collect();
        assert_eq!(shown, violated, "{mode:?}, IMQUOTA_SEED={}", self.seed);
    }

    /// Often to a month's end or beginning: the first or the last instant of a day.
    fn move_clock(&mut self) {
        let now = self.clock.millis() + ZONE_MS;
        let ahead = match self.rng.below(6) {
            0 => DAY_MS - now.rem_euclid(DAY_MS) - self.rng.between(0, 1),
            1 => self.rng.between(10 * DAY_MS, 40 * DAY_MS),
            _ => self.rng.between(0, 4 * DAY_MS),
        };
        self.clock.set(self.clock.millis() + ahead);
    }

    /// The users of the month that begins with a day.
    fn users_of(&self, first: i32) -> usize {
        let logins = self.logins.range((first, 0)..(next_month(first), 0));
        logins.map(|(_, who)| who).collect::<BTreeSet<_>>().len()
    }

    /// The users of the months of some days, if they are counted and there are any.
    fn expected(&self, from: i32, to: i32) -> Vec<(String, u64)> {
        let Some(since) = self.since else { return Vec::new() };
        let (mut month, mut all) = (first(from.max(since)), Vec::new());
        while month <= to {
            let users = self.users_of(month) as u64;
            all.extend((users > 0).then(|| (date(month).format("%Y-%m").to_string(), users)));
            month = next_month(month);
        }
        all
    }

    fn check(&self, figures: &Figures, from: i32, to: i32) {
        let seed = self.seed;
        let months = figures.month_users.iter();
        let months: Vec<_> = months.map(|(month, users)| (month.to_string(), *users)).collect();
        assert_eq!(months, self.expected(from, to), "IMQUOTA_SEED={seed}");
        for figures in &figures.days {
            let of = figures.day.number();
            let users = self.logins.range((of, 0)..(of + 1, 0)).count();
            assert_eq!(usize::try_from(figures.dau), Ok(users), "day {of}, IMQUOTA_SEED={seed}");
        }
        for (month, users) in &self.closed {
            assert_eq!(self.users_of(*month), *users, "closed {month}, IMQUOTA_SEED={seed}");
        }
    }

    async fn compare(&self, counts: bool) {
        let today = day(self.clock.millis());
        let days = [today - COMPARED_DAYS, today].map(Day::from_number);
        let figures = self.service.ledger.figures(&self.call(counts), days[0], days[1]).await;
        self.check(&figures.expect("figures"), today - COMPARED_DAYS, today);
    }

    /// Closes the month before the running one, if its time has come.
    async fn close(&mut self, counts: bool) {
        let now = self.clock.millis();
        let month = first(first(day(now)) - 1);
        let cut_off = cut_off(month, self.final_day);
        let last = next_month(month) - 1;
        let closing = ClosedMonth {
            first: Day::from_number(month),
            last: Day::from_number(last),
            cut_off: Timestamp::from_millis(cut_off),
        };
        let closed = self.service.ledger.close_month(&self.call(counts), closing).await;
        let closed = closed.expect("a result");
        assert_eq!(closed.is_some(), now >= cut_off, "IMQUOTA_SEED={}", self.seed);
        if let Some(figures) = closed {
            self.closed.insert(month, self.users_of(month));
            self.check(&figures, month, last);
        }
    }
}

fn noon(date: &str) -> i64 {
    let date = date.parse().expect("a date");
    i64::from(number(date)) * DAY_MS + DAY_MS / 2 - ZONE_MS
}

async fn runs(place: impl Fn() -> Place, count: u64, (first, is_limited): (u64, bool)) {
    for seed in first..first + count {
        let begin = BEGINS[usize::try_from(seed).expect("fits") % BEGINS.len()];
        let clock = ManualClock::at(noon(begin));
        let service = Service::open(&place(), clock.clone(), catalog::builtin());
        // Months are closed only once the clock has been trusted for a while.
        clock.set(clock.millis() + 11 * MINUTE_MS);
        Run::over(&service, &clock, "metered", (seed, is_limited)).await;
        service.close().await;
    }
}

#[tokio::test]
async fn users_by_month_in_memory_agree_with_the_model() {
    runs(|| Place::Memory, 400, (seed(1_000), false)).await;
}

#[tokio::test]
async fn limits_on_users_in_memory_agree_with_the_model() {
    runs(|| Place::Memory, 400, (seed(1_500), true)).await;
}

#[tokio::test]
async fn users_by_month_on_disk_agree_with_the_model() {
    on_disk((seed(2_000), false)).await;
}

#[tokio::test]
async fn limits_on_users_on_disk_agree_with_the_model() {
    on_disk((seed(2_500), true)).await;
}

async fn on_disk(seed: (u64, bool)) {
    let directory = tempfile::tempdir().expect("a directory");
    let next = std::cell::Cell::new(0);
    let place = || {
        next.set(next.get() + 1);
        Place::directory(&directory.path().join(next.get().to_string()))
    };
    runs(place, 12, seed).await;
}

#[tokio::test]
async fn users_by_month_in_redis_agree_with_the_model() {
    in_redis((seed(3_000), false)).await;
}

#[tokio::test]
async fn limits_on_users_in_redis_agree_with_the_model() {
    in_redis((seed(3_500), true)).await;
}

async fn in_redis((first, is_limited): (u64, bool)) {
    let clock = MovedClock::new();
    let server = Server::start_with_clock(&[], &clock);
    let shared = ManualClock::shared(noon(BEGINS[0]), &clock.file());
    let place = Place::Redis(format!("redis://{}/0", server.address()));
    let service = Service::open_any(&place, shared.clone(), catalog::builtin()).await;
    for seed in first..first + 40 {
        // Each run is of an app of its own; the time goes on.
        Run::over(&service, &shared, &format!("metered-{seed}"), (seed, is_limited)).await;
    }
    service.close().await;
}

#[tokio::test]
async fn a_denied_login_has_a_code_a_sentence_and_an_offer() {
    let text = include_str!("../../deploy/catalogs/agora-chat-2026.toml");
    let clock = ManualClock::at(noon("2026-08-01"));
    let service = Service::open(&Place::Memory, clock, catalog::parse(text).expect("a catalog"));
    let login = |number| Login { user: user(format!("u{number}")), at: None };
    let record = async |numbers: std::ops::Range<u32>| {
        let (logins, deadline) = (numbers.map(login).collect(), service.deadline());
        let metered =
            service.engine.record_logins(app("demo"), Mode::Enforce, logins, deadline).await;
        metered.expect("metered")
    };
    assert!(record(0..500).await.violations.is_empty());
    let metered = record(499..501).await;
    assert_eq!(metered.outcomes, [MeterOutcome::AlreadyCounted, MeterOutcome::Denied]);
    let [(1, denials)] = metered.violations.as_slice() else { panic!("{metered:?}") };
    let [denial] = denials.as_slice() else { panic!("{denials:?}") };
    assert_eq!(denial.message, "the app has 500 of at most 500 active users of a month");
    assert_eq!(denial.im_code.number, 1);
    let [offer] = denial.upgrades.as_slice() else { panic!("{denial:?}") };
    assert_eq!(offer.offer, Offer::Edition("starter".into()));
    let usage = service.used(&app("demo"), Subject::App, "active_users_per_month").await;
    assert_eq!(usage, 500);
    service.close().await;
}
