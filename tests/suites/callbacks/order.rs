//! Order of callbacks that overtake each other, also between the steps of another sidecar.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use imquota::domain::id::AppId;
use imquota::domain::time::Timestamp;
use imquota::ledger::LedgerError;
use imquota::ledger::callback_notes::CallbackNotes;
use serde_json::{Value, json};

use super::sender::{Sidecar, accounts, listed, stores};

/// Something that another sidecar does.
type Other = Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// Notes before one of whose calls another sidecar does something.
struct Interrupted {
    notes: Arc<dyn CallbackNotes>,
    left: AtomicUsize,
    other: Other,
}

impl Interrupted {
    /// Returns whether the call before which it was to happen came.
    fn has_happened(&self, at: usize) -> bool {
        // It wraps around after the call.
        at.wrapping_sub(self.left.load(Ordering::Relaxed)) >= at
    }

    async fn step(&self) {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            (self.other)().await;
        }
    }
}

#[async_trait]
impl CallbackNotes for Interrupted {
    async fn push(
        &self,
        app: &AppId,
        queue: &str,
        text: &str,
        lasting: Duration,
        deadline: Timestamp,
    ) -> Result<(), LedgerError> {
        self.step().await;
        self.notes.push(app, queue, text, lasting, deadline).await
    }

    async fn pop(
        &self,
        app: &AppId,
        queue: &str,
        deadline: Timestamp,
    ) -> Result<Option<String>, LedgerError> {
        self.step().await;
        self.notes.pop(app, queue, deadline).await
    }

    async fn peek(
        &self,
        app: &AppId,
        queue: &str,
        deadline: Timestamp,
    ) -> Result<Option<String>, LedgerError> {
        self.step().await;
        self.notes.peek(app, queue, deadline).await
    }

    async fn raise_instants(
        &self,
        app: &AppId,
        names: &[String],
        instant: Timestamp,
        lasting: Duration,
        deadline: Timestamp,
    ) -> Result<(), LedgerError> {
        self.step().await;
        self.notes.raise_instants(app, names, instant, lasting, deadline).await
    }

    async fn instants(
        &self,
        app: &AppId,
        names: &[String],
        deadline: Timestamp,
    ) -> Result<Vec<Option<Timestamp>>, LedgerError> {
        self.step().await;
        self.notes.instants(app, names, deadline).await
    }
}

async fn join(sidecar: &Sidecar, operation_id: &str) -> Value {
    let body = json!({ "groupID": "g", "memberList": listed(&["a"]) });
    sidecar.openim(operation_id, "callbackBeforeMembersJoinGroupCommand", body).await
}

async fn quit(sidecar: &Sidecar) {
    let body = json!({ "groupID": "g", "userID": "a" });
    sidecar.openim("op", "callbackAfterQuitGroupCommand", body).await;
}

/// Creates a group with an owner, and with a member who has just joined.
async fn with_member(sidecar: &Sidecar) {
    let body = json!({
        "groupID": "g", "groupType": 1, "initMemberList": [{ "userID": "o", "roleLevel": 100 }],
    });
    sidecar.openim("create", "callbackBeforeCreateGroupCommand", body).await;
    let body = json!({ "groupID": "g", "memberList": listed(&["o"]) });
    sidecar.openim("create", "callbackBeforeMembersJoinGroupCommand", body).await;
    join(sidecar, "first").await;
    assert_eq!(sidecar.members_of("g").await, 2);
}

#[tokio::test]
async fn a_leave_that_a_later_join_has_overtaken_is_dropped_once() {
    let sidecar = Sidecar::alone(false);
    with_member(&sidecar).await;
    // They left and joined twice, and both leaves arrive after both joins.
    join(&sidecar, "second").await;
    join(&sidecar, "third").await;
    for expected in [2, 2, 1] {
        quit(&sidecar).await;
        assert_eq!(sidecar.members_of("g").await, expected);
    }
}

#[tokio::test]
async fn a_repeated_join_drops_no_leave() {
    let sidecar = Sidecar::alone(false);
    with_member(&sidecar).await;
    join(&sidecar, "first").await;
    quit(&sidecar).await;
    assert_eq!(sidecar.members_of("g").await, 1);
}

/// Has a member leave and join again, as two sidecars see it: one of the two runs as a whole before
/// the `at`-th note of the other. Then the member is one, and a further leave is carried out.
async fn rejoins(at: usize, is_leave_interrupted: bool) -> bool {
    let stores = stores();
    let other = Arc::new(Sidecar::open(stores.clone(), false, |notes| notes));
    with_member(&other).await;
    let happens = other.clone();
    let interrupting: Other = Box::new(move || {
        let sidecar = happens.clone();
        Box::pin(async move {
            if is_leave_interrupted {
                join(&sidecar, "second").await;
            } else {
                quit(&sidecar).await;
            }
        })
    });
    let notes = stores.callback_notes.clone();
    let interrupted =
        Arc::new(Interrupted { notes, left: AtomicUsize::new(at), other: interrupting });
    let one = Sidecar::open(stores, false, |_| interrupted.clone());
    if is_leave_interrupted {
        quit(&one).await;
    } else {
        join(&one, "second").await;
    }
    let has_happened = interrupted.has_happened(at);
    if has_happened {
        assert_eq!(other.members_of("g").await, 2, "{is_leave_interrupted} {at}");
        quit(&other).await;
        assert_eq!(other.members_of("g").await, 1, "{is_leave_interrupted} {at}, the next leave");
    }
    has_happened
}

#[tokio::test]
async fn no_interleaving_of_a_leave_and_a_join_loses_the_member() {
    for is_leave_interrupted in [true, false] {
        let mut steps = 0;
        while rejoins(steps + 1, is_leave_interrupted).await {
            steps += 1;
        }
        assert!(steps >= 1, "at least one note is used");
    }
}

fn members(users: &[&str], field: &str, at: i64) -> Value {
    json!({ "GroupId": "g", "Type": "Public", field: accounts(users), "EventTime": at })
}

async fn joined(sidecar: &Sidecar, at: i64) {
    let body = members(&["a"], "NewMemberList", at);
    sidecar.tencent("Group.CallbackAfterNewMemberJoin", body).await;
}

async fn left(sidecar: &Sidecar, at: i64) {
    let body = members(&["a"], "ExitMemberList", at);
    sidecar.tencent("Group.CallbackAfterMemberExit", body).await;
}

const T: i64 = 1_670_574_414_000;

async fn with_owner(sidecar: &Sidecar) {
    let body = json!({
        "GroupId": "g", "Owner_Account": "o", "Type": "Public", "Name": "n", "EventTime": T,
    });
    sidecar.tencent("Group.CallbackAfterCreateGroup", body).await;
}

#[tokio::test]
async fn events_of_members_end_in_the_order_of_their_instants() {
    // The instants of joins (positive) and leaves (negative) in the order of arrival.
    for (events, expected) in [
        (vec![1, -2], 1),
        (vec![-2, 1], 1),
        (vec![1, 3, -2], 2),
        (vec![1, -2, 3], 2),
        (vec![3, -2, 1], 2),
        (vec![-2, 3, 1, -4], 1),
        (vec![-4, 3, -2, 1], 1),
        (vec![1, -1], 1),
    ] {
        let sidecar = Sidecar::alone(false);
        with_owner(&sidecar).await;
        for event in &events {
            if *event > 0 {
                joined(&sidecar, T + event).await;
            } else {
                left(&sidecar, T - event).await;
            }
        }
        assert_eq!(sidecar.members_of("g").await, expected, "{events:?}");
    }
}

#[tokio::test]
async fn a_destroyed_group_does_not_come_back_by_an_earlier_join() {
    let sidecar = Sidecar::alone(false);
    with_owner(&sidecar).await;
    let destroyed = json!({ "GroupId": "g", "EventTime": (T + 5).to_string() });
    sidecar.tencent("Group.CallbackAfterGroupDestroyed", destroyed).await;
    joined(&sidecar, T + 4).await;
    assert_eq!((sidecar.groups_of("a").await, sidecar.groups_of("o").await), (0, 0));
    // A group that was created again is not destroyed by an earlier event.
    let body = json!({
        "GroupId": "g", "Owner_Account": "o", "Type": "Public", "Name": "n", "EventTime": T + 9,
    });
    sidecar.tencent("Group.CallbackAfterCreateGroup", body).await;
    let late = json!({ "GroupId": "g", "EventTime": T + 5 });
    sidecar.tencent("Group.CallbackAfterGroupDestroyed", late).await;
    assert_eq!(sidecar.groups_of("o").await, 1);
}

/// Has a member's two events happen on two sidecars: one of the two runs as a whole before the
/// `at`-th note of the other.
async fn two_events(at: usize, is_leave_interrupted: bool, join_at: i64, leave_at: i64) -> bool {
    let stores = stores();
    let other = Arc::new(Sidecar::open(stores.clone(), false, |notes| notes));
    with_owner(&other).await;
    joined(&other, T + 1).await;
    let happens = other.clone();
    let interrupting: Other = Box::new(move || {
        let sidecar = happens.clone();
        Box::pin(async move {
            if is_leave_interrupted {
                joined(&sidecar, join_at).await;
            } else {
                left(&sidecar, leave_at).await;
            }
        })
    });
    let notes = stores.callback_notes.clone();
    let interrupted =
        Arc::new(Interrupted { notes, left: AtomicUsize::new(at), other: interrupting });
    let one = Sidecar::open(stores, false, |_| interrupted.clone());
    if is_leave_interrupted {
        left(&one, leave_at).await;
    } else {
        joined(&one, join_at).await;
    }
    let has_happened = interrupted.has_happened(at);
    if has_happened {
        let expected = if join_at > leave_at { 2 } else { 1 };
        let words = format!("{is_leave_interrupted} {at}: {join_at} {leave_at}");
        assert_eq!(other.members_of("g").await, expected, "{words}");
    }
    has_happened
}

#[tokio::test]
async fn events_on_two_sidecars_end_in_the_order_of_their_instants_in_every_interleaving() {
    for (is_leave_interrupted, join_at, leave_at) in
        [(true, T + 3, T + 2), (true, T + 2, T + 3), (false, T + 3, T + 2), (false, T + 2, T + 3)]
    {
        let mut steps = 0;
        while two_events(steps + 1, is_leave_interrupted, join_at, leave_at).await {
            steps += 1;
        }
        assert!(steps >= 3, "{steps} notes are used");
    }
}
