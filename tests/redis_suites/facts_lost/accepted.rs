//! A store that is emptied, and accepted while the process runs.

use imquota::engine::admin::ChangeKind;
use imquota::store::Identified as _;

use super::sidecar::{Sidecar, until};
use crate::support::redis::Standalone;
use crate::support::{actor, app, request_id};

#[tokio::test(flavor = "multi_thread")]
async fn no_event_number_is_used_twice_after_a_store_was_accepted() {
    let redis = Standalone::start();
    let sidecar = Sidecar::start(&redis.url()).await;
    for name in ["a", "b", "c"] {
        sidecar
            .change(&app(name), &format!("create {name}"), ChangeKind::Create)
            .await
            .expect("created");
    }
    sidecar.expect_events("app_created", 3).await;
    let mut seen = sidecar.events().await.last().expect("there are some").number;
    for round in 0..2 {
        redis.server.cli(&["FLUSHALL"]);
        until("the loss", async || sidecar.store.is_lost().then_some(())).await;
        let accept = request_id(&format!("accept {round}"));
        until("the acceptance", async || {
            sidecar.administration.accept_store(&accept, "", actor()).await.ok()
        })
        .await;
        let new = app(&format!("new{round}"));
        until("an app", async || {
            sidecar.change(&new, &format!("create {round}"), ChangeKind::Create).await.ok()
        })
        .await;
        sidecar.expect_events("app_created", 1).await;
        let events = sidecar.events().await;
        assert!(events.iter().all(|it| it.number > seen), "{seen}: {events:?}");
        let kinds: Vec<_> = events.iter().map(|it| it.event.what.kind()).collect();
        assert!(kinds.contains(&"facts_lost"), "earlier readers get a report: {kinds:?}");
        seen = events.last().expect("there are some").number;
    }
    sidecar.end().await;
}
