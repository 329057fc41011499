//! Loads the catalog: from the binary itself, or from an operator's file.
//!
//! A catalog is one TOML text; `builtin.toml` is the published one and documents every key. A text
//! is accepted as a whole or not at all, and all of its problems are reported together, each with
//! line and column ([`crate::diagnostics`]). `decode`, `offers`, `selling`, `postpaid`, `meters`
//! and `im_codes` hold the rules, and [`watch`] reloads a file. The domain defines the meaning of
//! the numbers ([`crate::domain::catalog`]).

use std::path::Path;

use crate::diagnostics::toml::Document;
use crate::diagnostics::watch::FileWatch;
use crate::diagnostics::{LoadError, Problems, read_file, text_of};
use crate::domain::catalog::Catalog;

mod decode;
mod failure;
mod im_codes;
mod meters;
mod offers;
mod postpaid;
mod selling;

/// Text of the built-in catalog, as an operator copies it.
pub const BUILTIN: &str = include_str!("builtin.toml");

/// Returns the built-in catalog.
///
/// # Panics
///
/// Never: a test reads it.
#[must_use]
pub fn builtin() -> Catalog {
    parse(BUILTIN).expect("the built-in catalog keeps its own rules")
}

/// Parses a catalog.
pub fn parse(text: &str) -> Result<Catalog, Problems> {
    let document = Document::parse(text);
    let catalog = decode::catalog(&document);
    document.finish(catalog)
}

/// Loads a catalog from a file.
pub fn load(path: &Path) -> Result<Catalog, LoadError> {
    parse_file(path, &read_file(path)?)
}

/// Loads a catalog from a file, and returns the watch that reloads it.
pub fn watch(path: &Path) -> Result<(Catalog, FileWatch<Catalog>), LoadError> {
    FileWatch::open(path, parse_file)
}

/// Parses a catalog from a file's bytes.
fn parse_file(path: &Path, bytes: &[u8]) -> Result<Catalog, LoadError> {
    text_of(path, bytes).and_then(|text| {
        parse(text).map_err(|problems| LoadError::Invalid { path: path.to_owned(), problems })
    })
}
