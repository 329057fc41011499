//! Responses of operations, compared with literal tables.

use super::super::table::PLAIN;
use super::*;
use crate::grpc::pb::{LimitSource, Upgrade, upgrade};

fn result(id: &str, outcome: Outcome, denials: Vec<Denial>) -> pb::Result {
    pb::Result { id: id.into(), outcome: outcome.into(), denials, repeated: false }
}

fn full() -> Denial {
    Denial {
        reason: DenialReason::GroupsPerUser.into(),
        limit_id: "groups_per_user".into(),
        used: 200,
        limit: 200,
        requested: 1,
        source: LimitSource::Edition.into(),
        source_id: "professional".into(),
        im_error_code: 10037,
        message: "user bob is in 200 of 200 groups".into(),
        upgrades: vec![Upgrade {
            item: Some(upgrade::Item::AddOnId("groups-per-user-400".into())),
            new_limit: Some(400),
            price_fen_per_month: 50_000,
            currency: None,
            replaces_add_on_id: String::new(),
            replaces_edition_id: String::new(),
        }],
        ..Denial::default()
    }
}

#[test]
fn a_denial_shows_message_code_and_upgrade() {
    let crowded = Denial {
        message: "group g1 has 200 of 200 members".into(),
        im_error_code: 10014,
        ..Denial::default()
    };
    let results = vec![
        result("alice", Outcome::Applied, vec![]),
        result("bob", Outcome::Denied, vec![full(), crowded]),
        result("carol", Outcome::AlreadyHeld, vec![]),
        result("dave", Outcome::Applied, vec![]),
    ];
    let answer = pb::JoinGroupResponse { results, decision: None };
    assert!(answer.denied());
    assert_eq!(
        answer.text(PLAIN),
        "\
ID     OUTCOME       WHY
alice  applied
bob    denied        user bob is in 200 of 200 groups (IM code 10037); buy add-on \
groups-per-user-400: limit 400, 500.00 CNY a month
                     group g1 has 200 of 200 members (IM code 10014)
carol  already held
dave   applied
2 applied, 1 already held, 1 denied
"
    );
}

#[test]
fn an_offer_that_replaces_something_names_what_is_exchanged() {
    let mut denial = full();
    denial.upgrades[0].replaces_add_on_id = "groups-per-user-700".into();
    let text = why(&denial);
    assert!(text.contains("; exchange add-on groups-per-user-700 for add-on groups"), "{text}");
    denial.upgrades[0] = Upgrade {
        item: Some(upgrade::Item::EditionId("premium".into())),
        replaces_edition_id: "professional".into(),
        ..Upgrade::default()
    };
    let text = why(&denial);
    assert!(text.contains("; change edition professional to edition premium: limit"), "{text}");
}

#[test]
fn a_stopped_service_offers_a_renewal() {
    let stopped = Denial {
        reason: DenialReason::ServiceStopped.into(),
        im_error_code: 60020,
        message: "the app's service has stopped".into(),
        upgrades: vec![Upgrade {
            item: Some(upgrade::Item::EditionId("professional".into())),
            new_limit: None,
            price_fen_per_month: 99_900,
            currency: None,
            replaces_add_on_id: String::new(),
            replaces_edition_id: String::new(),
        }],
        ..Denial::default()
    };
    assert_eq!(
        why(&stopped),
        "the app's service has stopped (IM code 60020); renew edition professional, \
         999.00 CNY a month"
    );
}

#[test]
fn a_violation_in_shadow_mode_is_not_denied() {
    let results = vec![result("bob", Outcome::Applied, vec![full()])];
    let answer = pb::CreateAccountsResponse { results, decision: None };
    assert!(!answer.denied());
    assert!(answer.text(PLAIN).contains("bob  applied  would be denied: user bob is in 200"));
}

#[test]
fn a_group_is_distinguished_from_a_member_with_the_same_id() {
    let answer = pb::CreateGroupResponse {
        group: Some(result("g1", Outcome::Applied, vec![])),
        members: vec![result("g1", Outcome::Applied, vec![])],
        decision: None,
    };
    assert_eq!(
        answer.text(PLAIN),
        "\
ID          OUTCOME
g1 (group)  applied
g1          applied
2 applied
"
    );
}

#[test]
fn notes_and_a_degraded_decision_come_last() {
    let decision = DecisionInfo { decided_at: None, degradation: "store unreachable".into() };
    let answer = pb::DissolveGroupResponse {
        result: Some(result("g1", Outcome::Applied, vec![])),
        members_released: 3,
        decision: Some(decision),
    };
    assert_eq!(
        answer.text(PLAIN),
        "\
ID  OUTCOME
g1  applied
3 members released
not exact: store unreachable
"
    );
}

#[test]
fn a_whole_batch_shows_what_was_denied_and_what_it_aborted() {
    let denial = Denial { message: "full".into(), ..Denial::default() };
    let results = vec![
        result("alice", Outcome::Aborted, vec![]),
        result("bob", Outcome::Denied, vec![denial]),
        result("carol", Outcome::AlreadyHeld, vec![]),
    ];
    let answer = pb::JoinGroupResponse { results, decision: None };
    assert!(answer.denied());
    assert_eq!(
        answer.text(PLAIN),
        "\
ID     OUTCOME       WHY
alice  aborted
bob    denied        full
carol  already held
1 already held, 1 denied, 1 aborted
"
    );
}
