//! `imquota admin journal`: what a sidecar accepted without the store and has not brought there.

use clap::{Args, Subcommand};

use super::Exit;
use super::admin::{random_id, repeatable};
use super::connect::AdminAddress;
use super::error::Error;
use super::session::{Calling, Session};
use crate::grpc::pb;
use crate::grpc::pb::admin_service_client::AdminServiceClient;

/// Most entries of one answer.
const PAGE: u32 = 1000;

/// Something about the journal of the sidecar that is called.
#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// List the entries, the oldest first.
    #[command(after_help = "\
Example:
  imquota admin journal list
  imquota admin journal list --blocked --output json")]
    List {
        /// Only entries that are blocked
        #[arg(long)]
        blocked: bool,
        /// After the entry of this number
        #[arg(long, value_name = "NUMBER", default_value = "")]
        after: String,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = PAGE)]
        #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(PAGE)))]
        most: u32,
    },
    /// Bring a blocked entry to the store once more, and what waits behind it after it, in order.
    #[command(after_help = "\
Once its cause is mended. The role owner is needed.

Example:
  imquota admin journal retry 7")]
    Retry(OfEntry),
    /// Drop a blocked entry, so that what waits behind it goes on.
    #[command(after_help = "\
Its caller was answered that it is done: compare the app with the IM's database afterwards
(imquota reconcile). The audit log keeps the entry. The role owner is needed.

Example:
  imquota admin journal drop 7 --app demo")]
    Drop(OfEntry),
    /// Delete what was set aside when a store was accepted, up to the number that was listed last.
    #[command(after_help = "\
After `imquota admin set-aside-operations` has listed it. The role owner is needed.

Example:
  imquota admin journal delete-set-aside --through 120")]
    DeleteSetAside {
        /// The last operation that is deleted, with all before it
        #[arg(long, value_name = "NUMBER")]
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        through: u64,
        /// Makes a repetition harmless; 1-64 printable characters [default: a random one]
        #[arg(long, value_name = "ID")]
        request_id: Option<String>,
    },
}

/// A blocked entry.
#[derive(Debug, Args)]
pub struct OfEntry {
    /// Its number, as `list` shows it
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    number: u64,
    /// Only if the entry is about this app, since each sidecar has numbers of its own
    #[arg(long, value_name = "APP", default_value = "")]
    app: String,
    /// Makes a repetition harmless; 1-64 printable characters [default: a random one]
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

impl JournalCommand {
    /// Makes the call and prints its answer.
    pub async fn run(mut self, to: &AdminAddress, calling: Calling) -> Result<Exit, Error> {
        let given = match &mut self {
            Self::List { .. } => return self.call(to, calling, String::new()).await,
            Self::Retry(of) | Self::Drop(of) => of.request_id.take(),
            Self::DeleteSetAside { request_id, .. } => request_id.take(),
        };
        let how = if given.is_none() { "add" } else { "keep" };
        let request_id = given.map_or_else(random_id, Ok)?;
        let end = self.call(to, calling, request_id.clone()).await;
        end.map_err(|error| repeatable(error, how, request_id))
    }

    async fn call(
        self,
        to: &AdminAddress,
        calling: Calling,
        request_id: String,
    ) -> Result<Exit, Error> {
        let session = Session::open(to.target()?, calling).await?;
        let mut client = AdminServiceClient::new(session.channel());
        match self {
            Self::List { blocked: only_blocked, after: page_token, most: page_size } => {
                let request = pb::ListJournalEntriesRequest { page_size, page_token, only_blocked };
                session.finish(client.list_journal_entries(session.request(request)).await)
            }
            Self::Retry(OfEntry { number, app: app_id, .. }) => {
                let request = pb::RetryJournalEntryRequest { request_id, number, app_id };
                session.finish(client.retry_journal_entry(session.request(request)).await)
            }
            Self::Drop(OfEntry { number, app: app_id, .. }) => {
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
