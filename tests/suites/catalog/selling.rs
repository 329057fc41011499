//! Prices and conditions of sale, as a catalog has them.

use imquota::domain::calendar::LastDay;
use imquota::domain::selling::{FeeRule, RefundRule, Selling};

use super::broken::with;

const PAID: &str = "price_fen_per_month = 100\n";
const MORE: &str = "price_fen_per_month = 5\n";

#[test]
fn a_catalog_without_conditions_has_those_of_the_version_before() {
    let catalog = with(&[]).expect("valid");
    let selling = Selling {
        is_for_sale: true,
        months_max: None,
        is_once_per_app: false,
        price_of_months: Vec::new(),
    };
    assert_eq!(catalog.editions[1].selling, selling);
    assert_eq!(catalog.add_ons[0].selling, selling);
    let validity = catalog.validity;
    assert_eq!(validity.last_day, LastDay::Before);
    assert_eq!((validity.refund, validity.fee), (RefundRule::Days, FeeRule::Months));
}

#[test]
fn conditions_and_rules_are_read() {
    let conditions = "for_sale = false\nmonths_max = 12\nonce_per_app = true\n\
                      price_of_months = { 12 = 1000, 3 = 280 }\n";
    let catalog = with(&[
        (PAID, &format!("{PAID}{conditions}")),
        (MORE, &format!("free = true\n{conditions}")),
        (
            "full_refunds_per_app = 1 ",
            "full_refunds_per_app = 1, last_day = \"same\", refund = \"none\", \
             fee = \"calendar_days\" ",
        ),
    ])
    .expect("valid");
    let selling = Selling {
        is_for_sale: false,
        months_max: Some(12),
        is_once_per_app: true,
        price_of_months: vec![(3, 280), (12, 1000)],
    };
    assert_eq!(
        (catalog.editions[1].price_fen_per_month, catalog.editions[0].price_fen_per_month),
        (Some(100), None)
    );
    assert_eq!(catalog.add_ons[0].price_fen_per_month, 0);
    assert_eq!(catalog.editions[1].selling, selling);
    assert_eq!(catalog.add_ons[0].selling, selling);
    let validity = catalog.validity;
    assert_eq!(validity.last_day, LastDay::Same);
    assert_eq!((validity.refund, validity.fee), (RefundRule::Nothing, FeeRule::CalendarDays));
}

/// A change of the small catalog, and a part of the report.
const BROKEN: &[(&str, &str, &str)] = &[
    (PAID, "", "editions[1]: \"price_fen_per_month\" is missing"),
    (MORE, "", "add_ons[0]: \"price_fen_per_month\" is missing; free is \"free = true\""),
    (MORE, "free = false\n", "add_ons[0]: \"price_fen_per_month\" is missing"),
    (
        MORE,
        "price_fen_per_month = 5\nfree = true\n",
        "add_ons[0].free: must not be true where there is a price_fen_per_month",
    ),
    (
        "label = \"体验版\"\n",
        "label = \"x\"\nfree = true\n",
        "editions[0].free: the default edition is not for sale",
    ),
    (
        PAID,
        "price_fen_per_month = 1\nmonths_max = 25\n",
        "months_max: must be a whole number from 1 to 24",
    ),
    (PAID, "price_fen_per_month = 1\nfor_sale = 1\n", "for_sale: must be true or false"),
    (
        PAID,
        "price_fen_per_month = 1\nprice_of_months = { 25 = 1 }\n",
        "price_of_months.25: the key must be a number of months, 1 to 24",
    ),
    (
        PAID,
        "price_fen_per_month = 1\nmonths_max = 6\nprice_of_months = { 12 = 1 }\n",
        "price_of_months.12: the key must be a number of months, 1 to 6",
    ),
    (
        PAID,
        "price_fen_per_month = 1\nprice_of_months = { 012 = 1 }\n",
        "price_of_months.012: the key must be a number of months, 1 to 24",
    ),
    (
        PAID,
        "price_fen_per_month = 1\nprice_of_months = { 12 = -1 }\n",
        "price_of_months.12: must be a whole number from 0 to 1000000000000, not -1",
    ),
    (
        "full_refunds_per_app = 1 ",
        "full_refunds_per_app = 1, last_day = \"after\" ",
        "validity.last_day: must be \"before\" or \"same\", not \"after\"",
    ),
    (
        "full_refunds_per_app = 1 ",
        "full_refunds_per_app = 1, fee = \"days\" ",
        "validity.fee: must be \"months\" or \"calendar_days\", not \"days\"",
    ),
];

#[test]
fn mistakes_are_reported_by_key() {
    for (from, to, expected) in BROKEN {
        let report = with(&[(*from, *to)]).expect_err(expected);
        assert!(report.contains(expected), "{expected} in {report}");
    }
}
