//! Redis processes on free ports, killed with their owner.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use imquota::clock::Stopwatch;
use tempfile::TempDir;

/// Longest wait for a process to become ready.
const READY_WITHIN: Duration = Duration::from_secs(20);

pub struct Server {
    pub port: u16,
    arguments: Vec<String>,
    process: Child,
    _folder: TempDir,
}

impl Server {
    /// Starts a server and waits until it answers.
    pub fn start(arguments: &[&str]) -> Self {
        let port = free_port();
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().to_str().expect("plain").to_owned();
        let port_text = port.to_string();
        let usual = ["--port", &port_text, "--bind", "127.0.0.1", "--dir", &path, "--save", ""];
        let arguments = usual.iter().chain(arguments).map(|&word| word.to_owned()).collect();
        Self::with(port, folder, arguments)
    }

    /// Starts a Sentinel for one master.
    pub fn sentinel(master: u16) -> Self {
        let port = free_port();
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("sentinel.conf");
        let text = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {master} 1\n\
             sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n"
        );
        std::fs::write(&file, text).expect("written");
        let file = file.to_str().expect("plain").to_owned();
        Self::with(port, folder, vec![file, "--sentinel".to_owned()])
    }

    fn with(port: u16, folder: TempDir, arguments: Vec<String>) -> Self {
        let process = spawn(&arguments);
        let server = Self { port, arguments, process, _folder: folder };
        server.until_it_answers();
        server
    }

    /// Starts it once more after it was killed.
    pub fn restart(&mut self) {
        self.process = spawn(&self.arguments);
        self.until_it_answers();
    }

    fn until_it_answers(&self) {
        self.until("it answers", || {
            let answer = self.cli(&["PING"]);
            answer.contains("PONG") || answer.contains("NOAUTH")
        });
    }

    pub fn cli(&self, arguments: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(arguments)
            .output()
            .expect("redis-cli is installed");
        String::from_utf8_lossy(&output.stdout).into_owned()
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

fn spawn(arguments: &[String]) -> Child {
    Command::new("redis-server")
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed")
}

/// A free port whose companion 10000 above, the cluster's bus, exists too.
pub fn free_port() -> u16 {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        if port < 55_000 {
            return port;
        }
    }
}
