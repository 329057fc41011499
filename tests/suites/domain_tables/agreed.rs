//! Agreed limits and agreed prices: limits before and after each instant, caps, offers, refunds and
//! refusals. The figures were computed by hand from the pricing rules, sections 1 and 5, and from
//! those of two invented editions.

use imquota::domain::agreed::{AGREED_MAX, AgreedOrder, check_note};
use imquota::domain::bounds::GroupRules;
use imquota::domain::calendar::Day;
use imquota::domain::decision::{Reason, Subject, Violation};
use imquota::domain::exchange::{Exchange, ExchangeOrder};
use imquota::domain::id::Name;
use imquota::domain::limit::{LIMIT_MAX, Limit, LimitId, Source};
use imquota::domain::limits::LimitKind;
use imquota::domain::purchase::{Item, Order, Purchase, Refund, Refusal, Sales};
use imquota::domain::refund::refund;
use imquota::domain::schedule::{Limits, Schedule};
use imquota::domain::timeline::Timeline;
use imquota::domain::upgrade::{Offer, upgrades};

use super::exchanges::catalog;
use super::{at, before, shown, word};
use crate::support::{exchange, group, order, request_id};

/// An instant, and what is done then: `LIMIT=VALUE MONTHS` or `LIMIT=VALUE DAY` is agreed, `change
/// EDITION` and `OLD > NEW` exchange for a month, `refund N` refunds a purchase by its number, and
/// `ITEM MONTHS` is bought.
type Steps<'a> = &'a [(&'a str, &'a str)];

/// The order of an agreed limit, and its months.
fn agreed(what: &str, term: &str) -> (Order, u32) {
    let (limit_id, value) = what.split_once('=').expect("a limit and its value");
    let limit = match value {
        "unlimited" => Limit::Unlimited,
        number => Limit::Finite(number.parse().expect("a number")),
    };
    let last_day = Day::parse(term);
    let months = last_day.map_or_else(|| term.parse().expect("months"), |_| 0);
    let (limit_id, note) = (limit_id.to_owned(), "contract 7".to_owned());
    (Order::Limit(AgreedOrder { limit_id, limit, last_day, note }), months)
}

/// Makes an order at an agreed price, if there is one.
fn buy(
    sales: &Sales,
    id: &str,
    when: &str,
    what: &str,
    price_fen: Option<i64>,
) -> Result<Purchase, Refusal> {
    let (item, term) = what.split_once(' ').expect("an item and its term");
    let (order, months) = if item.contains('=') {
        agreed(item, term)
    } else {
        (order(item), term.parse().expect("months"))
    };
    let bought = Purchase::of_order(&catalog(), sales, request_id(id), &order, months, at(when))?;
    Ok(bought.at_price(price_fen))
}

/// The sales after the steps, each with its number as the request id.
fn history(steps: Steps<'_>) -> Sales {
    let (catalog, mut sales) = (catalog(), Sales::default());
    for (number, (when, what)) in steps.iter().enumerate() {
        let (id, instant) = (number.to_string(), at(when));
        let words: Vec<&str> = what.split(' ').collect();
        let exchanged = match words[..] {
            ["refund", number] => {
                let (id, of) = (request_id(&id), request_id(number));
                let refund = Refund::of_purchase(&catalog, &sales, id, &of, instant);
                sales.refunds.push(refund.expect(what));
                continue;
            }
            ["change", edition] => exchange(None, edition, 1),
            [old, ">", new] => exchange(Some(old), new, 1),
            _ => {
                let bought =
                    buy(&sales, &id, when, what, Some(1000).filter(|_| what.contains('=')));
                sales.purchases.push(bought.unwrap_or_else(|it| panic!("{when} {what}: {it}")));
                continue;
            }
        };
        let id = request_id(&id);
        let exchange = Exchange::of_order(&catalog, &sales, &id, &exchanged, instant);
        exchange.expect(what).add_to(&mut sales);
    }
    sales
}

fn limits(steps: Steps<'_>, when: &str) -> Limits {
    let schedule = Schedule::compile(&catalog(), &history(steps), at("2018-01-01"));
    schedule.expect("the catalog has it all").at(at(when)).clone()
}

const TRIAL: &str = "Active 100 20 50 20 10";
const AGREED: &str = "Active 100 20 500 20 10";

/// Two contracts on one limit, and an add-on of it.
const SEVERAL: Steps<'_> = &[
    ("2019-02-12", "professional 3"),
    ("2019-02-20", "groups-per-user-400 1"),
    ("2019-02-21 10:00", "groups_per_user=1000 3"),
    ("2019-02-25", "groups_per_user=100 1"),
];
const CHANGED: Steps<'_> = &[
    ("2019-02-12", "professional 3"),
    ("2019-02-13", "groups_per_user=900 3"),
    ("2019-02-13", "friends_per_user=unlimited 3"),
    ("2019-02-14", "members-2000 1"),
    ("2019-02-20", "change premium"),
    ("2019-02-25", "change basic"),
];
const REFUNDED: Steps<'_> = &[
    ("2019-02-12", "groups_per_user=500 2"),
    ("2019-02-13", "groups_per_user=30 1"),
    ("2019-02-20 10:00", "refund 1"),
    ("2019-02-21 10:00", "refund 0"),
];

/// Steps, an instant, and the limits just before it and from it on.
const LIMITS: &[(Steps<'_>, &str, &str, &str)] = &[
    // On the default edition, for months, without grace.
    (&[("2019-02-12 10:00", "groups_per_user=500 2")], "2019-02-12 10:00", TRIAL, AGREED),
    (&[("2019-02-12 10:00", "groups_per_user=500 2")], "2019-04-12", AGREED, TRIAL),
    (&[("2019-01-31", "groups_per_user=500 1")], "2019-03-01", AGREED, TRIAL),
    // Through a day, also the same one.
    (&[("2019-02-12 10:00", "groups_per_user=500 2019-02-27")], "2019-02-28", AGREED, TRIAL),
    (&[("2019-02-12 10:00", "groups_per_user=500 2019-02-12")], "2019-02-13", AGREED, TRIAL),
    // It may lower.
    (
        &[("2019-02-12", "professional 1"), ("2019-02-13", "members_per_group=50 1")],
        "2019-02-13",
        "Active - 3000 200 200 50",
        "Active - 3000 200 50 50",
    ),
    // The last one granted counts, above an add-on and below it; then the one before again.
    (SEVERAL, "2019-02-20", "Active - 3000 200 200 50", "Active - 3000 400 200 50"),
    (SEVERAL, "2019-02-21 10:00", "Active - 3000 400 200 50", "Active - 3000 1000 200 50"),
    (SEVERAL, "2019-02-25", "Active - 3000 1000 200 50", "Active - 3000 100 200 50"),
    (SEVERAL, "2019-03-20", "Active - 3000 100 200 50", "Active - 3000 100 200 50"),
    (SEVERAL, "2019-03-25", "Active - 3000 100 200 50", "Active - 3000 1000 200 50"),
    // It counts in grace, and not once the service has stopped.
    (SEVERAL, "2019-05-12", "Active - 3000 1000 200 50", "Grace - 3000 1000 200 50"),
    (SEVERAL, "2019-05-19", "Grace - 3000 1000 200 50", "Stopped - 3000 200 200 50"),
    // It survives every change of the edition.
    (CHANGED, "2019-02-20", "Active - - 900 2000 50", "Active - - 900 2000 -"),
    (CHANGED, "2019-02-25", "Active - - 900 2000 -", "Active 1000 - 900 100 20"),
    (CHANGED, "2019-03-25", "Active 1000 - 900 100 20", "Grace 1000 - 900 100 20"),
    // A refund ends it at once.
    (REFUNDED, "2019-02-13", AGREED, "Active 100 20 30 20 10"),
    (REFUNDED, "2019-02-20 10:00", "Active 100 20 30 20 10", AGREED),
    (REFUNDED, "2019-02-21 10:00", AGREED, TRIAL),
];

#[test]
fn an_agreed_limit_stands_instead_of_the_others_during_its_time() {
    for (steps, when, earlier, later) in LIMITS {
        let schedule = Schedule::compile(&catalog(), &history(steps), at("2018-01-01"));
        let schedule = schedule.expect("the catalog has it all");
        let instant = at(when);
        assert_eq!(shown(schedule.at(before(instant))), *earlier, "{steps:?} before {when}");
        assert_eq!(shown(schedule.at(instant)), *later, "{steps:?} at {when}");
    }
}

#[test]
fn its_request_is_the_source_and_an_add_on_without_effect_is_not_listed() {
    let source = |when: &str| {
        let limits = limits(SEVERAL, when);
        let bound = limits.sold_or_unlimited(&LimitId::GroupsPerUser);
        let agreed: Vec<_> = limits.agreed().map(|(id, limit)| format!("{id} {limit}")).collect();
        (bound.source, limits.add_ons, agreed)
    };
    let add_on = Name::from("groups-per-user-400");
    let agreed = |id: &str| Source::Agreed(request_id(id));
    assert_eq!(source("2019-02-20"), (Source::AddOn(add_on.clone()), vec![add_on], vec![]));
    let line = |text: &str| vec![text.to_owned()];
    let first = line("groups_per_user 1000");
    assert_eq!(source("2019-02-22"), (agreed("2"), vec![], first.clone()));
    assert_eq!(source("2019-02-25"), (agreed("3"), vec![], line("groups_per_user 100")));
    assert_eq!(source("2019-03-25"), (agreed("2"), vec![], first));
}

#[test]
fn rules_and_the_groups_own_limit_still_cap_it() {
    let catalog = catalog();
    let limits = |what| limits(&[("2019-02-12", what)], "2019-02-13");
    let (own, agreed) = (group("g"), Source::Agreed(request_id("0")));
    let kind = |name: &str| catalog.group_type(name).expect("a type");
    let of_type = |name: &str| Source::GroupType(name.into());
    let rules = |name, own| Some(GroupRules { kind: kind(name), own });
    let (members, daily) = (LimitKind::MembersPerGroup, LimitKind::GroupsPerDay);
    let by_type = LimitKind::MembersPerGroupOfType;
    for (what, kind, rules, limit, source) in [
        ("members_per_group=1000 1", members, rules("Public", None), 1000, agreed.clone()),
        ("members_per_group=5000 1", members, rules("Public", None), 2000, of_type("Public")),
        ("members_per_group=unlimited 1", members, rules("Public", None), 2000, of_type("Public")),
        (
            "members_per_group=1000 1",
            members,
            rules("Public", Some((300, &own))),
            300,
            Source::Group(own.clone()),
        ),
        // The one by type stands instead, for its type alone.
        ("members_per_group/Public=70 1", by_type, rules("Public", None), 70, agreed.clone()),
        ("members_per_group/Public=70 1", members, rules("Public", None), 70, agreed.clone()),
        (
            "members_per_group/Public=70 1",
            members,
            rules("ChatRoom", None),
            20,
            Source::Edition("trial".into()),
        ),
        ("groups_per_day=5 1", daily, None, 5, agreed.clone()),
        ("groups_per_day=50000 1", daily, None, 10_000, Source::App),
    ] {
        let bound = kind.bound(&catalog, &limits(what), rules.as_ref());
        assert_eq!((bound.limit, bound.source), (Limit::Finite(limit), source), "{what}");
    }
}

#[test]
fn an_agreed_number_of_groups_stands_instead_of_the_free_one() {
    let kinds = |steps: Steps<'_>| {
        let limits = limits(steps, "2019-02-13");
        let of_all = |(id, _): &&(LimitId, _)| id.to_string() == "groups_per_app";
        let found = limits.sold.iter().filter(of_all);
        found.map(|(id, bound)| (id.clone(), bound.limit)).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&[]), [(LimitId::GroupsAllowance, Limit::Finite(100_000))]);
    let agreed = kinds(&[("2019-02-12", "groups_per_app=200000 1")]);
    assert_eq!(agreed, [(LimitId::GroupsPerAppOfAllTypes, Limit::Finite(200_000))]);
}

/// The offers against a limit that is reached, as `ITEM NEW-LIMIT`.
fn offers(limits: &Limits, ids: &[LimitId]) -> Vec<String> {
    let catalog = catalog();
    let violation = |id: &LimitId| {
        let (bound, reason) = (limits.sold_or_unlimited(id), Reason::Limit);
        let used = bound.limit.finite().expect("a limit");
        Violation::check(reason, id.clone(), &Subject::App, used, &bound).expect("reached")
    };
    let violations: Vec<_> = ids.iter().map(violation).collect();
    let offered = upgrades(&catalog, limits, &violations[0], &violations);
    let shown = offered.into_iter().map(|it| match it.offer {
        Offer::Edition(id) => format!("edition {id} {}", it.new_limit),
        Offer::AddOn(id) => format!("add-on {id} {}", it.new_limit),
    });
    shown.collect()
}

#[test]
fn nothing_is_offered_against_an_agreed_limit() {
    use LimitId::{AccountsPerApp, GroupsPerUser, MembersPerGroup};
    const BOUGHT: (&str, &str) = ("2019-02-12", "professional 2");
    let by_type = || LimitId::MembersPerGroupOfType("ChatRoom".into());
    let cases: &[(Steps<'_>, &[LimitId], &str)] = &[
        (&[], &[GroupsPerUser], "edition basic 100"),
        (&[("2019-02-12", "groups_per_user=60 1")], &[GroupsPerUser], ""),
        (&[BOUGHT], &[GroupsPerUser], "add-on groups-per-user-400 400"),
        (&[BOUGHT, ("2019-02-12", "groups_per_user=60 1")], &[GroupsPerUser], ""),
        // Nor if another limit of the result is not agreed.
        (&[], &[MembersPerGroup, GroupsPerUser], "edition basic 100"),
        (&[("2019-02-12", "groups_per_user=60 1")], &[MembersPerGroup, GroupsPerUser], ""),
        // An edition keeps the agreed limits, so that it lowers none of them.
        (&[("2019-02-12", "groups_per_user=900 1")], &[MembersPerGroup], "edition basic 100"),
        (&[("2019-02-12", "members_per_group=900 1")], &[AccountsPerApp], "edition basic 1000"),
        // Against the agreed number of a type; add-ons on all types do not raise it.
        (&[BOUGHT, ("2019-02-12", "members_per_group/ChatRoom=60 1")], &[by_type()], ""),
        (
            &[BOUGHT, ("2019-02-12", "members_per_group/ChatRoom=60 1")],
            &[MembersPerGroup],
            "add-on members-2000 2000",
        ),
    ];
    for (steps, ids, expected) in cases {
        let limits = limits(steps, "2019-02-13");
        assert_eq!(offers(&limits, ids).join("; "), *expected, "{steps:?} {ids:?}");
    }
}

/// Days of the period, days used, whether in full, fen; or a keyword of the refusal.
type Figures = Result<(i64, i64, bool, i64), &'static str>;

/// Steps, the purchase, its price, the instant of its refund, and the figures. Other agreed limits
/// cost 10.00 CNY.
const REFUNDS: &[(Steps<'_>, usize, i64, &str, Figures)] = &[
    // 2019-02-12 through 2019-03-11.
    (
        &[("2019-02-12", "groups_per_user=500 1")],
        0,
        100_000,
        "2019-02-20",
        Ok((28, 9, false, 67_857)), // 67,857.14
    ),
    (
        &[("2019-02-12", "groups_per_user=500 1")],
        0,
        1000,
        "2019-03-11 23:59",
        Ok((28, 28, false, 0)),
    ),
    (&[("2019-02-12", "groups_per_user=500 1")], 0, 1000, "2019-03-12", Err("NothingLeft")),
    (
        &[("2019-01-01", "friends_per_user=0 2019-12-31")],
        0,
        36_500,
        "2019-01-10",
        Ok((365, 10, false, 35_500)),
    ),
    // Soon after the grant the whole price, once for an app.
    (
        &[("2019-02-12", "groups_per_user=500 2019-02-13")],
        0,
        1001,
        "2019-02-12 12:00",
        Ok((2, 1, true, 1001)),
    ),
    (
        &[
            ("2019-02-12", "friends_per_user=500 1"),
            ("2019-02-12", "groups_per_user=500 2019-02-15"),
            ("2019-02-13", "refund 0"),
        ],
        1,
        1001,
        "2019-02-13",
        Ok((4, 2, false, 501)), // 500.5
    ),
    // Whatever happens to the edition.
    (
        &[
            ("2019-02-12", "professional 1"),
            ("2019-02-12", "groups_per_user=500 1"),
            ("2019-02-18", "change premium"),
        ],
        1,
        2800,
        "2019-02-20",
        Ok((28, 9, false, 1900)),
    ),
    (
        &[("2019-02-12", "groups_per_user=500 1"), ("2019-02-20", "refund 0")],
        0,
        1000,
        "2019-02-21",
        Err("Refunded"),
    ),
];

#[test]
fn a_refund_of_an_agreed_limit_is_by_its_price_and_days() {
    for (steps, index, price_fen, when, expected) in REFUNDS {
        let mut sales = history(steps);
        sales.purchases[*index].price_fen = *price_fen;
        let got = refund(&catalog(), &sales, *index, at(when))
            .map(|it| (it.days, it.days_used, it.in_full, it.refund_fen))
            .map_err(|refusal| word(&refusal));
        assert_eq!(got, *expected, "{steps:?} at {when}");
    }
}

#[test]
fn a_change_of_the_edition_refunds_no_agreed_limit() {
    let sales = history(&CHANGED[..5]);
    // Of the add-ons the one that raises nothing under Premium would be.
    let refunded: Vec<usize> = sales.refunds.iter().map(|refund| refund.purchase).collect();
    assert_eq!(refunded, [0]);
    let timeline = Timeline::new(&catalog(), &sales);
    let ends: Vec<_> = timeline.agreed.iter().map(|run| run.in_force.until).collect();
    assert_eq!(ends, [at("2019-05-13"); 2]);
    assert!(timeline.agreed.iter().all(|run| !run.refunded));
}

#[test]
fn an_agreed_price_is_that_of_the_purchase_its_refund_and_its_exchange() {
    let catalog = catalog();
    let mut sales = Sales::default();
    let bought = buy(&sales, "0", "2019-02-12", "professional 1", Some(28_000)).expect("sold");
    assert_eq!((bought.price_fen, bought.agreed_price_fen()), (28_000, Some(28_000)));
    sales.purchases.push(bought);
    let listed = buy(&sales, "1", "2019-02-12", "members-2000 1", None).expect("sold");
    assert_eq!((listed.price_fen, listed.agreed_price_fen()), (50_000, None));
    // 19 of 28 days are left.
    assert_eq!(refund(&catalog, &sales, 0, at("2019-02-20")).expect("left").refund_fen, 19_000);
    let change = |price_fen, max_sum_fen| {
        let order = ExchangeOrder { price_fen, max_sum_fen, ..exchange(None, "premium", 1) };
        Exchange::of_order(&catalog, &sales, &request_id("2"), &order, at("2019-02-20"))
    };
    assert_eq!(change(None, None).expect("changed").sum_fen(), 199_900 - 19_000);
    let agreed = change(Some(20_000), Some(1000)).expect("changed");
    assert_eq!((agreed.sum_fen(), agreed.purchase.agreed_price_fen()), (1000, Some(20_000)));
    assert_eq!(change(Some(0), None).expect("changed").sum_fen(), -19_000);
    assert!(change(Some(20_000), Some(999)).is_err());
}

/// What is agreed at noon of 2019-02-12, and a part of the refusal.
const REFUSED: &[(&str, &str)] = &[
    ("wishes=5 1", "no edition can have a limit \"wishes\"; there are \"accounts_per_app\""),
    ("service=5 1", "no edition can have"),
    ("groups_per_user/Public=5 1", "no edition can have"),
    ("groups_per_app/Nothing=5 1", "no edition can have"),
    // Members of this type are not counted.
    ("members_per_group/AVChatRoom=5 1", "no edition can have"),
    ("accounts_per_app=0 1", "must be 1-1000000000, or unlimited, for accounts_per_app, not 0"),
    ("members_per_group/Public=0 1", "must be 1-1000000000"),
    ("groups_per_user=1000000001 1", "must be 0-1000000000"),
    ("groups_per_user=5 2019-02-11", "must be 2019-02-12 to 2029-02-12, not 2019-02-11"),
    ("groups_per_user=5 2029-02-13", "must be 2019-02-12 to 2029-02-12, not 2029-02-13"),
];

#[test]
fn what_cannot_be_agreed_is_refused() {
    let sales = Sales::default();
    for (what, expected) in REFUSED {
        let refusal = buy(&sales, "0", "2019-02-12 12:00", what, None).expect_err(what);
        assert!(refusal.to_string().contains(expected), "{what}: {refusal}");
    }
    let most = format!("groups_per_user={LIMIT_MAX} 2029-02-12");
    for what in ["friends_per_user=0 1", "groups_per_app/BChatRoom=0 24", &most] {
        let bought = buy(&sales, "0", "2019-02-12 12:00", what, None).expect(what);
        assert_eq!((bought.price_fen, bought.agreed_price_fen()), (0, None), "{what}");
    }
    for wrong in ["", &"x".repeat(201), "a\nb", "\u{202e}"] {
        assert!(check_note(wrong).is_err(), "{wrong:?}");
    }
    for note in [&"x".repeat(200), "合同 7", " "] {
        assert!(check_note(note).is_ok(), "{note:?}");
    }
}

#[test]
fn an_app_has_a_bounded_number_of_agreed_limits_at_the_same_time() {
    let mut sales = history(&[("2019-01-10", "friends_per_user=30 1")]);
    for number in 1..AGREED_MAX {
        let bought = buy(&sales, &number.to_string(), "2019-01-11", "groups_per_user=60 2", None);
        sales.purchases.push(bought.expect("sold"));
    }
    // One of them ends on that day.
    let more = |when| buy(&sales, "more", when, "accounts_per_app=500 1", None);
    let refusal = more("2019-02-09 23:59").expect_err("too many").to_string();
    assert!(refusal.contains("64 agreed limits whose time has not ended"), "{refusal}");
    assert!(matches!(more("2019-02-10").map(|it| it.item), Ok(Item::Limit(_))));
}

#[test]
fn an_add_on_that_an_agreed_limit_makes_useless_is_not_sold() {
    let steps: Steps<'_> =
        &[("2019-02-12", "professional 3"), ("2019-02-13", "groups_per_user=300 1")];
    let add_on = |when| buy(&history(steps), "9", when, "groups-per-user-400 1", None);
    let refusal = add_on("2019-02-14").expect_err("useless");
    assert_eq!(
        refusal.to_string(),
        "add-on \"groups-per-user-400\" raises groups_per_user to 400, which an agreed limit \
         (request \"1\") sets to 300 until 2019-03-13T00:00:00+08:00"
    );
    assert_eq!(word(&refusal), "RaisesNothing");
    assert_eq!(add_on("2019-03-13").map(|it| it.price_fen), Ok(50_000));
    let other = buy(&history(steps), "9", "2019-02-14", "members-2000 1", None);
    assert_eq!(other.map(|it| it.price_fen), Ok(50_000));
}
