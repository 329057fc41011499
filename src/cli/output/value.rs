//! Texts for money, times, limits and sources.

use prost_types::Timestamp;

use super::table::Style;
use crate::domain::currency::Currency;
use crate::domain::time::Timestamp as Instant;
use crate::grpc::pb::subject::Kind;
use crate::grpc::pb::{self, LimitSource, Subject, Upgrade, purchase, upgrade};

/// The last second that RFC 3339 can represent, at the end of the year 9999, in Unix time.
const LAST_SECOND: i64 = 253_402_300_799;

impl Style {
    /// Formats a time in RFC 3339 in the reader's zone, to the second; `-` if there is none.
    pub fn instant(self, at: Option<&Timestamp>) -> String {
        let is_real = |at: &&Timestamp| {
            (0..=LAST_SECOND).contains(&at.seconds) && (0..1_000_000_000).contains(&at.nanos)
        };
        let show = |at: &Timestamp| self.zone.show(Instant::from_millis(at.seconds * 1000));
        at.filter(is_real).map_or_else(|| "-".into(), show)
    }
}

/// Formats a subject, such as `user alice`.
pub fn subject(subject: Option<&Subject>) -> String {
    match subject.and_then(|subject| subject.kind.as_ref()) {
        Some(Kind::UserId(user)) => format!("user {user}"),
        Some(Kind::GroupId(group)) => format!("group {group}"),
        Some(Kind::App(_)) | None => "the app".to_owned(),
    }
}

/// Formats a limit; an absent one is unlimited.
pub fn limit(limit: Option<u64>) -> String {
    limit.map_or_else(|| "unlimited".into(), |limit| limit.to_string())
}

/// Formats a code for IM clients, such as ` (IM code 10037)`; empty if there is none.
pub fn im_code(number: Option<String>, name: Option<String>) -> String {
    let code: Vec<_> = number.into_iter().chain(name).collect();
    if code.is_empty() { String::new() } else { format!(" (IM code {})", code.join(" ")) }
}

/// Formats an amount, such as `500.00 CNY`. Without a currency, as in responses of versions before
/// 0.3, it is of the default one; one that this version cannot read is named beside minor units.
pub fn money(minor: i64, of: Option<&pb::Currency>) -> String {
    let Some(of) = of else { return Currency::default().money(minor) };
    match Currency::new(&of.code, of.minor_digits) {
        Some(currency) => currency.money(minor),
        None => format!("{minor} minor units of {:?}", of.code),
    }
}

/// Formats the source of a limit, such as `add-on groups-per-user-400`.
pub fn source(source: LimitSource, id: &str) -> String {
    let kind = match source {
        LimitSource::Unspecified => "?",
        LimitSource::Edition => "edition",
        LimitSource::AddOn => "add-on",
        LimitSource::GroupType => "group type",
        LimitSource::Group => "group",
        LimitSource::App => "app",
        LimitSource::Agreed => "agreed",
    };
    named(kind, id)
}

/// Formats a purchased item, such as `edition professional`.
pub fn bought(item: Option<&purchase::Item>) -> String {
    match item {
        Some(purchase::Item::EditionId(id)) => named("edition", id),
        Some(purchase::Item::AddOnId(id)) => named("add-on", id),
        Some(purchase::Item::AgreedLimit(agreed)) => {
            format!("limit {} {}", agreed.limit_id, limit(agreed.limit))
        }
        None => "?".into(),
    }
}

/// Formats an upgrade, such as `add-on groups-per-user-400: limit 400, 500.00 CNY a month`.
pub fn offer(upgrade: &Upgrade) -> String {
    let raised = limit(upgrade.new_limit);
    let price = money(upgrade.price_fen_per_month, upgrade.currency.as_ref());
    format!("{}: limit {raised}, {price} a month", offered(upgrade))
}

/// Formats the sum of an exchange, which is paid out if it is negative.
pub fn sum(fen: i64, of: Option<&pb::Currency>) -> String {
    if fen < 0 {
        format!("to be paid out: {} (sum_fen {fen})", money(fen.saturating_neg(), of))
    } else {
        format!("to pay: {} (sum_fen {fen})", money(fen, of))
    }
}

/// Formats the renewal of a stopped service, which raises no limit.
pub fn renewal(upgrade: &Upgrade) -> String {
    let price = money(upgrade.price_fen_per_month, upgrade.currency.as_ref());
    format!("{}, {price} a month", offered(upgrade))
}

/// Formats a number with its noun: `1 member`, `2 members`.
pub fn count(number: impl TryInto<u64>, what: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn offered(upgrade: &Upgrade) -> String {
    match &upgrade.item {
        Some(upgrade::Item::EditionId(id)) => named("edition", id),
        Some(upgrade::Item::AddOnId(id)) => named("add-on", id),
        None => "?".into(),
    }
}

fn named(kind: &str, id: &str) -> String {
    if id.is_empty() { kind.into() } else { format!("{kind} {id}") }
}

#[cfg(test)]
mod tests {
    use super::super::table::PLAIN;
    use super::*;
    use crate::domain::calendar::Zone;

    #[test]
    fn instants_are_shown_in_the_zone_to_the_second() {
        let at = |seconds, nanos| PLAIN.instant(Some(&Timestamp { seconds, nanos }));
        assert_eq!(at(1_552_320_000, 0), "2019-03-12T00:00:00+08:00");
        assert_eq!(at(0, 999_000_000), "1970-01-01T08:00:00+08:00");
        let utc = Style { zone: Zone::UTC, ..PLAIN };
        let text = utc.instant(Some(&Timestamp { seconds: 1_552_320_000, nanos: 0 }));
        assert_eq!(text, "2019-03-11T16:00:00+00:00");
        assert_eq!([at(i64::MAX, 0), at(0, -1), PLAIN.instant(None)], ["-", "-", "-"]);
    }

    #[test]
    fn sources_are_named() {
        assert_eq!(source(LimitSource::AddOn, "members-2000"), "add-on members-2000");
        assert_eq!(source(LimitSource::App, ""), "app");
        assert_eq!(source(LimitSource::Agreed, "order-7"), "agreed order-7");
    }

    #[test]
    fn a_negative_sum_is_paid_out() {
        assert_eq!(sum(-46_432, None), "to be paid out: 464.32 CNY (sum_fen -46432)");
        assert_eq!(sum(0, None), "to pay: 0.00 CNY (sum_fen 0)");
        let yen = pb::Currency { code: "JPY".to_owned(), minor_digits: 0 };
        assert_eq!(sum(1500, Some(&yen)), "to pay: 1500 JPY (sum_fen 1500)");
        let unreadable = pb::Currency { code: "¤".to_owned(), minor_digits: 9 };
        assert_eq!(money(-5, Some(&unreadable)), "-5 minor units of \"¤\"");
    }

    #[test]
    fn counts_have_a_plural() {
        assert_eq!(
            [count(0, "app"), count(1, "app"), count(2, "app")],
            ["0 apps", "1 app", "2 apps"]
        );
    }
}
