//! Rows of metered usage: lines computed by hand, and random rows against a model.
//!
//! A row is written as text of a catalog file, so the tests also cover its reading.

mod random;

use std::sync::Arc;

use imquota::catalog::{BUILTIN, parse};
use imquota::domain::billing::{BillingInputs, Item, Line, statement};
use imquota::domain::catalog::Catalog;
use imquota::domain::catalog_history::{CatalogHistory, InForce};
use imquota::domain::id::RequestId;
use imquota::domain::metering::DayFigures;
use imquota::domain::month::Month;
use imquota::domain::purchase::{Item as Bought, Purchase, Refund, Sales};
use imquota::domain::selling::Conditions;
use imquota::domain::terms::Terms;

use super::at;
use crate::support::{Rng, app, seed};

/// A second edition with postpaid.
const ULTRA: &str = "
[[editions]]
id = \"ultra\"
label = \"Ultra\"
price_fen_per_month = 500000
add_ons_allowed = true
postpaid_allowed = true

[editions.limits]
accounts_per_app = \"unlimited\"
friends_per_user = 3000
groups_per_user = 200
members_per_group = 200
\"groups_per_app/AVChatRoom\" = 50
";

/// The built-in catalog with these rows in place of its own metered usage.
fn with_rows(rows: &str) -> Catalog {
    let (head, rest) = BUILTIN.split_once("\n[metering.dau]\n").expect("a section of users");
    let (_, tail) = rest.split_once("\n[ids]\n").expect("a section of ids");
    let text = format!("{head}\n{rows}\n[ids]\n{tail}{ULTRA}");
    parse(&text).unwrap_or_else(|problems| panic!("{rows}\n{problems}"))
}

/// The figures of a day, as the model has them.
#[derive(Debug, Clone, Copy, Default)]
struct Day {
    dau: u64,
    groups: u64,
    mainland: u64,
    overseas: u64,
    gauge: u64,
    /// The last edition with postpaid of the day.
    edition: Option<&'static str>,
}

fn buy(catalog: &Catalog, sales: &mut Sales, edition: &str, when: &str) {
    let item = Bought::Edition(edition.into());
    sales.purchases.push(Purchase {
        request_id: RequestId::try_from(format!("buy {edition}")).expect("valid"),
        terms: Terms::of(catalog, &item),
        item,
        months: 12,
        price_fen: 0,
        conditions: Conditions::default(),
        at: at(when),
    });
}

/// Professional from that day of the month on, and Ultra in its place from another one, if any.
fn sales(catalog: &Catalog, month: Month, from: u32, ultra_from: Option<u32>) -> Sales {
    let mut sales = Sales::default();
    let noon = |day: u32| format!("{} 12:00", month.day(day));
    buy(catalog, &mut sales, "professional", &noon(from));
    if let Some(day) = ultra_from {
        sales.refunds.push(Refund {
            request_id: RequestId::try_from("refund").expect("valid"),
            purchase: 0,
            made_after: 1,
            refund_fen: 0,
            in_full: false,
            used: None,
            at: at(&noon(day)),
        });
        buy(catalog, &mut sales, "ultra", &noon(day));
    }
    sales
}

/// The lines of the rows.
fn lines(
    catalogs: &CatalogHistory,
    sales: &Sales,
    month: Month,
    days: &[Day],
    month_users: Option<u64>,
) -> Vec<Line> {
    let all = all_lines(catalogs, sales, month, days, month_users);
    all.into_iter().filter(|line| line.item == Item::Meter).collect()
}

fn all_lines(
    catalogs: &CatalogHistory,
    sales: &Sales,
    month: Month,
    days: &[Day],
    month_users: Option<u64>,
) -> Vec<Line> {
    let named = |name: &str, value: u64| (value > 0).then(|| (name.into(), value));
    let figures: Vec<DayFigures> = (month.days().zip(days))
        .map(|(day, it)| DayFigures {
            day,
            dau: it.dau,
            groups_peak: it.groups,
            groups_net_new: 0,
            bandwidth: [named("mainland", it.mainland), named("overseas", it.overseas)]
                .into_iter()
                .flatten()
                .collect(),
            gauges: named("connections", it.gauge).into_iter().collect(),
        })
        .collect();
    let books = BillingInputs {
        catalogs,
        app: &app("demo"),
        sales,
        retentions: &[],
        since: "2018-01".parse().expect("a month"),
        closed_through: None,
        month_users,
        figures: &figures,
    };
    let made = statement(&books, month, at("2030-01-01"));
    let total: i128 = made.lines.iter().map(|line| i128::from(line.amount_fen)).sum();
    assert_eq!(made.total_fen, i64::try_from(total).unwrap_or(i64::MAX));
    let charged: Vec<bool> = made.days.iter().map(|day| day.charged).collect();
    let expected: Vec<bool> = days.iter().map(|day| day.edition.is_some()).collect();
    assert_eq!(charged, expected);
    made.lines
}

fn month() -> Month {
    "2019-08".parse().expect("a month")
}

/// A row with these keys beside its id and label.
fn row(id: &str, keys: &str) -> String {
    format!("[[metering.meters]]\nid = \"{id}\"\nlabel = \"Of {id}\"\n{keys}\n")
}

/// The lines of August with figures on the 9th, under Professional.
fn on_the_9th(rows: &str, day: Day) -> Vec<Line> {
    let catalog = with_rows(rows);
    let sales = sales(&catalog, month(), 1, None);
    let mut days = vec![Day { edition: Some("professional"), ..Day::default() }; 31];
    days[8] = Day { edition: Some("professional"), ..day };
    lines(&CatalogHistory::of(Arc::new(catalog)), &sales, month(), &days, Some(day_users(&days)))
}

fn day_users(days: &[Day]) -> u64 {
    days.iter().map(|day| day.dau).sum()
}

const USERS: &str = "of = \"logins\"\naggregate = \"day_distinct_peak\"\n";

#[test]
fn begun_units_count_whole_or_not_or_by_their_share() {
    // Figure, and the amounts rounded up, down and exactly, of 850.00 for 10,000 beyond 10,000.
    for (dau, fen) in [
        (0, [0, 0, 0]),
        (10_000, [0, 0, 0]),
        (10_001, [85_000, 0, 9]),
        (17_865, [85_000, 0, 66_853]),
        (20_000, [85_000, 85_000, 85_000]),
        (20_001, [170_000, 85_000, 85_009]),
        (39_999, [255_000, 170_000, 254_992]),
    ] {
        let made = ["up", "down", "exact"].map(|rounding| {
            let keys = format!(
                "{USERS}free = 10000\nunit = 10000\nrounding = \"{rounding}\"\nprice = \"850\""
            );
            let made = on_the_9th(&row("dau", &keys), Day { dau, ..Day::default() });
            made[0].amount_fen
        });
        assert_eq!(made, fen, "{dau}");
    }
}

#[test]
fn a_figure_at_the_end_of_a_band_lies_in_it() {
    let bands = "tiers = [{ up_to = 100, fee = \"300\" }, { up_to = 200, fee = \"500.5\" }, \
                 { fee = \"1100\" }]";
    let prices = "free = 50\ntiers = [{ up_to = 100, price = \"2\" }, \
                  { up_to = 200, price = \"1\" }, { price = \"0.015\" }]";
    let rows = row("fee", &format!("{USERS}{bands}")) + &row("price", &format!("{USERS}{prices}"));
    for (dau, fee, price) in [
        (0, 30_000, 0),
        (50, 30_000, 0),
        (51, 30_000, 200),
        (100, 30_000, 10_000),
        (101, 50_050, 10_100),
        (200, 50_050, 20_000),
        (201, 110_000, 20_002),
        (202, 110_000, 20_003),
        (203, 110_000, 20_005),
    ] {
        let made = on_the_9th(&rows, Day { dau, ..Day::default() });
        assert_eq!([made[0].amount_fen, made[1].amount_fen], [fee, price], "{dau}");
    }
}

#[test]
fn a_line_lists_what_its_amount_is_computed_from() {
    let rows = row(
        "mau",
        "of = \"logins\"\naggregate = \"month_distinct\"\nfree = 10000\nprice = \"0.015\"",
    );
    let made = on_the_9th(&rows, Day { dau: 10_003, ..Day::default() });
    let inputs: Vec<_> = made[0].inputs.iter().map(|(name, it)| format!("{name}={it}")).collect();
    let expected = [
        "figure=10003",
        "day=",
        "charged_days=31",
        "edition=professional",
        "free=10000",
        "unit=1",
        "units=3",
        "price=0.015",
    ];
    assert_eq!(inputs, expected);
    let Line { item_id, description, formula, quantity, unit_price_fen, amount_fen, .. } = &made[0];
    assert_eq!((item_id.as_str(), description.as_str()), ("mau", "Of mau, in the month"));
    assert_eq!(
        formula,
        "units begun beyond what is free: ceil((figure - free) / unit), x price of a unit, rounded \
         half up once"
    );
    // 0.045 is half a fen more than 0.04.
    assert_eq!((*quantity, *unit_price_fen, *amount_fen), (3, None, 5));
    assert_eq!(made[0].unit_price.map(|it| it.to_string()).as_deref(), Some("0.015"));
}

#[test]
fn users_of_a_month_that_were_not_counted_are_at_least_those_of_the_highest_day() {
    let keys = "of = \"logins\"\naggregate = \"month_distinct\"\nfree = 10\nprice = \"1\"";
    let share = "of = \"groups\"\naggregate = \"count_peak\"\nprice = \"1\"\n\
                 free_share_of = { meter = \"mau\", percent = 20 }";
    let catalog = with_rows(&(row("mau", keys) + &row("groups", share)));
    let sales = sales(&catalog, month(), 1, None);
    let catalogs = CatalogHistory::of(Arc::new(catalog));
    let mut days = vec![Day { dau: 12, edition: Some("professional"), ..Day::default() }; 31];
    days[30].dau = 15;
    let made = lines(&catalogs, &sales, month(), &days, None);
    assert_eq!(made[0].amount_fen, 500);
    let descriptions: Vec<_> = made.iter().map(|line| line.description.as_str()).collect();
    let expected = [
        "Of mau, in the month; its users were not counted, so at least",
        "Of groups, by the highest day; the users of the month were not counted, so at most",
    ];
    assert_eq!(descriptions, expected);
    let made = lines(&catalogs, &sales, month(), &days, Some(0));
    assert_eq!(
        (made[0].amount_fen, made[1].description.as_str()),
        (0, "Of groups, by the highest day")
    );
}

#[test]
fn the_greatest_figures_and_prices_are_no_overflow() {
    let gauge = "of = \"gauge\"\nname = \"connections\"\naggregate = \"daily_peak_sum\"\n";
    let (price, unit) = ("price = \"10000000000\"", "unit = 1000000000000\nrounding = \"up\"\n");
    let tiers =
        "tiers = [{ up_to = 1, price = \"10000000000\" }, { price = \"9999999999.999999\" }]";
    let rows = row("ones", &format!("{gauge}{price}"))
        + &row("units", &format!("{gauge}{unit}round_each_day = true\nprice = \"1\""))
        + &row("bands", &format!("{gauge}{tiers}"));
    let catalog = with_rows(&rows);
    let sales = sales(&catalog, month(), 1, None);
    let day = Day { gauge: u64::MAX, edition: Some("professional"), ..Day::default() };
    let catalogs = CatalogHistory::of(Arc::new(catalog));
    let books = all_lines(&catalogs, &sales, month(), &[day; 31], None);
    let amounts: Vec<_> =
        books.iter().map(|line| (line.item_id.as_str(), line.amount_fen)).collect();
    // 31 times 18,446,745 units.
    let units = 31 * 18_446_745 * 100;
    assert_eq!(amounts[1..], [("ones", i64::MAX), ("units", units), ("bands", i64::MAX)]);
}

#[test]
fn without_a_charged_day_no_row_charges() {
    let keys = "of = \"logins\"\naggregate = \"month_distinct\"\nprice = \"1\"";
    let rows = row("mau", keys) + &row("fee", &format!("{USERS}tiers = [{{ fee = \"300\" }}]"));
    let catalogs = CatalogHistory::of(Arc::new(with_rows(&rows)));
    let days = vec![Day { dau: 12, ..Day::default() }; 31];
    let made = lines(&catalogs, &Sales::default(), month(), &days, Some(20));
    let amounts: Vec<_> = made.iter().map(|line| (line.quantity, line.amount_fen)).collect();
    assert_eq!(amounts, [(0, 0), (0, 0)]);
}

#[test]
fn a_day_has_the_allowance_of_its_catalog_and_a_month_the_prices_of_its_last() {
    let rows = |free: u64, price: &str, also: &str| {
        let dau = format!("{USERS}free = {free}\nprice = \"{price}\"");
        Arc::new(with_rows(&(row("dau", &dau) + also)))
    };
    let other = row("other", &format!("{USERS}price = \"1\""));
    let region = "of = \"bandwidth\"\naggregate = \"daily_peak_sum\"\nunit = 1000\n\
                  rounding = \"up\"\nround_each_day = true\nprice_by = \"region\"\nprices = ";
    let both = row("mbps", &format!("{region}{{ mainland = \"2\", overseas = \"3\" }}"));
    let one = row("mbps", &format!("{region}{{ mainland = \"4\" }}"));
    let catalogs = CatalogHistory::new(vec![
        InForce { since: at("2019-01-01"), catalog: rows(100, "1", &(both + &other)) },
        InForce { since: at("2019-08-11"), catalog: rows(10, "2", &one) },
    ]);
    let catalogs = catalogs.expect("in order");
    let sales = sales(&catalogs.records()[0].catalog.clone(), month(), 1, None);
    let mut days = vec![Day { edition: Some("professional"), ..Day::default() }; 31];
    (days[9].dau, days[10].dau) = (105, 20);
    (days[0].mainland, days[1].overseas, days[20].mainland) = (1, 1001, 1000);
    let made = lines(&catalogs, &sales, month(), &days, Some(0));
    let made: Vec<_> = made.iter().map(|line| (line.item_id.as_str(), line.amount_fen)).collect();
    // 10 beyond on the 11th, 5 on the 10th. The row "other" has ended; the region had traffic.
    assert_eq!(made, [("dau", 2000), ("mbps/mainland", 800), ("mbps/overseas", 600)]);
}

#[test]
fn an_edition_that_the_catalog_lacks_has_nothing_free_and_the_highest_fee() {
    let free = "free = { professional = 50, ultra = 70 }\nprice = \"1\"";
    let fees = "tiers = [{ fee = { professional = \"300\", ultra = \"200\" } }]";
    let rows = row("free", &format!("{USERS}{free}")) + &row("fee", &format!("{USERS}{fees}"));
    let mut catalog = with_rows(&rows);
    let mut sold = catalog.clone();
    sold.editions[1].id = "retired".into();
    let mut sales = Sales::default();
    buy(&sold, &mut sales, "retired", "2019-08-01");
    catalog.version = "later".into();
    let mut days = vec![Day { edition: Some("retired"), ..Day::default() }; 31];
    days[3].dau = 60;
    let made = lines(&CatalogHistory::of(Arc::new(catalog)), &sales, month(), &days, None);
    assert_eq!([made[0].amount_fen, made[1].amount_fen], [6000, 30_000]);
}

#[test]
fn rows_can_say_what_the_sections_of_the_built_in_catalog_do() {
    let rows = row(
        "dau",
        &format!("{USERS}free = 100000\nunit = 100000\nrounding = \"up\"\nprice = \"10000\""),
    ) + &row(
        "groups",
        "of = \"groups\"\naggregate = \"count_peak\"\nfrom_day = 4\nfree = 100000\nunit = 100000\n\
             rounding = \"up\"\nprice = \"1000\"",
    ) + &row(
        "mbps",
        "of = \"bandwidth\"\naggregate = \"daily_peak_sum\"\nunit = 1000\nrounding = \"up\"\n\
             round_each_day = true\nprice_by = \"region\"\n\
             prices = { mainland = \"2\", overseas = \"not_charged\" }",
    );
    let by_rows = CatalogHistory::of(Arc::new(with_rows(&rows)));
    let by_sections = CatalogHistory::of(Arc::new(super::catalog()));
    let mut rng = Rng::new(seed(2019));
    let sales = sales(&super::catalog(), month(), 1, None);
    for _ in 0..200 {
        let figure = |rng: &mut Rng| match rng.below(3) {
            0 => rng.next() % 400_000,
            _ => 100_000 * (rng.next() % 5) + rng.next() % 2,
        };
        let days = (0..31).map(|_| Day {
            dau: figure(&mut rng),
            groups: figure(&mut rng),
            mainland: figure(&mut rng),
            overseas: figure(&mut rng),
            gauge: 0,
            edition: Some("professional"),
        });
        let days: Vec<Day> = days.collect();
        let amounts = |catalogs, item: &dyn Fn(Item) -> bool| -> Vec<(i64, i64, Option<i64>)> {
            let all = all_lines(catalogs, &sales, month(), &days, None);
            let metered = all.iter().filter(|line| item(line.item));
            metered.map(|it| (it.quantity, it.amount_fen, it.unit_price_fen)).collect()
        };
        let sections = [Item::Dau, Item::Groups, Item::Bandwidth];
        let expected = amounts(&by_sections, &|item| sections.contains(&item));
        assert_eq!(expected.len(), 4);
        assert_eq!(amounts(&by_rows, &|item| item == Item::Meter), expected, "{days:?}");
    }
}
