//! An accepted clock, as a table.

use super::Report;
use super::table::{Cell, Style, Table};
use crate::grpc::pb::AcceptClockResponse;

impl Report for AcceptClockResponse {
    const NAME: &'static str = "AcceptClockResponse";

    fn text(&self, style: Style) -> String {
        let mut table = Table::new(["CLOCK", "OF THE STORE"]);
        table.row([Cell::new("before"), Cell::new(style.instant(self.before.as_ref()))]);
        table.row([Cell::new("after"), Cell::new(style.instant(self.after.as_ref()))]);
        table.render(style)
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::super::table::PLAIN;
    use super::*;

    #[test]
    fn both_times_are_shown() {
        let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let answer = AcceptClockResponse { before: at(1_552_320_000), after: at(1_548_864_000) };
        let text = answer.text(PLAIN);
        assert!(text.contains("before  2019-03-12T00:00:00+08:00"), "{text}");
        assert!(text.contains("after   2019-01-31T00:00:00+08:00"), "{text}");
    }
}
