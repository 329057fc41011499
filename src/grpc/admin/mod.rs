//! AdminService: apps, their purchases and refunds, and the audit log.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use self::check::ChangeRequest;
use self::read::read;
use super::admin_status::{of_accept_clock, of_admin, of_journal, of_reconcile, of_snapshot};
use super::caller::{Authorization, CallerKey, require, require_counted, require_lasting};
use super::connection_age::ConnectionAge;
use super::deadline::timeout;
use super::fields::Fields;
use super::pb::admin_service_server::{AdminService, AdminServiceServer};
use super::permits::Permits;
use super::status::{of_invalid, of_shutdown};
use super::{RECONCILE_MAX_BYTES, pb};
use crate::access::Role;
use crate::domain::id::AppId;
use crate::engine::admin::{
    Activated, Administration, ChangeResult, Changed, Preview, PreviewRequest, SLICE_ITEMS,
};
use crate::events::EventLog;
use crate::proto::timestamp;

mod backup;
mod catalog;
pub(super) mod check;
mod exported;
mod found;
mod journal;
pub(super) mod read;
mod reconcile;
mod show;
mod store;
mod top;
mod watch;

pub use show::audit_entry;

/// RPCs that are logged in addition to the changes of apps.
const ACCEPT_STORE: &str = "AcceptStore";
const RETRY_JOURNAL_ENTRY: &str = "RetryJournalEntry";
const DROP_JOURNAL_ENTRY: &str = "DropJournalEntry";
const DELETE_SET_ASIDE_OPERATIONS: &str = "DeleteSetAsideOperations";
const TRACK_CHANGES: &str = "TrackChanges";
const RECONCILE: &str = "Reconcile";
/// The RPC that activates a kept catalog again.
const ACTIVATE_CATALOG: &str = "ActivateCatalog";
/// The RPC that copies the store.
const CREATE_BACKUP: &str = "CreateBackup";
/// The RPC that accepts a clock.
const ACCEPT_CLOCK: &str = "AcceptClock";
/// Most concurrent comparisons of exports: each keeps the names that it has seen.
const RECONCILING_MAX: usize = 4;
/// Most concurrent previews with a full scan: each uses a third of a Redis server.
const SCANS_MAX: usize = 1;
/// Most concurrent previews, which take turns by slices.
const PREVIEWING_MAX: usize = 32;
/// Most lists that are read concurrently, which take turns by slices.
const LISTING_MAX: usize = 32;

/// The admin service over gRPC.
#[derive(Clone)]
pub struct AdminApi {
    administration: Administration,
    events: Arc<dyn EventLog>,
    reconciling: Permits,
    watching: Permits,
    backing_up: Permits,
    scanning: Permits,
    previewing: Permits,
    listing: Permits,
    shutdown: CancellationToken,
}

impl AdminApi {
    /// Creates the service over the administration of an engine and its event log; streams end when
    /// `shutdown` is cancelled.
    #[must_use]
    pub fn new(
        administration: Administration,
        events: Arc<dyn EventLog>,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            administration,
            events,
            reconciling: Permits::new("Reconcile", RECONCILING_MAX),
            watching: Permits::new("WatchEvents", watch::WATCHERS_MAX),
            backing_up: Permits::new(CREATE_BACKUP, backup::BACKUPS_MAX),
            scanning: Permits::new("PreviewEntitlement with everybody", SCANS_MAX),
            previewing: Permits::new("PreviewEntitlement", PREVIEWING_MAX),
            listing: Permits::new("ListApps and ListAuditEvents", LISTING_MAX),
            shutdown,
        }
    }

    /// Makes a gRPC service of it.
    #[must_use]
    pub fn into_service(self) -> AdminServiceServer<Self> {
        // The codec bounds the requests of the other calls.
        AdminServiceServer::new(self).max_decoding_message_size(RECONCILE_MAX_BYTES)
    }

    /// Carries out a requested change. Returns the purchase that it made or refunded, the app after
    /// it, and the full result.
    async fn change<R: ChangeRequest>(
        &self,
        request: Request<R>,
    ) -> Result<(Option<pb::Purchase>, Option<pb::App>, Changed), Status> {
        let (change, actor) = check::change(request)?;
        let changed = self.administration.change(change, actor).await;
        let changed = changed.map_err(|error| of_admin(&error))?;
        let app = show::app(&self.administration.catalog(), &changed.view);
        let purchase = match changed.made {
            ChangeResult::App | ChangeResult::Retention(_) | ChangeResult::Details(_) => None,
            ChangeResult::Purchase(index) | ChangeResult::Exchange(index) => Some(index),
            ChangeResult::Refund(index) => Some(changed.view.record.sales.refunds[index].purchase),
        };
        let purchase = purchase.and_then(|index| app.purchases.get(index).cloned());
        Ok((purchase, Some(app), changed))
    }

    /// Computes a preview. One with a full scan ends with the server, with its caller, and with the
    /// caller's right to it.
    async fn preview(
        &self,
        app: &AppId,
        preview: PreviewRequest,
        timeout: Option<Duration>,
        caller: &CallerKey,
        mut authorization: Authorization,
    ) -> Result<Preview, Status> {
        let is_scan = preview.overrun_scan;
        let permits = if is_scan { &self.scanning } else { &self.previewing };
        let _permit = permits.try_acquire(caller)?;
        let preview = self.administration.preview(app, preview);
        tokio::select! {
            preview = read(&self.administration, timeout, preview) => preview,
            () = self.shutdown.cancelled(), if is_scan => {
                Err(of_shutdown("nothing was changed"))
            }
            status = authorization.revoked(), if is_scan => Err(status),
        }
    }
}

#[tonic::async_trait]
impl AdminService for AdminApi {
    async fn create_app(
        &self,
        request: Request<pb::CreateAppRequest>,
    ) -> Result<Response<pb::CreateAppResponse>, Status> {
        let (_, app, _) = self.change(request).await?;
        Ok(Response::new(pb::CreateAppResponse { app }))
    }

    async fn purchase_edition(
        &self,
        request: Request<pb::PurchaseEditionRequest>,
    ) -> Result<Response<pb::PurchaseEditionResponse>, Status> {
        let (purchase, app, _) = self.change(request).await?;
        Ok(Response::new(pb::PurchaseEditionResponse { purchase, app }))
    }

    async fn renew_edition(
        &self,
        request: Request<pb::RenewEditionRequest>,
    ) -> Result<Response<pb::RenewEditionResponse>, Status> {
        let (purchase, app, _) = self.change(request).await?;
        Ok(Response::new(pb::RenewEditionResponse { purchase, app }))
    }

    async fn grant_add_on(
        &self,
        request: Request<pb::GrantAddOnRequest>,
    ) -> Result<Response<pb::GrantAddOnResponse>, Status> {
        let (purchase, app, _) = self.change(request).await?;
        Ok(Response::new(pb::GrantAddOnResponse { purchase, app }))
    }

    async fn grant_limit(
        &self,
        request: Request<pb::GrantLimitRequest>,
    ) -> Result<Response<pb::GrantLimitResponse>, Status> {
        let (purchase, app, _) = self.change(request).await?;
        Ok(Response::new(pb::GrantLimitResponse { purchase, app }))
    }

    async fn refund_purchase(
        &self,
        request: Request<pb::RefundPurchaseRequest>,
    ) -> Result<Response<pb::RefundPurchaseResponse>, Status> {
        let (purchase, app, changed) = self.change(request).await?;
        let catalog = self.administration.catalog();
        let value = changed.remaining.map(|it| show::remaining(&catalog, it));
        Ok(Response::new(pb::RefundPurchaseResponse { purchase, value, app }))
    }

    async fn change_edition(
        &self,
        request: Request<pb::ChangeEditionRequest>,
    ) -> Result<Response<pb::ChangeEditionResponse>, Status> {
        let (purchase, app, changed) = self.change(request).await?;
        let (refunds, sum_fen) =
            show::exchange(&self.administration.catalog(), app.as_ref(), changed.exchange);
        Ok(Response::new(pb::ChangeEditionResponse { purchase, refunds, sum_fen, app }))
    }

    async fn exchange_add_on(
        &self,
        request: Request<pb::ExchangeAddOnRequest>,
    ) -> Result<Response<pb::ExchangeAddOnResponse>, Status> {
        let (purchase, app, changed) = self.change(request).await?;
        let (refunds, sum_fen) =
            show::exchange(&self.administration.catalog(), app.as_ref(), changed.exchange);
        Ok(Response::new(pb::ExchangeAddOnResponse { purchase, refunds, sum_fen, app }))
    }

    async fn update_app(
        &self,
        request: Request<pb::UpdateAppRequest>,
    ) -> Result<Response<pb::UpdateAppResponse>, Status> {
        let (_, app, _) = self.change(request).await?;
        Ok(Response::new(pb::UpdateAppResponse { app }))
    }

    async fn get_app(
        &self,
        request: Request<pb::GetAppRequest>,
    ) -> Result<Response<pb::GetAppResponse>, Status> {
        require(&request, Role::Viewer, "GetApp")?;
        let mut fields = Fields::default();
        let timeout = timeout(request.metadata());
        let app = fields.app_id(request.into_inner().app_id);
        let app = fields.finish(app).map_err(of_invalid)?;
        let view = read(&self.administration, timeout, self.administration.app(&app)).await?;
        let app = show::app(&self.administration.catalog(), &view);
        Ok(Response::new(pb::GetAppResponse { app: Some(app) }))
    }

    async fn list_apps(
        &self,
        request: Request<pb::ListAppsRequest>,
    ) -> Result<Response<pb::ListAppsResponse>, Status> {
        let caller = require_counted(&request, Role::Viewer, "ListApps")?;
        let (after, size) = check::apps_page(request.get_ref())?;
        let _permit = self.listing.try_acquire(&caller)?;
        let list = self.administration.apps(after.as_ref(), size);
        let list = read(&self.administration, timeout(request.metadata()), list).await?;
        let catalog = self.administration.catalog();
        let mut apps = Vec::with_capacity(list.views.len());
        for views in list.views.chunks(SLICE_ITEMS) {
            if !apps.is_empty() {
                self.administration.pace().next_slice().await;
            }
            apps.extend(views.iter().map(|view| show::listed(&catalog, view)));
        }
        Ok(Response::new(pb::ListAppsResponse {
            next_page_token: list.next.unwrap_or_default(),
            apps,
            unreadable: list.unreadable.into_iter().map(show::unreadable).collect(),
        }))
    }

    async fn preview_entitlement(
        &self,
        request: Request<pb::PreviewEntitlementRequest>,
    ) -> Result<Response<pb::PreviewEntitlementResponse>, Status> {
        let (caller, authorization) =
            require_lasting(&request, Role::Viewer, "PreviewEntitlement")?;
        let timeout = timeout(request.metadata());
        let (app, preview) = check::preview(request.into_inner())?;
        let preview = self.preview(&app, preview, timeout, &caller.key(), authorization).await?;
        let catalog = self.administration.catalog();
        Ok(Response::new(show::preview(&catalog, &preview)))
    }

    async fn get_catalog(
        &self,
        request: Request<pb::GetCatalogRequest>,
    ) -> Result<Response<pb::GetCatalogResponse>, Status> {
        require(&request, Role::Viewer, "GetCatalog")?;
        Ok(Response::new(catalog::catalog(&self.administration.catalog())))
    }

    async fn list_audit_events(
        &self,
        request: Request<pb::ListAuditEventsRequest>,
    ) -> Result<Response<pb::ListAuditEventsResponse>, Status> {
        let caller = require_counted(&request, Role::Viewer, "ListAuditEvents")?;
        let _permit = self.listing.try_acquire(&caller)?;
        let timeout = timeout(request.metadata());
        let (after, size, filter) = check::audit_page(request.into_inner())?;
        let found = self.administration.entries(after, size, &filter);
        let found = read(&self.administration, timeout, found).await?;
        Ok(Response::new(pb::ListAuditEventsResponse {
            events: found.entries.into_iter().map(show::audit_event).collect(),
            next_page_token: found.next.map(|next| next.to_string()).unwrap_or_default(),
            head_number: found.head.number,
            head_hash: found.head.hash,
        }))
    }

    type WatchEventsStream = watch::Answers;

    async fn watch_events(
        &self,
        request: Request<pb::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let (caller, authorization) = require_lasting(&request, Role::Viewer, "WatchEvents")?;
        let connection_age = ConnectionAge::of(request.extensions());
        let wanted = watch::Wanted::new(request.into_inner())?;
        let stream = watch::Stream {
            wanted,
            administration: self.administration.clone(),
            log: self.events.clone(),
            authorization,
            connection_age,
            shutdown: self.shutdown.clone(),
            permit: self.watching.try_acquire(&caller.key())?,
        };
        Ok(Response::new(stream.answer().await?))
    }

    async fn list_top_denials(
        &self,
        request: Request<pb::ListTopDenialsRequest>,
    ) -> Result<Response<pb::ListTopDenialsResponse>, Status> {
        require(&request, Role::Viewer, "ListTopDenials")?;
        let (app, most) = top::page(request.into_inner())?;
        let top = self.administration.top_denials(app.as_ref(), most);
        Ok(Response::new(top::response(top)))
    }

    type CreateBackupStream = backup::Answers;

    async fn create_backup(
        &self,
        request: Request<pb::CreateBackupRequest>,
    ) -> Result<Response<Self::CreateBackupStream>, Status> {
        let (caller, authorization) = require_lasting(&request, Role::Owner, CREATE_BACKUP)?;
        let permit = self.backing_up.try_acquire(&caller.key())?;
        let file = self
            .administration
            .snapshot(caller.actor)
            .await
            .map_err(|error| of_snapshot(&error))?;
        Ok(Response::new(backup::send(file, authorization, permit)))
    }

    async fn activate_catalog(
        &self,
        request: Request<pb::ActivateCatalogRequest>,
    ) -> Result<Response<pb::ActivateCatalogResponse>, Status> {
        let actor = require(&request, Role::Owner, ACTIVATE_CATALOG)?;
        let activation = check::activation(request.into_inner())?;
        let activated = self.administration.activate_catalog(activation, actor).await;
        let Activated { version, hash, since } = activated.map_err(|error| of_admin(&error))?;
        let in_force_since = Some(timestamp(since));
        let content_hash = hash;
        Ok(Response::new(pb::ActivateCatalogResponse { version, content_hash, in_force_since }))
    }

    async fn get_store_state(
        &self,
        request: Request<pb::GetStoreStateRequest>,
    ) -> Result<Response<pb::GetStoreStateResponse>, Status> {
        require(&request, Role::Viewer, "GetStoreState")?;
        Ok(Response::new(store::state(self.administration.store_state())))
    }

    async fn accept_store(
        &self,
        request: Request<pb::AcceptStoreRequest>,
    ) -> Result<Response<pb::AcceptStoreResponse>, Status> {
        store::accept(self, request).await.map(Response::new)
    }

    async fn list_set_aside_operations(
        &self,
        request: Request<pb::ListSetAsideOperationsRequest>,
    ) -> Result<Response<pb::ListSetAsideOperationsResponse>, Status> {
        require(&request, Role::Viewer, "ListSetAsideOperations")?;
        let it = request.get_ref();
        let (after, size) =
            store::page(&it.page_token, it.page_size, self.administration.last_journal_number())?;
        let entries = self.administration.read_set_aside(after, size).await;
        let entries = entries.map_err(|error| of_journal(&error))?;
        Ok(Response::new(store::set_aside(entries, size)))
    }

    async fn delete_set_aside_operations(
        &self,
        request: Request<pb::DeleteSetAsideOperationsRequest>,
    ) -> Result<Response<pb::DeleteSetAsideOperationsResponse>, Status> {
        journal::delete_set_aside(self, request).await.map(Response::new)
    }

    async fn list_journal_entries(
        &self,
        request: Request<pb::ListJournalEntriesRequest>,
    ) -> Result<Response<pb::ListJournalEntriesResponse>, Status> {
        journal::list(self, request).map(Response::new)
    }

    async fn retry_journal_entry(
        &self,
        request: Request<pb::RetryJournalEntryRequest>,
    ) -> Result<Response<pb::RetryJournalEntryResponse>, Status> {
        journal::retry(self, request).await.map(Response::new)
    }

    async fn drop_journal_entry(
        &self,
        request: Request<pb::DropJournalEntryRequest>,
    ) -> Result<Response<pb::DropJournalEntryResponse>, Status> {
        journal::drop_entry(self, request).await.map(Response::new)
    }

    async fn track_changes(
        &self,
        request: Request<pb::TrackChangesRequest>,
    ) -> Result<Response<pb::TrackChangesResponse>, Status> {
        let actor = require(&request, Role::Operator, TRACK_CHANGES)?;
        let (app, keep_for) = exported::tracked(request.into_inner())?;
        let tracking = self.administration.track_changes(&app, keep_for, actor).await;
        let tracking = tracking.map_err(of_reconcile)?;
        let at = |instant| Some(timestamp(instant));
        let (since, until) = (at(tracking.since), at(tracking.until));
        Ok(Response::new(pb::TrackChangesResponse { since, until }))
    }

    async fn accept_clock(
        &self,
        request: Request<pb::AcceptClockRequest>,
    ) -> Result<Response<pb::AcceptClockResponse>, Status> {
        let actor = require(&request, Role::Owner, ACCEPT_CLOCK)?;
        let mut fields = Fields::default();
        let request_id = fields.request_id(request.into_inner().request_id);
        let request_id = fields.finish(request_id).map_err(of_invalid)?;
        let accepted = self.administration.accept_clock(&request_id, actor).await;
        let accepted = accepted.map_err(of_accept_clock)?;
        let at = |instant| Some(timestamp(instant));
        let (before, after) = (at(accepted.before), at(accepted.after));
        Ok(Response::new(pb::AcceptClockResponse { before, after }))
    }

    type ReconcileStream = reconcile::Answers;

    async fn reconcile(
        &self,
        request: Request<Streaming<pb::ReconcileRequest>>,
    ) -> Result<Response<Self::ReconcileStream>, Status> {
        let (caller, authorization) = require_lasting(&request, Role::Operator, RECONCILE)?;
        let permit = self.reconciling.try_acquire(&caller.key())?;
        let stream = reconcile::Stream {
            administration: self.administration.clone(),
            actor: caller.actor,
            requests: request.into_inner(),
            authorization,
            shutdown: self.shutdown.clone(),
            permit,
        };
        Ok(Response::new(stream.answer()))
    }
}
