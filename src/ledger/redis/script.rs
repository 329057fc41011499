//! A Lua script and the digest that Redis calls it by.

use sha1_smol::Sha1;

/// A script that may be called by its digest once the server has it.
///
/// The digest follows from the text, so that sidecars of different versions use one server side
/// by side, each with its own scripts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// What logs call it.
    pub name: &'static str,
    /// Its text, with the `#!lua` head.
    pub text: String,
    /// SHA-1 of the text, in 40 hexadecimal digits.
    pub digest: String,
}

impl Script {
    /// A script of that text.
    #[must_use]
    pub fn new(name: &'static str, text: String) -> Self {
        let digest = Sha1::from(&text).digest().to_string();
        Self { name, text, digest }
    }
}
