//! The token that authenticates calls of the admin service, and the creation of tokens.
//!
//! A token is never the value of an option, where every user of the machine could read it.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tonic::metadata::{Ascii, MetadataValue};

use super::connect::SHARED;
use super::error::Error;
use super::output::{self, Format};
use crate::access::{Role, is_name, line_of, make_token};

/// Environment variable with the token, if no file is given.
const VARIABLE: &str = "IMQUOTA_ADMIN_TOKEN";

/// Option for the token.
#[derive(Debug, Clone, Default, Args)]
pub struct TokenFlags {
    /// File with the token of this client [default: the token in IMQUOTA_ADMIN_TOKEN, if set]
    #[arg(long, global = true, value_name = "FILE", help_heading = SHARED)]
    token_file: Option<PathBuf>,
}

/// Value of the header `authorization`.
pub type Bearer = MetadataValue<Ascii>;

impl TokenFlags {
    /// Reads the token and returns the header; `None` without a token.
    pub fn bearer(&self) -> Result<Option<Bearer>, Error> {
        let (place, text) = match &self.token_file {
            Some(path) => {
                let read = std::fs::read_to_string(path);
                let text = read.map_err(|error| Error::Read { path: path.clone(), error })?;
                (path.display().to_string(), text)
            }
            None => match std::env::var(VARIABLE) {
                Ok(text) if !text.is_empty() => (VARIABLE.to_owned(), text),
                _ => return Ok(None),
            },
        };
        bearer(text.trim()).map(Some).ok_or(Error::Token { place })
    }
}

fn bearer(token: &str) -> Option<Bearer> {
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let mut header: Bearer = format!("Bearer {token}").parse().ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// Prints a new token and its line for the file.
pub fn make(name: &str, role: Role, format: Format) -> Result<(), Error> {
    let token = make_token().map_err(Error::MakeToken)?;
    let line = line_of(name, role, &token);
    let text = format!(
        "{token}\n\n\
         The first line is the token; it is not shown again. Add the following line to the file \
         of --admin-tokens-file:\n\n\
         {line}\n"
    );
    output::show_other(&text, &json!({"token": token, "line": line}), format)
}

/// Parses the name of a token from the command line.
pub fn name(text: &str) -> Result<String, String> {
    let expected = "expected 1-64 of A-Z a-z 0-9 . _ - @, and neither \"local\" nor a token";
    if is_name(text) { Ok(text.to_owned()) } else { Err(expected.to_owned()) }
}

/// Parses a role from the command line.
pub fn role(text: &str) -> Result<Role, String> {
    Role::named(text).ok_or_else(|| {
        let [viewer, operator, owner] = Role::ALL.map(Role::name);
        format!("expected {viewer}, {operator} or {owner}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sent_as_bearer_and_not_in_debug_output() {
        let header = bearer("imq_ab").unwrap();
        assert_eq!(header.as_bytes(), b"Bearer imq_ab");
        assert!(!format!("{header:?}").contains("imq_ab"));
        for bad in ["", "two words", "line\nbreak", "h\u{e9}"] {
            assert!(bearer(bad).is_none(), "{bad:?}");
        }
    }
}
