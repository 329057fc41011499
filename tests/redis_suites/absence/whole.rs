//! Whole batches while the server is absent: admitted or refused as a whole.

use imquota::domain::decision::Outcome::{Aborted, Applied, Denied};
use imquota::engine::Degradation;
use imquota::ledger::TakeOptions;

use super::*;

/// The members of a group that may be admitted without the store.
const GROUP_BUDGET: usize = 50;

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("n{number}")).collect()
}

fn add(name: &str, friends: &[&str]) -> Operation {
    let friends = friends.iter().map(|name| user(*name)).collect();
    Operation::AddFriends { user: user(name), friends, one_way: false }
}

impl Sidecar {
    async fn apply_whole(
        &self,
        app: &AppId,
        operation: Operation,
    ) -> Result<Decision, LedgerError> {
        let deadline = SystemClock.now() + CALL_TIMEOUT;
        let (app, mode) = (app.clone(), Mode::Enforce);
        let take = TakeOptions { all_or_nothing: true, ..TakeOptions::default() };
        let request = Request { app, mode, take, deadline, operation };
        self.engine.apply(request).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_batch_is_admitted_without_the_store_as_a_whole_or_not_at_all() {
    let standalone = Standalone::start();
    let sidecar = Sidecar::start(redis_options(&standalone.url())).await;
    let demo = app("demo");
    sidecar.apply(&demo, create_capped(0, 1000)).await.expect("created");
    sidecar.apply(&demo, befriend("busy", &names(FRIENDS_MAX))).await.expect("added");
    let full = sidecar.apply_whole(&demo, add("a", &["b", "busy"])).await.expect("decided");
    assert_eq!(outcomes(&full), [Aborted, Denied]);
    let join = |count| Operation::JoinGroup {
        group: group("g"),
        users: names(count).iter().map(user).collect(),
    };
    // The group is empty: this is no recent denial of it.
    let too_many = sidecar.apply_whole(&demo, join(MEMBERS_MAX as usize + 1)).await;
    let too_many = outcomes(&too_many.expect("decided"));
    assert_eq!(too_many[MEMBERS_MAX as usize - 1..], [Aborted, Denied]);
    standalone.server.stop();
    tokio::time::sleep(UNTIL_ABSENT).await;

    let refused = sidecar.apply_whole(&demo, add("a", &["b", "busy", "c"])).await;
    let refused = refused.expect("a recent denial decides");
    assert_eq!(outcomes(&refused), [Aborted, Denied, Aborted]);
    assert_eq!(refused.degradation, Some(Degradation::Denied));
    let in_parts = sidecar.apply(&demo, add("d", &["e", "busy"])).await.expect("decided");
    assert_eq!(outcomes(&in_parts), [Applied, Denied]);

    let beyond = sidecar.apply_whole(&demo, join(GROUP_BUDGET + 1)).await;
    assert!(beyond.as_ref().is_err_and(LedgerError::is_absence), "{beyond:?}");
    let within = sidecar.apply_whole(&demo, join(GROUP_BUDGET)).await.expect("admitted");
    assert_eq!(outcomes(&within), [Applied; GROUP_BUDGET]);
    assert_eq!(within.degradation, Some(Degradation::Admitted));

    standalone.server.resume();
    let until = Stopwatch::start();
    // It waits for what was admitted of the same user.
    while sidecar.apply(&demo, super::join("n0")).await.map(|it| it.degradation) != Ok(None) {
        assert!(until.elapsed() < CALL_TIMEOUT, "it is never decided exactly again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(sidecar.members(&demo).await, GROUP_BUDGET as u64, "all are counted");
    let added = sidecar.apply(&demo, add("a", &["b", "c"])).await.expect("decided");
    assert_eq!(outcomes(&added), [Applied, Applied], "nothing of the refused batch was written");
    sidecar.end().await;
}
