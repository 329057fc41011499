//! Distributes each response: to the counts, the report, the checkpoint and the progress bar.

use super::checkpoint::Checkpoint;
use super::report::Report;
use super::sender::Content;
use super::summary::Summary;
use crate::cli::error::Error;
use crate::cli::output::Progress;
use crate::grpc::pb::ReconcileResponse;

/// The request that a response belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestPart {
    /// The beginning.
    Begin,
    /// A part of the export.
    Facts(Content),
    /// The end, after which the sidecar searches for facts that the export does not have.
    End,
}

/// Receives the responses of a comparison.
pub struct ResponseReceiver {
    summary: Summary,
    /// Counts of the responses to the end; a resumed run repeats that search.
    end: Summary,
    report: Option<Report>,
    checkpoint: Option<Checkpoint>,
    bar: Progress,
}

impl ResponseReceiver {
    /// Creates a receiver, with the counts of the checkpoint, if any.
    pub fn new(report: Option<Report>, checkpoint: Option<Checkpoint>, bar: Progress) -> Self {
        let summary = checkpoint.as_ref().map(Checkpoint::summary).unwrap_or_default();
        Self { summary, end: Summary::default(), report, checkpoint, bar }
    }

    /// Adds a response.
    pub fn add(&mut self, response: &ReconcileResponse, to: RequestPart) -> Result<(), Error> {
        if let Some(report) = &mut self.report {
            report.add(response)?;
        }
        match to {
            RequestPart::End => {
                self.end.add(response);
                self.summary.resolve(&response.resolved_users);
                self.bar.set_message("searching for facts that the export does not have");
            }
            RequestPart::Facts(content) => {
                self.summary.add(response);
                if content.is_done {
                    self.bar.skip(content.facts);
                } else {
                    self.bar.advance(content.facts);
                    self.advance(content);
                }
            }
            RequestPart::Begin => self.summary.add(response),
        }
        if self.checkpoint.as_ref().is_some_and(Checkpoint::is_due) { self.save() } else { Ok(()) }
    }

    fn advance(&mut self, content: Content) {
        if let Some(checkpoint) = &mut self.checkpoint {
            checkpoint.advance(content.kind, content.subjects);
        }
    }

    /// Writes the checkpoint, if any. The report is written first, so that it contains everything
    /// that is done by the checkpoint.
    pub fn save(&mut self) -> Result<(), Error> {
        let Some(checkpoint) = &mut self.checkpoint else { return Ok(()) };
        if let Some(report) = &mut self.report {
            report.flush()?;
        }
        let mut summary = self.summary.clone();
        summary.merge(self.end.repaired_only());
        checkpoint.save(summary)
    }

    /// Ends an interrupted comparison. Returns whether a repeated run resumes where it stopped, and
    /// whether a report is left. A checkpoint with nothing done is removed, so that the next run
    /// may have other parameters.
    pub fn interrupt(&mut self) -> (bool, bool) {
        if let Some(checkpoint) = self.checkpoint.take_if(|checkpoint| checkpoint.is_empty()) {
            // The earlier failure is the error that is reported, here and below.
            let _ = checkpoint.remove();
        }
        let can_resume = self.checkpoint.is_some() && self.save().is_ok();
        // A resumed run continues its report.
        let has_report = !can_resume && self.report.take().is_some_and(Report::interrupt);
        (can_resume, has_report)
    }

    /// Finishes the comparison and returns its counts.
    pub fn finish(self) -> Result<Summary, Error> {
        let Self { mut summary, end, report, checkpoint, bar } = self;
        drop(bar);
        summary.merge(end);
        if let Some(mut report) = report {
            report.flush()?;
        }
        if let Some(checkpoint) = checkpoint {
            checkpoint.remove()?;
        }
        Ok(summary)
    }
}
