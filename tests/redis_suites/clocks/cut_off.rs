//! The cut-off of a month, on nodes with clocks five seconds apart: exactly the logins with the
//! outcome counted are in the statement, in a race for each of many apps.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use imquota::clock::{Clock, SystemClock};
use imquota::domain::decision::Mode;
use imquota::domain::metering::{Login, MeterOutcome};
use imquota::domain::time::Timestamp;
use tokio::task::JoinSet;

use super::world::{AUGUST, DAY, HOUR, SECOND};
use crate::support::moved_clock::MovedClock;
use crate::support::redis::Cluster;
use crate::support::{Place, Rng, Service, app, seed, user};

const APPS: usize = 1000;
const TASKS: usize = 8;
/// The instant at which the statement of August becomes final.
const FINAL: i64 = AUGUST + 33 * DAY;
/// The offset by which each master is behind the sidecar.
const BEHIND: [i64; 3] = [0, 5 * SECOND, 2 * SECOND];
/// The time between the start of the race and the cut-off.
const BEFORE: i64 = 3 * SECOND;

/// A running clock, a number of milliseconds behind the real one.
struct Behind(AtomicI64);

impl Clock for Behind {
    fn now(&self) -> Timestamp {
        let behind = self.0.load(Ordering::SeqCst);
        Timestamp::from_millis(SystemClock.now().as_millis() - behind)
    }
}

/// Lets all clocks run from an instant on.
fn run_from(at: i64, sidecar: &Behind, nodes: &[MovedClock; 3]) {
    let behind = SystemClock.now().as_millis() - at;
    sidecar.0.store(behind, Ordering::SeqCst);
    for (node, more) in nodes.iter().zip(BEHIND) {
        node.run_behind(Duration::from_millis((behind + more).unsigned_abs()));
    }
}

/// Records logins of new users, in any app, until the end; returns the number counted in each app,
/// and the number that was too late.
async fn log_in(
    service: Arc<Service>,
    task: usize,
    end: Arc<AtomicBool>,
    counts: Arc<Mutex<HashMap<usize, [u64; 2]>>>,
) {
    let mut rng = Rng::new(seed(17) + task as u64);
    let mut number = 0;
    let at = Some(Timestamp::from_millis(FINAL - 2 * DAY - HOUR));
    while !end.load(Ordering::SeqCst) {
        number += 1;
        let of = rng.below(APPS);
        let logins = vec![Login { user: user(format!("u-{task}-{number}")), at }];
        let deadline = service.deadline();
        let metered = service
            .engine
            .record_logins(app(&format!("race-{of}")), Mode::Enforce, logins, deadline)
            .await;
        let is_late = match metered.expect("metered").outcomes[0] {
            MeterOutcome::Counted => 0,
            MeterOutcome::TooLate => 1,
            other => panic!("{other:?}"),
        };
        counts.lock().expect("whole").entry(of).or_default()[is_late] += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_counted_login_is_in_the_statement() {
    let nodes = [0; 3].map(|_| MovedClock::new());
    let cluster = Cluster::start_with_clocks([&nodes[0], &nodes[1], &nodes[2]]);
    let clock = Arc::new(Behind(AtomicI64::new(0)));
    run_from(FINAL - 3 * DAY, &clock, &nodes);
    let place = Place::Redis(cluster.url());
    let mut services = Vec::new();
    for _ in 0..2 {
        let catalog = imquota::catalog::builtin();
        services.push(Arc::new(Service::open_any(&place, clock.clone(), catalog).await));
    }
    for number in 0..APPS {
        services[0].register(&app(&format!("race-{number}")), "r0").await.expect("registered");
    }
    run_from(FINAL - BEFORE, &clock, &nodes);
    let (end, counts) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::default()));
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let service = services[task % 2].clone();
        tasks.spawn(log_in(service, task, end.clone(), counts.clone()));
    }
    // Both sidecars issue as soon as the clock of some node allows it.
    let mut issuers = JoinSet::new();
    for service in &services {
        let service = service.clone();
        issuers.spawn(async move {
            while service.engine.local_now().as_millis() < FINAL + SECOND
                || service.administration.issue_due().await.expect("issued").is_none()
            {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
    }
    issuers.join_all().await;
    end.store(true, Ordering::SeqCst);
    tasks.join_all().await;

    let counts = counts.lock().expect("whole").clone();
    let (mut counted, mut late) = (0, 0);
    for number in 0..APPS {
        let month = Some("2019-08".parse().expect("a month"));
        let app = app(&format!("race-{number}"));
        let sealed = services[1].administration.statement(&app, month).await;
        let statement = sealed.expect("a statement").statement;
        assert!(statement.is_final, "{app}");
        let [of_app, late_of_app] = counts.get(&number).copied().unwrap_or_default();
        let dau: u64 = statement.days.iter().map(|day| day.figures.dau).sum();
        assert_eq!(dau, of_app, "{app}, IMQUOTA_SEED={}", seed(17));
        counted += of_app;
        late += late_of_app;
    }
    println!("{counted} counted, {late} too late");
    assert!(counted > 1000 && late > 1000, "{counted} counted, {late} too late: no race");
}
