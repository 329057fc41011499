//! Long admin operations run in slices, so that decisions are made in between.

use imquota::domain::id::{GroupId, UserId};
use imquota::engine::admin::{EntryFilter, PreviewRequest, SLICE_ITEMS};

use super::{open, places, registered};
use crate::support::{app, group, user};

/// Apps of which each has an entry in the audit log.
const APPS: usize = 3 * SLICE_ITEMS + 1;

/// The slices that an operation began after a pause.
macro_rules! slices {
    ($service:ident, $work:expr) => {{
        let before = $service.administration.pace().slices_begun();
        $work.await.expect("it succeeds");
        usize::try_from($service.administration.pace().slices_begun() - before).expect("few")
    }};
}

#[tokio::test(flavor = "multi_thread")]
async fn previews_lists_and_statements_pause_before_each_further_slice() {
    let (_redis, places) = places();
    for place in &places {
        let (service, app) = (open(place).await, app("paced"));
        registered(&service, &app).await;
        let users: Vec<UserId> = (0..1000).map(|number| user(format!("u{number}"))).collect();
        let groups: Vec<GroupId> = (0..1000).map(|number| group(format!("g{number}"))).collect();
        let question = PreviewRequest { users, groups, ..PreviewRequest::default() };
        let slices = slices!(service, service.administration.preview(&app, question));
        assert_eq!(slices, (1 + 2000usize).div_ceil(SLICE_ITEMS) - 1, "{place:?}");
        let few = PreviewRequest { users: vec![user("u")], ..PreviewRequest::default() };
        assert_eq!(slices!(service, service.administration.preview(&app, few)), 0, "{place:?}");

        for number in 0..APPS {
            let app = crate::support::app(&format!("app{number}"));
            service.register(&app, "r0").await.expect("registered");
        }
        let slices = slices!(service, service.administration.apps(None, 1000));
        assert_eq!(slices, (APPS + 1).div_ceil(SLICE_ITEMS) - 1, "{place:?}");
        let filter = EntryFilter { action: Some("none".to_owned()), ..EntryFilter::default() };
        let slices = slices!(service, service.administration.entries(0, 1000, &filter));
        assert!(slices >= 1, "{place:?}: {slices}");
        assert!(slices!(service, service.administration.statement(&app, None)) >= 1);
        assert!(slices!(service, service.administration.publish_all()) >= APPS / SLICE_ITEMS);
    }
}
