//! The answers of a stream that wait for HTTP/2, which takes all of them at once.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_util::Stream;
use parking_lot::{Mutex, MutexGuard};
use tonic::Status;

use crate::grpc::pb;
use crate::grpc::room::Reservation;

/// An answer, with the memory that it holds until it is sent.
pub type ChargedAnswer = (Result<pb::ApplyResponse, Status>, Option<Reservation>);

/// The answers of one stream, as HTTP/2 takes them.
pub struct Answers {
    queue: Arc<Queue>,
    taken: VecDeque<ChargedAnswer>,
}

/// The end at which answers are added. Dropping it ends the stream.
pub struct Sender(Arc<Queue>);

#[derive(Default)]
struct Queue(Mutex<State>);

#[derive(Default)]
struct State {
    answers: VecDeque<ChargedAnswer>,
    /// Wakes HTTP/2 once there is an answer.
    taker: Option<Waker>,
    /// Wakes the sender once HTTP/2 takes no more, or there is room and `is_full` was true.
    sender: Option<Waker>,
    is_full: bool,
    has_ended: bool,
    is_abandoned: bool,
}

/// Creates the queue of one stream's answers.
pub fn queue() -> (Sender, Answers) {
    let queue = Arc::new(Queue::default());
    (Sender(queue.clone()), Answers { queue, taken: VecDeque::new() })
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

impl Sender {
    /// Adds answers.
    pub fn send(&self, answers: &mut VecDeque<ChargedAnswer>) {
        let mut state = self.0.state();
        if state.is_abandoned {
            drop(state);
            // Their memory is released.
            answers.clear();
            return;
        }
        state.answers.append(answers);
        let taker = state.taker.take();
        drop(state);
        if let Some(taker) = taker {
            taker.wake();
        }
    }

    /// Waits until fewer than `most` answers wait; `false` if no more are taken.
    pub fn poll_room(&self, context: &Context<'_>, most: usize) -> Poll<bool> {
        let mut state = self.0.state();
        if state.is_abandoned {
            return Poll::Ready(false);
        }
        if state.sender.as_ref().is_none_or(|sender| !sender.will_wake(context.waker())) {
            state.sender = Some(context.waker().clone());
        }
        state.is_full = state.answers.len() >= most;
        if state.is_full { Poll::Pending } else { Poll::Ready(true) }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.has_ended = true;
        let taker = state.taker.take();
        drop(state);
        if let Some(taker) = taker {
            taker.wake();
        }
    }
}

impl Stream for Answers {
    type Item = Result<pb::ApplyResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { queue, taken } = &mut *self;
        if let Some((answer, _)) = taken.pop_front() {
            return Poll::Ready(Some(answer));
        }
        let mut state = queue.state();
        if state.answers.is_empty() {
            if state.has_ended {
                return Poll::Ready(None);
            }
            state.taker = Some(context.waker().clone());
            return Poll::Pending;
        }
        std::mem::swap(&mut state.answers, taken);
        let is_awaited = std::mem::take(&mut state.is_full);
        let sender = if is_awaited { state.sender.take() } else { None };
        drop(state);
        if let Some(sender) = sender {
            sender.wake();
        }
        Poll::Ready(taken.pop_front().map(|(answer, _)| answer))
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        state.is_abandoned = true;
        let answers = std::mem::take(&mut state.answers);
        let sender = state.sender.take();
        drop(state);
        drop(answers);
        if let Some(sender) = sender {
            sender.wake();
        }
    }
}
