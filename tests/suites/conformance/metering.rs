//! Logins and samples, as far as they can be tested with a store's own clock;
//! `tests/suites/metering.rs` tests other days.
//!
//! Outcomes are written C counted, A counted before, L too late, F in the future, D denied.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{Datelike as _, Months, NaiveDate};
use imquota::domain::calendar::{Day, Zone};
use imquota::domain::metering::{Login, MeterOutcome, Sample, Sampled};
use imquota::domain::time::Timestamp;
use imquota::ledger::LedgerError;
use imquota::ledger::metering::Metered;
use imquota::store::StoreError;
use tokio::task::JoinSet;

use super::operations::{create, dissolve, join, numbered, texts};
use super::script::{App, before, now};
use crate::support::{Rng, seed, user};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn shown(metered: &Metered) -> String {
    let letter = |outcome: &MeterOutcome| match outcome {
        MeterOutcome::Counted => 'C',
        MeterOutcome::AlreadyCounted => 'A',
        MeterOutcome::TooLate => 'L',
        MeterOutcome::InFuture => 'F',
        MeterOutcome::Denied => 'D',
    };
    metered.outcomes.iter().map(letter).collect()
}

impl App {
    async fn logins(&self, logins: &[(&str, Option<Timestamp>)]) -> String {
        let login = |(name, at): &(&str, Option<Timestamp>)| Login { user: user(*name), at: *at };
        let logins = logins.iter().map(login).collect();
        let metered = self.ledger.record_logins(self.call.clone(), logins).await;
        shown(&metered.expect("metered"))
    }

    /// The daily active users of the last days, today last.
    async fn dau(&self, days: i32) -> Vec<u64> {
        let today = self.call.catalog.zone.day_of(now());
        let first = Day::from_number(today.number() - days + 1);
        let figures = self.ledger.figures(&self.call, first, today).await.expect("figures");
        figures.days.iter().map(|day| day.dau).collect()
    }

    async fn samples(&self, of: Sampled, samples: &[(&str, u64, Option<Timestamp>)]) -> String {
        let sample = |(name, value, at): &(&str, u64, Option<Timestamp>)| Sample {
            name: (*name).into(),
            value: *value,
            at: *at,
        };
        let samples = samples.iter().map(sample).collect();
        let metered = self.ledger.report_samples(self.call.clone(), of, samples).await;
        shown(&metered.expect("metered"))
    }
}

/// The letter C, or L if the month is closed: from the third of the next month on.
fn unless_closed(zone: Zone, at: Timestamp, letter: char) -> char {
    let date = |at: Timestamp| {
        NaiveDate::default() + chrono::Duration::days(zone.day_of(at).number().into())
    };
    let (of, today) = (date(at), date(now()));
    let third = of.checked_add_months(Months::new(1)).and_then(|date| date.with_day(3));
    if today >= third.expect("a date") { 'L' } else { letter }
}

fn ago(days: u32) -> Timestamp {
    before(now(), DAY * days)
}

pub async fn a_user_counts_once_on_each_day(app: App) {
    let yesterday = Some(ago(1));
    assert_eq!(app.logins(&[("a", None), ("a", None), ("b", Some(now()))]).await, "CAC");
    assert_eq!(app.logins(&[("b", None), ("a", yesterday), ("a", yesterday)]).await, "ACA");
    assert_eq!(app.dau(3).await, [0, 1, 2]);
    let other = app.beside();
    assert_eq!(other.logins(&[("a", None)]).await, "C");
    assert_eq!(app.dau(1).await, [2]);
}

pub async fn logins_are_refused_one_by_one(app: App) {
    let soon = |seconds| Some(now() + Duration::from_secs(seconds));
    let logins = [
        ("a", Some(ago(31))),
        ("a", Some(ago(32))),
        ("a", soon(4 * 60)),
        ("a", soon(6 * 60)),
        ("b", Some(Timestamp::from_millis(0))),
        ("b", None),
    ];
    let zone = app.call.catalog.zone;
    let oldest = |letter| unless_closed(zone, ago(31), letter);
    assert_eq!(app.logins(&logins).await, format!("{}LCFLC", oldest('C')));
    // The oldest day is still available, although the user had a later login.
    assert_eq!(app.logins(&[("a", Some(ago(31)))]).await, oldest('A').to_string());
}

pub async fn logins_count_alike_in_any_order(app: App) {
    let (seed, zone) = (seed(31), app.call.catalog.zone);
    let mut rng = Rng::new(seed);
    let names = numbered("u", 12);
    let mut seen = BTreeSet::new();
    for _ in 0..20 {
        let (mut logins, mut expected) = (Vec::new(), String::new());
        for _ in 0..20 {
            let (who, days) = (rng.below(names.len()), u32::try_from(rng.below(32)).expect("few"));
            let letter = unless_closed(zone, ago(days), 'C');
            let is_new = letter == 'C' && seen.insert((days, who));
            expected.push(if is_new || letter == 'L' { letter } else { 'A' });
            logins.push((names[who].as_str(), Some(ago(days))));
        }
        assert_eq!(app.logins(&logins).await, expected, "IMQUOTA_SEED={seed}");
    }
    let counted: Vec<u64> =
        (0..32_u32).rev().map(|days| seen.range((days, 0)..(days + 1, 0)).count() as u64).collect();
    assert_eq!(app.dau(32).await, counted, "IMQUOTA_SEED={seed}");
}

pub async fn six_hundred_logins_at_once(app: App) {
    let names = numbered("u", 600);
    let logins: Vec<_> = names.iter().map(|name| (name.as_str(), None)).collect();
    assert_eq!(app.logins(&logins).await, "C".repeat(600));
    assert_eq!(app.logins(&logins).await, "A".repeat(600));
    assert_eq!(app.dau(1).await, [600]);
}

pub async fn a_race_counts_each_user_once(app: App) {
    let mut tasks = JoinSet::new();
    for task in 0..16 {
        let app = app.clone();
        tasks.spawn(async move {
            let names = numbered("u", 40);
            let mut counted = 0;
            for offset in 0..40 {
                let name = names[(task * 7 + offset) % 40].as_str();
                counted += app.logins(&[(name, None), (name, None)]).await.matches('C').count();
            }
            counted
        });
    }
    assert_eq!(tasks.join_all().await.iter().sum::<usize>(), 40);
    assert_eq!(app.dau(1).await, [40]);
}

pub async fn the_highest_sample_of_a_day_and_name_is_kept(app: App) {
    let yesterday = Some(ago(1));
    let samples = [
        ("mainland", 500, None),
        ("mainland", 400, None),
        ("mainland", 501, None),
        ("overseas", 0, None),
        ("overseas", 7, yesterday),
        ("mainland", 9, Some(ago(32))),
        ("mainland", 9, Some(now() + Duration::from_secs(3600))),
    ];
    let higher = samples.map(|(name, value, at)| (name, 2 * value, at));
    for (of, samples) in [(Sampled::Bandwidth, samples), (Sampled::Gauge, higher)] {
        assert_eq!(app.samples(of, &samples).await, "CACACLF");
        assert_eq!(app.samples(of, &samples).await, "AAAAALF");
    }
    let today = app.call.catalog.zone.day_of(now());
    let first = Day::from_number(today.number() - 1);
    let figures = app.ledger.figures(&app.call, first, today).await.expect("figures");
    let bandwidth: Vec<_> = figures.days.iter().map(|day| day.bandwidth.clone()).collect();
    assert_eq!(bandwidth, [vec![("overseas".into(), 7)], vec![("mainland".into(), 501)]]);
    let gauges: Vec<_> = figures.days.iter().map(|day| day.gauges.clone()).collect();
    assert_eq!(gauges, [vec![("overseas".into(), 14)], vec![("mainland".into(), 1002)]]);
}

pub async fn a_large_group_comes_and_goes_as_one(app: App) {
    let app = app.roomy().await;
    let names = numbered("u", 500);
    for operation in [
        create("g", "ChatRoom", "", &texts(&names)),
        join("g", &["a", "b"]),
        create("h", "AVChatRoom", "", &[]),
        dissolve("g"),
    ] {
        app.apply(operation).await.expect("done");
    }
    let today = app.call.catalog.zone.day_of(now());
    let yesterday = Day::from_number(today.number() - 1);
    let figures = app.ledger.figures(&app.call, yesterday, today).await.expect("figures");
    let groups: Vec<_> =
        figures.days.iter().map(|day| (day.groups_peak, day.groups_net_new)).collect();
    assert_eq!(groups, [(0, 0), (2, 1)]);
}

pub async fn nothing_is_metered_after_the_deadline_or_for_an_unknown_app(app: App) {
    let mut app = app.beside();
    let login = || vec![Login { user: user("a"), at: None }];
    let sample = || vec![Sample { name: "mainland".into(), value: 1, at: None }];
    let today = app.call.catalog.zone.day_of(now());
    let trial = app.call.unknown_app.take();
    let unknown = LedgerError::UnknownApp(app.call.app.clone());
    for (deadline, error) in [
        (now() + DAY, unknown),
        (before(now(), DAY), LedgerError::Store(StoreError::DeadlinePassed)),
    ] {
        app.call.deadline = deadline;
        let call = || app.call.clone();
        assert_eq!(app.ledger.record_logins(call(), login()).await, Err(error.clone()));
        for of in Sampled::ALL {
            let reported = app.ledger.report_samples(call(), of, sample()).await;
            assert_eq!(reported, Err(error.clone()));
        }
        assert_eq!(app.ledger.figures(&call(), today, today).await, Err(error));
    }
    app.call.deadline = now() + DAY;
    app.call.unknown_app = trial;
    assert_eq!(app.dau(1).await, [0]);
}
