//! Conditions of sale and rules of prices: what is retired, sold once or for few months, prices of
//! certain numbers of months, prices by calendar days, and the last valid day. The figures were
//! computed by hand.

use std::sync::Arc;

use imquota::domain::billing::{BillingInputs, Item as LineItem, statement};
use imquota::domain::calendar::LastDay;
use imquota::domain::catalog::Catalog;
use imquota::domain::catalog_history::CatalogHistory;
use imquota::domain::decision::{Reason, Subject, Violation};
use imquota::domain::id::RequestId;
use imquota::domain::limit::LimitId;
use imquota::domain::purchase::{Purchase, Refund, Refusal, Sales};
use imquota::domain::refund::refund;
use imquota::domain::schedule::Schedule;
use imquota::domain::selling::{FeeRule, RefundRule};
use imquota::domain::timeline::Timeline;
use imquota::domain::upgrade::upgrades;

use super::{at, catalog, history, shown, word};
use crate::support::{app, order};

type Orders<'a> = &'a [(&'a str, &'a str, u32)];
type Change = fn(&mut Catalog);

fn changed(change: Change) -> Catalog {
    let mut catalog = catalog();
    change(&mut catalog);
    catalog
}

/// The purchase of an order by a catalog, or a keyword of its refusal.
fn bought(
    catalog: &Catalog,
    sales: &Sales,
    (when, what, months): (&str, &str, u32),
) -> Result<Purchase, Refusal> {
    let number = sales.purchases.len();
    let id = RequestId::try_from(format!("r{number}")).expect("valid");
    Purchase::of_order(catalog, sales, id, &order(what), months, at(when))
}

/// Adds orders by a catalog, none of which may be refused.
fn add(catalog: &Catalog, sales: &mut Sales, orders: Orders<'_>) {
    for one in orders {
        let made = bought(catalog, sales, *one).unwrap_or_else(|it| panic!("{one:?}: {it}"));
        sales.purchases.push(made);
    }
}

fn sold(catalog: &Catalog, orders: Orders<'_>) -> Sales {
    let mut sales = Sales::default();
    add(catalog, &mut sales, orders);
    sales
}

fn add_refund(catalog: &Catalog, sales: &mut Sales, purchase: usize, when: &str) -> i64 {
    let id = RequestId::try_from(format!("refund {purchase}")).expect("valid");
    let of = sales.purchases[purchase].request_id.clone();
    let made = Refund::of_purchase(catalog, sales, id, &of, at(when)).expect("may be refunded");
    let refund_fen = made.refund_fen;
    sales.refunds.push(made);
    refund_fen
}

fn retired(catalog: &mut Catalog) {
    catalog.editions[1].selling.is_for_sale = false;
    // groups-per-user-400.
    catalog.add_ons[2].selling.is_for_sale = false;
}

fn month_only(catalog: &mut Catalog) {
    catalog.editions[1].selling.months_max = Some(1);
    catalog.add_ons[0].selling.months_max = Some(6);
}

fn once(catalog: &mut Catalog) {
    catalog.editions[1].selling.is_once_per_app = true;
    catalog.add_ons[0].selling.is_once_per_app = true;
}

fn yearly(catalog: &mut Catalog) {
    catalog.editions[1].selling.price_of_months = vec![(3, 280_000), (12, 999_000)];
    catalog.add_ons[0].selling.price_of_months = vec![(12, 500_000)];
}

fn calendar_days(catalog: &mut Catalog) {
    yearly(catalog);
    catalog.validity.fee = FeeRule::CalendarDays;
}

fn same_day(catalog: &mut Catalog) {
    catalog.validity.last_day = LastDay::Same;
}

fn same_day_by_days(catalog: &mut Catalog) {
    same_day(catalog);
    catalog.validity.fee = FeeRule::CalendarDays;
}

fn no_refunds(catalog: &mut Catalog) {
    catalog.validity.refund = RefundRule::Nothing;
}

const NONE: Orders<'_> = &[];
const FEBRUARY: Orders<'_> = &[("2019-02-12", "professional", 1)];
const JANUARY: Orders<'_> = &[("2019-01-31", "professional", 1)];
const WITH_2000: Orders<'_> =
    &[("2019-02-12", "professional", 24), ("2019-02-20", "members-2000", 1)];

/// A catalog, what was bought by the built-in one, an order, and its price or refusal.
type Sale<'a> = (Change, Orders<'a>, (&'a str, &'a str, u32), Result<i64, &'a str>);

const SALES: &[Sale<'_>] = &[
    // What is retired is not sold anew, and is renewed until it has stopped.
    (retired, NONE, ("2019-02-12", "professional", 1), Err("NotForSale")),
    (retired, FEBRUARY, ("2019-03-11 23:59", "renew", 1), Ok(99_900)),
    (retired, FEBRUARY, ("2019-03-18 23:59", "renew", 1), Ok(99_900)),
    (retired, FEBRUARY, ("2019-03-19", "renew", 1), Err("NotForSale")),
    (retired, FEBRUARY, ("2019-03-19", "professional", 1), Err("NotForSale")),
    (retired, FEBRUARY, ("2019-02-13", "groups-per-user-400", 1), Err("NotForSale")),
    (retired, FEBRUARY, ("2019-02-13", "groups-per-user-700", 1), Ok(90_000)),
    // At most 1 month of the edition and 6 of the add-on at a time.
    (month_only, NONE, ("2019-02-12", "professional", 1), Ok(99_900)),
    (month_only, NONE, ("2019-02-12", "professional", 2), Err("MonthsAboveMax")),
    (month_only, FEBRUARY, ("2019-02-13", "renew", 1), Ok(99_900)),
    (month_only, FEBRUARY, ("2019-02-13", "renew", 2), Err("MonthsAboveMax")),
    (month_only, FEBRUARY, ("2019-02-13", "members-2000", 6), Ok(300_000)),
    (month_only, FEBRUARY, ("2019-02-13", "members-2000", 7), Err("MonthsAboveMax")),
    // Once: not again after its end, and not renewed.
    (once, NONE, ("2019-02-12", "professional", 1), Ok(99_900)),
    (once, FEBRUARY, ("2019-02-13", "professional", 1), Err("EditionInForce")),
    (once, FEBRUARY, ("2019-02-13", "renew", 1), Err("SoldOnce")),
    (once, FEBRUARY, ("2019-03-19", "renew", 1), Err("SoldOnce")),
    (once, FEBRUARY, ("2019-03-19", "professional", 1), Err("SoldOnce")),
    (once, FEBRUARY, ("2019-02-13", "members-2000", 1), Ok(50_000)),
    (once, WITH_2000, ("2019-04-01", "members-2000", 1), Err("SoldOnce")),
    (once, WITH_2000, ("2019-04-01", "members-6000", 1), Ok(100_000)),
    // Prices of 3 and of 12 months; any other number is months x price.
    (yearly, NONE, ("2019-02-12", "professional", 12), Ok(999_000)),
    (yearly, NONE, ("2019-02-12", "professional", 3), Ok(280_000)),
    (yearly, NONE, ("2019-02-12", "professional", 1), Ok(99_900)),
    (yearly, NONE, ("2019-02-12", "professional", 24), Ok(2_397_600)),
    (yearly, FEBRUARY, ("2019-02-13", "renew", 12), Ok(999_000)),
    (yearly, FEBRUARY, ("2019-02-13", "members-2000", 12), Ok(500_000)),
    (yearly, FEBRUARY, ("2019-02-13", "members-2000", 11), Ok(550_000)),
    // 17 of 28 days of February, 11 of 31 of March: 60,653.571 + 35,448.387.
    (calendar_days, NONE, ("2019-02-12 23:59", "professional", 1), Ok(96_102)),
    (calendar_days, NONE, ("2019-02-01", "professional", 1), Ok(99_900)),
    // 1 of 31 days of January, and all of February.
    (calendar_days, NONE, ("2019-01-31", "professional", 1), Ok(103_123)),
    // A price that is set for a number of months stands.
    (calendar_days, NONE, ("2019-01-15", "professional", 12), Ok(999_000)),
    // 17 days of January, 14 of December, and the ten months between.
    (calendar_days, NONE, ("2019-01-15", "professional", 11), Ok(1_098_900)),
    // From 1 to 30 March.
    (calendar_days, JANUARY, ("2019-02-10", "renew", 1), Ok(96_677)),
    // 16 of 28 days of February, 12 of 31 of March, of 500.00: 28,571.429 + 19,354.839.
    (calendar_days, FEBRUARY, ("2019-02-13", "members-2000", 1), Ok(47_926)),
    // One more day of March: 60,653.571 + 38,670.968.
    (same_day_by_days, NONE, ("2019-02-12", "professional", 1), Ok(99_325)),
];

#[test]
fn orders_have_their_price_or_refusal_by_the_conditions_of_sale() {
    for (change, orders, one, expected) in SALES {
        let got = bought(&changed(*change), &history(orders), *one);
        let got = got.map(|made| made.price_fen).map_err(|refusal| word(&refusal));
        assert_eq!(got, *expected, "{orders:?}, then {one:?}");
    }
}

#[test]
fn a_refunded_trial_stays_bought() {
    let catalog = changed(once);
    let mut sales = sold(&catalog, FEBRUARY);
    add_refund(&catalog, &mut sales, 0, "2019-02-13");
    let again = bought(&catalog, &sales, ("2019-02-14", "professional", 1));
    let refusal = again.expect_err("sold once").to_string();
    for part in ["edition \"professional\"", "once_per_app", "request \"r0\""] {
        assert!(refusal.contains(part), "{refusal}");
    }
}

#[test]
fn what_is_retired_keeps_its_limits() {
    let orders = &[("2019-02-12", "professional", 2), ("2019-02-20", "groups-per-user-400", 1)];
    let limits = |catalog: &Catalog| {
        let schedule = Schedule::compile(catalog, &history(orders), at("2019-02-21"));
        schedule.expect("the catalog has it all")
    };
    assert_eq!(limits(&changed(retired)), limits(&catalog()));
    assert_eq!(shown(limits(&changed(retired)).at(at("2019-02-21"))), "Active - 3000 400 200 50");
}

/// The prices of the offers of a denial of one more group for a user, in an app that bought these.
fn offered(change: Change, orders: Orders<'_>) -> Vec<i64> {
    let catalog = changed(change);
    let schedule = Schedule::compile(&catalog, &history(orders), at("2019-02-21"));
    let limits = schedule.expect("the catalog has it all").at(at("2019-02-21")).clone();
    let bound = limits.sold(&LimitId::GroupsPerUser).expect("it is sold").clone();
    let used = bound.limit.finite().expect("a limit");
    let violation = Violation::check(
        Reason::GroupsPerUser,
        LimitId::GroupsPerUser,
        &Subject::App,
        used,
        &bound,
    );
    let violation = violation.expect("the limit is reached");
    let all = std::slice::from_ref(&violation);
    let upgrades = upgrades(&catalog, &limits, &violation, all);
    upgrades.iter().map(|upgrade| upgrade.price_fen_per_month).collect()
}

#[test]
fn what_is_not_for_sale_or_sold_once_is_not_offered() {
    assert_eq!(offered(|_| {}, NONE), [99_900]);
    assert_eq!(offered(|_| {}, FEBRUARY), [50_000]);
    // The next larger add-on, and no edition.
    assert_eq!(offered(retired, FEBRUARY), [90_000]);
    assert_eq!(offered(retired, NONE), [0; 0]);
    assert_eq!(offered(once, NONE), [0; 0]);
    let offer = |change: Change| changed(change).cheapest_postpaid().map(|(_, price)| price);
    assert_eq!((offer(|_| {}), offer(retired), offer(once)), (Some(99_900), None, None));
}

#[test]
fn a_year_at_its_price_is_refunded_by_days_and_is_one_line() {
    let catalog = changed(yearly);
    let sales = sold(&catalog, &[("2019-01-15", "professional", 12)]);
    // 60 of 365 days: 17 of January, 28 of February and 15 of March.
    let left = refund(&catalog, &sales, 0, at("2019-03-15 12:00")).expect("may be refunded");
    assert_eq!((left.days, left.days_used, left.refund_fen), (365, 60, 834_781));
    let lines = lines(&catalog, &sales, "2019-01");
    assert_eq!(lines, [(1, Some(999_000), 999_000, "the price of 12 months".to_owned())]);
    // Other numbers of months have their line as before.
    let sales = sold(&catalog, &[("2019-01-15", "professional", 2)]);
    let expected = (2, Some(99_900), 199_800, "months x price of a month".to_owned());
    assert_eq!(self::lines(&catalog, &sales, "2019-01"), [expected]);
}

#[test]
fn a_price_by_calendar_days_has_its_formula() {
    let catalog = changed(calendar_days);
    let lines = lines(&catalog, &sold(&catalog, FEBRUARY), "2019-02");
    let formula = "each day's share of the price of its calendar month, rounded half up";
    assert_eq!(lines, [(1, Some(96_102), 96_102, formula.to_owned())]);
}

/// The lines of purchases and refunds: quantity, unit price, amount and formula.
fn lines(catalog: &Catalog, sales: &Sales, month: &str) -> Vec<(i64, Option<i64>, i64, String)> {
    let catalogs = CatalogHistory::of(Arc::new(catalog.clone()));
    let month = month.parse().expect("a month");
    let books = BillingInputs {
        catalogs: &catalogs,
        app: &app("demo"),
        sales,
        retentions: &[],
        since: month,
        closed_through: None,
        month_users: None,
        figures: &[],
    };
    let made = statement(&books, month, at("2019-12-01"));
    let sold = made
        .lines
        .into_iter()
        .filter(|line| matches!(line.item, LineItem::Edition | LineItem::AddOn | LineItem::Refund));
    sold.map(|it| (it.quantity, it.unit_price_fen, it.amount_fen, it.formula)).collect()
}

#[test]
fn nothing_is_paid_back_of_what_has_begun_if_the_catalog_has_it_so() {
    let catalog = changed(no_refunds);
    let orders = &[("2019-02-12", "professional", 1), ("2019-02-20", "renew", 1)];
    let mut sales = sold(&catalog, orders);
    // A renewal that has not begun, then the purchase that has, after its five days.
    assert_eq!(add_refund(&catalog, &mut sales, 1, "2019-02-20 12:00"), 99_900);
    assert_eq!(add_refund(&catalog, &mut sales, 0, "2019-02-20 13:00"), 0);
    let refunds: Vec<_> = lines(&catalog, &sales, "2019-02").split_off(2);
    assert_eq!(refunds[0].2, -99_900);
    assert_eq!(refunds[1].2, 0);
    assert_eq!(refunds[1].3, "nothing is paid back of what has begun");
    let soon = refund(&catalog, &sold(&catalog, FEBRUARY), 0, at("2019-02-16 23:59"));
    assert_eq!(soon.expect("may be refunded").refund_fen, 99_900);
}

/// Orders, and the first day without the edition and without service, if the last valid day is T.
const SAME_DAY: &[(Orders<'_>, &str, &str)] = &[
    (FEBRUARY, "2019-03-13", "2019-03-20"),
    (JANUARY, "2019-03-01", "2019-03-08"),
    (&[("2019-01-31", "professional", 2)], "2019-04-01", "2019-04-08"),
    (&[("2019-01-31", "professional", 1), ("2019-02-10", "renew", 1)], "2019-04-01", "2019-04-08"),
    (&[("2019-01-01", "professional", 1)], "2019-02-02", "2019-02-09"),
];

#[test]
fn purchases_may_be_valid_through_the_same_day_of_the_month() {
    let catalog = changed(same_day);
    for (orders, ends, stops) in SAME_DAY {
        let timeline = Timeline::new(&catalog, &sold(&catalog, orders));
        let run = timeline.editions.last().expect("an edition");
        assert_eq!((run.valid.until, run.stops_at), (at(ends), at(stops)), "{orders:?}");
    }
}

#[test]
fn a_purchase_keeps_the_last_day_by_which_it_was_sold() {
    let (before, same) = (catalog(), changed(same_day));
    let ends = |catalog: &Catalog, sales: &Sales| {
        Timeline::new(catalog, sales).editions.last().expect("an edition").valid.until
    };
    let mut sales = sold(&before, FEBRUARY);
    assert_eq!((ends(&before, &sales), ends(&same, &sales)), (at("2019-03-12"), at("2019-03-12")));
    add(&same, &mut sales, &[("2019-02-20", "renew", 1)]);
    assert_eq!((ends(&before, &sales), ends(&same, &sales)), (at("2019-04-13"), at("2019-04-13")));
    add_refund(&same, &mut sales, 1, "2019-02-21");
    assert_eq!(ends(&same, &sales), at("2019-03-12"));
}

#[test]
fn an_edition_that_has_ended_may_be_gone_from_every_catalog() {
    let mut sales = history(FEBRUARY);
    sales.purchases[0].terms = None;
    let mut lacking = catalog();
    lacking.editions.truncate(1);
    let compiled = |when: &str| Schedule::compile(&lacking, &sales, at(when));
    let stopped = compiled("2019-03-19").expect("it has stopped");
    assert!(stopped.at(at("2019-03-19")).stopped());
    // While it is in force, its limits are needed.
    assert!(compiled("2019-03-18 23:59").is_err());
    assert!(Schedule::whole(&lacking, &sales, at("2019-03-20")).is_ok());
}
