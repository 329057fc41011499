//! Tests of the operations in flight.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::AtomicUsize;

use futures_util::task::noop_waker;
use tokio::sync::oneshot;

use super::*;

/// An operation that records its polls and waits for its signal; `None` panics.
type Log = Rc<RefCell<Vec<u32>>>;

async fn operation(log: Log, name: u32, signal: oneshot::Receiver<Option<u32>>) -> u32 {
    log.borrow_mut().push(name);
    signal.await.expect("it is sent").expect("this one panics")
}

/// Counts the wake-ups of the task.
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn ended<F: Future>(running: &mut Running<F, u32>, waker: &Waker) -> Vec<(u32, Option<F::Output>)> {
    let mut ended = Vec::new();
    running.poll(&Context::from_waker(waker), |data, output| ended.push((data, output)));
    ended
}

#[test]
fn operations_are_polled_in_their_order_and_then_only_when_woken() {
    let (log, mut running) = (Log::default(), Running::new());
    let mut signals = Vec::new();
    for name in 0..5 {
        let (signal, receiver) = oneshot::channel();
        assert!(running.start(operation(log.clone(), name, receiver), name).is_none());
        signals.push(signal);
    }
    assert_eq!(*log.borrow(), [0, 1, 2, 3, 4]);
    let task = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(task.clone());
    assert_eq!(ended(&mut running, &waker), []);
    for name in [3, 1] {
        let signal = signals.remove(name);
        signal.send(Some(u32::try_from(name * 10).expect("fits"))).expect("it is awaited");
    }
    assert_eq!(task.0.load(Ordering::Relaxed), 1, "both wake the task once");
    assert_eq!(ended(&mut running, &waker), [(3, Some(30)), (1, Some(10))]);
    assert_eq!(running.len(), 3);
    assert_eq!(ended(&mut running, &waker), []);
    // Their places are used again, and the next operation is polled at once.
    let (signal, receiver) = oneshot::channel();
    signal.send(Some(70)).expect("it is awaited");
    let next = running.start(operation(log.clone(), 7, receiver), 7);
    assert_eq!(next, Some((7, Some(70))));
    assert_eq!((running.len(), running.places.len()), (3, 5));
}

#[test]
fn an_operation_that_panics_ends_alone() {
    let (log, mut running) = (Log::default(), Running::new());
    let (first, receiver) = oneshot::channel();
    assert!(running.start(operation(log.clone(), 0, receiver), 0).is_none());
    let (second, receiver) = oneshot::channel();
    assert!(running.start(operation(log, 1, receiver), 1).is_none());
    let waker = noop_waker();
    first.send(None).expect("it is awaited");
    assert_eq!(ended(&mut running, &waker), [(0, None)]);
    second.send(Some(5)).expect("it is awaited");
    assert_eq!(ended(&mut running, &waker), [(1, Some(5))]);
    assert!(running.is_empty());
}

#[test]
fn operations_that_are_due_are_dropped_and_leave_their_places() {
    let (log, mut running) = (Log::default(), Running::new());
    let mut signals = Vec::new();
    for name in 0..4 {
        let (signal, receiver) = oneshot::channel();
        assert!(running.start(operation(log.clone(), name, receiver), name).is_none());
        signals.push(signal);
    }
    let mut due = Vec::new();
    running.end(|name| name % 2 == 1, |name| due.push(name));
    assert_eq!(due, [1, 3]);
    assert_eq!(running.in_flight().copied().collect::<Vec<_>>(), [0, 2]);
    let is_dropped: Vec<bool> = signals.iter().map(oneshot::Sender::is_closed).collect();
    assert_eq!(is_dropped, [false, true, false, true]);
    running.shrink();
    assert_eq!(running.places.len(), 4, "two are in flight");
    running.end(|_| true, |_| ());
    running.shrink();
    assert_eq!((running.places.len(), running.len()), (0, 0));
    // A waker of a place that is gone does no harm.
    drop(signals);
    assert_eq!(ended(&mut running, &noop_waker()), []);
}
