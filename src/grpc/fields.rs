//! Checks the fields of a request and collects violations with the field's name.

use std::fmt::Display;
use std::ops::RangeInclusive;

use super::pb;
use crate::diagnostics::truncate_for_display;
use crate::domain::catalog::Catalog;
use crate::domain::decision::Mode;
use crate::domain::group_type::GroupType;
use crate::domain::id::{AppId, GroupId, NAME_MAX_BYTES, RequestId, UserId};
use crate::domain::id_rules::IdRules;
use crate::domain::im_code::ImCode;
use crate::domain::purchase::MONTHS;
use crate::domain::selling::PRICE_MAX_FEN;
use crate::domain::text::quoted_names;
use crate::domain::time::Timestamp;

/// Most violations that are listed one by one: error details are sent in an HTTP/2 header, which
/// clients bound at 8 KiB.
const VIOLATIONS_MAX: usize = 20;
/// Most bytes of violations that are listed one by one, and of violated quotas: with the base64 of
/// the header and the message they stay below the bound of clients.
pub(super) const VIOLATIONS_MAX_BYTES: usize = 4096;

/// The end of the year 9999.
const LATEST_MILLIS: i64 = 253_402_300_799_999;
/// The violations of a request. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// Each invalid field with its problem.
    pub violations: Vec<Violation>,
    /// The code for IM clients, if there is one.
    pub im_code: Option<ImCode>,
}

impl Invalid {
    /// Creates the violation of one field.
    pub fn field(field: &str, description: impl Display) -> Self {
        let description = description.to_string();
        let violation = Violation { field: field.to_owned(), description };
        Self { violations: vec![violation], im_code: None }
    }
}

/// One problem of one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field, such as `user_ids[3]`.
    pub field: String,
    /// The problem, and the expected value.
    pub description: String,
}

/// Collects the violations of a request.
#[derive(Debug, Default)]
pub struct Fields {
    violations: Vec<Violation>,
    listed_bytes: usize,
    unlisted: usize,
    im_code: Option<ImCode>,
    /// Kinds of names whose valid ones were listed.
    listed: Vec<&'static str>,
}

impl Fields {
    /// Records a violation.
    pub fn wrong(&mut self, field: impl Into<String>, description: impl Display) {
        if self.violations.len() == VIOLATIONS_MAX {
            self.unlisted += 1;
            return;
        }
        let (field, description) = (field.into(), description.to_string());
        let bytes = self.listed_bytes + field.len() + description.len();
        if bytes > VIOLATIONS_MAX_BYTES && !self.violations.is_empty() {
            self.unlisted += 1;
            return;
        }
        self.listed_bytes = bytes;
        self.violations.push(Violation { field, description });
    }

    /// Records that a name is not among the valid ones, which are listed once for each kind of
    /// name: error details are sent in a header.
    pub fn unknown_name<'a>(
        &mut self,
        field: impl Into<String>,
        kind: &'static str,
        given: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) {
        // A wrong name is repeated only as far as is needed to recognize it.
        let given = truncate_for_display(given);
        if self.listed.contains(&kind) {
            return self.wrong(field, format!("must be a {kind}, not {given:?}"));
        }
        self.listed.push(kind);
        let known = quoted_names(known);
        self.wrong(field, format!("must be a {kind}, one of {known}, not {given:?}"));
    }

    /// Returns the value, or records its error as a violation.
    pub fn check<T, E: Display>(&mut self, field: &str, value: Result<T, E>) -> Option<T> {
        value.map_err(|error| self.wrong(field, error)).ok()
    }

    /// Checks the app of the request.
    pub fn app_id(&mut self, text: String) -> Option<AppId> {
        self.check("app_id", AppId::try_from(text))
    }

    /// Checks the request id of an administrative change.
    pub fn request_id(&mut self, text: String) -> Option<RequestId> {
        self.check("request_id", RequestId::try_from(text))
    }

    /// Checks a user id by the rules of takes, or by the widest for releases and reads.
    pub fn user_id(&mut self, field: &str, text: &str, rules: &IdRules) -> Option<UserId> {
        self.check(field, rules.user(text))
    }

    /// Checks a group id by the rules of takes, or by the widest for releases and reads.
    pub fn group_id(&mut self, field: &str, text: &str, rules: &IdRules) -> Option<GroupId> {
        self.check(field, rules.group(text))
    }

    /// Checks the user ids of a batch. A batch that is too large has a code for IM clients.
    pub fn user_ids(
        &mut self,
        field: &str,
        ids: &[String],
        rules: &IdRules,
        count: RangeInclusive<usize>,
        im_code: Option<&ImCode>,
    ) -> Option<Vec<UserId>> {
        if !count.contains(&ids.len()) {
            let (min, max) = (count.start(), count.end());
            self.wrong(field, format!("must have {min}-{max} entries, not {}", ids.len()));
            if ids.len() > *max {
                self.im_code = im_code.cloned();
            }
            return None;
        }
        let mut users = Vec::with_capacity(ids.len());
        for (index, id) in ids.iter().enumerate() {
            match rules.user(id) {
                Ok(user) => users.push(user),
                Err(error) => self.wrong(format!("{field}[{index}]"), error),
            }
        }
        (users.len() == ids.len()).then_some(users)
    }

    /// Checks the mode of a take.
    pub fn mode(&mut self, number: i32) -> Option<Mode> {
        match pb::Mode::try_from(number) {
            Ok(pb::Mode::Unspecified | pb::Mode::Enforce) => Some(Mode::Enforce),
            Ok(pb::Mode::CheckOnly) => Some(Mode::CheckOnly),
            Ok(pb::Mode::Shadow) => Some(Mode::Shadow),
            Ok(pb::Mode::Force) => Some(Mode::Force),
            Err(_) => {
                self.wrong("mode", format!("must be 0-4, not {number}"));
                None
            }
        }
    }

    /// Checks the name of a catalog entry; its existence in the catalog is checked later.
    pub fn name(&mut self, field: &str, name: String) -> Option<String> {
        if (1..=NAME_MAX_BYTES).contains(&name.len()) {
            return Some(name);
        }
        let bytes = name.len();
        self.wrong(field, format!("must be 1-{NAME_MAX_BYTES} bytes long, not {bytes}"));
        None
    }

    /// Finds a group type of the catalog.
    pub fn group_type<'a>(
        &mut self,
        field: &str,
        name: &str,
        catalog: &'a Catalog,
    ) -> Option<&'a GroupType> {
        let kind = catalog.group_type(name);
        if kind.is_none() {
            let known = catalog.group_types.iter().map(|kind| kind.name.as_str());
            self.unknown_name(field, "group type", name, known);
        }
        kind
    }

    /// Checks the months of a purchase.
    pub fn months(&mut self, field: &str, months: u32) -> Option<u32> {
        if MONTHS.contains(&months) {
            return Some(months);
        }
        let (min, max) = (MONTHS.start(), MONTHS.end());
        self.wrong(field, format!("must be {min}-{max}, not {months}"));
        None
    }

    /// Checks an agreed price in fen; `None` also if it is invalid, which is recorded.
    pub fn price(&mut self, price_fen: Option<i64>) -> Option<i64> {
        let price_fen = price_fen?;
        if (0..=PRICE_MAX_FEN).contains(&price_fen) {
            return Some(price_fen);
        }
        self.wrong("price_fen", format!("must be 0-{PRICE_MAX_FEN}, not {price_fen}"));
        None
    }

    /// Parses a page token: the number after which the page begins, up to `last`, the last number
    /// that a response can have named; 0 without a token.
    pub fn page_token(&mut self, token: &str, last: u64) -> Option<u64> {
        if token.is_empty() {
            return Some(0);
        }
        let number = number(token).filter(|number| *number <= last);
        self.check("page_token", number.ok_or("must be the next_page_token of a response"))
    }

    /// Returns the value, unless there are violations.
    pub fn finish<T>(mut self, value: Option<T>) -> Result<T, Invalid> {
        match value {
            Some(value) if self.violations.is_empty() => Ok(value),
            _ => {
                if self.unlisted > 0 {
                    let description = format!("and {} more violations", self.unlisted);
                    self.violations.push(Violation { field: "...".to_owned(), description });
                }
                Err(Invalid { violations: self.violations, im_code: self.im_code })
            }
        }
    }
}

/// Parses a number in the form of tokens: digits only, without leading zeros.
pub fn number(token: &str) -> Option<u64> {
    token.parse().ok().filter(|number: &u64| number.to_string() == token)
}

/// Checks an instant that may be absent; `None` also if it is invalid, which is recorded.
pub fn instant(
    fields: &mut Fields,
    field: &str,
    at: Option<prost_types::Timestamp>,
) -> Option<Timestamp> {
    let at = at?;
    let millis = at.seconds.checked_mul(1000).filter(|_| (0..1_000_000_000).contains(&at.nanos));
    let millis = millis.and_then(|millis| millis.checked_add(i64::from(at.nanos) / 1_000_000));
    let millis = millis.filter(|millis| (0..=LATEST_MILLIS).contains(millis));
    if millis.is_none() {
        fields.wrong(field, "must be an instant from 1970 to 9999");
    }
    millis.map(Timestamp::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violations_fit_into_a_header() {
        for (length, expected) in [(10, 20), (200, 20), (300, 13), (5000, 1)] {
            let mut fields = Fields::default();
            for _ in 0..30 {
                fields.wrong("x".repeat(4), "y".repeat(length));
            }
            let violations = fields.finish(None::<()>).expect_err("wrong").violations;
            let (last, listed) = violations.split_last().expect("some");
            assert_eq!(listed.len(), expected, "{length}");
            let more = format!("and {} more violations", 30 - expected);
            assert_eq!((last.field.as_str(), &last.description), ("...", &more));
        }
    }
}
