//! Every finite number of the tables is reached in a store, and one more is denied by its limit.
//!
//! Each limit of an edition has an app of its own: takes up to the number are admitted, and none is
//! denied by this limit. Of the groups that an app or a user may have at once all but the last
//! [`STEP`] are imported: it is faster, and an app may have more than it can create in a day. If
//! another limit of the edition is reached before, which [`HIDDEN`] lists, the rest is taken with
//! FORCE. The store in memory gets every number, Redis those up to [`REDIS_MAX`], but of groups
//! in a day, which take a call each, those up to [`REDIS_DAY_MAX`].

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use imquota::clock::{Clock, SystemClock};
use imquota::domain::calendar::Zone;
use imquota::domain::catalog::Catalog;
use imquota::domain::decision::{Mode, Outcome, Violation};
use imquota::domain::id::Name;
use imquota::domain::limit::{Limit, LimitId};
use imquota::domain::limits::{LimitKind, Relation, Window};
use imquota::domain::metering::{Login, MeterOutcome};
use imquota::domain::schedule::{Limits, Schedule, Segment};
use imquota::domain::time::Timestamp;
use imquota::ledger::memory::Memory;
use imquota::ledger::reconcile::{ClaimedGroup, Comparison, ExpectedState, Repair};
use imquota::ledger::redis::Redis;
use imquota::ledger::{Call, Ledger, Operation, TakeOptions};

use super::published::{self, PUBLISHED};
use super::{limits_of, sample};
use crate::support::redis::shared_standalone;
use crate::support::{app, group, redis_options, user};

/// The largest number that is reached in Redis, so that the tests take seconds.
const REDIS_MAX: u64 = 10_000;
/// The largest number of groups in a day that is reached in Redis.
const REDIS_DAY_MAX: u64 = 2000;
/// Takes of a step, and calls at a time.
const STEP: u64 = 500;
const DEADLINE: Duration = Duration::from_secs(60 * 60);

/// The numbers that another number of the edition hides: file, edition, limit.
const HIDDEN: &[(&str, &str, &str)] = &[
    // Its users have no group.
    ("tencent-chat-intl-2025", "none", "members_per_group"),
    // Its groups at once are 100.
    ("tencent-chat-cn-2025", "trial", "groups_per_day"),
];

/// A finite limit of an app.
struct Case {
    /// The edition, add-on, or `rules`.
    of: String,
    limits: Limits,
    id: LimitId,
    number: u64,
}

/// Every finite limit of a table.
fn cases(name: &str, catalog: &Catalog) -> Vec<Case> {
    let published = published::of(name);
    let case = |of: &str, limits: &Limits, id: &str, number| Case {
        of: of.to_owned(),
        limits: limits.clone(),
        id: LimitId::sold_by_name(id).unwrap_or_else(|| panic!("{id} is no limit")),
        number,
    };
    let mut cases = Vec::new();
    for edition in &published.editions {
        let limits = limits_of(catalog, &edition.id, None);
        cases.extend(edition.limits.iter().map(|(id, n)| case(&edition.id, &limits, id, *n)));
    }
    for add_on in &published.add_ons {
        let mut editions = catalog.editions.iter().filter(|edition| edition.add_ons_allowed);
        let edition = editions.next().expect("add-ons are sold");
        let limits = limits_of(catalog, edition.id.as_str(), Some(&add_on.id));
        cases.extend(add_on.limit.map(|n| case(&add_on.id, &limits, &add_on.limit_id, n)));
    }
    // Nothing is sold, so that the rules alone apply.
    let mut limits = limits_of(catalog, catalog.default_edition.as_str(), None);
    limits.sold.clear();
    cases.extend(published.rules.iter().map(|(id, n)| case("rules", &limits, id, *n)));
    cases
}

/// An app whose counts are raised under one limit.
struct Filling {
    ledger: Arc<dyn Ledger>,
    call: Call,
    id: LimitId,
    /// The type of the groups.
    group_type: Name,
}

impl Filling {
    /// The type of groups with which the limit is reached.
    fn group_type(case: &Case, catalog: &Catalog) -> Name {
        let number = Limit::Finite(case.number);
        let mut types = catalog.group_types.iter();
        let fitting = types.find(|kind| match (case.id.kind(), case.id.group_type()) {
            (_, Some(name)) => kind.name == *name,
            (LimitKind::MembersPerGroup, None) => {
                kind.members_tracked && kind.member_bound(&case.limits, None).limit == number
            }
            (LimitKind::GroupsPerUser, None) => kind.counts_towards_user,
            (LimitKind::AccountsPerApp | LimitKind::FriendsPerUser, None) => true,
            (kind, None) if kind.row().relation == Some(Relation::Logins) => true,
            _ => kind.per_app_bound(&case.limits).limit == Limit::Unlimited,
        });
        fitting.unwrap_or_else(|| panic!("{} {}: no type", case.of, case.id)).name.clone()
    }

    fn create(&self, id: &str) -> Operation {
        Operation::CreateGroup {
            group: group(id),
            group_type: self.group_type.clone(),
            owner: None,
            members: Vec::new(),
            max_members: None,
        }
    }

    /// The operations that take the numbered facts, in the largest batches.
    fn operations(&self, range: Range<u64>) -> Vec<Operation> {
        let batch = self.call.catalog.batch;
        let all: Vec<_> = range.clone().map(|number| user(format!("u{number}"))).collect();
        let me = || user("me");
        match self.id.kind() {
            LimitKind::AccountsPerApp => {
                let batches = all.chunks(batch.accounts_max);
                batches.map(|it| Operation::CreateAccounts { users: it.to_vec() }).collect()
            }
            LimitKind::FriendsPerUser => {
                let add = |it: &[_]| Operation::AddFriends {
                    user: me(),
                    friends: it.to_vec(),
                    one_way: false,
                };
                all.chunks(batch.friends_max).map(add).collect()
            }
            LimitKind::MembersPerGroup | LimitKind::MembersPerGroupOfType => {
                let join =
                    |it: &[_]| Operation::JoinGroup { group: group("full"), users: it.to_vec() };
                all.chunks(batch.members_max).map(join).collect()
            }
            LimitKind::GroupsPerUser => {
                let join = |number| Operation::JoinGroup {
                    group: group(format!("g{number}")),
                    users: vec![me()],
                };
                range.map(join).collect()
            }
            _ => range.map(|number| self.create(&format!("g{number}"))).collect(),
        }
    }

    /// Applies operations; returns each result that was denied.
    async fn apply(&self, mode: Mode, operations: Vec<Operation>) -> Vec<Vec<Violation>> {
        let calls = operations.into_iter().map(|operation| {
            let call = Call { mode, ..self.call.clone() };
            self.ledger.apply(call, operation)
        });
        let answers = join_all(calls).await.into_iter().map(|answer| answer.expect("a decision"));
        let results = answers.flat_map(|answer| answer.whole.into_iter().chain(answer.items));
        let denied = results.filter(|result| result.outcome == Outcome::Denied);
        denied.map(|result| result.violations).collect()
    }

    /// The members of each group that is imported, if groups count: one if they count for a user.
    fn imported_members(&self) -> Option<Vec<u64>> {
        match self.id.kind() {
            LimitKind::GroupsPerApp | LimitKind::GroupsPerAppOfAllTypes => Some(Vec::new()),
            LimitKind::GroupsPerUser => Some(vec![self.ledger.fingerprints().user(&user("me"))]),
            _ => None,
        }
    }

    /// Imports groups that exist already; returns their number.
    async fn import(&self, number: u64) -> u64 {
        let Some(members) = self.imported_members() else { return 0 };
        let number = number.saturating_sub(STEP);
        let fingerprints = self.ledger.fingerprints();
        let states: Vec<_> = (0..number)
            .map(|number| ExpectedState::Group {
                group: fingerprints.group(&group(format!("g{number}"))),
                row: Some(ClaimedGroup { group_type: self.group_type.clone(), max_members: None }),
                members: members.clone(),
            })
            .collect();
        let call = self.call.clone();
        let comparison = Comparison { call, repair: Repair::Add, tracked_since: None };
        for states in states.chunks(usize::try_from(STEP).expect("small")) {
            let added = self.ledger.compare(&comparison, states.to_vec()).await.expect("imported");
            assert_eq!(added.len(), states.len() * (1 + members.len()));
        }
        number
    }

    /// Creates the groups that are joined.
    async fn prepare(&self, number: u64, imported: u64) {
        let groups = match self.id.kind() {
            LimitKind::MembersPerGroup | LimitKind::MembersPerGroupOfType => {
                vec![self.create("full")]
            }
            LimitKind::GroupsPerUser => {
                (imported..=number).map(|number| self.create(&format!("g{number}"))).collect()
            }
            _ => Vec::new(),
        };
        assert!(self.apply(Mode::Force, groups).await.is_empty());
    }

    /// Counts that many users who log in, and tries one more.
    async fn log_in_all(&self, number: u64, what: &str) {
        let login = |number| Login { user: user(format!("u{number}")), at: None };
        let logins: Vec<Login> = (0..=number).map(login).collect();
        let metered = self.ledger.record_logins(self.call.clone(), logins).await.expect(what);
        let (last, counted) = metered.outcomes.split_last().expect("logins");
        assert!(counted.iter().all(|outcome| *outcome == MeterOutcome::Counted), "{what}");
        assert_eq!((*last, metered.violations.len()), (MeterOutcome::Denied, 1), "{what}");
        let violation = &metered.violations[0].1[0];
        assert!(self.is_named(violation) && violation.used == number, "{what}: {violation:?}");
    }

    /// The id with which violations name the limit.
    fn is_named(&self, violation: &Violation) -> bool {
        let named = match self.id.kind() {
            LimitKind::MembersPerGroupOfType => &LimitId::MembersPerGroup,
            _ => &self.id,
        };
        violation.limit_id == *named
    }

    /// Takes up to the number, and returns whether another limit was reached before.
    async fn fill(&self, number: u64) -> bool {
        let mut is_hidden = false;
        let mut from = self.import(number).await;
        self.prepare(number, from).await;
        while from < number {
            let to = number.min(from + STEP);
            let operations = self.operations(from..to);
            // Of a hidden number the last takes are tried.
            if !is_hidden || to == number {
                let denied = self.apply(Mode::Enforce, operations.clone()).await;
                is_hidden |= !denied.is_empty();
                for violation in denied.iter().flatten() {
                    let is_reached = !violation.bound.limit.admits_one_more(violation.used);
                    assert!(
                        is_reached && !self.is_named(violation),
                        "below {number}: {violation:?}"
                    );
                }
            }
            if is_hidden {
                assert!(self.apply(Mode::Force, operations).await.is_empty());
            }
            from = to;
        }
        is_hidden
    }
}

/// A catalog in a zone whose day does not end while the tests run.
fn within_a_day(name: &str) -> Catalog {
    let hour_of_utc = SystemClock.now().as_millis() / 3_600_000 % 24;
    let zone = if hour_of_utc == 23 || hour_of_utc == 0 { "Asia/Shanghai" } else { "UTC" };
    Catalog { zone: Zone::named(zone).expect("a zone"), ..sample(name) }
}

/// Returns whether a number is reached in Redis.
fn is_reached_in_redis(case: &Case) -> bool {
    case.number
        <= if case.id.kind().row().window == Window::Day { REDIS_DAY_MAX } else { REDIS_MAX }
}

/// Reaches these numbers of a sample, and tries one more of each.
async fn fill_all(name: &str, ledger: Arc<dyn Ledger>, is_reached: fn(&Case) -> bool) {
    let catalog = Arc::new(within_a_day(name));
    let random = RandomState::new().build_hasher().finish();
    let all = cases(name, &catalog);
    for (index, case) in all.into_iter().enumerate().filter(|(_, case)| is_reached(case)) {
        let Case { of, id, number, .. } = &case;
        let what = format!("{name} {of} {id} {number}");
        let call = Call {
            app: app(&format!("{random:016x}-{index}")),
            mode: Mode::Enforce,
            deadline: SystemClock.now() + DEADLINE,
            catalog: catalog.clone(),
            unknown_app: None,
            fail_fast: false,
            is_replayed: false,
            take: TakeOptions::default(),
        };
        let segment = Segment { until: Timestamp::MAX, limits: case.limits.clone() };
        let schedule = Schedule::from_segments(vec![segment]).expect("endless");
        ledger.put_schedule(&call.app, 1, &schedule).await.expect("stored");
        let group_type = Filling::group_type(&case, &catalog);
        let filling = Filling { ledger: ledger.clone(), call, id: id.clone(), group_type };
        if id.kind().row().relation == Some(Relation::Logins) {
            filling.log_in_all(*number, &what).await;
            continue;
        }
        let is_hidden = filling.fill(*number).await;
        let expected = HIDDEN.contains(&(name, of, &id.to_string()));
        assert_eq!(is_hidden, expected, "{what}: another limit is reached before");
        let more = filling.operations(*number..number + 1);
        let denied = filling.apply(Mode::Enforce, more).await;
        assert_eq!(denied.len(), 1, "{what}: {denied:?}");
        let own = denied[0].iter().find(|it| filling.is_named(it));
        let own = own.unwrap_or_else(|| panic!("{what}: {denied:?}"));
        assert_eq!((own.used, own.bound.limit), (*number, Limit::Finite(*number)), "{what}");
    }
    ledger.close().await;
}

async fn fill_in_memory(test: &str) {
    let store = Memory::open(Arc::new(SystemClock)).expect("the store opens");
    fill_all(&file(test), Arc::new(store), |_| true).await;
}

async fn fill_in_redis(test: &str) {
    let options = redis_options(&shared_standalone().url());
    let store = Redis::open(options, Arc::new(SystemClock)).await.expect("the store opens");
    fill_all(&file(test), Arc::new(store), is_reached_in_redis).await;
}

macro_rules! samples {
    ($($name:ident)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];

        mod memory {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    super::fill_in_memory(stringify!($name)).await;
                }
            )*
        }

        mod standalone {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    super::fill_in_redis(stringify!($name)).await;
                }
            )*
        }
    };
}

samples!(
    tencent_im_2019 easemob_2023 tencent_chat_cn_2025 tencent_chat_intl_2025 agora_chat_2026
    rongcloud_2025 cometchat_2026 self_hosted community
);

/// The file of a test.
fn file(test: &str) -> String {
    test.replace('_', "-")
}

#[test]
fn every_sample_is_filled() {
    let names: Vec<_> = NAMES.iter().map(|name| file(name)).collect();
    let published: Vec<_> = PUBLISHED.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, published);
}
