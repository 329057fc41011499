//! The calls of one connection: those of gRPC go to the services as they are, others are checked
//! and translated by `connect`, and then go to the same services.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, Version};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::service::Service as HyperService;
use tokio::time::timeout;
use tonic::Code;
use tonic::body::Body;
use tower::Service as _;

use super::places::ConnectionState;
use super::requests::{Call, RequestBody, Requests, ResponseBody};
use super::routes::is_endless;
use super::serving::ListenerRoutes;
use crate::access::Peer;
use crate::connect::{Accepted, CallHead, Refusal, Site, accept, is_grpc};
use crate::grpc::connection_age::ConnectionAge;
use crate::grpc::deadline::timeout_of;
use crate::grpc::memory::ConnectionMemory;
use crate::grpc::status::{Failure, of_failure, of_too_much_memory};
use crate::telemetry::{CallMetrics, Protocol};

/// The calls of one connection.
pub(super) struct Calls {
    pub(super) listener_routes: ListenerRoutes,
    pub(super) metrics: CallMetrics,
    pub(super) message_timeout: Duration,
    pub(super) peer: Peer,
    pub(super) site: Site,
    pub(super) connection: Arc<ConnectionState>,
    pub(super) memory: Arc<ConnectionMemory>,
}

/// Most bytes of the body of a refused request that are read and discarded.
const DISCARDED_MAX_BYTES: usize = 64 * 1024;
/// Longest time for it.
const DISCARDING_TIMEOUT: Duration = Duration::from_secs(1);

type CallFuture = Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, Infallible>> + Send>>;

impl HyperService<Request<Incoming>> for Calls {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = CallFuture;

    fn call(&self, request: Request<Incoming>) -> CallFuture {
        // gRPC is not served over HTTP/1.1, whose clients cannot read its trailers.
        if is_grpc(request.headers()) && request.version() == Version::HTTP_2 {
            self.call_grpc(request)
        } else {
            self.call_connect(request)
        }
    }
}

impl Calls {
    fn call_grpc(&self, request: Request<Incoming>) -> CallFuture {
        let path = request.uri().path();
        let is_stream = self.listener_routes.client_streams.iter().any(|stream| stream == path);
        let requests = if is_stream { Requests::Stream } else { Requests::One };
        let metrics = self.metrics.clone();
        let longest = timeout_of(request.headers());
        let Some((request, call)) = self.begin(request, requests) else {
            metrics.answered(Protocol::Grpc, Code::ResourceExhausted);
            let refused = of_too_much_memory().into_http::<Body>();
            return ready(refused);
        };
        let request = request.map(Body::new);
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
            metrics.answered(Protocol::Grpc, code_of(&answer));
            Ok(answer.map(|body| ResponseBody::new(body, Some(call))))
        })
    }

    fn call_connect(&self, request: Request<Incoming>) -> CallFuture {
        // Only a request that is complete has begun HTTP/1.1.
        self.connection.begins();
        let (head, body) = request.into_parts();
        let call = match accept(&head, &self.site) {
            Ok(Accepted::Call(call)) => call,
            Ok(Accepted::Document(document)) => return ready(document),
            Err(refusal) => return self.refuse(refusal, body),
        };
        let request = Request::from_parts(head, body);
        let requests = requests_of(&call);
        let Some((request, charged)) = self.begin(request, requests) else {
            return self.refuse_at_once(of_too_much_memory().into());
        };
        let (metrics, memory) = (self.metrics.clone(), self.memory.clone());
        let listener_routes = self.listener_routes.routes.clone();
        Box::pin(async move {
            let answer = call.serve(request, memory, listener_routes).await;
            let code = answer.extensions().get::<Code>().copied().unwrap_or(Code::Ok);
            metrics.answered(Protocol::Connect, code);
            Ok(answer.map(|body| ResponseBody::new(body, Some(charged))))
        })
    }

    fn refuse_at_once(&self, refusal: Refusal) -> CallFuture {
        self.metrics.answered(Protocol::Connect, refusal.code());
        ready(refusal.into_response())
    }

    /// Refuses a request once its body was read, if that is short: some clients take an answer
    /// before the end of their request for an error of the connection.
    fn refuse(&self, refusal: Refusal, mut body: Incoming) -> CallFuture {
        let answered = self.refuse_at_once(refusal);
        if body.is_end_stream() {
            return answered;
        }
        Box::pin(async move {
            let discarding = async {
                let mut left = DISCARDED_MAX_BYTES;
                while let Some(Ok(piece)) = body.frame().await
                    && let Some(rest) = left.checked_sub(piece.data_ref().map_or(0, Bytes::len))
                {
                    left = rest;
                }
            };
            let _ = timeout(DISCARDING_TIMEOUT, discarding).await;
            answered.await
        })
    }

    /// Charges a call, and adds what the services need; `None` if there is not enough memory.
    fn begin(
        &self,
        request: Request<Incoming>,
        requests: Requests,
    ) -> Option<(Request<RequestBody>, Arc<Call>)> {
        let is_endless = is_endless(request.uri().path());
        let headers = request.headers();
        let call = Call::begin(&self.connection, &self.memory, headers, requests, is_endless)?;
        let (of_request, limit) = (call.clone(), self.message_timeout);
        let mut request = request.map(|body| RequestBody::new(body, of_request, requests, limit));
        let extensions = request.extensions_mut();
        extensions.insert(self.peer.clone());
        if requests == Requests::Stream {
            extensions.insert(self.memory.clone());
        }
        if is_endless {
            extensions.insert(ConnectionAge::new(self.connection.aged()));
        }
        Some((request, call))
    }
}

fn requests_of(call: &CallHead) -> Requests {
    match (call.is_framed(), call.has_request_stream()) {
        (false, _) => Requests::Unframed,
        (true, false) => Requests::One,
        (true, true) => Requests::Stream,
    }
}

fn ready(response: Response<Body>) -> CallFuture {
    let response = response.map(|body| ResponseBody::new(body, None));
    Box::pin(std::future::ready(Ok(response)))
}

/// Returns the code with which an answer begins: of an error without an answer its own, and else
/// OK, also if a stream ends with an error later.
fn code_of(answer: &Response<Body>) -> Code {
    if !answer.body().is_end_stream() {
        return Code::Ok;
    }
    answer.headers().get("grpc-status").map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()))
}
