//! The monthly statement: the amount that an app has to pay for a month, and its derivation
//! (pricing rules, section 6).
//!
//! It lists the purchases and refunds of the month, and the usage metered in it. Only days on which
//! an edition with postpaid was in force are charged (ours); the others are listed. A day's charge
//! and allowance follow the catalog of that day, the prices of units that of the month's last
//! instant. [`statement`] computes a month from its figures; this module does not decide whether it
//! has been issued.

use super::calendar::{Day, Zone};
use super::catalog::Catalog;
use super::catalog_history::CatalogHistory;
use super::currency::Currency;
use super::id::AppId;
use super::metering::DayFigures;
use super::month::Month;
use super::price::Price;
use super::purchase::Sales;
use super::time::Timestamp;

mod metered;
mod meters;
pub mod retention;
mod sold;

pub use retention::RetentionChange;

/// Kind of a statement line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Item {
    /// An edition that was bought or renewed.
    Edition,
    /// An add-on that was bought.
    AddOn,
    /// An agreed limit that was bought.
    AgreedLimit,
    /// A purchase that was refunded.
    Refund,
    /// Users who logged in.
    Dau,
    /// Message history beyond the free days.
    MessageHistory,
    /// Groups.
    Groups,
    /// Bandwidth in one region.
    Bandwidth,
    /// Usage by a row of the catalog.
    Meter,
}

/// One line of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Kind of the line.
    pub item: Item,
    /// Id of the edition, add-on, limit, purchase, region or row; empty for other kinds. That of a
    /// row with a price by region is followed by `/` and the region.
    pub item_id: String,
    /// A sentence for people.
    pub description: String,
    /// Named figures that the amount was computed from.
    pub inputs: Vec<(String, String)>,
    /// Computation of the amount from them, in words.
    pub formula: String,
    /// Number of units charged.
    pub quantity: i64,
    /// Price of a unit, or the fee, by a row that has one; `None` for other kinds.
    pub unit_price: Option<Price>,
    /// Price of a unit, in fen; `None` if it is listed only, or by a row whose price is by bands or
    /// no whole number of fen.
    pub unit_price_fen: Option<i64>,
    /// Amount due, in fen; negative for a refund.
    pub amount_fen: i64,
}

/// One day of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementDay {
    /// Metered figures.
    pub figures: DayFigures,
    /// True if the day is charged.
    pub charged: bool,
}

/// A statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The app.
    pub app: AppId,
    /// The month.
    pub month: Month,
    /// The zone in which its days begin.
    pub zone: Zone,
    /// True if it never changes any more.
    pub is_final: bool,
    /// Instant of the computation.
    pub computed_at: Timestamp,
    /// Instant at which it becomes or became final.
    pub final_at: Timestamp,
    /// Version of the catalog whose prices apply.
    pub catalog_version: String,
    /// The lines.
    pub lines: Vec<Line>,
    /// The currency of all amounts.
    pub currency: Currency,
    /// The sum of all lines, in minor units.
    pub total_fen: i64,
    /// The figures by day.
    pub days: Vec<StatementDay>,
}

/// Inputs of a statement.
#[derive(Debug, Clone, Copy)]
pub struct BillingInputs<'a> {
    /// Catalogs, with prices and limits of editions, by their instants of being in force.
    pub catalogs: &'a CatalogHistory,
    /// The app.
    pub app: &'a AppId,
    /// All purchases and refunds of the app.
    pub sales: &'a Sales,
    /// Changes of the retention of its messages, in order.
    pub retentions: &'a [RetentionChange],
    /// The first month that is not closed and whose figures are kept; its statement also lists
    /// earlier purchases that are on no statement.
    pub since: Month,
    /// The last closed month; purchases until its end are on its statement or an earlier one.
    pub closed_through: Option<Month>,
    /// The figures of the month's days, from the first day on.
    pub figures: &'a [DayFigures],
    /// Users who logged in during the month, each once; `None` if they were not counted.
    pub month_users: Option<u64>,
}

/// Returns the instant at which the statement of a month becomes final.
#[must_use]
pub fn final_at(catalogs: &CatalogHistory, month: Month) -> Timestamp {
    let final_day = catalogs.pricing(month).postpaid.final_day;
    catalogs.start_of(month.next().day(final_day))
}

/// Returns the instant at which a month becomes final by one catalog.
#[must_use]
pub fn cut_off(catalog: &Catalog, month: Month) -> Timestamp {
    catalog.zone.start_of(month.next().day(catalog.postpaid.final_day))
}

/// Returns the first day that accepts late data at an instant: the month before it is final.
#[must_use]
pub fn first_open_day(catalog: &Catalog, at: Timestamp) -> Day {
    // Of the months that begin before the instant, the last final one is at most two back: a final
    // day is a day of the next month.
    let mut month = Month::at(catalog.zone, at).previous().previous();
    while cut_off(catalog, month) <= at {
        month = month.next();
    }
    month.first_day()
}

/// Computes the statement of a month as of an instant.
#[must_use]
pub fn statement(books: &BillingInputs<'_>, month: Month, now: Timestamp) -> Statement {
    let catalogs = books.catalogs;
    let metered_days = metered::days(books);
    let mut lines = sold::lines(books, month);
    lines.extend(metered::lines(books, month, &metered_days, now));
    let days = metered_days.into_iter().map(|metered| metered.day).collect();
    let total: i128 = lines.iter().map(|line| i128::from(line.amount_fen)).sum();
    let final_at = final_at(catalogs, month);
    Statement {
        app: books.app.clone(),
        month,
        zone: catalogs.zone_of(month),
        is_final: now >= final_at,
        computed_at: now,
        final_at,
        catalog_version: catalogs.pricing(month).version.clone(),
        currency: catalogs.pricing(month).currency,
        lines,
        total_fen: fen(total),
        days,
    }
}

/// Converts an amount of money, saturating if a catalog's numbers are beyond reason.
fn fen(amount: i128) -> i64 {
    i64::try_from(amount).unwrap_or(if amount < 0 { i64::MIN } else { i64::MAX })
}

/// Returns the amount for a quantity at a unit price.
fn amount(quantity: i64, unit_price_fen: i64) -> i64 {
    fen(i128::from(quantity) * i128::from(unit_price_fen))
}

/// Returns a named figure.
#[allow(clippy::needless_pass_by_value, reason = "numbers and texts alike")]
fn input(name: &str, value: impl ToString) -> (String, String) {
    (name.to_owned(), value.to_string())
}
