//! SIGKILL of the sidecar, and of Redis, while callers take with holds: what was confirmed is
//! there, nothing is over a limit, and what was held and not confirmed ends at its time, whatever
//! was killed in between.
//!
//! `IMQUOTA_ROUNDS=...` sets the number of kills.

#![allow(clippy::print_stdout, reason = "a test prints its figures")]

mod caller;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use caller::{APP, CALLERS, Caller, Cell, GROUP, HUB, Hold, SHORT, Signals, State, check};
use imquota::clock::Stopwatch;
use imquota::grpc::pb::{self, Outcome, subject::Kind};
use tokio::task::{JoinHandle, JoinSet, block_in_place};
use tonic::Status;

use crate::sidecar::{Client, Sidecar};
use crate::support::redis::{Sentinels, wait_for};
use crate::support::{Rng, seed};

/// The kills of a run, unless the environment sets them.
const ROUNDS_ON_DISK: usize = 6;
const ROUNDS_OVER_REDIS: usize = 6;
/// Of that number of rounds one leaves a killed master away until a replica is promoted.
const ROUNDS_A_PROMOTION: usize = 7;
/// The timeout for the store to be there again, and for holds to expire.
const BACK_MAX: Duration = Duration::from_secs(120);
const EXPIRED_MAX: Duration = Duration::from_secs(SHORT as u64 + 4);

/// The store, and what of it is killed.
enum Place {
    Disk,
    Redis(Box<Sentinels>),
}

impl Place {
    /// The master's port.
    fn describe(&self) -> String {
        match self {
            Self::Disk => "on disk".to_owned(),
            Self::Redis(redis) => format!("master {}", block_in_place(|| redis.master())),
        }
    }

    async fn start(&self, directory: &Path) -> Sidecar {
        match self {
            Self::Disk => Sidecar::start(directory).await,
            Self::Redis(redis) => {
                let url = redis.url();
                let state = directory.display().to_string();
                let store = ["--store", &url, "--durability", "replicated", "--journal", "off"];
                let store = [&store[..], &["--state-dir", &state]].concat();
                Sidecar::start_on(directory, &store).await
            }
        }
    }

    /// Kills the sidecar, the master, or both, and returns when there are a sidecar and a master.
    async fn kill(&self, sidecar: Sidecar, directory: &Path, round: usize) -> Sidecar {
        let kills_sidecar = matches!(self, Self::Disk) || round % 3 != 1;
        let kept = if kills_sidecar {
            sidecar.kill();
            None
        } else {
            Some(sidecar)
        };
        if let (Self::Redis(redis), 1 | 2) = (self, round % 3) {
            let promotes = round % ROUNDS_A_PROMOTION == ROUNDS_A_PROMOTION - 2;
            block_in_place(|| kill_master(redis, promotes));
        }
        match kept {
            Some(sidecar) => sidecar,
            None => self.start(directory).await,
        }
    }
}

fn kill_master(redis: &Sentinels, promotes: bool) {
    let master = redis.kill_master();
    if promotes {
        redis.wait_for_new_master(master);
        redis.revive(master);
    } else {
        redis.server(master).restart();
    }
    // A replica that is left behind while the sidecar starts is none that has to confirm: a second
    // fault could promote it.
    let is_whole = || {
        let info = redis.server(redis.master()).try_cli(&["INFO", "replication"]).ok()?;
        let online = info.lines().filter(|line| line.contains("state=online")).count();
        (online == redis.servers.len() - 1).then_some(())
    };
    wait_for("both replicas to follow the master", is_whole);
}

/// The number of rounds: `IMQUOTA_ROUNDS`, or the default of the test.
fn rounds(default: usize) -> usize {
    let rounds = std::env::var("IMQUOTA_ROUNDS").ok();
    rounds.map_or(default, |rounds| rounds.parse().expect("IMQUOTA_ROUNDS is a whole number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confirmed_holds_survive_kills_and_others_end_in_time_on_disk() {
    kill_again_and_again(Place::Disk, rounds(ROUNDS_ON_DISK)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confirmed_holds_survive_kills_and_others_end_in_time_over_redis() {
    let redis = block_in_place(Sentinels::start);
    kill_again_and_again(Place::Redis(Box::new(redis)), rounds(ROUNDS_OVER_REDIS)).await;
}

async fn kill_again_and_again(place: Place, rounds: usize) {
    let seed = seed(6);
    let mut rng = Rng::new(seed);
    let directory = tempfile::tempdir().expect("a directory");
    let mut callers: Vec<Caller> = (0..CALLERS).map(Caller::new).collect();
    let mut sidecar = place.start(directory.path()).await;
    set_up(&mut sidecar.connect().await).await;
    let mut unsure = 0;
    for round in 0..rounds {
        let name = format!("IMQUOTA_SEED={seed}, round {round}");
        let signals = Arc::new(Signals::after(1 + rng.below(400)));
        let (working, reading) = load(&sidecar, callers, &mut rng, &signals).await;
        signals.reached().await;
        tokio::time::sleep(Duration::from_micros(rng.next() % 3000)).await;
        signals.killed.store(true, Ordering::SeqCst);
        sidecar = place.kill(sidecar, directory.path(), round).await;
        callers = working.join_all().await;
        callers.sort_by_key(|caller| caller.number);
        reading.await.expect("nothing is over a limit");
        let mut client = sidecar.connect().await;
        wait_until_available(&mut client).await;
        let name = format!("{name}, {}", place.describe());
        for caller in &callers {
            compare(&sidecar, caller, &format!("{name}, at once")).await;
        }
        unsure += callers.iter().filter(|caller| caller.unsure.is_some()).count();
        for caller in &mut callers {
            caller.settle(&mut client).await;
            caller.expire();
            caller.end_round(&name);
        }
        wait_until_counted(&mut client, &callers, &name).await;
        for caller in &callers {
            compare(&sidecar, caller, &name).await;
        }
    }
    sidecar.kill();
    let mut answers: BTreeMap<String, usize> = BTreeMap::new();
    for (answer, count) in callers.iter().flat_map(|caller| &caller.answers) {
        *answers.entry(answer.clone()).or_default() += count;
    }
    assert!(unsure >= rounds, "void: {unsure} calls in flight");
    for answer in ["Applied", "AlreadyHeld", "Denied", "Confirmed", "Released"] {
        assert!(answers.get(answer).copied() >= Some(rounds), "void: {answer}: {answers:?}");
    }
}

/// A group that all callers join, with a member who stays.
async fn set_up(client: &mut Client) {
    let request = pb::CreateGroupRequest {
        app_id: APP.to_owned(),
        group_id: GROUP.to_owned(),
        r#type: "Public".to_owned(),
        owner_id: Some("keeper".to_owned()),
        ..pb::CreateGroupRequest::default()
    };
    let answer = client.create_group(request).await.expect("an answer").into_inner();
    assert_eq!(answer.group.expect("a result").outcome(), Outcome::Applied);
}

/// Starts the callers, and a reader that finds nothing over a limit.
async fn load(
    sidecar: &Sidecar,
    callers: Vec<Caller>,
    rng: &mut Rng,
    signals: &Arc<Signals>,
) -> (JoinSet<Caller>, JoinHandle<()>) {
    let mut working = JoinSet::new();
    for caller in callers {
        let (client, rng) = (sidecar.connect().await, Rng::new(rng.next()));
        let signals = signals.clone();
        working.spawn(async move { caller.work(client, rng, &signals).await });
    }
    let (mut client, signals) = (sidecar.connect().await, signals.clone());
    let reading = tokio::spawn(async move {
        while !signals.is_killed() {
            // An error is the kill, or a store without a processor for a moment.
            counts(&mut client).await.ok();
        }
    });
    (working, reading)
}

/// Used and held of each subject with a limit that callers reach, and of the app's groups. Fails if
/// one is over its limit.
async fn counts(client: &mut Client) -> Result<[(i64, u64); 4], Status> {
    let app = usage(client, Kind::App(pb::AppSubject {})).await?;
    let group = usage(client, Kind::GroupId(GROUP.to_owned())).await?;
    let hub = usage(client, Kind::UserId(HUB.to_owned())).await?;
    Ok([
        app["accounts_per_app"],
        group["members_per_group"],
        hub["friends_per_user"],
        app["groups_per_app/Private"],
    ])
}

async fn usage(client: &mut Client, kind: Kind) -> Result<BTreeMap<String, (i64, u64)>, Status> {
    let subject = Some(pb::Subject { kind: Some(kind.clone()) });
    let request = pb::GetUsageRequest { app_id: APP.to_owned(), subject };
    let usages = client.get_usage(request).await?.into_inner().usages;
    let row = |usage: pb::Usage| {
        let limit = usage.limit.map_or(i64::MAX, |limit| i64::try_from(limit).expect("fits"));
        assert!(usage.used <= limit, "{kind:?} is over {}: {}", usage.limit_id, usage.used);
        (usage.limit_id, (usage.used, usage.held))
    };
    Ok(usages.into_iter().map(row).collect())
}

/// Waits until the sidecar takes and reads again.
async fn wait_until_available(client: &mut Client) {
    let watch = Stopwatch::start();
    while let Err(status) = counts(client).await {
        assert!(watch.elapsed() < BACK_MAX, "the store is not back: {status}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until the counts are those of what is permanent and of the long holds.
async fn wait_until_counted(client: &mut Client, callers: &[Caller], name: &str) {
    let of = |is: fn(&Cell) -> bool| {
        let states = || callers.iter().flat_map(|caller| &caller.states);
        let count = |held: bool| {
            let counted = states().filter(|(cell, state)| match state {
                State::Permanent => is(cell) && !held,
                State::Held(_) => is(cell),
                State::Absent => false,
            });
            counted.count()
        };
        (i64::try_from(count(false)).expect("fits"), count(true) as u64)
    };
    let mut members = of(|cell| matches!(cell, Cell::Member(_)));
    // The member who stays.
    members.0 += 1;
    let expected = [
        of(|cell| matches!(cell, Cell::Account(_))),
        members,
        of(|cell| matches!(cell, Cell::Friend(_))),
        of(|cell| matches!(cell, Cell::Group(_))),
    ];
    let watch = Stopwatch::start();
    loop {
        let found = counts(client).await;
        if found.as_ref().is_ok_and(|found| *found == expected) {
            return;
        }
        let late = watch.elapsed() > EXPIRED_MAX;
        assert!(!late, "{name}: {found:?} instead of {expected:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Compares every cell of a caller with the facts, but that of the call in flight, and short holds.
async fn compare(sidecar: &Sidecar, caller: &Caller, name: &str) {
    let mut client = sidecar.connect().await;
    for (cell, state) in &caller.states {
        let is_sure = caller.unsure.as_ref().is_none_or(|(of, _)| of != cell);
        let is_held = match state {
            State::Held(Hold { is_short: true, .. }) => continue,
            State::Held(_) | State::Permanent => true,
            State::Absent => false,
        };
        if !is_sure {
            continue;
        }
        let found = check(&mut client, caller.number, *cell).await;
        let all = found.iter().all(|outcome| (*outcome == Outcome::AlreadyHeld) == is_held);
        let history = caller.history.get(cell);
        assert!(all, "{name}, {}: {cell:?} is {found:?}, {state:?}: {history:#?}", caller.number);
    }
}
