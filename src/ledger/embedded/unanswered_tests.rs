//! Results that do not reach their callers.

use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Waker};
use std::time::Duration;

use super::*;
use crate::clock::SystemClock;
use crate::domain::decision::Mode;
use crate::domain::id::UserId;
use crate::ledger::TakeOptions;
use crate::redb::writer::Unit;

/// Longer than a loaded machine needs.
const LONGEST: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn thresholds_crossed_for_a_caller_that_stopped_waiting_are_returned_once() {
    let store = Embedded::over(RedbStore::in_memory(Arc::new(SystemClock)).expect("opens"));
    let catalog = Arc::new(crate::catalog::builtin());
    let app = AppId::try_from("demo").expect("an id");
    let call = Call {
        app: app.clone(),
        mode: Mode::Enforce,
        deadline: SystemClock.now() + LONGEST,
        unknown_app: Some(Arc::new(Schedule::default_of(&catalog).expect("a default edition"))),
        catalog,
        fail_fast: false,
        is_replayed: false,
        take: TakeOptions::default(),
    };
    let create = |count: usize| {
        let user = |number| UserId::try_from(format!("u{number}")).expect("an id");
        store.apply(
            call.clone(),
            Operation::CreateAccounts { users: (0..count).map(user).collect() },
        )
    };
    // Of 100 accounts, a caller who gets a result crosses the first threshold.
    assert_eq!(create(70).await.expect("applied").warnings.len(), 1);
    let stop = || {
        let ((entered, is_there), (release, released)) = (mpsc::channel(), mpsc::channel());
        let work = move |_: &mut Unit<'_, '_>| {
            entered.send(()).expect("the test waits for it");
            released.recv_timeout(LONGEST).expect("the test releases it");
            Ok(())
        };
        (work, is_there, release)
    };
    let mut context = Context::from_waker(Waker::noop());
    // All work that is submitted while the first unit runs is in one transaction.
    let (first, is_there, release) = stop();
    let mut first = Box::pin(store.store.writer.submit_without_timeout(first));
    assert!(first.as_mut().poll(&mut context).is_pending());
    is_there.recv_timeout(LONGEST).expect("running");
    let mut gone = Box::pin(create(90));
    assert!(gone.as_mut().poll(&mut context).is_pending());
    let (second, is_there, release_second) = stop();
    let mut second = Box::pin(store.store.writer.submit_without_timeout(second));
    assert!(second.as_mut().poll(&mut context).is_pending());
    release.send(()).expect("it waits");
    is_there.recv_timeout(LONGEST).expect("the accounts are created, and not committed");
    drop(gone);
    release_second.send(()).expect("it waits");
    second.await.expect("committed");
    let crossings = tokio::time::timeout(LONGEST, store.next_crossings()).await.expect("queued");
    assert_eq!(crossings.app, app);
    let crossed: Vec<_> = crossings.warnings.iter().map(|it| (it.used, it.percent)).collect();
    assert_eq!(crossed, [(90, 90)]);
    assert_eq!(create(90).await.expect("held").warnings, []);
    assert!(pin!(store.next_crossings()).poll(&mut context).is_pending(), "and nothing else");
}
