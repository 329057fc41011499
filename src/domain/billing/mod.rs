//! The monthly statement: what an app has to pay for a month, and why (pricing rules, section 6).
//!
//! What was bought and refunded in the month stands beside what was metered in it. Only days on
//! which an edition that may run over was in force are charged (ours); the others are shown.
//! A day's charge and allowance follow the catalog of that day, the prices of units that of the
//! month's last instant. A month is worked out from its figures by [`statement`]; whether it was
//! issued is not decided here.

use super::calendar::{Day, Zone};
use super::catalog::Catalog;
use super::catalog_history::CatalogHistory;
use super::id::AppId;
use super::metering::DayFigures;
use super::month::Month;
use super::purchase::Sales;
use super::time::Timestamp;

mod metered;
pub mod retention;
mod sold;

pub use retention::RetentionChange;

/// What a line is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Item {
    /// An edition that was bought or renewed.
    Edition,
    /// An add-on that was bought.
    AddOn,
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
}

/// One line of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What it is for.
    pub item: Item,
    /// The edition, add-on, purchase or region; empty for the others.
    pub item_id: String,
    /// A sentence that people read.
    pub description: String,
    /// The figures that it was worked out from, each with its name.
    pub inputs: Vec<(String, String)>,
    /// How the amount follows from them, in words.
    pub formula: String,
    /// How many units are charged.
    pub quantity: i64,
    /// Price of a unit, in fen; `None`: it is listed only.
    pub unit_price_fen: Option<i64>,
    /// What is to be paid for it, in fen; negative for a refund.
    pub amount_fen: i64,
}

/// One day of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementDay {
    /// What was metered.
    pub figures: DayFigures,
    /// Whether it is charged.
    pub charged: bool,
}

/// A statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The app.
    pub app: AppId,
    /// The month.
    pub month: Month,
    /// Where its days begin.
    pub zone: Zone,
    /// Whether it never changes any more.
    pub is_final: bool,
    /// When it was worked out.
    pub computed_at: Timestamp,
    /// When it becomes final, or did.
    pub final_at: Timestamp,
    /// The catalog whose prices it goes by.
    pub catalog_version: String,
    /// What is paid for.
    pub lines: Vec<Line>,
    /// The sum of all lines, in fen.
    pub total_fen: i64,
    /// The figures by day.
    pub days: Vec<StatementDay>,
}

/// What a statement is worked out from.
#[derive(Debug, Clone, Copy)]
pub struct Books<'a> {
    /// Prices, and what editions allow, by when they are in force.
    pub catalogs: &'a CatalogHistory,
    /// The app.
    pub app: &'a AppId,
    /// Everything that it bought and gave back.
    pub sales: &'a Sales,
    /// How long its messages were kept, in the order of the changes.
    pub retentions: &'a [RetentionChange],
    /// The first month that is not closed and whose figures are kept; on its statement stands too
    /// what was bought before and is on none.
    pub since: Month,
    /// The last month that is closed; what was bought until then stands on its statement or an
    /// earlier one.
    pub closed_through: Option<Month>,
    /// The figures of the month's days, from the first on.
    pub figures: &'a [DayFigures],
}

/// When the statement of a month becomes final.
#[must_use]
pub fn final_at(catalogs: &CatalogHistory, month: Month) -> Timestamp {
    let final_day = catalogs.pricing(month).postpaid.final_day;
    catalogs.start_of(month.next().day(final_day))
}

/// When a month becomes final by one catalog.
#[must_use]
pub fn cut_off(catalog: &Catalog, month: Month) -> Timestamp {
    catalog.zone.start_of(month.next().day(catalog.postpaid.final_day))
}

/// The first day that is open to what comes late at an instant: the month before it is final.
#[must_use]
pub fn first_open_day(catalog: &Catalog, at: Timestamp) -> Day {
    // Of the months that begin before the instant the last one that is final is at most two back:
    // a final day is a day of the next month.
    let mut month = Month::at(catalog.zone, at).previous().previous();
    while cut_off(catalog, month) <= at {
        month = month.next();
    }
    month.first_day()
}

/// The statement of a month, as it is at an instant.
#[must_use]
pub fn statement(books: &Books<'_>, month: Month, now: Timestamp) -> Statement {
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
        lines,
        total_fen: fen(total),
        days,
    }
}

/// Money that fits, also where a catalog's numbers are beyond reason.
fn fen(amount: i128) -> i64 {
    i64::try_from(amount).unwrap_or(if amount < 0 { i64::MIN } else { i64::MAX })
}

/// So many units at a price.
fn amount(quantity: i64, unit_price_fen: i64) -> i64 {
    fen(i128::from(quantity) * i128::from(unit_price_fen))
}

/// A figure and its name.
#[allow(clippy::needless_pass_by_value, reason = "numbers and texts alike")]
fn input(name: &str, value: impl ToString) -> (String, String) {
    (name.to_owned(), value.to_string())
}
