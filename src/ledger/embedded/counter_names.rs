//! The names of an app's counts in their table.

use crate::ledger::in_process::rows::{Counter, Held};
use crate::ledger::in_process::unknown_apps::Part;

/// The prefix of a counter of groups; the type follows.
pub(super) const GROUPS_COUNTERS: &str = "groups/";
/// The first name after all of those: '0' follows '/'.
pub(super) const GROUPS_COUNTERS_END: &str = "groups0";

/// Returns the type whose groups a counter counts; `None` for any other counter.
pub(super) fn type_of_counter(name: &str) -> Option<&str> {
    name.strip_prefix(GROUPS_COUNTERS)
}

/// Returns the name of a count in the table.
pub(super) fn counter_name(counter: &Counter) -> String {
    match counter {
        Counter::Accounts => "accounts".to_owned(),
        Counter::Groups(group_type) => format!("{GROUPS_COUNTERS}{group_type}"),
        Counter::Facts(part) => format!("facts/{}", part_name(*part)),
        Counter::HoldFacts(part) => format!("holds/{}", part_name(*part)),
        Counter::Held(held) => held_name(held),
    }
}

fn part_name(part: Part) -> &'static str {
    match part {
        Part::Accounts => "accounts",
        Part::Friends => "friends",
        Part::Groups => "groups",
    }
}

fn held_name(held: &Held) -> String {
    match held {
        Held::Accounts => "held/accounts".to_owned(),
        Held::AllGroups => "held/groups".to_owned(),
        Held::Groups(group_type) => format!("held/groups/{group_type}"),
        Held::GroupsOn(day, group_type) => {
            format!("held/groups_on/{}/{group_type}", day.number())
        }
        Held::Friends(user) => format!("held/friends/{user}"),
        Held::GroupsOf(user) => format!("held/groups_of/{user}"),
        Held::Members(group) => format!("held/members/{group}"),
    }
}
