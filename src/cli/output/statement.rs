//! A statement as a table: a row for each line, and the total.

use super::Report;
use super::table::{Cell, Colour, Style, Table, paint};
use super::value;
use crate::grpc::pb::{Currency, GetStatementResponse, SetMessageRetentionResponse, StatementLine};

impl Report for GetStatementResponse {
    const NAME: &'static str = "GetStatementResponse";

    fn text(&self, style: Style) -> String {
        let Some(statement) = &self.statement else { return String::new() };
        let money = |minor| value::money(minor, statement.currency.as_ref());
        let mut table = Table::new(["WHAT", "QUANTITY", "UNIT PRICE", "AMOUNT", "PEAK"]);
        for line in &statement.lines {
            table.row([
                Cell::new(&line.description),
                Cell::number(line.quantity.to_string()),
                Cell::number(unit_price(line, statement.currency.as_ref())),
                Cell::number(money(line.amount_fen)),
                Cell::new(peak(line)),
            ]);
        }
        table.row([
            Cell::new("Total"),
            Cell::default(),
            Cell::default(),
            Cell::number(money(statement.total_fen)),
            Cell::default(),
        ]);
        let (state, colour) = if statement.r#final {
            ("final since", Colour::Green)
        } else {
            ("not final; final on", Colour::Yellow)
        };
        let until = style.instant(statement.final_at.as_ref());
        let head = format!("{} {}: {state} {until}", statement.app_id, statement.month);
        let hash = format!("sha256 {}", statement.hash);
        let head = paint(style, Some(colour), Cell::new(head).text());
        let hash = paint(style, Some(Colour::Dim), Cell::new(hash).text());
        format!("{head}\n\n{}\n{hash}\n", table.render(style))
    }
}

/// Formats the price of a unit; `-` if it has none, or one for each band.
fn unit_price(line: &StatementLine, of: Option<&Currency>) -> String {
    let decimal = || line.unit_price.clone().unwrap_or_else(|| "-".to_owned());
    line.unit_price_fen.map_or_else(decimal, |fen| value::money(fen, of))
}

/// Formats the peak, or the figure, of a metered line, such as `150000 on 2019-08-14`; empty for a
/// purchase.
fn peak(line: &StatementLine) -> String {
    let input = |name: &str| {
        let found = line.inputs.iter().find(|input| input.name == name);
        found.map(|input| input.value.as_str()).filter(|value| !value.is_empty())
    };
    match (input("peak"), input("peak_day"), input("figure"), input("day")) {
        (Some(peak), Some(day), ..) | (_, _, Some(peak), Some(day)) => format!("{peak} on {day}"),
        (_, _, Some(figure), None) => figure.to_owned(),
        _ => String::new(),
    }
}

impl Report for SetMessageRetentionResponse {
    const NAME: &'static str = "SetMessageRetentionResponse";

    fn text(&self, style: Style) -> String {
        let since = style.instant(self.since.as_ref());
        format!("messages are kept for {} since {since}\n", value::count(self.days, "day"))
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::super::table::PLAIN;
    use super::*;
    use crate::grpc::pb::{Statement, StatementInput};

    #[test]
    fn every_line_has_a_row_and_the_total_comes_last() {
        let input =
            |name: &str, value: &str| StatementInput { name: name.into(), value: value.into() };
        let line = |description: &str, quantity, unit_price_fen, amount_fen| StatementLine {
            description: description.into(),
            quantity,
            unit_price_fen,
            amount_fen,
            ..StatementLine::default()
        };
        let dau = StatementLine {
            inputs: vec![input("peak", "150000"), input("peak_day", "2019-08-14")],
            ..line("Daily active users", 1, Some(1_000_000), 1_000_000)
        };
        let statement = Statement {
            app_id: "demo".into(),
            month: "2019-08".into(),
            r#final: true,
            final_at: Some(Timestamp { seconds: 1_567_440_000, nanos: 0 }),
            lines: vec![
                dau,
                line("Refund", 1, Some(-500), -500),
                line("Overseas", 7, None, 0),
                StatementLine {
                    unit_price: Some("0.015".into()),
                    inputs: vec![input("figure", "10001"), input("day", "")],
                    ..line("Monthly active users", 1, None, 2)
                },
            ],
            total_fen: 999_502,
            hash: "ab12".into(),
            ..Statement::default()
        };
        assert_eq!(
            GetStatementResponse { statement: Some(statement) }.text(PLAIN),
            "\
demo 2019-08: final since 2019-09-03T00:00:00+08:00

WHAT                  QUANTITY    UNIT PRICE        AMOUNT  PEAK
Daily active users           1  10000.00 CNY  10000.00 CNY  150000 on 2019-08-14
Refund                       1     -5.00 CNY     -5.00 CNY
Overseas                     7             -      0.00 CNY
Monthly active users         1         0.015      0.02 CNY  10001
Total                                          9995.02 CNY

sha256 ab12
"
        );
    }
}
