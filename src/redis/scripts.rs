//! The scripts, each one atomic step, and their composition.
//!
//! A script is a file of its own under `scripts/`; a line `-- include NAME` stands for
//! `scripts/shared/NAME.lua`.

use super::script::Script;

/// The line that a shared part replaces, without the part's name.
const INCLUDE: &str = "-- include ";

macro_rules! scripts {
    ($($id:ident $name:literal,)*) => {
        /// A script, as an index into [`all`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum ScriptId {
            $(#[doc = concat!("`scripts/", $name, ".lua`")] $id,)*
        }

        /// Every script, in the order of [`ScriptId`].
        pub fn all() -> Vec<Script> {
            vec![$(
                Script::new($name, compose(include_str!(concat!("scripts/", $name, ".lua")))),
            )*]
        }
    };
}

scripts! {
    CoalescedAccounts "coalesced_accounts",
    CoalescedFriends "coalesced_friends",
    CoalescedGroups "coalesced_groups",
    CreateAccounts "create_accounts",
    DeleteAccount "delete_account",
    AddFriends "add_friends",
    RemoveFriends "remove_friends",
    DeleteFriends "delete_friends",
    CreateGroup "create_group",
    UpdateGroup "update_group",
    JoinGroup "join_group",
    LeaveGroup "leave_group",
    DissolveGroup "dissolve_group",
    DeleteMemberships "delete_memberships",
    Read "read",
    HasSchedule "has_schedule",
    PutSchedule "put_schedule",
    Identity "identity",
    ScheduleRevision "schedule_revision",
    Identify "identify",
    PutMark "put_mark",
    FinishMarks "finish_marks",
    ReadMark "read_mark",
    RenewMark "renew_mark",
    AcceptStore "accept_store",
    PutApp "put_app",
    ListApps "list_apps",
    ReadBasis "read_basis",
    Forbidden "forbidden",
    ListAudit "list_audit",
    GetStatement "get_statement",
    TrackChanges "track_changes",
    Tracking "tracking",
    ListSet "list_set",
    ScanKeys "scan_keys",
    Sizes "sizes",
    RepairAccounts "repair_accounts",
    RepairFriends "repair_friends",
    RepairGroup "repair_group",
    RepairMembers "repair_members",
    RecordLogins "record_logins",
    CountMonths "count_months",
    RaiseFormat "raise_format",
    ReportSamples "report_samples",
    CloseMonth "close_month",
    AppendEvents "append_events",
    EventCursor "event_cursor",
    ReadEvents "read_events",
    ClaimLease "claim_lease",
    AdvanceLease "advance_lease",
    ListCatalogs "list_catalogs",
    PutCatalog "put_catalog",
    ScanGroupTypes "scan_group_types",
    TypesInUse "types_in_use",
    NoteTypes "note_types",
    GroupsByType "groups_by_type",
    EnterUnknownApp "enter_unknown_app",
    ListUnknownApps "list_unknown_apps",
    SettleUnknownApp "settle_unknown_app",
    HasFacts "has_facts",
    ReadCrossings "read_crossings",
    ReplaceGroup "replace_group",
    EndAccounts "end_accounts",
    EndFriends "end_friends",
    EndGroups "end_groups",
    ConfirmHold "confirm_hold",
    ConfirmGroup "confirm_group",
    ReadHolds "read_holds",
    DueHolds "due_holds",
    ForgetHolds "forget_holds",
    PushNote "push_note",
    ReadNote "read_note",
    PopNote "pop_note",
    RaiseInstants "raise_instants",
    ReadInstants "read_instants",
}

impl ScriptId {
    /// Returns whether the script is used to publish the limits of all apps.
    pub fn publishes(self) -> bool {
        matches!(
            self,
            Self::ListApps | Self::HasSchedule | Self::PutSchedule | Self::ScheduleRevision
        )
    }

    /// Returns whether the script may add facts to the store.
    pub fn takes(self) -> bool {
        matches!(
            self,
            Self::CoalescedAccounts
                | Self::CoalescedFriends
                | Self::CoalescedGroups
                | Self::CreateAccounts
                | Self::AddFriends
                | Self::CreateGroup
                | Self::JoinGroup
                | Self::ReplaceGroup
                | Self::RecordLogins
                | Self::ReportSamples
        )
    }

    /// Returns whether the script takes facts that a hold may have.
    pub fn may_hold(self) -> bool {
        matches!(
            self,
            Self::CreateAccounts
                | Self::AddFriends
                | Self::CreateGroup
                | Self::JoinGroup
                | Self::ReplaceGroup
        )
    }

    /// Returns whether the script checks thresholds, beside those that count groups by day.
    pub fn warns(self) -> bool {
        matches!(
            self,
            Self::CreateAccounts
                | Self::AddFriends
                | Self::DeleteFriends
                | Self::JoinGroup
                | Self::CoalescedAccounts
                | Self::CoalescedFriends
                | Self::CoalescedGroups
        )
    }

    /// Returns whether the script decides operations of several callers, each of which has a script
    /// of its own.
    pub fn is_coalesced(self) -> bool {
        matches!(self, Self::CoalescedAccounts | Self::CoalescedFriends | Self::CoalescedGroups)
    }
}

/// Composes a script from its text and shared parts, without comments, since Redis stores and
/// hashes every byte.
fn compose(text: &str) -> String {
    let mut composed = String::new();
    for line in text.lines() {
        match line.strip_prefix(INCLUDE) {
            // A shared part may include others.
            Some(part) => composed.push_str(&compose(shared(part))),
            None if line.starts_with("--") => {}
            None => {
                composed.push_str(line);
                composed.push('\n');
            }
        }
    }
    composed
}

fn shared(part: &str) -> &'static str {
    match part {
        "mark" => include_str!("scripts/shared/mark.lua"),
        "now" => include_str!("scripts/shared/now.lua"),
        "skew" => include_str!("scripts/shared/skew.lua"),
        "coalesced" => include_str!("scripts/shared/coalesced.lua"),
        "plain_group" => include_str!("scripts/shared/plain_group.lua"),
        "plain_join" => include_str!("scripts/shared/plain_join.lua"),
        "quiet" => include_str!("scripts/shared/quiet.lua"),
        "one_day" => include_str!("scripts/shared/one_day.lua"),
        "begin" => include_str!("scripts/shared/begin.lua"),
        "verdicts" => include_str!("scripts/shared/verdicts.lua"),
        "types" => include_str!("scripts/shared/types.lua"),
        "days" => include_str!("scripts/shared/days.lua"),
        "months" => include_str!("scripts/shared/months.lua"),
        "login_limits" => include_str!("scripts/shared/login_limits.lua"),
        "write_logins" => include_str!("scripts/shared/write_logins.lua"),
        "totals" => include_str!("scripts/shared/totals.lua"),
        "groups" => include_str!("scripts/shared/groups.lua"),
        "sold" => include_str!("scripts/shared/sold.lua"),
        "left" => include_str!("scripts/shared/left.lua"),
        "warn" => include_str!("scripts/shared/warn.lua"),
        "track" => include_str!("scripts/shared/track.lua"),
        "repair" => include_str!("scripts/shared/repair.lua"),
        "members" => include_str!("scripts/shared/members.lua"),
        "event_tree" => include_str!("scripts/shared/event_tree.lua"),
        "event_index" => include_str!("scripts/shared/event_index.lua"),
        "event_bounds" => include_str!("scripts/shared/event_bounds.lua"),
        "generation" => include_str!("scripts/shared/generation.lua"),
        "due" => include_str!("scripts/shared/due.lua"),
        "due_here" => include_str!("scripts/shared/due_here.lua"),
        "held" => include_str!("scripts/shared/held.lua"),
        "holds" => include_str!("scripts/shared/holds.lua"),
        "refs" => include_str!("scripts/shared/refs.lua"),
        "take_hold" => include_str!("scripts/shared/take_hold.lua"),
        "within_bounds" => include_str!("scripts/shared/within_bounds.lua"),
        "write_hold" => include_str!("scripts/shared/write_hold.lua"),
        "friend_sides" => include_str!("scripts/shared/friend_sides.lua"),
        "write_friends" => include_str!("scripts/shared/write_friends.lua"),
        "new_group" => include_str!("scripts/shared/new_group.lua"),
        "end_hold" => include_str!("scripts/shared/end_hold.lua"),
        "reclaim_emptied" => include_str!("scripts/shared/reclaim_emptied.lua"),
        "confirm" => include_str!("scripts/shared/confirm.lua"),
        "read_holds" => include_str!("scripts/shared/read_holds.lua"),
        "rename_group" => include_str!("scripts/shared/rename_group.lua"),
        "group_hold" => include_str!("scripts/shared/group_hold.lua"),
        "read_groups" => include_str!("scripts/shared/read_groups.lua"),
        "notes" => include_str!("scripts/shared/notes.lua"),
        "hold_bound" => include_str!("scripts/shared/hold_bound.lua"),
        _ => unreachable!("a test composes every script"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_script_is_complete_and_declares_its_flags() {
        for script in all() {
            assert!(script.text.starts_with("#!lua"), "{}", script.name);
            assert!(!script.text.contains(INCLUDE), "{}", script.name);
            assert_eq!(script.digest.len(), 40, "{}", script.name);
            // Only releases may run when Redis is out of memory.
            let releases = ["delete", "remove", "leave", "dissolve", "end", "confirm", "forget"];
            let release = releases.iter().any(|verb| script.name.starts_with(verb));
            assert_eq!(script.text.contains("allow-oom"), release, "{}", script.name);
        }
    }

    #[test]
    fn figures_are_kept_as_long_as_in_other_stores() {
        let days = crate::domain::metering::FIGURES_DAYS_KEPT;
        assert!(shared("totals").contains(&format!("local figures_days_kept = {days}\n")));
    }

    #[test]
    fn the_commands_of_all_scripts_are_checked_at_the_start() {
        let all = all();
        let quoted = |text: &str| -> Vec<String> {
            text.split('\'').skip(1).step_by(2).map(str::to_owned).collect()
        };
        let is_name = |word: &String| word.bytes().all(|byte| byte.is_ascii_uppercase());
        let checked = quoted(&all[ScriptId::Forbidden as usize].text).into_iter().filter(is_name);
        let called = all.iter().flat_map(|script| {
            let calls = script.text.split("redis.call(").skip(1);
            calls.map(|call| quoted(call).swap_remove(0)).collect::<Vec<_>>()
        });
        assert_eq!(checked.collect::<BTreeSet<_>>(), called.collect::<BTreeSet<_>>());
    }
}
