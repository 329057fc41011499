//! A statement as a self-contained page: no script, no font and no image from elsewhere.

use std::fmt::Write as _;

use super::chart::Chart;
use super::{grouped, money};
use crate::directory::statement::HashedStatement;
use crate::domain::billing::{Item, Line, Statement, StatementDay};
use crate::domain::currency::Currency;
use crate::domain::id::Name;
use crate::domain::metering::{sample_names, sample_of};
use crate::domain::postpaid::whole_mbps;

/// Style for both screen and paper.
const STYLE: &str = include_str!("page.css");
/// Colours of the charts; those of regions repeat after the last.
const DAU_COLOUR: &str = "#2f6fb3";
const GROUPS_COLOUR: &str = "#3a8f5c";
const REGION_COLOURS: [&str; 3] = ["#b3622f", "#7a4fa3", "#8a8a2a"];

/// Returns the page.
pub fn page(sealed: &HashedStatement) -> String {
    let statement = &sealed.statement;
    let (app, month) = (escaped(statement.app.as_str()), statement.month);
    let state = if statement.is_final { "final" } else { "running" };
    let zone = statement.zone;
    let summary = if statement.is_final {
        format!("Final since {}; it does not change any more.", zone.show(statement.final_at))
    } else {
        format!(
            "The figures so far, as of {}; final on {}.",
            zone.show(statement.computed_at),
            zone.show(statement.final_at)
        )
    };
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>Statement {app} {month}</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body class=\"{state}\">\n<header><h1>Statement {month}</h1>\
         <p class=\"app\">{app} <span class=\"state\">{state}</span></p>\
         <p class=\"summary\">{summary}</p></header>\n"
    );
    page.push_str(&lines(statement));
    page.push_str(&charts(statement));
    // Writing to a string cannot fail.
    let _ = write!(
        page,
        "<footer><p>Days and months in {}. Prices of catalog {}. Light bars: days that are not \
         charged.</p><p>SHA-256 of the JSON export: <code>{}</code></p></footer>\n</body>\n\
         </html>\n",
        escaped(zone.name()),
        escaped(&statement.catalog_version),
        escaped(&sealed.hash),
    );
    page
}

fn lines(statement: &Statement) -> String {
    let currency = statement.currency;
    let mut table = format!(
        "<table>\n<thead><tr><th>What</th><th class=\"n\">Quantity</th>\
                     <th class=\"n\">Unit price</th><th class=\"n\">Amount, {}</th></tr></thead>\n\
                     <tbody>\n",
        currency.code()
    );
    for line in &statement.lines {
        table.push_str(&row(line, currency));
    }
    let _ = write!(
        table,
        "</tbody>\n<tfoot><tr><th>Total</th><td></td><td></td>\
         <td class=\"n\">{}</td></tr></tfoot>\n\
         </table>\n",
        money(currency, statement.total_fen)
    );
    table
}

fn row(line: &Line, currency: Currency) -> String {
    let inputs: Vec<_> = line
        .inputs
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{} {}", escaped(&name.replace('_', " ")), escaped(value)))
        .collect();
    let price = match (line.unit_price_fen, line.unit_price) {
        (Some(fen), _) => money(currency, fen),
        (None, Some(price)) => price.to_string(),
        (None, None) if line.amount_fen == 0 => "not charged".to_owned(),
        (None, None) => "by band".to_owned(),
    };
    let quantity = u64::try_from(line.quantity).map_or_else(|_| line.quantity.to_string(), grouped);
    format!(
        "<tr><td>{}<div class=\"how\">{}<br>{}</div></td><td class=\"n\">{quantity}</td>\
         <td class=\"n\">{price}</td><td class=\"n\">{}</td></tr>\n",
        escaped(&line.description),
        escaped(&line.formula),
        inputs.join(" · "),
        money(currency, line.amount_fen),
    )
}

fn charts(statement: &Statement) -> String {
    let chart = |title: &str, unit, colour, figure: &dyn Fn(&StatementDay) -> u64| {
        let day = |day: &StatementDay| (day.figures.day.to_string(), figure(day), day.charged);
        let chart = Chart {
            title,
            unit,
            colour,
            days: statement.days.iter().map(day).collect(),
            days_of_month: statement.month.days().count(),
        };
        chart.svg()
    };
    let mut all = "<section>\n".to_owned();
    let dau = chart("Daily active users", "users", DAU_COLOUR, &|day| day.figures.dau);
    all.push_str(&dau);
    let groups = chart("Groups, highest of the day", "groups", GROUPS_COLOUR, &|day| {
        day.figures.groups_peak
    });
    all.push_str(&groups);
    for (index, region) in regions(statement).into_iter().enumerate() {
        let title = format!("Audio-video bandwidth, peak of the day, {}", escaped(region.as_str()));
        let colour = REGION_COLOURS[index % REGION_COLOURS.len()];
        let of_day = |day: &StatementDay| whole_mbps(sample_of(&day.figures.bandwidth, &region));
        all.push_str(&chart(&title, "Mbps", colour, &of_day));
    }
    all + "</section>\n"
}

/// Returns regions with any bandwidth; if there are none, the first one that is billed.
fn regions(statement: &Statement) -> Vec<Name> {
    let mut regions = sample_names(statement.days.iter().map(|day| &day.figures.bandwidth));
    if regions.is_empty() {
        let mut billed = statement.lines.iter().filter(|line| line.item == Item::Bandwidth);
        regions.extend(billed.next().map(|line| Name::from(line.item_id.as_str())));
    }
    regions
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn external_text_is_escaped() {
        assert_eq!(
            escaped("<a href='x'>\"&\"</a>"),
            "&lt;a href=&#39;x&#39;&gt;&quot;&amp;&quot;&lt;/a&gt;"
        );
    }

    #[test]
    fn a_price_below_a_minor_unit_is_shown_and_prices_by_band_are_not_free() {
        let line = |unit_price: Option<&str>, unit_price_fen, amount_fen| Line {
            item: Item::Meter,
            item_id: "mau".to_owned(),
            description: "Users".to_owned(),
            inputs: Vec::new(),
            formula: String::new(),
            quantity: 3,
            unit_price: unit_price.map(|text| text.parse().expect("a price")),
            unit_price_fen,
            amount_fen,
        };
        for (line, shown) in [
            (line(Some("0.015"), None, 5), "<td class=\"n\">0.015</td>"),
            (line(Some("2"), Some(200), 600), "<td class=\"n\">2.00</td>"),
            (line(None, None, 600), "<td class=\"n\">by band</td>"),
            (line(None, None, 0), "<td class=\"n\">not charged</td>"),
        ] {
            let row = row(&line, Currency::default());
            assert!(row.contains(shown), "{shown} in {row}");
        }
    }
}
