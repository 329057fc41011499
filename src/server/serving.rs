//! Serves the connections of a listener over HTTP/2 or HTTP/1.1, each until it ends, is idle for
//! too long, has reached its age, has to be closed for another, or holds too much memory.

use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::accepting::{Opened, as_it_is, serve_each};
use super::calls::CallService;
use super::closing::{Ending, Lifetime};
use super::connections::{Accept, Connection};
use super::descriptors;
use super::dispatch::Calls;
use super::places::Places;
use super::services::Services;
use super::tls::{Certificates, handshake};
use crate::config::{Config, Connections};
use crate::connect::Site;
use crate::grpc::memory::MemoryBudget;
use crate::telemetry::{CallMetrics, LogLimit};

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
/// Bytes of an HTTP/1.1 connection that are read and not used yet, or written and not sent yet: the
/// longest header too.
const HTTP1_BUFFER_BYTES: usize = 16 * 1024;

/// Bounds of the callers of all listeners together.
pub struct CallerBounds {
    pub(super) connections: Connections,
    /// Most connections of each listener.
    connections_max: usize,
    pub(super) memory: Arc<MemoryBudget>,
    /// Names by which clients over HTTP/1.1 may name this machine.
    hosts: Arc<[String]>,
    log: ClosedLog,
}

impl CallerBounds {
    /// Creates the bounds of `listeners`. The process's limit of file descriptors is raised if
    /// needed.
    pub(super) fn new(config: &Config, listeners: usize) -> Arc<Self> {
        let connections = &config.connections;
        Arc::new(Self {
            hosts: config.http_hosts.clone().into(),
            connections: connections.clone(),
            connections_max: descriptors::connections_max(connections.max, listeners),
            memory: MemoryBudget::new(connections.call_memory_bytes),
            log: ClosedLog::default(),
        })
    }

    /// Returns the places of one listener.
    pub(super) fn places(&self) -> Arc<Places> {
        let most = self.connections_max;
        let per_peer_max = self.connections.per_peer_max.unwrap_or(most.div_ceil(2));
        Places::new(most, per_peer_max)
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
    http: auto::Builder<TokioExecutor>,
    /// True if connections have an age.
    has_age: bool,
    metrics: CallMetrics,
}

impl Serving {
    pub(super) fn new(
        listener_routes: &ListenerRoutes,
        bounds: &Arc<CallerBounds>,
        has_age: bool,
        metrics: CallMetrics,
    ) -> Self {
        let mut http = auto::Builder::new(TokioExecutor::new());
        // `Connection` has the time limit for the head of a request, `Lifetime` the idle timeout.
        http.http1().header_read_timeout(None).max_buf_size(HTTP1_BUFFER_BYTES);
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(bounds.connections.streams_max)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .max_header_list_size(HEADER_MAX_BYTES)
            .keep_alive_interval(Some(KEEPALIVE_INTERVAL))
            .keep_alive_timeout(KEEPALIVE_TIMEOUT);
        let places = bounds.places();
        let (listener_routes, bounds) = (listener_routes.clone(), bounds.clone());
        Self { listener_routes, bounds, places, http, has_age, metrics }
    }
}

/// Serves a listener until `stopped` is cancelled and all connections have ended.
pub(super) async fn serve<A: Accept>(listener: A, serving: Serving, stopped: CancellationToken)
where
    A::Stream: AsyncRead + AsyncWrite + Unpin,
{
    let places = serving.places.clone();
    let serve = move |opened| serve_connection(opened, serving.clone());
    serve_each(listener, places, as_it_is, serve, stopped).await;
}

/// Serves a listener whose connections are encrypted.
pub(super) async fn serve_encrypted(
    listener: Arc<TcpListener>,
    certificates: Arc<Certificates>,
    serving: Serving,
    stopped: CancellationToken,
) {
    let places = serving.places.clone();
    let open = move |accepted| handshake(certificates.clone(), accepted);
    let serve = move |opened| serve_connection(opened, serving.clone());
    serve_each(listener, places, open, serve, stopped).await;
}

async fn serve_connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    opened: Opened<S>,
    serving: Serving,
) {
    let Opened { stream, peer, own, place, stopped } = opened;
    let Serving { listener_routes, bounds, http, has_age, metrics, .. } = &serving;
    let site = Site::new(bounds.hosts.clone(), own);
    let CallerBounds { connections, log, .. } = bounds.as_ref();
    let from = peer.from.clone();
    let state = place.connection.clone();
    let memory = bounds.memory.connection();
    let head_timeout = connections.message_timeout;
    let io = Connection::new(stream, state.clone(), memory.clone(), head_timeout);
    let calls = Calls {
        listener_routes: listener_routes.clone(),
        metrics: metrics.clone(),
        message_timeout: connections.message_timeout,
        peer,
        site,
        connection: state.clone(),
        memory: memory.clone(),
    };
    let mut connection = pin!(http.serve_connection(TokioIo::new(io), calls));
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
    fn ended(&self, peer: &str, ended: Result<(), Box<dyn Error + Send + Sync>>) {
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
