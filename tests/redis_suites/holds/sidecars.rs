//! Two sidecars over one server.

use imquota::clock::SystemClock;
use tokio::task::JoinSet;

use super::*;

/// Seats of the group beside that of its owner.
const SEATS: usize = 20;
const CALLERS: usize = 64;

/// The time for which a caller had a seat, by the store's clock.
struct Seat {
    user: UserId,
    from: Timestamp,
    /// When it expired; `None`: it is permanent.
    until: Option<Timestamp>,
}

/// Takes a seat by one sidecar until it has one, or all are taken for good; every other caller
/// confirms it, by the other sidecar.
async fn caller(number: usize, sidecars: [Sidecar; 2]) -> Option<Seat> {
    let [one, other] = sidecars;
    let (id, name) = (format!("h{number}"), user(format!("u{number}")));
    let confirms = number.is_multiple_of(2);
    let hold = Some((id.as_str(), 1));
    loop {
        let answer = one.try_take(hold, join("g", vec![name.clone()])).await.expect("an answer");
        if answer.items[0].outcome == Outcome::Applied {
            let from = answer.decided_at;
            if !confirms {
                let until = Some(from + Duration::from_secs(1));
                return Some(Seat { user: name, from, until });
            }
            // A confirmation that comes late may find no seat any more.
            let ended = other.try_end(&id, Part::Groups, HoldEnd::Confirm).await.remove(0);
            match letters(&ended).as_str() {
                "c" => return Some(Seat { user: name, from, until: None }),
                "t" => return Some(Seat { user: name, from: ended.decided_at, until: None }),
                late => assert_eq!(late, "d"),
            }
        }
        let (members, held) = other.count(Subject::Group(group("g"))).await;
        assert!(members <= 1 + SEATS as u64, "{members} members");
        if members - held == 1 + SEATS as u64 {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_callers_of_two_sidecars_never_exceed_the_last_seats() {
    let redis = Standalone::start();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let one = Sidecar::open(&redis.url(), clock.clone()).await;
    let other = Sidecar::open(&redis.url(), clock).await;
    one.limit(1, &[]).await;
    let seats = u32::try_from(1 + SEATS).expect("fits");
    assert_eq!(one.take(None, create("g", "owner", Some(seats))).await, "A");
    let mut callers = JoinSet::new();
    for number in 0..CALLERS {
        let (first, second) = if number % 4 < 2 { (&one, &other) } else { (&other, &one) };
        callers.spawn(caller(number, [first.clone(), second.clone()]));
    }
    let taken: Vec<Seat> = callers.join_all().await.into_iter().flatten().collect();
    let permanent: Vec<&Seat> = taken.iter().filter(|seat| seat.until.is_none()).collect();
    assert_eq!(permanent.len(), SEATS, "the callers go on until all seats are taken for good");
    for seat in &taken {
        let at = seat.from;
        let has_it = |it: &&Seat| it.from <= at && it.until.is_none_or(|until| at < until);
        let at_once = taken.iter().filter(has_it).count();
        assert!(at_once <= SEATS, "{at_once} had a seat at {at:?}");
    }
    assert_eq!(other.count(Subject::Group(group("g"))).await, (1 + SEATS as u64, 0));
    let confirmed = permanent.iter().map(|seat| seat.user.clone()).collect();
    let check = other.as_mode(Mode::CheckOnly);
    assert_eq!(check.take(None, join("g", confirmed)).await, "H".repeat(SEATS));
}
