//! Statement lines of the catalog's rows of metered usage ([`crate::domain::meter`]).
//!
//! The rows are those of the month's last catalog. What is free on a day is by the row of the same
//! id in the catalog of that day, if it has one, and by the edition of the day that made the
//! figure: for a highest value its day, for a sum and the users of a month the last charged day.

use super::metered::MeteredDay;
use super::{BillingInputs, Item, Line, input};
use crate::domain::calendar::Day;
use crate::domain::currency::Currency;
use crate::domain::id::Name;
use crate::domain::meter::{Aggregate, Band, Charge, Free, Meter, PerEdition, Rounding, Source};
use crate::domain::metering::{DayFigures, sample_of};
use crate::domain::month::Month;
use crate::domain::price::{Price, Sum};

/// The figure of a row.
#[derive(Clone, Default)]
struct Figure<'a> {
    value: u128,
    /// The first day that had the highest value; `None` for sums.
    day: Option<Day>,
    /// The day whose edition and catalog decide what is free.
    made_on: Option<&'a MeteredDay>,
    charged_days: usize,
    /// True if the users of the month were not counted.
    is_least: bool,
}

/// Returns the lines of all rows. `charged` are the charged days of the month.
pub fn lines<'a>(
    books: &'a BillingInputs<'_>,
    month: Month,
    charged: &[&'a MeteredDay],
) -> Vec<Line> {
    let pricing = books.catalogs.pricing(month);
    let mut figures: Vec<(&Name, Figure<'_>)> = Vec::new();
    let mut lines = Vec::new();
    for meter in &pricing.postpaid.meters {
        let of_above = |id: &Name| {
            let found = figures.iter().find(|(of, _)| *of == id);
            found.map(|(_, figure)| figure.clone()).unwrap_or_default()
        };
        let share = share(meter, of_above);
        let row = Row { books, month, currency: pricing.currency, meter, share };
        let from = month.day(meter.from_day);
        let is_in_window = |it: &&&MeteredDay| it.day.figures.day >= from;
        let days: Vec<&MeteredDay> = charged.iter().filter(is_in_window).copied().collect();
        if let Charge::Regions(regions) = &meter.charge {
            lines.extend(row.of_regions(regions, &days));
            continue;
        }
        let figure = match &meter.of {
            Source::Meter(id) => of_above(id),
            _ => row.figure(&days, |figures| value(meter, figures)),
        };
        lines.push(row.line(&figure));
        figures.push((&meter.id, figure));
    }
    lines
}

/// Returns the allowance of a row that has a share of another row's figure.
fn share<'a>(meter: &Meter, of_above: impl Fn(&Name) -> Figure<'a>) -> Option<Share> {
    match &meter.free {
        Free::ShareOf { meter, percent } => {
            let Figure { value, is_least, .. } = of_above(meter);
            Some(Share { free: value * u128::from(*percent) / 100, is_least })
        }
        Free::Number(_) => None,
    }
}

/// Returns the figure of a day.
fn value(meter: &Meter, figures: &DayFigures) -> u64 {
    match &meter.of {
        Source::Logins => figures.dau,
        Source::Groups => figures.groups_peak,
        Source::Gauge(name) => sample_of(&figures.gauges, name),
        // By region, and that of another row.
        Source::Bandwidth | Source::Meter(_) => 0,
    }
}

/// A row in a month.
struct Row<'a, 'b> {
    books: &'a BillingInputs<'b>,
    month: Month,
    currency: Currency,
    meter: &'a Meter,
    share: Option<Share>,
}

/// A share of another row's figure that is free.
#[derive(Clone, Copy)]
struct Share {
    free: u128,
    /// True if the users of the month were not counted, so that more may be free.
    is_least: bool,
}

impl<'a> Row<'a, '_> {
    /// Returns what is free on a day.
    fn free(&self, day: &MeteredDay) -> u128 {
        let of_edition = |meter: &Meter| match (&meter.free, &day.edition) {
            (Free::Number(PerEdition::All(free)), _) => Some(u128::from(*free)),
            (Free::Number(free), Some(edition)) => Some(free.of(edition).unwrap_or(0).into()),
            _ => None,
        };
        let of_day = || day.catalog.postpaid.meter(&self.meter.id).and_then(of_edition);
        let share = self.share.map(|share| share.free);
        share.or_else(of_day).or_else(|| of_edition(self.meter)).unwrap_or(0)
    }

    fn figure(&self, days: &[&'a MeteredDay], value: impl Fn(&DayFigures) -> u64) -> Figure<'a> {
        let mut made =
            Figure { made_on: days.last().copied(), charged_days: days.len(), ..Figure::default() };
        let of = |day: &MeteredDay| u128::from(value(&day.day.figures));
        match self.meter.aggregate {
            _ if days.is_empty() => {}
            Some(Aggregate::MonthDistinct) => {
                let highest = self.books.figures.iter().map(|figures| figures.dau).max();
                let users = self.books.month_users;
                made.is_least = users.is_none() && highest > Some(0);
                made.value = users.or(highest).unwrap_or(0).into();
            }
            Some(Aggregate::DailyPeakSum) if self.meter.round_each_day => {
                made.value = days.iter().map(|day| self.meter.in_units(of(day))).sum();
            }
            Some(Aggregate::DailyPeakSum) => made.value = days.iter().map(|day| of(day)).sum(),
            _ => {
                let mut highest = (0, 0);
                for day in days.iter().copied() {
                    let exceeds = (of(day).saturating_sub(self.free(day)), of(day));
                    if exceeds > highest {
                        highest = exceeds;
                        (made.value, made.made_on) = (of(day), Some(day));
                        made.day = Some(day.day.figures.day);
                    }
                }
            }
        }
        made
    }

    fn of_regions(&self, regions: &[(Name, Option<Price>)], days: &[&'a MeteredDay]) -> Vec<Line> {
        let mut all = regions.to_vec();
        // Regions that the row lacks since, each as in the month's last catalog that had it.
        for catalog in self.books.catalogs.within(self.month) {
            let charge = catalog.postpaid.meter(&self.meter.id).map(|meter| &meter.charge);
            let Some(Charge::Regions(earlier)) = charge else { continue };
            for (region, price) in earlier {
                let has = |day: &&MeteredDay| sample_of(&day.day.figures.bandwidth, region) > 0;
                if days.iter().any(has) && all.iter().all(|(listed, _)| listed != region) {
                    all.push((region.clone(), *price));
                }
            }
        }
        let line = |(region, price): &(Name, Option<Price>)| {
            let figure = self.figure(days, |figures| sample_of(&figures.bandwidth, region));
            let line = self.line_of(&figure);
            let line = Line {
                item_id: format!("{}/{region}", self.meter.id),
                description: format!("{}, {region}{}", self.meter.label, self.by()),
                ..line
            };
            match price {
                Some(price) => self.at_price(line, &figure, *price),
                None => Line {
                    formula: "listed, not charged".to_owned(),
                    quantity: quantity(self.meter.units(self.beyond(&figure))),
                    ..line
                },
            }
        };
        all.iter().map(line).collect()
    }

    /// Returns the figure beyond what is free.
    fn beyond(&self, figure: &Figure<'_>) -> u128 {
        figure.value.saturating_sub(self.free_of(figure))
    }

    fn free_of(&self, figure: &Figure<'_>) -> u128 {
        figure.made_on.map_or(0, |day| self.free(day))
    }

    /// Returns how the figure was made, in words.
    fn by(&self) -> String {
        let from = match self.meter.from_day {
            1 => String::new(),
            day => format!(" from {} on", self.month.day(day)),
        };
        match (self.meter.aggregate, &self.meter.of) {
            (_, Source::Meter(id)) => format!(", by the figure of {id}"),
            (Some(Aggregate::MonthDistinct), _) => ", in the month".to_owned(),
            (Some(Aggregate::DailyPeakSum), _) => format!(", by the sum of the days{from}"),
            _ => format!(", by the highest day{from}"),
        }
    }

    fn line(&self, figure: &Figure<'_>) -> Line {
        let line = self.line_of(figure);
        match &self.meter.charge {
            Charge::Price(price) => self.at_price(line, figure, *price),
            Charge::Fees(bands) => self.of_fee(line, bands, figure),
            Charge::Prices(bands) => self.at_prices(line, figure, bands),
            // Their lines are those of the regions.
            Charge::Regions(_) => line,
        }
    }

    /// Returns the line without a price.
    fn line_of(&self, figure: &Figure<'_>) -> Line {
        let meter = self.meter;
        let not_counted = match self.share {
            _ if figure.is_least => "; its users were not counted, so at least",
            Some(Share { is_least: true, .. }) => {
                "; the users of the month were not counted, so at most"
            }
            _ => "",
        };
        let mut inputs = vec![
            input("figure", figure.value),
            input("day", figure.day.map_or_else(String::new, |day| day.to_string())),
            input("charged_days", figure.charged_days),
        ];
        let edition = figure.made_on.and_then(|day| day.edition.as_ref());
        inputs.extend(edition.map(|edition| input("edition", edition)));
        if !matches!(meter.charge, Charge::Fees(_)) {
            inputs.push(input("free", self.free_of(figure)));
            inputs.push(input("unit", meter.unit));
            inputs.push(match meter.rounding {
                Rounding::Exact => input("beyond_free", self.beyond(figure)),
                _ => input("units", meter.units(self.beyond(figure))),
            });
        }
        Line {
            item: Item::Meter,
            item_id: meter.id.to_string(),
            description: format!("{}{}{not_counted}", meter.label, self.by()),
            inputs,
            formula: String::new(),
            quantity: 0,
            unit_price: None,
            unit_price_fen: None,
            amount_fen: 0,
        }
    }

    fn at_price(&self, line: Line, figure: &Figure<'_>, price: Price) -> Line {
        let formula = match self.meter.rounding {
            Rounding::Up => "units begun beyond what is free: ceil((figure - free) / unit)",
            Rounding::Down => "whole units beyond what is free: floor((figure - free) / unit)",
            Rounding::Exact => "units beyond what is free: (figure - free) / unit",
        };
        let beyond = self.beyond(figure);
        let mut inputs = line.inputs;
        inputs.push(input("price", price));
        Line {
            inputs,
            formula: format!("{formula}, x price of a unit, rounded half up once"),
            quantity: quantity(self.meter.units(beyond)),
            unit_price: Some(price),
            unit_price_fen: price.in_minor_units(self.currency),
            amount_fen: self.meter.amount(beyond, price, self.currency),
            ..line
        }
    }

    fn at_prices(&self, line: Line, figure: &Figure<'_>, bands: &[Band<Price>]) -> Line {
        let free = self.free_of(figure);
        let figure = figure.value;
        let (units, amount_fen) = self.meter.graduated(bands, figure, free, self.currency);
        let mut inputs = line.inputs;
        for (number, (band, units)) in (1..).zip(bands.iter().zip(&units)) {
            inputs.push(input(&format!("band_{number}"), format!("{units} x {}", band.value)));
        }
        let formula = "units beyond what is free, each x the price of the band in which it lies, \
                       rounded half up once";
        Line {
            inputs,
            formula: formula.to_owned(),
            quantity: quantity(units.iter().sum()),
            amount_fen,
            ..line
        }
    }

    /// Completes the line of a row with a fee for each band. Without a charged day none is due.
    fn of_fee(&self, line: Line, bands: &[Band<PerEdition<Price>>], figure: &Figure<'_>) -> Line {
        let formula = "the fee of the band in which the figure lies".to_owned();
        let edition = figure.made_on.and_then(|day| day.edition.as_ref());
        let found = bands.iter().zip(1_u32..).find(|(band, _)| band.reaches(figure.value));
        // An edition that the catalog has no longer pays the highest fee: nothing is free because
        // it was forgotten.
        let fee = edition.zip(found).and_then(|(edition, (band, number))| {
            Some((number, band.value.of(edition).or_else(|| band.value.highest())?))
        });
        let Some((number, fee)) = fee else { return Line { formula, ..line } };
        let mut inputs = line.inputs;
        inputs.push(input("band", number));
        inputs.push(input("fee", fee));
        Line {
            inputs,
            formula,
            quantity: 1,
            unit_price: Some(fee),
            unit_price_fen: fee.in_minor_units(self.currency),
            amount_fen: Sum::default().plus(1, fee).rounded(1, self.currency),
            ..line
        }
    }
}

fn quantity(units: u128) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}
