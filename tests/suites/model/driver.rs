//! Runs the same operations on the engine and on the model, and compares.
//!
//! In a round every app gets one operation, all concurrently: apps must not affect each other, and
//! the store has several operations for one commit.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use imquota::domain::catalog::Catalog;
use imquota::domain::id::AppId;
use imquota::domain::time::Timestamp;
use imquota::engine::{Engine, Request};
use imquota::ledger::{Call, Ledger, TakeOptions};
use tokio::task::JoinSet;

use super::coverage::Coverage;
use super::endings::Ended;
use super::holds::Kind;
use super::operation::{Fault, How, Op, OpResult, User, Who};
use super::plan::{self, Act, Universe};
use super::rules::Rules;
use super::state::App;
use super::usage::usage;
use super::wire::{self, fault, lines, subject, told, user_ids, without_codes};
use crate::support::{ManualClock, Place, Rng, Service, app};

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
/// The steps of an app that are shown with a failure.
const HISTORY: usize = 40;

pub struct Run {
    pub setup: Setup,
    pub service: Service,
    pub clock: Arc<ManualClock>,
    pub rng: Rng,
    pub ids: Vec<AppId>,
    pub apps: Vec<App>,
    /// The requests that made the purchases of each app.
    pub sold: Vec<Vec<String>>,
    pub moods: Vec<usize>,
    /// The last steps of each app, to be shown with a failure.
    pub last: Vec<VecDeque<String>>,
    pub coverage: Coverage,
    pub requests: u64,
    pub round: usize,
}

/// One step of a round and the model's expected result.
struct Step {
    index: usize,
    late: bool,
    act: Act,
    expected: Answered,
    /// Some of the subjects whose counts the step may have changed; the others are covered by the
    /// comparisons of the whole state.
    touched: Vec<Who>,
}

/// The result of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answered {
    Operation(Result<OpResult, Fault>),
    Ended(Vec<Ended>),
    Swept,
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
    let is_whole = matches!(setup.place, Place::Memory | Place::Directory(_));
    let mut run = Run {
        ids: indices.clone().map(|index| app(&format!("app-{index}"))).collect(),
        apps: indices.clone().map(|_| App { is_whole, ..App::default() }).collect(),
        sold: indices.clone().map(|_| Vec::new()).collect(),
        last: indices.clone().map(|_| VecDeque::new()).collect(),
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
        run.move_clock().await;
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
        for (case, times) in &app.cases {
            run.coverage.add(case, *times);
        }
    }
    run.service.close().await;
    run.coverage
}

impl Run {
    pub fn now(&self) -> i64 {
        self.clock.millis()
    }

    pub fn place(&self, index: usize) -> String {
        let (seed, round, now) = (self.setup.seed, self.round, self.now());
        format!("IMQUOTA_SEED={seed}, round {round}, app {index}, clock {now}")
    }

    async fn move_clock(&mut self) {
        let now = self.now();
        let (moves, small_moves) = (self.setup.universe.moves, self.setup.universe.small_moves);
        let then = if self.rng.below(1000) < moves {
            plan::later(&mut self.rng, &self.apps, now)
        } else if self.rng.below(1000) < small_moves {
            plan::soon(&mut self.rng, &self.apps, now)
        } else {
            return;
        };
        if super::calendar::day_of(then) != super::calendar::day_of(now) {
            // A group that expired members leave empty ends on the day on which they are removed.
            for index in 0..self.apps.len() {
                self.sweep(index).await;
            }
            self.coverage.hit("day changed");
        }
        self.clock.set(then);
    }

    /// Removes what has expired, in the store and in the model.
    pub async fn sweep(&mut self, index: usize) {
        let now = self.now();
        let deadline = Timestamp::from_millis(now + 60_000);
        let call = Call { deadline, ..self.service.call(&self.ids[index]) };
        self.service.ledger.sweep_holds(call).await.expect("a sweep");
        self.apps[index].sweep(self.setup.rules, now);
    }

    async fn reopen(self) -> Self {
        self.service.close().await;
        let clock = self.clock.clone();
        let service = Service::open_any(&self.setup.place, clock, self.setup.catalog.clone()).await;
        let mut run = Self { service, ..self };
        run.coverage.hit("re-opened");
        run
    }

    async fn play_round(&mut self) {
        let mut answers = JoinSet::new();
        let mut steps = Vec::new();
        for index in 0..self.apps.len() {
            let step = self.step(index);
            let engine = self.service.engine.clone();
            let ledger = self.service.ledger.clone();
            let timeout = if step.late { -1 } else { 60_000 };
            let deadline = Timestamp::from_millis(self.now() + timeout);
            let call = Call { deadline, ..self.service.call(&self.ids[index]) };
            let (act, now) = (step.act.clone(), self.now());
            answers.spawn(async move { (index, send(&engine, &*ledger, call, &act, now).await) });
            steps.push(step);
        }
        while let Some(answer) = answers.join_next().await {
            let (index, answer) = answer.expect("the operation does not panic");
            self.compare(&steps[index], &answer);
        }
        self.compare_touched(&steps).await;
    }

    /// Draws a step, and applies it to the model.
    fn step(&mut self, index: usize) -> Step {
        let (now, rules) = (self.now(), self.setup.rules);
        let (rng, app, universe) = (&mut self.rng, &mut self.apps[index], self.setup.universe);
        let holds = universe.holds[index % universe.holds.len()];
        let act = plan::act(rng, universe, (self.moods[index], holds), app, now);
        let mut late = false;
        let (expected, touched) = match &act {
            Act::Operation(how, op) => {
                late = rng.below(200) == 0;
                let expected =
                    if late { Err(Fault::DeadlinePassed) } else { app.apply(rules, now, *how, op) };
                (Answered::Operation(expected), touched(op))
            }
            Act::End(end) => {
                let records = Kind::in_part(end.part).iter();
                let records = records.filter_map(|kind| app.holds.records.get(&(*kind, end.id)));
                let touched = records.flat_map(|record| touched(&record.op)).collect();
                if end.as_of.is_some() {
                    app.sweep(rules, now);
                }
                let ended = app.end(rules, now, *end);
                self.coverage.note_end(*end, &ended);
                (Answered::Ended(without_codes(ended)), touched)
            }
            Act::Sweep => {
                app.sweep(rules, now);
                (Answered::Swept, vec![Who::App])
            }
        };
        let last = &mut self.last[index];
        last.push_back(format!("{now}: {act:?} -> {expected:?}"));
        if last.len() > HISTORY {
            last.pop_front();
        }
        Step { index, late, act, expected, touched }
    }

    fn compare(&mut self, step: &Step, got: &Answered) {
        let place = self.place(step.index);
        let allowed = self.apps[step.index].purchases.allowed(self.setup.rules, self.now());
        assert!(
            *got == step.expected,
            "{place}: {:?} (late: {})\nunder {allowed:?}\nexpected {:#?}\ngot {got:#?}\n{}",
            step.act,
            step.late,
            step.expected,
            self.history(step.index),
        );
        self.coverage.hit("operations");
        if let (Act::Operation(how, _), Answered::Operation(told)) = (&step.act, &step.expected) {
            self.coverage.note(how.mode, &allowed, told);
        }
        let today = super::calendar::day_of(self.now());
        if self.apps[step.index].net_of_day(today) < 0 {
            self.coverage.hit("more dissolved than created today");
        }
    }

    /// The last steps of an app.
    pub fn history(&self, index: usize) -> String {
        let lines: Vec<&str> = self.last[index].iter().map(String::as_str).collect();
        format!("\n  {}", lines.join("\n  "))
    }

    /// Compares the counts of the subjects that the round has touched.
    async fn compare_touched(&mut self, steps: &[Step]) {
        let subjects = steps
            .iter()
            .flat_map(|step| step.touched.iter().map(|who| (step.index, *who)).collect::<Vec<_>>());
        let subjects: Vec<(usize, Who)> = subjects.collect();
        let held = subjects.iter().copied().filter(|_| self.rng.percent(30)).collect();
        self.compare_usage(subjects).await;
        self.compare_held(held).await;
        let index = self.rng.below(self.apps.len());
        self.compare_billed(index).await;
    }

    async fn compare_all(&mut self) {
        let universe = self.setup.universe;
        let users = (0..universe.users).map(Who::User);
        let whos: Vec<Who> =
            users.chain((0..universe.groups).map(Who::Group)).chain([Who::App]).collect();
        let subjects = (0..self.apps.len()).flat_map(|app| whos.iter().map(move |who| (app, *who)));
        let subjects: Vec<(usize, Who)> = subjects.collect();
        self.compare_usage(subjects.clone()).await;
        self.compare_held(subjects).await;
        for index in 0..self.apps.len() {
            self.compare_billed(index).await;
        }
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
            let visible = self.apps[index].visible(self.setup.rules, now);
            let expected = usage(&visible, self.setup.rules, now, who);
            let expected = expected.map(|lines| (lines, stopped)).ok_or(Fault::GroupNotFound);
            let got = reading
                .map(|report| (lines(&report.usages), report.stopped))
                .map_err(|error| fault(&error, &who));
            let place = self.place(index);
            let history = self.history(index);
            assert!(
                got == expected,
                "{place}: {who:?}\nexpected {expected:#?}\ngot {got:#?}\n{history}"
            );
        }
    }
}

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

async fn send(engine: &Engine, ledger: &dyn Ledger, call: Call, act: &Act, now: i64) -> Answered {
    let at = |decided_at: Timestamp| assert_eq!(decided_at.as_millis(), now);
    let Call { app, deadline, .. } = call.clone();
    let decision = match act {
        Act::Operation(_, Op::DeleteAccounts(users)) => {
            engine.delete_accounts(&app, user_ids(users), deadline).await
        }
        Act::Operation(How { mode, all_or_nothing, hold }, op) => {
            let (mode, operation) = (*mode, wire::operation(op));
            let hold = hold.map(wire::hold);
            let take = TakeOptions { all_or_nothing: *all_or_nothing, hold, replaces: None };
            let request = Request { app, mode, take, deadline, operation };
            engine.apply(request).await
        }
        Act::End(end) => {
            if end.as_of.is_some() {
                // What has expired since that instant is confirmed or taken anew, by whether it is
                // still there.
                ledger.sweep_holds(call.clone()).await.expect("a sweep");
            }
            let call = Call { mode: end.mode, ..call };
            let ended = ledger.end_hold(call, wire::ending(*end)).await;
            let ended = ended.unwrap_or_else(|error| panic!("{end:?}: {error}"));
            for one in &ended {
                at(one.decided_at);
            }
            return Answered::Ended(ended.iter().map(wire::ended).collect());
        }
        Act::Sweep => {
            ledger.sweep_holds(call).await.expect("a sweep");
            return Answered::Swept;
        }
    };
    Answered::Operation(match decision {
        Ok(decision) => {
            at(decision.decided_at);
            Ok(told(&decision))
        }
        Err(error) => Err(fault(&error, act)),
    })
}
