//! Tests of holds with a clock that a test moves, over both backends of rows.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use redb::Database;
use redb::backends::InMemoryBackend;

use super::end_hold::end_hold;
use super::rows::Rows;
use super::step::{Part as Steps, StepError, apply};
use crate::domain::clock_guard::{ClockGuard, ClockReading, Clocks};
use crate::domain::decision::{ItemResult, Mode, Outcome, Violation};
use crate::domain::hold::{Hold, HoldEnd, HoldOutcome};
use crate::domain::id::{AppId, GroupId, OperationId, UserId};
use crate::domain::limit::{Bound, Limit, LimitId, Source};
use crate::domain::limits::Part;
use crate::domain::schedule::{Limits, Schedule, Segment};
use crate::domain::time::Timestamp;
use crate::domain::timeline::ServiceState;
use crate::ledger::embedded::rows::TableRows;
use crate::ledger::holds::{EndedHold, Ending, HoldResult};
use crate::ledger::memory::app::{App, MemoryRows};
use crate::ledger::{Call, Operation, TakeOptions};
use crate::redb::tables::Tables;
use crate::redb::writer::{Schedules, Unit};
use crate::store::fingerprint::{Fingerprints, KEY_BYTES};

mod clock;
mod format;
mod random;

/// Noon of a day in the catalog's zone.
const NOON: i64 = 20_000 * 24 * 60 * 60 * 1000 + 4 * 60 * 60 * 1000;
const ACCOUNTS_MAX: u64 = 3;

/// Runs a test on the rows of an app in memory.
fn in_memory(test: impl FnOnce(&mut MemoryRows<'_>)) {
    let (mut app, unknown) = (App::default(), AtomicU64::new(0));
    test(&mut MemoryRows::new(&mut app, &unknown, false));
}

/// Runs a test on the rows of an app in a transaction.
fn in_tables(test: impl FnOnce(&mut TableRows<'_, '_, '_>)) {
    let database = Database::builder().create_with_backend(InMemoryBackend::new());
    let txn = database.expect("opens").begin_write().expect("begins");
    let mut tables = Tables::open(&txn).expect("opens");
    let mut schedules = Schedules::new();
    let mut unit = Unit { tables: &mut tables, schedules: &mut schedules, wrote: false };
    test(&mut TableRows::new(&mut unit, 7));
}

fn user(name: &str) -> UserId {
    UserId::try_from(name).expect("an id")
}

fn users(names: &[&str]) -> Vec<UserId> {
    names.iter().map(|name| user(name)).collect()
}

fn accounts(names: &[&str]) -> Operation {
    Operation::CreateAccounts { users: users(names) }
}

fn create(owner: &str, members: &[&str]) -> Operation {
    Operation::CreateGroup {
        group: group("g"),
        group_type: "Private".into(),
        owner: Some(user(owner)),
        members: users(members),
        max_members: None,
    }
}

fn group(name: &str) -> GroupId {
    GroupId::try_from(name).expect("an id")
}

/// The limits of the tests.
fn schedule() -> Schedule {
    let bound = |most| Bound { limit: Limit::Finite(most), source: Source::Edition("x".into()) };
    let sold = vec![
        (LimitId::AccountsPerApp, bound(ACCOUNTS_MAX)),
        (LimitId::FriendsPerUser, bound(2)),
        (LimitId::GroupsPerUser, bound(2)),
        (LimitId::MembersPerGroup, bound(3)),
    ];
    let limits = Limits {
        edition: "x".into(),
        state: ServiceState::Active,
        add_ons: Vec::new(),
        sold,
        im_code_set: None,
    };
    Schedule::from_segments(vec![Segment { until: Timestamp::MAX, limits }]).expect("in order")
}

/// The context of calls, and the clocks.
struct World {
    ids: Fingerprints,
    call: Call,
    guard: ClockGuard,
    clocks: Clocks,
}

impl World {
    fn new() -> Self {
        let wall = Timestamp::from_millis(NOON);
        let clocks = Clocks { wall, monotonic: Duration::from_secs(1) };
        let call = Call {
            app: AppId::try_from("demo").expect("an id"),
            mode: Mode::Enforce,
            take: TakeOptions::default(),
            deadline: Timestamp::MAX,
            catalog: Arc::new(crate::catalog::builtin()),
            unknown_app: Some(Arc::new(schedule())),
            fail_fast: false,
            is_replayed: false,
        };
        let guard = ClockGuard::start(clocks, None);
        Self { ids: Fingerprints::new([7; KEY_BYTES]), call, guard, clocks }
    }

    fn reading(&mut self) -> ClockReading {
        self.guard.observe(self.clocks)
    }

    fn now(&mut self) -> Timestamp {
        self.reading().now
    }

    /// Lets time pass.
    fn pass(&mut self, time: Duration) {
        self.clocks.wall = self.clocks.wall + time;
        self.clocks.monotonic += time;
    }

    fn with_hold(&self, id: &str, seconds: u32) -> Call {
        let mut call = self.call.clone();
        call.take.hold = Some(Hold::new(id, seconds).expect("valid"));
        call
    }

    /// Applies an operation; returns the outcomes.
    fn apply(&mut self, rows: &mut impl Rows, call: &Call, operation: &Operation) -> String {
        let reading = self.reading();
        let mut part = Steps::whole();
        match apply(rows, &self.ids, call, reading, (operation, &mut part)) {
            Ok(answer) => answer.whole.iter().chain(&answer.items).map(letter).collect(),
            Err(StepError::Ledger(error)) => error.name().to_owned(),
            Err(StepError::Storage(error)) => panic!("the store failed: {error}"),
        }
    }

    /// Ends holds in a part; returns the outcomes, `x` first if the hold had expired.
    fn end(
        &mut self,
        rows: &mut impl Rows,
        (part, id): (Part, &str),
        (end, as_of): (HoldEnd, Option<Timestamp>),
    ) -> String {
        let id = OperationId::try_from(id).expect("an id");
        let (reading, ending) = (self.reading(), Ending { id, part, end, as_of });
        match end_hold(rows, &self.ids, &self.call, reading, &ending) {
            Ok(ended) => ended.iter().map(shown).collect::<Vec<_>>().join("; "),
            Err(StepError::Ledger(error)) => error.name().to_owned(),
            Err(StepError::Storage(error)) => panic!("the store failed: {error}"),
        }
    }
}

/// `A` applied, `R` repeated, `H` held, `N` not held, `D` denied.
fn letter(result: &ItemResult<Violation>) -> char {
    match result.outcome {
        Outcome::Applied => 'A',
        Outcome::Repeated => 'R',
        Outcome::AlreadyHeld => 'H',
        Outcome::NotHeld => 'N',
        Outcome::Denied => 'D',
        Outcome::Aborted => 'X',
    }
}

/// `c` confirmed, `t` retaken, `r` released, `e` ended otherwise, `d` denied, `-` not in the hold.
fn shown(ended: &EndedHold) -> String {
    let one = |result: &HoldResult| match result.outcome {
        HoldOutcome::Confirmed => 'c',
        HoldOutcome::Retaken => 't',
        HoldOutcome::Released => 'r',
        HoldOutcome::EndedOtherwise => 'e',
        HoldOutcome::Denied => 'd',
    };
    let expired = ended.expired_at.map(|_| 'x');
    let whole = ended.whole.as_ref().map(one);
    let items = ended.items.iter().map(|item| item.as_ref().map_or('-', one));
    expired.into_iter().chain(whole).chain(items).collect()
}
