//! Callers that take with holds, confirm, release and let expire, and record what was answered.
//!
//! Every cell belongs to one caller, so its state is determined but for the call in flight at a
//! kill, which is repeated afterwards: each of them is idempotent.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use imquota::clock::Stopwatch;
use imquota::grpc::pb::{self, HoldOutcome, Outcome};
use tokio::sync::Notify;
use tonic::{Code, Status};

use crate::sidecar::Client;
use crate::support::Rng;

pub const APP: &str = "held";
pub const CALLERS: usize = 8;
/// The group that has fewer seats than callers want, with a member who stays.
pub const GROUP: &str = "shared";
/// The user whose list has fewer places than callers want.
pub const HUB: &str = "hub";
/// Of each caller; more among all than the limits of 100 accounts, 20 members and 20 friends.
const ACCOUNTS: usize = 14;
const SEATS: usize = 4;
const GROUPS: usize = 3;
/// Seconds of holds that expire in each round, and of those that live until they are ended.
pub const SHORT: u32 = 1;
const LONG: u32 = 3600;
/// Actions on a cell that a failure shows.
const HISTORY_MAX: usize = 12;
/// The timeout for some hundred responses: a thousand times their duration.
const LOAD_MAX: Duration = Duration::from_secs(120);

/// A unit that is taken as a whole or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    Account(usize),
    /// A membership in the shared group.
    Member(usize),
    /// A mutual friendship with the hub.
    Friend(usize),
    /// A Private group with an owner and a member of its own.
    Group(usize),
}

/// The state of a cell by the answers so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Absent,
    Permanent,
    Held(Hold),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub id: String,
    /// True if it expires in this round.
    pub is_short: bool,
    /// True if it is left alone from now on.
    is_left: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A take, with a hold or without.
    Take(Option<Hold>),
    Confirm(Hold),
    Release(Hold),
    /// A leave, a removal, a deletion, a dissolution.
    Leave,
}

/// The response to an action.
#[derive(Debug)]
enum Answer {
    Outcomes(Vec<Outcome>),
    Ended(Vec<HoldOutcome>),
}

/// Signals between the callers and the killer.
#[derive(Debug, Default)]
pub struct Signals {
    pub killed: AtomicBool,
    answered: AtomicUsize,
    /// Signals when that number of requests was answered.
    enough: usize,
    reached: Notify,
}

impl Signals {
    pub fn after(enough: usize) -> Self {
        Self { enough, ..Self::default() }
    }

    pub async fn reached(&self) {
        let reached = tokio::time::timeout(LOAD_MAX, self.reached.notified()).await;
        reached.expect("the callers get responses");
    }

    pub fn is_killed(&self) -> bool {
        self.killed.load(Ordering::SeqCst)
    }
}

/// A caller's cells.
#[derive(Debug, Clone)]
pub struct Caller {
    pub number: usize,
    pub states: BTreeMap<Cell, State>,
    /// The call in flight at the kill.
    pub unsure: Option<(Cell, Action)>,
    holds: usize,
    /// The last actions on each cell with their answers.
    pub history: BTreeMap<Cell, VecDeque<String>>,
    /// The number of each kind of answer.
    pub answers: BTreeMap<String, usize>,
}

impl Caller {
    pub fn new(number: usize) -> Self {
        let cells = (0..ACCOUNTS).map(Cell::Account).chain((0..SEATS).map(Cell::Member));
        let cells = cells.chain((0..SEATS).map(Cell::Friend)).chain((0..GROUPS).map(Cell::Group));
        let states = cells.map(|cell| (cell, State::Absent)).collect();
        Self {
            number,
            states,
            unsure: None,
            holds: 0,
            history: BTreeMap::new(),
            answers: BTreeMap::new(),
        }
    }

    /// Works until the kill.
    pub async fn work(mut self, mut client: Client, mut rng: Rng, signals: &Signals) -> Self {
        let cells: Vec<Cell> = self.states.keys().copied().collect();
        while !signals.is_killed() {
            let cell = *rng.pick(&cells);
            let Some(action) = self.next(cell, &mut rng) else {
                tokio::task::yield_now().await;
                continue;
            };
            match send(&mut client, self.number, cell, &action).await {
                Ok(answer) => {
                    self.learn(cell, &action, &answer);
                    if signals.answered.fetch_add(1, Ordering::SeqCst) + 1 == signals.enough {
                        signals.reached.notify_one();
                    }
                }
                Err(status) => {
                    let is_late = status.code() == Code::Unavailable || signals.is_killed();
                    assert!(is_late, "an error before the kill: {status}");
                    self.note(cell, format!("{action:?}: {}", status.message()));
                    self.unsure = Some((cell, action));
                    break;
                }
            }
        }
        self
    }

    fn next(&mut self, cell: Cell, rng: &mut Rng) -> Option<Action> {
        let mut hold = |is_short| {
            self.holds += 1;
            let id = format!("{}/{}", self.number, self.holds);
            Some(Hold { id, is_short, is_left: false })
        };
        let action = match self.states.get_mut(&cell).expect("a cell of this caller") {
            State::Absent if rng.percent(20) => Action::Take(None),
            State::Absent => Action::Take(hold(rng.percent(50))),
            State::Permanent if rng.percent(30) => Action::Take(hold(rng.percent(50))),
            State::Permanent => Action::Leave,
            State::Held(held) if held.is_left => return None,
            State::Held(held) => match rng.below(10) {
                0..4 => Action::Confirm(held.clone()),
                4..6 => Action::Release(held.clone()),
                6 => Action::Leave,
                _ => {
                    held.is_left = true;
                    return None;
                }
            },
        };
        Some(action)
    }

    /// Adopts the answer to an action.
    fn learn(&mut self, cell: Cell, action: &Action, answer: &Answer) {
        let before = self.states[&cell].clone();
        let place = format!("{} {cell:?} {before:?} {action:?}: {answer:?}", self.number);
        let after = match (action, answer) {
            (Action::Take(hold), Answer::Outcomes(outcomes)) => {
                match (outcomes.as_slice(), &before) {
                    ([Outcome::Applied, rest @ ..], State::Absent)
                        if rest.iter().all(|it| *it == Outcome::Applied) =>
                    {
                        hold.clone().map_or(State::Permanent, State::Held)
                    }
                    ([Outcome::Denied, ..], State::Absent) => State::Absent,
                    ([Outcome::AlreadyHeld, ..], State::Permanent) => State::Permanent,
                    _ => panic!("{place}"),
                }
            }
            (Action::Leave, Answer::Outcomes(outcomes)) => {
                let may_have_expired = matches!(&before, State::Held(hold) if hold.is_short);
                let is_applied = outcomes.iter().all(|it| *it == Outcome::Applied);
                assert!(is_applied || may_have_expired, "{place}");
                State::Absent
            }
            (Action::Confirm(hold), Answer::Ended(outcomes)) => {
                let all = |wanted: &[HoldOutcome]| outcomes.iter().all(|it| wanted.contains(it));
                let retaken = hold.is_short && all(&[HoldOutcome::Retaken]);
                if retaken || all(&[HoldOutcome::Confirmed]) {
                    State::Permanent
                } else {
                    assert!(hold.is_short && all(&[HoldOutcome::Denied]), "{place}");
                    State::Absent
                }
            }
            (Action::Release(_), Answer::Ended(outcomes)) => {
                assert!(outcomes.iter().all(|it| *it == HoldOutcome::Released), "{place}");
                State::Absent
            }
            _ => panic!("{place}"),
        };
        let first = match answer {
            Answer::Outcomes(outcomes) => format!("{:?}", outcomes[0]),
            Answer::Ended(outcomes) => format!("{:?}", outcomes[0]),
        };
        *self.answers.entry(first).or_default() += 1;
        self.note(cell, format!("{action:?}: {answer:?}"));
        self.states.insert(cell, after);
    }

    fn note(&mut self, cell: Cell, what: String) {
        let history = self.history.entry(cell).or_default();
        history.push_back(what);
        if history.len() > HISTORY_MAX {
            history.pop_front();
        }
    }

    /// Marks the end of a round in the history of each cell.
    pub fn end_round(&mut self, name: &str) {
        for cell in self.states.keys().copied().collect::<Vec<_>>() {
            self.note(cell, format!("after {name}: {:?}", self.states[&cell]));
        }
    }

    /// Finds out what became of the call in flight at the kill.
    pub async fn settle(&mut self, client: &mut Client) {
        let Some((cell, action)) = self.unsure.take() else { return };
        let repeated = match &action {
            Action::Take(Some(hold)) if self.states[&cell] == State::Absent => {
                // It is not confirmed; if it was carried out, a release ends it.
                let release = Action::Release(hold.clone());
                match until_available(client, self.number, cell, &release).await {
                    Err(status) => assert_eq!(status.code(), Code::NotFound, "{status}"),
                    Ok(ended) => self.learn(cell, &release, &ended),
                }
                return;
            }
            Action::Take(None) if self.states[&cell] == State::Absent => {
                let answer = until_available(client, self.number, cell, &action).await;
                let Ok(Answer::Outcomes(outcomes)) = answer else { panic!("{answer:?}") };
                let is_held = outcomes[0] != Outcome::Denied;
                self.note(cell, format!("again {action:?}: {outcomes:?}"));
                self.states.insert(cell, if is_held { State::Permanent } else { State::Absent });
                return;
            }
            Action::Leave => {
                let left = until_available(client, self.number, cell, &action).await;
                let Ok(Answer::Outcomes(_)) = &left else { panic!("{left:?}") };
                self.note(cell, format!("again {action:?}: {left:?}"));
                self.states.insert(cell, State::Absent);
                return;
            }
            other => until_available(client, self.number, cell, other).await,
        };
        let repeated = repeated.expect("the hold's record is kept");
        self.learn(cell, &action, &repeated);
    }

    /// Ends the short holds, which have expired.
    pub fn expire(&mut self) {
        for state in self.states.values_mut() {
            match state {
                State::Held(hold) if hold.is_short => *state = State::Absent,
                State::Held(hold) => hold.is_left = false,
                State::Absent | State::Permanent => {}
            }
        }
    }
}

/// The outcomes of a dry-run take of a cell, asked for again while the store is unavailable.
pub async fn check(client: &mut Client, caller: usize, cell: Cell) -> Vec<Outcome> {
    let watch = Stopwatch::start();
    loop {
        match take(client, caller, cell, None, pb::Mode::CheckOnly).await {
            Ok(outcomes) => return outcomes,
            Err(status) => {
                let passes = status.code() == Code::Unavailable;
                assert!(passes && watch.elapsed() < LOAD_MAX, "{status}");
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Sends an action again while the store is unavailable.
async fn until_available(
    client: &mut Client,
    caller: usize,
    cell: Cell,
    action: &Action,
) -> Result<Answer, Status> {
    let watch = Stopwatch::start();
    loop {
        match send(client, caller, cell, action).await {
            Err(status) if status.code() == Code::Unavailable && watch.elapsed() < LOAD_MAX => {}
            answer => return answer,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The id of a cell's account, user or group.
pub fn name(caller: usize, cell: Cell) -> String {
    match cell {
        Cell::Account(number) => format!("account {caller}/{number}"),
        Cell::Member(number) | Cell::Friend(number) => format!("user {caller}/{number}"),
        Cell::Group(number) => format!("group {caller}/{number}"),
    }
}

async fn send(
    client: &mut Client,
    caller: usize,
    cell: Cell,
    action: &Action,
) -> Result<Answer, Status> {
    let (app_id, relation) = (APP.to_owned(), relation(cell).into());
    match action {
        Action::Take(hold) => {
            let hold = hold
                .as_ref()
                .map(|hold| (if hold.is_short { SHORT } else { LONG }, hold.id.as_str()));
            take(client, caller, cell, hold, pb::Mode::Enforce).await.map(Answer::Outcomes)
        }
        Action::Leave => leave(client, caller, cell).await.map(Answer::Outcomes),
        Action::Confirm(Hold { id, .. }) => {
            let (operation_id, mode) = (id.clone(), pb::Mode::Enforce.into());
            let request = pb::ConfirmHoldRequest { app_id, operation_id, relation, mode };
            let answer = client.confirm_hold(request).await?.into_inner();
            Ok(Answer::Ended(answer.results.iter().map(pb::HoldResult::outcome).collect()))
        }
        Action::Release(Hold { id, .. }) => {
            let operation_id = id.clone();
            let request = pb::ReleaseHoldRequest { app_id, operation_id, relation };
            let answer = client.release_hold(request).await?.into_inner();
            Ok(Answer::Ended(answer.results.iter().map(pb::HoldResult::outcome).collect()))
        }
    }
}

fn relation(cell: Cell) -> pb::HoldRelation {
    match cell {
        Cell::Account(_) => pb::HoldRelation::Accounts,
        Cell::Friend(_) => pb::HoldRelation::Friends,
        Cell::Member(_) | Cell::Group(_) => pb::HoldRelation::Groups,
    }
}

/// Takes a cell; returns the outcomes, of a group first that of the whole.
async fn take(
    client: &mut Client,
    caller: usize,
    cell: Cell,
    hold: Option<(u32, &str)>,
    mode: pb::Mode,
) -> Result<Vec<Outcome>, Status> {
    let (app_id, name, mode) = (APP.to_owned(), name(caller, cell), mode.into());
    let hold_seconds = hold.map(|(seconds, _)| seconds);
    let operation_id = hold.map_or(String::new(), |(_, id)| id.to_owned());
    let results = match cell {
        Cell::Account(_) => {
            let user_ids = vec![name];
            let request = pb::CreateAccountsRequest {
                app_id,
                user_ids,
                mode,
                hold_seconds,
                operation_id,
                ..Default::default()
            };
            client.create_accounts(request).await?.into_inner().results
        }
        Cell::Member(_) => {
            let (group_id, user_ids) = (GROUP.to_owned(), vec![name]);
            let request = pb::JoinGroupRequest {
                app_id,
                group_id,
                user_ids,
                mode,
                hold_seconds,
                operation_id,
                ..Default::default()
            };
            client.join_group(request).await?.into_inner().results
        }
        Cell::Friend(_) => {
            let (user_id, friend_ids) = (name, vec![HUB.to_owned()]);
            let request = pb::AddFriendsRequest {
                app_id,
                user_id,
                friend_ids,
                mode,
                hold_seconds,
                operation_id,
                ..Default::default()
            };
            client.add_friends(request).await?.into_inner().results
        }
        Cell::Group(_) => {
            let (owner, member) = (format!("owner {name}"), format!("mate {name}"));
            let request = pb::CreateGroupRequest {
                app_id,
                group_id: name,
                r#type: "Private".to_owned(),
                owner_id: Some(owner),
                member_ids: vec![member],
                mode,
                hold_seconds,
                operation_id,
                ..Default::default()
            };
            let answer = client.create_group(request).await?.into_inner();
            answer.group.into_iter().chain(answer.members).collect()
        }
    };
    Ok(results.iter().map(pb::Result::outcome).collect())
}

async fn leave(client: &mut Client, caller: usize, cell: Cell) -> Result<Vec<Outcome>, Status> {
    let (app_id, name) = (APP.to_owned(), name(caller, cell));
    let results = match cell {
        Cell::Account(_) => {
            let request = pb::DeleteAccountsRequest { app_id, user_ids: vec![name] };
            client.delete_accounts(request).await?.into_inner().results
        }
        Cell::Member(_) => {
            let (group_id, user_ids) = (GROUP.to_owned(), vec![name]);
            let request = pb::LeaveGroupRequest { app_id, group_id, user_ids };
            client.leave_group(request).await?.into_inner().results
        }
        Cell::Friend(_) => {
            let (user_id, friend_ids) = (name, vec![HUB.to_owned()]);
            let request = pb::RemoveFriendsRequest { app_id, user_id, friend_ids, one_way: false };
            client.remove_friends(request).await?.into_inner().results
        }
        Cell::Group(_) => {
            let request = pb::DissolveGroupRequest { app_id, group_id: name };
            client.dissolve_group(request).await?.into_inner().result.into_iter().collect()
        }
    };
    Ok(results.iter().map(pb::Result::outcome).collect())
}
