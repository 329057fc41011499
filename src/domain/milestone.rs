//! What the passing of time does to what was bought: reminders before the end, and the ends.
//!
//! Worked out from everything bought and refunded so far, so that an edition which was renewed is
//! never said to end when it would have. What a refund cuts short was told as the refund; only the
//! service that it stops is told besides.

use std::time::Duration;

use super::catalog::Catalog;
use super::event::{Happening, Sold};
use super::purchase::{Period, Sales};
use super::time::Timestamp;
use super::timeline::{ServiceState, Timeline};

/// So many days of 24 hours before its end something is said to end (pricing rules, section 6:
/// from 7 days on).
pub const REMINDED_DAYS: [u32; 3] = [7, 3, 1];

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The milestones after `after` and up to `until`, in their order.
#[must_use]
pub fn milestones(
    catalog: &Catalog,
    sales: &Sales,
    after: Timestamp,
    until: Timestamp,
) -> Vec<(Timestamp, Happening)> {
    let timeline = Timeline::new(catalog, sales);
    let mut found = Vec::new();
    for run in &timeline.editions {
        let edition = || run.edition.clone();
        let ended_at = run.valid.until;
        if !run.refunded {
            remind(&mut found, &Sold::Edition(edition()), run.valid);
            if ended_at < run.stops_at {
                found.push((ended_at, Happening::GraceBegan { edition: edition(), ended_at }));
            }
        }
        let (stopped, state) = timeline.edition_at(run.stops_at);
        if state == ServiceState::Stopped && stopped == run.edition {
            let ended_at = run.stops_at;
            found.push((ended_at, Happening::ServiceStopped { edition: edition(), ended_at }));
        }
    }
    for run in timeline.add_ons.iter().filter(|run| !run.refunded) {
        let add_on = || run.add_on.clone();
        remind(&mut found, &Sold::AddOn(add_on()), timeline.valid[run.purchase()]);
        let ended_at = run.in_force.until;
        found.push((ended_at, Happening::AddOnEnded { add_on: add_on(), ended_at }));
    }
    found.retain(|(at, _)| after < *at && *at <= until);
    // Stable, so that what happens at once is told in the order of purchase.
    found.sort_by_key(|(at, _)| *at);
    found
}

fn remind(found: &mut Vec<(Timestamp, Happening)>, what: &Sold, valid: Period) {
    for days_left in REMINDED_DAYS {
        let before = i64::try_from((DAY * days_left).as_millis()).unwrap_or(i64::MAX);
        let at = Timestamp::from_millis(valid.until.as_millis().saturating_sub(before));
        if valid.from <= at {
            let what = what.clone();
            found.push((at, Happening::Ending { what, ends_at: valid.until, days_left }));
        }
    }
}
