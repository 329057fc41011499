//! Previews, the catalog and the audit log, as tables.

use super::Report;
use super::app::{refunded, state};
use super::table::{Cell, Colour, Style, Table, paint};
use super::value;
use crate::grpc::pb;

impl Report for pb::PreviewEntitlementResponse {
    const NAME: &'static str = "PreviewEntitlementResponse";

    fn text(&self, style: Style) -> String {
        let (now, then) = (self.now.clone().unwrap_or_default(), self.then.clone());
        let then = then.unwrap_or_default();
        let mut parts = vec![self.head(&now, &then, style).render(style)];
        // A refund alone is the price.
        if self.sale.is_some() && !self.refunds.is_empty() {
            let line = |it: &pb::PreviewedRefund| {
                let request = Cell::new(&it.purchase_request_id);
                let value = it.value.as_ref().map(refunded).unwrap_or_default();
                format!("purchase {} would be {}\n", request.text(), value.trim_end())
            };
            let refunds: String = self.refunds.iter().map(line).collect();
            parts.push(format!("{refunds}{}\n", value::sum(self.sum_fen, self.currency.as_ref())));
        }
        if let Some(sale) = &self.sale {
            let [from, until, stops_at] = [&sale.valid_from, &sale.valid_until, &sale.stops_at]
                .map(|at| style.instant(at.as_ref()));
            parts.push(format!(
                "the sale would be valid from {from} until {until}, and stop at {stops_at}\n"
            ));
        }
        if then.state() == pb::ServiceState::Stopped {
            let line = "STOPPED then: every operation that takes would be denied";
            parts.push(paint(style, Some(Colour::Red), line) + "\n");
        }
        parts.push(limits_beside(&now, &then).render(style));
        parts.push(subjects(&self.subjects).render(style));
        if self.everybody {
            parts.push(overruns(&self.overrun_counts, style));
        }
        parts.join("\n")
    }
}

impl pb::PreviewEntitlementResponse {
    fn head(&self, now: &pb::Entitlement, then: &pb::Entitlement, style: Style) -> Table {
        let mut head = Table::new(["", "NOW", "THEN"]);
        let mut line = |name: &str, now: Cell, then: Cell| {
            head.row([Cell::new(name).coloured(Colour::Dim), now, then]);
        };
        let instant = |at: Option<&prost_types::Timestamp>| Cell::new(style.instant(at));
        let service = |of: &pb::Entitlement| {
            let (state, colour) = state(of);
            Cell::new(state).coloured(colour)
        };
        line("at", Cell::new("now"), instant(self.at.as_ref()));
        line("edition", Cell::new(&now.edition_id), Cell::new(&then.edition_id));
        line("service", service(now), service(then));
        let (before, after) = (now.valid_until.as_ref(), then.valid_until.as_ref());
        line("valid until", instant(before), instant(after));
        let (before, after) = (now.stops_at.as_ref(), then.stops_at.as_ref());
        line("stops at", instant(before), instant(after));
        let add_ons = |of: &pb::Entitlement| Cell::new(of.add_on_ids.join(", "));
        line("add-ons", add_ons(now), add_ons(then));
        if self.price_fen != 0 {
            line(
                "price",
                Cell::default(),
                Cell::new(value::money(self.price_fen, self.currency.as_ref())),
            );
        }
        head
    }
}

/// Compares every current limit with that after the change; `-` if an edition lacks the limit.
fn limits_beside(now: &pb::Entitlement, then: &pb::Entitlement) -> Table {
    let mut table = Table::new(["WHAT", "NOW", "THEN", "SOURCE THEN"]);
    let of = |of: &pb::Entitlement, id: &str| {
        let limit = of.limits.iter().find(|limit| limit.limit_id == id);
        limit.map_or_else(|| "-".to_owned(), |limit| value::limit(limit.limit))
    };
    let is_then = |id: &str| then.limits.iter().any(|limit| limit.limit_id == id);
    let only_now = now.limits.iter().filter(|limit| !is_then(&limit.limit_id));
    for limit in then.limits.iter().chain(only_now) {
        let id = limit.limit_id.as_str();
        let source = if is_then(id) {
            value::source(limit.source(), &limit.source_id)
        } else {
            "-".to_owned()
        };
        let (before, after) = (of(now, id), of(then, id));
        let after = Cell::number(&after).coloured_if(before != after, Colour::Yellow);
        table.row([Cell::new(id), Cell::number(before), after, Cell::new(source)]);
    }
    table
}

/// Lists the counts of the app and of each requested user and group.
fn subjects(subjects: &[pb::PreviewedSubject]) -> Table {
    let mut table = Table::new(["WHO", "WHAT", "USED", "NOW", "THEN", ""]);
    for of in subjects {
        let who = || Cell::new(value::subject(of.subject.as_ref()));
        if of.not_found {
            let none = Cell::new("does not exist").coloured(Colour::Dim);
            let [used, now, then, over] = Default::default();
            table.row([who(), none, used, now, then, over]);
        }
        for count in &of.counts {
            let over = if count.over { "OVER" } else { "" };
            table.row([
                who(),
                Cell::new(&count.limit_id),
                Cell::number(count.used.to_string()),
                Cell::number(value::limit(count.limit_now)),
                Cell::number(value::limit(count.limit_then)),
                Cell::new(over).coloured(Colour::Red),
            ]);
        }
    }
    table
}

/// Lists the numbers of users and groups over a limit, from a full scan.
fn overruns(counts: &[pb::OverrunCount], style: Style) -> String {
    if counts.is_empty() {
        return paint(style, Some(Colour::Green), "no user or group is over a limit") + "\n";
    }
    let mut table = Table::new(["OVER", "WHAT", "GROUP TYPE", "HIGHEST", "LIMIT", "SOURCE"]);
    for count in counts {
        let what = if count.group_type.is_empty() { "user" } else { "group" };
        table.row([
            Cell::new(value::count(count.subjects, what)).coloured(Colour::Red),
            Cell::new(&count.limit_id),
            Cell::new(&count.group_type),
            Cell::number(count.highest_used.to_string()),
            Cell::number(count.limit.to_string()),
            Cell::new(value::source(count.source(), &count.source_id)),
        ]);
    }
    table.render(style)
}

impl Report for pb::GetCatalogResponse {
    const NAME: &'static str = "GetCatalogResponse";

    fn text(&self, style: Style) -> String {
        let money = |minor| value::money(minor, self.currency.as_ref());
        let mut sold = Table::new(["WHAT", "LABEL", "A MONTH", "LIMIT", "OF"]);
        let mut row = |what: String, label: &str, price: Option<i64>, of: &pb::CatalogLimit| {
            sold.row([
                Cell::new(what),
                Cell::new(label),
                Cell::number(price.map_or_else(|| "-".to_owned(), money)),
                Cell::number(value::limit(of.limit)),
                Cell::new(&of.limit_id),
            ]);
        };
        for edition in &self.editions {
            for limit in &edition.limits {
                let what = format!("edition {}", edition.edition_id);
                row(what, &edition.label, edition.price_fen_per_month, limit);
            }
        }
        for add_on in &self.add_ons {
            let raises = add_on.raises.clone().unwrap_or_default();
            let (what, price) =
                (format!("add-on {}", add_on.add_on_id), add_on.price_fen_per_month);
            row(what, &add_on.label, Some(price), &raises);
        }
        let mut types = Table::new(["GROUP TYPE", "LABEL", "MEMBERS", "PER APP", "PER DAY"]);
        for kind in &self.group_types {
            types.row([
                Cell::new(&kind.name),
                Cell::new(&kind.label),
                Cell::number(value::limit(kind.member_cap)),
                Cell::number(value::limit(kind.per_app)),
                Cell::number(value::limit(kind.per_day)),
            ]);
        }
        let (version, zone) = (Cell::new(&self.version), Cell::new(&self.time_zone));
        let head = format!("catalog {}, {}\n", version.text(), zone.text());
        let mut parts = vec![head, sold.render(style)];
        let conditions = conditions(self);
        if !conditions.is_empty() {
            parts.push(conditions);
        }
        parts.push(types.render(style));
        parts.extend(self.metering.as_ref().map(|metering| metered(self, metering).render(style)));
        parts.join("\n")
    }
}

/// Lists conditions of sale, and rules of periods and prices that are not the usual ones, one in a
/// line.
fn conditions(catalog: &pb::GetCatalogResponse) -> String {
    let mut lines = Vec::new();
    let editions = catalog.editions.iter().map(|it| ("edition", &it.edition_id, &it.selling));
    let add_ons = catalog.add_ons.iter().map(|it| ("add-on", &it.add_on_id, &it.selling));
    for (what, id, selling) in editions.chain(add_ons) {
        let Some(selling) = selling else { continue };
        let mut line =
            |text: &str| lines.push(format!("{what} {}: {text}\n", Cell::new(id).text()));
        if selling.not_for_sale {
            line("not for sale");
        }
        if let Some(most) = selling.months_max {
            line(&format!("at most {} at a time", value::count(u64::from(most), "month")));
        }
        if selling.once_per_app {
            line("sold once to an app");
        }
        for pb::CatalogPriceOfMonths { months, price_fen } in &selling.price_of_months {
            let months = value::count(u64::from(*months), "month");
            let price = value::money(*price_fen, catalog.currency.as_ref());
            line(&format!("{months} for {price}"));
        }
    }
    if catalog.last_day() == pb::LastDay::Same {
        lines.push("valid through the same day of the month\n".to_owned());
    }
    if catalog.refund_rule() == pb::RefundRule::None {
        lines.push("nothing is paid back of what has begun\n".to_owned());
    }
    if catalog.fee_rule() == pb::FeeRule::CalendarDays {
        lines.push("prices by days of the calendar month\n".to_owned());
    }
    lines.concat()
}

/// Lists the postpaid items.
fn metered(catalog: &pb::GetCatalogResponse, metering: &pb::CatalogMetering) -> Table {
    let money = |minor| value::money(minor, catalog.currency.as_ref());
    let mut table = Table::new(["METERED", "FREE", "UNIT", "A UNIT", "OF"]);
    let mut row = |what: &str, tier: Option<&pb::CatalogTier>, of: String| {
        let Some(tier) = tier else { return };
        table.row([
            Cell::new(what),
            Cell::number(tier.free.to_string()),
            Cell::number(tier.unit.to_string()),
            Cell::number(money(tier.price_fen_per_unit)),
            Cell::new(of),
        ]);
    };
    row("dau", metering.dau.as_ref(), "highest day of the month".to_owned());
    let from = format!("highest number from day {} on", metering.groups_first_day);
    row("groups", metering.groups.as_ref(), from);
    let (free, most) = (metering.history_free_days, metering.history_days_max);
    let own = metering.history_free_days_of.iter();
    let own: Vec<_> = own.map(|it| format!(", {}: {}", it.edition_id, it.days)).collect();
    let own = own.concat();
    let kept = format!("highest day of users, beyond {free} days of at most {most}{own}");
    row("message history", metering.history.as_ref(), kept);
    for region in &metering.regions {
        let price = region.price_fen_per_mbps_day;
        table.row([
            Cell::new(format!("bandwidth {}", region.region)),
            Cell::number("0"),
            Cell::number("1"),
            Cell::number(price.map_or_else(|| "not charged".to_owned(), money)),
            Cell::new("Mbps of the day's peak, each day"),
        ]);
    }
    for meter in &metering.meters {
        meter_rows(&mut table, meter);
    }
    table
}

/// Adds the rows of a meter: one, or one for each region or band.
fn meter_rows(table: &mut Table, meter: &pb::CatalogMeter) {
    let values = |values: &[pb::CatalogMeterValue]| {
        let each = values.iter().map(|it| match it.edition_id.as_str() {
            "" => it.value.clone(),
            edition => format!("{edition} {}", it.value),
        });
        each.collect::<Vec<_>>().join(", ")
    };
    let free = match meter.free_share_percent {
        0 => values(&meter.free),
        percent => format!("{percent} % of {}", meter.free_share_of),
    };
    let words = [&meter.of, &meter.name, &meter.aggregate];
    let words: Vec<_> = words.iter().filter(|it| !it.is_empty()).map(|it| it.as_str()).collect();
    let from = match meter.from_day {
        0 | 1 => String::new(),
        day => format!(" from day {day} on"),
    };
    let of = words.join(" ") + &from;
    let mut row = |what: &str, price: String| {
        let unit = format!("{} {}", meter.unit, meter.rounding);
        table.row([
            Cell::new(format!("{}{what}", meter.meter_id)),
            Cell::number(&free),
            Cell::number(if meter.unit == 1 { "1".to_owned() } else { unit }),
            Cell::number(price),
            Cell::new(&of),
        ]);
    };
    if let Some(price) = &meter.price {
        row("", price.clone());
    }
    for region in &meter.regions {
        let price = region.price.clone().unwrap_or_else(|| "not charged".to_owned());
        row(&format!("/{}", region.region), price);
    }
    for band in &meter.bands {
        let end = band.up_to.map_or_else(|| "beyond".to_owned(), |to| format!("up to {to}"));
        let fee = || format!("fee {}", values(&band.fees));
        row(&format!(" {end}"), band.price.clone().unwrap_or_else(fee));
    }
}

impl Report for pb::ListAuditEventsResponse {
    const NAME: &'static str = "ListAuditEventsResponse";

    fn text(&self, style: Style) -> String {
        let columns = ["NUMBER", "AT", "ACTOR", "FROM", "ACTION", "APP", "REQUEST", "AFTER"];
        let mut table = Table::new(columns);
        for event in &self.events {
            table.row([
                Cell::number(event.number.to_string()),
                Cell::new(style.instant(event.made_at.as_ref())),
                Cell::new(&event.actor),
                Cell::new(&event.from),
                Cell::new(format!("{} {}", event.action, event.request)),
                Cell::new(&event.app_id),
                Cell::new(&event.request_id),
                Cell::new(&event.after),
            ]);
        }
        let next = Cell::new(&self.next_page_token);
        let more = match next.text() {
            "" => String::new(),
            next => format!("more: --after {next}\n"),
        };
        table.render(style) + &more
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::PLAIN;
    use super::*;

    #[test]
    fn a_meter_has_a_row_for_each_region_or_band_and_absent_charges_have_none() {
        let text = |text: &str| Some(text.to_owned());
        let value = |edition: &str, value: &str| pb::CatalogMeterValue {
            edition_id: edition.into(),
            value: value.into(),
        };
        let meter = |id: &str, of: &str, aggregate: &str| pb::CatalogMeter {
            meter_id: id.into(),
            of: of.into(),
            aggregate: aggregate.into(),
            from_day: 1,
            unit: 1,
            rounding: "up".into(),
            free: vec![value("", "0")],
            ..pb::CatalogMeter::default()
        };
        let band = |up_to, fee: &str| pb::CatalogMeterBand {
            up_to,
            price: None,
            fees: vec![value("pro", fee), value("max", "9")],
        };
        let region = |region: &str, price| pb::CatalogMeterRegion { region: region.into(), price };
        let meters = vec![
            pb::CatalogMeter {
                free: vec![value("pro", "5000"), value("max", "10000")],
                price: text("0.015"),
                ..meter("mau", "logins", "month_distinct")
            },
            pb::CatalogMeter {
                name: "mau".into(),
                free: Vec::new(),
                bands: vec![band(Some(2000), "300"), band(None, "500.5")],
                ..meter("plan", "meter", "")
            },
            pb::CatalogMeter {
                name: "stars".into(),
                from_day: 4,
                unit: 10,
                rounding: "down".into(),
                free: Vec::new(),
                free_share_of: "mau".into(),
                free_share_percent: 5,
                bands: vec![pb::CatalogMeterBand { price: text("2"), ..Default::default() }],
                ..meter("stars", "gauge", "month_peak")
            },
            pb::CatalogMeter {
                unit: 1000,
                regions: vec![region("here", text("2")), region("there", None)],
                ..meter("net", "bandwidth", "daily_peak_sum")
            },
        ];
        let metering = pb::CatalogMetering { final_day: 3, meters, ..Default::default() };
        let catalog = pb::GetCatalogResponse::default();
        let shown = metered(&catalog, &metering).render(PLAIN);
        assert_eq!(
            shown,
            "\
METERED                         FREE     UNIT                A UNIT  OF
mau              pro 5000, max 10000        1                 0.015  logins month_distinct
plan up to 2000                             1    fee pro 300, max 9  meter mau
plan beyond                                 1  fee pro 500.5, max 9  meter mau
stars beyond              5 % of mau  10 down                     2  gauge stars month_peak from \
                                                                     day 4 on
net/here                           0  1000 up                     2  bandwidth daily_peak_sum
net/there                          0  1000 up           not charged  bandwidth daily_peak_sum
"
        );
    }
}
