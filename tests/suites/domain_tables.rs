//! Tables of the pricing rules over the pure domain: validity of purchases, limits at an instant,
//! effective caps, and the upgrades of a denial.
//!
//! The precedence of denials has its tables in `denials`, through the engine; refunds have theirs
//! in `refunds`, exchanges in `exchanges`, agreed limits in `agreed`, and the events of their ends
//! in `milestones`.

mod agreed;
mod billing;
mod catalogs;
mod denials;
mod exchanges;
mod meters;
mod milestones;
mod offers;
mod qualified;
mod refunds;
mod selling;

use imquota::domain::catalog::{AfterGrace, Catalog};
use imquota::domain::decision::{Reason, Subject, Violation};
use imquota::domain::id::RequestId;
use imquota::domain::limit::{Limit, LimitId};
use imquota::domain::purchase::{Item, Purchase, Refusal, Sales, sell};
use imquota::domain::schedule::{Limits, Schedule};
use imquota::domain::selling::Conditions;
use imquota::domain::terms::Terms;
use imquota::domain::time::Timestamp;
use imquota::domain::timeline::{ServiceState, Timeline};
use imquota::domain::upgrade::{Offer, upgrades};

use crate::support::{group, order};

fn catalog() -> Catalog {
    imquota::catalog::builtin()
}

/// An instant written as `2019-02-12 09:30`, in Shanghai, which is eight hours ahead.
fn at(text: &str) -> Timestamp {
    let text = if text.contains(' ') {
        format!("{text}:00+08:00")
    } else {
        format!("{text} 00:00:00+08:00")
    };
    let instant: chrono::DateTime<chrono::FixedOffset> = text.parse().expect("an instant");
    Timestamp::from_millis(instant.timestamp_millis())
}

fn before(instant: Timestamp) -> Timestamp {
    Timestamp::from_millis(instant.as_millis() - 1)
}

/// A history of orders: instant, item, months. `professional` is bought, `renew` renews, any other
/// item is an add-on. No order may be refused.
fn history(orders: &[(&str, &str, u32)]) -> Sales {
    history_by(&catalog(), orders)
}

fn history_by(catalog: &Catalog, orders: &[(&str, &str, u32)]) -> Sales {
    let mut sales = Sales::default();
    for (when, what, months) in orders {
        let (item, price_fen) = sell(catalog, &sales, &order(what), *months, at(when))
            .unwrap_or_else(|refusal| panic!("{when} {what}: {refusal}"));
        sales.purchases.push(purchase(when, item, *months, price_fen));
    }
    sales
}

fn purchase(when: &str, item: Item, months: u32, price_fen: i64) -> Purchase {
    let request_id = RequestId::try_from("request").expect("valid");
    let terms = Terms::of(&catalog(), &item);
    let conditions = Conditions::default();
    Purchase { request_id, item, months, price_fen, at: at(when), terms, conditions }
}

/// The limits of an app from its first day on.
fn schedule(sales: &Sales) -> Schedule {
    Schedule::compile(&catalog(), sales, at("2018-01-01")).expect("the catalog has it all")
}

/// Orders, and for the last edition: first day without it, and first day without service.
type Validity<'a> = (&'a [(&'a str, &'a str, u32)], &'a str, &'a str);

/// Pricing rules, section 5.
const VALIDITY: &[Validity<'_>] = &[
    (&[("2019-02-12", "professional", 1)], "2019-03-12", "2019-03-19"),
    (&[("2019-02-12 23:59", "professional", 1)], "2019-03-12", "2019-03-19"),
    (&[("2019-01-31", "professional", 1)], "2019-03-01", "2019-03-08"),
    (&[("2020-01-31", "professional", 1)], "2020-03-01", "2020-03-08"),
    (&[("2019-01-30", "professional", 1)], "2019-03-01", "2019-03-08"),
    (&[("2019-03-31", "professional", 1)], "2019-05-01", "2019-05-08"),
    (&[("2019-01-01", "professional", 1)], "2019-02-01", "2019-02-08"),
    (&[("2019-01-31", "professional", 2)], "2019-03-31", "2019-04-07"),
    (&[("2019-01-15", "professional", 12)], "2020-01-15", "2020-01-22"),
    // Renewals count from the day of the first purchase: in time, on the last day and in grace.
    (&[("2019-01-31", "professional", 1), ("2019-02-10", "renew", 1)], "2019-03-31", "2019-04-07"),
    (
        &[("2019-01-31", "professional", 1), ("2019-02-28 23:59", "renew", 1)],
        "2019-03-31",
        "2019-04-07",
    ),
    (&[("2019-01-31", "professional", 1), ("2019-03-01", "renew", 1)], "2019-03-31", "2019-04-07"),
    (
        &[("2019-01-31", "professional", 1), ("2019-03-07 23:59", "renew", 1)],
        "2019-03-31",
        "2019-04-07",
    ),
    (
        &[
            ("2019-01-31", "professional", 1),
            ("2019-02-10", "renew", 1),
            ("2019-03-30", "renew", 1),
        ],
        "2019-05-01",
        "2019-05-08",
    ),
    (&[("2019-01-31", "professional", 1), ("2019-01-31", "renew", 12)], "2020-03-01", "2020-03-08"),
    // After the stop a purchase starts anew, from its own day.
    (
        &[("2019-01-31", "professional", 1), ("2019-03-08", "professional", 1)],
        "2019-04-08",
        "2019-04-15",
    ),
    // So does a renewal after the stop.
    (&[("2019-01-31", "professional", 1), ("2019-03-08", "renew", 1)], "2019-04-08", "2019-04-15"),
    (
        &[
            ("2019-01-31", "professional", 1),
            ("2019-03-31", "renew", 1),
            ("2019-05-07 23:59", "renew", 1),
        ],
        "2019-05-31",
        "2019-06-07",
    ),
];

#[test]
fn a_later_change_of_the_grace_does_not_change_sold_renewals() {
    for (orders, ends, _) in VALIDITY {
        let purchases = history(orders);
        for edition_grace_days in [0, 3, 60] {
            let mut changed = catalog();
            changed.validity.edition_grace_days = edition_grace_days;
            let timeline = Timeline::new(&changed, &purchases);
            let run = timeline.editions.last().expect("an edition");
            assert_eq!(run.valid.until, at(ends), "{orders:?}, {edition_grace_days} days");
        }
    }
}

#[test]
fn editions_are_valid_by_the_pricing_rules_and_stop_after_seven_more_days() {
    for (orders, ends, stops) in VALIDITY {
        let timeline = Timeline::new(&catalog(), &history(orders));
        let run = timeline.editions.last().expect("an edition");
        assert_eq!((run.valid.until, run.stops_at), (at(ends), at(stops)), "{orders:?}");
        let states = [
            (before(at(ends)), ServiceState::Active),
            (at(ends), ServiceState::Grace),
            (before(at(stops)), ServiceState::Grace),
            (at(stops), ServiceState::Stopped),
            (at("2100-01-01"), ServiceState::Stopped),
        ];
        for (instant, state) in states {
            assert_eq!(timeline.edition_at(instant).1, state, "{orders:?} at {instant:?}");
        }
    }
}

#[test]
fn each_purchase_is_valid_from_its_instant_or_the_end_of_the_previous_one() {
    let orders = [("2019-01-31 10:00", "professional", 1), ("2019-02-10 10:00", "renew", 1)];
    let timeline = Timeline::new(&catalog(), &history(&orders));
    let valid: Vec<_> = timeline.valid.iter().map(|period| (period.from, period.until)).collect();
    assert_eq!(
        valid,
        [(at("2019-01-31 10:00"), at("2019-03-01")), (at("2019-03-01"), at("2019-03-31")),]
    );
}

#[test]
fn an_edition_counts_from_the_instant_of_purchase() {
    let timeline = Timeline::new(&catalog(), &history(&[("2019-02-12 15:30", "professional", 1)]));
    let bought = at("2019-02-12 15:30");
    assert_eq!(timeline.edition_at(before(bought)).0.as_str(), "trial");
    assert_eq!(timeline.edition_at(bought).0.as_str(), "professional");
}

#[test]
fn an_app_that_falls_back_after_its_grace_is_on_trial_again() {
    let mut catalog = catalog();
    catalog.validity.after_grace = AfterGrace::DefaultEdition;
    let timeline = Timeline::new(&catalog, &history(&[("2019-02-12", "professional", 1)]));
    let (edition, state) = timeline.edition_at(at("2019-03-19"));
    assert_eq!((edition.as_str(), state), ("trial", ServiceState::Active));
}

/// History, order, instant, and a keyword of the refusal (or the price in fen).
type Sale<'a> = (&'a [(&'a str, &'a str, u32)], &'a str, &'a str, Result<i64, &'a str>);

const BOUGHT: &[(&str, &str, u32)] = &[("2019-02-12", "professional", 1)];
const WITH_400: &[(&str, &str, u32)] =
    &[("2019-02-12", "professional", 3), ("2019-02-20", "groups-per-user-400", 1)];

const SALES: &[Sale<'_>] = &[
    (&[], "professional", "2019-02-12", Ok(99_900)),
    (&[], "trial", "2019-02-12", Err("UnknownEdition")),
    (&[], "renew", "2019-02-12", Err("NothingToRenew")),
    (&[], "members-2000", "2019-02-12", Err("AddOnsNotAllowed")),
    (BOUGHT, "professional", "2019-03-01", Err("EditionInForce")),
    (BOUGHT, "professional", "2019-03-18 23:59", Err("EditionInForce")),
    (BOUGHT, "professional", "2019-03-19", Ok(99_900)),
    (BOUGHT, "renew", "2019-03-11 23:59", Ok(99_900)),
    (BOUGHT, "renew", "2019-03-18 23:59", Ok(99_900)),
    (BOUGHT, "renew", "2019-03-19", Ok(99_900)),
    (BOUGHT, "nonesuch", "2019-02-20", Err("UnknownAddOn")),
    (BOUGHT, "members-2000", "2019-03-11 23:59", Ok(50_000)),
    (BOUGHT, "members-6000", "2019-02-20", Ok(100_000)),
    (BOUGHT, "groups-per-user-400", "2019-02-20", Ok(50_000)),
    (BOUGHT, "groups-per-user-700", "2019-02-20", Ok(90_000)),
    (BOUGHT, "groups-per-user-1000", "2019-02-20", Ok(110_000)),
    (BOUGHT, "av-chat-rooms-unlimited", "2019-02-20", Ok(100_000)),
    // In grace the edition is still in force.
    (BOUGHT, "members-2000", "2019-03-12", Ok(50_000)),
    (BOUGHT, "members-2000", "2019-03-18 23:59", Ok(50_000)),
    (BOUGHT, "members-2000", "2019-03-19", Err("EditionStopped")),
    // Only one per kind: bought on the 20th, it runs until the 19th of the next month.
    (WITH_400, "groups-per-user-400", "2019-02-21", Err("AddOnInForce")),
    (WITH_400, "groups-per-user-1000", "2019-03-19 23:59", Err("AddOnInForce")),
    (WITH_400, "groups-per-user-1000", "2019-03-20", Ok(110_000)),
    (WITH_400, "members-2000", "2019-02-21", Ok(50_000)),
];

#[test]
fn orders_have_their_price_or_refusal() {
    for (orders, what, when, expected) in SALES {
        let sold = sell(&catalog(), &history(orders), &order(what), 1, at(when));
        let got = sold.map(|(_, price)| price).map_err(|refusal| word(&refusal));
        assert_eq!(got, *expected, "{orders:?}, then {what} at {when}");
    }
    let two_years =
        sell(&catalog(), &Sales::default(), &order("professional"), 24, at("2019-02-12"));
    assert_eq!(two_years.expect("sold").1, 24 * 99_900);
}

fn word(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::UnknownEdition { .. } => "UnknownEdition",
        Refusal::UnknownAddOn { .. } => "UnknownAddOn",
        Refusal::NotForSale { .. } => "NotForSale",
        Refusal::MonthsAboveMax { .. } => "MonthsAboveMax",
        Refusal::SoldOnce { .. } => "SoldOnce",
        Refusal::EditionInForce { .. } => "EditionInForce",
        Refusal::NothingToRenew => "NothingToRenew",
        Refusal::AddOnsNotAllowed(_) => "AddOnsNotAllowed",
        Refusal::EditionStopped(_) => "EditionStopped",
        Refusal::AddOnInForce { .. } => "AddOnInForce",
        Refusal::RaisesNothing { .. } => "RaisesNothing",
        Refusal::Exchange(_) => "Exchange",
        Refusal::Agreed(_) => "Agreed",
        Refusal::Refunded { .. } => "Refunded",
        Refusal::RenewedSince { .. } => "RenewedSince",
        Refusal::NothingLeft { .. } => "NothingLeft",
        Refusal::UnknownPurchase { .. } => "UnknownPurchase",
        Refusal::BeforeLast { .. } => "BeforeLast",
        Refusal::InTheFuture { .. } => "InTheFuture",
        Refusal::MonthClosed { .. } => "MonthClosed",
        Refusal::RetentionDays { .. } => "RetentionDays",
        Refusal::PostpaidNotAllowed { .. } => "PostpaidNotAllowed",
    }
}

/// Accounts, friends, groups, members and AVChatRooms as text.
fn shown(limits: &Limits) -> String {
    let ids = [
        LimitId::AccountsPerApp,
        LimitId::FriendsPerUser,
        LimitId::GroupsPerUser,
        LimitId::MembersPerGroup,
        LimitId::GroupsPerApp("AVChatRoom".into()),
    ];
    let all =
        ids.map(|id| limits.sold_or_unlimited(&id).limit.to_string().replace("unlimited", "-"));
    format!("{:?} {}", limits.state, all.join(" "))
}

const RISE_AND_FALL: &[(&str, &str, u32)] = &[
    ("2019-02-12", "professional", 2),
    ("2019-02-20", "groups-per-user-400", 1),
    ("2019-02-25", "members-6000", 2),
    ("2019-03-15", "av-chat-rooms-unlimited", 1),
    ("2019-03-20", "groups-per-user-1000", 3),
];

/// An instant, the limits from then on, and the instant of the next change.
const LIMITS: &[(&str, &str, &str)] = &[
    ("2019-02-11", "Active 100 20 50 20 10", "2019-02-12"),
    ("2019-02-12", "Active - 3000 200 200 50", "2019-02-20"),
    ("2019-02-20", "Active - 3000 400 200 50", "2019-02-25"),
    ("2019-02-25", "Active - 3000 400 6000 50", "2019-03-15"),
    ("2019-03-15", "Active - 3000 400 6000 -", "2019-03-20"),
    ("2019-03-20", "Active - 3000 1000 6000 -", "2019-04-12"),
    ("2019-04-12", "Grace - 3000 1000 6000 -", "2019-04-15"),
    ("2019-04-15", "Grace - 3000 1000 6000 50", "2019-04-19"),
    ("2019-04-19", "Stopped - 3000 200 200 50", "never"),
];

#[test]
fn limits_follow_edition_and_add_ons_from_one_instant_to_the_next() {
    let schedule = schedule(&history(RISE_AND_FALL));
    for (from, limits, next) in LIMITS {
        assert_eq!(shown(schedule.at(at(from))), *limits, "from {from}");
        let change = (*next != "never").then(|| at(next));
        assert_eq!(schedule.next_change(at(from)), change, "after {from}");
        if let Some(change) = change {
            assert_eq!(shown(schedule.at(before(change))), *limits, "just before {next}");
        }
    }
}

#[test]
fn add_ons_count_again_once_the_edition_that_stopped_is_bought_anew() {
    let mut orders = RISE_AND_FALL.to_vec();
    orders.push(("2019-05-01", "professional", 2));
    let schedule = schedule(&history(&orders));
    assert_eq!(shown(schedule.at(at("2019-04-30"))), "Stopped - 3000 200 200 50");
    // Bought on 2019-03-20 for three months, while the members add-on has ended.
    assert_eq!(shown(schedule.at(at("2019-05-01"))), "Active - 3000 1000 200 50");
    assert_eq!(shown(schedule.at(at("2019-06-20"))), "Active - 3000 200 200 50");
}

#[test]
fn two_add_ons_of_a_kind_in_one_history_do_not_stack() {
    let mut sales = history(&[("2019-02-12", "professional", 3)]);
    for (name, when) in [
        ("groups-per-user-400", "2019-02-13"),
        ("groups-per-user-1000", "2019-02-14"),
        ("groups-per-user-700", "2019-02-15"),
    ] {
        sales.purchases.push(purchase(when, Item::AddOn(name.into()), 1, 0));
    }
    let schedule = schedule(&sales);
    for (when, groups) in [
        ("2019-02-13", "400"),
        ("2019-02-14", "1000"),
        ("2019-02-15", "1000"),
        // The highest ends first; the next one counts for its remaining day.
        ("2019-03-14", "700"),
        ("2019-03-15", "200"),
    ] {
        let expected = format!("Active - 3000 {groups} 200 50");
        assert_eq!(shown(schedule.at(at(when))), expected, "{when}");
    }
    assert_eq!(schedule.at(at("2019-02-15")).add_ons, ["groups-per-user-1000".into()]);
}

/// The add-ons, and the caps of Private, Public, ChatRoom and AVChatRoom.
const CAPS: &[(&[&str], [&str; 4])] = &[
    (&[], ["20", "20", "20", "unlimited"]),
    (&["professional"], ["200", "200", "200", "unlimited"]),
    (&["professional", "members-2000"], ["200", "2000", "2000", "unlimited"]),
    (&["professional", "members-6000"], ["200", "2000", "6000", "unlimited"]),
];

#[test]
fn the_effective_cap_is_the_lowest_of_type_purchase_and_the_groups_own() {
    let catalog = catalog();
    for (bought, caps) in CAPS {
        let limits = limits(bought);
        let kinds = ["Private", "Public", "ChatRoom", "AVChatRoom"].into_iter().zip(caps);
        for (kind, cap) in kinds.chain([("BChatRoom", &"unlimited")]) {
            let kind = catalog.group_type(kind).expect("known");
            assert_eq!(kind.member_bound(&limits, None).limit.to_string(), *cap, "{bought:?}");
            if kind.members_tracked {
                let group = group("g");
                let own = kind.member_bound(&limits, Some((7, &group))).limit;
                assert_eq!(own, Limit::Finite(7));
                let own = kind.member_bound(&limits, Some((100_000, &group))).limit;
                assert_eq!(own.to_string(), *cap);
            }
        }
    }
}

/// The limits in the middle of purchases for a month.
fn limits(bought: &[&str]) -> Limits {
    let orders: Vec<_> = bought.iter().map(|what| ("2019-02-12", *what, 1)).collect();
    schedule(&history(&orders)).at(at("2019-02-20")).clone()
}

/// Purchases, reason, group type, and the one upgrade: its id, the limit with it and its price in
/// fen, or nothing.
type Offered<'a> = (&'a [&'a str], Reason, &'a str, &'a str);

/// Pricing rules, section 4.
const OFFERED: &[Offered<'_>] = &[
    (&[], Reason::AccountsPerApp, "", "edition professional: unlimited for 99900"),
    (&[], Reason::MyFriends, "", "edition professional: 3000 for 99900"),
    (&[], Reason::PeerFriends, "", ""),
    (&[], Reason::GroupsPerUser, "", "edition professional: 200 for 99900"),
    (&[], Reason::GroupsPerApp, "AVChatRoom", "edition professional: 50 for 99900"),
    (&[], Reason::GroupsPerApp, "BChatRoom", ""),
    (&[], Reason::MembersPerGroup, "Private", "edition professional: 200 for 99900"),
    (&[], Reason::MembersAtCreation, "ChatRoom", "edition professional: 200 for 99900"),
    (&["professional"], Reason::MyFriends, "", ""),
    (&["professional"], Reason::PeerFriends, "", ""),
    (&["professional"], Reason::GroupsPerUser, "", "add-on groups-per-user-400: 400 for 50000"),
    (
        &["professional", "groups-per-user-400"],
        Reason::GroupsPerUser,
        "",
        "add-on groups-per-user-700: 700 for 90000 instead of groups-per-user-400",
    ),
    (
        &["professional", "groups-per-user-700"],
        Reason::GroupsPerUser,
        "",
        "add-on groups-per-user-1000: 1000 for 110000 instead of groups-per-user-700",
    ),
    (&["professional", "groups-per-user-1000"], Reason::GroupsPerUser, "", ""),
    (
        &["professional"],
        Reason::GroupsPerApp,
        "AVChatRoom",
        "add-on av-chat-rooms-unlimited: unlimited for 100000",
    ),
    (&["professional"], Reason::GroupsPerApp, "BChatRoom", ""),
    (&["professional"], Reason::MembersPerGroup, "Private", ""),
    (&["professional"], Reason::MembersPerGroup, "Public", "add-on members-2000: 2000 for 50000"),
    (
        &["professional"],
        Reason::MembersAtCreation,
        "ChatRoom",
        "add-on members-2000: 2000 for 50000",
    ),
    (&["professional", "members-2000"], Reason::MembersPerGroup, "Public", ""),
    (
        &["professional", "members-2000"],
        Reason::MembersPerGroup,
        "ChatRoom",
        "add-on members-6000: 6000 for 100000 instead of members-2000",
    ),
    (&["professional", "members-6000"], Reason::MembersPerGroup, "ChatRoom", ""),
    (&["professional", "members-6000"], Reason::MembersPerGroup, "Private", ""),
];

#[test]
fn the_smallest_sufficient_upgrade_is_offered_or_none() {
    let catalog = catalog();
    for (bought, reason, kind, expected) in OFFERED {
        let limits = limits(bought);
        let kind = catalog.group_type(kind);
        let (limit_id, bound) = match (reason, kind) {
            (Reason::GroupsPerApp, Some(kind)) => {
                (LimitId::GroupsPerApp(kind.name.clone()), kind.per_app_bound(&limits))
            }
            (_, Some(kind)) => (LimitId::MembersPerGroup, kind.member_bound(&limits, None)),
            (Reason::AccountsPerApp, None) => sold(&limits, LimitId::AccountsPerApp),
            (Reason::GroupsPerUser, None) => sold(&limits, LimitId::GroupsPerUser),
            (_, None) => sold(&limits, LimitId::FriendsPerUser),
        };
        let used = bound.limit.finite().expect("a limit");
        let violation = Violation::check(*reason, limit_id, &Subject::App, used, &bound);
        let mut violation = violation.expect("the limit is reached");
        if let Some(kind) = kind {
            let by_type = match reason {
                Reason::GroupsPerApp => kind.per_app,
                _ => kind.member_ceiling(None),
            };
            violation = violation.of_group_type(&kind.name, by_type);
        }
        let offered: Vec<String> =
            upgrades(&catalog, &limits, &violation, std::slice::from_ref(&violation))
                .into_iter()
                .map(|upgrade| {
                    let what = match upgrade.offer {
                        Offer::Edition(id) => format!("edition {id}"),
                        Offer::AddOn(id) => format!("add-on {id}"),
                    };
                    let price = upgrade.price_fen_per_month;
                    let instead = upgrade
                        .replaces
                        .map_or(String::new(), |add_on| format!(" instead of {add_on}"));
                    format!("{what}: {} for {price}{instead}", upgrade.new_limit)
                })
                .collect();
        assert_eq!(offered.join("; "), *expected, "{bought:?} {reason:?} {kind:?}");
    }
}

fn sold(limits: &Limits, id: LimitId) -> (LimitId, imquota::domain::limit::Bound) {
    let bound = limits.sold_or_unlimited(&id);
    (id, bound)
}
