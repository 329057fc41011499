//! The numbers of the model, written by hand independently of the catalogs under test, and the IM's
//! codes.

use imquota::domain::decision::Reason;

use super::conditions::{Conditions, FREELY, PUBLISHED, SaleRules};

/// No limit.
pub const FREE: u64 = u64::MAX;

/// The limits of one edition by group type, by their index, and on the groups of all types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Qualified {
    /// Members of a group, instead of the number for all types.
    pub members: [Option<u64>; 6],
    pub all_groups: u64,
    pub per_day: u64,
    pub per_day_of: [u64; 6],
}

/// No such limit.
const UNQUALIFIED: Qualified =
    Qualified { members: [None; 6], all_groups: FREE, per_day: FREE, per_day_of: [FREE; 6] };

/// The limits of one edition.
#[derive(Debug, Clone, Copy)]
pub struct EditionRule {
    pub id: &'static str,
    /// Price of a month; that of the default edition does not count.
    pub fen: i64,
    pub add_ons: bool,
    pub accounts: u64,
    pub friends: u64,
    pub groups: u64,
    pub members: u64,
    pub av_rooms: u64,
    /// Groups of all types that are free of charge, where no more are allowed.
    pub all_groups: u64,
    pub qualified: Qualified,
    pub conditions: Conditions,
}

/// The limit that an add-on raises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Raises {
    Groups,
    Members,
    /// Members of groups of the kind with that index.
    MembersOf(usize),
    AvRooms,
}

#[derive(Debug, Clone, Copy)]
pub struct AddOnRule {
    pub id: &'static str,
    pub raises: Raises,
    pub to: u64,
    /// Price of a month.
    pub fen: i64,
    pub conditions: Conditions,
}

impl EditionRule {
    /// The price of a month, and the conditions.
    pub fn price(&self) -> (i64, Conditions) {
        (self.fen, self.conditions)
    }
}

impl AddOnRule {
    /// The price of a month, and the conditions.
    pub fn price(&self) -> (i64, Conditions) {
        (self.fen, self.conditions)
    }
}

/// The limits and properties of a group type.
#[derive(Debug)]
pub struct KindRule {
    pub name: &'static str,
    pub cap: u64,
    /// Members are tracked.
    pub tracked: bool,
    /// The group counts for its members, and is reclaimed with its last member.
    pub ordinary: bool,
    pub per_app: u64,
    pub per_day: u64,
}

/// The model's form of a catalog. The first edition is the default one, the others are for sale.
#[derive(Debug)]
pub struct Rules {
    pub editions: &'static [EditionRule],
    pub add_ons: [AddOnRule; 6],
    pub kinds: &'static [KindRule],
    pub groups_per_day: u64,
    pub sale: SaleRules,
}

impl Rules {
    /// True if an add-on raises its limit under an edition.
    pub fn raises(&self, edition: usize, add_on: usize) -> bool {
        let (rule, add_on) = (&self.editions[edition], &self.add_ons[add_on]);
        let limit = match add_on.raises {
            Raises::Groups => rule.groups,
            Raises::Members => rule.members,
            Raises::MembersOf(kind) => rule.qualified.members[kind].unwrap_or(FREE),
            Raises::AvRooms => rule.av_rooms,
        };
        rule.add_ons && add_on.to > limit
    }
}

/// Days of grace after the last valid day of an edition.
pub const GRACE_DAYS: i64 = 7;

/// The index of AVChatRoom among the kinds.
pub const AV_ROOM: usize = 3;

/// Pricing rules, sections 1 and 2.
pub const BUILT_IN: Rules = Rules {
    editions: &[
        EditionRule {
            id: "trial",
            fen: 0,
            add_ons: false,
            accounts: 100,
            friends: 20,
            groups: 50,
            members: 20,
            av_rooms: 10,
            all_groups: 100_000,
            qualified: UNQUALIFIED,
            conditions: FREELY,
        },
        EditionRule {
            id: "professional",
            fen: 99_900,
            add_ons: true,
            accounts: FREE,
            friends: 3000,
            groups: 200,
            members: 200,
            av_rooms: 50,
            all_groups: FREE,
            qualified: UNQUALIFIED,
            conditions: FREELY,
        },
    ],
    add_ons: add_ons([400, 700, 1000], [2000, 6000]),
    kinds: &[
        tracked("Private", 200),
        tracked("Public", 2000),
        tracked("ChatRoom", 6000),
        untracked("AVChatRoom", FREE, FREE),
        untracked("BChatRoom", 5, 5),
    ],
    groups_per_day: 10_000,
    sale: PUBLISHED,
};

/// Limits that few users and groups reach.
pub const SMALL: Rules = Rules {
    editions: &[
        EditionRule {
            id: "trial",
            fen: 0,
            add_ons: false,
            accounts: 6,
            friends: 3,
            groups: 4,
            members: 4,
            av_rooms: 2,
            all_groups: 9,
            qualified: UNQUALIFIED,
            conditions: FREELY,
        },
        EditionRule {
            id: "professional",
            fen: 99_900,
            add_ons: true,
            accounts: 12,
            friends: 5,
            groups: 6,
            members: 6,
            av_rooms: 3,
            all_groups: FREE,
            qualified: UNQUALIFIED,
            conditions: FREELY,
        },
        // More friends and groups of a user, so that some add-ons raise nothing, and fewer members.
        EditionRule {
            id: "premium",
            fen: 199_900,
            add_ons: true,
            accounts: 15,
            friends: 7,
            groups: 8,
            members: 5,
            av_rooms: FREE,
            all_groups: FREE,
            qualified: UNQUALIFIED,
            conditions: FREELY,
        },
        EditionRule {
            id: "basic",
            fen: 49_900,
            add_ons: false,
            accounts: 8,
            friends: 4,
            groups: 5,
            members: 5,
            av_rooms: 3,
            all_groups: 9,
            qualified: UNQUALIFIED,
            conditions: FREELY,
        },
    ],
    add_ons: add_ons([7, 8, 9], [8, 12]),
    kinds: &[
        tracked("Private", 7),
        tracked("Public", 9),
        tracked("ChatRoom", 14),
        untracked("AVChatRoom", FREE, FREE),
        untracked("BChatRoom", 3, 2),
        KindRule { name: "Lounge", cap: 5, tracked: true, ordinary: false, per_app: 4, per_day: 3 },
    ],
    groups_per_day: 4,
    sale: PUBLISHED,
};

const fn add_ons(groups: [u64; 3], members: [u64; 2]) -> [AddOnRule; 6] {
    [
        AddOnRule {
            id: "groups-per-user-400",
            raises: Raises::Groups,
            to: groups[0],
            fen: 50_000,
            conditions: FREELY,
        },
        AddOnRule {
            id: "groups-per-user-700",
            raises: Raises::Groups,
            to: groups[1],
            fen: 90_000,
            conditions: FREELY,
        },
        AddOnRule {
            id: "groups-per-user-1000",
            raises: Raises::Groups,
            to: groups[2],
            fen: 110_000,
            conditions: FREELY,
        },
        AddOnRule {
            id: "members-2000",
            raises: Raises::Members,
            to: members[0],
            fen: 50_000,
            conditions: FREELY,
        },
        AddOnRule {
            id: "members-6000",
            raises: Raises::Members,
            to: members[1],
            fen: 100_000,
            conditions: FREELY,
        },
        AddOnRule {
            id: "av-chat-rooms-unlimited",
            raises: Raises::AvRooms,
            to: FREE,
            fen: 100_000,
            conditions: FREELY,
        },
    ]
}

const fn tracked(name: &'static str, cap: u64) -> KindRule {
    KindRule { name, cap, tracked: true, ordinary: true, per_app: FREE, per_day: FREE }
}

const fn untracked(name: &'static str, per_app: u64, per_day: u64) -> KindRule {
    KindRule { name, cap: FREE, tracked: false, ordinary: false, per_app, per_day }
}

/// Pricing rules, section 4.
pub fn im_code(reason: Reason, kind: Option<&str>) -> i32 {
    match (reason, kind) {
        (Reason::ServiceStopped, _) => 60020,
        (Reason::AccountsPerApp, _) => 70398,
        (Reason::MyFriends, _) => 30010,
        (Reason::PeerFriends, _) => 30014,
        (Reason::GroupsPerUser, _) => 10037,
        (Reason::GroupsPerApp, Some("AVChatRoom" | "Lounge")) => 10036,
        (
            Reason::GroupsPerApp | Reason::GroupsPerDay | Reason::GroupsAllowance | Reason::Limit,
            _,
        ) => 10006,
        (Reason::MembersPerGroup, _) => 10014,
        (Reason::MembersAtCreation, _) => 10038,
    }
}
