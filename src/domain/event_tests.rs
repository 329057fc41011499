//! Tests of the sentences and ids of events.

use super::*;
use crate::domain::id::{GroupId, UserId};

#[test]
fn every_event_has_a_sentence_for_people() {
    let by = crate::catalog::builtin().conventions();
    let midnight = Timestamp::from_millis(1_552_320_000_000);
    let user = Subject::User(UserId::try_from("alice").expect("an id"));
    let count = |subject, used| {
        let limit_id = "groups_per_user".to_owned();
        Count { limit_id, subject, used, limit: 50 }
    };
    let request_id = String::new;
    let edition = || Name::from("professional");
    for (what, sentence) in [
        (
            EventKind::LimitPassed { count: count(user.clone(), 45), percent: 90 },
            "user \"alice\" has 45 of at most 50 (groups_per_user): 90 % is reached",
        ),
        (
            EventKind::Denied {
                sample: count(user, 50),
                reason: Reason::GroupsPerUser,
                denials: 17,
            },
            "denied 17 times within a minute, one of them where user \"alice\" has 50 of at \
             most 50 (groups_per_user)",
        ),
        (
            EventKind::Denied {
                sample: count(Subject::App, 0),
                reason: Reason::ServiceStopped,
                denials: 1,
            },
            "denied once within a minute, since the service has stopped, to the app",
        ),
        (
            EventKind::Ending {
                what: Sold::AddOn("members-2000".into()),
                ends_at: midnight,
                days_left: 1,
            },
            "add-on \"members-2000\" is valid until 2019-03-12T00:00:00+08:00: 1 day left",
        ),
        (
            EventKind::Purchased {
                what: Sold::Edition(edition()),
                months: 2,
                renewal: true,
                price_fen: 199_800,
                request_id: request_id(),
            },
            "edition \"professional\" was renewed for 2 months, for 1998.00 CNY",
        ),
        (
            EventKind::ServiceStopped { edition: edition(), ended_at: midnight },
            "edition \"professional\" stopped at 2019-03-12T00:00:00+08:00: \
             the service has stopped",
        ),
        (
            EventKind::DriftFound { differences: 1, request_id: request_id() },
            "1 fact differed from the database of the IM",
        ),
        (
            EventKind::FactsLost { part: StorePart::Groups, found: 90, known: 97 },
            "the store lost writes 91-97 of its groups, which it had acknowledged",
        ),
        (
            EventKind::FactsLost { part: StorePart::Events, found: 4, known: 5 },
            "the store lost events 5-5, which it had acknowledged",
        ),
    ] {
        assert_eq!(what.sentence(by), sentence);
    }
}

#[test]
fn agreed_limits_have_sentences_with_and_without_months() {
    let by = crate::catalog::builtin().conventions();
    let bought = |months| EventKind::Purchased {
        what: Sold::AgreedLimit("groups_per_user".to_owned()),
        months,
        renewal: false,
        price_fen: 50_000,
        request_id: String::new(),
    };
    let ended_at = Timestamp::from_millis(1_552_320_000_000);
    let ended = EventKind::AgreedLimitEnded { limit_id: "groups_per_user".to_owned(), ended_at };
    for (what, sentence) in [
        (bought(0), "was bought, for 500.00 CNY"),
        (bought(1), "was bought for 1 month, for 500.00 CNY"),
        (ended, "ended at 2019-03-12T00:00:00+08:00"),
    ] {
        let expected = format!("agreed limit \"groups_per_user\" {sentence}");
        assert_eq!(what.sentence(by), expected);
    }
}

#[test]
fn dropped_events_have_a_sentence_and_an_id_of_their_own() {
    let kinds = ["denied", "limit_passed"].map(str::to_owned).to_vec();
    let what = EventKind::EventsDropped { first: 4, last: 9, kinds };
    let by = crate::catalog::builtin().conventions();
    let sentence = "events 4-9 were dropped from the bounded log (denied, limit_passed)";
    assert_eq!(what.sentence(by), sentence);
    let event = |what| Event { at: Timestamp::from_millis(7), app: None, what };
    assert_eq!(NumberedEvent { number: 9, event: event(what) }.id(), "dropped-4-9");
    let created = EventKind::AppCreated { request_id: String::new() };
    assert_eq!(NumberedEvent { number: 9, event: event(created) }.id(), "9");
}

#[test]
fn events_that_need_an_operator_have_the_stores_error_text() {
    let by = crate::catalog::builtin().conventions();
    for (what, sentence) in [
        (
            EventKind::JournalBlocked {
                entry: 7,
                operation: "join_group".to_owned(),
                why: "WRONGTYPE Operation".to_owned(),
            },
            "journal entry 7 (join_group) is blocked: WRONGTYPE Operation",
        ),
        (
            EventKind::StoreRefuses {
                server: "10.0.0.1:6379".to_owned(),
                why: "OOM command not allowed".to_owned(),
            },
            "server 10.0.0.1:6379 refuses calls: OOM command not allowed",
        ),
        (
            EventKind::HoldRetaken(Retaken {
                operation_id: "o1".to_owned(),
                operation: "join_group".to_owned(),
                subject: Subject::Group(GroupId::try_from("g1").expect("an id")),
                users: vec!["bob".to_owned()],
                count: 1,
            }),
            "operation \"o1\" (join_group, group \"g1\") was confirmed after its hold had expired: \
             1 subject was taken anew",
        ),
    ] {
        assert_eq!(what.sentence(by), sentence);
    }
}
