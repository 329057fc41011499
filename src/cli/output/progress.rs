//! A bar on stderr that shows how far a long command has come; nothing where nobody watches.

use std::io::{self, IsTerminal as _};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How wide the bar is and what stands beside it.
const OF_BYTES: &str = "{msg} [{bar:25}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
const OF_FACTS: &str = "{msg} [{bar:25}] {human_pos} of {human_len} facts, {per_sec}, {eta} left";

/// A bar, which goes away with this value.
pub struct Progress(ProgressBar);

impl Progress {
    /// One that counts bytes.
    pub fn of_bytes(what: &'static str, total: u64) -> Self {
        Self::new(what, total, OF_BYTES)
    }

    /// One that counts facts.
    pub fn of_facts(what: &'static str, total: u64) -> Self {
        Self::new(what, total, OF_FACTS)
    }

    fn new(what: &'static str, total: u64, template: &str) -> Self {
        let watched = io::stderr().is_terminal();
        let target =
            if watched { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        let style = ProgressStyle::with_template(template).expect("the templates are constant");
        bar.set_style(style.progress_chars("#>-"));
        bar.set_message(what);
        Self(bar)
    }

    /// It has come so far.
    pub fn reach(&self, position: u64) {
        self.0.set_position(position);
    }

    /// So much more is done.
    pub fn advance(&self, by: u64) {
        self.0.inc(by);
    }

    /// So much was done before, and says nothing about the rate.
    pub fn skip(&self, by: u64) {
        self.0.inc(by);
        self.0.reset_eta();
    }

    /// What is being done now.
    pub fn say(&self, what: &'static str) {
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
    fn the_templates_are_good() {
        for bar in [Progress::of_bytes("checking", 10), Progress::of_facts("comparing", 10)] {
            bar.skip(2);
            bar.advance(3);
            assert_eq!(bar.0.position(), 5);
        }
    }
}
