//! The calls of the engine and of the notes for one callback, within its budget.

use std::sync::Arc;

use super::Endpoint;
use super::answer::Undecided;
use super::settings::{CallbackSettings, Unavailable};
use crate::domain::decision::Mode;
use crate::domain::hold::{Hold, HoldEnd};
use crate::domain::id::{AppId, GroupId, Name, OperationId, UserId};
use crate::domain::id_rules::IdRules;
use crate::domain::metering::Login;
use crate::domain::time::Timestamp;
use crate::engine::holds::EndRequest;
use crate::engine::{Decision, Engine, Request};
use crate::ledger::callback_notes::CallbackNotes;
use crate::ledger::{LedgerError, Operation, TakeOptions};
use crate::telemetry::Metrics;

/// Seconds for which a hold lives that waits for a later callback, or for the rest of a batch.
pub const HOLD_SECONDS: u32 = 30;

/// One callback at work.
pub struct Work {
    pub(super) engine: Arc<Engine>,
    pub(super) notes: Arc<dyn CallbackNotes>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) app: AppId,
    pub(super) deadline: Timestamp,
}

impl Work {
    /// Returns the settings of the callback.
    pub fn settings(&self) -> &CallbackSettings {
        &self.endpoint.settings
    }

    /// Returns the protocol's name.
    pub fn protocol(&self) -> &'static str {
        self.settings().protocol.name()
    }

    /// Returns the mode of takes of before-callbacks. In shadow mode the IM goes on in any case,
    /// and the ledger follows it.
    pub fn mode(&self) -> Mode {
        if self.settings().shadow { Mode::Shadow } else { Mode::Enforce }
    }

    /// Decides an operation.
    pub async fn apply(
        &self,
        mode: Mode,
        take: TakeOptions,
        operation: Operation,
    ) -> Result<Decision, LedgerError> {
        let (app, deadline) = (self.app.clone(), self.deadline);
        self.engine.apply(Request { app, mode, take, deadline, operation }).await
    }

    /// Writes an operation that the IM has done, and counts the facts that no earlier callback had
    /// taken.
    pub async fn force(
        &self,
        take: TakeOptions,
        operation: Operation,
    ) -> Result<Decision, LedgerError> {
        let decision = self.apply(Mode::Force, take, operation).await?;
        let is_new = |it: &&_| matches!(it, crate::domain::decision::Outcome::Applied);
        let facts = decision.results().map(|result| &result.outcome).filter(is_new).count();
        self.metrics.callbacks.forced(self.protocol(), facts);
        Ok(decision)
    }

    /// Ends a hold. One that is not there any more is no error: it is permanent, or gone.
    pub async fn end_hold(&self, id: &OperationId, end: HoldEnd) -> Result<(), LedgerError> {
        let (app, id, part, deadline) = (self.app.clone(), id.clone(), None, self.deadline);
        let request = EndRequest { app, id, part, end, mode: Mode::Force, deadline };
        match self.engine.end_hold(request).await {
            Err(LedgerError::HoldNotFound(_)) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Counts a login.
    pub async fn record_login(&self, login: Login) -> Result<(), LedgerError> {
        // Logins over a limit are counted too: the user is online already.
        let (app, mode) = (self.app.clone(), Mode::Force);
        self.engine.record_logins(app, mode, vec![login], self.deadline).await.map(|_| ())
    }

    /// Returns the catalog's type for one of the IM.
    pub fn group_type(&self, of_im: Option<&str>) -> Result<Name, Undecided> {
        let missing = || Undecided::GroupType(of_im.unwrap_or_default().chars().take(32).collect());
        let name = self.settings().group_type(of_im).ok_or_else(missing)?;
        // A catalog that was loaded after the start may lack it.
        let known = self.engine.catalog().group_type(name.as_str()).is_some();
        if known { Ok(name.clone()) } else { Err(missing()) }
    }

    /// Returns the users of those ids that are good, each once, and the other ids, which are
    /// counted; an error if none is good.
    pub fn good_users<'a>(
        &self,
        rules: &IdRules,
        ids: impl IntoIterator<Item = &'a str>,
    ) -> Result<(Vec<UserId>, Vec<&'a str>), Undecided> {
        let (mut good, mut bad) = (indexmap::IndexSet::new(), Vec::new());
        let mut why = Undecided::BadId("is missing".to_owned());
        for id in ids {
            match user(rules, id) {
                Ok(user) => {
                    good.insert(user);
                }
                Err(undecided) => {
                    why = undecided;
                    bad.push(id);
                }
            }
        }
        if good.is_empty() {
            return Err(why);
        }
        for _ in &bad {
            self.metrics.callbacks.undecided(self.protocol(), why.name());
        }
        Ok((good.into_iter().collect(), bad))
    }

    /// Returns whether a subject without a decision is refused.
    pub fn refuses_undecided(&self) -> bool {
        self.settings().unavailable == Unavailable::Refuse
    }

    /// Returns the rules of ids of takes.
    pub fn ids(&self) -> IdRules {
        self.engine.catalog().ids
    }
}

/// Checks a user id.
pub fn user(rules: &IdRules, id: &str) -> Result<UserId, Undecided> {
    rules.user(id).map_err(|why| Undecided::BadId(why.to_string()))
}

/// Checks user ids, and leaves out repeated ones; an error if there are none.
pub fn users<'a>(
    rules: &IdRules,
    ids: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<UserId>, Undecided> {
    let users: Result<indexmap::IndexSet<_>, _> =
        ids.into_iter().map(|id| user(rules, id)).collect();
    let users: Vec<_> = users?.into_iter().collect();
    if users.is_empty() { Err(Undecided::BadId("is missing".to_owned())) } else { Ok(users) }
}

/// Checks a group id.
pub fn group(rules: &IdRules, id: &str) -> Result<GroupId, Undecided> {
    rules.group(id).map_err(|why| Undecided::BadId(why.to_string()))
}

/// Returns a random text of 32 hexadecimal digits.
pub fn random() -> Result<String, Undecided> {
    let half = || getrandom::u64().map_err(|error| Undecided::Store(error.to_string()));
    Ok(format!("{:016x}{:016x}", half()?, half()?))
}

/// Returns a hold of its own, and its id.
pub fn new_hold() -> Result<Hold, Undecided> {
    let hold = Hold::new(&format!("callback-{}", random()?), HOLD_SECONDS);
    hold.map_err(|why| Undecided::Store(why.to_string()))
}
