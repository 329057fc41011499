//! The file of `--checkpoint`: how far a comparison has come, so that one that was cut off goes on
//! there.
//!
//! It is written whole under another name and then takes the place of the old one, at most once a
//! second. What was compared after the last writing is compared again, which is harmless.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::export::{ExportFile, FileState, Kind};
use super::summary::Tally;
use crate::cli::error::Error;
use crate::clock::Stopwatch;
use crate::private_file;

/// What this program writes.
const VERSION: u32 = 1;
/// How often it is written.
const EVERY: Duration = Duration::from_secs(1);

/// What a comparison is of. One that goes on has to be of the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The app.
    pub app: String,
    /// What happens to differences: `compare`, `apply` or `import`.
    pub mode: &'static str,
    /// When the export was begun, in RFC 3339.
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
    tally: Tally,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredFile {
    kind: String,
    state: FileState,
    done: u64,
}

/// A checkpoint that is kept.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    stored: Stored,
    written: Stopwatch,
    goes_on: bool,
}

impl Checkpoint {
    /// The one that an interrupted run left, or a new one, which is not written yet.
    pub fn open(path: &Path, job: &Job, files: &[ExportFile]) -> Result<Self, Error> {
        let new = Stored {
            version: VERSION,
            app: job.app.clone(),
            mode: job.mode.to_owned(),
            as_of: job.as_of.clone(),
            files: files.iter().map(StoredFile::new).collect(),
            tally: Tally::default(),
        };
        let found = match fs::read(path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::Read { path: path.to_owned(), error }),
        };
        let bad = |why: String| Error::Checkpoint { path: path.to_owned(), why };
        let goes_on = found.is_some();
        let stored = match found {
            Some(bytes) => {
                let old: Stored = serde_json::from_slice(&bytes)
                    .map_err(|error| bad(format!("is no checkpoint: {error}")))?;
                old.check_goes_on_as(&new).map_err(bad)?;
                old
            }
            None => new,
        };
        Ok(Self { path: path.to_owned(), stored, written: Stopwatch::start(), goes_on })
    }

    /// Whether an interrupted run left it.
    pub fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// Whether nothing is done.
    pub fn is_blank(&self) -> bool {
        self.stored.files.iter().all(|file| file.done == 0)
    }

    /// How many users or groups of a file are done.
    pub fn done(&self, kind: Kind) -> u64 {
        let mut files = self.stored.files.iter();
        files.find(|file| file.kind == kind.name()).map_or(0, |file| file.done)
    }

    /// What was found before.
    pub fn tally(&self) -> Tally {
        self.stored.tally.clone()
    }

    /// So many more are done.
    pub fn advance(&mut self, kind: Kind, subjects: u64) {
        let mut files = self.stored.files.iter_mut();
        if let Some(file) = files.find(|file| file.kind == kind.name()) {
            file.done += subjects;
        }
    }

    /// Whether it is time to write it again.
    pub fn is_due(&self) -> bool {
        self.written.elapsed() >= EVERY
    }

    /// Writes it with what was found so far.
    pub fn save(&mut self, tally: Tally) -> Result<(), Error> {
        self.stored.tally = tally;
        self.written = Stopwatch::start();
        let written = replace(&self.path, &self.stored);
        written.map_err(|error| Error::WriteFile { path: self.path.clone(), error })
    }

    /// The comparison is finished.
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
    /// In which respect it is of something else.
    fn check_goes_on_as(&self, new: &Self) -> Result<(), String> {
        let shown = |as_of: &Option<String>| as_of.clone().unwrap_or_else(|| "none".to_owned());
        let of = |what: &str, old: &str, new: &str| {
            if old == new { Ok(()) } else { Err(format!("has {what} {old}, not {new}")) }
        };
        of("version", &self.version.to_string(), &new.version.to_string())?;
        of("the app", &self.app, &new.app)?;
        of("the mode", &self.mode, &new.mode)?;
        of("the --as-of", &shown(&self.as_of), &shown(&new.as_of))?;
        let kinds = |stored: &Self| {
            let kinds: Vec<_> = stored.files.iter().map(|file| file.kind.as_str()).collect();
            kinds.join(" and ")
        };
        of("files of", &kinds(self), &kinds(new))?;
        for (old, new) in self.files.iter().zip(&new.files) {
            if old.state != new.state {
                return Err(format!("has another file of {}: its size or time differs", old.kind));
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
    fn a_run_goes_on_where_another_one_stopped() {
        let case = Case::new();
        let mut first = case.open().unwrap();
        assert!(!first.goes_on() && !case.path().exists());
        first.advance(Kind::Accounts, 2);
        let tally = Tally { facts_compared: 2, ..Tally::default() };
        first.save(tally.clone()).unwrap();
        let mode = fs::metadata(case.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let second = case.open().unwrap();
        assert!(second.goes_on());
        assert_eq!((second.done(Kind::Accounts), second.tally()), (2, tally));
        second.remove().unwrap();
        assert!(!case.open().unwrap().goes_on());
    }

    #[test]
    fn a_checkpoint_of_something_else_is_refused_and_says_why() {
        type Change = fn(&mut Case);
        let table: [(Change, &str); 6] = [
            (|case| case.job.app = "other".into(), "has the app demo, not other"),
            (|case| case.job.mode = "compare", "has the mode apply, not compare"),
            (|case| case.job.as_of = None, "has the --as-of 2026-12-01T00:00:00Z, not none"),
            (|case| case.files[0].kind = Kind::Groups, "has files of accounts, not groups"),
            (
                |case| case.files[0].state.bytes += 1,
                "has another file of accounts: its size or time differs",
            ),
            (
                |case| fs::write(case.path(), "{").unwrap(),
                "is no checkpoint: EOF while parsing an object at line 1 column 1",
            ),
        ];
        for (change, why) in table {
            let mut case = Case::new();
            case.open().unwrap().save(Tally::default()).unwrap();
            change(&mut case);
            let path = case.path().display().to_string();
            let wanted = format!("{path}: {why}; delete it to begin anew");
            assert_eq!(case.open().err(), Some(wanted));
        }
    }
}
