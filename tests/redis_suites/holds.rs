//! What is special about holds in Redis: the commands and bytes that they cost, the keys that they
//! leave, the server's clock, and several sidecars. What holds do in every store is in
//! `tests/suites/conformance`.

mod bytes;
mod costs;
mod expiry;
mod sidecars;
mod skew;

use std::sync::Arc;
use std::time::Duration;

use crate::support::moved_clock::MovedClock;
use crate::support::redis::{Server, Standalone};
use crate::support::{ManualClock, app, group, redis_options, user};
use imquota::clock::Clock;
use imquota::domain::decision::{Mode, Outcome, Subject};
use imquota::domain::hold::{Hold, HoldEnd, HoldOutcome};
use imquota::domain::id::{OperationId, UserId};
use imquota::domain::limit::{Limit, LimitId};
use imquota::domain::limits::Part;
use imquota::domain::schedule::{Schedule, Segment};
use imquota::domain::time::Timestamp;
use imquota::domain::usage::Counts;
use imquota::ledger::holds::{EndedHold, Ending};
use imquota::ledger::redis::Redis;
use imquota::ledger::{Answer, Call, Ledger as _, LedgerError, Operation, TakeOptions};
use imquota::redis::options::Options;

/// The time at which clocks begin that the test sets: noon of a day in Shanghai.
const NOON: i64 = 1_564_588_800_000 + 12 * 60 * 60 * 1000;
const SECOND: i64 = 1000;
const HOUR: i64 = 60 * 60 * SECOND;
/// The silence of a server that counts as absent: no test has one.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Seconds of a hold that outlasts a test.
const LONG: u32 = 600;

/// A server whose clock the test sets, and the clock.
struct TimedServer {
    server: Server,
    clock: Arc<ManualClock>,
    /// The clock's file.
    _moved: MovedClock,
}

impl TimedServer {
    fn start() -> Self {
        let moved = MovedClock::new();
        let server = Server::start_with_clock(&[], &moved);
        let clock = ManualClock::shared(NOON, &moved.file());
        Self { server, clock, _moved: moved }
    }

    fn url(&self) -> String {
        format!("redis://{}/0", self.server.address())
    }

    fn pass(&self, millis: i64) {
        self.clock.set(self.clock.millis() + millis);
    }
}

/// A sidecar's ledger, and an app with limits of its own.
#[derive(Clone)]
struct Sidecar {
    ledger: Arc<Redis>,
    clock: Arc<dyn Clock>,
    call: Call,
}

impl Sidecar {
    async fn open(url: &str, clock: Arc<dyn Clock>) -> Self {
        let options = Options {
            silence_max: SILENCE_MAX,
            connect_timeout: SILENCE_MAX,
            ..redis_options(url)
        };
        let ledger = Redis::open(options, clock.clone()).await.expect("open");
        let catalog = Arc::new(imquota::catalog::builtin());
        let call = Call {
            app: app("holds"),
            mode: Mode::Enforce,
            deadline: Timestamp::MAX,
            catalog,
            unknown_app: None,
            fail_fast: false,
            is_replayed: false,
            take: TakeOptions::default(),
        };
        Self { ledger: Arc::new(ledger), clock, call }
    }

    /// Sets the limits of the app: these, and no others.
    async fn limit(&self, revision: u64, limits: &[(LimitId, u64)]) {
        let schedule = Schedule::default_of(&self.call.catalog).expect("a default edition");
        let mut of_app = schedule.at(self.clock.now()).clone();
        of_app.sold.retain_mut(|(id, bound)| {
            let wanted = limits.iter().find(|(of, _)| of == id);
            if let Some((_, most)) = wanted {
                bound.limit = Limit::Finite(*most);
            }
            wanted.is_some()
        });
        let endless = Segment { until: Timestamp::MAX, limits: of_app };
        let schedule = Schedule::from_segments(vec![endless]).expect("endless");
        let put = self.ledger.put_schedule(&self.call.app, revision, &schedule).await;
        put.expect("the schedule is stored");
    }

    fn call(&self) -> Call {
        Call { deadline: self.clock.now() + Duration::from_secs(60), ..self.call.clone() }
    }

    /// The sidecar, with takes in that mode.
    fn as_mode(&self, mode: Mode) -> Self {
        Self { call: Call { mode, ..self.call.clone() }, ..self.clone() }
    }

    async fn try_take(
        &self,
        hold: Option<(&str, u32)>,
        operation: Operation,
    ) -> Result<Answer, LedgerError> {
        let hold = hold.map(|(id, seconds)| Hold::new(id, seconds).expect("valid"));
        let take = TakeOptions { hold, ..TakeOptions::default() };
        self.ledger.apply(Call { take, ..self.call() }, operation).await
    }

    /// The letter of each outcome, of the whole first.
    async fn take(&self, hold: Option<(&str, u32)>, operation: Operation) -> String {
        let answer = self.try_take(hold, operation).await.expect("an answer");
        answer.whole.iter().chain(&answer.items).map(|it| letter(it.outcome)).collect()
    }

    async fn try_end(&self, id: &str, part: Part, end: HoldEnd) -> Vec<EndedHold> {
        let id = OperationId::try_from(id).expect("valid");
        let ending = Ending { id, part, end, as_of: None };
        self.ledger.end_hold(self.call(), ending).await.expect("an answer")
    }

    /// The letter of each outcome, of the whole first; `-` for an item without one.
    async fn end(&self, id: &str, part: Part, end: HoldEnd) -> String {
        let ended = self.try_end(id, part, end).await;
        ended.iter().map(letters).collect::<Vec<_>>().join(";")
    }

    async fn sweep(&self) -> u64 {
        self.ledger.sweep_holds(self.call()).await.expect("swept")
    }

    /// The members of a group, or the accounts of the app: all, and those that are held.
    async fn count(&self, subject: Subject) -> (u64, u64) {
        let read = self.ledger.read(self.call(), subject).await.expect("read");
        (number(&read.counts), number(&read.held))
    }
}

fn letter(outcome: Outcome) -> char {
    match outcome {
        Outcome::Applied => 'A',
        Outcome::Repeated => 'R',
        Outcome::AlreadyHeld => 'H',
        Outcome::NotHeld => 'N',
        Outcome::Denied => 'D',
        Outcome::Aborted => 'X',
    }
}

fn letters(ended: &EndedHold) -> String {
    let letter = |outcome| match outcome {
        HoldOutcome::Confirmed => 'c',
        HoldOutcome::Retaken => 't',
        HoldOutcome::Released => 'r',
        HoldOutcome::EndedOtherwise => 'o',
        HoldOutcome::Denied => 'd',
    };
    let all = ended.whole.iter().map(Some).chain(ended.items.iter().map(Option::as_ref));
    all.map(|it| it.map_or('-', |it| letter(it.outcome))).collect()
}

fn number(counts: &Counts) -> u64 {
    match counts {
        Counts::App { accounts, .. } => *accounts,
        Counts::User { friends, .. } => *friends,
        Counts::Group { members, .. } => *members,
    }
}

fn numbered(prefix: &str, count: usize) -> Vec<UserId> {
    (0..count).map(|number| user(format!("{prefix}{number}"))).collect()
}

fn accounts(users: Vec<UserId>) -> Operation {
    Operation::CreateAccounts { users }
}

fn befriend(name: &str, friends: Vec<UserId>) -> Operation {
    Operation::AddFriends { user: user(name), friends, one_way: false }
}

fn follow(name: &str, friends: Vec<UserId>) -> Operation {
    Operation::AddFriends { user: user(name), friends, one_way: true }
}

fn join(name: &str, users: Vec<UserId>) -> Operation {
    Operation::JoinGroup { group: group(name), users }
}

fn create(name: &str, owner: &str, max_members: Option<u32>) -> Operation {
    Operation::CreateGroup {
        group: group(name),
        group_type: "Public".into(),
        owner: Some(user(owner)),
        members: Vec::new(),
        max_members,
    }
}

/// A server's keys that end so.
fn keys(server: &Server, end: &str) -> Vec<String> {
    let listed = server.cli(&["KEYS", &format!("q1{{*{end}")]);
    listed.lines().map(str::to_owned).filter(|key| !key.is_empty()).collect()
}
