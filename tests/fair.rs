//! Fair scheduling in front of the store: an app that sends more than the store can decide does not
//! delay another app, on every store.
//!
//! The tests count the subjects of the greedy app that are decided while one call of the other app
//! is in flight: in order of arrival it would be all waiting ones.
//!
//! A process of its own, since other tests beside it would change how many are decided meanwhile.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::join_all;
use imquota::catalog::builtin;
use imquota::clock::SystemClock;
use imquota::domain::decision::{Mode, Outcome, Subject};
use imquota::domain::id::UserId;
use imquota::domain::metering::Login;
use imquota::ledger::Operation;
use support::redis::Standalone;
use support::{Place, Service, app, user};
use tempfile::TempDir;

/// Calls of the greedy app in flight.
const GREEDY_CALLS: usize = 48;
/// Subjects of each greedy call.
const GREEDY_SUBJECTS: usize = 1000;
/// Calls of the quiet app, one after another.
const QUIET_CALLS: usize = 60;
/// The most subjects of the greedy app that are decided during a usual call of the quiet one:
/// those in flight at its arrival, one turn of the greedy app, and operations that end during the
/// call. The queue has [`GREEDY_CALLS`] times [`GREEDY_SUBJECTS`].
const AHEAD_USUALLY: usize = 8 * GREEDY_SUBJECTS;
/// The most for any call: a thread may have to wait for a processor.
const AHEAD_MAX: usize = GREEDY_CALLS / 2 * GREEDY_SUBJECTS;

/// The calls of a greedy app.
#[derive(Debug, Clone, Copy)]
enum Greed {
    Friends,
    Logins,
    Accounts,
}

async fn greedy_call(service: &Service, greed: Greed, round: usize) {
    let users =
        |prefix: &str| (0..GREEDY_SUBJECTS).map(move |n| user(format!("{prefix}{n}"))).collect();
    let (greedy, named): (_, Vec<UserId>) = (app("greedy"), users("f"));
    match greed {
        Greed::Friends => {
            let (user, one_way) = (user(format!("u{round}")), false);
            let operation = Operation::AddFriends { user, friends: named, one_way };
            service.apply(&greedy, Mode::CheckOnly, operation).await.expect("decided, late or not");
        }
        Greed::Accounts => {
            let operation = Operation::CreateAccounts { users: named };
            service.apply(&greedy, Mode::Enforce, operation).await.expect("decided, late or not");
        }
        Greed::Logins => {
            let logins = named.into_iter().map(|user| Login { user, at: None }).collect();
            let deadline = service.deadline();
            service
                .engine
                .record_logins(greedy, Mode::Enforce, logins, deadline)
                .await
                .expect("recorded");
        }
    }
}

async fn quiet_is_not_delayed(service: Service, greed: Greed) {
    let (service, over) = (Arc::new(service), Arc::new(AtomicBool::new(false)));
    let decided = Arc::new(AtomicUsize::new(0));
    let greedy = (0..GREEDY_CALLS).map(|number| {
        let (service, over, decided) = (service.clone(), over.clone(), decided.clone());
        tokio::spawn(async move {
            for round in 0.. {
                greedy_call(&service, greed, number * 1000 + round).await;
                decided.fetch_add(GREEDY_SUBJECTS, Ordering::Relaxed);
                if over.load(Ordering::Relaxed) {
                    return round;
                }
            }
            unreachable!("the loop returns")
        })
    });
    let greedy: Vec<_> = greedy.collect();
    // The queue is full before the first call of the other app.
    while decided.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    let quiet = app("quiet");
    let mut ahead: Vec<usize> = Vec::new();
    for number in 0..QUIET_CALLS {
        let before = decided.load(Ordering::Relaxed);
        if number % 2 == 0 {
            let users = vec![user(format!("q{}", number % 20))];
            let decision = service.enforce(&quiet, Operation::CreateAccounts { users }).await;
            assert_ne!(decision.items[0].outcome, Outcome::Denied);
        } else {
            service.usage(&quiet, Subject::App).await;
        }
        ahead.push(decided.load(Ordering::Relaxed) - before);
    }
    over.store(true, Ordering::Relaxed);
    join_all(greedy).await;
    ahead.sort_unstable();
    let (usual, most) = (ahead[QUIET_CALLS / 2], ahead[QUIET_CALLS - 1]);
    assert!(usual <= AHEAD_USUALLY && most <= AHEAD_MAX, "{greed:?}: {ahead:?}");
}

async fn on(place: &Place) {
    for greed in [Greed::Friends, Greed::Logins, Greed::Accounts] {
        let service = Service::open_any(place, Arc::new(SystemClock), builtin()).await;
        quiet_is_not_delayed(service, greed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_greedy_app_does_not_delay_another_in_redis() {
    on(&Place::Redis(Standalone::start().url())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_greedy_app_does_not_delay_another_in_memory() {
    on(&Place::Memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_greedy_app_does_not_delay_another_on_disk() {
    let directory = TempDir::new().expect("a directory");
    let place = Place::directory(directory.path());
    let service = Service::open_any(&place, Arc::new(SystemClock), builtin()).await;
    quiet_is_not_delayed(service, Greed::Accounts).await;
}
