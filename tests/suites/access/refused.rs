//! Credentials and settings with which the sidecar refuses to start, with the messages.

use std::path::Path;

use imquota::access::{CertificateName, Role};
use imquota::config::{AccessConfig, Config, Environment, Flags};

use super::certificates::Authority;
use super::sidecar::{TokenFile, flag, refusal};

fn load(flags: &[(&'static str, &str)]) -> Result<AccessConfig, String> {
    let given = flags.iter().fold(Flags::default(), |flags, (flag, value)| flags.with(flag, value));
    match Config::load(&given, &Environment::default()) {
        Ok(config) => Ok(config.access),
        Err(errors) => Err(errors.to_string()),
    }
}

#[test]
fn settings_without_protection_are_refused_with_a_message() {
    let file = "Cargo.toml";
    let pair = [("tls-cert", file), ("tls-key", file)];
    let far = |extra: &[(&'static str, &'static str)]| {
        [&[("admin-listen", "10.0.0.1:1")][..], extra].concat()
    };
    for (flags, expected) in [
        (
            far(&[]),
            "--admin-listen: 10.0.0.1:1 can be reached from other machines, so callers need \
             credentials: set admin_tokens_file, or admin_tls_client_ca and \
             admin_client_roles; or use a loopback address or unix:PATH",
        ),
        (far(&pair), "--admin-listen: 10.0.0.1:1 can be reached from other machines, so callers"),
        (
            far(&[("admin-unix-uids", "0=owner"), pair[0], pair[1]]),
            "--admin-listen: 10.0.0.1:1 can be reached from other machines, so callers",
        ),
        (
            far(&[("admin-tokens-file", file)]),
            "--admin-listen: 10.0.0.1:1 can be reached from other machines, so it needs \
             encryption: set admin_tls_cert and admin_tls_key; or use a loopback",
        ),
        (vec![pair[0]], "--tls-cert: tls_cert and tls_key are only valid together"),
        (vec![("admin-tls-key", file)], "--admin-tls-key: admin_tls_cert and admin_tls_key are"),
        (vec![("tls-client-ca", file)], "--tls-client-ca: needs tls_cert and tls_key"),
        (
            vec![("admin-tls-client-ca", file), pair[0], pair[1]],
            "--admin-tls-client-ca: needs admin_client_roles, without which no caller has a role",
        ),
        (
            vec![("admin-client-roles", "a=owner")],
            "--admin-client-roles: needs admin_tls_client_ca, which certifies the names",
        ),
        (
            vec![("admin-tls-client-ca", file), ("admin-client-roles", "a=owner")],
            "--admin-tls-client-ca: needs admin_tls_cert and admin_tls_key",
        ),
        (
            vec![("admin-unix-uids", "1=owner"), ("admin-unix-uids", "1=viewer")],
            "--admin-unix-uids: must give a role to each only once",
        ),
        (
            vec![("admin-unix-uids", "root=owner")],
            "--admin-unix-uids: must be UID=ROLE with a role viewer, operator or owner, not \
             \"root=owner\"",
        ),
        (vec![("admin-unix-uids", "1=admin")], "--admin-unix-uids: must be UID=ROLE"),
        (vec![("admin-tokens-file", "/no/such")], "--admin-tokens-file: must be a file that can"),
        (
            vec![("unix-socket-mode", "0888")],
            "--unix-socket-mode: must be an octal number from 0 to 0777, such as 0660, not",
        ),
        (vec![("admin-unix-socket-mode", "+77")], "--admin-unix-socket-mode: must be an octal"),
        (vec![("unix-socket-mode", "1777")], "--unix-socket-mode: must be an octal number"),
    ] {
        let error = load(&flags).expect_err(expected);
        assert!(error.starts_with(expected), "{error}\n{expected}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn an_invalid_word_is_refused_with_the_valid_ones() {
    for (flag, value, expected) in [
        (
            "admin-client-roles",
            "DNS:a=admin",
            "must be KIND:NAME=ROLE with a role viewer, operator or owner, not \"DNS:a=admin\"",
        ),
        (
            "admin-client-roles",
            "urn:a=owner",
            "must have a kind, DNS:NAME or URI:URI, not \"urn:a\"",
        ),
        ("force", "yes", "must be \"allow\", \"certificates\" or \"deny\", not \"yes\""),
    ] {
        let error = load(&[(flag, value)]).expect_err(expected);
        assert_eq!(error, format!("--{flag}: {expected}"));
    }
}

#[test]
fn a_public_address_is_valid_with_encryption_and_credentials() {
    let file = "Cargo.toml";
    let far = [("admin-listen", "[::]:1"), ("tls-cert", file), ("tls-key", file)];
    assert!(load(&[&far[..], &[("admin-tokens-file", file)]].concat()).is_ok());
    let roles = [
        ("admin-tls-client-ca", file),
        ("admin-client-roles", "spiffe://a/b?c=d=operator"),
        ("admin-client-roles", "ann.example=viewer"),
    ];
    let access = load(&[&far[..], &roles].concat()).expect("good");
    let roles: Vec<_> = access.client_roles.into_iter().collect();
    let expected = [
        (CertificateName::Dns("ann.example".to_owned()), Role::Viewer),
        (CertificateName::Uri("spiffe://a/b?c=d".to_owned()), Role::Operator),
    ];
    assert_eq!(roles, expected);
    // Without tokens a certificate is required.
    assert!(access.admin_tls.expect("encrypted").client_required);
}

#[test]
fn the_admin_listener_uses_the_certificate_of_the_data_plane_by_default() {
    let pair = [("tls-cert", "Cargo.toml"), ("tls-key", "Cargo.toml")];
    let of = |access: &AccessConfig| access.admin_tls.clone().expect("encrypted").certificate;
    let client_ca = [("tls-client-ca", "Cargo.toml")];
    let access = load(&[&pair[..], &client_ca].concat()).expect("good");
    assert_eq!(of(&access), Path::new("Cargo.toml"));
    // The client authority of one listener does not authorize on the other.
    assert_eq!(access.admin_tls.expect("encrypted").client_ca, None);
    let own = [("admin-tls-cert", "clippy.toml"), ("admin-tls-key", "clippy.toml")];
    assert_eq!(of(&load(&[&pair[..], &own].concat()).expect("good")), Path::new("clippy.toml"));
}

#[tokio::test]
async fn an_invalid_tokens_file_is_refused_at_the_start_with_its_lines() {
    let file = TokenFile::new();
    file.write(&format!("{}# more\nbob admin sha256:00\nann\n", file.lines()));
    let error = refusal(&[flag("admin-tokens-file", file.path())]).await;
    let path = file.path().display().to_string();
    let expected = [
        format!("{path}:5:1: must name the role viewer, operator or owner"),
        format!(
            "{path}:6:1: must be NAME ROLE sha256:HEX, as `imquota admin make-token` prints it"
        ),
    ];
    assert_eq!(error.lines().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn unusable_certificates_are_refused_with_the_name_of_their_setting() {
    let authority = Authority::new();
    let good = authority.certify("server", "IP:127.0.0.1");
    let other = authority.certify("other", "IP:127.0.0.1");
    let (certificate, key) = (&good.certificate, &good.key);
    let text = Path::new("Cargo.toml");
    let tls =
        |certificate: &Path, key: &Path| vec![flag("tls-cert", certificate), flag("tls-key", key)];
    let mut own = tls(certificate, key);
    own.extend([flag("admin-tls-cert", key), flag("admin-tls-key", key)]);
    let mut client_ca = tls(certificate, key);
    client_ca.push(flag("tls-client-ca", text));
    for (flags, expected) in [
        (tls(text, key), "tls_cert: Cargo.toml: must hold at least one certificate in PEM".into()),
        (tls(certificate, text), "tls_key: Cargo.toml: must hold a private key".to_owned()),
        (
            tls(certificate, &other.key),
            format!(
                "tls_key: {}: cannot be used: it is not the key of {}",
                other.key.display(),
                certificate.display()
            ),
        ),
        (own, format!("admin_tls_cert: {}: must hold at least one certificate", key.display())),
        (client_ca, "tls_client_ca: Cargo.toml: must hold at least one certificate".to_owned()),
    ] {
        let error = refusal(&flags).await;
        assert!(error.starts_with(&expected), "{error}\n{expected}");
    }
}
