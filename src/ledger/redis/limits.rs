//! The limits of an app in the form that scripts read: lines with only the limits of one part.
//!
//! A decision reads one line, which begins with the segment that was in force when it was written:
//! `0 0 FROM;` and then the segments from FROM on, in milliseconds since the epoch. The segments
//! before FROM are in another line, which is read if the clock was set back. A reader of the
//! previous version takes the beginning for a segment that is over.
//!
//! `TILL FLAG LIMITS;` for each segment: TILL in milliseconds since the epoch; FLAG 1 if the
//! service is stopped, else 2 if members are sold by type, so that a join need not search for that,
//! else 0; LIMITS numbers or `-` for unlimited, in the order of the table of limits
//! ([`crate::domain::limits`]). For groups these are groups per user and members per group, then
//! what is sold beside them, each followed by a space:
//!
//! | field | limit |
//! |---|---|
//! | `m/TYPE=NUMBER` | members of a group of the type, instead of those per group |
//! | `TYPE=NUMBER` | groups of the type at once |
//! | `e/=NUMBER` | groups of all types at once |
//! | `*=NUMBER` | the same, as many as are free of charge |
//! | `d/=NUMBER`, `t/TYPE=NUMBER` | net-new groups of a day, of all types and of the type |
//!
//! Scripts skip fields that they do not need. A name of a type has no `/`.

use std::fmt::Write as _;

use crate::domain::id::Name;
use crate::domain::limit::{Limit, LimitId};
use crate::domain::limits::{LimitKind, Line, Relation};
use crate::domain::schedule::{Limits, Schedule, Segment};
use crate::domain::time::Timestamp;
use crate::redis::keys::Part;

/// No end: the largest integer that Lua represents exactly.
pub(super) const NO_END: i64 = (1 << 53) - 1;

/// Formatted limits: the line that decisions read, and the line of earlier segments.
pub struct Lines<'a> {
    /// The line that decisions read.
    pub line: String,
    /// The line of earlier segments.
    pub past: String,
    /// The segments of `line`.
    pub later_segments: &'a [Segment],
    /// The segments of `past`.
    pub past_segments: &'a [Segment],
}

impl<'a> Lines<'a> {
    /// Formats the limits of a part at the instant `now`.
    pub fn new(part: Part, schedule: &'a Schedule, now: Timestamp) -> Self {
        let segments = schedule.segments();
        let (_, later) = schedule.segment_and_later(now);
        let (past_segments, later_segments) = segments.split_at(segments.len() - later.len() - 1);
        let from = past_segments.last().map_or(0, |last| last.until.as_millis().max(0));
        let line = format!("0 0 {from};{}", line_of(part, later_segments));
        Self { line, past: line_of(part, past_segments), later_segments, past_segments }
    }
}

/// Formats the limits of a schedule from its beginning on.
pub fn line(part: Part, schedule: &Schedule) -> String {
    Lines::new(part, schedule, Timestamp::from_millis(i64::MIN)).line
}

fn line_of(part: Part, segments: &[Segment]) -> String {
    let mut line = String::new();
    for segment in segments {
        let till = if segment.until == Timestamp::MAX { NO_END } else { segment.until.as_millis() };
        let flag = flag(part, &segment.limits);
        // Writing to a string cannot fail.
        let _ = write!(line, "{} {flag} {};", till.min(NO_END), numbers(part, &segment.limits));
    }
    line
}

fn flag(part: Part, limits: &Limits) -> u8 {
    let is_by_type = |(id, _): &(LimitId, _)| id.kind() == LimitKind::MembersPerGroupOfType;
    if limits.stopped() {
        1
    } else if part == Part::Groups && limits.sold.iter().any(is_by_type) {
        2
    } else {
        0
    }
}

fn numbers(part: Part, limits: &Limits) -> String {
    let of_part = |kind: &&LimitKind| kind.row().relation.map(Relation::part) == Some(part);
    let kinds = || LimitKind::ALL.iter().copied().filter(|kind| of_part(&kind));
    let mut numbers = String::new();
    for id in kinds().filter(|kind| kind.row().line == Line::Number).filter_map(|it| it.id(None)) {
        let _ = write!(numbers, "{} ", number(limits.sold_or_unlimited(&id).limit));
    }
    for kind in kinds() {
        let Line::Keyed(key) = kind.row().line else { continue };
        for (id, bound) in limits.sold.iter().filter(|(id, _)| id.kind() == kind) {
            let name = id.group_type().map_or("", Name::as_str);
            let _ = write!(numbers, "{key}{name}={} ", number(bound.limit));
        }
    }
    // Lines of one number have never ended with a space.
    if part != Part::Groups {
        numbers.truncate(numbers.trim_end().len());
    }
    numbers
}

/// Formats a limit for scripts.
pub fn number(limit: Limit) -> String {
    limit.finite().map_or_else(|| "-".to_owned(), |limit| limit.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::limit::{Bound, Source};
    use crate::domain::timeline::ServiceState;
    use crate::domain::warning::THRESHOLDS_PERCENT;
    use crate::redis::scripts;

    #[test]
    fn the_limit_over_all_types_follows_the_sold_limits() {
        let bound =
            |limit| Bound { limit: Limit::Finite(limit), source: Source::Edition("trial".into()) };
        let limits = Limits {
            im_code_set: None,
            edition: "trial".into(),
            state: ServiceState::Active,
            add_ons: Vec::new(),
            sold: vec![
                (LimitId::GroupsAllowance, bound(100_000)),
                (LimitId::GroupsPerApp("AVChatRoom".into()), bound(10)),
            ],
        };
        assert_eq!(numbers(Part::Groups, &limits), "- - AVChatRoom=10 *=100000 ");
        assert_eq!(numbers(Part::Accounts, &limits), "-");
    }

    #[test]
    fn limits_of_members_by_type_come_first() {
        let sold = [
            (LimitId::MembersPerGroup, 6000),
            (LimitId::MembersPerGroupOfType("Community".into()), 100_000),
            (LimitId::GroupsPerApp("Room".into()), 10),
            (LimitId::GroupsPerAppOfAllTypes, 50),
            (LimitId::GroupsPerDay, 9),
            (LimitId::GroupsPerDayOfType("Room".into()), 3),
        ];
        let source = || Source::Edition("pro".into());
        let sold =
            sold.map(|(id, limit)| (id, Bound { limit: Limit::Finite(limit), source: source() }));
        let limits = Limits {
            im_code_set: None,
            edition: "pro".into(),
            state: ServiceState::Active,
            add_ons: Vec::new(),
            sold: sold.into(),
        };
        assert_eq!(
            numbers(Part::Groups, &limits),
            "- 6000 m/Community=100000 Room=10 e/=50 d/=9 t/Room=3 "
        );
        assert_eq!([Part::Groups, Part::Friends].map(|part| flag(part, &limits)), [2, 0]);
        let stopped = Limits { state: ServiceState::Stopped, ..limits };
        assert_eq!(flag(Part::Groups, &stopped), 1);
    }

    #[test]
    fn scripts_count_every_limit_of_the_table_by_its_letter() {
        let texts: String = scripts::all().iter().map(|script| script.text.as_str()).collect();
        for row in LimitKind::ALL.iter().map(|kind| kind.row()) {
            for letter in row.letter.into_iter().chain(row.peer.map(|(letter, _)| letter)) {
                // A stopped service has no count.
                let zero = if row.relation.is_none() { "0" } else { "" };
                assert!(texts.contains(&format!("'{letter}{zero}'")), "{} {letter}", row.name);
            }
        }
        assert!(texts.contains(&format!(
            "ipairs({{{}}})",
            THRESHOLDS_PERCENT.map(|it| it.to_string()).join(", ")
        )));
    }

    #[test]
    fn lines_are_stable() {
        let limits = |state| Limits {
            im_code_set: None,
            edition: "professional".into(),
            state,
            add_ons: Vec::new(),
            sold: [
                (LimitId::AccountsPerApp, Limit::Unlimited),
                (LimitId::FriendsPerUser, Limit::Finite(3000)),
                (LimitId::GroupsPerUser, Limit::Finite(200)),
                (LimitId::GroupsPerApp("AVChatRoom".into()), Limit::Finite(50)),
            ]
            .map(|(id, limit)| {
                (id, Bound { limit, source: Source::Edition("professional".into()) })
            })
            .into(),
        };
        let segments = vec![
            Segment {
                until: Timestamp::from_millis(1_552_233_600_000),
                limits: limits(ServiceState::Active),
            },
            Segment { until: Timestamp::MAX, limits: limits(ServiceState::Stopped) },
        ];
        let schedule = Schedule::from_segments(segments).expect("in order");
        for (part, golden) in [
            (Part::Accounts, "1552233600000 0 -;9007199254740991 1 -;"),
            (Part::Friends, "1552233600000 0 3000;9007199254740991 1 3000;"),
            (
                Part::Groups,
                "1552233600000 0 200 - AVChatRoom=50 ;9007199254740991 1 200 - AVChatRoom=50 ;",
            ),
        ] {
            assert_eq!(line(part, &schedule), format!("0 0 0;{golden}"));
            let later = Lines::new(part, &schedule, Timestamp::from_millis(1_552_233_600_000));
            let split = golden.find(';').expect("two segments") + 1;
            assert_eq!(later.past, golden[..split]);
            assert_eq!(later.line, format!("0 0 1552233600000;{}", &golden[split..]));
            assert_eq!((later.past_segments.len(), later.later_segments.len()), (1, 1));
        }
    }
}
