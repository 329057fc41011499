//! What is decided while the store does not answer, by the catalog's failure policy.
//!
//! - A call that the policy may answer waits for the store for `store_timeout` at most, every other
//!   one as long as its own time lasts, and none of them where its server has not answered for a
//!   while.
//! - What is admitted without the store is in the journal, on disk, before it is answered, and so
//!   is what is given back. Whoever was denied lately is denied.
//! - Once the store answers, the journal is brought to it in order (`replay`). Until an entry is
//!   there, later operations on its users and groups do not overtake it: what gives back goes
//!   behind it, and so does what takes while the store is away; once it is back, what takes waits
//!   for the entry and is then decided exactly.
//! - What is admitted is bounded by the budget, which an entry gives back when it has been counted.
//!
//! What is in the journal of a sidecar, no other sidecar knows of. So what is sent to another one
//! about the same user and group may be overtaken by it: the README's contract for callers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tracing::warn;

use super::{Decision, Degradation, Engine, Request, Ruling};
use crate::domain::catalog::Catalog;
use crate::domain::decision::{Mode, Outcome, Reason, Subject, Verdict};
use crate::domain::id::UserId;
use crate::domain::limit::LimitId;
use crate::journal::{Entry, Journal, JournalError, Numbered};
use crate::ledger::{LedgerError, Operation};
use crate::telemetry::{Degraded, Metrics};

mod denial_cache;
mod generation;
mod pending;
mod plan;
mod replay;

use denial_cache::{DenialCache, asked_of_group, service};
use pending::Pending;
use plan::Plan;

/// Of a caller's time the fourth that is kept for an answer without the store.
const KEPT_PART: u32 = 4;

/// Of a call that had less time, an answer that did not come in time says more about its caller's
/// patience than about the store.
const PATIENCE_MIN: Duration = Duration::from_millis(100);

/// Decides without the store.
pub struct Fallback {
    journal: Journal,
    store_timeout: Duration,
    pending: Mutex<Pending>,
    /// Held while the journal follows the generation of the store.
    following: tokio::sync::Mutex<()>,
    lately: DenialCache,
    metrics: Arc<Metrics>,
    /// Something was appended.
    appended: Notify,
    /// Whether the store did not answer when it was last asked to take the journal, or since then.
    /// Sent anew with all that was brought to it.
    away: watch::Sender<bool>,
    /// Whether the journal has failed.
    failed: watch::Sender<bool>,
}

impl Fallback {
    /// Over an open journal and what it holds. A decision waits for the store so long.
    #[must_use]
    pub fn new(
        journal: Journal,
        entries: Vec<Numbered>,
        store_timeout: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        let mut pending = Pending::default();
        for (number, entry) in entries {
            pending.enter(&entry.app, &entry.operation);
            pending.insert(number, entry);
        }
        metrics.condition.journal(journal.len());
        Self {
            journal,
            store_timeout,
            pending: Mutex::new(pending),
            following: tokio::sync::Mutex::new(()),
            lately: DenialCache::default(),
            metrics,
            appended: Notify::new(),
            away: watch::Sender::new(false),
            failed: watch::Sender::new(false),
        }
    }

    /// Ready when the journal has failed: what it holds is known again when it is opened anew.
    pub async fn failed(&self) {
        let mut failed = self.failed.subscribe();
        // The sender lives as long as this.
        let _ = failed.wait_for(|failed| *failed).await;
    }

    /// Waits until everything is on disk, and closes the journal.
    pub async fn close(&self) {
        self.journal.close().await;
    }

    /// Decides by the store or, while that does not answer, by the policy.
    pub(super) async fn decide(
        self: &Arc<Self>,
        engine: &Engine,
        request: Request,
    ) -> Result<Decision, LedgerError> {
        if engine.ledger.is_lost() {
            return Err(generation::refusal(engine));
        }
        if !self.journal.is_empty() {
            self.follow_generation(engine).await?;
        }
        let catalog = engine.catalog();
        let plan = Plan::of(&catalog, &request.app, request.mode, &request.operation);
        if !self.journal.is_empty() && self.pending().holds(&request.app, &request.operation) {
            if plan == Plan::Release {
                return self.accept(engine, request).await;
            }
            if !self.settled(engine, &request, plan).await? {
                return self.admit(engine, &catalog, request).await;
            }
        }
        let (app, operation) = (request.app.clone(), request.operation.clone());
        if plan == Plan::Closed {
            let decided = engine.ask(request, true).await?;
            self.lately.learn(&app, &operation, &decided);
            return Ok(decided);
        }
        let patience = self.store_timeout.min(part_of_time(engine, &request));
        let deadline = engine.local_now() + patience;
        let hurried = Request { app, mode: request.mode, deadline, operation };
        match engine.ask(hurried, true).await {
            Ok(decided) => {
                self.lately.learn(&request.app, &request.operation, &decided);
                Ok(decided)
            }
            Err(error) if !self.tells_of_absence(&error, patience) => Err(error),
            Err(error) => {
                self.away.send_if_modified(|away| !std::mem::replace(away, true));
                if plan == Plan::Release {
                    return self.accept(engine, request).await;
                }
                let admitted = self.admit(engine, &catalog, request).await;
                // Where it may have been done, no other error may say that nothing was.
                admitted.map_err(|refusal| if error.did_nothing() { refusal } else { error })
            }
        }
    }

    /// Whether an error of a call with so much time says that the store is away.
    fn tells_of_absence(&self, error: &LedgerError, patience: Duration) -> bool {
        let waited = patience >= PATIENCE_MIN.min(self.store_timeout);
        is_absence(error) && (waited || matches!(error, LedgerError::Refused(_)))
    }

    /// Waits until everything about the operation's subjects is in the store; `false` where it is
    /// to go behind that, since the store is away.
    async fn settled(
        &self,
        engine: &Engine,
        request: &Request,
        plan: Plan,
    ) -> Result<bool, LedgerError> {
        let mut away = self.away.subscribe();
        let waiting = async {
            loop {
                let is_away = *away.borrow_and_update();
                if !self.pending().holds(&request.app, &request.operation) {
                    return true;
                }
                if is_away && plan == Plan::Take {
                    return false;
                }
                // The sender lives as long as this.
                let _ = away.changed().await;
            }
        };
        tokio::time::timeout(part_of_time(engine, request), waiting).await.map_err(|_| {
            let why = "operations on the same users or groups are being brought to it first";
            LedgerError::Refused(why.to_owned())
        })
    }

    /// Gives back without the store.
    async fn accept(
        self: &Arc<Self>,
        engine: &Engine,
        request: Request,
    ) -> Result<Decision, LedgerError> {
        let name = request.operation.name();
        let decision = given(&request.operation, engine);
        self.pending().enter(&request.app, &request.operation);
        self.write(entry(engine, request)).await?;
        self.metrics.condition.degraded(name, Degraded::Released);
        Ok(Decision { degradation: Some(Degradation::Released), ..decision })
    }

    /// Admits without the store, or denies whoever was denied lately.
    async fn admit(
        self: &Arc<Self>,
        engine: &Engine,
        catalog: &Catalog,
        request: Request,
    ) -> Result<Decision, LedgerError> {
        let name = request.operation.name();
        let (decision, admitted) = self.judge(engine, catalog, &request);
        let Some(operation) = admitted else {
            self.metrics.condition.degraded(name, Degraded::Denied);
            return Ok(decision);
        };
        let request = Request { operation, ..request };
        let budget = catalog.failure.budget;
        if !self.pending().reserve(&budget, &request.app, &request.operation) {
            self.metrics.condition.degraded(name, Degraded::Refused);
            let why = "it does not answer, and no more may be admitted without it";
            return Err(LedgerError::Refused(why.to_owned()));
        }
        if let Err(failed) = self.write(entry(engine, request)).await {
            self.metrics.condition.degraded(name, Degraded::Refused);
            return Err(failed);
        }
        self.metrics.condition.degraded(name, Degraded::Admitted);
        Ok(decision)
    }

    /// What is decided about each subject, and what is left of the operation: `None` where all of
    /// it is denied.
    fn judge(
        &self,
        engine: &Engine,
        catalog: &Catalog,
        request: &Request,
    ) -> (Decision, Option<Operation>) {
        let Request { app, mode, operation, .. } = request;
        let verdict = |asked: &[(Subject, LimitId, Reason)]| {
            let verdict = Verdict::on_taking(*mode, self.lately.breaches(app, asked));
            Ruling::new(catalog, None, verdict)
        };
        let joins = |user: &UserId, reason| {
            vec![service(), (Subject::User(user.clone()), LimitId::GroupsPerUser, reason)]
        };
        let mut whole = None;
        let (items, left) = match operation.clone() {
            Operation::CreateAccounts { users } => {
                let asked =
                    [service(), (Subject::App, LimitId::AccountsPerApp, Reason::AccountsPerApp)];
                let (items, users) = split(users, |_| verdict(&asked));
                (items, some(users).map(|users| Operation::CreateAccounts { users }))
            }
            Operation::AddFriends { user, friends, one_way } => {
                let friends_of = |user: &UserId, reason| {
                    (Subject::User(user.clone()), LimitId::FriendsPerUser, reason)
                };
                let (items, friends) = split(friends, |friend| {
                    let mut asked = vec![service(), friends_of(&user, Reason::MyFriends)];
                    asked.extend((!one_way).then(|| friends_of(friend, Reason::PeerFriends)));
                    verdict(&asked)
                });
                let left = some(friends);
                (items, left.map(|friends| Operation::AddFriends { user, friends, one_way }))
            }
            Operation::JoinGroup { group, users } => {
                let (items, users) = split(users, |user| {
                    let mut asked = joins(user, Reason::GroupsPerUser);
                    let of_group = Subject::Group(group.clone());
                    asked.push((of_group, LimitId::MembersPerGroup, Reason::MembersPerGroup));
                    verdict(&asked)
                });
                (items, some(users).map(|users| Operation::JoinGroup { group, users }))
            }
            Operation::CreateGroup { group, group_type, owner, members, max_members } => {
                let mut asked = asked_of_group(&group_type);
                asked.extend(owner.iter().flat_map(|owner| joins(owner, Reason::GroupsPerUser)));
                let ruling = verdict(&asked);
                let denied = ruling.outcome == Outcome::Denied;
                whole = Some(ruling);
                let (items, members) = split(members, |member| {
                    if denied {
                        return Ruling { outcome: Outcome::Denied, denials: Vec::new() };
                    }
                    verdict(&joins(member, Reason::GroupsPerUser))
                });
                let new =
                    || Operation::CreateGroup { group, group_type, owner, members, max_members };
                (items, (!denied).then(new))
            }
            other => (Vec::new(), Some(other)),
        };
        let degradation = if left.is_some() { Degradation::Admitted } else { Degradation::Denied };
        (Decision { whole, items, degradation: Some(degradation), ..undecided(engine) }, left)
    }

    /// Writes an entry down whose place was taken. Carried through even if the caller goes away.
    async fn write(self: &Arc<Self>, entry: Entry) -> Result<(), LedgerError> {
        let this = self.clone();
        let writing = tokio::spawn(async move {
            match this.journal.append(&entry).await {
                Ok(number) => {
                    this.pending().insert(number, entry);
                    this.metrics.condition.journal(this.journal.len());
                    this.appended.notify_one();
                    Ok(())
                }
                Err(error) => {
                    this.pending().leave(&entry.app, &entry.operation);
                    this.told(&error);
                    Err(LedgerError::Refused(error.to_string()))
                }
            }
        });
        let cut_off = |error| LedgerError::Unavailable(format!("the journal: {error}"));
        writing.await.map_err(cut_off)?
    }

    fn told(&self, error: &JournalError) {
        warn!(%error, "what the store did not decide cannot be written down");
        if matches!(error, JournalError::Failed(_)) {
            self.failed.send_replace(true);
        }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the store did not decide, as opposed to refusing the operation.
fn is_absence(error: &LedgerError) -> bool {
    match error {
        LedgerError::Refused(_) | LedgerError::Unavailable(_) | LedgerError::DeadlinePassed => true,
        LedgerError::Unfinished(why) => is_absence(why),
        _ => false,
    }
}

/// What is left of the caller's time, less what is kept for an answer without the store.
fn part_of_time(engine: &Engine, request: &Request) -> Duration {
    let left = request.deadline - engine.local_now();
    left.saturating_sub(left / KEPT_PART)
}

fn entry(engine: &Engine, request: Request) -> Entry {
    let Request { app, mode, operation, .. } = request;
    Entry { app, mode, at: engine.local_now(), operation }
}

fn undecided(engine: &Engine) -> Decision {
    Decision {
        decided_at: engine.local_now(),
        whole: None,
        items: Vec::new(),
        members_released: 0,
        group_reclaimed: false,
        warnings: Vec::new(),
        degradation: None,
    }
}

/// Everything of an operation that gives back is given back.
fn given(operation: &Operation, engine: &Engine) -> Decision {
    let applied = || Ruling { outcome: Outcome::Applied, denials: Vec::new() };
    let (whole, items) = match operation {
        Operation::LeaveGroup { users, .. } => (None, users.len()),
        Operation::RemoveFriends { friends, .. } => (None, friends.len()),
        _ => (Some(applied()), 0),
    };
    let items = (0..items).map(|_| applied()).collect();
    Decision { whole, items, ..undecided(engine) }
}

/// A ruling on each of them, and who was not denied.
fn split(
    users: Vec<UserId>,
    mut ruling: impl FnMut(&UserId) -> Ruling,
) -> (Vec<Ruling>, Vec<UserId>) {
    let rulings: Vec<Ruling> = users.iter().map(&mut ruling).collect();
    let left = users.into_iter().zip(&rulings);
    let left = left.filter(|(_, ruling)| ruling.outcome != Outcome::Denied).map(|(user, _)| user);
    let left = left.collect();
    (rulings, left)
}

fn some(users: Vec<UserId>) -> Option<Vec<UserId>> {
    (!users.is_empty()).then_some(users)
}

/// How an entry is brought to the store: what was admitted is written although it may be over a
/// limit by now, and the limits are told.
fn mode_of_replay(mode: Mode) -> Mode {
    if mode == Mode::Enforce { Mode::Shadow } else { mode }
}
