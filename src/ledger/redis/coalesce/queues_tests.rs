//! Tests of the queues: who passes, who waits, and what goes together.

use super::*;
use crate::clock::test_time::advance;

/// An operation of a kind; operations of one kind go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Operation {
    number: usize,
    kind: u8,
    is_abandoned: bool,
}

impl Queued for Operation {
    fn is_abandoned(&self) -> bool {
        self.is_abandoned
    }

    fn goes_with(&self, first: &Self) -> bool {
        self.kind == first.kind
    }
}

const KEY: PartKey = PartKey { app: 7, part: Part::Groups };

fn operation(number: usize) -> Operation {
    Operation { number, kind: 0, is_abandoned: false }
}

fn numbers(operations: Option<Vec<Operation>>) -> Vec<usize> {
    operations.unwrap_or_default().iter().map(|operation| operation.number).collect()
}

#[test]
fn what_comes_while_a_call_is_in_flight_goes_together_in_order() {
    let queues = Queues::new(4096, Coalescing::Auto);
    assert_eq!(queues.enter(KEY, || operation(0)), Ok(Entered::InFlight));
    for number in 1..SECOND_CALL_MIN {
        assert!(matches!(
            queues.enter(KEY, || operation(number)),
            Ok(Entered::Waits { sends_next: false, .. })
        ));
    }
    assert_eq!(queues.next(KEY), None);
    // Another part does not wait for this one.
    let other = PartKey { part: Part::Friends, ..KEY };
    assert_eq!(queues.enter(other, || operation(0)), Ok(Entered::InFlight));
    let took = Duration::from_micros(100);
    queues.leave(KEY, Some(Answered { took, operations: 1, idle: took }));
    assert_eq!(numbers(queues.next(KEY)), (1..SECOND_CALL_MIN).collect::<Vec<_>>());
    assert_eq!(queues.next(KEY), None);
    // More come together: the next one does not go alone.
    queues.leave(KEY, None);
    let entered = queues.enter(KEY, || operation(99));
    assert!(matches!(entered, Ok(Entered::Waits { sends_next: true, .. })));
    assert_eq!(numbers(queues.next(KEY)), [99]);
    queues.leave(KEY, None);
    assert_eq!(queues.enter(KEY, || operation(0)), Ok(Entered::InFlight));
}

#[test]
fn many_are_two_calls_of_which_each_has_half() {
    let queues = Queues::new(4096, Coalescing::Auto);
    assert_eq!(queues.enter(KEY, || operation(0)), Ok(Entered::InFlight));
    let sends_next: Vec<usize> = (1..=600)
        .filter(|number| {
            let entered = queues.enter(KEY, || operation(*number));
            matches!(entered, Ok(Entered::Waits { sends_next: true, .. }))
        })
        .collect();
    // As soon as they are enough for a second call, one caller sends it.
    assert_eq!(sends_next, [SECOND_CALL_MIN]);
    assert_eq!(numbers(queues.next(KEY)), (1..=256).collect::<Vec<_>>());
    assert_eq!(queues.next(KEY), None);
    queues.leave(KEY, None);
    queues.leave(KEY, None);
    assert_eq!(numbers(queues.next(KEY)), (257..=428).collect::<Vec<_>>());
    assert_eq!(numbers(queues.next(KEY)), (429..=600).collect::<Vec<_>>());
    assert_eq!(queues.next(KEY), None);
}

#[test]
fn operations_of_other_kinds_and_abandoned_ones_are_not_taken() {
    let queues = Queues::new(4096, Coalescing::Always);
    for (number, kind, is_abandoned) in
        [(0, 0, true), (1, 0, false), (2, 1, true), (3, 0, false), (4, 1, false), (5, 0, false)]
    {
        let entered = queues.enter(KEY, || Operation { number, kind, is_abandoned });
        assert!(matches!(entered, Ok(Entered::Waits { .. })));
    }
    for together in [vec![1, 3, 5], vec![4], vec![]] {
        assert_eq!(numbers(queues.next(KEY)), together);
        if !together.is_empty() {
            queues.leave(KEY, None);
        }
    }
    assert_eq!(queues.waiting(), []);
}

#[test]
fn a_withdrawn_operation_is_not_taken_and_a_taken_one_cannot_be_withdrawn() {
    let queues = Queues::new(4096, Coalescing::Always);
    for number in 0..3 {
        let waits = Entered::Waits { number: number as u64, sends_next: number == 0 };
        assert_eq!(queues.enter(KEY, || operation(number)), Ok(waits));
    }
    assert!(queues.withdraw(KEY, 1));
    assert!(!queues.withdraw(KEY, 1));
    assert_eq!(queues.waiting(), [(KEY, 2)]);
    assert_eq!(numbers(queues.next(KEY)), [0, 2]);
    assert!(!queues.withdraw(KEY, 0));
}

#[test]
fn a_part_and_all_parts_have_bounds() {
    let queues = Queues::new(1, Coalescing::Always);
    for part in 0..u64::try_from(FULL_QUEUES_MAX).expect("fits") {
        let key = PartKey { app: part, ..KEY };
        for number in 0..WAITING_PER_PERMIT {
            assert!(queues.enter(key, || operation(number)).is_ok());
        }
        assert_eq!(queues.enter(key, || operation(0)), Err(Overload::Full));
    }
    assert_eq!(queues.enter(PartKey { app: 99, ..KEY }, || operation(0)), Err(Overload::Full));
    assert!(queues.next(KEY).is_some());
    assert!(queues.enter(PartKey { app: 99, ..KEY }, || operation(0)).is_ok());
}

#[test]
fn a_part_that_cannot_be_decided_together_goes_apart_for_a_while() {
    let queues = Queues::new(4096, Coalescing::Auto);
    assert_eq!(queues.enter(KEY, || operation(0)), Ok(Entered::InFlight));
    queues.set_apart(KEY);
    for number in 0..3 {
        assert_eq!(queues.enter(KEY, || operation(number)), Ok(Entered::Apart));
    }
    advance(APART_FOR);
    assert!(matches!(queues.enter(KEY, || operation(9)), Ok(Entered::Waits { .. })));
}

#[test]
fn idle_parts_are_forgotten_beyond_a_bound() {
    let queues = Queues::new(4096, Coalescing::Auto);
    for app in 0..=u64::try_from(PARTS_MAX).expect("fits") {
        let key = PartKey { app, ..KEY };
        assert_eq!(queues.enter(key, || operation(0)), Ok(Entered::InFlight));
        if app > 0 {
            queues.leave(key, None);
        }
    }
    // The first one has a call in flight.
    assert_eq!(queues.parts.len(), 1);
    assert!(matches!(
        queues.enter(PartKey { app: 0, ..KEY }, || operation(1)),
        Ok(Entered::Waits { .. })
    ));
}
