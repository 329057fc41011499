//! QuotaService: the data plane.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::{Extensions, Request, Response, Status, Streaming};

use super::answer::FromDecision;
use super::apply::{Answers, answer_stream};
use super::deadline::{Bound, Deadline, by, in_time, timeout, until, without_margin};
use super::denied_as_error::denied_as_error;
use super::holds::{CheckEnd, CheckedEnd};
use super::metering::record;
use super::pb::quota_service_server::{QuotaService, QuotaServiceServer};
use super::request::{Action, Check, Checked, Ids};
use super::status::{self, Failure};
use super::{REQUEST_MAX_BYTES, TIME_ZONE_HEADER, pb, request};
use crate::access::{ForcePolicy, ForceRefused, Peer, check_force};
use crate::domain::catalog::Catalog;
use crate::domain::decision::Mode;
use crate::engine::holds::{EndRequest, EndedHolds};
use crate::engine::{self, Decision, Engine};

/// The data plane over an engine.
#[derive(Clone)]
pub struct QuotaApi {
    engine: Arc<Engine>,
    request_timeout: Duration,
    apply_in_flight_max: usize,
    force: Option<ForcePolicy>,
    shutdown: CancellationToken,
}

impl QuotaApi {
    /// Creates the data plane. `request_timeout` bounds every decision, `apply_in_flight_max` the
    /// operations of one Apply stream in flight; `force` is the policy for mode FORCE, if it is
    /// set; streams end when `shutdown` is cancelled.
    #[must_use]
    pub fn new(
        engine: Arc<Engine>,
        request_timeout: Duration,
        apply_in_flight_max: usize,
        force: Option<ForcePolicy>,
        shutdown: CancellationToken,
    ) -> Self {
        Self { engine, request_timeout, apply_in_flight_max, force, shutdown }
    }

    /// Makes a gRPC service of it.
    #[must_use]
    pub fn into_service(self) -> QuotaServiceServer<Self> {
        QuotaServiceServer::new(self).max_decoding_message_size(REQUEST_MAX_BYTES)
    }

    /// Returns the deadline of a unary call with that metadata.
    fn unary_deadline(&self, metadata: &MetadataMap) -> Deadline {
        self.begin(self.bound(timeout(metadata).map(without_margin)))
    }

    /// Returns the bound of a request with that timeout.
    pub(super) fn bound(&self, timeout: Option<Duration>) -> Bound {
        Bound::of(timeout, self.request_timeout)
    }

    /// Returns the deadline of a request that begins now.
    pub(super) fn begin(&self, bound: Bound) -> Deadline {
        bound.from(self.engine.local_now())
    }

    /// Returns the current catalog, by which requests are checked.
    pub(super) fn catalog(&self) -> Arc<Catalog> {
        self.engine.catalog()
    }

    /// Checks that the caller of a request with these extensions may use mode FORCE.
    pub(super) fn may_force(&self, extensions: &Extensions) -> Result<(), ForceRefused> {
        check_force(self.force, extensions.get::<Peer>())
    }

    /// Decides a request that has been checked. `may_force` is called in mode FORCE only. The
    /// caller of this ends it at the deadline.
    pub(super) async fn decide(
        &self,
        checked: Checked,
        deadline: Deadline,
        may_force: impl FnOnce() -> Result<(), ForceRefused>,
    ) -> Result<(Decision, Ids), Failure> {
        let Checked { app, mode, take, action, ids } = checked;
        if mode == Mode::Force {
            may_force()?;
        }
        let decision = match action {
            Action::Operation(operation) => {
                let request = engine::Request { app, mode, take, deadline: deadline.at, operation };
                by(&self.engine, deadline, self.engine.apply(request)).await?
            }
            Action::DeleteAccounts(users) => {
                // Rare, and too large to be a part of every other call's future.
                let deleting = Box::pin(self.engine.delete_accounts(&app, users, deadline.at));
                by(&self.engine, deadline, deleting).await?
            }
        };
        Ok((decision, ids))
    }

    /// Confirms or releases holds. `may_force` is called in mode FORCE only. The caller of this
    /// ends it at the deadline.
    pub(super) async fn end_hold(
        &self,
        checked: CheckedEnd,
        deadline: Deadline,
        may_force: impl FnOnce() -> Result<(), ForceRefused>,
    ) -> Result<EndedHolds, Failure> {
        let CheckedEnd { app, id, part, end, mode } = checked;
        if mode == Mode::Force {
            may_force()?;
        }
        let request = EndRequest { app, id, part, end, mode, deadline: deadline.at };
        by(&self.engine, deadline, self.engine.end_hold(request)).await
    }

    async fn unary_end<Q: CheckEnd, A: From<EndedHolds>>(
        &self,
        request: Request<Q>,
    ) -> Result<Response<A>, Status> {
        let deadline = self.unary_deadline(request.metadata());
        let denied_as_error = denied_as_error(request.metadata()).map_err(status::of_invalid)?;
        let (_, extensions, request) = request.into_parts();
        let checked = request.check().map_err(status::of_invalid)?;
        let app = denied_as_error.then(|| checked.app.clone());
        let ending = self.end_hold(checked, deadline, || self.may_force(&extensions));
        let ended = until(&self.engine, deadline, Box::pin(ending)).await;
        let ended = ended.map_err(status::of_failure)?;
        if let Some(app) = app
            && ended.denied()
            && let Some(denial) = status::of_denials(&app, &ended.denials())
        {
            return Err(denial);
        }
        Ok(Response::new(ended.into()))
    }

    /// Reads usage.
    pub(super) async fn usage(
        &self,
        request: pb::GetUsageRequest,
        deadline: Deadline,
    ) -> Result<pb::GetUsageResponse, Failure> {
        let (app, subject) = request::usage(request)?;
        let usage = self.engine.usage(app, subject, deadline.at);
        let usage = in_time(&self.engine, deadline, usage).await;
        Ok(usage.map_err(Failure::of_read)?.into())
    }

    /// Counts logins.
    pub(super) async fn record_logins(
        &self,
        request: pb::RecordLoginsRequest,
        deadline: Deadline,
        may_force: Result<(), ForceRefused>,
    ) -> Result<pb::RecordLoginsResponse, Failure> {
        record::logins(&self.engine, request, deadline, may_force).await
    }

    async fn unary<Q: Check, A: FromDecision>(
        &self,
        request: Request<Q>,
    ) -> Result<Response<A>, Status> {
        let deadline = self.unary_deadline(request.metadata());
        let denied_as_error = denied_as_error(request.metadata()).map_err(status::of_invalid)?;
        let (_, extensions, request) = request.into_parts();
        let checked = request.check(&self.catalog());
        let checked = checked.map_err(|invalid| status::of_failure(invalid.into()))?;
        let app = denied_as_error.then(|| checked.app.clone());
        let deciding = self.decide(checked, deadline, || self.may_force(&extensions));
        let decided = until(&self.engine, deadline, deciding).await;
        let (decision, ids) = decided.map_err(status::of_failure)?;
        if let Some(app) = app
            && decision.denied()
            && let Some(denial) = status::of_denial(&app, &decision)
        {
            return Err(denial);
        }
        Ok(Response::new(A::from_decision(decision, ids)))
    }
}

#[tonic::async_trait]
impl QuotaService for QuotaApi {
    async fn create_accounts(
        &self,
        request: Request<pb::CreateAccountsRequest>,
    ) -> Result<Response<pb::CreateAccountsResponse>, Status> {
        self.unary(request).await
    }

    async fn delete_accounts(
        &self,
        request: Request<pb::DeleteAccountsRequest>,
    ) -> Result<Response<pb::DeleteAccountsResponse>, Status> {
        self.unary(request).await
    }

    async fn add_friends(
        &self,
        request: Request<pb::AddFriendsRequest>,
    ) -> Result<Response<pb::AddFriendsResponse>, Status> {
        self.unary(request).await
    }

    async fn remove_friends(
        &self,
        request: Request<pb::RemoveFriendsRequest>,
    ) -> Result<Response<pb::RemoveFriendsResponse>, Status> {
        self.unary(request).await
    }

    async fn create_group(
        &self,
        request: Request<pb::CreateGroupRequest>,
    ) -> Result<Response<pb::CreateGroupResponse>, Status> {
        self.unary(request).await
    }

    async fn update_group(
        &self,
        request: Request<pb::UpdateGroupRequest>,
    ) -> Result<Response<pb::UpdateGroupResponse>, Status> {
        self.unary(request).await
    }

    async fn join_group(
        &self,
        request: Request<pb::JoinGroupRequest>,
    ) -> Result<Response<pb::JoinGroupResponse>, Status> {
        self.unary(request).await
    }

    async fn leave_group(
        &self,
        request: Request<pb::LeaveGroupRequest>,
    ) -> Result<Response<pb::LeaveGroupResponse>, Status> {
        self.unary(request).await
    }

    async fn dissolve_group(
        &self,
        request: Request<pb::DissolveGroupRequest>,
    ) -> Result<Response<pb::DissolveGroupResponse>, Status> {
        self.unary(request).await
    }

    async fn confirm_hold(
        &self,
        request: Request<pb::ConfirmHoldRequest>,
    ) -> Result<Response<pb::ConfirmHoldResponse>, Status> {
        self.unary_end(request).await
    }

    async fn release_hold(
        &self,
        request: Request<pb::ReleaseHoldRequest>,
    ) -> Result<Response<pb::ReleaseHoldResponse>, Status> {
        self.unary_end(request).await
    }

    async fn get_usage(
        &self,
        request: Request<pb::GetUsageRequest>,
    ) -> Result<Response<pb::GetUsageResponse>, Status> {
        let deadline = self.unary_deadline(request.metadata());
        let usage = self.usage(request.into_inner(), deadline).await;
        let mut response = usage.map(Response::new).map_err(status::of_failure)?;
        let zone = AsciiMetadataValue::from_static(self.engine.catalog().zone.name());
        response.metadata_mut().insert(TIME_ZONE_HEADER, zone);
        Ok(response)
    }

    type ApplyStream = Answers;

    async fn apply(
        &self,
        request: Request<Streaming<pb::ApplyRequest>>,
    ) -> Result<Response<Self::ApplyStream>, Status> {
        let answers = answer_stream(
            self.clone(),
            request,
            self.apply_in_flight_max,
            self.shutdown.child_token(),
        );
        Ok(Response::new(answers))
    }
}
