//! Progress bar of a long command on stderr; hidden if stderr is not a terminal.

use std::io::{self, IsTerminal as _};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Templates of the bar.
const OF_BYTES: &str = "{msg} [{bar:25}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
const OF_FACTS: &str = "{msg} [{bar:25}] {human_pos} of {human_len} facts, {per_sec}, {eta} left";

/// A progress bar, removed when it is dropped.
pub struct Progress(ProgressBar);

impl Progress {
    /// Creates a bar that counts bytes.
    pub fn of_bytes(what: &'static str, total: u64) -> Self {
        Self::new(what, total, OF_BYTES)
    }

    /// Creates a bar that counts facts.
    pub fn of_facts(what: &'static str, total: u64) -> Self {
        Self::new(what, total, OF_FACTS)
    }

    fn new(what: &'static str, total: u64, template: &str) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let target =
            if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        let style = ProgressStyle::with_template(template).expect("the templates are constant");
        bar.set_style(style.progress_chars("#>-"));
        bar.set_message(what);
        Self(bar)
    }

    /// Sets the position.
    pub fn set_position(&self, position: u64) {
        self.0.set_position(position);
    }

    /// Advances the position.
    pub fn advance(&self, by: u64) {
        self.0.inc(by);
    }

    /// Advances the position by work done in an earlier run, without counting it for the rate.
    pub fn skip(&self, by: u64) {
        self.0.inc(by);
        self.0.reset_eta();
    }

    /// Sets the text before the bar.
    pub fn set_message(&self, what: &'static str) {
        self.0.set_message(what);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_valid() {
        for bar in [Progress::of_bytes("checking", 10), Progress::of_facts("comparing", 10)] {
            bar.skip(2);
            bar.advance(3);
            assert_eq!(bar.0.position(), 5);
        }
    }
}
