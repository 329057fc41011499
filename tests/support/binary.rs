//! The real binary as a process, for tests of its end or of the time before it serves.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use imquota::clock::Stopwatch;
use tempfile::TempDir;

use super::ports::free_port;

/// The longest time for conditions that a healthy process fulfils immediately.
const HEALTHY_MAX: Duration = Duration::from_secs(2);

/// `imquota serve`, with its log in a temporary folder.
pub struct Binary {
    child: Child,
    folder: TempDir,
    pub data: u16,
    pub admin: u16,
    pub management: u16,
}

impl Binary {
    /// Starts the process on a store without waiting.
    pub fn start(store: &str, extra: &[&str]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let (data, admin, management) = (free_port(), free_port(), free_port());
        let log = std::fs::File::create(folder.path().join("log")).expect("a log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_imquota"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("IMQUOTA_")) {
            command.env_remove(name);
        }
        let child = command
            .args(["serve", "--store", store, "--shutdown-delay-ms", "0"])
            .args(["--listen", &format!("127.0.0.1:{data}")])
            .args(["--admin-listen", &format!("127.0.0.1:{admin}")])
            .args(["--management-listen", &format!("127.0.0.1:{management}")])
            .args(extra)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        Self { child, folder, data, admin, management }
    }

    /// The status and the text of a page of the management port; `None` without a response.
    pub fn page(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.management)).ok()?;
        stream.set_read_timeout(Some(HEALTHY_MAX)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// The value of a metric without labels.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let (_, text) = self.page("/metrics")?;
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    /// Returns whether `/readyz` reports readiness.
    pub fn is_ready(&self) -> bool {
        self.page("/readyz").is_some_and(|(status, _)| status == 200)
    }

    /// Waits until a condition holds while the process runs.
    pub fn wait_until(&mut self, what: &str, within: Duration, holds: impl Fn(&Self) -> bool) {
        let watch = Stopwatch::start();
        while !holds(self) {
            let ended = self.child.try_wait().expect("the state of the child");
            assert_eq!(ended, None, "it ended before {what}:\n{}", self.log());
            assert!(watch.elapsed() < within, "not within {within:?}: {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The exit code after the end; `None` if a signal ended the process.
    pub fn end(&mut self, within: Duration) -> Option<i32> {
        let watch = Stopwatch::start();
        loop {
            if let Some(ended) = self.child.try_wait().expect("the state of the child") {
                return ended.code();
            }
            assert!(watch.elapsed() < within, "it did not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// A path in the process's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The setting of an embedded store in a directory.
pub fn embedded(directory: &Path) -> String {
    format!("embedded:{}", directory.display())
}
