//! An encrypted server that asks for our certificate.

use std::path::Path;
use std::process::Command;

use imquota::ledger::redis::client::{Client, OpenError};
use imquota::ledger::redis::options::Tls;
use tempfile::TempDir;

use crate::servers::{Server, free_port};
use crate::{PATIENCE, count, scripts, standalone};

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
async fn an_encrypted_server_is_reached_with_a_certificate_and_not_without() {
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
    assert_eq!(count(&client, "k", PATIENCE).await, Ok(1));

    options.tls = Some(Tls { ca: Some(file("ca.crt")), certificate: None });
    let error = Client::open(options.clone(), scripts()).await.err();
    assert!(matches!(error, Some(OpenError::Unreachable { .. })), "{error:?}");
    options.tls = Some(Tls { ca: Some(file("none.crt")), certificate: None });
    let error = Client::open(options, scripts()).await.err();
    assert!(matches!(error, Some(OpenError::File(_))), "{error:?}");
}
