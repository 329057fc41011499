//! Real Redis processes on loopback ports, one for each test that wants to stop, kill or break it.
//!
//! - Every server has a folder of its own: its configuration, its data and its log (`log`).
//! - A port is free when it is chosen, and below the system's range for outgoing connections, so
//!   that it is still free when a killed server comes back. Its bus port (`port + 10000`) is free
//!   too.
//! - Servers die when they are dropped, and with the test process however that ends: `setpriv`
//!   ties them to a thread that lives as long as the process.
//!
//! All functions block; they poll with a deadline and panic, with the log, when it passes.

mod cluster;
mod process;
mod sentinels;

use std::fs;
use std::path::PathBuf;
use std::process::Child;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use imquota::clock::Stopwatch;
use tempfile::TempDir;

use crate::support::moved_clock::MovedClock;

pub use super::ports::free_port;
pub use cluster::Cluster;
pub use process::run;
pub use sentinels::Sentinels;

/// Longer than any step takes: a Sentinel that got no processor for two seconds does nothing for
/// thirty more.
const WAIT_MAX: Duration = Duration::from_secs(120);
/// The interval of polling.
const POLL_INTERVAL: Duration = Duration::from_millis(15);
/// Attempts to start on a free port, which another process may take in between.
const PORTS_TRIED_MAX: usize = 10;

/// The settings of every server; later lines override them. With `appendfsync everysec` a server
/// postpones its writes while the disk is busy, and one that is killed has lost them.
const SETTINGS: &str = "\
bind 127.0.0.1
protected-mode no
daemonize no
appendonly yes
appendfsync no
save \"\"
maxmemory-policy noeviction
set-max-intset-entries 8192
enable-debug-command local
";

/// The allocator's background thread sleeps until a time of day: with a clock behind the real one
/// it never sleeps, and uses a whole processor.
const SETTING_OF_MOVED_CLOCK: &str = "jemalloc-bg-thread no\n";

/// Polls until `look` returns a value.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let waiting = Stopwatch::start();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(waiting.elapsed() < WAIT_MAX, "waited {WAIT_MAX:?} in vain for {what}");
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// One process.
pub struct Server {
    port: u16,
    folder: TempDir,
    sentinel: bool,
    /// Variables of its environment.
    environment: Vec<String>,
    child: Mutex<Child>,
}

impl Server {
    /// A server with further settings, each a line of `redis.conf`.
    pub fn start(extra: &[&str]) -> Self {
        Self::start_by(None, extra)
    }

    /// Starts a server with a fake time of day.
    pub fn start_with_clock(extra: &[&str], clock: &MovedClock) -> Self {
        Self::start_by(Some(clock), extra)
    }

    fn start_by(clock: Option<&MovedClock>, extra: &[&str]) -> Self {
        let of_clock = clock.map_or("", |_| SETTING_OF_MOVED_CLOCK);
        let settings = format!("{SETTINGS}{of_clock}{}\n", extra.join("\n"));
        let environment = clock.map(MovedClock::environment).unwrap_or_default();
        Self::on_free_port(&settings, false, &environment)
    }

    /// A Sentinel with these settings.
    fn sentinel(settings: &str) -> Self {
        Self::on_free_port(settings, true, &[])
    }

    fn on_free_port(settings: &str, sentinel: bool, environment: &[String]) -> Self {
        for _ in 0..PORTS_TRIED_MAX {
            let folder = process::folder();
            let port = free_port();
            let place = folder.path().display();
            let conf = format!("port {port}\ndir {place}\n{settings}");
            fs::write(folder.path().join("redis.conf"), conf).expect("the folder is writable");
            let child = launch(&folder, sentinel, environment);
            let environment = environment.to_vec();
            let child = Mutex::new(child);
            let server = Self { port, folder, sentinel, environment, child };
            if server.came_up() {
                return server;
            }
        }
        panic!("no redis-server came up on {PORTS_TRIED_MAX} ports");
    }

    /// Returns whether our process replies at the port. Panics if it runs without replying.
    fn came_up(&self) -> bool {
        let ours = format!("process_id:{}", self.pid());
        wait_for(&format!("redis-server at {}\n{}", self.port, self.log()), || {
            let ended = self.child().try_wait().expect("our child").is_some();
            if ended {
                return Some(false);
            }
            let info = self.try_cli(&["INFO", "server"]).unwrap_or_default();
            let ready = info.lines().any(|line| line.trim_end() == ours);
            ready.then_some(true)
        })
    }

    /// The server's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The server's folder.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// The log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Kills the server, like a crash.
    pub fn kill9(&self) {
        let mut child = self.child();
        // Fails for a child that has ended already.
        child.kill().ok();
        child.wait().expect("our child");
    }

    /// Returns whether the process runs.
    pub fn is_running(&self) -> bool {
        self.child().try_wait().expect("our child").is_none()
    }

    /// Freezes the server: connections stay open without replies.
    pub fn stop(&self) {
        run("kill", &["-STOP", &self.pid()]).expect("it runs");
    }

    /// Thaws the server.
    pub fn resume(&self) {
        run("kill", &["-CONT", &self.pid()]).expect("it runs");
    }

    /// Restarts the server with its folder and port, after killing it if it runs.
    pub fn restart(&self) {
        self.kill9();
        *self.child() = launch(&self.folder, self.sentinel, &self.environment);
        assert!(self.came_up(), "redis-server did not come back:\n{}", self.log());
        wait_for("the data to be loaded", || {
            let loading = self.info("persistence", "loading").unwrap_or_default();
            (self.sentinel || loading == "0").then_some(())
        });
    }

    /// The output of `redis-cli`, without the last line break; panics on an error.
    pub fn cli(&self, arguments: &[&str]) -> String {
        match self.try_cli(arguments) {
            Ok(printed) => printed,
            Err(error) => panic!("{arguments:?} at {}: {error}", self.port),
        }
    }

    /// The output of `redis-cli`, or an error of the server, of the connection, or after 10 s of
    /// silence.
    pub fn try_cli(&self, arguments: &[&str]) -> Result<String, String> {
        let port = self.port.to_string();
        let mut all = vec!["10", "redis-cli", "-e", "-h", "127.0.0.1", "-p", &port];
        all.extend(arguments);
        run("timeout", &all)
    }

    /// A value of `INFO`, if the server replies and has it.
    pub fn info(&self, section: &str, field: &str) -> Option<String> {
        field_of(&self.try_cli(&["INFO", section]).ok()?, field)
    }

    /// Waits until that number of replicas has acknowledged all writes of this master so far.
    pub fn wait_until_replicated(&self, replicas: usize) {
        let written = wait_for("a master's offset", || {
            self.info("replication", "master_repl_offset")?.parse::<u64>().ok()
        });
        // Before its first acknowledgement a replica is listed, but gets no data yet.
        let has_it = |line: &str| {
            let mut fields = line.split(',').filter_map(|field| field.trim_end().split_once('='));
            let offset = fields.find(|(name, _)| *name == "offset");
            let offset = offset.and_then(|(_, offset)| offset.parse::<u64>().ok());
            offset.is_some_and(|offset| offset >= written.max(1))
        };
        wait_for("replicas that have it all", || {
            let info = self.try_cli(&["INFO", "replication"]).ok()?;
            let listed = info.lines().filter(|line| line.contains("state=online"));
            (listed.filter(|line| has_it(line)).count() >= replicas).then_some(())
        });
    }

    fn pid(&self) -> String {
        self.child().id().to_string()
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill9();
    }
}

fn launch(folder: &TempDir, sentinel: bool, environment: &[String]) -> Child {
    let conf = folder.path().join("redis.conf").display().to_string();
    let mut arguments = environment.to_vec();
    arguments.extend(["redis-server".to_owned(), conf]);
    arguments.extend(sentinel.then(|| "--sentinel".to_owned()));
    let log = fs::File::options().create(true).append(true).open(folder.path().join("log"));
    process::start("env", &arguments, &log.expect("the folder is writable"))
}

/// The value of `field` in lines of `field:value`.
fn field_of(lines: &str, field: &str) -> Option<String> {
    let mut lines = lines.lines().filter_map(|line| line.trim_end().split_once(':'));
    lines.find(|(name, _)| *name == field).map(|(_, value)| value.to_owned())
}

/// A single server.
pub struct Standalone {
    pub server: Server,
}

impl Standalone {
    pub fn start() -> Self {
        Self { server: Server::start(&[]) }
    }

    pub fn url(&self) -> String {
        format!("redis://{}/0", self.server.address())
    }
}

/// The server shared by tests that do not break it; it ends with the process.
pub fn shared_standalone() -> &'static Standalone {
    static SHARED: OnceLock<Standalone> = OnceLock::new();
    SHARED.get_or_init(Standalone::start)
}

/// The shared deployment with Sentinels.
pub fn shared_sentinels() -> &'static Sentinels {
    static SHARED: OnceLock<Sentinels> = OnceLock::new();
    SHARED.get_or_init(Sentinels::start)
}

/// The shared cluster.
pub fn shared_cluster() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(Cluster::start)
}
