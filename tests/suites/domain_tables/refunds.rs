//! Refunds: amounts at month ends, in grace, of renewals and soon after the purchase, and the ends
//! that they cause. The figures were computed by hand from the pricing rules, section 5.

use imquota::domain::id::RequestId;
use imquota::domain::purchase::{Refund, Refusal, Sales, sell};
use imquota::domain::refund::refund;
use imquota::domain::timeline::{ServiceState, Timeline};

use super::{at, before, catalog, history, order, schedule, shown, word};

type Orders<'a> = &'a [(&'a str, &'a str, u32)];
/// Days of the period, days used, whether in full, fen; or a keyword of the refusal.
type Figures = Result<(i64, i64, bool, i64), &'static str>;

const FEBRUARY: Orders<'_> = &[("2019-02-12", "professional", 1)];
const JANUARY: Orders<'_> = &[("2019-01-31", "professional", 1)];
const LEAP: Orders<'_> = &[("2020-01-31", "professional", 1)];
const MARCH: Orders<'_> = &[("2019-03-31", "professional", 1)];
const QUARTER: Orders<'_> = &[("2019-01-31", "professional", 3)];
const RENEWED: Orders<'_> = &[("2019-02-12", "professional", 1), ("2019-02-20", "renew", 1)];
const SOON: Orders<'_> = &[
    ("2019-02-12", "professional", 1),
    ("2019-02-12", "renew", 1),
    ("2019-02-12", "members-2000", 1),
];
const ADD_ONS: Orders<'_> = &[
    ("2019-02-12", "professional", 3),
    ("2019-02-20", "members-2000", 1),
    ("2019-02-22", "groups-per-user-400", 1),
];

/// History, earlier refunds (purchase, instant), purchase, instant, figures.
type Case<'a> = (Orders<'a>, &'a [(usize, &'a str)], usize, &'a str, Figures);

const REFUNDS: &[Case<'_>] = &[
    // Within five days of 24 hours the whole price, then by days, including the current one.
    (FEBRUARY, &[], 0, "2019-02-12 12:00", Ok((28, 1, true, 99_900))),
    (FEBRUARY, &[], 0, "2019-02-16 23:59", Ok((28, 5, true, 99_900))),
    (FEBRUARY, &[], 0, "2019-02-17", Ok((28, 6, false, 78_493))),
    (FEBRUARY, &[], 0, "2019-03-11 23:59", Ok((28, 28, false, 0))),
    // In grace nothing can be refunded.
    (FEBRUARY, &[], 0, "2019-03-12", Err("NothingLeft")),
    (JANUARY, &[], 0, "2019-02-14", Ok((29, 15, false, 48_228))),
    (JANUARY, &[], 0, "2019-02-28 23:59", Ok((29, 29, false, 0))),
    (JANUARY, &[], 0, "2019-03-01", Err("NothingLeft")),
    (LEAP, &[], 0, "2020-02-15", Ok((30, 16, false, 46_620))),
    (LEAP, &[], 0, "2020-02-29 23:59", Ok((30, 30, false, 0))),
    (MARCH, &[], 0, "2019-04-10", Ok((31, 11, false, 64_452))),
    (QUARTER, &[], 0, "2019-03-15", Ok((90, 44, false, 153_180))),
    // A renewal that has not begun is unused; the renewed edition can only be refunded after it.
    (RENEWED, &[], 1, "2019-03-01", Ok((31, 0, false, 99_900))),
    (RENEWED, &[], 0, "2019-03-01", Err("RenewedSince")),
    (RENEWED, &[(1, "2019-03-01")], 0, "2019-03-02", Ok((28, 19, false, 32_111))),
    (RENEWED, &[(1, "2019-03-01")], 1, "2019-03-02", Err("Refunded")),
    // In full because it is unused, not because it is soon.
    (RENEWED, &[], 1, "2019-02-20 12:00", Ok((31, 0, false, 99_900))),
    (RENEWED, &[(1, "2019-02-20 12:00")], 0, "2019-02-20 13:00", Ok((28, 9, false, 67_789))),
    (SOON, &[(1, "2019-02-12 12:00")], 2, "2019-02-13", Ok((28, 2, true, 50_000))),
    // In full once for an app.
    (ADD_ONS, &[], 1, "2019-02-23", Ok((28, 4, true, 50_000))),
    (ADD_ONS, &[(1, "2019-02-23")], 2, "2019-02-23", Ok((28, 2, false, 46_429))),
];

/// The history with one more refund.
fn refunded(mut sales: Sales, purchase: usize, when: &str) -> Sales {
    let figures = refund(&catalog(), &sales, purchase, at(when)).expect("it may be refunded");
    let made_after = sales.purchases.len();
    sales.refunds.push(Refund {
        request_id: RequestId::try_from("refund").expect("valid"),
        purchase,
        made_after,
        refund_fen: figures.refund_fen,
        in_full: figures.in_full,
        used: None,
        at: at(when),
    });
    sales
}

#[test]
fn an_old_record_of_a_renewal_refunded_in_full_keeps_the_full_refund() {
    let mut sales = refunded(history(SOON), 1, "2019-02-12 12:00");
    // In the format of the previous version.
    sales.refunds[0].in_full = true;
    assert!(refund(&catalog(), &sales, 2, at("2019-02-13")).expect("refunded").in_full);
}

#[test]
fn a_refund_is_the_price_less_the_days_used() {
    for (orders, earlier, purchase, when, expected) in REFUNDS {
        let mut sales = history(orders);
        for (purchase, when) in *earlier {
            sales = refunded(sales, *purchase, when);
        }
        let got = refund(&catalog(), &sales, *purchase, at(when))
            .map(|it| (it.days, it.days_used, it.in_full, it.refund_fen))
            .map_err(|refusal| word(&refusal));
        assert_eq!(got, *expected, "{orders:?}, {earlier:?}, then {purchase} at {when}");
    }
}

#[test]
fn a_refunded_edition_stops_at_once_and_may_be_bought_anew() {
    let sales = refunded(history(FEBRUARY), 0, "2019-02-20 10:00");
    let timeline = Timeline::new(&catalog(), &sales);
    let refunded_at = at("2019-02-20 10:00");
    assert_eq!(timeline.edition_at(before(refunded_at)).1, ServiceState::Active);
    assert_eq!(timeline.edition_at(refunded_at).1, ServiceState::Stopped);
    assert_eq!(timeline.valid[0].until, refunded_at);
    for what in ["professional", "renew"] {
        let sold = sell(&catalog(), &sales, &order(what), 1, at("2019-02-21"));
        assert_eq!(sold.map(|(_, price)| price).map_err(|refusal| word(&refusal)), Ok(99_900));
    }
    let sold = sell(&catalog(), &sales, &order("members-2000"), 1, at("2019-02-21"));
    assert!(matches!(sold, Err(Refusal::EditionStopped(_))), "{sold:?}");
}

#[test]
fn without_a_refunded_renewal_the_edition_ends_as_if_it_had_never_been() {
    let renewed = Timeline::new(&catalog(), &history(RENEWED));
    let run = &renewed.editions[0];
    assert_eq!((run.valid.until, run.stops_at), (at("2019-04-12"), at("2019-04-19")));
    let sales = refunded(history(RENEWED), 1, "2019-03-01");
    let timeline = Timeline::new(&catalog(), &sales);
    let run = &timeline.editions[0];
    assert_eq!((run.valid.until, run.stops_at), (at("2019-03-12"), at("2019-03-19")));
    // Renewed again, it counts from the day of the first purchase.
    let mut again = sales;
    let (item, price_fen) =
        sell(&catalog(), &again, &order("renew"), 2, at("2019-03-02")).expect("sold");
    again.purchases.push(super::purchase("2019-03-02", item, 2, price_fen));
    assert_eq!(Timeline::new(&catalog(), &again).editions[0].valid.until, at("2019-05-12"));
}

#[test]
fn a_refunded_add_on_is_not_counted_and_can_be_replaced_by_a_larger_one() {
    let orders = &[("2019-02-12", "professional", 3), ("2019-02-20", "members-2000", 1)];
    let larger = |sales: &Sales| {
        let sold = sell(&catalog(), sales, &order("members-6000"), 1, at("2019-03-01"));
        sold.map(|(_, price)| price).map_err(|refusal| word(&refusal))
    };
    assert_eq!(larger(&history(orders)), Err("AddOnInForce"));
    let sales = refunded(history(orders), 1, "2019-02-28 12:00");
    assert_eq!(larger(&sales), Ok(100_000));
    let schedule = schedule(&sales);
    for (when, limits) in [
        ("2019-02-20", "Active - 3000 200 2000 50"),
        ("2019-02-28 11:59", "Active - 3000 200 2000 50"),
        ("2019-02-28 12:00", "Active - 3000 200 200 50"),
    ] {
        assert_eq!(shown(schedule.at(at(when))), limits, "{when}");
    }
}
