//! `imquota reconcile`: compares the stored facts with an export of the IM's own database.
//!
//! # Layout
//!
//! - `begin`: makes the sidecar track changes, before the export.
//! - `export`: the files, and the users and groups in them; `line_reader` reads a file by lines,
//!   `csv` parses CSV, `jsonl` JSON lines, and `rules` validates ids.
//! - `check`: reads every file before anything is sent.
//! - `sender`: splits the files into messages; `stream` sends these and receives the responses.
//! - `receiver`: distributes a response to `summary` (counts), `report` (list of differences) and
//!   `checkpoint` (progress).
//!
//! An error in a file ends the run before a connection is made. An interrupted run may be repeated
//! at any time: every fact is compared separately.

use std::path::{Path, PathBuf};

use chrono::{DateTime, SecondsFormat};
use clap::{ArgGroup, Args, Subcommand};
use prost_types::Timestamp;

use self::begin::Begin;
use self::check::Checked;
use self::checkpoint::{Checkpoint, Job};
use self::export::{ExportFile, Kind, Subject};
use self::receiver::ResponseReceiver;
use self::report::Report;
use self::sender::PendingFile;
use super::Exit;
use super::connect::AdminAddress;
use super::error::Error;
use super::output::{self, Comparison, Format, Progress};
use super::session::{CallFlags, Session};
use crate::domain::id::AppId;
use crate::grpc::pb::{ReconcileBegin, ReconcileMode};

mod begin;
mod check;
mod checkpoint;
mod csv;
mod export;
mod jsonl;
mod line_reader;
mod receiver;
mod report;
mod rules;
mod sender;
mod stream;
mod summary;

pub use summary::{Differences, Sample, Summary};

const HELP: &str = "\
Files, by the end of their names:
  .csv              a header, then rows; columns in any order
    --accounts      user_id
    --friends       user_id,friend_id       one row for each friend, sorted by user_id
    --groups        group_id,type,member_id and optionally max_members
                    one row for each member, sorted by group_id; a group without members has one
                    row with an empty member_id; an empty max_members: no limit of its own
  .jsonl, .ndjson   an object on each line
    --accounts      {\"user_id\":\"u1\"}
    --friends       {\"user_id\":\"u1\",\"friend_ids\":[\"u2\",\"u3\"]}
    --groups        {\"group_id\":\"g1\",\"type\":\"Public\",\"max_members\":200,\
\"member_ids\":[\"u1\"]}
                    max_members may be absent (not compared) or null (no limit of its own)
Each file must be complete: facts that it does not have count as removed. Nothing is sent before
all files have been read and validated.

To repair: run `imquota reconcile begin`, wait as it prints, note the time, export, and run this
command with --as-of and that time; inspect the differences, and run it again with --apply.

Exit codes: 0 no differences, or all were repaired; 4 differences are left, including those that
live traffic has changed since the export, and groups that an import skips; 1 an error.

Example:
  imquota reconcile --app demo --accounts accounts.csv --groups groups.jsonl
  imquota reconcile --app demo --groups groups.csv --apply --as-of 2026-12-01T00:00:00+08:00
  imquota reconcile --app demo --friends friends.jsonl --import --checkpoint friends.checkpoint";

const BEGIN_HELP: &str = "\
Example:
  imquota reconcile begin --app demo --keep-for 24h";

/// Arguments of `imquota reconcile`.
#[derive(Debug, Args)]
#[command(after_help = HELP, args_conflicts_with_subcommands = true)]
#[command(subcommand_negates_reqs = true)]
pub struct Reconcile {
    #[command(flatten)]
    compare: Option<Compare>,
    #[command(flatten)]
    to: AdminAddress,
    #[command(flatten)]
    flags: CallFlags,
    #[command(subcommand)]
    step: Option<Step>,
}

impl Reconcile {
    /// Returns the output format.
    pub fn format(&self) -> Format {
        self.flags.format()
    }
}

#[derive(Debug, Subcommand)]
enum Step {
    /// Track changes from now on, so that the comparison leaves the changed facts alone.
    #[command(after_help = BEGIN_HELP)]
    Begin(Begin),
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("files").required(true).multiple(true))]
struct Compare {
    /// The app
    #[arg(long, value_parser = app)]
    app: String,
    /// File with every group and its members
    #[arg(long, value_name = "FILE", group = "files")]
    groups: Option<PathBuf>,
    /// File with every user's friends
    #[arg(long, value_name = "FILE", group = "files")]
    friends: Option<PathBuf>,
    /// File with every account
    #[arg(long, value_name = "FILE", group = "files")]
    accounts: Option<PathBuf>,
    /// Repair the differences that live traffic has not changed since; requires --as-of
    #[arg(long, requires = "as_of", conflicts_with = "import")]
    apply: bool,
    /// Only add missing facts and remove none, for the first import of an IM
    #[arg(long)]
    import: bool,
    /// Repair even if a file is empty: removes all facts of its kind
    #[arg(long, requires = "apply")]
    allow_empty: bool,
    /// Time when the export began, such as 2026-12-01T00:00:00+08:00
    #[arg(long, value_name = "TIME", value_parser = super::inspect::instant)]
    as_of: Option<Timestamp>,
    /// Write each difference to this file, as a line of JSON. An existing file is refused, unless
    /// the run resumes from --checkpoint; then a line may be repeated
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Save the progress to this file, so that an interrupted run resumes when it is repeated.
    /// Removed at the end
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
}

/// Reads a file of an export to its end, and calls `seen` with the line of each user or group, its
/// id and the ids in its list. Returns how many bytes were read. Public only for the fuzz targets.
pub fn read_export(
    kind: &str,
    path: &Path,
    seen: &mut dyn FnMut(u64, &str, &[String]),
) -> Result<u64, String> {
    let found = Kind::ALL.into_iter().find(|each| each.name() == kind);
    let kind = found.ok_or_else(|| format!("unknown kind of export {kind:?}"))?;
    let mut read = || {
        let mut subjects = ExportFile::find(kind, path.to_owned())?.open()?;
        while let Some(item) = subjects.next()? {
            let listed = match &item.subject {
                Subject::Group(group) => group.member_ids.as_slice(),
                Subject::Friends(friends) => friends.friend_ids.as_slice(),
                Subject::Account(_) => &[],
            };
            seen(item.line, item.subject.id(), listed);
        }
        Ok(subjects.bytes_read())
    };
    read().map_err(|error: Error| error.to_string())
}

/// Begins tracking, or compares.
pub async fn run(args: Reconcile) -> Result<Exit, Error> {
    let Reconcile { compare, to, flags, step } = args;
    match step {
        Some(Step::Begin(begin)) => {
            let session = Session::open(to.target()?, flags).await?;
            begin::run(begin, &session).await
        }
        None => {
            let compare = compare.expect("clap requires --app if there is no subcommand");
            compare.run(&to, flags).await
        }
    }
}

impl Compare {
    async fn run(self, to: &AdminAddress, flags: CallFlags) -> Result<Exit, Error> {
        let target = to.target()?;
        let files = self.files()?;
        let checkpoint = self.checkpoint.as_deref();
        let checkpoint = checkpoint.map(|path| Checkpoint::open(path, &self.job(), &files));
        let checkpoint = checkpoint.transpose()?;
        let checked = check::check(files)?;
        self.check_not_empty(&checked)?;

        let session = Session::open(target, flags).await?;
        let begin = self.begin(&checked);
        let bar = Progress::of_facts("comparing", checked.iter().map(|file| file.facts).sum());
        let done = |kind| checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.done(kind));
        let with_done = |checked: Checked| PendingFile { done: done(checked.file.kind), checked };
        let pending = checked.into_iter().map(with_done).collect();
        let is_resumed = checkpoint.as_ref().is_some_and(Checkpoint::is_resumed);
        let report =
            self.report.as_deref().map(|path| Report::open(path, is_resumed)).transpose()?;
        let mut receiver = ResponseReceiver::new(report, checkpoint, bar);
        // Fail before anything is changed if the files cannot be written.
        receiver.save()?;
        if let Err(error) = stream::compare(&session, begin, pending, &mut receiver).await {
            let (has_checkpoint, has_report) = receiver.interrupt();
            return Err(error.for_comparison(has_checkpoint, has_report));
        }
        let summary = receiver.finish()?;
        let comparison = Comparison { mode: self.mode_name(), as_of: self.as_of_text(), summary };
        output::show_comparison(&comparison, session.format())?;
        let (found, _, left_alone) = comparison.summary.totals();
        Ok(if found + left_alone > 0 { Exit::Differs } else { Exit::Done })
    }

    /// Refuses to repair by an empty file: a failed export often has only a header, and would
    /// remove everything.
    fn check_not_empty(&self, files: &[Checked]) -> Result<(), Error> {
        let is_risk = |checked: &&Checked| self.apply && !self.allow_empty && checked.facts == 0;
        let Some(Checked { file, .. }) = files.iter().find(is_risk) else { return Ok(()) };
        let what = file.kind.name();
        let why = format!(
            "has no {what}, so that --apply would remove all of them; if that is intended, add \
             --allow-empty"
        );
        Err(Error::Export { path: file.path.clone(), line: None, why })
    }

    /// Returns the files in the order in which they are sent.
    fn files(&self) -> Result<Vec<ExportFile>, Error> {
        let path = |kind| match kind {
            Kind::Groups => self.groups.clone(),
            Kind::Friends => self.friends.clone(),
            Kind::Accounts => self.accounts.clone(),
        };
        let given = Kind::ALL.into_iter().filter_map(|kind| Some((kind, path(kind)?)));
        given.map(|(kind, path)| ExportFile::find(kind, path)).collect()
    }

    fn mode(&self) -> ReconcileMode {
        match (self.apply, self.import) {
            (true, _) => ReconcileMode::Apply,
            (_, true) => ReconcileMode::Import,
            _ => ReconcileMode::Compare,
        }
    }

    fn mode_name(&self) -> &'static str {
        match (self.apply, self.import) {
            (true, _) => "apply",
            (_, true) => "import",
            _ => "compare",
        }
    }

    fn as_of_text(&self) -> Option<String> {
        let at = self.as_of?;
        let at = DateTime::from_timestamp(at.seconds, u32::try_from(at.nanos).ok()?)?;
        Some(at.to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }

    fn job(&self) -> Job {
        Job { app: self.app.clone(), mode: self.mode_name(), as_of: self.as_of_text() }
    }

    fn begin(&self, files: &[Checked]) -> ReconcileBegin {
        let has = |kind| files.iter().any(|checked| checked.file.kind == kind);
        ReconcileBegin {
            app_id: self.app.clone(),
            mode: self.mode().into(),
            as_of: self.as_of,
            has_accounts: has(Kind::Accounts),
            has_friends: has(Kind::Friends),
            has_groups: has(Kind::Groups),
            // An import's differences are most of the export: they are counted, and listed only
            // for a report.
            list_differences: !self.import || self.report.is_some(),
        }
    }
}

/// Parses an app's id from the command line.
fn app(text: &str) -> Result<String, String> {
    AppId::try_from(text).map(|app| app.to_string()).map_err(|why| why.to_string())
}
