//! The metadata of a store: lock and format of the embedded file, and the identity in Redis. Data
//! of another version, or damaged data, is refused and not changed.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::support::redis::Standalone;
use crate::support::redis_options;
use crate::support::{Place, Service, app, user};
use imquota::clock::SystemClock;
use imquota::domain::decision::{Mode, Subject};
use imquota::domain::hold::{Hold, HoldEnd, HoldOutcome};
use imquota::domain::id::OperationId;
use imquota::domain::limits::Part;
use imquota::domain::metering::Login;
use imquota::domain::schedule::Schedule;
use imquota::domain::time::Timestamp;
use imquota::domain::usage::Counts;
use imquota::ledger::embedded::Embedded;
use imquota::ledger::holds::{Ending, HoldResult};
use imquota::ledger::redis::Redis;
use imquota::ledger::{Call, Ledger as _, Operation, TakeOptions};
use imquota::redb::OpenError;
use imquota::store::Identified as _;
use redb::{Database, ReadableDatabase as _, TableDefinition, TableHandle as _};

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");

fn open(directory: &Path) -> Result<Embedded, OpenError> {
    Embedded::open(directory, Arc::new(SystemClock))
}

fn refusal(directory: &Path) -> String {
    match open(directory) {
        Ok(_) => panic!("the store was opened"),
        Err(error) => error.to_string(),
    }
}

fn overwrite_meta(directory: &Path, key: &str, value: Option<&[u8]>) {
    let database = Database::open(directory.join("imquota.redb")).expect("opens");
    let txn = database.begin_write().expect("begins");
    {
        let mut meta = txn.open_table(META).expect("is there");
        match value {
            Some(value) => drop(meta.insert(key, value).expect("writes")),
            None => drop(meta.remove(key).expect("removes")),
        }
    }
    txn.commit().expect("commits");
}

#[tokio::test]
async fn a_store_that_is_open_is_refused_and_can_be_opened_after_it_is_closed() {
    let directory = tempfile::tempdir().expect("a directory");
    let first = open(directory.path()).expect("opens");
    let said = refusal(directory.path());
    assert!(said.contains("imquota.redb is in use by another process"), "{said}");
    first.close().await;
    drop(open(directory.path()).expect("opens again"));
}

#[tokio::test]
async fn a_store_of_a_newer_format_is_refused_and_not_changed() {
    let directory = tempfile::tempdir().expect("a directory");
    open(directory.path()).expect("opens").close().await;
    overwrite_meta(directory.path(), "format", Some(&3_u32.to_le_bytes()));
    for _ in 0..2 {
        let said = refusal(directory.path());
        assert!(said.contains("it has format 3, and this version reads formats 1 and 2"), "{said}");
    }
    overwrite_meta(directory.path(), "format", Some(&1_u32.to_le_bytes()));
    drop(open(directory.path()).expect("opens again"));
}

/// Removes the tables that the version before did not have.
fn remove_tables_of_holds(directory: &Path) {
    let database = Database::open(directory.join("imquota.redb")).expect("opens");
    let txn = database.begin_write().expect("begins");
    let all: Vec<_> = txn.list_tables().expect("lists").collect();
    let of_holds = ["holds", "hold_ends", "provisional", "due"];
    let mut removed = 0;
    for table in all.into_iter().filter(|table| of_holds.contains(&table.name())) {
        assert!(txn.delete_table(table).expect("removes"));
        removed += 1;
    }
    assert_eq!(removed, of_holds.len());
    txn.commit().expect("commits");
}

#[tokio::test]
async fn a_store_of_the_version_before_opens_and_holds_survive_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let catalog = Arc::new(imquota::catalog::builtin());
    let call = Call {
        app: app("demo"),
        mode: Mode::Enforce,
        take: TakeOptions::default(),
        deadline: Timestamp::MAX,
        unknown_app: Schedule::default_of(&catalog).ok().map(Arc::new),
        catalog,
        fail_fast: false,
        is_replayed: false,
    };
    let accounts = |name| Operation::CreateAccounts { users: vec![user(name)] };
    let store = open(directory.path()).expect("opens");
    store.apply(call.clone(), accounts("a")).await.expect("decided");
    store.close().await;
    remove_tables_of_holds(directory.path());
    let store = open(directory.path()).expect("opens again");
    let hold = Some(Hold::new("h", 600).expect("valid"));
    let take = TakeOptions { hold, ..TakeOptions::default() };
    let held = Call { take, ..call.clone() };
    store.apply(held, accounts("b")).await.expect("decided");
    store.close().await;
    let store = open(directory.path()).expect("opens again");
    let held = async || match store.read(call.clone(), Subject::App).await.expect("read").held {
        Counts::App { accounts, .. } => accounts,
        other => panic!("of an app: {other:?}"),
    };
    assert_eq!(held().await, 1);
    let id = OperationId::try_from("h").expect("an id");
    let ending = Ending { id, part: Part::Accounts, end: HoldEnd::Confirm, as_of: None };
    let ended = store.end_hold(call.clone(), ending).await.expect("decided");
    let confirmed = HoldResult::of(HoldOutcome::Confirmed);
    assert_eq!(
        ended.iter().map(|hold| hold.items.clone()).collect::<Vec<_>>(),
        [[Some(confirmed)]]
    );
    assert_eq!(held().await, 0);
    store.close().await;
}

#[tokio::test]
async fn a_store_with_an_unreadable_format_is_not_treated_as_new() {
    for format in [Some(1_u64.to_le_bytes().to_vec()), Some(b"two".to_vec()), None] {
        let directory = tempfile::tempdir().expect("a directory");
        open(directory.path()).expect("opens").close().await;
        overwrite_meta(directory.path(), "format", format.as_deref());
        let said = refusal(directory.path());
        assert!(said.contains("no readable format number"), "{format:?}: {said}");
    }
}

#[tokio::test]
async fn a_store_without_its_fingerprint_key_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    open(directory.path()).expect("opens").close().await;
    overwrite_meta(directory.path(), "fingerprint_key", None);
    let said = refusal(directory.path());
    assert!(said.contains("no fingerprint key"), "{said}");
}

#[test]
fn a_file_that_is_no_store_is_refused_and_not_changed() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("imquota.redb");
    fs::write(&file, b"dear diary").expect("writes");
    let said = refusal(directory.path());
    assert!(said.contains("cannot open") && said.contains("imquota.redb"), "{said}");
    assert_eq!(fs::read(&file).expect("reads"), b"dear diary");
}

#[test]
fn a_directory_that_cannot_be_created_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    fs::write(&file, b"").expect("writes");
    let said = refusal(&file.join("below"));
    assert!(said.contains("cannot create the directory") && said.contains("below"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn data_in_redis_of_a_newer_format_is_refused_and_not_changed() {
    let redis = Standalone::start();
    let open = || Redis::open(redis_options(&redis.url()), Arc::new(SystemClock));
    open().await.expect("opens").close().await;
    for (field, value, said) in [
        ("format", "3", "has format 3, and this version reads formats 1 and 2"),
        ("fingerprint_key", "short", "does not hold a fingerprint key"),
    ] {
        let before = redis.server.cli(&["HGET", "imquota:identity", field]);
        redis.server.cli(&["HSET", "imquota:identity", field, value]);
        for _ in 0..2 {
            let Err(error) = open().await else { panic!("the store was opened") };
            assert!(error.to_string().contains(said), "{error}");
        }
        redis.server.cli(&["HSET", "imquota:identity", field, before.trim()]);
    }
    open().await.expect("opens again").close().await;
}

/// Versions that read only format 1 refuse the file from its first cell with months on.
#[tokio::test]
async fn a_file_has_the_second_format_once_users_are_counted_by_month() {
    let directory = tempfile::tempdir().expect("a directory");
    let small = include_str!("../support/small.toml");
    let limits = "accounts_per_app = 6\nactive_users_per_month = 5";
    for (text, format) in [
        (small.to_owned(), 1_u32),
        (small.replacen("accounts_per_app = 6", limits, 1), 2),
        // There is no way back.
        (small.to_owned(), 2),
    ] {
        let clock = Arc::new(SystemClock);
        let catalog = imquota::catalog::parse(&text).expect("a catalog");
        let service = Service::open(&Place::directory(directory.path()), clock, catalog);
        let logins = vec![Login { user: user("a"), at: None }];
        let call = service.call(&app("demo"));
        service.ledger.record_logins(call, logins).await.expect("metered");
        service.close().await;
        let database = Database::open(directory.path().join("imquota.redb")).expect("opens");
        let txn = database.begin_read().expect("begins");
        let meta = txn.open_table(META).expect("is there");
        let found = meta.get("format").expect("reads").expect("a format");
        assert_eq!(found.value(), format.to_le_bytes());
    }
}

/// Data of a previous version gets a generation, an id and marks at the first start, once.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_the_previous_version_gets_its_generation_and_marks_in_redis() {
    let redis = Standalone::start();
    let key = "000102030405060708090a0b0c0d0e0f";
    redis.server.cli(&["HSET", "imquota:identity", "format", "1", "fingerprint_key", key]);
    let open = || Redis::open(redis_options(&redis.url()), Arc::new(SystemClock));
    let (one, other) = tokio::join!(open(), open());
    let (one, other) = (one.expect("opens"), other.expect("opens"));
    assert_eq!(one.identity(), other.identity());
    let field = |name| redis.server.cli(&["HGET", "imquota:identity", name]);
    assert_eq!(field("fingerprint_key"), key);
    assert_eq!((field("id").len(), field("marks").as_str()), (32, "all"));
    assert_eq!(field("generation"), redis.server.cli(&["GET", "q1{0}mark"]));
    assert_eq!(field("generation"), one.identity().generation);
    assert!(one.identity().loss.is_none());
    one.close().await;
    other.close().await;
}
