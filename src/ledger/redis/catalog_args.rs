//! The catalog arguments of scripts: the rules of group types, and the limits of unregistered apps.
//! Every call carries them, and they change only with the catalog, so that they are formatted once
//! for each.

use std::sync::Arc;

use super::limits::{NO_END, line, number};
use crate::domain::catalog::Catalog;
use crate::domain::group_type::GroupType;
use crate::domain::schedule::Schedule;
use crate::ledger::Call;
use crate::redis::keys::{PARTS, Part};

/// The catalog arguments for one catalog.
pub struct Texts {
    catalog: Arc<Catalog>,
    unknown_app: Option<Arc<Schedule>>,
    /// Group types: `;NAME CAP TRACKED COUNTS RECLAIM PER_APP PER_DAY;...`.
    pub types: Vec<u8>,
    lines: [Vec<u8>; PARTS.len()],
    /// Lines for an app that may not have been counted yet.
    uncounted_lines: [Vec<u8>; PARTS.len()],
    /// Lines for operations that were answered before, to which no bound of unknown apps applies.
    unbounded_lines: [Vec<u8>; PARTS.len()],
}

/// The state of an unregistered app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownAs {
    /// It may not have been counted yet.
    Uncounted,
    /// It has been counted, or need not be.
    Counted,
    /// The operation was answered before.
    Answered,
}

/// The prefix of the limits of an unknown app that may not have been counted yet.
const UNCOUNTED: &str = "!";
/// The separator between the limits of an unknown app and its most facts.
const FACTS_MAX: &str = "#";

impl Texts {
    /// Formats the arguments for the catalog and limits of a call.
    pub fn of(call: &Call) -> Self {
        let (catalog, unknown_app) = (call.catalog.clone(), call.unknown_app.clone());
        let mut types = ";".to_owned();
        for kind in &catalog.group_types {
            types.push_str(&type_rules(kind));
        }
        let default = |before: &str, part, facts_max: String| {
            let line = unknown_app.as_ref().map(|limits| line(part, limits));
            let line = line.map(|line| format!("{before}{line}{FACTS_MAX}{facts_max}"));
            line.unwrap_or_default().into_bytes()
        };
        let facts_max = || catalog.unknown_apps.facts_per_app_max.to_string();
        let lines = PARTS.map(|part| default("", part, facts_max()));
        let uncounted_lines = PARTS.map(|part| default(UNCOUNTED, part, facts_max()));
        let unbounded_lines = PARTS.map(|part| default("", part, NO_END.to_string()));
        let types = types.into_bytes();
        Self { catalog, unknown_app, types, lines, uncounted_lines, unbounded_lines }
    }

    /// Returns whether these are the arguments of the call's catalog and limits.
    pub fn are_of(&self, call: &Call) -> bool {
        let same_default = match (&self.unknown_app, &call.unknown_app) {
            (Some(ours), Some(its)) => Arc::ptr_eq(ours, its),
            (None, None) => true,
            _ => false,
        };
        same_default && Arc::ptr_eq(&self.catalog, &call.catalog)
    }

    /// Returns the limits of an app without its own, for that part; empty if such apps are refused.
    pub fn default_line(&self, part: Part, app: UnknownAs) -> &[u8] {
        let lines = match app {
            UnknownAs::Uncounted => &self.uncounted_lines,
            UnknownAs::Counted => &self.lines,
            UnknownAs::Answered => &self.unbounded_lines,
        };
        &lines[part as usize]
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
    use crate::ledger::TakeOptions;

    #[test]
    fn arguments_follow_the_catalog_and_the_limits_of_unknown_apps() {
        let catalog = Arc::new(catalog::builtin());
        let limits = Arc::new(Schedule::default_of(&catalog).expect("it has a default edition"));
        let call = |catalog: &Arc<Catalog>, unknown_app: Option<&Arc<Schedule>>| Call {
            app: AppId::try_from("demo").expect("an id"),
            mode: Mode::Enforce,
            deadline: Timestamp::MAX,
            catalog: catalog.clone(),
            unknown_app: unknown_app.cloned(),
            fail_fast: false,
            is_replayed: false,
            take: TakeOptions::default(),
        };
        let catalog_args = Texts::of(&call(&catalog, Some(&limits)));
        for part in PARTS {
            let line = line(part, &limits);
            for (app, wanted) in [
                (UnknownAs::Counted, format!("{line}#100000")),
                (UnknownAs::Uncounted, format!("!{line}#100000")),
                (UnknownAs::Answered, format!("{line}#9007199254740991")),
            ] {
                assert_eq!(
                    catalog_args.default_line(part, app),
                    wanted.as_bytes(),
                    "{part:?} {app:?}"
                );
            }
        }
        assert!(catalog_args.are_of(&call(&catalog, Some(&limits))));
        assert!(!catalog_args.are_of(&call(&catalog, None)));
        // Equal content is not the same catalog.
        assert!(!catalog_args.are_of(&call(&Arc::new(catalog::builtin()), Some(&limits))));
        let copy = Arc::new((*limits).clone());
        assert!(!catalog_args.are_of(&call(&catalog, Some(&copy))));
        let refused = Texts::of(&call(&catalog, None));
        assert_eq!(refused.default_line(Part::Groups, UnknownAs::Uncounted), b"");
        assert!(refused.types.starts_with(b";Private "));
    }
}
