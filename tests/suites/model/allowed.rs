//! The model's limits at an instant.

use super::entitlement::State;
use super::rules::{AV_ROOM, Qualified, Rules};

/// The limits at an instant, by edition and add-ons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    pub state: State,
    /// True if an add-on raises a limit.
    pub raised: bool,
    /// True if an agreed limit is in force.
    pub agreed: bool,
    pub accounts: u64,
    pub friends: u64,
    pub groups: u64,
    pub members: u64,
    pub av_rooms: u64,
    pub all_groups: u64,
    pub qualified: Qualified,
}

impl Allowed {
    pub fn stopped(&self) -> bool {
        self.state == State::Stopped
    }

    /// The member cap of a group: the lowest of the purchase, the type's cap and the own limit.
    pub fn member_cap(&self, rules: &Rules, kind: usize, own: Option<u32>) -> u64 {
        let rule = &rules.kinds[kind];
        if !rule.tracked {
            return rule.cap;
        }
        let own = own.map_or(u64::MAX, u64::from);
        rule.cap.min(self.qualified.members[kind].unwrap_or(self.members)).min(own)
    }

    /// The limit of net-new groups of a day.
    pub fn groups_per_day(&self, rules: &Rules) -> u64 {
        rules.groups_per_day.min(self.qualified.per_day)
    }

    /// The limit of net-new groups of a type and a day.
    pub fn groups_of_kind_per_day(&self, rules: &Rules, kind: usize) -> u64 {
        rules.kinds[kind].per_day.min(self.qualified.per_day_of[kind])
    }

    /// The limit of groups of a type.
    pub fn groups_of_kind(&self, rules: &Rules, kind: usize) -> u64 {
        let sold = if kind == AV_ROOM { self.av_rooms } else { u64::MAX };
        rules.kinds[kind].per_app.min(sold)
    }
}
