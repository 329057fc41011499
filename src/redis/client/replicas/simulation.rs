//! Random failovers of a simulated master with two or three replicas: whichever replica is promoted
//! holds all writes that the rule has confirmed.
//!
//! The simulation holds the facts that the rule has to infer: what each replica has really written,
//! and when one is promoted. There is one fault at a time: a replica that is silent, or was left
//! behind and has not been required again since, is not promoted.

use std::time::Duration;

use super::{Gate, Replicas, Rule};
use crate::redis::client::reply::ReplicationState;

/// Random numbers from a seed (SplitMix64).
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
    confirmed: u64,
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
    /// Number of times that a replica was attached again.
    attachments: u64,
    /// The replica that will be promoted, while a failover is under way.
    electing: Option<usize>,
    promoted: Option<usize>,
}

impl World {
    fn new(replicas: u64) -> Self {
        let replica = Replica { written: 1, confirmed: 1, is_attached: true, is_unsound: false };
        let replicas = (0..replicas).map(|_| replica.clone()).collect();
        Self { offset: 1, replicas, attachments: 0, electing: None, promoted: None }
    }

    fn listed(&self) -> ReplicationState {
        let attached = self.replicas.iter().enumerate().filter(|(_, it)| it.is_attached);
        let replicas = attached.map(|(name, it)| (name.to_string(), it.confirmed)).collect();
        ReplicationState { offset: self.offset, replicas }
    }

    /// Returns whether a majority of the Sentinels would name the master and keep it.
    fn keeps_master(&self) -> bool {
        self.electing.is_none() && self.promoted.is_none()
    }

    /// Marks as unsound the replicas that are silent by the rule, or that it has left behind.
    fn mark_unsound(&mut self, rule: &Replicas) {
        for (index, replica) in self.replicas.iter_mut().enumerate() {
            let required = rule.required.get(&index.to_string());
            replica.is_unsound = required.is_none_or(|it| it.missing_since.is_some());
        }
    }

    fn step(&mut self, random: &mut Random) {
        let index = usize::try_from(random.below(self.replicas.len() as u64)).expect("small");
        let is_promoted = self.promoted == Some(index);
        // A replica that has written most is chosen. If that one is detached, another fault has
        // come first, and no rule can help.
        let most = self.replicas.iter().map(|it| it.written).max();
        let may_be_chosen = self.keeps_master() && random.below(4) == 0;
        let replica = &mut self.replicas[index];
        match random.below(20) {
            0..8 if replica.is_attached => {
                let lag = self.offset - replica.written;
                replica.written += if random.below(2) == 0 { lag } else { random.below(lag + 1) };
            }
            0..12 if replica.is_attached => replica.confirmed = replica.written,
            12 => self.offset += 1 + random.below(3),
            13 if replica.is_attached => {
                replica.written = self.offset;
                replica.confirmed = self.offset;
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

/// Queries the Sentinels, while the others act before the reply and after it.
fn query_sentinels(world: &mut World, rule: &mut Replicas, random: &mut Random, at: Duration) {
    let attachments = world.attachments;
    let act = |world: &mut World, rule: &mut Replicas, random: &mut Random| {
        for _ in 0..random.below(4) {
            world.step(random);
            rule.listed(&world.listed(), at + Duration::from_millis(1));
            world.mark_unsound(rule);
        }
    };
    act(world, rule, random);
    let keeps_master = world.keeps_master();
    act(world, rule, random);
    if keeps_master && world.attachments == attachments {
        rule.approved(at, Duration::ZERO);
        world.mark_unsound(rule);
    }
}

/// Runs one schedule; returns how many replies were confirmed, and how often a confirmation was
/// requested after the promotion.
fn run(seed: u64) -> (u64, u64) {
    let mut random = Random(seed);
    let rule = Rule { fewer: None, may_be_alone: false, lag_max: Duration::from_millis(40) };
    let mut rule = Replicas::new(rule);
    let mut world = World::new(2 + seed % 2);
    rule.listed(&world.listed(), Duration::ZERO);
    rule.approved(Duration::ZERO, Duration::ZERO);
    let (mut now, mut confirmed, mut answers) = (0, 0, (0, 0));
    // A batch that was sent: the offset on which it rests, and when.
    let mut sent: Option<(u64, Duration)> = None;
    for _ in 0..400 {
        now += random.below(10);
        let at = Duration::from_millis(now);
        world.step(&mut random);
        match random.below(6) {
            0 => {
                rule.listed(&world.listed(), at);
                world.mark_unsound(&rule);
                if rule.is_in_doubt(Duration::ZERO, at) {
                    query_sentinels(&mut world, &mut rule, &mut random, at);
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
                world.mark_unsound(&rule);
                if is_confirmed {
                    sent = None;
                    confirmed = confirmed.max(offset);
                    answers.0 += 1;
                    assert!(world.promoted.is_none(), "seed {seed}: two masters answered");
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
fn a_promoted_replica_holds_every_confirmed_write() {
    let mut answers = (0, 0);
    for seed in 0..20_000 {
        let (confirmed, late_requests) = run(seed);
        answers = (answers.0 + confirmed, answers.1 + late_requests);
    }
    // Both cases occur.
    assert!(answers.0 > 10_000 && answers.1 > 10_000, "{answers:?}");
}
