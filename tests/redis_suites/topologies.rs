//! Tests of the Redis deployments of other tests: they fail over, recover and move slots, and the
//! proxy injects its faults.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::proxy::{Mode, Proxy};
use crate::support::redis::{Cluster, Sentinels, Server, Standalone, shared_standalone, wait_for};

const SHORT: Duration = Duration::from_millis(200);

#[test]
fn a_server_keeps_its_data_through_a_kill() {
    let standalone = Standalone::start();
    let server = &standalone.server;
    assert_eq!(standalone.url(), format!("redis://127.0.0.1:{}/0", server.port()));
    server.cli(&["SET", "fact", "held"]);
    // Written, though perhaps not yet to disk: only a crash of the machine loses it.
    server.kill9();
    assert!(!server.is_running() && server.try_cli(&["PING"]).is_err());
    server.restart();
    assert_eq!(server.cli(&["GET", "fact"]), "held");
    assert!(server.try_cli(&["NONESUCH"]).is_err());
}

#[test]
fn a_frozen_server_replies_after_it_is_thawed() {
    let server = Server::start(&["maxclients 100"]);
    assert_eq!(server.cli(&["CONFIG", "GET", "maxclients"]), "maxclients\n100");
    server.stop();
    let mut connection = TcpStream::connect(server.address()).expect("the kernel accepts");
    connection.set_read_timeout(Some(SHORT)).expect("a timeout");
    connection.write_all(b"PING\r\n").expect("the kernel takes it");
    assert!(connection.read(&mut [0; 16]).is_err(), "frozen");
    server.resume();
    let mut reply = [0; 7];
    wait_for("a reply", || connection.read_exact(&mut reply).ok());
    assert_eq!(&reply, b"+PONG\r\n");
}

#[test]
fn a_shared_server_survives_the_test_that_started_it() {
    let started = std::thread::spawn(|| shared_standalone().server.port());
    let port = started.join().expect("it starts");
    // The kernel would kill it with the thread, before the thread can be joined.
    assert_eq!(shared_standalone().server.cli(&["PING"]), "PONG");
    assert_eq!(shared_standalone().server.port(), port);
}

#[test]
fn sentinels_appoint_a_new_master_and_the_old_one_comes_back_as_its_replica() {
    let deployment = Sentinels::start();
    let old = deployment.kill_master();
    let new = deployment.wait_for_new_master(old);
    assert_ne!(new, old);
    deployment.revive(old);
    let revived = deployment.server(old);
    assert_eq!(revived.info("replication", "role").as_deref(), Some("slave"));
    // On a very busy machine, the Sentinels may have elected another master.
    let master = deployment.server(deployment.master());
    assert_eq!(master.cli(&["SET", "fact", "held"]), "OK");
    wait_for("the write", || (revived.cli(&["GET", "fact"]) == "held").then_some(()));
}

#[test]
fn a_cluster_replaces_a_killed_master_and_moves_slots() {
    let cluster = Cluster::start();
    let slot = cluster.slot_of("{app}a");
    let old = cluster.master_of(slot);
    cluster.node(old).cli(&["SET", "{app}a", "1"]);
    cluster.node(old).wait_until_replicated(1);
    assert_eq!(cluster.kill_master_of(slot), old);
    cluster.wait_until_ok();
    let new = cluster.master_of(slot);
    assert_ne!(new, old);
    assert_eq!(cluster.node(new).cli(&["GET", "{app}a"]), "1");
    cluster.revive(old);
    assert_eq!(cluster.node(old).info("replication", "role").as_deref(), Some("slave"));

    let other = cluster.masters().into_iter().find(|port| *port != new).expect("three masters");
    cluster.move_slot(slot, other);
    assert_eq!(cluster.master_of(slot), other);
    assert_eq!(cluster.node(other).cli(&["GET", "{app}a"]), "1");
    let moved = cluster.node(new).try_cli(&["GET", "{app}a"]).expect_err("it moved");
    assert!(moved.contains("MOVED"), "{moved}");
}

/// One inline request and the first bytes of its reply.
fn ask(port: u16, request: &str) -> Option<String> {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).ok()?;
    connection.set_read_timeout(Some(SHORT)).expect("a timeout");
    connection.write_all(request.as_bytes()).ok()?;
    let mut reply = [0; 64];
    let bytes = connection.read(&mut reply).ok().filter(|bytes| *bytes > 0)?;
    Some(String::from_utf8_lossy(&reply[..bytes]).trim_end().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_forwards_drops_delays_and_refuses() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port()).await;
    let port = proxy.port();
    assert_eq!(ask(port, "PING\r\n").as_deref(), Some("+PONG"));

    proxy.drop_replies(2, "INCR");
    assert_eq!(ask(port, "PING\r\n").as_deref(), Some("+PONG"));
    assert_eq!(ask(port, "INCR n\r\n"), None);
    assert_eq!(ask(port, "INCR n\r\n"), None);
    assert_eq!(ask(port, "INCR n\r\n").as_deref(), Some(":3"));
    assert_eq!(proxy.dropped(), 2);

    proxy.set(Mode::BlackHole);
    assert_eq!(ask(port, "PING\r\n"), None);
    proxy.set(Mode::Refuse);
    wait_for("a refusal", || TcpStream::connect(("127.0.0.1", port)).err());
    proxy.set(Mode::Pass);
    wait_for("a reply", || ask(port, "PING\r\n"));
}
