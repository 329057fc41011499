//! Results of a comparison, as messages.

use crate::engine::admin::reconcile::{Found, Kind, Labelled, NamedDifference};
use crate::grpc::pb;
use crate::ledger::reconcile::{Mismatch, Outcome};

/// Converts the result of a part.
pub fn found(found: &Found) -> pb::ReconcileResponse {
    let count = |((of, what, became), count)| pb::DifferenceCount {
        kind: kind(of).into(),
        side: side(what).into(),
        outcome: outcome(became).into(),
        count,
    };
    let resolved = found.resolved.iter().map(|it| pb::ResolvedUser {
        fingerprint: hexadecimal(it.fingerprint),
        user_id: it.user.to_string(),
    });
    pb::ReconcileResponse {
        counts: found.counts.iter().map(count).collect(),
        differences: found.differences.iter().map(difference).collect(),
        facts_compared: found.facts_compared,
        members_ignored: found.members_ignored,
        members_skipped: found.members_skipped,
        resolved_users: resolved.collect(),
        tracked_since: None,
        finished: false,
    }
}

fn difference(it: &NamedDifference) -> pb::Difference {
    let (user_id, user_fingerprint) = label(it.user.as_ref());
    let (friend_id, friend_fingerprint) = label(it.friend.as_ref());
    let (group_id, group_fingerprint) = label(it.group.as_ref());
    pb::Difference {
        kind: kind(it.kind).into(),
        side: side(it.side).into(),
        outcome: outcome(it.outcome).into(),
        user_id,
        user_fingerprint,
        friend_id,
        friend_fingerprint,
        group_id,
        group_fingerprint,
    }
}

/// Returns id and fingerprint, one of which is empty.
fn label(of: Option<&Labelled>) -> (String, String) {
    match of {
        None => Default::default(),
        Some(Labelled::Id(id)) => (id.clone(), String::new()),
        Some(Labelled::Fingerprint(fingerprint)) => (String::new(), hexadecimal(*fingerprint)),
    }
}

fn hexadecimal(fingerprint: u64) -> String {
    format!("{fingerprint:016x}")
}

fn kind(kind: Kind) -> pb::FactKind {
    match kind {
        Kind::Account => pb::FactKind::Account,
        Kind::Friend => pb::FactKind::Friend,
        Kind::Group => pb::FactKind::Group,
        Kind::Member => pb::FactKind::Member,
    }
}

fn side(side: Mismatch) -> pb::DifferenceSide {
    match side {
        Mismatch::MissingHere => pb::DifferenceSide::MissingHere,
        Mismatch::MissingThere => pb::DifferenceSide::MissingThere,
        Mismatch::OtherType => pb::DifferenceSide::OtherType,
        Mismatch::OtherMaxMembers => pb::DifferenceSide::OtherMaxMembers,
    }
}

fn outcome(outcome: Outcome) -> pb::DifferenceOutcome {
    match outcome {
        Outcome::Found => pb::DifferenceOutcome::Found,
        Outcome::Repaired => pb::DifferenceOutcome::Repaired,
        Outcome::LeftAlone => pb::DifferenceOutcome::LeftAlone,
    }
}
