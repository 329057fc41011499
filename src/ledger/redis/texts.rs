//! What scripts are told of the catalog: the rules of group types, and the limits of an app that
//! nobody registered. Every call tells them, and they change with the catalog alone, so that they
//! are written once for each.

use std::sync::Arc;

use super::keys::{PARTS, Part};
use super::limits::{line, number};
use crate::domain::catalog::Catalog;
use crate::domain::group_type::GroupType;
use crate::domain::schedule::Schedule;
use crate::ledger::Call;

/// The texts of one catalog.
pub struct Texts {
    catalog: Arc<Catalog>,
    unknown_app: Option<Arc<Schedule>>,
    /// Group types: `;NAME CAP TRACKED COUNTS RECLAIM PER_APP PER_DAY;...`.
    pub types: Vec<u8>,
    lines: [Vec<u8>; PARTS.len()],
}

impl Texts {
    /// Of the catalog and limits that the call goes by.
    pub fn of(call: &Call) -> Self {
        let (catalog, unknown_app) = (call.catalog.clone(), call.unknown_app.clone());
        let mut types = ";".to_owned();
        for kind in &catalog.group_types {
            types.push_str(&type_rules(kind));
        }
        let default = |part| {
            let line = unknown_app.as_ref().map(|limits| line(part, limits));
            line.unwrap_or_default().into_bytes()
        };
        let lines = PARTS.map(default);
        Self { types: types.into_bytes(), lines, catalog, unknown_app }
    }

    /// Whether they are what the call goes by.
    pub fn are_of(&self, call: &Call) -> bool {
        let same_default = match (&self.unknown_app, &call.unknown_app) {
            (Some(ours), Some(its)) => Arc::ptr_eq(ours, its),
            (None, None) => true,
            _ => false,
        };
        same_default && Arc::ptr_eq(&self.catalog, &call.catalog)
    }

    /// The limits of an app that has none of its own, for that part; empty where it is refused.
    pub fn default_line(&self, part: Part) -> &[u8] {
        &self.lines[part as usize]
    }
}

fn type_rules(kind: &GroupType) -> String {
    format!(
        "{} {} {} {} {} {} {};",
        kind.name,
        number(kind.member_cap),
        u8::from(kind.members_tracked),
        u8::from(kind.counts_towards_user),
        u8::from(kind.reclaim_empty),
        number(kind.per_app),
        number(kind.per_day),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;
    use crate::domain::decision::Mode;
    use crate::domain::id::AppId;
    use crate::domain::time::Timestamp;

    #[test]
    fn texts_follow_the_catalog_and_the_limits_of_unknown_apps() {
        let catalog = Arc::new(catalog::builtin());
        let limits = Arc::new(Schedule::default_of(&catalog).expect("it has a default edition"));
        let call = |catalog: &Arc<Catalog>, unknown_app: Option<&Arc<Schedule>>| Call {
            app: AppId::try_from("demo").expect("an id"),
            mode: Mode::Enforce,
            deadline: Timestamp::MAX,
            catalog: catalog.clone(),
            unknown_app: unknown_app.cloned(),
            hurried: false,
        };
        let texts = Texts::of(&call(&catalog, Some(&limits)));
        for part in PARTS {
            assert_eq!(texts.default_line(part), line(part, &limits).as_bytes(), "{part:?}");
        }
        assert!(texts.are_of(&call(&catalog, Some(&limits))));
        assert!(!texts.are_of(&call(&catalog, None)));
        // Others, even if they read the same.
        assert!(!texts.are_of(&call(&Arc::new(catalog::builtin()), Some(&limits))));
        let copy = Arc::new((*limits).clone());
        assert!(!texts.are_of(&call(&catalog, Some(&copy))));
        let refused = Texts::of(&call(&catalog, None));
        assert_eq!(refused.default_line(Part::Groups), b"");
        assert!(refused.types.starts_with(b";Private "));
    }
}
