//! Admin tokens: a file with a line each, `NAME ROLE sha256:HEX`.
//!
//! The file holds no secrets, only the SHA-256 of each token. That is sufficient because a token is
//! 256 random bits, which cannot be guessed however fast the hash is; a password chosen by a person
//! must not be used as a token. Lines that are empty or begin with `#` are ignored. A name may have
//! several tokens, so that a new one can be distributed before the old one is removed.

use std::collections::HashMap;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};

use super::{LOCAL, Role};
use crate::diagnostics::{LoadError, PROBLEMS_MAX, Problem, Problems, read_file, text_of};
use crate::domain::text::{hex, unhex};

/// Prefix of every token, by which searches for leaked secrets find it.
const PREFIX: &str = "imq_";
/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;
/// Longest accepted token: four times one of ours, for tokens made by other programs.
pub const TOKEN_MAX_BYTES: usize = 256;
/// Most tokens of a file; all of them are compared with each token that is sent.
const TOKENS_MAX: usize = 1000;
/// Longest name: as long as other ids.
const NAME_MAX_BYTES: usize = 64;

type Hash = [u8; 32];

/// SHA-256 of a token that was sent.
#[derive(Clone)]
pub struct Digest(Hash);

impl Digest {
    /// Computes the digest of a token.
    #[must_use]
    pub fn of(token: &[u8]) -> Self {
        Self(hash(token))
    }
}

/// The accepted tokens.
#[derive(Debug, Default)]
pub struct Tokens {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    role: Role,
    hash: Hash,
}

impl Tokens {
    /// Loads a file. All problems are reported together, without repeating any text of the file: it
    /// may be a secret in the wrong place.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let bytes = read_file(path)?;
        Self::parse(text_of(path, &bytes)?)
            .map_err(|problems| LoadError::Invalid { path: path.to_owned(), problems })
    }

    /// Parses the text of a file.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        let mut tokens = Self::default();
        let mut lines = HashMap::new();
        let mut problems = Vec::new();
        for (index, text) in text.lines().enumerate() {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let line = index + 1;
            let added = entry(text).and_then(|entry| tokens.add(entry, line, &mut lines));
            if let Err(message) = added {
                problems.push(Problem { line, column: 1, message });
            }
            if problems.len() == PROBLEMS_MAX {
                break;
            }
        }
        if problems.is_empty() { Ok(tokens) } else { Err(Problems(problems)) }
    }

    fn add(
        &mut self,
        entry: Entry,
        line: usize,
        lines: &mut HashMap<Hash, usize>,
    ) -> Result<(), String> {
        if self.entries.len() == TOKENS_MAX {
            return Err(format!("must not have more than {TOKENS_MAX} tokens"));
        }
        if let Some(before) = lines.insert(entry.hash, line) {
            return Err(format!("has the token of line {before} again"));
        }
        let other = self.entries.iter().find(|other| other.name == entry.name);
        if let Some(other) = other.filter(|other| other.role != entry.role) {
            let role = other.role.name();
            return Err(format!("gives a role to a name that has the role {role} above"));
        }
        self.entries.push(entry);
        Ok(())
    }

    /// Returns the number of tokens.
    #[must_use]
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// Returns name and role for a token. Takes the same time for every token.
    #[must_use]
    pub fn find(&self, Digest(hash): &Digest) -> Option<(String, Role)> {
        let none = u32::MAX;
        let mut found = none;
        for (index, entry) in (0_u32..).zip(&self.entries) {
            found.conditional_assign(&index, entry.hash.ct_eq(hash));
        }
        let entry = self.entries.get(usize::try_from(found).ok()?)?;
        Some((entry.name.clone(), entry.role))
    }
}

/// Creates a random token of 256 bits.
pub fn make_token() -> Result<String, getrandom::Error> {
    let mut bytes = [0_u8; TOKEN_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(format!("{PREFIX}{}", hex(&bytes)))
}

/// Returns the line of a token for the file.
#[must_use]
pub fn line_of(name: &str, role: Role, token: &str) -> String {
    format!("{name} {} sha256:{}", role.name(), hex(&hash(token.as_bytes())))
}

/// Returns whether a text is valid as a name of tokens.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'@');
    (1..=NAME_MAX_BYTES).contains(&name.len())
        && name.bytes().all(plain)
        && name != LOCAL
        && !name.starts_with(PREFIX)
}

fn entry(text: &str) -> Result<Entry, String> {
    let words: Vec<_> = text.split_whitespace().collect();
    let &[name, role, hash] = words.as_slice() else {
        return Err("must be NAME ROLE sha256:HEX, as `imquota admin make-token` prints it".into());
    };
    if !is_name(name) {
        return Err(format!(
            "must begin with a name: 1-{NAME_MAX_BYTES} of A-Z a-z 0-9 . _ - @, no token, and not \
             \"{LOCAL}\""
        ));
    }
    let role = Role::named(role).ok_or("must name the role viewer, operator or owner")?;
    let hash = hash.strip_prefix("sha256:").and_then(unhex);
    let hash = hash.ok_or("must end with sha256: and 64 hexadecimal digits")?;
    Ok(Entry { name: name.to_owned(), role, hash })
}

fn hash(token: &[u8]) -> Hash {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let problems = Tokens::parse(text).expect_err("it is bad").0;
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_token_is_found_by_its_line_and_nothing_else_is() {
        let [old, new, other] = [(); 3].map(|()| make_token().unwrap());
        let text = format!(
            "# people\n\n{}\n  {}  \n{}\n",
            line_of("ann", Role::Owner, &old),
            line_of("ann", Role::Owner, &new),
            line_of("bob@ops", Role::Viewer, &other)
                .to_uppercase()
                .replace("BOB@OPS", "bob@ops")
                .replace("VIEWER", "viewer")
                .replace("SHA", "sha"),
        );
        let tokens = Tokens::parse(&text).unwrap();
        for (token, name, role) in [
            (&old, "ann", Role::Owner),
            (&new, "ann", Role::Owner),
            (&other, "bob@ops", Role::Viewer),
        ] {
            let found = tokens.find(&Digest::of(token.as_bytes()));
            assert_eq!(found, Some((name.to_owned(), role)));
        }
        for wrong in ["", "imq_", &old[1..], &format!("{old}0"), &make_token().unwrap()] {
            assert_eq!(tokens.find(&Digest::of(wrong.as_bytes())), None, "{wrong}");
        }
        assert_eq!(Tokens::default().find(&Digest::of(old.as_bytes())), None);
    }

    #[test]
    fn a_token_is_random_and_has_its_full_length() {
        let (one, other) = (make_token().unwrap(), make_token().unwrap());
        assert!(one != other && one.len() == PREFIX.len() + 64 && one.starts_with(PREFIX));
    }

    #[test]
    fn every_bad_line_is_named_and_none_is_repeated() {
        let secret = make_token().unwrap();
        let good = line_of("ann", Role::Owner, &secret);
        let text = format!(
            "{good}\n\
             # a comment\n\
             {secret}\n\
             ann owner {secret}\n\
             bob admin sha256:00\n\
             {secret} owner sha256:00\n\
             local owner sha256:00\n\
             {good}\n\
             ann viewer sha256:{}\n\
             bob viewer sha256:{}\n",
            "0".repeat(64),
            "+0".repeat(32),
        );
        let problems = problems(&text);
        let expected = [
            "3:1: must be NAME ROLE sha256:HEX",
            "4:1: must end with sha256: and 64 hexadecimal digits",
            "5:1: must name the role viewer, operator or owner",
            "6:1: must begin with a name",
            "7:1: must begin with a name",
            "8:1: has the token of line 1 again",
            "9:1: gives a role to a name that has the role owner above",
            "10:1: must end with sha256: and 64 hexadecimal digits",
        ];
        assert_eq!(problems.len(), expected.len(), "{problems:?}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(problem.starts_with(expected), "{problem}\n{expected}");
            assert!(!problem.contains(&secret[4..]), "{problem}");
        }
    }
}
