//! Requirements on a connection before authorization.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use imquota::access::Role;
use imquota::grpc::pb::admin_service_client::AdminServiceClient;
use imquota::grpc::{ADMIN_SERVICE, pb};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::certificates::Authority;
use super::connection::{Client, Shown, client, encrypted, handshake, plain, tls_config, unix};
use super::sidecar::{Sidecar, TokenFile, WAIT_MAX, flag};

/// Half of the timeout of a silent client.
const PROMPT: Duration = Duration::from_secs(5);

async fn list(mut client: Client) -> Code {
    let answer = client.list_apps(pb::ListAppsRequest::default()).await;
    answer.map_or_else(|status| status.code(), |_| Code::Ok)
}

async fn is_healthy(channel: Channel) -> bool {
    let request = HealthCheckRequest { service: ADMIN_SERVICE.to_owned() };
    HealthClient::new(channel).check(request).await.is_ok()
}

#[tokio::test]
async fn health_needs_no_credentials() {
    let file = TokenFile::new();
    let sidecar = Sidecar::start(&[flag("admin-tokens-file", file.path())]).await;
    let channel = plain(sidecar.admin).await;
    assert!(is_healthy(channel.clone()).await);
    assert_eq!(list(client(channel, None)).await, Code::Unauthenticated);
    sidecar.stop().await;
}

#[tokio::test]
async fn every_refusal_of_credentials_has_the_same_message() {
    let file = TokenFile::new();
    let sidecar = Sidecar::start(&[flag("admin-tokens-file", file.path())]).await;
    let channel = plain(sidecar.admin).await;
    let good = file.token(Role::Owner);
    let shown = |headers: &[String]| Shown(headers.to_vec());
    let mut said = Vec::new();
    for headers in [
        vec![],
        vec![good.to_owned()],
        vec![format!("Basic {good}")],
        vec!["Bearer ".to_owned()],
        vec![format!("Bearer {}", &good[..good.len() - 1])],
        vec![format!("Bearer {good}0")],
        vec![format!("Bearer {good} {good}")],
        vec![format!("Bearer {}", "0".repeat(300))],
        vec![format!("Bearer {good}"), format!("Bearer {good}")],
    ] {
        let mut client = AdminServiceClient::with_interceptor(channel.clone(), shown(&headers));
        let status = client.list_apps(pb::ListAppsRequest::default()).await.err();
        let status = status.unwrap_or_else(|| panic!("{headers:?} was let in"));
        assert_eq!(status.code(), Code::Unauthenticated, "{headers:?}");
        assert!(!status.message().contains("imq_"), "{}", status.message());
        said.push(status.message().to_owned());
    }
    said.dedup();
    assert_eq!(said.len(), 1, "{said:?}");
    let lower = Shown(vec![format!("bearer  {good}")]);
    assert_eq!(list(Client::with(channel, lower)).await, Code::Ok);
    sidecar.stop().await;
}

#[tokio::test]
async fn a_role_that_is_too_low_is_named() {
    let file = TokenFile::new();
    let sidecar = Sidecar::start(&[flag("admin-tokens-file", file.path())]).await;
    let mut viewer = client(plain(sidecar.admin).await, Some(file.token(Role::Viewer)));
    let request = pb::CreateAppRequest { app_id: "a".into(), ..Default::default() };
    let status = viewer.create_app(request).await.expect_err("a viewer may only read");
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(status.message(), "CreateApp needs the role operator, and \"viewer\" has viewer");
    sidecar.stop().await;
}

#[tokio::test]
async fn a_certificate_does_not_replace_a_wrong_token() {
    let (file, authority) = (TokenFile::new(), Authority::new());
    let server = authority.certify("server", "IP:127.0.0.1");
    let sidecar = Sidecar::start(&[
        flag("tls-cert", &server.certificate),
        flag("tls-key", &server.key),
        flag("admin-tls-client-ca", authority.certificate()),
        ("admin-client-roles", "ann=owner".to_owned()),
        flag("admin-tokens-file", file.path()),
    ])
    .await;
    let ann = authority.certify("ann", "DNS:ann");
    let channel = encrypted(sidecar.admin, tls_config(&authority, Some(&ann))).await;
    assert_eq!(list(client(channel.clone(), None)).await, Code::Ok);
    assert_eq!(list(client(channel, Some("imq_wrong"))).await, Code::Unauthenticated);
    sidecar.stop().await;
}

/// Returns whether a health call succeeds.
async fn is_served(address: SocketAddr, config: rustls::ClientConfig) -> bool {
    let request = HealthCheckRequest::default();
    HealthClient::new(encrypted(address, config).await).check(request).await.is_ok()
}

#[tokio::test]
async fn a_required_client_certificate_is_enforced_by_the_handshake() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = authority.certify("server", "IP:127.0.0.1");
    let sidecar = Sidecar::start(&[
        flag("tls-cert", &server.certificate),
        flag("tls-key", &server.key),
        flag("tls-client-ca", authority.certificate()),
        flag("admin-tls-client-ca", authority.certificate()),
        ("admin-client-roles", "ann=owner".to_owned()),
    ])
    .await;
    let (ann, forged) = (authority.certify("ann", "DNS:ann"), other.certify("ann", "DNS:ann"));
    let bob = authority.certify("bob", "DNS:bob");
    for address in [sidecar.data, sidecar.admin] {
        assert!(is_served(address, tls_config(&authority, Some(&ann))).await);
        // Any certificate of the authority; the role is checked elsewhere.
        assert!(is_served(address, tls_config(&authority, Some(&bob))).await);
        assert!(!is_served(address, tls_config(&authority, None)).await);
        assert!(!is_served(address, tls_config(&authority, Some(&forged))).await);
    }
    sidecar.stop().await;
}

#[tokio::test]
async fn an_encrypted_listener_speaks_http_over_tls_and_nothing_else() {
    let authority = Authority::new();
    let server = authority.certify("server", "IP:127.0.0.1");
    let flags = [flag("tls-cert", &server.certificate), flag("tls-key", &server.key)];
    let sidecar = Sidecar::start(&flags).await;
    for address in [sidecar.data, sidecar.admin] {
        assert!(!is_healthy(plain(address).await).await, "without TLS");
        let stream = handshake(address, tls_config(&authority, None)).await.expect("with TLS");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let mut http1 = tls_config(&authority, None);
        http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        let stream = handshake(address, http1).await.expect("HTTP/1.1, for JSON");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        let mut other = tls_config(&authority, None);
        other.alpn_protocols = vec![b"imap".to_vec()];
        assert!(handshake(address, other).await.is_err(), "another protocol");
    }
    // A Unix socket cannot be intercepted on a network.
    assert_eq!(list(client(unix(&sidecar.socket).await, None)).await, Code::Ok);
    sidecar.stop().await;
}

#[tokio::test]
async fn silent_connections_delay_no_caller_and_are_closed() {
    let authority = Authority::new();
    let server = authority.certify("server", "IP:127.0.0.1");
    let flags = [flag("tls-cert", &server.certificate), flag("tls-key", &server.key)];
    let (tls, open) = (Sidecar::start(&flags).await, Sidecar::start(&[]).await);
    let mut silent = Vec::new();
    for address in [tls.data, open.data] {
        for _ in 0..100 {
            silent.push(TcpStream::connect(address).await.expect("it accepts"));
        }
    }
    let next = is_served(tls.data, tls_config(&authority, None));
    assert_eq!(tokio::time::timeout(PROMPT, next).await, Ok(true));
    // A connection that completed TLS and is then silent.
    let mut half = handshake(tls.data, tls_config(&authority, None)).await.expect("TLS");
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(WAIT_MAX, async {
        for stream in &mut silent {
            let _ = stream.read_to_end(&mut rest).await;
        }
        let _ = half.read_to_end(&mut rest).await;
    });
    ended.await.expect("all were closed");
    tls.stop().await;
    open.stop().await;
}

#[tokio::test]
async fn half_open_handshakes_are_closed_for_waiting_connections() {
    let authority = Authority::new();
    let server = authority.certify("server", "IP:127.0.0.1");
    let tls = Sidecar::start(&[
        flag("tls-cert", &server.certificate),
        flag("tls-key", &server.key),
        ("connections-max", "16".to_owned()),
    ])
    .await;
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(TcpStream::connect(tls.data).await.expect("the system takes it"));
    }
    // Eight a second are closed for waiting connections; the timeout alone takes five for sixteen.
    let next = is_served(tls.data, tls_config(&authority, None));
    assert_eq!(tokio::time::timeout(WAIT_MAX, next).await, Ok(true));
    tls.stop().await;
}

#[tokio::test]
async fn a_socket_has_its_configured_mode() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data.sock");
    let mode = |path: &std::path::Path| {
        std::fs::metadata(path).expect("there").permissions().mode() & 0o777
    };
    let listen = ("listen", format!("unix:{}", data.display()));
    let sidecar = Sidecar::start(std::slice::from_ref(&listen)).await;
    assert_eq!((mode(&data), mode(&sidecar.socket)), (0o660, 0o600));
    sidecar.stop().await;
    let modes =
        [("unix-socket-mode", "0606".to_owned()), ("admin-unix-socket-mode", "640".to_owned())];
    let [of_data, of_admin] = modes;
    let sidecar = Sidecar::start(&[listen, of_data, of_admin]).await;
    assert_eq!((mode(&data), mode(&sidecar.socket)), (0o606, 0o640));
    sidecar.stop().await;
}
