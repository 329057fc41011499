//! Clocks that are more than 5 minutes apart: nothing expires, and no hold is made.

use super::*;

const MINUTE: i64 = 60 * SECOND;

/// A sidecar with a clock of its own, and a full app: two holds that live, one that has expired.
async fn world(timed: &TimedServer) -> (Sidecar, Arc<ManualClock>) {
    let own = ManualClock::at(NOON);
    let sidecar = Sidecar::open(&timed.url(), own.clone()).await;
    sidecar.limit(1, &[(LimitId::AccountsPerApp, 4)]).await;
    for (id, seconds) in [("released", LONG), ("confirmed", LONG), ("expires", 1), ("late", 1)] {
        assert_eq!(sidecar.take(Some((id, seconds)), accounts(vec![user(id)])).await, "A");
    }
    (sidecar, own)
}

/// Sets the server's clock to that long after noon, and the sidecar's that far from it.
fn set(timed: &TimedServer, own: &ManualClock, after: i64, apart: i64) {
    timed.clock.set(NOON + after);
    own.set(NOON + after + apart);
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_five_minutes_nothing_expires_and_no_hold_is_made() {
    for apart in [5 * MINUTE + 1, -5 * MINUTE - 1, 40 * 24 * HOUR] {
        let timed = TimedServer::start();
        let (sidecar, own) = world(&timed).await;
        set(&timed, &own, 2 * SECOND, apart);
        let all = accounts(vec![user("new")]);
        // What has expired counts, is not removed, and denies.
        assert_eq!(sidecar.count(Subject::App).await, (4, 4), "{apart}");
        assert_eq!(sidecar.sweep().await, 0, "{apart}");
        assert_eq!(sidecar.take(None, all.clone()).await, "D", "{apart}");
        let refused = sidecar.try_take(Some(("new", LONG)), all.clone()).await;
        assert!(refused.as_ref().is_err_and(LedgerError::is_clock_skew), "{apart}: {refused:?}");
        let forced = sidecar.as_mode(Mode::Force).try_take(Some(("new", LONG)), all.clone()).await;
        assert!(forced.as_ref().is_err_and(LedgerError::is_clock_skew), "{apart}: {forced:?}");
        assert_eq!(sidecar.count(Subject::App).await, (4, 4), "{apart}");
        assert_eq!(timed.server.cli(&["ZCARD", &keys(&timed.server, "expiry")[0]]), "8");
        // A caller ends holds, also one that has expired.
        assert_eq!(sidecar.end("released", Part::Accounts, HoldEnd::Release).await, "r");
        assert_eq!(sidecar.end("confirmed", Part::Accounts, HoldEnd::Confirm).await, "c");
        assert_eq!(sidecar.end("late", Part::Accounts, HoldEnd::Confirm).await, "c");
        assert_eq!(sidecar.count(Subject::App).await, (3, 1), "{apart}");
        // Once the clocks agree, what has expired ends.
        set(&timed, &own, 2 * SECOND, 0);
        assert_eq!(sidecar.count(Subject::App).await, (2, 0), "{apart}");
        assert_eq!(sidecar.sweep().await, 1, "{apart}");
        assert_eq!(sidecar.take(Some(("new", LONG)), all).await, "A", "{apart}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn up_to_five_minutes_holds_expire_by_the_servers_clock() {
    for apart in [5 * MINUTE, -5 * MINUTE] {
        let timed = TimedServer::start();
        let (sidecar, own) = world(&timed).await;
        let (list, owned) = (Subject::User(user("me")), Subject::Group(group("g")));
        assert_eq!(sidecar.take(Some(("h", 1)), follow("me", numbered("f", 2))).await, "AA");
        assert_eq!(sidecar.take(Some(("h", 1)), create("g", "me", None)).await, "A");
        // By the sidecar's clock all holds of a second have expired, or none has.
        set(&timed, &own, SECOND - 1, apart);
        assert_eq!(sidecar.count(Subject::App).await, (4, 4), "{apart}");
        assert_eq!(sidecar.take(None, accounts(vec![user("new")])).await, "D", "{apart}");
        assert_eq!(sidecar.count(list.clone()).await, (2, 2), "{apart}");
        assert_eq!(sidecar.count(owned.clone()).await, (1, 1), "{apart}");
        assert_eq!(sidecar.sweep().await, 0, "{apart}");
        assert_eq!(sidecar.end("late", Part::Accounts, HoldEnd::Confirm).await, "c", "{apart}");
        set(&timed, &own, SECOND, apart);
        assert_eq!(sidecar.count(Subject::App).await, (3, 2), "{apart}");
        assert_eq!(sidecar.count(list).await, (0, 0), "{apart}");
        let gone = sidecar.ledger.read(sidecar.call(), owned).await;
        assert!(matches!(gone, Err(LedgerError::GroupNotFound(_))), "{apart}: {gone:?}");
        // A new hold lasts as long by the server's clock.
        assert_eq!(sidecar.take(Some(("n", 1)), accounts(vec![user("n")])).await, "A", "{apart}");
        set(&timed, &own, 2 * SECOND - 1, apart);
        assert_eq!(sidecar.count(Subject::App).await, (4, 3), "{apart}");
        set(&timed, &own, 2 * SECOND, apart);
        assert_eq!(sidecar.count(Subject::App).await, (3, 2), "{apart}");
    }
}
