//! Runs the same operations on the engine and on the model, and compares.
//!
//! In a round every app gets one operation, all concurrently: apps must not affect each other, and
//! the store has several operations for one commit.

use std::path::PathBuf;
use std::sync::Arc;

use imquota::domain::catalog::Catalog;
use imquota::domain::decision::Mode;
use imquota::domain::id::AppId;
use imquota::domain::time::Timestamp;
use imquota::engine::{Decision, Engine, Request};
use imquota::ledger::{LedgerError, Operation};
use tokio::task::JoinSet;

use super::coverage::Coverage;
use super::entitlement::{Order, State};
use super::plan::{self, Universe};
use imquota::engine::admin::ChangeKind;

use super::rules::Rules;
use super::state::{App, Fault, Op, OpResult, User, Who};
use super::usage::usage;
use super::wire::{fault, group_id, lines, subject, told, user_id, user_ids};
use crate::support::{self, ManualClock, Place, Rng, Service, app};

/// A model test: its rules in both forms, its store and its size.
pub struct Setup {
    pub rules: &'static Rules,
    pub catalog: Catalog,
    pub place: Place,
    /// The file from which the store's server reads its time, if it has a clock of its own.
    pub clock_file: Option<PathBuf>,
    pub universe: Universe,
    pub rounds: usize,
    /// Rounds between two re-openings of the store, if it is re-opened.
    pub reopen_every: Option<usize>,
    pub seed: u64,
}

/// Rounds between two comparisons of the whole state.
const COMPARE_ALL_EVERY: usize = 400;

struct Run {
    setup: Setup,
    service: Service,
    clock: Arc<ManualClock>,
    rng: Rng,
    ids: Vec<AppId>,
    apps: Vec<App>,
    /// The requests that made the purchases of each app.
    sold: Vec<Vec<String>>,
    moods: Vec<usize>,
    coverage: Coverage,
    requests: u64,
    round: usize,
}

/// One operation of a round and the model's expected result.
struct Step {
    index: usize,
    mode: Mode,
    all_or_nothing: bool,
    late: bool,
    op: Op,
    expected: Result<OpResult, Fault>,
}

/// Runs to the end; returns the covered cases.
pub async fn run(setup: Setup) -> Coverage {
    // The end of January: months of every length follow.
    let begin = super::calendar::start_of(super::calendar::day_number(2019, 1, 28));
    let clock = match &setup.clock_file {
        Some(file) => ManualClock::shared(begin, file),
        None => ManualClock::at(begin),
    };
    let mut rng = Rng::new(setup.seed);
    let service = Service::open_any(&setup.place, clock.clone(), setup.catalog.clone()).await;
    let indices = 0..setup.universe.apps;
    let mut run = Run {
        ids: indices.clone().map(|index| app(&format!("app-{index}"))).collect(),
        apps: indices.clone().map(|_| App::default()).collect(),
        sold: indices.clone().map(|_| Vec::new()).collect(),
        moods: indices.map(|_| *rng.pick(setup.universe.moods)).collect(),
        coverage: Coverage::default(),
        requests: 0,
        round: 0,
        setup,
        service,
        clock,
        rng,
    };
    for round in 0..run.setup.rounds {
        run.round = round;
        run.move_clock();
        run.buy().await;
        run.play_round().await;
        if round % COMPARE_ALL_EVERY == 0 || round + 1 == run.setup.rounds {
            run.compare_all().await;
        }
        if run.setup.reopen_every.is_some_and(|every| round % every == every - 1) {
            run = run.reopen().await;
        }
    }
    for app in &run.apps {
        run.coverage.add("reclaimed by leaving", app.reclaimed_by_leaving);
        run.coverage.add("reclaimed by deletion", app.reclaimed_by_deletion);
    }
    run.service.close().await;
    run.coverage
}

impl Run {
    fn now(&self) -> i64 {
        self.clock.millis()
    }

    fn place(&self, index: usize) -> String {
        let (seed, round, now) = (self.setup.seed, self.round, self.now());
        format!("IMQUOTA_SEED={seed}, round {round}, app {index}, clock {now}")
    }

    fn move_clock(&mut self) {
        if self.rng.below(1000) < self.setup.universe.moves {
            let now = self.now();
            self.clock.set(plan::later(&mut self.rng, &self.apps, now));
            if super::calendar::day_of(self.now()) != super::calendar::day_of(now) {
                self.coverage.hit("day changed");
            }
        }
    }

    async fn reopen(self) -> Self {
        self.service.close().await;
        let clock = self.clock.clone();
        let service = Service::open_any(&self.setup.place, clock, self.setup.catalog.clone()).await;
        let mut run = Self { service, ..self };
        run.coverage.hit("re-opened");
        run
    }

    /// Occasionally makes a purchase in the engine and in the model.
    async fn buy(&mut self) {
        for index in 0..self.apps.len() {
            if self.rng.below(250) == 0 {
                self.moods[index] = *self.rng.pick(self.setup.universe.moods);
            }
            self.requests += 1;
            let request = format!("request {}", self.requests);
            if !self.apps[index].registered {
                if index >= self.setup.universe.apps_on_trial && self.rng.percent(1) {
                    let done = self.service.register(&self.ids[index], &request).await;
                    assert_eq!(done, Ok(()), "{}", self.place(index));
                    self.apps[index].registered = true;
                }
                continue;
            }
            let now = self.now();
            if let Some((order, months)) = plan::order(&mut self.rng, &self.apps[index], now) {
                self.order(index, &request, order, months).await;
            } else if let Some(number) = plan::refund(&mut self.rng, &self.apps[index]) {
                self.refund(index, &request, number).await;
            }
        }
    }

    async fn refund(&mut self, index: usize, request: &str, number: usize) {
        let (now, rules) = (self.now(), self.setup.rules);
        let (_, before) = self.apps[index].purchases.edition_at(now);
        let expected = self.apps[index].purchases.refund(rules, number, now);
        let (_, after) = self.apps[index].purchases.edition_at(now);
        let purchase = support::request_id(&self.sold[index][number]);
        let done =
            self.service.change(&self.ids[index], request, ChangeKind::Refund { purchase }).await;
        let done = done.map(|changed| changed.remaining.expect("figures").refund_fen);
        let place = self.place(index);
        match (&expected, &done) {
            (Ok(fen), Ok(paid)) if fen == paid => {}
            (Err(words), Err(error)) if error.contains(words) => {}
            _ => panic!("{place}: refund of {number}: expected {expected:?}, got {done:?}"),
        }
        self.coverage.hit(match expected {
            Err(_) => "refund refused",
            Ok(_) if before != after => "refund that stops the service",
            Ok(0) => "refund of nothing",
            Ok(_) => "refund that leaves the edition",
        });
    }

    async fn order(&mut self, index: usize, request: &str, order: Order, months: u32) {
        let (now, rules) = (self.now(), self.setup.rules);
        let before = self.apps[index].purchases.edition_at(now);
        let expected = self.apps[index].purchases.order(rules, order, months, now);
        let what = match order {
            Order::Edition => rules.editions[1].id,
            Order::Renewal => "renew",
            Order::AddOn(add_on) => rules.add_ons[add_on].id,
        };
        let ordered = support::order(what);
        let done = self.service.buy(&self.ids[index], request, ordered, months).await;
        let place = self.place(index);
        match (&expected, &done) {
            (Ok(()), Ok(())) => {}
            (Err(words), Err(error)) if error.contains(words) => {}
            _ => panic!("{place}: {order:?} for {months}: expected {expected:?}, got {done:?}"),
        }
        if expected.is_ok() {
            self.sold[index].push(request.to_owned());
        }
        self.coverage.hit(match (order, before, expected) {
            (_, _, Err(_)) => "order refused",
            (Order::Edition, (1, State::Stopped), _) => "bought anew after the stop",
            (Order::Edition, ..) => "edition bought",
            (Order::Renewal, (_, State::Grace), _) => "renewed in grace",
            (Order::Renewal, (_, State::Stopped), _) => "renewed after the stop",
            (Order::AddOn(_), (_, State::Grace), _) => "add-on bought in grace",
            (Order::Renewal, ..) => "renewed in time",
            (Order::AddOn(_), ..) => "add-on bought",
        });
    }

    async fn play_round(&mut self) {
        let mut answers = JoinSet::new();
        let mut steps = Vec::new();
        for index in 0..self.apps.len() {
            let step = self.step(index);
            let engine = self.service.engine.clone();
            let id = self.ids[index].clone();
            let timeout = if step.late { -1 } else { 60_000 };
            let deadline = Timestamp::from_millis(self.now() + timeout);
            let (mode, op) = ((step.mode, step.all_or_nothing), step.op.clone());
            answers.spawn(async move { (index, send(&engine, id, mode, deadline, &op).await) });
            steps.push(step);
        }
        while let Some(answer) = answers.join_next().await {
            let (index, answer) = answer.expect("the operation does not panic");
            self.compare(&steps[index], answer);
        }
        self.compare_touched(&steps).await;
    }

    /// Draws an operation, and applies it to the model.
    fn step(&mut self, index: usize) -> Step {
        let now = self.now();
        let (rng, app) = (&mut self.rng, &mut self.apps[index]);
        let (mode, all_or_nothing) = (plan::mode(rng), plan::all_or_nothing(rng));
        let op = plan::operation(rng, self.setup.universe, self.moods[index], app);
        let late = rng.below(200) == 0;
        let expected = if late {
            Err(Fault::DeadlinePassed)
        } else {
            app.apply(self.setup.rules, now, (mode, all_or_nothing), &op)
        };
        Step { index, mode, all_or_nothing, late, op, expected }
    }

    fn compare(&mut self, step: &Step, answer: Result<Decision, LedgerError>) {
        let got = match answer {
            Ok(decision) => {
                assert_eq!(decision.decided_at.as_millis(), self.now());
                Ok(told(&decision))
            }
            Err(error) => Err(fault(&error)),
        };
        let place = self.place(step.index);
        let allowed = self.apps[step.index].purchases.allowed(self.setup.rules, self.now());
        assert!(
            got == step.expected,
            "{place}: {:?} (whole: {}) of {:?} (late: {})\nunder {allowed:?}\nexpected {:#?}\n\
             got {got:#?}",
            step.mode,
            step.all_or_nothing,
            step.op,
            step.late,
            step.expected,
        );
        self.coverage.hit("operations");
        self.coverage.note(step.mode, &allowed, &step.expected);
        let today = super::calendar::day_of(self.now());
        if self.apps[step.index].net_of_day(today) < 0 {
            self.coverage.hit("more dissolved than created today");
        }
    }

    /// Compares the counts of the subjects that the round has touched.
    async fn compare_touched(&mut self, steps: &[Step]) {
        let mut subjects = Vec::new();
        for step in steps {
            subjects.extend(touched(&step.op).into_iter().map(|who| (step.index, who)));
        }
        self.compare_usage(subjects).await;
    }

    async fn compare_all(&mut self) {
        let universe = self.setup.universe;
        let users = (0..universe.users).map(Who::User);
        let whos: Vec<Who> =
            users.chain((0..universe.groups).map(Who::Group)).chain([Who::App]).collect();
        let subjects = (0..self.apps.len()).flat_map(|app| whos.iter().map(move |who| (app, *who)));
        self.compare_usage(subjects.collect()).await;
        self.coverage.hit("everything compared");
    }

    async fn compare_usage(&mut self, subjects: Vec<(usize, Who)>) {
        let mut readings = JoinSet::new();
        let deadline = self.service.deadline();
        for (index, who) in subjects {
            let (engine, id) = (self.service.engine.clone(), self.ids[index].clone());
            readings
                .spawn(async move { (index, who, engine.usage(id, subject(who), deadline).await) });
        }
        while let Some(reading) = readings.join_next().await {
            let (index, who, reading) = reading.expect("the reading does not panic");
            let now = self.now();
            let stopped = self.apps[index].purchases.allowed(self.setup.rules, now).stopped();
            let expected = usage(&self.apps[index], self.setup.rules, now, who);
            let expected = expected.map(|lines| (lines, stopped)).ok_or(Fault::GroupNotFound);
            let got = reading
                .map(|report| (lines(&report.usages), report.stopped))
                .map_err(|error| fault(&error));
            let place = self.place(index);
            assert!(got == expected, "{place}: {who:?}\nexpected {expected:#?}\ngot {got:#?}");
        }
    }
}

/// Some of the subjects whose counts the operation may have changed; the others are covered by the
/// comparisons of the whole state.
fn touched(op: &Op) -> Vec<Who> {
    let some = |users: &[User]| users.iter().take(2).copied().map(Who::User).collect::<Vec<_>>();
    match op {
        Op::CreateAccounts(_) => vec![Who::App],
        Op::DeleteAccounts(users) => [some(users), vec![Who::App]].concat(),
        Op::AddFriends { user, friends, .. } | Op::RemoveFriends { user, friends, .. } => {
            [some(friends), vec![Who::User(*user)]].concat()
        }
        Op::CreateGroup { group, owner, members, .. } => {
            let owner = owner.map(Who::User).into_iter().collect();
            [some(members), owner, vec![Who::Group(*group), Who::App]].concat()
        }
        Op::Join { group, users } => [some(users), vec![Who::Group(*group)]].concat(),
        Op::Leave { group, users } => [some(users), vec![Who::Group(*group), Who::App]].concat(),
        Op::UpdateGroup { group, .. } => vec![Who::Group(*group)],
        Op::Dissolve { group } => vec![Who::Group(*group), Who::App],
    }
}

async fn send(
    engine: &Engine,
    app: AppId,
    (mode, all_or_nothing): (Mode, bool),
    deadline: Timestamp,
    op: &Op,
) -> Result<Decision, LedgerError> {
    let operation = match op {
        Op::DeleteAccounts(users) => {
            return engine.delete_accounts(&app, user_ids(users), deadline).await;
        }
        Op::CreateAccounts(users) => Operation::CreateAccounts { users: user_ids(users) },
        Op::AddFriends { user, friends, one_way } => Operation::AddFriends {
            user: user_id(*user),
            friends: user_ids(friends),
            one_way: *one_way,
        },
        Op::RemoveFriends { user, friends, one_way } => Operation::RemoveFriends {
            user: user_id(*user),
            friends: user_ids(friends),
            one_way: *one_way,
        },
        Op::CreateGroup { group, kind, owner, members, max } => Operation::CreateGroup {
            group: group_id(*group),
            group_type: super::rules::SMALL.kinds[*kind].name.into(),
            owner: owner.map(user_id),
            members: user_ids(members),
            max_members: *max,
        },
        Op::UpdateGroup { group, max } => {
            Operation::UpdateGroup { group: group_id(*group), max_members: *max }
        }
        Op::Join { group, users } => {
            Operation::JoinGroup { group: group_id(*group), users: user_ids(users) }
        }
        Op::Leave { group, users } => {
            Operation::LeaveGroup { group: group_id(*group), users: user_ids(users) }
        }
        Op::Dissolve { group } => Operation::DissolveGroup { group: group_id(*group) },
    };
    engine.apply(Request { app, mode, all_or_nothing, deadline, operation }).await
}
