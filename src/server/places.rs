//! The places of a listener: which connections it has, and which one goes for a new one.
//!
//! While places are free, everybody gets one. When few are left, a peer that has its share gets no
//! more; where none is left, the oldest idle connection of the largest peer goes first, and then
//! the oldest idle one of anybody. A peer is an IPv4 address or an IPv6 network of 64 bits;
//! loopback and Unix sockets are never held to a share.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use crate::clock::Stopwatch;

/// One of so many places is kept for peers that have not got their share.
const SPARE_PART: usize = 8;
/// One of so many places may be taken by connections on which no HTTP/2 has begun.
const HALF_OPEN_PART: usize = 2;
/// A connection that has not begun for so long may go for a new one.
const HALF_OPEN_GRACE: Duration = Duration::from_secs(1);
/// A connection of a peer within its share that has been idle for so long may go for a new one.
const IDLE_GRACE: Duration = Duration::from_secs(5);
/// How often a new connection looks again for a place.
const LOOK_AGAIN_EVERY: Duration = Duration::from_millis(50);

/// Who connections are counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum PeerKey {
    /// This machine, which is not held to a share.
    Local,
    /// An IPv4 address.
    V4(u32),
    /// The first 64 bits of an IPv6 address.
    V6(u64),
}

impl From<IpAddr> for PeerKey {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            address if address.is_loopback() => Self::Local,
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6(network(address)),
        }
    }
}

fn network(address: Ipv6Addr) -> u64 {
    let [a, b, c, d, ..] = address.segments();
    [a, b, c, d].into_iter().fold(0, |network, part| network << 16 | u64::from(part))
}

/// One connection, as the listener sees it.
#[derive(Debug)]
pub(super) struct ConnectionState {
    key: PeerKey,
    /// Since the listener's start.
    age: Stopwatch,
    open_calls: AtomicUsize,
    /// Since when no call is open, in the listener's time.
    idle_since_ms: AtomicU64,
    /// Whether HTTP/2 has begun.
    has_begun: AtomicBool,
    /// How many of the open calls never end by themselves.
    endless_calls: AtomicUsize,
    /// How many of the open calls do not wait for the peer.
    working_calls: AtomicUsize,
    /// When the connection last made progress, in the listener's time.
    progress_ms: AtomicU64,
    /// Whether the peer was told that the connection is closed.
    is_closing: AtomicBool,
    /// Whether the connection has reached its age.
    aged: watch::Sender<bool>,
    evicted: Notify,
}

impl ConnectionState {
    fn new(key: PeerKey, age: Stopwatch) -> Self {
        let state = Self {
            key,
            age,
            open_calls: AtomicUsize::new(0),
            idle_since_ms: AtomicU64::new(0),
            has_begun: AtomicBool::new(false),
            endless_calls: AtomicUsize::new(0),
            working_calls: AtomicUsize::new(0),
            progress_ms: AtomicU64::new(0),
            is_closing: AtomicBool::new(false),
            aged: watch::Sender::new(false),
            evicted: Notify::new(),
        };
        state.idle_since_ms.store(state.now_ms(), Ordering::Relaxed);
        state
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.age.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn since(&self, ms: &AtomicU64) -> Duration {
        let since = Duration::from_millis(ms.load(Ordering::Relaxed));
        self.age.elapsed().saturating_sub(since)
    }

    /// HTTP/2 begins.
    pub(super) fn begins(&self) {
        self.has_begun.store(true, Ordering::Relaxed);
    }

    /// The peer is told that the connection is closed.
    pub(super) fn closes(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
    }

    /// Whether the peer was told that the connection is closed.
    pub(super) fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Relaxed)
    }

    /// A call begins, which waits for nothing yet.
    pub(super) fn call_begins(&self, is_endless: bool) {
        self.endless_calls.fetch_add(usize::from(is_endless), Ordering::Relaxed);
        self.working_calls.fetch_add(1, Ordering::Relaxed);
        self.open_calls.fetch_add(1, Ordering::Relaxed);
    }

    /// A call ends. `waited` is whether it waited for the peer.
    pub(super) fn call_ends(&self, is_endless: bool, waited: bool) {
        let now = self.now_ms();
        // Before the counts, so that it is never idle or stalled since a former time.
        self.idle_since_ms.store(now, Ordering::Relaxed);
        self.progress_ms.store(now, Ordering::Relaxed);
        self.open_calls.fetch_sub(1, Ordering::Relaxed);
        self.working_calls.fetch_sub(usize::from(!waited), Ordering::Relaxed);
        self.endless_calls.fetch_sub(usize::from(is_endless), Ordering::Relaxed);
    }

    /// A call begins to wait for its peer.
    pub(super) fn call_waits(&self) {
        self.progresses();
        self.working_calls.fetch_sub(1, Ordering::Relaxed);
    }

    /// A call waits for its peer no longer.
    pub(super) fn call_goes_on(&self) {
        self.working_calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes were handed to the system.
    pub(super) fn progresses(&self) {
        self.progress_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// How long no call has been open; `None` while one is.
    pub(super) fn idle(&self) -> Option<Duration> {
        if self.open_calls.load(Ordering::Relaxed) > 0 {
            return None;
        }
        Some(self.since(&self.idle_since_ms))
    }

    /// How long all open calls have waited for a peer that takes no bytes; `None` while one does
    /// not wait.
    fn stalled(&self) -> Option<Duration> {
        if self.working_calls.load(Ordering::Relaxed) > 0 {
            return None;
        }
        Some(self.since(&self.progress_ms))
    }

    /// Ready once no call has been open for so long.
    pub(super) async fn idle_for(&self, longest: Duration) {
        reaches(longest, || self.idle()).await;
    }

    /// Ready once all open calls have waited for so long for a peer that takes no bytes.
    pub(super) async fn stalled_for(&self, longest: Duration) {
        reaches(longest, || self.stalled()).await;
    }

    /// Whether every open call is one that never ends by itself.
    pub(super) fn has_endless_calls_only(&self) -> bool {
        let endless = self.endless_calls.load(Ordering::Relaxed);
        self.open_calls.load(Ordering::Relaxed) <= endless
    }

    /// Ends the calls that never end by themselves, and all that begin later.
    pub(super) fn reaches_age(&self) {
        self.aged.send_replace(true);
    }

    /// Turns true when the connection has reached its age.
    pub(super) fn aged(&self) -> watch::Receiver<bool> {
        self.aged.subscribe()
    }

    /// Ready once the connection has to make room.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    /// Whether HTTP/2 has not begun.
    pub(super) fn is_half_open(&self) -> bool {
        !self.has_begun.load(Ordering::Relaxed)
    }
}

/// Ready once `time` has come to `longest`.
async fn reaches(longest: Duration, time: impl Fn() -> Option<Duration>) {
    loop {
        let left = longest.saturating_sub(time().unwrap_or(Duration::ZERO));
        if left.is_zero() {
            return;
        }
        sleep(left).await;
    }
}

/// The places of one listener.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    per_peer_max: usize,
    half_open_grace: Duration,
    idle_grace: Duration,
    age: Stopwatch,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    connections: HashMap<u64, Arc<ConnectionState>>,
}

/// What becomes of a new connection.
enum Admission {
    Admitted(Place),
    /// Its peer has its share, and few places are left.
    Refused,
    /// There is no place yet.
    Full,
}

impl Places {
    pub(super) fn new(most: usize, per_peer_max: usize) -> Arc<Self> {
        Arc::new(Self::with_graces(most, per_peer_max, HALF_OPEN_GRACE, IDLE_GRACE))
    }

    fn with_graces(
        most: usize,
        per_peer_max: usize,
        half_open_grace: Duration,
        idle_grace: Duration,
    ) -> Self {
        let (age, state, freed) = (Stopwatch::start(), Mutex::default(), Notify::new());
        Self { most, per_peer_max, half_open_grace, idle_grace, age, state, freed }
    }

    /// A place for a connection of that peer, as soon as there is one; `None` where it gets none.
    pub(super) async fn admit(self: &Arc<Self>, key: PeerKey) -> Option<Place> {
        loop {
            match self.try_admit(key) {
                Admission::Admitted(place) => return Some(place),
                Admission::Refused => return None,
                Admission::Full => {
                    let _ = timeout(LOOK_AGAIN_EVERY, self.freed.notified()).await;
                }
            }
        }
    }

    fn try_admit(self: &Arc<Self>, key: PeerKey) -> Admission {
        let mut state = self.state();
        if !self.make_half_open_room(&mut state) {
            return Admission::Full;
        }
        if let Some(refusal) = self.make_room(&mut state, key) {
            return refusal;
        }
        let id = state.next_id;
        state.next_id += 1;
        let connection = Arc::new(ConnectionState::new(key, self.age));
        state.connections.insert(id, connection.clone());
        Admission::Admitted(Place { places: self.clone(), id, connection })
    }

    /// Makes room for one more that has not begun, where too many have not; `false` where none may
    /// go yet.
    fn make_half_open_room(&self, state: &mut State) -> bool {
        let most = self.most.div_ceil(HALF_OPEN_PART);
        if state.connections.len() < most {
            return true;
        }
        let half_open = || state.connections.values().filter(|it| it.is_half_open());
        if half_open().count() < most {
            return true;
        }
        let largest = largest(half_open().map(|it| it.key)).map(|(key, _)| key);
        let is_late = |it: &ConnectionState| {
            it.is_half_open() && it.idle().is_some_and(|age| age >= self.half_open_grace)
        };
        let oldest = state.oldest_idle(|it| Some(it.key) == largest && is_late(it));
        oldest.is_some_and(|id| state.evict(id))
    }

    /// Makes room where few places are left; `None` where there is room now.
    fn make_room(&self, state: &mut State, key: PeerKey) -> Option<Admission> {
        let free = self.most.saturating_sub(state.connections.len());
        if free > self.most / SPARE_PART {
            return None;
        }
        let own = state.connections.values().filter(|it| it.key == key).count();
        let has_share = key != PeerKey::Local && own >= self.per_peer_max;
        if free > 0 && !has_share {
            return None;
        }
        let keys = state.connections.values().map(|it| it.key);
        let largest = largest(keys.filter(|key| *key != PeerKey::Local));
        let largest = largest.filter(|(_, count)| *count >= self.per_peer_max);
        let of_largest = largest.and_then(|(largest, _)| state.oldest_idle(|it| it.key == largest));
        let oldest = of_largest.or_else(|| {
            let may_go = |it: &ConnectionState| {
                if has_share {
                    it.key == key
                } else {
                    it.idle().is_some_and(|age| age >= self.idle_grace)
                }
            };
            state.oldest_idle(may_go)
        });
        match oldest {
            Some(id) => {
                state.evict(id);
                None
            }
            None if has_share => Some(Admission::Refused),
            None => Some(Admission::Full),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn oldest_idle(&self, among: impl Fn(&ConnectionState) -> bool) -> Option<u64> {
        let among = self.connections.iter().filter(|(_, it)| it.idle().is_some() && among(it));
        let oldest = among.min_by_key(|(id, it)| (it.idle_since_ms.load(Ordering::Relaxed), **id));
        oldest.map(|(id, _)| *id)
    }

    /// Has a connection closed. It takes no place any more.
    fn evict(&mut self, id: u64) -> bool {
        let connection = self.connections.remove(&id);
        connection.inspect(|it| it.evicted.notify_one()).is_some()
    }
}

/// The peer with most connections, and how many.
fn largest(keys: impl Iterator<Item = PeerKey>) -> Option<(PeerKey, usize)> {
    let mut counts = HashMap::new();
    for key in keys {
        *counts.entry(key).or_insert(0_usize) += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count)
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    id: u64,
    pub(super) connection: Arc<ConnectionState>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.state().connections.remove(&self.id);
        self.places.freed.notify_one();
    }
}

#[cfg(test)]
#[path = "places_tests.rs"]
mod tests;
