//! The file of saved observations, which are compared with the store at the next start.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::Known;
use crate::domain::id::AppId;
use crate::redis::state_file::write_whole;

/// The file in the state directory.
const FILE: &str = "counters.json";
const VERSION: u32 = 1;
/// Time between two writes of the file if anything has changed: a crash loses that much.
const SAVE_INTERVAL: Duration = Duration::from_secs(10);
/// Longest file: one with the most apps, with the longest ids, is smaller.
const FILE_BYTES_MAX: u64 = 16 << 20;

#[derive(Serialize, Deserialize)]
struct Stored {
    v: u32,
    generation: String,
    audit: u64,
    audit_hash: String,
    #[serde(default)]
    audit_loss: Option<u64>,
    events: u64,
    /// Each app with the counters of accounts, friends and groups; the most recently called first.
    apps: Vec<(String, u64, u64, u64)>,
}

impl Known {
    /// Serialises the observations of the store with that generation.
    pub fn snapshot(&self, generation: &str) -> Vec<u8> {
        let audit = self.audit.before().seen;
        let rows = self.counts.rows().into_iter();
        let stored = Stored {
            v: VERSION,
            generation: generation.to_owned(),
            audit: audit.number,
            audit_hash: audit.hash,
            audit_loss: self.audit.last_loss(),
            events: self.events.before().seen.number,
            apps: rows.map(|(app, [a, f, g])| (app.to_string(), a, f, g)).collect(),
        };
        serde_json::to_vec(&stored).expect("maps with string keys can always be written")
    }

    /// Restores saved observations; ignores those of another store. The error is the reason why
    /// they cannot be read.
    pub fn restore(&self, generation: &str, bytes: &[u8]) -> Result<(), String> {
        let stored: Stored = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if stored.v != VERSION {
            return Err(format!("version {} is not {VERSION}", stored.v));
        }
        if stored.generation != generation {
            return Ok(());
        }
        let row = |(app, a, f, g)| Some((AppId::try_from(app).ok()?, [a, f, g]));
        let rows = stored.apps.into_iter().map(row).collect::<Option<Vec<_>>>();
        self.counts.restore(rows.ok_or("an app has a bad id")?);
        self.audit.raise(&self.audit.before(), stored.audit, &stored.audit_hash);
        self.audit.lost_last(stored.audit_loss);
        self.events.raise(&self.events.before(), stored.events, "");
        Ok(())
    }

    /// Returns numbers that change with everything that would be saved.
    fn changes(&self) -> (u64, u64, u64) {
        let number = |tail: &super::Tail| tail.before().seen.number;
        (self.counts.changes(), number(&self.audit), number(&self.events))
    }
}

/// Restores the observations in that directory. A file that cannot be read does not prevent the
/// start: the store's facts decide, and only earlier losses are not detected.
pub fn load(known: &Known, generation: &str, directory: &Path) {
    let path = directory.join(FILE);
    let read = match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => Err(error.to_string()),
        Ok(file) if file.len() > FILE_BYTES_MAX => {
            Err(format!("{} bytes are too many", file.len()))
        }
        Ok(_) => fs::read(&path).map_err(|error| error.to_string()),
    };
    if let Err(error) = read.and_then(|bytes| known.restore(generation, &bytes)) {
        let path = path.display();
        warn!(%path, error, "saved counters unreadable, earlier losses of facts are not detected");
    }
}

/// Writes the observations to a file.
pub struct Saver {
    known: Arc<Known>,
    directory: PathBuf,
    /// The change numbers of the last save.
    saved: Option<(u64, u64, u64)>,
    is_failing: bool,
}

impl Saver {
    /// A saver to that directory.
    pub fn new(known: Arc<Known>, directory: PathBuf) -> Self {
        Self { known, directory, saved: None, is_failing: false }
    }

    /// Saves at an interval, if anything has changed.
    pub async fn run(mut self) {
        loop {
            tokio::time::sleep(SAVE_INTERVAL).await;
            let saving = tokio::task::spawn_blocking(move || {
                self.save();
                self
            });
            match saving.await {
                Ok(saver) => self = saver,
                // The process ends.
                Err(_) => return,
            }
        }
    }

    /// Saves, if anything has changed.
    pub fn save(&mut self) {
        let changes = self.known.changes();
        if self.saved == Some(changes) {
            return;
        }
        let generation = self.known.generation.load_full();
        let bytes = self.known.snapshot(&String::from_utf8_lossy(&generation));
        let written = write_whole(&self.directory, FILE, &bytes);
        match &written {
            Ok(()) => self.saved = Some(changes),
            Err(error) if !self.is_failing => {
                let directory = self.directory.display();
                warn!(%directory, %error, "counters not saved, retrying");
            }
            Err(_) => {}
        }
        self.is_failing = written.is_err();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = r#"{"v":1,"generation":"ab","audit":7,"audit_hash":"cd","audit_loss":3,"events":9,"apps":[["later",1,2,3],["demo",4,0,0]]}"#;

    #[test]
    fn the_file_format_is_stable() {
        let known = Known::default();
        known.restore("ab", GOLDEN.as_bytes()).expect("readable");
        assert_eq!(String::from_utf8(known.snapshot("ab")).expect("text"), GOLDEN);
    }

    #[test]
    fn observations_of_another_store_or_version_are_not_restored() {
        let known = Known::default();
        known.restore("other", GOLDEN.as_bytes()).expect("of another store");
        assert_eq!(known.snapshot("ab"), Known::default().snapshot("ab"));
        let newer = GOLDEN.replace("\"v\":1", "\"v\":2");
        assert!(known.restore("ab", newer.as_bytes()).expect_err("newer").contains("version 2"));
        assert!(known.restore("ab", b"{").is_err());
    }

    #[test]
    fn the_file_is_replaced_atomically_and_a_damaged_one_is_ignored() {
        let folder = tempfile::TempDir::new().expect("a temporary folder");
        let known = Arc::new(Known::default());
        load(&known, "ab", folder.path());
        known.of_generation(&Arc::new(b"ab".to_vec()));
        known.restore("ab", GOLDEN.as_bytes()).expect("readable");
        Saver::new(known, folder.path().join("state")).save();
        let again = Known::default();
        load(&again, "ab", &folder.path().join("state"));
        assert_eq!(String::from_utf8(again.snapshot("ab")).expect("text"), GOLDEN);
        fs::write(folder.path().join(FILE), b"{\"v\":").expect("writable");
        let none = Known::default();
        load(&none, "ab", folder.path());
        assert_eq!(none.snapshot("ab"), Known::default().snapshot("ab"));
    }
}
