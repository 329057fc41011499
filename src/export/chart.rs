//! A chart of one figure by day, as inline SVG: a bar a day, light if the day is not charged.

use std::fmt::Write as _;

use super::grouped;

/// A figure by day.
pub struct Chart<'a> {
    /// Title of the chart.
    pub title: &'a str,
    /// Unit of the figure.
    pub unit: &'a str,
    /// Colour of the bars.
    pub colour: &'a str,
    /// The days as `2019-08-01`, each with its figure and true if it is charged.
    pub days: Vec<(String, u64, bool)>,
    /// Days of the month, so that a running month leaves room.
    pub days_of_month: usize,
}

const WIDTH: usize = 720;
const HEIGHT: usize = 190;
const LEFT: usize = 78;
const RIGHT: usize = 8;
const TOP: usize = 30;
const BOTTOM: usize = 24;
/// Grid lines, except for the one at the bottom.
const STEPS: u64 = 4;

impl Chart<'_> {
    /// Returns the image.
    pub fn svg(&self) -> String {
        let highest = self.days.iter().map(|(_, figure, _)| *figure).max().unwrap_or(0);
        let top = STEPS * nice_step(highest.div_ceil(STEPS));
        let mut svg = format!(
            "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-label=\"{title} by day\">\n<text class=\"title\" x=\"0\" y=\"14\">{title}</text>\
             <text class=\"unit\" x=\"{WIDTH}\" y=\"14\">{unit}</text>\n",
            title = self.title,
            unit = self.unit,
        );
        for step in 0..=STEPS {
            let value = top / STEPS * step;
            let y = height_of(value, top);
            // Writing to a string cannot fail.
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\"/>\
                 <text class=\"tick\" x=\"{}\" y=\"{}\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6,
                y + 4,
                grouped(value),
            );
        }
        let slot = (WIDTH - LEFT - RIGHT) / self.days_of_month.max(1);
        for (index, (day, figure, charged)) in self.days.iter().enumerate() {
            let (x, y) = (LEFT + index * slot + 2, height_of(*figure, top));
            let (width, height) = (slot.saturating_sub(4), HEIGHT - BOTTOM - y);
            let opacity = if *charged { "1" } else { "0.35" };
            let _ = writeln!(
                svg,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{}\" \
                 opacity=\"{opacity}\"><title>{day}: {}</title></rect>",
                self.colour,
                grouped(*figure),
            );
        }
        for number in (1..=self.days_of_month).filter(|it| *it == 1 || it.is_multiple_of(5)) {
            let x = LEFT + (number - 1) * slot + slot / 2;
            let _ = write!(
                svg,
                "<text class=\"day\" x=\"{x}\" y=\"{}\">{number}</text>",
                HEIGHT - BOTTOM + 15
            );
        }
        svg + "\n</svg>\n"
    }
}

/// Returns the position of a figure, from the top of the image.
fn height_of(figure: u64, top: u64) -> usize {
    let room = HEIGHT - TOP - BOTTOM;
    let share = u128::from(figure) * room as u128 / u128::from(top.max(1));
    HEIGHT - BOTTOM - usize::try_from(share).unwrap_or(room).min(room)
}

/// Returns the least of 1, 2, 2.5 and 5 times a power of ten that is whole and at least `least`.
fn nice_step(least: u64) -> u64 {
    let mut power: u64 = 1;
    loop {
        let quarter = if power == 1 { 2 } else { power / 2 * 5 };
        let steps = [power, power * 2, quarter, power * 5];
        if let Some(step) = steps.into_iter().find(|step| *step >= least) {
            return step;
        }
        match power.checked_mul(10).filter(|next| next.checked_mul(5).is_some()) {
            Some(next) => power = next,
            None => return least,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grid_lines_are_at_round_numbers() {
        for (least, step) in [
            (0, 1),
            (1, 1),
            (2, 2),
            (3, 5),
            (6, 10),
            (21, 25),
            (30, 50),
            (37_500, 50_000),
            (100_001, 200_000),
        ] {
            assert_eq!(nice_step(least), step, "{least}");
        }
        assert!(nice_step(u64::MAX / 4) >= u64::MAX / 4);
    }

    #[test]
    fn bars_end_within_the_image() {
        assert_eq!(height_of(0, 100), HEIGHT - BOTTOM);
        assert_eq!(height_of(100, 100), TOP);
        assert_eq!(height_of(7, 0), TOP);
    }
}
