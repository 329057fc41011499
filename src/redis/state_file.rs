//! The file in which a process saves the identity and the marks of its store.
//!
//! With it, a process detects at its start a store that was emptied while it was down. The file
//! holds the fingerprint key, so that only its owner may read it. It is replaced atomically.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::identity::{Known, key_bytes};
use super::seen::Seen;
use crate::private_file;

/// The version of the file. Any other version is rejected.
const VERSION: u32 = 1;
const NAME: &str = "store-state.json";

/// The configuration of the saved state, and of the store that is accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreMemory {
    /// The directory of the saved state; `None` if no state is saved.
    pub directory: Option<PathBuf>,
    /// True if the directory was configured, and must be usable.
    pub is_required: bool,
    /// The id of the only store that is accepted; `None` if any is.
    pub store_id: Option<String>,
}

/// The reason why the state cannot be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}; {hint}", .path.display())]
pub struct StateFileError {
    path: PathBuf,
    why: String,
    hint: &'static str,
}

/// The content of the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    store_id: String,
    generation: String,
    previous: Vec<String>,
    fingerprint_key: String,
    marks: String,
    /// The reason why the store is lost; empty if it is not.
    lost: String,
}

/// The saved state of a store.
pub struct Kept {
    /// The identity of the store.
    pub known: Known,
    /// The marks that have been observed.
    pub seen: Seen,
    /// The reason why the store is lost, if it is.
    pub lost: Option<String>,
}

/// The state file in a directory.
#[derive(Debug, Clone)]
pub struct StateFile {
    directory: PathBuf,
}

impl StateFile {
    /// The state file in that directory.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// Reads the state; `None` if there is no file.
    pub fn load(&self) -> Result<Option<Kept>, StateFileError> {
        let path = self.directory.join(NAME);
        let failed = |why: String| StateFileError {
            path: path.clone(),
            why,
            hint: "repair it, or rename it to start without a saved state",
        };
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error.to_string())),
        };
        decode(&bytes).map(Some).map_err(failed)
    }

    /// Replaces the file; it is on disk when this returns.
    pub fn save(
        &self,
        known: &Known,
        seen: &Seen,
        lost: Option<&str>,
    ) -> Result<(), StateFileError> {
        let written = write_whole(&self.directory, NAME, &encode(known, seen, lost));
        written.map_err(|error| StateFileError {
            path: self.directory.join(NAME),
            why: error.to_string(),
            hint: "configure another directory with `state_dir`",
        })
    }
}

/// Writes a file for its owner only, atomically: it replaces the previous file once it is on disk.
pub(super) fn write_whole(directory: &Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    private_file::create_directory(directory)?;
    private_file::replace(&directory.join(name), bytes)?;
    fs::File::open(directory)?.sync_all()
}

fn encode(known: &Known, seen: &Seen, lost: Option<&str>) -> Vec<u8> {
    let document = Document {
        version: VERSION,
        store_id: known.id.clone(),
        generation: known.generation.clone(),
        previous: known.previous.clone(),
        fingerprint_key: known.key.clone(),
        marks: seen.to_text(),
        lost: lost.unwrap_or_default().to_owned(),
    };
    let mut text = serde_json::to_string_pretty(&document).expect("texts and a number");
    text.push('\n');
    text.into_bytes()
}

fn decode(bytes: &[u8]) -> Result<Kept, String> {
    let value: serde_json::Value =
        serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let version = value.get("version").and_then(serde_json::Value::as_u64);
    if let Some(version) = version.filter(|version| *version != u64::from(VERSION)) {
        return Err(format!("it has version {version}, and this version reads {VERSION}"));
    }
    let document: Document = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let Document { store_id: id, generation, previous, fingerprint_key: key, marks, lost, .. } =
        document;
    if key_bytes(&key).is_none() {
        return Err("fingerprint_key is not a key".to_owned());
    }
    if id.is_empty() || generation.is_empty() {
        return Err("store_id and generation must not be empty".to_owned());
    }
    let seen = Seen::from_text(&marks).ok_or("marks is malformed")?;
    let lost = Some(lost).filter(|why| !why.is_empty());
    Ok(Kept { known: Known { id, generation, previous, key }, seen, lost })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const GOLDEN: &str = r#"{
  "version": 1,
  "store_id": "c0ffee",
  "generation": "g2",
  "previous": [
    "g1"
  ],
  "fingerprint_key": "000102030405060708090a0b0c0d0e0f",
  "marks": "all",
  "lost": ""
}
"#;

    fn known() -> Known {
        Known {
            id: "c0ffee".into(),
            generation: "g2".into(),
            previous: vec!["g1".into()],
            key: "000102030405060708090a0b0c0d0e0f".into(),
        }
    }

    #[test]
    fn the_file_format_is_stable() {
        let seen = Seen::default();
        seen.insert_all();
        assert_eq!(String::from_utf8(encode(&known(), &seen, None)).expect("text"), GOLDEN);
        let Kept { known: read, seen, lost } = decode(GOLDEN.as_bytes()).expect("reads");
        assert!(read == known() && seen.is_all() && lost.is_none());
    }

    #[test]
    fn the_file_is_replaced_atomically_and_readable_by_its_owner_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = folder.path().join("state");
        let file = StateFile::new(&directory);
        assert!(file.load().expect("none yet").is_none());
        let seen = Seen::default();
        for slot in [1, 2] {
            seen.insert(slot);
            file.save(&known(), &seen, Some("it is empty")).expect("saved");
        }
        let Kept { known: read, seen, lost } = file.load().expect("reads").expect("is there");
        assert!(read == known() && seen.contains(2) && !seen.is_all());
        assert_eq!(lost.as_deref(), Some("it is empty"));
        let mode = |path: &Path| fs::metadata(path).expect("is there").permissions().mode() & 0o777;
        assert_eq!(mode(&directory.join(NAME)), 0o600);
        assert_eq!(mode(&directory), 0o700);
        assert!(!directory.join(format!("{NAME}.new")).exists());
    }

    #[test]
    fn a_malformed_file_is_rejected_with_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = StateFile::new(folder.path());
        let short_key = GOLDEN.replace("000102", "");
        let newer = GOLDEN.replace("\"version\": 1", "\"version\": 2");
        let unknown = GOLDEN.replace("\"marks\"", "\"x\": 1,\n  \"marks\"");
        for (bad, why) in [
            ("", "EOF"),
            (short_key.as_str(), "fingerprint_key"),
            (newer.as_str(), "version 2"),
            (unknown.as_str(), "unknown field"),
        ] {
            fs::write(folder.path().join(NAME), bad).expect("written");
            let error = file.load().err().map(|error| error.to_string()).expect("refused");
            assert!(error.contains(why) && error.contains(NAME), "{error}");
        }
    }
}
