//! The number of subjects that a server has in flight: as few as keep it busy.
//!
//! A pure state machine over response times; the caller reads the clock. While responses take
//! little longer than from an idle server, the window grows; when they take longer, calls queue up
//! at the server, and the window shrinks. The response time of an idle server is measured again
//! every [`MEASURED_EVERY`], with at most [`MEASURED_AT`] subjects in flight for a round trip.

use std::time::Duration;

/// Subjects that may always be in flight: the largest step of a script and some more.
pub(super) const WINDOW_MIN: usize = 288;
/// The parts of a subject, so that the window can change by less than one subject.
const PARTS: usize = 4;
/// The number of parts by which the window grows for each subject answered in time while others
/// wait: by a quarter in each round trip.
const GROWN_BY: usize = 1;
/// The number of parts by which it shrinks for each late subject: by half in each round trip.
const SHRUNK_BY: usize = 2;
/// The window at the start, until the first responses.
const WINDOW_AT_START: usize = 1024;
/// The smallest allowed delay at the server; it applies if an idle server answers faster.
const DELAY_ALLOWED_MIN: Duration = Duration::from_millis(1);
/// The time between two measurements of an idle server.
const MEASURED_EVERY: Duration = Duration::from_secs(10);
/// The highest number of subjects in flight during a measurement, unless a single call is larger.
const MEASURED_AT: usize = 32;
/// The number of responses in one measurement.
const MEASURED_ANSWERS: u32 = 4;
/// The longest time of one measurement.
const MEASURED_WITHIN: Duration = Duration::from_secs(5);

/// The phase of measuring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No measurement until that time.
    Open { until: Duration },
    /// Waiting, since that time, until few subjects are in flight.
    Draining { since: Duration },
    /// Measuring the calls that are sent from that time on.
    Measuring { since: Duration, least: Option<Duration>, answers: u32 },
}

/// A response.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    /// The time at which the call was sent; times are those since the window was created.
    pub(super) sent_at: Duration,
    /// Its subjects.
    pub(super) subjects: usize,
    /// Subjects that are still in flight.
    pub(super) in_work: usize,
    /// True if calls wait for room.
    pub(super) is_contended: bool,
}

/// The way in which a server responds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answers {
    /// To each call as soon as it is carried out.
    OneByOne,
    /// To a batch of calls, while the next batch waits: a busy server takes twice as long as an
    /// idle one, and works better with larger batches.
    InBatches,
}

impl Answers {
    /// Returns the delay that is allowed if an idle server responds in `idle`.
    fn delay_allowed(self, idle: Duration) -> Duration {
        match self {
            Self::OneByOne => idle.max(DELAY_ALLOWED_MIN),
            Self::InBatches => (2 * idle).max(DELAY_ALLOWED_MIN),
        }
    }
}

/// The number of subjects that may be in flight at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Window {
    answers: Answers,
    min: usize,
    max: usize,
    /// The size in [`PARTS`] of a subject.
    size: usize,
    /// The response time of an idle server, once it was measured.
    idle: Option<Duration>,
    phase: Phase,
}

impl Window {
    /// Creates the window of a server that was not called yet.
    pub(super) fn new(max: usize, answers: Answers) -> Self {
        let phase = Phase::Open { until: MEASURED_EVERY };
        let min = WINDOW_MIN.min(max);
        Self { answers, min, max, size: PARTS * WINDOW_AT_START.clamp(min, max), idle: None, phase }
    }

    /// Returns how many subjects may be in flight now.
    pub(super) fn size(&self) -> usize {
        match self.phase {
            Phase::Open { .. } => self.size / PARTS,
            Phase::Draining { .. } | Phase::Measuring { .. } => self.measured_at(),
        }
    }

    /// Returns the response time of an idle server, once it was measured.
    pub(super) fn idle(&self) -> Option<Duration> {
        self.idle
    }

    /// Returns the highest number of subjects in flight during a measurement.
    fn measured_at(&self) -> usize {
        self.min.min(MEASURED_AT)
    }

    /// Updates the window with a response.
    pub(super) fn answered(&mut self, now: Duration, answer: Answered) {
        let took = now.saturating_sub(answer.sent_at);
        match self.phase {
            Phase::Open { until } => {
                self.adapt(took, &answer);
                if now >= until {
                    self.phase = self.drained(now, now, &answer);
                }
            }
            Phase::Draining { since } => self.phase = self.drained(since, now, &answer),
            Phase::Measuring { since, least, answers } if answer.sent_at >= since => {
                let least = least.map_or(took, |least| least.min(took));
                let answers = answers + 1;
                self.phase = Phase::Measuring { since, least: Some(least), answers };
                if answers == MEASURED_ANSWERS {
                    self.measured(now, Some(least));
                }
            }
            Phase::Measuring { .. } => {}
        }
        self.end_if_late(now);
    }

    fn adapt(&mut self, took: Duration, answer: &Answered) {
        let idle = self.idle.map_or(took, |idle| idle.min(took));
        self.idle = Some(idle);
        if took > idle + self.answers.delay_allowed(idle) {
            let shrunk = self.size.saturating_sub(SHRUNK_BY * answer.subjects);
            self.size = shrunk.max(PARTS * self.min);
        } else if answer.is_contended {
            let grown = self.size + GROWN_BY * answer.subjects;
            self.size = grown.min(PARTS * self.max);
        }
    }

    /// Returns the phase after a response, if draining began at `since`.
    fn drained(&self, since: Duration, now: Duration, answer: &Answered) -> Phase {
        if answer.in_work <= self.measured_at() {
            Phase::Measuring { since: now, least: None, answers: 0 }
        } else {
            Phase::Draining { since }
        }
    }

    fn measured(&mut self, now: Duration, least: Option<Duration>) {
        self.idle = least.or(self.idle);
        self.phase = Phase::Open { until: now + MEASURED_EVERY };
    }

    fn end_if_late(&mut self, now: Duration) {
        let (since, least) = match self.phase {
            Phase::Open { .. } => return,
            Phase::Draining { since } => (since, None),
            Phase::Measuring { since, least, .. } => (since, least),
        };
        if now.saturating_sub(since) > MEASURED_WITHIN {
            self.measured(now, least);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// A server that takes `round_trip` and then `per_subject` for each subject, one after another,
    /// with a caller who always has calls of a given size waiting.
    struct Simulated {
        window: Window,
        now: Duration,
        round_trip: Duration,
        per_subject: Duration,
        busy_until: Duration,
        in_work: VecDeque<(Duration, Duration, usize)>,
        subjects: usize,
    }

    impl Simulated {
        fn new(round_trip_ms: u64, per_subject_us: u64) -> Self {
            Self {
                window: Window::new(4096, Answers::OneByOne),
                now: Duration::ZERO,
                round_trip: Duration::from_millis(round_trip_ms),
                per_subject: Duration::from_micros(per_subject_us),
                busy_until: Duration::ZERO,
                in_work: VecDeque::new(),
                subjects: 0,
            }
        }

        /// Sends as much as there is room for, and processes the next response; returns its delay.
        fn turn(&mut self, subjects: usize) -> Duration {
            while self.subjects == 0 || self.subjects + subjects <= self.window.size() {
                let arrives = self.now + self.round_trip / 2;
                let work = self.per_subject * u32::try_from(subjects).expect("fits");
                self.busy_until = self.busy_until.max(arrives) + work;
                let answers = self.busy_until + self.round_trip / 2;
                self.in_work.push_back((answers, self.now, subjects));
                self.subjects += subjects;
            }
            let first = self.in_work.pop_front();
            let (answers, sent_at, subjects) = first.expect("one was sent");
            self.subjects -= subjects;
            self.now = answers;
            let in_work = self.subjects;
            let answer = Answered { sent_at, subjects, in_work, is_contended: true };
            self.window.answered(self.now, answer);
            self.now.saturating_sub(sent_at)
        }

        /// Returns the subjects per second over that time, and the longest delay in its second
        /// half.
        fn run(&mut self, subjects: usize, seconds: u64) -> (u128, Duration) {
            let (end, mut done) = (self.now + Duration::from_secs(seconds), 0);
            let (half, mut longest) = (self.now + Duration::from_secs(seconds / 2), Duration::ZERO);
            while self.now < end {
                let delay = self.turn(subjects);
                done += subjects;
                if self.now > half {
                    longest = longest.max(delay);
                }
            }
            (done as u128 / u128::from(seconds), longest)
        }
    }

    #[test]
    fn a_server_with_low_latency_is_kept_busy_without_a_long_queue() {
        for subjects in [1, 16, 256] {
            let mut server = Simulated::new(1, 10);
            let (per_s, longest) = server.run(subjects, 30);
            assert!(per_s > 80_000, "{subjects}: {per_s} of 100,000 a second");
            assert!(longest < Duration::from_millis(12), "{subjects}: {longest:?}");
        }
    }

    #[test]
    fn a_server_with_high_latency_gets_the_largest_window() {
        let mut server = Simulated::new(300, 10);
        let (per_s, longest) = server.run(256, 120);
        // 4096 per round trip, except for the first ones and the measurements.
        assert!(per_s > 11_000, "{per_s} of 13,650 a second");
        assert!(longest < Duration::from_millis(650), "{longest:?}");
    }

    #[test]
    fn a_server_whose_latency_grows_is_measured_again() {
        let mut server = Simulated::new(1, 10);
        server.run(16, 30);
        server.round_trip = Duration::from_millis(50);
        server.run(16, 25);
        assert!(server.run(16, 30).0 > 60_000, "{:?}", server.window);
    }

    #[test]
    fn a_slow_server_gets_the_smallest_window_and_never_less_than_one_step() {
        let mut server = Simulated::new(1, 10);
        server.run(256, 5);
        server.per_subject = Duration::from_millis(5);
        // A step of 256 takes 1.28 s.
        let (per_s, longest) = server.run(256, 240);
        assert!(per_s > 170, "{per_s} of 200 a second");
        assert!(longest < Duration::from_secs(6), "{longest:?}");
        assert!(server.window.size >= PARTS * WINDOW_MIN);
    }

    #[test]
    fn a_batch_may_take_three_times_as_long_as_on_an_idle_server() {
        let ms = Duration::from_millis;
        for (idle, one_by_one, in_batches) in [(0, 1, 1), (1, 1, 2), (5, 5, 10)] {
            assert_eq!(Answers::OneByOne.delay_allowed(ms(idle)), ms(one_by_one));
            assert_eq!(Answers::InBatches.delay_allowed(ms(idle)), ms(in_batches));
        }
    }

    #[test]
    fn a_maximum_below_the_usual_minimum_is_kept() {
        let window = Window::new(7, Answers::OneByOne);
        assert_eq!((window.size(), window.min, window.max), (7, 7, 7));
        let mut window = Window::new(7, Answers::OneByOne);
        window.phase = Phase::Draining { since: Duration::ZERO };
        assert_eq!(window.size(), 7);
    }
}
