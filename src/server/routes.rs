//! What each kind of listener answers.

use std::sync::Arc;

use tokio::sync::watch;
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use tonic_health::server::HealthReporter;

use super::ServeError;
use super::calls::CallLayer;
use crate::access::Access;
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::administration::Administration;
use crate::events::EventLog;
use crate::grpc::{
    ADMIN_SERVICE, AdminApi, HealthApi, METERING_SERVICE, MeteringApi, Plane, QUOTA_SERVICE,
    QuotaApi, pb,
};
use crate::telemetry::trace::Sampling;

/// Every service that health tells of by name.
pub(super) const SERVICES: [&str; 3] = [QUOTA_SERVICE, METERING_SERVICE, ADMIN_SERVICE];

/// What each kind of listener answers.
pub(crate) struct ServedRoutes {
    /// The data listeners.
    pub(super) data: Routes,
    /// The admin listeners.
    pub(super) admin: Routes,
    /// What every call gets.
    pub(super) calls: CallLayer,
}

/// All services over an engine.
pub(super) fn routes(
    config: &Config,
    health: HealthReporter,
    engine: Arc<Engine>,
    administration: Administration,
    log: Arc<dyn EventLog>,
    access: Arc<Access>,
    stopped: &watch::Receiver<bool>,
) -> Result<ServedRoutes, ServeError> {
    let health_service = HealthApi::new(health, stopped.clone()).into_service();
    let metering = |plane| {
        let (engine, administration) = (engine.clone(), administration.clone());
        MeteringApi::new(engine, administration, config.request_timeout, plane).into_service()
    };
    let (metering, metering_of_admin) = (metering(Plane::Data), metering(Plane::Admin));
    let quota = QuotaApi::new(
        engine,
        config.request_timeout,
        config.apply_in_flight_max,
        config.access.force,
        stopped.clone(),
    );
    let data =
        Routes::new(health_service.clone()).add_service(quota.into_service()).add_service(metering);
    // Health and reflection are open to whoever reaches the listener.
    let administration = AdminApi::new(administration, log, stopped.clone()).into_service();
    let of_access = access.clone();
    let guarded = InterceptedService::new(administration, move |request| access.admit(request));
    let guarded_metering =
        InterceptedService::new(metering_of_admin, move |request| of_access.admit(request));
    let admin = Routes::new(health_service).add_service(guarded).add_service(guarded_metering);
    let sampling = config.traces.as_ref().map(|traces| Arc::new(Sampling::new(traces.ratio)));
    let calls = CallLayer::new(sampling);
    let routes = if config.reflection {
        ServedRoutes {
            data: add_reflection(data, QUOTA_SERVICE)?,
            admin: add_reflection(admin, ADMIN_SERVICE)?,
            calls,
        }
    } else {
        ServedRoutes { data, admin, calls }
    };
    Ok(routes)
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
    Ok(routes.add_service(builder().build_v1()?).add_service(builder().build_v1alpha()?))
}
