//! Requests from protobuf to the domain, checked field by field.

use std::ops::RangeInclusive;

use super::fields::{Fields, Invalid};
use super::pb;
use crate::domain::catalog::Catalog;
use crate::domain::decision::{Mode, Subject};
use crate::domain::group_type::GroupType;
use crate::domain::id::{AppId, GroupId, UserId};
use crate::domain::id_rules::IdRules;
use crate::ledger::{Operation, TakeOptions, WHOLE_BATCH_MAX};

/// The change that a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// One operation.
    Operation(Operation),
    /// Several accounts, each deleted by an operation of its own.
    DeleteAccounts(Vec<UserId>),
}

/// A request that has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The app.
    pub app: AppId,
    /// Mode of takes.
    pub mode: Mode,
    /// The options of a take.
    pub take: TakeOptions,
    /// The change to make.
    pub action: Action,
    /// The ids of the response's results, as the request gave them.
    pub ids: Ids,
}

/// Ids as the request gave them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ids {
    /// Id of the result for the whole request.
    pub whole: String,
    /// Ids of the item results.
    pub items: Vec<String>,
}

/// A request that takes, releases or changes something.
pub trait Check: Sized {
    /// Checks every field against the current catalog; ids that are not taken by the widest rules
    /// of any catalog.
    fn check(self, catalog: &Catalog) -> Result<Checked, Invalid>;
}

fn checked(
    app: AppId,
    mode: Mode,
    operation: Operation,
    whole: String,
    items: Vec<String>,
) -> Checked {
    let (action, ids) = (Action::Operation(operation), Ids { whole, items });
    Checked { app, mode, take: TakeOptions::default(), action, ids }
}

/// Returns the bound of a batch, which one that is a single step of the store may have lower.
fn batch_max(max: usize, all_or_nothing: bool, hold_seconds: Option<u32>) -> usize {
    let is_one_step = all_or_nothing || hold_seconds.is_some();
    if is_one_step { max.min(WHOLE_BATCH_MAX) } else { max }
}

impl Check for pb::CreateAccountsRequest {
    fn check(self, catalog: &Catalog) -> Result<Checked, Invalid> {
        let mut fields = Fields::default();
        let app = fields.app_id(self.app_id);
        let max = batch_max(catalog.batch.accounts_max, self.all_or_nothing, self.hold_seconds);
        let users = account_ids(&mut fields, &self.user_ids, (&catalog.ids, max), catalog);
        let mode = fields.mode(self.mode);
        let hold = fields.hold(self.hold_seconds, &self.operation_id, catalog);
        let take = TakeOptions { all_or_nothing: self.all_or_nothing, hold, replaces: None };
        let value = (|| {
            let operation = Operation::CreateAccounts { users: users? };
            let checked = checked(app?, mode?, operation, String::new(), self.user_ids);
            Some(Checked { take, ..checked })
        })();
        fields.finish(value)
    }
}

impl Check for pb::DeleteAccountsRequest {
    fn check(self, catalog: &Catalog) -> Result<Checked, Invalid> {
        let mut fields = Fields::default();
        let app = fields.app_id(self.app_id);
        let max = catalog.batch.accounts_max;
        let users = account_ids(&mut fields, &self.user_ids, (&IdRules::WIDEST, max), catalog);
        let value = (|| {
            Some(Checked {
                app: app?,
                mode: Mode::Enforce,
                take: TakeOptions::default(),
                action: Action::DeleteAccounts(users?),
                ids: Ids { whole: String::new(), items: self.user_ids },
            })
        })();
        fields.finish(value)
    }
}

fn account_ids(
    fields: &mut Fields,
    ids: &[String],
    (rules, max): (&IdRules, usize),
    catalog: &Catalog,
) -> Option<Vec<UserId>> {
    let code = &catalog.im_codes.batch_of_accounts;
    fields.user_ids("user_ids", ids, rules, 1..=max, Some(code))
}

impl Check for pb::AddFriendsRequest {
    fn check(self, catalog: &Catalog) -> Result<Checked, Invalid> {
        let mut fields = Fields::default();
        let app = fields.app_id(self.app_id);
        let rules = &catalog.ids;
        let user = fields.user_id("user_id", &self.user_id, rules);
        let max = batch_max(catalog.batch.friends_max, self.all_or_nothing, self.hold_seconds);
        let friends = friend_ids(&mut fields, user.as_ref(), &self.friend_ids, (rules, max));
        let mode = fields.mode(self.mode);
        let hold = fields.hold(self.hold_seconds, &self.operation_id, catalog);
        let take = TakeOptions { all_or_nothing: self.all_or_nothing, hold, replaces: None };
        let value = (|| {
            let operation =
                Operation::AddFriends { user: user?, friends: friends?, one_way: self.one_way };
            let checked = checked(app?, mode?, operation, String::new(), self.friend_ids);
            Some(Checked { take, ..checked })
        })();
        fields.finish(value)
    }
}

impl Check for pb::RemoveFriendsRequest {
    fn check(self, catalog: &Catalog) -> Result<Checked, Invalid> {
        let mut fields = Fields::default();
        let app = fields.app_id(self.app_id);
        let rules = &IdRules::WIDEST;
        let user = fields.user_id("user_id", &self.user_id, rules);
        let max = catalog.batch.friends_max;
        let friends = friend_ids(&mut fields, user.as_ref(), &self.friend_ids, (rules, max));
        let value = (|| {
            let operation =
                Operation::RemoveFriends { user: user?, friends: friends?, one_way: self.one_way };
            Some(checked(app?, Mode::Enforce, operation, String::new(), self.friend_ids))
        })();
        fields.finish(value)
    }
}

fn friend_ids(
    fields: &mut Fields,
    user: Option<&UserId>,
    ids: &[String],
    (rules, max): (&IdRules, usize),
) -> Option<Vec<UserId>> {
    let friends = fields.user_ids("friend_ids", ids, rules, 1..=max, None)?;
    for (index, friend) in friends.iter().enumerate() {
        if Some(friend) == user {
            fields.wrong(format!("friend_ids[{index}]"), "must not be user_id itself");
        }
    }
    Some(friends)
}

impl Check for pb::CreateGroupRequest {
    fn check(self, catalog: &Catalog) -> Result<Checked, Invalid> {
        let mut fields = Fields::default();
        let app = fields.app_id(self.app_id);
        let rules = &catalog.ids;
        let group = if self.group_id_allocated_by_im {
            rules.group(&self.group_id)
        } else {
            rules.group_of_caller(&self.group_id)
        };
        let group = fields.check("group_id", group);
        let kind = fields.group_type("type", &self.r#type, catalog);
        let owner = self.owner_id.map(|owner| fields.user_id("owner_id", &owner, rules));
        let is_one_step = self.all_or_nothing || !self.replaces_group_id.is_empty();
        let max = batch_max(catalog.batch.members_max, is_one_step, self.hold_seconds);
        let list = ("member_ids", 0..=max);
        let members = member_ids(&mut fields, list, &self.member_ids, rules, catalog);
        own_limit(&mut fields, self.max_members, kind);
        let replaces = replaced_group(&mut fields, &self.replaces_group_id, &self.group_id);
        let mode = fields.mode(self.mode);
        let hold = fields.hold(self.hold_seconds, &self.operation_id, catalog);
        let take = TakeOptions { all_or_nothing: self.all_or_nothing, hold, replaces };
        let value = (|| {
            let operation = Operation::CreateGroup {
                group: group?,
                group_type: kind?.name.clone(),
                owner: match owner {
                    Some(owner) => Some(owner?),
                    None => None,
                },
                members: members?,
                max_members: self.max_members,
            };
            let checked = checked(app?, mode?, operation, self.group_id, self.member_ids);
            Some(Checked { take, ..checked })
        })();
        fields.finish(value)
    }
}

/// Checks the held group that a creation replaces. Returns `None` also if it is invalid, which is
/// recorded.
fn replaced_group(fields: &mut Fields, replaced: &str, group: &str) -> Option<GroupId> {
    let field = "replaces_group_id";
    if replaced.is_empty() {
        return None;
    }
    if replaced == group {
        fields.wrong(field, "must not be group_id itself");
        return None;
    }
    fields.group_id(field, replaced, &IdRules::WIDEST)
}

fn own_limit(fields: &mut Fields, max_members: Option<u32>, kind: Option<&GroupType>) {
    if max_members == Some(0) {
        fields.wrong("max_members", "must be at least 1, or absent for no limit");
    } else if let Some(kind) = kind
        && max_members.is_some()
        && !kind.members_tracked
    {
        let name = &kind.name;
        fields.wrong("max_members", format!("must be absent: members of {name} are not tracked"));
    }
}

fn member_ids(
    fields: &mut Fields,
    (field, count): (&str, RangeInclusive<usize>),
    ids: &[String],
    rules: &IdRules,
    catalog: &Catalog,
) -> Option<Vec<UserId>> {
    let code = &catalog.im_codes.batch_of_members;
    fields.user_ids(field, ids, rules, count, Some(code))
}

impl Check for pb::UpdateGroupRequest {
    fn check(self, _catalog: &Catalog) -> Result<Checked, Invalid> {
        let mut fields = Fields::default();
        let app = fields.app_id(self.app_id);
        let group = fields.group_id("group_id", &self.group_id, &IdRules::WIDEST);
        own_limit(&mut fields, self.max_members, None);
        let value = (|| {
            let operation = Operation::UpdateGroup { group: group?, max_members: self.max_members };
            Some(checked(app?, Mode::Enforce, operation, self.group_id, Vec::new()))
        })();
        fields.finish(value)
    }
}

impl Check for pb::JoinGroupRequest {
    fn check(self, catalog: &Catalog) -> Result<Checked, Invalid> {
        let mut fields = Fields::default();
        let app = fields.app_id(self.app_id);
        let group = fields.group_id("group_id", &self.group_id, &catalog.ids);
        let max = batch_max(catalog.batch.members_max, self.all_or_nothing, self.hold_seconds);
        let list = ("user_ids", 1..=max);
        let users = member_ids(&mut fields, list, &self.user_ids, &catalog.ids, catalog);
        let mode = fields.mode(self.mode);
        let hold = fields.hold(self.hold_seconds, &self.operation_id, catalog);
        let take = TakeOptions { all_or_nothing: self.all_or_nothing, hold, replaces: None };
        let value = (|| {
            let operation = Operation::JoinGroup { group: group?, users: users? };
            let checked = checked(app?, mode?, operation, self.group_id, self.user_ids);
            Some(Checked { take, ..checked })
        })();
        fields.finish(value)
    }
}

impl Check for pb::LeaveGroupRequest {
    fn check(self, catalog: &Catalog) -> Result<Checked, Invalid> {
        let mut fields = Fields::default();
        let app = fields.app_id(self.app_id);
        let group = fields.group_id("group_id", &self.group_id, &IdRules::WIDEST);
        let list = ("user_ids", 1..=catalog.batch.members_max);
        let users = member_ids(&mut fields, list, &self.user_ids, &IdRules::WIDEST, catalog);
        let value = (|| {
            let operation = Operation::LeaveGroup { group: group?, users: users? };
            Some(checked(app?, Mode::Enforce, operation, self.group_id, self.user_ids))
        })();
        fields.finish(value)
    }
}

impl Check for pb::DissolveGroupRequest {
    fn check(self, _catalog: &Catalog) -> Result<Checked, Invalid> {
        let mut fields = Fields::default();
        let app = fields.app_id(self.app_id);
        let group = fields.group_id("group_id", &self.group_id, &IdRules::WIDEST);
        let value = (|| {
            let operation = Operation::DissolveGroup { group: group? };
            Some(checked(app?, Mode::Enforce, operation, self.group_id, Vec::new()))
        })();
        fields.finish(value)
    }
}

/// Checks a request for usage.
pub fn usage(request: pb::GetUsageRequest) -> Result<(AppId, Subject), Invalid> {
    use pb::subject::Kind;
    let mut fields = Fields::default();
    let app = fields.app_id(request.app_id);
    let subject = match request.subject.and_then(|subject| subject.kind) {
        Some(Kind::App(_)) => Some(Subject::App),
        Some(Kind::UserId(id)) => {
            fields.user_id("subject.user_id", &id, &IdRules::WIDEST).map(Subject::User)
        }
        Some(Kind::GroupId(id)) => {
            fields.group_id("subject.group_id", &id, &IdRules::WIDEST).map(Subject::Group)
        }
        None => {
            fields.wrong("subject", "must be one of app, user_id, group_id");
            None
        }
    };
    let value = app.zip(subject);
    fields.finish(value)
}

#[cfg(test)]
#[path = "request_batch_tests.rs"]
mod batch_tests;
#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
