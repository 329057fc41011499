//! Answers independent of a protocol, and denials as clients of an IM get them.

use std::fmt;

use serde_json::{Map, Value, json};

use super::settings::Codes;
use crate::domain::decision::ItemResult;
use crate::domain::upgrade::{Offer, Upgrade};
use crate::engine::Denial;
use crate::ledger::LedgerError;

/// The answer to a callback.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The decision.
    pub kind: Kind,
    /// Fields of the answer that the command defines.
    pub fields: Map<String, Value>,
}

/// The decision about a callback.
#[derive(Debug, Clone)]
pub enum Kind {
    /// The operation goes on.
    Allowed,
    /// A part of the operation is refused, as the fields say.
    PartlyRefused,
    /// The operation is refused.
    Refused(Refusal),
    /// In shadow mode: the operation would have been refused, whole or in part.
    WouldRefuse,
    /// An after-callback is carried out.
    Done,
    /// A release, or a late take, is dropped: a later callback has overtaken it.
    Dropped,
    /// The command is not used.
    Ignored,
    /// There is no decision.
    Undecided(Undecided),
}

/// A refusal as the IM's clients get it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The code.
    pub code: i32,
    /// A sentence.
    pub sentence: String,
    /// Reason, limit and offer, as JSON.
    pub detail: String,
}

/// The reason why there is no decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undecided {
    /// The body is not what the command needs.
    Malformed,
    /// An id is not one by the catalog's rules, or there are none.
    BadId(String),
    /// The group type is not mapped, or the catalog does not have it.
    GroupType(String),
    /// The budget is used up.
    Late,
    /// The store.
    Store(String),
    /// The engine decided nothing for another reason.
    Engine(LedgerError),
}

impl Undecided {
    /// Every [`Undecided::name`].
    pub const NAMES: [&str; 6] = ["malformed", "bad_id", "group_type", "late", "store", "engine"];

    /// Returns the name in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::BadId(_) => "bad_id",
            Self::GroupType(_) => "group_type",
            Self::Late => "late",
            Self::Store(_) => "store",
            Self::Engine(_) => "engine",
        }
    }
}

impl fmt::Display for Undecided {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => out.write_str("the body is not what the command needs"),
            Self::BadId(why) => write!(out, "an id {why}"),
            Self::GroupType(name) => {
                write!(out, "group type {name:?} is not mapped to one of the catalog")
            }
            Self::Late => out.write_str("the budget of the callback is used up"),
            Self::Store(why) => out.write_str(why),
            Self::Engine(error) => error.fmt(out),
        }
    }
}

impl From<LedgerError> for Undecided {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Store(error) => Self::Store(error.to_string()),
            error => Self::Engine(error),
        }
    }
}

impl Answer {
    /// The answer of that kind, without fields of its own.
    pub fn of(kind: Kind) -> Self {
        Self { kind, fields: Map::new() }
    }

    /// The answer without a decision.
    pub fn undecided(why: Undecided) -> Self {
        Self::of(Kind::Undecided(why))
    }

    /// Adds a field.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }
}

impl Kind {
    /// Every [`Kind::label`].
    pub const LABELS: [&str; 10] = [
        "allowed",
        "partly_refused",
        "refused",
        "would_refuse",
        "done",
        "dropped",
        "ignored",
        "unavailable",
        "malformed",
        "failed",
    ];

    /// Returns the name in metrics. An after-callback that was not carried out has failed; the IM
    /// goes on in any case.
    pub fn label(&self, is_before: bool, is_shadow: bool) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused(_) | Self::PartlyRefused | Self::WouldRefuse if is_shadow => {
                "would_refuse"
            }
            Self::PartlyRefused => "partly_refused",
            Self::Refused(_) => "refused",
            Self::WouldRefuse => "would_refuse",
            Self::Done => "done",
            Self::Dropped => "dropped",
            Self::Ignored => "ignored",
            Self::Undecided(Undecided::Malformed) => "malformed",
            Self::Undecided(_) if is_before => "unavailable",
            Self::Undecided(_) => "failed",
        }
    }
}

/// Returns whether a result is a denial, or would be one if takes were not written regardless of
/// limits.
pub fn is_refused(result: &ItemResult<Denial>) -> bool {
    result.refused() || !result.violations.is_empty()
}

/// Returns the refusal of a decision with these results.
pub fn refusal<'a>(
    codes: &Codes,
    results: impl IntoIterator<Item = &'a ItemResult<Denial>>,
) -> Refusal {
    let mut denials = results.into_iter().flat_map(|result| &result.violations);
    denials.next().map_or_else(|| unexplained(codes), |denial| refusal_of(codes, denial))
}

/// Returns the refusal for a denial.
pub fn refusal_of(codes: &Codes, denial: &Denial) -> Refusal {
    let violation = &denial.violation;
    let detail = json!({
        "reason": violation.reason.name(),
        "limit_id": violation.limit_id.to_string(),
        "subject": violation.subject.to_string(),
        "used": violation.used,
        "limit": violation.bound.limit.finite(),
        "offer": denial.upgrades.first().map(offer),
    });
    Refusal {
        code: codes.of(denial.im_code.number),
        sentence: denial.message.clone(),
        detail: detail.to_string(),
    }
}

/// Returns the refusal of a subject that is denied only with others.
fn unexplained(codes: &Codes) -> Refusal {
    let sentence = "another subject of the same request is denied".to_owned();
    Refusal {
        code: codes.unavailable,
        sentence,
        detail: json!({ "reason": "ABORTED" }).to_string(),
    }
}

fn offer(upgrade: &Upgrade) -> Value {
    let (kind, name) = match &upgrade.offer {
        Offer::Edition(name) => ("edition", name),
        Offer::AddOn(name) => ("add_on", name),
    };
    json!({
        kind: name.as_str(),
        "new_limit": upgrade.new_limit.finite(),
        "price_per_month": upgrade.price_fen_per_month,
    })
}

impl Codes {
    /// Returns the code of clients for a code of the catalog; that of an answer without a decision
    /// if it is not mapped.
    #[must_use]
    pub fn of(&self, im_code: i32) -> i32 {
        self.by_im_code.get(&im_code).copied().unwrap_or(self.unavailable)
    }
}
