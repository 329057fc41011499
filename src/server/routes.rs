//! The services of each kind of listener.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use tonic_health::server::HealthReporter;
use tower::Layer as _;

use super::ServeError;
use super::calls::CallLayer;
use super::services::Services;
use super::serving::ListenerRoutes;
use crate::access::Access;
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::admin::Administration;
use crate::events::EventLog;
use crate::grpc::{
    ADMIN_SERVICE, AdminApi, HealthApi, METERING_SERVICE, MeteringApi, OPEN_REQUEST_MAX_BYTES,
    Plane, QUOTA_SERVICE, QuotaApi, authenticate, pb,
};
use crate::proto::descriptors::client_streams;
use crate::telemetry::trace::Sampling;

/// Every service that health reports by name.
pub(super) const SERVICES: [&str; 3] = [QUOTA_SERVICE, METERING_SERVICE, ADMIN_SERVICE];

/// The calls of reflection, which are streams.
const REFLECTION: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// The calls that never end by themselves.
const ENDLESS: [&str; 5] = [
    "/imquota.v1.QuotaService/Apply",
    "/imquota.v1.AdminService/WatchEvents",
    "/grpc.health.v1.Health/Watch",
    REFLECTION[0],
    REFLECTION[1],
];

/// Returns whether the call of that path never ends by itself. All others, Reconcile among them,
/// are completed also on a connection that has reached its age.
pub(super) fn is_endless(path: &str) -> bool {
    ENDLESS.contains(&path)
}

/// The services of each kind of listener.
pub(crate) struct ServedRoutes {
    /// The data listeners.
    pub(super) data: ListenerRoutes,
    /// The admin listeners.
    pub(super) admin: ListenerRoutes,
}

impl ServedRoutes {
    /// Wraps the services of both in the layers for their calls.
    pub(super) fn new((data, calls): (Services, CallLayer), admin: (Services, CallLayer)) -> Self {
        let streams = client_streams().into_iter().chain(REFLECTION.map(ToOwned::to_owned));
        let client_streams: Arc<[String]> = streams.collect();
        let listener_routes = |services: Services, calls: &CallLayer| {
            let routes = calls.layer(services);
            ListenerRoutes { routes, client_streams: client_streams.clone() }
        };
        Self { data: listener_routes(data, &calls), admin: listener_routes(admin.0, &admin.1) }
    }
}

/// Creates all services over an engine.
pub(super) fn routes(
    config: &Config,
    health: HealthReporter,
    engine: Arc<Engine>,
    administration: Administration,
    log: Arc<dyn EventLog>,
    access: Arc<Access>,
    stopped: &CancellationToken,
) -> Result<ServedRoutes, ServeError> {
    let health_service = HealthApi::new(health, stopped.clone()).into_service();
    let metering = |plane| {
        let (engine, administration) = (engine.clone(), administration.clone());
        let (within, force) = (config.request_timeout, config.access.force);
        MeteringApi::new(engine, administration, within, plane, force).into_service()
    };
    let (metering, metering_of_admin) = (metering(Plane::Data), metering(Plane::Admin));
    let quota = QuotaApi::new(
        engine.clone(),
        config.request_timeout,
        config.apply_in_flight_max,
        config.access.force,
        stopped.clone(),
    );
    let data = Routes::new(health_service.clone()).add_service(metering);
    // Health and reflection are open to any client that reaches the listener.
    let administration = AdminApi::new(administration, log, stopped.clone()).into_service();
    let of_access = access.clone();
    let guarded =
        InterceptedService::new(administration, move |request| authenticate(&access, request));
    let guarded_metering = InterceptedService::new(metering_of_admin, move |request| {
        authenticate(&of_access, request)
    });
    let admin = Routes::new(health_service).add_service(guarded).add_service(guarded_metering);
    let sampling = config.traces.as_ref().map(|traces| Arc::new(Sampling::new(traces.ratio)));
    let calls = CallLayer::new(sampling);
    let (data, admin) = if config.reflection {
        (add_reflection(data, QUOTA_SERVICE)?, add_reflection(admin, ADMIN_SERVICE)?)
    } else {
        (data, admin)
    };
    let data = Services::new(data).with_quota(quota.into_service());
    let (admin, admin_calls) = (Services::new(admin), calls.clone().naming_zone_of(engine));
    Ok(ServedRoutes::new((data, calls), (admin, admin_calls)))
}

fn add_reflection(
    routes: Routes,
    service: &str,
) -> Result<Routes, tonic_reflection::server::Error> {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name(service)
            .with_service_name(METERING_SERVICE)
            .with_service_name("grpc.health.v1.Health")
    };
    let v1 = builder().build_v1()?.max_decoding_message_size(OPEN_REQUEST_MAX_BYTES);
    let v1alpha = builder().build_v1alpha()?.max_decoding_message_size(OPEN_REQUEST_MAX_BYTES);
    Ok(routes.add_service(v1).add_service(v1alpha))
}
