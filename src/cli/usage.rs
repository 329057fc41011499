//! `imquota usage`: shows counts and limits.

use clap::Args;

use super::Exit;
use super::connect::DataAddress;
use super::error::Error;
use super::output::Format;
use super::session::{CallFlags, Session};
use crate::grpc::pb;
use crate::grpc::pb::quota_service_client::QuotaServiceClient;
use crate::grpc::pb::subject::Kind;

const EXAMPLE: &str = "\
Example:
  imquota usage --app demo
  imquota usage --app demo --user alice";

/// Arguments of `imquota usage`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct Usage {
    /// The app; without --user and --group its own usage is shown
    #[arg(long)]
    app: String,
    /// Show the usage of this user
    #[arg(long, conflicts_with = "group")]
    user: Option<String>,
    /// Show the usage of this group
    #[arg(long)]
    group: Option<String>,
    #[command(flatten)]
    to: DataAddress,
    #[command(flatten)]
    flags: CallFlags,
}

impl Usage {
    /// Returns the output format.
    pub fn format(&self) -> Format {
        self.flags.format()
    }
}

/// Makes the call and prints a row per limit.
pub async fn run(args: Usage) -> Result<Exit, Error> {
    let session = Session::open(args.to.target()?, args.flags).await?;
    let mut client = QuotaServiceClient::new(session.channel());
    let kind = match (args.user, args.group) {
        (Some(user), _) => Kind::UserId(user),
        (None, Some(group)) => Kind::GroupId(group),
        (None, None) => Kind::App(pb::AppSubject {}),
    };
    let subject = Some(pb::Subject { kind: Some(kind) });
    let request = pb::GetUsageRequest { app_id: args.app, subject };
    session.finish(client.get_usage(session.request(request)).await)
}
