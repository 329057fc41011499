//! A catalog without a group type that is in use is refused, whichever app has such groups and
//! whichever sidecar created them; after the last of them is dissolved it is accepted.

use std::sync::Arc;
use std::time::Duration;

use imquota::catalog::builtin;
use imquota::clock::SystemClock;
use imquota::domain::catalog::Catalog;
use imquota::ledger::Operation;

use crate::support::binary::{Binary, embedded};
use crate::support::redis::{Cluster, Standalone};
use crate::support::{Place, Service, app, group};

const SET: &str = "q1{directory}types";
const TYPE: &str = "Lounge";
const BUILTIN: &str = include_str!("../../../src/catalog/builtin.toml");
const END_MAX: Duration = Duration::from_secs(30);

/// The built-in catalog with one type more.
fn with_lounge() -> Catalog {
    let mut catalog = builtin();
    let mut lounge = catalog.group_types[0].clone();
    lounge.name = TYPE.into();
    catalog.group_types.push(lounge);
    catalog
}

fn create(id: &str, group_type: &str) -> Operation {
    Operation::CreateGroup {
        group: group(id),
        group_type: group_type.into(),
        owner: None,
        members: Vec::new(),
        max_members: None,
    }
}

async fn open(place: &Place, catalog: Catalog) -> Service {
    Service::open_any(place, Arc::new(SystemClock), catalog).await
}

/// A catalog with a version of its own, so that its content is new.
fn called(version: &str, catalog: Catalog) -> Catalog {
    Catalog { version: version.to_owned(), ..catalog }
}

async fn refused(service: &Service) -> String {
    let changed = service.administration.change_catalog(builtin()).await;
    let refused = changed.expect_err("there is a group of the type").to_string();
    assert!(service.engine.catalog().group_type(TYPE).is_some(), "the last valid catalog stays");
    refused
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_type_can_be_dropped_only_if_unused() {
    let (standalone, cluster) = (Standalone::start(), Cluster::start());
    let places = [Place::Memory, Place::Redis(standalone.url()), Place::Redis(cluster.url())];
    for place in &places {
        let service = open(place, with_lounge()).await;
        // A group of an unregistered app.
        let app = app("anybody");
        service.enforce(&app, create("private", "Private")).await;
        for id in ["first", "again"] {
            service.enforce(&app, create(id, TYPE)).await;
            let said = refused(&service).await;
            assert!(said.contains("type \"Lounge\""), "{said}");
            if !matches!(place, Place::Memory) {
                // Another sidecar, which starts with the file without the type.
                let other = open(place, builtin()).await;
                let started = other.administration.change_catalog(builtin()).await;
                assert_eq!(started.expect_err("in use").to_string(), said);
                assert_eq!(other.administration.count_types().await, Ok(vec![TYPE.into()]));
                other.close().await;
            }
            service.enforce(&app, Operation::DissolveGroup { group: group(id) }).await;
            let administration = &service.administration;
            let without = called(&format!("without {id}"), builtin());
            administration.change_catalog(without).await.expect("no group has it any more");
            let with = called(&format!("with {id}"), with_lounge());
            administration.change_catalog(with).await.expect("a type more");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn types_of_a_store_of_the_previous_version_are_found() {
    let redis = Standalone::start();
    let place = Place::Redis(redis.url());
    let before = open(&place, with_lounge()).await;
    before.enforce(&app("a"), create("g", TYPE)).await;
    before.close().await;
    let members = || {
        let members = redis.server.cli(&["SMEMBERS", SET]);
        // The empty name marks a complete scan; its position in the output depends on the set.
        let names = members.lines().filter(|name| !name.is_empty());
        let mut members: Vec<_> = names.map(str::to_owned).collect();
        members.sort();
        members
    };
    assert_eq!(members(), [TYPE]);
    redis.server.cli(&["DEL", SET]);
    let service = open(&place, with_lounge()).await;
    refused(&service).await;
    assert_eq!(members(), [TYPE], "the type was found by the scan");
    redis.server.cli(&["DEL", SET]);
    let other = open(&place, with_lounge()).await;
    assert_eq!(other.administration.count_types().await, Ok(Vec::new()));
    assert_eq!(members(), [TYPE]);
    assert_eq!(redis.server.cli(&["SISMEMBER", SET, ""]), "1", "the scan is complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sidecar_records_a_type_once() {
    let redis = Standalone::start();
    let service = open(&Place::Redis(redis.url()), with_lounge()).await;
    let calls = || {
        let stats = redis.server.cli(&["INFO", "commandstats"]);
        let of_sets = stats.lines().find(|line| line.starts_with("cmdstat_evalsha:"));
        let calls = of_sets.and_then(|line| line.split(['=', ',']).nth(1)?.parse().ok());
        calls.unwrap_or(0_u64)
    };
    let mut cost = Vec::new();
    for number in 0..3 {
        let before = calls();
        service.enforce(&app("a"), create(&format!("g{number}"), TYPE)).await;
        cost.push(calls() - before);
    }
    // Besides, the identity is read every second.
    assert!(cost[0] >= 2 && cost[1..].iter().min() == Some(&1), "{cost:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_does_not_start_with_a_catalog_that_lacks_a_type_in_use() {
    let directory = tempfile::tempdir().expect("a directory");
    let service = open(&Place::directory(directory.path()), with_lounge()).await;
    service.enforce(&app("a"), create("g", TYPE)).await;
    service.close().await;
    let file = directory.path().join("catalog.toml");
    std::fs::write(&file, BUILTIN).expect("writes");
    let catalog = file.display().to_string();
    let mut sidecar = Binary::start(&embedded(directory.path()), &["--catalog", &catalog]);
    assert_eq!(sidecar.end(END_MAX), Some(1));
    let log = sidecar.log();
    assert!(
        log.contains("error=the catalog does not match the store") && log.contains("Lounge"),
        "{log}"
    );
}
