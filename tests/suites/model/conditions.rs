//! Conditions of sale, rules of prices and of the last valid day: the model's form of them, and the
//! model over the small catalog with such conditions.

use super::calendar::{date_of, day_number, day_of};
use super::coverage::Coverage;
use super::rules::{EditionRule, Rules, SMALL};
use super::{over_small, small_with};
use crate::support::moved_clock::MovedClock;
use crate::support::redis::Server;
use crate::support::{Place, seed};

/// Conditions of sale of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conditions {
    pub for_sale: bool,
    pub months_max: u32,
    /// An app buys it once.
    pub once: bool,
    /// Price of just that number of months.
    pub price_of: Option<(u32, i64)>,
}

/// As often and for as many months as wanted.
pub const FREELY: Conditions =
    Conditions { for_sale: true, months_max: 24, once: false, price_of: None };

/// Rules of every sale of a catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaleRules {
    /// Valid through day T instead of T-1.
    pub same_day: bool,
    /// A refund pays back the days that are left, instead of nothing.
    pub refunds: bool,
    /// A price is the sum of the days' shares of their calendar months.
    pub by_calendar_days: bool,
}

/// Pricing rules, section 5.
pub const PUBLISHED: SaleRules =
    SaleRules { same_day: false, refunds: true, by_calendar_days: false };

impl Conditions {
    /// A part of the error of a sale that they refuse; `bought` if the app has bought the item
    /// before.
    pub fn check(&self, months: u32, bought: bool) -> Result<(), &'static str> {
        match self {
            _ if months > self.months_max => Err("months_max in the catalog"),
            _ if self.once && bought => Err("once_per_app in the catalog"),
            _ => Ok(()),
        }
    }

    /// The price of a sale of that number of months, valid from one instant until another.
    pub fn price(&self, rules: SaleRules, fen: i64, months: u32, (from, until): (i64, i64)) -> i64 {
        match self.price_of {
            Some((of, price)) if of == months => price,
            _ if rules.by_calendar_days => by_calendar_days(fen, day_of(from), day_of(until - 1)),
            _ => fen * i64::from(months),
        }
    }
}

/// The days' shares of the price of their calendar months, rounded half up once.
fn by_calendar_days(fen: i64, first: i64, last: i64) -> i64 {
    // Numerators over the lengths 28 to 31.
    let mut days = [0_i128; 4];
    for day in first..=last {
        let (year, month, _) = date_of(day);
        let (next_year, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        let length = day_number(next_year, next, 1) - day_number(year, month, 1);
        days[usize::try_from(length - 28).expect("28 to 31")] += 1;
    }
    let whole: i128 = 28 * 29 * 30 * 31;
    let shares: i128 = (28..).zip(days).map(|(length, days)| days * (whole / length)).sum();
    let (fen, rest) = (i128::from(fen) * shares / whole, i128::from(fen) * shares % whole);
    i64::try_from(fen + i128::from(2 * rest >= whole)).expect("small")
}

#[test]
fn shares_of_calendar_months_are_those_of_the_pricing_page() {
    let day = |month, day| day_number(2019, month, day);
    // 999.00 x (17/28 + 11/31), and a whole month.
    assert_eq!(by_calendar_days(99_900, day(2, 12), day(3, 11)), 96_102);
    assert_eq!(by_calendar_days(99_900, day(3, 1), day(3, 31)), 99_900);
}

/// Numbers of [`TEXTS`].
const CONDITIONED: Rules = Rules {
    editions: &[
        SMALL.editions[0],
        EditionRule {
            conditions: Conditions { months_max: 2, price_of: Some((2, 180_000)), ..FREELY },
            ..SMALL.editions[1]
        },
        EditionRule {
            conditions: Conditions { once: true, ..FREELY },
            fen: 0,
            ..SMALL.editions[2]
        },
        EditionRule { conditions: Conditions { for_sale: false, ..FREELY }, ..SMALL.editions[3] },
    ],
    add_ons: {
        let mut add_ons = SMALL.add_ons;
        add_ons[0].conditions = Conditions { once: true, ..FREELY };
        add_ons[1].conditions = Conditions { months_max: 1, ..FREELY };
        add_ons[3].conditions = Conditions { price_of: Some((3, 120_000)), ..FREELY };
        add_ons[5].conditions = Conditions { for_sale: false, ..FREELY };
        add_ons
    },
    sale: SaleRules { same_day: true, refunds: false, by_calendar_days: true },
    ..SMALL
};

/// Texts of the small catalog, and those that replace them.
const TEXTS: [(&str, &str); 8] = [
    (
        "price_fen_per_month = 99900\n",
        "price_fen_per_month = 99900\nmonths_max = 2\nprice_of_months = { 2 = 180000 }\n",
    ),
    ("price_fen_per_month = 199900\n", "free = true\nonce_per_app = true\n"),
    ("price_fen_per_month = 49900\n", "price_fen_per_month = 49900\nfor_sale = false\n"),
    ("id = \"groups-per-user-400\"\n", "id = \"groups-per-user-400\"\nonce_per_app = true\n"),
    ("id = \"groups-per-user-700\"\n", "id = \"groups-per-user-700\"\nmonths_max = 1\n"),
    ("id = \"members-2000\"\n", "id = \"members-2000\"\nprice_of_months = { 3 = 120000 }\n"),
    ("id = \"av-chat-rooms-unlimited\"\n", "id = \"av-chat-rooms-unlimited\"\nfor_sale = false\n"),
    (
        "full_refunds_per_app = 1\n",
        "full_refunds_per_app = 1\nlast_day = \"same\"\nrefund = \"none\"\n\
         fee = \"calendar_days\"\n",
    ),
];

async fn compared(
    place: Place,
    clock: Option<&MovedClock>,
    rounds: (usize, Option<usize>),
    seed: u64,
) -> Coverage {
    over_small((&CONDITIONED, small_with(&TEXTS)), place, clock, rounds, seed).await
}

/// The cases that a run must cover.
fn require(coverage: &Coverage, seed: u64, times: u64) {
    for case in [
        "refused: is not for sale",
        "refused: months_max in the catalog",
        "refused: once_per_app in the catalog",
        "edition bought",
        "refund of nothing",
    ] {
        coverage.require(seed, &[(case, times)]);
    }
}

#[tokio::test]
async fn conditions_of_sale_in_memory_agree_with_the_model() {
    let coverage = compared(Place::Memory, None, (3_000, None), seed(41)).await;
    require(&coverage, seed(41), 3);
    coverage.require(seed(41), &[("edition changed to a later one", 3), ("add-on exchanged", 1)]);
}

#[tokio::test]
async fn conditions_of_sale_on_disk_agree_with_the_model_also_after_re_opening() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = Place::directory(directory.path());
    let coverage = compared(place, None, (1_500, Some(150)), seed(42)).await;
    require(&coverage, seed(42), 1);
}

#[tokio::test]
async fn conditions_of_sale_in_redis_agree_with_the_model() {
    let clock = MovedClock::new();
    let server = Server::start_with_clock(&[], &clock);
    let place = Place::Redis(format!("redis://{}/0", server.address()));
    let coverage = compared(place, Some(&clock), (600, Some(200)), seed(43)).await;
    require(&coverage, seed(43), 1);
}
