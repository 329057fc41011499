//! Operations of several steps on a group that others dissolve, recreate or change between two of
//! the steps: a proxy stops the request of a step until the others have ended.

use std::sync::Arc;

use imquota::clock::SystemClock;
use imquota::domain::decision::{Mode, Outcome, Subject};
use imquota::domain::id::{AppId, UserId};
use imquota::engine::Decision;
use imquota::ledger::{LedgerError, Operation};

use crate::support::proxy::Proxy;
use crate::support::redis::Standalone;
use crate::support::{Place, Service, app, group, user};

/// Members of the operations: three steps of at most 256.
const MEMBERS: usize = 600;
/// The group of all tests.
pub const GROUP: &str = "g";

/// Two sidecars over one Redis, one of which is stopped between its steps.
pub struct Race {
    pub redis: Standalone,
    pub app: AppId,
    proxy: Proxy,
    /// Through the proxy.
    slow: Arc<Service>,
    /// The operation of the others.
    pub others: Service,
}

pub fn members() -> Vec<UserId> {
    (0..MEMBERS).map(|number| user(format!("member {number}"))).collect()
}

pub fn create(owner: Option<&str>, members: Vec<UserId>) -> Operation {
    Operation::CreateGroup {
        group: group(GROUP),
        group_type: "ChatRoom".into(),
        owner: owner.map(user),
        members,
        max_members: None,
    }
}

pub fn join(users: Vec<UserId>) -> Operation {
    Operation::JoinGroup { group: group(GROUP), users }
}

pub fn leave(users: Vec<UserId>) -> Operation {
    Operation::LeaveGroup { group: group(GROUP), users }
}

pub fn dissolve() -> Operation {
    Operation::DissolveGroup { group: group(GROUP) }
}

pub fn update(max_members: u32) -> Operation {
    Operation::UpdateGroup { group: group(GROUP), max_members: Some(max_members) }
}

pub fn whole(decision: &Decision) -> Outcome {
    decision.whole.as_ref().expect("a decision on the whole").outcome
}

/// The number of items with each of these outcomes.
fn count(decision: &Decision, outcome: Outcome) -> usize {
    decision.items.iter().filter(|item| item.outcome == outcome).count()
}

impl Race {
    pub async fn start() -> Self {
        let (redis, app) = (Standalone::start(), app("replaced"));
        let others = super::service(&redis, &app).await;
        let proxy = Proxy::start(redis.server.port()).await;
        let place = Place::Redis(format!("redis://127.0.0.1:{}/0", proxy.port()));
        let slow = Service::open_any(&place, Arc::new(SystemClock), imquota::catalog::builtin());
        let slow = Arc::new(slow.await);
        Self { redis, app, proxy, slow, others }
    }

    /// Starts an operation that is stopped after a number of steps, and waits for that.
    pub async fn stop(
        &self,
        steps: usize,
        operation: Operation,
    ) -> tokio::task::JoinHandle<Result<Decision, LedgerError>> {
        self.proxy
            .stop_request(steps, &self.key('g', self.others.fingerprints().group(&group(GROUP))));
        let (slow, app) = (self.slow.clone(), self.app.clone());
        let running = tokio::spawn(async move { slow.apply(&app, Mode::Enforce, operation).await });
        self.proxy.stopped().await;
        running
    }

    /// Lets the operation continue; returns its answer.
    pub async fn finish(
        &self,
        running: tokio::task::JoinHandle<Result<Decision, LedgerError>>,
    ) -> Result<Decision, LedgerError> {
        self.proxy.let_through();
        running.await.expect("no panic")
    }

    pub async fn do_all<const N: usize>(&self, operations: [Operation; N]) {
        for operation in operations {
            self.others.enforce(&self.app, operation).await;
        }
    }

    /// A key of the app's groups, by its letter and cell.
    pub fn key(&self, letter: char, cell: u64) -> String {
        let app = self.others.fingerprints().app(&self.app);
        format!("q1{{{app:016x}/groups}}{letter}{cell:016x}")
    }

    /// The number of the group's members; `None` if it does not exist.
    pub async fn held(&self) -> Option<i64> {
        let of = Subject::Group(group(GROUP));
        let report = self.others.engine.usage(self.app.clone(), of, self.others.deadline()).await;
        report.ok().map(|report| report.usages[0].used)
    }

    /// The groups of the first and the last of the members.
    pub async fn of_members(&self) -> [i64; 2] {
        let of = async |name: &str| {
            self.others.used(&self.app, Subject::User(user(name)), "groups_per_user").await
        };
        [of("member 0").await, of(&format!("member {}", MEMBERS - 1)).await]
    }

    /// The number of groups of the type.
    pub async fn groups(&self) -> i64 {
        self.others.used(&self.app, Subject::App, "groups_per_app/ChatRoom").await
    }
}

pub fn assert_replaced(answer: Result<Decision, LedgerError>) {
    let error = answer.expect_err("the group was replaced");
    assert_eq!(error.name(), "group_replaced", "{error}");
    assert!(!error.did_nothing() && !error.can_retry(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_creation_that_is_dissolved_returns_an_error_at_each_step() {
    let race = Race::start().await;
    for steps in 1..=2 {
        let creation = race.stop(steps, create(Some("owner"), members())).await;
        race.do_all([dissolve()]).await;
        assert_replaced(race.finish(creation).await);
        assert_eq!((race.held().await, race.of_members().await), (None, [0, 0]));
    }
    assert_eq!(race.groups().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_creation_adds_no_member_to_a_later_group() {
    let race = Race::start().await;
    for steps in 1..=2 {
        let creation = race.stop(steps, create(Some("owner"), members())).await;
        race.do_all([dissolve(), create(Some("other"), vec![])]).await;
        assert_replaced(race.finish(creation).await);
        assert_eq!((race.held().await, race.of_members().await), (Some(1), [0, 0]));
        race.do_all([dissolve()]).await;
    }
    // Also if the last member leaves, and if the other creation is a large one too.
    let creation = race.stop(1, create(None, members())).await;
    race.do_all([leave(members()), create(None, members()[100..500].to_vec())]).await;
    assert_replaced(race.finish(creation).await);
    assert_eq!((race.held().await, race.of_members().await), (Some(400), [0, 0]));
    assert_eq!(race.groups().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_creation_that_joins_a_group_follows_that_group() {
    let race = Race::start().await;
    race.do_all([create(Some("owner"), vec![])]).await;
    let creation = race.stop(1, create(Some("owner"), members())).await;
    race.do_all([dissolve(), create(Some("other"), vec![])]).await;
    assert_replaced(race.finish(creation).await);
    assert_eq!((race.held().await, race.of_members().await), (Some(1), [0, 0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_join_adds_no_member_to_a_later_group() {
    let race = Race::start().await;
    for steps in 1..=2 {
        race.do_all([create(Some("owner"), vec![])]).await;
        let joining = race.stop(steps, join(members())).await;
        race.do_all([dissolve(), create(Some("other"), vec![])]).await;
        assert_replaced(race.finish(joining).await);
        assert_eq!((race.held().await, race.of_members().await), (Some(1), [0, 0]));
        race.do_all([dissolve()]).await;
    }
    // A last step with one user uses the script for single joins, which compares too.
    race.do_all([create(Some("owner"), vec![])]).await;
    let joining = race.stop(1, join(members()[..257].to_vec())).await;
    race.do_all([dissolve(), create(Some("other"), vec![])]).await;
    assert_replaced(race.finish(joining).await);
    assert_eq!(race.held().await, Some(1));
    race.do_all([dissolve(), create(Some("owner"), vec![])]).await;
    let joining = race.stop(1, join(members())).await;
    race.do_all([dissolve()]).await;
    assert_replaced(race.finish(joining).await);
    assert_eq!((race.held().await, race.of_members().await), (None, [0, 0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_leave_removes_no_member_of_a_later_group() {
    let race = Race::start().await;
    for steps in 1..=2 {
        race.do_all([create(Some("owner"), members())]).await;
        let leaving = race.stop(steps, leave(members())).await;
        race.do_all([dissolve(), create(Some("owner"), members())]).await;
        let left = race.finish(leaving).await.expect("a decision");
        assert_eq!(count(&left, Outcome::Applied), steps * 256);
        assert_eq!(count(&left, Outcome::NotHeld), MEMBERS - steps * 256);
        assert!(!left.group_reclaimed);
        assert_eq!((race.held().await, race.of_members().await), (Some(601), [1, 1]));
        race.do_all([dissolve()]).await;
    }
    // The group did not exist at the first step.
    let leaving = race.stop(1, leave(members())).await;
    race.do_all([create(None, members())]).await;
    let left = race.finish(leaving).await.expect("a decision");
    assert_eq!(count(&left, Outcome::NotHeld), MEMBERS);
    assert_eq!(race.held().await, Some(600));
}

#[tokio::test(flavor = "multi_thread")]
async fn large_operations_continue_unless_the_group_is_replaced() {
    let race = Race::start().await;
    let creation = Operation::CreateGroup {
        group: group(GROUP),
        group_type: "ChatRoom".into(),
        owner: None,
        members: members(),
        max_members: Some(700),
    };
    let creation = race.stop(1, creation).await;
    // Thresholds of the group's members are crossed by these, and by the steps themselves.
    let more: Vec<UserId> = (0..210).map(|number| user(format!("more {number}"))).collect();
    race.do_all([join(more.clone()), update(900), leave(more), join(vec![user("one")])]).await;
    race.do_all([Operation::DeleteAccount { user: user("member 7") }]).await;
    let created = race.finish(creation).await.expect("a decision");
    assert_eq!((whole(&created), count(&created, Outcome::Applied)), (Outcome::Applied, MEMBERS));
    assert_eq!(race.held().await, Some(600));
    let leaving = race.stop(2, leave(members())).await;
    race.do_all([join(vec![user("two")]), update(100)]).await;
    let left = race.finish(leaving).await.expect("a decision");
    assert_eq!(count(&left, Outcome::Applied), MEMBERS - 1);
    assert_eq!(race.held().await, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_dissolutions_is_applied_at_whatever_step_they_meet() {
    let race = Race::start().await;
    for steps in 1..=3 {
        race.do_all([create(None, members())]).await;
        let dissolving = race.stop(steps, dissolve()).await;
        let second = race.others.enforce(&race.app, dissolve()).await;
        let first = race.finish(dissolving).await.expect("a decision");
        let outcomes = (whole(&first), whole(&second));
        assert_eq!(outcomes, (Outcome::NotHeld, Outcome::Applied), "after {steps}");
        assert_eq!(first.members_released + second.members_released, MEMBERS as u64);
        let third = race.others.enforce(&race.app, dissolve()).await;
        assert_eq!(whole(&third), Outcome::NotHeld);
        assert_eq!((race.held().await, race.groups().await), (None, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dissolution_finished_by_a_creation_does_not_change_the_new_group() {
    let race = Race::start().await;
    for steps in 1..=3 {
        race.do_all([create(None, members())]).await;
        let dissolving = race.stop(steps, dissolve()).await;
        let created = race.others.enforce(&race.app, create(None, members()[..1].to_vec())).await;
        assert_eq!(whole(&created), Outcome::Applied);
        let dissolved = race.finish(dissolving).await.expect("a decision");
        assert_eq!(whole(&dissolved), Outcome::Applied, "after {steps}");
        assert_eq!((race.held().await, race.of_members().await), (Some(1), [1, 0]));
        race.do_all([dissolve()]).await;
    }
    // The new group is dissolved too, by others: two groups, two dissolutions.
    race.do_all([create(None, members())]).await;
    let dissolving = race.stop(1, dissolve()).await;
    race.do_all([create(None, members())]).await;
    let second = race.others.enforce(&race.app, dissolve()).await;
    let first = race.finish(dissolving).await.expect("a decision");
    assert_eq!((whole(&first), whole(&second)), (Outcome::Applied, Outcome::Applied));
    assert_eq!((race.held().await, race.groups().await), (None, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dissolution_whose_last_member_leaves_is_applied() {
    let race = Race::start().await;
    race.do_all([create(None, members())]).await;
    let dissolving = race.stop(1, dissolve()).await;
    let left = race.others.enforce(&race.app, leave(members())).await;
    assert!(left.group_reclaimed);
    let dissolved = race.finish(dissolving).await.expect("a decision");
    assert_eq!((whole(&dissolved), dissolved.members_released), (Outcome::Applied, 0));
    assert_eq!((race.held().await, race.groups().await), (None, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_dissolution_is_applied_once_by_a_retry() {
    let race = Race::start().await;
    race.do_all([create(None, members())]).await;
    // One of the members cannot be released.
    let cell = race.others.fingerprints().user(&user("member 300"));
    let (key, kept) = (race.key('u', cell), race.key('u', 0));
    race.redis.server.cli(&["RENAME", &key, &kept]);
    race.redis.server.cli(&["SET", &key, "no set"]);
    let cut_off = race.others.apply(&race.app, Mode::Enforce, dissolve()).await;
    super::assert_unfinished(&cut_off.expect_err("a step fails"));
    race.redis.server.cli(&["RENAME", &kept, &key]);
    let mut outcomes = Vec::new();
    for _ in 0..2 {
        outcomes.push(whole(&race.others.enforce(&race.app, dissolve()).await));
    }
    assert_eq!(outcomes, [Outcome::Applied, Outcome::NotHeld]);
    assert_eq!((race.held().await, race.groups().await), (None, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_and_its_fields_are_unchanged() {
    let race = Race::start().await;
    let cell = race.others.fingerprints().group(&group(GROUP));
    let record = race.key('g', cell);
    let beside = || {
        let warned = race.key('w', 0).replace(&format!("w{:016x}", 0), "warned");
        race.redis.server.cli(&["HGET", &warned, &format!("m{}", cell.cast_signed())])
    };
    let read = || race.redis.server.cli(&["GET", &record]);
    race.do_all([create(None, members()[..1].to_vec()), update(20)]).await;
    // Operations of one step set no generation.
    assert_eq!((read().as_str(), beside().as_str()), ("20 ChatRoom", ""));
    race.do_all([update(1000), join(members())]).await;
    let zeros = format!("0.{}", "0".repeat(20));
    let is_generation = |digits: &str| digits.len() == 19 && digits.starts_with(['1', '2']);
    assert_eq!(read(), "1000 ChatRoom");
    assert!(beside().strip_prefix(&zeros).is_some_and(is_generation), "{}", beside());
    // It stays after the recorded threshold.
    let generation = beside().split_off(zeros.len());
    race.do_all([update(800), join(vec![user("one more")])]).await;
    assert_eq!(beside(), format!("70{}{generation}", &zeros[1..]));
    let dissolving = race.stop(1, dissolve()).await;
    let (head, number) = read()
        .strip_suffix(" ChatRoom")
        .and_then(|head| head.split_once('-'))
        .map(|(head, number)| (head.to_owned(), number.to_owned()))
        .expect("a claim");
    assert!(head.starts_with("!1") && head.len() == 14, "{head}");
    assert!(number.parse::<u64>().is_ok(), "{number}");
    race.finish(dissolving).await.expect("a decision");
    assert_eq!((read(), beside()), (String::new(), String::new()));
}
