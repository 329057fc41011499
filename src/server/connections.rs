//! Accepts connections, at most so many at once, and survives when the system has no more to give.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{self, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::server::Connected;
use tracing::warn;

/// Most connections of a listener at once: IM servers keep a few each; more wait to be accepted.
const CONNECTIONS_MAX: usize = 1024;
/// Time before the next connection is accepted after one could not be, so that a process without
/// file descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Something that accepts connections.
pub trait Accept: Send + 'static {
    /// One connection.
    type Connection: Send + 'static;

    /// The next connection.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Connection>> + Send;
}

impl Accept for TcpListener {
    type Connection = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        let (stream, _) = Self::accept(self).await?;
        // Answers are small and must not wait for each other.
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Accept for UnixListener {
    type Connection = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        Self::accept(self).await.map(|(stream, _)| stream)
    }
}

/// The connections of a listener, at most [`CONNECTIONS_MAX`] at once. Never ends.
pub fn incoming<A: Accept + Sync>(
    listener: A,
) -> impl Stream<Item = io::Result<Counted<A::Connection>>> {
    accept_up_to(listener, CONNECTIONS_MAX)
}

/// The connections of a listener, at most `most` at once. Never ends.
pub fn accept_up_to<A: Accept + Sync>(
    listener: A,
    most: usize,
) -> impl Stream<Item = io::Result<Counted<A::Connection>>> {
    let free = Arc::new(Semaphore::new(most));
    stream::unfold((listener, free), |(listener, free)| async move {
        // The semaphore is never closed.
        let permit = free.clone().acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok(connection) => {
                    let counted = Counted { connection, _permit: permit };
                    return Some((Ok(counted), (listener, free)));
                }
                Err(error) => {
                    warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

/// A connection that counts until it is dropped.
pub struct Counted<C> {
    connection: C,
    _permit: OwnedSemaphorePermit,
}

impl<C: AsyncRead + Unpin> AsyncRead for Counted<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_read(context, buffer)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Counted<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(context)
    }
}

impl<C: Connected> Connected for Counted<C> {
    type ConnectInfo = C::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.connection.connect_info()
    }
}
