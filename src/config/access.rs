//! Settings of authentication, of socket permissions and of TLS.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::settings::{Kind, Setting};
use super::sources::Sources;
use super::values::{self, Listen};
use crate::access::{AcceptedCredentials, CertificateName, ForcePolicy, Role};

pub(super) const UNIX_SOCKET_MODE: Setting = Setting {
    key: "unix_socket_mode",
    flag: "unix-socket-mode",
    env: "IMQUOTA_UNIX_SOCKET_MODE",
    kind: Kind::Text,
    value_name: "OCTAL",
    default: Some("0660"),
    help: "Permissions of the Unix sockets of `listen`, in chmod's notation",
};

pub(super) const ADMIN_UNIX_SOCKET_MODE: Setting = Setting {
    key: "admin_unix_socket_mode",
    flag: "admin-unix-socket-mode",
    env: "IMQUOTA_ADMIN_UNIX_SOCKET_MODE",
    kind: Kind::Text,
    value_name: "OCTAL",
    default: Some("0600"),
    help: "Permissions of the Unix sockets of `admin_listen`, in chmod's notation",
};

pub(super) const TLS_CERT: Setting = Setting {
    key: "tls_cert",
    flag: "tls-cert",
    env: "IMQUOTA_TLS_CERT",
    kind: Kind::Text,
    value_name: "FILE",
    default: None,
    help: "Server certificate with its chain, in PEM: encrypts every TCP listener; needs tls_key",
};

pub(super) const TLS_KEY: Setting = Setting {
    key: "tls_key",
    flag: "tls-key",
    env: "IMQUOTA_TLS_KEY",
    kind: Kind::Text,
    value_name: "FILE",
    default: None,
    help: "The key of tls_cert, in PEM",
};

pub(super) const TLS_CLIENT_CA: Setting = Setting {
    key: "tls_client_ca",
    flag: "tls-client-ca",
    env: "IMQUOTA_TLS_CLIENT_CA",
    kind: Kind::Text,
    value_name: "FILE",
    default: None,
    help: "Certificate authority for clients of the TCP listeners of `listen`, in PEM; a client \
           certificate is then required",
};

pub(super) const ADMIN_TLS_CERT: Setting = Setting {
    key: "admin_tls_cert",
    flag: "admin-tls-cert",
    env: "IMQUOTA_ADMIN_TLS_CERT",
    kind: Kind::Text,
    value_name: "FILE",
    default: None,
    help: "Certificate of the admin service, in PEM; by default tls_cert; needs admin_tls_key",
};

pub(super) const ADMIN_TLS_KEY: Setting = Setting {
    key: "admin_tls_key",
    flag: "admin-tls-key",
    env: "IMQUOTA_ADMIN_TLS_KEY",
    kind: Kind::Text,
    value_name: "FILE",
    default: None,
    help: "The key of admin_tls_cert, in PEM",
};

pub(super) const ADMIN_TLS_CLIENT_CA: Setting = Setting {
    key: "admin_tls_client_ca",
    flag: "admin-tls-client-ca",
    env: "IMQUOTA_ADMIN_TLS_CLIENT_CA",
    kind: Kind::Text,
    value_name: "FILE",
    default: None,
    help: "Certificate authority for admin clients, in PEM; needs admin_client_roles",
};

pub(super) const ADMIN_CLIENT_ROLES: Setting = Setting {
    key: "admin_client_roles",
    flag: "admin-client-roles",
    env: "IMQUOTA_ADMIN_CLIENT_ROLES",
    kind: Kind::List,
    value_name: "KIND:NAME=ROLE",
    default: None,
    help: "The role of a name in a client's certificate: `DNS:NAME=ROLE` or `URI:URI=ROLE`, with \
           viewer, operator or owner; may be repeated",
};

pub(super) const ADMIN_TOKENS_FILE: Setting = Setting {
    key: "admin_tokens_file",
    flag: "admin-tokens-file",
    env: "IMQUOTA_ADMIN_TOKENS_FILE",
    kind: Kind::Text,
    value_name: "FILE",
    default: None,
    help: "Tokens of the admin service, a line each as `imquota admin make-token` prints it",
};

pub(super) const ADMIN_UNIX_UIDS: Setting = Setting {
    key: "admin_unix_uids",
    flag: "admin-unix-uids",
    env: "IMQUOTA_ADMIN_UNIX_UIDS",
    kind: Kind::List,
    value_name: "UID=ROLE",
    default: None,
    help: "The role of a user of the Unix sockets of `admin_listen`: viewer, operator or owner; \
           may be repeated",
};

pub(super) const FORCE: Setting = Setting {
    key: "force",
    flag: "force",
    env: "IMQUOTA_FORCE",
    kind: Kind::Text,
    value_name: "WHO",
    default: None,
    help: "Callers that may use mode FORCE, which writes even over a limit: `allow`, all; \
           `certificates`, those with a verified client certificate; `deny`, none [default: \
           allow on loopback addresses and Unix sockets, certificates elsewhere]",
};

/// Authentication of callers, and TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessConfig {
    /// Mode of the data plane's Unix sockets.
    pub unix_socket_mode: u32,
    /// Mode of the admin service's Unix sockets.
    pub admin_unix_socket_mode: u32,
    /// TLS of the data plane's TCP listeners, if any.
    pub tls: Option<TlsFiles>,
    /// TLS of the admin service's TCP listeners, if any.
    pub admin_tls: Option<TlsFiles>,
    /// The roles of names in client certificates.
    pub client_roles: BTreeMap<CertificateName, Role>,
    /// The file of admin tokens.
    pub tokens_file: Option<PathBuf>,
    /// The roles of users of the admin service's Unix sockets.
    pub unix_uids: BTreeMap<u32, Role>,
    /// Callers that may use mode FORCE on the data plane; `None` if that depends on the listener.
    pub force: Option<ForcePolicy>,
}

impl Default for AccessConfig {
    /// No encryption and no credentials.
    fn default() -> Self {
        Self {
            unix_socket_mode: 0o660,
            admin_unix_socket_mode: 0o600,
            tls: None,
            admin_tls: None,
            client_roles: BTreeMap::new(),
            tokens_file: None,
            unix_uids: BTreeMap::new(),
            force: None,
        }
    }
}

impl AccessConfig {
    /// Returns the credentials that the admin service accepts.
    #[must_use]
    pub fn accepted_credentials(&self) -> AcceptedCredentials {
        AcceptedCredentials {
            tokens_file: self.tokens_file.clone(),
            client_roles: self.client_roles.clone(),
            unix_uids: self.unix_uids.clone(),
        }
    }
}

/// Files of an encrypted listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server certificate and its chain.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Certificate authority for clients.
    pub client_ca: Option<PathBuf>,
    /// True if clients need a certificate; it is optional if tokens are accepted too.
    pub client_required: bool,
}

/// Reads the settings of this file.
pub(super) fn read(sources: &mut Sources<'_>) -> AccessConfig {
    let unix_socket_mode = sources.one(&UNIX_SOCKET_MODE, values::file_mode);
    let admin_unix_socket_mode = sources.one(&ADMIN_UNIX_SOCKET_MODE, values::file_mode);
    let pair = pair(sources, [&TLS_CERT, &TLS_KEY]);
    let client_ca = sources.optional(&TLS_CLIENT_CA, values::readable_file);
    let admin_pair = self::pair(sources, [&ADMIN_TLS_CERT, &ADMIN_TLS_KEY]).or(pair.clone());
    let admin_client_ca = sources.optional(&ADMIN_TLS_CLIENT_CA, values::readable_file);
    let client_roles =
        roles(sources, &ADMIN_CLIENT_ROLES, |name| CertificateName::parse(name).map_err(Some));
    let tokens_file = sources.optional(&ADMIN_TOKENS_FILE, values::readable_file);
    let unix_uids = roles(sources, &ADMIN_UNIX_UIDS, |uid| uid.parse().map_err(|_| None));
    match (&admin_client_ca, client_roles.first()) {
        (Some((_, by)), None) => {
            let message = "needs admin_client_roles, without which no caller has a role".to_owned();
            sources.report_conflict(by, message, &[&ADMIN_CLIENT_ROLES]);
        }
        (None, Some((_, _, by))) => {
            let message = "needs admin_tls_client_ca, which certifies the names".to_owned();
            sources.report_conflict(by, message, &[&ADMIN_TLS_CLIENT_CA]);
        }
        _ => {}
    }
    let tokens_file = tokens_file.map(|(path, _)| path);
    let required = tokens_file.is_none();
    AccessConfig {
        unix_socket_mode,
        admin_unix_socket_mode,
        tls: tls(sources, "tls_cert and tls_key", pair, client_ca, true),
        admin_tls: tls(
            sources,
            "admin_tls_cert and admin_tls_key",
            admin_pair,
            admin_client_ca,
            required,
        ),
        client_roles: client_roles.into_iter().map(|(name, role, _)| (name, role)).collect(),
        tokens_file,
        unix_uids: unix_uids.into_iter().map(|(uid, role, _)| (uid, role)).collect(),
        force: sources.optional(&FORCE, values::force).map(|(policy, _)| policy),
    }
}

/// Reports each admin listener that other machines can reach although it requires no credentials,
/// or is not encrypted; returns the others.
pub(super) fn protected(
    sources: &mut Sources<'_>,
    access: &AccessConfig,
    admin_listen: Vec<(Listen, String)>,
) -> Vec<(Listen, String)> {
    let has_credentials = access.tokens_file.is_some() || !access.client_roles.is_empty();
    let (missing, with): (_, &[&Setting]) = match (has_credentials, &access.admin_tls) {
        (false, _) => (
            "callers need credentials: set admin_tokens_file, or admin_tls_client_ca \
             and admin_client_roles",
            &[&ADMIN_TOKENS_FILE, &ADMIN_TLS_CLIENT_CA, &ADMIN_CLIENT_ROLES],
        ),
        (true, None) => (
            "it needs encryption: set admin_tls_cert and admin_tls_key",
            &[&TLS_CERT, &TLS_KEY, &ADMIN_TLS_CERT, &ADMIN_TLS_KEY],
        ),
        (true, Some(_)) => return admin_listen,
    };
    let (near, far): (Vec<_>, Vec<_>) =
        admin_listen.into_iter().partition(|(listen, _)| match listen {
            Listen::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Listen::Unix(_) => true,
        });
    for (listen, by) in far {
        let message = format!(
            "{listen} can be reached from other machines, so {missing}; or use a loopback \
             address or unix:PATH"
        );
        sources.report_conflict(&by, message, with);
    }
    near
}

type Pair = (PathBuf, PathBuf);

fn pair(sources: &mut Sources<'_>, [certificate, key]: [&Setting; 2]) -> Option<Pair> {
    let files = [certificate, key].map(|file| sources.optional(file, values::readable_file));
    match files {
        [Some((certificate, _)), Some((key, _))] => Some((certificate, key)),
        [None, None] => None,
        [Some((_, by)), None] | [None, Some((_, by))] => {
            let message = format!(
                "{} and {} are only valid together; add the missing one",
                certificate.key, key.key
            );
            sources.report_conflict(&by, message, &[certificate, key]);
            None
        }
    }
}

fn tls(
    sources: &mut Sources<'_>,
    needed: &str,
    pair: Option<Pair>,
    client_ca: Option<(PathBuf, String)>,
    client_required: bool,
) -> Option<TlsFiles> {
    let Some((certificate, key)) = pair else {
        if let Some((_, by)) = client_ca {
            let message = format!("needs {needed}: it applies to encrypted listeners only");
            let with = [&TLS_CERT, &TLS_KEY, &ADMIN_TLS_CERT, &ADMIN_TLS_KEY];
            sources.report_conflict(&by, message, &with);
        }
        return None;
    };
    let client_ca = client_ca.map(|(path, _)| path);
    let client_required = client_required && client_ca.is_some();
    Some(TlsFiles { certificate, key, client_ca, client_required })
}

/// Reads entries `WHO=ROLE`, each once. `who` may return an error for its part.
fn roles<W: PartialEq>(
    sources: &mut Sources<'_>,
    setting: &Setting,
    who: impl Fn(&str) -> Result<W, Option<String>>,
) -> Vec<(W, Role, String)> {
    let given = sources.any(setting, |text| {
        let form = setting.value_name;
        let wrong =
            || values::wrong(&format!("{form} with a role viewer, operator or owner"), text);
        // A URI may hold an equals sign, a role does not.
        let (left, role) = text.rsplit_once('=').ok_or_else(wrong)?;
        let role = Role::named(role.trim()).ok_or_else(wrong)?;
        let who = who(left.trim()).map_err(|why| why.unwrap_or_else(wrong))?;
        Ok((who, role))
    });
    let mut roles: Vec<(W, Role, String)> = Vec::with_capacity(given.len());
    for ((who, role), by) in given {
        if roles.iter().any(|(other, ..)| *other == who) {
            sources.report(&by, "must give a role to each only once".to_owned());
        } else {
            roles.push((who, role, by));
        }
    }
    roles
}
