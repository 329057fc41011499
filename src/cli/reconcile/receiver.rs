//! Where each answer goes: to the counts, the report, the checkpoint and the progress bar.

use super::checkpoint::Checkpoint;
use super::report::Report;
use super::sender::Content;
use super::summary::Tally;
use crate::cli::error::Error;
use crate::cli::output::Progress;
use crate::grpc::pb::ReconcileResponse;

/// What was asked for by the message that is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// To begin.
    Begin,
    /// To compare a part of the export.
    Facts(Content),
    /// What the export does not have.
    End,
}

/// Everything that becomes of the answers.
pub struct Findings {
    tally: Tally,
    /// What the end has brought: a run that goes on looks for it again.
    end: Tally,
    report: Option<Report>,
    checkpoint: Option<Checkpoint>,
    bar: Progress,
}

impl Findings {
    /// Goes on from the checkpoint, where there is one.
    pub fn new(report: Option<Report>, checkpoint: Option<Checkpoint>, bar: Progress) -> Self {
        let tally = checkpoint.as_ref().map(Checkpoint::tally).unwrap_or_default();
        Self { tally, end: Tally::default(), report, checkpoint, bar }
    }

    /// Takes an answer in.
    pub fn add(&mut self, answer: &ReconcileResponse, asked: Asked) -> Result<(), Error> {
        if let Some(report) = &mut self.report {
            report.add(answer)?;
        }
        match asked {
            Asked::End => {
                self.end.add(answer);
                self.tally.resolve(&answer.resolved_users);
                self.bar.say("looking for what the export does not have");
            }
            Asked::Facts(content) => {
                self.tally.add(answer);
                if content.is_done {
                    self.bar.skip(content.facts);
                } else {
                    self.bar.advance(content.facts);
                    self.advance(content);
                }
            }
            Asked::Begin => self.tally.add(answer),
        }
        if self.checkpoint.as_ref().is_some_and(Checkpoint::is_due) { self.save() } else { Ok(()) }
    }

    fn advance(&mut self, content: Content) {
        if let Some(checkpoint) = &mut self.checkpoint {
            checkpoint.advance(content.kind, content.subjects);
        }
    }

    /// Writes the checkpoint, if one is wanted. The report is written first: what the checkpoint
    /// has done, the report has too.
    pub fn save(&mut self) -> Result<(), Error> {
        let Some(checkpoint) = &mut self.checkpoint else { return Ok(()) };
        if let Some(report) = &mut self.report {
            report.flush()?;
        }
        let mut tally = self.tally.clone();
        tally.merge(self.end.repaired_only());
        checkpoint.save(tally)
    }

    /// The comparison was cut off: whether a repeated run goes on where it stopped, and whether a
    /// report is left. A checkpoint with nothing done is removed, so that the next run may be
    /// another one.
    pub fn interrupt(&mut self) -> (bool, bool) {
        if let Some(checkpoint) = self.checkpoint.take_if(|checkpoint| checkpoint.is_blank()) {
            // What failed before is the error to tell, here and below.
            let _ = checkpoint.remove();
        }
        let goes_on = self.checkpoint.is_some() && self.save().is_ok();
        // A run that goes on finds its report.
        let has_report = !goes_on && self.report.take().is_some_and(Report::interrupt);
        (goes_on, has_report)
    }

    /// The comparison is finished: what it came to.
    pub fn finish(self) -> Result<Tally, Error> {
        let Self { mut tally, end, report, checkpoint, bar } = self;
        drop(bar);
        tally.merge(end);
        if let Some(mut report) = report {
            report.flush()?;
        }
        if let Some(checkpoint) = checkpoint {
            checkpoint.remove()?;
        }
        Ok(tally)
    }
}
