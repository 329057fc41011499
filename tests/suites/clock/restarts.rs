//! Starts of an embedded store with a later or an earlier time of day than before.

use std::path::Path;

use imquota::engine::admin::{AdminError, ChangeKind, Changed};
use imquota::events::{Claim, EventLog as _, TIME_CURSOR};
use tempfile::TempDir;

use super::world::{DAY, HOUR, JUNE, MINUTE, Machine, OfClock as _, SECOND, World};
use crate::support::{Place, actor, request_id};

const NOON: i64 = JUNE + 12 * HOUR;

/// A change that is refused if sales are refused.
async fn sell(world: &World, id: &str) -> Result<Changed, AdminError> {
    world.change("demo", id, ChangeKind::SetRetention { days: 7 }).await
}

/// Stops the store, and starts it with that time of day.
async fn restart(folder: &Path, world: World, wall: i64) -> World {
    world.close().await;
    World::open(&Place::directory(folder), Machine::at(wall)).await
}

/// A store of one app that ran long enough for its time to be recorded: until 2019-07-31 12:00.
async fn ran(folder: &TempDir) -> World {
    let world = World::open(&Place::directory(folder.path()), Machine::at(NOON)).await;
    world.change("demo", "create", ChangeKind::Create).await.expect("created");
    world.buy("demo", "buy", "professional").await.expect("bought");
    world.create("demo", "g").await.expect("a group");
    world.join("demo", "a").await.expect("joined");
    world.log_in("demo", None).await.expect("counted");
    world.pass(60 * DAY).await;
    world.tell().await;
    world
}

const STOPPED: i64 = NOON + 60 * DAY;

#[tokio::test(flavor = "multi_thread")]
async fn a_later_start_is_accepted_and_its_first_ten_minutes_can_be_undone() {
    for later in [HOUR, 40 * DAY, 400 * DAY] {
        let folder = tempfile::tempdir().expect("a directory");
        let world = ran(&folder).await;
        world.administration.issue_due().await.expect("issued");
        assert_eq!(world.closed("demo").await.as_deref(), Some("2019-06"));
        let figures = world.login_days("demo", NOON).await;
        assert_eq!(figures, [(0, 3)]);
        let world = restart(folder.path(), world, STOPPED + later).await;
        // Sales, takes, counts and events with the later time.
        world.join("demo", "b").await.expect("decided");
        world
            .change("demo", "retention", ChangeKind::SetRetention { days: 7 })
            .await
            .expect("changed");
        world.create("demo", "of the later day").await.expect("decided");
        world.log_in("demo", None).await.expect("counted");
        world.report("demo", 9).await.expect("counted");
        world.tell().await;
        world.claim("dead").await.expect("granted");
        world.pass(10 * MINUTE - SECOND).await;
        let due = world.administration.issue_due().await;
        if later > HOUR {
            let error = due.expect_err("nothing is issued yet");
            assert!(error.is_of_clock(), "{error}");
            assert!(error.to_string().contains("issued in 1 s at the earliest"), "{error}");
        }
        assert_eq!(world.closed("demo").await.as_deref(), Some("2019-06"));

        // The clock was wrong, and is right after the next start.
        let world = restart(folder.path(), world, STOPPED + HOUR).await;
        assert_eq!(world.login_days("demo", NOON).await.first(), Some(&(0, 3)), "by {later}");
        world.buy("demo", "renew", "professional").await.expect("bought");
        world.log_in("demo", Some(NOON + 59 * DAY)).await.expect("counted");
        if later > HOUR {
            let heir = world.claim("heir").await.expect("answered");
            assert!(matches!(heir, Claim::Granted { .. }), "the lease is not held for {later}");
        }
        world.tell().await;
        let cursor = world.log.cursor(TIME_CURSOR).await.expect("read").expect("set");
        assert!(cursor <= (STOPPED + HOUR + 5 * MINUTE).to_string(), "{cursor} by {later}");
        world.pass(4 * DAY).await;
        world.administration.issue_due().await.expect("issued");
        assert_eq!(world.closed("demo").await.as_deref(), Some("2019-07"), "by {later}");
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_start_issues_after_ten_minutes() {
    let folder = tempfile::tempdir().expect("a directory");
    let world = ran(&folder).await;
    let world = restart(folder.path(), world, STOPPED + 40 * DAY).await;
    world.pass(10 * MINUTE).await;
    world.administration.issue_due().await.expect("issued");
    assert_eq!(world.closed("demo").await.as_deref(), Some("2019-08"));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_start_sells_and_issues_nothing_until_it_is_accepted() {
    for earlier in [HOUR, 40 * DAY, 400 * DAY] {
        let folder = tempfile::tempdir().expect("a directory");
        let world = ran(&folder).await;
        let world = restart(folder.path(), world, STOPPED - earlier).await;
        let what = || ChangeKind::SetRetention { days: 7 };
        let error = world.change("demo", "retention", what()).await.expect_err("refused");
        assert!(error.is_of_clock() && error.to_string().contains("accept-clock"), "{error}");
        // Nothing else is.
        world.join("demo", "b").await.expect("decided");
        world.leave("demo", "b").await.expect("decided");
        world.create("demo", "new").await.expect("decided");
        world.usage("demo").await;
        world.log_in("demo", None).await.expect("counted");
        world.report("demo", 9).await.expect("counted");
        world.administration.publish_all().await.expect("published");
        world.claim("heir").await.expect("granted");
        let cursor = world.log.cursor(TIME_CURSOR).await.expect("read");
        world.tell().await;
        assert_eq!(world.log.cursor(TIME_CURSOR).await.expect("read"), cursor, "does not go back");
        world.pass(20 * MINUTE).await;
        world.change("demo", "retention", what()).await.expect_err("still refused");

        // Again, and the refusal survives a start.
        let world = restart(folder.path(), world, STOPPED - earlier + 20 * MINUTE).await;
        world.change("demo", "retention", what()).await.expect_err("refused");
        let entries = world.actions().await.len();
        let accept = async |id| {
            let accepted = world.administration.accept_clock(&request_id(id), actor()).await;
            accepted.expect("accepted")
        };
        let accepted = accept("one").await;
        assert_eq!(accepted.after.as_millis(), STOPPED - earlier + 20 * MINUTE);
        assert!(accepted.before.as_millis() > STOPPED - 10 * MINUTE, "{accepted:?}");
        world.change("demo", "retention", what()).await.expect("changed");
        world.pass(MINUTE).await;
        assert_eq!(accept("one").await, accepted, "a repetition");
        assert_eq!(accept("two").await.after.as_millis(), world.machine.wall());
        let actions = world.actions().await;
        assert_eq!(actions[entries..], ["AcceptClock", "SetMessageRetention", "AcceptClock"]);

        // Later starts are compared with the accepted time.
        let later = STOPPED - earlier + HOUR;
        let world = restart(folder.path(), world, later).await;
        sell(&world, "later").await.expect("changed");
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_start_sells_again_once_the_recorded_instant_is_reached() {
    let folder = tempfile::tempdir().expect("a directory");
    let what = || ChangeKind::SetRetention { days: 7 };
    for (number, set) in [None, Some(HOUR)].into_iter().enumerate() {
        let folder = folder.path().join(number.to_string());
        let place = Place::directory(&folder);
        let world = World::open(&place, Machine::at(NOON)).await;
        world.change("demo", "create", ChangeKind::Create).await.expect("created");
        world.pass(DAY).await;
        let world = restart(&folder, world, NOON + DAY - HOUR).await;
        world.change("demo", "retention", what()).await.expect_err("refused");
        match set {
            // By the passing of time, or by a correction of the clock.
            None => world.pass(HOUR).await,
            Some(set) => world.machine.set(set),
        }
        world.change("demo", "retention", what()).await.expect("changed");
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instant_is_recorded_only_after_ten_minutes_that_agree() {
    let folder = tempfile::tempdir().expect("a directory");
    let place = Place::directory(folder.path());
    let world = World::open(&place, Machine::at(NOON)).await;
    world.change("demo", "create", ChangeKind::Create).await.expect("created");
    // Forty days ahead, for nine minutes.
    let world = restart(folder.path(), world, NOON + 40 * DAY).await;
    world.pass(9 * MINUTE).await;
    let world = restart(folder.path(), world, NOON + HOUR).await;
    sell(&world, "one").await.expect("forty days ahead was not recorded");
    // Ahead while the process runs, without end.
    world.pass(11 * MINUTE).await;
    world.machine.set(40 * DAY);
    world.pass(DAY).await;
    let error = sell(&world, "two").await.expect_err("refused");
    assert!(error.is_of_clock(), "{error}");
    let world = restart(folder.path(), world, NOON + 2 * DAY).await;
    sell(&world, "two").await.expect("the time ahead was not recorded");
    world.pass(11 * MINUTE).await;
    let world = restart(folder.path(), world, NOON + 2 * DAY).await;
    let error = sell(&world, "three").await.expect_err("refused");
    assert!(error.is_of_clock(), "{error}");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_set_on_purpose_is_accepted_while_the_process_runs() {
    for place in [None, Some(tempfile::tempdir().expect("a directory"))] {
        let store = place.as_ref().map_or(Place::Memory, |it| Place::directory(it.path()));
        let world = World::open(&store, Machine::at(NOON)).await;
        world.change("demo", "create", ChangeKind::Create).await.expect("created");
        world.pass(HOUR).await;
        for (id, set) in [("one", 40 * DAY), ("two", -39 * DAY)] {
            let before = world.ledger_now().await;
            world.machine.set(set);
            let what = || ChangeKind::SetRetention { days: 7 };
            world.change("demo", id, what()).await.expect_err("refused");
            let accepted = world.administration.accept_clock(&request_id(id), actor()).await;
            let accepted = accepted.expect("accepted");
            assert!((before - accepted.before.as_millis()).abs() <= MINUTE, "{accepted:?}");
            assert_eq!(accepted.after.as_millis(), world.machine.wall());
            assert_eq!(world.ledger_now().await, world.machine.wall());
            world.change("demo", id, what()).await.expect("changed");
            // Like after a start.
            let due = world.administration.issue_due().await;
            assert_eq!(due.is_err(), set > 0, "{due:?}");
            world.pass(10 * MINUTE).await;
            world.administration.issue_due().await.expect("issued");
        }
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_store_has_its_recorded_instant() {
    let folder = tempfile::tempdir().expect("a directory");
    let world = ran(&folder).await;
    let mut copy = world.ledger.snapshot().await.expect("a copy");
    let other = tempfile::tempdir().expect("a directory");
    let path = other.path().join("imquota.redb");
    let mut file = std::fs::File::create(path).expect("creates");
    std::io::copy(&mut copy, &mut file).expect("copied");
    world.close().await;
    let place = Place::directory(other.path());
    let world = World::open(&place, Machine::at(STOPPED - DAY)).await;
    let error = world.change("demo", "new", ChangeKind::SetRetention { days: 7 }).await;
    assert!(error.expect_err("refused").is_of_clock());
    world.close().await;
}
