//! A run: sidecars over one store, clients in cells, the log and the checker's result.

#![allow(clippy::print_stdout, reason = "a test prints its seed and the figures")]

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use imquota::clock::Stopwatch;
use imquota::grpc::pb::{self, apply_response::Answer};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tonic::Code;

use super::link::{Link, Reply};
use super::operation::{self, CLIENTS, GROUPS, Holds, Operation};
use super::sidecar::{AdminClient, Sidecar};
use super::{catalog, support::Rng};

/// Operations of one cell without its final reads.
const CELL_OPERATIONS: usize = 400;
/// Concurrent cells: enough to fill the store's batches, few enough for a small machine.
const CELLS_AT_ONCE: usize = 8;

/// Exit codes of the checker.
pub const LEGAL: i32 = 0;
pub const ILLEGAL: i32 = 1;

/// The parameters of a run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The value of `--store`; all sidecars share it.
    pub store: String,
    /// The value of `--durability`.
    pub durability: Option<&'static str>,
    pub sidecars: usize,
    /// True if deleting an account has several steps with visible intermediate states.
    pub deletions_in_parts: bool,
    pub operations: usize,
    pub seed: u64,
    /// The service's timeout for one operation.
    pub timeout_ms: u32,
    /// The time after its deadline for which an operation may still take effect; `None`: no bound.
    pub tolerance_ns: Option<u64>,
    pub faults_expected: bool,
    /// True if acknowledged facts must get lost: then losses are counted.
    pub losses_expected: bool,
}

/// The progress of a run, for the task that injects faults.
#[derive(Debug)]
pub struct Progress {
    done: watch::Sender<usize>,
    events: Mutex<Vec<Value>>,
    watch: Stopwatch,
}

impl Progress {
    /// Waits until that number of operations has results.
    pub async fn reached(&self, operations: usize) {
        let mut done = self.done.subscribe();
        done.wait_for(|done| *done >= operations).await.expect("the sender lives in self");
    }

    /// Writes a fault to the log.
    pub fn event(&self, what: &str) {
        let line = json!({"event": what, "at_ns": self.now_ns()});
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.watch.elapsed().as_nanos()).expect("less than five centuries")
    }
}

/// Runs the plan beside `faults`, which ends by itself and returns the guards of its servers, and
/// asserts that the history is legal.
pub async fn run<F: Future>(plan: Plan, faults: impl FnOnce(Arc<Progress>) -> F) {
    let seed = plan.seed;
    let (code, directory) = observe(plan, faults).await;
    // The log of a failure is kept for its analysis.
    let kept = (code != Some(LEGAL)).then(|| directory.keep());
    assert_eq!(kept, None, "IMQUOTA_SEED={seed}: exit code {code:?}, log kept");
}

/// Runs the plan; returns the checker's exit code and the path of the log.
pub async fn observe<F: Future>(
    plan: Plan,
    faults: impl FnOnce(Arc<Progress>) -> F,
) -> (Option<i32>, TempDir) {
    println!("IMQUOTA_SEED={} {plan:?}", plan.seed);
    let directory = tempfile::tempdir().expect("a directory");
    let mut sidecars = Vec::new();
    let (mut links, mut admins) = (Vec::new(), Vec::new());
    for number in 0..plan.sidecars {
        let store = &plan.store;
        let durability = plan.durability.map(|durability| ["--durability", durability]);
        // One sidecar decides even an operation that is alone like several.
        let coalescing = ["--coalescing", if number % 2 == 0 { "auto" } else { "always" }];
        let more: Vec<&str> = durability.into_iter().flatten().chain(coalescing).collect();
        let sidecar = Sidecar::start(directory.path(), number, store, plan.timeout_ms, &more).await;
        links.push(Arc::new(Link::open(sidecar.connect().await).await));
        admins.push(sidecar.connect_as_admin().await);
        sidecars.push(sidecar);
    }
    let progress = Arc::new(Progress {
        done: watch::Sender::new(0),
        events: Mutex::default(),
        watch: Stopwatch::start(),
    });
    // The guards of the faults live until the sidecars have ended.
    let (lines, _kept) =
        tokio::join!(load(&plan, links, &admins, &progress), faults(progress.clone()));
    let took = progress.watch.elapsed().as_secs_f64();
    println!("{} operations in {took:.1} s", lines.len());
    let log = directory.path().join("history.jsonl");
    let events =
        std::mem::take(&mut *progress.events.lock().unwrap_or_else(PoisonError::into_inner));
    let header = json!({
        "limits": catalog::limits(),
        "tolerance_ns": plan.tolerance_ns,
        "faults_expected": plan.faults_expected,
        "losses_expected": plan.losses_expected,
        "deletions_in_parts": plan.deletions_in_parts,
    });
    let mut file = BufWriter::new(File::create(&log).expect("the log is created"));
    for line in std::iter::once(header).chain(events).chain(lines) {
        writeln!(file, "{line}").expect("the log is written");
    }
    file.into_inner().expect("the log is written");
    (check(&log), directory)
}

fn check(log: &Path) -> Option<i32> {
    let checker = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/linearizability/check.py");
    let mut command = Command::new("python3");
    // Nothing is left behind in the tree.
    command.arg("-B").arg(checker).arg(log);
    let output = command.output().expect("python3 runs");
    print!("{}", String::from_utf8_lossy(&output.stdout));
    print!("{}", String::from_utf8_lossy(&output.stderr));
    output.status.code()
}

/// All cells, some at a time.
async fn load(
    plan: &Plan,
    links: Vec<Arc<Link>>,
    admins: &[AdminClient],
    progress: &Arc<Progress>,
) -> Vec<Value> {
    let mut rng = Rng::new(plan.seed);
    let room = Arc::new(Semaphore::new(CELLS_AT_ONCE));
    let mut cells = JoinSet::new();
    for number in 0..plan.operations.div_ceil(CELL_OPERATIONS) {
        let cell = Arc::new(Cell {
            app: format!("cell-{:x}-{number}", plan.seed),
            is_whole: number % 4 == 3,
            // Only operations of registered apps are decided together.
            admin: admins.first().filter(|_| number % 2 == 0 && !plan.losses_expected).cloned(),
            links: links.clone(),
            // A lost take may take its hold with it, or not.
            has_holds: !plan.losses_expected,
            progress: progress.clone(),
            timeout_ms: plan.timeout_ms,
        });
        let (room, rng) = (room.clone(), Rng::new(rng.next()));
        cells.spawn(async move {
            let _permit = room.acquire_owned().await.expect("never closed");
            cell.run(rng).await
        });
    }
    cells.join_all().await.into_iter().flatten().collect()
}

/// One app.
struct Cell {
    app: String,
    is_whole: bool,
    /// The administrator who registers the app, if it is registered.
    admin: Option<AdminClient>,
    links: Vec<Arc<Link>>,
    /// True if clients take with holds.
    has_holds: bool,
    progress: Arc<Progress>,
    timeout_ms: u32,
}

impl Cell {
    async fn run(self: Arc<Self>, mut rng: Rng) -> Vec<Value> {
        if let Some(admin) = self.admin.clone() {
            self.register(admin).await;
        }
        self.create_groups().await;
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let (cell, rng) = (self.clone(), Rng::new(rng.next()));
            clients.spawn(async move { cell.client(client, rng).await });
        }
        let mut lines: Vec<Value> = clients.join_all().await.into_iter().flatten().collect();
        // A failover may have lost the groups, and then their reads.
        self.create_groups().await;
        for (id, read) in operation::final_reads(self.is_whole).into_iter().enumerate() {
            // Round robin over all sidecars.
            lines.push(self.call(CLIENTS + id % self.links.len(), id, &read).await);
        }
        lines
    }

    /// Registers the app, however often the store refuses it.
    async fn register(&self, mut admin: AdminClient) {
        let request = pb::CreateAppRequest {
            app_id: self.app.clone(),
            request_id: self.app.clone(),
            ..Default::default()
        };
        while let Err(refused) = admin.create_app(request.clone()).await {
            assert_eq!(refused.code(), Code::Unavailable, "{refused}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Creates the groups before the history, of which they are no facts.
    async fn create_groups(&self) {
        for link in &self.links {
            for group in 0..GROUPS {
                self.create_group(link, operation::group(group)).await;
            }
        }
    }

    async fn create_group(&self, link: &Link, group: String) {
        let mode = pb::Mode::Enforce.into();
        loop {
            let request = operation::create_group(&self.app, group.clone(), "Public", mode);
            match link.call(request, self.timeout_ms).await {
                Reply::Answer(Answer::CreateGroup(_)) => return,
                Reply::Answer(_) => tokio::task::yield_now().await,
                ended => panic!("no sidecar to create groups: {ended:?}"),
            }
        }
    }

    async fn client(&self, client: usize, mut rng: Rng) -> Vec<Value> {
        let mut lines = Vec::with_capacity(CELL_OPERATIONS / CLIENTS);
        let mut holds = self.has_holds.then(|| Holds::of(client));
        for id in 0..CELL_OPERATIONS / CLIENTS {
            let operation = operation::random(&mut rng, self.is_whole, holds.as_mut());
            lines.push(self.call(client, id, &operation).await);
            if let Some(group) = operation.dissolved() {
                self.create_group(&self.links[client % self.links.len()], group).await;
            }
        }
        lines
    }

    /// One operation, as a line of the log.
    async fn call(&self, client: usize, id: usize, operation: &Operation) -> Value {
        let mut line = Map::new();
        operation.describe(&mut line);
        let request = operation.request(&self.app);
        let link = &self.links[client % self.links.len()];
        let invoke_ns = self.progress.now_ns();
        let reply = link.call(request, self.timeout_ms).await;
        let return_ns = self.progress.now_ns();
        match reply {
            Reply::Answer(answer) => operation.learn(answer, &mut line),
            Reply::Lost => drop(line.insert("outcome".into(), json!("ERROR_UNKNOWN"))),
            Reply::NotSent => drop(line.insert("outcome".into(), json!("ERROR_NOTHING_DONE"))),
        }
        line.insert("cell".into(), json!(self.app));
        line.insert("client".into(), json!(client.to_string()));
        line.insert("id".into(), json!(id));
        line.insert("invoke_ns".into(), json!(invoke_ns));
        line.insert("return_ns".into(), json!(return_ns));
        let deadline_ns = invoke_ns + u64::from(self.timeout_ms) * 1_000_000;
        line.insert("deadline_ns".into(), json!(deadline_ns));
        self.progress.done.send_modify(|done| *done += 1);
        Value::Object(line)
    }
}
