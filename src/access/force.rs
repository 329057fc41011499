//! Permission for mode FORCE, which writes even over a limit.
//!
//! The setting is for the data plane: it does not apply to the journal's replay and reconciliation.

use std::fmt;

use super::{Credential, Peer};

/// Callers of the data plane that may use mode FORCE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForcePolicy {
    /// All callers.
    Allow,
    /// Callers with a verified client certificate.
    Certificates,
    /// No callers.
    Deny,
}

/// Error of a caller that may not use mode FORCE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForceRefused {
    policy: ForcePolicy,
    is_default: bool,
}

impl fmt::Display for ForceRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by_default = if self.is_default {
            ", its default on listeners that other machines can reach"
        } else {
            ""
        };
        match self.policy {
            ForcePolicy::Certificates => write!(
                f,
                "mode FORCE needs a verified client certificate: the setting `force` is \
                 certificates{by_default}; nothing was done"
            ),
            _ => f.write_str("mode FORCE is off: the setting `force` is deny; nothing was done"),
        }
    }
}

/// Checks that the caller at a peer may use mode FORCE. Without a policy all callers may on
/// listeners that only this machine reaches, and callers with a certificate on others.
pub fn check(policy: Option<ForcePolicy>, peer: Option<&Peer>) -> Result<(), ForceRefused> {
    let by_default = || match peer {
        Some(peer) if peer.listener_is_local => ForcePolicy::Allow,
        // An unknown listener counts as one that other machines can reach.
        _ => ForcePolicy::Certificates,
    };
    let has_certificate = peer.is_some_and(|peer| matches!(peer.proof, Credential::Names(_)));
    let is_default = policy.is_none();
    match policy.unwrap_or_else(by_default) {
        ForcePolicy::Allow => Ok(()),
        ForcePolicy::Certificates if has_certificate => Ok(()),
        policy => Err(ForceRefused { policy, is_default }),
    }
}
