//! The services of one listener: calls of the data plane go straight to its service, all others
//! through a router, which costs a call some microseconds.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures_util::future::{BoxFuture, Either};
use http::{Request, Response};
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service;

use crate::grpc::QuotaApi;
use crate::grpc::pb::quota_service_server::QuotaServiceServer;

/// Beginning of the paths of the data plane's calls.
const QUOTA_PATHS: &str = "/imquota.v1.QuotaService/";

/// The services of one listener.
#[derive(Clone)]
pub(super) struct Services {
    quota: Option<QuotaServiceServer<QuotaApi>>,
    others: Routes,
}

impl Services {
    /// Creates the services of a listener without the data plane.
    pub(super) fn new(routes: Routes) -> Self {
        Self { quota: None, others: routes.prepare() }
    }

    /// Adds the data plane.
    pub(super) fn with_quota(self, quota: QuotaServiceServer<QuotaApi>) -> Self {
        Self { quota: Some(quota), ..self }
    }
}

impl Service<Request<Body>> for Services {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<
        BoxFuture<'static, Result<Response<Body>, Infallible>>,
        <Routes as Service<Request<Body>>>::Future,
    >;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The data plane is always ready.
        Service::<Request<Body>>::poll_ready(&mut self.others, context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match &mut self.quota {
            Some(quota) if request.uri().path().starts_with(QUOTA_PATHS) => {
                Either::Left(quota.call(request))
            }
            _ => Either::Right(self.others.call(request)),
        }
    }
}
