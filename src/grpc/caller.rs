//! The caller of a call, as the listener has authenticated them, and the end of calls whose caller
//! loses the right to them.

use std::future::pending;
use std::net::SocketAddr;

use tonic::{Request, Status};

use super::error_reason::ErrorReason;
use super::status::{of_low_role, of_reason, of_revoked};
use crate::access::{Access, Peer, Principal, Role, Validity};
use crate::domain::audit::Actor;

/// Key by which permits are counted: the name of the credentials, and without credentials the host
/// of the caller.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CallerKey {
    name: String,
    host: String,
}

impl CallerKey {
    /// Creates the key of a name. `host` distinguishes callers without credentials of their own,
    /// and is empty for others.
    #[must_use]
    pub fn of(name: &str, host: &str) -> Self {
        Self { name: name.to_owned(), host: host.to_owned() }
    }

    /// Returns the key as text for messages.
    #[must_use]
    pub fn name(&self) -> String {
        let Self { name, host } = self;
        if host.is_empty() { name.clone() } else { format!("{name} from {host}") }
    }
}

impl Principal {
    /// Returns the key by which permits are counted.
    #[must_use]
    pub fn key(&self) -> CallerKey {
        let Actor { name, from } = &self.actor;
        if self.has_credentials {
            return CallerKey::of(name, "");
        }
        let address = from.parse().map(|address: SocketAddr| address.ip().to_canonical());
        CallerKey::of(name, &address.map_or_else(|_| from.clone(), |address| address.to_string()))
    }
}

/// Authenticates the caller of an admin request, and adds their [`Principal`] to it. A refusal has
/// the same status for every reason.
pub fn authenticate(access: &Access, mut request: Request<()>) -> Result<Request<()>, Status> {
    // Every listener sets the peer; without one the caller cannot be identified.
    let peer = request.extensions().get::<Peer>();
    let principal = peer.and_then(|peer| access.authenticate(peer, request.metadata().as_ref()));
    let Some(principal) = principal else {
        return Err(of_reason(
            ErrorReason::CredentialsInvalid,
            "the admin service needs valid credentials: a token, a client certificate or a user \
             of its Unix socket that has a role",
        ));
    };
    request.extensions_mut().insert(principal);
    Ok(request)
}

/// Right of a long call, such as a stream, to continue.
#[derive(Clone)]
pub struct Authorization {
    validity: Validity,
    least: Role,
    what: &'static str,
}

impl Authorization {
    /// Returns an error if the caller may not make the call any more.
    pub fn check(&self) -> Result<(), Status> {
        let revoked =
            |found: Option<Role>| of_revoked(self.what, found.map(Role::name), self.least.name());
        self.validity.check(self.least).map_err(revoked)
    }

    /// Waits until the caller may not make the call any more, and returns the status that ends it.
    /// Cancel safe.
    pub async fn revoked(&mut self) -> Status {
        loop {
            if let Err(status) = self.check() {
                return status;
            }
            if !self.validity.changed().await {
                return pending().await;
            }
        }
    }
}

/// Returns the caller of a request, who needs at least that role for `what`.
pub fn require<T>(request: &Request<T>, role: Role, what: &str) -> Result<Actor, Status> {
    caller(request, role, what).map(|caller| caller.actor.clone())
}

/// Returns the caller of a request whose number in flight is bounded.
pub fn require_counted<T>(
    request: &Request<T>,
    role: Role,
    what: &str,
) -> Result<CallerKey, Status> {
    caller(request, role, what).map(Principal::key)
}

/// Returns the caller of a long request, and their right to continue it.
pub fn require_lasting<T>(
    request: &Request<T>,
    least: Role,
    what: &'static str,
) -> Result<(Principal, Authorization), Status> {
    let caller = caller(request, least, what)?.clone();
    let authorization = Authorization { validity: caller.validity.clone(), least, what };
    Ok((caller, authorization))
}

fn caller<'r, T>(request: &'r Request<T>, role: Role, what: &str) -> Result<&'r Principal, Status> {
    let Some(caller) = request.extensions().get::<Principal>() else {
        return Err(of_reason(ErrorReason::CredentialsInvalid, "the caller is not authenticated"));
    };
    if caller.role < role {
        let (name, has, needs) = (&caller.actor.name, caller.role.name(), role.name());
        return Err(of_low_role(what, name, has, needs));
    }
    Ok(caller)
}
