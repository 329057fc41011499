//! Mixes of operations, each operation a pure function of its number and the seed, so that several
//! processes share one sequence and a run can be repeated.

use clap::ValueEnum;
use imquota::grpc::pb;
use imquota::grpc::pb::apply_request::Operation;

use super::shared::{Pair, Pairs};

/// The type of every group: the one that holds 6000 members.
pub const GROUP_TYPE: &str = "ChatRoom";
/// The group that every user joins in [`Mix::HotGroup`].
pub const HOT_GROUP: &str = "hot";
/// The group that no user can join: its limit is one member.
pub const FULL_GROUP: &str = "full";
/// The user who is in every group.
pub const RESIDENT: &str = "resident";
/// The consecutive operations that share a contested group: more than are in flight at once find
/// the same limit.
const CONTESTED_FOR: u64 = 256;
/// The number of contested groups for each other group; beyond them the sequence begins with the
/// first one again.
const CONTESTED_PER_GROUP: u32 = 8;
/// The limit of a contested group, far below the 51 users who join it.
pub const CONTESTED_MEMBERS_MAX: u32 = 16;
/// The distance in operations between a join and the leave of the same user.
const LAG: u64 = 4096;
/// The highest number of members of the hot group, apart from operations in flight.
const HOT_MEMBERS: u64 = 2048;

/// The operations and their shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mix {
    /// Joins of one user each, all new.
    Join,
    /// 80 % joins, 15 % leaves, 5 % reads of usage.
    JoinHeavy,
    /// 75 % friends added, 20 % removed, 5 % reads of usage.
    FriendHeavy,
    /// 80 % joins of a group that is full, 20 % joins.
    DenialHeavy,
    /// One group: half joins, half leaves.
    HotGroup,
    /// Joins and leaves of users distributed by Zipf's law (s = 1).
    Zipf,
    /// Joins of a group that is full.
    Denied,
    /// 80 % joins, 20 % joins of groups that fill up one after the other.
    Contested,
    /// 50 % joins, 15 % leaves, 20 % friends added, 5 % removed, 5 % denials, 5 % reads.
    Mixed,
}

/// A kind of operation.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Join,
    Leave,
    Befriend,
    Unfriend,
    Denied,
    Contested,
    Hot,
    ZipfJoin,
    ZipfLeave,
    Usage,
}

impl Mix {
    /// Returns the kinds of operations, in percent.
    fn shares(self) -> &'static [(u64, Kind)] {
        match self {
            Self::Join => &[(100, Kind::Join)],
            Self::JoinHeavy => &[(80, Kind::Join), (15, Kind::Leave), (5, Kind::Usage)],
            Self::FriendHeavy => &[(75, Kind::Befriend), (20, Kind::Unfriend), (5, Kind::Usage)],
            Self::DenialHeavy => &[(80, Kind::Denied), (20, Kind::Join)],
            Self::HotGroup => &[(100, Kind::Hot)],
            Self::Zipf => &[(50, Kind::ZipfJoin), (50, Kind::ZipfLeave)],
            Self::Denied => &[(100, Kind::Denied)],
            Self::Contested => &[(80, Kind::Join), (20, Kind::Contested)],
            Self::Mixed => &[
                (50, Kind::Join),
                (15, Kind::Leave),
                (20, Kind::Befriend),
                (5, Kind::Unfriend),
                (5, Kind::Denied),
                (5, Kind::Usage),
            ],
        }
    }
}

/// The operations of one app.
#[derive(Debug, Clone)]
pub struct Plan {
    pub mix: Mix,
    pub app: String,
    pub pairs: Pairs,
    pub users: u32,
    pub groups: u32,
    pub seed: u64,
}

impl Plan {
    pub fn new(mix: Mix, app: &str, users: u32, groups: u32, seed: u64) -> Self {
        let pairs = Pairs::of(users, groups, seed);
        Self { mix, app: app.to_owned(), pairs, users, groups, seed }
    }

    /// Returns the operation with that number.
    pub fn operation(&self, number: u64) -> Operation {
        let percentile = scramble(number ^ self.seed) % 100;
        let mut below = 0;
        let mut shares = self.mix.shares().iter();
        let kind = shares.find_map(|(percent, kind)| {
            below += percent;
            (percentile < below).then_some(*kind)
        });
        match kind.expect("all shares make 100 percent") {
            Kind::Join => self.join(number),
            Kind::Leave => self.leave(number),
            Kind::Befriend => self.befriend(number),
            Kind::Unfriend => self.unfriend(number),
            Kind::Denied => self.join_of(FULL_GROUP.to_owned(), self.pair(number)),
            Kind::Contested => self.contested(number),
            Kind::Hot => self.hot(number),
            Kind::ZipfJoin => self.zipf_join(number),
            Kind::ZipfLeave => self.zipf_leave(number),
            Kind::Usage => self.usage(number),
        }
    }

    /// Returns the groups that have to exist before the run: all groups, the hot one, the full one,
    /// and those that are contested.
    pub fn groups(&self) -> Vec<pb::CreateGroupRequest> {
        // One user stays in each, so that it is not removed when the others leave.
        let create = |group_id: String| pb::CreateGroupRequest {
            app_id: self.app.clone(),
            group_id,
            r#type: GROUP_TYPE.to_owned(),
            member_ids: vec![RESIDENT.to_owned()],
            mode: pb::Mode::Force.into(),
            ..Default::default()
        };
        let mut groups: Vec<_> = (0..self.groups).map(|group| create(group_id(group))).collect();
        groups.push(create(HOT_GROUP.to_owned()));
        let full = create(FULL_GROUP.to_owned());
        groups.push(pb::CreateGroupRequest { max_members: Some(1), ..full });
        if self.mix == Mix::Contested {
            groups.extend((0..self.contested_groups()).map(|number| pb::CreateGroupRequest {
                max_members: Some(CONTESTED_MEMBERS_MAX),
                ..create(contested_id(number))
            }));
        }
        groups
    }

    fn pair(&self, number: u64) -> Pair {
        self.pairs.get(number % self.pairs.len())
    }

    fn join(&self, number: u64) -> Operation {
        let pair = self.pair(number);
        self.join_of(group_id(pair.group), pair)
    }

    fn join_of(&self, group_id: String, pair: Pair) -> Operation {
        Operation::JoinGroup(pb::JoinGroupRequest {
            app_id: self.app.clone(),
            group_id,
            user_ids: vec![user_id(pair.user)],
            ..Default::default()
        })
    }

    fn leave(&self, number: u64) -> Operation {
        let pair = self.pair(number.saturating_sub(LAG));
        self.leave_of(group_id(pair.group), pair.user)
    }

    fn leave_of(&self, group_id: String, user: u32) -> Operation {
        let app_id = self.app.clone();
        let user_ids = vec![user_id(user)];
        Operation::LeaveGroup(pb::LeaveGroupRequest { app_id, group_id, user_ids })
    }

    fn befriend(&self, number: u64) -> Operation {
        let (user_id, friend_ids) = self.friends(number);
        let app_id = self.app.clone();
        let request = pb::AddFriendsRequest { app_id, user_id, friend_ids, ..Default::default() };
        Operation::AddFriends(request)
    }

    fn unfriend(&self, number: u64) -> Operation {
        let (user_id, friend_ids) = self.friends(number.saturating_sub(LAG));
        let app_id = self.app.clone();
        let request = pb::RemoveFriendsRequest { app_id, user_id, friend_ids, one_way: false };
        Operation::RemoveFriends(request)
    }

    /// Returns a user and another one.
    fn friends(&self, number: u64) -> (String, Vec<String>) {
        let pair = self.pair(number);
        let apart = 1 + pair.group % (self.users - 1);
        (user_id(pair.user), vec![user_id((pair.user + apart) % self.users)])
    }

    fn contested(&self, number: u64) -> Operation {
        let group = number / CONTESTED_FOR % self.contested_groups();
        self.join_of(contested_id(group), self.pair(number))
    }

    fn contested_groups(&self) -> u64 {
        u64::from(self.groups * CONTESTED_PER_GROUP)
    }

    fn hot(&self, number: u64) -> Operation {
        let user = |number: u64| u32::try_from(number % u64::from(self.users)).expect("below");
        let turn = number / 2;
        if number.is_multiple_of(2) {
            let pair = Pair { user: user(turn), group: 0 };
            self.join_of(HOT_GROUP.to_owned(), pair)
        } else {
            self.leave_of(HOT_GROUP.to_owned(), user(turn.saturating_sub(HOT_MEMBERS)))
        }
    }

    fn zipf_join(&self, number: u64) -> Operation {
        let pair = Pair { user: self.zipf(number), group: self.pair(number).group };
        self.join_of(group_id(pair.group), pair)
    }

    fn zipf_leave(&self, number: u64) -> Operation {
        let earlier = number.saturating_sub(LAG);
        self.leave_of(group_id(self.pair(earlier).group), self.zipf(earlier))
    }

    /// Returns the inverse of the distribution function of Zipf's law with s = 1, approximately.
    fn zipf(&self, number: u64) -> u32 {
        let share = f64::from(u32::try_from(scramble(number) >> 32).expect("32 bits"));
        let rank = f64::from(self.users).powf(share / f64::from(u32::MAX)).floor();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at least 1")]
        let rank = rank as u32;
        rank.clamp(1, self.users) - 1
    }

    fn usage(&self, number: u64) -> Operation {
        let kind = pb::subject::Kind::UserId(user_id(self.pair(number).user));
        let subject = Some(pb::Subject { kind: Some(kind) });
        Operation::GetUsage(pb::GetUsageRequest { app_id: self.app.clone(), subject })
    }
}

/// Returns the id of the user with that number.
pub fn user_id(number: u32) -> String {
    format!("user-{number:07}")
}

/// Returns the id of the contested group with that number.
fn contested_id(number: u64) -> String {
    format!("contested-{number:05}")
}

/// Returns the id of the group with that number.
pub fn group_id(number: u32) -> String {
    format!("group-{number:05}")
}

/// Hashes a number by SplitMix64.
fn scramble(number: u64) -> u64 {
    let mut hash = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
