//! Operators' actions on the journal of this sidecar: list it, retry and drop blocked entries, and
//! delete entries that were set aside.
//!
//! Each action is recorded in the audit log before it is done, a dropped entry as a whole. A
//! repeated request is found found: it finishes an interrupted one, and has the same response.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::reconcile::Logged;
use super::{AdminError, Administration};
use crate::directory::audit_change::{JournalEntryResult, SetAsideResult, parse, to_text};
use crate::domain::audit::{Action, Actor, Entry as AuditEntry};
use crate::domain::id::{AppId, RequestId};
use crate::engine::fallback::{Fallback, JournalItem, JournalState};
use crate::journal::{Encoded, Entry, JournalError};

/// Set-aside operations that are read at a time.
const PAGE: usize = 1000;
/// Most apps that the audit log lists for a deletion.
const APPS_LOGGED_MAX: usize = 100;

/// Action on a blocked entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalAction {
    /// Replay it once more.
    Retry,
    /// Remove it.
    Drop,
}

impl JournalAction {
    /// Returns the action that the audit log records.
    fn logged(self) -> Action {
        match self {
            Self::Retry => Action::RetryJournalEntry,
            Self::Drop => Action::DropJournalEntry,
        }
    }
}

/// Request for an action on a blocked entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalChange {
    /// The request's id.
    pub request_id: RequestId,
    /// The action.
    pub action: JournalAction,
    /// The number of the entry.
    pub number: u64,
    /// The app that the entry has to be about, if given.
    pub app: Option<AppId>,
}

/// Reason why the journal was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalChangeError {
    /// No entry of that number is blocked.
    #[error(
        "no entry {number}{} is blocked in the journal of this sidecar; nothing was done; \
         `imquota admin journal list` has its entries, and each sidecar has a journal of its own",
        .app.as_ref().map(|app| format!(" of app \"{app}\"")).unwrap_or_default()
    )]
    NotBlocked {
        /// The number.
        number: u64,
        /// The app given.
        app: Option<AppId>,
    },
    /// The request id was used before for another request.
    #[error("request_id \"{0}\" was used before for another request, {1}")]
    RequestIdReused(RequestId, String),
    /// The journal cannot be written.
    #[error("{0}; repeat the same request once the sidecar has started again")]
    Journal(#[from] JournalError),
    /// The audit log could not be read or written.
    #[error("nothing was done to the journal; repeat the same request: {0}")]
    Unlogged(#[from] AdminError),
}

impl Administration {
    /// Returns at most `limit` entries of this sidecar's journal after the one with that number;
    /// all, or only the blocked ones.
    #[must_use]
    pub fn journal(&self, after: u64, limit: usize, only_blocked: bool) -> Vec<JournalItem> {
        let fallback = self.0.engine.fallback.as_ref();
        fallback.map(|it| it.list(after, limit, only_blocked)).unwrap_or_default()
    }

    /// The last number that an entry of this sidecar's journal was given; 0 without a journal.
    #[must_use]
    pub fn last_journal_number(&self) -> u64 {
        self.0.engine.fallback.as_ref().map_or(0, |it| it.last_number())
    }

    /// Retries or drops a blocked entry, and returns it as it was.
    pub async fn change_journal(
        &self,
        change: JournalChange,
        actor: Actor,
    ) -> Result<JournalItem, JournalChangeError> {
        let this = self.clone();
        // Completed whether or not the caller waits for it.
        let changing = tokio::spawn(async move { this.change_journal_alone(&change, actor).await });
        changing.await.unwrap_or_else(|interruption| Err(interrupted(&interruption)))
    }

    async fn change_journal_alone(
        &self,
        change: &JournalChange,
        actor: Actor,
    ) -> Result<JournalItem, JournalChangeError> {
        let _changing = self.0.changing.lock().await;
        let JournalChange { request_id, action, number, app } = change;
        let request = json!({
            "request_id": request_id.as_str(),
            "number": number,
            "app_id": app.as_ref().map(AppId::as_str),
        });
        let request = request.to_string();
        let fallback = self.0.engine.fallback.as_ref();
        let found = fallback.and_then(|it| it.item(*number));
        let blocked = found.clone().filter(|it| {
            let is_of_app = app.as_ref().is_none_or(|app| *app == it.entry.app);
            is_of_app && matches!(it.state, JournalState::Blocked(_))
        });
        let logged = self.find_logged(action.logged(), request_id).await?;
        let is_repeated = logged.is_some();
        let item = match logged {
            Some(logged) => {
                if logged.event.request != request {
                    let before = logged.event.request;
                    return Err(JournalChangeError::RequestIdReused(request_id.clone(), before));
                }
                let item = logged_item(*number, &logged)?;
                let still_exists = found.is_some_and(|found| found.entry == item.entry);
                if !still_exists || *action == JournalAction::Retry && blocked.is_none() {
                    return Ok(item);
                }
                item
            }
            None => blocked.ok_or_else(|| not_blocked(change))?,
        };
        let Some(fallback) = fallback else { return Err(not_blocked(change)) };
        if !is_repeated {
            let after = entry_json(&item);
            let app = Some(&item.entry.app);
            let logged = Logged { action: action.logged(), app, request_id: request_id.as_str() };
            self.log_now(logged, actor, request, after).await?;
        }
        let is_done = match action {
            JournalAction::Retry => fallback.retry(*number),
            JournalAction::Drop => fallback.drop_entry(*number).await?,
        };
        if is_done { Ok(item) } else { Err(not_blocked(change)) }
    }

    /// Deletes entries that were set aside, up to that number. Returns how many.
    pub async fn delete_set_aside(
        &self,
        request_id: RequestId,
        through: u64,
        actor: Actor,
    ) -> Result<usize, JournalChangeError> {
        let Some(fallback) = self.0.engine.fallback.clone() else { return Ok(0) };
        let this = self.clone();
        // Completed whether or not the caller waits for it.
        let deleting = tokio::spawn(async move {
            this.delete_set_aside_alone(&fallback, &request_id, through, actor).await
        });
        deleting.await.unwrap_or_else(|interruption| Err(interrupted(&interruption)))
    }

    async fn delete_set_aside_alone(
        &self,
        fallback: &Arc<Fallback>,
        request_id: &RequestId,
        through: u64,
        actor: Actor,
    ) -> Result<usize, JournalChangeError> {
        const ACTION: Action = Action::DeleteSetAsideOperations;
        let _changing = self.0.changing.lock().await;
        let request = json!({"request_id": request_id.as_str(), "through_number": through});
        let request = request.to_string();
        if let Some(logged) = self.find_logged(ACTION, request_id).await? {
            let AuditEntry { event, .. } = logged;
            if event.request != request {
                let before = event.request;
                return Err(JournalChangeError::RequestIdReused(request_id.clone(), before));
            }
            // Deletes what the first request left: numbers are never reused.
            fallback.delete_set_aside(through).await?;
            let deleted = parse(&event.after).map_or(0, |it: SetAsideResult| it.operations);
            return Ok(usize::try_from(deleted).unwrap_or(0));
        }
        let (count, after) = summary(fallback, through).await?;
        if count == 0 {
            return Ok(0);
        }
        let logged = Logged { action: ACTION, app: None, request_id: request_id.as_str() };
        self.log_now(logged, actor, request, after).await?;
        Ok(fallback.delete_set_aside(through).await?)
    }

    /// Writes an entry about a present change to the audit log.
    pub(super) async fn log_now(
        &self,
        logged: Logged<'_>,
        actor: Actor,
        request: String,
        after: String,
    ) -> Result<(), AdminError> {
        let at = self.0.engine.now().await?;
        Ok(self.log_as(at, logged, actor, request, after).await?)
    }
}

fn not_blocked(change: &JournalChange) -> JournalChangeError {
    JournalChangeError::NotBlocked { number: change.number, app: change.app.clone() }
}

fn interrupted(interruption: &tokio::task::JoinError) -> JournalChangeError {
    JournalError::Failed(interruption.to_string()).into()
}

/// Encodes an entry and the reason why it is blocked, for the audit log.
fn entry_json(item: &JournalItem) -> String {
    let why = if let JournalState::Blocked(why) = &item.state { why.as_str() } else { "" };
    let entry = parse(Encoded::from(&item.entry).json()).unwrap_or_default();
    to_text(&JournalEntryResult { entry, reason: why.to_owned() })
}

/// Decodes the entry that the audit log has of a request.
fn logged_item(number: u64, logged: &AuditEntry) -> Result<JournalItem, JournalError> {
    let unreadable = || JournalError::Failed("its entry in the audit log is unreadable".to_owned());
    let JournalEntryResult { entry, reason } = parse(&logged.event.after).ok_or_else(unreadable)?;
    let entry: Entry = Encoded::parse(&entry.to_string()).map_err(JournalError::Failed)?;
    Ok(JournalItem { number, entry, state: JournalState::Blocked(reason) })
}

/// Returns the number of entries set aside up to that number, and a summary for the audit log.
async fn summary(fallback: &Fallback, through: u64) -> Result<(usize, String), JournalError> {
    let (mut count, mut first, mut last) = (0, None, 0);
    let mut apps: BTreeMap<String, u64> = BTreeMap::new();
    loop {
        let mut page = fallback.read_set_aside(last, PAGE).await?;
        page.retain(|(number, _)| *number <= through);
        let is_last = page.len() < PAGE;
        for (number, entry) in page {
            count += 1;
            first.get_or_insert(number);
            last = number;
            let app = entry.app.to_string();
            if apps.len() < APPS_LOGGED_MAX || apps.contains_key(&app) {
                *apps.entry(app).or_default() += 1;
            }
        }
        if is_last {
            let after = SetAsideResult { apps, first, last, operations: count as u64 };
            return Ok((count, to_text(&after)));
        }
    }
}
