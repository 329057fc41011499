//! Processes and folders that end with the test process.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{LazyLock, Mutex, PoisonError};

use tempfile::TempDir;

const NEEDED: &str = "redis-server is needed: apt-get install redis-server";

/// The output of a command, without the last line break; otherwise its errors and exit status.
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
/// started it, so one permanent thread starts all of them; a test's own thread ends with the test.
pub fn start(program: &str, arguments: &[String], log: &File) -> Child {
    static STARTER: LazyLock<Mutex<Sender<Order>>> = LazyLock::new(|| {
        let (orders, todo) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, reply) in todo {
                // The caller waits for the reply.
                reply.send(command.spawn()).ok();
            }
        });
        Mutex::new(orders)
    });
    let ask = |mut command: Command| {
        let errors = log.try_clone().expect("a file can be cloned");
        let output = log.try_clone().expect("a file can be cloned");
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

/// A folder that is removed on drop, and with the process if it is never dropped (in a static).
pub fn folder() -> TempDir {
    static CLEANER: LazyLock<Mutex<Child>> = LazyLock::new(|| {
        // Reads names until the writing process ends, then removes the remaining folders.
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
