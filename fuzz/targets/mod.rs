//! The bodies of the fuzz targets: what reads bytes that this process did not write.
//!
//! Each target takes any bytes, panics where a promise is broken, and returns whether the bytes
//! were accepted. `fuzz_targets/` runs each of them under libFuzzer, and
//! `tests/suites/fuzz_corpus.rs` of the main crate runs all of them over the kept inputs in
//! `corpus/`.

#![allow(dead_code, reason = "each fuzzer runs one target")]

mod codecs;
mod files;
mod messages;
mod replies;

/// A target: returns whether it accepted the bytes.
pub type Target = fn(&[u8]) -> bool;

/// Every target by the name of its fuzzer and of its folder in `corpus/`.
pub const TARGETS: [(&str, Target); 9] = [
    ("messages", messages::messages),
    ("catalog", files::catalog),
    ("config", files::config),
    ("store_url", files::store_url),
    ("reconcile_csv", files::reconcile_csv),
    ("reconcile_jsonl", files::reconcile_jsonl),
    ("redis_replies", replies::redis_replies),
    ("journal_codec", codecs::journal_codec),
    ("schedule_codec", codecs::schedule_codec),
];

/// Runs a target on some bytes.
///
/// # Panics
///
/// Where there is no such target, or it finds a broken promise.
pub fn run(name: &str, bytes: &[u8]) -> bool {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    let (_, target) = found.unwrap_or_else(|| panic!("no target {name}"));
    target(bytes)
}
