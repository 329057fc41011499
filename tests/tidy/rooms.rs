//! The rooms of the crate, from the lowest to the highest, and what each may name.
//!
//! A room may name only rooms above it in [`ROOMS`], which is also the order of the map in
//! `src/lib.rs`; so no two rooms depend on each other. Tests within a room may name any.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{code, files, names, none, read};

/// A module of the crate.
struct Room {
    name: &'static str,
    /// Rooms that it may name.
    uses: &'static [&'static str],
    /// Crates, paths and words that it must not name.
    forbidden: &'static [&'static str],
}

const ROOMS: &[Room] = &[
    Room {
        name: "domain",
        uses: &[],
        forbidden: &[
            "tokio", "tonic", "prost", "redb", "redis", "dashmap", "serde", "tracing", "std::fs",
            "std::net", "async fn",
        ],
    },
    Room { name: "clock", uses: &["domain"], forbidden: &["tonic", "prost", "redb", "redis"] },
    Room { name: "input_file", uses: &[], forbidden: &["tokio", "tonic", "redb", "redis"] },
    Room { name: "private_file", uses: &[], forbidden: &["tokio", "tonic", "redb", "redis"] },
    Room {
        name: "diagnostics",
        uses: &["input_file"],
        forbidden: &["tonic", "prost", "redb", "redis", "serde"],
    },
    Room {
        name: "catalog",
        uses: &["diagnostics", "domain"],
        forbidden: &["tokio", "tonic", "prost", "redb", "redis", "serde"],
    },
    Room {
        name: "store",
        uses: &["clock", "domain"],
        forbidden: &["tonic", "prost", "redb", "redis"],
    },
    Room {
        name: "redis",
        uses: &["clock", "domain", "input_file", "private_file", "store"],
        forbidden: &["tonic", "prost", "redb"],
    },
    Room {
        name: "redb",
        uses: &["clock", "domain", "private_file", "store"],
        forbidden: &["tonic", "prost", "redis"],
    },
    Room {
        name: "ledger",
        uses: &["clock", "domain", "redb", "redis", "store"],
        forbidden: &["tonic", "prost"],
    },
    Room {
        name: "directory",
        uses: &["domain", "ledger", "redb", "redis", "store"],
        forbidden: &["tonic", "prost"],
    },
    Room {
        name: "events",
        uses: &["domain", "redb", "redis", "store"],
        forbidden: &["tonic", "prost"],
    },
    Room {
        name: "journal",
        uses: &["domain", "ledger", "private_file", "redb"],
        forbidden: &["::embedded", "ledger::memory", "redis", "tonic", "prost"],
    },
    Room {
        name: "export",
        uses: &["directory", "domain"],
        forbidden: &["::embedded", "ledger::memory", "tokio", "tonic", "prost", "redb", "redis"],
    },
    Room {
        name: "proto",
        uses: &["domain"],
        forbidden: &["tokio", "tonic", "redb", "redis", "std::fs", "std::net"],
    },
    Room {
        name: "telemetry",
        uses: &["clock", "domain", "ledger", "store"],
        forbidden: &["::embedded", "ledger::memory", "prost", "redb", "redis"],
    },
    Room {
        name: "access",
        uses: &["diagnostics", "domain", "telemetry"],
        forbidden: &["tonic", "prost", "redb", "redis"],
    },
    Room {
        name: "webhook",
        uses: &["clock", "diagnostics", "domain", "events", "proto", "telemetry"],
        forbidden: &["::embedded", "ledger::memory", "tonic", "redb", "redis"],
    },
    Room {
        name: "engine",
        uses: &[
            "clock",
            "directory",
            "domain",
            "events",
            "journal",
            "ledger",
            "store",
            "telemetry",
        ],
        forbidden: &["::embedded", "ledger::memory", "tonic", "prost", "redb", "redis"],
    },
    Room {
        name: "callbacks",
        uses: &["access", "clock", "domain", "engine", "input_file", "ledger", "telemetry"],
        forbidden: &["::embedded", "ledger::memory", "tonic", "prost", "redb", "redis"],
    },
    Room {
        name: "config",
        uses: &[
            "access",
            "callbacks",
            "catalog",
            "diagnostics",
            "domain",
            "engine",
            "input_file",
            "redis",
            "telemetry",
            "webhook",
        ],
        forbidden: &["::embedded", "ledger::memory", "tonic", "prost", "redb"],
    },
    Room {
        name: "grpc",
        uses: &[
            "access",
            "clock",
            "diagnostics",
            "directory",
            "domain",
            "engine",
            "events",
            "export",
            "journal",
            "ledger",
            "proto",
            "store",
            "telemetry",
        ],
        forbidden: &["::embedded", "ledger::memory", "redb", "redis"],
    },
    Room {
        name: "connect",
        uses: &["clock", "grpc", "proto"],
        forbidden: &["::embedded", "ledger::memory", "redb", "redis"],
    },
    Room {
        name: "server",
        uses: &[
            "access",
            "callbacks",
            "catalog",
            "clock",
            "config",
            "connect",
            "diagnostics",
            "directory",
            "domain",
            "engine",
            "events",
            "grpc",
            "journal",
            "ledger",
            "proto",
            "redb",
            "redis",
            "store",
            "telemetry",
            "webhook",
        ],
        forbidden: &[],
    },
    Room {
        name: "cli",
        uses: &[
            "access",
            "catalog",
            "clock",
            "config",
            "connect",
            "diagnostics",
            "domain",
            "engine",
            "events",
            "grpc",
            "private_file",
            "proto",
            "server",
            "telemetry",
        ],
        forbidden: &["::embedded", "ledger::memory", "redis"],
    },
];

/// The names of rooms that a line of code uses.
fn used(code: &str) -> impl Iterator<Item = &str> {
    code.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|it: char| !it.is_alphanumeric() && it != '_');
        &rest[..end.unwrap_or(rest.len())]
    })
}

/// The code of a room without its tests: file, line number and code.
fn code_of(room: &str) -> Vec<(String, usize, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let single = root.join(format!("{room}.rs"));
    let all = if single.exists() { vec![single] } else { files(&format!("src/{room}"), "rs") };
    let mut lines = Vec::new();
    for path in all {
        let name = path.strip_prefix(&root).expect("within it").display().to_string();
        if ["tests.rs", "simulation.rs"].iter().any(|ending| name.ends_with(ending)) {
            continue;
        }
        let text = read(&path);
        let tests = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
        let numbered = text[..tests].lines().enumerate();
        lines
            .extend(numbered.map(|(index, line)| (name.clone(), index + 1, code(line).to_owned())));
    }
    lines
}

/// The rooms that each room uses in its code.
fn uses() -> BTreeMap<&'static str, BTreeSet<String>> {
    let of_room = |room: &Room| {
        let lines = code_of(room.name);
        let all = lines.iter().flat_map(|(_, _, line)| used(line).map(ToOwned::to_owned));
        (room.name, all.filter(|name| name != room.name).collect())
    };
    ROOMS.iter().map(of_room).collect()
}

#[test]
fn no_room_names_what_it_may_not() {
    let mut problems = Vec::new();
    for room in ROOMS {
        for (file, number, line) in code_of(room.name) {
            for name in used(&line).filter(|name| *name != room.name) {
                if !room.uses.contains(&name) {
                    problems
                        .push(format!("src/{file}:{number}: {} may not use {name:?}", room.name));
                }
            }
            for word in room.forbidden.iter().filter(|word| names(&line, word)) {
                problems.push(format!("src/{file}:{number}: {} may not name {word}", room.name));
            }
        }
    }
    none(&problems);
}

/// A room that is in no circle, since it uses none of these rooms or none of them uses it.
fn end_of(uses: &BTreeMap<&'static str, BTreeSet<String>>) -> Option<&'static str> {
    let is_used = |name: &str| uses.values().any(|used| used.contains(name));
    uses.iter().find(|(name, used)| used.is_empty() || !is_used(name)).map(|(name, _)| *name)
}

#[test]
fn no_circle_is_between_rooms() {
    let mut uses = uses();
    assert!(uses["grpc"].contains("engine"), "uses are found: {uses:?}");
    // Rooms that use nothing, or that none uses, are taken away; what stays is in circles.
    while let Some(end) = end_of(&uses) {
        uses.remove(end);
        for used in uses.values_mut() {
            used.remove(end);
        }
    }
    assert!(uses.is_empty(), "circles between rooms, or uses of unknown ones: {uses:?}");
}

#[test]
fn the_table_and_the_map_have_the_same_rooms_in_the_same_order() {
    let map = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs"));
    let rows = map.lines().filter_map(|line| line.strip_prefix("//! | [`")?.split("`]").next());
    let mapped: Vec<_> = rows.collect();
    let table: Vec<_> = ROOMS.iter().map(|room| room.name).collect();
    assert_eq!(mapped, table, "the map of src/lib.rs, and the table here");
    let modules = map.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let modules: BTreeSet<_> = modules.collect();
    assert_eq!(modules, table.into_iter().collect(), "the modules of src/lib.rs, and the table");
    for (index, room) in ROOMS.iter().enumerate() {
        for used in room.uses {
            let is_above = ROOMS[..index].iter().any(|above| above.name == *used);
            assert!(is_above, "{used} is not above {}", room.name);
        }
    }
}
