//! Agreed limits of the model: which one stands instead of what edition and add-ons set.

use super::allowed::Allowed;
use super::rules::{FREE, Raises, Rules};

/// A limit that can be agreed; kinds by their index in the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreeable {
    Accounts,
    Friends,
    Groups,
    Members,
    MembersOf(usize),
    AvRooms,
    AllGroups,
    PerDay,
    PerDayOf(usize),
}

/// An agreed limit, before it is checked.
#[derive(Debug, Clone, Copy)]
pub struct Agreed {
    pub limit: Agreeable,
    pub number: u64,
    pub fen: i64,
}

/// An agreed limit and its time, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct AgreedRun {
    pub agreed: Agreed,
    pub purchase: usize,
    pub from: i64,
    pub until: i64,
}

impl Agreeable {
    /// The id of the limit.
    pub fn id(self, rules: &Rules) -> String {
        let kind = |kind: usize| rules.kinds[kind].name;
        match self {
            Self::Accounts => "accounts_per_app".to_owned(),
            Self::Friends => "friends_per_user".to_owned(),
            Self::Groups => "groups_per_user".to_owned(),
            Self::Members => "members_per_group".to_owned(),
            Self::MembersOf(of) => format!("members_per_group/{}", kind(of)),
            Self::AvRooms => "groups_per_app/AVChatRoom".to_owned(),
            Self::AllGroups => "groups_per_app".to_owned(),
            Self::PerDay => "groups_per_day".to_owned(),
            Self::PerDayOf(of) => format!("groups_per_day/{}", kind(of)),
        }
    }

    /// True if an add-on is on the same limit.
    fn is_raised_by(self, raises: Raises) -> bool {
        match raises {
            Raises::Groups => self == Self::Groups,
            Raises::Members => self == Self::Members,
            Raises::MembersOf(kind) => self == Self::MembersOf(kind),
            Raises::AvRooms => self == Self::AvRooms,
        }
    }
}

impl AgreedRun {
    fn is_in_force(&self, at: i64) -> bool {
        self.from <= at && at < self.until
    }
}

/// True if an agreed limit stands instead of what an add-on raises.
pub fn hides(runs: &[AgreedRun], raises: Raises, at: i64) -> bool {
    runs.iter().any(|run| run.is_in_force(at) && run.agreed.limit.is_raised_by(raises))
}

/// Sets the agreed limits of an instant: of several on one limit the one granted last.
pub fn apply(runs: &[AgreedRun], allowed: &mut Allowed, at: i64) {
    for run in runs.iter().filter(|run| run.is_in_force(at)) {
        let number = run.agreed.number;
        match run.agreed.limit {
            Agreeable::Accounts => allowed.accounts = number,
            Agreeable::Friends => allowed.friends = number,
            Agreeable::Groups => allowed.groups = number,
            Agreeable::Members => allowed.members = number,
            Agreeable::MembersOf(kind) => allowed.qualified.members[kind] = Some(number),
            Agreeable::AvRooms => allowed.av_rooms = number,
            Agreeable::AllGroups => {
                allowed.qualified.all_groups = number;
                // Instead of the free number.
                allowed.all_groups = FREE;
            }
            Agreeable::PerDay => allowed.qualified.per_day = number,
            Agreeable::PerDayOf(kind) => allowed.qualified.per_day_of[kind] = number,
        }
        allowed.agreed = true;
    }
}
