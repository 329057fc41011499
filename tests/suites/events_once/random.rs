//! Many random sales, refunds and backdated changes around cursors that move at any time: each end
//! is exactly one event, by a plain model that shares no code with the calendar or the timeline
//! under test.
//!
//! The model publishes in the order of causes: an end at its instant, and after a change every new
//! end that lies in the past by then.

use imquota::domain::catalog::AfterGrace;
use imquota::domain::event::{EventKind, NumberedEvent};
use imquota::domain::id::AppId;
use imquota::domain::time::Timestamp;
use imquota::engine::admin::{Change, ChangeKind};
use tokio::task::JoinSet;

use super::{DAY, Sidecar, World};
use crate::model::entitlement::{Order, Purchases, Swap};
use crate::model::rules::BUILT_IN;
use crate::support::{Rng, actor, app, exchange, order, request_id, seed};

const APPS: usize = 24;
const STEPS: usize = 500;
/// The most by which the clock is set back, in milliseconds: below the five minutes from which on
/// sales are refused.
const SET_BACK_MAX: i64 = 4 * 60 * 1000;

/// An app in the model.
#[derive(Clone)]
struct Modelled {
    app: AppId,
    bought: Purchases,
    last_at: i64,
    published: Vec<(i64, String)>,
}

/// The ends of purchases before an instant.
fn behind(bought: &Purchases, instant: i64) -> Vec<(i64, String)> {
    bought.ends(&BUILT_IN).into_iter().filter(|(at, _)| *at <= instant).collect()
}

impl Modelled {
    /// Lets time pass.
    fn pass(&mut self, from: i64, to: i64) {
        self.published.extend(behind(&self.bought, to).into_iter().filter(|(at, _)| *at > from));
    }

    /// Makes a change after all events up to an instant are published.
    fn change(&mut self, passed: i64, change: impl FnOnce(&mut Purchases) -> bool) -> bool {
        let before = behind(&self.bought, passed);
        let done = change(&mut self.bought);
        let after = behind(&self.bought, passed);
        self.published.extend(after.into_iter().filter(|end| !before.contains(end)));
        done
    }
}

async fn make(sidecar: &Sidecar, app: &AppId, number: usize, at: i64, what: ChangeKind) -> bool {
    let (app, request_id) = (app.clone(), request_id(&format!("r{number}")));
    let effective_at = Some(Timestamp::from_millis(at));
    let change = Change { app, request_id, effective_at, what };
    sidecar.administration.change(change, actor()).await.is_ok()
}

/// Makes a random change of an app and of the model, sometimes backdated.
async fn step(
    rng: &mut Rng,
    sidecar: &Sidecar,
    of: &mut Modelled,
    number: usize,
    (now, passed): (i64, i64),
    requests: &mut Vec<usize>,
) {
    let back = if rng.percent(40) { rng.between(0, 50 * DAY) } else { 0 };
    let at = (now - back).max(of.last_at);
    if at > now {
        return;
    }
    let months = u32::try_from(rng.between(1, 2)).expect("small");
    let wanted = rng.below(12);
    let (what, done) = if wanted < 4 && of.bought.count() > 0 {
        let purchase = of.bought.count() - 1 - rng.below(of.bought.count().min(3));
        let what = ChangeKind::Refund { purchase: request_id(&format!("r{}", requests[purchase])) };
        (what, of.change(passed, |bought| bought.refund(&BUILT_IN, purchase, at).is_ok()))
    } else if wanted > 9 {
        let (swap, replaced, new) = match wanted {
            10 => (Swap::AddOn(3, 0), "members-2000", "groups-per-user-400"),
            _ => (Swap::AddOn(0, 3), "groups-per-user-400", "members-2000"),
        };
        let what = ChangeKind::Exchange(exchange(Some(replaced), new, months));
        let swap =
            |bought: &mut Purchases| bought.exchange(&BUILT_IN, swap, months, at, i64::MAX).is_ok();
        (what, of.change(passed, swap))
    } else {
        let (wanted, name) = match wanted {
            4 | 5 => (Order::Edition(1), "professional"),
            6 | 7 | 0 | 1 => (Order::Renewal, "renew"),
            8 => (Order::AddOn(3), "members-2000"),
            _ => (Order::AddOn(0), "groups-per-user-400"),
        };
        let what = ChangeKind::Purchase { order: order(name), months, price_fen: None };
        (what, of.change(passed, |bought| bought.order(&BUILT_IN, wanted, months, at).is_ok()))
    };
    let is_purchase = !matches!(what, ChangeKind::Refund { .. });
    let made = make(sidecar, &of.app, number, at, what.clone()).await;
    assert_eq!(made, done, "{}: {what:?} at {at}", of.app);
    if made {
        of.last_at = at;
        if is_purchase {
            requests.push(number);
        }
    }
}

fn published_end(what: &EventKind) -> Option<String> {
    Some(match what {
        EventKind::GraceBegan { .. } => "grace".to_owned(),
        EventKind::ServiceStopped { .. } | EventKind::EditionEnded { .. } => "end".to_owned(),
        EventKind::AddOnEnded { add_on, .. } => add_on.to_string(),
        _ => return None,
    })
}

async fn run(after_grace: AfterGrace, seed: u64) {
    let mut rng = Rng::new(seed);
    let mut catalog = imquota::catalog::builtin();
    catalog.validity.after_grace = after_grace;
    let world = World::with(catalog);
    let sidecars = [world.sidecar(), world.sidecar()];
    world.tell(&sidecars[0]).await;
    let mut now = world.clock.millis();
    let mut apps: Vec<(Modelled, Vec<usize>)> = Vec::new();
    for number in 0..APPS {
        let app = app(&format!("app-{number:02}"));
        sidecars[0].change(&app, "create", ChangeKind::Create).await;
        let of =
            Modelled { app, bought: Purchases::default(), last_at: i64::MIN, published: vec![] };
        apps.push((of, Vec::new()));
    }
    // The instant up to which the model has published ends.
    let mut passed = now;
    for number in 0..STEPS {
        match rng.below(10) {
            0..5 => now += rng.between(0, 3 * DAY / 2),
            5..7 => {
                let mut telling = JoinSet::new();
                for sidecar in &sidecars[..=rng.below(2)] {
                    let (world, sidecar) = (world.clone(), sidecar.clone());
                    telling.spawn(async move { world.tell(&sidecar).await });
                }
                telling.join_all().await;
                // The clock is set back within the tolerance, so that a change is recorded for an
                // instant that the cursor has passed.
                if rng.percent(50) {
                    now = passed - rng.between(0, SET_BACK_MAX);
                }
            }
            _ => {
                let index = rng.below(APPS);
                let (of, requests) = &mut apps[index];
                let sidecar = &sidecars[rng.below(2)];
                step(&mut rng, sidecar, of, number, (now, passed), requests).await;
            }
        }
        world.clock.set(now);
        if now > passed {
            for (of, _) in &mut apps {
                of.pass(passed, now);
            }
            passed = now;
        }
    }
    now = passed + 100 * DAY;
    world.clock.set(now);
    for (of, _) in &mut apps {
        of.pass(passed, now);
    }
    world.tell(&sidecars[0]).await;
    compare(after_grace, &world.published(0).await, apps, seed);
}

/// Compares the published events with the model.
fn compare(
    after_grace: AfterGrace,
    published: &[NumberedEvent],
    mut apps: Vec<(Modelled, Vec<usize>)>,
    seed: u64,
) {
    let kinds: Vec<&str> = published.iter().map(|it| it.event.what.kind()).collect();
    let (wrong, right) = match after_grace {
        AfterGrace::Stop => ("edition_ended", "service_stopped"),
        AfterGrace::DefaultEdition => ("service_stopped", "edition_ended"),
    };
    assert!(!kinds.contains(&wrong) && kinds.contains(&right));
    for (of, _) in &mut apps {
        let of_app = published.iter().filter(|it| it.event.app.as_ref() == Some(&of.app));
        let ends =
            of_app.filter_map(|it| Some((it.event.at.as_millis(), published_end(&it.event.what)?)));
        let mut ends: Vec<_> = ends.collect();
        ends.sort();
        of.published.sort();
        assert_eq!(ends, of.published, "{} with IMQUOTA_SEED={seed}", of.app);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_end_is_published_exactly_once_for_any_order_of_sales_and_cursors() {
    let first = seed(1);
    for seed in first..first + 6 {
        run(AfterGrace::Stop, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_end_is_published_exactly_once_before_the_default_edition() {
    let first = seed(100);
    for seed in first..first + 3 {
        run(AfterGrace::DefaultEdition, seed).await;
    }
}
