//! Flags of agreed limits: value and time.

use clap::Args;

use crate::domain::limit::Limit;
use crate::grpc::agreed::AgreedTerm;

/// The time for which a limit is agreed.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct TermArgs {
    /// Duration in whole months, 1-24
    #[arg(long, value_name = "N")]
    months: Option<u32>,
    /// The last valid day, such as 2026-12-31, in the catalog's time zone
    #[arg(long = "until", value_name = "DATE")]
    until_date: Option<String>,
}

impl TermArgs {
    /// Returns the time for a request.
    pub fn term(self) -> Option<AgreedTerm> {
        term(self.months, self.until_date)
    }
}

/// Returns the time of months, or through a day.
pub fn term(months: Option<u32>, until_date: Option<String>) -> Option<AgreedTerm> {
    months.map(AgreedTerm::Months).or(until_date.map(AgreedTerm::Until))
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
