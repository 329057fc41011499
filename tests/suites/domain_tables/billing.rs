//! Statements against the published examples and boundaries of the pricing rules, section 6, and
//! rows computed by hand. Amounts are in CNY here.

use std::sync::Arc;

use imquota::domain::billing::{BillingInputs, Item, RetentionChange, Statement, statement};
use imquota::domain::calendar::Day;
use imquota::domain::catalog::{Catalog, Edition};
use imquota::domain::catalog_history::CatalogHistory;
use imquota::domain::id::RequestId;
use imquota::domain::metering::DayFigures;
use imquota::domain::month::Month;
use imquota::domain::purchase::{Refund, Sales};
use imquota::domain::refund::refund;

use super::{at, catalog, history, history_by};
use crate::support::app;

/// An app with the Professional edition all year.
const ALL_YEAR: &[(&str, &str, u32)] = &[("2019-01-01", "professional", 12)];
/// An instant after the month.
const LATER: &str = "2019-12-31";

/// Purchases: instant, item, months.
type Orders<'a> = &'a [(&'a str, &'a str, u32)];
/// The figures of a day of August: day, users, peak of groups, Mbps in the mainland.
type Metered<'a> = &'a [(u32, u64, u64, u64)];

/// A catalog that is always in force.
pub fn only(catalog: Catalog) -> CatalogHistory {
    CatalogHistory::of(Arc::new(catalog))
}

fn august() -> Month {
    "2019-08".parse().expect("a month")
}

fn figures(month: Month, until: Day, metered: Metered<'_>) -> Vec<DayFigures> {
    let day = |day: Day| {
        let number = u32::try_from(day.number() - month.first_day().number() + 1).expect("small");
        let found = metered.iter().find(|(of, ..)| *of == number);
        let (_, dau, groups_peak, mbps) = found.copied().unwrap_or((number, 0, 0, 0));
        let bandwidth = if mbps > 0 { vec![("mainland".into(), mbps * 1000)] } else { vec![] };
        DayFigures { day, dau, groups_peak, groups_net_new: 0, bandwidth, gauges: Vec::new() }
    };
    month.days().filter(|it| *it <= until).map(day).collect()
}

fn retention(changes: &[(&str, u32)]) -> Vec<RetentionChange> {
    let request_id = RequestId::try_from("r").expect("valid");
    let change = |(when, days): &(&str, u32)| RetentionChange {
        request_id: request_id.clone(),
        days: *days,
        at: at(when),
    };
    changes.iter().map(change).collect()
}

fn bill(
    month: Month,
    sales: &Sales,
    kept: &[(&str, u32)],
    metered: Metered<'_>,
    now: &str,
) -> Statement {
    bill_by(catalog(), month, sales, kept, metered, now)
}

fn bill_by(
    catalog: Catalog,
    month: Month,
    sales: &Sales,
    kept: &[(&str, u32)],
    metered: Metered<'_>,
    now: &str,
) -> Statement {
    let (catalogs, retentions, now) = (only(catalog), retention(kept), at(now));
    let figures = figures(month, catalogs.day_of(now), metered);
    let books = BillingInputs {
        catalogs: &catalogs,
        app: &app("demo"),
        sales,
        retentions: &retentions,
        since: "2019-01".parse().expect("a month"),
        closed_through: None,
        month_users: None,
        figures: &figures,
    };
    statement(&books, month, now)
}

fn of(statement: &Statement, item: Item) -> i64 {
    let lines = statement.lines.iter().filter(|line| line.item == item);
    lines.map(|line| line.amount_fen).sum::<i64>() / 100
}

/// The metered figures of August, and the costs of users, history, groups and bandwidth. Messages
/// are kept for 30 days.
const AUGUST: &[(Metered<'_>, [i64; 4])] = &[
    (&[], [0, 0, 0, 0]),
    // The published examples.
    (&[(9, 150_000, 0, 0)], [10_000, 1000, 0, 0]),
    (&[(9, 0, 130_000, 0)], [0, 0, 1000, 0]),
    (&[(9, 0, 550_000, 0)], [0, 0, 5000, 0]),
    (&[(1, 0, 0, 300), (2, 0, 0, 500), (31, 0, 0, 200)], [0, 0, 0, 2000]),
    // Boundaries of the allowances.
    (&[(9, 100_000, 100_000, 0)], [0, 500, 0, 0]),
    (&[(9, 100_001, 100_001, 0)], [10_000, 1000, 1000, 0]),
    (&[(9, 200_000, 200_000, 0)], [10_000, 1000, 1000, 0]),
    (&[(9, 200_001, 200_001, 0)], [20_000, 1500, 2000, 0]),
    (&[(9, 1, 0, 0)], [0, 500, 0, 0]),
    // The highest day counts, and for groups none before the 4th.
    (&[(1, 250_000, 0, 0), (2, 150_000, 0, 0)], [20_000, 1500, 0, 0]),
    (&[(3, 0, 900_000, 0), (4, 0, 150_000, 0), (5, 0, 90_000, 0)], [0, 0, 1000, 0]),
    (&[(31, 300_000, 300_000, 0)], [20_000, 1500, 2000, 0]),
];

#[test]
fn metered_figures_have_the_prices_of_section_6() {
    let sales = history(ALL_YEAR);
    for (metered, expected) in AUGUST {
        let bill = bill(august(), &sales, &[("2019-01-05", 30)], metered, LATER);
        let got = [Item::Dau, Item::MessageHistory, Item::Groups, Item::Bandwidth]
            .map(|item| of(&bill, item));
        assert_eq!(got, *expected, "{metered:?}");
        assert_eq!(bill.total_fen, expected.iter().sum::<i64>() * 100, "{metered:?}");
        assert!(bill.is_final);
    }
}

#[test]
fn history_on_days_that_are_not_charged_costs_nothing() {
    // Professional through 11 August, and 7 days of grace: charged through the 18th.
    let sales = history(&[("2019-07-12", "professional", 1)]);
    let metered: Metered<'_> = &[(10, 150_000, 0, 0), (25, 150_000, 0, 0)];
    for (kept, fen) in [
        (&[("2019-08-18 23:59", 30), ("2019-08-19", 7)][..], 1000),
        (&[("2019-08-19", 30)], 0),
        (&[("2019-08-20", 30), ("2019-08-21", 7)], 0),
        (&[("2019-07-13", 30), ("2019-08-01", 7), ("2019-08-25", 30)], 0),
        (&[("2019-07-13", 30), ("2019-08-01 00:01", 7), ("2019-08-25", 30)], 1000),
    ] {
        let bill = bill(august(), &sales, kept, metered, LATER);
        assert_eq!(of(&bill, Item::MessageHistory), fen, "{kept:?}");
    }
}

/// The catalog with an edition whose messages are kept for 30 days free of charge.
fn with_premium() -> Catalog {
    let mut catalog = catalog();
    let premium = Edition { id: "premium".into(), ..catalog.editions[1].clone() };
    let history = catalog.postpaid.history.as_mut().expect("it is charged");
    history.free_days_of = vec![(premium.id.clone(), 30)];
    catalog.editions.push(premium);
    catalog
}

#[test]
fn history_is_free_by_the_edition_of_the_day() {
    let catalog = with_premium();
    let all_year = [("2019-01-01", "premium", 12)];
    // Premium through 11 August and its grace through the 18th, then Professional.
    let changed = [("2019-07-12", "premium", 1), ("2019-08-20", "professional", 1)];
    let (premium, both) = (&all_year[..], &changed[..]);
    for (orders, kept, fen, free_days, days) in [
        (premium, &[][..], 0, "30", "30"),
        (premium, &[("2019-01-05", 30)], 0, "30", "30"),
        (premium, &[("2019-01-05", 31)], 1000, "30", "31"),
        (premium, &[("2019-01-05", 90), ("2019-08-01", 30)], 0, "30", "30"),
        (both, &[], 0, "7", "7"),
        (both, &[("2019-07-13", 30)], 1000, "7", "30"),
        (both, &[("2019-07-13", 30), ("2019-08-20", 7)], 0, "7", "30"),
        (both, &[("2019-07-13", 60), ("2019-08-20", 7)], 1000, "30", "60"),
    ] {
        let sales = history_by(&catalog, orders);
        let metered = &[(10, 200_000, 0, 0), (25, 200_000, 0, 0)];
        let bill = bill_by(catalog.clone(), august(), &sales, kept, metered, LATER);
        let line = bill.lines.iter().find(|line| line.item == Item::MessageHistory);
        let inputs = &line.expect("a line").inputs;
        let input = |name: &str| inputs.iter().find(|(of, _)| of == name).map(|(_, it)| &**it);
        let found = (of(&bill, Item::MessageHistory), input("free_days"), input("retention_days"));
        assert_eq!(found, (fen, Some(free_days), Some(days)), "{orders:?} {kept:?}");
    }
}

#[test]
fn two_months_of_history_at_200_000_users_cost_2000() {
    let sales = history(ALL_YEAR);
    let kept = [("2019-08-31 23:59", 90), ("2019-09-01 00:01", 7)];
    let months = ["2019-07", "2019-08", "2019-09", "2019-10"].map(|month| {
        let month = month.parse().expect("a month");
        of(&bill(month, &sales, &kept, &[(9, 200_000, 0, 0)], LATER), Item::MessageHistory)
    });
    // It was switched on for two minutes, in two months.
    assert_eq!(months, [0, 1000, 1000, 0]);
}

#[test]
fn a_begun_megabit_counts_whole_and_overseas_is_listed() {
    let sales = history(ALL_YEAR);
    let catalogs = only(catalog());
    let mut figures = figures(august(), august().last_day(), &[]);
    figures[0].bandwidth = vec![("mainland".into(), 1), ("overseas".into(), 5_000_001)];
    figures[1].bandwidth = vec![("mainland".into(), 1001)];
    let app = app("demo");
    let books = BillingInputs {
        catalogs: &catalogs,
        app: &app,
        sales: &sales,
        retentions: &[],
        since: "2019-01".parse().expect("a month"),
        closed_through: None,
        month_users: None,
        figures: &figures,
    };
    let bill = statement(&books, august(), at(LATER));
    let lines: Vec<_> = bill
        .lines
        .iter()
        .filter(|line| line.item == Item::Bandwidth)
        .map(|line| (line.item_id.as_str(), line.quantity, line.unit_price_fen, line.amount_fen))
        .collect();
    assert_eq!(lines, [("mainland", 3, Some(200), 600), ("overseas", 5001, None, 0)]);
}

/// Purchases, and the first and last charged day of August; 0: none.
const CHARGED: &[(Orders<'_>, u32, u32)] = &[
    (&[], 0, 0),
    (ALL_YEAR, 1, 31),
    (&[("2019-08-10 13:00", "professional", 1)], 10, 31),
    // Valid through 11 August, in grace through the 18th.
    (&[("2019-07-12", "professional", 1)], 1, 18),
    (&[("2019-06-20", "professional", 1)], 0, 0),
];

#[test]
fn days_are_charged_while_professional_is_in_force_or_in_grace() {
    let everything: Vec<_> = (1..=31).map(|day| (day, 150_000, 150_000, 10)).collect();
    for (orders, first, last) in CHARGED {
        let bill = bill(august(), &history(orders), &[("2019-01-05", 30)], &everything, LATER);
        let charged: Vec<u32> = (1..)
            .zip(&bill.days)
            .filter(|(_, day)| day.charged)
            .map(|(number, _)| number)
            .collect();
        let expected: Vec<u32> = (*first..=*last).filter(|number| *number > 0).collect();
        assert_eq!(charged, expected, "{orders:?}");
        let days = i64::try_from(expected.len()).expect("small");
        assert_eq!(of(&bill, Item::Bandwidth), days * 10 * 2, "{orders:?}");
        let due = if days > 0 { [10_000, 1000, 1000] } else { [0; 3] };
        let got = [Item::Dau, Item::MessageHistory, Item::Groups].map(|item| of(&bill, item));
        assert_eq!(got, due, "{orders:?}");
        assert!(bill.days.iter().all(|day| day.figures.dau == 150_000), "all days are shown");
    }
}

#[test]
fn purchases_and_refunds_of_the_month_have_lines() {
    let mut sales = history(&[
        ("2019-07-31 23:59", "professional", 3),
        ("2019-08-01", "members-2000", 2),
        ("2019-08-20", "renew", 1),
        ("2019-09-01", "groups-per-user-400", 1),
    ]);
    // The whole price soon after the purchase; for the next one the remaining share.
    for (purchase, when) in [(1, "2019-08-03"), (2, "2019-08-31 23:59")] {
        let made = refund(&catalog(), &sales, purchase, at(when)).expect("may be refunded");
        sales.refunds.push(Refund {
            request_id: RequestId::try_from(format!("refund {purchase}")).expect("valid"),
            purchase,
            made_after: 3,
            refund_fen: made.refund_fen,
            in_full: made.in_full,
            used: None,
            at: at(when),
        });
    }
    let bill = bill(august(), &sales, &[], &[], LATER);
    let bought = bill
        .lines
        .iter()
        .filter(|line| matches!(line.item, Item::Edition | Item::AddOn | Item::Refund));
    let bought: Vec<_> = bought
        .map(|line| (line.item, line.item_id.as_str(), line.quantity, line.amount_fen))
        .collect();
    let refunded = |index: usize| sales.purchases[index].request_id.as_str();
    assert_eq!(
        bought,
        [
            (Item::AddOn, "members-2000", 2, 100_000),
            (Item::Edition, "professional", 1, 99_900),
            (Item::Refund, refunded(1), 1, -100_000),
            // The renewal has not begun.
            (Item::Refund, refunded(2), 1, -99_900),
        ]
    );
    assert_eq!(bill.total_fen, 0);
}

#[test]
fn the_current_month_has_its_days_so_far() {
    let sales = history(ALL_YEAR);
    let kept = [("2019-08-20", 30)];
    for (now, days, is_final) in [
        ("2019-08-01", 1, false),
        ("2019-08-19 23:59", 19, false),
        ("2019-09-02 23:59", 31, false),
        ("2019-09-03", 31, true),
    ] {
        let bill = bill(august(), &sales, &kept, &[(5, 150_000, 0, 0)], now);
        assert_eq!((bill.days.len(), bill.is_final), (days, is_final), "{now}");
        // History that is switched on later is not charged yet.
        let history = if days < 20 { 0 } else { 1000 };
        assert_eq!(of(&bill, Item::MessageHistory), history, "{now}");
    }
}
