//! A sidecar in this process, with an embedded store, of which there can be a backup.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use imquota::access::{Role, line_of, make_token};
use imquota::clock::SystemClock;
use imquota::config::{Config, Environment, Flags};
use imquota::server::{self, Listener, Listeners, ServeError};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// The roles, the least first.
pub const ROLES: [Role; 3] = [Role::Viewer, Role::Operator, Role::Owner];

/// The longest time for conditions that become true immediately.
pub const WAIT_MAX: Duration = Duration::from_secs(30);

/// A running sidecar.
pub struct Sidecar {
    pub data: SocketAddr,
    /// The other TCP listeners of the data plane, in the order of the flags.
    pub more_data: Vec<SocketAddr>,
    pub admin: SocketAddr,
    management: SocketAddr,
    pub socket: PathBuf,
    reload: mpsc::Sender<()>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), ServeError>>,
    _folder: TempDir,
}

pub type Flag = (&'static str, String);

pub fn flag(name: &'static str, value: impl AsRef<Path>) -> Flag {
    (name, value.as_ref().to_str().expect("plain").to_owned())
}

/// The flags of a sidecar whose sockets are in that folder.
fn config(folder: &Path, flags: &[Flag]) -> Config {
    let mut given = Flags::default()
        .with("store", &format!("embedded:{}", folder.join("store").display()))
        .with("listen", "127.0.0.1:0")
        .with("management-listen", "127.0.0.1:0")
        .with("admin-listen", "127.0.0.1:0")
        .with("admin-listen", &format!("unix:{}", folder.join("admin.sock").display()));
    for (name, value) in flags {
        given = given.with(name, value);
    }
    Config::load(&given, &Environment::default()).expect("a good configuration")
}

fn address(listener: &Listener) -> SocketAddr {
    match listener {
        Listener::Tcp(listener) => listener.local_addr().expect("bound"),
        Listener::Unix(socket) => panic!("{} is no TCP port", socket.path().display()),
    }
}

/// The answer of the management listener about a path, with its head.
async fn page(management: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(management).await.expect("it accepts");
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("text");
    answer
}

/// Waits until the store is open, and calls are not answered by the placeholders of the start.
async fn until_ready(management: SocketAddr) {
    let ready = async {
        while !page(management, "/readyz").await.starts_with("HTTP/1.1 200") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(WAIT_MAX, ready).await.expect("it is ready");
}

impl Sidecar {
    /// Starts a sidecar, and returns it when it is ready.
    pub async fn start(flags: &[Flag]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let config = config(folder.path(), flags);
        let listeners = Listeners::bind(&config).await.expect("free ports");
        let (data, admin) = (address(&listeners.data[0]), address(&listeners.admin[0]));
        let more = listeners.data[1..].iter();
        let more = more.filter(|listener| matches!(listener, Listener::Tcp(_)));
        let more_data = more.map(address).collect();
        let management = listeners.management.as_ref().expect("one of the flags");
        let management = management.local_addr().expect("bound");
        let socket = folder.path().join("admin.sock");
        let (reload, reloads) = mpsc::channel(1);
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async move {
            let _ = stopped.await;
        };
        let run = server::run(config, listeners, Arc::new(SystemClock), reloads, stopped);
        let (task, stop) = (tokio::spawn(run), Some(stop));
        until_ready(management).await;
        Self { data, more_data, admin, management, socket, reload, stop, task, _folder: folder }
    }

    /// The metrics, behind the head of their answer.
    pub async fn metrics(&self) -> String {
        page(self.management, "/metrics").await
    }

    /// Reloads, like SIGHUP.
    pub async fn reload(&self) {
        self.reload.send(()).await.expect("it runs");
    }

    /// Shuts the sidecar down.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        let ended = tokio::time::timeout(WAIT_MAX, &mut self.task).await.expect("it ends");
        ended.expect("no panic").expect("in order");
    }
}

/// The error of a start with these flags.
pub async fn refusal(flags: &[Flag]) -> String {
    let folder = TempDir::new().expect("a folder");
    let config = config(folder.path(), flags);
    let listeners = Listeners::bind(&config).await.expect("free ports");
    let (_reload, reloads) = mpsc::channel(1);
    let run =
        server::run(config, listeners, Arc::new(SystemClock), reloads, std::future::ready(()));
    run.await.expect_err("it does not start").to_string()
}

/// A file with a token for each role.
pub struct TokenFile {
    folder: TempDir,
    pub tokens: [String; 3],
}

impl TokenFile {
    pub fn new() -> Self {
        let tokens = [(); 3].map(|()| make_token().expect("random"));
        let file = Self { folder: TempDir::new().expect("a folder"), tokens };
        file.write(&file.lines());
        file
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("tokens")
    }

    pub fn token(&self, role: Role) -> &str {
        &self.tokens[ROLES.iter().position(|other| *other == role).expect("one of them")]
    }

    pub fn lines(&self) -> String {
        let lines = ROLES.map(|role| line_of(role.name(), role, self.token(role)) + "\n");
        lines.concat()
    }

    /// Replaces the file as a whole.
    pub fn write(&self, text: &str) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, text).expect("written");
        std::fs::rename(new, self.path()).expect("renamed");
    }
}
