//! One event as a line: time, kind, app, a sentence, and the token to resume after.

use super::table::{Cell, Colour, Style, paint};
use super::value;
use crate::grpc::pb::{self, EventKind};

/// Prefix of the names of kinds in the protos.
const KIND_PREFIX: &str = "EVENT_KIND_";
/// Width of the column of kinds in characters: that of the longest kind.
const KIND_WIDTH: usize = 16;

/// Returns the name of a kind on the command line, such as `limit-passed`.
pub fn kind_name(kind: EventKind) -> String {
    let name = kind.as_str_name().trim_start_matches(KIND_PREFIX);
    name.to_ascii_lowercase().replace('_', "-")
}

/// Returns the line of a response, ending with a line break; empty if there is nothing to show.
pub fn line(answer: &pb::WatchEventsResponse, style: Style) -> String {
    let mut text = String::new();
    let is_reported = answer.event.as_ref().is_some_and(|it| it.kind() == EventKind::EventsDropped);
    if answer.missed > 0 && !is_reported {
        let missed = format!("missed {}", value::count(answer.missed, "event"));
        text = paint(style, Some(Colour::Yellow), &missed) + "\n";
    }
    let Some(event) = &answer.event else { return text };
    let at = style.instant(event.occurred_at.as_ref());
    let kind = format!("{:KIND_WIDTH$}", kind_name(event.kind()));
    let kind = paint(style, colour(event), &kind);
    // An event of the whole store has no app.
    let app = if event.app_id.is_empty() { "-" } else { &event.app_id };
    let (app, sentence) = (Cell::new(app), Cell::new(&event.message));
    let token = Cell::new(&answer.resume_token);
    let token = paint(style, Some(Colour::Dim), &format!("[{}]", token.text()));
    text + &format!("{at}  {kind}  {}  {}  {token}\n", app.text(), sentence.text())
}

fn colour(event: &pb::Event) -> Option<Colour> {
    match event.kind() {
        EventKind::Denied
        | EventKind::ServiceStopped
        | EventKind::EditionEnded
        | EventKind::JournalBlocked
        | EventKind::StoreRefuses
        | EventKind::FactsLost => Some(Colour::Red),
        EventKind::LimitPassed if event.percent >= 100 => Some(Colour::Red),
        EventKind::LimitPassed
        | EventKind::Ending
        | EventKind::GraceBegan
        | EventKind::EventsDropped
        | EventKind::DriftFound => Some(Colour::Yellow),
        EventKind::JournalReplayed if event.over > 0 || event.failed > 0 => Some(Colour::Yellow),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::PLAIN;
    use super::*;

    #[test]
    fn an_event_is_a_line_without_terminal_controls() {
        let event = pb::Event {
            event_id: "7".into(),
            kind: EventKind::LimitPassed.into(),
            app_id: "demo".into(),
            occurred_at: Some(prost_types::Timestamp { seconds: 1_552_320_000, nanos: 0 }),
            message: "user \"a\u{1b}\" has 45 of at most 50".into(),
            ..pb::Event::default()
        };
        let token = || "7".to_owned();
        let answer =
            pb::WatchEventsResponse { event: Some(event), resume_token: token(), missed: 2 };
        assert_eq!(
            line(&answer, PLAIN),
            "missed 2 events\n2019-03-12T00:00:00+08:00  limit-passed      demo  \
             user \"a\u{fffd}\" has 45 of at most 50  [7]\n"
        );
        let event = pb::Event {
            kind: EventKind::FactsLost.into(),
            occurred_at: Some(prost_types::Timestamp { seconds: 1_552_320_000, nanos: 0 }),
            message: "the store lost events 5-9".into(),
            ..pb::Event::default()
        };
        let answer =
            pb::WatchEventsResponse { event: Some(event), resume_token: token(), missed: 0 };
        let wanted =
            "2019-03-12T00:00:00+08:00  facts-lost        -  the store lost events 5-9  [7]\n";
        assert_eq!(line(&answer, PLAIN), wanted);
        let event = pb::Event {
            kind: EventKind::EventsDropped.into(),
            occurred_at: Some(prost_types::Timestamp { seconds: 1_552_320_000, nanos: 0 }),
            message: "events 5-9 were dropped from the bounded log (denied)".into(),
            ..pb::Event::default()
        };
        let answer =
            pb::WatchEventsResponse { event: Some(event), resume_token: token(), missed: 5 };
        let wanted = "2019-03-12T00:00:00+08:00  events-dropped    -  events 5-9 were dropped from \
                      the bounded log (denied)  [7]\n";
        assert_eq!(line(&answer, PLAIN), wanted);
        let first = pb::WatchEventsResponse { event: None, resume_token: token(), missed: 0 };
        assert_eq!(line(&first, PLAIN), "");
    }
}
