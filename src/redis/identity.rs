//! The identity of a store, and the identity that a process expects.
//!
//! The hash `imquota:identity` has the fields `format`, `fingerprint_key`, `id`, `generation`,
//! `previous` (earlier generations, the latest first, separated by commas), `accepted` (the request
//! that made the generation) and `marks` (`all` once every slot has its mark). An earlier version
//! wrote only the first two.

use redis::Value;

use super::client::Client;
use super::keys::IDENTITY;
use super::reply::{array, bytes, integer, text};
use super::scripts::ScriptId;
use super::store::UNWATCHED_CALL_TIMEOUT;
use crate::domain::text::hex;
use crate::store::StoreError;
use crate::store::fingerprint::KEY_BYTES;

/// The format of all stored data of a new store.
pub const FORMAT: &str = "1";
/// The format once any app counts users by month: cells of logins may then have months, which
/// versions that read only format 1 do not understand. They refuse the store at their start, and
/// consider it lost at their next check while they run.
pub const FORMAT_WITH_MONTHS: &str = "2";
/// All formats that this version reads; any other one is rejected.
pub const FORMATS: [&str; 2] = [FORMAT, FORMAT_WITH_MONTHS];
/// Random bytes of an id or a generation, so that no two stores have the same one.
const RANDOM_BYTES: usize = 16;
/// Most earlier generations that are kept: a sidecar that has missed more losses must be set up
/// again.
pub const PREVIOUS_MAX: usize = 64;

/// The stored identity; a text is empty if its field is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The server's clock, in milliseconds.
    pub now: i64,
    /// The format of all stored data.
    pub format: String,
    /// The fingerprint key, in hexadecimal.
    pub key: String,
    /// The store's id.
    pub id: String,
    /// The generation that its marks carry.
    pub generation: String,
    /// Earlier generations, the latest first.
    pub previous: Vec<String>,
    /// The request that accepted the store and so made the generation.
    pub accepted: String,
    /// True once all marks of the generation have been written.
    pub is_marked: bool,
}

/// The identity of the store that a process expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The store's id; empty if it has not been read yet.
    pub id: String,
    /// Its generation; empty if it has not been read yet.
    pub generation: String,
    /// Earlier generations.
    pub previous: Vec<String>,
    /// Its fingerprint key, or the key to be used if it has none yet.
    pub key: String,
}

/// The result of comparing a found store with the expected one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// It is the expected store.
    Same,
    /// It has been accepted since then.
    Descends,
    /// It has been accepted since then with another fingerprint key, which a running process cannot
    /// change to.
    OtherKey,
    /// It is another store, or has lost its identity: the reason.
    Lost(String),
}

impl Identity {
    /// Returns whether the store has no identity.
    pub fn is_empty(&self) -> bool {
        self.format.is_empty() && self.key.is_empty()
    }

    /// Returns the identity for a process to expect.
    pub fn known(&self) -> Known {
        Known {
            id: self.id.clone(),
            generation: self.generation.clone(),
            previous: self.previous.clone(),
            key: self.key.clone(),
        }
    }
}

impl Known {
    /// Compares the expected identity with the found one.
    pub fn compare(&self, found: &Identity) -> Match {
        let lost = |why: String| Match::Lost(why);
        if found.is_empty() {
            return lost("its key imquota:identity is missing".to_owned());
        }
        if !FORMATS.contains(&found.format.as_str()) {
            return lost(format!("its data has format \"{}\"", found.format));
        }
        if found.generation.is_empty() {
            let why = "its identity has no generation: a sidecar of an earlier version wrote it";
            return lost(why.to_owned());
        }
        if found.id != self.id {
            return lost(format!("it is another store, with id \"{}\"", found.id));
        }
        if !found.is_marked && !found.previous.is_empty() {
            return lost(UNFINISHED.to_owned());
        }
        if found.generation == self.generation {
            let same = found.key == self.key;
            let other = || lost("its fingerprint key is another one".to_owned());
            return if same { Match::Same } else { other() };
        }
        if !self.generation.is_empty() && !found.previous.contains(&self.generation) {
            return lost(format!(
                "its generation {} does not follow from {}",
                found.generation, self.generation
            ));
        }
        if found.key == self.key { Match::Descends } else { Match::OtherKey }
    }

    /// Returns the generations that a new one replaces.
    pub fn replaced(&self, found: &Identity) -> Vec<String> {
        let chains = [&found.generation].into_iter().chain(&found.previous);
        let chains = chains.chain([&self.generation]).chain(&self.previous);
        let mut replaced: Vec<String> = Vec::new();
        for generation in chains {
            if !generation.is_empty() && !replaced.contains(generation) {
                replaced.push(generation.clone());
            }
        }
        replaced.truncate(PREVIOUS_MAX);
        replaced
    }
}

/// The reason for a store whose acceptance was begun.
pub const UNFINISHED: &str = "its acceptance was begun and is not finished";

/// Reads the identity of the store.
pub async fn read(client: &Client) -> Result<Identity, StoreError> {
    let script = ScriptId::Identity as usize;
    let value = client.call(script, &[IDENTITY.to_vec()], &[], UNWATCHED_CALL_TIMEOUT).await?;
    decode(value).ok_or_else(|| StoreError::malformed("malformed identity"))
}

fn decode(value: Value) -> Option<Identity> {
    let mut parts = array(value)?.into_iter();
    let now = integer(&parts.next()?)?;
    let mut field = || text(bytes(parts.next()?)?);
    let (format, key, generation) = (field()?, field()?, field()?);
    let is_marked = field()? == "all";
    let (id, previous, accepted) = (field()?, field()?, field()?);
    let previous = previous.split(',').filter(|one| !one.is_empty()).map(str::to_owned).collect();
    Some(Identity { now, format, key, id, generation, previous, accepted, is_marked })
}

/// Creates the missing fields of the identity, unless another process comes first.
pub async fn create_missing(client: &Client, new_key: &str) -> Result<Identity, StoreError> {
    let (generation, id) = (random()?, random()?);
    let arguments =
        [FORMAT, new_key, generation.as_str(), id.as_str()].map(|text| text.as_bytes().to_vec());
    let script = ScriptId::Identify as usize;
    client.call(script, &[IDENTITY.to_vec()], &arguments, UNWATCHED_CALL_TIMEOUT).await?;
    read(client).await
}

/// Gives the store the format with months; `false` if it has another generation.
pub async fn raise_format(client: &Client, generation: &[u8]) -> Result<bool, StoreError> {
    let arguments = [generation.to_vec(), FORMAT_WITH_MONTHS.as_bytes().to_vec()];
    let (script, keys) = (ScriptId::RaiseFormat as usize, [IDENTITY.to_vec()]);
    let raised = client.call(script, &keys, &arguments, UNWATCHED_CALL_TIMEOUT).await?;
    Ok(integer(&raised) == Some(1))
}

/// Returns a new random id or generation, in hexadecimal.
pub fn random() -> Result<String, StoreError> {
    let mut bytes = [0; RANDOM_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| StoreError::Refused(error.to_string()))?;
    Ok(hex(&bytes))
}

/// Formats a fingerprint key in hexadecimal.
pub fn key_text(key: [u8; KEY_BYTES]) -> String {
    format!("{:032x}", u128::from_be_bytes(key))
}

/// Parses a fingerprint key.
pub fn key_bytes(text: &str) -> Option<[u8; KEY_BYTES]> {
    let whole = text.len() == 2 * KEY_BYTES;
    u128::from_str_radix(text, 16).ok().filter(|_| whole).map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        let previous = vec!["g0".to_owned()];
        Known { id: "i".into(), generation: "g1".into(), previous, key: "k".into() }
    }

    fn found(generation: &str, previous: &[&str]) -> Identity {
        Identity {
            format: FORMAT.into(),
            key: "k".into(),
            id: "i".into(),
            generation: generation.into(),
            previous: previous.iter().map(|&one| one.to_owned()).collect(),
            is_marked: true,
            ..Identity::default()
        }
    }

    #[test]
    fn only_the_same_store_and_its_accepted_generations_match() {
        let with = |change: fn(&mut Identity)| {
            let mut identity = found("g2", &["g1", "g0"]);
            change(&mut identity);
            identity
        };
        let cases: [(Identity, Option<Match>); 13] = [
            (found("g1", &["g0"]), Some(Match::Same)),
            (Identity { is_marked: false, ..found("g1", &[]) }, Some(Match::Same)),
            (with(|_| {}), Some(Match::Descends)),
            (with(|found| found.format = "2".into()), Some(Match::Descends)),
            (with(|found| found.key = "other".into()), Some(Match::OtherKey)),
            // Each of these is a loss.
            (with(|found| found.is_marked = false), None),
            (Identity { is_marked: false, ..found("g1", &["g0"]) }, None),
            (with(|found| found.id = "other".into()), None),
            (with(|found| found.generation.clear()), None),
            (with(|found| found.format = "3".into()), None),
            (found("g0", &[]), None),
            (Identity { key: "other".into(), ..found("g1", &[]) }, None),
            (Identity::default(), None),
        ];
        for (identity, expected) in cases {
            let result = known().compare(&identity);
            match expected {
                Some(expected) => assert_eq!(result, expected, "{identity:?}"),
                None => assert!(matches!(result, Match::Lost(_)), "{identity:?}: {result:?}"),
            }
        }
    }

    #[test]
    fn a_process_with_only_the_id_accepts_every_complete_generation() {
        let known = Known { generation: String::new(), previous: Vec::new(), ..known() };
        assert_eq!(known.compare(&found("g5", &["g4"])), Match::Descends);
        let fresh = Identity { is_marked: false, ..found("g5", &[]) };
        assert_eq!(known.compare(&fresh), Match::Descends, "its marks are being written");
        let begun = Identity { is_marked: false, ..found("g5", &["g4"]) };
        assert_eq!(known.compare(&begun), Match::Lost(UNFINISHED.to_owned()));
    }

    #[test]
    fn a_new_generation_lists_all_generations_that_a_sidecar_may_have() {
        let found = found("x2", &["x1"]);
        assert_eq!(known().replaced(&found), ["x2", "x1", "g1", "g0"]);
        assert_eq!(known().replaced(&Identity::default()), ["g1", "g0"]);
    }
}
