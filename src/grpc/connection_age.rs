//! The end of streams whose connection has reached its age.
//!
//! A connection that never ends keeps its client at one sidecar, however many there are. At its age
//! the client has been told by GOAWAY to connect anew, and streams that never end by themselves end
//! with UNAVAILABLE, reason CONNECTION_AGE. Calls that end by themselves are not concerned.

use std::future::pending;

use tokio::sync::watch;
use tonic::{Extensions, Status};

use super::error_reason::ErrorReason;
use super::status::of_reason;

/// Whether the connection of a call has reached its age.
#[derive(Debug, Clone)]
pub struct ConnectionAge(Option<watch::Receiver<bool>>);

impl ConnectionAge {
    /// The age of a connection that sends `true` when it is reached.
    #[must_use]
    pub fn new(reached: watch::Receiver<bool>) -> Self {
        Self(Some(reached))
    }

    /// The age of the connection that a request came on. It is never reached if the request has
    /// none, as in tests.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get().cloned().unwrap_or(Self(None))
    }

    /// Waits until the age is reached, and returns the status that ends the stream. `advice` says
    /// how to go on. Can be dropped and called again.
    pub async fn reached(&mut self, advice: &str) -> Status {
        let reached = match &mut self.0 {
            Some(age) => age.wait_for(|reached| *reached).await.is_ok(),
            None => false,
        };
        if !reached {
            return pending().await;
        }
        let message =
            format!("the connection has reached its age (--connection-age-max-ms); {advice}");
        of_reason(ErrorReason::ConnectionAge, &message)
    }
}
