//! AdminService: registering apps and selling to them.

use tonic::{Request, Response, Status};

use super::answer::{source, timestamp};
use super::fields::Fields;
use super::pb::admin_service_server::{AdminService, AdminServiceServer};
use super::status::{of_admin, of_invalid};
use super::{REQUEST_MAX_BYTES, pb};
use crate::domain::catalog::Catalog;
use crate::domain::id::{AppId, Name, RequestId};
use crate::domain::limit::{Bound, LimitId};
use crate::domain::purchase::{Item, Order, Period, Purchase, ServiceState};
use crate::domain::usage::entitled;
use crate::engine::administration::{Administration, AppView};

/// The administration as a service.
#[derive(Clone)]
pub struct AdminApi {
    administration: Administration,
}

impl AdminApi {
    /// Over the administration of an engine.
    #[must_use]
    pub fn new(administration: Administration) -> Self {
        Self { administration }
    }

    /// As a service of a server.
    #[must_use]
    pub fn into_service(self) -> AdminServiceServer<Self> {
        AdminServiceServer::new(self).max_decoding_message_size(REQUEST_MAX_BYTES)
    }

    fn app(&self, view: &AppView) -> pb::App {
        app(&self.administration.catalog(), view)
    }

    async fn buy(
        &self,
        (app, request_id, order, months): Checked,
    ) -> Result<(Option<pb::Purchase>, Option<pb::App>), Status> {
        let bought = self.administration.buy(app, request_id, order, months).await;
        let (index, view) = bought.map_err(|error| of_admin(&error))?;
        let app = self.app(&view);
        Ok((app.purchases.get(index).cloned(), Some(app)))
    }
}

/// A purchase that has been checked.
type Checked = (AppId, RequestId, Order, u32);

/// Checks what every purchase names, and by `order` what is bought.
fn check(
    app_id: String,
    request_id: String,
    months: u32,
    order: impl FnOnce(&mut Fields) -> Option<Order>,
) -> Result<Checked, Status> {
    let mut fields = Fields::default();
    let app = fields.app_id(app_id);
    let request_id = fields.request_id(request_id);
    let order = order(&mut fields);
    let months = fields.months(months);
    let value = (|| Some((app?, request_id?, order?, months?)))();
    fields.finish(value).map_err(of_invalid)
}

#[tonic::async_trait]
impl AdminService for AdminApi {
    async fn create_app(
        &self,
        request: Request<pb::CreateAppRequest>,
    ) -> Result<Response<pb::CreateAppResponse>, Status> {
        let request = request.into_inner();
        let mut fields = Fields::default();
        let app = fields.app_id(request.app_id);
        let request_id = fields.request_id(request.request_id);
        let (app, request_id) = fields.finish(app.zip(request_id)).map_err(of_invalid)?;
        let view = self.administration.create_app(app, request_id).await;
        let view = view.map_err(|error| of_admin(&error))?;
        Ok(Response::new(pb::CreateAppResponse { app: Some(self.app(&view)) }))
    }

    async fn purchase_edition(
        &self,
        request: Request<pb::PurchaseEditionRequest>,
    ) -> Result<Response<pb::PurchaseEditionResponse>, Status> {
        let it = request.into_inner();
        let checked = check(it.app_id, it.request_id, it.months, |fields| {
            fields.name("edition_id", it.edition_id).map(Order::Edition)
        })?;
        let (purchase, app) = self.buy(checked).await?;
        Ok(Response::new(pb::PurchaseEditionResponse { purchase, app }))
    }

    async fn renew_edition(
        &self,
        request: Request<pb::RenewEditionRequest>,
    ) -> Result<Response<pb::RenewEditionResponse>, Status> {
        let it = request.into_inner();
        let checked = check(it.app_id, it.request_id, it.months, |_| Some(Order::Renewal))?;
        let (purchase, app) = self.buy(checked).await?;
        Ok(Response::new(pb::RenewEditionResponse { purchase, app }))
    }

    async fn grant_add_on(
        &self,
        request: Request<pb::GrantAddOnRequest>,
    ) -> Result<Response<pb::GrantAddOnResponse>, Status> {
        let it = request.into_inner();
        let checked = check(it.app_id, it.request_id, it.months, |fields| {
            fields.name("add_on_id", it.add_on_id).map(Order::AddOn)
        })?;
        let (purchase, app) = self.buy(checked).await?;
        Ok(Response::new(pb::GrantAddOnResponse { purchase, app }))
    }

    async fn get_app(
        &self,
        request: Request<pb::GetAppRequest>,
    ) -> Result<Response<pb::GetAppResponse>, Status> {
        let mut fields = Fields::default();
        let app = fields.app_id(request.into_inner().app_id);
        let app = fields.finish(app).map_err(of_invalid)?;
        let view = self.administration.app(&app).await.map_err(|error| of_admin(&error))?;
        Ok(Response::new(pb::GetAppResponse { app: Some(self.app(&view)) }))
    }
}

fn app(catalog: &Catalog, view: &AppView) -> pb::App {
    let purchases = view.record.purchases.iter().zip(&view.valid);
    pb::App {
        app_id: view.record.app.to_string(),
        created_at: Some(timestamp(view.record.created_at)),
        purchases: purchases.map(|(purchase, valid)| bought(purchase, *valid)).collect(),
        entitlement: Some(pb::Entitlement {
            edition_id: view.limits.edition.to_string(),
            state: match view.limits.state {
                ServiceState::Active => pb::ServiceState::Active,
                ServiceState::Grace => pb::ServiceState::Grace,
                ServiceState::Stopped => pb::ServiceState::Stopped,
            }
            .into(),
            add_on_ids: view.limits.add_ons.iter().map(Name::to_string).collect(),
            limits: entitled(catalog, &view.limits).iter().map(limit).collect(),
            changes_at: view.changes_at.map(timestamp),
        }),
    }
}

fn bought(purchase: &Purchase, valid: Period) -> pb::Purchase {
    use pb::purchase::Item as Bought;
    let (item, renewal) = match &purchase.item {
        Item::Edition(name) => (Bought::EditionId(name.to_string()), false),
        Item::Renewal(name) | Item::Restart(name) => (Bought::EditionId(name.to_string()), true),
        Item::AddOn(name) => (Bought::AddOnId(name.to_string()), false),
    };
    pb::Purchase {
        request_id: purchase.request_id.to_string(),
        item: Some(item),
        renewal,
        months: purchase.months,
        price_fen: purchase.price_fen,
        purchased_at: Some(timestamp(purchase.at)),
        valid_from: Some(timestamp(valid.from)),
        valid_until: Some(timestamp(valid.until)),
    }
}

fn limit((limit_id, bound): &(LimitId, Bound)) -> pb::EntitledLimit {
    let (source, source_id) = source(&bound.source);
    pb::EntitledLimit {
        limit_id: limit_id.to_string(),
        limit: bound.limit.finite(),
        source: source.into(),
        source_id,
    }
}
