//! Processes and folders that do not outlive the test process.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{LazyLock, Mutex, PoisonError};

use tempfile::TempDir;

const NEEDED: &str = "redis-server is needed: apt-get install redis-server";

/// What a command prints, without the last line break; its errors and exit status otherwise.
pub fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; {NEEDED}"));
    let printed = String::from_utf8(output.stdout).expect("keys and values are text");
    let printed = printed.trim_end_matches('\n').to_owned();
    if output.status.success() {
        Ok(printed)
    } else {
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(format!("{} {printed}{errors}", output.status))
    }
}

type Order = (Command, Sender<std::io::Result<Child>>);

/// Starts a process that is killed when the test process ends. The kernel watches the thread that
/// started it, so all are started by one that stays; a test's own thread ends with the test.
pub fn start(program: &str, arguments: &[String], log: &File) -> Child {
    static STARTER: LazyLock<Mutex<Sender<Order>>> = LazyLock::new(|| {
        let (orders, todo) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, reply) in todo {
                // Whoever ordered waits for the answer.
                reply.send(command.spawn()).ok();
            }
        });
        Mutex::new(orders)
    });
    let ask = |mut command: Command| {
        let errors = log.try_clone().expect("a file can be had twice");
        let output = log.try_clone().expect("a file can be had twice");
        command.args(arguments).stdin(Stdio::null()).stdout(output).stderr(errors);
        let (reply, answer) = channel();
        let starter = STARTER.lock().unwrap_or_else(PoisonError::into_inner);
        starter.send((command, reply)).expect("the thread stays");
        answer.recv().expect("the thread stays")
    };
    assert!(is_installed("redis-server"), "{NEEDED}");
    let mut tied = Command::new("setpriv");
    tied.args(["--pdeathsig", "KILL", program]);
    match ask(tied) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            ask(Command::new(program)).expect("it is installed")
        }
        child => child.expect("setpriv starts"),
    }
}

fn is_installed(program: &str) -> bool {
    let output = Command::new(program).arg("--version").output();
    output.is_ok_and(|output| output.status.success())
}

/// A folder that goes when it is dropped, and with the process where it never is (a static's).
pub fn folder() -> TempDir {
    static CLEANER: LazyLock<Mutex<Child>> = LazyLock::new(|| {
        // Reads names until the process that writes them is gone, then removes what is left.
        let script = r#"while read -r name; do set -- "$@" "$name"; done; rm -rf -- "$@""#;
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).stdin(Stdio::piped());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Mutex::new(child.expect("sh starts"))
    });
    let folder = TempDir::with_prefix("imquota-redis-").expect("a temporary folder");
    let mut cleaner = CLEANER.lock().unwrap_or_else(PoisonError::into_inner);
    let names = cleaner.stdin.as_mut().expect("it is piped");
    writeln!(names, "{}", folder.path().display()).expect("the cleaner reads");
    folder
}
