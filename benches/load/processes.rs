//! The servers under load as processes: the sidecar and the echo, and their use of the machine.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use imquota::grpc::pb;

use super::address::Address;
use super::mix::Plan;

/// The longest time that a start may take.
const START_MAX: Duration = Duration::from_secs(60);
/// The add-ons that the load needs.
const ADD_ONS: [&str; 2] = ["members-6000", "groups-per-user-1000"];
/// The number of groups that are created concurrently.
const CREATED_AT_ONCE: usize = 64;

/// A server that is killed when dropped.
pub struct Process {
    child: Child,
    /// The address of its data plane.
    pub address: Address,
    /// The address of its administration.
    pub admin: Address,
    /// The time from the start of the process to its first answered call.
    pub start: Duration,
}

/// The kind of address that a server listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Unix,
}

impl Transport {
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Unix => "Unix socket",
        }
    }

    fn address(self, folder: &Path, name: &str) -> Address {
        match self {
            Self::Tcp => Address::Tcp(format!("127.0.0.1:{}", super::support::ports::free_port())),
            Self::Unix => Address::Unix(folder.join(name)),
        }
    }
}

impl Process {
    /// Starts a sidecar over a store, with its sockets and its journal in the folder.
    pub async fn sidecar(binary: &Path, folder: &Path, transport: Transport, store: &str) -> Self {
        Self::sidecar_with(binary, folder, transport, store, &[]).await
    }

    /// Starts a sidecar with further arguments.
    pub async fn sidecar_with(
        binary: &Path,
        folder: &Path,
        transport: Transport,
        store: &str,
        arguments: &[&str],
    ) -> Self {
        let name = |end: &str| format!("{}-{end}", folder_name(store));
        let address = transport.address(folder, &name("quota.sock"));
        let admin = Address::Unix(folder.join(name("admin.sock")));
        let mut command = Command::new(binary);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("IMQUOTA_")) {
            command.env_remove(name);
        }
        command.args(["serve", "--store", store, "--listen", &address.to_string()]);
        command.args(["--admin-listen", &admin.to_string(), "--management-listen", "off"]);
        command.args(["--shutdown-delay-ms", "0"]).args(arguments);
        command.args(["--journal", &folder.join(name("journal")).display().to_string()]);
        Self::start(command, address, admin).await
    }

    /// Starts the floor.
    pub async fn echo(folder: &Path, transport: Transport) -> Self {
        let address = transport.address(folder, "echo.sock");
        let this: PathBuf = std::env::current_exe().expect("this is a program");
        let mut command = Command::new(this);
        command.args(["echo", &address.to_string()]);
        Self::start(command, address.clone(), address).await
    }

    async fn start(mut command: Command, address: Address, admin: Address) -> Self {
        let begun = Instant::now();
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.expect("the program is there");
        let mut process = Self { child, address, admin, start: Duration::ZERO };
        loop {
            let connected = match &process.address {
                Address::Tcp(address) => std::net::TcpStream::connect(address).is_ok(),
                Address::Unix(path) => std::os::unix::net::UnixStream::connect(path).is_ok(),
            };
            if connected && process.answers().await {
                process.start = begun.elapsed();
                return process;
            }
            let ended = process.child.try_wait().expect("a child of ours");
            assert_eq!(ended, None, "the server ended at its start");
            assert!(begun.elapsed() < START_MAX, "the server does not listen");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Returns whether a call gets any response; before the store is open, calls are not served.
    async fn answers(&self) -> bool {
        let Ok(mut client) = self.address.quota().await else { return false };
        let answer = client.join_group(pb::JoinGroupRequest::default()).await;
        !answer.is_err_and(|status| status.code() == tonic::Code::Unavailable)
    }

    /// Ends it by SIGTERM, and waits at most that long for it.
    pub fn end(mut self, longest: Duration) {
        let pid = self.child.id().to_string();
        let killed = Command::new("kill").arg(&pid).status().expect("kill is there");
        assert!(killed.success(), "the process runs");
        let begun = Instant::now();
        while self.child.try_wait().expect("a child of ours").is_none() {
            assert!(begun.elapsed() < longest, "the server does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sells the app what the load needs, and creates the groups.
    pub async fn prepare(&self, plan: &Plan) -> Result<(), String> {
        prepare(&self.address, Some(&self.admin), plan).await
    }

    /// Returns the processor time used so far.
    pub fn cpu(&self) -> CpuTimes {
        CpuTimes::of(self.child.id())
    }

    /// Returns the resident memory, in megabytes.
    pub fn resident_mb(&self) -> f64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kb = line.and_then(|line| line.trim().strip_suffix(" kB")).expect("the format of proc");
        kb.trim().parse::<f64>().expect("a number") / 1e3
    }

    fn proc(&self, file: &str) -> String {
        let path = format!("/proc/{}/{file}", self.child.id());
        std::fs::read_to_string(path).expect("the process runs")
    }
}

/// The processor time of each thread of a process, in nanoseconds: the ticks of `stat` are too
/// coarse for a second with one call in flight.
pub struct CpuTimes(HashMap<String, u64>);

impl CpuTimes {
    /// Reads the times of all threads.
    pub fn of(pid: u32) -> Self {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
        let threads = threads.map(|thread| thread.expect("readable").file_name());
        Self::of_threads(pid, threads.map(|thread| thread.to_string_lossy().into_owned()))
    }

    /// Reads the time of the main thread.
    pub fn of_main_thread(pid: u32) -> Self {
        Self::of_threads(pid, [pid.to_string()].into_iter())
    }

    fn of_threads(pid: u32, threads: impl Iterator<Item = String>) -> Self {
        let time = |thread: String| {
            // A thread may have ended since it was listed.
            let path = format!("/proc/{pid}/task/{thread}/schedstat");
            let times = std::fs::read_to_string(path).ok()?;
            Some((thread, times.split(' ').next()?.parse().ok()?))
        };
        Self(threads.filter_map(time).collect())
    }

    /// Returns the processor time since an earlier reading. A thread that ended in between does
    /// not count.
    pub fn seconds_since(&self, earlier: &Self) -> f64 {
        let before = |thread| earlier.0.get(thread).copied().unwrap_or(0);
        let used = self.0.iter().map(|(thread, ns)| ns.saturating_sub(before(thread)));
        Duration::from_nanos(used.sum()).as_secs_f64()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn folder_name(store: &str) -> &str {
    store.split(':').next().unwrap_or(store)
}

/// Sells the app what the load needs, if the administration's address is given, and creates the
/// groups.
pub async fn prepare(
    address: &Address,
    admin: Option<&Address>,
    plan: &Plan,
) -> Result<(), String> {
    if let Some(admin) = admin {
        sell(admin, &plan.app).await?;
    }
    let client = address.quota().await?;
    for groups in plan.groups().chunks(CREATED_AT_ONCE) {
        let create = |group: &pb::CreateGroupRequest| {
            let (mut client, group) = (client.clone(), group.clone());
            async move { client.create_group(group).await }
        };
        let created = futures_util::future::join_all(groups.iter().map(create)).await;
        for answer in created {
            answer.map_err(|status| describe(&status))?;
        }
    }
    Ok(())
}

/// Sells the app what the load needs; only once, regardless of repetitions.
pub async fn sell(admin: &Address, app: &str) -> Result<(), String> {
    let mut client = admin.admin().await?;
    let (app_id, effective_at, months) = (app.to_owned(), None, 1);
    let request_id = |what: &str| format!("load-{what}-{app}");
    let created = pb::CreateAppRequest {
        app_id: app_id.clone(),
        request_id: request_id("app"),
        effective_at,
    };
    client.create_app(created).await.map_err(|status| describe(&status))?;
    let edition = pb::PurchaseEditionRequest {
        app_id: app_id.clone(),
        request_id: request_id("edition"),
        edition_id: "professional".to_owned(),
        months,
        effective_at,
        price_fen: None,
    };
    client.purchase_edition(edition).await.map_err(|status| describe(&status))?;
    for add_on in ADD_ONS {
        let grant = pb::GrantAddOnRequest {
            app_id: app_id.clone(),
            request_id: request_id(add_on),
            add_on_id: add_on.to_owned(),
            months,
            effective_at,
            price_fen: None,
        };
        client.grant_add_on(grant).await.map_err(|status| describe(&status))?;
    }
    Ok(())
}

fn describe(status: &tonic::Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}
