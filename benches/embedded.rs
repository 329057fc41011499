//! The rate of durable decisions compared with bare redb, and the delay that a large dissolution
//! causes.
//!
//! Three scenarios over [`Embedded`] in one file on disk, from a fixed seed:
//!
//! - **decisions**: JoinGroup with 1, 16 and 256 operations in flight, each a task that waits for
//!   its result, against the floor: one thread that writes the same rows with the same number of
//!   operations per durable commit, and reads and decides nothing. Rounds of the two alternate, and
//!   the ratio is taken within a round, so that other load on the machine affects both.
//! - **disk**: bytes of file per membership, compared with the floor's for the same rows.
//! - **dissolution**: the duration of the dissolution of a full group of the largest kind, and the
//!   worst delay of another operation meanwhile, compared with the worst without a dissolution.
//!
//! `cargo bench --bench embedded`; without `--bench`, as under `cargo test`, or with `--quick`, it
//! runs small: that checks that it works, and its figures are meaningless.

#![allow(clippy::disallowed_methods, reason = "a bench reads the clock; nothing here decides")]
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use std::time::Duration;

use tempfile::TempDir;

use self::floor::Floor;
use self::load::{Pairs, Store};
use self::shared::{SEED, Spread};

#[path = "embedded/floor.rs"]
mod floor;
#[path = "embedded/load.rs"]
mod load;
#[path = "shared/mod.rs"]
mod shared;

/// Operations in flight while the stores are filled.
const FILL_IN_FLIGHT: u32 = 256;

/// The size of the measurements.
struct Scale {
    /// Memberships before the measurements.
    filled: u32,
    /// Operations in flight, and the number of operations per round.
    in_flight: [(u32, u32); 3],
    rounds: u32,
    /// Members of a group that is dissolved.
    dissolved: u32,
    dissolutions: u32,
}

const FULL: Scale = Scale {
    filled: 200_000,
    in_flight: [(1, 256), (16, 2048), (256, 8192)],
    rounds: 31,
    dissolved: 6000,
    dissolutions: 9,
};
const QUICK: Scale = Scale {
    filled: 2000,
    in_flight: [(1, 32), (16, 256), (256, 2048)],
    rounds: 3,
    dissolved: 600,
    dissolutions: 2,
};

fn main() {
    let quick = shared::is_quick();
    let scale = if quick { QUICK } else { FULL };
    print_head(&scale, quick);

    // In the build folder, since the folder for temporary files is often in memory.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut pairs = Pairs::new(SEED);
    let floor = Floor::create(&folder.path().join("floor.redb"), SEED);
    let filling = pairs.take(scale.filled);
    floor.write(&filling, FILL_IN_FLIGHT);
    drop(floor);

    let ledger = folder.path().join("ledger");
    runtime.block_on(async {
        let store = Store::create(&ledger).await;
        store.join(&filling, FILL_IN_FLIGHT).await;
        store.close().await;
    });
    print_disk(&folder, scale.filled);

    let floor = Floor::create(&folder.path().join("floor.redb"), SEED);
    let store = Store::open(&ledger);
    println!("\n| in flight | decisions/s | floor, operations/s | ratio | min | max |");
    println!("|---:|---:|---:|---:|---:|---:|");
    for (in_flight, operations) in scale.in_flight {
        let mut rounds = Vec::new();
        for round in 0..scale.rounds {
            let batch = pairs.take(operations);
            let decide = || runtime.block_on(store.join(&batch, in_flight));
            // The order alternates too.
            let (decided, bare) = if round % 2 == 0 {
                let decided = decide();
                (decided, floor.write(&batch, in_flight))
            } else {
                let bare = floor.write(&batch, in_flight);
                (decide(), bare)
            };
            rounds.push((decided, bare));
        }
        print_decisions(in_flight, operations, &rounds);
    }
    runtime.block_on(dissolutions(&store, &mut pairs, &scale));
    runtime.block_on(store.close());
}

fn print_head(scale: &Scale, quick: bool) {
    shared::print_head("embedded", quick);
    println!("memberships at the start: {}", scale.filled);
    for (in_flight, operations) in scale.in_flight {
        println!("operations: {} rounds of {operations}, {in_flight} in flight", scale.rounds);
    }
}

fn print_disk(folder: &TempDir, memberships: u32) {
    println!("\n| file | bytes | bytes per membership | of these in use |");
    println!("|---|---:|---:|---:|");
    for (name, path) in [("ledger", "ledger/imquota.redb"), ("floor", "floor.redb")] {
        let path = folder.path().join(path);
        let bytes = std::fs::metadata(&path).expect("the file exists").len();
        let used = floor::bytes_in_use(&path);
        let each = u64::from(memberships);
        println!("| {name} | {bytes} | {} | {} |", bytes / each, used / each);
    }
}

/// Prints a line from the durations of the ledger and the floor for the same operations in each
/// round.
fn print_decisions(in_flight: u32, operations: u32, rounds: &[(Duration, Duration)]) {
    let per_second = |took: Duration| f64::from(operations) / took.as_secs_f64();
    let decided = Spread::of(rounds.iter().map(|(decided, _)| per_second(*decided)));
    let bare = Spread::of(rounds.iter().map(|(_, bare)| per_second(*bare)));
    let ratios = rounds.iter().map(|(decided, bare)| bare.as_secs_f64() / decided.as_secs_f64());
    let Spread { median: ratio, least, most } = Spread::of(ratios);
    println!(
        "| {in_flight} | {:.0} | {:.0} | {ratio:.2} | {least:.2} | {most:.2} |",
        decided.median, bare.median
    );
}

async fn dissolutions(store: &Store, pairs: &mut Pairs, scale: &Scale) {
    let (mut took, mut worst, mut worst_alone) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..scale.dissolutions {
        store.create_full_group(round, scale.dissolved).await;
        let dissolution = store.dissolve(round, scale.dissolved, pairs).await;
        took.push(dissolution.took);
        worst.push(dissolution.worst_meanwhile);
        worst_alone.push(store.probe_for(dissolution.took, pairs).await);
    }
    println!("\n{} dissolutions of {} members:\n", scale.dissolutions, scale.dissolved);
    println!("| milliseconds | median | min | max |");
    println!("|---|---:|---:|---:|");
    for (what, times) in [
        ("the dissolution", took),
        ("worst delay of a join meanwhile", worst),
        ("worst delay of a join for as long without it", worst_alone),
    ] {
        let times = Spread::of(times.iter().map(|time| time.as_secs_f64() * 1e3));
        let Spread { median, least, most } = times;
        println!("| {what} | {median:.1} | {least:.1} | {most:.1} |");
    }
}
