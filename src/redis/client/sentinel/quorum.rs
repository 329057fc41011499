//! Determines the master that several Sentinels name together: pure.
//!
//! The reply of one Sentinel proves nothing, since it may be cut off together with an old master. A
//! majority of all Sentinels that monitor the master is reached or not; of those reached, the one
//! with the highest configuration epoch is right, since an epoch is won by the votes of a majority.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use crate::redis::options::HostPort;

/// The state of the master as one Sentinel returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::redis::client) struct View {
    /// The Sentinel's run id.
    pub(super) id: String,
    /// The master that it names.
    pub(super) master: HostPort,
    /// The configuration epoch of that master.
    pub(super) epoch: u64,
    /// The other Sentinels.
    pub(super) others: Vec<HostPort>,
    /// Number of replicas of the master that it has seen.
    pub(super) replicas: usize,
    /// The stage of the failover that it carries out.
    pub(super) failover: Failover,
    /// Its last vote.
    pub(super) vote: Option<Vote>,
    /// Longest time of a failover.
    pub(super) failover_timeout: Duration,
}

/// The stage of a failover that a Sentinel carries out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failover {
    /// There is no failover.
    None,
    /// It is about to promote a replica.
    Promoting,
    /// It has promoted the master that it names, and points the other replicas at it.
    Reconfiguring,
}

/// A vote for the leader of a failover.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Vote {
    /// The run id of the Sentinel that was voted for.
    pub(super) leader: String,
    /// The epoch.
    pub(super) epoch: u64,
}

/// The combined reply of several Sentinels: see the module's head.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Quorum {
    /// True if a majority answered.
    pub(super) is_majority: bool,
    /// The master at the highest epoch, and that epoch; `None` if no Sentinel answered, or if two
    /// masters are named at that epoch.
    pub(super) named: Option<(HostPort, u64)>,
    /// The reason why a replica may be promoted, or may have been.
    pub(super) unrest: Option<String>,
    /// True while replicas are being pointed at the master that is named.
    pub(super) is_reconfiguring: bool,
    /// The highest number of replicas that any of them has seen of the master.
    pub(super) replicas: usize,
    /// The number of Sentinels that answered, and of all Sentinels.
    pub(super) reached: usize,
    pub(super) of: usize,
}

impl Quorum {
    /// Evaluates the replies. `is_over`: whether the failover that a vote was for has ended by its
    /// own time limit.
    pub(super) fn of(views: &[View], is_over: impl Fn(&Vote) -> bool) -> Self {
        let ids: HashSet<&str> = views.iter().map(|view| view.id.as_str()).collect();
        let of = views.iter().map(|view| view.others.len() + 1).max().unwrap_or(0);
        let of = of.max(ids.len());
        let epoch = views.iter().map(|view| view.epoch).max().unwrap_or(0);
        let latest = || views.iter().filter(|view| view.epoch == epoch);
        let masters: BTreeSet<String> = latest().map(|view| view.master.to_string()).collect();
        let one = latest().next().filter(|_| masters.len() == 1);
        let named = one.map(|view| (view.master.clone(), epoch));
        let not_reached = |vote: &&Vote| !ids.contains(vote.leader.as_str());
        let votes = views.iter().filter_map(|view| view.vote.as_ref());
        let vote = votes.filter(|vote| vote.epoch > epoch).filter(not_reached);
        let vote = vote.filter(|vote| !is_over(vote)).max_by_key(|vote| vote.epoch);
        let unrest = if views.iter().any(|view| view.failover == Failover::Promoting) {
            Some("a failover is under way".to_owned())
        } else if masters.len() > 1 {
            Some(format!("Sentinels name several masters at epoch {epoch}"))
        } else {
            vote.map(|Vote { leader, epoch }| {
                format!("Sentinel {leader}, elected at epoch {epoch}, cannot be queried")
            })
        };
        Self {
            is_majority: ids.len() > of / 2,
            named,
            unrest,
            is_reconfiguring: latest().any(|view| view.failover == Failover::Reconfiguring),
            replicas: views.iter().map(|view| view.replicas).max().unwrap_or(0),
            reached: ids.len(),
            of,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> HostPort {
        HostPort { host: "h".to_owned(), port }
    }

    fn view(id: &str, master: u16, epoch: u64) -> View {
        View {
            id: id.to_owned(),
            master: at(master),
            epoch,
            others: vec![at(11), at(12)],
            replicas: 2,
            failover: Failover::None,
            vote: None,
            failover_timeout: Duration::from_secs(180),
        }
    }

    fn of(views: &[View]) -> Quorum {
        Quorum::of(views, |_| false)
    }

    fn vote(leader: &str, epoch: u64) -> Vote {
        Vote { leader: leader.to_owned(), epoch }
    }

    #[test]
    fn a_majority_is_one_of_all_sentinels() {
        for (views, is_majority) in [
            (&[][..], false),
            (&[view("a", 1, 0)], false),
            // The same Sentinel, queried at two addresses.
            (&[view("a", 1, 0), view("a", 1, 0)], false),
            (&[view("a", 1, 0), view("b", 1, 0)], true),
            (&[view("a", 1, 0), View { others: vec![at(1); 4], ..view("b", 1, 0) }], false),
            (&[View { others: vec![], ..view("a", 1, 0) }], true),
        ] {
            assert_eq!(of(views).is_majority, is_majority, "{views:?}");
        }
    }

    #[test]
    fn the_highest_epoch_is_right() {
        for (views, named) in [
            (&[][..], None),
            (&[view("a", 1, 3), view("b", 1, 3)], Some((at(1), 3))),
            (&[view("a", 1, 3), view("b", 2, 4), view("c", 1, 3)], Some((at(2), 4))),
            (&[view("a", 1, 4), view("b", 2, 4)], None),
        ] {
            assert_eq!(of(views).named, named, "{views:?}");
        }
    }

    #[test]
    fn a_failover_that_may_be_under_way_is_unrest() {
        let promoting = View { failover: Failover::Promoting, ..view("b", 1, 3) };
        let done = View { failover: Failover::Reconfiguring, ..view("b", 2, 4) };
        let voted = |leader, epoch| View { vote: Some(vote(leader, epoch)), ..view("a", 1, 3) };
        for (views, is_unrest) in [
            (vec![view("a", 1, 3), view("b", 1, 3)], false),
            (vec![view("a", 1, 3), promoting], true),
            (vec![view("a", 1, 3), done], false),
            (vec![view("a", 1, 4), view("b", 2, 4)], true),
            // The leader has not answered: it may have promoted a replica.
            (vec![voted("c", 4), view("b", 1, 3)], true),
            // The leader has answered, and no longer carries out the failover.
            (vec![voted("b", 4), view("b", 1, 3)], false),
            // This vote made the current master.
            (vec![voted("c", 3), view("b", 1, 3)], false),
        ] {
            assert_eq!(of(&views).unrest.is_some(), is_unrest, "{views:?}");
        }
        let views = [voted("c", 4), view("b", 1, 3)];
        assert_eq!(Quorum::of(&views, |vote| vote.epoch == 4).unrest, None);
    }
}
