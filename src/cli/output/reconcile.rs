//! Output of `imquota reconcile`: the tracking of changes, and the result of a comparison.

use std::fmt::Write as _;

use prost_types::Timestamp;
use serde::Serialize;

use super::Report;
use super::table::{Cell, Colour, Style, Table, paint};
use super::value;
use crate::cli::reconcile::{Differences, Sample, Summary};
use crate::engine::admin::reconcile::SETTLED_AFTER;
use crate::grpc::pb::TrackChangesResponse;

impl Report for TrackChangesResponse {
    const NAME: &'static str = "TrackChangesResponse";

    fn text(&self, style: Style) -> String {
        let mut table = Table::new(["CHANGES", "TRACKED"]);
        table.row([Cell::new("since"), Cell::new(style.instant(self.since.as_ref()))]);
        table.row([Cell::new("until"), Cell::new(style.instant(self.until.as_ref()))]);
        // Rounded up, because the sidecar does not round.
        let wait = i64::try_from(SETTLED_AFTER.as_secs()).unwrap_or(i64::MAX);
        let export = self.since.map(|since| Timestamp {
            seconds: since.seconds + wait + i64::from(since.nanos > 0),
            nanos: 0,
        });
        let export = style.instant(export.as_ref());
        let next = format!(
            "\
Next:
  1. Wait until {export} ({wait} s), and at least as long as the longest transaction of the IM.
  2. Note the time, and then export.
  3. imquota reconcile --app APP --groups FILE --friends FILE --accounts FILE --as-of TIME
     where TIME is the noted time. --apply repairs the differences.
"
        );
        format!("{}\n{next}", table.render(style))
    }
}

/// Result of a comparison.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// Mode: `compare`, `apply` or `import`.
    pub mode: &'static str,
    /// Time when the export began, in RFC 3339.
    pub as_of: Option<String>,
    /// Counts and samples of differences.
    #[serde(flatten)]
    pub summary: Summary,
}

/// JSON of a finished comparison. An unfinished one is an error instead.
#[derive(Serialize)]
struct Finished<'a> {
    #[serde(flatten)]
    comparison: &'a Comparison,
    finished: bool,
}

impl Comparison {
    /// Formats the result as JSON.
    pub fn json(&self) -> String {
        let finished = Finished { comparison: self, finished: true };
        let json = serde_json::to_string_pretty(&finished);
        json.expect("writing to memory cannot fail") + "\n"
    }

    /// Formats the result as tables and sentences.
    pub fn text(&self, style: Style) -> String {
        let differences = &self.summary.differences;
        let mut parts = Vec::new();
        if !differences.is_empty() {
            parts.push(counts(differences).render(style));
            if differences.iter().any(|sort| !sort.samples.is_empty()) {
                parts.push(samples(differences).render(style));
            }
        }
        let mut end = format!("{} compared\n", value::count(self.summary.facts_compared, "fact"));
        if self.summary.members_ignored > 0 {
            let ignored = value::count(self.summary.members_ignored, "exported member");
            let _ = writeln!(end, "{ignored} ignored: groups of their types do not track members");
        }
        if self.summary.members_skipped > 0 {
            let skipped = value::count(self.summary.members_skipped, "exported member");
            let _ = writeln!(end, "{skipped} skipped: their groups have another type in imquota");
        }
        for (colour, sentence) in self.sentences() {
            end += &paint(style, Some(colour), &sentence);
            end.push('\n');
        }
        parts.push(end);
        parts.join("\n")
    }

    /// Returns the sentences that explain the result and the next step.
    fn sentences(&self) -> Vec<(Colour, String)> {
        let mut sentences = Vec::new();
        let mut add = |colour, sentence: String| sentences.push((colour, sentence));
        let (found, repaired, left_alone) = self.summary.totals();
        if (found, repaired, left_alone) == (0, 0, 0) {
            add(Colour::Green, "no differences".to_owned());
            return sentences;
        }
        let differences = |number| value::count(number, "difference");
        if repaired > 0 {
            let done = if self.mode == "import" { "added" } else { "repaired" };
            let left = if found > 0 { "" } else { ": nothing else to do" };
            add(Colour::Green, format!("{} {done}{left}", differences(repaired)));
        }
        if left_alone > 0 {
            let why = "left alone, because live traffic has changed them since the export";
            add(Colour::Yellow, format!("{} {why}", differences(left_alone)));
        }
        if found > 0 {
            let found = differences(found);
            add(
                Colour::Yellow,
                match self.mode {
                    "apply" => format!("{found} not repaired: a group's type is never changed"),
                    "import" => format!(
                        "{found} skipped: a group of another type keeps its type and members"
                    ),
                    _ => format!(
                        "{found} found; this was a dry run, which changes nothing: --apply repairs"
                    ),
                },
            );
            if self.as_of.is_none() {
                let note = "changes made since the export may be among these: see `imquota \
                            reconcile begin` and --as-of";
                add(Colour::Dim, note.to_owned());
            }
        }
        sentences
    }
}

fn counts(differences: &[Differences]) -> Table {
    let mut table = Table::new(["WHAT", "DIFFERENCE", "FOUND", "REPAIRED", "LEFT ALONE"]);
    for sort in differences {
        let number = |number: u64, colour| {
            let cell = Cell::number(number.to_string());
            if number > 0 { cell.coloured(colour) } else { cell }
        };
        table.row([
            Cell::new(&sort.kind),
            Cell::new(side(&sort.side)),
            number(sort.found, Colour::Yellow),
            number(sort.repaired, Colour::Green),
            number(sort.left_alone, Colour::Yellow),
        ]);
    }
    table
}

fn samples(differences: &[Differences]) -> Table {
    let mut table = Table::new(["SAMPLE", "DIFFERENCE", "GROUP", "USER", "FRIEND", "OUTCOME"]);
    let who = |id: &str, fingerprint: &str| match (id, fingerprint) {
        ("", "") => Cell::default(),
        ("", fingerprint) => Cell::new(format!("fingerprint {fingerprint}")),
        (id, _) => Cell::new(id),
    };
    for sort in differences {
        for sample in &sort.samples {
            let Sample { outcome, group_id, group_fingerprint, .. } = sample;
            table.row([
                Cell::new(&sort.kind),
                Cell::new(side(&sort.side)),
                who(group_id, group_fingerprint),
                who(&sample.user_id, &sample.user_fingerprint),
                who(&sample.friend_id, &sample.friend_fingerprint),
                Cell::new(outcome.replace('_', " ")),
            ]);
        }
    }
    table
}

/// Describes a difference without "here" and "there".
fn side(side: &str) -> &str {
    match side {
        "missing_here" => "only in the export",
        "missing_there" => "only in imquota",
        "other_type" => "another type",
        "other_max_members" => "another max_members",
        other => other,
    }
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
