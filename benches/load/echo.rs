//! The floor: a bare tonic server that reads a JoinGroup and returns the sidecar's response, byte
//! for byte, without deciding anything. It uses tonic's own codec and default settings and runtime,
//! and runs in a separate process, like the sidecar.

use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::SystemTime;

use futures_util::future::{BoxFuture, Ready, ready};
use futures_util::stream::BoxStream;
use futures_util::{FutureExt as _, StreamExt as _};
use imquota::grpc::pb;
use imquota::grpc::pb::apply_request::Operation;
use imquota::grpc::pb::apply_response::Answer;
use tokio::net::{TcpListener, UnixListener};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, StreamingService, UnaryService};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::Service;

use super::address::Address;

/// Serves until the process is killed.
pub async fn serve(address: &Address) {
    let server = Server::builder().add_service(Echo);
    let end = match address {
        Address::Tcp(address) => {
            let listener = TcpListener::bind(address).await.expect("a free port");
            let incoming = TcpListenerStream::new(listener).inspect(|stream| {
                let _ = stream.as_ref().map(|stream| stream.set_nodelay(true));
            });
            server.serve_with_incoming(incoming).await
        }
        Address::Unix(path) => {
            let listener = UnixListener::bind(path).expect("a free path");
            server.serve_with_incoming(UnixListenerStream::new(listener)).await
        }
    };
    end.expect("the process is killed first");
}

#[derive(Clone)]
struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = imquota::grpc::QUOTA_SERVICE;
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        async move {
            if request.uri().path().ends_with("/Apply") {
                return Ok(Grpc::new(ProstCodec::default()).streaming(Self, request).await);
            }
            Ok(Grpc::new(ProstCodec::default()).unary(Self, request).await)
        }
        .boxed()
    }
}

impl UnaryService<pb::JoinGroupRequest> for Echo {
    type Response = pb::JoinGroupResponse;
    type Future = Ready<Result<Response<Self::Response>, Status>>;

    fn call(&mut self, request: Request<pb::JoinGroupRequest>) -> Self::Future {
        ready(Ok(Response::new(echo(request.into_inner()))))
    }
}

impl StreamingService<pb::ApplyRequest> for Echo {
    type Response = pb::ApplyResponse;
    type ResponseStream = BoxStream<'static, Result<pb::ApplyResponse, Status>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<pb::ApplyRequest>>) -> Self::Future {
        let answers = request.into_inner().map(|request| {
            let request = request?;
            let answer = match request.operation {
                Some(Operation::JoinGroup(join)) => Answer::JoinGroup(echo(join)),
                _ => return Err(Status::unimplemented("only joins are echoed")),
            };
            Ok(pb::ApplyResponse { tag: request.tag, answer: Some(answer) })
        });
        ready(Ok(Response::new(answers.boxed())))
    }
}

fn echo(request: pb::JoinGroupRequest) -> pb::JoinGroupResponse {
    let applied = |id| {
        let outcome = pb::Outcome::Applied.into();
        pb::Result { id, outcome, denials: Vec::new(), repeated: false }
    };
    pb::JoinGroupResponse {
        results: request.user_ids.into_iter().map(applied).collect(),
        decision: Some(pb::DecisionInfo {
            decided_at: Some(SystemTime::now().into()),
            degradation: String::new(),
        }),
    }
}
