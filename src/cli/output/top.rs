//! The apps, users and groups with the most denials.

use super::Report;
use super::table::{Cell, Colour, Style, Table, paint};
use super::value;
use crate::grpc::pb::{ListTopDenialsResponse, TopDenial};

impl Report for ListTopDenialsResponse {
    const NAME: &'static str = "ListTopDenialsResponse";

    fn text(&self, style: Style) -> String {
        let since = format!("since {}\n", style.instant(self.since.as_ref()));
        let since = paint(style, Some(Colour::Dim), &since);
        if self.apps.is_empty() {
            return since + "no denials\n";
        }
        let mut apps = Table::new(["APP", "DENIALS"]);
        for denied in &self.apps {
            apps.row([Cell::new(&denied.app_id), Cell::number(count(denied))]);
        }
        let mut subjects = Table::new(["APP", "WHO", "LIMIT", "DENIALS"]);
        for denied in &self.subjects {
            subjects.row([
                Cell::new(&denied.app_id),
                Cell::new(value::subject(denied.subject.as_ref())),
                Cell::new(&denied.limit_id),
                Cell::number(count(denied)),
            ]);
        }
        [since + &apps.render(style), subjects.render(style)].join("\n")
    }
}

/// Formats a count: `17`, or `9-17` if it is an estimate.
fn count(denied: &TopDenial) -> String {
    match denied.error {
        0 => denied.denials.to_string(),
        error => format!("{}-{}", denied.denials.saturating_sub(error), denied.denials),
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::PLAIN;
    use super::*;

    #[test]
    fn a_count_that_is_not_exact_is_a_range() {
        let app = |denials, error| TopDenial {
            app_id: "demo".into(),
            denials,
            error,
            ..TopDenial::default()
        };
        let answer = ListTopDenialsResponse {
            since: None,
            apps: vec![app(17, 8), app(3, 0)],
            subjects: Vec::new(),
        };
        assert_eq!(
            answer.text(PLAIN),
            "since -\nAPP   DENIALS\ndemo     9-17\ndemo        3\n\nAPP  WHO  LIMIT  DENIALS\n"
        );
        assert!(ListTopDenialsResponse::default().text(PLAIN).ends_with("no denials\n"));
    }
}
