//! Authentication of admin callers: from a peer and its credentials to a [`Caller`].
//!
//! If a bearer token is sent, it alone decides; else a name in the client's certificate; else the
//! user of a Unix socket. If the configuration requires none of these, every caller that reaches
//! the listener is `local` with the role owner. A refusal never states the reason: the log does, at
//! most once a second. The service checks whether a role is sufficient for a call.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};
use tracing::warn;

use crate::catalog::LoadError;
use crate::config::{AccessConfig, CertificateName};
use crate::domain::audit::Actor;
use crate::grpc::error_reason::ErrorReason;
use crate::grpc::status::of_reason;
use crate::grpc::{Caller, Role, Validity};
use crate::telemetry::{LogLimit, Metrics};

mod tokens;

pub use tokens::{Digest, ROLES, TOKEN_MAX_BYTES, Tokens, is_name, line_of, make_token};

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
    /// Creates the authenticator from the configuration and the tokens in its file.
    pub fn open(config: &AccessConfig, metrics: Arc<Metrics>) -> Result<Self, LoadError> {
        let tokens = match &config.tokens_file {
            Some(path) => Tokens::load(path)?,
            None => Tokens::default(),
        };
        if config.is_open() {
            warn!(
                "the admin service asks for no credentials: every caller that reaches its listener \
                 is \"{LOCAL}\" with the role owner"
            );
        }
        Ok(Self {
            open: config.is_open(),
            tokens: Arc::new(ArcSwap::from_pointee(tokens)),
            changes: watch::Sender::new(()),
            certified: config.client_roles.clone(),
            users: config.unix_uids.clone(),
            refusals: LogLimit::default(),
            metrics,
        })
    }

    /// Accepts these tokens from now on, and no others. Calls in flight with other tokens end.
    pub fn change_tokens(&self, tokens: Tokens) {
        self.tokens.store(Arc::new(tokens));
        self.changes.send_replace(());
    }

    /// Returns the request with its [`Caller`], or UNAUTHENTICATED.
    pub fn admit(&self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let Some(peer) = peer else {
            // Every listener sets the peer; without one the caller cannot be identified.
            return Err(refusal());
        };
        match self.caller(&peer, request.metadata()) {
            Ok((name, role, validity)) => {
                let actor = Actor { name, from: peer.from.to_string() };
                let has_credentials = !self.open;
                let caller = Caller { actor, role, validity, has_credentials };
                request.extensions_mut().insert(caller);
                Ok(request)
            }
            Err(reason) => {
                self.metrics.caller_refused();
                self.log(&peer, reason);
                Err(refusal())
            }
        }
    }

    /// Returns the name, the role and their validity, or the problem for the log.
    fn caller(
        &self,
        peer: &Peer,
        metadata: &MetadataMap,
    ) -> Result<(String, Role, Validity), &'static str> {
        if self.open {
            return Ok((LOCAL.to_owned(), Role::Owner, Validity::constant()));
        }
        if let Some(token) = bearer(metadata)? {
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

/// Returns the same status for all refused callers.
fn refusal() -> Status {
    of_reason(
        ErrorReason::CredentialsInvalid,
        "the admin service needs valid credentials: a token, a client certificate or a user of \
         its Unix socket that has a role",
    )
}

/// Returns the token of `authorization: Bearer TOKEN`, if the header exists.
fn bearer(metadata: &MetadataMap) -> Result<Option<&[u8]>, &'static str> {
    let mut headers = metadata.get_all(http::header::AUTHORIZATION.as_str()).iter();
    let Some(header) = headers.next() else { return Ok(None) };
    if headers.next().is_some() {
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
