//! The servers under load as processes: the sidecar and the echo, and what they use of the machine.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use imquota::grpc::pb;

use super::mix::Plan;
use super::place::Place;

/// How long a start may take.
const START_MAX: Duration = Duration::from_secs(60);
/// Ticks of `/proc` a second; Linux has told user space so since ever.
const TICKS_PER_SECOND: f64 = 100.0;
/// What the load needs that is sold.
const ADD_ONS: [&str; 2] = ["members-6000", "groups-per-user-1000"];
/// Groups that are created side by side.
const CREATED_AT_ONCE: usize = 64;

/// A server that is killed when dropped.
pub struct Process {
    child: Child,
    /// Where its data plane listens.
    pub place: Place,
    /// Where its administration listens.
    pub admin: Place,
    /// From the start of the process to its first accepted connection.
    pub start: Duration,
}

/// Where a server is to listen.
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

    fn place(self, folder: &Path, name: &str) -> Place {
        match self {
            Self::Tcp => Place::Tcp(format!("127.0.0.1:{}", super::support::ports::free_port())),
            Self::Unix => Place::Unix(folder.join(name)),
        }
    }
}

impl Process {
    /// A sidecar over a store, with its sockets and its journal in the folder.
    pub async fn sidecar(binary: &Path, folder: &Path, transport: Transport, store: &str) -> Self {
        Self::sidecar_with(binary, folder, transport, store, &[]).await
    }

    /// The same with further arguments.
    pub async fn sidecar_with(
        binary: &Path,
        folder: &Path,
        transport: Transport,
        store: &str,
        arguments: &[&str],
    ) -> Self {
        let name = |end: &str| format!("{}-{end}", folder_name(store));
        let place = transport.place(folder, &name("quota.sock"));
        let admin = Place::Unix(folder.join(name("admin.sock")));
        let mut command = Command::new(binary);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("IMQUOTA_")) {
            command.env_remove(name);
        }
        command.args(["serve", "--store", store, "--listen", &place.to_string()]);
        command.args(["--admin-listen", &admin.to_string(), "--management-listen", "off"]);
        command.args(["--shutdown-delay-ms", "0"]).args(arguments);
        command.args(["--journal", &folder.join(name("journal")).display().to_string()]);
        Self::start(command, place, admin).await
    }

    /// The floor.
    pub async fn echo(folder: &Path, transport: Transport) -> Self {
        let place = transport.place(folder, "echo.sock");
        let this: PathBuf = std::env::current_exe().expect("this is a program");
        let mut command = Command::new(this);
        command.args(["echo", &place.to_string()]);
        Self::start(command, place.clone(), place).await
    }

    async fn start(mut command: Command, place: Place, admin: Place) -> Self {
        let begun = Instant::now();
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.expect("the program is there");
        let mut process = Self { child, place, admin, start: Duration::ZERO };
        loop {
            let connected = match &process.place {
                Place::Tcp(address) => std::net::TcpStream::connect(address).is_ok(),
                Place::Unix(path) => std::os::unix::net::UnixStream::connect(path).is_ok(),
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

    /// Whether a call is answered, with whatever; before the store is open, it is not served.
    async fn answers(&self) -> bool {
        let Ok(mut client) = self.place.quota().await else { return false };
        let answer = client.join_group(pb::JoinGroupRequest::default()).await;
        !answer.is_err_and(|status| status.code() == tonic::Code::Unavailable)
    }

    /// Ends it by SIGTERM, and waits so long for it.
    pub fn end(mut self, longest: Duration) {
        let pid = self.child.id().to_string();
        let told = Command::new("kill").arg(&pid).status().expect("kill is there");
        assert!(told.success(), "the process runs");
        let begun = Instant::now();
        while self.child.try_wait().expect("a child of ours").is_none() {
            assert!(begun.elapsed() < longest, "the server does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sells the app what the load needs, and creates the groups.
    pub async fn prepare(&self, plan: &Plan) -> Result<(), String> {
        prepare(&self.place, Some(&self.admin), plan).await
    }

    /// Processor time so far, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = self.proc("stat");
        // The name in parentheses may hold spaces; user and system time are the 12th and 13th
        // fields behind it.
        let fields = stat.rsplit_once(") ").expect("the format of proc").1.split(' ');
        let ticks = fields.skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("a number"));
        ticks.sum::<f64>() / TICKS_PER_SECOND
    }

    /// Memory in use, in megabytes.
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

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn folder_name(store: &str) -> &str {
    store.split(':').next().unwrap_or(store)
}

/// Sells the app what the load needs, where the administration is named, and creates the groups.
pub async fn prepare(place: &Place, admin: Option<&Place>, plan: &Plan) -> Result<(), String> {
    if let Some(admin) = admin {
        sell(admin, &plan.app).await?;
    }
    let client = place.quota().await?;
    for groups in plan.groups().chunks(CREATED_AT_ONCE) {
        let create = |group: &pb::CreateGroupRequest| {
            let (mut client, group) = (client.clone(), group.clone());
            async move { client.create_group(group).await }
        };
        let created = futures_util::future::join_all(groups.iter().map(create)).await;
        for answer in created {
            answer.map_err(|status| said(&status))?;
        }
    }
    Ok(())
}

/// Sells the app what the load needs; once, however often it is called.
pub async fn sell(admin: &Place, app: &str) -> Result<(), String> {
    let mut client = admin.admin().await?;
    let (app_id, effective_at, months) = (app.to_owned(), None, 1);
    let request_id = |what: &str| format!("load-{what}-{app}");
    let created = pb::CreateAppRequest {
        app_id: app_id.clone(),
        request_id: request_id("app"),
        effective_at,
    };
    client.create_app(created).await.map_err(|status| said(&status))?;
    let edition = pb::PurchaseEditionRequest {
        app_id: app_id.clone(),
        request_id: request_id("edition"),
        edition_id: "professional".to_owned(),
        months,
        effective_at,
    };
    client.purchase_edition(edition).await.map_err(|status| said(&status))?;
    for add_on in ADD_ONS {
        let grant = pb::GrantAddOnRequest {
            app_id: app_id.clone(),
            request_id: request_id(add_on),
            add_on_id: add_on.to_owned(),
            months,
            effective_at,
        };
        client.grant_add_on(grant).await.map_err(|status| said(&status))?;
    }
    Ok(())
}

fn said(status: &tonic::Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}
