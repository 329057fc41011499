//! The store's identity, acceptance of a store that lost its facts, and operations set aside then.

use tonic::{Request, Status};

use super::AdminApi;
use crate::access::Role;
use crate::domain::id::RequestId;
use crate::engine::admin::{StoreAccepted, StoreState};
use crate::grpc::admin_status::of_acceptance;
use crate::grpc::caller::require;
use crate::grpc::fields::Fields;
use crate::grpc::pb;
use crate::grpc::status::of_invalid;
use crate::journal::Numbered;
use crate::proto::timestamp;

/// Hexadecimal digits of a store's id.
const ID_DIGITS: usize = 32;
/// Size of a page without `page_size`.
const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: u32 = 1000;

/// Converts the state of a store.
pub fn state(state: StoreState) -> pb::GetStoreStateResponse {
    let StoreState { identity, set_aside } = state;
    let loss = identity
        .loss
        .map(|loss| pb::StoreLoss { reason: loss.why, since: Some(timestamp(loss.since)) });
    pb::GetStoreStateResponse {
        store_id: identity.id,
        generation: identity.generation,
        loss,
        set_aside_operations: u64::try_from(set_aside).unwrap_or(u64::MAX),
    }
}

/// Accepts the store for an owner.
pub async fn accept(
    api: &AdminApi,
    request: Request<pb::AcceptStoreRequest>,
) -> Result<pb::AcceptStoreResponse, Status> {
    let actor = require(&request, Role::Owner, super::ACCEPT_STORE)?;
    let (request_id, found_id) = acceptance(request.into_inner())?;
    let accepted = api.administration.accept_store(&request_id, &found_id, actor).await;
    let StoreAccepted { accepted, set_aside } = accepted.map_err(|error| of_acceptance(&error))?;
    Ok(pb::AcceptStoreResponse {
        store_id: accepted.id,
        generation: accepted.generation,
        previous_generations: accepted.previous,
        set_aside_operations: u64::try_from(set_aside).unwrap_or(u64::MAX),
    })
}

fn acceptance(request: pb::AcceptStoreRequest) -> Result<(RequestId, String), Status> {
    let mut fields = Fields::default();
    let request_id = fields.request_id(request.request_id);
    let found_id = request.found_store_id;
    let is_id = found_id.is_empty()
        || (found_id.len() == ID_DIGITS && found_id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let must = "must be empty, or the 32 hexadecimal digits of a store's id";
    let found_id = fields.check("found_store_id", is_id.then_some(found_id).ok_or(must));
    fields.finish(request_id.zip(found_id)).map_err(of_invalid)
}

/// Checks a page of numbered items up to `last`: the number after which it begins, and its size.
pub fn page(page_token: &str, page_size: u32, last: u64) -> Result<(u64, usize), Status> {
    let mut fields = Fields::default();
    let after = fields.page_token(page_token, last);
    let size = match page_size {
        0 => Some(PAGE_DEFAULT),
        size => {
            let size = usize::try_from(size).ok().filter(|_| page_size <= PAGE_MAX);
            fields.check("page_size", size.ok_or("must be 0 to 1000"))
        }
    };
    fields.finish(after.zip(size)).map_err(of_invalid)
}

/// Converts operations that were set aside.
pub fn set_aside(entries: Vec<Numbered>, size: usize) -> pb::ListSetAsideOperationsResponse {
    let next = entries.last().filter(|_| entries.len() == size);
    pb::ListSetAsideOperationsResponse {
        next_page_token: next.map(|(number, _)| number.to_string()).unwrap_or_default(),
        operations: entries
            .into_iter()
            .map(|(number, entry)| pb::SetAsideOperation {
                number,
                app_id: entry.app.to_string(),
                accepted_at: Some(timestamp(entry.at)),
                operation: entry.operation.name().to_owned(),
                detail: format!("{:?}", entry.operation),
            })
            .collect(),
    }
}
