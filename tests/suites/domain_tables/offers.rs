//! The upgrade of a denial, compared with a plain model that tries every purchase.
//!
//! The model has numbers only (`MAX` for unlimited) and shares no code with the crate: it computes
//! the limits after each purchase, and checks the request against all of them.

use imquota::domain::catalog::{AddOn, Catalog, Edition};
use imquota::domain::decision::{Mode, Reason, Subject, Violation};
use imquota::domain::group_type::GroupType;
use imquota::domain::limit::{Bound, Limit, LimitId, Source};
use imquota::domain::schedule::Limits;
use imquota::domain::selling::Selling;
use imquota::domain::timeline::ServiceState;
use imquota::domain::upgrade::{Offer, upgrades};
use imquota::ledger::Operation;

use super::{at, catalog};
use crate::support::{ManualClock, Place, Rng, Service, app, group, order, seed, user};

const MAX: u64 = u64::MAX;
const CASES: usize = 20_000;
/// Accounts, friends, groups of a user, members, groups of the type.
const IDS: usize = 5;

type Numbers = [u64; IDS];

fn id(index: usize) -> LimitId {
    match index {
        0 => LimitId::AccountsPerApp,
        1 => LimitId::FriendsPerUser,
        2 => LimitId::GroupsPerUser,
        3 => LimitId::MembersPerGroup,
        _ => LimitId::GroupsPerApp("T".into()),
    }
}

fn limit(number: u64) -> Limit {
    if number == MAX { Limit::Unlimited } else { Limit::Finite(number) }
}

/// A random case: the items for sale, the current purchases, and the usage.
struct World {
    /// Limits, price (`None`: not for sale), and whether add-ons may be bought.
    editions: Vec<(Numbers, Option<i64>, bool)>,
    /// Limit by index, its number, price.
    add_ons: Vec<(usize, u64, i64)>,
    edition: usize,
    running: Option<usize>,
    cap: u64,
    own: u64,
    per_app: u64,
    per_day: u64,
    held: Numbers,
    held_by_peer: u64,
    today: u64,
    /// The kind of request: account, friend, join, or creation with an owner.
    request: usize,
}

impl World {
    fn random(rng: &mut Rng) -> Self {
        let number = |rng: &mut Rng| if rng.percent(15) { MAX } else { rng.below(8) as u64 };
        let price = |rng: &mut Rng| rng.between(0, 4);
        let numbers = |rng: &mut Rng| [(); IDS].map(|()| number(rng));
        let editions = (0..=rng.below(3)).map(|index| {
            let for_sale = (index > 0).then(|| price(rng));
            (numbers(rng), for_sale, rng.percent(60))
        });
        let editions: Vec<_> = editions.collect();
        let add_ons = (0..rng.below(12)).map(|_| (rng.below(IDS), number(rng), price(rng)));
        let add_ons: Vec<_> = add_ons.collect();
        let edition = rng.below(editions.len());
        // An effective add-on: of its kind, and with a higher limit.
        let counts = |it: &&usize| {
            let (kind, raised, _) = add_ons[**it];
            editions[edition].2 && raised > editions[edition].0[kind]
        };
        let candidates: Vec<usize> = (0..add_ons.len()).collect();
        let running = candidates.iter().find(counts).copied().filter(|_| rng.percent(70));
        Self {
            edition,
            running,
            cap: number(rng),
            own: if rng.percent(60) { MAX } else { rng.below(8) as u64 },
            per_app: if rng.percent(60) { MAX } else { rng.below(8) as u64 },
            per_day: if rng.percent(80) { MAX } else { rng.below(8) as u64 },
            held: [(); IDS].map(|()| rng.below(10) as u64),
            held_by_peer: rng.below(10) as u64,
            today: rng.below(10) as u64,
            request: rng.below(4),
            editions,
            add_ons,
        }
    }

    /// The current limits.
    fn now(&self) -> Numbers {
        let mut numbers = self.editions[self.edition].0;
        if let Some(add_on) = self.running {
            let (kind, raised, _) = self.add_ons[add_on];
            numbers[kind] = raised;
        }
        numbers
    }

    /// The needs of the request: usage, the index of the sold limit if any, and the cap that no
    /// purchase raises.
    fn needs(&self) -> Vec<(Reason, u64, Option<usize>, u64)> {
        let [accounts, friends, groups, members, of_type] = self.held;
        match self.request {
            0 => vec![(Reason::AccountsPerApp, accounts, Some(0), MAX)],
            1 => vec![
                (Reason::MyFriends, friends, Some(1), MAX),
                (Reason::PeerFriends, self.held_by_peer, Some(1), MAX),
            ],
            2 => vec![
                (Reason::GroupsPerUser, groups, Some(2), MAX),
                (Reason::MembersPerGroup, members, Some(3), self.cap.min(self.own)),
            ],
            _ => vec![
                (Reason::GroupsPerUser, groups, Some(2), MAX),
                (Reason::GroupsPerApp, of_type, Some(4), self.per_app),
                (Reason::GroupsPerDay, self.today, None, self.per_day),
            ],
        }
    }

    fn denials(&self, numbers: &Numbers) -> Vec<Reason> {
        let passes = |sold: Option<usize>, held: u64, most: u64| {
            let allowed = sold.map_or(MAX, |index| numbers[index]).min(most);
            allowed == MAX || held < allowed
        };
        let needs = self.needs().into_iter();
        let over = needs.filter(|(_, held, sold, most)| !passes(*sold, *held, *most));
        over.map(|(reason, ..)| reason).collect()
    }

    /// The cheapest sufficient purchase: its name with what it is exchanged for, its price, and the
    /// limits after it.
    fn wanted(&self, of: usize) -> Option<(String, i64, u64)> {
        let (now, edition) = (self.now(), &self.editions[self.edition]);
        let mut helping = Vec::new();
        if edition.2 {
            for (index, (kind, raised, price)) in self.add_ons.iter().enumerate() {
                let mut after = now;
                // In place of the current one of its kind.
                after[*kind] = edition.0[*kind].max(*raised);
                let replaced = self.running.filter(|running| self.add_ons[*running].0 == *kind);
                let replaced = replaced.map_or_else(String::new, |it| format!(" for add-on {it}"));
                helping.push((format!("add-on {index}{replaced}"), *price, after));
            }
        }
        let part: &[usize] = [&[0][..], &[1], &[2, 3, 4], &[2, 3, 4]][self.request];
        // The first edition is the default one, which cannot be bought.
        let replaced = match self.edition {
            0 => String::new(),
            bought => format!(" for edition {bought}"),
        };
        for (index, (numbers, price, add_ons)) in self.editions.iter().enumerate() {
            let mut after = *numbers;
            if let Some(running) = self.running.filter(|_| *add_ons) {
                // It stays where it still raises.
                let (kind, raised, _) = self.add_ons[running];
                after[kind] = after[kind].max(raised);
            }
            let keeps = part.iter().all(|at| after[*at] >= now[*at]);
            if let Some(price) = price.filter(|_| index != self.edition && keeps) {
                helping.push((format!("edition {index}{replaced}"), price, after));
            }
        }
        helping.retain(|(_, _, after)| self.denials(after).is_empty());
        let most = self.needs().iter().find(|need| need.2 == Some(of)).map_or(MAX, |need| need.3);
        let of_limit =
            |(name, price, after): (String, i64, Numbers)| (name, price, after[of].min(most));
        helping.into_iter().map(of_limit).min_by_key(|(_, price, limit)| (*price, *limit))
    }

    /// The catalog of the case.
    fn catalog(&self, base: &Catalog) -> Catalog {
        let mut catalog = base.clone();
        catalog.default_edition = "0".into();
        let editions = self.editions.iter().enumerate();
        catalog.editions = editions
            .map(|(index, (numbers, price, add_ons_allowed))| Edition {
                id: index.to_string().as_str().into(),
                label: String::new(),
                price_fen_per_month: *price,
                selling: Selling::default(),
                add_ons_allowed: *add_ons_allowed,
                postpaid_allowed: false,
                limits: (0..IDS).map(|at| (id(at), limit(numbers[at]))).collect(),
            })
            .collect();
        let add_ons = self.add_ons.iter().enumerate();
        catalog.add_ons = add_ons
            .map(|(index, (kind, raised, price))| AddOn {
                id: index.to_string().as_str().into(),
                label: String::new(),
                limit_id: id(*kind),
                limit: limit(*raised),
                price_fen_per_month: *price,
                selling: Selling::default(),
            })
            .collect();
        catalog
    }

    fn limits(&self) -> Limits {
        let edition: imquota::domain::id::Name = self.edition.to_string().as_str().into();
        let now = self.now();
        let sold = (0..IDS).map(|at| {
            let source = match self.running {
                Some(add_on) if self.add_ons[add_on].0 == at => {
                    Source::AddOn(add_on.to_string().as_str().into())
                }
                _ => Source::Edition(edition.clone()),
            };
            (id(at), Bound { limit: limit(now[at]), source })
        });
        let (sold, add_ons) = (sold.collect(), Vec::new());
        Limits { edition, state: ServiceState::Active, add_ons, sold, im_code_set: None }
    }

    /// The violations that a store would report, each with its limit's index.
    fn violations(&self, base: &Catalog, limits: &Limits) -> Vec<(Option<usize>, Violation)> {
        let kind = GroupType {
            name: "T".into(),
            member_cap: limit(self.cap),
            members_tracked: true,
            per_app: limit(self.per_app),
            per_day: limit(self.per_day),
            ..base.group_types[0].clone()
        };
        let own = (self.own != MAX).then(|| u32::try_from(self.own).expect("small"));
        let group = group("g");
        let needs = self.needs().into_iter().filter_map(|(reason, held, sold, _)| {
            let (bound, ceiling) = match reason {
                Reason::MembersPerGroup => {
                    let bound = kind.member_bound(limits, own.map(|own| (own, &group)));
                    (bound, kind.member_ceiling(own))
                }
                Reason::GroupsPerApp => (kind.per_app_bound(limits), kind.per_app),
                Reason::GroupsPerDay => {
                    let source = Source::GroupType(kind.name.clone());
                    (Bound { limit: kind.per_day, source }, kind.per_day)
                }
                _ => (limits.sold_or_unlimited(&id(sold?)), Limit::Unlimited),
            };
            let limit_id = sold.map_or(LimitId::GroupsPerDayOfType("T".into()), id);
            let violation = Violation::check(reason, limit_id, &Subject::App, held, &bound)?;
            Some((sold, violation.of_group_type(&kind.name, ceiling)))
        });
        needs.collect()
    }
}

#[test]
fn the_cheapest_purchase_that_admits_the_request_is_offered() {
    let (mut rng, base) = (Rng::new(seed(14)), catalog());
    let (mut offered, mut several, mut none) = (0, 0, 0);
    let (mut changes, mut exchanges) = (0, 0);
    for case in 0..CASES {
        let world = World::random(&mut rng);
        let (catalog, limits) = (world.catalog(&base), world.limits());
        let found = world.violations(&base, &limits);
        let violations: Vec<_> = found.iter().map(|(_, violation)| violation.clone()).collect();
        let reasons: Vec<_> = violations.iter().map(|violation| violation.reason).collect();
        assert_eq!(reasons, world.denials(&world.now()), "case {case}");
        for (of, violation) in &found {
            let offer = upgrades(&catalog, &limits, violation, &violations);
            let shown = offer.first().map(|upgrade| {
                let kind = match &upgrade.offer {
                    Offer::Edition(_) => "edition",
                    Offer::AddOn(_) => "add-on",
                };
                let (Offer::Edition(id) | Offer::AddOn(id)) = &upgrade.offer;
                let replaced = upgrade.replaces.as_ref();
                let replaced = replaced.map_or_else(String::new, |it| format!(" for {kind} {it}"));
                (
                    format!("{kind} {id}{replaced}"),
                    upgrade.price_fen_per_month,
                    upgrade.new_limit.finite().unwrap_or(MAX),
                )
            });
            let sold = of.filter(|_| violation.reason != Reason::PeerFriends);
            let wanted = sold.and_then(|of| world.wanted(of));
            assert_eq!(shown, wanted, "case {case}: {violation:?} of {reasons:?}");
            let name = wanted.as_ref().map_or("", |(name, ..)| name.as_str());
            changes += usize::from(name.contains(" for edition"));
            exchanges += usize::from(name.contains(" for add-on"));
            offered += usize::from(wanted.is_some());
            several += usize::from(wanted.is_some() && violations.len() > 1);
            none += usize::from(wanted.is_none());
        }
    }
    assert!(offered > 1000 && several > 100 && none > 1000, "{offered} {several} {none}");
    assert!(changes > 100 && exchanges > 20, "{changes} {exchanges}");
}

#[tokio::test]
async fn with_three_thousand_members_under_a_limit_of_two_hundred_the_large_pack_is_offered() {
    let clock = ManualClock::at(at("2019-02-12 12:00").as_millis());
    let service = Service::open(&Place::Memory, clock, catalog());
    let app = app("app");
    service.register(&app, "r0").await.expect("registered");
    service.buy(&app, "r1", order("professional"), 1).await.expect("sold");
    for (kind, offer) in [
        ("ChatRoom", Some(("members-6000", 100_000))),
        // The type's cap is 2000.
        ("Public", None),
    ] {
        let create = Operation::CreateGroup {
            group: group(kind),
            group_type: kind.into(),
            owner: None,
            members: Vec::new(),
            max_members: None,
        };
        service.enforce(&app, create).await;
        let users = (0..3000).map(|number| user(format!("u{number}"))).collect();
        let join = Operation::JoinGroup { group: group(kind), users };
        service.apply(&app, Mode::Force, join).await.expect("forced");
        let join = Operation::JoinGroup { group: group(kind), users: vec![user("more")] };
        let denied = service.enforce(&app, join).await;
        let shown: Vec<_> = denied.items[0].violations[0].upgrades.iter().collect();
        let shown = shown.first().map(|upgrade| match &upgrade.offer {
            Offer::AddOn(id) | Offer::Edition(id) => (id.as_str(), upgrade.price_fen_per_month),
        });
        assert_eq!(shown, offer, "{kind}");
    }
}
