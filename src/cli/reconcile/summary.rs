//! Sums of the responses of a comparison: counts, and a few samples of each sort of difference.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::grpc::pb;
use crate::grpc::pb::{DifferenceOutcome as Outcome, DifferenceSide as Side, FactKind};

/// Most samples of each sort: enough to see a pattern.
const SAMPLES_MAX: usize = 10;

/// Sums of all responses so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Facts that are stored or exported.
    pub facts_compared: u64,
    /// Exported members of groups that do not track members.
    pub members_ignored: u64,
    /// Exported members of groups that have another type in the store.
    #[serde(default)]
    pub members_skipped: u64,
    /// Differences, by sort.
    pub differences: Vec<Differences>,
}

/// Differences of one sort.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Differences {
    /// Kind of fact, such as `member`.
    pub kind: String,
    /// Kind of difference, such as `missing_here`.
    pub side: String,
    /// Number of differences that were found and not repaired.
    pub found: u64,
    /// Number of differences that were repaired.
    pub repaired: u64,
    /// Number of differences that live traffic has changed since the export.
    pub left_alone: u64,
    /// The first differences.
    pub samples: Vec<Sample>,
}

/// One difference, without its sort. A fingerprint replaces an id that is not available.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sample {
    /// Outcome: `found`, `repaired` or `left_alone`.
    pub outcome: String,
    /// The group's id.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group_id: String,
    /// The group's fingerprint, if its id is not available.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group_fingerprint: String,
    /// Id of the account, of the user whose list it is, or of the member.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user_id: String,
    /// The user's fingerprint, if their id is not available.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user_fingerprint: String,
    /// Id of the friend in the list.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub friend_id: String,
    /// The friend's fingerprint, if their id is not available.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub friend_fingerprint: String,
}

impl Sample {
    /// Converts a difference of a response.
    pub fn of(difference: &pb::Difference) -> Self {
        Self {
            outcome: outcome_name(difference.outcome()).to_owned(),
            group_id: difference.group_id.clone(),
            group_fingerprint: difference.group_fingerprint.clone(),
            user_id: difference.user_id.clone(),
            user_fingerprint: difference.user_fingerprint.clone(),
            friend_id: difference.friend_id.clone(),
            friend_fingerprint: difference.friend_fingerprint.clone(),
        }
    }

    fn resolve(&mut self, ids: &BTreeMap<&str, &str>) {
        let users = [
            (&mut self.user_id, &mut self.user_fingerprint),
            (&mut self.friend_id, &mut self.friend_fingerprint),
        ];
        for (id, fingerprint) in users {
            if let Some(resolved) = ids.get(fingerprint.as_str()) {
                (*resolved).clone_into(id);
                fingerprint.clear();
            }
        }
    }
}

impl Summary {
    /// Adds a response.
    pub fn add(&mut self, response: &pb::ReconcileResponse) {
        self.facts_compared += response.facts_compared;
        self.members_ignored += response.members_ignored;
        self.members_skipped += response.members_skipped;
        for count in &response.counts {
            let sort = self.sort(kind_name(count.kind()), side_name(count.side()));
            match count.outcome() {
                Outcome::Repaired => sort.repaired += count.count,
                Outcome::LeftAlone => sort.left_alone += count.count,
                Outcome::Found | Outcome::Unspecified => sort.found += count.count,
            }
        }
        for difference in &response.differences {
            let sort = self.sort(kind_name(difference.kind()), side_name(difference.side()));
            if sort.samples.len() < SAMPLES_MAX {
                sort.samples.push(Sample::of(difference));
            }
        }
        self.resolve(&response.resolved_users);
    }

    /// Replaces fingerprints of users in samples with their ids.
    pub fn resolve(&mut self, users: &[pb::ResolvedUser]) {
        if users.is_empty() {
            return;
        }
        let named = |user: &pb::ResolvedUser| !user.fingerprint.is_empty();
        let users = users.iter().filter(|user| named(user));
        let ids = users.map(|user| (user.fingerprint.as_str(), user.user_id.as_str())).collect();
        let samples = self.differences.iter_mut().flat_map(|sort| &mut sort.samples);
        samples.for_each(|sample| sample.resolve(&ids));
    }

    /// Adds another summary.
    pub fn merge(&mut self, other: Self) {
        self.facts_compared += other.facts_compared;
        self.members_ignored += other.members_ignored;
        self.members_skipped += other.members_skipped;
        for more in other.differences {
            let sort = self.sort(&more.kind, &more.side);
            sort.found += more.found;
            sort.repaired += more.repaired;
            sort.left_alone += more.left_alone;
            let room = SAMPLES_MAX.saturating_sub(sort.samples.len());
            sort.samples.extend(more.samples.into_iter().take(room));
        }
    }

    /// Returns only the repaired differences, which a repeated search does not find again.
    pub fn repaired_only(&self) -> Self {
        let repaired = outcome_name(Outcome::Repaired);
        let sorts = self.differences.iter().filter(|sort| sort.repaired > 0);
        let differences = sorts.cloned().map(|sort| Differences {
            found: 0,
            left_alone: 0,
            samples: sort.samples.into_iter().filter(|one| one.outcome == repaired).collect(),
            ..sort
        });
        Self { differences: differences.collect(), ..Self::default() }
    }

    /// Returns the numbers of differences that were found and not repaired, repaired, left alone.
    pub fn totals(&self) -> (u64, u64, u64) {
        let sum = |of: fn(&Differences) -> u64| self.differences.iter().map(of).sum();
        (sum(|sort| sort.found), sum(|sort| sort.repaired), sum(|sort| sort.left_alone))
    }

    fn sort(&mut self, kind: &str, side: &str) -> &mut Differences {
        let key = |sort: &Differences| (sort.kind.as_str(), sort.side.as_str()).cmp(&(kind, side));
        let at = self.differences.binary_search_by(key).unwrap_or_else(|at| {
            let new =
                Differences { kind: kind.into(), side: side.into(), ..Differences::default() };
            self.differences.insert(at, new);
            at
        });
        &mut self.differences[at]
    }
}

/// Returns the name of a kind of fact, such as `member`.
pub fn kind_name(kind: FactKind) -> &'static str {
    match kind {
        FactKind::Unspecified => "unknown",
        FactKind::Account => "account",
        FactKind::Friend => "friend",
        FactKind::Group => "group",
        FactKind::Member => "member",
    }
}

/// Returns the name of a kind of difference, such as `missing_here`.
pub fn side_name(side: Side) -> &'static str {
    match side {
        Side::Unspecified => "unknown",
        Side::MissingHere => "missing_here",
        Side::MissingThere => "missing_there",
        Side::OtherType => "other_type",
        Side::OtherMaxMembers => "other_max_members",
    }
}

fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Unspecified => "unknown",
        Outcome::Found => "found",
        Outcome::Repaired => "repaired",
        Outcome::LeftAlone => "left_alone",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(outcome: Outcome, count: u64) -> pb::ReconcileResponse {
        let (kind, side) = (FactKind::Member.into(), Side::MissingThere.into());
        let count = pb::DifferenceCount { kind, side, outcome: outcome.into(), count };
        let difference = pb::Difference {
            kind,
            side,
            outcome: outcome.into(),
            group_id: "g1".into(),
            user_fingerprint: "0a1b".into(),
            ..pb::Difference::default()
        };
        pb::ReconcileResponse {
            counts: vec![count],
            differences: vec![difference],
            facts_compared: 7,
            members_ignored: 2,
            ..pb::ReconcileResponse::default()
        }
    }

    #[test]
    fn responses_add_up_and_resolved_ids_are_filled_in() {
        let mut summary = Summary::default();
        for _ in 0..12 {
            summary.add(&answer(Outcome::Repaired, 1));
        }
        summary.add(&answer(Outcome::LeftAlone, 3));
        let users = vec![pb::ResolvedUser { fingerprint: "0a1b".into(), user_id: "u7".into() }];
        summary.add(&pb::ReconcileResponse {
            resolved_users: users,
            ..pb::ReconcileResponse::default()
        });
        assert_eq!((summary.totals(), summary.facts_compared), ((0, 12, 3), 7 * 13));
        let samples = &summary.differences[0].samples;
        assert_eq!((samples.len(), samples[9].user_id.as_str()), (10, "u7"));
        assert_eq!(samples[0].user_fingerprint, "");
    }

    #[test]
    fn only_repaired_differences_are_kept_from_an_interrupted_end() {
        let mut summary = Summary::default();
        summary.add(&answer(Outcome::Found, 4));
        assert_eq!(summary.repaired_only(), Summary::default());
        summary.add(&answer(Outcome::Repaired, 2));
        let kept = summary.repaired_only();
        assert_eq!((kept.totals(), kept.facts_compared), ((0, 2, 0), 0));
        assert_eq!(kept.differences[0].samples.len(), 1);
    }
}
