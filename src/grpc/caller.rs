//! Who makes a call, as the listener has found out, and whether they still may while it lasts.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;
use tonic::{Request, Status};

use super::error_reason::ErrorReason;
use super::status::{of_low_role, of_reason, of_revoked};
use crate::domain::audit::Actor;

/// What a caller may do. Each may do what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Read.
    Viewer,
    /// Sell, refund and repair.
    Operator,
    /// Also date changes back.
    Owner,
}

impl Role {
    /// The role of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Viewer, Self::Operator, Self::Owner].into_iter().find(|role| role.name() == name)
    }

    /// In words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Owner => "owner",
        }
    }
}

/// A caller of the administration.
#[derive(Clone)]
pub struct Caller {
    /// The name and the peer.
    pub actor: Actor,
    /// What they may do.
    pub role: Role,
    /// Whether the credentials still hold.
    pub validity: Validity,
    /// Whether they have any; without, every caller has the same name.
    pub has_credentials: bool,
}

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

impl Caller {
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

/// Whether credentials still hold. They are looked up again at each change of what is accepted.
#[derive(Clone)]
pub struct Validity(Option<Changing>);

/// Credentials that may be revoked.
#[derive(Clone)]
struct Changing {
    changes: watch::Receiver<()>,
    role: Arc<dyn Fn() -> Option<Role> + Send + Sync>,
}

impl Validity {
    /// Credentials that hold as long as the process runs.
    #[must_use]
    pub fn constant() -> Self {
        Self(None)
    }

    /// Credentials whose role `role` looks up; `None` where they were revoked. A message on
    /// `changes` follows each change.
    #[must_use]
    pub fn changing(
        changes: watch::Receiver<()>,
        role: impl Fn() -> Option<Role> + Send + Sync + 'static,
    ) -> Self {
        Self(Some(Changing { changes, role: Arc::new(role) }))
    }
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
        let Some(Changing { role, .. }) = &self.validity.0 else { return Ok(()) };
        match role() {
            Some(role) if role >= self.least => Ok(()),
            found => Err(of_revoked(self.what, found.map(Role::name), self.least.name())),
        }
    }

    /// Waits until the caller could not make the call any more, and returns the status that ends
    /// it. Can be dropped and called again.
    pub async fn revoked(&mut self) -> Status {
        loop {
            if let Err(status) = self.check() {
                return status;
            }
            let changed = match &mut self.validity.0 {
                Some(Changing { changes, .. }) => changes.changed().await.is_ok(),
                None => false,
            };
            if !changed {
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
    caller(request, role, what).map(Caller::key)
}

/// The caller of a request that lasts, and their right to go on with it.
pub fn require_lasting<T>(
    request: &Request<T>,
    least: Role,
    what: &'static str,
) -> Result<(Caller, Authorization), Status> {
    let caller = caller(request, least, what)?.clone();
    let authorization = Authorization { validity: caller.validity.clone(), least, what };
    Ok((caller, authorization))
}

fn caller<'r, T>(request: &'r Request<T>, role: Role, what: &str) -> Result<&'r Caller, Status> {
    let Some(caller) = request.extensions().get::<Caller>() else {
        return Err(of_reason(ErrorReason::CredentialsInvalid, "the caller is not known"));
    };
    if caller.role < role {
        let (name, has, needs) = (&caller.actor.name, caller.role.name(), role.name());
        return Err(of_low_role(what, name, has, needs));
    }
    Ok(caller)
}
