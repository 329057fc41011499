//! An authenticated caller, and the validity of their credentials while a call lasts.

use std::sync::Arc;

use tokio::sync::watch;

use super::Role;
use crate::domain::audit::Actor;

/// An authenticated caller of the admin service.
#[derive(Clone)]
pub struct Principal {
    /// The name and the peer.
    pub actor: Actor,
    /// The role at the start of the call.
    pub role: Role,
    /// Validity of the credentials.
    pub validity: Validity,
    /// False if none are required; then every caller has the same name.
    pub has_credentials: bool,
}

/// Validity of credentials, which are looked up again after each change of the accepted ones.
#[derive(Clone)]
pub struct Validity(Option<Revocable>);

/// Credentials that may be revoked.
#[derive(Clone)]
struct Revocable {
    changes: watch::Receiver<()>,
    role: Arc<dyn Fn() -> Option<Role> + Send + Sync>,
}

impl Validity {
    /// Credentials that are valid as long as the process runs.
    #[must_use]
    pub fn constant() -> Self {
        Self(None)
    }

    /// Credentials whose role `role` looks up; `None` if they were revoked. A message on `changes`
    /// follows each change.
    #[must_use]
    pub fn changing(
        changes: watch::Receiver<()>,
        role: impl Fn() -> Option<Role> + Send + Sync + 'static,
    ) -> Self {
        Self(Some(Revocable { changes, role: Arc::new(role) }))
    }

    /// Checks that credentials which once granted the role `least` still do. The error is the role
    /// that they grant now, if any.
    pub fn check(&self, least: Role) -> Result<(), Option<Role>> {
        let Some(Revocable { role, .. }) = &self.0 else { return Ok(()) };
        match role() {
            Some(role) if role >= least => Ok(()),
            found => Err(found),
        }
    }

    /// Waits for the next change of the accepted credentials; returns false if none can follow.
    pub async fn changed(&mut self) -> bool {
        match &mut self.0 {
            Some(Revocable { changes, .. }) => changes.changed().await.is_ok(),
            None => false,
        }
    }
}
