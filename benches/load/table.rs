//! One table of figures: before, now, the goal, and whether it is met.

use std::fmt;

use super::field::Role;
use super::shared::Spread;

/// The least value from which a figure is printed without decimals, and with one.
const LARGE: f64 = 1000.0;
const MEDIUM: f64 = 10.0;

/// What a figure has to reach, by its median.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    AtMost(f64),
    AtLeast(f64),
    /// At most that many times the figure before, by the median of the rounds' ratios.
    AtMostOfBefore(f64),
    /// None: the figure is only reported.
    Reported,
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "<= {most}"),
            Self::AtLeast(least) => write!(f, ">= {least}"),
            Self::AtMostOfBefore(most) => write!(f, "<= {most} x before"),
            Self::Reported => write!(f, "-"),
        }
    }
}

/// A figure of each round, of the build before (empty if there is none) and of the present one.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    pub before: Vec<f64>,
    pub now: Vec<f64>,
}

impl Figures {
    /// Returns the figures of a build.
    pub fn of_mut(&mut self, role: Role) -> &mut Vec<f64> {
        if role == Role::Before { &mut self.before } else { &mut self.now }
    }

    /// Returns the ratio of each round to that of the build before.
    fn ratios(&self) -> Option<Spread> {
        let ratios: Vec<_> =
            self.now.iter().zip(&self.before).map(|(now, before)| now / before).collect();
        (!ratios.is_empty()).then(|| Spread::of(ratios))
    }
}

/// The rows of the table, each with its goal.
pub struct Table {
    rows: Vec<(String, Goal, Figures)>,
    is_quick: bool,
}

impl Table {
    /// Creates one without rows. A small run may have no operation in a measurement, and so
    /// figures that are no numbers.
    pub fn new(is_quick: bool) -> Self {
        Self { rows: Vec::new(), is_quick }
    }

    /// Adds a row. Panics if a figure could not be measured.
    pub fn add(&mut self, what: impl Into<String>, goal: Goal, figures: Figures) {
        let what = what.into();
        assert!(!figures.now.is_empty(), "{what}: not measured");
        let mut all = figures.before.iter().chain(&figures.now);
        let is_measured = all.all(|figure| figure.is_finite());
        assert!(self.is_quick || is_measured, "{what}: {figures:?}");
        self.rows.push((what, goal, figures));
    }

    /// Prints all rows.
    pub fn print(&self) {
        println!("\n| | before | now | goal | |");
        println!("|---|---:|---:|---:|---|");
        for (what, goal, figures) in &self.rows {
            let cell = |of: &[f64]| match of {
                [] => "-".to_owned(),
                of => cell(Spread::of(of.iter().copied())),
            };
            let (before, now) = (cell(&figures.before), cell(&figures.now));
            println!("| {what} | {before} | {now} | {goal} | {} |", outcome(*goal, figures));
        }
    }
}

/// Formats a spread with decimals by the size of its median.
fn cell(spread: Spread) -> String {
    let decimals = match spread.median.abs() {
        median if median >= LARGE => 0,
        median if median >= MEDIUM => 1,
        _ => 2,
    };
    format!("{spread:.decimals$}")
}

/// Returns whether the goal is met, as the table has it.
fn outcome(goal: Goal, figures: &Figures) -> String {
    let median = Spread::of(figures.now.iter().copied()).median;
    let is_met = match goal {
        Goal::AtMost(most) => median <= most,
        Goal::AtLeast(least) => median >= least,
        Goal::AtMostOfBefore(most) => {
            let Some(ratios) = figures.ratios() else { return "-".to_owned() };
            let outcome = if ratios.median <= most { "met" } else { "missed" };
            return format!("{outcome}: {ratios}");
        }
        Goal::Reported => return String::new(),
    };
    if is_met { "met".to_owned() } else { "missed".to_owned() }
}
