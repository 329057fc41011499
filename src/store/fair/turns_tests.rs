//! Apps take turns, and no state of finished calls is kept.

use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::task::unconstrained;

use super::*;

impl State {
    /// Returns whether no state of finished calls is kept.
    fn is_idle(&self) -> bool {
        self.queues.is_empty() && self.order.iter().all(VecDeque::is_empty)
    }
}

const FOREVER: Duration = Duration::from_secs(3600);

/// Turns with one call in flight at a time, of which many may wait, and the usual quantum.
fn one_at_a_time() -> Arc<Turns> {
    let mut turns = Turns::new(1);
    let owned = Arc::get_mut(&mut turns).expect("its only owner");
    owned.waiting_max = 1_000_000;
    owned.state.get_mut().quantum = QUANTUM;
    turns
}

fn turn(app: u64, subjects: usize) -> Turn {
    Turn { app, subjects }
}

#[tokio::test]
async fn an_app_alone_may_use_the_whole_window_and_a_larger_call_runs_alone() {
    let turns = Turns::new(1024);
    let all = join_all((0..1024).map(|_| turns.places(turn(1, 1), FOREVER))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(turns.load(), Load { in_work: 1024, waiting: 0, window: 1024 });
    let large = turns.clone();
    let large = tokio::spawn(async move { large.places(turn(1, 5000), FOREVER).await });
    tokio::task::yield_now().await;
    assert_eq!(turns.load(), Load { in_work: 1024, waiting: 5000, window: 1024 });
    drop(all);
    let large = large.await.expect("ends").expect("its turn");
    assert_eq!(turns.load(), Load { in_work: 5000, waiting: 0, window: 1024 });
    drop(large);
    assert_eq!(turns.load(), Load { in_work: 0, waiting: 0, window: 1024 });
    assert!(turns.state().is_idle());
}

/// Returns the order in which waiting calls of those turns are granted, with one call in flight at
/// a time.
async fn order_of(calls: &[Turn]) -> Vec<usize> {
    // Thousands of futures are polled in one task.
    unconstrained(order_by_polling(calls)).await
}

async fn order_by_polling(calls: &[Turn]) -> Vec<usize> {
    let turns = one_at_a_time();
    let first = turns.places(Turn::SHARED, FOREVER).await.expect("idle");
    let mut waiting: Vec<_> =
        calls.iter().map(|turn| Some(Box::pin(turns.places(*turn, FOREVER)))).collect();
    // Each joins its queue.
    for call in waiting.iter_mut().flatten() {
        assert!(call.now_or_never().is_none());
    }
    let (mut order, mut in_work) = (Vec::new(), Some(first));
    while order.len() < calls.len() {
        drop(in_work.take());
        for (index, call) in waiting.iter_mut().enumerate() {
            let Some(granted) = call.as_mut().and_then(futures_util::FutureExt::now_or_never)
            else {
                continue;
            };
            assert!(in_work.is_none(), "two at once");
            in_work = Some(granted.expect("its turn"));
            order.push(index);
            *call = None;
        }
    }
    order
}

#[tokio::test]
async fn apps_take_turns_by_subjects_and_not_by_calls() {
    // App 1 sends 4 calls of 256 subjects, app 2 sends 3 of 100, app 3 sends one.
    let calls = [
        turn(1, 256),
        turn(1, 256),
        turn(1, 256),
        turn(1, 256),
        turn(2, 100),
        turn(2, 100),
        turn(2, 100),
        turn(3, 1),
    ];
    assert_eq!(order_of(&calls).await, [0, 4, 5, 7, 1, 6, 2, 3]);
}

#[tokio::test]
async fn a_large_call_waits_for_as_many_rounds_as_it_has_quanta() {
    let mut calls = vec![turn(2, 1); 2000];
    calls.push(turn(1, 1000));
    let order = order_of(&calls).await;
    let before = order.iter().position(|index| *index == 2000).expect("granted");
    // Four turns of the other app, each of which goes before one of this app.
    assert_eq!(before, 4 * QUANTUM);
}

#[tokio::test]
async fn each_call_of_many_apps_is_granted_within_its_rounds() {
    const APPS: usize = 50;
    let calls: Vec<Turn> = (0..20)
        .flat_map(|_| (1..=50).map(|app| turn(app, if app == 1 { 256 } else { 1 })))
        .collect();
    let order = order_of(&calls).await;
    // The calls of the apps with small calls are all granted after one turn of each.
    let last_small = order.iter().rposition(|index| calls[*index].subjects == 1);
    assert!(last_small.expect("there are some") < 20 * (APPS - 1) + 2);
}

#[tokio::test]
async fn an_app_with_an_empty_queue_goes_first_only_once() {
    let turns = one_at_a_time();
    let first = turns.places(Turn::SHARED, FOREVER).await.expect("idle");
    let mut greedy: VecDeque<_> =
        (0..3).map(|_| Box::pin(turns.places(turn(1, 256), FOREVER))).collect();
    assert!(greedy.iter_mut().all(|call| call.now_or_never().is_none()));
    // It has had its first turn, and waits for room in another one.
    drop(first);
    let in_work = greedy.pop_front().expect("there").await.expect("its turn");
    let mut quiet = Box::pin(turns.places(turn(2, 1), FOREVER));
    assert!((&mut quiet).now_or_never().is_none());
    drop(in_work);
    let in_work = quiet.await.expect("before the others");
    let mut quiet = Box::pin(turns.places(turn(2, 1), FOREVER));
    assert!((&mut quiet).now_or_never().is_none());
    drop(in_work);
    let in_work = greedy.pop_front().expect("there").await.expect("its turn");
    assert!((&mut quiet).now_or_never().is_none(), "a second first turn");
    drop(in_work);
    let in_work = quiet.await.expect("its turn");
    drop(in_work);
    drop(greedy.pop_front().expect("there").await.expect("its turn"));
    assert!(turns.state().is_idle());
}

#[tokio::test]
async fn calls_that_belong_to_no_app_always_go_before_all_apps() {
    let calls = [turn(1, 200), turn(1, 200), turn(2, 1), Turn::SHARED, Turn::SHARED];
    assert_eq!(order_of(&calls).await, [3, 4, 0, 2, 1]);
    let turns = Turns::new(1);
    let mut in_work = turns.places(turn(1, 1), FOREVER).await.expect("idle");
    let mut app = Box::pin(turns.places(turn(2, 1), FOREVER));
    for _ in 0..3 {
        assert!((&mut app).now_or_never().is_none());
        let mut shared = Box::pin(turns.places(Turn::SHARED, FOREVER));
        assert!((&mut shared).now_or_never().is_none());
        drop(in_work);
        in_work = shared.await.expect("before the app");
    }
    drop(in_work);
    assert!(app.await.is_ok());
    assert!(turns.state().is_idle());
}

#[tokio::test]
async fn a_turn_is_no_larger_than_the_window() {
    let turns = Turns::new(1);
    let in_work = turns.places(turn(1, 1), FOREVER).await.expect("idle");
    let mut greedy: VecDeque<_> =
        (0..3).map(|_| Box::pin(turns.places(turn(1, 1), FOREVER))).collect();
    assert!(greedy.iter_mut().all(|call| call.now_or_never().is_none()));
    let mut quiet = Box::pin(turns.places(turn(2, 1), FOREVER));
    assert!((&mut quiet).now_or_never().is_none());
    drop(in_work);
    let in_work = greedy.pop_front().expect("there").await.expect("its turn");
    drop(in_work);
    let in_work = quiet.await.expect("after one call of the other app");
    drop((in_work, greedy));
    assert!(turns.state().is_idle());
}

#[tokio::test]
async fn an_app_with_a_full_queue_is_refused_and_others_are_not() {
    let turns = Turns::new(1);
    let first = turns.places(Turn::SHARED, FOREVER).await.expect("idle");
    let mut waiting: Vec<_> =
        (0..16).map(|_| Box::pin(turns.places(turn(1, 1), FOREVER))).collect();
    assert!(waiting.iter_mut().all(|call| call.now_or_never().is_none()));
    let refused = turns.places(turn(1, 1), FOREVER).now_or_never();
    assert_eq!(refused.map(|it| it.map(drop)), Some(Err(Overload::Full)));
    let mut other = pin!(turns.places(turn(2, 1000), FOREVER));
    assert!(other.as_mut().now_or_never().is_none(), "a large call into an empty queue waits");
    drop((first, waiting));
    assert!(other.await.is_ok());
}

#[tokio::test]
async fn a_call_that_times_out_leaves_its_queue_and_returns_its_permits() {
    let turns = Turns::new(1);
    let first = turns.places(Turn::SHARED, FOREVER).await.expect("idle");
    let late = turns.places(turn(1, 3), Duration::from_millis(1)).await;
    assert_eq!(late.map(drop), Err(Overload::Late));
    assert_eq!(turns.load(), Load { in_work: 1, waiting: 0, window: 1 });
    // Granted, and dropped before it is polled again.
    let mut granted = Box::pin(turns.places(turn(1, 1), FOREVER));
    assert!((&mut granted).now_or_never().is_none());
    drop(first);
    assert_eq!(turns.load(), Load { in_work: 1, waiting: 0, window: 1 });
    drop(granted);
    assert_eq!(turns.load(), Load { in_work: 0, waiting: 0, window: 1 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_permit_is_lost_when_many_calls_are_granted_dropped_and_time_out() {
    let turns = Turns::new(7);
    let calls = (0..4000_u64).map(|number| {
        let turns = turns.clone();
        tokio::spawn(async move {
            let within = Duration::from_micros(number % 50 * 20);
            let size = usize::try_from(number % 11).expect("fits");
            let Ok(places) = turns.places(turn(number % 5, size), within).await else { return };
            assert!(turns.load().in_work <= 10);
            tokio::task::yield_now().await;
            if number % 2 == 0 { places.answered() } else { drop(places) }
        })
    });
    for call in join_all(calls).await {
        call.expect("ends well");
    }
    assert_eq!(turns.load(), Load { in_work: 0, waiting: 0, window: 7 });
    assert!(turns.state().is_idle());
}
