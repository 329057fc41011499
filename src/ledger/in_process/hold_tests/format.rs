//! The stored formats of holds.

use super::super::hold_record::{
    HoldKey, HoldKind, Provisional, Record, State, fact_of_key, key_of_fact,
};
use super::*;
use crate::domain::calendar::Day;
use crate::ledger::reconcile::Fact;

fn record() -> Record {
    let at = Timestamp::from_millis;
    Record {
        operation: Arc::new(accounts(&["a", "b", "c", "d", "e"])),
        taken_at: at(1),
        expires: at(0x0203),
        kept_until: at(-1),
        states: vec![State::Absent, State::Held, State::Confirmed, State::Ended, State::Released],
    }
}

#[test]
fn a_record_is_stored_in_these_bytes() {
    let mut bytes = vec![1, 1, 0, 0, 0, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 0, 0];
    bytes.extend([255; 8]);
    bytes.extend([5, 0, 0, 0]);
    bytes.extend(b"-hcor");
    bytes.extend(br#"{"create_accounts":{"users":["a","b","c","d","e"]}}"#);
    assert_eq!(record().encode(), bytes);
    assert_eq!(Record::decode(&bytes).expect("decodes"), record());
    for length in 0..bytes.len() {
        assert!(Record::decode(&bytes[..length]).is_err(), "{length} bytes");
    }
    bytes[0] = 2;
    assert!(Record::decode(&bytes).is_err());
}

#[test]
fn the_holds_of_a_fact_are_stored_in_these_bytes() {
    let key = |kind, id| HoldKey { kind, id: OperationId::try_from(id).expect("an id") };
    let holds = vec![(key(HoldKind::CreateGroup, "op"), 1), (key(HoldKind::JoinGroup, "x"), 258)];
    let row = Provisional {
        expires: Timestamp::from_millis(5),
        taken_on: Day::from_number(7),
        holds: holds.clone(),
    };
    let bytes = [2, 2, b'o', b'p', 1, 0, 0, 0, 3, 1, b'x', 2, 1, 0, 0];
    assert_eq!(row.encode_holds(), bytes);
    assert_eq!(Provisional::decode_holds(&bytes).expect("decodes"), holds);
    assert!(Provisional::decode_holds(&bytes[..7]).is_err());
    assert!(Provisional::decode_holds(&[4, 1, b'x', 0, 0, 0, 0]).is_err());
}

#[test]
fn a_group_comes_after_its_members() {
    let facts = [Fact::Account(9), Fact::Friend(9, 8), Fact::Member(9, 8), Fact::Group(1)];
    let keys = facts.map(key_of_fact);
    assert!(keys.is_sorted());
    assert_eq!(keys.map(|key| fact_of_key(key).expect("a fact")), facts);
    assert!(fact_of_key((4, 0, 0)).is_err());
}
