//! `imquota admin`: apps, what is sold to them and refunded.
//!
//! A change whose `--request-id` is absent gets a random one before the first attempt. An attempt
//! that may have been carried out unseen, or that a busy or restarting sidecar refused, is repeated
//! a few times with the same id, so that the change is made once. An error that is left names the
//! id, so that the caller can repeat the command with it.

use std::time::Duration;

use clap::{Args, Subcommand};
use prost_types::Timestamp;

use super::Exit;
use super::activate::Activate;
use super::connect::AdminAddress;
use super::error::Error;
use super::inspect::Look;
use super::journal::JournalCommand;
use super::output::Format;
use super::session::{Calling, Session};
use super::token;
use crate::access::Role;
use crate::clock::Stopwatch;
use crate::domain::text::hex;
use crate::events::backoff::backoff;
use crate::grpc::pb;
use crate::grpc::pb::admin_service_client::AdminServiceClient;
use crate::grpc::pb::metering_service_client::MeteringServiceClient;

/// Most attempts of a change: with the pauses between them they outlast a leader election.
const ATTEMPTS_MAX: u32 = 4;
/// Pauses between attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// No attempt begins later than this, so that a hanging sidecar does not hold the caller for long.
const ATTEMPTS_WITHIN: Duration = Duration::from_secs(8);

const EXAMPLE: &str = "\
Example:
  imquota admin purchase-edition demo professional --months 1";

/// Arguments of `imquota admin`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct Admin {
    #[command(flatten)]
    to: AdminAddress,
    #[command(flatten)]
    calling: Calling,
    #[command(subcommand)]
    command: AdminCommand,
}

impl Admin {
    /// How the answer is printed.
    pub fn format(&self) -> Format {
        self.calling.format()
    }
}

#[derive(Debug, Subcommand)]
enum AdminCommand {
    #[command(flatten)]
    Look(Look),
    #[command(flatten)]
    Change(Change),
    /// Put a catalog into force again that was replaced.
    ActivateCatalog(Activate),
    /// Accept a Redis store that lost its facts, so that every sidecar goes on with what is there.
    ///
    /// Afterwards register the apps that are gone, and import the facts of each from the IM's
    /// database: imquota reconcile --app APP --groups FILE --import.
    #[command(after_help = "Example:\n  imquota admin accept-store")]
    AcceptStore {
        /// Makes a repetition harmless; 1-64 printable characters [default: a random one]
        #[arg(long, value_name = "ID")]
        request_id: Option<String>,
        /// Take over the store of this id, which is another one
        #[arg(long, value_name = "ID", default_value = "")]
        found_store_id: String,
    },
    /// What this sidecar accepted without the store and has not brought there yet.
    #[command(subcommand, after_help = "Example:\n  imquota admin journal list --blocked")]
    Journal(JournalCommand),
    /// Have an embedded store go by the machine's time of day, after that was set by hand.
    #[command(after_help = "\
Only after the machine's clock was checked: what is sold from then on has its time.

Example:
  imquota admin accept-clock")]
    AcceptClock {
        /// Makes a repetition harmless; 1-64 printable characters [default: a random one]
        #[arg(long, value_name = "ID")]
        request_id: Option<String>,
    },
    /// Make a token up, and its line for the file of `--admin-tokens-file`. Calls nobody.
    #[command(after_help = "Example:\n  imquota admin make-token ann operator")]
    MakeToken {
        /// Whose it is, as the audit log will name them
        #[arg(value_parser = token::name)]
        name: String,
        /// What they may do: viewer, operator or owner
        #[arg(value_parser = token::role)]
        role: Role,
    },
}

#[derive(Debug, Clone, Subcommand)]
enum Change {
    /// Register an app, on the catalog's default edition.
    #[command(after_help = "Example:\n  imquota admin create-app demo")]
    CreateApp {
        #[command(flatten)]
        of: Changed,
    },
    /// Sell an edition.
    #[command(after_help = EXAMPLE)]
    PurchaseEdition {
        #[command(flatten)]
        of: Changed,
        /// An edition of the catalog
        edition: String,
        #[command(flatten)]
        term: Term,
    },
    /// Prolong the edition that runs.
    #[command(after_help = "Example:\n  imquota admin renew-edition demo --months 12")]
    RenewEdition {
        #[command(flatten)]
        of: Changed,
        #[command(flatten)]
        term: Term,
    },
    /// End a purchase and pay back what remains of it.
    #[command(after_help = "Example:\n  imquota admin refund-purchase demo 6f1c2e")]
    RefundPurchase {
        #[command(flatten)]
        of: Changed,
        /// The request id of the purchase, as get-app shows it
        purchase: String,
    },
    /// Set for how many days messages are kept from now on.
    #[command(after_help = "Example:\n  imquota admin set-message-retention demo 30")]
    SetMessageRetention {
        #[command(flatten)]
        of: Changed,
        /// The catalog's free days (7), which switches it off, to its most (360)
        days: u32,
    },
    /// Sell an add-on.
    #[command(after_help = "\
Example:
  imquota admin grant-add-on demo groups-per-user-400 --months 1")]
    GrantAddOn {
        #[command(flatten)]
        of: Changed,
        /// An add-on of the catalog
        add_on: String,
        #[command(flatten)]
        term: Term,
    },
}

#[derive(Debug, Clone, Args)]
struct Changed {
    /// The app
    app: String,
    /// Makes a repetition harmless, and is used for the repetitions of this command's own, up to 3
    /// where the outcome is unknown; 1-64 printable characters [default: a random one]
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// From when it counts, such as 2019-02-12T09:30:00+08:00; needs the role owner [default: now]
    #[arg(long, value_name = "TIME", value_parser = super::inspect::instant)]
    effective_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Args)]
struct Term {
    /// Whole months, 1-24
    #[arg(long, value_name = "N")]
    months: u32,
}

impl Change {
    fn of(&mut self) -> &mut Changed {
        match self {
            Self::CreateApp { of }
            | Self::PurchaseEdition { of, .. }
            | Self::RenewEdition { of, .. }
            | Self::RefundPurchase { of, .. }
            | Self::SetMessageRetention { of, .. }
            | Self::GrantAddOn { of, .. } => of,
        }
    }
}

/// Makes the call and prints the app as it is after it.
pub async fn run(args: Admin) -> Result<Exit, Error> {
    let Admin { to, calling, command } = args;
    let mut change = match command {
        AdminCommand::Look(look) => {
            let session = Session::open(to.target()?, calling).await?;
            return look.run(&session).await;
        }
        AdminCommand::MakeToken { name, role } => {
            return token::make(&name, role, calling.format()).map(|()| Exit::Done);
        }
        AdminCommand::ActivateCatalog(activate) => return activate.run(&to, calling).await,
        AdminCommand::Journal(command) => return command.run(&to, calling).await,
        AdminCommand::AcceptStore { request_id, found_store_id } => {
            let is_random = request_id.is_none();
            let request_id = request_id.map_or_else(random_id, Ok)?;
            let end = accept_store(&to, calling, request_id.clone(), found_store_id).await;
            let how = if is_random { "add" } else { "keep" };
            return end.map_err(|error| repeatable(error, how, request_id));
        }
        AdminCommand::AcceptClock { request_id } => {
            let is_random = request_id.is_none();
            let request_id = request_id.map_or_else(random_id, Ok)?;
            let session = Session::open(to.target()?, calling).await?;
            let request =
                session.request(pb::AcceptClockRequest { request_id: request_id.clone() });
            let mut client = AdminServiceClient::new(session.channel());
            let end = session.finish(client.accept_clock(request).await);
            let how = if is_random { "add" } else { "keep" };
            return end.map_err(|error| repeatable(error, how, request_id));
        }
        AdminCommand::Change(change) => change,
    };
    let (request_id, how) = match &mut change.of().request_id {
        Some(given) => (given.clone(), "keep"),
        absent @ None => (absent.insert(random_id()?).clone(), "add"),
    };
    let end = apply_with_retry(&to, calling, &change).await;
    end.map_err(|error| repeatable(error, how, request_id))
}

/// A failed change that may be repeated, with its request id.
pub(super) fn repeatable(error: Error, how: &'static str, request_id: String) -> Error {
    if error.is_worth_repeating() {
        Error::Change { error: Box::new(error), how, request_id }
    } else {
        error
    }
}

/// Attempts the change until its outcome is known, within bounds.
async fn apply_with_retry(
    to: &AdminAddress,
    calling: Calling,
    change: &Change,
) -> Result<Exit, Error> {
    let begun = Stopwatch::start();
    for attempt in 1..ATTEMPTS_MAX {
        let error = match apply(to, calling, change.clone()).await {
            Err(error) if error.is_transient() => error,
            end => return end,
        };
        // Where no server has answered yet, the address is wrong rather than the moment.
        let never_connected = attempt == 1 && matches!(error, Error::Connect { .. });
        if never_connected || begun.elapsed() > ATTEMPTS_WITHIN {
            return Err(error);
        }
        tokio::time::sleep(backoff(attempt, FIRST_PAUSE, LONGEST_PAUSE)).await;
    }
    apply(to, calling, change.clone()).await
}

async fn accept_store(
    to: &AdminAddress,
    calling: Calling,
    request_id: String,
    found_store_id: String,
) -> Result<Exit, Error> {
    let session = Session::open(to.target()?, calling).await?;
    let mut client = AdminServiceClient::new(session.channel());
    let request = pb::AcceptStoreRequest { request_id, found_store_id };
    session.finish(client.accept_store(session.request(request)).await)
}

async fn apply(to: &AdminAddress, calling: Calling, mut change: Change) -> Result<Exit, Error> {
    let session = Session::open(to.target()?, calling).await?;
    let mut client = AdminServiceClient::new(session.channel());
    let of = change.of();
    let app_id = std::mem::take(&mut of.app);
    let request_id = of.request_id.take().unwrap_or_default();
    let effective_at = of.effective_at.take();
    match change {
        Change::CreateApp { .. } => {
            let request = pb::CreateAppRequest { app_id, request_id, effective_at };
            session.finish(client.create_app(session.request(request)).await)
        }
        Change::PurchaseEdition { edition: edition_id, term: Term { months }, .. } => {
            let request =
                pb::PurchaseEditionRequest { app_id, request_id, edition_id, months, effective_at };
            session.finish(client.purchase_edition(session.request(request)).await)
        }
        Change::RenewEdition { term: Term { months }, .. } => {
            let request = pb::RenewEditionRequest { app_id, request_id, months, effective_at };
            session.finish(client.renew_edition(session.request(request)).await)
        }
        Change::RefundPurchase { purchase: purchase_request_id, .. } => {
            let request =
                pb::RefundPurchaseRequest { app_id, request_id, purchase_request_id, effective_at };
            session.finish(client.refund_purchase(session.request(request)).await)
        }
        Change::SetMessageRetention { days, .. } => {
            let mut client = MeteringServiceClient::new(session.channel());
            let request = pb::SetMessageRetentionRequest { app_id, request_id, days, effective_at };
            session.finish(client.set_message_retention(session.request(request)).await)
        }
        Change::GrantAddOn { add_on: add_on_id, term: Term { months }, .. } => {
            let request =
                pb::GrantAddOnRequest { app_id, request_id, add_on_id, months, effective_at };
            session.finish(client.grant_add_on(session.request(request)).await)
        }
    }
}

/// 128 random bits in hexadecimal.
pub(super) fn random_id() -> Result<String, Error> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(Error::Random)?;
    Ok(hex(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_request_ids_are_hexadecimal_and_differ() {
        let (one, other) = (random_id().unwrap(), random_id().unwrap());
        assert!(one.len() == 32 && one.bytes().all(|byte| byte.is_ascii_hexdigit()), "{one}");
        assert_ne!(one, other);
    }
}
