//! A held group that becomes a new one: its members, its slots and its holds move in one step.

use imquota::domain::decision::Mode;
use imquota::domain::limit::LimitId;
use imquota::domain::limits::Part::Groups;
use tokio::task::JoinSet;

use super::hold_script::LONG;
use super::operations::{create, create_capped, join, leave, numbered, texts};
use super::script::App;

pub async fn a_held_group_becomes_permanent_under_its_new_id(app: App) {
    let held = app.holding("h", LONG);
    held.script([(create("tmp", "Private", "a", &["b"]), "applied | applied")]).await;
    app.holding("j", LONG).script([(join("tmp", &["c"]), "applied")]).await;
    assert_eq!(app.billed().await, (0, 0));
    let new = app.replacing("tmp");
    let creation = create("g", "Private", "a", &["b", "d"]);
    new.script([(creation.clone(), "applied | held, applied"), (creation, "held | held x2")]).await;
    assert_eq!(app.billed().await, (1, 1));
    app.counts([
        ("group tmp", "error: group_not_found"),
        ("group g", "Private 4"),
        ("app", "accounts 0; Private 1; today 1: Private 1"),
        ("user a", "friends 0 groups 1"),
        ("user c", "friends 0 groups 1"),
    ])
    .await;
    app.provisional([("group g", "Private 0"), ("app", "accounts 0; today 0")]).await;
    app.release(Groups, "h", "create_group: ended | ended").await;
    app.confirm(Groups, "j", "join_group: confirmed").await;
    app.script([(leave("g", &["a", "b", "c", "d"]), "applied x4; reclaimed")]).await;
    app.counts([("app", "accounts 0; today 0"), ("user c", "friends 0 groups 0")]).await;
}

pub async fn the_holds_run_on_under_the_new_id(app: App) {
    app.holding("h", LONG)
        .script([(create("tmp", "Private", "a", &["b"]), "applied | applied")])
        .await;
    let new = app.replacing("tmp").holding("n", LONG);
    new.script([
        (create("g", "Private", "a", &["c"]), "applied | applied"),
        (create("g", "Private", "a", &["c"]), "repeated | repeated"),
    ])
    .await;
    app.provisional([("group g", "Private 3")]).await;
    assert_eq!(app.billed().await, (0, 0));
    // The first operation is not repeated: its group has another id.
    app.holding("h", LONG)
        .script([(create("tmp", "Private", "a", &["b"]), "error: hold_differs")])
        .await;
    app.release(Groups, "n", "create_group: released | released").await;
    app.counts([("group g", "Private 2")]).await;
    app.confirm(Groups, "h", "create_group: confirmed | confirmed").await;
    app.provisional([("group g", "Private 0")]).await;
    app.counts([
        ("group g", "Private 2"),
        ("group tmp", "error: group_not_found"),
        ("app", "accounts 0; Private 1; today 1: Private 1"),
    ])
    .await;
    assert_eq!(app.billed().await, (1, 1));
}

pub async fn what_runs_on_expires_under_the_new_id(app: App) {
    app.holding("h", 1)
        .script([(create("tmp", "Private", "a", &["b"]), "applied | applied")])
        .await;
    let new = app.replacing("tmp").holding("n", 1);
    new.script([(create("g", "Private", "a", &[]), "applied")]).await;
    app.expire().await;
    app.counts([
        ("group g", "error: group_not_found"),
        ("app", "accounts 0; today 0"),
        ("user b", "friends 0 groups 0"),
    ])
    .await;
    app.confirm(Groups, "h", "expired create_group: retaken | retaken").await;
    app.counts([("group g", "Private 2"), ("group tmp", "error: group_not_found")]).await;
}

pub async fn what_expired_before_is_confirmed_late_under_the_new_id(app: App) {
    app.holding("h", LONG).script([(create("tmp", "Private", "a", &[]), "applied")]).await;
    app.holding("j", 1).script([(join("tmp", &["b"]), "applied")]).await;
    app.expire().await;
    app.replacing("tmp").script([(create("g", "Private", "a", &[]), "applied")]).await;
    app.counts([("group g", "Private 1")]).await;
    app.confirm(Groups, "j", "expired join_group: retaken").await;
    app.confirm(Groups, "h", "create_group: confirmed").await;
    app.counts([("group g", "Private 2"), ("group tmp", "error: group_not_found")]).await;
}

pub async fn without_a_held_group_the_creation_is_a_normal_one(app: App) {
    app.replacing("tmp").script([(create("g", "Private", "a", &[]), "applied")]).await;
    app.holding("h", 1)
        .script([(create("tmp", "Private", "a", &["b"]), "applied | applied")])
        .await;
    // The new group exists: it is joined, and the held one is left alone.
    app.replacing("tmp").script([(create("g", "Private", "a", &["c"]), "held | applied")]).await;
    app.counts([("group tmp", "Private 2"), ("group g", "Private 2")]).await;
    app.expire().await;
    app.replacing("tmp").script([(create("g2", "Private", "b", &[]), "applied")]).await;
    app.counts([("group g2", "Private 1"), ("group tmp", "error: group_not_found")]).await;
}

pub async fn only_a_held_group_of_the_same_type_is_replaced(app: App) {
    app.script([(create("p", "Private", "a", &[]), "applied")]).await;
    app.replacing("p").script([(create("g", "Private", "a", &[]), "error: cannot_replace")]).await;
    app.holding("h", LONG).script([(create("tmp", "Private", "b", &[]), "applied")]).await;
    app.replacing("tmp").script([(create("g", "Public", "b", &[]), "error: cannot_replace")]).await;
    app.counts([
        ("group p", "Private 1"),
        ("group tmp", "Private 1"),
        ("group g", "error: group_not_found"),
    ])
    .await;
}

pub async fn a_denied_owner_moves_nothing(app: App) {
    app.limit(&LimitId::GroupsPerUser, 1).await;
    app.script([(create("p", "Private", "z", &[]), "applied")]).await;
    app.holding("h", LONG).script([(create("tmp", "Private", "a", &[]), "applied")]).await;
    let new = app.replacing("tmp");
    new.script([
        (create("g", "Private", "z", &["c"]), "denied GROUPS_PER_USER 1/1 z | denied"),
        (
            create("g", "Private", "a", &["z", "c"]),
            "applied | denied GROUPS_PER_USER 1/1 z, applied",
        ),
    ])
    .await;
    app.counts([("group g", "Private 2"), ("group tmp", "error: group_not_found")]).await;
    let held = app.holding("i", LONG);
    held.script([(create("tmp2", "Private", "d", &[]), "applied")]).await;
    let whole = app.replacing("tmp2").all_or_nothing();
    whole
        .script([(
            create("g2", "Private", "d", &["z", "e"]),
            "aborted | denied GROUPS_PER_USER 1/1 z, aborted",
        )])
        .await;
    app.counts([("group tmp2", "Private 1"), ("group g2", "error: group_not_found")]).await;
    let check = app.replacing("tmp2").as_mode(Mode::CheckOnly);
    check.script([(create("g2", "Private", "d", &["e"]), "applied | applied")]).await;
    app.counts([("group tmp2", "Private 1"), ("group g2", "error: group_not_found")]).await;
}

pub async fn the_own_limit_is_that_of_the_request_or_stays(app: App) {
    for (number, own, expected) in [(1, None, "Lounge 1 of 3"), (2, Some(2), "Lounge 1 of 2")] {
        let (tmp, name) = (format!("tmp{number}"), format!("g{number}"));
        let capped = create_capped(&tmp, "Lounge", "a", &[], Some(3));
        app.holding(&tmp, LONG).script([(capped, "applied")]).await;
        let creation = match own {
            Some(own) => create_capped(&name, "Lounge", "a", &[], Some(own)),
            None => create(&name, "Lounge", "a", &[]),
        };
        app.replacing(&tmp).script([(creation, "applied")]).await;
        app.counts([(&format!("group {name}"), expected)]).await;
    }
}

pub async fn five_hundred_members_are_moved_and_no_more(app: App) {
    let app = app.roomy().await;
    let members = numbered("m", 500);
    let held = app.holding("h", LONG);
    held.done(create("tmp", "ChatRoom", "", &texts(&members))).await;
    let new = app.replacing("tmp");
    let created = new.done(create("g", "ChatRoom", "", &[])).await;
    assert_eq!(created, "applied");
    app.counts([("group g", "ChatRoom 500"), ("group tmp", "error: group_not_found")]).await;
    app.provisional([("group g", "ChatRoom 0")]).await;
    app.holding("i", LONG).done(create("tmp", "ChatRoom", "", &texts(&members))).await;
    app.holding("j", LONG).script([(join("tmp", &["one more"]), "applied")]).await;
    app.replacing("tmp")
        .script([(create("g2", "ChatRoom", "", &[]), "error: cannot_replace")])
        .await;
}

pub async fn joins_meanwhile_are_moved_or_find_no_group(app: App) {
    let app = app.roomy().await;
    for round in 0..8 {
        let (old, new) = (format!("tmp{round}"), format!("g{round}"));
        app.holding(&old, LONG).script([(create(&old, "ChatRoom", "a", &[]), "applied")]).await;
        let mut joins = JoinSet::new();
        for number in 0..8 {
            let (held, old) = (app.holding(&format!("j{round}/{number}"), LONG), old.clone());
            joins.spawn(async move { held.done(join(&old, &[&format!("u{number}")])).await });
        }
        app.replacing(&old).script([(create(&new, "ChatRoom", "a", &[]), "applied")]).await;
        let answers = joins.join_all().await;
        let joined = answers.iter().filter(|answer| *answer == "applied").count();
        let late = answers.iter().filter(|answer| *answer == "error: group_not_found").count();
        assert_eq!(joined + late, 8, "{answers:?}");
        app.counts([
            (format!("group {old}").as_str(), "error: group_not_found"),
            (format!("group {new}").as_str(), format!("ChatRoom {}", 1 + joined).as_str()),
        ])
        .await;
        let left: Vec<String> = numbered("u", 8);
        let left = app.done(leave(&new, &texts(&left))).await;
        assert_eq!(left.matches("not held").count() > 0, late > 0, "{left}");
        for name in numbered("u", 8) {
            app.counts([(format!("user {name}").as_str(), "friends 0 groups 0")]).await;
        }
    }
}
