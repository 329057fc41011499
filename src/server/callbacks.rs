//! The callback listener: HTTP/1.1, within the bounds of all listeners.
//!
//! A request is refused by its head before its body is read, and its body is charged to the memory
//! of its connection before it is kept. Connections are kept alive, and closed for the same reasons
//! as those of gRPC (`closing`); at shutdown requests in flight are answered.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::accepting::{Opened, as_it_is, serve_each};
use super::closing::Lifetime;
use super::head_timer::{HeadTimer, Timed};
use super::listen::Listener;
use super::places::ConnectionState;
use super::serving::CallerBounds;
use super::tls::{Certificates, handshake};
use crate::access::Peer;
use crate::callbacks::{BODY_MAX_BYTES, BodyFault, Callbacks, Head, Reply};
use crate::grpc::memory::{CALL_BYTES, Charge, ConnectionMemory, SMALL_REQUEST_BYTES, Use};

/// Longest head of a request, in bytes.
const HEAD_MAX_BYTES: usize = 16 * 1024;
/// Most bytes of a body that is too long which are read and discarded: a connection that is closed
/// with unread bytes is reset, and the caller may not get the answer.
const DISCARDED_MAX_BYTES: usize = 8 * BODY_MAX_BYTES;
/// Most headers of a request.
const HEADERS_MAX: usize = 64;

/// Serves the listener until `stopped` is cancelled and all requests are handled.
pub(super) async fn serve(
    listener: Listener,
    certificates: Option<Arc<Certificates>>,
    callbacks: Arc<Callbacks>,
    bounds: Arc<CallerBounds>,
    stopped: CancellationToken,
) {
    let places = bounds.places();
    let has_age = matches!(listener, Listener::Tcp(_));
    let serving = Serving { callbacks: callbacks.clone(), bounds, has_age };
    match (listener, certificates) {
        (Listener::Tcp(listener), Some(certificates)) => {
            let open = move |accepted| handshake(certificates.clone(), accepted);
            let serve = move |opened| serve_connection(opened, serving.clone());
            serve_each(listener, places, open, serve, stopped).await;
        }
        (Listener::Tcp(listener), None) => {
            let serve = move |opened| serve_connection(opened, serving.clone());
            serve_each(listener, places, as_it_is, serve, stopped).await;
        }
        (Listener::Unix(socket), _) => {
            let serve = move |opened| serve_connection(opened, serving.clone());
            serve_each(socket, places, as_it_is, serve, stopped).await;
        }
    }
    callbacks.close().await;
}

/// The parts that all connections share.
#[derive(Clone)]
struct Serving {
    callbacks: Arc<Callbacks>,
    bounds: Arc<CallerBounds>,
    has_age: bool,
}

async fn serve_connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    opened: Opened<S>,
    serving: Serving,
) {
    let Opened { stream, peer, place, stopped, .. } = opened;
    let Serving { callbacks, bounds, has_age } = &serving;
    let state = place.connection.clone();
    let memory = bounds.memory.connection();
    let from = peer.from.clone();
    let limit = bounds.connections.message_timeout;
    let timer = HeadTimer::start();
    let calls = Calls {
        timer: timer.clone(),
        callbacks: callbacks.clone(),
        peer: Arc::new(peer),
        state: state.clone(),
        memory: memory.clone(),
        limit,
    };
    let service = service_fn(move |request| {
        let calls = calls.clone();
        async move { Ok::<_, Infallible>(response(calls.answer(request).await)) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        // It would also end connections that are kept alive.
        .header_read_timeout(None)
        .max_buf_size(HEAD_MAX_BYTES)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(Timed { stream, timer: timer.clone() }), service);
    let mut served = pin!(served);
    let lifetime = Lifetime::begin(&bounds.connections, *has_age, state.clone(), stopped);
    let ending = tokio::select! {
        ended = &mut served => {
            if let Err(error) = ended {
                debug!(peer = %from, %error, "callback connection ended early");
            }
            return;
        }
        () = memory.exceeded() => return,
        () = timer.is_late(limit) => {
            debug!(peer = %from, "callback connection closed: the head of a request is late");
            return;
        }
        ending = lifetime.ends() => ending,
    };
    debug!(peer = %from, ?ending, "callback connection closing");
    state.closes();
    served.as_mut().graceful_shutdown();
    tokio::select! {
        _ = &mut served => {}
        () = memory.exceeded() => {}
        () = timer.is_late(limit) => {}
        () = lifetime.is_over(ending) => {}
    }
}

fn response(reply: Reply) -> Response<Full<Bytes>> {
    let Reply { status, body } = reply;
    let has_body = !body.is_empty();
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    if has_body {
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
    }
    response
}

/// The requests of one connection.
#[derive(Clone)]
struct Calls {
    timer: HeadTimer,
    callbacks: Arc<Callbacks>,
    peer: Arc<Peer>,
    state: Arc<ConnectionState>,
    memory: Arc<ConnectionMemory>,
    limit: Duration,
}

/// An open request.
struct Open(Arc<ConnectionState>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.call_ends(false, false);
    }
}

impl Calls {
    async fn answer(&self, request: Request<Incoming>) -> Reply {
        let _request = self.timer.head_ends();
        self.state.begins();
        self.state.call_begins(false);
        let _open = Open(self.state.clone());
        let Some(mut charge) = self.memory.try_charge(Use::Call, CALL_BYTES) else {
            return Reply { status: StatusCode::SERVICE_UNAVAILABLE, body: Bytes::new() };
        };
        let (head, body) = request.into_parts();
        let routed = self.callbacks.route(Head {
            method: &head.method,
            path: head.uri.path(),
            query: head.uri.query(),
            headers: &head.headers,
            peer: &self.peer,
        });
        let routed = match routed {
            Ok(routed) => routed,
            Err(reply) => return reply,
        };
        let limit = self.limit.min(routed.left());
        let read = timeout(limit, read(body, &mut charge)).await;
        self.callbacks.handle(routed, read.unwrap_or(Err(BodyFault::Unread))).await
    }
}

/// Reads a body, of which every byte is charged before it is kept.
async fn read(mut body: Incoming, charge: &mut Charge) -> Result<Bytes, BodyFault> {
    let announced = body.size_hint().exact().map_or(0, |bytes| {
        // A length that does not fit is too long in any case.
        usize::try_from(bytes).unwrap_or(usize::MAX)
    });
    if announced > BODY_MAX_BYTES {
        discard(body).await;
        return Err(BodyFault::TooLong);
    }
    let mut charged = SMALL_REQUEST_BYTES;
    let mut grow = |bytes: usize| {
        let more = bytes.saturating_sub(charged);
        charged += more;
        more == 0 || charge.try_grow(more)
    };
    if !grow(announced) {
        return Err(BodyFault::Memory);
    }
    let mut read = Vec::with_capacity(announced);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| BodyFault::Unread)?;
        let Some(piece) = frame.data_ref() else { continue };
        let bytes = read.len() + piece.len();
        if bytes > BODY_MAX_BYTES {
            drop(read);
            discard(body).await;
            return Err(BodyFault::TooLong);
        }
        if !grow(bytes) {
            return Err(BodyFault::Memory);
        }
        read.extend_from_slice(piece);
    }
    Ok(read.into())
}

/// Reads the rest of a body that is too long, up to a bound.
async fn discard(mut body: Incoming) {
    let mut left = DISCARDED_MAX_BYTES;
    while left > 0
        && let Some(Ok(frame)) = body.frame().await
    {
        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
    }
}
