//! The file of `--report`: each difference as a line of JSON.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::summary::{Sample, kind_name, side_name};
use crate::cli::error::Error;
use crate::grpc::pb;
use crate::private_file;

/// A line is shorter: it has two ids and a few names.
const LINE_MAX_BYTES: u64 = 4096;

/// A report that is being written.
#[derive(Debug)]
pub struct Report {
    path: PathBuf,
    out: BufWriter<File>,
    /// Whether this run created it and has written nothing.
    is_empty: bool,
}

#[derive(Serialize)]
struct Line {
    kind: &'static str,
    side: &'static str,
    #[serde(flatten)]
    difference: Sample,
}

#[derive(Serialize)]
struct Resolved<'a> {
    fingerprint: &'a str,
    user_id: &'a str,
}

impl Report {
    /// Creates one, or goes on with the one that an interrupted run began. What exists otherwise
    /// is refused: it may be the only list of what an earlier run repaired.
    pub fn open(path: &Path, goes_on: bool) -> Result<Self, Error> {
        let opened = if goes_on { reopen(path) } else { private_file::create_new(path) };
        let file = opened.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => Error::Exists { path: path.to_owned() },
            _ => Error::WriteFile { path: path.to_owned(), error },
        })?;
        Ok(Self { path: path.to_owned(), out: BufWriter::new(file), is_empty: !goes_on })
    }

    /// Removes it unless something was written; whether it is left.
    pub fn interrupt(mut self) -> bool {
        // What failed before is the error to show.
        let _ = self.out.flush();
        !self.is_empty || fs::remove_file(&self.path).is_err()
    }

    /// Adds what an answer has.
    pub fn add(&mut self, answer: &pb::ReconcileResponse) -> Result<(), Error> {
        let written = self.write(answer);
        written.map_err(|error| Error::WriteFile { path: self.path.clone(), error })
    }

    fn write(&mut self, answer: &pb::ReconcileResponse) -> io::Result<()> {
        for difference in &answer.differences {
            let (kind, side) = (kind_name(difference.kind()), side_name(difference.side()));
            self.line(&Line { kind, side, difference: Sample::of(difference) })?;
        }
        for user in &answer.resolved_users {
            self.line(&Resolved { fingerprint: &user.fingerprint, user_id: &user.user_id })?;
        }
        Ok(())
    }

    fn line(&mut self, line: &impl Serialize) -> io::Result<()> {
        self.is_empty = false;
        serde_json::to_writer(&mut self.out, line)?;
        self.out.write_all(b"\n")
    }

    /// Hands everything to the system.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.out.flush().map_err(|error| Error::WriteFile { path: self.path.clone(), error })
    }
}

/// Opens a report at its end, without the half line that a killed run may have left there.
fn reopen(path: &Path) -> io::Result<File> {
    let mut options = private_file::options();
    let mut file = options.read(true).write(true).create(true).truncate(false).open(path)?;
    let length = file.metadata()?.len();
    let tail_from = length.saturating_sub(LINE_MAX_BYTES);
    file.seek(SeekFrom::Start(tail_from))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    file.set_len(tail_from + u64::try_from(whole).unwrap_or(0))?;
    file.seek(SeekFrom::End(0))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::pb::{DifferenceOutcome, DifferenceSide, FactKind};

    fn answer() -> pb::ReconcileResponse {
        let difference = pb::Difference {
            kind: FactKind::Member.into(),
            side: DifferenceSide::MissingThere.into(),
            outcome: DifferenceOutcome::Repaired.into(),
            group_id: "g1".into(),
            user_fingerprint: "0a1b".into(),
            ..pb::Difference::default()
        };
        let user = pb::ResolvedUser { fingerprint: "0a1b".into(), user_id: "u7".into() };
        pb::ReconcileResponse {
            differences: vec![difference],
            resolved_users: vec![user],
            ..pb::ReconcileResponse::default()
        }
    }

    const WRITTEN: &str = "\
{\"kind\":\"member\",\"side\":\"missing_there\",\"outcome\":\"repaired\",\"group_id\":\"g1\",\
\"user_fingerprint\":\"0a1b\"}
{\"fingerprint\":\"0a1b\",\"user_id\":\"u7\"}
";

    #[test]
    fn a_difference_is_a_line_and_so_is_a_name_that_comes_late() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report");
        for goes_on in [false, true] {
            let mut report = Report::open(&path, goes_on).unwrap();
            report.add(&answer()).unwrap();
            report.flush().unwrap();
            let times = if goes_on { 2 } else { 1 };
            assert_eq!(fs::read_to_string(&path).unwrap(), WRITTEN.repeat(times));
            assert!(matches!(Report::open(&path, false), Err(Error::Exists { .. })));
            assert!(report.interrupt(), "a report with lines is left");
            assert_eq!(fs::read_to_string(&path).unwrap(), WRITTEN.repeat(times));
        }
    }

    #[test]
    fn an_interrupted_report_without_lines_is_removed_so_that_the_run_can_be_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report");
        for _ in 0..2 {
            assert!(!Report::open(&path, false).unwrap().interrupt());
            assert!(!path.exists());
        }
    }

    #[test]
    fn half_a_line_goes_when_a_report_is_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report");
        for (before, after) in [("{}\n{\"ki", "{}\n"), ("{\"ki", ""), ("", "")] {
            fs::write(&path, before).unwrap();
            drop(Report::open(&path, true).unwrap());
            assert_eq!(fs::read_to_string(&path).unwrap(), after);
        }
    }
}
