//! Time limits for the head of a request over HTTP/1.1: for the first byte of a connection, and
//! from the first byte of a head to its end. A connection that is kept alive has none between two
//! requests.

use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::timeout;

/// Longest time for the first byte of a connection.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(5);

/// State of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No byte has arrived yet.
    Fresh,
    /// A part of a head has arrived.
    Head,
    /// A request is handled.
    Busy,
    /// A request was answered, and no byte of the next one has arrived.
    Idle,
}

impl Phase {
    /// Returns the longest time in this phase; `longest` is that of a head from its first byte.
    fn limit(self, longest: Duration) -> Option<Duration> {
        match self {
            Self::Fresh => Some(FIRST_BYTE_TIMEOUT),
            Self::Head => Some(longest),
            Self::Busy | Self::Idle => None,
        }
    }
}

/// The phase of one connection.
#[derive(Debug, Clone)]
pub(super) struct HeadTimer(Arc<watch::Sender<Phase>>);

impl HeadTimer {
    pub(super) fn start() -> Self {
        Self(Arc::new(watch::Sender::new(Phase::Fresh)))
    }

    /// Records that a head is complete. The request lasts until the value is dropped.
    pub(super) fn head_ends(&self) -> Request {
        self.0.send_replace(Phase::Busy);
        Request(self.clone())
    }

    fn byte_arrives(&self) {
        let begins = |phase: &mut Phase| {
            let begins = matches!(phase, Phase::Fresh | Phase::Idle);
            if begins {
                *phase = Phase::Head;
            }
            begins
        };
        self.0.send_if_modified(begins);
    }

    /// Waits until a head is late: `longest` is the time from its first byte.
    pub(super) async fn is_late(&self, longest: Duration) {
        let mut phases = self.0.subscribe();
        loop {
            let limit = phases.borrow_and_update().limit(longest);
            let changed = phases.changed();
            let is_over = match limit {
                Some(limit) => timeout(limit, changed).await.is_err(),
                None => changed.await.is_err(),
            };
            match (is_over, limit) {
                (true, Some(_)) => return,
                // The sender lives as long as this.
                (true, None) => pending().await,
                (false, _) => {}
            }
        }
    }
}

/// A request that is handled.
pub(super) struct Request(HeadTimer);

impl Drop for Request {
    fn drop(&mut self) {
        self.0.0.send_replace(Phase::Idle);
    }
}

/// A stream whose first bytes of each head are recorded.
pub(super) struct Timed<S> {
    pub(super) stream: S,
    pub(super) timer: HeadTimer,
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.timer.byte_arrives();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(1);

    fn limit(timer: &HeadTimer) -> Option<Duration> {
        timer.0.borrow().limit(LONGEST)
    }

    #[test]
    fn a_silent_connection_and_a_head_have_a_limit_and_an_idle_connection_has_none() {
        let timer = HeadTimer::start();
        assert_eq!(limit(&timer), Some(FIRST_BYTE_TIMEOUT));
        timer.byte_arrives();
        assert_eq!(limit(&timer), Some(LONGEST));
        let request = timer.head_ends();
        timer.byte_arrives();
        assert_eq!(limit(&timer), None, "a body has another limit");
        drop(request);
        assert_eq!(limit(&timer), None, "it is kept alive");
        timer.byte_arrives();
        assert_eq!(limit(&timer), Some(LONGEST));
    }

    #[tokio::test]
    async fn a_late_head_is_noticed() {
        let timer = HeadTimer::start();
        timer.byte_arrives();
        timer.is_late(Duration::ZERO).await;
    }
}
