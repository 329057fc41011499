//! The effect of a panic: it is logged and counted, fails only one call, and ends the process if a
//! background task or a writing thread panicked, which nothing replaces.
//!
//! The clock of the sidecar panics once, when the chosen code reads it.
//!
//! A process of its own, since the log, the panic hook and the counter of panics are the process's.

use std::backtrace::Backtrace;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use imquota::clock::{Clock, SystemClock};
use imquota::config::{Config, Environment, Flags};
use imquota::domain::time::Timestamp;
use imquota::grpc::pb;
use imquota::grpc::pb::quota_service_client::QuotaServiceClient;
use imquota::server::{self, Listener, Listeners, ServeError};
use imquota::telemetry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

/// The longest time for conditions that become true soon.
const SOON: Duration = Duration::from_secs(30);

/// The log and the counter belong to the process: one test at a time.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A clock that panics once when code of that module reads it.
#[derive(Default)]
struct PanickingClock(Mutex<Option<&'static str>>);

impl Clock for PanickingClock {
    fn now(&self) -> Timestamp {
        let mut reader = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = *reader
            && Backtrace::force_capture().to_string().contains(module)
        {
            *reader = None;
            drop(reader);
            panic!("the clock is broken for {module}");
        }
        drop(reader);
        SystemClock.now()
    }
}

struct Sidecar {
    clock: Arc<PanickingClock>,
    data: SocketAddr,
    management: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ServeError>>,
}

impl Sidecar {
    /// Starts a sidecar on a store in memory.
    async fn start() -> Self {
        Self::start_on("memory").await
    }

    /// Starts a sidecar on that store.
    async fn start_on(store: &str) -> Self {
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(|| Log);
        // Fails if an earlier test has set it.
        let _ = log.try_init();
        telemetry::log_panics();
        LOG.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let mut flags = Flags::default().with("store", store);
        for listener in ["listen", "admin-listen", "management-listen"] {
            flags = flags.with(listener, "127.0.0.1:0");
        }
        let config = Config::load(&flags, &Environment::default()).expect("a good configuration");
        let listeners = Listeners::bind(&config).await.expect("free ports");
        let Listener::Tcp(data) = &listeners.data[0] else { panic!("a TCP port") };
        let data = data.local_addr().expect("bound");
        let management = listeners.management.as_ref().expect("there is one");
        let management = management.local_addr().expect("bound");
        let clock = Arc::new(PanickingClock::default());
        let (_, reloads) = mpsc::channel(1);
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async move {
            let _ = stopped.await;
        };
        let task = tokio::spawn(server::run(config, listeners, clock.clone(), reloads, stopped));
        Self { clock, data, management, stop, task }
    }

    fn panic_for(&self, module: &'static str) {
        *self.clock.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(module);
    }

    async fn client(&self) -> QuotaServiceClient<tonic::transport::Channel> {
        QuotaServiceClient::connect(format!("http://{}", self.data)).await.expect("it serves")
    }

    /// The number of panics in `/metrics`.
    async fn panics(&self) -> u64 {
        let mut stream = TcpStream::connect(self.management).await.expect("it serves");
        let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("an answer");
        let line = text.lines().find_map(|line| line.strip_prefix("imquota_panics_total "));
        line.expect("it is counted from the beginning").parse().expect("a number")
    }

    /// Waits until the sidecar ends by itself.
    async fn ended(self) -> Result<(), ServeError> {
        timeout(SOON, self.task).await.expect("it ends").expect("the main task does not panic")
    }
}

fn usage() -> pb::GetUsageRequest {
    let kind = pb::subject::Kind::App(pb::AppSubject {});
    pb::GetUsageRequest {
        app_id: "demo".to_owned(),
        subject: Some(pb::Subject { kind: Some(kind) }),
    }
}

fn create(user: &str) -> pb::CreateAccountsRequest {
    pb::CreateAccountsRequest {
        app_id: "demo".to_owned(),
        user_ids: vec![user.to_owned()],
        ..Default::default()
    }
}

/// The one log line of a panic.
fn logged() -> String {
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    let text = String::from_utf8_lossy(&log).into_owned();
    let mut lines = text.lines().filter(|line| line.contains("panicked"));
    let line = lines.next().unwrap_or_else(|| panic!("not logged: {text}")).to_owned();
    assert_eq!(lines.next(), None);
    assert!(line.contains("ERROR") && line.contains("tests/panics.rs:"), "{line}");
    assert!(line.contains("the clock is broken for"), "{line}");
    line
}

#[tokio::test]
async fn a_call_that_panics_fails_alone_and_is_logged_and_counted() {
    let _one = ONE_AT_A_TIME.lock().await;
    let sidecar = Sidecar::start().await;
    let mut client = sidecar.client().await;
    client.get_usage(usage()).await.expect("it serves");
    let before = sidecar.panics().await;
    sidecar.panic_for("imquota::grpc::quota");
    let failed = timeout(SOON, client.get_usage(usage())).await.expect("the caller does not wait");
    let status = failed.expect_err("nothing was decided");
    assert_eq!(status.code(), tonic::Code::Cancelled, "{status:?}");
    // The connection remains usable.
    client.get_usage(usage()).await.expect("it serves");
    assert_eq!(sidecar.panics().await, before + 1);
    logged();
    drop(sidecar.stop);
    sidecar.task.await.expect("no panic").expect("an orderly end");
}

#[tokio::test]
async fn an_operation_of_apply_that_panics_fails_alone() {
    let _one = ONE_AT_A_TIME.lock().await;
    let sidecar = Sidecar::start().await;
    let (requests, receiver) = mpsc::channel(4);
    let mut client = sidecar.client().await;
    let answers = client.apply(ReceiverStream::new(receiver)).await.expect("it serves");
    let mut answers = answers.into_inner();
    let before = sidecar.panics().await;
    let request = |tag, user: &str| pb::ApplyRequest {
        tag,
        operation: Some(pb::apply_request::Operation::CreateAccounts(create(user))),
        ..Default::default()
    };
    sidecar.panic_for("imquota::grpc::apply");
    for (tag, user) in [(1, "alice"), (2, "bob"), (3, "carol")] {
        requests.send(request(tag, user)).await.expect("it is read");
    }
    for tag in [2, 3] {
        let answer = timeout(SOON, answers.message()).await.expect("the stream continues");
        assert_eq!(answer.expect("no error").expect("an answer").tag, tag);
    }
    drop(requests);
    let end = timeout(SOON, answers.message()).await.expect("the first has no answer");
    assert_eq!(end.expect("no error"), None);
    assert_eq!(sidecar.panics().await, before + 1);
    logged();
    drop(sidecar.stop);
    sidecar.task.await.expect("no panic").expect("an orderly end");
}

#[tokio::test]
async fn a_background_task_that_panics_ends_the_process() {
    let _one = ONE_AT_A_TIME.lock().await;
    let sidecar = Sidecar::start().await;
    sidecar.client().await.get_usage(usage()).await.expect("it serves");
    sidecar.panic_for("imquota::server::statement_issuer");
    let ended = sidecar.ended().await;
    assert!(matches!(ended, Err(ServeError::TaskPanicked)), "{ended:?}");
    logged();
}

#[tokio::test]
async fn a_writing_thread_that_panics_ends_the_process() {
    let _one = ONE_AT_A_TIME.lock().await;
    let folder = tempfile::tempdir().expect("a folder");
    let sidecar = Sidecar::start_on(&format!("embedded:{}", folder.path().display())).await;
    let mut client = sidecar.client().await;
    client.create_accounts(create("alice")).await.expect("it serves");
    sidecar.panic_for("imquota::redb::writer");
    let failed = timeout(SOON, client.create_accounts(create("bob"))).await.expect("answered");
    let status = failed.expect_err("nothing was decided");
    assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
    let ended = sidecar.ended().await;
    assert!(matches!(ended, Err(ServeError::StoreFailed)), "{ended:?}");
    assert!(logged().contains("imquota-writer"));
}
