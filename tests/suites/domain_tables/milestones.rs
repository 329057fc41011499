//! Milestones: the announcements of the end of purchases, and the events at the end. The dates were
//! computed by hand from the pricing rules, section 5.

use imquota::domain::event::{EventKind, Sold};
use imquota::domain::id::RequestId;
use imquota::domain::milestone::milestones;
use imquota::domain::purchase::{Refund, Sales};

use super::{at, before, catalog, history};

type Orders<'a> = &'a [(&'a str, &'a str, u32)];
/// The day, and the event as text.
type Announced<'a> = (&'a str, &'a str);

const FEBRUARY: Orders<'_> = &[("2019-02-12 15:30", "professional", 1)];
const RENEWED: Orders<'_> = &[("2019-02-12", "professional", 1), ("2019-03-11 23:59", "renew", 1)];

/// Orders, refunds (purchase, instant), and all events.
type Case<'a> = (Orders<'a>, &'a [(usize, &'a str)], &'a [Announced<'a>]);

const CASES: &[Case<'_>] = &[
    (&[], &[], &[]),
    (
        FEBRUARY,
        &[],
        &[
            ("2019-03-05", "professional ends in 7"),
            ("2019-03-09", "professional ends in 3"),
            ("2019-03-11", "professional ends in 1"),
            ("2019-03-12", "grace of professional"),
            ("2019-03-19", "professional stopped"),
        ],
    ),
    // The next month is shorter: valid through its last day, in a leap year too.
    (
        &[("2019-01-31", "professional", 1)],
        &[],
        &[
            ("2019-02-22", "professional ends in 7"),
            ("2019-02-26", "professional ends in 3"),
            ("2019-02-28", "professional ends in 1"),
            ("2019-03-01", "grace of professional"),
            ("2019-03-08", "professional stopped"),
        ],
    ),
    (
        &[("2020-01-31", "professional", 1)],
        &[],
        &[
            ("2020-02-23", "professional ends in 7"),
            ("2020-02-27", "professional ends in 3"),
            ("2020-02-29", "professional ends in 1"),
            ("2020-03-01", "grace of professional"),
            ("2020-03-08", "professional stopped"),
        ],
    ),
    // Renewed at the last minute: the old end has no event, only the new one.
    (
        RENEWED,
        &[],
        &[
            ("2019-04-05", "professional ends in 7"),
            ("2019-04-09", "professional ends in 3"),
            ("2019-04-11", "professional ends in 1"),
            ("2019-04-12", "grace of professional"),
            ("2019-04-19", "professional stopped"),
        ],
    ),
    // The renewal is refunded before it begins: the old end is valid again.
    (
        RENEWED,
        &[(1, "2019-03-11 23:59")],
        &[
            ("2019-03-05", "professional ends in 7"),
            ("2019-03-09", "professional ends in 3"),
            ("2019-03-11", "professional ends in 1"),
            ("2019-03-12", "grace of professional"),
            ("2019-03-19", "professional stopped"),
        ],
    ),
    // A refund ends it immediately: without reminders and grace, and the service stops.
    (FEBRUARY, &[(0, "2019-02-20 12:00")], &[("2019-02-20 12:00", "professional stopped")]),
    // An add-on has no grace, and ends on its own day.
    (
        &[("2019-02-12", "professional", 2), ("2019-02-20", "members-2000", 1)],
        &[],
        &[
            ("2019-03-13", "members-2000 ends in 7"),
            ("2019-03-17", "members-2000 ends in 3"),
            ("2019-03-19", "members-2000 ends in 1"),
            ("2019-03-20", "members-2000 ended"),
            ("2019-04-05", "professional ends in 7"),
            ("2019-04-09", "professional ends in 3"),
            ("2019-04-11", "professional ends in 1"),
            ("2019-04-12", "grace of professional"),
            ("2019-04-19", "professional stopped"),
        ],
    ),
    // The event of a refunded add-on is the refund.
    (
        &[("2019-02-12", "professional", 1), ("2019-02-20", "members-2000", 1)],
        &[(1, "2019-02-21")],
        &[
            ("2019-03-05", "professional ends in 7"),
            ("2019-03-09", "professional ends in 3"),
            ("2019-03-11", "professional ends in 1"),
            ("2019-03-12", "grace of professional"),
            ("2019-03-19", "professional stopped"),
        ],
    ),
    // Bought again after the stop: both ends have events.
    (
        &[("2019-01-31", "professional", 1), ("2019-03-08 09:00", "professional", 1)],
        &[],
        &[
            ("2019-02-22", "professional ends in 7"),
            ("2019-02-26", "professional ends in 3"),
            ("2019-02-28", "professional ends in 1"),
            ("2019-03-01", "grace of professional"),
            ("2019-03-08", "professional stopped"),
            ("2019-04-01", "professional ends in 7"),
            ("2019-04-05", "professional ends in 3"),
            ("2019-04-07", "professional ends in 1"),
            ("2019-04-08", "grace of professional"),
            ("2019-04-15", "professional stopped"),
        ],
    ),
];

fn sales(orders: Orders<'_>, refunds: &[(usize, &str)]) -> Sales {
    let mut sales = history(orders);
    let refund = |(purchase, when): &(usize, &str)| Refund {
        request_id: RequestId::try_from("refund").expect("valid"),
        purchase: *purchase,
        made_after: orders.len(),
        refund_fen: 0,
        in_full: false,
        used: None,
        at: at(when),
    };
    sales.refunds = refunds.iter().map(refund).collect();
    sales
}

fn words(what: &EventKind) -> String {
    match what {
        EventKind::Ending { what: Sold::Edition(name) | Sold::AddOn(name), days_left, .. } => {
            format!("{name} ends in {days_left}")
        }
        EventKind::GraceBegan { edition, .. } => format!("grace of {edition}"),
        EventKind::ServiceStopped { edition, .. } => format!("{edition} stopped"),
        EventKind::AddOnEnded { add_on, .. } => format!("{add_on} ended"),
        other => panic!("{other:?} is no milestone"),
    }
}

#[test]
fn ends_and_their_announcements_are_at_their_instants() {
    let (first, last) = (at("2018-01-01"), at("2030-01-01"));
    for (orders, refunds, expected) in CASES {
        let sales = sales(orders, refunds);
        let told = milestones(&catalog(), &sales, first, last);
        let told: Vec<_> = told.iter().map(|(at, what)| (*at, words(what))).collect();
        let expected: Vec<_> =
            expected.iter().map(|(when, words)| (at(when), (*words).to_owned())).collect();
        assert_eq!(told, expected, "{orders:?}, {refunds:?}");
    }
}

#[test]
fn each_milestone_lies_in_one_of_adjacent_spans() {
    for (orders, refunds, expected) in CASES {
        let sales = sales(orders, refunds);
        for (when, _) in *expected {
            let count = |after, until| milestones(&catalog(), &sales, after, until).len();
            let (just_before, then) = (before(at(when)), at(when));
            assert_eq!(count(just_before, then), 1, "{orders:?} at {when}");
            let after = imquota::domain::time::Timestamp::from_millis(then.as_millis() + 1);
            assert_eq!(count(then, after), 0, "{orders:?} after {when}");
        }
    }
}
