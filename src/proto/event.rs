//! Events as messages.

use super::{json, pb, reason, subject, timestamp};
use crate::domain::currency::Currency;
use crate::domain::event::{Count, EventKind as Kind, NumberedEvent, Retaken, Sold};
use crate::domain::text::Conventions;

/// Converts an event; its sentence has instants and amounts by these conventions.
pub fn event(numbered: &NumberedEvent, by: Conventions) -> pb::Event {
    let event = &numbered.event;
    let message = pb::Event {
        event_id: numbered.id(),
        kind: kind(&event.what).into(),
        app_id: event.app.as_ref().map(ToString::to_string).unwrap_or_default(),
        occurred_at: Some(timestamp(event.at)),
        message: event.what.sentence(by),
        ..pb::Event::default()
    };
    with_details(message, &event.what, by.currency)
}

/// Returns an event as JSON on one line, which is the body of a webhook.
#[must_use]
pub fn event_json(numbered: &NumberedEvent, by: Conventions) -> String {
    json::compact("Event", &event(numbered, by))
}

fn with_details(message: pb::Event, what: &Kind, by: Currency) -> pb::Event {
    let currency = Some(super::currency(by));
    match what.clone() {
        Kind::LimitPassed { count, percent } => {
            let percent = u32::try_from(percent).unwrap_or(u32::MAX);
            pb::Event { percent, ..counted(message, count) }
        }
        Kind::Denied { sample, reason: why, denials } => {
            let reason = reason(why).into();
            pb::Event { reason, count: denials, ..counted(message, sample) }
        }
        Kind::Ending { what, ends_at, days_left } => {
            pb::Event { ends_at: Some(timestamp(ends_at)), days_left, ..about(message, what) }
        }
        Kind::GraceBegan { edition, ended_at }
        | Kind::ServiceStopped { edition, ended_at }
        | Kind::EditionEnded { edition, ended_at } => {
            let ends_at = Some(timestamp(ended_at));
            pb::Event { ends_at, edition_id: edition.to_string(), ..message }
        }
        Kind::AddOnEnded { add_on, ended_at } => {
            let ends_at = Some(timestamp(ended_at));
            pb::Event { ends_at, add_on_id: add_on.to_string(), ..message }
        }
        Kind::AgreedLimitEnded { limit_id, ended_at } => {
            pb::Event { ends_at: Some(timestamp(ended_at)), limit_id, ..message }
        }
        Kind::AppCreated { request_id } => pb::Event { request_id, ..message },
        Kind::Purchased { what, price_fen, request_id, .. } => {
            pb::Event { amount_fen: price_fen, currency, request_id, ..about(message, what) }
        }
        Kind::Refunded { what, refund_fen, request_id } => {
            pb::Event { amount_fen: -refund_fen, currency, request_id, ..about(message, what) }
        }
        Kind::RetentionSet { days, request_id } => {
            pb::Event { retention_days: days, request_id, ..message }
        }
        Kind::DriftFound { differences, request_id } => {
            pb::Event { count: differences, request_id, ..message }
        }
        Kind::JournalReplayed { facts, over, failed, sample } => {
            let message = pb::Event { count: facts, over, failed, ..message };
            sample.map_or(message.clone(), |sample| counted(message, sample))
        }
        Kind::StatementIssued { month, total_fen } => {
            pb::Event { month: month.to_string(), amount_fen: total_fen, currency, ..message }
        }
        Kind::FactsLost { part, found, known } => {
            pb::Event { part: part.name().to_owned(), found, known, ..message }
        }
        Kind::EventsDropped { first, last, kinds } => {
            let dropped_kinds = kinds.iter().map(|name| kind_named(name).into()).collect();
            pb::Event { first_dropped: first, last_dropped: last, dropped_kinds, ..message }
        }
        Kind::JournalBlocked { entry, operation, why } => {
            pb::Event { journal_entry: entry, operation, store_message: why, ..message }
        }
        Kind::StoreRefuses { server, why } => pb::Event { server, store_message: why, ..message },
        Kind::HoldRetaken(Retaken { operation_id, operation, subject: of, users, count }) => {
            let subject = Some(subject(&of));
            pb::Event { operation_id, operation, subject, user_ids: users, count, ..message }
        }
    }
}

fn counted(message: pb::Event, count: Count) -> pb::Event {
    let Count { limit_id, subject: of, used, limit } = count;
    pb::Event { limit_id, subject: Some(subject(&of)), used, limit, ..message }
}

fn about(message: pb::Event, what: Sold) -> pb::Event {
    match what {
        Sold::Edition(name) => pb::Event { edition_id: name.to_string(), ..message },
        Sold::AddOn(name) => pb::Event { add_on_id: name.to_string(), ..message },
        Sold::AgreedLimit(limit_id) => pb::Event { limit_id, ..message },
    }
}

/// Returns the kind of an event.
pub fn kind(what: &Kind) -> pb::EventKind {
    match what {
        Kind::LimitPassed { .. } => pb::EventKind::LimitPassed,
        Kind::Denied { .. } => pb::EventKind::Denied,
        Kind::Ending { .. } => pb::EventKind::Ending,
        Kind::GraceBegan { .. } => pb::EventKind::GraceBegan,
        Kind::ServiceStopped { .. } => pb::EventKind::ServiceStopped,
        Kind::EditionEnded { .. } => pb::EventKind::EditionEnded,
        Kind::AddOnEnded { .. } => pb::EventKind::AddOnEnded,
        Kind::AgreedLimitEnded { .. } => pb::EventKind::AgreedLimitEnded,
        Kind::AppCreated { .. } => pb::EventKind::AppCreated,
        Kind::Purchased { .. } => pb::EventKind::Purchased,
        Kind::Refunded { .. } => pb::EventKind::Refunded,
        Kind::RetentionSet { .. } => pb::EventKind::RetentionSet,
        Kind::DriftFound { .. } => pb::EventKind::DriftFound,
        Kind::JournalReplayed { .. } => pb::EventKind::JournalReplayed,
        Kind::StatementIssued { .. } => pb::EventKind::StatementIssued,
        Kind::FactsLost { .. } => pb::EventKind::FactsLost,
        Kind::EventsDropped { .. } => pb::EventKind::EventsDropped,
        Kind::JournalBlocked { .. } => pb::EventKind::JournalBlocked,
        Kind::StoreRefuses { .. } => pb::EventKind::StoreRefuses,
        Kind::HoldRetaken(_) => pb::EventKind::HoldRetaken,
    }
}

/// Returns the kind with the name that [`Kind::kind`] returns; unspecified if this version has
/// none.
pub fn kind_named(name: &str) -> pb::EventKind {
    let name = format!("EVENT_KIND_{}", name.to_ascii_uppercase());
    pb::EventKind::from_str_name(&name).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{Event, StorePart};
    use crate::domain::id::AppId;
    use crate::domain::time::Timestamp;

    #[test]
    fn a_webhook_gets_the_names_of_the_protos_on_one_line() {
        let by = crate::catalog::builtin().conventions();
        let what = Kind::Refunded {
            what: Sold::AddOn("members-2000".into()),
            refund_fen: 50_000,
            request_id: "r1".into(),
        };
        let app = AppId::try_from("demo").expect("an id");
        let event = Event { at: Timestamp::from_millis(1_552_320_000_000), app: Some(app), what };
        assert_eq!(
            event_json(&NumberedEvent { number: 7, event }, by),
            concat!(
                r#"{"event_id":"7","kind":"EVENT_KIND_REFUNDED","app_id":"demo","#,
                r#""occurred_at":"2019-03-11T16:00:00Z","#,
                r#""message":"add-on \"members-2000\" was refunded with 500.00 CNY","#,
                r#""add_on_id":"members-2000","amount_fen":-50000,"request_id":"r1","currency":{"code":"CNY","minor_digits":2}}"#,
            )
        );
        let what = Kind::FactsLost { part: StorePart::Events, found: 4, known: 9 };
        let event = Event { at: Timestamp::from_millis(1_552_320_000_000), app: None, what };
        assert_eq!(
            event_json(&NumberedEvent { number: 1010, event }, by),
            concat!(
                r#"{"event_id":"1010","kind":"EVENT_KIND_FACTS_LOST","#,
                r#""occurred_at":"2019-03-11T16:00:00Z","#,
                r#""message":"the store lost events 5-9, which it had acknowledged","#,
                r#""part":"events","found":4,"known":9}"#,
            )
        );
        let kinds = ["denied", "limit_passed", "?"].map(str::to_owned).to_vec();
        let what = Kind::EventsDropped { first: 4, last: 9, kinds };
        let event = Event { at: Timestamp::from_millis(1_552_320_000_000), app: None, what };
        assert_eq!(
            event_json(&NumberedEvent { number: 9, event }, by),
            concat!(
                r#"{"event_id":"dropped-4-9","kind":"EVENT_KIND_EVENTS_DROPPED","#,
                r#""occurred_at":"2019-03-11T16:00:00Z","#,
                r#""message":"events 4-9 were dropped from the bounded log (denied, limit_passed, ?)","#,
                r#""first_dropped":4,"last_dropped":9,"dropped_kinds":["EVENT_KIND_DENIED","#,
                r#""EVENT_KIND_LIMIT_PASSED","EVENT_KIND_UNSPECIFIED"]}"#,
            )
        );
        let app = AppId::try_from("demo").expect("an id");
        let what = Kind::JournalBlocked {
            entry: 7,
            operation: "join_group".to_owned(),
            why: "WRONGTYPE".to_owned(),
        };
        let event = Event { at: Timestamp::from_millis(1_552_320_000_000), app: Some(app), what };
        assert_eq!(
            event_json(&NumberedEvent { number: 8, event }, by),
            concat!(
                r#"{"event_id":"8","kind":"EVENT_KIND_JOURNAL_BLOCKED","app_id":"demo","#,
                r#""occurred_at":"2019-03-11T16:00:00Z","#,
                r#""message":"journal entry 7 (join_group) is blocked: WRONGTYPE","#,
                r#""journal_entry":7,"operation":"join_group","store_message":"WRONGTYPE"}"#,
            )
        );
    }
}
