//! Takes with a hold, written from the comments of the API: what is taken counts at once, and ends
//! at its expiry by the store's clock.
//!
//! What has to be live is held for minutes; what has to expire is held for a second.

use std::time::Duration;

use imquota::domain::decision::Mode;
use imquota::domain::limit::LimitId;
use imquota::domain::limits::Part::{Accounts, Groups};
use imquota::domain::time::Timestamp;
use tokio::task::JoinSet;

use super::hold_script::LONG;
use super::operations::{
    accounts, befriend, create, create_capped, delete, dissolve, follow, join, leave, numbered,
    texts, unfollow, update,
};
use super::script::{App, shown};

pub async fn a_hold_counts_at_once(app: App) {
    let held = app.holding("h", LONG);
    held.script([
        (accounts(&["a", "b"]), "applied x2"),
        (befriend("a", &["b"]), "applied"),
        (create("g", "Private", "a", &["b"]), "applied | applied"),
    ])
    .await;
    app.counts([
        ("app", "accounts 2; Private 1; today 1: Private 1"),
        ("user b", "friends 1 groups 1"),
        ("group g", "Private 2"),
    ])
    .await;
    app.script([(create("p", "Private", "z", &[]), "applied"), (accounts(&["c"]), "applied")])
        .await;
    app.provisional([
        ("app", "accounts 2; Private 1; today 1: Private 1"),
        ("user a", "friends 1 groups 1"),
        ("user z", "friends 0 groups 0"),
        ("group g", "Private 2"),
    ])
    .await;
    app.script([(accounts(&["d", "e", "f", "g"]), "applied x3, denied ACCOUNTS_PER_APP 6/6 app")])
        .await;
}

pub async fn an_expired_hold_counts_as_absent(app: App) {
    app.script([(create("p", "Private", "z", &[]), "applied")]).await;
    let held = app.holding("h", 1);
    held.script([
        (accounts(&["a", "b"]), "applied x2"),
        (follow("a", &["b", "c", "d"]), "applied x3"),
        (create("g", "Private", "a", &["b"]), "applied | applied"),
        (join("p", &["a", "b"]), "applied x2"),
    ])
    .await;
    app.expire().await;
    app.counts([
        ("app", "accounts 0; Private 1; today 1: Private 1"),
        ("user a", "friends 0 groups 0"),
        ("group p", "Private 1"),
        ("group g", "error: group_not_found"),
    ])
    .await;
    app.provisional([("app", "accounts 0; today 0"), ("user a", "friends 0 groups 0")]).await;
    app.script([
        (join("g", &["c"]), "error: group_not_found"),
        (update("g", Some(3)), "error: group_not_found"),
        (dissolve("g"), "not held"),
        (leave("p", &["a", "z"]), "not held, applied; reclaimed"),
        (unfollow("a", &["b"]), "not held"),
        (delete("a"), "not held"),
        // With another type: no group has the id.
        (create("g", "Public", "b", &[]), "applied"),
    ])
    .await;
}

pub async fn no_expired_hold_denies_or_is_reported(app: App) {
    app.limit(&LimitId::GroupsPerUser, 1).await;
    // Each mode is the first that meets what has expired.
    for mode in [Mode::Shadow, Mode::CheckOnly, Mode::Enforce] {
        let (first, second) = (format!("h{mode:?}"), format!("i{mode:?}"));
        app.holding(&first, 1)
            .as_mode(Mode::Force)
            .script([
                (accounts(&["a", "b", "c", "d", "e", "f"]), "applied x6"),
                (befriend("a", &["b", "c", "d"]), "applied x3"),
                (create("g", "Private", "a", &["b", "c", "d"]), "applied | applied x3"),
            ])
            .await;
        let rooms = app.holding(&second, 1).as_mode(Mode::Force);
        rooms.script([(create("b1", "BChatRoom", "", &[]), "applied")]).await;
        let rooms = app.holding(&format!("j{mode:?}"), 1).as_mode(Mode::Force);
        rooms.script([(create("b2", "BChatRoom", "", &[]), "applied")]).await;
        app.expire().await;
        let app = app.as_mode(mode);
        let (account, group) = (format!("x{mode:?}"), format!("g{mode:?}"));
        app.script([
            (accounts(&[&account]), "applied"),
            (befriend(&account, &["a"]), "applied"),
            (create(&group, "Private", &format!("o{mode:?}"), &["a"]), "applied | applied"),
            (create(&format!("r{mode:?}"), "BChatRoom", "", &[]), "applied"),
            (
                dissolve(&group),
                if mode == Mode::CheckOnly { "not held" } else { "applied; released 2" },
            ),
        ])
        .await;
    }
}

pub async fn a_repetition_is_repeated_while_the_hold_lives(app: App) {
    let held = app.holding("h", LONG);
    held.script([
        (accounts(&["a", "b"]), "applied x2"),
        (accounts(&["a", "b"]), "repeated x2"),
        (befriend("a", &["b"]), "applied"),
        (befriend("a", &["b"]), "repeated"),
        (create("g", "Private", "a", &["b"]), "applied | applied"),
        (create("g", "Private", "a", &["b"]), "repeated | repeated"),
        (join("g", &["c"]), "applied"),
        (join("g", &["c"]), "repeated"),
    ])
    .await;
    held.script([
        (accounts(&["a", "c"]), "error: hold_differs"),
        (befriend("a", &["c"]), "error: hold_differs"),
        (create("g2", "Private", "a", &["b"]), "error: hold_differs"),
        (join("g", &["d"]), "error: hold_differs"),
    ])
    .await;
    app.counts([
        ("app", "accounts 2; Private 1; today 1: Private 1"),
        ("user a", "friends 1 groups 1"),
        ("group g", "Private 3"),
    ])
    .await;
    // The repetition of a part that has left is a new take of it.
    app.script([(leave("g", &["c"]), "applied"), (delete("b"), "applied")]).await;
    held.script([(join("g", &["c"]), "applied"), (accounts(&["a", "b"]), "repeated, applied")])
        .await;
    app.confirm(Accounts, "h", "create_accounts: confirmed x2").await;
    app.confirm(Groups, "h", "create_group: confirmed | ended; join_group: confirmed").await;
}

pub async fn after_its_end_an_id_begins_a_new_hold(app: App) {
    app.holding("h", 1).script([(accounts(&["a", "b"]), "applied x2")]).await;
    app.expire().await;
    app.holding("h", LONG).script([(accounts(&["b", "c"]), "applied x2")]).await;
    app.confirm(Accounts, "h", "create_accounts: confirmed x2").await;
    app.counts([("app", "accounts 2; today 0")]).await;
    app.holding("h", LONG).script([(accounts(&["d", "b"]), "applied, held")]).await;
    app.release(Accounts, "h", "create_accounts: released, -").await;
    app.holding("h", LONG).script([(accounts(&["d"]), "applied")]).await;
    app.counts([("app", "accounts 3; today 0")]).await;
    app.provisional([("app", "accounts 1; today 0")]).await;
}

pub async fn a_fact_of_two_holds_counts_once_and_ends_with_the_last(app: App) {
    app.holding("short", 1).script([(accounts(&["a", "b", "c"]), "applied x3")]).await;
    app.holding("long", LONG).script([(accounts(&["b", "c", "c"]), "held x3")]).await;
    app.counts([("app", "accounts 3; today 0")]).await;
    app.provisional([("app", "accounts 3; today 0")]).await;
    app.expire().await;
    app.counts([("app", "accounts 2; today 0")]).await;
    app.release(Accounts, "long", "create_accounts: released x2, -").await;
    app.counts([("app", "accounts 0; today 0")]).await;
    app.release(Accounts, "short", "expired create_accounts: released x3").await;
}

pub async fn a_take_without_a_hold_makes_permanent(app: App) {
    for mode in [Mode::Enforce, Mode::Shadow, Mode::Force] {
        let (id, name) = (format!("h{mode:?}"), format!("u{mode:?}"));
        let held = app.holding(&id, 1);
        held.script([
            (accounts(&[&name]), "applied"),
            (follow("a", &[&name]), "applied"),
            (create(&name, "Lounge", &name, &["b"]), "applied | applied"),
        ])
        .await;
        let check = app.as_mode(Mode::CheckOnly);
        check.script([(accounts(&["b", &name]), "applied, held")]).await;
        app.as_mode(mode)
            .script([
                (accounts(&[&name]), "held"),
                (follow("a", &[&name]), "held"),
                (join(&name, &["b"]), "held"),
            ])
            .await;
    }
    let check = app.holding("checked", 1);
    check.script([(accounts(&["x"]), "applied")]).await;
    app.as_mode(Mode::CheckOnly).script([(accounts(&["x"]), "held")]).await;
    app.expire().await;
    app.counts([
        ("app", "accounts 3; Lounge 3; today 3: Lounge 3"),
        ("user a", "friends 3 groups 0"),
        // The owner's hold has expired.
        ("group uForce", "Lounge 1"),
    ])
    .await;
    app.confirm(Groups, "hForce", "expired create_group: retaken | confirmed").await;
    app.counts([("group uForce", "Lounge 2")]).await;
}

pub async fn a_held_group_does_not_end_before_its_members(app: App) {
    app.holding("h", 1).script([(create("g", "Lounge", "a", &[]), "applied")]).await;
    app.holding("j", LONG).script([(join("g", &["b"]), "applied")]).await;
    app.expire().await;
    app.counts([("group g", "Lounge 1"), ("app", "accounts 0; Lounge 1; today 1: Lounge 1")]).await;
    app.provisional([("group g", "Lounge 1")]).await;
    app.confirm(Groups, "h", "expired create_group: retaken").await;
    app.provisional([("app", "accounts 0; today 0"), ("group g", "Lounge 1")]).await;
    app.release(Groups, "j", "join_group: released").await;
    app.counts([("group g", "Lounge 1")]).await;
}

pub async fn only_what_was_admitted_is_held(app: App) {
    app.script([(accounts(&["a", "b", "c", "d"]), "applied x4")]).await;
    let held = app.holding("h", LONG);
    let denied = "denied ACCOUNTS_PER_APP 6/6 app";
    let (all, got) = (["a", "e", "f", "g", "e"], format!("held, applied x2, {denied}, held"));
    held.script([(accounts(&all), got.as_str())]).await;
    app.release(Accounts, "h", "create_accounts: -, released x2, - x2").await;
    // A whole batch that is refused holds nothing.
    let whole = app.holding("w", LONG).all_or_nothing();
    whole.script([(accounts(&["e", "f", "g"]), format!("aborted x2, {denied}").as_str())]).await;
    app.confirm(Accounts, "w", "none").await;
    // Over the limit what was taken is held like the rest.
    let forced = app.holding("f", LONG).as_mode(Mode::Force);
    forced.script([(accounts(&["e", "f", "g"]), "applied x3")]).await;
    app.release(Accounts, "f", "create_accounts: released x3").await;
    app.counts([("app", "accounts 4; today 0")]).await;
}

pub async fn members_that_are_not_tracked_are_not_held(app: App) {
    app.holding("h", LONG)
        .script([(create("r", "AVChatRoom", "a", &["b"]), "applied | applied")])
        .await;
    app.holding("j", LONG).script([(join("r", &["c"]), "applied")]).await;
    app.script([(join("r", &["d"]), "applied")]).await;
    app.provisional([("app", "accounts 0; AVChatRoom 1; today 1: AVChatRoom 1")]).await;
    app.confirm(Groups, "j", "none").await;
    app.release(Groups, "h", "create_group: released | -").await;
    app.counts([("group r", "error: group_not_found"), ("app", "accounts 0; today 0")]).await;
}

pub async fn a_held_group_is_billed_from_its_confirmation(app: App) {
    app.script([(create("p", "Private", "a", &[]), "applied")]).await;
    assert_eq!(app.billed().await, (1, 1));
    for (id, name, seconds) in [("h1", "g1", LONG), ("h2", "g2", LONG), ("h3", "g3", 1)] {
        let held = app.holding(id, seconds);
        held.script([(create(name, "Private", "b", &[]), "applied")]).await;
    }
    app.counts([("app", "accounts 0; Private 4; today 4: Private 4")]).await;
    assert_eq!(app.billed().await, (1, 1));
    app.release(Groups, "h2", "create_group: released").await;
    app.expire().await;
    app.counts([("app", "accounts 0; Private 2; today 2: Private 2")]).await;
    assert_eq!(app.billed().await, (1, 1));
    app.confirm(Groups, "h1", "create_group: confirmed").await;
    assert_eq!(app.billed().await, (2, 2));
    app.counts([("app", "accounts 0; Private 2; today 2: Private 2")]).await;
    app.confirm(Groups, "h3", "expired create_group: retaken").await;
    assert_eq!(app.billed().await, (3, 3));
    app.script([(dissolve("g1"), "applied; released 1")]).await;
    assert_eq!(app.billed().await, (3, 2));
}

pub async fn a_sweep_removes_what_has_expired_once(app: App) {
    app.script([(create("p", "Private", "z", &[]), "applied")]).await;
    let held = app.holding("h", 1);
    held.script([
        (accounts(&["a", "b"]), "applied x2"),
        (befriend("a", &["b"]), "applied"),
        (create("g", "Private", "a", &["b"]), "applied | applied"),
    ])
    .await;
    app.holding("long", LONG).script([(accounts(&["c"]), "applied")]).await;
    app.expire().await;
    let sweep = async || app.ledger.sweep_holds(app.call.clone()).await.expect("swept");
    // Two accounts, two sides of a friendship, two members and their group.
    assert_eq!(sweep().await, 7);
    assert_eq!(sweep().await, 0);
    app.counts([
        ("app", "accounts 1; Private 1; today 1: Private 1"),
        ("user a", "friends 0 groups 0"),
    ])
    .await;
    app.confirm(Accounts, "long", "create_accounts: confirmed").await;
}

pub async fn records_of_holds_are_bounded(app: App) {
    let app = app.with_catalog(|catalog| catalog.holds.facts_max = 3);
    let held = |id: &str, seconds| app.holding(id, seconds);
    held("one", LONG).script([(accounts(&["a", "b"]), "applied x2")]).await;
    held("two", LONG).script([(accounts(&["c", "d"]), "error: holds_full")]).await;
    let forced = held("two", LONG).as_mode(Mode::Force);
    forced.script([(accounts(&["c", "d"]), "error: holds_full")]).await;
    app.counts([("app", "accounts 2; today 0")]).await;
    // Each part has the bound for itself, and takes without a hold have none.
    held("one", LONG).script([(create("g", "Private", "a", &["b"]), "applied | applied")]).await;
    app.script([(accounts(&["c", "d"]), "applied x2")]).await;
    // An ended record is kept, and counts.
    app.release(Accounts, "one", "create_accounts: released x2").await;
    held("two", LONG).script([(accounts(&["a", "b"]), "error: holds_full")]).await;
    held("two", LONG).script([(accounts(&["a"]), "applied")]).await;
    held("one", LONG).script([(accounts(&["b"]), "applied")]).await;
    held("two", LONG).script([(accounts(&["a"]), "repeated")]).await;
}

/// Who has a seat of the group, from when, and until when if the hold expires.
type Seat = (String, Timestamp, Option<Timestamp>);

/// Takes one of 20 seats, and confirms it or lets it expire; `None` if all are taken for good.
async fn take_a_seat(app: App, id: String, name: String, confirms: bool) -> Option<Seat> {
    let held = app.holding(&id, if confirms { LONG } else { 1 });
    loop {
        let answer = held.apply(join("g", &[&name])).await.expect("an answer");
        let from = answer.decided_at;
        match shown(&answer).as_str() {
            "applied" if confirms => {
                app.confirm(Groups, &id, "join_group: confirmed").await;
                return Some((name, from, None));
            }
            "applied" => return Some((name, from, Some(from + Duration::from_secs(1)))),
            denied => assert_eq!(denied, "denied MEMBERS_PER_GROUP 21/21 g"),
        }
        if app.permanent_members("g").await == 21 {
            return None;
        }
        app.pause().await;
    }
}

pub async fn sixty_four_callers_of_whom_half_confirm_never_exceed_the_limit(app: App) {
    let app = app.roomy().await;
    app.script([(create_capped("g", "ChatRoom", "o", &[], Some(21)), "applied")]).await;
    let users = numbered("u", 64);
    let mut tasks = JoinSet::new();
    for (number, name) in users.iter().cloned().enumerate() {
        tasks.spawn(take_a_seat(app.clone(), format!("h{number}"), name, number % 2 == 0));
    }
    let seats: Vec<Seat> = tasks.join_all().await.into_iter().flatten().collect();
    for (_, at, _) in &seats {
        let is_taken =
            |(_, from, until): &&Seat| from <= at && until.is_none_or(|until| *at < until);
        let at_once = seats.iter().filter(is_taken).count();
        assert!(at_once <= 20, "{at_once} have a seat at {at:?}");
    }
    let confirmed: Vec<&String> =
        seats.iter().filter(|(_, _, until)| until.is_none()).map(|(name, ..)| name).collect();
    assert_eq!(confirmed.len(), 20, "the callers go on until all seats are taken for good");
    app.expire().await;
    app.counts([("group g", "ChatRoom 21 of 21")]).await;
    for name in &users {
        let expected = format!("friends 0 groups {}", usize::from(confirmed.contains(&name)));
        app.counts([(format!("user {name}").as_str(), expected.as_str())]).await;
    }
}

pub async fn five_hundred_members_with_a_hold_are_one_step(app: App) {
    let app = app.roomy().await;
    let users = numbered("u", 500);
    let held = app.holding("h", LONG);
    held.script([(create("g", "ChatRoom", "", &texts(&users)), "applied | applied x500")]).await;
    held.script([(create("g", "ChatRoom", "", &texts(&users)), "repeated | repeated x500")]).await;
    app.provisional([("group g", "ChatRoom 500")]).await;
    app.release(Groups, "h", "create_group: released | released x500").await;
    app.counts([("group g", "error: group_not_found"), ("app", "accounts 0; today 0")]).await;
}
