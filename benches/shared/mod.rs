//! Shared parts of the benches: the head of the output, medians with their spread, and pairs of
//! users and groups.

#![allow(dead_code, reason = "each bench uses a part of it")]

use std::fmt;

/// The seed of every pseudorandom choice.
pub const SEED: u64 = 20_190_809;

/// Returns whether a bench runs small: without `--bench`, as under `cargo test`, or with `--quick`.
pub fn is_quick() -> bool {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let has = |argument: &str| arguments.iter().any(|given| given == argument);
    has("--quick") || !has("--bench")
}

/// Prints the hardware and the command of the measurements below.
pub fn print_head(bench: &str, quick: bool) {
    let mut command = format!("cargo bench --bench {bench}");
    let own = std::env::args().skip(1).filter(|argument| argument != "--bench");
    for (index, argument) in own.enumerate() {
        command.push_str(if index == 0 { " -- " } else { " " });
        command.push_str(&argument);
    }
    println!("hardware: {}", hardware());
    println!("command: {command}");
    println!("seed: {SEED}");
    if quick || cfg!(debug_assertions) {
        println!("IGNORE THE FIGURES BELOW: this run is small, or not optimized");
    }
}

/// Returns cores, system and, if Linux reports it, the processor.
pub fn hardware() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or(String::new(), |(_, model)| format!(", {model}"));
    format!("{cores} cores, {os} {arch}{model}")
}

/// The median, the minimum and the maximum of some values.
#[derive(Debug, Clone, Copy)]
pub struct Spread {
    /// The median, or the upper one of the two middle values.
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (values[0], values[values.len() - 1]);
        Self { median: values[values.len() / 2], least, most }
    }
}

impl fmt::Display for Spread {
    /// Formats as `0.82 (0.79-0.91)`, with the given precision, or two decimals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = f.precision().unwrap_or(2);
        let Self { median, least, most } = self;
        write!(f, "{median:.decimals$} ({least:.decimals$}-{most:.decimals$})")
    }
}

/// A user who joins a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    pub user: u32,
    pub group: u32,
}

/// All pairs of a user and a group, each once, in an order shuffled by the seed.
#[derive(Debug, Clone, Copy)]
pub struct Pairs {
    user_bits: u32,
    group_bits: u32,
    seed: u64,
}

impl Pairs {
    /// Creates the pairs of that number of users and groups, both powers of two.
    pub fn of(users: u32, groups: u32, seed: u64) -> Self {
        assert!(users.is_power_of_two() && groups.is_power_of_two(), "powers of two");
        Self { user_bits: users.ilog2(), group_bits: groups.ilog2(), seed }
    }

    /// Returns the number of pairs.
    pub fn len(&self) -> u64 {
        1 << (self.user_bits + self.group_bits)
    }

    /// Returns the pair with that number. Each step is a permutation of the pairs' numbers.
    pub fn get(&self, number: u64) -> Pair {
        let mask = self.len() - 1;
        assert!(number <= mask, "there are more joins than pairs");
        let half = (self.user_bits + self.group_bits).div_ceil(2);
        let mut number = (number ^ self.seed) & mask;
        for multiplier in [0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9_u64] {
            number = number.wrapping_mul(multiplier) & mask;
            number ^= number >> half;
        }
        let low = |number: u64| u32::try_from(number).expect("masked to a u32");
        Pair {
            user: low(number >> self.group_bits),
            group: low(number & ((1 << self.group_bits) - 1)),
        }
    }
}
