//! Settings of authentication and authorization; `tests/suites/access/refused.rs` has the refused
//! ones.

use std::collections::BTreeMap;

use imquota::access::{CertificateName, ForcePolicy, Role};
use imquota::config::{AccessConfig, TlsFiles};

use super::load;

/// The settings of this file, in the order of the table.
pub const KEYS: [&str; 12] = [
    "unix_socket_mode",
    "admin_unix_socket_mode",
    "tls_cert",
    "tls_key",
    "tls_client_ca",
    "admin_tls_cert",
    "admin_tls_key",
    "admin_tls_client_ca",
    "admin_client_roles",
    "admin_tokens_file",
    "admin_unix_uids",
    "force",
];

/// A value for each setting; the second of a list.
const VALUES: [(&str, Option<&str>); 12] = [
    ("0600", None),
    ("0640", None),
    ("Cargo.toml", None),
    ("Cargo.lock", None),
    ("clippy.toml", None),
    ("rustfmt.toml", None),
    ("README.md", None),
    ("CHANGELOG.md", None),
    ("DNS:ann=owner", Some("URI:urn:a=viewer")),
    ("build.rs", None),
    ("0=owner", Some("1000=operator")),
    ("certificates", None),
];

fn expected() -> AccessConfig {
    AccessConfig {
        unix_socket_mode: 0o600,
        admin_unix_socket_mode: 0o640,
        tls: Some(TlsFiles {
            certificate: "Cargo.toml".into(),
            key: "Cargo.lock".into(),
            client_ca: Some("clippy.toml".into()),
            client_required: true,
        }),
        admin_tls: Some(TlsFiles {
            certificate: "rustfmt.toml".into(),
            key: "README.md".into(),
            client_ca: Some("CHANGELOG.md".into()),
            // A token is sufficient too.
            client_required: false,
        }),
        client_roles: BTreeMap::from([
            (CertificateName::Dns("ann".to_owned()), Role::Owner),
            (CertificateName::Uri("urn:a".to_owned()), Role::Viewer),
        ]),
        tokens_file: Some("build.rs".into()),
        unix_uids: BTreeMap::from([(0, Role::Owner), (1000, Role::Operator)]),
        force: Some(ForcePolicy::Certificates),
    }
}

#[test]
fn every_access_setting_reaches_the_configuration_from_every_source() {
    let (mut flags, mut env, mut file) = (Vec::new(), Vec::new(), String::new());
    for (key, (first, second)) in KEYS.into_iter().zip(VALUES) {
        for value in [Some(first), second].into_iter().flatten() {
            flags.push(format!("--{}={value}", key.replace('_', "-")));
        }
        let both = second.map_or(first.to_owned(), |second| format!("{first}, {second}"));
        env.push((format!("IMQUOTA_{}", key.to_uppercase()), both));
        let value = match second {
            None => format!("'{first}'"),
            Some(second) => format!("['{first}', '{second}']"),
        };
        file += &[key, " = ", &value, "\n"].concat();
    }
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let env: Vec<_> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    for (source, config) in [
        ("flags", load(&flags, &[], None)),
        ("environment", load(&[], &env, None)),
        ("file", load(&[], &[], Some(&file))),
    ] {
        assert_eq!(config.expect(source).access, expected(), "{source}");
    }
}
