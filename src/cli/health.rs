//! `imquota health`: a probe for scripts and container runtimes, over `grpc.health.v1`.

use clap::Args;
use serde_json::json;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::connect::DataAddress;
use super::error::Error;
use super::output::Format;
use super::session::{Calling, Session};
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
    calling: Calling,
}

impl Health {
    /// How the answer is printed.
    pub fn format(&self) -> Format {
        self.calling.format()
    }
}

/// Asks, and prints the status by its name.
pub async fn run(args: Health) -> Result<Exit, Error> {
    let session = Session::open(args.to.target()?, args.calling).await?;
    let request = session.request(HealthCheckRequest { service: args.service });
    let answer = HealthClient::new(session.channel()).check(request).await;
    let status = answer.map_err(|status| session.explained(status))?.into_inner().status();
    let name = status.as_str_name();
    output::show_other(&format!("{name}\n"), &json!({"status": name}), session.format())?;
    Ok(if status == ServingStatus::Serving { Exit::Done } else { Exit::Failed })
}
