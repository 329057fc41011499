//! The value of a limit: the lowest of the catalog's rule, of what editions and add-ons set, and of
//! the group's own limit.

use super::catalog::{Catalog, Edition};
use super::group_type::GroupType;
use super::id::{GroupId, Name};
use super::limit::{Bound, Limit, LimitId, Source};
use super::limits::{LimitKind, Relation, Rule, Scope};
use super::schedule::Limits;

/// The rules of a group, or of any group of a type.
#[derive(Debug, Clone, Copy)]
pub struct GroupRules<'a> {
    /// Its type.
    pub kind: &'a GroupType,
    /// Its own limit and its id, if it has one.
    pub own: Option<(u32, &'a GroupId)>,
}

impl<'a> GroupRules<'a> {
    /// The rules of a new group of a type.
    #[must_use]
    pub fn of_type(kind: &'a GroupType) -> Self {
        Self { kind, own: None }
    }
}

impl LimitKind {
    /// Returns the value that applies; by type, to groups with those rules.
    #[must_use]
    pub fn bound(
        self,
        catalog: &Catalog,
        limits: &Limits,
        group: Option<&GroupRules<'_>>,
    ) -> Bound {
        let of_app = match self.row().rule {
            Rule::OfApp(rule) => Some(Bound { limit: rule(catalog), source: Source::App }),
            Rule::No | Rule::OfType(_) => None,
        };
        self.bound_beside(of_app, limits, group)
    }

    /// Returns the value that applies, given the catalog's rule over all types.
    pub(super) fn bound_beside(
        self,
        of_app: Option<Bound>,
        limits: &Limits,
        group: Option<&GroupRules<'_>>,
    ) -> Bound {
        let row = self.row();
        let rule = match (row.rule, group) {
            (Rule::OfType(rule), Some(GroupRules { kind, .. })) => {
                let source = Source::GroupType(kind.name.clone());
                Some(Bound { limit: rule(kind), source })
            }
            _ => of_app,
        };
        let counts_members = row.relation == Some(Relation::Memberships);
        let is_untracked = counts_members && group.is_some_and(|of| !of.kind.members_tracked);
        let sold = if is_untracked { None } else { self.sold(limits, group) };
        let bound = match (rule, sold) {
            (Some(rule), Some(sold)) => rule.lower(sold.clone()),
            (Some(rule), None) => rule,
            (None, Some(sold)) => sold.clone(),
            (None, None) => limits.unlimited(),
        };
        match group.and_then(|group| group.own) {
            Some((max, group)) if row.scope == Scope::Group && !is_untracked => {
                Bound { limit: Limit::Finite(u64::from(max)), source: Source::Group(group.clone()) }
                    .lower(bound)
            }
            _ => bound,
        }
    }

    /// Returns the highest value that any purchase could reach: that of the catalog's rule, and of
    /// the group's own limit.
    #[must_use]
    pub fn ceiling(self, catalog: &Catalog, group: Option<&GroupRules<'_>>) -> Limit {
        let row = self.row();
        let rule = match (row.rule, group) {
            (Rule::OfType(rule), Some(GroupRules { kind, .. })) => rule(kind),
            (Rule::OfApp(rule), _) => rule(catalog),
            _ => Limit::Unlimited,
        };
        match group.and_then(|group| group.own) {
            Some((max, _)) if row.scope == Scope::Group => rule.min(Limit::Finite(u64::from(max))),
            _ => rule,
        }
    }

    /// Returns what edition and add-ons set.
    fn sold<'l>(self, limits: &'l Limits, group: Option<&GroupRules<'_>>) -> Option<&'l Bound> {
        let name = group.map(|of| &of.kind.name);
        self.sold_as().find_map(|kind| limits.sold_of(kind, name))
    }
}

impl Limits {
    /// Returns whether an edition lowers none of the limits that `is_meant` selects, within the
    /// catalog's rules.
    #[must_use]
    pub fn are_kept(
        &self,
        catalog: &Catalog,
        edition: &Edition,
        is_meant: impl Fn(&LimitId) -> bool,
    ) -> bool {
        let of_edition = edition.limits.iter().map(|(id, _)| id);
        let mut ids =
            self.sold.iter().map(|(id, _)| id).chain(of_edition).filter(|id| is_meant(id));
        ids.all(|id| {
            let kind = id.kind();
            let name = id.group_type();
            let sold = kind.sold_as().find_map(|kind| self.sold_of(kind, name));
            let group_type = name.and_then(|name| catalog.group_type(name.as_str()));
            let ceiling = kind.ceiling(catalog, group_type.map(GroupRules::of_type).as_ref());
            let before = sold.map_or(Limit::Unlimited, |bound| bound.limit);
            let after = self.limit_under(catalog, edition, id).unwrap_or(Limit::Unlimited);
            after >= before.min(ceiling)
        })
    }

    /// Returns the value of a limit once an edition replaces the current one: the agreed one, the
    /// edition's, or that of an add-on in force that still raises it; `None` if none is set.
    #[must_use]
    pub fn limit_under(&self, catalog: &Catalog, edition: &Edition, id: &LimitId) -> Option<Limit> {
        let groups = LimitId::GroupsPerAppOfAllTypes;
        if *id == LimitId::GroupsAllowance && self.agreed_limit(&groups).is_some() {
            return Some(Limit::Unlimited);
        }
        let mut ids = id.kind().sold_as().filter_map(|kind| kind.id(id.group_type()));
        let id = &ids
            .find(|id| self.agreed_limit(id).is_some() || edition.limit(id).is_some())
            .unwrap_or_else(|| id.clone());
        if let Some(agreed) = self.agreed_limit(id) {
            return Some(agreed);
        }
        let set = catalog.edition_limit(edition, id)?;
        let is_add_on = |bound: &&Bound| matches!(bound.source, Source::AddOn(_));
        let add_on = self.sold(id).filter(is_add_on).filter(|_| edition.add_ons_allowed);
        Some(add_on.map_or(set, |bound| set.max(bound.limit)))
    }

    /// Returns the value that edition or add-ons set for a limit; by type, for that type.
    fn sold_of(&self, kind: LimitKind, group_type: Option<&Name>) -> Option<&Bound> {
        let wanted = if kind.is_by_type() { Some(group_type?) } else { None };
        let mut sold = self.sold.iter();
        let found = sold.find(|(id, _)| id.kind() == kind && id.group_type() == wanted);
        found.map(|(_, bound)| bound)
    }
}
