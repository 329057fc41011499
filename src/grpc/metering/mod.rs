//! MeteringService: recording of metered use, and its statements.
//!
//! On the data listener, logins and samples are accepted from any client that reaches it; all other
//! RPCs are served on the admin listener, which authenticates callers.

use std::sync::Arc;
use std::time::Duration;

use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use super::admin::{check, read::read};
use super::admin_status::of_admin;
use super::caller::{require, require_counted};
use super::deadline::{Deadline, deadline, timeout, without_margin};
use super::error_reason::ErrorReason;
use super::fields::{Fields, Invalid};
use super::pb::metering_service_server::{MeteringService, MeteringServiceServer};
use super::permits::Permits;
use super::status::{of_failure, of_invalid, of_reason};
use super::{REQUEST_MAX_BYTES, pb};
use crate::access::{ForcePolicy, Peer, Role, check_force};
use crate::directory::statement::HashedStatement;
use crate::engine::Engine;
use crate::engine::admin::{Administration, ChangeResult};
use crate::export::{self, Format};
use crate::proto::timestamp;

pub(super) mod record;
mod show;

/// Most statements that are computed concurrently, which take turns by slices.
const STATEMENTS_MAX: usize = 32;

/// The listener of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plane {
    /// The data listener.
    Data,
    /// The admin listener.
    Admin,
}

/// The metering service over gRPC.
#[derive(Clone)]
pub struct MeteringApi {
    engine: Arc<Engine>,
    administration: Administration,
    request_timeout: Duration,
    plane: Plane,
    force: Option<ForcePolicy>,
    statements: Permits,
}

impl MeteringApi {
    /// Creates the service over an engine and its administration; `request_timeout` bounds
    /// recording, and `force` is the policy for mode FORCE, if it is set.
    #[must_use]
    pub fn new(
        engine: Arc<Engine>,
        administration: Administration,
        request_timeout: Duration,
        plane: Plane,
        force: Option<ForcePolicy>,
    ) -> Self {
        let statements = Permits::new("GetStatement and ExportStatement", STATEMENTS_MAX);
        Self { engine, administration, request_timeout, plane, force, statements }
    }

    /// Makes a gRPC service of it.
    #[must_use]
    pub fn into_service(self) -> MeteringServiceServer<Self> {
        MeteringServiceServer::new(self).max_decoding_message_size(REQUEST_MAX_BYTES)
    }

    fn deadline(&self, metadata: &MetadataMap) -> Deadline {
        let own = timeout(metadata).map(without_margin);
        deadline(own, self.engine.local_now(), self.request_timeout)
    }

    /// Checks that the caller may record logins and samples.
    fn may_record<T>(&self, request: &Request<T>, what: &str) -> Result<(), Status> {
        match self.plane {
            Plane::Data => Ok(()),
            Plane::Admin => require(request, Role::Operator, what).map(drop),
        }
    }

    /// Checks that the service is on the admin listener.
    fn of_admin_plane(&self, what: &str) -> Result<(), Status> {
        match self.plane {
            Plane::Data => {
                let message = format!("{what} is served on the admin listener, not on this one");
                Err(of_reason(ErrorReason::AdminListenerOnly, &message))
            }
            Plane::Admin => Ok(()),
        }
    }

    async fn statement<T>(
        &self,
        request: &Request<T>,
        what: &str,
        app_id: &str,
        month: &str,
    ) -> Result<HashedStatement, Status> {
        self.of_admin_plane(what)?;
        let caller = require_counted(request, Role::Viewer, what)?;
        let _permit = self.statements.try_acquire(&caller)?;
        let mut fields = Fields::default();
        let app = fields.app_id(app_id.to_owned());
        let month = match month {
            "" => Some(None),
            text => fields.check("month", text.parse()).map(Some),
        };
        let (app, month) = fields.finish(app.zip(month)).map_err(of_invalid)?;
        let statement = self.administration.statement(&app, month);
        read(&self.administration, timeout(request.metadata()), statement).await
    }
}

#[tonic::async_trait]
impl MeteringService for MeteringApi {
    async fn record_logins(
        &self,
        request: Request<pb::RecordLoginsRequest>,
    ) -> Result<Response<pb::RecordLoginsResponse>, Status> {
        self.may_record(&request, "RecordLogins")?;
        let deadline = self.deadline(request.metadata());
        let may_force = match self.plane {
            Plane::Data => check_force(self.force, request.extensions().get::<Peer>()),
            Plane::Admin => Ok(()),
        };
        let recorded =
            record::logins(&self.engine, request.into_inner(), deadline, may_force).await;
        recorded.map(Response::new).map_err(of_failure)
    }

    async fn report_bandwidth(
        &self,
        request: Request<pb::ReportBandwidthRequest>,
    ) -> Result<Response<pb::ReportBandwidthResponse>, Status> {
        self.may_record(&request, "ReportBandwidth")?;
        let deadline = self.deadline(request.metadata());
        let reported = record::bandwidth(&self.engine, request.into_inner(), deadline).await;
        reported.map(Response::new).map_err(of_failure)
    }

    async fn report_gauge(
        &self,
        request: Request<pb::ReportGaugeRequest>,
    ) -> Result<Response<pb::ReportGaugeResponse>, Status> {
        self.may_record(&request, "ReportGauge")?;
        let deadline = self.deadline(request.metadata());
        let reported = record::gauges(&self.engine, request.into_inner(), deadline).await;
        reported.map(Response::new).map_err(of_failure)
    }

    async fn set_message_retention(
        &self,
        request: Request<pb::SetMessageRetentionRequest>,
    ) -> Result<Response<pb::SetMessageRetentionResponse>, Status> {
        self.of_admin_plane("SetMessageRetention")?;
        let (change, actor) = check::change(request)?;
        let changed = self.administration.change(change, actor).await;
        let changed = changed.map_err(|error| of_admin(&error))?;
        let ChangeResult::Retention(index) = changed.made else {
            return Err(of_reason(
                ErrorReason::InternalError,
                "the change returned another kind of result",
            ));
        };
        let retention = &changed.view.record.retentions[index];
        let (days, since) = (retention.days, Some(timestamp(retention.at)));
        Ok(Response::new(pb::SetMessageRetentionResponse { days, since }))
    }

    async fn get_statement(
        &self,
        request: Request<pb::GetStatementRequest>,
    ) -> Result<Response<pb::GetStatementResponse>, Status> {
        let pb::GetStatementRequest { app_id, month } = request.get_ref();
        let sealed = self.statement(&request, "GetStatement", app_id, month).await?;
        Ok(Response::new(pb::GetStatementResponse { statement: Some(show::statement(sealed)) }))
    }

    async fn export_statement(
        &self,
        request: Request<pb::ExportStatementRequest>,
    ) -> Result<Response<pb::ExportStatementResponse>, Status> {
        let pb::ExportStatementRequest { app_id, month, format } = request.get_ref();
        let format = match pb::StatementFormat::try_from(*format) {
            Ok(pb::StatementFormat::Unspecified | pb::StatementFormat::Json) => Format::Json,
            Ok(pb::StatementFormat::Csv) => Format::Csv,
            Ok(pb::StatementFormat::Html) => Format::Html,
            Err(_) => {
                let wrong = format!("must be JSON, CSV or HTML, not {format}");
                return Err(of_invalid(Invalid::field("format", wrong)));
            }
        };
        let sealed = self.statement(&request, "ExportStatement", app_id, month).await?;
        let name = format!("{}-{}", sealed.statement.app, sealed.statement.month);
        Ok(Response::new(pb::ExportStatementResponse {
            content: export::file(&sealed, format),
            media_type: format.media_type().to_owned(),
            file_name: format!("{name}.{}", format.extension()),
        }))
    }
}
