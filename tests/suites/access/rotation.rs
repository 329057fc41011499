//! Tokens and certificates that change while the sidecar runs.

use std::future::Future;

use imquota::access::{Role, line_of, make_token};
use imquota::clock::Stopwatch;
use imquota::grpc::pb;
use tonic::Code;
use tonic::transport::Channel;

use super::certificates::Authority;
use super::connection::{client, encrypted, handshake, plain, tls_config};
use super::sidecar::{Sidecar, TokenFile, WAIT_MAX, flag};

async fn by(channel: &Channel, token: &str) -> Code {
    let mut client = client(channel.clone(), Some(token));
    let answer = client.list_apps(pb::ListAppsRequest::default()).await;
    answer.map_or_else(|status| status.code(), |_| Code::Ok)
}

/// Polls until the condition is true.
async fn until<F: Future<Output = bool>>(what: &str, mut ask: impl FnMut() -> F) {
    let watch = Stopwatch::start();
    while !ask().await {
        assert!(watch.elapsed() < WAIT_MAX, "not in time: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// The value of a metric, by the beginning of its line.
async fn metric(sidecar: &Sidecar, line: &str) -> u64 {
    let text = sidecar.metrics().await;
    let value = text.lines().find_map(|found| found.strip_prefix(line));
    value.unwrap_or_else(|| panic!("{line}: {text}")).trim().parse().expect("a number")
}

fn reloads(of: &str, result: &str) -> String {
    format!("imquota_credential_reloads_total{{of=\"{of}\",result=\"{result}\"}}")
}

#[tokio::test]
async fn a_token_is_rotated_by_writing_the_file() {
    let file = TokenFile::new();
    let sidecar = Sidecar::start(&[flag("admin-tokens-file", file.path())]).await;
    let channel = plain(sidecar.admin).await;
    let (old, new) = (file.token(Role::Owner), make_token().expect("random"));
    assert_eq!(by(&channel, old).await, Code::Ok);
    assert_eq!(by(&channel, &new).await, Code::Unauthenticated);
    // Both tokens, then the new one alone; without a reload signal.
    let line = line_of("owner", Role::Owner, &new);
    file.write(&format!("{}{line}\n", file.lines()));
    until("the new token is accepted", async || by(&channel, &new).await == Code::Ok).await;
    assert_eq!(by(&channel, old).await, Code::Ok);
    file.write(&line);
    until("the old token is refused", async || by(&channel, old).await != Code::Ok).await;
    assert_eq!(by(&channel, old).await, Code::Unauthenticated);
    assert_eq!(by(&channel, &new).await, Code::Ok);
    sidecar.stop().await;
}

#[tokio::test]
async fn an_invalid_tokens_file_changes_nothing_and_is_counted() {
    let file = TokenFile::new();
    let sidecar = Sidecar::start(&[flag("admin-tokens-file", file.path())]).await;
    let channel = plain(sidecar.admin).await;
    let [accepted, refused] = ["accepted", "refused"].map(|result| reloads("admin_tokens", result));
    assert_eq!(metric(&sidecar, &refused).await, 0);
    let good = file.lines();
    let mut seen = 0;
    for bad in ["nonsense\n".to_owned(), format!("{good}bob admin sha256:00\n")] {
        file.write(&bad);
        sidecar.reload().await;
        until("it is refused", async || metric(&sidecar, &refused).await > seen).await;
        seen = metric(&sidecar, &refused).await;
        assert_eq!(by(&channel, file.token(Role::Viewer)).await, Code::Ok);
    }
    assert_eq!(metric(&sidecar, &accepted).await, 0);
    // An empty file is valid: it revokes all tokens.
    file.write("# absent\n");
    sidecar.reload().await;
    until("all are revoked", async || metric(&sidecar, &accepted).await > 0).await;
    let before = metric(&sidecar, "imquota_admin_callers_refused_total").await;
    assert_eq!(by(&channel, file.token(Role::Owner)).await, Code::Unauthenticated);
    let after = metric(&sidecar, "imquota_admin_callers_refused_total").await;
    assert_eq!(after, before + 1);
    sidecar.stop().await;
}

#[tokio::test]
async fn new_connections_get_a_new_certificate_and_an_invalid_one_is_ignored() {
    let (old, new) = (Authority::new(), Authority::new());
    let [serving, next] = [&old, &new].map(|authority| authority.certify("server", "IP:127.0.0.1"));
    let sidecar =
        Sidecar::start(&[flag("tls-cert", &serving.certificate), flag("tls-key", &serving.key)])
            .await;
    let before = encrypted(sidecar.admin, tls_config(&old, None)).await;
    let trusts = async |authority: &Authority| {
        let mut both = true;
        for address in [sidecar.admin, sidecar.data] {
            both &= handshake(address, tls_config(authority, None)).await.is_ok();
        }
        both
    };
    assert!(trusts(&old).await && !trusts(&new).await);
    // A certificate without its key.
    std::fs::copy(&next.certificate, &serving.certificate).expect("copied");
    sidecar.reload().await;
    for of in ["tls", "admin_tls"] {
        let refused = reloads(of, "refused");
        until("it is refused", async || metric(&sidecar, &refused).await > 0).await;
    }
    assert!(trusts(&old).await && !trusts(&new).await);
    next.replace(&serving);
    sidecar.reload().await;
    until("the new one is used", async || trusts(&new).await).await;
    assert!(!trusts(&old).await);
    assert_eq!(by(&before, "").await, Code::Ok, "connections stay");
    sidecar.stop().await;
}

#[tokio::test]
async fn a_client_authority_is_rotated_without_a_restart() {
    let (old, new) = (Authority::new(), Authority::new());
    let server = old.certify("server", "IP:127.0.0.1");
    let trusted = tempfile::NamedTempFile::new().expect("a file");
    std::fs::copy(old.certificate(), trusted.path()).expect("copied");
    let sidecar = Sidecar::start(&[
        flag("tls-cert", &server.certificate),
        flag("tls-key", &server.key),
        flag("admin-tls-client-ca", trusted.path()),
        ("admin-client-roles", "ann=viewer".to_owned()),
    ])
    .await;
    let anns = [&old, &new].map(|authority| authority.certify("ann", "DNS:ann"));
    let accepted = async |index: usize| {
        let channel = encrypted(sidecar.admin, tls_config(&old, Some(&anns[index]))).await;
        let mut client = client(channel, None);
        client.list_apps(pb::ListAppsRequest::default()).await.is_ok()
    };
    assert!(accepted(0).await && !accepted(1).await);
    std::fs::copy(new.certificate(), trusted.path()).expect("copied");
    sidecar.reload().await;
    until("the new authority counts", async || accepted(1).await).await;
    assert!(!accepted(0).await);
    sidecar.stop().await;
}
