//! Lost acknowledged writes of the store are detected by each process that has observed them, in
//! every part of the store, and nothing else is reported as a loss.

mod accepted;
mod none;
mod servers;
mod sidecar;

use imquota::directory::Directory as _;
use imquota::engine::admin::ChangeKind;
use imquota::events::EventLog as _;
use imquota::ledger::Ledger as _;
use imquota::redis::StoreMemory;
use tempfile::TempDir;

use self::sidecar::{QUIET, Sidecar, until};
use crate::support::redis::{Server, Standalone};
use crate::support::{app, redis_options};

/// Copies of keys, to which the keys can be restored.
struct Saved<'a> {
    server: &'a Server,
    pattern: &'a str,
    keys: Vec<String>,
}

impl<'a> Saved<'a> {
    fn of(server: &'a Server, pattern: &'a str) -> Self {
        let keys = keys(server, pattern);
        for key in &keys {
            server.cli(&["COPY", key, &format!("saved{key}"), "REPLACE"]);
        }
        Self { server, pattern, keys }
    }

    /// Restores the keys, atomically for other clients.
    fn put_back(&self) {
        let now = keys(self.server, self.pattern);
        let drop = now.iter().map(|key| format!("redis.call('DEL', '{key}')"));
        let copy = |key: &String| format!("redis.call('COPY', 'saved{key}', '{key}')");
        let script: Vec<_> = drop.chain(self.keys.iter().map(copy)).collect();
        let script = script.join(" ");
        self.server.cli(&["EVAL", &script, "0"]);
    }
}

fn keys(server: &Server, pattern: &str) -> Vec<String> {
    server
        .cli(&["KEYS", pattern])
        .lines()
        .filter(|key| !key.is_empty())
        .map(str::to_owned)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_lost_a_sale_returns_a_conflict_and_recovers() {
    for is_restarted in [false, true] {
        let redis = Standalone::start();
        let mut sidecar = Sidecar::start(&redis.url()).await;
        let paid = app("paid");
        sidecar.change(&paid, "create", ChangeKind::Create).await.expect("created");
        sidecar.buy(&paid, "buy", "professional").await.expect("bought");
        let saved = Saved::of(&redis.server, "q1{directory}*");
        sidecar.buy(&paid, "lost", "members-2000").await.expect("bought");
        sidecar.expect_events("purchased", 2).await;
        if is_restarted {
            sidecar.end().await;
            saved.put_back();
            sidecar = Sidecar::start(&redis.url()).await;
        } else {
            saved.put_back();
        }
        let refusals = sidecar.buy_with_retries(&paid, "next", "members-2000").await;
        assert!(!refusals.is_empty(), "first a conflict");
        for refusal in &refusals {
            assert!(refusal.contains("the store lost changes 3-3 of"), "{refusal}");
        }
        // The sale counts, and has an event although its number was used before.
        let record = sidecar.directory.app(&paid).await.expect("reads").expect("is there");
        assert_eq!(sidecar.store.schedule_revision(&paid).await, Ok(record.revision));
        let view = sidecar.administration.app(&paid).await.expect("reads");
        assert!(!view.pending && view.record.sales.purchases.len() == 2, "{view:?}");
        sidecar.expect_events("purchased", 3).await;
        sidecar.expect_losses(&["- directory 2 3", "paid directory 2 3"]).await;
        let actions = sidecar.audit().await;
        assert_eq!(actions[..2], ["CreateApp", "PurchaseEdition"]);
        assert_eq!(actions.iter().filter(|action| *action == "FactsLost").count(), 2);
        assert_eq!(actions.last().map(String::as_str), Some("GrantAddOn"));
        assert_eq!(sidecar.buy_with_retries(&paid, "renew", "renew").await, [""; 0]);
        sidecar.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_is_wholly_lost_can_be_registered_again() {
    let redis = Standalone::start();
    let sidecar = Sidecar::start(&redis.url()).await;
    let paid = app("paid");
    let saved = Saved::of(&redis.server, "q1{directory}*");
    sidecar.change(&paid, "create", ChangeKind::Create).await.expect("created");
    sidecar.buy(&paid, "buy", "professional").await.expect("bought");
    sidecar.expect_events("purchased", 1).await;
    saved.put_back();
    let refused = sidecar.buy(&paid, "next", "members-2000").await.expect_err("the app is lost");
    assert!(refused.contains("the store lost changes 1-2 of app \"paid\""), "{refused}");
    until("a registration", async || sidecar.change(&paid, "new", ChangeKind::Create).await.ok())
        .await;
    assert_eq!(sidecar.store.schedule_revision(&paid).await, Ok(3));
    assert_eq!(sidecar.buy_with_retries(&paid, "buy", "professional").await, [""; 0]);
    assert_eq!(sidecar.store.schedule_revision(&paid).await, Ok(4));
    sidecar.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sidecars_log_a_loss_of_the_directory_once() {
    let redis = Standalone::start();
    let (one, other) = (Sidecar::start(&redis.url()).await, Sidecar::start(&redis.url()).await);
    for number in 0..4 {
        let app = app(&format!("app-{number}"));
        one.change(&app, "create", ChangeKind::Create).await.expect("created");
    }
    let saved = Saved::of(&redis.server, "q1{directory}*");
    for number in 4..9 {
        let app = app(&format!("app-{number}"));
        other.change(&app, "create", ChangeKind::Create).await.expect("created");
    }
    one.expect_events("app_created", 9).await;
    // Both sidecars check every two seconds.
    tokio::time::sleep(QUIET).await;
    saved.put_back();
    one.expect_losses(&["- directory 4 9"]).await;
    assert_eq!(
        one.audit().await,
        ["CreateApp", "CreateApp", "CreateApp", "CreateApp", "FactsLost"]
    );
    // The new numbers have events.
    let app = app("app-9");
    other.change(&app, "create", ChangeKind::Create).await.expect("created");
    one.expect_events("app_created", 10).await;
    one.end().await;
    other.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_log_that_lost_its_end_continues_beyond_it() {
    let redis = Standalone::start();
    let (one, other) = (Sidecar::start(&redis.url()).await, Sidecar::start(&redis.url()).await);
    one.change(&app("one"), "create", ChangeKind::Create).await.expect("created");
    one.expect_events("app_created", 1).await;
    let saved = Saved::of(&redis.server, "q1{events}*");
    for number in 2..=4 {
        let app = app(&format!("app-{number}"));
        one.change(&app, "create", ChangeKind::Create).await.expect("created");
    }
    one.expect_events("app_created", 4).await;
    other.expect_events("app_created", 4).await;
    saved.put_back();
    // A watch that has received all four gets the loss, and the earlier events with new numbers.
    one.expect_losses(&["- events 1 4"]).await;
    let seen = one.log.read(4, 100).await.expect("reads").events;
    let seen: Vec<_> = seen.iter().map(|it| (it.number, it.event.what.kind())).collect();
    let created = |number| (number, "app_created");
    assert_eq!(seen, [(1005, "facts_lost"), created(1006), created(1007), created(1008)]);
    let page = one.log.read(0, 2).await.expect("reads");
    assert_eq!(page.events.iter().map(|it| it.number).collect::<Vec<_>>(), [1, 1005]);
    one.end().await;
    other.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn observed_counters_survive_a_restart() {
    let (redis, state) = (Standalone::start(), TempDir::new().expect("a temporary folder"));
    let memory = || StoreMemory {
        directory: Some(state.path().to_owned()),
        is_required: true,
        ..StoreMemory::default()
    };
    let demo = app("demo");
    let sidecar = Sidecar::start_with(redis_options(&redis.url()), memory()).await;
    sidecar.take_each(&demo, 0..5).await;
    let saved = Saved::of(&redis.server, "q1{*/accounts}*");
    sidecar.take_each(&demo, 5..7).await;
    sidecar.end().await;
    saved.put_back();
    let without = Sidecar::start(&redis.url()).await;
    without.take(&demo, "u0").await;
    let sidecar = Sidecar::start_with(redis_options(&redis.url()), memory()).await;
    sidecar.expect_losses(&["demo accounts 5 7"]).await;
    assert_eq!(without.counted("accounts"), "0");
    sidecar.end().await;
    let sidecar = Sidecar::start_with(redis_options(&redis.url()), memory()).await;
    sidecar.expect_losses(&["demo accounts 5 7"]).await;
    sidecar.end().await;
    without.end().await;
}
