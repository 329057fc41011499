//! Limits on the users who log in on a day and in a month, as far as they can be tested with a
//! store's own clock; `tests/suites/login_months.rs` tests other days.
//!
//! Outcomes are written C counted, A counted before, D denied, with `LIMIT USED/MOST` behind them.

use std::fmt::Write as _;

use imquota::domain::decision::{Mode, Reason, Subject};
use imquota::domain::limit::{LimitId, Source};
use imquota::domain::metering::{Login, MeterOutcome};
use imquota::domain::usage::usages;
use imquota::ledger::Call;
use imquota::ledger::metering::Metered;
use tokio::task::JoinSet;

use super::script::{App, now};
use crate::support::user;

const DAY: LimitId = LimitId::ActiveUsersPerDay;
const MONTH: LimitId = LimitId::ActiveUsersPerMonth;

impl App {
    async fn record(&self, mode: Mode, names: &[&str]) -> Metered {
        let logins = names.iter().map(|name| Login { user: user(*name), at: None }).collect();
        let call = Call { mode, ..self.call.clone() };
        self.ledger.record_logins(call, logins).await.expect("metered")
    }

    async fn logged_in(&self, mode: Mode, names: &str) -> String {
        let names: Vec<&str> = names.split(' ').collect();
        let metered = self.record(mode, &names).await;
        let shown = metered.outcomes.iter().enumerate().map(|(index, outcome)| {
            let mut text = match outcome {
                MeterOutcome::Counted => "C".to_owned(),
                MeterOutcome::AlreadyCounted => "A".to_owned(),
                MeterOutcome::Denied => "D".to_owned(),
                other => format!("{other:?}"),
            };
            let violations = metered.violations.iter().filter(|(at, _)| *at == index);
            for it in violations.flat_map(|(_, all)| all) {
                let limit = it.bound.limit.finite().expect("a limit");
                write!(text, " {} {}/{limit}", it.limit_id, it.used).expect("a string takes all");
            }
            text
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    /// The users of today and of this month, against their limits if they have any.
    async fn active(&self) -> Vec<String> {
        let reading = self.ledger.read(self.call.clone(), Subject::App).await.expect("a reading");
        let all = usages(&self.call.catalog, &reading.schedule, &reading.counts, now());
        let of_logins = all.iter().filter(|it| it.limit_id == DAY || it.limit_id == MONTH);
        let shown = of_logins.map(|it| {
            let limit = it.bound.limit.finite().expect("a limit");
            format!("{} {}/{limit}", it.limit_id, it.used)
        });
        shown.collect()
    }
}

pub async fn a_user_beyond_the_limit_of_a_day_is_denied_and_one_who_was_counted_is_not(app: App) {
    app.sells(&[(DAY, 2)]).await;
    let day = |used| format!("active_users_per_day {used}/2");
    assert_eq!(app.active().await, [day(0)]);
    let said = app.logged_in(Mode::Enforce, "a a b c a").await;
    assert_eq!(said, format!("C, A, C, D {}, A", day(2)));
    // It was not counted.
    assert_eq!(app.logged_in(Mode::Enforce, "c b").await, format!("D {}, A", day(2)));
    assert_eq!(app.active().await, [day(2)]);
    // Each app has its own.
    let other = app.beside();
    assert_eq!(other.logged_in(Mode::Enforce, "c").await, "C");
}

pub async fn a_user_beyond_the_limit_of_a_month_is_denied_and_one_who_was_counted_is_not(app: App) {
    // The first two are counted before there is a limit.
    assert_eq!(app.logged_in(Mode::Enforce, "a b").await, "C, C");
    app.sells(&[(MONTH, 3), (DAY, 9)]).await;
    let month = |used| format!("active_users_per_month {used}/3");
    assert_eq!(app.logged_in(Mode::Enforce, "a b").await, "A, A");
    assert_eq!(app.logged_in(Mode::Enforce, "c d").await, format!("C, D {}", month(3)));
    assert_eq!(app.active().await, ["active_users_per_day 3/9".to_owned(), month(3)]);
    app.sells(&[(MONTH, 4)]).await;
    assert_eq!(app.logged_in(Mode::Enforce, "d e").await, "C, D active_users_per_month 4/4");
    app.sells(&[]).await;
    assert_eq!(app.logged_in(Mode::Enforce, "e d").await, "C, A");
}

pub async fn limits_on_logins_have_every_mode(app: App) {
    app.sells(&[(DAY, 1), (MONTH, 1)]).await;
    let over = |used| format!("active_users_per_day {used}/1 active_users_per_month {used}/1");
    // A check decides within itself, and writes nothing.
    for _ in 0..2 {
        let said = app.logged_in(Mode::CheckOnly, "a b a").await;
        assert_eq!(said, format!("C, D {}, A", over(1)));
    }
    assert_eq!(app.logged_in(Mode::Shadow, "a b").await, format!("C, C {}", over(1)));
    assert_eq!(app.logged_in(Mode::Force, "c a").await, "C, A");
    assert_eq!(app.logged_in(Mode::Enforce, "b c d").await, format!("A, A, D {}", over(3)));
}

pub async fn a_denial_of_a_login_names_limit_source_and_reason(app: App) {
    app.sells(&[(MONTH, 0)]).await;
    let metered = app.record(Mode::Enforce, &["a"]).await;
    let (index, violations) = &metered.violations[0];
    let [violation] = violations.as_slice() else { panic!("{violations:?}") };
    assert_eq!((*index, violation.reason, violation.used), (0, Reason::Limit, 0));
    assert_eq!((&violation.limit_id, &violation.subject), (&MONTH, &Subject::App));
    let limits = metered.limits.expect("the limits");
    assert_eq!(violation.bound.source, Source::Edition(limits.edition.clone()));
    assert_eq!(limits.sold(&MONTH).map(|bound| bound.limit), Some(violation.bound.limit));
}

pub async fn the_last_users_of_a_month_are_admitted_exactly_in_a_race(app: App) {
    app.sells(&[(MONTH, 20)]).await;
    let mut tasks = JoinSet::new();
    for caller in 0..8 {
        let app = app.clone();
        tasks.spawn(async move {
            let mut counted = 0;
            for user in 0..10 {
                // Every second user is of two callers.
                let name = format!("u{}", user * 8 + caller - caller % 2 * (user % 2));
                let metered = app.record(Mode::Enforce, &[&name]).await;
                counted += usize::from(metered.outcomes == [MeterOutcome::Counted]);
            }
            counted
        });
    }
    assert_eq!(tasks.join_all().await.into_iter().sum::<usize>(), 20);
    assert_eq!(app.active().await, ["active_users_per_month 20/20"]);
}
