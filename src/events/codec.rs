//! The stored format of events: JSON of separate types, with a version.

use serde::{Deserialize, Serialize};

use super::EventsError;
use crate::domain::decision::{Reason, Subject};
use crate::domain::event::{Count, Event, EventKind, NumberedEvent, Retaken, Sold, StorePart};
use crate::domain::id::{AppId, GroupId, Name, UserId};
use crate::domain::time::Timestamp;

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct StoredEvent {
    v: u32,
    at_ms: i64,
    /// Empty if the event concerns the whole store.
    app_id: String,
    #[serde(flatten)]
    what: StoredHappening,
}

#[derive(Serialize, Deserialize)]
struct StoredCount {
    limit_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    used: u64,
    limit: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredSold {
    Edition(String),
    AddOn(String),
    AgreedLimit(String),
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum StoredHappening {
    LimitPassed { count: StoredCount, percent: u64 },
    Denied { sample: StoredCount, reason: String, denials: u64 },
    Ending { what: StoredSold, ends_at_ms: i64, days_left: u32 },
    GraceBegan { edition: String, ended_at_ms: i64 },
    ServiceStopped { edition: String, ended_at_ms: i64 },
    EditionEnded { edition: String, ended_at_ms: i64 },
    AddOnEnded { add_on: String, ended_at_ms: i64 },
    AgreedLimitEnded { limit_id: String, ended_at_ms: i64 },
    AppCreated { request_id: String },
    Purchased { what: StoredSold, months: u32, renewal: bool, price_fen: i64, request_id: String },
    Refunded { what: StoredSold, refund_fen: i64, request_id: String },
    RetentionSet { days: u32, request_id: String },
    DriftFound { differences: u64, request_id: String },
    JournalReplayed { facts: u64, over: u64, failed: u64, sample: Option<StoredCount> },
    StatementIssued { month: String, total_fen: i64 },
    FactsLost { part: String, found: u64, known: u64 },
    EventsDropped { first: u64, last: u64, kinds: Vec<String> },
    JournalBlocked { entry: u64, operation: String, why: String },
    StoreRefuses { server: String, why: String },
    HoldRetaken(StoredRetaken),
}

#[derive(Serialize, Deserialize)]
struct StoredRetaken {
    operation_id: String,
    operation: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    users: Vec<String>,
    count: u64,
}

/// Encodes an event.
#[must_use]
pub fn encode(event: &Event) -> Vec<u8> {
    let Event { at, app, what } = event.clone();
    let (at_ms, app_id) = (at.as_millis(), app.map(|app| app.to_string()).unwrap_or_default());
    let stored = StoredEvent { v: VERSION, at_ms, app_id, what: what.into() };
    serde_json::to_vec(&stored).expect("maps with string keys can always be written")
}

/// Decodes the event with that number.
pub fn decode(number: u64, bytes: &[u8]) -> Result<NumberedEvent, EventsError> {
    let unreadable = |reason: String| EventsError::Unreadable { number, reason };
    let stored: Versioned =
        serde_json::from_slice(bytes).map_err(|error| unreadable(error.to_string()))?;
    if stored.v != VERSION {
        return Err(unreadable(format!("version {} is not {VERSION}", stored.v)));
    }
    let stored: StoredEvent =
        serde_json::from_slice(bytes).map_err(|error| unreadable(error.to_string()))?;
    let app = Some(stored.app_id).filter(|app| !app.is_empty()).map(AppId::try_from).transpose();
    let app = app.map_err(|error| unreadable(error.to_string()))?;
    let what = happening(stored.what).map_err(unreadable)?;
    let event = Event { at: Timestamp::from_millis(stored.at_ms), app, what };
    Ok(NumberedEvent { number, event })
}

/// The kind of a stored event and, if it is about a limit, its app. This is sufficient for an index
/// of the log, and available also for kinds that this version does not have.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outline {
    /// The name of its kind.
    pub kind: String,
    /// The time in milliseconds.
    pub at_ms: i64,
    /// Its app, if it is about a limit.
    pub limited_app: Option<String>,
}

impl Outline {
    /// Returns the outline of an event that is about to be stored.
    pub fn of(event: &Event) -> Self {
        let limited_app = event.app.as_ref().filter(|_| event.what.is_about_limit());
        Self {
            kind: event.what.kind().to_owned(),
            at_ms: event.at.as_millis(),
            limited_app: limited_app.map(ToString::to_string),
        }
    }
}

/// Returns the outline of a stored event; `None` if it is unreadable.
pub(super) fn outline(bytes: &[u8]) -> Option<Outline> {
    #[derive(Deserialize)]
    struct Head {
        at_ms: i64,
        app_id: String,
        kind: String,
    }
    let Head { at_ms, app_id, kind } = serde_json::from_slice(bytes).ok()?;
    let is_about_limit = matches!(kind.as_str(), "limit_passed" | "denied" | "hold_retaken");
    let is_about_limit = is_about_limit && !app_id.is_empty();
    Some(Outline { kind, at_ms, limited_app: is_about_limit.then_some(app_id) })
}

/// The version, which is checked first: a later version may have other kinds.
#[derive(Deserialize)]
struct Versioned {
    v: u32,
}

/// Returns the stored user and group of a subject.
fn stored_subject(subject: &Subject) -> (Option<String>, Option<String>) {
    match subject {
        Subject::App => (None, None),
        Subject::User(id) => (Some(id.to_string()), None),
        Subject::Group(id) => (None, Some(id.to_string())),
    }
}

/// Returns the subject of a stored user and group.
fn subject_of(user: Option<String>, group: Option<String>) -> Result<Subject, String> {
    Ok(match (user, group) {
        (Some(id), _) => Subject::User(UserId::try_from(id).map_err(|error| error.to_string())?),
        (None, Some(id)) => {
            Subject::Group(GroupId::try_from(id).map_err(|error| error.to_string())?)
        }
        (None, None) => Subject::App,
    })
}

impl From<Retaken> for StoredRetaken {
    fn from(retaken: Retaken) -> Self {
        let (user, group) = stored_subject(&retaken.subject);
        let Retaken { operation_id, operation, users, count, .. } = retaken;
        Self { operation_id, operation, user, group, users, count }
    }
}

impl TryFrom<StoredRetaken> for Retaken {
    type Error = String;

    fn try_from(stored: StoredRetaken) -> Result<Self, String> {
        let StoredRetaken { operation_id, operation, user, group, users, count } = stored;
        Ok(Self { operation_id, operation, subject: subject_of(user, group)?, users, count })
    }
}

impl From<Count> for StoredCount {
    fn from(Count { limit_id, subject, used, limit }: Count) -> Self {
        let (user, group) = stored_subject(&subject);
        Self { limit_id, user, group, used, limit }
    }
}

impl TryFrom<StoredCount> for Count {
    type Error = String;

    fn try_from(stored: StoredCount) -> Result<Self, String> {
        let StoredCount { limit_id, user, group, used, limit } = stored;
        Ok(Self { limit_id, subject: subject_of(user, group)?, used, limit })
    }
}

impl From<Sold> for StoredSold {
    fn from(sold: Sold) -> Self {
        match sold {
            Sold::Edition(name) => Self::Edition(name.to_string()),
            Sold::AddOn(name) => Self::AddOn(name.to_string()),
            Sold::AgreedLimit(id) => Self::AgreedLimit(id),
        }
    }
}

impl From<StoredSold> for Sold {
    fn from(sold: StoredSold) -> Self {
        match sold {
            StoredSold::Edition(name) => Self::Edition(Name::from(name.as_str())),
            StoredSold::AddOn(name) => Self::AddOn(Name::from(name.as_str())),
            StoredSold::AgreedLimit(id) => Self::AgreedLimit(id),
        }
    }
}

impl From<EventKind> for StoredHappening {
    fn from(what: EventKind) -> Self {
        let ms = Timestamp::as_millis;
        match what {
            EventKind::LimitPassed { count, percent } => {
                Self::LimitPassed { count: count.into(), percent }
            }
            EventKind::Denied { sample, reason, denials } => {
                Self::Denied { sample: sample.into(), reason: reason.name().to_owned(), denials }
            }
            EventKind::Ending { what, ends_at, days_left } => {
                Self::Ending { what: what.into(), ends_at_ms: ms(ends_at), days_left }
            }
            EventKind::GraceBegan { edition, ended_at } => {
                Self::GraceBegan { edition: edition.to_string(), ended_at_ms: ms(ended_at) }
            }
            EventKind::ServiceStopped { edition, ended_at } => {
                Self::ServiceStopped { edition: edition.to_string(), ended_at_ms: ms(ended_at) }
            }
            EventKind::EditionEnded { edition, ended_at } => {
                Self::EditionEnded { edition: edition.to_string(), ended_at_ms: ms(ended_at) }
            }
            EventKind::AddOnEnded { add_on, ended_at } => {
                Self::AddOnEnded { add_on: add_on.to_string(), ended_at_ms: ms(ended_at) }
            }
            EventKind::AgreedLimitEnded { limit_id, ended_at } => {
                Self::AgreedLimitEnded { limit_id, ended_at_ms: ms(ended_at) }
            }
            EventKind::AppCreated { request_id } => Self::AppCreated { request_id },
            EventKind::Purchased { what, months, renewal, price_fen, request_id } => {
                Self::Purchased { what: what.into(), months, renewal, price_fen, request_id }
            }
            EventKind::Refunded { what, refund_fen, request_id } => {
                Self::Refunded { what: what.into(), refund_fen, request_id }
            }
            EventKind::RetentionSet { days, request_id } => Self::RetentionSet { days, request_id },
            EventKind::DriftFound { differences, request_id } => {
                Self::DriftFound { differences, request_id }
            }
            EventKind::JournalReplayed { facts, over, failed, sample } => {
                Self::JournalReplayed { facts, over, failed, sample: sample.map(Into::into) }
            }
            EventKind::StatementIssued { month, total_fen } => {
                Self::StatementIssued { month: month.to_string(), total_fen }
            }
            EventKind::FactsLost { part, found, known } => {
                Self::FactsLost { part: part.name().to_owned(), found, known }
            }
            EventKind::EventsDropped { first, last, kinds } => {
                Self::EventsDropped { first, last, kinds }
            }
            EventKind::JournalBlocked { entry, operation, why } => {
                Self::JournalBlocked { entry, operation, why }
            }
            EventKind::StoreRefuses { server, why } => Self::StoreRefuses { server, why },
            EventKind::HoldRetaken(retaken) => Self::HoldRetaken(retaken.into()),
        }
    }
}

fn happening(stored: StoredHappening) -> Result<EventKind, String> {
    let at = Timestamp::from_millis;
    let name = |text: String| Name::from(text.as_str());
    Ok(match stored {
        StoredHappening::LimitPassed { count, percent } => {
            EventKind::LimitPassed { count: count.try_into()?, percent }
        }
        StoredHappening::Denied { sample, reason, denials } => {
            let known = Reason::ALL.into_iter().find(|known| known.name() == reason);
            let reason = known.ok_or_else(|| format!("unknown reason {reason:?}"))?;
            EventKind::Denied { sample: sample.try_into()?, reason, denials }
        }
        StoredHappening::Ending { what, ends_at_ms, days_left } => {
            EventKind::Ending { what: what.into(), ends_at: at(ends_at_ms), days_left }
        }
        StoredHappening::GraceBegan { edition, ended_at_ms } => {
            EventKind::GraceBegan { edition: name(edition), ended_at: at(ended_at_ms) }
        }
        StoredHappening::ServiceStopped { edition, ended_at_ms } => {
            EventKind::ServiceStopped { edition: name(edition), ended_at: at(ended_at_ms) }
        }
        StoredHappening::EditionEnded { edition, ended_at_ms } => {
            EventKind::EditionEnded { edition: name(edition), ended_at: at(ended_at_ms) }
        }
        StoredHappening::AddOnEnded { add_on, ended_at_ms } => {
            EventKind::AddOnEnded { add_on: name(add_on), ended_at: at(ended_at_ms) }
        }
        StoredHappening::AgreedLimitEnded { limit_id, ended_at_ms } => {
            EventKind::AgreedLimitEnded { limit_id, ended_at: at(ended_at_ms) }
        }
        StoredHappening::AppCreated { request_id } => EventKind::AppCreated { request_id },
        StoredHappening::Purchased { what, months, renewal, price_fen, request_id } => {
            EventKind::Purchased { what: what.into(), months, renewal, price_fen, request_id }
        }
        StoredHappening::Refunded { what, refund_fen, request_id } => {
            EventKind::Refunded { what: what.into(), refund_fen, request_id }
        }
        StoredHappening::RetentionSet { days, request_id } => {
            EventKind::RetentionSet { days, request_id }
        }
        StoredHappening::DriftFound { differences, request_id } => {
            EventKind::DriftFound { differences, request_id }
        }
        StoredHappening::JournalReplayed { facts, over, failed, sample } => {
            let sample = sample.map(TryInto::try_into).transpose()?;
            EventKind::JournalReplayed { facts, over, failed, sample }
        }
        StoredHappening::StatementIssued { month, total_fen } => {
            let month = month.parse().map_err(|_| format!("{month:?} is not a month"))?;
            EventKind::StatementIssued { month, total_fen }
        }
        StoredHappening::FactsLost { part, found, known } => {
            let named = StorePart::ALL.into_iter().find(|named| named.name() == part);
            let part = named.ok_or_else(|| format!("unknown part {part:?}"))?;
            EventKind::FactsLost { part, found, known }
        }
        StoredHappening::EventsDropped { first, last, kinds } => {
            EventKind::EventsDropped { first, last, kinds }
        }
        StoredHappening::JournalBlocked { entry, operation, why } => {
            EventKind::JournalBlocked { entry, operation, why }
        }
        StoredHappening::StoreRefuses { server, why } => EventKind::StoreRefuses { server, why },
        StoredHappening::HoldRetaken(retaken) => EventKind::HoldRetaken(retaken.try_into()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One event of each kind. Stored events stay readable.
    const GOLDEN: &[&str] = &[
        r#"{"v":1,"at_ms":7,"app_id":"demo","kind":"limit_passed","count":{"limit_id":"groups_per_user","user":"alice","used":45,"limit":50},"percent":90}"#,
        r#"{"v":1,"at_ms":7,"app_id":"demo","kind":"denied","sample":{"limit_id":"members_per_group","group":"g1","used":20,"limit":20},"reason":"MEMBERS_PER_GROUP","denials":17}"#,
        r#"{"v":1,"at_ms":7,"app_id":"demo","kind":"limit_passed","count":{"limit_id":"groups_per_user","user":"张三","used":45,"limit":50},"percent":90}"#,
        r#"{"v":1,"at_ms":7,"app_id":"demo","kind":"denied","sample":{"limit_id":"members_per_group","group":"@ann:matrix.example.org/\"\\群","used":20,"limit":20},"reason":"MEMBERS_PER_GROUP","denials":17}"#,
        r#"{"v":1,"at_ms":7,"app_id":"demo","kind":"denied","sample":{"limit_id":"service","used":0,"limit":0},"reason":"SERVICE_STOPPED","denials":1}"#,
        r#"{"v":1,"at_ms":7,"app_id":"demo","kind":"ending","what":{"edition":"professional"},"ends_at_ms":9,"days_left":7}"#,
        r#"{"v":1,"at_ms":7,"app_id":"demo","kind":"grace_began","edition":"professional","ended_at_ms":9}"#,
        r#"{"v":1,"at_ms":7,"app_id":"demo","kind":"service_stopped","edition":"professional","ended_at_ms":9}"#,
        r#"{"v":1,"at_ms":7,"app_id":"demo","kind":"edition_ended","edition":"professional","ended_at_ms":9}"#,
        r#"{"v":1,"at_ms":7,"app_id":"demo","kind":"add_on_ended","add_on":"members-2000","ended_at_ms":9}"#,
        r#"{"v":1,"at_ms":7,"app_id":"demo","kind":"agreed_limit_ended","limit_id":"groups_per_user","ended_at_ms":9}"#,
        r#"{"v":1,"at_ms":7,"app_id":"demo","kind":"app_created","request_id":"r1"}"#,
        r#"{"v":1,"at_ms":7,"app_id":"demo","kind":"purchased","what":{"add_on":"members-2000"},"months":1,"renewal":false,"price_fen":50000,"request_id":"r1"}"#,
        r#"{"v":1,"at_ms":7,"app_id":"demo","kind":"purchased","what":{"agreed_limit":"groups_per_user"},"months":0,"renewal":false,"price_fen":50000,"request_id":"r1"}"#,
        r#"{"v":1,"at_ms":7,"app_id":"demo","kind":"refunded","what":{"edition":"professional"},"refund_fen":99900,"request_id":"r1"}"#,
        r#"{"v":1,"at_ms":7,"app_id":"demo","kind":"retention_set","days":30,"request_id":"r1"}"#,
        r#"{"v":1,"at_ms":7,"app_id":"demo","kind":"drift_found","differences":3,"request_id":""}"#,
        r#"{"v":1,"at_ms":7,"app_id":"demo","kind":"statement_issued","month":"2019-08","total_fen":199900}"#,
        r#"{"v":1,"at_ms":7,"app_id":"demo","kind":"facts_lost","part":"groups","found":90,"known":97}"#,
        r#"{"v":1,"at_ms":7,"app_id":"","kind":"facts_lost","part":"events","found":90,"known":97}"#,
        r#"{"v":1,"at_ms":7,"app_id":"","kind":"events_dropped","first":4,"last":9,"kinds":["denied"]}"#,
        r#"{"v":1,"at_ms":7,"app_id":"demo","kind":"journal_blocked","entry":7,"operation":"join_group","why":"WRONGTYPE Operation"}"#,
        r#"{"v":1,"at_ms":7,"app_id":"","kind":"store_refuses","server":"r:6379","why":"OOM command not allowed"}"#,
        r#"{"v":1,"at_ms":7,"app_id":"demo","kind":"hold_retaken","operation_id":"o1","operation":"join_group","group":"g1","users":["alice"],"count":1}"#,
        r#"{"v":1,"at_ms":7,"app_id":"demo","kind":"hold_retaken","operation_id":"o1","operation":"add_friends","user":"alice","users":["bob"],"count":1}"#,
        r#"{"v":1,"at_ms":7,"app_id":"demo","kind":"hold_retaken","operation_id":"o1","operation":"create_accounts","users":[],"count":25}"#,
    ];

    #[test]
    fn events_are_stored_as_the_golden_bytes() {
        for golden in GOLDEN {
            let event = decode(4, golden.as_bytes()).expect(golden);
            assert_eq!(event.number, 4);
            let (stored, new) = (outline(golden.as_bytes()), Outline::of(&event.event));
            assert_eq!(stored, Some(new), "both have the same outline");
            assert_eq!(String::from_utf8(encode(&event.event)).expect("text"), *golden);
        }
    }

    #[test]
    fn the_longest_ids_are_read_back() {
        for id in ["u".repeat(255), "三".repeat(85)] {
            let text = GOLDEN[0].replace("alice", &id);
            let event = decode(1, text.as_bytes()).expect("readable").event;
            assert_eq!(String::from_utf8(encode(&event)).expect("text"), text);
        }
    }

    #[test]
    fn every_reason_is_read_back() {
        for reason in Reason::ALL {
            let text = GOLDEN[1].replace("MEMBERS_PER_GROUP", reason.name());
            let event = decode(1, text.as_bytes()).expect("readable").event;
            assert!(matches!(event.what, EventKind::Denied { reason: it, .. } if it == reason));
        }
    }

    #[test]
    fn an_event_of_a_newer_version_is_refused_by_number() {
        let newer = r#"{"v":2,"kind":"sung"}"#;
        let error = decode(7, newer.as_bytes()).expect_err("newer").to_string();
        assert!(error.contains("event 7") && error.contains("version 2"), "{error}");
        let damaged = GOLDEN[1].replace("MEMBERS_PER_GROUP", "WHIM");
        assert!(decode(7, damaged.as_bytes()).is_err());
    }
}
