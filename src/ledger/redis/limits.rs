//! The limits of an app as a script reads them: one line, with only what its part needs.
//!
//! `TILL STOPPED LIMITS;` for each segment: TILL in milliseconds since the epoch, STOPPED 0 or 1,
//! LIMITS numbers or `-` for unlimited. For groups these are groups per user and members per
//! group, then `TYPE=NUMBER` for each type that is sold by number, each followed by a space.

use std::fmt::Write as _;

use super::keys::Part;
use crate::domain::limit::{Limit, LimitId};
use crate::domain::schedule::{Limits, Schedule};
use crate::domain::time::Timestamp;

/// No end: the greatest whole number that Lua is exact about.
const NO_END: i64 = (1 << 53) - 1;

/// The line of a part.
pub fn line(part: Part, schedule: &Schedule) -> String {
    let mut line = String::new();
    for segment in schedule.segments() {
        let till = if segment.until == Timestamp::MAX { NO_END } else { segment.until.as_millis() };
        let stopped = u8::from(segment.limits.stopped());
        // Writing to a string cannot fail.
        let _ = write!(line, "{} {stopped} {};", till.min(NO_END), numbers(part, &segment.limits));
    }
    line
}

fn numbers(part: Part, limits: &Limits) -> String {
    let sold = |id: &LimitId| number(limits.sold_or_unlimited(id).limit);
    match part {
        Part::Accounts => sold(&LimitId::AccountsPerApp),
        Part::Friends => sold(&LimitId::FriendsPerUser),
        Part::Groups => {
            let mut numbers =
                format!("{} {} ", sold(&LimitId::GroupsPerUser), sold(&LimitId::MembersPerGroup));
            for (id, bound) in &limits.sold {
                if let LimitId::GroupsPerApp(group_type) = id {
                    let _ = write!(numbers, "{group_type}={} ", number(bound.limit));
                }
            }
            numbers
        }
    }
}

/// A limit as scripts read it.
pub fn number(limit: Limit) -> String {
    limit.finite().map_or_else(|| "-".to_owned(), |limit| limit.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::limit::{Bound, Source};
    use crate::domain::schedule::Segment;
    use crate::domain::timeline::ServiceState;

    #[test]
    fn lines_stay_what_they_are() {
        let limits = |state| Limits {
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
            assert_eq!(line(part, &schedule), golden);
        }
    }
}
