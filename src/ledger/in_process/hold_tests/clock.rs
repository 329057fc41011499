//! Holds beside a clock that moves: days, skew, confirmations as of an instant, and old records.

use super::*;
use crate::domain::calendar::Day;
use crate::domain::decision::Subject;
use crate::domain::usage::Counts;
use crate::ledger::in_process::holds::sweep;
use crate::ledger::in_process::rows::Counter;
use crate::ledger::in_process::step::read;
use crate::ledger::in_process::unknown_apps::Part as FactsOf;

const HOUR: Duration = Duration::from_secs(60 * 60);
const CONFIRM: (HoldEnd, Option<Timestamp>) = (HoldEnd::Confirm, None);
const RELEASE: (HoldEnd, Option<Timestamp>) = (HoldEnd::Release, None);

impl World {
    fn today(&mut self) -> Day {
        self.call.catalog.zone.day_of(self.now())
    }

    /// Net-new groups of a day: towards limits, and on the bill.
    fn net_new(rows: &impl Rows, day: Day) -> (i64, i64) {
        let of_limits = rows.net_new(day, &"Private".into()).expect("read").unwrap_or(0);
        (of_limits, rows.group_day(day).expect("read").map_or(0, |day| day.net_new))
    }

    fn accounts(&mut self, rows: &mut impl Rows) -> (u64, u64) {
        let reading = self.reading();
        let read = read(rows, &self.ids, &self.call, reading, &Subject::App).expect("read");
        match (read.counts, read.held) {
            (Counts::App { accounts, .. }, Counts::App { accounts: held, .. }) => (accounts, held),
            other => panic!("of an app: {other:?}"),
        }
    }

    fn sweep(&mut self, rows: &mut impl Rows) -> u64 {
        let reading = self.reading();
        sweep(rows, &self.call, reading).expect("swept").0
    }
}

fn a_group_counts_on_the_days_of_its_take_and_its_confirmation(rows: &mut impl Rows) {
    let mut world = World::new();
    // One second before midnight.
    world.pass(Duration::from_secs(12 * 3600 - 1));
    let call = world.with_hold("h", 60);
    let before = world.today();
    assert_eq!(world.apply(rows, &call, &create("a", &["b"])), "AA");
    assert_eq!(World::net_new(rows, before), (1, 0));
    world.pass(Duration::from_secs(30));
    let after = world.today();
    assert_ne!(before, after);
    assert_eq!(world.end(rows, (Part::Groups, "h"), CONFIRM), "cc");
    assert_eq!((World::net_new(rows, before), World::net_new(rows, after)), ((1, 0), (0, 1)));
    let dissolve = Operation::DissolveGroup { group: group("g") };
    let call = world.call.clone();
    assert_eq!(world.apply(rows, &call, &dissolve), "A");
    assert_eq!((World::net_new(rows, before), World::net_new(rows, after)), ((1, 0), (-1, 0)));
    // What ends without a confirmation is given back to the day of the take, and never billed.
    for (id, is_released) in [("r", true), ("e", false)] {
        let call = world.with_hold(id, 24 * 3600);
        let day = world.today();
        let counted = World::net_new(rows, day);
        assert_eq!(world.apply(rows, &call, &create("a", &[])), "A");
        assert_eq!(World::net_new(rows, day), (counted.0 + 1, counted.1));
        world.pass(24 * HOUR);
        if is_released {
            assert_eq!(world.end(rows, (Part::Groups, id), RELEASE), "xr");
        } else {
            assert_eq!(world.sweep(rows), 2);
        }
        let today = world.today();
        assert_eq!((World::net_new(rows, day), World::net_new(rows, today)), (counted, (0, 0)));
    }
}

fn nothing_expires_while_the_clocks_are_apart(rows: &mut impl Rows) {
    let mut world = World::new();
    let (call, later) = (world.with_hold("h", 1), world.with_hold("l", 1));
    assert_eq!(world.apply(rows, &call, &accounts(&["a", "b"])), "AA");
    assert_eq!(world.apply(rows, &later, &accounts(&["c"])), "A");
    world.pass(Duration::from_secs(2));
    // The time of day was set.
    world.clocks.wall = world.clocks.wall + HOUR;
    assert!(world.reading().other().is_some());
    assert_eq!(world.accounts(rows), (3, 3));
    assert_eq!(world.sweep(rows), 0);
    let plain = world.call.clone();
    assert_eq!(world.apply(rows, &plain, &accounts(&["d"])), "D");
    assert_eq!(world.apply(rows, &plain, &accounts(&["a"])), "H");
    let check = Call { mode: Mode::CheckOnly, ..call.clone() };
    assert_eq!(world.apply(rows, &check, &accounts(&["b"])), "H");
    for (call, name) in [(&call, "a"), (&later, "z")] {
        assert_eq!(world.apply(rows, call, &accounts(&[name])), "clock_skew");
    }
    assert_eq!(world.end(rows, (Part::Accounts, "h"), CONFIRM), "cc");
    // The clock is right again.
    world.clocks.wall = world.clocks.wall.before(HOUR);
    assert_eq!(world.accounts(rows), (2, 0));
}

fn a_late_confirmation_as_of_an_earlier_instant_keeps_what_is_there(rows: &mut impl Rows) {
    let mut world = World::new();
    let call = world.with_hold("h", 10);
    assert_eq!(world.apply(rows, &call, &accounts(&["a", "b", "c"])), "AAA");
    let taken = world.now();
    let as_of = |seconds| {
        let at = taken + Duration::from_secs(seconds);
        (HoldEnd::Confirm, Some(at))
    };
    world.pass(Duration::from_secs(20));
    assert_eq!(world.end(rows, (Part::Accounts, "h"), as_of(9)), "ccc");
    assert_eq!(world.accounts(rows), (3, 0));
    // What was there has been dropped, and others have its place.
    for (seconds, expected, accounts) in [(10, "xd", 3), (9, "xt", 4)] {
        let (plain, delete) = (world.call.clone(), Operation::DeleteAccount { user: user("a") });
        world.apply(rows, &plain, &delete);
        let (call, taken) = (world.with_hold("again", 10), world.now());
        assert_eq!(world.apply(rows, &call, &super::accounts(&["a"])), "A");
        world.pass(Duration::from_secs(20));
        let name = format!("x{seconds}");
        assert_eq!(world.apply(rows, &plain, &super::accounts(&[&name])), "A");
        let as_of = (HoldEnd::Confirm, Some(taken + Duration::from_secs(seconds)));
        assert_eq!(world.end(rows, (Part::Accounts, "again"), as_of), expected);
        assert_eq!(world.accounts(rows), (accounts, 0));
        let delete = Operation::DeleteAccount { user: user(&name) };
        assert_eq!(world.apply(rows, &plain, &delete), "A");
    }
}

fn a_record_is_kept_for_a_day_after_its_end(rows: &mut impl Rows) {
    let mut world = World::new();
    let short = world.with_hold("short", 10);
    let long = world.with_hold("long", 3600);
    assert_eq!(world.apply(rows, &short, &accounts(&["a"])), "A");
    assert_eq!(world.apply(rows, &long, &accounts(&["b"])), "A");
    world.pass(Duration::from_secs(100));
    assert_eq!(world.end(rows, (Part::Accounts, "long"), RELEASE), "r");
    let records = Counter::HoldFacts(FactsOf::Accounts);
    world.pass(Duration::from_secs(24 * 3600 - 91));
    assert_eq!(world.sweep(rows), 0);
    assert_eq!(rows.counter(&records).expect("read"), Some(2));
    world.pass(Duration::from_secs(1));
    world.sweep(rows);
    assert_eq!(world.end(rows, (Part::Accounts, "short"), CONFIRM), "");
    world.pass(Duration::from_secs(89));
    world.sweep(rows);
    assert_eq!(rows.counter(&records).expect("read"), Some(1));
    world.pass(Duration::from_secs(1));
    world.sweep(rows);
    assert_eq!(rows.counter(&records).expect("read"), None);
    assert_eq!(world.end(rows, (Part::Accounts, "long"), RELEASE), "");
}

fn facts_of_an_unregistered_app_follow(rows: &mut impl Rows) {
    let mut world = World::new();
    let call = world.with_hold("h", 10);
    assert_eq!(world.apply(rows, &call, &accounts(&["a", "b"])), "AA");
    let facts = Counter::Facts(FactsOf::Accounts);
    assert_eq!(rows.counter(&facts).expect("read"), Some(2));
    world.pass(Duration::from_secs(10));
    assert_eq!(world.sweep(rows), 2);
    assert_eq!(rows.counter(&facts).expect("read"), None);
    assert_eq!(world.end(rows, (Part::Accounts, "h"), CONFIRM), "xtt");
    assert_eq!(rows.counter(&facts).expect("read"), Some(2));
    let mut catalog = (*world.call.catalog).clone();
    catalog.unknown_apps.facts_per_app_max = 2;
    let call = world.with_hold("full", 10);
    assert_eq!(world.apply(rows, &call, &accounts(&["c"])), "A");
    world.pass(Duration::from_secs(10));
    world.call.catalog = Arc::new(catalog);
    assert_eq!(world.end(rows, (Part::Accounts, "full"), CONFIRM), "unknown_apps_full");
    assert_eq!(world.accounts(rows), (2, 0));
}

fn a_hold_lives_until_its_expiry_exactly(rows: &mut impl Rows) {
    let mut world = World::new();
    let call = world.with_hold("h", 10);
    assert_eq!(world.apply(rows, &call, &accounts(&["a"])), "A");
    world.pass(Duration::from_millis(9_999));
    assert_eq!(world.apply(rows, &call, &accounts(&["a"])), "R");
    // A repetition does not prolong the hold, unless it takes something.
    world.pass(Duration::from_millis(1));
    assert_eq!(world.accounts(rows), (0, 0));
    assert_eq!(world.apply(rows, &call, &accounts(&["b", "a"])), "AA");
    world.pass(Duration::from_secs(9));
    let (plain, delete) = (world.call.clone(), Operation::DeleteAccount { user: user("b") });
    assert_eq!(world.apply(rows, &plain, &delete), "A");
    assert_eq!(world.apply(rows, &call, &accounts(&["b", "a"])), "AR");
    world.pass(Duration::from_secs(9));
    assert_eq!(world.accounts(rows), (2, 2));
    world.pass(Duration::from_secs(1));
    assert_eq!(world.accounts(rows), (0, 0));
}

macro_rules! over_both {
    ($($name:ident as $test:ident)*) => {
        $(
            #[test]
            fn $test() {
                in_memory(|rows| $name(rows));
                in_tables(|rows| $name(rows));
            }
        )*
    };
}

over_both! {
    a_group_counts_on_the_days_of_its_take_and_its_confirmation as days_of_held_groups
    nothing_expires_while_the_clocks_are_apart as skew
    a_late_confirmation_as_of_an_earlier_instant_keeps_what_is_there as as_of
    a_record_is_kept_for_a_day_after_its_end as old_records
    facts_of_an_unregistered_app_follow as unregistered_apps
    a_hold_lives_until_its_expiry_exactly as expiry
}
