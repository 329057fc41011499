//! Requests of the data plane: from bytes to a checked operation.

use std::sync::LazyLock;

use imquota::catalog;
use imquota::domain::catalog::Catalog;
use imquota::grpc::holds::CheckEnd as _;
use imquota::grpc::pb;
use imquota::grpc::pb::apply_request::Operation;
use imquota::grpc::request::{Action, Check, Checked, usage};
use imquota::ledger;
use prost::Message as _;

static CATALOG: LazyLock<Catalog> = LazyLock::new(catalog::builtin);

/// One message of Apply holds any request of the data plane.
pub fn messages(bytes: &[u8]) -> bool {
    let Ok(request) = pb::ApplyRequest::decode(bytes) else { return false };
    let encoded = request.encode_to_vec();
    let again = pb::ApplyRequest::decode(encoded.as_slice()).expect("what was encoded is read");
    assert_eq!(again, request);
    let Some(operation) = request.operation else { return false };
    match operation {
        Operation::CreateAccounts(it) => check(it),
        Operation::DeleteAccounts(it) => check(it),
        Operation::AddFriends(it) => check(it),
        Operation::RemoveFriends(it) => check(it),
        Operation::CreateGroup(it) => check(it),
        Operation::UpdateGroup(it) => check(it),
        Operation::JoinGroup(it) => check(it),
        Operation::LeaveGroup(it) => check(it),
        Operation::DissolveGroup(it) => check(it),
        Operation::GetUsage(it) => usage(it).is_ok(),
        Operation::ConfirmHold(it) => it.check().is_ok(),
        Operation::ReleaseHold(it) => it.check().is_ok(),
        // Its checks need an engine.
        Operation::RecordLogins(_) => false,
    }
}

/// Checks a request: what is refused names a field, and what is accepted keeps the bounds.
fn check<Q: Check>(request: Q) -> bool {
    match request.check(&CATALOG) {
        Ok(Checked { app, action, ids, .. }) => {
            assert!((1..=64).contains(&app.as_str().len()), "{app}");
            let users = match action {
                Action::DeleteAccounts(users) => users.len(),
                Action::Operation(operation) => items(&operation),
            };
            assert_eq!(users, ids.items.len(), "a result for each id");
            assert!(users <= 1000, "{users} in one call");
            true
        }
        Err(invalid) => {
            assert!(!invalid.violations.is_empty());
            for violation in invalid.violations {
                assert!(!violation.description.is_empty(), "{violation:?}");
            }
            false
        }
    }
}

/// How many items an operation has a result for.
fn items(operation: &ledger::Operation) -> usize {
    use ledger::Operation::{
        AddFriends, CreateAccounts, CreateGroup, DeleteAccount, DissolveGroup, JoinGroup,
        LeaveGroup, RemoveFriends, UpdateGroup,
    };
    match operation {
        CreateAccounts { users } | JoinGroup { users, .. } | LeaveGroup { users, .. } => {
            users.len()
        }
        AddFriends { friends, .. } | RemoveFriends { friends, .. } => friends.len(),
        CreateGroup { members, .. } => members.len(),
        DeleteAccount { .. } | DissolveGroup { .. } | UpdateGroup { .. } => 0,
    }
}
