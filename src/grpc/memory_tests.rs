//! Tests of the memory budget: refusals, closed connections, and releases.

use futures_util::FutureExt as _;

use super::*;

const KIB: usize = 1024;

fn held(budget: &MemoryBudget) -> usize {
    budget.state().held_bytes
}

fn is_closed(connection: &Arc<ConnectionMemory>) -> bool {
    connection.exceeded().now_or_never().is_some()
}

/// Makes all bytes held now stalled.
fn grow_old(budget: &MemoryBudget) {
    budget.first_step.fetch_add(2, Ordering::Relaxed);
}

#[test]
fn a_connection_beyond_its_bound_is_refused_and_releases_dropped_charges() {
    let budget = MemoryBudget::new(600);
    let one = budget.connection();
    let mut charge = one.try_charge(Use::Call, 60).expect("room");
    assert!(charge.try_grow(40));
    assert!(!charge.try_grow(1));
    assert!(one.try_charge(Use::Call, 1).is_none());
    charge.shrink(30);
    assert_eq!(held(&budget), 70);
    drop(charge);
    assert_eq!(held(&budget), 0);
    let whole = one.try_charge(Use::Message, 100).expect("room again");
    assert!(!is_closed(&one));
    drop((one, whole));
    assert_eq!(held(&budget), 0);
}

#[test]
fn messages_leave_a_quarter_for_calls_and_close_no_recent_connection() {
    let budget = MemoryBudget::new(600 * KIB);
    let others: Vec<_> = (0..5).map(|_| budget.connection()).collect();
    let charge = |it: &Arc<ConnectionMemory>| it.try_charge(Use::Message, 90 * KIB).expect("room");
    let charges: Vec<_> = others.iter().map(charge).collect();
    let one = budget.connection();
    assert!(one.try_charge(Use::Message, 1).is_none(), "three quarters are taken");
    let call = one.try_charge(Use::Call, 90 * KIB).expect("the last quarter is for calls");
    let rest = budget.connection().try_charge(Use::Call, 60 * KIB).expect("room");
    assert!(!others.iter().any(is_closed) && !is_closed(&one));
    // Beyond the whole budget, the connection that holds most is closed for a call of one with
    // less.
    let asking = budget.connection();
    let small: Vec<_> = (0..8).map(|_| budget.connection()).collect();
    let charge = |it: &Arc<ConnectionMemory>| it.try_charge(Use::Call, 12 * KIB).expect("slack");
    let slack: Vec<_> = small.iter().map(charge).collect();
    assert_eq!(held(&budget), 696 * KIB);
    let last = asking.try_charge(Use::Call, 8 * KIB).expect("room is being made");
    let all = || others.iter().chain([&one]).chain(&small);
    assert_eq!(all().filter(|it| is_closed(it)).count(), 1);
    assert_eq!(held(&budget), 704 * KIB, "until it is released");
    drop((call, rest, last, charges, slack));
    assert_eq!(held(&budget), 0);
}

#[test]
fn the_connection_with_most_stalled_is_closed_and_not_that_which_holds_most() {
    let budget = MemoryBudget::new(6000 * KIB);
    let (stalled, busy, asking) = (budget.connection(), budget.connection(), budget.connection());
    let more_stalled = budget.connection();
    let old = stalled.try_charge(Use::Message, 400 * KIB).expect("room");
    let older = more_stalled.try_charge(Use::Message, 500 * KIB).expect("room");
    let hardly = busy.try_charge(Use::Message, 255 * KIB).expect("room");
    grow_old(&budget);
    let young = busy.try_charge(Use::Message, 700 * KIB).expect("room");
    let rest: Vec<_> = (0..3).map(|_| budget.connection()).collect();
    let charge = |it: &Arc<ConnectionMemory>| it.try_charge(Use::Message, 850 * KIB).expect("room");
    let charges: Vec<_> = rest.iter().map(charge).collect();
    assert_eq!(held(&budget), 4405 * KIB);

    let first = asking.try_charge(Use::Message, 100 * KIB).expect("room was made");
    assert_eq!([&stalled, &more_stalled, &busy].map(is_closed), [false, true, false]);
    assert_eq!(held(&budget), 4505 * KIB, "until it is released");
    drop((more_stalled, older));
    let second = asking.try_charge(Use::Message, 800 * KIB).expect("room was made");
    assert_eq!([&stalled, &busy].map(is_closed), [true, false]);
    drop((stalled, old));
    assert!(rest[0].try_charge(Use::Message, 96 * KIB).is_none());
    assert!(!is_closed(&busy), "less than that is not stalled");
    assert!(!rest.iter().any(is_closed));
    drop((first, second, hardly, young, charges));
    assert_eq!(held(&budget), 0);
}

#[test]
fn held_bytes_age_by_steps_and_are_released_by_their_age() {
    let mut entry = Entry {
        step: 5,
        by_age_bytes: [3, 0, 0],
        unwritten_bytes: 0,
        unwritten_since: 0,
        is_closing: false,
        exceeded: Arc::new(Notify::new()),
    };
    entry.advance(5);
    assert_eq!(entry.by_age_bytes, [3, 0, 0]);
    entry.advance(6);
    *entry.held_since(6) += 4;
    assert_eq!((entry.by_age_bytes, entry.stalled_bytes()), ([4, 3, 0], 0));
    entry.advance(7);
    assert_eq!((entry.by_age_bytes, entry.stalled_bytes()), ([0, 4, 3], 3));
    *entry.held_since(5) -= 3;
    entry.advance(u64::MAX);
    assert_eq!((entry.by_age_bytes, entry.held_bytes()), ([0, 0, 4], 4));
    *entry.held_since(6) -= 4;
    assert_eq!(entry.held_bytes(), 0);
}

#[test]
fn a_charge_that_cannot_be_refused_closes_the_largest_and_waits_for_the_flush() {
    let budget = MemoryBudget::new(600);
    let (one, other) = (budget.connection(), budget.connection());
    let small = other.try_charge(Use::Call, 50).expect("room");
    one.charge(300).until_flushed();
    one.charge(200).until_flushed();
    assert_eq!(held(&budget), 550);
    one.flushed();
    one.flushed();
    assert_eq!(held(&budget), 50);
    let too_much = one.charge(551);
    assert!(is_closed(&one) && !is_closed(&other));
    assert_eq!(held(&budget), 601);
    assert!(one.try_charge(Use::Call, 1).is_none(), "it is closed");
    too_much.until_flushed();
    assert_eq!(held(&budget), 50, "a closed connection writes nothing");
    drop(small);
    assert_eq!(held(&budget), 0);
}
