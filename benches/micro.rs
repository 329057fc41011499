//! The parts of a decision: from purchases to limits, ids to fingerprints, bytes to messages and
//! back.
//!
//! `cargo bench --bench micro` measures time with criterion; `cargo bench --bench micro --
//! instructions` counts instructions with valgrind's callgrind, which is independent of other
//! processes: the difference that 1000 further repetitions make. `cargo bench --bench micro --
//! denials` measures the cost of a denial after 0 to 1,000,000 different subjects were denied.
//! Without `--bench`, as under `cargo test`, each runs once.

#![allow(clippy::disallowed_methods, reason = "a bench reads the clock; nothing here decides")]
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use std::hint::black_box;
use std::process::Command;

use criterion::Criterion;
use imquota::catalog;
use imquota::domain::catalog::Catalog;
use imquota::domain::id::{RequestId, UserId};
use imquota::domain::purchase::{Item, Purchase, Sales};
use imquota::domain::schedule::Schedule;
use imquota::domain::selling::Conditions;
use imquota::domain::time::Timestamp;
use imquota::grpc::pb;
use imquota::store::Fingerprints;
use prost::Message as _;

#[path = "micro/denials.rs"]
mod denials;
#[path = "shared/mod.rs"]
mod shared;

/// 2026-11-27, 00:00 UTC.
const NOW: Timestamp = Timestamp::from_millis(1_795_737_600_000);
/// The number of repetitions under callgrind.
const REPETITIONS: u64 = 1000;

/// A named piece of code that is measured.
type Piece = (&'static str, Box<dyn Fn()>);

fn pieces() -> Vec<Piece> {
    let catalog = catalog::builtin();
    let sold = sales();
    let schedule = schedule(&catalog, &sold);
    let request = request().encode_to_vec();
    let response = response();
    let ids = Fingerprints::new(*b"0123456789abcdef");
    let user = UserId::try_from("user-0000001").expect("an id");
    vec![
        (
            "purchases to schedule",
            Box::new(move || drop(black_box(self::schedule(&catalog, &sold)))),
        ),
        (
            "schedule to limits",
            Box::new(move || {
                black_box(schedule.at(black_box(NOW)));
            }),
        ),
        (
            "id to fingerprint",
            Box::new(move || {
                black_box(ids.user(black_box(&user)));
            }),
        ),
        (
            "decode a join",
            Box::new(move || {
                let decoded = pb::JoinGroupRequest::decode(black_box(request.as_slice()));
                drop(black_box(decoded.expect("it was encoded")));
            }),
        ),
        ("encode its answer", Box::new(move || drop(black_box(response.encode_to_vec())))),
    ]
}

fn sales() -> Sales {
    let items = [
        Item::Edition("professional".into()),
        Item::AddOn("members-6000".into()),
        Item::AddOn("groups-per-user-1000".into()),
    ];
    let purchases = items.map(|item| Purchase {
        request_id: RequestId::try_from("bench").expect("an id"),
        item,
        months: 1,
        price_fen: 0,
        terms: None,
        conditions: Conditions::default(),
        at: NOW,
    });
    Sales::from(purchases.to_vec())
}

fn schedule(catalog: &Catalog, sold: &Sales) -> Schedule {
    Schedule::compile(black_box(catalog), black_box(sold), NOW).expect("the catalog has them")
}

fn request() -> pb::JoinGroupRequest {
    pb::JoinGroupRequest {
        app_id: "demo".to_owned(),
        group_id: "group-00001".to_owned(),
        user_ids: vec!["user-0000001".to_owned()],
        ..Default::default()
    }
}

fn response() -> pb::JoinGroupResponse {
    let outcome = pb::Outcome::Applied.into();
    let result =
        pb::Result { id: "user-0000001".to_owned(), outcome, denials: Vec::new(), repeated: false };
    let decided_at = Some(prost_types::Timestamp { seconds: 1_795_737_600, nanos: 1_000_000 });
    let decision = Some(pb::DecisionInfo { decided_at, degradation: String::new() });
    pb::JoinGroupResponse { results: vec![result], decision }
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["instructions"] => count_instructions(),
        ["denials"] => {
            shared::print_head("micro", false);
            denials::run(false);
        }
        ["repeat", piece, times] => repeat(piece, times.parse().expect("a number")),
        _ => {
            let mut criterion = Criterion::default().configure_from_args();
            for (name, piece) in pieces() {
                criterion.bench_function(name, |bencher| bencher.iter(&piece));
            }
            criterion.final_summary();
            if shared::is_quick() {
                denials::run(true);
            }
        }
    }
}

fn repeat(name: &str, times: u64) {
    let pieces = pieces();
    let (_, piece) = pieces.iter().find(|(known, _)| *known == name).expect("one of the pieces");
    for _ in 0..times {
        piece();
    }
}

fn count_instructions() {
    println!("| | instructions |");
    println!("|---|---:|");
    for (name, _) in pieces() {
        let more = instructions(name, 2 * REPETITIONS) - instructions(name, REPETITIONS);
        println!("| {name} | {} |", more / REPETITIONS);
    }
}

/// Returns the number of all instructions of a process that repeats a piece.
fn instructions(name: &str, times: u64) -> u64 {
    let this = std::env::current_exe().expect("this is a program");
    let ran = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(this)
        .args(["repeat", name, &times.to_string()])
        .output()
        .expect("valgrind is installed (on Debian: apt-get install valgrind)");
    let output = String::from_utf8_lossy(&ran.stderr);
    let count = output.lines().find_map(|line| line.split_once("Collected : "));
    count.and_then(|(_, count)| count.trim().parse().ok()).unwrap_or_else(|| panic!("{output}"))
}
