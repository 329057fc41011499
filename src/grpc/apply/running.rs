//! The operations of a stream that are in flight: futures that one task polls, each only after it
//! was woken.
//!
//! - Operations are polled for the first time in the order in which they are started, so that they
//!   reach the store in that order.
//! - A panic of one operation ends it alone.
//! - The places of ended operations are used again, so that a stream in steady use allocates
//!   nothing for an operation.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::task::coop::unconstrained;

/// The operations in flight, each with its data.
pub struct Running<F: Future, D> {
    places: Vec<Place<F, D>>,
    free: Vec<usize>,
    woken: Arc<Woken>,
    /// The places that are polled now; empty between two calls.
    polled: Vec<usize>,
}

/// A place for one operation at a time.
struct Place<F, D> {
    future: Pin<Box<Option<F>>>,
    data: Option<D>,
    wake: Arc<PlaceWaker>,
    waker: Waker,
}

/// The places that were woken since they were polled.
struct Woken {
    places: Mutex<Vec<usize>>,
    task: AtomicWaker,
}

struct PlaceWaker {
    place: usize,
    /// True from the first wake-up until the place is polled.
    is_woken: AtomicBool,
    woken: Arc<Woken>,
}

impl Wake for PlaceWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_woken.swap(true, Ordering::AcqRel) {
            self.woken.places.lock().push(self.place);
            self.woken.task.wake();
        }
    }
}

impl<F: Future, D> Running<F, D> {
    /// Creates an empty set.
    pub fn new() -> Self {
        let woken = Woken { places: Mutex::default(), task: AtomicWaker::new() };
        Self { places: Vec::new(), free: Vec::new(), woken: Arc::new(woken), polled: Vec::new() }
    }

    /// Returns the number of operations in flight.
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Returns whether no operation is in flight.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Starts an operation. Returns its data and its output if it has ended already; the output is
    /// `None` after a panic.
    pub fn start(&mut self, future: F, data: D) -> Option<(D, Option<F::Output>)> {
        let at = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::new(self.places.len(), self.woken.clone()));
            self.places.len() - 1
        });
        let place = &mut self.places[at];
        place.future.set(Some(future));
        place.data = Some(data);
        self.poll_place(at)
    }

    /// Polls the operations that were woken, once each, and passes those that have ended to
    /// `ended`. The task of `context` is woken when others are.
    pub fn poll(&mut self, context: &Context<'_>, mut ended: impl FnMut(D, Option<F::Output>)) {
        self.woken.task.register(context.waker());
        let mut polled = std::mem::take(&mut self.polled);
        std::mem::swap(&mut *self.woken.places.lock(), &mut polled);
        for at in polled.drain(..) {
            if let Some((data, output)) = self.poll_place(at) {
                ended(data, output);
            }
        }
        self.polled = polled;
    }

    /// Ends the operations for whose data `is_due` returns true, and passes their data to `ended`.
    pub fn end(&mut self, mut is_due: impl FnMut(&D) -> bool, mut ended: impl FnMut(D)) {
        for (at, place) in self.places.iter_mut().enumerate() {
            if place.data.as_ref().is_some_and(&mut is_due)
                && let Some(data) = place.data.take()
            {
                place.future.set(None);
                self.free.push(at);
                ended(data);
            }
        }
    }

    /// Returns the data of all operations in flight.
    pub fn in_flight(&self) -> impl Iterator<Item = &D> {
        self.places.iter().filter_map(|place| place.data.as_ref())
    }

    /// Frees the memory of all places, if no operation is in flight.
    pub fn shrink(&mut self) {
        if self.is_empty() {
            *self = Self { woken: self.woken.clone(), ..Self::new() };
            self.woken.places.lock().clear();
        }
    }

    fn poll_place(&mut self, at: usize) -> Option<(D, Option<F::Output>)> {
        // A place that is gone may be woken by an operation that was in it.
        let place = self.places.get_mut(at)?;
        // A swap, since a store may be seen only after the future was polled: a wake-up between the
        // two, which found the flag set, would be lost.
        place.wake.is_woken.swap(false, Ordering::AcqRel);
        let future = place.future.as_mut().as_pin_mut()?;
        let mut context = Context::from_waker(&place.waker);
        // The future is not used after a panic.
        // Without tokio's budget, of which all operations together have that of one task: beyond it
        // they would be woken in reverse order.
        let mut future = pin!(unconstrained(future));
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut context)));
        let output = match polled {
            Ok(Poll::Pending) => return None,
            Ok(Poll::Ready(output)) => Some(output),
            Err(_) => None,
        };
        let place = &mut self.places[at];
        place.future.set(None);
        self.free.push(at);
        place.data.take().map(|data| (data, output))
    }
}

impl<F, D> Place<F, D> {
    fn new(place: usize, woken: Arc<Woken>) -> Self {
        let wake = Arc::new(PlaceWaker { place, is_woken: AtomicBool::new(false), woken });
        let waker = Waker::from(wake.clone());
        Self { future: Box::pin(None), data: None, wake, waker }
    }
}

#[cfg(test)]
#[path = "running_tests.rs"]
mod tests;
