//! Tests of the places of a listener: admitted, refused and closed connections.

use futures_util::FutureExt as _;

use super::*;

const LONG: Duration = Duration::from_secs(3600);

/// Creates sixteen places, of which a peer has eight, with these graces.
fn places(half_open_grace: Duration, idle_grace: Duration) -> Arc<Places> {
    Arc::new(Places::with_graces(16, 8, half_open_grace, idle_grace))
}

fn key(address: &str) -> PeerKey {
    address.parse::<IpAddr>().expect("an address").into()
}

/// Admits a connection on which HTTP/2 has begun.
fn begun(places: &Arc<Places>, key: PeerKey) -> Place {
    let Admission::Admitted(place) = places.try_admit(key) else { panic!("no place") };
    place.connection.begins();
    place
}

fn closed(places: &[Place]) -> Vec<usize> {
    let is_closed = |place: &Place| place.connection.evicted().now_or_never().is_some();
    places.iter().enumerate().filter(|(_, it)| is_closed(it)).map(|(index, _)| index).collect()
}

#[test]
fn a_peer_is_an_ipv4_address_an_ipv6_network_or_this_machine() {
    for (address, expected) in [
        ("127.0.0.1", PeerKey::Local),
        ("127.8.0.1", PeerKey::Local),
        ("::1", PeerKey::Local),
        ("::ffff:127.0.0.1", PeerKey::Local),
        ("10.0.0.1", PeerKey::V4(0x0a00_0001)),
        ("::ffff:10.0.0.1", PeerKey::V4(0x0a00_0001)),
        ("2001:db8:1:2::1", PeerKey::V6(0x2001_0db8_0001_0002)),
        ("2001:db8:1:2:ffff::9", PeerKey::V6(0x2001_0db8_0001_0002)),
        ("2001:db8:1:3::1", PeerKey::V6(0x2001_0db8_0001_0003)),
    ] {
        assert_eq!(key(address), expected, "{address}");
    }
}

#[test]
fn one_peer_may_take_all_free_places_and_then_replaces_its_oldest_idle_connection() {
    let places = places(LONG, LONG);
    let proxy = key("10.0.0.1");
    // All but the spare two.
    let mut held: Vec<_> = (0..14).map(|_| begun(&places, proxy)).collect();
    held[0].connection.call_begins(false);
    assert!(closed(&held).is_empty());
    // The fifteenth connection of the peer always replaces its oldest idle one.
    held.push(begun(&places, proxy));
    assert_eq!(closed(&held), [1]);
    // Other peers get the spare places, and then those of the largest peer.
    let others: Vec<_> = (0..4).map(|_| begun(&places, key("10.0.0.2"))).collect();
    assert_eq!(closed(&held), [2, 3]);
    assert!(closed(&others).is_empty());
    assert_eq!(places.state().connections.len(), 16);
    // A place that is dropped after its connection was closed frees nothing.
    drop(held.remove(1));
    assert_eq!(places.state().connections.len(), 16);
    drop(held.pop());
    assert_eq!(places.state().connections.len(), 15);
}

#[test]
fn a_peer_that_is_never_idle_is_refused_the_spare_places() {
    let places = places(LONG, LONG);
    let busy = key("10.0.0.1");
    let mut held: Vec<_> = (0..14).map(|_| begun(&places, busy)).collect();
    for place in &held {
        place.connection.call_begins(false);
    }
    assert!(matches!(places.try_admit(busy), Admission::Refused));
    held.push(begun(&places, key("10.0.0.2")));
    held.push(begun(&places, key("10.0.0.3")));
    assert!(matches!(places.try_admit(busy), Admission::Refused));
    // All are busy, or have been idle only for a moment.
    assert!(matches!(places.try_admit(key("10.0.0.4")), Admission::Full));
    assert!(closed(&held).is_empty());
    held[5].connection.call_ends(false, false);
    held.push(begun(&places, key("10.0.0.4")));
    assert_eq!(closed(&held), [5]);
}

#[test]
fn this_machine_has_no_share_and_is_closed_only_after_a_time_of_idleness() {
    let with_grace = self::places(LONG, LONG);
    let held: Vec<_> = (0..16).map(|_| begun(&with_grace, PeerKey::Local)).collect();
    assert!(matches!(with_grace.try_admit(PeerKey::Local), Admission::Full));
    assert!(matches!(with_grace.try_admit(key("10.0.0.1")), Admission::Full));
    assert!(closed(&held).is_empty());
    let places = self::places(LONG, Duration::ZERO);
    let mut held: Vec<_> = (0..16).map(|_| begun(&places, PeerKey::Local)).collect();
    held[0].connection.call_begins(false);
    held.push(begun(&places, PeerKey::Local));
    assert_eq!(closed(&held), [1]);
}

#[test]
fn connections_without_http2_get_half_of_the_places_and_are_closed_first() {
    let places = places(Duration::ZERO, LONG);
    let admit = |key| match places.try_admit(key) {
        Admission::Admitted(place) => place,
        Admission::Refused | Admission::Full => panic!("no place"),
    };
    let mut held: Vec<_> = (0..5).map(|_| admit(key("10.0.0.1"))).collect();
    held.extend((0..3).map(|_| admit(PeerKey::Local)));
    assert!(closed(&held).is_empty());
    held.push(admit(key("10.0.0.2")));
    assert_eq!(closed(&held), [0], "the oldest of the largest peer");
    held[8].connection.begins();
    held.push(admit(key("10.0.0.2")));
    assert!(closed(&held).is_empty());
    let with_grace = self::places(LONG, LONG);
    let held: Vec<_> = (0..8).map(|_| with_grace.try_admit(PeerKey::Local)).collect();
    assert!(held.iter().all(|it| matches!(it, Admission::Admitted(_))));
    assert!(matches!(with_grace.try_admit(PeerKey::Local), Admission::Full));
}

#[tokio::test]
async fn a_waiting_connection_gets_the_next_free_place() {
    let places = places(LONG, LONG);
    let mut held: Vec<_> = (0..16).map(|_| begun(&places, PeerKey::Local)).collect();
    let waiting = tokio::spawn({
        let places = places.clone();
        async move { places.admit(PeerKey::Local).await.is_some() }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    held.pop();
    assert!(waiting.await.expect("no panic"));
}
