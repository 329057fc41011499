//! A statement as CSV (RFC 4180): a statement line a row, and a last row with the total.

use std::fmt::Write as _;

use crate::domain::billing::{Item, Line, Statement};
use crate::domain::currency::Currency;

const HEADER: &str = "app_id,month,final,item,item_id,description,inputs,formula,quantity,\
                      unit_price_fen,amount_fen,currency,minor_digits";

/// Returns the rows, each ending with CR and LF.
pub fn text(statement: &Statement) -> String {
    let mut text = format!("{HEADER}\r\n");
    for line in &statement.lines {
        row(&mut text, statement, line);
    }
    let (app, month) = (statement.app.as_str(), statement.month.to_string());
    let fields = [app, &month, flag(statement), "total", "", "Total", "", "", "", ""];
    push(&mut text, fields, statement.total_fen, statement.currency);
    text
}

fn row(text: &mut String, statement: &Statement, line: &Line) {
    let inputs: Vec<_> =
        line.inputs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let (month, quantity) = (statement.month.to_string(), line.quantity.to_string());
    let fields = [
        statement.app.as_str(),
        &month,
        flag(statement),
        name(line.item),
        &line.item_id,
        &line.description,
        &inputs.join("; "),
        &line.formula,
        &quantity,
        &line.unit_price_fen.map_or_else(String::new, |price| price.to_string()),
    ];
    push(text, fields, line.amount_fen, statement.currency);
}

fn push(text: &mut String, fields: [&str; 10], amount_fen: i64, currency: Currency) {
    for field in fields {
        text.push_str(&quoted(field));
        text.push(',');
    }
    // Writing to a string cannot fail.
    let (code, digits) = (currency.code(), currency.minor_digits());
    let _ = write!(text, "{amount_fen},{code},{digits}\r\n");
}

fn flag(statement: &Statement) -> &'static str {
    if statement.is_final { "true" } else { "false" }
}

fn name(item: Item) -> &'static str {
    match item {
        Item::Edition => "edition",
        Item::AddOn => "add_on",
        Item::AgreedLimit => "agreed_limit",
        Item::Refund => "refund",
        Item::Dau => "dau",
        Item::MessageHistory => "message_history",
        Item::Groups => "groups",
        Item::Bandwidth => "bandwidth",
        Item::Meter => "meter",
    }
}

/// Quotes a field if needed. A text that a spreadsheet would interpret as a formula gets a leading
/// apostrophe; a number does not.
fn quoted(field: &str) -> String {
    let is_formula = field.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let is_number = field.parse::<i64>().is_ok();
    let field = if is_formula && !is_number { format!("'{field}") } else { field.to_owned() };
    if field.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_and_are_no_formulas() {
        for (field, written) in [
            ("plain", "plain"),
            ("a, b", "\"a, b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("-99900", "-99900"),
            ("=1+1", "'=1+1"),
            ("-a", "'-a"),
            ("@x,y", "\"'@x,y\""),
            ("", ""),
        ] {
            assert_eq!(quoted(field), written, "{field:?}");
        }
    }
}
