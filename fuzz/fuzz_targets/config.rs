//! Runs the target `config` under libFuzzer.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../targets/mod.rs"]
mod targets;

fuzz_target!(|bytes: &[u8]| {
    targets::run("config", bytes);
});
