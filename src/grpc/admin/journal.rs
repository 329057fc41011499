//! The journal of this sidecar, its changes by operators, and the operations set aside from it.

use std::collections::HashSet;

use tonic::{Request, Status};

use super::AdminApi;
use crate::access::Role;
use crate::domain::audit::Actor;
use crate::domain::id::{AppId, RequestId};
use crate::engine::admin::{JournalAction, JournalChange};
use crate::engine::fallback::{JournalItem, JournalState, subjects};
use crate::grpc::admin_status::of_journal_change;
use crate::grpc::caller::require;
use crate::grpc::fields::Fields;
use crate::grpc::pb;
use crate::grpc::status::of_invalid;
use crate::proto::{subject, timestamp};

/// Most users and groups of an entry in a response.
const SUBJECTS_MAX: usize = 8;

/// Returns a page of the journal.
pub fn list(
    api: &AdminApi,
    request: Request<pb::ListJournalEntriesRequest>,
) -> Result<pb::ListJournalEntriesResponse, Status> {
    require(&request, Role::Viewer, "ListJournalEntries")?;
    let it = request.into_inner();
    let (after, size) =
        super::store::page(&it.page_token, it.page_size, api.administration.last_journal_number())?;
    let items = api.administration.journal(after, size, it.only_blocked);
    let next = items.last().filter(|_| items.len() == size);
    Ok(pb::ListJournalEntriesResponse {
        next_page_token: next.map(|item| item.number.to_string()).unwrap_or_default(),
        entries: items.into_iter().map(shown).collect(),
    })
}

/// Retries a blocked entry.
pub async fn retry(
    api: &AdminApi,
    request: Request<pb::RetryJournalEntryRequest>,
) -> Result<pb::RetryJournalEntryResponse, Status> {
    let actor = require(&request, Role::Owner, super::RETRY_JOURNAL_ENTRY)?;
    let it = request.into_inner();
    let change = change_of(JournalAction::Retry, it.request_id, it.number, it.app_id)?;
    Ok(pb::RetryJournalEntryResponse { entry: Some(changed(api, change, actor).await?) })
}

/// Drops a blocked entry.
pub async fn drop_entry(
    api: &AdminApi,
    request: Request<pb::DropJournalEntryRequest>,
) -> Result<pb::DropJournalEntryResponse, Status> {
    let actor = require(&request, Role::Owner, super::DROP_JOURNAL_ENTRY)?;
    let it = request.into_inner();
    let change = change_of(JournalAction::Drop, it.request_id, it.number, it.app_id)?;
    Ok(pb::DropJournalEntryResponse { entry: Some(changed(api, change, actor).await?) })
}

/// Carries a change out, and returns the entry before it.
async fn changed(
    api: &AdminApi,
    change: JournalChange,
    actor: Actor,
) -> Result<pb::JournalEntry, Status> {
    let changed = api.administration.change_journal(change, actor).await;
    changed.map(shown).map_err(|error| of_journal_change(&error))
}

/// Deletes operations that were set aside.
pub async fn delete_set_aside(
    api: &AdminApi,
    request: Request<pb::DeleteSetAsideOperationsRequest>,
) -> Result<pb::DeleteSetAsideOperationsResponse, Status> {
    let actor = require(&request, Role::Owner, super::DELETE_SET_ASIDE_OPERATIONS)?;
    let it = request.into_inner();
    let mut fields = Fields::default();
    let request_id = fields.request_id(it.request_id);
    let through = number(&mut fields, "through_number", it.through_number);
    let change: Option<(RequestId, u64)> = request_id.zip(through);
    let (request_id, through) = fields.finish(change).map_err(of_invalid)?;
    let deleted = api.administration.delete_set_aside(request_id, through, actor).await;
    let deleted = deleted.map_err(|error| of_journal_change(&error))?;
    let count = |count| u64::try_from(count).unwrap_or(u64::MAX);
    Ok(pb::DeleteSetAsideOperationsResponse {
        deleted_operations: count(deleted),
        set_aside_operations: count(api.administration.store_state().set_aside),
    })
}

fn change_of(
    action: JournalAction,
    request_id: String,
    entry: u64,
    app_id: String,
) -> Result<JournalChange, Status> {
    let mut fields = Fields::default();
    let request_id = fields.request_id(request_id);
    let entry = number(&mut fields, "number", entry);
    let app: Option<Option<AppId>> =
        if app_id.is_empty() { Some(None) } else { fields.app_id(app_id).map(Some) };
    let change =
        || Some(JournalChange { request_id: request_id?, action, number: entry?, app: app? });
    let change = change();
    fields.finish(change).map_err(of_invalid)
}

fn number(fields: &mut Fields, field: &str, number: u64) -> Option<u64> {
    fields.check(field, if number == 0 { Err("must be at least 1") } else { Ok(number) })
}

fn shown(item: JournalItem) -> pb::JournalEntry {
    let JournalItem { number, entry, state } = item;
    let mut seen = HashSet::new();
    let mut named = entry.accepted.operation().map(subjects).unwrap_or_default();
    named.retain(|subject| seen.insert(subject.clone()));
    let (state, blocked_by, store_message) = match state {
        JournalState::Queued => (pb::JournalEntryState::Queued, 0, String::new()),
        JournalState::InWork => (pb::JournalEntryState::InWork, 0, String::new()),
        JournalState::Blocked(why) => (pb::JournalEntryState::Blocked, 0, why),
        JournalState::Stuck { behind, why } => (pb::JournalEntryState::Stuck, behind, why),
    };
    pb::JournalEntry {
        number,
        app_id: entry.app.to_string(),
        operation: entry.accepted.name().to_owned(),
        subjects: named.iter().take(SUBJECTS_MAX).map(subject).collect(),
        subject_count: u32::try_from(named.len()).unwrap_or(u32::MAX),
        accepted_at: Some(timestamp(entry.at)),
        state: state.into(),
        blocked_by,
        store_message,
    }
}
