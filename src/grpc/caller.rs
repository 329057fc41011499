//! Who makes a call, as the listener has found out.

use tonic::{Request, Status};

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The name and the peer.
    pub actor: Actor,
    /// What they may do.
    pub role: Role,
}

/// The caller of a request, who has to have at least that role for `what`.
pub fn require<T>(request: &Request<T>, role: Role, what: &str) -> Result<Actor, Status> {
    let Some(caller) = request.extensions().get::<Caller>() else {
        return Err(Status::unauthenticated("the caller is not known"));
    };
    if caller.role < role {
        let (name, has, needs) = (&caller.actor.name, caller.role.name(), role.name());
        return Err(Status::permission_denied(format!(
            "{what} needs the role {needs}, and \"{name}\" has {has}"
        )));
    }
    Ok(caller.actor.clone())
}
