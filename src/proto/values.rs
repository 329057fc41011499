//! Values of the domain as messages.

use std::sync::LazyLock;

use super::pb;
use crate::domain::currency::Currency;
use crate::domain::decision::{Reason, Subject};
use crate::domain::limit::Source;
use crate::domain::time::Timestamp;

/// Returns the reason as a message has it.
pub fn reason(reason: Reason) -> pb::DenialReason {
    static BY_REASON: LazyLock<[pb::DenialReason; Reason::ALL.len()]> = LazyLock::new(|| {
        Reason::ALL.map(|reason| {
            let name = format!("DENIAL_REASON_{}", reason.name());
            pb::DenialReason::from_str_name(&name).expect("a test compares the names")
        })
    });
    BY_REASON[reason as usize]
}

/// Returns the subject as a message has it.
pub fn subject(subject: &Subject) -> pb::Subject {
    use pb::subject::Kind;
    let kind = match subject {
        Subject::App => Kind::App(pb::AppSubject {}),
        Subject::User(id) => Kind::UserId(id.to_string()),
        Subject::Group(id) => Kind::GroupId(id.to_string()),
    };
    pb::Subject { kind: Some(kind) }
}

/// Returns the currency as a message has it.
pub fn currency(currency: Currency) -> pb::Currency {
    pb::Currency { code: currency.code().to_owned(), minor_digits: currency.minor_digits() }
}

/// Returns the source of a limit and the id that it names.
pub fn source(source: &Source) -> (pb::LimitSource, String) {
    match source {
        Source::Edition(name) => (pb::LimitSource::Edition, name.to_string()),
        Source::AddOn(name) => (pb::LimitSource::AddOn, name.to_string()),
        Source::GroupType(name) => (pb::LimitSource::GroupType, name.to_string()),
        Source::Group(id) => (pb::LimitSource::Group, id.to_string()),
        Source::App => (pb::LimitSource::App, String::new()),
        Source::Agreed(request_id) => (pb::LimitSource::Agreed, request_id.to_string()),
    }
}

/// Returns the instant as a message has it.
pub fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    let millis = at.as_millis();
    prost_types::Timestamp {
        seconds: millis.div_euclid(1000),
        nanos: i32::try_from(millis.rem_euclid(1000) * 1_000_000).unwrap_or(0),
    }
}
