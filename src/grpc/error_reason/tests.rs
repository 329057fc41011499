//! Tests that docs/api.md lists every reason, that every reason is used, and that no error of the
//! services is made without one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::*;

const HEADING: &str = "## Errors and their reasons";
/// Files that may make statuses: those with details, and those of the library or in its form.
const MAY_MAKE_STATUSES: [&str; 2] = ["src/grpc/error_reply.rs", "src/grpc/codec.rs"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns words of capitals, digits and underscores.
fn capital_words(text: &str) -> BTreeSet<String> {
    let is_part = |letter: char| letter.is_ascii_uppercase() || letter == '_';
    let words = text.split(|letter: char| !is_part(letter)).filter(|word| word.len() > 1);
    words.map(ToOwned::to_owned).collect()
}

/// Returns the reasons of the table in docs/api.md, each with its codes.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let page = fs::read_to_string(root().join("docs/api.md")).expect("the page");
    let section = page.split(HEADING).nth(1).expect("the section");
    // The section ends at the next heading of any level.
    let section = section.split("\n#").next().unwrap_or_default();
    let mut documented = BTreeMap::new();
    for row in section.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let (reasons, codes) = (cells[1], capital_words(cells[2]));
        assert!(!codes.is_empty(), "no code in {row}");
        for reason in reasons.split(", ") {
            let twice = documented.insert(reason.to_owned(), codes.clone());
            assert!(twice.is_none(), "{reason} is in two rows");
        }
    }
    documented
}

/// Returns a code as the gRPC documents spell it.
fn spelled(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(path);
        }
    }
}

/// Returns each source file without its tests.
fn code_of_all() -> Vec<(String, String)> {
    let mut paths = Vec::new();
    sources(&root().join("src"), &mut paths);
    let code = |path: &PathBuf| {
        let text = fs::read_to_string(path).expect("a source");
        let name = path.strip_prefix(root()).expect("below the root").display().to_string();
        let end = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
        (name, text[..end].to_owned())
    };
    paths.iter().map(code).collect()
}

#[test]
fn the_table_of_the_readme_has_exactly_the_reasons_of_the_code_with_their_codes() {
    let of_denials = Reason::ALL.map(ErrorReason::from);
    let all = || ErrorReason::ALL.iter().chain(&of_denials);
    let of_code: BTreeMap<_, BTreeSet<_>> = all()
        .map(|it| (it.name().to_owned(), it.codes().iter().map(|it| spelled(*it)).collect()))
        .collect();
    assert_eq!(of_code.len(), all().count(), "two reasons have one name");
    assert_eq!(documented(), of_code);
}

#[test]
fn every_reason_is_used() {
    let this = "src/grpc/error_reason.rs";
    let (own, others): (Vec<_>, Vec<_>) = code_of_all().into_iter().partition(|it| it.0 == this);
    let conversions = own[0].1.split("impl From<").skip(1);
    let code: String =
        conversions.map(ToOwned::to_owned).chain(others.into_iter().map(|it| it.1)).collect();
    for reason in ErrorReason::ALL {
        let used = [format!("ErrorReason::{reason:?}"), format!("Self::{reason:?}")];
        let is_used = used.iter().any(|it| {
            code.match_indices(it.as_str()).any(|(at, _)| {
                !code[at + it.len()..].starts_with(|next: char| next.is_ascii_alphanumeric())
            })
        });
        assert!(is_used, "{reason:?} is used nowhere");
    }
}

#[test]
fn no_status_is_made_without_a_reason() {
    let functions = [
        "new(",
        "with_details(",
        "with_error_details",
        "ok(",
        "unknown(",
        "invalid_argument(",
        "deadline_exceeded(",
        "not_found(",
        "already_exists(",
        "permission_denied(",
        "resource_exhausted(",
        "failed_precondition(",
        "aborted(",
        "out_of_range(",
        "unimplemented(",
        "internal(",
        "unavailable(",
        "data_loss(",
        "unauthenticated(",
        "cancelled(",
    ];
    let mut seen = 0;
    for (file, code) in code_of_all() {
        for (line, text) in code.lines().enumerate().filter(|it| it.1.contains("Status::")) {
            let made = functions.iter().any(|it| {
                text.contains(&format!(" Status::{it}")) || text.contains(&format!("(Status::{it}"))
            });
            seen += usize::from(made);
            let may = MAY_MAKE_STATUSES.contains(&file.as_str());
            assert!(!made || may, "{file}:{}: {text}", line + 1);
        }
    }
    assert!(seen > 0, "statuses are made somewhere");
}
