//! The published examples of bills, bills by the published prices, and the rules of validity of the
//! vendors. What a sample cannot express is in its head.

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

use super::{sample, text};
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
    bill_with(catalog, sales, month, kept_days, metered, None, 0)
}

/// The statement of a month with these users, and connections on the 9th.
fn bill_of_month(
    catalog: &Catalog,
    sales: &Sales,
    month: &str,
    users: u64,
    connections: u64,
) -> Statement {
    bill_with(catalog, sales, month, None, &[], Some(users), connections)
}

fn bill_with(
    catalog: &Catalog,
    sales: &Sales,
    month: &str,
    kept_days: Option<u32>,
    metered: Metered<'_>,
    month_users: Option<u64>,
    connections: u64,
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
        let has_gauge = index == 8 && connections > 0;
        let gauges = has_gauge.then(|| ("connections".into(), connections)).into_iter().collect();
        DayFigures { day, dau, groups_peak, groups_net_new: 0, bandwidth, gauges }
    });
    let figures: Vec<_> = figures.collect();
    let inputs = BillingInputs {
        catalogs: &catalogs,
        app: &app("demo"),
        sales,
        retentions: &retentions,
        since: catalogs.month_of(since),
        closed_through: None,
        month_users,
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
fn easemob_2023_bills_its_published_example_and_the_plan_by_days_of_the_calendar_month() {
    let catalog = sample("easemob-2023");
    let mut sales = Sales::default();
    let price = buy(&catalog, &mut sales, "flagship", 1, "2023-04-01T00:00:00+08:00");
    assert_eq!(price.expect("sold"), 288_800);
    // The published example: 7,865 active users beyond the free ones are less than a unit.
    for (dau, fen) in [
        (17_865, 288_800),
        (19_999, 288_800),
        (20_000, 288_800 + 85_000),
        (39_999, 288_800 + 170_000),
    ] {
        let bill = bill(&catalog, &sales, "2023-04", None, &[(9, dau, 0, 0)]);
        assert_eq!(bill.total_fen, fen, "{dau}");
    }
    // From 16 April through 15 May: 15 of 30 days, and 15 of 31. 1,444.00 + 1,397.42.
    let mut sales = Sales::default();
    let price = buy(&catalog, &mut sales, "flagship", 1, "2023-04-16T00:00:00+08:00");
    assert_eq!(price.expect("sold"), 284_142);
}

/// An edition that was bought on the first of the month.
fn since_the_first(catalog: &Catalog, edition: &str, month: &str) -> (Sales, i64) {
    let mut sales = Sales::default();
    let first = format!("{month}-01T00:00:00Z");
    let price = buy(catalog, &mut sales, edition, 1, &first).expect("sold");
    (sales, price)
}

#[test]
fn agora_chat_2026_bills_users_of_the_month_beyond_those_of_the_edition() {
    let catalog = sample("agora-chat-2026");
    for (edition, users, fee, fen) in [
        ("starter", 5000, 34_900, 0),
        ("starter", 5001, 34_900, 5),
        ("starter", 6000, 34_900, 5000),
        ("pro", 6000, 69_900, 0),
        ("pro", 12_000, 69_900, 10_000),
    ] {
        let (sales, price) = since_the_first(&catalog, edition, "2026-07");
        let bill = bill_of_month(&catalog, &sales, "2026-07", users, 0);
        assert_eq!((price, bill.total_fen), (fee, fee + fen), "{edition} {users}");
    }
}

#[test]
fn cometchat_2026_bills_each_user_and_connections_beyond_their_share() {
    let catalog = sample("cometchat-2026");
    let (sales, _) = since_the_first(&catalog, "metered", "2026-06");
    for (users, connections, fen) in [
        (0, 0, 0),
        (1000, 50, 10_000),
        (1000, 51, 10_000 + 100),
        (1000, 80, 10_000 + 3000),
        // 5 % of 119 are 5.
        (119, 6, 1190 + 100),
    ] {
        let bill = bill_of_month(&catalog, &sales, "2026-06", users, connections);
        assert_eq!(bill.total_fen, fen, "{users} {connections}");
    }
    // Nothing is charged on the edition without a price.
    let (mut sales, _) = since_the_first(&catalog, "metered", "2026-01");
    sales.purchases.truncate(1);
    let bill = bill_of_month(&catalog, &sales, "2026-06", 1000, 80);
    assert_eq!(bill.total_fen, 0);
}

#[test]
fn bands_of_the_highest_day_have_a_fee_by_edition() {
    // The shape and the fees are those of rongcloud-2025; the bounds are invented, and so are the
    // last fees of ultimate.
    let rows = r#"
[[metering.meters]]
id = "plan"
label = "Daily active users"
of = "logins"
aggregate = "day_distinct_peak"

[[metering.meters.tiers]]
up_to = 1200
fee = { premium = "300", ultimate = "500" }

[[metering.meters.tiers]]
up_to = 9000
fee = { premium = "500", ultimate = "900" }

[[metering.meters.tiers]]
up_to = 40000
fee = { premium = "1100", ultimate = "1500" }

[[metering.meters.tiers]]
up_to = 90000
fee = { premium = "1900", ultimate = "2500" }

[[metering.meters.tiers]]
fee = { premium = "3200", ultimate = "4000" }
"#;
    let mut text = text("rongcloud-2025");
    for price in ["price_fen_per_month = 30000\n", "price_fen_per_month = 50000\n"] {
        let (head, rest) = text.split_once(price).expect("an edition");
        let rest = rest.replacen("postpaid_allowed = false", "postpaid_allowed = true", 1);
        text = format!("{head}free = true\n{rest}");
    }
    let text = text.replacen("final_day = 3\n", &format!("final_day = 3\n{rows}"), 1);
    let catalog = imquota::catalog::parse(&text).unwrap_or_else(|problems| panic!("{problems}"));
    for (edition, fees) in [
        ("premium", [300, 300, 500, 500, 1100, 1100, 1100, 1900, 3200]),
        ("ultimate", [500, 500, 900, 900, 1500, 1500, 1500, 2500, 4000]),
    ] {
        let (sales, _) = since_the_first(&catalog, edition, "2025-06");
        let figures = [0, 1200, 1201, 9000, 9001, 10_001, 40_000, 40_001, 90_001];
        for (dau, usd) in figures.into_iter().zip(fees) {
            let bill = bill(&catalog, &sales, "2025-06", None, &[(9, dau, 0, 0), (10, 1, 0, 0)]);
            assert_eq!(bill.total_fen, usd * 100, "{edition} {dau}");
        }
    }
}

#[test]
fn tencent_chat_cn_2025_bills_begun_units_of_active_users_and_no_groups() {
    let catalog = sample("tencent-chat-cn-2025");
    let mut sales = Sales::default();
    let price = buy(&catalog, &mut sales, "professional", 1, "2025-11-01T00:00:00+08:00");
    assert_eq!(price.expect("sold"), 149_900);
    for (dau, cny) in [(10_000, 0), (10_001, 1000), (20_000, 1000), (20_001, 2000)] {
        let bill = bill(&catalog, &sales, "2025-11", None, &[(9, dau, 200_000, 0)]);
        assert_eq!(of(&bill, Item::Meter), cny, "{dau}");
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

#[test]
fn tencent_chat_intl_2025_bills_users_of_the_month_at_a_price_below_a_cent() {
    let catalog = sample("tencent-chat-intl-2025");
    for (edition, users, fen) in [
        ("trial", 100, 0),
        ("trial", 101, 2),
        ("standard", 10_000, 39_900),
        // 1.5 cents are 2.
        ("standard", 10_001, 39_902),
        ("standard", 10_002, 39_903),
        ("standard", 16_000, 39_900 + 9000),
        ("pro", 110_000, 69_900 + 150_000),
    ] {
        let (sales, _) = since_the_first(&catalog, edition, "2025-06");
        let bill = bill_of_month(&catalog, &sales, "2025-06", users, 0);
        assert_eq!(bill.total_fen, fen, "{edition} {users}");
    }
}
