//! Deficit round robin over apps, counted in subjects.
//!
//! A call holds one permit per subject while it is in flight. While there is room and no call
//! waits, calls pass immediately: an app alone may use the whole window. Otherwise each app has a
//! queue of its own, and the queues take turns. With each turn an app may send [`QUANTUM`] subjects
//! more, so a call waits for one turn of each other app for each [`QUANTUM`] of its subjects,
//! however large the others' calls are. Within an app calls keep their order.
//!
//! An app whose queue was empty takes its first turn before the apps that wait for another turn. It
//! gets no second first turn before the others have had theirs. Calls that belong to no app (the
//! directory, the event log) are few and concern all apps: they go before all of them.
//!
//! The queues are in one map under one lock and not in a sharded one, since each turn is a decision
//! about all apps.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::window::{Answered, Answers, Window};
use crate::clock::Stopwatch;
use crate::store::Overload;

/// The number of subjects that an app may send with each of its turns: the largest step of a
/// script that is no whole batch, or the highest number in flight if that is lower.
const QUANTUM: usize = 256;
/// The number of subjects of one app that may wait, for each one that may be in flight: about a
/// second of work.
const WAITING_PER_PERMIT: usize = 16;
/// The number of apps whose queues may be full at once.
const FULL_QUEUES_MAX: usize = 16;

/// The app whose turn a call takes, and the size of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// The app, as a number; 0 if the call belongs to no app.
    pub app: u64,
    /// The number of users and groups in the call.
    pub subjects: usize,
}

impl Turn {
    /// The turn of a call that belongs to no app.
    pub const SHARED: Self = Self { app: 0, subjects: 1 };
}

/// The number of subjects in flight and waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Subjects in flight.
    pub in_work: usize,
    /// Subjects that wait.
    pub waiting: usize,
    /// Subjects that may be in flight at once.
    pub window: usize,
}

/// The fair queue in front of one server.
pub struct Turns {
    waiting_max: usize,
    since: Stopwatch,
    state: Mutex<State>,
}

struct State {
    window: Window,
    /// The number of subjects that an app may send with each of its turns.
    quantum: usize,
    in_work: usize,
    waiting: usize,
    queues: HashMap<u64, Queue>,
    /// Apps that wait for their first turn, which go before all others; and those others.
    order: [VecDeque<u64>; 2],
}

/// Indexes into `order`: apps that wait for their first turn, and all others.
const FIRST: usize = 0;
const AGAIN: usize = 1;

#[derive(Default)]
struct Queue {
    calls: VecDeque<Waiting>,
    subjects: usize,
    deficit: usize,
    /// True if the quantum of the current turn was added to `deficit`.
    is_credited: bool,
}

struct Waiting {
    subjects: usize,
    grant: oneshot::Sender<()>,
}

/// The permits of a call, returned when dropped.
pub struct Places {
    turns: Arc<Turns>,
    subjects: usize,
    sent_at: Duration,
}

impl Turns {
    /// Creates the queue of a server that has at most that number of subjects in flight.
    #[must_use]
    pub fn new(in_work_max: usize) -> Arc<Self> {
        Self::with(in_work_max, Answers::OneByOne)
    }

    /// Creates the queue of a server that works in batches, each of which waits for the one before.
    #[must_use]
    pub fn of_batches(in_work_max: usize) -> Arc<Self> {
        Self::with(in_work_max, Answers::InBatches)
    }

    fn with(in_work_max: usize, answers: Answers) -> Arc<Self> {
        let state = State {
            window: Window::new(in_work_max.max(1), answers),
            quantum: QUANTUM.min(in_work_max.max(1)),
            in_work: 0,
            waiting: 0,
            queues: HashMap::new(),
            order: Default::default(),
        };
        let waiting_max = in_work_max.max(1).saturating_mul(WAITING_PER_PERMIT);
        Arc::new(Self { waiting_max, since: Stopwatch::start(), state: Mutex::new(state) })
    }

    /// Waits for the permits of a call, until its turn comes.
    ///
    /// # Errors
    ///
    /// The app has too many subjects waiting, or its turn did not come within that time.
    pub async fn places(
        self: &Arc<Self>,
        turn: Turn,
        within: Duration,
    ) -> Result<Places, Overload> {
        match self.at_once(turn) {
            Some(places) => Ok(places),
            // Boxed, since most calls do not wait.
            None => Box::pin(self.when_it_comes(turn, within)).await,
        }
    }

    /// Returns the permits of a call if there is room and no call waits.
    #[must_use]
    pub fn at_once(self: &Arc<Self>, turn: Turn) -> Option<Places> {
        let subjects = turn.subjects.max(1);
        let mut state = self.state();
        if state.waiting > 0 || !state.has_room(subjects) {
            return None;
        }
        state.in_work += subjects;
        drop(state);
        Some(self.granted(subjects))
    }

    /// Waits for the permits of a call that did not pass immediately, like [`Self::places`].
    pub async fn when_it_comes(
        self: &Arc<Self>,
        turn: Turn,
        within: Duration,
    ) -> Result<Places, Overload> {
        let subjects = turn.subjects.max(1);
        let granted = {
            let mut state = self.state();
            let granted = state.enqueue(turn.app, subjects, self.waiting_max)?;
            // Room may have become free meanwhile.
            state.grant();
            granted
        };
        let mut waiting = InQueue { turns: self, app: turn.app, subjects, granted: Some(granted) };
        match timeout(within, waiting.wait()).await {
            Ok(()) => Ok(self.granted(subjects)),
            Err(_) => Err(Overload::Late),
        }
    }

    /// Returns the current load.
    #[must_use]
    pub fn load(&self) -> Load {
        let state = self.state();
        let State { in_work, waiting, .. } = *state;
        Load { in_work, waiting, window: state.window.size() }
    }

    /// Returns the response time of the server while it is idle, once it was measured.
    #[must_use]
    pub fn idle_response(&self) -> Option<Duration> {
        self.state().window.idle()
    }

    fn granted(self: &Arc<Self>, subjects: usize) -> Places {
        Places { turns: Arc::clone(self), subjects, sent_at: self.since.elapsed() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    /// Returns whether there is room; a call that is larger than the window is sent when it is
    /// alone.
    fn has_room(&self, subjects: usize) -> bool {
        self.in_work == 0 || self.in_work + subjects <= self.window.size()
    }

    fn enqueue(
        &mut self,
        app: u64,
        subjects: usize,
        waiting_max: usize,
    ) -> Result<oneshot::Receiver<()>, Overload> {
        let ahead = self.queues.get(&app).map_or(0, |queue| queue.subjects);
        // One call always fits into an empty queue.
        let is_full = ahead > 0 && ahead + subjects > waiting_max;
        if is_full || self.waiting >= waiting_max.saturating_mul(FULL_QUEUES_MAX) {
            return Err(Overload::Full);
        }
        let Self { queues, order: [first, _], .. } = self;
        let queue = queues.entry(app).or_insert_with(|| {
            if app == Turn::SHARED.app {
                first.push_front(app);
            } else {
                first.push_back(app);
            }
            Queue::default()
        });
        let (grant, granted) = oneshot::channel();
        queue.calls.push_back(Waiting { subjects, grant });
        queue.subjects += subjects;
        self.waiting += subjects;
        Ok(granted)
    }

    /// Grants permits in turn while there is room.
    fn grant(&mut self) {
        loop {
            let turn = if self.order[FIRST].is_empty() { AGAIN } else { FIRST };
            let Some(app) = self.order[turn].front().copied() else { return };
            let Some(queue) = self.queues.get_mut(&app) else {
                self.order[turn].pop_front();
                continue;
            };
            while queue.calls.front().is_some_and(|call| call.grant.is_closed()) {
                queue.calls.pop_front();
            }
            let Some(subjects) = queue.calls.front().map(|call| call.subjects) else {
                self.end_of_calls(turn, app);
                continue;
            };
            if !queue.is_credited {
                queue.deficit = queue.deficit.saturating_add(self.quantum);
                queue.is_credited = true;
            }
            if queue.deficit < subjects {
                queue.is_credited = false;
                self.order[turn].pop_front();
                self.order[AGAIN].push_back(app);
            } else if self.has_room(subjects) {
                self.send_first_of(app);
            } else {
                return;
            }
        }
    }

    /// Handles an app that has no more calls. After its first turn it keeps its position among the
    /// others, so that it cannot have one first turn after another.
    fn end_of_calls(&mut self, turn: usize, app: u64) {
        self.order[turn].pop_front();
        match self.queues.get_mut(&app) {
            Some(queue) if turn == FIRST && app != Turn::SHARED.app => {
                (queue.deficit, queue.is_credited) = (0, false);
                self.order[AGAIN].push_back(app);
            }
            _ => drop(self.queues.remove(&app)),
        }
    }

    fn send_first_of(&mut self, app: u64) {
        let Some(queue) = self.queues.get_mut(&app) else { return };
        let Some(Waiting { subjects, grant }) = queue.calls.pop_front() else { return };
        // A call whose caller has stopped waiting is no longer counted.
        if grant.send(()).is_ok() {
            queue.deficit -= subjects;
            queue.subjects -= subjects;
            self.waiting -= subjects;
            self.in_work += subjects;
        }
    }
}

/// A waiting call; leaves its queue when dropped.
struct InQueue<'a> {
    turns: &'a Arc<Turns>,
    app: u64,
    subjects: usize,
    granted: Option<oneshot::Receiver<()>>,
}

impl InQueue<'_> {
    async fn wait(&mut self) {
        if let Some(granted) = &mut self.granted {
            // The sender is dropped only with a call whose receiver is closed.
            let _ = granted.await;
            self.granted = None;
        }
    }
}

impl Drop for InQueue<'_> {
    fn drop(&mut self) {
        let Some(mut granted) = self.granted.take() else { return };
        let mut state = self.turns.state();
        granted.close();
        if granted.try_recv().is_ok() {
            state.in_work -= self.subjects;
        } else {
            state.waiting -= self.subjects;
            if let Some(queue) = state.queues.get_mut(&self.app) {
                queue.subjects -= self.subjects;
            }
        }
        // It may have blocked calls for which there is room.
        state.grant();
    }
}

impl Places {
    /// Returns the permits of a call that the server has answered.
    pub fn answered(mut self) {
        let subjects = std::mem::take(&mut self.subjects);
        let now = self.turns.since.elapsed();
        let mut state = self.turns.state();
        state.in_work -= subjects;
        let (in_work, is_contended) = (state.in_work, state.waiting > 0);
        let answer = Answered { sent_at: self.sent_at, subjects, in_work, is_contended };
        state.window.answered(now, answer);
        state.grant();
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        if self.subjects > 0 {
            let mut state = self.turns.state();
            state.in_work -= self.subjects;
            state.grant();
        }
    }
}

#[cfg(test)]
#[path = "turns_tests.rs"]
mod tests;
