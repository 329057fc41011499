//! `imquota admin journal`: operations that a sidecar accepted without the store and has not
//! replayed to it yet.

use clap::{Args, Subcommand};

use super::Exit;
use super::admin::{random_id, with_request_id};
use super::connect::AdminAddress;
use super::error::Error;
use super::session::{CallFlags, Session};
use crate::grpc::pb;
use crate::grpc::pb::admin_service_client::AdminServiceClient;

/// Most entries of one response.
const PAGE_SIZE_MAX: u32 = 1000;

/// A command on the journal of the called sidecar.
#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// List the entries, oldest first.
    #[command(after_help = "\
Example:
  imquota admin journal list
  imquota admin journal list --blocked --output json")]
    List {
        /// Only blocked entries
        #[arg(long)]
        blocked: bool,
        /// Start after the entry with this number
        #[arg(long, value_name = "NUMBER", default_value = "")]
        after: String,
        /// Maximum number of entries
        #[arg(long, value_name = "N", default_value_t = PAGE_SIZE_MAX)]
        #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(PAGE_SIZE_MAX)))]
        most: u32,
    },
    /// Retry a blocked entry, and then the entries that wait behind it, in order.
    #[command(after_help = "\
Remove the cause first. Requires the role owner.

Example:
  imquota admin journal retry 7")]
    Retry(EntryArgs),
    /// Drop a blocked entry, so that the entries that wait behind it continue.
    #[command(after_help = "\
Its caller got the response that it was applied: compare the app with the IM's database afterwards
(imquota reconcile). The audit log keeps the entry. Requires the role owner.

Example:
  imquota admin journal drop 7 --app demo")]
    Drop(EntryArgs),
    /// Delete the operations set aside when a store was accepted, up to a number.
    #[command(after_help = "\
List them first: imquota admin set-aside-operations. Requires the role owner.

Example:
  imquota admin journal delete-set-aside --through 120")]
    DeleteSetAside {
        /// Number of the last operation to delete, with all before it
        #[arg(long, value_name = "NUMBER")]
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        through: u64,
        /// Idempotency key of the request, 1-64 printable characters [default: random]
        #[arg(long, value_name = "ID")]
        request_id: Option<String>,
    },
}

/// Arguments that name a blocked entry.
#[derive(Debug, Args)]
pub struct EntryArgs {
    /// The entry's number, as shown by `list`
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    number: u64,
    /// Fail unless the entry is of this app, since each sidecar has its own numbers
    #[arg(long, value_name = "APP", default_value = "")]
    app: String,
    /// Idempotency key of the request, 1-64 printable characters [default: random]
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

impl JournalCommand {
    /// Makes the call and prints its response.
    pub async fn run(mut self, to: &AdminAddress, flags: CallFlags) -> Result<Exit, Error> {
        let given = match &mut self {
            Self::List { .. } => return self.call(to, flags, String::new()).await,
            Self::Retry(of) | Self::Drop(of) => of.request_id.take(),
            Self::DeleteSetAside { request_id, .. } => request_id.take(),
        };
        let how = if given.is_none() { "add" } else { "keep" };
        let request_id = given.map_or_else(random_id, Ok)?;
        let end = self.call(to, flags, request_id.clone()).await;
        end.map_err(|error| with_request_id(error, how, request_id))
    }

    async fn call(
        self,
        to: &AdminAddress,
        flags: CallFlags,
        request_id: String,
    ) -> Result<Exit, Error> {
        let session = Session::open(to.target()?, flags).await?;
        let mut client = AdminServiceClient::new(session.channel());
        match self {
            Self::List { blocked: only_blocked, after: page_token, most: page_size } => {
                let request = pb::ListJournalEntriesRequest { page_size, page_token, only_blocked };
                session.finish(client.list_journal_entries(session.request(request)).await)
            }
            Self::Retry(EntryArgs { number, app: app_id, .. }) => {
                let request = pb::RetryJournalEntryRequest { request_id, number, app_id };
                session.finish(client.retry_journal_entry(session.request(request)).await)
            }
            Self::Drop(EntryArgs { number, app: app_id, .. }) => {
                let request = pb::DropJournalEntryRequest { request_id, number, app_id };
                session.finish(client.drop_journal_entry(session.request(request)).await)
            }
            Self::DeleteSetAside { through: through_number, .. } => {
                let request = pb::DeleteSetAsideOperationsRequest { request_id, through_number };
                session.finish(client.delete_set_aside_operations(session.request(request)).await)
            }
        }
    }
}
