//! `imquota health`: a health probe for scripts and container runtimes, over `grpc.health.v1`.

use clap::Args;
use serde_json::json;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::connect::DataAddress;
use super::error::Error;
use super::output::Format;
use super::session::{CallFlags, Session};
use super::{Exit, output};

const EXAMPLE: &str = "\
Example:
  imquota health --service imquota.v1.QuotaService --timeout-ms 1000";

/// Arguments of `imquota health`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct Health {
    /// The service, such as imquota.v1.QuotaService [default: the whole sidecar]
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    service: String,
    #[command(flatten)]
    to: DataAddress,
    #[command(flatten)]
    flags: CallFlags,
}

impl Health {
    /// Returns the output format.
    pub fn format(&self) -> Format {
        self.flags.format()
    }
}

/// Makes the call and prints the name of the status.
pub async fn run(args: Health) -> Result<Exit, Error> {
    let session = Session::open(args.to.target()?, args.flags).await?;
    let request = session.request(HealthCheckRequest { service: args.service });
    let response = HealthClient::new(session.channel()).check(request).await;
    let status =
        response.map_err(|status| session.explain(status).for_read())?.into_inner().status();
    let name = status.as_str_name();
    output::show_other(&format!("{name}\n"), &json!({"status": name}), session.format())?;
    Ok(if status == ServingStatus::Serving { Exit::Done } else { Exit::Failed })
}
