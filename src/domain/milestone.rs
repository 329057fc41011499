//! What the passing of time does to what was bought: reminders before the end, and the ends.
//!
//! Worked out from everything bought and refunded so far, so that an edition which was renewed is
//! never said to end when it would have. What a refund cuts short was told as the refund; only the
//! end of the edition is told besides.
//!
//! A change may bring about an end that lies in the past already, or undo one that has come to pass
//! unseen: [`ends_of_change`] decides which of them follow from the change, so that all others
//! follow from time alone and each is told once.

use std::time::Duration;

use super::catalog::{AfterGrace, Catalog};
use super::event::{Happening, Sold};
use super::purchase::{Period, Sales};
use super::time::Timestamp;
use super::timeline::Timeline;

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
    let mut found = all(catalog, sales);
    found.retain(|(at, _)| after < *at && *at <= until);
    found
}

/// The ends to be told of a change of the sales, in their order: those that it brings about and
/// that time has passed, and those that came to pass before it was recorded, were not told yet, and
/// are undone by it. `has_passed`: whether what followed from time alone is told up to an instant.
#[must_use]
pub fn ends_of_change(
    catalog: &Catalog,
    before: &Sales,
    after: &Sales,
    recorded_at: Timestamp,
    has_passed: impl Fn(Timestamp) -> bool,
) -> Vec<(Timestamp, Happening)> {
    let ends = |sales| {
        let mut ends = all(catalog, sales);
        ends.retain(|(_, what)| !matches!(what, Happening::Ending { .. }));
        ends
    };
    let (were, are) = (ends(before), ends(after));
    let undone = were.iter().filter(|end| !are.contains(end));
    let undone = undone.filter(|(at, _)| !has_passed(*at) && *at <= recorded_at);
    let brought_about = are.iter().filter(|end| !were.contains(end) && has_passed(end.0));
    let mut told: Vec<_> = undone.chain(brought_about).cloned().collect();
    told.sort_by_key(|(at, _)| *at);
    told
}

/// All milestones, in their order.
fn all(catalog: &Catalog, sales: &Sales) -> Vec<(Timestamp, Happening)> {
    let timeline = Timeline::new(catalog, sales);
    let mut found = Vec::new();
    for (index, run) in timeline.editions.iter().enumerate() {
        let edition = || run.edition.clone();
        let ended_at = run.valid.until;
        if !run.refunded {
            remind(&mut found, &Sold::Edition(edition()), run.valid);
            if ended_at < run.stops_at {
                found.push((ended_at, Happening::GraceBegan { edition: edition(), ended_at }));
            }
        }
        let (edition, ended_at) = (edition(), run.stops_at);
        let what = match timeline.after_end_of(index) {
            Some(AfterGrace::Stop) => Happening::ServiceStopped { edition, ended_at },
            Some(AfterGrace::DefaultEdition) => Happening::EditionEnded { edition, ended_at },
            None => continue,
        };
        found.push((ended_at, what));
    }
    for run in timeline.add_ons.iter().filter(|run| !run.refunded) {
        let add_on = || run.add_on.clone();
        remind(&mut found, &Sold::AddOn(add_on()), timeline.valid[run.purchase()]);
        let ended_at = run.in_force.until;
        found.push((ended_at, Happening::AddOnEnded { add_on: add_on(), ended_at }));
    }
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
