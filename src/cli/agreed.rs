//! Flags of agreed limits: value and time.

use clap::Args;

use crate::domain::limit::Limit;
use crate::grpc::pb::{grant_limit_request as granted, previewed_limit as previewed};

/// The time for which a limit is agreed.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct AgreedTerm {
    /// Duration in whole months, 1-24
    #[arg(long, value_name = "N")]
    months: Option<u32>,
    /// The last valid day, such as 2026-12-31, in the catalog's time zone
    #[arg(long = "until", value_name = "DATE")]
    until_date: Option<String>,
}

impl AgreedTerm {
    /// Returns the time for a request.
    pub fn granted(self) -> Option<granted::Term> {
        let until = self.until_date.map(granted::Term::UntilDate);
        self.months.map(granted::Term::Months).or(until)
    }
}

/// Parses a number or `unlimited`.
pub fn value(text: &str) -> Result<Limit, String> {
    match text {
        "unlimited" => Ok(Limit::Unlimited),
        number => number
            .parse()
            .map(Limit::Finite)
            .map_err(|_| "must be a whole number, or unlimited".to_owned()),
    }
}

/// Parses `LIMIT=VALUE`, such as `groups_per_user=2500`.
pub fn limit_and_value(text: &str) -> Result<(String, Limit), String> {
    let (limit_id, text) = text.split_once('=').ok_or("must be LIMIT=VALUE")?;
    Ok((limit_id.to_owned(), value(text)?))
}

/// Returns the value for a request.
pub fn granted(limit: Limit) -> granted::Value {
    match limit {
        Limit::Finite(number) => granted::Value::Limit(number),
        Limit::Unlimited => granted::Value::Unlimited(true),
    }
}

/// Returns the value for a preview.
pub fn previewed(limit: Limit) -> previewed::Value {
    match limit {
        Limit::Finite(number) => previewed::Value::Limit(number),
        Limit::Unlimited => previewed::Value::Unlimited(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_numbers_or_unlimited() {
        assert_eq!(value("0"), Ok(Limit::Finite(0)));
        assert_eq!(limit_and_value("a/b=unlimited"), Ok(("a/b".to_owned(), Limit::Unlimited)));
        for wrong in ["", "-1", "Unlimited", "1.5", "99999999999999999999"] {
            assert!(value(wrong).is_err(), "{wrong}");
        }
        assert!(limit_and_value("groups_per_user").is_err());
    }
}
