//! Who may call the administration: from a peer and what it shows to a [`Caller`].
//!
//! A bearer token decides alone where one is sent; else a name in the client's certificate; else
//! the user of a Unix socket. Where the configuration asks for nothing of this, everybody who
//! reaches the listener is `local` with the role owner. A refusal never says what was wrong: the
//! log does, at most once a second. Whether a role is enough for a call is the service's business.

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

/// Who everybody is where nobody has to prove it.
pub const LOCAL: &str = "local";

/// The other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address, or our socket's path with its user.
    pub from: Arc<str>,
    /// What the connection itself proves.
    pub proof: Proof,
    /// Whether only this machine reaches our listener: a Unix socket or a loopback address.
    pub listener_is_local: bool,
}

/// What a connection proves about its other end.
#[derive(Debug, Clone)]
pub enum Proof {
    /// Nothing.
    None,
    /// The DNS names and URIs of a certificate that was verified.
    Names(Arc<[CertificateName]>),
    /// The user of the process at a Unix socket.
    User(u32),
}

/// Knows who may call.
pub struct Access {
    open: bool,
    tokens: Arc<ArcSwap<Tokens>>,
    /// A message follows each change of the tokens.
    changes: watch::Sender<()>,
    certified: BTreeMap<CertificateName, Role>,
    users: BTreeMap<u32, Role>,
    /// Guessing cannot fill the log.
    refusals: LogLimit,
    metrics: Arc<Metrics>,
}

impl Access {
    /// By the configuration and the tokens in its file.
    pub fn open(config: &AccessConfig, metrics: Arc<Metrics>) -> Result<Self, LoadError> {
        let tokens = match &config.tokens_file {
            Some(path) => Tokens::load(path)?,
            None => Tokens::default(),
        };
        if config.is_open() {
            warn!(
                "the admin service asks for no credentials: everybody who reaches its listener \
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

    /// Takes these tokens from now on, and no others. Calls in work by other tokens end.
    pub fn change_tokens(&self, tokens: Tokens) {
        self.tokens.store(Arc::new(tokens));
        self.changes.send_replace(());
    }

    /// The request with its [`Caller`], or UNAUTHENTICATED.
    pub fn admit(&self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let Some(peer) = peer else {
            // Every listener says who is there; without that nobody is known.
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

    /// Name, role and whether they still hold, or for the log what is wrong.
    fn caller(
        &self,
        peer: &Peer,
        metadata: &MetadataMap,
    ) -> Result<(String, Role, Validity), &'static str> {
        if self.open {
            return Ok((LOCAL.to_owned(), Role::Owner, Validity::constant()));
        }
        if let Some(token) = bearer(metadata)? {
            return self.by_token(token).ok_or("the token is not known");
        }
        // Roles in settings change with a restart only.
        let (name, role) = self.by_connection(&peer.proof)?;
        Ok((name, role, Validity::constant()))
    }

    /// The caller with that token. It holds as long as it is the same person's.
    fn by_token(&self, token: &[u8]) -> Option<(String, Role, Validity)> {
        // First, so that no change is missed between the two.
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

    /// Name and role by what the connection proves.
    fn by_connection(&self, proof: &Proof) -> Result<(String, Role), &'static str> {
        match proof {
            Proof::None => Err("no credentials were sent"),
            Proof::Names(names) => {
                let known = names.iter().filter_map(|name| Some((name, self.certified.get(name)?)));
                let highest = known.max_by_key(|(_, role)| **role);
                let highest = highest.map(|(name, role)| (name.text().to_owned(), *role));
                highest.ok_or("no name in the certificate has a role")
            }
            Proof::User(uid) => {
                let role = self.users.get(uid).ok_or("the user of the socket has no role")?;
                Ok((format!("uid {uid}"), *role))
            }
        }
    }

    fn log(&self, peer: &Peer, reason: &str) {
        let Some(unlogged) = self.refusals.permit() else { return };
        warn!(peer = %peer.from, reason, unlogged, "a caller of the admin service was refused");
    }
}

/// The same for everybody who is refused.
fn refusal() -> Status {
    of_reason(
        ErrorReason::CredentialsInvalid,
        "the admin service needs valid credentials: a token, a client certificate or a user of \
         its Unix socket that has a role",
    )
}

/// The token of `authorization: Bearer TOKEN`, where the header is there.
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
