//! Many tasks on one limit: exactly the limit is admitted, each time, and at the end every count
//! equals the number of facts.
//!
//! The tasks run on several threads over the engine; the store is in memory, and once on disk.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::support::{ManualClock, Place, Rng, Service, app, group, order, seed, user};
use imquota::domain::decision::{Mode, Outcome, Reason, Subject};
use imquota::domain::id::{AppId, GroupId, UserId};
use imquota::engine::Decision;
use imquota::ledger::Operation;
use tokio::task::JoinSet;

/// 2019-02-12 12:00 in Shanghai.
const NOON: i64 = 1_549_944_000_000;

fn service(place: &Place) -> Arc<Service> {
    Arc::new(Service::open(place, ManualClock::at(NOON), imquota::catalog::builtin()))
}

/// Applies all operations concurrently, each in a task; returns the answers in their order.
async fn apply_concurrently(
    service: &Arc<Service>,
    app: &AppId,
    operations: Vec<Operation>,
) -> Vec<Decision> {
    let mut tasks = JoinSet::new();
    let mut answers = vec![None; operations.len()];
    for (index, operation) in operations.into_iter().enumerate() {
        let (service, app) = (service.clone(), app.clone());
        tasks.spawn(async move { (index, service.enforce(&app, operation).await) });
    }
    while let Some(answer) = tasks.join_next().await {
        let (index, decision) = answer.expect("no task panics");
        answers[index] = Some(decision);
    }
    answers.into_iter().map(|answer| answer.expect("every task answers")).collect()
}

/// The number of admitted subjects; all others must be denied for that reason alone.
fn admitted(decisions: &[Decision], reason: Reason) -> usize {
    let mut admitted = 0;
    for result in decisions.iter().flat_map(Decision::results) {
        if result.outcome == Outcome::Applied {
            admitted += 1;
        } else {
            let reasons: Vec<Reason> =
                result.violations.iter().map(|denial| denial.violation.reason).collect();
            assert_eq!((result.outcome, reasons), (Outcome::Denied, vec![reason]));
        }
    }
    admitted
}

fn user_number(number: usize) -> UserId {
    user(format!("user {number}"))
}

fn group_number(number: usize) -> GroupId {
    group(format!("group {number}"))
}

fn create(group: GroupId, group_type: &str) -> Operation {
    Operation::CreateGroup {
        group,
        group_type: group_type.into(),
        owner: None,
        members: Vec::new(),
        max_members: None,
    }
}

fn join(group: usize, users: &[usize]) -> Operation {
    let users = users.iter().copied().map(user_number).collect();
    Operation::JoinGroup { group: group_number(group), users }
}

fn leave(group: usize, users: &[usize]) -> Operation {
    let users = users.iter().copied().map(user_number).collect();
    Operation::LeaveGroup { group: group_number(group), users }
}

fn befriend(user: usize, friend: usize, one_way: bool) -> Operation {
    let friends = vec![user_number(friend)];
    Operation::AddFriends { user: user_number(user), friends, one_way }
}

/// Groups with a member who stays, so that they are never reclaimed.
async fn groups_with_a_keeper(service: &Arc<Service>, app: &AppId, numbers: usize) {
    for number in 0..numbers {
        service.enforce(app, create(group_number(number), "Public")).await;
        let keeper = Operation::JoinGroup {
            group: group_number(number),
            users: vec![user(format!("keeper {number}"))],
        };
        service.enforce(app, keeper).await;
    }
}

const ROUNDS: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_user_joins_exactly_as_many_groups_as_the_limit() {
    let (service, app) = (service(&Place::Memory), app("groups-per-user"));
    groups_with_a_keeper(&service, &app, 120).await;
    for _ in 0..ROUNDS {
        let joins = (0..120).map(|number| join(number, &[1])).collect();
        let decisions = apply_concurrently(&service, &app, joins).await;
        assert_eq!(admitted(&decisions, Reason::GroupsPerUser), 50);
        assert_eq!(service.used(&app, Subject::User(user_number(1)), "groups_per_user").await, 50);
        let leaves = (0..120).map(|number| leave(number, &[1])).collect();
        let left = apply_concurrently(&service, &app, leaves).await;
        let applied = left.iter().filter(|one| one.items[0].outcome == Outcome::Applied).count();
        assert_eq!(applied, 50);
        assert_eq!(service.used(&app, Subject::User(user_number(1)), "groups_per_user").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_group_admits_exactly_as_many_members_as_the_limit() {
    let directory = tempfile::tempdir().expect("a directory");
    for place in [Place::Memory, Place::directory(directory.path())] {
        let (service, app) = (service(&place), app("members-per-group"));
        service.register(&app, "register").await.expect("registered");
        service.buy(&app, "purchase", order("professional"), 1).await.expect("sold");
        for round in 0..ROUNDS {
            service.enforce(&app, create(group_number(round), "Public")).await;
            // Singly and in batches of three, 300 users in all.
            let singles = (0..150).map(|number| join(round, &[number]));
            let batches =
                (50..100).map(|batch| join(round, &[3 * batch, 3 * batch + 1, 3 * batch + 2]));
            let joins = singles.chain(batches).collect();
            let decisions = apply_concurrently(&service, &app, joins).await;
            assert_eq!(admitted(&decisions, Reason::MembersPerGroup), 200);
            let subject = Subject::Group(group_number(round));
            assert_eq!(service.used(&app, subject, "members_per_group").await, 200);
            let dissolve = Operation::DissolveGroup { group: group_number(round) };
            assert_eq!(service.enforce(&app, dissolve).await.members_released, 200);
        }
        for number in 0..300 {
            let subject = Subject::User(user_number(number));
            assert_eq!(service.used(&app, subject, "groups_per_user").await, 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_app_creates_exactly_as_many_av_rooms_as_the_limit() {
    let (service, app) = (service(&Place::Memory), app("av-rooms"));
    for _ in 0..ROUNDS {
        let rooms = (0..60).map(|number| create(group_number(number), "AVChatRoom")).collect();
        let decisions = apply_concurrently(&service, &app, rooms).await;
        assert_eq!(admitted(&decisions, Reason::GroupsPerApp), 10);
        assert_eq!(service.used(&app, Subject::App, "groups_per_app/AVChatRoom").await, 10);
        let gone = (0..60).map(|number| Operation::DissolveGroup { group: group_number(number) });
        apply_concurrently(&service, &app, gone.collect()).await;
        assert_eq!(service.used(&app, Subject::App, "groups_per_app/AVChatRoom").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_app_creates_exactly_as_many_accounts_as_the_limit() {
    let (service, app) = (service(&Place::Memory), app("accounts"));
    for _ in 0..ROUNDS {
        let create = |from: usize| Operation::CreateAccounts {
            users: (from..from + 4).map(user_number).collect(),
        };
        let creations = (0..70).map(|batch| create(4 * batch)).collect();
        let decisions = apply_concurrently(&service, &app, creations).await;
        assert_eq!(admitted(&decisions, Reason::AccountsPerApp), 100);
        assert_eq!(service.used(&app, Subject::App, "accounts_per_app").await, 100);
        let all = (0..280).map(user_number).collect();
        let deadline = service.deadline();
        service.engine.delete_accounts(&app, all, deadline).await.expect("deleted");
        assert_eq!(service.used(&app, Subject::App, "accounts_per_app").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_friend_list_admits_exactly_the_limit_from_both_sides() {
    let (service, app) = (service(&Place::Memory), app("friends"));
    for round in 0..ROUNDS {
        let hub = 100_000 + round;
        let peers = 100 * round..100 * round + 60;
        // The same pairs from either side, so that each pair is taken twice.
        let from_hub = peers.clone().map(|peer| befriend(hub, peer, false));
        let to_hub = peers.clone().map(|peer| befriend(peer, hub, false));
        let decisions = apply_concurrently(&service, &app, from_hub.chain(to_hub).collect()).await;
        let applied = decisions.iter().filter(|one| one.items[0].outcome == Outcome::Applied);
        assert_eq!(applied.count(), 20);
        let mut listed = 0;
        for (index, peer) in peers.enumerate() {
            let held = service.used(&app, Subject::User(user_number(peer)), "friends_per_user");
            let held = held.await;
            listed += held;
            let outcomes =
                [&decisions[index], &decisions[60 + index]].map(|one| one.items[0].outcome);
            let (expected, reason) = if held == 1 {
                ([Outcome::Applied, Outcome::AlreadyHeld], None)
            } else {
                ([Outcome::Denied, Outcome::Denied], Some([Reason::MyFriends, Reason::PeerFriends]))
            };
            let same = outcomes == expected || outcomes == [expected[1], expected[0]];
            assert!(same, "peer {peer} holds {held}: {outcomes:?}");
            if let Some([mine, theirs]) = reason {
                assert_eq!(admitted(&decisions[index..=index], mine), 0);
                assert_eq!(admitted(&decisions[60 + index..=60 + index], theirs), 0);
            }
        }
        assert_eq!(listed, 20);
        assert_eq!(
            service.used(&app, Subject::User(user_number(hub)), "friends_per_user").await,
            20
        );
    }
}

/// Both users and groups reach their limits: none goes over, and no denial came while there was
/// room.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_refused_while_there_is_room_on_both_sides() {
    let (service, app) = (service(&Place::Memory), app("both-sides"));
    let (users, groups) = (30, 70);
    for number in 0..groups {
        service.enforce(&app, create(group_number(number), "Private")).await;
    }
    let mut pairs: Vec<(usize, usize)> =
        (0..users).flat_map(|user| (0..groups).map(move |group| (user, group))).collect();
    let mut rng = Rng::new(seed(7));
    for index in (1..pairs.len()).rev() {
        pairs.swap(index, rng.below(index + 1));
    }
    let joins = pairs.iter().map(|(user, group)| join(*group, &[*user])).collect();
    let decisions = apply_concurrently(&service, &app, joins).await;
    let applied = |of: &dyn Fn(&(usize, usize)) -> bool| {
        let own = pairs.iter().zip(&decisions).filter(|(pair, _)| of(pair));
        own.filter(|(_, decision)| decision.items[0].outcome == Outcome::Applied).count()
    };
    let per_user: Vec<usize> = (0..users).map(|user| applied(&|pair| pair.0 == user)).collect();
    let per_group: Vec<usize> = (0..groups).map(|group| applied(&|pair| pair.1 == group)).collect();
    assert!(per_user.iter().all(|joined| *joined <= 50), "{per_user:?}");
    assert!(per_group.iter().all(|members| *members <= 20), "{per_group:?}");
    for ((user, group), decision) in pairs.iter().zip(&decisions) {
        let reasons: BTreeSet<Reason> =
            decision.items[0].violations.iter().map(|denial| denial.violation.reason).collect();
        assert!(!reasons.contains(&Reason::GroupsPerUser) || per_user[*user] == 50);
        assert!(!reasons.contains(&Reason::MembersPerGroup) || per_group[*group] == 20);
    }
    for (number, joined) in per_user.iter().enumerate() {
        let used = service.used(&app, Subject::User(user_number(number)), "groups_per_user").await;
        assert_eq!(usize::try_from(used), Ok(*joined));
    }
}

const TASKS: usize = 12;
const STEPS: usize = 250;

/// Tasks join and leave, each with users of its own, and record the held facts.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn after_a_mixed_load_every_count_is_the_number_of_facts() {
    let seed = seed(11);
    let (service, app) = (service(&Place::Memory), app("mixed"));
    let (groups, users_each) = (24, 6);
    groups_with_a_keeper(&service, &app, groups).await;
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (service, app) = (service.clone(), app.clone());
        let mut rng = Rng::new(seed + u64::try_from(task).expect("small"));
        tasks.spawn(async move {
            let mut held = BTreeSet::new();
            for _ in 0..STEPS {
                let user = task * users_each + rng.below(users_each);
                let group = rng.below(groups);
                if rng.percent(70) {
                    let decision = service.enforce(&app, join(group, &[user])).await;
                    let outcome = decision.items[0].outcome;
                    let had = held.contains(&(user, group));
                    assert_eq!(outcome == Outcome::AlreadyHeld, had, "IMQUOTA_SEED={seed}");
                    if outcome == Outcome::Applied {
                        held.insert((user, group));
                    }
                } else {
                    let decision = service.enforce(&app, leave(group, &[user])).await;
                    let outcome = decision.items[0].outcome;
                    let had = held.remove(&(user, group));
                    assert_eq!(outcome == Outcome::Applied, had, "IMQUOTA_SEED={seed}");
                }
            }
            held
        });
    }
    let mut facts = BTreeSet::new();
    while let Some(held) = tasks.join_next().await {
        facts.extend(held.expect("no task panics"));
    }
    assert!(facts.len() > 200, "void: too few users are in groups");
    for group in 0..groups {
        let members = 1 + facts.iter().filter(|(_, of)| *of == group).count();
        let used = service.used(&app, Subject::Group(group_number(group)), "members_per_group");
        assert_eq!(usize::try_from(used.await), Ok(members), "IMQUOTA_SEED={seed}");
        assert!(members <= 20);
    }
    for user in 0..TASKS * users_each {
        let joined = facts.iter().filter(|(of, _)| *of == user).count();
        let used = service.used(&app, Subject::User(user_number(user)), "groups_per_user").await;
        assert_eq!(usize::try_from(used), Ok(joined), "IMQUOTA_SEED={seed}");
    }
    for (user, group) in facts {
        let again = service.apply(&app, Mode::CheckOnly, join(group, &[user])).await;
        assert_eq!(again.expect("decided").items[0].outcome, Outcome::AlreadyHeld);
    }
}
