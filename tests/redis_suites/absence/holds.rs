//! Takes with a hold, confirmations and releases while the server is absent.

use imquota::domain::hold::{Hold, HoldEnd, HoldOutcome};
use imquota::domain::id::OperationId;
use imquota::engine::Degradation;
use imquota::engine::holds::{EndRequest, EndedHolds};
use imquota::ledger::TakeOptions;

use super::*;

/// The operation whose holds are ended in all parts.
const ANY_PART: &str = "o3";

impl Sidecar {
    async fn take_held(
        &self,
        app: &AppId,
        id: &str,
        operation: Operation,
    ) -> Result<Decision, LedgerError> {
        let deadline = SystemClock.now() + CALL_TIMEOUT;
        let (app, mode, hold) = (app.clone(), Mode::Enforce, Hold::new(id, 60).ok());
        let take = TakeOptions { hold, ..TakeOptions::default() };
        let request = Request { app, mode, take, deadline, operation };
        self.engine.apply(request).await
    }

    async fn end_hold(
        &self,
        app: &AppId,
        id: &str,
        end: HoldEnd,
    ) -> Result<EndedHolds, LedgerError> {
        let part = (id != ANY_PART).then_some(Part::Groups);
        let id = OperationId::try_from(id).expect("an id");
        let deadline = SystemClock.now() + CALL_TIMEOUT;
        let (app, mode) = (app.clone(), Mode::Enforce);
        self.engine.end_hold(EndRequest { app, id, part, end, mode, deadline }).await
    }

    /// Waits until the server answers and the group has that many members.
    async fn until_members(&self, app: &AppId, members: u64) {
        let until = Stopwatch::start();
        let is_back = || !self.store.is_absent(app, &[Part::Groups]);
        while !is_back() || self.engine.journal_condition().entries > 0 {
            assert!(until.elapsed() < CALL_TIMEOUT, "the journal is never replayed");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(self.members(app).await, members);
    }
}

fn outcomes_of(ended: &EndedHolds) -> Vec<HoldOutcome> {
    ended.results().map(|result| result.outcome).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn takes_of_the_journal_are_confirmed_and_released_without_the_store() {
    let standalone = Standalone::start();
    let sidecar = Sidecar::start(redis_options(&standalone.url())).await;
    let demo = app("demo");
    sidecar.apply(&demo, create_capped(0, 1000)).await.expect("created");
    sidecar.apply(&demo, join("before")).await.expect("joined");
    let members = sidecar.members(&demo).await;
    standalone.server.stop();
    tokio::time::sleep(UNTIL_ABSENT).await;

    for (id, name) in [("o1", "kept"), ("o2", "released"), ("o3", "before"), ("o4", "unended")] {
        let taken = sidecar.take_held(&demo, id, join(name)).await.expect("admitted");
        assert_eq!(taken.degradation, Some(Degradation::Admitted), "{name}");
    }
    let confirmed = sidecar.end_hold(&demo, "o1", HoldEnd::Confirm).await.expect("answered");
    assert_eq!(outcomes_of(&confirmed), [HoldOutcome::Confirmed]);
    assert_eq!(confirmed.degradation, Some(Degradation::Admitted));
    for id in ["o2", "o3"] {
        let released = sidecar.end_hold(&demo, id, HoldEnd::Release).await.expect("released");
        assert_eq!(outcomes_of(&released), [HoldOutcome::Released], "{id}");
    }
    let again = sidecar.end_hold(&demo, "o2", HoldEnd::Release).await;
    assert!(again.as_ref().is_err_and(LedgerError::is_absence), "{again:?}");

    standalone.server.resume();
    // The member from before stays, as the take of the journal was not its own.
    sidecar.until_members(&demo, members + 2).await;
    sidecar.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmation_is_accepted_without_the_store_and_carried_out_later() {
    let standalone = Standalone::start();
    let sidecar = Sidecar::start(redis_options(&standalone.url())).await;
    let demo = app("demo");
    sidecar.apply(&demo, create_capped(0, 1000)).await.expect("created");
    let members = sidecar.members(&demo).await;
    for (id, name) in [("o1", "confirmed"), ("o2", "left")] {
        let taken = sidecar.take_held(&demo, id, join(name)).await.expect("decided");
        assert_eq!(taken.degradation, None);
    }
    standalone.server.stop();
    tokio::time::sleep(UNTIL_ABSENT).await;

    for id in ["o1", "o1", "o2"] {
        let accepted = sidecar.end_hold(&demo, id, HoldEnd::Confirm).await.expect("accepted");
        assert_eq!(accepted.degradation, Some(Degradation::Confirmed));
        assert_eq!(outcomes_of(&accepted), []);
    }
    let refused = sidecar.end_hold(&demo, "o1", HoldEnd::Release).await;
    assert!(refused.as_ref().is_err_and(LedgerError::is_absence), "{refused:?}");
    let leave = Operation::LeaveGroup { group: group("g"), users: vec![user("left")] };
    let left = sidecar.apply(&demo, leave).await.expect("accepted");
    assert_eq!(left.degradation, Some(Degradation::Released));
    assert_eq!(sidecar.engine.journal_condition().entries, 3, "a repetition is journaled once");

    standalone.server.resume();
    sidecar.until_members(&demo, members + 1).await;
    let ended = sidecar.end_hold(&demo, "o1", HoldEnd::Release).await.expect("found");
    assert_eq!(outcomes_of(&ended), [HoldOutcome::EndedOtherwise], "it was confirmed");
    sidecar.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_that_would_replace_a_held_group_is_a_normal_one_without_the_store() {
    let standalone = Standalone::start();
    let sidecar = Sidecar::start(redis_options(&standalone.url())).await;
    let demo = app("demo");
    let creation = |id: &str| Operation::CreateGroup {
        group: group(id),
        group_type: Name::from("Public"),
        owner: Some(user("owner")),
        members: Vec::new(),
        max_members: None,
    };
    let taken = sidecar.take_held(&demo, "o1", creation("tmp")).await.expect("decided");
    assert_eq!(taken.degradation, None);
    standalone.server.stop();
    tokio::time::sleep(UNTIL_ABSENT).await;

    let request = Request {
        app: demo.clone(),
        mode: Mode::Enforce,
        take: TakeOptions { replaces: Some(group("tmp")), ..TakeOptions::default() },
        deadline: SystemClock.now() + CALL_TIMEOUT,
        operation: creation("g"),
    };
    let admitted = sidecar.engine.apply(request.clone()).await.expect("admitted");
    assert_eq!(admitted.degradation, Some(Degradation::Admitted));

    standalone.server.resume();
    sidecar.until_members(&demo, 1).await;
    let again = sidecar.engine.apply(request).await.expect("decided");
    assert_eq!(again.whole.map(|whole| whole.outcome), Some(Outcome::AlreadyHeld));
    let ended = sidecar.end_hold(&demo, "o1", HoldEnd::Release).await.expect("found");
    assert_eq!(outcomes_of(&ended), [HoldOutcome::Released], "it was left alone");
    assert_eq!(sidecar.members(&demo).await, 1);
    sidecar.end().await;
}
