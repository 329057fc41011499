//! Retention of events, and the reports that readers get for dropped ones: every store against a
//! plain model, with small bounds.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use imquota::clock::{Clock as _, SystemClock};
use imquota::domain::decision::{Reason, Subject};
use imquota::domain::event::{Count, Event, EventKind, NumberedEvent};
use imquota::domain::time::Timestamp;
use imquota::events::embedded::EmbeddedEvents;
use imquota::events::redis::RedisEvents;
use imquota::events::{EventLog, Retention};
use imquota::ledger::Ledger;
use imquota::ledger::embedded::Embedded;
use imquota::ledger::memory::Memory;
use imquota::ledger::redis::Redis;
use tempfile::TempDir;

use crate::support::redis::{Server, shared_cluster, shared_sentinels, shared_standalone};
use crate::support::{ManualClock, Rng, app, redis_options, seed};

/// Keys of the log in Redis.
const KEYS: [&str; 3] = ["q1{events}log", "q1{events}cursors", "q1{events}index"];
/// An interval far longer than the age at which changes are old.
const OLD: Duration = Duration::from_secs(40 * 24 * 60 * 60);
/// An embedded store drops nothing by age in its first ten minutes.
const SETTLED_AFTER: Duration = Duration::from_secs(11 * 60);
/// Small bounds, each of which a few hundred events reach many times.
pub const SMALL: Retention = Retention {
    limit_events_max: 40,
    limit_events_per_app_max: 8,
    changes_min: 20,
    changes_max: 60,
    changes_for: Duration::from_secs(30 * 24 * 60 * 60),
};

/// A log without events.
pub struct Fresh {
    pub log: Arc<dyn EventLog>,
    pub ledger: Arc<dyn Ledger>,
    _kept: Option<Box<dyn Any + Send + Sync>>,
}

#[allow(clippy::unused_async, reason = "all stores are opened alike")]
pub async fn memory(retention: Retention) -> Fresh {
    let ledger = settled(|clock| Memory::open(clock).expect("opens"));
    let log = Arc::new(EmbeddedEvents::over(ledger.store()).keeping(retention));
    Fresh { log, ledger: Arc::new(ledger), _kept: None }
}

#[allow(clippy::unused_async, reason = "all stores are opened alike")]
pub async fn embedded(retention: Retention) -> Fresh {
    let folder = TempDir::new().expect("a temporary folder");
    let ledger = settled(|clock| Embedded::open(folder.path(), clock).expect("opens"));
    let log = Arc::new(EmbeddedEvents::over(ledger.store()).keeping(retention));
    Fresh { log, ledger: Arc::new(ledger), _kept: Some(Box::new(folder)) }
}

/// A store that was opened long enough ago for irreversible changes.
fn settled<T>(open: impl FnOnce(Arc<ManualClock>) -> T) -> T {
    let now = SystemClock.now().as_millis();
    let before = i64::try_from(SETTLED_AFTER.as_millis()).expect("fits");
    let clock = ManualClock::at(now - before);
    let store = open(clock.clone());
    clock.set(now);
    store
}

pub async fn standalone(retention: Retention) -> Fresh {
    redis(&shared_standalone().url(), &shared_standalone().server, retention).await
}

pub async fn sentinel(retention: Retention) -> Fresh {
    let sentinels = shared_sentinels();
    redis(&sentinels.url(), sentinels.server(sentinels.master()), retention).await
}

pub async fn cluster(retention: Retention) -> Fresh {
    let cluster = shared_cluster();
    let node = cluster.node(cluster.master_of(cluster.slot_of(KEYS[0])));
    redis(&cluster.url(), node, retention).await
}

async fn redis(url: &str, server: &Server, retention: Retention) -> Fresh {
    forget_events(server);
    let ledger = Redis::open(redis_options(url), Arc::new(SystemClock)).await.expect("opens");
    let log = Arc::new(RedisEvents::over(ledger.store()).keeping(retention));
    Fresh { log, ledger: Arc::new(ledger), _kept: None }
}

/// Empties the log, before the store is opened.
pub fn forget_events(server: &Server) {
    server.cli(&["DEL", KEYS[0], KEYS[1], KEYS[2]]);
}

/// A change event: a current or an old one.
pub fn change(is_old: bool) -> Event {
    let now = SystemClock.now().as_millis();
    let ago = if is_old { i64::try_from(OLD.as_millis()).expect("fits") } else { 0 };
    let what = EventKind::AppCreated { request_id: "r".to_owned() };
    Event { at: Timestamp::from_millis(now - ago), app: Some(app("buyer")), what }
}

/// A limit event: a crossed threshold, or denials.
pub fn limit_event(app_id: &str, is_denial: bool) -> Event {
    let limit_id = "accounts_per_app".to_owned();
    let count = Count { limit_id, subject: Subject::App, used: 70, limit: 100 };
    let what = if is_denial {
        EventKind::Denied { sample: count, reason: Reason::AccountsPerApp, denials: 3 }
    } else {
        EventKind::LimitPassed { count, percent: 70 }
    };
    Event { at: SystemClock.now(), app: Some(app(app_id)), what }
}

/// A kept event in the model.
struct Kept {
    event: Event,
    /// The app of a limit event.
    limited_app: Option<String>,
    is_old: bool,
}

/// The specified behaviour, without an index.
#[derive(Default)]
struct Model {
    head: u64,
    kept: BTreeMap<u64, Kept>,
    dropped: BTreeMap<u64, &'static str>,
}

impl Model {
    fn append(&mut self, event: &Event, is_old: bool, bounds: &Retention) {
        self.head += 1;
        let is_limit = matches!(event.what.kind(), "limit_passed" | "denied");
        let limited_app = event.app.as_ref().filter(|_| is_limit).map(ToString::to_string);
        let kept = Kept { event: event.clone(), limited_app: limited_app.clone(), is_old };
        self.kept.insert(self.head, kept);
        let Some(app) = limited_app else {
            for _ in 0..2 {
                let changes = self.numbers(|it| it.limited_app.is_none());
                let count = changes.len() as u64;
                let is_beyond = count > bounds.changes_max
                    || (count > bounds.changes_min && self.kept[&changes[0]].is_old);
                if is_beyond {
                    self.forget(changes[0]);
                }
            }
            return;
        };
        let of_app = self.numbers(|it| it.limited_app.as_ref() == Some(&app));
        if of_app.len() as u64 > bounds.limit_events_per_app_max {
            self.forget(of_app[0]);
        }
        let of_all = self.numbers(|it| it.limited_app.is_some());
        if of_all.len() as u64 > bounds.limit_events_max {
            self.forget(of_all[0]);
        }
    }

    fn numbers(&self, of: impl Fn(&Kept) -> bool) -> Vec<u64> {
        self.kept.iter().filter(|(_, kept)| of(kept)).map(|(number, _)| *number).collect()
    }

    fn forget(&mut self, number: u64) {
        let kept = self.kept.remove(&number).expect("it was kept");
        self.dropped.insert(number, kept.event.what.kind());
    }

    /// The page for a reader who has read up to `after`.
    fn read(&self, after: u64, limit: usize) -> Vec<NumberedEvent> {
        let (mut events, mut read) = (Vec::new(), after);
        for (&number, kept) in self.kept.range(after + 1..).take(limit) {
            let before = self.kept.range(..number).next_back().map_or(0, |(before, _)| *before);
            let gap = self.dropped.range(before + 1..number);
            let kinds: BTreeSet<String> = gap.map(|(_, kind)| (*kind).to_owned()).collect();
            if read + 1 < number && !kinds.is_empty() {
                let (first, last) = (read + 1, number - 1);
                let kinds = kinds.into_iter().collect();
                let what = EventKind::EventsDropped { first, last, kinds };
                let event = Event { at: kept.event.at, app: None, what };
                events.push(NumberedEvent { number: last, event });
            }
            events.push(NumberedEvent { number, event: kept.event.clone() });
            read = number;
        }
        events
    }
}

/// A reader who continues and counts each number once.
struct Reader {
    at: u64,
    limit: usize,
    reported: usize,
}

impl Reader {
    async fn read_on(&mut self, log: &dyn EventLog, model: &Model) {
        let page = log.read(self.at, self.limit).await.expect("reads");
        for numbered in page.events {
            if let EventKind::EventsDropped { first, last, .. } = numbered.event.what {
                assert_eq!((first, last), (self.at + 1, numbered.number), "each number once");
                let mut range = model.dropped.range(first..=last).map(|(number, _)| *number);
                assert!((first..=last).all(|number| range.next() == Some(number)));
                self.reported += 1;
            } else {
                assert_eq!(numbered.number, self.at + 1, "no number is skipped without a report");
            }
            self.at = numbered.number;
        }
    }
}

/// A pseudo-random batch: floods of one app, unregistered apps, and changes.
fn batch(rng: &mut Rng, made_up: &mut usize) -> Vec<(Event, bool)> {
    let apps = ["ann", "bob", "carl"];
    let flood = rng.percent(20).then(|| apps[rng.below(3)]);
    let events = 1 + rng.below(25);
    (0..events)
        .map(|_| {
            let is_denial = rng.percent(40);
            match (flood, rng.below(10)) {
                (Some(app), 0..8) => (limit_event(app, is_denial), false),
                (_, 0..3) => {
                    let is_old = rng.percent(70);
                    (change(is_old), is_old)
                }
                (_, 3..6) => {
                    *made_up += 1;
                    (limit_event(&format!("made-up-{made_up}"), is_denial), false)
                }
                _ => (limit_event(apps[rng.below(3)], is_denial), false),
            }
        })
        .collect()
}

pub async fn kept_and_reported_events_equal_those_of_the_model(log: Arc<dyn EventLog>) {
    let seed = seed(31);
    let (mut rng, mut made_up, mut model) = (Rng::new(seed), 0, Model::default());
    let mut readers = [1, 7, 100].map(|limit| Reader { at: 0, limit, reported: 0 });
    for round in 0..120 {
        let events = batch(&mut rng, &mut made_up);
        for (event, is_old) in &events {
            model.append(event, *is_old, &SMALL);
        }
        let events: Vec<_> = events.into_iter().map(|(event, _)| event).collect();
        assert_eq!(log.append(&events, None).await, Ok(true));
        for _ in 0..3 {
            let after = rng.below(usize::try_from(model.head).expect("small") + 3) as u64;
            let limit = 1 + rng.below(40);
            let page = log.read(after, limit).await.expect("reads");
            let context = format!("IMQUOTA_SEED={seed}, round {round}, after {after}");
            assert_eq!(page.events, model.read(after, limit), "{context}");
            let oldest = model.kept.keys().next().copied();
            assert_eq!((Some(page.oldest), page.head), (oldest, model.head), "{context}");
        }
        for reader in readers.iter_mut().filter(|_| rng.percent(60)) {
            reader.read_on(&*log, &model).await;
        }
    }
    for reader in &mut readers {
        while reader.at < model.head {
            reader.read_on(&*log, &model).await;
        }
        assert!(reader.reported > 5, "{} gaps", reader.reported);
    }
    let kinds: BTreeSet<_> = model.dropped.values().copied().collect();
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["app_created", "denied", "limit_passed"]);
}

pub async fn changes_of_a_month_are_kept_up_to_the_maximum(log: Arc<dyn EventLog>) {
    let most = SMALL.changes_max;
    let old = vec![change(true); 30];
    assert_eq!(log.append(&old, None).await, Ok(true));
    let kept = |page: Vec<NumberedEvent>| {
        let kept = page.into_iter().filter(|it| it.event.what.kind() != "events_dropped");
        kept.map(|it| it.number).collect::<Vec<_>>()
    };
    let all = async || kept(log.read(0, 1000).await.expect("reads").events);
    assert_eq!(all().await, (11..=30).collect::<Vec<_>>(), "of old ones the last 20");
    // Each new one removes two old ones, so that an excess is reduced gradually.
    assert_eq!(log.append(&vec![change(false); 20], None).await, Ok(true));
    assert_eq!(all().await, (31..=50).collect::<Vec<_>>());
    assert_eq!(log.append(&vec![change(false); 45], None).await, Ok(true));
    assert_eq!(all().await.len() as u64, most, "new ones, but no more than the most");
    assert_eq!(all().await[0], 36);
}
