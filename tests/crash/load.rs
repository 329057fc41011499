//! Workers that take and release, and record the acknowledged facts.
//!
//! Every fact belongs to one worker, so its state after a crash is determined; the limits are
//! shared: accounts, rooms, the hub's friends and the shared groups' members reach them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use imquota::grpc::pb::{self, Outcome};
use tokio::sync::Notify;
use tonic::Status;

use crate::sidecar::Client;
use crate::support::Rng;

pub const APP: &str = "crash";
pub const WORKERS: usize = 12;
/// More than 100 accounts among all workers.
pub const USERS_EACH: usize = 14;
pub const SHARED_GROUPS: usize = 3;
const OWN_GROUPS: usize = 3;
/// More than 10 rooms among all workers.
const ROOMS_EACH: usize = 2;
const OWN_GROUP_MEMBERS: usize = 5;
/// The timeout for some hundred responses: a thousand times their duration.
const LOAD_MAX: Duration = Duration::from_secs(120);
/// A user who is a friend of all others, up to the limit.
pub const HUB: &str = "hub";

/// A unit that is held as a whole or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    Account(usize),
    /// A membership in a shared group.
    Member(usize, usize),
    /// A mutual friendship with the hub.
    Friend(usize),
    /// A Private group of the worker with an owner and four more members.
    Group(usize),
    /// An AVChatRoom.
    Room(usize),
}

/// Signals between the workers and the killer.
#[derive(Debug, Default)]
pub struct Signals {
    pub killed: AtomicBool,
    acknowledged: AtomicUsize,
    /// Signals when that number of requests was acknowledged.
    enough: usize,
    reached: Notify,
}

impl Signals {
    pub fn after(enough: usize) -> Self {
        Self { enough, ..Self::default() }
    }

    fn acknowledge(&self) {
        if self.acknowledged.fetch_add(1, Ordering::SeqCst) + 1 == self.enough {
            self.reached.notify_one();
        }
    }

    /// Waits until enough requests were acknowledged.
    pub async fn reached(&self) {
        let reached = tokio::time::timeout(LOAD_MAX, self.reached.notified()).await;
        reached.expect("the workers get responses");
    }
}

/// The expected facts of a worker.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The acknowledged facts; others are not held.
    pub held: BTreeMap<Cell, bool>,
    /// The cells of the request in flight at the kill: all held afterwards, or none.
    pub unsure: Vec<Cell>,
    pub acknowledged: usize,
    pub denied: usize,
}

pub fn user(worker: usize, number: usize) -> String {
    format!("user {worker}/{number}")
}

/// Users with accounts have no other facts, since deleting an account releases all of them.
pub fn account(worker: usize, number: usize) -> String {
    format!("account {worker}/{number}")
}

pub fn shared_group(number: usize) -> String {
    format!("shared {number}")
}

pub fn own_group(worker: usize, number: usize) -> String {
    format!("own {worker}/{number}")
}

pub fn room(worker: usize, number: usize) -> String {
    format!("room {worker}/{number}")
}

/// The members of a worker's group, the owner first; the groups overlap.
pub fn members_of(group: usize) -> impl Iterator<Item = usize> {
    (0..OWN_GROUP_MEMBERS).map(move |member| (4 * group + member) % USERS_EACH)
}

/// All cells of a worker.
pub fn cells() -> Vec<Cell> {
    let users = || 0..USERS_EACH;
    let members =
        users().flat_map(|user| (0..SHARED_GROUPS).map(move |group| Cell::Member(group, user)));
    let cells = users().map(Cell::Account).chain(members).chain(users().map(Cell::Friend));
    let groups = (0..OWN_GROUPS).map(Cell::Group);
    cells.chain(groups).chain((0..ROOMS_EACH).map(Cell::Room)).collect()
}

/// Works until the sidecar is killed.
pub async fn work(
    mut client: Client,
    worker: usize,
    mut known: Known,
    mut rng: Rng,
    signals: &Signals,
) -> Known {
    let cells = cells();
    while !signals.killed.load(Ordering::SeqCst) {
        let cell = *rng.pick(&cells);
        let held = known.is_held(cell);
        let take = rng.percent(if held { 30 } else { 85 });
        let mut touched = vec![cell];
        if let (Cell::Member(group, _), true, false) = (cell, held, take) {
            // All of the worker's users in that group, in one request.
            touched.extend(cells.iter().filter(|other| {
                **other != cell
                    && matches!(other, Cell::Member(of, _) if *of == group)
                    && known.is_held(**other)
            }));
        }
        let answer = send(&mut client, worker, &touched, take).await;
        match answer {
            Ok(outcomes) => {
                known.learn(&touched, held, take, &outcomes);
                signals.acknowledge();
            }
            Err(status) => {
                assert!(
                    signals.killed.load(Ordering::SeqCst),
                    "an error before the kill: {status}"
                );
                known.unsure = touched;
                break;
            }
        }
    }
    known
}

impl Known {
    pub fn is_held(&self, cell: Cell) -> bool {
        self.held.get(&cell).copied().unwrap_or(false)
    }

    fn learn(&mut self, touched: &[Cell], held: bool, take: bool, outcomes: &[Outcome]) {
        let expected: &[Outcome] = match (held, take) {
            (true, true) => &[Outcome::AlreadyHeld],
            (true, false) => &[Outcome::Applied],
            (false, true) => &[Outcome::Applied, Outcome::Denied],
            (false, false) => &[Outcome::NotHeld],
        };
        for (cell, outcome) in touched.iter().zip(outcomes) {
            assert!(expected.contains(outcome), "{cell:?}, held {held}, take {take}: {outcome:?}");
            let held_now = match outcome {
                Outcome::Applied => take,
                _ => held,
            };
            self.held.insert(*cell, held_now);
            self.denied += usize::from(*outcome == Outcome::Denied);
        }
        self.acknowledged += 1;
    }
}

/// Makes one request; its outcomes are those of `touched`, several only if users leave.
async fn send(
    client: &mut Client,
    worker: usize,
    touched: &[Cell],
    take: bool,
) -> Result<Vec<Outcome>, Status> {
    let app_id = APP.to_owned();
    let mode = pb::Mode::Enforce.into();
    let results = match (touched[0], take) {
        (Cell::Account(number), true) => {
            let user_ids = vec![account(worker, number)];
            let request =
                pb::CreateAccountsRequest { app_id, user_ids, mode, ..Default::default() };
            client.create_accounts(request).await?.into_inner().results
        }
        (Cell::Account(number), false) => {
            let user_ids = vec![account(worker, number)];
            let request = pb::DeleteAccountsRequest { app_id, user_ids };
            client.delete_accounts(request).await?.into_inner().results
        }
        (Cell::Member(group, number), true) => {
            let (group_id, user_ids) = (shared_group(group), vec![user(worker, number)]);
            let request =
                pb::JoinGroupRequest { app_id, group_id, user_ids, mode, ..Default::default() };
            client.join_group(request).await?.into_inner().results
        }
        (Cell::Member(group, _), false) => {
            let users = touched.iter().map(|cell| match cell {
                Cell::Member(_, number) => user(worker, *number),
                other => unreachable!("{other:?} beside a membership"),
            });
            let (group_id, user_ids) = (shared_group(group), users.collect());
            let request = pb::LeaveGroupRequest { app_id, group_id, user_ids };
            client.leave_group(request).await?.into_inner().results
        }
        (Cell::Friend(number), take) => befriend(client, &user(worker, number), take).await?,
        (Cell::Group(number), true) => {
            let mut members = members_of(number).map(|member| user(worker, member));
            let request = pb::CreateGroupRequest {
                app_id,
                group_id: own_group(worker, number),
                r#type: "Private".to_owned(),
                owner_id: members.next(),
                member_ids: members.collect(),
                mode,
                ..pb::CreateGroupRequest::default()
            };
            client.create_group(request).await?.into_inner().group.into_iter().collect()
        }
        (Cell::Room(number), true) => {
            let request = pb::CreateGroupRequest {
                app_id,
                group_id: room(worker, number),
                r#type: "AVChatRoom".to_owned(),
                mode,
                ..pb::CreateGroupRequest::default()
            };
            client.create_group(request).await?.into_inner().group.into_iter().collect()
        }
        (Cell::Group(number), false) => dissolve(client, own_group(worker, number)).await?,
        (Cell::Room(number), false) => dissolve(client, room(worker, number)).await?,
    };
    Ok(results.iter().map(pb::Result::outcome).collect())
}

async fn befriend(client: &mut Client, user: &str, take: bool) -> Result<Vec<pb::Result>, Status> {
    let (app_id, user_id, friend_ids) = (APP.to_owned(), user.to_owned(), vec![HUB.to_owned()]);
    if take {
        let mode = pb::Mode::Enforce.into();
        let request = pb::AddFriendsRequest {
            app_id,
            user_id,
            friend_ids,
            one_way: false,
            mode,
            ..Default::default()
        };
        return Ok(client.add_friends(request).await?.into_inner().results);
    }
    let request = pb::RemoveFriendsRequest { app_id, user_id, friend_ids, one_way: false };
    Ok(client.remove_friends(request).await?.into_inner().results)
}

async fn dissolve(client: &mut Client, group_id: String) -> Result<Vec<pb::Result>, Status> {
    let request = pb::DissolveGroupRequest { app_id: APP.to_owned(), group_id };
    Ok(client.dissolve_group(request).await?.into_inner().result.into_iter().collect())
}
