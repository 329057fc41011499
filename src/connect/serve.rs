//! A call from its checked head to its response.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use hyper::body::{Body as HttpBody, Bytes};
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use super::head::CallHead;
use super::headers;
use super::{error, streams, unary};
use crate::clock::Stopwatch;
use crate::grpc::memory::ConnectionMemory;
use crate::grpc::status::{Failure, of_failure};

/// The time that a caller has set, from the head of the call on.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeLimit {
    timeout: Option<Duration>,
    watch: Stopwatch,
}

impl TimeLimit {
    fn begin(timeout: Option<Duration>) -> Self {
        Self { timeout, watch: Stopwatch::start() }
    }

    /// Returns the time that is left, if the caller has set one.
    pub(super) fn left(self) -> Option<Duration> {
        self.timeout.map(|timeout| timeout.saturating_sub(self.watch.elapsed()))
    }
}

impl CallHead {
    /// Serves the call by a gRPC service, whose bounds it shares. The memory of decoded requests is
    /// charged to `memory`.
    pub async fn serve<B, S>(
        self,
        request: Request<B>,
        memory: Arc<ConnectionMemory>,
        mut service: S,
    ) -> Response<Body>
    where
        B: HttpBody<Data = Bytes, Error = Status> + Send + Unpin + 'static,
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    {
        let limit = TimeLimit::begin(self.timeout);
        if self.is_framed() {
            let (head, body) = request.into_parts();
            let requests = streams::Requests::new(body, &self, memory);
            let request = to_grpc(Request::from_parts(head, Body::new(requests)), limit);
            let answer = in_time(limit, service.call(request)).await;
            return streams::response(answer, &self, limit);
        }
        let served = async {
            let (head, body) = request.into_parts();
            let message = unary::read(body, &self, &memory).await?;
            // A service would be polled once before the time is compared.
            if limit.left() == Some(Duration::ZERO) {
                return Err(timed_out());
            }
            let request = to_grpc(Request::from_parts(head, message), limit);
            // It is always ready.
            let Ok(response) = service.call(request).await;
            unary::answer(response, &self).await
        };
        let served = match limit.left() {
            // Without time the body is still read, since some clients read no answer before that.
            None | Some(Duration::ZERO) => served.await,
            // Services with their own deadline return the same status, a little earlier.
            Some(left) => timeout(left, served).await.unwrap_or_else(|_| Err(timed_out())),
        };
        served.unwrap_or_else(|error| error::response(&error.status, &error.leading))
    }
}

/// An error of a unary call, with the headers of the gRPC response.
#[derive(Debug)]
pub(super) struct CallError {
    pub(super) status: Status,
    pub(super) leading: HeaderMap,
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        Self { status, leading: HeaderMap::new() }
    }
}

fn timed_out<E: From<Status>>() -> E {
    of_failure(Failure::TimedOut).into()
}

fn to_grpc(mut request: Request<Body>, limit: TimeLimit) -> Request<Body> {
    headers::to_grpc(request.headers_mut(), limit.left());
    request
}

/// Waits for the beginning of a stream of answers.
async fn in_time(
    limit: TimeLimit,
    answer: impl Future<Output = Result<Response<Body>, Infallible>>,
) -> Result<Response<Body>, Status> {
    let answered = match limit.left() {
        Some(Duration::ZERO) => return Err(timed_out()),
        Some(left) => timeout(left, answer).await.map_err(|_| timed_out::<Status>())?,
        None => answer.await,
    };
    let Ok(response) = answered;
    Ok(response)
}
