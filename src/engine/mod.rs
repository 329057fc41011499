//! One operation from request to decision.
//!
//! The engine hands the ledger the operation together with the catalog of the moment, and dresses
//! what comes back: each breach becomes a [`Denial`] with the IM's code, a sentence and what to
//! buy. It decides nothing itself: the one atomic step is the ledger's.
//!
//! [`fallback`] decides while the store does not answer, [`events`] brings what happens into the
//! log of events; [`administration`] sells editions and add-ons and brings the limits that follow
//! to the ledger.

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::stream::{self, StreamExt as _};
use tracing::debug;

use crate::clock::Clock;
use crate::domain::catalog::Catalog;
use crate::domain::decision::{Mode, Outcome, Subject};
use crate::domain::history::History;
use crate::domain::id::{AppId, UserId};
use crate::domain::schedule::{MissingItem, Schedule};
use crate::domain::time::Timestamp;
use crate::domain::usage::{Usage, usages};
use crate::domain::warning::Warning;
use crate::ledger::{Answer, CLOCK_SKEW_MAX, Call, Ledger, LedgerError, Operation};
use crate::telemetry::Metrics;

pub mod administration;
mod denial;
pub mod events;
pub mod fallback;
mod metering;
mod store;
mod top;

pub use denial::{Denial, Ruling};
use events::Notices;
use fallback::Fallback;
use top::DenialCounter;
pub use top::{DenialKey, Estimate, TopDenials};

/// Most accounts of one call that are deleted side by side, so that they share their commits.
const DELETIONS_MAX: usize = 64;

/// What becomes of an app that nobody registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownApp {
    /// It is on the catalog's default edition.
    #[default]
    Trial,
    /// Every operation answers that the app is not registered.
    Reject,
}

/// The catalog of the moment and what follows from it.
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
    notices: Notices,
    top: DenialCounter,
    fallback: Option<Arc<Fallback>>,
}

/// One operation on an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The app.
    pub app: AppId,
    /// How takes are carried out.
    pub mode: Mode,
    /// When the answer has become useless.
    pub deadline: Timestamp,
    /// What to do.
    pub operation: Operation,
}

/// What was decided about one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The store's clock when it decided.
    pub decided_at: Timestamp,
    /// On the operation as a whole: the group created, updated or dissolved, the account deleted.
    pub whole: Option<Ruling>,
    /// On each user of the operation, in its order.
    pub items: Vec<Ruling>,
    /// How many members a dissolution released.
    pub members_released: u64,
    /// Whether the last member left and the group is gone.
    pub group_reclaimed: bool,
    /// Counts that passed a threshold by it.
    pub warnings: Vec<Warning>,
    /// Why the answer is not exact, where it is not.
    pub degradation: Option<Degradation>,
}

/// Why an answer is not exact: the store did not decide it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Degradation {
    /// It was admitted without counting.
    Admitted,
    /// It was denied by what was denied lately.
    Denied,
    /// It is given back later.
    Released,
}

impl Degradation {
    /// A sentence for people.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Admitted => {
                "the store did not answer: admitted without counting, and counted once it does"
            }
            Self::Denied => "the store did not answer: denied, as it was a short while ago",
            Self::Released => "the store did not answer: given back once it does",
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
    /// Whether everything that takes is denied.
    pub stopped: bool,
    /// What was metered lately; of an app only.
    pub history: Vec<History>,
}

impl Engine {
    /// An engine over a ledger, with a catalog to begin with.
    pub fn new(
        ledger: Arc<dyn Ledger>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        catalog: Catalog,
        unknown_app: UnknownApp,
    ) -> Result<Self, MissingItem> {
        let rules = ArcSwap::from_pointee(Rules::new(catalog, unknown_app)?);
        let notices = Notices::new(metrics.clone());
        let top = DenialCounter::new(clock.now());
        let fallback = None;
        Ok(Self { ledger, clock, metrics, unknown_app, rules, notices, top, fallback })
    }

    /// The same with what decides while the store does not answer.
    #[must_use]
    pub fn falling_back(self, fallback: Arc<Fallback>) -> Self {
        Self { fallback: Some(fallback), ..self }
    }

    /// The most frequent denials of this sidecar within the running hour, up to so many apps and
    /// subjects; of one app, where it is named.
    #[must_use]
    pub fn top_denials(&self, app: Option<&AppId>, most: usize) -> TopDenials {
        self.top.top(self.clock.now(), app, most)
    }

    /// Whether anything is admitted while the store does not answer.
    #[must_use]
    pub fn admits_without_store(&self) -> bool {
        self.fallback.is_some() && self.catalog().failure.opens_something()
    }

    /// Whether the store is lost: it answers nothing until it is accepted.
    #[must_use]
    pub fn is_store_lost(&self) -> bool {
        self.ledger.is_lost()
    }

    /// The catalog of the moment.
    #[must_use]
    pub fn catalog(&self) -> Arc<Catalog> {
        self.rules.load().catalog.clone()
    }

    /// What is told to whoever watches, until it is in the log.
    #[must_use]
    pub fn notices(&self) -> &Notices {
        &self.notices
    }

    /// Now, by this process's clock, which deadlines are told in.
    #[must_use]
    pub fn local_now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Now, by the store's clock: limits that are worked out for a wrong instant would be wrong.
    pub async fn now(&self) -> Result<Timestamp, LedgerError> {
        self.ledger.now().await
    }

    /// Now, by the store's clock, where this process's agrees: for what is recorded, issued or told
    /// by the time. A store in this process has no other clock, and refuses by itself.
    pub async fn agreed_now(&self) -> Result<Timestamp, LedgerError> {
        let (now, local) = (self.now().await?, self.clock.now());
        if self.ledger.servers().is_empty() {
            return Ok(now);
        }
        let apart = now.abs_diff(local);
        if apart > CLOCK_SKEW_MAX {
            return Err(LedgerError::ClockSkew(apart.as_secs()));
        }
        Ok(now)
    }

    /// An instant that an event may carry: the store's, unless it is far from this process's.
    pub(in crate::engine) fn plausible(&self, at: Timestamp) -> Timestamp {
        let local = self.clock.now();
        if at.abs_diff(local) > CLOCK_SKEW_MAX { local } else { at }
    }

    /// Decides every later operation by another catalog.
    fn set_catalog(&self, catalog: Catalog) -> Result<(), MissingItem> {
        self.rules.store(Arc::new(Rules::new(catalog, self.unknown_app)?));
        Ok(())
    }

    /// Decides one operation and, where it is allowed, writes it.
    pub async fn apply(&self, request: Request) -> Result<Decision, LedgerError> {
        let (app, mode) = (request.app.clone(), request.mode);
        let measure = self.metrics.measure(request.operation.name(), mode);
        let decision = {
            let _in_work = self.metrics.condition.in_work();
            self.decide(request).await
        };
        match &decision {
            Ok(decision) => {
                decision.log(&app, measure.operation());
                self.notices.note(&app, mode, self.plausible(decision.decided_at), decision);
                self.top.record(decision.decided_at, &app, mode, decision);
                measure.decided(decision.rulings());
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

    /// Has the ledger decide.
    async fn ask(&self, request: Request, hurried: bool) -> Result<Decision, LedgerError> {
        self.carry_out(request, |call| Call { hurried, ..call }).await
    }

    /// Brings to the ledger what was answered without it.
    async fn replay(&self, request: Request) -> Result<Decision, LedgerError> {
        self.carry_out(request, |call| Call { hurried: true, is_replayed: true, ..call }).await
    }

    async fn carry_out(
        &self,
        request: Request,
        how: impl FnOnce(Call) -> Call,
    ) -> Result<Decision, LedgerError> {
        let Request { app, mode, deadline, operation } = request;
        let (call, catalog) = self.call(app.clone(), mode, deadline);
        let work = self.ledger.apply(how(call), operation);
        let answer = self.measured("apply", &app, work).await?;
        Ok(Decision::new(&catalog, answer))
    }

    /// Deletes accounts, each in a step of its own; rulings in the order of `users`.
    ///
    /// After an error some accounts are deleted and some are not; a repetition finishes the rest.
    pub async fn delete_accounts(
        &self,
        app: &AppId,
        users: Vec<UserId>,
        deadline: Timestamp,
    ) -> Result<Decision, LedgerError> {
        let delete = |user| {
            let operation = Operation::DeleteAccount { user };
            self.apply(Request { app: app.clone(), mode: Mode::Enforce, deadline, operation })
        };
        // What one deletion leaves for the next must not depend on which is faster.
        let at_once = if self.ledger.keeps_order() { DELETIONS_MAX } else { 1 };
        let mut deletions = stream::iter(users.into_iter().map(delete)).buffered(at_once);
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
        let call = Call { hurried: true, ..call };
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
        Ok(UsageReport {
            read_at: at,
            usages: usages(catalog, &reading.schedule, &reading.counts, at),
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
            hurried: false,
            is_replayed: false,
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
        let rule = |verdict| Ruling::new(catalog, limits, verdict);
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

    fn log(&self, app: &AppId, operation: &str) {
        for denial in self.rulings().flat_map(|ruling| &ruling.denials) {
            let reason = denial.breach.reason.name();
            debug!(%app, operation, reason, subject = %denial.breach.subject, "over a limit");
        }
    }

    /// All rulings, that on the whole first.
    pub fn rulings(&self) -> impl Iterator<Item = &Ruling> {
        self.whole.iter().chain(&self.items)
    }

    /// Whether nothing at all was allowed.
    #[must_use]
    pub fn denied(&self) -> bool {
        let mut rulings = self.rulings().peekable();
        rulings.peek().is_some() && rulings.all(|ruling| ruling.outcome == Outcome::Denied)
    }
}
