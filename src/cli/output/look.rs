//! Previews and the audit log.

use super::Report;
use super::app::limits;
use super::table::{Cell, Colour, Style, Table, paint};
use super::value;
use crate::domain::text::money;
use crate::grpc::pb;

impl Report for pb::PreviewEntitlementResponse {
    const NAME: &'static str = "PreviewEntitlementResponse";

    fn text(&self, style: Style) -> String {
        let mut head = Table::new(["", "NOW", "THEN"]);
        let (now, then) = (self.now.clone().unwrap_or_default(), self.then.clone());
        let then = then.unwrap_or_default();
        let mut line = |name: &str, now: String, then: String| {
            head.row([Cell::new(name).coloured(Colour::Dim), Cell::new(now), Cell::new(then)]);
        };
        line("at", "now".to_owned(), value::instant(self.at.as_ref()));
        line("edition", now.edition_id.clone(), then.edition_id.clone());
        line("add-ons", now.add_on_ids.join(", "), then.add_on_ids.join(", "));
        if self.price_fen != 0 {
            line("price", String::new(), money(self.price_fen));
        }
        let mut parts = vec![head.render(style), limits(&then).render(style)];
        if !self.overruns.is_empty() {
            parts.push(overruns(&self.overruns).render(style));
        }
        if self.everybody {
            parts.push(counted(&self.overrun_counts, style));
        }
        parts.join("\n")
    }
}

fn overruns(overruns: &[pb::Overrun]) -> Table {
    let mut table = Table::new(["OVER", "WHAT", "USED", "LIMIT"]);
    for overrun in overruns {
        table.row([
            Cell::new(value::subject(overrun.subject.as_ref())).coloured(Colour::Red),
            Cell::new(&overrun.limit_id),
            Cell::number(overrun.used.to_string()),
            Cell::number(overrun.limit.to_string()),
        ]);
    }
    table
}

/// How many of all users and groups are over.
fn counted(counts: &[pb::OverrunCount], style: Style) -> String {
    if counts.is_empty() {
        return paint(style, Some(Colour::Green), "of all users and groups none is over") + "\n";
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
        let mut parts = vec![head, sold.render(style), types.render(style)];
        parts.extend(self.metering.as_ref().map(|metering| metered(metering).render(style)));
        parts.join("\n")
    }
}

/// What is paid for afterwards.
fn metered(metering: &pb::CatalogMetering) -> Table {
    let mut table = Table::new(["METERED", "FREE", "UNIT", "A UNIT", "OF"]);
    let mut row = |what: &str, tier: Option<&pb::CatalogTier>, of: String| {
        let tier = tier.copied().unwrap_or_default();
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
    let kept = format!("highest day of users, beyond {free} days of at most {most}");
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
    table
}

impl Report for pb::ListAuditEventsResponse {
    const NAME: &'static str = "ListAuditEventsResponse";

    fn text(&self, style: Style) -> String {
        let columns = ["NUMBER", "AT", "ACTOR", "FROM", "ACTION", "APP", "REQUEST", "AFTER"];
        let mut table = Table::new(columns);
        for event in &self.events {
            table.row([
                Cell::number(event.number.to_string()),
                Cell::new(value::instant(event.made_at.as_ref())),
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
