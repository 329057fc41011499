//! The journal of a sidecar, and the results of changing it.

use super::Report;
use super::table::{Cell, Colour, Style, Table};
use super::value;
use crate::grpc::pb::{self, JournalEntryState as State};

impl Report for pb::ListJournalEntriesResponse {
    const NAME: &'static str = "ListJournalEntriesResponse";

    fn text(&self, style: Style) -> String {
        if self.entries.is_empty() {
            return "the journal of this sidecar has no such entries\n".to_owned();
        }
        let more = match self.next_page_token.as_str() {
            "" => String::new(),
            next => format!("more: --after {next}\n"),
        };
        table(&self.entries, style).render(style) + &more
    }
}

impl Report for pb::RetryJournalEntryResponse {
    const NAME: &'static str = "RetryJournalEntryResponse";

    fn text(&self, style: Style) -> String {
        let entry = self.entry.clone().unwrap_or_default();
        let number = entry.number;
        table(&[entry], style).render(style)
            + &format!("entry {number} is retried, and then the entries that wait behind it\n")
    }
}

impl Report for pb::DropJournalEntryResponse {
    const NAME: &'static str = "DropJournalEntryResponse";

    fn text(&self, style: Style) -> String {
        let entry = self.entry.clone().unwrap_or_default();
        let number = entry.number;
        table(&[entry], style).render(style)
            + &format!(
                "entry {number} was dropped, and the entries that waited behind it continue; now \
                 compare the app with the IM's database: imquota reconcile\n"
            )
    }
}

impl Report for pb::DeleteSetAsideOperationsResponse {
    const NAME: &'static str = "DeleteSetAsideOperationsResponse";

    fn text(&self, _style: Style) -> String {
        let deleted = value::count(self.deleted_operations, "operation");
        format!("deleted {deleted}; {} still set aside\n", self.set_aside_operations)
    }
}

fn table(entries: &[pb::JournalEntry], style: Style) -> Table {
    let mut table = Table::new(["NUMBER", "ACCEPTED", "APP", "OPERATION", "OF", "STATE"]);
    for entry in entries {
        table.row([
            Cell::number(entry.number.to_string()),
            Cell::new(style.instant(entry.accepted_at.as_ref())),
            Cell::new(&entry.app_id),
            Cell::new(&entry.operation),
            Cell::new(subjects(entry)),
            state(entry),
        ]);
    }
    table
}

fn subjects(entry: &pb::JournalEntry) -> String {
    let named: Vec<String> = entry.subjects.iter().map(|it| value::subject(Some(it))).collect();
    let count = usize::try_from(entry.subject_count).unwrap_or(usize::MAX);
    match count.saturating_sub(named.len()) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

fn state(entry: &pb::JournalEntry) -> Cell {
    match entry.state() {
        State::Unspecified => Cell::new("?"),
        State::Queued => Cell::new("queued"),
        State::InWork => Cell::new("in progress"),
        State::Blocked => {
            Cell::new(format!("blocked: {}", entry.store_message)).coloured(Colour::Red)
        }
        State::Stuck => {
            Cell::new(format!("behind entry {}", entry.blocked_by)).coloured(Colour::Yellow)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::PLAIN;
    use super::*;
    use crate::grpc::pb::subject::Kind;

    #[test]
    fn an_entry_is_a_line_with_its_subjects_and_the_reason_why_it_is_blocked() {
        let subject = |kind| pb::Subject { kind: Some(kind) };
        let blocked = pb::JournalEntry {
            number: 7,
            app_id: "demo".into(),
            operation: "join_group".into(),
            subjects: vec![
                subject(Kind::UserId("a\u{1b}".into())),
                subject(Kind::GroupId("g".into())),
            ],
            subject_count: 5,
            accepted_at: Some(prost_types::Timestamp { seconds: 1_552_320_000, nanos: 0 }),
            state: State::Blocked.into(),
            store_message: "WRONGTYPE".into(),
            ..pb::JournalEntry::default()
        };
        let stuck = pb::JournalEntry {
            number: 8,
            state: State::Stuck.into(),
            blocked_by: 7,
            ..pb::JournalEntry::default()
        };
        let answer = pb::ListJournalEntriesResponse {
            entries: vec![blocked, stuck],
            next_page_token: "8".into(),
        };
        let text = answer.text(PLAIN);
        for part in [
            "user a\u{fffd}, group g and 3 more",
            "blocked: WRONGTYPE",
            "behind entry 7",
            "2019-03-12T00:00:00+08:00",
            "more: --after 8",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        let none = pb::ListJournalEntriesResponse::default();
        assert!(none.text(PLAIN).ends_with("has no such entries\n"));
    }
}
