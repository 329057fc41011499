//! Absence and the result of a call during it: the pure state machines, exhaustively.
//!
//! The modules under test are pure, and are compiled here a second time: `silence` (is a server
//! absent?), `reply` (does this reply prove presence?) and `step` (what happens to an operation?).
//! The expected results are written from the rules for absence, condition by condition, and share
//! no code with them:
//!
//! - A server is absent if it refuses connections, is unreachable, is silent for longer than its
//!   own probe allows, or only replies LOADING, CLUSTERDOWN or MASTERDOWN. Other replies are not
//!   absence.
//! - While it is absent, a release is journaled, a fail-open take admitted, a fail-closed take
//!   UNAVAILABLE.
//! - While it replies, the store decides, and its refusals are final; behind entries of the journal
//!   a release is journaled and a take waits; behind a blocked entry a take is JOURNAL_BLOCKED.
//!
//! A binary of its own, since the modules under test name others by their path from the crate root.

#![allow(dead_code, reason = "the modules under test are used in part")]

#[path = "../src/redis/client/reply.rs"]
mod reply;
#[path = "../src/redis/client/silence.rs"]
mod silence;
#[path = "../src/engine/fallback/step.rs"]
mod step;

use std::time::Duration;

use silence::Silence;
use step::{After, Step};

/// The parts of the crate that `reply` needs.
mod redis {
    pub use imquota::redis::options;
}

/// The failure action that `step` needs: like in the engine, without the catalog.
mod failure_action {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum FailureAction {
        Release,
        Take,
        Closed,
    }
}

/// The waiting entries of the journal that `step` needs.
mod queue {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Ahead {
        Nothing,
        Waits(u64),
        Blocked(u64),
    }
}

use failure_action::FailureAction;
use queue::Ahead;

const ALLOWED_MS: u64 = 500;
/// Simulated time between two observations.
const TICK_MS: u64 = 10;
/// The longest silence that one observation may add.
const STEP_MAX_MS: u64 = 100;

/// The result of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probed {
    /// No reply, or no connection.
    Nothing,
    /// A reply: `None`, or an error of that code.
    Reply(Option<&'static str>),
}

/// The result of a call that reaches a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Called {
    /// The server decides.
    Decides,
    /// An error reply, no confirmation by a replica, or a full queue.
    Refuses,
    /// No reply.
    NoReply,
}

/// A condition, its observable results, and whether it is absence: from the rules.
struct Condition {
    name: &'static str,
    probed: Probed,
    called: Called,
    is_absence: bool,
}

const fn condition(
    name: &'static str,
    probed: Probed,
    called: Called,
    is_absence: bool,
) -> Condition {
    Condition { name, probed, called, is_absence }
}

const CONDITIONS: [Condition; 20] = {
    use Called::{Decides, NoReply, Refuses};
    use Probed::{Nothing, Reply};
    [
        condition("healthy", Reply(None), Decides, false),
        condition("refused", Nothing, NoReply, true),
        condition("unreachable", Nothing, NoReply, true),
        condition("black hole", Nothing, NoReply, true),
        condition("kept silent by others", Nothing, NoReply, true),
        condition("LOADING", Reply(Some("LOADING")), NoReply, true),
        condition("CLUSTERDOWN", Reply(Some("CLUSTERDOWN")), NoReply, true),
        condition("MASTERDOWN", Reply(Some("MASTERDOWN")), NoReply, true),
        condition("OOM", Reply(Some("OOM")), Refuses, false),
        condition("MISCONF", Reply(Some("MISCONF")), Refuses, false),
        condition("NOPERM", Reply(Some("NOPERM")), Refuses, false),
        condition("READONLY", Reply(Some("READONLY")), Refuses, false),
        condition("WRONGTYPE", Reply(None), Refuses, false),
        condition("script error", Reply(None), Refuses, false),
        condition("BUSY", Reply(Some("BUSY")), Refuses, false),
        condition("missing replica", Reply(None), Refuses, false),
        condition("MOVED", Reply(Some("MOVED")), Decides, false),
        condition("ASK", Reply(Some("ASK")), Decides, false),
        condition("TRYAGAIN", Reply(Some("TRYAGAIN")), Decides, false),
        condition("load of this sidecar", Reply(None), Refuses, false),
    ]
};

/// A server when the condition begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Present,
    /// Silent for that long, and not absent yet.
    SilentFor(u64),
    Absent,
}

const ENTRIES: [Entry; 5] = [
    Entry::Present,
    Entry::SilentFor(TICK_MS),
    Entry::SilentFor(250),
    Entry::SilentFor(ALLOWED_MS - TICK_MS),
    Entry::Absent,
];
const PLANS: [FailureAction; 3] =
    [FailureAction::Release, FailureAction::Take, FailureAction::Closed];
const AHEAD: [Ahead; 3] = [Ahead::Nothing, Ahead::Waits(7), Ahead::Blocked(7)];

/// The result for a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// The store's decision.
    Decided,
    /// APPLIED, journaled as released.
    Journaled,
    /// By the failure policy, within its budget.
    Admitted,
    /// It waits for entries of the same users and groups, and is then decided.
    Waits,
    /// Nothing is decided: UNAVAILABLE or RESOURCE_EXHAUSTED.
    Refused,
    /// UNAVAILABLE, reason JOURNAL_BLOCKED.
    JournalBlocked,
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The state machine at the beginning of a condition.
fn entered(entry: Entry) -> Silence {
    let mut silence = Silence::new(ms(ALLOWED_MS), ms(STEP_MAX_MS));
    let silent_ms = match entry {
        Entry::Present => 0,
        Entry::SilentFor(silent_ms) => silent_ms,
        Entry::Absent => ALLOWED_MS,
    };
    for _ in 0..silent_ms / TICK_MS {
        silence.waited(ms(TICK_MS));
    }
    silence
}

/// One tick of the simulated clock, with the probe's observation.
fn tick(silence: &mut Silence, probed: Probed) {
    let is_answer = match probed {
        Probed::Nothing => false,
        Probed::Reply(code) => code.is_none_or(|code| !reply::is_absence(code)),
    };
    if is_answer {
        silence.answered(ms(1));
    } else {
        silence.waited(ms(TICK_MS));
    }
}

/// The result of the code under test: the two steps combined like in the engine.
fn answered(plan: FailureAction, ahead: Ahead, called: Called, is_absent: bool) -> Answer {
    match step::before(plan, ahead, || is_absent) {
        Step::Accept => Answer::Journaled,
        Step::Admit => Answer::Admitted,
        Step::Wait(_) => Answer::Waits,
        Step::Absent => Answer::Refused,
        Step::Blocked(_) => Answer::JournalBlocked,
        Step::Ask => {
            // A call to an absent server fails with that; another without a reply ends unknown.
            if !is_absent && called == Called::Decides {
                return Answer::Decided;
            }
            match step::after(plan, is_absent) {
                After::Accept => Answer::Journaled,
                After::Admit => Answer::Admitted,
                After::Ask => Answer::Refused,
            }
        }
    }
}

/// The expected result, from the rules.
fn expected(plan: FailureAction, ahead: Ahead, called: Called, is_absent: bool) -> Answer {
    let is_release = plan == FailureAction::Release;
    let by_policy = match plan {
        FailureAction::Release => Answer::Journaled,
        FailureAction::Take => Answer::Admitted,
        FailureAction::Closed => Answer::Refused,
    };
    match (ahead, is_absent) {
        (Ahead::Blocked(_), _) if !is_release => Answer::JournalBlocked,
        (Ahead::Blocked(_) | Ahead::Waits(_), _) if is_release => Answer::Journaled,
        (_, true) => by_policy,
        (Ahead::Waits(_), false) => Answer::Waits,
        (_, false) if called == Called::Decides => Answer::Decided,
        (_, false) => Answer::Refused,
    }
}

/// The simulated time at which a condition makes a server absent; `None`: never.
fn absent_from_ms(entry: Entry, condition: &Condition) -> Option<u64> {
    if !condition.is_absence {
        return None;
    }
    Some(match entry {
        Entry::Present => ALLOWED_MS,
        Entry::SilentFor(silent_ms) => ALLOWED_MS - silent_ms,
        Entry::Absent => 0,
    })
}

#[test]
fn every_condition_action_and_entry_state_follows_the_rules_at_every_instant() {
    let mut seen = std::collections::HashSet::new();
    for condition in &CONDITIONS {
        for entry in ENTRIES {
            let mut silence = entered(entry);
            assert_eq!(silence.is_absent(), entry == Entry::Absent, "{entry:?}");
            for tick_number in 1..=2 * ALLOWED_MS / TICK_MS {
                tick(&mut silence, condition.probed);
                let now_ms = tick_number * TICK_MS;
                let from_ms = absent_from_ms(entry, condition);
                let is_absent = from_ms.is_some_and(|from_ms| from_ms <= now_ms);
                let what = (condition.name, entry, now_ms);
                assert_eq!(silence.is_absent(), is_absent, "{what:?}");
                for plan in PLANS {
                    for ahead in AHEAD {
                        let answer = answered(plan, ahead, condition.called, silence.is_absent());
                        let rule = expected(plan, ahead, condition.called, is_absent);
                        assert_eq!(answer, rule, "{what:?} {plan:?} {ahead:?}");
                        seen.insert(format!("{answer:?}"));
                        let is_open = plan == FailureAction::Take && condition.is_absence;
                        assert!(answer != Answer::Admitted || is_open, "{what:?} {plan:?}");
                    }
                }
            }
        }
    }
    assert_eq!(seen.len(), 6, "each result occurs: {seen:?}");
}

/// The next observation of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// A reply after that time, during which silence was observed too.
    AnswerAfter(u64),
    /// No reply for that time.
    Silence(u64),
    /// The process was stopped for an hour: one observation, which proves nothing about the server.
    Stopped,
}

const SEEN: [Seen; 6] = [
    Seen::AnswerAfter(1),
    Seen::AnswerAfter(ALLOWED_MS - TICK_MS),
    Seen::AnswerAfter(ALLOWED_MS),
    Seen::Silence(200),
    Seen::Silence(ALLOWED_MS),
    Seen::Stopped,
];
const SEQUENCE_LENGTH: u32 = 5;

/// The rule for absence alone: the time without a reply, to which one observation adds at most a
/// tenth of a second, reaches the bound; absence ends with a reply within that time.
fn absent_after(sequence: &[Seen]) -> bool {
    let (mut silent_ms, mut is_absent) = (0, false);
    for seen in sequence {
        let (more_ms, answer) = match *seen {
            Seen::AnswerAfter(after_ms) => (after_ms / TICK_MS * TICK_MS, Some(after_ms)),
            Seen::Silence(silent_ms) => (silent_ms, None),
            Seen::Stopped => (STEP_MAX_MS, None),
        };
        silent_ms += more_ms;
        is_absent |= silent_ms >= ALLOWED_MS;
        if answer.is_some_and(|after_ms| after_ms < ALLOWED_MS || !is_absent) {
            (silent_ms, is_absent) = (0, false);
        }
    }
    is_absent
}

#[test]
fn every_sequence_of_replies_and_silence_follows_the_rule() {
    let mut absent = 0;
    let all = SEEN.len().pow(SEQUENCE_LENGTH);
    for number in 0..all {
        let digit = |place| SEEN[number / SEEN.len().pow(place) % SEEN.len()];
        let sequence: Vec<Seen> = (0..SEQUENCE_LENGTH).map(digit).collect();
        let mut silence = Silence::new(ms(ALLOWED_MS), ms(STEP_MAX_MS));
        let wait = |silence: &mut Silence, for_ms: u64| {
            (0..for_ms / TICK_MS).for_each(|_| silence.waited(ms(TICK_MS)));
        };
        for seen in &sequence {
            match *seen {
                Seen::AnswerAfter(after_ms) => {
                    wait(&mut silence, after_ms);
                    silence.answered(ms(after_ms));
                }
                Seen::Silence(silent_ms) => wait(&mut silence, silent_ms),
                Seen::Stopped => silence.waited(Duration::from_secs(3600)),
            }
        }
        assert_eq!(silence.is_absent(), absent_after(&sequence), "{sequence:?}");
        absent += usize::from(silence.is_absent());
    }
    assert!(absent > all / 10 && absent < all, "{absent} of {all} end absent");
}
