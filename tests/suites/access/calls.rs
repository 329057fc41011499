//! Every RPC of the admin listener, and the least role that it needs.

use imquota::access::Role;
use imquota::clock::{Clock as _, SystemClock};
use imquota::grpc::pb;
use imquota::grpc::pb::reconcile_request::Part;
use prost_types::Timestamp;
use tonic::{Code, Response, Status};

use super::connection::Client;

/// An RPC, its least role, and whether the call is backdated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    pub rpc: &'static str,
    pub dated_back: bool,
    pub least: Role,
}

const fn row(rpc: &'static str, dated_back: bool, least: Role) -> Call {
    Call { rpc, dated_back, least }
}

/// The table.
pub const CALLS: [Call; 39] = [
    row("CreateApp", false, Role::Operator),
    row("CreateApp", true, Role::Owner),
    row("PurchaseEdition", false, Role::Operator),
    row("PurchaseEdition", true, Role::Owner),
    row("RenewEdition", false, Role::Operator),
    row("RenewEdition", true, Role::Owner),
    row("GrantAddOn", false, Role::Operator),
    row("GrantAddOn", true, Role::Owner),
    row("RefundPurchase", false, Role::Operator),
    row("RefundPurchase", true, Role::Owner),
    row("ChangeEdition", false, Role::Operator),
    row("ChangeEdition", true, Role::Owner),
    row("ExchangeAddOn", false, Role::Operator),
    row("ExchangeAddOn", true, Role::Owner),
    row("GetApp", false, Role::Viewer),
    row("ListApps", false, Role::Viewer),
    row("GetCatalog", false, Role::Viewer),
    row("PreviewEntitlement", false, Role::Viewer),
    row("ListAuditEvents", false, Role::Viewer),
    row("WatchEvents", false, Role::Viewer),
    row("ListTopDenials", false, Role::Viewer),
    row("CreateBackup", false, Role::Owner),
    row("ActivateCatalog", false, Role::Owner),
    row("GetStoreState", false, Role::Viewer),
    row("AcceptStore", false, Role::Owner),
    row("ListSetAsideOperations", false, Role::Viewer),
    row("DeleteSetAsideOperations", false, Role::Owner),
    row("ListJournalEntries", false, Role::Viewer),
    row("RetryJournalEntry", false, Role::Owner),
    row("DropJournalEntry", false, Role::Owner),
    row("AcceptClock", false, Role::Owner),
    row("TrackChanges", false, Role::Operator),
    row("Reconcile", false, Role::Operator),
    row("RecordLogins", false, Role::Operator),
    row("ReportBandwidth", false, Role::Operator),
    row("SetMessageRetention", false, Role::Operator),
    row("SetMessageRetention", true, Role::Owner),
    row("GetStatement", false, Role::Viewer),
    row("ExportStatement", false, Role::Viewer),
];

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
        if refused.contains(&self.rpc) { Code::FailedPrecondition } else { Code::Ok }
    }

    /// Makes the call for an app.
    pub async fn make(self, client: &mut Client, app: &str) -> Code {
        let app_id = app.to_owned();
        let request_id = format!("{app} {}", self.rpc);
        let effective_at = self.dated_back.then(|| {
            let millis = SystemClock.now().as_millis() - 1;
            let nanos = i32::try_from(millis.rem_euclid(1000) * 1_000_000).expect("below 10^9");
            Timestamp { seconds: millis.div_euclid(1000), nanos }
        });
        match self.rpc {
            "CreateApp" => {
                let request = pb::CreateAppRequest { app_id, request_id, effective_at };
                code(client.create_app(request).await)
            }
            "PurchaseEdition" => {
                let (edition_id, months) = ("professional".to_owned(), 1);
                let request = pb::PurchaseEditionRequest {
                    app_id,
                    request_id,
                    edition_id,
                    months,
                    effective_at,
                };
                code(client.purchase_edition(request).await)
            }
            "RenewEdition" => {
                let months = 1;
                let request = pb::RenewEditionRequest { app_id, request_id, months, effective_at };
                code(client.renew_edition(request).await)
            }
            "GrantAddOn" => {
                let (add_on_id, months) = ("members-2000".to_owned(), 1);
                let request =
                    pb::GrantAddOnRequest { app_id, request_id, add_on_id, months, effective_at };
                code(client.grant_add_on(request).await)
            }
            "RefundPurchase" => {
                let purchase_request_id = format!("{app} PurchaseEdition");
                let request = pb::RefundPurchaseRequest {
                    app_id,
                    request_id,
                    purchase_request_id,
                    effective_at,
                };
                code(client.refund_purchase(request).await)
            }
            "ChangeEdition" => change_edition(client, app_id, request_id, effective_at).await,
            "ExchangeAddOn" => exchange(client, app_id, request_id, effective_at).await,
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
            _ => self.make_metering(client, app_id, request_id, effective_at).await,
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
                code(client.record_logins(pb::RecordLoginsRequest { app_id, logins }).await)
            }
            "ReportBandwidth" => {
                let region = "mainland".to_owned();
                let samples = vec![pb::BandwidthSample { region, kbps: 1, at: None }];
                code(client.report_bandwidth(pb::ReportBandwidthRequest { app_id, samples }).await)
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
            | "AcceptStore"
            | "RetryJournalEntry"
            | "DropJournalEntry"
            | "DeleteSetAsideOperations" => 0,
            _ => u64::from(self.least > Role::Viewer),
        }
    }
}

async fn change_edition(
    client: &mut Client,
    app_id: String,
    request_id: String,
    effective_at: Option<Timestamp>,
) -> Code {
    let request = pb::ChangeEditionRequest {
        app_id,
        request_id,
        edition_id: "professional".to_owned(),
        months: 1,
        max_sum_fen: None,
        effective_at,
    };
    code(client.change_edition(request).await)
}

async fn exchange(
    client: &mut Client,
    app_id: String,
    request_id: String,
    effective_at: Option<Timestamp>,
) -> Code {
    let request = pb::ExchangeAddOnRequest {
        app_id,
        request_id,
        replaced_add_on_id: "members-2000".to_owned(),
        add_on_id: "members-6000".to_owned(),
        months: 1,
        max_sum_fen: None,
        effective_at,
    };
    code(client.exchange_add_on(request).await)
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
