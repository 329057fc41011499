//! Tests of the memory store: what one call holds up, large operations, panics, empty apps.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::clock::SystemClock;
use crate::domain::decision::{Mode, Outcome};
use crate::domain::id::{GroupId, UserId};
use crate::domain::limit::{Bound, Limit, LimitId, Source};
use crate::domain::schedule::{Limits, Segment};
use crate::domain::timeline::ServiceState;
use crate::domain::usage::Counts;
use crate::ledger::TakeOptions;
use crate::ledger::reconcile::{ClaimedGroup, Repair};

/// Longer than a loaded machine needs.
const LONGEST: Duration = Duration::from_secs(30);
/// Apps, of which some share a part of the map.
const APPS: usize = 256;

fn open() -> Memory {
    Memory::open(Arc::new(SystemClock)).expect("opens")
}

fn app(name: &str) -> AppId {
    AppId::try_from(name).expect("an id")
}

fn group() -> GroupId {
    GroupId::try_from("g").expect("an id")
}

fn users(count: usize) -> Vec<UserId> {
    (0..count).map(|number| UserId::try_from(format!("u{number}")).expect("an id")).collect()
}

/// A schedule with one limit.
fn limited(of: LimitId, most: u64) -> Schedule {
    let source = Source::Edition("trial".into());
    let sold = vec![(of, Bound { limit: Limit::Finite(most), source })];
    let (edition, state) = ("trial".into(), ServiceState::Active);
    let limits = Limits { edition, state, add_ons: Vec::new(), sold, im_code_set: None };
    Schedule::from_segments(vec![Segment { until: Timestamp::MAX, limits }]).expect("in order")
}

fn call(of: &str) -> Call {
    Call {
        app: app(of),
        mode: Mode::Enforce,
        deadline: SystemClock.now() + LONGEST,
        catalog: Arc::new(crate::catalog::builtin()),
        unknown_app: Some(Arc::new(limited(LimitId::AccountsPerApp, 10_000))),
        fail_fast: false,
        is_replayed: false,
        take: TakeOptions::default(),
    }
}

fn create_accounts(count: usize) -> Operation {
    Operation::CreateAccounts { users: users(count) }
}

async fn create_group(store: &Memory, of: &str, members: usize) {
    let (group_type, members) = (Name::from("ChatRoom"), users(members));
    let (owner, max_members) = (None, None);
    let create = Operation::CreateGroup { group: group(), group_type, owner, members, max_members };
    let answer = store.apply(call(of), create).await.expect("decided");
    assert!(answer.items.iter().all(|item| item.outcome == Outcome::Applied));
}

fn join(users_len: usize) -> Operation {
    Operation::JoinGroup { group: group(), users: users(users_len) }
}

async fn users_in_groups(store: &Memory, of: &str) -> usize {
    let page = store.holdings(&call(of), UsageScope::UsersInGroups, None).await.expect("read");
    assert_eq!(page.next, None);
    page.each.len()
}

fn poll<T>(future: &mut Pin<Box<impl Future<Output = T> + ?Sized>>) -> Poll<T> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// Returns the result of a call that does not wait.
fn at_once<T>(call: impl Future<Output = Result<T, LedgerError>>) -> T {
    match poll(&mut Box::pin(call)) {
        Poll::Ready(done) => done.expect("done"),
        Poll::Pending => panic!("the call waits"),
    }
}

async fn members(store: &Memory, of: &str) -> u64 {
    let reading = store.read(call(of), Subject::Group(group())).await.expect("read");
    let Counts::Group { members, .. } = reading.counts else { panic!("of a group") };
    members
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_on_one_app_holds_up_no_other_app() {
    let store = Arc::new(open());
    let ((entered, is_there), (release, released)) = (mpsc::channel(), mpsc::channel());
    let busy = store.clone();
    let holder = std::thread::spawn(move || {
        let (app, reading) = (busy.shared.ids().app(&app("busy")), busy.shared.clock().reading());
        let held = busy.shared.step(app, reading, |_| {
            entered.send(()).expect("the test waits for it");
            released.recv_timeout(LONGEST).map_err(|_| LedgerError::from(StoreError::Closing))
        });
        held.expect("released by the test");
    });
    is_there.recv_timeout(LONGEST).expect("the app is locked");
    let others = tokio::spawn(async move {
        for number in 0..APPS {
            let name = format!("other{number}");
            store.apply(call(&name), create_accounts(1)).await.expect("decided");
            store.read(call(&name), Subject::App).await.expect("read");
        }
    });
    tokio::time::timeout(LONGEST, others).await.expect("none waits").expect("no panic");
    release.send(()).expect("it waits");
    holder.join().expect("no panic");
}

#[tokio::test]
async fn a_large_dissolution_lets_other_calls_in_between_its_steps() {
    const MEMBERS: usize = 1000;
    let store = open();
    create_group(&store, "a", MEMBERS).await;
    let dissolve = Operation::DissolveGroup { group: group() };
    let mut steps = Steps::of(&store.shared, call("a"), dissolve.clone());
    let mut count = 1;
    while steps.next(&store.shared, store.shared.clock().reading()).expect("decided") {
        let joined = store.apply(call("a"), join(1)).await;
        assert_eq!(joined, Err(LedgerError::GroupNotFound(group())), "from the first step on");
        at_once(store.apply(call("a"), create_accounts(1)));
        at_once(store.apply(call("b"), create_accounts(1)));
        assert_eq!(users_in_groups(&store, "a").await, MEMBERS - count * SUBJECTS_MAX);
        count += 1;
    }
    assert_eq!(count, MEMBERS.div_ceil(SUBJECTS_MAX));
    let answer = steps.into_answer().expect("an answer");
    let outcome = answer.whole.expect("one").outcome;
    assert_eq!((answer.members_released, outcome), (1000, Outcome::Applied));
    assert_eq!(users_in_groups(&store, "a").await, 0);
    let again = store.apply(call("a"), dissolve).await.expect("decided").whole.expect("one");
    assert_eq!(again.outcome, Outcome::NotHeld);
}

#[tokio::test(flavor = "multi_thread")]
async fn members_left_of_a_dissolved_group_are_none_of_the_next_one() {
    const MEMBERS: usize = 1000;
    let store = open();
    let dissolve = Operation::DissolveGroup { group: group() };
    for by_reconciling in [false, true] {
        let name = format!("app-{by_reconciling}");
        create_group(&store, &name, MEMBERS).await;
        let mut first = Steps::of(&store.shared, call(&name), dissolve.clone());
        assert!(first.next(&store.shared, store.shared.clock().reading()).expect("decided"));
        if by_reconciling {
            let comparison =
                Comparison { call: call(&name), repair: Repair::Both, tracked_since: None };
            let row = ClaimedGroup { group_type: "ChatRoom".into(), max_members: None };
            let members = vec![store.fingerprints().user(&users(1)[0])];
            let group = store.fingerprints().group(&group());
            let claim = ExpectedState::Group { group, row: Some(row), members };
            let differences = store.compare(&comparison, vec![claim]).await.expect("compared");
            assert_eq!(differences.len(), 2, "the group and its member: {differences:?}");
        } else {
            create_group(&store, &name, 1).await;
        }
        assert!(!first.next(&store.shared, store.shared.clock().reading()).expect("ended"));
        assert_eq!(members(&store, &name).await, 1);
        assert_eq!(users_in_groups(&store, &name).await, 1);
    }
}

#[tokio::test]
async fn a_large_deletion_is_finished_by_several_steps() {
    let store = open();
    let delete = Operation::DeleteAccount { user: users(1).remove(0) };
    let friends = users(601).split_off(1);
    let befriend = Operation::AddFriends { user: users(1).remove(0), friends, one_way: false };
    store.apply(call("a"), create_accounts(1)).await.expect("decided");
    store.apply(call("a"), befriend).await.expect("decided");
    create_group(&store, "a", 1).await;
    let mut steps = Steps::of(&store.shared, call("a"), delete.clone());
    let mut count = 1;
    while steps.next(&store.shared, store.shared.clock().reading()).expect("decided") {
        count += 1;
        let reading = store.read(call("a"), Subject::App).await.expect("read");
        let Counts::App { accounts, .. } = reading.counts else { panic!("of the app") };
        assert_eq!(accounts, 1, "the account goes last");
    }
    assert_eq!(count, 3);
    let again = store.apply(call("a"), delete).await.expect("decided").whole.expect("one");
    assert_eq!(again.outcome, Outcome::NotHeld);
    let group = store.read(call("a"), Subject::Group(group())).await;
    assert!(group.is_err(), "the last member has left: {group:?}");
}

#[tokio::test]
async fn each_page_of_a_full_scan_lets_other_calls_in() {
    let store = open();
    let friends = users(2 * PAGE + 1).split_off(1);
    let befriend = Operation::AddFriends { user: users(1).remove(0), friends, one_way: false };
    let call = Call { mode: Mode::Force, ..call("a") };
    store.apply(call.clone(), befriend).await.expect("decided");
    let (mut pages, mut seen, mut from) = (0, 0, None);
    loop {
        let scope = UsageScope::UsersWithFriends;
        let mut page = Box::pin(store.holdings(&call, scope, from));
        assert!(poll(&mut page).is_pending(), "the page lets other tasks in");
        at_once(store.apply(self::call("b"), create_accounts(1)));
        let page = page.await.expect("read");
        assert!(page.each.len() <= PAGE);
        (pages, seen) = (pages + 1, seen + page.each.len());
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    assert_eq!((pages, seen), (3, 2 * PAGE + 1));
}

#[tokio::test]
async fn a_large_take_crosses_the_highest_threshold_once() {
    let store = open();
    let schedule = limited(LimitId::AccountsPerApp, 1000);
    store.put_schedule(&app("a"), 1, &schedule).await.expect("written");
    let answer = store.apply(call("a"), create_accounts(1100)).await.expect("decided");
    let applied = answer.items.iter().filter(|item| item.outcome == Outcome::Applied);
    assert_eq!((answer.items.len(), applied.count()), (1100, 1000));
    let crossed: Vec<_> = answer.warnings.iter().map(|it| (it.used, it.percent)).collect();
    assert_eq!(crossed, [(1000, 100)]);
}

// On one thread: its other steps cannot be done before the caller stops waiting.
#[tokio::test]
async fn a_large_take_is_finished_for_a_caller_that_stopped_waiting() {
    let store = open();
    let schedule = limited(LimitId::AccountsPerApp, 1000);
    store.put_schedule(&app("a"), 1, &schedule).await.expect("written");
    let mut large = Box::pin(store.apply(call("a"), create_accounts(950)));
    assert!(poll(&mut large).is_pending());
    drop(large);
    let crossings = tokio::time::timeout(LONGEST, store.next_crossings()).await.expect("queued");
    assert_eq!(crossings.app, app("a"));
    let crossed: Vec<_> = crossings.warnings.iter().map(|it| (it.used, it.percent)).collect();
    assert_eq!(crossed, [(950, 90)]);
}

#[tokio::test]
async fn a_backup_is_refused_with_a_sentence() {
    let refused = open().snapshot().await.expect_err("there is no file");
    assert_eq!(refused, SnapshotError::InMemory);
    assert!(refused.to_string().contains("no file to back up"), "{refused}");
}

#[tokio::test]
async fn an_app_whose_operation_panicked_halfway_is_refused_and_no_other() {
    let store = open();
    let panics_after = |app: &str, writes: bool| {
        let reading = store.shared.clock().reading();
        let step = || {
            store.shared.step(store.shared.ids().app(&self::app(app)), reading, |rows| {
                if writes {
                    rows.put_account(1, true)?;
                }
                assert!(rows.unknown_since()?.is_some(), "a bug");
                Ok::<(), StepError>(())
            })
        };
        assert!(catch_unwind(AssertUnwindSafe(step)).is_err());
    };
    panics_after("whole", false);
    panics_after("halfway", true);
    for name in ["whole", "other"] {
        store.apply(call(name), create_accounts(1)).await.expect("decided");
    }
    let refused = store.apply(call("halfway"), create_accounts(1)).await;
    assert!(matches!(refused, Err(LedgerError::Store(StoreError::Refused(_)))), "{refused:?}");
    assert!(store.read(call("halfway"), Subject::App).await.is_err());
}

#[tokio::test]
async fn apps_without_facts_take_no_room() {
    let store = open();
    store.read(call("a"), Subject::App).await.expect("read");
    let dry_run = Call { mode: Mode::CheckOnly, ..call("b") };
    store.apply(dry_run, create_accounts(3)).await.expect("decided");
    let refused = Call { unknown_app: None, ..call("c") };
    store.apply(refused, create_accounts(1)).await.expect_err("not registered");
    assert!(store.shared.apps.keys().is_empty());
    store.apply(call("d"), create_accounts(1)).await.expect("decided");
    assert_eq!(store.shared.apps.keys().len(), 1);
}

#[test]
fn no_change_is_lost_while_an_app_is_removed_and_made_again() {
    const ROUNDS: u64 = 2000;
    let apps = Apps::default();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let apps = &apps;
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    let put = |exists| {
                        apps.step(7, false, |rows| {
                            let had = rows.has_account(thread)?;
                            rows.put_account(thread, exists).map(|()| had)
                        })
                    };
                    assert!(!put(true).expect("live").expect("in memory"));
                    assert!(put(false).expect("live").expect("in memory"));
                }
            });
        }
    });
    assert!(apps.keys().is_empty());
}
