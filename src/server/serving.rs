//! Serves the connections of a listener over HTTP/2, each until it ends, is idle for too long, has
//! reached its age, has to be closed for another, or holds too much memory.

use std::convert::Infallible;
use std::error::Error as _;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::Service as HyperService;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower::Service as _;
use tracing::{debug, warn};

use super::calls::CallService;
use super::closing::{Ending, Lifetime};
use super::connections::{Accept, Accepted, Connection, incoming};
use super::descriptors;
use super::places::{ConnectionState, Place, Places};
use super::requests::{Call, RequestBody, Requests, ResponseBody};
use super::routes::is_endless;
use super::services::Services;
use super::tls::{Certificates, handshake};
use crate::access::Peer;
use crate::config::Connections;
use crate::grpc::connection_age::ConnectionAge;
use crate::grpc::deadline::timeout_of;
use crate::grpc::memory::{ConnectionMemory, MemoryBudget};
use crate::grpc::status::{Failure, of_failure, of_too_much_memory};
use crate::telemetry::LogLimit;

/// Time after which a silent connection is pinged, so that a peer that vanished does not occupy its
/// connection forever.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(60);
/// Longest time for the answer to a ping.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Bytes of one call that may be in flight and not read yet: more than a stream of small requests
/// ever needs.
pub(super) const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// Bytes of one connection that may be in flight and not read yet. HTTP/2 keeps a record for each
/// frame, however small, and h2 closes a connection whose small frames take half of this: two
/// streams of the smallest requests, whose callers send without pause while nothing is decided,
/// stay below it.
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Most bytes of a call's responses that wait in HTTP/2 for a peer that does not read.
const SEND_BUFFER_BYTES: usize = 32 * 1024;

/// Longest header of a request, all fields together: a token and a deadline are a few hundred
/// bytes.
const HEADER_MAX_BYTES: u32 = 16 * 1024;

/// Bounds of the callers of all listeners together.
pub struct CallerBounds {
    connections: Connections,
    /// Most connections of each listener.
    connections_max: usize,
    memory: Arc<MemoryBudget>,
    log: ClosedLog,
}

impl CallerBounds {
    /// Creates the bounds of `listeners`. The process's limit of file descriptors is raised if
    /// needed.
    pub(super) fn new(connections: &Connections, listeners: usize) -> Arc<Self> {
        Arc::new(Self {
            connections: connections.clone(),
            connections_max: descriptors::connections_max(connections.max, listeners),
            memory: MemoryBudget::new(connections.call_memory_bytes),
            log: ClosedLog::default(),
        })
    }
}

/// Rate-limited log of closed connections, which callers can cause in any number.
#[derive(Default)]
struct ClosedLog {
    abuse: LogLimit,
    memory: LogLimit,
}

/// The services of a listener.
#[derive(Clone)]
pub(super) struct ListenerRoutes {
    pub(super) routes: CallService<Services>,
    /// Paths of the calls that send a stream of requests.
    pub(super) client_streams: Arc<[String]>,
}

/// Settings of one listener.
#[derive(Clone)]
pub(super) struct Serving {
    listener_routes: ListenerRoutes,
    bounds: Arc<CallerBounds>,
    places: Arc<Places>,
    http2: http2::Builder<TokioExecutor>,
    /// True if connections have an age.
    has_age: bool,
}

impl Serving {
    pub(super) fn new(
        listener_routes: &ListenerRoutes,
        bounds: &Arc<CallerBounds>,
        has_age: bool,
    ) -> Self {
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(bounds.connections.streams_max)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .max_header_list_size(HEADER_MAX_BYTES)
            .keep_alive_interval(Some(KEEPALIVE_INTERVAL))
            .keep_alive_timeout(KEEPALIVE_TIMEOUT);
        let most = bounds.connections_max;
        let per_peer_max = bounds.connections.per_peer_max.unwrap_or(most.div_ceil(2));
        let places = Places::new(most, per_peer_max);
        let (listener_routes, bounds) = (listener_routes.clone(), bounds.clone());
        Self { listener_routes, bounds, places, http2, has_age }
    }
}

/// Serves a listener until `stopped` is cancelled and all connections have ended.
pub(super) async fn serve<A: Accept>(listener: A, serving: Serving, stopped: CancellationToken)
where
    A::Stream: AsyncRead + AsyncWrite + Unpin,
{
    let as_it_is =
        |accepted: Accepted<A::Stream>| std::future::ready(Some((accepted.stream, accepted.peer)));
    serve_through(listener, as_it_is, serving, stopped).await;
}

/// Serves a listener whose connections are encrypted.
pub(super) async fn serve_encrypted(
    listener: Arc<TcpListener>,
    certificates: Arc<Certificates>,
    serving: Serving,
    stopped: CancellationToken,
) {
    let encrypted = move |accepted: Accepted<_>| {
        let certificates = certificates.clone();
        async move { handshake(&certificates, accepted.stream, accepted.peer).await }
    };
    serve_through(listener, encrypted, serving, stopped).await;
}

async fn serve_through<A, S, F>(
    listener: A,
    open: impl Fn(Accepted<A::Stream>) -> F,
    serving: Serving,
    stopped: CancellationToken,
) where
    A: Accept,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Option<(S, Peer)>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    {
        let mut incoming = pin!(incoming(listener, serving.places.clone()));
        loop {
            let (accepted, place) = tokio::select! {
                Some(next) = incoming.next() => next,
                Some(_) = connections.join_next() => continue,
                () = stopped.cancelled() => break,
            };
            let startup = open(accepted);
            // A child has a lock of its own: connections do not wait for each other's polls.
            let (serving, stopped) = (serving.clone(), stopped.child_token());
            connections.spawn(async move {
                let opened = tokio::select! {
                    opened = startup => opened,
                    () = place.connection.evicted() => None,
                    () = stopped.cancelled() => None,
                };
                if let Some((stream, peer)) = opened {
                    serve_connection(stream, peer, &place, &serving, stopped).await;
                }
            });
        }
    }
    while connections.join_next().await.is_some() {}
}

async fn serve_connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    peer: Peer,
    place: &Place,
    serving: &Serving,
    stopped: CancellationToken,
) {
    let Serving { listener_routes, bounds, http2, has_age, .. } = serving;
    let CallerBounds { connections, log, .. } = bounds.as_ref();
    let from = peer.from.clone();
    let state = place.connection.clone();
    let memory = bounds.memory.connection();
    let io = Connection::new(stream, state.clone(), memory.clone());
    let calls = Calls {
        listener_routes: listener_routes.clone(),
        message_timeout: connections.message_timeout,
        peer,
        connection: state.clone(),
        memory: memory.clone(),
    };
    let mut connection = pin!(http2.serve_connection(TokioIo::new(io), calls));
    let lifetime = Lifetime::begin(connections, *has_age, state.clone(), stopped);
    let ending = tokio::select! {
        ended = &mut connection => return log.ended(&from, ended),
        () = memory.exceeded() => return log.memory_exceeded(&from),
        ending = lifetime.ends() => ending,
    };
    debug!(peer = %from, ?ending, "connection closing");
    state.closes();
    connection.as_mut().graceful_shutdown();
    if ending == Ending::Age {
        // The GOAWAY is sent before the last status of streams.
        state.reaches_age();
    }
    tokio::select! {
        ended = &mut connection => log.ended(&from, ended),
        () = memory.exceeded() => log.memory_exceeded(&from),
        () = lifetime.is_over(ending) => {}
    }
}

impl ClosedLog {
    /// Logs a peer that was cut off for its HTTP/2 frames; others have just disconnected.
    fn ended(&self, peer: &str, ended: hyper::Result<()>) {
        let Err(error) = ended else { return };
        let of_http2 = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
        let Some(cause) = of_http2.filter(|cause| cause.is_library()) else {
            debug!(peer, %error, "connection ended early");
            return;
        };
        if let Some(unlogged) = self.abuse.permit() {
            warn!(peer, error = %cause, unlogged, "connection closed: HTTP/2 protocol violated");
        }
    }

    fn memory_exceeded(&self, peer: &str) {
        if let Some(unlogged) = self.memory.permit() {
            warn!(peer, unlogged, "connection closed: it held most of the memory for calls");
        }
    }
}

/// The calls of one connection.
struct Calls {
    listener_routes: ListenerRoutes,
    message_timeout: Duration,
    peer: Peer,
    connection: Arc<ConnectionState>,
    memory: Arc<ConnectionMemory>,
}

type CallFuture = Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, Infallible>> + Send>>;

impl HyperService<Request<Incoming>> for Calls {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = CallFuture;

    fn call(&self, request: Request<Incoming>) -> CallFuture {
        let path = request.uri().path();
        let is_stream = self.listener_routes.client_streams.iter().any(|stream| stream == path);
        let requests = if is_stream { Requests::Stream } else { Requests::One };
        let is_endless = is_endless(path);
        let headers = request.headers();
        let call = Call::begin(&self.connection, &self.memory, headers, requests, is_endless);
        let Some(call) = call else {
            let refused = of_too_much_memory().into_http::<Body>();
            let refused = refused.map(|body| ResponseBody::new(body, None));
            return Box::pin(std::future::ready(Ok(refused)));
        };
        let longest = timeout_of(request.headers());
        let limit = self.message_timeout;
        let of_request = call.clone();
        let mut request =
            request.map(|body| Body::new(RequestBody::new(body, of_request, requests, limit)));
        request.extensions_mut().insert(self.peer.clone());
        if is_stream {
            request.extensions_mut().insert(self.memory.clone());
        }
        if is_endless {
            request.extensions_mut().insert(ConnectionAge::new(self.connection.aged()));
        }
        // It is always ready.
        let listener_routes = self.listener_routes.routes.clone().call(request);
        Box::pin(async move {
            let answered = match longest {
                Some(longest) => timeout(longest, listener_routes).await.ok(),
                None => Some(listener_routes.await),
            };
            let answer = match answered {
                Some(Ok(answer)) => answer,
                // Services with their own deadline return the same status.
                None => of_failure(Failure::TimedOut).into_http(),
            };
            Ok(answer.map(|body| ResponseBody::new(body, Some(call))))
        })
    }
}
