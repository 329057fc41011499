//! Cases as scripts: operations with short names, and answers, counts and errors as text.
//!
//! An answer is written `applied | held x2, denied MEMBERS_PER_GROUP 4/4 g`: the outcome of the
//! whole operation, if there is one, then of each user; a violation is reason, usage, limit and
//! subject. `; reclaimed` and `; released 3` may follow. An error is `error: ` and its name.

use std::collections::hash_map::RandomState;
use std::fmt::Write;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use imquota::clock::{Clock, SystemClock};
use imquota::domain::catalog::Catalog;
use imquota::domain::decision::{ItemResult, Mode, Outcome, Reason, Subject, Violation};
use imquota::domain::id::AppId;
use imquota::domain::limit::{Limit, LimitId};
use imquota::domain::schedule::{Limits, Schedule, Segment};
use imquota::domain::time::Timestamp;
use imquota::domain::usage::Counts;
use imquota::ledger::{Answer, Call, Ledger, LedgerError, Operation, TakeOptions};

use super::stores::Store;
use crate::support::{app, group, user};

const SMALL: &str = include_str!("../../support/small.toml");
const DEADLINE: Duration = Duration::from_secs(60 * 60);

/// An app of one case, on the default edition of the small catalog.
#[derive(Clone)]
pub struct App {
    pub ledger: Arc<dyn Ledger>,
    pub call: Call,
    revision: Arc<AtomicU64>,
}

pub fn now() -> Timestamp {
    SystemClock.now()
}

/// An instant before another one.
pub fn before(instant: Timestamp, by: Duration) -> Timestamp {
    let millis = i64::try_from(by.as_millis()).expect("fits");
    Timestamp::from_millis(instant.as_millis() - millis)
}

/// The small catalog, in a zone whose day does not end while the tests run.
fn small() -> Catalog {
    let hour_of_utc = now().as_millis() / 3_600_000 % 24;
    // In Shanghai the day begins at 16:00 UTC.
    let near_midnight = (15..=16).contains(&hour_of_utc);
    let zone = if near_midnight { "UTC" } else { "Asia/Shanghai" };
    let text = SMALL.replace("\"Asia/Shanghai\"", &format!("\"{zone}\""));
    imquota::catalog::parse(&text).expect("a valid catalog")
}

impl App {
    pub fn new(store: &Store) -> Self {
        let catalog = Arc::new(small());
        let trial = Schedule::default_of(&catalog).expect("it has a default edition");
        let random = RandomState::new().build_hasher().finish();
        let call = Call {
            app: app(&format!("case-{random:016x}")),
            mode: Mode::Enforce,
            deadline: now() + DEADLINE,
            catalog,
            unknown_app: Some(Arc::new(trial)),
            fail_fast: false,
            is_replayed: false,
            take: TakeOptions::default(),
        };
        Self { ledger: store.ledger.clone(), call, revision: Arc::default() }
    }

    /// Gives the app the limits of the default edition as its own.
    pub async fn register(&self) {
        let limits = Schedule::from_segments(vec![endless(self.trial())]).expect("endless");
        self.put(&limits).await;
    }

    /// The app with large caps of group types and no sold limits.
    pub async fn roomy(mut self) -> Self {
        self.call.catalog = Arc::new(imquota::catalog::builtin());
        let mut limits = self.trial();
        limits.sold.clear();
        self.put(&Schedule::from_segments(vec![endless(limits)]).expect("endless")).await;
        self
    }

    /// Another app beside it.
    pub fn beside(&self) -> Self {
        let id: AppId = app(&format!("{}-2", self.call.app));
        let call = Call { app: id, ..self.call.clone() };
        Self { ledger: self.ledger.clone(), call, revision: Arc::default() }
    }

    pub fn as_mode(&self, mode: Mode) -> Self {
        Self { call: Call { mode, ..self.call.clone() }, ..self.clone() }
    }

    /// The app, with whole batches.
    pub fn all_or_nothing(&self) -> Self {
        let mut app = self.clone();
        app.call.take.all_or_nothing = true;
        app
    }

    /// The limits of the default edition.
    pub fn trial(&self) -> Limits {
        let trial = self.call.unknown_app.as_ref().expect("unknown apps are on trial");
        trial.at(now()).clone()
    }

    /// The limits of the default edition with one of them changed.
    pub fn trial_with(&self, id: &LimitId, limit: u64) -> Limits {
        let mut limits = self.trial();
        for (_, bound) in limits.sold.iter_mut().filter(|(of, _)| of == id) {
            bound.limit = Limit::Finite(limit);
        }
        limits
    }

    /// Sets the limits from now on, without end.
    pub async fn limit(&self, id: &LimitId, limit: u64) {
        let limits = self.trial_with(id, limit);
        self.put(&Schedule::from_segments(vec![endless(limits)]).expect("endless")).await;
    }

    pub async fn put(&self, schedule: &Schedule) {
        let revision = self.revision.fetch_add(1, Ordering::SeqCst) + 1;
        self.put_revision(revision, schedule).await;
    }

    pub async fn put_revision(&self, revision: u64, schedule: &Schedule) {
        let put = self.ledger.put_schedule(&self.call.app, revision, schedule).await;
        put.expect("the schedule is stored");
    }

    pub async fn apply(&self, operation: Operation) -> Result<Answer, LedgerError> {
        self.ledger.apply(self.call.clone(), operation).await
    }

    pub async fn done(&self, operation: Operation) -> String {
        match self.apply(operation).await {
            Ok(answer) => shown(&answer),
            Err(error) => format!("error: {}", error.name()),
        }
    }

    /// Applies the operations one after another; checks each answer against its text.
    pub async fn script<const N: usize>(&self, lines: [(Operation, &str); N]) {
        for (number, (operation, expected)) in lines.into_iter().enumerate() {
            let what = format!("line {number}: {operation:.200?}");
            assert_eq!(self.done(operation).await, expected, "{what}");
        }
    }

    /// Checks the counts of each subject (`app`, `user NAME`, `group NAME`) against its text.
    pub async fn counts<const N: usize>(&self, lines: [(&str, &str); N]) {
        for (subject, expected) in lines {
            assert_eq!(self.held(subject).await, expected, "{subject}");
        }
    }

    /// `friends 1 groups 2`, `Private 3 of 5`, or `accounts 1; Private 2; today 2: Private 2`.
    pub async fn held(&self, subject: &str) -> String {
        let subject = match subject.split_once(' ') {
            Some(("user", name)) => Subject::User(user(name)),
            Some((_, name)) => Subject::Group(group(name)),
            None => Subject::App,
        };
        match self.ledger.read(self.call.clone(), subject).await {
            Ok(reading) => shown_counts(&reading.counts),
            Err(error) => format!("error: {}", error.name()),
        }
    }
}

pub fn endless(limits: Limits) -> Segment {
    Segment { until: Timestamp::MAX, limits }
}

pub fn shown_counts(counts: &Counts) -> String {
    match counts {
        Counts::User { friends, groups } => format!("friends {friends} groups {groups}"),
        Counts::Group { group_type, members, max_members, .. } => {
            let own = max_members.map_or(String::new(), |max| format!(" of {max}"));
            format!("{group_type} {members}{own}")
        }
        Counts::App { accounts, groups, net_new_today, net_new_today_of_all_types, .. } => {
            let mut text = format!("accounts {accounts}");
            for (name, count) in groups.iter().filter(|(_, count)| *count != 0) {
                write!(text, "; {name} {count}").expect("a string takes all");
            }
            write!(text, "; today {net_new_today_of_all_types}").expect("a string takes all");
            for (name, count) in net_new_today.iter().filter(|(_, count)| *count != 0) {
                write!(text, ": {name} {count}").expect("a string takes all");
            }
            text
        }
    }
}

/// `WHOLE | ITEM x2, ITEM`.
pub fn parts(whole: Option<String>, items: impl Iterator<Item = String>) -> String {
    let mut runs: Vec<(String, usize)> = Vec::new();
    for text in items {
        match runs.last_mut() {
            Some((last, count)) if *last == text => *count += 1,
            _ => runs.push((text, 1)),
        }
    }
    let items = runs.into_iter().map(|(text, count)| match count {
        1 => text,
        count => format!("{text} x{count}"),
    });
    let items = items.collect::<Vec<_>>().join(", ");
    let parts: Vec<_> = whole.into_iter().chain((!items.is_empty()).then_some(items)).collect();
    parts.join(" | ")
}

pub fn shown(answer: &Answer) -> String {
    let items = answer.items.iter().map(shown_item);
    let mut text = parts(answer.whole.as_ref().map(shown_item), items);
    if answer.group_reclaimed {
        text.push_str("; reclaimed");
    }
    if answer.members_released > 0 {
        write!(text, "; released {}", answer.members_released).expect("a string takes all");
    }
    let mut results = answer.whole.iter().chain(&answer.items);
    let breached = results.any(|result| !result.violations.is_empty());
    assert_eq!(answer.limits.is_some(), breached, "limits come with violations: {text}");
    text
}

fn shown_item(result: &ItemResult<Violation>) -> String {
    let outcome = match result.outcome {
        Outcome::Applied => "applied",
        Outcome::Repeated => "repeated",
        Outcome::AlreadyHeld => "held",
        Outcome::NotHeld => "not held",
        Outcome::Denied => "denied",
        Outcome::Aborted => "aborted",
    };
    let violations = result.violations.iter().map(shown_violation).collect::<Vec<_>>().join(" + ");
    format!("{outcome} {violations}").trim_end().to_owned()
}

pub fn shown_violation(violation: &Violation) -> String {
    let subject = match &violation.subject {
        Subject::App => "app",
        Subject::User(id) => id.as_str(),
        Subject::Group(id) => id.as_str(),
    };
    let name = match violation.reason {
        // This reason is common to two limits.
        Reason::GroupsPerDay => violation.limit_id.to_string(),
        reason => reason.name().to_owned(),
    };
    format!("{name} {}/{} {subject}", violation.used, violation.bound.limit)
}
