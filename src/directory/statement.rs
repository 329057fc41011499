//! The document of a statement: JSON with its hash, as it is stored and exported.
//!
//! The keys are sorted, there is no white space, and every number is an integer. So a recipient of
//! the document can compute the hash again: SHA-256 over the same JSON without the member `hash`,
//! which is the output of Python's `json.dumps(document, sort_keys=True, separators=(",", ":"),
//! ensure_ascii=False)`.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::DirectoryError;
use crate::domain::billing::{Item, Line, Statement, StatementDay};
use crate::domain::calendar::{Day, Zone};
use crate::domain::currency::Currency;
use crate::domain::id::{AppId, Name};
use crate::domain::metering::DayFigures;
use crate::domain::month::Month;
use crate::domain::text::hex;
use crate::domain::time::Timestamp;

const VERSION: u32 = 1;
/// The decimals of amounts where the document has none.
const MINOR_DIGITS: u32 = 2;

// The members are in the order of their names, which is the order of hashing.
#[derive(Serialize, Deserialize)]
struct Document {
    app_id: String,
    catalog_version: String,
    computed_at_ms: i64,
    currency: String,
    days: Vec<DocumentDay>,
    #[serde(rename = "final")]
    is_final: bool,
    final_at_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    lines: Vec<DocumentLine>,
    /// Absent for two decimals, as in documents of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    minor_digits: Option<u32>,
    month: String,
    time_zone: String,
    total_fen: i64,
    v: u32,
}

#[derive(Serialize, Deserialize)]
struct DocumentDay {
    bandwidth: Vec<DocumentPeak>,
    charged: bool,
    dau: u64,
    day: String,
    /// Absent without samples, as in documents of earlier versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gauges: Vec<DocumentGauge>,
    groups_net_new: i64,
    groups_peak: u64,
}

#[derive(Serialize, Deserialize)]
struct DocumentGauge {
    gauge: String,
    value: u64,
}

#[derive(Serialize, Deserialize)]
struct DocumentPeak {
    kbps: u64,
    region: String,
}

#[derive(Serialize, Deserialize)]
struct DocumentLine {
    amount_fen: i64,
    description: String,
    formula: String,
    inputs: Vec<DocumentInput>,
    item: DocumentItem,
    item_id: String,
    quantity: i64,
    /// Decimal text; absent but for rows of the catalog.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unit_price: Option<String>,
    unit_price_fen: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct DocumentInput {
    name: String,
    value: String,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum DocumentItem {
    Edition,
    AddOn,
    AgreedLimit,
    Refund,
    Dau,
    MessageHistory,
    Groups,
    Bandwidth,
    Meter,
}

/// The items and their names in documents.
const ITEMS: [(Item, DocumentItem); 9] = [
    (Item::Edition, DocumentItem::Edition),
    (Item::AddOn, DocumentItem::AddOn),
    (Item::AgreedLimit, DocumentItem::AgreedLimit),
    (Item::Refund, DocumentItem::Refund),
    (Item::Dau, DocumentItem::Dau),
    (Item::MessageHistory, DocumentItem::MessageHistory),
    (Item::Groups, DocumentItem::Groups),
    (Item::Bandwidth, DocumentItem::Bandwidth),
    (Item::Meter, DocumentItem::Meter),
];

/// A statement with its document and hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashedStatement {
    /// The statement.
    pub statement: Statement,
    /// SHA-256 of the document without its hash, in hexadecimal digits.
    pub hash: String,
    /// The document.
    pub json: Vec<u8>,
}

/// Writes the document of a statement.
#[must_use]
pub fn seal(statement: Statement) -> HashedStatement {
    let mut document = Document {
        app_id: statement.app.to_string(),
        catalog_version: statement.catalog_version.clone(),
        computed_at_ms: statement.computed_at.as_millis(),
        currency: statement.currency.code().to_owned(),
        days: statement.days.iter().map(store_day).collect(),
        is_final: statement.is_final,
        final_at_ms: statement.final_at.as_millis(),
        hash: None,
        lines: statement.lines.iter().map(store_line).collect(),
        minor_digits: Some(statement.currency.minor_digits()).filter(|it| *it != MINOR_DIGITS),
        month: statement.month.to_string(),
        time_zone: statement.zone.name().to_owned(),
        total_fen: statement.total_fen,
        v: VERSION,
    };
    let hash = hash(&write(&document));
    document.hash = Some(hash.clone());
    HashedStatement { statement, hash, json: write(&document) }
}

fn write(document: &Document) -> Vec<u8> {
    serde_json::to_vec(document).expect("structs of texts and numbers can always be written")
}

fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn store_day(day: &StatementDay) -> DocumentDay {
    let StatementDay { figures, charged } = day;
    let gauge =
        |(gauge, value): &(Name, u64)| DocumentGauge { gauge: gauge.to_string(), value: *value };
    let peak =
        |(region, kbps): &(Name, u64)| DocumentPeak { kbps: *kbps, region: region.to_string() };
    DocumentDay {
        bandwidth: figures.bandwidth.iter().map(peak).collect(),
        charged: *charged,
        dau: figures.dau,
        day: figures.day.to_string(),
        gauges: figures.gauges.iter().map(gauge).collect(),
        groups_net_new: figures.groups_net_new,
        groups_peak: figures.groups_peak,
    }
}

fn store_line(line: &Line) -> DocumentLine {
    let item = ITEMS.iter().find(|(item, _)| *item == line.item);
    let input = |(name, value): &(String, String)| DocumentInput {
        name: name.clone(),
        value: value.clone(),
    };
    DocumentLine {
        amount_fen: line.amount_fen,
        description: line.description.clone(),
        formula: line.formula.clone(),
        inputs: line.inputs.iter().map(input).collect(),
        item: item.map(|(_, stored)| *stored).expect("every item is in the table"),
        item_id: line.item_id.clone(),
        quantity: line.quantity,
        unit_price: line.unit_price.map(|price| price.to_string()),
        unit_price_fen: line.unit_price_fen,
    }
}

/// Reads the document that was stored for an app and month, and checks its hash.
pub fn open(app: &AppId, month: Month, json: Vec<u8>) -> Result<HashedStatement, DirectoryError> {
    let unreadable =
        |reason: String| DirectoryError::UnreadableStatement { app: app.clone(), month, reason };
    let mut document: Document =
        serde_json::from_slice(&json).map_err(|error| unreadable(error.to_string()))?;
    if document.v != VERSION {
        return Err(unreadable(format!("version {} is not {VERSION}", document.v)));
    }
    let stored = document.hash.take().unwrap_or_default();
    if hash(&write(&document)) != stored {
        return Err(unreadable("its hash does not match its content".to_owned()));
    }
    let statement = load(document).map_err(|reason| unreadable(reason.to_owned()))?;
    Ok(HashedStatement { statement, hash: stored, json })
}

fn load(document: Document) -> Result<Statement, &'static str> {
    let lines = document.lines.into_iter().map(load_line).collect::<Option<_>>();
    let days = document.days.into_iter().map(load_day).collect::<Option<_>>();
    let minor_digits = document.minor_digits.unwrap_or(MINOR_DIGITS);
    Ok(Statement {
        app: AppId::try_from(document.app_id).map_err(|_| "its app")?,
        month: document.month.parse().map_err(|_| "its month")?,
        zone: Zone::named(&document.time_zone).ok_or("its time zone")?,
        is_final: document.is_final,
        computed_at: Timestamp::from_millis(document.computed_at_ms),
        final_at: Timestamp::from_millis(document.final_at_ms),
        catalog_version: document.catalog_version,
        currency: Currency::new(&document.currency, minor_digits).ok_or("its currency")?,
        lines: lines.ok_or("the price of one of its lines")?,
        total_fen: document.total_fen,
        days: days.ok_or("one of its days")?,
    })
}

fn load_day(stored: DocumentDay) -> Option<StatementDay> {
    let gauge = |it: DocumentGauge| (it.gauge.as_str().into(), it.value);
    let peak = |peak: DocumentPeak| (peak.region.as_str().into(), peak.kbps);
    Some(StatementDay {
        figures: DayFigures {
            day: Day::parse(&stored.day)?,
            dau: stored.dau,
            groups_peak: stored.groups_peak,
            groups_net_new: stored.groups_net_new,
            bandwidth: stored.bandwidth.into_iter().map(peak).collect(),
            gauges: stored.gauges.into_iter().map(gauge).collect(),
        },
        charged: stored.charged,
    })
}

fn load_line(stored: DocumentLine) -> Option<Line> {
    let item = ITEMS.iter().find(|(_, name)| *name as u8 == stored.item as u8);
    let unit_price = match stored.unit_price {
        Some(text) => Some(text.parse().ok()?),
        None => None,
    };
    Some(Line {
        item: item.map(|(item, _)| *item).expect("every item is in the table"),
        item_id: stored.item_id,
        description: stored.description,
        inputs: stored.inputs.into_iter().map(|input| (input.name, input.value)).collect(),
        formula: stored.formula,
        quantity: stored.quantity,
        unit_price,
        unit_price_fen: stored.unit_price_fen,
        amount_fen: stored.amount_fen,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_below_the_minor_unit_is_stored_as_text_and_other_lines_have_none() {
        let line = |item, unit_price: Option<&str>| Line {
            item,
            item_id: String::new(),
            description: String::new(),
            inputs: Vec::new(),
            formula: String::new(),
            quantity: 3,
            unit_price: unit_price.map(|text| text.parse().expect("a price")),
            unit_price_fen: None,
            amount_fen: 5,
        };
        let app = AppId::try_from("demo").expect("valid");
        let month = "2019-08".parse().expect("a month");
        let at = Timestamp::from_millis(0);
        let statement = Statement {
            app: app.clone(),
            month,
            zone: Zone::named("UTC").expect("a zone"),
            is_final: true,
            computed_at: at,
            final_at: at,
            catalog_version: "v".to_owned(),
            currency: Currency::default(),
            lines: vec![line(Item::Meter, Some("0.015")), line(Item::Bandwidth, None)],
            total_fen: 10,
            days: Vec::new(),
        };
        let sealed = seal(statement);
        let json = String::from_utf8(sealed.json.clone()).expect("text");
        for part in [
            r#""item":"meter","item_id":"","quantity":3,"unit_price":"0.015","unit_price_fen":null"#,
            r#""item":"bandwidth","item_id":"","quantity":3,"unit_price_fen":null"#,
        ] {
            assert!(json.contains(part), "{part} in {json}");
        }
        assert_eq!(open(&app, month, sealed.json.clone()), Ok(sealed));
        let damaged = json.replace("0.015", "0.01x").into_bytes();
        assert!(open(&app, month, damaged).is_err());
    }
}
