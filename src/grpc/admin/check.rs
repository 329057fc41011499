//! Requests of the admin service, checked field by field.

use tonic::{Request, Status};

use crate::access::Role;
use crate::domain::agreed::{AgreedOrder, check_note};
use crate::domain::app_details::{self, DetailsUpdate};
use crate::domain::audit::Actor;
use crate::domain::calendar::Day;
use crate::domain::exchange::{ExchangeOrder, Exchanged};
use crate::domain::id::{AppId, GroupId, RequestId};
use crate::domain::id_rules::IdRules;
use crate::domain::limit::Limit;
use crate::domain::purchase::Order;
use crate::engine::admin::{
    Activation, Change, ChangeKind, EntryFilter, PreviewChange, PreviewRequest,
};
use crate::grpc::agreed::AgreedTerm;
use crate::grpc::caller::require;
use crate::grpc::fields::{Fields, instant};
use crate::grpc::pb::{self, preview_entitlement_request::Change as PbChange};
use crate::grpc::status::of_invalid;

/// Most entries of a page, and the number without `page_size`.
const PAGE_MAX: u32 = 1000;
const PAGE_DEFAULT: usize = 100;
/// Most users and most groups of a preview.
const PREVIEWED_MAX: usize = 1000;

/// Every RPC that the audit log records.
const ACTIONS: [&str; 20] = [
    pb::CreateAppRequest::RPC,
    pb::PurchaseEditionRequest::RPC,
    pb::RenewEditionRequest::RPC,
    pb::GrantAddOnRequest::RPC,
    pb::GrantLimitRequest::RPC,
    pb::RefundPurchaseRequest::RPC,
    pb::ChangeEditionRequest::RPC,
    pb::ExchangeAddOnRequest::RPC,
    pb::SetMessageRetentionRequest::RPC,
    pb::UpdateAppRequest::RPC,
    super::TRACK_CHANGES,
    super::RECONCILE,
    super::ACTIVATE_CATALOG,
    super::ACCEPT_STORE,
    super::RETRY_JOURNAL_ENTRY,
    super::DROP_JOURNAL_ENTRY,
    super::DELETE_SET_ASIDE_OPERATIONS,
    super::ACCEPT_CLOCK,
    super::CREATE_BACKUP,
    ISSUE_STATEMENT,
];
/// Action of the audit log for the issue of a final statement, which no RPC requests.
const ISSUE_STATEMENT: &str = "IssueStatement";

/// A request for a change.
pub trait ChangeRequest {
    /// The RPC.
    const RPC: &'static str;
    /// The role that the RPC needs.
    const ROLE: Role;

    /// Takes app, request id and instant out of the request.
    fn head(&mut self) -> (String, String, Option<prost_types::Timestamp>);

    /// Returns whether it sets an agreed price.
    fn has_price(&self) -> bool {
        false
    }

    /// Returns the requested change.
    fn what(self, fields: &mut Fields) -> Option<ChangeKind>;
}

macro_rules! asks_for_change {
    ($(
        $request:ident $(with $price:ident)?, $role:ident $rpc:literal,
        |$it:ident, $fields:ident| $what:expr;
    )*) => {$(
        impl ChangeRequest for pb::$request {
            const RPC: &'static str = $rpc;
            const ROLE: Role = Role::$role;

            fn head(&mut self) -> (String, String, Option<prost_types::Timestamp>) {
                let (app, id) = (&mut self.app_id, &mut self.request_id);
                (std::mem::take(app), std::mem::take(id), self.effective_at.take())
            }

            $(fn has_price(&self) -> bool {
                self.$price.is_some()
            })?

            fn what(self, $fields: &mut Fields) -> Option<ChangeKind> {
                let $it = self;
                $what
            }
        }
    )*};
}

asks_for_change! {
    CreateAppRequest, Operator "CreateApp", |_it, _fields| Some(ChangeKind::Create);
    PurchaseEditionRequest with price_fen, Operator "PurchaseEdition", |it, fields| {
        let order = fields.name("edition_id", it.edition_id).map(Order::Edition);
        buy(order, fields.months("months", it.months), fields.price(it.price_fen))
    };
    RenewEditionRequest with price_fen, Operator "RenewEdition", |it, fields| {
        let months = fields.months("months", it.months);
        buy(Some(Order::Renewal), months, fields.price(it.price_fen))
    };
    GrantAddOnRequest with price_fen, Operator "GrantAddOn", |it, fields| {
        let order = fields.name("add_on_id", it.add_on_id).map(Order::AddOn);
        buy(order, fields.months("months", it.months), fields.price(it.price_fen))
    };
    GrantLimitRequest with price_fen, Owner "GrantLimit", |it, fields| {
        let value = it.value.and_then(|value| value.agreed());
        let agreed = agreed(fields, "", it.limit_id, value, it.term.map(AgreedTerm::from));
        fields.check("note", check_note(&it.note));
        let order = agreed.map(|(order, months)| {
            (Order::Limit(AgreedOrder { note: it.note, ..order }), months)
        });
        let (order, months) = order.unzip();
        buy(order, months, fields.price(it.price_fen))
    };
    RefundPurchaseRequest, Operator "RefundPurchase", |it, fields| {
        let purchase = RequestId::try_from(it.purchase_request_id);
        Some(ChangeKind::Refund { purchase: fields.check("purchase_request_id", purchase)? })
    };
    ChangeEditionRequest with price_fen, Operator "ChangeEdition", |it, fields| {
        let items = fields.name("edition_id", it.edition_id).map(Exchanged::Edition);
        let months = fields.months("months", it.months);
        let price_fen = fields.price(it.price_fen);
        exchange(items, months, it.max_sum_fen, price_fen).map(ChangeKind::Exchange)
    };
    ExchangeAddOnRequest with price_fen, Operator "ExchangeAddOn", |it, fields| {
        let replaced = fields.name("replaced_add_on_id", it.replaced_add_on_id);
        let items = add_ons(replaced, fields.name("add_on_id", it.add_on_id));
        let months = fields.months("months", it.months);
        let price_fen = fields.price(it.price_fen);
        exchange(items, months, it.max_sum_fen, price_fen).map(ChangeKind::Exchange)
    };
    SetMessageRetentionRequest, Operator "SetMessageRetention", |it, _fields| {
        Some(ChangeKind::SetRetention { days: it.days })
    };
}

impl ChangeRequest for pb::UpdateAppRequest {
    const RPC: &'static str = "UpdateApp";
    const ROLE: Role = Role::Operator;

    fn head(&mut self) -> (String, String, Option<prost_types::Timestamp>) {
        // Details are not dated back: no statement depends on when they changed.
        (std::mem::take(&mut self.app_id), std::mem::take(&mut self.request_id), None)
    }

    fn what(self, fields: &mut Fields) -> Option<ChangeKind> {
        let Self { display_name, note, im_code_set, .. } = self;
        if let Some(name) = &display_name {
            fields.check("display_name", app_details::check_display_name(name));
        }
        if let Some(note) = &note {
            fields.check("note", app_details::check_note(note));
        }
        if let Some(set) = im_code_set.as_ref().filter(|set| !set.is_empty()) {
            fields.name("im_code_set", set.clone());
        }
        let update = DetailsUpdate { display_name, note, im_code_set };
        if update.is_empty() {
            fields.wrong("display_name", "must be set, or note, or im_code_set");
        }
        Some(ChangeKind::Update(update))
    }
}

fn buy(order: Option<Order>, months: Option<u32>, price_fen: Option<i64>) -> Option<ChangeKind> {
    Some(ChangeKind::Purchase { order: order?, months: months?, price_fen })
}

/// Longest id of a limit, in bytes: the longest name of a row, and that of a type.
const LIMIT_ID_MAX_BYTES: usize = 128;

/// Checks an agreed limit whose fields have this prefix: returns its order without a note, and its
/// months, which are 0 if it has a last day.
fn agreed(
    fields: &mut Fields,
    prefix: &str,
    limit_id: String,
    limit: Option<Limit>,
    term: Option<AgreedTerm>,
) -> Option<(AgreedOrder, u32)> {
    let field = |name: &str| format!("{prefix}{name}");
    let length = limit_id.len();
    let has_id = (1..=LIMIT_ID_MAX_BYTES).contains(&length);
    if !has_id {
        let expected = format!("must be 1-{LIMIT_ID_MAX_BYTES} bytes long, not {length}");
        fields.wrong(field("limit_id"), expected);
    }
    if limit.is_none() {
        fields.wrong(field("limit"), "must be set, or unlimited must be true");
    }
    let term = match term {
        Some(AgreedTerm::Months(months)) => {
            fields.months(&field("months"), months).map(|months| (months, None))
        }
        Some(AgreedTerm::Until(text)) => {
            // Days have four digits for the year, as they are written.
            let day = Day::parse(&text).filter(|day| day.to_string() == text);
            let day = day.ok_or("must be a day such as 2019-12-31");
            fields.check(&field("until_date"), day).map(|day| (0, Some(day)))
        }
        None => {
            fields.wrong(field("months"), "must be set, or until_date");
            None
        }
    };
    let (months, last_day) = term?;
    let note = String::new();
    has_id.then_some((AgreedOrder { limit_id, limit: limit?, last_day, note }, months))
}

fn add_ons(replaced: Option<String>, add_on: Option<String>) -> Option<Exchanged> {
    Some(Exchanged::AddOn { replaced: replaced?, add_on: add_on? })
}

fn exchange(
    items: Option<Exchanged>,
    months: Option<u32>,
    max_sum_fen: Option<i64>,
    price_fen: Option<i64>,
) -> Option<ExchangeOrder> {
    Some(ExchangeOrder { items: items?, months: months?, max_sum_fen, price_fen })
}

/// Longest version of a catalog, in bytes, as in catalogs.
const VERSION_MAX_BYTES: usize = 64;
/// Digits of the hash of a catalog's content.
const HASH_DIGITS: usize = 64;

/// Checks a request to activate a catalog.
pub fn activation(it: pb::ActivateCatalogRequest) -> Result<Activation, Status> {
    let mut fields = Fields::default();
    let request_id = fields.request_id(it.request_id);
    if it.version.is_empty() || it.version.len() > VERSION_MAX_BYTES {
        let length = it.version.len();
        fields.wrong("version", format!("must have 1 to {VERSION_MAX_BYTES} bytes, not {length}"));
    }
    let digits = it.content_hash.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
    let is_hash = digits && it.content_hash.len() == HASH_DIGITS;
    if !it.content_hash.is_empty() && !is_hash {
        let expected = format!("must be empty or {HASH_DIGITS} hexadecimal digits");
        fields.wrong("content_hash", expected);
    }
    let hash = Some(it.content_hash).filter(|hash| !hash.is_empty());
    let value = request_id.map(|request_id| Activation { request_id, version: it.version, hash });
    fields.finish(value).map_err(of_invalid)
}

/// Checks a request for a change, and its caller.
pub fn change<R: ChangeRequest>(request: Request<R>) -> Result<(Change, Actor), Status> {
    let actor = require(&request, R::ROLE, R::RPC)?;
    let owner = require(&request, Role::Owner, "effective_at");
    let sells = require(&request, Role::Owner, "price_fen");
    let mut it = request.into_inner();
    let (app_id, request_id, effective_at) = it.head();
    if effective_at.is_some() {
        owner?;
    }
    if it.has_price() {
        sells?;
    }
    let mut fields = Fields::default();
    let app = fields.app_id(app_id);
    let request_id = fields.request_id(request_id);
    let effective_at = instant(&mut fields, "effective_at", effective_at);
    let what = it.what(&mut fields);
    let value =
        (|| Some(Change { app: app?, request_id: request_id?, effective_at, what: what? }))();
    Ok((fields.finish(value).map_err(of_invalid)?, actor))
}

fn page_size(fields: &mut Fields, size: u32) -> Option<usize> {
    match size {
        0 => Some(PAGE_DEFAULT),
        1..=PAGE_MAX => usize::try_from(size).ok(),
        _ => {
            fields.wrong("page_size", format!("must be 1-{PAGE_MAX}, or 0, not {size}"));
            None
        }
    }
}

/// Checks the page of apps: the app after which it begins, and its size.
pub fn apps_page(it: &pb::ListAppsRequest) -> Result<(Option<AppId>, usize), Status> {
    let mut fields = Fields::default();
    let size = page_size(&mut fields, it.page_size);
    let after = match it.page_token.as_str() {
        "" => None,
        token => fields.check("page_token", AppId::try_from(token)),
    };
    fields.finish(size.map(|size| (after, size))).map_err(of_invalid)
}

/// Checks the page of the audit log: the entry after which it begins, its size and its filter.
pub fn audit_page(it: pb::ListAuditEventsRequest) -> Result<(u64, usize, EntryFilter), Status> {
    let mut fields = Fields::default();
    let size = page_size(&mut fields, it.page_size);
    // The end of the log is checked when it is read.
    let after = fields.page_token(&it.page_token, u64::MAX);
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    let filter = EntryFilter {
        app: given(it.app_id).and_then(|app| fields.app_id(app)),
        actor: given(it.actor),
        action: given(it.action).and_then(|action| known(&mut fields, action)),
        request_id: given(it.request_id)
            .and_then(|id| fields.request_id(id))
            .map(|id| id.to_string()),
        from: instant(&mut fields, "from", it.from),
        until: instant(&mut fields, "until", it.until),
    };
    let value = after.zip(size).map(|(after, size)| (after, size, filter));
    fields.finish(value).map_err(of_invalid)
}

/// Checks the name of an RPC that the audit log records.
fn known(fields: &mut Fields, action: String) -> Option<String> {
    if ACTIONS.contains(&action.as_str()) {
        return Some(action);
    }
    fields.unknown_name("action", "logged action", &action, ACTIONS);
    None
}

/// Checks a request for a preview.
pub fn preview(it: pb::PreviewEntitlementRequest) -> Result<(AppId, PreviewRequest), Status> {
    let mut fields = Fields::default();
    let app = fields.app_id(it.app_id);
    let at = instant(&mut fields, "at", it.at);
    let users =
        fields.user_ids("user_ids", &it.user_ids, &IdRules::WIDEST, 0..=PREVIEWED_MAX, None);
    let groups = groups(&mut fields, &it.group_ids);
    let price_fen = fields.price(it.price_fen);
    let is_refund = matches!(it.change, None | Some(PbChange::RefundPurchaseRequestId(_)));
    if price_fen.is_some() && is_refund {
        fields.wrong("price_fen", "must be absent without a change that sells something");
    }
    let change = it.change.and_then(|change| previewed(&mut fields, change, price_fen));
    let everybody = it.everybody;
    let preview_request = || {
        Some(PreviewRequest { change, at, users: users?, groups: groups?, overrun_scan: everybody })
    };
    let value = app.zip(preview_request());
    fields.finish(value).map_err(of_invalid)
}

/// Checks the change of a preview; `None` if it is invalid, which is recorded.
fn previewed(
    fields: &mut Fields,
    change: PbChange,
    price_fen: Option<i64>,
) -> Option<PreviewChange> {
    let (order, months) = match change {
        PbChange::PurchaseEdition(edition) => {
            let order = fields.name("purchase_edition.edition_id", edition.edition_id);
            let months = fields.months("purchase_edition.months", edition.months);
            (order.map(Order::Edition), months)
        }
        PbChange::RenewEditionMonths(months) => {
            (Some(Order::Renewal), fields.months("renew_edition_months", months))
        }
        PbChange::GrantAddOn(add_on) => {
            let order = fields.name("grant_add_on.add_on_id", add_on.add_on_id);
            let months = fields.months("grant_add_on.months", add_on.months);
            (order.map(Order::AddOn), months)
        }
        PbChange::RefundPurchaseRequestId(id) => {
            let purchase = fields.check("refund_purchase_request_id", RequestId::try_from(id));
            return purchase.map(PreviewChange::Refund);
        }
        PbChange::ChangeEdition(edition) => {
            let id = fields.name("change_edition.edition_id", edition.edition_id);
            let months = fields.months("change_edition.months", edition.months);
            let items = id.map(Exchanged::Edition);
            return exchange(items, months, None, price_fen).map(PreviewChange::Exchange);
        }
        PbChange::ExchangeAddOn(it) => {
            let replaced = fields.name("exchange_add_on.replaced_add_on_id", it.replaced_add_on_id);
            let add_on = fields.name("exchange_add_on.add_on_id", it.add_on_id);
            let months = fields.months("exchange_add_on.months", it.months);
            let items = add_ons(replaced, add_on);
            return exchange(items, months, None, price_fen).map(PreviewChange::Exchange);
        }
        PbChange::GrantLimit(it) => {
            let value = it.value.and_then(|value| value.agreed());
            let term = it.term.map(AgreedTerm::from);
            let agreed = agreed(fields, "grant_limit.", it.limit_id, value, term);
            agreed.map(|(order, months)| (Order::Limit(order), months)).unzip()
        }
    };
    Some(PreviewChange::Purchase(order?, months?, price_fen))
}

fn groups(fields: &mut Fields, ids: &[String]) -> Option<Vec<GroupId>> {
    if ids.len() > PREVIEWED_MAX {
        let count = ids.len();
        fields.wrong("group_ids", format!("must have 0-{PREVIEWED_MAX} entries, not {count}"));
        return None;
    }
    let groups = ids
        .iter()
        .enumerate()
        .map(|(index, id)| fields.group_id(&format!("group_ids[{index}]"), id, &IdRules::WIDEST));
    groups.collect::<Vec<_>>().into_iter().collect()
}
