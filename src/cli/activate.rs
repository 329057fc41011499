//! `imquota admin activate-catalog`: puts a replaced catalog into force again.

use clap::Args;

use super::Exit;
use super::admin::random_id;
use super::connect::AdminAddress;
use super::error::Error;
use super::session::{CallFlags, Session};
use crate::grpc::pb;
use crate::grpc::pb::admin_service_client::AdminServiceClient;

/// Arguments of `imquota admin activate-catalog`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  imquota admin activate-catalog 2019-08-09")]
pub struct Activate {
    /// Version of a catalog that was in force before
    version: String,
    /// SHA-256 of its content, if several contents have that version
    #[arg(long, value_name = "HASH")]
    content_hash: Option<String>,
    /// Idempotency key of the request, 1-64 printable characters [default: random]
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

impl Activate {
    /// Makes the call and prints the catalog in force.
    pub async fn run(self, to: &AdminAddress, flags: CallFlags) -> Result<Exit, Error> {
        let Self { version, content_hash, request_id } = self;
        let is_random = request_id.is_none();
        let request_id = request_id.map_or_else(random_id, Ok)?;
        let request = pb::ActivateCatalogRequest {
            request_id: request_id.clone(),
            version,
            content_hash: content_hash.unwrap_or_default(),
        };
        let end = async {
            let session = Session::open(to.target()?, flags).await?;
            let mut client = AdminServiceClient::new(session.channel());
            session.finish(client.activate_catalog(session.request(request)).await)
        };
        end.await.map_err(|error| {
            if is_random && error.may_retry() {
                Error::Change { error: Box::new(error), how: "add", request_id }
            } else {
                error
            }
        })
    }
}
