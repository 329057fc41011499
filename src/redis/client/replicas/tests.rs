//! Tests of the rule, step by step: what confirms, what closes the gate, and what opens it.

use super::*;

const LAG_MAX: Duration = Duration::from_secs(1);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn new(fewer: Option<usize>, may_be_alone: bool) -> Replicas {
    Replicas::new(Rule { fewer, may_be_alone, lag_max: LAG_MAX })
}

fn state(offset: u64, replicas: &[(&str, u64)]) -> ReplicationState {
    let replicas = replicas.iter().map(|(name, confirmed)| ((*name).to_owned(), *confirmed));
    ReplicationState { offset, replicas: replicas.collect() }
}

/// Returns a rule by which the replicas "a" and "b" are required, at the time 0.
fn of_two() -> Replicas {
    let mut replicas = new(None, false);
    replicas.listed(&state(10, &[("a", 10), ("b", 10)]), ms(0));
    assert!(replicas.is_in_doubt(ms(0), ms(0)));
    assert!(replicas.approved(ms(0), ms(0)).is_empty());
    assert_eq!(replicas.gate(false), Gate::Confirmed);
    replicas
}

#[test]
fn all_required_replicas_have_to_confirm() {
    let mut replicas = of_two();
    for (listed, late) in [
        (&[("a", 20), ("b", 20)][..], &[][..]),
        (&[("a", 20), ("b", 19)], &["b"]),
        (&[("a", 9), ("b", 19)], &["a", "b"]),
        // A newly attached replica does not replace another one.
        (&[("a", 20), ("b", 19), ("c", 20)], &["b"]),
        (&[("b", 20), ("c", 20)], &["a"]),
    ] {
        let confirmed = replicas.clone().confirm(20, &state(25, listed), ms(5), ms(9));
        assert_eq!(confirmed.err().unwrap_or_default(), late, "{listed:?}");
    }
    // It is required as well from when it has caught up.
    replicas.listed(&state(20, &[("a", 20), ("b", 20), ("c", 9)]), ms(10));
    assert_eq!(replicas.count(), (2, 3));
    let listed = state(25, &[("a", 25), ("b", 25), ("c", 22)]);
    assert_eq!(replicas.confirm(25, &listed, ms(20), ms(30)), Err(vec!["c".to_owned()]));
}

#[test]
fn a_detached_replica_is_left_behind_once_the_authority_was_queried_after_that() {
    let mut replicas = of_two();
    replicas.listed(&state(10, &[("b", 10)]), ms(500));
    assert!(matches!(replicas.gate(true), Gate::Closed(why) if why.contains('a')));
    assert!(replicas.is_in_doubt(ms(0), ms(500)) && !replicas.is_in_doubt(ms(100), ms(599)));
    assert!(replicas.approved(ms(499), ms(0)).is_empty());
    assert!(replicas.approved(ms(599), ms(100)).is_empty());
    assert_eq!(replicas.approved(ms(600), ms(100)), ["a"]);
    // From now on a majority is needed, since not all replicas can confirm.
    assert!(matches!(replicas.gate(false), Gate::Closed(_)));
    assert_eq!(replicas.gate(true), Gate::Confirmed);
    replicas.listed(&state(30, &[("a", 30), ("b", 30)]), ms(900));
    assert_eq!((replicas.gate(false), replicas.count()), (Gate::Confirmed, (2, 2)));
}

#[test]
fn a_replica_that_is_silent_for_too_long_counts_as_detached() {
    let mut replicas = of_two();
    let listed = |a| state(20, &[("a", a), ("b", 20)]);
    assert!(replicas.confirm(20, &listed(19), ms(100), ms(600)).is_err());
    assert!(!replicas.is_in_doubt(ms(0), ms(600)));
    // Later calls do not extend its time.
    assert!(replicas.confirm(20, &listed(19), ms(600), ms(1099)).is_err());
    assert!(!replicas.is_in_doubt(ms(0), ms(1099)));
    assert!(replicas.confirm(20, &listed(19), ms(600), ms(1100)).is_err());
    assert!(replicas.is_in_doubt(ms(0), ms(1100)));
    // It answers after all.
    replicas.listed(&listed(20), ms(1200));
    assert_eq!(replicas.gate(true), Gate::Confirmed);
    // Waits that have ended do not add up.
    assert!(replicas.confirm(30, &listed(20), ms(1300), ms(2200)).is_err());
    assert_eq!(replicas.confirm(20, &listed(20), ms(2200), ms(2200)), Ok(()));
}

#[test]
fn a_master_that_counts_anew_is_confirmed_again() {
    let mut replicas = of_two();
    assert!(replicas.confirm(20, &state(20, &[("a", 19), ("b", 20)]), ms(0), ms(1000)).is_err());
    replicas.listed(&state(5, &[]), ms(1100));
    replicas.listed(&state(6, &[("a", 6), ("b", 5)]), ms(1200));
    assert_eq!(replicas.gate(true), Gate::Confirmed);
    assert_eq!(replicas.confirm(7, &state(7, &[("a", 7), ("b", 7)]), ms(1300), ms(1300)), Ok(()));
}

#[test]
fn a_master_without_replicas_is_alone_or_closed() {
    for (may_be_alone, gate) in [(true, Gate::Alone), (false, Gate::Closed(String::new()))] {
        let mut replicas = new(None, may_be_alone);
        assert!(matches!(replicas.gate(true), Gate::Closed(_)));
        assert!(!replicas.is_in_doubt(ms(0), ms(0)), "before the first list");
        replicas.listed(&state(10, &[]), ms(0));
        assert!(replicas.is_in_doubt(ms(0), ms(0)));
        replicas.approved(ms(0), ms(0));
        let found = replicas.gate(true);
        assert_eq!(std::mem::discriminant(&found), std::mem::discriminant(&gate));
        assert!(matches!(replicas.gate(false), Gate::Closed(_)));
        let confirmed = replicas.confirm(10, &state(10, &[]), ms(1), ms(1));
        assert_eq!(confirmed.is_ok(), may_be_alone);
    }
}

#[test]
fn an_attached_replica_is_given_time_to_catch_up() {
    let mut replicas = new(None, true);
    replicas.listed(&state(10, &[("a", 9)]), ms(5));
    assert!(!replicas.is_in_doubt(ms(0), ms(1004)) && replicas.is_in_doubt(ms(0), ms(1005)));
    replicas.listed(&state(12, &[("a", 10)]), ms(10));
    assert!(replicas.is_in_doubt(ms(0), ms(10)));
    replicas.approved(ms(10), ms(0));
    assert_eq!(replicas.gate(true), Gate::Confirmed);
}

#[test]
fn without_a_majority_all_replicas_have_to_be_attached() {
    for (known, is_enough) in [(0, false), (1, true), (2, true), (3, false)] {
        let mut replicas = new(None, false);
        replicas.listed(&state(10, &[("a", 10), ("b", 10)]), ms(0));
        replicas.approved_if_complete(known);
        assert_eq!(replicas.gate(false) == Gate::Confirmed, is_enough, "{known}");
    }
}

#[test]
fn fewer_confirmations_can_be_configured() {
    let mut replicas = new(Some(1), false);
    replicas.listed(&state(10, &[("a", 10), ("b", 10)]), ms(0));
    assert_eq!((replicas.gate(true), replicas.count()), (Gate::Confirmed, (1, 2)));
    for (listed, is_confirmed) in
        [(&[("a", 20), ("b", 1)][..], true), (&[("b", 20)], true), (&[("a", 19)], false)]
    {
        let confirmed = replicas.confirm(20, &state(20, listed), ms(1), ms(2));
        assert_eq!(confirmed.is_ok(), is_confirmed, "{listed:?}");
    }
    replicas.listed(&state(10, &[]), ms(9));
    assert!(matches!(replicas.gate(true), Gate::Closed(why) if why.contains("0 of 1")));
    // With `auto`, at most the attached ones.
    let mut replicas = new(Some(2), true);
    assert!(matches!(replicas.gate(true), Gate::Closed(_)), "before the first list");
    for (listed, gate, required) in [(&[][..], Gate::Alone, 0), (&[("a", 10)], Gate::Confirmed, 1)]
    {
        replicas.listed(&state(10, listed), ms(0));
        assert_eq!((replicas.gate(true), replicas.count().0), (gate, required));
    }
}
