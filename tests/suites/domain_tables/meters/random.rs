//! Random rows against plain arithmetic that shares no code with the domain.

use std::fmt::Write as _;
use std::sync::Arc;

use imquota::domain::catalog_history::CatalogHistory;
use imquota::domain::month::Month;

use super::{Day, lines, sales, with_rows};
use crate::support::{Rng, seed};

/// Random rows of the test.
const ROWS: usize = 3000;

/// Decimal text and the same as a fraction of millionths.
#[derive(Debug, Clone)]
struct Decimal(String, u128);

fn decimal(rng: &mut Rng) -> Decimal {
    let whole = *rng.pick(&[0_u64, 1, 7, 300, 10_000]);
    let places = rng.below(7);
    if places == 0 {
        return Decimal(whole.to_string(), u128::from(whole) * 1_000_000);
    }
    let digits = rng.next() % 10_u64.pow(u32::try_from(places).expect("small"));
    let padded = format!("{digits:0places$}");
    let millionths: u128 = format!("{padded:0<6}").parse().expect("digits");
    Decimal(format!("{whole}.{padded}"), u128::from(whole) * 1_000_000 + millionths)
}

/// A day of the month, from 1.
fn day_up_to(rng: &mut Rng, last: u32) -> u32 {
    u32::try_from(rng.between(1, last.into())).expect("small")
}

#[derive(Debug, Clone)]
enum Free {
    Number(u64),
    ByEdition(u64, u64),
    ShareOfBase(u64),
}

#[derive(Debug, Clone)]
enum Charge {
    Price(Decimal),
    Regions(Decimal),
    /// Ends of bands but the last one, and a price or a fee of each; of fees also that of Ultra.
    Bands(Vec<u64>, Vec<Decimal>, Option<Vec<Decimal>>),
}

/// A random row, which stands below a row `base` of the highest day of users.
#[derive(Debug, Clone)]
struct Row {
    of: &'static str,
    aggregate: &'static str,
    from_day: u32,
    unit: u64,
    rounding: &'static str,
    round_each_day: bool,
    free: Free,
    charge: Charge,
}

const KINDS: [(&str, &str); 8] = [
    ("logins", "day_distinct_peak"),
    ("logins", "month_distinct"),
    ("groups", "count_peak"),
    ("bandwidth", "daily_peak_sum"),
    ("bandwidth", "month_peak"),
    ("gauge", "daily_peak_sum"),
    ("gauge", "month_peak"),
    ("meter", ""),
];

impl Row {
    fn random(rng: &mut Rng) -> Self {
        let (of, aggregate) = *rng.pick(&KINDS);
        let has_days = of != "meter" && aggregate != "month_distinct";
        let unit = *rng.pick(&[1, 7, 1000]);
        let free = |rng: &mut Rng| *rng.pick(&[0, 1, unit, 500, 5000]);
        let charge = match rng.below(3) {
            _ if of == "bandwidth" => Charge::Regions(decimal(rng)),
            0 => Charge::Price(decimal(rng)),
            kind => {
                let count = rng.below(4);
                let mut ends = Vec::new();
                for _ in 0..count {
                    let last = ends.last().copied().unwrap_or(0);
                    ends.push(last + *rng.pick(&[1, unit, 500, 1000]));
                }
                let all = |rng: &mut Rng| (0..=count).map(|_| decimal(rng)).collect();
                let of_ultra = (kind == 2).then(|| all(rng));
                Charge::Bands(ends, all(rng), of_ultra)
            }
        };
        let is_fee = matches!(charge, Charge::Bands(.., Some(_)));
        let rounding = *rng.pick(&["up", "down", "exact"]);
        Self {
            of,
            aggregate,
            from_day: if has_days && rng.percent(50) { day_up_to(rng, 28) } else { 1 },
            unit: if is_fee { 1 } else { unit },
            rounding,
            round_each_day: aggregate == "daily_peak_sum"
                && rounding != "exact"
                && !is_fee
                && rng.percent(50),
            free: match rng.below(3) {
                _ if is_fee => Free::Number(0),
                0 => Free::Number(free(rng)),
                1 => Free::ByEdition(free(rng), free(rng)),
                _ => Free::ShareOfBase(1 + rng.next() % 100),
            },
            charge,
        }
    }

    fn text(&self) -> String {
        let mut text = "[[metering.meters]]\nid = \"base\"\nlabel = \"Base\"\nof = \"logins\"\n\
                        aggregate = \"day_distinct_peak\"\nprice = \"0\"\n\n\
                        [[metering.meters]]\nid = \"row\"\nlabel = \"Row\"\n"
            .to_owned();
        let mut line = |line: String| writeln!(text, "{line}").expect("a string");
        line(format!("of = \"{}\"", self.of));
        match self.of {
            "gauge" => line("name = \"connections\"".to_owned()),
            "meter" => line("name = \"base\"".to_owned()),
            _ => {}
        }
        if !self.aggregate.is_empty() {
            line(format!("aggregate = \"{}\"", self.aggregate));
        }
        if self.from_day > 1 {
            line(format!("from_day = {}", self.from_day));
        }
        let is_fee = matches!(self.charge, Charge::Bands(.., Some(_)));
        if !is_fee {
            line(format!("unit = {}\nrounding = \"{}\"", self.unit, self.rounding));
        }
        if self.round_each_day {
            line("round_each_day = true".to_owned());
        }
        match self.free {
            _ if is_fee => {}
            Free::Number(free) => line(format!("free = {free}")),
            Free::ByEdition(pro, ultra) => {
                line(format!("free = {{ professional = {pro}, ultra = {ultra} }}"));
            }
            Free::ShareOfBase(percent) => {
                line(format!("free_share_of = {{ meter = \"base\", percent = {percent} }}"));
            }
        }
        match &self.charge {
            Charge::Price(price) => line(format!("price = \"{}\"", price.0)),
            Charge::Regions(price) => line(format!(
                "price_by = \"region\"\n\
                 prices = {{ mainland = \"{}\", overseas = \"not_charged\" }}",
                price.0
            )),
            Charge::Bands(ends, values, of_ultra) => {
                for (index, value) in values.iter().enumerate() {
                    line("[[metering.meters.tiers]]".to_owned());
                    if let Some(end) = ends.get(index) {
                        line(format!("up_to = {end}"));
                    }
                    line(match of_ultra {
                        None => format!("price = \"{}\"", value.0),
                        Some(ultra) => format!(
                            "fee = {{ professional = \"{}\", ultra = \"{}\" }}",
                            value.0, ultra[index].0
                        ),
                    });
                }
            }
        }
        text
    }
}

/// Plain arithmetic: what is free of the figure on a day of that edition.
fn allowance(row: &Row, days: &[Day], edition: &str) -> u64 {
    let charged = days.iter().filter(|day| day.edition.is_some());
    match row.free {
        Free::Number(free) => free,
        Free::ByEdition(_, ultra) if edition == "ultra" => ultra,
        Free::ByEdition(pro, _) => pro,
        Free::ShareOfBase(percent) => charged.map(|day| day.dau).max().unwrap_or(0) * percent / 100,
    }
}

/// Plain arithmetic: the figure of the row, or of its region `mainland`, and the edition that made
/// it; `None` without a charged day.
fn figure(row: &Row, days: &[Day], month_users: u64) -> Option<(u64, &'static str)> {
    // Figure and edition of each day that is charged.
    let window: Vec<(u64, &'static str)> = (1..)
        .zip(days)
        .filter(|(number, _)| *number >= row.from_day)
        .filter_map(|(_, day)| {
            let figure = match row.of {
                "logins" | "meter" => day.dau,
                "groups" => day.groups,
                "bandwidth" => day.mainland,
                _ => day.gauge,
            };
            Some((figure, day.edition?))
        })
        .collect();
    let (_, last) = *window.last()?;
    let sum = || {
        window.iter().map(|(of_day, _)| match (row.round_each_day, row.rounding) {
            (false, _) => *of_day,
            (true, "up") => of_day.div_ceil(row.unit) * row.unit,
            (true, _) => of_day - of_day % row.unit,
        })
    };
    let (mut most, mut found) = ((0, 0), (0, last));
    match row.aggregate {
        "month_distinct" => return Some((month_users, last)),
        "daily_peak_sum" => return Some((sum().sum(), last)),
        _ => {}
    }
    for (of_day, edition) in window {
        // The base has nothing free.
        let free = if row.of == "meter" { 0 } else { allowance(row, days, edition) };
        let over = of_day.saturating_sub(free);
        if (over, of_day) > most {
            (most, found) = ((over, of_day), (of_day, edition));
        }
    }
    Some(found)
}

/// Plain arithmetic: the amount of the row, or of its region `mainland`, in fen.
fn model(row: &Row, days: &[Day], month_users: u64) -> i128 {
    let Some((figure, edition)) = figure(row, days, month_users) else { return 0 };
    let free = allowance(row, days, edition);
    let over = |figure: u64| figure.saturating_sub(free);
    let parts = |over: u64| -> u128 {
        let rest = over % row.unit;
        u128::from(match row.rounding {
            "exact" => over,
            "up" if rest > 0 => over - rest + row.unit,
            _ => over - rest,
        })
    };
    let (dividend, divisor): (u128, u128) = match &row.charge {
        Charge::Price(price) | Charge::Regions(price) => {
            (parts(over(figure)) * price.1, u128::from(row.unit) * 10_000)
        }
        Charge::Bands(ends, fees, Some(of_ultra)) => {
            let band = ends.iter().filter(|end| figure > **end).count();
            let fees = if edition == "ultra" { of_ultra } else { fees };
            (fees[band].1, 10_000)
        }
        // The price of each single number, one after the other.
        Charge::Bands(ends, prices, None) => {
            let mut sum = 0;
            for number in 1..=figure {
                let band = ends.iter().filter(|end| number > **end).count();
                let more = parts(over(number)) - parts(over(number - 1));
                sum += more * prices[band].1;
            }
            (sum, u128::from(row.unit) * 10_000)
        }
    };
    let (whole, rest) = (dividend / divisor, dividend % divisor);
    let rounded = if 2 * rest >= divisor { whole + 1 } else { whole };
    i128::try_from(rounded).expect("small")
}

#[test]
fn every_row_charges_what_plain_arithmetic_does() {
    let seed = seed(0x6d65_7465);
    let mut rng = Rng::new(seed);
    let months = ["2019-02", "2020-02", "2019-04", "2019-08"];
    for number in 0..ROWS {
        let row = Row::random(&mut rng);
        let month: Month = rng.pick(&months).parse().expect("a month");
        let count = u32::try_from(month.days().count()).expect("small");
        let from = if rng.percent(50) { 1 } else { day_up_to(&mut rng, count) };
        let ultra_from = rng.percent(50).then(|| from - 1 + day_up_to(&mut rng, count + 1 - from));
        let scale = *rng.pick(&[1, 3, 1000, 3000]);
        let near = |rng: &mut Rng| match rng.below(4) {
            0 => 0,
            1 => row.unit * (rng.next() % 4),
            2 => 500 * (rng.next() % 4) + rng.next() % 3,
            _ => rng.next() % scale,
        };
        let day = |number: u32, rng: &mut Rng| Day {
            dau: near(rng),
            groups: near(rng),
            mainland: near(rng),
            overseas: near(rng),
            gauge: near(rng),
            edition: match ultra_from {
                Some(ultra) if number >= ultra => Some("ultra"),
                _ => (number >= from).then_some("professional"),
            },
        };
        let days: Vec<Day> = (1..=count).map(|number| day(number, &mut rng)).collect();
        let users = rng.next() % 6000;
        let text = row.text();
        let catalog = with_rows(&text);
        let sales = sales(&catalog, month, from, ultra_from);
        let catalogs = CatalogHistory::of(Arc::new(catalog));
        let lines = lines(&catalogs, &sales, month, &days, Some(users));
        let due = model(&row, &days, users);
        assert_eq!(
            i128::from(lines[1].amount_fen),
            due,
            "seed {seed}, row {number}: {text}\n{days:?}"
        );
        if row.of == "bandwidth" {
            let rest: Vec<_> = lines[1..].iter().map(|line| line.item_id.as_str()).collect();
            assert_eq!(rest, ["row/mainland", "row/overseas"]);
            assert_eq!((lines[2].amount_fen, lines[2].unit_price), (0, None));
        }
    }
}
