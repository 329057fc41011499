//! Messages of Reconcile and TrackChanges, checked field by field.

use std::time::Duration;

use tonic::Status;

use crate::domain::catalog::Catalog;
use crate::domain::id::{AppId, UserId};
use crate::domain::id_rules::IdRules;
use crate::engine::admin::reconcile::{Begin, Done, ExportedGroup, LIST_MAX, Part, Reconciliation};
use crate::grpc::fields::{Fields, instant};
use crate::grpc::pb;
use crate::grpc::status::of_invalid;
use crate::ledger::reconcile::{Repair, Section, TRACKED_FOR};

/// Time for which changes are tracked without `keep_for`.
const TRACKED_FOR_DEFAULT: Duration = Duration::from_secs(24 * 60 * 60);
/// Most facts of one message, unless it has only one user or group.
const FACTS_MAX: usize = 10_000;

/// Checks the app, and the time for which its changes are tracked.
pub fn tracked(it: pb::TrackChangesRequest) -> Result<(AppId, Duration), Status> {
    let mut fields = Fields::default();
    let app = fields.app_id(it.app_id);
    let keep_for = it.keep_for.map_or(Some(TRACKED_FOR_DEFAULT), |keep_for| {
        let keep_for = Duration::try_from(keep_for).ok();
        let [shortest, longest] = TRACKED_FOR;
        let keep_for = keep_for.filter(|it| (shortest..=longest).contains(it));
        if keep_for.is_none() {
            let seconds = (shortest.as_secs(), longest.as_secs());
            let must = format!("must be {} s (a minute) to {} s (7 days)", seconds.0, seconds.1);
            fields.wrong("keep_for", must);
        }
        keep_for
    });
    let value = (|| Some((app?, keep_for?)))();
    fields.finish(value).map_err(of_invalid)
}

/// Checks what is to be compared.
pub fn begin(it: pb::ReconcileBegin) -> Result<Begin, Status> {
    let mut fields = Fields::default();
    let app = fields.app_id(it.app_id);
    let repair = match pb::ReconcileMode::try_from(it.mode) {
        Ok(pb::ReconcileMode::Unspecified | pb::ReconcileMode::Compare) => Some(Repair::No),
        Ok(pb::ReconcileMode::Apply) => Some(Repair::Both),
        Ok(pb::ReconcileMode::Import) => Some(Repair::Add),
        Err(_) => {
            fields.wrong("mode", format!("must be 0-3, not {}", it.mode));
            None
        }
    };
    if repair == Some(Repair::Both) && it.as_of.is_none() {
        fields.wrong("as_of", "must be given with RECONCILE_MODE_APPLY: when the export was begun");
    }
    let as_of = instant(&mut fields, "as_of", it.as_of);
    let all = [
        (it.has_accounts, Section::Accounts),
        (it.has_friends, Section::Friends),
        (it.has_groups, Section::Groups),
    ];
    let sections: Vec<_> = all.into_iter().filter(|it| it.0).map(|it| it.1).collect();
    if sections.is_empty() {
        fields.wrong("has_accounts", "or has_friends or has_groups must be set");
    }
    let names = it.list_differences;
    let value = (|| Some(Begin { app: app?, repair: repair?, as_of, sections, names }))();
    fields.finish(value).map_err(of_invalid)
}

/// Checks a part of the export: by the catalog's rules of ids if its facts may be added, and by the
/// widest if they are only compared.
pub fn part(
    it: pb::ReconcileFacts,
    catalog: &Catalog,
    reconciliation: &Reconciliation,
) -> Result<Part, Status> {
    let mut fields = Fields::default();
    let rules = if reconciliation.adds() { catalog.ids } else { IdRules::WIDEST };
    size(&mut fields, &it);
    let all = [
        (Section::Accounts, "account_user_ids", it.account_user_ids.len()),
        (Section::Accounts, "done_account_user_ids", it.done_account_user_ids.len()),
        (Section::Friends, "friends", it.friends.len()),
        (Section::Friends, "done_friends_user_ids", it.done_friends_user_ids.len()),
        (Section::Groups, "groups", it.groups.len()),
        (Section::Groups, "done_group_ids", it.done_group_ids.len()),
    ];
    for (section, field, count) in all {
        if count > 0 && !reconciliation.has(section) {
            fields.wrong(field, format!("must be empty: begin has no has_{}", section.name()));
        }
    }
    let accounts = users(&mut fields, "account_user_ids", it.account_user_ids, &rules);
    let mut friends = Vec::with_capacity(it.friends.len());
    for (index, it) in it.friends.into_iter().enumerate() {
        friends.extend(list(&mut fields, &rules, index, it));
    }
    let mut groups = Vec::with_capacity(it.groups.len());
    for (index, it) in it.groups.into_iter().enumerate() {
        groups.extend(group(&mut fields, catalog, &rules, index, it));
    }
    let any = &IdRules::WIDEST;
    let done = Done {
        accounts: users(&mut fields, "done_account_user_ids", it.done_account_user_ids, any),
        friends: users(&mut fields, "done_friends_user_ids", it.done_friends_user_ids, any),
        groups: {
            let ids = it.done_group_ids.iter().enumerate();
            let group = |(index, id): (usize, &String)| {
                fields.group_id(&format!("done_group_ids[{index}]"), id, any)
            };
            ids.filter_map(group).collect()
        },
    };
    fields.finish(Some(Part { accounts, friends, groups, done })).map_err(of_invalid)
}

fn size(fields: &mut Fields, it: &pb::ReconcileFacts) {
    let done =
        it.done_account_user_ids.len() + it.done_friends_user_ids.len() + it.done_group_ids.len();
    let subjects = it.account_user_ids.len() + it.friends.len() + it.groups.len() + done;
    let listed: usize = it.friends.iter().map(|it| it.friend_ids.len()).sum::<usize>()
        + it.groups.iter().map(|it| it.member_ids.len()).sum::<usize>();
    if subjects > 1 && subjects + listed > FACTS_MAX {
        let facts = subjects + listed;
        fields.wrong("facts", format!("must have at most {FACTS_MAX} entries, not {facts}"));
    }
}

/// Returns the valid users; the others are recorded as violations.
fn users(fields: &mut Fields, field: &str, ids: Vec<String>, rules: &IdRules) -> Vec<UserId> {
    let mut users = Vec::with_capacity(ids.len());
    for (index, id) in ids.into_iter().enumerate() {
        match rules.user(&id) {
            Ok(user) => users.push(user),
            Err(error) => fields.wrong(format!("{field}[{index}]"), error),
        }
    }
    users
}

/// Checks the users of a list, in which each may be only once.
fn members(fields: &mut Fields, field: &str, ids: Vec<String>, rules: &IdRules) -> Vec<UserId> {
    if ids.len() > LIST_MAX {
        fields.wrong(field, format!("must have at most {LIST_MAX} entries, not {}", ids.len()));
        return Vec::new();
    }
    let users = users(fields, field, ids, rules);
    let mut seen = std::collections::HashSet::with_capacity(users.len());
    for (index, user) in users.iter().enumerate() {
        if !seen.insert(user) {
            fields.wrong(format!("{field}[{index}]"), format!("is \"{user}\" a second time"));
        }
    }
    users
}

fn list(
    fields: &mut Fields,
    rules: &IdRules,
    index: usize,
    it: pb::ExportedFriends,
) -> Option<(UserId, Vec<UserId>)> {
    let user = fields.user_id(&format!("friends[{index}].user_id"), &it.user_id, rules);
    let field = format!("friends[{index}].friend_ids");
    let friends = members(fields, &field, it.friend_ids, rules);
    let user = user?;
    if friends.contains(&user) {
        fields.wrong(field, format!("must not have the user \"{user}\" themselves"));
    }
    Some((user, friends))
}

fn group(
    fields: &mut Fields,
    catalog: &Catalog,
    rules: &IdRules,
    index: usize,
    it: pb::ExportedGroup,
) -> Option<ExportedGroup> {
    let at = format!("groups[{index}]");
    let group = fields.group_id(&format!("{at}.group_id"), &it.group_id, rules);
    let members = members(fields, &format!("{at}.member_ids"), it.member_ids, rules);
    let kind = fields.group_type(&format!("{at}.type"), &it.r#type, catalog).cloned();
    let max_members = it.max_members.map(|max| (max > 0).then_some(max));
    let (group, kind) = (group?, kind?);
    if matches!(max_members, Some(Some(_))) && !kind.members_tracked {
        let must = format!("must be absent for type {}, whose members are not tracked", kind.name);
        fields.wrong(format!("{at}.max_members"), must);
    }
    Some(ExportedGroup { group, group_type: kind.name, max_members, members })
}
