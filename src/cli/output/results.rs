//! Responses of operations: a row for each id, with denials and upgrades, then a summary.

use super::Report;
use super::table::{Cell, Colour, Style, Table};
use super::value;
use crate::grpc::pb::{self, DecisionInfo, Denial, DenialReason, Outcome, Upgrade};

/// The common content of all responses of operations.
struct Decided<'a> {
    rows: Vec<Row<'a>>,
    notes: Vec<String>,
    decision: Option<&'a DecisionInfo>,
}

/// A result, with the text of its id.
struct Row<'a> {
    id: String,
    result: &'a pb::Result,
}

impl<'a> Decided<'a> {
    fn new(
        results: impl IntoIterator<Item = &'a pb::Result>,
        decision: Option<&'a DecisionInfo>,
    ) -> Self {
        let row = |result: &'a pb::Result| Row { id: result.id.clone(), result };
        Self { rows: results.into_iter().map(row).collect(), notes: Vec::new(), decision }
    }

    fn note(mut self, note: Option<String>) -> Self {
        self.notes.extend(note);
        self
    }

    fn denied(&self) -> bool {
        self.rows.iter().any(|row| row.result.outcome() == Outcome::Denied)
    }

    fn text(&self, style: Style) -> String {
        let mut table = Table::new(["ID", "OUTCOME", "WHY"]);
        self.rows.iter().for_each(|row| row.add_to(&mut table));
        let summary = (self.rows.len() > 1).then(|| self.summary());
        let mut text = table.render(style);
        for line in self.notes.iter().chain(&summary) {
            text += line;
            text.push('\n');
        }
        text + &super::degraded(self.decision, style)
    }

    /// Counts the results by outcome, such as `98 applied, 2 denied`.
    fn summary(&self) -> String {
        let order = [
            Outcome::Applied,
            Outcome::AlreadyHeld,
            Outcome::NotHeld,
            Outcome::Denied,
            Outcome::Aborted,
            Outcome::Unspecified,
        ];
        let number =
            |of: Outcome| self.rows.iter().filter(|row| row.result.outcome() == of).count();
        let counts = order.map(|outcome| (number(outcome), word(outcome)));
        let some = counts.iter().filter(|(number, _)| *number > 0);
        some.map(|(number, word)| format!("{number} {word}")).collect::<Vec<_>>().join(", ")
    }
}

impl Row<'_> {
    /// Adds a row for each denial; one that was not enforced (shadow mode) is marked.
    fn add_to(&self, table: &mut Table) {
        let outcome = self.result.outcome();
        let shadow = outcome != Outcome::Denied;
        let mut whys = self.result.denials.iter().map(|denial| {
            let would = if shadow { "would be denied: " } else { "" };
            Cell::new(format!("{would}{}", why(denial)))
        });
        let word = Cell::new(word(outcome)).coloured(colour(outcome));
        table.row([Cell::new(&self.id), word, whys.next().unwrap_or_default()]);
        whys.for_each(|why| table.row([Cell::default(), Cell::default(), why]));
    }
}

/// Formats a denial: the sentence, the code for IM clients, and the upgrades.
pub(super) fn why(denial: &Denial) -> String {
    let number = (denial.im_error_code > 0).then(|| denial.im_error_code.to_string());
    let name = Some(denial.im_error_name.clone()).filter(|name| !name.is_empty());
    let code = value::im_code(number, name);
    let stopped = denial.reason() == DenialReason::ServiceStopped;
    let remedy = |upgrade| {
        if stopped {
            format!("; renew {}", value::renewal(upgrade))
        } else {
            format!("; {} {}", purchase(upgrade), value::offer(upgrade))
        }
    };
    let remedies: String = denial.upgrades.iter().map(remedy).collect();
    format!("{}{code}{remedies}", denial.message)
}

/// Returns what to do for an upgrade, as the beginning of its sentence.
fn purchase(upgrade: &Upgrade) -> String {
    match (upgrade.replaces_edition_id.as_str(), upgrade.replaces_add_on_id.as_str()) {
        ("", "") => "buy".to_owned(),
        ("", running) => format!("exchange add-on {running} for"),
        (running, _) => format!("change edition {running} to"),
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Unspecified => "unknown",
        Outcome::Applied => "applied",
        Outcome::AlreadyHeld => "already held",
        Outcome::NotHeld => "not held",
        Outcome::Denied => "denied",
        Outcome::Aborted => "aborted",
    }
}

fn colour(outcome: Outcome) -> Colour {
    match outcome {
        Outcome::Applied => Colour::Green,
        Outcome::AlreadyHeld | Outcome::NotHeld | Outcome::Aborted => Colour::Yellow,
        Outcome::Denied | Outcome::Unspecified => Colour::Red,
    }
}

/// Implements `Report` for each of these responses by its rows.
macro_rules! reports {
    ($($answer:ident($this:ident) => $decided:expr;)*) => {$(
        impl Report for pb::$answer {
            const NAME: &'static str = stringify!($answer);

            fn text(&self, style: Style) -> String {
                let $this = self;
                $decided.text(style)
            }

            fn denied(&self) -> bool {
                let $this = self;
                $decided.denied()
            }
        }
    )*};
}

reports! {
    CreateAccountsResponse(it) => Decided::new(&it.results, it.decision.as_ref());
    DeleteAccountsResponse(it) => Decided::new(&it.results, it.decision.as_ref());
    AddFriendsResponse(it) => Decided::new(&it.results, it.decision.as_ref());
    RemoveFriendsResponse(it) => Decided::new(&it.results, it.decision.as_ref());
    JoinGroupResponse(it) => Decided::new(&it.results, it.decision.as_ref());
    UpdateGroupResponse(it) => Decided::new(&it.result, it.decision.as_ref());
    CreateGroupResponse(it) => created(it);
    LeaveGroupResponse(it) => Decided::new(&it.results, it.decision.as_ref())
        .note(it.group_reclaimed.then(|| "the last member left: the group is dissolved".into()));
    DissolveGroupResponse(it) => Decided::new(&it.result, it.decision.as_ref())
        .note(Some(format!("{} released", value::count(it.members_released, "member"))));
}

/// Returns the rows of a new group. The group's row comes first and is marked as such: a user may
/// have the same id.
fn created(answer: &pb::CreateGroupResponse) -> Decided<'_> {
    let results = answer.group.iter().chain(&answer.members);
    let mut decided = Decided::new(results, answer.decision.as_ref());
    if let (Some(_), Some(row)) = (&answer.group, decided.rows.first_mut()) {
        row.id += " (group)";
    }
    decided
}

#[cfg(test)]
#[path = "results_tests.rs"]
mod tests;
