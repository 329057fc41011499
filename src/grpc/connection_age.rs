//! Ends streams whose connection has reached its age.
//!
//! A connection that never ends keeps its client at one sidecar, whatever their number. At its age
//! the client gets GOAWAY, to connect anew, and streams that never end by themselves end with
//! UNAVAILABLE, reason CONNECTION_AGE. Calls that end by themselves are not affected.

use tokio_util::sync::CancellationToken;
use tonic::{Extensions, Status};

use super::error_reason::ErrorReason;
use super::status::of_reason;

/// Reports when the connection of a call has reached its age.
#[derive(Debug, Clone, Default)]
pub struct ConnectionAge(CancellationToken);

impl ConnectionAge {
    /// Creates the age of a connection that cancels `reached` when it is reached.
    #[must_use]
    pub fn new(reached: CancellationToken) -> Self {
        Self(reached)
    }

    /// Returns the age of the connection of a request. It is never reached if the request has none,
    /// as in tests.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get().cloned().unwrap_or_default()
    }

    /// Waits until the age is reached, and returns the status that ends the stream. `advice` is for
    /// the caller: how to continue. Cancel safe.
    pub async fn reached(&self, advice: &str) -> Status {
        self.0.cancelled().await;
        let message =
            format!("the connection has reached its age (--connection-age-max-ms); {advice}");
        of_reason(ErrorReason::ConnectionAge, &message)
    }
}
