//! Accepts the connections of a listener, opens each, and serves it until it ends.

use std::future::{Ready, ready};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::connections::{Accept, Accepted, incoming};
use super::places::{Place, Places};
use crate::access::Peer;

/// A connection that is ready for requests.
pub(super) struct Opened<S> {
    pub(super) stream: S,
    pub(super) peer: Peer,
    /// The address that the client has connected to; `None` for a Unix socket.
    pub(super) own: Option<IpAddr>,
    pub(super) place: Place,
    /// Cancelled when the listener stops.
    pub(super) stopped: CancellationToken,
}

/// Opens a connection without encryption.
pub(super) fn as_it_is<S>(accepted: Accepted<S>) -> Ready<Option<(S, Peer)>> {
    ready(Some((accepted.stream, accepted.peer)))
}

/// Serves each connection that `open` opens, until `stopped` is cancelled and all have ended.
pub(super) async fn serve_each<A, S, O, F>(
    listener: A,
    places: Arc<Places>,
    open: impl Fn(Accepted<A::Stream>) -> O,
    serve: impl Fn(Opened<S>) -> F + Clone + Send + 'static,
    stopped: CancellationToken,
) where
    A: Accept,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    O: Future<Output = Option<(S, Peer)>> + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    {
        let mut incoming = pin!(incoming(listener, places));
        loop {
            let (accepted, place) = tokio::select! {
                Some(next) = incoming.next() => next,
                Some(_) = connections.join_next() => continue,
                () = stopped.cancelled() => break,
            };
            let own = accepted.own;
            let opening = open(accepted);
            // A child has a lock of its own: connections do not wait for each other's polls.
            let (serve, stopped) = (serve.clone(), stopped.child_token());
            connections.spawn(async move {
                let opened = tokio::select! {
                    opened = opening => opened,
                    () = place.connection.evicted() => None,
                    () = stopped.cancelled() => None,
                };
                if let Some((stream, peer)) = opened {
                    serve(Opened { stream, peer, own, place, stopped }).await;
                }
            });
        }
    }
    while connections.join_next().await.is_some() {}
}
