//! What ends a stream beside its caller: the age of its connection, and the shutdown of the server.
//!
//! When the server shuts down, a stream is read until its first pause, for [`READ_AT_SHUTDOWN`] at
//! most. When its connection has reached its age, it is not read any more.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;

use crate::clock::Stopwatch;
use crate::grpc::connection_age::ConnectionAge;
use crate::grpc::status::of_shutdown;

/// Advice for the caller of a stream that ends because of its connection's age.
const AFTER_AGE: &str = "requests without an answer were not done; begin a new stream";
/// A stream that pauses for this time is not read any more once the server shuts down.
const PAUSE_AT_SHUTDOWN: Duration = Duration::from_millis(100);
/// Longest time for which a stream is read once the server shuts down.
const READ_AT_SHUTDOWN: Duration = Duration::from_secs(1);

/// The events that end a stream, as far as they have occurred.
pub struct Stops {
    connection_age: BoxFuture<'static, Status>,
    /// The error of a stream whose connection has reached its age.
    aged: Option<Status>,
    shutdown: Pin<Box<WaitForCancellationFutureOwned>>,
    shutdown_began: Option<Stopwatch>,
    /// The current pause of the stream, after the shutdown began.
    pub pause: Option<Pin<Box<Sleep>>>,
}

impl Stops {
    /// Creates the events of a stream of that connection.
    pub fn new(connection_age: ConnectionAge, shutdown: CancellationToken) -> Self {
        Self {
            connection_age: Box::pin(async move { connection_age.reached(AFTER_AGE).await }),
            aged: None,
            shutdown: Box::pin(shutdown.cancelled_owned()),
            shutdown_began: None,
            pause: None,
        }
    }

    /// Records what has occurred, and has the task woken at the next event.
    pub fn poll(&mut self, context: &mut Context<'_>) {
        if self.aged.is_none()
            && let Poll::Ready(status) = self.connection_age.as_mut().poll(context)
        {
            self.aged = Some(status);
        }
        if self.shutdown_began.is_none() && self.shutdown.as_mut().poll(context).is_ready() {
            self.shutdown_began = Some(Stopwatch::start());
        }
    }

    /// Returns the error with which the stream ends before its next request, if it does.
    pub fn check(&mut self) -> Result<(), Status> {
        if let Some(status) = self.aged.take() {
            return Err(status);
        }
        match &self.shutdown_began {
            Some(began) if began.elapsed() > READ_AT_SHUTDOWN => Err(ends()),
            _ => Ok(()),
        }
    }

    /// Waits until a stream without a further request has paused for too long.
    pub fn poll_pause(&mut self, context: &mut Context<'_>) -> Poll<Status> {
        if self.shutdown_began.is_none() {
            return Poll::Pending;
        }
        let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(PAUSE_AT_SHUTDOWN)));
        pause.as_mut().poll(context).map(|()| ends())
    }
}

fn ends() -> Status {
    of_shutdown("begin a new stream")
}
