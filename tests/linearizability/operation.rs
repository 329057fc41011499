//! Random operations on one cell, as requests and as lines of the log.

use imquota::grpc::pb::{self, apply_request::Operation as Request, apply_response::Answer};
use imquota::grpc::pb::{DenialReason, Outcome, subject::Kind as Whose};
use serde_json::{Map, Value, json};
use tonic::Code;

use crate::support::Rng;

pub const USERS: usize = 4;
pub const GROUPS: usize = 4;
const ROOMS: usize = 4;
const ACCOUNTS: usize = 6;
/// Clients of a cell; each has takes with a hold.
pub const CLIENTS: usize = 8;
/// Seconds of a hold: none expires before the history has ended.
const HOLD_SECONDS: u32 = 3600;

/// One operation with its arguments.
#[derive(Debug, Clone)]
pub struct Operation {
    pub name: &'static str,
    pub check: bool,
    user: String,
    /// The users of a batch, instead of `user`.
    users: Vec<String>,
    /// The friend, the group or the room.
    other: String,
    /// The id of the hold that is taken, confirmed or released.
    hold: String,
}

fn operation(name: &'static str, user: String, other: String) -> Operation {
    Operation { name, check: false, user, users: Vec::new(), other, hold: String::new() }
}

/// The takes with a hold of one client so far, each with an id of its own.
#[derive(Debug, Clone)]
pub struct Holds {
    client: usize,
    /// The number of holds of members and of accounts.
    made: [usize; 2],
}

impl Holds {
    pub fn of(client: usize) -> Self {
        Self { client, made: [0, 0] }
    }

    fn next(&mut self, is_of_accounts: bool) -> String {
        let made = &mut self.made[usize::from(is_of_accounts)];
        *made += 1;
        hold_id(self.client, is_of_accounts, *made)
    }

    /// The confirmation or release of a hold: of one of the client's last ones, or of another
    /// client's, who may not have made it yet.
    fn end(&self, rng: &mut Rng) -> Operation {
        // Two of three holds are of members.
        let is_of_accounts = rng.percent(33);
        let names = if is_of_accounts {
            ["confirm_accounts", "release_accounts"]
        } else {
            ["confirm_members", "release_members"]
        };
        let client = if rng.percent(75) { self.client } else { rng.below(CLIENTS) };
        let made = self.made[usize::from(is_of_accounts)];
        let hold = hold_id(client, is_of_accounts, made.saturating_sub(rng.below(3)));
        Operation { hold, ..operation(names[rng.below(2)], String::new(), String::new()) }
    }
}

fn hold_id(client: usize, is_of_accounts: bool, number: usize) -> String {
    let of = if is_of_accounts { "account" } else { "member" };
    format!("{of}-{client}-{number}")
}

/// The id of a user. In every fourth cell the accounts are those of the users who join groups and
/// have friends, so that deleting one releases all of their facts.
fn user(number: usize) -> String {
    format!("user {number}")
}

fn account(is_whole: bool, number: usize) -> String {
    if is_whole { user(number % USERS) } else { format!("account {number}") }
}

pub fn group(number: usize) -> String {
    format!("group {number}")
}

fn room(number: usize) -> String {
    format!("room {number}")
}

/// A random operation; takes outnumber releases, so that the limits are reached.
pub fn random(rng: &mut Rng, is_whole: bool, holds: Option<&mut Holds>) -> Operation {
    let mut one = random_without_holds(rng, is_whole);
    let Some(holds) = holds else { return one };
    if rng.percent(12) {
        return holds.end(rng);
    }
    let held = match one.name {
        "join" => "join_held",
        "create_account" => "create_account_held",
        _ => return one,
    };
    if !one.check && rng.percent(40) {
        (one.name, one.hold) = (held, holds.next(held == "create_account_held"));
    }
    one
}

fn random_without_holds(rng: &mut Rng, is_whole: bool) -> Operation {
    let (takes, counts) = (rng.percent(68), rng.percent(8));
    let mut one = match rng.below(100) {
        0..2 => operation("dissolve", String::new(), group(rng.below(GROUPS))),
        2..10 => {
            let name = if rng.percent(50) { "join_all" } else { "join_whole" };
            let mut one = operation(name, String::new(), group(rng.below(GROUPS)));
            let first = rng.below(USERS);
            one.users = (0..2 + rng.below(2)).map(|at| user((first + at) % USERS)).collect();
            return one;
        }
        10..50 => {
            let name = if takes { "join" } else { "leave" };
            operation(name, user(rng.below(USERS)), group(rng.below(GROUPS)))
        }
        50..72 => {
            let (mine, step) = (rng.below(USERS), 1 + rng.below(USERS - 1));
            let name = if takes { "befriend" } else { "unfriend" };
            operation(name, user(mine), user((mine + step) % USERS))
        }
        72..86 => {
            let name = if takes { "create_room" } else { "dissolve_room" };
            operation(name, String::new(), room(rng.below(ROOMS)))
        }
        _ => {
            let name = if takes { "create_account" } else { "delete_account" };
            operation(name, account(is_whole, rng.below(ACCOUNTS)), String::new())
        }
    };
    if counts {
        one.name = match one.name {
            "join" => "count_user_groups",
            "leave" | "dissolve" => "count_group",
            "befriend" | "unfriend" => "count_friends",
            "create_room" | "dissolve_room" => "count_rooms",
            _ => "count_accounts",
        };
    } else {
        one.check = takes && one.name != "dissolve" && rng.percent(10);
    }
    one
}

/// The reads after all clients have ended: every fact, and every count.
pub fn final_reads(is_whole: bool) -> Vec<Operation> {
    let mut reads = Vec::new();
    for mine in 0..USERS {
        let probes = (0..GROUPS).map(|at| operation("join", user(mine), group(at)));
        reads.extend(probes);
        let others = (0..USERS).filter(|other| *other != mine);
        reads.extend(others.map(|other| operation("befriend", user(mine), user(other))));
        reads.push(operation("count_user_groups", user(mine), String::new()));
        reads.push(operation("count_friends", user(mine), String::new()));
    }
    reads.extend((0..GROUPS).map(|at| operation("count_group", String::new(), group(at))));
    reads.extend((0..ROOMS).map(|at| operation("create_room", String::new(), room(at))));
    let accounts = 0..if is_whole { USERS } else { ACCOUNTS };
    let accounts = accounts.map(|at| account(is_whole, at));
    reads.extend(accounts.map(|user| operation("create_account", user, String::new())));
    reads.push(operation("count_rooms", String::new(), String::new()));
    reads.push(operation("count_accounts", String::new(), String::new()));
    for read in &mut reads {
        read.check = !read.name.starts_with("count_");
    }
    reads
}

impl Operation {
    /// The request of the operation.
    pub fn request(&self, app: &str) -> Request {
        let (app_id, user_id) = (app.to_owned(), self.user.clone());
        let (user_ids, group_id) = (vec![self.user.clone()], self.other.clone());
        let friend_ids = vec![self.other.clone()];
        let mode = if self.check { pb::Mode::CheckOnly } else { pb::Mode::Enforce }.into();
        let (one_way, operation_id) = (false, self.hold.clone());
        let hold_seconds = (!operation_id.is_empty()).then_some(HOLD_SECONDS);
        match self.name {
            "join" | "join_held" => Request::JoinGroup(pb::JoinGroupRequest {
                app_id,
                group_id,
                user_ids,
                mode,
                hold_seconds,
                operation_id,
                ..Default::default()
            }),
            "join_all" | "join_whole" => Request::JoinGroup(pb::JoinGroupRequest {
                app_id,
                group_id,
                user_ids: self.users.clone(),
                mode,
                all_or_nothing: self.name == "join_whole",
                ..Default::default()
            }),
            "leave" => Request::LeaveGroup(pb::LeaveGroupRequest { app_id, group_id, user_ids }),
            "befriend" => Request::AddFriends(pb::AddFriendsRequest {
                app_id,
                user_id,
                friend_ids,
                one_way,
                mode,
                ..Default::default()
            }),
            "unfriend" => Request::RemoveFriends(pb::RemoveFriendsRequest {
                app_id,
                user_id,
                friend_ids,
                one_way,
            }),
            "create_account" | "create_account_held" => {
                Request::CreateAccounts(pb::CreateAccountsRequest {
                    app_id,
                    user_ids,
                    mode,
                    hold_seconds,
                    operation_id,
                    ..Default::default()
                })
            }
            name if name.starts_with("confirm_") || name.starts_with("release_") => {
                self.end(app_id)
            }
            "delete_account" => {
                Request::DeleteAccounts(pb::DeleteAccountsRequest { app_id, user_ids })
            }
            "create_room" => create_group(app, self.other.clone(), "AVChatRoom", mode),
            "dissolve" | "dissolve_room" => {
                Request::DissolveGroup(pb::DissolveGroupRequest { app_id, group_id })
            }
            _ => {
                let (_, kind) = self.counted();
                let subject = Some(pb::Subject { kind: Some(kind) });
                Request::GetUsage(pb::GetUsageRequest { app_id, subject })
            }
        }
    }

    /// The request of the confirmation or release of a hold.
    fn end(&self, app_id: String) -> Request {
        let is_of_members = self.name.ends_with("_members");
        let relation =
            if is_of_members { pb::HoldRelation::Groups } else { pb::HoldRelation::Accounts };
        let (relation, operation_id) = (relation.into(), self.hold.clone());
        if self.name.starts_with("confirm_") {
            let mode = pb::Mode::Enforce.into();
            Request::ConfirmHold(pb::ConfirmHoldRequest { app_id, operation_id, relation, mode })
        } else {
            Request::ReleaseHold(pb::ReleaseHoldRequest { app_id, operation_id, relation })
        }
    }

    /// The group that does not exist after the operation.
    pub fn dissolved(&self) -> Option<String> {
        (self.name == "dissolve").then(|| self.other.clone())
    }

    /// The limit whose usage is read, and its subject.
    fn counted(&self) -> (&'static str, Whose) {
        match self.name {
            "count_user_groups" => ("groups_per_user", Whose::UserId(self.user.clone())),
            "count_friends" => ("friends_per_user", Whose::UserId(self.user.clone())),
            "count_group" => ("members_per_group", Whose::GroupId(self.other.clone())),
            "count_rooms" => ("groups_per_app/AVChatRoom", Whose::App(pb::AppSubject {})),
            _ => ("accounts_per_app", Whose::App(pb::AppSubject {})),
        }
    }

    /// The arguments by the checker's names.
    pub fn describe(&self, line: &mut Map<String, Value>) {
        line.insert("op".into(), json!(self.name));
        line.insert("check".into(), json!(self.check));
        if !self.user.is_empty() {
            line.insert("user".into(), json!(self.user));
        }
        if !self.users.is_empty() {
            line.insert("users".into(), json!(self.users));
        }
        if !self.hold.is_empty() {
            line.insert("hold".into(), json!(self.hold));
        }
        let other = match self.name {
            "befriend" | "unfriend" => "friend",
            "create_room" | "dissolve_room" | "count_rooms" => "room",
            _ => "group",
        };
        if !self.other.is_empty() {
            line.insert(other.into(), json!(self.other));
        }
    }

    /// Adds the result: outcome and denials, or the value of a count.
    pub fn learn(&self, answer: Answer, line: &mut Map<String, Value>) {
        let result = match answer {
            Answer::CreateAccounts(it) => it.results.into_iter().next(),
            Answer::DeleteAccounts(it) => it.results.into_iter().next(),
            Answer::AddFriends(it) => it.results.into_iter().next(),
            Answer::RemoveFriends(it) => it.results.into_iter().next(),
            Answer::JoinGroup(it) if !self.users.is_empty() => {
                let results: Vec<Value> = it.results.iter().map(told).collect();
                line.insert("outcome".into(), json!("APPLIED"));
                line.insert("results".into(), json!(results));
                return;
            }
            Answer::JoinGroup(it) => it.results.into_iter().next(),
            Answer::LeaveGroup(it) => it.results.into_iter().next(),
            Answer::CreateGroup(it) => it.group,
            Answer::UpdateGroup(it) => it.result,
            Answer::DissolveGroup(it) => it.result,
            Answer::GetUsage(it) => {
                let (limit_id, _) = self.counted();
                let usage = it.usages.into_iter().find(|usage| usage.limit_id == limit_id);
                line.insert("outcome".into(), json!("APPLIED"));
                line.insert("value".into(), json!(usage.map(|usage| usage.used)));
                return;
            }
            Answer::ConfirmHold(pb::ConfirmHoldResponse { results, .. })
            | Answer::ReleaseHold(pb::ReleaseHoldResponse { results, .. }) => {
                let result = results.first().expect("one result for one subject");
                let outcome = result.outcome().as_str_name();
                let outcome = outcome.trim_start_matches("HOLD_OUTCOME_");
                line.insert("outcome".into(), json!(outcome));
                return;
            }
            Answer::RecordLogins(_) => unreachable!("the history has none"),
            Answer::Error(error) => {
                let code = Code::from_i32(error.code);
                let is_end = self.name.starts_with("confirm_") || self.name.starts_with("release_");
                let outcome = match fate(code, &error.message) {
                    _ if is_end && code == Code::NotFound => "NOT_FOUND",
                    outcome => outcome,
                };
                line.insert("outcome".into(), json!(outcome));
                line.insert("error".into(), json!(error.message));
                return;
            }
        };
        let Value::Object(told) = told(&result.expect("one result for one subject")) else {
            return;
        };
        line.extend(told);
    }
}

fn told(result: &pb::Result) -> Value {
    let denials: Vec<Value> = result.denials.iter().map(denial).collect();
    json!({"outcome": outcome(result.outcome()), "denials": denials})
}

/// A group or room of that type.
pub fn create_group(app: &str, group_id: String, group_type: &str, mode: i32) -> Request {
    Request::CreateGroup(pb::CreateGroupRequest {
        app_id: app.to_owned(),
        group_id,
        r#type: group_type.to_owned(),
        mode,
        ..pb::CreateGroupRequest::default()
    })
}

fn outcome(outcome: Outcome) -> &'static str {
    outcome.as_str_name().trim_start_matches("OUTCOME_")
}

fn denial(denial: &pb::Denial) -> Value {
    let limit = match denial.reason() {
        DenialReason::MyFriends => "my_friends",
        DenialReason::PeerFriends => "peer_friends",
        DenialReason::GroupsPerUser => "groups_per_user",
        DenialReason::MembersPerGroup => "members_per_group",
        DenialReason::GroupsPerApp => "rooms_per_app",
        DenialReason::AccountsPerApp => "accounts_per_app",
        other => other.as_str_name(),
    };
    json!({"limit": limit, "used": denial.used})
}

/// The outcome of an error: nothing done, or unknown.
fn fate(code: Code, message: &str) -> &'static str {
    match code {
        Code::Unavailable if message.contains("nothing was done") => "ERROR_NOTHING_DONE",
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::ResourceExhausted => "ERROR_NOTHING_DONE",
        _ => "ERROR_UNKNOWN",
    }
}
