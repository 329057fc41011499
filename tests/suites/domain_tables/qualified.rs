//! Limits by group type, and on the groups of all types and of a day, that editions and add-ons
//! set: how a catalog lists them, which value applies, and what is offered against them.

use imquota::catalog::{BUILTIN, parse};
use imquota::domain::catalog::Catalog;
use imquota::domain::decision::{Mode, Reason};
use imquota::domain::limit::{Bound, Limit, LimitId, Source};
use imquota::domain::schedule::{Limits, Schedule};
use imquota::domain::upgrade::Offer;
use imquota::domain::usage::entitled;
use imquota::engine::Denial;
use imquota::ledger::Operation;

use super::at;
use crate::support::{ManualClock, Place, Service, app, group, order, user};

const TRIAL: &str = "members_per_group = 20\n";
const PROFESSIONAL: &str = "members_per_group = 200\n";
const CAPPED: &str = "limit_id = \"members_per_group\"\nlimit = 2000\n";

/// The built-in catalog with lines behind others.
fn text(lines: &[(&str, &str)]) -> String {
    lines.iter().fold(BUILTIN.to_owned(), |text, (behind, line)| {
        assert_eq!(text.matches(behind).count(), 1, "{behind}");
        text.replace(behind, &format!("{behind}{line}\n"))
    })
}

fn catalog(lines: &[(&str, &str)]) -> Catalog {
    parse(&text(lines)).expect("a valid catalog")
}

/// The limits of an app that has bought nothing, as `ID NUMBER SOURCE`.
fn listed(catalog: &Catalog) -> Vec<String> {
    let limits: Limits = {
        let now = at("2019-02-12");
        Schedule::default_of(catalog).expect("it has a default edition").at(now).clone()
    };
    let line = |(id, bound): (LimitId, Bound)| {
        let source = match bound.source {
            Source::Edition(_) => "edition",
            Source::GroupType(_) => "type",
            Source::App => "rule",
            other => panic!("{other:?}"),
        };
        format!("{id} {} {source}", bound.limit)
    };
    entitled(catalog, &limits).into_iter().map(line).collect()
}

#[test]
fn the_value_by_type_stands_instead_of_the_other_and_the_lower_of_sold_and_rule_applies() {
    let catalog = catalog(&[
        (
            TRIAL,
            "\"members_per_group/Public\" = 3000\n\
             \"members_per_group/ChatRoom\" = 5\n\
             groups_per_app = 100\n\
             groups_per_day = 7\n\
             \"groups_per_day/ChatRoom\" = 6\n\
             \"groups_per_day/BChatRoom\" = 9",
        ),
        (PROFESSIONAL, "groups_per_app = \"unlimited\""),
    ]);
    let listed = listed(&catalog);
    for expected in [
        "members_per_group 20 edition",
        "members_per_group/Private 20 edition",
        // The type's own cap.
        "members_per_group/Public 2000 type",
        "members_per_group/ChatRoom 5 edition",
        "groups_per_app 100 edition",
        "groups_per_app/AVChatRoom 10 edition",
        "groups_per_app/BChatRoom 5 type",
        "groups_per_day 7 edition",
        "groups_per_day/ChatRoom 6 edition",
        "groups_per_day/BChatRoom 5 type",
    ] {
        assert!(listed.iter().any(|line| line == expected), "{expected}: {listed:#?}");
    }
    // The number of groups stands instead of those that are free of charge.
    let of_all = listed.iter().filter(|line| line.starts_with("groups_per_app ")).count();
    assert_eq!(of_all, 1, "{listed:#?}");
}

#[test]
fn without_such_limits_the_free_number_of_groups_and_the_rules_apply() {
    let listed = listed(&catalog(&[]));
    for expected in ["groups_per_app 100000 edition", "groups_per_day 10000 rule"] {
        assert!(listed.iter().any(|line| line == expected), "{expected}: {listed:#?}");
    }
    let of_day = listed.iter().filter(|line| line.starts_with("groups_per_day")).count();
    assert_eq!(of_day, 2, "{listed:#?}");
}

#[test]
fn a_forgotten_limit_does_not_become_unlimited() {
    let table: [(&[(&str, &str)], &str); 8] = [
        (&[(TRIAL, "groups_per_app = 100")], "editions[1].limits: \"groups_per_app\" is missing"),
        (
            &[(TRIAL, "\"members_per_group/AVChatRoom\" = 9")],
            "members of this type are not tracked",
        ),
        (&[(TRIAL, "\"members_per_group/Public\" = 0")], "must be a whole number from 1 to"),
        (
            &[(TRIAL, "\"members_per_group/Pubic\" = 9")],
            "did you mean \"members_per_group/Public\"?",
        ),
        (&[(TRIAL, "\"groups_per_day/Public\" = \"none\"")], "must be a whole number from 0 to"),
        (&[("members_at_creation = 10038\n", "limit = 0")], "im_codes.limit: must be"),
        (&[(TRIAL, "\"members_per_group/Public\" = 9")], ""),
        (&[(TRIAL, "groups_per_day = 9")], ""),
    ];
    for (lines, report) in table {
        match parse(&text(lines)) {
            Ok(_) => assert_eq!(report, "", "{lines:?}"),
            Err(found) => {
                let found = found.to_string();
                assert!(!report.is_empty() && found.contains(report), "{lines:?}: {found}");
            }
        }
    }
}

#[test]
fn limits_without_a_reason_of_their_own_have_one_code() {
    let code = |catalog: &Catalog| catalog.im_code(Reason::Limit, Some("Public"), None).number;
    assert_eq!(code(&catalog(&[])), 10006);
    assert_eq!(code(&catalog(&[("members_at_creation = 10038\n", "limit = 10099")])), 10099);
}

/// An app with a professional edition.
async fn professional(catalog: Catalog) -> Service {
    let clock = ManualClock::at(at("2019-02-12 12:00").as_millis());
    let service = Service::open(&Place::Memory, clock, catalog);
    service.register(&app("app"), "r0").await.expect("registered");
    service.buy(&app("app"), "r1", order("professional"), 1).await.expect("sold");
    service
}

fn create(id: &str, group_type: &str) -> Operation {
    Operation::CreateGroup {
        group: group(id),
        group_type: group_type.into(),
        owner: None,
        members: Vec::new(),
        max_members: None,
    }
}

/// Fills a group over its limit, and returns the denial of one more join.
async fn denial(service: &Service, group_type: &str, members: usize) -> Denial {
    let app = app("app");
    service.apply(&app, Mode::Force, create(group_type, group_type)).await.expect("forced");
    let users = (0..members).map(|number| user(format!("u{number}"))).collect();
    let join = Operation::JoinGroup { group: group(group_type), users };
    service.apply(&app, Mode::Force, join).await.expect("forced");
    let join = Operation::JoinGroup { group: group(group_type), users: vec![user("more")] };
    service.enforce(&app, join).await.items[0].violations[0].clone()
}

fn offers(denial: &Denial) -> Vec<String> {
    let name = |offer: &Offer| match offer {
        Offer::AddOn(id) | Offer::Edition(id) => id.to_string(),
    };
    denial.upgrades.iter().map(|it| format!("{} {}", name(&it.offer), it.new_limit)).collect()
}

#[tokio::test]
async fn the_add_on_that_raises_the_limit_of_the_type_is_offered() {
    let of_type = "limit_id = \"members_per_group/ChatRoom\"\nlimit = 2000\n";
    let text = text(&[(PROFESSIONAL, "\"members_per_group/ChatRoom\" = 300")]);
    assert_eq!(text.matches(CAPPED).count(), 1);
    let catalog = parse(&text.replace(CAPPED, of_type)).expect("a valid catalog");
    let service = professional(catalog).await;
    // 6000 members per group do not help: those of the type stand instead.
    let denied = denial(&service, "ChatRoom", 300).await;
    assert_eq!(denied.violation.bound.limit, Limit::Finite(300));
    assert_eq!(denied.violation.limit_id.to_string(), "members_per_group");
    assert_eq!(offers(&denied), ["members-2000 2000"]);
    let denied = denial(&service, "Public", 200).await;
    assert_eq!(offers(&denied), ["members-6000 2000"]);
    service.buy(&app("app"), "r2", order("members-2000"), 1).await.expect("sold");
    let denied = denial(&service, "ChatRoom", 2000).await;
    assert_eq!(denied.violation.bound.limit, Limit::Finite(2000));
    assert_eq!(denied.violation.bound.source, Source::AddOn("members-2000".into()));
    assert_eq!(offers(&denied), [""; 0]);
}

#[tokio::test]
async fn an_edition_that_lowers_the_limit_of_another_type_is_not_offered() {
    for (of_professional, offer) in [
        ("\"members_per_group/ChatRoom\" = 20", Some("professional 200")),
        ("\"members_per_group/ChatRoom\" = 19", None),
        // Within the rule it is no less.
        ("groups_per_day = 10000", Some("professional 200")),
        ("groups_per_day = 9999", None),
    ] {
        let clock = ManualClock::at(at("2019-02-12 12:00").as_millis());
        let catalog = catalog(&[(PROFESSIONAL, of_professional)]);
        let service = Service::open(&Place::Memory, clock, catalog);
        service.register(&app("app"), "r0").await.expect("registered");
        let denied = denial(&service, "Public", 20).await;
        assert_eq!(offers(&denied), Vec::from_iter(offer), "{of_professional}");
    }
}

#[tokio::test]
async fn the_group_beyond_the_number_of_the_edition_is_denied_by_a_line_of_the_catalog() {
    let lines = [(TRIAL, "groups_per_app = 1000"), (PROFESSIONAL, "groups_per_app = 1200")];
    let clock = ManualClock::at(at("2019-02-12 12:00").as_millis());
    let service = Service::open(&Place::Memory, clock, catalog(&lines));
    let app = app("app");
    service.register(&app, "r0").await.expect("registered");
    for number in 0..1000 {
        let created = service.enforce(&app, create(&format!("g{number}"), "Public")).await;
        assert!(!created.whole.expect("of the group").denied(), "{number}");
    }
    let denied = service.enforce(&app, create("more", "Public")).await.whole.expect("of the group");
    let [denial] = &denied.violations[..] else { panic!("{denied:?}") };
    assert_eq!(denial.violation.reason, Reason::Limit);
    assert_eq!(denial.violation.limit_id.to_string(), "groups_per_app");
    assert_eq!(denial.im_code.number, 10006);
    assert_eq!(denial.message, "the app has 1000 of at most 1000 groups");
    assert_eq!(offers(denial), ["professional 1200"]);
    service.buy(&app, "r1", order("professional"), 1).await.expect("sold");
    let created = service.enforce(&app, create("more", "Public")).await;
    assert!(!created.whole.expect("of the group").denied());
}
