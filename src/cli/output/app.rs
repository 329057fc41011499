//! An app: its state, its purchases and its entitlement.

use std::fmt::Write as _;

use super::Report;
use super::table::{Cell, Colour, Style, Table, paint};
use super::value;
use crate::grpc::pb::{self, App, Entitlement, Purchase, ServiceState};

/// Note on an app whose latest change is not published to every part of the store yet.
const PENDING: &str = "the latest change is recorded, but not in force for every limit yet: \
    it is completed in the background";

/// Prints the app, after the receipt of a purchase, if any.
macro_rules! reports {
    ($($answer:ident $(with $purchase:ident)?;)*) => {$(
        impl Report for pb::$answer {
            const NAME: &'static str = stringify!($answer);

            fn text(&self, style: Style) -> String {
                let purchase: Option<&Purchase> = None$(.or(self.$purchase.as_ref()))?;
                let receipt = purchase.map(|it| receipt(it, style)).unwrap_or_default();
                receipt + &self.app.as_ref().map(|app| app_text(app, style)).unwrap_or_default()
            }
        }
    )*};
}

reports! {
    CreateAppResponse;
    GetAppResponse;
    UpdateAppResponse;
    PurchaseEditionResponse with purchase;
    RenewEditionResponse with purchase;
    GrantAddOnResponse with purchase;
    GrantLimitResponse with purchase;
}

impl Report for pb::RefundPurchaseResponse {
    const NAME: &'static str = "RefundPurchaseResponse";

    fn text(&self, style: Style) -> String {
        let refund = self.value.as_ref().map(refunded).unwrap_or_default();
        refund + &self.app.as_ref().map(|app| app_text(app, style)).unwrap_or_default()
    }
}

/// Prints the refunds and the purchase of an exchange, its sum, and the app.
macro_rules! exchanges {
    ($($answer:ident)*) => {$(
        impl Report for pb::$answer {
            const NAME: &'static str = stringify!($answer);

            fn text(&self, style: Style) -> String {
                let receipt = self.purchase.as_ref().map(|it| receipt(it, style));
                let currency = self.purchase.as_ref().and_then(|it| it.currency.as_ref());
                let app = self.app.as_ref().map(|app| app_text(app, style));
                exchanged(&self.refunds)
                    + &receipt.unwrap_or_default()
                    + &format!("{}\n\n", value::sum(self.sum_fen, currency))
                    + &app.unwrap_or_default()
            }
        }
    )*};
}

exchanges! { ChangeEditionResponse ExchangeAddOnResponse }

/// Formats each refund of an exchange with its item, such as `edition professional: refunded ...`.
fn exchanged(refunds: &[pb::RefundedPurchase]) -> String {
    let line = |refund: &pb::RefundedPurchase| {
        let item = refund.purchase.as_ref().map(|it| value::bought(it.item.as_ref()));
        let item = Cell::new(item.unwrap_or_default());
        format!("{}: {}", item.text(), refund.value.as_ref().map(refunded).unwrap_or_default())
    };
    refunds.iter().map(line).collect()
}

/// Formats a refund, such as `refunded 963.32 CNY of 999.00 CNY: 1 of 28 days used`.
pub(super) fn refunded(value: &pb::RemainingValue) -> String {
    let why = if value.in_full {
        "in full, since the purchase is recent".to_owned()
    } else {
        format!("{} of {} used", value.days_used, value::count(value.days, "day"))
    };
    let [refund, price] =
        [value.refund_fen, value.price_fen].map(|fen| value::money(fen, value.currency.as_ref()));
    format!("refunded {refund} of {price}: {why}\n\n")
}

impl Report for pb::ListAppsResponse {
    const NAME: &'static str = "ListAppsResponse";

    fn text(&self, style: Style) -> String {
        let mut table = Table::new([
            "APP",
            "EDITION",
            "SERVICE",
            "VALID UNTIL",
            "STOPS AT",
            "ADD-ONS",
            "PENDING",
        ]);
        for app in &self.apps {
            let entitlement = app.entitlement.clone().unwrap_or_default();
            let (state, colour) = state(&entitlement);
            table.row([
                Cell::new(&app.app_id),
                Cell::new(&entitlement.edition_id),
                Cell::new(state).coloured(colour),
                Cell::new(style.instant(entitlement.valid_until.as_ref())),
                Cell::new(style.instant(entitlement.stops_at.as_ref())),
                Cell::new(entitlement.add_on_ids.join(", ")),
                Cell::new(if app.pending { "latest change" } else { "" }).coloured(Colour::Yellow),
            ]);
        }
        let next = Cell::new(&self.next_page_token);
        let more = match next.text() {
            "" => String::new(),
            next => format!("more: --after {next}\n"),
        };
        let mut unreadable = String::new();
        for app in &self.unreadable {
            let (app, why) = (Cell::new(&app.app_id), Cell::new(&app.reason));
            // Writing to a string cannot fail.
            let _ = writeln!(unreadable, "unreadable: app {}: {}", app.text(), why.text());
        }
        table.render(style) + &unreadable + &more
    }
}

/// Returns the state of the service in a word, the same in every command; a state that needs
/// attention is in capitals.
pub(super) fn state(entitlement: &Entitlement) -> (&'static str, Colour) {
    match entitlement.state() {
        ServiceState::Unspecified => ("unknown", Colour::Red),
        ServiceState::Active => ("active", Colour::Green),
        ServiceState::Grace => ("GRACE", Colour::Yellow),
        ServiceState::Stopped => ("STOPPED", Colour::Red),
    }
}

/// Formats a purchase, such as `bought edition professional for 1 month, 999.00 CNY: valid from
/// FROM until UNTIL`.
fn receipt(purchase: &Purchase, style: Style) -> String {
    let item = Cell::new(value::bought(purchase.item.as_ref()));
    let term = match purchase.months {
        0 => String::new(),
        months => format!(" for {}", value::count(months, "month")),
    };
    format!(
        "{} {}{term}, {}: valid from {} until {}\n\n",
        if purchase.renewal { "renewed" } else { "bought" },
        item.text(),
        value::money(purchase.price_fen, purchase.currency.as_ref()),
        style.instant(purchase.valid_from.as_ref()),
        style.instant(purchase.valid_until.as_ref()),
    )
}

fn app_text(app: &App, style: Style) -> String {
    let mut parts = vec![head(app, style).render(style)];
    if !app.purchases.is_empty() {
        parts.push(purchases(&app.purchases, style).render(style));
    }
    if app.timeline.len() > 1 {
        parts.push(timeline(&app.timeline, style).render(style));
    }
    if let Some(entitlement) = app.entitlement.as_ref().filter(|it| !it.limits.is_empty()) {
        parts.push(limits(entitlement).render(style));
    }
    if app.pending {
        parts.push(paint(style, Some(Colour::Yellow), PENDING) + "\n");
    }
    parts.join("\n")
}

fn head(app: &App, style: Style) -> Table {
    let mut table = Table::new(["APP", &app.app_id]);
    let mut line =
        |name: &str, cell: Cell| table.row([Cell::new(name).coloured(Colour::Dim), cell]);
    for (name, text) in
        [("name", &app.display_name), ("note", &app.note), ("IM codes", &app.im_code_set)]
    {
        if !text.is_empty() {
            line(name, Cell::new(text));
        }
    }
    line("created", Cell::new(style.instant(app.created_at.as_ref())));
    if let Some(entitlement) = &app.entitlement {
        let (state, colour) = state(entitlement);
        line("edition", Cell::new(&entitlement.edition_id));
        line("service", Cell::new(state).coloured(colour));
        if !entitlement.add_on_ids.is_empty() {
            line("add-ons", Cell::new(entitlement.add_on_ids.join(", ")));
        }
        if !entitlement.agreed_limit_ids.is_empty() {
            line("agreed", Cell::new(entitlement.agreed_limit_ids.join(", ")));
        }
        line("valid until", Cell::new(style.instant(entitlement.valid_until.as_ref())));
        line("stops at", Cell::new(style.instant(entitlement.stops_at.as_ref())));
        line("next change", Cell::new(style.instant(entitlement.changes_at.as_ref())));
    }
    table
}

fn purchases(purchases: &[Purchase], style: Style) -> Table {
    let mut table =
        Table::new(["BOUGHT", "AT", "MONTHS", "PRICE", "VALID FROM", "VALID UNTIL", "REQUEST"]);
    for purchase in purchases {
        let renewal = if purchase.renewal { " (renewal)" } else { "" };
        let money = |minor| value::money(minor, purchase.currency.as_ref());
        let refund = purchase.refund.as_ref();
        let refund = refund.map(|it| format!(" (refunded {})", money(it.refund_fen)));
        table.row([
            Cell::new(
                value::bought(purchase.item.as_ref()) + renewal + &refund.unwrap_or_default(),
            ),
            Cell::new(style.instant(purchase.purchased_at.as_ref())),
            Cell::number(match purchase.months {
                0 => "-".to_owned(),
                months => months.to_string(),
            }),
            Cell::number(money(purchase.price_fen)),
            Cell::new(style.instant(purchase.valid_from.as_ref())),
            Cell::new(style.instant(purchase.valid_until.as_ref())),
            Cell::new(&purchase.request_id),
        ]);
    }
    table
}

fn timeline(periods: &[pb::Period], style: Style) -> Table {
    let mut table = Table::new(["FROM", "UNTIL", "EDITION", "SERVICE", "ADD-ONS, AGREED LIMITS"]);
    for period in periods {
        let entitled = Entitlement { state: period.state, ..Entitlement::default() };
        let (state, colour) = state(&entitled);
        table.row([
            Cell::new(style.instant(period.from.as_ref())),
            Cell::new(style.instant(period.until.as_ref())),
            Cell::new(&period.edition_id),
            Cell::new(state).coloured(colour),
            Cell::new([&period.add_on_ids[..], &period.agreed_limit_ids[..]].concat().join(", ")),
        ]);
    }
    table
}

fn limits(entitlement: &Entitlement) -> Table {
    let mut table = Table::new(["WHAT", "LIMIT", "SOURCE"]);
    for limit in &entitlement.limits {
        table.row([
            Cell::new(&limit.limit_id),
            Cell::number(value::limit(limit.limit)),
            Cell::new(value::source(limit.source(), &limit.source_id)),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::super::table::PLAIN;
    use super::*;
    use crate::grpc::pb::{EntitledLimit, LimitSource, purchase::Item};

    fn at(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanos: 0 }
    }

    fn bought() -> Purchase {
        Purchase {
            request_id: "r1".into(),
            item: Some(Item::EditionId("professional".into())),
            renewal: false,
            months: 1,
            currency: None,
            price_fen: 99_900,
            purchased_at: Some(at(1_549_936_800)),
            valid_from: Some(at(1_549_936_800)),
            valid_until: Some(at(1_552_320_000)),
            refund: None,
            price_agreed: false,
        }
    }

    fn app() -> App {
        let limit = |limit_id: &str, limit| EntitledLimit {
            limit_id: limit_id.into(),
            limit,
            source: LimitSource::Edition.into(),
            source_id: "professional".into(),
        };
        let limits = vec![limit("accounts_per_app", None), limit("groups_per_user", Some(200))];
        let entitlement = Entitlement {
            edition_id: "professional".into(),
            state: ServiceState::Active.into(),
            add_on_ids: vec![],
            agreed_limit_ids: vec![],
            limits,
            changes_at: Some(at(1_552_320_000)),
            valid_until: Some(at(1_552_320_000)),
            stops_at: Some(at(1_552_924_800)),
        };
        App {
            app_id: "demo".into(),
            created_at: Some(at(1_549_936_799)),
            purchases: vec![bought()],
            entitlement: Some(entitlement),
            timeline: Vec::new(),
            pending: false,
            ..App::default()
        }
    }

    #[test]
    fn an_exchange_is_shown_with_each_refund_and_its_sum() {
        let item = Some(Item::AddOnId("groups-per-user-400".into()));
        let value = pb::RemainingValue {
            currency: None,
            price_fen: 50_000,
            days: 28,
            days_used: 9,
            in_full: false,
            refund_fen: 33_929,
        };
        let purchase = Some(Purchase { item, ..bought() });
        let answer = pb::ChangeEditionResponse {
            purchase: Some(bought()),
            refunds: vec![pb::RefundedPurchase { purchase, value: Some(value) }],
            sum_fen: 65_971,
            app: None,
        };
        assert_eq!(
            answer.text(PLAIN),
            "\
add-on groups-per-user-400: refunded 339.29 CNY of 500.00 CNY: 9 of 28 days used

bought edition professional for 1 month, 999.00 CNY: valid from 2019-02-12T10:00:00+08:00 until \
2019-03-12T00:00:00+08:00

to pay: 659.71 CNY (sum_fen 65971)

"
        );
    }

    #[test]
    fn a_purchase_is_shown_with_the_app_after_it() {
        let answer = pb::PurchaseEditionResponse { purchase: Some(bought()), app: Some(app()) };
        assert_eq!(
            answer.text(PLAIN),
            "\
bought edition professional for 1 month, 999.00 CNY: valid from 2019-02-12T10:00:00+08:00 until \
2019-03-12T00:00:00+08:00

APP          demo
created      2019-02-12T09:59:59+08:00
edition      professional
service      active
valid until  2019-03-12T00:00:00+08:00
stops at     2019-03-19T00:00:00+08:00
next change  2019-03-12T00:00:00+08:00

BOUGHT                AT                         MONTHS       PRICE  VALID FROM                 \
VALID UNTIL                REQUEST
edition professional  2019-02-12T10:00:00+08:00       1  999.00 CNY  2019-02-12T10:00:00+08:00  \
2019-03-12T00:00:00+08:00  r1

WHAT                  LIMIT  SOURCE
accounts_per_app  unlimited  edition professional
groups_per_user         200  edition professional
"
        );
    }
}
