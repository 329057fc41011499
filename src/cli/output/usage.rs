//! Counts and limits: a row for each limit, on a terminal with a bar; then the metered values.

use super::Report;
use super::table::{Cell, Colour, Style, Table, paint};
use super::value;
use crate::grpc::pb::{FutureLimit, GetUsageResponse, Usage};

/// Width of a full bar in characters.
const BAR_WIDTH: u64 = 20;

impl Report for GetUsageResponse {
    const NAME: &'static str = "GetUsageResponse";

    fn text(&self, style: Style) -> String {
        // A part of `USED`; a column only if there is any.
        let are_held = self.usages.iter().any(|usage| usage.held > 0);
        let held = if are_held { "HELD" } else { "" };
        let mut table = Table::new(["WHAT", "USED", held, "LIMIT", "", "SOURCE", "CHANGES"]);
        for usage in &self.usages {
            let bar = if style.bars { bar(usage) } else { Cell::default() };
            table.row([
                Cell::new(&usage.limit_id),
                Cell::number(usage.used.to_string()),
                if are_held { Cell::number(usage.held.to_string()) } else { Cell::default() },
                Cell::number(value::limit(usage.limit)),
                bar,
                Cell::new(value::source(usage.source(), &usage.source_id)),
                Cell::new(changes(usage, style)),
            ]);
        }
        let mut text = table.render(style);
        if self.service_stopped {
            let line = "the app's service has stopped: every operation that takes is denied";
            text += &paint(style, Some(Colour::Red), line);
            text.push('\n');
        }
        text += &super::history::text(&self.history, style);
        text + &super::degraded(self.decision.as_ref(), style)
    }
}

/// Draws a bar, such as `[#####---------------]`, with other colours from 70 % and from 90 %.
fn bar(usage: &Usage) -> Cell {
    let Some(limit) = usage.limit else { return Cell::default() };
    let used = u64::try_from(usage.used).unwrap_or(0);
    let of = |whole: u64| {
        let part = u128::from(used) * u128::from(whole) / u128::from(limit.max(1));
        if limit == 0 { whole } else { u64::try_from(part).unwrap_or(whole).min(whole) }
    };
    let filled = usize::try_from(of(BAR_WIDTH)).unwrap_or(0);
    let empty = usize::try_from(BAR_WIDTH).unwrap_or(0).saturating_sub(filled);
    let colour = match of(100) {
        90.. => Colour::Red,
        70.. => Colour::Yellow,
        _ => Colour::Green,
    };
    Cell::new(format!("[{}{}]", "#".repeat(filled), "-".repeat(empty))).coloured(colour)
}

/// Formats the next change of a limit, such as `2019-03-12T00:00:00+08:00: 50`; `-` without one.
fn changes(usage: &Usage, style: Style) -> String {
    let at = style.instant(usage.changes_at.as_ref());
    match &usage.future_limit {
        None => at,
        Some(FutureLimit { service_stopped: true, .. }) => format!("{at}: service stops"),
        Some(FutureLimit { limit, .. }) => format!("{at}: {}", value::limit(*limit)),
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::super::table::PLAIN;
    use super::*;
    use crate::grpc::pb::LimitSource;

    fn usage(limit_id: &str, used: i64, limit: Option<u64>) -> Usage {
        let source = LimitSource::Edition.into();
        let source_id = "trial".into();
        Usage { limit_id: limit_id.into(), used, limit, source, source_id, ..Usage::default() }
    }

    fn answer() -> GetUsageResponse {
        let changing = Usage {
            changes_at: Some(Timestamp { seconds: 1_552_320_000, nanos: 0 }),
            future_limit: Some(FutureLimit { limit: Some(50), service_stopped: false }),
            ..usage("groups_per_user", 45, Some(60))
        };
        let stopping = Usage {
            changes_at: Some(Timestamp { seconds: 1_552_320_000, nanos: 0 }),
            future_limit: Some(FutureLimit { limit: None, service_stopped: true }),
            ..usage("groups_per_day", -2, None)
        };
        let usages = vec![changing, usage("friends_per_user", 7, Some(20)), stopping];
        GetUsageResponse { usages, service_stopped: false, decision: None, history: Vec::new() }
    }

    #[test]
    fn every_limit_has_a_row() {
        assert_eq!(
            answer().text(PLAIN),
            "\
WHAT              USED      LIMIT  SOURCE         CHANGES
groups_per_user     45         60  edition trial  2019-03-12T00:00:00+08:00: 50
friends_per_user     7         20  edition trial  -
groups_per_day      -2  unlimited  edition trial  2019-03-12T00:00:00+08:00: service stops
"
        );
    }

    #[test]
    fn what_is_held_has_a_column_if_there_is_any() {
        let mut answer = answer();
        answer.usages.truncate(2);
        answer.usages[1].held = 3;
        assert_eq!(
            answer.text(PLAIN),
            "\
WHAT              USED  HELD  LIMIT  SOURCE         CHANGES
groups_per_user     45     0     60  edition trial  2019-03-12T00:00:00+08:00: 50
friends_per_user     7     3     20  edition trial  -
"
        );
    }

    #[test]
    fn a_terminal_gets_bars() {
        assert_eq!(
            answer().text(Style { bars: true, colours: false, ..PLAIN }),
            "\
WHAT              USED      LIMIT                          SOURCE         CHANGES
groups_per_user     45         60  [###############-----]  edition trial  \
2019-03-12T00:00:00+08:00: 50
friends_per_user     7         20  [#######-------------]  edition trial  -
groups_per_day      -2  unlimited                          edition trial  \
2019-03-12T00:00:00+08:00: service stops
"
        );
    }

    #[test]
    fn bars_warn_from_70_and_from_90_percent_on() {
        let table = [
            (0, 100, "[--------------------]", Colour::Green),
            (69, 100, "[#############-------]", Colour::Green),
            (70, 100, "[##############------]", Colour::Yellow),
            (90, 100, "[##################--]", Colour::Red),
            (120, 100, "[####################]", Colour::Red),
            (0, 0, "[####################]", Colour::Red),
            (-3, 5, "[--------------------]", Colour::Green),
        ];
        for (used, limit, wanted, colour) in table {
            let drawn = bar(&usage("x", used, Some(limit)));
            assert_eq!(drawn, Cell::new(wanted).coloured(colour), "{used} of {limit}");
        }
    }
}
