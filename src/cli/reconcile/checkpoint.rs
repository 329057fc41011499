//! The file of `--checkpoint`: the progress of a comparison, from which an interrupted run resumes.
//!
//! It is written under another name and then replaces the old one, at most once a second. Facts
//! that were compared after the last save are compared again, which is idempotent.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::export::{ExportFile, FileState, Kind};
use super::summary::Summary;
use crate::cli::error::Error;
use crate::clock::Stopwatch;
use crate::private_file;

/// Version of the format.
const VERSION: u32 = 1;
/// Shortest time between two saves.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// Parameters of a comparison. A run can only resume a comparison with the same parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The app.
    pub app: String,
    /// Mode: `compare`, `apply` or `import`.
    pub mode: &'static str,
    /// Time when the export began, in RFC 3339.
    pub as_of: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    app: String,
    mode: String,
    as_of: Option<String>,
    files: Vec<StoredFile>,
    #[serde(rename = "tally")]
    summary: Summary,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredFile {
    kind: String,
    state: FileState,
    done: u64,
}

/// The checkpoint of a running comparison.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    stored: Stored,
    written: Stopwatch,
    is_resumed: bool,
}

impl Checkpoint {
    /// Opens the checkpoint of an interrupted run, or creates a new one, which is not written yet.
    pub fn open(path: &Path, job: &Job, files: &[ExportFile]) -> Result<Self, Error> {
        let new = Stored {
            version: VERSION,
            app: job.app.clone(),
            mode: job.mode.to_owned(),
            as_of: job.as_of.clone(),
            files: files.iter().map(StoredFile::new).collect(),
            summary: Summary::default(),
        };
        let found = match fs::read(path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::Read { path: path.to_owned(), error }),
        };
        let bad = |why: String| Error::Checkpoint { path: path.to_owned(), why };
        let is_resumed = found.is_some();
        let stored = match found {
            Some(bytes) => {
                let old: Stored = serde_json::from_slice(&bytes)
                    .map_err(|error| bad(format!("is not a checkpoint: {error}")))?;
                old.check_matches(&new).map_err(bad)?;
                old
            }
            None => new,
        };
        Ok(Self { path: path.to_owned(), stored, written: Stopwatch::start(), is_resumed })
    }

    /// Returns whether it is the checkpoint of an interrupted run.
    pub fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// Returns whether no user or group is done.
    pub fn is_empty(&self) -> bool {
        self.stored.files.iter().all(|file| file.done == 0)
    }

    /// Returns how many users or groups of a file are done.
    pub fn done(&self, kind: Kind) -> u64 {
        let mut files = self.stored.files.iter();
        files.find(|file| file.kind == kind.name()).map_or(0, |file| file.done)
    }

    /// Returns the counts of the earlier runs.
    pub fn summary(&self) -> Summary {
        self.stored.summary.clone()
    }

    /// Adds users or groups that are done.
    pub fn advance(&mut self, kind: Kind, subjects: u64) {
        let mut files = self.stored.files.iter_mut();
        if let Some(file) = files.find(|file| file.kind == kind.name()) {
            file.done += subjects;
        }
    }

    /// Returns whether it is time to save it.
    pub fn is_due(&self) -> bool {
        self.written.elapsed() >= SAVE_INTERVAL
    }

    /// Writes it with the counts so far.
    pub fn save(&mut self, summary: Summary) -> Result<(), Error> {
        self.stored.summary = summary;
        self.written = Stopwatch::start();
        let written = replace(&self.path, &self.stored);
        written.map_err(|error| Error::WriteFile { path: self.path.clone(), error })
    }

    /// Removes the file after the comparison is finished.
    pub fn remove(self) -> Result<(), Error> {
        fs::remove_file(&self.path)
            .map_err(|error| Error::WriteFile { path: self.path.clone(), error })
    }
}

fn replace(path: &Path, stored: &Stored) -> io::Result<()> {
    private_file::replace(path, &serde_json::to_vec(stored)?)
}

impl StoredFile {
    fn new(file: &ExportFile) -> Self {
        Self { kind: file.kind.name().to_owned(), state: file.state, done: 0 }
    }
}

impl Stored {
    /// Returns an error with the first difference from the parameters of the new run.
    fn check_matches(&self, new: &Self) -> Result<(), String> {
        let shown = |as_of: &Option<String>| as_of.clone().unwrap_or_else(|| "none".to_owned());
        let check = |what: &str, old: &str, new: &str| {
            if old == new { Ok(()) } else { Err(format!("has {what} {old}, not {new}")) }
        };
        check("version", &self.version.to_string(), &new.version.to_string())?;
        check("the app", &self.app, &new.app)?;
        check("the mode", &self.mode, &new.mode)?;
        check("the --as-of", &shown(&self.as_of), &shown(&new.as_of))?;
        let kinds = |stored: &Self| {
            let kinds: Vec<_> = stored.files.iter().map(|file| file.kind.as_str()).collect();
            kinds.join(" and ")
        };
        check("files of", &kinds(self), &kinds(new))?;
        for (old, new) in self.files.iter().zip(&new.files) {
            if old.state != new.state {
                return Err(format!(
                    "has another file of {}: its size or modification time differs",
                    old.kind
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    struct Case {
        folder: tempfile::TempDir,
        job: Job,
        files: Vec<ExportFile>,
    }

    impl Case {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("accounts.csv");
            fs::write(&path, "user_id\nu1\nu2\n").unwrap();
            let files = vec![ExportFile::find(Kind::Accounts, path).unwrap()];
            let as_of = Some("2026-12-01T00:00:00Z".to_owned());
            Self { folder, job: Job { app: "demo".into(), mode: "apply", as_of }, files }
        }

        fn open(&self) -> Result<Checkpoint, String> {
            let opened = Checkpoint::open(&self.path(), &self.job, &self.files);
            opened.map_err(|error| error.to_string())
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("checkpoint")
        }
    }

    #[test]
    fn a_run_resumes_where_an_interrupted_one_stopped() {
        let case = Case::new();
        let mut first = case.open().unwrap();
        assert!(!first.is_resumed() && !case.path().exists());
        first.advance(Kind::Accounts, 2);
        let summary = Summary { facts_compared: 2, ..Summary::default() };
        first.save(summary.clone()).unwrap();
        let mode = fs::metadata(case.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let second = case.open().unwrap();
        assert!(second.is_resumed());
        assert_eq!((second.done(Kind::Accounts), second.summary()), (2, summary));
        second.remove().unwrap();
        assert!(!case.open().unwrap().is_resumed());
    }

    #[test]
    fn a_checkpoint_with_other_parameters_is_refused_with_the_difference() {
        type Change = fn(&mut Case);
        let table: [(Change, &str); 6] = [
            (|case| case.job.app = "other".into(), "has the app demo, not other"),
            (|case| case.job.mode = "compare", "has the mode apply, not compare"),
            (|case| case.job.as_of = None, "has the --as-of 2026-12-01T00:00:00Z, not none"),
            (|case| case.files[0].kind = Kind::Groups, "has files of accounts, not groups"),
            (
                |case| case.files[0].state.bytes += 1,
                "has another file of accounts: its size or modification time differs",
            ),
            (
                |case| fs::write(case.path(), "{").unwrap(),
                "is not a checkpoint: EOF while parsing an object at line 1 column 1",
            ),
        ];
        for (change, why) in table {
            let mut case = Case::new();
            case.open().unwrap().save(Summary::default()).unwrap();
            change(&mut case);
            let path = case.path().display().to_string();
            let wanted = format!("{path}: {why}; delete it to start over");
            assert_eq!(case.open().err(), Some(wanted));
        }
    }
}
