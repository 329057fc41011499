//! Empty files, and files with damaged pages: whatever redb does with them, panics included, the
//! process ends with a message and an exit code; no such file is treated as new.
//!
//! A process of its own, since it replaces the panic hook and counts panics.

mod support;

use std::collections::HashMap;
use std::fs;
use std::panic::{set_hook, take_hook};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use imquota::catalog::builtin;
use imquota::clock::SystemClock;
use imquota::domain::decision::{Mode, Subject};
use imquota::domain::time::Timestamp;
use imquota::grpc::pb::quota_service_client::QuotaServiceClient;
use imquota::grpc::pb::{self, CreateAccountsRequest};
use imquota::journal::{Accepted, Encoded, Entry, Journal};
use imquota::ledger::Operation;
use imquota::ledger::embedded::Embedded;
use support::binary::{Binary, embedded};
use support::{Place, Service, app, user};
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout;

const STORE: &str = "imquota.redb";
const JOURNAL: &str = "journal.redb";
/// redb's pages.
const PAGE_BYTES: usize = 4096;
/// The bytes that fill a damaged page.
const FILLINGS: [u8; 4] = [0x00, 0x01, 0x02, 0xff];
const END_MAX: Duration = Duration::from_secs(60);

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Counts redb's panics instead of printing them. A test that compares their number holds it.
async fn counting_panics() -> MutexGuard<'static, ()> {
    static HOOK: Once = Once::new();
    static COUNTING: Mutex<()> = Mutex::const_new(());
    HOOK.call_once(|| {
        let others = take_hook();
        set_hook(Box::new(move |panic| {
            if panic.location().is_some_and(|place| place.file().contains("redb-")) {
                PANICS.fetch_add(1, Ordering::SeqCst);
            } else {
                others(panic);
            }
        }));
    });
    COUNTING.lock().await
}

fn accounts(count: usize) -> Operation {
    Operation::CreateAccounts { users: (0..count).map(|n| user(format!("user {n}"))).collect() }
}

/// The bytes of a store with some facts of an app.
async fn whole_store() -> Vec<u8> {
    let directory = TempDir::new().expect("a directory");
    let place = Place::directory(directory.path());
    let service = Service::open(&place, Arc::new(SystemClock), builtin());
    service.apply(&app("a"), Mode::Force, accounts(3000)).await.expect("created");
    service.close().await;
    fs::read(directory.path().join(STORE)).expect("readable")
}

/// The outcome of using a damaged store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Outcome {
    Refused,
    RefusedByPanic,
    Served,
    Failed,
    /// A panic failed the first operation.
    FailedByPanic,
    /// A panic failed a later one, or the copy of the store.
    FailedLaterByPanic,
}

/// Opens a store, uses it, and checks that a failure is returned and reported.
async fn use_store(directory: &Path) -> Outcome {
    let before = PANICS.load(Ordering::SeqCst);
    let panicked = || PANICS.load(Ordering::SeqCst) > before;
    let store = match Embedded::open(directory, Arc::new(SystemClock)) {
        Ok(store) => store,
        Err(error) => {
            let said = error.to_string();
            assert!(said.contains(STORE), "{said}");
            assert!(!panicked() || said.contains("restore it from a backup"), "{said}");
            return if panicked() { Outcome::RefusedByPanic } else { Outcome::Refused };
        }
    };
    let service = Service::beside(store, Arc::new(SystemClock), builtin());
    let users = (0..3000).step_by(700).map(|n| user(format!("user {n}"))).collect();
    let some = Operation::CreateAccounts { users };
    let mut answers = Vec::new();
    answers.push(service.apply(&app("a"), Mode::Force, some).await.map(drop));
    answers.push(service.engine.usage(app("a"), Subject::App, service.deadline()).await.map(drop));
    let copied = service.snapshot().await;
    answers.push(service.apply(&app("b"), Mode::Force, accounts(300)).await.map(drop));
    let failed = answers.iter().any(Result::is_err);
    if failed {
        let seen = timeout(END_MAX, service.failed()).await;
        seen.expect("the failure is reported to the process");
    } else {
        let closed = timeout(END_MAX, service.close()).await;
        closed.expect("it closes");
    }
    match (failed || copied.is_err(), panicked()) {
        (true, true) if answers[0].is_err() => Outcome::FailedByPanic,
        (true, true) => Outcome::FailedLaterByPanic,
        (true, false) => Outcome::Failed,
        (false, _) => Outcome::Served,
    }
}

/// The damages of one page of a file that is not empty.
fn damages(whole: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let pages = (0..whole.len()).step_by(PAGE_BYTES);
    let used = pages.filter(|at| whole[*at..at + PAGE_BYTES].iter().any(|byte| *byte != 0));
    used.flat_map(|at| FILLINGS.map(|filling| damaged(whole, at, filling)))
}

/// The file with one page filled with one byte, from the page's fifth byte on.
fn damaged(whole: &[u8], at: usize, filling: u8) -> Vec<u8> {
    let mut damaged = whole.to_vec();
    damaged[at + 4..at + PAGE_BYTES].fill(filling);
    damaged
}

/// Checks that a process ends with that code and a message with the file and the remedy.
fn ends_with_a_message(bytes: &[u8]) {
    let directory = TempDir::new().expect("a directory");
    fs::write(directory.path().join(STORE), bytes).expect("writes");
    let mut sidecar = Binary::start(&embedded(directory.path()), &[]);
    let url = format!("http://127.0.0.1:{}", sidecar.data);
    let users = (0..3000).step_by(700).map(|n| format!("user {n}")).collect();
    let request = CreateAccountsRequest {
        app_id: "a".to_owned(),
        user_ids: users,
        mode: pb::Mode::Force.into(),
        ..Default::default()
    };
    let calling = tokio::spawn(async move {
        loop {
            if let Ok(mut client) = QuotaServiceClient::connect(url.clone()).await {
                let _ = client.create_accounts(request.clone()).await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let code = tokio::task::block_in_place(|| sidecar.end(END_MAX));
    calling.abort();
    let log = sidecar.log();
    assert_eq!(code, Some(1), "{log}");
    let path = directory.path().join(STORE).display().to_string();
    assert!(log.contains(&path) && log.contains("restore it from a backup"), "{log}");
    let last = log.trim_end().lines().last().unwrap_or_default();
    assert!(last.contains("ERROR") && last.contains("sidecar failed"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_damaged_page_of_a_store_is_reported() {
    let _counting = counting_panics().await;
    let whole = whole_store().await;
    let mut found = HashMap::new();
    for damaged in damages(&whole) {
        let directory = TempDir::new().expect("a directory");
        fs::write(directory.path().join(STORE), &damaged).expect("writes");
        found.insert(use_store(directory.path()).await, damaged);
    }
    // The damage makes redb panic, both while it opens a file and while it serves: in the operation
    // that is sent to the process.
    for outcome in [Outcome::RefusedByPanic, Outcome::FailedByPanic] {
        ends_with_a_message(found.get(&outcome).expect("a page of that kind"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_damaged_page_of_a_journal_is_reported() {
    let _counting = counting_panics().await;
    let entry = |number: usize| Entry {
        app: app("a"),
        mode: Mode::Enforce,
        at: Timestamp::from_millis(1),
        accepted: Accepted::Operation(Operation::CreateAccounts {
            users: vec![user(format!("user {number}"))],
        }),
    };
    let directory = TempDir::new().expect("a directory");
    let (journal, _) = Journal::open(directory.path()).expect("opens");
    for number in 0..300 {
        let encoded = Encoded::from(&entry(number));
        journal.append(journal.next_number(), &encoded).await.expect("appended");
    }
    journal.close().await;
    let whole = fs::read(directory.path().join(JOURNAL)).expect("readable");
    let mut refused = 0;
    for damaged in damages(&whole) {
        let directory = TempDir::new().expect("a directory");
        fs::write(directory.path().join(JOURNAL), &damaged).expect("writes");
        let before = PANICS.load(Ordering::SeqCst);
        let using = async {
            let (journal, _) = Journal::open(directory.path()).map_err(|why| why.to_string())?;
            let entry = Encoded::from(&entry(300));
            let appended = journal.append(journal.next_number(), &entry).await;
            let removed = journal.remove((1..200).collect()).await;
            journal.close().await;
            appended.and(removed).map_err(|why| why.to_string())
        };
        let used = timeout(END_MAX, using).await.expect("it answers");
        if PANICS.load(Ordering::SeqCst) > before {
            let said = used.expect_err("a panic is a failure");
            assert!(said.contains("journal"), "{said}");
            refused += 1;
        }
    }
    assert!(refused > 0, "redb panics on no page");
}

#[tokio::test]
async fn an_empty_file_is_not_treated_as_a_new_store_or_journal() {
    let directory = TempDir::new().expect("a directory");
    let (store, journal) = (directory.path().join(STORE), directory.path().join(JOURNAL));
    for path in [&store, &journal] {
        fs::write(path, b"").expect("writes");
    }
    let Err(error) = Embedded::open(directory.path(), Arc::new(SystemClock)) else {
        panic!("an empty store was opened")
    };
    let Err(other) = Journal::open(directory.path()) else { panic!("an empty journal was opened") };
    for (error, name) in [(error.to_string(), STORE), (other.to_string(), JOURNAL)] {
        assert!(error.contains("0 bytes") && error.contains(name), "{error}");
        assert!(error.contains("restore it") && error.contains("move it aside"), "{error}");
    }
    for path in [&store, &journal] {
        assert_eq!(fs::metadata(path).expect("the file exists").len(), 0, "the file is unchanged");
    }
    let mut sidecar = Binary::start(&embedded(directory.path()), &[]);
    assert_eq!(sidecar.end(END_MAX), Some(1));
    assert!(sidecar.log().contains("0 bytes"), "{}", sidecar.log());
}
