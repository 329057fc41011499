//! One unreadable app document: start, lists, sales, statements and events of the other apps work
//! as if it did not exist.

use std::sync::Arc;
use std::time::Duration;

use imquota::clock::SystemClock;
use imquota::engine::admin::ChangeKind;
use imquota::grpc::pb::ListAppsRequest;
use imquota::grpc::pb::admin_service_client::AdminServiceClient;
use redb::{Database, ReadableTable as _, TableDefinition};
use tempfile::TempDir;

use super::{open, registered};
use crate::support::binary::Binary;
use crate::support::redis::Standalone;
use crate::support::{Place, Service, app, order};

const DOCUMENTS: TableDefinition<&str, &[u8]> = TableDefinition::new("documents");
const START_MAX: Duration = Duration::from_secs(30);

/// Ids before, at and after the damaged one.
const APPS: [&str; 3] = ["a-first", "b-damaged", "c-last"];

async fn registered_all(service: &Service) {
    for name in APPS {
        registered(service, &app(name)).await;
    }
}

/// Operations on all apps work for the readable ones.
async fn others_keep_working(service: &Service) {
    let administration = &service.administration;
    let list = administration.apps(None, 100).await.expect("listed");
    let names: Vec<_> = list.views.iter().map(|view| view.record.app.to_string()).collect();
    assert_eq!(names, [APPS[0], APPS[2]]);
    assert_eq!(list.unreadable.len(), 1);
    assert_eq!(list.unreadable[0].app, APPS[1]);
    assert!(list.unreadable[0].reason.contains("version 9"), "{list:?}");
    // A page that ends with the unreadable app continues after it.
    let page = administration.apps(None, 2).await.expect("listed");
    assert_eq!(page.next.as_deref(), Some(APPS[1]));
    let rest = administration.apps(Some(&app(APPS[1])), 2).await.expect("listed");
    assert_eq!((rest.views.len(), rest.unreadable.len(), rest.next), (1, 0, None));

    administration.publish_all().await.expect("the others are published");
    administration.issue_due().await.expect("the others are issued");
    administration.change_catalog((*administration.catalog()).clone()).await.expect("the same");
    service.buy(&app(APPS[2]), "r9", order("renew"), 1).await.expect("sold");
    let refused =
        service.change(&app(APPS[1]), "r9", ChangeKind::Create).await.expect_err("unreadable");
    assert!(refused.contains(APPS[1]) && refused.contains("cannot be read"), "{refused}");
    administration.app(&app(APPS[1])).await.expect_err("unreadable");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_app_of_an_embedded_store_affects_only_itself() {
    let directory = TempDir::new().expect("a directory");
    let place = Place::directory(directory.path());
    let service = open(&place).await;
    registered_all(&service).await;
    service.close().await;
    let database = Database::open(directory.path().join("imquota.redb")).expect("opens");
    let txn = database.begin_write().expect("begins");
    {
        let mut documents = txn.open_table(DOCUMENTS).expect("is there");
        let key = format!("app/{}", APPS[1]);
        let stored = documents.get(key.as_str()).expect("reads").expect("is there");
        let newer = String::from_utf8(stored.value().to_vec()).expect("text");
        drop(stored);
        let newer = newer.replace("\"v\":1", "\"v\":9");
        documents.insert(key.as_str(), newer.as_bytes()).expect("writes");
    }
    txn.commit().expect("commits");
    drop(database);
    others_keep_working(&open(&place).await).await;
}

/// Puts a document of a newer version in place of one in Redis.
fn damage(redis: &Standalone) {
    let stored = redis.server.cli(&["HGET", "q1{directory}documents", APPS[1]]);
    let newer = stored.replace("\"v\":1", "\"v\":9");
    assert_ne!(newer, stored);
    redis.server.cli(&["HSET", "q1{directory}documents", APPS[1], &newer]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_app_in_redis_affects_only_itself() {
    let redis = Standalone::start();
    let service = open(&Place::Redis(redis.url())).await;
    registered_all(&service).await;
    damage(&redis);
    others_keep_working(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_starts_with_an_unreadable_app_and_publishes_events_of_the_others() {
    let redis = Standalone::start();
    let place = Place::Redis(redis.url());
    let service = Service::open_any(&place, Arc::new(SystemClock), imquota::catalog::builtin());
    let service = service.await;
    // So that events are published from now on.
    let mut first = Binary::start(&redis.url(), &["--journal", "off"]);
    first.wait_until("serving", START_MAX, |it| it.log().contains(" serving "));
    drop(first);
    registered_all(&service).await;
    damage(&redis);

    let mut sidecar = Binary::start(&redis.url(), &["--journal", "off"]);
    let unreadable = |it: &Binary| it.metric("imquota_apps_unreadable");
    sidecar.wait_until("serving", START_MAX, |it| it.log().contains(" serving "));
    sidecar.wait_until("counted", START_MAX, |it| unreadable(it) == Some(1.0));
    assert_eq!(sidecar.log().matches("ERROR").count(), 1, "{}", sidecar.log());
    let url = format!("http://127.0.0.1:{}", sidecar.admin);
    let mut client = AdminServiceClient::connect(url).await.expect("it listens");
    let list = client.list_apps(ListAppsRequest::default()).await.expect("listed").into_inner();
    assert_eq!((list.apps.len(), list.unreadable.len()), (2, 1));
    assert_eq!(list.unreadable[0].app_id, APPS[1]);
    // Nine changes were logged; there are no events of the damaged app's two sales.
    let head = || redis.server.cli(&["HMGET", "q1{events}cursors", "cursor/audit", "head"]);
    sidecar.wait_until("seven events", START_MAX, |_| head() == "9\n7");
}
