//! Metrics of callbacks. Of the commands that are not used, the first ones have a series each; the
//! others share one, since a caller could make up any number of them.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Buckets of times in seconds: from half a millisecond to the 5 s of the slowest caller.
const SECONDS: [f64; 12] =
    [0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.25, 1.0, 2.0, 5.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    protocol: &'static str,
    command: Cow<'static, str>,
    answer: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    protocol: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProtocolLabel {
    protocol: &'static str,
}

/// Counters and histograms of callbacks.
#[derive(Debug, Clone)]
pub struct CallbackMetrics {
    answers: Family<AnswerLabels, Counter>,
    undecided: Family<ReasonLabels, Counter>,
    rejected: Family<ReasonLabels, Counter>,
    seconds: Family<ProtocolLabel, Histogram>,
    over_budget: Family<ProtocolLabel, Counter>,
    dropped: Family<ProtocolLabel, Counter>,
    forced: Family<ProtocolLabel, Counter>,
    in_parts: Family<ProtocolLabel, Counter>,
    notes_failed: Family<ProtocolLabel, Counter>,
    /// Commands that are not used and have a series.
    unused: Arc<Mutex<BTreeSet<String>>>,
}

impl Default for CallbackMetrics {
    fn default() -> Self {
        Self {
            answers: Family::default(),
            undecided: Family::default(),
            rejected: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            over_budget: Family::default(),
            dropped: Family::default(),
            forced: Family::default(),
            in_parts: Family::default(),
            notes_failed: Family::default(),
            unused: Arc::default(),
        }
    }
}

impl CallbackMetrics {
    /// The label of further commands that are not used.
    const OTHER: &'static str = "other";
    /// Most commands that are not used and have a series: more than either protocol has.
    const UNUSED_MAX: usize = 128;
    /// Longest name of a command with a series, in bytes.
    const COMMAND_MAX_BYTES: usize = 64;
    /// Reasons for which a request is rejected.
    const REJECTED: [&'static str; 4] = ["sign", "time", "app", "certificate"];
    /// The protocol of a request whose path is unknown.
    const NO_PROTOCOL: &'static str = "none";

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("callbacks", "Callbacks by command and answer", self.answers.clone());
        registry.register(
            "callbacks_undecided",
            "Callbacks without a decision, by reason",
            self.undecided.clone(),
        );
        registry.register(
            "callbacks_rejected",
            "Requests to the callback listener that were not handled, by reason",
            self.rejected.clone(),
        );
        registry.register(
            "callback_seconds",
            "Time from the head of a callback to its answer",
            self.seconds.clone(),
        );
        registry.register(
            "callbacks_over_budget",
            "Callbacks that were answered after their budget",
            self.over_budget.clone(),
        );
        registry.register(
            "callback_events_dropped",
            "Members, or groups, of after-callbacks that a later callback had overtaken",
            self.dropped.clone(),
        );
        registry.register(
            "callback_forced_facts",
            "Facts that were written regardless of limits: no earlier callback had taken them",
            self.forced.clone(),
        );
        registry.register(
            "callback_batches_in_parts",
            "Whole batches that were taken in parts, whose holds may have denied others",
            self.in_parts.clone(),
        );
        registry.register(
            "callback_notes_failed",
            "Reads and writes of notes between callbacks that failed",
            self.notes_failed.clone(),
        );
    }

    /// Creates the series of a protocol with these commands, at 0.
    pub fn follow(
        &self,
        protocol: &'static str,
        commands: &[&'static str],
        answers: &[&'static str],
        undecided: &[&'static str],
    ) {
        for command in commands.iter().chain([&Self::OTHER]).copied() {
            for answer in answers.iter().copied() {
                let labels = AnswerLabels { protocol, command: command.into(), answer };
                self.answers.get_or_create(&labels).inc_by(0);
            }
        }
        for reason in undecided.iter().copied() {
            self.undecided.get_or_create(&ReasonLabels { protocol, reason }).inc_by(0);
        }
        for reason in Self::REJECTED {
            self.rejected.get_or_create(&ReasonLabels { protocol, reason }).inc_by(0);
        }
        let (protocol_of_path, reason) = (Self::NO_PROTOCOL, "path");
        let of_path = ReasonLabels { protocol: protocol_of_path, reason };
        self.rejected.get_or_create(&of_path).inc_by(0);
        let label = ProtocolLabel { protocol };
        let _ = self.seconds.get_or_create(&label);
        for counters in
            [&self.over_budget, &self.dropped, &self.forced, &self.in_parts, &self.notes_failed]
        {
            counters.get_or_create(&label).inc_by(0);
        }
    }

    /// Returns the label of a command that is not used.
    fn unused(&self, command: &str) -> Cow<'static, str> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_name = (1..=Self::COMMAND_MAX_BYTES).contains(&command.len());
        if !is_name || !command.bytes().all(is_plain) {
            return Self::OTHER.into();
        }
        let mut unused = self.unused.lock();
        if !unused.contains(command) {
            if unused.len() >= Self::UNUSED_MAX {
                return Self::OTHER.into();
            }
            unused.insert(command.to_owned());
        }
        command.to_owned().into()
    }

    /// Counts an answer to a command: one that is used, or any other.
    pub fn answered(
        &self,
        protocol: &'static str,
        command: Result<&'static str, &str>,
        answer: &'static str,
        took: Duration,
        budget: Duration,
    ) {
        let command = command.map_or_else(|unused| self.unused(unused), Cow::from);
        self.answers.get_or_create(&AnswerLabels { protocol, command, answer }).inc();
        let label = ProtocolLabel { protocol };
        self.seconds.get_or_create(&label).observe(took.as_secs_f64());
        if took >= budget {
            self.over_budget.get_or_create(&label).inc();
        }
    }

    /// Counts a callback without a decision.
    pub fn undecided(&self, protocol: &'static str, reason: &'static str) {
        self.undecided.get_or_create(&ReasonLabels { protocol, reason }).inc();
    }

    /// Counts a request that was not handled; without a protocol if its path is unknown.
    pub fn rejected(&self, protocol: Option<&'static str>, reason: &'static str) {
        let protocol = protocol.unwrap_or(Self::NO_PROTOCOL);
        self.rejected.get_or_create(&ReasonLabels { protocol, reason }).inc();
    }

    /// Counts members, or groups, of an after-callback that were overtaken.
    pub fn dropped(&self, protocol: &'static str, count: usize) {
        add(&self.dropped, protocol, count);
    }

    /// Counts facts that were written regardless of limits.
    pub fn forced(&self, protocol: &'static str, facts: usize) {
        add(&self.forced, protocol, facts);
    }

    /// Counts a batch that was taken in parts.
    pub fn in_parts(&self, protocol: &'static str) {
        add(&self.in_parts, protocol, 1);
    }

    /// Counts a read or a write of notes, if it failed.
    pub fn noted(&self, protocol: &'static str, is_good: bool) {
        add(&self.notes_failed, protocol, usize::from(!is_good));
    }
}

fn add(counters: &Family<ProtocolLabel, Counter>, protocol: &'static str, count: usize) {
    let count = count.try_into().unwrap_or(u64::MAX);
    counters.get_or_create(&ProtocolLabel { protocol }).inc_by(count);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_commands_that_are_not_used_are_bounded() {
        let metrics = CallbackMetrics::default();
        assert_eq!(metrics.unused("Group.CallbackBeforeSendMsg"), "Group.CallbackBeforeSendMsg");
        for bad in ["", "a b", "a\"b", "ä", &"x".repeat(65)] {
            assert_eq!(metrics.unused(bad), "other", "{bad}");
        }
        for number in 1..CallbackMetrics::UNUSED_MAX {
            assert_ne!(metrics.unused(&format!("c{number}")), "other");
        }
        assert_eq!(metrics.unused("one-more"), "other");
        assert_eq!(metrics.unused("c1"), "c1");
    }
}
