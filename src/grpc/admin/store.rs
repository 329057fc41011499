//! The store's identity, acceptance of a store that lost its facts, and operations set aside then.

use prost::Message as _;
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
use crate::journal::{Accepted, Numbered};
use crate::proto::timestamp;

/// Hexadecimal digits of a store's id.
const ID_DIGITS: usize = 32;
/// Most bytes of the operations of a page, unless one has more: clients accept 4 MiB.
const PAGE_MAX_BYTES: usize = 3 * 1024 * 1024;
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
    let mut may_have_more = entries.len() == size;
    let mut operations = Vec::with_capacity(entries.len());
    let mut bytes = 0;
    for (number, entry) in entries {
        let operation = pb::SetAsideOperation {
            number,
            app_id: entry.app.to_string(),
            accepted_at: Some(timestamp(entry.at)),
            operation: entry.accepted.name().to_owned(),
            detail: detail(&entry.accepted),
        };
        bytes += operation.encoded_len();
        if bytes > PAGE_MAX_BYTES && !operations.is_empty() {
            may_have_more = true;
            break;
        }
        operations.push(operation);
    }
    let next = operations.last().filter(|_| may_have_more).map(|last| last.number.to_string());
    pb::ListSetAsideOperationsResponse { next_page_token: next.unwrap_or_default(), operations }
}

/// Returns the content of an operation for people.
fn detail(accepted: &Accepted) -> String {
    match accepted {
        Accepted::Operation(operation) => format!("{operation:?}"),
        Accepted::Held(operation, id) => format!("{operation:?} of operation \"{id}\""),
        Accepted::Confirmation(id, part) => format!("hold of operation \"{id}\" in {part:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::decision::Mode;
    use crate::domain::id::{AppId, UserId};
    use crate::domain::time::Timestamp;
    use crate::journal::Entry;
    use crate::ledger::Operation;

    fn entries(count: u64, users: usize) -> Vec<Numbered> {
        let user = |number| UserId::try_from(format!("{number:0255}")).expect("an id");
        let users: Vec<_> = (0..users).map(user).collect();
        let app = AppId::try_from("demo").expect("an id");
        let at = Timestamp::from_millis(7);
        let accepted = Accepted::Operation(Operation::CreateAccounts { users });
        let entry = Entry { app, mode: Mode::Enforce, at, accepted };
        (1..=count).map(|number| (number, entry.clone())).collect()
    }

    #[test]
    fn a_page_ends_before_clients_refuse_it() {
        for (count, users, size, shown, next) in [
            (0, 1, 5, 0, ""),
            (4, 1, 5, 4, ""),
            (5, 1, 5, 5, "5"),
            (100, 500, 100, 23, "23"),
            (100, 500, 200, 23, "23"),
            (2, 3875, 100, 2, ""),
            (4, 3875, 100, 3, "3"),
            (1, 14_000, 100, 1, ""),
            (2, 14_000, 100, 1, "1"),
        ] {
            let page = set_aside(entries(count, users), size);
            assert!(page.encoded_len() < 4 * 1024 * 1024, "{}", page.encoded_len());
            assert_eq!((page.operations.len(), page.next_page_token.as_str()), (shown, next));
        }
    }
}
