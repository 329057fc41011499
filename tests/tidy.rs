//! Checks of the source tree: rooms and what they may name, lengths, file heads, words.
//!
//! A binary of its own, since it needs nothing of the crate and is run alone after each change.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "tidy/rooms.rs"]
mod rooms;
#[path = "tidy/words.rs"]
mod words;

/// The most lines of a file; a longer one has more than one idea.
const FILE_LINES_MAX: usize = 500;
/// The longest line, like in rustfmt.toml; rustfmt does not break strings and comments.
const COLUMNS_MAX: usize = 100;
/// The longest function, from its `fn` to the closing brace of the same indent.
const FUNCTION_LINES_MAX: usize = 70;

/// The longest Lua script.
const SCRIPT_LINES_MAX: usize = 60;

/// Words that may precede `fn`.
const QUALIFIERS: &[&str] = &["pub", "pub(super)", "pub(crate)", "async", "const"];

/// Words that mean unfinished work, or that name how the work is organised.
const BANNED: &[&str] = &["TODO", "FIXME", "XXX", "HACK", "unimplemented!", "/work/", "../shared"];

/// Functions that create files and directories; `src/private_file.rs` does so with a mode.
const CREATING: &[&str] = &[
    "File::create",
    "File::options",
    "OpenOptions::new",
    "DirBuilder::new",
    "fs::write(",
    "fs::copy(",
    "create_dir(",
    "create_dir_all(",
];

fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = Vec::new();
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder exists") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == ending) {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "no .{ending} files in {folder}");
    found.sort();
    found
}

fn rust_files() -> Vec<PathBuf> {
    ["src", "tests", "benches", "examples", "fuzz/targets", "fuzz/fuzz_targets"]
        .into_iter()
        .flat_map(|folder| files(folder, "rs"))
        .collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("readable")
}

/// A line without its comment, since prose may contain names that code must not.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or(line)
}

/// Returns whether code contains a word, and not only as the end of a longer one.
fn names(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !word.starts_with(char::is_alphabetic) || !before.is_some_and(char::is_alphanumeric)
    })
}

fn none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for_and_stays_short() {
    let mut problems = Vec::new();
    for path in rust_files() {
        let text = read(&path);
        let lines = text.lines().count();
        if !text.starts_with("//! ") {
            problems.push(format!("{}: does not open with //!", path.display()));
        }
        if lines > FILE_LINES_MAX {
            problems.push(format!("{}: {lines} lines", path.display()));
        }
        for (number, line) in text.lines().enumerate() {
            // Golden bytes are on one line, like on disk.
            if line.chars().count() > COLUMNS_MAX && !line.contains("r#\"") {
                problems.push(format!("{}:{}: too long", path.display(), number + 1));
            }
        }
    }
    none(&problems);
}

#[test]
fn functions_are_short() {
    let mut problems = Vec::new();
    for path in rust_files() {
        let text = read(&path);
        let lines: Vec<_> = text.lines().collect();
        for (start, line) in lines.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let head = code(line);
            let qualifiers = head.split("fn ").next().unwrap_or(head).split_whitespace();
            let is_function = head.contains("fn ")
                && qualifiers.into_iter().all(|word| QUALIFIERS.contains(&word));
            if !is_function || head.trim_end().ends_with(';') {
                continue;
            }
            let close = format!("{}}}", " ".repeat(indent));
            let length = lines[start..].iter().position(|line| *line == close).unwrap_or(0);
            if length > FUNCTION_LINES_MAX {
                problems.push(format!("{}:{}: {length} lines", path.display(), start + 1));
            }
        }
    }
    none(&problems);
}

#[test]
fn scripts_are_short_and_say_what_they_are_for() {
    let mut problems = Vec::new();
    for path in files("src/redis/scripts", "lua") {
        let text = read(&path);
        let mut lines = text.lines().filter(|line| !line.starts_with("#!"));
        if !lines.next().is_some_and(|line| line.starts_with("-- ")) {
            problems.push(format!("{}: does not open with a comment", path.display()));
        }
        if text.lines().count() > SCRIPT_LINES_MAX {
            problems.push(format!("{}: too long", path.display()));
        }
    }
    none(&problems);
}

#[test]
fn clocks_are_read_in_one_file() {
    let mut problems = Vec::new();
    for path in files("src", "rs") {
        let allows = read(&path).contains("clippy::disallowed_methods");
        if allows && !path.ends_with("src/clock.rs") {
            problems.push(format!("{}: allows itself to read a clock", path.display()));
        }
    }
    none(&problems);
}

#[test]
fn files_are_created_in_one_file() {
    let mut problems = Vec::new();
    let mut found = 0;
    for path in files("src", "rs") {
        let text = read(&path);
        // Tests may create files.
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        if path.to_string_lossy().ends_with("_tests.rs") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            for word in CREATING.iter().filter(|word| names(code(line), word)) {
                found += 1;
                if !path.ends_with("src/private_file.rs") {
                    problems.push(format!("{}:{}: {word}", path.display(), number + 1));
                }
            }
        }
    }
    none(&problems);
    assert!(found > 1, "the words are those that create files");
}

#[test]
fn nothing_is_left_unfinished() {
    let mut problems = Vec::new();
    let this_file = Path::new(file!()).file_name();
    let python = files("tests", "py").into_iter().chain(files("deploy", "py"));
    let protos = files("proto", "proto").into_iter();
    for path in rust_files().into_iter().chain(python).chain(protos) {
        if path.file_name() == this_file {
            continue;
        }
        for (number, line) in read(&path).lines().enumerate() {
            for word in BANNED.iter().filter(|word| line.contains(**word)) {
                problems.push(format!("{}:{}: {word}", path.display(), number + 1));
            }
        }
    }
    none(&problems);
}

#[test]
fn every_promise_names_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut named = 0;
    for document in ["docs/guarantees.md", "docs/architecture.md", "src/lib.rs"] {
        for word in read(&root.join(document)).split('`').filter(|word| word.starts_with("tests/"))
        {
            let path = word.split_whitespace().next().unwrap_or(word);
            assert!(root.join(path).exists(), "{document} names {path}");
            named += 1;
        }
    }
    assert!(named > 100, "{named} tests are named");
}

#[test]
fn every_rpc_is_in_a_table_of_the_documents() {
    let pages: String = files("docs", "md").iter().map(|page| read(page)).collect();
    let cells = pages.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    let named: Vec<&str> = cells.flat_map(|cell| cell.split(", ")).collect();
    let (mut rpcs, mut problems) = (0, Vec::new());
    for proto in files("proto", "proto") {
        for line in read(&proto).lines() {
            let Some(rpc) = line.trim_start().strip_prefix("rpc ") else { continue };
            let rpc = rpc.split('(').next().unwrap_or_default();
            rpcs += 1;
            if !named.contains(&rpc) {
                problems.push(format!("docs: no table names {rpc}"));
            }
        }
    }
    assert!(rpcs > 30, "{rpcs} RPCs");
    none(&problems);
}
