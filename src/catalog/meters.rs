//! Reads the rows `metering.meters`: charges for metered usage.
//!
//! Each key is checked by what the row counts, and one that would have no effect is a problem, so
//! that nothing is charged otherwise than the file says.

use crate::diagnostics::join_quoted;
use crate::diagnostics::toml::{Table, Value};
use crate::domain::catalog::Edition;
use crate::domain::id::{NAME_MAX_BYTES, Name};
use crate::domain::meter::{Aggregate, Band, Charge, Free, Meter, PerEdition, Rounding, Source};
use crate::domain::price::Price;

use super::decode::{Names, label, name};
use super::postpaid::{FIGURE_MAX, NOT_CHARGED, REGIONS_MAX, day};

/// Most rows: more than price lists have.
const METERS_MAX: usize = 64;
/// Most bands of a row.
const BANDS_MAX: usize = 32;

/// Keys that depend on what is counted.
const KEYS: [&str; 12] = [
    "name",
    "aggregate",
    "from_day",
    "price",
    "price_by",
    "prices",
    "tiers",
    "unit",
    "rounding",
    "round_each_day",
    "free",
    "free_share_of",
];

/// A row, and what later rows need of it.
struct Above {
    id: Name,
    by_region: bool,
}

/// Reads all rows; `editions` are those of the catalog, if they could be read.
pub(super) fn meters(value: &Value<'_>, editions: Option<&[Edition]>) -> Option<Vec<Meter>> {
    let tables = value.tables(1..=METERS_MAX)?;
    Names::of(&tables, "id");
    let mut above: Vec<Above> = Vec::new();
    let mut meters = Vec::new();
    for table in tables {
        // Problems of the id were reported with the ids of all rows.
        let id = table.optional("id").and_then(|value| value.as_str()).map(Name::from);
        let meter = Reader { table: &table, above: &above, editions }.meter(id.clone());
        if let Some(id) = id {
            let by_region = table.optional("price_by").is_some();
            above.push(Above { id, by_region });
        }
        table.finish();
        meters.push(meter);
    }
    meters.into_iter().collect()
}

struct Reader<'t, 'd> {
    table: &'t Table<'d>,
    above: &'t [Above],
    editions: Option<&'t [Edition]>,
}

impl Reader<'_, '_> {
    fn meter(&self, id: Option<Name>) -> Option<Meter> {
        let table = self.table;
        let label = label(table);
        let of = self.source();
        let aggregate = of.as_ref().and_then(|of| self.aggregate(of));
        let (Some(of), Some(kind)) = (of, aggregate) else {
            // The other keys depend on them.
            for key in KEYS {
                table.optional(key);
            }
            return None;
        };
        let from_day = match table.optional("from_day") {
            Some(_) if kind.is_some_and(|it| it != Aggregate::MonthDistinct) => {
                day(table, "from_day")
            }
            given => without_effect(given, "without days", 1),
        };
        let charge = self.charge(&of);
        let is_fee = matches!(charge, Some(Charge::Fees(_)));
        let unit = match table.optional("unit") {
            Some(value) if !is_fee => value.integer(1..=FIGURE_MAX),
            given => without_effect(given, "with fees", 1),
        };
        let rounding = match table.optional("rounding") {
            Some(value) if !is_fee => choice(&value, Rounding::ALL.map(|it| (it.word(), it))),
            None if !is_fee && unit.is_some_and(|unit| unit > 1) => {
                table.missing("rounding", ", since a unit is more than 1");
                None
            }
            given => without_effect(given, "with fees", Rounding::Up),
        };
        let round_each_day = match table.optional("round_each_day") {
            Some(value) if kind == Some(Aggregate::DailyPeakSum) && !is_fee => {
                let given = value.boolean();
                if given == Some(true) && rounding == Some(Rounding::Exact) {
                    value.problem("has no effect with rounding \"exact\"");
                }
                given
            }
            given => without_effect(given, "without the sum of days in units", false),
        };
        let free = if is_fee {
            let keys = ["free", "free_share_of"].map(|key| table.optional(key));
            let none = Free::Number(PerEdition::All(0));
            let [free, share] = keys;
            let free = without_effect(free, "with fees; give the first band a fee of 0", none);
            without_effect(share, "with fees", ()).and(free)
        } else {
            self.free()
        };
        Some(Meter {
            id: id?,
            label: label?,
            of,
            aggregate: kind,
            from_day: from_day?,
            unit: unit?,
            rounding: rounding?,
            round_each_day: round_each_day?,
            free: free?,
            charge: charge?,
        })
    }

    fn source(&self) -> Option<Source> {
        let word = choice(&self.table.required("of")?, Source::WORDS.map(|word| (word, word)))?;
        let given = self.table.optional("name");
        match (word, given) {
            ("gauge", Some(value)) => Source::of(word, Some(name(&value)?)),
            ("meter", Some(value)) => Source::of(word, Some(self.above(&value)?)),
            ("gauge" | "meter", None) => {
                self.table.missing("name", &format!(", which is that of the {word}"));
                None
            }
            (_, given) => {
                let why = format!("with of = \"{word}\"");
                without_effect(given, &why, ()).and_then(|()| Source::of(word, None))
            }
        }
    }

    /// Reads the id of a row above that has one figure.
    fn above(&self, value: &Value<'_>) -> Option<Name> {
        let id = value.string()?;
        match self.above.iter().find(|it| it.id.as_str() == id) {
            Some(Above { by_region: false, id }) => Some(id.clone()),
            Some(_) => {
                value.problem(format!("\"{id}\" has a figure for each region, not one"));
                None
            }
            None => {
                let known = join_quoted(self.above.iter().map(|it| &it.id));
                value.problem(format!("no entry above has the id \"{id}\"; those above: {known}"));
                None
            }
        }
    }

    /// Reads the aggregate; the outer `None` if it is invalid.
    #[allow(clippy::option_option, reason = "none, and invalid, are different")]
    fn aggregate(&self, of: &Source) -> Option<Option<Aggregate>> {
        let allowed = of.aggregates();
        if allowed.is_empty() {
            return without_effect(self.table.optional("aggregate"), "with of = \"meter\"", None);
        }
        let words: Vec<_> = allowed.iter().map(|it| (it.word(), *it)).collect();
        choice(&self.table.required("aggregate")?, words).map(Some)
    }

    fn free(&self) -> Option<Free> {
        let (number, share) = (self.table.optional("free"), self.table.optional("free_share_of"));
        match (number, share) {
            (None, None) => Some(Free::Number(PerEdition::All(0))),
            (Some(value), None) => {
                self.per_edition(&value, |value| value.integer(0..=FIGURE_MAX)).map(Free::Number)
            }
            (None, Some(value)) => {
                let share = value.table()?;
                let meter = share.required("meter").and_then(|value| self.above(&value));
                let percent = share.required("percent").and_then(|value| value.integer(1..=100));
                share.finish();
                Some(Free::ShareOf { meter: meter?, percent: percent? })
            }
            (Some(_), Some(value)) => {
                value.problem("cannot stand with \"free\"");
                None
            }
        }
    }

    fn charge(&self, of: &Source) -> Option<Charge> {
        let keys = ["price", "price_by", "prices", "tiers"];
        let [price, by, prices, tiers] = keys.map(|key| self.table.optional(key));
        let by_region = *of == Source::Bandwidth;
        match (price, by, prices, tiers) {
            (None, Some(by), Some(prices), None) if by_region => {
                choice(&by, [("region", ())])?;
                regions(&prices).map(Charge::Regions)
            }
            _ if by_region => {
                let of = "of = \"bandwidth\" has price_by = \"region\" and \"prices\" alone";
                self.table.missing("prices", &format!(": {of}"));
                None
            }
            (Some(price), None, None, None) => self::price(&price).map(Charge::Price),
            (None, None, None, Some(tiers)) => self.bands(&tiers),
            (_, Some(by), ..) | (_, _, Some(by), _) => {
                by.problem("is for of = \"bandwidth\" alone");
                None
            }
            (Some(_), .., Some(tiers)) => {
                tiers.problem("cannot stand with \"price\"");
                None
            }
            (None, None, None, None) => {
                self.table.missing("price", "; there may be \"tiers\" in its place");
                None
            }
        }
    }

    fn bands(&self, value: &Value<'_>) -> Option<Charge> {
        let tables = value.tables(1..=BANDS_MAX)?;
        let is_fee = tables[0].optional("fee").is_some();
        let (mut fees, mut prices, mut end, count) = (Vec::new(), Vec::new(), 0, tables.len());
        let mut are_valid = true;
        for (number, table) in (1..).zip(tables) {
            let up_to = table.optional("up_to");
            let given = up_to.as_ref().map(|value| value.integer::<i64>(1..=FIGURE_MAX));
            match (given, &up_to) {
                (Some(Some(bound)), Some(value)) if bound <= end => {
                    value.problem(format!("must be more than {end}, that of the band before"));
                    are_valid = false;
                }
                (_, Some(value)) if number == count => {
                    value.problem("the last band has no end; leave it out");
                    are_valid = false;
                }
                (None, _) if number < count => {
                    table.missing("up_to", "; only the last band has no end");
                    are_valid = false;
                }
                _ => {}
            }
            end = given.flatten().unwrap_or(end);
            let up_to = given.flatten().and_then(|bound| u64::try_from(bound).ok());
            let (key, other) = if is_fee { ("fee", "price") } else { ("price", "fee") };
            if let Some(value) = table.optional(other) {
                value.problem(format!("the first band has a {key}, so each has one"));
                are_valid = false;
            } else if is_fee {
                let fee = table.required(key);
                let fee = fee.and_then(|value| self.per_edition(&value, price));
                fees.push(fee.map(|value| Band { up_to, value }));
            } else {
                let price = table.required(key).and_then(|value| price(&value));
                prices.push(price.map(|value| Band { up_to, value }));
            }
            are_valid &= given != Some(None);
            table.finish();
        }
        let fees = fees.into_iter().collect::<Option<Vec<_>>>()?;
        let prices = prices.into_iter().collect::<Option<Vec<_>>>()?;
        are_valid.then_some(if is_fee { Charge::Fees(fees) } else { Charge::Prices(prices) })
    }

    /// Reads a value for all editions, or a table with one for each edition with postpaid.
    fn per_edition<T>(
        &self,
        value: &Value<'_>,
        read: impl Fn(&Value<'_>) -> Option<T>,
    ) -> Option<PerEdition<T>> {
        let Some(table) = value.as_table() else { return read(value).map(PerEdition::All) };
        let editions = self.editions?;
        let mut values = Vec::new();
        for edition in editions {
            match table.optional(edition.id.as_str()) {
                Some(value) => values.push(read(&value).map(|it| (edition.id.clone(), it))),
                None if edition.postpaid_allowed => {
                    table.missing(edition.id.as_str(), ", an edition with postpaid_allowed");
                    values.push(None);
                }
                None => {}
            }
        }
        table.finish();
        values.into_iter().collect::<Option<_>>().map(PerEdition::Each)
    }
}

/// Returns the value without the key, which must be absent.
fn without_effect<T>(given: Option<Value<'_>>, why: &str, without: T) -> Option<T> {
    match given {
        Some(value) => {
            value.problem(format!("has no effect {why}; leave it out"));
            None
        }
        None => Some(without),
    }
}

/// Reads prices by region, in the order of their names.
fn regions(value: &Value<'_>) -> Option<Vec<(Name, Option<Price>)>> {
    let table = value.table()?;
    let keys: Vec<&str> = table.keys().collect();
    if !(1..=REGIONS_MAX).contains(&keys.len()) {
        value.problem(format!("must have 1 to {REGIONS_MAX} regions, not {}", keys.len()));
        return None;
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let region = |key: &str| {
        let value = table.optional(key)?;
        if !(1..=NAME_MAX_BYTES).contains(&key.len()) || !key.bytes().all(allowed) {
            value.problem("the region must be 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'");
            return None;
        }
        let price = match value.as_str() {
            Some(NOT_CHARGED) => None,
            _ => Some(price(&value)?),
        };
        Some((Name::from(key), price))
    };
    let regions: Vec<_> = keys.into_iter().map(region).collect();
    regions.into_iter().collect()
}

/// Reads a price: decimal text in the major unit.
fn price(value: &Value<'_>) -> Option<Price> {
    let price = value.as_str().and_then(|text| text.parse().ok());
    value.or_wrong(price, "a price as text, such as \"0.015\", with at most 6 decimals")
}

/// Reads one of several words.
fn choice<T>(value: &Value<'_>, words: impl IntoIterator<Item = (&'static str, T)>) -> Option<T> {
    let (mut known, mut found) = (Vec::new(), None);
    for (word, meaning) in words {
        if value.as_str() == Some(word) {
            found = Some(meaning);
        }
        known.push(word);
    }
    let known = join_quoted(known.into_iter());
    value.or_wrong(found, &if known.contains(' ') { format!("one of {known}") } else { known })
}
