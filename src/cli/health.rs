//! `imquota health`: a probe for scripts and container runtimes, over `grpc.health.v1`.

use clap::Args;
use tonic::Request;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::connect::{self, DataAddress, Patience};
use super::error::Error;
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
    patience: Patience,
}

/// Asks, and prints the status by its name.
pub async fn run(args: Health) -> Result<Exit, Error> {
    let timeout = args.patience.timeout();
    let channel = connect::connect(&args.to.target()?, timeout).await?;
    let mut request = Request::new(HealthCheckRequest { service: args.service });
    request.set_timeout(timeout);
    let status = HealthClient::new(channel).check(request).await?.into_inner().status();
    output::emit(&format!("{}\n", status.as_str_name()))?;
    Ok(if status == ServingStatus::Serving { Exit::Done } else { Exit::Failed })
}
