//! The file of `--report`: a line of JSON for each difference.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::summary::{Sample, kind_name, side_name};
use crate::cli::error::Error;
use crate::grpc::pb;
use crate::private_file;

/// Longest line in bytes: a line has two ids and a few names.
const LINE_MAX_BYTES: u64 = 4096;

/// Writes a report.
#[derive(Debug)]
pub struct Report {
    path: PathBuf,
    out: BufWriter<File>,
    /// `true` if this run created it and has written nothing yet.
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
    /// Creates a report, or resumes that of an interrupted run. Any other existing file is refused:
    /// it may be the only list of the repairs of an earlier run.
    pub fn open(path: &Path, is_resumed: bool) -> Result<Self, Error> {
        let opened = if is_resumed { reopen(path) } else { private_file::create_new(path) };
        let file = opened.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => Error::Exists { path: path.to_owned() },
            _ => Error::WriteFile { path: path.to_owned(), error },
        })?;
        Ok(Self { path: path.to_owned(), out: BufWriter::new(file), is_empty: !is_resumed })
    }

    /// Removes the report if nothing was written. Returns whether it is left.
    pub fn interrupt(mut self) -> bool {
        // The earlier failure is the error that is reported.
        let _ = self.out.flush();
        !self.is_empty || fs::remove_file(&self.path).is_err()
    }

    /// Adds the differences of a response.
    pub fn add(&mut self, response: &pb::ReconcileResponse) -> Result<(), Error> {
        let written = self.write(response);
        written.map_err(|error| Error::WriteFile { path: self.path.clone(), error })
    }

    fn write(&mut self, response: &pb::ReconcileResponse) -> io::Result<()> {
        for difference in &response.differences {
            let (kind, side) = (kind_name(difference.kind()), side_name(difference.side()));
            self.line(&Line { kind, side, difference: Sample::of(difference) })?;
        }
        for user in &response.resolved_users {
            self.line(&Resolved { fingerprint: &user.fingerprint, user_id: &user.user_id })?;
        }
        Ok(())
    }

    fn line(&mut self, line: &impl Serialize) -> io::Result<()> {
        self.is_empty = false;
        serde_json::to_writer(&mut self.out, line)?;
        self.out.write_all(b"\n")
    }

    /// Flushes the buffer to the file.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.out.flush().map_err(|error| Error::WriteFile { path: self.path.clone(), error })
    }
}

/// Opens a report at its end, and removes an incomplete last line, left by a killed run.
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
    fn differences_and_resolved_users_are_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report");
        for is_resumed in [false, true] {
            let mut report = Report::open(&path, is_resumed).unwrap();
            report.add(&answer()).unwrap();
            report.flush().unwrap();
            let times = if is_resumed { 2 } else { 1 };
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
    fn an_incomplete_last_line_is_removed_when_a_report_is_resumed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report");
        for (before, after) in [("{}\n{\"ki", "{}\n"), ("{\"ki", ""), ("", "")] {
            fs::write(&path, before).unwrap();
            drop(Report::open(&path, true).unwrap());
            assert_eq!(fs::read_to_string(&path).unwrap(), after);
        }
    }
}
