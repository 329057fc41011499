//! An encrypted server that requires a client certificate.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use imquota::redis::client::{Client, OpenError};
use imquota::redis::options::{Options, Tls, Topology};
use tempfile::TempDir;

use super::cluster::{SLOT_OF_FOO, set_distinct_epochs};
use super::servers::{Server, free_port};
use super::{WAIT_MAX, at, count, count_after_kill, options, scripts, standalone};

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl")
        .current_dir(folder)
        .args(arguments.split(' '))
        .output()
        .expect("openssl is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn certificates() -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path();
    openssl(path, "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -subj /CN=ca");
    openssl(path, "req -newkey rsa:2048 -nodes -keyout it.key -out it.csr -subj /CN=it");
    std::fs::write(path.join("ext"), "subjectAltName=IP:127.0.0.1\n").expect("written");
    openssl(
        path,
        "x509 -req -in it.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out it.crt -extfile ext",
    );
    folder
}

#[tokio::test]
async fn an_encrypted_server_requires_a_certificate() {
    let folder = certificates();
    let file = |name: &str| folder.path().join(name);
    let text = |name: &str| file(name).to_str().expect("plain").to_owned();
    let port = free_port();
    let _server = Server::start(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &text("it.crt"),
        "--tls-key-file",
        &text("it.key"),
        "--tls-ca-cert-file",
        &text("ca.crt"),
    ]);
    let mut options = standalone(port);
    options.tls =
        Some(Tls { ca: Some(file("ca.crt")), certificate: Some((file("it.crt"), file("it.key"))) });
    let client = Client::open(options.clone(), scripts()).await.expect("opened");
    assert_eq!(count(&client, "k", WAIT_MAX).await, Ok(1));

    options.tls = Some(Tls { ca: Some(file("ca.crt")), certificate: None });
    let error = Client::open(options.clone(), scripts()).await.err();
    assert!(matches!(error, Some(OpenError::Unreachable { .. })), "{error:?}");
    options.tls = Some(Tls { ca: Some(file("none.crt")), certificate: None });
    let error = Client::open(options, scripts()).await.err();
    assert!(matches!(error, Some(OpenError::File(_))), "{error:?}");
}

/// Options for servers with these certificates.
fn encrypted(topology: Topology, certificates: &Path) -> Options {
    let file = |name: &str| certificates.join(name);
    let certificate = Some((file("it.crt"), file("it.key")));
    Options { tls: Some(Tls { ca: Some(file("ca.crt")), certificate }), ..options(topology) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_is_followed_with_encrypted_servers_and_sentinel() {
    let folder = certificates();
    let mut master = Server::encrypted(folder.path(), &[]);
    let of_master = ["--replicaof", "127.0.0.1", &master.port.to_string()];
    let replica = Server::encrypted(folder.path(), &of_master);
    let watcher = Server::encrypted_sentinel(folder.path(), master.port);
    watcher.until("it has the replica", || {
        watcher.cli(&["SENTINEL", "MASTER", "main"]).contains("num-slaves\n1")
    });
    let (sentinels, name) = (vec![at(watcher.port)], "main".to_owned());
    let topology = Topology::Sentinel { sentinels, master: name, database: 0 };
    let client = Client::open(encrypted(topology, folder.path()), scripts()).await.expect("opened");
    assert_eq!(count(&client, "k", WAIT_MAX).await, Ok(1));
    replica.until("it has the count", || replica.cli(&["GET", "k"]).trim() == "1");
    master.kill();
    assert_eq!(count_after_kill(&client, "k", Duration::from_secs(20)).await, Ok(2));
    assert_eq!(replica.cli(&["GET", "k"]).trim(), "2");
}

#[tokio::test]
async fn a_moved_slot_is_followed_in_an_encrypted_cluster() {
    let folder = certificates();
    let mode = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
    let nodes = [(); 2].map(|()| Server::encrypted(folder.path(), &mode));
    set_distinct_epochs(&nodes);
    nodes[0].cli(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    nodes[1].cli(&["CLUSTER", "MEET", "127.0.0.1", &nodes[0].port.to_string()]);
    for node in &nodes {
        node.until("the cluster is whole", || {
            let info = node.cli(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:2")
        });
    }
    let topology = Topology::Cluster { seeds: vec![at(nodes[0].port)] };
    let client = Client::open(encrypted(topology, folder.path()), scripts()).await.expect("opened");
    assert_eq!(count(&client, "bar", WAIT_MAX).await, Ok(1));
    let to = nodes[1].cli(&["CLUSTER", "MYID"]);
    for node in nodes.iter().rev() {
        node.cli(&["CLUSTER", "SETSLOT", SLOT_OF_FOO, "NODE", to.trim()]);
    }
    assert_eq!(count(&client, "foo", WAIT_MAX).await, Ok(1));
    assert_eq!(nodes[1].cli(&["GET", "foo"]).trim(), "1");
    assert!(nodes[0].refusals("MOVED") > 0);
}
