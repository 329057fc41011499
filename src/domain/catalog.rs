//! The catalog: every published number, as data.
//!
//! It is plain data, validated as a whole by the loader (`crate::catalog`); this module only reads
//! it. Prices are of a month, in minor units of [`Catalog::currency`].

use std::fmt;
use std::time::Duration;

use super::calendar::{LastDay, Zone};
use super::currency::Currency;
use super::failure_policy::FailurePolicy;
use super::group_type::GroupType;
use super::hold::HoldRules;
use super::id::Name;
use super::id_rules::IdRules;
use super::im_code::ImCodes;
use super::limit::{Limit, LimitId};
use super::limits::Sale;
use super::postpaid::PostPaid;
use super::selling::{FeeRule, RefundRule, Selling};
use super::text::Conventions;

/// Editions, add-ons, group types, IM codes and validity rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalog {
    /// The operator's own name for this version of the catalog, for logs and metrics.
    pub version: String,
    /// The time zone in which days and months begin.
    pub zone: Zone,
    /// The currency of all prices.
    pub currency: Currency,
    /// The edition of an app that has bought nothing. One of `editions`.
    pub default_edition: Name,
    /// Editions, in the order in which they are offered.
    pub editions: Vec<Edition>,
    /// Add-ons, in the order in which they are offered.
    pub add_ons: Vec<AddOn>,
    /// Every group type.
    pub group_types: Vec<GroupType>,
    /// Most net-new groups of an app in a day, over all types.
    pub groups_per_day: Limit,
    /// Rules for how long purchases are valid.
    pub validity: Validity,
    /// Rules and prices of postpaid usage.
    pub postpaid: PostPaid,
    /// Failure policy: decisions while the store is unavailable.
    pub failure: FailurePolicy,
    /// Bounds on unregistered apps in a store.
    pub unknown_apps: UnknownApps,
    /// Rules of the user and group ids of takes.
    pub ids: IdRules,
    /// Rules of holds.
    pub holds: HoldRules,
    /// The number of ids that a call may carry.
    pub batch: Batch,
    /// Error codes that IM clients support.
    pub im_codes: ImCodes,
}

/// Bounds on unregistered apps in a store; they are needed because app ids cost nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownApps {
    /// Most unregistered apps in a store; apps that have facts are not refused beyond it.
    pub max: u64,
    /// Most facts of an unregistered app in each part of the store: accounts, friends, groups with
    /// members.
    pub facts_per_app_max: u64,
}

/// Bound that unregistered apps have reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownAppBound {
    /// Number of unregistered apps in the store.
    Apps,
    /// Number of facts of the app in one part.
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
    /// Bounds of a catalog without the section: some gigabytes in all, and far above what trials
    /// need.
    fn default() -> Self {
        Self { max: 10_000, facts_per_app_max: 100_000 }
    }
}

/// An edition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edition {
    /// Id, such as `professional`.
    pub id: Name,
    /// Display name.
    pub label: String,
    /// Price of a month; `None` if it has none (the default edition).
    pub price_fen_per_month: Option<i64>,
    /// Conditions of its sale.
    pub selling: Selling,
    /// True if add-ons may be bought for it and count while it runs.
    pub add_ons_allowed: bool,
    /// True if usage beyond the free allowances is charged; if not, it is only metered.
    pub postpaid_allowed: bool,
    /// Limits that the edition sets. It has no say in limits that are not listed.
    pub limits: Vec<(LimitId, Limit)>,
}

/// An add-on. Its kind is the limit that it raises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddOn {
    /// Id, such as `groups-per-user-400`.
    pub id: Name,
    /// Display name.
    pub label: String,
    /// The limit that it raises; at most one add-on of a kind is in force.
    pub limit_id: LimitId,
    /// The value that it raises the limit to.
    pub limit: Limit,
    /// Price of a month.
    pub price_fen_per_month: i64,
    /// Conditions of its sale.
    pub selling: Selling,
}

/// Rules of validity: duration, grace, and the state afterwards (pricing rules, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Days of grace after an edition's last valid day.
    pub edition_grace_days: u32,
    /// Days of grace after an add-on's last valid day.
    pub add_on_grace_days: u32,
    /// State of the app after the edition's grace.
    pub after_grace: AfterGrace,
    /// Days, of 24 hours each, after a purchase in which its refund is the whole price.
    pub full_refund_days: u32,
    /// Most refunds of the whole price for an app.
    pub full_refunds_per_app: usize,
    /// The last valid day of new purchases.
    pub last_day: LastDay,
    /// The part that other refunds pay back.
    pub refund: RefundRule,
    /// The computation of prices.
    pub fee: FeeRule,
}

impl Validity {
    /// The time after a purchase in which its refund is the whole price.
    #[must_use]
    pub fn full_refund_within(&self) -> Duration {
        Duration::from_secs(u64::from(self.full_refund_days) * 24 * 60 * 60)
    }
}

/// State of an app after its edition's grace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterGrace {
    /// The service stops.
    Stop,
    /// The app falls back to the default edition.
    DefaultEdition,
}

/// The number of ids that a call may carry (pricing rules, section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// Most accounts created or deleted.
    pub accounts_max: usize,
    /// Most members in a creation, joining or leaving.
    pub members_max: usize,
    /// Most friends added or removed.
    pub friends_max: usize,
}

impl Catalog {
    /// Returns how instants and amounts are written in texts for people.
    #[must_use]
    pub fn conventions(&self) -> Conventions {
        Conventions { zone: self.zone, currency: self.currency }
    }

    /// Returns the catalog with those parts of another one that each sidecar reads from its own
    /// file: a store does not keep them.
    #[must_use]
    pub fn with_own_parts(self, own: &Self) -> Self {
        Self {
            failure: own.failure.clone(),
            unknown_apps: own.unknown_apps,
            ids: own.ids,
            holds: own.holds,
            batch: own.batch,
            im_codes: own.im_codes.clone(),
            ..self
        }
    }

    /// Returns the edition with that id.
    #[must_use]
    pub fn edition(&self, id: &str) -> Option<&Edition> {
        self.editions.iter().find(|edition| edition.id.as_str() == id)
    }

    /// Returns the add-on with that id.
    #[must_use]
    pub fn add_on(&self, id: &str) -> Option<&AddOn> {
        self.add_ons.iter().find(|add_on| add_on.id.as_str() == id)
    }

    /// Returns the value that an edition sets for a limit, or for the one which that stands
    /// instead of, including what follows from postpaid; `None` if the edition sets neither.
    #[must_use]
    pub fn edition_limit(&self, edition: &Edition, id: &LimitId) -> Option<Limit> {
        if id.kind().row().sale == Sale::Allowance {
            return Some(self.allowance(edition).unwrap_or(Limit::Unlimited));
        }
        let mut ids = id.kind().sold_as().filter_map(|kind| kind.id(id.group_type()));
        ids.find_map(|id| edition.limit(&id))
    }

    /// Returns how many groups of all types are free of charge, if an edition allows no more. One
    /// that lists the number of groups allows those; without a price of groups none is bound.
    #[must_use]
    pub fn allowance(&self, edition: &Edition) -> Option<Limit> {
        let listed = edition.limit(&LimitId::GroupsPerAppOfAllTypes).is_some();
        let is_bound = !listed && !edition.postpaid_allowed;
        let groups = self.postpaid.groups.filter(|_| is_bound)?;
        Some(Limit::Finite(groups.tier.free))
    }

    /// Returns whether users have to be counted by month: an edition limits them, or they are
    /// charged.
    #[must_use]
    pub fn counts_month_users(&self) -> bool {
        let limits = |edition: &Edition| edition.limit(&LimitId::ActiveUsersPerMonth).is_some();
        self.editions.iter().any(limits) || self.postpaid.needs_month_users()
    }

    /// Returns the edition with postpaid that has the lowest price, if any is for sale.
    #[must_use]
    pub fn cheapest_postpaid(&self) -> Option<(&Edition, i64)> {
        let for_sale = self.editions.iter().filter(|edition| edition.postpaid_allowed);
        let priced = for_sale.filter_map(|it| Some((it, it.offered_price()?)));
        priced.min_by_key(|(_, price)| *price)
    }

    /// Returns the group type with that name.
    #[must_use]
    pub fn group_type(&self, name: &str) -> Option<&GroupType> {
        self.group_types.iter().find(|kind| kind.name.as_str() == name)
    }
}

impl AddOn {
    /// Returns whether it raises its limit above the value that an edition sets; not if the edition
    /// does not set that limit, or does not allow add-ons.
    #[must_use]
    pub fn raises(&self, edition: &Edition) -> bool {
        let of_edition = edition.limit(&self.limit_id);
        edition.add_ons_allowed && of_edition.is_some_and(|limit| self.limit > limit)
    }
}

impl Edition {
    /// Returns the value that the edition sets for a limit; `None` if it does not set it.
    #[must_use]
    pub fn limit(&self, id: &LimitId) -> Option<Limit> {
        self.limits.iter().find(|(of, _)| of == id).map(|(_, limit)| *limit)
    }

    /// Returns the price of a month at which the edition may be offered to any app, in fen.
    #[must_use]
    pub fn offered_price(&self) -> Option<i64> {
        self.price_fen_per_month.filter(|_| self.selling.is_offered())
    }
}
