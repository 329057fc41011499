//! Random operations, holds, their ends and the passing of time: whatever the order, counts are the
//! numbers of facts, and the records agree with the facts that they hold.

use super::super::facts::Facts;
use super::super::hold_record::{State, elements};
use super::super::holds::{named, sweep};
use super::super::rows::{Counter, Held};
use super::super::unknown_apps::Part as FactsOf;
use super::*;
use crate::domain::limits::PARTS;
use crate::ledger::reconcile::Fact;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const GROUPS: [&str; 2] = ["g", "k"];
/// One type that is reclaimed, and one that is not.
const TYPES: [&str; 2] = ["Private", "AVChatRoom"];
const IDS: [&str; 3] = ["h0", "h1", "h2"];
const ROUNDS: u64 = 60;
const STEPS: usize = 120;

/// Random numbers by SplitMix64.
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let z = z ^ (z >> 31);
        usize::try_from(z % u64::try_from(bound).expect("fits")).expect("fits")
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn some(&mut self) -> Vec<UserId> {
        let count = 1 + self.below(3);
        (0..count).map(|_| user(self.pick(&NAMES))).collect()
    }

    fn operation(&mut self) -> Operation {
        let (group, of) = (group(self.pick(&GROUPS)), user(self.pick(&NAMES)));
        let mut friends = self.some();
        friends.retain(|friend| *friend != of);
        let one_way = self.below(2) == 0;
        match self.below(14) {
            0..=2 => Operation::CreateAccounts { users: self.some() },
            3 => Operation::DeleteAccount { user: of },
            4 | 5 => Operation::AddFriends { user: of, friends, one_way },
            6 => Operation::RemoveFriends { user: of, friends, one_way },
            7..=9 => Operation::CreateGroup {
                group,
                group_type: TYPES[usize::from(self.below(5) == 0)].into(),
                owner: Some(of).filter(|_| one_way),
                members: if self.below(2) == 0 { self.some() } else { Vec::new() },
                max_members: None,
            },
            10 | 11 => Operation::JoinGroup { group, users: self.some() },
            12 => Operation::LeaveGroup { group, users: self.some() },
            _ => Operation::DissolveGroup { group },
        }
    }
}

impl World {
    fn random_step(&mut self, rows: &mut impl Rows, rng: &mut Rng) -> String {
        let modes = [Mode::Enforce, Mode::Enforce, Mode::Shadow, Mode::Force, Mode::CheckOnly];
        match rng.below(10) {
            0 => {
                let millis = u64::try_from(rng.below(3000)).expect("fits");
                self.pass(Duration::from_millis(millis));
                format!("pass {millis}")
            }
            1 => {
                let reading = self.reading();
                format!("sweep {:?}", sweep(rows, &self.call, reading).expect("swept"))
            }
            2 | 3 => {
                let (part, id) = (PARTS[rng.below(3)], rng.pick(&IDS));
                let end = if rng.below(2) == 0 { HoldEnd::Confirm } else { HoldEnd::Release };
                let as_of = (rng.below(4) == 0).then(|| self.now().before(Duration::from_secs(1)));
                let done = self.end(rows, (part, id), (end, as_of));
                format!("{end:?} {part:?} {id} as of {as_of:?}: {done}")
            }
            _ => {
                let mut call = self.call.clone();
                if rng.below(3) > 0 {
                    let seconds = 1 + u32::try_from(rng.below(4)).expect("fits");
                    call = self.with_hold(rng.pick(&IDS), seconds);
                }
                call.mode = modes[rng.below(modes.len())];
                call.take.all_or_nothing = rng.below(5) == 0;
                let operation = rng.operation();
                let done = self.apply(rows, &call, &operation);
                format!("{operation:?} {:?} {:?}: {done}", call.take.hold, call.mode)
            }
        }
    }

    /// Checks the rows after a step that has dropped what was due.
    fn check(&mut self, rows: &mut impl Rows) {
        let now = self.now();
        let facts = self.facts(rows);
        let provisional = rows.due(Timestamp::MAX, usize::MAX).expect("read");
        for fact in &provisional {
            assert!(facts.contains(fact), "{fact:?} does not exist");
            let row = rows.provisional(*fact).expect("read").expect("is there");
            let mut last = None;
            for (key, index) in &row.holds {
                let record = rows.hold(key).expect("read").expect("a record");
                let index = usize::try_from(*index).expect("fits");
                assert_eq!(record.states[index], State::Held, "{fact:?} in {key:?}");
                assert_eq!(elements(&self.ids, &record.operation)[index], *fact);
                last = last.max(Some(record.expires));
            }
            assert_eq!(last, Some(row.expires), "{fact:?}");
        }
        for fact in &facts {
            let Fact::Member(group, _) = fact else { continue };
            let expiry = |fact| rows.provisional(fact).expect("read").map(|row| row.expires);
            if let Some(of_group) = expiry(Fact::Group(*group)) {
                let member = expiry(*fact).expect("a provisional member of a held group");
                assert!(member <= of_group, "{fact:?}");
            }
        }
        let mut in_records = Vec::new();
        for key in rows.ended_holds(Timestamp::MAX, usize::MAX).expect("read") {
            let record = rows.hold(&key).expect("read").expect("is there");
            in_records.push((key.kind.part(), record.facts()));
            for (fact, state) in named(&self.ids, &record) {
                if state == State::Held && record.expires > now {
                    let row = rows.provisional(fact).expect("read");
                    assert!(row.is_some_and(|row| row.has(&key)), "{fact:?} in {key:?}");
                }
            }
        }
        for (part, of) in
            PARTS.into_iter().zip([FactsOf::Accounts, FactsOf::Friends, FactsOf::Groups])
        {
            let counted = rows.counter(&Counter::HoldFacts(of)).expect("read").unwrap_or(0);
            let of_part = in_records.iter().filter(|(of, _)| *of == part);
            assert_eq!(counted, of_part.map(|(_, facts)| facts).sum::<u64>(), "{part:?}");
        }
        self.check_counts(rows, &facts, &provisional);
    }

    /// Returns every fact that there is.
    fn facts(&self, rows: &impl Rows) -> Vec<Fact> {
        let accounts = rows.accounts(0, usize::MAX).expect("read").into_iter().map(Fact::Account);
        let mut all: Vec<_> = accounts.collect();
        for name in NAMES {
            let user = self.ids.user(&super::user(name));
            let edges = rows.edges(user, usize::MAX).expect("read").into_iter();
            let has = edges.filter(|(_, edge)| edge & 1 != 0);
            all.extend(has.map(|(friend, _)| Fact::Friend(user, friend)));
        }
        for (group, _) in rows.groups(0, usize::MAX).expect("read") {
            let members = rows.members(group, usize::MAX).expect("read").into_iter();
            all.extend(members.map(|(user, _)| Fact::Member(group, user)));
            all.push(Fact::Group(group));
        }
        all
    }

    fn check_counts(&self, rows: &mut impl Rows, facts: &[Fact], provisional: &[Fact]) {
        let count = |among: &[Fact], of: &dyn Fn(&Fact) -> bool| {
            u64::try_from(among.iter().filter(|fact| of(fact)).count()).expect("fits")
        };
        let view = Facts::new(rows);
        let held = |of| view.held(of).expect("read");
        let account = |fact: &Fact| matches!(fact, Fact::Account(_));
        assert_eq!(view.accounts().expect("read"), count(facts, &account));
        assert_eq!(held(Held::Accounts), count(provisional, &account));
        for name in NAMES {
            let user = self.ids.user(&super::user(name));
            let friend = |fact: &Fact| matches!(fact, Fact::Friend(of, _) if *of == user);
            let member = |fact: &Fact| matches!(fact, Fact::Member(_, of) if *of == user);
            let row = view.user(user).expect("read");
            assert_eq!((row.friends, row.groups), (count(facts, &friend), count(facts, &member)));
            let of = (held(Held::Friends(user)), held(Held::GroupsOf(user)));
            assert_eq!(of, (count(provisional, &friend), count(provisional, &member)));
        }
        for name in GROUPS {
            let group = self.ids.group(&super::group(name));
            let member = |fact: &Fact| matches!(fact, Fact::Member(of, _) if *of == group);
            assert_eq!(held(Held::Members(group)), count(provisional, &member));
        }
        let is_group = |fact: &Fact| matches!(fact, Fact::Group(_));
        let (groups, of_holds) = (count(facts, &is_group), count(provisional, &is_group));
        assert_eq!(view.groups_of_all_types().expect("read"), groups);
        assert_eq!(held(Held::AllGroups), of_holds);
        let days = view.rows.group_days().expect("read");
        let billed = days.last().map_or(0, |(_, day)| day.end);
        let net_new: i64 = days.iter().map(|(_, day)| day.net_new).sum();
        assert_eq!(billed, groups - of_holds, "on the bill");
        assert_eq!(net_new, i64::try_from(billed).expect("fits"));
        let mut of_limits = 0;
        for (day, _) in &days {
            of_limits += view.net_new_of_all_types(*day).expect("read");
        }
        if !days.is_empty() {
            assert_eq!(of_limits, i64::try_from(groups).expect("fits"), "net new");
        }
        for group_type in TYPES {
            let of_type = held(Held::Groups(group_type.into()));
            assert!(of_type <= view.groups_of_type(&group_type.into()).expect("read"));
        }
    }
}

fn run(rows: &mut impl Rows, seed: u64) {
    let (mut world, mut rng) = (World::new(), Rng(seed));
    let mut done = Vec::new();
    for _ in 0..STEPS {
        let step = std::panic::AssertUnwindSafe(|| {
            done.push(world.random_step(rows, &mut rng));
            // A step of its own, which drops what is due.
            let nothing = Operation::LeaveGroup { group: group("none"), users: Vec::new() };
            let call = world.call.clone();
            world.apply(rows, &call, &nothing);
            world.check(rows);
        });
        if let Err(panic) = std::panic::catch_unwind(step) {
            eprintln!("seed {seed}, after:\n{}", done.join("\n"));
            std::panic::resume_unwind(panic);
        }
    }
    // At the end of all holds only what is permanent is left.
    world.pass(Duration::from_secs(60));
    let reading = world.reading();
    while sweep(rows, &world.call, reading).expect("swept").1 {}
    world.check(rows);
    assert!(rows.due(Timestamp::MAX, 1).expect("read").is_empty(), "seed {seed}");
}

#[test]
fn random_holds_agree_with_their_facts() {
    for seed in 0..ROUNDS {
        in_memory(|rows| run(rows, seed));
    }
    for seed in ROUNDS..ROUNDS + 5 {
        in_tables(|rows| run(rows, seed));
    }
}
