//! The notes of callbacks, on every store: queues give their texts back in order, instants only
//! rise, each expires by itself, and an app has a bounded number of both.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::support::redis::{shared_cluster, shared_sentinels, shared_standalone};
use crate::support::{Rng, app, redis_options};
use imquota::clock::{Clock as _, SystemClock};
use imquota::domain::id::AppId;
use imquota::domain::time::Timestamp;
use imquota::ledger::callback_notes::{
    CallbackNotes, NAME_MAX_BYTES, NAMES_MAX, NOTES_MAX, TEXT_MAX_BYTES, TEXTS_MAX,
};
use imquota::ledger::embedded::Embedded;
use imquota::ledger::embedded::callback_notes::EmbeddedNotes;
use imquota::ledger::memory::Memory;
use imquota::ledger::redis::Redis;
use imquota::ledger::redis::callback_notes::RedisNotes;
use imquota::ledger::{Ledger, LedgerError};
use imquota::store::StoreError;
use tempfile::TempDir;
use tokio::task::JoinSet;

/// Longer than any case takes.
const LONG: Duration = Duration::from_secs(300);
/// So short that a case can wait for it.
const SHORT: Duration = Duration::from_millis(200);

type Notes = Arc<dyn CallbackNotes>;

/// An open store; the folder is that of the file, if it has one.
struct Store {
    notes: Notes,
    ledger: Arc<dyn Ledger>,
    _folder: Option<TempDir>,
}

fn later() -> Timestamp {
    SystemClock.now() + LONG
}

#[allow(clippy::unused_async, reason = "all stores are opened alike")]
async fn memory() -> Store {
    let ledger = Memory::open(Arc::new(SystemClock)).expect("opens");
    let notes = Arc::new(EmbeddedNotes::over(ledger.store()));
    Store { notes, ledger: Arc::new(ledger), _folder: None }
}

#[allow(clippy::unused_async, reason = "all stores are opened alike")]
async fn embedded() -> Store {
    let folder = TempDir::new().expect("a temporary folder");
    let ledger = Embedded::open(folder.path(), Arc::new(SystemClock)).expect("opens");
    let notes = Arc::new(EmbeddedNotes::over(ledger.store()));
    Store { notes, ledger: Arc::new(ledger), _folder: Some(folder) }
}

async fn standalone() -> Store {
    redis(&shared_standalone().url()).await
}

async fn sentinel() -> Store {
    redis(&shared_sentinels().url()).await
}

async fn cluster() -> Store {
    redis(&shared_cluster().url()).await
}

async fn redis(url: &str) -> Store {
    let ledger = Redis::open(redis_options(url), Arc::new(SystemClock)).await.expect("opens");
    let notes = Arc::new(RedisNotes::over(ledger.store()));
    Store { notes, ledger: Arc::new(ledger), _folder: None }
}

async fn push(notes: &Notes, app: &AppId, queue: &str, text: &str) {
    notes.push(app, queue, text, LONG, later()).await.expect("pushes");
}

async fn pop(notes: &Notes, app: &AppId, queue: &str) -> Option<String> {
    notes.pop(app, queue, later()).await.expect("pops")
}

async fn peek(notes: &Notes, app: &AppId, queue: &str) -> Option<String> {
    notes.peek(app, queue, later()).await.expect("reads")
}

async fn raise(notes: &Notes, app: &AppId, names: &[&str], instant: i64, lasting: Duration) {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let instant = Timestamp::from_millis(instant);
    notes.raise_instants(app, &names, instant, lasting, later()).await.expect("raises");
}

async fn instants(notes: &Notes, app: &AppId, names: &[&str]) -> Vec<Option<i64>> {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let found = notes.instants(app, &names, later()).await.expect("reads");
    found.into_iter().map(|found| found.map(Timestamp::as_millis)).collect()
}

async fn calls_equal_those_of_a_model(notes: Notes) {
    let apps = [app("callbacks-model-1"), app("callbacks-model-2")];
    let names = ["", "a", "a/b", "名", "#"];
    let mut queues: HashMap<(usize, &str), VecDeque<String>> = HashMap::new();
    let mut risen: HashMap<(usize, &str), i64> = HashMap::new();
    let mut random = Rng::new(22);
    for step in 0..600_u64 {
        let (of, name) = (random.below(2), names[random.below(names.len())]);
        let (id, queue) = (&apps[of], queues.entry((of, name)).or_default());
        match random.below(5) {
            0 => {
                let text = if step % 7 == 0 { String::new() } else { format!("text {step} 文\0") };
                push(&notes, id, name, &text).await;
                queue.push_back(text);
            }
            1 => assert_eq!(pop(&notes, id, name).await, queue.pop_front(), "step {step}"),
            2 => assert_eq!(peek(&notes, id, name).await.as_ref(), queue.front(), "step {step}"),
            3 => {
                let instant = 1_800_000_000_000 + i64::try_from(random.below(50)).expect("small");
                raise(&notes, id, &[name, "other"], instant, LONG).await;
                for name in [name, "other"] {
                    let standing = risen.entry((of, name)).or_insert(instant);
                    *standing = instant.max(*standing);
                }
            }
            _ => {
                let expected: Vec<_> =
                    names.iter().map(|name| risen.get(&(of, *name)).copied()).collect();
                assert_eq!(instants(&notes, id, &names).await, expected, "step {step}");
            }
        }
    }
}

async fn each_note_expires_by_itself(notes: Notes) {
    let id = app("callbacks-expiry");
    notes.push(&id, "q", "first", SHORT, later()).await.expect("pushes");
    push(&notes, &id, "q", "second").await;
    notes.push(&id, "gone", "only", SHORT, later()).await.expect("pushes");
    raise(&notes, &id, &["kept", "short"], 5, SHORT).await;
    raise(&notes, &id, &["kept"], 4, LONG).await;
    while peek(&notes, &id, "gone").await.is_some()
        || peek(&notes, &id, "q").await.as_deref() == Some("first")
        || instants(&notes, &id, &["short"]).await != [None]
    {
        tokio::time::sleep(SHORT / 10).await;
    }
    // An earlier instant prolongs a later one.
    assert_eq!(instants(&notes, &id, &["kept", "short"]).await, [Some(5), None]);
    assert_eq!(pop(&notes, &id, "q").await.as_deref(), Some("second"));
    assert_eq!(pop(&notes, &id, "q").await, None);
    // What has expired does not hold a later one down.
    raise(&notes, &id, &["short"], 1, LONG).await;
    assert_eq!(instants(&notes, &id, &["short"]).await, [Some(1)]);
}

async fn a_text_is_returned_to_one_of_many(notes: Notes) {
    let id = app("callbacks-race");
    let mut pushing = JoinSet::new();
    for number in 0..60 {
        let (notes, id) = (notes.clone(), id.clone());
        pushing.spawn(async move { push(&notes, &id, "q", &number.to_string()).await });
    }
    pushing.join_all().await;
    let mut popping = JoinSet::new();
    for _ in 0..90 {
        let (notes, id) = (notes.clone(), id.clone());
        popping.spawn(async move { pop(&notes, &id, "q").await });
    }
    let found = popping.join_all().await.into_iter().flatten();
    let mut found: Vec<usize> = found.map(|text| text.parse().expect("a number")).collect();
    found.sort_unstable();
    assert_eq!(found, (0..60).collect::<Vec<_>>());
}

fn assert_refused<T: std::fmt::Debug>(result: Result<T, LedgerError>) {
    let error = result.expect_err("refused");
    assert!(matches!(error, LedgerError::Store(StoreError::Refused(_))), "{error}");
}

async fn what_is_too_long_or_too_late_is_refused(notes: Notes) {
    let id = app("callbacks-bounds");
    let name = |bytes: usize| "n".repeat(bytes);
    push(&notes, &id, &name(NAME_MAX_BYTES), &name(TEXT_MAX_BYTES)).await;
    assert_refused(notes.push(&id, &name(NAME_MAX_BYTES + 1), "", LONG, later()).await);
    assert_refused(notes.push(&id, "q", &name(TEXT_MAX_BYTES + 1), LONG, later()).await);
    let many: Vec<_> = (0..=NAMES_MAX).map(|number| number.to_string()).collect();
    let at = Timestamp::from_millis(1);
    assert_refused(notes.raise_instants(&id, &many, at, LONG, later()).await);
    assert_refused(notes.instants(&id, &many, later()).await);
    let past = SystemClock.now();
    let late = notes.push(&id, "late", "", LONG, past).await;
    assert_eq!(late, Err(StoreError::DeadlinePassed.into()));
    assert_eq!(peek(&notes, &id, "late").await, None);
}

async fn a_queue_has_a_bounded_number_of_texts(notes: Notes) {
    let id = app("callbacks-queue");
    let mut pushing = JoinSet::new();
    for _ in 0..TEXTS_MAX {
        let (notes, id) = (notes.clone(), id.clone());
        pushing.spawn(async move { push(&notes, &id, "q", "text").await });
    }
    pushing.join_all().await;
    assert_refused(notes.push(&id, "q", "one more", LONG, later()).await);
    push(&notes, &id, "other", "text").await;
    assert!(pop(&notes, &id, "q").await.is_some());
    push(&notes, &id, "q", "one more").await;
}

async fn an_app_has_a_bounded_number_of_notes(notes: Notes) {
    let id = app("callbacks-number");
    let at = Timestamp::from_millis(1);
    let names = |from: usize| -> Vec<String> {
        (from..from + NAMES_MAX).map(|number| format!("n{number}")).collect()
    };
    for from in (0..NOTES_MAX).step_by(NAMES_MAX) {
        // The first expire, and make room.
        let lasting = if from == 0 { SHORT } else { LONG };
        notes.raise_instants(&id, &names(from), at, lasting, later()).await.expect("raises");
    }
    while instants(&notes, &id, &["n0"]).await != [None] {
        tokio::time::sleep(SHORT / 10).await;
    }
    let more = names(NOTES_MAX);
    notes.raise_instants(&id, &more, at, LONG, later()).await.expect("raises");
    assert_refused(notes.push(&id, "q", "", LONG, later()).await);
    assert_refused(notes.raise_instants(&id, &["n".to_owned()], at, LONG, later()).await);
    push(&notes, &app("callbacks-number-2"), "q", "").await;
}

macro_rules! on_each {
    ($($store:ident)*) => {
        $(
            mod $store {
                on_each!(@ $store:
                    calls_equal_those_of_a_model
                    each_note_expires_by_itself
                    a_text_is_returned_to_one_of_many
                    what_is_too_long_or_too_late_is_refused
                    a_queue_has_a_bounded_number_of_texts
                    an_app_has_a_bounded_number_of_notes);
            }
        )*
    };
    (@ $store:ident: $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let store = super::$store().await;
                super::$case(store.notes.clone()).await;
                store.ledger.close().await;
            }
        )*
    };
}

on_each!(memory embedded standalone sentinel cluster);

#[tokio::test(flavor = "multi_thread")]
async fn notes_survive_a_reopened_file() {
    let folder = TempDir::new().expect("a temporary folder");
    let id = app("callbacks-file");
    for round in 0..3 {
        let ledger = Embedded::open(folder.path(), Arc::new(SystemClock)).expect("opens");
        let notes: Notes = Arc::new(EmbeddedNotes::over(ledger.store()));
        let expected = (round > 0).then(|| (round - 1).to_string());
        assert_eq!(pop(&notes, &id, "q").await, expected);
        push(&notes, &id, "q", &round.to_string()).await;
        ledger.close().await;
    }
}
