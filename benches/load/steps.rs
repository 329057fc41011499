//! The longest single step in Redis: while one command runs, every other caller waits. The calls
//! that do most are made one by one, and the server's slow log has the longest command of each.

use std::time::Duration;

use imquota::grpc::pb;
use imquota::grpc::pb::apply_request::Operation;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client as RedisClient, Value, cmd};

use super::field::{Role, Scale};
use super::growth::{APP, BATCH, create, fill_group, users};
use super::mix::{GROUP_TYPE, RESIDENT};
use super::processes::{Process, Transport, sell};
use super::shared::Spread;
use super::support::redis::Standalone;
use super::table::{Figures, Goal, Table};
use super::unary::{Client, call};

/// The number of commands that the slow log keeps.
const KEPT: usize = 20_000;
/// The least duration of a command in the slow log, which has those within scripts, too.
const LOGGED_FROM_US: i64 = 20;
/// Commands of this bench among those in the slow log.
const OWN: [&[u8]; 3] = [b"SLOWLOG", b"CONFIG", b"INFO"];
/// The longest time to read the slow log.
const READ_MAX: Duration = Duration::from_secs(60);
/// The highest number of accounts of a call in the catalog.
const ACCOUNTS: usize = 100;

/// The size of the calls.
struct Size {
    /// Members of the group that is dissolved, beyond its limit.
    members: usize,
    /// Friends of a call, and of the user whose account is deleted.
    friends: usize,
    /// Groups of the user whose account is deleted.
    groups: usize,
}

const FULL: Size = Size { members: 10_000, friends: 1000, groups: 900 };
const QUICK: Size = Size { members: 600, friends: 40, groups: 10 };

/// A build with its Redis.
struct Site {
    role: Role,
    client: Client,
    commands: MultiplexedConnection,
    /// The longest step of each call by its name, of each round, in milliseconds.
    longest: Vec<(&'static str, Vec<f64>)>,
    _sidecar: Process,
    _redis: Standalone,
}

/// Adds the row of the longest step of any call.
pub async fn add_rows(scale: &Scale, table: &mut Table) -> Result<(), String> {
    let size = if scale.is_quick { &QUICK } else { &FULL };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let mut sites = Vec::new();
    for (role, binary) in scale.builds() {
        let own = folder.path().join(format!("{role:?}"));
        std::fs::create_dir(&own).map_err(|error| error.to_string())?;
        let redis = Standalone::start();
        let sidecar = Process::sidecar(binary, &own, Transport::Unix, &redis.url()).await;
        sell(&sidecar.admin, APP).await?;
        let client = sidecar.address.quota().await?;
        let commands = RedisClient::open(redis.url()).expect("a good address");
        let patient = AsyncConnectionConfig::new().set_response_timeout(Some(READ_MAX));
        let commands = commands.get_multiplexed_async_connection_with_config(&patient).await;
        let commands = commands.expect("it listens");
        redis.server.cli(&["CONFIG", "SET", "slowlog-max-len", &KEPT.to_string()]);
        let logged_from = LOGGED_FROM_US.to_string();
        redis.server.cli(&["CONFIG", "SET", "slowlog-log-slower-than", &logged_from]);
        for group in 0..size.groups {
            let group = own_group(group);
            create(&client, &group).await;
            // One user stays, so that it is not removed when the other's account is deleted.
            fill_group(&client, &group, &[RESIDENT.to_owned()]).await;
        }
        let longest = Vec::new();
        sites.push(Site { role, client, commands, longest, _sidecar: sidecar, _redis: redis });
    }
    let mut figures = Figures::default();
    for round in 0..scale.rounds {
        let count = sites.len();
        for turn in Scale::turns(round, count) {
            sites[turn].round(round, size).await;
        }
    }
    for site in &sites {
        *figures.of_mut(site.role) = site.longest_call();
    }
    if scale.details {
        print(&sites);
    }
    table.add("longest single step of any call in Redis, ms", Goal::AtMost(3.0), figures);
    Ok(())
}

fn print(sites: &[Site]) {
    println!("\n### Longest steps\n");
    println!("| | call | ms |");
    println!("|---|---|---:|");
    for site in sites {
        for (call, longest) in &site.longest {
            println!("| {:?} | {call} | {} |", site.role, Spread::of(longest.iter().copied()));
        }
    }
}

/// Returns the calls of a round, each with operations of one kind.
fn calls(round: usize, size: &Size) -> Vec<(&'static str, Vec<Operation>)> {
    let app_id = || APP.to_owned();
    let names = |name: &str, count| users(&format!("{name}-{round}"), count);
    let (user_id, group_id) = (format!("deleted-{round}"), format!("large-{round}"));
    let create = |group_id: String, member_ids: Vec<String>| {
        let mode = pb::Mode::Force.into();
        let r#type = GROUP_TYPE.to_owned();
        let app_id = app_id();
        Operation::CreateGroup(pb::CreateGroupRequest {
            app_id,
            group_id,
            r#type,
            member_ids,
            mode,
            ..Default::default()
        })
    };
    let join = |group_id: String, user_ids: &[String]| {
        let (user_ids, mode) = (user_ids.to_vec(), pb::Mode::Force.into());
        Operation::JoinGroup(pb::JoinGroupRequest {
            app_id: app_id(),
            group_id,
            user_ids,
            mode,
            ..Default::default()
        })
    };
    let leave = |group_id: String, user_ids| {
        Operation::LeaveGroup(pb::LeaveGroupRequest { app_id: app_id(), group_id, user_ids })
    };
    let accounts = pb::CreateAccountsRequest {
        app_id: app_id(),
        user_ids: names("account", ACCOUNTS),
        ..Default::default()
    };
    let (friend_ids, one_way) = (names("friend", size.friends), false);
    let add = pb::AddFriendsRequest {
        app_id: app_id(),
        user_id: user_id.clone(),
        friend_ids: friend_ids.clone(),
        ..Default::default()
    };
    let remove = pb::RemoveFriendsRequest {
        app_id: app_id(),
        user_id: user_id.clone(),
        friend_ids,
        one_way,
    };
    let (members, user) = (names("member", size.members), [user_id.clone()]);
    let joins = (0..size.groups).map(|group| join(own_group(group), &user)).collect();
    let large = members.chunks(BATCH).map(|users| join(group_id.clone(), users)).collect();
    let delete = pb::DeleteAccountsRequest { app_id: app_id(), user_ids: user.to_vec() };
    let dissolve = pb::DissolveGroupRequest { app_id: app_id(), group_id: group_id.clone() };
    let small = format!("small-{round}");
    vec![
        ("creation of a group of 500", vec![create(small.clone(), names("first", BATCH))]),
        ("leave of 500", vec![leave(small, names("first", BATCH))]),
        ("creation of 100 accounts", vec![Operation::CreateAccounts(accounts)]),
        ("addition of 1000 friends", vec![Operation::AddFriends(add.clone())]),
        ("removal of 1000 friends", vec![Operation::RemoveFriends(remove)]),
        ("the addition again", vec![Operation::AddFriends(add)]),
        ("joins of one user to 900 groups", joins),
        ("deletion of that user's account", vec![Operation::DeleteAccounts(delete)]),
        ("creation of a group", vec![create(group_id, Vec::new())]),
        ("joins of 500 to that group", large),
        ("dissolution of that group of 10,000", vec![Operation::DissolveGroup(dissolve)]),
    ]
}

fn own_group(number: usize) -> String {
    format!("own-{number:04}")
}

impl Site {
    /// Makes all calls.
    async fn round(&mut self, round: usize, size: &Size) {
        for (name, operations) in calls(round, size) {
            self.forget().await;
            for operation in operations {
                assert_eq!(call(&self.client, operation).await, "applied", "{name}");
            }
            self.note(name).await;
        }
    }

    /// Returns the longest step of each round, of the call whose median is the longest: a step that
    /// was interrupted once is none.
    fn longest_call(&self) -> Vec<f64> {
        let median = |rounds: &[f64]| Spread::of(rounds.iter().copied()).median;
        let rounds = self.longest.iter().map(|(_, rounds)| rounds);
        let longest = rounds.max_by(|one, other| median(one).total_cmp(&median(other)));
        longest.expect("calls were made").clone()
    }

    /// Empties the slow log.
    async fn forget(&mut self) {
        let reset = cmd("SLOWLOG").arg("RESET").query_async(&mut self.commands).await;
        let () = reset.expect("Redis empties it");
    }

    /// Adds the longest step since the slow log was emptied.
    async fn note(&mut self, call: &'static str) {
        let read = cmd("SLOWLOG").arg("GET").arg(KEPT).query_async(&mut self.commands).await;
        let entries: Vec<Vec<Value>> = read.expect("Redis returns it");
        let steps: Vec<_> = entries.iter().filter_map(|entry| duration_us(entry)).collect();
        assert!(steps.len() < KEPT, "{call}: the slow log is full");
        let longest = steps.into_iter().max().unwrap_or(LOGGED_FROM_US);
        let longest_ms = f64::from(u32::try_from(longest).expect("below an hour")) / 1e3;
        match self.longest.iter_mut().find(|(name, _)| *name == call) {
            Some((_, all)) => all.push(longest_ms),
            None => self.longest.push((call, vec![longest_ms])),
        }
    }
}

/// Returns the duration of an entry of the slow log, unless its command is one of this bench.
fn duration_us(entry: &[Value]) -> Option<i64> {
    let [_, _, Value::Int(duration), Value::Array(command), ..] = entry else {
        panic!("an entry of the slow log: {entry:?}");
    };
    let is_own = matches!(command.first(), Some(Value::BulkString(name))
        if OWN.iter().any(|own| name.eq_ignore_ascii_case(own)));
    (!is_own).then_some(*duration)
}
