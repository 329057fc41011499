//! The read-only commands of `imquota admin`.

use chrono::DateTime;
use clap::{Args, Subcommand};
use prost_types::Timestamp;
use serde_json::json;

use super::Exit;
use super::agreed::{self, limit_and_value};
use super::error::Error;
use super::output;
use super::session::Session;
use super::watch::Watch;
use crate::domain::audit::Head;
use crate::domain::limit::Limit;
use crate::grpc::pb;
use crate::grpc::pb::admin_service_client::AdminServiceClient;
use crate::grpc::pb::preview_entitlement_request::Change;

/// Most apps or entries of one response.
const PAGE_SIZE_MAX: u32 = 1000;

/// A read-only command.
#[derive(Debug, Subcommand)]
pub enum Inspect {
    /// Show an app: its purchases, its limits, and when they change.
    #[command(after_help = "Example:\n  imquota admin get-app demo")]
    GetApp {
        /// The app
        app: String,
    },
    /// List the registered apps.
    #[command(after_help = "Example:\n  imquota admin list-apps --after demo")]
    ListApps {
        /// Start after this app
        #[arg(long, value_name = "APP", default_value = "")]
        after: String,
        /// Maximum number of apps
        #[arg(long, value_name = "N", default_value_t = PAGE_SIZE_MAX)]
        #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(PAGE_SIZE_MAX)))]
        most: u32,
    },
    /// Show the catalog in force: editions and add-ons, with prices and limits.
    #[command(after_help = "Example:\n  imquota admin get-catalog")]
    GetCatalog,
    /// Show the limits of an app after a change or at a given time, and the counts over them.
    #[command(after_help = "\
Example:
  imquota admin preview demo --grant-add-on members-2000 --months 1
  imquota admin preview demo --change-edition premium --months 1
  imquota admin preview demo --exchange-add-on members-2000 --for members-6000 --months 1
  imquota admin preview demo --grant-limit groups_per_user=2500 --until 2026-12-31
  imquota admin preview demo --at 2026-12-01T00:00:00+08:00 --user alice
  imquota admin preview demo --refund-purchase order-4711 --everybody --timeout-ms 600000")]
    Preview(Preview),
    /// Print events as they happen: thresholds crossed, denials, purchases and their ends.
    #[command(after_help = "\
Example:
  imquota admin watch-events
  imquota admin watch-events --app demo --kind ending --kind grace-began
  imquota admin watch-events --after 0 --output json")]
    WatchEvents(Watch),
    /// List the apps, users and groups with the most denials by this sidecar in the current hour.
    #[command(after_help = "Example:\n  imquota admin top-denials --app demo")]
    TopDenials {
        /// Only denials of this app
        #[arg(long, value_name = "APP", default_value = "")]
        app: String,
        /// Maximum number of apps, and of users and groups
        #[arg(long, value_name = "N", default_value_t = 20)]
        #[arg(value_parser = clap::value_parser!(u32).range(1..=100))]
        most: u32,
    },
    /// Print the id of the store, as --store-id accepts it.
    #[command(after_help = "Example:\n  imquota admin store-id")]
    StoreId,
    /// Show the store that holds the facts, and whether it lost them.
    #[command(after_help = "Example:\n  imquota admin store-state")]
    StoreState,
    /// List operations that were accepted without the store and set aside by accept-store.
    #[command(after_help = "Example:\n  imquota admin set-aside-operations --after 120")]
    SetAsideOperations {
        /// Start after the operation with this number
        #[arg(long, value_name = "NUMBER", default_value = "")]
        after: String,
        /// Maximum number of operations
        #[arg(long, value_name = "N", default_value_t = PAGE_SIZE_MAX)]
        #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(PAGE_SIZE_MAX)))]
        most: u32,
    },
    /// Read or verify the audit log of changes.
    #[command(subcommand, after_help = "Example:\n  imquota admin audit verify")]
    Audit(AuditCommand),
}

/// A command on the audit log.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// List the entries, oldest first.
    #[command(after_help = "Example:\n  imquota admin audit list --app demo")]
    List(Audit),
    /// Verify that no entry was changed or removed.
    #[command(after_help = "\
Example:
  imquota admin audit verify
  imquota admin audit verify --head 42:9f86d081884c7d65")]
    Verify {
        /// Number and hash of an entry printed by an earlier run; the log must still contain it
        #[arg(long, value_name = "NUMBER:HASH", value_parser = head)]
        head: Option<Head>,
    },
}

/// Arguments of `imquota admin preview`.
#[derive(Debug, Args)]
pub struct Preview {
    /// The app
    app: String,
    /// Preview the purchase of this edition
    #[arg(long, value_name = "EDITION", group = "change", requires = "months")]
    purchase_edition: Option<String>,
    /// Preview a renewal of the edition
    #[arg(long, group = "change", requires = "months")]
    renew_edition: bool,
    /// Preview the purchase of this add-on
    #[arg(long, value_name = "ADD-ON", group = "change", requires = "months")]
    grant_add_on: Option<String>,
    /// Preview the refund of the purchase with this request id
    #[arg(long, value_name = "REQUEST", group = "change")]
    refund_purchase: Option<String>,
    /// Preview the change to this edition
    #[arg(long, value_name = "EDITION", group = "change", requires = "months")]
    change_edition: Option<String>,
    /// Preview the exchange of this add-on, which is in force
    #[arg(long, value_name = "ADD-ON", group = "change", requires = "months")]
    #[arg(requires = "exchanged_for")]
    exchange_add_on: Option<String>,
    /// The add-on that is bought in the exchange
    #[arg(long = "for", value_name = "ADD-ON", requires = "exchange_add_on")]
    exchanged_for: Option<String>,
    /// Preview a limit that is agreed, such as groups_per_user=2500 or groups_per_user=unlimited
    #[arg(long, value_name = "LIMIT=VALUE", group = "change", value_parser = limit_and_value)]
    grant_limit: Option<(String, Limit)>,
    /// Duration of the purchase in months, 1-24
    #[arg(long, value_name = "N")]
    months: Option<u32>,
    /// Last valid day of the agreed limit, instead of --months
    #[arg(
        long = "until",
        value_name = "DATE",
        requires = "grant_limit",
        conflicts_with = "months"
    )]
    until_date: Option<String>,
    /// Agreed price of what is sold, in fen [default: the catalog's]
    #[arg(long, value_name = "FEN")]
    price_fen: Option<i64>,
    /// Time of the preview, such as 2026-12-01T00:00:00+08:00 [default: now]
    #[arg(long, value_name = "TIME", value_parser = instant)]
    at: Option<Timestamp>,
    /// Compare the counts of this user with the limits; may be repeated
    #[arg(long = "user", value_name = "USER")]
    users: Vec<String>,
    /// Compare the counts of this group with the limits; may be repeated
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// Scan all users and groups and count those over a limit; needs a larger --timeout-ms for a
    /// large app
    #[arg(long)]
    everybody: bool,
}

/// Filters of `imquota admin audit list`.
#[derive(Debug, Args)]
pub struct Audit {
    /// Only entries of this app
    #[arg(long, default_value = "")]
    app: String,
    /// Only entries of this actor
    #[arg(long, default_value = "")]
    actor: String,
    /// Only entries of this RPC, such as GrantAddOn
    #[arg(long, default_value = "")]
    action: String,
    /// Only the entry of this request
    #[arg(long, value_name = "ID", default_value = "")]
    request_id: String,
    /// Only entries at or after this time
    #[arg(long, value_name = "TIME", value_parser = instant)]
    from: Option<Timestamp>,
    /// Only entries before this time
    #[arg(long, value_name = "TIME", value_parser = instant)]
    until: Option<Timestamp>,
    /// Start after the entry with this number
    #[arg(long, value_name = "NUMBER", default_value = "")]
    after: String,
    /// Maximum number of entries
    #[arg(long, value_name = "N", default_value_t = PAGE_SIZE_MAX)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(PAGE_SIZE_MAX)))]
    most: u32,
}

/// Parses a time in RFC 3339.
pub fn instant(text: &str) -> Result<Timestamp, String> {
    let instant = DateTime::parse_from_rfc3339(text);
    let instant = instant.map_err(|_| "must be in RFC 3339, such as 2019-02-12T09:30:00+08:00")?;
    let nanos = i32::try_from(instant.timestamp_subsec_nanos()).unwrap_or(0);
    Ok(Timestamp { seconds: instant.timestamp(), nanos })
}

fn head(text: &str) -> Result<Head, String> {
    let head = text.split_once(':').and_then(|(number, hash)| {
        let is_hash = !hash.is_empty() && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = number.parse().ok().filter(|_| is_hash)?;
        Some(Head { number, hash: hash.to_ascii_lowercase() })
    });
    head.ok_or_else(|| "must be NUMBER:HASH, such as 42:9f86d081884c7d65".to_owned())
}

impl Inspect {
    /// Makes the calls and prints the responses.
    pub async fn run(self, session: &Session) -> Result<Exit, Error> {
        let mut client = AdminServiceClient::new(session.channel());
        match self {
            Self::GetApp { app: app_id } => {
                let request = session.request(pb::GetAppRequest { app_id });
                session.finish(client.get_app(request).await)
            }
            Self::ListApps { after: page_token, most: page_size } => {
                let request = session.request(pb::ListAppsRequest { page_size, page_token });
                session.finish(client.list_apps(request).await)
            }
            Self::GetCatalog => {
                let request = session.request(pb::GetCatalogRequest {});
                session.finish(client.get_catalog(request).await)
            }
            Self::Preview(preview) => {
                let request = session.request(preview.request());
                session.finish(client.preview_entitlement(request).await)
            }
            Self::TopDenials { app: app_id, most: page_size } => {
                let request = session.request(pb::ListTopDenialsRequest { app_id, page_size });
                session.finish(client.list_top_denials(request).await)
            }
            Self::StoreId => {
                let request = session.request(pb::GetStoreStateRequest {});
                let state = client.get_store_state(request).await;
                let state =
                    state.map_err(|status| session.explain(status).for_read())?.into_inner();
                let id = state.store_id;
                if id.is_empty() {
                    return Err(Error::NoStoreId);
                }
                let object = json!({"store_id": id});
                output::show_other(&format!("{id}\n"), &object, session.format())?;
                Ok(Exit::Done)
            }
            Self::StoreState => {
                let request = session.request(pb::GetStoreStateRequest {});
                session.finish(client.get_store_state(request).await)
            }
            Self::SetAsideOperations { after: page_token, most: page_size } => {
                let request = pb::ListSetAsideOperationsRequest { page_size, page_token };
                session.finish(client.list_set_aside_operations(session.request(request)).await)
            }
            Self::WatchEvents(watch) => watch.run(session).await,
            Self::Audit(AuditCommand::List(audit)) => {
                let request = session.request(audit.request());
                session.finish(client.list_audit_events(request).await)
            }
            Self::Audit(AuditCommand::Verify { head }) => verify(session, client, head).await,
        }
    }
}

impl Preview {
    fn request(self) -> pb::PreviewEntitlementRequest {
        let months = self.months.unwrap_or_default();
        let edition = self
            .purchase_edition
            .map(|edition_id| Change::PurchaseEdition(pb::PreviewedEdition { edition_id, months }));
        let renewal = self.renew_edition.then_some(Change::RenewEditionMonths(months));
        let add_on = self
            .grant_add_on
            .map(|add_on_id| Change::GrantAddOn(pb::PreviewedAddOn { add_on_id, months }));
        let refund = self.refund_purchase.map(Change::RefundPurchaseRequestId);
        let changed = self
            .change_edition
            .map(|edition_id| Change::ChangeEdition(pb::PreviewedEdition { edition_id, months }));
        let add_on_id = self.exchanged_for.unwrap_or_default();
        let exchanged = self.exchange_add_on.map(|replaced_add_on_id| {
            let exchange = pb::PreviewedExchange { replaced_add_on_id, add_on_id, months };
            Change::ExchangeAddOn(exchange)
        });
        let granted = self.grant_limit.map(|(limit_id, limit)| {
            let term = agreed::term(self.months, self.until_date).map(Into::into);
            let value = Some(limit.into());
            Change::GrantLimit(pb::PreviewedLimit { limit_id, value, term })
        });
        let change = edition.or(renewal).or(add_on).or(refund).or(changed).or(exchanged);
        pb::PreviewEntitlementRequest {
            app_id: self.app,
            change: change.or(granted),
            price_fen: self.price_fen,
            at: self.at,
            user_ids: self.users,
            group_ids: self.groups,
            everybody: self.everybody,
        }
    }
}

impl Audit {
    fn request(self) -> pb::ListAuditEventsRequest {
        pb::ListAuditEventsRequest {
            page_size: self.most,
            page_token: self.after,
            app_id: self.app,
            actor: self.actor,
            action: self.action,
            request_id: self.request_id,
            from: self.from,
            until: self.until,
        }
    }
}

/// Returns the error for an expected entry that is missing from a log with an intact hash chain. A
/// mistyped number or the log of another store is likelier than tampering, which is named last.
fn missing_head(expected: &Head, last: &Head) -> Error {
    let Head { number, hash } = expected;
    let why = if *number > last.number {
        let last = last.number;
        format!(
            "the log ends with entry {last}. Either the head is of another log, or the end of this \
             one was removed"
        )
    } else {
        format!(
            "entry {number} has another hash. Either the head is mistyped or of another log, or \
             this whole log was tampered with"
        )
    };
    Error::HeadNotFound { head: format!("{number}:{hash}"), why }
}

/// Reads the whole log and verifies its hash chain.
async fn verify(
    session: &Session,
    mut client: AdminServiceClient<tonic::transport::Channel>,
    expected: Option<Head>,
) -> Result<Exit, Error> {
    let (mut head, mut page_token) = (Head::default(), String::new());
    let mut has_expected = expected.is_none();
    loop {
        let request = pb::ListAuditEventsRequest {
            page_size: PAGE_SIZE_MAX,
            page_token,
            ..pb::ListAuditEventsRequest::default()
        };
        let answer = client.list_audit_events(session.request(request)).await;
        let answer = answer.map_err(|status| session.explain(status).for_read())?.into_inner();
        for event in answer.events {
            let entry = crate::grpc::audit_entry(event).map_err(Error::Audit)?;
            entry.verify(&head).map_err(|fault| Error::Audit(fault.to_string()))?;
            head = entry.head;
            has_expected |= expected.as_ref().is_some_and(|expected| {
                expected.number == head.number && head.hash.starts_with(&expected.hash)
            });
        }
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            let last = Head { number: answer.head_number, hash: answer.head_hash };
            // Entries logged during the reading come after those that were read.
            if last.number < head.number {
                return Err(Error::Audit("its end was removed".to_owned()));
            }
            break;
        }
    }
    if let Some(expected) = expected.filter(|_| !has_expected) {
        return Err(missing_head(&expected, &head));
    }
    let Head { number, hash } = head;
    let entries = if number == 1 { "entry" } else { "entries" };
    let text = format!("{number} {entries}, none changed or removed; head {number}:{hash}\n");
    let object = json!({"entries": number, "head": format!("{number}:{hash}")});
    output::show_other(&text, &object, session.format())?;
    Ok(Exit::Done)
}
