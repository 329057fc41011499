//! Load on the sidecar over its network, and its distance from the floors.
//!
//! - `cargo bench --bench load`: the goals as one table. The sidecar over Redis and in memory,
//!   compared with a bare tonic echo, the bare join script and a build before, in alternating
//!   rounds.
//! - `... -- hot`: one hot app over three sidecars.
//! - `... -- latency`: latency where Redis is some way off.
//! - `... -- drive`: load on a running server, in an open or a closed loop.
//! - `... -- sweep`: rising load on a running server, with a plot of latency over load.
//! - `... -- growth`, `masters`, `million`: the cost over the amount of stored data.
//! - `... -- durability`: the cost of confirmation by replicas.
//! - `... -- holds`: the cost of a join with a hold, and of its confirmation.
//!
//! Without `--bench`, as under `cargo test`, or with `--quick`, it runs small: that checks that it
//! works, and its figures are meaningless.

#![allow(clippy::disallowed_methods, reason = "a bench reads the clock; nothing here decides")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints its figures")]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[path = "load/address.rs"]
mod address;
#[path = "load/command.rs"]
mod command;
#[path = "load/delay.rs"]
mod delay;
#[path = "load/drive.rs"]
mod drive;
#[path = "load/durability.rs"]
mod durability;
#[path = "load/echo.rs"]
mod echo;
#[path = "load/field.rs"]
mod field;
#[path = "load/goals.rs"]
mod goals;
#[path = "load/growth.rs"]
mod growth;
#[path = "load/holds.rs"]
mod holds;
#[path = "load/hot.rs"]
mod hot;
#[path = "load/latency.rs"]
mod latency;
#[path = "load/masters.rs"]
mod masters;
#[path = "load/million.rs"]
mod million;
#[path = "load/mix.rs"]
mod mix;
#[path = "load/pacer.rs"]
mod pacer;
#[path = "load/plot.rs"]
mod plot;
#[path = "load/processes.rs"]
mod processes;
#[path = "load/results.rs"]
mod results;
#[path = "load/script.rs"]
mod script;
#[path = "shared/mod.rs"]
mod shared;
#[path = "load/steps.rs"]
mod steps;
#[path = "load/stream.rs"]
mod stream;
#[path = "../tests/support/mod.rs"]
mod support;
#[path = "load/sweep.rs"]
mod sweep;
#[path = "load/table.rs"]
mod table;
#[path = "load/unary.rs"]
mod unary;

/// Measures the sidecar over its network.
#[derive(Parser)]
#[command(name = "load")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Runs small, to check that it works
    #[arg(long, global = true)]
    quick: bool,
    /// The flag that cargo bench adds
    #[arg(long, global = true, hide = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Command {
    /// The sidecar compared with its floors and goals (the default)
    Goals(goals::Goals),
    /// One hot app over three sidecars, and its members counted afterwards
    Hot(hot::Hot),
    /// Latency over a Redis that is some way off
    Latency(latency::Latency),
    /// Load on a running server
    Drive(Box<command::Drive>),
    /// Rising load on a running server, with a plot of latency over load
    Sweep(Box<sweep::Sweep>),
    /// The cost of a join over groups of a user, members of a group, users of a call
    Growth {
        /// Draws it to this file
        #[arg(long, value_name = "FILE")]
        svg: Option<std::path::PathBuf>,
    },
    /// The cost of confirmation by replicas
    Durability,
    /// The cost of a join with a hold, and of its confirmation
    Holds,
    /// Decisions over a cluster of one, two and three masters
    Masters,
    /// A million users in the embedded store: bytes, and the time of a start
    Million,
    /// The floor: answers joins without deciding anything
    Echo {
        /// The address to listen on: HOST:PORT or unix:PATH
        address: address::Address,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let quick = cli.quick || !cli.bench;
    if let Some(Command::Echo { address }) = cli.command {
        // On the runtime that a server has by default.
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(echo::serve(&address));
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let end = runtime.expect("a runtime").block_on(async {
        match cli.command {
            Some(command) => run(command, quick).await,
            None if quick => all_small().await,
            None => run(parsed(&["goals"]), quick).await,
        }
    });
    match end {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Parses a command from the given arguments.
fn parsed(arguments: &[&str]) -> Command {
    let all = ["load"].iter().chain(arguments);
    Cli::parse_from(all).command.expect("it was given")
}

async fn run(command: Command, quick: bool) -> Result<(), String> {
    match command {
        Command::Drive(drive) => return drive.run().await,
        Command::Sweep(sweep) => return sweep.run().await,
        _ => shared::print_head("load", quick),
    }
    match command {
        Command::Goals(goals) => goals::run(goals, quick).await?,
        Command::Hot(hot) => hot::run(hot, quick).await?,
        Command::Latency(latency) => latency::run(latency, quick).await?,
        Command::Growth { svg } => growth::run(quick, svg).await?,
        Command::Durability => durability::run(quick).await?,
        Command::Holds => holds::run(quick).await?,
        Command::Masters => masters::run(quick).await?,
        Command::Million => million::run(quick).await?,
        Command::Drive(_) | Command::Sweep(_) | Command::Echo { .. } => {}
    }
    Ok(())
}

/// Runs every bench once, small.
async fn all_small() -> Result<(), String> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let file = |name: &str| folder.path().join(name).display().to_string();
    for command in ["durability", "holds", "masters", "million"] {
        run(parsed(&[command]), true).await?;
    }
    let before = ["--before", env!("CARGO_BIN_EXE_imquota")];
    run(parsed(&["goals", "--details"]), true).await?;
    for command in [&["goals", "--only", "denials,steps"][..], &["hot"], &["latency"]] {
        run(parsed(&[command, &before].concat()), true).await?;
    }
    run(parsed(&["growth", "--svg", &file("growth.svg")]), true).await?;
    let binary = env!("CARGO_BIN_EXE_imquota").as_ref();
    let transport = processes::Transport::Unix;
    let sidecar = processes::Process::sidecar(binary, folder.path(), transport, "memory").await;
    let (data, admin) = (sidecar.address.to_string(), sidecar.admin.to_string());
    let small = ["--users", "1024", "--groups", "16", "--seconds", "0.2", "--address", &data];
    let (csv, svg, json) = (file("sweep.csv"), file("sweep.svg"), file("drive.json"));
    let sweep = ["sweep", "--rates", "200,400", "--csv", &csv, "--svg", &svg];
    let sold = ["--admin-address", &admin, "--processes", "2", "--rpc", "apply"];
    run(parsed(&[&sweep[..], &sold, &small].concat()), true).await?;
    for mix in ["join-heavy", "friend-heavy", "denial-heavy", "hot-group", "zipf", "mixed"] {
        let drive = ["drive", "--mix", mix, "--json", &json, "--csv", &csv, "--connections", "2"];
        run(parsed(&[&drive[..], &small].concat()), true).await?;
        let report = std::fs::read_to_string(&json).map_err(|error| error.to_string())?;
        assert!(!report.contains("\"error"), "{mix}: {report}");
    }
    let written = [csv, svg, json, file("growth.svg")];
    assert!(written.iter().all(|file| std::fs::metadata(file).is_ok_and(|it| it.len() > 100)));
    Ok(())
}
