//! Reconciliation beside holds: held facts are left alone, and what ends or confirms a hold is a
//! tracked change.

use imquota::domain::decision::Mode;
use imquota::domain::limits::Part::{Accounts, Friends, Groups};
use imquota::ledger::reconcile::Repair;

use super::hold_script::LONG;
use super::operations::{accounts, befriend, create, create_capped, join};
use super::script::App;

pub async fn held_facts_are_reported_and_left_alone_by_a_repair(app: App) {
    app.script([
        (create("g2", "Private", "a", &["c"]), "applied | applied"),
        (create("g4", "Private", "a", &[]), "applied"),
    ])
    .await;
    let held = app.holding("h", LONG);
    held.script([
        (accounts(&["a", "b"]), "applied x2"),
        (befriend("a", &["b"]), "applied"),
        (create_capped("g1", "Private", "a", &["b"], Some(3)), "applied | applied"),
        (join("g2", &["b"]), "applied"),
    ])
    .await;
    let more = app.holding("h2", LONG);
    more.script([(create("g3", "Private", "c", &[]), "applied"), (join("g4", &["b"]), "applied")])
        .await;
    let claims = [
        "no accounts a",
        "friends a:",
        "group g1 Private of none: a",
        "group g2 Private: a",
        "no group g3",
        "no group g4",
    ];
    let expected = [
        "account a missing there, left alone",
        "friend a b missing there, left alone",
        "group g1 with another max_members, left alone",
        "member g1 b missing there, left alone",
        "member g2 b missing there, left alone",
        "member g2 c missing there, repaired",
        "group g3 missing there, left alone",
        "member g3 c missing there, left alone",
        // Its held member keeps the group.
        "group g4 missing there, left alone",
        "member g4 a missing there, repaired",
        "member g4 b missing there, left alone",
    ];
    app.compare(Repair::Both, None, &claims, &expected).await;
    app.counts([
        ("app", "accounts 2; Private 4; today 4: Private 4"),
        ("group g1", "Private 2 of 3"),
        ("group g2", "Private 2"),
        ("group g4", "Private 1"),
    ])
    .await;
    // What both have is still held.
    app.compare(Repair::Add, None, &["accounts a b", "group g1 Private: a b"], &[]).await;
    app.release(Accounts, "h", "create_accounts: released x2").await;
    app.release(Groups, "h2", "create_group: released; join_group: released").await;
    app.counts([("app", "accounts 0; Private 2; today 2: Private 2")]).await;
}

pub async fn a_repair_adds_no_member_to_a_held_group(app: App) {
    app.holding("h", 1).script([(create("g1", "Private", "a", &[]), "applied")]).await;
    let expected = ["member g1 b missing here, left alone"];
    app.compare(Repair::Add, None, &["group g1 Private: a b"], &expected).await;
    app.expire().await;
    app.counts([("group g1", "error: group_not_found"), ("user b", "friends 0 groups 0")]).await;
    assert_eq!(app.billed().await, (0, 0));
}

pub async fn what_ends_or_confirms_a_hold_is_tracked(app: App) {
    for (id, seconds, names) in [("c", LONG, ["a", "b"]), ("r", LONG, ["c", "d"])] {
        let held = app.holding(id, seconds);
        held.script([
            (accounts(&names), "applied x2"),
            (befriend(names[0], &[names[1]]), "applied"),
            (create(&format!("g{id}"), "Private", names[0], &[]), "applied"),
        ])
        .await;
    }
    app.holding("e", 1).script([(accounts(&["e"]), "applied")]).await;
    app.holding("t", 1).script([(accounts(&["f"]), "applied")]).await;
    app.expire().await;
    app.script([(accounts(&["z"]), "applied")]).await;
    let tracking = Some(app.track().await);
    app.confirm(Accounts, "c", "create_accounts: confirmed x2").await;
    app.confirm(Friends, "c", "add_friends: confirmed").await;
    app.release(Accounts, "r", "create_accounts: released x2").await;
    app.release(Friends, "r", "add_friends: released").await;
    app.as_mode(Mode::Force).confirm(Accounts, "t", "expired create_accounts: retaken").await;
    app.compare(
        Repair::Both,
        tracking,
        &["no accounts a b f z", "accounts c d", "friends a:", "friends c: d"],
        &[
            "account a missing there, left alone",
            "account b missing there, left alone",
            "account c missing here, left alone",
            "account d missing here, left alone",
            "account f missing there, left alone",
            "account z missing there, repaired",
            "friend a b missing there, left alone",
            "friend c d missing here, left alone",
        ],
    )
    .await;
}

pub async fn an_expiry_is_tracked(app: App) {
    app.holding("h", 1)
        .script([(accounts(&["a"]), "applied"), (create("g1", "Private", "a", &[]), "applied")])
        .await;
    app.script([(create("g2", "Private", "b", &[]), "applied")]).await;
    app.holding("j", 1).script([(join("g2", &["c"]), "applied")]).await;
    let tracking = Some(app.track().await);
    app.expire().await;
    app.compare(
        Repair::Both,
        tracking,
        &["accounts a", "group g1 Private: a", "group g2 Private: b c"],
        &[
            "account a missing here, left alone",
            "group g1 missing here, left alone",
            "member g1 a missing here, left alone",
            "member g2 c missing here, left alone",
        ],
    )
    .await;
}

pub async fn a_group_that_becomes_permanent_with_a_member_is_tracked(app: App) {
    app.holding("h", LONG).script([(create("g1", "Private", "a", &[]), "applied")]).await;
    app.holding("k", LONG).script([(create("g2", "Private", "a", &[]), "applied")]).await;
    app.holding("j", LONG).script([(join("g2", &["b"]), "applied")]).await;
    let capped = create_capped("g3", "Private", "a", &[], Some(3));
    app.holding("l", LONG).script([(capped, "applied")]).await;
    let tracking = Some(app.track().await);
    app.script([(join("g1", &["b"]), "applied"), (join("g3", &["b"]), "applied")]).await;
    app.confirm(Groups, "j", "join_group: confirmed").await;
    app.compare(
        Repair::Both,
        tracking,
        &["no group g1", "no group g2", "group g3 Private of none: a b"],
        &[
            "group g1 missing there, left alone",
            "group g2 missing there, left alone",
            "group g3 with another max_members, left alone",
            "member g1 a missing there, left alone",
            "member g1 b missing there, left alone",
            "member g2 a missing there, left alone",
            "member g2 b missing there, left alone",
        ],
    )
    .await;
    app.counts([("group g1", "Private 2"), ("group g2", "Private 2")]).await;
}
