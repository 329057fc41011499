//! Tests of takes with a hold and confirmations in the queue.

use super::*;
use crate::domain::decision::Mode;
use crate::domain::id::{GroupId, Name, UserId};
use crate::domain::time::Timestamp;
use crate::engine::fallback::queue::Ahead;
use crate::journal::Encoded;
use crate::ledger::TakeOptions;

fn app() -> AppId {
    AppId::try_from("demo").expect("an id")
}

fn id(text: &str) -> OperationId {
    OperationId::try_from(text).expect("an id")
}

fn join(group: &str, user: &str) -> Operation {
    let group = GroupId::try_from(group).expect("an id");
    Operation::JoinGroup { group, users: vec![UserId::try_from(user).expect("an id")] }
}

fn entry(accepted: Accepted) -> Entry {
    Entry { app: app(), mode: Mode::Enforce, at: Timestamp::from_millis(1), accepted }
}

/// Adds an entry that is on disk.
fn add(queue: &mut Queue, number: u64, accepted: Accepted) {
    let entry = entry(accepted);
    assert_eq!(queue.reserve(number, &entry, Encoded::from(&entry), None), Ok(()));
    queue.written(number);
}

fn held(group: &str, user: &str, of: &str) -> Accepted {
    Accepted::Held(join(group, user), id(of))
}

fn confirmation(of: &str) -> Accepted {
    Accepted::Confirmation(id(of), Part::Groups)
}

fn take_all(queue: &mut Queue) -> Vec<Vec<u64>> {
    let mut batches = Vec::new();
    while let Some(batch) = queue.take(|_, _| false) {
        batches.push(batch.numbers);
    }
    batches
}

#[test]
fn a_confirmation_is_replayed_before_every_later_entry_of_its_part() {
    let mut queue = Queue::new();
    add(&mut queue, 1, Accepted::Operation(join("g", "a")));
    add(&mut queue, 2, confirmation("o"));
    add(&mut queue, 3, Accepted::Operation(join("h", "b")));
    let accounts =
        || Operation::CreateAccounts { users: vec![UserId::try_from("c").expect("an id")] };
    add(&mut queue, 4, Accepted::Operation(accounts()));
    assert_eq!(queue.ahead(&app(), &join("x", "z")), Ahead::Waits(3));
    let other = AppId::try_from("other").expect("an id");
    assert_eq!(queue.ahead(&other, &join("x", "z")), Ahead::Nothing);
    assert_eq!(queue.confirmation(&app(), &id("o"), Part::Groups), Some(2));
    assert_eq!(queue.confirmation(&app(), &id("o"), Part::Friends), None);
    let mut first = take_all(&mut queue).concat();
    first.sort_unstable();
    assert_eq!(first, [1, 2, 4]);
    queue.done(&[2]);
    assert_eq!(take_all(&mut queue), [[3]]);
    queue.done(&[1, 3, 4]);
    queue.remove(&[1, 2, 3, 4]);
    assert!(queue.is_spotless());
    assert_eq!(queue.ahead(&app(), &join("x", "z")), Ahead::Nothing);
}

#[test]
fn a_release_removes_takes_of_its_id_that_the_store_has_never_seen() {
    let mut queue = Queue::new();
    add(&mut queue, 1, held("g", "a", "o1"));
    assert_eq!(take_all(&mut queue), [[1]]);
    queue.requeue(&[1]);
    add(&mut queue, 2, held("g", "b", "o1"));
    add(&mut queue, 3, held("g", "c", "o2"));
    add(&mut queue, 4, Accepted::Operation(join("g", "b")));
    assert_eq!(queue.held(&app(), &id("o1"), Part::Groups), [join("g", "a"), join("g", "b")]);
    assert_eq!(queue.held(&app(), &id("o1"), Part::Accounts), []);
    let released = queue.release(&app(), &id("o1"), Part::Groups);
    let (cancelled, begun) = (vec![(2, join("g", "b"))], vec![join("g", "a")]);
    assert_eq!(released, Released { cancelled, begun });
    queue.remove(&[2]);
    assert_eq!(queue.held(&app(), &id("o1"), Part::Groups), [join("g", "a")]);
    let again = queue.release(&app(), &id("o1"), Part::Groups);
    assert_eq!(again, Released { cancelled: Vec::new(), begun: vec![join("g", "a")] });
    queue.remove(&[1, 3, 4]);
    assert!(queue.is_spotless());
}

#[test]
fn an_entry_that_is_being_removed_is_not_replayed() {
    let mut queue = Queue::new();
    add(&mut queue, 1, held("g", "a", "o"));
    add(&mut queue, 2, Accepted::Operation(join("g", "a")));
    assert_eq!(queue.release(&app(), &id("o"), Part::Groups).cancelled.len(), 1);
    assert_eq!(take_all(&mut queue), Vec::<Vec<u64>>::new());
    queue.remove(&[1]);
    assert_eq!(take_all(&mut queue), [[2]]);
}

#[test]
fn entries_of_a_restarted_sidecar_may_be_in_the_store() {
    let mut queue = Queue::new();
    let entry = entry(held("g", "a", "o"));
    queue.restore(1, &entry, Encoded::from(&entry));
    let released = queue.release(&app(), &id("o"), Part::Groups);
    assert_eq!(released, Released { cancelled: Vec::new(), begun: vec![join("g", "a")] });
}

#[test]
fn only_a_take_with_the_same_hold_is_a_repetition() {
    let mut queue = Queue::new();
    add(&mut queue, 1, held("g", "a", "o"));
    assert_eq!(queue.new_part(entry(held("g", "a", "o"))), None);
    for new in [held("g", "a", "p"), Accepted::Operation(join("g", "a")), confirmation("o")] {
        assert_eq!(queue.new_part(entry(new.clone())), Some(entry(new)));
    }
}

#[test]
fn a_creation_waits_for_entries_about_the_group_that_it_replaces() {
    let mut queue = Queue::new();
    add(&mut queue, 1, held("tmp", "a", "o1"));
    let group = |text: &str| GroupId::try_from(text).expect("an id");
    let create = |replaces: Option<&str>| Request {
        app: app(),
        mode: Mode::Enforce,
        take: TakeOptions { replaces: replaces.map(group), ..TakeOptions::default() },
        deadline: Timestamp::MAX,
        operation: Operation::CreateGroup {
            group: group("g"),
            group_type: Name::from("Public"),
            owner: None,
            members: Vec::new(),
            max_members: None,
        },
    };
    assert_eq!(queue.ahead_of(&create(None)), Ahead::Nothing);
    assert_eq!(queue.ahead_of(&create(Some("other"))), Ahead::Nothing);
    assert_eq!(queue.ahead_of(&create(Some("tmp"))), Ahead::Waits(1));
    add(&mut queue, 2, Accepted::Operation(join("g", "b")));
    assert_eq!(queue.ahead_of(&create(Some("tmp"))), Ahead::Waits(2));
}
