//! Who makes a call, as the listener has found out, and whether they still may while it lasts.

use std::future::pending;
use std::net::SocketAddr;

use tonic::{Request, Status};

use super::error_reason::ErrorReason;
use super::status::{of_low_role, of_reason, of_revoked};
use crate::access::{Access, Peer, Principal, Role, Validity};
use crate::domain::audit::Actor;

/// Whom permits are counted for: the name that the credentials stand for, and without credentials
/// the host that calls.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CallerKey {
    name: String,
    host: String,
}

impl CallerKey {
    /// The caller of that name. `host` distinguishes callers without credentials of their own, and
    /// is empty for others.
    #[must_use]
    pub fn of(name: &str, host: &str) -> Self {
        Self { name: name.to_owned(), host: host.to_owned() }
    }

    /// In words.
    #[must_use]
    pub fn name(&self) -> String {
        let Self { name, host } = self;
        if host.is_empty() { name.clone() } else { format!("{name} from {host}") }
    }
}

impl Principal {
    /// Whom permits are counted for.
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

/// The right of a call that lasts, such as a stream, to go on.
#[derive(Clone)]
pub struct Authorization {
    validity: Validity,
    least: Role,
    what: &'static str,
}

impl Authorization {
    /// An error if the caller could not make the call any more.
    pub fn check(&self) -> Result<(), Status> {
        let revoked =
            |found: Option<Role>| of_revoked(self.what, found.map(Role::name), self.least.name());
        self.validity.check(self.least).map_err(revoked)
    }

    /// Waits until the caller could not make the call any more, and returns the status that ends
    /// it. Can be dropped and called again.
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

/// The caller of a request, who has to have at least that role for `what`.
pub fn require<T>(request: &Request<T>, role: Role, what: &str) -> Result<Actor, Status> {
    caller(request, role, what).map(|caller| caller.actor.clone())
}

/// The caller of a request of which a bounded number may be in work.
pub fn require_counted<T>(
    request: &Request<T>,
    role: Role,
    what: &str,
) -> Result<CallerKey, Status> {
    caller(request, role, what).map(Principal::key)
}

/// The caller of a request that lasts, and their right to go on with it.
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
        return Err(of_reason(ErrorReason::CredentialsInvalid, "the caller is not known"));
    };
    if caller.role < role {
        let (name, has, needs) = (&caller.actor.name, caller.role.name(), role.name());
        return Err(of_low_role(what, name, has, needs));
    }
    Ok(caller)
}
