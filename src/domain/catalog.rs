//! The catalog: every published number, as data.
//!
//! It is plain data that the loader (`crate::catalog`) has validated whole; here it is only asked.
//! Prices are fen (1/100 CNY) a month.

use std::fmt;
use std::time::Duration;

use super::calendar::Zone;
use super::decision::Reason;
use super::group_type::GroupType;
use super::id::Name;
use super::limit::{Limit, LimitId};
use super::policy::FailurePolicy;
use super::postpaid::PostPaid;

/// Editions, add-ons, group types, IM codes and validity rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalog {
    /// The operator's own name for this state of the catalog, for logs and metrics.
    pub version: String,
    /// Where days and months begin.
    pub zone: Zone,
    /// What an app is on that has bought nothing. One of `editions`.
    pub default_edition: Name,
    /// In the order in which they are offered.
    pub editions: Vec<Edition>,
    /// In the order in which they are offered.
    pub add_ons: Vec<AddOn>,
    /// Every group type.
    pub group_types: Vec<GroupType>,
    /// Net-new groups of an app and day, over all types.
    pub groups_per_day: Limit,
    /// How long purchases are valid.
    pub validity: Validity,
    /// What is paid for afterwards.
    pub postpaid: PostPaid,
    /// What is decided while the store does not answer.
    pub failure: FailurePolicy,
    /// How much apps that nobody registered may put into a store.
    pub unknown_apps: UnknownApps,
    /// How many ids a call may carry.
    pub batch: Batch,
    /// What IM clients know.
    pub im_codes: ImCodes,
}

/// How much apps that nobody registered may put into a store, since their ids cost nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownApps {
    /// Most such apps of a store; those that have facts are not refused beyond it.
    pub max: u64,
    /// Most facts of such an app in each part of the store: accounts, friends, groups with members.
    pub facts_per_app_max: u64,
}

/// Of what apps that nobody registered have reached the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownAppBound {
    /// Apps of the store.
    Apps,
    /// Facts of the app in a part.
    Facts,
}

impl fmt::Display for UnknownAppBound {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Apps => "such apps (unknown_apps.max)",
            Self::Facts => {
                "accounts, friends, or groups with members of such an app \
                 (unknown_apps.facts_per_app_max)"
            }
        })
    }
}

impl Default for UnknownApps {
    /// Of a catalog without the section: some gigabytes in all, and far above what is tried out.
    fn default() -> Self {
        Self { max: 10_000, facts_per_app_max: 100_000 }
    }
}

/// An edition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edition {
    /// Such as `professional`.
    pub id: Name,
    /// The name that people see.
    pub label: String,
    /// Price of a month; `None` where it is not for sale (the default edition).
    pub price_fen_per_month: Option<i64>,
    /// Whether add-ons may be bought for it and count while it runs.
    pub add_ons_allowed: bool,
    /// Whether what goes beyond the free allowances is charged; if not, it is only metered.
    pub postpaid_allowed: bool,
    /// What it allows. A limit that is not listed is not an edition's business.
    pub limits: Vec<(LimitId, Limit)>,
}

/// An add-on. Its kind is the limit that it raises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddOn {
    /// Such as `groups-per-user-400`.
    pub id: Name,
    /// The name that people see.
    pub label: String,
    /// The limit that it raises; of one kind at most one is in force.
    pub limit_id: LimitId,
    /// To how much.
    pub limit: Limit,
    /// Price of a month.
    pub price_fen_per_month: i64,
}

/// How long purchases are valid and what comes after (pricing rules, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Days that an edition runs on after its last valid day.
    pub edition_grace_days: u32,
    /// Days that an add-on runs on after its last valid day.
    pub add_on_grace_days: u32,
    /// What comes after the edition's grace.
    pub after_grace: AfterGrace,
    /// Within so many days, of 24 hours each, of a purchase its refund is the whole price.
    pub full_refund_days: u32,
    /// So often for an app.
    pub full_refunds_per_app: usize,
}

impl Validity {
    /// How long after a purchase its refund is the whole price.
    #[must_use]
    pub fn full_refund_within(&self) -> Duration {
        Duration::from_secs(u64::from(self.full_refund_days) * 24 * 60 * 60)
    }
}

/// What comes after an edition's grace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterGrace {
    /// The service stops.
    Stop,
    /// The app falls back to the default edition.
    DefaultEdition,
}

/// How many ids a call may carry (pricing rules, section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// Accounts created or deleted.
    pub accounts_max: usize,
    /// Members of a creation, joining or leaving.
    pub members_max: usize,
    /// Friends added or removed.
    pub friends_max: usize,
}

/// The codes that IM clients already know (pricing rules, section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImCodes {
    /// The service has stopped.
    pub service_stopped: i32,
    /// Accounts per app.
    pub accounts_per_app: i32,
    /// My friends.
    pub my_friends: i32,
    /// The peer's friends.
    pub peer_friends: i32,
    /// Groups per user.
    pub groups_per_user: i32,
    /// Net-new groups per day.
    pub groups_per_day: i32,
    /// Members, at join or add.
    pub members_per_group: i32,
    /// Members, in the list given at creation.
    pub members_at_creation: i32,
    /// Too many accounts in one call.
    pub batch_of_accounts: i32,
    /// Too many group members in one call.
    pub batch_of_members: i32,
}

impl Catalog {
    /// The edition of that name.
    #[must_use]
    pub fn edition(&self, id: &str) -> Option<&Edition> {
        self.editions.iter().find(|edition| edition.id.as_str() == id)
    }

    /// The add-on of that name.
    #[must_use]
    pub fn add_on(&self, id: &str) -> Option<&AddOn> {
        self.add_ons.iter().find(|add_on| add_on.id.as_str() == id)
    }

    /// What an edition allows of a limit, what follows from its being post-paid included; `None`
    /// where the limit is not the edition's business.
    #[must_use]
    pub fn edition_limit(&self, edition: &Edition, id: &LimitId) -> Option<Limit> {
        match id {
            LimitId::GroupsPerAppOfAllTypes if edition.postpaid_allowed => Some(Limit::Unlimited),
            LimitId::GroupsPerAppOfAllTypes => Some(Limit::Finite(self.postpaid.groups.free)),
            id => edition.limit(id),
        }
    }

    /// The edition with the lowest price that may run over what is free, if any is for sale.
    #[must_use]
    pub fn cheapest_postpaid(&self) -> Option<(&Edition, i64)> {
        let for_sale = self.editions.iter().filter(|edition| edition.postpaid_allowed);
        let priced = for_sale.filter_map(|it| Some((it, it.price_fen_per_month?)));
        priced.min_by_key(|(_, price)| *price)
    }

    /// The group type of that name.
    #[must_use]
    pub fn group_type(&self, name: &str) -> Option<&GroupType> {
        self.group_types.iter().find(|kind| kind.name.as_str() == name)
    }

    /// The IM's code for a denial; `group_type` is the group's, where there is one.
    #[must_use]
    pub fn im_code(&self, reason: Reason, group_type: Option<&str>) -> i32 {
        let codes = &self.im_codes;
        match reason {
            Reason::ServiceStopped => codes.service_stopped,
            Reason::AccountsPerApp => codes.accounts_per_app,
            Reason::MyFriends => codes.my_friends,
            Reason::PeerFriends => codes.peer_friends,
            Reason::GroupsPerUser => codes.groups_per_user,
            Reason::GroupsPerApp => group_type
                .and_then(|name| self.group_type(name))
                .map_or(codes.groups_per_day, |kind| kind.per_app_im_code),
            Reason::GroupsPerDay | Reason::GroupsAllowance => codes.groups_per_day,
            Reason::MembersPerGroup => codes.members_per_group,
            Reason::MembersAtCreation => codes.members_at_creation,
        }
    }
}

impl Edition {
    /// What the edition allows of that limit; `None` where that is not its business.
    #[must_use]
    pub fn limit(&self, id: &LimitId) -> Option<Limit> {
        self.limits.iter().find(|(of, _)| of == id).map(|(_, limit)| *limit)
    }
}
