//! The engine: one operation from request to decision.
//!
//! The engine passes the operation to the ledger together with the current catalog, and completes
//! the result: each violation becomes a [`Denial`] with the IM error code, a sentence and an
//! upgrade offer. It decides nothing itself: the one atomic step is the ledger's.
//!
//! [`fallback`] decides while the store is unavailable, [`events`] writes events to the log of
//! events; [`admin`] sells editions and add-ons and publishes the resulting limits to the
//! ledger.

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::stream::{self, StreamExt as _};
use tracing::debug;

use crate::clock::Clock;
use crate::domain::catalog::Catalog;
use crate::domain::decision::{ItemResult, Mode, Outcome, Subject};
use crate::domain::history::History;
use crate::domain::id::{AppId, UserId};
use crate::domain::schedule::{MissingItem, Schedule};
use crate::domain::time::Timestamp;
use crate::domain::usage::{Usage, usages};
use crate::domain::warning::Warning;
use crate::ledger::{Answer, Call, Ledger, LedgerError, Operation, TakeOptions};
use crate::store::{CLOCK_SKEW_MAX, StoreError};
use crate::telemetry::{Metrics, trace};

pub mod admin;
mod denial;
pub mod events;
pub mod fallback;
pub mod holds;
mod metering;
mod store;
mod top;

pub use denial::Denial;
use denial::complete;
use events::EventBuffer;
use fallback::Fallback;
use holds::HoldDues;
use top::DenialCounter;
pub use top::{DenialKey, Estimate, TopDenials};

/// Most accounts of one call that are deleted concurrently, so that they share their commits.
const DELETIONS_MAX: usize = 64;

/// Treatment of an unregistered app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownApp {
    /// It is on the catalog's default edition.
    #[default]
    Trial,
    /// Every operation fails with the error that the app is not registered.
    Reject,
}

/// The current catalog and the schedule of unregistered apps under it.
#[derive(Debug)]
struct Rules {
    catalog: Arc<Catalog>,
    unknown_app: Option<Arc<Schedule>>,
}

/// Decides operations against a ledger.
pub struct Engine {
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    unknown_app: UnknownApp,
    rules: ArcSwap<Rules>,
    event_buffer: EventBuffer,
    top: DenialCounter,
    fallback: Option<Arc<Fallback>>,
    holds: HoldDues,
}

/// One operation on an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The app.
    pub app: AppId,
    /// Mode in which operations that take are carried out.
    pub mode: Mode,
    /// The options of a take.
    pub take: TakeOptions,
    /// Instant after which the response is useless.
    pub deadline: Timestamp,
    /// The operation.
    pub operation: Operation,
}

/// The decision about one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The store's clock when it decided.
    pub decided_at: Timestamp,
    /// Result of the operation as a whole: the group created, updated or dissolved, the account
    /// deleted.
    pub whole: Option<ItemResult<Denial>>,
    /// Result for each user of the operation, in its order.
    pub items: Vec<ItemResult<Denial>>,
    /// Number of members that a dissolution released.
    pub members_released: u64,
    /// True if the last member left and the group was dissolved.
    pub group_reclaimed: bool,
    /// Thresholds that the operation crossed.
    pub warnings: Vec<Warning>,
    /// Reason why the decision is not exact, if it is not.
    pub degradation: Option<Degradation>,
}

/// Reason why a decision is not exact: the store did not make it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Degradation {
    /// It was admitted without counting.
    Admitted,
    /// It was denied by a recent denial.
    Denied,
    /// It was released; the store is updated later.
    Released,
    /// The confirmation of a hold was accepted; the store is updated later.
    Confirmed,
}

impl Degradation {
    /// Returns a sentence for people.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Admitted => {
                "the store is unavailable: admitted without counting, to be counted later"
            }
            Self::Denied => "the store is unavailable: denied by a recent denial",
            Self::Released => "the store is unavailable: released, to be counted later",
            Self::Confirmed => {
                "the store is unavailable: the confirmation is accepted, to be carried out later"
            }
        }
    }
}

/// Counts and limits of one subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageReport {
    /// The store's clock when it read.
    pub read_at: Timestamp,
    /// One entry a limit.
    pub usages: Vec<Usage>,
    /// The part of each entry that is held and not confirmed yet.
    pub held: Vec<u64>,
    /// True if every operation that takes is denied.
    pub stopped: bool,
    /// Recent metering; of an app only.
    pub history: Vec<History>,
}

impl Engine {
    /// Creates an engine over a ledger, with an initial catalog.
    pub fn new(
        ledger: Arc<dyn Ledger>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        catalog: Catalog,
        unknown_app: UnknownApp,
    ) -> Result<Self, MissingItem> {
        let rules = ArcSwap::from_pointee(Rules::new(catalog, unknown_app)?);
        let event_buffer = EventBuffer::new(metrics.clone());
        let top = DenialCounter::new(clock.now());
        let (fallback, holds) = (None, HoldDues::default());
        Ok(Self { ledger, clock, metrics, unknown_app, rules, event_buffer, top, fallback, holds })
    }

    /// Adds a fallback, which decides while the store is unavailable.
    #[must_use]
    pub fn falling_back(self, fallback: Arc<Fallback>) -> Self {
        Self { fallback: Some(fallback), ..self }
    }

    /// Returns the most frequent denials of this sidecar within the running hour, up to `most` apps
    /// and subjects; only those of `app`, if it is given.
    #[must_use]
    pub fn top_denials(&self, app: Option<&AppId>, most: usize) -> TopDenials {
        self.top.top(self.clock.now(), app, most)
    }

    /// Returns whether any operation is admitted while the store is unavailable.
    #[must_use]
    pub fn admits_without_store(&self) -> bool {
        self.fallback.is_some() && self.catalog().failure.any_open()
    }

    /// Returns whether the store is lost: it fails every call until it is accepted.
    #[must_use]
    pub fn is_store_lost(&self) -> bool {
        self.ledger.is_lost()
    }

    /// Returns the current catalog.
    #[must_use]
    pub fn catalog(&self) -> Arc<Catalog> {
        self.rules.load().catalog.clone()
    }

    /// Returns the buffer of events that are not in the log yet.
    #[must_use]
    pub fn event_buffer(&self) -> &EventBuffer {
        &self.event_buffer
    }

    /// Returns the instant by this process's clock, in which deadlines are given.
    #[must_use]
    pub fn local_now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns the instant by the store's clock: limits computed for a wrong instant would be
    /// wrong.
    pub async fn now(&self) -> Result<Timestamp, LedgerError> {
        self.ledger.now().await
    }

    /// Returns the instant by the store's clock if this process's clock agrees; used to record,
    /// issue or publish by time. A store in this process has no other clock, and does this check
    /// itself.
    pub async fn agreed_now(&self) -> Result<Timestamp, LedgerError> {
        self.agreed(self.now().await?)
    }

    /// Returns `now`, an instant by the store's clock, if this process's clock agrees.
    pub(in crate::engine) fn agreed(&self, now: Timestamp) -> Result<Timestamp, LedgerError> {
        let local = self.clock.now();
        if self.ledger.servers().is_empty() {
            return Ok(now);
        }
        let apart = now.abs_diff(local);
        if apart > CLOCK_SKEW_MAX {
            return Err(StoreError::ClockSkew(apart.as_secs()).into());
        }
        Ok(now)
    }

    /// Returns the instant for an event: the store's, unless it is far from this process's.
    pub(in crate::engine) fn plausible(&self, at: Timestamp) -> Timestamp {
        let local = self.clock.now();
        if at.abs_diff(local) > CLOCK_SKEW_MAX { local } else { at }
    }

    /// Decides every later operation by another catalog.
    fn set_catalog(&self, catalog: Catalog) -> Result<(), MissingItem> {
        self.rules.store(Arc::new(Rules::new(catalog, self.unknown_app)?));
        Ok(())
    }

    /// Decides one operation and, if it is allowed, writes it.
    pub async fn apply(&self, request: Request) -> Result<Decision, LedgerError> {
        let (app, mode, hold) = (request.app.clone(), request.mode, request.take.hold.clone());
        let measure = self.metrics.measure_operation(request.operation.kind(), mode);
        let decision = {
            let _in_flight = self.metrics.condition.in_work();
            self.decide(request).await
        };
        match &decision {
            Ok(decision) => {
                if decision.has_reports() {
                    decision.log(&app, measure.operation());
                    let at = self.plausible(decision.decided_at);
                    self.event_buffer.record(&app, mode, at, decision);
                    self.top.record(decision.decided_at, &app, mode, decision);
                }
                if let Some(hold) = hold.filter(|_| mode.writes()) {
                    self.note_hold(&app, &hold, decision);
                }
                measure.decided(decision.results().map(denial::outcome_and_reason));
            }
            Err(error) => measure.failed(error.name()),
        }
        decision
    }

    async fn decide(&self, request: Request) -> Result<Decision, LedgerError> {
        match &self.fallback {
            Some(fallback) => fallback.decide(self, request).await,
            None => self.ask(request, true).await,
        }
    }

    /// Calls the ledger to decide.
    async fn ask(&self, request: Request, fail_fast: bool) -> Result<Decision, LedgerError> {
        self.carry_out(request, |call| Call { fail_fast, ..call }).await
    }

    /// Writes an operation to the ledger that was answered without it.
    async fn replay(&self, request: Request) -> Result<Decision, LedgerError> {
        self.carry_out(request, |call| Call { fail_fast: true, is_replayed: true, ..call }).await
    }

    async fn carry_out(
        &self,
        request: Request,
        how: impl FnOnce(Call) -> Call,
    ) -> Result<Decision, LedgerError> {
        let Request { app, mode, mut take, deadline, operation } = request;
        let span = trace::of_store("apply", &app);
        let (call, catalog) = self.call(app, mode, deadline);
        // A batch of one subject is whole by itself.
        take.all_or_nothing &= operation.subjects_len() > 1;
        let call = how(Call { take, ..call });
        let work = self.ledger.apply(call, operation);
        let answer = self.measured_in(span, "apply", work).await?;
        Ok(Decision::new(&catalog, answer))
    }

    /// Deletes accounts, each in a step of its own; item results in the order of `users`.
    ///
    /// After an error some accounts are deleted and some are not; a retry deletes the rest.
    pub async fn delete_accounts(
        &self,
        app: &AppId,
        users: Vec<UserId>,
        deadline: Timestamp,
    ) -> Result<Decision, LedgerError> {
        let delete = |user| {
            let operation = Operation::DeleteAccount { user };
            let (app, mode) = (app.clone(), Mode::Enforce);
            self.apply(Request { app, mode, take: TakeOptions::default(), deadline, operation })
        };
        // The state that one deletion leaves for the next must not depend on which is faster.
        let concurrent = if self.ledger.keeps_order() { DELETIONS_MAX } else { 1 };
        let mut deletions = stream::iter(users.into_iter().map(delete)).buffered(concurrent);
        let (mut deleted, mut failed) = (Vec::new(), None);
        while let Some(deletion) = deletions.next().await {
            match deletion {
                Ok(decision) => deleted.push(decision),
                Err(error) => {
                    failed = Some(match failed {
                        None => error,
                        Some(first) if error.did_nothing() => first,
                        Some(first) => first.of_unfinished(),
                    });
                }
            }
        }
        if let Some(error) = failed {
            return Err(if deleted.is_empty() { error } else { error.of_unfinished() });
        }
        Ok(Decision {
            decided_at: deleted.last().map_or_else(|| self.clock.now(), |last| last.decided_at),
            degradation: deleted.iter().find_map(|decision| decision.degradation),
            whole: None,
            items: deleted.into_iter().filter_map(|decision| decision.whole).collect(),
            members_released: 0,
            group_reclaimed: false,
            warnings: Vec::new(),
        })
    }

    /// Reads the counts of a subject against its limits.
    pub async fn usage(
        &self,
        app: AppId,
        subject: Subject,
        deadline: Timestamp,
    ) -> Result<UsageReport, LedgerError> {
        let measure = self.metrics.measure("get_usage", Mode::CheckOnly);
        let (call, catalog) = self.call(app, Mode::CheckOnly, deadline);
        let call = Call { fail_fast: true, ..call };
        match self.read_usage(&call, &catalog, subject).await {
            Ok(report) => {
                measure.decided([]);
                Ok(report)
            }
            Err(error) => {
                measure.failed(error.name());
                Err(error)
            }
        }
    }

    async fn read_usage(
        &self,
        call: &Call,
        catalog: &Catalog,
        subject: Subject,
    ) -> Result<UsageReport, LedgerError> {
        let is_app = subject == Subject::App;
        let work = self.ledger.read(call.clone(), subject);
        let reading = self.measured("read", &call.app, work).await?;
        let at = reading.read_at;
        let held = usages(catalog, &reading.schedule, &reading.held, at).into_iter();
        Ok(UsageReport {
            read_at: at,
            usages: usages(catalog, &reading.schedule, &reading.counts, at),
            held: held.map(|held| u64::try_from(held.used).unwrap_or(0)).collect(),
            stopped: reading.schedule.at(at).stopped(),
            history: if is_app { self.history(call, at).await? } else { Vec::new() },
        })
    }

    fn call(&self, app: AppId, mode: Mode, deadline: Timestamp) -> (Call, Arc<Catalog>) {
        let rules = self.rules.load();
        let catalog = rules.catalog.clone();
        let unknown_app = rules.unknown_app.clone();
        let call = Call {
            app,
            mode,
            deadline,
            catalog: catalog.clone(),
            unknown_app,
            fail_fast: false,
            is_replayed: false,
            take: TakeOptions::default(),
        };
        (call, catalog)
    }
}

impl Rules {
    fn new(catalog: Catalog, unknown_app: UnknownApp) -> Result<Self, MissingItem> {
        let default = Arc::new(Schedule::default_of(&catalog)?);
        Ok(Self {
            catalog: Arc::new(catalog),
            unknown_app: (unknown_app == UnknownApp::Trial).then_some(default),
        })
    }
}

impl Decision {
    fn new(catalog: &Catalog, answer: Answer) -> Self {
        let limits = answer.limits.as_ref();
        let rule = |result| complete(catalog, limits, result);
        Self {
            decided_at: answer.decided_at,
            whole: answer.whole.map(rule),
            items: answer.items.into_iter().map(rule).collect(),
            members_released: answer.members_released,
            group_reclaimed: answer.group_reclaimed,
            warnings: answer.warnings,
            degradation: None,
        }
    }

    /// Returns whether there is anything to report beside the outcomes: a violation, a denial, or a
    /// threshold that was crossed.
    fn has_reports(&self) -> bool {
        let is_reported = |result: &ItemResult<Denial>| {
            result.outcome == Outcome::Denied || !result.violations.is_empty()
        };
        !self.warnings.is_empty() || self.results().any(is_reported)
    }

    fn log(&self, app: &AppId, operation: &str) {
        for denial in self.results().flat_map(|result| &result.violations) {
            let reason = denial.violation.reason.name();
            debug!(%app, operation, reason, subject = %denial.violation.subject, "limit reached");
        }
    }

    /// Returns all results, that of the whole operation first.
    pub fn results(&self) -> impl Iterator<Item = &ItemResult<Denial>> {
        self.whole.iter().chain(&self.items)
    }

    /// Returns whether everything was denied, or aborted for a denial.
    #[must_use]
    pub fn denied(&self) -> bool {
        let mut results = self.results().peekable();
        results.peek().is_some() && results.all(ItemResult::refused)
    }
}
