//! Milestones: events that follow from time passing. Reminders before the end of a purchase, and
//! the ends.
//!
//! They are computed from all sales so far, so that no end is announced for an edition that was
//! renewed. A purchase that a refund cuts short is announced as the refund; only the end of the
//! edition is announced in addition.
//!
//! A change may bring about an end that already lies in the past, or undo one that has passed and
//! was not announced yet: [`ends_of_change`] decides which of these follow from the change, so that
//! all others follow from time alone and each is announced once.

use std::time::Duration;

use super::catalog::{AfterGrace, Catalog};
use super::event::{EventKind, Sold};
use super::purchase::{Period, Sales};
use super::time::Timestamp;
use super::timeline::Timeline;

/// Days, of 24 hours each, before the end of a purchase at which a reminder is due (pricing rules,
/// section 6: from 7 days on).
pub const REMINDED_DAYS: [u32; 3] = [7, 3, 1];

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Returns the milestones after `after` and up to `until`, in order.
#[must_use]
pub fn milestones(
    catalog: &Catalog,
    sales: &Sales,
    after: Timestamp,
    until: Timestamp,
) -> Vec<(Timestamp, EventKind)> {
    let mut found = all(catalog, sales);
    found.retain(|(at, _)| after < *at && *at <= until);
    found
}

/// Returns the ends to announce for a change of the sales, in order: those that it brings about and
/// whose time has passed, and those that had passed before it was recorded, were not announced yet,
/// and are undone by it. `has_passed` returns whether the milestones that follow from time alone
/// have been announced up to an instant.
#[must_use]
pub fn ends_of_change(
    catalog: &Catalog,
    before: &Sales,
    after: &Sales,
    recorded_at: Timestamp,
    has_passed: impl Fn(Timestamp) -> bool,
) -> Vec<(Timestamp, EventKind)> {
    let ends = |sales| {
        let mut ends = all(catalog, sales);
        ends.retain(|(_, what)| !matches!(what, EventKind::Ending { .. }));
        ends
    };
    let (were, are) = (ends(before), ends(after));
    let undone = were.iter().filter(|end| !are.contains(end));
    let undone = undone.filter(|(at, _)| !has_passed(*at) && *at <= recorded_at);
    let brought_about = are.iter().filter(|end| !were.contains(end) && has_passed(end.0));
    let mut ends_to_announce: Vec<_> = undone.chain(brought_about).cloned().collect();
    ends_to_announce.sort_by_key(|(at, _)| *at);
    ends_to_announce
}

/// Returns all milestones, in order.
fn all(catalog: &Catalog, sales: &Sales) -> Vec<(Timestamp, EventKind)> {
    let timeline = Timeline::new(catalog, sales);
    let mut found = Vec::new();
    for (index, run) in timeline.editions.iter().enumerate() {
        let edition = || run.edition.clone();
        let ended_at = run.valid.until;
        if !run.refunded {
            remind(&mut found, &Sold::Edition(edition()), run.valid);
            if ended_at < run.stops_at {
                found.push((ended_at, EventKind::GraceBegan { edition: edition(), ended_at }));
            }
        }
        let (edition, ended_at) = (edition(), run.stops_at);
        let what = match timeline.after_end_of(index) {
            Some(AfterGrace::Stop) => EventKind::ServiceStopped { edition, ended_at },
            Some(AfterGrace::DefaultEdition) => EventKind::EditionEnded { edition, ended_at },
            None => continue,
        };
        found.push((ended_at, what));
    }
    for run in timeline.add_ons.iter().filter(|run| !run.refunded) {
        let add_on = || run.add_on.clone();
        remind(&mut found, &Sold::AddOn(add_on()), timeline.valid[run.purchase()]);
        let ended_at = run.in_force.until;
        found.push((ended_at, EventKind::AddOnEnded { add_on: add_on(), ended_at }));
    }
    for run in timeline.agreed.iter().filter(|run| !run.refunded) {
        let limit_id = run.limit_id.to_string();
        remind(&mut found, &Sold::AgreedLimit(limit_id.clone()), run.in_force);
        let ended_at = run.in_force.until;
        found.push((ended_at, EventKind::AgreedLimitEnded { limit_id, ended_at }));
    }
    // The sort is stable, so that milestones at the same instant are in the order of purchase.
    found.sort_by_key(|(at, _)| *at);
    found
}

fn remind(found: &mut Vec<(Timestamp, EventKind)>, what: &Sold, valid: Period) {
    for days_left in REMINDED_DAYS {
        let before = i64::try_from((DAY * days_left).as_millis()).unwrap_or(i64::MAX);
        let at = Timestamp::from_millis(valid.until.as_millis().saturating_sub(before));
        if valid.from <= at {
            let what = what.clone();
            found.push((at, EventKind::Ending { what, ends_at: valid.until, days_left }));
        }
    }
}
