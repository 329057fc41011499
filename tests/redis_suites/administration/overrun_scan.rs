//! The full scan of users and groups over their limits, compared with a plain model that shares no
//! code with the crate, after random operations that no limit denies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imquota::clock::SystemClock;
use imquota::domain::catalog::AfterGrace;
use imquota::domain::decision::{Mode, Subject};
use imquota::domain::id::AppId;
use imquota::domain::limit::Source;
use imquota::engine::admin::{AdminError, Preview, PreviewChange, PreviewRequest};
use imquota::ledger::Operation;

use super::{places, registered};
use crate::support::{Rng, Service, app, group, order, request_id, seed, user};

const SMALL: &str = include_str!("../../support/small.toml");
const USERS: usize = 14;
const GROUPS: usize = 20;
const OPERATIONS: usize = 300;

/// Type, member cap, whether members are tracked, count for users, and empty groups are reclaimed.
const TYPES: [(&str, u64, bool, bool, bool); 6] = [
    ("Private", 7, true, true, true),
    ("Public", 9, true, true, true),
    ("ChatRoom", 14, true, true, true),
    ("AVChatRoom", u64::MAX, false, false, false),
    ("BChatRoom", u64::MAX, false, false, false),
    ("Lounge", 5, true, false, false),
];

/// The sold limits: friends and groups of a user, and members of a group with their source.
type Sold = (u64, u64, u64, &'static str);

/// Limit, group type and source, with the limit's value, the number over it, and the highest usage.
type Expected = BTreeMap<(String, String, String), (u64, u64, i64)>;

struct Group {
    kind: usize,
    own: Option<u32>,
    members: BTreeSet<usize>,
}

#[derive(Default)]
struct Model {
    friends: BTreeMap<usize, BTreeSet<usize>>,
    groups: BTreeMap<usize, Group>,
}

fn named(number: usize) -> imquota::domain::id::UserId {
    user(format!("user {number}"))
}

fn titled(number: usize) -> imquota::domain::id::GroupId {
    group(format!("group {number}"))
}

impl Model {
    /// Makes a random change; returns the operation for the ledger.
    fn step(&mut self, rng: &mut Rng) -> Operation {
        let (one, number) = (rng.below(USERS), rng.below(GROUPS));
        let some: BTreeSet<usize> = (0..rng.below(8)).map(|_| rng.below(USERS)).collect();
        let others: Vec<usize> = some.iter().copied().filter(|it| *it != one).collect();
        match rng.below(20) {
            0..=5 => self.befriend(one, &others, rng.percent(50)),
            6 | 7 => self.unfriend(one, &others, rng.percent(50)),
            8 => self.delete(one),
            9 => {
                self.groups.remove(&number);
                Operation::DissolveGroup { group: titled(number) }
            }
            what => match self.groups.get(&number).map(|it| TYPES[it.kind].2) {
                None => self.create(number, &some, rng),
                Some(true) if what == 10 => {
                    let own =
                        rng.percent(70).then(|| u32::try_from(1 + rng.below(12)).expect("small"));
                    self.groups.get_mut(&number).expect("it is there").own = own;
                    Operation::UpdateGroup { group: titled(number), max_members: own }
                }
                Some(_) if what <= 12 => self.leave(number, &some),
                Some(tracked) => {
                    if tracked {
                        self.groups.get_mut(&number).expect("it is there").members.extend(&some);
                    }
                    let users = some.iter().copied().map(named).collect();
                    Operation::JoinGroup { group: titled(number), users }
                }
            },
        }
    }

    fn befriend(&mut self, one: usize, others: &[usize], one_way: bool) -> Operation {
        for other in others {
            self.friends.entry(one).or_default().insert(*other);
            if !one_way {
                self.friends.entry(*other).or_default().insert(one);
            }
        }
        let friends = others.iter().copied().map(named).collect();
        Operation::AddFriends { user: named(one), friends, one_way }
    }

    fn unfriend(&mut self, one: usize, others: &[usize], one_way: bool) -> Operation {
        for other in others {
            self.friends.entry(one).or_default().remove(other);
            if !one_way {
                self.friends.entry(*other).or_default().remove(&one);
            }
        }
        let friends = others.iter().copied().map(named).collect();
        Operation::RemoveFriends { user: named(one), friends, one_way }
    }

    fn create(&mut self, number: usize, some: &BTreeSet<usize>, rng: &mut Rng) -> Operation {
        let kind = rng.below(TYPES.len());
        let (name, _, tracked, ..) = TYPES[kind];
        let own =
            (tracked && rng.percent(30)).then(|| u32::try_from(1 + rng.below(12)).expect("small"));
        let members = if tracked { some.clone() } else { BTreeSet::new() };
        self.groups.insert(number, Group { kind, own, members });
        Operation::CreateGroup {
            group: titled(number),
            group_type: name.into(),
            owner: None,
            members: some.iter().copied().map(named).collect(),
            max_members: own,
        }
    }

    fn leave(&mut self, number: usize, some: &BTreeSet<usize>) -> Operation {
        self.take_out(number, some);
        let users = some.iter().copied().map(named).collect();
        Operation::LeaveGroup { group: titled(number), users }
    }

    fn delete(&mut self, one: usize) -> Operation {
        self.friends.remove(&one);
        for friends in self.friends.values_mut() {
            friends.remove(&one);
        }
        for number in 0..GROUPS {
            self.take_out(number, &BTreeSet::from([one]));
        }
        Operation::DeleteAccount { user: named(one) }
    }

    /// A group that loses its last member is reclaimed if its type requires that.
    fn take_out(&mut self, number: usize, some: &BTreeSet<usize>) {
        let Some(group) = self.groups.get_mut(&number) else { return };
        let before = group.members.len();
        group.members.retain(|member| !some.contains(member));
        let (_, _, _, _, reclaimed) = TYPES[group.kind];
        if reclaimed && before > 0 && group.members.is_empty() {
            self.groups.remove(&number);
        }
    }

    fn over(&self, (friends, groups, members, source): Sold) -> Expected {
        let mut all = Expected::new();
        let mut note = |id: &str, kind: &str, source: &str, limit: u64, used: usize| {
            if used as u64 > limit {
                let key = (id.to_owned(), kind.to_owned(), source.to_owned());
                let used = i64::try_from(used).expect("small");
                let (lowest, count, highest) = all.entry(key).or_insert((limit, 0, used));
                (*lowest, *count, *highest) = (limit.min(*lowest), *count + 1, used.max(*highest));
            }
        };
        for one in 0..USERS {
            let held = self.friends.get(&one).map_or(0, BTreeSet::len);
            note("friends_per_user", "", "edition", friends, held);
            let counts = |it: &&Group| TYPES[it.kind].3 && it.members.contains(&one);
            let held = self.groups.values().filter(counts).count();
            let of_groups = if groups == 7 { "add-on" } else { "edition" };
            note("groups_per_user", "", of_groups, groups, held);
        }
        for group in self.groups.values() {
            let (name, cap, ..) = TYPES[group.kind];
            let (limit, source) = if members < cap { (members, source) } else { (cap, "type") };
            let own = group.own.map(u64::from).filter(|own| *own <= limit);
            let (limit, source) = own.map_or((limit, source), |own| (own, "own"));
            note("members_per_group", name, source, limit, group.members.len());
        }
        all
    }
}

fn shown(preview: &Preview) -> Expected {
    let counts = preview.overrun_counts.iter().flatten().map(|it| {
        let source = match it.source {
            Source::Edition(_) => "edition",
            Source::AddOn(_) => "add-on",
            Source::GroupType(_) => "type",
            Source::Group(_) => "own",
            Source::App => "app",
            Source::Agreed(_) => "agreed",
        };
        let group_type = it.group_type.as_ref().map(ToString::to_string).unwrap_or_default();
        let key = (it.limit_id.to_string(), group_type, source.to_owned());
        (key, (it.limit, it.subjects, it.highest_used))
    });
    counts.collect()
}

/// By limit, the number of users and groups over it, and the highest usage.
fn named_over(preview: &Preview) -> BTreeMap<String, (u64, i64)> {
    let mut all = BTreeMap::new();
    for it in preview.overruns().iter().filter(|it| it.subject != Subject::App) {
        let (count, highest) = all.entry(it.limit_id.to_string()).or_insert((0, 0));
        (*count, *highest) = (*count + 1, it.used.max(*highest));
    }
    all
}

fn counted_over(counts: &Expected) -> BTreeMap<String, (u64, i64)> {
    let mut all = BTreeMap::new();
    for ((id, ..), (_, subjects, used)) in counts {
        let (count, highest) = all.entry(id.clone()).or_insert((0, 0));
        (*count, *highest) = (*count + subjects, (*used).max(*highest));
    }
    all
}

/// Applies the model's operations to an app, beside another app.
async fn populated(service: &Service, app: &AppId, rng: &mut Rng) -> Model {
    let mut model = Model::default();
    for _ in 0..OPERATIONS {
        let operation = model.step(rng);
        service.apply(app, Mode::Force, operation).await.expect("done");
    }
    model
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_scan_counts_like_a_plain_model() {
    let seed = seed(20_260_301);
    println!("IMQUOTA_SEED={seed}");
    let (_redis, places) = places();
    for place in &places {
        let mut rng = Rng::new(seed);
        let mut catalog = imquota::catalog::parse(SMALL).expect("a valid catalog");
        catalog.validity.after_grace = AfterGrace::DefaultEdition;
        let service = Service::open_any(place, Arc::new(SystemClock), catalog).await;
        let (app, other) = (app("everybody"), app("other"));
        registered(&service, &app).await;
        service.buy(&app, "r3", order("groups-per-user-400"), 2).await.expect("bought");
        registered(&service, &other).await;
        populated(&service, &other, &mut rng).await;
        let model = populated(&service, &app, &mut rng).await;

        let view = service.administration.app(&app).await.expect("there");
        let add_on_ends = Some(view.valid[1].until);
        let refund = |of: &str| Some(PreviewChange::Refund(request_id(of)));
        let mut told = BTreeSet::new();
        for (what, change, at, sold) in [
            ("now", None, None, (5, 7, 8, "add-on")),
            ("the edition is refunded", refund("r1"), None, (3, 4, 4, "edition")),
            ("an add-on is refunded", refund("r3"), None, (5, 6, 8, "add-on")),
            ("an add-on ends", None, add_on_ends, (5, 7, 6, "edition")),
        ] {
            let question = PreviewRequest {
                change,
                at,
                users: (0..USERS).map(named).collect(),
                groups: (0..GROUPS).map(titled).collect(),
                overrun_scan: true,
            };
            let preview = service.administration.preview(&app, question).await.expect("shown");
            let (shown, expected) = (shown(&preview), model.over(sold));
            assert_eq!(shown, expected, "{what}, {place:?}");
            assert_eq!(counted_over(&shown), named_over(&preview), "{what}, {place:?}");
            told.insert(shown.into_iter().collect::<Vec<_>>());
        }
        assert_eq!(told.len(), 4, "each result is different");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_scan_runs_only_on_request() {
    let (_redis, places) = places();
    for place in &places {
        let (service, app) = (super::open(place).await, app("few"));
        let overrun_scan = PreviewRequest { overrun_scan: true, ..PreviewRequest::default() };
        let unknown = service.administration.preview(&app, overrun_scan.clone()).await;
        assert_eq!(unknown, Err(AdminError::UnknownApp(app.clone())));
        registered(&service, &app).await;
        let shown = service.administration.preview(&app, PreviewRequest::default()).await;
        assert_eq!(shown.expect("shown").overrun_counts, None);
        let shown = service.administration.preview(&app, overrun_scan).await;
        assert_eq!(shown.expect("shown").overrun_counts, Some(Vec::new()));
    }
}
