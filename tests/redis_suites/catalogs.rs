//! Catalogs in a store with a fake clock: a loaded catalog comes into force once, whatever the
//! order of restarts; a month is billed by the catalogs that were in force in it; purchases keep
//! their limits.

use std::sync::Arc;

use crate::support::moved_clock::MovedClock;
use crate::support::redis::Server;
use crate::support::{
    ManualClock, Place, Service, actor, app, order, redis_options, request_id, user,
};
use imquota::directory::catalog_codec::{self, CatalogRecord};
use imquota::directory::embedded::EmbeddedDirectory;
use imquota::directory::redis::RedisDirectory;
use imquota::directory::{CATALOGS_MAX, CATALOGS_MAX_BYTES, Directory};
use imquota::domain::catalog::Catalog;
use imquota::domain::decision::Mode;
use imquota::domain::group_type::GroupType;
use imquota::domain::metering::Login;
use imquota::domain::time::Timestamp;
use imquota::engine::admin::{Activation, AdminError, ChangeKind, EntryFilter};
use imquota::ledger::Ledger as _;
use imquota::ledger::embedded::Embedded;
use imquota::ledger::redis::Redis;

const HOUR: i64 = 60 * 60 * 1000;
const DAY: i64 = 24 * HOUR;
/// 2019-11-01 00:00 in Shanghai.
const NOVEMBER: i64 = 1_572_537_600_000;
/// 2019-12-01 00:00 in Shanghai.
const DECEMBER: i64 = NOVEMBER + 30 * DAY;

/// The built-in catalog with a free allowance of ten users.
fn first() -> Catalog {
    let mut catalog = imquota::catalog::builtin();
    let dau = catalog.postpaid.dau.as_mut().expect("a price of users");
    (dau.free, dau.unit) = (10, 10);
    catalog
}

/// The first catalog with another price.
fn dearer() -> Catalog {
    let mut catalog = first();
    "dearer".clone_into(&mut catalog.version);
    let dau = catalog.postpaid.dau.as_mut().expect("a price of users");
    dau.price_fen_per_unit *= 7;
    catalog
}

/// The first catalog without the items for sale.
fn lacking() -> Catalog {
    let mut catalog = dearer();
    "lacking".clone_into(&mut catalog.version);
    catalog.editions.retain(|edition| edition.id.as_str() == "trial");
    catalog.add_ons.clear();
    catalog
}

/// A store that outlives sidecars.
struct Store {
    place: Place,
    clock: Arc<ManualClock>,
    /// The guard of the directory, or of the server.
    kept: (Option<tempfile::TempDir>, Option<(Server, MovedClock)>),
}

impl Store {
    fn embedded() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let place = Place::directory(directory.path());
        Self { place, clock: ManualClock::at(NOVEMBER), kept: (Some(directory), None) }
    }

    fn redis() -> Self {
        let moved = MovedClock::new();
        let server = Server::start_with_clock(&[], &moved);
        let clock = ManualClock::shared(NOVEMBER, &moved.file());
        let place = Place::Redis(format!("redis://{}/0", server.address()));
        Self { place, clock, kept: (None, Some((server, moved))) }
    }

    /// Starts a sidecar with a catalog; returns it and the catalog in force.
    async fn start(&self, catalog: Catalog) -> (Service, String) {
        let service = Service::open_any(&self.place, self.clock.clone(), catalog.clone()).await;
        let (in_force, _) = service.load(catalog).await;
        (service, in_force)
    }

    async fn directory(&self) -> Box<dyn Directory> {
        let Place::Redis(url) = &self.place else { panic!("an embedded store") };
        let redis = Redis::open(redis_options(url), self.clock.clone()).await.expect("opens");
        Box::new(RedisDirectory::over(redis.store()))
    }
}

async fn sell_and_use(service: &Service, users: usize) {
    let app = app("billed");
    service.register(&app, "r0").await.expect("registered");
    service.buy(&app, "r1", order("professional"), 1).await.expect("bought");
    service.buy(&app, "r2", order("members-2000"), 1).await.expect("bought");
    let logins = (0..users).map(|number| Login { user: user(format!("u{number}")), at: None });
    let deadline = service.deadline();
    let metered =
        service.engine.record_logins(app, Mode::Enforce, logins.collect(), deadline).await;
    metered.expect("metered");
}

async fn total(service: &Service, month: &str) -> i64 {
    let month = Some(month.parse().expect("a month"));
    let sealed = service.administration.statement(&app("billed"), month).await;
    let statement = sealed.expect("a statement").statement;
    statement.total_fen / 100
}

fn activation(id: &str, version: &str) -> Activation {
    Activation { request_id: request_id(id), version: version.to_owned(), hash: None }
}

async fn a_later_price_list_leaves_a_month_as_it_was(store: Store) {
    store.clock.set(NOVEMBER + 10 * DAY);
    let (service, in_force) = store.start(first()).await;
    assert_eq!(in_force, "2019-08-09");
    sell_and_use(&service, 35).await;
    assert_eq!(total(&service, "2019-11").await, 999 + 500 + 30_000);
    store.clock.set(DECEMBER);
    assert_eq!(service.load(dearer()).await, ("dearer".to_owned(), None));
    assert_eq!(total(&service, "2019-11").await, 999 + 500 + 30_000);
    service.close().await;
    // Neither does a catalog without any sold item, and the purchases stay in force.
    store.clock.set(DECEMBER + DAY);
    let (service, in_force) = store.start(lacking()).await;
    assert_eq!(in_force, "lacking");
    let listed = service.administration.apps(None, 10).await.expect("all apps are listed");
    let limits = listed.views[0].schedule.at(listed.views[0].at);
    assert_eq!((limits.edition.as_str(), limits.add_ons.len()), ("professional", 1));
    assert!(!listed.views[0].pending, "its limits are published");
    store.clock.set(DECEMBER + 5 * DAY);
    assert_eq!(total(&service, "2019-11").await, 999 + 500 + 30_000);
    let refund = ChangeKind::Refund { purchase: request_id("r1") };
    service.change(&app("billed"), "r3", refund).await.expect("refunded by the price of the sale");
    service.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_price_list_leaves_a_month_as_it_was_on_disk() {
    a_later_price_list_leaves_a_month_as_it_was(Store::embedded()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_price_list_leaves_a_month_as_it_was_in_redis() {
    a_later_price_list_leaves_a_month_as_it_was(Store::redis()).await;
}

/// All orders of three.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_is_one_change_in_every_order_with_every_crash() {
    // The crashing sidecar, and the number of restarts before; it restarts with its current file.
    let crashes = (0..3).flat_map(|who| (0..=3).map(move |after| (who, after)));
    for (number, (who, after)) in crashes.enumerate() {
        let store = Store::redis();
        store.clock.set(NOVEMBER + 10 * DAY);
        let mut files = [first(), first(), first()];
        let mut sidecars = Vec::new();
        for file in &files {
            sidecars.push(Some(store.start(file.clone()).await.0));
        }
        sell_and_use(sidecars[0].as_ref().expect("runs"), 35).await;
        store.clock.set(DECEMBER + HOUR);
        let order = ORDERS[number % ORDERS.len()];
        for step in 0..=3 {
            if step == after {
                // A crash: nothing is closed.
                sidecars[who] = None;
                sidecars[who] = Some(store.start(files[who].clone()).await.0);
            }
            if let Some(next) = order.get(step) {
                files[*next] = dearer();
                sidecars[*next].take().expect("runs").close().await;
                let (sidecar, in_force) = store.start(files[*next].clone()).await;
                assert_eq!(in_force, "dearer");
                sidecars[*next] = Some(sidecar);
            }
            store.clock.set(store.clock.millis() + 60_000);
        }
        let records = store.directory().await.catalogs(0).await.expect("read");
        assert_eq!(records.map(|it| it.len()), Some(2), "{order:?} {who} {after}");
        store.clock.set(DECEMBER + 5 * DAY);
        for sidecar in sidecars.iter().flatten() {
            let standing = sidecar.administration.follow_catalog().await.expect("followed");
            assert_eq!((standing.in_force.version.as_str(), standing.differs), ("dearer", None));
            assert_eq!(total(sidecar, "2019-11").await, 999 + 500 + 30_000);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_sidecars_that_load_at_once_are_one_change() {
    let store = Store::redis();
    let mut sidecars = Vec::new();
    for _ in 0..3 {
        let service = Service::open_any(&store.place, store.clock.clone(), first()).await;
        sidecars.push(service);
    }
    for catalog in [first(), dearer()] {
        let load = |service| Service::load(service, catalog.clone());
        let all = futures_util::future::join_all(sidecars.iter().map(load)).await;
        assert!(all.iter().all(|(in_force, _)| *in_force == catalog.version), "{all:?}");
    }
    let records = store.directory().await.catalogs(0).await.expect("read");
    assert_eq!(records.map(|it| it.len()), Some(2));
}

async fn a_replaced_content_is_not_activated_again(store: Store) {
    let (service, _) = store.start(first()).await;
    store.clock.set(NOVEMBER + DAY);
    service.load(dearer()).await;
    let differs = Some("2019-08-09".to_owned());
    assert_eq!(service.load(first()).await, ("dearer".to_owned(), differs.clone()));
    assert_eq!(service.engine.catalog().version, "dearer");
    service.close().await;
    let (service, in_force) = store.start(first()).await;
    assert_eq!(in_force, "dearer");
    // Settings of the sidecar are those of its own file, and are no change of the catalog.
    let mut own = first();
    own.batch.friends_max = 7;
    service.load(own).await;
    let catalog = service.engine.catalog();
    assert_eq!((catalog.version.as_str(), catalog.batch.friends_max), ("dearer", 7));
    // The old content with a new version is a new content.
    let renamed = Catalog { version: "again".to_owned(), ..first() };
    assert_eq!(service.load(renamed).await, ("again".to_owned(), None));

    store.clock.set(NOVEMBER + 2 * DAY);
    let administration = &service.administration;
    let made = administration.activate_catalog(activation("a1", "2019-08-09"), actor()).await;
    let made = made.expect("activated");
    assert_eq!(made.hash, catalog_codec::hash(&first()));
    assert_eq!(made.since, Timestamp::from_millis(NOVEMBER + 2 * DAY));
    assert_eq!(service.engine.catalog().version, "2019-08-09");
    store.clock.set(NOVEMBER + 3 * DAY);
    let again = administration.activate_catalog(activation("a1", "2019-08-09"), actor()).await;
    assert_eq!(again.as_ref(), Ok(&made), "a retry activates nothing");
    let reused = administration.activate_catalog(activation("a1", "dearer"), actor()).await;
    let reported = reused.expect_err("another catalog").to_string();
    assert!(reported.contains("version was 2019-08-09 and is dearer now"), "{reported}");
    let unknown = administration.activate_catalog(activation("a2", "never"), actor()).await;
    let reported = unknown.expect_err("unknown").to_string();
    assert!(
        reported.contains("the last ones are \"2019-08-09\", \"again\", \"dearer\""),
        "{reported}"
    );
    // One of several contents with the same version must be named by its hash.
    let mut twin = first();
    twin.groups_per_day = imquota::domain::limit::Limit::Finite(5);
    service.load(twin.clone()).await;
    let several = administration.activate_catalog(activation("a3", "2019-08-09"), actor()).await;
    let several = several.expect_err("the version is ambiguous");
    assert!(matches!(several, AdminError::SeveralCatalogs { .. }), "{several:?}");
    assert!(several.to_string().contains("give content_hash (--content-hash)"), "{several}");
    let named = Activation { hash: Some(made.hash.clone()), ..activation("a3", "2019-08-09") };
    let named = administration.activate_catalog(named, actor()).await.expect("activated");
    assert_eq!(named.hash, made.hash);
    let filter = EntryFilter { action: Some("ActivateCatalog".into()), ..EntryFilter::default() };
    let entries = administration.entries(0, 10, &filter).await.expect("entries").entries;
    let ids: Vec<_> = entries.iter().map(|entry| entry.event.request_id.as_str()).collect();
    assert_eq!(ids, ["a1", "a3"]);
    assert!(entries[0].event.before.contains("again") && entries[0].event.actor == actor());
    service.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_content_is_not_activated_again_on_disk() {
    a_replaced_content_is_not_activated_again(Store::embedded()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_content_is_not_activated_again_in_redis() {
    a_replaced_content_is_not_activated_again(Store::redis()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sidecars_follow_each_other_and_sell_by_the_catalog_in_force() {
    let store = Store::redis();
    let (one, _) = store.start(first()).await;
    let (other, _) = store.start(first()).await;
    let app = app("billed");
    one.register(&app, "r0").await.expect("registered");
    let mut half_price = dearer();
    half_price.editions[1].price_fen_per_month = Some(50_000);
    half_price.editions[1].limits.clear();
    one.load(half_price).await;
    other.buy(&app, "r1", order("professional"), 1).await.expect("bought");
    let view = one.administration.app(&app).await.expect("the app");
    assert_eq!(view.record.sales.purchases[0].price_fen, 50_000);
    let standing = other.administration.follow_catalog().await.expect("followed");
    assert!(standing.changed, "the limits of all apps are still to be published");
    other.administration.publish_all().await.expect("published");
    let standing = other.administration.follow_catalog().await.expect("followed");
    let differs = standing.differs.as_ref().map(|it| it.version.as_str());
    let now = (standing.in_force.version.as_str(), differs, standing.changed);
    assert_eq!(now, ("dearer", Some("2019-08-09"), false));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_sale_is_completed_by_the_first_catalog_with_its_item() {
    let store = Store::redis();
    // A store of the previous version: a sale without terms, and no catalogs.
    let (service, app) = (store.start(first()).await.0, app("billed"));
    sell_and_use(&service, 1).await;
    let directory = store.directory().await;
    let mut record = directory.app(&app).await.expect("read").expect("the app");
    assert!(record.sales.purchases.iter().all(|purchase| purchase.terms.is_some()));
    for purchase in &mut record.sales.purchases {
        purchase.terms = None;
    }
    record.revision += 1;
    let entry = service.administration.entries(0, 1, &EntryFilter::default()).await;
    let event = entry.expect("entries").entries[0].event.clone();
    directory.put(&record, event).await.expect("written");
    service.load(lacking()).await;
    let views = service.administration.apps(None, 10).await.expect("all apps are listed").views;
    assert_eq!(views[0].schedule.at(views[0].at).edition.as_str(), "professional");
    // The terms are written with the next change.
    let retention = ChangeKind::SetRetention { days: 30 };
    service.change(&app, "r3", retention).await.expect("changed");
    let record = directory.app(&app).await.expect("read").expect("the app");
    assert!(record.sales.purchases.iter().all(|purchase| purchase.terms.is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_without_a_catalog_affects_no_other_app() {
    let store = Store::redis();
    let sold = Service::open_any(&store.place, store.clock.clone(), first()).await;
    sell_and_use(&sold, 1).await;
    sold.register(&app("another"), "r0").await.expect("registered");
    let directory = store.directory().await;
    let mut record = directory.app(&app("billed")).await.expect("read").expect("the app");
    for purchase in &mut record.sales.purchases {
        purchase.terms = None;
    }
    record.revision += 1;
    let entry = sold.administration.entries(0, 1, &EntryFilter::default()).await;
    let event = entry.expect("entries").entries[0].event.clone();
    directory.put(&record, event).await.expect("written");
    let (service, _) = store.start(lacking()).await;
    let views = service.administration.apps(None, 10).await.expect("all apps are listed").views;
    let ids: Vec<_> = views.iter().map(|view| view.record.app.as_str()).collect();
    assert_eq!(ids, ["another", "billed"]);
    // The app keeps the published limits, and is shown as pending.
    assert_eq!(views[1].schedule.at(views[1].at).edition.as_str(), "professional");
    assert!(views[1].pending && !views[0].pending);
}

/// Activates as many catalogs as a store keeps, each for a minute.
async fn fill(directory: &dyn Directory) {
    for last in 0..u64::try_from(CATALOGS_MAX).expect("fits") {
        let catalog = Arc::new(Catalog { version: format!("old {last}"), ..first() });
        let minute = i64::try_from(last).expect("fits") * 60_000;
        let record = CatalogRecord {
            number: last + 1,
            since: Timestamp::from_millis(NOVEMBER + DAY + minute),
            request_id: String::new(),
            hash: catalog_codec::hash(&catalog),
            catalog,
        };
        let bytes = catalog_codec::encode(&record);
        assert_eq!(directory.put_catalog(last, &bytes, &[], None).await, Ok(true));
        let stale = directory.put_catalog(last, &bytes, &[], None).await;
        assert_eq!(stale, Ok(false), "another record is the last one");
    }
}

async fn the_oldest_catalog_that_no_open_month_needs_is_removed_first(store: &Store, sold: bool) {
    store.clock.set(NOVEMBER + 5 * DAY);
    let newest = format!("old {}", CATALOGS_MAX - 1);
    let service = Service::open_any(&store.place, store.clock.clone(), first()).await;
    let again = Catalog { version: "old 3".to_owned(), ..first() };
    let differs = Some("old 3".to_owned());
    assert_eq!(service.load(again).await, (newest.clone(), differs));
    if sold {
        service.register(&app("billed"), "r0").await.expect("registered");
        let refused = service.administration.change_catalog(dearer()).await;
        assert_eq!(refused, Err(AdminError::TooManyCatalogs), "November needs them all");
        assert_eq!(service.engine.catalog().version, newest, "the last valid catalog stays");
        store.clock.set(DECEMBER + 10 * DAY);
        service.administration.issue_due().await.expect("November is final");
    }
    assert_eq!(service.load(dearer()).await.0, "dearer");
    service.close().await;
}

async fn oldest_and_newest(directory: &dyn Directory) -> (usize, u64, u64) {
    let records = directory.catalogs(0).await.expect("read").expect("records");
    let numbers: Vec<u64> = records.iter().map(|(number, _)| *number).collect();
    (numbers.len(), numbers[0], numbers[numbers.len() - 1])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_catalog_that_no_open_month_needs_is_removed_first_on_disk() {
    let store = Store::embedded();
    let Place::Directory(path) = &store.place else { panic!("a directory") };
    let embedded = Embedded::open(path, store.clock.clone()).expect("opens");
    fill(&EmbeddedDirectory::over(embedded.store())).await;
    embedded.close().await;
    drop(embedded);
    the_oldest_catalog_that_no_open_month_needs_is_removed_first(&store, true).await;
    let embedded = Embedded::open(path, store.clock.clone()).expect("opens");
    let kept = oldest_and_newest(&EmbeddedDirectory::over(embedded.store())).await;
    assert_eq!(kept, (CATALOGS_MAX, 2, 1001));
    embedded.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_catalog_that_no_open_month_needs_is_removed_first_in_redis() {
    for sold in [true, false] {
        let store = Store::redis();
        let directory = store.directory().await;
        fill(&*directory).await;
        the_oldest_catalog_that_no_open_month_needs_is_removed_first(&store, sold).await;
        assert_eq!(oldest_and_newest(&*directory).await, (CATALOGS_MAX, 2, 1001), "{sold}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn catalogs_are_removed_by_their_total_length_too() {
    let store = Store::redis();
    let directory = store.directory().await;
    // The maximum number of group types, with the longest names.
    let fat = |number: usize| {
        let mut catalog = Catalog { version: format!("fat {number}"), ..first() };
        let kind = catalog.group_types[0].clone();
        catalog.group_types.extend((0..64 - catalog.group_types.len()).map(|index| {
            let name = format!("{index:064}").as_str().into();
            GroupType { name, label: "x".repeat(64), ..kind.clone() }
        }));
        Arc::new(catalog)
    };
    let (mut bytes, mut count) = (0, 0);
    loop {
        let catalog = fat(count);
        let number = u64::try_from(count).expect("fits") + 1;
        let since = Timestamp::from_millis(NOVEMBER + i64::try_from(count).expect("fits") * 1000);
        let (request_id, hash) = (String::new(), catalog_codec::hash(&catalog));
        let record = CatalogRecord { number, since, request_id, hash, catalog };
        let stored = catalog_codec::encode(&record);
        if bytes + stored.len() > CATALOGS_MAX_BYTES {
            break;
        }
        bytes += stored.len();
        count += 1;
        assert_eq!(directory.put_catalog(number - 1, &stored, &[], None).await, Ok(true));
    }
    assert!(count < CATALOGS_MAX, "{count}");
    store.clock.set(NOVEMBER + DAY);
    let service = Service::open_any(&store.place, store.clock.clone(), first()).await;
    let next = Catalog::clone(&fat(count));
    assert_eq!(service.load(next.clone()).await.0, next.version);
    let records = directory.catalogs(0).await.expect("read").expect("records");
    let kept: usize = records.iter().map(|(_, stored)| stored.len()).sum();
    assert!(kept <= CATALOGS_MAX_BYTES, "{kept}");
    assert_eq!((records.len(), records[0].0), (count, 2));
    service.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_replaced_by_an_empty_one_gets_the_loaded_catalog() {
    let store = Store::redis();
    let (service, _) = store.start(first()).await;
    service.load(dearer()).await;
    let (server, _) = store.kept.1.as_ref().expect("a Redis");
    let removed = server.cli(&["DEL", "q1{directory}catalogs"]);
    assert_eq!(removed.trim(), "1");
    let standing = service.administration.follow_catalog().await.expect("followed");
    assert_eq!((standing.in_force.version.as_str(), standing.differs), ("dearer", None));
    let records = store.directory().await.catalogs(0).await.expect("read").expect("records");
    assert_eq!(records.len(), 1);
    service.close().await;
}
