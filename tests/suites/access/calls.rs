//! Every RPC of the admin listener, and the least role that it needs.

use imquota::access::Role;
use imquota::clock::{Clock as _, SystemClock};
use imquota::grpc::pb;
use imquota::grpc::pb::reconcile_request::Part;
use prost_types::Timestamp;
use tonic::{Code, Response, Status};

use super::connection::Client;

/// An RPC, the field that the call sets in addition, and the least role that it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    pub rpc: &'static str,
    pub with: With,
    pub least: Role,
}

/// A field with which a call needs a higher role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum With {
    Plain,
    DatedBack,
    Priced,
}

use With::{DatedBack, Plain, Priced};

const fn row(rpc: &'static str, with: With, least: Role) -> Call {
    Call { rpc, with, least }
}

/// The table.
pub const CALLS: [Call; 49] = [
    row("CreateApp", Plain, Role::Operator),
    row("CreateApp", DatedBack, Role::Owner),
    row("PurchaseEdition", Plain, Role::Operator),
    row("PurchaseEdition", DatedBack, Role::Owner),
    row("PurchaseEdition", Priced, Role::Owner),
    row("RenewEdition", Plain, Role::Operator),
    row("RenewEdition", DatedBack, Role::Owner),
    row("RenewEdition", Priced, Role::Owner),
    row("GrantAddOn", Plain, Role::Operator),
    row("GrantAddOn", DatedBack, Role::Owner),
    row("GrantAddOn", Priced, Role::Owner),
    row("GrantLimit", Plain, Role::Owner),
    row("GrantLimit", DatedBack, Role::Owner),
    row("GrantLimit", Priced, Role::Owner),
    row("RefundPurchase", Plain, Role::Operator),
    row("RefundPurchase", DatedBack, Role::Owner),
    row("ChangeEdition", Plain, Role::Operator),
    row("ChangeEdition", DatedBack, Role::Owner),
    row("ChangeEdition", Priced, Role::Owner),
    row("ExchangeAddOn", Plain, Role::Operator),
    row("ExchangeAddOn", DatedBack, Role::Owner),
    row("ExchangeAddOn", Priced, Role::Owner),
    row("UpdateApp", Plain, Role::Operator),
    row("GetApp", Plain, Role::Viewer),
    row("ListApps", Plain, Role::Viewer),
    row("GetCatalog", Plain, Role::Viewer),
    row("PreviewEntitlement", Plain, Role::Viewer),
    row("ListAuditEvents", Plain, Role::Viewer),
    row("WatchEvents", Plain, Role::Viewer),
    row("ListTopDenials", Plain, Role::Viewer),
    row("CreateBackup", Plain, Role::Owner),
    row("ActivateCatalog", Plain, Role::Owner),
    row("GetStoreState", Plain, Role::Viewer),
    row("AcceptStore", Plain, Role::Owner),
    row("ListSetAsideOperations", Plain, Role::Viewer),
    row("DeleteSetAsideOperations", Plain, Role::Owner),
    row("ListJournalEntries", Plain, Role::Viewer),
    row("RetryJournalEntry", Plain, Role::Owner),
    row("DropJournalEntry", Plain, Role::Owner),
    row("AcceptClock", Plain, Role::Owner),
    row("TrackChanges", Plain, Role::Operator),
    row("Reconcile", Plain, Role::Operator),
    row("RecordLogins", Plain, Role::Operator),
    row("ReportBandwidth", Plain, Role::Operator),
    row("ReportGauge", Plain, Role::Operator),
    row("SetMessageRetention", Plain, Role::Operator),
    row("SetMessageRetention", DatedBack, Role::Owner),
    row("GetStatement", Plain, Role::Viewer),
    row("ExportStatement", Plain, Role::Viewer),
];

/// RPCs that sell or refund, beside those that name an edition or add-on.
const OF_SALES: [&str; 2] = ["GrantLimit", "RefundPurchase"];

/// RPCs on the store, or on the sidecar itself.
const OF_STORE: [&str; 6] = [
    "ListTopDenials",
    "ActivateCatalog",
    "AcceptClock",
    "GetStoreState",
    "AcceptStore",
    "ListSetAsideOperations",
];

fn code<T>(answer: Result<Response<T>, Status>) -> Code {
    answer.map_or_else(|status| status.code(), |_| Code::Ok)
}

impl Call {
    /// The status code of an authorized call.
    pub fn when_authorized(self) -> Code {
        // The store of these tests is embedded: it has no loss to accept, and no journal.
        // The catalog has one edition for sale, and none to change it to.
        let refused = ["AcceptStore", "RetryJournalEntry", "DropJournalEntry", "ChangeEdition"];
        match self.rpc {
            // The catalog has no gauge.
            "ReportGauge" => Code::InvalidArgument,
            rpc if refused.contains(&rpc) => Code::FailedPrecondition,
            _ => Code::Ok,
        }
    }

    /// Makes the call for an app.
    pub async fn make(self, client: &mut Client, app: &str) -> Code {
        let app_id = app.to_owned();
        let request_id = format!("{app} {}", self.rpc);
        let effective_at = (self.with == DatedBack).then(|| {
            let millis = SystemClock.now().as_millis() - 1;
            let nanos = i32::try_from(millis.rem_euclid(1000) * 1_000_000).expect("below 10^9");
            Timestamp { seconds: millis.div_euclid(1000), nanos }
        });
        match self.rpc {
            "CreateApp" => {
                let request = pb::CreateAppRequest { app_id, request_id, effective_at };
                code(client.create_app(request).await)
            }
            "UpdateApp" => {
                let note = Some("note".to_owned());
                let request =
                    pb::UpdateAppRequest { app_id, request_id, note, ..Default::default() };
                code(client.update_app(request).await)
            }
            "GetApp" => code(client.get_app(pb::GetAppRequest { app_id }).await),
            "ListApps" => code(client.list_apps(pb::ListAppsRequest::default()).await),
            "GetCatalog" => code(client.get_catalog(pb::GetCatalogRequest {}).await),
            "PreviewEntitlement" => {
                let request = pb::PreviewEntitlementRequest { app_id, ..Default::default() };
                code(client.preview_entitlement(request).await)
            }
            "ListAuditEvents" => {
                code(client.list_audit_events(pb::ListAuditEventsRequest::default()).await)
            }
            "WatchEvents" => code(client.watch_events(pb::WatchEventsRequest::default()).await),
            "CreateBackup" => code(client.create_backup(pb::CreateBackupRequest {}).await),
            "TrackChanges" => {
                let request = pb::TrackChangesRequest { app_id, keep_for: None };
                code(client.track_changes(request).await)
            }
            "Reconcile" => reconcile(client, app_id).await,
            rpc if OF_STORE.contains(&rpc) => self.make_of_store(client, request_id).await,
            rpc if rpc.contains("Journal") || rpc.starts_with("DeleteSetAside") => {
                self.make_of_journal(client, app_id, request_id).await
            }
            rpc if rpc.contains("Edition") || rpc.contains("AddOn") || OF_SALES.contains(&rpc) => {
                self.make_sale(client, app_id, request_id, effective_at).await
            }
            _ => self.make_metering(client, app_id, request_id, effective_at).await,
        }
    }

    async fn make_sale(
        self,
        client: &mut Client,
        app_id: String,
        request_id: String,
        effective_at: Option<Timestamp>,
    ) -> Code {
        let price_fen = (self.with == Priced).then_some(1);
        match self.rpc {
            "PurchaseEdition" => {
                let (edition_id, months) = ("professional".to_owned(), 1);
                let request = pb::PurchaseEditionRequest {
                    app_id,
                    request_id,
                    edition_id,
                    months,
                    effective_at,
                    price_fen,
                };
                code(client.purchase_edition(request).await)
            }
            "RenewEdition" => {
                let months = 1;
                let request =
                    pb::RenewEditionRequest { app_id, request_id, months, effective_at, price_fen };
                code(client.renew_edition(request).await)
            }
            "GrantAddOn" => {
                let (add_on_id, months) = ("members-2000".to_owned(), 1);
                let request = pb::GrantAddOnRequest {
                    app_id,
                    request_id,
                    add_on_id,
                    months,
                    effective_at,
                    price_fen,
                };
                code(client.grant_add_on(request).await)
            }
            _ => self.make_other_sale(client, app_id, request_id, effective_at).await,
        }
    }

    async fn make_other_sale(
        self,
        client: &mut Client,
        app_id: String,
        request_id: String,
        effective_at: Option<Timestamp>,
    ) -> Code {
        let price_fen = (self.with == Priced).then_some(1);
        match self.rpc {
            "GrantLimit" => {
                let request = pb::GrantLimitRequest {
                    app_id,
                    request_id,
                    limit_id: "groups_per_user".to_owned(),
                    value: Some(pb::grant_limit_request::Value::Limit(500)),
                    term: Some(pb::grant_limit_request::Term::Months(1)),
                    price_fen,
                    note: "contract 7".to_owned(),
                    effective_at,
                };
                code(client.grant_limit(request).await)
            }
            "RefundPurchase" => {
                let purchase_request_id = format!("{app_id} PurchaseEdition");
                let request = pb::RefundPurchaseRequest {
                    app_id,
                    request_id,
                    purchase_request_id,
                    effective_at,
                };
                code(client.refund_purchase(request).await)
            }
            "ChangeEdition" => {
                let (edition_id, months) = ("professional".to_owned(), 1);
                let request = pb::ChangeEditionRequest {
                    app_id,
                    request_id,
                    edition_id,
                    months,
                    max_sum_fen: None,
                    effective_at,
                    price_fen,
                };
                code(client.change_edition(request).await)
            }
            "ExchangeAddOn" => {
                let request = pb::ExchangeAddOnRequest {
                    app_id,
                    request_id,
                    replaced_add_on_id: "members-2000".to_owned(),
                    add_on_id: "members-6000".to_owned(),
                    months: 1,
                    max_sum_fen: None,
                    effective_at,
                    price_fen,
                };
                code(client.exchange_add_on(request).await)
            }
            other => panic!("no RPC {other}"),
        }
    }

    async fn make_of_store(self, client: &mut Client, request_id: String) -> Code {
        match self.rpc {
            "ListTopDenials" => {
                code(client.list_top_denials(pb::ListTopDenialsRequest::default()).await)
            }
            "ActivateCatalog" => activate(client, request_id).await,
            "AcceptClock" => code(client.accept_clock(pb::AcceptClockRequest { request_id }).await),
            "GetStoreState" => code(client.get_store_state(pb::GetStoreStateRequest {}).await),
            "AcceptStore" => {
                let found_store_id = String::new();
                let request = pb::AcceptStoreRequest { request_id, found_store_id };
                code(client.accept_store(request).await)
            }
            _ => {
                let request = pb::ListSetAsideOperationsRequest::default();
                code(client.list_set_aside_operations(request).await)
            }
        }
    }

    async fn make_of_journal(
        self,
        client: &mut Client,
        app_id: String,
        request_id: String,
    ) -> Code {
        let (number, through_number) = (1, 1);
        match self.rpc {
            "DeleteSetAsideOperations" => {
                let request = pb::DeleteSetAsideOperationsRequest { request_id, through_number };
                code(client.delete_set_aside_operations(request).await)
            }
            "RetryJournalEntry" => {
                let request = pb::RetryJournalEntryRequest { request_id, number, app_id };
                code(client.retry_journal_entry(request).await)
            }
            "DropJournalEntry" => {
                let request = pb::DropJournalEntryRequest { request_id, number, app_id };
                code(client.drop_journal_entry(request).await)
            }
            _ => {
                let request = pb::ListJournalEntriesRequest::default();
                code(client.list_journal_entries(request).await)
            }
        }
    }

    async fn make_metering(
        self,
        client: &mut Client,
        app_id: String,
        request_id: String,
        effective_at: Option<Timestamp>,
    ) -> Code {
        let client = &mut client.metering;
        match self.rpc {
            "RecordLogins" => {
                let logins = vec![pb::Login { user_id: "a".to_owned(), at: None }];
                code(
                    client.record_logins(pb::RecordLoginsRequest { app_id, logins, mode: 0 }).await,
                )
            }
            "ReportBandwidth" => {
                let region = "mainland".to_owned();
                let samples = vec![pb::BandwidthSample { region, kbps: 1, at: None }];
                code(client.report_bandwidth(pb::ReportBandwidthRequest { app_id, samples }).await)
            }
            "ReportGauge" => {
                let gauge = "connections".to_owned();
                let samples = vec![pb::GaugeSample { gauge, value: 1, at: None }];
                code(client.report_gauge(pb::ReportGaugeRequest { app_id, samples }).await)
            }
            "SetMessageRetention" => {
                // As the apps of the table are on trial, no longer than the free days.
                let days = 7;
                let request =
                    pb::SetMessageRetentionRequest { app_id, request_id, days, effective_at };
                code(client.set_message_retention(request).await)
            }
            "GetStatement" => {
                let month = String::new();
                code(client.get_statement(pb::GetStatementRequest { app_id, month }).await)
            }
            "ExportStatement" => {
                let request = pb::ExportStatementRequest { app_id, ..Default::default() };
                code(client.export_statement(request).await)
            }
            other => panic!("no RPC {other}"),
        }
    }

    /// The number of audit entries that the call appends.
    pub fn entries(self) -> u64 {
        match self.rpc {
            // Start and end.
            "Reconcile" => 2,
            // Metering is not audited, an embedded store has no loss to accept and no journal, and
            // the catalog has no other edition.
            "RecordLogins"
            | "ChangeEdition"
            | "ReportBandwidth"
            | "ReportGauge"
            | "AcceptStore"
            | "RetryJournalEntry"
            | "DropJournalEntry"
            | "DeleteSetAsideOperations" => 0,
            _ => u64::from(self.least > Role::Viewer),
        }
    }
}

/// Activates the catalog that is in force.
async fn activate(client: &mut Client, request_id: String) -> Code {
    let version = imquota::catalog::builtin().version;
    let request = pb::ActivateCatalogRequest { request_id, version, content_hash: String::new() };
    code(client.activate_catalog(request).await)
}

/// Imports an export without accounts.
async fn reconcile(client: &mut Client, app_id: String) -> Code {
    let mode = pb::ReconcileMode::Import.into();
    let begin = pb::ReconcileBegin { app_id, mode, has_accounts: true, ..Default::default() };
    let parts = [Part::Begin(begin), Part::End(pb::ReconcileEnd {})];
    let parts = parts.map(|part| pb::ReconcileRequest { part: Some(part) });
    let mut answers = match client.reconcile(tokio_stream::iter(parts)).await {
        Ok(answers) => answers.into_inner(),
        Err(status) => return status.code(),
    };
    loop {
        match answers.message().await {
            Ok(Some(_)) => {}
            Ok(None) => return Code::Ok,
            Err(status) => return status.code(),
        }
    }
}

/// The last audit entry: its number, its caller, and the caller's address.
pub async fn last_change(owner: &mut Client) -> (u64, String, String) {
    let all = pb::ListAuditEventsRequest { page_size: 1000, ..Default::default() };
    let answer = owner.list_audit_events(all).await.expect("an owner may read").into_inner();
    let last = answer.events.last().cloned().unwrap_or_default();
    (answer.head_number, last.actor, last.from)
}
