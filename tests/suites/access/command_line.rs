//! The real binary as client and server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use imquota::access::{Digest, Role, Tokens};
use imquota::clock::Stopwatch;
use imquota::grpc::pb;
use tempfile::TempDir;

use super::certificates::{Authority, Pair};
use super::connection::{client, unix};
use super::sidecar::{Sidecar, TokenFile, WAIT_MAX, flag};

/// The binary, without settings of the environment.
fn clean() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_imquota"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("IMQUOTA_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// Runs the binary; returns its output.
fn imquota(arguments: &[&str], env: &[(&str, &str)]) -> Output {
    clean().args(arguments).envs(env.iter().copied()).output().expect("the binary runs")
}

/// Runs the binary on a sidecar of this process.
pub async fn beside(arguments: &[&str], env: &[(&'static str, &str)]) -> Result<String, String> {
    let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
    let env: Vec<_> = env.iter().map(|&(name, value)| (name, value.to_owned())).collect();
    let run = tokio::task::spawn_blocking(move || {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        imquota(&arguments, &env)
    });
    let output = run.await.expect("no panic");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn text(path: impl Into<PathBuf>) -> String {
    path.into().to_str().expect("plain").to_owned()
}

#[test]
fn a_generated_token_is_accepted_with_its_line() {
    let output = imquota(&["admin", "make-token", "ann@ops", "operator"], &[]);
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    let lines: Vec<_> = said.lines().collect();
    let (token, line) = (lines[0], lines[lines.len() - 1]);
    let tokens = Tokens::parse(line).expect("a good line");
    assert_eq!(
        tokens.find(&Digest::of(token.as_bytes())),
        Some(("ann@ops".to_owned(), Role::Operator))
    );
    for bad in [["ann", "admin"], ["local", "owner"], ["imq_0", "owner"], ["a b", "owner"]] {
        let output = imquota(&["admin", "make-token", bad[0], bad[1]], &[]);
        assert_eq!(output.status.code(), Some(2), "{bad:?}");
    }
}

/// A sidecar as a process of its own, which writes a log.
struct Process {
    child: Child,
    folder: TempDir,
}

impl Process {
    /// Starts the process with its sockets in a temporary folder.
    async fn start(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let log = std::fs::File::create(folder.path().join("log")).expect("a file");
        let at = |name: &str| format!("unix:{}", folder.path().join(name).display());
        let child = clean()
            .args(["serve", "--store", "memory", "--management-listen", "off"])
            .args(["--listen", &at("data.sock"), "--admin-listen", &at("admin.sock")])
            .args(flags)
            .stderr(log)
            .spawn()
            .expect("the binary runs");
        let process = Self { child, folder };
        let watch = Stopwatch::start();
        while !process.log().contains("serving") {
            assert!(watch.elapsed() < WAIT_MAX, "{}", process.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        process
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("admin.sock")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).expect("text")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn refused_callers_are_logged_once_a_second_without_secrets() {
    let file = TokenFile::new();
    let tokens = text(file.path());
    let process = Process::start(&["--admin-tokens-file", &tokens, "--log-filter", "debug"]).await;
    let channel = unix(&process.socket()).await;
    let (wrong, watch) = (file.token(Role::Owner).replace("imq_", "imq-"), Stopwatch::start());
    for token in [&wrong; 50] {
        let mut client = client(channel.clone(), Some(token));
        client.list_apps(pb::ListAppsRequest::default()).await.expect_err("a wrong token");
    }
    let seconds = usize::try_from(watch.elapsed().as_secs()).expect("few");
    let log = process.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("admin call refused")).collect();
    assert!((1..=1 + seconds).contains(&lines.len()), "{log}");
    let peer = format!("peer=unix:{} uid ", process.socket().display());
    assert!(lines[0].contains(" WARN ") && lines[0].contains(&peer), "{}", lines[0]);
    assert!(!log.contains(&wrong[4..]), "{log}");
    assert!(!log.contains("requires no credentials"), "{log}");
}

#[tokio::test]
async fn a_sidecar_without_credentials_logs_that_at_its_start() {
    let log = Process::start(&[]).await.log();
    let line = log.lines().find(|line| line.contains("requires no credentials"));
    assert!(line.is_some_and(|line| line.contains(" WARN ")), "{log}");
}

#[tokio::test]
async fn a_token_is_sent_from_its_file_or_the_environment() {
    let file = TokenFile::new();
    let sidecar = Sidecar::start(&[flag("admin-tokens-file", file.path())]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let held = text(folder.path().join("token"));
    std::fs::write(&held, format!("{}\n", file.token(Role::Owner))).expect("written");
    let unix = format!("unix:{}", sidecar.socket.display());
    for address in [sidecar.admin.to_string(), unix] {
        let list = ["admin", "list-apps", "--address", &address];
        let with_file = [&list[..], &["--token-file", &held]].concat();
        beside(&with_file, &[]).await.expect("by the file");
        let variable = [("IMQUOTA_ADMIN_TOKEN", file.token(Role::Viewer))];
        beside(&list, &variable).await.expect("by the environment");
        let error = beside(&list, &[]).await.expect_err("no token");
        assert!(error.starts_with("error: UNAUTHENTICATED: "), "{error}");
        assert!(error.contains("--token-file or IMQUOTA_ADMIN_TOKEN"), "{error}");
        // The file wins.
        let wrong = [("IMQUOTA_ADMIN_TOKEN", "two words")];
        beside(&with_file, &wrong).await.expect("by the file");
        let error = beside(&list, &wrong).await.expect_err("no token");
        assert!(error.starts_with("error: IMQUOTA_ADMIN_TOKEN must hold a token"), "{error}");
        assert!(!error.contains("two words"), "{error}");
    }
    sidecar.stop().await;
}

#[test]
fn a_token_is_not_sent_to_another_machine_in_the_clear() {
    let list = ["admin", "list-apps", "--address", "192.0.2.1:1"];
    let output = imquota(&list, &[("IMQUOTA_ADMIN_TOKEN", "imq_0")]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.starts_with("error: the token is not sent to 192.0.2.1:1"), "{error}");
}

struct Encrypted {
    authority: Authority,
    ann: Pair,
    sidecar: Sidecar,
}

/// A sidecar that requires client certificates.
async fn encrypted() -> Encrypted {
    let authority = Authority::new();
    let server = authority.certify("server", "IP:127.0.0.1,DNS:quota.example");
    let ann = authority.certify("ann", "DNS:ann");
    let sidecar = Sidecar::start(&[
        flag("tls-cert", &server.certificate),
        flag("tls-key", &server.key),
        flag("admin-tls-client-ca", authority.certificate()),
        ("admin-client-roles", "ann=owner".to_owned()),
    ])
    .await;
    Encrypted { authority, ann, sidecar }
}

#[tokio::test]
async fn an_encrypted_sidecar_is_reachable_with_its_authority_and_a_certificate() {
    let Encrypted { authority, ann, sidecar } = encrypted().await;
    let ca = text(authority.certificate());
    let [certificate, key] = [&ann.certificate, &ann.key].map(text);
    let at = |address: SocketAddr| format!("https://{address}");
    let own = ["--tls-ca", &ca, "--tls-cert", &certificate, "--tls-key", &key];
    let admin = at(sidecar.admin);
    let list = ["admin", "list-apps", "--address", &admin];
    beside(&[&list[..], &own].concat(), &[]).await.expect("with the certificate");
    let named = ["--tls-server-name", "quota.example"];
    beside(&[&list[..], &own, &named].concat(), &[]).await.expect("by its other name");
    let usage = ["usage", "--app", "a", "--tls-ca", &ca, "--address"];
    // The flags alone select encryption.
    for address in [at(sidecar.data), sidecar.data.to_string()] {
        beside(&[&usage[..], &[&address]].concat(), &[]).await.expect("the data plane");
        let health = ["health", "--address", &address, "--tls-ca", &ca];
        assert_eq!(beside(&health, &[]).await, Ok("SERVING\n".to_owned()));
    }
    sidecar.stop().await;
}

#[tokio::test]
async fn errors_of_encrypted_connections_name_the_cause() {
    let Encrypted { authority, ann, sidecar } = encrypted().await;
    let open = Sidecar::start(&[]).await;
    let ca = text(authority.certificate());
    let [certificate, key] = [&ann.certificate, &ann.key].map(text);
    let [plain, named_plain, there, open_there] = [
        sidecar.admin.to_string(),
        format!("http://{}", sidecar.admin),
        format!("https://{}", sidecar.admin),
        format!("https://{}", open.admin),
    ];
    let socket = format!("unix:{}", sidecar.socket.display());
    let trust = ["--tls-ca", ca.as_str()];
    let other = Authority::new();
    let other = text(other.certificate());
    for (address, flags, expected) in [
        (&there, vec!["--tls-ca", &other], "is not trusted: give its authority with --tls-ca"),
        (&there, [&trust[..], &["--tls-server-name", "a.b"]].concat(), "is for another name"),
        (&there, trust.to_vec(), "requested a client certificate: use --tls-cert and --tls-key"),
        (&plain, vec![], "If the sidecar requires TLS there, use https://127.0.0.1:"),
        (&named_plain, vec![], "If the sidecar requires TLS there, use https://127.0.0.1:"),
        (&named_plain, trust.to_vec(), "http:// is not encrypted; use https://127.0.0.1:"),
        (&open_there, trust.to_vec(), "does not use TLS there; use http://HOST:PORT"),
        (
            &there,
            vec!["--tls-cert", &certificate],
            "--tls-cert and --tls-key are only valid together",
        ),
        (&there, vec!["--tls-ca", &key], "must hold at least one certificate in PEM"),
        (&there, vec!["--tls-ca", "/no/such"], "cannot read /no/such"),
        (&socket, trust.to_vec(), "a Unix socket is not encrypted"),
    ] {
        let list = [&["admin", "list-apps", "--address", address][..], &flags].concat();
        let error = beside(&list, &[]).await.expect_err(expected);
        assert!(error.contains(expected), "{list:?}: {error}");
    }
    let data = sidecar.data.to_string();
    for command in [
        &["health", "--address", &data][..],
        &["usage", "--app", "a", "--address", &data],
        &["admin", "audit", "verify", "--address", &plain],
        &["admin", "watch-events", "--address", &plain],
    ] {
        let error = beside(command, &[]).await.expect_err("it is encrypted");
        let hint = "If the sidecar requires TLS there, use https://127.0.0.1:";
        assert!(error.contains(hint), "{command:?}: {error}");
    }
    let named = format!("http://{}", open.admin);
    beside(&["admin", "list-apps", "--address", &named], &[]).await.expect("it is not encrypted");
    sidecar.stop().await;
    open.stop().await;
}
