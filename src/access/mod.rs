//! Authentication of admin callers: from a peer and its credentials to a [`Principal`].
//!
//! If a bearer token is sent, it alone decides; else a name in the client's certificate; else the
//! user of a Unix socket. If the configuration requires none of these, every caller that reaches
//! the listener is `local` with the role owner. A refusal never states the reason: the log does, at
//! most once a second. The service checks whether a role is sufficient for a call.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use tokio::sync::watch;
use tracing::warn;

use crate::diagnostics::LoadError;
use crate::domain::audit::Actor;
use crate::telemetry::{LogLimit, Metrics};

mod certificate_name;
mod force;
mod principal;
mod role;
mod tokens;

pub use certificate_name::CertificateName;
pub(crate) use force::check as check_force;
pub use force::{ForcePolicy, ForceRefused};
pub use principal::{Principal, Validity};
pub use role::Role;
pub use tokens::{Digest, TOKEN_MAX_BYTES, Tokens, is_name, line_of, make_token};

/// Name of every caller if no credentials are required.
pub const LOCAL: &str = "local";

/// Other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address, or the path of our socket with its user.
    pub from: Arc<str>,
    /// Credentials of the connection itself.
    pub proof: Credential,
    /// True if only this machine reaches our listener: a Unix socket or a loopback address.
    pub listener_is_local: bool,
}

/// Credentials of a connection.
#[derive(Debug, Clone)]
pub enum Credential {
    /// No credentials.
    None,
    /// The DNS names and URIs of a certificate that was verified.
    Names(Arc<[CertificateName]>),
    /// The user of the process at a Unix socket.
    User(u32),
}

/// Credentials that the admin service accepts; if there are none, every caller is accepted.
#[derive(Debug, Clone, Default)]
pub struct AcceptedCredentials {
    /// The file of admin tokens.
    pub tokens_file: Option<PathBuf>,
    /// The roles of names in client certificates.
    pub client_roles: BTreeMap<CertificateName, Role>,
    /// The roles of users of Unix sockets.
    pub unix_uids: BTreeMap<u32, Role>,
}

impl AcceptedCredentials {
    /// Returns whether admin calls need no credentials.
    fn is_open(&self) -> bool {
        self.tokens_file.is_none() && self.client_roles.is_empty() && self.unix_uids.is_empty()
    }
}

/// Authenticates admin callers.
pub struct Access {
    open: bool,
    tokens: Arc<ArcSwap<Tokens>>,
    /// Notified after each change of the tokens.
    changes: watch::Sender<()>,
    certified: BTreeMap<CertificateName, Role>,
    users: BTreeMap<u32, Role>,
    /// Limits logging, so that guessing cannot fill the log.
    refusals: LogLimit,
    metrics: Arc<Metrics>,
}

impl Access {
    /// Creates the authenticator, with the tokens in their file.
    pub fn open(accepted: AcceptedCredentials, metrics: Arc<Metrics>) -> Result<Self, LoadError> {
        let tokens = match &accepted.tokens_file {
            Some(path) => Tokens::load(path)?,
            None => Tokens::default(),
        };
        let open = accepted.is_open();
        if open {
            warn!(
                "the admin service requires no credentials: every caller that reaches its listener \
                 is \"{LOCAL}\" with the role owner"
            );
        }
        Ok(Self {
            open,
            tokens: Arc::new(ArcSwap::from_pointee(tokens)),
            changes: watch::Sender::new(()),
            certified: accepted.client_roles,
            users: accepted.unix_uids,
            refusals: LogLimit::default(),
            metrics,
        })
    }

    /// Accepts these tokens from now on, and no others. Calls in flight with other tokens end.
    pub fn change_tokens(&self, tokens: Tokens) {
        self.tokens.store(Arc::new(tokens));
        self.changes.send_replace(());
    }

    /// Returns the caller at a peer that sent these headers; `None` if the credentials are invalid.
    pub fn authenticate(&self, peer: &Peer, headers: &HeaderMap) -> Option<Principal> {
        match self.caller(peer, headers) {
            Ok((name, role, validity)) => {
                let actor = Actor { name, from: peer.from.to_string() };
                Some(Principal { actor, role, validity, has_credentials: !self.open })
            }
            Err(reason) => {
                self.metrics.caller_refused();
                self.log(peer, reason);
                None
            }
        }
    }

    /// Returns the name, the role and their validity, or the problem for the log.
    fn caller(
        &self,
        peer: &Peer,
        headers: &HeaderMap,
    ) -> Result<(String, Role, Validity), &'static str> {
        if self.open {
            return Ok((LOCAL.to_owned(), Role::Owner, Validity::constant()));
        }
        if let Some(token) = bearer(headers)? {
            return self.by_token(token).ok_or("unknown token");
        }
        // Roles in settings only change at a restart.
        let (name, role) = self.by_connection(&peer.proof)?;
        Ok((name, role, Validity::constant()))
    }

    /// Returns the caller with that token, valid as long as the token belongs to the same name.
    fn by_token(&self, token: &[u8]) -> Option<(String, Role, Validity)> {
        // Subscribed first, so that no change is missed.
        let changes = self.changes.subscribe();
        let digest = Digest::of(token);
        let (name, role) = self.tokens.load().find(&digest)?;
        let (tokens, owner) = (self.tokens.clone(), name.clone());
        let validity = Validity::changing(changes, move || {
            let (name, role) = tokens.load().find(&digest)?;
            (name == owner).then_some(role)
        });
        Some((name, role, validity))
    }

    /// Returns name and role for the credentials of the connection.
    fn by_connection(&self, proof: &Credential) -> Result<(String, Role), &'static str> {
        match proof {
            Credential::None => Err("no credentials were sent"),
            Credential::Names(names) => {
                let with_role =
                    names.iter().filter_map(|name| Some((name, self.certified.get(name)?)));
                let highest = with_role.max_by_key(|(_, role)| **role);
                let highest = highest.map(|(name, role)| (name.text().to_owned(), *role));
                highest.ok_or("no name in the certificate has a role")
            }
            Credential::User(uid) => {
                let role = self.users.get(uid).ok_or("the user of the socket has no role")?;
                Ok((format!("uid {uid}"), *role))
            }
        }
    }

    fn log(&self, peer: &Peer, reason: &str) {
        let Some(unlogged) = self.refusals.permit() else { return };
        warn!(peer = %peer.from, reason, unlogged, "admin call refused");
    }
}

/// Returns the token of `authorization: Bearer TOKEN`, if the header exists.
fn bearer(headers: &HeaderMap) -> Result<Option<&[u8]>, &'static str> {
    let mut sent = headers.get_all(AUTHORIZATION).iter();
    let Some(header) = sent.next() else { return Ok(None) };
    if sent.next().is_some() {
        return Err("there is more than one authorization header");
    }
    let header = header.as_bytes();
    let space = header.iter().position(|byte| *byte == b' ').unwrap_or(header.len());
    let (scheme, rest) = header.split_at(space);
    let token = rest.trim_ascii();
    if !scheme.eq_ignore_ascii_case(b"bearer") || token.is_empty() {
        return Err("the authorization header holds no bearer token");
    }
    if token.len() > TOKEN_MAX_BYTES {
        return Err("the token is too long");
    }
    Ok(Some(token))
}
