//! Processes and folders that do not outlive the test process, and free ports.

use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::{ErrorKind, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{LazyLock, Mutex, PoisonError};

use tempfile::TempDir;

/// Ports of servers; with [`BUS_OFFSET`] added they still lie below 32768, where the ports for
/// outgoing connections begin.
const PORT_FIRST: u16 = 10_500;
const PORTS: u64 = 12_000;
/// From a node's port to the one where cluster nodes talk to each other.
const BUS_OFFSET: u16 = 10_000;
const PORTS_LOOKED_AT_MAX: usize = 1_000;

const NEEDED: &str = "redis-server is needed: apt-get install redis-server";

/// A port that nobody listens at, nor at the bus port that belongs to it.
pub fn free_port() -> u16 {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    for _ in 0..PORTS_LOOKED_AT_MAX {
        let random = RandomState::new().build_hasher().finish();
        let port = PORT_FIRST + u16::try_from(random % PORTS).expect("fits");
        if is_free(port) && is_free(port + BUS_OFFSET) {
            return port;
        }
    }
    panic!("no free port among {PORTS_LOOKED_AT_MAX}");
}

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
