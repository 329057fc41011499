//! Facts of an unknown app, against a plain model of sets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imquota::clock::SystemClock;
use imquota::domain::catalog::UnknownAppBound;
use imquota::domain::decision::Subject;
use imquota::domain::id::UserId;
use imquota::domain::usage::Counts;
use imquota::ledger::redis::Redis;
use imquota::ledger::{Call, Ledger, Operation};

use super::{call, catalog, create, full, new_app, takes};
use crate::support::redis::Standalone;
use crate::support::{Rng, group, redis_options, seed, user};

/// The most facts of a part: reached by random takes, and far below each limit of a user.
const MOST: u64 = 12;
const USERS: usize = 7;
const GROUPS: usize = 4;
const STEPS: usize = 700;

#[derive(Default, Clone, PartialEq, Eq)]
struct Model {
    accounts: BTreeSet<usize>,
    /// The owner of a friend list and the entry.
    friends: BTreeSet<(usize, usize)>,
    groups: BTreeMap<usize, BTreeSet<usize>>,
}

impl Model {
    fn parts(&self) -> [u64; 3] {
        let members: usize = self.groups.values().map(BTreeSet::len).sum();
        let counts = [self.accounts.len(), self.friends.len(), self.groups.len() + members];
        counts.map(|count| count as u64)
    }

    /// The facts after an operation that is not refused.
    fn after(&self, step: &Step) -> Self {
        let mut next = self.clone();
        match step {
            Step::Create(users) => next.accounts.extend(users),
            Step::Delete(user) => {
                next.accounts.remove(user);
                next.friends.retain(|(one, other)| one != user && other != user);
                for members in next.groups.values_mut() {
                    members.remove(user);
                }
                let was_in = |group: &usize| self.groups[group].contains(user);
                next.groups.retain(|group, members| !members.is_empty() || !was_in(group));
            }
            Step::Befriend(user, friends, one_way) => {
                for friend in friends.iter().filter(|friend| *friend != user) {
                    next.friends.insert((*user, *friend));
                    if !one_way {
                        next.friends.insert((*friend, *user));
                    }
                }
            }
            Step::Unfriend(user, friend, one_way) => {
                next.friends.remove(&(*user, *friend));
                if !one_way {
                    next.friends.remove(&(*friend, *user));
                }
            }
            Step::Found(group, users) => next.groups.entry(*group).or_default().extend(users),
            Step::Join(group, users) => {
                if let Some(members) = next.groups.get_mut(group) {
                    members.extend(users);
                }
            }
            Step::Leave(group, user) => {
                if let Some(members) = next.groups.get_mut(group)
                    && members.remove(user)
                    && members.is_empty()
                {
                    next.groups.remove(group);
                }
            }
            Step::Dissolve(group) => drop(next.groups.remove(group)),
        }
        next
    }
}

#[derive(Debug)]
enum Step {
    Create(Vec<usize>),
    Delete(usize),
    Befriend(usize, Vec<usize>, bool),
    Unfriend(usize, usize, bool),
    Found(usize, Vec<usize>),
    Join(usize, Vec<usize>),
    Leave(usize, usize),
    Dissolve(usize),
}

fn name(number: usize) -> UserId {
    user(format!("u{number}"))
}

fn names(numbers: &[usize]) -> Vec<UserId> {
    numbers.iter().map(|number| name(*number)).collect()
}

impl Step {
    fn random(rng: &mut Rng) -> Self {
        let user = rng.below(USERS);
        let group = rng.below(GROUPS);
        let one_way = rng.percent(40);
        let mut some: Vec<_> = (0..=rng.below(4)).map(|_| rng.below(USERS)).collect();
        match rng.below(12) {
            0 | 1 => Self::Create(some),
            2 => Self::Delete(user),
            3..6 => {
                some.retain(|friend| *friend != user);
                if some.is_empty() {
                    some.push((user + 1) % USERS);
                }
                Self::Befriend(user, some, one_way)
            }
            6 => Self::Unfriend(user, (user + 1 + rng.below(USERS - 1)) % USERS, one_way),
            7 | 8 => Self::Found(group, some),
            9 => Self::Join(group, some),
            10 => Self::Leave(group, user),
            _ => Self::Dissolve(group),
        }
    }

    fn operation(&self) -> Operation {
        let id = |number: &usize| group(format!("g{number}"));
        match self {
            Self::Create(users) => Operation::CreateAccounts { users: names(users) },
            Self::Delete(user) => Operation::DeleteAccount { user: name(*user) },
            Self::Befriend(user, friends, one_way) => {
                let (user, friends) = (name(*user), names(friends));
                Operation::AddFriends { user, friends, one_way: *one_way }
            }
            Self::Unfriend(user, friend, one_way) => {
                let (user, friends) = (name(*user), vec![name(*friend)]);
                Operation::RemoveFriends { user, friends, one_way: *one_way }
            }
            Self::Found(number, members) => Operation::CreateGroup {
                group: id(number),
                group_type: "Public".into(),
                owner: None,
                members: names(members),
                max_members: None,
            },
            Self::Join(number, users) => {
                Operation::JoinGroup { group: id(number), users: names(users) }
            }
            Self::Leave(number, user) => {
                Operation::LeaveGroup { group: id(number), users: vec![name(*user)] }
            }
            Self::Dissolve(number) => Operation::DissolveGroup { group: id(number) },
        }
    }
}

pub async fn facts_are_bounded_like_in_a_plain_model(ledger: Arc<dyn Ledger>) {
    let seed = seed(17);
    let (mut rng, mut model) = (Rng::new(seed), Model::default());
    let (catalog, app) = (catalog(100, MOST), new_app());
    let mut refused = 0;
    for number in 0..STEPS {
        let step = Step::random(&mut rng);
        let next = model.after(&step);
        let (before, after) = (model.parts(), next.parts());
        let is_full = before.iter().zip(&after).any(|(one, other)| other > one && *other > MOST);
        let answer = ledger.apply(call(&app, &catalog), step.operation()).await;
        let context = format!("IMQUOTA_SEED={seed}, step {number}: {step:?} {before:?}");
        if is_full {
            let wanted = full(&app, UnknownAppBound::Facts, MOST);
            assert_eq!(answer, Err(wanted), "{context}");
            refused += 1;
        } else {
            let is_there =
                |error: &_| matches!(error, imquota::ledger::LedgerError::GroupNotFound(_));
            let joins_none =
                matches!(&step, Step::Join(group, _) if !model.groups.contains_key(group));
            assert!(
                answer.is_ok() || (joins_none && answer.as_ref().is_err_and(is_there)),
                "{context}: {answer:?}"
            );
            model = next;
        }
        if number % 25 == 0 {
            compare(&ledger, call(&app, &catalog), &model, &context).await;
        }
    }
    assert!(refused > 30, "{refused}");
    // Releases make room for every fact.
    for user in 0..USERS {
        let step = Step::Delete(user);
        ledger.apply(call(&app, &catalog), step.operation()).await.expect("released");
        model = model.after(&step);
    }
    for number in 0..GROUPS {
        let step = Step::Dissolve(number);
        ledger.apply(call(&app, &catalog), step.operation()).await.expect("released");
        model = model.after(&step);
    }
    assert_eq!(model.parts(), [0, 0, 0]);
    let befriend = |friends: Vec<usize>| Step::Befriend(90, friends, true).operation();
    let all = befriend((0..12).collect());
    ledger.apply(call(&app, &catalog), all).await.expect("exactly the limit");
    let more = ledger.apply(call(&app, &catalog), befriend(vec![12])).await;
    assert_eq!(more, Err(full(&app, UnknownAppBound::Facts, MOST)));
    let forced = Call { mode: imquota::domain::decision::Mode::Force, ..call(&app, &catalog) };
    ledger.apply(forced, befriend(vec![12])).await.expect("FORCE ignores limits");
    let replayed = Call { is_replayed: true, ..call(&app, &catalog) };
    ledger.apply(replayed, befriend(vec![13])).await.expect("a replay ignores limits");
}

/// Compares the store with the model.
async fn compare(ledger: &Arc<dyn Ledger>, call: Call, model: &Model, context: &str) {
    let read = async |subject| ledger.read(call.clone(), subject).await.map(|it| it.counts);
    let Ok(Counts::App { accounts, .. }) = read(Subject::App).await else { panic!("{context}") };
    assert_eq!(accounts, model.accounts.len() as u64, "{context}");
    for number in 0..USERS {
        let counts = read(Subject::User(name(number))).await;
        let Ok(Counts::User { friends, .. }) = counts else { panic!("{context}") };
        let wanted = model.friends.iter().filter(|(one, _)| *one == number).count();
        assert_eq!(friends, wanted as u64, "{context}");
    }
    for number in 0..GROUPS {
        let members = match read(Subject::Group(group(format!("g{number}")))).await {
            Ok(Counts::Group { members, .. }) => Some(members),
            _ => None,
        };
        let wanted = model.groups.get(&number).map(|members| members.len() as u64);
        assert_eq!(members, wanted, "{context}");
    }
}

/// Facts of a previous version are not counted: no take is refused because of them, and the app
/// counts as one with facts.
#[tokio::test(flavor = "multi_thread")]
async fn facts_of_the_previous_version_cause_no_refusal_in_redis() {
    let redis = Standalone::start();
    let open = async || {
        let opened = Redis::open(redis_options(&redis.url()), Arc::new(SystemClock)).await;
        let ledger: Arc<dyn Ledger> = Arc::new(opened.expect("opens"));
        ledger
    };
    let (ledger, roomy, app) = (open().await, catalog(5, 100), new_app());
    let users: Vec<_> = (0..20).map(name).collect();
    let befriend = |friends| Operation::AddFriends { user: user("me"), friends, one_way: true };
    let friends = users[..15].to_vec();
    ledger.apply(call(&app, &roomy), befriend(friends)).await.expect("decided");
    let key = redis.server.cli(&["--scan", "--pattern", "q1{*/friends}limits"]);
    assert_eq!(redis.server.cli(&["HDEL", key.trim(), "facts"]).trim(), "1");
    redis.server.cli(&["DEL", super::stores::KEY]);
    ledger.close().await;
    let (ledger, none) = (open().await, catalog(0, MOST));
    let answer = ledger.apply(call(&app, &none), befriend(users[15..].to_vec())).await;
    assert!(answer.is_ok(), "{answer:?}");
    // A part without earlier facts is bounded.
    let users = (0..13).map(name).collect();
    let many = ledger.apply(call(&app, &none), Operation::CreateAccounts { users }).await;
    assert_eq!(many, Err(full(&app, UnknownAppBound::Facts, MOST)));
    assert!(ledger.apply(call(&app, &none), create("a")).await.is_ok());
    takes(&ledger, call(&app, &none)).await;
    ledger.close().await;
}
