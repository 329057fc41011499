//! How many users and groups of an app would be over their limits: all of them are gone through.
//!
//! The store knows them by fingerprints, so that they are counted and not named. Only those who
//! are over are remembered, by some 20 bytes each, since a store may show somebody twice.

use std::collections::HashSet;
use std::time::Duration;

use super::office::Office;
use super::preview::over;
use super::{AdminError, PATIENCE};
use crate::domain::catalog::Catalog;
use crate::domain::decision::Mode;
use crate::domain::id::{AppId, GroupId, Name};
use crate::domain::limit::{LimitId, Source};
use crate::domain::schedule::Schedule;
use crate::domain::time::Timestamp;
use crate::domain::usage::{Counts, Usage};
use crate::ledger::holdings::{Held, Holders, Holding};

/// Longest time for going through an app. A million users with their groups keep Redis busy for 23
/// seconds of up to a minute: ten million are about the most.
pub(super) const EVERYBODY_MINUTES: u64 = 10;
/// All sorts of holders, in the order in which they are gone through.
const ALL: [Holders; 3] = [Holders::UsersWithFriends, Holders::UsersInGroups, Holders::Groups];
/// Stands for any group: the store does not know what it is called.
const SOME_GROUP: &str = "group";

/// Users or groups that would be over the same limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverrunCount {
    /// Which limit.
    pub limit_id: LimitId,
    /// Of groups: their type.
    pub group_type: Option<Name>,
    /// What may be held: the same for all of them, or of groups' own limits the lowest.
    pub limit: u64,
    /// Where that comes from. A group's own limit stands for those of many; it names none.
    pub source: Source,
    /// How many of them there are.
    pub subjects: u64,
    /// The most that one of them holds.
    pub highest_used: i64,
}

impl Office {
    /// Counts the users and groups that are over what the schedule allows at an instant.
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
        let within = Duration::from_secs(60 * EVERYBODY_MINUTES);
        tokio::time::timeout(within, counted).await.map_err(too_long)?
    }

    async fn overruns_of(
        &self,
        app: &AppId,
        of: Holders,
        catalog: &Catalog,
        schedule: &Schedule,
        at: Timestamp,
    ) -> Result<Vec<OverrunCount>, AdminError> {
        let (mut tally, mut place) = (Tally::default(), None);
        loop {
            let deadline = self.engine.local_now() + PATIENCE;
            let (call, _) = self.engine.call(app.clone(), Mode::CheckOnly, deadline);
            let page = self.engine.ledger.holdings(&call, of, place).await;
            let page = page.map_err(AdminError::Unread)?;
            for Holding { key, held } in page.each {
                let (counts, group_type) = counts(held);
                for (usage, limit) in over(catalog, schedule, &counts, at) {
                    tally.add(key, group_type.as_ref(), usage, limit);
                }
            }
            place = page.next;
            if place.is_none() {
                return Ok(tally.finish());
            }
            self.pace.next_slice().await;
        }
    }
}

/// Holders of one sort that are over.
#[derive(Default)]
struct Tally {
    seen: HashSet<u64>,
    counts: Vec<OverrunCount>,
}

impl Tally {
    /// Of each holder one count can be over: a page has only that one.
    fn add(&mut self, key: u64, group_type: Option<&Name>, usage: Usage, limit: u64) {
        if !self.seen.insert(key) {
            return;
        }
        let Usage { limit_id, used, bound, .. } = usage;
        let same = |it: &&mut OverrunCount| {
            let of_type = it.group_type.as_ref() == group_type;
            it.limit_id == limit_id && of_type && it.source == bound.source
        };
        if let Some(known) = self.counts.iter_mut().find(same) {
            known.subjects += 1;
            known.highest_used = known.highest_used.max(used);
            known.limit = known.limit.min(limit);
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

    /// By limit and type, what is sold before what groups have of their own.
    fn finish(mut self) -> Vec<OverrunCount> {
        self.counts.sort_by_key(|it| {
            let is_own = matches!(it.source, Source::Group(_));
            (it.limit_id.clone(), it.group_type.clone(), is_own)
        });
        self.counts
    }
}

/// What is held, as the limits are applied to it; of a group also its type.
fn counts(held: Held) -> (Counts, Option<Name>) {
    match held {
        Held::Friends(friends) => (Counts::User { friends, groups: 0 }, None),
        Held::Groups(groups) => (Counts::User { friends: 0, groups }, None),
        Held::Members { group_type, members, max_members } => {
            let group = GroupId::try_from(SOME_GROUP).expect("it is printable and short");
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
    fn who_is_shown_twice_is_counted_once() {
        let mut tally = Tally::default();
        let public: Name = "Public".into();
        let some = GroupId::try_from(SOME_GROUP).expect("an id");
        for (key, used, limit, source) in [
            (1, 21, 20, Source::Edition("trial".into())),
            (2, 30, 9, Source::Group(some.clone())),
            (1, 50, 20, Source::Edition("trial".into())),
            (3, 25, 20, Source::Edition("trial".into())),
            (4, 8, 7, Source::Group(some)),
        ] {
            tally.add(key, Some(&public), usage(used, limit, source), limit);
        }
        let counts = tally.finish();
        let told: Vec<_> =
            counts.iter().map(|it| (it.limit, it.subjects, it.highest_used)).collect();
        assert_eq!(told, [(20, 2, 25), (7, 2, 30)]);
    }
}
