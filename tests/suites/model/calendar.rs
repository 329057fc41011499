//! The model's own days and months, in Shanghai (eight hours ahead, no summer time since 1991).
//!
//! Written from the pricing rules, section 5, by counting days: it shares no code with the calendar
//! under test.

pub const DAY_MILLIS: i64 = 86_400_000;
const AHEAD_MILLIS: i64 = 8 * 3_600_000;

/// Days since 1970-01-01 of an instant in milliseconds.
pub fn day_of(millis: i64) -> i64 {
    (millis + AHEAD_MILLIS).div_euclid(DAY_MILLIS)
}

/// The first instant of a day, in milliseconds.
pub fn start_of(day: i64) -> i64 {
    day * DAY_MILLIS - AHEAD_MILLIS
}

fn year_length(year: i64) -> i64 {
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if leap { 366 } else { 365 }
}

fn month_length(year: i64, month: i64) -> i64 {
    match month {
        2 => year_length(year) - 337,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Year, month from 1, day of the month from 1.
pub fn date_of(day: i64) -> (i64, i64, i64) {
    let (mut year, mut month, mut rest) = (1970, 1, day);
    while rest >= year_length(year) {
        rest -= year_length(year);
        year += 1;
    }
    while rest >= month_length(year, month) {
        rest -= month_length(year, month);
        month += 1;
    }
    (year, month, rest + 1)
}

pub fn day_number(year: i64, month: i64, day: i64) -> i64 {
    let years: i64 = (1970..year).map(year_length).sum();
    let months: i64 = (1..month).map(|month| month_length(year, month)).sum();
    years + months + day - 1
}

/// The first day after the validity of a purchase on `bought` for `months` months: the last valid
/// day is day T-1 of the last month, or T if it is the same day, or that month's last day if it is
/// shorter.
pub fn first_day_after(bought: i64, months: u32, same_day: bool) -> i64 {
    let (year, month, day) = date_of(bought);
    let index = year * 12 + (month - 1) + i64::from(months);
    let (year, month) = (index / 12, index % 12 + 1);
    let last_valid = (day - i64::from(!same_day)).min(month_length(year, month));
    day_number(year, month, 1) + last_valid
}

#[test]
fn the_models_calendar_agrees_with_the_pricing_rules() {
    let day = |text: &str| {
        let parts: Vec<i64> = text.split('-').map(|part| part.parse().unwrap()).collect();
        day_number(parts[0], parts[1], parts[2])
    };
    for (bought, months, last_valid) in [
        ("2019-02-12", 1, "2019-03-11"),
        ("2019-01-31", 1, "2019-02-28"),
        ("2020-01-31", 1, "2020-02-29"),
        ("2019-01-30", 1, "2019-02-28"),
        ("2019-03-31", 1, "2019-04-30"),
        ("2019-01-01", 1, "2019-01-31"),
        ("2019-01-31", 2, "2019-03-30"),
        ("2019-12-31", 1, "2020-01-30"),
    ] {
        assert_eq!(first_day_after(day(bought), months, false), day(last_valid) + 1, "{bought}");
    }
    for number in 0..40_000 {
        let (year, month, dom) = date_of(number);
        assert_eq!(day_number(year, month, dom), number);
        assert_eq!(day_of(start_of(number)), number);
        assert_eq!(day_of(start_of(number) - 1), number - 1);
    }
}
