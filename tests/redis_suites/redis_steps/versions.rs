//! Sidecars of the previous version beside this one, like in a rollout: their scripts, by their
//! text, on the keys of this version, and vice versa. Their scripts have neither the mark nor the
//! counter of writes.

use std::time::Duration;

use imquota::clock::{Clock as _, SystemClock};
use imquota::domain::decision::{Mode, Outcome};
use imquota::domain::id::UserId;
use imquota::ledger::LedgerError;

use super::replaced::{
    GROUP, Race, assert_replaced, create, dissolve, join, leave, members, update, whole,
};
use crate::support::{group, user};

/// The group types in the format of script arguments.
const TYPES: &str = ";ChatRoom 6000 1 1 1 - -;";
/// The most users of one call.
const CHUNK: usize = 256;

/// The text of a script of the previous version, with its shared parts.
macro_rules! before {
    ($name:literal) => {
        include_str!(concat!("../../support/scripts_before/", $name, ".lua"))
    };
}

/// A sidecar of the previous version.
struct Before<'a>(&'a Race);

impl Before<'_> {
    fn cell(&self) -> u64 {
        self.0.others.fingerprints().group(&group(GROUP))
    }

    /// The group as an element of a set.
    fn element(&self) -> String {
        self.cell().cast_signed().to_string()
    }

    /// A key of the app's groups without a cell.
    fn key(&self, name: &str) -> String {
        self.0.key('x', 0).replace(&format!("x{:016x}", 0), name)
    }

    /// The record and the members.
    fn group_keys(&self) -> Vec<String> {
        vec![self.0.key('g', self.cell()), self.0.key('m', self.cell())]
    }

    /// Adds users to keys and arguments.
    fn add(&self, keys: &mut Vec<String>, arguments: &mut Vec<String>, users: &[UserId]) {
        for user in users {
            let cell = self.0.others.fingerprints().user(user);
            keys.extend([self.0.key('u', cell), self.0.key('n', cell)]);
            arguments.push(cell.cast_signed().to_string());
        }
    }

    /// Calls a script; returns the lines of its reply without the time.
    fn call(
        &self,
        text: &str,
        keys: &[String],
        last: &[&str],
        arguments: &[String],
    ) -> Vec<String> {
        let mut all = vec![self.key("limits")];
        all.extend_from_slice(keys);
        all.extend(last.iter().map(|name| self.key(name)));
        let deadline = SystemClock.now() + Duration::from_secs(5);
        let head = ["EVAL".to_owned(), text.to_owned(), all.len().to_string()];
        let mode = ["E".to_owned(), deadline.as_millis().to_string(), String::new()];
        let words = head.iter().chain(&all).chain(&mode).chain(arguments);
        let words: Vec<&str> = words.map(String::as_str).collect();
        let printed = self.0.redis.server.cli(&words);
        printed.lines().skip(1).map(str::to_owned).collect()
    }

    /// Today and the days around it, in the format of script arguments.
    fn days() -> String {
        let today = (SystemClock.now().as_millis() + 8 * 3_600_000).div_euclid(86_400_000);
        format!("{today} 0 9000000000000 9000000000000 9000000000000")
    }

    fn create(&self, own: &str, users: &[UserId]) -> String {
        let mut keys = self.group_keys();
        keys.extend([self.key("types"), self.key("days")]);
        let days = Self::days();
        let arguments = [TYPES, &self.element(), "0", &days, own, "-", "ChatRoom", "0"];
        let mut arguments = arguments.map(str::to_owned).to_vec();
        self.add(&mut keys, &mut arguments, users);
        let last = ["totals", "warned", "tracked"];
        self.call(before!("create_group"), &keys, &last, &arguments).swap_remove(0)
    }

    fn join(&self, users: &[UserId]) -> Vec<String> {
        let mut keys = self.group_keys();
        let mut arguments = [TYPES, &self.element(), "0"].map(str::to_owned).to_vec();
        self.add(&mut keys, &mut arguments, users);
        self.call(before!("join_group"), &keys, &["warned", "tracked"], &arguments)
    }

    /// A script on the group that counts by day.
    fn release(&self, text: &str, what: &str, users: &[UserId]) -> String {
        let mut keys = self.group_keys();
        keys.extend([self.key("types"), self.key("days")]);
        let days = Self::days();
        let mut arguments = [TYPES, &self.element(), what, &days].map(str::to_owned).to_vec();
        self.add(&mut keys, &mut arguments, users);
        self.call(text, &keys, &["totals", "warned", "tracked"], &arguments).swap_remove(0)
    }

    fn leave(&self, users: &[UserId]) {
        for users in users.chunks(CHUNK) {
            self.release(before!("leave_group"), "", users);
        }
    }

    /// One step; `begun` is true for a continued dissolution.
    fn dissolve_step(&self, begun: bool, users: &[UserId]) -> String {
        self.release(before!("dissolve_group"), if begun { "1" } else { "0" }, users)
    }

    fn dissolve(&self, users: &[UserId]) {
        let mut letter = self.dissolve_step(false, &[]);
        for users in users.chunks(CHUNK) {
            if letter == "M" {
                letter = self.dissolve_step(true, users);
            }
        }
        assert_eq!(letter, "A");
    }

    fn delete_memberships(&self, of: &str) -> String {
        let cell = self.0.others.fingerprints().user(&user(of));
        let mut keys = vec![self.0.key('u', cell), self.0.key('n', cell)];
        keys.extend([self.key("types"), self.key("days")]);
        keys.extend(self.group_keys());
        let (cell, days) = (cell.cast_signed().to_string(), Self::days());
        let arguments = [TYPES, &cell, "0", &days, &self.element()].map(str::to_owned);
        let last = ["totals", "warned", "tracked"];
        self.call(before!("delete_memberships"), &keys, &last, &arguments).swap_remove(0)
    }

    fn update(&self, own: &str) -> String {
        let arguments = [TYPES, own, &self.element()].map(str::to_owned);
        let keys = &self.group_keys()[..1];
        self.call(before!("update_group"), keys, &["tracked"], &arguments).swap_remove(0)
    }

    /// Compares type and own limit; returns the difference.
    fn compare(&self, group_type: &str, own: &str) -> String {
        let mut keys = self.group_keys();
        keys.push(self.key("types"));
        let days = Self::days();
        let arguments = ["", &self.element(), group_type, &days, own].map(str::to_owned);
        let last = ["totals", "warned", "tracked"];
        let answer = self.call(before!("repair_group"), &keys, &last, &arguments);
        answer.last().expect("an answer").clone()
    }

    /// Type, own limit and number of members, or the reason why there are none.
    fn read(&self) -> String {
        let arguments = ["group".to_owned()];
        let answer = self.call(before!("read"), &self.group_keys(), &["tracked"], &arguments);
        answer[answer.len().saturating_sub(3)..].join(" ").trim().to_owned()
    }
}

fn others(count: usize) -> Vec<UserId> {
    (0..count).map(|number| user(format!("other {number}"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_the_previous_version_recreates_is_detected() {
    let race = Race::start().await;
    let before = Before(&race);
    for operation in [create(None, members()), join(members())] {
        // The group is created by the operation, by this version, and by the version before.
        for created in ["by the operation", "by this version", "by the version before"] {
            match created {
                "by this version" => race.do_all([create(None, others(1))]).await,
                "by the version before" => assert_eq!(before.create("-", &others(1)), "AA"),
                _ if operation == join(members()) => continue,
                _ => {}
            }
            for taken_away in ["dissolved", "left"] {
                if taken_away == "left" && created != "by the operation" {
                    continue;
                }
                let running = race.stop(1, operation.clone()).await;
                match taken_away {
                    "left" => before.leave(&members()),
                    _ => before.dissolve(&[others(1), members()].concat()),
                }
                assert_eq!(before.create("-", &others(3)), "AAAA", "{created}, {taken_away}");
                assert_replaced(race.finish(running).await);
                assert_eq!((race.held().await, race.of_members().await), (Some(3), [0, 0]));
                race.do_all([dissolve()]).await;
            }
        }
    }
    for by_this_version in [true, false] {
        let all = members();
        if by_this_version {
            race.do_all([create(None, all.clone())]).await;
        } else {
            before.create("-", &all[..CHUNK]);
            all[CHUNK..].chunks(CHUNK).for_each(|users| drop(before.join(users)));
        }
        let leaving = race.stop(1, leave(all.clone())).await;
        before.dissolve(&all);
        before.create("-", &all[400..]);
        let left = race.finish(leaving).await.expect("a decision");
        assert_eq!(left.items[0].outcome, Outcome::Applied);
        assert_eq!(left.items[599].outcome, Outcome::NotHeld);
        assert_eq!((race.held().await, race.of_members().await), (Some(200), [0, 1]));
        race.do_all([dissolve()]).await;
    }
    assert_eq!(race.groups().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_the_previous_version_replace_no_group() {
    let race = Race::start().await;
    let before = Before(&race);
    let creation = race.stop(1, create(None, members())).await;
    assert_eq!(before.join(&others(1))[0], "A");
    assert_eq!(before.update("5000"), "A");
    before.leave(&members()[..10]);
    assert_eq!(before.delete_memberships("member 11"), "A");
    let created = race.finish(creation).await.expect("a decision");
    assert_eq!(whole(&created), Outcome::Applied);
    assert_eq!(race.held().await, Some(590));
    let leaving = race.stop(1, leave(members())).await;
    assert_eq!(before.join(&others(2)[1..])[0], "A");
    let left = race.finish(leaving).await.expect("a decision");
    assert_eq!(left.items[599].outcome, Outcome::Applied);
    assert_eq!(race.held().await, Some(2));
    // A join of theirs that crosses a threshold removes the generation with the recorded threshold.
    race.do_all([dissolve(), create(None, vec![]), update(400)]).await;
    let joining = race.stop(1, join(members()[..300].to_vec())).await;
    assert_eq!(before.join(&others(40))[0], "A".repeat(40));
    let error = race.finish(joining).await.expect_err("the group may have been replaced");
    assert_eq!(error, LedgerError::GroupReplaced(group(GROUP)));
    assert_eq!((race.held().await, race.of_members().await), (Some(296), [1, 0]));
    // The retry finds the members that the first attempt added.
    let again = race.others.enforce(&race.app, join(members()[..300].to_vec())).await;
    assert_eq!(again.items[0].outcome, Outcome::AlreadyHeld);
    assert_eq!(again.items[299].outcome, Outcome::Applied);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_version_reads_and_changes_the_groups_of_the_other() {
    let race = Race::start().await;
    let before = Before(&race);
    // With a generation, and with a recorded threshold.
    race.do_all([create(None, others(1)), join(members()[..300].to_vec()), update(400)]).await;
    race.do_all([join(others(2))]).await;
    assert_eq!(before.read(), "ChatRoom 400 302");
    assert_eq!(before.update("400"), "H");
    assert_eq!(before.compare("ChatRoom", "400"), "nothing");
    assert_eq!(before.update("302"), "A");
    let denied = before.join(&others(3));
    assert_eq!((denied[0].as_str(), denied[2].as_str()), ("HHD", "m302"));
    before.leave(&members()[..300]);
    assert_eq!(before.read(), "ChatRoom 302 2");
    race.do_all([update(2)]).await;
    let denied = race.others.enforce(&race.app, join(others(3))).await;
    assert!(denied.items[2].outcome == Outcome::Denied);
    before.leave(&others(2));
    assert_eq!((race.held().await, race.groups().await), (None, 0));

    assert_eq!(before.create("700", &others(1)), "AA");
    race.do_all([join(members())]).await;
    assert_eq!(before.read(), "ChatRoom 700 601");
    assert_eq!(before.join(&others(2))[0], "HA");
    race.do_all([leave(members())]).await;
    assert_eq!(race.held().await, Some(2));
    let dissolved = race.others.enforce(&race.app, dissolve()).await;
    assert_eq!((whole(&dissolved), dissolved.members_released), (Outcome::Applied, 2));
    assert_eq!(before.read(), "group_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_version_finishes_the_dissolutions_of_the_other() {
    let race = Race::start().await;
    let before = Before(&race);
    let all = members();
    // Theirs, finished by a dissolution and by a creation of ours.
    for finish in [dissolve(), create(None, others(1))] {
        race.do_all([create(None, all.clone())]).await;
        assert_eq!(before.dissolve_step(false, &[]), "M");
        let answer = race.others.enforce(&race.app, finish.clone()).await;
        assert_eq!(whole(&answer), Outcome::Applied);
        assert_eq!(before.dissolve_step(true, &all[..CHUNK]), "N");
        let held = (finish != dissolve()).then_some(1);
        assert_eq!((race.held().await, race.of_members().await), (held, [0, 0]));
    }
    // Ours, found and finished by theirs.
    race.do_all([dissolve(), create(None, all.clone())]).await;
    let dissolving = race.stop(1, dissolve()).await;
    assert_eq!(before.join(&others(1))[0], "group_not_found");
    assert_eq!(before.read(), "group_not_found");
    assert_eq!(before.update("5"), "group_not_found");
    assert_eq!(before.create("-", &others(1)), "dissolving");
    for users in all.chunks(CHUNK) {
        before.dissolve_step(true, users);
    }
    assert_eq!(before.create("-", &others(1)), "AA");
    let dissolved = race.finish(dissolving).await.expect("a decision");
    assert_eq!(whole(&dissolved), Outcome::Applied);
    assert_eq!((race.held().await, race.groups().await), (Some(1), 1));
    // Also if the last member leaves, or is deleted.
    for leaves in [true, false] {
        race.do_all([dissolve(), create(None, others(2))]).await;
        let dissolving = race.stop(1, dissolve()).await;
        before.leave(&others(1));
        if leaves {
            before.leave(&others(2)[1..]);
        } else {
            before.delete_memberships("other 1");
        }
        let dissolved = race.finish(dissolving).await.expect("a decision");
        assert_eq!(whole(&dissolved), Outcome::Applied);
        assert_eq!((race.held().await, race.groups().await), (None, 0));
    }
    let again = race.others.apply(&race.app, Mode::Enforce, dissolve()).await;
    assert_eq!(whole(&again.expect("a decision")), Outcome::NotHeld);
}
