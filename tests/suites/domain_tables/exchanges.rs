//! Exchanges of editions and add-ons: refunds, sums, periods, limits and refusals. The figures were
//! computed by hand from the price tables of the pricing rules, sections 1 and 5, and from those of
//! two more editions, which are invented.

use imquota::domain::catalog::{Catalog, Edition};
use imquota::domain::exchange::{Exchange, ExchangeOrder, ExchangeRefusal};
use imquota::domain::limit::{Limit, LimitId};
use imquota::domain::purchase::{Purchase, Refusal, Sales};
use imquota::domain::refund::refund;
use imquota::domain::schedule::Schedule;
use imquota::domain::selling::Selling;
use imquota::domain::timeline::{ServiceState, Timeline};

use super::{at, before, shown, word};
use crate::support::{exchange, order, request_id};

type Orders<'a> = &'a [(&'a str, &'a str, u32)];

/// The built-in catalog with an edition above Professional, 1,999.00 CNY, and one below it, 499.00
/// CNY and without add-ons.
pub fn catalog() -> Catalog {
    let mut catalog = imquota::catalog::builtin();
    let invented = |id: &str, price, add_ons_allowed, limits: [Limit; 5]| Edition {
        id: id.into(),
        label: id.to_owned(),
        price_fen_per_month: Some(price),
        selling: Selling::default(),
        add_ons_allowed,
        postpaid_allowed: true,
        limits: ids().into_iter().zip(limits).collect(),
    };
    let (all, friends) = (Limit::Unlimited, Limit::Finite(5000));
    let limits = [all, friends, Limit::Finite(700), Limit::Finite(200), all];
    catalog.editions.push(invented("premium", 199_900, true, limits));
    let limits = [1000, 500, 100, 100, 20].map(Limit::Finite);
    catalog.editions.push(invented("basic", 49_900, false, limits));
    catalog
}

/// Accounts, friends, groups of a user, members and AVChatRooms.
fn ids() -> [LimitId; 5] {
    [
        LimitId::AccountsPerApp,
        LimitId::FriendsPerUser,
        LimitId::GroupsPerUser,
        LimitId::MembersPerGroup,
        LimitId::GroupsPerApp("AVChatRoom".into()),
    ]
}

/// A history of orders, each with its number as the request id.
fn history(orders: Orders<'_>) -> Sales {
    let (catalog, mut sales) = (catalog(), Sales::default());
    for (number, (when, what, months)) in orders.iter().enumerate() {
        let id = request_id(&number.to_string());
        let sold = Purchase::of_order(&catalog, &sales, id, &order(what), *months, at(when));
        sales.purchases.push(sold.unwrap_or_else(|refusal| panic!("{when} {what}: {refusal}")));
    }
    sales
}

/// Makes an exchange; the new item is `NEW` for an edition, or `OLD > NEW` for add-ons.
fn make(
    sales: &Sales,
    when: &str,
    what: &str,
    months: u32,
    max_sum_fen: Option<i64>,
) -> Result<Exchange, Refusal> {
    let ordered = match what.split_once(" > ") {
        Some((old, new)) => exchange(Some(old), new, months),
        None => exchange(None, what, months),
    };
    let ordered = ExchangeOrder { max_sum_fen, ..ordered };
    Exchange::of_order(&catalog(), sales, &request_id("exchange"), &ordered, at(when))
}

const FEBRUARY: Orders<'_> = &[("2019-02-12 10:00", "professional", 1)];
const RENEWED: Orders<'_> =
    &[("2019-02-12", "professional", 1), ("2019-02-20", "renew", 1), ("2019-02-20", "renew", 2)];
const ADD_ONS: Orders<'_> = &[
    ("2019-02-12", "professional", 3),
    ("2019-02-20", "groups-per-user-400", 1),
    ("2019-02-22", "members-6000", 1),
];
const PACKS: Orders<'_> =
    &[("2019-02-12", "professional", 3), ("2019-02-20", "groups-per-user-400", 1)];
const LARGE: Orders<'_> =
    &[("2019-02-12", "professional", 3), ("2019-02-20", "groups-per-user-700", 1)];

/// A refund: its purchase, the days of that, the days used, and fen.
type Refunded = (usize, i64, i64, i64);
/// History, instant, exchange, months; the refunds, the price, the sum, and the end of the new
/// purchase.
type Case<'a> = (Orders<'a>, &'a str, &'a str, u32, &'a [Refunded], i64, i64, &'a str);

const EXCHANGES: &[Case<'_>] = &[
    // By days, and not the whole price within five days. The day of the change is used up in the
    // old period, and the first one of the new period.
    (
        FEBRUARY,
        "2019-02-12 12:00",
        "premium",
        1,
        &[(0, 28, 1, 96_332)],
        199_900,
        103_568,
        "2019-03-12",
    ),
    (FEBRUARY, "2019-02-20", "premium", 1, &[(0, 28, 9, 67_789)], 199_900, 132_111, "2019-03-20"),
    (
        FEBRUARY,
        "2019-02-20 23:59",
        "premium",
        12,
        &[(0, 28, 9, 67_789)],
        2_398_800,
        2_331_011,
        "2020-02-20",
    ),
    // A smaller edition is paid out.
    (
        FEBRUARY,
        "2019-02-12 12:00",
        "basic",
        1,
        &[(0, 28, 1, 96_332)],
        49_900,
        -46_432,
        "2019-03-12",
    ),
    // On the last day nothing remains, and in grace neither.
    (FEBRUARY, "2019-03-11 23:59", "basic", 1, &[(0, 28, 28, 0)], 49_900, 49_900, "2019-04-11"),
    (FEBRUARY, "2019-03-12", "premium", 1, &[(0, 28, 28, 0)], 199_900, 199_900, "2019-04-12"),
    (FEBRUARY, "2019-03-18 23:59", "premium", 1, &[(0, 28, 28, 0)], 199_900, 199_900, "2019-04-18"),
    // Renewals that have not begun are paid back whole, the last one first: 2019-03-12 through
    // 2019-04-11, and 61 days through 2019-06-11.
    (
        RENEWED,
        "2019-03-01",
        "premium",
        3,
        &[(2, 61, 0, 199_800), (1, 31, 0, 99_900), (0, 28, 18, 35_679)],
        599_700,
        264_321,
        "2019-06-01",
    ),
    (
        RENEWED,
        "2019-03-15",
        "premium",
        1,
        &[(2, 61, 0, 199_800), (1, 31, 4, 87_010)],
        199_900,
        -86_910,
        "2019-04-15",
    ),
    // 700 groups of a user come with the edition, 6000 members do not.
    (
        ADD_ONS,
        "2019-03-01",
        "premium",
        1,
        &[(0, 89, 18, 239_087), (1, 28, 10, 32_143)],
        199_900,
        -71_330,
        "2019-04-01",
    ),
    // Under an edition without add-ons none raises anything.
    (
        ADD_ONS,
        "2019-03-01",
        "basic",
        1,
        &[(0, 89, 18, 239_087), (1, 28, 10, 32_143), (2, 28, 8, 71_429)],
        49_900,
        -292_759,
        "2019-04-01",
    ),
    // An add-on that has ended is not refunded.
    (
        ADD_ONS,
        "2019-03-20",
        "basic",
        1,
        &[(0, 89, 37, 175_106), (2, 28, 27, 3571)],
        49_900,
        -128_777,
        "2019-04-20",
    ),
    // Add-ons: larger, for longer, smaller, the same one anew, and of another kind.
    (
        PACKS,
        "2019-02-25 10:00",
        "groups-per-user-400 > groups-per-user-700",
        1,
        &[(1, 28, 6, 39_286)],
        90_000,
        50_714,
        "2019-03-25",
    ),
    (
        PACKS,
        "2019-02-25",
        "groups-per-user-400 > groups-per-user-700",
        2,
        &[(1, 28, 6, 39_286)],
        180_000,
        140_714,
        "2019-04-25",
    ),
    (
        LARGE,
        "2019-02-21",
        "groups-per-user-700 > groups-per-user-400",
        1,
        &[(1, 28, 2, 83_571)],
        50_000,
        -33_571,
        "2019-03-21",
    ),
    (
        PACKS,
        "2019-02-25",
        "groups-per-user-400 > groups-per-user-400",
        1,
        &[(1, 28, 6, 39_286)],
        50_000,
        10_714,
        "2019-03-25",
    ),
    (
        PACKS,
        "2019-02-25",
        "groups-per-user-400 > members-2000",
        1,
        &[(1, 28, 6, 39_286)],
        50_000,
        10_714,
        "2019-03-25",
    ),
];

#[test]
fn an_exchange_refunds_the_remaining_days_and_sells_from_the_same_instant() {
    for (orders, when, what, months, refunds, price, sum, until) in EXCHANGES {
        let mut sales = history(orders);
        let exchange = make(&sales, when, what, *months, None).expect("exchanged");
        let got: Vec<Refunded> = exchange
            .refunds
            .iter()
            .map(|it| {
                let used = it.used.expect("new records have the days");
                assert!(!it.in_full, "{what} at {when}");
                (it.purchase, used.days, used.days_used, it.refund_fen)
            })
            .collect();
        assert_eq!(got, *refunds, "{what} at {when}");
        assert_eq!(exchange.purchase.price_fen, *price, "{what} at {when}");
        assert_eq!(exchange.sum_fen(), *sum, "{what} at {when}");
        let bought = exchange.add_to(&mut sales);
        let timeline = Timeline::new(&catalog(), &sales);
        let valid = timeline.valid[bought];
        assert_eq!((valid.from, valid.until), (at(when), at(until)), "{what} at {when}");
    }
}

#[test]
fn there_is_no_moment_without_service_and_the_old_period_ends_with_the_change() {
    for (orders, when, what, ..) in EXCHANGES {
        let mut sales = history(orders);
        let edition_before = Timeline::new(&catalog(), &sales).edition_at(before(at(when)));
        make(&sales, when, what, 1, None).expect("exchanged").add_to(&mut sales);
        let timeline = Timeline::new(&catalog(), &sales);
        let (edition, state) = timeline.edition_at(before(at(when)));
        assert_eq!((edition, state), edition_before, "{what} at {when}");
        let stops_at = timeline.edition_end(at(when)).expect("an edition").stops_at;
        let schedule = Schedule::compile(&catalog(), &sales, at(orders[0].0)).expect("known");
        let stopped = schedule.segments().iter().find(|it| it.limits.stopped());
        // The only stop is the last one, after the grace of what is in force then.
        assert_eq!(stopped, schedule.segments().last(), "{what} at {when}");
        assert!(schedule.at(at(when)).state == ServiceState::Active, "{what} at {when}");
        let [last, first] = [before(stops_at), stops_at].map(|it| schedule.at(it).state);
        assert_eq!((last, first), (ServiceState::Grace, ServiceState::Stopped), "{what} at {when}");
    }
}

/// History, instant, exchange; before it and from it on: state and limits; the add-ons in force.
type LimitsCase<'a> = (Orders<'a>, &'a str, &'a str, [&'a str; 2], &'a [&'a str]);

const LIMITS: &[LimitsCase<'_>] = &[
    (
        ADD_ONS,
        "2019-03-01",
        "premium",
        ["Active - 3000 400 6000 50", "Active - 5000 700 6000 -"],
        &["members-6000"],
    ),
    (
        ADD_ONS,
        "2019-03-01",
        "basic",
        ["Active - 3000 400 6000 50", "Active 1000 500 100 100 20"],
        &[],
    ),
    (
        FEBRUARY,
        "2019-03-15",
        "premium",
        ["Grace - 3000 200 200 50", "Active - 5000 700 200 -"],
        &[],
    ),
    (
        PACKS,
        "2019-02-25",
        "groups-per-user-400 > groups-per-user-700",
        ["Active - 3000 400 200 50", "Active - 3000 700 200 50"],
        &["groups-per-user-700"],
    ),
    (
        PACKS,
        "2019-02-25",
        "groups-per-user-400 > members-2000",
        ["Active - 3000 400 200 50", "Active - 3000 200 2000 50"],
        &["members-2000"],
    ),
];

#[test]
fn the_limits_change_at_the_instant_and_add_ons_that_still_raise_stay() {
    for (orders, when, what, limits, add_ons) in LIMITS {
        let mut sales = history(orders);
        make(&sales, when, what, 1, None).expect("exchanged").add_to(&mut sales);
        let schedule = Schedule::compile(&catalog(), &sales, at(orders[0].0)).expect("known");
        let got = [before(at(when)), at(when)].map(|instant| shown(schedule.at(instant)));
        assert_eq!(got, *limits, "{what} at {when}");
        let running = schedule.at(at(when)).add_ons.iter();
        let running: Vec<_> = running.map(ToString::to_string).collect();
        assert_eq!(running, *add_ons, "{what} at {when}");
    }
}

#[test]
fn an_exchange_leaves_the_full_refund_of_the_app_for_later() {
    let mut sales = history(FEBRUARY);
    let bought = make(&sales, "2019-02-13", "premium", 1, None).expect("exchanged");
    let bought = bought.add_to(&mut sales);
    let full = refund(&catalog(), &sales, bought, at("2019-02-15")).expect("refunded");
    assert_eq!((full.in_full, full.refund_fen), (true, 199_900));
    let again = refund(&catalog(), &sales, 0, at("2019-02-15")).expect_err("refunded already");
    assert_eq!(word(&again), "Refunded");
}

#[test]
fn an_edition_that_was_changed_to_may_be_renewed_from_its_own_day() {
    let mut sales = history(FEBRUARY);
    make(&sales, "2019-02-20", "premium", 1, None).expect("exchanged").add_to(&mut sales);
    let renewal = order("renew");
    let id = request_id("renewal");
    let renewed = Purchase::of_order(&catalog(), &sales, id, &renewal, 1, at("2019-03-01"));
    let renewed = renewed.expect("renewed");
    assert_eq!(renewed.price_fen, 199_900);
    sales.purchases.push(renewed);
    assert_eq!(Timeline::new(&catalog(), &sales).valid[2].until, at("2019-04-20"));
}

/// History, instant, exchange, keyword of the refusal.
const REFUSED: &[(Orders<'_>, &str, &str, &str)] = &[
    (&[], "2019-02-12", "premium", "NothingToChange"),
    (FEBRUARY, "2019-03-19", "premium", "NothingToChange"),
    (FEBRUARY, "2019-02-13", "professional", "EditionInForce"),
    (FEBRUARY, "2019-03-15", "professional", "EditionInForce"),
    (FEBRUARY, "2019-02-13", "trial", "UnknownEdition"),
    (FEBRUARY, "2019-02-13", "groups-per-user-400 > groups-per-user-700", "AddOnNotInForce"),
    (PACKS, "2019-02-21", "groups-per-user-700 > groups-per-user-400", "AddOnNotInForce"),
    (PACKS, "2019-03-20", "groups-per-user-400 > groups-per-user-700", "AddOnNotInForce"),
    (PACKS, "2019-02-21", "groups-per-user-400 > unknown", "UnknownAddOn"),
    (PACKS, "2019-02-21", "unknown > groups-per-user-400", "UnknownReplaced"),
    // Ids first: these are errors of the request, whatever the app has.
    (&[], "2019-02-21", "unknown", "UnknownEdition"),
    (&[], "2019-02-21", "unknown > members-2000", "UnknownReplaced"),
    (ADD_ONS, "2019-02-23", "groups-per-user-400 > members-2000", "AddOnInForce"),
    (
        &[("2019-02-12", "professional", 1), ("2019-03-10", "groups-per-user-400", 1)],
        "2019-03-20",
        "groups-per-user-400 > groups-per-user-700",
        "EditionStopped",
    ),
    (
        &[("2019-02-12", "premium", 1), ("2019-02-12", "members-2000", 1)],
        "2019-02-13",
        "members-2000 > groups-per-user-700",
        "RaisesNothing",
    ),
];

#[test]
fn exchanges_that_are_not_possible_are_refused() {
    for (orders, when, what, expected) in REFUSED {
        let refusal = make(&history(orders), when, what, 1, None).expect_err("refused");
        assert_eq!(keyword(&refusal), *expected, "{what} at {when}: {refusal}");
    }
}

fn keyword(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Exchange(ExchangeRefusal::NothingToChange) => "NothingToChange",
        Refusal::Exchange(ExchangeRefusal::UnknownReplaced { .. }) => "UnknownReplaced",
        Refusal::Exchange(ExchangeRefusal::AddOnNotInForce { .. }) => "AddOnNotInForce",
        Refusal::Exchange(ExchangeRefusal::SumAboveMax { .. }) => "SumAboveMax",
        other => word(other),
    }
}

#[test]
fn a_sum_above_the_accepted_one_is_refused_and_named() {
    for (orders, when, what, sum) in [
        (PACKS, "2019-02-25", "groups-per-user-400 > groups-per-user-700", 50_714),
        (LARGE, "2019-02-21", "groups-per-user-700 > groups-per-user-400", -33_571),
        (FEBRUARY, "2019-02-20", "premium", 132_111),
    ] {
        let sales = history(orders);
        for accepted in [sum, sum + 1] {
            let made = make(&sales, when, what, 1, Some(accepted)).expect("accepted");
            assert_eq!(made.sum_fen(), sum);
        }
        let refusal = make(&sales, when, what, 1, Some(sum - 1)).expect_err("one fen more");
        let (sum_fen, max_sum_fen) = (sum, sum - 1);
        let expected = Refusal::from(ExchangeRefusal::SumAboveMax { sum_fen, max_sum_fen });
        assert_eq!(refusal, expected);
        let text = refusal.to_string();
        assert!(text.contains(&sum.to_string()) && text.contains("preview"), "{text}");
    }
}

/// Purchases, the add-on to buy, and what the refusal says; empty: it is sold.
const GRANTED: &[(Orders<'_>, &str, &str)] = &[
    (FEBRUARY, "av-chat-rooms-unlimited", ""),
    (FEBRUARY, "groups-per-user-400", ""),
    (
        &[("2019-02-12", "premium", 1)],
        "av-chat-rooms-unlimited",
        "add-on \"av-chat-rooms-unlimited\" raises groups_per_app/AVChatRoom to unlimited, which \
         edition \"premium\" sets to unlimited already",
    ),
    (
        &[("2019-02-12", "premium", 1)],
        "groups-per-user-700",
        "add-on \"groups-per-user-700\" raises groups_per_user to 700, which edition \"premium\" \
         sets to 700 already",
    ),
    (&[("2019-02-12", "premium", 1)], "groups-per-user-1000", ""),
    (
        &[("2019-02-12", "basic", 1)],
        "groups-per-user-1000",
        "edition \"basic\" does not allow add-ons",
    ),
];

#[test]
fn an_add_on_that_raises_nothing_under_the_edition_in_force_is_not_sold() {
    for (orders, add_on, expected) in GRANTED {
        let (catalog, sales, id) = (catalog(), history(orders), request_id("add-on"));
        let instant = at("2019-02-13");
        let sold = Purchase::of_order(&catalog, &sales, id, &order(add_on), 1, instant);
        let refusal = sold.err().map(|refusal| refusal.to_string()).unwrap_or_default();
        assert_eq!(refusal, *expected, "{add_on} under {orders:?}");
    }
}

#[test]
fn a_limit_that_the_edition_does_not_set_cannot_be_raised() {
    let mut catalog = catalog();
    let unlimited = LimitId::FriendsPerUser;
    let premium = catalog.editions.iter_mut().find(|it| it.id.as_str() == "premium");
    premium.expect("it is there").limits.retain(|(id, _)| *id != unlimited);
    catalog.add_ons[0].limit_id = unlimited;
    let (sales, id) = (history(&[("2019-02-12", "premium", 1)]), request_id("add-on"));
    let add_on = order(catalog.add_ons[0].id.as_str());
    let sold = Purchase::of_order(&catalog, &sales, id, &add_on, 1, at("2019-02-13"));
    let refusal = sold.expect_err("refused");
    assert_eq!(word(&refusal), "RaisesNothing", "{refusal}");
    assert!(refusal.to_string().ends_with("which edition \"premium\" does not limit"), "{refusal}");
}

#[test]
fn the_sales_before_an_exchange_have_none_of_its_refunds() {
    let mut sales = history(ADD_ONS);
    let first = sales.clone();
    let swap = "groups-per-user-400 > groups-per-user-700";
    make(&sales, "2019-02-25", swap, 1, None).expect("exchanged").add_to(&mut sales);
    let second = sales.clone();
    let mut change = make(&sales, "2019-03-01", "basic", 1, None).expect("exchanged");
    let id = request_id("change");
    change.purchase.request_id = id.clone();
    change.refunds.iter_mut().for_each(|refund| refund.request_id = id.clone());
    change.add_to(&mut sales);
    assert_eq!(sales.around("exchange"), Some((first, second.clone())));
    assert_eq!(sales.around("change"), Some((second, sales.clone())));
}
