//! The published examples of bills that the samples can express, and the rules of validity of their
//! vendors.
//!
//! Active users of a month, bands, units that are rounded down, and history by edition cannot be
//! expressed: the heads of the files list them.

use std::sync::Arc;

use imquota::domain::billing::{BillingInputs, Item, RetentionChange, Statement, statement};
use imquota::domain::catalog::Catalog;
use imquota::domain::catalog_history::CatalogHistory;
use imquota::domain::id::RequestId;
use imquota::domain::metering::DayFigures;
use imquota::domain::month::Month;
use imquota::domain::purchase::{Order, Purchase, Refusal, Sales};
use imquota::domain::time::Timestamp;
use imquota::domain::timeline::Timeline;

use super::sample;
use crate::support::app;

/// The figures of a day: day, users, peak of groups, Mbps in the mainland.
type Metered<'a> = &'a [(usize, u64, u64, u64)];

fn at(text: &str) -> Timestamp {
    let instant: chrono::DateTime<chrono::FixedOffset> = text.parse().expect("an instant");
    Timestamp::from_millis(instant.timestamp_millis())
}

fn id(text: &str) -> RequestId {
    RequestId::try_from(text).expect("valid")
}

/// Buys an edition.
fn buy(
    catalog: &Catalog,
    sales: &mut Sales,
    what: &str,
    months: u32,
    when: &str,
) -> Result<i64, Refusal> {
    let request_id = id(&format!("r{}", sales.purchases.len()));
    let order = Order::Edition(what.to_owned());
    let made = Purchase::of_order(catalog, sales, request_id, &order, months, at(when))?;
    let price = made.price_fen;
    sales.purchases.push(made);
    Ok(price)
}

/// The statement of a month after its end. Messages are kept for that number of days in all of it,
/// if there is one.
fn bill(
    catalog: &Catalog,
    sales: &Sales,
    month: &str,
    kept_days: Option<u32>,
    metered: Metered<'_>,
) -> Statement {
    let month: Month = month.parse().expect("a month");
    let catalogs = CatalogHistory::of(Arc::new(catalog.clone()));
    let since = sales.purchases.first().expect("an edition").at;
    let retentions: Vec<_> = kept_days
        .map(|days| RetentionChange { request_id: id("kept"), days, at: since })
        .into_iter()
        .collect();
    let figures = month.days().enumerate().map(|(index, day)| {
        let found = metered.iter().find(|(of, ..)| *of == index + 1);
        let (_, dau, groups_peak, mbps) = found.copied().unwrap_or_default();
        let bandwidth = if mbps > 0 { vec![("mainland".into(), mbps * 1000)] } else { Vec::new() };
        DayFigures { day, dau, groups_peak, groups_net_new: 0, bandwidth, gauges: Vec::new() }
    });
    let figures: Vec<_> = figures.collect();
    let inputs = BillingInputs {
        catalogs: &catalogs,
        app: &app("demo"),
        sales,
        retentions: &retentions,
        since: catalogs.month_of(since),
        closed_through: None,
        month_users: None,
        figures: &figures,
    };
    let statement = statement(&inputs, month, at("2027-01-01T00:00:00Z"));
    assert!(statement.is_final);
    statement
}

/// The sum of a metered item, in whole CNY.
fn of(statement: &Statement, item: Item) -> i64 {
    let lines = statement.lines.iter().filter(|line| line.item == item);
    lines.map(|line| line.amount_fen).sum::<i64>() / 100
}

#[test]
fn tencent_im_2019_bills_its_published_examples() {
    let catalog = sample("tencent-im-2019");
    let mut sales = Sales::default();
    let price = buy(&catalog, &mut sales, "professional", 12, "2019-01-01T00:00:00+08:00");
    assert_eq!(price.expect("sold"), 12 * 99_900);
    let august = |kept_days, metered: Metered<'_>| {
        let bill = bill(&catalog, &sales, "2019-08", kept_days, metered);
        let items = [Item::Dau, Item::MessageHistory, Item::Groups, Item::Bandwidth];
        (items.map(|item| of(&bill, item)), bill.total_fen / 100)
    };
    assert_eq!(august(None, &[(9, 150_000, 0, 0)]), ([10_000, 0, 0, 0], 10_000));
    assert_eq!(august(None, &[(9, 0, 130_000, 0)]), ([0, 0, 1000, 0], 1000));
    assert_eq!(august(None, &[(9, 0, 550_000, 0)]), ([0, 0, 5000, 0], 5000));
    // 2000 for two months of history.
    assert_eq!(august(Some(30), &[(9, 200_000, 0, 0)]).0, [10_000, 1000, 0, 0]);
    let mbps: Metered<'_> = &[(1, 0, 0, 300), (2, 0, 0, 500), (3, 0, 0, 200)];
    assert_eq!(august(None, mbps), ([0, 0, 0, 2000], 2000));
}

#[test]
fn easemob_2023_bills_the_plan_by_days_of_the_calendar_month() {
    let catalog = sample("easemob-2023");
    let mut sales = Sales::default();
    let price = buy(&catalog, &mut sales, "flagship", 1, "2023-04-01T00:00:00+08:00");
    assert_eq!(price.expect("sold"), 288_800);
    // The published example has 17,865 active users, whose 7,865 beyond the free ones are less
    // than a unit, so that its sum is the plan's. The file charges no active users at all.
    let example = bill(&catalog, &sales, "2023-04", None, &[(9, 17_865, 0, 0)]);
    assert_eq!(example.total_fen, 288_800);
    // From 16 April through 15 May: 15 of 30 days, and 15 of 31. 1,444.00 + 1,397.42.
    let mut sales = Sales::default();
    let price = buy(&catalog, &mut sales, "flagship", 1, "2023-04-16T00:00:00+08:00");
    assert_eq!(price.expect("sold"), 284_142);
}

#[test]
fn tencent_chat_cn_2025_bills_begun_units_of_active_users_and_no_groups() {
    let catalog = sample("tencent-chat-cn-2025");
    let mut sales = Sales::default();
    let price = buy(&catalog, &mut sales, "professional", 1, "2025-11-01T00:00:00+08:00");
    assert_eq!(price.expect("sold"), 149_900);
    for (dau, cny) in [(10_000, 0), (10_001, 1000), (20_000, 1000), (20_001, 2000)] {
        let bill = bill(&catalog, &sales, "2025-11", None, &[(9, dau, 200_000, 0)]);
        assert_eq!(of(&bill, Item::Dau), cny, "{dau}");
        assert_eq!(bill.total_fen, 149_900 + cny * 100, "{dau}");
    }
    let enterprise = buy(&catalog, &mut Sales::default(), "enterprise", 1, "2025-11-01T00:00:00Z");
    assert!(matches!(enterprise, Err(Refusal::NotForSale { .. })), "{enterprise:?}");
}

#[test]
fn tencent_chat_intl_2025_is_valid_from_day_t_to_day_t_and_its_trial_ends() {
    let catalog = sample("tencent-chat-intl-2025");
    let mut sales = Sales::default();
    let trial = buy(&catalog, &mut sales, "trial", 1, "2025-03-12T09:00:00Z");
    assert_eq!(trial.expect("sold"), 0);
    let until = Timeline::new(&catalog, &sales).editions[0].valid.until;
    assert_eq!(until, at("2025-04-13T00:00:00Z"), "through day T");
    let again = buy(&catalog, &mut sales, "trial", 1, "2025-06-01T00:00:00Z");
    assert!(matches!(again, Err(Refusal::SoldOnce { .. })), "{again:?}");
    let standard = buy(&catalog, &mut sales, "standard", 1, "2025-06-01T00:00:00Z");
    assert_eq!(standard.expect("sold"), 39_900);
}
