//! Redis processes on free ports, which are killed when they are dropped.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use imquota::clock::Stopwatch;
use tempfile::TempDir;

pub use crate::support::ports::free_port;

/// Longest wait for a process to become ready.
const READY_WITHIN: Duration = Duration::from_secs(20);

pub struct Server {
    pub port: u16,
    arguments: Vec<String>,
    /// The arguments with which `redis-cli` reaches an encrypted server.
    access: Vec<String>,
    process: Child,
    _folder: TempDir,
}

impl Server {
    /// Starts a server and waits until it replies.
    pub fn start(arguments: &[&str]) -> Self {
        let port = free_port();
        let port_text = port.to_string();
        Self::on(port, &[&["--port", &port_text], arguments].concat(), &[])
    }

    /// Starts a server with TLS only, also for its master and its cluster.
    pub fn encrypted(certificates: &Path, arguments: &[&str]) -> Self {
        let port = free_port();
        let settings = encryption(port, certificates);
        let mut all = vec!["--port", "0", "--tls-cluster", "yes"];
        all.extend(settings.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]));
        Self::on(port, &[&all, arguments].concat(), &access(certificates))
    }

    fn on(port: u16, arguments: &[&str], access: &[String]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().to_str().expect("plain").to_owned();
        let usual = ["--bind", "127.0.0.1", "--dir", &path, "--save", ""];
        let arguments = usual.iter().chain(arguments).map(|&word| word.to_owned()).collect();
        Self::with(port, folder, arguments, access)
    }

    /// Starts a Sentinel for one master.
    pub fn sentinel(master: u16) -> Self {
        let port = free_port();
        Self::watching(port, master, &format!("port {port}\n"), &[])
    }

    /// Starts a Sentinel with TLS only, for an encrypted master.
    pub fn encrypted_sentinel(certificates: &Path, master: u16) -> Self {
        let port = free_port();
        let settings = encryption(port, certificates);
        let lines = settings.iter().map(|(name, value)| format!("{} {value}\n", &name[2..]));
        let lines = lines.collect::<String>() + "port 0\n";
        Self::watching(port, master, &lines, &access(certificates))
    }

    fn watching(port: u16, master: u16, lines: &str, access: &[String]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("sentinel.conf");
        let text = format!(
            "{lines}bind 127.0.0.1\nsentinel monitor main 127.0.0.1 {master} 1\n\
             sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n"
        );
        std::fs::write(&file, text).expect("written");
        let file = file.to_str().expect("plain").to_owned();
        Self::with(port, folder, vec![file, "--sentinel".to_owned()], access)
    }

    fn with(port: u16, folder: TempDir, arguments: Vec<String>, access: &[String]) -> Self {
        let process = spawn(&arguments);
        let server = Self { port, arguments, access: access.to_vec(), process, _folder: folder };
        server.until_it_replies();
        server
    }

    /// The number of commands that the server refused with that code.
    pub fn refusals(&self, code: &str) -> u64 {
        let head = format!("errorstat_{code}:count=");
        let stats = self.cli(&["INFO", "errorstats"]);
        let count = stats.lines().find_map(|line| line.strip_prefix(&head));
        count.map_or(0, |count| count.trim().parse().expect("a number"))
    }

    /// Waits, without blocking other tasks, until there are more refusals than `before`.
    pub async fn until_refused(&self, code: &str, before: u64) {
        while self.refusals(code) <= before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Restarts the server after it was killed.
    pub fn restart(&mut self) {
        self.restart_unready();
        self.until_it_replies();
    }

    /// Restarts the server without waiting for it.
    pub fn restart_unready(&mut self) {
        self.process = spawn(&self.arguments);
    }

    fn until_it_replies(&self) {
        self.until("it answers", || {
            let answer = self.cli(&["PING"]);
            answer.contains("PONG") || answer.contains("NOAUTH")
        });
    }

    pub fn cli(&self, arguments: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(&self.access)
            .args(arguments)
            .output()
            .expect("redis-cli is installed");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Sends a command without waiting for the reply, which is discarded.
    pub fn cli_aside(&self, arguments: &[&str]) -> thread::JoinHandle<()> {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &self.port.to_string()]).args(arguments);
        let mut process = command.stdout(Stdio::null()).spawn().expect("redis-cli is installed");
        thread::spawn(move || drop(process.wait()))
    }

    pub fn until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let clock = Stopwatch::start();
        while !done() {
            assert!(clock.elapsed() < READY_WITHIN, "{}: never: {what}", self.port);
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn signal(&self, signal: &str) {
        let process = self.process.id().to_string();
        let status = Command::new("kill").args([signal, &process]).status().expect("kill");
        assert!(status.success());
    }

    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The command-line settings of an encrypted server.
fn encryption(port: u16, certificates: &Path) -> [(String, String); 5] {
    let file = |name| certificates.join(name).to_str().expect("plain").to_owned();
    [
        ("--tls-port", port.to_string()),
        ("--tls-cert-file", file("it.crt")),
        ("--tls-key-file", file("it.key")),
        ("--tls-ca-cert-file", file("ca.crt")),
        ("--tls-replication", "yes".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
}

fn access(certificates: &Path) -> Vec<String> {
    let file = |name| certificates.join(name).to_str().expect("plain").to_owned();
    let (ca, certificate, key) = (file("ca.crt"), file("it.crt"), file("it.key"));
    ["--tls", "--cacert", &ca, "--cert", &certificate, "--key", &key].map(str::to_owned).to_vec()
}

fn spawn(arguments: &[String]) -> Child {
    Command::new("redis-server")
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed")
}
