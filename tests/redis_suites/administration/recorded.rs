//! After a change is recorded no error denies that, and a retry makes it only once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use imquota::clock::SystemClock;
use imquota::domain::id::AppId;
use imquota::engine::admin::{AdminError, Change, ChangeKind, Changed};

use super::{buy, refund};
use crate::support::faulty::Faults;
use crate::support::{Service, actor, app, request_id};

/// Every kind of change, in an order in which each is possible.
fn changes() -> Vec<(&'static str, ChangeKind)> {
    vec![
        ("r0", ChangeKind::Create),
        ("r1", buy("professional", 1)),
        ("r2", buy("renew", 1)),
        ("r3", buy("members-2000", 1)),
        ("r4", ChangeKind::SetRetention { days: 30 }),
        ("r5", refund("r2")),
        ("r6", refund("r3")),
    ]
}

fn open(faults: &Arc<Faults>) -> Service {
    Service::faulty(faults, Arc::new(SystemClock), imquota::catalog::builtin())
}

async fn change(
    service: &Service,
    app: &AppId,
    id: &str,
    what: ChangeKind,
) -> Result<Changed, AdminError> {
    let change = Change { app: app.clone(), request_id: request_id(id), effective_at: None, what };
    service.administration.change(change, actor()).await
}

#[tokio::test]
async fn the_clock_is_not_needed_once_a_change_is_recorded() {
    let faults = Arc::new(Faults::default());
    let (service, app) = (open(&faults), app("clockless"));
    for (id, what) in changes() {
        faults.clock_after_record.store(true, Ordering::SeqCst);
        let made = change(&service, &app, id, what.clone()).await.expect(id);
        let last = made.view.record.sales.last_at();
        assert!(last.is_none_or(|last| last <= made.view.at), "{id}: the instant of the record");
        // A retry reads the clock, and returns that the change was made.
        let error = change(&service, &app, id, what).await.expect_err(id);
        assert!(matches!(error, AdminError::Unfinished(_)), "{id}: {error}");
        faults.mend();
    }
}

/// A change fails after it was recorded; a retry finishes it, and it is made once.
async fn failing(pick: fn(&Faults) -> &AtomicBool, says: &str) {
    let faults = Arc::new(Faults::default());
    let (service, app) = (open(&faults), app("failing"));
    for (id, what) in changes() {
        pick(&faults).store(true, Ordering::SeqCst);
        let error = change(&service, &app, id, what.clone()).await.expect_err(id).to_string();
        assert!(error.contains(says) && !error.contains("nothing was changed"), "{id}: {error}");
        faults.mend();
        let first = change(&service, &app, id, what.clone()).await.expect(id);
        let again = change(&service, &app, id, what).await.expect(id);
        assert_eq!((first.made, &first.view.record), (again.made, &again.view.record), "{id}");
    }
    let sales = service.administration.app(&app).await.expect("registered").record.sales;
    assert_eq!((sales.purchases.len(), sales.refunds.len()), (3, 2));
}

#[tokio::test]
async fn an_unpublished_change_is_reported_as_recorded() {
    failing(|faults| &faults.ledger_after_record, "recorded, but not in force yet").await;
}

#[tokio::test]
async fn a_change_with_a_lost_reply_has_an_unknown_outcome() {
    failing(|faults| &faults.reply_of_record, "outcome unknown; retry the same request").await;
}
