//! Stores in this process on a machine whose clock is wrong for a while: after its correction the
//! state is as if it had never been wrong, or calls were refused. Only calls that depend on the
//! time are refused.

mod restarts;
mod world;

use std::fmt::Debug;
use std::time::Duration;

use crate::support::Place;
use imquota::engine::admin::{AdminError, ChangeKind};
use world::{DAY, HOUR, JUNE, MINUTE, Machine, OfClock, SECOND, World, assert_same};

const APPS: [&str; 3] = ["paid", "stopped", "trial"];
/// When the app `paid` buys: 2019-07-20 12:00.
const BOUGHT: i64 = JUNE + 49 * DAY + 12 * HOUR;
/// Half a second before the event that this ends in seven days: 2019-08-12 24:00.
const ALMOST: i64 = JUNE + 73 * DAY - 500;

/// A call while the clock is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Take(&'static str),
    Create(&'static str),
    Release(&'static str),
    Read,
    ReadStatement,
    Reload,
    Sale,
    Retention,
    Login,
    LateLogin,
    Sample,
    End,
    HolderKilled,
    Issue,
}

const ACTS: [Act; 18] = [
    Act::Take("paid"),
    Act::Take("stopped"),
    Act::Take("trial"),
    Act::Create("paid"),
    Act::Create("trial"),
    Act::Release("paid"),
    Act::Release("stopped"),
    Act::Release("trial"),
    Act::Read,
    Act::ReadStatement,
    Act::Reload,
    Act::Sale,
    Act::Retention,
    Act::Login,
    Act::LateLogin,
    Act::Sample,
    Act::End,
    Act::HolderKilled,
];

/// The result of the call; `None` if it was refused because of the clock.
fn came<T: Debug, E: Debug + OfClock>(result: Result<T, E>) -> Option<String> {
    match result {
        Err(error) if error.is_of_clock() => None,
        result => Some(format!("{result:?}")),
    }
}

impl Act {
    async fn on(self, world: &World) -> Option<String> {
        match self {
            Self::Take(app) => came(world.join(app, "new").await),
            Self::Create(app) => came(world.create(app, "new").await),
            Self::Release(app) => came(world.leave(app, "old").await),
            Self::Read => Some(world.usage("paid").await),
            Self::ReadStatement => came(world.statement("paid", "2019-08").await),
            Self::Reload => {
                let mut catalog = imquota::catalog::builtin();
                "another".clone_into(&mut catalog.version);
                match world.administration.change_catalog(catalog).await {
                    Ok(_) => came(world.administration.publish_all().await),
                    refused => came(refused.map(drop)),
                }
            }
            Self::Sale => came(world.buy("paid", "add-on", "members-2000").await),
            Self::Retention => {
                came(world.change("paid", "retention", ChangeKind::SetRetention { days: 30 }).await)
            }
            Self::Login => came(world.log_in("paid", None).await),
            Self::LateLogin => came(world.log_in("trial", Some(ALMOST - 2 * DAY)).await),
            Self::Sample => came(world.report("paid", 7).await),
            Self::End => {
                world.tell().await;
                Some(String::new())
            }
            Self::HolderKilled => came(world.claim("heir").await),
            Self::Issue => came(world.administration.issue_due().await),
        }
    }

    /// Whether the call is refused while the clock is wrong by that amount; `None`: that depends on
    /// the published past.
    fn is_refused(self, set: i64) -> Option<bool> {
        match self {
            Self::Take("paid") | Self::Create("paid") if set > DAY => Some(true),
            Self::Take("paid") | Self::Create("paid") if set < -DAY => None,
            Self::Take("stopped")
            | Self::Reload
            | Self::Sale
            | Self::Retention
            | Self::Login
            | Self::LateLogin
            | Self::Sample
            | Self::HolderKilled => Some(true),
            _ => Some(false),
        }
    }
}

/// A store with an app with purchases, one whose service has stopped, and one without purchases.
async fn begin(place: &Place) -> World {
    let world = World::open(place, Machine::at(JUNE)).await;
    for app in APPS {
        world.change(app, "create", ChangeKind::Create).await.expect("created");
    }
    world.buy("stopped", "buy", "professional").await.expect("bought");
    for app in APPS {
        world.create(app, "g").await.expect("a group");
        for member in ["a", "old"] {
            world.join(app, member).await.expect("joined");
        }
    }
    world.pass(BOUGHT - JUNE).await;
    world.administration.issue_due().await.expect("issued");
    world.buy("paid", "buy", "professional").await.expect("bought");
    world.tell().await;
    world.pass(ALMOST - BOUGHT - SECOND).await;
    world.administration.issue_due().await.expect("issued");
    world.tell().await;
    world.claim("dead").await.expect("granted");
    world.pass(SECOND).await;
    world
}

/// Runs both until August is closed.
async fn finish(world: &World) -> String {
    let mut all = world.digest(&APPS).await;
    for days in [1, 5, 5, 10, 10] {
        world.pass(days * DAY).await;
        world.tell().await;
        world.administration.issue_due().await.expect("issued");
    }
    all += &world.digest(&APPS).await;
    for app in APPS {
        let statement = world.statement(app, "2019-08").await.expect("a statement");
        all += &String::from_utf8(statement).expect("text");
    }
    all
}

/// Sets the clock off by a duration, runs for a time, and sets it right again.
async fn wrong_for_a_while(places: [Place; 2], set: i64, lasts: i64) {
    let (wrong, right) = (begin(&places[0]).await, begin(&places[1]).await);
    let name = format!("set by {} h for {} s", set / HOUR, lasts / SECOND);
    assert_same(&wrong.digest(&APPS).await, &right.digest(&APPS).await, "at the beginning");
    wrong.machine.set(set);
    // The calls are made after half of the time.
    for world in [&wrong, &right] {
        world.pass(lasts / 2).await;
    }
    let mut refused = Vec::new();
    for act in [&ACTS[..], &[Act::Issue]].concat() {
        let came = act.on(&wrong).await;
        if let Some(expected) = act.is_refused(set) {
            assert_eq!(came.is_none(), expected, "{act:?} {name}: {came:?}");
        }
        match came {
            Some(came) => assert_eq!(Some(came), act.on(&right).await, "{act:?} {name}"),
            None => refused.push(act),
        }
    }
    for world in [&wrong, &right] {
        world.pass(lasts - lasts / 2).await;
    }
    wrong.machine.set(-set);
    for world in [&wrong, &right] {
        // The lease of the dead holder ends.
        world.pass(20 * SECOND).await;
        world.tell().await;
    }
    for act in refused {
        let came = act.on(&wrong).await;
        assert!(came.is_some(), "{act:?} {name}: still refused");
        assert_eq!(came, act.on(&right).await, "{act:?} {name}");
    }
    assert_same(&finish(&wrong).await, &finish(&right).await, &name);
    for world in [wrong, right] {
        world.close().await;
    }
}

async fn wrong_by(set: i64) {
    for lasts in [SECOND, 10 * MINUTE] {
        for set in [set, -set] {
            wrong_for_a_while([Place::Memory, Place::Memory], set, lasts).await;
            let folders = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
            let places = folders.each_ref().map(|folder| Place::directory(folder.path()));
            wrong_for_a_while(places, set, lasts).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong_by_an_hour_leaves_no_trace() {
    wrong_by(HOUR).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong_by_forty_days_leaves_no_trace() {
    wrong_by(40 * DAY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong_by_four_hundred_days_leaves_no_trace() {
    wrong_by(400 * DAY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_right_within_five_minutes_is_used() {
    for set in [-5 * MINUTE, -SECOND, SECOND, 5 * MINUTE] {
        let world = begin(&Place::Memory).await;
        world.machine.set(set);
        // Logged, and nothing is refused.
        let skew = Duration::from_millis(set.unsigned_abs()).as_secs_f64();
        assert!((world.ledger_skews().abs() - skew).abs() < 0.001, "{}", world.ledger_skews());
        for act in ACTS.iter().filter(|act| **act != Act::HolderKilled) {
            assert!(act.on(&world).await.is_some(), "{act:?} {set}");
        }
        world.pass(MINUTE).await;
        assert!(world.ledger_skews().abs() < 0.001, "read again");
        assert_eq!(world.ledger_now().await, world.machine.wall());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_name_the_remedy() {
    let world = begin(&Place::Memory).await;
    world.machine.set(DAY);
    let error = world.buy("paid", "add-on", "members-2000").await.expect_err("refused");
    assert!(matches!(error, AdminError::Directory(_)), "{error:?}");
    let error = error.to_string();
    assert!(error.contains("86400 s apart") && error.contains("accept-clock"), "{error}");
    let error = world.join("stopped", "new").await.expect_err("refused").to_string();
    assert!(error.contains("86400 s apart") && error.contains("nothing was done"), "{error}");
}
