//! Runs the target `redis_replies` under libFuzzer.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../targets/mod.rs"]
mod targets;

fuzz_target!(|bytes: &[u8]| {
    targets::run("redis_replies", bytes);
});
