//! Random failovers of a simulated master with two or three replicas: what the rule confirms is
//! held by whichever replica is promoted.
//!
//! The simulation has the facts that the rule has to find out about: what each replica has really
//! written, and when one is promoted. One fault at a time: a replica that is silent, or was left
//! behind and has not been required again since, is not promoted.

use std::time::Duration;

use super::{Gate, Replicas, Rule};
use crate::ledger::redis::client::reply::ReplicationState;

/// Random numbers of a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

#[derive(Clone)]
struct Replica {
    written: u64,
    /// The offset that it has confirmed to the master.
    heard: u64,
    is_attached: bool,
    is_unsound: bool,
}

impl Replica {
    fn is_sound(&self) -> bool {
        self.is_attached && !self.is_unsound
    }
}

/// The master, its replicas, and a failover as Sentinels carry it out.
struct World {
    offset: u64,
    replicas: Vec<Replica>,
    /// How often a replica was attached again.
    attachments: u64,
    /// A failover is under way, and the replica that will be promoted.
    electing: Option<usize>,
    promoted: Option<usize>,
}

impl World {
    fn new(replicas: u64) -> Self {
        let replica = Replica { written: 1, heard: 1, is_attached: true, is_unsound: false };
        let replicas = (0..replicas).map(|_| replica.clone()).collect();
        Self { offset: 1, replicas, attachments: 0, electing: None, promoted: None }
    }

    fn listed(&self) -> ReplicationState {
        let attached = self.replicas.iter().enumerate().filter(|(_, it)| it.is_attached);
        let replicas = attached.map(|(name, it)| (name.to_string(), it.heard)).collect();
        ReplicationState { offset: self.offset, replicas }
    }

    /// Whether a majority of the Sentinels would say that the master is one and stays it.
    fn stands_by(&self) -> bool {
        self.electing.is_none() && self.promoted.is_none()
    }

    /// Replicas that are silent by the rule, or that it has left behind, are not sound.
    fn look_at(&mut self, rule: &Replicas) {
        for (index, replica) in self.replicas.iter_mut().enumerate() {
            let required = rule.required.get(&index.to_string());
            replica.is_unsound = required.is_none_or(|it| it.missing_since.is_some());
        }
    }

    fn step(&mut self, random: &mut Random) {
        let index = usize::try_from(random.below(self.replicas.len() as u64)).expect("small");
        let is_promoted = self.promoted == Some(index);
        // One that has written most is chosen. Where that one is detached, another fault has come
        // first, and no rule can help.
        let most = self.replicas.iter().map(|it| it.written).max();
        let may_be_chosen = self.stands_by() && random.below(4) == 0;
        let replica = &mut self.replicas[index];
        match random.below(20) {
            0..8 if replica.is_attached => {
                let lag = self.offset - replica.written;
                replica.written += if random.below(2) == 0 { lag } else { random.below(lag + 1) };
            }
            0..12 if replica.is_attached => replica.heard = replica.written,
            12 => self.offset += 1 + random.below(3),
            13 if replica.is_attached => {
                replica.written = self.offset;
                replica.heard = self.offset;
            }
            14 if self.electing != Some(index) => replica.is_attached = false,
            15 if !is_promoted && !replica.is_attached => {
                replica.is_attached = true;
                self.attachments += 1;
            }
            16 if may_be_chosen && most == Some(replica.written) && replica.is_sound() => {
                self.electing = Some(index);
            }
            17 | 18 => {
                if let Some(chosen) = self.electing.take() {
                    self.replicas[chosen].is_attached = false;
                    self.promoted = Some(chosen);
                }
            }
            _ => {}
        }
    }
}

/// The Sentinels are asked, while others go on before their answer and after it.
fn ask(world: &mut World, rule: &mut Replicas, random: &mut Random, at: Duration) {
    let attachments = world.attachments;
    let go_on = |world: &mut World, rule: &mut Replicas, random: &mut Random| {
        for _ in 0..random.below(4) {
            world.step(random);
            rule.listed(&world.listed(), at + Duration::from_millis(1));
            world.look_at(rule);
        }
    };
    go_on(world, rule, random);
    let stands_by = world.stands_by();
    go_on(world, rule, random);
    if stands_by && world.attachments == attachments {
        rule.approved(at, Duration::ZERO);
        world.look_at(rule);
    }
}

/// Runs one schedule; returns how many answers were confirmed, and how often one was asked for
/// after the promotion.
fn run(seed: u64) -> (u64, u64) {
    let mut random = Random(seed);
    let rule = Rule { fewer: None, may_be_alone: false, lag_max: Duration::from_millis(40) };
    let mut rule = Replicas::new(rule);
    let mut world = World::new(2 + seed % 2);
    rule.listed(&world.listed(), Duration::ZERO);
    rule.approved(Duration::ZERO, Duration::ZERO);
    let (mut now, mut confirmed, mut answers) = (0, 0, (0, 0));
    // A batch that was sent: what it rests on, and when.
    let mut sent: Option<(u64, Duration)> = None;
    for _ in 0..400 {
        now += random.below(10);
        let at = Duration::from_millis(now);
        world.step(&mut random);
        match random.below(6) {
            0 => {
                rule.listed(&world.listed(), at);
                world.look_at(&rule);
                if rule.is_in_doubt(Duration::ZERO, at) {
                    ask(&mut world, &mut rule, &mut random, at);
                }
            }
            1 if sent.is_none() && !matches!(rule.gate(true), Gate::Closed(_)) => {
                world.offset += 1;
                sent = Some((world.offset, at));
            }
            2..4 => {
                let Some((offset, sent_at)) = sent else { continue };
                answers.1 += u64::from(world.promoted.is_some());
                let listed = world.listed();
                let is_confirmed = rule.confirm(offset, &listed, sent_at, at).is_ok();
                world.look_at(&rule);
                if is_confirmed {
                    sent = None;
                    confirmed = confirmed.max(offset);
                    answers.0 += 1;
                    assert!(world.promoted.is_none(), "seed {seed}: answered by two masters");
                }
            }
            4 => sent = None,
            _ => {}
        }
        if let Some(promoted) = world.promoted {
            let held = world.replicas[promoted].written;
            assert!(held >= confirmed, "seed {seed}: {confirmed} confirmed, {held} held");
        }
    }
    answers
}

#[test]
fn what_is_confirmed_is_held_by_the_replica_that_is_promoted() {
    let mut answers = (0, 0);
    for seed in 0..20_000 {
        let (confirmed, asked_late) = run(seed);
        answers = (answers.0 + confirmed, answers.1 + asked_late);
    }
    // Not vacuous.
    assert!(answers.0 > 10_000 && answers.1 > 10_000, "{answers:?}");
}
