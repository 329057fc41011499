//! Tests of the clock guard under a simulated machine: every jump, from every state.

use super::*;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const START: i64 = 1_790_000_000_000;

/// A simulated machine whose clocks start together.
struct Machine {
    guard: ClockGuard,
    /// Time since the start.
    passed: i64,
    /// Milliseconds by which its time of day was set ahead.
    set: i64,
}

impl Machine {
    fn start(set: i64, recorded: Option<i64>) -> Self {
        let guard = ClockGuard::start(clocks(0, set), recorded.map(Timestamp::from_millis));
        Self { guard, passed: 0, set }
    }

    fn clocks(&self) -> Clocks {
        clocks(self.passed, self.set)
    }

    fn read(&mut self) -> ClockReading {
        self.guard.observe(self.clocks())
    }

    /// Advances time, with a reading each second.
    fn run(&mut self, millis: i64) -> ClockReading {
        let end = self.passed + millis;
        while self.passed < end {
            self.passed = (self.passed + 1000).min(end);
            self.read();
            if let Some(due) = self.guard.due(self.clocks()) {
                self.guard.recorded(due);
            }
        }
        self.read()
    }

    /// Returns the right time.
    fn right(&self) -> i64 {
        START + self.passed
    }
}

fn clocks(passed: i64, set: i64) -> Clocks {
    let monotonic = Duration::from_millis(u64::try_from(passed).expect("goes forward"));
    Clocks { wall: Timestamp::from_millis(START + passed + set), monotonic }
}

fn may(reading: &ClockReading) -> (bool, bool, bool) {
    (reading.metering().is_ok(), reading.selling().is_ok(), reading.closing().is_ok())
}

const ALL: (bool, bool, bool) = (true, true, true);
const SETTLING: (bool, bool, bool) = (true, true, false);
const BEHIND: (bool, bool, bool) = (true, false, false);
const NOTHING: (bool, bool, bool) = (false, false, false);

#[test]
fn a_start_settles_for_ten_minutes_at_any_time() {
    for (set, recorded) in [
        (0, None),
        (0, Some(START)),
        (0, Some(START - 400 * DAY)),
        (400 * DAY, Some(START)),
        // Clocks may differ by up to five minutes.
        (-5 * MINUTE, Some(START)),
        (0, Some(i64::MIN)),
    ] {
        let mut machine = Machine::start(set, recorded);
        assert_eq!(may(&machine.read()), SETTLING, "{set} {recorded:?}");
        let reading = machine.run(10 * MINUTE - 1);
        assert_eq!(may(&reading), SETTLING, "{set} {recorded:?}");
        assert_eq!(reading.refusal(), Some(ClockRefusal::Settling { seconds: 1 }));
        assert_eq!(may(&machine.run(1)), ALL, "{set} {recorded:?}");
        assert_eq!(machine.read().now.as_millis(), machine.right() + set);
    }
}

#[test]
fn every_jump_is_refused_while_it_lasts_and_leaves_no_trace() {
    for set in [HOUR, 40 * DAY, 400 * DAY, 5 * MINUTE + 1] {
        for set in [set, -set] {
            for before in [0, 5 * MINUTE, 10 * MINUTE, 3 * DAY / 100] {
                for lasts in [0, 1000, 10 * MINUTE, 2 * HOUR] {
                    jump(set, before, lasts);
                }
            }
        }
    }
}

fn jump(set: i64, before: i64, lasts: i64) {
    let name = format!("by {set} after {before} for {lasts}");
    let mut machine = Machine::start(0, Some(START));
    machine.run(before);
    machine.set = set;
    for part in [0, lasts] {
        let reading = machine.run(part);
        assert_eq!(may(&reading), NOTHING, "{name}");
        assert_eq!(reading.now.as_millis(), machine.right(), "{name}");
        assert_eq!(reading.skew_ms(), set, "{name}");
        assert_eq!(reading.other(), Some(reading.wall), "{name}");
    }
    let recorded = machine.guard.recorded;
    assert!(recorded <= Some(Timestamp::from_millis(START + before)), "{name}: {recorded:?}");
    machine.set = 0;
    let reading = machine.read();
    let settled = before + lasts >= 10 * MINUTE;
    assert_eq!(may(&reading), if settled { ALL } else { SETTLING }, "{name}");
    assert_eq!((reading.now.as_millis(), reading.skew_ms()), (machine.right(), 0), "{name}");
    // It is recorded only once the clocks have agreed for ten minutes again.
    machine.run(10 * MINUTE - 1000);
    assert_eq!(machine.guard.recorded, recorded, "{name}");
    machine.run(2 * MINUTE);
    let now = Some(Timestamp::from_millis(machine.right() - MINUTE));
    assert!(machine.guard.recorded >= now, "{name}");
}

#[test]
fn a_small_correction_counts_within_a_minute_and_is_recorded_later() {
    for set in [-5 * MINUTE, -2000, -1000, -999, 999, 1000, 2000, 5 * MINUTE] {
        let mut machine = Machine::start(0, None);
        let recorded = machine.run(HOUR + 30_000).now;
        assert!(machine.guard.recorded > Some(Timestamp::from_millis(START + HOUR - MINUTE)));
        machine.set = set;
        let reading = machine.read();
        assert_eq!(may(&reading), ALL, "{set}");
        assert_eq!((reading.now, reading.skew_ms()), (recorded, set), "{set}");
        let reading = machine.run(MINUTE);
        assert_eq!((may(&reading), reading.skew_ms()), (ALL, 0), "{set}");
        assert_eq!(reading.now.as_millis(), machine.right() + set, "{set}");
        let noticed = set.abs() >= 1000;
        machine.run(8 * MINUTE);
        let late = machine.guard.recorded < Some(Timestamp::from_millis(START + HOUR + MINUTE));
        assert_eq!(late, noticed, "{set}");
        machine.run(11 * MINUTE + set.abs());
        assert!(machine.guard.recorded > Some(recorded), "{set}");
    }
}

#[test]
fn a_clock_that_is_stepped_again_and_again_is_never_recorded() {
    let mut machine = Machine::start(0, Some(START));
    for _ in 0..60 {
        machine.run(5 * MINUTE);
        machine.set += 4 * MINUTE;
    }
    assert_eq!(machine.guard.recorded, Some(Timestamp::from_millis(START)));
}

#[test]
fn an_earlier_start_sells_nothing_until_it_is_accepted_or_right() {
    for behind in [5 * MINUTE + 1, HOUR, 40 * DAY, 400 * DAY] {
        let mut machine = Machine::start(-behind, Some(START));
        let reading = machine.run(4 * MINUTE);
        assert_eq!(may(&reading), BEHIND, "{behind}");
        let seconds = u64::try_from((behind - 4 * MINUTE) / 1000).expect("positive");
        assert_eq!(reading.refusal(), Some(ClockRefusal::Behind { seconds }), "{behind}");
        assert_eq!(machine.guard.due(machine.clocks()), None);
        assert_eq!(machine.guard.recorded, Some(Timestamp::from_millis(START)));

        // Recovers as time passes.
        if behind <= HOUR {
            let mut waits = Machine::start(-behind, Some(START));
            assert_eq!(may(&waits.run(behind - 1)), BEHIND, "{behind}");
            assert_eq!(may(&waits.run(1)), SETTLING, "{behind}");
            assert_eq!(may(&waits.run(10 * MINUTE)), ALL, "{behind}");
        }
        // Recovers when the clock is set right, as a start would.
        machine.set = 0;
        let reading = machine.read();
        assert_eq!((may(&reading), reading.skew_ms()), (SETTLING, 0), "{behind}");
        assert_eq!(may(&machine.run(10 * MINUTE)), ALL, "{behind}");
    }
}

#[test]
fn an_earlier_start_that_is_set_to_another_earlier_time_is_refused_everything() {
    let mut machine = Machine::start(-40 * DAY, Some(START));
    machine.set = -20 * DAY;
    assert_eq!(may(&machine.run(MINUTE)), NOTHING);
    machine.set = -40 * DAY;
    assert_eq!(may(&machine.read()), BEHIND);
}

#[test]
fn an_accepted_time_is_used_and_settles() {
    for (start, set) in [(0, 40 * DAY), (0, -40 * DAY), (-40 * DAY, -40 * DAY), (0, HOUR)] {
        let mut machine = Machine::start(start, Some(START));
        machine.set = set;
        machine.run(20 * MINUTE);
        machine.guard.accept(machine.clocks());
        let reading = machine.read();
        assert_eq!((may(&reading), reading.skew_ms()), (SETTLING, 0), "{set}");
        assert_eq!(machine.guard.recorded, Some(reading.wall), "{set}");
        let reading = machine.run(10 * MINUTE);
        assert_eq!(may(&reading), ALL, "{set}");
        assert_eq!(reading.now.as_millis(), machine.right() + set, "{set}");
        assert!(
            machine.guard.recorded > Some(Timestamp::from_millis(reading.now.as_millis() - 61_000)),
            "{set}"
        );
    }
}

#[test]
fn a_machine_that_is_seldom_read_loses_nothing() {
    let mut machine = Machine::start(0, None);
    machine.passed = 100 * DAY;
    assert_eq!(may(&machine.read()), ALL);
    assert_eq!(machine.read().now.as_millis(), machine.right());
    assert_eq!(machine.guard.due(machine.clocks()), Some(machine.read().now));
    // Clocks that several threads read come in any order.
    let now = machine.read().now;
    machine.guard.recorded(now);
    machine.passed -= 5;
    assert_eq!(may(&machine.read()), ALL);
}
