//! The places of a listener: its connections, and which of them is closed for a new one.
//!
//! While places are free, every connection gets one. When few are left, a peer that has its share
//! gets no more; if none is left, the oldest idle connection of the largest peer is closed first,
//! and then the oldest idle one of any peer. A peer is an IPv4 address or an IPv6 network of 64
//! bits; loopback and Unix sockets have no share.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::clock::Stopwatch;

/// One of this number of places is kept for peers that have not reached their share.
const SPARE_PART: usize = 8;
/// One of this number of places may be taken by connections on which HTTP/2 has not begun.
const HALF_OPEN_PART: usize = 2;
/// A connection on which HTTP/2 has not begun for this time may be closed for a new one.
const HALF_OPEN_GRACE: Duration = Duration::from_secs(1);
/// A connection of a peer within its share that was idle for this time may be closed for a new one.
const IDLE_GRACE: Duration = Duration::from_secs(5);
/// Interval at which a new connection tries again to get a place.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Key under which connections are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum PeerKey {
    /// This machine, which has no share.
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

/// State of one connection for the listener.
#[derive(Debug)]
pub(super) struct ConnectionState {
    key: PeerKey,
    /// Time since the listener's start.
    age: Stopwatch,
    open_calls: AtomicUsize,
    /// Start of the time without open calls, in the listener's time.
    idle_since_ms: AtomicU64,
    /// True once HTTP/2 has begun.
    has_begun: AtomicBool,
    /// Number of open calls that never end by themselves.
    endless_calls: AtomicUsize,
    /// Number of open calls that do not wait for the peer.
    working_calls: AtomicUsize,
    /// Last progress of the connection, in the listener's time.
    progress_ms: AtomicU64,
    /// True once GOAWAY was sent to the peer.
    is_closing: AtomicBool,
    /// Cancelled when the connection has reached its age.
    aged: CancellationToken,
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
            aged: CancellationToken::new(),
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

    /// Records that HTTP/2 has begun.
    pub(super) fn begins(&self) {
        self.has_begun.store(true, Ordering::Relaxed);
    }

    /// Records that GOAWAY was sent to the peer.
    pub(super) fn closes(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
    }

    /// Returns whether GOAWAY was sent to the peer.
    pub(super) fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Relaxed)
    }

    /// Records the start of a call, which does not wait for the peer yet.
    pub(super) fn call_begins(&self, is_endless: bool) {
        self.endless_calls.fetch_add(usize::from(is_endless), Ordering::Relaxed);
        self.working_calls.fetch_add(1, Ordering::Relaxed);
        self.open_calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Records the end of a call. `waited` is whether it waited for the peer.
    pub(super) fn call_ends(&self, is_endless: bool, waited: bool) {
        let now = self.now_ms();
        // Before the counts, so that the idle and stalled times never start at an earlier call's.
        self.idle_since_ms.store(now, Ordering::Relaxed);
        self.progress_ms.store(now, Ordering::Relaxed);
        self.open_calls.fetch_sub(1, Ordering::Relaxed);
        self.working_calls.fetch_sub(usize::from(!waited), Ordering::Relaxed);
        self.endless_calls.fetch_sub(usize::from(is_endless), Ordering::Relaxed);
    }

    /// Records that a call waits for its peer.
    pub(super) fn call_waits(&self) {
        self.progresses();
        self.working_calls.fetch_sub(1, Ordering::Relaxed);
    }

    /// Records that a call does not wait for its peer any more.
    pub(super) fn call_goes_on(&self) {
        self.working_calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Records that bytes were passed to the system.
    pub(super) fn progresses(&self) {
        self.progress_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// Returns the time without open calls; `None` while a call is open.
    pub(super) fn idle(&self) -> Option<Duration> {
        if self.open_calls.load(Ordering::Relaxed) > 0 {
            return None;
        }
        Some(self.since(&self.idle_since_ms))
    }

    /// Returns the time for which all open calls have waited for a peer that takes no bytes; `None`
    /// while one does not wait.
    fn stalled(&self) -> Option<Duration> {
        if self.working_calls.load(Ordering::Relaxed) > 0 {
            return None;
        }
        Some(self.since(&self.progress_ms))
    }

    /// Waits until no call has been open for this time.
    pub(super) async fn idle_for(&self, longest: Duration) {
        reaches(longest, || self.idle()).await;
    }

    /// Waits until all open calls have waited this time for a peer that takes no bytes.
    pub(super) async fn stalled_for(&self, longest: Duration) {
        reaches(longest, || self.stalled()).await;
    }

    /// Returns whether every open call is one that never ends by itself.
    pub(super) fn has_endless_calls_only(&self) -> bool {
        let endless = self.endless_calls.load(Ordering::Relaxed);
        self.open_calls.load(Ordering::Relaxed) <= endless
    }

    /// Ends the calls that never end by themselves, and all such later calls.
    pub(super) fn reaches_age(&self) {
        self.aged.cancel();
    }

    /// Returns a token that is cancelled when the connection has reached its age.
    pub(super) fn aged(&self) -> CancellationToken {
        self.aged.clone()
    }

    /// Waits until the connection has to be closed for another.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    /// Returns whether HTTP/2 has not begun.
    pub(super) fn is_half_open(&self) -> bool {
        !self.has_begun.load(Ordering::Relaxed)
    }
}

/// Waits until `time` has reached `longest`.
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

/// Result of an attempt to admit a connection.
enum Admission {
    Admitted(Place),
    /// Its peer has reached its share, and few places are left.
    Refused,
    /// No place is free yet.
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

    /// Waits for a place for a connection of that peer; `None` if the connection is refused.
    pub(super) async fn admit(self: &Arc<Self>, key: PeerKey) -> Option<Place> {
        loop {
            match self.try_admit(key) {
                Admission::Admitted(place) => return Some(place),
                Admission::Refused => return None,
                Admission::Full => {
                    let _ = timeout(RETRY_INTERVAL, self.freed.notified()).await;
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

    /// Closes a connection on which HTTP/2 has not begun, if there are too many of them; `false` if
    /// none may be closed yet.
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

    /// Closes a connection if few places are left; `None` if a place is free then.
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
        self.state.lock()
    }
}

impl State {
    fn oldest_idle(&self, among: impl Fn(&ConnectionState) -> bool) -> Option<u64> {
        let among = self.connections.iter().filter(|(_, it)| it.idle().is_some() && among(it));
        let oldest = among.min_by_key(|(id, it)| (it.idle_since_ms.load(Ordering::Relaxed), **id));
        oldest.map(|(id, _)| *id)
    }

    /// Closes a connection. It occupies no place any more.
    fn evict(&mut self, id: u64) -> bool {
        let connection = self.connections.remove(&id);
        connection.inspect(|it| it.evicted.notify_one()).is_some()
    }
}

/// Returns the peer with most connections, and their number.
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
