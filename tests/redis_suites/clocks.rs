//! Wrong clocks, over Redis: the server's or the sidecar's, ahead or behind, for a second or for
//! ten minutes. After the correction the state is as if the clock had never been wrong, or calls
//! were refused; and no other calls are refused.

mod apart;
mod cut_off;
mod world;

use crate::support::moved_clock::MovedClock;
use crate::support::redis::{Cluster, Server};
use crate::support::{app, order};
use imquota::domain::decision::Mode;
use imquota::domain::id::AppId;
use imquota::domain::metering::MeterOutcome;
use imquota::events::{Claim, EventLog as _};
use imquota::ledger::LedgerError;
use world::{AUGUST, DAY, HOUR, SECOND, World, create, join, lease, leave};

const MINUTE: i64 = 60 * SECOND;

/// The calls while a clock is wrong, and their expected remains.
struct Case<'a> {
    world: &'a World,
    /// An app with an edition until the middle of September.
    paid: AppId,
    /// An unregistered app: its limits have no end.
    trial: AppId,
    name: String,
    /// The difference of the clocks.
    apart: i64,
}

impl Case<'_> {
    /// Returns whether both clocks are on the same day, and in the same segment of the limits.
    fn is_close(&self) -> bool {
        self.apart.abs() <= HOUR
    }

    async fn prepare(&self) {
        let (world, paid) = (self.world, &self.paid);
        world.register(paid).await;
        for app in [paid, &self.trial] {
            world.take(app, create("g")).await.expect("created");
            world.take(app, join("g", &["a", "leaver"])).await.expect("joined");
        }
        assert_eq!(world.log_in(paid, "a", None).await, Ok(MeterOutcome::Counted));
        world.tell().await;
        assert!(matches!(world.claim("killed").await, Ok(Claim::Granted { .. })));
    }

    /// Makes all calls that succeed, and all that are refused, while a clock is wrong.
    async fn try_all(&self, round: usize) {
        let Self { world, paid, trial, name, .. } = self;
        let member = format!("b{round}");
        let taken = world.take(trial, join("g", &[&member])).await;
        assert!(taken.is_ok(), "{name}: limits without end do not depend on the time: {taken:?}");
        let taken = world.take(paid, join("g", &[&member])).await;
        let created = world.take(trial, create(&format!("new{round}"))).await;
        for taken in [taken, created] {
            match taken {
                Ok(denied) => assert!(self.is_close() && !denied, "{name}: a take by the time"),
                Err(error) => assert!(error.is_clock_skew() && !self.is_close(), "{name}: {error}"),
            }
        }
        // Held facts, releases and reads do not depend on the time.
        let held = world.take(paid, join("g", &["a"])).await;
        assert!(held.is_ok(), "{name}: {held:?}");
        let left = world.take(paid, leave("g", &["leaver"])).await;
        assert!(left.is_ok(), "{name}: {left:?}");
        world.members(paid, "g").await;
        world.service.administration.app(paid).await.expect("a read");
        if let Ok(shown) = world.service.administration.statement(paid, None).await {
            assert!(!shown.statement.is_final, "{name}");
        }
        // Equal limits are published already; others are not published now.
        world.reload(&World::catalog(1)).await.expect("a reload");
        let other = world.reload(&World::catalog(2)).await;
        assert!(other.is_err_and(|error| error.contains("s apart")), "{name}: published");
        world.reload(&World::catalog(1)).await.expect("a reload");

        let sold = world.service.buy(paid, "skewed", order("renew"), 1).await;
        assert!(sold.is_err_and(|error| error.contains("s apart")), "{name}: sold");
        let counted = world.log_in(paid, "late", None).await;
        assert!(counted.is_err_and(|error| error.is_clock_skew()), "{name}: a login");
        let issued = world.service.administration.issue_due().await;
        assert!(issued.is_err_and(|error| error.to_string().contains("s apart")), "{name}: issued");
        world.tell().await;
        assert!(world.claim("other").await.is_err(), "{name}: a lease");
    }

    /// Checks that the state is as if the clock had never been wrong.
    async fn check(&self, rounds: usize, events: u64) {
        let Self { world, paid, trial, name, .. } = self;
        assert_eq!(world.head().await, events, "{name}: an event was published");
        let view = world.service.administration.app(paid).await.expect("an app");
        assert_eq!(view.record.sales.purchases.len(), 1, "{name}");
        assert_eq!(view.record.closed_through, None, "{name}");
        let joined = if self.is_close() { rounds } else { 0 };
        assert_eq!(world.members(paid, "g").await, 1 + joined, "{name}");
        assert_eq!(world.members(trial, "g").await, 2 + rounds, "{name}");
        let denied = world.take(paid, join("g", &["after"])).await;
        assert_eq!(denied, Ok(false), "{name}: limits without their past");
        assert_eq!(world.log_in(paid, "a", None).await, Ok(MeterOutcome::AlreadyCounted), "{name}");
        assert_eq!(world.log_in(paid, "late", None).await, Ok(MeterOutcome::Counted), "{name}");
        let today = world.figures_of_today(paid).await;
        assert_eq!((today.dau, today.groups_peak, today.groups_net_new), (2, 1, 1), "{name}");
        // The holder was killed; another sidecar takes over within the lease.
        world.pass(30 * SECOND);
        assert!(matches!(world.claim("other").await, Ok(Claim::Granted { .. })), "{name}");
        world.claim_for("other", 0).await.expect("given up");
    }
}

/// Runs every difference, of either clock, for a second and for ten minutes.
async fn clocks_may_be_wrong(world: &World) {
    let mut number = 0;
    for apart in [HOUR, -HOUR, 40 * DAY, -40 * DAY, 400 * DAY, -400 * DAY] {
        for is_servers in [true, false] {
            for rounds in [1, 2] {
                number += 1;
                let case = Case {
                    world,
                    paid: app(&format!("paid-{number}")),
                    trial: app(&format!("trial-{number}")),
                    name: format!("{apart} ms, server's: {is_servers}, rounds: {rounds}"),
                    apart,
                };
                case.prepare().await;
                let events = world.head().await;
                world.shift(apart, is_servers);
                for round in 0..rounds {
                    case.try_all(round).await;
                    world.pass(if rounds == 1 { SECOND } else { 5 * MINUTE });
                }
                world.shift(0, is_servers);
                case.check(rounds, events).await;
            }
        }
    }
    each_end_is_one_event(world, number).await;
    the_bill_is_the_same_for_all(world, number).await;
}

/// All editions end on the same day, and each end is one event at its instant.
async fn each_end_is_one_event(world: &World, apps: usize) {
    let before = world.head().await;
    world.go_to(AUGUST + 60 * DAY);
    world.tell().await;
    let kinds = world.kinds_after(before).await;
    let stopped = kinds.iter().filter(|kind| **kind == "service_stopped").count();
    assert_eq!(stopped, apps, "{kinds:?}");
}

async fn the_bill_is_the_same_for_all(world: &World, apps: usize) {
    world.service.administration.issue_due().await.expect("issued");
    for number in 1..=apps {
        let paid = app(&format!("paid-{number}"));
        let month = Some("2019-08".parse().expect("a month"));
        let sealed = world.service.administration.statement(&paid, month).await;
        let statement = sealed.expect("a statement").statement;
        assert!(statement.is_final);
        let dau: u64 = statement.days.iter().map(|day| day.figures.dau).sum();
        assert_eq!((dau, statement.total_fen), (2, 99_900), "{number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_clock_changes_nothing_on_a_single_server() {
    let moved = MovedClock::new();
    let server = Server::start_with_clock(&[], &moved);
    let world = World::open(&format!("redis://{}/0", server.address()), &moved).await;
    clocks_may_be_wrong(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_clock_changes_nothing_in_a_cluster() {
    let moved = MovedClock::new();
    let cluster = Cluster::start_with_clock(&moved);
    let world = World::open(&cluster.url(), &moved).await;
    clocks_may_be_wrong(&world).await;
}

/// Facts that were written while all clocks were wrong.
#[tokio::test(flavor = "multi_thread")]
async fn facts_of_wrong_clocks_are_corrected() {
    let moved = MovedClock::new();
    let server = Server::start_with_clock(&[], &moved);
    let world = World::open(&format!("redis://{}/0", server.address()), &moved).await;
    let paid = app("paid");
    world.register(&paid).await;
    world.take(&paid, create("g")).await.expect("created");
    assert_eq!(world.log_in(&paid, "a", None).await, Ok(MeterOutcome::Counted));
    world.tell().await;
    let start = world.millis();

    // Both clocks are ahead: the sidecar cannot detect that.
    world.go_to(start + 20 * DAY);
    world.service.change(&paid, "r9", world::retention(30)).await.expect("changed");
    world.tell().await;
    assert!(matches!(world.claim_for("dead", DAY).await, Ok(Claim::Granted { .. })));
    world.go_to(start + SECOND);
    // The limits hold before the instant of their publication too.
    assert_eq!(world.take(&paid, join("g", &["b"])).await, Ok(false));
    // The cursor is reset, and the ends are published again in time; past events are not.
    let before = world.head().await;
    world.tell().await;
    assert_eq!(world.head().await, before);
    world.go_to(AUGUST + 60 * DAY);
    world.tell().await;
    let kinds = world.kinds_after(before).await;
    assert_eq!(kinds.iter().filter(|kind| **kind == "service_stopped").count(), 1, "{kinds:?}");
    // A lease that ends later than possible has no holder.
    world.go_to(start + 2 * SECOND);
    assert!(matches!(world.claim("alive").await, Ok(Claim::Granted { .. })));
    let kept = world.log.advance(&lease("alive"), 7).await;
    assert_eq!(kept, Ok(true));
}

/// Limits in the format of the previous version.
#[tokio::test(flavor = "multi_thread")]
async fn limits_of_the_previous_version_are_read() {
    let moved = MovedClock::new();
    let server = Server::start_with_clock(&[], &moved);
    let world = World::open(&format!("redis://{}/0", server.address()), &moved).await;
    let paid = app("paid");
    world.register(&paid).await;
    world.take(&paid, create("g")).await.expect("created");
    let key = server.cli(&["KEYS", "q1{*/groups}limits"]);
    let line = server.cli(&["HGET", &key, "line"]);
    let (begins, old) = line.split_once(';').expect("segments");
    assert!(begins.starts_with("0 0 15"), "{line}");
    assert!(server.cli(&["HGET", &key, "past"]).contains(';'), "the past is kept");
    server.cli(&["HSET", &key, "line", old]);
    server.cli(&["HDEL", &key, "past"]);
    assert_eq!(world.take(&paid, join("g", &["a"])).await, Ok(false));
    // The next start writes the current format.
    world.publish_at_start().await;
    assert_eq!(server.cli(&["HGET", &key, "line"]), line);
    assert_eq!(world.take(&paid, join("g", &["b"])).await, Ok(false));
    let refused = world.service.apply(&paid, Mode::Enforce, join("none", &["b"])).await;
    assert!(matches!(refused, Err(LedgerError::GroupNotFound(_))));
}
