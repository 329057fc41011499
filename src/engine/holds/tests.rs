//! Tests of how the ends of holds in the parts of an app are combined.

use super::*;
use crate::domain::id::{GroupId, UserId};
use crate::store::StoreError;

fn id() -> OperationId {
    OperationId::try_from("o1").expect("an id")
}

fn user(id: &str) -> UserId {
    UserId::try_from(id).expect("an id")
}

fn join(outcomes: &[Option<HoldOutcome>]) -> EndedHold {
    let users = (0..outcomes.len()).map(|number| user(&format!("u{number}"))).collect();
    let group = GroupId::try_from("g").expect("an id");
    let result = |outcome| HoldResult { outcome, denials: Vec::new() };
    EndedHold {
        operation: Operation::JoinGroup { group, users },
        expired_at: None,
        whole: None,
        items: outcomes.iter().map(|it| it.map(result)).collect(),
        warnings: Vec::new(),
    }
}

/// The end in one part, as `combined` gets it.
type End = Result<PartEnd, LedgerError>;

const END: fn(i64, Vec<EndedHold>) -> End =
    |at, holds| Ok(PartEnd { decided_at: Timestamp::from_millis(at), holds, degradation: None });

fn lost() -> LedgerError {
    StoreError::ConnectionLost("it".to_owned()).into()
}

fn refused() -> LedgerError {
    StoreError::Refused("it".to_owned()).into()
}

#[test]
fn a_hold_is_not_found_only_if_no_part_has_a_record() {
    let nowhere = combined(&id(), vec![END(1, vec![]), END(2, vec![]), END(3, vec![])]);
    assert_eq!(nowhere, Err(LedgerError::HoldNotFound(id())));
    let hold = join(&[Some(HoldOutcome::Confirmed)]);
    let found = combined(&id(), vec![END(1, vec![]), END(5, vec![hold.clone()]), END(3, vec![])]);
    let found = found.expect("found");
    assert_eq!((found.decided_at, found.holds), (Timestamp::from_millis(5), vec![hold]));
    let unknown = combined(&id(), vec![END(1, vec![]), Err(refused()), END(3, vec![])]);
    assert_eq!(unknown, Err(refused()), "nothing was done in the others");
    let accepted = PartEnd {
        decided_at: Timestamp::from_millis(1),
        holds: Vec::new(),
        degradation: Some(Degradation::Confirmed),
    };
    let accepted = combined(&id(), vec![Ok(accepted), END(1, vec![])]).expect("accepted");
    assert_eq!(accepted.degradation, Some(Degradation::Confirmed));
}

#[test]
fn a_part_that_failed_after_another_succeeded_is_unfinished() {
    let done = || END(1, vec![join(&[Some(HoldOutcome::Released)])]);
    let unfinished = |error: LedgerError| Err(LedgerError::Unfinished(Box::new(error)));
    assert_eq!(combined(&id(), vec![done(), Err(refused())]), unfinished(refused()));
    assert_eq!(combined(&id(), vec![Err(lost()), done()]), unfinished(lost()));
    assert_eq!(combined(&id(), vec![Err(refused()), Err(lost())]), Err(lost()));
    assert_eq!(combined(&id(), vec![Err(lost()), Err(refused())]), Err(lost()));
}

#[test]
fn what_was_taken_anew_is_an_event_with_its_users() {
    use HoldOutcome::{Confirmed, Denied, Retaken};
    assert_eq!(join(&[Some(Confirmed), None]).retaken(&id()), None);
    let hold = join(&[Some(Retaken), None, Some(Denied), Some(Retaken)]);
    let event = hold.retaken(&id()).expect("an event");
    assert_eq!((event.users.as_slice(), event.count), (&["u0".to_owned(), "u3".to_owned()][..], 2));
    assert_eq!(event.subject, Subject::Group(GroupId::try_from("g").expect("an id")));
    let many = join(&[Some(Retaken); 25]).retaken(&id()).expect("an event");
    assert_eq!((many.users.len(), many.count), (RETAKEN_USERS_MAX, 25));
    let decision = hold.decision(Timestamp::from_millis(1));
    let outcomes: Vec<_> = decision.items.iter().map(|it| it.outcome).collect();
    assert_eq!(outcomes, [Outcome::Applied, Outcome::Denied, Outcome::Applied]);
}

#[test]
fn ends_are_denied_if_every_subject_is() {
    use HoldOutcome::{Confirmed, Denied};
    let denied = |outcomes: &[Option<HoldOutcome>]| {
        let (decided_at, holds) = (Timestamp::from_millis(1), vec![join(outcomes)]);
        EndedHolds { decided_at, holds, degradation: None }.denied()
    };
    assert!(denied(&[Some(Denied), None, Some(Denied)]));
    assert!(!denied(&[Some(Denied), Some(Confirmed)]) && !denied(&[None]) && !denied(&[]));
}

#[test]
fn a_release_from_the_journal_is_whole_without_the_store() {
    let absent = |may_be_done| {
        let why = "it".to_owned();
        End::Err(StoreError::Absent { why, may_be_done }.into())
    };
    let hold = join(&[Some(HoldOutcome::Released)]);
    let of_journal = |degradation| {
        let decided_at = Timestamp::from_millis(1);
        End::Ok(PartEnd { decided_at, holds: vec![hold.clone()], degradation })
    };
    let released = || of_journal(Some(Degradation::Released));
    let ended = combined(&id(), vec![absent(false), released(), absent(false)]).expect("released");
    assert_eq!((ended.holds, ended.degradation), (vec![hold.clone()], Some(Degradation::Released)));
    for (parts, why) in [
        (vec![released(), Err(refused())], "a part that is not absent"),
        (vec![absent(true), released()], "a part that may have been released"),
        (vec![absent(false), of_journal(None)], "a part that the store has released"),
    ] {
        assert!(combined(&id(), parts).is_err(), "{why}");
    }
}
