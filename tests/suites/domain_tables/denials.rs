//! The precedence of outcomes: at first every possible cause of a denial is present, and each line
//! removes one more.
//!
//! First the stopped service, alone; then every limit together, in the order of reasons; "already
//! held" precedes all of them.

use std::sync::Arc;

use imquota::domain::catalog::Catalog;
use imquota::domain::decision::{ItemResult, Mode, Outcome, Reason};
use imquota::domain::id::AppId;
use imquota::domain::limit::{Limit, LimitId};
use imquota::engine::{Decision, Denial};
use imquota::ledger::Operation;

use super::{at, catalog};
use crate::support::{ManualClock, Place, Service, app, group, order, user};

/// 2019-02-12, when Professional is bought for a month.
const BOUGHT: &str = "2019-02-12 12:00";
const STOPPED: &str = "2019-03-19";

/// A catalog in which the limits of Professional, of ordinary group types and of a day are one.
fn ones() -> Catalog {
    let mut catalog = catalog();
    let professional =
        catalog.editions.iter_mut().find(|edition| edition.id.as_str() == "professional");
    for (_, limit) in &mut professional.expect("built in").limits {
        *limit = Limit::Finite(1);
    }
    for kind in catalog.group_types.iter_mut().filter(|kind| kind.members_tracked) {
        (kind.per_app, kind.per_day) = (Limit::Finite(1), Limit::Finite(1));
    }
    catalog.groups_per_day = Limit::Finite(1);
    catalog
}

struct Fixture {
    service: Service,
    clock: Arc<ManualClock>,
    app: AppId,
    requests: u32,
}

impl Fixture {
    /// An app right after its purchase of Professional.
    async fn new() -> Self {
        let clock = ManualClock::at(at(BOUGHT).as_millis());
        let service = Service::open(&Place::Memory, clock.clone(), ones());
        let app = app("app");
        service.register(&app, "register").await.expect("registered");
        service.buy(&app, "purchase", order("professional"), 1).await.expect("sold");
        Self { service, clock, app, requests: 0 }
    }

    /// Applies an operation in mode FORCE.
    async fn force(&self, operation: Operation) {
        let done = self.service.apply(&self.app, Mode::Force, operation).await;
        let results = done.expect("a decision");
        assert!(results.results().all(|result| result.outcome == Outcome::Applied));
    }

    fn stop(&self) {
        self.clock.set(at(STOPPED).as_millis());
    }

    async fn renew(&mut self) {
        self.requests += 1;
        let request = format!("renew {}", self.requests);
        self.service.buy(&self.app, &request, order("renew"), 1).await.expect("sold");
    }

    /// Checks the outcome in CHECK_ONLY, and then in ENFORCE.
    async fn expect(&self, operation: &Operation, outcome: Outcome, reasons: &[(Reason, i32)]) {
        let checked = self.service.apply(&self.app, Mode::CheckOnly, operation.clone()).await;
        let checked = shown(&checked.expect("a decision"));
        let enforced = shown(&self.service.enforce(&self.app, operation.clone()).await);
        assert_eq!(checked, enforced, "{operation:?}");
        assert_eq!(enforced, (outcome, reasons.to_vec()), "{operation:?}");
    }
}

/// The first item result: its outcome, and its reasons with the IM's codes.
fn shown(decision: &Decision) -> (Outcome, Vec<(Reason, i32)>) {
    let result: &ItemResult<Denial> = decision.results().next().expect("a result");
    let denials = result.violations.iter();
    let reasons = denials.map(|denial| (denial.violation.reason, denial.im_code.number)).collect();
    (result.outcome, reasons)
}

const SERVICE: (Reason, i32) = (Reason::ServiceStopped, 60020);
const ACCOUNTS: (Reason, i32) = (Reason::AccountsPerApp, 70398);
const MINE: (Reason, i32) = (Reason::MyFriends, 30010);
const PEERS: (Reason, i32) = (Reason::PeerFriends, 30014);
const USER: (Reason, i32) = (Reason::GroupsPerUser, 10037);
const AT_ONCE: (Reason, i32) = (Reason::GroupsPerApp, 10006);
const DAY: (Reason, i32) = (Reason::GroupsPerDay, 10006);
const FULL: (Reason, i32) = (Reason::MembersPerGroup, 10014);
const FULL_LIST: (Reason, i32) = (Reason::MembersAtCreation, 10038);

fn creation(id: &str, kind: &str, owner: Option<&str>, members: &[&str]) -> Operation {
    Operation::CreateGroup {
        group: group(id),
        group_type: kind.into(),
        owner: owner.map(user),
        members: members.iter().copied().map(user).collect(),
        max_members: None,
    }
}

fn joining(id: &str, who: &str) -> Operation {
    Operation::JoinGroup { group: group(id), users: vec![user(who)] }
}

fn leaving(id: &str, who: &str) -> Operation {
    Operation::LeaveGroup { group: group(id), users: vec![user(who)] }
}

fn adding(who: &str, friend: &str) -> Operation {
    Operation::AddFriends { user: user(who), friends: vec![user(friend)], one_way: false }
}

fn removing(who: &str, friend: &str) -> Operation {
    Operation::RemoveFriends { user: user(who), friends: vec![user(friend)], one_way: false }
}

#[tokio::test]
async fn creating_an_account() {
    let mut scene = Fixture::new().await;
    let operation = Operation::CreateAccounts { users: vec![user("new")] };
    scene.force(Operation::CreateAccounts { users: vec![user("old")] }).await;
    scene.stop();
    scene.expect(&operation, Outcome::Denied, &[SERVICE]).await;
    scene.renew().await;
    scene.expect(&operation, Outcome::Denied, &[ACCOUNTS]).await;
    scene.force(Operation::DeleteAccount { user: user("old") }).await;
    scene.expect(&operation, Outcome::Applied, &[]).await;
    scene.force(Operation::CreateAccounts { users: vec![user("more")] }).await;
    scene.clock.set(at("2019-06-01").as_millis());
    scene.expect(&operation, Outcome::AlreadyHeld, &[]).await;
}

#[tokio::test]
async fn adding_a_friend_both_ways() {
    let mut scene = Fixture::new().await;
    let operation = adding("a", "b");
    scene.force(adding("a", "c")).await;
    scene.force(adding("b", "d")).await;
    scene.stop();
    scene.expect(&operation, Outcome::Denied, &[SERVICE]).await;
    scene.renew().await;
    scene.expect(&operation, Outcome::Denied, &[MINE, PEERS]).await;
    scene.force(removing("a", "c")).await;
    scene.expect(&operation, Outcome::Denied, &[PEERS]).await;
    scene.force(removing("b", "d")).await;
    scene.expect(&operation, Outcome::Applied, &[]).await;
    scene.force(adding("a", "c")).await;
    scene.expect(&operation, Outcome::AlreadyHeld, &[]).await;
    scene.clock.set(at("2019-06-01").as_millis());
    scene.expect(&operation, Outcome::AlreadyHeld, &[]).await;
}

#[tokio::test]
async fn adding_a_half_held_friend_checks_only_the_other_half() {
    let scene = Fixture::new().await;
    let one_way = |who: &str, friend: &str| Operation::AddFriends {
        user: user(who),
        friends: vec![user(friend)],
        one_way: true,
    };
    scene.force(one_way("a", "b")).await;
    scene.force(one_way("b", "c")).await;
    scene.expect(&adding("a", "b"), Outcome::Denied, &[PEERS]).await;
    scene.expect(&adding("b", "a"), Outcome::Denied, &[MINE]).await;
    scene.expect(&one_way("a", "b"), Outcome::AlreadyHeld, &[]).await;
    scene.force(removing("b", "c")).await;
    scene.expect(&adding("b", "a"), Outcome::Applied, &[]).await;
}

#[tokio::test]
async fn joining_a_group() {
    let mut scene = Fixture::new().await;
    let operation = joining("full", "a");
    scene.force(creation("full", "Public", None, &["keeper"])).await;
    scene.force(creation("other", "ChatRoom", None, &["a", "b"])).await;
    scene.stop();
    scene.expect(&operation, Outcome::Denied, &[SERVICE]).await;
    scene.renew().await;
    scene.expect(&operation, Outcome::Denied, &[USER, FULL]).await;
    scene.force(leaving("other", "a")).await;
    scene.expect(&operation, Outcome::Denied, &[FULL]).await;
    scene.force(joining("full", "stays")).await;
    scene.force(leaving("full", "keeper")).await;
    scene.expect(&operation, Outcome::Denied, &[FULL]).await;
    scene.force(Operation::DissolveGroup { group: group("full") }).await;
    scene.force(creation("full", "Public", None, &[])).await;
    scene.expect(&operation, Outcome::Applied, &[]).await;
    scene.force(joining("other", "a")).await;
    scene.expect(&operation, Outcome::AlreadyHeld, &[]).await;
    scene.clock.set(at("2019-06-01").as_millis());
    scene.expect(&operation, Outcome::AlreadyHeld, &[]).await;
}

#[tokio::test]
async fn creating_a_group() {
    let mut scene = Fixture::new().await;
    let operation = creation("new", "Public", Some("a"), &[]);
    scene.stop();
    scene.force(creation("held", "ChatRoom", Some("a"), &["b"])).await;
    scene.force(creation("same", "Public", Some("b"), &["c"])).await;
    scene.expect(&operation, Outcome::Denied, &[SERVICE]).await;
    scene.renew().await;
    scene.expect(&operation, Outcome::Denied, &[USER, AT_ONCE, DAY, DAY]).await;
    scene.force(leaving("held", "a")).await;
    scene.expect(&operation, Outcome::Denied, &[AT_ONCE, DAY, DAY]).await;
    scene.force(Operation::DissolveGroup { group: group("same") }).await;
    scene.expect(&operation, Outcome::Denied, &[DAY]).await;
    // The next day.
    scene.clock.set(at("2019-03-20").as_millis());
    scene.expect(&operation, Outcome::Applied, &[]).await;
    scene.expect(&operation, Outcome::AlreadyHeld, &[]).await;
    scene.clock.set(at("2019-06-01").as_millis());
    scene.expect(&operation, Outcome::AlreadyHeld, &[]).await;
}

#[tokio::test]
async fn the_list_given_at_creation() {
    let mut scene = Fixture::new().await;
    let operation = creation("new", "Public", Some("a"), &["b"]);
    scene.force(creation("held", "ChatRoom", Some("b"), &["c"])).await;
    // The group itself is created; the results are those of the member.
    scene.clock.set(at("2019-02-13").as_millis());
    let member = |decision: &Decision| {
        let denials = decision.items[0].violations.iter();
        let reasons = denials.map(|denial| (denial.violation.reason, denial.im_code.number));
        (decision.items[0].outcome, reasons.collect::<Vec<_>>())
    };
    let decision = scene.service.enforce(&scene.app, operation.clone()).await;
    assert_eq!(shown(&decision), (Outcome::Applied, Vec::new()));
    assert_eq!(member(&decision), (Outcome::Denied, vec![USER, FULL_LIST]));
    scene.force(leaving("held", "b")).await;
    let decision = scene.service.enforce(&scene.app, operation.clone()).await;
    assert_eq!(shown(&decision), (Outcome::AlreadyHeld, Vec::new()));
    assert_eq!(member(&decision), (Outcome::Denied, vec![FULL_LIST]));
    scene.stop();
    let decision = scene.service.enforce(&scene.app, operation.clone()).await;
    assert_eq!(shown(&decision), (Outcome::AlreadyHeld, Vec::new()));
    assert_eq!(member(&decision), (Outcome::Denied, vec![SERVICE]));
    scene.renew().await;
    scene.force(joining("new", "b")).await;
    let decision = scene.service.enforce(&scene.app, operation).await;
    assert_eq!(member(&decision), (Outcome::AlreadyHeld, Vec::new()));
}

#[tokio::test]
async fn too_many_av_rooms_have_a_code_of_their_own() {
    let scene = Fixture::new().await;
    scene.force(creation("one", "AVChatRoom", None, &[])).await;
    scene.clock.set(at("2019-02-13").as_millis());
    let second = creation("two", "AVChatRoom", None, &[]);
    scene.expect(&second, Outcome::Denied, &[(Reason::GroupsPerApp, 10036)]).await;
}

#[tokio::test]
async fn releases_work_while_the_service_has_stopped() {
    let scene = Fixture::new().await;
    scene.force(creation("group", "Public", Some("a"), &["b"])).await;
    scene.force(adding("a", "b")).await;
    scene.force(Operation::CreateAccounts { users: vec![user("a")] }).await;
    scene.stop();
    let own = Some(2);
    let update = Operation::UpdateGroup { group: group("group"), max_members: own };
    for operation in [
        update,
        leaving("group", "b"),
        removing("a", "b"),
        Operation::DeleteAccount { user: user("a") },
    ] {
        let decision = scene.service.enforce(&scene.app, operation.clone()).await;
        assert_eq!(shown(&decision), (Outcome::Applied, Vec::new()), "{operation:?}");
        let again = scene.service.apply(&scene.app, Mode::Enforce, operation).await;
        let nothing_left = again.map_or(Outcome::NotHeld, |again| shown(&again).0);
        assert!(matches!(nothing_left, Outcome::NotHeld | Outcome::AlreadyHeld));
    }
}

#[test]
fn reasons_are_listed_in_the_order_of_the_api() {
    let in_order = [
        Reason::ServiceStopped,
        Reason::AccountsPerApp,
        Reason::MyFriends,
        Reason::PeerFriends,
        Reason::GroupsPerUser,
        Reason::GroupsPerApp,
        Reason::GroupsPerDay,
        Reason::MembersPerGroup,
        Reason::MembersAtCreation,
    ];
    assert!(in_order.is_sorted());
    for (number, reason) in (1..).zip(in_order) {
        let name = format!("DENIAL_REASON_{}", reason.name());
        let of_api = imquota::grpc::pb::DenialReason::from_str_name(&name).expect("of the API");
        assert_eq!(i32::from(of_api), number);
    }
}

#[test]
fn every_reason_and_batches_have_an_im_code() {
    let catalog = catalog();
    for (reason, code) in [SERVICE, ACCOUNTS, MINE, PEERS, USER, DAY, FULL, FULL_LIST] {
        assert_eq!(catalog.im_code(reason, Some("Public"), None), code.into());
    }
    for (kind, code) in [("AVChatRoom", 10036), ("BChatRoom", 10006)] {
        assert_eq!(catalog.im_code(Reason::GroupsPerApp, Some(kind), None), code.into());
    }
    assert_eq!(catalog.im_codes.batch_of_members, 10005.into());
    assert_eq!(catalog.im_codes.batch_of_accounts, 70206.into());
    let daily = catalog.group_type("BChatRoom").expect("built in");
    assert_eq!((daily.per_app, daily.per_day), (Limit::Finite(5), Limit::Finite(5)));
    let trial = catalog.edition("trial").expect("built in");
    let rooms = LimitId::GroupsPerApp("AVChatRoom".into());
    assert_eq!(trial.limit(&rooms), Some(Limit::Finite(10)));
}
