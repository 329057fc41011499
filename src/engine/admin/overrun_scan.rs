//! Full scan: the numbers of users and groups of an app that would be over their limits.
//!
//! The store returns fingerprints, so that subjects are counted and not named. Only those that are
//! over a limit are remembered, in some 20 bytes each, since a store may return a subject twice.

use std::collections::HashSet;
use std::time::Duration;

use super::preview::over;
use super::service::AdminService;
use super::{AdminError, READ_TIMEOUT};
use crate::domain::catalog::Catalog;
use crate::domain::decision::Mode;
use crate::domain::id::{AppId, GroupId, Name};
use crate::domain::limit::{LimitId, Source};
use crate::domain::schedule::Schedule;
use crate::domain::time::Timestamp;
use crate::domain::usage::{Counts, Usage};
use crate::ledger::holdings::{SubjectUsage, UsageCount, UsageScope};

/// Timeout of scanning an app. A million users with their groups keep Redis busy for 23 seconds of
/// up to a minute: ten million are about the most.
pub(super) const SCAN_MINUTES: u64 = 10;
/// All scopes, in the order in which they are scanned.
const ALL: [UsageScope; 3] =
    [UsageScope::UsersWithFriends, UsageScope::UsersInGroups, UsageScope::Groups];
/// Placeholder for the id of any group: the store returns no names.
const ANY_GROUP: &str = "group";

/// Users or groups that would be over the same limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverrunCount {
    /// The limit.
    pub limit_id: LimitId,
    /// The type of the groups; of groups only.
    pub group_type: Option<Name>,
    /// The number that may be held: the same for all of them, or the lowest of groups' own limits.
    pub limit: u64,
    /// The source of the limit. For groups' own limits it names no group.
    pub source: Source,
    /// Number of these users or groups.
    pub subjects: u64,
    /// The highest number that one of them holds.
    pub highest_used: i64,
}

impl AdminService {
    /// Counts the users and groups that are over the schedule's limits at an instant.
    pub(super) async fn overrun_counts(
        &self,
        app: &AppId,
        catalog: &Catalog,
        schedule: &Schedule,
        at: Timestamp,
    ) -> Result<Vec<OverrunCount>, AdminError> {
        let counted = async {
            let mut counts = Vec::new();
            for of in ALL {
                counts.extend(self.overruns_of(app, of, catalog, schedule, at).await?);
            }
            Ok(counts)
        };
        let too_long = |_| AdminError::TooLong(app.clone());
        let within = Duration::from_secs(60 * SCAN_MINUTES);
        tokio::time::timeout(within, counted).await.map_err(too_long)?
    }

    async fn overruns_of(
        &self,
        app: &AppId,
        of: UsageScope,
        catalog: &Catalog,
        schedule: &Schedule,
        at: Timestamp,
    ) -> Result<Vec<OverrunCount>, AdminError> {
        let (mut tally, mut position) = (Tally::default(), None);
        loop {
            let deadline = self.engine.local_now() + READ_TIMEOUT;
            let (call, _) = self.engine.call(app.clone(), Mode::CheckOnly, deadline);
            let page = self.engine.ledger.holdings(&call, of, position).await;
            let page = page.map_err(AdminError::Unread)?;
            for SubjectUsage { key, held } in page.each {
                let (counts, group_type) = counts(held);
                for (usage, limit) in over(catalog, schedule, &counts, at) {
                    tally.add(key, group_type.as_ref(), usage, limit);
                }
            }
            position = page.next;
            if position.is_none() {
                return Ok(tally.finish());
            }
            self.pace.next_slice().await;
        }
    }
}

/// Subjects of one scope that are over a limit.
#[derive(Default)]
struct Tally {
    seen: HashSet<u64>,
    counts: Vec<OverrunCount>,
}

impl Tally {
    /// Adds a count that is over. Each subject has only one count in a scope.
    fn add(&mut self, key: u64, group_type: Option<&Name>, usage: Usage, limit: u64) {
        if !self.seen.insert(key) {
            return;
        }
        let Usage { limit_id, used, bound, .. } = usage;
        let same = |it: &&mut OverrunCount| {
            let of_type = it.group_type.as_ref() == group_type;
            it.limit_id == limit_id && of_type && it.source == bound.source
        };
        if let Some(count) = self.counts.iter_mut().find(same) {
            count.subjects += 1;
            count.highest_used = count.highest_used.max(used);
            count.limit = count.limit.min(limit);
            return;
        }
        self.counts.push(OverrunCount {
            limit_id,
            group_type: group_type.cloned(),
            limit,
            source: bound.source,
            subjects: 1,
            highest_used: used,
        });
    }

    /// Returns the counts by limit and type, sold limits before groups' own.
    fn finish(mut self) -> Vec<OverrunCount> {
        self.counts.sort_by_key(|it| {
            let is_own = matches!(it.source, Source::Group(_));
            (it.limit_id.clone(), it.group_type.clone(), is_own)
        });
        self.counts
    }
}

/// Returns the counts for the comparison with limits; of a group also its type.
fn counts(held: UsageCount) -> (Counts, Option<Name>) {
    match held {
        UsageCount::Friends(friends) => (Counts::User { friends, groups: 0 }, None),
        UsageCount::Groups(groups) => (Counts::User { friends: 0, groups }, None),
        UsageCount::Members { group_type, members, max_members } => {
            let group = GroupId::try_from(ANY_GROUP).expect("it is printable and short");
            let of_type = Some(group_type.clone());
            (Counts::Group { group, group_type, members, max_members }, of_type)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::limit::{Bound, Limit};

    fn usage(used: i64, limit: u64, source: Source) -> Usage {
        let bound = Bound { limit: Limit::Finite(limit), source };
        Usage { limit_id: LimitId::MembersPerGroup, used, bound, change: None }
    }

    #[test]
    fn a_subject_that_is_returned_twice_is_counted_once() {
        let mut tally = Tally::default();
        let public: Name = "Public".into();
        let any_group = GroupId::try_from(ANY_GROUP).expect("an id");
        for (key, used, limit, source) in [
            (1, 21, 20, Source::Edition("trial".into())),
            (2, 30, 9, Source::Group(any_group.clone())),
            (1, 50, 20, Source::Edition("trial".into())),
            (3, 25, 20, Source::Edition("trial".into())),
            (4, 8, 7, Source::Group(any_group)),
        ] {
            tally.add(key, Some(&public), usage(used, limit, source), limit);
        }
        let counts = tally.finish();
        let found: Vec<_> =
            counts.iter().map(|it| (it.limit, it.subjects, it.highest_used)).collect();
        assert_eq!(found, [(20, 2, 25), (7, 2, 30)]);
    }
}
