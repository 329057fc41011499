//! Unregistered apps are bounded, in number and in facts, on every store.

mod facts;
mod stores;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{app, group, user};
use imquota::catalog::builtin;
use imquota::clock::{Clock as _, SystemClock};
use imquota::domain::catalog::{Catalog, UnknownAppBound, UnknownApps};
use imquota::domain::decision::{Mode, Outcome};
use imquota::domain::id::AppId;
use imquota::domain::metering::{Login, Sample, Sampled};
use imquota::domain::schedule::Schedule;
use imquota::ledger::{Answer, Call, Ledger, LedgerError, Operation, TakeOptions};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

/// Longer than any call takes.
const DEADLINE: Duration = Duration::from_secs(60);
/// No delay, so that no test waits for a day.
const AT_ONCE: Duration = Duration::ZERO;

/// One test at a time, since shared deployments have one count.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// A unique app.
fn new_app() -> AppId {
    static APPS: AtomicUsize = AtomicUsize::new(0);
    let number = APPS.fetch_add(1, Ordering::SeqCst);
    app(&format!("unknown-{}-{number}", std::process::id()))
}

fn catalog(max: u64, facts_per_app_max: u64) -> Arc<Catalog> {
    let unknown_apps = UnknownApps { max, facts_per_app_max };
    Arc::new(Catalog { unknown_apps, ..builtin() })
}

fn call(app: &AppId, catalog: &Arc<Catalog>) -> Call {
    let trial = Schedule::default_of(catalog).expect("it has a default edition");
    Call {
        app: app.clone(),
        mode: Mode::Enforce,
        deadline: SystemClock.now() + DEADLINE,
        catalog: catalog.clone(),
        unknown_app: Some(Arc::new(trial)),
        fail_fast: false,
        is_replayed: false,
        take: TakeOptions::default(),
    }
}

fn create(name: &str) -> Operation {
    Operation::CreateAccounts { users: vec![user(name)] }
}

fn delete(name: &str) -> Operation {
    Operation::DeleteAccount { user: user(name) }
}

fn full(app: &AppId, bound: UnknownAppBound, most: u64) -> LedgerError {
    LedgerError::UnknownAppsFull { app: app.clone(), bound, most }
}

fn outcome(answer: &Answer) -> Outcome {
    answer.whole.iter().chain(&answer.items).next().expect("a verdict").outcome
}

async fn takes(ledger: &Arc<dyn Ledger>, call: Call) {
    let answer = ledger.apply(call, create("u")).await.expect("decided");
    assert!(matches!(outcome(&answer), Outcome::Applied | Outcome::AlreadyHeld), "{answer:?}");
}

async fn is_refused(ledger: &Arc<dyn Ledger>, call: Call) {
    let refused = full(&call.app, UnknownAppBound::Apps, call.catalog.unknown_apps.max);
    assert_eq!(ledger.apply(call, create("u")).await, Err(refused));
}

async fn exactly_the_maximum_is_admitted(ledger: Arc<dyn Ledger>) {
    let (catalog, few) = (catalog(3, 100), [(); 3].map(|()| new_app()));
    for app in &few {
        takes(&ledger, call(app, &catalog)).await;
    }
    let late = call(&new_app(), &catalog);
    is_refused(&ledger, late.clone()).await;
    let join = Operation::JoinGroup { group: group("g"), users: vec![user("u")] };
    let refused = Err(full(&late.app, UnknownAppBound::Apps, 3));
    assert_eq!(ledger.apply(late.clone(), join).await, refused);
    let logins = vec![Login { user: user("u"), at: None }];
    let metered = ledger.record_logins(late.clone(), logins).await.map(drop);
    assert_eq!(metered, refused.clone().map(drop));
    for of in Sampled::ALL {
        let sample = Sample { name: "mainland".into(), value: 7, at: None };
        let metered = ledger.report_samples(late.clone(), of, vec![sample]).await.map(drop);
        assert_eq!(metered, refused.clone().map(drop));
    }
    // Releases and dry runs are not refused.
    let leave = Operation::LeaveGroup { group: group("g"), users: vec![user("u")] };
    for operation in [delete("u"), leave] {
        let answer = ledger.apply(late.clone(), operation).await.expect("decided");
        assert_eq!(outcome(&answer), Outcome::NotHeld);
    }
    let asked = Call { mode: Mode::CheckOnly, ..late.clone() };
    takes(&ledger, asked).await;
    is_refused(&ledger, late).await;
    for app in &few {
        takes(&ledger, call(app, &catalog)).await;
    }
}

async fn an_app_that_has_facts_is_never_refused(ledger: Arc<dyn Ledger>) {
    let none = catalog(0, 100);
    let (forced, replayed, refused) = (new_app(), new_app(), new_app());
    is_refused(&ledger, call(&refused, &none)).await;
    is_refused(&ledger, Call { mode: Mode::Shadow, ..call(&refused, &none) }).await;
    takes(&ledger, Call { mode: Mode::Force, ..call(&forced, &none) }).await;
    takes(&ledger, call(&forced, &none)).await;
    takes(&ledger, Call { is_replayed: true, ..call(&replayed, &none) }).await;
    takes(&ledger, call(&replayed, &none)).await;
    is_refused(&ledger, call(&refused, &none)).await;
}

async fn an_app_without_facts_leaves_the_count(ledger: Arc<dyn Ledger>) {
    let (one, first, second) = (catalog(1, 100), new_app(), new_app());
    takes(&ledger, call(&first, &one)).await;
    assert_eq!(ledger.review_unknown_apps(DEADLINE).await, Ok(0), "it was in use just now");
    assert_eq!(ledger.review_unknown_apps(AT_ONCE).await, Ok(0), "it has facts");
    is_refused(&ledger, call(&second, &one)).await;
    let deleted = ledger.apply(call(&first, &one), delete("u")).await.expect("decided");
    assert_eq!(outcome(&deleted), Outcome::Applied);
    is_refused(&ledger, call(&second, &one)).await;
    assert_eq!(ledger.review_unknown_apps(DEADLINE).await, Ok(0), "it had facts just now");
    assert_eq!(ledger.review_unknown_apps(AT_ONCE).await, Ok(1));
    assert_eq!(ledger.review_unknown_apps(AT_ONCE).await, Ok(0));
    // Logins count as facts.
    let logins = vec![Login { user: user("u"), at: None }];
    ledger.record_logins(call(&second, &one), logins).await.expect("counted");
    assert_eq!(ledger.review_unknown_apps(AT_ONCE).await, Ok(0));
    is_refused(&ledger, call(&new_app(), &one)).await;
}

async fn an_app_with_limits_of_its_own_is_not_counted(ledger: Arc<dyn Ledger>) {
    let (one, first, second) = (catalog(1, 2), new_app(), new_app());
    takes(&ledger, call(&first, &one)).await;
    is_refused(&ledger, call(&second, &one)).await;
    let schedule = Schedule::default_of(&one).expect("it has a default edition");
    ledger.put_schedule(&first, 1, &schedule).await.expect("stored");
    ledger.review_unknown_apps(AT_ONCE).await.expect("reviewed");
    takes(&ledger, call(&second, &one)).await;
    // Its facts are no longer bounded.
    let users = (0..20).map(|number| user(format!("v{number}"))).collect();
    let answer = ledger.apply(call(&first, &one), Operation::CreateAccounts { users }).await;
    assert_eq!(outcome(&answer.expect("decided")), Outcome::Applied);
}

/// Of many concurrent apps, on several sidecars, exactly the limit is admitted.
async fn concurrent_apps_are_admitted_exactly_up_to_the_maximum(ledgers: Vec<Arc<dyn Ledger>>) {
    const APPS: usize = 60;
    let room = 20;
    let catalog = catalog(room, 100);
    let mut tasks = JoinSet::new();
    for number in 0..APPS {
        let ledger = ledgers[number % ledgers.len()].clone();
        let call = call(&new_app(), &catalog);
        tasks.spawn(async move { ledger.apply(call, create("u")).await.is_ok() });
    }
    let admitted = tasks.join_all().await.into_iter().filter(|it| *it).count();
    assert_eq!(admitted as u64, room);
}

macro_rules! stamp {
    ($store:ident: $($case:path as $name:ident)*) => {
        mod $store {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    let _alone = crate::unknown_apps::ONE_AT_A_TIME.lock().await;
                    let store = crate::unknown_apps::stores::$store().await;
                    $case(store.ledger.clone()).await;
                    store.ledger.close().await;
                }
            )*

            #[tokio::test(flavor = "multi_thread")]
            async fn concurrent_apps_are_admitted_exactly_up_to_the_maximum() {
                let _alone = crate::unknown_apps::ONE_AT_A_TIME.lock().await;
                let store = crate::unknown_apps::stores::$store().await;
                let others = crate::unknown_apps::stores::beside(&store, stringify!($store)).await;
                super::concurrent_apps_are_admitted_exactly_up_to_the_maximum(others).await;
                store.ledger.close().await;
            }
        }
    };
}

macro_rules! on_each {
    ($($store:ident),*) => {
        $(
            stamp! { $store:
                crate::unknown_apps::exactly_the_maximum_is_admitted
                    as exactly_the_maximum_is_admitted
                crate::unknown_apps::an_app_that_has_facts_is_never_refused
                    as an_app_that_has_facts_is_never_refused
                crate::unknown_apps::an_app_without_facts_leaves_the_count
                    as an_app_without_facts_leaves_the_count
                crate::unknown_apps::an_app_with_limits_of_its_own_is_not_counted
                    as an_app_with_limits_of_its_own_is_not_counted
                crate::unknown_apps::facts::facts_are_bounded_like_in_a_plain_model
                    as facts_are_bounded_like_in_a_plain_model
            }
        )*
    };
}

on_each!(memory, embedded, standalone, sentinel, cluster);
