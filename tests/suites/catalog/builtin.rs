//! The built-in catalog against tables written by hand from the pricing rules.

use std::collections::BTreeMap;

use imquota::catalog::{builtin, parse};
use imquota::domain::calendar::LastDay;
use imquota::domain::catalog::{AfterGrace, Batch, UnknownApps, Validity};
use imquota::domain::decision::Reason;
use imquota::domain::failure_policy::{Budget, FailMode, FailModes, FailurePolicy};
use imquota::domain::id::{AppId, Name, RequestId};
use imquota::domain::id_rules::{IdCharset, IdRules};
use imquota::domain::limit::Limit::{Finite, Unlimited};
use imquota::domain::limit::{Limit, LimitId};
use imquota::domain::limits::LimitKind;
use imquota::domain::postpaid::{GroupsTier, MessageHistory, PostPaid, Region, Tier};
use imquota::domain::purchase::{Item, Purchase};
use imquota::domain::schedule::{Limits, Schedule};
use imquota::domain::selling::{Conditions, FeeRule, RefundRule};
use imquota::domain::time::Timestamp;

use super::broken::SMALL;

fn rooms(kind: &str) -> LimitId {
    LimitId::GroupsPerApp(Name::from(kind))
}

#[test]
fn editions_have_the_limits_of_section_1() {
    let catalog = builtin();
    let table = [
        (LimitId::AccountsPerApp, Finite(100), Unlimited),
        (LimitId::FriendsPerUser, Finite(20), Finite(3000)),
        (LimitId::GroupsPerUser, Finite(50), Finite(200)),
        (LimitId::MembersPerGroup, Finite(20), Finite(200)),
        (rooms("AVChatRoom"), Finite(10), Finite(50)),
    ];
    let ids: Vec<_> = catalog.editions.iter().map(|edition| edition.id.as_str()).collect();
    assert_eq!(ids, ["trial", "professional"]);
    let (trial, professional) = (&catalog.editions[0], &catalog.editions[1]);
    for (id, of_trial, of_professional) in &table {
        assert_eq!(trial.limit(id), Some(*of_trial), "trial {id}");
        assert_eq!(professional.limit(id), Some(*of_professional), "professional {id}");
    }
    assert_eq!([trial.limits.len(), professional.limits.len()], [table.len(); 2]);
    assert_eq!([&*trial.label, &*professional.label], ["Trial", "Professional"]);
    assert_eq!(trial.price_fen_per_month, None);
    assert_eq!(professional.price_fen_per_month, Some(99_900));
    assert!(!trial.add_ons_allowed && professional.add_ons_allowed);
    assert_eq!(catalog.default_edition.as_str(), "trial");
}

#[test]
fn metered_figures_have_the_prices_of_section_6() {
    let catalog = builtin();
    let may = |id: &str| catalog.edition(id).map(|edition| edition.postpaid_allowed);
    assert_eq!([may("trial"), may("professional")], [Some(false), Some(true)]);
    let tier = |free, cny: i64| Tier { free, unit: 100_000, price_fen_per_unit: cny * 100 };
    let region = |id: &str, label: &str, price_fen_per_mbps_day| Region {
        id: id.into(),
        label: label.into(),
        price_fen_per_mbps_day,
    };
    let expected = PostPaid {
        final_day: 3,
        dau: Some(tier(100_000, 10_000)),
        groups: Some(GroupsTier { first_day: 4, tier: tier(100_000, 1000) }),
        history: Some(MessageHistory {
            free_days: 7,
            free_days_of: Vec::new(),
            days_max: 360,
            tier: tier(0, 500),
        }),
        regions: vec![
            region("mainland", "Mainland China", Some(200)),
            region("overseas", "Overseas", None),
        ],
        meters: Vec::new(),
    };
    assert_eq!(catalog.postpaid, expected);
}

#[test]
fn friends_and_joins_are_open_and_accounts_and_rooms_closed() {
    let policy = builtin().failure;
    let modes = FailModes::new(|kind| match kind.row().name {
        "accounts_per_app" | "groups_per_app" => FailMode::Closed,
        "friends_per_user" | "groups_per_user" | "members_per_group" | "groups_per_day" => {
            FailMode::Open
        }
        other => panic!("no mode of {other}"),
    });
    let budget = Budget { per_user_max: 10, per_group_max: 50, per_app_max: 10_000 };
    assert_eq!(policy, FailurePolicy { modes, apps: BTreeMap::new(), budget });
}

#[test]
fn unknown_apps_have_bounds_even_with_a_catalog_of_the_previous_version() {
    let bounds = UnknownApps { max: 10_000, facts_per_app_max: 100_000 };
    assert_eq!(builtin().unknown_apps, bounds);
    assert_eq!(parse(SMALL).expect("a catalog").unknown_apps, bounds);
    let section = "unknown_apps = { max = 7, facts_per_app_max = 0 }\ngroups = {";
    let text = SMALL.replacen("groups = {", section, 1);
    let found = parse(&text).expect("a catalog").unknown_apps;
    assert_eq!(found, UnknownApps { max: 7, facts_per_app_max: 0 });
    for (wrong, reported) in [
        ("max = -1, facts_per_app_max = 0", "unknown_apps.max: must be a whole number from 0 to"),
        ("max = 7", "unknown_apps: \"facts_per_app_max\" is missing"),
        ("max = 7, facts_per_app_max = 0, mix = 1", "unknown_apps.mix: unknown key"),
    ] {
        let text = text.replace("max = 7, facts_per_app_max = 0", wrong);
        let problems = parse(&text).expect_err("wrong").to_string();
        assert!(problems.contains(reported), "{problems}");
    }
}

#[test]
fn a_catalog_widens_the_rules_of_ids() {
    let published = IdRules { user_max_bytes: 32, group_max_bytes: 48, charset: IdCharset::Ascii };
    assert_eq!(builtin().ids, published);
    assert_eq!(parse(SMALL).expect("a catalog").ids, published);
    let widest = "user_max_bytes = 255, group_max_bytes = 254, charset = 'utf8'";
    let text = SMALL.replacen("groups = {", &format!("ids = {{ {widest} }}\ngroups = {{"), 1);
    let found = parse(&text).expect("a catalog").ids;
    let expected = IdRules { user_max_bytes: 255, group_max_bytes: 254, charset: IdCharset::Utf8 };
    assert_eq!(found, expected);
    for (from, to, reported) in [
        ("= 255", "= 256", "ids.user_max_bytes: must be a whole number from 1 to 255, not 256"),
        ("= 254", "= 0", "ids.group_max_bytes: must be a whole number from 1 to 255, not 0"),
        ("'utf8'", "'UTF-8'", "ids.charset: must be \"ascii\" or \"utf8\", not \"UTF-8\""),
        (", charset = 'utf8'", "", "ids: \"charset\" is missing"),
        ("charset", "chars", "ids.chars: unknown key"),
        ("members_max = 1", "members_max = 3876", "batch.members_max: must be at most 3875 with"),
        ("friends_max = 1", "friends_max = 9999", "user ids of 255 bytes, so that a request"),
    ] {
        let wrong = text.replacen(from, to, 1);
        assert_ne!(wrong, text, "{from}");
        let problems = parse(&wrong).expect_err(to).to_string();
        assert!(problems.contains(reported), "{problems}");
    }
    let largest = text.replacen("members_max = 1", "members_max = 3875", 1);
    assert_eq!(parse(&largest).expect("a catalog").batch.members_max, 3875);
}

#[test]
fn settings_of_an_app_override_those_of_all_apps() {
    let policy = parse(SMALL).expect("a catalog").failure;
    let of = |id: &str| *policy.of(&AppId::try_from(id).expect("an id"));
    let opened = FailModes::new(|kind| match kind {
        LimitKind::AccountsPerApp => FailMode::Open,
        other => policy.modes.of(other),
    });
    assert_eq!([of("demo"), of("other"), of("third")], [opened, policy.modes, policy.modes]);
}

#[test]
fn add_ons_have_the_limits_and_prices_of_section_1() {
    let expected = [
        ("members-2000", LimitId::MembersPerGroup, Finite(2000), 500),
        ("members-6000", LimitId::MembersPerGroup, Finite(6000), 1000),
        ("groups-per-user-400", LimitId::GroupsPerUser, Finite(400), 500),
        ("groups-per-user-700", LimitId::GroupsPerUser, Finite(700), 900),
        ("groups-per-user-1000", LimitId::GroupsPerUser, Finite(1000), 1100),
        ("av-chat-rooms-unlimited", rooms("AVChatRoom"), Unlimited, 1000),
    ];
    let catalog = builtin();
    let found: Vec<_> = catalog
        .add_ons
        .iter()
        .map(|a| (a.id.as_str(), a.limit_id.clone(), a.limit, a.price_fen_per_month / 100))
        .collect();
    assert_eq!(found, expected);
    assert!(catalog.add_ons.iter().all(|add_on| add_on.price_fen_per_month % 100 == 0));
}

#[test]
fn group_types_are_those_of_section_2() {
    // Name, type cap, tracked, counts for the user, per app, per day, reclaimed, code.
    let expected = [
        ("Private", Finite(200), true, true, Unlimited, Unlimited, true, 10006),
        ("Public", Finite(2000), true, true, Unlimited, Unlimited, true, 10006),
        ("ChatRoom", Finite(6000), true, true, Unlimited, Unlimited, true, 10006),
        ("AVChatRoom", Unlimited, false, false, Unlimited, Unlimited, false, 10036),
        ("BChatRoom", Unlimited, false, false, Finite(5), Finite(5), false, 10006),
    ];
    let catalog = builtin();
    let found: Vec<_> = catalog
        .group_types
        .iter()
        .map(|kind| {
            (
                kind.name.as_str(),
                kind.member_cap,
                kind.members_tracked,
                kind.counts_towards_user,
                kind.per_app,
                kind.per_day,
                kind.reclaim_empty,
                kind.per_app_im_code,
            )
        })
        .collect();
    assert_eq!(found, expected);
    assert_eq!(catalog.groups_per_day, Finite(10_000));
}

#[test]
fn codes_are_those_of_section_4() {
    let catalog = builtin();
    for (reason, group_type, code) in [
        (Reason::AccountsPerApp, None, 70398),
        (Reason::MyFriends, None, 30010),
        (Reason::PeerFriends, None, 30014),
        (Reason::GroupsPerUser, Some("Public"), 10037),
        (Reason::GroupsPerApp, Some("AVChatRoom"), 10036),
        (Reason::GroupsPerApp, Some("BChatRoom"), 10006),
        (Reason::MembersPerGroup, Some("Public"), 10014),
        (Reason::MembersAtCreation, Some("Public"), 10038),
        (Reason::GroupsPerDay, Some("Public"), 10006),
        (Reason::ServiceStopped, None, 60020),
    ] {
        assert_eq!(
            catalog.im_code(reason, group_type, None),
            code.into(),
            "{reason:?} {group_type:?}"
        );
    }
    assert_eq!(catalog.im_codes.batch_of_accounts, 70206.into());
    assert_eq!(catalog.im_codes.batch_of_members, 10005.into());
}

#[test]
fn validity_zone_and_batches_are_those_of_sections_3_and_5() {
    let catalog = builtin();
    assert_eq!(catalog.version, "2019-08-09");
    assert_eq!(catalog.zone.name(), "Asia/Shanghai");
    let validity = Validity {
        edition_grace_days: 7,
        add_on_grace_days: 0,
        after_grace: AfterGrace::Stop,
        full_refund_days: 5,
        full_refunds_per_app: 1,
        last_day: LastDay::Before,
        refund: RefundRule::Days,
        fee: FeeRule::Months,
    };
    assert_eq!(catalog.validity, validity);
    let batch = Batch { accounts_max: 100, members_max: 500, friends_max: 1000 };
    assert_eq!(catalog.batch, batch);
}

/// The limits of an app right after these purchases.
fn limits_with(items: &[Item]) -> Limits {
    let at = Timestamp::from_millis(1_550_000_000_000);
    let purchases: Vec<_> = items
        .iter()
        .map(|item| Purchase {
            request_id: RequestId::try_from("r").expect("valid"),
            item: item.clone(),
            months: 1,
            price_fen: 0,
            terms: None,
            conditions: Conditions::default(),
            at,
        })
        .collect();
    Schedule::compile(&builtin(), &purchases.into(), at).expect("all is for sale").at(at).clone()
}

fn four_entitlements() -> [Limits; 4] {
    let professional = Item::Edition("professional".into());
    let with = |add_on: &str| limits_with(&[professional.clone(), Item::AddOn(add_on.into())]);
    [
        limits_with(&[]),
        limits_with(std::slice::from_ref(&professional)),
        with("members-2000"),
        with("members-6000"),
    ]
}

#[test]
fn the_effective_member_cap_is_that_of_section_2() {
    let table: [(&str, [Limit; 4]); 5] = [
        ("Private", [20, 200, 200, 200].map(Finite)),
        ("Public", [20, 200, 2000, 2000].map(Finite)),
        ("ChatRoom", [20, 200, 2000, 6000].map(Finite)),
        ("AVChatRoom", [Unlimited; 4]),
        ("BChatRoom", [Unlimited; 4]),
    ];
    let catalog = builtin();
    let entitlements = four_entitlements();
    for (name, caps) in table {
        let kind = catalog.group_type(name).expect(name);
        let found = entitlements.each_ref().map(|limits| kind.member_bound(limits, None).limit);
        assert_eq!(found, caps, "{name}");
    }
}

#[test]
fn rooms_at_once_are_those_of_sections_1_and_2() {
    let catalog = builtin();
    let professional = Item::Edition("professional".into());
    let unlimited = Item::AddOn("av-chat-rooms-unlimited".into());
    let entitlements = [vec![], vec![professional.clone()], vec![professional, unlimited]]
        .map(|i| limits_with(&i));
    for (name, expected) in [
        ("AVChatRoom", [Finite(10), Finite(50), Unlimited]),
        ("BChatRoom", [Finite(5); 3]),
        ("Private", [Unlimited; 3]),
    ] {
        let kind = catalog.group_type(name).expect(name);
        let found = entitlements.each_ref().map(|limits| kind.per_app_bound(limits).limit);
        assert_eq!(found, expected, "{name}");
    }
}
