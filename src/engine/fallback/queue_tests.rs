//! Tests of the queue against a plain model: for each user and group the order in which its entries
//! reach the store is the order in which they were accepted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::listing::{JournalItem, JournalState};
use super::queue::{Ahead, NoRoom, Queue, TRIES_MAX};
use crate::clock::test_time::advance;
use crate::domain::decision::Mode;
use crate::domain::failure_policy::Budget;
use crate::domain::id::{AppId, GroupId, UserId};
use crate::domain::time::Timestamp;
use crate::journal::{Accepted, Encoded, Entry};
use crate::ledger::Operation;

const BUDGET: Budget = Budget { per_user_max: 2, per_group_max: 3, per_app_max: 5 };
/// Longer than the pause of a lane after a failure.
const AFTER_BACKOFF: Duration = Duration::from_millis(110);

fn app() -> AppId {
    AppId::try_from("demo").expect("an id")
}

fn users(ids: &[&str]) -> Vec<UserId> {
    ids.iter().map(|id| UserId::try_from(*id).expect("an id")).collect()
}

fn group(id: &str) -> GroupId {
    GroupId::try_from(id).expect("an id")
}

fn join(of: &str, ids: &[&str]) -> Operation {
    Operation::JoinGroup { group: group(of), users: users(ids) }
}

fn leave(of: &str, ids: &[&str]) -> Operation {
    Operation::LeaveGroup { group: group(of), users: users(ids) }
}

fn befriend(user: &str, friends: &[&str], one_way: bool) -> Operation {
    let user = users(&[user]).remove(0);
    Operation::AddFriends { user, friends: users(friends), one_way }
}

fn entry(operation: Operation) -> Entry {
    Entry {
        app: app(),
        mode: Mode::Enforce,
        at: Timestamp::from_millis(1),
        accepted: Accepted::Operation(operation),
    }
}

/// Adds an entry that is on disk.
fn add(queue: &mut Queue, number: u64, operation: Operation) {
    let entry = entry(operation);
    let encoded = Encoded::from(&entry);
    assert_eq!(queue.reserve(number, &entry, encoded, None), Ok(()));
    queue.written(number);
}

fn fits(queue: &mut Queue, number: u64, operation: Operation) -> bool {
    let entry = entry(operation);
    match queue.reserve(number, &entry, Encoded::from(&entry), Some(&BUDGET)) {
        Ok(()) => true,
        Err(why) => {
            assert_eq!(why, NoRoom::Budget);
            false
        }
    }
}

/// Returns the numbers of all batches that may be replayed now.
fn take_all(queue: &mut Queue) -> Vec<Vec<u64>> {
    let mut batches = Vec::new();
    while let Some(batch) = queue.take(|_, _| false) {
        batches.push(batch.numbers);
    }
    batches
}

#[test]
fn takes_without_the_store_are_bounded_for_each_user_group_and_app() {
    for (taken, more, expected) in [
        (vec![join("g1", &["a"]), join("g2", &["a"])], join("g3", &["a"]), false),
        (vec![join("g1", &["a"]), join("g2", &["a"])], join("g3", &["b"]), true),
        (vec![join("g", &["a", "b", "c"])], join("g", &["d"]), false),
        (vec![join("g", &["a", "b"])], join("g", &["c", "d"]), false),
        (vec![befriend("a", &["b", "c"], false)], befriend("d", &["b"], false), true),
        (vec![befriend("a", &["b", "c"], false)], befriend("d", &["a"], false), false),
        (vec![befriend("a", &["b", "c"], true)], befriend("b", &["c", "d"], true), true),
        (
            vec![Operation::CreateAccounts { users: users(&["a", "b", "c", "d"]) }],
            Operation::CreateAccounts { users: users(&["e", "f"]) },
            false,
        ),
        // A release takes nothing.
        (vec![leave("g", &["a", "b", "c", "d"])], join("g", &["a", "b", "c"]), true),
    ] {
        let mut queue = Queue::new();
        for (number, operation) in (1..).zip(taken.clone()) {
            assert!(
                queue.reserve(number, &entry(operation.clone()), encoded(&operation), None).is_ok()
            );
        }
        assert_eq!(fits(&mut queue, 99, more.clone()), expected, "{taken:?}, {more:?}");
    }
}

fn encoded(operation: &Operation) -> Encoded {
    Encoded::from(&entry(operation.clone()))
}

#[test]
fn an_entry_waits_for_every_subject_that_it_names_and_for_nothing_else() {
    let mut queue = Queue::new();
    add(&mut queue, 1, join("g", &["a"]));
    add(&mut queue, 2, leave("g", &["b"]));
    add(&mut queue, 3, join("h", &["c"]));
    add(&mut queue, 4, befriend("c", &["a"], false));
    assert_eq!(queue.ahead(&app(), &join("x", &["b"])), Ahead::Waits(2));
    assert_eq!(queue.ahead(&app(), &join("x", &["z"])), Ahead::Nothing);
    let other = AppId::try_from("other").expect("an id");
    assert_eq!(queue.ahead(&other, &join("g", &["a"])), Ahead::Nothing);
    let first: BTreeSet<u64> = take_all(&mut queue).into_iter().flatten().collect();
    assert_eq!(first, BTreeSet::from([1, 3]), "2 waits for the group, 4 for both users");
    queue.done(&[1]);
    assert_eq!(take_all(&mut queue), [[2]]);
    queue.done(&[3]);
    assert_eq!(take_all(&mut queue), [[4]]);
    assert_eq!(queue.to_strike_out(), [1, 3]);
    queue.done(&[2, 4]);
    let all = queue.to_strike_out();
    queue.remove(&all);
    assert_eq!(queue.len(), 0);
    assert!(queue.is_spotless(), "everything is freed with the entries");
}

#[test]
fn entries_of_one_group_or_list_go_together() {
    let mut queue = Queue::new();
    for (number, user) in (1..).zip(["a", "b", "c"]) {
        add(&mut queue, number, join("g", &[user]));
    }
    // It waits for a friend first, and holds up only itself and the entries behind it.
    add(&mut queue, 4, befriend("d", &["e"], false));
    add(&mut queue, 5, join("g", &["d"]));
    add(&mut queue, 6, join("g", &["f"]));
    let batches = take_all(&mut queue);
    assert!(batches.contains(&vec![1, 2, 3]) && batches.contains(&vec![4]), "{batches:?}");
    assert_eq!(batches.len(), 2);
    queue.done(&[4]);
    queue.done(&[1, 2, 3]);
    assert_eq!(take_all(&mut queue), [[5, 6]]);
}

#[test]
fn a_batch_that_fails_is_tried_one_by_one_until_the_entry_is_found() {
    let mut queue = Queue::new();
    for (number, user) in (1..).zip(["a", "b"]) {
        add(&mut queue, number, join("g", &[user]));
    }
    add(&mut queue, 3, join("h", &["b"]));
    add(&mut queue, 4, join("i", &["z"]));
    let mut tried = 0;
    let blocked = loop {
        assert!(tried < 20, "it is never blocked");
        let Some(batch) = queue.take(|_, _| false) else {
            advance(AFTER_BACKOFF);
            continue;
        };
        if batch.numbers == [4] {
            queue.done(&[4]);
            continue;
        }
        tried += 1;
        assert!(tried == 1 || batch.numbers == [1], "{:?}", batch.numbers);
        if let Some(blocked) = queue.failed(&batch.numbers, "WRONGTYPE") {
            break blocked;
        }
    };
    assert_eq!((blocked, tried), (1, TRIES_MAX));
    assert_eq!(queue.to_strike_out(), [4], "others go on meanwhile");
    let done = queue.to_strike_out();
    queue.remove(&done);
    // All later entries of its users and groups are stuck with it, directly or indirectly.
    for operation in [join("g", &["x"]), join("x", &["a"]), join("x", &["b"]), join("h", &["x"])] {
        assert_eq!(queue.ahead(&app(), &operation), Ahead::Blocked(1), "{operation:?}");
    }
    assert_eq!(queue.ahead(&app(), &join("i", &["z"])), Ahead::Nothing);
    assert_eq!((queue.blocked_len(), queue.blocked(9)), (1, vec![(1, 2)]));
    // An entry that is added behind it is stuck too.
    add(&mut queue, 5, leave("h", &["y"]));
    assert_eq!(queue.ahead(&app(), &join("x", &["y"])), Ahead::Blocked(1));
    assert!(!fits(&mut queue, 6, join("g", &["p", "q"])), "its facts stay in the budget");

    assert!(!queue.retry(2), "only the blocked entry itself");
    assert!(queue.retry(1));
    assert_eq!(queue.ahead(&app(), &join("x", &["y"])), Ahead::Waits(5));
    advance(AFTER_BACKOFF);
    assert_eq!(take_all(&mut queue), [[1]]);
    queue.done(&[1]);
    assert_eq!(take_all(&mut queue), [[2]]);
    queue.done(&[2]);
    assert_eq!(take_all(&mut queue), [[3]]);
}

#[test]
fn a_dropped_entry_lets_the_chain_proceed() {
    let mut queue = Queue::new();
    add(&mut queue, 1, join("g", &["a"]));
    add(&mut queue, 2, leave("g", &["a"]));
    for _ in 0..TRIES_MAX {
        advance(AFTER_BACKOFF);
        assert_eq!(take_all(&mut queue), [[1]]);
        queue.failed(&[1], "WRONGTYPE");
    }
    advance(AFTER_BACKOFF);
    assert_eq!(take_all(&mut queue), Vec::<Vec<u64>>::new());
    assert!(!fits(&mut queue, 3, join("g", &["p", "q", "r"])), "its fact stays in the budget");
    queue.remove(&[1]);
    assert_eq!(queue.blocked_len(), 0);
    assert_eq!(take_all(&mut queue), [[2]]);
    assert!(fits(&mut queue, 3, join("g", &["p", "q", "r"])), "its fact is freed");
}

#[test]
fn a_list_has_the_state_of_each_entry() {
    let mut queue = Queue::new();
    add(&mut queue, 1, join("g", &["a"]));
    add(&mut queue, 2, leave("g", &["a"]));
    add(&mut queue, 3, join("h", &["b"]));
    add(&mut queue, 4, join("h", &["b", "c"]));
    queue.block(1, "WRONGTYPE".to_owned());
    assert_eq!(take_all(&mut queue), [[3]]);
    let why = || "WRONGTYPE".to_owned();
    let states = |items: Vec<JournalItem>| -> Vec<(u64, JournalState)> {
        items.into_iter().map(|item| (item.number, item.state)).collect()
    };
    assert_eq!(
        states(queue.page(0, 9, false)),
        [
            (1, JournalState::Blocked(why())),
            (2, JournalState::Stuck { behind: 1, why: why() }),
            (3, JournalState::InWork),
            (4, JournalState::Queued),
        ]
    );
    assert_eq!(states(queue.page(0, 9, true)), [(1, JournalState::Blocked(why()))]);
    assert_eq!(states(queue.page(2, 1, false)), [(3, JournalState::InWork)]);
    assert_eq!(queue.page(1, 9, true), []);
    let item = queue.item(2).expect("it waits");
    assert_eq!(item.entry.accepted, Accepted::Operation(leave("g", &["a"])));
}

#[test]
fn entries_that_only_wait_for_their_turn_are_due() {
    let mut queue = Queue::new();
    add(&mut queue, 1, join("g", &["a"]));
    add(&mut queue, 2, leave("g", &["a"]));
    add(&mut queue, 3, befriend("x", &["y"], false));
    queue.block(1, "WRONGTYPE".to_owned());
    assert_eq!(queue.oldest_due(|_, _| false), Some(3), "blocked ones and those behind are not");
    assert_eq!(queue.oldest_due(|_, _| true), None, "their server is absent");
    assert!(queue.retry(1));
    let is_absent = |_: &AppId, it: &Accepted| {
        let operation = it.operation();
        matches!(operation, Some(Operation::JoinGroup { .. } | Operation::LeaveGroup { .. }))
    };
    assert_eq!(queue.oldest_due(is_absent), Some(3));
    assert_eq!(queue.oldest_due(|_, _| false), Some(1));
    queue.remove(&[1, 2, 3]);
    assert_eq!(queue.oldest_due(|_, _| false), None);
    assert!(queue.is_spotless());
}

#[test]
fn a_repeated_call_adds_nothing() {
    let mut queue = Queue::new();
    add(&mut queue, 1, join("g", &["a", "b"]));
    add(&mut queue, 2, join("g", &["c"]));
    let left =
        |queue: &Queue, operation| queue.without_repeats(&app(), Mode::Enforce, operation, None);
    assert_eq!(left(&queue, join("g", &["a"])), None);
    assert_eq!(left(&queue, join("g", &["a", "c", "d"])), Some(join("g", &["d"])));
    assert_eq!(left(&queue, join("h", &["a"])), Some(join("h", &["a"])));
    assert_eq!(left(&queue, leave("g", &["a"])), Some(leave("g", &["a"])));
    assert_eq!(
        queue.without_repeats(&app(), Mode::Force, join("g", &["a"]), None),
        Some(join("g", &["a"])),
        "another mode"
    );
    // Entries in between count.
    add(&mut queue, 3, leave("g", &["a"]));
    assert_eq!(left(&queue, join("g", &["a"])), Some(join("g", &["a"])));
    assert_eq!(left(&queue, leave("g", &["a"])), None);
    add(&mut queue, 4, Operation::DissolveGroup { group: group("g") });
    assert_eq!(left(&queue, leave("g", &["a"])), Some(leave("g", &["a"])));
    // An entry that is not on disk yet has not been answered.
    let operation = join("k", &["k"]);
    queue.reserve(5, &entry(operation.clone()), encoded(&operation), None).expect("room");
    assert_eq!(left(&queue, operation.clone()), Some(operation.clone()));
    queue.written(5);
    assert_eq!(left(&queue, operation), None);
    // Each direction of a friendship is a fact of its own.
    add(&mut queue, 6, befriend("x", &["y"], true));
    assert_eq!(left(&queue, befriend("x", &["y"], true)), None);
    let other_way = befriend("y", &["x"], true);
    assert_eq!(left(&queue, other_way.clone()), Some(other_way));
}

#[test]
fn a_lane_whose_server_is_absent_holds_up_no_other() {
    let mut queue = Queue::new();
    add(&mut queue, 1, join("g", &["a"]));
    add(&mut queue, 2, Operation::CreateAccounts { users: users(&["a2"]) });
    add(&mut queue, 3, befriend("c", &["d"], false));
    let groups_absent =
        |_: &AppId, it: &Accepted| matches!(it.operation(), Some(Operation::JoinGroup { .. }));
    let mut taken = BTreeSet::new();
    while let Some(batch) = queue.take(groups_absent) {
        taken.extend(batch.numbers);
    }
    assert_eq!(taken, BTreeSet::from([2, 3]));
    advance(AFTER_BACKOFF);
    assert_eq!(take_all(&mut queue), [[1]]);
}

#[test]
fn entries_that_a_caller_waits_for_go_first() {
    let mut queue = Queue::new();
    for number in 1..=20_u64 {
        add(&mut queue, number, join(&format!("g{number}"), &[format!("u{number}").as_str()]));
    }
    add(&mut queue, 21, leave("g20", &["z"]));
    let mut gone = queue.wait_for(21).expect("it waits");
    let batch = queue.take(|_, _| false).expect("there are some");
    assert_eq!(batch.numbers, [20], "the one before it, of the same group");
    queue.done(&[20]);
    assert_eq!(queue.take(|_, _| false).expect("there are some").numbers, [21]);
    queue.done(&[21]);
    assert!(gone.try_recv().is_err(), "it is still on disk");
    queue.remove(&[20, 21]);
    assert!(gone.try_recv().is_ok());
}

#[test]
fn callers_that_have_given_up_leave_nothing() {
    let mut queue = Queue::new();
    add(&mut queue, 1, join("g", &["a"]));
    let _waits = queue.wait_for(1).expect("it waits");
    for _ in 0..10_000 {
        drop(queue.wait_for(1));
    }
    assert!(queue.entries[&1].waiters.len() < 10, "{}", queue.entries[&1].waiters.len());
}

/// Pseudo-random numbers, the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % end
    }
}

/// Returns the users and groups that an operation names, as text.
fn names(operation: &Operation) -> Vec<String> {
    let of_group = |group: &GroupId| format!("group {group}");
    let of_user = |user: &UserId| format!("user {user}");
    match operation {
        Operation::JoinGroup { group, users } | Operation::LeaveGroup { group, users } => {
            users.iter().map(of_user).chain([of_group(group)]).collect()
        }
        Operation::AddFriends { user, friends, .. } => {
            friends.iter().chain([user]).map(of_user).collect()
        }
        Operation::DissolveGroup { group } => vec![of_group(group)],
        other => panic!("{other:?} is not used here"),
    }
}

fn random_operation(random: &mut Random) -> Operation {
    let user = |random: &mut Random| format!("u{}", random.below(6));
    let of = format!("g{}", random.below(3));
    let one = user(random);
    match random.below(8) {
        0..=3 => join(&of, &[one.as_str()]),
        4 | 5 => leave(&of, &[one.as_str()]),
        6 => {
            let friend = format!("v{}", random.below(3));
            befriend(&one, &[friend.as_str()], false)
        }
        _ => Operation::DissolveGroup { group: group(&of) },
    }
}

#[test]
fn random_entries_reach_the_store_in_the_order_of_each_user_and_group() {
    for seed in 1..=30 {
        let mut random = Random(seed);
        let (mut queue, mut next) = (Queue::new(), 1);
        let mut accepted: BTreeMap<u64, Operation> = BTreeMap::new();
        let mut reached: HashMap<String, Vec<u64>> = HashMap::new();
        let mut in_flight: Vec<Vec<u64>> = Vec::new();
        for _ in 0..600 {
            match random.below(6) {
                0..=2 if next <= 250 => {
                    let operation = random_operation(&mut random);
                    accepted.insert(next, operation.clone());
                    add(&mut queue, next, operation);
                    next += 1;
                }
                3 => in_flight.extend(queue.take(|_, _| false).map(|batch| batch.numbers)),
                4 if !in_flight.is_empty() => {
                    let at = random.below(in_flight.len() as u64);
                    let numbers = in_flight.swap_remove(usize::try_from(at).expect("small"));
                    note_reached(&accepted, &numbers, &mut reached);
                    queue.done(&numbers);
                }
                _ => {
                    let done = queue.to_strike_out();
                    queue.remove(&done);
                }
            }
        }
        while queue.len() > 0 {
            in_flight.extend(std::iter::from_fn(|| queue.take(|_, _| false)).map(|it| it.numbers));
            assert!(!in_flight.is_empty(), "seed {seed}: no entry can be replayed");
            for numbers in in_flight.drain(..) {
                note_reached(&accepted, &numbers, &mut reached);
                queue.done(&numbers);
            }
            let done = queue.to_strike_out();
            queue.remove(&done);
        }
        for (name, numbers) in &reached {
            let expected = accepted
                .iter()
                .filter(|(_, operation)| names(operation).contains(name))
                .map(|(number, _)| *number);
            assert_eq!(*numbers, expected.collect::<Vec<_>>(), "seed {seed}: {name}");
        }
        assert!(queue.is_spotless(), "seed {seed}");
    }
}

fn note_reached(
    accepted: &BTreeMap<u64, Operation>,
    numbers: &[u64],
    reached: &mut HashMap<String, Vec<u64>>,
) {
    for number in numbers {
        for name in names(&accepted[number]) {
            reached.entry(name).or_default().push(*number);
        }
    }
}
