//! Catalogs that change inside and after a month: the catalog of a day and of a month, and the
//! totals of statements over them. Amounts are in CNY here.

use std::sync::Arc;

use imquota::domain::billing::{BillingInputs, Item, Statement, final_at, statement};
use imquota::domain::calendar::{Day, Zone};
use imquota::domain::catalog::Catalog;
use imquota::domain::catalog_history::{CatalogHistory, InForce};
use imquota::domain::metering::DayFigures;
use imquota::domain::month::Month;
use imquota::domain::postpaid::Tier;
use imquota::domain::purchase::Sales;
use imquota::domain::schedule::{MissingItem, Schedule};
use imquota::domain::terms::Terms;
use imquota::domain::time::Timestamp;

use super::{at, before, catalog, history};
use crate::support::{app, order};

/// Professional for all of 2019.
const ALL_YEAR: &[(&str, &str, u32)] = &[("2019-01-01", "professional", 12)];

fn month(text: &str) -> Month {
    text.parse().expect("a month")
}

fn day(text: &str) -> Day {
    Day::parse(text).expect("a day")
}

/// The change of a catalog against the previous one.
type Change = fn(&mut Catalog);

/// The built-in catalog, with a change from each instant on.
fn changed(changes: &[(&str, Change)]) -> CatalogHistory {
    let mut records = vec![InForce { since: at("2018-06-01"), catalog: Arc::new(catalog()) }];
    for (number, (since, change)) in changes.iter().enumerate() {
        let mut next = Catalog::clone(&records[number].catalog);
        next.version = format!("change {}", number + 1);
        change(&mut next);
        records.push(InForce { since: at(since), catalog: Arc::new(next) });
    }
    CatalogHistory::new(records).expect("in order")
}

/// The metered figures of every day: users, peak of groups, Mbps in the mainland.
fn bill(
    catalogs: &CatalogHistory,
    sales: &Sales,
    of: &str,
    metered: impl Fn(u32) -> (u64, u64, u64),
) -> Statement {
    let of = month(of);
    let figures: Vec<DayFigures> = of
        .days()
        .zip(1..)
        .map(|(day, number)| {
            let (dau, groups_peak, mbps) = metered(number);
            let bandwidth = if mbps > 0 { vec![("mainland".into(), mbps * 1000)] } else { vec![] };
            DayFigures { day, dau, groups_peak, groups_net_new: 0, bandwidth, gauges: Vec::new() }
        })
        .collect();
    let books = BillingInputs {
        catalogs,
        app: &app("demo"),
        sales,
        retentions: &[],
        since: month("2018-06"),
        closed_through: None,
        month_users: None,
        figures: &figures,
    };
    statement(&books, of, at("2020-06-01"))
}

fn of(statement: &Statement, item: Item) -> i64 {
    let lines = statement.lines.iter().filter(|line| line.item == item);
    lines.map(|line| line.amount_fen).sum::<i64>() / 100
}

fn dau(catalog: &mut Catalog) -> &mut Tier {
    catalog.postpaid.dau.as_mut().expect("a price of users")
}

fn groups(catalog: &mut Catalog) -> &mut Tier {
    &mut catalog.postpaid.groups.as_mut().expect("a price of groups").tier
}

fn dearer(catalog: &mut Catalog) {
    dau(catalog).price_fen_per_unit *= 7;
    groups(catalog).price_fen_per_unit *= 7;
}

fn without_regions(catalog: &mut Catalog) {
    catalog.postpaid.regions.retain(|region| region.id.as_str() != "mainland");
}

fn without_editions(catalog: &mut Catalog) {
    catalog.editions.retain(|edition| edition.id.as_str() == "trial");
    catalog.add_ons.clear();
}

fn new_york(catalog: &mut Catalog) {
    catalog.zone = Zone::named("America/New_York").expect("a zone");
}

fn auckland(catalog: &mut Catalog) {
    catalog.zone = Zone::named("Pacific/Auckland").expect("a zone");
}

fn shanghai(catalog: &mut Catalog) {
    catalog.zone = Zone::named("Asia/Shanghai").expect("a zone");
}

fn cheap(catalog: &mut Catalog) {
    for region in &mut catalog.postpaid.regions {
        region.price_fen_per_mbps_day = region.price_fen_per_mbps_day.map(|price| price / 2);
    }
}

fn generous(catalog: &mut Catalog) {
    dau(catalog).free = 500_000;
    groups(catalog).free = 500_000;
}

fn not_charged(catalog: &mut Catalog) {
    for edition in &mut catalog.editions {
        edition.postpaid_allowed = false;
    }
}

fn no_grace(catalog: &mut Catalog) {
    catalog.validity.edition_grace_days = 0;
}

fn later(catalog: &mut Catalog) {
    catalog.postpaid.final_day = 20;
}

fn label(version: &str) -> InForce {
    let mut catalog = catalog();
    version.clone_into(&mut catalog.editions[1].label);
    InForce { since: at("2019-10-02"), catalog: Arc::new(catalog) }
}

#[test]
fn the_catalog_of_an_instant_is_the_last_one_before_it_or_the_first_one() {
    let catalogs = changed(&[("2019-11-10 12:00", dearer), ("2019-12-01", dearer)]);
    for (when, version) in [
        ("2017-01-01", "2019-08-09"),
        ("2019-11-10 11:59", "2019-08-09"),
        ("2019-11-10 12:00", "change 1"),
        ("2019-11-30 23:59", "change 1"),
        ("2019-12-01", "change 2"),
        ("2030-01-01", "change 2"),
    ] {
        assert_eq!(catalogs.at(at(when)).version, version, "{when}");
    }
    for (of, version) in [
        ("2017-01", "2019-08-09"),
        ("2019-10", "2019-08-09"),
        ("2019-11", "change 1"),
        ("2019-12", "change 2"),
        ("2020-12", "change 2"),
    ] {
        assert_eq!(catalogs.pricing(month(of)).version, version, "{of}");
    }
    assert_eq!(catalogs.on(day("2019-11-09")).version, "2019-08-09");
    assert_eq!(catalogs.on(day("2019-11-10")).version, "change 1");
    let within: Vec<_> = catalogs.within(month("2019-11")).map(|it| it.version.as_str()).collect();
    assert_eq!(within, ["change 1", "2019-08-09"]);
    assert_eq!(catalogs.within(month("2019-12")).count(), 1);
    assert_eq!(CatalogHistory::new(Vec::new()), None);
}

#[test]
fn a_changed_zone_counts_from_the_first_of_the_next_month() {
    let zones: [(Change, &str); 2] =
        [(new_york, "America/New_York"), (auckland, "Pacific/Auckland")];
    for (change, name) in zones {
        let catalogs = changed(&[("2019-11-10 12:00", change)]);
        let turn = at("2019-12-01");
        assert_eq!(catalogs.at(before(turn)).zone.name(), "Asia/Shanghai");
        assert_eq!(catalogs.at(before(turn)).version, "change 1");
        assert_eq!(catalogs.at(turn).zone.name(), name);
        assert_eq!(catalogs.zone_of(month("2019-11")).name(), "Asia/Shanghai");
        assert_eq!(catalogs.on(day("2019-11-30")).zone.name(), "Asia/Shanghai");
        assert_eq!(catalogs.zone_of(month("2019-12")).name(), name);
        // Every instant has a day, and days are in order.
        let mut last = catalogs.day_of(at("2019-11-28"));
        for hour in 1..8 * 24 {
            let instant = Timestamp::from_millis(at("2019-11-28").as_millis() + hour * 3_600_000);
            let of = catalogs.day_of(instant);
            assert!(of == last || of == last.plus_days(1), "{name} {hour}: {of}");
            if of != last {
                let start = catalogs.start_of(of);
                assert_eq!(catalogs.day_of(start), of, "{name}");
                assert_eq!(catalogs.day_of(before(start)), last, "{name}");
            }
            last = of;
        }
    }
    // A change that is reverted before it counts has no effect.
    let catalogs = changed(&[("2019-11-10", new_york), ("2019-11-20", shanghai)]);
    assert_eq!(catalogs.at(at("2020-03-01")).zone.name(), "Asia/Shanghai");
}

#[test]
fn a_new_price_list_of_december_leaves_november_as_it_was() {
    let sales = history(&[("2019-11-01", "professional", 1), ("2019-11-02", "members-2000", 1)]);
    let november = |catalogs: &CatalogHistory| {
        let bill = bill(catalogs, &sales, "2019-11", |_| (250_000, 250_000, 0));
        (bill.total_fen / 100, bill.catalog_version)
    };
    let before = november(&changed(&[]));
    assert_eq!(before.0, 999 + 500 + 20_000 + 2_000);
    assert_eq!(november(&changed(&[("2019-12-01", dearer)])), before);
    // At the month's last instant it is the catalog of that month.
    let (total, version) = november(&changed(&[("2019-11-30 23:59", dearer)]));
    assert_eq!((total, version.as_str()), (999 + 500 + 7 * 22_000, "change 1"));
    let december = bill(&changed(&[("2019-12-01", dearer)]), &history(ALL_YEAR), "2019-12", |_| {
        (250_000, 0, 0)
    });
    assert_eq!(of(&december, Item::Dau), 7 * 20_000);
}

#[test]
fn a_region_that_is_removed_is_charged_for_the_months_that_had_it() {
    let sales = history(ALL_YEAR);
    let metered = |number| (0, 0, if number <= 3 { 100 } else { 0 });
    for since in ["2019-11-10", "2019-11-30 23:59", "2019-12-01", "2019-12-02"] {
        let catalogs = changed(&[(since, without_regions)]);
        let bill = bill(&catalogs, &sales, "2019-11", metered);
        assert_eq!(of(&bill, Item::Bandwidth), 600, "{since}");
    }
    let catalogs = changed(&[("2019-11-10", without_regions)]);
    let december = bill(&catalogs, &sales, "2019-12", metered);
    let regions: Vec<_> = december
        .lines
        .iter()
        .filter(|line| line.item == Item::Bandwidth)
        .map(|line| line.item_id.as_str())
        .collect();
    assert_eq!(regions, ["overseas"], "a month after it has no line for it");
    // The last price of the region in the month.
    let catalogs = changed(&[("2019-11-05", cheap), ("2019-11-10", without_regions)]);
    assert_eq!(of(&bill(&catalogs, &sales, "2019-11", metered), Item::Bandwidth), 300);
}

#[test]
fn an_edition_that_was_sold_used_and_removed_is_charged_as_before() {
    let sales = history(&[("2019-11-01", "professional", 1), ("2019-11-02", "members-2000", 1)]);
    for since in ["2019-11-02 12:00", "2019-11-20", "2019-12-01"] {
        let catalogs = changed(&[(since, without_editions)]);
        let bill = bill(&catalogs, &sales, "2019-11", |_| (350_000, 150_000, 0));
        assert_eq!(bill.total_fen / 100, 999 + 500 + 30_000 + 1_000, "{since}");
        let names: Vec<_> = bill.lines.iter().take(2).map(|line| &line.description).collect();
        assert!(names[0].starts_with("Edition Professional,"), "{names:?}");
        assert!(names[1].starts_with("Add-on 2000 members per group,"), "{names:?}");
    }
}

#[test]
fn charge_and_allowance_of_a_day_follow_the_catalog_of_that_day() {
    let sales = history(ALL_YEAR);
    let until_ninth = changed(&[("2019-11-10", generous)]);
    // 250,000 on the 9th exceed 100,000 by more than 600,000 on the 20th exceed 500,000.
    let peaks = |number| match number {
        9 => (250_000, 250_000, 0),
        20 => (600_000, 600_000, 0),
        _ => (0, 0, 0),
    };
    let made = bill(&until_ninth, &sales, "2019-11", peaks);
    assert_eq!((of(&made, Item::Dau), of(&made, Item::Groups)), (20_000, 2_000));
    let line = made.lines.iter().find(|line| line.item == Item::Dau).expect("a line");
    for (name, value) in [("peak", "250000"), ("peak_day", "2019-11-09"), ("free", "100000")] {
        assert!(line.inputs.contains(&(name.into(), value.into())), "{:?}", line.inputs);
    }
    let made = bill(&changed(&[("2019-11-10", not_charged)]), &sales, "2019-11", peaks);
    assert_eq!(made.days.iter().filter(|day| day.charged).count(), 9);
    assert_eq!(of(&made, Item::Dau), 20_000);
    let made = bill(&changed(&[("2019-11-09", not_charged)]), &sales, "2019-11", peaks);
    assert_eq!((of(&made, Item::Dau), of(&made, Item::Groups)), (0, 0));
}

#[test]
fn the_grace_of_a_day_is_that_of_its_catalog() {
    // Valid through the 9th, followed by seven days of grace.
    let sales = history(&[("2019-10-10", "professional", 1)]);
    let charged = |catalogs: &CatalogHistory| {
        let made = bill(catalogs, &sales, "2019-11", |_| (0, 0, 0));
        made.days.iter().filter(|day| day.charged).count()
    };
    assert_eq!(charged(&changed(&[])), 16);
    assert_eq!(charged(&changed(&[("2019-11-13", no_grace)])), 12);
    assert_eq!(charged(&changed(&[("2019-12-01", no_grace)])), 16);
    assert_eq!(charged(&changed(&[("2019-11-01", no_grace)])), 9);
}

#[test]
fn a_moved_final_day_does_not_move_that_of_a_month_before() {
    let catalogs = changed(&[("2019-12-01", later)]);
    assert_eq!(final_at(&catalogs, month("2019-11")), at("2019-12-03"));
    assert_eq!(final_at(&catalogs, month("2019-12")), at("2020-01-20"));
}

#[test]
fn purchases_keep_their_limits_if_the_catalog_lacks_the_item() {
    let sales = history(&[("2019-11-01", "professional", 1), ("2019-11-02", "members-2000", 1)]);
    let with = Schedule::compile(&catalog(), &sales, at("2019-11-03")).expect("all is for sale");
    let mut lacking = catalog();
    without_editions(&mut lacking);
    let without = Schedule::compile(&lacking, &sales, at("2019-11-03")).expect("it has terms");
    assert_eq!(with, without);
    // While the catalog has the item, its limits are the catalog's.
    let mut other = catalog();
    other.add_ons.retain(|add_on| add_on.id.as_str() != "members-2000");
    other.editions[1].limits.clear();
    let catalogs = Schedule::compile(&other, &sales, at("2019-11-03")).expect("all items exist");
    assert_eq!(catalogs.at(at("2019-11-03")).sold, []);
    // An add-on of the same kind cannot be bought beside one that the catalog lacks.
    let sold = imquota::domain::purchase::sell(
        &Catalog { editions: lacking.editions.clone(), ..catalog() },
        &sales,
        &order("members-6000"),
        1,
        at("2019-11-03"),
    );
    assert!(sold.is_err_and(|refusal| refusal.to_string().contains("members-2000")));
}

#[test]
fn old_purchases_get_the_terms_of_the_first_catalog_with_the_item() {
    let mut sales =
        history(&[("2019-11-01", "professional", 1), ("2019-11-02", "members-2000", 1)]);
    for purchase in &mut sales.purchases {
        purchase.terms = None;
    }
    let mut lacking = catalog();
    without_editions(&mut lacking);
    let missing = Schedule::compile(&lacking, &sales, at("2019-11-03"));
    let name = "professional".into();
    assert_eq!(missing, Err(MissingItem { what: "edition", name }));
    let first = InForce { since: at("2019-10-01"), catalog: Arc::new(lacking.clone()) };
    let records = vec![first, label("first"), label("second")];
    let catalogs = CatalogHistory::new(records).expect("in order");
    assert_eq!(catalogs.fills(&sales), [1, 1]);
    catalogs.fill(&mut sales);
    let labels = sales.purchases.iter().map(|purchase| match purchase.terms.as_deref() {
        Some(Terms::Edition(edition)) => edition.label.clone(),
        Some(Terms::AddOn(add_on)) => add_on.label.clone(),
        None => String::new(),
    });
    assert_eq!(labels.collect::<Vec<_>>(), ["first", "2000 members per group"]);
    assert_eq!(catalogs.fills(&sales), [0; 0]);
    assert!(Schedule::compile(&lacking, &sales, at("2019-11-03")).is_ok());
}
