//! A Lua script and the digest by which Redis calls it.

use sha1_smol::Sha1;

/// A script that can be called by its digest once it is loaded.
///
/// The digest follows from the text, so that sidecars of different versions use one server
/// concurrently, each with its own scripts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// The name in logs.
    pub name: &'static str,
    /// The script's text, with the `#!lua` head.
    pub text: String,
    /// SHA-1 of the text, in 40 hexadecimal digits.
    pub digest: String,
}

impl Script {
    /// Creates a script from its text.
    #[must_use]
    pub fn new(name: &'static str, text: String) -> Self {
        let digest = Sha1::from(&text).digest().to_string();
        Self { name, text, digest }
    }
}
