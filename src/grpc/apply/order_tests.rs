//! Tests of the order of a stream's operations.

use super::*;

fn join(users: &[&str], group: &str) -> Operation {
    let user_ids = users.iter().map(|&user| user.to_owned()).collect();
    let (app_id, group_id) = ("demo".to_owned(), group.to_owned());
    Operation::JoinGroup(pb::JoinGroupRequest { app_id, group_id, user_ids, ..Default::default() })
}

fn dissolve(group: &str) -> Operation {
    let (app_id, group_id) = ("demo".to_owned(), group.to_owned());
    Operation::DissolveGroup(pb::DissolveGroupRequest { app_id, group_id })
}

fn befriend(user: &str, friends: &[&str]) -> Operation {
    Operation::AddFriends(pb::AddFriendsRequest {
        app_id: "demo".to_owned(),
        user_id: user.to_owned(),
        friend_ids: friends.iter().map(|&friend| friend.to_owned()).collect(),
        ..Default::default()
    })
}

const NONE: [u64; 0] = [];

/// Operations by number, entered in order.
#[derive(Default)]
struct Entered {
    order: Order,
    subjects: Vec<Vec<Subject>>,
}

impl Entered {
    fn enter(&mut self, operation: Operation) -> bool {
        let request = pb::ApplyRequest { operation: Some(operation), ..Default::default() };
        let subjects = self.order.subjects(&request);
        let starts = self.order.enter(self.subjects.len() as u64, &subjects);
        self.subjects.push(subjects);
        starts
    }

    fn leave(&mut self, number: usize) -> Vec<u64> {
        let mut ready = VecDeque::new();
        self.order.leave(number as u64, &self.subjects[number], &mut ready);
        ready.into()
    }
}

#[test]
fn the_end_of_a_hold_comes_after_the_takes_with_its_id_and_after_nothing_else() {
    let held = |group: &str, user: &str, id: &str| {
        let Operation::JoinGroup(join) = join(&[user], group) else { unreachable!() };
        Operation::JoinGroup(pb::JoinGroupRequest { operation_id: id.to_owned(), ..join })
    };
    let confirm = |app: &str, id: &str| {
        Operation::ConfirmHold(pb::ConfirmHoldRequest {
            app_id: app.to_owned(),
            operation_id: id.to_owned(),
            ..Default::default()
        })
    };
    let mut entered = Entered::default();
    assert!(entered.enter(held("g", "u", "o1")));
    assert!(!entered.enter(held("h", "v", "o1")));
    assert!(!entered.enter(confirm("demo", "o1")));
    assert!(entered.enter(confirm("demo", "o2")) && entered.enter(confirm("other", "o1")));
    assert!(entered.enter(join(&["w"], "g")), "without a hold");
    assert_eq!(entered.leave(0), [1]);
    assert_eq!(entered.leave(1), [2]);
}

#[test]
fn operations_about_one_user_go_one_after_another() {
    let mut entered = Entered::default();
    assert!(entered.enter(join(&["u"], "g")));
    assert!(entered.enter(join(&["v"], "g")));
    assert!(!entered.enter(join(&["u"], "h")));
    assert!(!entered.enter(befriend("w", &["v", "u"])));
    assert!(entered.enter(join(&["x"], "h")));
    assert_eq!(entered.leave(1), NONE);
    assert_eq!(entered.leave(0), [2]);
    assert_eq!(entered.leave(2), [3]);
    assert_eq!(entered.leave(3), NONE);
    assert_eq!(entered.leave(4), NONE);
    assert!(entered.order.subjects.is_empty() && entered.order.waiting.is_empty());
}

#[test]
fn a_dissolution_waits_for_joins_and_later_joins_for_it() {
    let mut entered = Entered::default();
    assert!(entered.enter(join(&["u"], "g")));
    assert!(entered.enter(join(&["v"], "g")));
    assert!(!entered.enter(dissolve("g")));
    assert!(!entered.enter(join(&["w"], "g")));
    assert!(!entered.enter(join(&["x"], "g")));
    assert_eq!(entered.leave(1), NONE);
    assert_eq!(entered.leave(0), [2]);
    assert_eq!(entered.leave(2), [3, 4]);
}

#[test]
fn an_operation_that_gives_up_waiting_holds_up_no_other() {
    let mut entered = Entered::default();
    assert!(entered.enter(join(&["u", "v"], "g")));
    assert!(!entered.enter(join(&["u", "w"], "g")));
    assert!(!entered.enter(befriend("w", &["x"])));
    assert_eq!(entered.leave(1), [2]);
    assert_eq!(entered.leave(0), NONE);
    assert_eq!(entered.leave(2), NONE);
    assert!(entered.order.subjects.is_empty());
}

#[test]
fn the_same_names_in_another_app_or_twice_in_one_operation_are_no_conflict() {
    let mut entered = Entered::default();
    assert!(entered.enter(join(&["u", "u"], "u")));
    let other = pb::DissolveGroupRequest { app_id: "other".to_owned(), group_id: "u".to_owned() };
    assert!(entered.enter(Operation::DissolveGroup(other)));
    assert_eq!(entered.leave(0), NONE);
    assert!(entered.enter(befriend("u", &["u"])));
}

#[test]
fn a_creation_is_about_the_group_that_it_replaces_too() {
    let create = |group: &str, replaced: &str| {
        Operation::CreateGroup(pb::CreateGroupRequest {
            app_id: "demo".to_owned(),
            group_id: group.to_owned(),
            replaces_group_id: replaced.to_owned(),
            ..Default::default()
        })
    };
    let confirm = pb::ConfirmHoldRequest {
        app_id: "demo".to_owned(),
        operation_id: "of-tmp".to_owned(),
        ..Default::default()
    };
    let mut entered = Entered::default();
    assert!(entered.enter(create("tmp", "")));
    assert!(entered.enter(create("other", "")), "no group is replaced by both");
    assert!(!entered.enter(create("g", "tmp")));
    assert!(!entered.enter(join(&["u"], "tmp")));
    assert!(!entered.enter(join(&["v"], "g")));
    assert!(!entered.enter(Operation::ConfirmHold(confirm)), "it may have created the group");
    assert_eq!(entered.leave(0), [2]);
    let mut ready = entered.leave(2);
    ready.sort_unstable();
    assert_eq!(ready, [3, 4, 5]);
}
