//! Each fuzz target over its corpus, and over inputs derived from it: so targets and corpus stay
//! consistent with the code, and run on a stable compiler.
//!
//! `IMQUOTA_FUZZ_ROUNDS` sets the number of inputs derived for each target; the inputs are
//! determined by their number alone.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

#[path = "../../fuzz/targets/mod.rs"]
mod targets;

use targets::TARGETS;

/// The default number of inputs derived for a target: seconds for all of them.
const ROUNDS: u64 = 1500;
/// The most changes of a corpus input.
const CHANGES_MAX: u64 = 4;
/// The maximum size of a corpus input, so that a checkout stays small.
const KEPT_MAX_BYTES: u64 = 16 * 1024;
/// Fragments that often break parsers of texts and numbers.
const PIECES: [&[u8]; 16] = [
    b"",
    b"0",
    b"-1",
    b"4294967296",
    b"18446744073709551616",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"1e999",
    b"\"",
    b"\r\n",
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    "\u{1f600}".as_bytes(),
    b"%",
    b"[[[[[[[[[[[[[[[[",
];

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The corpus of a target, by name.
fn kept(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = fuzz().join("corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|_| panic!("{}", folder.display()));
    let mut kept = Vec::new();
    for entry in entries {
        let path = entry.expect("readable").path();
        let bytes = fs::read(&path).expect("readable");
        assert!(bytes.len() as u64 <= KEPT_MAX_BYTES, "{} is large", path.display());
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        kept.push((name, bytes));
    }
    kept.sort();
    kept
}

/// Runs a target; prints the input if it panics.
fn run(target: &str, input: &[u8]) -> bool {
    let ran = catch_unwind(AssertUnwindSafe(|| targets::run(target, input)));
    // The cause of the panic is printed above.
    ran.unwrap_or_else(|_| panic!("{target} panicked over b\"{}\"", input.escape_ascii()))
}

/// Pseudo-random numbers, the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let number = (self.0 >> 33) % u64::try_from(bound.max(1)).expect("small");
        usize::try_from(number).expect("small")
    }
}

/// The input with one change.
fn changed(mut input: Vec<u8>, other: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let at = numbers.below(input.len() + 1);
    let end = at + numbers.below((input.len() - at).min(32) + 1);
    match numbers.below(7) {
        0 if at < input.len() => input[at] ^= 1 << numbers.below(8),
        1 if at < input.len() => input[at] = u8::try_from(numbers.below(256)).expect("a byte"),
        2 => drop(input.drain(at..end)),
        3 => input.truncate(at),
        4 => {
            let piece = input[at..end].to_vec();
            input.splice(at..at, piece);
        }
        5 => {
            let from = numbers.below(other.len() + 1);
            input.splice(at.., other[from..].iter().copied());
        }
        _ => {
            let piece = PIECES[numbers.below(PIECES.len())];
            input.splice(at..end, piece.iter().copied());
        }
    }
    input
}

/// Runs a target over its corpus, of which it must accept some and refuse some inputs, and over
/// inputs derived from it.
fn check(target: &str) {
    let kept = kept(target);
    let accepted = kept.iter().filter(|(_, input)| run(target, input)).count();
    assert!(accepted > 0 && accepted < kept.len(), "{accepted} of {}", kept.len());
    let rounds = std::env::var("IMQUOTA_FUZZ_ROUNDS").ok();
    let rounds = rounds.map_or(ROUNDS, |rounds| rounds.parse().expect("a number"));
    let mut accepted = 0;
    for round in 0..rounds {
        let mut numbers = Numbers(round.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (_, mut input) = kept[numbers.below(kept.len())].clone();
        let changes = 1 + numbers.below(usize::try_from(CHANGES_MAX).expect("small"));
        for _ in 0..changes {
            let (_, other) = &kept[numbers.below(kept.len())];
            input = changed(input, other, &mut numbers);
        }
        accepted += u64::from(run(target, &input));
    }
    assert!(rounds == 0 || (1..rounds).contains(&accepted), "{accepted} of {rounds}");
}

macro_rules! targets {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name));
            }
        )*

        const CHECKED: &[&str] = &[$(stringify!($name)),*];
    };
}

targets! {
    messages,
    catalog,
    config,
    store_url,
    reconcile_csv,
    reconcile_jsonl,
    redis_replies,
    journal_codec,
    schedule_codec,
}

#[test]
fn each_target_has_a_test_a_fuzzer_and_a_corpus_and_there_are_no_others() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(CHECKED.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(), targets);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).expect("readable");
    let paths = manifest.lines().filter_map(|line| line.strip_prefix("path = \"fuzz_targets/"));
    let fuzzers = paths.map(|path| {
        let name = path.strip_suffix(".rs\"").expect("a file of Rust");
        let code = fs::read_to_string(fuzz().join(format!("fuzz_targets/{name}.rs")));
        assert!(code.expect("readable").contains(&format!("targets::run(\"{name}\", bytes)")));
        assert!(manifest.contains(&format!("name = \"{name}\"\n")));
        name.to_owned()
    });
    assert_eq!(fuzzers.collect::<BTreeSet<_>>(), targets);
    let folders = fs::read_dir(fuzz().join("corpus"))
        .expect("a folder")
        .map(|entry| entry.expect("readable").file_name().into_string().expect("a name"));
    assert_eq!(folders.collect::<BTreeSet<_>>(), targets);
}
