//! The secrets of callers: the path of a callback, and the token that signs requests.
//!
//! Neither is in a log line, a trace or an error, and both are compared in constant time.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::input_file::read_secret;

/// Length of a signature, in bytes.
const SIGNATURE_BYTES: usize = 64;

/// The path of a callback, whose last segment is a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretPath(String);

impl SecretPath {
    /// Creates the path, if it is one: segments of unreserved characters after a slash each.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let is_segment = |segment: &str| !segment.is_empty() && segment.bytes().all(is_plain);
        let segments = text.strip_prefix('/')?;
        segments.split('/').all(is_segment).then(|| Self(text.to_owned()))
    }

    /// Returns the length of the secret, in bytes.
    #[must_use]
    pub fn secret_bytes(&self) -> usize {
        self.0.rsplit('/').next().map_or(0, str::len)
    }

    /// Returns whether a request could be meant for either of the two.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let is_below =
            |one: &str, other: &str| one.strip_prefix(other).is_some_and(|it| it.starts_with('/'));
        self == other || is_below(&self.0, &other.0) || is_below(&other.0, &self.0)
    }

    /// Returns whether a request's path is this one. The time it takes does not depend on where
    /// they differ.
    #[must_use]
    pub fn matches(&self, given: &str) -> bool {
        let [own, given] = [self.0.as_str(), given].map(Sha256::digest);
        own.as_slice().ct_eq(given.as_slice()).into()
    }
}

impl fmt::Debug for SecretPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("SecretPath")
    }
}

/// A token in a file, which can change while the sidecar runs.
pub struct Token {
    file: PathBuf,
    current: ArcSwap<String>,
}

impl Token {
    /// Reads the file.
    pub fn open(file: PathBuf) -> Result<Self, String> {
        let current = ArcSwap::from_pointee(read_secret(&file)?);
        Ok(Self { file, current })
    }

    /// Reads the file again. After an error the last token stays.
    pub fn reload(&self) -> Result<(), String> {
        self.current.store(Arc::new(read_secret(&self.file)?));
        Ok(())
    }

    /// Returns the file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Returns whether a signature is that of a request with this time: the SHA-256 of the token
    /// and the time, in hexadecimal.
    #[must_use]
    pub fn has_signed(&self, request_time: &str, signature: &str) -> bool {
        let token = self.current.load();
        let digest = Sha256::new().chain_update(token.as_bytes()).chain_update(request_time);
        let mut expected = String::with_capacity(SIGNATURE_BYTES);
        for byte in digest.finalize() {
            // Writing to a string cannot fail.
            let _ = write!(expected, "{byte:02x}");
        }
        let given = signature.to_ascii_lowercase();
        // Signatures of another length differ in any case, and their length is no secret.
        expected.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Token").field("file", &self.file).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_made_of_plain_segments_and_never_shown() {
        let path = SecretPath::parse("/openim/3f9c0e51").expect("a path");
        assert_eq!(path.secret_bytes(), 8);
        assert!(!format!("{path:?}").contains("3f9c"));
        for bad in ["", "/", "x", "/a/", "//a", "/a b", "/a?b", "/a%20", "/ä"] {
            assert!(SecretPath::parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn a_signature_is_that_of_the_token_and_the_time() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "xxxxyyyy\n").expect("written");
        let token = Token::open(file.path().to_owned()).expect("a token");
        let signed = "17773bc39a671d7b9aa835458704d2a6db81360a5940292b587d6d760d484061";
        assert!(token.has_signed("1669872112", signed));
        assert!(token.has_signed("1669872112", &signed.to_uppercase()));
        assert!(!token.has_signed("1669872113", signed));
        for other in ["", &signed[..63], &format!("{signed}0"), &signed.replace('1', "2")] {
            assert!(!token.has_signed("1669872112", other), "{other:?}");
        }
        std::fs::write(file.path(), "").expect("written");
        assert!(token.reload().is_err());
        assert!(token.has_signed("1669872112", signed), "the last good one stays");
        std::fs::write(file.path(), "another").expect("written");
        token.reload().expect("read");
        assert!(!token.has_signed("1669872112", signed));
    }

    #[test]
    fn only_the_whole_path_matches() {
        let path = SecretPath::parse("/a/secret").expect("a path");
        assert!(path.matches("/a/secret"));
        for other in ["", "/", "/a", "/a/secre", "/a/secret/", "/a/secret1", "/a/Secret"] {
            assert!(!path.matches(other), "{other:?}");
        }
    }

    #[test]
    fn a_path_overlaps_those_below_it() {
        let path = |text| SecretPath::parse(text).expect("a path");
        for (one, other, expected) in [
            ("/a/b", "/a/b", true),
            ("/a/b", "/a/b/c", true),
            ("/a/b/c", "/a/b", true),
            ("/a/b", "/a/bc", false),
            ("/a/b", "/a/c", false),
        ] {
            assert_eq!(path(one).overlaps(&path(other)), expected, "{one} {other}");
        }
    }
}
