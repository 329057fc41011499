//! Tests of the denial cache against a plain list with linear search.

use super::*;
use crate::domain::id::{GroupId, UserId};
use crate::domain::limit::{Bound, Limit, Source};

const DECISIONS: usize = 20_000;
const SUBJECTS_MAX_OF_TEST: usize = 8;

fn app(number: u64) -> AppId {
    AppId::try_from(format!("app{number}")).expect("an id")
}

fn user(number: u64) -> UserId {
    UserId::try_from(format!("user{number}")).expect("an id")
}

fn violation(subject: Subject, limit_id: LimitId, used: u64) -> Violation {
    let bound = Bound { limit: Limit::Finite(used), source: Source::App };
    let (reason, ceiling) = (Reason::MyFriends, Limit::Unlimited);
    Violation { reason, limit_id, subject, used, bound, ceiling, group_type: None }
}

/// Numbers that look random, the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

/// The exact model: subjects in the order of their latest denial, nothing removed early.
#[derive(Default)]
struct Model(Vec<(Key, Vec<(Violation, Duration)>)>);

impl Model {
    fn record(&mut self, key: &Key, violation: &Violation, now: Duration) {
        let there = self.0.iter().position(|(of, _)| of == key);
        let mut denials = there.map(|at| self.0.remove(at).1).unwrap_or_default();
        denials.retain(|(of, _)| of.limit_id != violation.limit_id);
        denials.push((violation.clone(), now));
        self.0.push((key.clone(), denials));
        if self.0.len() > SUBJECTS_MAX_OF_TEST {
            self.0.remove(0);
        }
    }

    fn get(&self, key: &Key, limit_id: &LimitId, now: Duration) -> Option<&Violation> {
        let (_, denials) = self.0.iter().find(|(of, _)| of == key)?;
        let (violation, at) = denials.iter().find(|(of, _)| of.limit_id == *limit_id)?;
        (now < *at + Duration::from_secs(600)).then_some(violation)
    }
}

#[test]
fn a_full_cache_returns_what_an_exact_list_of_the_latest_subjects_does() {
    let limits = [LimitId::FriendsPerUser, LimitId::GroupsPerUser];
    let mut numbers = Numbers(20_190_809);
    let (mut cache, mut model) = (Denials::new(SUBJECTS_MAX_OF_TEST), Model::default());
    let (mut now, mut found, mut not_found) = (Duration::ZERO, 0, 0);
    for used in 0..DECISIONS as u64 {
        // From time to time most denials expire.
        now += Duration::from_secs(numbers.below(if used % 50 == 0 { 900 } else { 40 }));
        let key = (app(numbers.below(2)), Subject::User(user(numbers.below(12))));
        let limit_id = limits[usize::try_from(numbers.below(2)).expect("small")].clone();
        if numbers.below(5) == 0 {
            let Subject::User(user) = key.1.clone() else { unreachable!() };
            cache.remove_changed(&key.0, &Operation::DeleteAccount { user });
            model.0.retain(|(of, _)| *of != key);
        } else {
            let violation = violation(key.1.clone(), limit_id, used);
            cache.record(&key.0, &violation, now);
            model.record(&key, &violation, now);
        }
        assert!(cache.len() <= SUBJECTS_MAX_OF_TEST);
        for (app, user) in (0..24).map(|number| (app(number % 2), user(number / 2))) {
            let key = (app, Subject::User(user));
            for limit_id in &limits {
                let expected = model.get(&key, limit_id, now);
                assert_eq!(cache.get(&key, limit_id, now), expected, "{key:?} {used}");
                *(if expected.is_some() { &mut found } else { &mut not_found }) += 1;
            }
        }
    }
    assert!(found > DECISIONS && not_found > DECISIONS, "{found}, {not_found}");
}

#[test]
fn a_full_cache_evicts_the_oldest_and_returns_the_new_denial() {
    let cache = DenialCache::default();
    let limits =
        |number| [(Subject::User(user(number)), LimitId::FriendsPerUser, Reason::MyFriends)];
    let newest = SUBJECTS_MAX as u64;
    for number in 0..=newest {
        cache.record_over_limit(
            &app(0),
            &violation(Subject::User(user(number)), LimitId::FriendsPerUser, 20),
        );
    }
    assert_eq!(cache.violations(&app(0), &limits(0)), []);
    for number in [1, newest] {
        assert_eq!(cache.violations(&app(0), &limits(number)).len(), 1, "{number}");
    }
    assert_eq!(cache.subjects.load(Ordering::Relaxed), SUBJECTS_MAX);
    cache.clear();
    assert_eq!(cache.violations(&app(0), &limits(newest)), []);
}

#[test]
fn a_cache_that_was_full_shrinks_once_its_denials_expire() {
    let mut denials = Denials::new(100);
    for number in 0..100 {
        let of_user = violation(Subject::User(user(number)), LimitId::FriendsPerUser, 20);
        denials.record(&app(0), &of_user, Duration::ZERO);
    }
    for number in 100..200 {
        let of_user = violation(Subject::User(user(number)), LimitId::FriendsPerUser, 20);
        // One is added, and no more than two are removed by one denial.
        let before = denials.len();
        denials.record(&app(0), &of_user, KEPT_FOR);
        assert!(denials.len() + 1 >= before, "{} of {before}", denials.len());
    }
    assert_eq!(denials.len(), 100, "all expired ones are removed");
    let expired = Subject::User(user(99));
    assert!(!denials.by_subject.contains_key(&(app(0), expired)));
}

#[test]
fn a_change_removes_the_denials_that_it_may_have_outdated_and_no_others() {
    let now = Duration::ZERO;
    let group = GroupId::try_from("g").expect("an id");
    let everything = [
        (Subject::App, LimitId::Service),
        (Subject::App, LimitId::AccountsPerApp),
        (Subject::User(user(1)), LimitId::GroupsPerUser),
        (Subject::User(user(2)), LimitId::GroupsPerUser),
        (Subject::Group(group.clone()), LimitId::MembersPerGroup),
    ];
    let left = |operation: &Operation| {
        let mut denials = Denials::new(100);
        for (subject, limit_id) in &everything {
            denials.record(&app(0), &violation(subject.clone(), limit_id.clone(), 1), now);
        }
        denials.remove_changed(&app(1), operation);
        let there = |(subject, limit): &(Subject, LimitId)| {
            denials.get(&(app(0), subject.clone()), limit, now).is_some()
        };
        assert!(everything.iter().all(there), "those of another app stay");
        denials.remove_changed(&app(0), operation);
        let left = everything.iter().map(|(subject, limit_id)| {
            denials.get(&(app(0), subject.clone()), limit_id, now).is_some()
        });
        left.collect::<Vec<_>>()
    };
    let users = vec![user(1)];
    for (operation, expected) in [
        (Operation::CreateAccounts { users: users.clone() }, [false, false, false, true, true]),
        (Operation::DeleteAccount { user: user(2) }, [false, false, true, false, true]),
        (Operation::JoinGroup { group: group.clone(), users }, [false, true, false, true, false]),
        (Operation::DissolveGroup { group }, [false, true, true, true, false]),
    ] {
        assert_eq!(left(&operation), expected, "{operation:?}");
    }
}

#[test]
fn of_an_aborted_batch_only_what_is_denied_without_it_is_recorded() {
    let group = GroupId::try_from("g").expect("an id");
    let denied = |violations: Vec<Violation>| {
        let denial = |violation| crate::engine::Denial {
            violation,
            im_code: 0.into(),
            message: String::new(),
            upgrades: Vec::new(),
        };
        let violations = violations.into_iter().map(denial).collect();
        ItemResult { outcome: Outcome::Denied, violations }
    };
    let is_busy = violation(Subject::User(user(1)), LimitId::GroupsPerUser, 50);
    let is_full = violation(Subject::Group(group.clone()), LimitId::MembersPerGroup, 20);
    for (other, is_recorded) in [(Outcome::Aborted, false), (Outcome::AlreadyHeld, true)] {
        let decision = Decision {
            decided_at: crate::domain::time::Timestamp::from_millis(0),
            whole: None,
            items: vec![
                ItemResult { outcome: other, violations: Vec::new() },
                denied(vec![is_busy.clone(), is_full.clone()]),
            ],
            members_released: 0,
            group_reclaimed: false,
            warnings: Vec::new(),
            degradation: None,
        };
        let users = vec![user(0), user(1)];
        let operation = Operation::JoinGroup { group: group.clone(), users };
        let cache = DenialCache::default();
        cache.record(&app(0), &operation, &decision);
        let recorded = |it: &Violation| {
            let limit = (it.subject.clone(), it.limit_id.clone(), it.reason);
            !cache.violations(&app(0), &[limit]).is_empty()
        };
        assert!(recorded(&is_busy), "{other:?}");
        assert_eq!(recorded(&is_full), is_recorded, "{other:?}");
    }
}
