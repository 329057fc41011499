//! The bounds of batches, also of whole ones.

use super::*;
use crate::catalog::builtin;

fn ids(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("u{number}")).collect()
}

fn create(user_ids: Vec<String>, all_or_nothing: bool) -> pb::CreateAccountsRequest {
    let app_id = "demo".into();
    pb::CreateAccountsRequest { app_id, user_ids, all_or_nothing, ..Default::default() }
}

fn add(friend_ids: Vec<String>, all_or_nothing: bool) -> pb::AddFriendsRequest {
    let (app_id, user_id) = ("demo".into(), "a".into());
    pb::AddFriendsRequest { app_id, user_id, friend_ids, all_or_nothing, ..Default::default() }
}

fn create_group(member_ids: Vec<String>, all_or_nothing: bool) -> pb::CreateGroupRequest {
    pb::CreateGroupRequest {
        app_id: "demo".into(),
        group_id: "g".into(),
        r#type: "ChatRoom".into(),
        owner_id: Some("a".into()),
        member_ids,
        all_or_nothing,
        ..Default::default()
    }
}

fn replace(member_ids: Vec<String>, all_or_nothing: bool) -> pb::CreateGroupRequest {
    let replaces_group_id = "tmp".into();
    pb::CreateGroupRequest { replaces_group_id, ..create_group(member_ids, all_or_nothing) }
}

fn join(user_ids: Vec<String>, all_or_nothing: bool) -> pb::JoinGroupRequest {
    let (app_id, group_id) = ("demo".into(), "g".into());
    pb::JoinGroupRequest { app_id, group_id, user_ids, all_or_nothing, ..Default::default() }
}

/// Checks that `max` ids are accepted, and that one more is an error of that field.
fn has_bound<Q: Check>(
    catalog: &Catalog,
    field: &str,
    max: usize,
    request: impl Fn(Vec<String>, bool) -> Q,
    all_or_nothing: bool,
) {
    let accepted = request(ids(max), all_or_nothing).check(catalog).expect("accepted");
    assert_eq!((accepted.take.all_or_nothing, accepted.ids.items.len()), (all_or_nothing, max));
    let refused = request(ids(max + 1), all_or_nothing).check(catalog).expect_err("too many");
    let fields: Vec<_> = refused.violations.iter().map(|it| it.field.as_str()).collect();
    assert_eq!(fields, [field]);
}

#[test]
fn a_whole_batch_has_at_most_five_hundred_items_and_what_the_catalog_admits() {
    let catalog = builtin();
    has_bound(&catalog, "user_ids", 100, create, true);
    has_bound(&catalog, "user_ids", 100, create, false);
    has_bound(&catalog, "friend_ids", 500, add, true);
    has_bound(&catalog, "friend_ids", 1000, add, false);
    let mut roomy = builtin();
    (roomy.batch.accounts_max, roomy.batch.members_max) = (700, 800);
    has_bound(&roomy, "user_ids", 500, create, true);
    has_bound(&roomy, "user_ids", 700, create, false);
    has_bound(&roomy, "user_ids", 500, join, true);
    has_bound(&roomy, "user_ids", 800, join, false);
    has_bound(&roomy, "member_ids", 500, create_group, true);
    has_bound(&roomy, "member_ids", 800, create_group, false);
    has_bound(&roomy, "member_ids", 500, replace, false);
    has_bound(&roomy, "member_ids", 500, replace, true);
}
