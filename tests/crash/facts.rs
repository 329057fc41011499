//! The facts of the sidecar, read one by one: a dry-run take returns ALREADY_HELD or not.

use std::collections::BTreeMap;

use imquota::grpc::pb::{self, Outcome, subject::Kind};

use crate::load::{
    APP, Cell, HUB, SHARED_GROUPS, USERS_EACH, account, cells, members_of, own_group, room,
    shared_group, user,
};
use crate::sidecar::Client;

fn check_only() -> i32 {
    pb::Mode::CheckOnly.into()
}

fn held(result: &pb::Result) -> bool {
    result.outcome() == Outcome::AlreadyHeld
}

/// Every cell of a worker; fails if one is partial.
pub async fn of_worker(client: &mut Client, worker: usize) -> BTreeMap<Cell, bool> {
    let mut facts = BTreeMap::new();
    accounts(client, worker, &mut facts).await;
    memberships(client, worker, &mut facts).await;
    friendships(client, worker, &mut facts).await;
    for cell in cells() {
        match cell {
            Cell::Group(number) => {
                facts.insert(cell, own_group_is_whole(client, worker, number).await);
            }
            Cell::Room(number) => {
                let there = group_is_there(client, room(worker, number), "AVChatRoom", Vec::new());
                facts.insert(cell, there.await.0);
            }
            _ => {}
        }
    }
    facts
}

async fn accounts(client: &mut Client, worker: usize, facts: &mut BTreeMap<Cell, bool>) {
    let user_ids = (0..USERS_EACH).map(|number| account(worker, number)).collect();
    let request = pb::CreateAccountsRequest {
        app_id: APP.to_owned(),
        user_ids,
        mode: check_only(),
        ..Default::default()
    };
    let answer = client.create_accounts(request).await.expect("an answer").into_inner();
    for (number, result) in answer.results.iter().enumerate() {
        facts.insert(Cell::Account(number), held(result));
    }
}

async fn memberships(client: &mut Client, worker: usize, facts: &mut BTreeMap<Cell, bool>) {
    for group in 0..SHARED_GROUPS {
        let request = pb::JoinGroupRequest {
            app_id: APP.to_owned(),
            group_id: shared_group(group),
            user_ids: (0..USERS_EACH).map(|number| user(worker, number)).collect(),
            mode: check_only(),
            all_or_nothing: false,
            hold_seconds: None,
            operation_id: String::new(),
        };
        let answer = client.join_group(request).await.expect("an answer").into_inner();
        for (number, result) in answer.results.iter().enumerate() {
            facts.insert(Cell::Member(group, number), held(result));
        }
    }
}

async fn friendships(client: &mut Client, worker: usize, facts: &mut BTreeMap<Cell, bool>) {
    let users: Vec<String> = (0..USERS_EACH).map(|number| user(worker, number)).collect();
    let of_hub = listed(client, HUB, users.clone()).await;
    for (number, user) in users.iter().enumerate() {
        let theirs = listed(client, user, vec![HUB.to_owned()]).await[0];
        assert_eq!(of_hub[number], theirs, "half a friendship between {HUB} and {user}");
        facts.insert(Cell::Friend(number), theirs);
    }
}

/// For each of `friend_ids`, whether it is in the user's list.
async fn listed(client: &mut Client, user_id: &str, friend_ids: Vec<String>) -> Vec<bool> {
    let (app_id, user_id) = (APP.to_owned(), user_id.to_owned());
    let mode = check_only();
    let request = pb::AddFriendsRequest {
        app_id,
        user_id,
        friend_ids,
        one_way: true,
        mode,
        ..Default::default()
    };
    let answer = client.add_friends(request).await.expect("an answer").into_inner();
    answer.results.iter().map(held).collect()
}

async fn own_group_is_whole(client: &mut Client, worker: usize, number: usize) -> bool {
    let members = members_of(number).map(|member| user(worker, member)).collect();
    let id = own_group(worker, number);
    let (there, members) = group_is_there(client, id.clone(), "Private", members).await;
    let whole = members.iter().all(|member| *member == there);
    assert!(whole, "{id} exists: {there}, and its members: {members:?}");
    there
}

/// Whether a group of that type exists, and for each of `member_ids` whether it is a member.
async fn group_is_there(
    client: &mut Client,
    group_id: String,
    group_type: &str,
    member_ids: Vec<String>,
) -> (bool, Vec<bool>) {
    let request = pb::CreateGroupRequest {
        app_id: APP.to_owned(),
        group_id,
        r#type: group_type.to_owned(),
        member_ids,
        mode: check_only(),
        ..pb::CreateGroupRequest::default()
    };
    let answer = client.create_group(request).await.expect("an answer").into_inner();
    let there = answer.group.as_ref().is_some_and(held);
    (there, answer.members.iter().map(held).collect())
}

/// The usage of a subject by limit; fails if one is over its limit.
pub async fn usage(client: &mut Client, kind: Kind) -> BTreeMap<String, i64> {
    let subject = Some(pb::Subject { kind: Some(kind.clone()) });
    let request = pb::GetUsageRequest { app_id: APP.to_owned(), subject };
    let answer = client.get_usage(request).await.expect("an answer").into_inner();
    let mut counts = BTreeMap::new();
    for usage in answer.usages {
        let limit = usage.limit.map_or(i64::MAX, |limit| i64::try_from(limit).expect("fits"));
        assert!(usage.used <= limit, "{kind:?} is over {}: {}", usage.limit_id, usage.used);
        counts.insert(usage.limit_id, usage.used);
    }
    counts
}
