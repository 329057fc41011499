//! Reconciliations through the administration: several messages are compared at a time.

use crate::support::{ManualClock, Place, Service, actor, app, group, user};
use imquota::engine::admin::reconcile::{Begin, ExportedGroup, Labelled, Part};
use imquota::ledger::Operation;
use imquota::ledger::reconcile::{Repair, Section};

/// 2019-02-12 in Shanghai.
const NOW: i64 = 1_549_936_800_000;

#[tokio::test]
async fn a_user_is_named_by_a_later_message_that_was_compared_first() {
    let catalog = imquota::catalog::builtin();
    let service = Service::open_any(&Place::Memory, ManualClock::at(NOW), catalog).await;
    let demo = app("demo");
    let created = Operation::CreateGroup {
        group: group("g"),
        group_type: "Public".into(),
        owner: Some(user("a")),
        members: vec![user("b")],
        max_members: None,
    };
    service.enforce(&demo, created).await;

    let sections = vec![Section::Accounts, Section::Groups];
    let begin = Begin { app: demo, repair: Repair::No, as_of: None, sections, names: true };
    let begun = service.administration.reconcile(begin, actor()).await.expect("begun");
    let lacks_b = ExportedGroup {
        group: group("g"),
        group_type: "Public".into(),
        max_members: None,
        members: vec![user("a")],
    };
    let first = Part { groups: vec![lacks_b], ..Part::default() };
    let later = Part { accounts: vec![user("a"), user("b")], ..Part::default() };
    let later = begun.compare(later).await.expect("compared");
    let first = begun.name(begun.compare(first).await.expect("compared"));
    let member = first.differences[0].user.clone().expect("a member");
    let Labelled::Fingerprint(fingerprint) = member else { panic!("{member:?}") };
    let resolved = begun.name(later).resolved;
    let resolved: Vec<_> = resolved.iter().map(|it| (it.fingerprint, it.user.clone())).collect();
    assert_eq!(resolved, [(fingerprint, user("b"))]);
}
