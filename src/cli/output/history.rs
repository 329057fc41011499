//! Metered values: today's, this month's peak, and on a terminal the last 31 days as a line of
//! bars.

use super::table::{Cell, Style, Table};
use crate::grpc::pb::UsageHistory;

/// Characters of bars, from the lowest to the highest.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Formats a row for each measure; empty if nothing is metered.
pub fn text(history: &[UsageHistory], style: Style) -> String {
    if history.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["METERED", "TODAY", "MONTH'S PEAK", "", "LAST 31 DAYS"]);
    for of in history {
        let unit = if of.measure.starts_with("bandwidth/") { "kbit/s" } else { "" };
        let line = if style.bars { sparkline(&of.days) } else { String::new() };
        table.row([
            Cell::new(&of.measure),
            Cell::number(of.today.to_string()),
            Cell::number(of.month_peak.to_string()),
            Cell::new(unit),
            Cell::new(line),
        ]);
    }
    format!("\n{}", table.render(style))
}

/// Formats a bar for each day, in proportion to the highest day. A day with 0 has a dot, to
/// distinguish it from a low one.
fn sparkline(days: &[u64]) -> String {
    let highest = u128::from(days.iter().copied().max().unwrap_or(0).max(1));
    let steps = BARS.len() as u128;
    let bar = |day: &u64| {
        let step = (u128::from(*day) * steps).div_ceil(highest);
        let step = usize::try_from(step).ok().and_then(|step| step.checked_sub(1));
        step.and_then(|step| BARS.get(step)).copied().unwrap_or('·')
    };
    days.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::super::table::PLAIN;
    use super::*;

    fn dau(days: &[u64]) -> UsageHistory {
        UsageHistory {
            measure: "dau".into(),
            today: 80,
            month_peak: 100,
            days: days.to_vec(),
            first_day: "2019-08-01".into(),
        }
    }

    #[test]
    fn bars_are_in_proportion_to_the_highest_day() {
        assert_eq!(sparkline(&[0, 1, 12, 13, 50, 88, 100]), "·▁▁▂▄██");
        assert_eq!(sparkline(&[0, 0]), "··");
        assert_eq!(sparkline(&[u64::MAX, u64::MAX / 2]), "█▄");
    }

    #[test]
    fn a_terminal_gets_a_line_of_bars() {
        let bars = Style { bars: true, colours: false, ..PLAIN };
        assert_eq!(
            text(&[dau(&[0, 100, 80])], bars),
            "\n\
METERED  TODAY  MONTH'S PEAK  LAST 31 DAYS
dau         80           100  ·█▇
"
        );
        assert_eq!(
            text(&[dau(&[0, 100, 80])], PLAIN),
            "\n\
METERED  TODAY  MONTH'S PEAK
dau         80           100
"
        );
        assert_eq!(text(&[], bars), "");
    }
}
