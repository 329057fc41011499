//! The cost of a login in Redis: script calls, memory, and the server's time.

use imquota::domain::decision::Mode;
use imquota::domain::id::{AppId, UserId};
use imquota::domain::metering::Login;

use super::{script_calls, service};
use crate::support::redis::Standalone;
use crate::support::{Service, app, user};

/// The number of users over which the memory is measured.
const USERS: usize = 150_000;
/// Logins of one script call.
const BATCH: usize = 256;
/// Calls of one login in flight.
const IN_FLIGHT: usize = 64;
/// The most memory of a user who logs in, in bytes, in an app of that size. The buckets of a larger
/// app are fuller, and the memory per user is smaller.
const USER_BYTES_MAX: u64 = 64;

fn logins(users: &[UserId]) -> Vec<Login> {
    users.iter().map(|user| Login { user: user.clone(), at: None }).collect()
}

async fn record(service: &Service, app: &AppId, users: &[UserId]) {
    let deadline = service.deadline();
    service
        .engine
        .record_logins(app.clone(), Mode::Enforce, logins(users), deadline)
        .await
        .expect("counted");
}

/// The server's time in scripts so far, in microseconds.
fn script_micros(redis: &Standalone) -> u64 {
    let line = redis.server.info("commandstats", "cmdstat_evalsha").unwrap_or_default();
    let micros = line.split(',').find_map(|part| part.strip_prefix("usec="));
    micros.map_or(0, |micros| micros.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_logins_is_one_script_call() {
    let (redis, app) = (Standalone::start(), app("login-calls"));
    let service = service(&redis).await;
    for count in [1, BATCH] {
        let users: Vec<UserId> = (0..count).map(|number| user(format!("u{number}"))).collect();
        let mut fewest = u64::MAX;
        for _ in 0..4 {
            let before = script_calls(&redis.server);
            record(&service, &app, &users).await;
            fewest = fewest.min(script_calls(&redis.server) - before);
        }
        assert_eq!(fewest, 1, "{count} logins");
    }
    service.close().await;
}

/// Returns whether a new user triggers a sweep of their bucket: every hundredth.
#[tokio::test(flavor = "multi_thread")]
async fn users_without_a_login_for_a_month_are_dropped_and_no_others() {
    let (redis, app) = (Standalone::start(), app("login-sweep"));
    let service = service(&redis).await;
    let ids = service.fingerprints();
    let sweeps = |user: &UserId| ids.user(user).cast_signed().to_string().ends_with("00");
    let mut names = (0..100_000).map(|number| user(format!("u{number}")));
    let sweeper = names.find(sweeps).expect("one of many");
    let bucket = ids.user(&sweeper) >> 49;
    let key = format!("q1{{{:016x}/accounts}}l{bucket:04x}", ids.app(&app));
    let zone = service.engine.catalog().zone;
    let today = i64::from(zone.day_of(service.engine.local_now()).number());
    // The latest day, like in the other rows: 33 bits of mask below it.
    for (who, day) in [("1", today - 32), ("2", today - 400), ("3", today - 31), ("4", today)] {
        redis.server.cli(&["HSET", &key, who, &((day << 33) + 1).to_string()]);
    }
    record(&service, &app, std::slice::from_ref(&sweeper)).await;
    let left = redis.server.cli(&["HKEYS", &key]);
    let left: Vec<&str> = left.split_whitespace().collect();
    assert!(left.len() == 3 && left.contains(&"3") && left.contains(&"4"), "{left:?}");
    service.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_small_for_any_number_of_logins() {
    let (redis, app) = (Standalone::start(), app("login-memory"));
    let service = service(&redis).await;
    let users: Vec<UserId> = (0..USERS).map(|number| user(format!("user {number}"))).collect();
    let memory = || -> u64 {
        let line = redis.server.info("memory", "used_memory").expect("a line");
        line.trim().parse().expect("a number")
    };
    let (before, began) = (memory(), script_micros(&redis));
    for batch in users.chunks(BATCH) {
        record(&service, &app, batch).await;
    }
    let first = script_micros(&redis) - began;
    let bytes = (memory() - before) / USERS as u64;
    let began = script_micros(&redis);
    for batch in users.chunks(BATCH) {
        record(&service, &app, batch).await;
    }
    let again = script_micros(&redis) - began;
    let alone = &users[..2_000];
    let began = script_micros(&redis);
    for together in alone.chunks(IN_FLIGHT) {
        let calls = together.chunks(1).map(|user| record(&service, &app, user));
        futures_util::future::join_all(calls).await;
    }
    let single = script_micros(&redis) - began;
    let per = |micros: u64, logins: usize| micros * 1000 / logins as u64;
    println!(
        "{USERS} users: {bytes} bytes each; nanoseconds of the server a login: {} the first of \
         a user and {} a repeated one, {BATCH} a call; {} a repeated \
         one alone, {IN_FLIGHT} in flight",
        per(first, USERS),
        per(again, USERS),
        per(single, alone.len()),
    );
    assert!(bytes <= USER_BYTES_MAX, "{bytes} bytes a user");
    service.close().await;
}
