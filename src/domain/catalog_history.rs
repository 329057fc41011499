//! Catalog history: the catalog in force at an instant, on a day and in a month.
//!
//! A day's charge, allowance and grace follow the catalog at its last instant, a month's unit
//! prices the catalog at the month's last instant. Instants before the first record follow the
//! first one. A changed time zone counts from the first of the next month, so that no month has
//! days of two zones: every catalog that is returned here has the zone that counts, whatever its
//! text says.

use std::sync::Arc;

use super::calendar::{Day, Zone};
use super::catalog::Catalog;
use super::month::Month;
use super::purchase::Sales;
use super::terms::Terms;
use super::time::Timestamp;

/// A catalog and the instant from which it is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// First instant of its being in force.
    pub since: Timestamp,
    /// The catalog, as it was loaded.
    pub catalog: Arc<Catalog>,
}

/// All catalogs that were in force, each from its instant until the next one. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogHistory {
    records: Vec<InForce>,
    spans: Vec<InForce>,
}

impl CatalogHistory {
    /// Creates a history from records in the order of their instants; `None` if there are none, or
    /// they are not in order.
    #[must_use]
    pub fn new(records: Vec<InForce>) -> Option<Self> {
        let ordered = records.windows(2).all(|pair| pair[0].since <= pair[1].since);
        let spans = spans(&records);
        (ordered && !records.is_empty()).then_some(Self { records, spans })
    }

    /// Creates a history of one catalog that is always in force.
    #[must_use]
    pub fn of(catalog: Arc<Catalog>) -> Self {
        let record = InForce { since: Timestamp::from_millis(i64::MIN), catalog };
        Self { records: vec![record.clone()], spans: vec![record] }
    }

    /// Returns the records that it was made of.
    #[must_use]
    pub fn records(&self) -> &[InForce] {
        &self.records
    }

    /// Returns the catalog in force at an instant, with the zone that counts then.
    #[must_use]
    pub fn at(&self, at: Timestamp) -> &Arc<Catalog> {
        let begun = self.spans.partition_point(|span| span.since <= at);
        &self.spans[begun.saturating_sub(1)].catalog
    }

    /// Returns the day on which an instant falls.
    #[must_use]
    pub fn day_of(&self, at: Timestamp) -> Day {
        self.at(at).zone.day_of(at)
    }

    /// Returns the month in which an instant lies.
    #[must_use]
    pub fn month_of(&self, at: Timestamp) -> Month {
        Month::of(self.day_of(at))
    }

    /// Returns the first instant of a day.
    #[must_use]
    pub fn start_of(&self, day: Day) -> Timestamp {
        let mut from = Timestamp::from_millis(i64::MIN);
        for (index, span) in self.spans.iter().enumerate() {
            let start = span.catalog.zone.start_of(day).max(from);
            match self.spans.get(index + 1) {
                Some(next) if start >= next.since => from = next.since,
                _ => return start,
            }
        }
        from
    }

    /// Returns the last instant of a day.
    #[must_use]
    pub fn last_of(&self, day: Day) -> Timestamp {
        Timestamp::from_millis(self.start_of(day.plus_days(1)).as_millis() - 1)
    }

    /// Returns the zone in which the days of a month begin.
    #[must_use]
    pub fn zone_of(&self, month: Month) -> Zone {
        self.at(self.start_of(month.first_day())).zone
    }

    /// Returns the catalog for a day: the one at its last instant, with the zone of its first.
    #[must_use]
    pub fn on(&self, day: Day) -> Arc<Catalog> {
        with_zone(self.at(self.last_of(day)), self.at(self.start_of(day)).zone)
    }

    /// Returns the catalog whose prices apply to a month: the one at its last instant.
    #[must_use]
    pub fn pricing(&self, month: Month) -> &Arc<Catalog> {
        self.at(self.last_of(month.last_day()))
    }

    /// Returns the catalogs that were in force at any instant of a month, the last one first.
    pub fn within(&self, month: Month) -> impl Iterator<Item = &Arc<Catalog>> {
        let first = self.start_of(month.first_day());
        let last = self.last_of(month.last_day());
        let before = self.spans.partition_point(|span| span.since <= first).saturating_sub(1);
        let until = self.spans.partition_point(|span| span.since <= last).max(before + 1);
        self.spans[before..until].iter().rev().map(|span| &span.catalog)
    }

    /// Returns, for each purchase without terms, the index of the first record whose catalog has
    /// its item.
    #[must_use]
    pub fn fills(&self, sales: &Sales) -> Vec<usize> {
        let without = sales.purchases.iter().filter(|purchase| purchase.terms.is_none());
        let has = |purchase: &super::purchase::Purchase| {
            let has = |record: &InForce| Terms::of(&record.catalog, &purchase.item).is_some();
            self.records.iter().position(has)
        };
        without.filter_map(has).collect()
    }

    /// Adds terms to purchases that were stored before terms were: those of the first catalog that
    /// has the item.
    pub fn fill(&self, sales: &mut Sales) {
        for purchase in sales.purchases.iter_mut().filter(|purchase| purchase.terms.is_none()) {
            let mut of = self.records.iter().map(|it| Terms::of(&it.catalog, &purchase.item));
            purchase.terms = of.find_map(|terms| terms);
        }
    }
}

/// Returns the records with the zones that count, plus one at each instant from which a changed
/// zone counts.
fn spans(records: &[InForce]) -> Vec<InForce> {
    let mut spans: Vec<InForce> = Vec::with_capacity(records.len());
    let mut zone = None;
    let mut turn: Option<(Timestamp, Zone, Arc<Catalog>)> = None;
    for record in records {
        if let Some((since, next, catalog)) = turn.take()
            && since <= record.since
        {
            spans.push(InForce { since, catalog });
            zone = Some(next);
        }
        let own = record.catalog.zone;
        let counting = *zone.get_or_insert(own);
        let catalog = with_zone(&record.catalog, counting);
        spans.push(InForce { since: record.since, catalog });
        if own != counting {
            let next = Month::at(counting, record.since).next();
            turn = Some((counting.start_of(next.first_day()), own, record.catalog.clone()));
        }
    }
    spans.extend(turn.map(|(since, _, catalog)| InForce { since, catalog }));
    spans
}

fn with_zone(catalog: &Arc<Catalog>, zone: Zone) -> Arc<Catalog> {
    if catalog.zone == zone {
        return catalog.clone();
    }
    Arc::new(Catalog { zone, ..Catalog::clone(catalog) })
}
