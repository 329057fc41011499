//! What an expiry, and the end of a record's time, leave in the server's keys.

use super::*;

/// More than one call lists.
const MANY: usize = 600;

/// The members of the set of expiries of a part, and the fields of its hash of holds.
fn left(timed: &TimedServer, part: &str) -> (String, Vec<String>) {
    let key = |end: &str| keys(&timed.server, &format!("/{part}}}{end}")).pop();
    let expiries = key("expiry").map_or("0".to_owned(), |key| timed.server.cli(&["ZCARD", &key]));
    let fields = key("holds").map_or(String::new(), |key| timed.server.cli(&["HGETALL", &key]));
    (expiries, fields.lines().map(str::to_owned).collect())
}

async fn world(limits: &[(LimitId, u64)]) -> (TimedServer, Sidecar) {
    let timed = TimedServer::start();
    let sidecar = Sidecar::open(&timed.url(), timed.clock.clone()).await;
    sidecar.limit(1, limits).await;
    (timed, sidecar)
}

/// Every fact that has expired is removed before the decision, in as many calls as it needs.
#[tokio::test(flavor = "multi_thread")]
async fn more_than_one_call_lists_are_removed_before_a_denial() {
    let limits = [(LimitId::AccountsPerApp, 1), (LimitId::FriendsPerUser, 1)];
    let (timed, sidecar) = world(&limits).await;
    sidecar.take(None, create("g", "owner", Some(2))).await;
    let forced = sidecar.as_mode(Mode::Force);
    for part in 0..MANY / 300 {
        let (hold, users) = (format!("h{part}"), numbered(&format!("u{part}-"), 300));
        let hold = Some((hold.as_str(), 1));
        for all in [accounts(users.clone()), follow("me", users.clone()), join("g", users)] {
            assert_eq!(forced.take(hold, all).await, "A".repeat(300));
        }
    }
    let new = |names: &str| numbered(names, 2);
    for take in [accounts(new("n")), follow("me", new("n")), join("g", new("n"))] {
        assert_eq!(sidecar.take(None, take).await, "DD");
    }
    timed.pass(SECOND);
    for take in [accounts(new("n")), follow("me", new("n")), join("g", new("n"))] {
        assert_eq!(sidecar.take(None, take).await, "AD");
    }
    assert_eq!(sidecar.count(Subject::App).await, (1, 0));
    assert_eq!(sidecar.count(Subject::User(user("me"))).await, (1, 0));
    assert_eq!(sidecar.count(Subject::Group(group("g"))).await, (2, 0));
    for part in ["accounts", "friends", "groups"] {
        // The records of the two holds.
        assert_eq!(left(&timed, part).0, "2", "{part}");
    }
}

/// A reading subtracts what has expired, and removes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_reading_writes_nothing() {
    let (timed, sidecar) = world(&[]).await;
    sidecar.take(None, create("g", "owner", None)).await;
    sidecar.take(Some(("h", 1)), join("g", numbered("u", 3))).await;
    sidecar.take(Some(("h", 1)), accounts(numbered("u", 3))).await;
    timed.pass(SECOND);
    let before = ["accounts", "groups"].map(|part| left(&timed, part));
    assert_eq!(sidecar.count(Subject::Group(group("g"))).await, (1, 0));
    assert_eq!(sidecar.count(Subject::App).await, (0, 0));
    assert_eq!(["accounts", "groups"].map(|part| left(&timed, part)), before);
    // Three facts and the record; and of the group's part no others, since the group is permanent.
    assert_eq!(before.map(|(expiries, _)| expiries), ["4", "4"]);
}

/// However a hold ends, its record is kept for a day after that, and then nothing is left of it.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_hold_when_its_record_has_been_kept() {
    let (timed, sidecar) = world(&[]).await;
    let kept = i64::from(sidecar.call.catalog.holds.kept_hours) * HOUR;
    sidecar.take(None, create("p", "owner", None)).await;
    let takes = |id: &str| {
        let users = numbered(&format!("{id}-"), 2);
        [
            accounts(users.clone()),
            befriend(id, users.clone()),
            create(id, id, None),
            join("p", users.clone()),
        ]
    };
    for id in ["confirmed", "released", "expired", "left"] {
        for take in takes(id) {
            sidecar.take(Some((id, 1)), take).await;
        }
        // The operation of the same kind has another id.
        let users = numbered(&format!("{id}-"), 2);
        sidecar.take(Some((&format!("{id}2"), 1)), join(id, users)).await;
    }
    let parts = [Part::Accounts, Part::Friends, Part::Groups];
    for part in parts {
        for id in ["confirmed", "confirmed2"] {
            sidecar.end(id, part, HoldEnd::Confirm).await;
        }
        for id in ["released", "released2"] {
            sidecar.end(id, part, HoldEnd::Release).await;
        }
    }
    let dissolution = Operation::DissolveGroup { group: group("left") };
    assert_eq!(sidecar.take(None, dissolution).await, "A");
    timed.pass(SECOND);
    assert!(sidecar.sweep().await > 0);
    timed.pass(kept - SECOND - 1);
    sidecar.sweep().await;
    // The records of what a caller has ended are kept until a day after that, the others longer.
    for (part, records) in [("accounts", "4"), ("friends", "4"), ("groups", "12")] {
        assert_eq!(left(&timed, part).0, records, "{part}");
    }
    assert_eq!(sidecar.end("confirmed", Part::Accounts, HoldEnd::Release).await, "oo");
    timed.pass(2 * SECOND + kept);
    sidecar.sweep().await;
    for (part, name) in parts.iter().zip(["accounts", "friends", "groups"]) {
        let (expiries, fields) = left(&timed, name);
        assert_eq!((expiries.as_str(), fields.join(" ").as_str()), ("0", "n 0"), "{name}");
        assert_eq!(sidecar.end("confirmed", *part, HoldEnd::Confirm).await, "", "{name}");
        let limits = &keys(&timed.server, &format!("/{name}}}limits"))[0];
        assert_eq!(timed.server.cli(&["HEXISTS", limits, "due"]), "0", "{name}");
    }
    // What was confirmed is there, and nothing else.
    assert_eq!(sidecar.count(Subject::App).await, (2, 0));
    assert_eq!(sidecar.count(Subject::User(user("confirmed"))).await, (2, 0));
    assert_eq!(sidecar.count(Subject::User(user("expired"))).await, (0, 0));
    assert_eq!(sidecar.count(Subject::Group(group("p"))).await, (3, 0));
    assert_eq!(sidecar.count(Subject::Group(group("confirmed"))).await, (3, 0));
}

/// The first expiry is a field beside the limits, which a change of these does not lose.
#[tokio::test(flavor = "multi_thread")]
async fn holds_expire_also_after_new_limits() {
    let (timed, sidecar) = world(&[(LimitId::AccountsPerApp, 1)]).await;
    assert_eq!(sidecar.take(Some(("h", 2)), accounts(vec![user("held")])).await, "A");
    timed.pass(SECOND);
    sidecar.limit(2, &[(LimitId::AccountsPerApp, 1)]).await;
    sidecar.limit(3, &[(LimitId::AccountsPerApp, 2)]).await;
    let limits = &keys(&timed.server, "/accounts}limits")[0];
    assert_eq!(timed.server.cli(&["HGET", limits, "revision"]), "3");
    assert_eq!(timed.server.cli(&["HGET", limits, "due"]), (NOON + 2 * SECOND).to_string());
    assert_eq!(sidecar.take(None, accounts(numbered("u", 2))).await, "AD");
    timed.pass(SECOND);
    assert_eq!(sidecar.count(Subject::App).await, (1, 0));
    assert_eq!(sidecar.take(None, accounts(numbered("v", 2))).await, "AD");
}
