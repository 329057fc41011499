//! `imquota admin`: registers apps, and sells, refunds and exchanges editions and add-ons.
//!
//! A change without `--request-id` gets a random one before the first attempt. An attempt whose
//! outcome is unknown, or that a busy or restarting sidecar refused, is retried a few times with
//! the same id, so that the change is made once. The final error contains the id, so that the
//! caller can repeat the command with it.

use std::time::Duration;

use clap::{Args, Subcommand};
use prost_types::Timestamp;

use super::Exit;
use super::activate::Activate;
use super::agreed::{self, TermArgs};
use super::connect::AdminAddress;
use super::error::Error;
use super::inspect::Inspect;
use super::journal::JournalCommand;
use super::output::Format;
use super::sales::{Head, MaxSum, Price, Term};
use super::session::{CallFlags, Session};
use super::token;
use crate::access::Role;
use crate::clock::Stopwatch;
use crate::domain::limit::Limit;
use crate::domain::text::hex;
use crate::events::backoff::backoff;
use crate::grpc::pb;
use crate::grpc::pb::admin_service_client::AdminServiceClient;
use crate::grpc::pb::metering_service_client::MeteringServiceClient;

/// Most attempts of a change: with the backoff between them they outlast a leader election.
const ATTEMPTS_MAX: u32 = 4;
/// Shortest backoff between attempts.
const BACKOFF_MIN: Duration = Duration::from_millis(200);
/// Longest backoff between attempts.
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// Time after which no attempt begins, so that a hanging sidecar does not block the caller for
/// long.
const ATTEMPT_START_MAX: Duration = Duration::from_secs(8);

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
    flags: CallFlags,
    #[command(subcommand)]
    command: AdminCommand,
}

impl Admin {
    /// Returns the output format.
    pub fn format(&self) -> Format {
        self.flags.format()
    }
}

#[derive(Debug, Subcommand)]
enum AdminCommand {
    #[command(flatten)]
    Inspect(Inspect),
    #[command(flatten)]
    Change(AppChange),
    /// Put a replaced catalog into force again.
    ActivateCatalog(Activate),
    /// Accept a Redis store that lost its facts, so that every sidecar continues with the rest.
    ///
    /// Afterwards register the missing apps, and import the facts of each from the IM's database:
    /// imquota reconcile --app APP --groups FILE --import.
    #[command(after_help = "Example:\n  imquota admin accept-store")]
    AcceptStore {
        /// Idempotency key of the request, 1-64 printable characters [default: random]
        #[arg(long, value_name = "ID")]
        request_id: Option<String>,
        /// Accept another store, the one with this id
        #[arg(long, value_name = "ID", default_value = "")]
        found_store_id: String,
    },
    /// List, retry or drop operations that this sidecar accepted without the store.
    #[command(subcommand, after_help = "Example:\n  imquota admin journal list --blocked")]
    Journal(JournalCommand),
    /// Set the clock of an embedded store to the machine's time, after that was set by hand.
    #[command(after_help = "\
Check the machine's clock first: later purchases are recorded with its time.

Example:
  imquota admin accept-clock")]
    AcceptClock {
        /// Idempotency key of the request, 1-64 printable characters [default: random]
        #[arg(long, value_name = "ID")]
        request_id: Option<String>,
    },
    /// Create a token, and its line for the file of `--admin-tokens-file`. Makes no call.
    #[command(after_help = "Example:\n  imquota admin make-token ann operator")]
    MakeToken {
        /// The owner's name in the audit log
        #[arg(value_parser = token::name)]
        name: String,
        /// The owner's role: viewer, operator or owner
        #[arg(value_parser = token::role)]
        role: Role,
    },
}

#[derive(Debug, Clone, Subcommand)]
enum AppChange {
    /// Register an app, on the catalog's default edition.
    #[command(after_help = "Example:\n  imquota admin create-app demo")]
    CreateApp {
        #[command(flatten)]
        of: ChangeArgs,
    },
    /// Sell an edition.
    #[command(after_help = EXAMPLE)]
    PurchaseEdition {
        #[command(flatten)]
        of: ChangeArgs,
        /// An edition of the catalog
        edition: String,
        #[command(flatten)]
        term: Term,
        #[command(flatten)]
        price: Price,
    },
    /// Renew the current edition.
    #[command(after_help = "Example:\n  imquota admin renew-edition demo --months 12")]
    RenewEdition {
        #[command(flatten)]
        of: ChangeArgs,
        #[command(flatten)]
        term: Term,
        #[command(flatten)]
        price: Price,
    },
    /// End a purchase and refund its remaining value.
    #[command(after_help = "Example:\n  imquota admin refund-purchase demo 6f1c2e")]
    RefundPurchase {
        #[command(flatten)]
        of: ChangeArgs,
        /// The request id of the purchase, as get-app shows it
        purchase: String,
    },
    /// Refund what remains of the current edition and sell another one, as one change.
    ///
    /// Add-ons that raise nothing under the new edition are refunded too. `imquota admin preview`
    /// shows the sum.
    #[command(after_help = "\
Example:
  imquota admin change-edition demo premium --months 1 --max-sum-fen 150000")]
    ChangeEdition {
        #[command(flatten)]
        of: ChangeArgs,
        /// An edition of the catalog
        edition: String,
        #[command(flatten)]
        term: Term,
        #[command(flatten)]
        sum: MaxSum,
        #[command(flatten)]
        price: Price,
    },
    /// Refund what remains of an add-on and sell another one, as one change.
    #[command(after_help = "\
Example:
  imquota admin exchange-add-on demo groups-per-user-400 groups-per-user-700 --months 1")]
    ExchangeAddOn {
        #[command(flatten)]
        of: ChangeArgs,
        /// The add-on in force
        replaced: String,
        /// An add-on of the catalog
        add_on: String,
        #[command(flatten)]
        term: Term,
        #[command(flatten)]
        sum: MaxSum,
        #[command(flatten)]
        price: Price,
    },
    /// Set the number of days for which messages are retained.
    #[command(after_help = "Example:\n  imquota admin set-message-retention demo 30")]
    SetMessageRetention {
        #[command(flatten)]
        of: ChangeArgs,
        /// Days, from the catalog's free days (7; not charged) to its maximum (360)
        days: u32,
    },
    /// Change an app's name for people, its note or its set of IM codes.
    ///
    /// A detail that is not given stays as it is; an empty text removes it.
    #[command(after_help = "\
Example:
  imquota admin update-app demo --display-name Acme --note contract-7")]
    UpdateApp {
        #[command(flatten)]
        of: Target,
        #[command(flatten)]
        details: Details,
    },
    /// Sell an add-on.
    #[command(after_help = "\
Example:
  imquota admin grant-add-on demo groups-per-user-400 --months 1")]
    GrantAddOn {
        #[command(flatten)]
        of: ChangeArgs,
        /// An add-on of the catalog
        add_on: String,
        #[command(flatten)]
        term: Term,
        #[command(flatten)]
        price: Price,
    },
    /// Agree a limit of a contract: it stands instead of that of the edition and add-ons.
    #[command(after_help = "\
Example:
  imquota admin grant-limit demo groups_per_user 2500 --months 12 --note contract-7")]
    GrantLimit {
        #[command(flatten)]
        of: ChangeArgs,
        /// A limit that an edition can have, such as groups_per_app/AVChatRoom
        #[arg(value_name = "LIMIT")]
        limit_id: String,
        /// The number, or `unlimited`
        #[arg(value_parser = agreed::value)]
        value: Limit,
        #[command(flatten)]
        term: TermArgs,
        /// Agreed price for the whole time, in fen [default: 0]
        #[arg(long, value_name = "FEN")]
        price_fen: Option<i64>,
        /// A note for people, such as the number of the contract; 1-200 bytes
        #[arg(long, value_name = "TEXT")]
        note: String,
    },
}

#[derive(Debug, Clone, Args)]
struct ChangeArgs {
    #[command(flatten)]
    target: Target,
    /// Time from which the change applies, such as 2019-02-12T09:30:00+08:00; requires the role
    /// owner [default: now]
    #[arg(long, value_name = "TIME", value_parser = super::inspect::instant)]
    effective_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Args)]
struct Target {
    /// The app
    app: String,
    /// Idempotency key of the request, also of the up to 3 retries of this command; 1-64 printable
    /// characters [default: random]
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = true)]
struct Details {
    /// The name for people, such as the customer's; up to 200 bytes
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// A note for people; up to 1000 bytes
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// The set of IM codes for the app's denials, one of the catalog's `im_code_sets`
    #[arg(long, value_name = "NAME")]
    im_code_set: Option<String>,
}

impl AppChange {
    /// Returns what every change has: the app and the request, and the time from which it applies.
    fn of(&mut self) -> (&mut Target, Option<Timestamp>) {
        match self {
            Self::UpdateApp { of, .. } => (of, None),
            Self::CreateApp { of }
            | Self::PurchaseEdition { of, .. }
            | Self::RenewEdition { of, .. }
            | Self::RefundPurchase { of, .. }
            | Self::ChangeEdition { of, .. }
            | Self::ExchangeAddOn { of, .. }
            | Self::SetMessageRetention { of, .. }
            | Self::GrantAddOn { of, .. }
            | Self::GrantLimit { of, .. } => (&mut of.target, of.effective_at),
        }
    }
}

/// Makes the call and prints the app after the change.
pub async fn run(args: Admin) -> Result<Exit, Error> {
    let Admin { to, flags, command } = args;
    let mut change = match command {
        AdminCommand::Inspect(inspect) => {
            let session = Session::open(to.target()?, flags).await?;
            return inspect.run(&session).await;
        }
        AdminCommand::MakeToken { name, role } => {
            return token::make(&name, role, flags.format()).map(|()| Exit::Done);
        }
        AdminCommand::ActivateCatalog(activate) => return activate.run(&to, flags).await,
        AdminCommand::Journal(command) => return command.run(&to, flags).await,
        AdminCommand::AcceptStore { request_id, found_store_id } => {
            let is_random = request_id.is_none();
            let request_id = request_id.map_or_else(random_id, Ok)?;
            let end = accept_store(&to, flags, request_id.clone(), found_store_id).await;
            let how = if is_random { "add" } else { "keep" };
            return end.map_err(|error| with_request_id(error, how, request_id));
        }
        AdminCommand::AcceptClock { request_id } => {
            let is_random = request_id.is_none();
            let request_id = request_id.map_or_else(random_id, Ok)?;
            let session = Session::open(to.target()?, flags).await?;
            let request =
                session.request(pb::AcceptClockRequest { request_id: request_id.clone() });
            let mut client = AdminServiceClient::new(session.channel());
            let end = session.finish(client.accept_clock(request).await);
            let how = if is_random { "add" } else { "keep" };
            return end.map_err(|error| with_request_id(error, how, request_id));
        }
        AdminCommand::Change(change) => change,
    };
    let (request_id, how) = match &mut change.of().0.request_id {
        Some(given) => (given.clone(), "keep"),
        absent @ None => (absent.insert(random_id()?).clone(), "add"),
    };
    let end = apply_with_retry(&to, flags, &change).await;
    end.map_err(|error| with_request_id(error, how, request_id))
}

/// Adds the request id to the error of a change that may be retried.
pub(super) fn with_request_id(error: Error, how: &'static str, request_id: String) -> Error {
    if error.may_retry() {
        Error::Change { error: Box::new(error), how, request_id }
    } else {
        error
    }
}

/// Retries the change until its outcome is known, within bounds.
async fn apply_with_retry(
    to: &AdminAddress,
    flags: CallFlags,
    change: &AppChange,
) -> Result<Exit, Error> {
    let started = Stopwatch::start();
    for attempt in 1..ATTEMPTS_MAX {
        let error = match apply(to, flags, change.clone()).await {
            Err(error) if error.is_transient() => error,
            end => return end,
        };
        // If no server has responded yet, the address is likely wrong.
        let never_connected = attempt == 1 && matches!(error, Error::Connect { .. });
        if never_connected || started.elapsed() > ATTEMPT_START_MAX {
            return Err(error);
        }
        tokio::time::sleep(backoff(attempt, BACKOFF_MIN, BACKOFF_MAX)).await;
    }
    apply(to, flags, change.clone()).await
}

async fn accept_store(
    to: &AdminAddress,
    flags: CallFlags,
    request_id: String,
    found_store_id: String,
) -> Result<Exit, Error> {
    let session = Session::open(to.target()?, flags).await?;
    let mut client = AdminServiceClient::new(session.channel());
    let request = pb::AcceptStoreRequest { request_id, found_store_id };
    session.finish(client.accept_store(session.request(request)).await)
}

async fn apply(to: &AdminAddress, flags: CallFlags, mut change: AppChange) -> Result<Exit, Error> {
    let session = Session::open(to.target()?, flags).await?;
    let mut client = AdminServiceClient::new(session.channel());
    let (of, effective_at) = change.of();
    let app_id = std::mem::take(&mut of.app);
    let request_id = of.request_id.take().unwrap_or_default();
    let head = Head { app_id, request_id, effective_at };
    match change {
        AppChange::CreateApp { .. } => {
            let Head { app_id, request_id, effective_at } = head;
            let request = pb::CreateAppRequest { app_id, request_id, effective_at };
            session.finish(client.create_app(session.request(request)).await)
        }
        AppChange::PurchaseEdition { edition, term, price, .. } => {
            let request = session.request(head.purchase_edition(edition, &term, &price));
            session.finish(client.purchase_edition(request).await)
        }
        AppChange::RenewEdition { term, price, .. } => {
            let request = session.request(head.renew_edition(&term, &price));
            session.finish(client.renew_edition(request).await)
        }
        AppChange::RefundPurchase { purchase: purchase_request_id, .. } => {
            let Head { app_id, request_id, effective_at } = head;
            let request =
                pb::RefundPurchaseRequest { app_id, request_id, purchase_request_id, effective_at };
            session.finish(client.refund_purchase(session.request(request)).await)
        }
        AppChange::ChangeEdition { edition, term, sum, price, .. } => {
            let request = session.request(head.change_edition(edition, &term, &sum, &price));
            session.finish(client.change_edition(request).await)
        }
        AppChange::ExchangeAddOn { replaced, add_on, term, sum, price, .. } => {
            let request = head.exchange_add_on([replaced, add_on], &term, &sum, &price);
            session.finish(client.exchange_add_on(session.request(request)).await)
        }
        AppChange::SetMessageRetention { days, .. } => {
            let mut client = MeteringServiceClient::new(session.channel());
            let Head { app_id, request_id, effective_at } = head;
            let request = pb::SetMessageRetentionRequest { app_id, request_id, days, effective_at };
            session.finish(client.set_message_retention(session.request(request)).await)
        }
        AppChange::UpdateApp { details: Details { display_name, note, im_code_set }, .. } => {
            let Head { app_id, request_id, .. } = head;
            let request =
                pb::UpdateAppRequest { app_id, request_id, display_name, note, im_code_set };
            session.finish(client.update_app(session.request(request)).await)
        }
        AppChange::GrantAddOn { add_on, term, price, .. } => {
            let request = session.request(head.grant_add_on(add_on, &term, &price));
            session.finish(client.grant_add_on(request).await)
        }
        AppChange::GrantLimit { limit_id, value, term, price_fen, note, .. } => {
            let request = head.grant_limit(limit_id, value, term, price_fen, note);
            session.finish(client.grant_limit(session.request(request)).await)
        }
    }
}

/// Returns 128 random bits in hexadecimal.
pub(super) fn random_id() -> Result<String, Error> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(Error::Random)?;
    Ok(hex(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_request_ids_are_hexadecimal_and_unique() {
        let (one, other) = (random_id().unwrap(), random_id().unwrap());
        assert!(one.len() == 32 && one.bytes().all(|byte| byte.is_ascii_hexdigit()), "{one}");
        assert_ne!(one, other);
    }
}
